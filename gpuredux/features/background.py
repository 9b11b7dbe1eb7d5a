"""What ops have in common that look for pixels above the clipped mean of their ring: the fields, the curves, a pixel's place between their bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..op import Plan, Spec
from .frames import FrameOp
from .rings import Rings, frozen
from .sigma_clip import SigmaClip
from .sparsify_numba import low_of

NAN = np.float32(np.nan)


def place_between(who: str, rings: Rings, radial: np.ndarray | None) -> np.ndarray:
    """(npix,) f32: where a pixel lies on the axis of rings, 0 = centre of the first bin, not beyond the last ones' centres; -1: in no ring.

    radial (*frame), in rings.unit: linear between the centres of bins, in f64, rounded once; None: the centre of the pixel's bin."""
    if not isinstance(rings, Rings):
        raise TypeError(f"{who}: rings must be Rings, got {type(rings).__name__}")
    if rings.azimuthal is not None or not (np.diff(rings.radial) > 0).all():
        raise ValueError(f"{who}: rings must have one axis, of rising radii, got {rings!r}")
    used, at = rings.used, rings.label.astype(np.float64)
    if radial is not None:
        if radial.shape != rings.shape:
            raise ValueError(f"{who}: radial must be {rings.shape} like the rings' frame, got {radial.shape}")
        at = np.interp(radial, rings.radial, np.arange(rings.count))
        if not (np.abs(at - rings.label) <= 1)[used].all():
            raise ValueError(f"{who}: radial must be each pixel's radius, in {rings.unit} as the rings' axis: one is more than a bin from its ring's")
    return frozen(np.where(used, at, -1).astype(np.float32).reshape(-1))


def between(table: np.ndarray, at: np.ndarray) -> np.ndarray:
    """f32 values of a table at places between two of its own, 0 <= at <= len - 1: linear; where one of both is NaN, the other one."""
    low = at.astype(np.int64)
    part = at - low.astype(np.float32)
    a, b = table[low], table[np.minimum(low + 1, len(table) - 1)]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(np.isnan(a), b, np.where(np.isnan(b), a, a * (1 - part) + b * part))


@dataclass(frozen=True, eq=False)
class AboveBackground(FrameOp):
    """fields by pyFAI's names: rings, normalisation, error_model: of SigmaClip, which makes the curves; cutoff_clip, cycle: its threshold and max_iter;
    radial (*frame): each pixel's radius, in the unit of the rings' axis: curves are read between the centres of bins, linearly; None: at the pixel's own
    bin; noise: added to std in quadrature."""

    rings: Rings
    radial: np.ndarray | None = None
    normalisation: np.ndarray | None = None
    cutoff_clip: float = 5.0
    cycle: int = 5
    error_model: str = "azimuthal"
    noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radial is not None:
            self.own("radial", np.float64)
        place_between(self.name, self.rings, self.radial)
        self.not_negative("cutoff_clip", "noise")
        if not 0 <= self.number("cycle", whole=True) <= 16:
            raise ValueError(f"{self.name}: cycle must be 0 to 16, got {self.cycle}")
        object.__setattr__(self, "normalisation", self.clip.normalisation)      # its checked copy

    def not_negative(self, *fields: str) -> None:
        """Raises ValueError where a field is not 0 or more and a finite float32; for __post_init__."""
        for field in fields:
            if not 0 <= self.number(field) <= float(np.finfo(np.float32).max):
                raise ValueError(f"{self.name}: {field} must be a float32 of 0 or more, got {getattr(self, field)}")

    @cached_property
    def clip(self) -> SigmaClip:
        """What makes the curves."""
        return SigmaClip(self.rings, self.normalisation, self.cutoff_clip, self.cycle, self.error_model, of=self.of)

    @cached_property
    def position(self) -> np.ndarray:
        return place_between(self.name, self.rings, self.radial)

    @cached_property
    def low(self) -> np.ndarray:
        return low_of(self.position, self.rings.count)

    def constants(self) -> dict[str, np.ndarray]:
        weight = {} if self.normalisation is None else {"inverse": (1 / self.normalisation.astype(np.float64)).astype(np.float32)}
        return {**self.clip.constants(), **weight, "position": self.position}

    def clip_scratch(self, n: int, *names: str) -> tuple[Spec, ...]:
        """What SigmaClip writes and nobody asks for; names: and curves that are no outputs."""
        f32, i32 = np.dtype(np.float32), np.dtype(np.int32)
        return (*(Spec(k, (n, self.rings.count), f32) for k in (*names, "sem")), Spec("left", (n, self.rings.count), i32))

    def excess(self, plan: Plan, v: np.ndarray, pixel_status: np.ndarray | None, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of a frame: v / normalisation less its background, f32, NaN for what is no measurement; the background; std^2 + noise^2, f64. All flat."""
        v, position = v.reshape(-1).astype(np.float32), plan.constants["position"]
        use = (position >= 0) & np.isfinite(v)
        if pixel_status is not None:
            use &= pixel_status.reshape(-1) == 0
        at = np.maximum(position, 0)
        background, s = between(mean, at), between(std, at).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            above = (v if self.normalisation is None else v * plan.constants["inverse"].reshape(-1)) - background
        return np.where(use, above, NAN), background, s * s + float(self.noise) * float(self.noise)


def clean(x: float) -> float:
    """x, or the one NaN that is ever written."""
    return math.nan if math.isnan(x) else x
