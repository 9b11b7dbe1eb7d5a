"""Exact pixels around peaks, and binned, quantised ones everywhere else. Over 200 lines: the specification, and what launches five kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..backends import share
from ..features.around_peaks import PEAKS, AroundPeaks, flat
from ..features.bin import Bin, measured
from ..features.regions import corner_of, corners, in_panels
from ..features.strong import count_scratch, count_strong
from ..features.windows import UNITS
from ..op import Plan, Spec, live_rows, read_only
from ..status import Frame
from .dequantize import SMALLEST, Code, round_down
from .quantize import Quantize
from .roibin_decode import RoibinDecode, limits_of, rebuilt
from .roibin_numba import reduce_frames
from .rounding import round_up

CODE_NAMES = ("int16", "uint16")


class Reduced(NamedTuple):
    """Of a frame: codes of its bins, which pixels are kept, and both errors."""

    code: np.ndarray
    kept: np.ndarray
    background_error: float
    max_error: float


@dataclass(frozen=True, eq=False)
class Roibin(AroundPeaks):
    """roi = the pixels in windows of 2 half + 1 rows and cols around peaks; code = q where |mean of a bin's other pixels - q * step| <= abs.

    fields: half: of the windows, 8 makes 17 x 17; size: rows and columns of a bin; abs [unit of energy], 2**-100 to 2**100: of the mean
            bound [unit of energy], None or 0 and more: of every pixel that is rebuilt; what would be further away is kept exactly, with the windows' pixels
            code "int16" or "uint16" (no negative means); capacity: pixels of a frame that roi holds, None = a 16th of the frame, at least 4096
            good (*frame) bool, None = all: False: in no bin and never kept, rebuilt as the decoder's fill
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32
         peak_panel (n, cap) i32, peak_row, peak_col (n, cap) f32 or i32 (0 = centre of the first pixel), peak_count (n,) i32: windows over an edge are cut
         there; those that overlap are one area, each pixel of which is stored once
         pixel_status (n, *frame) u8: pixels that are not 0 are in no bin and kept exactly, wherever they lie, and so are NaN and Inf
         frame_status (n,) u32; live (1,) i32
    out: code (n, [panels,] R, C), of the mean over the pixels in no window or, where all are in one, over these; bins at the last rows and columns have what is
         left there; MASKED where a bin has no measurement; FILL where no code fits: then all its good pixels are kept
         roi_bits (n, ceil(npix / 32)) u32: bit k of word w: the flat pixel 32 w + k is kept; 0 behind the last
         roi (n, capacity) as energy: the kept pixels, in raster order; entries at and beyond roi_count are not written; roi_count (n,) i32, the true count
         background_error (n,) f32: the largest |mean - code * step|; max_error (n,) f32: the largest |pixel - rebuilt| of good pixels that are not kept,
         both never understated
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW where roi_count > capacity, or peak_count > cap: peaks that the finder left out
    bound: abs of each mean as float64 has it; with bound, of every good pixel: rebuilt = code * step, of whole numbers the nearest that the dtype holds
    exact: kept pixels, bit by bit; sums of whole numbers; of f32 f64 sums in the order of rows, then columns. Bit-identical on every backend
    source: R. Underwood et al., ROIBIN-SZ (arXiv 2206.11297), where bins take in the windows too, overlapping windows are stored twice, means are summed in
            the pixels' dtype, and nothing bounds a rebuilt pixel
    """

    name: ClassVar[str] = "compress.roibin"
    inputs: ClassVar[tuple[str, ...]] = ("energy", *PEAKS, "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "roi_bits", "roi", "roi_count", "background_error", "max_error")
    fixed: ClassVar[str] = "positions"

    abs: float
    size: tuple[int, int] = (2, 2)
    bound: float | None = None
    code: str = "int16"
    capacity: int | None = None
    good: np.ndarray | None = None
    half: int | None = field(default=8, kw_only=True)

    @property
    def positions(self) -> None:
        """There are no fixed ones: they come with each frame."""
        return None

    @property
    def reach(self) -> int:
        """half: without fixed positions there is always one."""
        return int(self.half or 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("code", *CODE_NAMES)
        try:
            object.__setattr__(self, "size", self.bins.size)
            object.__setattr__(self, "abs", self.quantizer.abs)
        except (TypeError, ValueError) as e:        # the same words, of this op
            raise type(e)(f"{self.name}: {str(e).split(': ', 1)[1]}") from None
        if self.bound is not None:
            object.__setattr__(self, "bound", self.number("bound"))
            if not (0 <= float(self.bound) <= 2.0**126):
                raise ValueError(f"{self.name}: bound must be 0 to 2**126, got {self.bound}")
        if self.capacity is not None and not 1 <= self.number("capacity", whole=True) < 2**31:
            raise ValueError(f"{self.name}: capacity must be 1 to 2**31 - 1 pixels of a frame, got {self.capacity}")
        self.own_good()

    @cached_property
    def bins(self) -> Bin:
        """Of which frames."""
        return Bin(size=self.size)

    @cached_property
    def quantizer(self) -> Quantize:
        """Of means: its step and reserved codes, its attributes in files."""
        return Quantize(abs=self.abs, code=self.code)

    @property
    def kind(self) -> Code:
        return self.quantizer.kind

    @property
    def pixel_bound(self) -> float:
        """bound, rounded down to float32; Inf where there is none."""
        if self.bound is None:
            return math.inf
        return round_down(self.bound, 24) if self.bound >= SMALLEST else 0.0

    def decoder(self, frame: tuple[int, ...], fill: float = 0) -> RoibinDecode:
        """What rebuilds frames of this shape; fill: what pixels become that are not good."""
        return RoibinDecode(tuple(frame), float(self.quantizer.step), self.size, self.code, self.good, fill)

    def lists(self) -> dict[str, str]:
        """See Op."""
        return {"roi": "roi_count"}

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.view(np.uint8)}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        got = self.named(x)[0]
        n, *frame = shape = self.require_frames(x[0], self.good)
        if len(frame) not in (2, 3) or 0 in frame or max(frame) > 65535 or math.prod(frame) >= 2**31:
            raise ValueError(f"{self.name}: {self.of} must be (n, [panels,] rows, cols), sides up to 65535, got {x[0].dtype} {tuple(x[0].shape)}")
        self.require_peaks(got, n)
        self.require_marks(shape, pixel_status=got["pixel_status"])
        npix, f32 = math.prod(frame), np.dtype(np.float32)
        capacity = min(npix, max(4096, npix // 16)) if self.capacity is None else self.capacity
        out = [Spec("code", (n, *self.bins.binned_shape(tuple(frame))), self.kind.dtype), Spec("roi_bits", (n, -(-npix // 32)), np.dtype(np.uint32)),
               Spec("roi", (n, capacity), np.dtype(x[0].dtype)), Spec("roi_count", (n,), np.dtype(np.int32)),
               Spec("background_error", (n,), f32), Spec("max_error", (n,), f32)]
        return (*out, *self.frame_outputs(n, got["frame_status"], got["live"]))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        return count_scratch(energy.shape[0], math.prod(energy.shape[1:]))

    def numpy(self, plan: Plan, *x: Any) -> None:
        got, _, _ = self.named(x)
        code, bits, roi, count, background_error, max_error, new_status = plan.every_output(x[len(self.inputs):])
        energy, status = got["frames"], got["pixel_status"]
        for f in range(live_rows(energy, got["live"])):
            marks = None if status is None else status[f]
            made = self._reduced(energy[f], plan.constants.get("good"), marks, self._inside(got, f))
            code[f], background_error[f], max_error[f] = made.code, round_up(made.background_error), round_up(made.max_error)
            packed = np.packbits(made.kept.reshape(-1), bitorder="little")
            bits[f] = np.pad(packed, (0, -len(packed) % 4)).view("<u4")
            exact = energy[f].reshape(-1)[made.kept.reshape(-1)]
            listed = min(len(exact), roi.shape[1])
            count[f], roi[f, :listed] = len(exact), exact[:listed]
            if new_status is not None:
                over = len(exact) > roi.shape[1] or got["peak_count"][f] > got["peak_panel"].shape[1]
                new_status[f] = got["frame_status"][f] | (Frame.OUTLIER_OVERFLOW if over else 0)

    def _inside(self, got: dict[str, Any], f: int) -> np.ndarray:
        """Which pixels of a frame are in a window."""
        shape = got["frames"].shape[1:]
        panels, rows, cols = in_panels(shape)
        inside, half = np.zeros((panels, rows, cols), bool), self.reach
        for k in range(min(max(int(got["peak_count"][f]), 0), got["peak_panel"].shape[1])):
            panel, top, left = int(got["peak_panel"][f, k]), corner_of(got["peak_row"][f, k], half), corner_of(got["peak_col"][f, k], half)
            if 0 <= panel < panels:
                inside[panel, max(top, 0) : max(top + 2 * half + 1, 0), max(left, 0) : max(left + 2 * half + 1, 0)] = True
        return inside.reshape(shape)

    def _reduced(self, x: np.ndarray, good: np.ndarray | None, marks: np.ndarray | None, inside: np.ndarray) -> Reduced:
        use = measured(x, good, marks)
        (mean, count), (all_mean, all_count) = self._means(x, use & ~inside), self._means(x, use)
        mean, count = np.where(count > 0, mean, all_mean), np.where(count > 0, count, all_count)
        code, error = self._nearest(mean, count)
        spread = np.repeat(np.repeat(code, self.size[0], -2), self.size[1], -1)[..., : x.shape[-2], : x.shape[-1]]
        with np.errstate(invalid="ignore", over="ignore"):      # of values that are kept
            far = apart(x.astype(np.float64), rebuilt(spread, self.quantizer.step, x.dtype).astype(np.float64))
        coded = use & ~inside & (spread != self.kind.fill)
        left = coded & (far <= self.pixel_bound)
        wanted = np.ones(x.shape, bool) if good is None else good != 0
        return Reduced(code, wanted & ~left, np.max(error, initial=0.0, where=~np.isin(code, (self.kind.fill, self.kind.masked))),
                       np.max(far, initial=0.0, where=left))

    def _means(self, x: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the pixels in use of each bin, in the order of rows, then columns; and how many these are."""
        (a, b), shape = self.size, self.bins.binned_shape(x.shape)
        total, count = np.zeros(shape, np.float64 if x.dtype.kind == "f" else np.int64), np.zeros(shape, np.int64)
        for r in range(a):
            for c in range(b):
                value, used = x[..., r::a, c::b].astype(total.dtype) if x.dtype.kind != "f" else x[..., r::a, c::b], use[..., r::a, c::b]
                bins = (..., slice(value.shape[-2]), slice(value.shape[-1]))
                total[bins] += np.where(used, value, 0)
                count[bins] += used
        return total / np.maximum(count, 1), count

    def _nearest(self, mean: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The code of each mean, and its error."""
        step, most, kind = float(self.quantizer.step), float(self.quantizer.error_bound), self.kind
        q = np.clip(np.rint(mean * (1.0 / step)), kind.lowest, kind.highest)
        q = np.where(np.abs(mean - q * step) <= most, q, q + np.where(mean > q * step, 1.0, -1.0))
        error = np.abs(mean - q * step)
        fits = (error <= most) & (q >= kind.lowest) & (q <= kind.highest)
        code = np.where(count == 0, kind.masked, np.where(fits, np.where(fits, q, 0).astype(np.int64), kind.fill))
        return code.astype(kind.dtype), error

    def _rule(self, dtype: np.dtype[Any]) -> tuple[float, ...]:
        """step, its inverse, abs, bound; the least and the largest value that is rebuilt."""
        step = float(self.quantizer.step)
        return step, 1.0 / step, float(self.quantizer.error_bound), self.pixel_bound, *map(float, limits_of(dtype))

    def numba(self, plan: Plan, *x: Any) -> None:
        got, _, _ = self.named(x)
        code, bits, roi, count, background_error, max_error, new_status = plan.every_output(x[len(self.inputs):])
        energy, shape = got["frames"], in_panels(got["frames"].shape[1:])
        n, kind = live_rows(energy, got["live"]), self.kind
        good, status = flat(plan.constants.get("good"), *shape), flat(got["pixel_status"], len(energy), *shape)
        corner = corners(got["peak_row"][:n], self.reach), corners(got["peak_col"][:n], self.reach)
        codes = code.reshape(len(code), shape[0], *code.shape[-2:]).view(np.uint16)
        share(reduce_frames, n, energy.reshape(-1, *shape)[:n], read_only(np.empty((0, 0, 0), np.uint8) if good is None else good),
                      read_only(np.empty((0, 0, 0, 0), np.uint8) if status is None else status[:n]), got["peak_panel"][:n].astype(np.int64), *corner,
                      got["peak_count"][:n].astype(np.int64), 2 * self.reach + 1, self.size, np.array(self._rule(energy.dtype)),
                      np.array([kind.lowest, kind.highest, kind.fill & 0xFFFF, kind.masked & 0xFFFF]), codes, bits, roi, count, background_error, max_error)
        if new_status is not None:
            over = (count[:n] > roi.shape[1]) | (got["peak_count"][:n] > got["peak_panel"].shape[1])
            new_status[:n] = got["frame_status"][:n] | np.where(over, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, *x: Any) -> None:
        got, _, _ = self.named(x)
        code, bits, roi, count, background_error, max_error, new_status = plan.every_output(x[len(self.inputs):])
        energy, live, held = got["frames"], got["live"], plan.scratch
        n, (panels, rows, cols), words = energy.shape[0], in_panels(energy.shape[1:]), bits.shape[1]
        cap, side, npix = got["peak_panel"].shape[1], 2 * self.reach + 1, panels * rows * cols
        alive, sizes = count if live is None else live, [np.uint32(k) for k in (n, panels, rows, cols)]
        step, inverse, most, bound, least, largest = self._rule(np.dtype(energy.dtype))
        plan.start_status(got["frame_status"], new_status, live)
        both = {**self.defines(got), "LIVE": live is not None}
        plan.launch("compress/roibin.cl", "clear", (-(-words // 128), n), 128, (held["bits"], background_error, max_error, alive, sizes[0], np.uint32(words)),
                    CLEAR=True, LIVE=live is not None)
        plan.launch("compress/roibin.cl", "cover", (-(-cap * side // 128), n), 128,
                    (*(got[k] for k in PEAKS), alive, held["bits"], np.int32(self.reach), *sizes, np.uint32(cap), np.uint32(words)), COVER=True, **both)
        optional = [code if a is None else a for a in (plan.constants.get("good"), got["pixel_status"])]
        both |= {"GOOD": self.good is not None, "STATUS": got["pixel_status"] is not None, "BIN_ROWS": f"{self.size[0]}u", "BIN_COLS": f"{self.size[1]}u",
                 **self.kind.defines()}
        plan.launch("compress/roibin.cl", "bin", (-(-math.prod(code.shape[1:]) // 128), n), 128,
                    (energy, *optional, held["bits"], alive, code, background_error, np.float64(step), np.float64(inverse), np.float64(most), *sizes,
                     np.uint32(words)), BIN=True, **both)
        plan.launch("compress/roibin.cl", "keep", (-(-npix // 1024), n), 128,
                    (energy, *optional, held["bits"], code, alive, bits, max_error, np.float32(step), np.float64(bound), np.float32(least),
                     np.float32(largest), *sizes, np.uint32(words)), KEEP=True, **both)
        count_strong(plan, bits, live, count, None, roi.shape[1])
        plan.launch("compress/roibin.cl", "pack", (-(-words // 128), n), 128,
                    (energy, bits, held["rank"], held["tile_count"], count, got["peak_count"], alive, roi, count if new_status is None else new_status,
                     sizes[0], *map(np.uint32, (npix, words, roi.shape[1], cap))), PACK=True, LIVE=live is not None, UNIT=UNITS[energy.dtype.itemsize],
                    FRAME_STATUS=new_status is not None)


def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x - y| of doubles that were floats or whole numbers of 32 bits, exact or larger; lost: what the subtraction rounded off, exactly (Knuth's two-sum)."""
    d = x - y
    back = d - x
    lost = (x - (d - back)) - (y + back)
    far: np.ndarray = np.abs(d) * np.where(d * lost > 0, 1.0 + 2.0**-52, 1.0)
    return far
