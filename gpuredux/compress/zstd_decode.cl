/* Zstandard frames to their content, as zstd_decode.py says. Over 200 lines: headers, Huffman, FSE tables and sequences serve one loop over blocks.
 *
 * zstd_frames   grid: BLOCK = frame * groups + group; one warp a block of the grid. bits = 0: one zstd frame a detector frame, group 0 works.
 *               bits = 1: the zstd frames that lz4_walk listed, every groups-th of them a group's (no define: it takes long to compile).
 *               Thread 0 reads headers, weights and sequences; three threads build the FSE tables, all fill the Huffman table, four decode four
 *               streams, all copy. Tables are SHARED and stay for the blocks that use them again. Literals lie in `literals` at the place of their block's content in `planes`.
 *
 * Everything that decides about a SYNC is in SHARED words, read between two SYNCs. Hazard: no `if (LID == 0u && !f()) s[k] = 1u;`: PoCL 3.1 stores where
 * it should not (tried); here a store between two SYNCs depends on LID alone, or on what all threads agree about. */
#define TREE_LOG 11u
#define MOST_BLOCK 131072u
#define BATCH 32u
#define STATES 512u

/* words of the block's state */
#define S_ERROR 0u
#define S_MORE 1u
#define S_PLACE 2u      /* in the chunk: the next block's header */
#define S_END 3u        /* of the frame */
#define S_DONE 4u       /* bytes of content */
#define S_MOST 5u       /* that a block may have */
#define S_CHECKSUM 6u
#define S_LAST 7u
#define S_KIND 8u       /* of the block: 0 raw, 1 a run, 2 compressed */
#define S_BEGIN 9u      /* its bytes in the chunk */
#define S_SIZE 10u
#define S_LIMIT 11u     /* content up to here is the block's */
#define S_LIT_KIND 12u
#define S_LIT_AT 13u
#define S_LIT_STOP 14u
#define S_LITS 15u
#define S_LIT_FORM 16u
#define S_TREE 17u      /* there is a tree */
#define S_SYMBOLS 18u   /* weights that are to become a tree: 0 none */
#define S_TREE_BITS 19u
#define S_SEQS 20u
#define S_SEQ_AT 21u
#define S_SEQ_END 22u
#define S_OFFSET 23u    /* three */
#define S_LOG 26u       /* of three tables */
#define S_HAVE 29u      /* three tables are there */
#define S_BUILD 30u     /* counts that are to become tables, of three: 0 none */
#define S_STATE 33u     /* of three tables */
#define S_LEFT 36u      /* bits of the sequences */
#define S_LIT 37u       /* literals that were used */
#define S_COUNT 38u     /* sequences of this batch */
#define S_RAW 39u       /* bytes that the content must have */
#define S_WEIGHT_LOG 40u
#define S_WEIGHTS 41u
#define S_WORDS 42u

#include "compress/words.cl"

INLINE u32 highest(u32 x) { return 31u - leading_zeros(x); }

/* -------------------------------------------------------------------------------------------------------- bit streams
 * forward: so many bits (at most 16) from bit `bit` of p[at..end) on, zeros behind the end */
INLINE u32 forward_bits(GLOBAL const u8 *p, u32 at, u32 end, u32 bit, u32 count) {
    u32 value = 0u, byte = at + (bit >> 3);
    for (u32 k = 0u; k < 3u; k++)
        if (byte + k < end) value |= (u32)p[byte + k] << 8u * k;
    return value >> (bit & 7u) & ((1u << count) - 1u);
}
/* backward: how many bits p[at..end) has, 0xffffffff if it is no stream */
INLINE u32 closed_bits(GLOBAL const u8 *p, u32 at, u32 end) {
    if (at >= end || p[end - 1u] == 0u) return 0xffffffffu;
    return 8u * (end - at) - 8u + highest(p[end - 1u]);
}
/* the next 57 of `left` unread bits at least, from the top; it may begin before the stream, but not before the frame */
INLINE u64 window(GLOBAL const u8 *p, u32 at, u32 left) { return le64(p + at + ((left + 7u) >> 3) - 8u) << ((0u - left) & 7u); }
#define TOP(bits, count) ((u32)((bits) >> 1 >> (63u - (count))))

