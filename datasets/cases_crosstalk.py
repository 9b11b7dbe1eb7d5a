"""Nasty inputs of calib.stencil and calib.recursive: edges of asics, masked and NaN neighbours, one-pixel panels, more steps than a halo holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import calib

from .case import FRAMES, ROWS, Case, live_of, seeded, spots
from .cases_photons import STATUS


def crosstalk_energy(rng: np.random.Generator, n: int, frame: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """Noise and peaks up to full_scale 1e4 * scale; NaN (of the one form that ops write), Inf, zeros and subnormals here and there."""
    npix = int(np.prod(frame))
    energy = rng.normal(0, 3, (n, npix))
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-41, 1e4, -1e4, 1e4 / 3, 5000.5])
    for f in range(n):
        where = spots(rng, npix)
        energy[f, where] = rng.choice(odd[3:] if f % 3 == 0 else odd, where.size)
        if f % 5 == 4:
            energy[f] = rng.choice(odd, npix)
    return (energy * scale).astype(np.float32).reshape(n, *frame)


def crosstalk_case(name: str, op: Any, frame: tuple[int, ...], n: int, rows: int | None, status: bool) -> Case:
    rng = seeded(name)
    inputs = {"energy": crosstalk_energy(rng, n, frame, op.full_scale / 1e4), **live_of(rows)}
    if status:
        inputs["pixel_status"] = rng.choice(STATUS, (n, *frame))
        inputs["energy"][inputs["pixel_status"] == 255] = -np.nan      # never seen
    return Case(name, op, inputs)


def weights_of(name: str) -> np.ndarray:
    """Charge that leaks: to the nearest neighbours; to the next one in readout order alone; wide and of both signs; to nobody."""
    rng = seeded(name)
    w = np.zeros((1, 1)) if name == "alone" else np.zeros((3, 3)) if name in ("cross", "next") else np.zeros((5, 5)) if name == "wide" else np.zeros((7, 7))
    h = len(w) // 2
    if name == "cross":
        w[:] = [[0.003, 0.02, 0.003], [0.025, 0.91, 0.025], [0.003, 0.02, 0.003]]
    elif name == "next":
        w[1, 0], w[1, 1] = 0.45, 0.55
    else:
        w[:] = rng.normal(0, 0.012, w.shape)
        w[h, h] = -1.25 if name == "wide" else 1.0
    return w


def stencil() -> Iterator[Case]:
    for name, frame, n, rows, status, fields in (
        ("cross", FRAMES[0], 5, None, True, {}), ("cross", FRAMES[5], 2, 1, True, {}), ("cross", FRAMES[2], 6, 5, True, {}),
        ("cross", FRAMES[1], 6, None, False, {}),
        ("cross", (2, 40, 66), 3, None, True, {"asic": (20, 33)}), ("cross", (3, 8, 8), 5, 9, True, {"asic": (1, 2), "edge": "renormalise"}),
        ("next", (37, 53), 4, None, True, {}), ("next", (2, 64, 40), 3, 2, True, {"asic": (32, 40), "edge": "renormalise"}),
        ("wide", (37, 53), 4, None, True, {}), ("wide", (4, 6), 5, None, True, {"edge": "renormalise"}), ("seven", (35, 70), 3, None, True, {"asic": (35, 35)}),
        ("alone", (3, 5), 6, None, True, {}), ("cross", (24, 17), 6, None, True, {"full_scale": 1e37}),
    ):
        for solve in (False, True):
            op = calib.Stencil(weights_of(name), solve=solve, **fields)
            yield crosstalk_case(f"{'solve' if solve else 'sum'}-{name}-{frame}-{n}-live{rows}-{fields}", op, frame, n, rows, status)
    for n, rows in ROWS:
        yield crosstalk_case(f"rows-{n}-live{rows}", calib.Stencil(weights_of("cross"), solve=rows is not None), (3, 5), n, rows, rows is not None)


def sized_stencil(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """A crosstalk of 9 % taken out, which takes 8 steps."""
    rng = seeded("sized stencil")
    noise = rng.normal(0, 1, 1 << 18).astype(np.float32)
    energy = np.stack([np.resize(np.roll(noise, 977 * f), shape) for f in range(n)])
    return Case("9 % crosstalk taken out", calib.Stencil(weights_of("cross"), solve=True), {"energy": energy})


def recursive() -> Iterator[Case]:
    one, two, eight = [0.3], [-0.6, 0.2], [0.2, -0.1, 0.05, 0.0, 0.1, -0.2, 0.02, 0.03]
    for a, frame, n, rows, status, fields in (
        (one, FRAMES[0], 5, None, True, {}), (one, FRAMES[5], 4, None, True, {"reverse": True}), (one, FRAMES[2], 6, 5, True, {}),
        (two, FRAMES[7], 3, 2, True, {"asic": (131, 257)}), (two, (2, 40, 66), 5, 9, True, {"asic": (20, 33)}),
        (two, (24, 17), 6, None, True, {"full_scale": 1e37}),
        (eight, (3, 8, 8), 5, None, False, {"asic": (4, 2), "reverse": True}), (eight, (35, 70), 3, None, False, {"reverse": True}),
    ):
        for axis in ("rows", "cols"):
            for fir in (False, True):
                op = calib.Recursive(np.array(a), axis, fir=fir, **fields)
                yield crosstalk_case(f"{'fir' if fir else 'iir'}-{axis}-{len(a)}-{frame}-{n}-live{rows}-{fields}", op, frame, n, rows, status)
    for n, rows in ROWS:
        yield crosstalk_case(f"rows-{n}-live{rows}", calib.Recursive(np.array(two), "cols" if n % 2 else "rows"), (3, 5), n, rows, True)


def sized_recursive(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """Down the columns, or along the rows, which goes through shared memory."""
    energy = sized_stencil(shape, n, scattered).inputs["energy"]
    return Case("2 terms along the rows", calib.Recursive(np.array([0.2, 0.05]), "cols"), {"energy": energy})
