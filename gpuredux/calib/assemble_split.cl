/* image[j] = sum of weight[k] * energy[source[k]] over j's entries k, in their order.
 *
 * grid: BLOCK = 128 pixels of the image (and, for the frame's status alone, pixels of the frame that the image lacks), BLOCK_Y = group of FRAMES
 * frames. A thread sums the few entries of its pixel, frame by frame: neighbours read neighbours. */
KERNEL_PIXELS(128) assemble_split(LOAD_PARAMS, GLOBAL f32 *image, GLOBAL u8 *image_status, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                                  GLOBAL const i32 *first, GLOBAL const i32 *source, GLOBAL const f32 *weight, u32 n, u32 npix, u32 threads) {
    Index at = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    u64 seen = 0;
    if (at >= threads) return;
    i32 begin = first[at], stop = first[at + 1u];
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 total = 0.0f;
        u32 all = 0u, used = 0u;
        IN_ORDER
        for (i32 k = begin; k < stop; k++) {
            f32 x[VECTOR];
            u32 bits[VECTOR];
            Index pixel = (Index)source[k];
            Held held;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
#if FLAGS
            seen |= FRAME_BITS(bits[0], frame);
#endif
            u32 bit = USE_STATUS ? STATUS_OF(bits[0]) : 0u;
            all |= bit;
            total = bit ? total : total + weight[k] * x[0];
            used |= bit == 0u;
        }
        if (at < IMAGE_PIXELS) {
            image[(u64)frame * IMAGE_PIXELS + at] = used ? clean(total) : bits_f32(GAP_VALUE);
#if IMAGE_STATUS
            image_status[(u64)frame * IMAGE_PIXELS + at] = (u8)(stop > begin ? all : PIXEL_GAP);
#endif
        }
    }
#if FLAGS
    frame_bits_write(frame_status, seen, end);
#endif
}
