"""features.beam_centroid for the CPU: whole-number sums of parts of the box."""

import numpy as np
from numba import njit, prange

from .azimuthal_integrate_numba import _in_steps

fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def sum_parts(frames, marks, marked, good, masked, box, cols, limit, scale, part, sums, beyond):
    """Fill sums (n, parts, 4) u64: pixels, sum, sum * row, sum * col; beyond (n, parts)."""
    n, parts = sums.shape[0], sums.shape[1]
    for task in prange(n * parts):
        f, k = np.int64(task // parts), np.int64(task % parts)
        beyond[f, k] = _part(frames[f], marks[f if marked else np.int64(0)], marked, good, masked, box, cols, limit, scale, k * part, part, sums[f, k])


@fast
def _part(v, marks, marked, good, masked, box, cols, limit, scale, start, part, sums):
    """Of pixels start to start + part of the box; whether one was beyond the range."""
    top, bottom, left, right = box
    wide = right - left
    end = min(start + part, (bottom - top) * wide)
    pixels, total, down, across, beyond = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0), False
    row = start // wide
    while row * wide < end:
        first, last = max(start - row * wide, 0), min(end - row * wide, wide)
        here, some = np.uint64(0), np.uint64(0)
        base = (top + row) * cols + left
        for j in range(first, last):
            i = base + j
            if v[i] > limit and not (marked and marks[i] != 0) and not (masked and good[i] == 0):
                q, over, number = _in_steps(v[i], scale)
                if number:
                    beyond |= over
                    some += np.uint64(1)
                    here += np.uint64(q)
                    across += np.uint64(q) * np.uint64(left + j)
        pixels, total, down = pixels + some, total + here, down + here * np.uint64(top + row)
        row += 1
    sums[0], sums[1], sums[2], sums[3] = pixels, total, down, across
    return beyond
