"""Crosstalk: what ops have in common that mix the pixels of an ASIC, and say how well their inverse undoes it."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Spec, nbytes

U = 2.0**-24            # a rounding to float32


class Crosstalk(Op):
    """energy of every pixel from those of its ASIC, which is a piece of a panel, the last two axes. A subclass has the fields asic and full_scale."""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    asic: tuple[int, int] | None
    full_scale: float

    def __post_init__(self) -> None:
        if not 0 < self.number("full_scale") <= float(np.finfo(np.float32).max):
            raise ValueError(f"{self.name}: full_scale must be a positive float32, got {self.full_scale}")
        if self.asic is not None:
            if len(self.asic) != 2 or any(isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1 for k in self.asic):
                raise ValueError(f"{self.name}: asic must be (rows, cols), got {self.asic}")
            object.__setattr__(self, "asic", (int(self.asic[0]), int(self.asic[1])))

    @property
    def relative_bound(self) -> float:
        """The largest error after op and inverse(), over the largest |energy| of the frame."""
        raise NotImplementedError

    @property
    def bound(self) -> float:
        return self.full_scale * self.relative_bound

    def asics(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """asics down and across all panels of one frame, rows and columns of each."""
        rows, cols = self.asic or shape[-2:]
        return math.prod(shape[1:-1]) // rows, shape[-1] // cols, rows, cols

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        frame = tuple(getattr(energy, "shape", ())[1:])
        shape = self.require(self.inputs[0], energy, np.float32, ("n", *(frame if len(frame) > 1 else ("rows", "cols")))).shape
        if 0 in shape[1:]:
            raise ValueError(f"{self.name}: energy must have pixels, got {shape}")
        if self.asic is not None and (shape[-2] % self.asic[0] or shape[-1] % self.asic[1]):
            raise ValueError(f"{self.name}: energy must have panels of whole asics {self.asic}, got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        return (Spec(self.writes[0], shape, np.dtype(np.float32)),)

    def traffic(self, *x: Any) -> int:
        return nbytes(*x) + nbytes(*self.outputs(*x))
