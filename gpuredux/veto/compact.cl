/* x_out[j] = x[source[j]] for j < live. */
#ifndef UNIT

/* grid: one block walks the rows, 128 at a time: source = the chosen rows, ascending; new_live = how many. */
KERNEL(128) list_rows(GLOBAL const i32 *decision, GLOBAL const i32 *live, GLOBAL i32 *source, GLOBAL i32 *new_live, u32 n) {
    WARP_SCRATCH(w, 128);
    SHARED u32 chosen_in[4];
    u32 end = LIVE_ROWS(live, n), placed = 0u;
    for (u32 base = 0u; base < end; base += 128u) {
        u32 row = base + LID;
        bool chosen = false;
        if (row < end) chosen = (BY_KEEP && decision[4u * row] != 0) || (BY_RAW && decision[4u * row + 1u] != 0);
        u32 all, up_to = block_scan(w, chosen_in, chosen ? 1u : 0u, &all);
        if (chosen) source[placed + up_to - 1u] = (i32)row;
        placed += all;
        SYNC; /* chosen_in is written again */
    }
    if (LID == 0u) new_live[0] = (i32)placed;
}
#else

/* grid: BLOCK = output row * tiles + tile of 512 units. Blocks of rows at or beyond live return at once. */
KERNEL(128) copy_rows(GLOBAL const i32 *source, GLOBAL const i32 *live, GLOBAL const UNIT *from, GLOBAL UNIT *to, u32 units, u32 tiles) {
    u32 row = BLOCK / tiles;
    if (row >= (u32)live[0]) return;
    u64 a = (u64)(u32)source[row] * units, b = (u64)row * units;
    u32 first = BLOCK % tiles * 512u + LID;
    UNROLL
    for (u32 k = 0; k < 4u; k++) {
        u32 unit = first + k * 128u;
        if (unit < units) to[b + unit] = from[a + unit];
    }
}

/* grid: a thread a unit of the output. */
KERNEL(128) copy_small_rows(GLOBAL const i32 *source, GLOBAL const i32 *live, GLOBAL const UNIT *from, GLOBAL UNIT *to, u32 units) {
    u32 i = BLOCK * 128u + LID;
    u32 row = i / units;
    if (row < (u32)live[0]) to[i] = from[(u64)(u32)source[row] * units + i % units];
}
#endif
