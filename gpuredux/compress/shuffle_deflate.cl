/* Frames to zlib streams of their shuffled bytes, the only matches runs. Over 200 lines: five kernels of one format.
 *
 * deflate_shuffle  grid: BLOCK = frame * tiles + tile; a thread moves 4 elements to the planes of their bytes. Compiled alone (SHUFFLE).
 * deflate_tally    grid: one block a unit of 32 KiB: which bytes equal the one before (a bitmap in shared memory), how often each byte comes,
 *                  from that the shortest match, then how often each symbol comes; the parts of the checksum.
 * deflate_codes    grid: BLOCK = 7 * group + node. A group is 4 units; node 0 to 3: one of them, 4 and 5: two neighbours, 6: all. The codes of a
 *                  block of them, its header, its size.
 * deflate_place    grid: one block a frame: which nodes are blocks, at which bit each unit begins; header, checksum, size. Words that
 *                  hold the end of one unit and the beginning of another become 0.
 * deflate_emit     grid: one block a unit: 4 KiB at a time, each thread the symbols that begin in its 32 bytes, put together in shared memory. Whole
 *                  words are stored, the first and the last one are ORed into what is there: OR is the same in any order. */
#define UNIT_BYTES 32768u
#define GROUP 4u
#define NODES 7u
#define UNIT_WORDS 356u /* of the tables of a unit: 288 counts, 64 words of shortest matches, 2 of the checksum, where it begins, its node and flags */
#define NODE_WORDS 376u /* of a node: 288 codes, 80 words of its header, size, kind, bits of its header, bits of each unit's symbols */
#define HEADER_AT 288u
#define INFO_AT 368u
#define GROUP_WORDS (GROUP * UNIT_WORDS + NODES * NODE_WORDS)
#define SYMBOLS 286u
#define LENGTHS_AT 288u /* behind them: the 19 symbols of code lengths */
#define END 256u
#define LONGEST 14u

#if SHUFFLE
KERNEL(128) deflate_shuffle(GLOBAL const u8 *code, GLOBAL u8 *planes, GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 stride) {
    u32 frame = BLOCK / tiles, k = (BLOCK % tiles * 128u + LID) * 4u;
    if (frame >= LIVE_ROWS(live, n) || k >= npix) return;
    GLOBAL const u8 *from = code + ((u64)frame * npix + k) * SIZE;
    GLOBAL u8 *to = planes + (u64)frame * stride + k;
#if WIDE
    u32 w[SIZE];
    UNROLL
    for (u32 i = 0u; i < SIZE; i++) w[i] = ((GLOBAL const u32 *)from)[i];
    UNROLL
    for (u32 rank = 0u; rank < SIZE; rank++) {
        u32 x = 0u;
        UNROLL
        for (u32 i = 0u; i < 4u; i++) x |= (w[(i * SIZE + rank) >> 2] >> 8u * ((i * SIZE + rank) & 3u) & 0xffu) << 8u * i;
        *(GLOBAL u32 *)(to + (u64)rank * npix) = x;
    }
#else
    for (u32 i = 0u; i < 4u && k + i < npix; i++)
        for (u32 rank = 0u; rank < SIZE; rank++) to[(u64)rank * npix + i] = from[i * SIZE + rank];
#endif
}
#else
#include "compress/huffman_lengths.cl"

#define WORDS (UNIT_BYTES / 32u)

INLINE u32 extra_of_symbol(u32 s) { return s < 265u || s == 285u ? 0u : (s - 261u) >> 2; }
INLINE u32 fixed_length(u32 s) { return s < 144u ? 8u : s < 256u ? 9u : s < 280u ? 7u : 8u; }
INLINE u32 length_symbol(u32 length) {
    u32 m = length - 3u;
    if (length == 258u) return 285u;
    if (m < 8u) return 257u + m;
    u32 top = 31u - leading_zeros(m);
    return 253u + 4u * top + (m >> (top - 2u) & 3u);
}
INLINE u32 low_bits(u32 count) { return count >= 32u ? 0xffffffffu : (1u << count) - 1u; }

