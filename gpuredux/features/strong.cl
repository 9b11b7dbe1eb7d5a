/* From frames to bits (strong pixels), to components and a table, without an order that atomics give. Over 200 lines: six kernels, one way.
 * Words of 32 pixels in raster order; rank[word]: strong pixels before it. So the number of a strong pixel among all of them is rank + the bits below. */

#ifdef STRONG_BITS
/* grid: BLOCK = 1024 pixels, BLOCK_Y = frame: bit k of word w: pixel 32 w + k is good, unmarked, finite, and above low; RINGED: above its ring's threshold. */
KERNEL(128) strong_bits(GLOBAL const WORD *image, GLOBAL const u8 *marks, GLOBAL const u8 *good, GLOBAL const i32 *live, GLOBAL const u16 *label,
                        GLOBAL const f32 *high, GLOBAL u32 *bits, f32 low, f32 most, u32 n, u32 npix, u32 words, u32 rings) {
    WARP_SCRATCH(w, 128);
    u32 frame = BLOCK_Y;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * npix;
    for (u32 k = 0u; k < 8u; k++) {
        u32 pixel = BLOCK * 1024u + k * 128u + LID;
        bool strong = false;
        if (pixel < npix) {
            f32 x = (f32)image[at + pixel];
#if RINGED
            u32 ring = label[pixel];
            strong = ring < rings && is_finite(x) && limited(x, most) > high[(u64)frame * rings + (ring < rings ? ring : 0u)];
#else
            strong = is_finite(x) && x > low;
#endif
#if MARKED
            strong = strong && marks[at + pixel] == 0u;
#endif
#if GOOD
            strong = strong && good[pixel] != 0u;
#endif
        }
        u32 all = warp_ballot(w, strong);
        if (LANE == 0u && pixel / 32u < words) bits[(u64)frame * words + pixel / 32u] = all;
    }
}
#endif

#ifdef COUNT_BITS
/* grid: BLOCK = tile of 4096 pixels, BLOCK_Y = frame: strong pixels before each word of the tile, and of the whole tile. */
KERNEL(128) count_bits(GLOBAL const u32 *bits, GLOBAL const i32 *live, GLOBAL u32 *rank, GLOBAL u32 *tile_count, u32 n, u32 words) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK_Y, word = BLOCK * 128u + LID, tiles = (words + 127u) / 128u;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 mine = word < words ? count_ones(bits[(u64)frame * words + word]) : 0u, total;
    u32 up_to = block_scan(w, sums, mine, &total);
    if (word < words) rank[(u64)frame * words + word] = up_to - mine;
    if (LID == 0u) tile_count[(u64)frame * tiles + BLOCK] = total;
}
#endif

#ifdef SCAN_TILES
/* grid: a block a frame: strong pixels before each tile; strong_count; too many for the lists: a status bit, and found = 0. */
KERNEL(128) scan_tiles(GLOBAL u32 *tile_count, GLOBAL const i32 *live, GLOBAL i32 *strong_count, GLOBAL u32 *found, GLOBAL u32 *frame_status,
                       u32 n, u32 tiles, u32 capacity) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, before = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    for (u32 base = 0u; base < tiles; base += 128u) {
        u32 tile = base + LID, total;
        u32 mine = tile < tiles ? tile_count[(u64)frame * tiles + tile] : 0u;
        u32 up_to = block_scan(w, sums, mine, &total);
        if (tile < tiles) tile_count[(u64)frame * tiles + tile] = before + up_to - mine;
        before += total;
        SYNC; /* sums are written again */
    }
    if (LID == 0u) {
        strong_count[frame] = (i32)before;
        found[frame] = before > capacity ? 0u : before;
#if FRAME_STATUS
        if (before > capacity) frame_status[frame] |= FRAME_TOO_MANY; /* nobody else writes it now */
#endif
    }
}
#endif

#ifdef LIST_BITS
/* grid: a thread a word: rank within the frame, and the strong pixels' numbers in raster order. */
KERNEL(128) list_bits(GLOBAL const u32 *bits, GLOBAL const u32 *tile_count, GLOBAL const u32 *found, GLOBAL const i32 *live, GLOBAL u32 *rank, GLOBAL u32 *strong,
                      u32 n, u32 words, u32 capacity) {
    u32 frame = BLOCK_Y, word = BLOCK * 128u + LID, tiles = (words + 127u) / 128u;
    if (frame >= LIVE_ROWS(live, n) || word >= words || found[frame] == 0u) return;
    u32 set = bits[(u64)frame * words + word], place = rank[(u64)frame * words + word] + tile_count[(u64)frame * tiles + BLOCK];
    rank[(u64)frame * words + word] = place;
    while (set) {
        strong[(u64)frame * capacity + place++] = word * 32u + trailing_zeros(set);
        set &= set - 1u;
    }
}
#endif

