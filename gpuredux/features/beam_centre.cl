/* The point about which a frame is symmetric: frames in greys, halved again and again; sums over pairs of pixels about points; the best point.
 * Sums are of whole numbers: no order changes a bit. f64: roots and correlations, each operation rounded once, results rounded once to f32. */
#define NONE 255u
#define LOST (-(1 << 30))

#ifdef WORD
/* grid: BLOCK = 1024 pixels, BLOCK_Y = frame. given: 1 pixel_status, 2 good. */
KERNEL(128) centre_grey(GLOBAL const WORD *frames, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL const i32 *live, GLOBAL u8 *grey, f64 scale,
                        u32 given, u32 npix, u32 n) {
    u32 frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 pixel = BLOCK * 1024u + k * 128u + LID;
        if (pixel < npix) {
            f32 x = (f32)frames[at + pixel];
            bool use = is_finite(x) && !(given & 1u && pixel_status[at + pixel]) && !(given & 2u && !good[pixel]);
            f64 white = sqrt(use && x > 0.0f ? (f64)x * scale : 0.0);
            grey[at + pixel] = (u8)(use ? (u32)(white < 254.0 ? white : 254.0) : NONE);
        }
    }
}
#elif defined(PARTS)

/* grid: BLOCK = point * PARTS + part, BLOCK_Y = frame. A part is every PARTS-th row above the point, its threads walk along the row; each pair is taken from
 * its upper pixel, and counted from both sides: m, sum of a, of a^2, of a b. */
KERNEL(128) centre_pairs(GLOBAL const u8 *all_grey, GLOBAL const i32 *place, GLOBAL const i32 *live, GLOBAL u64 *sums, u32 least, u32 most, u32 steps,
                         u32 rows, u32 cols, u32 n) {
    SHARED u64 part[4][128];
    u32 frame = BLOCK_Y, side = 2u * steps + 1u, point = BLOCK / PARTS;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u8 *grey = all_grey + (u64)frame * rows * cols;
    i32 row = place[2u * frame], col = place[2u * frame + 1u];
    u64 count = 0u, once = 0u, square = 0u, product = 0u;
    if (row != LOST) {
        row += (i32)(point / side) - (i32)steps;
        col += (i32)(point % side) - (i32)steps;
        i32 first = col - (i32)cols + 1, last = col < (i32)cols - 1 ? col : (i32)cols - 1, top = row - (i32)rows + 1;
        first = first > 0 ? first : 0;
        top = top > 0 ? top : 0;
        for (i32 i = top + (i32)(BLOCK % PARTS); 2 * i <= row && i < (i32)rows; i += (i32)PARTS) {
            u32 down = (u32)((2 * i - row) * (2 * i - row));
            i32 reach = down <= most ? (i32)sqrt((f64)(most - down)) + 1 : -1; /* at least as far as the circle is wide here */
            i32 begin = (col - reach) / 2, end = (col + reach) / 2;
            begin = begin > first ? begin : first;
            end = reach < 0 ? begin - 1 : end < last ? end : last;
            GLOBAL const u8 *upper = grey + (u64)(u32)i * cols, *lower = grey + (u64)(u32)(row - i) * cols;
            for (i32 base = begin; base <= end; base += 128) {
                i32 j = base + (i32)LID;
                if (j <= end && (2 * i < row || 2 * j < col)) {
                    u32 a = upper[j], b = lower[col - j], away = (u32)((2 * j - col) * (2 * j - col)) + down;
                    if (a != NONE && b != NONE && away >= least && away <= most) {
                        count += 2u;
                        once += a + b;
                        square += a * a + b * b;
                        product += 2u * a * b;
                    }
                }
            }
        }
    }
    part[0][LID] = count;
    part[1][LID] = once;
    part[2][LID] = square;
    part[3][LID] = product;
    SUM_ROWS(part, 4u);
    if (LID < 4u) sums[4u * ((u64)frame * side * side * PARTS + BLOCK) + LID] = part[LID][0];
}

/* Pearson's correlation of one point's pairs; -2 where they are fewer than least, or all alike */
INLINE f64 centre_correlation(GLOBAL const u64 *mine, u32 least) {
    u64 count = 0u, once = 0u, square = 0u, product = 0u;
    for (u32 k = 0u; k < PARTS; k++) {
        count += mine[4u * k];
        once += mine[4u * k + 1u];
        square += mine[4u * k + 2u];
        product += mine[4u * k + 3u];
    }
    f64 m = (f64)count, a = (f64)once, spread = m * (f64)square - a * a;
    bool use = count >= least && spread > 0.0;
    return use ? (m * (f64)product - a * a) / (use ? spread : 1.0) : -2.0;
}

/* where the parabola through three points is highest, seen from the middle one; 0 where an outer one is missing */
INLINE f64 centre_top(f64 before, f64 here, f64 after) {
    f64 bend = (before - here) + (after - here);
    return bend < 0.0 && before > -1.5 && after > -1.5 ? 0.5 * (before - after) / (bend < 0.0 ? bend : 1.0) : 0.0;
}

