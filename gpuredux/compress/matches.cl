/* Matches at fixed distances in a block of up to 8 KiB of bytes: bitmaps of equal bytes, their runs, and the walk along them.
 *
 * Before it: KINDS distances, whose bitmaps lie behind each other, MATCH_WORDS + 1 words each; a match has MIN_MATCH bytes (4 or 8) or more.
 * grid: none of its own; functions of one thread, parse of one thread alone. */
#define MATCH_WORDS 256u

/* bit c: byte c of x equals byte c of y */
INLINE u32 equal_bytes(u32 x, u32 y) {
    u32 z = x ^ y;
    u32 same = ~(((z & 0x7f7f7f7fu) + 0x7f7f7f7fu) | z) & 0x80808080u;
    return (same >> 7) * 0x01020408u >> 24 & 15u;
}

INLINE u32 below(u32 base, u32 limit) { /* the bits i of a word with base + i < limit */
    return limit <= base ? 0u : limit - base >= 32u ? 0xffffffffu : (1u << (limit - base)) - 1u;
}

/* a word of the bitmap of match starts: MIN_MATCH ones in a row at some distance, before `end` */
INLINE u32 starts(SHARED_PTR const u32 *equal, u32 word, u32 end) {
    u32 ones = 0u;
    for (u32 k = 0; k < KINDS; k++) {
        u32 x = equal[k * (MATCH_WORDS + 1u) + word], y = equal[k * (MATCH_WORDS + 1u) + word + 1u];
        u32 four = x & (x >> 1 | y << 31) & (x >> 2 | y << 30) & (x >> 3 | y << 29);
#if MIN_MATCH == 8
        four &= (x >> 4 | y << 28) & (x >> 5 | y << 27) & (x >> 6 | y << 26) & (x >> 7 | y << 25);
#endif
        ones |= four;
    }
    return ones & below(32u * word, end);
}

/* how many ones follow in a bitmap from bit pos on; a zero comes before its end */
INLINE u32 run_from(SHARED_PTR const u32 *map, u32 pos) {
    u32 w = pos >> 5, zeros = ~map[w] & 0xffffffffu << (pos & 31u);
    while (!zeros) zeros = ~map[++w];
    return 32u * w + trailing_zeros(zeros) - pos;
}

/* a match: where it begins (14 bits), the number of its distance (2), its length (14); two bits are free */
#define MATCH(pos, which, length) ((pos) | (which) << 14 | (length) << 16)
#define MATCH_POS(m) ((m) & 0x3fffu)
#define MATCH_WHICH(m) ((m) >> 14 & 3u)
#define MATCH_LENGTH(m) ((m) >> 16 & 0x3fffu)

/* the longest run at pos over the bitmaps, the first of equals; or the one at pos + 1 <= last if it is longer by 2 or more */
INLINE u32 longest(SHARED_PTR const u32 *equal, u32 pos, u32 last) {
    u32 here = 0u, later = 0u;
    UNROLL_ON_GPU
    for (u32 k = 0; k < KINDS; k++) {
        u32 run = run_from(equal + k * (MATCH_WORDS + 1u), pos), run1 = run_from(equal + k * (MATCH_WORDS + 1u), pos + 1u);
        if (run > MATCH_LENGTH(here)) here = MATCH(pos, k, run);
        if (run1 > MATCH_LENGTH(later)) later = MATCH(pos + 1u, k, run1);
    }
    return pos < last && MATCH_LENGTH(later) > MATCH_LENGTH(here) + 1u ? later : here;
}

/* the first bit at or beyond pos that is set in a bitmap, 32 * MATCH_WORDS if there is none; filled: the bitmap of its words that are not 0 */
INLINE u32 next_one(SHARED_PTR const u32 *map, SHARED_PTR const u32 *filled, u32 pos) {
    u32 w = pos >> 5;
    if (w >= MATCH_WORDS) return 32u * MATCH_WORDS;
    u32 ones = map[w] & 0xffffffffu << (pos & 31u), f = (w + 1u) >> 5;
    if (ones) return 32u * w + trailing_zeros(ones);
    u32 words = filled[f] & 0xffffffffu << ((w + 1u) & 31u);
    while (!words && f < 8u) words = filled[++f];
    w = 32u * f + trailing_zeros(words);
    return f < 8u ? 32u * w + trailing_zeros(map[w]) : 32u * MATCH_WORDS;
}

/* one thread alone: list the matches of a block of n bytes, none beginning beyond `last`, and a last one of no length at n; how many before that one */
INLINE u32 parse(SHARED_PTR const u32 *equal, SHARED_PTR const u32 *start, SHARED_PTR const u32 *filled, SHARED_PTR u32 *matches, u32 n, u32 last) {
    u32 count = 0, pos = next_one(start, filled, 0u);
    while (pos < 32u * MATCH_WORDS) {
        u32 here = longest(equal, pos, last);
        matches[count++] = here;
        pos = next_one(start, filled, MATCH_POS(here) + MATCH_LENGTH(here));
    }
    matches[count] = MATCH(n, 0u, 0u);
    return count;
}
