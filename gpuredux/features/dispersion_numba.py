"""features.dispersion for the CPU: strips of rows, a row at a time. Over 200 lines: the walk down a strip, and the tests of a row.

Column sums of the values go down the rows; a row's windows are sums of 2 kx + 1 of them side by side; all that in vectors. A float32 test that no strong
pixel fails then leaves few pixels, and only those sum squares and are decided as the specification says. Pixels left out by `good` are known beforehand
(the map); those left out by their value or status are counted down the rows like the values, in rows that have any."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import overload

from ..backends import share


class How(NamedTuple):
    """Limits of the tests: threshold i64 in units, least pixels of a window, scale: units a photon, 0 for DIALS's words for one."""

    sigma_background: np.float64
    sigma_strong: np.float64
    scale: np.float64
    refused: np.float32
    per_unit: np.float32
    threshold: np.int64
    least: np.int64


LIMIT = 1 << 24
GOOD = np.uint16(0x8000)
MOST = np.float32(2147483520)


def local_map(use, ky, kx):
    """u16 (panels, rows, cols): bit 15 = used, and how many pixels of the window are."""
    local = np.empty(use.shape, np.uint16)
    share(_map_rows, use.shape[0] * use.shape[1], use, ky, kx, local)
    return local


@njit(cache=True, nogil=True)
def _map_rows(first, last, use, ky, kx, local):
    _, rows, cols = use.shape
    for at in range(first, last):
        panel, r = at // rows, at % rows
        col, total = np.zeros(cols + 2 * kx, np.int32), np.empty(cols, np.int32)
        for k in range(max(r - ky, 0), min(r + ky + 1, rows)):
            for c in range(cols):
                col[kx + c] += np.int32(use[panel, k, c])
        window_row(col, total, kx)
        for c in range(cols):
            local[panel, r, c] = np.uint16(total[c]) | (GOOD if use[panel, r, c] else np.uint16(0))


@njit(cache=True, nogil=True)
def window_row(col, total, kx):
    """total[c] = col[c] + ... + col[c + 2 kx]."""
    n = len(total)
    if kx == 3:     # DIALS's default, in one pass
        for c in range(n):
            total[c] = col[c] + col[c + 1] + col[c + 2] + col[c + 3] + col[c + 4] + col[c + 5] + col[c + 6]
        return
    for c in range(n):
        total[c] = col[c]
    for k in range(1, 2 * kx + 1):
        beside = col[k : k + n]     # an index c + k that might be negative is no vector
        for c in range(n):
            total[c] += beside[c]


def units(v, per_unit):
    """The value of a pixel in units; 0 for NaN and Inf."""


@overload(units, inline="always")
def _units(v, per_unit):
    if isinstance(v, types.Float):
        def steps(v, per_unit):
            q = np.rint(v * per_unit)
            return np.int64(min(max(q, -MOST), MOST)) if abs(v) <= np.float32(3.4028234663852886e38) else np.int64(0)
        return steps
    return lambda v, per_unit: np.int64(v)


def small(v, per_unit):
    """The same as i32, where it is no measurement or too large 0; and whether it is neither."""


@overload(small, inline="always")
def _small(v, per_unit):
    if isinstance(v, types.Float):
        def steps(v, per_unit):
            q = np.rint(v * per_unit)
            fits = abs(q) < np.float32(LIMIT)       # not of NaN and Inf; a finite one that is Inf in units is too large too
            return np.int32(q if fits else np.float32(0)), fits
        return steps
    if v.bitwidth < 32:
        return lambda v, per_unit: (np.int32(v), True)
    if v.signed:
        def counts(v, per_unit):
            fits = (v < LIMIT) & (v > -LIMIT)
            return np.int32(v) if fits else np.int32(0), fits
        return counts

    def counted(v, per_unit):
        fits = v < np.uint32(LIMIT)
        return np.int32(v) if fits else np.int32(0), fits
    return counted


def beyond(v, per_unit):
    """Whether a measurement is beyond 2^31 units."""


@overload(beyond, inline="always")
def _beyond(v, per_unit):
    if isinstance(v, types.Float):
        return lambda v, per_unit: abs(v) <= np.float32(3.4028234663852886e38) and abs(v * per_unit) > MOST
    return lambda v, per_unit: False


