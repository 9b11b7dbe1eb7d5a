"""energy[t] = energy[t] - sum of a[k] * energy[t - k] along the readout direction, and its inverse: what a pixel leaves in those read after it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, live_rows
from ..pixelwise import NAN
from .crosstalk import Crosstalk, U
from .recursive_numba import across_rows, down_rows

MOST = 8                # coefficients: a thread keeps so many values in registers


@dataclass(frozen=True, eq=False)
class Recursive(Crosstalk):
    """y[t] = x[t] - sum of coefficients[k - 1] * y[t - k], k = 1 on, each step rounded once in float32; with fir=True x[t] = y[t] + the same sum.

    The first takes out what the second puts in: a pixel that leaves the part a[k - 1] of itself in the k-th one read after it.
    fields: coefficients (p,), p up to 8, rounded to float32, sum of |a| below 1; axis "rows": t runs down each column, "cols": along each row; reverse:
            from the end; asic (rows, cols) of the pieces of a panel that are read by themselves, None = the panel, which is the last two axes;
            full_scale [unit of energy]: the largest |energy| that `bound` is for
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; live (1,) i32
    out: energy (n, *frame) f32: NaN where the pixel has a status or is NaN, Inf where it is Inf; to those read later all these count as 0
    bound: full_scale * relative_bound, the largest error after op and inverse(), all of it rounding; proportional to the largest |energy| of the
           frame. Bit-identical on every backend
    source: Oppenheim and Schafer, Discrete-Time Signal Processing, ch. 6
    """

    name: ClassVar[str] = "calib.recursive"

    coefficients: np.ndarray
    axis: str = "rows"
    reverse: bool = False
    asic: tuple[int, int] | None = None
    fir: bool = False
    full_scale: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        a = self.own("coefficients", np.float32)
        if a.ndim != 1 or not 1 <= a.size <= MOST:
            raise ValueError(f"{self.name}: coefficients must be (p,), p = 1 to {MOST}, got {a.shape}")
        if not (np.isfinite(a) & ((a == 0) | (np.abs(a) >= 2.0**-40))).all() or self.share >= 1:
            raise ValueError(f"{self.name}: coefficients must be 0 or 2**-40 and more in magnitude, and the sum of these below 1, got {a.tolist()}")
        self.one_of("axis", "rows", "cols")

    @property
    def share(self) -> float:
        """The sum of the coefficients' magnitudes."""
        return float(np.abs(self.coefficients.astype(np.float64)).sum())

    @property
    def relative_bound(self) -> float:
        s, terms = self.share, self.coefficients.size + 1
        if self.fir:        # the sum's rounding, and each step's of its solution, add up like the series of s
            return 1.02 * U * (2 * terms * s + 2 + s) / (1 - s)
        return 1.02 * U * ((2 * terms * s + 1) / (1 - s) + 1)       # a step's rounding comes back as it was made, once

    def inverse(self) -> Recursive:
        return dataclasses.replace(self, fir=not self.fir)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(energy.shape)
        for f in range(live_rows(energy, live)):
            x = energy[f] if pixel_status is None else np.where(pixel_status[f] == 0, energy[f], NAN)
            lines = x.reshape(down, rows, across, cols).transpose((1, 0, 2, 3) if self.axis == "rows" else (3, 0, 1, 2))
            made = self._walk(lines[::-1] if self.reverse else lines, plan.constants["coefficients"])
            made = made[::-1] if self.reverse else made
            out[f] = made.transpose((1, 0, 2, 3) if self.axis == "rows" else (1, 2, 3, 0)).reshape(out[f].shape)

    def _walk(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The filter along the first axis."""
        past = np.zeros((len(x), *x.shape[1:]), np.float32)     # what each value counts as to those after it
        made = np.empty_like(past)
        for t in range(len(x)):
            total = np.zeros(x.shape[1:], np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                for k in range(min(t, len(a))):
                    total = total + a[k] * past[t - 1 - k]
                y = x[t] + total if self.fir else x[t] - total
            good = np.isfinite(x[t])
            y = np.where(good, y, x[t])
            past[t] = np.where(good & np.isfinite(y), x[t] if self.fir else y, np.float32(0))
            made[t] = np.where(np.isnan(y), NAN, y)
        return made

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(energy.shape)
        n, shape = live_rows(energy, live), (len(energy), down * rows, across * cols)
        status = None if pixel_status is None else pixel_status.reshape(shape)
        walk, size = (down_rows, rows) if self.axis == "rows" else (across_rows, cols)
        walk(energy.reshape(shape)[:n], status, out.reshape(shape), plan.constants["coefficients"], size, self.reverse, self.fir)

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(tuple(energy.shape))
        n, pitch = energy.shape[0], across * cols
        lines = n * down * pitch if self.axis == "rows" else n * down * rows
        if lines >= 2**31:
            raise ValueError(f"{self.name}: {lines} lines are more than one launch numbers, 2**31; plan for fewer frames")
        status, rest = (energy if a is None else a for a in (pixel_status, live))
        blocks = -(-lines // 128) * (1 if self.axis == "rows" else across)
        plan.launch(
            "calib/recursive.cl", f"recursive_{self.axis}", (blocks,), 128,
            (energy, status, out, rest, plan.constants["coefficients"], *map(np.uint32, (n, down, across, rows, cols, self.reverse, self.fir))),
            TERMS=self.coefficients.size, DOWN_ROWS=self.axis == "rows", STATUS=pixel_status is not None, LIVE=live is not None,
        )
