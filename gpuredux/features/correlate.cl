/* Multi-tau correlation: the frames of all levels that a batch makes, then products and sums of pairs by tile, then by region on top of the state.
 * All is whole numbers, UNUSED where there is no measurement. A level's frame r of this batch is row r of its part of series; r < 0: history, whose
 * last row is r = -1. Row by row pixels of the regions lie in order, so that threads read side by side. */
#define UNUSED (-2147483647 - 1)
#define LAGS 4u /* delays that a thread takes at once */

/* rows of series that levels below take up */
INLINE u32 rows_before(u32 level, u32 n) {
    u32 rows = 0u;
    for (u32 k = 0u; k < level; k++) rows += (n >> k) + 1u;
    return rows;
}

#if STEP == 1
/* grid: a thread a pixel of the regions: its value in each frame, its sums, and the history that it leaves */
INLINE i32 steps_of(WORD value, f32 per_unit, i32 most, bool *beyond) {
#if FLOATS
    if (!is_finite(value)) return UNUSED;
    f32 steps = rint_f32(value * per_unit);
    *beyond = abs_f32(steps) > (f32)most;
    return (i32)limited(steps, (f32)most);
#elif NARROW
    return (i32)value;
#else
    i64 wide = (i64)value;
    *beyond = wide > most || wide < -most;
    return wide > most ? most : wide < -most ? -most : (i32)wide;
#endif
}

KERNEL_PIXELS(128) g2_series(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u32 *order, GLOBAL const i32 *live, GLOBAL const i64 *frames,
                             GLOBAL const i32 *history, GLOBAL i64 *new_frames, GLOBAL i32 *new_history, GLOBAL i32 *series, GLOBAL u32 *frame_status,
                             f32 per_unit, i32 most, u32 n, u32 npix, u32 used, u32 num_levels, u32 num_bufs) {
    Index j = FIRST_PIXEL;
    u32 end = LIVE_ROWS(live, n), kept = num_bufs - 1u;
    u64 before = (u64)frames[0], after = before + end;
    if (j == 0u) new_frames[0] = (i64)after;
    if (j >= used) return;
    u64 pixel = order[j];
    for (u32 frame = 0u; frame < end; frame++) {
        u64 at = (u64)frame * npix + pixel;
        bool beyond = false;
        i32 value = steps_of(image[at], per_unit, most, &beyond);
#if MARKED
        if (marks[at]) {
            value = UNUSED;
            beyond = false;
        }
#endif
#if FLAGS
        if (beyond) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT); /* rare */
#endif
        series[(u64)frame * used + j] = value;
    }
    for (u32 level = 0u; level < num_levels; level++) {
        GLOBAL i32 *mine = series + (u64)rows_before(level, n) * used + j;
        GLOBAL const i32 *past = history + (u64)level * kept * used + j;
        GLOBAL i32 *left = new_history + (u64)level * kept * used + j;
        u32 many = (u32)((after >> level) - (before >> level));
        if (level) {
            GLOBAL const i32 *below = series + (u64)rows_before(level - 1u, n) * used + j, *last = past - used; /* of the level below */
            u32 odd = (u32)(before >> (level - 1u)) & 1u;
            for (u32 r = 0u; r < many; r++) {
                i32 a = 2u * r < odd ? last[0] : below[(u64)(2u * r - odd) * used], b = below[(u64)(2u * r + 1u - odd) * used];
                mine[(u64)r * used] = a == UNUSED || b == UNUSED ? UNUSED : a + b;
            }
        }
        for (u32 s = 0u; s < kept; s++) left[(u64)s * used] = s + many < kept ? past[(u64)(s + many) * used] : mine[(u64)(s + many - kept) * used];
    }
}
#endif

