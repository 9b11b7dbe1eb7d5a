/* What quantize.cl, quantize_counts.cl and wavelet.cl share: which of a thread's pixels are not to be used, and what a frame's data say of themselves.
 *
 * grid: none of its own: functions of one thread. */

/* bit k: good says no to pixel + k */
INLINE u32 unused_of(GLOBAL const u8 *good, u32 pixel) {
    u32 unused = 0u;
#if GOOD_PLANE
    u32 use[VECTOR];
    load_u8(good + pixel, use);
    for (u32 k = 0; k < VECTOR; k++) unused |= use[k] ? 0u : 1u << k;
#endif
    return unused;
}
#if STATUS
#define UNUSED(k) (((unused >> (k) & 1u) != 0u) | (STATUS_OF(bits[k]) != 0u))
#else
#define UNUSED(k) ((unused >> (k) & 1u) != 0u)
#endif

/* the status bits that come from the data of these pixels */
INLINE void carry_status(const u32 *bits, GLOBAL u32 *frame_status, u32 frame) {
#if CARRY_STATUS
    u32 any = 0u;
    for (u32 k = 0; k < VECTOR; k++) any |= bits[k] & PIXEL_FROM_DATA;
    if (any) atomic_or_u32(frame_status + frame, any); /* rare; OR is the same in any order */
#endif
}
