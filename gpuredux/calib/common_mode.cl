/* Over 200 lines: loading, three statistics over whole blocks and over single threads, storing.
 * energy - modes of a bank, of its rows and of its columns: a median, a mean or the peak of a histogram of what was counted.
 *
 * grid: BLOCK = frame + n * bank, blocks of THREADS threads. A block loads its bank once, NaN in place of pixels that are not used, does the
 * steps in SHARED (IN_GLOBAL: where it is too large for that, in the output) and writes it once. A row or a column belongs to one thread, the whole
 * bank to all. TURNED, where the compiler makes vectors of threads: rows are searched in a second copy, rows side by side, else rows are
 * LEAD words apart, an odd number, so that no two threads meet in one memory bank.
 *
 * A median is found by counting: each pass counts what is not above a pivot and finds its neighbours on both sides, so that every pass
 * takes at least one value out of the bracket, and interpolation most of them. The pivots decide how long it takes, never what is found. */
#define INFINITE bits_f32(0x7f800000u)
#define NOT_USED bits_f32(0x7fc00000u)
#define PIXELS (ROWS * COLS)
#if IN_GLOBAL
typedef GLOBAL f32 *Work;
#define AT(r, c) ((r) * width + (c))
#define STRIDE width
#define SPAN PIXELS
#define EACH(i) AT((i) / COLS, (i) % COLS)
#else
typedef SHARED_PTR f32 *Work;
#define AT(r, c) ((r) * LEAD + (c))
#define STRIDE ((u32)LEAD)
#define SPAN (ROWS * LEAD) /* what is behind a row is no number */
#define EACH(i) (i)
#endif
/* THREAD: LID as an Index. WALK(i): over the bank's values, neighbours by neighbours; rounds that all threads take, so that compilers see as much */
#if WARP_TIER == 1
#define THREAD LID
#else
#define THREAD (FIRST_PIXEL / VECTOR - (Index)BLOCK * THREADS)
#endif
#define WALK(i)                                                             \
    for (u32 round_ = 0; round_ < (SPAN + THREADS - 1u) / THREADS; round_++) \
        for (Index i = THREAD + round_ * THREADS, once_ = 0; once_ < 1u && i < SPAN; once_++)
#define LEAN 3u /* passes that count alone, before those that look for neighbours */
#if STATISTIC == 1
typedef i64 Total;
#else
typedef u32 Total;
#endif

typedef struct {
    f32 cormax, threshold, bin_width, inverse_width;
    u32 npix_min;
} Limits;

INLINE f32 applied(Limits q, f32 mode, u32 n) { return n > q.npix_min && abs_f32(mode) < q.cormax ? mode + 0.0f : 0.0f; }

#if STATISTIC == 0
/* ------------------------------------------------------------------------------------------------------------- median */
typedef struct {
    f32 pivot, first, last;  /* the wanted value lies from first to last, values of the group once known, else infinite */
    u32 below, upto;         /* how many values are smaller than first, and not above last */
    u32 n, rank, turn;       /* of rank 1 to n, the lower one of the middle */
    f32 reach, low, high;    /* values a rank near the middle; the results */
    bool ending, done;
} Search;

INLINE u32 key_of(f32 x) { u32 b = f32_bits(x); return b >> 31 ? ~b : b | 0x80000000u; }
INLINE f32 of_key(u32 k) { return bits_f32(k >> 31 ? k & 0x7fffffffu : ~k); }

INLINE Search search_begin(f32 guess, f32 spread) {
    Search s;
    s.pivot = guess;
    s.first = -INFINITE; s.last = INFINITE;
    s.below = 0u; s.upto = 0u; s.n = 0u; s.rank = 0u; s.turn = 0u;
    s.reach = spread; s.low = 0.0f; s.high = 0.0f;
    s.ending = false; s.done = false;
    return s;
}

/* n values in all: nothing to do for none */
INLINE void search_size(Search *s, u32 n) {
    s->n = n; s->upto = n;
    s->rank = (n + 1u) / 2u;
    s->reach = s->reach / (f32)(n ? n : 1u);
    s->done = n == 0u;
}

/* count values are not above the pivot: a better one, by the slope */
INLINE void search_lean(Search *s, u32 count, f32 threshold) {
    f32 p = s->pivot + s->reach * ((f32)s->rank - (s->n & 1u ? 0.5f : 0.0f) - (f32)count);
    s->pivot = p < threshold ? p : threshold;
}

