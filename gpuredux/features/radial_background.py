"""Frames less the background of each ring, as it is in each shot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, carries, live_rows, nbytes, read_only
from ..pixelwise import NAN, Pixelwise, write_pixels
from .radial_background_numba import subtract
from .rings import Rings


@dataclass(frozen=True, eq=False)
class RadialBackground(Pixelwise):
    """energy = energy - curve[ring] * normalisation: the mean of a pixel's ring in the same shot, taken away; each step rounded once in float32.

    fields: rings: the Rings of the curve; curve: the name of the input that holds it: intensity of SigmaClip or AzimuthalIntegrate, before this in a Chain
            normalisation (*frame) f32: what they divide by, of SigmaClip's own field; None = 1
    in:  energy (n, [panels,] rows, cols) f32; the curve (n, *bins) f32 [unit of energy / normalisation]; pixel_status (n, *frame) u8: pixels with a status
         stay as they are; gain_stage (n, *frame) u8: goes by; frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32: NaN, which no feature takes for a measurement, in pixels of no ring and where the curve is NaN; frame_status (n,) u32,
         when given: unchanged
    exact: bit-identical on every backend
    source: azimuthal background of a shot, e.g. A. Barty et al., J. Appl. Cryst. 47 (2014) 1118 (Cheetah)
    """

    name: ClassVar[str] = "features.radial_background"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "intensity", "pixel_status?", "gain_stage?", "frame_status?", "live?")     # the curve by its name

    rings: Rings
    normalisation: np.ndarray | None = None
    curve: str = "intensity"

    def __post_init__(self) -> None:
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        others = [n.rstrip("?") for n in type(self).inputs if n != "intensity"]
        if not isinstance(self.curve, str) or not self.curve.isidentifier() or self.curve in others:
            raise ValueError(f"{self.name}: curve must be the name of the input that holds the rings' means, got {self.curve!r}")
        if self.normalisation is not None:
            weight = self.own("normalisation", np.float32)
            used = weight[self.rings.label < self.rings.count] if weight.shape == self.rings.shape else np.full(1, NAN)
            if not np.isfinite(used).all():
                raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, finite in pixels of rings, got {weight.shape}")
        self._name_inputs()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._name_inputs()

    def _name_inputs(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.curve if n == "intensity" else n for n in type(self).inputs))

    @property
    def frame(self) -> tuple[int, ...]:
        return self.rings.shape

    @property
    def planes(self) -> int:
        return 1

    def outputs(self, energy: Any, curve: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        found = super().outputs(energy, pixel_status, gain_stage, frame_status, live)
        self.require(self.curve, curve, np.float32, (energy.shape[0], *self.rings.shape_of_result))
        return found

    def traffic(self, energy: Any, curve: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any) -> int:
        """The frames once each way, the labels and the curves once."""
        out = self.outputs(energy, curve, pixel_status, gain_stage, frame_status, live)
        return nbytes(energy, curve, pixel_status, frame_status, live, *out, self.rings.label, *self.constants().values())

    def numpy(self, plan: Plan, energy: Any, curve: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        less, new_status = plan.every_output(out)
        for f in range(live_rows(energy, live)):
            background = np.append(curve[f].reshape(-1), NAN)[self.rings.label]     # the last: of pixels in no ring
            with np.errstate(invalid="ignore", over="ignore"):
                if self.normalisation is not None:
                    background = background * plan.constants["normalisation"]
                y = energy[f] - background
            y = np.where(np.isnan(y), NAN, y)
            less[f] = y if pixel_status is None else np.where(pixel_status[f] == 0, y, energy[f])
            if new_status is not None:
                new_status[f] = frame_status[f]

    def numba(self, plan: Plan, energy: Any, curve: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        less, new_status = plan.every_output(out)
        n, npix = live_rows(energy, live), math.prod(self.frame)
        weight = np.ones(1, np.float32) if self.normalisation is None else plan.constants["normalisation"].reshape(-1)
        marks = np.zeros((1, 1), np.uint8) if pixel_status is None else pixel_status.reshape(len(energy), npix)[:n]
        subtract(read_only(energy.reshape(len(energy), npix)[:n]), read_only(curve.reshape(len(curve), self.rings.count)[:n]), self.rings.label.reshape(-1),
                 read_only(marks), pixel_status is not None, read_only(weight), self.normalisation is not None, less.reshape(len(energy), npix))
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, energy: Any, curve: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        less, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        flags = new_status is not None and carries(energy)    # the fused op's own status pass may be gone: carry its bits
        write_pixels(plan, (energy, curve, pixel_status, gain_stage, frame_status, live), less, None, None, new_status if flags else None, live)

    def pixel(self, plan: Plan, energy: Any, curve: Any, pixel_status: Any, *x: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        label = self.rings.on(plan.device, plan.stream)["label"]       # where the plan is a step of another's, it has no statics
        weight, bits = plan.constants.get("normalisation", curve), self.rings.label.dtype.itemsize * 8
        return "features/radial_background.cl", (curve, label, weight, np.uint32(self.rings.count)), {
            "RADIAL_BACKGROUND_STATUS": pixel_status is not None, "RADIAL_BACKGROUND_WEIGHTED": self.normalisation is not None,
            "RADIAL_BACKGROUND_LABEL": f"u{bits}", "RADIAL_BACKGROUND_LOAD": f"load_u{bits}",
        }
