"""Where the direct beam hits the detector: the centre of mass of bright pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from ..status import Frame
from .beam_centroid_numba import sum_parts
from .frames import FrameOp, host_marks, whole, word
from .region_sums import as_real

PART = 8192     # pixels that a block adds: 2^32 units * 65535 rows of so many stay within 64 bits
COLUMNS = {"centre_row": np.float32, "centre_col": np.float32, "centre_sum": np.float64, "centre_pixels": np.int32}


@dataclass(frozen=True, eq=False)
class BeamCentroid(FrameOp):
    """centre = sum(v (row, col)) / sum(v) over the pixels above a threshold, in a box: one centre a frame.

    fields: threshold, 0 or more [unit of energy, float32]; box (first row, end row, first col, end col), None = the whole frame; good (*frame) bool,
            None = all; unit: see FrameOp; integer frames are exact
    in:  energy (n, rows, cols) u8, u16, i16, u32, i32 or f32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are pixels that are not 0;
         frame_status (n,) u32; live (1,) i32
    out: centre_row, centre_col (n,) f32 [pixel], 0 = the middle of the first one, NaN where the sum is 0; centre_sum (n,) f64 [unit of energy];
         centre_pixels (n,) i32 above the threshold; frame_status (n,) u32, when given: with BEYOND_UNIT
    exact: sums are whole numbers, so no order matters: bit-identical on every backend; of float frames each value is rounded to unit first
    source: the first moments of an image
    """

    name: ClassVar[str] = "features.beam_centroid"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = tuple(COLUMNS)

    threshold: float = 0.0
    box: tuple[int, int, int, int] | None = None
    good: np.ndarray | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_good()
        self.own_unit()
        if not 0 <= self.number("threshold") <= float(np.finfo(np.float32).max):
            raise ValueError(f"{self.name}: threshold must be 0 or more and a finite float32, got {self.threshold}")
        if self.box is not None:
            object.__setattr__(self, "box", tuple(int(k) for k in self.box))
            if len(self.box) != 4 or not (0 <= self.box[0] < self.box[1] and 0 <= self.box[2] < self.box[3]):
                raise ValueError(f"{self.name}: box must be (first row, end row, first col, end col), not empty, got {self.box}")

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def window(self, frame: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The box, or the whole of a frame."""
        return (0, frame[0], 0, frame[1]) if self.box is None else self.box

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.good)
        if len(shape) != 3 or max(shape[1:]) > 65535:
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) of 65535 rows and cols at most, got {shape}")
        if self.box is not None and (self.box[1] > shape[1] or self.box[3] > shape[2]):
            raise ValueError(f"{self.name}: {self.of} must hold the box {self.box}, got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        columns = tuple(Spec(k, shape[:1], np.dtype(d)) for k, d in COLUMNS.items())
        return (*columns, *self.frame_outputs(shape[0], frame_status, live))

    def parts(self, frame: tuple[int, ...]) -> int:
        """Into how many parts the box is cut."""
        top, bottom, left, right = self.window(frame)
        return -(-(bottom - top) * (right - left) // PART)

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        return (Spec("parts", (energy.shape[0], self.parts(energy.shape[1:]), 4), np.dtype(np.uint64)),)

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, or the box, which is less."""
        out = self.outputs(energy, pixel_status, frame_status, live)
        return nbytes(energy, pixel_status, frame_status, live, *out, *self.constants().values())

    def step(self, kind: np.dtype[Any]) -> tuple[float, Any]:
        """What a unit of the sums is worth, and the threshold as values are compared: of integers with its whole part."""
        if kind.kind == "f":
            return self.unit, np.float32(self.threshold)
        return 1.0, np.int64(min(math.floor(np.float32(self.threshold)), 2**40))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        *columns, new_status = plan.every_output(out)
        top, bottom, left, right = self.window(energy.shape[1:])
        unit, limit = self.step(energy.dtype)
        row, col = np.arange(top, bottom)[:, None], np.arange(left, right)
        for f in range(live_rows(energy, live)):
            v = energy[f, top:bottom, left:right]
            use = np.isfinite(v) & (v > limit)
            for good in (self.good, None if pixel_status is None else pixel_status[f] == 0):
                use &= True if good is None else good[top:bottom, left:right]
            q, beyond = whole(v, unit)
            q = np.where(use, q, 0)
            total = int(q.sum())
            place = [np.float32(as_real(q * at) / total) if total else np.float32(np.nan) for at in (row, col)]
            for column, value in zip(columns, (*place, float(total) * unit, use.sum()), strict=True):
                column[f] = value
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if (beyond & use).any() else 0)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        *columns, new_status = plan.every_output(out)
        n, (rows, cols) = live_rows(energy, live), energy.shape[1:]
        unit, limit = self.step(energy.dtype)
        frames = energy.reshape(len(energy), rows * cols)[:n]
        if frames.dtype.name not in ("uint16", "float32"):      # one compilation for all of them
            frames = frames.astype(np.int64)
        good = np.ones(1, np.uint8) if self.good is None else plan.constants["good"].reshape(-1)
        sums, beyond = plan.scratch["parts"][:n], np.zeros((n, self.parts((rows, cols))), np.bool_)
        sum_parts(read_only(frames), host_marks(pixel_status, n), pixel_status is not None, read_only(good), self.good is not None,
                  self.window((rows, cols)), cols, limit, np.float32(1 / unit), PART, sums, beyond)
        count, total = sums[..., 0].sum(1), sums[..., 1].sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            for column, place in zip(columns, (sums[..., 2], sums[..., 3]), strict=False):
                high, low = (place >> np.uint64(32)).sum(1), (place & np.uint64(0xFFFFFFFF)).sum(1)
                real = (high + (low >> np.uint64(32))).astype(np.float64) * 4294967296.0 + (low & np.uint64(0xFFFFFFFF)).astype(np.float64)
                column[:n] = np.where(total > 0, (real / total.astype(np.float64)).astype(np.float32), np.float32(np.nan))
        columns[2][:n], columns[3][:n] = total.astype(np.float64) * unit, count
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(beyond.any(1), np.uint32(Frame.BEYOND_UNIT), np.uint32(0))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        *columns, new = plan.every_output(out)
        n, rows, cols = energy.shape
        unit, limit = self.step(np.dtype(energy.dtype))
        top, bottom, left, right = self.window((rows, cols))
        sums, parts, good = plan.scratch["parts"], self.parts((rows, cols)), plan.constants.get("good")
        plan.start_status(frame_status, new, live)
        given = (pixel_status is not None) + 2 * (good is not None) + 4 * (new is not None)
        optional = [columns[0] if a is None else a for a in (pixel_status, good, new, live)]
        kind = np.dtype(energy.dtype).kind
        plan.launch("features/beam_centroid.cl", "beam_parts", (parts, n), 128,
                    (energy, *optional, sums, np.float32(1 / unit), limit,
                     *map(np.uint32, (given, top, left, right - left, (bottom - top) * (right - left), cols, rows * cols, n))),
                    WORD=word(energy), FLOATS=kind == "f", LIMIT="f32" if kind == "f" else "i64", LIVE=live is not None, PART=f"{PART}u")
        plan.launch("features/beam_centroid.cl", "beam_centroid", (n,), 128,
                    (sums, optional[3], *columns, np.float64(unit), np.uint32(parts), np.uint32(n)), LIVE=live is not None)
