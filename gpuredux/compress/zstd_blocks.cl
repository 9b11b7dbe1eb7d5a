/* Blocks of Zstandard frames from units, their matches and counts: step 3 of zstd_encode.py, and the chunk around them. Over 200 lines: one block's text.
 *
 * zstd_literals   grid: one block a unit, of those with which a block begins: code lengths, tree, four streams: where each code goes is a prefix sum of
 *                 bits; a thread has 64 bytes of each unit and joins its codes into words, of which it shares but the first and the last with others
 * zstd_sequences  grid: as zstd_literals: codes of 128 sequences at a time; three threads walk the states of the three tables; bits as above
 * zstd_close      grid: a thread a unit: the last states, the size
 * zstd_place      grid: one block a frame: where its blocks begin, headers, the elements beyond a multiple of 8, the size
 * zstd_gather     grid: as zstd_literals: the block to the payload, from its slot, or raw from the shuffled bytes
 *
 * A slot has the block's first byte of content at byte 4. block_size: bytes of content, KIND_RAW and KIND_RLE beside them. */
#include "compress/zstd_codes.cl"
#include "compress/zstd_fse.cl"
#include "compress/huffman_lengths.cl"
#include "compress/gather.cl"
#include "compress/zstd_frame.cl"
#define MATCH_WORDS 256u
#define MATCH_POS(m) ((m) & 0x3fffu)
#define MATCH_WHICH(m) ((m) >> 14 & 3u)
#define MATCH_LENGTH(m) ((m) >> 16 & 0x3fffu)
#define FOUR_STREAMS 256u
#define CODE_MOST 11u

/* ------------------------------------------------------------------------------------------------ bits into words */
typedef struct {
    GLOBAL u32 *word;
    u64 held;
    u32 have;
    bool whole; /* the word is this thread's alone */
} Writer;

INLINE void write_from(Writer *out, GLOBAL u32 *words, u32 bit) {
    out->word = words + (bit >> 5);
    out->held = 0;
    out->have = bit & 31u;
    out->whole = (bit & 31u) == 0u;
}
INLINE void write_word(Writer *out) {
    if (out->whole) *out->word = (u32)out->held;
    else atomic_or_u32(out->word, (u32)out->held); /* OR is the same in any order */
    out->word++;
    out->held >>= 32;
    out->have -= 32u;
    out->whole = true;
}
INLINE void write_bits(Writer *out, u32 value, u32 count) { /* count <= 32 */
    out->held |= (u64)value << out->have;
    out->have += count;
    if (out->have >= 32u) write_word(out);
}
INLINE void write_end(Writer *out) {
    if (out->have) atomic_or_u32(out->word, (u32)out->held);
}

/* the bytes of this thread in a unit that are literals: bit k for byte 64 * LID + k */
INLINE u64 literals_of(GLOBAL const u32 *mask, bool first_too) {
    u64 bits = (u64)mask[2u * LID] | (u64)mask[2u * LID + 1u] << 32;
    return first_too && LID == 0u ? bits | 1u : bits;
}
INLINE u32 count_literals(u64 bits) { return count_ones((u32)bits) + count_ones((u32)(bits >> 32)); }

/* -------------------------------------------------------------------------------------------------------- literals
 * one thread: the weights' description to `tree`; its bytes, 0 where there is none */
