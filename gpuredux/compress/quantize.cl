/* code = nearest(x / step), checked against the bound as it is made; outliers into an ascending list a frame.
 *
 * A tile is the 32 * VECTOR pixels of one warp: four a block. Three kernels:
 *   quantize           grid: tiles of 128 * VECTOR pixels x groups of FRAMES frames: code, and each tile's outliers and largest error
 *   quantize_scan      grid: one block a frame: sums the tiles' counts up to their starts in the list, and the frame's numbers
 *   quantize_outliers  grid as the first: tiles with outliers read their codes again, and the values of these pixels alone
 * A thread past the frame's end stays for the warp operations. */
#ifndef VECTOR /* the scan knows nothing of pixels and codes, and is compiled by itself */

/* a thread takes 4 tiles at a time; rows of tile_start end in 4 more words, the first of which gets the total */
KERNEL(128) quantize_scan(GLOBAL u32 *tile_start, GLOBAL const u32 *tile_error, GLOBAL u32 *outlier_count, GLOBAL f32 *max_error, GLOBAL u32 *frame_status,
                          GLOBAL const i32 *live, u32 n, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    SHARED u32 warps[4];
    u32 frame = BLOCK, before = 0u, worst = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL uint4 *row = (GLOBAL uint4 *)(tile_start + (u64)frame * (n_tiles + 4u));
    GLOBAL const uint4 *errors = (GLOBAL const uint4 *)(tile_error + (u64)frame * n_tiles);
    for (u32 first = 0u; first < n_tiles / 4u; first += 128u) {
        u32 at = first + LID, mine = 0u;
        uint4 c;
        if (at < n_tiles / 4u) {
            uint4 e = errors[at];
            u32 left = e.x > e.y ? e.x : e.y, right = e.z > e.w ? e.z : e.w;
            left = left > right ? left : right;
            worst = left > worst ? left : worst;
            c = row[at];
            mine = c.x + c.y + c.z + c.w;
        }
        u32 all, start = before + block_scan(w, warps, mine, &all) - mine;
        before += all;
        SYNC; /* before the next round writes warps */
        if (at < n_tiles / 4u) {
            uint4 s;
            s.x = start; s.y = s.x + c.x; s.z = s.y + c.y; s.w = s.z + c.z;
            row[at] = s;
        }
    }
    worst = warp_max(w, worst);
    if (LANE == 0u) warps[WARP] = worst;
    SYNC;
    u32 left = warps[0] > warps[1] ? warps[0] : warps[1], right = warps[2] > warps[3] ? warps[2] : warps[3];
    if (LID == 0u) {
        tile_start[(u64)frame * (n_tiles + 4u) + n_tiles] = before;
        outlier_count[frame] = before;
        max_error[frame] = bits_f32(left > right ? left : right);
#if FRAME_STATUS
        if (before > capacity) frame_status[frame] |= FRAME_OUTLIER_OVERFLOW;
#endif
    }
}

#else

#if CODE_BITS == 16
typedef u16 Code;
#define load_code load_u16
#define store_code store_u16
#define CODE_WORD(q) ((u32)(i32)(q) & 0xffffu)
#else
typedef u32 Code;
#define load_code load_u32
#define store_code store_u32
#define CODE_WORD(q) ((u32)(i32)(q))
#endif

/* |x - q * step|, for int32 the larger one of the decodes in float32 and, exact and then rounded up, in float64 */
INLINE f32 decode_error(f32 x, f32 q, f32 step) {
    f32 y = q * step, error = abs_f32(x - y);
#if CODE_BITS == 32
    f64 exact = (f64)x - (f64)q * (f64)step;
    exact = exact < 0.0 ? -exact : exact;
    f32 up = (f32)exact;
    if ((f64)up < exact) up = bits_f32(f32_bits(up) + 1u);
    error = up > error ? up : error;
#endif
    return error;
}

/* the code of x, and its error; the test stands before the conversion, for which huge values and NaN are undefined */
INLINE u32 quantize_value(f32 x, f32 step, f32 inverse, f32 bound, f32 *error) {
    f32 q = rint_f32(x * inverse);
    q = q < CODE_LOWEST ? CODE_LOWEST : q;
    q = q > CODE_HIGHEST ? CODE_HIGHEST : q;
    f32 e = decode_error(x, q, step);
    if (!(e <= bound)) {
        q += x > q * step ? 1.0f : -1.0f;
        e = decode_error(x, q, step);
    }
    bool fits = e <= bound && q >= CODE_LOWEST && q <= CODE_HIGHEST;
    *error = fits ? e : 0.0f;
    return fits ? CODE_WORD(q) : CODE_FILL;
}

