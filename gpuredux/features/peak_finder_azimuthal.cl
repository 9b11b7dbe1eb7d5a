/* Peaks of pixels that are strong above the background of their rings: sparsify.cl made their bits, strong.cl their list.
 * f64: sums over a patch, in raster order, each operation rounded once, results rounded once to f32. */

/* grid: BLOCK = 128 strong pixels, a thread each, BLOCK_Y = frame. columns of candidates: (n, capacity) words, pixels = 0 where it is no peak. */
KERNEL(128) peaks(GLOBAL const WORD *all_images, GLOBAL const f32 *position, GLOBAL const f32 *all_mean, GLOBAL const f32 *all_std, GLOBAL const u32 *all_bits,
                  GLOBAL const u32 *all_strong, GLOBAL const u32 *found, GLOBAL const u8 *all_marks, GLOBAL const f32 *inverse, GLOBAL const i32 *live,
                  GLOBAL u32 *all_columns, f64 squared_noise, u32 n, u32 bins, u32 npix, u32 words, u32 capacity, u32 panel_rows, u32 cols, i32 reach,
                  u32 connected) {
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= found[frame]) return;
    GLOBAL const WORD *image = all_images + (u64)frame * npix;
#if MARKED
    GLOBAL const u8 *marks = all_marks + (u64)frame * npix;
#endif
    GLOBAL const f32 *mean = all_mean + (u64)frame * bins, *std = all_std + (u64)frame * bins;
    GLOBAL const u32 *bits = all_bits + (u64)frame * words;
    GLOBAL u32 *columns = all_columns + (u64)frame * 9u * capacity + t;
    u32 pixel = all_strong[(u64)frame * capacity + t], panel_size = panel_rows * cols;
    i32 row = (i32)(pixel % panel_size / cols), col = (i32)(pixel % cols);
    columns[3u * capacity] = 0u;
    if (row < reach || row + reach >= (i32)panel_rows || col < reach || col + reach >= (i32)cols) return;
    f32 background = between(mean, position[pixel], bins), most = (f32)image[pixel];
#if WEIGHTED
    most = most * inverse[pixel];
#endif
    most = most - background;
    f64 total = 0.0, up = 0.0, across = 0.0, spread = 0.0;
    u32 pixels = 0u;
    bool best = true;
    IN_ORDER
    for (i32 r = -reach; r <= reach; r++) {
        IN_ORDER
        for (i32 c = -reach; c <= reach; c++) {
            u32 other = (u32)((i32)pixel + r * (i32)cols + c);
            f32 place = position[other], x = (f32)image[other];
            bool use = place >= 0.0f && is_finite(x);
#if MARKED
            use = use && marks[other] == 0u;
#endif
#if WEIGHTED
            x = x * inverse[other];
#endif
            place = place >= 0.0f ? place : 0.0f;
            f32 e = x - between(mean, place, bins), s = between(std, place, bins);
            if (use && e > 0.0f && s == s) {
                if (e > most || (e == most && other < pixel)) best = false;
                pixels += bits[other >> 5] >> (other & 31u) & 1u;
                total += (f64)e;
                up += (f64)e * (f64)r;
                across += (f64)e * (f64)c;
                spread += (f64)s * (f64)s + squared_noise;
            }
        }
    }
    if (!best || pixels < connected) return;
    f64 sigma = sqrt(spread);
    columns[0] = pixel / panel_size;
    columns[1u * capacity] = f32_bits(clean((f32)((f64)row + up / total)));
    columns[2u * capacity] = f32_bits(clean((f32)((f64)col + across / total)));
    columns[3u * capacity] = pixels;
    columns[4u * capacity] = f32_bits((f32)total);
    columns[5u * capacity] = f32_bits(most);
    columns[6u * capacity] = f32_bits(background);
    columns[7u * capacity] = f32_bits((f32)sigma);
    columns[8u * capacity] = f32_bits(clean((f32)(sigma > 0.0 ? total / sigma : 0.0)));
}
