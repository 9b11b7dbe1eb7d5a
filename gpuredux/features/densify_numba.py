"""features.densify for the CPU: the background and its noise."""

import numpy as np
from numba import njit

from ..backends import share
from .sparsify_numba import between

LOW = np.uint64(0xFFFFFFFF)


@njit(inline="always")
def _philox(a, b, c, d, k, m):
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (right >> np.uint64(32)) ^ b ^ k, right & LOW, (left >> np.uint64(32)) ^ d ^ m, left & LOW
        k, m = (k + np.uint64(0x9E3779B9)) & LOW, (m + np.uint64(0xBB67AE85)) & LOW
    return a, b, c, d


@njit(inline="always")
def _normal(word, quantiles, cutoff):
    h, length = (word >> np.uint64(1)) | np.uint64(1), np.uint64(31)
    while h >> (length - np.uint64(1)) == 0:
        length -= np.uint64(1)
    part = ((h << (np.uint64(31) - length)) & np.uint64(0x3FFFFFFF)) >> np.uint64(7)
    z = between(quantiles, np.float32(np.uint64(32) * (np.uint64(32) - length)) - np.float32(part) * np.float32(2.0**-18))
    z = -z if word & np.uint64(1) else z
    return z if z < cutoff else cutoff


def background(*given_and_out):
    """Fill dense (n, npix) f32; NaN where it is not known."""
    n, npix = given_and_out[-1].shape
    strips = max(1, min(8, npix // 16384))
    share(_strips, n * strips, strips, *given_and_out)


@njit(cache=True, nogil=True, error_model="numpy")
def _strips(first, last, strips, position, mean, std, weight, weighted, quantiles, numbers, noisy, seed, seed_high, cutoff, least, most, dense):
    npix = len(position)
    blocks = -(-npix // 4)
    for task in range(first, last):
        f, strip = task // strips, task % strips
        number = np.uint64(numbers[f])
        for block in range(strip * blocks // strips, (strip + 1) * blocks // strips):
            a = b = c = d = np.uint64(0)
            if noisy:
                a, b, c, d = _philox(np.uint64(block), np.uint64(0), number & LOW, number >> np.uint64(32), np.uint64(seed), np.uint64(seed_high))
            for k in range(4):
                pixel = 4 * block + k
                if pixel >= npix:
                    break
                word = a if k == 0 else b if k == 1 else c if k == 2 else d
                dense[f, pixel] = _pixel(position, mean, std, weight, weighted, quantiles, noisy, word, cutoff, least, most, f, pixel)


@njit(inline="always")
def _pixel(position, mean, std, weight, weighted, quantiles, noisy, word, cutoff, least, most, f, pixel):
    at = position[pixel]
    if at < 0:
        return np.float32(np.nan)
    y = between(mean[f], at)
    if noisy:
        y = y + _normal(word, quantiles, cutoff) * between(std[f], at)
    if weighted:
        y = y * weight[pixel]
    return np.float32(np.nan) if y != y else least if y < least else most if y > most else y
