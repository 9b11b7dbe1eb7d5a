/* Bytes that nothing compressed to elements of SIZE bytes; SHUFFLE: byte 0 of all elements comes first.
 *
 * plain       grid: BLOCK = frame * tiles + tile; a tile is 1024 elements, 8 a thread, neighbours by neighbours. */
#include "compress/element.cl"

KERNEL(128) plain(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL Element *code,
                  GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 cap) {
    u32 frame = BLOCK / tiles, tile = BLOCK % tiles;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool good = (u64)npix * SIZE == size[frame] && size[frame] <= cap;
    if (tile == 0u && LID == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (good ? 0u : FRAME_CORRUPT);
    GLOBAL const u8 *p = payload + (u64)frame * cap;
    for (u32 k = 0u; k < 8u; k++) {
        u64 at = 1024u * (u64)tile + 128u * k + LID;
        if (at < npix) {
            Element e = 0;
            UNROLL
            for (u32 b = 0u; b < SIZE; b++) e |= (Element)((Element)(good ? p[SHUFFLE ? (u64)b * npix + at : at * SIZE + b] : 0u) << 8u * b);
            code[(u64)frame * npix + at] = e;
        }
    }
}
