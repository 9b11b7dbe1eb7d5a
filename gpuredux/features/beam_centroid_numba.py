"""features.beam_centroid for the CPU: whole-number sums of parts of the box."""

import numpy as np
from numba import njit

from ..backends import share
from .azimuthal_integrate_numba import _in_steps

fast = njit(cache=True, nogil=True, error_model="numpy")


def sum_parts(*given_and_out):
    """Fill sums (n, parts, 4) u64: pixels, sum, sum * row, sum * col; beyond (n, parts)."""
    share(_parts, given_and_out[-1].size, *given_and_out)


@fast
def _parts(first, last, frames, marks, marked, good, masked, box, cols, limit, scale, part, sums, beyond):
    parts = sums.shape[1]
    for task in range(first, last):
        f, k = task // parts, task % parts
        beyond[f, k] = _part(frames[f], marks[f if marked else 0], marked, good, masked, box, cols, limit, scale, k * part, part, sums[f, k])


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
        some, here, beside, over = _row(v, marks, marked, good, masked, (top + row) * cols + left, first, last, left, limit, scale)
        pixels, total, down, across, beyond = pixels + some, total + here, down + here * np.uint64(top + row), across + beside, beyond | over
        row += 1
    sums[0], sums[1], sums[2], sums[3] = pixels, total, down, across
    return beyond


@fast
def _row(v, marks, marked, good, masked, base, first, last, left, limit, scale):
    """pixels, sum, sum * col of a part of a row; whether one was beyond. No branch: the loop becomes vectors."""
    some, here, beside, beyond = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    for j in range(np.uint64(first), np.uint64(last)):
        i = np.uint64(base) + j
        q, over, number = _in_steps(v[i], scale)
        use = np.uint64((v[i] > limit) & number)
        if marked:
            use &= np.uint64(marks[i] == 0)
        if masked:
            use &= np.uint64(good[i] != 0)
        q = np.uint64(q) * use
        some += use
        here += q
        beside += q * (np.uint64(left) + j)
        beyond |= np.uint64(over) & use
    return some, here, beside, beyond != 0
