/* Bit planes to elements of SIZE bytes: the end of decoding filter 32008 with zstd; lz4_walk (bitshuffle_lz4_decode.cl) and zstd_decode.cl go before.
 *
 * join_bits   grid: BLOCK = frame * tiles + tile; a tile is 128 times 8 elements, 8 elements a thread: one byte of each plane of its block. A block
 *             that was not listed, or whose zstd frame was wrong (start 0), is all zero. */
#include "compress/element.cl"

KERNEL(128) join_bits(GLOBAL const u8 *planes, GLOBAL const u32 *starts, GLOBAL const u32 *framing, GLOBAL u32 *frame_status, GLOBAL Element *code,
                      GLOBAL const i32 *live, u32 n, u32 tiles, u32 units, u32 npix, u32 row) {
    u32 frame = BLOCK / tiles, unit = BLOCK % tiles * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || unit >= units) return;
    u32 each = framing[2u * frame] / UNIT, block = unit / each, t = unit % each, plane = smaller(each, units - block * each);
    bool listed = block < framing[2u * frame + 1u], good = listed && starts[(u64)frame * units + block] != 0u;
    if (listed && !good && t == 0u) atomic_or_u32(frame_status + frame, FRAME_CORRUPT); /* the walk has marked the others */
    GLOBAL const u8 *d = planes + (u64)frame * row + (u64)block * each * UNIT + t;
    Element e[8];
    UNROLL
    for (u32 k = 0u; k < 8u; k++) e[k] = 0;
    UNROLL
    for (u32 b = 0u; b < SIZE; b++) {
        u64 x = 0u;
        for (u32 k = 0u; good && k < 8u; k++) x |= (u64)d[(8u * b + k) * plane] << 8u * k;
        x = transposed8x8(x);
        UNROLL
        for (u32 k = 0u; k < 8u; k++) e[k] |= (Element)((Element)(x >> 8u * k & 0xffu) << 8u * b);
    }
    UNROLL
    for (u32 k = 0u; k < 8u; k++) code[(u64)frame * npix + 8u * unit + k] = e[k];
}
