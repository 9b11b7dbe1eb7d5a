/* histogram[region][k] += 1 for each pixel with edge[k] <= x < edge[k + 1], the last bin closed. f64: edges, and values beside them, as NumPy has them.
 *
 * grid: BLOCK = chunk of `chunk` pixels of a group of FRAMES frames (BY_FRAME: of one). PRIVATE: the block counts in SHARED counters, then adds what they
 * hold to the result; else in the result itself. A thread holds the count of a run of the same counter: most pixels of a sparse frame are one run.
 * Integer atomics: no order changes a count. */
#if CLEAR
/* grid: a thread a counter */
KERNEL(128) histogram_clear(GLOBAL const i32 *live, GLOBAL u32 *result, GLOBAL u32 *outside, GLOBAL u32 *other_outside, u32 n, u32 regions, u32 bins,
                            u32 counters) {
    u64 at = (u64)BLOCK * 128u + LID;
    u32 row = (u32)(at / counters), k = (u32)(at - (u64)row * counters), all = regions * bins;
    if (row >= (BY_FRAME ? LIVE_ROWS(live, n) : 1u)) return;
    if (k < all) result[(u64)row * all + k] = 0u;
    else if (k < all + 3u * regions) outside[(u64)row * regions * 3u + k - all] = 0u;
    else other_outside[(u64)row * 3u + k - all - 3u * regions] = 0u;
}
#else


/* the bin; -1: below the first edge, -2: above the last. Behind the edges: bins in a unit */
INLINE i32 place(f64 x, GLOBAL const f64 *edge, u32 bins) {
    if (x < edge[0]) return -1;
    if (x > edge[bins]) return -2;
    u32 k = smaller((u32)((x - edge[0]) * edge[bins + 1u]), bins - 1u);
    if (x < edge[k]) k--; /* the guess is one off at most */
    else if (k + 1u < bins && x >= edge[k + 1u]) k++;
    return (i32)k;
}

INLINE void result_add(GLOBAL u32 *result, GLOBAL u32 *outside, GLOBAL u32 *other_outside, u32 row, u32 regions, u32 bins, u32 k, u32 many) {
    u32 all = regions * bins;
    if (k < all) atomic_add_u32(result + (u64)row * all + k, many);
    else if (k < all + 3u * regions) atomic_add_u32(outside + (u64)row * regions * 3u + k - all, many);
    else atomic_add_u32(other_outside + (u64)row * 3u + k - all - 3u * regions, many);
}

KERNEL(128) histogram(GLOBAL const WORD *x, GLOBAL const f32 *other, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL const u16 *label,
                      GLOBAL const f64 *edge, GLOBAL const f64 *other_edge, GLOBAL const i32 *live, GLOBAL u32 *result, GLOBAL u32 *outside,
                      GLOBAL u32 *other_outside, u32 n, u32 regions, u32 bins, u32 counters, u32 npix, u32 chunks, u32 chunk) {
    u32 group = BLOCK / chunks, first = (BLOCK - group * chunks) * chunk, last = smaller(npix - first, chunk) + first;
    u32 start = group * FRAMES, end = smaller(start + FRAMES, LIVE_ROWS(live, n));
    u32 row = BY_FRAME ? start : 0u, held = 0u, run = 0u, all = regions * bins;
    if (start >= end) return;
#if PRIVATE
    SHARED_BYTES(counts);
    for (u32 k = LID; k < counters; k += 128u) counts[k] = 0u;
    SYNC;
#define COUNT(k, many) atomic_add_u32(counts + (k), many)
#else
#define COUNT(k, many) result_add(result, outside, other_outside, row, regions, bins, k, many)
#endif
    for (u32 frame = start; frame < end; frame++) {
        for (u32 pixel = first + LID; pixel < last; pixel += 128u) { /* no SYNC inside */
            u64 at = (u64)frame * npix + pixel;
            bool use = true;
            u32 region = 0u, k = 0u;
#if GOOD
            use = use && good[pixel] != 0;
#endif
#if STATUS
            use = use && pixel_status[at] == 0;
#endif
#if LABEL
            region = label[pixel];
            use = use && region < regions;
#endif
            if (use) {
                i32 its = 0;
#if OTHER
                f32 beside = other[at];
                its = is_finite(beside) ? place((f64)beside, other_edge, regions) : -3;
                if (its < 0) k = all + 3u * regions + (u32)(-1 - its);
                else region = (u32)its;
#endif
                if (its >= 0) {
                    WORD value = x[at];
#if FLOATS
                    its = is_finite(value) ? place((f64)value, edge, bins) : -3;
#else
                    its = place((f64)value, edge, bins);
#endif
                    k = its < 0 ? all + 3u * region + (u32)(-1 - its) : region * bins + (u32)its;
                }
                if (k != held && run) {
                    COUNT(held, run);
                    run = 0u;
                }
                held = k;
                run++;
            }
        }
    }
    if (run) COUNT(held, run);
#if PRIVATE
    SYNC;
    for (u32 k = LID; k < counters; k += 128u)
        if (counts[k]) result_add(result, outside, other_outside, row, regions, bins, k, counts[k]);
#endif
}
#endif
