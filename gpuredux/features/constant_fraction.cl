/* Where s[i - delay] - fraction * s[i] comes up through `walk`, and the pulse there.
 * f64: the difference of samples and its zero are to be exact far below a sample; each operation in the order written, rounded once. */

INLINE f64 signal(GLOBAL const WORD *x, u32 i, f32 sign) { return (f64)((f32)x[i] * sign); }

INLINE f64 bipolar(GLOBAL const WORD *x, u32 i, f32 sign, u32 delay, f64 fraction) { return signal(x, i - delay, sign) - fraction * signal(x, i, sign); }

/* grid: a block a trace, 128 samples at a time: the threads at which the trace comes up are numbered in order of time, and each writes its hit. */
KERNEL(128) time_hits(GLOBAL const WORD *trace, GLOBAL const i32 *live, GLOBAL f64 *hit_time, GLOBAL f32 *hit_height, GLOBAL f32 *hit_integral,
                      GLOBAL i32 *hit_count, f32 threshold, f32 walk, f64 fraction, f32 sign, u32 n, u32 channels, u32 samples, u32 delay, u32 before,
                      u32 after, u32 cap) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    if (BLOCK / channels >= LIVE_ROWS(live, n)) return;
    GLOBAL const WORD *x = trace + (u64)BLOCK * samples;
    f64 infinite = (f64)bits_f32(0x7f800000u), level = (f64)walk;
    u32 found = 0u;
    for (u32 base = delay + 1u; base < samples; base += 128u) {
        u32 i = base + LID, all;
        f64 low = 0.0, up = 0.0;
        bool hit = false;
        if (i < samples) {
            low = bipolar(x, i - 1u, sign, delay, fraction);
            up = bipolar(x, i, sign, delay, fraction);
            if (low < level && up >= level && up - low < infinite)
                for (u32 j = i - delay; j <= i; j++) hit = hit || signal(x, j, sign) > (f64)threshold;
        }
        u32 k = found + block_scan(w, sums, hit ? 1u : 0u, &all) - 1u;
        if (hit && k < cap) {
            f64 high = -infinite, total = 0.0;
            u32 end = samples - i > after ? i + after + 1u : samples;
            IN_ORDER
            for (u32 j = i > before ? i - before : 0u; j < end; j++) {
                f64 s = signal(x, j, sign);
                if (s < infinite && s > -infinite) {
                    total += s;
                    high = s > high ? s : high;
                }
            }
            u64 at = (u64)BLOCK * cap + k;
            hit_time[at] = (f64)(i - 1u) + (level - low) / (up - low);
            hit_height[at] = (f32)(high + 0.0);
            hit_integral[at] = (f32)total;
        }
        found += all;
        SYNC; /* sums is written again */
    }
    if (LID == 0u) hit_count[BLOCK] = (i32)found;
    for (u32 k = found + LID; k < cap; k += 128u) {
        hit_time[(u64)BLOCK * cap + k] = 0.0;
        hit_height[(u64)BLOCK * cap + k] = 0.0f;
        hit_integral[(u64)BLOCK * cap + k] = 0.0f;
    }
}
