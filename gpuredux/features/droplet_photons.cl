/* The photons of droplets by greedy guess: how many each droplet has, where its own begin in the table, where they are, and the map. Over 200 lines: four kernels.
 * Each droplet is one thread's, and every photon counts in a pixel of its droplet, or in the one right of such a pixel that is in none: no atomics.
 * f64: as smalldata_tools guesses; each operation rounded once, places rounded once to f32. */
#define MOST_PHOTONS 16777216.0
#define BESIDE 0x80000000u /* in counts: one more photon in the pixel to the right, which is no strong one */

#if STEP == 1 || STEP == 3
typedef struct {
    f64 total, row, col;
    f32 most;
    u32 brightest;
} Sums;

INLINE Sums sums_of(GLOBAL const WORD *image, GLOBAL const u32 *strong, GLOBAL const u32 *members, u32 pixels, u32 panel_size, u32 cols) {
    Sums s;
    s.total = s.row = s.col = 0.0;
    s.brightest = strong[members[0]];
    s.most = (f32)image[s.brightest];
    IN_ORDER
    for (u32 k = 0u; k < pixels; k++) {
        u32 pixel = strong[members[k]];
        f32 x = (f32)image[pixel];
        s.total += (f64)x;
        s.row += (f64)x * (f64)(pixel % panel_size / cols);
        s.col += (f64)x * (f64)(pixel % cols);
        if (x > s.most) {
            s.most = x;
            s.brightest = pixel;
        }
    }
    return s;
}
#endif

#if STEP == 1
/* grid: BLOCK = 128 components or strong pixels, a thread each, BLOCK_Y = frame. many: photons of each component; counts: of each strong pixel, none yet */
KERNEL(128) count_photons(GLOBAL const WORD *image, GLOBAL const u32 *all_strong, GLOBAL const u32 *all_start, GLOBAL const u32 *all_members,
                          GLOBAL const u32 *components, GLOBAL const u32 *found, GLOBAL const i32 *live, GLOBAL u32 *many, GLOBAL u32 *counts, f64 min_adu,
                          f64 aduspphot, f64 offset, f32 high, u32 n, u32 npix, u32 capacity, u32 panel_rows, u32 cols) {
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n)) return;
    u64 at = (u64)frame * capacity;
    if (t < found[frame]) counts[at + t] = 0u;
    if (t >= components[frame]) return;
    u32 begin = all_start[(u64)frame * (capacity + 1u) + t], end = all_start[(u64)frame * (capacity + 1u) + t + 1u];
    Sums s = sums_of(image + (u64)frame * npix, all_strong + at, all_members + at + begin, end - begin, panel_rows * cols, cols);
    f64 photons = floor(s.total / aduspphot + offset);
    many[at + t] = !(s.most > high && s.total >= min_adu) ? 0u : photons > MOST_PHOTONS ? (u32)MOST_PHOTONS : (u32)photons;
}
#endif

#if STEP == 2
/* grid: a block a frame: photons before each component, and all of them; zeros behind the last one in the table */
KERNEL(128) place_of_photons(GLOBAL const u32 *all_many, GLOBAL const u32 *components, GLOBAL const i32 *live, GLOBAL u32 *all_place, GLOBAL i32 *panel,
                             GLOBAL f32 *row, GLOBAL f32 *col, GLOBAL i32 *photon_count, u32 n, u32 capacity, u32 rows) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    u32 frame = BLOCK, before = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    GLOBAL const u32 *many = all_many + (u64)frame * capacity;
    GLOBAL u32 *place = all_place + (u64)frame * capacity;
    u32 some = components[frame];
    for (u32 base = 0u; base < some; base += 128u) {
        u32 t = base + LID, all;
        u32 mine = t < some ? many[t] : 0u, up_to = block_scan(w, sums, mine, &all);
        if (t < some) place[t] = before + up_to - mine;
        before = before + all < 0x7fffffffu ? before + all : 0x7fffffffu; /* 128 components have 2^31 photons at most */
        SYNC; /* sums are written again */
    }
    for (u32 base = before; base < rows; base += 128u) {
        u64 at = (u64)frame * rows + base + LID;
        if (base + LID < rows) {
            panel[at] = 0;
            row[at] = 0.0f;
            col[at] = 0.0f;
        }
    }
    if (LID == 0u) photon_count[frame] = (i32)before;
}
#endif

