/* Frames again: background and noise in every pixel, then the listed pixels over it. */

#ifdef BACKGROUND
/* Philox4x32-10 of one counter: w becomes its four words */
INLINE void philox(u32 *w, u32 key, u32 other_key) {
    for (u32 round = 0u; round < 10u; round++) {
        u64 left = (u64)w[0] * 0xD2511F53u, right = (u64)w[2] * 0xCD9E8D57u;
        w[0] = (u32)(right >> 32) ^ w[1] ^ key;
        w[1] = (u32)right;
        w[2] = (u32)(left >> 32) ^ w[3] ^ other_key;
        w[3] = (u32)left;
        key += 0x9E3779B9u;
        other_key += 0xBB67AE85u;
    }
}

/* grid: a thread four pixels, BLOCK = 512 pixels, BLOCK_Y = frame. */
KERNEL(128) background(GLOBAL const f32 *position, GLOBAL const f32 *quantiles, GLOBAL const f32 *all_mean, GLOBAL const f32 *all_std,
                       GLOBAL const f32 *normalisation, GLOBAL const u64 *pulse_id, GLOBAL const i32 *live, GLOBAL WORD *dense, f32 cutoff, f32 least,
                       f32 most, u32 fill, u32 seed, u32 seed_high, u32 n, u32 bins, u32 npix) {
    u32 frame = BLOCK_Y, block = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const f32 *mean = all_mean + (u64)frame * bins, *std = all_std + (u64)frame * bins;
#if NOISE
    u64 number = NUMBERED ? pulse_id[frame] : (u64)frame;
    u32 w[4];
    w[0] = block;
    w[1] = 0u;
    w[2] = (u32)number;
    w[3] = (u32)(number >> 32);
    philox(w, seed, seed_high);
#endif
    UNROLL
    for (u32 k = 0u; k < 4u; k++) {
        u32 pixel = block * 4u + k;
        if (pixel < npix) {
            f32 place = position[pixel], at = place >= 0.0f ? place : 0.0f, y = between(mean, at, bins);
#if NOISE
            u32 h = w[k] >> 1 | 1u, zeros = leading_zeros(h); /* 1 or more */
            u32 part = (h << (zeros - 1u) & 0x3fffffffu) >> 7;
            f32 z = between(quantiles, (f32)(zeros * 32u) - (f32)part * 3.814697265625e-06f, QUANTILES); /* 32 / 2^23 */
            z = w[k] & 1u ? -z : z;
            z = z < cutoff ? z : cutoff;
            y = y + z * between(std, at, bins);
#endif
#if WEIGHTED
            y = y * normalisation[pixel];
#endif
            bool known = place >= 0.0f && y == y;
            y = y < least ? least : y > most ? most : y;
#if WHOLE
            WORD x = (WORD)rint_f32(known ? y : 0.0f);
            dense[(u64)frame * npix + pixel] = known ? x : (WORD)fill;
#else
            dense[(u64)frame * npix + pixel] = known ? y : bits_f32(fill);
#endif
        }
    }
}
#else

/* grid: BLOCK = 128 entries of the list, BLOCK_Y = frame. */
KERNEL(128) listed(GLOBAL const u32 *index, GLOBAL const WORD *value, GLOBAL const i32 *count, GLOBAL const i32 *live, GLOBAL WORD *dense, u32 n, u32 npix,
                   u32 rows) {
    u32 frame = BLOCK_Y, k = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || k >= rows || (i32)k >= count[frame]) return;
    u32 pixel = index[(u64)frame * rows + k];
    if (pixel < npix) dense[(u64)frame * npix + pixel] = value[(u64)frame * rows + k];
}
#endif
