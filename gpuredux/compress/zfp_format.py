"""What a zfp stream is, in numbers: modes, blocks, limits, the order of coefficients, the words that HDF5 keeps of it. Over 200 lines: see also zfp.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..op import Op

MIN_EXP = -1074     # of the smallest double: no limit from below
MOST_BITS = 16658   # of a block, the format's "no limit"
MOST_PRECISION = 64
DTYPES = ("int32", "int64", "float32", "float64")       # their numbers in a header are 1 to 4
HDF5_FILTER = 32013

# Coefficients of a 4^rank block by total sequency, as flat indices of the block with x fastest. Read off streams of one coefficient each.
ORDER = {
    1: (0, 1, 2, 3),
    2: (0, 1, 4, 5, 2, 8, 6, 9, 3, 12, 10, 7, 13, 11, 14, 15),
    3: (0, 1, 4, 16, 20, 17, 5, 2, 8, 32, 21, 6, 18, 24, 9, 33, 36, 3, 12, 48, 22, 25, 37, 40, 34, 10, 7, 19, 28, 13, 49, 52,
        41, 38, 26, 23, 29, 53, 11, 35, 44, 14, 50, 56, 42, 27, 39, 45, 30, 54, 57, 60, 51, 15, 43, 46, 58, 61, 55, 31, 62, 59, 47, 63),
}
PADDED = ((), (0, 0, 0, 0), (0, 1, 1, 0), (0, 1, 2, 0))      # where the four values of a line come from that has 1, 2 or 3


class Width:
    """Of a dtype: bits of a word, of an exponent, the exponent's bias, of a mantissa with its hidden bit. Integers have no exponent."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.floating = dtype.kind == "f"
        self.bits = 8 * dtype.itemsize
        self.mantissa = 24 if self.bits == 32 else 53
        self.exponent = (self.bits - self.mantissa) if self.floating else 0
        self.bias = (1 << (self.bits - self.mantissa - 1)) - 1
        self.header = 1 + self.exponent if self.floating else 0
        self.word = np.dtype(f"u{dtype.itemsize}")
        self.signed = np.dtype(f"i{dtype.itemsize}")
        self.floats = np.dtype(f"f{dtype.itemsize}")
        self.negabinary = self.word.type(0xAAAAAAAAAAAAAAAA >> (64 - self.bits))
        self.tightest = 2.0 ** (-118 if self.bits == 32 else -1010)     # below it, decoders' own scale factors underflow


@dataclass(frozen=True)
class Layout:
    """Of one frame: blocks along each axis, values of a block, the four numbers of zfp's modes, the most bits of a block, cap, bits of a value."""

    shape: tuple[int, ...]
    grid: tuple[int, ...]
    size: int
    minbits: int
    maxbits: int
    maxprec: int
    minexp: int
    block_bits: int
    cap: int
    bits: int

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def blocks(self) -> int:
        return math.prod(self.grid)

    @property
    def fixed(self) -> bool:
        """Whether all blocks are of one length."""
        return self.minbits == self.maxbits

    @property
    def params(self) -> np.ndarray:
        """For zfp_numba: three axes of the frame, rank, size, the modes' numbers, bits of a word."""
        axes = (*[1] * (3 - self.rank), *self.shape)
        return np.array([*axes, self.rank, self.size, self.minbits, self.maxbits, self.maxprec, self.minexp, self.bits], np.int64)


@dataclass(frozen=True, eq=False)
class ZfpOp(Op):
    """The fields that say how a stream is made: one of tolerance, rate and precision; for both directions."""

    name: ClassVar[str] = ""

    def check_mode(self) -> None:
        """For __post_init__: exactly one mode, with a number that it can have."""
        given = {k: v for k, v in self._fields().items() if k in ("tolerance", "rate", "precision") and v is not None}
        if len(given) != 1:
            raise ValueError(f"{self.name}: give one of tolerance, rate and precision, got {', '.join(given) or 'none'}")
        (field,) = given
        value = self.number(field, whole=field == "precision")
        object.__setattr__(self, field, value)
        low, high = {"tolerance": (2.0**-1010, 2.0**1000), "rate": (2.0**-6, 64.0), "precision": (1, 64)}[field]
        if not low <= value <= high:
            raise ValueError(f"{self.name}: {field} must be {low:.4g} to {high:.4g}, got {value}")

    @property
    def bound(self) -> float:
        """The tolerance; a rate or a precision bounds nothing."""
        tolerance = self._fields()["tolerance"]
        return math.inf if tolerance is None else float(tolerance)

    def layout(self, shape: tuple[int, ...], dtype: Any) -> Layout:
        """Raises TypeError or ValueError for frames that this mode cannot hold."""
        fields = self._fields()
        return frame_layout(self.name, tuple(int(k) for k in shape), np.dtype(dtype), fields["tolerance"], fields["rate"], fields["precision"])

    def own_frame(self) -> None:
        """The fields shape and dtype, checked; for __post_init__."""
        fields = self._fields()
        self.layout(tuple(fields["shape"]), fields["dtype"])
        object.__setattr__(self, "shape", tuple(int(k) for k in fields["shape"]))
        object.__setattr__(self, "dtype", np.dtype(fields["dtype"]).name)

    def largest_held(self, dtype: Any, rank: int) -> float:
        """The largest |value| with which the tolerance holds by zfp's own arithmetic; beyond it, look at frame_status and max_error."""
        width, minexp = Width(np.dtype(dtype)), mode_numbers(4**rank, Width(np.dtype(dtype)), self.bound, None, None)[3]
        return math.ldexp(1.0, min(minexp + width.bits - 2 * (rank + 1), 128 if width.bits == 32 else 1023))


