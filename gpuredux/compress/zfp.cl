/* Frames to zfp streams: each block's bits to a slot, a prefix sum of their lengths, slots to payload. Over 200 lines: three kernels of one format.
 *
 * zfp_blocks  grid: one block of 32 threads for 32 blocks of a frame, a thread each: transform, bit planes, their code, the error that it makes.
 *             Slots of a group lie word by word side by side, for threads write about the same words at the same time.
 * zfp_place   grid: one block a frame: where each block's bits begin, the size, the largest error, the status.
 * zfp_gather  grid: one thread a block of a frame: the words of the payload whose first bit is this block's.
 * f64: see zfp_block.cl. RANK = 0 makes the last two, which know nothing of values. */
#include "compress/zfp_block.cl"
#define BROKEN 0x80000000u /* of block_error: the bound does not hold; the other bits are those of a float32 that is not negative */

#if RANK
/* bits on their way into a slot, 32 at a time; left: how many more the block may have */
typedef struct {
    u64 bits;
    u32 count, word;
    i32 left;
} Out;

INLINE void put(Out *o, GLOBAL u32 *slot, u32 code, u32 length) { /* up to 32 bits, and no others in code */
    if ((i32)length > o->left) {
        length = (u32)o->left;
        code &= length < 32u ? (1u << length) - 1u : 0xffffffffu;
    }
    o->left -= (i32)length;
    o->bits |= (u64)code << o->count;
    o->count += length;
    if (o->count >= 32u) {
        slot[THREADS * o->word++] = (u32)o->bits;
        o->bits >>= 32;
        o->count -= 32u;
    }
}

INLINE void put_long(Out *o, GLOBAL u32 *slot, u64 code, u32 length) {
    u32 low = smaller(length, 32u);
    put(o, slot, (u32)code, low);
    if (SIZE > 16u && length > 32u) put(o, slot, (u32)(code >> 32), length - 32u);
}

INLINE u64 ones(u32 n) { return n < 64u ? ((u64)1 << n) - 1u : ~(u64)0; }

INLINE u64 plane_of(SHARED_PTR const u32 *planes, u32 k) {
    u64 x = 0u;
    for (u32 g = 0u; g < ROWS / 16u; g++) x |= (u64)(HALF_AT(planes, 16u * g + (k & 15u), k >> 5) >> (k & 16u) & 0xffffu) << 16u * g;
    return x;
}

/* the planes from the top down to `lowest`; there is no one above plane top */
INLINE void put_planes(Out *o, GLOBAL u32 *slot, SHARED_PTR const u32 *planes, i32 top, i32 lowest) {
    i32 from = top < lowest ? lowest - 1 : top;
    u32 n = 0u;
    put_long(o, slot, 0u, (u32)((i32)BITS - 1 - from) & 31u);
    for (i32 rest = ((i32)BITS - 1 - from) >> 5; rest > 0; rest--) put(o, slot, 0u, 32u);
    for (i32 k = from; k >= lowest && o->left > 0; k--) {
        u64 x = plane_of(planes, (u32)k);
        put_long(o, slot, x & ones(n), n);
        x = n < 64u ? x >> n : 0u;
        for (bool more = true; more && n < SIZE;) {
            more = x != 0u;
            put(o, slot, more ? 1u : 0u, 1u);
            if (more) {
                u32 low = (u32)x, zeros = low ? trailing_zeros(low) : 32u + trailing_zeros((u32)(x >> 32));
                n += zeros + 1u;
                put_long(o, slot, n < SIZE ? (u64)1 << zeros : 0u, n < SIZE ? zeros + 1u : zeros); /* the last word's one is understood */
                x = x >> zeros >> 1;
            }
        }
    }
}

/* column u of words in order, negabinary, as bit planes; what is set anywhere */
INLINE Word turn(SHARED_PTR const Word *c, SHARED_PTR u32 *planes, GLOBAL const u8 *order) {
    Word any = 0u;
    for (u32 g = 0u; g < ROWS / 16u; g++)
        for (u32 part = 0u; part < HALVES; part++) {
            u32 v[16];
            UNROLL_ON_GPU
            for (u32 k = 0u; k < 16u; k++) {
                Word u = k < SIZE ? to_negabinary(WORD_AT(c, order[16u * g + k])) : (Word)0;
                any |= u;
                v[k] = (u32)(u >> 32u * part % BITS);
            }
            TRANSPOSE16(v)
            UNROLL_ON_GPU
            for (u32 k = 0u; k < 16u; k++) HALF_AT(planes, 16u * g + k, part) = v[k];
        }
    return any;
}

INLINE i32 highest(Word any) {
#if BITS == 64
    return any >> 32 ? 63 - (i32)leading_zeros((u32)(any >> 32)) : 31 - (i32)leading_zeros((u32)any);
#else
    return 31 - (i32)leading_zeros(any);
#endif
}

