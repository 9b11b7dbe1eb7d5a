/* Which of two codecs makes the smaller chunk, and that chunk: the rule of auto.py. zstd_units.cl and zstd_blocks.cl make what it chooses from.
 *
 * auto_first   grid: one block a frame: the codec of the smaller estimate
 * auto_now     grid: a thread a unit of one codec: the blocks that are to be made: of frames that chose it first; again: of those that try it too
 * auto_other   grid: one block a frame: whether the other one may be smaller still
 * auto_choose  grid: one block a frame: the smaller one, the filter mask
 * auto_place   grid: one block a frame: where its blocks begin, the frame's header, the last elements, the size
 * auto_gather  grid: units x frames: a block to the payload, from its slot, or raw from the shuffled bytes
 * auto_no_mask grid: a thread a frame: masks of 0
 *
 * s_, b_: of S and B. verdict: words of a frame, see below. TAIL: bytes of the elements behind whole planes of bits */
#include "compress/zstd_codes.cl"
#include "compress/gather.cl"
#include "compress/zstd_frame.cl"
#define S_MASK 9u  /* neither 32008, filter 0, nor 1, filter 3, was applied */
#define B_MASK 10u /* neither 2, filter 1, nor 1, filter 3 */
#define VERDICT 8u
#define V_CODEC 0u   /* 0: S, 1: B */
#define V_TRIED 1u   /* both were made */
#define V_LOW 2u     /* the other one has at least so many units of bits, in two words */
#define V_HIGH 3u
#define V_FIRST 4u   /* bytes of the blocks of the first one */

/* this thread's share of the bytes of blocks, headers included, of one frame */
INLINE u64 bytes_of(GLOBAL const u32 *blocks, GLOBAL const u32 *block_size, u32 units) {
    u64 bytes = 0u;
    for (u32 k = LID; k < units; k += 128u) bytes += blocks[k] ? 3u + SIZE_OF(block_size[k]) : 0u;
    return bytes;
}

/* one thread alone */
INLINE u64 sum_of(SHARED_PTR const u64 *shares) {
    u64 all = 0u;
    for (u32 k = 0u; k < 128u; k++) all += shares[k];
    return all;
}

KERNEL(128) auto_first(GLOBAL const u32 *s_about, GLOBAL const u32 *b_about, GLOBAL u32 *verdict, GLOBAL const i32 *live, u32 n, u32 s_units, u32 b_units,
                       u32 tail) {
    SHARED u64 shares[2][128];
    u32 frame = BLOCK, s_regions = (s_units + UNITS - 1u) / UNITS, b_regions = (b_units + UNITS - 1u) / UNITS;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 s = 0u, b = 0u;
    for (u32 k = LID; k < s_regions; k += 128u) s += s_about[(u64)frame * s_regions + k];
    for (u32 k = LID; k < b_regions; k += 128u) b += b_about[(u64)frame * b_regions + k];
    shares[0][LID] = s;
    shares[1][LID] = b;
    SYNC;
    if (LID == 0u) {
        GLOBAL u32 *v = verdict + (u64)frame * VERDICT;
        u64 of_s = sum_of(shares[0]), of_b = sum_of(shares[1]) + (tail ? 8u * BIT * (3u + tail) : 0u), slack = 64u * 8u * BIT;
        u64 other = of_s <= of_b ? of_b : of_s, least = other - other / 32u;
        least = least > slack ? least - slack : 0u;
        v[V_CODEC] = of_s <= of_b ? 0u : 1u;
        v[V_TRIED] = 0u;
        v[V_LOW] = (u32)least;
        v[V_HIGH] = (u32)(least >> 32);
    }
}

KERNEL(128) auto_now(GLOBAL const u32 *verdict, GLOBAL const u32 *blocks, GLOBAL u32 *now, GLOBAL const i32 *live, u32 n, u32 units, u32 codec, u32 again) {
    u64 item = (u64)BLOCK * 128u + LID;
    u32 frame = (u32)(item / units);
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u32 *v = verdict + (u64)frame * VERDICT;
    now[item] = again ? (v[V_TRIED] & (v[V_CODEC] ^ codec) ? blocks[item] : 0u) : v[V_CODEC] == codec ? blocks[item] : 0u;
}

KERNEL(128) auto_other(GLOBAL const u32 *s_blocks, GLOBAL const u32 *b_blocks, GLOBAL const u32 *s_size, GLOBAL const u32 *b_size, GLOBAL u32 *verdict,
                       GLOBAL const i32 *live, u32 n, u32 s_units, u32 b_units, u32 tail) {
    SHARED u64 shares[128];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u32 *v = verdict + (u64)frame * VERDICT;
    u32 first = v[V_CODEC], units = first ? b_units : s_units;
    u64 at = (u64)frame * units;
    shares[LID] = bytes_of((first ? b_blocks : s_blocks) + at, (first ? b_size : s_size) + at, units);
    SYNC;
    if (LID == 0u) {
        GLOBAL u32 *w = verdict + (u64)frame * VERDICT;
        u64 bytes = sum_of(shares) + (w[V_CODEC] & (tail ? 1u : 0u) ? 3u + tail : 0u), least = (u64)w[V_HIGH] << 32 | w[V_LOW];
        w[V_TRIED] = least < 8u * BIT * bytes ? 1u : 0u;
        w[V_FIRST] = (u32)bytes;
    }
}

