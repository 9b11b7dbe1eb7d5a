"""features.sparsify for the CPU: one look at each pixel; and what features.peak_finder_azimuthal shares of it."""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

fast = njit(cache=True, nogil=True, error_model="numpy")


class Background(NamedTuple):
    """position, inverse (npix,) f32: see AboveBackground, one number where there is no normalisation; the fields, squared."""

    position: np.ndarray
    inverse: np.ndarray
    weighted: bool
    marked: bool
    noise: np.float32
    squared_noise: float
    squared_cutoff: float


def background_of(op, plan, cutoff, marked):
    """Of an op's plan on the CPU."""
    weighted = op.normalisation is not None
    inverse = plan.constants["inverse"].reshape(-1) if weighted else plan.constants["position"][:1]
    return Background(plan.constants["position"], inverse, weighted, marked, np.float32(op.noise), float(op.noise) ** 2, float(cutoff) ** 2)


@njit(inline="always")
def between(table, at):
    """Linear between two places of a table; where one of both is NaN, the other one."""
    low = np.uint32(at)
    part = at - np.float32(low)
    a, b = table[low], table[min(low + np.uint32(1), np.uint32(len(table) - 1))]
    return b if a != a else a if b != b else a * (np.float32(1) - part) + b * part


@njit(inline="always")
def excess(v, marks, b, mean, i):
    """A pixel above its background; NaN for what is no measurement."""
    at, x = b.position[i], np.float32(v[i])
    if not (at >= 0 and np.isfinite(x)) or (b.marked and marks[i] != 0):
        return np.float32(np.nan)
    if b.weighted:
        x = x * b.inverse[i]
    return x - between(mean, at)


@njit(inline="always")
def is_above(e, b, std, i, reached):
    square = np.float64(e) * np.float64(e)
    if not (e > (np.float32(0) if reached else b.noise) and square >= b.squared_cutoff * b.squared_noise):      # the second is less than what follows
        return False
    s = np.float64(between(std, b.position[i]))
    least = b.squared_cutoff * (s * s + b.squared_noise)
    return square >= least if reached else square > least


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def pick(frames, marks, b, mean, std, index, count):
    """Fill index and count."""
    for f in prange(len(frames)):
        count[f] = list_above(frames[f], marks[np.int64(f) if b.marked else np.int64(0)], b, mean[f], std[f], False, index[f])


@fast
def list_above(v, marks, b, mean, std, reached, index):
    """How many pixels are above; the first ones to index, which has zeros behind them."""
    some, rows = 0, len(index)
    for i in range(np.uint64(len(v))):
        if is_above(excess(v, marks, b, mean, i), b, std, i, reached):
            if some < rows:
                index[some] = i
            some += 1
    index[min(some, rows):] = 0
    return some
