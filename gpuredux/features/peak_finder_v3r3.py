"""Bragg peaks by psana's adaptive finder: local maxima, and what is connected to them above their own background."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec
from .frames import word
from .psana_peaks import PsanaPeaks, unbeaten


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
    exact: bit-identical on every backend: sums are taken in raster order in f64. Of equal pixels in a row or column that are the greatest (least) within rank,
           the first from its begin is the maximum (minimum), those within rank behind it are none; one that is followed by its equal is none either; of
           equal ones in other rows and columns each is one. So psana has it, but that pixels left out, which have no part in it here, can there forbid a
           maximum just before them
    source: peakFinderV3r3 of LCLS's psana (psalgos)
    """

    name: ClassVar[str] = "features.peak_finder_v3r3"

    nsigm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_reals("nsigm")

    def look(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        used, rank = np.isfinite(v), self.rank
        in_row, in_col, low_in_row, low_in_col = (along(line, x, rank) for x in (v, -v) for line in (rows_of, cols_of))
        return in_row & in_col & unbeaten(v, rank, rank), used & ~(in_row | in_col | low_in_row | low_in_col), used

    def capacity(self, rows: int, cols: int) -> int:
        across, down = math.ceil(cols / (self.rank + 1)), math.ceil(rows / (self.rank + 1))
        return min(rows * across, cols * down)      # they are more than rank apart in a row, and in a column

    def least(self, mean: float, rms: float) -> np.float32:
        with np.errstate(over="ignore"):
            return np.float32(mean + float(self.nsigm) * rms)

    def numbers(self) -> tuple[bool, float, float, float]:
        return True, float(self.nsigm), 0.0, 0.0

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        """And the bits of maxima and minima of rows, of maxima and minima of columns."""
        n, *panels, rows, cols = energy.shape
        words = math.prod(panels) * rows * -(-cols // 32)
        return (*super().scratch(energy, *x), Spec("lines", (n, 4 * words), np.dtype(np.uint32)))

    def mark(self, plan: Plan, energy: Any, pixel_status: Any, alive: Any, live: Any, bits: tuple[Any, ...]) -> None:
        (n, *panels, rows, cols), good, lines = energy.shape, plan.constants.get("good"), plan.scratch["lines"]
        marks, mask = (alive if a is None else a for a in (pixel_status, good))
        words, wide, alive_ = bits[0].shape[1], -(-cols // 32), {"LIVE": live is not None}
        square, ring, flood, kept = bits
        size = map(np.uint32, (n, math.prod(energy.shape[1:]), words, rows, cols, self.rank))
        plan.launch("features/peak_finder_v3r3.cl", "extrema", (math.prod(panels) * -(-rows // 32) * wide, n), 128,
                    (energy, marks, mask, alive, square, lines, flood, kept, *size), EXTREMA=True, WORD=word(energy), MARKED=pixel_status is not None,
                    GOOD=good is not None, **alive_)
        size = (*map(np.uint32, (n, words, rows, wide)), np.int32(self.rank))
        plan.launch("features/peak_finder_v3r3.cl", "thin_rows", (-(-words // wide // 128), n), 128, (lines, alive, *size), ROWS=True, **alive_)
        plan.launch("features/peak_finder_v3r3.cl", "thin_cols", (-(-words // rows // 4), n), 128, (lines, flood, alive, square, ring, *size), **alive_)


def rows_of(v: np.ndarray) -> np.ndarray:
    return v


def cols_of(v: np.ndarray) -> np.ndarray:
    return v.swapaxes(-1, -2)


def along(lines: Callable[[np.ndarray], np.ndarray], v: np.ndarray, rank: int) -> np.ndarray:
    """bool: maxima of lines: pixels above the next one, that nobody within rank is above; of those, from the line's begin, each more than rank behind the
    last that was one."""
    x = lines(v)
    following = np.pad(x, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)[..., 1:]
    found = unbeaten(x, 0, rank) & ~(following >= x)
    for line in np.ndindex(x.shape[:-1]):
        last = -rank - 1
        for at in np.flatnonzero(found[line]).tolist():
            found[(*line, at)] = at - last > rank
            last = at if found[(*line, at)] else last
    return lines(found)
