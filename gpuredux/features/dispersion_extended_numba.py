"""features.dispersion_extended for the CPU. Over 200 lines: three walks, for the background test, for regions (a byte a pixel), for the pixels in them."""

import numpy as np
from numba import njit

from ..backends import share
from .dispersion_numba import GOOD, beyond, count_row, line, measurement, move, not_background, small, squares, take_row, units, window_row

MORE = 2


@njit(cache=True, nogil=True)
def move_squares(col, new, old, kx):
    """Column sums of squares, one row further: in f64, which holds them exactly."""
    inner = col[kx : kx + len(new)]
    for c in range(len(new)):
        a, b = np.float64(new[c]), np.float64(old[c])
        inner[c] += a * a - b * b


@njit(cache=True, nogil=True)
def suspects(m, x, y, gain, how, maybe):
    """maybe u8: 1 where f64 without roots does not rule out that the window fails the background test. It does so only with room for what was rounded."""
    factor = 2 * how.sigma_background * how.sigma_background * (1 - 1e-9)
    scale = how.scale if how.scale > 0 else 1.0
    if len(gain) == len(m):
        for c in range(len(m)):
            maybe[c] = suspect(m[c], x[c], y[c], np.float64(gain[c]) * scale, factor)
    else:
        for c in range(len(m)):
            maybe[c] = suspect(m[c], x[c], y[c], scale, factor)


@njit(cache=True, nogil=True, inline="always")
def suspect(m, x, y, g, factor):
    less, sum_x = np.float64(m) - 1.0, np.float64(x)
    over = np.float64(m) * y - sum_x * sum_x - g * sum_x * less * (1 - 1e-12)
    share = g * sum_x
    return (over > 0) & (not (over * over < share * share * less * factor))


