/* grid: one thread a frame. new_status = frame_status for the live rows: where later kernels OR their bits. */
KERNEL(128) frame_status_start(GLOBAL const u32 *frame_status, GLOBAL u32 *new_status, GLOBAL const i32 *live, u32 n) {
    u32 frame = BLOCK * 128u + LID;
    if (frame < LIVE_ROWS(live, n)) new_status[frame] = frame_status[frame];
}
