/* Bytes that nothing compressed to elements of SIZE bytes. ORDER 0: as they are; 1: byte 0 of all elements first; 2: bit planes of blocks of `each` units.
 *
 * plain       grid: BLOCK = frame * tiles + tile; a tile is 1024 elements, one unit of 8 elements a thread. */
#if SIZE == 1
typedef u8 Element;
#elif SIZE == 2
typedef u16 Element;
#elif SIZE == 4
typedef u32 Element;
#else
typedef u64 Element;
#endif

/* the 8 elements of a unit whose byte of plane 0 is *d, planes `plane` bytes apart */
INLINE void joined(GLOBAL const u8 *d, u32 plane, GLOBAL Element *to) {
    Element e[8];
    UNROLL
    for (u32 k = 0u; k < 8u; k++) e[k] = 0;
    UNROLL
    for (u32 b = 0u; b < SIZE; b++) {
        u64 x = 0u;
        UNROLL
        for (u32 k = 0u; k < 8u; k++) x |= (u64)d[(u64)(8u * b + k) * plane] << 8u * k;
        u64 y = (x ^ x >> 7) & 0x00aa00aa00aa00aaul; /* transpose 8 x 8 bits */
        x ^= y ^ y << 7;
        y = (x ^ x >> 14) & 0x0000cccc0000ccccul;
        x ^= y ^ y << 14;
        y = (x ^ x >> 28) & 0x00000000f0f0f0f0ul;
        x ^= y ^ y << 28;
        UNROLL
        for (u32 k = 0u; k < 8u; k++) e[k] |= (Element)((Element)(x >> 8u * k & 0xffu) << 8u * b);
    }
    UNROLL
    for (u32 k = 0u; k < 8u; k++) to[k] = e[k];
}

KERNEL(128) plain(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL Element *code,
                  GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 cap, u32 each) {
    u32 frame = BLOCK / tiles, tile = BLOCK % tiles, unit = 128u * tile + LID;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool good = (u64)npix * SIZE == size[frame] && size[frame] <= cap;
    GLOBAL const u8 *p = payload + (u64)frame * cap;
    GLOBAL Element *to = code + (u64)frame * npix;
    if (tile == 0u && LID == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (good ? 0u : FRAME_CORRUPT);
#if ORDER == 2
    u32 units = npix / 8u, block = unit / each;
    if (good && unit < units) {
        joined(p + (u64)block * each * 8u * SIZE + unit % each, smaller(each, units - block * each), to + 8u * (u64)unit);
        return;
    }
#endif
    for (u32 k = 0u; k < 8u; k++) {
        u64 at = 1024u * (u64)tile + 128u * k + LID; /* neighbours read neighbours */
#if ORDER == 2
        at = 8u * (u64)unit + k; /* behind the last unit, or all of a frame of another size */
#endif
        if (at >= npix) continue;
        Element e = 0;
        for (u32 b = 0u; b < SIZE; b++) e |= (Element)((Element)(good ? p[ORDER == 1 ? (u64)b * npix + at : at * SIZE + b] : 0u) << 8u * b);
        to[at] = e;
    }
}
