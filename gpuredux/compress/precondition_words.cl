/* Words of a detector and their codes. grid: that of the kernels which include this.
 *
 * Words are kept biased: 2^(WORD_BITS - 1) is added to signed ones, modulo 2^WORD_BITS, so that they are unsigned, in order, and averages and differences
 * of them are what they are of the values. BIAS is the value 0. */
#include "compress/zigzag.cl"
#if CODE_BITS == 8
typedef u8 Code;
#define load_code load_u8
#define store_code store_u8
#elif CODE_BITS == 16
typedef u16 Code;
#define load_code load_u16
#define store_code store_u16
#else
typedef u32 Code;
#define load_code load_u32
#define store_code store_u32
#endif
#if WORD_SIGNED
#define BIAS (1u << (WORD_BITS - 1u))
#else
#define BIAS 0u
#endif
#if CODE_SIGNED
#define CODE_SIGN (1u << (CODE_BITS - 1u))
#else
#define CODE_SIGN 0u
#endif
#define NO_PREDICTOR 0
#define FRAME_BEFORE 1
#define LEFT_UP 2
#define PEDESTAL 3

/* the largest whole number that is not above the mean */
INLINE u32 average(u32 a, u32 b) { return (a & b) + ((a ^ b) >> 1); }
INLINE u32 expected_of(u32 left, u32 up, bool has_left, bool has_up) {
    u32 one = has_left ? left : has_up ? up : BIAS;
    return has_left & has_up ? average(left, up) : one;
}
/* whether a code says: listed */
#if NARROW
#define IS_LISTED(c, gap) ((c) == CODE_FILL)
#elif GAPS
#define IS_LISTED(c, gap) (((c) == CODE_FILL) & ((gap) != 0u))
#else
#define IS_LISTED(c, gap) false
#endif
