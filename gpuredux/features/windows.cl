/* window[frame, region, i, j] = frame[panel, row + i, col + j], or fill. */

#include "features/corner.cl"

/* grid: BLOCK = frame * tiles + tile of 512 pixels of the frame's windows, one behind the other. given: 1 pixel_status, 2 good. */
KERNEL(128) cut_windows(GLOBAL const UNIT *frames, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL const i32 *rectangles,
                        GLOBAL const i32 *peak_panel, GLOBAL const PLACE *peak_row, GLOBAL const PLACE *peak_col, GLOBAL const i32 *peak_count,
                        GLOBAL const i32 *live, GLOBAL UNIT *window, u32 fill, i32 half_side, u32 given, u32 n, u32 regions, u32 high, u32 wide,
                        u32 panels, u32 rows, u32 cols) {
    u32 size = high * wide, all = regions * size, tiles = (all + 511u) / 512u, frame = BLOCK / tiles;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 base = (u64)frame * panels * rows * cols;
    for (u32 step = 0; step < 4u; step++) {
        u32 at = BLOCK % tiles * 512u + step * 128u + LID;
        if (at < all) {
            u32 region = at / size, i = at % size / wide, j = at % wide;
            UNIT value = (UNIT)fill;
#if PEAKS
            u64 peak = (u64)frame * regions + region;
            i32 panel = -1, row = 0, col = 0;
            bool listed = (i32)region < peak_count[frame], mine = true;
            if (listed) {
                panel = peak_panel[peak];
                row = corner_of(peak_row[peak], half_side) + (i32)i;
                col = corner_of(peak_col[peak], half_side) + (i32)j;
            } else {
                value = (UNIT)0;
            }
#else
            GLOBAL const i32 *r = rectangles + 5u * region;
            i32 panel = r[0], row = r[1] + (i32)i, col = r[2] + (i32)j;
            bool mine = (i32)i < r[3] && (i32)j < r[4];
#endif
            if (mine && panel >= 0 && panel < (i32)panels && row >= 0 && row < (i32)rows && col >= 0 && col < (i32)cols) {
                u64 pixel = ((u64)(u32)panel * rows + (u32)row) * cols + (u32)col;
                bool shown = !(given & 1u && pixel_status[base + pixel]) && !(given & 2u && !good[pixel]);
                if (shown) value = frames[base + pixel];
            }
            window[(u64)frame * all + at] = value;
        }
    }
}
