/* Wavelet coefficients above a threshold, or the k largest of each frame. WORD: the bits of a coefficient, u32 or u64 (of f64); without their sign they
 * stand in the order of the magnitudes, NaN last, so that all but the soft threshold's subtraction is done on them.
 *
 * grid: tiles of 4096 coefficients of one frame, or one block a frame; 128 threads.
 * LARGEST: digit by digit of 8 bits, from the top, blocks count the coefficients that agree with what is known of the k-th magnitude (threshold_digits),
 * and the frame's block finds the next digit (threshold_pick). Then each tile counts those of just that magnitude, a scan says how many lie before
 * it, and only in the tile where the last of them is kept does the order within count. */
#define TILE 4096u
#define SIGNLESS(w) ((w) & (((WORD)1 << (WORD_BITS - 1)) - 1u))
#if WORD_BITS == 32
#define NOTHING ((WORD)0x7fc00000u)
#define INFINITE ((WORD)0x7f800000u)
#else
#define NOTHING ((WORD)0x7ff80000u << 32)
#define INFINITE ((WORD)0x7ff00000u << 32)
#endif
#define PARAMS GLOBAL const WORD *words, GLOBAL WORD *out, GLOBAL u32 *kept, GLOBAL const i32 *live, GLOBAL u32 *counts, GLOBAL u64 *known, \
    GLOBAL u32 *left, GLOBAL u32 *ties, u32 n, u32 size, u32 tiles, u32 rows, u32 cols, u32 spare_rows, u32 spare_cols, REAL value, u32 keep, u32 shift

typedef union {
    WORD word;
    REAL real;
} Both;

INLINE bool spared(u32 at, u32 rows, u32 cols, u32 spare_rows, u32 spare_cols) {
#if SPARE
    return at % cols < spare_cols && at / cols % rows < spare_rows;
#else
    return false;
#endif
}

KERNEL(128) threshold_start(PARAMS) {
    if (BLOCK >= LIVE_ROWS(live, n)) return;
#if LARGEST
    counts[BLOCK * 256u + LID] = 0u;
    counts[BLOCK * 256u + 128u + LID] = 0u;
#endif
    if (LID == 0u) {
        kept[BLOCK] = 0u;
#if LARGEST
        known[BLOCK] = 0u;
        left[BLOCK] = keep;
#endif
    }
}

#if LARGEST
KERNEL(128) threshold_digits(PARAMS) {
    SHARED u32 found[256];
    u32 frame = BLOCK / tiles, base = BLOCK % tiles * TILE;
    if (frame >= LIVE_ROWS(live, n)) return;
    found[LID] = 0u;
    found[LID + 128u] = 0u;
    SYNC;
    WORD so_far = (WORD)known[frame];
    for (u32 k = 0; k < TILE; k += 128u) {
        u32 at = base + k + LID;
        if (at < size && !spared(at, rows, cols, spare_rows, spare_cols)) {
            WORD w = SIGNLESS(words[(u64)frame * size + at]);
            w = w > INFINITE ? NOTHING : w; /* all NaN are alike */
            if (shift + 8u >= WORD_BITS || w >> ((shift + 8u) % WORD_BITS) == so_far) atomic_add_u32(found + (u32)(w >> shift & 255u), 1u);
        }
    }
    SYNC;
    if (found[LID]) atomic_add_u32(counts + frame * 256u + LID, found[LID]);
    if (found[LID + 128u]) atomic_add_u32(counts + frame * 256u + 128u + LID, found[LID + 128u]);
}

KERNEL(128) threshold_pick(PARAMS) {
    SHARED u32 found[256];
    if (BLOCK >= LIVE_ROWS(live, n)) return;
    for (u32 k = 0; k < 256u; k += 128u) {
        found[k + LID] = counts[BLOCK * 256u + k + LID];
        counts[BLOCK * 256u + k + LID] = 0u;
    }
    SYNC;
    if (LID == 0u) {
        u32 wanted = left[BLOCK], digit = 255u;
        while (digit > 0u && found[digit] < wanted) {
            wanted -= found[digit];
            digit--;
        }
        left[BLOCK] = wanted;
        known[BLOCK] = known[BLOCK] << 8 | digit;
    }
}

KERNEL(128) threshold_ties(PARAMS) {
    SHARED u32 found[1];
    u32 frame = BLOCK / tiles, base = BLOCK % tiles * TILE, mine = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    if (LID == 0u) found[0] = 0u;
    SYNC;
    WORD last = (WORD)known[frame];
    for (u32 k = 0; k < TILE; k += 128u) {
        u32 at = base + k + LID;
        if (at < size && !spared(at, rows, cols, spare_rows, spare_cols)) {
            WORD w = SIGNLESS(words[(u64)frame * size + at]);
            mine += (w > INFINITE ? NOTHING : w) == last ? 1u : 0u;
        }
    }
    if (mine) atomic_add_u32(found, mine);
    SYNC;
    if (LID == 0u) ties[BLOCK] = found[0];
}

/* ties[tile] = those before it */
KERNEL(128) threshold_scan(PARAMS) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    if (BLOCK >= LIVE_ROWS(live, n)) return;
    u32 before = 0u;
    for (u32 base = 0u; base < tiles; base += 128u) {
        u32 at = base + LID, mine = at < tiles ? ties[BLOCK * tiles + at] : 0u, total;
        u32 up_to = block_scan(w, sums, mine, &total);
        if (at < tiles) ties[BLOCK * tiles + at] = before + up_to - mine;
        before += total;
        SYNC;
    }
}
#endif

KERNEL(128) threshold_write(PARAMS) {
#if LARGEST
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
#endif
    SHARED u32 found[1];
    u32 frame = BLOCK / tiles, base = BLOCK % tiles * TILE, mine = 0u;
    if (frame >= LIVE_ROWS(live, n)) return;
    if (LID == 0u) found[0] = 0u;
    SYNC;
#if LARGEST
    WORD last = (WORD)known[frame];
    u32 before = ties[BLOCK], most = left[frame];
#endif
    for (u32 k = 0; k < TILE; k += 128u) {
        u32 at = base + k + LID;
        bool there = at < size, leave = spared(at, rows, cols, spare_rows, spare_cols);
        Both x;
        x.word = there ? words[(u64)frame * size + at] : 0u;
        WORD magnitude = SIGNLESS(x.word);
        x.word = magnitude > INFINITE ? NOTHING : x.word;
        Both y = x;
#if LARGEST
        magnitude = magnitude > INFINITE ? NOTHING : magnitude;
        u32 tie = there && !leave && magnitude == last ? 1u : 0u, total;
        u32 rank = before + block_scan(w, sums, tie, &total) - tie;
        before += total;
        SYNC;
        if (magnitude < last || (tie && rank >= most)) y.word = 0u;
#elif SOFT
        y.real = x.real > value ? x.real - value : x.real < -value ? x.real + value : x.real != x.real ? x.real : (REAL)0;
        if (magnitude > INFINITE) y.word = NOTHING;
#else
        if (x.real < value && -x.real < value) y.word = 0u;
#endif
        y.word = leave ? x.word : y.word;
        if (there) out[(u64)frame * size + at] = y.word;
        mine += there && !leave && SIGNLESS(y.word) != 0u ? 1u : 0u;
    }
    if (mine) atomic_add_u32(found, mine);
    SYNC;
    if (LID == 0u && found[0]) atomic_add_u32(kept + frame, found[0]);
}