/* where value k of a block lies in its frame, and whether it lies there at all */
INLINE u32 place_of(u32 block, u32 k, u32 nz, u32 ny, u32 nx, bool *inside) {
    u32 across = (nx + 3u) / 4u, down = (ny + 3u) / 4u;
    u32 bx = block % across, by = block / across % down, bz = block / across / down;
    *inside = 4u * bx + (k & 3u) < nx && 4u * by + (k >> 2 & 3u) < ny && 4u * bz + (k >> 4) < nz;
    return (line_of(nz, bz, k >> 4) * ny + line_of(ny, by, k >> 2 & 3u)) * nx + line_of(nx, bx, k & 3u);
}

#if FLOATS
INLINE Word finite_word(Word x) { return (x & ~SIGN) >= INFINITE ? (Word)0 : x; }

/* a finite float as a whole number, truncated, of which 2^(BITS - 2) is the power of two above `most` */
INLINE Word fixed(Word x, Word most) {
    Word exponent = (x & INFINITE) >> MANTISSA, value = x & ((ONE << MANTISSA) - ONE);
    if (exponent) value |= ONE << MANTISSA;
    Word down = (most >> MANTISSA) + ONE - (exponent ? exponent : ONE);
    value = (value << (BITS - 2u - MANTISSA)) >> (down < BITS - 1u ? down : BITS - 1u);
    return x & SIGN ? (Word)0 - value : value;
}

/* the largest |value - decoded| of a block in its lowest plane, rounded up to float32; with BROKEN where it is beyond the tolerance */
INLINE u32 error_of(SHARED_PTR Word *c, GLOBAL const Word *frame, u32 block, u32 nz, u32 ny, u32 nx, i32 exponent, Word mask, Float tolerance) {
    Word worst = 0u;
    Float scale = scale_of(exponent);
    for (u32 k = 0u; k < SIZE; k++) WORD_AT(c, k) = from_negabinary(to_negabinary(WORD_AT(c, k)) & mask);
    unlift_all(c);
    for (u32 k = 0u; k < SIZE; k++) {
        bool inside;
        Float x = float_of(finite_word(frame[place_of(block, k, nz, ny, nx, &inside)])), y = (Float)(Whole)WORD_AT(c, k) * scale;
        Float near = x - y, back = near - x, lost = (x - (near - back)) - (y + back); /* what was rounded off, exactly (Knuth's two-sum) */
        Word error = word_of(near) & ~SIGN; /* not negative: in the order of the values */
        if (error < INFINITE && (word_of(lost) & ~SIGN) != 0u && !((word_of(lost) ^ word_of(near)) & SIGN)) error += ONE;
        worst = inside && error > worst ? error : worst;
    }
    u32 broken = float_of(worst) > tolerance ? BROKEN : 0u;
#if BITS == 64
    f32 near = (f32)float_of(worst);
    return (f32_bits(near) + ((f64)near < float_of(worst) ? 1u : 0u)) | broken;
#else
    return worst | broken;
#endif
}
#else
typedef u32 Float;
#endif

KERNEL(32) zfp_blocks(GLOBAL const Word *energy, GLOBAL const u8 *orders, GLOBAL u32 *slots, GLOBAL u32 *block_start, GLOBAL u32 *block_error,
                      GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks, u32 words, u32 cap_words, u32 nz, u32 ny, u32 nx, i32 minbits, i32 maxbits,
                      i32 maxprec, i32 minexp, Float tolerance) {
    SHARED Word shared_words[ROWS * THREADS];
    SHARED u32 shared_planes[ROWS * HALVES * THREADS];
    SHARED_PTR Word *c = shared_words + LID;
    SHARED_PTR u32 *planes = shared_planes + LID;
    u32 groups = (blocks + 31u) / 32u, frame = BLOCK / groups, block = BLOCK % groups * 32u + LID;
    if (frame >= ROWS_OF(live, flags, n) || block >= blocks) return;
    GLOBAL const Word *values = energy + (u64)frame * nz * ny * nx;
    GLOBAL const u8 *order = orders + 64u * (RANK - 1u);
    GLOBAL u32 *slot = slots + (u64)BLOCK * words * THREADS + LID;
    Word most = 0u;
    u32 error = 0u;
    for (u32 k = 0u; k < SIZE; k++) {
        bool inside;
        Word x = values[place_of(block, k, nz, ny, nx, &inside)];
#if FLOATS
        Word kept = finite_word(x);
        if (kept != x) error = BROKEN; /* NaN and Inf have bits */
        x = kept;
        most = (x & ~SIGN) > most ? x & ~SIGN : most;
#else
        if ((x + (ONE << (BITS - 2u))) >> (BITS - 1u)) error = BROKEN;
#endif
        WORD_AT(c, k) = x;
    }
    i32 exponent = (i32)(most >> MANTISSA) + 1 - BIAS;
    u32 coded = planes_coded(exponent, maxprec, minexp);
#if FLOATS
    if (most == 0u) coded = 0u;
    for (u32 k = 0u; k < SIZE; k++) WORD_AT(c, k) = fixed(WORD_AT(c, k), most);
#endif
    lift_all(c);
    i32 top = highest(turn(c, planes, order));
    Out o;
    o.bits = 0u; o.count = 0u; o.word = 0u; o.left = maxbits;
#if FLOATS
    if (coded) put(&o, slot, 2u * (u32)(exponent + BIAS) + 1u, HEAD);
    else put(&o, slot, 0u, 1u);
    if (flags & HAS_ERROR) error |= error_of(c, values, block, nz, ny, nx, exponent, coded ? ~(Word)0 << (BITS - coded) : (Word)0, tolerance);
#endif
    if (coded) put_planes(&o, slot, planes, top, (i32)(BITS - coded));
    while (maxbits - o.left < minbits) put(&o, slot, 0u, smaller(32u, (u32)(minbits - maxbits + o.left)));
    if (o.count) slot[THREADS * o.word] = (u32)o.bits;
    block_start[(u64)frame * (blocks + 1u) + block] = (u32)(maxbits - o.left);
    block_error[(u64)frame * blocks + block] = error;
}

