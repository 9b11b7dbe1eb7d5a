"""Bragg peaks by psana's droplet finder: a maximum above one threshold, what is connected to it above a lower one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from .frames import word
from .psana_peaks import PsanaPeaks, unbeaten


@dataclass(frozen=True, eq=False)
class PeakFinderV4r3(PsanaPeaks):
    """maxima v >= thr_high of the square of 2 rank + 1 pixels, with the 4-connected pixels v >= thr_low of that square, above the mean of a ring around.

    fields: thr_low, thr_high [unit of energy]: the rings' pixels are those of -thr_high <= v < thr_high; the rest as PeakFinderV3r3 has it
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         live (1,) i32
    out: peak_panel to peak_count: names, dtypes and meaning are those of PeakFinderV3r3
    exact: bit-identical on every backend: sums are taken in raster order in f64. No order of pixels matters but that of equal ones, the last of which in
           raster order is the maximum (as psana has it of two), where psana takes a maximum that lies beside a larger pixel if that came before it and is
           itself no maximum, and where its floods take in pixels below -thr_low
    source: peakFinderV4r3 of LCLS's psana (psalgos)
    """

    name: ClassVar[str] = "features.peak_finder_v4r3"

    thr_low: float
    thr_high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_reals("thr_low", "thr_high")
        if not (self.thr_high > 0 and self.thr_low <= self.thr_high):
            raise ValueError(f"{self.name}: thresholds must be thr_low <= thr_high, thr_high above 0, got {self.thr_low} and {self.thr_high}")

    def look(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high = np.float32(self.thr_low), np.float32(self.thr_high)
        return unbeaten(v, self.rank, self.rank, ties=True) & (v >= high), (v >= -high) & (v < high), v >= low

    def capacity(self, rows: int, cols: int) -> int:
        return math.ceil(rows / (self.rank + 1)) * math.ceil(cols / (self.rank + 1))    # they are more than rank apart

    def least(self, mean: float, rms: float) -> np.float32:
        return np.float32(self.thr_low)

    def numbers(self) -> tuple[bool, float, float, float]:
        return False, 0.0, float(self.thr_low), float(self.thr_high)

    def mark(self, plan: Plan, energy: Any, pixel_status: Any, alive: Any, live: Any, bits: tuple[Any, ...]) -> None:
        (n, *_, rows, cols), good = energy.shape, plan.constants.get("good")
        marks, mask = (alive if a is None else a for a in (pixel_status, good))
        size = map(np.uint32, (n, math.prod(energy.shape[1:]), bits[0].shape[1], rows, cols))
        plan.launch("features/peak_finder_v4r3.cl", "seeds", (-(-bits[0].shape[1] // 32), n), 128,
                    (energy, marks, mask, alive, *bits, np.float32(self.thr_low), np.float32(self.thr_high), *size, np.int32(self.rank)),
                    WORD=word(energy), MARKED=pixel_status is not None, GOOD=good is not None, LIVE=live is not None)
