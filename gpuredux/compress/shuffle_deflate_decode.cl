/* zlib streams, anybody's, to planes of bytes, and those to frames. Over 200 lines: the decoder is one kernel.
 *
 * inflate    grid: one block a frame. Thread 0 reads the bits, from a window of the chunk in shared memory; it writes literals, and lists up to 32 matches.
 *            Then all threads copy these one after another, fill the window, make the tables of a block's codes, copy a stored block: what
 *            thread 0 asks for. At the end all sum the checksum. Every length, distance and code is checked as zlib does.
 * unshuffle  grid: BLOCK = frame * tiles + tile; a thread makes 4 elements, zeros where the frame is marked bad. Compiled alone (UNSHUFFLE). */
#if UNSHUFFLE
KERNEL(128) unshuffle(GLOBAL const u8 *planes, GLOBAL u8 *code, GLOBAL const i32 *live, u32 n, u32 tiles, u32 npix, u32 stride) {
    u32 frame = BLOCK / tiles, k = (BLOCK % tiles * 128u + LID) * 4u;
    if (frame >= LIVE_ROWS(live, n) || k >= npix) return;
    GLOBAL const u8 *from = planes + (u64)frame * stride;
    GLOBAL u8 *to = code + ((u64)frame * npix + k) * SIZE;
    bool bad = *(GLOBAL const u32 *)(from + stride - 4u) != 0u;
#if WIDE
    u32 w[SIZE];
    UNROLL
    for (u32 i = 0u; i < SIZE; i++) w[i] = 0u;
    UNROLL
    for (u32 rank = 0u; rank < SIZE; rank++) {
        u32 x = bad ? 0u : *(GLOBAL const u32 *)(from + (u64)rank * npix + k);
        UNROLL
        for (u32 i = 0u; i < 4u; i++) w[(i * SIZE + rank) >> 2] |= (x >> 8u * i & 0xffu) << 8u * ((i * SIZE + rank) & 3u);
    }
    UNROLL
    for (u32 i = 0u; i < SIZE; i++) ((GLOBAL u32 *)to)[i] = w[i];
#else
    for (u32 i = 0u; i < 4u && k + i < npix; i++)
        for (u32 rank = 0u; rank < SIZE; rank++) to[i * SIZE + rank] = bad ? 0u : from[(u64)rank * npix + k + i];
#endif
}
#else

#define WINDOW 2048u
#define HEADER_MOST 640u /* bytes that the header of a dynamic block may have, and more */
#define MATCHES 32u
#define BITS_LITERAL 10u
#define BITS_DISTANCE 8u
#define DISTANCE_TABLE (1u << BITS_LITERAL) /* behind the other */
#define DISTANCES_AT 288u /* of lengths and sorted symbols */
#define SAID_AT 320u

/* what thread 0 asks for */
#define NOTHING 0u
#define FILL_WINDOW 1u
#define MAKE_TABLES 2u
#define COPY_STORED 3u
#define GOOD 4u
#define BAD 5u
/* the words of `asked` */
#define COMMAND 0
#define LISTED 1
#define BASE 2 /* of the window in the chunk */
#define STORED_FROM 3
#define STORED_TO 4
#define STORED_BYTES 5

typedef struct {
    GLOBAL const u8 *chunk;
    SHARED_PTR const u8 *window;
    u32 base, at, end, held; /* at: the chunk's next byte; behind the end come zeros; held: bits in ahead */
    u64 ahead;
} Stream;

INLINE void need(Stream *s, u32 bits) {
    while (s->held < bits) {
        s->ahead |= (u64)(s->at < s->end ? s->window[s->at - s->base] : 0u) << s->held;
        s->held += 8u;
        s->at++;
    }
}
INLINE u32 take(Stream *s, u32 bits) {
    need(s, bits);
    u32 x = (u32)s->ahead & ((1u << bits) - 1u);
    s->ahead >>= bits;
    s->held -= bits;
    return x;
}
INLINE bool cut(const Stream *s) { return 8u * s->at - s->held > 8u * s->end; }

