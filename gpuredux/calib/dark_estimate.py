"""Pedestal and noise from exact sums: plain, and of a Gaussian of which a gate shows a part. All from integers, so equal sums give equal bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..backends import share

NORMAL = 1.4826     # sigma of a Gaussian by its MAD
STEPS = 300         # most iterations of a pixel; 10 for a gate of 3 sigma
WIDEST = 1.0        # sigma by the width of the gate: beyond, the gate shows too little of a Gaussian to tell its sigma


class Moments(NamedTuple):
    """(...) f64 [ADU]: mean and standard deviation (n - 1), NaN where there are too few words."""

    mean: np.ndarray
    rms: np.ndarray


class Gaussian(NamedTuple):
    """(...) f64 [ADU], of which a gate shows `inside` (0 to 1); found: whether there is such a Gaussian. Elsewhere the gated moments as they are."""

    mean: np.ndarray
    sigma: np.ndarray
    inside: np.ndarray
    found: np.ndarray


def moments(count: np.ndarray, total: np.ndarray, total2: np.ndarray) -> Moments:
    """mean and rms from sums of adc and adc**2. Exact in u64 modulo 2**64 about the nearest integer, so that nothing cancels in floats."""
    n = np.maximum(count, 1).astype(np.uint64)
    centre = (total + n // np.uint64(2)) // n
    first = (total - n * centre).view(np.int64).astype(np.float64)                                   # |first| <= n / 2
    second = (total2 - np.uint64(2) * centre * total + n * centre * centre).astype(np.float64)       # sum (adc - centre)**2
    with np.errstate(divide="ignore", invalid="ignore"):
        k = count.astype(np.float64)
        mean = np.where(count > 0, centre.astype(np.float64) + first / k, np.nan)
        variance = (second - first * first / k) / (k - 1)
    return Moments(mean, np.where(count > 1, np.sqrt(np.maximum(variance, 0)), np.nan))


def untruncated(gated: Moments, low: np.ndarray, high: np.ndarray) -> Gaussian:
    """The Gaussian whose rounded values, from low to high alone, have this mean and rms.

    Rounding to integers: the moments are those of the Gaussian between low - 1/2 and high + 1/2, plus 1/12 in the variance and the terms of both
    ends (Euler and Maclaurin). Fixed-point iteration from the gated moments.
    source: Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1 (1994) 13.10; Sheppard's corrections"""
    shape = gated.mean.shape
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (gated.mean, gated.rms, low.astype(np.float64), high.astype(np.float64))]
    mean, sigma, inside, found = (np.empty(flat[0].size, t) for t in (np.float64, np.float64, np.float64, np.bool_))
    share(_solve, mean.size, *flat, mean, sigma, inside, found)
    return Gaussian(*(a.reshape(shape) for a in (mean, sigma, inside, found)))


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(first, last, m, s, low, high, mean, sigma, inside, found):
    for i in range(first, last):
        mean[i], sigma[i], inside[i], found[i] = _one(m[i], s[i], low[i] - 0.5, high[i] + 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def _one(m, s, a, b):
    """mean, sigma, share inside, whether it converged, of one pixel."""
    if not (s > 0.0) or b - a < 3.0:
        return m, s, np.nan, False
    mu, sig = m, s
    for _ in range(STEPS):
        share, mean, variance = _truncated(mu, sig, a, b)
        if not (share > 1e-6 and variance > 0.0 and sig < WIDEST * (b - a)):
            return m, s, np.nan, False
        step, ratio = m - mean, s / math.sqrt(variance)
        mu += step
        sig *= ratio
        if abs(step) < 1e-9 * (b - a) and abs(ratio - 1.0) < 1e-10:
            return mu, sig, share, True
    return m, s, np.nan, False


@njit(cache=True, nogil=True, error_model="numpy")
def _truncated(mu, sig, a, b):
    """Share inside, mean and variance of a rounded Gaussian between a and b."""
    x, y = (a - mu) / sig, (b - mu) / sig
    p, q = math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi), math.exp(-0.5 * y * y) / math.sqrt(2.0 * math.pi)
    share = 0.5 * (math.erf(y / math.sqrt(2.0)) - math.erf(x / math.sqrt(2.0)))
    ends = (x * p - y * q) / share
    mean = mu + sig * (p - q) / share + (p - q) / (12.0 * sig * share)
    about = sig * sig * (1.0 + ends) + (1.0 + 2.0 * ends) / 12.0
    return share, mean, about - (mean - mu) ** 2


class Shape(NamedTuple):
    """Of a sample, (*frame) f64: the share of its words at the upper and the lower end of the adc, saturated ones too; m4 / m2**2 of those within
    median +- 3 MAD: 2.2 for a Gaussian, towards 1 for two levels; NaN for fewer than 4 words."""

    saturated: np.ndarray
    cold: np.ndarray
    kurtosis: np.ndarray


def shape_of(sample: np.ndarray, adc: np.ndarray, top: int, median: np.ndarray, mad: np.ndarray) -> Shape:
    """adc (65536,) i32: of each word; -1 where it is no measurement of the stage, -2 where the word says saturated. top: the largest adc."""
    npix = median.size
    out = np.empty((3, npix))
    share(_shape, -(-npix // 512), sample.reshape(len(sample), npix), adc, top, median.reshape(npix), 3 * mad.reshape(npix), out)
    return Shape(*out.reshape(3, *median.shape))


@njit(cache=True, nogil=True, error_model="numpy")
def _shape(first, last, sample, adc, top, median, reach, out):
    n, npix = sample.shape
    for tile in range(first, last):
        for i in range(512 * tile, min(512 * tile + 512, npix)):
            centre = math.floor(median[i])
            ends, cold, k = 0, 0, 0
            s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0     # of integers: exact, in whatever order, for a MAD below 1000 ADU
            for f in range(n):
                x = adc[sample[f, i]]
                ends += x >= top - 1 or x == -2
                cold += 0 <= x <= 1
                if x >= 0 and abs(x - median[i]) <= reach[i]:
                    d = x - centre
                    k, s1, s2, s3, s4 = k + 1, s1 + d, s2 + d * d, s3 + d * d * d, s4 + d * d * d * d
            m = s1 / max(k, 1)
            m2, m4 = s2 / max(k, 1) - m * m, (s4 - 4.0 * m * s3 + 6.0 * m * m * s2) / max(k, 1) - 3.0 * m**4
            out[0, i], out[1, i] = ends / max(n, 1), cold / max(n, 1)
            out[2, i] = m4 / (m2 * m2) if k > 3 and m2 > 0.0 else np.nan
