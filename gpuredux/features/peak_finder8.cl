/* peakfinder8 behind the rings (ring_clip.cl) and the components (strong.cl): components to peaks.
 * f64: sums over a peak and its disc, as the originals take them; each operation rounded once, results rounded once to f32. */

typedef struct {
    f64 row, col;
    bool good;
} Centre;

/* sum(w * position) / |sum w|; w: the value, or that less the ring's mean */
INLINE Centre centroid(GLOBAL const WORD *image, GLOBAL const u32 *strong, GLOBAL const u32 *members, u32 count, GLOBAL const u16 *label,
                       GLOBAL const f32 *mean, u32 panel_size, u32 cols, f32 limit, bool net) {
    f64 total = 0.0, row = 0.0, col = 0.0;
    IN_ORDER
    for (u32 k = 0u; k < count; k++) {
        u32 pixel = strong[members[k]];
        f64 weight = (f64)limited((f32)image[pixel], limit);
        if (net) weight -= (f64)mean[label[pixel]];
        total += weight;
        row += weight * (f64)(pixel % panel_size / cols);
        col += weight * (f64)(pixel % cols);
    }
    f64 size = total < 0.0 ? -total : total;
    Centre c;
    c.good = size >= 1e-10;
    c.row = row / (c.good ? size : 1.0);
    c.col = col / (c.good ? size : 1.0);
    return c;
}

/* grid: BLOCK = 128 components, a thread each, BLOCK_Y = frame. columns of candidates: (n, capacity) words, pixels = 0 where a component is no peak */
KERNEL(128) peaks(GLOBAL const WORD *all_images, GLOBAL const u8 *all_marks, GLOBAL const u16 *label, GLOBAL const f32 *all_mean, GLOBAL const f32 *all_high,
                  GLOBAL const u32 *all_strong, GLOBAL const u32 *all_start, GLOBAL const u32 *all_members, GLOBAL const u32 *components,
                  GLOBAL const i32 *live, GLOBAL u32 *all_columns, f64 min_snr, f32 limit, u32 n, u32 rings, u32 npix, u32 capacity, u32 panel_rows, u32 cols,
                  i32 tile_rows, i32 tile_cols, i32 reach) {
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= components[frame]) return;
    GLOBAL const WORD *image = all_images + (u64)frame * npix;
#if MARKED
    GLOBAL const u8 *marks = all_marks + (u64)frame * npix;
#endif
    GLOBAL const f32 *mean = all_mean + (u64)frame * rings, *high = all_high + (u64)frame * rings;
    GLOBAL const u32 *strong = all_strong + (u64)frame * capacity, *members = all_members + (u64)frame * capacity;
    GLOBAL u32 *columns = all_columns + (u64)frame * 9u * capacity + t;
    u32 begin = all_start[(u64)frame * (capacity + 1u) + t], count = all_start[(u64)frame * (capacity + 1u) + t + 1u] - begin;
    u32 panel_size = panel_rows * cols, panel = strong[members[begin]] / panel_size, within = strong[members[begin]] % panel_size;
    i32 top = (i32)(within / cols) / tile_rows * tile_rows, left = (i32)(within % cols) / tile_cols * tile_cols;
    i32 bottom = top + tile_rows, right = left + tile_cols;
    columns[3u * capacity] = 0u;
    Centre centre = centroid(image, strong, members + begin, count, label, mean, panel_size, cols, limit, true);
    f64 near_row = rint(centre.row), near_col = rint(centre.col);
    if (!(centre.good && near_row >= (f64)top && near_row < (f64)bottom && near_col >= (f64)left && near_col < (f64)right)) return;
    i32 row = (i32)near_row, col = (i32)near_col;
    GLOBAL const WORD *on_panel = image + (u64)panel * panel_size;
    f64 many = 0.0, sum = 0.0, squares = 0.0, most = 0.0;
    IN_ORDER
    for (i32 r = row - reach; r < row + reach; r++) {
        IN_ORDER
        for (i32 c = col - reach; c < col + reach; c++) {
            i32 dr = r - row, dc = c - col;
            if (r >= top && r < bottom && c >= left && c < right && dr * dr + dc * dc <= reach * reach) {
                u32 inside = (u32)r * cols + (u32)c, pixel = panel * panel_size + inside, ring = label[pixel];
                f32 given = (f32)on_panel[inside], x = limited(given, limit);
                bool below = ring < rings && is_finite(given) && x < high[ring < rings ? ring : 0u];
#if MARKED
                below = below && marks[pixel] == 0u;
#endif
                if (below) {
                    f64 y = (f64)x;
                    many += 1.0;
                    sum += y;
                    squares += y * y;
                    most = y > most ? y : most;
                }
            }
        }
    }
    u32 ring = label[panel * panel_size + (u32)row * cols + (u32)col];
    f64 offset = ring < rings ? (f64)mean[ring < rings ? ring : 0u] : 0.0, sigma = 0.01;
    if (many > 0.0) {
        offset = sum / many;
        f64 variance = squares / many - offset * offset;
        sigma = sqrt(variance > 0.0 ? variance : 0.0);
        if (!LEGACY && sigma < 1e-10) sigma = 0.01;
    }
    f64 total = 0.0, highest = 0.0;
    IN_ORDER
    for (u32 k = 0u; k < count; k++) {
        f64 net = (f64)limited((f32)image[strong[members[begin + k]]], limit) - offset;
        total += net;
        highest = net > highest ? net : highest;
    }
    if (LEGACY) centre = centroid(image, strong, members + begin, count, label, mean, panel_size, cols, limit, false);
    f64 snr = sigma < 1e-10 ? 0.0 : total / sigma;
    if (!centre.good || snr < min_snr || highest < most - offset) return;
    if (!(centre.row >= (f64)top && centre.row < (f64)bottom && centre.col >= (f64)left && centre.col < (f64)right)) return;
    columns[0] = panel;
    columns[1u * capacity] = f32_bits((f32)centre.row);
    columns[2u * capacity] = f32_bits((f32)centre.col);
    columns[3u * capacity] = count;
    columns[4u * capacity] = f32_bits((f32)total);
    columns[5u * capacity] = f32_bits((f32)highest);
    columns[6u * capacity] = f32_bits((f32)offset);
    columns[7u * capacity] = f32_bits((f32)sigma);
    columns[8u * capacity] = f32_bits((f32)snr);
}
