/* The mean of each ring without its outliers.
 * grid: BLOCK = ring, BLOCK_Y = frame. Pixel j of a ring is thread j % 128's; the first HELD are read once and kept in SHARED, the others again each round.
 * Which pixels are left needs no memory: a pixel is out if any round before left it out. f64: each operation rounded once, results rounded once to f32. */
#define HELD 4096u

#define SUMMAND f64
#include "features/block_sum.cl"

KERNEL(128) sigma_clip(GLOBAL const WORD *image, GLOBAL const u32 *order, GLOBAL const u32 *first, GLOBAL const f64 *cutoff, GLOBAL const u8 *marks,
                       GLOBAL const f32 *normalisation, GLOBAL const i32 *live, GLOBAL f32 *intensity, GLOBAL f32 *all_std, GLOBAL f32 *all_sem,
                       GLOBAL i32 *pixels, u32 n, u32 rings, u32 npix) {
    SHARED f32 held[HELD];
    SHARED f64 part[128], means[MAX_ITER + 1u], most[MAX_ITER + 1u]; /* of the rounds before */
    u32 ring = BLOCK, frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix, to = (u64)frame * rings + ring;
    u32 begin = first[ring], size = first[ring + 1u] - begin;
    f64 mean = 0.0, before = -1.0;
    f32 nan = bits_f32(0x7fc00000u);
    f32 result = nan, std = nan, sem = nan;
    i32 left = 0;
    bool going = true; /* of the block */
    for (u32 turn = 0u; going && turn <= MAX_ITER; turn++) {
        f64 count = 0.0, total = 0.0, norm = 0.0, squares = 0.0, spread = 0.0;
        for (u32 sweep = 0u; sweep < (POISSON ? 1u : 2u); sweep++) {
            for (u32 base = 0u; base < size; base += 128u) {
                u32 j = base + LID;
                if (j < size) {
                    u32 pixel = order[begin + j];
                    f32 x;
                    if ((turn == 0u && sweep == 0u) || j >= HELD) {
                        x = (f32)image[at + pixel];
#if MARKED
                        if (marks[at + pixel]) x = nan;
#endif
                        if (j < HELD) held[j] = x;
                    } else x = held[j];
                    f64 w = WEIGHTED ? (f64)normalisation[pixel] : 1.0, y = (f64)x;
                    bool use = is_finite(x);
                    for (u32 k = 0u; k < turn; k++) {
                        f64 away = y / w - means[k];
                        if ((away < 0.0 ? -away : away) > most[k]) use = false;
                    }
                    if (use) {
                        if (sweep == 0u) {
                            count += 1.0;
                            total += y;
                            norm += w;
                            squares += w * w;
                        } else {
                            f64 away = y - mean * w;
                            spread += away * away;
                        }
                    }
                }
            }
            if (sweep == 0u) {
                count = block_sum(part, count);
                total = block_sum(part, total);
                norm = block_sum(part, norm);
                squares = block_sum(part, squares);
                mean = count > 0.0 ? total / norm : 0.0;
            }
        }
        f64 variance = POISSON ? total : block_sum(part, spread);
        if (count == 0.0) {
            result = nan;
            std = nan;
            sem = nan;
            left = 0;
            going = false;
        } else if (count == before) going = false; /* none was left out: nothing is new */
        else {
            result = (f32)mean;
            left = (i32)count;
            going = variance >= 0.0;
            f64 deviation = sqrt(going ? variance / squares : 0.0);
            std = going ? (f32)deviation : nan;
            sem = going ? (f32)(sqrt(going ? variance : 0.0) / norm) : nan;
            if (LID == 0u) {
                means[turn] = mean;
                most[turn] = cutoff[(u32)count] * deviation;
            }
            before = count;
        }
        SYNC;
    }
    if (LID == 0u) {
        intensity[to] = result;
        all_std[to] = std;
        all_sem[to] = sem;
        pixels[to] = left;
    }
}
