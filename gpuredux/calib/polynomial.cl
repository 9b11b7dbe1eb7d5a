/* energy = c[0] + x * (c[1] + x * ...), by Horner: a step of LOAD; its kernel is pixelwise.cl.
 *
 * grid: that of the kernel that takes it in. Coefficients lie [gain stage][term][pixel]; a thread keeps those of stage 0 in registers. */
#define POLYNOMIAL_PARAMS GLOBAL const f32 *polynomial_terms
typedef struct {
    f32 c[POLYNOMIAL_TERMS][VECTOR];
} PolynomialHeld;
#define POLYNOMIAL_BEGIN(held, pixel, npix) polynomial_hold(polynomial_terms, &(held), pixel, npix)
#define POLYNOMIAL_APPLY(held, frame, pixel, npix, x, bits) polynomial_apply(polynomial_terms, &(held), pixel, npix, x, bits)

INLINE void polynomial_hold(POLYNOMIAL_PARAMS, PolynomialHeld *held, Index pixel, u32 npix) {
    UNROLL
    for (u32 t = 0; t < POLYNOMIAL_TERMS; t++) load_f32(polynomial_terms + (u64)t * npix + pixel, held->c[t]);
}

INLINE void polynomial_apply(POLYNOMIAL_PARAMS, const PolynomialHeld *held, Index pixel, u32 npix, f32 *x, const u32 *bits) {
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        f32 y = held->c[POLYNOMIAL_TERMS - 1u][k];
        UNROLL
        for (u32 t = 1; t < POLYNOMIAL_TERMS; t++) y = y * x[k] + held->c[POLYNOMIAL_TERMS - 1u - t][k];
#if POLYNOMIAL_PLANES > 1
        u32 stage = smaller(STAGE_OF(bits[k]), POLYNOMIAL_PLANES - 1u);
        if (stage) { /* rare */
            GLOBAL const f32 *c = polynomial_terms + (u64)stage * POLYNOMIAL_TERMS * npix + pixel + k;
            y = c[(u64)(POLYNOMIAL_TERMS - 1u) * npix];
            for (u32 t = 1; t < POLYNOMIAL_TERMS; t++) y = y * x[k] + c[(u64)(POLYNOMIAL_TERMS - 1u - t) * npix];
        }
#endif
        y = clean(y);
        x[k] = POLYNOMIAL_STATUS && STATUS_OF(bits[k]) ? x[k] : y;
    }
}
