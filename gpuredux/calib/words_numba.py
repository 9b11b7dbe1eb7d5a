"""Raw words on the CPU: 12-bit words unpacked, and their gain stages."""

import numpy as np
from numba import njit, prange

TILE = 1 << 16


@njit(cache=True, nogil=True, parallel=True)
def unpack12_rows(packed, words):
    """words (n, npix) u16 of packed (n, npix * 3 / 2) u8, for as many rows as packed has."""
    n, pairs = packed.shape[0], packed.shape[1] // 3
    tiles = (pairs + TILE - 1) // TILE
    for task in prange(n * tiles):
        f, tile = task // tiles, task % tiles
        for i in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, pairs))):
            at = np.uint64(3) * i
            a, b, c = np.uint16(packed[f, at]), np.uint16(packed[f, at + np.uint64(1)]), np.uint16(packed[f, at + np.uint64(2)])
            words[f, np.uint64(2) * i] = a | (b & np.uint16(15)) << np.uint16(8)
            words[f, np.uint64(2) * i + np.uint64(1)] = b >> np.uint16(4) | c << np.uint16(4)


@njit(cache=True, nogil=True, parallel=True)
def gain_stages(words, stage, shift, planes):
    """stage (n, npix) u8 = planes[words >> shift & (len(planes) - 1)], for as many rows as words has."""
    n, npix = words.shape
    tiles = (npix + TILE - 1) // TILE
    for task in prange(n * tiles):
        f, tile = task // tiles, task % tiles
        for i in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            stage[f, i] = planes[words[f, i] >> shift & np.uint16(len(planes) - 1)]
