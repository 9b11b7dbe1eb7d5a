/* energy = m * (knot[i].value + (m - i * step) * knot[i].slope) * factor, i = m / step; a factor of +0 marks a masked pixel, -0 a bad plane.
 * A source of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the factors of its VECTOR pixels in registers over its frames. Words below COUNT_ODD are counts and need no further question. */
#if COUNT_BYTES == 1
typedef u8 CountWord;
#define load_count load_u8
#elif COUNT_BYTES == 2
typedef u16 CountWord;
#define load_count load_u16
#else
typedef u32 CountWord;
#define load_count load_u32
#endif
#define COUNTS_PARAMS GLOBAL const CountWord *raw, GLOBAL const f32 *count_factor, GLOBAL const f32 *count_knot

typedef struct {
    f32 k[VECTOR];
} CountsHeld;

INLINE void counts_hold(GLOBAL const f32 *count_factor, CountsHeld *held, Index pixel) {
#if COUNT_FACTOR
    load_f32(count_factor + pixel, held->k);
#else
    held->k[0] = 1.0f;
#endif
}

/* why this word is no count, or its pixel no pixel */
INLINE u32 counts_status(u32 word, f32 factor) {
    u32 b = word > COUNT_TOP ? PIXEL_SATURATED : 0u;
#if COUNT_SIGNED
    b = (i32)word < 0 ? PIXEL_INVALID_CODE : b;
#endif
    u32 code = COUNT_CODE(word);
    b = code ? code : b;
#if COUNT_FACTOR
    b = b == 0u && factor == 0.0f ? PIXEL_BAD_CONSTANT : b;
    b = f32_bits(factor) == 0u ? PIXEL_MASKED : b;
#endif
    return b;
}

/* the true count of the measured one m */
INLINE f32 counts_true(u32 m, GLOBAL const f32 *count_knot) {
    f32 y = (f32)m;
#if COUNT_TABLE && COUNT_SHIFT == 0 /* an entry a count: nothing lies between */
    y *= count_knot[2u * m];
#elif COUNT_TABLE
    u32 i = m >> COUNT_SHIFT;
    float2 knot = ((GLOBAL const float2 *)count_knot)[i];
    y *= knot.x + (f32)(m - (i << COUNT_SHIFT)) * knot.y;
#endif
    return y;
}

INLINE void counts_pixel(COUNTS_PARAMS, CountsHeld *held, bool whole, u32 frame, Index pixel, u32 npix, f32 *x, u32 *bits) {
    u32 word[VECTOR];
    load_count(raw + (u64)frame * npix + pixel, word);
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        u32 b = 0u;
        f32 factor = COUNT_FACTOR ? held->k[k] : 1.0f;
        if (ANY_BESIDE(whole, word[k] >= COUNT_ODD || factor == 0.0f)) b = counts_status(word[k], factor);
        f32 y = counts_true(smaller(word[k], COUNT_TOP), count_knot); /* a larger word lies behind the table */
#if COUNT_FACTOR
        y *= factor;
#endif
        x[k] = b ? bits_f32(COUNT_BAD) : y;
        bits[k] = b;
    }
}

#define COUNTS_BEGIN(held, pixel, npix) counts_hold(count_factor, &(held), pixel)
#define COUNTS_LOAD(held, frame, pixel, npix, x, bits) \
    counts_pixel(raw, count_factor, count_knot, &(held), LOAD_WHOLE, frame, pixel, npix, x, bits)
