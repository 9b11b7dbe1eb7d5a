"""features.peak_finder8 for the CPU: one look at each pixel. Over 200 lines: one method, from the rings to the table.

A ring's bounds in all rounds of clipping need only sums of the pixels well inside, which never leave, and the few others one by one. What is well inside
is guessed from a sample, and checked: where a bound comes to lie inside, the ring is clipped again pixel by pixel."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..backends import share
from ..status import Frame
from .strong_numba import components
from .tables_numba import clear_behind

SAMPLE = 32         # pixels of a ring that its first guess looks at
LEFT_OUT = 3        # the largest of them that are left out
INSIDE = 0.75       # of min_snr sigma: how far the guess reaches
ROUNDS = 5
FLAT = 0.01
LEAST, MOST = np.float32(1.17549435e-38), np.float32(3.4028234663852886e38)
LARGEST = np.float32(2147483520.0)
BEYOND_UNIT, TOO_MANY = int(Frame.BEYOND_UNIT), int(Frame.TOO_MANY)
fast = njit(cache=True, nogil=True, error_model="numpy")


class RingTable(NamedTuple):
    """label (npix,) u16: count for pixels of no ring; the rest as in Rings; sample (count, SAMPLE) u32: some of each ring, sampled: how many."""

    label: np.ndarray
    order: np.ndarray
    first: np.ndarray
    sample: np.ndarray
    sampled: np.ndarray
    most: int       # q^2 of pixels inside may be summed in 64 bits up to this


class Numbers(NamedTuple):
    """The fields of the op."""

    adc: float
    snr: float
    reach: int
    legacy: bool
    capacity: int
    unit: float
    marked: bool


def ring_table(label, order, first):
    """Of Rings, flat."""
    count, sizes = len(first) - 1, np.diff(first.astype(np.int64))
    sampled = np.minimum(sizes, SAMPLE)
    step = np.arange(SAMPLE) * sizes[:, None] // np.maximum(sampled, 1)[:, None]
    place = np.minimum(first[:-1, None] + np.where(np.arange(SAMPLE) < sampled[:, None], step, 0), max(len(order) - 1, 0))
    sample = order[place] if len(order) else np.zeros((count, SAMPLE), np.uint32)
    most = min(2**24, math.isqrt(2**62 // max(int(sizes.max(initial=1)), 1)))
    return RingTable(label.reshape(-1), order, first.astype(np.int64), sample.astype(np.uint32), sampled.astype(np.int64), most)


def find(frames, *rest):
    """Fill the tables of all frames; what is to be added to each one's frame_status. marks: one row that nobody looks at, unless numbers.marked."""
    status = np.zeros(len(frames), np.uint32)
    share(_frames, len(frames), status, frames, *rest)
    return status


@fast
def _frames(first, last, status, frames, marks, rings, numbers, grid, columns, peak_count, strong_count):
    for f in range(first, last):
        v, mine = frames[f], marks[f if numbers.marked else 0]
        strong, mean, high, beyond = _strong(v, mine, rings, numbers)
        strong_count[f] = len(strong)
        count, too_many = 0, len(strong) > numbers.capacity
        if not too_many:
            start, members = components(strong, grid)
            for k in range(len(start) - 1):
                count += _peak(v, mine, strong[members[start[k] : start[k + 1]]], rings.label, mean, high, numbers, grid, columns, f, count)
        peak_count[f] = count
        clear_behind(columns[:1] + columns[3:4], columns[1:3] + columns[4:], f, count)
        status[f] = np.uint32((BEYOND_UNIT if beyond else 0) | (TOO_MANY if too_many else 0))


# ------------------------------------------------------------------------------------------------------------------ rings
@fast
def _value(x, unit):
    """A pixel's value, at most what sums can take in."""
    x, most = np.float32(x), np.float32(np.float64(LARGEST) * unit)
    return most if x > most else -most if x < -most else x


@fast
def _usable(v, marks, marked, i):
    return np.isfinite(np.float32(v[i])) and (not marked or marks[i] == 0)


@fast
def _guess(v, rings, numbers):
    """(2 * (count + 1)) f32: what is well inside a ring: low <= v < high; behind the last ring everything."""
    count = len(rings.sampled)
    core = np.empty(2 * (count + 1), np.float32)
    values, limit = np.empty(SAMPLE, np.float32), np.float32(rings.most * numbers.unit)
    for k in range(count):
        n = rings.sampled[k]
        for a in range(n):
            x = np.float32(v[rings.sample[k, a]])
            b = a
            while b > 0 and values[b - 1] > x:
                values[b] = values[b - 1]
                b -= 1
            values[b] = x
        n = max(n - LEFT_OUT, min(n, 1))
        total = squares = 0.0
        for a in range(n):
            total += values[a]
        mean = total / max(n, 1)
        for a in range(n):
            squares += (values[a] - mean) ** 2
        reach = INSIDE * numbers.snr * 1.2 * math.sqrt(squares / max(n, 1))
        low, high = np.float32(mean - reach), np.float32(max(mean + reach, numbers.adc))
        if not (low < high):
            high = np.nextafter(low, np.float32(np.inf))
        core[2 * k], core[2 * k + 1] = max(low, -limit), min(high, limit)
    core[2 * count], core[2 * count + 1] = -np.inf, np.inf
    return core