/* which of the 32 bytes from 32 * word on equal the byte before; n: bytes of the unit; begins: it is the frame's first one */
INLINE u32 equal_bits(GLOBAL const u8 *b, u32 word, u32 n, bool begins) {
    if (32u * word >= n) return 0u;
    GLOBAL const u32 *x = (GLOBAL const u32 *)(b + 32u * word);
    u32 bits = 0u, before = begins && word == 0u ? 0u : b[(i32)(32u * word) - 1];
    for (u32 k = 0u; k < 8u; k++) {
        u32 z = x[k] ^ (x[k] << 8 | before);
        u32 same = ~(((z & 0x7f7f7f7fu) + 0x7f7f7f7fu) | z) & 0x80808080u;
        bits |= ((same >> 7) * 0x01020408u >> 24 & 15u) << 4u * k;
        before = x[k] >> 24;
    }
    bits &= low_bits(n - 32u * word);
    return begins && word == 0u ? bits & ~1u : bits;
}

/* the first place from pos on whose bit is not set; gaps: a bitmap of the words that are not all ones, with one more behind the last */
INLINE u32 run_end(SHARED_PTR const u32 *equal, SHARED_PTR const u32 *gaps, u32 pos) {
    u32 w = pos >> 5, zeros = ~equal[w] & 0xffffffffu << (pos & 31u);
    if (zeros) return 32u * w + trailing_zeros(zeros);
    u32 f = (w + 1u) >> 5, g = gaps[f] & 0xffffffffu << ((w + 1u) & 31u);
    while (!g) g = gaps[++f];
    w = 32u * f + trailing_zeros(g);
    return 32u * w + trailing_zeros(~equal[w]);
}

/* where the run begins that bit pos is in */
INLINE u32 run_start(SHARED_PTR const u32 *equal, SHARED_PTR const u32 *gaps, u32 pos) {
    u32 w = pos >> 5, zeros = ~equal[w] & ((1u << (pos & 31u)) - 1u);
    if (zeros) return 32u * w + 32u - leading_zeros(zeros);
    u32 f = w >> 5, g = gaps[f] & ((1u << (w & 31u)) - 1u);
    while (!g && f) g = gaps[--f];
    if (!g) return 0u;
    w = 32u * f + 31u - leading_zeros(g);
    return 32u * w + 32u - leading_zeros(~equal[w]);
}

/* how many bytes of a run are matches */
INLINE u32 matched(u32 run, u32 least) {
    u32 rest = run % 258u;
    return rest >= least ? run : run - rest;
}

/* the bitmap of a unit and of its gaps; a SYNC comes before it can be read */
INLINE void bitmaps(Warp warp, GLOBAL const u8 *b, u32 n, bool begins, SHARED_PTR u32 *equal, SHARED_PTR u32 *gaps) {
    for (u32 k = 0u; k < WORDS / 128u; k++) {
        u32 word = 128u * k + LID, bits = equal_bits(b, word, n, begins), gap = warp_ballot(warp, bits != 0xffffffffu);
        equal[word] = bits;
        if (LANE == 0u) gaps[4u * k + WARP] = gap;
    }
    if (LID == 0u) {
        equal[WORDS] = 0u;
        gaps[32] = 1u;
    }
}

/* counts of bytes, a copy for each warp, and the parts of the checksum of 32 bytes */
INLINE void count_bytes(GLOBAL const u8 *b, u32 word, u32 n, SHARED_PTR u32 *counts, u32 *low, u32 *high) {
    u32 first = 32u * word, left = first < n ? smaller(n - first, 32u) : 0u, sum = 0u, later = 0u, many = 0u, value = left ? b[first] : 0u;
    for (u32 k = 0u; 4u * k < left; k++) {
        u32 x = ((GLOBAL const u32 *)(b + first))[k];
        for (u32 i = 4u * k; i < smaller(left, 4u * k + 4u); i++, x >>= 8) {
            u32 v = x & 0xffu;
            sum += v;
            later += i * v;
            if (v != value) {
                atomic_add_u32(counts + value, many); /* sums are the same in any order */
                value = v;
                many = 0u;
            }
            many++;
        }
    }
    if (many) atomic_add_u32(counts + value, many);
    *low += sum;
    *high += (n - first) * sum - later; /* below 2^32 over the 8 times that a thread comes by */
}

