/* state + batch: count, sum q, sum q * q, least and largest of the pixels used, of each class of events. q = rint(x / unit) of floats, else x.
 *
 * grid: BLOCK = 128 pixels, a thread a pixel; BLOCK_Y = class. A thread goes over all frames of its class with its sums in registers (pixel_sums.cl);
 * nothing is shared. */
#include "features/pixel_sums.cl"
#define STATE_AT(k) (((u64)(k) * (CLASSES ? CLASSES : 1u) + BLOCK_Y) * npix + pixel)

KERNEL_PIXELS(128) running(GLOBAL const WORD *x, GLOBAL const u8 *good, GLOBAL const u8 *pixel_status, GLOBAL const u8 *event_class,
                           GLOBAL const i32 *live, GLOBAL const u32 *count, GLOBAL const i64 *sum, GLOBAL const u64 *sum2, GLOBAL const WORD *extreme,
                           GLOBAL const u32 *stray, GLOBAL u32 *new_count, GLOBAL i64 *new_sum, GLOBAL u64 *new_sum2, GLOBAL WORD *new_extreme,
                           GLOBAL u32 *new_stray, GLOBAL u32 *frame_status, u32 n, u32 npix) {
    Index pixel = FIRST_PIXEL;
    u32 end = LIVE_ROWS(live, n);
#if CLASSES
    if (pixel == 0u && BLOCK_Y == 0u) {
        u32 strays = stray[0];
        for (u32 frame = 0; frame < end; frame++) strays += event_class[frame] >= CLASSES ? 1u : 0u;
        new_stray[0] = strays;
    }
#endif
    if (pixel >= npix) return;
    PixelSums sums = {0u, 0, 0u, 0u};
#if EXTREMES
    WORD least = extreme[STATE_AT(0u)], most = extreme[STATE_AT(1u)];
#endif
#if GOOD
    bool usable = good[pixel] != 0;
#else
    bool usable = true;
#endif
    for (u32 frame = 0; frame < end; frame++) {
#if CLASSES
        u32 its = event_class[frame];
        bool mine = its == BLOCK_Y, seen = mine || (BLOCK_Y == 0u && its >= CLASSES && FLOATS && FLAGS); /* a stray frame has a status, too */
        if (seen)
#else
        bool mine = true;
#endif
        {
            u64 at = (u64)frame * npix + pixel;
            WORD value = x[at];
            bool use = is_used(value, usable, pixel_status, at);
            i64 q = units_of(value, use, frame_status, frame);
            use = use && mine;
            pixel_add(&sums, mine ? q : 0, use);
#if FLOATS
            value += 0.0f; /* no -0.0 */
#endif
#if EXTREMES
            least = use && value < least ? value : least;
            most = use && value > most ? value : most;
#endif
        }
    }
    new_count[STATE_AT(0u)] = count[STATE_AT(0u)] + sums.many;
    pixel_end(&sums, STATE_AT(0u), STATE_AT(1u), sum, sum2, new_sum, new_sum2);
#if EXTREMES
    new_extreme[STATE_AT(0u)] = least;
    new_extreme[STATE_AT(1u)] = most;
#endif
}
