/* The first row or column of a window around a peak; far outside for what is no place: FAR of regions.py.
 *
 * grid: none of its own: a function of one thread. */
INLINE i32 corner_of(PLACE peak, i32 half_side) {
#if PLACE_FLOAT
    return abs_f32(peak) <= 1000000.0f ? (i32)rint_f32(peak) - half_side : -4000000;
#else
    return peak <= 1000000 && peak >= -1000000 ? peak - half_side : -4000000;
#endif
}
