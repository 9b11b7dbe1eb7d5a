"""The tiles of features.running for the CPU: sums of a few thousand pixels stay in the cache while the frames go by, four at a time."""

import numpy as np
from numba import njit, prange

from .bin_numba import used_pixels

TILE = 4096     # pixels
fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def run_tiles(x, order, first, good, status, count, total, total2, extreme, new_count, new_total, new_total2, new_extreme, per_unit, largest, beyond, strips):
    """The new state; order: frames by class, first: where each class begins; behind the last one come strays, whose status alone is looked at."""
    npix = x.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    jobs = n_tiles * (len(first) - 1)
    strips = min(jobs, strips)
    for strip in prange(strips):
        _strip(strip * jobs // strips, (strip + 1) * jobs // strips, n_tiles, x, order, first, good, status, count, total, total2, extreme,
               new_count, new_total, new_total2, new_extreme, per_unit, largest, beyond)


@fast
def _strip(start, stop, n_tiles, x, order, first, good, status, count, total, total2, extreme, new_count, new_total, new_total2, new_extreme,
           per_unit, largest, beyond):
    """Some tiles, with memory of their own."""
    many, sums, squares = np.empty(TILE, np.uint32), np.empty(TILE, np.int64), np.empty((2, TILE), np.uint64)
    least, most, used, q = np.empty(TILE, x.dtype), np.empty(TILE, x.dtype), np.empty(TILE, np.uint8), np.empty(TILE, np.int64)
    for job in range(start, stop):
        c, begin = job // n_tiles, job % n_tiles * TILE
        end = min(begin + TILE, x.shape[1])
        many[:], sums[:], squares[:] = 0, 0, 0
        if extreme is not None:
            least[: end - begin], most[: end - begin] = extreme[0, c, begin:end], extreme[1, c, begin:end]
        for k in range(first[c], first[c + 1] if c else first[1] + len(order) - first[-1]):
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
    m = end - begin
    for j in range(m):
        new_count[0, c, begin + j] = count[0, c, begin + j] + many[j]
        new_total[0, c, begin + j] = total[0, c, begin + j] + sums[j]
    if total2 is not None:
        for row in range(len(total2)):
            for j in range(m):
                new_total2[row, c, begin + j] = total2[row, c, begin + j] + squares[row, j]
    if extreme is not None:
        for j in range(m):
            new_extreme[0, c, begin + j] = least[j]
            new_extreme[1, c, begin + j] = most[j]
