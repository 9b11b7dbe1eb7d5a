"""binned[R, C] = sum, mean or maximum of the pixels that are left in a rectangle of size[0] x size[1]: frames made smaller, panel by panel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, frame_grid, live_rows
from ..status import Pixel
from .bin_numba import bin_rows
from .frames import WORDS, FrameOp, word

STATISTICS = ("sum", "mean", "max")
TYPES = {**WORDS, "int64": "i64", "float64": "f64"}      # what kernels call them
MOST_IN_A_BIN = 65535       # bin_count is u16; of 32-bit words so many stay below 2**48, which f64 holds


def measured(x: np.ndarray, good: np.ndarray | None, pixel_status: np.ndarray | None) -> np.ndarray:
    """Which pixels are measurements: finite, good, of status 0. bool like x."""
    use = np.isfinite(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
    if good is not None:
        use = use & (good != 0)
    return use if pixel_status is None else use & (pixel_status == 0)


@dataclass(frozen=True, eq=False)
class Bin(FrameOp):
    """binned[R, C] = sum, mean or maximum of the pixels used in rows size[0] R to size[0] (R + 1) - 1, columns alike.

    fields: size, rows and columns of a bin, at most 65535 pixels; statistic: "sum", "mean" or "max"; good (*frame) bool, True = use, None = all
            min_good: a bin with fewer pixels in use is NaN, in whole numbers 0; count, status: write bin_count, bin_status; of: the input with the frames
            Bins at the last rows and columns of a panel hold what is left there, and are kept: bin_count says how many pixels
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, NaN and Inf are not used; pixel_status (n, *frame) u8, used where 0; live (1,) i32
    out: binned (n, [panels,] R, C): a sum of whole numbers i32 where none of such a bin can exceed that, else i64; a sum of f32 f32; a mean f32;
         a maximum the input's dtype
         bin_count (n, [panels,] R, C) u16, with count=True: the pixels in use
         bin_status (n, [panels,] R, C) u8, with status=True: MASKED where they are fewer than min_good, else 0
    exact: sums of whole numbers; their mean is rounded once in f64 and once to f32. Of f32: the f64 sum in the order of rows, then columns, rounded
           once to f32, or divided first; sums beyond f32 are Inf. Bit-identical on every backend
    source: software binning; sums in a wider type, for in the pixels' own they wrap around
    """

    name: ClassVar[str] = "features.bin"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("binned", "bin_count", "bin_status")

    size: tuple[int, int] = (2, 2)
    statistic: str = "sum"
    good: np.ndarray | None = None
    min_good: int = 1
    count: bool = False
    status: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        size = tuple(self.size) if isinstance(self.size, (tuple, list)) else ()
        if len(size) != 2 or not all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in size) or math.prod(size) > MOST_IN_A_BIN:
            raise ValueError(f"{self.name}: size must be (rows, columns) of a bin, of at most {MOST_IN_A_BIN} pixels, got {self.size!r}")
        object.__setattr__(self, "size", size)
        self.one_of("statistic", *STATISTICS)
        if not 1 <= self.number("min_good", whole=True) <= math.prod(size):
            raise ValueError(f"{self.name}: min_good must be 1 to {math.prod(size)}, the pixels of a bin, got {self.min_good}")
        self.own_good()

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def binned_shape(self, frame: tuple[int, ...]) -> tuple[int, ...]:
        """Of the bins of a frame."""
        return (*frame[:-2], -(-frame[-2] // self.size[0]), -(-frame[-1] // self.size[1]))

    def binned_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Of the bins of such pixels."""
        if self.statistic == "mean" or dtype.kind == "f":
            return np.dtype(np.float32)
        if self.statistic == "max":
            return dtype
        most = max(-int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) * math.prod(self.size)
        return np.dtype(np.int32 if most < 2**31 else np.int64)

    def good_bins(self, good: np.ndarray) -> np.ndarray:
        """Which bins of a mask (*frame) bool have min_good pixels and more: the mask of the binned frames."""
        return self._sums(np.asarray(good, np.int64)) >= self.min_good

    def positions(self, position: np.ndarray) -> np.ndarray:
        """The centres of the bins, f64: the mean over all their pixels, masked ones too, of one coordinate (*frame). Edge bins lie where their pixels do."""
        position = np.asarray(position, np.float64)
        return self._sums(position) / self._sums(np.ones(position.shape))

    def _sums(self, x: np.ndarray) -> np.ndarray:
        """Of all pixels of each bin."""
        (a, b), (rows, cols) = self.size, x.shape[-2:]
        return np.add.reduceat(np.add.reduceat(x, np.arange(0, rows, a), axis=-2), np.arange(0, cols, b), axis=-1)

    def outputs(self, x: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        n, *frame = shape = self.require_frames(x, self.good)
        if len(frame) not in (2, 3) or 0 in frame:
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) or (n, panels, rows, cols), got {x.dtype} {tuple(x.shape)}")
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        at = (n, *self.binned_shape(tuple(frame)))
        out = [Spec("binned", at, self.binned_dtype(np.dtype(x.dtype)))]
        out += [Spec("bin_count", at, np.dtype(np.uint16))] if self.count else []
        return (*out, *([Spec("bin_status", at, np.dtype(np.uint8))] if self.status else []))

    def numpy(self, plan: Plan, x: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        binned, bin_count, bin_status, _ = plan.every_output(out)
        with np.errstate(over="ignore", invalid="ignore"):     # of values that are not used, and of sums that float32 does not hold
            self._numpy(plan, x, pixel_status, live_rows(x, live), binned, bin_count, bin_status)

    def _numpy(self, plan: Plan, x: Any, pixel_status: Any, n: int, binned: Any, bin_count: Any, bin_status: Any) -> None:
        (a, b), floats = self.size, x.dtype.kind == "f"
        for f in range(n):
            use = measured(x[f], plan.constants.get("good"), None if pixel_status is None else pixel_status[f])
            shape = self.binned_shape(x.shape[1:])
            total, count = np.zeros(shape, np.float64 if floats else np.int64), np.zeros(shape, np.int64)
            most = np.full(shape, -np.inf if floats else -(2**62), total.dtype)
            for r in range(a):
                for c in range(b):      # each bin's pixels by rows, then columns; at the last ones fewer bins have such a pixel
                    value, used = x[f][..., r::a, c::b].astype(total.dtype), use[..., r::a, c::b]
                    bins = (..., slice(value.shape[-2]), slice(value.shape[-1]))
                    total[bins] += np.where(used, value, 0)
                    most[bins] = np.maximum(most[bins], np.where(used, value, most[bins]))
                    count[bins] += used
            enough = count >= self.min_good
            value = total if self.statistic == "sum" else most + 0 if self.statistic == "max" else total / np.maximum(count, 1)     # + 0: no -0.0
            binned[f] = np.where(enough, value, np.nan if binned.dtype.kind == "f" else 0).astype(binned.dtype)
            if bin_count is not None:
                bin_count[f] = count
            if bin_status is not None:
                bin_status[f] = np.where(enough, 0, Pixel.MASKED)

    def _panels(self, x: Any) -> tuple[int, int, int]:
        """panels, rows, cols."""
        return math.prod(x.shape[1:-2]), x.shape[-2], x.shape[-1]

    def numba(self, plan: Plan, x: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        binned, bin_count, bin_status, _ = plan.every_output(out)
        good, rows = plan.constants.get("good"), live_rows(x, live)
        cube = [None if k is None else k.reshape(len(k), self._panels(x)[0], *k.shape[-2:]) for k in (x, pixel_status, binned, bin_count, bin_status)]
        start = np.zeros(1, self._held(x.dtype))
        if self.statistic == "max":
            start[0] = -np.inf if start.dtype.kind == "f" else np.iinfo(start.dtype).min
        some_unused = None if good is None and pixel_status is None and x.dtype.kind != "f" else True
        good = None if good is None else good.reshape(self._panels(x))
        bin_rows(rows, cube[0], good, cube[1], some_unused, *cube[2:], *self.size, STATISTICS.index(self.statistic), self.min_good, start,
                 np.array([np.nan if binned.dtype.kind == "f" else 0]).astype(binned.dtype), np.uint8(Pixel.MASKED))

    def _held(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """In what the sum or the maximum of a bin is taken: as a sum of whole numbers is written."""
        if dtype.kind == "f":
            return np.dtype(np.float64)
        most = max(-int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) * (1 if self.statistic == "max" else math.prod(self.size))
        return np.dtype(np.int32 if most < 2**31 else np.int64)

    def device(self, plan: Plan, x: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        binned, bin_count, bin_status, _ = plan.every_output(out)
        n, (panels, rows, cols), frames = x.shape[0], self._panels(x), plan.device.frames
        across, down = -(-cols // self.size[1]), -(-rows // self.size[0])
        frame_grid(n, panels * rows * cols, 1, frames)      # raises for more pixels than the kernel can number
        optional = [binned if a is None else a for a in (plan.constants.get("good"), pixel_status, live, bin_count, bin_status)]
        held = self._held(np.dtype(x.dtype))
        plan.launch(
            "features/bin.cl", "bin", frame_grid(n, panels * down * across, 1, frames), 128,
            (x, *optional[:3], binned, *optional[3:], *map(np.uint32, (n, rows, cols, down, across, panels * down * across))),
            VECTOR=1, FRAMES=f"{frames}u", WORD=word(x), FLOATS=x.dtype.kind == "f", BINNED=TYPES[np.dtype(binned.dtype).name],
            HELD=TYPES[held.name], BIN_ROWS=f"{self.size[0]}u", BIN_COLS=f"{self.size[1]}u",
            STATISTIC=STATISTICS.index(self.statistic), MIN_GOOD=f"{self.min_good}u", GOOD=self.good is not None, STATUS=pixel_status is not None,
            LIVE=live is not None, COUNT=self.count, MARK=self.status,
        )
