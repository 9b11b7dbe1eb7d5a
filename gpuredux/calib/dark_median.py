"""Exact median and median deviation of a sample of dark frames, pixel by pixel: where a robust gate is put."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector, detector
from ..op import Op, Plan, Spec, frame_grid, live_rows
from .dark_median_numba import medians
from .dark_sums import words_alone

NONE = 1 << 20      # stands for a word that is no measurement of the stage; behind every adc and deviation


@dataclass(frozen=True, eq=False)
class DarkMedian(Op):
    """2 median(adc) and 4 median(|adc - median|) over the frames of a sample, of the words of one gain stage.

    fields: plane: the gain stage that is expected; words of other stages and error codes do not count
    in:  raw (n, *frame) u16 [ADU]: some hundred frames; live (1,) i32
    out: median2 (*frame) u32 [ADU / 2]: the two middle values added (an odd number: the middle one twice); 0 without a word
         mad4 (*frame) u32 [ADU / 4]: the two middle values of |2 adc - median2| added; 0 without a word
         count (*frame) u32: the words of the stage
    exact: integers
    source: Rousseeuw & Croux, J. Am. Stat. Assoc. 88 (1993) 1273: sigma = 1.4826 MAD for a Gaussian
    """

    name: ClassVar[str] = "calib.dark_median"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "live?")
    writes: ClassVar[tuple[str, ...]] = ("median2", "mad4", "count")

    detector: str | Detector = "jungfrau"
    plane: int = 0

    def __post_init__(self) -> None:
        kind = words_alone(self.name, self.detector)
        object.__setattr__(self, "detector", kind)
        if self.number("plane", whole=True) not in kind.planes or self.plane < 0:
            stages = ", ".join(map(str, sorted({p for p in kind.planes if p >= 0})))
            raise ValueError(f"{self.name}: plane must be one of {kind.name}'s gain stages, {stages}, got {self.plane}")

    @property
    def kind(self) -> Detector:
        return detector(self.detector)

    def outputs(self, raw: Any, live: Any) -> tuple[Spec, ...]:
        n, *frame = self.require("raw", raw, np.uint16, ("n", *getattr(raw, "shape", (0, "pixels"))[1:])).shape
        if not frame or n > 65535:
            raise ValueError(f"{self.name}: raw must be uint16 (n, *frame) of at most 65535 frames, got {raw.dtype} {raw.shape}")
        self.require_live(live)
        return tuple(Spec(k, tuple(frame), np.dtype(np.uint32)) for k in self.writes)

    def numpy(self, plan: Plan, raw: Any, live: Any, median2: Any, mad4: Any, count: Any) -> None:
        adc, plane, status = self.kind.decode(raw[: live_rows(raw, live)])
        mine = (status == 0) & (plane == self.plane)
        count[...] = mine.sum(axis=0)
        median2[...] = middle_two(np.where(mine, adc.astype(np.int64), np.int64(NONE)), count)
        deviation = np.abs(2 * adc.astype(np.int64) - median2)
        mad4[...] = middle_two(np.where(mine, deviation, np.int64(NONE)), count)

    def numba(self, plan: Plan, raw: Any, live: Any, median2: Any, mad4: Any, count: Any) -> None:
        n, npix = live_rows(raw, live), int(np.prod(raw.shape[1:]))
        adc, plane, status = self.kind.decode(np.arange(65536, dtype=np.uint16))
        table = np.where((status == 0) & (plane == self.plane), adc.astype(np.uint32), np.uint32(NONE))
        medians(raw.reshape(len(raw), npix)[:n], table, *(a.reshape(npix) for a in (median2, mad4, count)))

    def device(self, plan: Plan, raw: Any, live: Any, median2: Any, mad4: Any, count: Any) -> None:
        n, npix = raw.shape[0], int(np.prod(raw.shape[1:]))
        defines: dict[str, Any] = {k: v for k, v in self.kind.defines().items() if k != "GAIN_BITS"}
        defines |= {"PLANE": f"{self.plane}u", "ADC_SHIFT": f"{self.kind.adc_shift}u", "NONE": f"{NONE}u"}
        plan.launch(
            "calib/dark_median.cl", "dark_median", (frame_grid(n, npix, 1)[0],), 128,
            (raw if n else median2, count if live is None else live, median2, mad4, count, np.uint32(n), np.uint32(npix)),
            LIVE=live is not None, VECTOR=1, **defines,
        )


def middle_two(x: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The sum of the two middle values of the first `count` in order, of each pixel; 0 where there is none."""
    if not len(x):
        return np.zeros(count.shape, np.int64)
    ordered, n = np.sort(x, axis=0), count.astype(np.int64)
    lower, upper = (np.take_along_axis(ordered, np.clip(k, 0, len(x) - 1)[None], axis=0)[0] for k in ((n - 1) // 2, n // 2))
    return np.where(count > 0, lower + upper, 0)