/* count values are not above the pivot, the largest of them `under`, and the smallest of the others `over` */
INLINE void search_step(Search *s, u32 count, f32 under, f32 over) {
    bool even = (s->n & 1u) == 0u;
    if (s->done) return;
    if (s->ending) {
        s->high = count > s->rank ? s->low : over;
        s->done = true;
        return;
    }
    if (count == s->rank && even) {
        s->low = under; s->high = over; s->done = true;
        return;
    }
    if (count >= s->rank) { s->upto = count; s->last = under; }
    else { s->below = count; s->first = over; }
    bool at_first = s->below + 1u == s->rank && s->first > -INFINITE, at_last = s->upto == s->rank && s->last < INFINITE;
    if (s->first == s->last || at_first || at_last) {
        s->low = at_first ? s->first : s->last;
        s->high = s->low;
        s->ending = even && !(s->first == s->last && s->upto > s->rank);
        s->done = !s->ending;
        s->pivot = s->low;
        return;
    }
    f32 p = s->pivot + s->reach * ((f32)s->rank + (even ? 0.5f : 0.0f) - (f32)count);
    s->turn++;
    if (s->first > -INFINITE && s->last < INFINITE) {
        f32 part = ((f32)(s->rank - s->below) - (even ? 0.5f : 1.0f)) / (f32)(s->upto - s->below);
        p = s->first + (s->last - s->first) * part;
        if (s->turn > 6u && s->turn % 3u == 0u) p = of_key(key_of(s->first) / 2u + key_of(s->last) / 2u);
    } else if (s->turn > 3u) s->reach *= 4.0f;
    if (!(p >= s->first && p < s->last)) {      /* of what is sure to make progress, the one beside */
        if (s->first > -INFINITE) p = s->first;
        else p = s->last == 0.0f ? -bits_f32(1u) : of_key(key_of(s->last) - 1u);
    }
    s->pivot = p;
}

INLINE f32 search_mode(const Search *s, Limits q) {
    f32 middle = (s->n & 1u) ? s->low : (s->low + s->high) * 0.5f;
    return applied(q, middle, s->n);
}

/* one thread: the mode of `size` values `stride` apart */
INLINE f32 mode_alone(Work v, u32 size, u32 stride, Limits q, f32 guess, f32 spread) {
    Search s = search_begin(guess, spread);
    u32 n = 0u, first = 0u;
    for (u32 i = 0; i < size; i++) {
        f32 x = v[(Index)i * stride];
        n += x <= q.threshold ? 1u : 0u;
        first += x <= guess ? 1u : 0u;
    }
    search_size(&s, n > q.npix_min ? n : 0u);
    search_lean(&s, first, q.threshold);
    for (u32 k = 1; k < LEAN; k++) {
        u32 count = 0u;
        f32 p = s.pivot;
        for (u32 i = 0; i < size; i++) count += v[(Index)i * stride] <= p ? 1u : 0u;
        search_lean(&s, count, q.threshold);
    }
    while (!s.done) {
        u32 count = 0u;
        f32 under = -INFINITE, over = INFINITE, p = s.pivot;
        for (u32 i = 0; i < size; i++) {
            f32 x = v[(Index)i * stride];
            count += x <= p ? 1u : 0u;
            under = x <= p && x > under ? x : under;
            over = x > p && x < over ? x : over;
        }
        search_step(&s, count, under, over);
    }
    return search_mode(&s, q);
}
#elif STATISTIC == 1
/* --------------------------------------------------------------------------------------------------------- mean_below */
INLINE void mean_add(f32 x, Limits q, i64 *total, u32 *n) {
    bool counted = x <= q.threshold && abs_f32(x) < 67108864.0f;
    *total += counted ? (i64)rint_f32(x * 65536.0f) : 0;
    *n += counted ? 1u : 0u;
}

/* in float64, where the quotient is correctly rounded on every device; then rounded once more */
INLINE f32 mean_mode(i64 total, u32 n, Limits q) { return applied(q, (f32)((f64)total / (f64)(n ? n : 1u) * 0.0000152587890625), n); }

INLINE f32 mode_alone(Work v, u32 size, u32 stride, Limits q, f32 guess, f32 spread) {
    i64 total = 0;
    u32 n = 0u;
    for (u32 i = 0; i < size; i++) mean_add(v[i * stride], q, &total, &n);
    return mean_mode(total, n, q);
}
#endif

