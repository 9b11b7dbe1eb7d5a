"""Square-root steps: counts in codes whose width grows with the noise. Over 200 lines: the model, the table and the three ways to look values up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from ..status import Frame
from .counts_table import Bins, Lookup, granule_of, lookup_of, square_root_bins
from .dequantize_counts import CODES, DequantizeCounts
from .quantize_counts_numba import DIRECT, SEVERAL, quantize_counts_tiles
from .quantize_numba import TILE, list_outliers

DTYPES = tuple(np.dtype(k) for k in ("u1", "u2", "u4", "i2", "i4", "f4"))
FURTHEST = 2**24 - 1    # whole values that float32 tells apart


@dataclass(frozen=True, eq=False)
class QuantizeCounts(Op):
    """code = the bin of a whole value v: v alone where |v| < exact_below, above it bins of step * sigma(v), sigma(v) = sqrt(gain v + read_noise^2).

    fields: step [sigma], 1/16 to 8; exact_below, 0 to 2**20; gain [value per photon]: a value of gain * photons has the variance gain * v + read_noise^2;
            read_noise [value], 0 = none: bins below 0 have the width step * read_noise, and with exact_below = 0 one of them lies around 0; smallest,
            largest: the values that have codes, -(2**24 - 1) to 2**24 - 1; unit: of float32 input, what the value 1 is worth: v = rint(x * (1 / unit)),
            1 for whole numbers; code "uint16", or "uint8" if 254 bins do; capacity: outliers that a frame's list holds; good (*frame) bool, True = use;
            of: the name of the input "count", in a Chain "energy" of calib.Gain, say, or "photons"
    in:  count (n, *frame) u8, u16, u32, i16, i32 [value] or f32 [unit * value]; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: code (n, *frame): the bin's number from 0 on, or MASKED (the largest code but one) where good is False or pixel_status is not 0, or FILL (the
         largest) for what has no bin: below smallest, above largest, NaN
         outlier_index (n, capacity) u32, ascending flat pixels of the frame, and outlier_value (n, capacity), their exact values: f32, i32 or u32
         outlier_count (n,) u32, the true count: more than capacity is OVERFLOW, and such a frame must be stored losslessly
         max_error (n,) f32: the largest |count - table[code]| of the coded pixels, as float32 rounds it, [count]
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW
    bound: table[code] is off by less than a bin's width, about 0.6 of it, and unit / 2 more for float32 input: bound_on(count). Steps of s sigma make the
           variance 1 + s^2 / 12 times as large. table is unbiased where counts are as likely as their neighbours, to the first order in how that changes
           (Bins.meant): the mean of Poisson counts, s = 1, is off by 0.06 % at most from 20 on, and by 0.33 % at most around exact_below = 20; plain means of
           bins by 0.5 and 0.9 %. Below, bins as wide as the distribution are biased: by up to 4 % at a mean of 1 or 2; hence exact_below
    exact: the table is made on the host, of correctly rounded float64; codes are bit-identical on every backend
    source: Huang and Jacobsen, J. Synchrotron Rad. 28 (2021) 1149; the table of conditional means: DeForest et al., arXiv:2207.05601
    """

    name: ClassVar[str] = "compress.quantize_counts"
    inputs: ClassVar[tuple[str, ...]] = ("count", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "max_error")

    step: float = 1.0
    exact_below: int = 20
    gain: float = 1.0
    read_noise: float = 0.0
    smallest: int = 0
    largest: int = 65535
    unit: float = 1.0
    code: str = "uint16"
    capacity: int = 1024
    good: np.ndarray | None = None
    of: str = "count"

    def __post_init__(self) -> None:
        self._name_input()
        self.one_of("code", *CODES)
        limits = {"step": (1 / 16, 8), "exact_below": (0, 2**20), "gain": (2.0**-20, 2.0**20), "read_noise": (0, 2.0**20), "smallest": (-FURTHEST, 0),
                  "largest": (0, FURTHEST), "unit": (2.0**-60, 2.0**60), "capacity": (1, 2**31 - 1)}
        for field, (low, high) in limits.items():
            value = self.number(field, whole=field in ("exact_below", "smallest", "largest", "capacity"))
            if not low <= value <= high:
                raise ValueError(f"{self.name}: {field} must be {low:g} to {high:g}, got {value}")
            object.__setattr__(self, field, value)
        self.own_good()
        if self.step * math.sqrt(self.gain * max(self.largest, 1) + self.read_noise**2) > FURTHEST:
            raise ValueError(f"{self.name}: step * sigma of {self.largest} is more than {FURTHEST}")
        codes, most = len(self.bins.start) - 1, CODES[self.code] - 1
        if codes > most:
            raise ValueError(f"{self.name}: {self.smallest} to {self.largest} are {codes} bins, more than the {most} codes of {self.code}: a larger step, "
                             f"fewer exact values, a smaller range" + ("" if self.code == "uint16" else ", or code='uint16'"))

    def _name_input(self) -> None:
        if not isinstance(self.of, str) or not self.of.isidentifier() or self.of in ("pixel_status", "frame_status", "live", *self.writes):
            raise ValueError(f"{self.name}: of must be the name of what is counted, got {self.of!r}")
        object.__setattr__(self, "inputs", (self.of, *type(self).inputs[1:]))
        object.__setattr__(self, "loads", (self.of, "pixel_status"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._name_input()

    @cached_property
    def bins(self) -> Bins:
        return square_root_bins(self.step, self.exact_below, self.gain, self.read_noise, self.smallest, self.largest)

    @cached_property
    def lookup(self) -> Lookup:
        return lookup_of(self.bins)

    @cached_property
    def table(self) -> np.ndarray:
        """(codes,) f32: what each code means, [count]."""
        means = (self.bins.meant * self.unit).astype(np.float32)
        means.setflags(write=False)
        return means

    @cached_property
    def direct(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For numba, of the DIRECT values from smallest on: the code, FILL for what has none; of whole numbers that and, above it, the bits of the error,
        SEVERAL of what has none; and table, NaN for FILL."""
        value = np.arange(self.smallest, self.smallest + DIRECT)
        inside = value <= self.largest
        code = np.where(inside, np.searchsorted(self.bins.start, value, side="right") - 1, self.fill_code)
        table = np.full(self.fill_code + 1, np.nan, np.float32)
        table[: len(self.table)] = self.table
        error = np.abs(value.astype(np.float32) - table[code]).view(np.uint32)
        made = code.astype(np.uint16), np.where(inside, error, np.uint32(SEVERAL)).astype(np.int64) << 32 | code, table
        for a in made:
            a.setflags(write=False)
        return made

    @property
    def fill_code(self) -> int:
        return CODES[self.code] + 1

    @property
    def masked_code(self) -> int:
        return CODES[self.code]

    def bound_on(self, x: np.ndarray) -> np.ndarray:
        """The largest error [count] that a coded value can have, float64; NaN for what has no code."""
        value = np.rint(x * np.float32(1.0 / self.unit)) if x.dtype.kind == "f" else x.astype(np.int64)
        inside = (value >= self.smallest) & (value <= self.largest)
        bin_of = np.searchsorted(self.bins.start, np.where(inside, value, 0).astype(np.int64), side="right") - 1
        ends = np.stack([self.bins.start[:-1], self.bins.start[1:] - 1]) * self.unit
        furthest = np.abs(ends - self.table.astype(np.float64)).max(axis=0)
        rounding = 0.5 * self.unit * (1 + 2.0**-22) + np.abs(x.astype(np.float64)) * 2.0**-22 if x.dtype.kind == "f" else 0.0
        return np.where(inside, furthest[bin_of] + rounding, np.nan)

    def attributes(self) -> dict[str, Any]:
        """HDF5 attributes of the dataset of codes; the decode table is maps()."""
        kind = np.dtype(self.code).type
        return {"_FillValue": kind(self.fill_code), "missing_value": kind(self.masked_code), "valid_range": np.array([0, len(self.table) - 1], kind),
                "step_sigma": np.float64(self.step), "exact_below": np.int64(self.exact_below), "gain": np.float64(self.gain),
                "read_noise": np.float64(self.read_noise), "unit": np.float64(self.unit), "decode": "decode_table[code]",
                "quantizer": f"gpuredux {self.name} 1"}

    def maps(self) -> dict[str, np.ndarray]:
        """What a reader needs besides attributes(): decode_table (codes,) f32, count = decode_table[code]."""
        return {"decode_table": self.table}

    def decoder(self) -> DequantizeCounts:
        return DequantizeCounts(self.table, self.code)

    def constants(self) -> dict[str, np.ndarray]:
        planes = {} if self.good is None else {"good": self.good.view(np.uint8)}
        start = (self.bins.start - self.bins.start[0]).astype(np.int32)
        return {**planes, "first": self.lookup.first, "start": start, "table": self.table}

    def outputs(self, count: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require(self.of, count, DTYPES, ("n", *(frame_of(count) if self.good is None else self.good.shape))).shape
        if math.prod(shape[1:]) < 1:
            raise ValueError(f"{self.name}: {self.of} must have 1 pixel or more a frame, got {shape}")
        if np.dtype(count.dtype).kind != "f" and self.unit != 1:
            raise ValueError(f"{self.name}: unit must be 1 for whole numbers, got {self.unit} and {count.dtype}")
        n = shape[0]
        self.require_marks(shape, pixel_status=pixel_status)
        u32, listed = np.dtype(np.uint32), np.dtype({"f": np.float32, "i": np.int32, "u": np.uint32}[np.dtype(count.dtype).kind])
        out = [Spec("code", shape, np.dtype(self.code)), Spec("outlier_index", (n, self.capacity), u32), Spec("outlier_value", (n, self.capacity), listed),
               Spec("outlier_count", (n,), u32), Spec("max_error", (n,), np.dtype(np.float32))]
        return (*out, *self.frame_outputs(n, frame_status, live))

    def scratch(self, count: Any, *x: Any) -> tuple[Spec, ...]:
        n, tiles = count.shape[0], 4 * frame_grid(1, math.prod(count.shape[1:]))[0]     # a tile is what a warp owns
        return Spec("tile_start", (n, tiles + 4), np.dtype(np.uint32)), Spec("tile_error", (n, tiles), np.dtype(np.uint32))

    def traffic(self, *x: Any) -> int:
        out = self.outputs(*x)      # the lists count nothing: they are empty, if all is well
        return nbytes(*x) + nbytes(out[0], *out[3:]) + (0 if self.good is None else self.good.nbytes)

    def numpy(self, plan: Plan, count: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, max_error, new_status = plan.every_output(out)
        for f in range(live_rows(count, live)):
            x = count[f]
            use = np.ones(x.shape, bool) if self.good is None else plan.constants["good"].astype(bool)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            with np.errstate(over="ignore", invalid="ignore"):
                v = np.rint(x * np.float32(1.0 / self.unit)) if x.dtype.kind == "f" else x.astype(np.int64)
                fits = (v >= self.smallest) & (v <= self.largest)
            bin_of = np.searchsorted(self.bins.start, np.where(fits, v, 0).astype(np.int64), side="right") - 1
            code[f] = np.where(use, np.where(fits, bin_of, self.fill_code), self.masked_code)
            outliers = np.flatnonzero(use & ~fits)
            number[f], listed = len(outliers), min(len(outliers), self.capacity)
            index[f, :listed], value[f, :listed] = outliers[:listed], x.reshape(-1)[outliers[:listed]]
            error = np.abs(np.where(fits, x, 0).astype(np.float32) - self.table[bin_of])
            max_error[f] = np.max(error, initial=0.0, where=use & fits)
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if len(outliers) > self.capacity else 0)

    def numba(self, plan: Plan, count: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, max_error, new_status = plan.every_output(out)
        n, shape = live_rows(count, live), (len(count), math.prod(count.shape[1:]))
        good, status = np.empty(0, np.uint8), np.empty((0, 0), np.uint8)
        good = good if self.good is None else plan.constants["good"].reshape(-1)
        status = status if pixel_status is None else pixel_status.reshape(shape)
        x, codes, n_tiles = read_only(count.reshape(shape)), code.reshape(shape), -(-shape[1] // TILE)
        counts, errors = np.empty((n, n_tiles), np.int64), np.empty((n, n_tiles), np.float32)
        tables: tuple[Any, ...] = (*(read_only(plan.constants[k]) for k in ("first", "start")), *self.direct)
        inverse = np.float32(1.0 / self.unit) if count.dtype.kind == "f" else None
        limits = np.array([self.smallest, self.largest, self.fill_code, self.masked_code, self.lookup.bits], np.int64)
        quantize_counts_tiles(x[:n], read_only(good), read_only(status), codes, counts, errors, *tables, limits, inverse)
        list_outliers(x, codes, counts, np.cumsum(counts, axis=1) - counts, np.int64(self.fill_code), index, value)
        number[:n] = counts.sum(axis=1)
        max_error[:n] = errors.max(axis=1)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(number[:n] > self.capacity, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, count: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, max_error, new_status = plan.every_output(out)
        n, npix, kind = count.shape[0], math.prod(count.shape[1:]), np.dtype(count.dtype)
        plan.start_status(frame_status, new_status, live)
        defines = {"VECTOR": vector(npix), "GOOD_PLANE": self.good is not None, "STATUS": pixel_status is not None, "LIVE": live is not None,
                   "COUNT_BITS": 8 * kind.itemsize, "COUNT_KIND": "fiu".index(kind.kind), "CODE_BITS": 8 * np.dtype(self.code).itemsize,
                   "CARRY_STATUS": carries(count) and new_status is not None}
        good, flags, rows = (code if a is None else a for a in (plan.constants.get("good"), new_status, live))     # code stands in where nobody looks
        starts, errors, grid = plan.scratch["tile_start"], plan.scratch["tile_error"], frame_grid(n, npix)
        frames, pixels, tiles, cap = (np.uint32(k) for k in (n, npix, 4 * grid[0], self.capacity))
        load = (count, pixel_status) if kind.kind == "f" else None      # words of detectors are their own arguments
        words = () if load else (count, code if pixel_status is None else pixel_status)
        tables = (plan.constants[k] for k in ("first", "start", "table"))
        limits = (np.float32(1.0 / self.unit), np.int32(self.smallest), np.int32(self.largest), np.uint32(self.lookup.bits))
        first = (*words, good, code, starts, errors, flags, rows, *tables, *limits, frames, pixels, tiles)
        plan.launch("compress/quantize_counts.cl", "quantize_counts", grid, 128, first, load=load, **defines)
        scan = (starts, errors, number, max_error, flags, rows, np.float32(1), np.float32(np.inf), frames, tiles, cap)
        plan.launch("compress/outliers.cl", "outliers_scan", (n,), 128, scan, LIVE=live is not None, FRAME_STATUS=new_status is not None)
        last = (*words, code, starts, index, value, rows, frames, pixels, tiles, cap)
        plan.launch("compress/quantize_counts.cl", "outliers_list", grid, 128, last, load=load, **defines)


def granules(op: QuantizeCounts, v: np.ndarray) -> np.ndarray:
    """The codes of whole values, by the look-up table: what kernels do, for tests."""
    shifted, start = v.astype(np.int64) - op.smallest, op.bins.start - op.bins.start[0]
    code = op.lookup.first[granule_of(shifted, op.lookup.bits)].astype(np.int64)
    found: np.ndarray = code + (shifted >= start[code + 1])
    return found
