"""Lifting for the CPU: strips of rows that stay in the cache; steps along columns whole rows at a time, along rows with evens and odds apart."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

STRIP = 16      # pairs of rows that are made from one window
MARGIN = 2      # pairs beyond, which 9/7 reaches (5/3 reaches one)


@njit(nogil=True, error_model="numpy")
def step(x, left, right, factors, which, whole):
    """x += what its neighbours give. whole: which = 0 for -floor((left + right) / 2), 1 for floor((left + right + 2) / 4), 2 and 3 the opposites."""
    n = np.uint64(x.size)
    if not whole:
        factor = factors[which]
        for c in range(n):
            x[c] = x[c] + factor * (left[c] + right[c])
    elif which == 0:
        for c in range(n):
            x[c] = np.int64(x[c]) - ((np.int64(left[c]) + np.int64(right[c])) >> np.int64(1))
    elif which == 1:
        for c in range(n):
            x[c] = np.int64(x[c]) + ((np.int64(left[c]) + np.int64(right[c]) + np.int64(2)) >> np.int64(2))
    elif which == 2:
        for c in range(n):
            x[c] = np.int64(x[c]) + ((np.int64(left[c]) + np.int64(right[c])) >> np.int64(1))
    else:
        for c in range(n):
            x[c] = np.int64(x[c]) - ((np.int64(left[c]) + np.int64(right[c]) + np.int64(2)) >> np.int64(2))


@njit(nogil=True, error_model="numpy")
def times(x, factor):
    for c in range(np.uint64(x.size)):
        x[c] = x[c] * factor


@njit(nogil=True, error_model="numpy")
def turned(i, n, periodic):
    """Which sample stands at place i of n > 1."""
    if periodic:
        return i % n
    t = i % (2 * n - 2)
    return t if t < n else 2 * n - 2 - t


@njit(nogil=True, error_model="numpy")
def steps_of(count, back, whole):
    """The steps one after the other: (which, odd, first pair, pairs), of a window of count pairs and MARGIN more at both ends."""
    total = count + 2 * MARGIN
    if whole:
        if back:
            return ((3, False, 1, total - 1), (2, True, 1, total - 2), (-1, False, 0, 0), (-1, False, 0, 0))
        return ((0, True, 0, total - 1), (1, False, 1, total - 2), (-1, False, 0, 0), (-1, False, 0, 0))
    if back:
        return ((3, False, 1, total - 1), (2, True, 1, total - 2), (1, False, 2, total - 3), (0, True, 2, total - 4))
    return ((0, True, 0, total - 1), (1, False, 1, total - 2), (2, True, 1, total - 3), (3, False, 2, total - 4))


@njit(nogil=True, error_model="numpy")
def down(window, count, factors, whole, back):
    """All steps along the columns of a window of rows: even, odd, even ..."""
    if back and not whole:
        for q in range(count + 2 * MARGIN):
            times(window[2 * q], factors[4])
            times(window[2 * q + 1], factors[5])
    for which, odd, first, pairs in steps_of(count, back, whole):
        for q in range(first, first + pairs):
            r = 2 * q + 1 if odd else 2 * q
            step(window[r], window[r - 1], window[r + 1], factors, which, whole)
    if not back and not whole:
        for q in range(MARGIN, count + MARGIN):
            times(window[2 * q], factors[4])
            times(window[2 * q + 1], factors[5])


@njit(nogil=True, error_model="numpy")
def along(even, odd, factors, whole, back):
    """All steps along a row, of its even and odd samples with MARGIN more at both ends."""
    count = even.size - 2 * MARGIN
    if back and not whole:
        times(even, factors[4])
        times(odd, factors[5])
    for which, is_odd, first, pairs in steps_of(count, back, whole):
        end = first + pairs
        if is_odd:
            step(odd[first:end], even[first:end], even[first + 1 : end + 1], factors, which, whole)
        elif pairs:
            step(even[first:end], odd[first - 1 : end - 1], odd[first:end], factors, which, whole)
    if not back and not whole:
        times(even, factors[4])
        times(odd, factors[5])


def lift(x, packed, low, *how_and_sizes):
    """One level: the corner of x of these sizes; the approximation to the corner of low, the details to packed."""
    share(_lift, len(x) * -(-how_and_sizes[-1][0] // (2 * STRIP)), read_only(x), packed, low, *how_and_sizes)


@njit(cache=True, nogil=True, error_model="numpy")
def _lift(first_task, last_task, x, packed, low, factors, whole, periodic, sizes):
    rows, cols = sizes
    half_rows, half = (rows + 1) // 2, (cols + 1) // 2
    tall = -(-half_rows // STRIP)
    for task in range(first_task, last_task):
        i, begin = task // tall, task % tall * STRIP
        count = min(STRIP, half_rows - begin)
        window = np.empty((2 * (STRIP + 2 * MARGIN), cols), packed.dtype)
        apart = np.empty((2, half + 2 * MARGIN), packed.dtype)
        first = MARGIN if rows > 1 else 0
        for q in range(2 * (count + 2 * first)):
            r = 2 * (begin - first) + q
            copied(x[i, turned(r, rows, periodic) if rows > 1 else 0], window[q], cols)
        if rows > 1:
            down(window, count, factors, whole, False)
        for q in range(2 * count):
            r = 2 * begin + q
            if r < rows:
                line, k = window[q + 2 * first], begin + q // 2
                to = packed[i, half_rows + k] if q % 2 else packed[i, k]
                to_low = to if q % 2 else low[i, k]
                if cols == 1:
                    to_low[0] = one_nan(line[0])
                else:
                    split(line, apart[0], apart[1], cols, periodic)
                    along(apart[0], apart[1], factors, whole, False)
                    for c in range(half):
                        to_low[c] = one_nan(apart[0, c + MARGIN])
                    for c in range(cols - half):
                        to[half + c] = one_nan(apart[1, c + MARGIN])


@njit(nogil=True, error_model="numpy")
def one_nan(x):
    return x if x == x else type(x)(np.nan)


@njit(nogil=True, error_model="numpy")
def copied(x, row, count):
    for c in range(np.uint64(count)):
        row[c] = x[c]


@njit(nogil=True, error_model="numpy")
def split(line, even, odd, cols, periodic):
    """Evens and odds of a row, with those beyond its ends."""
    for c in range(np.uint64(cols // 2)):
        even[c + np.uint64(MARGIN)] = line[np.uint64(2) * c]
        odd[c + np.uint64(MARGIN)] = line[np.uint64(2) * c + np.uint64(1)]
    for part in range(2):
        for c in range(0 if part == 0 else cols // 2 + MARGIN, MARGIN if part == 0 else even.size):
            even[c] = line[turned(2 * (c - MARGIN), cols, periodic)]
            odd[c] = line[turned(2 * (c - MARGIN) + 1, cols, periodic)]


def unlift(low, packed, out, *how_and_sizes):
    """One level back: the approximation in the corner of low, the details in packed, to the corner of out of these sizes."""
    share(_unlift, len(out) * -(-how_and_sizes[-1][0] // (2 * STRIP)), read_only(low), read_only(packed), out, *how_and_sizes)


@njit(cache=True, nogil=True, error_model="numpy")
def _unlift(first_task, last_task, low, packed, out, factors, whole, periodic, sizes):
    rows, cols = sizes
    half_rows, half = (rows + 1) // 2, (cols + 1) // 2
    tall = -(-half_rows // STRIP)
    for task in range(first_task, last_task):
        i, begin = task // tall, task % tall * STRIP
        count = min(STRIP, half_rows - begin)
        window = np.empty((2 * (STRIP + 2 * MARGIN), cols), packed.dtype)
        line, apart = np.empty(cols, packed.dtype), np.empty((2, half + 2 * MARGIN), packed.dtype)
        first = MARGIN if rows > 1 else 0
        for q in range(2 * (count + 2 * first)):
            r = turned(2 * (begin - first) + q, rows, periodic) if rows > 1 else 0
            given = packed[i, half_rows + r // 2] if r % 2 else packed[i, r // 2]
            given_low = given if r % 2 else low[i, r // 2]
            if cols == 1:
                window[q, 0] = given_low[0]
            else:
                for c in range(half):       # as they stood: even, odd, even ...
                    line[2 * c] = given_low[c]
                for c in range(cols - half):
                    line[2 * c + 1] = given[half + c]
                split(line, apart[0], apart[1], cols, periodic)
                along(apart[0], apart[1], factors, whole, True)
                for c in range(half):
                    window[q, 2 * c] = apart[0, c + MARGIN]
                for c in range(cols - half):
                    window[q, 2 * c + 1] = apart[1, c + MARGIN]
        if rows > 1:
            down(window, count, factors, whole, True)
        for q in range(2 * count):
            if 2 * begin + q < rows:
                to = out[i, 2 * begin + q]
                for c in range(cols):
                    to[c] = one_nan(window[q + 2 * first, c])