#if STATISTIC == 2
/* ---------------------------------------------------------------------------------------------------------- zero_peak
 * of a bin: the larger one wins, for it was filled more often, or as often and comes earlier in 0, -1, 1, -2 ... */
INLINE u32 peak_mark(i32 bin, u32 count) { return count << 9 | (511u - (bin < 0 ? 2u * (u32)-bin - 1u : 2u * (u32)bin)); }

INLINE f32 peak_mode(u32 best, u32 n, Limits q) {
    u32 order = 511u - (best & 511u);
    i32 bin = order & 1u ? -(i32)((order + 1u) / 2u) : (i32)(order / 2u);
    return applied(q, n ? (f32)bin * q.bin_width : 0.0f, n);
}

/* the bin, or 999 for what is not counted */
INLINE i32 peak_bin(f32 x, Limits q) {
    f32 bin = rint_f32(x * q.inverse_width);
    return x <= q.threshold && abs_f32(bin) <= 127.0f ? (i32)bin : 999;
}

/* each value's bin is counted by a walk over all: slow, and without a histogram for each thread; rows and columns are short */
INLINE f32 mode_alone(Work v, u32 size, u32 stride, Limits q, f32 guess, f32 spread) {
    u32 best = 0u, n = 0u;
    for (u32 i = 0; i < size; i++) {
        i32 bin = peak_bin(v[i * stride], q);
        if (bin != 999) {
            u32 count = 0u;
            for (u32 k = 0; k < size; k++) count += peak_bin(v[k * stride], q) == bin ? 1u : 0u;
            u32 mark = peak_mark(bin, count);
            best = mark > best ? mark : best;
            n++;
        }
    }
    return peak_mode(best, n, q);
}
#endif

/* ---------------------------------------------------------------------------------------------------- over the block
 * 16 sums of every 16th thread's, then one, so that neighbours read neighbours; a SYNC comes first, so that `part` may be used again */
#define FOLD(part, mine, TYPE, result, MORE)                                     \
    do {                                                                         \
        SYNC;                                                                    \
        (part)[LID] = (mine);                                                    \
        SYNC;                                                                    \
        if (LID < 16u) {                                                         \
            TYPE t_ = (part)[LID];                                               \
            for (u32 k_ = 16u; k_ < THREADS; k_ += 16u) { TYPE o_ = (part)[k_ + LID]; t_ = MORE; } \
            (part)[THREADS + LID] = t_;                                          \
        }                                                                        \
        SYNC;                                                                    \
        TYPE t_ = (part)[THREADS];                                               \
        for (u32 k_ = 1u; k_ < 16u; k_++) { TYPE o_ = (part)[THREADS + k_]; t_ = MORE; } \
        (result) = t_;                                                           \
    } while (0)

typedef struct {
    SHARED_PTR Total *total;
    SHARED_PTR f32 *value;
    SHARED_PTR u32 *bin;
} Parts; /* THREADS + 16 of total, twice as many of value; 256 of bin */

#if STATISTIC == 2
/* of the bank, by all threads */
INLINE f32 mode_together(Work work, u32 width, Limits q, Parts part, f32 *guess, f32 spread) {
    for (u32 i = LID; i < 256u; i += THREADS) part.bin[i] = 0u;
    SYNC;
    WALK(i) {
        i32 bin = peak_bin(work[EACH(i)], q);
        if (bin != 999) atomic_add_u32(part.bin + (u32)(bin + 127), 1u); /* whole numbers: the same in any order */
    }
    SYNC;
    u32 best = 0u, n = 0u;
    for (u32 i = LID; i < 255u; i += THREADS) {
        u32 mark = peak_mark((i32)i - 127, part.bin[i]);
        best = mark > best ? mark : best;
        n += part.bin[i];
    }
    FOLD(part.total, best, u32, best, o_ > t_ ? o_ : t_);
    FOLD(part.total, n, u32, n, t_ + o_);
    return peak_mode(best, n, q);
}
#elif STATISTIC == 1
INLINE f32 mode_together(Work work, u32 width, Limits q, Parts part, f32 *guess, f32 spread) {
    i64 total = 0;
    u32 n = 0u, all = 0u;
    WALK(i) mean_add(work[EACH(i)], q, &total, &n);
    FOLD(part.total, total, i64, total, t_ + o_);
    FOLD(part.total, (i64)n, i64, all, t_ + o_);
    return mean_mode(total, all, q);
}
#else
/* three FOLDs in one: a sum, the largest, the smallest */
INLINE void fold_neighbours(Parts part, u32 *count, f32 *under, f32 *over) {
    SHARED_PTR f32 *low = part.value, *high = part.value + THREADS + 16;
    SYNC;
    part.total[LID] = *count; low[LID] = *under; high[LID] = *over;
    SYNC;
    if (LID < 16u) {
        u32 n = part.total[LID];
        f32 a = low[LID], b = high[LID];
        for (u32 k = 16u + LID; k < THREADS; k += 16u) {
            n += part.total[k];
            a = low[k] > a ? low[k] : a;
            b = high[k] < b ? high[k] : b;
        }
        part.total[THREADS + LID] = n; low[THREADS + LID] = a; high[THREADS + LID] = b;
    }
    SYNC;
    u32 n = 0u;
    f32 a = -INFINITE, b = INFINITE;
    for (u32 k = THREADS; k < THREADS + 16u; k++) {
        n += part.total[k];
        a = low[k] > a ? low[k] : a;
        b = high[k] < b ? high[k] : b;
    }
    *count = n; *under = a; *over = b;
}

