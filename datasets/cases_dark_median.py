"""Inputs of calib.dark_median: samples of odd and even size, ties, pixels without a word, every gain value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpuredux.calib import DarkMedian
from gpuredux.detectors import DETECTORS, Detector

from .case import Case, live_of, seeded
from .cases_dark_sums import FIVE, dark_words


def median_case(name: str, kind: Detector, frame: tuple[int, ...], n: int, rows: int | None, plane: int = 0) -> Case:
    rng = seeded(f"dark_median {name}")
    raw = dark_words(rng, kind, plane, n, frame).reshape(n, int(np.prod(frame)))
    stage = kind.planes.index(plane) << kind.gain_shift
    if n:
        raw[:, 0] = stage | 7 << kind.adc_shift & kind.adc_mask                             # all equal
        raw[:, raw.shape[1] // 2] = stage | np.resize([0, kind.adc_mask], n)                # two values, the ends of the range
        raw[:, -1] = 0xFFFF if kind.codes else np.arange(n)                                 # no word at all, or a ramp
    return Case(name, DarkMedian(kind, plane), {"raw": raw.reshape(n, *frame), **live_of(rows)})


def dark_median() -> Iterator[Case]:
    jungfrau, epix100 = DETECTORS["jungfrau"], DETECTORS["epix100"]
    for kind, plane, frame, n, rows in ((jungfrau, 0, (37, 53), 33, None), (jungfrau, 2, (4, 130), 64, None), (epix100, 0, (2, 3, 8), 100, None),
                                        (FIVE, 0, (24, 17), 21, 20), (jungfrau, 0, (3, 5), 257, None)):
        yield median_case(f"{kind.name}-{plane}-{frame}-{n}-live{rows}", kind, frame, n, rows, plane)
    for n, rows in ((1, None), (2, None), (3, None), (4, None), (0, None)):
        yield median_case(f"rows-{n}-live{rows}", jungfrau, (1, 1), n, rows)
        yield median_case(f"rows9-{n}-live{rows}", jungfrau, (9, 7), n, rows)
    for n, rows in ((5, 0), (5, 2), (5, 9), (5, -3), (37, 17)):
        yield median_case(f"rows-{n}-live{rows}", FIVE, (8, 9), n, rows)


def sized_dark_median(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    words = np.rint(seeded("dark_median").normal(3000, 20, 1 << 20)).astype(np.uint16)
    raw = np.stack([np.resize(np.roll(words, 9973 * f), int(np.prod(shape))) for f in range(n)])
    return Case("a sample of darks", DarkMedian("jungfrau"), {"raw": raw.reshape(n, *shape)})