/* a code bit by bit: its symbol, 0xffff if there is none. counts: 16 words, how many codes have so many bits */
INLINE u32 slow_symbol(Stream *s, SHARED_PTR const u32 *counts, SHARED_PTR const u16 *sorted) {
    u32 code = 0u, first = 0u, at = 0u;
    need(s, 15u);
    for (u32 bits = 1u; bits < 16u; bits++) {
        u32 here = counts[bits];
        code |= (u32)(s->ahead >> (bits - 1u)) & 1u;
        if (code - first < here) {
            s->ahead >>= bits;
            s->held -= bits;
            return sorted[at + code - first];
        }
        at += here;
        first = (first + here) << 1;
        code <<= 1;
    }
    return 0xffffu;
}
INLINE u32 symbol(Stream *s, SHARED_PTR const u16 *table, u32 bits, SHARED_PTR const u32 *counts, SHARED_PTR const u16 *sorted) {
    need(s, 15u);
    u32 x = table[(u32)s->ahead & ((1u << bits) - 1u)];
    if (x == 0u) return slow_symbol(s, counts, sorted);
    s->ahead >>= x >> 9;
    s->held -= x >> 9;
    return x & 511u;
}

/* what codes of these lengths are; counts: how many of each length. 0: complete, 1: one code of one bit, 2: none, 3: anything else */
INLINE u32 kind_of_code(SHARED_PTR const u8 *lengths, u32 symbols, SHARED_PTR u32 *counts) {
    i32 left = 1;
    for (u32 k = 0u; k < 16u; k++) counts[k] = 0u;
    for (u32 k = 0u; k < symbols; k++) counts[lengths[k]]++;
    if (counts[0] == symbols) return 2u;
    for (u32 k = 1u; k < 16u; k++) {
        left = 2 * left - (i32)counts[k];
        if (left < 0) return 3u;
    }
    return left == 0 ? 0u : counts[1] == 1u && counts[0] == symbols - 1u ? 1u : 3u;
}

INLINE u32 said_order(u32 k) { return k < 3u ? 16u + k : k == 3u ? 0u : k & 1u ? 7u - (k - 5u) / 2u : 8u + (k - 4u) / 2u; }

/* the lengths of a dynamic block's codes, 0 for symbols that it does not name; whether all is right */
INLINE bool read_lengths(Stream *s, SHARED_PTR u8 *lengths, SHARED_PTR u32 *counts, SHARED_PTR u16 *sorted) {
    u32 literals = take(s, 5u) + 257u, distances = take(s, 5u) + 1u, said = take(s, 4u) + 4u, at = 0u, last = 0xffffu;
    if (literals > 286u || distances > 30u) return false;
    for (u32 k = 0u; k < SAID_AT + 19u; k++) lengths[k] = 0u;
    for (u32 k = 0u; k < said; k++) lengths[SAID_AT + said_order(k)] = (u8)take(s, 3u);
    if (kind_of_code(lengths + SAID_AT, 19u, counts) != 0u) return false;
    for (u32 bits = 1u; bits < 8u; bits++)
        for (u32 k = 0u; k < 19u; k++)
            if (lengths[SAID_AT + k] == bits) sorted[at++] = (u16)k;
    at = 0u;
    while (at < literals + distances) {
        u32 x = slow_symbol(s, counts, sorted), times = 1u;
        if (x < 16u) last = x;
        else {
            times = x == 16u ? 3u + take(s, 2u) : x == 17u ? 3u + take(s, 3u) : 11u + take(s, 7u);
            if (x > 16u) last = 0u;
        }
        if (last == 0xffffu || times > literals + distances - at) return false;
        for (; times; times--, at++) lengths[at < literals ? at : DISTANCES_AT + at - literals] = (u8)last;
    }
    return lengths[256] != 0u && !cut(s) && kind_of_code(lengths, 288u, counts) != 3u && kind_of_code(lengths + DISTANCES_AT, 32u, counts + 16) != 3u;
}

INLINE void fixed_lengths(SHARED_PTR u8 *lengths, SHARED_PTR u32 *counts) {
    for (u32 k = 0u; k < 288u; k++) lengths[k] = k < 144u ? 8u : k < 256u ? 9u : k < 280u ? 7u : 8u;
    for (u32 k = 0u; k < 32u; k++) lengths[DISTANCES_AT + k] = 5u;
    kind_of_code(lengths, 288u, counts);
    kind_of_code(lengths + DISTANCES_AT, 32u, counts + 16);
}