#if STEP == 3
#define NOBODY 0xffffffffu

/* the number of a pixel among the strong ones, or NOBODY */
INLINE u32 number_of(GLOBAL const u32 *bits, GLOBAL const u32 *rank, bool there, u32 pixel) {
    if (!there) return NOBODY;
    u32 set = bits[pixel >> 5], bit = pixel & 31u;
    return set >> bit & 1u ? rank[pixel >> 5] + count_ones(set & ((1u << bit) - 1u)) : NOBODY;
}

INLINE bool ahead(GLOBAL const f64 *key, u32 a, u32 b) { return key[a] > key[b] || (key[a] == key[b] && a < b); }

/* one place of a heap, whose first is ahead of all, set right where those below it are */
INLINE void sink(GLOBAL u32 *heap, GLOBAL const f64 *key, u32 size, u32 at) {
    u32 mine = heap[at];
    for (u32 next = 2u * at + 1u; next < size; next = 2u * at + 1u) {
        if (next + 1u < size && ahead(key, heap[next + 1u], heap[next])) next++;
        if (ahead(key, mine, heap[next])) break;
        heap[at] = heap[next];
        at = next;
    }
    heap[at] = mine;
}

/* grid: BLOCK = 128 components, a thread each, BLOCK_Y = frame. fraction: what is left of each strong pixel; key: what the heap knows of it, which may be
 * more: fractions only fall */
