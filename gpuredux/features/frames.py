"""What ops have in common that read detector frames: which input, which dtypes, which pixels, in which steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..op import Op, frame_of, read_only

WORDS = {"uint8": "u8", "uint16": "u16", "int16": "i16", "uint32": "u32", "int32": "i32", "float32": "f32"}
LARGEST = 2147483520    # the largest float32 below 2^31: what a pixel of a float frame counts at most, in units


@dataclass(frozen=True, eq=False)
class FrameOp(Op):
    """fields: of: the name of the input that holds the frames, so that a Chain can feed photons or raw words in place of energy
            marks: the name of the input with their pixels' status, for frames that have another one, such as bin_status, or none in a chain that has"""

    dtypes: ClassVar[tuple[str, ...]] = tuple(WORDS)

    of: str = field(default="energy", kw_only=True)
    marks: str = field(default="pixel_status", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.of, str) or not self.of.isidentifier() or self.of in self.input_names[1:]:
            raise ValueError(f"{self.name}: of must be the name of the input that holds the frames, got {self.of!r}")
        if not isinstance(self.marks, str) or not self.marks.isidentifier() or self.marks == self.of:
            raise ValueError(f"{self.name}: marks must be the name of the input with the pixels' status, got {self.marks!r}")
        self._name_inputs()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._name_inputs()

    def _name_inputs(self) -> None:
        object.__setattr__(self, "inputs", (self.of, *(f"{self.marks}?" if k == "pixel_status?" else k for k in type(self).inputs[1:])))

    def require_frames(self, x: Any, good: np.ndarray | None = None) -> tuple[int, ...]:
        """The shape (n, *frame) of the frames; of good's frame, where that is given."""
        return self.require(self.of, x, [np.dtype(d) for d in self.dtypes], ("n", *(frame_of(x) if good is None else good.shape))).shape

    def own_unit(self) -> float:
        """The field unit, checked: a power of two; for __post_init__."""
        unit = self.number("unit")
        if not (math.isfinite(unit) and unit > 0 and math.frexp(unit)[0] == 0.5 and 2.0**-60 <= unit <= 2.0**60):
            raise ValueError(f"{self.name}: unit must be a power of two from 2**-60 to 2**60, got {unit}")
        return float(unit)


def host_frames(x: np.ndarray, n: int) -> np.ndarray:
    """The first n frames (n, npix), of u16 or f32, for what takes frames as float32: other dtypes cost a pass more, and no compilation more."""
    frames = x.reshape(len(x), math.prod(x.shape[1:]))[:n]
    return read_only(frames if frames.dtype.name in ("uint16", "float32") else frames.astype(np.float32))


def host_marks(pixel_status: np.ndarray | None, n: int) -> np.ndarray:
    """The first n rows (n, npix) of pixel_status; one that nobody looks at where there is none: numba compiles once for both."""
    return read_only(np.zeros((1, 1), np.uint8) if pixel_status is None else pixel_status.reshape(len(pixel_status), math.prod(pixel_status.shape[1:]))[:n])


def word(x: Any) -> str:
    """WORD for kernels: the C type of an array's elements."""
    return WORDS[np.dtype(x.dtype).name]


def whole(x: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """(q i64, beyond bool): x in units, to the nearest whole number, ties to even; of integers the values themselves. NaN and Inf give 0."""
    if x.dtype.kind != "f":
        return x.astype(np.int64), np.zeros(x.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(x * np.float32(1 / unit))
        beyond = np.isfinite(x) & (np.abs(steps) > np.float32(LARGEST))
        return np.where(np.isfinite(x), np.clip(steps, -LARGEST, LARGEST), 0).astype(np.int64), beyond