INLINE u32 describe_tree(SHARED_PTR const u8 *lengths, u32 longest, SHARED_PTR u8 *tree, SHARED_PTR u32 *fse, SHARED_PTR u8 *symbol) {
    SHARED_PTR u32 *counts = fse, *place = fse + 4u * MOST_SYMBOLS;
    SHARED_PTR i32 *share = (SHARED_PTR i32 *)(fse + MOST_SYMBOLS), *bits = (SHARED_PTR i32 *)(fse + 2u * MOST_SYMBOLS);
    SHARED_PTR i32 *next = (SHARED_PTR i32 *)(fse + 3u * MOST_SYMBOLS);
    SHARED_PTR u16 *states = (SHARED_PTR u16 *)(fse + 5u * MOST_SYMBOLS);
    u32 last = 255u, kinds = 0u, size = 0u;
    while (lengths[last] == 0u) last--;
    for (u32 w = 0u; w < 16u; w++) counts[w] = 0u;
    for (u32 s = 0u; s < last; s++) counts[lengths[s] ? longest + 1u - lengths[s] : 0u]++;
    for (u32 w = 0u; w < 12u; w++) kinds += counts[w] != 0u;
    if (last >= 2u && kinds >= 2u) {
        u32 log = 6u, have, odd = 0u, even = 0u, full = 1u << log;
        normalise(counts, 12u, last, log, share);
        size = 1u + describe(share, log, tree + 1);
        fse_table(share, 12u, log, bits, next, place, states, symbol);
        u64 held = 0;
        have = 0u;
        for (u32 k = last; k > 0u; k--) {
            u32 s = lengths[k - 1u] ? longest + 1u - lengths[k - 1u] : 0u, state = (k - 1u) & 1u ? odd : even;
            if (k + 1u < last) { /* but for the last two, which only begin a state */
                u32 width = (u32)((i32)state + bits[s]) >> 16;
                held |= (u64)(state & ((1u << width) - 1u)) << have;
                have += width;
                state = states[next[s] + (i32)(state >> width)];
            } else
                state = states[next[s] + share[s]];
            odd = (k - 1u) & 1u ? state : odd;
            even = (k - 1u) & 1u ? even : state;
            for (; have >= 8u; have -= 8u, held >>= 8) tree[size++] = (u8)held;
        }
        held |= ((u64)(odd - full) | (u64)(even - full) << log | (u64)1 << 2u * log) << have;
        have += 2u * log + 1u;
        for (; have >= 8u; have -= 8u, held >>= 8) tree[size++] = (u8)held;
        if (have) tree[size++] = (u8)held;
        size--; /* without its own length */
    }
    u32 direct = (last + 1u) / 2u;
    if (size != 0u && size < 128u && (last > 128u || size < direct)) {
        tree[0] = (u8)size;
        return size + 1u;
    }
    if (last > 128u) return 0u;
    tree[0] = (u8)(127u + last);
    for (u32 k = 0u; k < direct; k++) {
        u32 a = lengths[2u * k], b = 2u * k + 1u < last ? lengths[2u * k + 1u] : 0u;
        tree[1u + k] = (u8)((a ? longest + 1u - a : 0u) << 4 | (b ? longest + 1u - b : 0u));
    }
    return direct + 1u;
}

/* what one thread decides of a section of `all` literals; in SHARED, for PoCL keeps no choice of a thread over a SYNC right (tried) */
#define S_PLAIN 0u
#define S_HEADER 1u /* bytes */
#define S_BODY 2u
#define S_FIRST 3u  /* the header's first four bytes, and the fifth */
#define S_SECOND 4u
#define S_JUMPS 5u  /* where in the slot the lengths of the streams belong, 0: nowhere */
#define S_FROM 6u   /* of each stream: its first bit in the slot, */
#define S_BEGIN 10u /* and the bits of the streams before it */
INLINE void section_of(u32 all, u32 kinds, u32 tree_bytes, u32 streams, bool plain, SHARED_PTR const u32 *stream, SHARED_PTR u32 *info) {
    u32 body = tree_bytes + (streams == 4u ? 6u : 0u), bits = 0u;
    for (u32 q = 0u; q < streams; q++) body += stream[q] / 8u + 1u;
    u32 most = all > body ? all : body, form = streams == 1u ? 0u : 1u, width = 10u, plain_header = all < 32u ? 1u : all < 4096u ? 2u : 3u;
    if (most >= 1u << 10) { form = most < 1u << 14 ? 2u : 3u; width = most < 1u << 14 ? 14u : 18u; }
    u32 header = (4u + 2u * width) / 8u;
    u64 value = 2u | form << 2 | (u64)all << 4 | (u64)body << (4u + width);
    if (plain || header + body >= plain_header + all) {
        plain = true;
        body = kinds == 1u ? 1u : all;
        header = plain_header;
        value = (kinds == 1u ? 1u : 0u) | (all < 32u ? all << 3 : all < 4096u ? 1u << 2 | all << 4 : 3u << 2 | all << 4);
    }
    info[S_PLAIN] = plain ? 1u : 0u;
    info[S_HEADER] = header;
    info[S_BODY] = body;
    info[S_FIRST] = (u32)value;
    info[S_SECOND] = (u32)(value >> 32);
    info[S_JUMPS] = !plain && streams == 4u ? 4u + header + tree_bytes : 0u;
    u32 at = 4u + header + tree_bytes + (streams == 4u ? 6u : 0u);
    for (u32 q = 0u; q < 4u; q++) {
        info[S_FROM + q] = 8u * at;
        info[S_BEGIN + q] = bits;
        at += q < streams ? stream[q] / 8u + 1u : 0u;
        bits += q < streams ? stream[q] : 0u;
    }
}

