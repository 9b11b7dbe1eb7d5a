/* The angle of a jet's streak from sums over sectors, and the pixels under it.
 * f64: what is derived from sums beyond 2^24, in the order of sectors and bins, each operation rounded once, results rounded once to f32. */
#define STEPS 16u
#define MOST_SECTORS 512u
#define MOST_BINS 32u

#ifdef MARK
/* grid: BLOCK = 1024 pixels, BLOCK_Y = frame. status = marks, with STREAK within half_width of the line of the frame's step, if it has one. */
KERNEL(128) jet_mark(GLOBAL const u8 *marks, GLOBAL const f32 *all_x, GLOBAL const f32 *all_y, GLOBAL const f32 *direction, GLOBAL const i32 *steps,
                     GLOBAL const i32 *live, GLOBAL u8 *status, f32 half_width, f32 reach, u32 marked, u32 npix, u32 n) {
    u32 frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    i32 step = steps[frame];
    f32 cosine = direction[step < 0 ? 0 : 2 * step], sine = direction[step < 0 ? 1 : 2 * step + 1];
    u64 at = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 pixel = BLOCK * 1024u + k * 128u + LID;
        if (pixel < npix) {
            u32 bits = marked ? marks[at + pixel] : 0u;
            if (step >= 0) {
                f32 x = all_x[pixel], y = all_y[pixel];
                if (abs_f32(x * sine - y * cosine) <= half_width && x * x + y * y <= reach) bits |= PIXEL_STREAK;
            }
            status[at + pixel] = (u8)bits;
        }
    }
}
#else

/* grid: BLOCK = frame. Threads take the radial bins, then the sectors; the first thread looks for the brightest. */
KERNEL(128) jet_streak(GLOBAL const i64 *all_signal, GLOBAL const i32 *all_pixels, GLOBAL const i32 *live, GLOBAL f32 *streak_angle, GLOBAL f32 *streak_score,
                       GLOBAL i32 *steps, f64 unit, f32 threshold, u32 sectors, u32 bins, u32 apart, u32 min_pixels, u32 n) {
    SHARED f64 means[MOST_BINS], excess[MOST_SECTORS];
    SHARED u32 some[MOST_SECTORS];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const i64 *signal = all_signal + (u64)frame * sectors * bins;
    GLOBAL const i32 *pixels = all_pixels + (u64)frame * sectors * bins;
    if (LID < bins) {
        i64 total = 0, count = 0;
        for (u32 s = 0u; s < sectors; s++) {
            total += signal[s * bins + LID];
            count += pixels[s * bins + LID];
        }
        means[LID] = count > 0 ? (f64)total * unit / (f64)count : 0.0;
    }
    SYNC;
    for (u32 base = 0u; base < sectors; base += 128u) {
        u32 s = base + LID;
        if (s < sectors) {
            f64 away = 0.0;
            u32 count = 0u;
            IN_ORDER
            for (u32 r = 0u; r < bins; r++) {
                away += (f64)signal[s * bins + r] * unit - means[r] * (f64)pixels[s * bins + r];
                count += (u32)pixels[s * bins + r];
            }
            excess[s] = count ? away / (f64)count : 0.0;
            some[s] = count;
        }
    }
    SYNC;
    if (LID == 0u) {
        u32 best = sectors;
        for (u32 s = 0u; s < sectors; s++)
            if (some[s] >= min_pixels && (best == sectors || excess[s] > excess[best])) best = s;
        f64 others = 0.0, total = 0.0, squares = 0.0;
        IN_ORDER
        for (u32 s = 0u; s < sectors; s++) {
            u32 away = s > best ? s - best : best - s;
            if (best < sectors && some[s] >= min_pixels && smaller(away, sectors - away) >= apart) {
                others += 1.0;
                total += excess[s];
            }
        }
        f64 mean = others > 0.0 ? total / others : 0.0;
        IN_ORDER
        for (u32 s = 0u; s < sectors; s++) {
            u32 away = s > best ? s - best : best - s;
            if (best < sectors && some[s] >= min_pixels && smaller(away, sectors - away) >= apart) squares += (excess[s] - mean) * (excess[s] - mean);
        }
        f32 nan = bits_f32(0x7fc00000u), angle = nan, score = nan;
        i32 step = -1;
        if (others >= 3.0) {
            f64 spread = sqrt(squares / others), above = excess[best] - mean, offset = 0.0;
            score = spread > 0.0 ? (f32)(above / spread) : above > 0.0 ? bits_f32(0x7f800000u) : 0.0f;
            u32 before = (best + sectors - 1u) % sectors, after = (best + 1u) % sectors;
            if (some[before] >= min_pixels && some[after] >= min_pixels) {
                f64 bend = (excess[before] - excess[best]) + (excess[after] - excess[best]);
                offset = bend < 0.0 ? 0.5 * (excess[before] - excess[after]) / bend : 0.0;
            }
            step = (i32)((u32)(((f64)best + 0.5 + offset) * (f64)STEPS + 0.5) % (sectors * STEPS));
            angle = (f32)((f64)step * (180.0 / (f64)(sectors * STEPS)));
        }
        streak_angle[frame] = angle;
        streak_score[frame] = score;
        steps[frame] = score >= threshold ? step : -1;
    }
}
#endif