#ifdef LABEL
#define NOBODY 0xffffffffu

/* the number of a pixel among the strong ones, or NOBODY */
INLINE u32 number_of(GLOBAL const u32 *bits, GLOBAL const u32 *rank, u32 pixel) {
    u32 set = bits[pixel >> 5], bit = pixel & 31u;
    return set >> bit & 1u ? rank[pixel >> 5] + count_ones(set & ((1u << bit) - 1u)) : NOBODY;
}

INLINE u32 root_of(volatile GLOBAL u32 *parent, u32 k) {
    while (parent[k] != k) k = parent[k];
    return k;
}

/* k and the strong pixel number `other`, if there is one, are of one component: whether that was news */
INLINE bool join(volatile GLOBAL u32 *parent, u32 k, u32 other) {
    if (other == NOBODY) return false;
    u32 a = root_of(parent, k), b = root_of(parent, other);
    if (a == b) return false;
    atomic_min_u32((GLOBAL u32 *)(parent + (a > b ? a : b)), a > b ? b : a); /* the least number of a component comes to be its root, whoever is first */
    return true;
}

/* grid: a block a frame. parent: the first pixel of each strong pixel's component; then, in the order of their first pixels, off the tiles' borders
 * if asked, components of as many pixels as asked: start[t] to start[t + 1] of members (numbers of strong pixels, ascending); components: how many. */
KERNEL(128) label_strong(GLOBAL const u32 *all_bits, GLOBAL const u32 *all_rank, GLOBAL const u32 *all_strong, GLOBAL const u32 *found, GLOBAL const i32 *live,
                         GLOBAL u32 *all_parent, GLOBAL u32 *all_size, GLOBAL u32 *all_inner, GLOBAL u32 *all_turn, GLOBAL u32 *all_start,
                         GLOBAL u32 *all_members, GLOBAL u32 *components, u32 n, u32 words, u32 capacity, u32 cols, u32 tile_rows, u32 tile_cols,
                         u32 min_pix, u32 max_pix) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4], sums_too[4], turns[128], news;
    u32 frame = BLOCK;
    if (frame >= LIVE_ROWS(live, n)) return;
    u32 m = found[frame];
    GLOBAL const u32 *bits = all_bits + (u64)frame * words, *rank = all_rank + (u64)frame * words, *strong = all_strong + (u64)frame * capacity;
    volatile GLOBAL u32 *parent = all_parent + (u64)frame * capacity;
    GLOBAL u32 *size = all_size + (u64)frame * capacity, *inner = all_inner + (u64)frame * capacity, *turn = all_turn + (u64)frame * capacity;
    GLOBAL u32 *start = all_start + (u64)frame * (capacity + 1u), *members = all_members + (u64)frame * capacity;
    for (u32 base = 0u; base < m; base += 128u) {
        u32 k = base + LID;
        if (k < m) {
            parent[k] = k;
            size[k] = 0u;
            inner[k] = NOBODY;
            turn[k] = NOBODY;
        }
    }
    if (LID == 0u) news = 1u;
    SYNC;
    while (news) { /* of the block */
        SYNC;
        if (LID == 0u) news = 0u;
        SYNC;
        bool mine = false;
        for (u32 base = 0u; base < m; base += 128u) {
            u32 k = base + LID;
            if (k < m) {
                u32 pixel = strong[k], row = pixel / cols, col = pixel % cols;
                bool left = col % tile_cols > 0u, right = (col + 1u) % tile_cols > 0u, above = row % tile_rows > 0u;
                if (left) mine |= join(parent, k, number_of(bits, rank, pixel - 1u));
                if (above) {
                    mine |= join(parent, k, number_of(bits, rank, pixel - cols));
                    if (EIGHT && left) mine |= join(parent, k, number_of(bits, rank, pixel - cols - 1u));
                    if (EIGHT && right) mine |= join(parent, k, number_of(bits, rank, pixel - cols + 1u));
                }
            }
        }
        if (mine) news = 1u; /* all write the same */
        SYNC;
    }
    for (u32 base = 0u; base < m; base += 128u) {
        u32 k = base + LID;
        if (k < m) {
            u32 root = root_of(parent, k), row = strong[k] / cols % tile_rows, col = strong[k] % cols % tile_cols;
            parent[k] = root; /* whoever walks by here meanwhile comes to the same root */
            atomic_add_u32(size + root, 1u);
            if (!OFF_BORDER || (row > 0u && row + 1u < tile_rows && col > 0u && col + 1u < tile_cols)) atomic_min_u32(inner + root, k);
        }
    }
    SYNC;
    u32 some = 0u, total = 0u;
    for (u32 base = 0u; base < m; base += 128u) {
        u32 k = base + LID, root = k < m ? parent[k] : 0u, pixels = k < m ? size[root] : 0u, all, all_pixels;
        bool first = k < m && inner[root] == k && pixels >= min_pix && pixels <= max_pix;
        u32 place = block_scan(w, sums, first ? 1u : 0u, &all), end = block_scan(w, sums_too, first ? pixels : 0u, &all_pixels);
        if (first) {
            turn[root] = some + place - 1u;
            start[some + place - 1u] = total + end - pixels;
        }
        some += all;
        total += all_pixels;
        SYNC;
    }
    if (LID == 0u) {
        start[some] = total;
        components[frame] = some;
    }
    SYNC;
    /* members in order: size[turn] becomes how many of a component are placed */
    for (u32 base = 0u; base < some; base += 128u)
        if (base + LID < some) size[base + LID] = 0u;
    SYNC;
    for (u32 base = 0u; base < m; base += 128u) {
        u32 k = base + LID, t = k < m ? turn[parent[k]] : NOBODY;
        turns[LID] = t;
        SYNC;
        u32 before = 0u, behind = 0u;
        for (u32 j = 0u; j < 128u; j++) {
            before += turns[j] == t && j < LID ? 1u : 0u;
            behind += turns[j] == t && j > LID ? 1u : 0u;
        }
        u32 placed = t == NOBODY ? 0u : size[t];
        SYNC;
        if (t != NOBODY) {
            members[start[t] + placed + before] = k;
            if (behind == 0u) size[t] = placed + before + 1u; /* the last of the component in these 128 */
        }
        SYNC;
    }
}
#endif

