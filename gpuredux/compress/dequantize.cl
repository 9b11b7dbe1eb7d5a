/* energy = (code - CODE_ZERO) * step, the same with the scale of its pixel, or the code's level; FILL: the value listed
 * for this pixel, or NaN; MASKED: MASKED_VALUE.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames; a thread owns VECTOR pixels. An outlier finds
 * its value by bisection in the frame's ascending list: rare, and no second pass that would scatter. */
#if CODE_BITS == 16
typedef u16 Code;
#define load_code load_u16
#if CODE_SIGNED
#define CODE_VALUE(c) ((f32)(i16)(c))
#else
#define CODE_VALUE(c) ((f32)(i32)((c) - CODE_ZERO))
#endif
#else
typedef u32 Code;
#define load_code load_u32
#define CODE_VALUE(c) ((f32)(i32)(c))
#endif

#if MEANING == 2 /* levels; in f64, which holds them exactly */
/* 2**n, -149 <= n <= 128, of two floats that are no subnormals */
INLINE f64 power_of_two(i32 n) {
    i32 half_n = n >> 1;
    return (f64)bits_f32((u32)(half_n + 127) << 23) * (f64)bits_f32((u32)(n - half_n + 127) << 23);
}

INLINE f32 code_energy(u32 c, f32 unused) {
    (void)unused;
#if CODE_BITS == 16 && CODE_SIGNED
    i32 code = (i32)(i16)c;
#else
    i32 code = (i32)c;
#endif
    f64 size = code < 0 ? -(f64)code : (f64)code, t = (size - 1.0) * ((f64)UNITS * (1.0 / 8388608.0)) + (f64)(ORIGIN) * (1.0 / 8388608.0);
    f64 n = floor(t), g = t - n, y = (1.0 + g * (11.0 + 5.0 * g) * 0.0625) * power_of_two(n > 128.0 ? 128 : (i32)n);
    return code == 0 ? 0.0f : (f32)(code < 0 ? -y : y);
}
#elif MEANING == 1
#define code_energy(c, step) clean(CODE_VALUE(c) * (step)) /* no code has a meaning where the scale is NaN */
#else
#define code_energy(c, step) (CODE_VALUE(c) * (step))
#endif

#include "compress/listed_value.cl"

KERNEL(128) dequantize(GLOBAL const Code *code, GLOBAL const u32 *outlier_index, GLOBAL const f32 *outlier_value, GLOBAL const u32 *outlier_count,
                       GLOBAL f32 *energy, GLOBAL const i32 *live, GLOBAL const f32 *scale, f32 step, u32 capacity, u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR;
    u32 end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    f32 steps[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) steps[k] = step;
#if MEANING == 1
    load_f32(scale + pixel, steps);
#endif
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 c[VECTOR];
        f32 y[VECTOR];
        load_code(code + (u64)frame * npix + pixel, c);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            y[k] = code_energy(c[k], steps[k]);
            if (c[k] == CODE_MASKED) y[k] = bits_f32(MASKED_VALUE);
            if (c[k] == CODE_FILL)
                y[k] = listed_value(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity,
                                    smaller(outlier_count[frame], capacity), pixel + k);
        }
        store_f32(energy + (u64)frame * npix + pixel, y);
    }
}