def measurement(v):
    """Whether a value is a number at all."""


@overload(measurement, inline="always")
def _measurement(v):
    if isinstance(v, types.Float):
        return lambda v: abs(v) <= np.float32(3.4028234663852886e38)
    return lambda v: True


@njit(cache=True, nogil=True)
def take_row(row, status, local, per_unit, value, lost):
    """value i32: the pixels that sums take in, else 0; lost u8: 1 for a good pixel that they do not. Returns how many of these."""
    for c in range(len(row)):
        v, fits = small(row[c], per_unit)
        use = (local[c] & GOOD) != 0
        value[c] = v if use else np.int32(0)
        lost[c] = use & (not fits)
    if len(status) == len(row):
        for c in range(len(row)):
            if status[c] != 0:
                value[c] = 0
                lost[c] = local[c] >> np.uint16(15)
    count = np.uint32(0)
    for c in range(len(row)):
        count += np.uint32(lost[c])
    return count


@njit(cache=True, nogil=True)
def move(col, new, old, kx):
    """Column sums, one row further."""
    inner = col[kx : kx + len(new)]
    for c in range(len(new)):
        inner[c] += col.dtype.type(new[c]) - col.dtype.type(old[c])


@njit(cache=True, nogil=True)
def count_row(local, away, some, m):
    """m: the number of pixels in each window: of the map, less `away`, if there are some."""
    for c in range(len(m)):
        m[c] = np.int32(local[c] & np.uint16(0x7FFF))
    if some:
        for c in range(len(m)):
            m[c] -= away[c]


@njit(cache=True, nogil=True)
def candidates(value, local, m, x, gain, refused, maybe):
    """maybe u8: 1 where float32 does not rule out that a good pixel is above mean and noise. It does so only with room for all that was rounded."""
    if len(gain) == len(value):
        for c in range(len(value)):
            maybe[c] = above(value[c], m[c], x[c], refused * gain[c])
    else:
        for c in range(len(value)):
            maybe[c] = above(value[c], m[c], x[c], refused)
    for c in range(len(value)):
        maybe[c] &= np.uint8(local[c] >> np.uint16(15))


@njit(cache=True, nogil=True, inline="always")
def above(v, m, x, limit):
    over = type(x)(m) * type(x)(v) - x
    big = np.float32(over)
    return (over > 0) & (not (big * big <= limit * (np.float32(x) * np.float32(m))))


@njit(cache=True, nogil=True)
def squares(ring, c, kx):
    """The sum of squares of a window, i64."""
    total = np.int64(0)
    first, last = max(c - kx, 0), min(c + kx + 1, ring.shape[1])
    for k in range(ring.shape[0]):
        for j in range(first, last):
            total += np.int64(ring[k, j]) * np.int64(ring[k, j])
    return total


@njit(cache=True, nogil=True)
def not_background(m, x, y, gain, sigma):
    """As specified; m, x, y i64; gain f64, 0 for none."""
    wide = np.sqrt(np.float64(2 * (m - 1)))
    if gain == 0:
        return np.float64(m * y - x * x - x * (m - 1)) > np.float64(x) * sigma * wide
    return np.float64(m * y - x * x) > gain * np.float64(x) * (np.float64(m - 1) + sigma * wide)


@njit(cache=True, nogil=True)
def above_mean(over, m, x, gain, sigma):
    if gain == 0:
        return np.float64(over) > sigma * np.sqrt(np.float64(x * m))
    return np.float64(over) > sigma * np.sqrt(gain * np.float64(x) * np.float64(m))


@njit(cache=True, nogil=True)
def decide(row, status, ring, m, x, gain, maybe, kx, how, words):
    """The bits of a row's strong pixels among those of `maybe`; how many they are."""
    found = 0
    for k in range(len(words)):
        words[k] = 0
    eight = maybe.view(np.uint64)
    for k in range(len(eight)):
        if eight[k] != 0:
            for c in range(8 * k, 8 * k + 8):
                if maybe[c] != 0 and (len(status) != len(row) or status[c] == 0):
                    g = how.scale * np.float64(gain[c]) if len(gain) == len(row) else how.scale
                    if decided(row[c], np.int64(m[c]), np.int64(x[c]), g, ring, c, kx, how):
                        words[c >> 5] |= np.uint32(1) << np.uint32(c & 31)
                        found += 1
    return found