KERNEL(128) zstd_literals(GLOBAL const u8 *shuffled, GLOBAL const u32 *matches, GLOBAL const u32 *counts, GLOBAL const u32 *literals, GLOBAL const u32 *blocks,
                          GLOBAL u32 *slots, GLOBAL u32 *block_size, GLOBAL const i32 *live, u32 n, u32 units, u32 total, u32 pitch) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sum[3][128], count[256], code[256], work[HUFFMAN_WORK], stream[8], sums[4], number[2], info[16];
    SHARED u8 lengths[256], tree[320], symbol[MOST_STATES];
    u32 frame = BLOCK / units, unit = BLOCK % units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 many = blocks[BLOCK];
    if (many == 0u) return;
    GLOBAL const u32 *column = counts + (u64)BLOCK * COLUMNS;
    GLOBAL const u32 *mask = literals + (u64)BLOCK * MATCH_WORDS;
    GLOBAL const u8 *raw = shuffled + (u64)frame * pitch + unit * UNIT_BYTES;
    GLOBAL u32 *slot = slots + (u64)BLOCK * (SLOT_BYTES / 4u);
    GLOBAL u8 *bytes = (GLOBAL u8 *)slot;
    u32 first = column[FIRST_COLUMN];
    for (u32 v = 1u; v < many; v++) first = column[v * COLUMNS + FIRST_COLUMN] == first ? first : SEVERAL;
    if (first != SEVERAL) {
        if (LID == 0u) {
            bytes[4] = (u8)first;
            block_size[BLOCK] = 1u | KIND_RLE;
        }
        return;
    }
    bool shift = !PLANES && column[MANY_COLUMN] != 0u && MATCH_POS(matches[(u64)BLOCK * MATCHES]) == 0u; /* see sequences_of */
    u32 left = 0u, kinds = 0u, coded = 0u, first_byte = raw[0];
    for (u32 second = 0u; second < 2u; second++) {
        u32 k = LID + 128u * second, c = shift && k == first_byte ? 1u : 0u;
        for (u32 v = 0u; v < many; v++) c += column[v * COLUMNS + k];
        count[k] = c;
        left += c;
        kinds += c != 0u;
    }
    sum[0][LID] = left;
    sum[1][LID] = kinds;
    SUM_ROWS(sum, 2u);
    u32 all = sum[0][0];
    kinds = sum[1][0];
    SYNC;
    huffman_lengths(count, 256u, CODE_MOST, lengths, work);
    for (u32 second = 0u; second < 2u; second++) {
        u32 k = LID + 128u * second, mine = lengths[k], start = 0u, here = 0u;
        for (u32 s = 0u; s < 256u; s++) { /* longer codes come first; a shorter one begins where they end */
            u32 other = lengths[s];
            here += other == mine && s < k ? 1u : 0u;
            start += other > mine ? 1u << (CODE_MOST - other) : 0u;
        }
        code[k] = mine ? (start >> (CODE_MOST - mine)) + here | mine << 16 : 0u;
        coded += count[k] * mine;
    }
    sum[2][LID] = coded;
    if (LID < 8u) stream[LID] = 0u;
    SUM_ROWS(sum + 2, 1u);
    if (LID == 0u) {
        u32 longest = 0u;
        for (u32 s = 0u; s < 256u; s++) longest = lengths[s] > longest ? lengths[s] : longest;
        number[0] = kinds < 2u ? 0u : describe_tree(lengths, longest, tree, work, symbol);
    }
    SYNC;
    u32 tree_bytes = number[0], quarter = all < FOUR_STREAMS ? all : (all + 3u) / 4u, streams = all < FOUR_STREAMS ? 1u : 4u;
    bool plain = tree_bytes == 0u || (sum[2][0] >> 3) + tree_bytes >= all;

    /* bits of each stream */
    u32 index = 0u;
    for (u32 v = 0u; v < many; v++) {
        u64 mine = literals_of(mask + v * MATCH_WORDS, shift && v == 0u);
        u32 here, at = index + block_scan(warp, sums, count_literals(mine), &here) - count_literals(mine);
        index += here;
        u32 q = quarter ? at / quarter : 0u, end = (q + 1u) * quarter, one = 0u, two = 0u;
        GLOBAL const u8 *b = raw + v * UNIT_BYTES + 64u * LID;
        for (u32 k = 0u; k < 64u && mine >> k; k++)
            if (mine >> k & 1u) {
                u32 width = code[b[k]] >> 16;
                one += at < end ? width : 0u;
                two += at < end ? 0u : width;
                at++;
            }
        if (one) atomic_add_u32(stream + q, one); /* whole numbers: the same in any order */
        if (two) atomic_add_u32(stream + q + 1u, two);
        SYNC;
    }
    if (LID == 0u) section_of(all, kinds, tree_bytes, streams, plain, stream, info);
    SYNC;
    plain = info[S_PLAIN] != 0u;
    u32 header = info[S_HEADER], words = (4u + header + info[S_BODY] + 3u) / 4u;
    EACH_OF(k, words)
        if (k < words) slot[k] = 0u;
    SYNC;
    u32 jumps = info[S_JUMPS];
    u64 value = (u64)info[S_FIRST] | (u64)info[S_SECOND] << 32;
    if (LID == 0u) block_size[BLOCK] = header + info[S_BODY];
    if (LID < header) bytes[4u + LID] = (u8)(value >> 8u * LID);
    if (LID < (jumps ? 6u : 0u)) bytes[jumps + LID] = (u8)((stream[LID >> 1] / 8u + 1u) >> 8u * (LID & 1u));
    u32 tree_at = 4u + header, copied = plain ? 0u : tree_bytes;
    EACH_OF(k, copied)
        if (k < copied) bytes[tree_at + k] = tree[k];
    SYNC;

    if (!plain && LID < streams) {
        u32 close = info[S_FROM + LID] + stream[LID];
        atomic_or_u32(slot + (close >> 5), 1u << (close & 31u));
    }
    u32 bits = 0u;
    index = 0u;
    for (u32 v = 0u; v < many; v++) {
        u64 mine = literals_of(mask + v * MATCH_WORDS, shift && v == 0u);
        GLOBAL const u8 *b = raw + v * UNIT_BYTES + 64u * LID;
        u32 have = count_literals(mine), here, width_here, mine_bits = 0u;
        for (u32 k = 0u; k < 64u && mine >> k; k++)
            if (mine >> k & 1u) mine_bits += code[b[k]] >> 16;
        u32 at = index + block_scan(warp, sums, have, &here);
        SYNC; /* before sums is written again */
        u32 up_to = bits + block_scan(warp, sums, mine_bits, &width_here);
        index += here;
        bits += width_here;
        if (plain && kinds != 1u) {
            u32 to = tree_at + at;
            for (u32 k = 64u; k > 0u; k--)
                if (mine >> (k - 1u) & 1u) bytes[--to] = b[k - 1u];
        }
        if (plain && kinds == 1u && have != 0u) {
            u32 low = trailing_zeros((u32)mine);
            bytes[tree_at] = b[low < 32u ? low : 32u + trailing_zeros((u32)(mine >> 32))];
        }
        if (!plain && have != 0u) { /* from the last one on: it lies lowest in its stream */
            u32 q = smaller((at - 1u) / quarter, streams - 1u);
            u32 place = info[S_FROM + q] + stream[q] - (up_to - info[S_BEGIN + q]);
            Writer out;
            write_from(&out, slot, place);
            for (u32 k = 64u; k > 0u; k--)
                if (mine >> (k - 1u) & 1u) {
                    if (at == q * quarter) { /* it is the last one of the stream before */
                        write_end(&out);
                        q--;
                        write_from(&out, slot, info[S_FROM + q]);
                    }
                    u32 c = code[b[k - 1u]];
                    write_bits(&out, c & 0xffffu, c >> 16);
                    at--;
                }
            write_end(&out);
        }
        SYNC;
    }
}

