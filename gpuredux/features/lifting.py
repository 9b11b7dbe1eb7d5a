"""Wavelets by lifting: 5/3 of whole numbers, exactly reversible, and 9/7; and their inverse. Over 200 lines: one op, both ways, on all backends."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, frame_of, live_rows, nbytes
from .dwt_bounds import round_trip_bound
from .dwt_layout import MOST_LEVELS
from .frames import FrameOp
from .lifting_numba import lift, unlift

K = 1.230174104914001
STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)       # of 9/7: odd, even, odd, even
SCALES = {"pywt": (math.sqrt(2) / K, -K / math.sqrt(2)), "jpeg2000": (1 / K, K)}
TYPES = {"uint8": "u8", "uint16": "u16", "int16": "i16", "int32": "i32", "float32": "f32", "float64": "f64"}
KEPT = {"uint8": "int16", "uint16": "int32", "int16": "int16", "int32": "int32", "float32": "float32", "float64": "float64"}
GROUP, TALL = 4, 32     # lifting.cl: pairs of rows between two barriers, and of a tile


@dataclass(frozen=True, eq=False)
class Lifting(FrameOp):
    """5/3: d[i] -= floor((s[i] + s[i+1]) / 2), s[i] += floor((d[i-1] + d[i] + 2) / 4), s the even, d the odd samples; 9/7: four steps like that, scaled.

    9/7: d[i] += a * (s[i] + s[i+1]), s[i] += b * (d[i-1] + d[i]), the same with g and e, then s and d times a constant; each sum and product is rounded
    once. Along the columns first, then along the rows, then the approximation again. A sum of 5/3 is taken in more bits; what a step stores is
    taken modulo 2^16 or 2^32: so the inverse gives every word back, -32768 and 32767 too; and coefficients of words that are so small
    that nothing wraps (int16: |x| < 2^11; uint8 and uint16, whose coefficients have the wider type: all) are the true ones.
    fields: kind "5/3" or "9/7"; words: the dtype of the frames: uint8, uint16, int16, int32 for 5/3, float32, float64 for 9/7
            levels; axes: 2 = the last two, 1 = the last; an axis of one sample is left as it is
            edge: "reflect" (whole-sample symmetric: JPEG 2000; in its inside that is pywt's mode reflect) or "periodic" (pywt's periodization; even sizes)
            scale of 9/7: "pywt" (bior4.4: low sqrt(2) / K, high -K / sqrt(2)) or "jpeg2000" (low 1 / K, high K)
            back: the inverse, from coefficients to frames; full_scale [unit of energy]: the largest |energy| that `bound` is for
    in:  energy (n, *frame) of dtype words, or what `of` names; with back: coefficients; live (1,) i32
    out: coefficients (n, *frame) i16 (uint8, int16), i32 (uint16, int32), f32 or f64: along each axis ceil(N / 2) low ones, then the high ones; the
         low ones of both axes hold the next level. With back: energy, or what `of` names, of dtype words, modulo its range
    bound: 0 for 5/3; for 9/7 full_scale times what rounding can do in a transform and its inverse. Bit-identical on every backend
    source: ITU-T T.800 (JPEG 2000) annex F; Daubechies and Sweldens, J. Fourier Anal. Appl. 4 (1998) 247
    """

    name: ClassVar[str] = "features.lifting"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "live?")
    writes: ClassVar[tuple[str, ...]] = ("coefficients",)

    kind: str = "5/3"
    words: str = "int16"
    levels: int = 3
    axes: int = 2
    edge: str = "reflect"
    scale: str = "pywt"
    back: bool = False
    full_scale: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("kind", "5/3", "9/7")
        self.one_of("words", *([w for w in TYPES if (w[0] == "f") == (self.kind == "9/7")]))
        self.one_of("edge", "reflect", "periodic")
        self.one_of("scale", *SCALES)
        if not 1 <= self.number("levels", whole=True) <= MOST_LEVELS or self.number("axes", whole=True) not in (1, 2):
            raise ValueError(f"{self.name}: levels must be 1 to {MOST_LEVELS} and axes 1 or 2, got {self.levels} and {self.axes}")
        if not (math.isfinite(self.number("full_scale")) and self.full_scale > 0):
            raise ValueError(f"{self.name}: full_scale must be a number above 0, got {self.full_scale}")

    def _name_inputs(self) -> None:
        object.__setattr__(self, "inputs", ("coefficients" if self.back else self.of, "live?"))
        object.__setattr__(self, "writes", (self.of if self.back else "coefficients",))

    def inverse(self) -> Lifting:
        return dataclasses.replace(self, back=not self.back)

    @property
    def bound(self) -> float:
        if self.kind == "5/3":
            return 0.0
        unit = 2.0**-24 if self.words == "float32" else 2.0**-53
        return 4 * self.full_scale * round_trip_bound("bior4.4", "reflect", self.levels, self.axes, unit)     # four steps: 4 times what one sum rounds

    def outputs(self, x: Any, live: Any) -> tuple[Spec, ...]:
        words, kept = np.dtype(self.words), np.dtype(KEPT[self.words])
        shape = self.require(self.inputs[0], x, kept if self.back else words, ("n", *frame_of(x))).shape
        if len(shape) <= self.axes or min(shape[1:]) < 1:
            raise ValueError(f"{self.name}: {self.inputs[0]} must have frames of {self.axes} axes or more and no empty one, got {shape}")
        if self.edge == "periodic" and any(size % 2 and size > 1 for axis in self._sizes(shape) for size in axis[:-1]):
            raise ValueError(f"{self.name}: edge='periodic' needs sizes that are even at every level, got {shape} for {self.levels} levels")
        self.require_live(live)
        return (Spec(self.writes[0], shape, words if self.back else kept),)

    def _sizes(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Of rows and cols (in 1-D rows are 1): the size at level 0, 1, ..."""
        out = []
        for size in (shape[-2] if self.axes == 2 else 1, shape[-1]):
            out.append([size])
            for _ in range(self.levels):
                out[-1].append((out[-1][-1] + 1) // 2)
        return out

    def scratch(self, x: Any, live: Any) -> tuple[Spec, ...]:
        """The approximations between two levels."""
        rows, cols = self._sizes(tuple(x.shape))
        images = math.prod(x.shape[: -self.axes])
        return tuple(Spec(f"low{k}", (images, rows[k], cols[k]), np.dtype(KEPT[self.words])) for k in range(1, self.levels))

    def moved(self, x: Any, live: Any = None) -> int:
        """The bytes that level after level reads and writes."""
        return self.traffic(x, live) + 2 * nbytes(*self.scratch(x, live))

    def _images(self, x: Any) -> tuple[int, int, int]:
        return (-1, x.shape[-2] if self.axes == 2 else 1, x.shape[-1])

    def numpy(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        n = live_rows(x, live)
        y = x[:n].reshape(self._images(x)).astype(KEPT[self.words])
        sizes = list(zip(*self._sizes(x.shape), strict=True))[:-1]
        for rows, cols in sizes[::-1] if self.back else sizes:
            part = y[:, :rows, :cols]
            if self.back:
                part = self._along(part)
                part = self._along(part.swapaxes(1, 2)).swapaxes(1, 2)
            else:
                part = self._along(part.swapaxes(1, 2)).swapaxes(1, 2)
                part = self._along(part)
            y[:, :rows, :cols] = part
        if y.dtype.kind == "f":
            y = np.where(np.isnan(y), y.dtype.type(np.nan), y)
        out[:n] = y.astype(out.dtype).reshape(n, *x.shape[1:])

    def _along(self, x: np.ndarray) -> np.ndarray:
        """All steps along the last axis: from samples to low and high, or back."""
        size = x.shape[-1]
        half = (size + 1) // 2
        if size == 1:
            return x
        s, d = (x[..., :half].copy(), x[..., half:].copy()) if self.back else (x[..., ::2].copy(), x[..., 1::2].copy())
        i = np.arange(half)
        turn = (lambda k, n: k % n) if self.edge == "periodic" else (lambda k, n: np.clip(k, 0, n - 1))
        after, before, here = turn(i[: size // 2] + 1, half), turn(i - 1, size // 2), turn(i, size // 2)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if self.kind == "5/3":
                self._whole_steps(s, d, after, before, here)
            else:
                self._real_steps(s, d, after, before, here)
        if not self.back:
            return np.concatenate([s, d], axis=-1)
        y = np.empty_like(x)
        y[..., ::2], y[..., 1::2] = s, d
        return y

    def _whole_steps(self, s: np.ndarray, d: np.ndarray, after: np.ndarray, before: np.ndarray, here: np.ndarray) -> None:
        for odd in (False, True) if self.back else (True, False):
            if odd:
                by = (s[..., : d.shape[-1]].astype(np.int64) + s[..., after]) >> 1
                d[...] = (d + by if self.back else d - by).astype(d.dtype)
            else:
                by = (d[..., before].astype(np.int64) + d[..., here] + 2) >> 2
                s[...] = (s - by if self.back else s + by).astype(s.dtype)

    def _real_steps(self, s: np.ndarray, d: np.ndarray, after: np.ndarray, before: np.ndarray, here: np.ndarray) -> None:
        *factors, low, high = self.factors()
        if self.back:
            s *= low
            d *= high
        for k, factor in list(enumerate(factors))[:: -1 if self.back else 1]:
            if k % 2 == 0:
                d[...] = d + factor * (s[..., : d.shape[-1]] + s[..., after])
            else:
                s[...] = s + factor * (d[..., before] + d[..., here])
        if not self.back:
            s *= low
            d *= high

    def factors(self) -> np.ndarray:
        """Of the four steps of 9/7, of the low and of the high coefficients; for the inverse what undoes them."""
        scales = SCALES[self.scale]
        values = [*(-k for k in STEPS), *(1 / k for k in scales)] if self.back else [*STEPS, *scales]
        return np.array(values, KEPT[self.words])

    def numba(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        images = self._images(x)
        m = live_rows(x, live) * math.prod(x.shape[1 : -self.axes])
        factors = self.factors() if self.kind == "9/7" else np.zeros(6, KEPT[self.words])
        sizes = list(zip(*self._sizes(x.shape), strict=True))
        whole, periodic = self.kind == "5/3", self.edge == "periodic"
        given, made = x.reshape(images)[:m], out.reshape(images)[:m]
        low = given
        for level in range(self.levels, 0, -1) if self.back else range(1, self.levels + 1):
            between = level - 1 if self.back else level
            after = plan.scratch[f"low{between}"][:m] if 0 < between < self.levels else made
            (unlift if self.back else lift)(low, given if self.back else made, after, factors, whole, periodic, sizes[level - 1])
            low = after

    def device(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        two, sizes = self.axes == 2, list(zip(*self._sizes(tuple(x.shape)), strict=True))
        images, (height, width) = math.prod(x.shape[1 : -self.axes]), sizes[0]
        margin = 1 if self.kind == "5/3" else 2
        low, low_size = x, sizes[0]
        for level in range(self.levels, 0, -1) if self.back else range(1, self.levels + 1):
            between, (rows, cols) = level - 1 if self.back else level, sizes[level - 1]
            inner = 0 < between < self.levels
            after, after_size = (plan.scratch[f"low{between}"], sizes[between]) if inner else (out, sizes[0])
            across = -(-((cols + 1) // 2) // (64 - 2 * margin))
            down = -(-((rows + 1) // 2) // TALL) if two else -(-x.shape[0] * images // (2 * GROUP))
            tiles = across * down * (x.shape[0] * images if two else 1)
            numbers = map(np.uint32, (x.shape[0], images, rows, cols, *low_size, *after_size, height, width))
            plan.launch("features/lifting.cl", "lifting", (tiles,), 128, (low, x if self.back else out, after, x if live is None else live, *numbers),
                        LIVE=live is not None, **self._defines(low.dtype, after.dtype))
            low, low_size = after, after_size

    def _defines(self, read: Any, written: Any) -> dict[str, Any]:
        kept = TYPES[KEPT[self.words]]
        out = {"READ": TYPES[np.dtype(read).name], "WRITTEN": TYPES[np.dtype(written).name], "KEPT": kept, "TWO": self.axes == 2, "BACK": self.back,
               "PERIODIC": self.edge == "periodic", "WHOLE": self.kind == "5/3", "WIDER": "i32" if kept == "i16" else "i64",
               "GROUP": f"{GROUP}u", "TALL": f"{TALL}u"}
        if self.kind == "9/7":
            out["FACTORS"] = "{" + ", ".join(float(v).hex() + "f" * (kept == "f32") for v in self.factors()) + "}"
        return out
