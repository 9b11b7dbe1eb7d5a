"""features.contrast for the CPU: a look at each pixel, in the frame's order."""

import numpy as np
from numba import njit

from ..backends import share

fast = njit(cache=True, nogil=True, error_model="numpy")


def count(frames, *rest):
    """Fill the outputs of all frames. label: the number of regions where a pixel is in none; first: of Rings."""
    share(_frames, len(frames), frames, *rest)


@fast
def _frames(begin, end, frames, marks, marked, label, first, pixels, total, total2, mean, contrast, pairs):
    for f in range(begin, end):
        _frame(frames[f], marks[f if marked else 0], marked, label, first, pixels[f], total[f], total2[f], mean[f], contrast[f], pairs[f])


@fast
def _frame(photons, marks, marked, label, first, pixels, total, total2, mean, contrast, pairs):
    regions, most = len(total), pixels.shape[1] - 1
    held, unused = np.zeros((regions + 1, most + 1), np.int32), np.zeros(regions + 1, np.int64)
    sums = np.zeros((regions + 1, 2), np.int64)
    for i in range(len(photons)):
        if marked and marks[i] != 0:
            unused[label[i]] += 1
        elif photons[i]:        # few pixels have any
            k, r = np.int64(photons[i]), np.int64(label[i])
            held[r, min(k, most)] += 1
            sums[r, 0] += k
            sums[r, 1] += k * k
    for r in range(regions):
        n = np.int64(first[r + 1]) - np.int64(first[r]) - unused[r]
        pixels[r, 0] = n
        for k in range(1, most + 1):
            pixels[r, k] = held[r, k]
            pixels[r, 0] -= held[r, k]
        total[r], total2[r] = sums[r, 0], sums[r, 1]
        mean[r], contrast[r], pairs[r] = _ratios(np.float64(n), np.float64(total[r]), np.float64(total2[r]), np.float64(held[r, 1]), np.float64(held[r, 2]))


@fast
def _ratios(n, total, total2, one, two):
    """As features.contrast.ratios."""
    mean = total / n if n else np.nan
    moments = (total2 / n - mean * mean - mean) / (mean * mean) if total else np.nan
    ratio = two / one if one else np.nan
    below = 1.0 - 2.0 * ratio
    return mean, moments, (2.0 * ratio / mean - 1.0) / below if one and below != 0 else np.nan
