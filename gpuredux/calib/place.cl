/* image[target] = the value handed on, for each pixel of the image that shows it: a stage of GIVE; the gaps are assemble_gaps's.
 *
 * grid: that of the kernel that ends with it. A pixel's places lie side by side: target[first[pixel]] up to first[pixel + 1]. */
#if PLACE_PHOTONS
typedef Photon Placed;
#define PLACED(x) ((Placed)f32_bits(x)) /* as it is stored: see photons.cl */
#else
typedef f32 Placed;
#define PLACED(x) clean(x)
#endif
#define PLACE_PARAMS GLOBAL Placed *place_image, GLOBAL u8 *place_status, GLOBAL const i32 *place_first, GLOBAL const i32 *place_target
typedef struct {
    u32 nothing;
} PlaceHeld;
#define PLACE_BEGIN(held, pixel, npix) (held).nothing = 0u
#define PLACE_GIVE(held, frame, pixel, npix, x, bits, mine) \
    place_give(place_image, place_status, place_first, place_target, (u64)(frame) * PLACE_PIXELS, pixel, x, bits, mine)

INLINE void place_give(PLACE_PARAMS, u64 image, Index pixel, const f32 *x, const u32 *bits, u32 mine) {
    for (u32 k = 0; k < VECTOR; k++) {
        if (mine >> k & 1u) {
            u32 end = (u32)place_first[pixel + k + 1];
            for (u32 e = (u32)place_first[pixel + k]; e < end; e++) {
                u64 at = image + (u32)place_target[e];
                place_image[at] = PLACED(x[k]);
#if PLACE_STATUS
                place_status[at] = (u8)(PLACE_MARKED ? STATUS_OF(bits[k]) : 0u);
#endif
            }
        }
    }
}
