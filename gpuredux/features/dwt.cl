/* One level of the wavelet transform of all images of a batch: cA, cH, cV, cD by one reading. REAL is f32, or f64 where the frames ask for it.
 *
 * grid: one block a tile of WIDE x TALL coefficients of one image; across first, then down, then the images. A thread owns one column of samples, the
 * tile's 2 * WIDE and those that the filters reach beyond, and walks down it with a window in registers: for GROUP rows of coefficients at a time it
 * makes the sums along the column, low and high, and lays them into SHARED, evens and odds apart; then each warp makes the sums along one of these rows.
 * Tiles reach to where the details begin: what lies between the end of a sub-band and there is written as 0.
 * 1-D (TWO = 0): a row is an image, there is no window, and a block has GROUP rows.
 * LO_TAPS, HI_TAPS: the filters; zeros are left out. Sums begin at 0, so that no result is -0. */
#define WIDE ((130u - LENGTH) / 2u)
#define ODDS 80u /* where the odd columns begin: 16 banks further than the evens */
#define LINE (ODDS + 64u)
#define LINES (TWO ? 2u : 1u)
#define HELD (LENGTH - 2)

INLINE REAL one_nan(REAL x) { return x == x ? x : (REAL)bits_f32(0x7fc00000u); }

/* the sums of LENGTH samples, the newest last */
INLINE REAL low_sum(const REAL *x) {
    const REAL taps[LENGTH] = LO_TAPS;
    REAL sum = 0;
    UNROLL
    for (u32 j = 0; j < LENGTH; j++)
        if (taps[j] != 0) sum += taps[j] * x[LENGTH - 1 - j];
    return sum;
}
INLINE REAL high_sum(const REAL *x) {
    const REAL taps[LENGTH] = HI_TAPS;
    REAL sum = 0;
    UNROLL
    for (u32 j = 0; j < LENGTH; j++)
        if (taps[j] != 0) sum += taps[j] * x[LENGTH - 1 - j];
    return sum;
}

INLINE i32 modulo(i32 i, i32 n) {
    i32 t = i % n;
    return t < 0 ? t + n : t;
}

/* which sample stands at place i; for MODE_SMOOTH the one at the near end, for MODE_ANTIREFLECT that of reflect */
INLINE i32 folded(i32 i, i32 n) {
#if defined(MODE_PERIODIC)
    return modulo(i, n);
#elif defined(MODE_PERIODIZATION) /* an odd signal has its last sample twice */
    i32 t = modulo(i, n + (n & 1));
    return t < n ? t : n - 1;
#elif defined(MODE_REFLECT) || defined(MODE_ANTIREFLECT)
    i32 period = n > 1 ? 2 * n - 2 : 1, t = modulo(i, period);
    return t < n ? t : period - t;
#elif defined(MODE_SYMMETRIC) || defined(MODE_ANTISYMMETRIC)
    i32 t = modulo(i, 2 * n);
    return t < n ? t : 2 * n - 1 - t;
#else
    return i < 0 ? 0 : i < n ? i : n - 1;
#endif
}

/* x: the sample that folded() names, which may stand at place i with another sign, or not at all */
INLINE REAL signed_at(REAL x, i32 i, i32 n) {
#if defined(MODE_ZERO)
    return i >= 0 && i < n ? x : (REAL)0;
#elif defined(MODE_ANTISYMMETRIC)
    return modulo(i, 2 * n) < n ? x : -x;
#else
    return x;
#endif
}

/* antireflect beyond the ends, n > 1: about the end's value, and so on at each further end */
INLINE REAL reflected(REAL y, REAL start, REAL end, i32 i, i32 n) {
    i32 u = i < 0 ? -i : i, period = 2 * n - 2, t = u % period, turns = u / period;
    if (t >= n) y = end * (REAL)2 - y;
    if (turns > 0) y = (end - start) * (REAL)(2 * turns) + y;
    return i < 0 ? start * (REAL)2 - y : y;
}

/* smooth beyond the ends, n > 1: on the line through the last two samples */
INLINE REAL on_line(REAL near, REAL next, i32 i, i32 n) { return (near - next) * (REAL)(i < 0 ? -i : i - n + 1) + near; }

/* the sample at place c of a row; at: folded(c, cols) */
INLINE REAL on_row(GLOBAL const WORD *row, i32 c, i32 at, i32 cols) {
    REAL y = (REAL)row[at];
    if (c >= 0 && c < cols) return y;
#if defined(MODE_SMOOTH)
    if (cols > 1) y = on_line(y, (REAL)row[c < 0 ? 1 : cols - 2], c, cols);
#elif defined(MODE_ANTIREFLECT)
    if (cols > 1) y = reflected(y, (REAL)row[0], (REAL)row[cols - 1], c, cols);
#else
    y = signed_at(y, c, cols);
#endif
    return y;
}

