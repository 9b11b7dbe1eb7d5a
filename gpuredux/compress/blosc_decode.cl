/* Blosc 1 chunks of LZ4 to frames, or to some bytes of each: every block is found by its number, and every length is checked.
 *
 * blosc_header  grid: one block a frame; thread 0 reads the header and writes framing and status.
 * blosc_blocks  grid: BLOCK = frame * groups + group; a group takes every groups-th block of those that hold bytes low to high of its frame. All
 *               threads read the same tokens, so that their branches agree at every SYNC, and copy literals and matches together, in shared memory
 *               (LARGE = 0: blocks up to 8 KiB) or in `planes` (LARGE = 1: the other frames); then they undo the shuffle. */
#define HEADER 16u
#define NONE 0u
#define SHUFFLE 1u
#define BITSHUFFLE 2u
#define RAW 3u
#define WRONG 4u

#include "compress/elements.cl"
#include "compress/lz4_sequence.cl"
#include "compress/words.cl"

/* framing: bytes of a block, how blocks are undone, streams of a block that is not the last, short one, the chunk's bytes */
KERNEL(32) blosc_header(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL u32 *framing, GLOBAL const u32 *before, GLOBAL u32 *frame_status,
                        GLOBAL const i32 *live, u32 n, u32 frame_bytes, u32 cap) {
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n) || LID != 0u) return;
    GLOBAL const u8 *chunk = payload + (u64)frame * cap;
    u32 bytes = size[frame], block = BLOCK_BYTES, kind = WRONG, streams = 1u;
    bool good = bytes >= HEADER;
    if (bytes > cap) good = false;
    if (good) {
        u32 flags = chunk[2], each = chunk[3], filter = (flags & 1u) | (flags >> 1 & 2u), total = le32(chunk + 12), version = chunk[0];
        bool memcpyed = (flags & 2u) != 0u;
        block = le32(chunk + 8);
        good = (version - 1u < 2u) & (le32(chunk + 4) == frame_bytes) & (block - 1u < frame_bytes) & (total == bytes) & (each != 0u) & ((flags & 8u) == 0u);
        if (memcpyed) {
            if (bytes - HEADER != frame_bytes) good = false;
            kind = RAW;
        } else {
            good = good & (filter != 3u) & (flags >> 5 == 1u) & (chunk[1] == 1u) & ((filter == NONE) | (each == SIZE));
            kind = filter;
            if (good && (flags & 16u) == 0u && each <= 16u && block / each >= 128u) {
                streams = each;
                good = block % each == 0u;
            }
            if (good && (frame_bytes - 1u) / block >= (bytes - HEADER) / 4u) good = false; /* too many blocks for their places: times 4 they could wrap */
        }
    }
    framing[4u * frame] = good ? block : BLOCK_BYTES; /* blocks of zeros */
    framing[4u * frame + 1u] = good ? kind : WRONG;
    framing[4u * frame + 2u] = good ? streams : 1u;
    framing[4u * frame + 3u] = bytes;
    frame_status[frame] = (STATUS ? before[frame] : 0u) | (good ? 0u : FRAME_CORRUPT);
}

/* byte k of a block of `bytes` whose filtered bytes are d */
INLINE u8 byte_of(Planes d, u32 k, u32 bytes, u32 kind) {
    u32 count = bytes / SIZE;
    if (k >= count * SIZE) return d[k];
    u32 element = k / SIZE, rank = k % SIZE;
    if (kind == SHUFFLE) return d[rank * count + element];
    if (kind != BITSHUFFLE || (count & 7u) != 0u) return d[k];
    u32 plane = count >> 3, x = 0u;
    for (u32 p = 0; p < 8u; p++) x |= ((u32)d[(8u * rank + p) * plane + (element >> 3)] >> (element & 7u) & 1u) << p;
    return (u8)x;
}

