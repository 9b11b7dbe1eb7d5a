/* image[j] = energy[source[j]], GAP_VALUE where source[j] is -1.
 *
 * grid: BLOCK = 128 pixels of the image (and, for the frame's status alone, pixels of the frame that the image lacks), BLOCK_Y = group of FRAMES
 * frames. A thread keeps its source, and what LOAD holds of it, over its frames; writes lie side by side. */
#ifdef PHOTON_BITS /* photons: words of so many bits, which are moved as they are; nothing gives them by LOAD */
KERNEL_PIXELS(128) assemble_photons(GLOBAL const Photon *photons, GLOBAL Photon *image, GLOBAL const u8 *pixel_status, GLOBAL u8 *image_status,
                                    GLOBAL const i32 *live, GLOBAL const i32 *source, u32 n, u32 npix, u32 threads) {
    Index at = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    if (at >= threads) return;
    i32 from = source[at];
    u64 pixel = from < 0 ? 0u : (u64)from;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        image[(u64)frame * threads + at] = from < 0 ? (Photon)GAP_VALUE : photons[(u64)frame * npix + pixel];
#if IMAGE_STATUS
#if USE_STATUS
        u32 bits = pixel_status[(u64)frame * npix + pixel];
#else
        u32 bits = 0u;
#endif
        image_status[(u64)frame * threads + at] = (u8)(from < 0 ? PIXEL_GAP : bits);
#endif
    }
}
#else

KERNEL_PIXELS(128) assemble(LOAD_PARAMS, GLOBAL f32 *image, GLOBAL u8 *image_status, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                            GLOBAL const i32 *source, u32 n, u32 npix, u32 threads) {
    Index at = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    u64 seen = 0;
    if (at >= threads) return;
    i32 from = source[at];
    Index pixel = from < 0 ? 0 : (Index)from; /* a gap reads what is there, and drops it */
    Held held;
    LOAD_BEGIN(held, pixel, npix);
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 x[VECTOR];
        u32 bits[VECTOR];
        LOAD(held, frame, pixel, npix, x, bits);
        if (at < IMAGE_PIXELS) {
            image[(u64)frame * IMAGE_PIXELS + at] = from < 0 ? bits_f32(GAP_VALUE) : clean(x[0]);
#if IMAGE_STATUS
            image_status[(u64)frame * IMAGE_PIXELS + at] = (u8)(from < 0 ? PIXEL_GAP : USE_STATUS ? STATUS_OF(bits[0]) : 0u);
#endif
        }
#if FLAGS
        if (from >= 0) seen |= FRAME_BITS(bits[0], frame);
#endif
    }
#if FLAGS
    frame_bits_write(frame_status, seen, end);
#endif
}
#endif
