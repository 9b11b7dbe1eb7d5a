"""Sums over rings for the CPU: frames are read in order, and each value is added to its ring; or, in parts, ring by ring."""

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from .frames import read_only

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


def parts(frames, marks, marked, rings, weight, weighted, error_model, scale):
    """The sums by name, moments (n, 6, count) not yet carried; beyond (n,) bool. Frames of other words than u16 and f32 are copied, in 64 bits."""
    squared, moments = error_model != "none", error_model == "azimuthal"
    kept = frames if frames.dtype.name in ("uint16", "float32") else read_only(frames.astype(np.int64))
    share = np.zeros(1, np.uint16) if rings.share is None else rings.share
    total, beyond = _parts(kept, marks, marked, rings.order, rings.first, read_only(share), rings.share is not None, read_only(weight), weighted, squared,
                           moments, np.uint32(rings.square_shift), scale)
    named = {"sum_signal": total[:, 0], "sum_normalisation": total[:, 1], "pixels": total[:, 2].astype(np.int32)}
    if squared:
        named |= {"moments": total[:, 3:]} if moments else {"sum_variance": total[:, 3]}
    return named, beyond


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def _parts(frames, marks, marked, order, first, share, split, weight, weighted, squared, moments, shift, scale):
    """total (n, 3, 4 or 9, count): signal, norm, share; variance or moments. Strips of rings in parallel."""
    n, count = len(frames), len(first) - 1
    strips = max(1, min(16, count // 16))
    total = np.zeros((n, 9 if moments else 4 if squared else 3, count), np.int64)
    over = np.zeros((n, strips), np.bool_)
    for task in prange(n * strips):
        f, strip = np.int64(task // strips), np.int64(task % strips)
        for k in range(strip * count // strips, (strip + 1) * count // strips):
            over[f, strip] |= _ring(frames[f], marks[f if marked else 0], marked, order, share, split, weight, weighted, squared, moments, shift, scale,
                                    first[k], first[k + 1], total[f], k)
    beyond = np.zeros(n, np.bool_)
    for f in range(n):
        beyond[f] = over[f].any()
    return total, beyond


@fast
def _ring(v, marks, marked, order, share, split, weight, weighted, squared, moments, shift, scale, begin, end, total, k):
    """The sums of one ring, the first three and the variance in registers."""
    signal, norm, pixels, variance, beyond = np.int64(0), np.int64(0), np.int64(0), np.int64(0), False
    half = np.int64(1) << np.int64(shift) >> np.int64(1)
    for j in range(np.uint64(begin), np.uint64(end)):
        i = np.uint64(order[j])
        q, over, good = _in_steps(v[i], scale)
        if good and not (marked and marks[i] != 0):
            c, w = np.int64(share[j]) if split else np.int64(1), np.int64(weight[i]) if weighted else np.int64(1 << 24)
            signal += c * q
            norm += c * w
            pixels += c
            beyond |= over
            if squared:
                c2 = (c * c + half) >> np.int64(shift) if split else np.int64(1)
                if moments:
                    _add_moments(total, k, c2, q, w)
                else:
                    variance += c2 * q
    total[0, k], total[1, k], total[2, k] = signal, norm, pixels
    if squared and not moments:
        total[3, k] = variance
    return beyond


@fast
def _add_moments(total, k, c2, q, w):
    low, vv, vw, ww = np.int64(0xFFFFFFFF), np.uint64(q) * np.uint64(q), q * w, w * w
    total[3, k] += c2 * np.int64(vv & np.uint64(0xFFFFFFFF))
    total[4, k] += c2 * np.int64(vv >> np.uint64(32))
    total[5, k] += c2 * (vw & low)
    total[6, k] += c2 * (vw >> np.int64(32))
    total[7, k] += c2 * (ww & low)
    total[8, k] += c2 * (ww >> np.int64(32))