/* --------------------------------------------------------------------------------------------------------- FSE tables
 * kinds: 0 literal lengths, 1 offsets, 2 match lengths, 3 Huffman weights */
INLINE u32 symbols_of(u32 kind) { return kind == 0u ? 36u : kind == 1u ? 32u : kind == 2u ? 53u : 256u; }
INLINE u32 log_most_of(u32 kind) { return kind == 1u ? 8u : kind == 3u ? 6u : 9u; }
INLINE u32 extra_bits(u32 kind, u32 s) {
    if (kind == 1u) return s;
    if (kind == 3u) return 0u;
    if (kind == 2u) return s < 32u ? 0u : s < 36u ? 1u : s < 38u ? 2u : s < 40u ? 3u : s < 42u ? 4u : s < 43u ? 5u : s - 36u;
    return s < 16u ? 0u : s < 20u ? 1u : s < 22u ? 2u : s < 24u ? 3u : s < 25u ? 4u : s - 19u;
}
INLINE u32 base_value(u32 kind, u32 s) {
    if (kind == 1u) return 1u << s;
    if (kind == 3u) return s;
    if (kind == 2u)
        return s < 32u ? s + 3u : s < 36u ? 2u * s - 29u : s < 38u ? 4u * s - 101u : s < 40u ? 8u * s - 253u
             : s < 42u ? 16u * s - 573u : s < 43u ? 99u : (1u << (s - 36u)) + 3u;
    return s < 16u ? s : s < 20u ? 2u * s - 16u : s < 22u ? 4u * s - 56u : s < 24u ? 8u * s - 144u : s < 25u ? 48u : 1u << (s - 19u);
}
INLINE i32 predefined(u32 kind, u32 s) {
    if (kind == 0u) return s == 0u ? 4 : s == 1u || s == 25u ? 3 : s > 31u ? -1 : s > 26u || (s > 12u && s < 16u) ? 1 : 2;
    if (kind == 1u) return s > 23u ? -1 : s > 5u && s < 9u ? 2 : 1;
    return s == 1u ? 4 : s == 2u ? 3 : s > 45u ? -1 : s > 2u && s < 9u ? 2 : 1;
}

/* counts[0..n) of the distribution at p[at..end); where what follows begins, 0: it is wrong */
INLINE u32 distribution(GLOBAL const u8 *p, u32 at, u32 end, u32 kind, SHARED_PTR i32 *counts, SHARED_PTR u32 *log, SHARED_PTR u32 *n) {
    u32 symbols = symbols_of(kind), bits = forward_bits(p, at, end, 0u, 4u) + 5u, used = 4u, left = (1u << bits) + 1u, count = 0u;
    bool good = bits <= log_most_of(kind);
    *log = bits;
    while (good && left > 1u) {
        u32 width = highest(left), part = (2u << width) - 1u - left, value = forward_bits(p, at, end, used, width + 1u);
        if ((value & ((1u << width) - 1u)) < part) {
            value &= (1u << width) - 1u;
            used += width;
        } else {
            if (value >> width) value -= part;
            used += width + 1u;
        }
        good = count < symbols;
        if (good) {
            counts[count++] = (i32)value - 1;
            left -= value == 0u ? 1u : value - 1u;
        }
        bool zeros = good && value == 1u;
        while (zeros) {
            u32 more = forward_bits(p, at, end, used, 2u);
            used += 2u;
            good = count + more <= symbols;
            for (u32 k = 0u; good && k < more; k++) counts[count++] = 0;
            zeros = good && more == 3u;
        }
    }
    *n = count;
    return good && used <= 8u * (end - at) ? at + ((used + 7u) >> 3) : 0u;
}

/* state[x] = next state | its bits << 16 | extra bits << 20, base[x] = base value; counts are used up */
INLINE void build(u32 kind, u32 log, u32 n, SHARED_PTR i32 *counts, SHARED_PTR u32 *state, SHARED_PTR u32 *base) {
    u32 size = 1u << log, spare = size, step = (size >> 1) + (size >> 3) + 3u, at = 0u;
    for (u32 s = 0u; s < n; s++)
        if (counts[s] == -1) base[--spare] = s;
    for (u32 s = 0u; s < n; s++)
        for (i32 k = 0; k < counts[s]; k++) {
            base[at] = s;
            at = (at + step) & (size - 1u);
            while (at >= spare) at = (at + step) & (size - 1u);
        }
    for (u32 s = 0u; s < n; s++)
        if (counts[s] == -1) counts[s] = 1;
    for (u32 x = 0u; x < size; x++) {
        u32 s = base[x], seen = (u32)counts[s]++, bits = log - highest(seen);
        state[x] = ((seen << bits) - size) | bits << 16 | extra_bits(kind, s) << 20;
        base[x] = base_value(kind, s);
    }
}

