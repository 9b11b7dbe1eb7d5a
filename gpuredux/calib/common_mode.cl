/* Over 200 lines: loading, three statistics over whole blocks and over single threads, storing.
 * energy - modes of a bank, of its rows and of its columns: a median, a mean or the peak of a histogram of what was counted.
 *
 * grid: BLOCK = frame + n * bank, blocks of THREADS threads. A block loads its bank once, NaN in place of pixels that are not used, does the
 * steps in SHARED (IN_GLOBAL: where it is too large for that, in the output) and writes it once. A row belongs to one thread, a column to one or to
 * PARTS threads (of a median), the whole bank to all. Rows are LEAD words apart, an odd number, so that no two threads meet in one memory bank.
 * TURNED, where the compiler makes vectors of threads: a block is one vector, and rows are searched in a second copy, side by side.
 * TOGETHER, on a CPU: a block has so many banks side by side. It walks whole rows of them first, and leaves their values in the output, and marks of
 * those that are used, with their gain stage; then it fetches bank after bank from its cache (a bank's short rows out of memory: three times the time of
 * all that, tried).
 *
 * A median is found by counting: each pass counts what is not above a pivot, the next pivot is interpolated; when at most two values lie
 * between, one pass finds the two nearest on both sides. The pivots decide how long it takes, never what is found: where interpolation fails
 * (ties in plenty, every exponent) the bracket is halved until one value is left. */
#define INFINITE bits_f32(0x7f800000u)
#define NOT_USED bits_f32(0x7fc00000u)
#define LEFT bits_f32(0x80000000u) /* -0, the mode of a group that is not corrected: modes themselves end on + 0, which leaves no -0 */
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
#define SPAN ((ROWS * LEAD + THREADS - 1u) / THREADS * THREADS) /* what is behind a row, and behind the last, is no number */
#define EACH(i) (i)
#endif
/* THREAD: LID as an Index. WALK(i): over the bank's values, neighbours by neighbours; rounds that all threads take, so that compilers see as much */
#if WARP_TIER == 1
#define THREAD LID
#else
#define THREAD (FIRST_PIXEL / VECTOR - (Index)BLOCK * THREADS)
#endif
#if IN_GLOBAL
#define WALK(i)                                                             \
    for (u32 round_ = 0; round_ < (SPAN + THREADS - 1u) / THREADS; round_++) \
        for (Index i = THREAD + round_ * THREADS, once_ = 0; once_ < 1u && i < SPAN; once_++)
