"""features.radial_background for the CPU: frames in parallel, each in tiles of pixels."""

import numpy as np
from numba import njit

from ..backends import share

TILE = 1 << 15


def subtract(energy, *rest):
    """less = energy - curve[f, label] * weight; marks and weight: nobody looks at them unless marked, weighted."""
    share(_tiles, len(energy) * -(-energy.shape[1] // TILE), energy, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(first, last, energy, curve, label, marks, marked, weight, weighted, less):
    npix = energy.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        _tile(energy[f], curve[f], label, marks[f if marked else 0], marked, weight, weighted, tile * TILE, min(tile * TILE + TILE, npix), less[f])


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(energy, curve, label, marks, marked, weight, weighted, start, stop, less):
    nan, count = np.float32(np.nan), np.uint64(len(curve))
    for j in range(np.uint64(start), np.uint64(stop)):
        ring = np.uint64(label[j])
        background = curve[ring] if ring < count else nan
        if weighted:
            background = background * weight[j]
        x = energy[j]
        y = x - background
        y = y if y == y else nan
        less[j] = x if marked and marks[j] != 0 else y
