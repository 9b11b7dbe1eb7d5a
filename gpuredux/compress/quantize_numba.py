"""The numba tiles of compress.quantize, in loops that vectorise, compiled once for each kind of code and bound. Over 200 lines: three bounds, twice each."""

import numpy as np
from numba import njit, prange

from .dequantize_numba import TILE, level_value

LANES = 256     # pixels that are quantised at a time
GROUP = 16      # frames that a task walks, so that planes of steps stay in the cache


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def quantize_tiles(energy, good, status, code, counts, errors, step, inverse, rule, limits, spacing, wide):
    """Fill code; outliers and largest error (in the dtype of errors) of each tile of each frame.

    good, status: of no pixels where there are none; step, inverse: planes, or LANES times the one of all pixels; rule: see _block; limits: lowest,
    highest, fill, masked; spacing: None, or of levels: step, smallest, most, bound; wide: None, or 0.0 where the decode in float64 is another one."""
    n = energy.shape[0]
    n_tiles = counts.shape[1]
    for job in prange((n + GROUP - 1) // GROUP * n_tiles):
        first, tile = np.int64(job) // n_tiles * GROUP, np.int64(job) % n_tiles     # job is unsigned: mixed, it would become a float
        _tiles(energy, good, status, code, first, tile, step, inverse, rule, limits, spacing, wide, counts, errors)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(energy, good, status, code, first, tile, step, inverse, rule, limits, spacing, wide, counts, errors):
    """One tile of a group of frames."""
    use = np.ones(LANES, np.uint8)
    shift = np.uint64(0 if rule[4] else 1)
    begin, end = tile * TILE, min(tile * TILE + TILE, energy.shape[1])
    for f in range(first, min(first + GROUP, len(energy))):
        outliers, worst = np.int64(0), _zero(wide, spacing)
        for at in range(begin, end, LANES):
            start, width = np.uint64(at), np.uint64(min(LANES, end - at))
            if len(good) or len(status):
                _marked(use, good, status, f, start, width)
            if spacing is None:
                missed, error = _block(energy[f], use, code[f], start, width, start * shift, step, inverse, rule, limits, wide)
                if missed:
                    missed, again = _retry(energy[f], code[f], start, width, start * shift, step, inverse, rule, limits, wide)
                    error = max(error, again)
            else:
                missed, error = _levels(energy[f], use, code[f], start, width, limits, spacing)
                if missed:
                    missed, again = _retry_levels(energy[f], code[f], start, width, limits, spacing)
                    error = max(error, again)
            outliers += missed
            worst = max(worst, error)
        counts[f, tile], errors[f, tile] = outliers, worst


@njit(cache=True, nogil=True, error_model="numpy")
def _zero(wide, spacing):
    return np.float32(0) if wide is None and spacing is None else np.float64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _marked(use, good, status, f, start, width):
    """use = good and without a status."""
    for i in range(width):
        use[i] = 1
    if len(good):
        for i in range(width):
            use[i] = good[start + i] != 0
    if len(status):
        row = status[f]
        for i in range(width):
            use[i] &= row[start + i] == 0


# --------------------------------------------------------------------------------------------------- one step, or one a pixel
@njit(cache=True, nogil=True, error_model="numpy")
def _block(energy, use, code, start, width, at, step, inverse, rule, limits, wide):
    """Up to LANES pixels, without a branch: the outliers, of which a neighbour may yet do, and the largest error of the others.

    rule: bound + half * step is what an error must not exceed, unit + per * inverse what it is multiplied by; the one or the other is 0.
    Unsigned indices and a maximum of an error's bits, because the vectoriser takes neither numba's wraparound nor a maximum of floats."""
    lowest, highest, fill, masked = np.float32(limits[0]), np.float32(limits[1]), np.int32(limits[2]), np.int32(limits[3])
    bound, half, unit, per = rule[0], rule[1], rule[2], rule[3]
    nothing, outliers, worst = np.float32(0), np.uint32(0), _bits(np.float32(0), wide)
    none = _bits(np.float32(0), wide)
    for i in range(width):
        x, s, r = energy[start + i], step[at + i], inverse[at + i]
        q = np.rint(x * r)
        q = lowest if q < lowest else q
        q = highest if q > highest else q
        error = _error(x, q, s, wide)
        fits, used = error <= bound + half * s, use[i] != 0
        coded = fits & used
        c = np.int32(q if coded else nothing)    # the test stands before the conversion, for which NaN and huge values are undefined
        code[start + i] = c if coded else (fill if used else masked)
        outliers += np.uint32(used & (not fits))
        worst = max(worst, _bits(error * (unit + per * r), wide) if coded else none)
    return np.int64(outliers), _float(worst, wide)


@njit(cache=True, nogil=True, error_model="numpy")
def _retry(energy, code, start, width, at, step, inverse, rule, limits, wide):
    """The outliers of such a block once more: the neighbour of the nearest code. Returns what _block does."""
    lowest, highest = np.float32(limits[0]), np.float32(limits[1])
    outliers, worst = np.int64(0), _error(np.float32(0), np.float32(0), np.float32(0), wide)
    for i in range(width):
        if np.int64(code[start + i]) == limits[2]:
            x, s, r = energy[start + i], step[at + i], inverse[at + i]
            q = np.rint(x * r)
            q = lowest if q < lowest else q
            q = highest if q > highest else q
            q += np.float32(1) if x > q * s else np.float32(-1)
            error = _error(x, q, s, wide)
            if (error <= rule[0] + rule[1] * s) & (q >= lowest) & (q <= highest):
                code[start + i] = np.int32(q)
                worst = max(worst, error * (rule[2] + rule[3] * r))
            else:
                outliers += 1
    return outliers, worst


@njit(cache=True, nogil=True, error_model="numpy")
def _error(x, q, step, wide):
    """|x - q * step| in float32, or the larger one of that and of float64; NaN for NaN."""
    near = abs(x - q * step)
    if wide is None:
        return near
    else:
        exact = abs(np.float64(x) - np.float64(q) * np.float64(step))
        return exact if exact > near else np.float64(near)


@njit(cache=True, nogil=True, error_model="numpy")
def _bits(x, wide):
    """A whole number in the order of floats that are not negative."""
    if wide is None:
        return np.float32(x).view(np.int32)
    else:
        return np.float64(x).view(np.int64)


@njit(cache=True, nogil=True, error_model="numpy")
def _float(bits, wide):
    if wide is None:
        return np.int32(bits).view(np.float32)
    else:
        return np.int64(bits).view(np.float64)


# ------------------------------------------------------------------------------------------------------------ levels
@njit(cache=True, nogil=True, error_model="numpy")
def _levels(energy, use, code, start, width, limits, spacing):
    """What _block does, for a relative bound: quantize_levels.nearest_level."""
    fill, masked, one = np.int32(limits[2]), np.int32(limits[3]), np.int32(1)
    step, smallest, most, bound = spacing
    outliers, worst, none, signed = np.uint32(0), np.int64(0), np.int64(0), limits[0] < 0
    for i in range(width):
        x = energy[start + i]
        size = abs(np.float64(x))
        k = _nearest(size, step, smallest, most)
        error = _level_error(size, k, step, smallest)
        zero, used = size == 0.0, use[i] != 0
        fits = ((error <= bound * size) & (size < np.inf) & (signed | (x > 0))) | zero
        coded = fits & used
        c = np.int32(k if coded else 0.0) + one
        c = -c if x < 0 else c
        c = np.int32(0) if zero else c
        code[start + i] = c if coded else (fill if used else masked)
        outliers += np.uint32(used & (not fits))
        worst = max(worst, np.float64(error / size).view(np.int64) if coded & (not zero) else none)
    return np.int64(outliers), np.int64(worst).view(np.float64)


@njit(cache=True, nogil=True, error_model="numpy")
def _retry_levels(energy, code, start, width, limits, spacing):
    step, smallest, most, bound = spacing
    outliers, worst = np.int64(0), 0.0
    for i in range(width):
        if np.int64(code[start + i]) == limits[2]:
            x = energy[start + i]
            size = abs(np.float64(x))
            k = _nearest(size, step, smallest, most)
            k += 1.0 if size > level_value(k, step, smallest) else -1.0
            error = _level_error(size, k, step, smallest)
            if (error <= bound * size) & (size < np.inf) & (k >= 0.0) & (k < most) & ((limits[0] < 0) | (x > 0)):
                code[start + i] = -np.int32(k + 1.0) if x < 0 else np.int32(k + 1.0)
                worst = max(worst, error / size)
            else:
                outliers += 1
    return outliers, worst


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(size, step, smallest, most):
    """The level beside a size, by the bits of its float64; what it is for 0, Inf and NaN does not matter."""
    bits = np.float64(size).view(np.int64)
    octave = np.float64(np.int32(bits >> 52) - np.int32(1023))
    m = np.int64((bits & np.int64((1 << 52) - 1)) | np.int64(1023 << 52)).view(np.float64)
    t = octave + (np.sqrt(121.0 + 320.0 * (m - 1.0)) - 11.0) * 0.1
    k = np.rint((t - smallest) * (1.0 / step))
    k = 0.0 if k < 0.0 else k
    return most - 1.0 if k > most - 1.0 else k


@njit(cache=True, nogil=True, error_model="numpy")
def _level_error(size, k, step, smallest):
    """The larger error of the decodes in float64 and float32."""
    y = level_value(k, step, smallest)
    exact, near = abs(size - y), abs(size - np.float64(np.float32(y)))
    return near if near > exact else exact


# ------------------------------------------------------------------------------------------------------------- lists
@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def list_outliers(energy, code, counts, starts, fill, index, value):
    """index and value of the pixels with the code fill, in tiles that have any."""
    n, n_tiles = counts.shape
    for job in prange(n * n_tiles):
        f, tile = np.int64(job) // n_tiles, np.int64(job) % n_tiles
        slot = starts[f, tile]
        if counts[f, tile] > 0 and slot < index.shape[1]:
            for j in range(tile * TILE, min(tile * TILE + TILE, energy.shape[1])):
                if code[f, j] == fill and slot < index.shape[1]:
                    index[f, slot] = j
                    value[f, slot] = energy[f, j]
                    slot += 1
