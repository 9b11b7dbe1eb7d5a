"""The streak that a liquid jet throws across the beam: its angle in each shot, and the pixels under it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from ..status import Pixel
from .azimuthal_integrate import TOGETHER, AzimuthalIntegrate
from .frames import FrameOp, host_marks, word
from .jet_streak_numba import STEPS, find, mark
from .rings import Rings, frozen

MOST_SECTORS, MOST_BINS = 512, 32


@dataclass(frozen=True, eq=False)
class JetStreak(FrameOp):
    """score = (excess of the brightest sector - mean excess of the others) / their standard deviation; sectors are of the azimuth modulo 180 degrees.

    excess = sum(v - mean of v in the pixel's radial bin) / pixels of the sector, so that a fall with the radius and gaps make none. Others: those that lie
    `apart` sectors or more from the brightest. The angle is that of the top of a parabola through the brightest and its neighbours, in 16 steps a sector.
    fields: x, y (*frame) f32: where each pixel lies, seen from the beam [pixel, or m], NaN: nowhere; radius (inner, outer) that is looked at, half open, same
            unit; half_width of the mask about the streak's line through the beam; reach: radius that the mask ends at, None = everywhere; threshold: the score
            from which on a shot is masked; sectors in 180 degrees, 8 to 512; bins: radial ones, 1 to 32; apart, 2 or more; min_pixels: good pixels that a
            sector needs; good (*frame) bool, None = all; unit: see FrameOp; integer frames are exact
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are pixels that are not 0;
         frame_status (n,) u32; live (1,) i32
    out: streak_angle (n,) f32 [degree], 0 to 180, from x towards y; streak_score (n,) f32, Inf where the others are all alike; both NaN with less than 3 others
         pixel_status (n, *frame) u8: with STREAK within half_width of the line, where the score reaches the threshold: for the finders behind
         frame_status (n,) u32, when given: with BEYOND_UNIT
    exact: bit-identical on every backend: sums are whole numbers, what follows is f64 in the order of sectors, angles come from a table
    source: streaks as they are looked for in serial crystallography: A. Barty et al., J. Appl. Cryst. 47 (2014) 1118 (Cheetah)
    """

    name: ClassVar[str] = "features.jet_streak"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("streak_angle", "streak_score", "pixel_status")

    x: np.ndarray
    y: np.ndarray
    radius: tuple[float, float]
    half_width: float
    reach: float | None = None
    threshold: float = 5.0
    sectors: int = 90
    bins: int = 4
    apart: int = 3
    min_pixels: int = 8
    good: np.ndarray | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.own("x", np.float32).shape != self.own("y", np.float32).shape or self.x.ndim not in (2, 3):
            raise ValueError(f"{self.name}: x and y must be ([panels,] rows, cols), got {self.x.shape} and {self.y.shape}")
        self.own_good(self.x.shape)
        self.own_unit()
        object.__setattr__(self, "radius", tuple(float(r) for r in self.radius))
        inner, outer = self.radius
        if not 0 <= inner < outer < math.inf:
            raise ValueError(f"{self.name}: radius must be (inner, outer), 0 <= inner < outer, got {self.radius}")
        for field in ("half_width", "threshold", *(() if self.reach is None else ("reach",))):
            if not 0 <= self.number(field) <= 1e15:
                raise ValueError(f"{self.name}: {field} must be 0 or more, got {getattr(self, field)}")
        for field, least, most in (("sectors", 8, MOST_SECTORS), ("bins", 1, MOST_BINS), ("apart", 2, self.sectors), ("min_pixels", 1, 2**31 - 1)):
            if not least <= self.number(field, whole=True) <= most:
                raise ValueError(f"{self.name}: {field} must be {least} to {most}, got {getattr(self, field)}")

    @cached_property
    def rings(self) -> Rings:
        """Sectors of the azimuth modulo 180 degrees, each in radial bins."""
        x, y = self.x.astype(np.float64), self.y.astype(np.float64)
        azimuth = np.mod(np.degrees(np.arctan2(y, x)), 180.0)
        azimuth = np.where(azimuth < 180.0, azimuth, 0.0)      # what lies a rounding error below 0
        return Rings.from_position(np.hypot(x, y), self.bins, self.radius, self.good, azimuth, self.sectors, (0.0, 180.0))

    @cached_property
    def sums(self) -> AzimuthalIntegrate:
        """The sums over sectors and bins."""
        return AzimuthalIntegrate(self.rings, unit=self.unit, of=self.of)

    @cached_property
    def direction(self) -> np.ndarray:
        """(sectors * STEPS, 2) f32: cosine and sine of every angle that a streak can have."""
        angle = np.radians(np.arange(self.sectors * STEPS) * (180.0 / (self.sectors * STEPS)))
        return frozen(np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32))

    @property
    def limits(self) -> tuple[Any, Any]:
        """half_width, and the square of the reach, as they are compared."""
        return np.float32(self.half_width), np.float32(np.inf if self.reach is None else self.reach * self.reach)

    def statics(self) -> tuple[Any, ...]:
        return (self.rings,)

    def constants(self) -> dict[str, np.ndarray]:
        return {"x": self.x, "y": self.y, "direction": self.direction, "totals": self.sums.totals}

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.x)
        self.require_marks(shape, pixel_status=pixel_status)
        kinds = {"streak_angle": np.float32, "streak_score": np.float32}
        shots = tuple(Spec(k, shape[:1], np.dtype(d)) for k, d in kinds.items())
        return (*shots, Spec("pixel_status", shape, np.dtype(np.uint8)), *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, kinds = energy.shape[0], {"intensity": np.float32, "signal": np.int64, "norm": np.int64, "pixels": np.int32}
        return (*(Spec(k, (n, self.rings.count), np.dtype(d)) for k, d in kinds.items()), Spec("step", (n,), np.dtype(np.int32)))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames, their marks and the places of pixels once; the labels once."""
        out = self.outputs(energy, pixel_status, frame_status, live)
        return nbytes(energy, pixel_status, frame_status, live, *out, self.x, self.y, self.rings.label)

    def _unit(self, energy: Any) -> float:
        return self.unit if np.dtype(energy.dtype).kind == "f" else 1.0

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        angle, score, status, new_status = plan.every_output(out)
        got, (half, reach) = self.sums(energy, pixel_status, frame_status, live, backend="numpy"), self.limits
        for f in range(live_rows(energy, live)):
            angle[f], score[f], step = self._streak(got.sum_signal[f], got.pixels[f].astype(np.int64), self._unit(energy))
            status[f] = 0 if pixel_status is None else pixel_status[f]
            if score[f] >= np.float32(self.threshold):
                cosine, sine = self.direction[step]
                with np.errstate(over="ignore", invalid="ignore"):
                    under = (np.abs(self.x * sine - self.y * cosine) <= half) & (self.x * self.x + self.y * self.y <= reach)
                status[f][under] |= np.uint8(Pixel.STREAK)
            if new_status is not None:
                new_status[f] = got.frame_status[f]

    def _streak(self, signal: np.ndarray, pixels: np.ndarray, unit: float) -> tuple[float, float, int]:
        """angle, score and step of the angle, of one frame's sums (sectors, bins). Sums in f64 are taken one after the other."""
        total, count = signal.sum(0), pixels.sum(0)
        means = np.where(count > 0, total.astype(np.float64) * unit / np.maximum(count, 1), 0.0)
        away, some = np.zeros(self.sectors), pixels.sum(1)
        for r in range(self.bins):
            away = away + (signal[:, r].astype(np.float64) * unit - means[r] * pixels[:, r])
        excess = np.where(some > 0, away / np.maximum(some, 1), 0.0)
        sector = np.arange(self.sectors)
        best = int(np.where(some >= self.min_pixels, excess, -np.inf).argmax())
        apart = np.minimum(abs(sector - best), self.sectors - abs(sector - best))
        others = excess[(some >= self.min_pixels) & (apart >= self.apart)]
        if len(others) < 3:
            return np.nan, np.nan, -1
        mean = float(np.cumsum(others)[-1]) / len(others)
        spread = math.sqrt(float(np.cumsum((others - mean) * (others - mean))[-1]) / len(others))
        above = float(excess[best]) - mean
        score = above / spread if spread > 0 else math.inf if above > 0 else 0.0
        before, after, offset = best - 1, (best + 1) % self.sectors, 0.0
        if min(some[before], some[after]) >= self.min_pixels:
            bend = float((excess[before] - excess[best]) + (excess[after] - excess[best]))
            offset = 0.5 * float(excess[before] - excess[after]) / bend if bend < 0 else 0.0
        step = int((best + 0.5 + offset) * STEPS + 0.5) % (self.sectors * STEPS)
        return step * (180.0 / (self.sectors * STEPS)), score, step

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        angle, score, status, new_status = plan.every_output(out)
        got, n = self.sums(energy, pixel_status, frame_status, live, backend="numba"), live_rows(energy, live)
        npix = math.prod(energy.shape[1:])
        step = find(got.sum_signal[:n], got.pixels[:n], self._unit(energy), self.apart, self.min_pixels, angle, score)
        mark(host_marks(pixel_status, n), pixel_status is not None, self.x.reshape(-1), self.y.reshape(-1), self.direction,
             np.where(score[:n] >= np.float32(self.threshold), step, -1), *self.limits, status.reshape(-1, npix))
        if new_status is not None:
            new_status[:n] = got.frame_status[:n]

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        angle, score, status, new = plan.every_output(out)
        n, npix, held, fixed = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch, plan.constants
        unit, alive = self._unit(energy), angle if live is None else live
        plan.start_status(frame_status, new, live)
        marks = status if pixel_status is None else pixel_status
        size, live_rows_only = (np.uint32(n), np.uint32(self.rings.count), np.uint32(npix)), live is not None
        plan.launch(
            "features/azimuthal_integrate.cl", "azimuthal_integrate", (self.rings.count, -(-n // TOGETHER)), 128,
            (energy, plan.statics["order"], plan.statics["first"], fixed["totals"], marks, held["intensity"], alive, held["intensity"], held["intensity"],
             held["signal"], held["norm"], held["pixels"], held["pixels"] if new is None else new, np.float64(unit), np.float32(1 / unit), *size),
            WORD=word(energy), FLOATS=np.dtype(energy.dtype).kind == "f", MARKED=pixel_status is not None, WEIGHTED=False, LIVE=live_rows_only, SIGMA=False,
            FRAME_STATUS=new is not None, TOGETHER=TOGETHER)
        plan.launch(
            "features/jet_streak.cl", "jet_streak", (n,), 128,
            (held["signal"], held["pixels"], alive, angle, score, held["step"], np.float64(unit), np.float32(self.threshold),
             *map(np.uint32, (self.sectors, self.bins, self.apart, self.min_pixels, n))), LIVE=live_rows_only)
        plan.launch(
            "features/jet_streak.cl", "jet_mark", (-(-npix // 1024), n), 128,
            (marks, fixed["x"], fixed["y"], fixed["direction"], held["step"], alive, status, *self.limits, np.uint32(pixel_status is not None),
             np.uint32(npix), np.uint32(n)), MARK=True, LIVE=live_rows_only)
