"""The slopes of nonlinearities on the CPU: each in parallel over rows of pixels."""

import numpy as np

from .pixelwise_numba import LONG, ROW, fast, highest, keep, merge, nodes, one_nan, place, share_rows, two_of


def breakpoint_slopes(energy, status, stage, knee, low, high, out):
    """out = low up to the knee, high beyond; each (planes, npix)."""
    share_rows(_breakpoint, energy, status, stage, knee, low, high, out, row=LONG if stage is None else ROW)


@fast
def _breakpoint(first, last, row, energy, status, stage, knee, low, high, out):
    other = np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y = out[f, a:b]
        for g in range(highest(stage, f, a, b, len(knee)) + 1):
            to = other if g else y
            for j in range(a, b):
                near, far = low[g, j], high[g, j]
                to[j - a] = one_nan(far if energy[f, j] > knee[g, j] else near)
            if g:
                merge(y, other, stage, f, a, b, g)
        keep(energy, status, f, a, b, out)


def look_up_slopes(energy, status, stage, table, which, start, inverse, out):
    """out = (b - a) * inverse of the nodes that look_up_rows takes."""
    share_rows(_look_up, energy, status, stage, table.reshape(-1), which, table.shape, start, inverse, out)


@fast
def _look_up(first, last, row, energy, status, stage, table, which, shape, start, inverse, out):
    y, part, at, far = np.empty(ROW, np.float32), np.empty(ROW, np.float32), np.empty(ROW, np.uint64), np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        nodes(energy, stage, which, shape, start, inverse, f, a, b, at, part)
        two_of(table, at, b - a, y, far)
        for i in range(b - a):
            out[f, a + i] = one_nan((far[i] - y[i]) * inverse)
        keep(energy, status, f, a, b, out)
