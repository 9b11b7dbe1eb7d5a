"""Sums over rings for the CPU: frames are read in order, and each value is added to its ring."""

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

LARGEST = np.float32(2147483520.0)
STRIP = 1 << 18     # pixels of a frame that one task takes, at least


def _in_steps(x, scale):
    """(q i64, whether it was beyond the range, whether x is a number): x in units."""


@overload(_in_steps, jit_options={"error_model": "numpy"})
def _in_steps_of(x, scale):
    if isinstance(x, types.Integer):
        return lambda x, scale: (np.int64(x), False, True)

    def of_float(x, scale):
        steps = np.rint(x * scale)
        if abs(steps) <= LARGEST:
            return np.int64(steps), False, True
        if np.isfinite(x):
            return np.int64(LARGEST) if x > 0 else -np.int64(LARGEST), True, True
        return np.int64(0), False, False

    return of_float


fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def sums(frames, marks, marked, label, weight, weighted, totals, scale):
    """signal, weight (n, count) i64, pixels (n, count) i32, beyond (n,) bool. weight: nobody looks unless weighted; totals: see the op."""
    n, npix, count = frames.shape[0], frames.shape[1], totals.shape[1]
    parts = max(1, min(npix // STRIP, 4 if n < 4 else 1))
    taken, gone = np.zeros((n, parts, 2 * (count + 1)), np.int64), np.zeros((n, parts, count + 1), np.int64)
    left_out = np.zeros((n, parts, count + 1), np.int32)
    over = np.zeros((n, parts), np.bool_)
    for task in prange(n * parts):
        f, part = task // parts, task % parts
        start, stop = part * npix // parts, (part + 1) * npix // parts
        over[f, part] = _strip(frames[f], marks[np.int64(f) if marked else np.int64(0)], marked, label, weight, weighted, start, stop, scale, taken[f, part],
                               left_out[f, part], gone[f, part])
    signal, norm = np.empty((n, count), np.int64), np.empty((n, count), np.int64)
    pixels, beyond = np.empty((n, count), np.int32), np.zeros(n, np.bool_)
    for f in range(n):
        for k in range(count):
            s, out, away = np.int64(0), np.int32(0), np.int64(0)
            for part in range(parts):
                s += taken[f, part, 2 * k] + taken[f, part, 2 * k + 1]
                out += left_out[f, part, k]
                away += gone[f, part, k]
            signal[f, k], pixels[f, k], norm[f, k] = s, totals[0, k] - out, totals[1, k] - away
        beyond[f] = over[f].any()
    return signal, norm, pixels, beyond


@fast
def _strip(v, marks, marked, label, weight, weighted, start, stop, scale, taken, left_out, gone):
    """Of pixels start to stop: sums of odd and even pixels apart (one that was just stored is not waited for); pixels left out and their weights."""
    count, beyond = np.uint64(len(left_out) - 1), False
    for i in range(np.uint64(start), np.uint64(stop)):
        r = np.uint64(label[i])
        q, over, good = _in_steps(v[i], scale)
        if good and not (marked and marks[i] != 0):
            beyond |= over and r < count
            taken[np.uint64(2) * r + (i & np.uint64(1))] += q
        else:
            left_out[r] += np.int32(1)
            gone[r] += np.int64(weight[i]) if weighted else np.int64(1 << 24)
    return beyond
