/* row_sum, col_sum: of the good pixels of rectangles, as whole numbers: no order changes a bit.
 * f64: a float frame's sums, each the product of a whole number and a power of two. */
#define PROJECTED                                                                                                                            \
    GLOBAL const WORD *frames, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL const i32 *rectangles, GLOBAL u32 *frame_status, \
    GLOBAL const i32 *live, GLOBAL TOTAL *row_sum, GLOBAL TOTAL *col_sum, GLOBAL i32 *row_pixels, GLOBAL i32 *col_pixels, f32 inverse, f32 unit, \
    u32 given, u32 n, u32 regions, u32 high, u32 wide, u32 panels, u32 rows, u32 cols

/* a pixel's q, 0 where it is none; *count: 1 for a pixel, and 2^16 more where its value is beyond 32 bits of units */
INLINE i64 units_of(WORD x, u32 use, f32 inverse, u32 *count) {
#if FLOAT
    if (!is_finite(x) || !use) return 0;
    bool beyond;
    i64 q = whole_units(x, inverse, &beyond);
    *count += beyond ? 65537u : 1u;
    return q;
#else
    *count += use;
    return use ? (i64)x : 0;
#endif
}

INLINE u32 shown(GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, u32 given, u64 base, u64 pixel) {
    return (given & 1u && pixel_status[base + pixel]) || (given & 2u && !good[pixel]) ? 0u : 1u;
}

/* grid: BLOCK = (frame * regions + region) * tiles of 4 rows + tile; a warp sums a row. given: 1 pixel_status, 2 good, 4 frame_status. */
KERNEL(128) sum_rows(PROJECTED) {
    WARP_SCRATCH(w, 128);
    u32 tiles = (high + 3u) / 4u, place = BLOCK / tiles, region = place % regions, frame = place / regions, i = BLOCK % tiles * 4u + WARP;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const i32 *r = rectangles + 5u * region;
    u64 base = (u64)frame * panels * rows * cols, sum = 0u;
    i32 row = r[1] + (i32)i, first = r[2] < 0 ? 0 : r[2], end = r[2] + r[4] < (i32)cols ? r[2] + r[4] : (i32)cols;
    u32 pixels = 0u, beyond = 0u;
    if (!((i32)i < r[3] && row >= 0 && row < (i32)rows)) end = 0;
    for (i32 col = first + (i32)LANE; col < end; col += 32) {
        u64 pixel = ((u64)(u32)r[0] * rows + (u32)row) * cols + (u32)col;
        u32 count = 0u;
        sum += (u64)units_of(frames[base + pixel], shown(pixel_status, good, given, base, pixel), inverse, &count);
        pixels += count & 0xffffu;
        beyond |= count >> 16;
    }
    for (u32 mask = 16; mask; mask >>= 1) {
        u32 low = warp_shuffle_xor(w, (u32)sum, mask), top = warp_shuffle_xor(w, (u32)(sum >> 32), mask);
        sum += (u64)top << 32 | low;
    }
    pixels = warp_sum(w, pixels);
    if (beyond && given & 4u) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT);
    if (LANE == 0u && i < high) {
        row_sum[(u64)place * high + i] = (TOTAL)(i64)sum * (TOTAL)unit;
        row_pixels[(u64)place * high + i] = (i32)pixels;
    }
}

/* grid: BLOCK = (frame * regions + region) * tiles of 128 columns + tile; a thread sums a column. */
KERNEL(128) sum_cols(PROJECTED) {
    u32 tiles = (wide + 127u) / 128u, place = BLOCK / tiles, region = place % regions, frame = place / regions, j = BLOCK % tiles * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || j >= wide) return;
    GLOBAL const i32 *r = rectangles + 5u * region;
    u64 base = (u64)frame * panels * rows * cols;
    i64 sum = 0;
    i32 col = r[2] + (i32)j, first = r[1] < 0 ? 0 : r[1], end = r[1] + r[3] < (i32)rows ? r[1] + r[3] : (i32)rows;
    u32 pixels = 0u;
    if (!((i32)j < r[4] && col >= 0 && col < (i32)cols)) end = 0;
    for (i32 row = first; row < end; row++) {
        u64 pixel = ((u64)(u32)r[0] * rows + (u32)row) * cols + (u32)col;
        u32 count = 0u;
        sum += units_of(frames[base + pixel], shown(pixel_status, good, given, base, pixel), inverse, &count);
        pixels += count & 0xffffu;
    }
    col_sum[(u64)place * wide + j] = (TOTAL)sum * (TOTAL)unit;
    col_pixels[(u64)place * wide + j] = (i32)pixels;
}
