/* What is known of a chunk by its filter mask, and the end of decoding one: byte planes, or the bit planes of every 128 KiB, to elements of SIZE bytes.
 * zstd_decode.cl goes between.
 *
 * auto_known  grid: a thread a frame: its size, 0 where its mask is none of two
 * auto_join   grid: BLOCK = frame * tiles + tile; a tile is 1024 elements, 8 of them a thread. A frame whose zstd frame was wrong (verdict 0) is all zero */
#define REGION_BYTES 131072u
#include "compress/element.cl"

KERNEL(128) auto_known(GLOBAL const u32 *size, GLOBAL const u32 *filter_mask, GLOBAL u32 *known_size, GLOBAL const i32 *live, u32 n, u32 one, u32 two) {
    u32 frame = BLOCK * 128u + LID;
    if (frame < LIVE_ROWS(live, n)) known_size[frame] = filter_mask[frame] == one || filter_mask[frame] == two ? size[frame] : 0u;
}

KERNEL(128) auto_join(GLOBAL const u8 *planes, GLOBAL const u32 *filter_mask, GLOBAL const u32 *verdict, GLOBAL const u32 *before, GLOBAL u32 *frame_status,
                      GLOBAL Element *code, GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 row, u32 bits_mask) {
    u32 frame = BLOCK / tiles, unit = BLOCK % tiles * 128u + LID, first = 8u * unit;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool good = verdict[frame] != 0u, bits = good && filter_mask[frame] == bits_mask && first + 8u <= npix;
    u32 count = first < npix ? smaller(8u, npix - first) : 0u;
    if (unit == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (good ? 0u : FRAME_CORRUPT);
    GLOBAL const u8 *d = planes + (u64)frame * row;
    GLOBAL Element *to = code + (u64)frame * npix + first;
    if (bits) { /* a byte of every plane of its region */
        u32 usable = npix / 8u * UNIT, begin = unit * UNIT / REGION_BYTES * REGION_BYTES, plane = smaller(REGION_BYTES, usable - begin) / UNIT;
        Element e[8];
        d += begin + (unit * UNIT - begin) / UNIT;
        UNROLL
        for (u32 k = 0u; k < 8u; k++) e[k] = 0;
        UNROLL
        for (u32 b = 0u; b < SIZE; b++) {
            u64 x = 0u;
            for (u32 k = 0u; k < 8u; k++) x |= (u64)d[(8u * b + k) * plane] << 8u * k;
            x = transposed8x8(x);
            UNROLL
            for (u32 k = 0u; k < 8u; k++) e[k] |= (Element)((Element)(x >> 8u * k & 0xffu) << 8u * b);
        }
        UNROLL
        for (u32 k = 0u; k < 8u; k++) to[k] = e[k];
    } else { /* by rank; of bit planes the last elements, which are as they were */
        bool whole = filter_mask[frame] == bits_mask;
        for (u32 k = 0u; k < count; k++) {
            Element x = 0;
            for (u32 b = 0u; good && b < SIZE; b++) x |= (Element)d[whole ? (u64)(first + k) * SIZE + b : (u64)b * npix + first + k] << 8u * b;
            to[k] = x;
        }
    }
}
