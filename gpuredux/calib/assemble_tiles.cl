/* image[start + r * down + c * across] = energy of pixel (r, c) of a tile; GAP_VALUE where no tile lies.
 *
 * grid: BLOCK = 128 pixels of the frame, behind the last of which come the gaps of the image; BLOCK_Y = group of FRAMES frames. A thread finds its
 * pixel's place once, from 12 bytes that a tile's threads share, and keeps it, and what LOAD holds, over its frames. */
KERNEL_PIXELS(128) assemble_tiles(LOAD_PARAMS, GLOBAL f32 *image, GLOBAL u8 *image_status, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                                  GLOBAL const i32 *place, GLOBAL const i32 *gaps, u32 n, u32 npix, u32 threads) {
    Index at = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    u64 seen = 0;
    if (at >= threads) return;
    if (at >= npix) { /* no warp operation and no SYNC below: threads may part */
        Index to = (Index)gaps[at - npix];
        for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
            image[(u64)frame * IMAGE_PIXELS + to] = bits_f32(GAP_VALUE);
#if IMAGE_STATUS
            image_status[(u64)frame * IMAGE_PIXELS + to] = (u8)PIXEL_GAP;
#endif
        }
        return;
    }
    u32 pixel = (u32)at, row = pixel / (TILE_COLS * TILES_ACROSS), col = pixel % (TILE_COLS * TILES_ACROSS); /* rows of all panels */
    GLOBAL const i32 *p = place + 3u * (row / TILE_ROWS * TILES_ACROSS + col / TILE_COLS);
    Index to = (Index)(p[0] + (i32)(row % TILE_ROWS) * p[1] + (i32)(col % TILE_COLS) * p[2]);
    Held held;
    LOAD_BEGIN(held, at, npix);
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 x[VECTOR];
        u32 bits[VECTOR];
        LOAD(held, frame, at, npix, x, bits);
        image[(u64)frame * IMAGE_PIXELS + to] = clean(x[0]);
#if IMAGE_STATUS
        image_status[(u64)frame * IMAGE_PIXELS + to] = (u8)(USE_STATUS ? STATUS_OF(bits[0]) : 0u);
#endif
#if FLAGS
        seen |= FRAME_BITS(bits[0], frame);
#endif
    }
#if FLAGS
    frame_bits_write(frame_status, seen, end);
#endif
}
