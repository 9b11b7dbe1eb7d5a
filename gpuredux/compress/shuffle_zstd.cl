/* Frames to bytes in the order of their rank: byte 0 of all elements, byte 1 of all elements, ... The rest is zstd_units.cl and zstd_blocks.cl.
 *
 * zstd_shuffle  grid: tiles of 512 elements x frames: four elements a thread */
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
