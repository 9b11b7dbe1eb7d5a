"""The numba tiles of compress.dequantize_counts: a look-up, and then, only if there are any, the outliers."""

import numpy as np
from numba import njit, prange

from .dequantize_numba import listed_in_tile

TILE = 4096     # pixels of one task


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def dequantize_counts_tiles(code, index, value, count, energy, every, fill):
    """every: what each code means, the reserved ones too."""
    n, npix = code.shape
    n_tiles = (npix + TILE - 1) // TILE
    for job in prange(n * n_tiles):
        f, first = np.int64(job) // n_tiles, np.int64(job) % n_tiles * TILE     # job is unsigned: mixed, it would become a float
        row, out = code[f], energy[f]
        outliers = np.uint32(0)
        for j in range(np.uint64(first), np.uint64(min(first + TILE, npix))):
            out[j] = every[row[j]]
            outliers += np.uint32(row[j] == fill)
        if outliers:
            listed_in_tile(row, out, index[f], value[f], np.int64(count[f]), first, min(first + TILE, npix), fill)
