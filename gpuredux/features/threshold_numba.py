"""Thresholds and the k largest coefficients for the CPU."""

import numpy as np
from numba import njit

from ..backends import share


@njit(nogil=True, error_model="numpy")
def spared(at, rows, cols, spare_rows, spare_cols):
    return at % cols < spare_cols and at // cols % rows < spare_rows


def keep_above(x, *rest):
    share(_above, len(x), x, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _above(first, last, x, out, kept, value, soft, rows, cols, spare_rows, spare_cols):
    zero, nan = type(value)(0), type(value)(np.nan)
    for f in range(first, last):
        count = 0
        for r in range(x.shape[1] // cols):
            for c in range(cols):
                at = r * cols + c
                v = x[f, at]
                y = v
                if v != v:
                    y = nan
                elif soft:
                    y = v - value if v > value else v + value if v < -value else zero
                elif abs(v) < value:
                    y = zero
                if c < spare_cols and r % rows < spare_rows:
                    y = v if v == v else nan
                elif y != 0:
                    count += 1
                out[f, at] = y
        kept[f] = count


def keep_largest(x, *rest):
    share(_largest, len(x), x, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _largest(first, last, x, out, kept, keep, rows, cols, spare_rows, spare_cols):
    """x, out: the bits of coefficients. Digit by digit of 8 bits the k-th magnitude, then all above it, and of it the first ones."""
    word = x.dtype.type
    width = 8 * x.itemsize
    signless = word(2 ** (width - 1) - 1)
    infinite = word(0x7F800000 if width == 32 else 0x7FF0000000000000)
    nan = word(0x7FC00000 if width == 32 else 0x7FF8000000000000)
    free = x.shape[1] // (rows * cols) * (rows * cols - spare_rows * spare_cols)
    for f in range(first, last):
        known, left = np.uint64(0), min(keep, free)
        for shift in range(width - 8, -1, -8):
            counts = np.zeros(256, np.int64)
            for at in range(x.shape[1]):
                w = x[f, at] & signless
                w = nan if w > infinite else w
                if (shift + 8 == width or np.uint64(w) >> np.uint64(shift + 8) == known) and not spared(at, rows, cols, spare_rows, spare_cols):
                    counts[(np.uint64(w) >> np.uint64(shift)) & np.uint64(255)] += 1
            digit = 255
            while digit > 0 and counts[digit] < left:
                left -= counts[digit]
                digit -= 1
            known = (known << np.uint64(8)) | np.uint64(digit)
        count = 0
        for at in range(x.shape[1]):
            w = x[f, at] & signless
            y = nan if w > infinite else x[f, at]
            w = nan if w > infinite else w
            if not spared(at, rows, cols, spare_rows, spare_cols):
                if np.uint64(w) == known:
                    if left <= 0:
                        y = word(0)
                    left -= 1
                elif np.uint64(w) < known:
                    y = word(0)
                if (y & signless) != 0:
                    count += 1
            out[f, at] = y
        kept[f] = count
