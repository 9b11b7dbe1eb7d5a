"""The slopes of nonlinearities on the CPU: each in parallel over frames and tiles of pixels."""

import numpy as np

from .pixelwise_numba import TILE, _node, _plane, _settle, fast, share_tiles


def breakpoint_slopes(energy, status, stage, knee, low, high, out):
    """out = low up to the knee, high beyond; each (planes, npix)."""
    share_tiles(_breakpoint_slope, energy, status, stage, knee, low, high, out)


@fast
def _breakpoint_slope(first, last, energy, status, stage, knee, low, high, out):
    npix = energy.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x, g = energy[f, j], _plane(stage, f, j, len(knee))
            out[f, j] = _settle(high[g, j] if x > knee[g, j] else low[g, j], x, status, f, j)


def look_up_slopes(energy, status, stage, table, which, start, inverse, out):
    """out = (b - a) * inverse of the nodes that look_up_rows takes."""
    share_tiles(_look_up_slope, energy, status, stage, table, which, start, inverse, out)


@fast
def _look_up_slope(first, last, energy, status, stage, table, which, start, inverse, out):
    npix = energy.shape[1]
    final = np.float32(table.shape[2] - 2)
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x, g = energy[f, j], _plane(stage, f, j, len(table))
            i, t = np.uint64(_node((x - start) * inverse, final)), np.uint64(which[j])
            out[f, j] = _settle((table[g, t, i + np.uint64(1)] - table[g, t, i]) * inverse, x, status, f, j)
