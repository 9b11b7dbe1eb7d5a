/* Coefficients as whole numbers without a sign, 0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ...; and back. features/lifting.cl makes them, or takes them.
 *
 * grid: tiles of 128 * VECTOR coefficients x groups of FRAMES frames; a thread owns VECTOR of them. WORD_BITS: of a coefficient, 16 or 32. */
#include "compress/zigzag.cl"

KERNEL(128) reversible_fold(GLOBAL const Word *from, GLOBAL Word *to, GLOBAL const i32 *live, u32 n, u32 npix) {
    u32 pixel = (BLOCK * 128u + LID) * VECTOR, end = FRAMES_END(live, n);
    if (pixel >= npix) return;
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        u32 x[VECTOR];
        load_word(from + (u64)frame * npix + pixel, x);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
#if BACK
            x[k] = unzigzag(x[k]) & WORD_MASK;
#else
            x[k] = zigzag(x[k]);
#endif
        }
        store_word(to + (u64)frame * npix + pixel, x);
    }
}