/* all threads: sorted[] = the symbols by length, table[the next bits] = symbol | bits of its code << 9; 0: no code, or a longer one */
INLINE void make_table(SHARED_PTR const u8 *lengths, u32 symbols, SHARED_PTR const u32 *counts, SHARED_PTR u16 *sorted, SHARED_PTR u16 *table, u32 bits) {
    for (u32 k = LID; k < 1u << bits; k += 128u) table[k] = 0u;
    SYNC;
    for (u32 tile = 0u; tile < symbols; tile += 128u) {
        u32 s = tile + LID, length = s < symbols ? lengths[s] : 0u, rank = 0u, first = 0u, before = 0u, turned = 0u;
        for (u32 k = 1u; k < length; k++) {
            first = (first + counts[k]) << 1;
            before += counts[k];
        }
        for (u32 k = 0u; length && k < s; k++) rank += lengths[k] == length;
        for (u32 k = 0u; k < length; k++) turned |= ((first + rank) >> k & 1u) << (length - 1u - k);
        if (length) sorted[before + rank] = (u16)s;
        for (u32 k = turned; length && length <= bits && k < 1u << bits; k += 1u << length) table[k] = (u16)(s | length << 9);
    }
    SYNC;
}

/* where a block of some kind leads: what is asked for */
INLINE u32 block_header(Stream *s, u32 *op, u32 total, SHARED_PTR u32 *asked, SHARED_PTR u8 *lengths, SHARED_PTR u32 *counts, SHARED_PTR u16 *sorted) {
    u32 kind = take(s, 2u);
    if (kind == 3u || cut(s)) return BAD;
    if (kind == 2u) return read_lengths(s, lengths, counts, sorted) ? MAKE_TABLES : BAD;
    if (kind == 1u) {
        fixed_lengths(lengths, counts);
        return MAKE_TABLES;
    }
    u32 at = s->at - (s->held >> 3);
    if (s->end < 4u || at > s->end - 4u) return BAD;
    u32 bytes = s->chunk[at] | (u32)s->chunk[at + 1u] << 8;
    if ((bytes ^ (s->chunk[at + 2u] | (u32)s->chunk[at + 3u] << 8)) != 0xffffu || bytes > s->end - at - 4u || bytes > total - *op) return BAD;
    asked[STORED_FROM] = at + 4u; asked[STORED_TO] = *op; asked[STORED_BYTES] = bytes;
    s->at = at + 4u + bytes;
    s->held = 0u; s->ahead = 0ul;
    *op += bytes;
    return COPY_STORED;
}

/* one match behind its length symbol: listed; whether all is right */
INLINE bool list_match(Stream *s, u32 x, u32 *op, u32 total, SHARED_PTR u32 *list, u32 listed, SHARED_PTR const u16 *table, SHARED_PTR const u32 *counts,
                       SHARED_PTR const u16 *sorted) {
    u32 extra = x < 265u || x == 285u ? 0u : (x - 261u) >> 2;
    u32 length = x == 285u ? 258u : x < 265u ? x - 254u : ((4u + ((x - 261u) & 3u)) << extra) + 3u;
    length += take(s, extra);
    u32 y = symbol(s, table, BITS_DISTANCE, counts, sorted);
    if (y > 29u) return false;
    extra = y < 4u ? 0u : (y - 2u) >> 1;
    u32 back = (y < 4u ? y : (2u + (y & 1u)) << extra) + 1u + take(s, extra);
    if (cut(s) || back > *op || length > total - *op) return false;
    list[2u * listed] = *op;
    list[2u * listed + 1u] = back | length << 16;
    *op += length;
    return true;
}

