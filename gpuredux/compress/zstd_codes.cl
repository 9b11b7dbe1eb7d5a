/* What the kernels of the Zstandard encoder share: sizes, columns of the counts, codes of lengths, estimates of bits.
 *
 * grid: none of its own. source: RFC 8878, tables of literal and match lengths */
#define REGION_BYTES 131072u
#define UNIT_BYTES 8192u
#define UNITS 16u /* of a region */
#define MATCHES 2056u /* of a unit, at most: every fifth byte may end one */
#define SLOT_BYTES (UNIT_BYTES + 16u) /* of a unit: a block has those of its units */
#define BIT 256u
#define SEVERAL 0xffffffffu
#define LL_COLUMN 256u /* behind the literals by value */
#define ML_COLUMN 292u
#define WHICH_COLUMN 345u
#define EXTRA_COLUMN 349u
#define FIRST_COLUMN 350u
#define RAW_COLUMN 351u
#define MANY_COLUMN 352u
#define COLUMNS 360u
#ifndef EACH_OF
#define EACH_OF(k, count) for (u32 k##_ = 0u, k = LID; k##_ < (count); k##_ += 128u, k += 128u) /* as often for every thread: ask k < count inside */
#endif

INLINE u32 highest(u32 x) { return 31u - leading_zeros(x); } /* the place of the highest bit of x > 0 */

INLINE u32 ll_code(u32 x) {
    return x < 16u ? x : x < 24u ? 16u + ((x - 16u) >> 1) : x < 32u ? 20u + ((x - 24u) >> 2)
         : x < 48u ? 22u + ((x - 32u) >> 3) : x < 64u ? 24u : 19u + highest(x);
}
INLINE u32 ll_bits(u32 code) { return code < 16u ? 0u : code < 20u ? 1u : code < 22u ? 2u : code < 24u ? 3u : code < 25u ? 4u : code - 19u; }
INLINE u32 ml_code(u32 length) {
    u32 x = length - 3u;
    return x < 32u ? x : x < 40u ? 32u + ((x - 32u) >> 1) : x < 48u ? 36u + ((x - 40u) >> 2) : x < 64u ? 38u + ((x - 48u) >> 3)
         : x < 96u ? 40u + ((x - 64u) >> 4) : x < 128u ? 42u : 36u + highest(x);
}
INLINE u32 ml_bits(u32 code) { return code < 32u ? 0u : code < 36u ? 1u : code < 38u ? 2u : code < 40u ? 3u : code < 42u ? 4u : code < 43u ? 5u : code - 36u; }

/* log2(x) of 1 <= x <= REGION_BYTES in units of 1 / BIT, within 3 of them */
INLINE u32 log2_units(u32 x) {
    u32 e = highest(x), part = (x << (17u - e)) >> 9 & 255u;
    return BIT * e + part + (part * (256u - part) * 88u >> 16);
}