/* ------------------------------------------------------------------------------------------------------- sequences
 * the description and states of one kind of codes, by one thread, over its own part of SHARED: the mode, the log, the description's bytes */
#define CODING(mode, log, described) ((mode) | (log) << 8 | (described) << 16)

/* the predefined distributions; one choice after another and no && or ||: with those Intel's runtime runs all of the kernel a thread at a time, whose warp
 * operations are then wrong (tried) */
INLINE i32 default_share(u32 kind, u32 s) {
    u32 two_from = kind == 0u ? 2u : kind == 1u ? 6u : 3u, two_to = kind == 0u ? 31u : 9u, rare_from = kind == 0u ? 32u : kind == 1u ? 24u : 46u;
    i32 share = s - two_from < two_to - two_from ? 2 : 1; /* below two_from it wraps */
    share = kind == 0u & (s - 13u < 3u | s - 27u < 4u) ? 1 : share;
    share = kind == 0u & (s == 1u | s == 25u) ? 3 : share;
    share = kind == 2u & s == 2u ? 3 : share;
    share = s == (kind == 0u ? 0u : kind == 1u ? 99u : 1u) ? 4 : share;
    return s >= rare_from ? -1 : share;
}

INLINE u32 choose(u32 kind, u32 many, SHARED_PTR u32 *fse, SHARED_PTR u8 *symbol, SHARED_PTR u8 *description) {
    SHARED_PTR u32 *counts = fse;
    SHARED_PTR i32 *share = (SHARED_PTR i32 *)(fse + MOST_SYMBOLS);
    u32 symbols = kind == 0u ? 36u : kind == 1u ? 29u : 53u, default_log = kind == 1u ? 5u : 6u, kinds = 0u, last = 0u;
    for (u32 s = 0u; s < symbols; s++) {
        kinds += counts[s] != 0u;
        last = counts[s] ? s : last;
    }
    if (kinds == 1u) {
        description[0] = (u8)last;
        return CODING(1u, 0u, 1u);
    }
    u32 log = table_log(many, kinds, kind == 1u ? 8u : 9u);
    normalise(counts, symbols, many, log, share);
    u32 described = describe(share, log, description), own = 8u * BIT * described, given = 0u, mode = 2u;
    for (u32 s = 0u; s < symbols; s++) {
        i32 d = default_share(kind, s);
        if (counts[s]) {
            own += counts[s] * (BIT * log - log2_units((u32)share[s]));
            given += counts[s] * (BIT * default_log - log2_units(d < 0 ? 1u : (u32)d));
        }
    }
    if (given <= own) {
        mode = 0u;
        log = default_log;
        described = 0u;
        for (u32 s = 0u; s < symbols; s++) share[s] = default_share(kind, s);
    }
    fse_table(share, symbols, log, (SHARED_PTR i32 *)(fse + 2u * MOST_SYMBOLS), (SHARED_PTR i32 *)(fse + 3u * MOST_SYMBOLS), fse + 4u * MOST_SYMBOLS,
              (SHARED_PTR u16 *)(fse + 5u * MOST_SYMBOLS), symbol);
    return CODING(mode, log, described);
}

