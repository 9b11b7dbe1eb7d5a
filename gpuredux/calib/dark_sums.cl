/* state + batch: count, sum adc, sum adc * adc, extremes of the words of gain stage PLANE; the same inside a gate.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = memory cell. A thread owns VECTOR pixels of a cell over all frames of that cell: sums of TOGETHER
 * frames in 32 bits, then in 64. Nothing is shared. */
#define STATE_AT(k) (((u64)(k) * (CELLS ? CELLS : 1u) + BLOCK_Y) * npix + pixel)

typedef struct {
    u32 mine, lost, inside, low, high, least, most; /* least, most: of the batch; low, high: of the gate */
    u32 sum, sum2, in, in2;                                /* of the last frames, TOGETHER at most */
    u64 all, all2, inner, inner2;
} DarkPixel;

INLINE void dark_clear(DarkPixel *d) {
    d->mine = d->lost = d->inside = d->most = 0u;
    d->sum = d->sum2 = d->in = d->in2 = 0u;
    d->all = d->all2 = d->inner = d->inner2 = 0u;
    d->least = 65535u; d->low = 0u; d->high = 65535u;
}

INLINE void dark_carry(DarkPixel *d) {
    d->all += d->sum; d->all2 += d->sum2;
    d->sum = d->sum2 = 0u;
#if GATE
    d->inner += d->in; d->inner2 += d->in2;
    d->in = d->in2 = 0u;
#endif
}

INLINE void dark_add(DarkPixel *d, u32 word) {
    u32 plane = PLANE_OF(word);
    bool lost = WORD_STATUS(word) != 0u || plane == 15u, mine = !lost && plane == PLANE;
    u32 adc = mine ? (word & ADC_MASK) >> ADC_SHIFT : 0u, square = adc * adc;
    d->mine += mine ? 1u : 0u;
    d->lost += lost ? 1u : 0u;
    d->sum += adc; d->sum2 += square;
    d->least = mine && adc < d->least ? adc : d->least;
    d->most = adc > d->most ? adc : d->most;
#if GATE
    bool inside = mine && adc >= d->low && adc <= d->high;
    d->inside += inside ? 1u : 0u;
    d->in += inside ? adc : 0u; d->in2 += inside ? square : 0u;
#endif
}

KERNEL_PIXELS(128) dark_sums(GLOBAL const u16 *raw, GLOBAL const u32 *count, GLOBAL const u64 *sum, GLOBAL const u16 *extreme, GLOBAL const u16 *gate,
                             GLOBAL const u32 *stray, GLOBAL const u16 *cell, GLOBAL const i32 *live, GLOBAL u32 *new_count, GLOBAL u64 *new_sum,
                             GLOBAL u16 *new_extreme, GLOBAL u32 *new_stray, u32 n, u32 npix) {
    Index pixel = FIRST_PIXEL;
    u32 end = LIVE_ROWS(live, n), seen = 0u, held = 0u;
    DarkPixel d[VECTOR];
#if CELLS
    if (pixel == 0u && BLOCK_Y == 0u) {
        u32 strays = stray[0];
        for (u32 frame = 0; frame < end; frame++) strays += cell[frame] >= CELLS ? 1u : 0u;
        new_stray[0] = strays;
    }
#endif
    if (pixel >= npix) return;
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) dark_clear(d + k);
#if GATE
    u32 low[VECTOR], high[VECTOR];
    load_u16(gate + STATE_AT(0u), low);
    load_u16(gate + STATE_AT(1u), high);
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) { d[k].low = low[k]; d[k].high = high[k]; }
#endif
    for (u32 frame = 0; frame < end; frame++) {
#if CELLS
        if (cell[frame] == BLOCK_Y)
#endif
        {
            u32 word[VECTOR];
            load_u16(raw + (u64)frame * npix + pixel, word);
            UNROLL
            for (u32 k = 0; k < VECTOR; k++) dark_add(d + k, word[k]);
            seen++;
            if (++held == TOGETHER) {
                held = 0u;
                UNROLL
                for (u32 k = 0; k < VECTOR; k++) dark_carry(d + k);
            }
        }
    }
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        dark_carry(d + k);
        new_count[STATE_AT(0u) + k] = count[STATE_AT(0u) + k] + d[k].mine;
        new_count[STATE_AT(1u) + k] = count[STATE_AT(1u) + k] + (seen - d[k].mine - d[k].lost);
        new_count[STATE_AT(2u) + k] = count[STATE_AT(2u) + k] + d[k].lost;
        new_sum[STATE_AT(0u) + k] = sum[STATE_AT(0u) + k] + d[k].all;
        new_sum[STATE_AT(1u) + k] = sum[STATE_AT(1u) + k] + d[k].all2;
        u32 least = extreme[STATE_AT(0u) + k], most = extreme[STATE_AT(1u) + k];
        new_extreme[STATE_AT(0u) + k] = (u16)(d[k].least < least ? d[k].least : least);
        new_extreme[STATE_AT(1u) + k] = (u16)(d[k].most > most ? d[k].most : most);
#if GATE
        new_count[STATE_AT(3u) + k] = count[STATE_AT(3u) + k] + d[k].inside;
        new_sum[STATE_AT(2u) + k] = sum[STATE_AT(2u) + k] + d[k].inner;
        new_sum[STATE_AT(3u) + k] = sum[STATE_AT(3u) + k] + d[k].inner2;
#endif
    }
}
