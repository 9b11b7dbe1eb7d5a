/* One 4^RANK block of zfp in the hands of one thread, for zfp.cl and zfp_decode.cl: its words, its transform, its bit planes.
 *
 * grid: both give a group of 32 blocks of a frame to a block of 32 threads. A thread's words and planes are a column of SHARED memory: they are
 * indexed by numbers that a compiler cannot know. No thread reads another's column, so there is no SYNC.
 * f64: the values of float64 frames alone, in one multiplication, one subtraction and one comparison, each rounded once. */
#define HAS_LIVE 1u
#define HAS_STATUS 2u
#define HAS_BLOCK_BITS 4u
#define HAS_ERROR 8u
#define ROWS_OF(live, flags, n) ((flags) & HAS_LIVE ? LIVE_ROWS(live, n) : (n))
#if RANK
#define THREADS 32u
#define SIZE (1u << 2u * RANK)
#define ROWS (SIZE < 16u ? 16u : SIZE)
#define HALVES (BITS / 32u)
#if BITS == 64
typedef u64 Word;
typedef i64 Whole;
#define NEGABINARY 0xaaaaaaaaaaaaaaaaul
#define MANTISSA 52u
#define BIAS 1023
#define HEAD 12
#else
typedef u32 Word;
typedef i32 Whole;
#define NEGABINARY 0xaaaaaaaau
#define MANTISSA 23u
#define BIAS 127
#define HEAD 9
#endif
#define ONE ((Word)1)
#define SIGN (ONE << (BITS - 1u))
#define INFINITE (SIGN - (ONE << MANTISSA))
#if FLOATS && BITS == 64
typedef f64 Float;
typedef union {
    Word word;
    Float value;
} Punned;
INLINE Float float_of(Word w) { Punned p; p.word = w; return p.value; }
INLINE Word word_of(Float x) { Punned p; p.value = x; return p.word; }
#elif FLOATS
typedef f32 Float;
INLINE Float float_of(Word w) { return bits_f32(w); }
INLINE Word word_of(Float x) { return f32_bits(x); }
#endif

/* row k of the column that begins at c */
#define WORD_AT(c, k) (c)[(k) * THREADS]
#define HALF_AT(c, k, part) (c)[((k) * HALVES + (part)) * THREADS]

/* the index along an axis of value k of a block: beyond the end, values repeat as zfp does */
INLINE u32 line_of(u32 length, u32 block, u32 k) {
    u32 valid = length - 4u * block;
    if (k >= valid) k = k == 3u || valid == 1u ? 0u : 1u;
    return 4u * block + k;
}

INLINE void lift(SHARED_PTR Word *c, u32 at, u32 step) {
    Word x = WORD_AT(c, at), y = WORD_AT(c, at + step), z = WORD_AT(c, at + 2u * step), w = WORD_AT(c, at + 3u * step);
    x = (Word)((Whole)(x + w) >> 1);
    w -= x;
    z = (Word)((Whole)(z + y) >> 1);
    y -= z;
    x = (Word)((Whole)(x + z) >> 1);
    z -= x;
    w = (Word)((Whole)(w + y) >> 1);
    y -= w;
    w += (Word)((Whole)y >> 1);
    y -= (Word)((Whole)w >> 1);
    WORD_AT(c, at) = x; WORD_AT(c, at + step) = y; WORD_AT(c, at + 2u * step) = z; WORD_AT(c, at + 3u * step) = w;
}

INLINE void unlift(SHARED_PTR Word *c, u32 at, u32 step) {
    Word x = WORD_AT(c, at), y = WORD_AT(c, at + step), z = WORD_AT(c, at + 2u * step), w = WORD_AT(c, at + 3u * step);
    y += (Word)((Whole)w >> 1);
    w -= (Word)((Whole)y >> 1);
    y += w;
    w = w + w - y;
    z += x;
    x = x + x - z;
    y += z;
    z = z + z - y;
    w += x;
    x = x + x - w;
    WORD_AT(c, at) = x; WORD_AT(c, at + step) = y; WORD_AT(c, at + 2u * step) = z; WORD_AT(c, at + 3u * step) = w;
}

INLINE void lift_all(SHARED_PTR Word *c) {
    for (u32 step = 1u; step < SIZE; step *= 4u)
        for (u32 r = 0u; r < SIZE / 4u; r++) lift(c, r / step * 4u * step + r % step, step);
}

INLINE void unlift_all(SHARED_PTR Word *c) {
    for (u32 step = SIZE / 4u; step; step /= 4u)
        for (u32 r = 0u; r < SIZE / 4u; r++) unlift(c, r / step * 4u * step + r % step, step);
}

INLINE Word to_negabinary(Word y) { return (y + NEGABINARY) ^ NEGABINARY; }
INLINE Word from_negabinary(Word u) { return (u ^ NEGABINARY) - NEGABINARY; }

/* how many bit planes of a block are coded */
INLINE u32 planes_coded(i32 exponent, i32 maxprec, i32 minexp) {
#if FLOATS
    i32 here = exponent - minexp + 2 * (RANK + 1);
    here = here < 0 ? 0 : here;
    maxprec = here < maxprec ? here : maxprec;
#endif
    return smaller((u32)maxprec, BITS);
}

#if FLOATS
/* 2^(exponent - (BITS - 2)) as a decoder has it: a subnormal or 0 where it must be */
INLINE Float scale_of(i32 exponent) {
    i32 e = exponent - (i32)(BITS - 2u) + BIAS, low = (i32)MANTISSA - 1 + e;
    return float_of(e > 0 ? (Word)e << MANTISSA : low >= 0 ? ONE << low : (Word)0);
}
#endif
#endif