/* one thread: which of the block's units begin by going on with the match before (joined), what such matches add to the last one of a unit, and where the
 * match before a unit's first own one ends, from the block's begin. The sequences */
INLINE u32 join(GLOBAL const u32 *list, GLOBAL const u32 *column, u32 many, SHARED_PTR u32 *joined, SHARED_PTR u32 *added, SHARED_PTR u32 *before) {
    u32 end = 0u, which = 0u, target = 0u, sequences = 0u;
    bool some = false;
    for (u32 v = 0u; v < many; v++) {
        u32 count = column[v * COLUMNS + MANY_COLUMN];
        joined[v] = 0u;
        added[v] = 0u;
        before[v] = end;
        if (count) {
            u32 m = list[v * MATCHES], z = list[v * MATCHES + count - 1u];
            if (some && MATCH_POS(m) == 0u && end == v * UNIT_BYTES && MATCH_WHICH(m) == which) {
                joined[v] = 1u;
                added[target] += MATCH_LENGTH(m);
                before[v] = v * UNIT_BYTES + MATCH_LENGTH(m);
            }
            target = count > joined[v] ? v : target;
            end = v * UNIT_BYTES + MATCH_POS(z) + MATCH_LENGTH(z);
            which = MATCH_WHICH(z);
            some = true;
            sequences += count - joined[v];
        }
    }
    return sequences;
}

/* the sequence that ends with match k of unit v */
INLINE void sequence_of(GLOBAL const u32 *list, u32 v, u32 k, u32 count, bool joined, u32 added, u32 before, u32 *literals, u32 *length, u32 *which) {
    u32 m = list[k], at = v * UNIT_BYTES + MATCH_POS(m), from = before;
    if (k > (joined ? 1u : 0u)) from = v * UNIT_BYTES + MATCH_POS(list[k - 1u]) + MATCH_LENGTH(list[k - 1u]);
    u32 late = !PLANES && at == 0u ? 1u : 0u; /* with a single distance a match at the block's first byte begins one byte later */
    *literals = at + late - from;
    *length = MATCH_LENGTH(m) - late + (k + 1u == count ? added : 0u);
    *which = MATCH_WHICH(m);
}

