/* Runs of samples near one above threshold; where each is highest, and its integral.
 * f64: sums of 32 lanes in order, then by halves: exact for whole numbers, in one stated order for floats. */

/* s, and 0 where it is no measurement: *use says so */
INLINE f32 signal(WORD x, f32 sign, bool *use) {
    f32 s = (f32)x * sign;
    *use = abs_f32(s) < bits_f32(0x7f800000u);
    return *use ? s : 0.0f;
}

/* whether a bit is set from `first` to `last` */
INLINE bool any_bit(SHARED_PTR const u32 *bits, i32 first, i32 last) {
    u32 a = (u32)first / 32u, b = (u32)last / 32u, found = 0u;
    for (u32 k = a; k <= b; k++) {
        u32 word = bits[k];
        if (k == a) word &= 0xffffffffu << ((u32)first & 31u);
        if (k == b) word &= 0xffffffffu >> (31u - ((u32)last & 31u));
        found |= word;
    }
    return found != 0u;
}

/* grid: a block a trace. Bits in SHARED memory: which samples are above threshold, then which are covered; a thread counts the runs that begin in a word
 * of these; a warp measures a run. */
KERNEL(128) find_pulses(GLOBAL const WORD *trace, GLOBAL const i32 *live, GLOBAL i32 *pulse_start, GLOBAL i32 *pulse_length, GLOBAL i32 *pulse_at,
                        GLOBAL f32 *pulse_height, GLOBAL f32 *pulse_integral, GLOBAL i32 *pulse_count, f32 threshold, f32 sign, u32 n, u32 channels,
                        u32 samples, u32 before, u32 after, u32 cap) {
    WARP_SCRATCH(w, 128);
    SHARED_BYTES(lit);
    SHARED u32 sums[4];
    SHARED f64 lanes[128];
    if (BLOCK / channels >= LIVE_ROWS(live, n)) return;
    u32 words = (samples + 31u) / 32u, tile_end = (samples + 127u) / 128u * 128u;
    SHARED_PTR u32 *covered = lit + words;
    GLOBAL const WORD *x = trace + (u64)BLOCK * samples;
    u64 row = (u64)BLOCK * cap;
    for (u32 i = LID; i < tile_end; i += 128u) {
        bool use = false, over = false;
        if (i < samples) over = signal(x[i], sign, &use) > threshold && use;
        u32 bits = warp_ballot(w, over);
        if (LANE == 0u && i < samples) lit[i / 32u] = bits;
    }
    SYNC;
    for (u32 i = LID; i < tile_end; i += 128u) {
        bool near = false;
        if (i < samples) near = any_bit(lit, i > after ? (i32)(i - after) : 0, i + before < samples ? (i32)(i + before) : (i32)samples - 1);
        u32 bits = warp_ballot(w, near);
        if (LANE == 0u && i < samples) covered[i / 32u] = bits;
    }
    SYNC;
    u32 found = 0u;
    for (u32 base = 0u; base < words; base += 128u) {
        u32 k = base + LID, here = 0u, left = 0u, right = 0u, all;
        if (k < words) {
            here = covered[k];
            left = here << 1 | (k > 0u ? covered[k - 1u] >> 31 : 0u);
            right = here >> 1 | (k + 1u < words ? covered[k + 1u] << 31 : 0u);
        }
        u32 begins = here & ~left, ends = here & ~right;
        u32 first = found + block_scan(w, sums, count_ones(begins), &all) - count_ones(begins), last = first - (here & left & 1u);
        for (; begins; begins &= begins - 1u, first++)
            if (first < cap) pulse_start[row + first] = (i32)(32u * k + trailing_zeros(begins));
        for (; ends; ends &= ends - 1u, last++) /* the sample behind: its length, once the start is known */
            if (last < cap) pulse_length[row + last] = (i32)(32u * k + trailing_zeros(ends) + 1u);
        found += all;
        SYNC; /* sums is written again, and all see the runs */
    }
    if (LID == 0u) pulse_count[BLOCK] = (i32)found;
    for (u32 base = 0u; base < cap; base += 4u) {
        u32 k = base + WARP, start = 0u, end = 0u, high = 0u, at = 0xffffffffu;
        if (k < cap && k < found) {
            start = (u32)pulse_start[row + k];
            end = (u32)pulse_length[row + k];
        }
        f64 mine = 0.0;
        IN_ORDER
        for (u32 i = start + LANE; i < end; i += 32u) {
            bool use;
            f32 s = signal(x[i], sign, &use);
            u32 key = use ? f32_key(s + 0.0f) : 0u; /* more than 0 */
            mine += (f64)s;
            if (key > high) { high = key; at = i; }
        }
        lanes[LID] = mine;
        u32 highest = warp_max(w, high), first = ~warp_max(w, high == highest ? ~at : 0u);
        SYNC;
        for (u32 reach = 16u; reach; reach >>= 1) {
            if (LANE < reach) lanes[LID] += lanes[LID + reach];
            SYNC;
        }
        if (LANE == 0u && k < cap) {
            u32 bits = highest & 0x80000000u ? highest & 0x7fffffffu : ~highest;
            pulse_start[row + k] = (i32)start;
            pulse_length[row + k] = (i32)(end - start);
            pulse_at[row + k] = end ? (i32)first : 0;
            pulse_height[row + k] = end ? bits_f32(bits) : 0.0f;
            pulse_integral[row + k] = end ? (f32)lanes[LID] : 0.0f;
        }
        SYNC; /* lanes is written again */
    }
}
