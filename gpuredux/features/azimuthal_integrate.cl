/* Sums over rings, and their ratio.
 * grid: BLOCK = ring, BLOCK_Y = TOGETHER frames. A block walks its ring's pixels: each pixel's place is read once, its value in TOGETHER frames.
 * Pixels left out are taken from the totals, which are known. f64: the ratio of exact sums, each operation rounded once, the result once to f32. */
#define LARGEST 2147483520.0f

KERNEL(128) azimuthal_integrate(GLOBAL const WORD *image, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const i64 *totals, GLOBAL const u8 *marks,
                                GLOBAL const u32 *weight, GLOBAL const i32 *live, GLOBAL f32 *intensity, GLOBAL f32 *sigma, GLOBAL i64 *sum_signal,
                                GLOBAL i64 *sum_normalisation, GLOBAL i32 *pixels, GLOBAL u32 *frame_status, f64 unit, f32 scale, u32 n, u32 rings, u32 npix) {
    SHARED i64 part[3 * TOGETHER][128];
    u32 ring = BLOCK, start = BLOCK_Y * TOGETHER, end = smaller(start + TOGETHER, LIVE_ROWS(live, n));
    if (start >= end) return;
    u32 begin = first[ring], size = first[ring + 1u] - begin, beyond = 0u;
    i64 sum[TOGETHER], gone[TOGETHER];
    u32 away[TOGETHER];
    UNROLL
    for (u32 k = 0u; k < TOGETHER; k++) {
        sum[k] = 0;
        gone[k] = 0;
        away[k] = 0u;
    }
    for (u32 base = 0u; base < size; base += 128u) {
        u32 j = base + LID;
        if (j < size) {
            u32 pixel = order[begin + j];
            UNROLL
            for (u32 k = 0u; k < TOGETHER; k++)
                if (start + k < end) {
                    u64 at = (u64)(start + k) * npix + pixel;
                    bool use = true;
#if FLOATS
                    f32 x = image[at], steps = rint_f32(x * scale);
                    use = is_finite(x);
                    bool over = use && abs_f32(steps) > LARGEST;
                    i64 q = over ? (steps > 0.0f ? (i64)LARGEST : -(i64)LARGEST) : use ? (i64)(i32)steps : 0;
#else
                    bool over = false;
                    i64 q = (i64)image[at];
#endif
#if MARKED
                    use = use && marks[at] == 0u;
#endif
                    if (use) {
                        sum[k] += q;
                        beyond |= over ? 1u << k : 0u;
                    } else {
                        away[k]++;
                        gone[k] += WEIGHTED ? weight[pixel] : 1u << 24;
                    }
                }
        }
    }
    UNROLL
    for (u32 k = 0u; k < TOGETHER; k++) {
        part[3u * k][LID] = sum[k];
        part[3u * k + 1u][LID] = gone[k];
        part[3u * k + 2u][LID] = (i64)away[k];
    }
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach)
            for (u32 k = 0u; k < 3u * TOGETHER; k++) part[k][LID] += part[k][LID + reach];
        SYNC;
    }
    u32 frame = start + LID;
    if (LID < TOGETHER && frame < end) {
        i64 signal = part[3u * LID][0], norm = totals[rings + ring] - part[3u * LID + 1u][0];
        u64 at = (u64)frame * rings + ring;
        f64 s = (f64)signal * unit, w = (f64)norm * 0.000000059604644775390625;
        f32 nan = bits_f32(0x7fc00000u);
        intensity[at] = norm > 0 ? (f32)(s / w) : nan;
#if SIGMA
        sigma[at] = norm > 0 && signal >= 0 ? (f32)(sqrt(signal >= 0 ? s : 0.0) / w) : nan;
#endif
        sum_signal[at] = signal;
        sum_normalisation[at] = norm;
        pixels[at] = (i32)(totals[ring] - part[3u * LID + 2u][0]);
    }
#if FRAME_STATUS
    for (u32 k = 0u; k < TOGETHER; k++)
        if (beyond >> k & 1u) atomic_or_u32(frame_status + start + k, FRAME_BEYOND_UNIT);
#endif
}