KERNEL(128) zstd_sequences(GLOBAL u32 *matches, GLOBAL const u32 *counts, GLOBAL const u32 *blocks, GLOBAL u32 *slots, GLOBAL u32 *block_size,
                           GLOBAL u32 *ends, GLOBAL const i32 *live, u32 n, u32 units, u32 total, u32 itemsize) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 fse[3 * FSE_WORDS], joined[UNITS], added[UNITS], before[UNITS], number[10], sums[4], turn[128], state_bits[3][128];
    SHARED u8 symbol[3 * MOST_STATES], description[3 * MOST_DESCRIPTION], codes[3][128];
    u32 frame = BLOCK / units, unit = BLOCK % units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 many = blocks[BLOCK];
    if (many == 0u) return;
    u32 done = block_size[BLOCK], raw_bytes = smaller(many * UNIT_BYTES, total - unit * UNIT_BYTES);
    if (done & KIND_RLE) return;
    GLOBAL u32 *list = matches + (u64)BLOCK * MATCHES;
    GLOBAL const u32 *column = counts + (u64)BLOCK * COLUMNS;
    GLOBAL u32 *slot = slots + (u64)BLOCK * (SLOT_BYTES / 4u);
    GLOBAL u8 *bytes = (GLOBAL u8 *)slot;
    u32 found = 0u;
    for (u32 v = 0u; v < many; v++) found += column[v * COLUMNS + MANY_COLUMN];
    if (found == 0u || done >= raw_bytes) { /* before the first SYNC: PoCL loses the end of a kernel that returns behind one (tried) */
        if (LID == 0u) {
            bytes[4u + done] = 0u; /* a slot is longer than its raw bytes */
            block_size[BLOCK] = done + 1u < raw_bytes ? done + 1u : raw_bytes | KIND_RAW;
        }
        return;
    }
    if (LID == 0u) number[0] = join(list, column, many, joined, added, before);
    EACH_OF(k, 3u * FSE_WORDS)
        if (k < 3u * FSE_WORDS) fse[k] = 0u;
    SYNC;
    u32 sequences = number[0];

    /* codes are counted; with several distances what names each is found in their order, and kept in the two free bits of the match */
    u32 plane = PLANES ? smaller(REGION_BYTES, total - unit * UNIT_BYTES / REGION_BYTES * REGION_BYTES) / (8u * itemsize) : 0u;
    u32 recent0 = PLANES ? 9u : 0u, recent1 = 9u; /* of thread 0 */
    for (u32 v = 0u; v < many; v++) {
        u32 count = column[v * COLUMNS + MANY_COLUMN];
        for (u32 low = joined[v]; low < count; low += 128u) {
            u32 k = low + LID, literals = 0u, length = 0u, which = 0u;
            bool mine = k < count;
            if (mine) {
                sequence_of(list + v * MATCHES, v, k, count, joined[v] != 0u, added[v], before[v], &literals, &length, &which);
                atomic_add_u32(fse + ll_code(literals), 1u);
                atomic_add_u32(fse + 2u * FSE_WORDS + ml_code(length), 1u);
            }
            turn[LID] = which | (literals ? 4u : 0u);
            SYNC;
            if (LID == 0u)
                for (u32 j = 0u; j < smaller(128u, count - low); j++) {
                    u32 d = turn[j] & 3u, behind = turn[j] >> 2;
                    turn[j] = d == recent0 ? behind : d == recent1 ? 1u + behind : 0u; /* 0: written out */
                    recent1 = d == recent0 ? recent1 : recent0;
                    recent0 = d;
                }
            SYNC;
            if (mine) {
                u32 value = turn[LID] ? turn[LID] : (which ? plane : 1u) + 3u;
                list[v * MATCHES + k] = list[v * MATCHES + k] | turn[LID] << 30;
                atomic_add_u32(fse + FSE_WORDS + highest(value), 1u);
            }
            SYNC;
        }
    }
    if (LANE == 0u && WARP < 3u) {
        u32 c = choose(WARP, sequences, fse + WARP * FSE_WORDS, symbol + WARP * MOST_STATES, description + WARP * MOST_DESCRIPTION);
        number[1u + WARP] = c & 255u;
        number[4u + WARP] = c >> 8 & 255u;
        number[7u + WARP] = c >> 16;
    }
    SYNC;
    u32 room = many * (SLOT_BYTES / 4u), at = 4u + done, described = number[7] + number[8] + number[9];
    u32 how_many = sequences < 128u ? 1u : 2u; /* 0x7f00 and more a region does not hold */
    u32 start = at + how_many + 1u + described, clear = at / 4u; /* words from here on are not zero yet, but for the first one's bytes before at */
    if (LID == 0u) {
        u32 to = at;
        for (; (to & 3u) != 0u; to++) bytes[to] = 0u;
    }
    clear += (at & 3u) ? 1u : 0u;
    for (u32 k = clear + LID; k < smaller(start / 4u + 1u, room); k += 128u) slot[k] = 0u;
    clear = start / 4u + 1u;
    SYNC;
    if (LID == 0u) {
        u32 to = at;
        if (how_many == 1u) to = put_bytes(bytes, to, sequences, 1u);
        else to = put_bytes(bytes, to, ((sequences >> 8) + 128u) | (sequences & 255u) << 8, 2u);
        bytes[to++] = (u8)(number[1] << 6 | number[2] << 4 | number[3] << 2);
        for (u32 kind = 0u; kind < 3u; kind++)
            for (u32 k = 0u; k < number[7u + kind]; k++) bytes[to++] = description[kind * MOST_DESCRIPTION + k];
    }
    SYNC;

    /* from the last sequence to the first, 128 at a time */
    u32 state = 0u;
    if (LID < 3u) ends[8u * (u64)BLOCK + 1u + LID] = number[4u + LID];
    if (LID == 0u) block_size[BLOCK] = KIND_OPEN;
    if (LID == 0u) number[0] = 8u * start; /* the next bit: SHARED, for PoCL loses a thread's own over these loops (tried) */
    SYNC;
    bool begun = false;
    for (u32 u = 0u; u < many; u++) {
        u32 v = many - 1u - u, count = column[v * COLUMNS + MANY_COLUMN], own = count > joined[v] ? count - joined[v] : 0u;
        for (u32 coded = 0u; coded < own; coded += 128u) {
            u32 bit = number[0], here = smaller(128u, own - coded), literals = 0u, length = 3u, which = 0u, value = 1u;
            bool mine = LID < here;
            for (u32 k = clear + LID; k < smaller(clear + 320u, room); k += 128u) slot[k] = 0u; /* 128 sequences of at most 75 bits, and the words shared */
            clear = clear < bit / 32u + 320u ? clear + 320u : clear;
            if (mine) {
                u32 k = joined[v] + own - coded - 1u - LID, m = list[v * MATCHES + k];
                sequence_of(list + v * MATCHES, v, k, count, joined[v] != 0u, added[v], before[v], &literals, &length, &which);
                value = m >> 30 ? m >> 30 : (which ? plane : 1u) + 3u;
            }
            u32 ll = ll_code(literals), of = highest(value), ml = ml_code(length);
            codes[0][LID] = (u8)ll;
            codes[1][LID] = (u8)of;
            codes[2][LID] = (u8)ml;
            SYNC;
            if (LANE == 0u && WARP < 3u) {
                SHARED_PTR const u32 *table = fse + WARP * FSE_WORDS;
                SHARED_PTR const i32 *share = (SHARED_PTR const i32 *)(table + MOST_SYMBOLS), *bits = (SHARED_PTR const i32 *)(table + 2u * MOST_SYMBOLS);
                SHARED_PTR const i32 *next = (SHARED_PTR const i32 *)(table + 3u * MOST_SYMBOLS);
                SHARED_PTR const u16 *states = (SHARED_PTR const u16 *)(table + 5u * MOST_SYMBOLS);
                for (u32 k = 0u; k < here; k++) {
                    u32 s = codes[WARP][k], width = 0u, old = state;
                    if (number[4u + WARP]) {
                        bool opens = !begun && k == 0u;
                        width = opens ? 0u : (u32)((i32)old + bits[s]) >> 16;
                        state = states[next[s] + (opens ? (share[s] < 0 ? 1 : share[s]) : (i32)(old >> width))];
                    }
                    state_bits[WARP][k] = (old & ((1u << width) - 1u)) | width << 16;
                }
            }
            begun = true;
            SYNC;
            u32 w0 = mine ? state_bits[0][LID] : 0u, w1 = mine ? state_bits[1][LID] : 0u, w2 = mine ? state_bits[2][LID] : 0u;
            u32 size = (w0 >> 16) + (w1 >> 16) + (w2 >> 16) + (mine ? ll_bits(ll) + ml_bits(ml) + of : 0u), all;
            u32 to = bit + block_scan(warp, sums, size, &all) - size;
            if (mine && (to + 96u) / 32u < room) { /* what would be longer than raw is not written to its end */
                Writer out;
                write_from(&out, slot, to);
                write_bits(&out, w1 & 0xffffu, w1 >> 16);
                write_bits(&out, w2 & 0xffffu, w2 >> 16);
                write_bits(&out, w0 & 0xffffu, w0 >> 16);
                write_bits(&out, literals & ((1u << ll_bits(ll)) - 1u), ll_bits(ll)); /* baselines are multiples of what their bits count */
                write_bits(&out, (length - 3u) & ((1u << ml_bits(ml)) - 1u), ml_bits(ml));
                write_bits(&out, value & ((1u << of) - 1u), of);
                write_end(&out);
            }
            if (LID == 0u) number[0] = ends[8u * (u64)BLOCK] = bit + all; /* here: behind the loops PoCL loses what is stored (tried) */
            if (LANE == 0u) ends[8u * (u64)BLOCK + 4u + WARP] = state;
            SYNC;
        }
    }
}

