"""The inverse of the discrete wavelet transform: frames or traces from the coefficients of several levels in one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from .dwt_layout import Steps, WaveletOp, rec_taps
from .idwt_numba import synthesise
from .wavelets import Taps

REALS = {"float32": "f32", "float64": "f64"}
PAIRS, TALL = 2, 32     # idwt.cl: pairs of rows between two barriers, and of a tile


@dataclass(frozen=True, eq=False)
class IDWT(WaveletOp):
    """x[n] = sum of cA[k] * rec_lo[j] + sum of cD[k] * rec_hi[j], j = n + length - 2 - 2 k; columns first, then rows; from the last level to the first.

    In mode periodization j = n + length / 2 - 1 - 2 k, and k goes round. A sum begins at 0 and takes j of rec_lo in rising order, then of rec_hi; zeros at a
    filter's ends are left out; each product and each sum is rounded once. What a level has too much, one sample at most, is cut off, as
    pywt.waverec2 does between levels; here at the last one too.
    fields: wavelet, mode, levels, axes: those of the DWT; shape: that of a frame, which must be given; of: the name of the output
    in:  coefficients (n, *panels, R, C) f32 or f64, as DWT lays them out; live (1,) i32
    out: energy (n, *frame) of the same type, or what `of` names
    exact: bit-identical on every backend; the transform and its inverse together: DWT.bound
    source: PyWavelets' documentation; Mallat, IEEE Trans. Pattern Anal. Mach. Intell. 11 (1989) 674
    """

    name: ClassVar[str] = "features.idwt"
    inputs: ClassVar[tuple[str, ...]] = ("coefficients", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)
    dtypes: ClassVar[tuple[str, ...]] = tuple(REALS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known(None)

    def _name_inputs(self) -> None:
        object.__setattr__(self, "writes", (self.of,))

    @property
    def frame(self) -> tuple[int, ...]:
        return self.known(None)

    def outputs(self, coefficients: Any, live: Any) -> tuple[Spec, ...]:
        got = self.require("coefficients", coefficients, [np.dtype(d) for d in REALS], ("n", *self.packed(self.frame)))
        self.require_live(live)
        return (Spec(self.of, (got.shape[0], *self.frame), got.dtype),)

    def scratch(self, coefficients: Any, live: Any) -> tuple[Spec, ...]:
        """The approximations between two levels."""
        n, steps = coefficients.shape[0], Steps(self, self.frame)
        sizes = list(zip(steps.rows, steps.cols, strict=True))[1:-1]
        return tuple(Spec(f"low{k + 1}", (n * steps.images, *size), np.dtype(coefficients.dtype)) for k, size in enumerate(sizes))

    def moved(self, coefficients: Any, live: Any = None) -> int:
        """The bytes that level after level reads and writes."""
        return self.traffic(coefficients, live) + 2 * nbytes(*self.scratch(coefficients, live))

    @property
    def reach(self) -> int:
        """j of k = 0 and n = 0."""
        return self.filters.length // 2 - 1 if self.mode == "periodization" else self.filters.length - 2

    @property
    def first(self) -> int:
        """The first coefficient that samples 0 and 1 see."""
        return self.reach // 2 - self.filters.length // 2 + 1

    @property
    def window(self) -> int:
        """How many coefficients two neighbouring samples see."""
        return self.filters.length // 2 + self.reach % 2

    def phases(self, dtype: Any) -> list[list[tuple[int, np.ndarray]]]:
        """For even and for odd samples, of the low and of the high filter: which of the window's coefficients the first tap takes, and the taps; each
        further tap takes the coefficient before."""
        out = []
        for parity in (0, 1):
            first_tap = (parity + self.reach) % 2
            newest = (parity + self.reach - first_tap) // 2 - self.first
            out.append([_phase(taps, first_tap, newest) for taps in rec_taps(self, np.dtype(dtype))])
        return out

    def numpy(self, plan: Plan, coefficients: Any, live: Any, out: Any) -> None:
        steps, phases = Steps(self, self.frame), self.phases(coefficients.dtype)
        for f in range(live_rows(coefficients, live)):
            packed = coefficients[f].reshape(steps.images, *steps.packed)
            low = packed[:, : steps.rows[-1], : steps.cols[-1]]
            for level in range(steps.levels, 0, -1):
                rows, cols, r0, c0 = steps.rows[level], steps.cols[level], steps.row_starts[level], steps.col_starts[level]
                low, high = low[:, :rows, :cols], packed[:, :rows, c0 : c0 + cols]
                if self.axes == 2:
                    below = packed[:, r0 : r0 + rows]
                    pairs = ((low, below[..., :cols]), (high, below[..., c0 : c0 + cols]))
                    low, high = (self._joined(*(x.swapaxes(1, 2) for x in pair), steps.rows[level - 1], phases).swapaxes(1, 2) for pair in pairs)
                low = self._joined(low, high, steps.cols[level - 1], phases)
            out[f] = np.where(np.isnan(low), low.dtype.type(np.nan), low).reshape(out.shape[1:])

    def _joined(self, low: np.ndarray, high: np.ndarray, size: int, phases: list[list[tuple[int, np.ndarray]]]) -> np.ndarray:
        """The samples that low and high coefficients along the last axis give."""
        pairs, n = (size + 1) // 2, low.shape[-1]
        out = np.empty((*low.shape[:-1], 2 * pairs), low.dtype)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for parity, filters in enumerate(phases):
                total = np.zeros((*low.shape[:-1], pairs), low.dtype)
                for band, (newest, taps) in zip((low, high), filters, strict=True):
                    for k, tap in enumerate(taps):
                        total = total + tap * band[..., (np.arange(pairs) + self.first + newest - k) % n]
                out[..., parity::2] = total
        return out[..., :size]

    def numba(self, plan: Plan, coefficients: Any, live: Any, out: Any) -> None:
        steps = Steps(self, self.frame)
        m = live_rows(coefficients, live) * steps.images
        packed, frames = coefficients.reshape(-1, *steps.packed)[:m], out.reshape(-1, *steps.size)[:m]
        filters = [tuple(taps) for phase in self.phases(out.dtype) for _, taps in phase]
        places = tuple(newest for phase in self.phases(out.dtype) for newest, _ in phase)
        low = packed
        for level in range(steps.levels, 0, -1):
            after = frames if level == 1 else plan.scratch[f"low{level - 1}"][:m]
            sizes = (steps.rows[level], steps.cols[level], steps.row_starts[level], steps.col_starts[level])
            synthesise(low, packed, after, *filters, places, self.first, self.window, self.axes == 2, sizes)
            low = after

    def device(self, plan: Plan, coefficients: Any, live: Any, out: Any) -> None:
        steps, n, two = Steps(self, self.frame), coefficients.shape[0], self.axes == 2
        low, low_size = coefficients, steps.packed
        for level in range(steps.levels, 0, -1):
            after, size = out if level == 1 else plan.scratch[f"low{level - 1}"], (steps.rows[level - 1], steps.cols[level - 1])
            wide = 128 - self.window + 1
            across, down = -(-size[1] // (2 * wide)), -(-size[0] // (2 * TALL)) if two else -(-n * steps.images // (2 * PAIRS))
            tiles = across * down * (n * steps.images if two else 1)
            sizes = (n, steps.images, *size, steps.rows[level], steps.cols[level], *low_size, *steps.packed, steps.row_starts[level], steps.col_starts[level])
            plan.launch(
                "features/idwt.cl", "idwt", (tiles,), 128,
                (low, coefficients, after, coefficients if live is None else live, *map(np.uint32, sizes)), LIVE=live is not None, **self._defines(out.dtype),
            )
            low, low_size = after, size

    def _defines(self, dtype: Any) -> dict[str, Any]:
        """Of idwt.cl: for each phase the taps in the order of the window's coefficients, as hexadecimal literals; 0 where there is none."""
        real = REALS[np.dtype(dtype).name]
        out: dict[str, Any] = {"WINDOW": self.window, "FIRST": self.first, "TWO": self.axes == 2, "REAL": real, "PAIRS": f"{PAIRS}u", "TALL": f"{TALL}u"}
        for parity, phase in enumerate(self.phases(dtype)):
            for band, (newest, taps) in zip(("LO", "HI"), phase, strict=True):
                whole = np.zeros(self.window)
                whole[[newest - k for k in range(len(taps))]] = taps
                out[f"{band}_{parity}"] = "{" + ", ".join(v.hex() + "f" * (real == "f32") for v in whole.tolist()) + "}"
        return {**out, "BLOCKS_AT_LEAST": 2} if real == "f64" else out


def _phase(taps: Taps, first_tap: int, newest: int) -> tuple[int, np.ndarray]:
    """Every second tap from the first that this phase uses; newest: the window's coefficient that tap first_tap takes."""
    begin = taps.first + (taps.first + first_tap) % 2
    return newest - (begin - first_tap) // 2, np.ascontiguousarray(taps.values[begin - taps.first :: 2])
