/* raw = prediction + widen(code); the gap's value in gaps, the listed one where the code says so.
 *
 *   restore          grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames: a thread owns VECTOR pixels. With FRAME_BEFORE a group is
 *                    a plain frame and those that build on it
 *   restore_left_up  grid: a block a panel of a frame; a thread a row of 128. In step s the row k is at column s - k: the pixel above was made a step before,
 *                    the one to the left by the thread itself; both wait in SHARED. A panel takes rows / 128 * (columns + 127) steps
 *   restore_status   grid: a thread a frame
 * A listed value is found by bisection in the frame's ascending list: rare, and no second pass that would scatter. */
#ifdef STATUS_ONLY
KERNEL(128) restore_status(GLOBAL const u32 *outlier_count, GLOBAL u32 *frame_status, GLOBAL const i32 *live, u32 n, u32 capacity, u32 group) {
    u32 frame = BLOCK * 128u + LID, over = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    for (u32 k = frame / group * group; k <= frame; k++) over |= outlier_count[k] > capacity ? 1u : 0u;
    if (over) frame_status[frame] |= FRAME_OUTLIER_OVERFLOW;
}
#else
#include "compress/precondition_words.cl"

/* whether the list has the pixel; its word, biased */
INLINE bool listed_word(GLOBAL const u32 *index, GLOBAL const u32 *value, u32 listed, u32 pixel, u32 *word) {
    u32 low = 0u, high = listed;
    while (low < high) {
        u32 middle = low + (high - low) / 2u;
        if (index[middle] < pixel) low = middle + 1u;
        else high = middle;
    }
    if (low >= listed || index[low] != pixel) return false;
    *word = (value[low] + BIAS) & WORD_MASK;
    return true;
}

INLINE u32 word_of_code(u32 c, u32 expected, bool plain) {
    return (plain ? ((c ^ CODE_SIGN) - CODE_SIGN) + BIAS : expected + unzigzag(c)) & WORD_MASK;
}

#if PREDICTOR == LEFT_UP
KERNEL(128) restore_left_up(GLOBAL const Code *code, GLOBAL const u32 *outlier_index, GLOBAL const u32 *outlier_value, GLOBAL const u32 *outlier_count,
                            GLOBAL Word *raw, GLOBAL const i32 *live, GLOBAL const u8 *gaps, GLOBAL const u32 *gap_value, u32 n, u32 npix, u32 rows,
                            u32 cols, u32 capacity) {
    SHARED u32 known[128]; /* what each row knows of its latest pixel, biased; BIAS in gaps */
    u32 panels = npix / (rows * cols), frame = BLOCK / panels, base = BLOCK % panels * rows * cols;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 steps = cols + 127u, bands = (rows + 127u) / 128u;
    known[LID] = BIAS;
    SYNC;
    for (u32 t = 0u; t < bands * steps; t++) { /* one loop: PoCL 3.1 errs behind nested ones with SYNCs */
        u32 row = t / steps * 128u + LID, col = t % steps - LID, word = known[LID], up = known[LID != 0u ? LID - 1u : 0u];
        bool here = (row < rows) & (t % steps >= LID) & (col < cols);
        SYNC;
        if (here) {
            u32 pixel = base + row * cols + col, gap = 0u, above = 0u, exact;
            u64 at = (u64)frame * npix + pixel;
            u32 c = code[at];
#if GAPS
            gap = gaps[pixel];
            if ((LID == 0u) & (row != 0u)) above = gaps[pixel - cols];
#endif
            if ((LID == 0u) & (row != 0u)) up = above != 0u ? BIAS : raw[at - cols] ^ BIAS; /* of the band above, written steps ago */
            word = word_of_code(c, expected_of(word, up, col != 0u, row != 0u), false);
            bool listed = false;
            if (IS_LISTED(c, gap))
                listed = listed_word(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity, smaller(outlier_count[frame], capacity),
                                     pixel, &exact);
            if (listed) word = exact;
            u32 x = word ^ BIAS;
#if GAPS
            if ((gap != 0u) & !listed) x = gap_value[gap - 1u];
            if (gap != 0u) word = BIAS;
#endif
            raw[at] = (Word)x;
            known[LID] = word;
        }
        SYNC;
    }
}
#else
KERNEL(128) restore(GLOBAL const Code *code, GLOBAL const u32 *outlier_index, GLOBAL const u32 *outlier_value, GLOBAL const u32 *outlier_count,
                    GLOBAL const Word *previous, GLOBAL Word *raw, GLOBAL const i32 *live, GLOBAL const u8 *gaps, GLOBAL const u32 *gap_value,
                    GLOBAL const Word *pedestal, u32 n, u32 npix, u32 capacity) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR;
    u32 end = FRAMES_END(live, n), gap[VECTOR], expected[VECTOR];
    if (pixel >= npix) return;
    for (u32 k = 0; k < VECTOR; k++) { expected[k] = BIAS; gap[k] = 0u; }
#if GAPS
    load_u8(gaps + pixel, gap);
#endif
#if PREDICTOR == PEDESTAL
    load_word(pedestal + pixel, expected);
    for (u32 k = 0; k < VECTOR; k++) expected[k] ^= BIAS;
#elif PREVIOUS
    if (BLOCK_Y == 0u) load_word(previous + pixel, expected);
    for (u32 k = 0; k < VECTOR; k++) expected[k] = BLOCK_Y == 0u ? expected[k] ^ BIAS : BIAS; /* in gaps nobody looks */
#endif
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u64 at = (u64)frame * npix + pixel;
        u32 c[VECTOR], x[VECTOR];
        bool plain = PREDICTOR == NO_PREDICTOR;
#if PREDICTOR == FRAME_BEFORE
        plain = (frame == BLOCK_Y * FRAMES) & !((PREVIOUS != 0) & (frame == 0u));
#endif
        load_code(code + at, c);
        UNROLL_ON_GPU
        for (u32 k = 0; k < VECTOR; k++) {
            u32 word = word_of_code(c[k], expected[k], plain), exact;
            bool listed = false;
            if (IS_LISTED(c[k], gap[k]))
                listed = listed_word(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity, smaller(outlier_count[frame], capacity),
                                     pixel + k, &exact);
            if (listed) word = exact;
            x[k] = word ^ BIAS;
#if GAPS
            if ((gap[k] != 0u) & !listed) x[k] = gap_value[gap[k] - 1u];
#endif
#if PREDICTOR == FRAME_BEFORE
            expected[k] = word; /* in gaps nobody looks */
#endif
        }
        store_word(raw + at, x);
    }
}
#endif
#endif
