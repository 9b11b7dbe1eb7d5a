"""The lines of calib.recursive for the CPU: down the rows 64 columns at a time in vector registers, along the columns one row after the other."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

NAN = np.float32(np.nan)
WIDE = 64       # columns that walk down together
BESIDE = 16     # rows that walk along together
MOST = np.float32(np.finfo(np.float32).max)


def down_rows(energy, status, out, a, rows, reverse, fir):
    """energy (n, down * rows, pitch): t runs over the rows of each asic."""
    strips = len(energy) * (energy.shape[1] // rows) * -(-energy.shape[2] // WIDE)
    share(_strips, strips, energy, _marks(status, energy), out, read_only(a), rows, reverse, fir)


def _marks(status, energy):
    """status, or one row without marks for all rows: another type would be compiled for, too."""
    return read_only(np.zeros((1, 1, energy.shape[2]), np.uint8) if status is None else status)


@njit(cache=True, nogil=True, error_model="numpy")
def _strips(first, last, energy, status, out, a, rows, reverse, fir):
    down, pitch = energy.shape[1] // rows, energy.shape[2]
    strips, terms = (pitch + WIDE - 1) // WIDE, np.uint64(a.size)
    for task in range(first, last):
        f, r0, c0 = task // (down * strips), task // strips % down * rows, task % strips * WIDE
        width = np.uint64(min(WIDE, pitch - c0))
        past = np.zeros((a.size, WIDE), np.float32)     # a ring: the latest in row t % terms
        total = np.empty(WIDE, np.float32)
        for t in range(rows):
            r = r0 + (rows - 1 - t if reverse else t)
            total[:] = 0
            for k in range(terms):
                row, w = past[(np.uint64(t) + terms - np.uint64(1) - k) % terms], a[k]
                for c in range(width):
                    total[c] += w * row[c]
            mark = status[min(f, status.shape[0] - 1), min(r, status.shape[1] - 1)]
            _step(energy[f, r], mark, out[f, r], total, past[np.uint64(t) % terms], np.uint64(c0), width, fir)


@njit(cache=True, nogil=True, error_model="numpy")
def _step(energy, mark, out, total, past, c0, width, fir):
    """One row of a strip. No branch in the loop: it vectorises."""
    for c in range(width):
        x = energy[c0 + c] if mark[c0 + c] == 0 else NAN
        y = x + total[c] if fir else x - total[c]
        good = abs(x) <= MOST
        y = y if good else x
        past[c] = (x if fir else y) if good and abs(y) <= MOST else np.float32(0)
        out[c0 + c] = y if y == y else NAN


def across_rows(energy, status, out, a, cols, reverse, fir):
    """energy (n, rows, across * cols): t runs over the columns of each asic. Rows go side by side: each waits for its own last value only."""
    groups = len(energy) * -(-energy.shape[1] // BESIDE)
    share(_groups, groups, energy, _marks(status, energy), out, read_only(a), cols, reverse, fir)


@njit(cache=True, nogil=True, error_model="numpy")
def _groups(first, last, energy, status, out, a, cols, reverse, fir):
    rows, across = energy.shape[1], energy.shape[2] // cols
    groups = (rows + BESIDE - 1) // BESIDE
    for task in range(first, last):
        f, r0 = task // groups, task % groups * BESIDE
        past, total = np.empty((a.size, BESIDE), np.float32), np.empty(BESIDE, np.float32)
        for asic in range(across):
            past[:] = 0
            for t in range(cols):
                c = asic * cols + (cols - 1 - t if reverse else t)
                total[:] = 0
                for k in range(a.size):
                    for i in range(BESIDE):
                        total[i] += a[k] * past[k, i]
                for k in range(a.size - 1, 0, -1):
                    past[k] = past[k - 1]
                for i in range(min(BESIDE, rows - r0)):
                    mark = status[min(f, status.shape[0] - 1), min(r0 + i, status.shape[1] - 1), c]
                    x = energy[f, r0 + i, c] if mark == 0 else NAN
                    y = x + total[i] if fir else x - total[i]
                    good = abs(x) <= MOST
                    y = y if good else x
                    past[0, i] = (x if fir else y) if good and abs(y) <= MOST else np.float32(0)
                    out[f, r0 + i, c] = y if y == y else NAN
