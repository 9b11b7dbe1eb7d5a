/* The bit planes of up to 8 KiB of elements of SIZE bytes, frames aligned to ALIGN bytes: 64 bytes a thread, transposed in its registers.
 *
 * grid: none of its own: functions of one thread of 128; the words they store in are SHARED. */
#define BLOCK_BYTES 8192u
#define UNIT (8u * SIZE)

/* w[16] = the 64 bytes at p, zero from `count` on (count a multiple of 8) */
INLINE void load_piece(GLOBAL const u8 *p, u32 count, u32 *w) {
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) w[k] = 0u;
#if ALIGN == 16
    if (count >= 64u) {
        UNROLL_ON_GPU
        for (u32 k = 0; k < 4; k++) {
            uint4 v = ((GLOBAL const uint4 *)p)[k];
            w[4 * k] = v.x; w[4 * k + 1] = v.y; w[4 * k + 2] = v.z; w[4 * k + 3] = v.w;
        }
        return; /* no SYNC inside */
    }
#endif
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++)
        if (4u * k < count) {
#if ALIGN >= 4
            w[k] = ((GLOBAL const u32 *)p)[k];
#elif ALIGN == 2
            w[k] = ((GLOBAL const u16 *)p)[2 * k] | (u32)((GLOBAL const u16 *)p)[2 * k + 1] << 16;
#else
            w[k] = p[4 * k] | (u32)p[4 * k + 1] << 8 | (u32)p[4 * k + 2] << 16 | (u32)p[4 * k + 3] << 24;
#endif
        }
}

/* w -> v: after it v[k] holds 8 / SIZE bytes of each of 4 * SIZE / 8 planes; see store_planes for which */
INLINE void transpose_piece(const u32 *w, u32 *v) {
#if SIZE == 1
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) {
        u32 g = k >> 3, j = k & 7u, from = 8u * g + (j >> 2), shift = 8u * (j & 3u); /* bytes j, j + 8, j + 16, j + 24 of 32 */
        v[k] = (w[from] >> shift & 0xffu) | (w[from + 2] >> shift & 0xffu) << 8 | (w[from + 4] >> shift & 0xffu) << 16 | (w[from + 6] >> shift & 0xffu) << 24;
    }
    TRANSPOSE8(v)
    TRANSPOSE8(v + 8)
#elif SIZE == 2
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) v[k] = (w[k >> 1] >> 16u * (k & 1u) & 0xffffu) | (w[8 + (k >> 1)] >> 16u * (k & 1u)) << 16;
    TRANSPOSE16(v)
#elif SIZE == 4
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) v[k] = w[k];
    TRANSPOSE16(v)
#else
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) v[k] = w[2u * (k & 7u) + (k >> 3)]; /* low words of 8 elements, then high words */
    TRANSPOSE8(v)
    TRANSPOSE8(v + 8)
#endif
}

/* thread LID's share of every plane: 8 / SIZE bytes from byte LID * 8 / SIZE on; plane: bytes of a plane */
INLINE void store_planes(SHARED_PTR u32 *words, const u32 *v, u32 plane) {
    SHARED_PTR u8 *b = (SHARED_PTR u8 *)words;
    UNROLL_ON_GPU
    for (u32 k = 0; k < 16; k++) {
#if SIZE == 1
        u32 p = k & 7u, at = 8u * LID + 4u * (k >> 3);
        if (plane * UNIT == BLOCK_BYTES) words[(p * plane + at) >> 2] = v[k];
        else
            for (u32 c = 0; c < 4; c++)
                if (at + c < plane) b[p * plane + at + c] = (u8)(v[k] >> 8 * c);
#elif SIZE == 2
        if (plane * UNIT == BLOCK_BYTES) words[(k * plane >> 2) + LID] = v[k];
        else
            for (u32 c = 0; c < 4; c++)
                if (4u * LID + c < plane) b[k * plane + 4u * LID + c] = (u8)(v[k] >> 8 * c);
#elif SIZE == 4
        if (plane * UNIT == BLOCK_BYTES) {
            ((SHARED_PTR u16 *)words)[(k * plane >> 1) + LID] = (u16)v[k];
            ((SHARED_PTR u16 *)words)[((k + 16u) * plane >> 1) + LID] = (u16)(v[k] >> 16);
        } else
            for (u32 c = 0; c < 4; c++)
                if (2u * LID + (c & 1u) < plane) b[(k + 16u * (c >> 1)) * plane + 2u * LID + (c & 1u)] = (u8)(v[k] >> 8 * c);
#else
        for (u32 c = 0; c < 4; c++)
            if (LID < plane) b[((k & 7u) + 8u * c + 32u * (k >> 3)) * plane + LID] = (u8)(v[k] >> 8 * c);
#endif
    }
}
