"""The rows of calib.variance for the CPU."""

import numpy as np

from .pixelwise_numba import NAN, ROW, fast, highest, merge, place, settle, share_rows


def variance_rows(energy, status, stage, slope, cell, floor, quantum, out):
    """out = floor[stage, cell] * slope**2 + max(energy, 0) * quantum, NaN where a status is set; floor (planes, cells, npix)."""
    slope = np.empty((0, 0), np.float32) if slope is None else slope        # a stand-in, see share_rows
    cell = np.zeros(len(energy), np.uint16) if cell is None else cell
    share_rows(_variance, energy, status, stage, slope, cell, floor, quantum, out)


@fast
def _variance(first, last, energy, status, stage, slope, cell, floor, quantum, out):
    y, other = np.empty(ROW, np.float32), np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, energy.shape[1])
        c = np.int64(cell[f])
        if c >= floor.shape[1]:
            y[:] = NAN
            settle(y, energy, status[:0], f, a, b, out)
            continue
        for g in range(highest(stage, f, a, b, len(floor)) + 1):
            to = other if g else y
            if len(slope):
                for j in range(a, b):
                    to[j - a] = floor[g, c, j] * (slope[f, j] * slope[f, j])
            else:
                for j in range(a, b):
                    to[j - a] = floor[g, c, j]
            if g:
                merge(y, other, stage, f, a, b, g)
        for j in range(a, b):
            x = energy[f, j]
            photons = np.float32(0) if x < 0 else x
            y[j - a] += photons * quantum
        if len(status):
            for j in range(a, b):
                known = y[j - a]
                y[j - a] = known if status[f, j] == 0 else NAN
        settle(y, energy, status[:0], f, a, b, out)
