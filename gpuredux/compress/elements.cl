/* Elements of SIZE bytes from their bit planes: the way back of bit_planes.cl, 64 bytes a thread in its registers, or 8 elements a thread from anywhere.
 *
 * grid: none of its own: functions of one thread of 128. LARGE: whether the planes lie in GLOBAL memory; else in SHARED, 8 KiB at most. */
#define BLOCK_BYTES 8192u

#include "compress/element.cl"

#if LARGE
typedef GLOBAL u8 *Planes;
#else
typedef SHARED_PTR u8 *Planes;
#endif

/* elements 8 * (t / SIZE) to + 7, of them byte t % SIZE: any plane, from anywhere */
INLINE void few_elements(Planes d, u32 t, u32 plane, GLOBAL u8 *to) {
    u32 at = t / SIZE, rank = t % SIZE;
    u64 x = 0;
    for (u32 k = 0; k < 8; k++) x |= (u64)d[(8u * rank + k) * plane + at] << 8u * k;
    x = transposed8x8(x);
    for (u32 k = 0; k < 8; k++) to[(8u * at + k) * SIZE + rank] = (u8)(x >> 8u * k);
}

#if !LARGE
/* v = 64 bytes of elements (piece LID of 8 KiB) from the bit planes */
INLINE void load_piece(SHARED_PTR const u32 *words, u32 *v) {
#define PLANE_BYTES (BLOCK_BYTES / UNIT)
    UNROLL
    for (u32 k = 0; k < 16; k++) {
#if SIZE == 1
        v[k] = words[((k & 7u) * PLANE_BYTES >> 2) + 2u * LID + (k >> 3)];
#elif SIZE == 2
        v[k] = words[(k * PLANE_BYTES >> 2) + LID];
#elif SIZE == 4
        SHARED_PTR const u16 *halves = (SHARED_PTR const u16 *)words;
        v[k] = halves[(k * PLANE_BYTES >> 1) + LID] | (u32)halves[((k + 16u) * PLANE_BYTES >> 1) + LID] << 16;
#else
        SHARED_PTR const u8 *bytes = (SHARED_PTR const u8 *)words + ((k & 7u) + 32u * (k >> 3)) * PLANE_BYTES + LID;
        v[k] = bytes[0] | (u32)bytes[8u * PLANE_BYTES] << 8 | (u32)bytes[16u * PLANE_BYTES] << 16 | (u32)bytes[24u * PLANE_BYTES] << 24;
#endif
    }
#if SIZE == 1 || SIZE == 8
    TRANSPOSE8(v)
    TRANSPOSE8(v + 8)
#else
    TRANSPOSE16(v)
#endif
}

/* word k of the 64 bytes */
INLINE u32 word_of(const u32 *v, u32 k) {
#if SIZE == 1
    u32 from = 8u * (k >> 3) + 4u * (k & 1u), shift = 8u * (k >> 1 & 3u);
    return (v[from] >> shift & 0xffu) | (v[from + 1u] >> shift & 0xffu) << 8 | (v[from + 2u] >> shift & 0xffu) << 16 | (v[from + 3u] >> shift & 0xffu) << 24;
#elif SIZE == 2
    u32 from = 2u * (k & 7u), shift = 16u * (k >> 3);
    return (v[from] >> shift & 0xffffu) | (v[from + 1u] >> shift & 0xffffu) << 16;
#elif SIZE == 4
    return v[k];
#else
    return v[8u * (k & 1u) + (k >> 1)];
#endif
}

INLINE void store_piece(GLOBAL u8 *p, const u32 *v) {
#if ALIGN == 16
    UNROLL
    for (u32 k = 0; k < 16; k += 4) {
        uint4 four;
        four.x = word_of(v, k); four.y = word_of(v, k + 1u); four.z = word_of(v, k + 2u); four.w = word_of(v, k + 3u);
        ((GLOBAL uint4 *)p)[k >> 2] = four;
    }
#else
    UNROLL
    for (u32 k = 0; k < 16; k++) {
        u32 w = word_of(v, k);
#if ALIGN >= 4
        ((GLOBAL u32 *)p)[k] = w;
#elif ALIGN == 2
        ((GLOBAL u16 *)p)[2 * k] = (u16)w;
        ((GLOBAL u16 *)p)[2 * k + 1] = (u16)(w >> 16);
#else
        for (u32 c = 0; c < 4; c++) p[4 * k + c] = (u8)(w >> 8 * c);
#endif
    }
#endif
}
#endif
