"""What wavelet transforms share: sizes, where the sub-bands lie, and how a signal goes on beyond its ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .frames import FrameOp
from .wavelets import Taps, Wavelet, taps_of, wavelet

MODES = ("zero", "constant", "symmetric", "reflect", "periodic", "smooth", "antisymmetric", "antireflect", "periodization")
MOST_LEVELS = 24


@dataclass(frozen=True, eq=False)
class WaveletOp(FrameOp):
    """Fields and layout of DWT and IDWT.

    The coefficients of one frame are one array, as pywt.coeffs_to_array lays them out: along each transformed axis first the approximation of the last
    level, then the details of the last level, of the one before ... and of level 1. A detail is as long as pywt.dwt_coeff_len says; what so many
    different lengths leave over is 0."""

    wavelet: str
    mode: str = "symmetric"
    levels: int | None = None
    axes: int = 2
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            wavelet(self.wavelet)
        except ValueError as e:
            raise ValueError(f"{self.name}: {e}") from None
        self.one_of("mode", *MODES)
        if self.levels is not None and not 1 <= self.number("levels", whole=True) <= MOST_LEVELS:
            raise ValueError(f"{self.name}: levels must be 1 to {MOST_LEVELS} or None, as many as the shape allows, got {self.levels}")
        if self.number("axes", whole=True) not in (1, 2):
            raise ValueError(f"{self.name}: axes must be 1 (the last) or 2 (the last two), got {self.axes}")
        if self.shape is not None:
            shape = tuple(int(k) for k in self.shape)
            if len(shape) < self.axes or min(shape) < 1:
                raise ValueError(f"{self.name}: shape must be that of a frame, of {self.axes} axes or more and without an empty one, got {self.shape}")
            object.__setattr__(self, "shape", shape)

    @property
    def filters(self) -> Wavelet:
        return wavelet(self.wavelet)

    @property
    def shift(self) -> int:
        """Coefficient k sees the samples 2 * k + shift and before."""
        return self.filters.length // 2 if self.mode == "periodization" else 1

    def check_frame(self, frame: tuple[int, ...]) -> None:
        """Raises ValueError for frames that this op was not made for."""
        if self.shape is not None and tuple(frame) != self.shape:
            raise ValueError(f"{self.name}: shape is {self.shape}, got frames {tuple(frame)}")

    def known(self, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        """This shape of a frame, or the op's own."""
        if shape is None and self.shape is None:
            raise ValueError(f"{self.name}: no shape: give that of a frame, for a transform's lengths do not tell it")
        return tuple(self.shape if shape is None else shape)

    def depth(self, frame: tuple[int, ...]) -> int:
        """The levels of a frame: those asked for, else as many as pywt.dwt_max_level has, and one at least.

        PyWavelets warns where more are asked for than that; all coefficients then feel the ends."""
        if self.levels is not None:
            return self.levels
        shortest, reach = min(frame[-self.axes :]), self.filters.length - 1
        return max(1, (shortest // reach).bit_length() - 1)

    def lengths(self, size: int, levels: int) -> list[int]:
        """Of an axis of this size: itself, then the approximations of level 1, 2, ..."""
        out = [size]
        for _ in range(levels):
            out.append((out[-1] + 1) // 2 if self.mode == "periodization" else (out[-1] + self.filters.length - 1) // 2)
        return out

    def starts(self, size: int, levels: int) -> list[int]:
        """Where the details of level 1, 2, ... begin along an axis; behind them, where level 1 ends: [end, level 1, level 2, ...]."""
        lengths = self.lengths(size, levels)
        at = [lengths[-1]]
        for n in lengths[:0:-1]:
            at.append(at[-1] + n)
        return at[::-1]

    def packed(self, frame: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a frame's coefficients."""
        levels = self.depth(frame)
        return (*frame[: -self.axes], *(self.starts(size, levels)[0] for size in frame[-self.axes :]))

    def slices(self, shape: tuple[int, ...] | None = None) -> dict[str, tuple[Any, ...]]:
        """Where each sub-band lies in the coefficients of frames of this shape, by PyWavelets' names: cA3, cH3, cV3, cD3, cH2 ...; in 1-D cA3, cD3, cD2 ...

        array[op.slices(shape)["cH1"]] of one frame or of a batch."""
        frame = self.known(shape)
        levels = self.depth(frame)
        low, high = [], []
        for size in frame[-self.axes :]:
            lengths, starts = self.lengths(size, levels), self.starts(size, levels)
            low.append([slice(0, n) for n in lengths])
            high.append([slice(s, s + n) for s, n in zip(starts, lengths, strict=True)])
        out: dict[str, tuple[Any, ...]] = {f"cA{levels}": (..., *(x[levels] for x in low))}
        for k in range(levels, 0, -1):
            if self.axes == 2:
                out[f"cH{k}"] = (..., high[0][k], low[1][k])
                out[f"cV{k}"] = (..., low[0][k], high[1][k])
            out[f"cD{k}"] = (..., *(x[k] for x in high))
        return out

    def unpack(self, array: Any, shape: tuple[int, ...] | None = None) -> list[Any]:
        """Views of the coefficients as pywt.wavedec2 nests them, [cA3, (cH3, cV3, cD3), ...], or pywt.wavedec, [cA3, cD3, cD2, ...]."""
        views = [array[where] for where in self.slices(shape).values()]
        if self.axes == 1:
            return views
        return [views[0], *(tuple(views[k : k + 3]) for k in range(1, len(views), 3))]


class Steps:
    """Numbers that a run needs, for one frame shape: images (all axes before), and rows, cols, levels; 1-D has rows of one level 0."""

    def __init__(self, op: WaveletOp, frame: tuple[int, ...]) -> None:
        self.levels = op.depth(frame)
        self.images = int(np.prod(frame[: -op.axes], dtype=np.int64))
        rows = frame[-2] if op.axes == 2 else 1
        self.size = (rows, frame[-1])
        self.rows = op.lengths(rows, self.levels) if op.axes == 2 else [1] * (self.levels + 1)
        self.cols = op.lengths(frame[-1], self.levels)
        self.row_starts = op.starts(rows, self.levels) if op.axes == 2 else [1] * (self.levels + 1)
        self.col_starts = op.starts(frame[-1], self.levels)
        self.packed = (self.row_starts[0], self.col_starts[0])


def dec_taps(op: WaveletOp, dtype: np.dtype) -> tuple[Taps, Taps]:
    return taps_of(op.filters.dec_lo, dtype), taps_of(op.filters.dec_hi, dtype)


def rec_taps(op: WaveletOp, dtype: np.dtype) -> tuple[Taps, Taps]:
    return taps_of(op.filters.rec_lo, dtype), taps_of(op.filters.rec_hi, dtype)


def folded(mode: str, i: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(sample, sign): what stands at places i of a signal of n samples; sign 0 where that is 0. Not of smooth and antireflect."""
    sign = np.ones(i.shape, np.int64)
    if mode == "zero":
        return np.clip(i, 0, n - 1), ((i >= 0) & (i < n)).astype(np.int64)
    if mode == "constant":
        return np.clip(i, 0, n - 1), sign
    if mode == "periodic":
        return i % n, sign
    if mode == "periodization":
        return np.minimum(i % (n + n % 2), n - 1), sign
    if mode == "reflect":
        t = i % max(2 * n - 2, 1)
        return np.where(t < n, t, 2 * n - 2 - t), sign
    t = i % (2 * n)
    if mode == "antisymmetric":
        sign = np.where(t < n, 1, -1)
    return np.where(t < n, t, 2 * n - 1 - t), sign


def extended(mode: str, x: np.ndarray, first: int, count: int) -> np.ndarray:
    """The samples first ... first + count - 1 of x along its last axis, which goes on beyond its ends as mode says; in the type of x.

    One sample alone goes on as it is in modes reflect, antireflect (which PyWavelets refuses) and smooth.
    smooth: on the line through the last two samples; antireflect: 2 * end - the sample as far inside, and so on at each further end."""
    i, n = np.arange(first, first + count), x.shape[-1]
    kind = x.dtype.type
    with np.errstate(over="ignore", invalid="ignore"):
        if n == 1 and mode in ("smooth", "antireflect"):
            return np.repeat(x, count, axis=-1)
        if mode == "smooth":
            inside = x[..., np.clip(i, 0, n - 1)]
            before = (x[..., :1] - x[..., 1:2]) * np.maximum(-i, 0).astype(kind) + x[..., :1]
            behind = (x[..., -1:] - x[..., -2:-1]) * np.maximum(i - (n - 1), 0).astype(kind) + x[..., -1:]
            return np.where(i < 0, before, np.where(i < n, inside, behind))
        if mode == "antireflect":
            period, u = 2 * n - 2, np.abs(i)
            t, turns = u % period, u // period
            y = np.where(t < n, x[..., np.minimum(t, n - 1)], x[..., -1:] * kind(2) - x[..., np.minimum(period - t, n - 1)])
            y = np.where(turns > 0, (x[..., -1:] - x[..., :1]) * (2 * turns).astype(kind) + y, y)
            return np.where(i < 0, x[..., :1] * kind(2) - y, y)
    sample, sign = folded(mode, i, n)
    y = x[..., sample]
    return np.where(sign == 0, kind(0), np.where(sign < 0, -y, y))
