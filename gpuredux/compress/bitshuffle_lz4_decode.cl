/* HDF5 filter-32008 chunks to frames: find the blocks, then decode each, every length checked.
 *
 * lz4_walk    grid: one block a frame; thread 0 follows the chain of block lengths and writes status and tail.
 * lz4_decode  grid: BLOCK = frame * groups + group; a group takes every groups-th block of its frame. All threads read the same tokens,
 *             so that their branches agree at every SYNC, and copy literals and matches together. The bit planes are built in shared
 *             memory (LARGE = 0: frames of blocks up to 8 KiB) or in `planes` (LARGE = 1: the other frames), then transposed. */
#define BLOCKS_OF(usable, block) ((usable) / (block) + ((usable) % (block) ? 1u : 0u)) /* the sum could overflow */

#include "compress/elements.cl"
#include "compress/lz4_sequence.cl"
#include "compress/words.cl"

KERNEL(32) lz4_walk(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL u32 *block_start, GLOBAL u32 *framing, GLOBAL const u32 *before,
                    GLOBAL u32 *frame_status, GLOBAL u8 *code, GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap) {
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n) || LID != 0u) return;
    GLOBAL const u8 *chunk = payload + (u64)frame * cap;
    u32 usable = frame_bytes / UNIT * UNIT, tail = frame_bytes - usable, end = size[frame], at = 12u, block = 0u, listed = 0u;
    bool good = end >= 12u && end <= cap;
    if (good) {
        block = be32(chunk + 8);
        good = be32(chunk) == 0u && be32(chunk + 4) == frame_bytes && block != 0u && block % UNIT == 0u;
    }
    if (good) {
        u32 total = BLOCKS_OF(usable, block);
        GLOBAL u32 *start = block_start + (u64)frame * (usable / UNIT); /* a row has one word for each 8 elements, and no row is used if there are none */
        while (good && listed < total) {
            u32 length = end - at >= 4u ? be32(chunk + at) : 0u;
            good = end - at >= 4u && length <= end - at - 4u;
            if (good) {
                start[listed++] = at + 4u;
                at += 4u + length;
            }
        }
    } else
        block = BLOCK_BYTES; /* blocks of zeros: none is listed */
    good = good && end - at >= tail;
    for (u32 k = 0; k < tail; k++) code[(u64)frame * frame_bytes + usable + k] = good ? chunk[at + k] : 0u; /* at most 56 bytes */
    framing[2u * frame] = block;
    framing[2u * frame + 1u] = listed;
    frame_status[frame] = (STATUS ? before[frame] : 0u) | (good && end - at == tail ? 0u : FRAME_CORRUPT);
}

KERNEL(128) lz4_decode(GLOBAL const u8 *payload, GLOBAL const u32 *block_start, GLOBAL const u32 *framing, GLOBAL u8 *planes, GLOBAL u32 *frame_status,
                       GLOBAL u8 *code, GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap) {
#if !LARGE
    SHARED u32 words[BLOCK_BYTES / 4];
#endif
    SHARED u32 held[3]; /* block bytes, blocks listed, frame: not in registers, which the transposition needs */
    if (BLOCK / groups >= LIVE_ROWS(live, n)) return;
    if ((framing[BLOCK / groups * 2u] > BLOCK_BYTES) != LARGE) return; /* before the first SYNC: behind one PoCL goes wrong */
    if (LID < 2u) held[LID] = framing[BLOCK / groups * 2u + LID];
    if (LID == 2u) held[2] = BLOCK / groups;
    SYNC;
    for (u32 b = BLOCK % groups; b < BLOCKS_OF(frame_bytes / UNIT * UNIT, held[0]); b += groups) {
        u32 usable = frame_bytes / UNIT * UNIT, frame = held[2], raw = b * held[0], bytes = smaller(held[0], usable - raw), done = 0u, ip = 0u, end = 0u;
        GLOBAL const u8 *chunk = payload + (u64)frame * cap;
        bool good = b < held[1];
        if (good) {
            ip = block_start[(u64)frame * (usable / UNIT) + b];
            end = ip + be32(chunk + ip - 4u);
        }
#if LARGE
        Planes d = planes + (u64)frame * (usable + 16u) + raw;
#else
        Planes d = (Planes)words;
#endif
        bool more = good;
        while (more) {
            u32 literals = 0u, count = 0u, offset = 0u, match = 0u;
            good = next_sequence(chunk, &ip, end, done, bytes - done, &literals, &count, &offset, &match);
            more = good && offset != 0u;
            if (good)
                for (u32 i = LID; i < count; i += 128u) d[done + i] = chunk[literals + i];
            SYNC; /* what this sequence's match copies is there */
            if (more) {
                done += count;
                for (u32 i = LID; i < match; i += 128u) d[done + i] = d[done - offset + (offset > match ? i : i % offset)];
                done += match;
            }
        }
        SYNC;
        GLOBAL u8 *to = code + (u64)frame * frame_bytes + raw;
#if !LARGE
        if (good && bytes == BLOCK_BYTES) {
            u32 v[16];
            load_piece(words, v);
            store_piece(to + 64u * LID, v);
        } else
#endif
            for (u32 t = LID; good && t < bytes >> 3; t += 128u) few_elements(d, t, bytes / UNIT, to);
        for (u32 k = LID; !good && k < bytes; k += 128u) to[k] = 0u;
        if (!good && b < held[1] && LID == 0u) atomic_or_u32(frame_status + frame, FRAME_CORRUPT); /* the walk has marked the others */
        SYNC; /* before the next block overwrites the planes */
    }
}
