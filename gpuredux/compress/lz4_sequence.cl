/* The next sequence of an LZ4 block, every length checked.
 *
 * grid: none of its own: a function whose threads all read the same bytes. */
/* one sequence: count literals at *ip, then match bytes from offset back (0: the block ends here). False if anything reaches out.
 * room: how many raw bytes the block still lacks; done: how many it has */
INLINE bool next_sequence(GLOBAL const u8 *p, u32 *ip, u32 end, u32 done, u32 room, u32 *literals, u32 *count, u32 *offset, u32 *match) {
    u32 at = *ip, byte;
    if (at >= end) return false;
    u32 token = p[at++], n = token >> 4;
    if (n == 15u)
        do {
            if (at >= end || n > room) return false;
            byte = p[at++];
            n += byte;
        } while (byte == 255u);
    if (n > end - at || n > room) return false;
    *literals = at; *count = n; *offset = 0u; *match = 0u;
    at += n;
    *ip = at;
    if (at == end) return n == room;
    if (end - at < 2u) return false;
    u32 back = p[at] | (u32)p[at + 1u] << 8;
    at += 2u;
    if (back == 0u || back > done + n) return false;
    room -= n;
    n = (token & 15u) + 4u;
    if (n == 19u)
        do {
            if (at >= end || n > room) return false;
            byte = p[at++];
            n += byte;
        } while (byte == 255u);
    *ip = at; *offset = back; *match = n;
    return n <= room;
}
