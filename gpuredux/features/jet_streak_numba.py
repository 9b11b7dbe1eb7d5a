"""features.jet_streak for the CPU."""

import math

import numpy as np
from numba import njit

from ..backends import share
from ..status import Pixel

STEPS = 16      # angles a sector
TILE = 1 << 15
STREAK = np.uint8(Pixel.STREAK)
fast = njit(cache=True, nogil=True, error_model="numpy")


@fast
def _streak(signal, pixels, unit, apart, min_pixels):
    """angle [degree], score and step of the angle, of sums (sectors, bins) of one frame; NaN, NaN, -1 where there is none."""
    sectors, best = len(signal), -1
    excess, some = _excesses(signal, pixels, unit)
    for s in range(sectors):
        if some[s] >= min_pixels and (best < 0 or excess[s] > excess[best]):
            best = s
    others, total, squares = 0, 0.0, 0.0
    for s in range(sectors):
        away = abs(s - best)
        if best >= 0 and some[s] >= min_pixels and min(away, sectors - away) >= apart:
            others += 1
            total += excess[s]
    if others < 3:
        return np.float32(np.nan), np.float32(np.nan), -1
    mean = total / others
    for s in range(sectors):
        away = abs(s - best)
        if some[s] >= min_pixels and min(away, sectors - away) >= apart:
            squares += (excess[s] - mean) * (excess[s] - mean)
    spread = math.sqrt(squares / others)
    above = excess[best] - mean
    score = above / spread if spread > 0 else (math.inf if above > 0 else 0.0)
    before, after, offset = (best + sectors - 1) % sectors, (best + 1) % sectors, 0.0
    if some[before] >= min_pixels and some[after] >= min_pixels:
        bend = (excess[before] - excess[best]) + (excess[after] - excess[best])
        offset = 0.5 * (excess[before] - excess[after]) / bend if bend < 0 else 0.0
    step = int((best + 0.5 + offset) * STEPS + 0.5) % (sectors * STEPS)
    return np.float32(step * (180.0 / (sectors * STEPS))), np.float32(score), step


@fast
def _excesses(signal, pixels, unit):
    """Of each sector: the mean of v - mean of v in its radial bin, and its pixels."""
    sectors, bins = signal.shape
    means, excess, some = np.zeros(bins), np.zeros(sectors), np.zeros(sectors, np.int64)
    for r in range(bins):
        total, count = 0, 0
        for s in range(sectors):
            total += np.int64(signal[s, r])
            count += np.int64(pixels[s, r])
        means[r] = float(total) * unit / float(count) if count > 0 else 0.0
    for s in range(sectors):
        away = 0.0
        for r in range(bins):
            away += np.float64(signal[s, r]) * unit - means[r] * np.float64(pixels[s, r])
            some[s] += pixels[s, r]
        excess[s] = away / float(some[s]) if some[s] > 0 else 0.0
    return excess, some


@fast
def find(signal, pixels, unit, apart, min_pixels, angle, score):
    """Fill angle and score; the step of each angle."""
    step = np.empty(len(signal), np.int32)
    for f in range(len(signal)):
        angle[f], score[f], step[f] = _streak(signal[f], pixels[f], unit, apart, min_pixels)
    return step


def mark(marks, marked, x, y, direction, step, *rest):
    """status = marks, with STREAK where a frame has a step and the pixel lies within half_width of its line."""
    share(_tiles, len(step) * -(-len(x) // TILE), marks, marked, x, y, direction, step, *rest)


@fast
def _tiles(first, last, marks, marked, x, y, direction, step, half_width, reach, status):
    npix = len(x)
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        start, stop = tile * TILE, min(tile * TILE + TILE, npix)
        _tile(marks[f if marked else 0], marked, x, y, direction, step[f], half_width, reach, start, stop, status[f])


@fast
def _tile(marks, marked, x, y, direction, step, half_width, reach, start, stop, status):
    cosine, sine = direction[max(step, 0), 0], direction[max(step, 0), 1]
    for i in range(np.uint64(start), np.uint64(stop)):
        bits = marks[i] if marked else np.uint8(0)
        under = step >= 0 and abs(x[i] * sine - y[i] * cosine) <= half_width and x[i] * x[i] + y[i] * y[i] <= reach
        status[i] = bits | (STREAK if under else np.uint8(0))
