/* y[t] = x[t] - sum of a[k] * y[t - 1 - k], or with fir x[t] + sum of a[k] * x[t - 1 - k], along the readout direction.
 *
 * recursive_rows  grid: one thread a column of asics, down their rows: neighbours read neighbours
 * recursive_cols  grid: one block 128 rows of one column of asics: tiles of 32 columns go through SHARED, where a thread walks along its row
 * What is no measurement is NaN or Inf, and counts as 0 to those after it. */
#define NOTHING bits_f32(0x7fc00000u)
#define IS_FINITE(x) (abs_f32(x) <= 3.402823466e+38f)

typedef struct {
    f32 a[TERMS], past[TERMS];
} Walk;

INLINE void walk_start(Walk *walk, GLOBAL const f32 *coefficients) {
    UNROLL
    for (u32 k = 0; k < TERMS; k++) {
        walk->a[k] = coefficients[k];
        walk->past[k] = 0.0f;
    }
}

/* the next value of a line */
INLINE f32 walk_on(Walk *walk, f32 x, u32 fir) {
    f32 sum = 0.0f;
    UNROLL
    for (u32 k = 0; k < TERMS; k++) sum += walk->a[k] * walk->past[k];
    bool good = IS_FINITE(x);
    f32 y = good ? (fir ? x + sum : x - sum) : x;
    UNROLL
    for (u32 k = TERMS - 1u; k > 0u; k--) walk->past[k] = walk->past[k - 1u];
    walk->past[0] = good && IS_FINITE(y) ? (fir ? x : y) : 0.0f;
    return y == y ? y : NOTHING;
}

INLINE f32 walk_read(GLOBAL const f32 *energy, GLOBAL const u8 *pixel_status, u64 pixel) {
    f32 x = energy[pixel];
#if STATUS
    x = pixel_status[pixel] ? NOTHING : x;
#endif
    return x;
}

#if DOWN_ROWS
#define AHEAD 8u /* values that are asked for together */

KERNEL(128) recursive_rows(GLOBAL const f32 *energy, GLOBAL const u8 *pixel_status, GLOBAL f32 *out, GLOBAL const i32 *live, GLOBAL const f32 *coefficients,
                           u32 n, u32 down, u32 across, u32 rows, u32 cols, u32 reverse, u32 fir) {
    u32 pitch = across * cols, line = BLOCK * 128u + LID;
    if (line / pitch / down >= LIVE_ROWS(live, n)) return;
    u64 base = (u64)(line / pitch) * rows * pitch + line % pitch;
    Walk walk;
    walk_start(&walk, coefficients);
    for (u32 t0 = 0u; t0 < rows; t0 += AHEAD) {
        f32 x[AHEAD];
        UNROLL
        for (u32 k = 0; k < AHEAD; k++) {
            u32 t = smaller(t0 + k, rows - 1u);
            x[k] = walk_read(energy, pixel_status, base + (u64)(reverse ? rows - 1u - t : t) * pitch);
        }
        UNROLL
        for (u32 k = 0; k < AHEAD; k++) {
            u32 t = t0 + k;
            if (t < rows) out[base + (u64)(reverse ? rows - 1u - t : t) * pitch] = walk_on(&walk, x[k], fir);
        }
    }
}
#else
#define WIDE 32u

KERNEL(128) recursive_cols(GLOBAL const f32 *energy, GLOBAL const u8 *pixel_status, GLOBAL f32 *out, GLOBAL const i32 *live, GLOBAL const f32 *coefficients,
                           u32 n, u32 down, u32 across, u32 rows, u32 cols, u32 reverse, u32 fir) {
    SHARED f32 tile[128u * (WIDE + 1u)];
    u32 row0 = BLOCK / across * 128u, end = LIVE_ROWS(live, n) * down * rows, pitch = across * cols;
    if (row0 >= end) return;
    u64 base = (u64)row0 * pitch + BLOCK % across * cols;
    Walk walk;
    walk_start(&walk, coefficients);
    for (u32 t0 = 0u; t0 < cols; t0 += WIDE) {
        for (u32 k = 0u; k < WIDE; k++) { /* a warp reads 32 columns of a row */
            u32 row = k * 4u + WARP, t = t0 + LANE;
            if (row0 + row < end && t < cols)
                tile[row * (WIDE + 1u) + LANE] = walk_read(energy, pixel_status, base + (u64)row * pitch + (reverse ? cols - 1u - t : t));
        }
        SYNC;
        for (u32 k = 0u; k < WIDE; k++) {
            u32 at = LID * (WIDE + 1u) + k;
            if (row0 + LID < end && t0 + k < cols) tile[at] = walk_on(&walk, tile[at], fir);
        }
        SYNC;
        for (u32 k = 0u; k < WIDE; k++) {
            u32 row = k * 4u + WARP, t = t0 + LANE;
            if (row0 + row < end && t < cols) out[base + (u64)row * pitch + (reverse ? cols - 1u - t : t)] = tile[row * (WIDE + 1u) + LANE];
        }
        SYNC; /* before the next tile is read */
    }
}
#endif
