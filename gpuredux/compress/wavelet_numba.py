"""The numba tiles of compress.wavelet, wavelet_decode and reversible_wavelet, in loops that vectorise. Over 200 lines: the coder, its decoder, one format."""

import numpy as np
from numba import njit

from ..backends import share
from .dequantize_numba import listed_in_tile
from .quantize_numba import TILE, mark_used, missed

MASKED, LISTED = 65535, 65534      # of code[1]: no measurement; the value is in the list
HIGHEST, MOST = 32767, 32766       # of a code's magnitude; of a correction's


def _tiles(x):
    return -(-x.shape[1] // TILE)


def fill_tiles(energy, good, status, filled, fill, most):
    """filled = the values of pixels in use, limited; fill elsewhere. good, status: of no pixels where there are none."""
    share(_fill_tiles, len(energy) * _tiles(energy), energy, good, status, filled, fill, most)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_tiles(first_job, last_job, energy, good, status, filled, fill, most):
    npix = energy.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    for job in range(first_job, last_job):
        f, first = job // n_tiles, job % n_tiles * TILE
        _fill(energy[f], good, status, f, filled[f], np.uint64(first), np.uint64(min(first + TILE, npix)), fill, most)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(energy, good, status, f, filled, first, end, fill, most):
    for i in range(first, end):
        x = energy[i]
        y = most if x > most else (-most if x < -most else x)
        filled[i] = y if abs(x) < np.inf else fill      # not of NaN
    if len(good):
        for i in range(first, end):
            filled[i] = filled[i] if good[i] != 0 else fill
    if len(status):
        row = status[f]
        for i in range(first, end):
            filled[i] = filled[i] if row[i] == 0 else fill


def quantise_rows(c, code, levels, steps, inverses, dead_zone):
    """code (n, 2, images, rows, cols)[:, 0] of the coefficients c (n, images, rows, cols), which become those that a decoder sees."""
    share(_quantise_rows, c.size // c.shape[-1], c, code, levels, steps, inverses, dead_zone)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantise_rows(first_job, last_job, c, code, levels, steps, inverses, dead_zone):
    images, rows = c.shape[1:3]
    for job in range(first_job, last_job):
        k, r = job // rows, job % rows
        _quantise_row(c[k // images, k % images, r], code[k // images, 0, k % images, r], r, rows, levels, steps, inverses, dead_zone)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantise_row(c, code, r, rows, levels, steps, inverses, dead_zone):
    end, level = len(c), 1
    width = len(c)
    while level <= levels:
        rows, width = (rows + 1) // 2, (width + 1) // 2
        begin = 0 if r >= rows else width
        _quantise(c, code, np.uint64(begin), np.uint64(end), steps[level], inverses[level], dead_zone)
        end, level = begin, level + 1 if begin else levels + 1
    if end:
        _quantise(c, code, np.uint64(0), np.uint64(end), steps[0], inverses[0], dead_zone)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantise(c, code, begin, end, step, inverse, dead_zone):
    zero, most = np.float32(0), np.float32(HIGHEST)
    for i in range(begin, end):
        x = c[i]
        a = abs(x) * inverse
        q = np.rint(a) if a >= dead_zone else zero
        q = most if q > most else q
        size = np.int32(q)
        code[i] = 2 * size - np.int32((size != 0) & (x < zero))
        c[i] = (zero - q if x < zero else q) * step      # no -0: a decoder has none


def check_tiles(energy, good, status, rebuilt, code, counts, errors, bound, step, inverse):
    """code (n, 2, npix)[:, 1], and of each tile the listed values and the largest error of the others."""
    share(_check_tiles, len(energy) * _tiles(energy), energy, good, status, rebuilt, code, counts, errors, bound, step, inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def _check_tiles(first_job, last_job, energy, good, status, rebuilt, code, counts, errors, bound, step, inverse):
    npix = energy.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    for job in range(first_job, last_job):
        f, tile = job // n_tiles, job % n_tiles
        use = np.ones(TILE, np.uint8)
        counts[f, tile], errors[f, tile] = _check(energy[f], good, status, f, use, rebuilt[f], code[f, 1], tile * TILE, bound, step, inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def _check(energy, good, status, f, use, rebuilt, code, start, bound, step, inverse):
    first, width = np.uint64(start), np.uint64(min(TILE, len(energy) - start))
    if len(good) > 0 or len(status) > 0:
        mark_used(use, good, status, f, first, width)
    zero, limit, most = np.float32(0), np.float32(bound).view(np.int32), np.float32(MOST)
    listed, worst = np.uint32(0), np.int32(0)
    for i in range(width):
        x, y = energy[first + i], rebuilt[first + i]
        t = (x - y) * inverse
        t = t if t < most else most
        t = t if t > -most else -most
        r = zero if missed(x, y) <= limit else np.rint(t)
        error = missed(x, y + r * step)
        used, fits = use[i] != 0, error <= limit
        size = np.int32(abs(r))
        c = 2 * size - np.int32((size != 0) & (r < zero))
        code[first + i] = (c if fits else LISTED) if used else MASKED
        listed += np.uint32(used & (not fits))
        worst = max(worst, error if used & fits else np.int32(0))
    return np.int64(listed), np.int32(worst).view(np.float32)


def dequantise_rows(code, c, levels, steps):
    """The coefficients c (n, images, rows, cols) of code (n, 2, images, rows, cols)[:, 0]."""
    share(_dequantise_rows, c.size // c.shape[-1], code, c, levels, steps)


@njit(cache=True, nogil=True, error_model="numpy")
def _dequantise_rows(first_job, last_job, code, c, levels, steps):
    images, rows = c.shape[1:3]
    for job in range(first_job, last_job):
        k, r = job // rows, job % rows
        _dequantise_row(code[k // images, 0, k % images, r], c[k // images, k % images, r], r, rows, levels, steps)


@njit(cache=True, nogil=True, error_model="numpy")
def _dequantise_row(code, c, r, rows, levels, steps):
    end, level = len(c), 1
    width = len(c)
    while level <= levels:
        rows, width = (rows + 1) // 2, (width + 1) // 2
        begin = 0 if r >= rows else width
        _unfold(code, c, np.uint64(begin), np.uint64(end), steps[level])
        end, level = begin, level + 1 if begin else levels + 1
    if end:
        _unfold(code, c, np.uint64(0), np.uint64(end), steps[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _unfold(code, c, begin, end, step):
    for i in range(begin, end):
        k = np.int32(code[i])
        c[i] = np.float32((k >> np.int32(1)) ^ -(k & np.int32(1))) * step


def finish_tiles(code, rebuilt, index, value, count, energy, step, masked_value):
    """energy = rebuilt + its correction; the listed value; masked_value."""
    share(_finish_tiles, len(rebuilt) * _tiles(rebuilt), code, rebuilt, index, value, count, energy, step, masked_value)


@njit(cache=True, nogil=True, error_model="numpy")
def _finish_tiles(first_job, last_job, code, rebuilt, index, value, count, energy, step, masked_value):
    npix = rebuilt.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    for job in range(first_job, last_job):
        f, first = job // n_tiles, job % n_tiles * TILE
        end = min(first + TILE, npix)
        if _finish(code[f, 1], rebuilt[f], energy[f], np.uint64(first), np.uint64(end), step, masked_value):
            listed_in_tile(code[f, 1], energy[f], index[f], value[f], np.int64(count[f]), first, end, LISTED)


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(code, rebuilt, energy, first, end, step, masked_value):
    nan, listed = np.float32(np.nan), np.uint32(0)
    for i in range(first, end):
        k = np.int32(code[i])
        y = rebuilt[i] + np.float32((k >> np.int32(1)) ^ -(k & np.int32(1))) * step
        y = y if y == y else nan
        y = masked_value if k == MASKED else y
        energy[i] = nan if k == LISTED else y
        listed += np.uint32(k == LISTED)
    return listed


def fold_rows(x, code):
    """0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ...: x (m, width) signed, code unsigned of the same width."""
    share(_fold_rows, len(x), x, code)


@njit(cache=True, nogil=True, error_model="numpy")
def _fold_rows(first_job, last_job, x, code):
    for r in range(first_job, last_job):
        _fold(x[r], code[r])


@njit(cache=True, nogil=True, error_model="numpy")
def _fold(x, code):
    for i in range(np.uint64(len(x))):
        k = np.int64(x[i])
        code[i] = (k << np.int64(1)) ^ (k >> np.int64(63))


def unfold_rows(code, x):
    share(_unfold_rows, len(x), code, x)


@njit(cache=True, nogil=True, error_model="numpy")
def _unfold_rows(first_job, last_job, code, x):
    for r in range(first_job, last_job):
        _unfold_whole(code[r], x[r])


@njit(cache=True, nogil=True, error_model="numpy")
def _unfold_whole(code, x):
    for i in range(np.uint64(len(x))):
        k = np.int64(code[i])
        x[i] = (k >> np.int64(1)) ^ -(k & np.int64(1))
