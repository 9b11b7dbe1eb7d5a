/* zfp streams to frames: find the blocks, then decode each, every length checked.
 *
 * zfp_walk    grid: one block a frame, of which thread 0 reads all blocks, one after another, to learn where they begin; and the status.
 * zfp_places  grid: one block a frame: the same where all lengths are known: of a fixed rate, or from block_bits.
 * zfp_decode  grid: one block of 32 threads for 32 blocks of a frame, a thread each.
 * f64: see zfp_block.cl. */
#include "compress/zfp_block.cl"
#define NOWHERE 0xffffffffu /* a block that reaches beyond the stream, and all behind it */

/* bits on their way in, byte by byte: nothing is read beyond `end`; left: how many the block may take */
typedef struct {
    u64 bits;
    u32 count, next, end;
    i32 left;
} In;

INLINE void fill(In *in, GLOBAL const u8 *p) {
    for (; in->count <= 56u; in->count += 8u, in->next++) in->bits |= in->next < in->end ? (u64)p[in->next] << in->count : 0u;
}

INLINE In begin_at(GLOBAL const u8 *p, u32 at, u32 end, u32 left) {
    In in;
    in.bits = 0u; in.count = 0u; in.next = at >> 3; in.end = end; in.left = (i32)left;
    fill(&in, p);
    in.bits >>= at & 7u;
    in.count -= at & 7u;
    return in;
}

INLINE u32 take(In *in, GLOBAL const u8 *p, u32 length) { /* 0 to 32 bits, of which there are enough */
    if (in->count < length) fill(in, p);
    u32 bits = (u32)in->bits & (length < 32u ? (1u << length) - 1u : 0xffffffffu);
    in->bits >>= length;
    in->count -= length;
    in->left -= (i32)length;
    return bits;
}

/* n bits, or as many as there are */
INLINE u64 take_some(In *in, GLOBAL const u8 *p, u32 n) {
    n = smaller(n, (u32)in->left);
    u64 x = take(in, p, smaller(n, 32u));
    return SIZE > 16u && n > 32u ? x | (u64)take(in, p, n - 32u) << 32 : x;
}

/* Exponent and planes of one block; false if it needs more bits than it may take. keep: whether the planes go to SHARED memory.
 * Where the bits end, zfp takes what was read so far, and a run of zeros as ended by a one. */
INLINE bool read_block(In *in, GLOBAL const u8 *p, i32 maxprec, i32 minexp, bool keep, SHARED_PTR u32 *planes, i32 *exponent) {
#if FLOATS
    if (in->left < 1) return false;
    if (!take(in, p, 1u)) return true;
    if (in->left < HEAD - 1) return false;
    *exponent = (i32)take(in, p, HEAD - 1) - BIAS;
#endif
    u32 n = 0u, coded = planes_coded(*exponent, maxprec, minexp);
    bool enough = true;
    for (u32 k = BITS; enough && k-- > BITS - coded;) {
        enough = in->left >= (i32)n;
        u64 x = take_some(in, p, n);
        while (enough && n < SIZE) {
            enough = in->left > 0;
            if (!enough || !take(in, p, 1u)) break;
            while (n < SIZE - 1u && in->left > 0 && !take(in, p, 1u)) n++;
            x |= (u64)1 << n++;
        }
        for (u32 g = 0u; keep && g < ROWS / 16u; g++) HALF_AT(planes, 16u * g + (k & 15u), k >> 5) |= (u32)(x >> 16u * g & 0xffffu) << (k & 16u);
    }
    return enough;
}

/* whether less than 64 bits are left over, and all of them 0 */
INLINE bool padded(GLOBAL const u8 *p, u32 at, u32 end) {
    u32 set = 0u;
    for (u32 k = at; k < end && end - at < 64u; k++) set |= (u32)p[k >> 3] >> (k & 7u) & 1u;
    return end - at < 64u && set == 0u;
}

KERNEL(32) zfp_walk(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u16 *block_bits, GLOBAL u32 *block_start, GLOBAL const u32 *before,
                    GLOBAL u32 *frame_status, GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks, u32 cap, i32 minbits, i32 maxbits, i32 maxprec,
                    i32 minexp) {
    SHARED u32 none[1];
    u32 frame = BLOCK, block = 0u;
    if (frame >= ROWS_OF(live, flags, n) || LID != 0u) return;
    GLOBAL const u8 *p = payload + (u64)frame * cap;
    GLOBAL u32 *start = block_start + (u64)frame * (blocks + 1u);
    u32 bytes = size[frame] <= cap ? size[frame] : 0u;
    In in = begin_at(p, 0u, bytes, 8u * bytes);
    for (bool good = true; good && block < blocks;) {
        i32 exponent = 0;
        start[block] = 8u * bytes - (u32)in.left;
        good = read_block(&in, p, maxprec, minexp, false, none, &exponent);
        block += good ? 1u : 0u;
    }
    bool right = block == blocks && padded(p, 8u * bytes - (u32)in.left, 8u * bytes);
    for (; block < blocks; block++) start[block] = NOWHERE;
    frame_status[frame] = (flags & HAS_STATUS ? before[frame] : 0u) | (right ? 0u : FRAME_CORRUPT);
}