KERNEL(128) blosc_blocks(GLOBAL const u8 *payload, GLOBAL const u32 *framing, GLOBAL u8 *planes, GLOBAL u32 *frame_status, GLOBAL u8 *code,
                         GLOBAL const i32 *live, u32 n, u32 groups, u32 frame_bytes, u32 cap, u32 low, u32 high) {
#if !LARGE
    SHARED u32 words[BLOCK_BYTES / 4];
#endif
    SHARED u32 held[5]; /* of framing, and the frame: not in registers, which the transposition needs */
    if (BLOCK / groups >= LIVE_ROWS(live, n)) return;
    if ((framing[BLOCK / groups * 4u] > BLOCK_BYTES) != LARGE) return; /* before the first SYNC: behind one PoCL goes wrong */
    if (LID < 4u) held[LID] = framing[BLOCK / groups * 4u + LID];
    if (LID == 4u) held[4] = BLOCK / groups;
    SYNC;
    for (u32 b = low / held[0] + BLOCK % groups; b < (high - 1u) / held[0] + 1u; b += groups) {
        u32 raw = b * held[0], bytes = smaller(held[0], frame_bytes - raw), kind = held[1], size = held[3], frame = held[4];
        u32 streams = bytes == held[0] ? held[2] : 1u, each = bytes / streams, at = 0u, ip = 0u, end = 0u, done = 0u, target = 0u;
        GLOBAL const u8 *chunk = payload + (u64)frame * cap;
        bool good = kind != WRONG, coded = kind < RAW;
#if LARGE
        Planes d = planes + (u64)frame * (frame_bytes + 16u) + raw;
#else
        Planes d = (Planes)words;
#endif
        if (coded) {
            u32 table = HEADER + 4u * (frame_bytes / held[0] + (frame_bytes % held[0] ? 1u : 0u));
            at = le32(chunk + HEADER + 4u * b); /* the header was refused where table is more than size */
            good = (at >= table) & (at <= size);
        }
        bool more = good & coded;
        while (more) {
            u32 literals = 0u, count = 0u, offset = 0u, match = 0u;
            bool stored = false;
            if (done == target) { /* the next stream */
                u32 length = size - at >= 4u ? le32(chunk + at) : 0u;
                good = size - at >= 4u && length <= size - at - 4u;
                stored = length == each;
                ip = literals = at + 4u;
                count = each;
                end = at = ip + length;
                target = done + each;
            }
            if (good && !stored) good = next_sequence(chunk, &ip, end, done + each - target, target - done, &literals, &count, &offset, &match);
            if (good)
                for (u32 i = LID; i < count; i += 128u) d[done + i] = chunk[literals + i];
            SYNC; /* what this sequence's match copies is there */
            if (good) {
                done += count;
                if (offset != 0u)
                    for (u32 i = LID; i < match; i += 128u) d[done + i] = d[done - offset + (offset > match ? i : i % offset)];
                done += match;
            }
            more = good && (offset != 0u || done < bytes);
        }
        SYNC;
        u32 first = low > raw ? low - raw : 0u, last = smaller(bytes, high - raw);
        GLOBAL u8 *to = code + (u64)frame * (high - low) + ((u64)raw + first - low); /* of the first byte that is wanted */
        bool planar = (kind == BITSHUFFLE) & (bytes / SIZE % 8u == 0u) & (first == 0u) & (last == bytes) & good;
        if (!good) {
            for (u32 k = first + LID; k < last; k += 128u) to[k - first] = 0u;
            if (kind != WRONG && LID == 0u) atomic_or_u32(frame_status + frame, FRAME_CORRUPT); /* the header has marked the others */
        } else if (kind == RAW) {
            for (u32 k = first + LID; k < last; k += 128u) to[k - first] = chunk[HEADER + raw + k];
        } else if (!planar) {
            for (u32 k = first + LID; k < last; k += 128u) to[k - first] = byte_of(d, k, bytes, kind);
#if !LARGE
        } else if (bytes == BLOCK_BYTES) {
            u32 v[16];
            load_piece(words, v);
            store_piece(to + 64u * LID, v);
#endif
        } else {
            u32 units = bytes / UNIT;
            for (u32 t = LID; t < units * SIZE; t += 128u) few_elements(d, t, units, to);
            for (u32 k = units * UNIT + LID; k < bytes; k += 128u) to[k] = d[k];
        }
        SYNC; /* before the next block overwrites the planes */
    }
}
