"""features.bin for the CPU: a row of bins at a time, whose sums stay in the cache while its rows of pixels go by."""

import numpy as np
from numba import njit

from ..backends import share

SUM, MEAN, MAX = range(3)


def bin_rows(n, x, good, pixel_status, some_unused, binned, *rest):
    """Rows of bins in parallel. some_unused: None where all pixels are used; start: what a sum or a maximum begins with; empty: what a bin with too few
    pixels holds."""
    share(_rows, n * x.shape[1] * binned.shape[2], x, good, pixel_status, some_unused, binned, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(first, last, x, good, pixel_status, some_unused, binned, bin_count, bin_status, high, wide, statistic, min_good, start, empty, masked):
    """Some rows of bins, with memory of their own."""
    down, rows, cols = binned.shape[2], x.shape[2], x.shape[3]
    held, count, used = np.empty(binned.shape[3], start.dtype), np.empty(binned.shape[3], np.int32), np.ones(cols, np.uint8)
    for job in range(first, last):
        f, p, to = job // (x.shape[1] * down), job // down % x.shape[1], job % down
        for b in range(len(held)):
            held[b], count[b] = start[0], 0
        for r in range(to * high, min(to * high + high, rows)):
            row = x[f, p, r]
            if some_unused is not None:
                used_pixels(row, None if good is None else good[p, r], None if pixel_status is None else pixel_status[f, p, r], used)
            if statistic == MAX:
                _most(row, used, wide, held, count)
            elif wide == 2 and some_unused is None:
                _add_all_pairs(row, held, count)
            elif wide == 2:
                _add_pairs(row, used, held, count)
            else:
                _add(row, used, wide, held, count)
        _give(held, count, binned[f, p, to], statistic, min_good, empty[0])
        if bin_count is not None:
            for b in range(len(count)):
                bin_count[f, p, to, b] = count[b]
        if bin_status is not None:
            for b in range(len(count)):
                bin_status[f, p, to, b] = np.uint8(0) if count[b] >= min_good else masked


@njit(cache=True, nogil=True, error_model="numpy")
def used_pixels(row, good, status, used):
    """1 for a pixel that is a measurement. Loops without branches: they vectorise."""
    for j in range(len(row)):
        used[j] = np.uint8(np.isfinite(row[j]))
    if good is not None:
        for j in range(len(row)):
            used[j] &= good[j]
    if status is not None:
        for j in range(len(row)):
            used[j] &= np.uint8(status[j] == 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_all_pairs(row, held, count):
    """_add for bins of two columns, all pixels of which are used."""
    whole = len(row) // 2
    for b in range(whole):
        held[b] += held.dtype.type(row[np.uint64(2 * b)]) + held.dtype.type(row[np.uint64(2 * b + 1)])
    for b in range(whole):
        count[b] += np.int32(2)
    if len(row) % 2:
        held[whole] += held.dtype.type(row[-1])
        count[whole] += np.int32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_pairs(row, used, held, count):
    """_add for bins of two columns."""
    zero, whole = held.dtype.type(0), len(row) // 2
    for b in range(whole):
        j = np.uint64(2 * b)
        one = held.dtype.type(row[j]) if used[j] else zero
        other = held.dtype.type(row[j + np.uint64(1)]) if used[j + np.uint64(1)] else zero
        held[b] = held[b] + one + other
    for b in range(whole):
        j = np.uint64(2 * b)
        count[b] += np.int32(used[j]) + np.int32(used[j + np.uint64(1)])
    if len(row) % 2:
        held[whole] += held.dtype.type(row[-1]) if used[-1] else zero
        count[whole] += np.int32(used[-1])


@njit(cache=True, nogil=True, error_model="numpy")
def _add(row, used, wide, held, count):
    """A row of pixels to their bins, in the order of columns."""
    for b in range(len(held)):
        total, many = held[b], np.int32(0)
        for j in range(b * wide, min(b * wide + wide, len(row))):
            if used[j]:
                total += held.dtype.type(row[j])
                many += np.int32(1)
        held[b] = total
        count[b] += many


@njit(cache=True, nogil=True, error_model="numpy")
def _most(row, used, wide, held, count):
    for b in range(len(held)):
        most, many = held[b], np.int32(0)
        for j in range(b * wide, min(b * wide + wide, len(row))):
            value = held.dtype.type(row[j])
            if used[j]:
                most = value if value > most else most
                many += np.int32(1)
        held[b] = most
        count[b] += many


@njit(cache=True, nogil=True, error_model="numpy")
def _give(held, count, binned, statistic, min_good, empty):
    if statistic != MEAN:
        for b in range(len(held)):
            binned[b] = empty if count[b] < min_good else binned.dtype.type(held[b] + held.dtype.type(0))     # no -0.0
        return
    for b in range(len(held)):
        if count[b] < min_good:
            binned[b] = empty
        else:
            binned[b] = np.float32(np.float64(held[b]) / np.float64(count[b]))
