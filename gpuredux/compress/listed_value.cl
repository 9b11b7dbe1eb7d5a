/* What the decoders of dequantize.cl, dequantize_counts.cl and wavelet_decode.cl share: values by pixel, from a list.
 *
 * grid: none of its own: a function of one thread. VALUE_KIND: of the list's values, 0 float, 1 signed, 2 unsigned. */
#if !defined(VALUE_KIND) || VALUE_KIND == 0
typedef f32 Value;
#elif VALUE_KIND == 1
typedef i32 Value;
#else
typedef u32 Value;
#endif

/* pixel's value in an ascending list of so many entries; NaN if it is not among them */
INLINE f32 listed_value(GLOBAL const u32 *index, GLOBAL const Value *value, u32 listed, u32 pixel) {
    u32 low = 0u, high = listed;
    while (low < high) {
        u32 middle = low + (high - low) / 2u;
        if (index[middle] < pixel) low = middle + 1u;
        else high = middle;
    }
    return low < listed && index[low] == pixel ? (f32)value[low] : bits_f32(0x7fc00000u);
}
