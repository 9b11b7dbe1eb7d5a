/* energy = what LOAD gives, and GIVE what it makes of it: the kernel of every op that makes or changes each pixel by itself, and of what it takes in.
 * Marks of pixels are store.cl's.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames. A thread owns VECTOR pixels over its frames. */
#undef LOAD_WHOLE
#define LOAD_WHOLE whole

/* the frames' status bits of one frame's pixels */
INLINE u64 pixelwise_bits(u32 frame, const u32 *bits) {
    u64 seen = 0;
    for (u32 k = 0; k < VECTOR; k++) seen |= FRAME_BITS(bits[k], frame);
    return seen;
}

#define PIXELWISE_WALK                                                                                        \
    Held held;                                                                                                \
    Given given;                                                                                              \
    LOAD_BEGIN(held, pixel, npix);                                                                            \
    GIVE_BEGIN(given, pixel, npix);                                                                           \
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {                                                \
        f32 x[VECTOR];                                                                                        \
        u32 bits[VECTOR];                                                                                     \
        LOAD(held, frame, pixel, npix, x, bits);                                                              \
        if (STORED) store_f32(energy + (u64)frame * npix + pixel, x);                                         \
        if (FLAGS) seen |= pixelwise_bits(frame, bits);                                                       \
        GIVE(given, frame, pixel, npix, x, bits, ALL_MINE);                                                   \
        if (GIVE_FLAGS) seen |= pixelwise_bits(frame, bits);                                                  \
    }

KERNEL_PIXELS(128) pixelwise(LOAD_PARAMS, GIVE_PARAMS GLOBAL f32 *energy, GLOBAL u32 *frame_status, GLOBAL const i32 *live, u32 n, u32 npix) {
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
#if FLAGS || GIVE_FLAGS
    frame_bits_write(frame_status, seen, end);
#endif
}
