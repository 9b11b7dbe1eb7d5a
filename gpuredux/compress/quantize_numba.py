"""The numba tiles of compress.quantize: the arithmetic of its numpy method, in loops that vectorise."""

import numpy as np
from numba import njit, prange

TILE = 4096     # pixels of one task
LANES = 256     # of which a piece is quantised at a time


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def quantize_tiles(energy, good, status, code, counts, errors, step, inverse, bound, exact, limits, fill, masked):
    """Fill code; outliers and largest error (in the dtype of exact) of each tile of each frame."""
    n, n_tiles = counts.shape
    npix = energy.shape[1]
    for job in prange(n * n_tiles):
        f, tile = np.int64(job) // n_tiles, np.int64(job) % n_tiles     # job is unsigned: mixed, it would become a float
        row, out, status_row = energy[f], code[f], None if status is None else status[f]
        worst = np.zeros(LANES, errors.dtype)
        outliers = np.int64(0)
        for first in range(tile * TILE, min(tile * TILE + TILE, npix), LANES):
            start, width = np.uint64(first), np.uint64(min(LANES, npix - first))
            missed = _block(row, good, status_row, out, worst, start, width, step, inverse, bound, exact, limits, fill, masked, None)
            if missed:
                missed = _block(row, good, status_row, out, worst, start, width, step, inverse, bound, exact, limits, fill, masked, np.float32(1))
            outliers += missed
        counts[f, tile] = outliers
        errors[f, tile] = worst.max()


@njit(cache=True, nogil=True, error_model="numpy")
def _block(energy, good, status, code, worst, start, width, step, inverse, bound, exact, limits, fill, masked, one):
    """Up to LANES pixels, without a branch; one: None (compiled away), or 1 to try the neighbours too. Unsigned indices and a running
    maximum for each lane, because the vectoriser takes neither numba's wraparound nor a maximum of floats. Returns the number of outliers."""
    lowest, highest, nothing, outliers = limits[0], limits[1], np.float32(0), np.uint32(0)
    for i in range(width):
        j = start + i
        x = energy[j]
        q = np.rint(x * inverse)
        q = lowest if q < lowest else q
        q = highest if q > highest else q
        error = _error(x, q, step, exact)
        if one is not None:
            other = q + (one if x > q * step else -one)
            near, other_error = error <= bound, _error(x, other, step, exact)
            q, error = q if near else other, error if near else other_error
        use = True
        if good is not None:
            use &= good[j] != 0
        if status is not None:
            use &= status[j] == 0
        fits = (error <= bound) & (q >= lowest) & (q <= highest) & use
        c = np.int32(q if fits else nothing)    # the test stands before the conversion, for which NaN and huge values are undefined
        code[j] = c if fits else (fill if use else masked)
        outliers += np.uint32(use & (not fits))
        largest = worst[i]
        worst[i] = error if fits & (error > largest) else largest
    return outliers


@njit(cache=True, nogil=True, error_model="numpy")
def _error(x, q, step, exact):
    """The larger of |x - q * step| in float32 and in the dtype of exact; NaN for NaN."""
    near, wide = abs(x - q * step), abs(x - q * exact)
    return wide if wide > near else near


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
