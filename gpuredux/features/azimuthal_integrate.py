"""Frames to curves: exact sums over rings, and their ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from ..status import Frame
from . import azimuthal_integrate_numba as host
from .azimuthal_curves import STEP, carried, curves_of, halves, square_of
from .frames import FrameOp, host_marks, whole, word
from .rings import Rings, frozen
from .rings_split import SplitRings

MOST_WEIGHT = 2.0**7
TOGETHER = 4        # frames that a block of the device takes at once, so that a pixel's place is read once for them


@dataclass(frozen=True, eq=False)
class AzimuthalIntegrate(FrameOp):
    """intensity[ring] = sum(c v) / sum(c normalisation), c = the share of a pixel in a ring: 1 or 0 of Rings, of SplitRings in steps of 2**-15 (pyFAI's ng).

    fields: rings: Rings or SplitRings, in one dimension or two; what they leave out is not integrated
            normalisation (*frame) f32, above 0, below 128: solid angle x polarisation x flat field x transmission, taken in steps of 2**-24; None: 1
            error_model: "poisson": the variance of a pixel is its value (pyFAI: 1 at least); "azimuthal": the spread about the ring's intensity, nothing
            clipped; "none": no sigma. unit: see FrameOp; integer frames are exact
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are pixels that are not 0;
         frame_status (n,) u32; live (1,) i32
    out: intensity (n, *bins) f32, NaN where a ring has no pixel; sigma (n, *bins) f32, pyFAI's sigma = sem: sqrt(variance) / sum(c normalisation), where
         variance = sum(c^2 v), or, azimuthal, sum(c^2 (v - intensity normalisation)^2); std (n, *bins) f32 (azimuthal), of a pixel:
         sqrt(variance / sum(c^2 normalisation^2)); NaN where variance < 0 or all c^2 were rounded to 0
         sums, of frames to be added without error, and made curves again by curves(): sum_signal (n, *bins) i64 [unit / whole, of integers 1 / whole;
         whole is 1, of SplitRings 2**15]; sum_normalisation (n, *bins) i64 [2**-24 / whole]; pixels (n, *bins) i32 [1 / whole]
         sum_variance (n, *bins) i64 (poisson, SplitRings) [unit * square; square = 2**(rings.square_shift - 30), of Rings 1]
         moments (n, 6, *bins) i64 (azimuthal): sums of c^2 times the low and the high 32 bits of v^2, of v normalisation, of normalisation^2 [square]
         frame_status (n,) u32, when given: with BEYOND_UNIT
    exact: sums are whole numbers below 2**63, so no order matters: bit-identical on every backend; of float frames each value is rounded to unit first.
         What is derived from moments is f64: a spread below 1e-8 of the ring's rms value is lost in rounding
    source: J. Kieffer et al., J. Synchrotron Rad. 27 (2020) 558, J. Appl. Cryst. 58 (2025) 138 (pyFAI)
    """

    name: ClassVar[str] = "features.azimuthal_integrate"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("intensity", "sigma", "std", "sum_signal", "sum_normalisation", "pixels", "sum_variance", "moments")

    rings: Rings | SplitRings
    normalisation: np.ndarray | None = None
    error_model: str = "none"
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, (Rings, SplitRings)):
            raise TypeError(f"{self.name}: rings must be Rings or SplitRings, got {type(self.rings).__name__}")
        self.one_of("error_model", "none", "poisson", "azimuthal")
        self.own_unit()
        if self.normalisation is not None:
            weight = self.own("normalisation", np.float32)
            if weight.shape != self.rings.shape:
                raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, got {weight.shape}")
            used = weight[self.rings.used]
            if not ((used >= STEP) & (used < MOST_WEIGHT)).all():
                raise ValueError(f"{self.name}: normalisation of pixels of rings must be 2**-24 or more and below 128: take others out of the rings")

    @cached_property
    def weight(self) -> np.ndarray:
        """(*frame) u32: normalisation in steps of 2**-24; 0 outside the rings."""
        inside = self.rings.used
        steps = np.float64(1 / STEP) if self.normalisation is None else np.where(inside, self.normalisation, 0).astype(np.float64) / STEP
        return frozen(np.where(inside, np.rint(steps), 0).astype(np.uint32))

    @cached_property
    def totals(self) -> np.ndarray:
        """(2, count) i64: pixels and weights of each ring, in steps, if no pixel of a frame is left out."""
        share = np.int64(1) if self.rings.share is None else self.rings.share.astype(np.int64)
        weight = share * self.weight.reshape(-1)[self.rings.order]
        return frozen(np.stack([self.rings.over_rings(np.broadcast_to(share, weight.shape)), self.rings.over_rings(weight)]))

    @property
    def in_parts(self) -> bool:
        """Whether all is added up, part by part, and not only what frames leave out."""
        return self.error_model == "azimuthal" or self.rings.whole > 1

    def constants(self) -> dict[str, np.ndarray]:
        weight = {} if self.normalisation is None else {"weight": self.weight}
        return weight if self.in_parts else {"totals": self.totals, **weight}

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings)
        self.require_marks(shape, pixel_status=pixel_status)
        azimuthal, f32, i64 = self.error_model == "azimuthal", np.float32, np.int64
        kinds: dict[str, tuple[bool, Any]] = {
            "intensity": (True, f32), "sigma": (self.error_model != "none", f32), "std": (azimuthal, f32), "sum_signal": (True, i64),
            "sum_normalisation": (True, i64), "pixels": (True, np.int32), "sum_variance": (self.error_model == "poisson" and self.in_parts, i64),
            "moments": (azimuthal, i64),
        }
        bins = tuple(Spec(k, (shape[0], *(6,) * (k == "moments"), *self.rings.shape_of_result), np.dtype(d)) for k, (wanted, d) in kinds.items() if wanted)
        return (*bins, *self.frame_outputs(shape[0], frame_status, live))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, the labels (of SplitRings the shares) once, the curves."""
        rings = (self.rings.label,) if isinstance(self.rings, Rings) else (self.rings.order, self.rings.share)
        return nbytes(energy, pixel_status, frame_status, live, *rings, *self.outputs(energy, pixel_status, frame_status, live))

    def unit_of(self, energy: Any) -> float:
        """What a step of sum_signal, and of moments, is worth for frames of this dtype; whole apart."""
        return self.unit if np.dtype(energy.dtype).kind == "f" else 1.0

    def curves(self, sums: Mapping[str, np.ndarray], unit: float) -> dict[str, np.ndarray]:
        """intensity, sigma, std, f32, as the error model has them, of exact sums (..., *bins): of frames, or added over frames. unit: unit_of(frames)."""
        return curves_of(sums, self.rings, self.error_model, unit)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        named, rings, unit = dict(zip((s.name for s in plan.outs), out, strict=True)), self.rings, self.unit_of(energy)
        ring, pixel = np.repeat(np.arange(rings.count), np.diff(rings.first.astype(np.int64))), rings.order
        share, weight = np.broadcast_to(np.int64(1) if rings.share is None else rings.share.astype(np.int64), pixel.shape), self.weight.astype(np.int64)
        squares = rings.squares(rings.square_shift)
        for f in range(live_rows(energy, live)):
            use = np.isfinite(energy[f]) & rings.used
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            q, beyond = whole(energy[f], unit)
            mine = use.reshape(-1)[pixel]
            k, v, w, c, c2 = ring[mine], q.reshape(-1)[pixel][mine], weight.reshape(-1)[pixel][mine], share[mine], squares[mine]

            def total(x: np.ndarray, k: np.ndarray = k) -> np.ndarray:
                sums = np.zeros(rings.count, np.int64)
                np.add.at(sums, k, x)
                return sums

            made = {"sum_signal": total(c * v), "sum_normalisation": total(c * w), "pixels": total(c), "sum_variance": total(c2 * v)}
            if self.error_model == "azimuthal":
                parts = [part for x in (v.view(np.uint64) * v.view(np.uint64), v * w, w * w) for part in halves(x)]
                made["moments"] = np.stack(carried([total(c2 * part) for part in parts]))
            made |= self.curves(made, unit)
            for name, x in named.items():
                if name != "frame_status":
                    x[f] = made[name].reshape(x.shape[1:])
                else:
                    x[f] = frame_status[f] | (Frame.BEYOND_UNIT if beyond[use].any() else 0)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, unit = live_rows(energy, live), math.prod(energy.shape[1:]), self.unit_of(energy)
        weight = self.weight.reshape(-1) if self.normalisation is not None else np.zeros(1, np.uint32)
        frames, marks, scale = read_only(energy.reshape(-1, npix)[:n]), (host_marks(pixel_status, n), pixel_status is not None), np.float32(1 / unit)
        if self.in_parts:
            made, beyond = host.parts(frames, *marks, self.rings, weight, self.normalisation is not None, self.error_model, self.totals, scale)
            if self.error_model == "azimuthal":
                made["moments"] = np.stack(carried(list(np.moveaxis(made["moments"], 1, 0))), axis=1)
        else:
            *sums, beyond = host.sums(frames, *marks, self.rings.label.reshape(-1), read_only(weight), self.normalisation is not None, self.totals, scale)
            made = dict(zip(("sum_signal", "sum_normalisation", "pixels"), sums, strict=True))
        made |= self.curves(made, unit)
        for spec, x in zip(plan.outs, out, strict=True):
            if spec.name == "frame_status":
                x[:n] = frame_status[:n] | np.where(beyond, np.uint32(Frame.BEYOND_UNIT), np.uint32(0))
            else:
                x[:n] = made[spec.name].reshape(n, *x.shape[1:])

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, unit = energy.shape[0], math.prod(energy.shape[1:]), self.unit_of(energy)
        *made, new = plan.every_output(out)
        intensity, sigma, std, signal, norm, pixels, variance, moments = (made[5] if a is None else a for a in made)      # which stand in where nobody looks
        plan.start_status(frame_status, new, live)
        marks, weight, alive, new_status = (pixels if a is None else a for a in (pixel_status, plan.constants.get("weight"), live, new))
        size, held = tuple(map(np.uint32, (n, self.rings.count, npix))), plan.statics
        kind = {"WORD": word(energy), "FLOATS": np.dtype(energy.dtype).kind == "f", "MARKED": pixel_status is not None,
                "WEIGHTED": self.normalisation is not None, "LIVE": live is not None, "FRAME_STATUS": new is not None}
        if not self.in_parts:
            plan.launch("features/azimuthal_integrate.cl", "azimuthal_integrate", (self.rings.count, -(-n // TOGETHER)), 128,
                        (energy, held["order"], held["first"], plan.constants["totals"], marks, weight, alive, intensity, sigma, signal, norm, pixels,
                         new_status, np.float64(unit), np.float32(1 / unit), *size), SIGMA=self.error_model == "poisson", TOGETHER=TOGETHER, **kind)
            return
        split, azimuthal = self.rings.whole > 1, self.error_model == "azimuthal"
        together = 2 if azimuthal else TOGETHER     # more sums a frame
        plan.launch("features/azimuthal_integrate.cl", "azimuthal_parts", (self.rings.count, -(-n // together)), 128,
                    (energy, held["order"], held["first"], held["share"] if split else held["order"], marks, weight, alive, intensity, sigma, std, signal, norm,
                     pixels, variance, moments, new_status, *map(np.float64, (unit, STEP, 1 / self.rings.whole, square_of(self.rings))), np.float32(1 / unit),
                     np.uint32(self.rings.square_shift), *size), SPLIT=split, VARIANCE=self.error_model == "poisson", MOMENTS=azimuthal, TOGETHER=together,
                    **kind)
