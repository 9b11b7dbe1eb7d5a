"""Inputs of calib.dark_sums: words of every kind, gates that bite at both ends, states that already hold much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux.calib import DarkSums
from gpuredux.detectors import DETECTORS, Detector
from gpuredux.status import Pixel

from .case import Case, live_of, seeded, spots

FIVE = Detector(
    "five planes in 16 codes, adc shifted by one", (8, 8), adc_mask=0x0FFE, gain_shift=12, planes=(0, 1, 2, 3, 4, -1, 0, 7, 5, -1, 6, 1, -1, 0, 2, -1),
    codes=((0xF000, Pixel.SATURATED), (0x0001, Pixel.MISSING), (0x6002, Pixel.MISSING)), adc_shift=1,
)


def dark_words(rng: np.random.Generator, kind: Detector, plane: int, n: int, frame: tuple[int, ...]) -> np.ndarray:
    """Frames mostly of the stage; words of every gain value, codes and their neighbours at the spots; one frame of anything, one all of the largest word."""
    npix, stage = int(np.prod(frame)), kind.planes.index(plane) << kind.gain_shift
    raw = (np.rint(rng.normal(3000, 20, (n, npix))).astype(np.uint16) & kind.adc_mask) | stage
    edges = [v << kind.gain_shift | adc for v in range(len(kind.planes)) for adc in (0, 1, kind.adc_mask)]
    edges += [code + d for code, _ in kind.codes for d in (-1, 0, 1) if 0 <= code + d <= 0xFFFF]
    for f in range(n):
        where = spots(rng, npix)[:: 1 + f % 3]
        raw[f, where] = rng.choice(np.array(edges, np.uint16), where.size)
        if f % 7 == 3:
            raw[f] = rng.integers(0, 0x10000, npix, dtype=np.uint16)
        if f % 7 == 5:
            raw[f] = stage | kind.adc_mask
    return raw.reshape(n, *frame)


def sums_case(name: str, kind: Detector, frame: tuple[int, ...], n: int, rows: int | None, plane: int = 0, gate: bool = False, cells: int = 0) -> Case:
    rng = seeded(f"dark_sums {name}")
    op = DarkSums(kind, plane, cells, gate)
    state = op.start(frame)
    full = 2**32 - 1 - n
    state["count"] = rng.choice(np.array([0, 1, 77, full], np.uint32), state["count"].shape)
    state["sum"] = rng.choice(np.array([0, 1, 2**32 - 1, 2**40, 2**63], np.uint64), state["sum"].shape)
    state["extreme"] = rng.choice(np.array([0, 2999, 3000, 65535], np.uint16), state["extreme"].shape)
    inputs: dict[str, np.ndarray] = {"raw": dark_words(rng, kind, plane, n, frame), **state, **live_of(rows)}
    if gate:
        low = rng.choice(np.array([0, 1, 2970, 3000, 65535], np.uint16), state["extreme"].shape[1:])
        inputs["gate"] = np.stack([low, rng.choice(np.array([0, 2969, 3000, 3030, kind.adc_mask >> kind.adc_shift, 65535], np.uint16), low.shape)])
    if cells:
        inputs["stray"] = np.array([5], np.uint32)
        inputs["cell"] = np.resize(np.array([0, cells - 1, cells - 1, cells, 1, 0, 65535, 0], np.uint16), n)
    return Case(name, op, inputs)


def dark_sums() -> Iterator[Case]:
    jungfrau, epix100 = DETECTORS["jungfrau"], DETECTORS["epix100"]
    kinds = ((jungfrau, 0, True), (jungfrau, 2, True), (epix100, 0, True), (FIVE, 0, False))
    frames: tuple[tuple[tuple[int, ...], int, int | None], ...] = (
        ((37, 53), 35, 20), ((1, 1), 18, 18), ((64, 300), 21, 20), ((2, 3, 8), 16, 15), ((4, 1024), 3, 3))
    for i, (frame, n, rows) in enumerate(frames):
        for kind, plane, gate in kinds[i % 2 :: 2] if i else kinds:
            yield sums_case(f"{kind.name}-{plane}-{frame}-{n}-live{rows}", kind, frame, n, rows, plane, gate)
    for n, rows in ((0, None), (1, None), (5, 0), (5, 9), (5, -3), (37, 17)):
        yield sums_case(f"rows-{n}-live{rows}", jungfrau, (8, 9), n, rows, gate=True)
    for cells, frame in ((3, (3, 5)), (3, (24, 17)), (3, (16, 40))):
        yield sums_case(f"cells{cells}-{frame}", jungfrau, frame, 37, 33, gate=True, cells=cells)
    yield sums_case("a batch of 300 saturated frames", epix100, (5, 13), 300, 299, gate=True)
    yield sums_case("one frame, plain", FIVE, (9, 64), 1, 1)
    for kind, gate in ((jungfrau, True), (jungfrau, False), (epix100, True)):
        case = sums_case(f"{kind.name}, every word of the stage, gate={gate}", kind, (3, 100), 29, None, gate=gate)     # 16 + 8 + 4 + 1 frames
        case.inputs["raw"] = seeded(case.name).choice(np.array([0, 1, 2999, 3000, kind.adc_mask - 1, kind.adc_mask], np.uint16), (29, 3, 100))
        yield case


def sized_dark_sums(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """A gate of three sigma; one pixel in 10,000 is hot, and always in another stage."""
    rng = seeded("dark_sums")
    op = DarkSums("jungfrau", gate=True)
    npix = int(np.prod(shape))
    words = np.rint(rng.normal(3000, 20, 1 << 22)).astype(np.uint16)
    hot = rng.integers(0, npix, npix // 10000)
    raw = np.empty((n, npix), np.uint16)
    for f in range(n):
        raw[f] = np.resize(np.roll(words, 9973 * f), npix)
        raw[f, hot] |= 0x4000
    gate: Any = np.stack([np.full(shape, 2940, np.uint16), np.full(shape, 3060, np.uint16)])
    return Case("darks, plain and gated sums", op, {"raw": raw.reshape(n, *shape), **op.start(shape), "gate": gate})
