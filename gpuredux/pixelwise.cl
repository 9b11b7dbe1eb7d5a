/* energy, and what is asked for of pixel_status and gain_stage = what LOAD gives: the kernel of every op that makes or changes each pixel by itself,
 * and of what it takes in.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames. A thread owns VECTOR pixels over its frames. */
#undef LOAD_WHOLE
#define LOAD_WHOLE whole

/* one frame's pixels, number `at` of the batch and on; its bits of the frames' status */
INLINE u64 pixelwise_write(GLOBAL f32 *energy, GLOBAL u8 *pixel_status, GLOBAL u8 *gain_stage, u32 frame, u64 at, const f32 *x, u32 *bits) {
    u64 seen = 0;
    store_f32(energy + at, x);
#if FLAGS
    for (u32 k = 0; k < VECTOR; k++) seen |= FRAME_BITS(bits[k], frame);
#endif
#if WRITE_STAGE
    u32 stage[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) { stage[k] = STAGE_OF(bits[k]); bits[k] = STATUS_OF(bits[k]); }
    store_u8(gain_stage + at, stage);
#endif
#if WRITE_STATUS
    store_u8(pixel_status + at, bits);
#endif
    return seen;
}

#define PIXELWISE_WALK                                                                                        \
    Held held;                                                                                                \
    LOAD_BEGIN(held, pixel, npix);                                                                            \
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {                                                \
        f32 x[VECTOR];                                                                                        \
        u32 bits[VECTOR];                                                                                     \
        LOAD(held, frame, pixel, npix, x, bits);                                                              \
        seen |= pixelwise_write(energy, pixel_status, gain_stage, frame, (u64)frame * npix + pixel, x, bits); \
    }

KERNEL_PIXELS(128) pixelwise(LOAD_PARAMS, GLOBAL f32 *energy, GLOBAL u8 *pixel_status, GLOBAL u8 *gain_stage, GLOBAL u32 *frame_status,
                             GLOBAL const i32 *live, u32 n, u32 npix) {
    Index pixel = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    u64 seen = 0;
    if (TILE_WHOLE(npix)) {
        const bool whole = true;
        PIXELWISE_WALK
    } else {
        const bool whole = false;
        if (pixel >= npix) return;
        PIXELWISE_WALK
    }
#if FLAGS
    frame_bits_write(frame_status, seen, end);
#endif
}
