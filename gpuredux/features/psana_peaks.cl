/* psana's peaks: of listed maxima, those that are peaks; then the table. Bits of rows that begin at a word each: a number is 32 word + bit.
 * f64: sums over a ring and a peak, in raster order, each operation rounded once, results rounded once to f32. */

#define SQUARE 15 /* rows of the largest square; of each one's u32 the low half are the pixels that may be flooded, the high half those that are */

typedef struct {
    f64 mean, rms, row, col, row_sigma, col_sigma;
    f32 most, total, snr;
    u32 panel, seed_row, seed_col, pixels; /* 0 where it is no peak */
    i32 top, bottom, left, right;
} Peak;

INLINE bool bit_of(GLOBAL const u32 *bits, u32 word, u32 col) { return (bits[word + (col >> 5)] >> (col & 31u) & 1u) != 0u; }

/* row's pixels that are connected to those above and below it, and beside each other */
INLINE u32 flooded(u32 both, u32 around) {
    u32 may = both & 0xffffu, filled = (both | around) >> 16 & may, before = 0u;
    while (filled != before) {
        before = filled;
        filled |= (filled << 1 | filled >> 1) & may;
    }
    return filled << 16 | may;
}

#define AROUND                                                                                                                                        \
    GLOBAL const WORD *all_images, GLOBAL const u32 *all_seeds, GLOBAL const u32 *found, GLOBAL const i32 *live, GLOBAL const u32 *all_ring_bits,     \
        GLOBAL const u32 *all_flood_bits, GLOBAL const i32 *ring, f64 nsigm, f32 low, f32 amax, f32 atot, f32 son, u32 n, u32 npix, u32 words,         \
        u32 capacity, u32 panel_rows, u32 cols, u32 ring_count, u32 adaptive, u32 npix_min, u32 npix_max, i32 rank
#define AROUND_IT all_images, all_ring_bits, all_flood_bits, ring, nsigm, low, amax, atot, son, npix, words, panel_rows, cols, ring_count, adaptive, npix_min, \
    npix_max, rank

INLINE Peak peak_of(u32 frame, u32 seed, SHARED_PTR u32 *square, GLOBAL const WORD *all_images, GLOBAL const u32 *all_ring_bits,
                    GLOBAL const u32 *all_flood_bits, GLOBAL const i32 *ring, f64 nsigm, f32 low, f32 amax, f32 atot, f32 son, u32 npix, u32 words,
                    u32 panel_rows, u32 cols, u32 ring_count, u32 adaptive, u32 npix_min, u32 npix_max, i32 rank) {
    Peak peak;
    u32 wide = (cols + 31u) / 32u, line = seed / 32u / wide, row = line % panel_rows, col = seed - line * wide * 32u, first = line - row;
    GLOBAL const WORD *image = all_images + (u64)frame * npix + (u64)first * cols;
    GLOBAL const u32 *ring_bits = all_ring_bits + (u64)frame * words + first * wide, *flood_bits = all_flood_bits + (u64)frame * words + first * wide;
    f64 many = 0.0, sum = 0.0, squares = 0.0;
    IN_ORDER
    for (u32 k = 0u; k < ring_count; k++) {
        i32 r = (i32)row + ring[2u * k], c = (i32)col + ring[2u * k + 1u];
        if (r >= 0 && r < (i32)panel_rows && c >= 0 && c < (i32)cols && bit_of(ring_bits, (u32)r * wide, (u32)c)) {
            f64 x = (f64)(f32)image[(u32)r * cols + (u32)c];
            many += 1.0;
            sum += x;
            squares += x * x;
        }
    }
    peak.mean = many > 0.0 ? sum / many : 0.0;
    f64 spread = many > 0.0 ? squares / many - peak.mean * peak.mean : 0.0;
    peak.rms = sqrt(spread > 0.0 ? spread : 0.0);
    peak.panel = first / panel_rows;
    peak.seed_row = row;
    peak.seed_col = col;
    peak.most = (f32)((f64)(f32)image[row * cols + col] - peak.mean);
    peak.pixels = 0u;
    if (!(peak.most >= amax)) return peak;
    f32 least = adaptive ? (f32)(peak.mean + nsigm * peak.rms) : low;
    i32 top = -(i32)smaller(row, (u32)rank), bottom = (i32)smaller(panel_rows - 1u - row, (u32)rank);
    i32 left = -(i32)smaller(col, (u32)rank), right = (i32)smaller(cols - 1u - col, (u32)rank);
    for (i32 dr = top; dr <= bottom; dr++) {
        u32 may = 0u, r = (u32)((i32)row + dr);
        for (i32 dc = left; dc <= right; dc++) {
            u32 c = (u32)((i32)col + dc);
            if (bit_of(flood_bits, r * wide, c) && (f32)image[r * cols + c] >= least) may |= 1u << (dc + rank);
        }
        square[(u32)(dr + rank) * 128u] = may;
    }
    u32 middle = square[(u32)rank * 128u];
    if ((middle >> rank & 1u) == 0u) return peak;
    square[(u32)rank * 128u] = middle | 1u << (rank + 16);
    for (bool news = true; news;) {
        news = false;
        for (i32 step = 0; step < 2 * (bottom - top + 1); step++) { /* down, and up again */
            i32 y = (step <= bottom - top ? top + step : 2 * bottom - top + 1 - step) + rank;
            u32 both = square[(u32)y * 128u];
            u32 around = (y > top + rank ? square[(u32)(y - 1) * 128u] : 0u) | (y < bottom + rank ? square[(u32)(y + 1) * 128u] : 0u);
            u32 now = flooded(both, around);
            news = news || now != both;
            square[(u32)y * 128u] = now;
        }
    }
    u32 pixels = 0u;
    f64 total = 0.0, weighted_row = 0.0, weighted_col = 0.0, row_squares = 0.0, col_squares = 0.0;
    peak.top = peak.left = rank;
    peak.bottom = peak.right = -rank;
    IN_ORDER
    for (i32 dr = top; dr <= bottom; dr++) {
        u32 filled = square[(u32)(dr + rank) * 128u] >> 16;
        IN_ORDER
        while (filled) {
            i32 dc = (i32)trailing_zeros(filled) - rank;
            filled &= filled - 1u;
            f64 net = (f64)(f32)image[(u32)((i32)row + dr) * cols + (u32)((i32)col + dc)] - peak.mean;
            pixels++;
            total += net;
            weighted_row += net * (f64)dr;
            weighted_col += net * (f64)dc;
            row_squares += net * (f64)(dr * dr);
            col_squares += net * (f64)(dc * dc);
            peak.top = dr < peak.top ? dr : peak.top;
            peak.bottom = dr;
            peak.left = dc < peak.left ? dc : peak.left;
            peak.right = dc > peak.right ? dc : peak.right;
        }
    }
    f64 noise = peak.rms * sqrt((f64)pixels), some = total > 0.0 ? total : 1.0;
    peak.total = (f32)total;
    peak.snr = (f32)(noise > 0.0 ? total / noise : 0.0);
    bool whole = total > 0.0;
    peak.row = whole ? weighted_row / some : 0.0;
    peak.col = whole ? weighted_col / some : 0.0;
    f64 row_spread = whole ? row_squares / some - peak.row * peak.row : 0.0, col_spread = whole ? col_squares / some - peak.col * peak.col : 0.0;
    peak.row_sigma = sqrt(row_spread > 0.0 ? row_spread : 0.0);
    peak.col_sigma = sqrt(col_spread > 0.0 ? col_spread : 0.0);
    if (pixels >= npix_min && pixels <= npix_max && peak.total >= atot && peak.snr >= son) peak.pixels = pixels;
    return peak;
}