INLINE u32 shortest_match(u32 count, u32 n) {
    u32 c = 1024u * count;
    return c < 161u * n ? 3u : c < 256u * n ? 4u : c < 337u * n ? 5u : c < 406u * n ? 6u : c < 463u * n ? 7u : c < 512u * n ? 8u : 9u;
}

KERNEL(128) deflate_tally(GLOBAL const u8 *planes, GLOBAL u32 *tables, GLOBAL const i32 *live, u32 n, u32 units, u32 frame_bytes, u32 stride) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 equal[WORDS + 1], gaps[33], counts[4 * 256], hist[288], sums[2];
    SHARED u8 least[256];
    u32 frame = BLOCK / units, unit = BLOCK % units, groups = (units + GROUP - 1u) / GROUP;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u8 *b = planes + (u64)frame * stride + unit * UNIT_BYTES;
    GLOBAL u32 *table = tables + ((u64)frame * groups + unit / GROUP) * GROUP_WORDS + unit % GROUP * UNIT_WORDS;
    u32 bytes = smaller(UNIT_BYTES, frame_bytes - unit * UNIT_BYTES), low = 0u, high = 0u;
    for (u32 k = 0u; k < 8u; k++) counts[128u * k + LID] = 0u;
    if (LID < 2u) sums[LID] = 0u;
    bitmaps(warp, b, bytes, unit == 0u, equal, gaps);
    SYNC;
    for (u32 k = 0u; k < WORDS / 128u; k++) count_bytes(b, 128u * k + LID, bytes, counts + 256u * WARP, &low, &high);
    atomic_add_u32(sums, low % 65521u);
    atomic_add_u32(sums + 1, high % 65521u);
    SYNC;
    for (u32 k = 0u; k < 2u; k++) {
        u32 v = 128u * k + LID, count = counts[v] + counts[v + 256u] + counts[v + 512u] + counts[v + 768u];
        hist[v] = count;
        least[v] = (u8)shortest_match(count, bytes);
    }
    if (LID < 32u) hist[256u + LID] = 0u;
    SYNC;
    for (u32 k = 0u; k < WORDS / 128u; k++) {
        u32 word = 128u * k + LID, bits = equal[word];
        u32 starts = bits & ~(bits << 1 | (word ? equal[word - 1u] >> 31 : 0u));
        while (starts) {
            u32 pos = 32u * word + trailing_zeros(starts), run = run_end(equal, gaps, pos) - pos, v = b[pos], take = matched(run, least[v]);
            starts &= starts - 1u;
            if (take >= 258u) atomic_add_u32(hist + 285, take / 258u);
            if (take % 258u) atomic_add_u32(hist + length_symbol(take % 258u), 1u);
            if (take) atomic_add_u32(hist + v, 0u - take);
        }
    }
    SYNC;
    for (u32 k = 0u; k < 3u; k++)
        if (128u * k + LID < 288u) table[128u * k + LID] = hist[128u * k + LID];
    if (LID < 64u) table[288u + LID] = least[4u * LID] | (u32)least[4u * LID + 1u] << 8 | (u32)least[4u * LID + 2u] << 16 | (u32)least[4u * LID + 3u] << 24;
    if (LID == 0u) {
        table[352] = sums[0] % 65521u;
        table[353] = sums[1] % 65521u;
    }
}

/* codes[s] = the code of symbol s, its first bit lowest, | its length << 16; a SYNC comes before they can be read. firsts: 16 words */
INLINE void canonical(SHARED_PTR const u8 *lengths, u32 symbols, SHARED_PTR u32 *codes, SHARED_PTR u32 *firsts) {
    if (LID < 16u) {
        u32 first = 0u; /* of the codes of LID bits: those of fewer bits, each as many as it would be with one bit more */
        for (u32 s = 0u; s < symbols; s++)
            if (lengths[s] && lengths[s] < LID) first += 1u << (LID - lengths[s]);
        firsts[LID] = first;
    }
    SYNC;
    EACH_OF(s, symbols) {
        if (s < symbols) {
            u32 bits = lengths[s], code = firsts[bits], turned = 0u;
            for (u32 t = 0u; t < s; t++) code += lengths[t] == bits;
            for (u32 k = 0u; k < bits; k++) turned |= (code >> k & 1u) << (bits - 1u - k);
            codes[s] = bits ? turned | bits << 16 : 0u;
        }
    }
}

