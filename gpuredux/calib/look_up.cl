/* energy = a table's value at x, interpolated between its nodes; with SLOPE its slope there: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. Tables lie [gain stage][table][node] and are read where x asks; they stay in the caches. */
#define LOOK_UP_PARAMS GLOBAL const f32 *look_up_table, GLOBAL const u8 *look_up_which, f32 look_up_start, f32 look_up_inverse
typedef struct {
    u32 which[VECTOR];
} LookUpHeld;
#define LOOK_UP_BEGIN(held, pixel, npix) load_u8(look_up_which + (pixel), (held).which)
#define LOOK_UP_APPLY(held, frame, pixel, npix, x, bits) look_up_apply(look_up_table, look_up_start, look_up_inverse, (held).which, x, bits)

INLINE void look_up_apply(GLOBAL const f32 *table, f32 start, f32 inverse, const u32 *which, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 u = (x[k] - start) * inverse, node = floor_f32(u);
        node = node > 0.0f ? node : 0.0f; /* NaN too */
        node = node < LOOK_UP_NODES - 2u ? node : (f32)(LOOK_UP_NODES - 2u);
        u32 row = which[k];
#if LOOK_UP_PLANES > 1
        row += smaller(STAGE_OF(bits[k]), LOOK_UP_PLANES - 1u) * LOOK_UP_TABLES;
#endif
        GLOBAL const f32 *at = table + (u64)row * LOOK_UP_NODES + (u32)node;
#if LOOK_UP_SLOPE
        f32 y = clean((at[1] - at[0]) * inverse);
#else
        f32 a = at[0], y = clean(a + (at[1] - a) * (u - node));
#endif
        x[k] = LOOK_UP_STATUS && STATUS_OF(bits[k]) ? x[k] : y;
    }
}
