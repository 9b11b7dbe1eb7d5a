/* One level of a lifting transform of all images of a batch, or of its inverse (BACK). KEPT: the type of coefficients, i16, i32, f32 or f64, as the words
 * ask for; READ, WRITTEN: the types of what this level begins and ends with.
 *
 * grid: one block a tile of WIDE x TALL pairs of samples of one image; across first, then down, then the images. A thread owns one column of samples
 * (in BACK of coefficients as they stood: even, odd, even ...), MARGIN pairs beyond the tile included, and walks down it with a window in registers.
 * Forward it takes all steps along the column for GROUP pairs of rows and lays them into SHARED; then each warp takes the steps along these rows.
 * BACK the rows come first, by way of SHARED, then the columns in registers: a first round only fills the window.
 * Every pair is lifted from its neighbours anew: what is symmetric or periodic beyond the ends stays so after each step, bit for bit.
 * 1-D (TWO = 0): a row is an image, and a block has 2 * GROUP rows. */
#define MARGIN (WHOLE ? 1 : 2)
#define WIDE (64u - 2u * MARGIN)
#define ODDS 80u /* where the odd columns begin: 16 banks further than the evens */
#define LINE (ODDS + 64u)
#define ROWS (2u * GROUP)
#define HELD (4 * MARGIN)

#if WHOLE
INLINE KEPT one_nan(KEPT x) { return x; }
INLINE KEPT stepped(KEPT x, KEPT left, KEPT right, u32 which) { /* in WIDER bits, stored modulo those of KEPT */
    WIDER sum = (WIDER)left + (WIDER)right, by = which ? (sum + 2) >> 2 : sum >> 1;
    return (KEPT)((WIDER)x + ((which == 0u) == (BACK == 0) ? -by : by));
}
#else
INLINE KEPT one_nan(KEPT x) { return x == x ? x : (KEPT)bits_f32(0x7fc00000u); }
INLINE KEPT stepped(KEPT x, KEPT left, KEPT right, u32 which) {
    const KEPT factors[6] = FACTORS;
    return x + factors[which] * (left + right);
}
#endif

#define ODD_STEP(t, which, first, end) \
    UNROLL                             \
    for (u32 q = (first); q < (end); q++) (t)[2u * q + 1u] = stepped((t)[2u * q + 1u], (t)[2u * q], (t)[2u * q + 2u], which);
#define EVEN_STEP(t, which, first, end) \
    UNROLL                              \
    for (u32 q = (first); q < (end); q++) (t)[2u * q] = stepped((t)[2u * q], (t)[2u * q - 1u], (t)[2u * q + 1u], which);
#define SCALE(t, total)                     \
    UNROLL                                  \
    for (u32 q = 0; q < (total); q++) {     \
        const KEPT factors[6] = FACTORS;    \
        (t)[2u * q] = (t)[2u * q] * factors[4]; \
        (t)[2u * q + 1u] = (t)[2u * q + 1u] * factors[5]; \
    }
/* all steps for a window of so many pairs, MARGIN of them at both ends only to be read */
#if WHOLE && !BACK
#define LIFT(t, total) ODD_STEP(t, 0u, 0u, (total) - 1u) EVEN_STEP(t, 1u, 1u, (total) - 1u)
#elif WHOLE
#define LIFT(t, total) EVEN_STEP(t, 1u, 1u, total) ODD_STEP(t, 0u, 1u, (total) - 1u)
#elif !BACK
#define LIFT(t, total) ODD_STEP(t, 0u, 0u, (total) - 1u) EVEN_STEP(t, 1u, 1u, (total) - 1u) ODD_STEP(t, 2u, 1u, (total) - 2u) \
    EVEN_STEP(t, 3u, 2u, (total) - 2u) SCALE(t, total)
#else
#define LIFT(t, total) SCALE(t, total) EVEN_STEP(t, 3u, 1u, total) ODD_STEP(t, 2u, 1u, (total) - 1u) EVEN_STEP(t, 1u, 2u, (total) - 1u) \
    ODD_STEP(t, 0u, 2u, (total) - 2u)
#endif

/* which sample stands at place i */
INLINE u32 turned(i32 i, i32 n) {
#if PERIODIC
    i32 t = i % n;
    return (u32)(t < 0 ? t + n : t);
#else
    i32 period = n > 1 ? 2 * n - 2 : 1, t = i % period;
    t = t < 0 ? t + period : t;
    return (u32)(t < n ? t : period - t);
#endif
}

/* the pairs around pair o of a line, evens and odds apart */
INLINE void around(SHARED_PTR const KEPT *line, u32 o, KEPT *t) {
    UNROLL
    for (u32 q = 0; q < 2 * MARGIN + 1; q++) {
        t[2u * q] = line[o + q];
        t[2u * q + 1u] = line[ODDS + o + q];
    }
}

