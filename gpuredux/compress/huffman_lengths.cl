/* Optimal Huffman code lengths of at most `limit` bits; huffman_lengths.py has the rule (package-merge) and a readable form.
 *
 * grid: none of its own: a function that all 128 threads of a block enter together; it has SYNCs, one before its end. A thread sorts and merges up to
 * three symbols by rank: its place in a merged list is its own number plus how many of the other list go before it. */
#define HUFFMAN_SYMBOLS 288u
#define HUFFMAN_ROW (2u * HUFFMAN_SYMBOLS / 32u) /* words of the bitmap of one list: which of its entries are leaves */
#define HUFFMAN_WORK (4u * HUFFMAN_SYMBOLS + 15u * HUFFMAN_ROW)
#define EACH_OF(k, count) for (u32 k##_ = 0u, k = LID; k##_ < (count); k##_ += 128u, k += 128u) /* as often for every thread: ask k < count inside */

/* lengths[0 .. symbols) from counts, both readable by all threads behind it; 2^limit >= the symbols that occur, limit <= 15, the counts' sum < 2^23 */
INLINE void huffman_lengths(SHARED_PTR const u32 *counts, u32 symbols, u32 limit, SHARED_PTR u8 *lengths, SHARED_PTR u32 *work) {
    SHARED_PTR u32 *sorted = work, *merged = work + HUFFMAN_SYMBOLS, *packages = work + 3u * HUFFMAN_SYMBOLS, *leaf = work + 4u * HUFFMAN_SYMBOLS;
    EACH_OF(s, symbols)
        if (s < symbols) merged[s] = counts[s] ? counts[s] << 9 | s : 0xffffffffu;
    SYNC;
    u32 used = 0u, rank0 = 0u, rank1 = 0u, rank2 = 0u; /* of symbols LID, LID + 128, LID + 256 */
    u32 key0 = LID < symbols ? merged[LID] : 0xffffffffu, key1 = LID + 128u < symbols ? merged[LID + 128u] : 0xffffffffu;
    u32 key2 = LID + 256u < symbols ? merged[LID + 256u] : 0xffffffffu;
    for (u32 s = 0u; s < symbols; s++) {
        u32 key = merged[s];
        used += key != 0xffffffffu;
        rank0 += key < key0;
        rank1 += key < key1;
        rank2 += key < key2;
    }
    SYNC;
    if (key0 != 0xffffffffu) { sorted[rank0] = key0; merged[rank0] = key0 >> 9; }
    if (key1 != 0xffffffffu) { sorted[rank1] = key1; merged[rank1] = key1 >> 9; }
    if (key2 != 0xffffffffu) { sorted[rank2] = key2; merged[rank2] = key2 >> 9; }
    if (LID < HUFFMAN_ROW) leaf[LID] = used <= 32u * LID ? 0u : used - 32u * LID >= 32u ? 0xffffffffu : (1u << (used & 31u)) - 1u;
    EACH_OF(s, symbols)
        if (s < symbols) lengths[s] = 0u;
    SYNC;

    u32 levels = used < 2u ? 0u : smaller(limit, used - 1u), many = used; /* no code is longer than used - 1 bits */
    for (u32 level = 1u; level < levels; level++) {
        u32 pairs = many >> 1;
        SHARED_PTR u32 *row = leaf + level * HUFFMAN_ROW;
        EACH_OF(k, pairs)
            if (k < pairs) packages[k] = merged[2u * k] + merged[2u * k + 1u];
        if (LID < HUFFMAN_ROW) row[LID] = 0u;
        SYNC;
        EACH_OF(k, used) {
            if (k < used) { /* a leaf goes before packages of equal weight */
                u32 weight = sorted[k] >> 9, low = 0u, high = pairs;
                while (low < high) {
                    u32 mid = (low + high) >> 1;
                    if (packages[mid] < weight) low = mid + 1u;
                    else high = mid;
                }
                merged[k + low] = weight;
                atomic_or_u32(row + ((k + low) >> 5), 1u << ((k + low) & 31u)); /* OR is the same in any order */
            }
        }
        EACH_OF(k, pairs) {
            if (k < pairs) {
                u32 weight = packages[k], low = 0u, high = used;
                while (low < high) {
                    u32 mid = (low + high) >> 1;
                    if (sorted[mid] >> 9 <= weight) low = mid + 1u;
                    else high = mid;
                }
                merged[k + low] = weight;
            }
        }
        many = used + pairs;
        SYNC;
    }

    u32 take = levels ? 2u * used - 2u : 0u, bits0 = used == 1u, bits1 = 0u, bits2 = 0u; /* of ranks LID, LID + 128, LID + 256 */
    for (u32 level = levels; level > 0u; level--) {
        u32 taken = 0u; /* every thread counts for itself: a sum over the warp would be ten SYNCs where a warp is emulated, half a minute of PoCL's compiler */
        for (u32 k = 0u; 32u * k < take; k++)
            taken += count_ones(leaf[(level - 1u) * HUFFMAN_ROW + k] & (take - 32u * k >= 32u ? 0xffffffffu : (1u << (take & 31u)) - 1u));
        bits0 += LID < taken;
        bits1 += LID + 128u < taken;
        bits2 += LID + 256u < taken;
        take = 2u * (take - taken);
    }
    if (LID < used) lengths[sorted[LID] & 511u] = (u8)bits0;
    if (LID + 128u < used) lengths[sorted[LID + 128u] & 511u] = (u8)bits1;
    if (LID + 256u < used) lengths[sorted[LID + 256u] & 511u] = (u8)bits2;
    SYNC;
}
