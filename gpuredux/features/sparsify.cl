/* The pixels above the background of their rings: to bits, and from bits (counted by strong.cl) to lists in raster order.
 * f64: squares of float32, which have no room in float32; each operation rounded once. */

#ifdef ABOVE
/* grid: BLOCK = 1024 pixels, BLOCK_Y = frame: bit k of word w: pixel 32 w + k is above. */
KERNEL(128) above(GLOBAL const WORD *image, GLOBAL const f32 *position, GLOBAL const f32 *all_mean, GLOBAL const f32 *all_std, GLOBAL const u8 *marks,
                  GLOBAL const f32 *inverse, GLOBAL const i32 *live, GLOBAL u32 *bits, f64 squared_cutoff, f64 squared_noise, f32 lowest, u32 reached, u32 n,
                  u32 bins, u32 npix, u32 words) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const f32 *mean = all_mean + (u64)frame * bins, *std = all_std + (u64)frame * bins;
    u64 at = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 pixel = BLOCK * 1024u + k * 128u + LID;
        bool strong = false;
        if (pixel < npix) {
            f32 place = position[pixel], x = (f32)image[at + pixel];
            strong = place >= 0.0f && is_finite(x);
#if MARKED
            strong = strong && marks[at + pixel] == 0u;
#endif
#if WEIGHTED
            x = x * inverse[pixel];
#endif
            if (strong) {
                f32 e = x - between(mean, place, bins);
                f64 s = (f64)between(std, place, bins), least = squared_cutoff * (s * s + squared_noise), square = (f64)e * (f64)e;
                strong = e > lowest && (reached ? square >= least : square > least);
            }
        }
        u32 all = warp_ballot(w, strong);
        if (LANE == 0u && pixel / 32u < words) bits[(u64)frame * words + pixel / 32u] = all;
    }
}
#endif

#ifdef LIST_ABOVE
/* grid: a thread a word of bits, BLOCK_Y = frame: numbers and values of its pixels to their places; zeros behind the last. */
KERNEL(128) list_above(GLOBAL const WORD *image, GLOBAL const u32 *bits, GLOBAL const u32 *rank, GLOBAL const u32 *tile_count, GLOBAL const i32 *count,
                       GLOBAL const i32 *live, GLOBAL u32 *index, GLOBAL WORD *value, u32 n, u32 npix, u32 words, u32 rows) {
    u32 frame = BLOCK_Y, word = BLOCK * 128u + LID, tiles = (words + 127u) / 128u;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 to = (u64)frame * rows;
    if (word < words) {
        u32 set = bits[(u64)frame * words + word], place = rank[(u64)frame * words + word] + tile_count[(u64)frame * tiles + BLOCK];
        while (set && place < rows) {
            u32 pixel = word * 32u + trailing_zeros(set);
            index[to + place] = pixel;
            value[to + place] = image[(u64)frame * npix + pixel];
            set &= set - 1u;
            place++;
        }
    }
    for (u32 k = (u32)count[frame] + word; k < rows; k += tiles * 128u) {
        index[to + k] = 0u;
        value[to + k] = (WORD)0;
    }
}
#endif
