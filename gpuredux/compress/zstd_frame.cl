/* Headers of Zstandard frames and of their blocks.
 *
 * grid: none of its own; functions of one thread. block_size: bytes of content, and what kind of block it is. source: RFC 8878 */
#define KIND_RAW 0x80000000u
#define KIND_RLE 0x40000000u
#define KIND_OPEN 0x20000000u /* its sequences are to be closed */
#define SIZE_OF(s) ((s) & 0x1fffffffu)

INLINE u32 put_bytes(GLOBAL u8 *to, u32 at, u64 value, u32 count) {
    for (u32 k = 0u; k < count; k++) to[at + k] = (u8)(value >> 8u * k);
    return at + count;
}

INLINE u32 header_bytes(u32 size) { return size < 256u ? 6u : size < 256u + (1u << 16) ? 7u : 9u; }
INLINE u32 put_header(GLOBAL u8 *to, u32 at, u32 size) {
    at = put_bytes(to, at, 0xfd2fb528u, 4u);
    if (size < 256u) return put_bytes(to, at, 0x20u | size << 8, 2u);
    if (size < 256u + (1u << 16)) return put_bytes(to, at, 0x60u | (size - 256u) << 8, 3u);
    return put_bytes(to, at, 0xa0u | (u64)size << 8, 5u);
}

/* of a block of `raw` bytes, of which block_size says `sized`; last: a reader stops behind it */
INLINE void put_block_header(GLOBAL u8 *to, u32 sized, u32 raw, bool last) {
    u32 kind = sized & KIND_RLE ? 1u : sized & KIND_RAW ? 0u : 2u;
    put_bytes(to, 0u, (kind == 1u ? raw : SIZE_OF(sized)) << 3 | kind << 1 | (last ? 1u : 0u), 3u);
}