#if STEP == 2
/* grid: BLOCK = tile of pixels of one region, BLOCK_Y = LAGS delays of one level. A thread goes through time with the last LAGS values in registers. */
KERNEL(128) g2_pairs(GLOBAL const i32 *history, GLOBAL const i32 *all_series, GLOBAL const i64 *frames, GLOBAL const i64 *new_frames, GLOBAL const u32 *tile,
                     GLOBAL u64 *parts, u32 n, u32 used, u32 num_bufs, u32 tiles) {
    SHARED u64 sums[5][128];
    u32 middle = num_bufs / 2u, first_groups = (num_bufs + LAGS - 1u) / LAGS, groups = (middle + LAGS - 1u) / LAGS;
    bool low_level = BLOCK_Y < first_groups;
    u32 level = low_level ? 0u : 1u + (BLOCK_Y - first_groups) / groups;
    u32 lag = low_level ? BLOCK_Y * LAGS : middle + (BLOCK_Y - first_groups) % groups * LAGS, lags = smaller(LAGS, num_bufs - lag);
    u32 many = (u32)(((u64)new_frames[0] >> level) - ((u64)frames[0] >> level)), end = tile[2u * BLOCK + 1u];
    u64 low[LAGS], high[LAGS], past[LAGS], future[LAGS], pairs[LAGS];
    UNROLL
    for (u32 d = 0u; d < LAGS; d++) low[d] = high[d] = past[d] = future[d] = pairs[d] = 0u;
    for (u32 base = tile[2u * BLOCK]; base < end; base += 128u) {
        u32 j = base + LID;
        if (j < end) {
            GLOBAL const i32 *series = all_series + (u64)rows_before(level, n) * used + j;
            GLOBAL const i32 *behind = history + (u64)(level + 1u) * (num_bufs - 1u) * used + j; /* row -r of history: behind - r * used */
            i32 w[LAGS];
            UNROLL
            for (u32 d = 0u; d < LAGS; d++) w[d] = d + 1u < lags ? *(behind - (u64)(lag + 1u + d) * used) : UNUSED;
            for (u32 r = 0u; r < many; r++) {
                i32 x = series[(u64)r * used];
                w[3] = w[2];
                w[2] = w[1];
                w[1] = w[0];
                w[0] = r < lag ? *(behind - (u64)(lag - r) * used) : series[(u64)(r - lag) * used];
                UNROLL
                for (u32 d = 0u; d < LAGS; d++) {
                    bool both = x != UNUSED && w[d] != UNUSED;
                    i64 a = both ? (i64)w[d] : 0, b = both ? (i64)x : 0, product = a * b;
                    low[d] += (u64)product & 0xffffffffu;
                    high[d] += (u64)(product >> 32);
                    past[d] += (u64)a;
                    future[d] += (u64)b;
                    pairs[d] += both ? 1u : 0u;
                }
            }
        }
    }
    UNROLL
    for (u32 d = 0u; d < LAGS; d++) {
        SYNC; /* sums were read */
        sums[0][LID] = low[d];
        sums[1][LID] = high[d];
        sums[2][LID] = past[d];
        sums[3][LID] = future[d];
        sums[4][LID] = pairs[d];
        SYNC;
        for (u32 reach = 64u; reach; reach >>= 1) {
            if (LID < reach)
                for (u32 c = 0u; c < 5u; c++) sums[c][LID] += sums[c][LID + reach];
            SYNC;
        }
        if (LID < 5u && d < lags) parts[((u64)(level * middle + lag + d) * 5u + LID) * tiles + BLOCK] = sums[LID][0];
    }
}
#endif

#if STEP == 3
/* grid: BLOCK = region, BLOCK_Y = delay: what its tiles have summed, on top of the state */
KERNEL(128) g2_sums(GLOBAL const u64 *parts, GLOBAL const u32 *first_tile, GLOBAL const i64 *product, GLOBAL const i64 *past, GLOBAL const i64 *future,
                    GLOBAL const i64 *pairs, GLOBAL i64 *new_product, GLOBAL i64 *new_past, GLOBAL i64 *new_future, GLOBAL i64 *new_pairs, u32 tiles,
                    u32 regions, u32 delays) {
    SHARED u64 sums[5][128];
    u32 begin = first_tile[BLOCK], end = first_tile[BLOCK + 1u];
    for (u32 c = 0u; c < 5u; c++) {
        u64 mine = 0u;
        for (u32 base = begin; base < end; base += 128u)
            if (base + LID < end) mine += parts[((u64)BLOCK_Y * 5u + c) * tiles + base + LID];
        sums[c][LID] = mine;
    }
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach)
            for (u32 c = 0u; c < 5u; c++) sums[c][LID] += sums[c][LID + reach];
        SYNC;
    }
    if (LID == 0u) {
        u64 at = (u64)BLOCK_Y * regions + BLOCK, above = at + (u64)delays * regions, low = (u64)product[at] + sums[0][0];
        new_product[at] = (i64)(low & 0xffffffffu);
        new_product[above] = (i64)((u64)product[above] + sums[1][0] + (low >> 32));
        new_past[at] = (i64)((u64)past[at] + sums[2][0]);
        new_future[at] = (i64)((u64)future[at] + sums[3][0]);
        new_pairs[at] = (i64)((u64)pairs[at] + sums[4][0]);
    }
}
#endif
