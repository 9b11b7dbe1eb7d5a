"""code = nearest(energy / step) with |energy - code * step| <= abs for every value. Over 200 lines: the bound and its reasons belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, nbytes, vector
from ..status import Frame
from .dequantize import CODES, Code, Dequantize, round_down
from .quantize_numba import TILE, list_outliers, quantize_tiles


@dataclass(frozen=True, eq=False)
class Quantize(Op):
    """code = q where |energy - q * step| <= abs, else the outlier list; q = rint(energy * (1 / step)) or, if that misses the bound, its neighbour.

    fields: abs [unit of energy], 2**-100 to 2**100, rounded down to float32; code "int16", "uint16" (no negative values) or "int32";
            capacity: outliers that a frame's list holds; good (*frame) bool, True = use, None = all
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: code (n, *frame): q, or MASKED where good is False or pixel_status is not 0, or FILL at an outlier (see attributes())
         outlier_index (n, capacity) u32, ascending flat pixels of the frame, and outlier_value (n, capacity) f32, their exact bits; entries
         at and beyond outlier_count are not written
         outlier_count (n,) u32, the true count: more than capacity is OVERFLOW, and such a frame must be stored losslessly
         max_error (n,) f32: the largest |energy - code * step| of the coded pixels, 0 if there are none; never understated
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW
    bound: abs, for every coded value, checked as it is encoded, in float32 and in float64 arithmetic of a stock reader; an outlier is a value
           that no code fits. 16-bit codes: step is 2 abs rounded down to 9 (uint16: 8) significant bits, so code * step is exact in both,
           and only NaN, Inf and values more than abs outside of the codes are outliers. int32 (|q| < 2**22): step = 2 abs, code * step is
           exact in float64 and rounded in float32, the larger error counts, and outliers grow with |q|. -0.0 becomes 0
    exact: bit-identical on every backend
    why the check is exact: y = q * step is within a factor 2 of x, or q = 0, wherever |x - y| is near abs, so x - y is not rounded (Sterbenz); it
           needs that x - q * step is never contracted to an FMA. x * (1 / step) is off by at most 1/2 (16 bits: 1/128), so one neighbour is enough
    source: the double check and inline outliers of Fallin and Burtscher, arXiv:2407.15037; scale_factor and _FillValue of the CF conventions
    """

    name: ClassVar[str] = "compress.quantize"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "max_error")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")

    abs: float
    code: str = "int16"
    capacity: int = 1024
    good: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.code, str) or self.code not in CODES:
            raise ValueError(f"{self.name}: code must be one of {', '.join(CODES)}, got {self.code!r}")
        value = self.number("abs")
        if not 2.0**-100 <= value <= 2.0**100:
            raise ValueError(f"{self.name}: abs must be 2**-100 to 2**100 (7.9e-31 to 1.2e30), for nothing may leave float32; got {self.abs}")
        object.__setattr__(self, "abs", value)
        object.__setattr__(self, "capacity", self.number("capacity", whole=True))
        if not 1 <= self.capacity < 2**31:
            raise ValueError(f"{self.name}: capacity must be 1 to 2**31 - 1 outliers a frame, got {self.capacity}")
        self.own_good()

    @property
    def kind(self) -> Code:
        return CODES[self.code]

    @property
    def error_bound(self) -> np.float32:
        """abs rounded down to float32: what every value is checked against."""
        return np.float32(round_down(self.abs, 24))

    @property
    def step(self) -> np.float32:
        """energy = code * step."""
        return np.float32(round_down(2.0 * float(self.error_bound), self.kind.step_bits))

    @property
    def bound(self) -> float:
        return float(self.error_bound)

    @property
    def fill_code(self) -> int:
        return self.kind.fill

    @property
    def masked_code(self) -> int:
        return self.kind.masked

    @property
    def code_range(self) -> tuple[int, int]:
        return self.kind.lowest, self.kind.highest

    @property
    def decode_dtype(self) -> np.dtype[Any]:
        """The dtype in which a stock reader's code * scale_factor is exact."""
        return self.kind.decode_dtype

    def attributes(self) -> dict[str, Any]:
        """HDF5 attributes of the dataset of codes, by their names in the CF conventions where these have one."""
        kind = self.kind
        return {
            "scale_factor": self.step, "_FillValue": kind.dtype.type(kind.fill), "missing_value": kind.dtype.type(kind.masked),
            "valid_range": np.array([kind.lowest, kind.highest], kind.dtype), "error_bound": np.float64(self.abs),
            "error_bound_float32": self.error_bound, "decode_dtype": kind.decode_dtype.name, "quantizer": f"gpuredux {self.name} 1",
        }

    def inverse(self) -> Dequantize:
        return Dequantize(step=float(self.step), code=self.code)

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.view(np.uint8)}

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("energy", energy, np.float32, ("n", *(frame_of(energy) if self.good is None else self.good.shape))).shape
        if math.prod(shape[1:]) < 1:
            raise ValueError(f"{self.name}: energy must have 1 pixel or more a frame, got {shape}")
        n = shape[0]
        self.require_marks(shape, pixel_status=pixel_status)
        u32, f32 = np.dtype(np.uint32), np.dtype(np.float32)
        out = [Spec("code", shape, self.kind.dtype), Spec("outlier_index", (n, self.capacity), u32), Spec("outlier_value", (n, self.capacity), f32),
               Spec("outlier_count", (n,), u32), Spec("max_error", (n,), f32)]
        return (*out, *self.frame_outputs(n, frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, tiles = energy.shape[0], 4 * frame_grid(1, math.prod(energy.shape[1:]))[0]     # a tile is what a warp owns
        return Spec("tile_start", (n, tiles + 4), np.dtype(np.uint32)), Spec("tile_error", (n, tiles), np.dtype(np.uint32))

    def traffic(self, *x: Any) -> int:
        out = self.outputs(*x)      # the lists count nothing: they are empty, if all is well
        return nbytes(*x) + nbytes(out[0], *out[3:]) + nbytes(*self.constants().values())

    def _arithmetic(self) -> tuple[Any, ...]:
        """step, 1 / step, bound, step in decode_dtype."""
        step = self.step
        return step, np.float32(1.0 / float(step)), self.error_bound, self.decode_dtype.type(step)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        for f in range(live_rows(energy, live)):
            x = energy[f]
            use = np.ones(x.shape, bool) if self.good is None else plan.constants["good"].astype(bool)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            q, error = self._nearest(x)
            coded = use & (error <= self.error_bound) & (q >= self.kind.lowest) & (q <= self.kind.highest)
            code[f] = np.where(coded, np.where(coded, q, 0).astype(self.kind.dtype), np.where(use, self.kind.fill, self.kind.masked))
            outliers = np.flatnonzero(use & ~coded)
            count[f], listed = len(outliers), min(len(outliers), self.capacity)
            index[f, :listed], value[f, :listed] = outliers[:listed], x.reshape(-1)[outliers[:listed]]
            max_error[f] = round_up(np.max(error, initial=0.0, where=coded))
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if len(outliers) > self.capacity else 0)

    def _nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q, not limited to the codes by its last step, and the larger error of both decodes; neither means anything for NaN and Inf."""
        step, inverse, bound, exact = self._arithmetic()

        def error(q: np.ndarray) -> np.ndarray:
            wide = self.decode_dtype
            larger: np.ndarray = np.maximum(np.abs(x - q * step), np.abs(x.astype(wide) - q.astype(wide) * exact))
            return larger

        with np.errstate(over="ignore", invalid="ignore"):
            q = np.clip(np.rint(x * inverse), np.float32(self.kind.lowest), np.float32(self.kind.highest))
            towards = np.where(x > q * step, np.float32(1), np.float32(-1))
            q = np.where(error(q) <= bound, q, q + towards)
            return q, error(q)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        n, shape, kind = live_rows(energy, live), (len(energy), math.prod(energy.shape[1:])), self.kind
        good = plan.constants["good"].reshape(-1) if self.good is not None else None
        status = None if pixel_status is None else pixel_status.reshape(shape)
        limits = np.array([kind.lowest, kind.highest], np.float32)
        codes, fill, masked = code.reshape(shape), np.int32(kind.fill), np.int32(kind.masked)
        n_tiles = -(-shape[1] // TILE)
        counts, errors = np.empty((n, n_tiles), np.int64), np.empty((n, n_tiles), kind.decode_dtype)
        quantize_tiles(energy.reshape(shape), good, status, codes, counts, errors, *self._arithmetic(), limits, fill, masked)
        list_outliers(energy.reshape(shape), codes, counts, np.cumsum(counts, axis=1) - counts, fill, index, value)
        count[:n] = counts.sum(axis=1)
        max_error[:n] = round_up(errors.max(axis=1))
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(count[:n] > self.capacity, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        plan.start_status(frame_status, new_status, live)
        scan_defines = {"LIVE": live is not None, "FRAME_STATUS": new_status is not None}
        defines = {"VECTOR": vector(npix), "GOOD_PLANE": self.good is not None, "CARRY_STATUS": carries(energy) and new_status is not None,
                   "STATUS": pixel_status is not None, **self.kind.defines(), "LIVE": live is not None}
        good = plan.constants.get("good", code)     # code stands in where the kernel never looks
        flags, rows = (code if a is None else a for a in (new_status, live))
        starts, errors, grid = plan.scratch["tile_start"], plan.scratch["tile_error"], frame_grid(n, npix)
        frames, pixels, tiles, cap = (np.uint32(k) for k in (n, npix, 4 * grid[0], self.capacity))
        first = (good, code, starts, errors, flags, rows, *self._arithmetic()[:3], frames, pixels, tiles)
        plan.launch("compress/quantize.cl", "quantize", grid, 128, first, load=(energy, pixel_status), **defines)
        scan = (starts, errors, count, max_error, flags, rows, frames, tiles, cap)
        plan.launch("compress/quantize.cl", "quantize_scan", (n,), 128, scan, **scan_defines)
        last = (code, starts, index, value, rows, frames, pixels, tiles, cap)
        plan.launch("compress/quantize.cl", "quantize_outliers", grid, 128, last, load=(energy, pixel_status), **defines)


def round_up(x: Any) -> np.ndarray:
    """To the next float32 that is not below."""
    near = np.asarray(x).astype(np.float32)
    up: np.ndarray = np.where(near < x, np.nextafter(near, np.float32(np.inf)), near)
    return up
