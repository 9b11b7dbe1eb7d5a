/* Regions that are no background, and the strong pixels in them; dispersion.cl made the bits of the background test.
 *
 * grid: of dispersion_regions one thread a word of 32 columns; of dispersion_strong: blocks of 128 threads over (frame, panel, ROWS rows, word), a warp
 * a word: lanes are its columns, and a lane in a region sums the window around it by itself: few lanes are. f64 for the mean and the root, as DIALS
 * has them. Nothing is shared. */
#if defined(__OPENCL_VERSION__) && !defined(cl_khr_fp64)
#error "features.dispersion_extended decides in f64, which this device does not have"
#endif
#define LIMIT 16777216 /* as in dispersion.cl */

INLINE i64 value_of(WORD w, f32 per_unit, bool *counted, bool *used) {
#if FLOAT
    bool beyond;
    *used = is_finite(w);
    i64 v = *used ? whole_units(w, per_unit, &beyond) : 0;
#else
    *used = true;
    i64 v = (i64)w;
#endif
    *counted = *used && v < LIMIT && v > -LIMIT;
    return v;
}

/* Bit c of a row of bits. */
INLINE bool bit_of(GLOBAL const u32 *bits, u64 row, u32 words, u32 c) { return (bits[row * words + (c >> 5)] >> (c & 31u) & 1u) != 0u; }

/* region: 1 where no background pixel is within REACH rows and columns; there is none outside of the panel. */
KERNEL(128) dispersion_regions(GLOBAL const u32 *test, GLOBAL const i32 *live, GLOBAL u32 *region, GLOBAL u32 *strong_count, u32 n, u32 panels, u32 rows, u32 cols) {
    u32 words = (cols + 31u) / 32u;
    u64 at = (u64)BLOCK * 128u + LID, row = at / words, top = row / rows * rows; /* row: of the batch */
    u32 w = (u32)(at % words);
    if (row >= (u64)LIVE_ROWS(live, n) * panels * rows) return; /* no SYNC and no warp operation in this kernel */
    u32 left = 0xffffffffu, here = 0xffffffffu, right = 0xffffffffu;
    for (i32 d = -REACH; d <= REACH; d++) {
        i64 r = (i64)(row - top) + d;
        if (r >= 0 && r < (i64)rows) {
            u64 first = (top + (u64)r) * words + w;
            left &= w > 0u ? test[first - 1u] : 0xffffffffu;
            here &= test[first];
            right &= w + 1u < words ? test[first + 1u] : 0xffffffffu;
        }
    }
    u32 bits = here;
    UNROLL_ON_GPU
    for (u32 s = 1; s <= REACH; s++) bits &= (here << s | left >> (32u - s)) & (here >> s | right << (32u - s));
    region[at] = bits;
    if (at % ((u64)panels * rows * words) == 0u) strong_count[at / ((u64)panels * rows * words)] = 0u;
}

KERNEL(128) dispersion_strong(
    GLOBAL const WORD *x, GLOBAL const u8 *status, GLOBAL const u32 *good, GLOBAL const f32 *gain, GLOBAL const i32 *live, GLOBAL const u32 *region,
    GLOBAL u32 *strong, GLOBAL u32 *strong_count, f64 sigma_strong, f64 scale, f32 per_unit, i64 threshold, u32 n, u32 panels, u32 rows, u32 cols, u32 blocks
) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK / blocks, unit = BLOCK % blocks * 4u + WARP, words = (cols + 31u) / 32u, strips = (rows + ROWS - 1u) / ROWS;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 word = unit % words, panel = unit / words / strips, begin = unit / words % strips * ROWS, c = word * 32u + LANE, found = 0u;
    for (u32 k = 0; k < ROWS; k++) { /* all threads equally often: a ballot is inside */
        u32 r = begin + k;
        bool mine = panel < panels && r < rows, yes = false;
        u64 in_panel = (u64)panel * rows + r, row = (u64)frame * panels * rows + in_panel;
        if (mine && c < cols) {
            bool counted, used;
            bool look = bit_of(region, row, words, c);
#if GOOD
            look = look && bit_of(good, in_panel, words, c);
#endif
#if STATUS
            look = look && status[row * cols + c] == 0u;
#endif
            if (look) {
                i64 v = value_of(x[row * cols + c], per_unit, &counted, &used);
                if (used && v > threshold) {
                    i64 total = 0;
                    u32 count = 0u, last = smaller(c + KX + 2u, cols - 1u), below = smaller(r + KY + 2u, rows - 1u);
                    for (u32 j = r < KY + 2u ? 0u : r - (KY + 2u); j <= below; j++) {
                        u64 of_panel = (u64)panel * rows + j, there = row - r + j;
                        for (u32 i = c < KX + 2u ? 0u : c - (KX + 2u); i <= last; i++) {
                            bool take = !bit_of(region, there, words, i);
#if GOOD
                            take = take && bit_of(good, of_panel, words, i);
#endif
#if STATUS
                            take = take && status[there * cols + i] == 0u;
#endif
                            if (take) {
                                bool any;
                                i64 near = value_of(x[there * cols + i], per_unit, &take, &any);
                                total += take ? near : 0;
                                count += take ? 1u : 0u;
                            }
                        }
                    }
                    f64 mean = count >= 2u && total >= 0 ? (f64)total / (f64)count : (f64)0, g = mean;
#if GAIN == 1
                    g = scale * mean;
#elif GAIN == 2
                    g = (f64)gain[in_panel * cols + c] * scale * mean;
#endif
                    yes = total >= 0 && (f64)v >= mean + sigma_strong * sqrt(g);
                }
            }
        }
        u32 bits = warp_ballot(w, yes);
        if (mine && LANE == 0u) {
            strong[row * words + word] = bits;
            found += count_ones(bits);
        }
    }
    if (found) atomic_add_u32(strong_count + frame, found);
}
