"""features.sigma_clip for the CPU: a ring's values are gathered once, and summed in strides that are vectors."""

import math

import numpy as np
from numba import njit

from ..backends import share

LANES = 128
fast = njit(cache=True, nogil=True, error_model="numpy")


def clip(frames, marks, marked, order, first, *rest):
    """Fill curves (intensity, std, sem) and pixels."""
    share(_rings, len(frames) * (len(first) - 1), frames, marks, marked, order, first, *rest)


@fast
def _rings(begin, end, frames, marks, marked, order, first, weight, weighted, cutoff, rounds, poisson, curves, pixels):
    count, most = len(first) - 1, len(cutoff) - 1
    room = -(-max(most, 1) // LANES) * LANES
    x, w, use = np.zeros(room), np.ones(room), np.zeros(room)
    for task in range(begin, end):
        f, k = task // count, task % count
        _ring(frames[f], marks[f if marked else 0], marked, order[first[k] : first[k + 1]], weight, weighted, cutoff, rounds, poisson, x, w, use,
              curves, pixels, f, k)


@fast
def _ring(v, marks, marked, mine, weight, weighted, cutoff, rounds, poisson, x, w, use, curves, pixels, f, k):
    size = -(-len(mine) // LANES) * LANES
    for j in range(len(mine)):
        i = np.uint64(mine[j])
        value = np.float32(v[i])
        good = np.isfinite(value) and not (marked and marks[i] != 0)
        use[j], x[j] = 1.0 if good else 0.0, np.float64(value) if good else 0.0
        if weighted:
            w[j] = weight[i]
    x[len(mine) : size], w[len(mine) : size], use[len(mine) : size] = 0.0, 1.0, 0.0
    nan, left = np.float32(np.nan), 0
    for j in range(size):
        left += np.int64(use[j])
    for turn in range(rounds + 1):
        if left == 0:
            curves[0][f, k], curves[1][f, k], curves[2][f, k], pixels[f, k] = nan, nan, nan, 0
            return
        total, norm, squares = _sums(x, w, use, size)
        mean = total / norm
        variance = total if poisson else _spread(x, w, use, mean, size)
        curves[0][f, k], curves[1][f, k], curves[2][f, k], pixels[f, k] = mean, nan, nan, left
        if not variance >= 0:
            return
        std = math.sqrt(variance / squares)
        curves[1][f, k], curves[2][f, k] = std, math.sqrt(variance) / norm
        if turn == rounds:
            return
        stay = _leave_out(x, w, use, mean, cutoff[left] * std, size)
        if stay == left:
            return
        left = stay


@fast
def _halves(lanes):
    reach = np.uint64(LANES // 2)
    while reach:
        for j in range(reach):
            lanes[j] += lanes[j + reach]
        reach >>= np.uint64(1)
    return lanes[0]


@fast
def _sums(x, w, use, size):
    a, b, c = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for begin in range(np.uint64(0), np.uint64(size), np.uint64(LANES)):
        for j in range(np.uint64(LANES)):
            u = use[begin + j]
            a[j] += x[begin + j] if u > 0 else 0.0
            b[j] += w[begin + j] if u > 0 else 0.0
            c[j] += w[begin + j] * w[begin + j] if u > 0 else 0.0
    return _halves(a), _halves(b), _halves(c)


@fast
def _spread(x, w, use, mean, size):
    a = np.zeros(LANES)
    for begin in range(np.uint64(0), np.uint64(size), np.uint64(LANES)):
        for j in range(np.uint64(LANES)):
            away = x[begin + j] - mean * w[begin + j]
            a[j] += away * away if use[begin + j] > 0 else 0.0
    return _halves(a)


@fast
def _leave_out(x, w, use, mean, most, size):
    """use of what is too far from the mean becomes 0; how many are left."""
    left = 0.0
    for j in range(np.uint64(size)):
        far = abs(x[j] / w[j] - mean) > most
        use[j] = 0.0 if far else use[j]
        left += use[j]
    return np.int64(left)
