/* code = nearest(x / step), or the number of the level of x, checked as it is made; outliers into an ascending list.
 *
 * A tile is the 32 * VECTOR pixels of one warp: four a block.
 *   quantize  grid: tiles of 128 * VECTOR pixels x groups of FRAMES frames: code, and each tile's outliers and largest error; the rest is outliers.cl
 * A thread past the frame's end stays for the warp operations. */
#if CODE_BITS == 16
typedef u16 Code;
#define load_code load_u16
#define store_code store_u16
#define CODE_WORD(q) ((u32)((i32)(q) + CODE_ZERO) & 0xffffu)
#else
typedef u32 Code;
#define load_code load_u32
#define store_code store_u32
#define CODE_WORD(q) ((u32)(i32)(q))
#endif

#if CODE_BITS == 32 || BOUND == 1
#include "compress/rounded_up.cl"
#endif

#if BOUND == 1 /* ---------------------- a share of the value: f64, in which levels and all that is compared are exact, and roots correctly rounded */
#define RULE_PARAMS i32 origin, u32 units, u32 most, f32 bound
#define RULE(k) origin, units, most, bound

/* 2**n, -149 <= n <= 128, of two floats that are no subnormals */
INLINE f64 power_of_two(i32 n) {
    i32 half_n = n >> 1;
    return (f64)bits_f32((u32)(half_n + 127) << 23) * (f64)bits_f32((u32)(n - half_n + 127) << 23);
}

INLINE f64 level_value(f64 k, i32 origin, u32 units) {
    f64 t = k * ((f64)units * (1.0 / 8388608.0)) + (f64)origin * (1.0 / 8388608.0), n = floor(t), g = t - n;
    return (1.0 + g * (11.0 + 5.0 * g) * 0.0625) * power_of_two(n > 128.0 ? 128 : (i32)n);
}

/* the larger error of the decodes in float64 and float32 */
INLINE f64 level_error(f64 size, f64 y) {
    f64 exact = size - y, near = size - (f64)(f32)y;
    exact = exact < 0.0 ? -exact : exact;
    near = near < 0.0 ? -near : near;
    return near > exact ? near : exact;
}

/* the code of x, and its error as a share of x. By its bits, so that subnormals need no arithmetic of their own */
INLINE u32 quantize_value(f32 x, RULE_PARAMS, f32 *error) {
    u32 bits = f32_bits(x) & 0x7fffffffu, shift = bits < 0x00800000u ? leading_zeros(bits) - 8u : 0u;
    bool negative = f32_bits(x) >> 31 != 0u;
    i32 octave = shift != 0u ? -126 - (i32)shift : (i32)(bits >> 23) - 127;
    f64 m = (f64)bits_f32((bits << shift & 0x007fffffu) | 0x3f800000u), size = m * power_of_two(octave);
    f64 t = (f64)octave + (sqrt(121.0 + 320.0 * (m - 1.0)) - 11.0) * 0.1;
    f64 last = (f64)most - 1.0, k = rint((t - (f64)origin * (1.0 / 8388608.0)) * (8388608.0 / (f64)units));
    k = k < 0.0 ? 0.0 : k;
    k = k > last ? last : k;
    f64 y = level_value(k, origin, units), e = level_error(size, y), allowed = (f64)bound * size;
    if (!(e <= allowed)) {
        k += size > y ? 1.0 : -1.0;
        e = level_error(size, level_value(k, origin, units));
    }
    bool fits = e <= allowed && bits < 0x7f800000u && k >= 0.0 && k <= last;
#if !CODE_SIGNED
    fits = fits && !negative;
#endif
    *error = fits && bits != 0u ? rounded_up(e / size) : 0.0f;
    i32 code = fits ? (i32)k + 1 : 0;
    return bits == 0u ? 0u : fits ? CODE_WORD(negative ? -code : code) : CODE_FILL;
}

#else /* -------------------------------------------------------------------------------------------------- a step for all pixels, or one for each */
#if CODE_BITS == 32 && BOUND == 2
typedef f64 Error; /* it is still to be divided by the step */
#else
typedef f32 Error;
#endif
#if BOUND == 2
#define RULE_PARAMS GLOBAL const f32 *steps, GLOBAL const f32 *inverses
#define RULE(k) step[k], inverse[k], 0.5f * step[k]
#else
#define RULE_PARAMS f32 step, f32 inverse, f32 bound
#define RULE(k) step, inverse, bound
#endif

/* |x - q * step|, for int32 the larger one of the decodes in float32 and, exact, in float64 */
INLINE Error decode_error(f32 x, f32 q, f32 step) {
    f32 near = abs_f32(x - q * step);
#if CODE_BITS == 32
    f64 exact = (f64)x - (f64)q * (f64)step;
    exact = exact < 0.0 ? -exact : exact;
#if BOUND == 2
    return exact > (f64)near ? exact : (f64)near;
#else
    f32 up = rounded_up(exact);
    return up > near ? up : near;
#endif
#else
    return near;
#endif
}

/* the code of x, and its error; the test stands before the conversion, for which huge values and NaN are undefined */
INLINE u32 quantize_value(f32 x, f32 step, f32 inverse, f32 bound, f32 *error) {
    f32 q = rint_f32(x * inverse);
    q = q < CODE_LOWEST ? CODE_LOWEST : q;
    q = q > CODE_HIGHEST ? CODE_HIGHEST : q;
    Error e = decode_error(x, q, step);
    if (!(e <= (Error)bound)) {
        q += x > q * step ? 1.0f : -1.0f;
        e = decode_error(x, q, step);
    }
    bool fits = e <= (Error)bound && q >= CODE_LOWEST && q <= CODE_HIGHEST;
#if BOUND == 2 && CODE_BITS == 32
    *error = fits ? rounded_up(e * (f64)inverse) : 0.0f;
#elif BOUND == 2
    *error = fits ? e * inverse : 0.0f;
#else
    *error = fits ? e : 0.0f;
#endif
    return fits ? CODE_WORD(q) : CODE_FILL;
}
#endif

#include "compress/unused.cl"

KERNEL(128) quantize(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL Code *code, GLOBAL u32 *tile_start, GLOBAL u32 *tile_error,
                     GLOBAL u32 *frame_status, GLOBAL const i32 *live, RULE_PARAMS, u32 n, u32 npix, u32 n_tiles) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP;
    u32 end = FRAMES_END(live, n);
    Held held;
    u32 unused = 0u;
#if BOUND == 2
    f32 step[VECTOR], inverse[VECTOR];
#endif
    if (pixel < npix) {
        LOAD_BEGIN(held, pixel, npix);
#if BOUND == 2
        load_f32(steps + pixel, step);
        load_f32(inverses + pixel, inverse);
#endif
        unused = unused_of(good, pixel);
    }
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 outliers = 0u, worst = 0u;
        if (pixel < npix) {
            f32 x[VECTOR];
            u32 bits[VECTOR], c[VECTOR];
            LOAD(held, frame, pixel, npix, x, bits);
            carry_status(bits, frame_status, frame);
            UNROLL
            for (u32 k = 0; k < VECTOR; k++) {
                f32 error;
                c[k] = quantize_value(x[k], RULE(k), &error);
                bool masked = UNUSED(k);
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

typedef f32 Value;
#include "compress/outliers.cl"
