/* The centre of mass of the pixels of a box that are above a threshold. Sums are whole numbers: no order changes a bit.
 * f64: what is derived from sums beyond 2^24, each operation rounded once, places rounded once to f32. */

#ifdef WORD
/* grid: BLOCK = PART pixels of the box, BLOCK_Y = frame: pixels, sum, sum * row and sum * col of each part.
 * given: 1 pixel_status, 2 good, 4 frame_status: no defines, so that there are fewer kernels. */
KERNEL(128) beam_parts(GLOBAL const WORD *frames, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                       GLOBAL u64 *parts, f32 scale, LIMIT limit, u32 given, u32 top, u32 left, u32 wide, u32 size, u32 cols, u32 npix, u32 n) {
    SHARED u64 part[4][128];
    u32 frame = BLOCK_Y, beyond = 0u, count = (size + PART - 1u) / PART;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix, pixels = 0u, total = 0u, down = 0u, across = 0u;
    u32 j = BLOCK * PART + LID, row = top + j / wide, right = j % wide, rows_on = 128u / wide, cols_on = 128u % wide;
    for (u32 k = 0u; k < PART / 128u; k++) {
        if (j < size) {
            u32 col = left + right, pixel = row * cols + col;
            WORD x = frames[at + pixel];
            bool use = x > limit && !(given & 1u && pixel_status[at + pixel]) && !(given & 2u && !good[pixel]);
#if FLOATS
            f32 steps = rint_f32(x * scale);
            use = use && is_finite(x);
            bool over = use && steps > 2147483520.0f;
            u64 q = over ? (u64)2147483520u : use ? (u64)(u32)steps : 0u;
            beyond |= over ? 1u : 0u;
#else
            u64 q = use ? (u64)x : 0u;
#endif
            pixels += use ? 1u : 0u;
            total += q;
            down += q * row;
            across += q * col;
        }
        bool over_edge = right + cols_on >= wide; /* 128 pixels on, without a division */
        j += 128u;
        row += rows_on + (over_edge ? 1u : 0u);
        right = right + cols_on - (over_edge ? wide : 0u);
    }
    part[0][LID] = pixels;
    part[1][LID] = total;
    part[2][LID] = down;
    part[3][LID] = across;
    SUM_ROWS(part, 4u);
    if (LID < 4u) parts[4u * ((u64)frame * count + BLOCK) + LID] = part[LID][0];
    if (beyond && given & 4u) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT);
}
#else

/* high * 2^32 + low as one f64, low carried into high first: a function of the exact number alone */
INLINE f64 beam_real(u64 high, u64 low) {
    high += low >> 32;
    return (f64)high * 4294967296.0 + (f64)(low & 0xffffffffu);
}

/* grid: BLOCK = frame. Its threads add the frame's parts, and the first derives what is asked. */
KERNEL(128) beam_centroid(GLOBAL const u64 *parts, GLOBAL const i32 *live, GLOBAL f32 *centre_row, GLOBAL f32 *centre_col, GLOBAL f64 *centre_sum,
                          GLOBAL i32 *centre_pixels, f64 unit, u32 count, u32 n) {
    SHARED u64 part[6][128];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 pixels = 0u, total = 0u, down = 0u, down_low = 0u, across = 0u, across_low = 0u;
    for (u32 base = 0u; base < count; base += 128u) {
        u32 j = base + LID;
        if (j < count) {
            GLOBAL const u64 *mine = parts + 4u * ((u64)frame * count + j);
            pixels += mine[0];
            total += mine[1];
            down += mine[2] >> 32;
            down_low += mine[2] & 0xffffffffu;
            across += mine[3] >> 32;
            across_low += mine[3] & 0xffffffffu;
        }
    }
    part[0][LID] = pixels;
    part[1][LID] = total;
    part[2][LID] = down;
    part[3][LID] = down_low;
    part[4][LID] = across;
    part[5][LID] = across_low;
    SUM_ROWS(part, 6u);
    if (LID == 0u) {
        total = part[1][0];
        f64 weight = total ? (f64)total : 1.0;
        f32 nan = bits_f32(0x7fc00000u);
        centre_row[frame] = total ? (f32)(beam_real(part[2][0], part[3][0]) / weight) : nan;
        centre_col[frame] = total ? (f32)(beam_real(part[4][0], part[5][0]) / weight) : nan;
        centre_sum[frame] = (f64)total * unit;
        centre_pixels[frame] = (i32)part[0][0];
    }
}
#endif
