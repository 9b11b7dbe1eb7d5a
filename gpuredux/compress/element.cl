/* An element of SIZE bytes, and the transposition that makes 8 of them from a byte of each of their planes.
 *
 * grid: none of its own: a type, and a function of one thread. */
#define UNIT (8u * SIZE) /* bytes of 8 elements, of which every plane has one */
#if SIZE == 1
typedef u8 Element;
#elif SIZE == 2
typedef u16 Element;
#elif SIZE == 4
typedef u32 Element;
#else
typedef u64 Element;
#endif

/* bit i of byte k <-> bit k of byte i */
INLINE u64 transposed8x8(u64 x) {
    u64 y = (x ^ x >> 7) & 0x00aa00aa00aa00aaul;
    x ^= y ^ y << 7;
    y = (x ^ x >> 14) & 0x0000cccc0000ccccul;
    x ^= y ^ y << 14;
    y = (x ^ x >> 28) & 0x00000000f0f0f0f0ul;
    return x ^ y ^ y << 28;
}
