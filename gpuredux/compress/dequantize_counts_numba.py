"""The numba tiles of compress.dequantize_counts: a look-up, and then, only if there are any, the outliers."""

import numpy as np
from numba import njit

from ..backends import share
from .dequantize_numba import listed_in_tile

TILE = 4096     # pixels of one task


def dequantize_counts_tiles(code, *rest):
    """rest: index, value, count, energy; every: what each code means, the reserved ones too; fill."""
    share(_tiles, len(code) * -(-code.shape[1] // TILE), code, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(begin, end, code, index, value, count, energy, every, fill):
    npix = code.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    for job in range(begin, end):
        f, first = job // n_tiles, job % n_tiles * TILE
        row, out = code[f], energy[f]
        outliers = np.uint32(0)
        for j in range(np.uint64(first), np.uint64(min(first + TILE, npix))):
            out[j] = every[row[j]]
            outliers += np.uint32(row[j] == fill)
        if outliers:
            listed_in_tile(row, out, index[f], value[f], np.int64(count[f]), first, min(first + TILE, npix), fill)