/* thread 0 alone: the lengths of a dynamic block's codes as symbols: said[k] = symbol | extra << 8 | bits of extra << 16; how many; of: how often each */
INLINE u32 say(SHARED_PTR const u8 *lengths, u32 used, SHARED_PTR u32 *said, SHARED_PTR u32 *of) {
    u32 many = 0u, at = 0u;
    while (at < used + 2u) {
        u32 v = at < used ? lengths[at] : 1u, run = 1u;
        while (at + run < used + 2u && (at + run < used ? lengths[at + run] : 1u) == v) run++;
        at += run;
        if (v) {
            said[many++] = v;
            of[v]++;
            run--;
        }
        u32 most = v ? 6u : 138u, least = v ? 3u : 11u, symbol = v ? 16u : 18u, bits = v ? 2u : 7u;
        while (run >= least) {
            u32 part = smaller(run, most);
            said[many++] = symbol | (part - least) << 8 | bits << 16;
            of[symbol]++;
            run -= part;
        }
        if (!v && run >= 3u) {
            said[many++] = 17u | (run - 3u) << 8 | 3u << 16;
            of[17]++;
            run = 0u;
        }
        of[v] += run;
        while (run) {
            said[many++] = v;
            run--;
        }
    }
    return many;
}

/* the k-th symbol whose length is said */
INLINE u32 said_order(u32 k) { return k < 3u ? 16u + k : k == 3u ? 0u : k & 1u ? 7u - (k - 5u) / 2u : 8u + (k - 4u) / 2u; }

INLINE void add_bits(SHARED_PTR u32 *words, u32 *at, u32 value, u32 bits) {
    u32 w = *at >> 5, shift = *at & 31u;
    words[w] |= value << shift;
    if (shift + bits > 32u) words[w + 1u] |= value >> (32u - shift);
    *at += bits;
}