/* grid: BLOCK = frame. A thread looks at every 128th point; of equal ones the first is taken. */
KERNEL(128) centre_best(GLOBAL const u64 *all_sums, GLOBAL i32 *place, GLOBAL const i32 *live, GLOBAL f32 *centre_row, GLOBAL f32 *centre_col,
                        GLOBAL f32 *centre_score, f64 size, u32 least, u32 steps, u32 last, u32 n) {
    SHARED f64 score[128];
    SHARED u32 where[128];
    u32 frame = BLOCK, side = 2u * steps + 1u, points = side * side;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u64 *sums = all_sums + 4u * ((u64)frame * points * PARTS);
    i32 row = place[2u * frame], col = place[2u * frame + 1u]; /* read here: where one branch reads and writes them, PoCL 3.1 writes nonsense (tried) */
    f64 most = -3.0;
    u32 at = 0u;
    for (u32 base = 0u; base < points; base += 128u) {
        u32 point = base + LID;
        if (point < points) {
            f64 mine = centre_correlation(sums + 4u * point * PARTS, least);
            if (mine > most) {
                most = mine;
                at = point;
            }
        }
    }
    score[LID] = most;
    where[LID] = at;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach && (score[LID + reach] > score[LID] || (score[LID + reach] == score[LID] && where[LID + reach] < where[LID]))) {
            score[LID] = score[LID + reach];
            where[LID] = where[LID + reach];
        }
        SYNC;
    }
    if (LID == 0u) {
        bool found = row != LOST && score[0] > -1.5;
        u32 down = where[0] / side, across = where[0] % side;
        row = found ? row + (i32)down - (i32)steps : LOST;
        col = found ? col + (i32)across - (i32)steps : LOST;
        if (last) {
            f32 nan = bits_f32(0x7fc00000u);
            f64 off_row = 0.0, off_col = 0.0, here = score[0];
            GLOBAL const u64 *mine = sums + 4u * where[0] * PARTS;
            if (found && down > 0u && down < side - 1u)
                off_row = centre_top(centre_correlation(mine - 4u * side * PARTS, least), here, centre_correlation(mine + 4u * side * PARTS, least));
            if (found && across > 0u && across < side - 1u)
                off_col = centre_top(centre_correlation(mine - 4u * PARTS, least), here, centre_correlation(mine + 4u * PARTS, least));
            centre_row[frame] = found ? (f32)((((f64)row + off_row) * 0.5 + 0.5) * size - 0.5) : nan;
            centre_col[frame] = found ? (f32)((((f64)col + off_col) * 0.5 + 0.5) * size - 0.5) : nan;
            centre_score[frame] = found ? (f32)here : nan;
        } else {
            place[2u * frame] = found ? 2 * row + 1 : LOST;
            place[2u * frame + 1u] = found ? 2 * col + 1 : LOST;
        }
    }
}
#else

/* grid: BLOCK = 128 pixels of the coarser frame, BLOCK_Y = frame: the mean of 2 x 2, halves up, NONE where less than 2 are good. */
KERNEL(128) centre_halve(GLOBAL const u8 *all_fine, GLOBAL const i32 *live, GLOBAL u8 *coarse, u32 rows, u32 cols, u32 half_rows, u32 half_cols, u32 n) {
    u32 frame = BLOCK_Y, pixel = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || pixel >= half_rows * half_cols) return;
    GLOBAL const u8 *fine = all_fine + (u64)frame * rows * cols;
    u32 top = pixel / half_cols * 2u, left = pixel % half_cols * 2u, total = 0u, count = 0u;
    for (u32 k = 0u; k < 4u; k++) {
        u32 row = top + k / 2u, col = left + k % 2u;
        u32 v = row < rows && col < cols ? fine[row * cols + col] : NONE;
        total += v != NONE ? v : 0u;
        count += v != NONE ? 1u : 0u;
    }
    coarse[(u64)frame * half_rows * half_cols + pixel] = (u8)(count >= 2u ? (2u * total + count) / (2u * count) : NONE);
}

/* grid: a thread a frame. place = the guess in half pixels of the coarsest level, LOST where it is none. each: a pixel in pixels of that level. */
KERNEL(128) centre_start(GLOBAL const f32 *centre_row, GLOBAL const f32 *centre_col, GLOBAL const i32 *live, GLOBAL i32 *place, f64 guess_row, f64 guess_col,
                         f64 each, u32 given, u32 n) {
    u32 frame = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n)) return;
    f64 row = given ? (f64)centre_row[frame] : guess_row, col = given ? (f64)centre_col[frame] : guess_col;
    bool found = row <= 65535.0 && row >= -65535.0 && col <= 65535.0 && col >= -65535.0;
    place[2u * frame] = found ? (i32)floor((2.0 * row + 1.0) * each - 1.0 + 0.5) : LOST;
    place[2u * frame + 1u] = found ? (i32)floor((2.0 * col + 1.0) * each - 1.0 + 0.5) : LOST;
}
#endif
