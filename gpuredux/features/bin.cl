/* binned = sum, mean or maximum of the pixels used in a bin of BIN_ROWS x BIN_COLS. f64: what a mean is divided in, and the sum of floats.
 *
 * grid: BLOCK = 128 bins of a frame, a thread a bin; BLOCK_Y = group of FRAMES frames. Neighbouring threads read neighbouring columns; nothing is shared.
 * MIN_GOOD: a bin with fewer pixels is NaN, or 0 */
KERNEL_PIXELS(128) bin(GLOBAL const WORD *x, GLOBAL const u8 *good, GLOBAL const u8 *pixel_status, GLOBAL const i32 *live, GLOBAL BINNED *binned,
                       GLOBAL u16 *bin_count, GLOBAL u8 *bin_status, u32 n, u32 rows, u32 cols, u32 down, u32 across, u32 bins) {
    Index at = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    if (at >= bins) return;
    u32 to = (u32)at, line = to / across, panel = line / down;
    u32 row = (line - panel * down) * BIN_ROWS, col = (to - line * across) * BIN_COLS; /* its first pixel */
    u32 high = smaller(BIN_ROWS, rows - row), wide = smaller(BIN_COLS, cols - col);
    u32 first = (panel * rows + row) * cols + col, npix = bins / (down * across) * rows * cols;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u64 start = (u64)frame * npix;
        u32 count = 0u;
        HELD held = 0;
#if BIN_ROWS * BIN_COLS <= 16u /* all at once: loads wait for nothing; what lies beyond the edge is not used */
        UNROLL
        for (u32 r = 0u; r < BIN_ROWS; r++) {
            UNROLL
            for (u32 c = 0u; c < BIN_COLS; c++) {
                bool use = r < high && c < wide;
                u32 pixel = use ? first + r * cols + c : first;
#else
        IN_ORDER
        for (u32 r = 0u; r < high; r++) {
            IN_ORDER
            for (u32 c = 0u; c < wide; c++) {
                bool use = true;
                u32 pixel = first + r * cols + c;
#endif
                WORD value = x[start + pixel];
#if FLOATS
                use = use && is_finite(value);
#endif
#if GOOD
                use = use && good[pixel] != 0;
#endif
#if STATUS
                use = use && pixel_status[start + pixel] == 0;
#endif
#if STATISTIC == 2
                held = use && (count == 0u || (HELD)value > held) ? (HELD)value : held;
#else
                held += use ? (HELD)value : (HELD)0;
#endif
                count += use ? 1u : 0u;
            }
        }
        u64 out = (u64)frame * bins + at;
        bool enough = count >= MIN_GOOD;
#if STATISTIC == 1
        f32 result = (f32)((f64)held / (f64)(count ? count : 1u));
#else
        BINNED result = (BINNED)(held + (HELD)0); /* no -0.0 */
#endif
#if FLOATS || STATISTIC == 1
        binned[out] = enough ? result : bits_f32(0x7fc00000u);
#else
        binned[out] = enough ? result : (BINNED)0;
#endif
#if COUNT
        bin_count[out] = (u16)count;
#endif
#if MARK
        bin_status[out] = enough ? (u8)0 : (u8)PIXEL_MASKED;
#endif
    }
}
