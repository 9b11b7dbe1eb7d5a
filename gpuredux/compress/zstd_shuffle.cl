/* Frames to the shuffled bytes that zstd_units.cl goes on with.
 *
 * zstd_shuffle  grid: tiles of 512 elements x frames: byte k of all elements, k after k
 * zstd_planes   grid: pieces of 8 KiB x frames: bit planes of regions of 128 KiB; the elements beyond a multiple of 8 are not taken */
#include "compress/bit_planes.cl"
#include "compress/zstd_codes.cl"

KERNEL(128) zstd_shuffle(GLOBAL const u8 *code, GLOBAL u8 *shuffled, GLOBAL const i32 *live, u32 n, u32 pixels, u32 pitch) {
    u32 frame = BLOCK_Y, first = (BLOCK * 128u + LID) * 4u;
    if (frame >= LIVE_ROWS(live, n) || first >= pixels) return;
    GLOBAL const u8 *from = code + (u64)frame * pixels * SIZE + (u64)first * SIZE;
    GLOBAL u8 *to = shuffled + (u64)frame * pitch + first;
    u32 count = smaller(4u, pixels - first);
#if ALIGN >= 4 && SIZE < 8
    if ((pixels & 3u) == 0u) {
        u32 w[SIZE], v[SIZE];
        for (u32 k = 0; k < SIZE; k++) w[k] = ((GLOBAL const u32 *)from)[k];
#if SIZE == 1
        v[0] = w[0];
#elif SIZE == 2
        v[0] = (w[0] & 0xffu) | (w[0] >> 8 & 0xff00u) | (w[1] & 0xffu) << 16 | (w[1] << 8 & 0xff000000u);
        v[1] = (w[0] >> 8 & 0xffu) | (w[0] >> 16 & 0xff00u) | (w[1] << 8 & 0xff0000u) | (w[1] & 0xff000000u);
#else
        for (u32 k = 0; k < 4u; k++)
            v[k] = (w[0] >> 8 * k & 0xffu) | (w[1] >> 8 * k & 0xffu) << 8 | (w[2] >> 8 * k & 0xffu) << 16 | (w[3] >> 8 * k & 0xffu) << 24;
#endif
        for (u32 k = 0; k < SIZE; k++) *(GLOBAL u32 *)(to + (u64)k * pixels) = v[k];
        return;
    }
#endif
    for (u32 i = 0; i < count; i++)
        for (u32 k = 0; k < SIZE; k++) to[(u64)k * pixels + i] = from[i * SIZE + k];
}

KERNEL(128) zstd_planes(GLOBAL const u8 *code, GLOBAL u8 *shuffled, GLOBAL const i32 *live, u32 n, u32 frame_bytes, u32 total, u32 pitch) {
    SHARED u32 planes[BLOCK_BYTES / 4];
    u32 frame = BLOCK_Y, from = BLOCK * BLOCK_BYTES;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 bytes = smaller(BLOCK_BYTES, total - from), part = bytes / UNIT, region = from / REGION_BYTES * REGION_BYTES;
    u32 plane = smaller(REGION_BYTES, total - region) / UNIT, w[16], v[16];
    load_piece(code + (u64)frame * frame_bytes + from + 64u * LID, 64u * LID < bytes ? bytes - 64u * LID : 0u, w);
    transpose_piece(w, v);
    store_planes(planes, v, part);
    SYNC;
    GLOBAL u8 *to = shuffled + (u64)frame * pitch + region + (from - region) / UNIT;
    if (((plane | part | (from - region) / UNIT) & 3u) == 0u) { /* whole words */
        for (u32 k = LID; k < bytes / 4u; k += 128u) *(GLOBAL u32 *)(to + (u64)(4u * k / part) * plane + 4u * k % part) = planes[k];
    } else {
        SHARED_PTR const u8 *b = (SHARED_PTR const u8 *)planes;
        for (u32 k = LID; k < bytes; k += 128u) to[(u64)(k / part) * plane + k % part] = b[k];
    }
}