/* ------------------------------------------------------------------------------------------------------------ Huffman
 * weights[0..n): how many, and *stop where what follows begins; 0: they are wrong */
INLINE u32 read_weights(GLOBAL const u8 *p, u32 at, u32 end, SHARED_PTR u8 *weights, SHARED_PTR i32 *counts, SHARED_PTR u32 *state, SHARED_PTR u32 *base,
                        SHARED_PTR u32 *log, SHARED_PTR u32 *n, u32 *stop) {
    if (at >= end) return 0u;
    u32 head = p[at], close = at + 1u + (head < 128u ? head : (head - 126u) >> 1);
    *stop = close;
    if (close > end) return 0u;
    if (head >= 128u) {
        for (u32 k = 0u; k < head - 127u; k++) weights[k] = (u8)(p[at + 1u + (k >> 1)] >> (k & 1u ? 0u : 4u) & 15u);
        return head - 127u;
    }
    u32 begin = distribution(p, at + 1u, close, 3u, counts, log, n);
    if (begin == 0u) return 0u;
    u32 bits = *log;
    build(3u, bits, *n, counts, state, base);
    u32 left = closed_bits(p, begin, close);
    if (left == 0xffffffffu || left < 2u * bits) return 0u;
    u64 next = window(p, begin, left);
    u32 one = TOP(next, bits), other = TOP(next << bits, bits);
    left -= 2u * bits;
    for (u32 k = 0u; k < 254u; k++) {
        weights[k] = (u8)base[one];
        u32 width = state[one] >> 16 & 15u;
        if (width > left) {
            weights[k + 1u] = (u8)base[other];
            return k + 2u;
        }
        u32 then = (state[one] & 0xffffu) + TOP(window(p, begin, left), width);
        one = other;
        other = then;
        left -= width;
    }
    return 0u;
}

/* weights to the first code of each symbol, in 11 bits: first[s]; how many symbols, 0: they make no tree */
INLINE u32 codes_of(SHARED_PTR u8 *weights, u32 n, SHARED_PTR i32 *counts, SHARED_PTR u16 *first, SHARED_PTR u32 *tree_bits) {
    u32 total = 0u, begin = 0u;
    for (u32 w = 0u; w < 16u; w++) counts[w] = 0;
    for (u32 k = 0u; k < n; k++) {
        u32 w = weights[k];
        if (w > TREE_LOG) return 0u;
        total += 1u << w >> 1;
        counts[w]++;
    }
    u32 log = total ? highest(total) + 1u : 99u;
    if (log > TREE_LOG) return 0u;
    u32 rest = (1u << log) - total;
    if (rest & (rest - 1u)) return 0u;
    weights[n] = (u8)(highest(rest) + 1u);
    counts[weights[n]]++;
    if (counts[1] < 2) return 0u;
    for (u32 w = 1u; w <= log; w++) {
        u32 many = (u32)counts[w];
        counts[w] = (i32)begin;
        begin += many << (w - 1u + TREE_LOG - log);
    }
    for (u32 s = 0u; s <= n; s++) {
        u32 w = weights[s];
        first[s] = (u16)(w ? (u32)counts[w] : 0u);
        if (w) counts[w] += 1 << (w - 1u + TREE_LOG - log);
    }
    *tree_bits = log;
    return n + 1u;
}

/* to[0..count) = the literals of one stream; whether they are all that it holds */
INLINE bool decode_stream(GLOBAL const u8 *p, u32 at, u32 end, SHARED_PTR const u16 *tree, GLOBAL u8 *to, u32 count) {
    u32 left = closed_bits(p, at, end), done = 0u;
    if (left == 0xffffffffu) return false;
    while (done < count) {
        u64 bits = window(p, at, left);
        for (u32 k = 0u; k < 5u && done < count; k++) {
            u32 entry = tree[(u32)(bits >> 53)], used = entry >> 8;
            if (used > left) return false;
            to[done++] = (u8)entry;
            bits <<= used;
            left -= used;
        }
    }
    return left == 0u;
}

