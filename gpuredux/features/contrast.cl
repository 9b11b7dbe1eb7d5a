/* Photon statistics of regions: pixels with 0, 1, 2 ... photons, sums of k and k * k, mean and contrast.
 * grid: BLOCK = region, BLOCK_Y = frame; a thread takes every 128th pixel of the region. Pixels without photons are those left: most have none, and threads
 * that meet in one count wait for each other. f64: mean and contrast, each operation rounded once, in the order that contrast.py tells. */
#define SUMMAND u64
#include "features/block_sum.cl"

KERNEL(128) contrast_of(GLOBAL const WORD *photons, GLOBAL const u8 *marks, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const i32 *live,
                        GLOBAL i32 *pixels, GLOBAL i64 *photon_sum, GLOBAL i64 *photon_sum2, GLOBAL f32 *photon_mean, GLOBAL f32 *contrast,
                        GLOBAL f32 *contrast_pairs, u32 n, u32 regions, u32 npix, u32 most) {
    SHARED u64 part[128];
    SHARED u32 with[256]; /* most + 2 at most */
    u32 region = BLOCK, frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix, to = (u64)frame * regions + region;
    u32 begin = first[region], end = first[region + 1u];
    for (u32 base = 0u; base < most + 2u; base += 128u)
        if (base + LID < most + 2u) with[base + LID] = 0u;
    SYNC;
    u64 total = 0u, total2 = 0u, used = 0u;
    for (u32 base = begin; base < end; base += 128u) {
        u32 j = base + LID;
        if (j < end) {
            u64 pixel = at + order[j];
            u32 k = photons[pixel];
            bool use = true;
#if MARKED
            use = marks[pixel] == 0u;
#endif
            if (use) used++;
            if (use && k) {
                total += k;
                total2 += k * k; /* of 16 bits */
                atomic_add_u32(with + (k < most + 1u ? k : most + 1u), 1u);
            }
        }
    }
    total = block_sum(part, total);
    total2 = block_sum(part, total2);
    used = block_sum(part, used);
    for (u32 base = 0u; base < most + 2u; base += 128u)
        if (base + LID > 0u && base + LID < most + 2u) pixels[to * (most + 2u) + base + LID] = (i32)with[base + LID];
    if (LID == 0u) {
        u32 some = 0u;
        for (u32 k = 1u; k < most + 2u; k++) some += with[k];
        pixels[to * (most + 2u)] = (i32)((u32)used - some);
        photon_sum[to] = (i64)total;
        photon_sum2[to] = (i64)total2;
        f32 nan = bits_f32(0x7fc00000u);
        f64 many = used ? (f64)used : 1.0, mean = (f64)total / many, square = mean * mean, ratio = with[1] ? (f64)with[2] / (f64)with[1] : 0.0;
        f64 below = 1.0 - 2.0 * ratio;
        photon_mean[to] = used ? (f32)mean : nan;
        contrast[to] = total ? (f32)(((f64)total2 / many - square - mean) / square) : nan;
        contrast_pairs[to] = with[1] && below != 0.0 ? (f32)((2.0 * ratio / mean - 1.0) / below) : nan;
    }
}
