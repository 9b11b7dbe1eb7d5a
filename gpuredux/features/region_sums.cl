/* count, sum, sum of squares, moments, extremes of the good pixels of regions; what users ask of them. Whole numbers: no order changes a bit.
 * f64: what is derived from sums beyond 2^24, each operation rounded once, results rounded once to f32. */
#define FLOAT (WORD_KIND == 2)

typedef struct {
    i64 sum, down, across; /* of q, q * row, q * col: 4096 pixels of 2^32 * 65535 stay within 64 bits */
    u64 low, high;         /* of the halves of q * q */
    u32 pixels, above, saturated, least, most; /* extremes as keys; least as the largest of the keys turned round */
} Sums;

/* a u32 in the order of the values: of a float its bits, the sign turned; -0 as +0 */
INLINE u32 key_of(WORD x) {
#if FLOAT
    return f32_key(x + 0.0f);
#else
    return WORD_KIND == 1 ? (u32)(i32)x ^ 0x80000000u : (u32)x;
#endif
}

INLINE WORD of_key(u32 key) {
#if FLOAT
    return key_f32(key);
#else
    return (WORD)(WORD_KIND == 1 ? key ^ 0x80000000u : key);
#endif
}

#include "features/corner.cl"

#ifndef DERIVE

/* 1 for a pixel whose value is more units than 32 bits count */
INLINE u32 sums_add(Sums *s, WORD x, u32 status, u32 use, u32 row, u32 col, f32 inverse, LIMIT threshold) {
    u32 beyond = 0u;
    s->saturated += status & PIXEL_SATURATED ? use : 0u;
    if (!use || status) return 0u;
#if FLOAT
    if (!is_finite(x)) return 0u;
    bool over;
    i64 q = whole_units(x, inverse, &over);
    beyond = over ? 1u : 0u;
    s->above += x > threshold ? 1u : 0u;
#else
    i64 q = (i64)x;
    s->above += q > threshold ? 1u : 0u;
#endif
    u64 square = (u64)q * (u64)q;
    u32 key = key_of(x);
    s->pixels++;
    s->sum += q; s->down += q * (i64)row; s->across += q * (i64)col;
    s->low += square & 0xffffffffu; s->high += square >> 32;
    s->least = ~key > s->least ? ~key : s->least;
    s->most = key > s->most ? key : s->most;
    return beyond;
}

INLINE u64 warp_sum_u64(Warp w, u64 v) {
    for (u32 mask = 16; mask; mask >>= 1) {
        u32 low = warp_shuffle_xor(w, (u32)v, mask), high = warp_shuffle_xor(w, (u32)(v >> 32), mask);
        v += (u64)high << 32 | low;
    }
    return v;
}

/* grid: BLOCK = frame * tiles of 4 parts + tile; a warp takes a part. `wide` of its lanes walk along one run, the others along the next ones.
 * given: 1 pixel_status, 2 good, 4 frame_status: no defines, so that there are fewer kernels.
 * half_side is no define: of windows of one pixel, known when it compiles, Intel's CPU runtime counts every lane (tried).
 * A part is PART pixels of a region at most, or (PEAKS) the window around a peak. */
