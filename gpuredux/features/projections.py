"""Row and column sums of rectangles: what turns an image into traces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Plan, Spec, live_rows
from ..status import Frame
from .around_peaks import flat
from .frames import FrameOp, whole, word
from .region_sums_numba import scaled, units
from .regions import checked_rectangles, in_panels


@dataclass(frozen=True, eq=False)
class Projections(FrameOp):
    """row_sum[region, i] = sum over j of frame[panel, row + i, col + j], col_sum[region, j] = the sum over i: of the good pixels.

    fields: rectangles (regions, 5) i32: panel, row, col, rows, cols; they may overlap and lie over the edge, where there are no pixels
            good (*frame) bool, None = all; unit: see FrameOp
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32; NaN and Inf are left out; pixel_status (n, *frame) u8, likewise all but 0;
         frame_status (n,) u32; live (1,) i32
    out: row_sum (n, regions, rows) and col_sum (n, regions, cols) i64, of float frames f64; row_pixels, col_pixels alike, i32: good pixels in each sum;
         rows and cols of the largest rectangle, 0 behind a smaller one's; frame_status (n,) u32, when given: with BEYOND_UNIT, of float frames
    exact: bit-identical on every backend: sums are whole numbers, of float frames in units of `unit`
    source: projections as users of smalldata_tools and of time tools take them
    """

    name: ClassVar[str] = "features.projections"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("row_sum", "col_sum", "row_pixels", "col_pixels")

    rectangles: np.ndarray
    good: np.ndarray | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rectangles", checked_rectangles(self.name, self.rectangles))
        self.own("rectangles", np.int32)
        self.own_unit()
        self.own_good()

    def constants(self) -> dict[str, np.ndarray]:
        return {"rectangles": self.rectangles, **({} if self.good is None else {"good": self.good.astype(np.uint8)})}

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.good)
        panel = self.rectangles[:, 0]
        if len(shape) < 3 or max(shape[-2:]) > 65535 or panel.min() < 0 or panel.max() >= math.prod(shape[1:-2]):
            raise ValueError(f"{self.name}: {self.of} must be (n, [panels,] rows, cols) with {panel.max() + 1} panels or more, got {energy.dtype} {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        n, regions, (high, wide) = shape[0], len(panel), (int(k) for k in self.rectangles[:, 3:].max(0))
        kind = np.dtype(np.float64 if np.dtype(energy.dtype).kind == "f" else np.int64)
        named = (("row_sum", high, kind), ("col_sum", wide, kind), ("row_pixels", high, np.dtype(np.int32)), ("col_pixels", wide, np.dtype(np.int32)))
        return (*(Spec(k, (n, regions, size), d) for k, size, d in named), *self.frame_outputs(n, frame_status, live))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        panels, rows, cols = in_panels(energy.shape[1:])
        floats = energy.dtype.kind == "f"
        unit = self.unit if floats else 1
        for f in range(live_rows(energy, live)):
            use = np.isfinite(energy[f]) & (True if self.good is None else self.good) & (True if pixel_status is None else pixel_status[f] == 0)
            q, beyond = whole(energy[f], self.unit)
            q, use, beyond = (a.reshape(panels, rows, cols) for a in (np.where(use, q, 0), use, beyond & use))
            far = False
            for a in out[:4]:
                a[f] = 0
            for k, (panel, top, left, high, wide) in enumerate(self.rectangles.tolist()):
                piece = panel, slice(max(top, 0), max(top + high, 0)), slice(max(left, 0), max(left + wide, 0))
                far |= bool(beyond[piece].any())
                for axis, first, total, pixels in ((1, max(-top, 0), out[0], out[2]), (0, max(-left, 0), out[1], out[3])):
                    sums, counts = q[piece].sum(axis), use[piece].sum(axis)
                    if 0 not in q[piece].shape:
                        total[f, k, first : first + len(sums)] = sums.astype(np.float64) * unit if floats else sums
                        pixels[f, k, first : first + len(sums)] = counts
            if frame_status is not None:
                out[4][f] = frame_status[f] | (Frame.BEYOND_UNIT if far else 0)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, shape = live_rows(energy, live), in_panels(energy.shape[1:])
        beyond = np.zeros((n, len(self.rectangles)), np.uint8)
        share(project, beyond.size, energy.reshape(-1, *shape)[:n], flat(pixel_status, len(energy), *shape), flat(plan.constants.get("good"), *shape),
              plan.constants["rectangles"], np.float32(1 / self.unit), np.float64(self.unit), beyond, *out[:4])
        if frame_status is not None:
            out[4][:n] = frame_status[:n] | np.where(beyond.any(1), Frame.BEYOND_UNIT, 0).astype(np.uint32)

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        good, new_status, kind = plan.constants.get("good"), out[4] if frame_status is not None else None, np.dtype(energy.dtype).kind
        plan.start_status(frame_status, new_status, live)
        n, regions, high = out[0].shape
        wide = out[1].shape[2]
        given = (pixel_status is not None) + 2 * (good is not None) + 4 * (new_status is not None)
        marks = [out[2] if a is None else a for a in (pixel_status, good)]
        ends = [out[2] if a is None else a for a in (new_status, live)]
        sizes = map(np.uint32, (given, n, regions, high, wide, *in_panels(energy.shape[1:])))
        args = (energy, *marks, plan.constants["rectangles"], *ends, *out[:4], np.float32(1 / self.unit), np.float32(self.unit if kind == "f" else 1), *sizes)
        defines = {"WORD": word(energy), "FLOAT": kind == "f", "TOTAL": "f64" if kind == "f" else "i64", "LIVE": live is not None}
        plan.launch("features/projections.cl", "sum_rows", (n * regions * -(-high // 4),), 128, args, **defines)
        plan.launch("features/projections.cl", "sum_cols", (n * regions * -(-wide // 128),), 128, args, **defines)


@njit(cache=True, nogil=True)
def project(first_task, last_task, frames, status, good, rectangles, inverse, unit, beyond, row_sum, col_sum, row_pixels, col_pixels):
    regions, (_, rows, cols) = len(rectangles), frames.shape[1:]
    for task in range(first_task, last_task):
        f, k = task // regions, task % regions
        panel, top, left, high, wide = rectangles[k]
        first, end = max(0, -left), min(wide, cols - left)
        down, across = np.zeros(row_sum.shape[2], np.int64), np.zeros(col_sum.shape[2], np.int64)
        row_pixels[f, k] = 0
        col_pixels[f, k] = 0
        for i in range(max(0, -top), min(high, rows - top)):
            for j in range(first, end):
                r, c = top + i, left + j
                if good is not None:
                    if good[panel, r, c] == 0:
                        continue
                if status is not None:
                    if status[f, panel, r, c] != 0:
                        continue
                q, use, limited = units(frames[f, panel, r, c], inverse)
                if use:
                    beyond[f, k] |= limited
                    down[i] += q
                    across[j] += q
                    row_pixels[f, k, i] += 1
                    col_pixels[f, k, j] += 1
        for i in range(len(down)):
            row_sum[f, k, i] = scaled(down[i], unit, frames[f, panel, 0, 0])
        for j in range(len(across)):
            col_sum[f, k, j] = scaled(across[j], unit, frames[f, panel, 0, 0])
