"""Medians of rings for the CPU: a ring's values are gathered, and partitioned around the one that is wanted."""

import numpy as np
from numba import njit

from ..backends import share
from ..calib.common_mode_numba import _nth

fast = njit(cache=True, nogil=True, error_model="numpy")


def medians(frames, marks, marked, order, first, *rest):
    """Fill median and pixels (n, count). most: pixels of the largest ring."""
    share(_rings, len(frames) * (len(first) - 1), frames, marks, marked, order, first, *rest)


@fast
def _rings(begin, end, frames, marks, marked, order, first, normalisation, weighted, quantile, most, median, pixels):
    count, room = len(first) - 1, np.empty(most, np.float32)
    for task in range(begin, end):
        f, k = task // count, task % count
        _ring(frames[f], marks[f if marked else 0], marked, order, normalisation, weighted, quantile, first[k], first[k + 1], room, median, pixels, f, k)


@fast
def _ring(v, marks, marked, order, normalisation, weighted, quantile, begin, end, room, median, pixels, f, k):
    n = 0
    for j in range(np.uint64(begin), np.uint64(end)):
        i = np.uint64(order[j])
        x = np.float32(v[i])
        if np.isfinite(x) and not (marked and marks[i] != 0):
            room[n] = (np.float32(np.float64(x) / np.float64(normalisation[i])) if weighted else x) + np.float32(0)
            n += 1
    pixels[f, k], median[f, k] = n, np.float32(np.nan)
    if n == 0:
        return
    p = quantile * n
    upper = min(int(p), n - 1)
    x = room[:n]
    high = np.float64(_nth(x, upper))
    low = high
    if p == upper and upper > 0:
        low = -np.inf
        for j in range(upper):      # the largest of those before it
            low = max(low, np.float64(x[j]))
    median[f, k] = np.float32((low + high) * 0.5)
