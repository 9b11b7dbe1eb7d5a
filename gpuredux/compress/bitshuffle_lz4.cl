/* Frames to HDF5 filter-32008 chunks: blocks of 8 KiB to slots, a prefix sum of their lengths, slots to payload.
 *
 * lz4_blocks  grid: one block a (frame, `step` bytes of it, 8 KiB but for blosc). The 128 threads transpose 64 bytes each in registers, keep the bit planes
 *             and the equality bitmaps (one bit a byte and distance) in shared memory; thread 0 walks the runs by bit scans and lists the
 *             matches; then all compute where each sequence goes and write it to the slot.
 * lz4_place   grid: one block a frame: where its blocks begin, the header, the tail, the size.
 * lz4_gather  grid: as lz4_blocks: the slot's bytes to the payload, in words of the payload. */
#define SLOT_BYTES 8256u
#define KINDS 4u /* of distances */
#define MIN_MATCH 4
#define END_LITERALS 5u
#define END_START 12u

#include "compress/bit_planes.cl"
#include "compress/gather.cl"
#include "compress/matches.cl"

INLINE u32 extension_bytes(u32 length) { return length < 15u ? 0u : 1u + (length - 15u) / 255u; }

INLINE u32 put_extension(GLOBAL u8 *p, u32 at, u32 length) {
    if (length < 15u) return at;
    for (length -= 15u; length >= 255u; length -= 255u) p[at++] = 255u;
    p[at++] = (u8)length;
    return at;
}

KERNEL(128) lz4_blocks(GLOBAL const u8 *code, GLOBAL u8 *slots, GLOBAL u32 *block_size, GLOBAL const i32 *live, u32 n, u32 blocks, u32 frame_bytes, u32 step,
                       u32 row, u32 second) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 planes[BLOCK_BYTES / 4 + 1];
    SHARED u32 equal[4 * (MATCH_WORDS + 1)];
    SHARED u32 start[MATCH_WORDS], filled[9]; /* filled[8] stays 0 */
    SHARED u32 matches[BLOCK_BYTES / MIN_MATCH + 2];
    SHARED u32 literal_at[128], literal_from[128], literal_count[128], sums[4], n_matches[1];
    u32 frame = BLOCK / blocks, block = BLOCK % blocks;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 bytes = smaller(step, frame_bytes / UNIT * UNIT - block * step), plane = bytes / UNIT;

    u32 w[16], v[16];
    load_piece(code + (u64)frame * frame_bytes + block * step + 64u * LID, 64u * LID < bytes ? bytes - 64u * LID : 0u, w);
    transpose_piece(w, v);
    store_planes(planes, v, plane);
    SYNC;

    /* thread LID: the bits of bytes 64 * LID and on. It takes its words in an order of its own, against bank conflicts */
    const u32 distance[4] = {1u, plane, row, second};
    u64 same[4] = {0, 0, 0, 0};
    for (u32 r = 0; r < 16; r++) {
        u32 j = (r + LID) & 15u, word = 16u * LID + j, x = planes[word];
        UNROLL_ON_GPU
        for (u32 k = 0; k < 4; k++) {
            u32 d = smaller(distance[k], 4u * word), at = 4u * word - d; /* the bytes before the block are masked below */
            u32 shift = 8u * (at & 3u), y = planes[at >> 2] >> shift | (shift ? planes[(at >> 2) + 1u] << (32u - shift) : 0u);
            if (d < distance[k]) { /* the word straddles the first byte that has a partner, or lies before it */
                u32 late = distance[k] - d;
                y = late < 4u ? planes[0] << 8u * late : 0u;
            }
            same[k] |= (u64)equal_bytes(x, y) << 4u * j;
        }
    }
    u32 end = bytes < 13u ? 0u : bytes - END_LITERALS;
    UNROLL_ON_GPU
    for (u32 k = 0; k < 4; k++)
        for (u32 h = 0; h < 2; h++) {
            u32 base = 64u * LID + 32u * h;
            u32 bits = distance[k] ? below(base, end) & ~below(base, distance[k]) : 0u;
            equal[k * (MATCH_WORDS + 1u) + 2u * LID + h] = (u32)(same[k] >> 32u * h) & bits;
        }
    if (LID < 4u) equal[LID * (MATCH_WORDS + 1u) + MATCH_WORDS] = 0u;
    if (LID == 4u) filled[8] = 0u;
    SYNC;

    u32 end_start = bytes < 13u ? 0u : bytes - END_START + 1u;
    u32 ones = starts(equal, LID, end_start), more = starts(equal, LID + 128u, end_start);
    start[LID] = ones;
    start[LID + 128u] = more;
    ones = warp_ballot(warp, ones != 0u);
    more = warp_ballot(warp, more != 0u);
    if (LANE == 0u) { filled[WARP] = ones; filled[4u + WARP] = more; }
    SYNC;
    if (LID == 0u) n_matches[0] = parse(equal, start, filled, matches, bytes, bytes - END_START);
    SYNC;

    /* 128 sequences at a time: thread s has sequence first + s; the last one has literals alone */
    GLOBAL u8 *slot = slots + (u64)BLOCK * SLOT_BYTES;
    SHARED_PTR const u8 *b = (SHARED_PTR const u8 *)planes;
    u32 total = n_matches[0] + 1u, begin = 0u;
    for (u32 first = 0; first < total; first += 128u) {
        u32 s = first + LID, size = 0u, match = 0u, from = 0u, count = 0u, length = 4u;
        bool last = s + 1u == total;
        if (s < total) {
            match = matches[s];
            u32 before = s ? matches[s - 1u] : 0u;
            from = MATCH_POS(before) + MATCH_LENGTH(before);
            count = MATCH_POS(match) - from;
            length = last ? 4u : MATCH_LENGTH(match);
            size = 1u + extension_bytes(count) + count + (last ? 0u : 2u + extension_bytes(length - 4u));
        }
        u32 all, at = begin + block_scan(warp, sums, size, &all) - size;
        begin += all;
        if (s < total) {
            slot[at++] = (u8)(smaller(count, 15u) << 4 | smaller(length - 4u, 15u));
            at = put_extension(slot, at, count);
            if (!last) {
                u32 k = MATCH_WHICH(match), d = k == 0u ? 1u : k == 1u ? plane : k == 2u ? row : second;
                slot[at + count] = (u8)d;
                slot[at + count + 1u] = (u8)(d >> 8);
                put_extension(slot, at + count + 2u, length - 4u);
            }
        }
        literal_at[LID] = at; literal_from[LID] = from; literal_count[LID] = count;
        SYNC;
        u32 here = smaller(128u, total - first);
        for (u32 k = WARP; k < here; k += 4u) /* short literals: a warp each */
            for (u32 i = LANE; i < literal_count[k] && literal_count[k] < 256u; i += 32u) slot[literal_at[k] + i] = b[literal_from[k] + i];
        for (u32 k = 0; k < here; k++) /* long ones: all together */
            for (u32 i = LID; i < literal_count[k] && literal_count[k] >= 256u; i += 128u) slot[literal_at[k] + i] = b[literal_from[k] + i];
        SYNC;
    }
    if (LID == 0u) block_size[BLOCK] = begin;
}

