"""Bragg peaks by peakfinder8: rings' clipped statistics, connected pixels above threshold, statistics of the disc around. Over 200 lines: it has the
specification, in the order in which the method is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from ..status import Frame
from . import peak_finder8_numba as host
from .frames import LARGEST, FrameOp, host_frames, host_marks, whole, word
from .rings import Rings
from .rings_split import SplitRings
from .strong import connected, list_components, strong_bits, strong_scratch, table_of
from .strong_numba import Grid

COLUMNS = {"panel": np.int32, "row": np.float32, "col": np.float32, "pixels": np.int32, "total": np.float32, "max": np.float32, "background": np.float32,
           "sigma": np.float32, "snr": np.float32}
ROUNDS = 5          # of clipping, as in every peakfinder8
FLAT = 0.01         # the sigma of a disc without pixels; in "safe" of one without spread, too
LEAST = np.float32(1.17549435e-38)      # the smallest normal float32: where "legacy" starts an empty ring again
MOST = np.float32(3.4028234663852886e38)


@dataclass(frozen=True, eq=False)
class PeakFinder8(FrameOp):
    """peaks of 8-connected pixels above the clipped mean + min_snr sigma of their ring, whose total is min_snr sigma of the disc around them, or more.

    fields: radius (*frame) f32 [pixel], NaN = not used; or Rings that several ops share, made with their own good, min_res and max_res
            adc_threshold: no ring's threshold is below; min_snr: of a pixel over its ring, and of a peak over its disc; min_pix, max_pix: pixels of a peak;
            local_bg_radius: the disc has twice this radius [pixel]; max_num_peaks: rows of the table
            good (*frame) bool, None = all; min_res, max_res: radii [pixel] beyond which no pixel is used
            variant: "safe": an empty ring keeps its last bounds, pixels on the lower bound count, a disc without spread has sigma 0.01, centroids are
            weighted by v - the ring's mean; "legacy": as the originals, but for their merging of unrelated blobs across panels
            panel_shape (rows, cols): ASICs that a panel consists of, each by itself; None = whole panels
            max_strong: pixels above threshold that are looked at, None = a 32nd of the frame, at least 4096; a frame with more has no peaks listed
            unit: see FrameOp; integer frames are exact, taken as float32; beyond 2147483520 of it a value counts as that
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         frame_status (n,) u32; live (1,) i32
    out: peak_panel i32, peak_row, peak_col f32 (centroid; 0 = centre of the first pixel of the panel), peak_pixels i32, peak_total, peak_max, peak_background,
         peak_sigma, peak_snr f32, each (n, max_num_peaks), 0 behind the last peak: in raster order of each peak's first pixel off its panel's border;
         peak_count (n,) i32, more than max_num_peaks where peaks were left out; strong_count (n,) i32 pixels above threshold;
         frame_status (n,) u32, when given: with BEYOND_UNIT, and TOO_MANY where strong_count > max_strong
    exact: bit-identical on every backend: sums over rings are whole numbers, those over peaks and discs are taken in raster order in f64
    source: A. Barty et al., J. Appl. Cryst. 47 (2014) 1118 (Cheetah); order-free restatement of what CrystFEL and OM run
    """

    name: ClassVar[str] = "features.peak_finder8"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = (*(f"peak_{k}" for k in COLUMNS), "peak_count", "strong_count")

    radius: np.ndarray | Rings
    adc_threshold: float
    min_snr: float = 5.0
    min_pix: int = 2
    max_pix: int = 200
    local_bg_radius: int = 3
    max_num_peaks: int = 2048
    good: np.ndarray | None = None
    min_res: float = 0.0
    max_res: float | None = None
    variant: str = "safe"
    panel_shape: tuple[int, int] | None = None
    max_strong: int | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("variant", "safe", "legacy")
        for field, low, high in (("min_pix", 1, 2**31 - 1), ("max_pix", 1, 2**31 - 1), ("local_bg_radius", 1, 127), ("max_num_peaks", 1, 2**24)):
            if not low <= self.number(field, whole=True) <= high:
                raise ValueError(f"{self.name}: {field} must be {low} to {high}, got {getattr(self, field)}")
        if not (math.isfinite(self.number("min_snr")) and self.min_snr > 0 and abs(self.number("adc_threshold")) <= float(MOST)):
            raise ValueError(f"{self.name}: min_snr must be positive and adc_threshold a finite float32, got {self.min_snr} and {self.adc_threshold}")
        self.own_unit()
        self.own_good()
        if isinstance(self.radius, SplitRings):
            raise TypeError(f"{self.name}: radius must be Rings without split pixels, or each pixel's radius, got SplitRings")
        if not isinstance(self.radius, Rings):
            object.__setattr__(self, "radius", Rings.from_radius(self.radius, self.good, self.number("min_res"), self.max_res))
        elif self.good is not None or self.min_res or self.max_res is not None:
            raise ValueError(f"{self.name}: give good, min_res and max_res to the Rings")
        frame = self.rings.shape
        if self.rings.label.dtype != np.uint16:
            raise ValueError(f"{self.name}: the Rings must be 65535 at most, got {self.rings.count}")
        if len(frame) not in (2, 3):
            raise ValueError(f"{self.name}: radius must be (rows, cols) or (panels, rows, cols), got {frame}")
        if self.panel_shape is not None:
            rows, cols = (int(k) for k in self.panel_shape)
            if not (rows > 0 and cols > 0 and frame[-2] % rows == 0 and frame[-1] % cols == 0):
                raise ValueError(f"{self.name}: panel_shape must divide the panel's {frame[-2:]}, got {self.panel_shape}")
            object.__setattr__(self, "panel_shape", (rows, cols))
        if self.max_strong is not None and not 1 <= self.number("max_strong", whole=True) < 2**31:
            raise ValueError(f"{self.name}: max_strong must be 1 to {2**31 - 1}, got {self.max_strong}")

    @property
    def rings(self) -> Rings:
        assert isinstance(self.radius, Rings)
        return self.radius

    @property
    def capacity(self) -> int:
        """Pixels above threshold that are looked at."""
        npix = math.prod(self.rings.shape)
        return min(npix, max(4096, npix // 32) if self.max_strong is None else self.max_strong)

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of what counts as a panel."""
        rows, cols = self.rings.shape[-2:]
        return self.panel_shape or (rows, cols)

    @property
    def grid(self) -> Grid:
        """Which components are looked for."""
        return Grid(*self.rings.shape[-2:], *self.tile, self.min_pix, self.max_pix, True, True)

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys((f"peak_{k}" for k in COLUMNS), "peak_count")

    def constants(self) -> dict[str, np.ndarray]:
        return {}       # all is in the rings

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        n = shape[0]
        columns = tuple(Spec(f"peak_{k}", (n, self.max_num_peaks), np.dtype(d)) for k, d in COLUMNS.items())
        counts = tuple(Spec(k, (n,), np.dtype(np.int32)) for k in ("peak_count", "strong_count"))
        return (*columns, *counts, *self.frame_outputs(n, frame_status, live))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, the labels once, the tables."""
        return nbytes(energy, pixel_status, frame_status, live, self.rings.label, *self.outputs(energy, pixel_status, frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, npix, f32 = energy.shape[0], math.prod(energy.shape[1:]), np.dtype(np.float32)
        rings = (Spec(k, (n, self.rings.count), f32) for k in ("ring_mean", "ring_high"))
        return (*rings, Spec("columns", (n, len(COLUMNS) * self.capacity), np.dtype(np.uint32)), *strong_scratch(n, npix, self.capacity))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, held, most = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch, self.capacity
        columns, (peak_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        new = new_status[0] if new_status else None
        plan.start_status(frame_status, new, live)
        alive, marks = peak_count if live is None else live, strong_count if pixel_status is None else pixel_status
        size, rings = (np.uint32(n), np.uint32(self.rings.count), np.uint32(npix)), (held["ring_mean"], held["ring_high"])
        kind = {"WORD": word(energy), "MARKED": pixel_status is not None, "LIVE": live is not None}
        self._clip(plan, energy, marks, alive, new, {**kind, "LEGACY": self.variant == "legacy"})
        strong_bits(plan, energy, pixel_status, live, rings=(plan.statics["label"], rings[1], self._most(energy)))
        list_components(plan, held["bits"], live, strong_count, new, self.grid)
        lists = [held[k] for k in ("strong", "start", "members", "components")]
        frame = (*map(np.uint32, (most, *self.rings.shape[-2:])), *map(np.int32, (*self.tile, 2 * self.local_bg_radius)))
        plan.launch("features/peak_finder8.cl", "peaks", (-(-most // 128), n), 128,
                    (energy, marks, plan.statics["label"], *rings, *lists, alive, held["columns"], np.float64(self.min_snr), self._most(energy), *size, *frame),
                    LEGACY=self.variant == "legacy", **kind)
        table_of(plan, columns, peak_count, live)

    def _most(self, energy: Any) -> np.float32:
        """What a value counts at most."""
        return np.float32(LARGEST * (self.unit if energy.dtype.kind == "f" else 1.0))

    def _clip(self, plan: Plan, energy: Any, marks: Any, alive: Any, new: Any, kind: dict[str, Any]) -> None:
        """Every ring's mean and threshold."""
        (n, *frame), held, static = energy.shape, plan.scratch, plan.statics
        unit = self.unit if energy.dtype.kind == "f" else 1.0
        numbers = (np.float64(self.min_snr), np.float64(unit), np.float64(self.adc_threshold), np.float32(1 / unit), self._most(energy))
        plan.launch("features/ring_clip.cl", "ring_clip", (self.rings.count, n), 128,
                    (energy, marks, static["order"], static["first"], alive, held["ring_mean"], held["ring_high"], alive if new is None else new, *numbers,
                     *map(np.uint32, (n, self.rings.count, math.prod(frame)))), FRAME_STATUS=new is not None, **kind)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n = live_rows(energy, live)
        columns, (peak_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        numbers = self._numbers(energy, pixel_status is not None)
        status = host.find(host_frames(energy, n), host_marks(pixel_status, n), self._table, numbers, self.grid, columns, peak_count, strong_count)
        for new in new_status:
            new[:n] = frame_status[:n] | status

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        table = dict(zip(COLUMNS, out, strict=False))
        peak_count, strong_count, *new_status = out[len(COLUMNS):]
        unit = self.unit if energy.dtype.kind == "f" else 1.0
        for f in range(live_rows(energy, live)):
            v = energy[f].astype(np.float32)
            use = np.isfinite(v) & (self.rings.label != self.rings.count)
            if pixel_status is not None:
                use &= pixel_status[f] == 0
            beyond = bool(whole(v, unit)[1][use].any())
            v = np.clip(v, -self._most(energy), self._most(energy))
            mean, high = self.ring_bounds(v.reshape(-1), use.reshape(-1), unit)
            v, use, m, hi = (a.reshape(-1, *v.shape[-2:]) for a in (v, use, *self._by_pixel(mean, high)))
            strong = use & (v > hi)
            strong_count[f] = strong.sum()
            too_many = strong_count[f] > self.capacity
            peaks = [] if too_many else list(self._peaks(v, use, strong, m, hi))
            peak_count[f] = len(peaks)
            for k, column in table.items():
                column[f] = 0
                column[f, : len(peaks)] = [p[k] for p in peaks[: self.max_num_peaks]]
            for status in new_status:
                status[f] = frame_status[f] | (Frame.BEYOND_UNIT if beyond else 0) | (Frame.TOO_MANY if too_many else 0)

    @cached_property
    def _table(self) -> host.RingTable:
        return host.ring_table(self.rings.label, self.rings.order, self.rings.first)

    def _numbers(self, energy: Any, marked: bool) -> host.Numbers:
        return host.Numbers(float(self.adc_threshold), float(self.min_snr), 2 * self.local_bg_radius, self.variant == "legacy", self.capacity,
                            self.unit if energy.dtype.kind == "f" else 1.0, marked)

    def _by_pixel(self, mean: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.append(mean, np.float32(0))[self.rings.label], np.append(high, MOST)[self.rings.label]      # behind the last: pixels of none

    def ring_bounds(self, v: np.ndarray, use: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
        """Of each ring of a flat frame the clipped mean and the threshold, f32."""
        legacy, rings = self.variant == "legacy", self.rings
        q, _ = whole(v, unit)
        mean, high = np.zeros(rings.count, np.float32), np.zeros(rings.count, np.float32)
        for k in range(rings.count):
            mine = rings.order[rings.first[k] : rings.first[k + 1]]
            mine = mine[use[mine]]
            m, lo, hi = np.float32(0), np.float32(-1e9 if legacy else -np.inf), np.float32(1e9 if legacy else np.inf)
            for _ in range(ROUNDS):
                inside = mine[((v[mine] > lo) if legacy else (v[mine] >= lo)) & (v[mine] < hi)]
                if inside.size == 0 and legacy:
                    m, lo, hi = np.float32(0), LEAST, MOST
                elif inside.size:
                    m, lo, hi = self._bounds(inside.size, sum(map(int, q[inside])), sum(int(x) ** 2 for x in q[inside]), unit)
            mean[k], high[k] = m, hi
        return mean, high

    def _bounds(self, n: int, total: int, squares: int, unit: float) -> tuple[np.float32, np.float32, np.float32]:
        """Mean, mean - min_snr sigma and mean + min_snr sigma or more, from exact sums."""
        mean = float(total) * unit / n
        square = (float(squares >> 32) * 4294967296.0 + float(squares & 0xFFFFFFFF)) * (unit * unit) / n
        spread = math.sqrt(max(square - mean * mean, 0.0)) * float(self.min_snr)
        with np.errstate(over="ignore"):
            return np.float32(mean), np.float32(mean - spread), np.float32(max(mean + spread, float(self.adc_threshold)))

    def _peaks(self, v: np.ndarray, use: np.ndarray, strong: np.ndarray, m: np.ndarray, hi: np.ndarray) -> Iterator[dict[str, Any]]:
        """Those of a frame (panels, rows, cols), in order."""
        found = []
        for members in connected(strong, self.tile, True):
            inner = [p for p in members if self._off_border(p)]
            if inner and self.min_pix <= len(members) <= self.max_pix:
                peak = self._peak(members, v, use, m, hi)
                if peak is not None:
                    found.append((inner[0], peak))
        return (peak for _, peak in sorted(found, key=lambda both: both[0]))

    def _off_border(self, pixel: tuple[int, int, int]) -> bool:
        (_, r, c), (rows, cols) = pixel, self.tile
        return 0 < r % rows < rows - 1 and 0 < c % cols < cols - 1

    def _peak(self, members: list[tuple[int, int, int]], v: np.ndarray, use: np.ndarray, m: np.ndarray, hi: np.ndarray) -> dict[str, Any] | None:
        """One peak, members in raster order; None if it is none. Sums are f64, one after the other."""
        above = centroid(members, [float(v[p]) - float(m[p]) for p in members])
        if above is None:
            return None
        panel, (rows, cols) = members[0][0], self.tile
        top, left = members[0][1] // rows * rows, members[0][2] // cols * cols
        at = panel, round(above[0]), round(above[1])
        if not (top <= at[1] < top + rows and left <= at[2] < left + cols):
            return None
        offset, sigma, most = self._disc(at, (top, left), v, use, hi, m)
        net = [float(v[p]) - offset for p in members]
        total, highest = 0.0, 0.0
        for x in net:
            total, highest = total + x, max(highest, x)
        centre = centroid(members, [float(v[p]) for p in members]) if self.variant == "legacy" else above
        snr = 0.0 if sigma < 1e-10 else total / sigma
        if centre is None or snr < self.min_snr or highest < most - offset:
            return None
        if not (top <= centre[0] < top + rows and left <= centre[1] < left + cols):
            return None
        return {"panel": panel, "row": centre[0], "col": centre[1], "pixels": len(members), "total": total, "max": highest, "background": offset,
                "sigma": sigma, "snr": snr}

    def _disc(
        self, at: tuple[int, int, int], corner: tuple[int, int], v: np.ndarray, use: np.ndarray, hi: np.ndarray, m: np.ndarray
    ) -> tuple[float, float, float]:
        """Mean, sigma and maximum (0 at least) of the pixels below threshold of a disc, in raster order."""
        (panel, row, col), reach, (rows, cols), (top, left) = at, 2 * self.local_bg_radius, self.tile, corner
        n, total, squares, most = 0, 0.0, 0.0, 0.0
        for r in range(max(row - reach, top), min(row + reach, top + rows)):
            for c in range(max(col - reach, left), min(col + reach, left + cols)):
                if (r - row) ** 2 + (c - col) ** 2 <= reach**2 and use[panel, r, c] and v[panel, r, c] < hi[panel, r, c]:
                    x = float(v[panel, r, c])
                    n, total, squares, most = n + 1, total + x, squares + x * x, max(most, x)
        if n == 0:
            return float(m[at]), FLAT, 0.0
        mean = total / n
        sigma = math.sqrt(max(squares / n - mean * mean, 0.0))
        return mean, FLAT if sigma < 1e-10 and self.variant == "safe" else sigma, most


def centroid(members: list[tuple[int, int, int]], weight: list[float]) -> tuple[float, float] | None:
    """sum(w * position) / |sum w| (row, col), in f64 one after the other; None where the weights cancel."""
    total = row = col = 0.0
    for (_, r, c), w in zip(members, weight, strict=True):
        total, row, col = total + w, row + w * r, col + w * c
    return None if abs(total) < 1e-10 else (row / abs(total), col / abs(total))
