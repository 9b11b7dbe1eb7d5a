"""features.correlate for the CPU: a tile of pixels with its history goes through all frames, levels and delays while it stays in the cache."""

import numpy as np
from numba import njit

from ..backends import share

UNUSED = np.int32(-(2**31))
PLAIN = np.int32(2**26)     # products of values up to this may be summed over a tile in 64 bits
LOW = np.int64(0xFFFFFFFF)
fast = njit(cache=True, nogil=True, error_model="numpy")


def take(x, *rest):
    """Fill steps (n, used): the frames in units, of the regions' pixels in order; which frames have a pixel beyond. per_unit: None for whole numbers."""
    beyond = np.zeros(len(x), np.bool_)
    share(_take_frames, len(x), beyond, x, *rest)
    return beyond


@fast
def _take_frames(first, last, beyond, x, marks, marked, order, most, per_unit, steps):
    for f in range(first, last):
        beyond[f] = _take(x[f], marks[f if marked else 0], marked, order, most, per_unit, steps[f])


@fast
def _take(row, marks, marked, order, most, per_unit, steps):
    far = False
    if row.itemsize < 4 and not marked:
        for p in range(len(order)):
            steps[p] = row[order[p]]
        return far
    for p in range(len(order)):
        i = order[p]
        usable = not (marked and marks[i] != 0)
        if per_unit is None:
            value = np.int64(row[i])
        else:
            usable = usable and np.isfinite(row[i])
            value = np.rint(row[i] * per_unit)
        far |= usable and abs(value) > most
        steps[p] = np.int32(min(max(value, -most), most)) if usable else UNUSED
    return far


def correlate(steps, tile, first_tile, numbers, old, new):
    """Fill the new state. numbers: num_levels, num_bufs, frames before. old, new: history, product, past, future, pairs."""
    parts = np.zeros((len(tile), len(old[2]), 5), np.int64)
    share(_tiles, len(tile), steps, tile, numbers, old[0], new[0], parts)
    _sums(parts, first_tile, old, new)


@fast
def _tiles(first, last, steps, tile, numbers, history, new_history, parts):
    for t in range(first, last):
        _tile(steps, np.int64(tile[t, 0]), np.int64(tile[t, 1]), numbers, history, new_history, parts[t])


@fast
def _sums(parts, first_tile, old, new):
    """Parts of each region on top of the state."""
    for region in range(len(first_tile) - 1):
        for d in range(parts.shape[1]):
            low, high = old[1][0, d, region], old[1][1, d, region]
            past, future, pairs = old[2][d, region], old[3][d, region], old[4][d, region]
            for t in range(np.int64(first_tile[region]), np.int64(first_tile[region + 1])):
                low, high = low + parts[t, d, 0], high + parts[t, d, 1]
                past, future, pairs = past + parts[t, d, 2], future + parts[t, d, 3], pairs + parts[t, d, 4]
            new[1][0, d, region], new[1][1, d, region] = low & LOW, high + (low >> 32)
            new[2][d, region], new[3][d, region], new[4][d, region] = past, future, pairs


@fast
def _tile(steps, begin, end, numbers, history, new_history, parts):
    num_levels, num_bufs, before = numbers[0], numbers[1], numbers[2]
    kept, width, after = num_bufs - 1, end - begin, before + len(steps)
    below, some = np.empty((0, width), np.int32), np.int64(0)
    for level in range(num_levels):
        many = (after >> level) - (before >> level)
        rows, plain, total = np.empty((kept + many, width), np.int32), np.empty(kept + many, np.bool_), np.empty(kept + many, np.int64)
        for r in range(kept):
            rows[r] = history[level, r, begin:end]
        for r in range(many):
            if level == 0:
                rows[kept + r] = steps[r, begin:end]
            else:
                at = kept + 2 * r - ((before >> (level - 1)) & 1)
                _join(below[at], below[at + 1], rows[kept + r])
        for r in range(kept):
            new_history[level, r, begin:end] = rows[many + r]
        for r in range(kept + many):
            plain[r], total[r] = _look(rows[r])
        for i in range(num_bufs // 2 if level else 0, num_bufs):
            _pairs(rows, plain, total, kept, i, parts[some])
            some += 1
        below = rows


@fast
def _join(a, b, both):
    for p in range(len(both)):
        both[p] = UNUSED if a[p] == UNUSED or b[p] == UNUSED else a[p] + b[p]


@fast
def _look(row):
    """Whether all are used and small; their sum."""
    bits, total = np.int32(0), np.int64(0)
    for p in range(len(row)):
        bits |= row[p] ^ (row[p] >> np.int32(31))
    for p in range(len(row)):
        total += np.int64(row[p])
    return bits < PLAIN, total


@fast
def _pairs(rows, plain, total, kept, delay, part):
    """Sums over this batch's frames of a level with those `delay` before: low and high bits of products, past, future, pairs."""
    for r in range(kept, len(rows)):
        if plain[r] and plain[r - delay]:
            product = _dot(rows[r], rows[r - delay])
            part[0] += product & LOW
            part[1] += product >> 32
            part[2] += total[r - delay]
            part[3] += total[r]
            part[4] += rows.shape[1]
        else:
            _used_pairs(rows[r - delay], rows[r], part)


@fast
def _dot(a, b):
    total = np.int64(0)
    for p in range(len(a)):
        total += np.int64(a[p]) * np.int64(b[p])
    return total


@fast
def _used_pairs(past, future, part):
    for p in range(len(past)):
        if past[p] != UNUSED and future[p] != UNUSED:
            a, b = np.int64(past[p]), np.int64(future[p])
            part[0] += a * b & LOW
            part[1] += a * b >> 32
            part[2] += a
            part[3] += b
            part[4] += 1