/* ----------------------------------------------------------------------------------------------------- headers, by thread 0
 * each returns whether it is right */
INLINE bool frame_header(GLOBAL const u8 *p, SHARED_PTR u32 *s) {
    u32 at = s[S_PLACE], end = s[S_END], raw = s[S_RAW];
    if (end - at < 5u || le32(p + at) != 0xfd2fb528u) return false;
    u32 flags = p[at + 4u], single = flags >> 5 & 1u, named = (flags & 3u) + ((flags & 3u) == 3u ? 1u : 0u), sized = flags >> 6 ? 1u << (flags >> 6) : single;
    if (flags & 8u || end - at < 6u - single + named + sized) return false;
    u64 window_size = raw;
    if (!single) {
        u32 w = p[at + 5u];
        if (w >> 3 > 21u) return false;
        window_size = (u64)(8u + (w & 7u)) << (7u + (w >> 3));
    }
    at += 6u - single;
    for (u32 k = 0u; k < named; k++)
        if (p[at + k]) return false; /* a dictionary */
    at += named;
    u64 content = sized == 2u ? 256u : 0u;
    for (u32 k = 0u; k < sized; k++) content += (u64)p[at + k] << 8u * k;
    if (sized && content != raw) return false;
    s[S_PLACE] = at + sized;
    s[S_MOST] = window_size < MOST_BLOCK ? (u32)window_size : MOST_BLOCK;
    s[S_CHECKSUM] = flags >> 2 & 1u;
    return true;
}

INLINE bool block_header(GLOBAL const u8 *p, SHARED_PTR u32 *s) {
    u32 at = s[S_PLACE], end = s[S_END];
    if (end - at < 3u) return false;
    u32 head = p[at] | (u32)p[at + 1u] << 8 | (u32)p[at + 2u] << 16, kind = head >> 1 & 3u, size = head >> 3, bytes = kind == 1u ? 1u : size;
    at += 3u;
    if (kind == 3u || bytes > end - at || size > s[S_MOST] || (kind != 2u && size > s[S_RAW] - s[S_DONE])) return false;
    s[S_LAST] = head & 1u;
    s[S_KIND] = kind;
    s[S_BEGIN] = at;
    s[S_SIZE] = size;
    s[S_PLACE] = at + bytes;
    s[S_LIMIT] = s[S_DONE] + smaller(s[S_MOST], s[S_RAW] - s[S_DONE]);
    s[S_LITS] = 0u;
    s[S_LIT_KIND] = 0u;
    s[S_SEQS] = 0u;
    s[S_SYMBOLS] = 0u;
    return true;
}

/* where the sequences begin; 0: it is wrong */
INLINE u32 literals_header(GLOBAL const u8 *p, SHARED_PTR u32 *s, SHARED_PTR u8 *weights, SHARED_PTR i32 *counts, SHARED_PTR u16 *first,
                           SHARED_PTR u32 *state, SHARED_PTR u32 *base) {
    u32 at = s[S_BEGIN], end = at + s[S_SIZE];
    if (at >= end) return 0u;
    u32 kind = p[at] & 3u, form = p[at] >> 2 & 3u;
    bool coded = kind >= 2u;
    u32 head = coded ? (form < 2u ? 3u : form + 2u) : form == 3u ? 3u : 1u + (form & 1u), width = coded ? 4u * head - 2u : 20u;
    if (head > end - at) return 0u;
    u64 value = 0u;
    for (u32 k = 0u; k < head; k++) value |= (u64)p[at + k] << 8u * k;
    u32 count = coded ? (u32)(value >> 4) & ((1u << width) - 1u) : form & 1u ? (u32)(value >> 4) : (u32)(value >> 3);
    at += head;
    u32 bytes = coded ? (u32)(value >> (4u + width)) : kind == 0u ? count : 1u, stop = at + bytes;
    if (count > s[S_LIMIT] - s[S_DONE] || bytes > end - at) return 0u;
    if (kind == 2u) {
        u32 close = 0u, n = read_weights(p, at, stop, weights, counts, state, base, s + S_WEIGHT_LOG, s + S_WEIGHTS, &close);
        if (n) n = codes_of(weights, n, counts, first, s + S_TREE_BITS);
        if (n == 0u) return 0u;
        s[S_SYMBOLS] = n;
        s[S_TREE] = 1u;
        at = close;
    }
    if (coded && (s[S_TREE] == 0u || (form && (count < 6u || stop - at < 10u)))) return 0u;
    s[S_LIT_KIND] = kind;
    s[S_LIT_FORM] = form;
    s[S_LIT_AT] = at;
    s[S_LIT_STOP] = stop;
    s[S_LITS] = count;
    return stop;
}