KERNEL(128) deflate_codes(GLOBAL u32 *tables, GLOBAL const i32 *live, u32 n, u32 units, u32 frame_bytes) {
    SHARED u32 counts[LENGTHS_AT + 19], codes[LENGTHS_AT + 19], said[292], header[80], work[HUFFMAN_WORK], firsts[16], parts[2 * GROUP], tail[2];
    SHARED u8 lengths[LENGTHS_AT + 32];
    u32 groups = (units + GROUP - 1u) / GROUP, frame = BLOCK / (groups * NODES), group = BLOCK / NODES % groups, node = BLOCK % NODES;
    u32 here = smaller(GROUP, units - group * GROUP), first = node < 4u ? node : node == 5u ? 2u : 0u, many = node < 4u ? 1u : node < 6u ? 2u : here;
    if (frame >= LIVE_ROWS(live, n) || first + many > here || (node == 6u && here < 3u)) return;
    GLOBAL u32 *table = tables + ((u64)frame * groups + group) * GROUP_WORDS;
    GLOBAL u32 *mine = table + GROUP * UNIT_WORDS + node * NODE_WORDS;
    EACH_OF(s, 288u) {
        if (s < 288u) {
            u32 count = s == END;
            for (u32 u = 0u; u < many; u++) count += table[(first + u) * UNIT_WORDS + s];
            counts[s] = count;
        }
    }
    if (LID < 19u) counts[LENGTHS_AT + LID] = 0u;
    if (LID < 80u) header[LID] = 0u;
    if (LID < 2u * GROUP) parts[LID] = 0u;
    SYNC;
    UNROLL_ON_GPU /* tried: the function twice in a row takes PoCL minutes to compile */
    for (u32 pass = 0u; pass < 2u; pass++) { /* the block's codes; then the code that their lengths are said in */
        u32 from = pass * LENGTHS_AT, symbols = pass ? 19u : SYMBOLS;
        huffman_lengths(counts + from, symbols, pass ? 7u : LONGEST, lengths + from, work);
        canonical(lengths + from, symbols, codes + from, firsts);
        if (LID == 0u && pass == 0u) {
            u32 used = SYMBOLS;
            while (lengths[used - 1u] == 0u) used--;
            tail[0] = say(lengths, used, said, counts + LENGTHS_AT);
            tail[1] = used;
        }
        SYNC;
    }
    if (LID == 0u) {
        u32 last = 18u, at = 0u;
        while (last > 3u && lengths[LENGTHS_AT + said_order(last)] == 0u) last--;
        add_bits(header, &at, 4u | (tail[1] - 257u) << 3 | 1u << 8 | (last - 3u) << 13, 17u);
        for (u32 k = 0u; k <= last; k++) add_bits(header, &at, lengths[LENGTHS_AT + said_order(k)], 3u);
        for (u32 k = 0u; k < tail[0]; k++) {
            u32 x = said[k], code = codes[LENGTHS_AT + (x & 0xffu)];
            add_bits(header, &at, (code & 0xffffu) | (x >> 8 & 0xffu) << (code >> 16), (code >> 16) + (x >> 16));
        }
        tail[1] = at;
    }
    SYNC;

    for (u32 u = 0u; u < many; u++) {
        u32 by_fixed = 0u, by_own = 0u;
        for (u32 k = 0u; k < 3u; k++) {
            u32 s = 128u * k + LID;
            if (s < SYMBOLS) {
                u32 count = table[(first + u) * UNIT_WORDS + s], extra = extra_of_symbol(s);
                by_fixed += count * (fixed_length(s) + extra + (s > END ? 5u : 0u));
                by_own += count * (lengths[s] + extra + (s > END ? 1u : 0u));
            }
        }
        atomic_add_u32(parts + u, by_own); /* sums are the same in any order */
        atomic_add_u32(parts + GROUP + u, by_fixed);
    }
    SYNC;
    u32 fixed = 10u, dynamic = tail[1] + lengths[END]; /* with the end of the block */
    for (u32 u = 0u; u < GROUP; u++) {
        dynamic += parts[u];
        fixed += parts[GROUP + u];
    }
    u32 bytes = smaller(UNIT_BYTES, frame_bytes - smaller(frame_bytes, (group * GROUP + first) * UNIT_BYTES));
    u32 stored = node < 4u ? 42u + 8u * bytes : 0xffffffffu;
    u32 kind = stored <= smaller(fixed, dynamic) ? 0u : fixed <= dynamic ? 1u : 2u;
    EACH_OF(s, 288u) {
        if (s < 288u) {
            u32 bits = fixed_length(s), turned = 0u, code = s < 144u ? 0x30u + s : s < 256u ? 0x190u + s - 144u : s < 280u ? s - 256u : 0xc0u + s - 280u;
            for (u32 k = 0u; k < bits; k++) turned |= (code >> k & 1u) << (bits - 1u - k);
            mine[s] = kind == 2u ? (s < SYMBOLS ? codes[s] : 0u) : turned | bits << 16;
        }
    }
    if (LID < 80u) mine[HEADER_AT + LID] = kind == 2u ? header[LID] : LID == 0u ? 2u * kind : 0u;
    if (LID == 0u) {
        mine[INFO_AT] = kind == 0u ? stored : kind == 1u ? fixed : dynamic;
        mine[INFO_AT + 1u] = kind;
        mine[INFO_AT + 2u] = kind == 2u ? tail[1] : 3u;
    }
    if (LID < GROUP) mine[INFO_AT + 3u + LID] = parts[kind == 2u ? LID : GROUP + LID];
}

#define FIRST_OF_BLOCK 8u
#define LAST_OF_BLOCK 16u
#define FINAL_BLOCK 32u

/* the node that each unit of a group is in, 3 bits a unit */
INLINE u32 owners(GLOBAL const u32 *table, u32 here) {
    GLOBAL const u32 *size = table + GROUP * UNIT_WORDS + INFO_AT;
    u32 own = 0u | 1u << 3 | 2u << 6 | 3u << 9, left = size[0], right = here > 2u ? size[2u * NODE_WORDS] : 0u;
    if (here > 1u) {
        u32 split = left + size[NODE_WORDS], joined = size[4u * NODE_WORDS];
        left = smaller(split, joined);
        if (joined <= split) own = (own & ~077u) | 4u | 4u << 3;
    }
    if (here > 3u) {
        u32 split = right + size[3u * NODE_WORDS], joined = size[5u * NODE_WORDS];
        right = smaller(split, joined);
        if (joined <= split) own = (own & 077u) | 5u << 6 | 5u << 9;
    }
    return here > 2u && size[6u * NODE_WORDS] <= left + right ? 06666u : own;
}

