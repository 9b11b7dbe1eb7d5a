/* Matches of shuffled bytes in units of 8 KiB, and the units that make a block: steps 1 and 2 of zstd_encode.py. Over 200 lines: they share all columns.
 *
 * zstd_units    grid: one block a unit: equality bitmaps in SHARED, thread 0 walks the runs, all count literals and codes; of a single distance twice,
 *               without short matches too, and the fewer bits are kept
 * zstd_merge    grid: one block a region: a unit joins the block before it where the estimate says so, about: all estimates together;
 *               two or three columns of the counts a thread */
#if PLANES
#define KINDS 2u
#define MIN_MATCH 8
#else
#define KINDS 1u
#define MIN_MATCH 4
#endif
#include "compress/matches.cl"
#include "compress/zstd_codes.cl"
#define WORTH 8u /* bytes of a match that is always kept */

INLINE u32 whole(u32 total) { return total ? total * log2_units(total) : 0u; }

/* of n literals of so many kinds; inside: the sum of c log2(c); most: the count of a value that half of them have, 0 where there is none */
INLINE u32 literal_bits(u32 n, u32 kinds, u32 inside, u32 most) {
    if (kinds < 2u) return 8u * BIT;
    return 2u * most < n ? whole(n) - inside : BIT * n + whole(n - most) - (inside - whole(most));
}

/* the literals of a thread's 64 bytes: bit k for byte base + k */
INLINE u64 literal_mask(SHARED_PTR const u32 *list, u32 count, u32 base, u32 bytes) {
    u32 low = 0u, high = count, one = below(base, bytes), two = below(base + 32u, bytes);
    while (low < high) { /* the first match that ends behind this thread's first byte */
        u32 mid = (low + high) >> 1;
        if (MATCH_POS(list[mid]) + MATCH_LENGTH(list[mid]) <= base) low = mid + 1u;
        else high = mid;
    }
    for (; low < count && MATCH_POS(list[low]) < base + 64u; low++) {
        u32 at = MATCH_POS(list[low]), end = at + MATCH_LENGTH(list[low]);
        one &= ~(below(base, end) & ~below(base, at));
        two &= ~(below(base + 32u, end) & ~below(base + 32u, at));
    }
    return (u64)one | (u64)two << 32;
}

INLINE void count_match(SHARED_PTR u32 *column, u32 match, u32 before) {
    u32 ll = ll_code(MATCH_POS(match) - before), ml = ml_code(MATCH_LENGTH(match));
    atomic_add_u32(column + LL_COLUMN + ll, 1u);
    atomic_add_u32(column + ML_COLUMN + ml, 1u);
    atomic_add_u32(column + WHICH_COLUMN + MATCH_WHICH(match), 1u);
    atomic_add_u32(column + EXTRA_COLUMN, ll_bits(ll) + ml_bits(ml));
}

#if !PLANES
/* what is counted without short matches, but for the literals that there are with them */
INLINE void count_long(SHARED_PTR const u32 *list, u32 k, SHARED_PTR const u32 *words, SHARED_PTR u32 *few) {
    u32 match = list[k], pos = MATCH_POS(match), j = k;
    if (MATCH_LENGTH(match) < WORTH)
        atomic_add_u32(few + (words[pos >> 2] >> 8u * (pos & 3u) & 0xffu), MATCH_LENGTH(match));
    else {
        while (j > 0u && MATCH_LENGTH(list[j ? j - 1u : 0u]) < WORTH) j--;
        count_match(few, match, j ? MATCH_POS(list[j - 1u]) + MATCH_LENGTH(list[j - 1u]) : 0u);
    }
}

/* rows of sums: literals, their kinds, c log2(c), c log2(c) of both kinds of lengths, matches */
#define KEPT_ROWS 5u
INLINE void add_kept(SHARED_PTR u32 (*part)[128], u32 row, u32 column, u32 x) {
    u32 inside = whole(x);
    if (column < LL_COLUMN) { part[row][LID] += x; part[row + 1u][LID] += x ? 1u : 0u; part[row + 2u][LID] += inside; }
    else if (column < WHICH_COLUMN) part[row + 3u][LID] += inside;
    else if (column < EXTRA_COLUMN) part[row + 4u][LID] += x;
}

