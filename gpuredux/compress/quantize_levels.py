"""The levels of a point-wise relative bound: evenly spaced logarithms, made of a parabola for each octave, so that every platform agrees on them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .dequantize import CODES, UNITS, level_values, round_down

STEEPEST = 0.7089       # at most d ln(m) / dg of m = 1 + g (11 + 5 g) / 16: 0.70888 at g = 0.31
MARGIN = 2.0**-23       # of the bound, for the rounding of a level to float32
FIRST, LAST = -149, 128     # octaves of float32


class Levels(NamedTuple):
    """Level k = 0 ... most - 1 is 2**t in octaves t = (origin + k * units) / 2**23, as dequantize.level_values makes it; its codes are k + 1 and -(k + 1).

    two levels beside each other are never further apart than (1 + rel) / (1 - rel), so that every value between them is within rel of one."""

    origin: int
    units: int
    most: int


def levels(rel: float, code: str, smallest: float | None) -> Levels:
    """The widest levels for a bound, from `smallest` on; from None on: from the smallest float32 on where the codes reach that far, else about 1."""
    r = round_down(rel, 24) - MARGIN
    units = int((2.0 * r + 2.0 / 3.0 * (r * r * r)) * UNITS / STEEPEST)      # not more than ln((1 + r) / (1 - r)), by multiplications alone
    room = CODES[code].highest_magnitude
    if smallest is not None:
        mantissa, exponent = math.frexp(round_down(smallest, 24))
        origin = math.floor((exponent - 1 + parabola(2.0 * mantissa - 1.0)) * UNITS)
    elif (LAST - FIRST) * UNITS // units < room:
        origin = FIRST * UNITS
    else:
        origin = -(room * units // 2 // UNITS) * UNITS
    return Levels(origin, units, min(room, (LAST * UNITS - origin) // units + 1))


def parabola(f: float) -> float:
    """g of 1 + f = 1 + g (11 + 5 g) / 16."""
    return (math.sqrt(121.0 + 320.0 * f) - 11.0) * 0.1


def nearest_level(size: np.ndarray, spacing: Levels, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """k of positive finite float32, or -1 where no level is within the bound, and the larger relative error of the decodes to float32 and float64.

    why the check is exact: a level has 52 bits and lies within a factor 2 of the value, so their difference is not rounded (Sterbenz);
    bound * size has 48 bits"""
    x = size.astype(np.float64)
    mantissa, exponent = np.frexp(x)
    t = (exponent - 1) + (np.sqrt(121.0 + 320.0 * (2.0 * mantissa - 1.0)) - 11.0) * 0.1
    k = np.clip(np.rint((t - spacing.origin / UNITS) * (UNITS / spacing.units)), 0, spacing.most - 1)
    error = _error(x, k, spacing)
    k = np.where(error <= bound * x, k, k + np.where(x > level_values(k, spacing.origin, spacing.units), 1.0, -1.0))
    error = _error(x, k, spacing)
    fits = (error <= bound * x) & (k >= 0) & (k < spacing.most)
    return np.where(fits, k, -1.0), np.where(fits, error / x, 0.0)


def _error(x: np.ndarray, k: np.ndarray, spacing: Levels) -> np.ndarray:
    y = level_values(k, spacing.origin, spacing.units)
    larger: np.ndarray = np.maximum(np.abs(x - y), np.abs(x - y.astype(np.float32)))
    return larger
