/* Strong pixels by the index of dispersion of their windows, as bits. Over 200 lines: the walk down, and every kind of pixel.
 *
 * grid: blocks of 128 threads over (frame, panel, strip of STRIP rows, byte of the result); a frame's threads end within a block. A thread owns the 8
 * columns of a byte and walks down its strip: it adds the window sums of the row that comes in, subtracts those of the row that goes out (which it reads
 * again, from the cache), and stores a byte a row. Nothing is shared: lanes read side by side, 8 columns apart. For DIALS's decisions f64 is needed; only
 * pixels that an f32 test cannot refuse get so far. BACKGROUND: bits of the background test alone, for dispersion_extended.cl, 1 where a pixel is not
 * used or does not exist.
 *
 * Sum: the number of pixels and the sum of their values in one word, PLACES bits for the sum: two's complement, so that a sum below zero borrows from
 * the number and gives it back. */
#if defined(__OPENCL_VERSION__) && !defined(cl_khr_fp64)
#error "features.dispersion decides in f64, which this device does not have"
#endif
#define MANY (8 + 2 * KX) /* pixels of a row that the windows of 8 columns take in */
#define LIMIT 16777216    /* a pixel of so many units or more, or so far below 0, is in no sum */
#if WIDE
typedef u64 Sum;
typedef i64 Whole; /* m v - x, x */
#define PLACES 40
#else
typedef u32 Sum;
typedef i32 Whole;
#define PLACES 24
#endif
#if SIGNED
#define SUM_OF(p) ((Whole)((p) << (sizeof(Whole) * 8 - PLACES)) >> (sizeof(Whole) * 8 - PLACES))
#else
#define SUM_OF(p) ((Whole)((p) & (((Sum)1 << PLACES) - 1u)))
#endif

/* A pixel's value in units; *counted: whether sums take it in; *used: whether it is a measurement at all, *beyond: whether it was limited. */
INLINE i64 value_of(WORD w, f32 per_unit, bool *counted, bool *used, bool *beyond) {
#if FLOAT
    *used = is_finite(w);
    *beyond = false;
    i64 v = *used ? whole_units(w, per_unit, beyond) : 0;
#else
    *used = true;
    *beyond = false;
    i64 v = (i64)w;
#endif
    *counted = *used && v < LIMIT && v > -LIMIT;
    return v;
}

/* The number of pixels with their sum, and the sum of squares, of the part of 8 windows that lies in this row. */
INLINE void window_row(GLOBAL const WORD *x, GLOBAL const u8 *status, i64 at, u32 bits, f32 per_unit, Sum *p, u64 *y) {
    Sum one[MANY];
    u64 square[MANY];
    UNROLL_ON_GPU
    for (u32 j = 0; j < MANY; j++) {
        one[j] = 0u;
        square[j] = 0u;
        if (bits >> j & 1u) {
            bool counted, used, beyond;
            i64 v = value_of(x[at + j], per_unit, &counted, &used, &beyond);
#if STATUS
            counted = counted && status[at + j] == 0u;
#endif
            if (counted) {
                i32 w = (i32)v;
                one[j] = ((Sum)1 << PLACES) + (Sum)w;
                square[j] = (u64)((i64)w * w);
            }
        }
    }
    p[0] = 0u;
    y[0] = 0u;
    UNROLL_ON_GPU
    for (u32 j = 0; j < 2 * KX + 1; j++) {
        p[0] += one[j];
        y[0] += square[j];
    }
    UNROLL_ON_GPU
    for (u32 k = 1; k < 8; k++) {
        p[k] = p[k - 1] + one[k + 2 * KX] - one[k - 1];
        y[k] = y[k - 1] + square[k + 2 * KX] - square[k - 1];
    }
}

/* Bits j of the columns first + j of this row that exist and are good. */
INLINE u32 good_bits(GLOBAL const u32 *good, u64 row, u32 words, i32 first, u32 inside) {
#if GOOD
    u32 from = (u32)(first + 32), word = from >> 5;
    u64 low = word == 0u ? 0u : good[row * words + word - 1u], high = word < words ? good[row * words + word] : 0u;
    return (u32)((high << 32 | low) >> (from & 31u)) & inside;
#else
    return inside;
#endif
}

INLINE f64 root(f64 x) { return sqrt(x); }

/* Whether the variance of a window is beyond what Poisson's law leaves it. g: pixel values a photon. */
INLINE bool not_background(i64 m, i64 x, u64 y, f64 g, f64 sigma_background) {
    u64 spread = (u64)m * y - (u64)x * (u64)x;
    f64 wide = root(2.0 * (f64)(m - 1));
#if GAIN
    return (f64)(i64)spread > g * (f64)x * ((f64)(m - 1) + sigma_background * wide);
#else
    return (f64)(i64)(spread - (u64)x * (u64)(m - 1)) > (f64)x * sigma_background * wide;
#endif
}

INLINE bool above_mean(i64 over, i64 m, i64 x, f64 g, f64 sigma_strong) {
#if GAIN
    return (f64)over > sigma_strong * root(g * (f64)x * (f64)m);
#else
    return (f64)over > sigma_strong * root((f64)(x * m));
#endif
}

