/* code[0] = coefficients in steps of their sub-band; code[1] = what the decoder's own reconstruction lacks, where it lacks more than the bound.
 *
 * Three kernels; features/lifting.cl stands between them, and outliers.cl behind the last one. A tile is the 32 * VECTOR pixels of a warp.
 *   wavelet_fill      grid: tiles of 128 * VECTOR pixels x groups of FRAMES frames: what is transformed: the pixels in use, limited, FILL elsewhere
 *   wavelet_quantise  grid: the same: code[0], and in place of each coefficient the one that a decoder will see
 *   wavelet_check     grid: the same: code[1], and each tile's listed values and largest error
 * A thread past the frame's end stays for the warp operations. */
#include "compress/wavelet_codes.cl"

#if !LOADS /* compiled by itself: it knows nothing of pixels that come through LOAD */
/* steps: of the approximation, then of levels 1, 2 ...; behind them their inverses */
KERNEL(128) wavelet_quantise(GLOBAL f32 *coefficients, GLOBAL u16 *code, GLOBAL const f32 *steps, GLOBAL const i32 *live, f32 dead_zone,
                             u32 n, u32 npix, u32 rows, u32 cols, u32 levels) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    f32 step[VECTOR], inverse[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) {
        u32 level = level_of(pixel + k, rows, cols, levels);
        step[k] = steps[level];
        inverse[k] = steps[levels + 1u + level];
    }
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 x[VECTOR];
        u32 c[VECTOR];
        load_f32(coefficients + (u64)frame * npix + pixel, x);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            f32 a = abs_f32(x[k]) * inverse[k], q = a >= dead_zone ? rint_f32(a) : 0.0f; /* NaN: 0 */
            q = q > HIGHEST ? HIGHEST : q;
            c[k] = folded_code((u32)q, x[k] < 0.0f);
            x[k] = (x[k] < 0.0f ? 0.0f - q : q) * step[k]; /* no -0: a decoder has none */
        }
        store_u16(code + (u64)frame * 2u * npix + pixel, c);
        store_f32(coefficients + (u64)frame * npix + pixel, x);
    }
}

#else
#include "compress/unused.cl"

/* |x - y|, exact or rounded up, as the bits of a float that is not negative: ordered like it, NaN behind Inf; lost: what the subtraction rounded off (Knuth) */
INLINE u32 missed(f32 x, f32 y) {
    f32 near = x - y, back = near - x, lost = (x - (near - back)) - (y + back);
    u32 bits = f32_bits(near) & 0x7fffffffu, off = f32_bits(lost);
    bool beyond = (bits < 0x7f800000u) & ((off & 0x7fffffffu) != 0u) & (((off ^ f32_bits(near)) >> 31) == 0u);
    return bits + (beyond ? 1u : 0u);
}

KERNEL(128) wavelet_fill(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL f32 *filled, GLOBAL u32 *frame_status, GLOBAL const i32 *live, f32 fill, f32 most,
                         u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    Held held;
    LOAD_BEGIN(held, pixel, npix);
    u32 unused = unused_of(good, pixel);
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 x[VECTOR];
        u32 bits[VECTOR];
        LOAD(held, frame, pixel, npix, x, bits);
        carry_status(bits, frame_status, frame);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            f32 y = limited(x[k], most);
            y = is_finite(x[k]) ? y : fill;
            x[k] = UNUSED(k) ? fill : y;
        }
        store_f32(filled + (u64)frame * npix + pixel, x);
    }
}

KERNEL(128) wavelet_check(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL const f32 *rebuilt, GLOBAL u16 *code, GLOBAL u32 *tile_start, GLOBAL u32 *tile_error,
                          GLOBAL const i32 *live, f32 bound, f32 step, f32 inverse, u32 n, u32 npix, u32 n_tiles) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP, end = FRAMES_END(live, n), unused = 0u;
    Held held;
    if (pixel < npix) {
        LOAD_BEGIN(held, pixel, npix);
        unused = unused_of(good, pixel);
    }
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 listed = 0u, worst = 0u;
        if (pixel < npix) {
            f32 x[VECTOR], y[VECTOR];
            u32 bits[VECTOR], c[VECTOR];
            LOAD(held, frame, pixel, npix, x, bits);
            load_f32(rebuilt + (u64)frame * npix + pixel, y);
            UNROLL
            for (u32 k = 0; k < VECTOR; k++) {
                f32 t = (x[k] - y[k]) * inverse;
                t = t < MOST ? t : MOST; /* NaN too: its error is NaN all the same */
                t = t > -MOST ? t : -MOST;
                f32 r = missed(x[k], y[k]) <= f32_bits(bound) ? 0.0f : rint_f32(t);
                u32 error = missed(x[k], y[k] + r * step);
                bool masked = UNUSED(k), fits = error <= f32_bits(bound);
                c[k] = fits ? folded_code((u32)abs_f32(r), r < 0.0f) : LISTED;
                c[k] = masked ? MASKED : c[k];
                error = masked | !fits ? 0u : error;
                listed += c[k] == LISTED ? 1u : 0u;
                worst = error > worst ? error : worst;
            }
            store_u16(code + ((u64)frame * 2u + 1u) * npix + pixel, c);
        }
        listed = warp_sum(w, listed);
        worst = warp_max(w, worst);
        if (LANE == 0u) {
            tile_start[(u64)frame * (n_tiles + 4u) + tile] = listed;
            tile_error[(u64)frame * n_tiles + tile] = worst;
        }
    }
}

typedef u16 Code;
typedef f32 Value;
#define load_code load_u16
#define CODE_FILL LISTED
#define CODE_ROW(frame) ((u64)(frame) * 2u + 1u)
#include "compress/outliers.cl"
#endif
