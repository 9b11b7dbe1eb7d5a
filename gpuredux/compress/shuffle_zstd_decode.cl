/* Byte planes to elements of SIZE bytes: the end of decoding HDF5 filters 2 and 32015; zstd_decode.cl goes before.
 *
 * join_planes   grid: BLOCK = frame * tiles + tile; a tile is 1024 elements, of which a thread has every 128th. A frame whose zstd frame was wrong
 *               (verdict 0) is all zero. */
#include "compress/element.cl"

KERNEL(128) join_planes(GLOBAL const u8 *planes, GLOBAL const u32 *verdict, GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL Element *code,
                        GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 row) {
    u32 frame = BLOCK / tiles, tile = BLOCK % tiles;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool good = verdict[frame] != 0u;
    if (tile == 0u && LID == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (good ? 0u : FRAME_CORRUPT);
    for (u32 k = 0u; k < 8u; k++) {
        u32 i = tile * 1024u + 128u * k + LID;
        if (i < npix) {
            Element x = 0;
            for (u32 b = 0u; good && b < SIZE; b++) x |= (Element)planes[(u64)frame * row + (u64)b * npix + i] << 8u * b;
            code[(u64)frame * npix + i] = x;
        }
    }
}
