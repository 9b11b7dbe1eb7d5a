/* energy = inverse DWT(code[0] * step) + code[1] * residual_step; the listed value; MASKED_VALUE.
 *
 * Two kernels, and features/lifting.cl between them. grid: of both tiles of 128 * VECTOR pixels x groups of FRAMES frames, a thread owns VECTOR pixels.
 *   wavelet_dequantise: the coefficients; wavelet_finish: all that is behind the inverse transform. */
#include "compress/wavelet_codes.cl"
#include "compress/listed_value.cl"

KERNEL(128) wavelet_dequantise(GLOBAL const u16 *code, GLOBAL f32 *coefficients, GLOBAL const f32 *steps, GLOBAL const i32 *live, u32 n, u32 npix,
                               u32 rows, u32 cols, u32 levels) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    f32 step[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) step[k] = steps[level_of(pixel + k, rows, cols, levels)];
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 c[VECTOR];
        f32 x[VECTOR];
        load_u16(code + (u64)frame * 2u * npix + pixel, c);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) x[k] = unfolded_f32(c[k]) * step[k];
        store_f32(coefficients + (u64)frame * npix + pixel, x);
    }
}

KERNEL(128) wavelet_finish(GLOBAL const u16 *code, GLOBAL const f32 *rebuilt, GLOBAL const u32 *outlier_index, GLOBAL const f32 *outlier_value,
                           GLOBAL const u32 *outlier_count, GLOBAL f32 *energy, GLOBAL const i32 *live, f32 step, u32 capacity, u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 c[VECTOR];
        f32 y[VECTOR];
        load_u16(code + ((u64)frame * 2u + 1u) * npix + pixel, c);
        load_f32(rebuilt + (u64)frame * npix + pixel, y);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            y[k] = clean(y[k] + unfolded_f32(c[k]) * step);
            if (c[k] == MASKED) y[k] = bits_f32(MASKED_VALUE);
            if (c[k] == LISTED)
                y[k] = listed_value(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity, smaller(outlier_count[frame], capacity),
                                    pixel + k);
        }
        store_f32(energy + (u64)frame * npix + pixel, y);
    }
}
