/* energy = code * step; FILL: the value listed for this pixel, or NaN; MASKED: MASKED_VALUE.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames; a thread owns VECTOR pixels. An outlier finds
 * its value by bisection in the frame's ascending list: rare, and no second pass that would scatter. */
#if CODE_BITS == 16
typedef u16 Code;
#define load_code load_u16
#if CODE_SIGNED
#define CODE_VALUE(c) ((f32)(i16)(c))
#else
#define CODE_VALUE(c) ((f32)(c))
#endif
#else
typedef u32 Code;
#define load_code load_u32
#define CODE_VALUE(c) ((f32)(i32)(c))
#endif

/* pixel's value in a list of so many entries; NaN if it is not among them */
INLINE f32 listed_value(GLOBAL const u32 *index, GLOBAL const f32 *value, u32 listed, u32 pixel) {
    u32 low = 0u, high = listed;
    while (low < high) {
        u32 middle = low + (high - low) / 2u;
        if (index[middle] < pixel) low = middle + 1u;
        else high = middle;
    }
    return low < listed && index[low] == pixel ? value[low] : bits_f32(0x7fc00000u);
}

KERNEL(128) dequantize(GLOBAL const Code *code, GLOBAL const u32 *outlier_index, GLOBAL const f32 *outlier_value, GLOBAL const u32 *outlier_count,
                       GLOBAL f32 *energy, GLOBAL const i32 *live, f32 step, u32 capacity, u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR;
    u32 end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 c[VECTOR];
        f32 y[VECTOR];
        load_code(code + (u64)frame * npix + pixel, c);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
            y[k] = CODE_VALUE(c[k]) * step;
            if (c[k] == CODE_MASKED) y[k] = bits_f32(MASKED_VALUE);
            if (c[k] == CODE_FILL)
                y[k] = listed_value(outlier_index + (u64)frame * capacity, outlier_value + (u64)frame * capacity,
                                    smaller(outlier_count[frame], capacity), pixel + k);
        }
        store_f32(energy + (u64)frame * npix + pixel, y);
    }
}