INLINE f32 mode_together(Work work, u32 width, Limits q, Parts part, f32 *guess, f32 spread) {
    Search s = search_begin(*guess, spread);
    u32 n = 0u, first = 0u;
    WALK(i) {
        f32 x = work[EACH(i)];
        n += x <= q.threshold ? 1u : 0u;
        first += x <= *guess ? 1u : 0u;
    }
    FOLD(part.total, n, u32, n, t_ + o_);
    FOLD(part.total, first, u32, first, t_ + o_);
    search_size(&s, n > q.npix_min ? n : 0u);
    search_lean(&s, first, q.threshold);
    for (u32 k = 1; k < LEAN; k++) {
        u32 count = 0u;
        f32 p = s.pivot;
        WALK(i) count += work[EACH(i)] <= p ? 1u : 0u;
        FOLD(part.total, count, u32, count, t_ + o_);
        search_lean(&s, count, q.threshold);
    }
    while (!s.done) { /* the same for all threads: they fold the same numbers */
        u32 count = 0u;
        f32 under = -INFINITE, over = INFINITE, p = s.pivot;
        WALK(i) {
            f32 x = work[EACH(i)];
            count += x <= p ? 1u : 0u;
            under = x <= p && x > under ? x : under;
            over = x > p && x < over ? x : over;
        }
        fold_neighbours(part, &count, &under, &over);
        search_step(&s, count, under, over);
    }
    f32 mode = search_mode(&s, q);
    *guess = *guess - mode;
    return mode;
}
#endif

INLINE bool is_used(f32 x, u32 bits, GLOBAL const u8 *good, u64 pixel) {
    bool used = abs_f32(x) < INFINITE;
#if STATUS
    used = used && STATUS_OF(bits) == 0u;
#endif
#if STAGES
    used = used && !(STAGE_OF(bits) < 32u && (EXCLUDED >> STAGE_OF(bits) & 1u));
#endif
#if GOOD
    used = used && good[pixel] != 0;
#endif
    return used;
}

/* AGAIN: pixels are loaded a second time at the end: their gain stages are wanted, or the output held the bank. Else a pixel that is not used
 * is written as soon as it is seen, and no more. Never a LOAD in a branch: PoCL 3.1 lost what stood beside it (tried: zeros). */
#define AGAIN (IN_GLOBAL || (PLANES > 0 && STAGES))

/* what a pixel becomes: y, corrected, or what it was, x; then by its stage's gain */
INLINE f32 result_of(f32 y, f32 x, u32 bits, GLOBAL const f32 *per_gain, u64 pixel, u32 npix) {
    f32 z = y == y ? y : x;
#if PLANES
    u32 stage = 0u;
#if STAGES
    stage = STAGE_OF(bits);
#endif
#if STATUS
    if (STATUS_OF(bits)) return z;
#endif
    z = stage < PLANES ? z * per_gain[(u64)(stage < PLANES ? stage : 0u) * npix + pixel] : NOT_USED;
    z = z == z ? z : NOT_USED;
#endif
    return z;
}

