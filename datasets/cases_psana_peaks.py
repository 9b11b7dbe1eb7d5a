"""Inputs of features.peak_finder_v3r3 and _v4r3: equal pixels side by side and apart, plateaus larger than the square, maxima on borders and corners of
panels smaller than it, all that can be wrong with a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, live_of, seeded
from .cases_peaks import bragg

FINDERS: dict[str, Callable[..., Any]] = {
    "features.peak_finder_v3r3": features.PeakFinderV3r3, "features.peak_finder_v4r3": partial(features.PeakFinderV4r3, thr_low=22.0, thr_high=35.0),
}


def finder(name: str, **fields: object) -> Any:
    """The finder with cuts that leave some maxima, unless told otherwise; what only the other one knows is left out."""
    given = {"rank": 3, "r0": 4.0, "dr": 2.0, "npix_max": 40, "son_min": 1.0, "max_peaks": 24, **fields}
    other = ("thr_low", "thr_high") if name.endswith("v3r3") else ("nsigm",)
    return FINDERS[name](**{k: v for k, v in given.items() if k not in other})


def plain(name: str, kind: str, frames: np.ndarray, **fields: object) -> Case:
    return Case(kind, finder(name, **fields), {"energy": frames})


def marked(name: str, kind: str, frames: np.ndarray, rows: int, good: np.ndarray | None = None, **fields: object) -> Case:
    """With all that may be left out: pixels by good and by pixel_status, rows by live."""
    rng = seeded(f"psana marked {kind}")
    good = rng.random(frames.shape[1:]) > 0.03 if good is None else good
    status = rng.choice(np.array([0] * 30 + [1, 2, 128], np.uint8), frames.shape)
    return Case(kind, finder(name, good=good, **fields), {"energy": frames, "pixel_status": status, **live_of(rows)})


def plateaus(shape: tuple[int, ...]) -> np.ndarray:
    """uint16 of few values, all of one value, and saturated blocks: as wide as a square and wider, on a corner, with a brighter pixel in one."""
    rng = seeded("plateaus")
    frames = np.stack([rng.integers(0, 3, shape), np.zeros(shape, int), np.full(shape, 40), rng.poisson(20, shape), 30 + 10 * rng.integers(0, 2, shape)])
    rows, cols = shape
    for r, c, size in ((0, 0, 4), (5, 9, 7), (15, 20, 12), (rows - 3, cols - 3, 3), (3, 30, 1), (3, 31, 1), (6, 33, 1), (6, 35, 1)):
        frames[3, r : r + size, c : c + size] = 65535
    frames[2, 9, 11] = 41
    return frames.astype(np.uint16)


def cases(name: str) -> Iterator[Case]:
    rng = seeded(f"psana {name}")
    yield plain(name, "plateaus", plateaus((31, 44)), son_min=0.0, max_peaks=64)
    yield plain(name, "plateaus, largest square", plateaus((31, 44)), rank=7, r0=0.0, dr=9.5, npix_max=300, npix_min=2)
    yield plain(name, "more than fit", bragg(rng, 2, (64, 80), "uint16", 20.0, 60), max_peaks=3, rank=1, r0=2.5, son_min=0.0)
    yield plain(name, "one pixel", np.full((2, 1, 1), 50, np.uint16), son_min=0.0)
    yield plain(name, "one row", bragg(rng, 2, (1, 70), "uint16", 20.0, 6), npix_min=1, atot_thr=20.0, nsigm=1.0)
    yield plain(name, "none", np.zeros((0, 19, 37), np.uint16))
    yield marked(name, "panels", bragg(rng, 5, (2, 19, 37), "float32", 20.0, 14), 4, nsigm=2.0, amax_thr=5.0, thr_low=5.0, thr_high=12.0)
    yield marked(name, "small panels", bragg(rng, 2, (3, 5, 9), "float32", 20.0, 8), 9, rank=7, r0=1.0, dr=1.0, son_min=0.0, thr_low=-3.0, thr_high=1.0)
    yield marked(name, "nothing good", bragg(rng, 2, (19, 37), "float32", 20.0, 8), 2, np.zeros((19, 37), bool), amax_thr=-1e9, atot_thr=-1e9)
    yield marked(name, "dead", bragg(rng, 2, (19, 37), "float32", 20.0, 8), 0)
    yield plain(name, "larger", bragg(rng, 2, (131, 257), "uint16", 20.0, 60), nsigm=3.0, max_peaks=300, rank=4, npix_min=2, son_min=4.0)


def sized(name: str, shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    rng = seeded("sized psana")
    frames = rng.poisson(20.0, (n, *shape)).astype(np.uint16)
    flat = frames.reshape(n, -1)
    for f in range(n):
        at = rng.integers(0, flat.shape[1] - 2, flat.shape[1] // 20000 + 1)
        flat[f, at], flat[f, at + 1] = 900, 500
    op = finder(name, amax_thr=80.0, atot_thr=120.0, son_min=7.0, nsigm=7.0, npix_min=2, npix_max=30, max_peaks=2048, thr_low=60.0, thr_high=100.0)
    return Case("50 peaks a megapixel", op, {"energy": frames})


CASES = {name: partial(cases, name) for name in FINDERS}
SIZED = {name: partial(sized, name) for name in FINDERS}
