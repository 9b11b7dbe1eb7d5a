/* The ascending list of a frame's outliers: what quantisers and wavelets do with the codes FILL.
 *
 * A tile is the 32 * VECTOR pixels of one warp, four a block; tile_start has its outliers.
 *   outliers_scan  grid: one block a frame: sums the tiles' counts up to their starts in the list, and the frame's numbers; compiled by itself
 *   outliers_list  grid: that of the kernel that made the codes: tiles with outliers read their codes again, and the values of these pixels alone, by LOAD.
 *                  Whoever includes it says Code, load_code, CODE_FILL and, of a value that LOAD gives, its type Value; and CODE_ROW(frame), where a
 *                  frame's codes are not its row's */
#ifndef VECTOR

/* a thread takes 4 tiles at a time; rows of tile_start end in 4 more words, the first of which gets the total */
KERNEL(128) outliers_scan(GLOBAL u32 *tile_start, GLOBAL const u32 *tile_error, GLOBAL u32 *outlier_count, GLOBAL f32 *max_error, GLOBAL u32 *frame_status,
                          GLOBAL const i32 *live, f32 unit, f32 most, u32 n, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    SHARED u32 warps[4];
    u32 frame = BLOCK, before = 0u, worst = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL uint4 *row = (GLOBAL uint4 *)(tile_start + (u64)frame * (n_tiles + 4u));
    GLOBAL const uint4 *errors = (GLOBAL const uint4 *)(tile_error + (u64)frame * n_tiles);
    for (u32 first = 0u; first < n_tiles / 4u; first += 128u) {
        u32 at = first + LID, mine = 0u;
        uint4 c;
        if (at < n_tiles / 4u) {
            uint4 e = errors[at];
            u32 left = e.x > e.y ? e.x : e.y, right = e.z > e.w ? e.z : e.w;
            left = left > right ? left : right;
            worst = left > worst ? left : worst;
            c = row[at];
            mine = c.x + c.y + c.z + c.w;
        }
        u32 all, start = before + block_scan(w, warps, mine, &all) - mine;
        before += all;
        SYNC; /* before the next round writes warps */
        if (at < n_tiles / 4u) {
            uint4 s;
            s.x = start; s.y = s.x + c.x; s.z = s.y + c.y; s.w = s.z + c.z;
            row[at] = s;
        }
    }
    worst = warp_max(w, worst);
    if (LANE == 0u) warps[WARP] = worst;
    SYNC;
    u32 left = warps[0] > warps[1] ? warps[0] : warps[1], right = warps[2] > warps[3] ? warps[2] : warps[3];
    if (LID == 0u) {
        tile_start[(u64)frame * (n_tiles + 4u) + n_tiles] = before;
        outlier_count[frame] = before;
        f32 error = bits_f32(left > right ? left : right) * unit;
        max_error[frame] = error > most ? most : error;
#if FRAME_STATUS
        if (before > capacity) frame_status[frame] |= FRAME_OUTLIER_OVERFLOW;
#endif
    }
}

#else
#ifndef CODE_ROW
#define CODE_ROW(frame) ((u64)(frame))
#endif

KERNEL(128) outliers_list(LOAD_PARAMS, GLOBAL const Code *code, GLOBAL const u32 *tile_start, GLOBAL u32 *outlier_index, GLOBAL Value *outlier_value,
                           GLOBAL const i32 *live, u32 n, u32 npix, u32 n_tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP, pitch = n_tiles + 4u;
    u32 end = FRAMES_END(live, n), busy = 0u; /* bit k: the block has outliers to list in its frame k */
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 first = tile_start[(u64)frame * pitch + BLOCK * 4u], after = tile_start[(u64)frame * pitch + BLOCK * 4u + 4u];
        busy |= first != after && first < capacity ? 1u << (frame - BLOCK_Y * FRAMES) : 0u;
    }
    for (; busy != 0u; busy &= busy - 1u) { /* not the loop above with a "continue": see device.h */
        u32 frame = BLOCK_Y * FRAMES + trailing_zeros(busy), c[VECTOR], mine = 0u;
        if (pixel < npix) {
            load_code(code + CODE_ROW(frame) * npix + pixel, c);
            for (u32 k = 0; k < VECTOR; k++) mine += c[k] == CODE_FILL ? 1u : 0u;
        }
        u32 slot = tile_start[(u64)frame * pitch + tile] + warp_scan(w, mine) - mine;
        if (mine != 0u) {
            Value x[VECTOR];
            u32 bits[VECTOR];
            Held held;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            for (u32 k = 0; k < VECTOR; k++)
                if (c[k] == CODE_FILL) {
                    if (slot < capacity) {
                        outlier_index[(u64)frame * capacity + slot] = pixel + k;
                        outlier_value[(u64)frame * capacity + slot] = x[k];
                    }
                    slot++;
                }
        }
    }
}
#endif
