"""The rows of calib.photons for the CPU: all numbers as if they fitted their type, then those that do not."""

import numpy as np
from numba import njit

from ..backends import share

ROW = 4096      # pixels of one task


def photon_tiles(energy, *rest):
    """photons and, if asked for, their status, of (n, npix); return the OR of the data's status bits of each frame."""
    n, npix = energy.shape
    flags = np.zeros((n, -(-npix // ROW)), np.uint8)
    share(_rows, flags.size, flags, energy, *rest)
    return np.bitwise_or.reduce(flags & np.uint8(7), axis=1)


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(first, last, flags, energy, given, photons, made, inverse, offset, top, low, high, signed):
    npix, rows = energy.shape[1], flags.shape[1]
    for task in range(first, last):
        f, row = task // rows, task % rows
        a, b = np.uint64(row * ROW), np.uint64(min(row * ROW + ROW, npix))
        mark = None if given is None else given[f]
        flags[f, row] = _count(energy[f], mark, photons[f], None if made is None else made[f], inverse, offset, top, signed, a, b)
        if flags[f, row] & np.uint8(2):
            _saturate(energy[f], mark, photons[f], inverse, offset, top, low, high, signed, a, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _count(energy, given, photons, made, inverse, offset, top, signed, a, b):
    """photons[a:b], 0 where they saturate, and their status; its OR. No branch in the loop: it vectorises."""
    bottom, below, odd = -top if signed else np.float32(0), np.uint8(2) if signed else np.uint8(0), np.uint8(0)
    for j in range(a, b):
        x = energy[j]
        q = np.floor(x * inverse + offset)
        bits = np.uint8(2) if q >= top else below if q <= bottom else np.uint8(0)
        bits = bits if x > np.float32(-np.inf) else np.uint8(8)
        if given is not None:
            bits = bits if given[j] == 0 else given[j]
        photons[j] = q if bits == 0 and q > bottom else np.float32(0)
        odd |= bits
        if made is not None:
            made[j] = bits
    return odd


@njit(cache=True, nogil=True, error_model="numpy")
def _saturate(energy, given, photons, inverse, offset, top, low, high, signed, a, b):
    """The numbers that stand for too many or too few, in photons[a:b]."""
    for j in range(a, b):
        q = np.floor(energy[j] * inverse + offset)
        mark = np.uint8(0)
        if given is not None:
            mark = given[j]
        if mark == 2 or (mark == 0 and q >= top):
            photons[j] = high
        elif mark == 0 and signed and q <= -top and energy[j] > np.float32(-np.inf):
            photons[j] = low
