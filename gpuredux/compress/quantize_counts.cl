/* code = the bin of a whole value, by a look-up of its granule and one comparison; outliers into an ascending list a frame.
 *
 * A tile is the 32 * VECTOR pixels of one warp: four a block.
 *   quantize_counts  grid: tiles of 128 * VECTOR pixels x groups of FRAMES frames: code, and each tile's outliers and largest error; the rest is outliers.cl
 * Floats come through LOAD, of whatever ops; words of detectors through one of its own.
 * A thread past the frame's end stays for the warp operations. COUNT_KIND: 0 float, 1 signed, 2 unsigned. */
#if COUNT_BITS == 8
typedef u8 Count;
#define load_count load_u8
#elif COUNT_BITS == 16
typedef u16 Count;
#define load_count load_u16
#else
typedef u32 Count;
#define load_count load_u32
#endif
#if CODE_BITS == 8
typedef u8 Code;
#define load_code load_u8
#define store_code store_u8
#define CODE_FILL 255u
#define CODE_MASKED 254u
#else
typedef u16 Code;
#define load_code load_u16
#define store_code store_u16
#define CODE_FILL 65535u
#define CODE_MASKED 65534u
#endif

#if COUNT_KIND == 0
typedef f32 Value;
#else
typedef u32 Value; /* 32 bits of its own kind */
#define LOAD_PARAMS GLOBAL const Count *count, GLOBAL const u8 *status
typedef struct {
    u32 nothing;
} Held;
#define LOAD_BEGIN(held, pixel, npix) (held).nothing = 0u
#define LOAD(held, frame, pixel, npix, x, bits) load_words(count, status, (u64)(frame) * (npix) + (pixel), x, bits)
INLINE void load_words(LOAD_PARAMS, u64 at, u32 *x, u32 *bits) {
    load_count(count + at, x);
#if COUNT_KIND == 1 && COUNT_BITS == 16
    for (u32 k = 0; k < VECTOR; k++) x[k] = (u32)(i32)(i16)x[k];
#endif
    for (u32 k = 0; k < VECTOR; k++) bits[k] = 0u;
#if STATUS
    load_u8(status + at, bits);
#endif
}
#endif

/* v - smallest of a value, and whether it has a bin */
INLINE u32 value_of(Value w, f32 inverse, i32 smallest, i32 largest, bool *fits) {
#if COUNT_KIND == 0
    f32 q = rint_f32(w * inverse);
    *fits = q >= (f32)smallest && q <= (f32)largest;
    i32 v = *fits ? (i32)q : smallest;
#elif COUNT_KIND == 1
    i32 v = (i32)w;
    *fits = v >= smallest && v <= largest;
#else
    *fits = w <= (u32)largest; /* smallest is not above 0 */
    i32 v = *fits ? (i32)w : smallest;
#endif
    return *fits ? (u32)(v - smallest) : 0u;
}

INLINE f32 count_value(Value w) {
#if COUNT_KIND == 0
    return w;
#elif COUNT_KIND == 1
    return (f32)(i32)w;
#else
    return (f32)w;
#endif
}

INLINE u32 bin_of(u32 v, GLOBAL const u16 *first, GLOBAL const i32 *start, u32 bits) {
    u32 length = 32u - leading_zeros(v), octave = length > bits ? length - bits : 0u;
    u32 c = first[(octave << (bits - 1u)) + (v >> octave)];
    return octave != 0u && v >= (u32)start[c + 1u] ? c + 1u : c;
}

#include "compress/unused.cl"

KERNEL(128) quantize_counts(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL Code *code, GLOBAL u32 *tile_start, GLOBAL u32 *tile_error, GLOBAL u32 *frame_status,
                            GLOBAL const i32 *live, GLOBAL const u16 *first, GLOBAL const i32 *start, GLOBAL const f32 *table,
                            f32 inverse, i32 smallest, i32 largest, u32 granule_bits, u32 n, u32 npix, u32 n_tiles) {
    WARP_SCRATCH(w, 128);
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, tile = BLOCK * 4u + WARP;
    u32 end = FRAMES_END(live, n);
    Held held;
    u32 unused = 0u;
    if (pixel < npix) {
        LOAD_BEGIN(held, pixel, npix);
        unused = unused_of(good, pixel);
    }
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 outliers = 0u, worst = 0u;
        if (pixel < npix) {
            Value x[VECTOR];
            u32 bits[VECTOR], c[VECTOR];
            LOAD(held, frame, pixel, npix, x, bits);
            carry_status(bits, frame_status, frame);
            UNROLL_ON_GPU
            for (u32 k = 0; k < VECTOR; k++) {
                bool fits, masked = UNUSED(k);
                u32 v = value_of(x[k], inverse, smallest, largest, &fits), bin = bin_of(v, first, start, granule_bits);
                u32 error = masked || !fits ? 0u : f32_bits(abs_f32(count_value(x[k]) - table[bin])); /* not negative: ordered like its bits */
                c[k] = masked ? CODE_MASKED : fits ? bin : CODE_FILL;
                outliers += c[k] == CODE_FILL ? 1u : 0u;
                worst = error > worst ? error : worst;
            }
            store_code(code + (u64)frame * npix + pixel, c);
        }
        outliers = warp_sum(w, outliers);
        worst = warp_max(w, worst);
        if (LANE == 0u) {
            tile_start[(u64)frame * (n_tiles + 4u) + tile] = outliers;
            tile_error[(u64)frame * n_tiles + tile] = worst;
        }
    }
}

#include "compress/outliers.cl"
