"""The tiles of features.running for the CPU: sums of a few thousand pixels stay in the cache while the frames go by, four at a time."""

import numpy as np
from numba import njit

from ..backends import share
from .bin_numba import used_pixels

TILE = 2048     # pixels
fast = njit(cache=True, nogil=True, error_model="numpy")


def run_tiles(x, order, first, *rest):
    """The new state; order: frames by class, first: where each class begins; behind the last one come strays, whose status alone is looked at."""
    n_tiles = -(-x.shape[1] // TILE)
    share(_tiles, n_tiles * (len(first) - 1), n_tiles, x, order, first, *rest)


@fast
def _tiles(first_job, last_job, n_tiles, x, order, first, good, status, count, total, total2, extreme, new_count, new_total, new_total2, new_extreme,
           per_unit, largest, beyond):
    """Some tiles of the classes, with memory of their own."""
    many, sums, squares = np.empty(TILE, np.uint32), np.empty(TILE, np.int64), np.empty((2, TILE), np.uint64)
    least, most, used, q = np.empty(TILE, x.dtype), np.empty(TILE, x.dtype), np.empty(TILE, np.uint8), np.empty(TILE, np.int64)
    for job in range(first_job, last_job):
        c, begin = job // n_tiles, job % n_tiles * TILE
        end = min(begin + TILE, x.shape[1])
        for j in range(end - begin):
            many[j], sums[j], squares[0, j], squares[1, j] = 0, 0, 0, 0
        if extreme is not None:
            for j in range(end - begin):
                least[j], most[j] = extreme[0, c, begin + j], extreme[1, c, begin + j]
        start = first[c]
        if good is None and status is None and per_unit is None:
            start = _four(x, order, first[c], first[c + 1], begin, end, many, sums, squares, total2 is not None, least, most, extreme is not None)
        for k in range(start, first[c + 1] if c else first[1] + len(order) - first[-1]):
            stray = k >= first[c + 1]       # of such a frame the status alone: the first class's tiles see to it
            f = order[k - first[1] + first[-1]] if stray else order[k]
            row = x[f, begin:end]
            _used(row, good, status, f, begin, end, used)
            if take_steps(row, used, per_unit, largest, q):
                beyond[f] = 1
            if not stray:
                _take(row, used, q, many, sums, squares, total2 is not None, least, most, extreme is not None)
        _give(c, begin, end, many, sums, squares, least, most, count, total, total2, extreme, new_count, new_total, new_total2, new_extreme)


@fast
def _four(x, order, start, stop, begin, end, many, sums, squares, squared, least, most, ends):
    """Four frames of whole numbers at a time, all pixels of which are used; returns where it stopped. One array is written a loop: they vectorise."""
    while start + 4 <= stop:
        a, b = x[order[start], begin:end], x[order[start + 1], begin:end]
        c, d = x[order[start + 2], begin:end], x[order[start + 3], begin:end]
        _add_four(a, b, c, d, many, sums)
        if squared and x.itemsize < 4:
            _add_squares(a, b, c, d, squares[0])
        elif squared:
            for row in (a, b, c, d):
                _add_wide_squares(row, squares[0], squares[1])
        if ends:
            for j in range(len(a)):
                low, other = min(a[j], b[j]), min(c[j], d[j])
                least[j] = min(least[j], min(low, other))
            for j in range(len(a)):
                high, other = max(a[j], b[j]), max(c[j], d[j])
                most[j] = max(most[j], max(high, other))
        start += 4
    return start


@fast
def _add_four(a, b, c, d, many, sums):
    for j in range(len(a)):
        many[j] += np.uint32(4)
    if a.itemsize < 4:
        for j in range(len(a)):
            sums[j] += np.int64(np.int32(np.int32(a[j]) + np.int32(b[j]) + np.int32(c[j]) + np.int32(d[j])))
    else:
        for j in range(len(a)):
            sums[j] += np.int64(a[j]) + np.int64(b[j]) + np.int64(c[j]) + np.int64(d[j])


@fast
def _add_squares(a, b, c, d, squares):
    for j in range(len(a)):
        w, x, y, z = np.int32(a[j]), np.int32(b[j]), np.int32(c[j]), np.int32(d[j])
        squares[j] += np.uint64(np.uint32(w * w)) + np.uint64(np.uint32(x * x)) + np.uint64(np.uint32(y * y)) + np.uint64(np.uint32(z * z))


@fast
def _add_wide_squares(row, low, high):
    for j in range(len(row)):
        square = np.uint64(np.int64(row[j])) * np.uint64(np.int64(row[j]))
        low[j] += square & np.uint64(0xFFFFFFFF)
    for j in range(len(row)):
        square = np.uint64(np.int64(row[j])) * np.uint64(np.int64(row[j]))
        high[j] += square >> np.uint64(32)


@fast
def _used(row, good, status, f, begin, end, used):
    used_pixels(row, None if good is None else good[begin:end], None if status is None else status[f, begin:end], used)


@fast
def take_steps(row, used, per_unit, largest, q):
    """q = the pixels used in units, 0 for others; whether one is beyond what is counted."""
    far = np.uint8(0)
    if per_unit is None:
        for j in range(len(row)):
            q[j] = np.int64(row[j]) if used[j] else np.int64(0)
    else:
        for j in range(len(row)):
            steps = np.rint(row[j] * per_unit) if used[j] else np.float32(0)
            far |= np.uint8(abs(steps) > largest)
            q[j] = np.int64(np.int32(min(max(steps, -largest), largest)))
    return far


@fast
def _take(row, used, q, many, sums, squares, squared, least, most, ends):
    for j in range(len(row)):
        many[j] += np.uint32(used[j])
    for j in range(len(row)):
        sums[j] += q[j]
    if squared:
        if row.itemsize < 4:
            for j in range(len(row)):
                squares[0, j] += np.uint64(np.uint32(np.int32(q[j]) * np.int32(q[j])))
        else:
            for j in range(len(row)):
                square = np.uint64(q[j]) * np.uint64(q[j])
                squares[0, j] += square & np.uint64(0xFFFFFFFF)
                squares[1, j] += square >> np.uint64(32)
    if ends:
        zero = row.dtype.type(0)
        for j in range(len(row)):
            value = row[j] + zero       # no -0.0
            least[j] = value if used[j] and value < least[j] else least[j]
            most[j] = value if used[j] and value > most[j] else most[j]


@fast
def _give(c, begin, end, many, sums, squares, least, most, count, total, total2, extreme, new_count, new_total, new_total2, new_extreme):
    """The old state and these sums."""
    _sum_row(count[0, c, begin:end], many, new_count[0, c, begin:end])
    _sum_row(total[0, c, begin:end], sums, new_total[0, c, begin:end])
    if total2 is not None:
        for row in range(len(total2)):
            _sum_row(total2[row, c, begin:end], squares[row], new_total2[row, c, begin:end])
    if extreme is not None:
        for j in range(end - begin):
            new_extreme[0, c, begin + j] = least[j]
        for j in range(end - begin):
            new_extreme[1, c, begin + j] = most[j]


@fast
def _sum_row(old, plus, new):
    for j in range(len(new)):
        new[j] = old[j] + plus[j]
