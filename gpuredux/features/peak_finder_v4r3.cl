/* psana's droplet finder: which pixels are maxima, which may lie in a ring, which in a flood. Bits of rows that begin at a word each. */

/* whether a pixel is one that is used */
INLINE bool is_used(f32 x, GLOBAL const u8 *marks, GLOBAL const u8 *good, u64 at, u32 pixel) {
    bool used = is_finite(x);
#if MARKED
    used = used && marks[at + pixel] == 0u;
#endif
#if GOOD
    used = used && good[pixel] != 0u;
#endif
    return used;
}

/* grid: BLOCK = 32 words, 8 of a warp, BLOCK_Y = frame; a thread a pixel. bits: v >= high, and no pixel of the square is above it, or as high and later;
 * ring_bits: -high <= v < high; flood_bits: v >= low; kept: 0. */
KERNEL(128) seeds(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u8 *good, GLOBAL const i32 *live, GLOBAL u32 *bits, GLOBAL u32 *ring_bits,
                  GLOBAL u32 *flood_bits, GLOBAL u32 *kept, f32 low, f32 high, u32 n, u32 npix, u32 words, u32 panel_rows, u32 cols, i32 rank) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y, wide = (cols + 31u) / 32u;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 word = BLOCK * 32u + k * 4u + WARP, col = word % wide * 32u + LANE, pixel = word / wide * cols + col;
        bool inside = word < words && col < cols;
        f32 x = inside ? (f32)image[at + pixel] : 0.0f;
        bool used = inside && is_used(x, marks, good, at, inside ? pixel : 0u), best = used && x >= high;
        if (best) {
            i32 row = (i32)(word / wide % panel_rows);
            i32 top = row < rank ? -row : -rank, bottom = row + rank < (i32)panel_rows ? rank : (i32)panel_rows - 1 - row;
            i32 left = (i32)col < rank ? -(i32)col : -rank, right = (i32)col + rank < (i32)cols ? rank : (i32)cols - 1 - (i32)col;
            for (i32 dr = top; dr <= bottom && best; dr++)
                for (i32 dc = left; dc <= right && best; dc++) {
                    u32 other = (u32)((i32)pixel + dr * (i32)cols + dc);
                    f32 y = (f32)image[at + other];
                    if ((y > x || (y == x && other > pixel)) && is_used(y, marks, good, at, other)) best = false;
                }
        }
        u32 all = warp_ballot(w, best), ring = warp_ballot(w, used && x >= -high && x < high), flood = warp_ballot(w, used && x >= low);
        if (LANE == 0u && word < words) {
            u64 to = (u64)frame * words + word;
            bits[to] = all;
            ring_bits[to] = ring;
            flood_bits[to] = flood;
            kept[to] = 0u;
        }
    }
}
