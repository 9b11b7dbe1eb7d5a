"""features.droplets for the CPU: pixels above the low threshold are listed, and joined."""

import numpy as np
from numba import njit

from ..backends import share
from ..status import Frame
from .strong_numba import components
from .tables_numba import clear_behind

TOO_MANY = np.uint32(Frame.TOO_MANY)
LOOK = np.uint64(64)        # pixels that are looked at together
fast = njit(cache=True, nogil=True, error_model="numpy")


def find(frames, *rest):
    """Fill the tables; what is to be added to each frame's status. whole: columns panel, pixels; real: row, col, adu, max; thresholds: low, high, adu."""
    status = np.zeros(len(frames), np.uint32)
    share(_frames, len(frames), status, frames, *rest)
    return status


@fast
def _frames(first, last, status, frames, marks, marked, good, thresholds, capacity, grid, whole, real, droplet_count, strong_count):
    for f in range(first, last):
        v, some = frames[f], 0
        count, strong = above(v, marks[f if marked else 0], marked, good, np.float32(thresholds[0]), capacity)
        strong_count[f] = count
        if count <= capacity:
            start, members = components(strong, grid)
            for k in range(len(start) - 1):
                some += _droplet(v, strong[members[start[k] : start[k + 1]]], thresholds, grid, whole, real, f, some)
        droplet_count[f] = some
        clear_behind(whole, real, f, some)
        status[f] = TOO_MANY if count > capacity else np.uint32(0)


@fast
def above(v, marks, marked, good, low, capacity):
    """How many pixels are above low, and the first ones, ascending, at most capacity: of a list so long only what is written is fresh memory."""
    strong, some, npix = np.empty(capacity, np.uint32), 0, np.uint64(len(v))
    for begin in range(np.uint64(0), npix, LOOK):
        end, any_above = min(begin + LOOK, npix), 0
        for i in range(begin, end):
            any_above += np.int64(np.float32(v[i]) > low)
        if any_above:       # rare, and the pixels are at hand
            for i in range(begin, end):
                if np.float32(v[i]) > low and np.isfinite(np.float32(v[i])) and (len(good) < 2 or good[i]) and not (marked and marks[i] != 0):
                    if some < capacity:
                        strong[some] = i
                    some += 1
    return some, strong[: min(some, capacity)]


@fast
def _droplet(v, pixels, thresholds, grid, whole, real, f, at):
    """1 for a droplet, which goes to row `at` of the table if that has one; else 0."""
    size = grid.panel_rows * grid.cols
    total = row = col = 0.0
    most = np.float32(v[pixels[0]])
    for i in pixels:
        x = np.float64(np.float32(v[i]))
        total, row, col = total + x, row + x * np.float64(np.int64(i) % size // grid.cols), col + x * np.float64(np.int64(i) % grid.cols)
        most = max(most, np.float32(v[i]))
    if not (most > np.float32(thresholds[1]) and total >= thresholds[2]):
        return 0
    if at < whole[0].shape[1]:
        whole[0][f, at], whole[1][f, at] = np.int64(pixels[0]) // size, len(pixels)
        real[0][f, at], real[1][f, at], real[2][f, at], real[3][f, at] = row / total, col / total, total, most
    return 1