/* one thread a unit: the states that a reader begins with, and the block's size */
KERNEL(128) zstd_close(GLOBAL const u32 *blocks, GLOBAL u32 *slots, GLOBAL u32 *block_size, GLOBAL const u32 *ends, GLOBAL const i32 *live,
                       u32 n, u32 units, u32 total) {
    u32 item = BLOCK * 128u + LID, frame = item / units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 many = blocks[item], begin = item % units * UNIT_BYTES;
    if (many == 0u || (block_size[item] & KIND_OPEN) == 0u) return;
    GLOBAL const u32 *end = ends + 8u * (u64)item;
    GLOBAL u32 *slot = slots + (u64)item * (SLOT_BYTES / 4u);
    u32 bit = end[0], log0 = end[1], log1 = end[2], log2 = end[3], raw = smaller(many * UNIT_BYTES, total - begin);
    u32 size = (bit + log0 + log1 + log2 + 8u) / 8u - 4u;
    if (size < raw) {
        u64 tail = end[6] & ((1u << log2) - 1u);
        tail |= (u64)(end[5] & ((1u << log1) - 1u)) << log2;
        tail |= (u64)(end[4] & ((1u << log0) - 1u)) << (log2 + log1);
        tail = (tail | (u64)1 << (log0 + log1 + log2)) << (bit & 31u);
        slot[bit >> 5] = (bit & 31u ? slot[bit >> 5] : 0u) | (u32)tail; /* words behind the last sequence may not be zero */
        slot[(bit >> 5) + 1u] = (u32)(tail >> 32);
    }
    block_size[item] = size < raw ? size : raw | KIND_RAW;
}

