/* HDF5 filter-32008 chunks to frames: find the blocks, then decode each, every length checked. Over 200 lines: four element sizes, both ways of holding planes.
 *
 * lz4_walk    grid: one block a frame; thread 0 follows the chain of block lengths and writes status and tail.
 * lz4_decode  grid: BLOCK = frame * groups + group; a group takes every groups-th block of its frame. All threads read the same tokens,
 *             so that their branches agree at every SYNC, and copy literals and matches together. The bit planes are built in shared
 *             memory (LARGE = 0: frames of blocks up to 8 KiB) or in `planes` (LARGE = 1: the other frames), then transposed. */
#define BLOCK_BYTES 8192u
#define UNIT (8u * SIZE)
#define BLOCKS_OF(usable, block) ((usable) / (block) + ((usable) % (block) ? 1u : 0u)) /* the sum could overflow */

#if LARGE
typedef GLOBAL u8 *Planes;
#else
typedef SHARED_PTR u8 *Planes;
#endif

INLINE u32 be32(GLOBAL const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

KERNEL(32) lz4_walk(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL u32 *block_start, GLOBAL u32 *framing, GLOBAL const u32 *before,
                    GLOBAL u32 *frame_status, GLOBAL u8 *code, GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap) {
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n) || LID != 0u) return;
    GLOBAL const u8 *chunk = payload + (u64)frame * cap;
    u32 usable = frame_bytes / UNIT * UNIT, tail = frame_bytes - usable, end = size[frame], at = 12u, block = 0u, listed = 0u;
    bool good = end >= 12u && end <= cap;
    if (good) {
        block = be32(chunk + 8);
        good = be32(chunk) == 0u && be32(chunk + 4) == frame_bytes && block != 0u && block % UNIT == 0u;
    }
    if (good) {
        u32 total = BLOCKS_OF(usable, block);
        GLOBAL u32 *start = block_start + (u64)frame * (usable / UNIT); /* a row has one word for each 8 elements, and no row is used if there are none */
        while (good && listed < total) {
            u32 length = end - at >= 4u ? be32(chunk + at) : 0u;
            good = end - at >= 4u && length <= end - at - 4u;
            if (good) {
                start[listed++] = at + 4u;
                at += 4u + length;
            }
        }
    } else
        block = BLOCK_BYTES; /* blocks of zeros: none is listed */
    good = good && end - at >= tail;
    for (u32 k = 0; k < tail; k++) code[(u64)frame * frame_bytes + usable + k] = good ? chunk[at + k] : 0u; /* at most 56 bytes */
    framing[2u * frame] = block;
    framing[2u * frame + 1u] = listed;
    frame_status[frame] = (STATUS ? before[frame] : 0u) | (good && end - at == tail ? 0u : FRAME_CORRUPT);
}

/* one sequence: count literals at *ip, then match bytes from offset back (0: the block ends here). False if anything reaches out.
 * room: how many raw bytes the block still lacks; done: how many it has */
INLINE bool next_sequence(GLOBAL const u8 *p, u32 *ip, u32 end, u32 done, u32 room, u32 *literals, u32 *count, u32 *offset, u32 *match) {
    u32 at = *ip, byte;
    if (at >= end) return false;
    u32 token = p[at++], n = token >> 4;
    if (n == 15u)
        do {
            if (at >= end || n > room) return false;
            byte = p[at++];
            n += byte;
        } while (byte == 255u);
    if (n > end - at || n > room) return false;
    *literals = at; *count = n; *offset = 0u; *match = 0u;
    at += n;
    *ip = at;
    if (at == end) return n == room;
    if (end - at < 2u) return false;
    u32 back = p[at] | (u32)p[at + 1u] << 8;
    at += 2u;
    if (back == 0u || back > done + n) return false;
    room -= n;
    n = (token & 15u) + 4u;
    if (n == 19u)
        do {
            if (at >= end || n > room) return false;
            byte = p[at++];
            n += byte;
        } while (byte == 255u);
    *ip = at; *offset = back; *match = n;
    return n <= room;
}

/* elements 8 * (t / SIZE) to + 7, of them byte t % SIZE: any plane, from anywhere */
INLINE void few_elements(Planes d, u32 t, u32 plane, GLOBAL u8 *to) {
    u32 at = t / SIZE, rank = t % SIZE;
    u64 x = 0;
    for (u32 k = 0; k < 8; k++) x |= (u64)d[(8u * rank + k) * plane + at] << 8u * k;
    u64 y = (x ^ x >> 7) & 0x00aa00aa00aa00aaul; /* transpose 8 x 8 bits */
    x ^= y ^ y << 7;
    y = (x ^ x >> 14) & 0x0000cccc0000ccccul;
    x ^= y ^ y << 14;
    y = (x ^ x >> 28) & 0x00000000f0f0f0f0ul;
    x ^= y ^ y << 28;
    for (u32 k = 0; k < 8; k++) to[(8u * at + k) * SIZE + rank] = (u8)(x >> 8u * k);
}

