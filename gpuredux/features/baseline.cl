/* trace - baseline, the mean or median of a window of each trace.
 * f64: sums of 128 lanes in order, then by halves: exact for whole numbers, in one stated order for floats. */

#define SUMMAND f64
#include "features/block_sum.cl"

INLINE u32 sum_counts(Warp w, SHARED_PTR u32 *counts, u32 mine) {
    mine = warp_sum(w, mine);
    SYNC; /* of the sum before */
    if (LANE == 0u) counts[WARP] = mine;
    SYNC;
    return counts[0] + counts[1] + counts[2] + counts[3];
}

#if FLOAT
#define MEASURED(x) (abs_f32(x) < bits_f32(0x7f800000u))
#else
#define MEASURED(x) true
#endif

#if MEDIAN
/* a u32 in the order of the values; -0 as +0 */
INLINE u32 key_of(WORD x) {
#if FLOAT
    return f32_key(x + 0.0f);
#else
    return SIGNED ? (u32)((i32)x + 32768) : (u32)x;
#endif
}

INLINE f64 of_key(u32 key) {
#if FLOAT
    return (f64)key_f32(key);
#else
    return SIGNED ? (f64)((i32)key - 32768) : (f64)key;
#endif
}

/* the smallest key that `rank` keys of the window or more are not above, bit by bit from the highest */
INLINE u32 ranked(Warp w, SHARED_PTR u32 *counts, GLOBAL const WORD *x, u32 start, u32 stop, u32 rank) {
    u32 key = 0u;
    for (u32 bit = FLOAT ? 0x80000000u : 0x8000u; bit; bit >>= 1) {
        u32 most = key | (bit - 1u), below = 0u;
        for (u32 i = start + LID; i < stop; i += 128u) below += MEASURED(x[i]) && key_of(x[i]) <= most ? 1u : 0u;
        if (sum_counts(w, counts, below) < rank) key |= bit;
    }
    return key;
}
#endif

/* grid: a block a trace. */
KERNEL(128) lower(GLOBAL const WORD *trace, GLOBAL const i32 *live, GLOBAL f32 *out, GLOBAL f32 *baseline, GLOBAL f32 *rms, u32 n, u32 channels,
                  u32 samples, u32 start, u32 stop) {
    WARP_SCRATCH(w, 128);
    SHARED f64 lanes[128];
    SHARED u32 counts[4];
    if (BLOCK / channels >= LIVE_ROWS(live, n)) return;
    GLOBAL const WORD *x = trace + (u64)BLOCK * samples;
    GLOBAL f32 *y = out + (u64)BLOCK * samples;
    f64 mine = 0.0;
    u32 count = 0u;
    IN_ORDER
    for (u32 i = start + LID; i < stop; i += 128u)
        if (MEASURED(x[i])) {
            mine += (f64)x[i];
            count++;
        }
    count = sum_counts(w, counts, count);
    f64 mean = block_sum(lanes, mine) / (f64)(count ? count : 1u);
    mine = 0.0;
    IN_ORDER
    for (u32 i = start + LID; i < stop; i += 128u)
        if (MEASURED(x[i])) {
            f64 apart = (f64)x[i] - mean;
            mine += apart * apart;
        }
    f32 spread = (f32)sqrt(block_sum(lanes, mine) / (f64)(count ? count : 1u));
#if MEDIAN
    u32 low = ranked(w, counts, x, start, stop, (count + 1u) / 2u), high = ranked(w, counts, x, start, stop, count / 2u + 1u);
    f32 middle = (f32)((of_key(low) + of_key(high)) * 0.5);
#else
    f32 middle = (f32)mean;
#endif
    if (count == 0u) middle = spread = bits_f32(0x7fc00000u);
    if (LID == 0u) {
        baseline[BLOCK] = middle;
        rms[BLOCK] = spread;
    }
    for (u32 i = LID; i < samples; i += 128u) y[i] = clean((f32)x[i] - middle);
}
