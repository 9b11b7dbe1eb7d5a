"""The numba tiles of compress.dequantize: all as if coded, and then, only if there are any, the outliers by bisection."""

import numpy as np
from numba import njit

from ..backends import share

TILE = 4096     # pixels of one task


def dequantize_tiles(code, *rest):
    """energy = (code - zero) * step, or the same with scale where that is a plane."""
    share(_tiles, len(code) * -(-code.shape[1] // TILE), code, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(begin, end, code, index, value, count, energy, step, scale, zero, fill, masked, masked_value):
    npix = code.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    nan = np.float32(np.nan)
    for job in range(begin, end):
        f, first = job // n_tiles, job % n_tiles * TILE
        row, out = code[f], energy[f]
        outliers = np.uint32(0)
        for j in range(np.uint64(first), np.uint64(min(first + TILE, npix))):
            c = row[j]
            y = (np.float32(c) - zero) * (step if scale is None else scale[j])
            y = y if y == y else nan
            y = masked_value if c == masked else y
            out[j] = nan if c == fill else y
            outliers += np.uint32(c == fill)
        if outliers:
            listed_in_tile(row, out, index[f], value[f], np.int64(count[f]), first, min(first + TILE, npix), fill)


def dequantize_levels(code, *rest):
    """energy = a level of sign(code), |code| - 1 of them above the smallest."""
    share(_levels, len(code) * -(-code.shape[1] // TILE), code, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _levels(begin, end, code, index, value, count, energy, step, smallest, fill, masked, masked_value):
    npix = code.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    nan = np.float32(np.nan)
    for job in range(begin, end):
        f, first = job // n_tiles, job % n_tiles * TILE
        row, out = code[f], energy[f]
        outliers = np.uint32(0)
        for j in range(np.uint64(first), np.uint64(min(first + TILE, npix))):
            c = row[j]
            wide = np.float64(c)
            y = level_value(abs(wide) - 1.0, step, smallest)
            y = np.float32(-y if wide < 0.0 else y if wide > 0.0 else 0.0)
            y = masked_value if c == masked else y
            out[j] = nan if c == fill else y
            outliers += np.uint32(c == fill)
        if outliers:
            listed_in_tile(row, out, index[f], value[f], np.int64(count[f]), first, min(first + TILE, npix), fill)


@njit(cache=True, nogil=True, error_model="numpy")
def level_value(k, step, smallest):
    """dequantize.level_values of one k, step and smallest in octaves."""
    t = k * step + smallest
    n = np.floor(t)
    g = t - n
    n = 128.0 if n > 128.0 else n
    power = np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return (1.0 + g * (11.0 + 5.0 * g) * 0.0625) * power


@njit(cache=True, nogil=True, error_model="numpy")
def listed_in_tile(row, out, index, value, count, first, end, fill):
    """The outliers of a tile by bisection in the frame's list."""
    listed = min(count, np.int64(len(index)))
    for j in range(first, end):
        if row[j] == fill:
            low, high = 0, listed
            while low < high:
                middle = (low + high) // 2
                if index[middle] < j:
                    low = middle + 1
                else:
                    high = middle
            if low < listed and index[low] == j:
                out[j] = value[low]
