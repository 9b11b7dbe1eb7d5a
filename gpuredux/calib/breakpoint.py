"""energy = low * x up to a knee, and steeper or flatter beyond: the nonlinear response of each pixel, by two slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from ..pixelwise import Pixelwise, of_stage
from .pixelwise_numba import breakpoint_rows, breakpoint_slopes


@dataclass(frozen=True, eq=False)
class Breakpoint(Pixelwise):
    """energy = low * x for x <= knee, else (x - knee) * high + low * knee, each step rounded once in float32; low * knee on the host in float64.

    fields: knee, low, high (planes, *frame), rounded to float32, finite; one plane for all gain stages, or one for each
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8: pixels with a status stay as they are; gain_stage (n, *frame) u8, needed with planes > 1
         (a stage beyond the planes takes the last one); frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32, NaN in one form; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: the two-slope description of a front end that compresses, as of DEPFET sensors and of dynamic-gain pixels near their switch
    """

    name: ClassVar[str] = "calib.breakpoint"
    sloping: ClassVar[bool] = False     # the slope is written

    knee: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        for field in ("knee", "low", "high"):
            value = self.own(field, np.float32)
            if value.ndim < 2 or value.shape != self.knee.shape:
                raise ValueError(f"{self.name}: {field} must be (planes, *frame) like knee, got {value.shape}")
            self.require_planes(field, value)
            if not np.isfinite(value).all():
                first = tuple(int(k) for k in np.argwhere(~np.isfinite(value))[0])
                raise ValueError(f"{self.name}: {field} must be finite, got {value[first]} at {first} (plane, pixel)")

    def slope(self) -> Breakpoint:
        """The op that writes slope (n, *frame) f32, d energy / d x at each pixel's x: what its errors are multiplied by."""
        return BreakpointSlope(**self._fields())

    def constants(self) -> dict[str, np.ndarray]:
        with np.errstate(over="ignore"):
            offset = (self.low.astype(np.float64) * self.knee).astype(np.float32)
        return {"knee": self.knee, "low": self.low, "high": self.high, "offset": offset}

    @property
    def frame(self) -> tuple[int, ...]:
        return self.knee.shape[1:]

    @property
    def planes(self) -> int:
        return len(self.knee)

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        knee, low, high, offset = (of_stage(constants[k], stage) for k in ("knee", "low", "high", "offset"))
        return np.where(x > knee, (x - knee) * high + offset, x * low)

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        breakpoint_rows(energy, status, stage, *(constants[k].reshape(self.planes, -1) for k in ("knee", "low", "high", "offset")), out)

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return "calib/breakpoint.cl", tuple(plan.constants[k] for k in ("knee", "low", "high", "offset")), {"SLOPE": self.sloping}


@dataclass(frozen=True, eq=False)
class BreakpointSlope(Breakpoint):
    """slope = low for x <= knee, else high; Breakpoint.slope() makes it."""

    writes: ClassVar[tuple[str, ...]] = ("slope",)
    pixel_output: ClassVar[str] = "slope"
    sloping: ClassVar[bool] = True

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        knee, low, high = (of_stage(constants[k], stage) for k in ("knee", "low", "high"))
        return np.where(x > knee, high, low)

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        breakpoint_slopes(energy, status, stage, *(constants[k].reshape(self.planes, -1) for k in ("knee", "low", "high")), out)
