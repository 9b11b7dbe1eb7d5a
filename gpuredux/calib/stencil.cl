/* energy = the weighted sum of each pixel's neighbourhood, or steps of Jacobi's method towards its inverse.
 *
 * grid: one block a tile of 32 x 32 pixels of one asic of one frame; 128 threads walk the tile with its halo, 32 columns by 4 rows at a time.
 * The tile, and the halo of `steps` steps, lie in SHARED; each step is right in a border less wide by RADIUS. What lies outside the asic and what is
 * no measurement counts as 0 and stays 0: it is NaN in y. All loops are block-uniform: with `for (k = LID; k < count; k += 128)` PoCL 3.1 gave
 * wrong numbers and wrote past the arrays (tried). */
#define TILE 32u
#if SOLVE && RADIUS
#define HALO (8u / RADIUS * RADIUS)
#else
#define HALO RADIUS
#endif
#define WIDTH (TILE + 2u * HALO)
#define SIDE (2u * RADIUS + 1u)
#define NOTHING bits_f32(0x7fc00000u)
#define IS_FINITE(x) (abs_f32(x) <= 3.402823466e+38f)

/* what a sum is multiplied by at this place of an asic */
INLINE f32 stencil_edge(GLOBAL const f32 *edge, u32 row, u32 col, u32 rows, u32 cols) {
    u32 up = smaller(row, RADIUS), down = smaller(rows - 1u - row, RADIUS), left = smaller(col, RADIUS), right = smaller(cols - 1u - col, RADIUS);
    return edge[((up * (RADIUS + 1u) + down) * (RADIUS + 1u) + left) * (RADIUS + 1u) + right];
}

/* the weighted sum around x[at], from 0 on and row by row; for SOLVE without the centre */
INLINE f32 stencil_sum(SHARED_PTR const f32 *x, u32 at, GLOBAL const f32 *weights) {
    f32 sum = 0.0f;
    UNROLL
    for (u32 i = 0; i < SIDE; i++)
        UNROLL
        for (u32 j = 0; j < SIDE; j++)
            if (!SOLVE || i != RADIUS || j != RADIUS) sum += weights[i * SIDE + j] * x[at + (i - RADIUS) * WIDTH + j - RADIUS];
    return sum;
}

KERNEL(128) stencil(GLOBAL const f32 *energy, GLOBAL const u8 *pixel_status, GLOBAL const f32 *before, GLOBAL f32 *after, GLOBAL const i32 *live,
                    GLOBAL const f32 *weights, GLOBAL const f32 *edge, u32 n, u32 down, u32 across, u32 rows, u32 cols, u32 steps,
                    u32 first, u32 last) {
    SHARED f32 y[WIDTH * WIDTH];
#if SOLVE
    SHARED f32 x[2][WIDTH * WIDTH];
    f32 inverse = weights[(2u * RADIUS + 1u) * (2u * RADIUS + 1u)];
#endif
    u32 tiles_down = (rows + TILE - 1u) / TILE, tiles_across = (cols + TILE - 1u) / TILE, tiles = tiles_down * tiles_across;
    u32 tile = BLOCK % tiles, asic = BLOCK / tiles % (down * across), frame = BLOCK / tiles / (down * across);
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 row0 = tile / tiles_across * TILE, col0 = tile % tiles_across * TILE, pitch = across * cols;
    u64 base = (u64)frame * down * rows * pitch + (u64)(asic / across) * rows * pitch + asic % across * cols;
    for (u32 at0 = 0u; at0 < WIDTH * WIDTH; at0 += 128u) {
        u32 at = at0 + LID, row = row0 + at / WIDTH - HALO, col = col0 + at % WIDTH - HALO; /* beyond the top and the left: huge */
        f32 value = NOTHING, estimate = 0.0f;
        if (row < rows && col < cols) {
            u64 pixel = base + (u64)row * pitch + col;
            value = energy[pixel];
#if STATUS
            value = pixel_status[pixel] ? NOTHING : value;
#endif
#if SOLVE
            if (IS_FINITE(value)) {
                value *= stencil_edge(edge, row, col, rows, cols);
                estimate = first ? value * inverse : before[pixel];
            } else {
                value = NOTHING; /* at an edge a finite one may become infinite: it still takes part */
            }
#endif
        }
        if (at < WIDTH * WIDTH) {
#if SOLVE
            y[at] = value;
            x[0][at] = estimate;
#else
            y[at] = IS_FINITE(value) ? value : 0.0f;
#endif
        }
    }
    SYNC;
    u32 from = 0u;
#if SOLVE
    for (u32 step = 0; step < steps; step++) {
        u32 border = HALO - (steps - 1u - step) * RADIUS, width = WIDTH - 2u * border;
        for (u32 k0 = 0u; k0 < width * width; k0 += 128u) {
            u32 k = k0 + LID, at = (border + k / width) * WIDTH + border + k % width;
            if (k < width * width) {
                f32 next = (y[at] - stencil_sum(x[from], at, weights)) * inverse;
                x[1u - from][at] = y[at] == y[at] ? next : 0.0f;
            }
        }
        from = 1u - from;
        SYNC;
    }
#endif
    for (u32 k0 = 0u; k0 < TILE * TILE; k0 += 128u) {
        u32 k = k0 + LID, row = row0 + k / TILE, col = col0 + k % TILE, at = (HALO + k / TILE) * WIDTH + HALO + k % TILE;
        if (row < rows && col < cols) {
            u64 pixel = base + (u64)row * pitch + col;
            f32 given = energy[pixel];
#if STATUS
            given = pixel_status[pixel] ? NOTHING : given;
#endif
#if SOLVE
            f32 made = x[from][at];
#else
            f32 made = stencil_sum(y, at, weights) * stencil_edge(edge, row, col, rows, cols);
#endif
            made = made == made ? made : NOTHING;
            given = given == given ? given : NOTHING;
            after[pixel] = !last || IS_FINITE(given) ? made : given;
        }
    }
}