KERNEL(128) lifting(GLOBAL const READ *before, GLOBAL KEPT *packed, GLOBAL WRITTEN *after, GLOBAL const i32 *live, u32 n, u32 images, u32 rows, u32 cols,
                    u32 before_rows, u32 before_cols, u32 after_rows, u32 after_cols, u32 packed_rows, u32 packed_cols) {
    SHARED KEPT lines[ROWS * LINE];
    u32 half_cols = (cols + 1u) / 2u, half_rows = (rows + 1u) / 2u, across = (half_cols + WIDE - 1u) / WIDE, m0 = BLOCK % across * WIDE;
    u32 limit = LIVE_ROWS(live, n) * images, slot = (LID & 1u) * ODDS + (LID >> 1);
    i32 c = 2 * ((i32)m0 - MARGIN) + (i32)LID;
    u32 col = turned(c, (i32)cols);
#if TWO
    u32 down = (half_rows + TALL - 1u) / TALL, image = BLOCK / across / down;
    i32 top = (i32)(BLOCK / across % down * TALL), end = (i32)smaller((u32)top + TALL, half_rows), begin = top - (i32)GROUP, pace = (i32)GROUP;
    if (image >= limit) return;
    KEPT x[HELD + ROWS];
    UNROLL
    for (u32 q = 0; q < HELD + ROWS; q++) x[q] = 0;
#else
    i32 top = (i32)(BLOCK / across * ROWS), end = (i32)smaller((u32)top + ROWS, limit), begin = top, pace = (i32)ROWS;
    if ((u32)top >= limit) return;
#endif
    for (i32 g = begin; g < end; g += pace) {
        UNROLL
        for (u32 p = 0; p < ROWS; p++) {
#if TWO
            u32 row = turned(2 * (g + MARGIN) + (i32)p, (i32)rows), where = image;
#else
            u32 row = 0u, where = smaller((u32)g + p, limit - 1u);
#endif
#if BACK
            u32 r = (row & 1u ? half_rows : 0u) + (row >> 1), k = (col & 1u ? half_cols : 0u) + (col >> 1);
            KEPT y = (row | col) & 1u ? packed[((u64)where * packed_rows + r) * packed_cols + k] : (KEPT)before[((u64)where * before_rows + r) * before_cols + k];
            lines[p * LINE + slot] = y;
#else
            KEPT y = (KEPT)before[((u64)where * before_rows + row) * before_cols + col];
#if TWO
            x[HELD + p] = y;
#else
            lines[p * LINE + slot] = y;
#endif
#endif
        }
#if !BACK
#if TWO
        KEPT t[HELD + ROWS];
        UNROLL
        for (u32 q = 0; q < HELD + ROWS; q++) t[q] = x[q];
        if (rows > 1u) {
            LIFT(t, 2u * MARGIN + GROUP)
        }
        UNROLL
        for (u32 p = 0; p < ROWS; p++) lines[p * LINE + slot] = t[2 * MARGIN + p];
#endif
        SYNC;
        for (u32 part = 0; part < ROWS / 2u; part++) { /* of each row two halves */
            u32 p = WARP + 4u * (part >> 1), o = LANE + 32u * (part & 1u), pair = m0 + o;
            KEPT y[2 * (2 * MARGIN + 1)];
            around(lines + p * LINE, smaller(o, WIDE - 1u), y);
            if (cols > 1u) {
                LIFT(y, 2u * MARGIN + 1u)
            }
#if TWO
            u32 k = (u32)g + (p >> 1), high = p & 1u, row = high ? half_rows + k : k, where = image;
            bool mine = g >= top && o < WIDE && (i32)k < end && row < rows;
#else
            u32 high = 0u, row = 0u, where = (u32)g + p;
            bool mine = o < WIDE && (i32)where < end;
#endif
            u64 to = ((u64)where * packed_rows + row) * packed_cols;
            if (mine && pair < half_cols) {
                KEPT low = one_nan(y[2 * MARGIN]);
                if (high) packed[to + pair] = low;
                else after[((u64)where * after_rows + row) * after_cols + pair] = (WRITTEN)low;
            }
            if (mine && pair + half_cols < cols) packed[to + half_cols + pair] = one_nan(y[2 * MARGIN + 1]);
        }
        SYNC;
#else
        SYNC;
        u32 o = smaller(LID >> 1, 63u - MARGIN);
        o = o < MARGIN ? 0u : o - MARGIN;
        bool inner = (LID >> 1) >= MARGIN && (LID >> 1) < 64u - MARGIN && c < (i32)cols;
        UNROLL
        for (u32 p = 0; p < ROWS; p++) {
            KEPT y[2 * (2 * MARGIN + 1)];
            around(lines + p * LINE, o, y);
            if (cols > 1u) {
                LIFT(y, 2u * MARGIN + 1u)
            }
            KEPT made = LID & 1u ? y[2 * MARGIN + 1] : y[2 * MARGIN];
#if TWO
            x[HELD + p] = made;
#else
            if (inner && g + (i32)p < end) after[(u64)(g + (i32)p) * after_cols + (u32)c] = (WRITTEN)one_nan(made);
#endif
        }
        SYNC;
#if TWO
        KEPT t[HELD + ROWS];
        UNROLL
        for (u32 q = 0; q < HELD + ROWS; q++) t[q] = x[q];
        if (rows > 1u) {
            LIFT(t, 2u * MARGIN + GROUP)
        }
        UNROLL
        for (u32 p = 0; p < ROWS; p++) {
            u32 row = 2u * (u32)g + p;
            if (inner && g >= top && row < rows) after[((u64)image * after_rows + row) * after_cols + (u32)c] = (WRITTEN)one_nan(t[2 * MARGIN + p]);
        }
#endif
#endif
#if TWO
        UNROLL
        for (u32 q = 0; q < HELD; q++) x[q] = x[q + ROWS];
#endif
    }
}
