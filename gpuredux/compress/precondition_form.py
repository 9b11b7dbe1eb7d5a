"""What compress.Precondition and compress.Restore must both know: the predictor, the gaps, and how a word becomes a code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..op import Op, vector

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32")
CODES = ("uint8", "int8", "uint16", "int16")        # that narrow; else the words' own
PREDICTORS = ("none", "previous", "left_up", "pedestal")


def find_gaps(frames: np.ndarray, invalid: Sequence[int] | None = None) -> tuple[np.ndarray, tuple[int, ...]]:
    """gaps (*frame) u8 and gap_values of frames (n, *frame) of integers: the pixels that hold one and the same invalid value in all of them.

    invalid: which values are; None: -1, -2 and the smallest value of signed words, the largest one of unsigned words. Frames that show a pixel lit at times
    keep it from being taken for a gap; one that is taken wrongly costs an exception a frame, and no value."""
    if not isinstance(frames, np.ndarray) or frames.dtype.kind not in "iu" or frames.ndim < 2 or not len(frames):
        raise TypeError(f"find_gaps: frames must be integers (n, *frame), got {getattr(frames, 'dtype', type(frames).__name__)} {getattr(frames, 'shape', '')}")
    limits = np.iinfo(frames.dtype)
    candidates = (-1, -2, int(limits.min)) if limits.min else (int(limits.max),)
    still = (frames == frames[0]).all(axis=0)
    gaps, values = np.zeros(frames.shape[1:], np.uint8), []
    for value in dict.fromkeys(candidates if invalid is None else invalid):
        here = still & (frames[0] == value)
        if here.any():
            values.append(int(value))
            gaps[here] = len(values)
    return gaps, tuple(values)


@dataclass(frozen=True, eq=False)
class Form(Op):
    """The fields; see Precondition."""

    dtype: str
    code: str | None = None
    predictor: str = "none"
    gaps: np.ndarray | None = None
    gap_values: tuple[int, ...] = ()
    pedestal: np.ndarray | None = None
    every: int = 16

    def __post_init__(self) -> None:
        self.one_of("dtype", *DTYPES)
        self.one_of("predictor", *PREDICTORS)
        self._own_code()
        self._own_gaps()
        if (self.predictor == "pedestal") != (self.pedestal is not None):
            raise ValueError(f"{self.name}: pedestal belongs to predictor='pedestal', and to no other, got {self.predictor!r}")
        if self.pedestal is not None:
            given = np.asarray(self.pedestal)
            fits = given.dtype.kind in "iu" and (not given.size or (self.limits.min <= given.min() and given.max() <= self.limits.max))
            if not fits or not given.ndim or (self.gaps is not None and given.shape != self.gaps.shape):
                raise ValueError(f"{self.name}: pedestal must be integers (*frame) that {self.dtype} holds, got {given.dtype} {given.shape}")
            self.own("pedestal", self.dtype)
        if not 1 <= self.number("every", whole=True) <= 65535:
            raise ValueError(f"{self.name}: every must be 1 to 65535 frames, got {self.every}")

    def _own_code(self) -> None:
        own = self.dtype if self.predictor == "none" else "uint" + self.dtype.lstrip("uint")
        narrower = tuple(k for k in CODES if np.dtype(k).itemsize < np.dtype(self.dtype).itemsize and (k[0] == "u" or self.predictor == "none"))
        if self.code is not None:
            self.one_of("code", *narrower, own)
        object.__setattr__(self, "code", self.code or own)

    def _own_gaps(self) -> None:
        values = (self.gap_values,) if isinstance(self.gap_values, int) else tuple(self.gap_values)
        if any(isinstance(v, bool) or not isinstance(v, (int, np.integer)) or not self.limits.min <= v <= self.limits.max for v in values):
            raise ValueError(f"{self.name}: gap_values must be whole numbers that {self.dtype} holds, got {values}")
        object.__setattr__(self, "gap_values", tuple(int(v) for v in values))
        if (self.gaps is not None) != (len(values) > 0):
            raise ValueError(f"{self.name}: gaps and gap_values belong together, got {'none' if self.gaps is None else 'gaps'} and {values}")
        if self.gaps is not None:
            given = np.asarray(self.gaps)
            if given.dtype not in (np.bool_, np.uint8) or not given.ndim or int(given.max(initial=0)) > len(values):
                raise ValueError(f"{self.name}: gaps must be bool or uint8 (*frame), 0 = none, k = holds gap_values[k - 1] of {len(values)}, "
                                 f"got {given.dtype} {given.shape}")
            object.__setattr__(self, "gaps", given.view(np.uint8))
            self.own("gaps")

    # ------------------------------------------------------------------------------------------------ words and codes
    @property
    def limits(self) -> Any:
        return np.iinfo(self.dtype)

    @property
    def bits(self) -> int:
        return 8 * np.dtype(self.dtype).itemsize

    @property
    def narrow(self) -> bool:
        """Whether there are words without a code."""
        return np.dtype(self.code).itemsize < np.dtype(self.dtype).itemsize

    @property
    def fill_code(self) -> int:
        """The largest one: of an exception."""
        return int(np.iinfo(self.code).max)     # type: ignore[type-var]

    @property
    def lowest(self) -> int:
        """The smallest word that has a code as it is."""
        return int(max(np.iinfo(self.code).min, self.limits.min))       # type: ignore[type-var]

    @property
    def frame(self) -> tuple[int, ...] | None:
        """The shape that planes prescribe."""
        plane = self.gaps if self.gaps is not None else self.pedestal
        return None if plane is None else plane.shape

    def is_plain(self, row: int) -> bool:
        """Whether a frame of the batch is no difference."""
        return self.predictor == "none" or (self.predictor == "previous" and row % self.every == 0)

    def lines(self, shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of a panel, of frames of this shape."""
        return (int(shape[-2]) if len(shape) > 1 else 1), int(shape[-1])

    def vector(self, shape: Sequence[int]) -> int:
        """Pixels that a thread owns: side by side in one row, where left and up count."""
        return min(vector(math.prod(shape)), vector(self.lines(shape)[1])) if self.predictor == "left_up" else vector(math.prod(shape))

    def constants(self) -> dict[str, np.ndarray]:
        made = {k: v for k, v in (("gaps", self.gaps), ("pedestal", self.pedestal)) if v is not None}
        return {**made, "gap_value": np.array(self.gap_values, np.int64).astype(np.uint32) & self.mask} if self.gap_values else made

    @property
    def mask(self) -> np.uint32:
        return np.uint32((1 << self.bits) - 1)

    def check_update(self, new: Op) -> None:
        if getattr(new, "gap_values", None) != self.gap_values:
            raise ValueError(f"{self.name}: gap_values must stay as they are")

    def defines(self, shape: Sequence[int]) -> dict[str, Any]:
        """What both kernels must know."""
        low = self.lowest & 0xFFFFFFFF
        return {"VECTOR": self.vector(shape), "WORD_BITS": self.bits, "WORD_SIGNED": self.dtype[0] == "i", "CODE_BITS": 8 * np.dtype(self.code).itemsize,
                "CODE_SIGNED": self.code is not None and self.code[0] == "i", "NARROW": self.narrow, "CODE_FILL": f"{self.fill_code}u",
                "CODE_LOWEST": f"{low}u", "CODE_REACH": f"{self.fill_code - self.lowest}u", "PREDICTOR": PREDICTORS.index(self.predictor),
                "GAPS": self.gaps is not None}

    def how(self, shape: Sequence[int]) -> np.ndarray:
        """The same for numba, int64: what its functions take apart."""
        rows, cols = self.lines(shape)
        bias, beyond = 1 << self.bits - 1 if self.dtype[0] == "i" else 0, self.fill_code if self.narrow else 0xFFFFFFFF
        sign = 1 << 8 * np.dtype(self.code).itemsize - 1 if str(self.code)[0] == "i" else 0
        reach = self.fill_code - self.lowest if self.narrow else 0xFFFFFFFF
        return np.array([PREDICTORS.index(self.predictor), self.every, rows, cols, self.bits, bias, self.lowest & 0xFFFFFFFF if self.narrow else 0, reach,
                         beyond, self.fill_code, self.narrow, sign], np.int64)


def average(left: Any, up: Any) -> Any:
    """The largest whole number that is not above (left + up) / 2; int64."""
    return (left + up) >> 1


def zigzag(difference: Any, bits: int) -> Any:
    """0, -1, 1, -2 ... of differences modulo 2**bits, taken between -2**(bits - 1) and 2**(bits - 1) - 1, as 0, 1, 2, 3 ...; int64."""
    near = (difference + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
    return np.where(near < 0, -2 * near - 1, 2 * near)


def unzigzag(code: Any) -> Any:
    return np.where(code & 1, -(code + 1) // 2, code // 2)


def wrapped(value: Any, limits: Any) -> Any:
    """Whole numbers modulo 2**bits, as a dtype's; int64."""
    return (value - int(limits.min)) % (int(limits.max) - int(limits.min) + 1) + int(limits.min)