KERNEL(128) auto_choose(GLOBAL const u32 *s_blocks, GLOBAL const u32 *b_blocks, GLOBAL const u32 *s_size, GLOBAL const u32 *b_size, GLOBAL u32 *verdict,
                        GLOBAL u32 *filter_mask, GLOBAL const i32 *live, u32 n, u32 s_units, u32 b_units, u32 tail) {
    SHARED u64 shares[128];
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL u32 *v = verdict + (u64)frame * VERDICT;
    u32 first = v[V_CODEC], units = first ? s_units : b_units;
    u64 at = (u64)frame * units;
    shares[LID] = bytes_of((first ? s_blocks : b_blocks) + at, (first ? s_size : b_size) + at, v[V_TRIED] ? units : 0u);
    SYNC;
    if (LID == 0u) {
        GLOBAL u32 *w = verdict + (u64)frame * VERDICT;
        u32 was = w[V_CODEC], one = w[V_FIRST], two = (u32)sum_of(shares) + (was ? 0u : tail ? 3u + tail : 0u);
        u32 smaller_one = (was ? two : one) <= (was ? one : two) ? 0u : 1u, codec = w[V_TRIED] ? smaller_one : was;
        w[V_CODEC] = codec;
        filter_mask[frame] = codec ? B_MASK : S_MASK;
    }
}

KERNEL(128) auto_place(GLOBAL const u8 *code, GLOBAL const u32 *s_blocks, GLOBAL const u32 *b_blocks, GLOBAL const u32 *s_size, GLOBAL const u32 *b_size,
                       GLOBAL const u32 *verdict, GLOBAL u32 *block_start, GLOBAL u8 *payload, GLOBAL u32 *size, GLOBAL const i32 *live, u32 n, u32 s_units,
                       u32 b_units, u32 frame_bytes, u32 tail, u32 cap) {
    WARP_SCRATCH(warp, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, at = header_bytes(frame_bytes);
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 codec = verdict[(u64)frame * VERDICT + V_CODEC], units = codec ? b_units : s_units, behind = codec ? tail : 0u;
    GLOBAL const u32 *blocks = (codec ? b_blocks : s_blocks) + (u64)frame * units, *sizes = (codec ? b_size : s_size) + (u64)frame * units;
    GLOBAL u32 *start = block_start + (u64)frame * s_units; /* S has no fewer units */
    GLOBAL u8 *chunk = payload + (u64)frame * cap;
    for (u32 k = 0u; k < units; k += 128u) {
        u32 unit = k + LID, mine = 0u, all;
        if (unit < units) mine = blocks[unit] ? 3u + SIZE_OF(sizes[unit]) : 0u;
        u32 end = at + block_scan(warp, sums, mine, &all);
        at += all;
        if (unit < units) start[unit] = end - mine; /* of its header */
        SYNC;
    }
    if (LID < behind) chunk[at + 3u + LID] = code[(u64)(frame + 1u) * frame_bytes - behind + LID]; /* at most 7 elements, 56 bytes */
    if (LID == 0u) {
        put_header(chunk, 0u, frame_bytes);
        if (behind) put_block_header(chunk + at, behind | KIND_RAW, behind, true);
        size[frame] = at + (behind ? 3u + behind : 0u);
    }
}

KERNEL(128) auto_gather(GLOBAL const u8 *s_shuffled, GLOBAL const u8 *b_shuffled, GLOBAL const u32 *s_slots, GLOBAL const u32 *b_slots,
                        GLOBAL const u32 *s_blocks, GLOBAL const u32 *b_blocks, GLOBAL const u32 *s_size, GLOBAL const u32 *b_size, GLOBAL const u32 *verdict,
                        GLOBAL const u32 *block_start, GLOBAL u8 *payload, GLOBAL const i32 *live, u32 n, u32 s_units, u32 b_units, u32 frame_bytes, u32 tail,
                        u32 cap) {
    u32 frame = BLOCK / s_units, unit = BLOCK % s_units;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 codec = verdict[(u64)frame * VERDICT + V_CODEC], units = codec ? b_units : s_units, total = codec ? frame_bytes - tail : frame_bytes;
    if (unit >= units) return;
    u64 item = (u64)frame * units + unit;
    u32 many = (codec ? b_blocks : s_blocks)[item];
    if (many == 0u) return;
    u32 sized = (codec ? b_size : s_size)[item], raw = smaller(many * UNIT_BYTES, total - unit * UNIT_BYTES), begin = block_start[(u64)frame * s_units + unit];
    GLOBAL u8 *to = payload + (u64)frame * cap + begin;
    if (LID == 0u) put_block_header(to, sized, raw, unit + many == units && (codec == 0u || tail == 0u));
    GLOBAL const u32 *words = (codec ? b_slots : s_slots) + item * (SLOT_BYTES / 4u) + 1;
    if (sized & KIND_RAW) words = (GLOBAL const u32 *)((codec ? b_shuffled : s_shuffled) + item * UNIT_BYTES); /* rows are whole units */
    gather(to + 3, begin + 3u, words, SIZE_OF(sized));
}

KERNEL(128) auto_no_mask(GLOBAL u32 *filter_mask, GLOBAL const i32 *live, u32 n) {
    u32 frame = BLOCK * 128u + LID;
    if (frame < LIVE_ROWS(live, n)) filter_mask[frame] = 0u;
}
