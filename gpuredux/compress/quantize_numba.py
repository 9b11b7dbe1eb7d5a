"""The numba tiles of compress.quantize, in loops that vectorise, compiled once for each kind of code and bound. Over 200 lines: three bounds, twice each."""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from ..backends import share
from .dequantize_numba import level_value

TILE = 2048     # pixels that are worked on at a time: they, their codes and marks stay in the first cache for a second look
SPAN, GROUP = 64, 64    # with a plane of steps, tiles and frames of one task: it is read once for all of these, in rows long enough to be fetched ahead


def quantize_tiles(energy, good, status, code, counts, errors, rule, steps, *rest):
    """Fill code; outliers and largest error (in the dtype of errors) of each tile of each frame.

    good, status: of no pixels where there are none; code: as unsigned words; rule: step, inverse and bound of all pixels; steps: a plane in place
    of it, or None; limits: lowest, highest, fill, masked, the last two as words, the code of 0; spacing: None, or of levels: step, smallest,
    most, bound; wide: None, or 0.0 where the decode in float64 is another one."""
    span, group = (SPAN, GROUP) if steps is not None else (1, 1)
    jobs = -(-len(energy) // group) * -(-counts.shape[1] // span)
    share(_jobs, jobs, span, group, energy, good, status, code, counts, errors, rule, steps, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _jobs(begin, end, span, group, energy, good, status, code, counts, errors, rule, steps, limits, spacing, wide):
    n_tiles, use = counts.shape[1], np.ones(TILE, np.uint8)
    spans = (n_tiles + span - 1) // span
    for job in range(begin, end):
        first, tile = job // spans * group, job % spans * span
        for f in range(first, min(first + group, len(energy))):
            for k in range(tile, min(tile + span, n_tiles)):
                _tile(energy, good, status, use, code, f, k, rule, steps, limits, spacing, wide, counts, errors)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(energy, good, status, use, code, f, tile, rule, steps, limits, spacing, wide, counts, errors):
    start, width = np.uint64(tile * TILE), np.uint64(min(TILE, energy.shape[1] - tile * TILE))
    row, out, missed, marked = energy[f], code[f], np.int64(0), len(good) > 0 or len(status) > 0
    if marked:
        mark_used(use, good, status, f, start, width)
    if spacing is not None:
        missed, error = _levels(row, use, out, start, width, limits, spacing)
        if missed:
            missed, again = _retry_levels(row, out, start, width, limits, spacing)
            error = max(error, again)
    else:
        if steps is not None or marked:
            error = _block(row, use, out, start, width, rule, steps, limits, wide)
        else:
            error = _block(row, None, out, start, width, rule, None, limits, wide)
        if not error <= (rule[2] if steps is None else np.float32(3e38)):
            missed, error = _again(row, use, out, start, width, rule, steps, limits, wide)
    counts[f, tile], errors[f, tile] = missed, error


@njit(cache=True, nogil=True, error_model="numpy")
def mark_used(use, good, status, f, start, width):
    """use = good and without a status."""
    if len(good):
        for i in range(width):
            use[i] = good[start + i]
    else:
        for i in range(width):
            use[i] = 1
    if len(status):
        row = status[f]
        for i in range(width):
            use[i] = use[i] if row[start + i] == 0 else 0


# --------------------------------------------------------------------------------------------------- one step, or one a pixel
@njit(cache=True, nogil=True, error_model="numpy")
def _block(energy, use, code, start, width, rule, steps, limits, wide):
    """The pixels of a tile, without a branch: the largest error of those in use, in steps where these are a plane; beyond the bound, or Inf, if any misses it.

    use, steps: None is compiled away. Unsigned indices and a maximum of an error's bits, because the vectoriser takes neither numba's
    wraparound nor a maximum of floats; nothing is counted, which costs a third of the speed (tried)."""
    lowest, highest, fill, masked = np.float32(limits[0]), np.float32(limits[1]), np.int32(limits[2]), np.int32(limits[3])
    step, inverse, bound, zero = rule[0], rule[1], rule[2], np.float32(limits[4])
    none, worst = _bits(np.float32(0), steps, wide), _bits(np.float32(0), steps, wide)
    for i in range(width):
        x = energy[start + i]
        s = step if steps is None else steps[start + i]
        r = inverse if steps is None else np.float32(1) / s     # a plane of them costs more: memory
        q = np.rint(x * r)
        q = q if q > lowest else lowest     # NaN too: its error is NaN all the same
        q = q if q < highest else highest
        error = _error(x, q, s, steps, wide)
        fits = error <= (bound if steps is None else np.float32(0.5) * s)
        c = np.int32(q + zero) if fits else fill        # a sum of i32 would be i64 to numba, at half the speed
        bits = _bits(error if steps is None else error * r if fits else np.inf, steps, wide)
        if use is not None:
            c, bits = c if use[i] != 0 else masked, bits if use[i] != 0 else none
        code[start + i] = c
        worst = max(worst, bits)
    return _float(worst, steps, wide)


@njit(cache=True, nogil=True, error_model="numpy")
def _again(energy, use, code, start, width, rule, steps, limits, wide):
    """The pixels of such a tile of which some missed the bound, neighbours of the nearest code tried too: the outliers, the largest error of all others."""
    lowest, highest, fill, masked = np.float32(limits[0]), np.float32(limits[1]), np.int32(limits[2]), np.int32(limits[3])
    step, inverse, bound, one, outliers, zero = rule[0], rule[1], rule[2], np.float32(1), np.uint32(0), np.int32(limits[4])
    none, worst = _bits(np.float32(0), steps, wide), _bits(np.float32(0), steps, wide)
    for i in range(width):
        x, used = energy[start + i], use[i] != 0
        s = step if steps is None else steps[start + i]
        r = inverse if steps is None else np.float32(1) / s     # a plane of them costs more: memory
        bound = bound if steps is None else np.float32(0.5) * s
        q = np.rint(x * r)
        q = q if q > lowest else lowest
        q = q if q < highest else highest
        near = _error(x, q, s, steps, wide) <= bound
        q = q if near else q + (one if x > q * s else -one)
        error = _error(x, q, s, steps, wide)
        fits = (error <= bound) & (q >= lowest) & (q <= highest)
        code[start + i] = (np.int32(q) + zero if fits else fill) if used else masked
        outliers += np.uint32(used & (not fits))
        worst = max(worst, _bits(error if steps is None else error * r, steps, wide) if fits & used else none)
    return np.int64(outliers), _float(worst, steps, wide)


@njit(cache=True, nogil=True, error_model="numpy")
def _error(x, q, step, steps, wide):
    """|x - q * step| in float32, or the larger one of that and, with wide, of float64: that rounded up to float32, exact with planes of steps; NaN for NaN."""
    y = q * step
    near = x - y
    if wide is None:
        return abs(near)
    elif steps is None:
        return np.int32(max(np.float32(abs(near)).view(np.int32), missed(near, fma(q, step, -y)))).view(np.float32)     # near is exact where it matters
    else:
        exact = abs(np.float64(x) - np.float64(q) * np.float64(step))
        return max(exact, np.float64(abs(near)))


@njit(cache=True, nogil=True, error_model="numpy")
def missed(x, y):
    """|x - y|, exact or rounded up, as the bits of a float32, in their order with NaN behind Inf; lost: what the subtraction rounded off (Knuth)."""
    near = x - y
    back = near - x
    lost = (x - (near - back)) - (y + back)
    bits = np.float32(abs(near)).view(np.int32)
    beyond = ((lost > 0) & (near > 0)) | ((lost < 0) & (near < 0))
    return np.int32(bits + np.int32(beyond & (bits < np.int32(0x7F800000))))     # of two i32 numba makes an i64


@intrinsic
def fma(typingctx, x, y, z):
    """x * y + z of float32, rounded once."""

    def codegen(context, builder, sig, args):
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@njit(cache=True, nogil=True, error_model="numpy")
def _bits(x, steps, wide):
    """A whole number in the order of floats that are not negative, NaN behind Inf."""
    if wide is None:
        return np.float32(x).view(np.int32)
    elif steps is None:
        return np.float32(x).view(np.int32)
    else:
        return np.float64(x).view(np.int64)


@njit(cache=True, nogil=True, error_model="numpy")
def _float(bits, steps, wide):
    if wide is None:
        return np.int32(bits).view(np.float32)
    elif steps is None:
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
def list_outliers(energy, code, counts, *rest):
    """index and value of the pixels with the code fill, in tiles that have any; rest: their first places in the lists, fill, index, value."""
    if counts.any():
        share(_lists, counts.size, energy, code, counts, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _lists(begin, end, energy, code, counts, starts, fill, index, value):
    for job in range(begin, end):
        f, tile = job // counts.shape[1], job % counts.shape[1]
        if counts[f, tile] > 0 and starts[f, tile] < index.shape[1]:
            _list(energy[f], code[f], tile, starts[f, tile], fill, index[f], value[f])


@njit(cache=True, nogil=True, error_model="numpy")
def _list(energy, code, tile, slot, fill, index, value):
    """Those of a tile, from a place in the list on; 64 pixels without any are passed at once."""
    for first in range(tile * TILE, min(tile * TILE + TILE, len(code)), 64):
        end, some = min(first + 64, len(code)), np.uint32(0)
        for j in range(np.uint64(first), np.uint64(end)):
            some |= np.uint32(np.int64(code[j]) == fill)
        if some:
            for j in range(first, end):
                if np.int64(code[j]) == fill and slot < len(index):
                    index[slot] = j
                    value[slot] = energy[j]
                    slot += 1
