"""The rows of calib.variance for the CPU: in parallel over frames and tiles of pixels."""

import numpy as np
from numba import prange

from .pixelwise_numba import NAN, TILE, _plane, _settle, fast


@fast
def variance_rows(energy, status, stage, slope, cell, floor, quantum, out):
    """out = floor[stage, cell] * slope**2 + max(energy, 0) * quantum, NaN where a status is set; floor (planes, cells, npix)."""
    n, npix = energy.shape
    tiles = (npix + TILE - 1) // TILE
    for task in prange(n * tiles):
        f, tile = task // tiles, task % tiles
        c, nothing = np.uint64(0), np.float32(0)
        if cell is not None:
            lost = cell[f] >= floor.shape[1]
            c = np.uint64(0 if lost else cell[f])
            nothing = NAN if lost else nothing
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x = energy[f, j]
            photons = np.float32(0) if x < 0 else x
            least = floor[_plane(stage, f, j, len(floor)), c, j]
            if slope is not None:
                least = least * (slope[f, j] * slope[f, j])
            y = least + photons * quantum
            out[f, j] = _settle(y if nothing == 0 else NAN, NAN, status, f, j)
