/* energy = energy - curve[frame][ring of the pixel] * normalisation: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the rings of its VECTOR pixels in registers; a frame's curve is read where they say. */
#define RADIAL_BACKGROUND_PARAMS \
    GLOBAL const f32 *radial_curve, GLOBAL const RADIAL_BACKGROUND_LABEL *radial_label, GLOBAL const f32 *radial_weight, u32 radial_rings
typedef struct {
    u32 ring[VECTOR];
    f32 weight[VECTOR];
} RadialBackgroundHeld;
#define RADIAL_BACKGROUND_BEGIN(held, pixel, npix) radial_background_hold(radial_label, radial_weight, &(held), pixel)
#define RADIAL_BACKGROUND_APPLY(held, frame, pixel, npix, x, bits) \
    radial_background_apply(radial_curve + (u64)(frame) * radial_rings, radial_rings, &(held), x, bits)

INLINE void radial_background_hold(GLOBAL const RADIAL_BACKGROUND_LABEL *label, GLOBAL const f32 *weight, RadialBackgroundHeld *held, Index pixel) {
    RADIAL_BACKGROUND_LOAD(label + pixel, held->ring);
#if RADIAL_BACKGROUND_WEIGHTED
    load_f32(weight + pixel, held->weight);
#endif
}

INLINE void radial_background_apply(GLOBAL const f32 *curve, u32 rings, const RadialBackgroundHeld *held, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 nan = bits_f32(0x7fc00000u), background = held->ring[k] < rings ? curve[held->ring[k]] : nan;
#if RADIAL_BACKGROUND_WEIGHTED
        background = background * held->weight[k];
#endif
        f32 y = clean(x[k] - background);
        x[k] = RADIAL_BACKGROUND_STATUS && STATUS_OF(bits[k]) ? x[k] : y;
    }
}
