/* energy = the list's pixel where its bit is set, else code * step of its bin. rank, tile_count, kept: of strong.cl, launched before.
 * grid: BLOCK = 512 pixels, four a thread, 128 apart; BLOCK_Y = frame. */

#if CODE_SIGNED
typedef i16 Code;
#else
typedef u16 Code;
#endif

KERNEL(128) rebuild(GLOBAL const Code *code, GLOBAL const u32 *bits, GLOBAL const u32 *rank, GLOBAL const u32 *tile_count, GLOBAL const i32 *kept,
                    GLOBAL const UNIT *roi, GLOBAL const i32 *roi_count, GLOBAL const u8 *good, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                    GLOBAL UNIT *energy, f32 step, f32 least, f32 most, u32 fill, u32 n, u32 panels, u32 rows, u32 cols, u32 cap) {
    u32 frame = BLOCK_Y, npix = panels * rows * cols, words = (npix + 31u) / 32u, tiles = (words + 127u) / 128u;
    u32 down = (rows + BIN_ROWS - 1u) / BIN_ROWS, across = (cols + BIN_COLS - 1u) / BIN_COLS;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u32 *mine = bits + (u64)frame * words;
    for (u32 k = 0u; k < 4u; k++) {
        u32 pixel = BLOCK * 512u + k * 128u + LID;
        if (pixel < npix) {
            u32 word = mine[pixel / 32u], bit = pixel % 32u;
            u32 place = rank[(u64)frame * words + pixel / 32u] + tile_count[(u64)frame * tiles + pixel / 4096u] + count_ones(word & ((1u << bit) - 1u));
            u32 line = pixel / cols, at = (line / rows * down + line % rows / BIN_ROWS) * across + pixel % cols / BIN_COLS;
            Code q = code[(u64)frame * panels * down * across + at];
            f32 y = (f32)q * step;
#if FLOATS
            UNIT value = f32_bits(y);
#else
            y = rint_f32(y);
            y = y < least ? least : y;
            y = y > most ? most : y;
            UNIT value = (UNIT)(WORD)y;
#endif
            if (q == (Code)CODE_FILL || q == (Code)CODE_MASKED) value = (UNIT)fill;
            if ((word >> bit & 1u) != 0u && place < cap) value = roi[(u64)frame * cap + place];
#if GOOD
            if (good[pixel] == 0u) value = (UNIT)fill;
#endif
            energy[(u64)frame * npix + pixel] = value;
        }
    }
#if FRAME_STATUS
    if (BLOCK == 0u && LID == 0u) {
        u32 behind = npix % 32u == 0u ? 0u : mine[words - 1u] >> (npix % 32u);
        frame_status[frame] |= (kept[frame] != roi_count[frame] || behind ? FRAME_CORRUPT : 0u) | (kept[frame] > (i32)cap ? FRAME_OUTLIER_OVERFLOW : 0u);
    }
#endif
}
