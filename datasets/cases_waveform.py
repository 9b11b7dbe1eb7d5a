"""Inputs of the ops of waveforms: pulses at the ends, one on another, plateaus, nothing but noise, NaN and Inf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import features
from gpuredux.op import Op

from .case import Case, live_of, seeded

# channels, samples, dtype, n, live
GIVEN: tuple[tuple[int, int, str, int, int | None], ...] = (
    (3, 400, "float32", 6, None), (2, 257, "uint16", 5, 4), (1, 128, "int16", 4, None), (5, 33, "uint16", 3, None), (1, 4229, "float32", 3, None),
    (2, 64, "uint16", 0, None), (2, 64, "uint16", 5, 0), (2, 95, "uint16", 5, 9), (2, 64, "uint16", 5, -3), (1, 9000, "int16", 2, None),
)


def traces_of(rng: np.random.Generator, channels: int, samples: int, dtype: str, n: int) -> np.ndarray:
    """Pulses of both signs on noise, ends of the dtype, plateaus; a trace of one value, and of floats one of NaN, one of Inf."""
    t = np.arange(samples)
    x = rng.normal(0, 2, (n, channels, samples))
    for trace in x.reshape(-1, samples):
        for at in (*rng.uniform(-5, samples + 5, 1 + samples // 60), 0, samples - 1):
            width = rng.uniform(1, 6)
            trace += rng.choice([-300, 80, 300, 900]) * np.exp(-((t - at) ** 2) / (2 * width**2))
    x = np.clip(x, -32768, 700) + (2000 if dtype == "uint16" else 0)
    x = x.astype(np.float32) if dtype == "float32" else np.rint(x).astype(dtype)
    flat = x.reshape(-1, samples)
    if len(flat) > 2:
        flat[0], flat[1, ::7], flat[2, ::3] = 100, flat[1, :1], flat[2, : -(-samples // 3)]
    if dtype != "float32":
        ends = np.iinfo(dtype)
        flat[-1:, ::13], flat[-1:, 5::13] = ends.max, ends.min
    elif len(flat) > 4:
        spot = rng.random(flat.shape) < 0.02
        flat[spot] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3e38, -3e38], np.float32), int(spot.sum()))
        flat[3], flat[4, ::2] = np.nan, np.inf
    return x


def baseline_op(rng: np.random.Generator, samples: int, dtype: str) -> Op:
    start, stop = (0, samples) if samples in (33, 4229) else (samples // 5, samples // 5 + min(samples // 2, 171))
    return features.Baseline(start, stop, "mean" if samples in (400, 128) else "median")


def zero_suppress_op(rng: np.random.Generator, samples: int, dtype: str) -> Op:
    polarity = -1 if samples in (128, 33) else 1
    threshold = 60.0 + polarity * (2000 if dtype == "uint16" else 0)
    before, after = ((4, 9), (0, 0), (40, 0), (0, 33), (300, 500))[samples % 5]
    return features.ZeroSuppress(threshold, before, after, cap=3 if samples % 2 else 40, polarity=polarity)


def constant_fraction_op(rng: np.random.Generator, samples: int, dtype: str) -> Op:
    level = 2000 if dtype == "uint16" else 0        # a trace whose baseline was left on: c is around (1 - fraction) * level
    polarity = -1 if samples in (128, 33) else 1
    before, after = ((None, None), (0, 0), (200, 5), (1, 4000))[samples % 4]
    return features.ConstantFraction(0.375, (7, 1, 40, 300)[samples % 4], polarity * level + 20.0, polarity * level * 0.625 + (2.5 if samples % 2 else 0),
                                     before, after, cap=2 if samples % 2 else 40, polarity=polarity)


def edge_op(rng: np.random.Generator, samples: int, dtype: str) -> Op:
    polarity = -1 if samples in (128, 33) else 1
    if samples % 3 == 0:
        return features.Edge.step(min(10, samples // 2), polarity=polarity)
    taps = samples if samples == 95 else 1 if samples == 64 else min(31, samples)
    return features.Edge(rng.normal(0, 1, taps).astype(np.float32), polarity=polarity)


MAKERS: dict[str, Callable[[np.random.Generator, int, str], Op]] = {
    "features.baseline": baseline_op, "features.zero_suppress": zero_suppress_op, "features.constant_fraction": constant_fraction_op, "features.edge": edge_op,
}


def cases_of(name: str) -> Iterator[Case]:
    for channels, samples, dtype, n, rows in GIVEN:
        rng = seeded(f"{name} {channels} {samples} {dtype}")
        op = MAKERS[name](rng, samples, dtype)
        yield Case(f"{channels}-{samples}-{dtype}-{n}-live{rows}", op, {"trace": traces_of(rng, channels, samples, dtype, n), **live_of(rows)})


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    """As many bytes as frames of this shape, in traces of 8192 samples or fewer."""
    rng = seeded(f"sized {name}")
    samples = min(8192, int(np.prod(shape)))
    channels = max(1, int(np.prod(shape)) // samples)
    few = traces_of(rng, 16, samples, "uint16", 1)
    return Case(f"{channels} traces of {samples}", SIZED[name], {"trace": np.resize(few, (n, channels, samples))})


SIZED: dict[str, Any] = {"features.baseline": features.Baseline(0, 1000), "features.zero_suppress": features.ZeroSuppress(2060.0, 8, 24),
                          "features.constant_fraction": features.ConstantFraction(0.5, 4, 2060.0, 1020.0), "features.edge": features.Edge.step(32)}
