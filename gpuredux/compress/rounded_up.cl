/* The next float that is not below a double.
 *
 * grid: none of its own: a function of one thread. f64: errors are measured in it, and a bound must not be rounded down. */
INLINE f32 rounded_up(f64 x) {
    f32 up = (f32)x;
    return (f64)up < x ? bits_f32(f32_bits(up) + 1u) : up;
}
