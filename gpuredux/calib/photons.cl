/* photons = floor(energy * inverse + offset), and what its type cannot hold: PHOTON_HIGH and PHOTON_LOW, as they are stored. A stage of GIVE, whose kernel
 * is pixelwise.cl or any that ends with it; what it hands on are the numbers as they are stored, by their bits, and their status.
 *
 * grid: that of the kernel. */
#if PHOTON_FLOAT
#define PHOTON_WORD(q) f32_bits(q)
#elif PHOTON_SIGNED
#define PHOTON_WORD(q) ((u32)(i32)(q))
#else
#define PHOTON_WORD(q) ((u32)(q))
#endif

INLINE f32 photons_floor(f32 u) {
    f32 r = rint_f32(u);
    return r > u ? r - 1.0f : r;
}

/* the number as it is stored; *b: its status, 0 = to be seen */
INLINE u32 photons_word(f32 x, f32 inverse, f32 offset, u32 *b) {
    f32 q = photons_floor(x * inverse + offset), bottom = PHOTON_SIGNED ? -PHOTON_TOP : 0.0f;
    bool good = *b == 0u, real = x > bits_f32(0xff800000u) /* -Inf */, high = real && q >= PHOTON_TOP, low = real && q <= bottom;
    u32 word = good && real && !high && !low ? PHOTON_WORD(q) : 0u; /* the test stands before the conversion, which is undefined for huge values */
    if (good) *b = !real ? PIXEL_MASKED : high || (low && PHOTON_SIGNED) ? PIXEL_SATURATED : 0u;
    return *b != PIXEL_SATURATED ? word : good && low ? PHOTON_LOW : PHOTON_HIGH;
}

#define PHOTONS_PARAMS GLOBAL Photon *photons, GLOBAL u8 *photons_status, f32 photons_inverse, f32 photons_offset
typedef struct {
    u32 nothing;
} PhotonsHeld;
#define PHOTONS_BEGIN(held, pixel, npix) (held).nothing = 0u
#define PHOTONS_GIVE(held, frame, pixel, npix, x, bits, mine) \
    photons_give(photons, photons_status, photons_inverse, photons_offset, (u64)(frame) * (npix) + (pixel), x, bits, mine)

INLINE void photons_give(PHOTONS_PARAMS, u64 at, f32 *x, u32 *bits, u32 mine) {
    u32 word[VECTOR];
    UNROLL
    for (u32 k = 0; k < VECTOR; k++) {
        bits[k] = PHOTONS_STATUS ? STATUS_OF(bits[k]) : 0u; /* without it nobody looks at the bits, as in an unfused run without pixel_status */
        word[k] = photons_word(x[k], photons_inverse, photons_offset, &bits[k]);
        x[k] = bits_f32(word[k]);
    }
#if PHOTONS_STORED
    if (mine == ALL_MINE) store_photons(photons + at, word);
    else for (u32 k = 0; k < VECTOR; k++) if (mine >> k & 1u) photons[at + k] = (Photon)word[k];
#endif
#if PHOTONS_MARKS
    give_u8(photons_status + at, bits, mine);
#endif
}