/* ------------------------------------------------------------------------------------------------------- the three steps */
#if REPORT
#define REPORT_MODE(at, m) modes[at] = m
#else
#define REPORT_MODE(at, m) (void)modes
#endif
#define STEP_PARAMS Work work, GLOBAL f32 *modes, u32 width, Limits q, Parts part, f32 *guess, f32 spread

INLINE void step_bank(STEP_PARAMS) {
    f32 m = mode_together(work, width, q, part, guess, spread);
    WALK(i) work[EACH(i)] -= m;
    if (LID == 0u) REPORT_MODE(0, m);
    SYNC;
}

/* TURNED: each thread turns its own rows, and turns them back */
INLINE void step_rows(STEP_PARAMS) {
    for (Index r = THREAD; r < ROWS; r += THREADS) {
#if TURNED
        Work row = work + ROWS * LEAD + r;
        for (u32 c = 0; c < COLS; c++) row[c * ROWS] = work[AT(r, c)];
        f32 m = mode_alone(row, COLS, ROWS, q, *guess, spread);
#else
        f32 m = mode_alone(work + AT(r, 0u), COLS, 1u, q, *guess, spread);
#endif
        for (u32 c = 0; c < COLS; c++) work[AT(r, c)] -= m;
        REPORT_MODE(1u + r, m);
    }
    SYNC;
}

INLINE void step_cols(STEP_PARAMS) {
    for (Index c = THREAD; c < COLS; c += THREADS) {
        f32 m = mode_alone(work + c, ROWS, STRIDE, q, *guess, spread);
        for (u32 r = 0; r < ROWS; r++) work[AT(r, c)] -= m;
        REPORT_MODE(1u + ROWS + c, m);
    }
    SYNC;
}
#define step_none(...)

#if STATISTIC == 0
/* 64 values from all over the bank: their median, and how many values apart ranks of the whole lie there. For a search to begin with. */
INLINE void sample(Work work, u32 width, Parts part, f32 *guess, f32 *spread) {
    if (LID < 64u) part.value[LID] = work[AT(LID * ROWS / 64u, LID * 29u % COLS)];
    if (LID < 3u) part.value[64u + LID] = 0.0f;
    SYNC;
    if (LID < 64u) {
        f32 mine = part.value[LID];
        u32 before = 0u, n = 0u;
        for (u32 k = 0; k < 64u; k++) {
            f32 x = part.value[k];
            n += x == x ? 1u : 0u;
            before += x < mine || (x == mine && k < LID) ? 1u : 0u;
        }
        if (mine == mine) {
            if (before == n / 2u) part.value[64] = mine;
            if (before == n / 4u) part.value[65] = mine;
            if (before == n - 1u - n / 4u) part.value[66] = mine;
        }
    }
    SYNC;
    *guess = part.value[64];
    *spread = 2.0f * (part.value[66] - part.value[65]);
}
#else
INLINE void sample(Work work, u32 width, Parts part, f32 *guess, f32 *spread) {}
#endif

#define GROUPS ((COLS + 2 * VECTOR - 2) / VECTOR) /* of VECTOR pixels, that a row of the bank can touch */