KERNEL(128) dispersion_start(GLOBAL const i32 *live, GLOBAL u32 *strong_count, u32 n) { /* grid: one thread a frame */
    u32 frame = BLOCK * 128u + LID;
    if (frame < LIVE_ROWS(live, n)) strong_count[frame] = 0u;
}

KERNEL(128) dispersion(
    GLOBAL const WORD *x, GLOBAL const u8 *status, GLOBAL const u32 *good, GLOBAL const f32 *gain, GLOBAL const i32 *live, GLOBAL u8 *strong,
    GLOBAL u32 *strong_count, GLOBAL u32 *frame_status, f64 sigma_background, f64 sigma_strong, f64 scale, f32 refused, f32 per_unit, i64 threshold,
    i32 min_local, u32 n, u32 panels, u32 rows, u32 cols, u32 blocks
) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK / blocks, unit = BLOCK % blocks * 128u + LID;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 words = (cols + 31u) / 32u, strips = (rows + STRIP - 1u) / STRIP, byte = unit % (words * 4u), strip = unit / (words * 4u);
    u32 panel = strip / strips, found = 0u, limited = 0u;
    bool mine = panel < panels;
    i32 begin = (i32)(strip % strips * STRIP), end = mine ? (i32)smaller((u32)begin + STRIP, rows) : begin - 2 * KY;
    i32 first = (i32)(byte * 8u) - KX;
    u32 inside = 0u;
    for (i32 j = 0; j < MANY; j++) inside |= (first + j >= 0 && first + j < (i32)cols ? 1u : 0u) << j;
    u64 above = ((u64)frame * panels + panel) * rows; /* rows of the batch above this panel */
    Sum p[8], row_p[8];
    u64 y[8], row_y[8];
    UNROLL_ON_GPU
    for (u32 k = 0; k < 8; k++) p[k] = 0u, y[k] = 0u;
    for (i32 r = begin - KY; r < end + KY; r++) {
        i32 gone = r - (2 * KY + 1), here = r - KY;
        if (r >= 0 && r < (i32)rows) {
            u32 bits = good_bits(good, (u64)panel * rows + (u32)r, words, first, inside);
            window_row(x, status, (i64)(above + (u32)r) * cols + first, bits, per_unit, row_p, row_y);
            UNROLL_ON_GPU
            for (u32 k = 0; k < 8; k++) p[k] += row_p[k], y[k] += row_y[k];
        }
        if (gone >= 0 && gone >= begin - KY) {
            u32 bits = good_bits(good, (u64)panel * rows + (u32)gone, words, first, inside);
            window_row(x, status, (i64)(above + (u32)gone) * cols + first, bits, per_unit, row_p, row_y);
            UNROLL_ON_GPU
            for (u32 k = 0; k < 8; k++) p[k] -= row_p[k], y[k] -= row_y[k];
        }
        if (here >= begin) { /* no continue: warp_sum comes behind the loop */
            u32 bits = good_bits(good, (u64)panel * rows + (u32)here, words, first, inside) >> KX, result = 0u;
            i64 at = (i64)(above + (u32)here) * cols + (byte * 8u);
            UNROLL_ON_GPU
            for (u32 k = 0; k < 8; k++) {
                bool counted = false, used = false, beyond = false;
                i64 v = 0;
                if (bits >> k & 1u) {
                    v = value_of(x[at + k], per_unit, &counted, &used, &beyond);
#if STATUS
                    used = used && status[at + k] == 0u;
#endif
                }
                limited |= used && beyond ? 1u : 0u;
                Whole sum = SUM_OF(p[k]), m = (Whole)((p[k] - (Sum)sum) >> PLACES);
                bool enough = used && m >= min_local && sum >= 0;
                f64 g = scale;
#if BACKGROUND
                bool yes = !used;
                if (enough) {
#if GAIN == 2
                    g *= (f64)gain[((u64)panel * rows + (u32)here) * cols + byte * 8u + k];
#endif
                    yes = not_background(m, sum, y[k], g, sigma_background);
                }
#else
                bool yes = false;
                i64 over = (i64)m * v - sum;
                if (enough && v > threshold && over > 0) {
                    f32 limit = refused;
#if GAIN == 2
                    f32 of_map = gain[((u64)panel * rows + (u32)here) * cols + byte * 8u + k];
                    g *= (f64)of_map;
                    limit *= of_map;
#endif
                    if (!((f32)over * (f32)over <= limit * ((f32)sum * (f32)m))) /* refused is so much too low that rounding does not matter */
                        yes = not_background(m, sum, y[k], g, sigma_background) && above_mean(over, m, sum, g, sigma_strong);
                }
#endif
                result |= (yes ? 1u : 0u) << k;
            }
            strong[(above + (u32)here) * (words * 4u) + byte] = (u8)result;
            found += count_ones(result);
        }
    }
#if FLAGS
    if (limited) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT); /* rare; OR is the same in any order */
#endif
#if !BACKGROUND
    found = warp_sum(w, found);
    if (LANE == 0u && found) atomic_add_u32(strong_count + frame, found);
#endif
}
