"""What is kept of wavelet coefficients: those above a threshold, hard or soft, or the k largest of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, frame_of, live_rows
from .threshold_numba import keep_above, keep_largest

BITS = {"float32": ("u32", np.uint32), "float64": ("u64", np.uint64)}
TILE = 4096     # wavelet_threshold.cl: coefficients of a block


@dataclass(frozen=True, eq=False)
class WaveletThreshold(Op):
    """hard: x where |x| >= value, else 0; soft: sign(x) * (|x| - value) where |x| > value, else 0; largest: x where |x| is among the k largest, else 0.

    Of coefficients of equal magnitude the first in raster order are the larger. NaN is larger than all and is kept, as the one NaN.
    fields: kind "hard", "soft" or "largest"; value: the threshold of the first two, rounded to the coefficients' type; keep: k of the third, for each frame
            spare: the corner, (rows, cols) or (samples,), that is left as it is and not counted: the approximation, op.slices(shape)["cA3"]
    in:  coefficients (n, *shape) f32 or f64; live (1,) i32
    out: coefficients (n, *shape) of the same type; kept (n,) u32: how many beside the spared ones are not 0 now
    exact: bit-identical on every backend
    source: Donoho and Johnstone, Biometrika 81 (1994) 425; PyWavelets' pywt.threshold has the same but for roundings of soft
    """

    name: ClassVar[str] = "features.wavelet_threshold"
    inputs: ClassVar[tuple[str, ...]] = ("coefficients", "live?")
    writes: ClassVar[tuple[str, ...]] = ("coefficients", "kept")

    kind: str = "hard"
    value: float = 0.0
    keep: int = 0
    spare: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.one_of("kind", "hard", "soft", "largest")
        if not (math.isfinite(self.number("value")) and self.value >= 0):
            raise ValueError(f"{self.name}: value must be a number of 0 or more, got {self.value}")
        if not 0 <= self.number("keep", whole=True) < 2**31 or (self.kind == "largest") != (self.keep > 0) or (self.kind == "largest" and self.value):
            raise ValueError(f"{self.name}: keep, 1 or more, goes with kind='largest', and value with the others, got keep={self.keep}, value={self.value}")
        spare = tuple(int(k) for k in self.spare)
        if len(spare) > 2 or any(k < 0 for k in spare):
            raise ValueError(f"{self.name}: spare must be (), (samples,) or (rows, cols), got {self.spare}")
        object.__setattr__(self, "spare", spare)

    def outputs(self, coefficients: Any, live: Any) -> tuple[Spec, ...]:
        got = self.require("coefficients", coefficients, [np.dtype(d) for d in BITS], ("n", *frame_of(coefficients)))
        if got.shape[1:] == () or len(got.shape) <= len(self.spare) or not 0 < math.prod(got.shape[1:]) < 2**31:
            raise ValueError(f"{self.name}: coefficients must be frames of {max(len(self.spare), 1)} axes or more, of 1 to 2^31 values, got {got.shape}")
        self.require_live(live)
        return (got, Spec("kept", (got.shape[0],), np.dtype(np.uint32)))

    def scratch(self, coefficients: Any, live: Any) -> tuple[Spec, ...]:
        """Of the selection: counts by digit; what is known of the k-th magnitude and how many of just that are kept; how many each tile has."""
        if self.kind != "largest":
            return ()
        n, tiles = coefficients.shape[0], -(-math.prod(coefficients.shape[1:]) // TILE)
        sizes = (("counts", (n, 256), np.uint32), ("known", (n,), np.uint64), ("left", (n,), np.uint32), ("ties", (n, tiles), np.uint32))
        return tuple(Spec(name, shape, np.dtype(dtype)) for name, shape, dtype in sizes)

    def _spared(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """rows, cols of a plane of the frame and the spared ones."""
        rows, cols = (shape[-2] if len(shape) > 1 else 1), shape[-1]
        spare = (rows if self.spare else 0, *self.spare)[-2:] if len(self.spare) < 2 else self.spare
        return rows, cols, min(spare[0], rows), min(spare[-1], cols) if self.spare else 0

    def numpy(self, plan: Plan, coefficients: Any, live: Any, out: Any, kept: Any) -> None:
        kind, (rows, cols, spare_rows, spare_cols) = out.dtype.type, self._spared(coefficients.shape[1:])
        value = kind(self.value)
        for f in range(live_rows(coefficients, live)):
            x = coefficients[f].reshape(-1, rows, cols)
            spared = np.zeros(x.shape, bool)
            spared[:, :spare_rows, :spare_cols] = True
            size = np.abs(x)
            if self.kind == "hard":
                y = np.where(size < value, kind(0), x)
            elif self.kind == "soft":
                with np.errstate(invalid="ignore"):
                    y = np.where(size > value, np.where(x > 0, x - value, x + value), np.where(np.isnan(x), x, kind(0)))
            else:
                rank = np.where(np.isnan(x), np.inf, size).astype(np.float64)
                order = np.lexsort((np.arange(x.size), -rank.ravel(), ~np.isnan(x).ravel(), spared.ravel()))    # spared last, NaN first
                y = np.zeros_like(x)
                first = order[: min(self.keep, int((~spared).sum()))]
                y.flat[first] = x.flat[first]
            y = np.where(spared, x, y)
            y = np.where(np.isnan(y), kind(np.nan), y)
            out[f], kept[f] = y.reshape(out.shape[1:]), np.count_nonzero(y[~spared])

    def numba(self, plan: Plan, coefficients: Any, live: Any, out: Any, kept: Any) -> None:
        n, (rows, cols, *spare) = live_rows(coefficients, live), self._spared(coefficients.shape[1:])
        shape = (len(coefficients), -1)
        x, y = coefficients.reshape(shape)[:n] if len(coefficients) else coefficients, out.reshape(shape)[:n] if len(out) else out
        if n and self.kind == "largest":
            word = BITS[out.dtype.name][1]
            keep_largest(x.view(word), y.view(word), kept, self.keep, rows, cols, *spare)
        elif n:
            keep_above(x, y, kept, out.dtype.type(self.value), self.kind == "soft", rows, cols, *spare)

    def device(self, plan: Plan, coefficients: Any, live: Any, out: Any, kept: Any) -> None:
        n, size, (rows, cols, *spare) = coefficients.shape[0], math.prod(coefficients.shape[1:]), self._spared(tuple(coefficients.shape[1:]))
        tiles, real = -(-size // TILE), np.dtype(out.dtype)
        bits = 8 * real.itemsize
        defines = {"WORD": BITS[real.name][0], "WORD_BITS": bits, "REAL": "f32" if bits == 32 else "f64", "LIVE": live is not None,
                   "SOFT": self.kind == "soft", "LARGEST": self.kind == "largest", "SPARE": bool(self.spare)}
        state = [plan.scratch.get(k, kept) for k in ("counts", "known", "left", "ties")]
        sizes = [np.uint32(k) for k in (n, size, tiles, rows, cols, *spare)]
        value = real.type(self.value)
        total = size // (rows * cols) * (rows * cols - spare[0] * spare[1])

        def launch(kernel: str, blocks: int, *more: Any) -> None:
            args = (coefficients, out, kept, coefficients if live is None else live, *state, *sizes, value, *more)
            plan.launch("features/wavelet_threshold.cl", kernel, (blocks,), 128, args, **defines)

        launch("threshold_start", n, np.uint32(min(self.keep, total)), np.uint32(0))
        if self.kind == "largest":
            for shift in range(bits - 8, -1, -8):
                launch("threshold_digits", n * tiles, np.uint32(0), np.uint32(shift))
                launch("threshold_pick", n, np.uint32(0), np.uint32(shift))
            launch("threshold_ties", n * tiles, np.uint32(0), np.uint32(0))
            launch("threshold_scan", n, np.uint32(0), np.uint32(0))
        launch("threshold_write", n * tiles, np.uint32(0), np.uint32(0))
