/* state + batch: count, sum q, sum q * q, least and largest of the pixels used, of each class of events. q = rint(x / unit) of floats, else x.
 *
 * grid: BLOCK = 128 pixels, a thread a pixel; BLOCK_Y = class. A thread goes over all frames of its class with its sums in registers; nothing is shared.
 * NARROW: words of 8 or 16 bits, whose squares fit into 32. PER_UNIT: the bits of 1 / unit, a power of two. */
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
    u32 many = 0u;
    i64 total = 0;
    u64 low = 0u, high = 0u;
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
            WORD value = x[(u64)frame * npix + pixel];
            bool use = usable;
#if FLOATS
            use = use && is_finite(value);
#endif
#if STATUS
            use = use && pixel_status[(u64)frame * npix + pixel] == 0;
#endif
#if FLOATS
            bool beyond;
            i64 q = whole_units(use ? value : 0.0f, bits_f32(PER_UNIT), &beyond);
#if FLAGS
            if (beyond) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT); /* rare */
#endif
            use = use && mine;
            q = use ? q : 0;
            value += 0.0f; /* no -0.0 */
#else
            use = use && mine;
            i64 q = use ? (i64)value : 0;
#endif
            many += use ? 1u : 0u;
            total += q;
#if SQUARES
#if NARROW
            low += (u32)q * (u32)q;
#else
            u64 square = (u64)q * (u64)q;
            low += square & 0xffffffffu;
            high += square >> 32;
#endif
#endif
#if EXTREMES
            least = use && value < least ? value : least;
            most = use && value > most ? value : most;
#endif
        }
    }
    new_count[STATE_AT(0u)] = count[STATE_AT(0u)] + many;
    new_sum[STATE_AT(0u)] = sum[STATE_AT(0u)] + total;
#if SQUARES
    new_sum2[STATE_AT(0u)] = sum2[STATE_AT(0u)] + low;
#if !NARROW
    new_sum2[STATE_AT(1u)] = sum2[STATE_AT(1u)] + high;
#endif
#endif
#if EXTREMES
    new_extreme[STATE_AT(0u)] = least;
    new_extreme[STATE_AT(1u)] = most;
#endif
}
