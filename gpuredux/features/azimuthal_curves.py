"""Exact sums over rings as whole numbers, and the curves that they make: sums of one frame, or added over many."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .rings import Rings
from .rings_split import SplitRings

STEP = 2.0**-24     # of a pixel's normalisation


def square_of(rings: Rings | SplitRings) -> float:
    """What a step of squares of shares is worth."""
    return 2.0 ** (rings.square_shift - 30)


def curves_of(sums: Mapping[str, np.ndarray], rings: Rings | SplitRings, error_model: str, unit: float) -> dict[str, np.ndarray]:
    """See AzimuthalIntegrate.curves. The kernel's order of operations, in f64, each rounded once."""
    flat = {k: np.asarray(v).reshape(-1, *(6,) * (k == "moments"), rings.count) for k, v in sums.items()}
    whole, square, nan = rings.whole, square_of(rings), np.float32(np.nan)
    s, w = flat["sum_signal"].astype(np.float64) * (unit / whole), flat["sum_normalisation"].astype(np.float64) * (STEP / whole)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = s / w
        made = {"intensity": mean}
        if error_model == "poisson":
            variance = flat["sum_variance"].astype(np.float64) * (unit * square) if whole > 1 else s
            made["sigma"] = np.where(variance >= 0, np.sqrt(variance) / w, nan)
        elif error_model == "azimuthal":
            scales = (unit * unit, unit * STEP, STEP * STEP)
            vv, vw, ww = (both_halves(flat["moments"][:, 2 * k], flat["moments"][:, 2 * k + 1]) * (x * square) for k, x in enumerate(scales))
            spread = vv - mean * (2.0 * vw - mean * ww)
            spread = np.where(ww > 0, np.where(spread > 0, spread, 0.0), nan)
            made |= {"sigma": np.sqrt(spread) / w, "std": np.sqrt(spread / ww)}
        return {k: np.where(w > 0, x.astype(np.float32), nan).reshape(np.shape(sums["sum_signal"])) for k, x in made.items()}


def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The low and the high 32 bits, i64; the sign goes with the high ones."""
    return (x & x.dtype.type(2**32 - 1)).astype(np.int64), (x >> x.dtype.type(32)).astype(np.int64)


def carried(sums: list[np.ndarray]) -> list[np.ndarray]:
    """Pairs of sums of low and high halves, i64, the low one below 2**32."""
    return [x for low, high in zip(sums[::2], sums[1::2], strict=True) for x in (low & (2**32 - 1), high + (low >> 32))]


def both_halves(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """f64: two sums as one number."""
    low, high = carried([low, high])
    return high.astype(np.float64) * 2.0**32 + low.astype(np.float64)
