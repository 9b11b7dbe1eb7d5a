/* energy = x * low up to the knee, (x - knee) * high + offset beyond; with SLOPE its slope there: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. A thread keeps the constants of gain stage 0 of its VECTOR pixels in registers. */
#define BREAKPOINT_PARAMS GLOBAL const f32 *breakpoint_knee, GLOBAL const f32 *breakpoint_low, GLOBAL const f32 *breakpoint_high, GLOBAL const f32 *breakpoint_offset
typedef struct {
    f32 knee[VECTOR], low[VECTOR], high[VECTOR], offset[VECTOR];
} BreakpointHeld;
#define BREAKPOINT_BEGIN(held, pixel, npix)           \
    do {                                              \
        load_f32(breakpoint_knee + (pixel), (held).knee);     \
        load_f32(breakpoint_low + (pixel), (held).low);       \
        load_f32(breakpoint_high + (pixel), (held).high);     \
        load_f32(breakpoint_offset + (pixel), (held).offset); \
    } while (0)
#define BREAKPOINT_APPLY(held, frame, pixel, npix, x, bits) \
    breakpoint_apply(breakpoint_knee, breakpoint_low, breakpoint_high, breakpoint_offset, &(held), pixel, npix, x, bits)

INLINE void breakpoint_apply(BREAKPOINT_PARAMS, const BreakpointHeld *held, Index pixel, u32 npix, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 knee = held->knee[k], low = held->low[k], high = held->high[k], offset = held->offset[k];
#if BREAKPOINT_PLANES > 1
        u32 stage = smaller(STAGE_OF(bits[k]), BREAKPOINT_PLANES - 1u);
        if (stage) { /* rare */
            u64 at = (u64)stage * npix + pixel + k;
            knee = breakpoint_knee[at]; low = breakpoint_low[at]; high = breakpoint_high[at]; offset = breakpoint_offset[at];
        }
#endif
#if BREAKPOINT_SLOPE
        f32 y = x[k] > knee ? high : low;
#else
        f32 y = clean(x[k] > knee ? (x[k] - knee) * high + offset : x[k] * low);
#endif
        x[k] = BREAKPOINT_STATUS && STATUS_OF(bits[k]) ? x[k] : y;
    }
}