INLINE bool sequences_header(GLOBAL const u8 *p, u32 at, SHARED_PTR u32 *s, SHARED_PTR i32 *counts, SHARED_PTR u32 *state, SHARED_PTR u32 *base) {
    u32 end = s[S_BEGIN] + s[S_SIZE];
    if (at >= end) return false;
    u32 count = p[at], head = 1u + (count >= 128u ? 1u : 0u) + (count == 255u ? 1u : 0u);
    if (head > end - at) return false;
    if (head == 2u) count = (count - 128u << 8) + p[at + 1u];
    if (head == 3u) count = p[at + 1u] + ((u32)p[at + 2u] << 8) + 0x7f00u;
    at += head;
    s[S_SEQS] = count;
    for (u32 k = 0u; k < 3u; k++) s[S_BUILD + k] = 0u;
    if (count == 0u) return at == end && s[S_LITS] != 0u; /* a compressed block of nothing is refused */
    if (at >= end || p[at] & 3u) return false;
    u32 modes = p[at++];
    for (u32 k = 0u; k < 3u; k++) {
        u32 mode = modes >> (6u - 2u * k) & 3u;
        if (mode == 0u) {
            u32 n = k == 1u ? 29u : symbols_of(k);
            for (u32 i = 0u; i < n; i++) counts[k * 64u + i] = predefined(k, i);
            s[S_LOG + k] = k == 1u ? 5u : 6u;
            s[S_BUILD + k] = n;
        } else if (mode == 1u) {
            if (at >= end || p[at] >= symbols_of(k)) return false;
            state[k * STATES] = extra_bits(k, p[at]) << 20;
            base[k * STATES] = base_value(k, p[at]);
            s[S_LOG + k] = 0u;
            at++;
        } else if (mode == 2u) {
            at = distribution(p, at, end, k, counts + k * 64u, s + S_LOG + k, s + S_BUILD + k);
            if (at == 0u) return false;
        } else if (s[S_HAVE] == 0u)
            return false;
    }
    s[S_HAVE] = 1u;
    s[S_SEQ_AT] = at;
    s[S_SEQ_END] = end;
    return true;
}

/* -------------------------------------------------------------------------------------------------- sequences, by thread 0 */
INLINE bool first_states(GLOBAL const u8 *p, SHARED_PTR u32 *s) {
    u32 at = s[S_SEQ_AT], left = closed_bits(p, at, s[S_SEQ_END]), needed = s[S_LOG] + s[S_LOG + 1u] + s[S_LOG + 2u];
    if (left == 0xffffffffu || left < needed) return false;
    u64 bits = window(p, at, left);
    for (u32 k = 0u; k < 3u; k++) {
        s[S_STATE + k] = TOP(bits, s[S_LOG + k]);
        bits <<= s[S_LOG + k];
    }
    s[S_LEFT] = left - needed;
    return true;
}

