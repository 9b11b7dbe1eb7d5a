/* Sums over rings, and what is made of them. Over 200 lines: of whole pixels, the fast way, and of parts of pixels with their moments.
 * grid: BLOCK = ring, BLOCK_Y = TOGETHER frames. A block walks its ring's pixels: each pixel's place is read once, its value in TOGETHER frames.
 * Rings of whole pixels: pixels left out are taken from the totals, which are known. SPLIT or MOMENTS: azimuthal_parts, which adds up all there is.
 * f64: ratios of exact sums, each operation rounded once, the result once to f32. */
#define LOW32 0xffffffffu

/* a value in units; whether it is a number, and whether it was limited */
INLINE i64 steps_of(WORD x, f32 scale, bool *use, bool *over) {
#if FLOATS
    *use = is_finite(x);
    *over = false;
    return *use ? whole_units(x, scale, over) : 0;
#else
    *use = true;
    *over = false;
    return (i64)x;
#endif
}

#if !SPLIT && !MOMENTS
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
                    bool use, over;
                    i64 q = steps_of(image[at], scale, &use, &over);
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

#else
#define SUMS (MOMENTS ? 9u : VARIANCE ? 4u : 3u) /* signal, norm, share; variance, or low and high of v * v, v * norm, norm * norm */
#define EACH_FRAME UNROLL for (u32 k = 0u; k < TOGETHER; k++)
#define ADD_TWICE(low, high, value) \
    do {                            \
        low += square * (i64)((u64)(value) & LOW32); \
        high += square * (i64)((value) >> 32);       \
    } while (0)

/* two sums as one number; the halves as they are stored */
INLINE f64 carried(i64 low, i64 high, GLOBAL i64 *to, u64 step) {
    high += low >> 32;
    low &= (i64)LOW32;
    to[0] = low;
    to[step] = high;
    return (f64)high * 4294967296.0 + (f64)low;
}

