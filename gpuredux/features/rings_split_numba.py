"""Which part of each pixel lies in which ring: areas of quadrilaterals below lines of a grid."""

import numpy as np
from numba import njit

fast = njit(cache=True, nogil=True, error_model="numpy")


def parts_of(radial, azimuth, used, bins, azimuth_bins, flat, period, whole):
    """pixel, ring, share of every part of a pixel, pixels in order. radial, azimuth (npix, 4): corners in units of bins, from the first one's beginning;
    flat: azimuth counts for areas, but cuts nothing; period: of azimuth; whole: steps of a whole pixel."""
    size = _room(radial, azimuth, used, bins, azimuth_bins, flat, period)
    pixel, ring, share = np.empty(size, np.uint32), np.empty(size, np.int64), np.empty(size, np.uint16)
    k = _fill(radial, azimuth, used, bins, azimuth_bins, flat, period, whole, pixel, ring, share)
    return pixel[:k].copy(), ring[:k].copy(), share[:k].copy()


@fast
def _span(x, shift, bins):
    """The first bin that four corners, moved by shift, reach, and the one behind the last."""
    low, high = min(min(x[0], x[1]), min(x[2], x[3])) + shift, max(max(x[0], x[1]), max(x[2], x[3])) + shift
    if not (low < bins and high >= 0):
        return 0, 0
    return int(max(0.0, np.floor(low))), int(min(float(bins), np.floor(high) + 1))


@fast
def _room(radial, azimuth, used, bins, azimuth_bins, flat, period):
    """How many parts there may be."""
    total = 0
    for i in range(len(used)):
        if used[i]:
            begin, end = _span(radial[i], 0.0, bins)
            for turn in range(-1, 2):
                if flat:
                    total += end - begin if turn == 0 else 0
                else:
                    up, down = _span(azimuth[i], turn * period, azimuth_bins)
                    total += (end - begin) * (down - up)
    return total


@fast
def _below_line(r0, a0, r1, a1, x, y):
    """The integral of min(azimuth, y) over radius along a side from (r0, a0) to (r1, a1), as far as radius <= x."""
    if r0 == r1 or (r0 >= x and r1 >= x):
        return 0.0
    if r0 > x:
        a0, r0 = a0 + (a1 - a0) * ((x - r0) / (r1 - r0)), x
    elif r1 > x:
        a1, r1 = a0 + (a1 - a0) * ((x - r0) / (r1 - r0)), x
    if a0 <= y and a1 <= y:
        return (a0 + a1) * 0.5 * (r1 - r0)
    if a0 >= y and a1 >= y:
        return y * (r1 - r0)
    at = r0 + (r1 - r0) * ((y - a0) / (a1 - a0))
    if a0 < y:
        return (a0 + y) * 0.5 * (at - r0) + y * (r1 - at)
    return y * (at - r0) + (y + a1) * 0.5 * (r1 - at)


@fast
def _below(r, a, x, y):
    """The area, with the sign of its sense, of the part of a quadrilateral where radius <= x and azimuth <= y."""
    area = 0.0
    for k in range(4):
        n = (k + 1) & 3
        area += _below_line(r[k], a[k], r[n], a[n], x, y)
    return area


@fast
def _fill(radial, azimuth, used, bins, azimuth_bins, flat, period, whole, pixel, ring, share):
    """Parts of steps > 0; shares are differences of rounded partial sums, so that a pixel's are whole together."""
    k, r, a = 0, np.empty(4), np.empty(4)
    for i in range(len(used)):
        if not used[i]:
            continue
        begin, end = _span(radial[i], 0.0, bins)
        for c in range(4):      # from the pixel's own corner: areas then lose nothing to a distant origin
            r[c], a[c] = radial[i, c] - begin, azimuth[i, c] - azimuth[i, 0]
        full, before, taken = _below(r, a, np.inf, np.inf), 0.0, 0
        for turn in range(-1, 2):
            origin = azimuth[i, 0] + turn * period
            up, down = (0, 1) if flat else _span(azimuth[i], turn * period, azimuth_bins)
            if flat and turn != 0:
                continue
            for row in range(up, down):
                top, bottom = (np.inf, -np.inf) if flat else (row + 1 - origin, row - origin)
                left = _column(r, a, 0.0, top, bottom)
                for col in range(begin, end):
                    right = _column(r, a, col + 1.0 - begin, top, bottom)
                    before += max(0.0, (right - left) / full) if full != 0 else _of_nothing(r, a, col - begin, top, bottom)
                    left = right
                    now = int(np.rint(min(before, 1.0) * whole))
                    if now > taken:
                        pixel[k], ring[k], share[k] = i, row * bins + col, now - taken
                        k, taken = k + 1, now
    return k


@fast
def _column(r, a, x, top, bottom):
    """The area with radius <= x between two azimuths."""
    return _below(r, a, x, top) - (_below(r, a, x, bottom) if bottom > -np.inf else 0.0)


@fast
def _of_nothing(r, a, col, top, bottom):
    """The share of a pixel without area: all of it where its first corner is."""
    return 1.0 if col <= r[0] < col + 1 and bottom <= a[0] < top else 0.0