/* one thread: how many matches are left, those of WORTH bytes and more alone or all */
INLINE u32 keep(SHARED_PTR const u32 (*sum)[128], SHARED_PTR const u32 *most, SHARED_PTR const u32 *all, SHARED_PTR const u32 *few, SHARED_PTR u32 *list,
                u32 count) {
    SHARED_PTR const u32 (*rest)[128] = sum + KEPT_ROWS;
    u32 lengths = BIT * all[EXTRA_COLUMN] + 2u * whole(sum[4][0]) - sum[3][0], others = BIT * few[EXTRA_COLUMN] + 2u * whole(rest[4][0]) - rest[3][0];
    u32 bits = lengths + literal_bits(sum[0][0], sum[1][0], sum[2][0], most[0]), less = others + literal_bits(rest[0][0], rest[1][0], rest[2][0], most[1]);
    u32 number = 0u, bytes = 0u, left = 0u;
    for (u32 length = 4u; length < WORTH; length++) {
        number += all[ML_COLUMN + length - 3u];
        bytes += all[ML_COLUMN + length - 3u] * length;
    }
    if ((u64)lengths * number <= (u64)(BIT * bytes) * count) return count;
    if (less >= bits) return count;
    for (u32 k = 0u; k < count; k++) {
        u32 match = list[k];
        list[left] = match; /* one that is not kept is written over, or lies behind the last one */
        left += MATCH_LENGTH(match) < WORTH ? 0u : 1u;
    }
    return left;
}
#endif

KERNEL(128) zstd_units(GLOBAL const u8 *shuffled, GLOBAL u32 *matches, GLOBAL u32 *counts, GLOBAL u32 *literals, GLOBAL const i32 *live,
                       u32 n, u32 units, u32 total, u32 pitch, u32 itemsize) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 words[UNIT_BYTES / 4];
    SHARED u32 equal[KINDS * (MATCH_WORDS + 1)];
    SHARED u32 start[MATCH_WORDS], filled[9], list[MATCHES], column[COLUMNS], many[2], differ[4];
#if !PLANES
    SHARED u32 few[COLUMNS], most[2];
#endif
    u32 frame = BLOCK / units, unit = BLOCK % units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 from = unit * UNIT_BYTES, region = from / REGION_BYTES * REGION_BYTES, bytes = smaller(UNIT_BYTES, total - from), begin = from - region;
    GLOBAL const u32 *b = (GLOBAL const u32 *)(shuffled + (u64)frame * pitch + region);
    for (u32 k = 0; k < 16u; k++) words[LID + 128u * k] = b[begin / 4u + LID + 128u * k]; /* rows of shuffled end with a whole unit */
    EACH_OF(k, COLUMNS)
        if (k < COLUMNS) column[k] = 0u;
#if !PLANES
    EACH_OF(k, COLUMNS)
        if (k < COLUMNS) few[k] = 0u;
    if (LID < 2u) most[LID] = 0u;
#endif
    SYNC;

    u32 distance[KINDS], first = (words[0] & 0xffu) * 0x01010101u;
    distance[0] = 1u;
#if PLANES
    distance[1] = smaller(REGION_BYTES, total - region) / (8u * itemsize);
#endif
    u64 same[KINDS];
    bool other = false;
    for (u32 k = 0; k < KINDS; k++) same[k] = 0;
    for (u32 r = 0; r < 16u; r++) {
        u32 j = (r + LID) & 15u, word = 16u * LID + j, x = words[word], here = begin + 4u * word;
        u32 left = 4u * word < bytes ? bytes - 4u * word : 0u;
        other = other || (left >= 4u ? x != first : ((x ^ first) & ((1u << 8u * left) - 1u)) != 0u);
        UNROLL
        for (u32 k = 0; k < KINDS; k++) {
            u32 d = distance[k], y = 0u;
            if (d != 0u && here + 3u >= d) {
                u32 at = here >= d ? here - d : 0u, shift = 8u * (at & 3u);
                y = b[at >> 2] >> shift;
                if (shift) y |= b[(at >> 2) + 1u] << (32u - shift);
                if (here < d) y = b[0] << 8u * (d - here);
            }
            same[k] |= (u64)equal_bytes(x, y) << 4u * j;
        }
    }
    UNROLL
    for (u32 k = 0; k < KINDS; k++)
        for (u32 h = 0; h < 2u; h++) {
            u32 base = 64u * LID + 32u * h, d = distance[k];
            u32 bits = d ? below(base, bytes) & ~below(base, d > begin ? d - begin : 0u) : 0u;
            equal[k * (MATCH_WORDS + 1u) + 2u * LID + h] = (u32)(same[k] >> 32u * h) & bits;
        }
    if (LID < KINDS) equal[LID * (MATCH_WORDS + 1u) + MATCH_WORDS] = 0u;
    if (LID == KINDS) filled[8] = 0u;
    u32 others = warp_ballot(warp, other);
    if (LANE == 0u) differ[WARP] = others;
    SYNC;

    u32 ones = starts(equal, LID, bytes), more = starts(equal, LID + 128u, bytes);
    start[LID] = ones;
    start[LID + 128u] = more;
    ones = warp_ballot(warp, ones != 0u);
    more = warp_ballot(warp, more != 0u);
    if (LANE == 0u) { filled[WARP] = ones; filled[4u + WARP] = more; }
    SYNC;
    if (LID == 0u) many[0] = parse(equal, start, filled, list, bytes, bytes);
    SYNC;

    u32 count = many[0];
    u64 mine = literal_mask(list, count, 64u * LID, bytes);
    for (u32 r = 0; r < 16u; r++) {
        u32 j = (r + LID) & 15u, x = words[16u * LID + j], bits = (u32)(mine >> 4u * j) & 15u;
        for (u32 c = 0; c < 4u; c++)
            if (bits >> c & 1u) atomic_add_u32(column + (x >> 8u * c & 0xffu), 1u); /* a sum of whole numbers: the same in any order */
    }
    EACH_OF(k, count)
        if (k < count) count_match(column, list[k], k ? MATCH_POS(list[k - 1u]) + MATCH_LENGTH(list[k - 1u]) : 0u);
