/* Rows of bytes one behind another, each at a multiple of 1 << SHIFT bytes (16 at least).
 *
 * pack_offsets  grid: one block: sizes in units of 1 << SHIFT, summed in halves of 16 bits, which stay below 2**32 for 128 threads
 * pack_copy     grid: pieces of PIECE bytes of a row x rows: 16 bytes a thread and turn; the first piece of a row writes the zeros behind its end */
INLINE u32 row_bytes(u32 size, u32 cap) { return smaller(size, cap); }
INLINE u32 row_units(u32 bytes) { return (bytes >> SHIFT) + ((bytes & ((1u << SHIFT) - 1u)) != 0u ? 1u : 0u); }

KERNEL(128) pack_offsets(GLOBAL const u32 *size, GLOBAL u64 *offset, GLOBAL u32 *held, GLOBAL const i32 *live, u32 n, u32 cap) {
    WARP_SCRATCH(w, 128);
    SHARED u32 low_sums[4], high_sums[4];
    u32 rows = LIVE_ROWS(live, n);
    u64 before = 0;
    if (LID == 0u) offset[0] = 0;
    for (u32 first = 0u; first < rows; first += 128u) {
        u32 row = first + LID, units = 0u, low_all, high_all;
        if (row < rows) {
            u32 bytes = row_bytes(size[row], cap);
            units = row_units(bytes);
            held[row] = bytes;
        }
        u32 low = block_scan(w, low_sums, units & 0xffffu, &low_all), high = block_scan(w, high_sums, units >> 16, &high_all);
        if (row < rows) offset[row + 1u] = (before + low + ((u64)high << 16)) << SHIFT;
        before += low_all + ((u64)high_all << 16);
        SYNC; /* before the next round writes the sums */
    }
}

KERNEL(128) pack_copy(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u64 *offset, GLOBAL u8 *packed, GLOBAL const i32 *live, u32 n, u32 cap) {
    u32 row = BLOCK_Y;
    if (row >= LIVE_ROWS(live, n)) return;
    u32 bytes = row_bytes(size[row], cap), from = BLOCK * (PIECE / 16u), whole = bytes / 16u;
    GLOBAL const uint4 *source = (GLOBAL const uint4 *)(payload + (u64)row * cap);
    GLOBAL uint4 *target = (GLOBAL uint4 *)(packed + offset[row]);
    u32 stop = smaller(whole, from + PIECE / 16u);
    for (u32 k = from + LID; k < stop; k += 128u) target[k] = source[k];
    if (BLOCK == 0u) {
        GLOBAL const u8 *last = (GLOBAL const u8 *)(source + whole);
        GLOBAL u8 *end = (GLOBAL u8 *)(target + whole);
        u32 left = (row_units(bytes) << SHIFT) - 16u * whole, rest = bytes - 16u * whole;
        for (u32 k = LID; k < left; k += 128u) end[k] = k < rest ? last[k] : 0;
    }
}
