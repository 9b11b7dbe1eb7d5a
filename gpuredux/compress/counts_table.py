"""Bins of whole values, one wide below a limit and steps of the total sigma above it, and the look-up table by which a kernel finds a value's bin."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Bins(NamedTuple):
    """start (codes + 1,) i64: code c holds the whole values from start[c] to start[c + 1] - 1."""

    start: np.ndarray

    @property
    def meant(self) -> np.ndarray:
        """(codes,) f64: what a code is decoded to, the mean of its values where all of these are as likely, corrected for bins that grow.

        A bin of w values has u = (w^2 - 1) / 12 of variance; where the density of counts falls, its mean is too large by -p' w u, and summed over bins,
        by parts, that is p at each edge times the step of u there: a bias of step^2 gain / 12 wherever bins grow. Each edge's part is taken off the bins at
        both of its sides alike; a bin of one value stays exact, and bins that the range cuts off are left alone."""
        width = np.diff(self.start).astype(np.float64)
        middle = 0.5 * (self.start[:-1] + self.start[1:] - 1)
        jump, single = np.diff((width * width - 1.0) / 12.0), width == 1
        jump[-1:], jump[:1] = 0.0, np.where(self.start[0] < 0, 0.0, jump[:1])
        weight = np.where(single, 0.0, width)
        both = np.maximum(weight[:-1] + weight[1:], 1.0)
        left, right = weight[:-1] / both, weight[1:] / both
        off = np.zeros(len(width))
        off[:-1] += left * jump
        off[1:] += right * jump
        found: np.ndarray = middle - off / width
        return found


class Lookup(NamedTuple):
    """Of v = value - start[0]: granule g(v) = v below 2**bits, above it v's bits from the highest on. first[g] is the code of the granule's first value; a
    granule is within two codes at most, so that comparing v with the start of the next one settles it."""

    bits: int
    first: np.ndarray


def square_root_bins(step: float, exact_below: int, gain: float, read_noise: float, smallest: int, largest: int) -> Bins:
    """Every whole value from smallest to largest. |value| < exact_below: a bin each. Above: bins as wide as step * sigma, that is, evenly spaced
    in (2 / gain) sqrt(gain v + read_noise^2); below: of step * read_noise. With exact_below = 0 one bin reaches half
    a step to both sides of 0.

    exact: float64 square roots and products, rounded alike on every platform; a bin narrower than a whole value is one value."""
    offset = read_noise * read_noise
    edge = exact_below - 0.5 if exact_below else 0.0
    t = (2.0 / gain) * math.sqrt(gain * edge + offset)
    up, i = [max(edge, 0.5)], 0.0 if exact_below else -0.5     # the bin around 0 ends half a step above it
    while up[-1] <= largest:
        i += 1.0
        root = 0.5 * gain * (t + i * step)
        up.append((root * root - offset) / gain)
    up = up if exact_below else up[1:]
    wide, half = max(step * read_noise, 1.0), edge if exact_below else 0.5 * max(step * read_noise, 1.0)
    below = -half - wide * np.arange(max(0, math.ceil((-smallest - half) / wide)) + 1, dtype=np.float64)
    inside = np.arange(1 - exact_below, exact_below) if exact_below else np.empty(0)
    starts = np.unique(np.ceil(np.concatenate([below, inside, np.array(up)])).astype(np.int64))
    starts = starts[(starts > smallest) & (starts <= largest)]
    return Bins(np.concatenate([[smallest], starts, [largest + 1]]))


def granule_of(v: np.ndarray, bits: int) -> np.ndarray:
    """g(v) of whole values, 0 <= v < 2**31."""
    octave = np.maximum(np.frexp(v.astype(np.float64))[1].astype(np.int64) - bits, 0)
    found: np.ndarray = (octave << (bits - 1)) + (v >> octave)
    return found


def lookup_of(bins: Bins) -> Lookup:
    """The smallest table by which comparing once is enough, and not at all below 4096."""
    start = bins.start - bins.start[0]
    for bits in range(12, 25):
        last = int(granule_of(start[-1:] - 1, bits)[0])
        octave = np.maximum((np.arange(last + 2) >> (bits - 1)) - 1, 0)
        values = (np.arange(last + 2) - (octave << (bits - 1))) << octave        # where each granule begins
        codes = np.searchsorted(start, np.minimum(values, start[-1] - 1), side="right") - 1
        ends = np.searchsorted(start, np.minimum(values[1:] - 1, start[-1] - 1), side="right") - 1
        if (ends - codes[:-1] <= 1).all():
            return Lookup(bits, codes[:-1].astype(np.uint16))
    raise ValueError(f"counts_table: {len(start) - 1} bins of {start[-1]} values have no look-up table of granules")
