"""A level of the wavelet transform for the CPU: strips of rows that stay in the cache; along columns whole rows at a time, along rows evens and odds apart."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

STRIP = 16      # rows of coefficients that are made from one window of rows


def analyse(x, low, packed, lo, hi, lo_at, hi_at, length, shift, mode, two, sizes):
    """One level: x (m, rows, cols) to low (the approximation, in its corner) and the details in packed. lo, hi: taps as tuples, so that sums unroll."""
    tall = -(-sizes[0] // (4 * STRIP)) if two else 1
    share(_analyse, len(x) * tall, tall, read_only(x), low, packed, lo, hi, lo_at, hi_at, length, shift, mode, two, sizes)


@njit(cache=True, nogil=True, error_model="numpy")
def _analyse(first_task, last_task, tall, x, low, packed, lo, hi, lo_at, hi_at, length, shift, mode, two, sizes):
    rows, cols, row_start, col_start = sizes
    pitch = 2 * cols - 2 + length
    beyond = places_beyond(x.shape[2], shift - length + 1, pitch, mode)
    window = np.empty((2 * STRIP - 2 + length, pitch), packed.dtype)
    line = np.empty((2, pitch), packed.dtype)
    apart = np.empty((2, pitch // 2), packed.dtype)
    for task in range(first_task, last_task):
        i, begin = task // tall, task % tall * 4 * STRIP
        end = min(begin + 4 * STRIP, rows)
        held = 0        # rows of the window that are there already
        for k0 in range(begin, end, STRIP):
            count = min(STRIP, end - k0)
            if two:
                need = 2 * count - 2 + length
                for q in range(held, need):
                    fill_row(x[i], 2 * k0 + shift - length + 1 + q, window[q], shift - length + 1, mode, beyond)
                for k in range(count):
                    down(window, 2 * k + length - 1, lo, hi, lo_at, hi_at, line[0], line[1])
                    across(line[0], apart, lo, hi, lo_at, hi_at, length, low[i, k0 + k, :cols], packed[i, k0 + k, col_start : col_start + cols])
                    r = row_start + k0 + k
                    across(line[1], apart, lo, hi, lo_at, hi_at, length, packed[i, r, :cols], packed[i, r, col_start : col_start + cols])
                held = length - 2
                for q in range(held):
                    window[q, :] = window[2 * count + q, :]
            else:
                fill_row(x[i], 0, line[0], shift - length + 1, mode, beyond)
                across(line[0], apart, lo, hi, lo_at, hi_at, length, low[i, 0, :cols], packed[i, 0, col_start : col_start + cols])


@njit(nogil=True, error_model="numpy")
def down(window, r, lo, hi, lo_at, hi_at, low, high):
    """Sums along the columns, of rows r, r - 1 ... of the window."""
    zero = window.dtype.type(0)
    for c in range(np.uint64(low.size)):
        a, b = zero, zero
        for j in range(len(lo)):
            a += lo[j] * window[np.uint64(r - lo_at - j), c]
        for j in range(len(hi)):
            b += hi[j] * window[np.uint64(r - hi_at - j), c]
        low[c] = a
        high[c] = b


@njit(nogil=True, error_model="numpy")
def across(line, apart, lo, hi, lo_at, hi_at, length, low, high):
    """Sums along one row: low[k] = sum of lo[j] * line[2 k + length - 1 - j]."""
    even, odd = apart[0], apart[1]      # `even, odd = apart` takes five times as long (tried)
    for k in range(np.uint64(even.size)):
        even[k] = line[np.uint64(2) * k]
        odd[k] = line[np.uint64(2) * k + np.uint64(1)]
    one_side(apart, lo, lo_at, length, low)
    one_side(apart, hi, hi_at, length, high)


@njit(nogil=True, error_model="numpy")
def one_side(apart, taps, first, length, out):
    nan, zero = apart.dtype.type(np.nan), apart.dtype.type(0)
    for k in range(np.uint64(out.size)):
        a = zero
        for j in range(len(taps)):
            at = length - 1 - first - j
            a += taps[j] * apart[np.uint64(at & 1), k + np.uint64(at >> 1)]
        out[k] = a if a == a else nan


@njit(nogil=True, error_model="numpy")
def fill_row(x, r, row, first, mode, beyond):
    """row = the samples first, first + 1 ... of row r of x; both go on beyond their ends."""
    rows, pitch = x.shape[0], row.size
    if 0 <= r < rows:
        inside(x[r], row, first, mode, beyond)
        return
    sample, sign = folded(r, rows, mode)
    if mode == 5 and rows > 1:
        near, next_one = (0, 1) if r < 0 else (rows - 1, rows - 2)
        other = np.empty_like(row)
        inside(x[near], row, first, mode, beyond)
        inside(x[next_one], other, first, mode, beyond)
        steps = row.dtype.type(-r if r < 0 else r - rows + 1)
        for c in range(pitch):
            row[c] = (row[c] - other[c]) * steps + row[c]
    elif mode == 7 and rows > 1:
        top, bottom = np.empty_like(row), np.empty_like(row)
        inside(x[0], top, first, mode, beyond)
        inside(x[rows - 1], bottom, first, mode, beyond)
        inside(x[sample], row, first, mode, beyond)
        for c in range(pitch):
            row[c] = reflected(row[c], top[c], bottom[c], r, rows)
    else:
        inside(x[sample], row, first, mode, beyond)
        if sign == 0:
            row[:] = 0
        elif sign < 0:
            for c in range(pitch):
                row[c] = -row[c]


@njit(nogil=True, error_model="numpy")
def places_beyond(cols, first, pitch, mode):
    """(place in the row, sample, sign) of all places beyond the ends of a row: the same for every row."""
    left, right = min(-first, pitch), min(cols, pitch + first)
    out = np.empty((pitch - right, 3), np.int64)
    for q in range(len(out)):
        c = q if q < left else q + right
        out[q, 0] = c
        out[q, 1], out[q, 2] = folded(c + first, cols, mode)
    return out


@njit(nogil=True, error_model="numpy")
def inside(x, row, first, mode, beyond):
    """row = the samples first, first + 1 ... of a row."""
    cols = x.size
    kind = row.dtype.type
    left = np.uint64(min(-first, row.size))
    for c in range(np.uint64(min(cols, row.size + first))):
        row[c + left] = x[c]
    for q in range(len(beyond)):
        c, sample, sign = beyond[q, 0], beyond[q, 1], beyond[q, 2]
        i = c + first
        y = kind(x[sample])
        if mode == 5 and cols > 1:
            near, next_one = (kind(x[0]), kind(x[1])) if i < 0 else (kind(x[cols - 1]), kind(x[cols - 2]))
            y = (near - next_one) * kind(-i if i < 0 else i - cols + 1) + near
        elif mode == 7 and cols > 1:
            y = reflected(y, kind(x[0]), kind(x[cols - 1]), i, cols)
        elif sign == 0:
            y = kind(0)
        elif sign < 0:
            y = -y
        row[c] = y


@njit(nogil=True, error_model="numpy")
def reflected(y, start, end, i, n):
    """antireflect, n > 1: y is the sample that reflect has there."""
    kind, u, period = type(y), abs(i), 2 * n - 2
    t, turns = u % period, u // period
    if t >= n:
        y = end * kind(2) - y
    if turns > 0:
        y = (end - start) * kind(2 * turns) + y
    return start * kind(2) - y if i < 0 else y


@njit(nogil=True, error_model="numpy")
def folded(i, n, mode):
    """(sample, sign) as dwt_layout.folded has it; of smooth and antireflect the sample at the near end, and that of reflect."""
    if mode <= 1 or mode == 5:
        return min(max(i, 0), n - 1), 1 if mode or 0 <= i < n else 0
    if mode == 4:
        return i % n, 1
    if mode == 8:
        return min(i % (n + n % 2), n - 1), 1
    if mode == 3 or mode == 7:
        t = i % max(2 * n - 2, 1)
        return t if t < n else 2 * n - 2 - t, 1
    t = i % (2 * n)
    return t if t < n else 2 * n - 1 - t, 1 if mode == 2 or t < n else -1


@njit(cache=True, nogil=True, error_model="numpy")
def clear_gaps(packed, rows, cols):
    """Zeros in what the sub-bands leave over; rows, cols: the lengths of each level and the starts of its details."""
    for i in range(packed.shape[0]):
        for level in range(1, rows.shape[1]):
            n, at, width, start = rows[0, level], rows[1, level], cols[0, level], cols[1, level]
            packed[i, n:at, start : start + width] = 0
            packed[i, at : at + n, width:start] = 0
