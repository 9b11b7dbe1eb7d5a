/* Unsigned words of WORD_BITS, 8, 16 or 32, and whole numbers without a sign for them: 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ..., modulo 2^WORD_BITS.
 *
 * grid: none of its own: functions of one thread. */
#if WORD_BITS == 8
typedef u8 Word;
#define load_word load_u8
#define store_word store_u8
#elif WORD_BITS == 16
typedef u16 Word;
#define load_word load_u16
#define store_word store_u16
#else
typedef u32 Word;
#define load_word load_u32
#define store_word store_u32
#endif
#define WORD_MASK (0xffffffffu >> (32u - WORD_BITS))

INLINE u32 zigzag(u32 d) { return ((d << 1) ^ (0u - (d >> (WORD_BITS - 1u)))) & WORD_MASK; } /* d: below 2^WORD_BITS */
INLINE u32 unzigzag(u32 z) { return (z >> 1) ^ (0u - (z & 1u)); } /* modulo 2^WORD_BITS: what is above is not cleared */
