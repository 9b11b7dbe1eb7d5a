"""Sums of regions on the CPU: one task a region of a frame. The arithmetic is region_sums.py's."""

import numpy as np
from numba import njit, types
from numba.extending import overload
from numba.np.numpy_support import as_dtype

LARGEST = np.float32(2147483520.0)
NAN = np.float32(np.nan)


def units(x, inverse):
    """(q i64, whether it is a measurement, whether it was limited)."""
    raise NotImplementedError("compiled code only")


@overload(units)
def _units(x, inverse):
    def of_float(x, inverse):
        measured = abs(x) < np.float32(np.inf)
        steps = np.rint(x * inverse) if measured else np.float32(0)
        return np.int64(np.int32(min(max(steps, -LARGEST), LARGEST))), measured, abs(steps) > LARGEST

    def of_whole(x, inverse):
        return np.int64(x), True, False

    return of_float if isinstance(x, types.Float) else of_whole


def compared(x, q):
    """What is held against the threshold: a float itself, of a whole number its i64."""
    raise NotImplementedError("compiled code only")


@overload(compared)
def _compared(x, q):
    if isinstance(x, types.Float):
        return lambda x, q: x
    return lambda x, q: q


def empty_value(x, listed):
    """NaN, of whole numbers and behind the last peak 0."""
    raise NotImplementedError("compiled code only")


@overload(empty_value)
def _empty_value(x, listed):
    if isinstance(x, types.Float):
        return lambda x, listed: NAN if listed else np.float32(0)
    return lambda x, listed: x - x


@njit(cache=True, nogil=True)
def as_real(high, low):
    high += np.int64(low >> np.uint64(32))
    return np.float64(high) * 4294967296.0 + np.float64(low & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def add_run(state, value, status, good, start, length, down, across, limit, inverse):
    """state with the pixels start to start + length, whose row and first col are down and across from the region's corner."""
    pixels, above, saturated, total, rows_high, rows_low, cols_high, cols_low, high, low, least, most, beyond = state
    half, run, turned, top, bottom = np.uint64(32), np.int64(0), np.int64(0), highest(least), lowest(least)
    for j in range(length):     # no branch: it vectorises
        p = start + j
        use = True
        if good is not None:
            use &= good[p] != 0
        if status is not None:
            saturated += np.int64(use) & ((status[p] >> 1) & 1)
            use &= status[p] == 0
        x = value[p]
        q, measured, limited = units(x, inverse)
        use &= measured
        q = q if use else np.int64(0)
        beyond |= limited & use
        above += np.int64((compared(x, q) > limit) & use)
        least = min(least, x if use else top)
        most = max(most, x if use else bottom)
        square = np.uint64(q) * np.uint64(q)
        pixels += np.int64(use)
        run += q
        turned += q * np.int64(np.uint32(j))
        high += square >> half
        low += square & np.uint64(0xFFFFFFFF)
    turned += across * run
    total += run
    run *= down
    rows_high += run >> 32
    rows_low += np.uint64(run & 0xFFFFFFFF)
    cols_high += turned >> 32
    cols_low += np.uint64(turned & 0xFFFFFFFF)
    return pixels, above, saturated, total, rows_high, rows_low, cols_high, cols_low, high, low, least, most, beyond


def highest(x):
    """The largest value of the type of x."""
    raise NotImplementedError("compiled code only")


@overload(highest)
def _highest(x):
    value = np.float32(np.inf) if isinstance(x, types.Float) else np.iinfo(str(x)).max
    cast = as_dtype(x).type
    return lambda x: cast(value)


def lowest(x):
    """The smallest."""
    raise NotImplementedError("compiled code only")


@overload(lowest)
def _lowest(x):
    value = np.float32(-np.inf) if isinstance(x, types.Float) else np.iinfo(str(x)).min
    cast = as_dtype(x).type
    return lambda x: cast(value)


@njit(cache=True, nogil=True)
def start_of(x):
    z, u = np.int64(0), np.uint64(0)
    return z, z, z, z, z, u, z, u, u, u, highest(x), lowest(x), False


@njit(cache=True, nogil=True)
def write(state, f, k, top, left, unit, listed, counts, columns):
    pixels, above, saturated, total, rows_high, rows_low, cols_high, cols_low, high, low, least, most, _ = state
    counts[0][f, k], counts[1][f, k], counts[2][f, k] = pixels, above, saturated
    none = NAN if listed else np.float32(0)
    sums, means, variances, mins, maxs, rows, cols = columns
    sums[f, k] = scaled(total, unit, least)
    means[f, k] = variances[f, k] = rows[f, k] = cols[f, k] = none
    mins[f, k] = maxs[f, k] = empty_value(least, listed)
    if pixels:
        mean = np.float64(total) / pixels
        variance = max(as_real(np.int64(high), low) / pixels - mean * mean, 0.0)
        means[f, k], variances[f, k] = np.float32(mean * unit), np.float32(variance * (unit * unit))
        mins[f, k], maxs[f, k] = least + empty_value(least, False), most + empty_value(least, False)
    if total:
        rows[f, k] = np.float32(top + as_real(rows_high, rows_low) / np.float64(total))
        cols[f, k] = np.float32(left + as_real(cols_high, cols_low) / np.float64(total))


def scaled(total, unit, x):
    """The sum as it is written: f64 of floats, i64 of whole numbers."""
    raise NotImplementedError("compiled code only")


@overload(scaled)
def _scaled(total, unit, x):
    if isinstance(x, types.Float):
        return lambda total, unit, x: np.float64(total) * unit
    return lambda total, unit, x: total


@njit(cache=True, nogil=True)
def sum_regions(first, last, frames, status, good, limit, inverse, unit, span, part, box, beyond, counts, columns):
    regions = len(box)
    for task in range(first, last):
        f, k = task // regions, task % regions
        mine = None if status is None else status[f]
        state = start_of(frames[f, 0])
        for s in range(part[box[k, 2], 1], part[box[k, 3] - 1, 2]):
            state = add_run(state, frames[f], mine, good, span[s, 0], span[s, 1], span[s, 2], span[s, 3], limit, inverse)
        write(state, f, k, box[k, 0], box[k, 1], unit, True, counts, columns)
        beyond[f, k] = state[12]


@njit(cache=True, nogil=True)
def corner_of(peak, half):
    return np.int64(np.rint(peak)) - half if abs(peak) <= 1_000_000 else np.int64(-4_000_000)


@njit(cache=True, nogil=True)
def sum_peaks(begin, end, frames, status, good, limit, inverse, unit, panels, rows, cols, half, peak_panel, peak_row, peak_col, peak_count, beyond, counts,
           columns):
    cap, side = peak_panel.shape[1], 2 * half + 1
    for task in range(begin, end):
        f, k = task // cap, task % cap
        mine = None if status is None else status[f]
        state, top, left = start_of(frames[f, 0]), 0, 0
        listed = k < peak_count[f]
        if listed:
            panel, top, left = peak_panel[f, k], corner_of(peak_row[f, k], half), corner_of(peak_col[f, k], half)
            first, last = max(0, -left), min(side, cols - left)
            if 0 <= panel < panels and last > first:
                for down in range(max(0, -top), min(side, rows - top)):
                    start = (panel * rows + top + down) * cols + left + first
                    state = add_run(state, frames[f], mine, good, start, last - first, down, first, limit, inverse)
        write(state, f, k, top, left, unit, listed, counts, columns)
        beyond[f, k] = state[12]
