/* Windows around peaks to bits, the mean of each bin's other pixels to codes, what is kept to a list in raster order.
 * Every grid: BLOCK = a part of the frame, BLOCK_Y = frame. Bits: words of 32 pixels in raster order; rank, tile_count: of strong.cl, launched in between.
 * f64: sums of float32, means and what they are off, and bounds of pixels, which float32 would round. */

#ifdef CLEAR
/* grid: a thread a word: no window yet, no error yet. */
KERNEL(128) clear(GLOBAL u32 *bits, GLOBAL f32 *background_error, GLOBAL f32 *max_error, GLOBAL const i32 *live, u32 n, u32 words) {
    u32 frame = BLOCK_Y, word = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || word >= words) return;
    bits[(u64)frame * words + word] = 0u;
    if (word == 0u) {
        background_error[frame] = 0.0f;
        max_error[frame] = 0.0f;
    }
}
#endif

#ifdef COVER
#include "features/corner.cl"

/* grid: a thread one row of one window: its bits are set. */
KERNEL(128) cover(GLOBAL const i32 *peak_panel, GLOBAL const PLACE *peak_row, GLOBAL const PLACE *peak_col, GLOBAL const i32 *peak_count,
                  GLOBAL const i32 *live, GLOBAL u32 *bits, i32 half_side, u32 n, u32 panels, u32 rows, u32 cols, u32 cap, u32 words) {
    u32 frame = BLOCK_Y, side = 2u * (u32)half_side + 1u, at = BLOCK * 128u + LID, peak = at / side;
    if (frame >= LIVE_ROWS(live, n) || peak >= cap || (i32)peak >= peak_count[frame]) return;
    u64 entry = (u64)frame * cap + peak;
    i32 panel = peak_panel[entry], row = corner_of(peak_row[entry], half_side) + (i32)(at % side), left = corner_of(peak_col[entry], half_side);
    i32 end = left + (i32)side;
    left = left < 0 ? 0 : left;
    end = end > (i32)cols ? (i32)cols : end;
    if (panel < 0 || panel >= (i32)panels || row < 0 || row >= (i32)rows || left >= end) return;
    u32 base = ((u32)panel * rows + (u32)row) * cols, first = base + (u32)left, last = base + (u32)end - 1u;
    for (u32 word = first / 32u; word <= last / 32u; word++) {
        u32 low = word == first / 32u ? first % 32u : 0u, high = word == last / 32u ? last % 32u : 31u;
        atomic_or_u32(bits + (u64)frame * words + word, (0xffffffffu >> (31u - high)) & (0xffffffffu << low)); /* OR is the same in any order */
    }
}
#endif

#if defined(BIN) || defined(KEEP)
#if CODE_SIGNED
typedef i16 Code;
#else
typedef u16 Code;
#endif
#include "compress/rounded_up.cl"

/* |x - y| of what were floats or whole numbers of 32 bits, exact or larger; lost: what the subtraction rounded off, exactly (Knuth's two-sum) */
INLINE f64 apart(f64 x, f64 y) {
    f64 d = x - y, back = d - x, lost = (x - (d - back)) - (y + back);
    f64 e = d <= 0.0 ? 0.0 - d : d; /* of -0.0, too */
    return d * lost > 0.0 ? e * 1.0000000000000002 : e;
}
/* whether a pixel is a measurement; of floats: and finite */
#if WORD_KIND == 2
#define FINITE(x) is_finite(x)
#else
#define FINITE(x) true
#endif
#if GOOD
#define IS_GOOD(k) (good[k] != 0u)
#else
#define IS_GOOD(k) true
#endif
#if STATUS
#define UNMARKED(k) (pixel_status[k] == 0u)
#else
#define UNMARKED(k) true
#endif
#endif

#ifdef BIN
/* grid: a thread a bin: the mean of its pixels in no window or, where all are in one, of these; its code, the largest error of a frame's means.
 * Warp operations: no thread leaves early. */
