/* One level of the inverse wavelet transform of all images of a batch. REAL is f32, or f64 where the coefficients are.
 *
 * grid: one block a tile of WIDE x TALL pairs of samples of one image; across first, then down, then the images. A thread owns one column of
 * coefficients and walks down it with windows of the four sub-bands in registers: for PAIRS pairs of rows at a time it makes the sums along the column
 * and lays them into SHARED; then each warp makes the sums along one of these rows.
 * 1-D (TWO = 0): a row is an image, there is no window, and a block has 2 * PAIRS rows.
 * LO_0, HI_0, LO_1, HI_1: the taps for even and for odd samples, in the order of the coefficients, which the sums take from the last to the first;
 * zeros are left out. Sums begin at 0, so that no result is -0. */
#define WIDE (129u - WINDOW)
#define LINE 128u
#define ROWS (2u * PAIRS)

INLINE REAL one_nan(REAL x) { return x == x ? x : (REAL)bits_f32(0x7fc00000u); }

/* the sum along a line by two sets of taps */
#define DEFINE_SUM(name, LO, HI)                                                                \
    INLINE REAL name(const REAL *low, const REAL *high) {                                       \
        const REAL lo[WINDOW] = LO, hi[WINDOW] = HI;                                            \
        REAL sum = 0;                                                                           \
        UNROLL                                                                                  \
        for (u32 k = 0; k < WINDOW; k++)                                                        \
            if (lo[WINDOW - 1 - k] != 0) sum += lo[WINDOW - 1 - k] * low[WINDOW - 1 - k];       \
        UNROLL                                                                                  \
        for (u32 k = 0; k < WINDOW; k++)                                                        \
            if (hi[WINDOW - 1 - k] != 0) sum += hi[WINDOW - 1 - k] * high[WINDOW - 1 - k];      \
        return sum;                                                                             \
    }
DEFINE_SUM(even_sum, LO_0, HI_0)
DEFINE_SUM(odd_sum, LO_1, HI_1)

/* coefficients go round; beyond the last one that samples ask for, any will do */
INLINE u32 go_round(i32 k, u32 n) {
    i32 t = k % (i32)n;
    return (u32)(t < 0 ? t + (i32)n : t);
}

KERNEL(128) idwt(GLOBAL const REAL *before, GLOBAL const REAL *packed, GLOBAL REAL *after, GLOBAL const i32 *live, u32 n, u32 images, u32 rows_out,
                 u32 cols_out, u32 rows, u32 cols, u32 before_rows, u32 before_cols, u32 packed_rows, u32 packed_cols, u32 row_start, u32 col_start) {
    SHARED REAL lines[ROWS * 2u * LINE];
    u32 across = ((cols_out + 1u) / 2u + WIDE - 1u) / WIDE, limit = LIVE_ROWS(live, n) * images, m0 = BLOCK % across * WIDE;
    u32 c = go_round((i32)(m0 + LID) + FIRST, cols);
#if TWO
    u32 pairs = (rows_out + 1u) / 2u, down = (pairs + TALL - 1u) / TALL, image = BLOCK / across / down, top = BLOCK / across % down * TALL;
    u32 end = smaller(top + TALL, pairs);
    if (image >= limit) return;
    GLOBAL const REAL *approximation = before + (u64)image * before_rows * before_cols + c, *details = packed + (u64)image * packed_rows * packed_cols + c;
    u64 below = (u64)row_start * packed_cols;
    REAL a[WINDOW - 1 + PAIRS], h[WINDOW - 1 + PAIRS], v[WINDOW - 1 + PAIRS], d[WINDOW - 1 + PAIRS];
    i32 k0 = (i32)top + FIRST;
    UNROLL
    for (i32 q = 0; q < WINDOW - 1; q++) {
        u32 k = go_round(k0 + (i32)q, rows);
        u64 row = (u64)k * packed_cols;
        a[q] = approximation[(u64)k * before_cols]; h[q] = details[below + row]; v[q] = details[row + col_start]; d[q] = details[below + row + col_start];
    }
    for (u32 g = top; g < end; g += PAIRS) {
        UNROLL
        for (u32 p = 0; p < PAIRS; p++) {
            u32 q = WINDOW - 1 + p, k = go_round(k0 + (i32)q, rows);
            u64 row = (u64)k * packed_cols;
            a[q] = approximation[(u64)k * before_cols]; h[q] = details[below + row]; v[q] = details[row + col_start]; d[q] = details[below + row + col_start];
            lines[4u * p * LINE + LID] = even_sum(a + p, h + p);
            lines[(4u * p + 1u) * LINE + LID] = even_sum(v + p, d + p);
            lines[(4u * p + 2u) * LINE + LID] = odd_sum(a + p, h + p);
            lines[(4u * p + 3u) * LINE + LID] = odd_sum(v + p, d + p);
        }
        u32 r = 2u * g + WARP, last = smaller(rows_out, 2u * end);
        u64 to = ((u64)image * rows_out + r) * cols_out;
#else
    u32 top = BLOCK / across * ROWS, end = smaller(top + ROWS, limit);
    if (top >= limit) return;
    for (u32 g = top; g < end; g += ROWS) {
        UNROLL
        for (u32 p = 0; p < ROWS; p++) {
            u64 row = smaller(g + p, limit - 1u);
            lines[2u * p * LINE + LID] = before[row * before_cols + c];
            lines[(2u * p + 1u) * LINE + LID] = packed[row * packed_cols + col_start + c];
        }
        u32 r = g + WARP, last = end;
        u64 to = (u64)r * cols_out;
#endif
        SYNC;
        for (u32 part = 0; part < 4u; part++) { /* WARP: the row */
            u32 o = LANE + 32u * part, at = smaller(o, WIDE - 1u), col = 2u * (m0 + o);
            REAL low[WINDOW], high[WINDOW];
            UNROLL
            for (u32 q = 0; q < WINDOW; q++) {
                low[q] = lines[2u * WARP * LINE + at + q];
                high[q] = lines[(2u * WARP + 1u) * LINE + at + q];
            }
            if (o < WIDE && r < last) {
                if (col < cols_out) after[to + col] = one_nan(even_sum(low, high));
                if (col + 1u < cols_out) after[to + col + 1u] = one_nan(odd_sum(low, high));
            }
        }
        SYNC;
#if TWO
        UNROLL
        for (i32 q = 0; q < WINDOW - 1; q++) {
            a[q] = a[q + PAIRS]; h[q] = h[q + PAIRS]; v[q] = v[q + PAIRS]; d[q] = d[q + PAIRS];
        }
        k0 += (i32)PAIRS;
#endif
    }
}