/* unit, step: of values and of normalisations; part: of a pixel, of a share; square, shift: of squares of shares, see SplitRings.square_shift */
KERNEL(128) azimuthal_parts(GLOBAL const WORD *image, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const u16 *shares, GLOBAL const u8 *marks,
                            GLOBAL const u32 *weight, GLOBAL const i32 *live, GLOBAL f32 *intensity, GLOBAL f32 *sigma, GLOBAL f32 *std,
                            GLOBAL i64 *sum_signal, GLOBAL i64 *sum_normalisation, GLOBAL i32 *pixels, GLOBAL i64 *sum_variance, GLOBAL i64 *moments,
                            GLOBAL u32 *frame_status, f64 unit, f64 step, f64 part, f64 squared, f32 scale, u32 shift, u32 n, u32 rings, u32 npix) {
    SHARED i64 all[SUMS * TOGETHER][128];
    u32 ring = BLOCK, start = BLOCK_Y * TOGETHER, end = smaller(start + TOGETHER, LIVE_ROWS(live, n));
    if (start >= end) return;
    u32 begin = first[ring], size = first[ring + 1u] - begin, beyond = 0u;
    i64 sum[TOGETHER], norm[TOGETHER], whole[TOGETHER];
#if VARIANCE
    i64 variance[TOGETHER];
    EACH_FRAME variance[k] = 0;
#endif
#if MOMENTS
    i64 vv_low[TOGETHER], vv_high[TOGETHER], vw_low[TOGETHER], vw_high[TOGETHER], ww_low[TOGETHER], ww_high[TOGETHER];
    EACH_FRAME {
        vv_low[k] = vv_high[k] = 0;
        vw_low[k] = vw_high[k] = 0;
        ww_low[k] = ww_high[k] = 0;
    }
#endif
    EACH_FRAME {
        sum[k] = 0;
        norm[k] = 0;
        whole[k] = 0;
    }
    for (u32 base = 0u; base < size; base += 128u) {
        u32 j = base + LID;
        if (j < size) {
            u32 pixel = order[begin + j];
            i64 share = SPLIT ? (i64)shares[begin + j] : 1, mass = WEIGHTED ? (i64)weight[pixel] : (i64)1 << 24;
#if VARIANCE || MOMENTS
            i64 square = SPLIT ? (i64)(((u32)share * (u32)share + (1u << shift >> 1)) >> shift) : 1;
#endif
            EACH_FRAME
                if (start + k < end) {
                    u64 at = (u64)(start + k) * npix + pixel;
                    bool use, over;
                    i64 q = steps_of(image[at], scale, &use, &over);
#if MARKED
                    use = use && marks[at] == 0u;
#endif
                    if (use) {
                        sum[k] += share * q;
                        norm[k] += share * mass;
                        whole[k] += share;
                        beyond |= over ? 1u << k : 0u;
#if VARIANCE
                        variance[k] += square * q;
#endif
#if MOMENTS
                        u64 vv = (u64)q * (u64)q;
                        i64 vw = q * mass, ww = mass * mass;
                        ADD_TWICE(vv_low[k], vv_high[k], vv);
                        ADD_TWICE(vw_low[k], vw_high[k], vw);
                        ADD_TWICE(ww_low[k], ww_high[k], ww);
#endif
                    }
                }
        }
    }
    EACH_FRAME {
        all[SUMS * k][LID] = sum[k];
        all[SUMS * k + 1u][LID] = norm[k];
        all[SUMS * k + 2u][LID] = whole[k];
#if VARIANCE
        all[SUMS * k + 3u][LID] = variance[k];
#endif
#if MOMENTS
        all[SUMS * k + 3u][LID] = vv_low[k];
        all[SUMS * k + 4u][LID] = vv_high[k];
        all[SUMS * k + 5u][LID] = vw_low[k];
        all[SUMS * k + 6u][LID] = vw_high[k];
        all[SUMS * k + 7u][LID] = ww_low[k];
        all[SUMS * k + 8u][LID] = ww_high[k];
#endif
    }
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach)
            for (u32 k = 0u; k < SUMS * TOGETHER; k++) all[k][LID] += all[k][LID + reach];
        SYNC;
    }
    u32 frame = start + LID;
    if (LID < TOGETHER && frame < end) {
        SHARED_PTR i64(*mine)[128] = all + SUMS * LID;
        u64 at = (u64)frame * rings + ring;
        f64 s = (f64)mine[0][0] * (unit * part), w = (f64)mine[1][0] * (step * part);
        f32 nan = bits_f32(0x7fc00000u);
        bool some = mine[1][0] > 0;
        intensity[at] = some ? (f32)(s / w) : nan;
        sum_signal[at] = mine[0][0];
        sum_normalisation[at] = mine[1][0];
        pixels[at] = (i32)mine[2][0];
#if VARIANCE
        bool real = mine[3][0] >= 0;
        sigma[at] = some && real ? (f32)(sqrt(real ? (f64)mine[3][0] * (unit * squared) : 0.0) / w) : nan;
        sum_variance[at] = mine[3][0];
#endif
#if MOMENTS
        u64 to = (u64)frame * 6u * rings + ring;
        f64 vv = carried(mine[3][0], mine[4][0], moments + to, rings) * (unit * unit * squared);
        f64 vw = carried(mine[5][0], mine[6][0], moments + to + 2u * (u64)rings, rings) * (unit * step * squared);
        f64 ww = carried(mine[7][0], mine[8][0], moments + to + 4u * (u64)rings, rings) * (step * step * squared);
        f64 mean = some ? s / w : 0.0, spread = vv - mean * (2.0 * vw - mean * ww);
        spread = spread > 0.0 ? spread : 0.0;
        some = some && ww > 0.0;
        sigma[at] = some ? (f32)(sqrt(spread) / w) : nan;
        std[at] = some ? (f32)sqrt(spread / ww) : nan;
#endif
    }
#if FRAME_STATUS
    EACH_FRAME
        if (beyond >> k & 1u) atomic_or_u32(frame_status + start + k, FRAME_BEYOND_UNIT);
#endif
}
#endif
