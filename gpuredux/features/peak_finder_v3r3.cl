/* psana's adaptive finder: which pixels are maxima, which may lie in a ring, which in a flood. Bits of rows that begin at a word each. */

#define TILE 2176 /* words of a tile and what is around it: (32 + 2 * 7)^2, up to a multiple of 128 */

/* grid: BLOCK = 32 x 32 pixels of a panel, in rows of tiles, BLOCK_Y = frame; the tile and what is within rank of it lie in SHARED memory, NaN where no
 * pixel is used: it beats nobody. bits: no pixel of the square is above, or as high and later; ring_bits: none that is so, or the same of minima, in its
 * row or in its column; flood_bits: all that are used; kept: 0. */
KERNEL(128) extrema(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u8 *good, GLOBAL const i32 *live, GLOBAL u32 *bits, GLOBAL u32 *ring_bits,
                    GLOBAL u32 *flood_bits, GLOBAL u32 *kept, u32 n, u32 npix, u32 words, u32 panel_rows, u32 cols, u32 rank) {
    WARP_SCRATCH(w, 128);
    SHARED f32 tile[TILE];
    u32 frame = BLOCK_Y, wide = (cols + 31u) / 32u, tall = (panel_rows + 31u) / 32u, side = 32u + 2u * rank;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 panel = BLOCK / (wide * tall), first_row = BLOCK / wide % tall * 32u, first_word = BLOCK % wide;
    u64 at = (u64)frame * npix;
    for (u32 base = 0u; base < TILE; base += 128u) {
        u32 k = base + LID;
        i32 row = (i32)(first_row + k / side) - (i32)rank, col = (i32)(first_word * 32u + k % side) - (i32)rank;
        bool used = row >= 0 && row < (i32)panel_rows && col >= 0 && col < (i32)cols;
        u32 pixel = used ? (panel * panel_rows + (u32)row) * cols + (u32)col : 0u;
        f32 x = (f32)image[at + pixel];
        used = used && is_finite(x);
#if MARKED
        used = used && marks[at + pixel] == 0u;
#endif
#if GOOD
        used = used && good[pixel] != 0u;
#endif
        tile[k] = used ? x : bits_f32(0x7fc00000u);
    }
    SYNC;
    for (u32 k = 0u; k < 8u; k++) {
        u32 y = k * 4u + WARP, here = (y + rank) * side + LANE + rank, row = first_row + y;
        f32 x = tile[here];
        bool used = x == x, top_row = used, top_col = used, low_row = used, low_col = used;
        for (u32 d = 1u; d <= rank; d++) {
            f32 left = tile[here - d], right = tile[here + d], above = tile[here - d * side], below = tile[here + d * side];
            top_row = top_row && !(left > x) && !(right >= x);
            low_row = low_row && !(left < x) && !(right <= x);
            top_col = top_col && !(above > x) && !(below >= x);
            low_col = low_col && !(above < x) && !(below <= x);
        }
        bool best = top_row && top_col;
        for (u32 dr = 1u; dr <= rank && best; dr++)
            for (u32 dc = 1u; dc <= rank && best; dc++) {
                u32 up = here - dr * side, down = here + dr * side;
                best = !(tile[up - dc] > x) && !(tile[up + dc] > x) && !(tile[down - dc] >= x) && !(tile[down + dc] >= x);
            }
        bool extreme = top_row || top_col || low_row || low_col;
        u32 all = warp_ballot(w, best), ring = warp_ballot(w, used && !extreme), flood = warp_ballot(w, used);
        if (LANE == 0u && row < panel_rows) {
            u64 to = (u64)frame * words + (panel * panel_rows + row) * wide + first_word;
            bits[to] = all;
            ring_bits[to] = ring;
            flood_bits[to] = flood;
            kept[to] = 0u;
        }
    }
}