/* ------------------------------------------------------------------------------------------------------- the chunk */
KERNEL(128) zstd_place(GLOBAL const u8 *code, GLOBAL const u32 *blocks, GLOBAL const u32 *block_size, GLOBAL u32 *block_start, GLOBAL u8 *payload,
                       GLOBAL u32 *size, GLOBAL const i32 *live, u32 n, u32 units, u32 total, u32 frame_bytes, u32 cap) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, at = PLANES ? 12u : header_bytes(total);
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u8 *chunk = payload + (u64)frame * cap;
    GLOBAL u32 *start = block_start + (u64)frame * units;
    for (u32 first = 0u; first < units; first += 128u) {
        u32 k = first + LID, mine = 0u, before = 0u;
        if (k < units) {
            mine = blocks[(u64)frame * units + k] ? 3u + SIZE_OF(block_size[(u64)frame * units + k]) : 0u;
            before = PLANES && k % UNITS == 0u ? 4u + header_bytes(smaller(REGION_BYTES, total - k * UNIT_BYTES)) : 0u;
        }
        u32 all, end = at + block_scan(warp, sums, mine + before, &all);
        at += all;
        if (k < units) start[k] = end - mine; /* of its header */
        SYNC;
    }
#if PLANES
    for (u32 first = 0u; first < units; first += 128u * UNITS) {
        u32 k = first + LID * UNITS, after = k + UNITS;
        if (k < units) {
            u32 raw = smaller(REGION_BYTES, total - k * UNIT_BYTES), header = header_bytes(raw), end = at;
            if (after < units) end = start[after] - 4u - header_bytes(smaller(REGION_BYTES, total - after * UNIT_BYTES));
            put_header(chunk, start[k] - header, raw);
            put_be32(chunk + (start[k] - header - 4u), end - start[k] + header);
        }
    }
    if (LID < frame_bytes - total) chunk[at + LID] = code[(u64)frame * frame_bytes + total + LID]; /* at most 7 elements, 56 bytes */
#endif
    if (LID == 0u) {
#if PLANES
        put_be32(chunk, 0u); put_be32(chunk + 4, frame_bytes); put_be32(chunk + 8, REGION_BYTES);
#else
        put_header(chunk, 0u, total);
#endif
        size[frame] = at + frame_bytes - total;
    }
}

KERNEL(128) zstd_gather(GLOBAL const u8 *shuffled, GLOBAL const u32 *slots, GLOBAL const u32 *blocks, GLOBAL const u32 *block_size,
                        GLOBAL const u32 *block_start, GLOBAL u8 *payload, GLOBAL const i32 *live, u32 n, u32 units, u32 total, u32 pitch, u32 cap) {
    u32 frame = BLOCK / units, unit = BLOCK % units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 many = blocks[BLOCK];
    if (many == 0u) return;
    u32 sized = block_size[BLOCK], count = SIZE_OF(sized), raw = smaller(many * UNIT_BYTES, total - unit * UNIT_BYTES), begin = block_start[BLOCK];
    bool last = unit + many == units || (PLANES && (unit + many) % UNITS == 0u);
    GLOBAL u8 *to = payload + (u64)frame * cap + begin;
    if (LID == 0u) put_block_header(to, sized, raw, last);
    GLOBAL const u32 *words = slots + (u64)BLOCK * (SLOT_BYTES / 4u) + 1;
    if (sized & KIND_RAW) words = (GLOBAL const u32 *)(shuffled + (u64)frame * pitch + unit * UNIT_BYTES);
    gather(to + 3, begin + 3u, words, count);
}