#else
#define WALK(i) for (Index i = THREAD, round_ = 0; round_ < SPAN / THREADS; round_++, i += THREADS)
#endif
/* ACROSS(c, count): this thread's of `count` columns; where that comes out even, in rounds that a compiler sees to be alike for all */
#define ACROSS_(c, count, whole) \
    for (Index c = THREAD, r_##c = 0; (whole) ? r_##c < (count) / THREADS : c < (count); r_##c++, c += THREADS)
#define ACROSS(c, count) ACROSS_(c, count, (count) % THREADS == 0u)
#define COLS_WHOLE (!IN_GLOBAL && LEAD % THREADS == 0)
#if STATISTIC == 1
typedef i64 Total;
#else
typedef u32 Total;
#endif

/* whether p holds for any of the threads that a compiler made one vector of: all of them must come by */
#if WARP_TIER == 2
#define ANY(p) sub_group_any(p)
#else
#define ANY(p) (p)
#endif

typedef struct {
    f32 cormax, threshold, bin_width, inverse_width;
    u32 npix_min;
} Limits;

INLINE f32 applied(Limits q, f32 mode, u32 n) { return n > q.npix_min && abs_f32(mode) < q.cormax ? mode + 0.0f : LEFT; }

#if STATISTIC == 0
/* ------------------------------------------------------------------------------------------------------------- median */
#define FAST 9u /* counting passes by interpolation, at most */
typedef struct {
    f32 pivot, low, high, low_count, high_count, slope; /* the wanted value is above low and not above high */
    u32 n, rank, below;                                 /* of rank 1 to n, the lower one of the middle; how many are not above the pivot */
} Search;
typedef struct {
    f32 under, next_under, over, next_over; /* the two largest not above the pivot, the two smallest above it */
} Near;

INLINE Search search_begin(f32 pivot, f32 spread, u32 n, u32 below) {
    Search s;
    s.pivot = pivot; s.low = -INFINITE; s.high = INFINITE; s.low_count = 0.0f; s.high_count = (f32)n;
    s.slope = spread / (f32)(n ? n : 1u);
    s.n = n; s.rank = (n + 1u) / 2u; s.below = below;
    return s;
}

/* whether the two values on both sides of the pivot do not hold what is wanted */
INLINE bool search_far(const Search *s) { return s->rank - s->below + 1u > (s->n & 1u ? 3u : 2u); }

/* a better pivot: by interpolation between those on both sides, or, where there is none on one, by the slope */
INLINE void search_next(Search *s, f32 threshold) {
    f32 aim = (f32)s->rank - (s->n & 1u ? 0.5f : 0.0f), count = (f32)s->below;
    bool shy = count < aim;
    s->low = shy ? s->pivot : s->low; s->low_count = shy ? count : s->low_count;
    s->high = shy ? s->high : s->pivot; s->high_count = shy ? s->high_count : count;
    f32 p = s->low + (s->high - s->low) * ((aim - s->low_count) / (s->high_count - s->low_count));
    p = s->low > -INFINITE && s->high < INFINITE ? p : s->pivot + s->slope * (aim - count);
    s->pivot = p < threshold ? p : threshold;
}

/* the last pivot, too, into the bracket */
INLINE void search_bracket(Search *s) {
    if (s->below < s->rank) { if (s->pivot > s->low) s->low = s->pivot; }
    else if (s->pivot < s->high) s->high = s->pivot;
}

INLINE Near near_begin(void) {
    Near m;
    m.under = m.next_under = -INFINITE;
    m.over = m.next_over = INFINITE;
    return m;
}
INLINE f32 larger(f32 a, f32 b) { return a > b ? a : b; }
INLINE f32 less(f32 a, f32 b) { return a < b ? a : b; }
INLINE void near_add(Near *m, f32 under, f32 over) {
    m->next_under = larger(m->next_under, less(m->under, under)); m->under = larger(m->under, under);
    m->next_over = less(m->next_over, larger(m->over, over)); m->over = less(m->over, over);
}

INLINE f32 search_mode(const Search *s, const Near *m, Limits q) {
    i32 ahead = (i32)(s->rank - s->below);
    f32 low = ahead == -1 ? m->next_under : ahead == 0 ? m->under : ahead == 1 ? m->over : m->next_over;
    f32 high = ahead == -1 ? m->under : ahead == 0 ? m->over : m->next_over;
    return applied(q, s->n & 1u ? low : (low + high) * 0.5f, s->n);
}

#define PASS_ALONE(p, count, under, over) pass_alone(v, size, stride, p, &(count), &(under), &(over))
INLINE void pass_alone(Work v, u32 size, u32 stride, f32 p, u32 *count, f32 *under, f32 *over) {
    u32 n = 0u;
    f32 a = -INFINITE, b = INFINITE;
    for (u32 i = 0; i < size; i++) {
        f32 x = v[(Index)i * stride];
        n += x <= p ? 1u : 0u;
        a = x <= p && x > a ? x : a;
        b = x > p && x < b ? x : b;
    }
    *count = n; *under = a; *over = b;
}

/* four sums, none of which waits for another; of floats, for adding where a comparison holds is one instruction then: whole numbers, exact in any order */
INLINE u32 count_alone(Work v, u32 size, u32 stride, f32 p) {
    f32 a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    u32 i = 0u;
    for (; i + 4u <= size; i += 4u) {
        a = v[(Index)i * stride] <= p ? a + 1.0f : a;
        b = v[(Index)(i + 1u) * stride] <= p ? b + 1.0f : b;
        c = v[(Index)(i + 2u) * stride] <= p ? c + 1.0f : c;
        d = v[(Index)(i + 3u) * stride] <= p ? d + 1.0f : d;
    }
    for (; i < size; i++) a = v[(Index)i * stride] <= p ? a + 1.0f : a;
    return (u32)(a + b + (c + d));
}

/* how many are not above p, and not above q */
INLINE void count_both(Work v, u32 size, u32 stride, f32 p, f32 q, u32 *upto_p, u32 *upto_q) {
    f32 a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    u32 i = 0u;
    for (; i + 2u <= size; i += 2u) {
        f32 x = v[(Index)i * stride], y = v[(Index)(i + 1u) * stride];
        a = x <= p ? a + 1.0f : a; b = y <= p ? b + 1.0f : b;
        c = x <= q ? c + 1.0f : c; d = y <= q ? d + 1.0f : d;
    }
    if (i < size) {
        f32 x = v[(Index)i * stride];
        a = x <= p ? a + 1.0f : a;
        c = x <= q ? c + 1.0f : c;
    }
    *upto_p = (u32)(a + b);
    *upto_q = (u32)(c + d);
}

/* what interpolation did not find (ties in plenty, outliers, every exponent): halve the bracket of all numbers, from value to value.
 * low and high as keys: the wanted value is above low and not above high */
#define SEARCH_SLOWLY(s, result, q, MISSED, PASS)                                                  \
    do {                                                                                           \
        u32 low_ = f32_key((s).low), high_ = f32_key((s).high < (q).threshold ? (s).high : (q).threshold); \
        low_ -= (s).low > -INFINITE ? 0u : 1u;                                                     \
        while (ANY((MISSED) && high_ - low_ > 1u)) {                                               \
            f32 p_ = key_f32(low_ + (high_ - low_) / 2u), under_, over_;                            \
            u32 count_;                                                                            \
            PASS(p_, count_, under_, over_);                                                       \
            u32 middle_ = f32_key(p_);                                                              \
            if (high_ - low_ > 1u) {                                                               \
                if (count_ >= (s).rank) high_ = f32_key(under_) < middle_ ? f32_key(under_) : middle_; \
                else low_ = f32_key(over_) - 1u > middle_ ? f32_key(over_) - 1u : middle_;           \
            }                                                                                      \
        }                                                                                          \
        f32 p_ = key_f32(high_), under_, over_;                                                     \
        u32 count_;                                                                                \
        PASS(p_, count_, under_, over_);                                                           \
        (result) = applied(q, (s).n & 1u || count_ > (s).rank ? (s).n & 1u ? p_ : (p_ + p_) * 0.5f : (p_ + over_) * 0.5f, (s).n); \
    } while (0)

/* by the neighbours of the pivot, or, where these do not hold it, by one thread among all values */
INLINE f32 median_of(const Search *found, const Near *m, Limits q, bool wanted, Work v, u32 size, u32 stride) {
    Search s = *found;
    f32 mode = search_mode(&s, m, q);
    bool missed = wanted && search_far(&s);
    if (ANY(missed)) {
        f32 slow;
        search_bracket(&s);
        SEARCH_SLOWLY(s, slow, q, missed, PASS_ALONE);
        mode = missed ? slow : mode;
    }
    return wanted ? mode : LEFT;
}

/* one thread: the mode of `size` values `stride` apart */
INLINE f32 mode_alone(Work v, u32 size, u32 stride, Limits q, f32 guess, f32 spread) {
    f32 p = less(guess, q.threshold);
    u32 n = 0u, below = 0u;
    count_both(v, size, stride, q.threshold, p, &n, &below);
    Search s = search_begin(p, spread, n, below);
    bool wanted = n > q.npix_min;
    for (u32 k = 0; k < FAST && ANY(wanted && search_far(&s)); k++) {
        if (search_far(&s)) search_next(&s, q.threshold);
        s.below = count_alone(v, size, stride, s.pivot);
    }
    Near m = near_begin();
    p = s.pivot;
    for (u32 i = 0; i < size; i++) {
        f32 x = v[(Index)i * stride];
        near_add(&m, x <= p ? x : -INFINITE, x > p ? x : INFINITE);
    }
    return median_of(&s, &m, q, wanted, v, size, stride);
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
    GLOBAL u32 *frame_status;
} Parts; /* THREADS + 16 of total, 4 * THREADS + 64 of value; 256 of bin; frame_status: this frame's */

#if STATISTIC == 2
/* of the bank, by all threads */
INLINE f32 mode_together(Work work, u32 width, Limits q, Parts part, f32 *guess, f32 spread) {
    for (u32 first = 0; first < 256u; first += THREADS)
        if (first + LID < 256u) part.bin[first + LID] = 0u;
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
#define PASS_TOGETHER(p, count, under, over) pass_together(work, width, part, p, &(count), &(under), &(over))
INLINE void pass_together(Work work, u32 width, Parts part, f32 p, u32 *count, f32 *under, f32 *over) {
    u32 n = 0u;
    f32 a = -INFINITE, b = INFINITE;
    WALK(i) {
        f32 x = work[EACH(i)];
        n += x <= p ? 1u : 0u;
        a = x <= p && x > a ? x : a;
        b = x > p && x < b ? x : b;
    }
    FOLD(part.total, n, u32, *count, t_ + o_);
    FOLD(part.value, a, f32, *under, o_ > t_ ? o_ : t_);
    FOLD(part.value, b, f32, *over, o_ < t_ ? o_ : t_);
}

INLINE void near_put(const Near *m, SHARED_PTR f32 *to, u32 count) {
    to[LID] = m->under; to[count + LID] = m->next_under; to[2u * count + LID] = m->over; to[3u * count + LID] = m->next_over;
}
/* four FOLDs in one */
INLINE void near_fold(Near *m, Parts part) {
    SHARED_PTR f32 *each = part.value, *few = part.value + 4 * THREADS;
    SYNC;
    near_put(m, each, THREADS);
    SYNC;
    if (LID < 16u) {
        *m = near_begin();
        for (u32 k = LID; k < 2u * THREADS; k += 16u) near_add(m, each[k], each[2u * THREADS + k]);
        near_put(m, few, 16u);
    }
    SYNC;
    *m = near_begin();
    for (u32 k = 0; k < 32u; k++) near_add(m, few[k], few[32u + k]);
}

INLINE f32 mode_together(Work work, u32 width, Limits q, Parts part, f32 *guess, f32 spread) {
    f32 p = less(*guess, q.threshold);
    u32 n = 0u, below = 0u;
#if IN_GLOBAL
    WALK(i) {
        f32 x = work[EACH(i)];
        n += x <= q.threshold ? 1u : 0u;
        below += x <= p ? 1u : 0u;
    }
#else
    count_both(work + THREAD, SPAN / THREADS, THREADS, q.threshold, p, &n, &below);
#endif
    FOLD(part.total, n, u32, n, t_ + o_);
    FOLD(part.total, below, u32, below, t_ + o_);
    Search s = search_begin(p, spread, n, below);
    for (u32 k = 0; k < FAST && n > q.npix_min && search_far(&s); k++) { /* the same for all threads: they fold the same numbers */
        search_next(&s, q.threshold);
#if IN_GLOBAL
        below = 0u;
        p = s.pivot;
        WALK(i) below += work[EACH(i)] <= p ? 1u : 0u;
#else
        below = count_alone(work + THREAD, SPAN / THREADS, THREADS, s.pivot);
#endif
        FOLD(part.total, below, u32, s.below, t_ + o_);
    }
    Near m = near_begin();
    p = s.pivot;
    WALK(i) {
        f32 x = work[EACH(i)];
        near_add(&m, x <= p ? x : -INFINITE, x > p ? x : INFINITE);
    }
    near_fold(&m, part);
    f32 mode = search_mode(&s, &m, q);
    bool missed = n > q.npix_min && search_far(&s); /* the same for all */
    if (missed) {
        search_bracket(&s);
        SEARCH_SLOWLY(s, mode, q, true, PASS_TOGETHER);
    }
    mode = n > q.npix_min ? mode : LEFT;
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
#define AGAIN (GIVES || IN_GLOBAL || (PLANES > 0 && STAGES && !(TOGETHER > 1)))
#define MARK_STAGES (PLANES > 0 && STAGES && !AGAIN)
#undef LOAD_FIRST
#define LOAD_FIRST first_time

/* 1 / gain. whole: a constant, true only where all threads come by: planes that none of a vector asks for are then not read (a gather: slower, tried) */
INLINE f32 factor_of(GLOBAL const f32 *per_gain, u32 stage, u64 pixel, u32 npix, bool whole) {
#if WARP_TIER == 2 && PLANES < 9
    f32 factor = per_gain[pixel];
    for (u32 v = 1u; v < PLANES; v++)
        if (ANY_BESIDE(whole, stage == v)) {
            if (stage == v) factor = per_gain[(u64)v * npix + pixel];
        }
    return factor;
#else
    return per_gain[(u64)stage * npix + pixel];
#endif
}

/* what a pixel becomes: y, corrected, or what it was, x; then by its stage's gain */
INLINE f32 result_of(f32 y, f32 x, u32 bits, GLOBAL const f32 *per_gain, u64 pixel, u32 npix, bool whole) {
    f32 z = y == y ? y : x;
#if PLANES
    u32 stage = STAGES ? STAGE_OF(bits) : 0u;
    f32 energy = z * factor_of(per_gain, stage < PLANES ? stage : 0u, pixel, npix, whole);
    energy = stage < PLANES ? clean(energy) : NOT_USED;
    z = STATUS && STATUS_OF(bits) ? z : energy;
#endif
    return z;
}

/* ------------------------------------------------------------------------------------------------------- the three steps */
/* what is said of a group's mode: NaN where it is LEFT, if the group has a pixel that is used, else 0. Most of the time nobody has to look, and the
 * atomic stands where somebody did: once a block, behind all steps, it took 7 to 13 % of the time on a CPU, done or not (tried) */
#if REPORT || FRAME_STATUS
INLINE f32 said_of(f32 mode, bool used, Parts part) {
#if FRAME_STATUS
    if (used) atomic_or_u32(part.frame_status, FRAME_NOT_CORRECTED);
#endif
    return used ? NOT_USED : mode + 0.0f;
}
INLINE f32 say(f32 mode, Work v, u32 size, u32 stride, Parts part) {
    bool look = f32_bits(mode) == f32_bits(LEFT);
    if (ANY(look)) {
        bool used = false;
        for (u32 i = 0; i < size && ANY(look && !used); i++) {
            f32 x = v[(Index)i * stride];
            used = used || (look && x == x);
        }
        mode = said_of(mode, used, part);
    }
    return mode;
}
INLINE f32 say_together(f32 mode, Work work, u32 width, Parts part) {
    if (f32_bits(mode) == f32_bits(LEFT)) { /* the same for all threads */
        u32 used = 0u;
        WALK(i) {
            f32 x = work[EACH(i)];
            used |= x == x ? 1u : 0u;
        }
        FOLD(part.total, used, u32, used, t_ | o_);
        mode = said_of(mode, used != 0u && LID == 0u, part);
    }
    return mode;
}
#else
#define say(mode, v, size, stride, part) (mode)
#define say_together(mode, work, width, part) (mode)
#endif
#if REPORT
#define REPORT_MODE(at, m) modes[at] = m
#else
#define REPORT_MODE(at, m) (void)modes, (void)(m)
#endif
#define STEP_PARAMS Work work, GLOBAL f32 *modes, u32 width, Limits q, Parts part, f32 *guess, f32 spread

INLINE void step_bank(STEP_PARAMS) {
    f32 m = mode_together(work, width, q, part, guess, spread), said = say_together(m, work, width, part);
    m += 0.0f; /* x - -0 would make +0 of -0 */
    WALK(i) work[EACH(i)] -= m;
    if (LID == 0u) REPORT_MODE(0, said);
    SYNC;
}

/* TURNED: each thread turns its own rows */
INLINE void step_rows(STEP_PARAMS) {
#if TURNED
    Work turned = work + SPAN, mode = turned + LEAD * THREADS;
    for (u32 first = 0; first < ROWS; first += THREADS) {
        Index r = first + THREAD, row = (r < ROWS ? r : ROWS - 1u) * LEAD;
        for (u32 c = 0; c < COLS; c += 2u) { /* by pairs: what a thread reads beside nobody's costs by the read */
            u64 two = *(SHARED_PTR u64 *)(work + row + c);
            turned[c * THREADS + THREAD] = bits_f32((u32)two);
            turned[(c + 1u) * THREADS + THREAD] = bits_f32((u32)(two >> 32));
        }
        f32 m = mode_alone(turned + THREAD, COLS, THREADS, q, *guess, spread), said = say(r < ROWS ? m : 0.0f, turned + THREAD, COLS, THREADS, part);
        if (r < ROWS) {
            mode[r] = m + 0.0f;
            REPORT_MODE(1u + r, said);
        }
    }
    SYNC;
    for (u32 r = 0; r < ROWS; r++) {
        f32 m = mode[r];
        ACROSS(c, LEAD) work[AT(r, c)] -= m;
    }
#else
    for (u32 first = 0; first < ROWS; first += THREADS) {
        Index r = first + THREAD;
#if WARP_TIER == 2
        Index at = r < ROWS ? r : ROWS - 1u;
#else
        Index at = r;
        if (r < ROWS)
#endif
        {
            f32 m = mode_alone(work + AT(at, 0u), COLS, 1u, q, *guess, spread), said = say(r < ROWS ? m : 0.0f, work + AT(at, 0u), COLS, 1u, part);
            m += 0.0f;
            if (r < ROWS) {
                for (u32 c = 0; c < COLS; c++) work[AT(r, c)] -= m;
                REPORT_MODE(1u + r, said);
            }
        }
    }
#endif
    SYNC;
}

#if PARTS > 1
/* PARTS threads a column: each counts in its own rows, and all of a column know the sums. The rounds are the same for all: SYNCs are in them. */
#define SUM_OF_PARTS(mine, sum)                                                      \
    do {                                                                             \
        part.total[LID] = (mine);                                                    \
        SYNC;                                                                        \
        (sum) = 0u;                                                                  \
        for (u32 k_ = 0; k_ < PARTS; k_++) (sum) += part.total[LID % COLS + k_ * COLS]; \
    } while (0)
INLINE void step_cols(STEP_PARAMS) {
    u32 c = LID % COLS, share = (ROWS + PARTS - 1u) / PARTS, begin = smaller(LID / COLS * share, ROWS), end = smaller(begin + share, ROWS);
    Work v = work + AT(begin, c);
    f32 p = less(*guess, q.threshold);
    u32 n = 0u, below = 0u, size = LID < PARTS * COLS ? end - begin : 0u;
    if (LID < FAST) part.bin[LID] = 0u; /* whether in this round a column was far from done */
    count_both(v, size, STRIDE, q.threshold, p, &n, &below);
    SYNC;
    SUM_OF_PARTS(n, n);
    SYNC;
    SUM_OF_PARTS(below, below);
    Search s = search_begin(p, spread, n, below);
    bool wanted = n > q.npix_min, more = true;
    for (u32 k = 0; k < FAST && more; k++) {
        bool far = wanted && search_far(&s);
        if (far) part.bin[k] = 1u;
        SYNC;
        more = part.bin[k] != 0u;
        if (far) search_next(&s, q.threshold);
        below = more ? count_alone(v, size, STRIDE, s.pivot) : 0u;
        SUM_OF_PARTS(below, below);
        s.below = more ? below : s.below;
    }
    Near m = near_begin();
    p = s.pivot;
    for (u32 i = 0; i < size; i++) {
        f32 x = v[(Index)i * STRIDE];
        near_add(&m, x <= p ? x : -INFINITE, x > p ? x : INFINITE);
    }
    SYNC;
    near_put(&m, part.value, THREADS);
    SYNC;
    m = near_begin();
    for (u32 k = c; k < PARTS * COLS; k += COLS) {
        near_add(&m, part.value[k], part.value[2u * THREADS + k]);
        near_add(&m, part.value[THREADS + k], part.value[3u * THREADS + k]);
    }
    f32 mode = median_of(&s, &m, q, wanted, work + c, ROWS, STRIDE), said = say(mode, work + c, ROWS, STRIDE, part);
    mode += 0.0f;
    SYNC;
    for (u32 i = 0; i < size; i++) v[(Index)i * STRIDE] -= mode;
    SYNC;
    if (LID < COLS) REPORT_MODE(1u + ROWS + c, said); /* before: PoCL 3.1 then lets rows see columns that are not corrected, where a batch has `live` */
    SYNC;
}
#else
INLINE void step_cols(STEP_PARAMS) {
    for (u32 first = 0; first < COLS; first += THREADS) {
        Index c = first + THREAD;
#if WARP_TIER == 2 /* all come by: what is behind a row is a column of its own, or the last one is walked again */
        Index at = COLS_WHOLE || c < COLS ? c : COLS - 1u;
#else
        Index at = c;
        if (c < COLS)
#endif
        {
            f32 m = mode_alone(work + at, ROWS, STRIDE, q, *guess, spread), said = say(c < COLS ? m : 0.0f, work + at, ROWS, STRIDE, part);
            m += 0.0f;
            if (c < COLS) REPORT_MODE(1u + ROWS + c, said);
            if (COLS_WHOLE || c < COLS) for (u32 r = 0; r < ROWS; r++) work[AT(r, at)] -= m;
        }
    }
    SYNC;
}
#endif
#define step_none(...)

#if STATISTIC == 0
/* 64 values from all over the bank: their median, and how many values apart ranks of the whole lie there. For a search to begin with. */
INLINE void sample(Work work, u32 width, Parts part, f32 *guess, f32 *spread) {
    for (u32 i = 0; i < 64u; i += THREADS) { u32 k = i + LID; if (k < 64u) part.value[k] = work[AT(k * ROWS / 64u, k * 29u % COLS)]; }
    if (LID < 3u) part.value[64u + LID] = 0.0f;
    SYNC;
    for (u32 i = 0; i < 64u; i += THREADS) if (i + LID < 64u) {
        f32 mine = part.value[i + LID];
        u32 before = 0u, n = 0u;
        for (u32 k = 0; k < 64u; k++) {
            f32 x = part.value[k];
            n += x == x ? 1u : 0u;
            before += x < mine || (x == mine && k < i + LID) ? 1u : 0u;
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

INLINE void correct(Work work, GLOBAL f32 *modes, u32 width, Limits q, Parts part) {
    f32 guess = 0.0f, spread = 1.0f;
    sample(work, width, part, &guess, &spread);
#if REPORT
    for (u32 first = 0; first < 1u + ROWS + COLS; first += THREADS)
        if (first + LID < 1u + ROWS + COLS) modes[first + LID] = 0.0f;
    SYNC;
#endif
    FIRST_STEP(work, modes, width, q, part, &guess, spread);
    SECOND_STEP(work, modes, width, q, part, &guess, spread);
    THIRD_STEP(work, modes, width, q, part, &guess, spread);
}

#if GIVES
#define HAND_ON(mine)                                                                                            \
    GIVE_BEGIN(given, pixel, npix);                                                                              \
    GIVE(given, frame, pixel, npix, x, bits, mine);                                                              \
    if (GIVE_FLAGS) for (u32 k = 0; k < VECTOR; k++) given_seen |= (mine) >> k & 1u ? STATUS_OF(bits[k]) : 0u;
#else
#define HAND_ON(mine) (void)given;
#endif
#define GROUPS ((COLS + 2 * VECTOR - 2) / VECTOR) /* of VECTOR pixels, that a row of the bank can touch */

KERNEL_PIXELS(THREADS) common_mode(LOAD_PARAMS, GIVE_PARAMS GLOBAL const u8 *good, GLOBAL const f32 *per_gain, GLOBAL f32 *common_mode,
                                   GLOBAL u32 *frame_status, GLOBAL const i32 *live, GLOBAL f32 *energy, f32 cormax, f32 threshold,
                                   f32 bin_width, f32 inverse_width, u32 npix_min, u32 n, u32 npix, u32 width) {
    u32 frame = BLOCK % n, bank = BLOCK / n * TOGETHER, across = width / COLS;
    if (frame >= LIVE_ROWS(live, n)) return;
    SHARED Total totals[THREADS + 16];
    SHARED f32 values[4 * THREADS + 64];
    SHARED u32 bins[STATISTIC == 2 ? 256 : 16];
    Parts part = {totals, values, bins, frame_status + frame};
    Limits q = {cormax, threshold, bin_width, inverse_width, npix_min};
    u32 origin = bank / across * ROWS * width + bank % across * COLS;
#if IN_GLOBAL
    Work work = energy + (u64)frame * npix + origin;
#else
    SHARED_BYTES(words);
    Work work = (Work)words;
#endif
#if !IN_GLOBAL
    for (u32 first = 0; first < ROWS; first += THREADS)
        if (first + LID < ROWS)
            for (u32 c = COLS; c < LEAD; c++) work[AT(first + LID, c)] = NOT_USED;
    if (ROWS * LEAD + LID < SPAN) work[ROWS * LEAD + LID] = NOT_USED;
#endif
    u32 seen = 0u;
    Held held; /* not in the loops: PoCL 3.1 mixed up what the pixels of a bank held (tried: zeros in place of 160 of them) */
    f32 x[VECTOR];
    u32 bits[VECTOR];
    bool first_time = true;
    Given given;
    u32 given_seen = 0u;
#if TOGETHER > 1
    SHARED_PTR u8 *marks = (SHARED_PTR u8 *)(words + SPAN + LEAD * THREADS + ROWS);
    for (u32 r = 0; r < ROWS; r++)
        ACROSS(c, TOGETHER * COLS) {
            Index pixel = (Index)origin + r * width + c;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            seen |= STATUS_OF(bits[0]);
            bool used = is_used(x[0], bits[0], good, pixel);
            marks[(Index)r * (TOGETHER * COLS) + c] = used ? (u8)(1u + (MARK_STAGES ? smaller(STAGE_OF(bits[0]), PLANES) : 0u)) : 0;
            if (ANY_BESIDE(TOGETHER * COLS % THREADS == 0u, !used))
                x[0] = used ? x[0] : result_of(NOT_USED, x[0], bits[0], per_gain, pixel, npix, TOGETHER * COLS % THREADS == 0u);
            energy[(u64)frame * npix + pixel] = x[0];
        }
#if CARRY_STATUS
    if (seen & PIXEL_FROM_DATA) atomic_or_u32(frame_status + frame, seen & PIXEL_FROM_DATA);
#endif
    first_time = false;
    SYNC;
    for (u32 b = 0; b < TOGETHER; b++) {
        u64 first = (u64)frame * npix + origin + b * COLS;
        for (u32 r = 0; r < ROWS; r++) {
            ACROSS(c, COLS) {
                f32 y = energy[first + (Index)r * width + c];
                work[AT(r, c)] = marks[(Index)r * (TOGETHER * COLS) + b * COLS + c] ? y : NOT_USED;
            }
        }
        SYNC;
        correct(work, common_mode + ((u64)frame * (npix / PIXELS) + bank + b) * (1u + ROWS + COLS), width, q, part);
        for (u32 r = 0; r < ROWS; r++) {
            ACROSS(c, COLS) {
                Index pixel = (Index)origin + r * width + b * COLS + c;
                f32 y = work[AT(r, c)], before = energy[first + (Index)r * width + c];
                bits[0] = 0u;
#if AGAIN
                LOAD_BEGIN(held, pixel, npix);
                LOAD(held, frame, pixel, npix, x, bits);
#elif MARK_STAGES
                u32 mark = marks[(Index)r * (TOGETHER * COLS) + b * COLS + c];
                bits[0] = (mark ? mark - 1u : 0u) << 8;
#endif
                f32 z = result_of(y, y, bits[0], per_gain, pixel, npix, COLS % THREADS == 0u);
                x[0] = y == y ? z : before;
                if (STORED) energy[first + (Index)r * width + c] = x[0];
                HAND_ON(1u)
            }
        }
        SYNC;
    }
#else
#if VECTOR == 1 /* neighbours read neighbours */
    for (u32 r = 0; r < ROWS; r++)
        ACROSS(c, COLS) {
            Index pixel = (Index)origin + r * width + c;
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
            seen |= STATUS_OF(bits[0]);
            bool used = is_used(x[0], bits[0], good, pixel);
            work[AT(r, c)] = used ? x[0] : NOT_USED;
            if (!AGAIN && !used) energy[(u64)frame * npix + pixel] = result_of(NOT_USED, x[0], bits[0], per_gain, pixel, npix, false);
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
                    if (!AGAIN && !used) energy[(u64)frame * npix + pixel + k] = result_of(NOT_USED, x[k], bits[k], per_gain, pixel + k, npix, false);
                }
            }
        }
    }
#endif
#if CARRY_STATUS
    if (seen & PIXEL_FROM_DATA) atomic_or_u32(frame_status + frame, seen & PIXEL_FROM_DATA);
#endif
    first_time = false;
    SYNC;
    correct(work, common_mode + ((u64)frame * (npix / PIXELS) + bank) * (1u + ROWS + COLS), width, q, part);
#if VECTOR == 1
    for (u32 r = 0; r < ROWS; r++)
        ACROSS(c, COLS) {
            Index pixel = (Index)origin + r * width + c;
            f32 y = work[AT(r, c)];
            x[0] = y;
            bits[0] = 0u;
#if AGAIN
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
#endif
            if (AGAIN || y == y) x[0] = result_of(y, x[0], bits[0], per_gain, pixel, npix, false);
            if (STORED && (AGAIN || y == y)) energy[(u64)frame * npix + pixel] = x[0];
            HAND_ON(1u)
        }
#else
    for (u32 round = 0; round < (ROWS * GROUPS + THREADS - 1u) / THREADS; round++) {
        u32 g = round * THREADS + LID, r = g / GROUPS, start = origin + r * width, pixel = (start / VECTOR + g % GROUPS) * VECTOR;
        if (r < ROWS && pixel < start + COLS) {
            f32 y[VECTOR];
            bool whole = pixel >= start && pixel + VECTOR <= start + COLS;
            u32 mine = 0u;
            for (u32 k = 0; k < VECTOR; k++) {
                mine |= pixel + k >= start && pixel + k < start + COLS ? 1u << k : 0u;
                y[k] = mine >> k & 1u ? work[AT(r, pixel + k - start)] : NOT_USED;
                x[k] = y[k];
                bits[k] = 0u;
                whole = whole && (AGAIN || y[k] == y[k]);
            }
#if AGAIN
            LOAD_BEGIN(held, pixel, npix);
            LOAD(held, frame, pixel, npix, x, bits);
#endif
            if (whole) {
                for (u32 k = 0; k < VECTOR; k++) x[k] = result_of(y[k], x[k], bits[k], per_gain, pixel + k, npix, false);
                if (STORED) store_f32(energy + (u64)frame * npix + pixel, x);
            } else
                for (u32 k = 0; k < VECTOR; k++) {
                    if (mine >> k & 1u && (AGAIN || y[k] == y[k])) {
                        x[k] = result_of(y[k], x[k], bits[k], per_gain, pixel + k, npix, false);
                        if (STORED) energy[(u64)frame * npix + pixel + k] = x[k];
                    }
                }
            HAND_ON(mine)
        }
    }
#endif
#endif
#if GIVES && GIVE_FLAGS
    if (given_seen & PIXEL_FROM_DATA) atomic_or_u32(frame_status + frame, given_seen & PIXEL_FROM_DATA);
#endif
}
