/* A step of LOAD that changes nothing: it stores what the ops before it gave, where somebody wants that in memory too.
 *
 * grid: that of the kernel that takes it in. Two threads may come by one pixel: they store the same. */
#define STORE_PARAMS GLOBAL f32 *store_value, GLOBAL u8 *store_status, GLOBAL u8 *store_stage
typedef struct {
    u32 nothing;
} StoreHeld;
#define STORE_BEGIN(held, pixel, npix) (held).nothing = 0u
#define STORE_APPLY(held, frame, pixel, npix, x, bits) \
    if (LOAD_FIRST) store_apply(store_value, store_status, store_stage, (u64)(frame) * (npix) + (pixel), x, bits)

INLINE void store_apply(STORE_PARAMS, u64 at, const f32 *x, const u32 *bits) {
#if STORE_VALUE
    store_f32(store_value + at, x);
#endif
#if STORE_STATUS
    u32 status[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) status[k] = STATUS_OF(bits[k]);
    store_u8(store_status + at, status);
#endif
#if STORE_STAGE
    u32 stage[VECTOR];
    for (u32 k = 0; k < VECTOR; k++) stage[k] = STAGE_OF(bits[k]);
    store_u8(store_stage + at, stage);
#endif
}
