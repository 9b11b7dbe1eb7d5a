"""features.peak_finder_azimuthal for the CPU: strong pixels are listed, and the patch of each is looked at."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..backends import share
from ..status import Frame
from .sparsify_numba import between, excess, is_above, least_of, list_above
from .tables_numba import clear_behind

TOO_MANY = np.uint32(Frame.TOO_MANY)
fast = njit(cache=True, nogil=True, error_model="numpy")


class Patch(NamedTuple):
    """How panels lie in memory, and the fields of the op."""

    panel_rows: int
    cols: int
    reach: int
    connected: int


def find(frames, *rest):
    """Fill the tables; what is to be added to each frame's status. whole: columns panel, pixels; real: row, col, total, max, background, sigma, snr."""
    status = np.zeros(len(frames), np.uint32)
    share(_frames, len(frames), status, frames, *rest)
    return status


@fast
def _frames(first, last, status, frames, marks, b, mean, std, patch, strong, whole, real, peak_count, strong_count):
    for f in range(first, last):
        status[f] = _frame(frames[f], marks[f if b.marked else 0], b, mean[f], std[f], patch, strong[f], whole, real, f, peak_count, strong_count)


@fast
def _frame(v, marks, b, mean, std, patch, strong, whole, real, f, peak_count, strong_count):
    found, some = list_above(v, marks, b, mean, std, least_of(b, mean, std, True), True, strong), 0
    if found <= len(strong):
        for k in range(found):
            some += _peak(v, marks, b, mean, std, patch, np.int64(strong[k]), whole, real, f, some)
    strong_count[f], peak_count[f] = found, some
    clear_behind(whole, real, f, some)
    return TOO_MANY if found > len(strong) else np.uint32(0)


@njit(inline="always")
def _clean(x):
    return np.float32(np.nan) if x != x else np.float32(x)


@njit(inline="always")     # called, it counts references of twenty arrays, which threads share
def _peak(v, marks, b, mean, std, patch, pixel, whole, real, f, at):
    """1 for a peak, which goes to row `at` of the table if that has one; else 0."""
    cols, reach = patch.cols, patch.reach
    row, col = pixel // cols % patch.panel_rows, pixel % cols
    if not (reach <= row < patch.panel_rows - reach and reach <= col < cols - reach):
        return 0
    most, pixels = excess(v, marks, b, mean, pixel), 0
    total = up = across = spread = 0.0
    for r in range(-reach, reach + 1):
        for c in range(-reach, reach + 1):
            other = pixel + r * cols + c
            e = excess(v, marks, b, mean, other)
            if e > 0:
                s = np.float64(between(std, b.position[other]))
                if s == s:
                    if e > most or (e == most and other < pixel):
                        return 0
                    pixels += np.int64(is_above(e, b, std, other, True))
                    x = np.float64(e)
                    total, up, across = total + x, up + x * np.float64(r), across + x * np.float64(c)
                    spread += s * s + b.squared_noise
    if pixels < patch.connected:
        return 0
    if at < whole[0].shape[1]:
        sigma = math.sqrt(spread)
        whole[0][f, at], whole[1][f, at] = pixel // (cols * patch.panel_rows), pixels
        real[0][f, at], real[1][f, at] = _clean(row + up / total), _clean(col + across / total)
        real[2][f, at], real[3][f, at], real[4][f, at], real[5][f, at] = total, most, between(mean, b.position[pixel]), sigma
        real[6][f, at] = _clean(total / sigma) if sigma > 0 else np.float32(0)
    return 1
