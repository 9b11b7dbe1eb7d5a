/* energy = table[code]; FILL: the value listed for this pixel, or NaN; MASKED: MASKED_VALUE; beyond the table: NaN.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames; a thread owns VECTOR pixels. An outlier finds
 * its value by bisection in the frame's ascending list: rare, and no second pass that would scatter. */
#if CODE_BITS == 8
typedef u8 Code;
#define load_code load_u8
#define CODE_FILL 255u
#define CODE_MASKED 254u
#else
typedef u16 Code;
#define load_code load_u16
#define CODE_FILL 65535u
#define CODE_MASKED 65534u
#endif
#include "compress/listed_value.cl"

KERNEL(128) dequantize_counts(GLOBAL const Code *code, GLOBAL const u32 *outlier_index, GLOBAL const Value *outlier_value,
                              GLOBAL const u32 *outlier_count, GLOBAL f32 *energy, GLOBAL const i32 *live, GLOBAL const f32 *table, u32 codes,
                              u32 capacity, u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR;
    u32 end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 c[VECTOR];
        f32 y[VECTOR];
        load_code(code + (u64)frame * npix + pixel, c);
        UNROLL_ON_GPU
        for (u32 k = 0; k < VECTOR; k++) {
            y[k] = c[k] < codes ? table[c[k]] : bits_f32(c[k] == CODE_MASKED ? MASKED_VALUE : 0x7fc00000u);
            if (c[k] == CODE_FILL)
                y[k] = listed_value(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity,
                                    smaller(outlier_count[frame], capacity), pixel + k);
        }
        store_f32(energy + (u64)frame * npix + pixel, y);
    }
}
