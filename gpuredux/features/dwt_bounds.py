"""How far rounding carries a wavelet transform: first-order bounds from the norms of the filters, level by level."""

from __future__ import annotations

from functools import cache

import numpy as np

from .wavelets import Wavelet, wavelet

TABLES = 1e-11      # what the digits of the published filters leave of a perfect reconstruction


def _iterated(low: tuple[float, ...], last: tuple[float, ...], levels: int) -> np.ndarray:
    """The filter that goes from the signal to a sub-band of this level: `low` at every level but the last, each at twice the step of the one before."""
    out = np.array([1.0])
    for level in range(levels):
        taps = np.array(last if level == levels - 1 else low)
        spread = np.zeros((len(taps) - 1) * 2**level + 1)
        spread[:: 2**level] = taps
        out = np.convolve(out, spread)
    return out


def _largest_sum(taps: np.ndarray, step: int) -> float:
    """The most that coefficients of magnitude 1 give to one sample."""
    return max(float(np.abs(taps[phase::step]).sum()) for phase in range(min(step, len(taps))))


@cache
def norms(name: str, levels: int) -> tuple[list[float], list[float], list[float]]:
    """For level 0, 1 ...: what a signal of magnitude 1 can become in the approximation, in any sub-band; what an error 1 in all of its sub-bands gives."""
    w: Wavelet = wavelet(name)
    low, band, back = [1.0], [1.0], [1.0]
    for level in range(1, levels + 1):
        low.append(float(np.abs(_iterated(w.dec_lo, w.dec_lo, level)).sum()))
        band.append(max(low[-1], float(np.abs(_iterated(w.dec_lo, w.dec_hi, level)).sum())))
        back.append(sum(_largest_sum(_iterated(w.rec_lo, last, level), 2**level) for last in (w.rec_lo, w.rec_hi)))
    return low, band, back


def growth(mode: str, length: int) -> float:
    """The largest sample of an extended signal over the largest of the signal."""
    return 3.0 + 2.0 * length if mode in ("smooth", "antireflect") else 1.0


def coefficient_bound(name: str, mode: str, levels: int, axes: int, unit: float) -> float:
    """The largest error of a coefficient over the largest |sample|; unit: half the distance of floats at 1."""
    low, band, _ = norms(name, levels)
    length = wavelet(name).length
    step, grown = axes * (length + 4) * unit, growth(mode, length) ** axes
    each = [sum(step * (low[m - 1] * band[1] * band[level - m]) ** axes for m in range(1, level + 1)) * grown**level for level in range(1, levels + 1)]
    return 1.02 * max(each)


def round_trip_bound(name: str, mode: str, levels: int, axes: int, unit: float) -> float:
    """The largest error of a sample behind transform and inverse over the largest |sample|."""
    low, band, back = norms(name, levels)
    length = wavelet(name).length
    step, grown = axes * (length + 4) * unit, growth(mode, length) ** axes
    total = 0.0
    for m in range(1, levels + 1):
        size = (low[m - 1] * band[1]) ** axes * grown**m
        total += step * size * (back[m] ** axes + (back[1] * back[m - 1]) ** axes)
        total += TABLES * size * back[m] ** axes
    return 1.02 * total
