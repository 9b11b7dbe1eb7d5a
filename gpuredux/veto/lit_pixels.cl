/* score = number of lit pixels of each frame; keep = min_lit <= score <= max_lit. No atomics: two passes. */
#ifndef DECIDE

/* grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames. A thread counts among its VECTOR pixels for each
 * frame and leaves a byte a frame in local memory, so that the walk over the frames never waits; then 8 threads sum a frame. */
KERNEL(128) lit_count(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                      GLOBAL u32 *counts, f32 threshold, u32 n, u32 npix) {
    WARP_SCRATCH(w, 128);
    SHARED u32 lit_of[FRAMES * 32u]; /* [frame][thread] u8, summed as words */
    SHARED_PTR u8 *lit_byte = (SHARED_PTR u8 *)lit_of;
    u32 pixel = (BLOCK * 128u + LID) * VECTOR;
    u32 start = BLOCK_Y * FRAMES, end = FRAMES_END(live, n);
    if (start >= end) return;
    Held held;
    u32 use[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) use[k] = 1u;
    if (pixel < npix) {
        LOAD_BEGIN(held, pixel, npix);
#if GOOD
        load_u8(good + pixel, use);
#endif
    }
    for (u32 frame = start; frame < end; frame++) {
        u32 lit = 0u;
        if (pixel < npix) {
            f32 x[VECTOR];
            u32 bits[VECTOR];
            LOAD(held, frame, pixel, npix, x, bits);
#if FLAGS
            u32 any = 0u;
            for (u32 k = 0; k < VECTOR; k++) any |= bits[k] & PIXEL_FROM_DATA;
            if (any) atomic_or_u32(frame_status + frame, any);
#endif
            UNROLL /* without STATUS nobody looks at the bits, as in an unfused run without pixel_status */
            for (u32 k = 0; k < VECTOR; k++) lit += x[k] > threshold && !(STATUS && STATUS_OF(bits[k])) ? use[k] : 0u;
        }
        lit_byte[(frame - start) * 128u + LID] = (u8)lit;
    }
    SYNC;
    u32 pairs = 0u; /* two 16-bit sums: at most 8 * 16 each */
    for (u32 k = 0; k < 4u; k++) {
        u32 four = lit_of[LID * 4u + k];
        pairs += (four & 0x00ff00ffu) + (four >> 8 & 0x00ff00ffu);
    }
    u32 sum = (pairs & 0xffffu) + (pairs >> 16);
    for (u32 mask = 4u; mask; mask >>= 1) sum += warp_shuffle_xor(w, sum, mask);
    u32 frame = start + LID / 8u, tiles = (npix + 128u * VECTOR - 1u) / (128u * VECTOR);
    if (LID % 8u == 0u && frame < end) counts[(u64)frame * tiles + BLOCK] = sum;
}
#else

/* grid: a block a frame sums its tiles; thread 0 decides. */
KERNEL(128) lit_decide(GLOBAL const u32 *counts, GLOBAL const u64 *pulse_id, GLOBAL const i32 *live, GLOBAL i32 *decision,
                       u32 min_lit, u32 max_lit, u64 raw_stride, u64 raw_every, u32 n, u32 tiles) {
    WARP_SCRATCH(w, 128);
    SHARED u32 part[4];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 sum = 0u;
    for (u32 tile = LID; tile < tiles; tile += 128u) sum += counts[(u64)frame * tiles + tile];
    sum = warp_sum(w, sum);
    if (LANE == 0u) part[WARP] = sum;
    SYNC;
    if (LID == 0u) {
        u32 score = part[0] + part[1] + part[2] + part[3];
        i32 reason = score < min_lit ? 1 : score > max_lit ? 2 : 0; /* Reason of decision.py */
        i32 raw = 0;
#if RAW
        raw = pulse_id[frame] % raw_stride == 0u && pulse_id[frame] / raw_stride % raw_every == 0u;
#endif
        decision[4u * frame] = reason == 0;
        decision[4u * frame + 1u] = raw;
        decision[4u * frame + 2u] = reason;
        decision[4u * frame + 3u] = (i32)f32_bits((f32)score);
    }
}
#endif
