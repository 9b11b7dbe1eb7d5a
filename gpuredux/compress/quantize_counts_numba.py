"""The numba tiles of compress.quantize_counts: one look-up a pixel of code and error together; beyond the table a granule and one comparison."""

import numpy as np
from numba import njit

from ..backends import share
from .quantize_numba import TILE, mark_used

DIRECT = 65536          # values of the table that needs no granules
SEVERAL = 0x7FC00000    # in place of an error's bits: some pixel of the tile has no code


def quantize_counts_tiles(count, good, status, code, counts, *rest):
    """Fill code; outliers and largest error of each tile of each frame. good, status: of no pixels where there are none; codes, entries, table:
    QuantizeCounts.direct; limits: smallest, largest, fill, masked, bits of a granule; inverse: 1 / unit of floats, None of whole numbers."""
    share(_tiles, counts.size, count, good, status, code, counts, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(begin, end, count, good, status, code, counts, errors, first, start, codes, entries, table, limits, inverse):
    for job in range(begin, end):
        f, tile = job // counts.shape[1], job % counts.shape[1]
        _tile(count, good, status, code, f, tile, counts, errors, first, start, codes, entries, table, limits, inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(count, good, status, code, f, tile, counts, errors, first, start, codes, entries, table, limits, inverse):
    begin, width = np.uint64(tile * TILE), np.uint64(min(TILE, count.shape[1] - tile * TILE))
    row, out, use, missed = count[f], code[f], np.ones(TILE, np.uint8), np.int64(0)
    if len(good) > 0 or len(status) > 0:
        mark_used(use, good, status, f, begin, width)
    if inverse is None:
        worst = _words(row, use, out, begin, width, entries, limits)
    else:
        worst = _floats(row, use, out, begin, width, codes, table, limits, inverse)
    if worst >= np.int64(SEVERAL):
        missed, worst = _again(row, use, out, begin, width, first, start, table, limits, inverse)
    counts[f, tile], errors[f, tile] = missed, np.int32(worst).view(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _words(row, use, out, begin, width, entries, limits):
    """The bits of the largest error, SEVERAL if any pixel in use lies outside of the table. Nothing else is called: arrays would be handed over pixel by
    pixel, at ten times the cost (tried)."""
    smallest, masked, none, worst = limits[0], limits[3], np.int64(SEVERAL) << 32 | limits[2], np.int64(0)
    for i in range(width):
        v = np.uint64(np.int64(row[begin + i]) - smallest)
        e = entries[v] if v < np.uint64(DIRECT) else none
        e = e if use[i] != 0 else masked
        out[begin + i] = e & np.int64(0xFFFF)
        worst = max(worst, e)       # the error is the higher half
    return worst >> 32


@njit(cache=True, nogil=True, error_model="numpy")
def _floats(row, use, out, begin, width, codes, table, limits, inverse):
    """The same in three loops, of which the first and the last vectorise: where in the table, what it has there, how far off that is."""
    smallest, fill, masked, worst = np.int32(limits[0]), np.uint16(limits[2]), np.uint16(limits[3]), np.int32(0)
    low, high = np.float32(smallest), np.float32(limits[0] + DIRECT)
    at, meant = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    for i in range(width):
        q = np.rint(row[begin + i] * inverse)
        inside = (q >= low) & (q < high) & (use[i] != 0)
        at[i] = np.int32(q) - smallest if inside else np.int32(-1)
    for i in range(width):
        c = codes[np.uint64(at[i])] if at[i] >= 0 else fill if use[i] != 0 else masked
        out[begin + i] = c
        meant[i] = table[c]
    for i in range(width):
        bits = np.float32(abs(row[begin + i] - meant[i])).view(np.int32)     # of FILL NaN, whose bits are SEVERAL
        worst = max(worst, bits if use[i] != 0 else np.int32(0))
    return np.int64(worst)


@njit(cache=True, nogil=True, error_model="numpy")
def _again(row, use, out, begin, width, first, start, table, limits, inverse):
    """A tile with values outside of the table: how many have no bin, and the bits of the largest error of the others."""
    smallest, largest, fill, masked, granule = limits[0], limits[1], limits[2], limits[3], limits[4]
    missed, worst = np.int64(0), np.int32(0)
    for i in range(width):
        x, c = row[begin + i], fill
        if inverse is None:
            v = np.int64(x)
        else:
            q = np.rint(x * inverse)
            v = np.int64(q) if (q >= np.float32(smallest)) & (q <= np.float32(largest)) else largest + 1
        if use[i] == 0:
            c = masked
        elif (v >= smallest) & (v <= largest):
            v -= smallest
            exponent = np.float64(v).view(np.int64) >> 52       # v's length in bits, and 1022
            octave = max(exponent - np.int64(1022) - granule, np.int64(0))
            c = np.int64(first[(octave << (granule - 1)) + (v >> octave)])
            c = c + 1 if octave > 0 and v >= start[c + 1] else c
            worst = max(worst, np.float32(abs(np.float32(x) - table[c])).view(np.int32))
        else:
            missed += 1
        out[begin + i] = c
    return missed, np.int64(worst)
