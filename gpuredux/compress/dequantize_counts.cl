/* energy = table[code]; FILL: the value listed for this pixel, or NaN; MASKED: MASKED_VALUE; beyond the table: NaN.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames; a thread owns VECTOR pixels. An outlier finds
 * its value by bisection in the frame's ascending list: rare, and no second pass that would scatter. VALUE_KIND: 0 float, 1 signed, 2 unsigned. */
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
#if VALUE_KIND == 0
typedef f32 Value;
#elif VALUE_KIND == 1
typedef i32 Value;
#else
typedef u32 Value;
#endif

/* pixel's value in a list of so many entries; NaN if it is not among them */
INLINE f32 listed_value(GLOBAL const u32 *index, GLOBAL const Value *value, u32 listed, u32 pixel) {
    u32 low = 0u, high = listed;
    while (low < high) {
        u32 middle = low + (high - low) / 2u;
        if (index[middle] < pixel) low = middle + 1u;
        else high = middle;
    }
    return low < listed && index[low] == pixel ? (f32)value[low] : bits_f32(0x7fc00000u);
}

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
