/* The median of each ring, or another quantile, by bits: of keys that are in the order of the values.
 * grid: BLOCK = ring, BLOCK_Y = frame. Pixel j of a ring is thread j % 128's; the keys of the first HELD are kept in SHARED, the others made again each round.
 * NARROW: words of 8 or 16 bits, whose keys are few: rounds go only over the bits in which keys differ.
 * f64: quotients, rounded once to f32, and the mean of the two in the middle. */
#define HELD 4096u
#define NO_KEY 0xffffffffu /* of a pixel that is left out: behind all others */

INLINE u32 key_of(WORD word, f32 normalisation) {
#if NARROW
    return (u32)((i32)word + 32768);
#else
    f32 x = (f32)word;
#if WEIGHTED
    x = (f32)((f64)x / (f64)normalisation);
#endif
    return f32_key(x + 0.0f); /* -0 as +0 */
#endif
}

INLINE f64 of_key(u32 key) {
#if NARROW
    return (f64)((i32)key - 32768);
#else
    return (f64)key_f32(key);
#endif
}

/* the least and the largest of 128 each */
INLINE u32 least_of(SHARED_PTR u32 *part, u32 mine) {
    SYNC; /* part was read */
    part[LID] = mine;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach) part[LID] = smaller(part[LID], part[LID + reach]);
        SYNC;
    }
    return part[0];
}

KERNEL(128) azimuthal_median(GLOBAL const WORD *image, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const u8 *marks,
                             GLOBAL const f32 *normalisation, GLOBAL const i32 *live, GLOBAL f32 *median, GLOBAL i32 *pixels, f64 quantile, u32 n, u32 rings,
                             u32 npix) {
    WARP_SCRATCH(w, 128);
    SHARED u32 held[HELD], part[128], sums[4];
    u32 ring = BLOCK, frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix, to = (u64)frame * rings + ring;
    u32 begin = first[ring], size = first[ring + 1u] - begin;
    u32 count = 0u, least = NO_KEY, not_most = NO_KEY; /* not_most: the least of keys turned round */
#define FOR_KEYS(made, key)                                                                          \
    for (u32 base = 0u; base < size; base += 128u) {                                                 \
        u32 j = base + LID;                                                                          \
        if (j < size) {                                                                              \
            u32 key = NO_KEY;                                                                        \
            if ((made) && j < HELD) key = held[j];                                                   \
            else {                                                                                   \
                u32 pixel = order[begin + j];                                                        \
                WORD word = image[at + pixel];                                                       \
                bool use = is_finite((f32)word) && !(MARKED && marks[MARKED ? at + pixel : 0u]);     \
                if (use) key = key_of(word, WEIGHTED ? normalisation[pixel] : 1.0f);                 \
            }
#define END_KEYS }}
    FOR_KEYS(false, key)
        if (j < HELD) held[j] = key;
        if (key != NO_KEY) {
            count++;
            least = smaller(least, key);
            not_most = smaller(not_most, ~key);
        }
    END_KEYS
    u32 good;
    block_scan(w, sums, count, &good);
    least = least_of(part, least);
    u32 most = ~least_of(part, not_most);
    f64 p = quantile * (f64)good;
    u32 upper = good ? smaller((u32)p, good - 1u) : 0u, lower = upper && p == (f64)upper ? upper - 1u : upper;
    u32 apart = good ? least ^ most : 0u, low = least; /* rounds: of the block */
    u32 bit = apart ? 0x80000000u >> leading_zeros(apart) : 0u;
    low &= bit ? ~(bit | (bit - 1u)) : NO_KEY;
    for (; bit; bit >>= 1) {
        u32 limit = low | (bit - 1u), below;
        count = 0u;
        FOR_KEYS(true, key)
            count += key <= limit ? 1u : 0u;
        END_KEYS
        block_scan(w, sums, count, &below);
        if (below <= lower) low |= bit;
        SYNC; /* sums are written again */
    }
    u32 upto, high = NO_KEY;
    count = 0u;
    FOR_KEYS(true, key)
        count += key <= low ? 1u : 0u;
        high = key > low ? smaller(high, key) : high;
    END_KEYS
    block_scan(w, sums, count, &upto);
    high = least_of(part, high);
    if (LID == 0u) {
        high = upto > upper ? low : high;
        median[to] = good ? (f32)((of_key(low) + of_key(high)) * 0.5) : bits_f32(0x7fc00000u);
        pixels[to] = (i32)good;
    }
}
