/* photons = floor(x), one more for each local maximum of the rest that pairs with a neighbour; see shared_photons.py for the rule.
 *
 * grid: one block a tile of 32 x 32 pixels of one panel of one frame, with a halo: what happens to a pixel in ROUNDS rounds depends on those up to
 * 2 * ROUNDS + 1 away. In SHARED: the rests (-1 outside the panel), whom each maximum asks, who has refused it. A round is two steps,
 * of which the first writes `asks` alone and the second `refused` alone; it ends early where nobody was refused. All loops are block-uniform. */
#if PHOTON_FLOAT
#define PHOTON_WORD(q) f32_bits(q)
#else
#define PHOTON_WORD(q) ((u32)(q))
#endif
#define TILE 32u
#define HALO (2u * ROUNDS + 2u)
#define WIDTH (TILE + 2u * HALO)
#define NOBODY 4u
#define NO_MAXIMUM 255u
#define WAY(at, k) ((k) == 0u ? (at) - WIDTH : (k) == 1u ? (at) - 1u : (k) == 2u ? (at) + 1u : (at) + WIDTH)

/* the whole photons of an energy; *rest: the part of one that is left, *b: the status */
INLINE f32 photons_split(f32 energy, f32 inverse, f32 *rest, u32 *b) {
    f32 x = energy * inverse;
    if (*b == 0u && !(energy > bits_f32(0xff800000u))) *b = PIXEL_MASKED; /* NaN and -Inf */
    x = *b == 0u && x > 0.0f ? x : 0.0f;
    f32 r = rint_f32(x), q = r > x ? r - 1.0f : r;
    *rest = x < 16777216.0f ? x - q : 0.0f;
    return q;
}

/* the way to the largest neighbour that has not refused, if the two are enough for a photon */
INLINE u32 photons_ask(SHARED_PTR const f32 *f, u32 at, u32 refused, f32 fraction) {
    f32 best = -1.0f;
    u32 way = NOBODY;
    UNROLL
    for (u32 k = 0; k < 4u; k++) {
        f32 x = f[WAY(at, k)];
        bool larger = (refused >> k & 1u) == 0u && x > best;
        best = larger ? x : best;
        way = larger ? k : way;
    }
    return best >= 0.0f && f[at] + best >= fraction ? way : NOBODY;
}

/* whether the neighbour that this maximum asks is asked by a larger one */
INLINE bool photons_beaten(SHARED_PTR const f32 *f, SHARED_PTR const u8 *asks, u32 at) {
    u32 asked = WAY(at, asks[at]);
    bool beaten = false;
    UNROLL
    for (u32 k = 0; k < 4u; k++) {
        u32 other = WAY(asked, k);
        beaten = beaten || (other != at && asks[other] == 3u - k && (f[other] > f[at] || (f[other] == f[at] && other < at)));
    }
    return beaten;
}

KERNEL(128) shared_photons(GLOBAL const f32 *energy, GLOBAL const u8 *pixel_status, GLOBAL Photon *photons, GLOBAL u8 *new_pixels,
                           GLOBAL u32 *frame_status, GLOBAL const i32 *live, f32 inverse, f32 fraction, u32 n, u32 panels, u32 rows, u32 cols) {
    SHARED f32 f[WIDTH * WIDTH];
    SHARED u8 asks[WIDTH * WIDTH];
    SHARED u8 refused[WIDTH * WIDTH];
    SHARED u32 busy[ROUNDS];
    u32 tiles_across = (cols + TILE - 1u) / TILE, tiles = (rows + TILE - 1u) / TILE * tiles_across;
    u32 tile = BLOCK % tiles, frame = BLOCK / tiles / panels;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 row0 = tile / tiles_across * TILE, col0 = tile % tiles_across * TILE;
    u64 base = (u64)(BLOCK / tiles) * rows * cols;
    if (LID < ROUNDS) busy[LID] = 0u;
    for (u32 at0 = 0u; at0 < WIDTH * WIDTH; at0 += 128u) {
        u32 at = at0 + LID, row = row0 + at / WIDTH - HALO, col = col0 + at % WIDTH - HALO; /* beyond the top and the left: huge */
        f32 rest = -1.0f;
        if (row < rows && col < cols) {
            u64 pixel = base + (u64)row * cols + col;
            u32 b = STATUS ? pixel_status[pixel] : 0u;
            photons_split(energy[pixel], inverse, &rest, &b);
        }
        if (at < WIDTH * WIDTH) {
            f[at] = rest;
            asks[at] = NOBODY;
            refused[at] = NO_MAXIMUM;
        }
    }
    SYNC;
    for (u32 at0 = 0u; at0 < WIDTH * WIDTH; at0 += 128u) {
        u32 at = at0 + LID, row = at / WIDTH, col = at % WIDTH;
        if (row >= 2u && row < WIDTH - 2u && col >= 2u && col < WIDTH - 2u) {
            f32 x = f[at];
            if (x >= 0.5f && x > f[at - WIDTH] && x > f[at - 1u] && x >= f[at + 1u] && x >= f[at + WIDTH]) refused[at] = 0u;
        }
    }
    u32 more = 1u;
    for (u32 round = 0u; round < ROUNDS && more != 0u; round++) {
        for (u32 at0 = 0u; at0 < WIDTH * WIDTH; at0 += 128u) { /* each pixel's own thread wrote its refused: no SYNC between */
            u32 at = at0 + LID;
            if (at < WIDTH * WIDTH && refused[at] != NO_MAXIMUM) asks[at] = (u8)photons_ask(f, at, refused[at], fraction);
        }
        SYNC;
        for (u32 at0 = 0u; at0 < WIDTH * WIDTH; at0 += 128u) {
            u32 at = at0 + LID;
            if (at < WIDTH * WIDTH && refused[at] != NO_MAXIMUM && asks[at] != NOBODY && photons_beaten(f, asks, at)) {
                refused[at] = (u8)(refused[at] | 1u << asks[at]);
                busy[round] = 1u; /* by all who write it: the same */
            }
        }
        SYNC;
        more = busy[round];
    }
    for (u32 k0 = 0u; k0 < TILE * TILE; k0 += 128u) {
        u32 k = k0 + LID, row = row0 + k / TILE, col = col0 + k % TILE, at = (HALO + k / TILE) * WIDTH + HALO + k % TILE;
        if (row < rows && col < cols) {
            u64 pixel = base + (u64)row * cols + col;
            f32 rest;
            u32 b = STATUS ? pixel_status[pixel] : 0u;
            f32 q = photons_split(energy[pixel], inverse, &rest, &b);
            if (refused[at] != NO_MAXIMUM && asks[at] != NOBODY && (refused[at] >> asks[at] & 1u) == 0u) q += 1.0f;
            bool high = q >= PHOTON_TOP;
            u32 word = b == 0u && !high ? PHOTON_WORD(q) : 0u; /* the test stands before the conversion, which is undefined for huge values */
            b = b == 0u && high ? PIXEL_SATURATED : b;
            photons[pixel] = (Photon)(b == PIXEL_SATURATED ? PHOTON_HIGH : word);
#if PIXEL_STATUS
            new_pixels[pixel] = (u8)b;
#endif
#if FRAME_STATUS
            if (b & PIXEL_FROM_DATA) atomic_or_u32(frame_status + frame, b & PIXEL_FROM_DATA); /* rare; OR is the same in any order */
#endif
        }
    }
}
