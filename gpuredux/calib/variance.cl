/* variance = floor[gain stage][cell] * slope^2 + max(energy, 0) * quantum: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. Without cells a thread keeps the floor of gain stage 0 of its VECTOR pixels in registers; the slope is an
 * array that is read beside LOAD. */
#define VARIANCE_PARAMS GLOBAL const f32 *variance_floor, f32 variance_quantum, GLOBAL const f32 *variance_slope, GLOBAL const u16 *variance_cell
typedef struct {
    f32 floor[VECTOR];
} VarianceHeld;
#define VARIANCE_BEGIN(held, pixel, npix) load_f32(variance_floor + (pixel), (held).floor)
#define VARIANCE_APPLY(held, frame, pixel, npix, x, bits) \
    variance_apply(variance_floor, variance_quantum, variance_slope, variance_cell, (held).floor, frame, pixel, npix, x, bits)

INLINE void variance_apply(VARIANCE_PARAMS, const f32 *held, u32 frame, Index pixel, u32 npix, f32 *x, const u32 *bits) {
    bool lost = false;
    f32 floor[VECTOR], slope[VECTOR];
#if VARIANCE_CELLS
    u32 c = variance_cell[frame];
    lost = c >= VARIANCE_CELLS;
    c = lost ? 0u : c;
    load_f32(variance_floor + (u64)c * npix + pixel, floor);
#else
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) floor[k] = held[k];
#endif
#if VARIANCE_SLOPE
    load_f32(variance_slope + (u64)frame * npix + pixel, slope);
#endif
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 least = floor[k];
#if VARIANCE_PLANES > 1
        u32 stage = smaller(STAGE_OF(bits[k]), VARIANCE_PLANES - 1u);
#if VARIANCE_CELLS
        if (stage) least = variance_floor[((u64)stage * VARIANCE_CELLS + c) * npix + pixel + k]; /* rare */
#else
        if (stage) least = variance_floor[(u64)stage * npix + pixel + k]; /* rare */
#endif
#endif
#if VARIANCE_SLOPE
        least = least * (slope[k] * slope[k]);
#endif
        f32 photons = x[k] < 0.0f ? 0.0f : x[k];
        f32 y = clean(least + photons * variance_quantum);
        x[k] = lost || (VARIANCE_STATUS && STATUS_OF(bits[k])) ? bits_f32(0x7fc00000u) : y;
    }
}
