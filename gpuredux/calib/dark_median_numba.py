"""Medians of many pixels at once for the CPU: bisection by counting, side by side for 64 pixels."""

import numpy as np
from numba import njit

from ..backends import share

WIDE = 64       # pixels side by side
NONE = np.uint32(1 << 20)

fast = njit(cache=True, nogil=True, error_model="numpy")


def medians(raw, *rest):
    """median2, mad4 and count of the pixels of raw (n, npix); table: the adc of a word, NONE for one that does not count."""
    share(_groups, -(-raw.shape[1] // WIDE), raw, *rest)


@fast
def _groups(first, last, raw, table, median2, mad4, count):
    n, npix = raw.shape
    x, centre = np.empty((n, WIDE), np.uint32), np.empty(WIDE, np.uint32)
    many, spread = np.empty(WIDE, np.uint32), np.empty(WIDE, np.uint32)
    for group in range(first, last):
        begin = group * WIDE
        wide = min(WIDE, npix - begin)
        many[:] = 0
        for f in range(n):
            for j in range(wide):
                x[f, j] = table[raw[f, begin + j]]
                many[j] += x[f, j] != NONE
            x[f, wide:] = NONE
        _middle_two(x, many, centre)
        for f in range(n):
            row = x[f]
            for j in range(WIDE):
                far = np.uint32(abs(np.int32(2) * np.int32(row[j]) - np.int32(centre[j])))
                row[j] = NONE if row[j] == NONE else far
        _middle_two(x, many, spread)
        for j in range(wide):
            median2[begin + j], mad4[begin + j], count[begin + j] = centre[j], spread[j], many[j]


@fast
def _middle_two(x, many, result):
    """The two middle values of each column added; 0 for one of nothing but NONE."""
    low, high, middle, below = np.empty(WIDE, np.uint32), np.empty(WIDE, np.uint32), np.empty(WIDE, np.uint32), np.empty(WIDE, np.uint32)
    _range(x, low, high)
    while (low < high).any():
        for j in range(WIDE):
            middle[j] = (low[j] + high[j]) >> np.uint32(1)
        _count(x, middle, below)
        for j in range(WIDE):
            enough = below[j] >= (many[j] + np.uint32(1)) // np.uint32(2)
            high[j] = middle[j] if enough else high[j]
            low[j] = low[j] if enough else min(middle[j] + np.uint32(1), high[j])
    _count(x, low, below)
    high[:] = NONE
    for f in range(len(x)):
        row = x[f]
        for j in range(WIDE):
            high[j] = row[j] if low[j] < row[j] < high[j] else high[j]
    for j in range(WIDE):
        upper = low[j] if below[j] >= many[j] // np.uint32(2) + np.uint32(1) else high[j]
        result[j] = low[j] + upper if many[j] else np.uint32(0)


@fast
def _range(x, low, high):
    """Least and largest of each column, NONE apart; equal where there is nothing."""
    low[:], high[:] = NONE, 0
    for f in range(len(x)):
        row = x[f]
        for j in range(WIDE):
            low[j] = min(low[j], row[j])
            high[j] = row[j] if high[j] < row[j] < NONE else high[j]
    for j in range(WIDE):
        high[j] = max(high[j], low[j])


@fast
def _count(x, limit, below):
    """How many of each column are not above its limit."""
    below[:] = 0
    for f in range(len(x)):
        row = x[f]
        for j in range(WIDE):
            below[j] += np.uint32(row[j] <= limit[j])
