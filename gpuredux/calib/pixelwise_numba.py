"""The pixelwise steps of calibration on the CPU: each in parallel over frames and tiles of pixels."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

TILE = 1 << 15
NAN = np.float32(np.nan)
fast = njit(cache=True, nogil=True, error_model="numpy")


def share_tiles(run, energy, status, stage, *rest):
    """run(first, last, energy, status, stage, *rest) over the tiles of all frames. What is not there gets a stand-in without rows, so that run is
    compiled once, not once for each choice."""
    marks = (stand_in(a, np.uint8) for a in (status, stage))
    share(run, len(energy) * -(-energy.shape[1] // TILE), energy, *marks, *(read_only(a) for a in rest[:-1]), rest[-1])


def stand_in(x, dtype):
    """x, or rows of which there are none."""
    return read_only(np.empty((0, 0), dtype) if x is None else x)


@njit(cache=True, nogil=True, inline="always")
def _settle(y, x, status, f, j):
    """The new value, in one form of NaN; the old one where a status is set."""
    y = y if y == y else NAN
    if len(status):
        y = y if status[f, j] == 0 else x
    return y


@njit(cache=True, nogil=True, inline="always")
def _plane(stage, f, j, planes):
    """The plane of constants of a pixel."""
    return np.uint64(min(stage[f, j], planes - 1)) if len(stage) else np.uint64(0)


def scale_rows(energy, status, stage, plane, out):
    """out = energy * plane[stage]; plane (planes, npix)."""
    share_tiles(_scale, energy, status, stage, plane, out)


@fast
def _scale(first, last, energy, status, stage, plane, out):
    npix = energy.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x = energy[f, j]
            out[f, j] = _settle(x * plane[_plane(stage, f, j, len(plane)), j], x, status, f, j)


def polynomial_rows(energy, status, stage, coefficients, out):
    """out = c[0] + x * (c[1] + x * ...), Horner; coefficients (planes, terms, npix)."""
    share_tiles(_polynomial, energy, status, stage, coefficients, out)


@fast
def _polynomial(first, last, energy, status, stage, coefficients, out):
    npix = energy.shape[1]
    terms = coefficients.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x, g = energy[f, j], _plane(stage, f, j, len(coefficients))
            y = coefficients[g, np.uint64(terms - 1), j]
            for t in range(1, terms):
                y = y * x + coefficients[g, np.uint64(terms - 1 - t), j]
            out[f, j] = _settle(y, x, status, f, j)


def breakpoint_rows(energy, status, stage, knee, low, high, offset, out):
    """out = x * low up to the knee, (x - knee) * high + offset beyond; each (planes, npix)."""
    share_tiles(_breakpoint, energy, status, stage, knee, low, high, offset, out)


@fast
def _breakpoint(first, last, energy, status, stage, knee, low, high, offset, out):
    npix = energy.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x, g = energy[f, j], _plane(stage, f, j, len(knee))
            y = (x - knee[g, j]) * high[g, j] + offset[g, j] if x > knee[g, j] else x * low[g, j]
            out[f, j] = _settle(y, x, status, f, j)


@njit(cache=True, nogil=True, inline="always")
def _node(u, last):
    """That of a table in front of u."""
    node = np.floor(u)
    node = node if node > np.float32(0) else np.float32(0)      # NaN too
    return node if node < last else last


def look_up_rows(energy, status, stage, table, which, start, inverse, out):
    """out = table[g, which, u], interpolated at u = (x - start) * inverse; table (planes, tables, nodes), which (npix,)."""
    share_tiles(_look_up, energy, status, stage, table, which, start, inverse, out)


@fast
def _look_up(first, last, energy, status, stage, table, which, start, inverse, out):
    npix = energy.shape[1]
    final = np.float32(table.shape[2] - 2)
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        for j in range(np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, npix))):
            x, g = energy[f, j], _plane(stage, f, j, len(table))
            u = (x - start) * inverse
            node = _node(u, final)
            i, t = np.uint64(node), np.uint64(which[j])
            a, b = table[g, t, i], table[g, t, i + np.uint64(1)]
            out[f, j] = _settle(a + (b - a) * (u - node), x, status, f, j)