#if !LARGE
/* v = 64 bytes of elements (piece LID of 8 KiB) from the bit planes */
INLINE void load_piece(SHARED_PTR const u32 *words, u32 *v) {
#define PLANE_BYTES (BLOCK_BYTES / UNIT)
    UNROLL
    for (u32 k = 0; k < 16; k++) {
#if SIZE == 1
        v[k] = words[((k & 7u) * PLANE_BYTES >> 2) + 2u * LID + (k >> 3)];
#elif SIZE == 2
        v[k] = words[(k * PLANE_BYTES >> 2) + LID];
#elif SIZE == 4
        SHARED_PTR const u16 *halves = (SHARED_PTR const u16 *)words;
        v[k] = halves[(k * PLANE_BYTES >> 1) + LID] | (u32)halves[((k + 16u) * PLANE_BYTES >> 1) + LID] << 16;
#else
        SHARED_PTR const u8 *bytes = (SHARED_PTR const u8 *)words + ((k & 7u) + 32u * (k >> 3)) * PLANE_BYTES + LID;
        v[k] = bytes[0] | (u32)bytes[8u * PLANE_BYTES] << 8 | (u32)bytes[16u * PLANE_BYTES] << 16 | (u32)bytes[24u * PLANE_BYTES] << 24;
#endif
    }
#if SIZE == 1 || SIZE == 8
    TRANSPOSE8(v)
    TRANSPOSE8(v + 8)
#else
    TRANSPOSE16(v)
#endif
}

/* word k of the 64 bytes */
INLINE u32 word_of(const u32 *v, u32 k) {
#if SIZE == 1
    u32 from = 8u * (k >> 3) + 4u * (k & 1u), shift = 8u * (k >> 1 & 3u);
    return (v[from] >> shift & 0xffu) | (v[from + 1u] >> shift & 0xffu) << 8 | (v[from + 2u] >> shift & 0xffu) << 16 | (v[from + 3u] >> shift & 0xffu) << 24;
#elif SIZE == 2
    u32 from = 2u * (k & 7u), shift = 16u * (k >> 3);
    return (v[from] >> shift & 0xffffu) | (v[from + 1u] >> shift & 0xffffu) << 16;
#elif SIZE == 4
    return v[k];
#else
    return v[8u * (k & 1u) + (k >> 1)];
#endif
}

INLINE void store_piece(GLOBAL u8 *p, const u32 *v) {
#if ALIGN == 16
    UNROLL
    for (u32 k = 0; k < 16; k += 4) {
        uint4 four;
        four.x = word_of(v, k); four.y = word_of(v, k + 1u); four.z = word_of(v, k + 2u); four.w = word_of(v, k + 3u);
        ((GLOBAL uint4 *)p)[k >> 2] = four;
    }
#else
    UNROLL
    for (u32 k = 0; k < 16; k++) {
        u32 w = word_of(v, k);
#if ALIGN >= 4
        ((GLOBAL u32 *)p)[k] = w;
#elif ALIGN == 2
        ((GLOBAL u16 *)p)[2 * k] = (u16)w;
        ((GLOBAL u16 *)p)[2 * k + 1] = (u16)(w >> 16);
#else
        for (u32 c = 0; c < 4; c++) p[4 * k + c] = (u8)(w >> 8 * c);
#endif
    }
#endif
}
#endif

KERNEL(128) lz4_decode(GLOBAL const u8 *payload, GLOBAL const u32 *block_start, GLOBAL const u32 *framing, GLOBAL u8 *planes, GLOBAL u32 *frame_status,
                       GLOBAL u8 *code, GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap) {
#if !LARGE
    SHARED u32 words[BLOCK_BYTES / 4];
#endif
    SHARED u32 held[3]; /* block bytes, blocks listed, frame: not in registers, which the transposition needs */
    if (BLOCK / groups >= LIVE_ROWS(live, n)) return;
    if (LID < 2u) held[LID] = framing[BLOCK / groups * 2u + LID];
    if (LID == 2u) held[2] = BLOCK / groups;
    SYNC;
    if ((held[0] > BLOCK_BYTES) != LARGE) return;
    for (u32 b = BLOCK % groups; b < BLOCKS_OF(frame_bytes / UNIT * UNIT, held[0]); b += groups) {
        u32 usable = frame_bytes / UNIT * UNIT, frame = held[2], raw = b * held[0], bytes = smaller(held[0], usable - raw), done = 0u, ip = 0u, end = 0u;
        GLOBAL const u8 *chunk = payload + (u64)frame * cap;
        bool good = b < held[1];
        if (good) {
            ip = block_start[(u64)frame * (usable / UNIT) + b];
            end = ip + be32(chunk + ip - 4u);
        }
#if LARGE
        Planes d = planes + (u64)frame * (usable + 16u) + raw;
#else
        Planes d = (Planes)words;
#endif
        bool more = good;
        while (more) {
            u32 literals = 0u, count = 0u, offset = 0u, match = 0u;
            good = next_sequence(chunk, &ip, end, done, bytes - done, &literals, &count, &offset, &match);
            more = good && offset != 0u;
            if (good)
                for (u32 i = LID; i < count; i += 128u) d[done + i] = chunk[literals + i];
            SYNC; /* what this sequence's match copies is there */
            if (more) {
                done += count;
                for (u32 i = LID; i < match; i += 128u) d[done + i] = d[done - offset + (offset > match ? i : i % offset)];
                done += match;
            }
        }
        SYNC;
        GLOBAL u8 *to = code + (u64)frame * frame_bytes + raw;
#if !LARGE
        if (good && bytes == BLOCK_BYTES) {
            u32 v[16];
            load_piece(words, v);
            store_piece(to + 64u * LID, v);
        } else
#endif
            for (u32 t = LID; good && t < bytes >> 3; t += 128u) few_elements(d, t, bytes / UNIT, to);
        for (u32 k = LID; !good && k < bytes; k += 128u) to[k] = 0u;
        if (!good && b < held[1] && LID == 0u) atomic_or_u32(frame_status + frame, FRAME_CORRUPT); /* the walk has marked the others */
        SYNC; /* before the next block overwrites the planes */
    }
}
