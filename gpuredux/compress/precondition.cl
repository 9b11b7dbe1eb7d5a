/* code = narrow(value - prediction), and the ascending list of a frame's exceptions.
 *
 * A tile is the 32 * VECTOR pixels of one warp: four a block.
 *   precondition       grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames: code, and each tile's exceptions
 *   precondition_scan  grid: one block a frame: where each tile's begin in the list, and how many there are
 *   precondition_list  grid: that of precondition: tiles with exceptions read their codes again, and these pixels' words
 * A thread past the frame's end stays for the warp operations. With LEFT_UP VECTOR divides a row, so that a thread's pixels lie side by side. */
#include "compress/precondition_words.cl"

INLINE u32 code_of(u32 word, u32 expected, bool plain) {
    u32 v = plain ? word - BIAS : zigzag((word - expected) & WORD_MASK);
#if NARROW
    v = v - (plain ? CODE_LOWEST : 0u) < (plain ? CODE_REACH : CODE_FILL) ? v : CODE_FILL;
#endif
    return v & (0xffffffffu >> (32u - CODE_BITS));
}

KERNEL(128) precondition(GLOBAL const Word *raw, GLOBAL const u8 *gaps, GLOBAL const u32 *gap_value, GLOBAL const Word *pedestal, GLOBAL Code *code,
                         GLOBAL u32 *tile_count, GLOBAL const i32 *live, u32 n, u32 npix, u32 rows, u32 cols, u32 n_tiles, u32 every) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP;
    u32 end = FRAMES_END(live, n);
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 listed = 0u;
        if (pixel < npix) {
            u64 at = (u64)frame * npix + pixel;
            u32 x[VECTOR], c[VECTOR], expected[VECTOR], gap[VECTOR];
            bool plain = PREDICTOR == NO_PREDICTOR;
            load_word(raw + at, x);
            for (u32 k = 0; k < VECTOR; k++) { expected[k] = BIAS; gap[k] = 0u; }
#if GAPS
            load_u8(gaps + pixel, gap);
#endif
#if PREDICTOR == FRAME_BEFORE
            plain = frame % every == 0u;
            if (!plain) load_word(raw + at - npix, expected);
            for (u32 k = 0; k < VECTOR; k++) expected[k] = plain ? BIAS : expected[k] ^ BIAS; /* in gaps nobody looks */
#elif PREDICTOR == PEDESTAL
            load_word(pedestal + pixel, expected);
            for (u32 k = 0; k < VECTOR; k++) expected[k] ^= BIAS;
#elif PREDICTOR == LEFT_UP
            bool has_left = pixel % cols != 0u, has_up = pixel / cols % rows != 0u;
            u32 left = has_left ? raw[at - 1u] ^ BIAS : BIAS, up[VECTOR];
            for (u32 k = 0; k < VECTOR; k++) up[k] = BIAS;
            if (has_up) load_word(raw + at - cols, up);
            for (u32 k = 0; k < VECTOR; k++) up[k] = has_up ? up[k] ^ BIAS : BIAS;
#if GAPS
            u32 above[VECTOR];
            for (u32 k = 0; k < VECTOR; k++) above[k] = 0u;
            if (has_up) load_u8(gaps + pixel - cols, above);
            for (u32 k = 0; k < VECTOR; k++) up[k] = above[k] != 0u ? BIAS : up[k];
            if (has_left) left = gaps[pixel - 1u] != 0u ? BIAS : left;
#endif
            for (u32 k = 0; k < VECTOR; k++) {
                expected[k] = expected_of(left, up[k], k != 0u ? true : has_left, has_up);
                left = gap[k] != 0u ? BIAS : x[k] ^ BIAS;
            }
#endif
            UNROLL_ON_GPU
            for (u32 k = 0; k < VECTOR; k++) {
                c[k] = code_of(x[k] ^ BIAS, expected[k], plain);
#if GAPS
                if (gap[k] != 0u) c[k] = x[k] == gap_value[gap[k] - 1u] ? 0u : CODE_FILL;
#endif
                listed += IS_LISTED(c[k], gap[k]) ? 1u : 0u;
            }
            store_code(code + at, c);
        }
        listed = warp_sum(w, listed);
        if (LANE == 0u) tile_count[(u64)frame * (n_tiles + 1u) + tile] = listed;
    }
}

KERNEL(128) precondition_scan(GLOBAL const u32 *tile_count, GLOBAL u32 *tile_start, GLOBAL u32 *outlier_count, GLOBAL u32 *frame_status,
                              GLOBAL const i32 *live, u32 n, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    SHARED u32 warps[4];
    u32 frame = BLOCK, before = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 row = (u64)frame * (n_tiles + 1u);
    for (u32 first = 0u; first < n_tiles; first += 128u) {
        u32 at = first + LID, mine = 0u, all;
        if (at < n_tiles) mine = tile_count[row + at];
        u32 start = before + block_scan(w, warps, mine, &all) - mine;
        before += all;
        SYNC; /* before the next round writes warps */
        if (at < n_tiles) tile_start[row + at] = start;
    }
    if (LID == 0u) {
        tile_start[row + n_tiles] = before;
        outlier_count[frame] = before;
#if FRAME_STATUS
        if (before > capacity) frame_status[frame] |= FRAME_OUTLIER_OVERFLOW;
#endif
    }
}

KERNEL(128) precondition_list(GLOBAL const Word *raw, GLOBAL const u8 *gaps, GLOBAL const Code *code, GLOBAL const u32 *tile_start,
                              GLOBAL u32 *outlier_index, GLOBAL u32 *outlier_value, GLOBAL const i32 *live, u32 n, u32 npix, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP;
    u32 end = FRAMES_END(live, n), busy = 0u; /* bit k: the block has exceptions to list in its frame k */
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u64 row = (u64)frame * (n_tiles + 1u) + BLOCK * 4u;
        busy |= (tile_start[row] != tile_start[row + 4u]) & (tile_start[row] < capacity) ? 1u << (frame - BLOCK_Y * FRAMES) : 0u;
    }
    for (; busy != 0u; busy &= busy - 1u) { /* not the loop above with a "continue": see device.h */
        u32 frame = BLOCK_Y * FRAMES + trailing_zeros(busy), marks = 0u, mine = 0u;
        u64 at = (u64)frame * npix + pixel;
        if (pixel < npix) {
            u32 c[VECTOR], gap[VECTOR];
            load_code(code + at, c);
            for (u32 k = 0; k < VECTOR; k++) gap[k] = 0u;
#if GAPS
            load_u8(gaps + pixel, gap);
#endif
            for (u32 k = 0; k < VECTOR; k++) marks |= IS_LISTED(c[k], gap[k]) ? 1u << k : 0u;
            mine = count_ones(marks);
        }
        u32 slot = tile_start[(u64)frame * (n_tiles + 1u) + tile] + warp_scan(w, mine) - mine;
        for (; marks != 0u && slot < capacity; marks &= marks - 1u) {
            u32 k = trailing_zeros(marks);
            outlier_index[(u64)frame * capacity + slot] = pixel + k;
            outlier_value[(u64)frame * capacity + slot] = ((u32)raw[at + k] ^ BIAS) - BIAS; /* the sign goes through */
            slot++;
        }
    }
}