/* the next sequences, BATCH at most: rows of q are literals taken before, their number, match length, offset, content before */
INLINE bool next_batch(GLOBAL const u8 *p, SHARED_PTR u32 *s, SHARED_PTR const u32 *state, SHARED_PTR const u32 *base, SHARED_PTR u32 *q) {
    u32 at = s[S_SEQ_AT], left = s[S_LEFT], ll = s[S_STATE], of = s[S_STATE + 1u], ml = s[S_STATE + 2u], seqs = s[S_SEQS], lit = s[S_LIT], done = s[S_DONE];
    u32 one = s[S_OFFSET], two = s[S_OFFSET + 1u], three = s[S_OFFSET + 2u], count = smaller(seqs, BATCH);
    for (u32 j = 0u; j < count; j++) {
        u32 l = state[ll], o = state[STATES + of], m = state[2u * STATES + ml], n_l = l >> 20, n_o = o >> 20, n_m = m >> 20;
        if (n_l + n_o + n_m > left) return false;
        u64 bits = window(p, at, left);
        u32 value = base[STATES + of] + TOP(bits, n_o);
        left -= n_o;
        bits = n_o + n_m + n_l > 30u ? window(p, at, left) : bits << n_o;
        u32 match = base[2u * STATES + ml] + TOP(bits, n_m), length = base[ll] + TOP(bits << n_m, n_l);
        left -= n_m + n_l;
        bits = n_o + n_m + n_l > 30u ? window(p, at, left) : bits << (n_m + n_l);
        if (j + 1u < seqs) {
            u32 b_l = l >> 16 & 15u, b_m = m >> 16 & 15u, b_o = o >> 16 & 15u;
            if (b_l + b_m + b_o > left) return false;
            ll = (l & 0xffffu) + TOP(bits, b_l);
            ml = (m & 0xffffu) + TOP(bits << b_l, b_m);
            of = (o & 0xffffu) + TOP(bits << (b_l + b_m), b_o);
            left -= b_l + b_m + b_o;
        }
        if (value > 3u) {
            three = two;
            two = one;
            one = value - 3u;
        } else {
            u32 which = value - (length ? 1u : 0u), offset = which == 0u ? one : which == 1u ? two : which == 2u ? three : one - 1u;
            if (which > 1u) three = two;
            if (which > 0u) two = one;
            one = offset;
        }
        if (length > s[S_LITS] - lit || length + match > s[S_LIMIT] - done || one == 0u || one > done + length) return false;
        q[j] = lit;
        q[BATCH + j] = length;
        q[2u * BATCH + j] = match;
        q[3u * BATCH + j] = one;
        q[4u * BATCH + j] = done;
        lit += length;
        done += length + match;
    }
    s[S_LEFT] = left; s[S_STATE] = ll; s[S_STATE + 1u] = of; s[S_STATE + 2u] = ml; s[S_SEQS] = seqs - count; s[S_LIT] = lit; s[S_DONE] = done;
    s[S_OFFSET] = one; s[S_OFFSET + 1u] = two; s[S_OFFSET + 2u] = three; s[S_COUNT] = count;
    return seqs > count || left == 0u;
}

/* -------------------------------------------------------------------------------------------------------------- XXH64 */
#define PRIME1 0x9E3779B185EBCA87ul
#define PRIME2 0xC2B2AE3D27D4EB4Ful
#define PRIME3 0x165667B19E3779F9ul
#define PRIME4 0x85EBCA77C2B2AE63ul
#define PRIME5 0x27D4EB2F165667C5ul
INLINE u64 turned(u64 x, u32 by) { return x << by | x >> (64u - by); }
INLINE u64 taken(u64 lane, u64 word) { return turned(lane + word * PRIME2, 31u) * PRIME1; }
/* of the four lanes, the one of this thread */
INLINE u64 hash_lane(GLOBAL const u8 *d, u32 n, u32 lane) {
    u64 v = lane == 0u ? PRIME1 + PRIME2 : lane == 1u ? PRIME2 : lane == 2u ? 0u : 0u - PRIME1;
    for (u32 k = 0u; k < n / 32u; k++) v = taken(v, le64(d + (u64)32u * k + 8u * lane));
    return v;
}
INLINE u32 hash_end(GLOBAL const u8 *d, u32 n, SHARED_PTR const u64 *lanes) {
    u64 v = PRIME5;
    if (n >= 32u) {
        v = turned(lanes[0], 1u) + turned(lanes[1], 7u) + turned(lanes[2], 12u) + turned(lanes[3], 18u);
        for (u32 k = 0u; k < 4u; k++) v = (v ^ taken(0u, lanes[k])) * PRIME1 + PRIME4;
    }
    v += n;
    u32 at = n / 32u * 32u;
    for (; n - at >= 8u; at += 8u) v = turned(v ^ taken(0u, le64(d + at)), 27u) * PRIME1 + PRIME4;
    if (n - at >= 4u) {
        v = turned(v ^ (u64)le32(d + at) * PRIME1, 23u) * PRIME2 + PRIME3;
        at += 4u;
    }
    for (; at < n; at++) v = turned(v ^ d[at] * PRIME5, 11u) * PRIME1;
    v = (v ^ v >> 33) * PRIME2;
    v = (v ^ v >> 29) * PRIME3;
    return (u32)(v ^ v >> 32);
}

