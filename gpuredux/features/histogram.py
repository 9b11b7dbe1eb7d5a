"""Histograms of pixel values: of each frame or of a batch, of regions apart, or over the bins of a second value. Over 200 lines: with the rules of ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import get_num_threads

from ..op import Plan, Spec, live_rows
from .frames import FrameOp, word
from .histogram_numba import histogram_parts

OUTSIDE = ("under", "over", "not finite")       # the columns of histogram_outside
MOST_SHARED = 6144      # counters of a block in local memory: 24 KiB; with more, all blocks count in global memory
CHUNK = 4096            # pixels that a block counts before it adds to the result, at least
MOST_COUNTERS = 2**28   # of a frame: kernels number them in 32 bits


def panel_labels(frame: tuple[int, ...]) -> np.ndarray:
    """label for frames (panels, rows, cols): the number of the panel, u16."""
    return np.ascontiguousarray(np.broadcast_to(np.arange(frame[0], dtype=np.uint16)[:, None, None], frame))


@dataclass(frozen=True, eq=False)
class Histogram(FrameOp):
    """histogram[k] = number of pixels with edge[k] <= energy < edge[k + 1], in the last bin <=; edge = numpy.linspace(low, high, bins + 1).

    fields: low, high [unit of energy], bins; label (*frame) u16: the region of each pixel, regions of them (0: as many as there are), of other
            numbers nobody counts; other (low, high, bins): regions are the bins of the input `other` instead; over: "frame" or "batch"; good (*frame)
            bool, True = use, None = all; of: the input with the frames
    in:  energy (n, *frame) u8, u16, i16, u32, i32 or f32; other (n, *frame) f32, only with the field; pixel_status (n, *frame) u8, used where 0
         live (1,) i32
    out: histogram (n, [regions,] bins) u32; over="batch": ([regions,] bins), of all frames
         histogram_outside (n, [regions,] 3) u32, or without n: pixels below low, above high, not finite
         other_outside (n, 3) u32, or (3,), only with other: the same of it; such pixels are counted nowhere else
    exact: integer counts; values and edges are compared in f64, as numpy.histogram compares f64 values
    source: numpy.histogram and numpy.histogram2d
    """

    name: ClassVar[str] = "features.histogram"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "other?", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("histogram", "histogram_outside", "other_outside")

    low: float
    high: float
    bins: int
    label: np.ndarray | None = None
    regions: int = 0
    other: tuple[float, float, int] | None = None
    over: str = "frame"
    good: np.ndarray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("over", "frame", "batch")
        for field in ("low", "high"):
            object.__setattr__(self, field, self.number(field))
        self._check_range("low, high, bins", self.low, self.high, self.number("bins", whole=True))
        if self.other is not None:
            object.__setattr__(self, "other", tuple(self.other))
            if len(self.other) != 3 or self.label is not None:
                raise ValueError(f"{self.name}: other must be (low, high, bins), and without a label, got {self.other}")
            self._check_range("other", *self.other)
        if self.number("regions", whole=True) < 0 or (self.regions and self.label is None):
            raise ValueError(f"{self.name}: regions must be 0 or, with a label, how many there are, got {self.regions}")
        self.own_good()
        if self.label is not None:
            self._own_label()
        if self.n_regions * (self.bins + 3) + 3 > MOST_COUNTERS:
            raise ValueError(f"{self.name}: {self.n_regions} regions of {self.bins} bins are more than {MOST_COUNTERS} counters")

    def _check_range(self, what: str, low: Any, high: Any, bins: Any) -> None:
        """Wide enough for f64: an edge that is guessed is at most one off."""
        size = max(abs(low), abs(high))
        if not (math.isfinite(size) and low < high and isinstance(bins, int) and 1 <= bins <= 2**24 and (high - low) / bins > size * 2.0**-40):
            raise ValueError(f"{self.name}: {what} must be finite, low < high, 1 to {2**24} bins wider than 2**-40 of an end, got {low}, {high}, {bins}")

    def _own_label(self) -> None:
        label = self.own("label")
        if label.dtype != np.uint16 or label.size == 0 or (self.good is not None and self.good.shape != label.shape):
            raise ValueError(f"{self.name}: label must be uint16 (*frame), of the frame of good, got {label.dtype} {label.shape}")
        if not self.regions:
            object.__setattr__(self, "regions", int(label.max()) + 1)

    @property
    def n_regions(self) -> int:
        """Histograms side by side."""
        return self.other[2] if self.other is not None else self.regions or 1

    @property
    def lead(self) -> tuple[int, ...]:
        """The axis of regions, where there is one."""
        return () if self.other is None and self.label is None else (self.n_regions,)

    @property
    def edge(self) -> np.ndarray:
        """The edges of the bins, f64."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def other_edge(self) -> np.ndarray:
        """Of the bins of other."""
        return np.zeros(1) if self.other is None else np.linspace(self.other[0], self.other[1], self.other[2] + 1)

    def constants(self) -> dict[str, np.ndarray]:
        """Edges with the bins in a unit behind them, by which kernels guess."""
        tables = {"edge": np.append(self.edge, self.bins / (self.high - self.low))}
        if self.other is not None:
            tables["other_edge"] = np.append(self.other_edge, self.other[2] / (self.other[1] - self.other[0]))
        given = {"good": None if self.good is None else self.good.astype(np.uint8), "label": self.label}
        return {**tables, **{k: v for k, v in given.items() if v is not None}}

    def outputs(self, x: Any, other: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(x, self.good if self.label is None else self.label)
        if other is None and self.other is not None:
            raise TypeError(f"{self.name}: other must be an array {shape} for {self.other}, got None")
        if other is not None:
            if self.other is None:
                raise ValueError(f"{self.name}: other was given, but not asked for (other=None)")
            self.require("other", other, np.float32, shape)
        if 0 in shape[1:] or (self.over == "batch" and math.prod(shape) >= 2**32):
            raise ValueError(f"{self.name}: {self.of} must have pixels, in a batch less than {2**32}, which u32 counts, got {x.dtype} {tuple(x.shape)}")
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        rows = shape[:1] if self.over == "frame" else ()
        sizes = {"histogram": (*rows, *self.lead, self.bins), "histogram_outside": (*rows, *self.lead, 3), "other_outside": (*rows, 3)}
        return tuple(Spec(k, s, np.dtype(np.uint32)) for k, s in sizes.items() if k != "other_outside" or self.other is not None)

    def numpy(self, plan: Plan, x: Any, other: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        histogram, outside, other_outside, _ = plan.every_output(out)
        rows = live_rows(x, live)
        if self.over == "batch":
            for a in out:
                a[...] = 0
        for f in range(rows):
            use = np.ones(x.shape[1:], bool) if self.good is None else self.good
            use = use if pixel_status is None else use & (pixel_status[f] == 0)
            region = np.zeros(x.shape[1:], np.int64) if self.label is None else self.label.astype(np.int64)
            found = [np.zeros(3, np.int64)] * 2
            if self.other is not None:
                region = place(other[f], self.other_edge)
                found[1] = np.array([(use & (region == k)).sum() for k in (-1, -2, -3)])
            use = use & (region >= 0) & (region < self.n_regions)
            k = place(x[f], self.edge)[use]
            both = np.bincount(region[use] * (self.bins + 3) + np.where(k < 0, self.bins - 1 - k, k), minlength=self.n_regions * (self.bins + 3))
            both = both.reshape(*self.lead, self.bins + 3)
            for a, counts in zip((histogram, outside, other_outside), (both[..., : self.bins], both[..., self.bins :], found[1]), strict=True):
                if a is not None and self.over == "frame":
                    a[f] = counts
                elif a is not None:
                    a += counts.astype(np.uint32)

    @property
    def counters(self) -> int:
        """Of a frame: histogram, histogram_outside, other_outside, side by side."""
        return self.n_regions * (self.bins + 3) + (3 if self.other is not None else 0)

    def numba(self, plan: Plan, x: Any, other: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, npix, by_frame = live_rows(x, live), math.prod(x.shape[1:]), self.over == "frame"
        flat = [None if a is None else a.reshape(len(a), npix)[:n] for a in (x, other, pixel_status)]
        constants = [None if c not in plan.constants else plan.constants[c].reshape(-1) for c in ("good", "label", "edge", "other_edge")]
        threads = get_num_threads()
        chunks = -(-threads // max(n, 1)) if by_frame else max(1, min(threads, n))
        if x.dtype.itemsize < 4 and "table" not in plan.scratch:      # of this backend alone
            plan.scratch["table"] = self.table(x.dtype)
        table = plan.scratch.get("table")
        parts = histogram_parts(*flat, *constants, self.n_regions, self.bins, by_frame, chunks, self.counters, table)
        total = parts.sum(axis=1, dtype=np.uint32) if by_frame else parts.sum(axis=(0, 1), dtype=np.uint32)
        ends = np.cumsum([self.n_regions * self.bins, self.n_regions * 3])
        for a, counts in zip(out, np.split(total, ends, axis=-1), strict=False):
            rows = a[:n] if by_frame else a
            rows[...] = counts.reshape(rows.shape)

    def table(self, dtype: np.dtype[Any]) -> np.ndarray:
        """The counter of each value of 8 or 16 bits, in the order of their bits, for one region."""
        words = np.arange(2 ** (8 * dtype.itemsize), dtype=np.uint16 if dtype.itemsize == 2 else np.uint8)
        k = place(words.view(dtype), self.edge)
        return np.where(k < 0, self.bins - 1 - k, k).astype(np.uint32)

    def device(self, plan: Plan, x: Any, other: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        histogram, outside, other_outside, _ = plan.every_output(out)
        n, npix, by_frame = x.shape[0], math.prod(x.shape[1:]), self.over == "frame"
        counters, frames = self.counters, 1 if by_frame else plan.device.frames
        private = counters <= MOST_SHARED
        chunk = max(CHUNK, -(-4 * counters // 128) * 128) if private else CHUNK
        chunks, constants = -(-npix // chunk), [plan.constants.get(c) for c in ("good", "label", "edge", "other_edge")]
        some = constants[2]     # stands in where a kernel never looks
        results = [some if a is None else a for a in (histogram, outside, other_outside)]
        sizes = [np.uint32(k) for k in (n, self.n_regions, self.bins, counters)]
        choice = {"VECTOR": 1, "LIVE": live is not None, "BY_FRAME": by_frame, "OTHER": self.other is not None}
        plan.launch("features/histogram.cl", "histogram_clear", (-(-counters * (n if by_frame else 1) // 128),), 128,
                    (some if live is None else live, *(r if n or not by_frame else some for r in results), *sizes), CLEAR=True, **choice)
        arrays = [some if a is None or not n else a for a in (x, other, pixel_status)]
        size = 1024     # bytes; a power of two, so that few kernels are compiled
        while private and size < 4 * counters:
            size *= 2
        plan.launch(
            "features/histogram.cl", "histogram", (chunks * -(-n // frames),), 128,
            (*arrays, *(some if a is None else a for a in (*constants, live)), *results, *sizes, *map(np.uint32, (npix, chunks, chunk))),
            shared=size if private else 0, CLEAR=False, FRAMES=f"{frames}u", WORD=word(x), FLOATS=x.dtype.kind == "f", GOOD=self.good is not None,
            STATUS=pixel_status is not None, LABEL=self.label is not None, PRIVATE=private, **choice,
        )


def place(x: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """The bin of each value; -1 below the first edge, -2 above the last, -3 not finite."""
    wide = x.astype(np.float64)
    finite = np.isfinite(wide)
    wide = np.where(finite, wide, edge[0])
    k = np.minimum(np.searchsorted(edge, wide, side="right") - 1, len(edge) - 2)
    return np.where(finite, np.where(wide < edge[0], -1, np.where(wide > edge[-1], -2, k)), -3)
