"""The numba tiles of compress.quantize_counts: a look-up, and beyond the first granules one comparison."""

import numpy as np
from numba import njit, prange

TILE = 4096     # pixels of one task


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def quantize_counts_tiles(count, good, status, code, counts, errors, first, start, table, limits, inverse):
    """Fill code; outliers and largest error of each tile of each frame. good, status: of no pixels where there are none; limits: smallest, largest, fill,
    masked, bits of the look-up; inverse: 1 / unit of floats, None of whole numbers."""
    n, n_tiles = counts.shape
    for job in prange(n * n_tiles):
        f, tile = np.int64(job) // n_tiles, np.int64(job) % n_tiles     # job is unsigned: mixed, it would become a float
        _tile(count, good, status, code, f, tile, counts, errors, first, start, table, limits, inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(count, good, status, code, f, tile, counts, errors, first, start, table, limits, inverse):
    smallest, largest, fill, masked, bits = limits
    row, out, outliers, worst = count[f], code[f], np.int64(0), np.float32(0)
    direct = np.int64(1) << bits        # the granules below have one value each
    for j in range(tile * TILE, min(tile * TILE + TILE, len(row))):
        if (len(good) > 0 and good[j] == 0) or (len(status) > 0 and status[f, j] != 0):
            out[j] = masked
        else:
            x = row[j]
            if inverse is None:
                v = np.int64(x)
            else:
                q = np.rint(x * inverse)
                v = np.int64(q) if (q >= np.float32(smallest)) & (q <= np.float32(largest)) else largest + 1
            if smallest <= v <= largest:
                c = _bin(v - smallest, direct, bits, first, start)
                out[j] = c
                worst = max(worst, abs(np.float32(x) - table[c]))
            else:
                out[j] = fill
                outliers += 1
    counts[f, tile], errors[f, tile] = outliers, worst


@njit(cache=True, nogil=True, error_model="numpy")
def _bin(v, direct, bits, first, start):
    if v < direct:
        return np.int64(first[v])
    octave = (np.float64(v).view(np.int64) >> 52) - np.int64(1022) - bits       # of the exponent: v's length in bits, less those of a granule's number
    c = np.int64(first[(octave << (bits - 1)) + (v >> octave)])
    return c + 1 if v >= start[c + 1] else c


@njit(cache=True, nogil=True, error_model="numpy")
def list_counts(count, code, counts, starts, fill, index, value):
    """index and value of the pixels with the code fill, in tiles that have any."""
    for f in range(counts.shape[0]):
        for tile in range(counts.shape[1]):
            slot = starts[f, tile]
            if counts[f, tile] > 0 and slot < index.shape[1]:
                for j in range(tile * TILE, min(tile * TILE + TILE, count.shape[1])):
                    if code[f, j] == fill and slot < index.shape[1]:
                        index[f, slot] = j
                        value[f, slot] = count[f, j]
                        slot += 1
