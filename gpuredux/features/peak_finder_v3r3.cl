/* psana's adaptive finder: which pixels are maxima, which may lie in a ring, which in a flood. Bits of rows that begin at a word each; lines: bits of maxima
 * and of minima of rows, of maxima and of minima of columns, a plane of `words` each. */

#ifdef EXTREMA
#define TILE 2176 /* words of a tile and what is around it: (32 + 2 * 7)^2, up to a multiple of 128 */

/* grid: BLOCK = 32 x 32 pixels of a panel, in rows of tiles, BLOCK_Y = frame; the tile and what is within rank of it lie in SHARED memory, NaN where no
 * pixel is used: it is above nobody. lines: above the next one, with none above within rank of the line; bits: so in row and column, with none above in the
 * square; flood_bits: all that are used; kept: 0. */
KERNEL(128) extrema(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u8 *good, GLOBAL const i32 *live, GLOBAL u32 *bits, GLOBAL u32 *lines,
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
        bool used = x == x, top_row = used && !(tile[here + 1u] >= x), top_col = used && !(tile[here + side] >= x);
        bool low_row = used && !(tile[here + 1u] <= x), low_col = used && !(tile[here + side] <= x);
        for (u32 d = 1u; d <= rank; d++) {
            f32 left = tile[here - d], right = tile[here + d], above = tile[here - d * side], below = tile[here + d * side];
            top_row = top_row && !(left > x) && !(right > x);
            low_row = low_row && !(left < x) && !(right < x);
            top_col = top_col && !(above > x) && !(below > x);
            low_col = low_col && !(above < x) && !(below < x);
        }
        bool best = top_row && top_col;
        for (u32 dr = 1u; dr <= rank && best; dr++)
            for (u32 dc = 1u; dc <= rank && best; dc++) {
                u32 up = here - dr * side, down = here + dr * side;
                best = !(tile[up - dc] > x) && !(tile[up + dc] > x) && !(tile[down - dc] > x) && !(tile[down + dc] > x);
            }
        u32 all = warp_ballot(w, best), flood = warp_ballot(w, used), rows_top = warp_ballot(w, top_row), rows_low = warp_ballot(w, low_row);
        u32 cols_top = warp_ballot(w, top_col), cols_low = warp_ballot(w, low_col);
        if (LANE == 0u && row < panel_rows) {
            u32 word = (panel * panel_rows + row) * wide + first_word;
            u64 to = (u64)frame * words + word, line = (u64)frame * 4u * words + word;
            bits[to] = all;
            flood_bits[to] = flood;
            kept[to] = 0u;
            lines[line] = rows_top;
            lines[line + words] = rows_low;
            lines[line + 2u * words] = cols_top;
            lines[line + 3u * words] = cols_low;
        }
    }
}
#elif defined(ROWS)

/* grid: BLOCK = 128 rows of panels, a thread each, BLOCK_Y = frame: of the maxima of a row, from its begin, those stay that are more than rank behind the last
 * that stayed; the same of its minima. */
KERNEL(128) thin_rows(GLOBAL u32 *lines, GLOBAL const i32 *live, u32 n, u32 words, u32 panel_rows, u32 wide, i32 rank) {
    u32 frame = BLOCK_Y, row = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || row >= words / wide) return;
    for (u32 kind = 0u; kind < 2u; kind++) {
        GLOBAL u32 *line = lines + ((u64)frame * 4u + kind) * words + row * wide;
        i32 last = -rank - 1;
        for (u32 word = 0u; word < wide; word++) {
            u32 left = line[word], stay = 0u;
            while (left) {
                u32 bit = trailing_zeros(left);
                left &= left - 1u;
                i32 col = (i32)(word * 32u + bit);
                if (col - last > rank) {
                    stay |= 1u << bit;
                    last = col;
                }
            }
            line[word] = stay;
        }
    }
}
#else

/* grid: BLOCK = 4 columns of words of panels, a warp each, a thread a column, BLOCK_Y = frame: the same of columns, and then bits: maxima of row, column and
 * square; ring_bits: pixels used that are neither maxima nor minima of row or column. */
KERNEL(128) thin_cols(GLOBAL const u32 *lines, GLOBAL const u32 *flood_bits, GLOBAL const i32 *live, GLOBAL u32 *bits, GLOBAL u32 *ring_bits, u32 n, u32 words,
                      u32 panel_rows, u32 wide, i32 rank) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y, strip = BLOCK * 4u + WARP;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool inside = strip < words / panel_rows;
    u32 first = inside ? strip / wide * panel_rows * wide + strip % wide : 0u;
    i32 last_top = -rank - 1, last_low = -rank - 1;
    for (i32 row = 0; row < (i32)panel_rows; row++) {
        u32 word = first + (u32)row * wide;
        u64 line = (u64)frame * 4u * words + word, to = (u64)frame * words + word;
        bool top = (lines[line + 2u * words] >> LANE & 1u) != 0u && row - last_top > rank;
        bool low = (lines[line + 3u * words] >> LANE & 1u) != 0u && row - last_low > rank;
        last_top = top ? row : last_top;
        last_low = low ? row : last_low;
        u32 tops = warp_ballot(w, top), lows = warp_ballot(w, low);
        if (LANE == 0u && inside) {
            bits[to] &= lines[line] & tops;
            ring_bits[to] = flood_bits[to] & ~(lines[line] | lines[line + words] | tops | lows);
        }
    }
}
#endif