KERNEL(128) zfp_places(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u16 *block_bits, GLOBAL u32 *block_start, GLOBAL const u32 *before,
                       GLOBAL u32 *frame_status, GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks, u32 cap, i32 minbits, i32 maxbits, i32 maxprec,
                       i32 minexp) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, at = 0u;
    if (frame >= ROWS_OF(live, flags, n)) return;
    u32 end = size[frame] <= cap ? 8u * size[frame] : 0u;
    for (u32 first = 0u; first < blocks; first += 128u) {
        u32 k = first + LID, mine = 0u;
        if (k < blocks) mine = flags & HAS_BLOCK_BITS ? block_bits[(u64)frame * blocks + k] : (u32)maxbits;
        u32 all, begin = at + block_scan(warp, sums, mine, &all) - mine;
        at = smaller(at + all, end + 1u); /* beyond the end is beyond the end: the sum must not wrap round */
        if (k < blocks) block_start[(u64)frame * (blocks + 1u) + k] = begin + mine <= end ? begin : NOWHERE;
        SYNC; /* before the next round writes sums */
    }
    if (LID == 0u) {
        bool right = at <= end && padded(payload + (u64)frame * cap, at, end);
        frame_status[frame] = (flags & HAS_STATUS ? before[frame] : 0u) | (right ? 0u : FRAME_CORRUPT);
    }
}

/* bit planes to coefficients, where they belong */
INLINE void turn_back(SHARED_PTR const u32 *planes, SHARED_PTR Word *c, GLOBAL const u8 *order) {
    for (u32 g = 0u; g < ROWS / 16u; g++)
        for (u32 part = 0u; part < HALVES; part++) {
            u32 v[16];
            UNROLL_ON_GPU
            for (u32 k = 0u; k < 16u; k++) v[k] = HALF_AT(planes, 16u * g + k, part);
            TRANSPOSE16(v)
            UNROLL_ON_GPU
            for (u32 k = 0u; k < 16u; k++)
                if (k < SIZE) {
                    Word low = part ? WORD_AT(c, order[16u * g + k]) : (Word)0;
                    WORD_AT(c, order[16u * g + k]) = low | (Word)v[k] << 32u * part % BITS;
                }
        }
    for (u32 k = 0u; k < SIZE; k++) WORD_AT(c, k) = from_negabinary(WORD_AT(c, k));
}

KERNEL(32) zfp_decode(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u16 *block_bits, GLOBAL const u8 *orders,
                      GLOBAL const u32 *block_start, GLOBAL u32 *frame_status, GLOBAL Word *energy, GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks,
                      u32 cap, u32 nz, u32 ny, u32 nx, i32 minbits, i32 maxbits, i32 maxprec, i32 minexp) {
    SHARED Word shared_words[ROWS * THREADS];
    SHARED u32 shared_planes[ROWS * HALVES * THREADS];
    SHARED_PTR Word *c = shared_words + LID;
    SHARED_PTR u32 *planes = shared_planes + LID;
    u32 groups = (blocks + 31u) / 32u, frame = BLOCK / groups, block = BLOCK % groups * 32u + LID;
    if (frame >= ROWS_OF(live, flags, n) || block >= blocks) return;
    u32 at = block_start[(u64)frame * (blocks + 1u) + block];
    i32 exponent = -BIAS;
    for (u32 k = 0u; k < ROWS * HALVES; k++) planes[k * THREADS] = 0u;
    if (at != NOWHERE) {
        GLOBAL const u8 *p = payload + (u64)frame * cap;
        bool side = (flags & HAS_BLOCK_BITS) != 0u;
        u32 room = minbits == maxbits ? (u32)maxbits : side ? block_bits[(u64)frame * blocks + block] : 8u * size[frame] - at;
        In in = begin_at(p, at, size[frame], room);
        bool enough = read_block(&in, p, maxprec, minexp, true, planes, &exponent);
        if (side && (!enough || in.left != 0)) {
            for (u32 k = 0u; k < ROWS * HALVES; k++) planes[k * THREADS] = 0u;
            atomic_or_u32(frame_status + frame, FRAME_CORRUPT); /* rare; OR is the same in any order */
        }
    }
    turn_back(planes, c, orders + 64u * (RANK - 1u));
    unlift_all(c);
    u32 across = (nx + 3u) / 4u, down = (ny + 3u) / 4u;
    u32 bx = block % across, by = block / across % down, bz = block / across / down;
    for (u32 k = 0u; k < SIZE; k++) {
        u32 x = 4u * bx + (k & 3u), y = 4u * by + (k >> 2 & 3u), z = 4u * bz + (k >> 4);
        Word value = WORD_AT(c, k);
#if FLOATS
        value = word_of((Float)(Whole)value * scale_of(exponent));
#endif
        if (x < nx && y < ny && z < nz) energy[(u64)frame * nz * ny * nx + (z * ny + y) * nx + x] = value;
    }
}
