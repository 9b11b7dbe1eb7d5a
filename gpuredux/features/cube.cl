/* state + batch: sums of frames by the bin of their event. Three steps: the bin of each event; the events of each bin, as a list; the sums.
 *
 * grid of cube_add: BLOCK = 128 pixels, a thread a pixel; BLOCK_Y = bin. A thread goes over its bin's events with its sums in registers: no atomics, and no
 * bin waits for another. PER_UNIT: the bits of 1 / unit, of frames or of weights, a power of two. */

#if STEP == 1
/* grid: a thread an event. bin[event]: -1 = outside, -2 = its weight is no number */
KERNEL(128) cube_bins(GLOBAL const i32 *bin_index, GLOBAL const f32 *weight, GLOBAL const i32 *live, GLOBAL u32 *frame_status, GLOBAL i32 *bin,
                      u32 n, u32 axes, u32 bins0, u32 bins1, u32 bins2) {
    u32 event = BLOCK * 128u + LID;
    if (event >= LIVE_ROWS(live, n)) return;
    i32 place = 0;
    for (u32 k = 0u; k < axes; k++) {
        u32 bins = k == 0u ? bins0 : k == 1u ? bins1 : bins2, index = (u32)bin_index[(u64)event * axes + k]; /* a negative one is large */
        place = place < 0 || index >= bins ? -1 : place * (i32)bins + (i32)index;
    }
#if WEIGHTED
    f32 its = weight[event];
    if (place >= 0 && !is_finite(its)) place = -2;
#if FLAGS
    bool beyond = false;
    if (place >= 0) whole_units(its, bits_f32(PER_UNIT), &beyond);
    if (beyond) frame_status[event] |= FRAME_BEYOND_UNIT; /* nobody else writes here now */
#endif
#endif
    bin[event] = place;
}

#elif STEP == 2
/* grid: a thread a bin, which looks at all events: all threads at the same one. first[bin], next[event]: -1 ends a list */
KERNEL(128) cube_lists(GLOBAL const f32 *weight, GLOBAL const i32 *live, GLOBAL const i64 *count, GLOBAL const i64 *sum_weight, GLOBAL const i64 *outside,
                       GLOBAL i64 *new_count, GLOBAL i64 *new_weight, GLOBAL i64 *new_outside, GLOBAL const i32 *bin, GLOBAL i32 *next, GLOBAL i32 *first,
                       u32 n, u32 bins) {
    u32 mine = BLOCK * 128u + LID, end = LIVE_ROWS(live, n);
    if (mine >= bins) return;
    i32 last = -1, begin = -1;
    i64 many = 0, total = 0, astray = 0, unweighed = 0;
    for (u32 event = 0u; event < end; event++) {
        i32 place = bin[event];
        astray += place == -1 ? 1 : 0;
        unweighed += place == -2 ? 1 : 0;
        if (place == (i32)mine) {
            if (last < 0) begin = (i32)event;
            else next[last] = (i32)event;
            last = (i32)event;
            many++;
#if WEIGHTED
            bool beyond;
            total += whole_units(weight[event], bits_f32(PER_UNIT), &beyond);
#endif
        }
    }
    if (last >= 0) next[last] = -1;
    first[mine] = begin;
    new_count[mine] = count[mine] + many;
#if WEIGHTED
    new_weight[mine] = sum_weight[mine] + total;
#endif
    if (mine == 0u) {
        new_outside[0] = outside[0] + astray;
        new_outside[1] = outside[1] + unweighed;
    }
}

#else
#include "features/pixel_sums.cl"
#define STATE_AT(k) (((u64)(k) * bins + BLOCK_Y) * npix + pixel)
KERNEL_PIXELS(128) cube_add(GLOBAL const WORD *x, GLOBAL const u8 *good, GLOBAL const u8 *pixel_status, GLOBAL const i32 *next, GLOBAL const i32 *first,
                            GLOBAL const i64 *sum, GLOBAL const u64 *sum2, GLOBAL const u32 *used, GLOBAL i64 *new_sum, GLOBAL u64 *new_sum2,
                            GLOBAL u32 *new_used, GLOBAL u32 *frame_status, u32 bins, u32 npix) {
    Index pixel = FIRST_PIXEL;
    if (pixel >= npix) return;
    PixelSums mine = {0u, 0, 0u, 0u};
#if GOOD
    bool usable = good[pixel] != 0;
#else
    bool usable = true;
#endif
    for (i32 event = first[BLOCK_Y]; event >= 0; event = next[event]) {
        u64 at = (u64)event * npix + pixel;
        WORD value = x[at];
        bool use = is_used(value, usable, pixel_status, at);
        pixel_add(&mine, units_of(value, use, frame_status, (u32)event), use);
    }
    pixel_end(&mine, STATE_AT(0u), STATE_AT(1u), sum, sum2, new_sum, new_sum2);
#if USED
    new_used[STATE_AT(0u)] = used[STATE_AT(0u)] + mine.many;
#endif
}
#endif
