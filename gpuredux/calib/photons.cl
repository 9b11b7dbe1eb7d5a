/* photons = floor(energy * inverse + offset), and what its type cannot hold: PHOTON_HIGH and PHOTON_LOW, as they are stored.
 *
 * grid: BLOCK = tile of 128 * VECTOR pixels, BLOCK_Y = group of FRAMES frames. A thread owns VECTOR pixels over its frames. */
#if PHOTON_BITS == 8
typedef u8 Photon;
#define store_photons store_u8
#elif PHOTON_BITS == 16
typedef u16 Photon;
#define store_photons store_u16
#else
typedef u32 Photon;
#define store_photons store_u32
#endif
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

KERNEL_PIXELS(128) photons(LOAD_PARAMS, GLOBAL Photon *photons, GLOBAL u8 *pixel_status, GLOBAL u32 *frame_status, GLOBAL const i32 *live,
                           f32 inverse, f32 offset, u32 n, u32 npix) {
    Index pixel = FIRST_PIXEL;
    u32 end = FRAMES_END(live, n);
    u64 seen = 0;
    if (pixel >= npix) return;
    Held held;
    LOAD_BEGIN(held, pixel, npix);
    for (u32 frame = BLOCK_Y * FRAMES; frame < end; frame++) {
        f32 x[VECTOR];
        u32 bits[VECTOR], word[VECTOR];
        LOAD(held, frame, pixel, npix, x, bits);
        UNROLL
        for (u32 k = 0; k < VECTOR; k++) {
#if CARRY_STATUS
            seen |= FRAME_BITS(bits[k], frame);
#endif
            bits[k] = STATUS ? STATUS_OF(bits[k]) : 0u; /* without STATUS nobody looks at the bits, as in an unfused run without pixel_status */
            word[k] = photons_word(x[k], inverse, offset, &bits[k]);
        }
        store_photons(photons + (u64)frame * npix + pixel, word);
#if PIXEL_STATUS
        store_u8(pixel_status + (u64)frame * npix + pixel, bits);
#endif
#if FRAME_STATUS
        for (u32 k = 0; k < VECTOR; k++) seen |= FRAME_BITS(bits[k], frame);
#endif
    }
#if FRAME_STATUS
    frame_bits_write(frame_status, seen, end);
#endif
}
