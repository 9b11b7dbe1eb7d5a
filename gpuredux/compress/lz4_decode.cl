/* HDF5 filter-32004 chunks (LZ4, no shuffle) to frames, every length checked.
 *
 * lz4_frames  grid: one block a frame. All threads read the same lengths and tokens, so that their branches agree at every SYNC, and copy literals and
 *             matches together, into the frame itself. wrong: 1 where anything was not right.
 * lz4_settle  grid: one block a frame: its status, and zeros where it is wrong. */
#include "compress/lz4_sequence.cl"
#include "compress/words.cl"

KERNEL(128) lz4_frames(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL u8 *code, GLOBAL u32 *wrong, GLOBAL const i32 *live, u32 n,
                       u32 frame_bytes, u32 cap) {
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u8 *p = payload + (u64)frame * cap;
    GLOBAL u8 *d = code + (u64)frame * frame_bytes;
    u32 end = size[frame], at = 12u, block = 0u, done = 0u;     /* done: raw bytes of whole blocks */
    bool good = end >= 12u && end <= cap;
    if (good) {
        block = be32(p + 8);
        good = be32(p) == 0u && be32(p + 4) == frame_bytes && block != 0u;
    }
    /* one turn of this loop is a sequence, or a block as it is: inside says whether a block has begun */
    bool inside = false;
    u32 stop = 0u, want = 0u, made = 0u;    /* of the block: where it ends, its raw bytes, those that there are */
    while (good && (inside || done < frame_bytes)) {
        u32 literals = 0u, count = 0u, offset = 0u, match = 0u;
        if (!inside) {
            u32 length = end - at >= 4u ? be32(p + at) : 0u;
            good = end - at >= 4u && length <= end - at - 4u;
            want = smaller(block, frame_bytes - done);
            made = 0u;
            at += 4u;
            stop = at + length;
            inside = true;
            if (good && length == want) {
                literals = at;
                count = length;
                at = stop;
            } else if (good)
                good = next_sequence(p, &at, stop, made, want - made, &literals, &count, &offset, &match);
        } else
            good = next_sequence(p, &at, stop, made, want - made, &literals, &count, &offset, &match);
        if (good)
            for (u32 i = LID; i < count; i += 128u) d[done + made + i] = p[literals + i];
        SYNC; /* what the match copies is there */
        made += count;
        if (good && offset != 0u)
            for (u32 i = LID; i < match; i += 128u) d[done + made + i] = d[done + made - offset + (offset > match ? i : i % offset)];
        made += match;
        if (offset == 0u) {
            inside = false;
            done += want;
        }
        SYNC; /* before the next sequence copies what this one wrote */
    }
    if (LID == 0u) wrong[frame] = good && at == end ? 0u : 1u;
}

KERNEL(128) lz4_settle(GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL u8 *code, GLOBAL const u32 *wrong, GLOBAL const i32 *live, u32 n,
                       u32 frame_bytes) {
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    if (LID == 0u) frame_status[frame] = (STATUS ? before[frame] : 0u) | (wrong[frame] ? FRAME_CORRUPT : 0u);
    if (wrong[frame])
        for (u32 k = LID; k < frame_bytes; k += 128u) code[(u64)frame * frame_bytes + k] = 0u;
}
