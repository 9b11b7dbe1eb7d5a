/* r = a filter along each trace; the largest r, the parabola through it, its width at half height, the next highest maximum.
 * f64: sums in the order of the filter, so that all devices see the same r, and what is interpolated between them. */
#ifndef FIND

/* grid: BLOCK = trace * tiles of 128 samples + tile; a thread a sample. */
KERNEL(128) filter_traces(GLOBAL const WORD *trace, GLOBAL const f64 *weights, GLOBAL const i32 *live, GLOBAL f64 *filtered, u32 n, u32 channels, u32 size,
                          u32 taps) {
    u32 tiles = (size + 127u) / 128u, row = BLOCK / tiles, i = BLOCK % tiles * 128u + LID;
    if (row / channels >= LIVE_ROWS(live, n) || i >= size) return;
    GLOBAL const WORD *x = trace + (u64)row * (size + taps - 1u) + i;
    f64 sum = 0.0;
    IN_ORDER
    for (u32 k = 0; k < taps; k++) sum += weights[k] * (f64)x[k];
    filtered[(u64)row * size + i] = sum;
}
#else

INLINE bool number(f64 x) {
    f64 infinite = (f64)bits_f32(0x7f800000u);
    return x < infinite && x > -infinite;
}

/* grid: a block a trace: its largest r, then the samples next to it that are below half of it, each by its threads' own and then by halves; thread 0 derives. */
KERNEL(128) find_edges(GLOBAL const f64 *filtered, GLOBAL const i32 *live, GLOBAL f64 *edge_position, GLOBAL f32 *edge_height, GLOBAL f32 *edge_fwhm,
                       GLOBAL f32 *edge_next, u32 n, u32 channels, u32 size, u32 taps) {
    SHARED f64 best[128];
    SHARED u32 where[128];
    SHARED u32 beside[128];
    if (BLOCK / channels >= LIVE_ROWS(live, n)) return;
    GLOBAL const f64 *r = filtered + (u64)BLOCK * size;
    u32 none = 0xffffffffu, at = none;
    f64 high = 0.0;
    for (u32 i = LID; i < size; i += 128u)
        if (number(r[i]) && (at == none || r[i] > high)) { high = r[i]; at = i; }
    best[LID] = high;
    where[LID] = at;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach && where[LID + reach] != none) {
            bool better = where[LID] == none || best[LID + reach] > best[LID] || (best[LID + reach] == best[LID] && where[LID + reach] < where[LID]);
            if (better) { best[LID] = best[LID + reach]; where[LID] = where[LID + reach]; }
        }
        SYNC;
    }
    at = where[0];
    high = best[0];
    SYNC;
    f64 level = 0.5 * high, second = 0.0;
    u32 left = 0u, right = none, maxima = 0u; /* left: one behind the nearest below on that side, 0 for none */
    for (u32 i = LID; i < size; i += 128u) {
        if (!(r[i] >= level)) {
            if (i < at) left = i + 1u;
            if (i > at && right == none) right = i;
        }
        if (i > 0u && i + 1u < size && i != at && number(r[i]) && r[i] > r[i - 1u] && r[i] >= r[i + 1u]) {
            second = maxima == 0u || r[i] > second ? r[i] : second;
            maxima = 1u;
        }
    }
    best[LID] = second;
    where[LID] = left;
    beside[LID] = right;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach) {
            where[LID] = where[LID + reach] > where[LID] ? where[LID + reach] : where[LID];
            beside[LID] = smaller(beside[LID + reach], beside[LID]);
        }
        SYNC;
    }
    left = where[0];
    right = beside[0];
    SYNC;
    where[LID] = maxima;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach && where[LID + reach]) {
            if (!where[LID] || best[LID + reach] > best[LID]) best[LID] = best[LID + reach];
            where[LID] = 1u;
        }
        SYNC;
    }
    if (LID != 0u) return;
    f32 nan = bits_f32(0x7fc00000u);
    if (at == none) {
        edge_position[BLOCK] = (f64)nan;
        edge_height[BLOCK] = edge_fwhm[BLOCK] = edge_next[BLOCK] = nan;
        return;
    }
    f64 shift = 0.0, height = high + 0.0, wide = (f64)nan;
    if (at > 0u && at + 1u < size && number(r[at - 1u]) && number(r[at + 1u])) {
        f64 a = r[at - 1u], c = r[at + 1u], bend = a - 2.0 * high + c;
        if (bend != 0.0) {
            shift = 0.5 * (a - c) / bend;
            height = high - 0.25 * (a - c) * shift + 0.0;
        }
    }
    if (high > 0.0 && left > 0u && right != none && number(r[left - 1u]) && number(r[right])) {
        f64 up = (f64)(left - 1u) + (level - r[left - 1u]) / (r[left] - r[left - 1u]);
        wide = (f64)(right - 1u) + (r[right - 1u] - level) / (r[right - 1u] - r[right]) - up;
    }
    edge_position[BLOCK] = (f64)at + shift + 0.5 * (f64)(taps - 1u);
    edge_height[BLOCK] = (f32)height;
    edge_fwhm[BLOCK] = clean((f32)wide);
    edge_next[BLOCK] = where[0] ? (f32)(best[0] + 0.0) : nan;
}
#endif
