"""The tiles of calib.counts for the CPU: all words of a row as if they were counts, then the few that are not."""

import numpy as np
from numba import njit

from ..backends import share

TILE = 8192     # pixels whose factors (32 KiB) stay in the cache while a tile walks the frames
ROW = 256       # pixels that are decided on together


def counts_tiles(word, *rest):
    """Fill energy and pixel_status (n, npix); return the OR of the data's status bits of each frame."""
    flags = np.zeros((-(-word.shape[1] // TILE), len(word)), np.uint32)
    share(_tiles, len(flags), flags, word, *rest)
    return np.bitwise_or.reduce(flags, axis=0)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(first_tile, last_tile, flags, word, factor, knot, energy, pixel_status, limits, codes, bad):
    n, npix = word.shape
    for tile in range(first_tile, last_tile):
        first, stop = tile * TILE, min(tile * TILE + TILE, npix)
        no_factor = np.zeros(TILE // ROW, np.bool_)
        if factor is not None:
            for row in range((stop - first + ROW - 1) // ROW):
                no_factor[row] = (factor[first + row * ROW : min(first + row * ROW + ROW, stop)] == 0).any()
        for f in range(n):
            for row in range((stop - first + ROW - 1) // ROW):
                a, b = np.uint64(first + row * ROW), np.uint64(min(first + row * ROW + ROW, stop))
                odd = no_factor[row] | _plain(word[f], factor, knot, energy[f], limits, a, b)
                if pixel_status is not None:
                    pixel_status[f, a:b] = 0
                if odd:
                    flags[tile, f] |= _odd(word[f], factor, energy[f], None if pixel_status is None else pixel_status[f], limits, codes, bad, a, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _plain(word, factor, knot, energy, limits, a, b):
    """energy[a:b] as if all words were counts; whether any may be none. No branch in the loops: those without a table vectorise."""
    from_here = limits[0]
    odd = np.uint32(0)
    for j in range(a, b):
        odd |= np.uint32(np.uint32(word[j]) >= from_here)
    if knot is not None:
        shift, part, top = limits[2], (np.uint32(1) << limits[2]) - np.uint32(1), limits[1]
        if part == 0:       # an entry a count: nothing lies between
            for j in range(a, b):
                energy[j] = np.float32(word[j]) * knot[np.uint64(min(np.uint32(word[j]), top)), np.uint64(0)]
        else:
            for j in range(a, b):
                m = min(np.uint32(word[j]), top)
                i = np.uint64(m >> shift)
                energy[j] = np.float32(m) * (knot[i, np.uint64(0)] + np.float32(m & part) * knot[i, np.uint64(1)])
        if factor is not None:
            for j in range(a, b):
                energy[j] *= factor[j]
    else:
        if factor is not None:
            for j in range(a, b):
                energy[j] = np.float32(word[j]) * factor[j]
        else:
            for j in range(a, b):
                energy[j] = np.float32(word[j])
    return odd != 0


@njit(cache=True, nogil=True, error_model="numpy")
def _odd(word, factor, energy, pixel_status, limits, codes, bad, a, b):
    """The pixels of a to b that are no measurement; their status bits from the data."""
    flags = np.uint32(0)
    for j in range(a, b):
        m, k = np.uint32(word[j]), np.float32(1)
        if factor is not None:
            k = factor[j]
        if m < limits[0] and k != 0:
            continue
        bit = np.uint32(2) if m > limits[1] else np.uint32(0)
        if limits[3] and m >= np.uint32(0x80000000):
            bit = np.uint32(1)
        for c in range(np.uint64(codes.shape[0])):
            if m == codes[c, np.uint64(0)]:
                bit = codes[c, np.uint64(1)]
        if k == 0:
            bit = np.uint32(8) if not np.signbit(k) else bit if bit else np.uint32(16)
        if bit:
            energy[j] = bad
            flags |= bit & np.uint32(7)
            if pixel_status is not None:
                pixel_status[j] = bit
    return flags
