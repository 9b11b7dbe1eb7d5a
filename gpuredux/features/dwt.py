"""The discrete wavelet transform of frames or traces, several levels in one array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, frame_of, live_rows, nbytes
from .dwt_bounds import coefficient_bound, round_trip_bound
from .dwt_layout import MODES, Steps, WaveletOp, dec_taps, extended
from .dwt_numba import analyse, clear_gaps
from .frames import WORDS
from .idwt import IDWT
from .wavelets import Taps

TYPES = {**WORDS, "float64": "f64"}
GROUP, TALL = 4, 64     # dwt.cl: rows of coefficients between two barriers, and of a tile


@dataclass(frozen=True, eq=False)
class DWT(WaveletOp):
    """cA[k] = sum over j of dec_lo[j] * xe[2 k + 1 - j], cD[k] the same with dec_hi; rows first, then columns; then cA again, level by level.

    xe is the signal, which goes on beyond its ends as mode says: along the columns first, then along the rows. Sums begin at 0 and take j in rising
    order; zeros at a filter's ends are left out; each product and each sum is rounded once. In mode periodization xe[2 k + length / 2 - j].
    fields: wavelet, mode: by PyWavelets' names, see wavelets.NAMES and dwt_layout.MODES
            levels: None = as many as pywt.dwt_max_level has for the shortest axis
            axes: 2 = the last two (pywt.wavedec2), 1 = the last (pywt.wavedec): traces (n, channels, samples)
            shape: that of a frame; only inverse() needs it, for a transform's lengths do not tell whether the signal's was odd
            dtype: of the coefficients. None as PyWavelets has it: that of float frames, float64 for whole numbers. "float32" rounds each word once, which
            is exact up to 2**24, and moves half the bytes
            full_scale [unit of energy]: the largest |energy| that `bound` is for
    in:  energy (n, *frame) u8, u16, i16, u32, i32, f32 or f64, or what `of` names; live (1,) i32
    out: coefficients (n, *panels, R, C) f32 or f64: the sub-bands in one array; slices() says where, unpack() nests them as PyWavelets does
    bound: full_scale * round_trip_bound, the largest error behind op and inverse(); error_bound: of a coefficient, over the largest |energy|: both for
           float32, with dtype="float64" for float64. Bit-identical on every backend; NaN and Inf spread as far as the filters reach, and there is one NaN
    source: PyWavelets' documentation of its modes and lengths; Mallat, IEEE Trans. Pattern Anal. Mach. Intell. 11 (1989) 674
    """

    name: ClassVar[str] = "features.dwt"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "live?")
    writes: ClassVar[tuple[str, ...]] = ("coefficients",)
    dtypes: ClassVar[tuple[str, ...]] = tuple(TYPES)

    dtype: str | None = None
    full_scale: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.number("full_scale")) and self.full_scale > 0):
            raise ValueError(f"{self.name}: full_scale must be a number above 0, got {self.full_scale}")
        if self.dtype not in (None, "float32", "float64"):
            raise ValueError(f"{self.name}: dtype must be None, 'float32' or 'float64', got {self.dtype!r}")

    def real(self, x: Any) -> np.dtype:
        """The type of the coefficients of these frames."""
        if np.dtype(x.dtype) == np.float64 and self.dtype == "float32":
            raise TypeError(f"{self.name}: {self.of} is float64 and dtype float32: what that rounds away is yours to decide")
        return np.dtype(self.dtype or ("float32" if np.dtype(x.dtype) == np.float32 else "float64"))

    def outputs(self, x: Any, live: Any) -> tuple[Spec, ...]:
        n, *frame = self.require_frames(x)
        if len(frame) < self.axes or min(frame) < 1:
            raise ValueError(f"{self.name}: {self.of} must have frames of {self.axes} axes or more and no empty one, got {tuple(x.shape)}")
        self.check_frame(tuple(frame))
        self.require_live(live)
        return (Spec("coefficients", (n, *self.packed(tuple(frame))), self.real(x)),)

    def scratch(self, x: Any, live: Any) -> tuple[Spec, ...]:
        """The approximations between two levels."""
        n, steps = x.shape[0], Steps(self, frame_of(x))
        sizes = list(zip(steps.rows, steps.cols, strict=True))[1:-1]
        return tuple(Spec(f"low{k + 1}", (n * steps.images, *size), self.real(x)) for k, size in enumerate(sizes))

    def moved(self, x: Any, live: Any = None) -> int:
        """The bytes that level after level reads and writes: 10.5 a pixel for three levels of float32 in 2-D, where traffic(), the fewest, is 8."""
        return self.traffic(x, live) + 2 * nbytes(*self.scratch(x, live))

    def inverse(self) -> IDWT:
        return IDWT(self.wavelet, self.mode, self.levels, self.axes, self.known(None), of=self.of)

    def _for_bounds(self) -> tuple[str, str, int, int, float]:
        return self.wavelet, self.mode, self.depth(self.known(None)), self.axes, 2.0**-53 if self.dtype == "float64" else 2.0**-24

    @property
    def error_bound(self) -> float:
        return coefficient_bound(*self._for_bounds())

    @property
    def bound(self) -> float:
        return self.full_scale * round_trip_bound(*self._for_bounds())

    def numpy(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        steps, kind, length = Steps(self, frame_of(x)), out.dtype, self.filters.length
        filters = [(t.first, t.values) for t in dec_taps(self, kind)]
        first = self.shift - length + 1
        for f in range(live_rows(x, live)):
            low = x[f].reshape(steps.images, *steps.size).astype(kind)
            packed = np.zeros((steps.images, *steps.packed), kind)
            for level in range(1, steps.levels + 1):
                rows, cols, r0, c0 = steps.rows[level], steps.cols[level], steps.row_starts[level], steps.col_starts[level]
                low = extended(self.mode, low, first, 2 * cols - 2 + length)
                bands = [low]
                if self.axes == 2:
                    low = extended(self.mode, low.swapaxes(1, 2), first, 2 * rows - 2 + length)
                    bands = [filtered(low, taps, rows, length).swapaxes(1, 2) for taps in filters]
                low, high = (filtered(bands[0], taps, cols, length) for taps in filters)
                packed[:, :rows, c0 : c0 + cols] = high
                if self.axes == 2:
                    packed[:, r0 : r0 + rows, :cols], packed[:, r0 : r0 + rows, c0 : c0 + cols] = (filtered(bands[1], t, cols, length) for t in filters)
            packed[:, : steps.rows[-1], : steps.cols[-1]] = low
            out[f] = np.where(np.isnan(packed), kind.type(np.nan), packed).reshape(out.shape[1:])

    def numba(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        steps, n = Steps(self, frame_of(x)), live_rows(x, live)
        m = n * steps.images
        low, packed = x.reshape(-1, *steps.size)[:m], out.reshape(-1, *steps.packed)[:m]
        lo, hi = dec_taps(self, out.dtype)
        filters = (tuple(lo.values), tuple(hi.values), lo.first, hi.first)
        for level in range(1, steps.levels + 1):
            after = packed if level == steps.levels else plan.scratch[f"low{level}"][:m]
            sizes = (steps.rows[level], steps.cols[level], steps.row_starts[level], steps.col_starts[level])
            analyse(low, after, packed, *filters, self.filters.length, self.shift, MODES.index(self.mode), self.axes == 2, sizes)
            low = after
        if self.axes == 2:
            clear_gaps(packed, np.array([steps.rows, steps.row_starts]), np.array([steps.cols, steps.col_starts]))

    def device(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        steps, n = Steps(self, frame_of(x)), x.shape[0]
        before, two = x, self.axes == 2
        for level in range(1, steps.levels + 1):
            last = level == steps.levels
            after = out if last else plan.scratch[f"low{level}"]
            into = steps.packed if last else (steps.rows[level], steps.cols[level])
            sizes = (n, steps.images, steps.rows[level - 1], steps.cols[level - 1], steps.rows[level], steps.cols[level], *into,
                     *steps.packed, steps.row_starts[level], steps.col_starts[level])
            wide = (128 - self.filters.length + 2) // 2
            across, down = -(-steps.col_starts[level] // wide), -(-steps.row_starts[level] // TALL) if two else -(-n * steps.images // GROUP)
            tiles = across * down * (n * steps.images if two else 1)
            plan.launch(
                "features/dwt.cl", "dwt", (tiles,), 128, (before, after, out, x if live is None else live, *map(np.uint32, sizes)),
                LIVE=live is not None, WORD=TYPES[np.dtype(before.dtype).name], **self.defines(out.dtype),
            )
            before = after

    def defines(self, dtype: Any) -> dict[str, Any]:
        """Of dwt.cl: the filters as hexadecimal literals, and what goes with them."""
        names, ends = ("LO", "HI"), {"f32": "f", "f64": ""}
        real = TYPES[np.dtype(dtype).name]
        taps = {f"{k}_TAPS": "{" + ", ".join(_literal(v) + ends[real] for v in _whole(t, self.filters.length)) + "}"
                for k, t in zip(names, dec_taps(self, np.dtype(dtype)), strict=True)}
        if real == "f64" and self.filters.length > 12:      # their windows take more registers than blocks of the usual number have
            taps["BLOCKS_AT_LEAST"] = "2"
        return {**taps, "LENGTH": self.filters.length, "SHIFT": self.shift, f"MODE_{self.mode.upper()}": 1, "TWO": self.axes == 2, "REAL": real,
                "GROUP": f"{GROUP}u", "TALL": f"{TALL}u"}


def filtered(xe: np.ndarray, taps: tuple[int, np.ndarray], count: int, length: int) -> np.ndarray:
    """y[k] = sum over j of taps[j] * xe[2 k + length - 1 - j] along the last axis, from 0 on; taps: the place of the first one, and values."""
    first, values = taps
    total = np.zeros((*xe.shape[:-1], count), xe.dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for j, value in enumerate(values, first):
            total = total + value * xe[..., length - 1 - j :: 2][..., :count]
    return total


def _whole(taps: Taps, length: int) -> list[float]:
    """A filter with the zeros at its ends."""
    out = np.zeros(length)
    out[taps.first : taps.first + len(taps.values)] = taps.values
    return out.tolist()


def _literal(value: float) -> str:
    """An exact literal of C."""
    return value.hex()
