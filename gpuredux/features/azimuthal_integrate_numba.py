"""Sums over rings for the CPU: frames are read in order, and each value is added to its ring, or its parts to their rings."""

import numpy as np
from numba import njit, types
from numba.extending import overload

from ..backends import share
from ..op import read_only

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


def sums(frames, marks, marked, label, weight, weighted, totals, scale):
    """signal, weight (n, count) i64, pixels (n, count) i32, beyond (n,) bool. weight: nobody looks unless weighted; totals: see the op."""
    (n, npix), count = frames.shape, totals.shape[1]
    strips = max(1, min(npix // STRIP, 4 if n < 4 else 1))
    taken, gone = np.zeros((n, strips, 2 * (count + 1)), np.int64), np.zeros((n, strips, count + 1), np.int64)
    left_out, over = np.zeros((n, strips, count + 1), np.int32), np.zeros((n, strips), bool)
    share(_sums, n * strips, frames, marks, marked, label, weight, weighted, scale, taken, left_out, gone, over)
    signal = taken.reshape(n, strips, count + 1, 2).sum((1, 3))[:, :count]
    return signal, totals[1] - gone.sum(1)[:, :count], (totals[0] - left_out.sum(1)[:, :count]).astype(np.int32), over.any(1)


@fast
def _sums(first, last, frames, marks, marked, label, weight, weighted, scale, taken, left_out, gone, over):
    """Strips of frames, each with sums of its own."""
    strips = over.shape[1]
    for task in range(first, last):
        f, strip = task // strips, task % strips
        start, stop = strip * len(label) // strips, (strip + 1) * len(label) // strips
        over[f, strip] = _strip(frames[f], marks[f if marked else 0], marked, label, weight, weighted, start, stop, scale, taken[f, strip],
                                left_out[f, strip], gone[f, strip])


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


def parts(frames, marks, marked, rings, weight, weighted, error_model, totals, scale):
    """The sums by name, moments (n, 6, count) not yet carried; beyond (n,) bool."""
    (n, npix), slots, moments = frames.shape, rings.count + 2, error_model == "azimuthal"
    strips = max(1, min(npix // STRIP, 4 if n < 4 else 1))
    taken, gone = np.zeros((2, n, strips, 2 * slots), np.int64)
    square = np.zeros((n, strips, (6 if moments else 1 if error_model == "poisson" else 0) * slots), np.int64)
    over = np.zeros((n, strips), bool)
    share(_parts, n * strips, frames, marks, marked, rings.by_pixel, read_only(weight), weighted, rings.whole > 1, moments, np.int64(rings.square_shift),
          scale, taken, gone, square, over)
    gone = gone.sum(1).reshape(n, slots, 2)[:, 1:-1]
    named = {"sum_signal": taken.reshape(n, strips, slots, 2).sum((1, 3))[:, 1:-1], "sum_normalisation": totals[1] - gone[..., 1],
             "pixels": (totals[0] - gone[..., 0]).astype(np.int32)}
    squares = square.sum(1).reshape(n, slots, square.shape[2] // slots)[:, 1:-1]
    named |= {"moments": np.moveaxis(squares, 2, 1)} if moments else {"sum_variance": squares[..., 0]} if squares.shape[2] else {}
    return named, over.any(1)


@fast
def _parts(first, last, frames, marks, marked, by_pixel, weight, weighted, split, moments, shift, scale, taken, gone, square, over):
    """by_pixel: see Shared. taken, gone (n, strips, 2 a slot), square (n, strips, 0, 1 or 6 a slot): zeros to which sums are added."""
    strips = over.shape[1]
    for task in range(first, last):
        f, strip = task // strips, task % strips
        over[f, strip] = _part(frames[f], marks[f if marked else 0], marked, by_pixel, weight, weighted, split, moments, shift, scale, strip, strips,
                               taken[f, strip], gone[f, strip], square[f, strip])


@fast
def _part(v, marks, marked, by_pixel, weight, weighted, split, moments, shift, scale, strip, strips, taken, gone, square):
    """One of so many strips of pixels, and of what pixels have beyond two neighbouring rings. Sums of odd and even pixels apart, as above."""
    slot, near, far, rest_pixel, rest_slot, rest_share = by_pixel
    beyond, squared, one, two = False, len(square) > 0, np.uint64(1), np.uint64(2)
    for i in range(np.uint64(strip * len(slot) // strips), np.uint64((strip + 1) * len(slot) // strips)):
        r, a, b = np.uint64(slot[i]), np.int64(near[i]), np.int64(far[i])
        q, over, good = _in_steps(v[i], scale)
        if good and not (marked and marks[i] != 0):
            beyond |= over and a > 0
            at = two * r + (i & one)
            taken[at] += a * q
            taken[at + two] += b * q
            if squared:
                w = np.int64(weight[i]) if weighted else np.int64(1 << 24)
                _add_square(square, r, a, q, w, split, moments, shift)
                _add_square(square, r + one, b, q, w, split, moments, shift)
        else:
            w = np.int64(weight[i]) if weighted else np.int64(1 << 24)
            gone[two * r] += a
            gone[two * r + one] += a * w
            gone[two * r + two] += b
            gone[two * r + two + one] += b * w
    for j in range(np.uint64(strip * len(rest_pixel) // strips), np.uint64((strip + 1) * len(rest_pixel) // strips)):
        i, r, a = np.uint64(rest_pixel[j]), np.uint64(rest_slot[j]), np.int64(rest_share[j])
        q, over, good = _in_steps(v[i], scale)
        w = np.int64(weight[i]) if weighted else np.int64(1 << 24)
        if good and not (marked and marks[i] != 0):
            taken[two * r + (j & one)] += a * q
            if squared:
                _add_square(square, r, a, q, w, split, moments, shift)
        else:
            gone[two * r] += a
            gone[two * r + one] += a * w
    return beyond


@fast
def _add_square(square, r, c, q, w, split, moments, shift):
    """c**2 v, or the halves of c**2 v**2, c**2 v w, c**2 w**2."""
    c2 = (c * c + ((np.int64(1) << shift) >> np.int64(1))) >> shift if split else c
    if not moments:
        square[r] += c2 * q
        return
    low, at, vv, vw, ww = np.int64(0xFFFFFFFF), np.uint64(6) * r, np.uint64(q) * np.uint64(q), q * w, w * w
    square[at] += c2 * np.int64(vv & np.uint64(0xFFFFFFFF))
    square[at + np.uint64(1)] += c2 * np.int64(vv >> np.uint64(32))
    square[at + np.uint64(2)] += c2 * (vw & low)
    square[at + np.uint64(3)] += c2 * (vw >> np.int64(32))
    square[at + np.uint64(4)] += c2 * (ww & low)
    square[at + np.uint64(5)] += c2 * (ww >> np.int64(32))
