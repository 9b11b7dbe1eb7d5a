/* status_count[frame][bit] = number of pixels with that bit of status. */
#if START

/* grid: a thread for each of the 8 numbers of a live frame, 16 frames a block. */
KERNEL(128) status_count_start(GLOBAL u32 *status_count, GLOBAL const i32 *live, u32 n) {
    u32 frame = BLOCK * 16u + LID / 8u;
    if (frame < LIVE_ROWS(live, n)) status_count[8u * frame + LID % 8u] = 0u;
}
#else

#if ALONE /* marks as they lie in memory */
#define LOAD_PARAMS GLOBAL const u8 *marks
#define MARKS_BEGIN
#define MARKS(frame, bits) load_u8(marks + (u64)(frame) * npix + pixel, bits)
#else
#define MARKS_BEGIN   \
    f32 x[VECTOR];    \
    Held held;        \
    LOAD_BEGIN(held, pixel, npix)
#define MARKS(frame, bits) LOAD(held, frame, pixel, npix, x, bits)
#endif

/* grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames. A block counts in SHARED: few pixels have a status; then a thread for each
 * frame and bit adds to the frame's number: whole numbers, the same in any order. */
KERNEL(128) status_count(LOAD_PARAMS, GLOBAL u32 *status_count, GLOBAL const i32 *live, u32 n, u32 npix) {
    SHARED u32 counts[FRAMES * 8u];
    Index pixel = FIRST_PIXEL;
    u32 start = BLOCK_Y * FRAMES, end = FRAMES_END(live, n);
    for (u32 i = LID; i < FRAMES * 8u; i += 128u) counts[i] = 0u;
    SYNC;
    if (pixel < npix) {
        MARKS_BEGIN;
        for (u32 frame = start; frame < end; frame++) {
            u32 bits[VECTOR];
            MARKS(frame, bits);
            for (u32 k = 0; k < VECTOR; k++)
                for (u32 left = STATUS_OF(bits[k]); left; left &= left - 1u) atomic_add_u32(&counts[(frame - start) * 8u + trailing_zeros(left)], 1u);
        }
    }
    SYNC;
    for (u32 i = LID; i < FRAMES * 8u; i += 128u)
        if (counts[i]) atomic_add_u32(status_count + 8u * start + i, counts[i]);
}
#endif