KERNEL(128) quantize(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL Code *code, GLOBAL u32 *tile_start, GLOBAL u32 *tile_error,
                     GLOBAL u32 *frame_status, GLOBAL const i32 *live, f32 step, f32 inverse, f32 bound, u32 n, u32 npix, u32 n_tiles) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP;
    u32 end = FRAMES_END(live, n);
    Held held;
    u32 unused = 0u; /* bit k: good says no to pixel + k */
    if (pixel < npix) {
        LOAD_BEGIN(held, pixel, npix);
#if GOOD_PLANE
        u32 use[VECTOR];
        load_u8(good + pixel, use);
        for (u32 k = 0; k < VECTOR; k++) unused |= use[k] ? 0u : 1u << k;
#endif
    }
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 outliers = 0u, worst = 0u;
        if (pixel < npix) {
            f32 x[VECTOR];
            u32 bits[VECTOR], c[VECTOR];
            LOAD(held, frame, pixel, npix, x, bits);
#if CARRY_STATUS
            u32 any = 0u;
            for (u32 k = 0; k < VECTOR; k++) any |= bits[k] & PIXEL_FROM_DATA;
            if (any) atomic_or_u32(frame_status + frame, any); /* rare; OR is the same in any order */
#endif
            UNROLL
            for (u32 k = 0; k < VECTOR; k++) {
                f32 error;
                c[k] = quantize_value(x[k], step, inverse, bound, &error);
                bool masked = (unused >> k & 1u) != 0u;
#if STATUS
                masked = masked || STATUS_OF(bits[k]) != 0u;
#endif
                c[k] = masked ? CODE_MASKED : c[k];
                u32 e = masked ? 0u : f32_bits(error); /* not negative: ordered like its bits */
                outliers += c[k] == CODE_FILL ? 1u : 0u;
                worst = e > worst ? e : worst;
            }
            store_code(code + (u64)frame * npix + pixel, c);
        }
        outliers = warp_sum(w, outliers);
        worst = warp_max(w, worst);
        if (LANE == 0u) {
            tile_start[(u64)frame * (n_tiles + 4u) + tile] = outliers;
            tile_error[(u64)frame * n_tiles + tile] = worst;
        }
    }
}

KERNEL(128) quantize_outliers(LOAD_PARAMS, GLOBAL const Code *code, GLOBAL const u32 *tile_start, GLOBAL u32 *outlier_index, GLOBAL f32 *outlier_value,
                              GLOBAL const i32 *live, u32 n, u32 npix, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP, pitch = n_tiles + 4u;
    u32 end = FRAMES_END(live, n), busy = 0u; /* bit k: the block has outliers to list in its frame k */
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 first = tile_start[(u64)frame * pitch + BLOCK * 4u], after = tile_start[(u64)frame * pitch + BLOCK * 4u + 4u];
        busy |= first != after && first < capacity ? 1u << (frame - BLOCK_Y * FRAMES) : 0u;
    }
    for (; busy != 0u; busy &= busy - 1u) { /* not the loop above with a "continue": see device.h */
        u32 frame = BLOCK_Y * FRAMES + trailing_zeros(busy), c[VECTOR], mine = 0u;
        if (pixel < npix) {
            load_code(code + (u64)frame * npix + pixel, c);
            for (u32 k = 0; k < VECTOR; k++) mine += c[k] == CODE_FILL ? 1u : 0u;
        }
        u32 slot = tile_start[(u64)frame * pitch + tile] + warp_scan(w, mine) - mine;
        if (mine != 0u) {
            f32 x[VECTOR];
            u32 bits[VECTOR];
            Held held;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            for (u32 k = 0; k < VECTOR; k++)
                if (c[k] == CODE_FILL) {
                    if (slot < capacity) {
                        outlier_index[(u64)frame * capacity + slot] = pixel + k;
                        outlier_value[(u64)frame * capacity + slot] = x[k];
                    }
                    slot++;
                }
        }
    }
}
#endif
