"""What a region of a frame holds: exact sums of thousands of regions a frame in one launch, and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import share
from ..op import Plan, Spec, live_rows
from ..status import Frame, Pixel
from .around_peaks import PEAKS, AroundPeaks, flat
from .frames import whole
from .region_sums_numba import sum_peaks, sum_regions
from .regions import Regions, corner_of, in_panels, lanes

COLUMNS = ("pixels", "above", "saturated", "sum", "mean", "variance", "min", "max", "row", "col")


@dataclass(frozen=True, eq=False)
class RegionSums(AroundPeaks):
    """sum v, mean, variance = sum v^2 / pixels - mean^2, centroid = sum v (row, col) / sum v, extremes: over the good pixels of each region of each frame.

    fields: regions: a Regions, or its spans (k, 4) i32 together with frame, the shape of a frame; or half: see in. They may overlap
            threshold (rounded to float32): pixels above it are counted; good (*frame) bool, None = all; unit: see FrameOp
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32; NaN and Inf are left out
         with half: peak_panel (n, cap) i32, peak_row, peak_col (n, cap) f32 or i32 (0 = centre of the first pixel), peak_count (n,) i32: the regions are
         windows of 2 half + 1 rows and cols around the peaks' nearest pixels, cut at the edge of the panel
         pixel_status (n, *frame) u8: pixels that are not 0 are left out, but SATURATED ones counted; frame_status (n,) u32; live (1,) i32
    out: region_pixels, region_above, region_saturated i32: good ones, those above threshold, saturated ones;
         region_sum i64, of float frames f64; region_mean, region_variance f32; region_min, region_max as energy;
         region_row, region_col f32: centroid in the panel, 0 = centre of its first pixel; each (n, regions) or (n, cap)
         frame_status (n,) u32, when given: with BEYOND_UNIT, of float frames
         without pixels, and the centroid where the sum is 0: NaN, and 0 in columns of whole numbers; behind the last peak: 0
    exact: bit-identical on every backend: sums are whole numbers, of float frames in units of `unit`; min and max are those of the values themselves
    source: sums and moments of a region as ROIFunc of smalldata_tools reports them
    """

    name: ClassVar[str] = "features.region_sums"
    inputs: ClassVar[tuple[str, ...]] = (
        "energy", "peak_panel", "peak_row", "peak_col", "peak_count", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = tuple(f"region_{k}" for k in COLUMNS)
    fixed: ClassVar[str] = "regions"

    regions: Regions | np.ndarray | None = None
    threshold: float = math.inf
    good: np.ndarray | None = None
    unit: float = 2.0**-8
    frame: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_unit()
        if math.isnan(self.number("threshold")):
            raise ValueError(f"{self.name}: threshold must be a number, got {self.threshold}")
        if self.regions is not None:
            given = self.regions
            if not isinstance(given, Regions):
                if self.frame is None:
                    raise ValueError(f"{self.name}: regions must be a Regions, or spans together with frame=")
                given = Regions(self.frame, given)
            if self.frame is not None and tuple(self.frame) != given.frame:
                raise ValueError(f"{self.name}: frame must be that of the regions, {given.frame}, got {self.frame}")
            object.__setattr__(self, "frame", given.frame)
            object.__setattr__(self, "regions", given.spans)
            self.own("regions")
        elif self.frame is not None:
            raise ValueError(f"{self.name}: frame goes with regions")
        self.own_good(self.frame or ())

    def constants(self) -> dict[str, np.ndarray]:
        good = {} if self.good is None else {"good": self.good.astype(np.uint8)}
        return good if self.frame is None else {**good, **Regions(self.frame, self.regions).tables()}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        got, frames = self.named(x)[0], x[0]
        shape = self.require(self.of, frames, [np.dtype(d) for d in self.dtypes], ("n", *(self.frame or self._any_frame(frames)))).shape
        self.frame_panels(frames)
        n, kind = shape[0], np.dtype(frames.dtype)
        count = int(self.regions[-1, 0]) + 1 if self.half is None else self.require_peaks(got, n)
        self.require_marks(shape, pixel_status=got["pixel_status"])
        types = {**dict.fromkeys(COLUMNS, np.float32), **dict.fromkeys(COLUMNS[:3], np.int32), "sum": np.float64 if kind.kind == "f" else np.int64,
                 "min": kind, "max": kind}
        columns = tuple(Spec(f"region_{k}", (n, count), np.dtype(d)) for k, d in types.items())
        return (*columns, *self.frame_outputs(n, got["frame_status"], got["live"]))

    def _any_frame(self, frames: Any) -> tuple[Any, ...]:
        return getattr(frames, "shape", ())[1:] or ("rows", "cols") if self.good is None else self.good.shape

    def scratch(self, *x: Any) -> tuple[Spec, ...]:
        n = x[0].shape[0]
        parts = len(Regions(self.frame, self.regions).tables()["part"]) if self.half is None else x[1].shape[1]
        return (Spec("whole", (n, parts, 5), np.dtype(np.uint64)), Spec("some", (n, parts, 5), np.dtype(np.uint32)))

    def step(self, kind: np.dtype[Any]) -> tuple[float, Any]:
        """What a unit of the sums is worth, and the threshold as kernels compare: of integers with its whole part."""
        limit = np.float32(self.threshold)
        if kind.kind == "f":
            return self.unit, limit
        return 1.0, np.int64(min(max(math.floor(limit), -(2**40)), 2**40)) if np.isfinite(limit) else np.int64(2**40 if limit > 0 else -(2**40))

    def _pixels(self, panels: int, rows: int, cols: int, got: dict[str, Any], f: int, k: int) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Rows (of all panels one below the other) and cols of a region's pixels, and its corner; no pixel and 0 behind the last peak."""
        if self.half is None:
            spans = self.regions[self.regions[:, 0] == k]
            row, col = np.repeat(spans[:, 1], spans[:, 3]), np.concatenate([np.arange(c, c + m) for c, m in spans[:, 2:]])
            return row, col, int((row % rows).min()), int(col.min())
        none = np.zeros(0, int)
        if k >= got["peak_count"][f]:
            return none, none, 0, 0
        panel, top, left = int(got["peak_panel"][f, k]), corner_of(got["peak_row"][f, k], self.half), corner_of(got["peak_col"][f, k], self.half)
        row, col = (a.reshape(-1) for a in np.indices((2 * self.half + 1,) * 2))
        inside = (0 <= panel < panels) & (top + row >= 0) & (top + row < rows) & (left + col >= 0) & (left + col < cols)
        return panel * rows + top + row[inside], left + col[inside], top, left

    def numpy(self, plan: Plan, *x: Any) -> None:
        got, columns, new_status = self.named(x)
        frames, (panels, rows, cols) = got["frames"], in_panels(got["frames"].shape[1:])
        unit, limit = self.step(frames.dtype)
        good = np.ones(frames.shape[1:], bool) if self.good is None else self.good
        for f in range(live_rows(frames, got["live"])):
            status = np.zeros(good.shape, np.uint8) if got["pixel_status"] is None else got["pixel_status"][f]
            q, beyond = whole(frames[f], unit)
            measured = good & (status == 0) & np.isfinite(frames[f])
            over = frames[f] > limit if frames.dtype.kind == "f" else q > limit
            planes = [a.reshape(panels * rows, cols) for a in (frames[f], q, measured, over, good & (status & Pixel.SATURATED != 0), beyond & measured)]
            any_beyond = False
            for k in range(columns[0].shape[1]):
                row, col, top, left = self._pixels(panels, rows, cols, got, f, k)
                value, units, use, above, saturated, far = (a[row, col] for a in planes)
                any_beyond |= bool(far.any())
                listed = self.half is None or k < got["peak_count"][f]
                made = derived(value[use], units[use], row[use] % rows - top, col[use] - left, top, left, unit, listed)
                for out, v in zip(columns, (use.sum(), (above & use).sum(), saturated.sum(), *made), strict=True):
                    out[f, k] = v
            if new_status is not None:
                new_status[f] = got["frame_status"][f] | (Frame.BEYOND_UNIT if any_beyond else 0)

    def numba(self, plan: Plan, *x: Any) -> None:
        got, columns, new_status = self.named(x)
        frames = got["frames"]
        n, (panels, rows, cols), kind = live_rows(frames, got["live"]), in_panels(frames.shape[1:]), frames.dtype
        npix = panels * rows * cols
        unit, limit = self.step(kind)
        given = (frames[:n].reshape(n, npix), flat(got["pixel_status"], len(frames), npix),
                 flat(plan.constants.get("good"), npix), limit, np.float32(1 / unit), np.float64(unit))
        beyond = np.zeros((n, columns[0].shape[1]), np.uint8)
        if self.half is None:
            share(sum_regions, beyond.size, *given, *(plan.constants[k] for k in ("span", "part", "box")), beyond, tuple(columns[:3]), tuple(columns[3:]))
        else:
            share(sum_peaks, beyond.size, *given, panels, rows, cols, self.half, *(got[k] for k in PEAKS), beyond, tuple(columns[:3]), tuple(columns[3:]))
        if new_status is not None:
            new_status[:n] = got["frame_status"][:n] | np.where(beyond.any(1), Frame.BEYOND_UNIT, 0).astype(np.uint32)

    def device(self, plan: Plan, *x: Any) -> None:
        got, columns, new_status = self.named(x)
        frames, status, good, live = (got["frames"], got["pixel_status"], plan.constants.get("good"), got["live"])
        panels, rows, cols = in_panels(frames.shape[1:])
        whole_sums, some, n, regions, kind = plan.scratch["whole"], plan.scratch["some"], frames.shape[0], columns[0].shape[1], np.dtype(frames.dtype)
        plan.start_status(got["frame_status"], new_status, live)
        span, part, box = (plan.constants.get(k, some) for k in ("span", "part", "box"))
        peaks = [some if got[k] is None else got[k] for k in PEAKS]
        unit, limit = self.step(kind)
        wide = lanes(self.regions[:, 3] if self.half is None else np.full(2 * self.half + 1, 2 * self.half + 1))
        defines = {**self.defines(got), "LIVE": live is not None, "LIMIT": "f32" if kind.kind == "f" else "i64"}
        sizes, parts = tuple(map(np.uint32, (n, panels, rows, cols))), whole_sums.shape[1]
        given = (status is not None) + 2 * (good is not None) + 4 * (new_status is not None)
        optional = [some if a is None else a for a in (status, good)]
        plan.launch(
            "features/region_sums.cl", "region_parts", (n * -(-parts // 4),), 128,
            (frames, *optional, span, part, *peaks, some if new_status is None else new_status, some if live is None else live, whole_sums, some,
             np.float32(1 / unit), limit, np.int32(self.half or 0), np.uint32(given), np.uint32(wide), np.uint32(parts), *sizes), **defines)
        plan.launch(
            "features/region_sums.cl", "region_derive", (-(-n * regions // 128),), 128,
            (whole_sums, some, box, *peaks, some if live is None else live, *columns, np.float32(unit), np.int32(self.half or 0),
             *map(np.uint32, (regions, parts, n))),
            DERIVE=True, TOTAL="f64" if kind.kind == "f" else "i64", **defines)


def derived(value: Any, q: Any, down: Any, across: Any, top: int, left: int, unit: float, listed: bool) -> tuple[Any, ...]:
    """sum, mean, variance, min, max, row, col of one region's pixels."""
    none = np.float32(np.nan) if listed else np.float32(0)
    total, count = int(q.sum()), q.size
    empty = none if value.dtype.kind == "f" else 0
    summed = float(total) * unit if value.dtype.kind == "f" else total
    place = [np.float32(corner + as_real(q * offset) / float(total)) if total else none for corner, offset in ((top, down), (left, across))]
    if not count:
        return summed, none, none, empty, empty, *place
    mean = float(total) / count
    square = q.astype(np.uint64) * q.astype(np.uint64)      # of a negative number too, modulo 2^64
    variance = max(as_real(square) / count - mean * mean, 0.0)
    return summed, np.float32(mean * unit), np.float32(variance * (unit * unit)), value.min() + value.dtype.type(0), value.max() + value.dtype.type(0), *place


def as_real(values: np.ndarray) -> float:
    """The sum of whole numbers, exact, as high * 2^32 + low: two roundings."""
    total = (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
    return float(total >> 32) * 4294967296.0 + float(total & 0xFFFFFFFF)