/* the sample at place (r, c) of an image, which goes on along its rows first, then along its columns */
INLINE REAL sample(GLOBAL const WORD *image, i32 r, i32 c, i32 at, i32 rows, i32 cols) {
    bool inside = r >= 0 && r < rows;
    REAL y = on_row(image + (u64)(inside ? r : folded(r, rows)) * cols, c, at, cols);
    if (inside) return y;
#if defined(MODE_SMOOTH)
    if (rows > 1) y = on_line(y, on_row(image + (u64)(r < 0 ? 1 : rows - 2) * cols, c, at, cols), r, rows);
#elif defined(MODE_ANTIREFLECT)
    if (rows > 1) y = reflected(y, on_row(image, c, at, cols), on_row(image + (u64)(rows - 1) * cols, c, at, cols), r, rows);
#else
    y = signed_at(y, r, rows);
#endif
    return y;
}

KERNEL(128) dwt(GLOBAL const WORD *before, GLOBAL REAL *after, GLOBAL REAL *packed, GLOBAL const i32 *live, u32 n, u32 images, u32 rows_in, u32 cols_in,
                u32 rows, u32 cols, u32 after_rows, u32 after_cols, u32 packed_rows, u32 packed_cols, u32 row_start, u32 col_start) {
    SHARED REAL lines[GROUP * LINES * LINE];
    u32 across = (col_start + WIDE - 1u) / WIDE, limit = LIVE_ROWS(live, n) * images, k0 = BLOCK % across * WIDE;
    i32 c = (i32)(2u * k0 + LID) + SHIFT - LENGTH + 1, at = folded(c, (i32)cols_in);
    u32 slot = (LID & 1u) * ODDS + (LID >> 1);
#if TWO
    u32 down = (row_start + TALL - 1u) / TALL, image = BLOCK / across / down, top = BLOCK / across % down * TALL;
    u32 end = smaller(top + TALL, row_start);
    if (image >= limit) return;
    GLOBAL const WORD *from = before + (u64)image * rows_in * cols_in;
    REAL x[HELD + 2u * GROUP];
    i32 r = (i32)(2u * top) + SHIFT - LENGTH + 1;
    UNROLL
    for (i32 q = 0; q < HELD; q++) x[q] = sample(from, r + q, c, at, (i32)rows_in, (i32)cols_in);
#else
    u32 top = BLOCK / across * GROUP, end = smaller(top + GROUP, limit);
    if (top >= limit) return;
#endif
    for (u32 g = top; g < end; g += GROUP) {
        UNROLL
        for (u32 k = 0; k < GROUP; k++) {
#if TWO
            x[HELD + 2u * k] = sample(from, r + HELD + (i32)(2u * k), c, at, (i32)rows_in, (i32)cols_in);
            x[HELD + 2u * k + 1u] = sample(from, r + HELD + (i32)(2u * k) + 1, c, at, (i32)rows_in, (i32)cols_in);
            lines[2u * k * LINE + slot] = low_sum(x + 2u * k);
            lines[(2u * k + 1u) * LINE + slot] = high_sum(x + 2u * k);
#else
            lines[k * LINE + slot] = on_row(before + (u64)smaller(g + k, limit - 1u) * cols_in, c, at, (i32)cols_in);
#endif
        }
        SYNC;
        for (u32 part = 0; part < 2u * LINES; part++) { /* WARP: the row; two halves of it, of the low and of the high line */
            u32 high = part >> 1, o = LANE + 32u * (part & 1u), k = g + WARP, col = k0 + o;
            SHARED_PTR const REAL *line = lines + (WARP * LINES + high) * LINE + smaller(o, WIDE - 1u);
            REAL y[LENGTH];
            UNROLL
            for (u32 q = 0; q < LENGTH; q++) y[q] = line[(q & 1u) * ODDS + (q >> 1)];
            REAL low = one_nan(low_sum(y)), up = one_nan(high_sum(y));
#if TWO
            u64 base = (u64)image * packed_rows * packed_cols, row_low = base + (u64)k * packed_cols, row_high = row_low + (u64)row_start * packed_cols;
            bool within = o < WIDE && k < end, real_row = k < rows, real_col = col < cols;
            if (within && !high) {
                if (real_row && real_col) after[((u64)image * after_rows + k) * after_cols + col] = low;
                if (real_col) packed[row_low + col_start + col] = real_row ? up : (REAL)0;
            }
            if (within && high && real_row) {
                if (col < col_start) packed[row_high + col] = real_col ? low : (REAL)0;
                if (real_col) packed[row_high + col_start + col] = up;
            }
#else
            if (o < WIDE && k < end && col < cols) {
                after[(u64)k * after_cols + col] = low;
                packed[(u64)k * packed_cols + col_start + col] = up;
            }
#endif
        }
        SYNC;
#if TWO
        UNROLL
        for (i32 q = 0; q < HELD; q++) x[q] = x[q + 2u * GROUP];
        r += 2 * (i32)GROUP;
#endif
    }
}
