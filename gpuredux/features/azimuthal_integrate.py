"""Frames to curves: exact sums over rings, and their ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from ..status import Frame
from . import azimuthal_integrate_numba as host
from .frames import FrameOp, host_marks, read_only, whole, word
from .rings import Rings, frozen

STEP = 2.0**-24     # of a pixel's normalisation
MOST_WEIGHT = 2.0**7
TOGETHER = 4        # frames that a block of the device takes at once, so that a pixel's place is read once for them


@dataclass(frozen=True, eq=False)
class AzimuthalIntegrate(FrameOp):
    """intensity[ring] = sum(v) / sum(normalisation), over the pixels of a ring (pyFAI's method "no" split, without its corrections of the signal).

    fields: rings: Rings, in one dimension or two; what they leave out is not integrated
            normalisation (*frame) f32, above 0, below 128: solid angle x polarisation x flat field x transmission, taken in steps of 2**-24; None: 1
            error_model: "poisson": the variance of a pixel is its value; "none": no sigma
            unit: see FrameOp; integer frames are exact
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are pixels that are not 0;
         frame_status (n,) u32; live (1,) i32
    out: intensity (n, *bins) f32, NaN where a ring has no pixel; sigma (n, *bins) f32 (poisson): sqrt(sum(v)) / sum(normalisation), NaN where sum(v) < 0;
         sum_signal (n, *bins) i64 [unit, integers: 1], sum_normalisation (n, *bins) i64 [2**-24], pixels (n, *bins) i32: to be added over frames without error
         frame_status (n,) u32, when given: with BEYOND_UNIT
    exact: sums are whole numbers, so no order matters: bit-identical on every backend; of float frames each value is rounded to unit first
    source: J. Kieffer et al., J. Synchrotron Rad. 27 (2020) 558 (pyFAI)
    """

    name: ClassVar[str] = "features.azimuthal_integrate"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("intensity", "sigma", "sum_signal", "sum_normalisation", "pixels")

    rings: Rings
    normalisation: np.ndarray | None = None
    error_model: str = "none"
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        self.one_of("error_model", "none", "poisson")
        self.own_unit()
        if self.normalisation is not None:
            weight = self.own("normalisation", np.float32)
            if weight.shape != self.rings.shape:
                raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, got {weight.shape}")
            used = weight[self.rings.label < self.rings.count]
            if not ((used >= STEP) & (used < MOST_WEIGHT)).all():
                raise ValueError(f"{self.name}: normalisation of pixels of rings must be 2**-24 or more and below 128: take others out of the rings")

    @cached_property
    def weight(self) -> np.ndarray:
        """(*frame) u32: normalisation in steps of 2**-24; 0 outside the rings."""
        inside = self.rings.label < self.rings.count
        steps = np.float64(1 / STEP) if self.normalisation is None else np.where(inside, self.normalisation, 0).astype(np.float64) / STEP
        return frozen(np.where(inside, np.rint(steps), 0).astype(np.uint32))

    @cached_property
    def totals(self) -> np.ndarray:
        """(2, count) i64: pixels and weights of each ring, if no pixel of a frame is left out."""
        sorted_weight = np.append(0, np.cumsum(self.weight.reshape(-1)[self.rings.order], dtype=np.int64))
        first = self.rings.first.astype(np.int64)
        return frozen(np.stack([np.diff(first), np.diff(sorted_weight[first])]))

    def constants(self) -> dict[str, np.ndarray]:
        weight = {} if self.normalisation is None else {"weight": self.weight}
        return {"totals": self.totals, **weight}

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        kinds = {"intensity": np.float32, "sigma": np.float32, "sum_signal": np.int64, "sum_normalisation": np.int64, "pixels": np.int32}
        if self.error_model == "none":
            del kinds["sigma"]
        bins = tuple(Spec(k, (shape[0], *self.rings.shape_of_result), np.dtype(d)) for k, d in kinds.items())
        return (*bins, *self.frame_outputs(shape[0], frame_status, live))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, the labels once, the curves."""
        return nbytes(energy, pixel_status, frame_status, live, self.rings.label, *self.outputs(energy, pixel_status, frame_status, live))

    def _unit(self, energy: Any) -> float:
        return self.unit if np.dtype(energy.dtype).kind == "f" else 1.0

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        named, rings, unit = dict(zip((s.name for s in plan.outs), out, strict=True)), self.rings, self._unit(energy)
        for f in range(live_rows(energy, live)):
            use = np.isfinite(energy[f]) & (rings.label < rings.count)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            q, beyond = whole(energy[f], unit)
            signal, weight, pixels = (np.zeros(rings.count, np.int64) for _ in range(3))
            for total, x in ((signal, q), (weight, self.weight.astype(np.int64)), (pixels, np.ones(rings.shape, np.int64))):
                np.add.at(total, rings.label[use], x[use])
            result = {"sum_signal": signal, "sum_normalisation": weight, "pixels": pixels, **ratio(signal, weight, unit)}
            for k, x in named.items():
                if k != "frame_status":
                    x[f] = result[k].reshape(rings.shape_of_result)
                else:
                    x[f] = frame_status[f] | (Frame.BEYOND_UNIT if beyond[use].any() else 0)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, unit = live_rows(energy, live), math.prod(energy.shape[1:]), self._unit(energy)
        weight = self.weight.reshape(-1) if self.normalisation is not None else np.zeros(1, np.uint32)
        signal, norm, pixels, beyond = host.sums(read_only(energy.reshape(-1, npix)[:n]), host_marks(pixel_status, n), pixel_status is not None,
                                                 self.rings.label.reshape(-1), read_only(weight), self.normalisation is not None, self.totals,
                                                 np.float32(1 / unit))
        result = {"sum_signal": signal, "sum_normalisation": norm, "pixels": pixels, **ratio(signal, norm, unit)}
        for spec, x in zip(plan.outs, out, strict=True):
            if spec.name == "frame_status":
                x[:n] = frame_status[:n] | np.where(beyond, np.uint32(Frame.BEYOND_UNIT), np.uint32(0))
            else:
                x[:n] = result[spec.name].reshape(n, *self.rings.shape_of_result)

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, unit = energy.shape[0], math.prod(energy.shape[1:]), self._unit(energy)
        intensity, sigma, signal, norm, pixels, new = plan.every_output(out)
        plan.start_status(frame_status, new, live)
        optional = [pixels if a is None else a for a in (pixel_status, plan.constants.get("weight"), live, sigma, new)]
        plan.launch(
            "features/azimuthal_integrate.cl", "azimuthal_integrate", (self.rings.count, -(-n // TOGETHER)), 128,
            (energy, plan.statics["order"], plan.statics["first"], plan.constants["totals"], *optional[:3], intensity, optional[3], signal, norm, pixels,
             optional[4], np.float64(unit), np.float32(1 / unit), *map(np.uint32, (n, self.rings.count, npix))),
            WORD=word(energy), FLOATS=energy.dtype.kind == "f", MARKED=pixel_status is not None, WEIGHTED=self.normalisation is not None,
            LIVE=live is not None, SIGMA=sigma is not None, FRAME_STATUS=new is not None, TOGETHER=TOGETHER,
        )


def ratio(signal: np.ndarray, weight: np.ndarray, unit: float) -> dict[str, np.ndarray]:
    """intensity and sigma (poisson), f32, of exact sums."""
    s, w = signal.astype(np.float64) * unit, weight.astype(np.float64) * STEP
    some = weight > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        intensity, sigma = s / w, np.sqrt(s) / w
    nan = np.float32(np.nan)
    return {"intensity": np.where(some, intensity.astype(np.float32), nan), "sigma": np.where(some & (signal >= 0), sigma.astype(np.float32), nan)}
