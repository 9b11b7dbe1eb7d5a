/* FSE tables of the Zstandard encoder: shares, their description, states. Functions of one thread over SHARED; after zstd_codes.cl.
 *
 * grid: none of its own. source: RFC 8878, 4.1.1; the rules of shares and of the table's size are those of zstd_encode.py */
#define MOST_SYMBOLS 64u
#define MOST_STATES 512u
#define MOST_DESCRIPTION 128u

/* the state of one kind of codes */
#define FSE_WORDS (5u * MOST_SYMBOLS + MOST_STATES / 2u) /* counts, shares, bits, next, place; then the states, two in a word */

INLINE u32 table_log(u32 many, u32 kinds, u32 most) {
    u32 log = highest(many) - 2u, wide = highest(2u * kinds - 1u) + 1u;
    if (highest(many) < 2u || log < wide) log = wide;
    return smaller(log < 5u ? 5u : log, most);
}

/* share[0 .. symbols) adds up to 1 << log */
INLINE void normalise(SHARED_PTR const u32 *counts, u32 symbols, u32 total, u32 log, SHARED_PTR i32 *share) {
    i32 left = 1 << log;
    for (u32 s = 0u; s < symbols; s++) {
        u32 c = counts[s], many = c ? (u32)((((u64)c << (log + 1u)) + total) / (2u * (u64)total)) : 0u;
        share[s] = (i32)(c && many == 0u ? 1u : many);
        left -= share[s];
    }
    while (left != 0) {
        u32 largest = 0u;
        for (u32 s = 1u; s < symbols; s++) largest = share[s] > share[largest] ? s : largest;
        share[largest] += left > 0 ? 1 : -1;
        left -= left > 0 ? 1 : -1;
    }
}

/* the description of a table; its bytes */
INLINE u32 describe(SHARED_PTR const i32 *share, u32 log, SHARED_PTR u8 *to) {
    u64 held = log - 5u;
    u32 have = 4u, at = 0u, left = (1u << log) + 1u, s = 0u;
    while (left > 1u) {
        u32 width = highest(left) + 1u, limit = (1u << width) - 1u - left, value = (u32)share[s] + 1u, zeros = 0u;
        left -= (u32)share[s];
        if (value < limit) width--;
        else if (value >= 1u << (width - 1u)) value += limit;
        held |= (u64)value << have;
        have += width;
        bool none = share[s] == 0;
        s++;
        if (none) {
            while (share[s + zeros] == 0) zeros++;
            s += zeros;
        }
        while (none && zeros >= 3u) {
            held |= (u64)3 << have;
            have += 2u;
            zeros -= 3u;
            for (; have >= 8u; have -= 8u, held >>= 8) to[at++] = (u8)held;
        }
        held |= none ? (u64)zeros << have : 0;
        have += none ? 2u : 0u;
        for (; have >= 8u; have -= 8u, held >>= 8) to[at++] = (u8)held;
    }
    if (have) to[at++] = (u8)held;
    return at;
}

/* of a symbol s: (state + bits[s]) >> 16 is how many bits a state writes before it, next[s] + what is then left of the state is the place of the next
 * state. place, symbol: to work in (symbol: one for each state). A share of -1: less than one */
INLINE void fse_table(SHARED_PTR const i32 *share, u32 symbols, u32 log, SHARED_PTR i32 *bits, SHARED_PTR i32 *next, SHARED_PTR u32 *place,
                      SHARED_PTR u16 *states, SHARED_PTR u8 *symbol) {
    u32 size = 1u << log, mask = size - 1u, step = (size >> 1) + (size >> 3) + 3u, sum = 0u, free = size, at = 0u;
    for (u32 s = 0u; s < symbols; s++) {
        u32 many = share[s] < 0 ? 1u : (u32)share[s];
        if (many) {
            u32 width = many == 1u ? log : log - highest(many - 1u);
            bits[s] = (i32)((width << 16) - (many << width));
            next[s] = (i32)sum - (i32)many;
            place[s] = sum;
            sum += many;
        }
        if (share[s] < 0) symbol[--free] = (u8)s;
    }
    for (u32 s = 0u; s < symbols; s++)
        for (i32 k = 0; k < share[s]; k++) {
            symbol[at] = (u8)s;
            do at = (at + step) & mask;
            while (at >= free);
        }
    for (u32 state = 0u; state < size; state++) {
        u32 s = symbol[state];
        states[place[s]] = (u16)(size + state);
        place[s]++;
    }
}
