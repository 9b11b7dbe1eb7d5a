"""energy = c[0] + c[1] x + c[2] x^2 + ...: the nonlinear response of each pixel, by polynomial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from ..pixelwise import Pixelwise, of_stage
from .pixelwise_numba import polynomial_rows


@dataclass(frozen=True, eq=False)
class Polynomial(Pixelwise):
    """energy = c[0] + x * (c[1] + x * (c[2] + ...)), x = energy, each step rounded once in float32.

    fields: coefficients (planes, terms, *frame), 2 to 6 terms from the constant one up, rounded to float32, finite; one plane for all gain stages, or
            one for each
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8: pixels with a status stay as they are; gain_stage (n, *frame) u8, needed with planes > 1
         (a stage beyond the planes takes the last one); frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32, NaN in one form; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: Horner's scheme; fits of degree 2 and 3 to charge-injection scans are the field's usual description of a pixel's response
    """

    name: ClassVar[str] = "calib.polynomial"

    coefficients: np.ndarray

    def __post_init__(self) -> None:
        c = self.own("coefficients", np.float32)
        if c.ndim < 3 or not 2 <= c.shape[1] <= 6:
            raise ValueError(f"{self.name}: coefficients must be (planes, terms, *frame) with 2 to 6 terms, got {c.shape}")
        self.require_planes("coefficients", c)
        if not np.isfinite(c).all():
            first = tuple(int(k) for k in np.argwhere(~np.isfinite(c))[0])
            raise ValueError(f"{self.name}: coefficients must be finite, got {c[first]} at {first} (plane, term, pixel)")

    def slope(self) -> Polynomial:
        """The op that writes slope (n, *frame) f32, d energy / d x at each pixel's x: what its errors are multiplied by."""
        terms = self.coefficients.shape[1]
        rise = self.coefficients[:, 1:] * np.arange(1.0, terms).reshape(-1, *[1] * len(self.frame))
        return PolynomialSlope(rise if terms > 2 else np.concatenate([rise, np.zeros_like(rise)], axis=1))

    @property
    def frame(self) -> tuple[int, ...]:
        return self.coefficients.shape[2:]

    @property
    def planes(self) -> int:
        return len(self.coefficients)

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        *low, y = (of_stage(constants["coefficients"][:, t], stage) for t in range(self.coefficients.shape[1]))
        for c in reversed(low):
            y = y * x + c
        return y

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        polynomial_rows(energy, status, stage, constants["coefficients"].reshape(*self.coefficients.shape[:2], -1), out)

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return "calib/polynomial.cl", (plan.constants["coefficients"],), {"TERMS": f"{self.coefficients.shape[1]}u"}


@dataclass(frozen=True, eq=False)
class PolynomialSlope(Polynomial):
    """slope = c[0] + x * (c[1] + ...): calib.polynomial of the derivative's coefficients; Polynomial.slope() makes it."""

    writes: ClassVar[tuple[str, ...]] = ("slope",)
    pixel_output: ClassVar[str] = "slope"
