"""features.beam_centre for the CPU: grey frames, and whole-number sums over pairs of pixels."""

import math

import numpy as np
from numba import njit

from ..backends import share

NONE = np.uint8(255)
TILE = 1 << 15
fast = njit(cache=True, nogil=True, error_model="numpy")


def to_grey(frames, *rest):
    """grey = floor(sqrt(v * scale)), at most 254; 255 where a pixel is not good."""
    share(_tiles, len(frames) * -(-frames.shape[1] // TILE), frames, *rest)


@fast
def _tiles(first, last, frames, marks, marked, good, masked, scale, grey):
    npix = frames.shape[1]
    tiles = (npix + TILE - 1) // TILE
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        _tile(frames[f], marks[f if marked else 0], marked, good, masked, scale, tile * TILE, min(tile * TILE + TILE, npix), grey[f])


@fast
def _tile(v, marks, marked, good, masked, scale, start, stop, grey):
    for i in range(np.uint64(start), np.uint64(stop)):
        x = np.float32(v[i])
        use = np.isfinite(x) and not (marked and marks[i] != 0) and not (masked and good[i] == 0)
        white = math.sqrt(np.float64(x) * scale) if use and x > 0 else 0.0
        grey[i] = np.uint8(min(white, 254.0)) if use else NONE


def halve(fine, coarse):
    """coarse = mean of 2 x 2 of fine, halves up, 255 where less than 2 are good."""
    share(_halve_rows, len(fine) * coarse.shape[1], fine, coarse)


@fast
def _halve_rows(first, last, fine, coarse):
    rows = coarse.shape[1]
    for task in range(first, last):
        f, row = task // rows, task % rows
        _halve_row(fine[f], coarse[f], row)


@fast
def _halve_row(fine, coarse, row):
    top, low = fine[2 * row], fine[min(2 * row + 1, fine.shape[0] - 1)]
    two = np.int32(2 * row + 1 < fine.shape[0])
    whole = fine.shape[1] // 2
    for col in range(whole):
        coarse[row, col] = _mean(top[2 * col], top[2 * col + 1], low[2 * col], low[2 * col + 1], np.int32(1), two)
    if whole < coarse.shape[1]:
        coarse[row, whole] = _mean(top[2 * whole], NONE, low[2 * whole], NONE, np.int32(0), two)


@njit(cache=True, nogil=True, inline="always")
def _mean(a, b, c, d, wide, two):
    """Of four, the two right ones and the two lower ones if they are there; no division but by constants: the loop becomes vectors."""
    p, q, r, s = np.int32(a != NONE), np.int32(b != NONE) * wide, np.int32(c != NONE) * two, np.int32(d != NONE) * wide * two
    count, total = p + q + r + s, 2 * (p * a + q * b + r * c + s * d)
    mean = (total + 4) >> 3 if count == 4 else (total + 3) // 6 if count == 3 else (total + 2) >> 2
    return np.uint8(mean) if count >= 2 else NONE


def pair_sums(grey, places, steps, least, most, sums):
    """Fill sums (n, points, 4): see pair_sums of beam_centre.py."""
    share(_points, sums.shape[0] * sums.shape[1], grey, places, steps, least, most, sums)


@fast
def _points(first, last, grey, places, steps, least, most, sums):
    points, side = sums.shape[1], 2 * steps + 1
    for task in range(first, last):
        f, k = task // points, task % points
        _point(grey[f], places[f, 0] + k // side - steps, places[f, 1] + k % side - steps, least, most, sums[f, k])


@fast
def _point(grey, row, col, least, most, sums):
    """Each pair from its upper pixel; all sums are then doubled, for it counts from both sides."""
    rows, cols = grey.shape
    left, right = max(0, col - cols + 1), min(cols - 1, col)
    count, once, square, product = 0, 0, 0, 0
    for i in range(max(0, row - rows + 1), min(rows - 1, row // 2) + 1):
        down = (2 * i - row) * (2 * i - row)
        if down <= most:
            reach = np.int64(math.sqrt(np.float64(most - down))) + 1        # at least as far as the circle is wide here
            first, last = max(left, (col - reach) // 2), min(right, (col + reach) // 2)
            last = last if 2 * i < row else min(last, (col - 1) // 2)       # in the row of the centre: the left half
            a, b, s, p = _row(grey[i], grey[row - i], first, last, col, least - down, most - down)
            count, once, square, product = count + a, once + b, square + s, product + p
    sums[0], sums[1], sums[2], sums[3] = 2 * count, once, square, 2 * product


@fast
def _row(upper, lower, first, last, col, least, most):
    """pairs, sum of a + b, of a^2 + b^2, of a b. No branch: the loop becomes vectors."""
    count, once, square, product = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for j in range(first, last + 1):
        a, b, away = np.int64(upper[j]), np.int64(lower[col - j]), (2 * j - col) * (2 * j - col)
        use = np.int64((a != 255) & (b != 255) & (away >= least) & (away <= most))
        a, b = a * use, b * use
        count += use
        once += a + b
        square += a * a + b * b
        product += a * b
    return count, once, square, product