@fast
def _first_look(v, marks, marked, rings, scale, core, sums, listed):
    """Sums of what is well inside, by odd and even pixels apart: a sum that was just stored is not waited for. listed: all other pixels; how many."""
    label, some = rings.label, np.uint64(0)
    for i in range(np.uint64(len(v))):
        x = np.float32(v[i])
        r = np.uint64(label[i])
        if core[np.uint64(2) * r] <= x and x < core[np.uint64(2) * r + np.uint64(1)] and (not marked or marks[i] == 0):
            q = np.int64(np.int32(np.rint(x * scale)))
            at = (np.uint64(2) * r + (i & np.uint64(1))) * np.uint64(2)
            sums[at] += q
            sums[at + np.uint64(1)] += q * q
        else:
            listed[some] = i
            some += np.uint64(1)
    return some


@fast
def _strong(v, marks, rings, numbers):
    """The pixels above threshold in raster order; mean and threshold of each ring; whether a value was beyond the range of unit."""
    count, scale = len(rings.sampled), np.float32(1.0 / numbers.unit)
    core = _guess(v, rings, numbers)
    sums, listed = np.zeros(4 * (count + 1), np.int64), np.empty(len(v), np.uint32)
    some = _first_look(v, marks, numbers.marked, rings, scale, core, sums, listed)
    # what was listed, by ring
    start = np.zeros(count + 2, np.int64)
    for e in range(some):
        start[np.int64(rings.label[listed[e]]) + 1] += 1
    for k in range(count + 1):
        start[k + 1] += start[k]
    value, place, beyond = np.empty(some, np.float32), start[:-1].copy(), False
    for e in range(some):
        r = rings.label[listed[e]]
        x, usable = np.float32(v[listed[e]]), _usable(v, marks, numbers.marked, listed[e])
        value[place[r]] = _value(x, numbers.unit) if usable else np.nan
        beyond |= usable and r < count and abs(np.rint(x * scale)) > LARGEST
        place[r] += 1
    mean, high = np.zeros(count + 1, np.float32), np.full(count + 1, MOST, np.float32)
    again = np.zeros(count, np.bool_)
    for k in range(count):
        outside = value[start[k] : start[k + 1]]
        n = rings.first[k + 1] - rings.first[k] - len(outside)
        mean[k], high[k], good = _clip(outside, n, sums[4 * k] + sums[4 * k + 2], np.uint64(sums[4 * k + 1]) + np.uint64(sums[4 * k + 3]),
                                       core[2 * k], core[2 * k + 1], numbers, scale)
        if not good:
            again[k] = True
            mean[k], high[k] = _clip_all(v, marks, rings.order[rings.first[k] : rings.first[k + 1]], numbers, scale)
    return _above(v, marks, rings, listed[:some], high, again, numbers), mean, high, beyond


@fast
def _above(v, marks, rings, listed, high, again, numbers):
    """Pixels above threshold: all of them were listed, but for rings that were clipped again."""
    more = 0
    for k in range(len(again)):
        if again[k]:
            more += rings.first[k + 1] - rings.first[k]
    strong, some = np.empty(len(listed) + more, np.uint32), 0
    for i in listed:
        r = rings.label[i]
        if r < len(again) and not again[r] and _value(v[i], numbers.unit) > high[r] and _usable(v, marks, numbers.marked, i):
            strong[some] = i
            some += 1
    if more == 0:
        return strong[:some]
    for k in range(len(again)):
        if again[k]:
            for i in rings.order[rings.first[k] : rings.first[k + 1]]:
                if _value(v[i], numbers.unit) > high[k] and _usable(v, marks, numbers.marked, i):
                    strong[some] = i
                    some += 1
    return np.sort(strong[:some])


@fast
def _bounds(n, total, low, top, numbers):
    """Mean, mean - snr sigma, mean + snr sigma or more. low, top: sums of the low and high 32 bits of the squares."""
    top, low = top + (low >> np.uint64(32)), low & np.uint64(0xFFFFFFFF)
    mean = float(total) * numbers.unit / n
    square = (float(top) * 4294967296.0 + float(low)) * (numbers.unit * numbers.unit) / n
    spread = math.sqrt(max(square - mean * mean, 0.0)) * numbers.snr
    return np.float32(mean), np.float32(mean - spread), np.float32(max(mean + spread, numbers.adc))


@fast
def _start(legacy):
    return np.float32(0), np.float32(-1e9 if legacy else -np.inf), np.float32(1e9 if legacy else np.inf)