#if !PLANES
    EACH_OF(k, count)
        if (k < count) count_long(list, k, words, few);
    SYNC;
    SHARED_PTR u32 (*part)[128] = (SHARED_PTR u32 (*)[128])words; /* whose bytes are not wanted again */
    u32 x0 = column[LID], x1 = column[LID + 128u], x2 = LID + 256u < EXTRA_COLUMN ? column[LID + 256u] : 0u;
    u32 y0 = x0 + few[LID], y1 = x1 + few[LID + 128u], y2 = LID + 256u < EXTRA_COLUMN ? few[LID + 256u] : 0u;
    for (u32 r = 0; r < 2u * KEPT_ROWS; r++) part[r][LID] = 0u;
    add_kept(part, 0u, LID, x0);
    add_kept(part, 0u, LID + 128u, x1);
    add_kept(part, 0u, LID + 256u, x2);
    add_kept(part, KEPT_ROWS, LID, y0);
    add_kept(part, KEPT_ROWS, LID + 128u, y1);
    add_kept(part, KEPT_ROWS, LID + 256u, y2);
    SUM_ROWS(part, 2u * KEPT_ROWS);
    u32 all_literals = part[0][0], few_literals = part[KEPT_ROWS][0];
    if (2u * x0 >= all_literals) most[0] = x0; /* two at most, and then of equals */
    if (2u * x1 >= all_literals) most[0] = x1;
    if (2u * y0 >= few_literals) most[1] = y0;
    if (2u * y1 >= few_literals) most[1] = y1;
    SYNC;
    if (LID == 0u) many[1] = keep(part, most, column, few, list, many[0]);
    SYNC;
    EACH_OF(k, EXTRA_COLUMN + 1u)
        if (k <= EXTRA_COLUMN) column[k] = many[1] < many[0] ? few[k] + (k < LL_COLUMN ? column[k] : 0u) : column[k];
    count = many[1];
    mine = literal_mask(list, count, 64u * LID, bytes);
#endif
    GLOBAL u32 *mask = literals + (u64)BLOCK * MATCH_WORDS;
    mask[2u * LID] = (u32)mine;
    mask[2u * LID + 1u] = (u32)(mine >> 32);
    EACH_OF(k, count)
        if (k < count) matches[(u64)BLOCK * MATCHES + k] = list[k];
    SYNC;
    if (LID == 0u) {
        column[FIRST_COLUMN] = (differ[0] | differ[1] | differ[2] | differ[3]) ? SEVERAL : first & 0xffu;
        column[RAW_COLUMN] = bytes;
        column[MANY_COLUMN] = count;
    }
    SYNC;
    EACH_OF(k, COLUMNS)
        if (k < COLUMNS) counts[(u64)BLOCK * COLUMNS + k] = column[k];
}

/* rows of sums: literals, their kinds, c log2(c); then kinds and c log2(c) of literal lengths and of match lengths; matches and c log2(c) of distances */
#define ROWS 9u
INLINE void add_column(SHARED_PTR u32 (*part)[128], u32 row, u32 column, u32 x) {
    u32 inside = x ? x * log2_units(x) : 0u, kind = x ? 1u : 0u;
    if (column < LL_COLUMN) { part[row][LID] += x; part[row + 1u][LID] += kind; part[row + 2u][LID] += inside; }
    else if (column < ML_COLUMN) { part[row + 3u][LID] += kind; part[row + 4u][LID] += inside; }
    else if (column < WHICH_COLUMN) { part[row + 5u][LID] += kind; part[row + 6u][LID] += inside; }
    else if (column < EXTRA_COLUMN) { part[row + 7u][LID] += x; part[row + 8u][LID] += inside; }
}

