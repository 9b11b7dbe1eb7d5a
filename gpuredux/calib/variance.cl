/* variance = floor[gain stage] + max(energy, 0) * quantum: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the floor of gain stage 0 of its VECTOR pixels in registers. */
#define VARIANCE_PARAMS GLOBAL const f32 *variance_floor, f32 variance_quantum
typedef struct {
    f32 floor[VECTOR];
} VarianceHeld;
#define VARIANCE_BEGIN(held, pixel, npix) load_f32(variance_floor + (pixel), (held).floor)
#define VARIANCE_APPLY(held, frame, pixel, npix, x, bits) variance_apply(variance_floor, variance_quantum, (held).floor, pixel, npix, x, bits)

INLINE void variance_apply(VARIANCE_PARAMS, const f32 *held, Index pixel, u32 npix, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 least = held[k];
#if VARIANCE_PLANES > 1
        u32 stage = smaller(STAGE_OF(bits[k]), VARIANCE_PLANES - 1u);
        if (stage) least = variance_floor[(u64)stage * npix + pixel + k]; /* rare */
#endif
        f32 photons = x[k] < 0.0f ? 0.0f : x[k];
        f32 y = clean(least + photons * variance_quantum);
        x[k] = VARIANCE_STATUS && STATUS_OF(bits[k]) ? bits_f32(0x7fc00000u) : y;
    }
}