@fast
def _clip(outside, n_inside, total_inside, squares_inside, core_low, core_high, numbers, scale):
    """Mean and threshold of a ring, and whether no bound ever lay well inside."""
    m, lo, hi = _start(numbers.legacy)
    for _ in range(ROUNDS):
        if n_inside and not ((lo < core_low or (lo == core_low and not numbers.legacy)) and core_high <= hi):
            return m, hi, False
        n, total = n_inside, total_inside
        low, top = squares_inside & np.uint64(0xFFFFFFFF), squares_inside >> np.uint64(32)
        for x in outside:
            if (x > lo if numbers.legacy else x >= lo) and x < hi:
                q = np.int64(np.rint(x * scale))
                square = np.uint64(q * q)
                n, total, low, top = n + 1, total + q, low + (square & np.uint64(0xFFFFFFFF)), top + (square >> np.uint64(32))
        if n:
            m, lo, hi = _bounds(n, total, low, top, numbers)
        elif numbers.legacy:
            m, lo, hi = np.float32(0), LEAST, MOST
    return m, hi, core_high <= hi or n_inside == 0


@fast
def _clip_all(v, marks, pixels, numbers, scale):
    """Mean and threshold of a ring, pixel by pixel."""
    values, some = np.empty(len(pixels), np.float32), 0
    for i in pixels:
        if _usable(v, marks, numbers.marked, i):
            values[some] = _value(v[i], numbers.unit)
            some += 1
    m, hi, _ = _clip(values[:some], 0, 0, np.uint64(0), np.float32(0), np.float32(0), numbers, scale)
    return m, hi


# ------------------------------------------------------------------------------------------------------------------ peaks
@fast
def _centroid(v, pixels, label, mean, numbers, grid, net):
    """sum(w * position) / |sum w|; w: the value, or that less the ring's mean."""
    total = row = col = 0.0
    for i in pixels:
        w = np.float64(_value(v[i], numbers.unit))
        if net:
            w -= np.float64(mean[label[i]])
        total, row, col = total + w, row + w * float(np.int64(i) // grid.cols % grid.panel_rows), col + w * float(np.int64(i) % grid.cols)
    return abs(total) >= 1e-10, row / abs(total), col / abs(total)


@fast
def _disc(v, marks, base, row, col, top, left, label, mean, high, numbers, grid):
    n, total, squares, most, reach = 0, 0.0, 0.0, 0.0, numbers.reach
    for r in range(max(row - reach, top), min(row + reach, top + grid.tile_rows)):
        for c in range(max(col - reach, left), min(col + reach, left + grid.tile_cols)):
            if (r - row) ** 2 + (c - col) ** 2 <= reach**2:
                i = base + r * grid.cols + c
                ring = label[i]
                x = np.float64(_value(v[i], numbers.unit))
                if ring < len(mean) - 1 and x < high[ring] and _usable(v, marks, numbers.marked, i):
                    n, total, squares, most = n + 1, total + x, squares + x * x, max(most, x)
    if n == 0:
        return np.float64(mean[label[base + row * grid.cols + col]]), FLAT, 0.0
    m = total / n
    sigma = math.sqrt(max(squares / n - m * m, 0.0))
    return m, FLAT if sigma < 1e-10 and not numbers.legacy else sigma, most


@fast
def _peak(v, marks, pixels, label, mean, high, numbers, grid, columns, f, at):
    """1 for a peak, which goes to row `at` of the table if that has one; else 0."""
    size = grid.panel_rows * grid.cols
    panel = np.int64(pixels[0]) // size
    first_row, first_col = np.int64(pixels[0]) % size // grid.cols, np.int64(pixels[0]) % grid.cols
    top, left = first_row - first_row % grid.tile_rows, first_col - first_col % grid.tile_cols
    good, row, col = _centroid(v, pixels, label, mean, numbers, grid, True)
    bottom, right = top + grid.tile_rows, left + grid.tile_cols
    near_row, near_col = np.rint(row), np.rint(col)
    if not (good and top <= near_row < bottom and left <= near_col < right):
        return 0
    offset, sigma, most = _disc(v, marks, panel * size, np.int64(near_row), np.int64(near_col), top, left, label, mean, high, numbers, grid)
    total = highest = 0.0
    for i in pixels:
        x = np.float64(_value(v[i], numbers.unit)) - offset
        total, highest = total + x, max(highest, x)
    if numbers.legacy:
        good, row, col = _centroid(v, pixels, label, mean, numbers, grid, False)
    snr = 0.0 if sigma < 1e-10 else total / sigma
    if not good or snr < numbers.snr or highest < most - offset or not (top <= row < bottom and left <= col < right):
        return 0
    if at < columns[0].shape[1]:
        columns[0][f, at], columns[1][f, at], columns[2][f, at], columns[3][f, at] = panel, row, col, len(pixels)
        columns[4][f, at], columns[5][f, at], columns[6][f, at], columns[7][f, at], columns[8][f, at] = total, highest, offset, sigma, snr
    return 1
