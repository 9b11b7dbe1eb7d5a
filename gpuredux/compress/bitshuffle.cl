/* Frames to HDF5 filter-32008 chunks without a codec: the bit planes of blocks of `step` bytes.
 *
 * split_bits  grid: BLOCK = frame * groups + group; a group is a part of a block, 8 KiB or what is left of it: 64 bytes a thread, transposed in its
 *             registers; then, by way of shared memory, a share of each of the block's planes. The first part of a frame adds tail and size. */
#include "compress/bit_planes.cl"
#include "compress/parts.cl"

KERNEL(128) split_bits(GLOBAL const u8 *code, GLOBAL u8 *payload, GLOBAL u32 *size, GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap,
                       u32 step) {
    SHARED u32 planes[BLOCK_BYTES / 4 + 1];
    u32 frame = BLOCK / groups, group = BLOCK % groups;
    if (frame >= LIVE_ROWS(live, n)) return;
    Part part = part_of(group, frame_bytes / UNIT * UNIT, step);
    GLOBAL const u8 *from = code + (u64)frame * frame_bytes;
    GLOBAL u8 *chunk = payload + (u64)frame * cap, *to = chunk + part.block + part.inside / UNIT;
    u32 w[16], v[16];
    load_piece(from + part.block + part.inside + 64u * LID, 64u * LID < part.bytes ? part.bytes - 64u * LID : 0u, w);
    transpose_piece(w, v);
    store_planes(planes, v, part.bytes / UNIT);
    if (group == 0u) {
        u32 usable = frame_bytes / UNIT * UNIT;
        if (LID < frame_bytes - usable) chunk[usable + LID] = from[usable + LID]; /* at most 7 elements, 56 bytes */
        if (LID == 0u) size[frame] = frame_bytes;
    }
    SYNC;
    u32 share = part.bytes / UNIT;
    if (part.bytes == BLOCK_BYTES && (part.plane & 3u) == 0u) {
        for (u32 k = LID; k < BLOCK_BYTES / 4u; k += 128u)
            ((GLOBAL u32 *)(to + k / WORDS_OF_PLANE * part.plane))[k % WORDS_OF_PLANE] = planes[k];
    } else
        for (u32 k = LID; k < part.bytes; k += 128u) to[k / share * part.plane + k % share] = ((SHARED_PTR const u8 *)planes)[k];
}