INLINE void clear_word(GLOBAL u8 *chunk, u32 bit, u32 size) {
    for (u32 k = bit >> 5 << 2; k < smaller((bit >> 5 << 2) + 4u, size); k++) chunk[k] = 0u;
}

KERNEL(128) deflate_place(GLOBAL u32 *tables, GLOBAL u8 *payload, GLOBAL u32 *size, GLOBAL const i32 *live, u32 n, u32 units, u32 frame_bytes, u32 cap) {
    SHARED u32 step[128 * GROUP], sums[2], held[1];
    u32 frame = BLOCK, groups = (units + GROUP - 1u) / GROUP;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u32 *table = tables + (u64)frame * groups * GROUP_WORDS;
    u32 pos = 16u, low = 0u, high = 0u;
    if (LID < 2u) sums[LID] = 0u;
    for (u32 tile = 0u; tile < groups; tile += 128u) {
        u32 g = tile + LID, here = g < groups ? smaller(GROUP, units - g * GROUP) : 0u, own = 0u;
        GLOBAL u32 *group = table + (u64)g * GROUP_WORDS;
        if (here) own = owners(group, here);
        for (u32 u = 0u; u < here; u++) { /* what a unit takes: twice its bits, or twice its bytes and 1 if it is stored */
            u32 node = own >> 3u * u & 7u, unit = g * GROUP + u, bytes = smaller(UNIT_BYTES, frame_bytes - unit * UNIT_BYTES);
            u32 first = node < 4u || u == 0u || (own >> 3u * (u - 1u) & 7u) != node, last = node < 4u || u + 1u == here || (own >> 3u * (u + 1u) & 7u) != node;
            GLOBAL const u32 *code = group + GROUP * UNIT_WORDS + node * NODE_WORDS;
            GLOBAL u32 *mine = group + u * UNIT_WORDS;
            u32 end = node < 4u ? u + 1u : node < 6u ? 2u * (node - 3u) : here, part = u - (node < 4u ? u : node == 5u ? 2u : 0u);
            u32 bits = code[INFO_AT + 3u + part] + (first ? code[INFO_AT + 2u] : 0u) + (last ? code[END] >> 16 : 0u);
            step[GROUP * LID + u] = code[INFO_AT + 1u] ? 2u * bits : 2u * bytes + 1u;
            mine[355] = node | (first ? FIRST_OF_BLOCK : 0u) | (last ? LAST_OF_BLOCK : 0u) | (g * GROUP + end == units ? FINAL_BLOCK : 0u);
            u32 after = (frame_bytes - unit * UNIT_BYTES - bytes) % 65521u;
            low = (low + mine[352]) % 65521u;
            high = (high + mine[353] + mine[352] * after % 65521u) % 65521u;
        }
        SYNC;
        if (LID == 0u) {
            for (u32 k = 0u; k < smaller(units - tile * GROUP, 128u * GROUP); k++) {
                u32 x = step[k];
                step[k] = pos;
                pos = x & 1u ? ((pos + 10u) & ~7u) + 32u + 8u * (x >> 1) : pos + (x >> 1);
            }
            held[0] = pos;
        }
        SYNC;
        for (u32 u = 0u; u < here; u++) group[u * UNIT_WORDS + 354u] = step[GROUP * LID + u];
        SYNC;
    }
    u32 end = (held[0] + 7u) >> 3;
    atomic_add_u32(sums, low);
    atomic_add_u32(sums + 1, high);
    GLOBAL u8 *chunk = payload + (u64)frame * cap;
    for (u32 tile = 0u; tile < units; tile += 128u) {
        u32 unit = tile + LID;
        if (unit < units) clear_word(chunk, table[(u64)(unit / GROUP) * GROUP_WORDS + unit % GROUP * UNIT_WORDS + 354u], end);
    }
    if (LID == 0u) clear_word(chunk, held[0], end);
    SYNC;
    if (LID == 0u) {
        low = (1u + sums[0]) % 65521u;
        high = (frame_bytes + sums[1]) % 65521u;
        chunk[0] = 0x78u; chunk[1] = 0x01u;
        chunk[end] = (u8)(high >> 8); chunk[end + 1u] = (u8)high; chunk[end + 2u] = (u8)(low >> 8); chunk[end + 3u] = (u8)low;
        size[frame] = end + 4u;
    }
}

