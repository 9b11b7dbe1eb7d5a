"""variance = (noise / gain)^2 * slope^2 + energy * quantum: of electronics and of photons, for every pixel of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, carries, live_rows, nbytes
from ..pixelwise import NAN, Pixelwise, of_stage, write_pixels
from .variance_numba import variance_rows


@dataclass(frozen=True, eq=False)
class Variance(Pixelwise):
    """variance = floor[gain stage, cell] * slope**2 + max(energy, 0) * quantum, each step rounded once in float32; floor = (noise / gain)^2 in float64.

    A sum of N photons has the variance N; in units of energy that is energy * quantum, quantum being what one photon makes of it. The noise lies in
    front of a nonlinearity, whose slope multiplies it; the photons' part is of the energy that comes out.
    fields: noise (planes, [cells,] *frame) r.m.s. in the unit that gain divides, 0 or more; gain of the same shape, what the noise is divided by,
            None = 1; quantum, one photon in the unit of energy, 0 = no photon noise; cells, 0 = no such axis; where a good pixel's floor is not finite
            the variance is NaN
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8; gain_stage (n, *frame) u8, needed with planes > 1 (a stage beyond the planes takes the
         last one); slope (n, *frame) f32, of Polynomial.slope() and the like, 1 where absent; cell (n,) u16, needed with cells > 0; frame_status (n,)
         u32; live (1,) i32
    out: variance (n, *frame) f32: NaN where the pixel has a status, and in a frame whose cell does not exist; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: propagation of independent errors, with Poisson's variance for photons
    """

    name: ClassVar[str] = "calib.variance"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "gain_stage?", "slope?", "cell?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("variance",)
    pixel_output: ClassVar[str] = "variance"

    noise: np.ndarray
    gain: np.ndarray | None = None
    quantum: float = 0.0
    cells: int = 0

    def __post_init__(self) -> None:
        noise = self.own("noise", np.float32)
        if noise.ndim < 2 + (self.number("cells", whole=True) > 0) or (noise < 0).any():
            raise ValueError(f"{self.name}: noise must be (planes, [cells,] *frame), 0 or more, got {noise.shape}")
        self.require_planes("noise", noise)
        if self.cells < 0 or (self.cells and noise.shape[1] != self.cells):
            raise ValueError(f"{self.name}: cells must be those of noise, {noise.shape}, or 0 for none, got {self.cells}")
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
        return self.noise.shape[2 if self.cells else 1 :]

    @property
    def planes(self) -> int:
        return len(self.noise)

    def outputs(self, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        found = super().outputs(energy, pixel_status, gain_stage, frame_status, live)
        if slope is not None:
            self.require("slope", slope, np.float32, found[0].shape)
        if self.cells:
            self.require("cell", cell, np.uint16, found[0].shape[:1])
        return found

    def traffic(self, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, frame_status: Any, live: Any) -> int:
        x = (energy, pixel_status, gain_stage if self.planes > 1 else None, slope, cell if self.cells else None, frame_status, live)
        written = self.outputs(energy, pixel_status, gain_stage, slope, cell, frame_status, live)
        return nbytes(*x) + nbytes(*written) + self.noise.nbytes // self.planes      # what every frame needs: the constants of one stage

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        variance, new_status = plan.every_output(out)
        floor = plan.constants["floor"].reshape(self.planes, max(self.cells, 1), *self.frame)
        for f in range(live_rows(energy, live)):
            stage = np.zeros(energy[f].shape, np.intp) if self.planes == 1 else np.minimum(gain_stage[f], self.planes - 1).astype(np.intp)
            lost = self.cells and cell[f] >= self.cells
            least = of_stage(floor[:, 0 if lost or not self.cells else cell[f]], stage)
            with np.errstate(over="ignore", invalid="ignore"):
                if slope is not None:
                    least = least * (slope[f] * slope[f])
                y = least + np.where(energy[f] < 0, np.float32(0), energy[f]) * np.float32(self.quantum)
            use = ~np.isnan(y) & (not lost)
            variance[f] = np.where(use if pixel_status is None else use & (pixel_status[f] == 0), y, NAN)
            if new_status is not None:
                new_status[f] = frame_status[f]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        variance, new_status = plan.every_output(out)
        n, shape = live_rows(energy, live), (len(energy), math.prod(self.frame))
        status, stage, rise = (None if a is None else a.reshape(shape)[:n] for a in (pixel_status, gain_stage if self.planes > 1 else None, slope))
        variance_rows(
            energy.reshape(shape)[:n], status, stage, rise, cell[:n] if self.cells else None,
            plan.constants["floor"].reshape(self.planes, max(self.cells, 1), -1), np.float32(self.quantum), variance.reshape(shape)[:n],
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        variance, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        flags = new_status is not None and carries(energy)    # the fused op's own status pass may be gone: carry its bits
        x = (energy, pixel_status, gain_stage, slope, cell, frame_status, live)
        write_pixels(plan, x, variance, None, None, new_status if flags else None, live)

    def pixel(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, slope: Any, cell: Any, *x: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        floor = plan.constants["floor"]
        args = (floor, np.float32(self.quantum), floor if slope is None else slope, cell if self.cells else floor)   # floor where nobody looks
        return "calib/variance.cl", args, {
            "VARIANCE_STATUS": pixel_status is not None, "VARIANCE_PLANES": self.planes, "VARIANCE_SLOPE": slope is not None, "VARIANCE_CELLS": self.cells,
        }
