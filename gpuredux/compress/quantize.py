"""Codes that keep a bound for every value: absolute, relative, or in units of a pixel's noise. Over 200 lines: the bounds and their reasons belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from ..status import Frame
from .dequantize import CODES, F64, LARGEST, SMALLEST, UNITS, Code, Dequantize, check_zero, round_down
from .quantize_levels import Levels, levels, nearest_level
from .quantize_numba import TILE, list_outliers, quantize_tiles
from .rounding import round_up

MODES = ("abs", "rel", "k_sigma")
SMALLEST_REL, LARGEST_REL = 2.0**-20, 0.5


@dataclass(frozen=True, eq=False)
class Quantize(Op):
    """code = q + zero where |energy - q * step| <= abs, else the outlier list; q = rint(energy * (1 / step)) or, if that misses the bound, its neighbour.

    fields: one of three bounds: abs [unit of energy], 2**-100 to 2**100; rel, 2**-20 to 0.5, of |energy|; k_sigma, of the noise of each pixel,
            sigma (*frame) f32 [unit of energy], k_sigma * sigma 2**-100 to 2**100 wherever good is True. Bounds are rounded down to float32.
            code "int16", "uint16" (no negative values) or "int32"; capacity: outliers that a frame's list holds; good (*frame) bool, True = use,
            None = all; smallest, with rel alone: the magnitude of the code 1, None = 2**-149 where all octaves have codes, else as far below 1
            as the codes reach above it; zero, with "uint16" and abs or k_sigma: the code of 0, so that as many steps below 0 have codes. Where most codes
            lie below 256 their high bytes are 0 and cost nothing: noise around 0 in the two signs of int16 takes up to 8 % more bytes (M049)
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: code (n, *frame): q, or MASKED where good is False or pixel_status is not 0, or FILL at an outlier (see attributes())
         outlier_index (n, capacity) u32, ascending flat pixels of the frame, and outlier_value (n, capacity) f32, their exact bits; entries
         at and beyond outlier_count are not written
         outlier_count (n,) u32, the true count: more than capacity is OVERFLOW, and such a frame must be stored losslessly
         max_error (n,) f32: the largest error of the coded pixels, 0 if there are none; never understated, but by what float64 rounds. With abs
         |energy - code * step| [unit of energy]; with rel its share of |energy|; with k_sigma [sigma], taking sigma for step / (2 k_sigma)
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW
    bound: for every coded value, checked as it is encoded, in float32 and in float64 arithmetic of a stock reader; an outlier is a value
           that no code fits.
           abs, k_sigma: 16-bit codes: step is 2 abs (of each pixel: 2 k_sigma sigma) rounded down to 9 (uint16: 8) significant bits, so code * step is exact
           in both, and only NaN, Inf and values more than abs (half a step) outside of the codes are outliers; (code - zero) * step and code * step -
           zero * step are the same number in both. int32 (|q| < 2**22): step = 2 abs, code * step is exact in float64 and rounded in float32, the larger
           error counts, and outliers grow with |q|. -0.0 becomes 0
           rel: the codes number levels from the smallest on (quantize_levels), of both signs; the sign is kept, 0 is the code 0, and so is -0.0. int32
           codes, and 16-bit ones from rel = 0.0031 (uint16: 0.0016) on, have levels for all of float32: only NaN, Inf, subnormals that no level fits and
           values within rel of the largest float32 are outliers; smaller bounds cover fewer octaves, and what lies outside is outliers too
    exact: bit-identical on every backend
    why the check is exact: y = q * step is within a factor 2 of x, or q = 0, wherever |x - y| is near abs, so x - y is not rounded (Sterbenz); it
           needs that x - q * step is never contracted to an FMA. x * (1 / step) is off by at most 1/2 (16 bits: 1/128), so one neighbour is enough
    source: the double check and inline outliers of Fallin and Burtscher, arXiv:2407.15037; scale_factor and _FillValue of the CF conventions
    """

    name: ClassVar[str] = "compress.quantize"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "max_error")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")

    abs: float | None = None
    code: str = "int16"
    capacity: int = 1024
    good: np.ndarray | None = None
    rel: float | None = None
    k_sigma: float | None = None
    sigma: np.ndarray | None = None
    smallest: float | None = None
    zero: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.code, str) or self.code not in CODES:
            raise ValueError(f"{self.name}: code must be one of {', '.join(CODES)}, got {self.code!r}")
        given = [k for k in MODES if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"{self.name}: give one bound: {', '.join(MODES[:2])} or {MODES[2]}, got {' and '.join(given) or 'none'}")
        for field, mode in (("sigma", "k_sigma"), ("smallest", "rel")):
            if getattr(self, field) is not None and mode != given[0]:
                raise ValueError(f"{self.name}: {field} belongs to {mode}, and the bound is {given[0]}")
        low, high, why = {"abs": (SMALLEST, LARGEST, "2**-100 to 2**100 (7.9e-31 to 1.2e30), for nothing may leave float32"), "rel": (SMALLEST_REL,
                          LARGEST_REL, "2**-20 (9.5e-7) to 0.5"), "k_sigma": (SMALLEST, LARGEST, "2**-100 to 2**100")}[given[0]]
        value = self.number(given[0])
        if not low <= value <= high:
            raise ValueError(f"{self.name}: {given[0]} must be {why}; got {value}")
        object.__setattr__(self, given[0], value)
        for field in ("capacity", "zero"):
            object.__setattr__(self, field, self.number(field, whole=True))
        check_zero(self.name, self.zero, self.code, self.rel is not None)
        if not 1 <= self.capacity < 2**31:
            raise ValueError(f"{self.name}: capacity must be 1 to 2**31 - 1 outliers a frame, got {self.capacity}")
        self.own_good()
        if self.k_sigma is not None:
            self._check_sigma()
        if self.smallest is not None:
            object.__setattr__(self, "smallest", self.number("smallest"))
            if not 2.0**-149 <= self.smallest < 2.0**127:
                raise ValueError(f"{self.name}: smallest must be 2**-149 to 2**127, got {self.smallest}")

    def _check_sigma(self) -> None:
        """The bound of every pixel in use is a number that float32 holds."""
        if self.sigma is None:
            raise ValueError(f"{self.name}: k_sigma needs sigma, the noise of each pixel (*frame)")
        sigma = self.own("sigma", np.float32)
        if sigma.ndim == 0 or (self.good is not None and self.good.shape != sigma.shape):
            raise ValueError(f"{self.name}: sigma must be a plane, of the shape of good if that is given, got {sigma.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            bound = sigma.astype(np.float64) * self.k_sigma
        wrong = ~((bound >= SMALLEST) & (bound <= LARGEST)) & (True if self.good is None else self.good)
        if wrong.any():
            first = np.argwhere(wrong)[0]
            raise ValueError(f"{self.name}: k_sigma * sigma must be 2**-100 to 2**100 where good is True; of {wrong.sum()} pixels it is not, the first, "
                             f"{tuple(int(k) for k in first)}, has sigma {sigma[tuple(first)]}; good=False for them")

    @property
    def mode(self) -> str:
        return next(k for k in MODES if getattr(self, k) is not None)

    @property
    def kind(self) -> Code:
        return CODES[self.code].shifted(self.zero)

    @property
    def bound(self) -> float:
        """abs, rel or k_sigma, rounded down to float32: what every value is checked against; k_sigma: not more than that."""
        return float(self.error_bound)

    @property
    def error_bound(self) -> np.float32:
        return np.float32(round_down(getattr(self, self.mode), 24))

    def bound_on(self, x: np.ndarray) -> np.ndarray:
        """The largest error [unit of energy] that is allowed for each value of x (n, *frame), float64."""
        if self.mode == "k_sigma":
            return np.broadcast_to(0.5 * self.step.astype(np.float64), x.shape)
        allowed: np.ndarray = np.full(x.shape, self.bound) if self.mode == "abs" else self.bound * np.abs(x.astype(np.float64))
        return allowed

    @cached_property
    def step(self) -> Any:
        """energy = code * step: a float32, with k_sigma (*frame) f32, NaN where good is False; with rel the octaves from one level to the next."""
        if self.mode == "rel":
            return self.spacing.units / UNITS
        if self.sigma is None:
            return np.float32(round_down(2.0 * float(self.error_bound), self.kind.step_bits))
        bound = np.where(True if self.good is None else self.good, self.sigma.astype(np.float64) * float(self.k_sigma or 0), np.nan)
        mantissa, exponent = np.frexp(2.0 * bound)
        bits = self.kind.step_bits
        scale = np.ldexp(np.floor(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)
        scale.setflags(write=False)
        return scale

    @cached_property
    def spacing(self) -> Levels:
        """With rel: the levels that codes number."""
        return levels(float(self.rel or 0), self.code, self.smallest)

    @property
    def fill_code(self) -> int:
        return self.kind.fill

    @property
    def masked_code(self) -> int:
        return self.kind.masked

    @property
    def code_range(self) -> tuple[int, int]:
        if self.mode == "rel":
            return -self.spacing.most if self.kind.lowest else 0, self.spacing.most
        return self.kind.lowest + self.zero, self.kind.highest + self.zero

    @property
    def decode_dtype(self) -> np.dtype[Any]:
        """The dtype in which a stock reader's code * scale_factor is exact."""
        return F64 if self.mode == "rel" else self.kind.decode_dtype

    def attributes(self) -> dict[str, Any]:
        """HDF5 attributes of the dataset of codes, by their names in the CF conventions where these have one. With k_sigma the scale is a plane, maps()."""
        kind = self.kind
        named = {"_FillValue": kind.dtype.type(kind.fill), "missing_value": kind.dtype.type(kind.masked),
                 "valid_range": np.array(self.code_range, kind.dtype), "decode_dtype": self.decode_dtype.name, "quantizer": f"gpuredux {self.name} 1"}
        if self.zero:
            named["zero_code"] = kind.dtype.type(self.zero)
        if self.mode == "abs":
            offset = {"add_offset": np.float32(-self.zero * float(self.step))} if self.zero else {}     # of 24 bits: not rounded
            return {"scale_factor": self.step, **offset, **named, "error_bound": np.float64(self.abs), "error_bound_float32": self.error_bound}
        if self.mode == "k_sigma":
            return {**named, "error_bound_sigma": np.float64(self.k_sigma)}
        return {**named, "error_bound_relative": np.float64(self.rel), "log2_step": np.float64(self.step),
                "log2_smallest": np.float64(self.spacing.origin / UNITS), "decode": "0 if code == 0 else sign(code) * 2**n * (1 + g * (11 + 5 * g) / 16), "
                "n = floor(t), g = t - n, t = log2_smallest + (abs(code) - 1) * log2_step"}

    def maps(self) -> dict[str, np.ndarray]:
        """Planes (*frame) that a reader needs besides attributes(): with k_sigma scale, energy = (code - zero) * scale."""
        return {"scale": self.step} if self.mode == "k_sigma" else {}

    def inverse(self) -> Dequantize:
        if self.mode == "rel":
            return Dequantize(code=self.code, log2_step=self.step, log2_smallest=self.spacing.origin / UNITS)
        return Dequantize(code=self.code, zero=self.zero, **({"scale": self.step} if self.mode == "k_sigma" else {"step": float(self.step)}))

    def constants(self) -> dict[str, np.ndarray]:
        planes = {} if self.good is None else {"good": self.good.view(np.uint8)}
        if self.mode == "k_sigma":
            planes |= {"step": self.step, "inverse": (1.0 / self.step.astype(np.float64)).astype(np.float32)}
        return planes

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        plane = self.good if self.sigma is None else self.sigma
        shape = self.require("energy", energy, np.float32, ("n", *(frame_of(energy) if plane is None else plane.shape))).shape
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

    def _unit(self) -> tuple[np.float32, np.float32]:
        """What the largest error of a frame is multiplied by, and its largest value: with k_sigma it is counted in steps, rounded a few times."""
        if self.mode != "k_sigma":
            return np.float32(1), np.float32(np.inf)
        k = float(self.k_sigma or 0)
        return round_up(2.0 * k * (1.0 + 2.0**-21))[()], round_up(k)[()]

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        for f in range(live_rows(energy, live)):
            x = energy[f]
            use = np.ones(x.shape, bool) if self.good is None else plan.constants["good"].astype(bool)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            q, error = self._nearest(x, plan.constants)
            coded = use & ~np.isnan(q)
            code[f] = np.where(coded, np.where(coded, q + np.float32(self.zero), 0).astype(self.kind.dtype), np.where(use, self.kind.fill, self.kind.masked))
            outliers = np.flatnonzero(use & ~coded)
            count[f], listed = len(outliers), min(len(outliers), self.capacity)
            index[f, :listed], value[f, :listed] = outliers[:listed], x.reshape(-1)[outliers[:listed]]
            unit, most = self._unit()
            max_error[f] = min(round_up(np.max(error, initial=0.0, where=coded)) * unit, most)
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if len(outliers) > self.capacity else 0)

    def _nearest(self, x: np.ndarray, constants: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """q, NaN where no code fits, and the larger error of both decodes: as it is, in steps (k_sigma) or as a share of the value (rel)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._level(x) if self.mode == "rel" else self._multiple(x, constants)

    def _multiple(self, x: np.ndarray, constants: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        step, wide = constants.get("step", self.step), self.decode_dtype
        inverse = constants.get("inverse", np.float32(1.0 / float(step)) if self.sigma is None else None)
        bound = self.error_bound if self.sigma is None else np.float32(0.5) * step
        lowest, highest = np.float32(self.kind.lowest), np.float32(self.kind.highest)

        def error(q: np.ndarray) -> np.ndarray:
            larger: np.ndarray = np.maximum(np.abs(x - q * step), np.abs(x.astype(wide) - q.astype(wide) * step.astype(wide)))
            return larger

        q = np.clip(np.rint(x * inverse), lowest, highest)
        q = np.where(error(q) <= bound, q, q + np.where(x > q * step, np.float32(1), np.float32(-1)))
        found = error(q)
        fits = (found <= bound) & (q >= lowest) & (q <= highest)
        return np.where(fits, q, np.float32(np.nan)), found if self.sigma is None else found * inverse.astype(wide)

    def _level(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = np.abs(x)
        finite = np.isfinite(x) & (size > 0) & ((x > 0) | (self.kind.lowest < 0))
        k, error = nearest_level(np.where(finite, size, np.float32(1)), self.spacing, float(self.error_bound))
        q = np.where(finite & (k >= 0), np.copysign(k + 1.0, x), np.nan)
        return np.where(size == 0, 0.0, q), np.where(size == 0, 0.0, error)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, count, max_error, new_status = plan.every_output(out)
        n, shape, kind = live_rows(energy, live), (len(energy), math.prod(energy.shape[1:])), self.kind
        words = np.dtype(f"u{kind.dtype.itemsize}")       # of whatever sign: compiled once
        x, codes, n_tiles = read_only(energy.reshape(shape)), code.reshape(shape).view(words), -(-shape[1] // TILE)
        good, status = read_only(np.empty(0, np.uint8)), read_only(np.empty((0, 0), np.uint8))
        good = good if self.good is None else read_only(plan.constants["good"].reshape(-1))
        status = status if pixel_status is None else read_only(pixel_status.reshape(shape))
        exact = kind.decode_dtype == F64 or self.mode == "rel"
        counts, errors = np.empty((n, n_tiles), np.int64), np.empty((n, n_tiles), F64 if exact and self.mode != "abs" else np.float32)
        limits = np.array([kind.lowest, kind.highest, *np.array([kind.fill, kind.masked]).astype(words), kind.zero], np.int64)
        quantize_tiles(x[:n], good, status, codes, counts, errors, *self._planes(plan.constants), limits, self._spacing(), 0.0 if exact else None)
        list_outliers(x, codes, counts, np.cumsum(counts, axis=1) - counts, limits[2], index, value)
        count[:n] = counts.sum(axis=1)
        unit, most = self._unit()
        max_error[:n] = np.minimum(round_up(errors.max(axis=1)) * unit, most)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(count[:n] > self.capacity, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def _planes(self, constants: dict[str, np.ndarray]) -> tuple[Any, ...]:
        """rule and steps of quantize_tiles."""
        rule = (np.float32(0),) * 3
        if self.mode == "abs":
            rule = (self.step, np.float32(1.0 / float(self.step)), self.error_bound)
        return rule, read_only(constants["step"].reshape(-1)) if self.mode == "k_sigma" else None

    def _spacing(self) -> tuple[float, ...] | None:
        """spacing of quantize_tiles."""
        if self.mode != "rel":
            return None
        return self.spacing.units / UNITS, self.spacing.origin / UNITS, float(self.spacing.most), float(self.error_bound)

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
        first = (good, code, starts, errors, flags, rows, *self._rule(plan.constants, code), frames, pixels, tiles)
        plan.launch("compress/quantize.cl", "quantize", grid, 128, first, load=(energy, pixel_status), BOUND=MODES.index(self.mode), **defines)
        scan = (starts, errors, count, max_error, flags, rows, *self._unit(), frames, tiles, cap)
        plan.launch("compress/outliers.cl", "outliers_scan", (n,), 128, scan, **scan_defines)
        last = (code, starts, index, value, rows, frames, pixels, tiles, cap)
        plan.launch("compress/quantize.cl", "outliers_list", grid, 128, last, load=(energy, pixel_status), BOUND=MODES.index(self.mode), **defines)

    def _rule(self, constants: dict[str, np.ndarray], code: Any) -> tuple[Any, ...]:
        """RULE_PARAMS of quantize.cl."""
        if self.mode == "rel":
            return np.int32(self.spacing.origin), *(np.uint32(v) for v in self.spacing[1:]), self.error_bound
        if self.mode == "k_sigma":
            return constants["step"], constants["inverse"]
        return self.step, np.float32(1.0 / float(self.step)), self.error_bound