@njit(cache=True, nogil=True)
def test_rows(x, status, local, gain, test, begin, end, size, how, wide, exact):
    """Rows begin to end of test u8: 0 = background. exact: the largest value of which f64 holds m y. Whether a pixel was limited."""
    (rows, cols), (ky, kx) = x.shape, size
    high = 2 * ky + 1
    ring, lost, losses = np.zeros((high, cols), np.int32), np.zeros((high, cols), np.uint8), np.zeros(high, np.int64)
    col, away, total_away = np.zeros(cols + 2 * kx, wide.dtype), np.zeros(cols + 2 * kx, np.int32), np.empty(cols, np.int32)
    square, spread, large = np.zeros(cols + 2 * kx, np.float64), np.empty(cols, np.float64), np.zeros(high, np.uint8)
    total, m, maybe = np.empty(cols, wide.dtype), np.empty(cols, np.int32), np.zeros(-(-cols // 8) * 8, np.uint8)
    value, gone, limited = np.empty(cols, np.int32), np.empty(cols, np.uint8), False
    for r in range(begin - ky, end + ky):
        slot, count = (r + high) % high, np.int64(0)
        if 0 <= r < rows:
            count = np.int64(take_row(x[r], line(status, r), local[r], how.per_unit, value, gone))
        else:
            value[:], gone[:] = 0, 0
        move(col, value, ring[slot], kx)
        move_squares(square, value, ring[slot], kx)
        if count > 0 or losses[slot] > 0:
            move(away, gone, lost[slot], kx)
            lost[slot] = gone
        ring[slot], losses[slot], large[slot] = value, count, most(value) > exact
        here = r - ky
        if here >= begin:
            some, middle = losses.sum() > 0, (here + high) % high
            window_row(col, total, kx)
            window_row(square, spread, kx)
            if some:
                window_row(away, total_away, kx)
            count_row(local[here], total_away, some, m)
            if large.sum() > 0:
                maybe[:cols] = 1
            else:
                suspects(m, total, spread, line(gain, here), how, maybe)
            decide_test(ring, m, total, line(gain, here), maybe, kx, how, test[here])
            for c in range(cols):
                test[here, c] |= np.uint8(1) - np.uint8(local[here, c] >> np.uint16(15))
            if losses[middle] > 0:
                limited |= leave_out(x[here], line(status, here), lost[middle], how.per_unit, test[here])
    return limited


@njit(cache=True, nogil=True)
def most(value):
    """The largest magnitude."""
    top = np.int32(0)
    for c in range(len(value)):
        top = max(top, abs(value[c]))
    return top


@njit(cache=True, nogil=True)
def decide_test(ring, m, x, gain, maybe, kx, how, test):
    """test u8: 1 for a pixel of `maybe` whose window fails the background test, as specified."""
    test[:] = 0
    eight = maybe.view(np.uint64)
    for k in range(len(eight)):
        if eight[k] != 0:
            for c in range(8 * k, min(8 * k + 8, len(m))):
                if maybe[c] != 0 and m[c] >= how.least and x[c] >= 0:
                    g = how.scale * np.float64(gain[c]) if len(gain) == len(m) else how.scale
                    test[c] = not_background(np.int64(m[c]), np.int64(x[c]), squares(ring, c, kx), g, how.sigma_background)


@njit(cache=True, nogil=True)
def leave_out(row, status, lost, per_unit, test):
    """1 for a pixel that is not used; returns whether a used one is beyond 2^31 units."""
    limited = False
    for c in range(len(row)):
        if lost[c]:
            if measurement(row[c]) and (len(status) != len(row) or status[c] == 0):
                limited |= beyond(row[c], per_unit)
            else:
                test[c] = 1
    return limited


@njit(cache=True, nogil=True)
def region_row(test, r, reach, cols, held, region):
    """region u8: 1 where no background pixel is within reach; held: room, with `reach` ones at both ends."""
    inner = held[reach : reach + cols]
    inner[:] = test[r, :cols]
    for k in range(max(r - reach, 0), min(r + reach + 1, len(test))):
        other = test[k]
        for c in range(cols):
            inner[c] &= other[c]
    for c in range(cols):
        region[c] = held[c]
    for k in range(1, 2 * reach + 1):
        beside = held[k : k + cols]
        for c in range(cols):
            region[c] &= beside[c]


@njit(cache=True, nogil=True)
def strong_row(x, status, local, gain, region, r, size, how, words):
    """The bits of a row's strong pixels; how many they are."""
    found, cols = 0, x.shape[1]
    for k in range(len(words)):
        words[k] = 0
    eight = region[r].view(np.uint64)
    for k in range(len(eight)):
        if eight[k] != 0:
            for c in range(8 * k, min(8 * k + 8, cols)):
                if region[r, c] != 0 and (local[r, c] & GOOD) != 0 and (len(status) == 0 or status[r, c] == 0) and measurement(x[r, c]):
                    g = how.scale * np.float64(gain[r, c]) if len(gain) > 0 else how.scale
                    if is_strong(x, status, local, region, r, c, size, g, how):
                        words[c >> 5] |= np.uint32(1) << np.uint32(c & 31)
                        found += 1
    return found


@njit(cache=True, nogil=True)
def is_strong(x, status, local, region, r, c, size, gain, how):
    """A pixel in a region against the mean around it."""
    v, total, n = units(x[r, c], how.per_unit), np.int64(0), 0
    if v <= how.threshold:
        return False
    for j in range(max(r - size[0] - MORE, 0), min(r + size[0] + MORE + 1, x.shape[0])):
        for i in range(max(c - size[1] - MORE, 0), min(c + size[1] + MORE + 1, x.shape[1])):
            near, fits = small(x[j, i], how.per_unit)
            if fits and region[j, i] == 0 and (local[j, i] & GOOD) != 0 and (len(status) == 0 or status[j, i] == 0):
                total += np.int64(near)
                n += 1
    mean = np.float64(total) / np.float64(n) if n >= 2 and total >= 0 else 0.0
    return total >= 0 and np.float64(v) >= mean + how.sigma_strong * np.sqrt(mean if gain == 0 else gain * mean)


@njit(cache=True, nogil=True)
def _tests(first, last, x, status, local, gain, test, size, how, wide, high, flags):
    """As the two below, tasks first to last, of `high` rows each."""
    rows, area = x.shape[1], (2 * size[0] + 1) * (2 * size[1] + 1)
    for task in range(first, last):
        p, begin = task // -(-rows // high), task % -(-rows // high) * high
        state = status[p] if len(status) > 0 else np.empty((0, 0), np.uint8)
        gains = gain[p] if len(gain) > 0 else np.empty((0, 0), np.float32)
        flags[task] = test_rows(x[p], state, local[p], gains, test[p], begin, min(begin + high, rows), size, how, wide, np.int32(2.0**26.5 / area))


@njit(cache=True, nogil=True)
def _regions(first, last, test, region, reach, cols, high):
    rows, held = test.shape[1], np.ones(cols + 2 * reach, np.uint8)
    for task in range(first, last):
        p, begin = task // -(-rows // high), task % -(-rows // high) * high
        for r in range(begin, min(begin + high, rows)):
            region_row(test[p], r, reach, cols, held, region[p, r])


@njit(cache=True, nogil=True)
def _strong(first, last, x, status, local, gain, region, words, size, how, high, counts):
    rows = x.shape[1]
    for task in range(first, last):
        p, begin = task // -(-rows // high), task % -(-rows // high) * high
        state = status[p] if len(status) > 0 else np.empty((0, 0), np.uint8)
        gains = gain[p] if len(gain) > 0 else np.empty((0, 0), np.float32)
        for r in range(begin, min(begin + high, rows)):
            counts[task] += strong_row(x[p], state, local[p], gains, region[p], r, size, how, words[p, r])


def mark_frame(x, status, local, gain, test, region, words, size, how, wide, high):
    """One frame (panels, rows, cols): how many strong pixels, and whether a pixel was limited. high: rows of a task."""
    panels, rows, cols = x.shape
    tasks = panels * -(-rows // high)
    counts, flags = np.zeros(tasks, np.int64), np.zeros(tasks, np.uint8)
    share(_tests, tasks, x, status, local, gain, test, size, how, wide, high, flags)
    share(_regions, tasks, test, region, min(size) - 1, cols, high)
    share(_strong, tasks, x, status, local, gain, region, words, size, how, high, counts)
    return counts.sum(), flags.any()
