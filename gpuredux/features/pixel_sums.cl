/* Count, sum q, sum q * q of the values of a pixel that are used, in registers: of floats q = rint(x / unit), else x.
 *
 * grid: none of its own: functions of one thread. NARROW: words of 8 or 16 bits, whose squares fit into 32; else sums of the halves of squares.
 * PER_UNIT: the bits of 1 / unit, a power of two. */
typedef struct {
    u32 many;
    i64 total;
    u64 low, high;
} PixelSums;

/* whether a value, number `at` of the batch, is a measurement; usable: its pixel is good */
INLINE bool is_used(WORD value, bool usable, GLOBAL const u8 *pixel_status, u64 at) {
    bool use = usable;
#if FLOATS
    use = use && is_finite(value);
#endif
#if STATUS
    use = use && pixel_status[at] == 0;
#endif
    return use;
}

/* 0 of what is not used */
INLINE i64 units_of(WORD value, bool use, GLOBAL u32 *frame_status, u32 frame) {
#if FLOATS
    bool beyond;
    i64 q = whole_units(use ? value : 0.0f, bits_f32(PER_UNIT), &beyond);
#if FLAGS
    if (beyond) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT); /* rare */
#endif
    return q;
#else
    return use ? (i64)value : 0;
#endif
}

INLINE void pixel_add(PixelSums *s, i64 q, bool use) {
    s->many += use ? 1u : 0u;
    s->total += q;
#if SQUARES
#if NARROW
    s->low += (u32)q * (u32)q;
#else
    u64 square = (u64)q * (u64)q;
    s->low += square & 0xffffffffu;
    s->high += square >> 32;
#endif
#endif
}

/* at: its place in the state; high: that of the upper halves */
INLINE void pixel_end(const PixelSums *s, u64 at, u64 high, GLOBAL const i64 *sum, GLOBAL const u64 *sum2, GLOBAL i64 *new_sum, GLOBAL u64 *new_sum2) {
    new_sum[at] = sum[at] + s->total;
#if SQUARES
    new_sum2[at] = sum2[at] + s->low;
#if !NARROW
    new_sum2[high] = sum2[high] + s->high;
#endif
#endif
}
