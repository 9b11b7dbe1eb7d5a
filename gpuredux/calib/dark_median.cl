/* 2 median(adc) and 4 median(|adc - median|) of a sample, by bisection: the least value that half of the words do not exceed.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels. A thread owns VECTOR pixels and reads their words of the sample again in each step, some 20 times in all:
 * what a block reads lies in the cache after the first. */

/* |adc - centre| * 2 for MAD, else adc; NONE for a word that does not count */
INLINE u32 dark_value(u32 word, bool mad, u32 centre) {
    u32 plane = PLANE_OF(word), adc = (word & ADC_MASK) >> ADC_SHIFT;
    u32 far = 2u * adc > centre ? 2u * adc - centre : centre - 2u * adc;
    return WORD_STATUS(word) != 0u || plane != PLANE ? NONE : mad ? far : adc;
}

/* the two middle values added, of each pixel; 0 where there is none */
INLINE void dark_middle_two(GLOBAL const u16 *raw, u32 end, Index pixel, u32 npix, bool mad, const u32 *centre, u32 *many, u32 *result) {
    u32 low[VECTOR], high[VECTOR], below[VECTOR], word[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) { low[k] = NONE; high[k] = 0u; many[k] = 0u; }
    for (u32 frame = 0; frame < end; frame++) {
        load_u16(raw + (u64)frame * npix + pixel, word);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            u32 x = dark_value(word[k], mad, centre[k]);
            low[k] = x < low[k] ? x : low[k];
            high[k] = x != NONE && x > high[k] ? x : high[k];
            many[k] += x != NONE ? 1u : 0u;
        }
    }
    bool open = false;
    for (u32 k = 0; k < VECTOR; k++) {
        low[k] = many[k] ? low[k] : high[k];
        open = open || low[k] < high[k];
    }
    while (open) { /* no SYNC and no warp operation inside: threads may differ */
        for (u32 k = 0; k < VECTOR; k++) below[k] = 0u;
        for (u32 frame = 0; frame < end; frame++) {
            load_u16(raw + (u64)frame * npix + pixel, word);
            UNROLL
            for (u32 k = 0; k < VECTOR; k++) below[k] += dark_value(word[k], mad, centre[k]) <= (low[k] + high[k]) / 2u ? 1u : 0u;
        }
        open = false;
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            u32 middle = (low[k] + high[k]) / 2u;
            bool enough = below[k] >= (many[k] + 1u) / 2u;
            u32 next = smaller(middle + 1u, high[k]);
            high[k] = enough ? middle : high[k];
            low[k] = enough ? low[k] : next;
            open = open || low[k] < high[k];
        }
    }
    for (u32 k = 0; k < VECTOR; k++) { below[k] = 0u; high[k] = NONE; }
    for (u32 frame = 0; frame < end; frame++) {
        load_u16(raw + (u64)frame * npix + pixel, word);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            u32 x = dark_value(word[k], mad, centre[k]);
            below[k] += x <= low[k] ? 1u : 0u;
            high[k] = x > low[k] && x < high[k] ? x : high[k];
        }
    }
    for (u32 k = 0; k < VECTOR; k++) {
        u32 upper = below[k] >= many[k] / 2u + 1u ? low[k] : high[k];
        result[k] = many[k] ? low[k] + upper : 0u;
    }
}

KERNEL_PIXELS(128) dark_median(GLOBAL const u16 *raw, GLOBAL const i32 *live, GLOBAL u32 *median2, GLOBAL u32 *mad4, GLOBAL u32 *count, u32 n, u32 npix) {
    Index pixel = FIRST_PIXEL;
    u32 end = LIVE_ROWS(live, n), centre[VECTOR], many[VECTOR], spread[VECTOR];
    if (pixel >= npix) return;
    for (u32 k = 0; k < VECTOR; k++) centre[k] = 0u;
    dark_middle_two(raw, end, pixel, npix, false, centre, many, spread);
    for (u32 k = 0; k < VECTOR; k++) centre[k] = spread[k];
    dark_middle_two(raw, end, pixel, npix, true, centre, many, spread);
    store_u32(median2 + pixel, centre);
    store_u32(mad4 + pixel, spread);
    store_u32(count + pixel, many);
}
