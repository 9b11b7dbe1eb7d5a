"""A level of the inverse wavelet transform for the CPU: strips of rows that stay in the cache; along columns whole rows at a time."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

STRIP = 16      # pairs of rows that are made from one window of coefficients


def synthesise(low, packed, out, lo_even, hi_even, lo_odd, hi_odd, places, first, window, two, sizes):
    """One level: the approximation in the corner of low and the details in packed to out (m, rows, cols).

    lo_even ... hi_odd: the taps for even and for odd samples as tuples, so that sums unroll; places: the coefficient that each begins at."""
    tall = -(-((out.shape[1] + 1) // 2) // (4 * STRIP)) if two else 1
    even, odd = (lo_even, hi_even, places[0], places[1]), (lo_odd, hi_odd, places[2], places[3])
    share(_synthesise, len(out) * tall, tall, read_only(low), read_only(packed), out, even, odd, first, window, two, sizes)


@njit(cache=True, nogil=True, error_model="numpy")
def _synthesise(first_task, last_task, tall, low, packed, out, even, odd, first, window, two, sizes):
    rows, cols, row_start, col_start = sizes
    _, height, width = out.shape
    pairs, pitch = (height + 1) // 2, (width + 1) // 2 + window - 1
    held = np.empty((4, STRIP + window - 1, pitch), out.dtype)
    lines = np.empty((4, pitch), out.dtype)
    line = np.empty(2 * (pitch - window + 1), out.dtype)
    for task in range(first_task, last_task):
        i, begin = task // tall, task % tall * 4 * STRIP
        if not two:
            go_round(low[i, 0, :cols], lines[0], first)
            go_round(packed[i, 0, col_start : col_start + cols], lines[1], first)
            along(lines[0], lines[1], even, odd, line, out[i, 0])
        else:
            end = min(begin + 4 * STRIP, pairs)
            for p0 in range(begin, end, STRIP):
                count = min(STRIP, end - p0)
                for q in range(count + window - 1):
                    k = (p0 + first + q) % rows
                    go_round(low[i, k, :cols], held[0, q], first)
                    go_round(packed[i, row_start + k, :cols], held[1, q], first)
                    go_round(packed[i, k, col_start : col_start + cols], held[2, q], first)
                    go_round(packed[i, row_start + k, col_start : col_start + cols], held[3, q], first)
                for q in range(count):
                    down(held[0], held[1], q, even, odd, lines[0], lines[1])
                    down(held[2], held[3], q, even, odd, lines[2], lines[3])
                    r = 2 * (p0 + q)
                    along(lines[0], lines[2], even, odd, line, out[i, r])
                    if r + 1 < height:
                        along(lines[1], lines[3], even, odd, line, out[i, r + 1])


@njit(nogil=True, error_model="numpy")
def go_round(x, row, first):
    """row = the coefficients first, first + 1 ... of x, modulo its size: those that no sample asks for in other modes than periodization."""
    n = x.size
    left = min(-first, row.size)
    for c in range(left):
        row[c] = x[(c + first) % n]
    inside = min(n, row.size - left)
    for c in range(inside):
        row[c + left] = x[c]
    for c in range(left + inside, row.size):
        row[c] = x[(c + first) % n]


@njit(nogil=True, error_model="numpy")
def down(low, high, q, even, odd, row, next_row):
    """Sums along the columns, for the two rows of pair q."""
    one_row(low, high, q, even, row)
    one_row(low, high, q, odd, next_row)


@njit(nogil=True, error_model="numpy")
def one_row(low, high, q, filters, out):
    lo, hi, lo_at, hi_at = filters
    zero = out.dtype.type(0)
    for c in range(np.uint64(out.size)):
        a = zero
        for k in range(len(lo)):
            a += lo[k] * low[np.uint64(q + lo_at - k), c]
        for k in range(len(hi)):
            a += hi[k] * high[np.uint64(q + hi_at - k), c]
        out[c] = a


@njit(nogil=True, error_model="numpy")
def along(low, high, even, odd, line, out):
    """Sums along one row, evens and odds side by side."""
    pairs = line.size // 2
    one_side(low, high, even, line[:pairs])
    one_side(low, high, odd, line[pairs:])
    for c in range(np.uint64(out.size // 2)):
        out[np.uint64(2) * c] = line[c]
        out[np.uint64(2) * c + np.uint64(1)] = line[c + np.uint64(pairs)]
    if out.size % 2:
        out[out.size - 1] = line[pairs - 1]


@njit(nogil=True, error_model="numpy")
def one_side(low, high, filters, out):
    lo, hi, lo_at, hi_at = filters
    nan, zero = out.dtype.type(np.nan), out.dtype.type(0)
    for c in range(np.uint64(out.size)):
        a = zero
        for k in range(len(lo)):
            a += lo[k] * low[c + np.uint64(lo_at - k)]
        for k in range(len(hi)):
            a += hi[k] * high[c + np.uint64(hi_at - k)]
        out[c] = a if a == a else nan