/* ------------------------------------------------------------------------------------------------------------- frames */
INLINE bool next_block(GLOBAL const u8 *p, SHARED_PTR u32 *s, SHARED_PTR u8 *weights, SHARED_PTR i32 *counts, SHARED_PTR u16 *first, SHARED_PTR u32 *state,
                       SHARED_PTR u32 *base) {
    if (!block_header(p, s)) return false;
    if (s[S_KIND] != 2u) return true;
    u32 at = literals_header(p, s, weights, counts, first, state + 3u * STATES, base + 3u * STATES);
    return at != 0u && sequences_header(p, at, s, counts, state, base);
}

INLINE void copy_bytes(GLOBAL u8 *to, GLOBAL const u8 *from, u32 count, u32 step) { /* step 0: a run of one byte */
    for (u32 i = LID; i < count; i += 32u) to[i] = from[i * step];
}

/* Huffman literals of this block to `to`, a stream a thread; whether this thread's was right */
INLINE bool decode_literals(GLOBAL const u8 *p, SHARED_PTR const u32 *s, SHARED_PTR const u16 *tree, GLOBAL u8 *to) {
    u32 at = s[S_LIT_AT], stop = s[S_LIT_STOP], count = s[S_LITS], part = (count + 3u) >> 2;
    if (s[S_LIT_FORM] == 0u) return LID > 0u || decode_stream(p, at, stop, tree, to, count);
    if (LID >= 4u) return true;
    u32 begin = at + 6u, end = stop;
    for (u32 k = 0u; k <= LID && k < 3u; k++) {
        end = begin + (p[at + 2u * k] | (u32)p[at + 2u * k + 1u] << 8);
        if (k < LID) begin = end;
    }
    if (LID == 3u) end = stop;
    if (begin > stop || end > stop) return false;
    return decode_stream(p, begin, end, tree, to + LID * part, smaller(part, count - LID * part));
}