#else
KERNEL(128) zfp_place(GLOBAL u32 *block_start, GLOBAL const u32 *block_error, GLOBAL u32 *size, GLOBAL u32 *max_error, GLOBAL const u32 *before,
                      GLOBAL u32 *frame_status, GLOBAL u16 *block_bits, GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks, u32 words, u32 cap_words) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, at = 0u, worst = 0u, broken = 0u;
    if (frame >= ROWS_OF(live, flags, n)) return;
    GLOBAL u32 *start = block_start + (u64)frame * (blocks + 1u);
    for (u32 first = 0u; first < blocks; first += 128u) {
        u32 k = first + LID, mine = 0u, error = 0u;
        if (k < blocks) {
            mine = start[k];
            error = block_error[(u64)frame * blocks + k];
        }
        broken |= error & BROKEN;
        error &= ~BROKEN;
        worst = error > worst ? error : worst;
        u32 all, begin = at + block_scan(warp, sums, mine, &all) - mine;
        at += all;
        if (k < blocks) {
            start[k] = begin;
            if (flags & HAS_BLOCK_BITS) block_bits[(u64)frame * blocks + k] = (u16)mine;
        }
        SYNC; /* before the next round writes sums */
    }
    worst = warp_max(warp, worst);
    broken = warp_max(warp, broken);
    if (LANE == 0u) sums[WARP] = worst | broken;
    SYNC;
    if (LID == 0u) {
        worst = 0u;
        for (u32 k = 0u; k < 4u; k++) {
            broken |= sums[k] & BROKEN;
            worst = (sums[k] & ~BROKEN) > worst ? sums[k] & ~BROKEN : worst;
        }
        start[blocks] = at;
        size[frame] = (at + 63u) / 64u * 8u;
        if (flags & HAS_ERROR) max_error[frame] = worst;
        frame_status[frame] = (flags & HAS_STATUS ? before[frame] : 0u) | (broken ? FRAME_NOT_HELD : 0u);
    }
}

KERNEL(128) zfp_gather(GLOBAL const u32 *slots, GLOBAL const u32 *block_start, GLOBAL u32 *payload, GLOBAL const i32 *live, u32 flags, u32 n, u32 blocks,
                       u32 words, u32 cap_words) {
    u64 item = (u64)BLOCK * 128u + LID;
    u32 frame = (u32)(item / blocks), block = (u32)(item % blocks), groups = (blocks + 31u) / 32u;
    if (frame >= ROWS_OF(live, flags, n)) return;
    GLOBAL const u32 *start = block_start + (u64)frame * (blocks + 1u);
    u32 word = (start[block] + 31u) / 32u, end = start[block + 1u];
    end = block + 1u == blocks ? (end + 63u) / 64u * 2u : (end + 31u) / 32u; /* the last one's also zeros up to a multiple of 64 bits */
    for (; word < end; word++) {
        u32 bits = 0u, have = 0u;
        for (u32 b = block; b < blocks && have < 32u; b++) {
            u32 from = 32u * word + have - start[b], left = start[b + 1u] - start[b] - from; /* of b: at a 32-bit word's begin or at its own first bit */
            if (start[b + 1u] > 32u * word + have) {
                GLOBAL const u32 *slot = slots + ((u64)(frame * groups + b / 32u) * words + from / 32u) * 32u + b % 32u;
                u32 count = smaller(left, 32u - have), shift = from & 31u, got = slot[0] >> shift;
                if (shift + count > 32u) got |= slot[32] << (32u - shift);
                bits |= (count < 32u ? got & ((1u << count) - 1u) : got) << have;
                have += count;
            }
        }
        payload[(u64)frame * cap_words + word] = bits;
    }
}
#endif
