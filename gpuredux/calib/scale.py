"""energy = energy * plane[gain stage]: flat field, solid angle, polarisation and gains, folded into one plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from ..pixelwise import Pixelwise, of_stage
from .constants_given import plain
from .pixelwise_numba import scale_rows


@dataclass(frozen=True, eq=False)
class Scale(Pixelwise):
    """energy = energy * plane[gain stage], rounded once in float32.

    fields: plane (planes, *frame), rounded to float32, finite; one plane for all gain stages, or one for each
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8: pixels with a status stay as they are; gain_stage (n, *frame) u8, needed with planes > 1
         (a stage beyond the planes takes the last one); frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32, NaN in one form; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: the usual correction by division, with the divisors folded and inverted once: Scale.folding
    """

    name: ClassVar[str] = "calib.scale"

    plane: np.ndarray

    def __post_init__(self) -> None:
        plane = self.own("plane", np.float32)
        if plane.ndim < 2:
            raise ValueError(f"{self.name}: plane must be (planes, *frame), got {plane.shape}")
        self.require_planes("plane", plane)
        bad = ~np.isfinite(plane)
        if bad.any():
            first = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(f"{self.name}: {int(bad.sum())} values of plane are not finite, the first at {first}: {plane[first]}; give 0 for masked pixels")

    @classmethod
    def folding(
        cls, frame: tuple[int, ...], divide: Sequence[Any] = (), multiply: Sequence[Any] = (), good: np.ndarray | None = None,
    ) -> Scale:
        """The product of multiply / the product of divide, in float64, rounded once.

        Each is a number, (*frame), or (planes, *frame): flat field, solid angle, polarisation, absorption, photon energy, gain. good (*frame) bool,
        True = use: the plane is 0 elsewhere. Raises ValueError where a good pixel would be divided by 0, NaN or Inf, or get no normal float32."""
        frame = tuple(frame)
        used = np.ones(frame, bool) if good is None else plain(f"{cls.name}: good", good)
        if used.dtype != bool or used.shape != frame:
            raise ValueError(f"{cls.name}: good must be bool {frame}, True = use the pixel, got {used.dtype} {used.shape}")
        with np.errstate(all="ignore"):     # what cannot be is found below
            above, below = (product(cls.name, frame, many) for many in (multiply, divide))
            whole = (above / below).reshape(-1, *frame)
            size = np.abs(whole.astype(np.float32))
        bad = used & ~(np.isfinite(size) & (size >= np.finfo(np.float32).tiny))
        if bad.any():
            first = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(f"{cls.name}: {int(bad.sum())} values of plane are not finite, or 0 or subnormal in float32, the first at {first}: {whole[first]};"
                             " leave pixels that are divided by 0, NaN or Inf out with good=")
        return cls(np.where(used, whole, 0.0))

    @property
    def frame(self) -> tuple[int, ...]:
        return self.plane.shape[1:]

    @property
    def planes(self) -> int:
        return len(self.plane)

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        result: np.ndarray = x * of_stage(constants["plane"], stage)
        return result

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        scale_rows(energy, status, stage, constants["plane"].reshape(self.planes, -1), out)

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return "calib/scale.cl", (plan.constants["plane"],), {}


def product(who: str, frame: tuple[int, ...], many: Sequence[Any]) -> np.ndarray:
    """In float64, (*frame) or (planes, *frame)."""
    product = np.ones(frame)
    for a in many:
        given = plain(f"{who}: a factor", a)
        if given.dtype.kind not in "iuf":
            raise TypeError(f"{who}: a factor must be of real numbers, got {given.dtype}")
        value = given.astype(np.float64)
        if value.shape not in ((), frame) and value.shape[1:] != frame:
            raise ValueError(f"{who}: a factor must be a number, {frame} or (planes, {', '.join(map(str, frame))}), got {value.shape}")
        product = product * value
    return product
