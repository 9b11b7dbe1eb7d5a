/* image[gap] = GAP_VALUE, its status GAP: what place.cl leaves.
 *
 * grid: BLOCK = 128 gaps, BLOCK_Y = group of FRAMES frames. */
#if GAP_BITS == 8
typedef u8 Gap;
#elif GAP_BITS == 16
typedef u16 Gap;
#else
typedef u32 Gap; /* a float32 by its bits */
#endif

KERNEL(128) assemble_gaps(GLOBAL Gap *image, GLOBAL u8 *image_status, GLOBAL const i32 *live, GLOBAL const i32 *gaps, u32 n, u32 count) {
    u32 i = BLOCK * 128u + LID, end = FRAMES_END(live, n);
    if (i >= count || gaps[i] < 0) return; /* the last is none */
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u64 at = (u64)frame * PLACE_PIXELS + (u32)gaps[i];
        image[at] = (Gap)GAP_VALUE;
#if PLACE_STATUS
        image_status[at] = (u8)PIXEL_GAP;
#endif
    }
}
