/* energy = energy * plane[gain stage]: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps plane 0 of its VECTOR pixels in registers; the others are fetched where a stage asks. */
#define SCALE_PARAMS GLOBAL const f32 *scale_plane
typedef struct {
    f32 plane[VECTOR];
} ScaleHeld;
#define SCALE_BEGIN(held, pixel, npix) load_f32(scale_plane + (pixel), (held).plane)
#define SCALE_APPLY(held, frame, pixel, npix, x, bits) scale_apply(scale_plane, (held).plane, pixel, npix, x, bits)

INLINE void scale_apply(SCALE_PARAMS, const f32 *plane, Index pixel, u32 npix, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 factor = plane[k];
#if SCALE_PLANES > 1
        u32 stage = smaller(STAGE_OF(bits[k]), SCALE_PLANES - 1u);
        if (stage) factor = scale_plane[(u64)stage * npix + pixel + k];
#endif
        f32 y = clean(x[k] * factor);
        x[k] = SCALE_STATUS && STATUS_OF(bits[k]) ? x[k] : y;
    }
}