KERNEL(128) guess_photons(GLOBAL const WORD *all_images, GLOBAL const u32 *all_bits, GLOBAL const u32 *all_rank, GLOBAL const u32 *all_strong,
                          GLOBAL const u32 *all_start, GLOBAL const u32 *all_members, GLOBAL const u32 *components, GLOBAL const u32 *all_many,
                          GLOBAL const u32 *all_place, GLOBAL const i32 *live, GLOBAL f64 *all_fractions, GLOBAL f64 *all_keys, GLOBAL u32 *all_heaps,
                          GLOBAL u32 *all_counts, GLOBAL i32 *all_panel, GLOBAL f32 *all_row, GLOBAL f32 *all_col, f64 aduspphot, u32 n, u32 npix,
                          u32 capacity, u32 panel_rows, u32 cols, u32 rows, u32 words) {
    u32 frame = BLOCK_Y, t = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || t >= components[frame]) return;
    u64 at = (u64)frame * capacity;
    u32 many = all_many[at + t], place = all_place[at + t], begin = all_start[at + frame + t], pixels = all_start[at + frame + t + 1u] - begin;
    if (many == 0u) return;
    GLOBAL const WORD *image = all_images + (u64)frame * npix;
    GLOBAL const u32 *bits = all_bits + (u64)frame * words, *rank = all_rank + (u64)frame * words, *strong = all_strong + at;
    GLOBAL const u32 *members = all_members + at + begin;
    GLOBAL f64 *fraction = all_fractions + at, *key = all_keys + at;
    GLOBAL u32 *counts = all_counts + at, *heap = all_heaps + at + begin;
    GLOBAL i32 *panel = all_panel + (u64)frame * rows;
    GLOBAL f32 *row = all_row + (u64)frame * rows, *col = all_col + (u64)frame * rows;
    u32 panel_size = panel_rows * cols, on = strong[members[0]] / panel_size, end = place + many;
    if (many == 1u) {
        Sums s = sums_of(image, strong, members, pixels, panel_size, cols);
        f64 down = s.row / s.total, across = s.col / s.total;
        u32 nearest = on * panel_size + (u32)floor(down + 0.5) * cols + (u32)floor(across + 0.5), own = NOBODY, brightest = members[0];
        for (u32 k = 0u; k < pixels; k++) {
            if (strong[members[k]] == nearest) own = members[k];
            if (strong[members[k]] == s.brightest) brightest = members[k];
        }
        counts[own == NOBODY ? brightest : own] = 1u;
        if (place < rows) {
            panel[place] = (i32)on;
            row[place] = (f32)down;
            col[place] = (f32)across;
        }
        return;
    }
    for (u32 k = 0u; k < pixels; k++) {
        u32 m = members[k], pixel = strong[m];
        f64 x = (f64)(f32)image[pixel] / aduspphot, whole = floor(x), left = (f64)(end - place);
        fraction[m] = x - whole;
        key[m] = x - whole;
        heap[k] = m;
        u32 its = pixels == 1u ? many : (u32)(whole < left ? whole : left);
        counts[m] = its;
        for (u32 p = place; p < smaller(place + its, rows); p++) {
            panel[p] = (i32)on;
            row[p] = (f32)(pixel % panel_size / cols);
            col[p] = (f32)(pixel % cols);
        }
        place += its;
    }
    for (u32 k = place < end ? pixels / 2u : 0u; k-- > 0u;) sink(heap, key, pixels, k);
    for (; place < end; place++) {
        u32 first = heap[0];
        for (; key[first] != fraction[first]; first = heap[0]) {
            key[first] = fraction[first];
            sink(heap, key, pixels, 0u);
        }
        f64 most = fraction[first];
        f64 away = 1.0 - most;
        fraction[first] = 0.0;
        u32 pixel = strong[first], r = pixel % panel_size / cols, c = pixel % cols;
        u32 other = NOBODY;
        f64 down = 0.0, across = 0.0, best = -1.0;
        for (u32 way = 0u; way < 4u; way++) { /* up, down, left, right */
            bool there = way == 0u ? r > 0u : way == 1u ? r + 1u < panel_rows : way == 2u ? c > 0u : c + 1u < cols;
            u32 k = number_of(bits, rank, there, way == 0u ? pixel - cols : way == 1u ? pixel + cols : way == 2u ? pixel - 1u : pixel + 1u);
            f64 value = k == NOBODY ? 0.0 : fraction[k];
            if (value >= best) {
                best = value;
                other = k;
                down = way == 0u ? -1.0 : way == 1u ? 1.0 : 0.0;
                across = way == 2u ? -1.0 : way == 3u ? 1.0 : 0.0;
            }
        }
        if (other != NOBODY) fraction[other] = best - away > 0.0 ? best - away : 0.0;
        f64 at_row = (f64)r + down * away, at_col = (f64)c + across * away;
        u32 near_row = (u32)floor(at_row + 0.5), near_col = (u32)floor(at_col + 0.5);
        bool moved = near_row != r || near_col != c, on_panel = near_row < panel_rows && near_col < cols;
        if (moved && other != NOBODY) counts[other] += 1u;
        else if (moved && on_panel) counts[first] |= BESIDE;
        else counts[first] += 1u;
        if (place < rows) {
            panel[place] = (i32)on;
            row[place] = (f32)at_row;
            col[place] = (f32)at_col;
        }
    }
}
#endif

#if STEP == 4
/* grid: BLOCK = 128 pixels, BLOCK_Y = frame */
KERNEL(128) map_photons(GLOBAL const u32 *all_bits, GLOBAL const u32 *all_rank, GLOBAL const u32 *found, GLOBAL const u32 *all_counts, GLOBAL const i32 *live,
                        GLOBAL Photon *photons, u32 n, u32 npix, u32 capacity, u32 cols, u32 words) {
    u32 frame = BLOCK_Y, pixel = BLOCK * 128u + LID;
    if (frame >= LIVE_ROWS(live, n) || pixel >= npix) return;
    GLOBAL const u32 *bits = all_bits + (u64)frame * words, *rank = all_rank + (u64)frame * words, *counts = all_counts + (u64)frame * capacity;
    u32 set = bits[pixel >> 5], bit = pixel & 31u, many = 0u;
    if (found[frame]) {
        if (set >> bit & 1u) many = counts[rank[pixel >> 5] + count_ones(set & ((1u << bit) - 1u))] & ~BESIDE;
        else if (pixel % cols) {
            u32 before = pixel - 1u, also = bits[before >> 5], place = before & 31u;
            if (also >> place & 1u) many = counts[rank[before >> 5] + count_ones(also & ((1u << place) - 1u))] >> 31;
        }
    }
    photons[(u64)frame * npix + pixel] = (Photon)(many < TOP ? many : TOP);
}
#endif