KERNEL(128) bin(GLOBAL const WORD *image, GLOBAL const u8 *good, GLOBAL const u8 *pixel_status, GLOBAL const u32 *bits, GLOBAL const i32 *live,
                GLOBAL Code *code, GLOBAL f32 *background_error, f64 step, f64 inverse, f64 most, u32 n, u32 panels, u32 rows, u32 cols, u32 words) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y, at = BLOCK * 128u + LID, down = (rows + BIN_ROWS - 1u) / BIN_ROWS, across = (cols + BIN_COLS - 1u) / BIN_COLS, worst = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    if (at < panels * down * across) {
        u64 base = (u64)frame * panels * rows * cols;
        u32 panel = at / (down * across), top = at / across % down * BIN_ROWS, left = at % across * BIN_COLS, used = 0u, kept = 0u;
        u32 bottom = smaller(top + BIN_ROWS, rows), right = smaller(left + BIN_COLS, cols);
#if WORD_KIND == 2
        f64 total = 0.0, inner = 0.0; /* of pixels in no window, and of those in one */
#else
        i64 total = 0, inner = 0;
#endif
        for (u32 r = top; r < bottom; r++) {
            IN_ORDER
            for (u32 c = left; c < right; c++) {
                u32 pixel = (panel * rows + r) * cols + c;
                WORD x = image[base + pixel];
                bool inside = (bits[(u64)frame * words + pixel / 32u] >> (pixel % 32u) & 1u) != 0u;
                bool use = FINITE(x) & IS_GOOD(pixel) & UNMARKED(base + pixel), plain = use & !inside, within = use & inside;
#if WORD_KIND == 2
                total += plain ? (f64)x : 0.0;
                inner += within ? (f64)x : 0.0;
#else
                total += plain ? (i64)x : (i64)0;
                inner += within ? (i64)x : (i64)0;
#endif
                used += plain ? 1u : 0u;
                kept += within ? 1u : 0u;
            }
        }
        total = used == 0u ? inner : total;
        used = used == 0u ? kept : used;
        f64 mean = (f64)total / (f64)(used == 0u ? 1u : used), q = rint(mean * inverse);
        q = q < (f64)CODE_LOWEST ? (f64)CODE_LOWEST : q;
        q = q > (f64)CODE_HIGHEST ? (f64)CODE_HIGHEST : q;
        f64 e = mean - q * step;
        e = e <= 0.0 ? 0.0 - e : e; /* of -0.0, too */
        if (!(e <= most)) {
            q += mean > q * step ? 1.0 : -1.0;
            e = mean - q * step;
            e = e <= 0.0 ? 0.0 - e : e;
        }
        bool fits = (e <= most) & (q >= (f64)CODE_LOWEST) & (q <= (f64)CODE_HIGHEST);
        i32 whole = fits ? (i32)q : 0;
        u32 word = fits ? (u32)whole : CODE_FILL;
        code[(u64)frame * panels * down * across + at] = (Code)(used == 0u ? CODE_MASKED : word);
        worst = fits & (used != 0u) ? f32_bits(rounded_up(e)) : 0u; /* not negative: ordered like its bits */
    }
    worst = warp_max(w, worst);
    if (LANE == 0u && worst != 0u) atomic_max_u32((GLOBAL u32 *)background_error + frame, worst); /* the same in any order */
}
#endif

#ifdef KEEP
/* grid: BLOCK = 1024 pixels: bit k of word w: pixel 32 w + k is in a window, no measurement, or too far from what its bin's code says; the largest distance of
 * the others. Warp operations: no thread leaves early. */
KERNEL(128) keep(GLOBAL const WORD *image, GLOBAL const u8 *good, GLOBAL const u8 *pixel_status, GLOBAL const u32 *inside, GLOBAL const Code *code,
                 GLOBAL const i32 *live, GLOBAL u32 *bits, GLOBAL f32 *max_error, f32 step, f64 bound, f32 least, f32 largest, u32 n, u32 panels, u32 rows,
                 u32 cols, u32 words) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y, npix = panels * rows * cols, worst = 0u;
    u32 down = (rows + BIN_ROWS - 1u) / BIN_ROWS, across = (cols + BIN_COLS - 1u) / BIN_COLS;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 base = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 pixel = BLOCK * 1024u + k * 128u + LID;
        bool kept = false;
        if (pixel < npix) {
            WORD x = image[base + pixel];
            u32 line = pixel / cols, at = (line / rows * down + line % rows / BIN_ROWS) * across + pixel % cols / BIN_COLS;
            Code q = code[(u64)frame * panels * down * across + at];
            f32 y = (f32)q * step;
#if WORD_KIND != 2
            y = rint_f32(y);
            y = y < least ? least : y;
            y = y > largest ? largest : y;
#endif
            bool plain = (inside[(u64)frame * words + pixel / 32u] >> (pixel % 32u) & 1u) == 0u;
            plain = plain & FINITE(x) & UNMARKED(base + pixel) & (q != (Code)CODE_FILL);
            f64 e = plain ? apart((f64)x, (f64)y) : 0.0;
            plain = plain & (e <= bound);
            kept = !plain & IS_GOOD(pixel);
            u32 far = plain & IS_GOOD(pixel) ? f32_bits(rounded_up(e)) : 0u;
            worst = far > worst ? far : worst;
        }
        u32 all = warp_ballot(w, kept);
        if (LANE == 0u && pixel / 32u < words) bits[(u64)frame * words + pixel / 32u] = all;
    }
    worst = warp_max(w, worst);
    if (LANE == 0u && worst != 0u) atomic_max_u32((GLOBAL u32 *)max_error + frame, worst); /* the same in any order */
}
#endif

#ifdef PACK
/* grid: a thread a word of bits: its pixels to their places in the list; and whether all of them, and all peaks, have one. */
KERNEL(128) pack(GLOBAL const UNIT *image, GLOBAL const u32 *bits, GLOBAL const u32 *rank, GLOBAL const u32 *tile_count, GLOBAL const i32 *count,
                 GLOBAL const i32 *peak_count, GLOBAL const i32 *live, GLOBAL UNIT *roi, GLOBAL u32 *frame_status, u32 n, u32 npix, u32 words, u32 capacity,
                 u32 cap) {
    u32 frame = BLOCK_Y, word = BLOCK * 128u + LID, tiles = (words + 127u) / 128u;
    if (frame >= LIVE_ROWS(live, n) || word >= words) return;
    u32 set = bits[(u64)frame * words + word], place = rank[(u64)frame * words + word] + tile_count[(u64)frame * tiles + BLOCK];
    while (set && place < capacity) {
        roi[(u64)frame * capacity + place] = image[(u64)frame * npix + word * 32u + trailing_zeros(set)];
        set &= set - 1u;
        place++;
    }
#if FRAME_STATUS
    if (word == 0u && (count[frame] > (i32)capacity || peak_count[frame] > (i32)cap)) frame_status[frame] |= FRAME_OUTLIER_OVERFLOW;
#endif
}
#endif
