"""features.sparsify for the CPU: one look at each pixel; and what features.peak_finder_azimuthal shares of it."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..backends import share

fast = njit(cache=True, nogil=True, error_model="numpy")


class Background(NamedTuple):
    """position, inverse (npix,) f32: see AboveBackground, one number where there is no normalisation; low (npix,): the bin below a pixel's place, their
    number where it is in none; the fields, squared."""

    position: np.ndarray
    low: np.ndarray
    inverse: np.ndarray
    weighted: bool
    marked: bool
    noise: np.float32
    squared_noise: float
    squared_cutoff: float


def background_of(op, plan, cutoff, marked):
    """Of an op's plan on the CPU."""
    weighted, position = op.normalisation is not None, plan.constants["position"]
    inverse = plan.constants["inverse"].reshape(-1) if weighted else position[:1]
    low = op.low if position is op.position else low_of(position, op.rings.count)       # another one after an update
    return Background(position, low, inverse, weighted, marked, np.float32(op.noise), float(op.noise) ** 2, float(cutoff) ** 2)


def low_of(position, count):
    """u16, or u32 where so many bins need it."""
    low = np.where(position < 0, count, position).astype(np.uint16 if count < 65536 else np.uint32)
    low.setflags(write=False)
    return low


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
    if not e > (np.float32(0) if reached else b.noise):
        return False
    s = np.float64(between(std, b.position[i]))
    least = b.squared_cutoff * (s * s + b.squared_noise)
    return square >= least if reached else square > least


def pick(frames, *rest):
    """Fill index and count."""
    share(_frames, len(frames), frames, *rest)


@fast
def _frames(first, last, frames, marks, b, mean, std, index, count):
    for f in range(first, last):
        some = list_above(frames[f], marks[f if b.marked else 0], b, mean[f], std[f], least_of(b, mean[f], std[f], False), False, index[f])
        index[f, min(some, index.shape[1]) :] = 0
        count[f] = some


@fast
def least_of(b, mean, std, reached):
    """(bins + 1,) f32: what a pixel with this bin below it must be at least, by a bound that is a little too low: a quick look for most pixels."""
    count = len(mean)
    least = np.full(count + 1, np.inf, np.float32)
    for k in range(count):
        j = min(k + 1, count - 1)
        m, n, s, t = np.float64(mean[k]), np.float64(mean[j]), np.float64(std[k]), np.float64(std[j])
        m, n, s, t = n if m != m else m, m if n != n else n, t if s != s else s, s if t != t else t
        if m == m and s == s:
            s = min(s, t)
            rise = max(0.0 if reached else np.float64(b.noise), math.sqrt(b.squared_cutoff * (s * s + b.squared_noise)))
            least[k] = min(m, n) + rise - 4e-6 * (max(abs(m), abs(n)) + rise)
    return least


@fast
def list_above(v, marks, b, mean, std, least, reached, index):
    """How many pixels are above; the first ones to index."""
    some, rows = 0, len(index)
    for i in range(np.uint64(len(v))):
        x = np.float32(v[i])
        if b.weighted:
            x = x * b.inverse[i]
        if x >= least[b.low[i]] and is_above(excess(v, marks, b, mean, i), b, std, i, reached):
            if some < rows:
                index[some] = i
            some += 1
    return some
