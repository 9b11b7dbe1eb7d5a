/* Droplets: components of pixels above the low threshold (strong.cl lists them) to candidates.
 * f64: sums over a droplet, in raster order, each operation rounded once, results rounded once to f32. */

/* grid: BLOCK = 128 components, a thread each, BLOCK_Y = frame. columns of candidates: (n, capacity) words, pixels = 0 where a component is no droplet */
KERNEL(128) droplets(GLOBAL const WORD *all_images, GLOBAL const u32 *all_strong, GLOBAL const u32 *all_start, GLOBAL const u32 *all_members,
                     GLOBAL const u32 *components, GLOBAL const i32 *live, GLOBAL u32 *all_columns, f64 min_adu, f32 high, u32 n, u32 npix, u32 capacity,
                     u32 panel_rows, u32 cols) {
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= components[frame]) return;
    GLOBAL const WORD *image = all_images + (u64)frame * npix;
    GLOBAL const u32 *strong = all_strong + (u64)frame * capacity, *members = all_members + (u64)frame * capacity;
    GLOBAL u32 *columns = all_columns + (u64)frame * 6u * capacity + t;
    u32 begin = all_start[(u64)frame * (capacity + 1u) + t], end = all_start[(u64)frame * (capacity + 1u) + t + 1u], panel_size = panel_rows * cols;
    f64 total = 0.0, row = 0.0, col = 0.0;
    f32 most = (f32)image[strong[members[begin]]];
    IN_ORDER
    for (u32 k = begin; k < end; k++) {
        u32 pixel = strong[members[k]];
        f32 x = (f32)image[pixel];
        total += (f64)x;
        row += (f64)x * (f64)(pixel % panel_size / cols);
        col += (f64)x * (f64)(pixel % cols);
        most = x > most ? x : most;
    }
    bool is_one = most > high && total >= min_adu;
    columns[0] = strong[members[begin]] / panel_size;
    columns[1u * capacity] = f32_bits((f32)(row / total));
    columns[2u * capacity] = f32_bits((f32)(col / total));
    columns[3u * capacity] = is_one ? end - begin : 0u;
    columns[4u * capacity] = f32_bits((f32)total);
    columns[5u * capacity] = f32_bits(most);
}