def fits(dtype: np.dtype[Any]) -> bool:
    return dtype.name in DTYPES and dtype.isnative


def mode_numbers(size: int, width: Width, tolerance: float | None, rate: float | None, precision: int | None) -> tuple[int, int, int, int]:
    """minbits, maxbits of a block; the most bit planes; the exponent of the lowest plane."""
    if rate is not None:
        bits = math.floor(size * rate + 0.5)
        return bits, bits, MOST_PRECISION, MIN_EXP
    if precision is not None:
        return 1, MOST_BITS, precision, MIN_EXP
    return 1, MOST_BITS, MOST_PRECISION, math.frexp(tolerance or 0.0)[1] - 1


@lru_cache(256)
def frame_layout(who: str, shape: tuple[int, ...], dtype: np.dtype[Any], tolerance: float | None, rate: float | None, precision: int | None) -> Layout:
    """Raises TypeError or ValueError for frames that zfp cannot hold in this mode."""
    if not fits(dtype):
        raise TypeError(f"{who}: the dtype must be native {', '.join(DTYPES)}, got {dtype}")
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError(f"{who}: frames must have 1 to 3 axes and pixels, got the frame shape {shape}")
    width, rank = Width(dtype), len(shape)
    if tolerance is not None and not width.floating:
        raise ValueError(f"{who}: zfp knows no tolerance of integers, and {dtype} is one: give rate or precision, or use a lossless op")
    if tolerance is not None and not width.tightest <= tolerance <= float(np.finfo(dtype).max):
        raise ValueError(f"{who}: tolerance must be {width.tightest:.3g} to {np.finfo(dtype).max:.3g} for {dtype}, got {tolerance}: zfp cannot hold it")
    if rate is not None and rate > width.bits:
        raise ValueError(f"{who}: rate must be at most the {width.bits} bits of a {dtype}, got {rate}")
    numbers = mode_numbers(4**rank, width, tolerance, rate, precision)
    least = max(width.header, 1)
    if numbers[1] < least:      # libzfp 1.0.1 takes them, and writes beyond its buffer
        raise ValueError(f"{who}: rate {rate} is {numbers[1]} bits a block of {4**rank} values, and {dtype} takes {least} at least: zfp cannot hold it")
    planes = min(numbers[2], width.bits)
    block_bits = min(numbers[1], width.header + (planes + 1) * 4**rank - 1) if numbers[0] < numbers[1] else numbers[1]
    grid = tuple(-(-k // 4) for k in shape)
    total = math.prod(grid) * block_bits
    if total + 128 >= 1 << 31:
        raise ValueError(f"{who}: a frame {shape} could need {total} bits, and 31 bits count them; cut it into panels")
    return Layout(shape, grid, 4**rank, *numbers, block_bits, -(-total // 128) * 16, width.bits)


# ------------------------------------------------------------------------------------------------------------ HDF5
def header(layout: Layout, dtype: Any) -> tuple[int, int]:
    """zfp's own header (magic, metadata, mode) as one number, low bits first, and how many bits it has."""
    nbits = {1: 48, 2: 24, 3: 16}[layout.rank]
    meta = 0
    for length in layout.shape:
        if length > 1 << nbits:
            raise ValueError(f"zfp's header has {nbits} bits for an axis, and {layout.shape} has more pixels")
        meta = meta << nbits | length - 1
    meta = (meta << 2 | layout.rank - 1) << 2 | DTYPES.index(np.dtype(dtype).name)
    mode, mode_bits = mode_word(layout)
    return int.from_bytes(b"zfp\x05", "little") | meta << 32 | mode << 84, 84 + mode_bits


def mode_word(layout: Layout) -> tuple[int, int]:
    """The mode in 12 bits where it has a short form, else in 64."""
    if layout.fixed and layout.maxbits <= 2048:
        return layout.maxbits - 1, 12
    if not layout.fixed and layout.minexp == MIN_EXP and layout.maxprec < MOST_PRECISION:
        return layout.maxprec - 1 + 2048, 12
    if not layout.fixed and MIN_EXP < layout.minexp <= 843:
        return layout.minexp - MIN_EXP + 2177, 12
    word = layout.minexp + 16495
    for bits, value in ((7, layout.maxprec), (15, layout.maxbits), (15, layout.minbits)):
        word = word << bits | value - 1
    return word << 12 | 0xFFF, 64


def stored_values(layout: Layout, dtype: Any) -> tuple[int, ...]:
    """cd_values of filter 32013 as they lie in a file: the versions, and zfp's header in words of 32 bits."""
    number, bits = header(layout, dtype)
    return 0x10105111, *(number >> 32 * k & 0xFFFFFFFF for k in range(-(-bits // 32)))


def given_values(tolerance: float | None, rate: float | None, precision: int | None) -> tuple[int, ...]:
    """compression_opts of h5py's create_dataset for filter 32013, from which the plugin makes what it stores."""
    if precision is not None:
        return 2, 0, precision, 0, 0, 0
    low, high = np.array([rate if tolerance is None else tolerance], "<f8").view("<u4")
    return 1 if tolerance is None else 3, 0, int(low), int(high), 0, 0
