"""Raw words on the CPU: 12-bit words unpacked, and their gain stages."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

TILE = 1 << 16


def unpack12_rows(packed, words):
    """words (n, npix) u16 of packed (n, npix * 3 / 2) u8, for as many rows as packed has."""
    share(_unpack12, len(packed) * -(-packed.shape[1] // (3 * TILE)), packed, words)


@njit(cache=True, nogil=True)
def _unpack12(first, last, packed, words):
    pairs = packed.shape[1] // 3
    tiles = (pairs + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for i in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, pairs))):
            at = np.uint64(3) * i
            a, b, c = np.uint16(packed[f, at]), np.uint16(packed[f, at + np.uint64(1)]), np.uint16(packed[f, at + np.uint64(2)])
            words[f, np.uint64(2) * i] = a | (b & np.uint16(15)) << np.uint16(8)
            words[f, np.uint64(2) * i + np.uint64(1)] = b >> np.uint16(4) | c << np.uint16(4)


def gain_stages(words, stage, shift, planes):
    """stage (n, npix) u8 = planes[words >> shift & (len(planes) - 1)], for as many rows as words has."""
    share(_stages, len(words) * -(-words.shape[1] // TILE), read_only(words), stage, shift, planes)


@njit(cache=True, nogil=True)
def _stages(first, last, words, stage, shift, planes):
    npix = words.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for i in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            stage[f, i] = planes[words[f, i] >> shift & np.uint16(len(planes) - 1)]