#ifdef TABLE
/* grid: a block a frame: the candidates that are what is looked for (column PIXELS is not 0), in order, to the table; zeros behind them. */
KERNEL(128) table_of(GLOBAL const u32 *all_columns, GLOBAL const u32 *components, GLOBAL const i32 *live, GLOBAL u32 *c0, GLOBAL u32 *c1, GLOBAL u32 *c2,
                     GLOBAL u32 *c3, GLOBAL u32 *c4, GLOBAL u32 *c5, GLOBAL u32 *c6, GLOBAL u32 *c7, GLOBAL u32 *c8,
                     GLOBAL i32 *found_count, u32 n, u32 capacity, u32 rows) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, some = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u32 *columns = all_columns + (u64)frame * COLUMNS * capacity;
    u32 count = components[frame];
    u64 at = (u64)frame * rows;
    for (u32 base = 0u; base < count; base += 128u) {
        u32 t = base + LID, all;
        bool taken = t < count && columns[PIXELS * capacity + t] > 0u;
        u32 place = some + block_scan(w, sums, taken ? 1u : 0u, &all) - 1u;
        if (taken && place < rows) {
            c0[at + place] = columns[t];
            c1[at + place] = columns[1u * capacity + t];
            c2[at + place] = columns[2u * capacity + t];
            c3[at + place] = columns[3u * capacity + t];
            c4[at + place] = columns[4u * capacity + t];
            c5[at + place] = columns[5u * capacity + t];
#if COLUMNS == 9
            c6[at + place] = columns[6u * capacity + t];
            c7[at + place] = columns[7u * capacity + t];
            c8[at + place] = columns[8u * capacity + t];
#endif
        }
        some += all;
        SYNC;
    }
    for (u32 base = some; base < rows; base += 128u) {
        u32 k = base + LID;
        if (k < rows) {
            c0[at + k] = c1[at + k] = c2[at + k] = c3[at + k] = c4[at + k] = c5[at + k] = 0u;
#if COLUMNS == 9
            c6[at + k] = c7[at + k] = c8[at + k] = 0u;
#endif
        }
    }
    if (LID == 0u) found_count[frame] = (i32)some;
}
#endif