KERNEL(32) zstd_frames(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL u32 *starts, GLOBAL const u32 *framing, GLOBAL u8 *literals,
                       GLOBAL u8 *planes, GLOBAL const i32 *live, u32 has_live, u32 bits, u32 n, u32 groups, u32 most, u32 raw_bytes, u32 used_bytes,
                       u32 row, u32 cap) {
    SHARED u32 s[S_WORDS], state[3u * STATES + 64u], base[3u * STATES + 64u], q[5u * BATCH];
    SHARED i32 counts[256];
    SHARED u16 tree[1u << TREE_LOG], first[256];
    SHARED u8 weights[256];
    SHARED u64 lanes[4];
    SHARED u32 wrong[32];
    u32 frame = BLOCK / groups;
    if (has_live && (live[0] < 0 || frame >= (u32)live[0])) return;
    GLOBAL const u8 *chunk = payload + (u64)frame * cap;
    u32 block_bytes = bits ? framing[2u * frame] : used_bytes, jobs = bits ? framing[2u * frame + 1u] : 1u;
    for (u32 job = BLOCK % groups; job < jobs; job += groups) {
        u32 origin = job * block_bytes;
        GLOBAL u8 *d = planes + (u64)frame * row + origin, *scratch = literals + (u64)frame * raw_bytes + origin;
        if (LID == 0u) {
            u32 begin = bits ? starts[(u64)frame * most + job] : 0u;
            s[S_PLACE] = begin;
            s[S_END] = bits ? begin + be32(chunk + begin - 4u) : size[frame] <= cap ? size[frame] : 0u;
            s[S_RAW] = smaller(block_bytes, used_bytes - origin); s[S_DONE] = 0u; s[S_LAST] = 0u; s[S_TREE] = 0u; s[S_HAVE] = 0u;
            s[S_OFFSET] = 1u; s[S_OFFSET + 1u] = 4u; s[S_OFFSET + 2u] = 8u;
            s[S_ERROR] = frame_header(chunk, s) ? 0u : 1u;
        }
        SYNC;
        bool more = s[S_ERROR] == 0u;
        SYNC;
        while (more) {
            if (LID == 0u) s[S_ERROR] = next_block(chunk, s, weights, counts, first, state, base) ? 0u : 1u;
            SYNC;
            bool good = s[S_ERROR] == 0u, packed = s[S_KIND] == 2u;
            u32 done = s[S_DONE], seqs = good && packed ? s[S_SEQS] : 0u;
            if (good && packed) {
                u32 bits = s[S_TREE_BITS];
                for (u32 k = LID; k < s[S_SYMBOLS]; k += 32u)
                    if (weights[k])
                        for (u32 i = 0u; i < 1u << (weights[k] - 1u + TREE_LOG - bits); i++) tree[first[k] + i] = (u16)(k | (bits + 1u - weights[k]) << 8);
                if (LID < 3u) {
                    u32 n_counts = seqs ? s[S_BUILD + LID] : 0u;
                    if (n_counts) build(LID, s[S_LOG + LID], n_counts, counts + LID * 64u, state + LID * STATES, base + LID * STATES);
                }
            }
            copy_bytes(d + done, chunk + s[S_BEGIN], good && !packed ? s[S_SIZE] : 0u, s[S_KIND] == 0u ? 1u : 0u);
            SYNC;
            bool coded = good && packed && s[S_LIT_KIND] >= 2u;
            GLOBAL const u8 *lits = coded ? scratch + done : chunk + s[S_LIT_AT];
            u32 step = s[S_LIT_KIND] == 1u ? 0u : 1u;
            bool right = !coded || decode_literals(chunk, s, tree, seqs ? scratch + done : d + done);
            wrong[LID] = right ? 0u : 1u;
            SYNC;
            if (LID == 0u) {
                u32 error = s[S_ERROR] | wrong[0] | wrong[1] | wrong[2] | wrong[3];
                if (seqs) error |= first_states(chunk, s) ? 0u : 1u;
                s[S_ERROR] = error;
                s[S_LIT] = 0u;
            }
            SYNC;
            good = s[S_ERROR] == 0u;
            u32 batches = good ? (seqs + BATCH - 1u) / BATCH : 0u;
            for (u32 batch = 0u; batch < batches; batch++) {
                SYNC;
                if (LID == 0u) s[S_ERROR] = s[S_ERROR] ? 1u : next_batch(chunk, s, state, base, q) ? 0u : 1u;
                SYNC;
                good = s[S_ERROR] == 0u;
                u32 count = good ? s[S_COUNT] : 0u;
                for (u32 j = 0u; j < count; j++) copy_bytes(d + q[4u * BATCH + j], lits + q[j] * step, q[BATCH + j], step);
                for (u32 j = 0u; j < count; j++) {
                    u32 offset = q[3u * BATCH + j], match = q[2u * BATCH + j];
                    GLOBAL u8 *to = d + q[4u * BATCH + j] + q[BATCH + j];
                    SYNC; /* what this match copies is there */
                    for (u32 i = LID; i < match; i += 32u) to[i] = (to - offset)[offset > match ? i : i % offset];
                }
            }
            SYNC;
            u32 used = s[S_LIT], rest = packed ? s[S_LITS] - used : s[S_SIZE], at = s[S_DONE];
            good = good && rest <= s[S_LIMIT] - at;
            copy_bytes(d + at, lits + used * step, good && packed && !(coded && seqs == 0u) ? rest : 0u, step);
            more = good && s[S_LAST] == 0u;
            SYNC;
            if (LID == 0u) {
                s[S_DONE] = at + rest;
                s[S_ERROR] = good ? 0u : 1u;
            }
            SYNC;
        }
        bool good = s[S_ERROR] == 0u && s[S_DONE] == s[S_RAW] && s[S_END] - s[S_PLACE] == 4u * s[S_CHECKSUM], hashed = good && s[S_CHECKSUM] != 0u;
        if (LID < 4u) lanes[LID] = hashed ? hash_lane(d, s[S_RAW], LID) : 0u;
        SYNC;
        if (LID == 0u) {
            if (hashed) good = hash_end(d, s[S_RAW], lanes) == le32(chunk + s[S_PLACE]);
            if (!bits) starts[frame] = good ? 1u : 0u;
            else if (!good) starts[(u64)frame * most + job] = 0u;
        }
        SYNC; /* before the next frame's headers */
    }
}