/* bits that are written one after another into shared words that are 0 */
typedef struct {
    SHARED_PTR u32 *words;
    u32 at, held; /* the next word, and how many bits of it are in `ahead` */
    u64 ahead;
} Writer;
INLINE void write_bits(Writer *w, u32 value, u32 bits) {
    w->ahead |= (u64)value << w->held;
    w->held += bits;
    if (w->held >= 32u) {
        atomic_or_u32(w->words + w->at, (u32)w->ahead);
        w->at++;
        w->ahead >>= 32;
        w->held -= 32u;
    }
}

/* the symbols that begin in 32 bytes of a unit of n: how many bits they have; where `write` is set they are written */
INLINE u32 symbols(GLOBAL const u8 *b, u32 word, u32 n, SHARED_PTR const u32 *equal, SHARED_PTR const u32 *gaps, SHARED_PTR const u8 *least,
                   SHARED_PTR const u32 *codes, u32 distance, bool write, Writer *w) {
    u32 first = 32u * word, left = first < n ? smaller(n - first, 32u) : 0u, bits = equal[word], total = 0u, literals = 0u, next = 0u, covered = 0u;
    for (u32 k = 0u; 4u * k < left; k++) {
        u32 x = ((GLOBAL const u32 *)(b + first))[k];
        for (u32 i = 4u * k; i < smaller(left, 4u * k + 4u); i++, x >>= 8) {
            u32 v = x & 0xffu, pos = first + i;
            if ((bits >> i & 1u) && (i == 0u || !(bits >> (i - 1u) & 1u))) { /* a run, or the rest of one */
                u32 start = i ? pos : run_start(equal, gaps, pos);
                covered = start + matched(run_end(equal, gaps, pos) - start, least[v]);
                next = start + (pos - start + 257u) / 258u * 258u;
            }
            literals = !(bits >> i & 1u) || pos >= covered;
            if (literals || pos == next) {
                u32 length = literals ? 0u : smaller(258u, covered - pos), s = literals ? v : length_symbol(length), code = codes[s];
                u32 size = code >> 16, value = code & 0xffffu;
                if (!literals) {
                    u32 extra = extra_of_symbol(s);
                    value |= ((length - 3u) & low_bits(extra)) << size;
                    size += extra + distance;
                }
                total += size;
                if (write) write_bits(w, value, size);
            }
        }
    }
    return total;
}

/* byte k of a stored unit whose bits begin at bit pos; from: its first byte behind them */
INLINE u32 stored_byte(GLOBAL const u8 *b, u32 n, u32 k, u32 pos, u32 from, u32 final) {
    if (k >= from + 4u) return k - from - 4u < n ? b[k - from - 4u] : 0u;
    if (k >= from) return (k - from < 2u ? n : ~n) >> 8u * (k - from & 1u) & 0xffu;
    return k == pos >> 3 ? final << (pos & 7u) : 0u;
}

INLINE void emit_stored(GLOBAL const u8 *b, u32 n, GLOBAL u32 *chunk, u32 pos, u32 final) {
    u32 from = (pos + 10u) >> 3, end = from + 4u + n;
    for (u32 tile = pos >> 5; tile < (end + 3u) >> 2; tile += 128u) {
        u32 w = tile + LID, x = 0u;
        if (4u * w < end) {
            for (u32 k = 0u; k < 4u; k++) x |= stored_byte(b, n, 4u * w + k, pos, from, final) << 8u * k;
            if (w == pos >> 5 || 4u * w + 4u > end) atomic_or_u32(chunk + w, x);
            else chunk[w] = x;
        }
    }
}