@njit(cache=True, nogil=True)
def decided(v, m, x, gain, ring, c, kx, how):
    q = units(v, how.per_unit)
    if m < how.least or x < 0 or q <= how.threshold or not measurement(v):
        return False
    return above_mean(m * q - x, m, x, gain, how.sigma_strong) and not_background(m, x, squares(ring, c, kx), gain, how.sigma_background)


@njit(cache=True, nogil=True)
def take_large(row, status, lost, per_unit, maybe):
    """Pixels that are in no sum may be strong; returns whether one of them is beyond 2^31 units."""
    limited = False
    for c in range(len(row)):
        if lost[c] and measurement(row[c]) and (len(status) != len(row) or status[c] == 0):
            maybe[c] = 1
            limited |= beyond(row[c], per_unit)
    return limited


@njit(cache=True, nogil=True)
def strip(x, status, local, gain, strong, begin, end, size, how, wide):
    """Rows begin to end of a panel. status, gain: of no rows where there are none. Returns the number of strong pixels, and whether one was limited."""
    (rows, cols), (ky, kx) = x.shape, size
    high = 2 * ky + 1
    ring, lost, losses = np.zeros((high, cols), np.int32), np.zeros((high, cols), np.uint8), np.zeros(high, np.int64)
    col, away, total_away = np.zeros(cols + 2 * kx, wide.dtype), np.zeros(cols + 2 * kx, np.int32), np.empty(cols, np.int32)
    total, m, maybe = np.empty(cols, wide.dtype), np.empty(cols, np.int32), np.zeros(-(-cols // 8) * 8, np.uint8)
    value, gone = np.empty(cols, np.int32), np.empty(cols, np.uint8)
    found, limited = 0, False
    for r in range(begin - ky, end + ky):
        slot, count = (r + high) % high, np.int64(0)
        if 0 <= r < rows:
            count = np.int64(take_row(x[r], line(status, r), local[r], how.per_unit, value, gone))
        else:
            value[:], gone[:] = 0, 0
        move(col, value, ring[slot], kx)
        if count > 0 or losses[slot] > 0:
            move(away, gone, lost[slot], kx)
            lost[slot] = gone
        ring[slot], losses[slot] = value, count
        here = r - ky
        if here >= begin:
            middle = (here + high) % high
            window_row(col, total, kx)
            some = losses.sum() > 0
            if some:
                window_row(away, total_away, kx)
            count_row(local[here], total_away, some, m)
            candidates(ring[middle], local[here], m, total, line(gain, here), how.refused, maybe)
            if losses[middle] > 0:
                limited |= take_large(x[here], line(status, here), lost[middle], how.per_unit, maybe)
            found += decide(x[here], line(status, here), ring, m, total, line(gain, here), maybe, kx, how, strong[here])
    return found, limited


@njit(cache=True, nogil=True)
def line(a, r):
    """Row r, or an empty one."""
    return a[r] if len(a) > 0 else np.empty(0, a.dtype)


def dispersion_strips(x, status, local, gain, strong, n, size, how, wide, high):
    """Strips of so many rows in parallel. Returns for each frame the number of strong pixels, and whether one was limited."""
    parts = x.shape[1] * -(-x.shape[2] // high)
    counts, flags = np.zeros((n, parts), np.int32), np.zeros((n, parts), np.uint8)
    share(_strips, n * parts, x, status, local, gain, strong, size, how, wide, high, counts, flags)
    return counts.sum(axis=1), flags.any(axis=1)


@njit(cache=True, nogil=True)
def _strips(first, last, x, status, local, gain, strong, size, how, wide, high, counts, flags):
    n, rows = len(counts), x.shape[2]
    strips = -(-rows // high)
    for task in range(first, last):
        f, at = task % n, task // n         # the same strip of all frames: its map stays in the cache
        p, begin = at // strips, at % strips * high
        state = status[f, p] if len(status) > 0 else np.empty((0, 0), np.uint8)
        gains = gain[p] if len(gain) > 0 else np.empty((0, 0), np.float32)
        counts[f, at], flags[f, at] = strip(x[f, p], state, local[p], gains, strong[f, p], begin, min(begin + high, rows), size, how, wide)