KERNEL(128) inflate(GLOBAL const u8 *payload, GLOBAL const u32 *size, GLOBAL const u32 *before, GLOBAL u32 *frame_status, GLOBAL u8 *planes,
                    GLOBAL const i32 *live, u32 n, u32 total, u32 cap, u32 stride) {
    SHARED u32 asked[8], list[2 * MATCHES], counts[32], sums[2];
    SHARED u16 table[DISTANCE_TABLE + (1u << BITS_DISTANCE)], sorted[320];
    SHARED u8 window[WINDOW], lengths[SAID_AT + 32u];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u8 *out = planes + (u64)frame * stride;
    Stream s;
    s.chunk = payload + (u64)frame * cap; s.window = window; s.base = 0u; s.at = 2u; s.end = size[frame]; s.held = 0u; s.ahead = 0ul;
    u32 op = 0u, final = 0u;
    bool inside = false, good = s.end >= 2u && s.end <= cap;
    if (good) {
        u32 head = (u32)s.chunk[0] << 8 | s.chunk[1];
        good = head % 31u == 0u && (head >> 8 & 15u) == 8u && head >> 12 < 8u && (head & 32u) == 0u;
    }
    if (LID < 2u) sums[LID] = 0u;
    if (LID == 0u) {
        asked[COMMAND] = good ? FILL_WINDOW : BAD;
        asked[LISTED] = 0u;
        asked[BASE] = 0u;
    }
    SYNC;
    u32 command = asked[COMMAND];
    while (command < GOOD) {
        u32 listed = asked[LISTED];
        for (u32 m = 0u; m < listed; m++) { /* the matches before whatever comes */
            u32 to = list[2u * m], back = list[2u * m + 1u] & 0xffffu, length = list[2u * m + 1u] >> 16;
            for (u32 i = LID; i < length; i += 128u) out[to + i] = out[to - back + (back > i ? i : i % back)];
            SYNC;
        }
        if (command == COPY_STORED)
            for (u32 i = LID; i < asked[STORED_BYTES]; i += 128u) out[asked[STORED_TO] + i] = s.chunk[asked[STORED_FROM] + i];
        if (command == COPY_STORED || command == FILL_WINDOW)
            for (u32 i = LID; i < WINDOW; i += 128u) window[i] = asked[BASE] + i < s.end ? s.chunk[asked[BASE] + i] : 0u;
        SYNC;
        for (u32 pass = 0u; command == MAKE_TABLES && pass < 2u; pass++) {
            u32 at = pass * DISTANCES_AT;
            make_table(lengths + at, pass ? 32u : 288u, counts + 16u * pass, sorted + at, table + pass * DISTANCE_TABLE, pass ? BITS_DISTANCE : BITS_LITERAL);
        }
        if (LID == 0u) {
            u32 ask = NOTHING, many = 0u;
            s.base = asked[BASE];
            while (ask == NOTHING) {
                if (s.base + WINDOW < s.end && s.at + HEADER_MOST > s.base + WINDOW) {
                    ask = FILL_WINDOW;
                    asked[BASE] = s.at;
                } else if (!inside && final) {
                    ask = many ? FILL_WINDOW : GOOD; /* once more, for the matches */
                    asked[BASE] = s.at;
                } else if (!inside) {
                    final = take(&s, 1u);
                    ask = block_header(&s, &op, total, asked, lengths, counts, sorted);
                    inside = ask == MAKE_TABLES;
                    if (ask == COPY_STORED) asked[BASE] = s.at;
                } else {
                    u32 x = symbol(&s, table, BITS_LITERAL, counts, sorted);
                    if (x < 256u) {
                        if (op < total && !cut(&s)) out[op++] = (u8)x;
                        else ask = BAD;
                    } else if (x == 256u) {
                        inside = false;
                        if (cut(&s)) ask = BAD;
                    } else if (x > 285u || !list_match(&s, x, &op, total, list, many, table + DISTANCE_TABLE, counts + 16, sorted + DISTANCES_AT)) {
                        ask = BAD;
                    } else if (++many == MATCHES) {
                        ask = FILL_WINDOW;
                        asked[BASE] = s.at;
                    }
                }
            }
            asked[LISTED] = many;
            if (ask == GOOD) {
                u32 at = s.at - (s.held >> 3);
                if (s.end < 4u || at != s.end - 4u || op != total) ask = BAD;
            }
            asked[COMMAND] = ask;
        }
        SYNC;
        command = asked[COMMAND];
    }
    u64 low = 0ul, high = 0ul;
    for (u32 i = LID; command == GOOD && i < total; i += 128u) {
        low += out[i];
        high += (u64)(total - i) * out[i];
    }
    atomic_add_u32(sums, (u32)(low % 65521ul)); /* sums are the same in any order */
    atomic_add_u32(sums + 1, (u32)(high % 65521ul));
    SYNC;
    if (LID == 0u) {
        bool right = command == GOOD;
        if (right) {
            u32 check = (total + sums[1]) % 65521u << 16 | (1u + sums[0]) % 65521u;
            GLOBAL const u8 *p = s.chunk + s.end - 4u;
            right = check == ((u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]);
        }
        *(GLOBAL u32 *)(out + stride - 4u) = right ? 0u : 1u;
        frame_status[frame] = (STATUS ? before[frame] : 0u) | (right ? 0u : FRAME_CORRUPT);
    }
}
#endif
