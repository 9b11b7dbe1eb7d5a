/* LZ4 blocks in slots (lz4_blocks of bitshuffle_lz4.cl, with blocks of `step` bytes) to blosc 1 chunks.
 *
 * blosc_place   grid: one block a frame: where its blocks begin, the header, the size. A size of the frame and the header says: nothing is compressed.
 * blosc_gather  grid: BLOCK = frame * blocks + block: where it begins, its size, and its bytes: the slot's, or where those are not fewer than the raw
 *               ones, the bit planes, made once more; of a block behind the coded ones, and of a chunk that is not compressed, the raw bytes. */
#define SLOT_BYTES 8256u
#define HEADER 16u
#define BLOCKS(frame_bytes, step) ((frame_bytes) / (step) + ((frame_bytes) % (step) ? 1u : 0u))

#include "compress/bit_planes.cl"
#include "compress/gather.cl"

/* bytes of a block in the chunk */
INLINE u32 stored_bytes(GLOBAL const u32 *block_size, u32 frame, u32 block, u32 coded, u32 frame_bytes, u32 step) {
    u32 raw = smaller(step, frame_bytes - block * step);
    return block < coded ? smaller(raw, block_size[(u64)frame * coded + block]) : raw;
}

KERNEL(128) blosc_place(GLOBAL const u32 *block_size, GLOBAL u32 *block_start, GLOBAL u8 *payload, GLOBAL u32 *size, GLOBAL const i32 *live, u32 n,
                        u32 coded, u32 frame_bytes, u32 cap, u32 step) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, blocks = BLOCKS(frame_bytes, step), at = HEADER + 4u * blocks;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u8 *chunk = payload + (u64)frame * cap;
    for (u32 first = 0; first < blocks; first += 128u) {
        u32 k = first + LID, mine = k < blocks ? 4u + stored_bytes(block_size, frame, k, coded, frame_bytes, step) : 0u;
        u32 all, begin = at + block_scan(warp, sums, mine, &all) - mine;
        at += all;
        if (k < blocks) block_start[(u64)frame * blocks + k] = begin;
        SYNC;
    }
    if (LID == 0u) {
        bool whole = at >= HEADER + frame_bytes;
        u32 total = whole ? HEADER + frame_bytes : at;
        chunk[0] = 2u; chunk[1] = 1u; chunk[2] = whole ? 0x36u : 0x34u; chunk[3] = SIZE;
        put_le32(chunk + 4, frame_bytes); put_le32(chunk + 8, step); put_le32(chunk + 12, total);
        size[frame] = total;
    }
}

KERNEL(128) blosc_gather(GLOBAL const u8 *code, GLOBAL const u8 *slots, GLOBAL const u32 *block_size, GLOBAL const u32 *block_start, GLOBAL u8 *payload,
                         GLOBAL const u32 *size, GLOBAL const i32 *live, u32 n, u32 coded, u32 frame_bytes, u32 cap, u32 step) {
    SHARED u32 planes[BLOCK_BYTES / 4 + 1];
    u32 blocks = BLOCKS(frame_bytes, step), frame = BLOCK / blocks, block = BLOCK % blocks;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u8 *chunk = payload + (u64)frame * cap; /* cap is a multiple of 16 */
    GLOBAL const u8 *from = code + (u64)frame * frame_bytes + block * step;
    u32 raw = smaller(step, frame_bytes - block * step), count = stored_bytes(block_size, frame, block, coded, frame_bytes, step);
    u32 begin = block_start[BLOCK] + 4u;
    bool whole = size[frame] == HEADER + frame_bytes, split = !whole & (block < coded) & (count == raw);
    if (whole) begin = HEADER + block * step;
    else if (LID == 0u) {
        put_le32(chunk + HEADER + 4u * block, begin - 4u);
        put_le32(chunk + begin - 4u, count);
    }
    if (split) {
        u32 w[16], v[16];
        load_piece(from + 64u * LID, 64u * LID < raw ? raw - 64u * LID : 0u, w);
        transpose_piece(w, v);
        store_planes(planes, v, raw / UNIT);
    }
    SYNC;
    GLOBAL u8 *to = chunk + begin;
    if (split) {
        for (u32 k = LID; k < raw; k += 128u) to[k] = ((SHARED_PTR const u8 *)planes)[k];
    } else if (whole | (block >= coded)) {
        for (u32 k = LID; k < raw; k += 128u) to[k] = from[k];
    } else
        gather(to, begin, (GLOBAL const u32 *)(slots + ((u64)frame * coded + block) * SLOT_BYTES), count);
}
