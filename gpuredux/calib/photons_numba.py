"""The rows of calib.photons for the CPU: all numbers as if they fitted their type, then those that do not."""

import numpy as np
from numba import njit, prange

ROW = 4096      # pixels of one task


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def photon_tiles(energy, given, photons, made, inverse, offset, top, low, high, signed):
    """photons and, if asked for, their status, of (n, npix); return the OR of the data's status bits of each frame."""
    n, npix = energy.shape
    rows = (npix + ROW - 1) // ROW
    flags = np.zeros((n, rows), np.uint8)
    for task in prange(n * rows):
        f, row = task // rows, task % rows
        a, b = np.uint64(row * ROW), np.uint64(min(row * ROW + ROW, npix))
        mark = None if given is None else given[f]
        flags[f, row] = _count(energy[f], mark, photons[f], None if made is None else made[f], inverse, offset, top, signed, a, b)
        if flags[f, row] & np.uint8(2):
            _saturate(energy[f], mark, photons[f], inverse, offset, top, low, high, signed, a, b)
    total = np.zeros(n, np.uint32)
    for row in range(rows):
        total |= flags[:, row] & np.uint8(7)
    return total


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
