"""Windows of a frame, cut out: fixed rectangles, or squares around each frame's peaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Plan, Spec, live_rows
from .around_peaks import PEAKS, AroundPeaks, flat
from .region_sums_numba import corner_of as corner_in_numba
from .regions import checked_rectangles, corner_of, in_panels

UNITS = {1: "u8", 2: "u16", 4: "u32"}


@dataclass(frozen=True, eq=False)
class Windows(AroundPeaks):
    """window[region, i, j] = frame[panel, row + i, col + j], a copy; `fill` where that is outside the panel, masked, or beyond a smaller rectangle's size.

    fields: rectangles (regions, 5) i32: panel, row, col, rows, cols; they may overlap and lie over the edge; or half: see in
            fill: a value of energy's dtype; good (*frame) bool, None = all
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32
         with half: peak_panel (n, cap) i32, peak_row, peak_col (n, cap) f32 or i32 (0 = centre of the first pixel), peak_count (n,) i32: the windows have
         2 half + 1 rows and cols, the peak's nearest pixel in their middle
         pixel_status (n, *frame) u8: pixels that are not 0 become fill; live (1,) i32
    out: window (n, regions or cap, rows, cols) as energy: rows and cols of the largest rectangle; 0 behind the last peak
    exact: the bytes of the pixels, NaN included
    source: the patches around peaks of ROIBIN (Underwood et al., arXiv 2206.11297): 17 x 17 with half = 8
    """

    name: ClassVar[str] = "features.windows"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "peak_panel", "peak_row", "peak_col", "peak_count", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("window",)
    fixed: ClassVar[str] = "rectangles"

    rectangles: np.ndarray | None = None
    fill: float = 0
    good: np.ndarray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rectangles is not None:
            object.__setattr__(self, "rectangles", checked_rectangles(self.name, self.rectangles))
            self.own("rectangles", np.int32)
        self.number("fill")
        self.own_good()

    def constants(self) -> dict[str, np.ndarray]:
        held = {} if self.good is None else {"good": self.good.astype(np.uint8)}
        return held if self.rectangles is None else {**held, "rectangles": self.rectangles}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        got = self.named(x)[0]
        shape = self.require_frames(x[0], self.good)
        panels, *_ = self.frame_panels(x[0])
        self.require_marks(shape, pixel_status=got["pixel_status"])
        self.require_live(got["live"])
        self.fill_bits(np.dtype(x[0].dtype))
        if self.half is None:
            if not (0 <= self.rectangles[:, 0].min() and self.rectangles[:, 0].max() < panels):
                raise ValueError(f"{self.name}: {self.of} must have the {self.rectangles[:, 0].max() + 1} panels of the rectangles, got {shape}")
            size = (len(self.rectangles), *(int(k) for k in self.rectangles[:, 3:].max(0)))
        else:
            size = (self.require_peaks(got, shape[0]), *(2 * self.half + 1,) * 2)
        if math.prod(size) >= 2**31:
            raise ValueError(f"{self.name}: windows of {size} pixels a frame are more than kernels can number")
        return (Spec("window", (shape[0], *size), np.dtype(x[0].dtype)),)

    def fill_bits(self, dtype: np.dtype[Any]) -> Any:
        """fill as a whole number of the same bits. Raises ValueError if the dtype does not hold it."""
        if dtype.kind == "f":
            return np.float32(self.fill if self.fill == self.fill else np.nan).view(np.uint32)
        if not (math.isfinite(self.fill) and self.fill == int(self.fill) and np.iinfo(dtype).min <= self.fill <= np.iinfo(dtype).max):
            raise ValueError(f"{self.name}: fill must be a {dtype} like {self.of}, got {self.fill}")
        return np.array(int(self.fill), dtype).view(f"u{dtype.itemsize}")[()]

    def _places(self, got: dict[str, Any], f: int) -> list[tuple[int, ...]]:
        """(panel, row, col, rows, cols) of the windows of a frame."""
        if self.half is None:
            return [tuple(map(int, r)) for r in self.rectangles]
        listed = range(min(max(int(got["peak_count"][f]), 0), got["peak_panel"].shape[1]))
        corners = [(corner_of(got["peak_row"][f, k], self.half), corner_of(got["peak_col"][f, k], self.half)) for k in listed]
        return [(int(got["peak_panel"][f, k]), *corners[k], 2 * self.half + 1, 2 * self.half + 1) for k in listed]

    def numpy(self, plan: Plan, *x: Any) -> None:
        got, (window,), _ = self.named(x)
        panels, rows, cols = in_panels(got["frames"].shape[1:])
        fill = self.fill_bits(window.dtype)
        bits = got["frames"].view(fill.dtype)
        for f in range(live_rows(bits, got["live"])):
            shown = np.ones((panels, rows, cols), bool) if self.good is None else self.good.reshape(panels, rows, cols)
            if got["pixel_status"] is not None:
                shown = shown & (got["pixel_status"][f].reshape(panels, rows, cols) == 0)
            frame = np.where(shown, bits[f].reshape(panels, rows, cols), fill)
            window[f] = 0
            for k, (panel, top, left, high, wide) in enumerate(self._places(got, f)):
                out = np.full(window.shape[2:], fill)
                if 0 <= panel < panels:
                    r, c = slice(max(top, 0), max(top + high, 0)), slice(max(left, 0), max(left + wide, 0))
                    piece = frame[panel, r, c]
                    out[max(-top, 0) :, max(-left, 0) :][: piece.shape[0], : piece.shape[1]] = piece
                window[f, k] = out.view(window.dtype)

    def numba(self, plan: Plan, *x: Any) -> None:
        got, (window,), _ = self.named(x)
        frames = got["frames"]
        n, (panels, rows, cols) = live_rows(frames, got["live"]), in_panels(frames.shape[1:])
        fill, shape = self.fill_bits(window.dtype), (panels, rows, cols)
        marks = flat(got["pixel_status"], len(frames), *shape), flat(plan.constants.get("good"), *shape)
        given = (frames.view(fill.dtype).reshape(-1, *shape)[:n], *marks, fill)
        if self.half is None:
            share(cut_rectangles, n * window.shape[1], *given, plan.constants["rectangles"], window.view(fill.dtype))
        else:
            share(cut_peaks, n * window.shape[1], *given, self.half, *(got[k] for k in PEAKS), window.view(fill.dtype))

    def device(self, plan: Plan, *x: Any) -> None:
        got, (window,), _ = self.named(x)
        status, good, live = got["pixel_status"], plan.constants.get("good"), got["live"]
        sizes = (*window.shape, *in_panels(got["frames"].shape[1:]))
        tiles = -(-math.prod(window.shape[1:]) // 512)
        optional = [window if a is None else a for a in (status, good, plan.constants.get("rectangles"), *(got[k] for k in PEAKS), live)]
        given = (status is not None) + 2 * (good is not None)
        defines = {k: v for k, v in self.defines(got).items() if not k.startswith("WORD")}
        plan.launch(
            "features/windows.cl", "cut_windows", (window.shape[0] * tiles,), 128,
            (got["frames"], *optional, window, np.uint32(self.fill_bits(np.dtype(window.dtype))), np.int32(self.half or 0), np.uint32(given),
             *map(np.uint32, sizes)), UNIT=UNITS[np.dtype(window.dtype).itemsize], LIVE=live is not None, **defines)


@njit(cache=True, nogil=True)
def cut(frames, f, status, good, fill, panel, top, left, high, wide, out):
    """One window."""
    _, panels, rows, cols = frames.shape
    out[:] = fill
    if not 0 <= panel < panels:
        return
    first, end = max(0, -left), min(wide, cols - left)
    for i in range(max(0, -top), min(high, rows - top)):
        for j in range(first, end):
            r, c = top + i, left + j
            hidden = False
            if good is not None:
                hidden |= good[panel, r, c] == 0
            if status is not None:
                hidden |= status[f, panel, r, c] != 0
            if not hidden:
                out[i, j] = frames[f, panel, r, c]


@njit(cache=True, nogil=True)
def cut_rectangles(first, last, frames, status, good, fill, rectangles, window):
    regions = len(rectangles)
    for task in range(first, last):
        f, k = task // regions, task % regions
        cut(frames, f, status, good, fill, rectangles[k, 0], rectangles[k, 1], rectangles[k, 2], rectangles[k, 3],
            rectangles[k, 4], window[f, k])


@njit(cache=True, nogil=True)
def cut_peaks(first, last, frames, status, good, fill, half, peak_panel, peak_row, peak_col, peak_count, window):
    cap, side = peak_panel.shape[1], 2 * half + 1
    for task in range(first, last):
        f, k = task // cap, task % cap
        if k < peak_count[f]:
            cut(frames, f, status, good, fill, peak_panel[f, k], corner_in_numba(peak_row[f, k], half),
                corner_in_numba(peak_col[f, k], half), side, side, window[f, k])
        else:
            window[f, k] = 0