#if KEEP
/* grid: BLOCK = 128 maxima, a thread each, BLOCK_Y = frame: the bits of those that are peaks */
KERNEL(128) keep_peaks(AROUND, GLOBAL u32 *kept) {
    SHARED u32 squares[SQUARE * 128];
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= found[frame]) return;
    u32 seed = all_seeds[(u64)frame * capacity + t];
    if (peak_of(frame, seed, squares + LID, AROUND_IT).pixels) atomic_or_u32(kept + (u64)frame * words + seed / 32u, 1u << (seed & 31u));
}
#else

/* grid: BLOCK = 128 rows of the table, a thread each, BLOCK_Y = frame: the peaks, zeros behind them */
KERNEL(128) peaks(AROUND, GLOBAL i32 *c_panel, GLOBAL f32 *c_row, GLOBAL f32 *c_col, GLOBAL i32 *c_pixels, GLOBAL f32 *c_total, GLOBAL f32 *c_max,
                  GLOBAL f32 *c_background, GLOBAL f32 *c_sigma, GLOBAL f32 *c_snr, GLOBAL i32 *c_seed_row, GLOBAL i32 *c_seed_col, GLOBAL f32 *c_row_sigma,
                  GLOBAL f32 *c_col_sigma, GLOBAL i32 *c_row_min, GLOBAL i32 *c_row_max, GLOBAL i32 *c_col_min, GLOBAL i32 *c_col_max, u32 rows) {
    SHARED u32 squares[SQUARE * 128];
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= rows) return;
    u64 to = (u64)frame * rows + t;
    if (t >= found[frame]) {
        c_panel[to] = c_pixels[to] = c_seed_row[to] = c_seed_col[to] = c_row_min[to] = c_row_max[to] = c_col_min[to] = c_col_max[to] = 0;
        c_row[to] = c_col[to] = c_total[to] = c_max[to] = c_background[to] = c_sigma[to] = c_snr[to] = c_row_sigma[to] = c_col_sigma[to] = 0.0f;
        return;
    }
    Peak peak = peak_of(frame, all_seeds[(u64)frame * capacity + t], squares + LID, AROUND_IT);
    i32 row = (i32)peak.seed_row, col = (i32)peak.seed_col;
    c_panel[to] = (i32)peak.panel;
    c_row[to] = (f32)((f64)row + peak.row);
    c_col[to] = (f32)((f64)col + peak.col);
    c_pixels[to] = (i32)peak.pixels;
    c_total[to] = peak.total;
    c_max[to] = peak.most;
    c_background[to] = (f32)peak.mean;
    c_sigma[to] = (f32)peak.rms;
    c_snr[to] = peak.snr;
    c_seed_row[to] = row;
    c_seed_col[to] = col;
    c_row_sigma[to] = (f32)peak.row_sigma;
    c_col_sigma[to] = (f32)peak.col_sigma;
    c_row_min[to] = row + peak.top;
    c_row_max[to] = row + peak.bottom;
    c_col_min[to] = col + peak.left;
    c_col_max[to] = col + peak.right;
}
#endif
