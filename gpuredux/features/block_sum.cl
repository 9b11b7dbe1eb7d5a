/* The sum of a block of 128 threads, for each of them: by halves, 64 + 64 first, so that floats have one order. SUMMAND: u64 or f64.
 *
 * grid: none of its own: all threads of a block call it together. part: one SUMMAND a thread; f64 where whoever includes this says why. */
INLINE SUMMAND block_sum(SHARED_PTR SUMMAND *part, SUMMAND mine) {
    SYNC; /* part was read */
    part[LID] = mine;
    SYNC;
    for (u32 reach = 64u; reach; reach >>= 1) {
        if (LID < reach) part[LID] += part[LID + reach];
        SYNC;
    }
    return part[0];
}