KERNEL(128) lz4_place(GLOBAL const u8 *code, GLOBAL const u32 *block_size, GLOBAL u32 *block_start, GLOBAL u8 *payload, GLOBAL u32 *size,
                      GLOBAL const i32 *live, u32 n, u32 blocks, u32 frame_bytes, u32 cap) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, at = 12u, usable = frame_bytes / UNIT * UNIT;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u8 *chunk = payload + (u64)frame * cap;
    for (u32 first = 0; first < blocks; first += 128u) {
        u32 k = first + LID, mine = k < blocks ? 4u + block_size[(u64)frame * blocks + k] : 0u;
        u32 all, begin = at + block_scan(warp, sums, mine, &all) - mine;
        at += all;
        if (k < blocks) block_start[(u64)frame * blocks + k] = begin;
        SYNC;
    }
    if (LID < frame_bytes - usable) chunk[at + LID] = code[(u64)frame * frame_bytes + usable + LID]; /* at most 7 elements, 56 bytes */
    if (LID == 0u) {
        put_be32(chunk, 0u); put_be32(chunk + 4, frame_bytes); put_be32(chunk + 8, BLOCK_BYTES);
        size[frame] = at + frame_bytes - usable;
    }
}

KERNEL(128) lz4_gather(GLOBAL const u8 *slots, GLOBAL const u32 *block_size, GLOBAL const u32 *block_start, GLOBAL u8 *payload, GLOBAL const i32 *live,
                       u32 n, u32 blocks, u32 frame_bytes, u32 cap) {
    u32 frame = BLOCK / blocks;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 count = block_size[BLOCK], begin = block_start[BLOCK] + 4u;
    GLOBAL u8 *to = payload + (u64)frame * cap + begin; /* cap is a multiple of 16 */
    if (LID == 0u) put_be32(to - 4, count);
    gather(to, begin, (GLOBAL const u32 *)(slots + (u64)BLOCK * SLOT_BYTES), count);
}
