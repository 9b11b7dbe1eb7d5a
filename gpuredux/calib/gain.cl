/* energy = (adc - pedestal[plane]) * factor[plane], factor = 1 / gain: +0 marks a masked pixel, -0 a bad constant. A source of LOAD; its kernel is
 * pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the plane-0 constants of its VECTOR pixels in registers over its frames; the other planes
 * are fetched only where a word asks for them.
 * PACKED12: two words in 3 bytes, a = byte0 | (byte1 & 15) << 8, b = byte1 >> 4 | byte2 << 4. */
#if PACKED12
typedef u8 RawWord;
#else
typedef u16 RawWord;
#endif
#define GAIN_PARAMS GLOBAL const RawWord *raw, GLOBAL const f32 *pedestal, GLOBAL const f32 *factor, GLOBAL const u16 *cell

typedef struct {
    f32 p[VECTOR], k[VECTOR];
    u32 cell;
} GainHeld;

INLINE u64 gain_at(u32 plane, u32 c, Index pixel, u32 npix) {
#if CELLS
    return ((u64)plane * CELLS + c) * npix + pixel;
#else
    return (u64)plane * npix + pixel;
#endif
}

/* the words of VECTOR pixels, the first of which is number `at` of the batch */
INLINE void gain_words(GLOBAL const RawWord *raw, u64 at, u32 *word) {
#if !PACKED12
    load_u16(raw + at, word);
#elif VECTOR == 8 /* 12 bytes, at a multiple of 4 */
    GLOBAL const u32 *p = (GLOBAL const u32 *)(raw + at / 2u * 3u);
    u32 a = p[0], b = p[1], c = p[2];
    word[0] = a & 0xfffu; word[1] = a >> 12 & 0xfffu; word[2] = a >> 24 | (b & 0xfu) << 8; word[3] = b >> 4 & 0xfffu;
    word[4] = b >> 16 & 0xfffu; word[5] = b >> 28 | (c & 0xffu) << 4; word[6] = c >> 8 & 0xfffu; word[7] = c >> 20;
#else
    GLOBAL const u8 *p = raw + at / 2u * 3u + at % 2u;
    word[0] = at % 2u ? (u32)p[0] >> 4 | (u32)p[1] << 4 : (u32)p[0] | ((u32)p[1] & 15u) << 8;
#endif
}

INLINE void gain_hold(GLOBAL const f32 *pedestal, GLOBAL const f32 *factor, GainHeld *held, u32 c, Index pixel, u32 npix) {
    load_f32(pedestal + gain_at(0, c, pixel, npix), held->p);
    load_f32(factor + gain_at(0, c, pixel, npix), held->k);
    held->cell = c;
}

INLINE void gain_pixel(GAIN_PARAMS, GainHeld *held, bool whole, u32 frame, Index pixel, u32 npix, f32 *x, u32 *bits) {
    u32 word[VECTOR];
    gain_words(raw, (u64)frame * npix + pixel, word);
    u32 lost = 0u, c = 0u;
#if CELLS
    c = cell[frame];
    if (c >= CELLS) { c = 0u; lost = PIXEL_INVALID_CODE; }
    if (c != held->cell) gain_hold(pedestal, factor, held, c, pixel, npix); /* no SYNC inside: may differ between frames */
#endif
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 p = held->p[k], factor_k = held->k[k];
        u32 b = 0u, plane = 0u;
        if (ANY_BESIDE(whole, (word[k] & GAIN_BITS) != 0u || factor_k == 0.0f || WORD_STATUS(word[k]) != 0u || lost != 0u)) {
            plane = PLANE_OF(word[k]);
            bool masked = f32_bits(factor_k) == 0u;
            b = WORD_STATUS(word[k]);
            b = b ? b : plane == 15u ? PIXEL_INVALID_CODE : 0u;
            plane = plane == 15u ? 0u : plane;
            b = lost ? lost : b;
            bool wanted = plane != 0u && b == 0u && !masked;
#if WARP_TIER == 2 /* plane by plane: lanes then read side by side, where the compiler would gather (half the speed, tried) */
            for (u32 v = 1; v < N_PLANES; v++)
                if (ANY_BESIDE(whole, wanted && plane == v)) {
                    if (wanted && plane == v) {
                        p = pedestal[gain_at(v, c, pixel + k, npix)];
                        factor_k = factor[gain_at(v, c, pixel + k, npix)];
                    }
                }
#else
            if (wanted) {
                p = pedestal[gain_at(plane, c, pixel + k, npix)];
                factor_k = factor[gain_at(plane, c, pixel + k, npix)];
            }
#endif
            b = b == 0u && factor_k == 0.0f ? PIXEL_BAD_CONSTANT : b;
            b = masked ? PIXEL_MASKED : b;
        }
        f32 y = ((f32)(word[k] & ADC_MASK) - p) * factor_k;
        x[k] = b ? bits_f32(BAD_VALUE) : y;
#if GAIN_STAGE
        bits[k] = b | plane << 8;
#else
        bits[k] = b;
#endif
    }
}

#define GAIN_BEGIN(held, pixel, npix) gain_hold(pedestal, factor, &(held), 0u, pixel, npix)
#define GAIN_LOAD(held, frame, pixel, npix, x, bits) gain_pixel(raw, pedestal, factor, cell, &(held), LOAD_WHOLE, frame, pixel, npix, x, bits)
