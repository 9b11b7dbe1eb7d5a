/* HDF5 filter-32008 chunks without a codec to frames.
 *
 * join_bits  grid: as split_bits of bitshuffle.cl: BLOCK = frame * groups + group; a group gathers its share of each plane in shared memory and
 *            transposes it. A frame whose chunk has the wrong size is all zero. */
#define LARGE 0
#include "compress/elements.cl"
#include "compress/parts.cl"

KERNEL(128) join_bits(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL u8 *code,
                      GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap, u32 step) {
    SHARED u32 words[BLOCK_BYTES / 4];
    u32 frame = BLOCK / groups, group = BLOCK % groups;
    if (frame >= LIVE_ROWS(live, n)) return;
    bool right = size[frame] == frame_bytes && frame_bytes <= cap;
    u32 usable = frame_bytes / UNIT * UNIT;
    Part part = part_of(group, usable, step);
    GLOBAL const u8 *chunk = payload + (u64)frame * cap, *from = chunk + part.block + part.inside / UNIT;
    GLOBAL u8 *frame_code = code + (u64)frame * frame_bytes, *to = frame_code + part.block + part.inside;
    u32 share = part.bytes / UNIT;
    if (!right) {
        for (u32 k = LID; k < BLOCK_BYTES / 4u; k += 128u) words[k] = 0u;
    } else if (part.bytes == BLOCK_BYTES && ((part.plane | cap) & 3u) == 0u) {
        for (u32 k = LID; k < BLOCK_BYTES / 4u; k += 128u)
            words[k] = ((GLOBAL const u32 *)(from + k / WORDS_OF_PLANE * part.plane))[k % WORDS_OF_PLANE];
    } else
        for (u32 k = LID; k < part.bytes; k += 128u) ((SHARED_PTR u8 *)words)[k] = from[k / share * part.plane + k % share];
    if (group == 0u) {
        if (LID < frame_bytes - usable) frame_code[usable + LID] = right ? chunk[usable + LID] : 0u;
        if (LID == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (right ? 0u : FRAME_CORRUPT);
    }
    SYNC;
    if (part.bytes == BLOCK_BYTES) {
        u32 v[16];
        load_piece(words, v);
        store_piece(to + 64u * LID, v);
    } else
        for (u32 t = LID; t < part.bytes >> 3; t += 128u) few_elements((Planes)words, t, share, to);
}