#define BUFFER 1872u /* words: 4096 literals of LONGEST bits, a header, an end */

KERNEL(128) deflate_emit(GLOBAL const u8 *planes, GLOBAL const u32 *tables, GLOBAL u8 *payload, GLOBAL const i32 *live, u32 n, u32 units, u32 frame_bytes,
                         u32 stride, u32 cap) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 equal[WORDS + 1], gaps[33], codes[288], least[64], words[BUFFER], sums[4];
    u32 frame = BLOCK / units, unit = BLOCK % units, groups = (units + GROUP - 1u) / GROUP;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u8 *b = planes + (u64)frame * stride + unit * UNIT_BYTES;
    GLOBAL const u32 *group = tables + ((u64)frame * groups + unit / GROUP) * GROUP_WORDS, *table = group + unit % GROUP * UNIT_WORDS;
    u32 bytes = smaller(UNIT_BYTES, frame_bytes - unit * UNIT_BYTES), pos = table[354], flags = table[355];
    GLOBAL const u32 *code = group + GROUP * UNIT_WORDS + (flags & 7u) * NODE_WORDS;
    GLOBAL u32 *chunk = (GLOBAL u32 *)(payload + (u64)frame * cap);
    u32 final = flags & FINAL_BLOCK ? 1u : 0u, kind = code[INFO_AT + 1u];
    if (kind == 0u) {
        emit_stored(b, bytes, chunk, pos, final);
        return;
    }
    bitmaps(warp, b, bytes, unit == 0u, equal, gaps);
    EACH_OF(k, 288u)
        if (k < 288u) codes[k] = code[k];
    if (LID < 64u) least[LID] = table[288u + LID];
    EACH_OF(k, BUFFER)
        if (k < BUFFER) words[k] = 0u;
    SYNC;
    u32 to = pos >> 5, fill = pos & 31u, distance = kind == 2u ? 1u : 5u; /* words[0] is chunk[to], of which fill bits are there */
    if (flags & FIRST_OF_BLOCK) {
        u32 bits = code[INFO_AT + 2u];
        if (32u * LID < bits) {
            u32 x = code[HEADER_AT + LID] | (LID == 0u ? final : 0u);
            atomic_or_u32(words + LID, x << fill);
            if (fill) atomic_or_u32(words + LID + 1u, x >> (32u - fill));
        }
        fill += bits;
    }
    bool begun = false;
    for (u32 tile = 0u; 4096u * tile < bytes; tile++) {
        Writer w;
        u32 word = 128u * tile + LID, all, mine = symbols(b, word, bytes, equal, gaps, (SHARED_PTR const u8 *)least, codes, distance, false, &w);
        u32 at = fill + block_scan(warp, sums, mine, &all) - mine;
        w.words = words; w.at = at >> 5; w.held = at & 31u; w.ahead = 0ul;
        symbols(b, word, bytes, equal, gaps, (SHARED_PTR const u8 *)least, codes, distance, true, &w);
        if (w.held) atomic_or_u32(words + w.at, (u32)w.ahead);
        fill += all;
        if ((flags & LAST_OF_BLOCK) && 4096u * tile + 4096u >= bytes) {
            u32 end = codes[END];
            if (LID == 0u) {
                atomic_or_u32(words + (fill >> 5), (end & 0xffffu) << (fill & 31u));
                if ((fill & 31u) + (end >> 16) > 32u) atomic_or_u32(words + (fill >> 5) + 1u, (end & 0xffffu) >> (32u - (fill & 31u)));
            }
            fill += end >> 16;
        }
        SYNC;
        u32 full = fill >> 5, carry = words[full];
        EACH_OF(k, full) {
            if (k < full) {
                if (k == 0u && !begun) atomic_or_u32(chunk + to, words[0]);
                else chunk[to + k] = words[k];
            }
        }
        SYNC;
        EACH_OF(k, full + 1u)
            if (k <= full) words[k] = k ? 0u : carry;
        begun = begun || full > 0u;
        to += full;
        fill &= 31u;
        SYNC;
    }
    if (LID == 0u && fill) atomic_or_u32(chunk + to, words[0]);
}
#endif
