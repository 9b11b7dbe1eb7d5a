/* Frames to the bit planes of regions of 128 KiB, without the elements beyond a multiple of 8. The rest is zstd_units.cl and zstd_blocks.cl.
 *
 * zstd_planes  grid: pieces of 8 KiB x frames: 64 bytes a thread are transposed, the piece is put together in SHARED */
#include "compress/bit_planes.cl"
#include "compress/zstd_codes.cl"

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
