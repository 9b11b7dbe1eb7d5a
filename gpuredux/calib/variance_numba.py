"""The rows of calib.variance for the CPU."""

import numpy as np

from .pixelwise_numba import LONG, NAN, ROW, fast, highest, merge, one_nan, place, share_rows


def variance_rows(energy, status, stage, slope, cell, floor, quantum, out):
    """out = floor[stage, cell] * slope**2 + max(energy, 0) * quantum, NaN where a status is set; floor (planes, cells, npix)."""
    slope = np.empty((0, 0), np.float32) if slope is None else slope        # a stand-in, see share_rows
    cell = np.zeros(len(energy), np.uint16) if cell is None else cell
    share_rows(_variance, energy, status, stage, slope, cell, floor, quantum, out, row=LONG if stage is None else ROW)


@fast
def _variance(first, last, row, energy, status, stage, slope, cell, floor, quantum, out):
    other = np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y, c = out[f, a:b], np.uint64(cell[f])
        if c >= np.uint64(floor.shape[1]):
            y[:] = NAN
            continue
        for g in range(highest(stage, f, a, b, len(floor)) + 1):
            to = other if g else y
            if len(slope):
                for j in range(a, b):
                    to[j - a] = _sum(floor[g, c, j] * (slope[f, j] * slope[f, j]), energy[f, j], quantum)
            else:
                for j in range(a, b):
                    to[j - a] = _sum(floor[g, c, j], energy[f, j], quantum)
            if g:
                merge(y, other, stage, f, a, b, g)
        if len(status):
            for j in range(a, b):
                known = y[j - a]
                y[j - a] = known if status[f, j] == 0 else NAN


@fast
def _sum(least, x, quantum):
    photons = np.float32(0) if x < 0 else x
    return one_nan(least + photons * quantum)
