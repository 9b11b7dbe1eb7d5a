"""variance = (noise / gain)^2 + energy * quantum: of electronics and of photons, for every pixel of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from ..pixelwise import NAN, Pixelwise
from .pixelwise_numba import variance_rows


@dataclass(frozen=True, eq=False)
class Variance(Pixelwise):
    """variance = floor[gain stage] + max(energy, 0) * quantum, each step rounded once in float32; floor = (noise / gain)^2 in float64, rounded once.

    A sum of N photons has the variance N; in units of energy that is energy * quantum, quantum being what one photon makes of it.
    fields: noise (planes, *frame) r.m.s. in the unit that gain divides, 0 or more; gain (planes, *frame), what the noise is divided by, None = 1; quantum,
            one photon in the unit of energy, 0 = no photon noise; where a good pixel's floor is not finite the variance is NaN
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8; gain_stage (n, *frame) u8, needed with planes > 1 (a stage beyond the planes takes the
         last one); frame_status (n,) u32; live (1,) i32
    out: variance (n, *frame) f32: NaN where the pixel has a status; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: propagation of independent errors, with Poisson's variance for photons
    """

    name: ClassVar[str] = "calib.variance"
    writes: ClassVar[tuple[str, ...]] = ("variance",)
    pixel_output: ClassVar[str] = "variance"

    noise: np.ndarray
    gain: np.ndarray | None = None
    quantum: float = 0.0

    def __post_init__(self) -> None:
        noise = self.own("noise", np.float32)
        if noise.ndim < 2 or (noise < 0).any():
            raise ValueError(f"{self.name}: noise must be (planes, *frame), 0 or more, got {noise.shape}")
        if self.gain is not None and self.own("gain", np.float32).shape != noise.shape:
            raise ValueError(f"{self.name}: gain must be {noise.shape} like noise, got {np.shape(self.gain)}")
        if not 0 <= self.number("quantum") < math.inf or not np.isfinite(np.float32(self.quantum)):
            raise ValueError(f"{self.name}: quantum must be 0 or more, got {self.quantum}")

    def constants(self) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            floor = ((self.noise.astype(np.float64) / (1.0 if self.gain is None else self.gain)) ** 2).astype(np.float32)
        return {"floor": np.where(np.isfinite(floor), floor, NAN)}

    @property
    def frame(self) -> tuple[int, ...]:
        return self.noise.shape[1:]

    @property
    def planes(self) -> int:
        return len(self.noise)

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.choose(stage, constants["floor"]) + np.where(x < 0, np.float32(0), x) * np.float32(self.quantum)
        return result

    def left(self, x: np.ndarray) -> np.ndarray:
        return np.full_like(x, NAN)

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        variance_rows(energy, status, stage, constants["floor"].reshape(self.planes, -1), np.float32(self.quantum), out)

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return "calib/variance.cl", (plan.constants["floor"], np.float32(self.quantum)), {}
