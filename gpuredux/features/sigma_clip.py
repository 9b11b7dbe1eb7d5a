"""The mean of each ring without its outliers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from . import sigma_clip_numba as host
from .frames import FrameOp, host_frames, host_marks, word
from .rings import Rings, frozen

LANES = 128     # sums are taken in so many strides, which are then added in halves


@dataclass(frozen=True, eq=False)
class SigmaClip(FrameOp):
    """intensity = sum(v) / sum(normalisation) over the pixels of a ring, those left out whose v / normalisation is too many std from it, again and again.

    fields: rings: Rings, in one dimension or two; normalisation (*frame) f32, above 0: solid angle x polarisation x flat field; None: 1
            threshold: how many std are too many, at least: Chauvenet's sqrt(2 ln(n / sqrt(2 pi))) for the n pixels left, if that is more; 0: that alone
            max_iter: rounds of leaving out, each followed by new sums; rings of less than 3 pixels keep them
            error_model: "azimuthal": std is the spread in the ring, sqrt(sum((v - intensity normalisation)^2) / sum(normalisation^2)); "poisson": the variance
            of a pixel is its value
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are
         pixels that are not 0; live (1,) i32
    out: intensity (n, *bins) f32; std (n, *bins) f32, of a pixel; sem (n, *bins) f32, of the mean; NaN where no pixel is; pixels (n, *bins) i32 that are left
    exact: bit-identical on every backend: f64, pixels in raster order, by 128 strides that are added in halves
    source: pyFAI's sigma_clip_ng: J. Kieffer et al., J. Appl. Cryst. 58 (2025) 138
    """

    name: ClassVar[str] = "features.sigma_clip"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("intensity", "std", "sem", "pixels")

    rings: Rings
    normalisation: np.ndarray | None = None
    threshold: float = 5.0
    max_iter: int = 5
    error_model: str = "azimuthal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        self.one_of("error_model", "azimuthal", "poisson")
        if not (math.isfinite(self.number("threshold")) and self.threshold >= 0):
            raise ValueError(f"{self.name}: threshold must be 0 or more, got {self.threshold}")
        if not 0 <= self.number("max_iter", whole=True) <= 16:
            raise ValueError(f"{self.name}: max_iter must be 0 to 16, got {self.max_iter}")
        if self.normalisation is not None:
            weight = self.own("normalisation", np.float32)
            if weight.shape != self.rings.shape:
                raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, got {weight.shape}")
            used = weight[self.rings.label < self.rings.count]
            if not ((used > 0) & np.isfinite(used)).all():
                raise ValueError(f"{self.name}: normalisation of pixels of rings must be above 0 and finite: take others out of the rings")

    @cached_property
    def cutoff(self) -> np.ndarray:
        """(most pixels of a ring + 1,) f64: how many std are too many for n pixels; Inf below 3."""
        n = np.arange(int(np.diff(self.rings.first.astype(np.int64)).max()) + 1)
        chauvenet = np.sqrt(2 * np.log(np.maximum(n, 3) / math.sqrt(2 * math.pi)))
        return frozen(np.where(n < 3, np.inf, np.maximum(chauvenet, self.threshold)))

    def constants(self) -> dict[str, np.ndarray]:
        weight = {} if self.normalisation is None else {"normalisation": self.normalisation}
        return {"cutoff": self.cutoff, **weight}

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        kinds = {"intensity": np.float32, "std": np.float32, "sem": np.float32, "pixels": np.int32}
        return tuple(Spec(k, (shape[0], *self.rings.shape_of_result), np.dtype(d)) for k, d in kinds.items())

    def traffic(self, energy: Any, pixel_status: Any, live: Any) -> int:
        """The frames once, their order once, the curves."""
        return nbytes(energy, pixel_status, live, self.rings.label, *self.outputs(energy, pixel_status, live))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        rings = self.rings
        weight = np.ones(rings.label.size) if self.normalisation is None else plan.constants["normalisation"].reshape(-1).astype(np.float64)
        for f in range(live_rows(energy, live)):
            v = energy[f].reshape(-1).astype(np.float32)
            use = np.isfinite(v) if pixel_status is None else np.isfinite(v) & (pixel_status[f].reshape(-1) == 0)
            curves = np.empty((4, rings.count))
            for k in range(rings.count):
                mine = rings.order[rings.first[k] : rings.first[k + 1]]
                curves[:, k] = self._ring(np.where(use, v, 0)[mine].astype(np.float64), weight[mine], use[mine])
            for x, curve in zip(out, curves, strict=True):
                x[f] = curve.reshape(rings.shape_of_result).astype(x.dtype)

    def _ring(self, x: np.ndarray, w: np.ndarray, use: np.ndarray) -> tuple[float, float, float, int]:
        """intensity, std, sem, pixels of one ring."""
        for round_ in range(self.max_iter + 1):
            n, total, norm, squares = int(use.sum()), strided(np.where(use, x, 0)), strided(np.where(use, w, 0)), strided(np.where(use, w * w, 0))
            if n == 0:
                return np.nan, np.nan, np.nan, 0
            mean = total / norm
            away = x - mean * w
            variance = total if self.error_model == "poisson" else strided(np.where(use, away * away, 0))
            if not variance >= 0:
                return mean, np.nan, np.nan, n
            std, sem = math.sqrt(variance / squares), math.sqrt(variance) / norm
            with np.errstate(invalid="ignore"):     # Inf times 0 leaves nothing out
                stay = use & ~(np.abs(x / w - mean) > self.cutoff[n] * std)
            if round_ == self.max_iter or stay.sum() == n:
                break
            use = stay
        return mean, std, sem, n

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, rings = live_rows(energy, live), self.rings
        weight = np.ones(1, np.float32) if self.normalisation is None else plan.constants["normalisation"].reshape(-1)
        host.clip(host_frames(energy, n), host_marks(pixel_status, n), pixel_status is not None, rings.order, rings.first, read_only(weight),
                  self.normalisation is not None, self.cutoff, self.max_iter, self.error_model == "poisson", tuple(x.reshape(-1, rings.count) for x in out[:3]),
                  out[3].reshape(-1, rings.count))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        intensity, std, sem, pixels = out
        optional = [pixels if a is None else a for a in (pixel_status, plan.constants.get("normalisation"), live)]
        plan.launch("features/sigma_clip.cl", "sigma_clip", (self.rings.count, n), 128,
                    (energy, plan.statics["order"], plan.statics["first"], plan.constants["cutoff"], *optional, intensity, std, sem, pixels,
                     *map(np.uint32, (n, self.rings.count, npix))),
                    WORD=word(energy), MARKED=pixel_status is not None, WEIGHTED=self.normalisation is not None, LIVE=live is not None,
                    POISSON=self.error_model == "poisson", MAX_ITER=f"{self.max_iter}u")


def strided(x: np.ndarray) -> float:
    """The sum in f64: every 128th one after the other, then the 128 sums added in halves."""
    lanes = np.zeros(LANES)
    for begin in range(0, len(x), LANES):
        part = x[begin : begin + LANES]
        lanes[: len(part)] += part
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return float(lanes[0])
