/* A stage of GIVE that stores the value as it is by now: what a per-pixel op gives that a kernel ends with.
 *
 * grid: that of the kernel that ends with it. */
#define KEEP_PARAMS GLOBAL f32 *keep
typedef struct {
    u32 nothing;
} KeepHeld;
#define KEEP_BEGIN(held, pixel, npix) (held).nothing = 0u
#define KEEP_GIVE(held, frame, pixel, npix, x, bits, mine) give_f32(keep + (u64)(frame) * (npix) + (pixel), x, mine)
