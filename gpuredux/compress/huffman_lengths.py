"""Optimal Huffman code lengths of at most `limit` bits: the same from the readable function, from numba and from huffman_lengths.cl, ties included.

The rule is package-merge: the leaves are the symbols that occur, sorted by (count, symbol). The list of the first level is the leaves; that of each
further level merges the leaves with packages, which are the sums of the neighbours (0, 1), (2, 3), ... of the list before; a leaf goes before a package
of equal weight. Of the last list the first 2 * leaves - 2 entries are taken, of each earlier one the two entries of every package taken. A symbol's
length is in how many lists its leaf was taken. No symbol: no code. One symbol: one bit. Otherwise the code is complete.
Where Huffman's tree by two queues, a leaf before an inner node of equal weight, is no deeper than the limit it has the same lengths, by less work:
numba takes it then (tests/test_deflate.py compares them).
"""

from __future__ import annotations

import numpy as np
from numba import njit

MOST_SYMBOLS = 288
MOST_COUNT = 1 << 23    # all counts together stay below: count and symbol share 32 bits on the device
MOST_WEIGHT = 1 << 62   # more than any
WORK = (19, 2 * MOST_SYMBOLS)


def code_lengths(counts: np.ndarray, limit: int) -> np.ndarray:
    """The length of each symbol's code in bits, u8; 0 where counts is 0. 2**limit must be at least the number of symbols that occur."""
    order = [int(s) for s in np.argsort(counts, kind="stable") if counts[s]]
    weight = np.array([counts[s] for s in order], np.int64)
    lengths = np.zeros(len(counts), np.uint8)
    if len(order) == 1:
        lengths[order] = 1
    if len(order) < 2:
        return lengths
    merged, levels = weight, [np.ones(len(order), bool)]       # a level: which entries of its list are leaves
    for _ in range(limit - 1):
        packages = merged[: len(merged) // 2 * 2].reshape(-1, 2).sum(axis=1)
        both = np.concatenate([weight, packages])
        sort = np.argsort(both, kind="stable")
        merged = both[sort]
        levels.append(sort < len(order))
    take = 2 * len(order) - 2
    for leaf in reversed(levels):
        taken = int(leaf[:take].sum())
        lengths[order[:taken]] += np.uint8(1)
        take = 2 * (take - taken)
    return lengths


@njit(cache=True, nogil=True, error_model="numpy")
def code_lengths_into(counts, limit, lengths, work):
    """lengths (u8) = code_lengths(counts, limit), for all symbols. work: WORK int64."""
    used = _sorted(counts, lengths, work)
    if used == 1:
        lengths[work[0, 0] & 511] = 1
    if used > 1 and not _by_two_queues(work, used, limit, lengths):
        _package_merge(work, used, limit, lengths)


@njit(cache=True, nogil=True, error_model="numpy")
def _sorted(counts, lengths, work):
    """work[0, :used] = count << 9 | symbol of those that occur, ascending; used. By digits of 6 bits, the symbols are in order already."""
    used, most = 0, 0
    for s in range(len(counts)):
        lengths[s] = 0
        count = np.int64(counts[s])
        if count:
            work[0, used] = count << 9 | s
            used += 1
            most = max(most, count)
    source, shift = 0, 9
    while most >> (shift - 9):
        for digit in range(64):
            work[2, digit] = 0
        for k in range(used):
            work[2, work[source, k] >> shift & 63] += 1
        at = 0
        for digit in range(64):
            count = work[2, digit]
            work[2, digit] = at
            at += count
        for k in range(used):
            digit = work[source, k] >> shift & 63
            work[1 - source, work[2, digit]] = work[source, k]
            work[2, digit] += 1
        source = 1 - source
        shift += 6
    if source:
        for k in range(used):
            work[0, k] = work[1, k]
    return used


@njit(cache=True, nogil=True, error_model="numpy")
def _by_two_queues(work, used, limit, lengths):
    """Huffman's tree over work[0, :used]: the lengths, unless it is deeper than limit. Whether it was not."""
    leaf = node = 0
    for new in range(used - 1):
        weight = 0
        for _ in range(2):
            if node == new or (leaf < used and work[0, leaf] >> 9 <= work[1, node]):
                weight += work[0, leaf] >> 9
                leaf += 1
            else:
                weight += work[1, node]
                work[1, node] = new             # from here on its parent
                node += 1
        work[1, new] = weight
    for d in range(limit):
        work[2, d] = 0                          # inner nodes at depth d
    work[1, used - 2] = 0
    for node in range(used - 2, -1, -1):        # from here on its depth; the last one is the root
        depth = work[1, work[1, node]] + 1 if node < used - 2 else 0
        if depth >= limit:
            return False
        work[1, node] = depth
        work[2, depth] += 1
    r = used
    for d in range(1, limit + 1):               # the leaves at depth d are the last ones left
        for _ in range(2 * work[2, d - 1] - (work[2, d] if d < limit else 0)):
            r -= 1
            lengths[work[0, r] & 511] = d
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _package_merge(work, used, limit, lengths):
    """The rule, over work[0, :used], for limits up to 15. work[2 + level] is a list: of leaves twice their weight, of packages that and one, so that no two
    compare as equal; work[1] holds the packages, the last row the leaves. A list begins as the one before it, up to the first package that is another."""
    leaves, packages = work[len(work) - 1], work[1]
    leaves[0], leaves[used + 1], packages[0] = -1, MOST_WEIGHT, -1
    for k in range(used):
        leaves[k + 1] = work[2, k] = work[0, k] >> 9 << 1
    many, same = used, 0
    for level in range(1, limit):
        before, merged, count, first = work[1 + level], work[2 + level], many // 2, same // 2
        for j in range(first, count):
            packages[j + 1] = (before[2 * j] >> 1) + (before[2 * j + 1] >> 1) << 1 | 1
        packages[count + 1] = MOST_WEIGHT
        low, high = 0, used                             # leaves before the first package that is another
        while low < high:
            mid = (low + high) >> 1
            if leaves[mid + 1] < packages[first + 1]:
                low = mid + 1
            else:
                high = mid
        same = low + first
        for k in range(same):
            merged[k] = before[k]
        many = used + count
        _merge(leaves, packages, low, used, first, count, merged)
    take = 2 * used - 2
    for level in range(limit - 1, -1, -1):
        taken = take
        for k in range(take):
            taken -= work[2 + level, k] & 1
        for r in range(taken):
            lengths[work[0, r] & 511] += 1
        take = 2 * (take - taken)


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(leaves, packages, from_leaf, used, from_package, count, merged):
    """Both lists from there on, between a smallest and a largest entry, from both ends at once and without branches, for nobody could foretell those."""
    one, start, end = np.uint64(1), np.uint64(from_leaf + from_package), np.uint64(used + count - 1)
    low, low_package, high, high_package = np.uint64(from_leaf + 1), np.uint64(from_package + 1), np.uint64(used), np.uint64(count)
    for k in range(np.uint64((used + count - from_leaf - from_package + 1) // 2)):
        a, b = leaves[low], packages[low_package]
        first = np.uint64(a < b)
        low, low_package = low + first, low_package + (one - first)
        c, d = leaves[high], packages[high_package]
        last = np.uint64(c > d)
        high, high_package = high - last, high_package - (one - last)
        merged[end - k] = max(c, d)
        merged[start + k] = min(a, b)
