"""Bragg peaks by psana's adaptive finder: local maxima, and what is connected to them above their own background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from .frames import word
from .psana_peaks import PsanaPeaks, maxima


@dataclass(frozen=True, eq=False)
class PeakFinderV3r3(PsanaPeaks):
    """maxima of the square of 2 rank + 1 pixels, with the 4-connected pixels v >= mean + nsigm rms of the ring around, of that square.

    The ring leaves out pixels that are maxima or minima within rank of their row, or of their column.
    fields: rank: 1 to 7; r0, dr: the ring's inner radius and its width [pixel], ends included, r0 + dr up to 64; nsigm
            npix_min, npix_max, amax_thr, atot_thr, son_min: the least and most of a peak's columns pixels, max, total and snr; max_peaks: rows of the table;
            good (*frame) bool, None = all. Names and defaults are psana's
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         live (1,) i32
    out: peak_panel i32 (psana's seg), peak_row, peak_col f32 (row_cgrav, col_cgrav: weighted by v - background; 0 = centre of the first pixel of the panel),
         peak_pixels i32 (npix), peak_total, peak_max (amp_tot, amp_max), peak_background, peak_sigma (bkgd, noise: mean and rms of the ring) f32,
         peak_snr f32 (son: total / (sigma sqrt(pixels)), 0 for sigma = 0), peak_seed_row, peak_seed_col i32 (row, col: the maximum), peak_row_sigma,
         peak_col_sigma f32, peak_row_min, peak_row_max, peak_col_min, peak_col_max i32 (ends included), each (n, max_peaks), 0 behind the last peak:
         in raster order of their maxima; peak_count (n,) i32, more than max_peaks where peaks were left out
    exact: bit-identical on every backend: sums are taken in raster order in f64. No order of pixels matters but that of equal ones, the last of which in
           raster order is the maximum or minimum (as psana has it of two side by side; of others it depends on where its scan jumped to)
    source: peakFinderV3r3 of LCLS's psana (psalgos)
    """

    name: ClassVar[str] = "features.peak_finder_v3r3"

    nsigm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_reals("nsigm")

    def look(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        extreme = np.zeros(v.shape, bool)
        for x in (v, -v):
            extreme |= maxima(x, self.rank, lambda dr, dc: dr == 0) | maxima(x, self.rank, lambda dr, dc: dc == 0)
        used = np.isfinite(v)
        return maxima(v, self.rank, lambda dr, dc: True), used & ~extreme, used

    def least(self, mean: float, rms: float) -> np.float32:
        with np.errstate(over="ignore"):
            return np.float32(mean + float(self.nsigm) * rms)

    def numbers(self) -> tuple[bool, float, float, float]:
        return True, float(self.nsigm), 0.0, 0.0

    def mark(self, plan: Plan, energy: Any, pixel_status: Any, alive: Any, live: Any, bits: tuple[Any, ...]) -> None:
        (n, *panels, rows, cols), good = energy.shape, plan.constants.get("good")
        marks, mask = (alive if a is None else a for a in (pixel_status, good))
        size = map(np.uint32, (n, math.prod(energy.shape[1:]), bits[0].shape[1], rows, cols))
        tiles = math.prod(panels) * -(-rows // 32) * -(-cols // 32)
        plan.launch("features/peak_finder_v3r3.cl", "extrema", (tiles, n), 128, (energy, marks, mask, alive, *bits, *size, np.uint32(self.rank)),
                    WORD=word(energy), MARKED=pixel_status is not None, GOOD=good is not None, LIVE=live is not None)
