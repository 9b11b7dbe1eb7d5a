"""The rows of calib.variance for the CPU: in parallel over frames and tiles of pixels."""

import numpy as np

from .pixelwise_numba import NAN, TILE, _plane, _settle, fast, share_tiles, stand_in


def variance_rows(energy, status, stage, slope, cell, floor, quantum, out):
    """out = floor[stage, cell] * slope**2 + max(energy, 0) * quantum, NaN where a status is set; floor (planes, cells, npix)."""
    cell = np.zeros(len(energy), np.uint16) if cell is None else cell
    share_tiles(_variance, energy, status, stage, stand_in(slope, np.float32), cell, floor, quantum, out)


@fast
def _variance(first, last, energy, status, stage, slope, cell, floor, quantum, out):
    npix = energy.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        lost = cell[f] >= floor.shape[1]
        c, nothing = np.uint64(0 if lost else cell[f]), NAN if lost else np.float32(0)
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x = energy[f, j]
            photons = np.float32(0) if x < 0 else x
            least = floor[_plane(stage, f, j, len(floor)), c, j]
            if len(slope):
                least = least * (slope[f, j] * slope[f, j])
            y = least + photons * quantum
            out[f, j] = _settle(y if nothing == 0 else NAN, NAN, status, f, j)
