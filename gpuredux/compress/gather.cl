/* Bytes to where they belong in a chunk, in words of the chunk.
 *
 * grid: none of its own: a function that the 128 threads of a block enter together. */
#include "compress/words.cl"

/* to[0 .. count) = the bytes of words; to lies `begin` bytes behind a multiple of 4 (of which the last two bits are asked for) */
INLINE void gather(GLOBAL u8 *to, u32 begin, GLOBAL const u32 *words, u32 count) {
    GLOBAL const u8 *from = (GLOBAL const u8 *)words;
    u32 head = smaller((0u - begin) & 3u, count), shift = 8u * head, inner = (count - head) >> 2, done = head + 4u * inner;
    if (LID < head) to[LID] = from[LID];
    for (u32 k = LID; k < inner; k += 128u)
        ((GLOBAL u32 *)(to + head))[k] = shift ? words[k] >> shift | words[k + 1u] << (32u - shift) : words[k];
    if (LID < count - done) to[done + LID] = from[done + LID];
}
