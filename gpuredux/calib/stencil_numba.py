"""The asics of calib.stencil for the CPU: each with a border of zeros, whole rows at a time."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

NAN = np.float32(np.nan)


def stencil_asics(energy, status, out, weights, edge, inverse, steps, rows, cols):
    """out = the weighted sums of energy (n, down * rows, across * cols) with steps < 0, else that many steps towards the inverse."""
    asics = len(energy) * (energy.shape[1] // rows) * (energy.shape[2] // cols)
    status = np.empty((0, 0, 0), np.uint8) if status is None else status       # a stand-in: another type would be compiled for, too
    share(_asics, asics, energy, read_only(status), out, read_only(weights), read_only(edge), inverse, steps, rows, cols)


@njit(cache=True, nogil=True, error_model="numpy")
def _asics(first, last, energy, status, out, weights, edge, inverse, steps, rows, cols):
    down, across = energy.shape[1] // rows, energy.shape[2] // cols
    h = weights.shape[0] // 2
    for task in range(first, last):
        f, r0, c0 = task // (down * across), task // across % down * rows, task % across * cols
        y = np.zeros((rows + 2 * h, cols + 2 * h), np.float32)
        use = np.zeros((rows, cols), np.bool_)
        for r in range(rows):
            for c in range(cols):
                x = energy[f, r0 + r, c0 + c]
                good = np.isfinite(x)
                if len(status):
                    good = good and status[f, r0 + r, c0 + c] == 0
                use[r, c] = good
                y[r + h, c + h] = x if good else np.float32(0)
        total = np.empty(cols, np.float32)
        if steps < 0:
            for r in range(rows):
                _row_sum(y, weights, r, total, True)
                for c in range(cols):
                    total[c] *= edge[_edge(r, c, rows, cols, h)]
                _finish(energy, status, out, use, total, f, r0, c0, r)
        else:
            x = _solve(y, use, weights, edge, inverse, steps, total)
            for r in range(rows):
                total[:] = x[r + h, h : h + cols]
                _finish(energy, status, out, use, total, f, r0, c0, r)


@njit(cache=True, nogil=True, error_model="numpy")
def _edge(r, c, rows, cols, h):
    """Which of the factors belongs to this place."""
    up, down, left, right = min(r, h), min(rows - 1 - r, h), min(c, h), min(cols - 1 - c, h)
    return ((up * (h + 1) + down) * (h + 1) + left) * (h + 1) + right


@njit(cache=True, nogil=True, error_model="numpy")
def _row_sum(y, weights, r, total, centre):
    """total = the weighted sums of row r; y has its border."""
    side, h = np.uint64(weights.shape[0]), weights.shape[0] // 2
    total[:] = 0
    for i in range(side):
        row = y[np.uint64(r) + i]
        for j in range(side):
            if centre or i != h or j != h:
                w = weights[i, j]
                for c in range(np.uint64(total.size)):
                    total[c] += w * row[c + j]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(y, use, weights, edge, inverse, steps, total):
    """The last estimate, with its border of zeros."""
    rows, cols = use.shape
    h = weights.shape[0] // 2
    x, after = np.zeros_like(y), np.zeros_like(y)
    for r in range(rows):
        for c in range(cols):
            y[r + h, c + h] *= edge[_edge(r, c, rows, cols, h)]
            x[r + h, c + h] = y[r + h, c + h] * inverse
    for _ in range(steps):
        for r in range(rows):
            _row_sum(x, weights, r, total, False)
            good, given, made = use[r], y[r + h], after[r + h]
            for c in range(np.uint64(cols)):
                at = c + np.uint64(h)
                made[at] = (given[at] - total[c]) * inverse if good[c] else np.float32(0)
        x, after = after, x
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(energy, status, out, use, total, f, r0, c0, r):
    """One row as it is written: what was no measurement stays none."""
    for c in range(total.size):
        y, x = total[c], energy[f, r0 + r, c0 + c]
        if not use[r, c]:
            y = x
            if len(status):
                y = NAN if status[f, r0 + r, c0 + c] != 0 else x
        out[f, r0 + r, c0 + c] = y if y == y else NAN
