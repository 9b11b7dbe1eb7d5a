"""The tiles of calib.threshold_gain for the CPU."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

TILE = 1 << 14


@njit(cache=True, nogil=True, error_model="numpy")
def _pixel(word, digital, c, j, lost, pedestal, factor, threshold, adc_mask, planes, codes, bad):
    """energy, status and plane of one pixel."""
    stage = 0
    for t in range(threshold.shape[0]):
        stage += digital > threshold[t, c, j]
    plane, bit = planes[stage], np.uint32(0)
    if plane < 0:
        plane, bit = 0, np.uint32(1)
    for k in range(codes.shape[0]):
        if word == codes[k, 0]:
            bit = codes[k, 1]
    bit = np.uint32(1) if lost else bit
    k = factor[plane, c, j]
    if bit == 0 and k == 0:
        bit = np.uint32(16)
    return (np.float32(word & adc_mask) - pedestal[plane, c, j]) * k if bit == 0 else bad, bit, plane


def threshold_gain_tiles(raw, cell, pedestal, factor, threshold, energy, pixel_status, gain_stage, *decoding):
    """Fill energy, pixel_status and gain_stage (n, npix) from raw (n, panels, 2, pixels of a panel); return the OR of the data's status bits of each frame.

    Panels in tiles, in parallel; a tile walks all frames, so that frames of one cell find its constants in cache.
    What is not there gets a stand-in, so that the tiles are compiled once, not once for each choice."""
    n, panels, _, size = raw.shape
    flags = np.zeros((panels * -(-size // TILE), n), np.uint32)
    cell, none = read_only(np.zeros(n, np.uint16) if cell is None else cell), np.empty((0, 0), np.uint8)
    marks = (none if a is None else a for a in (pixel_status, gain_stage))
    constants = (read_only(a) for a in (pedestal, factor, factor.view(np.uint32), threshold))
    share(_tiles, len(flags), flags, raw, cell, *constants, energy, *marks, *decoding)
    return np.bitwise_or.reduce(flags, axis=0)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(first_task, last_task, flags, raw, cell, pedestal, factor, mark, threshold, energy, pixel_status, gain_stage, adc_mask, planes, codes, bad):
    n, _, _, size = raw.shape
    cuts = (size + TILE - 1) // TILE
    for task in range(first_task, last_task):
        panel, first = task // cuts, task % cuts * TILE
        for f in range(n):
            c = np.uint64(cell[f])
            lost = c >= np.uint64(pedestal.shape[1])
            c = np.uint64(0) if lost else c
            seen = np.uint32(0)
            for i in range(np.uint64(first), np.uint64(min(first + TILE, size))):
                j = np.uint64(panel * size) + i
                y, bit, plane = _pixel(
                    raw[f, panel, 0, i], np.float32(raw[f, panel, 1, i]), c, j, lost, pedestal, factor, threshold, adc_mask, planes, codes, bad
                )
                if mark[0, c, j] == 0:
                    y, bit = bad, np.uint32(8)
                energy[f, j] = y
                seen |= bit & np.uint32(7)
                if len(pixel_status):
                    pixel_status[f, j] = bit
                if len(gain_stage):
                    gain_stage[f, j] = plane
            flags[task, f] = seen
