/* energy = (adc - pedestal[plane]) * factor[plane], plane = number of thresholds that the second image's word exceeds; marks of factor as in gain.cl.
 * A source of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the thresholds and the plane-0 constants of its VECTOR pixels in registers while the memory
 * cell stays the same. */
#define THRESHOLD_GAIN_PARAMS GLOBAL const u16 *raw, GLOBAL const f32 *pedestal, GLOBAL const f32 *factor, GLOBAL const f32 *stage_threshold, GLOBAL const u16 *cell

typedef struct {
    f32 p[VECTOR], k[VECTOR], t[THRESHOLDS][VECTOR];
    u32 cell;
} ThresholdGainHeld;

INLINE u64 threshold_gain_at(u32 plane, u32 c, Index pixel, u32 npix) {
#if CELLS
    return ((u64)plane * CELLS + c) * npix + pixel;
#else
    return (u64)plane * npix + pixel;
#endif
}

INLINE void threshold_gain_hold(THRESHOLD_GAIN_PARAMS, ThresholdGainHeld *held, u32 c, Index pixel, u32 npix) {
    load_f32(pedestal + threshold_gain_at(0, c, pixel, npix), held->p);
    load_f32(factor + threshold_gain_at(0, c, pixel, npix), held->k);
    UNROLL
    for (u32 t = 0; t < THRESHOLDS; t++) load_f32(stage_threshold + threshold_gain_at(t, c, pixel, npix), held->t[t]);
    held->cell = c;
}

/* a panel's two images follow one another */
INLINE void threshold_gain_pixel(THRESHOLD_GAIN_PARAMS, ThresholdGainHeld *held, u32 frame, Index pixel, u32 npix, f32 *x, u32 *bits) {
    u32 word[VECTOR], digital[VECTOR];
    u64 start = (u64)frame * 2u * npix;
#if PANEL_PIXELS % VECTOR == 0
    u64 at = start + pixel + pixel / PANEL_PIXELS * PANEL_PIXELS;
    load_u16(raw + at, word);
    load_u16(raw + at + PANEL_PIXELS, digital);
#else
    for (u32 k = 0; k < VECTOR; k++) {
        u64 at = start + pixel + k + (pixel + k) / PANEL_PIXELS * PANEL_PIXELS;
        word[k] = raw[at];
        digital[k] = raw[at + PANEL_PIXELS];
    }
#endif
    u32 lost = 0u, c = 0u;
#if CELLS
    c = cell[frame];
    if (c >= CELLS) { c = 0u; lost = PIXEL_INVALID_CODE; }
    if (c != held->cell) threshold_gain_hold(raw, pedestal, factor, stage_threshold, cell, held, c, pixel, npix);
#endif
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 p = held->p[k], factor_k = held->k[k];
        u32 stage = 0u;
        UNROLL
        for (u32 t = 0; t < THRESHOLDS; t++) stage += (f32)digital[k] > held->t[t][k] ? 1u : 0u;
        u32 plane = PLANE_TABLE >> 4u * stage & 15u, b = WORD_STATUS(word[k]);
        bool masked = f32_bits(factor_k) == 0u;
        b = b ? b : plane == 15u ? PIXEL_INVALID_CODE : 0u;
        plane = plane == 15u ? 0u : plane;
        b = lost ? lost : b;
        if (plane != 0u && b == 0u && !masked) {
            p = pedestal[threshold_gain_at(plane, c, pixel + k, npix)];
            factor_k = factor[threshold_gain_at(plane, c, pixel + k, npix)];
        }
        b = b == 0u && factor_k == 0.0f ? PIXEL_BAD_CONSTANT : b;
        b = masked ? PIXEL_MASKED : b;
        f32 y = ((f32)(word[k] & ADC_MASK) - p) * factor_k;
        x[k] = b ? bits_f32(BAD_VALUE) : y;
#if GAIN_STAGE
        bits[k] = b | plane << 8;
#else
        bits[k] = b;
#endif
    }
}

#define THRESHOLD_GAIN_BEGIN(held, pixel, npix) threshold_gain_hold(raw, pedestal, factor, stage_threshold, cell, &(held), 0u, pixel, npix)
#define THRESHOLD_GAIN_LOAD(held, frame, pixel, npix, x, bits) \
    threshold_gain_pixel(raw, pedestal, factor, stage_threshold, cell, &(held), frame, pixel, npix, x, bits)
