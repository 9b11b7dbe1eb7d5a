"""9/7 wavelet coefficients in steps, and the steps that the decoder's own reconstruction lacks: a bound that holds. Over 200 lines: the bound and its check."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..features.lifting import Lifting
from ..op import Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from ..status import Frame
from .dequantize import SMALLEST, round_down
from .quantize_numba import list_outliers
from .wavelet_decode import BITS, MOST_LEVELS, WaveletDecode, level_plane
from .wavelet_numba import HIGHEST, LISTED, MASKED, MOST, TILE, check_tiles, fill_tiles, quantise_rows

LARGEST = 2.0**90       # of the bound: steps, limits and coefficients stay below float32's end


@dataclass(frozen=True, eq=False)
class Wavelet(Op):
    """code[0] = rint(c / step), 0 where |c| < dead_zone * step; c = DWT(energy); code[1] = rint((energy - y) / residual_step), 0 where |energy - y| <= abs.

    y = inverse DWT(code[0] * step) is what WaveletDecode makes, bit for bit; it then adds code[1] * residual_step. The codes are folded: 0, -1, 1, -2, 2 ...
    are 0, 1, 2, 3, 4 ...; one array of whole numbers, for any encoder of chunks: Chain([Wavelet(abs), BitshuffleZstd()]).
    DWT: features.Lifting, 9/7 with low sqrt(2) / K: nearly orthonormal, so that one step serves all sub-bands; in 2-D, panel by panel.
    fields: abs [unit of energy]: the bound, 2**-100 to 2**90, rounded down to float32; levels 1 to 8; step [abs]: of coefficients; weights [step]: of the
            details of level 1, 2 ..., finest first, 1 behind the last one; dead_zone [step]: a threshold, 0.5 and more; fill [unit of energy]: what is
            transformed where there is no number to be used; good (*frame) bool, True = use, None = all; capacity: values that a frame's list holds
            step is best about 4 where abs is 1 sigma of the noise and more, else about 4 sigma / abs (measured on recorded frames: bench/README.md)
    in:  energy (n, *panels, rows, cols) f32; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: code (n, 2, *frame) u16: coefficients, the approximation in the first corner (Lifting); corrections, or MASKED where good is False or pixel_status is
         not 0, or LISTED for NaN, Inf and whatever no correction brings within abs
         outlier_index (n, capacity) u32, ascending, and outlier_value (n, capacity) f32, the exact bits of the listed; not written from outlier_count on
         outlier_count (n,) u32, the true count: more than capacity is OVERFLOW, and such a frame must be stored losslessly
         max_error (n,) f32 [unit of energy]: the largest error of all pixels that are neither masked nor listed, rounded up
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW
    bound: |energy - decoded| <= abs for every such pixel, checked after the decoder's own arithmetic; the subtraction's rounding counts against it
    exact: bit-identical on every backend
    traffic: the frame and its codes; level by level some ten times as much is moved
    source: ITU-T T.800 (JPEG 2000) annexes E and F; a lossy layer and a residual in steps of the bound: Ansari, Memon and Ceran, J. Electron. Imaging 7 (1998)
    """

    name: ClassVar[str] = "compress.wavelet"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "max_error")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")

    abs: float = 1.0
    levels: int = 4
    step: float = 4.0
    weights: tuple[float, ...] = (1.25,)
    dead_zone: float = 0.85
    fill: float = 0.0
    good: np.ndarray | None = None
    capacity: int = 1024

    def __post_init__(self) -> None:
        limits = {"abs": (SMALLEST, LARGEST), "step": (0.25, 4096.0), "dead_zone": (0.5, 4096.0)}
        for field, (low, high) in limits.items():
            object.__setattr__(self, field, self.number(field))
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{self.name}: {field} must be {low:.3g} to {high:.3g}, got {getattr(self, field)}")
        for field, most in (("levels", MOST_LEVELS), ("capacity", 2**31 - 1)):
            object.__setattr__(self, field, self.number(field, whole=True))
            if not 1 <= getattr(self, field) <= most:
                raise ValueError(f"{self.name}: {field} must be 1 to {most}, got {getattr(self, field)}")
        if not isinstance(self.weights, (tuple, list)) or len(self.weights) > self.levels:
            raise ValueError(f"{self.name}: weights must be a tuple of one number for each of {self.levels} levels or fewer, got {self.weights!r}")
        if not all(isinstance(w, numbers.Real) for w in self.weights):
            raise TypeError(f"{self.name}: weights must be real numbers, got {self.weights!r}")
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        if not all(0.125 <= w <= 64.0 for w in self.weights):
            raise ValueError(f"{self.name}: weights must be 0.125 to 64, got {self.weights}")
        object.__setattr__(self, "fill", self.number("fill"))
        if not math.fabs(self.fill) <= self.most:
            raise ValueError(f"{self.name}: fill must be -{self.most:.6g} to {self.most:.6g}, which codes reach with this step, got {self.fill}")
        self.own_good()

    @property
    def bound(self) -> float:
        """abs, rounded down to float32: what every value is checked against."""
        return round_down(self.abs, 24)

    @cached_property
    def steps(self) -> tuple[float, ...]:
        """Of the approximation and of levels 1, 2 ...: so few bits that code * step is exact."""
        weights = (1.0, *self.weights, *(1.0,) * (self.levels - len(self.weights)))
        return tuple(round_down(w * self.step * self.bound, BITS) for w in weights)

    @cached_property
    def residual_step(self) -> float:
        """A little less than 2 abs, so that the nearest step is within it, rounding and all."""
        return round_down(2.0 * self.bound * (1.0 - 2.0**-9), BITS)

    @property
    def most(self) -> float:
        """What |energy| is limited to before it is transformed: the codes of the approximation reach no further. A pixel beyond is corrected, or listed."""
        return round_down(HIGHEST * self.steps[0] / 2**self.levels, 24)

    @cached_property
    def lifting(self) -> Lifting:
        return Lifting("9/7", "float32", self.levels)

    def inverse(self) -> WaveletDecode:
        return WaveletDecode(self.steps, self.residual_step)

    def attributes(self) -> dict[str, Any]:
        """HDF5 attributes of the dataset of codes: all that a reader needs to know."""
        return {"wavelet": "CDF 9/7", "lifting": "ITU-T T.800 annex F; low sqrt(2) / K, high -K / sqrt(2)", "levels": np.uint32(self.levels),
                "steps": np.array(self.steps, np.float32), "residual_step": np.float32(self.residual_step), "error_bound": np.float64(self.abs),
                "missing_value": np.uint16(MASKED), "listed_value": np.uint16(LISTED), "quantizer": f"gpuredux {self.name} 1"}

    def constants(self) -> dict[str, np.ndarray]:
        steps = np.array([*self.steps, *(1.0 / s for s in self.steps)], np.float32)
        return {"steps": steps} | ({} if self.good is None else {"good": self.good.view(np.uint8)})

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("energy", energy, np.float32, ("n", *(frame_of(energy) if self.good is None else self.good.shape))).shape
        if len(shape) < 3 or min(shape[1:]) < 1:
            raise ValueError(f"{self.name}: energy must have frames of 2 axes or more and no empty one, got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        n, u32, f32 = shape[0], np.dtype(np.uint32), np.dtype(np.float32)
        out = (Spec("code", (n, 2, *shape[1:]), np.dtype(np.uint16)), Spec("outlier_index", (n, self.capacity), u32),
               Spec("outlier_value", (n, self.capacity), f32), Spec("outlier_count", (n,), u32), Spec("max_error", (n,), f32))
        return (*out, *self.frame_outputs(n, frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, shape, f32, u32 = energy.shape[0], tuple(energy.shape), np.dtype(np.float32), np.dtype(np.uint32)
        tiles = 4 * frame_grid(1, math.prod(shape[1:]))[0]     # a tile is what a warp owns
        return (Spec("coefficients", shape, f32), Spec("rebuilt", shape, f32), Spec("tile_start", (n, tiles + 4), u32), Spec("tile_error", (n, tiles), u32),
                *self.lifting.scratch(Spec("energy", shape, f32), None))

    def traffic(self, *x: Any) -> int:
        out = self.outputs(*x)      # the lists count nothing: they are empty, if all is well
        return nbytes(*x) + nbytes(out[0], *out[3:]) + nbytes(*self.constants().values())

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        bound, step = np.float32(self.bound), np.float32(self.residual_step)
        steps = level_plane(energy.shape[-2:], np.split(plan.constants["steps"], 2))
        for f in range(live_rows(energy, live)):
            x = energy[f]
            use = np.ones(x.shape, bool) if self.good is None else plan.constants["good"].astype(bool)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            known = np.where(use & np.isfinite(x), np.clip(x, -np.float32(self.most), np.float32(self.most)), np.float32(self.fill))
            c = self.lifting(known[None], backend="numpy")[0]
            size = np.abs(c) * steps[1]
            q = np.minimum(np.where(size >= np.float32(self.dead_zone), np.rint(size), np.float32(0)), np.float32(HIGHEST))
            code[f, 0] = folded(q, c < 0)
            y = self.lifting.inverse()((np.where(c < 0, np.float32(0) - q, q) * steps[0])[None], backend="numpy")[0]
            with np.errstate(over="ignore", invalid="ignore"):
                t = np.clip(np.nan_to_num((x - y) * np.float32(1.0 / self.residual_step), nan=-MOST), -MOST, MOST).astype(np.float32)
                r = np.where(missed(x, y) <= bound, np.float32(0), np.rint(t))
                error = missed(x, y + r * step)
            coded = error <= bound
            code[f, 1] = np.where(use, np.where(coded, folded(np.abs(r), r < 0), LISTED), MASKED)
            listed = np.flatnonzero(use & ~coded)
            count[f], kept = len(listed), min(len(listed), self.capacity)
            index[f, :kept], value[f, :kept] = listed[:kept], x.reshape(-1)[listed[:kept]]
            max_error[f] = np.max(error, initial=0.0, where=use & coded)
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if len(listed) > self.capacity else 0)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        n, npix, (rows, cols) = live_rows(energy, live), math.prod(energy.shape[1:]), energy.shape[-2:]
        c, rebuilt = (plan.scratch[k][:n] for k in ("coefficients", "rebuilt"))
        x = read_only(energy[:n].reshape(n, npix))
        good = read_only(np.empty(0, np.uint8) if self.good is None else plan.constants["good"].reshape(-1))
        status = read_only(np.empty((0, 0), np.uint8) if pixel_status is None else pixel_status.reshape(len(energy), npix))
        fill_tiles(x, good, status, rebuilt.reshape(n, npix), np.float32(self.fill), np.float32(self.most))
        self.lifting.numba(plan, read_only(rebuilt), None, c)
        steps, inverses = (read_only(k) for k in np.split(plan.constants["steps"], 2))
        shape = (n, npix // (rows * cols), rows, cols)
        quantise_rows(c.reshape(shape), code[:n].reshape(n, 2, *shape[1:]), self.levels, steps, inverses, np.float32(self.dead_zone))
        self.lifting.inverse().numba(plan, read_only(c), None, rebuilt)
        n_tiles = -(-npix // TILE)
        counts, errors = np.empty((n, n_tiles), np.int64), np.empty((n, n_tiles), np.float32)
        codes, rule = code[:n].reshape(n, 2, npix), (self.bound, self.residual_step, 1.0 / self.residual_step)
        check_tiles(x, good, status, read_only(rebuilt.reshape(n, npix)), codes, counts, errors, *map(np.float32, rule))
        list_outliers(x, codes[:, 1], counts, np.cumsum(counts, axis=1) - counts, np.int64(LISTED), index, value)
        count[:n] = counts.sum(axis=1)
        max_error[:n] = errors.max(axis=1)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(count[:n] > self.capacity, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        n, npix, (rows, cols) = energy.shape[0], math.prod(energy.shape[1:]), energy.shape[-2:]
        plan.start_status(frame_status, new_status, live)
        c, rebuilt, starts, errors = (plan.scratch[k] for k in ("coefficients", "rebuilt", "tile_start", "tile_error"))
        good, file, load, grid = plan.constants.get("good", c), "compress/wavelet.cl", (energy, pixel_status), frame_grid(n, npix)
        flags, alive = (c if a is None else a for a in (new_status, live))      # c stands in where a kernel never looks
        frames, pixels, tiles, cap = (np.uint32(k) for k in (n, npix, 4 * grid[0], self.capacity))
        plain: dict[str, Any] = {"VECTOR": vector(npix), "LIVE": live is not None}
        loading = {**plain, "LOADS": True, "GOOD_PLANE": self.good is not None, "STATUS": pixel_status is not None,
                   "CARRY_STATUS": carries(energy) and new_status is not None}
        first = (good, rebuilt, flags, alive, np.float32(self.fill), np.float32(self.most), frames, pixels)
        plan.launch(file, "wavelet_fill", grid, 128, first, load=load, **loading)
        self.lifting.device(plan, rebuilt, live, c)
        shape = (np.uint32(rows), np.uint32(cols), np.uint32(self.levels))
        plan.launch(file, "wavelet_quantise", grid, 128, (c, code, plan.constants["steps"], alive, np.float32(self.dead_zone), frames, pixels, *shape),
                    LOADS=False, **plain)
        self.lifting.inverse().device(plan, c, live, rebuilt)
        rule = tuple(np.float32(v) for v in (self.bound, self.residual_step, 1.0 / self.residual_step))
        plan.launch(file, "wavelet_check", grid, 128, (good, rebuilt, code, starts, errors, alive, *rule, frames, pixels, tiles), load=load, **loading)
        scan = (starts, errors, count, max_error, flags, alive, np.float32(1), np.float32(np.inf), frames, tiles, cap)
        plan.launch("compress/outliers.cl", "outliers_scan", (n,), 128, scan, LIVE=live is not None, FRAME_STATUS=new_status is not None)
        plan.launch(file, "outliers_list", grid, 128, (code, starts, index, value, alive, frames, pixels, tiles, cap), load=load, **loading)


def folded(size: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4 ...; of a magnitude and a sign."""
    whole = size.astype(np.int64)
    code: np.ndarray = (2 * whole - (negative & (whole > 0))).astype(np.uint16)
    return code


def missed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x - y| in float32, exact or rounded up; lost: what the subtraction rounded off, exactly (Knuth's two-sum)."""
    near = x - y
    back = near - x
    lost = (x - (near - back)) - (y + back)
    beyond = ((lost > 0) & (near > 0)) | ((lost < 0) & (near < 0))
    error: np.ndarray = np.where(beyond & np.isfinite(near), np.nextafter(np.abs(near), np.float32(np.inf)), np.abs(near))
    return error