KERNEL_PIXELS(THREADS) common_mode(LOAD_PARAMS, GLOBAL const u8 *good, GLOBAL const f32 *per_gain, GLOBAL f32 *common_mode, GLOBAL u32 *frame_status,
                                   GLOBAL const i32 *live, GLOBAL f32 *energy, f32 cormax, f32 threshold, f32 bin_width, f32 inverse_width,
                                   u32 npix_min, u32 n, u32 npix, u32 width) {
    u32 frame = BLOCK % n, bank = BLOCK / n, across = width / COLS;
    if (frame >= LIVE_ROWS(live, n)) return;
    SHARED Total totals[THREADS + 16];
    SHARED f32 values[2 * (THREADS + 16)];
    SHARED u32 bins[STATISTIC == 2 ? 256 : 1];
    Parts part = {totals, values, bins};
    Limits q = {cormax, threshold, bin_width, inverse_width, npix_min};
    u32 origin = bank / across * ROWS * width + bank % across * COLS;
#if IN_GLOBAL
    Work work = energy + (u64)frame * npix + origin;
#else
    SHARED_BYTES(words);
    Work work = (Work)words;
#endif
    u32 seen = 0u;
    Held held; /* not in the loops: PoCL 3.1 mixed up what the pixels of a bank held (tried: zeros in place of 160 of them) */
    f32 x[VECTOR];
    u32 bits[VECTOR];
#if VECTOR == 1 /* a thread a column: neighbours read neighbours */
    for (Index c = THREAD; c < COLS; c += THREADS)
        for (u32 r = 0; r < ROWS; r++) {
            Index pixel = (Index)origin + r * width + c;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            seen |= STATUS_OF(bits[0]);
            bool used = is_used(x[0], bits[0], good, pixel);
            work[AT(r, c)] = used ? x[0] : NOT_USED;
            if (!AGAIN && !used) energy[(u64)frame * npix + pixel] = result_of(NOT_USED, x[0], bits[0], per_gain, pixel, npix);
        }
#else
    for (u32 round = 0; round < (ROWS * GROUPS + THREADS - 1u) / THREADS; round++) {
        u32 g = round * THREADS + LID, r = g / GROUPS, start = origin + r * width, pixel = (start / VECTOR + g % GROUPS) * VECTOR;
        if (r < ROWS && pixel < start + COLS) {
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            for (u32 k = 0; k < VECTOR; k++) {
                seen |= STATUS_OF(bits[k]);
                if (pixel + k >= start && pixel + k < start + COLS) {
                    bool used = is_used(x[k], bits[k], good, pixel + k);
                    work[AT(r, pixel + k - start)] = used ? x[k] : NOT_USED;
                    if (!AGAIN && !used) energy[(u64)frame * npix + pixel + k] = result_of(NOT_USED, x[k], bits[k], per_gain, pixel + k, npix);
                }
            }
        }
    }
#endif
#if !IN_GLOBAL && LEAD > COLS
    for (u32 r = LID; r < ROWS; r += THREADS) work[AT(r, COLS)] = NOT_USED;
#endif
#if CARRY_STATUS
    if (seen & PIXEL_FROM_DATA) atomic_or_u32(frame_status + frame, seen & PIXEL_FROM_DATA);
#endif
    SYNC;
    f32 guess = 0.0f, spread = 1.0f;
    sample(work, width, part, &guess, &spread);
    GLOBAL f32 *modes = common_mode + ((u64)frame * (npix / PIXELS) + bank) * (1u + ROWS + COLS);
    (void)modes;
#if REPORT
    for (u32 i = LID; i < 1u + ROWS + COLS; i += THREADS) modes[i] = 0.0f;
    SYNC;
#endif
    FIRST_STEP(work, modes, width, q, part, &guess, spread);
    SECOND_STEP(work, modes, width, q, part, &guess, spread);
    THIRD_STEP(work, modes, width, q, part, &guess, spread);
#if VECTOR == 1
    for (Index c = THREAD; c < COLS; c += THREADS)
        for (u32 r = 0; r < ROWS; r++) {
            Index pixel = (Index)origin + r * width + c;
            f32 y = work[AT(r, c)];
            x[0] = y;
            bits[0] = 0u;
#if AGAIN
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
#endif
            if (AGAIN || y == y) energy[(u64)frame * npix + pixel] = result_of(y, x[0], bits[0], per_gain, pixel, npix);
        }
#else
    for (u32 round = 0; round < (ROWS * GROUPS + THREADS - 1u) / THREADS; round++) {
        u32 g = round * THREADS + LID, r = g / GROUPS, start = origin + r * width, pixel = (start / VECTOR + g % GROUPS) * VECTOR;
        if (r < ROWS && pixel < start + COLS) {
            f32 y[VECTOR];
            bool whole = pixel >= start && pixel + VECTOR <= start + COLS;
            for (u32 k = 0; k < VECTOR; k++) {
                y[k] = pixel + k >= start && pixel + k < start + COLS ? work[AT(r, pixel + k - start)] : NOT_USED;
                x[k] = y[k];
                bits[k] = 0u;
                whole = whole && (AGAIN || y[k] == y[k]);
            }
#if AGAIN
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
#endif
            if (whole) {
                for (u32 k = 0; k < VECTOR; k++) y[k] = result_of(y[k], x[k], bits[k], per_gain, pixel + k, npix);
                store_f32(energy + (u64)frame * npix + pixel, y);
            } else
                for (u32 k = 0; k < VECTOR; k++) {
                    if (pixel + k >= start && pixel + k < start + COLS && (AGAIN || y[k] == y[k]))
                        energy[(u64)frame * npix + pixel + k] = result_of(y[k], x[k], bits[k], per_gain, pixel + k, npix);
                }
        }
    }
#endif
}
