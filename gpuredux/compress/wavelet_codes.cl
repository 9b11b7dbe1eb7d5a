/* What the kernels of compress.wavelet, wavelet_decode and reversible_wavelet share: whole numbers with their sign in the last bit, and sub-bands.
 *
 * grid: none of its own: functions of one thread. */
#define MASKED 65535u
#define LISTED 65534u
#define HIGHEST 32767.0f /* magnitude of a code */
#define MOST 32766.0f /* and of a correction */

/* 0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ...; of a magnitude and a sign */
INLINE u32 folded_code(u32 size, bool negative) { return 2u * size - ((size != 0u) & negative ? 1u : 0u); }
INLINE f32 unfolded_f32(u32 code) { return code & 1u ? -(f32)((code + 1u) >> 1) : (f32)(code >> 1); }

/* the level of a pixel's sub-band, 0 for the approximation: the first level whose low half holds the pixel no more */
INLINE u32 level_of(u32 pixel, u32 rows, u32 cols, u32 levels) {
    u32 at = pixel % (rows * cols), r = at / cols, c = at % cols, level = 0u;
    for (u32 k = 1u; k <= levels; k++) {
        rows = (rows + 1u) / 2u;
        cols = (cols + 1u) / 2u;
        bool detail = (r >= rows) | (c >= cols);
        if ((level == 0u) & detail) level = k;
    }
    return level;
}