KERNEL(128) region_parts(GLOBAL const WORD *frames, GLOBAL const u8 *pixel_status, GLOBAL const u8 *good, GLOBAL const i32 *span, GLOBAL const i32 *part_of,
                         GLOBAL const i32 *peak_panel, GLOBAL const PLACE *peak_row, GLOBAL const PLACE *peak_col, GLOBAL const i32 *peak_count,
                         GLOBAL u32 *frame_status, GLOBAL const i32 *live, GLOBAL u64 *whole, GLOBAL u32 *some, f32 inverse, LIMIT threshold, i32 half_side,
                         u32 given, u32 wide, u32 parts, u32 n, u32 panels, u32 rows, u32 cols) {
    WARP_SCRATCH(w, 128);
    u32 tiles = (parts + 3u) / 4u, part = BLOCK % tiles * 4u + WARP, frame = BLOCK / tiles, lane = LANE & (wide - 1u), beyond = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 npix = (u64)panels * rows * cols, base = frame * npix;
    Sums s;
    s.sum = s.down = s.across = 0;
    s.low = s.high = 0u;
    s.pixels = s.above = s.saturated = s.least = s.most = 0u;
    u32 first = LANE / wide, end = 0u, side = 2u * (u32)half_side + 1u;
#if PEAKS
    i32 panel = 0, top = 0, left = 0;
    u64 at = (u64)frame * parts + part;
    if (part < parts && (i32)part < peak_count[frame]) {
        panel = peak_panel[at]; top = corner_of(peak_row[at], half_side); left = corner_of(peak_col[at], half_side);
        end = panel >= 0 && (u32)panel < panels ? side : 0u;
    }
    for (u32 k = first; k < end; k += 32u / wide) {
        i32 row = top + (i32)k;
        u32 length = row >= 0 && row < (i32)rows ? side : 0u;
        i64 start = ((i64)panel * rows + row) * cols + left;
#else
    if (part < parts) {
        first += (u32)part_of[4u * part + 1u];
        end = (u32)part_of[4u * part + 2u];
    }
    for (u32 k = first; k < end; k += 32u / wide) {
        u32 length = (u32)span[4u * k + 1u];
        i64 start = span[4u * k];
#endif
        for (u32 j = lane; j < length; j += wide) {
#if PEAKS
            u32 down = k, across = j;
            bool inside = left + (i32)j >= 0 && left + (i32)j < (i32)cols;
#else
            bool inside = true;
            u32 down = (u32)span[4u * k + 2u], across = (u32)span[4u * k + 3u] + j;
#endif
            if (inside) {
                u64 pixel = (u64)(start + (i64)j);
                u32 status = given & 1u ? pixel_status[base + pixel] : 0u, use = given & 2u ? good[pixel] : 1u;
                beyond |= sums_add(&s, frames[base + pixel], status, use, down, across, inverse, threshold);
            }
        }
    }
    s.sum = (i64)warp_sum_u64(w, (u64)s.sum); s.down = (i64)warp_sum_u64(w, (u64)s.down); s.across = (i64)warp_sum_u64(w, (u64)s.across);
    s.low = warp_sum_u64(w, s.low); s.high = warp_sum_u64(w, s.high);
    s.pixels = warp_sum(w, s.pixels); s.above = warp_sum(w, s.above); s.saturated = warp_sum(w, s.saturated);
    s.least = warp_max(w, s.least); s.most = warp_max(w, s.most);
    if (beyond && given & 4u) atomic_or_u32(frame_status + frame, FRAME_BEYOND_UNIT);
    if (LANE == 0u && part < parts) {
        GLOBAL u64 *a = whole + 5u * ((u64)frame * parts + part);
        GLOBAL u32 *b = some + 5u * ((u64)frame * parts + part);
        a[0] = (u64)s.sum; a[1] = (u64)s.down; a[2] = (u64)s.across; a[3] = s.low; a[4] = s.high;
        b[0] = s.pixels; b[1] = s.above; b[2] = s.saturated; b[3] = s.least; b[4] = s.most;
    }
}
#else

/* high * 2^32 + low as one f64, low carried into high first: a function of the exact number alone */
INLINE f64 as_real(i64 high, u64 low) {
    high += (i64)(low >> 32);
    return (f64)high * 4294967296.0 + (f64)(low & 0xffffffffu);
}

/* grid: a thread a region of a frame adds its parts and derives what is asked. */
KERNEL(128) region_derive(GLOBAL const u64 *whole, GLOBAL const u32 *some, GLOBAL const i32 *box, GLOBAL const i32 *peak_panel, GLOBAL const PLACE *peak_row,
                          GLOBAL const PLACE *peak_col, GLOBAL const i32 *peak_count, GLOBAL const i32 *live, GLOBAL i32 *region_pixels,
                          GLOBAL i32 *region_above, GLOBAL i32 *region_saturated, GLOBAL TOTAL *region_sum, GLOBAL f32 *region_mean,
                          GLOBAL f32 *region_variance, GLOBAL WORD *region_min, GLOBAL WORD *region_max, GLOBAL f32 *region_row, GLOBAL f32 *region_col,
                          f32 unit, i32 half_side, u32 regions, u32 parts, u32 n) {
    u64 at = (u64)BLOCK * 128u + LID;
    u32 frame = (u32)(at / regions), region = (u32)(at % regions);
    if (frame >= LIVE_ROWS(live, n)) return;
    f32 nan = bits_f32(0x7fc00000u);
#if PEAKS
    bool listed = (i32)region < peak_count[frame];
    i32 top = 0, left = 0;
    u32 first = region, end = region + 1u;
    if (listed) { top = corner_of(peak_row[at], half_side); left = corner_of(peak_col[at], half_side); }
    else nan = 0.0f; /* behind the last peak all is 0 */
#else
    bool listed = true;
    i32 top = box[4u * region], left = box[4u * region + 1u];
    u32 first = (u32)box[4u * region + 2u], end = (u32)box[4u * region + 3u];
#endif
    i64 sum = 0, down = 0, across = 0;
    u64 low = 0u, high = 0u, down_low = 0u, across_low = 0u;
    u32 pixels = 0u, above = 0u, saturated = 0u, least = 0u, most = 0u;
    for (u32 k = first; k < end; k++) {
        GLOBAL const u64 *a = whole + 5u * ((u64)frame * parts + k);
        GLOBAL const u32 *b = some + 5u * ((u64)frame * parts + k);
        sum += (i64)a[0]; low += a[3]; high += a[4];
        down += (i64)a[1] >> 32; down_low += a[1] & 0xffffffffu;
        across += (i64)a[2] >> 32; across_low += a[2] & 0xffffffffu;
        pixels += b[0]; above += b[1]; saturated += b[2];
        least = b[3] > least ? b[3] : least;
        most = b[4] > most ? b[4] : most;
    }
    region_pixels[at] = (i32)pixels; region_above[at] = (i32)above; region_saturated[at] = (i32)saturated;
    f64 each = (f64)unit, count = (f64)pixels, mean = (f64)sum / (pixels ? count : 1.0);
    f64 variance = as_real((i64)high, low) / (pixels ? count : 1.0) - mean * mean;
    variance = variance > 0.0 ? variance : 0.0;
    f64 weight = sum ? (f64)sum : 1.0;
    f64 row = (f64)top + as_real(down, down_low) / weight, col = (f64)left + as_real(across, across_low) / weight;
    region_sum[at] = (TOTAL)sum * (TOTAL)unit;
    region_mean[at] = pixels ? (f32)(mean * each) : nan;
    region_variance[at] = pixels ? (f32)(variance * (each * each)) : nan;
    region_min[at] = pixels ? of_key(~least) : FLOAT ? (WORD)nan : (WORD)0;
    region_max[at] = pixels ? of_key(most) : FLOAT ? (WORD)nan : (WORD)0;
    region_row[at] = sum ? (f32)row : nan;
    region_col[at] = sum ? (f32)col : nan;
}
#endif