/* the estimate of zstd_encode.py, in units of 1 / 256 bit */
INLINE u32 estimate(SHARED_PTR const u32 (*sum)[128], u32 row, u32 most, u32 extra, u32 raw, u32 first) {
    if (first != SEVERAL) return 32u * BIT;
    u32 n = sum[row][0], kinds = sum[row + 1u][0], many = sum[row + 7u][0], size = 8u * BIT;
    if (kinds >= 2u) {
        size = literal_bits(n, kinds, sum[row + 2u][0], most) + BIT * (48u + 6u * smaller(kinds, 64u));
        size = smaller(size, 8u * BIT * n);
    }
    if (many) {
        size += BIT * (extra + 24u) + whole(many) - sum[row + 8u][0];
        size += smaller(whole(many) - sum[row + 4u][0] + 5u * BIT * sum[row + 3u][0], 21u * BIT / 4u * many);
        size += smaller(whole(many) - sum[row + 6u][0] + 5u * BIT * sum[row + 5u][0], 21u * BIT / 4u * many);
    }
    return smaller(size + 48u * BIT, BIT * (8u * raw + 24u));
}

KERNEL(128) zstd_merge(GLOBAL const u32 *counts, GLOBAL u32 *blocks, GLOBAL u32 *about, GLOBAL const i32 *live, u32 n, u32 units) {
    SHARED u32 part[2 * ROWS][128], most[2];
    u32 regions = (units + UNITS - 1u) / UNITS, frame = BLOCK / regions, first_unit = BLOCK % regions * UNITS;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 here = smaller(UNITS, units - first_unit), begin = 0u, size = 0u, before = 0u, extra = 0u, raw = 0u, first = SEVERAL;
    u32 block0 = 0u, block1 = 0u, block2 = 0u; /* columns LID, LID + 128, LID + 256 of the block */
    GLOBAL const u32 *unit = counts + ((u64)frame * units + first_unit) * COLUMNS;
    GLOBAL u32 *out = blocks + (u64)frame * units + first_unit;
    for (u32 k = 0; k < here; k++) {
        u32 x0 = unit[LID], x1 = unit[LID + 128u], x2 = LID + 256u < EXTRA_COLUMN ? unit[LID + 256u] : 0u;
        for (u32 r = 0; r < 2u * ROWS; r++) part[r][LID] = 0u;
        add_column(part, 0u, LID, x0);
        add_column(part, 0u, LID + 128u, x1);
        add_column(part, 0u, LID + 256u, x2);
        add_column(part, ROWS, LID, x0 + block0);
        add_column(part, ROWS, LID + 128u, x1 + block1);
        add_column(part, ROWS, LID + 256u, x2 + block2);
        if (LID < 2u) most[LID] = 0u;
        SUM_ROWS(part, 2u * ROWS);
        u32 all_literals = part[0][0], both_literals = part[ROWS][0];
        if (2u * x0 >= all_literals) most[0] = x0; /* two at most, and then of equals */
        if (2u * x1 >= all_literals) most[0] = x1;
        if (2u * (x0 + block0) >= both_literals) most[1] = x0 + block0;
        if (2u * (x1 + block1) >= both_literals) most[1] = x1 + block1;
        SYNC;
        u32 its_extra = unit[EXTRA_COLUMN], its_raw = unit[RAW_COLUMN], its_first = unit[FIRST_COLUMN];
        u32 alone = estimate(part, 0u, most[0], its_extra, its_raw, its_first);
        u32 both = estimate(part, ROWS, most[1], extra + its_extra, raw + its_raw, its_first == first ? first : SEVERAL);
        SYNC; /* before part is written again */
        bool joins = k != 0u && both <= size + alone;
        begin = joins ? begin : k;
        before += joins ? 0u : size;
        size = joins ? both : alone;
        first = k == 0u || !joins || its_first == first ? its_first : SEVERAL;
        extra = its_extra + (joins ? extra : 0u);
        raw = its_raw + (joins ? raw : 0u);
        block0 = x0 + (joins ? block0 : 0u);
        block1 = x1 + (joins ? block1 : 0u);
        block2 = x2 + (joins ? block2 : 0u);
        if (LID == 0u) {
            out[k] = 0u;
            out[begin] = k + 1u - begin;
            about[BLOCK] = before + size; /* here: behind the loop PoCL may lose it */
        }
        unit += COLUMNS;
    }
}
