"""Words of a detector that compress better: gaps as zero, narrower, or less what they were expected to be. Lossless."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, frame_grid, frame_of, live_rows, nbytes
from ..status import Frame
from .precondition_form import PREDICTORS, Form, average, zigzag
from .precondition_numba import precondition_frames
from .restore import Restore


@dataclass(frozen=True, eq=False)
class Precondition(Form):
    """code = narrow(value - prediction), 0 in gaps; what does not fit is listed exactly. Restore undoes it.

    fields: dtype: of raw, u8, u16, i16, u32 or i32; code: "uint8", "int8", "uint16", "int16", narrower than dtype, or None, as wide as dtype. Where it is
            narrower, its largest code says that the value is listed (a value that equals it, too): stock readers see saturation
            gaps (*frame) bool or u8: 0 = no gap, k = the pixel holds gap_values[k - 1], and is written as 0; gap_values: up to 255; see find_gaps
            predictor: "none": stock readers see the values. The others are for Restore alone: STOCK READERS SEE DIFFERENCES. They are taken modulo 2**bits
            and written as 0, -1, 1, -2 ... = 0, 1, 2, 3 ..., in unsigned codes:
              "previous": value - value in the frame before. Every every-th frame of a batch, the first one too, is plain: it needs no other one. Random
                          access is by such groups
              "left_up":  value - floor((left + up) / 2); - left in a panel's first row, - up in its first column, of values with 0 in gaps
              "pedestal": value - pedestal, a plane (*frame) of integers
            capacity: exceptions that a frame's list holds
    in:  raw (n, *frame) dtype; frame_status (n,) u32; live (1,) i32
    out: code (n, *frame)
         outlier_index (n, capacity) u32, ascending flat pixels of the frame, outlier_value (n, capacity) u32 or i32, their exact values: what does not fit, and
         pixels of gaps that do not hold their gap's value, whose code is the largest one, too
         outlier_count (n,) u32, the true count: more than capacity is OVERFLOW, and such a frame must be stored losslessly
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW
    exact: integers; zigzag codes are smaller than wrapped differences: 3.66 to 3.59 of an ePix10ka, 2.33 to 2.13 of a dark frame, 5.05 to 4.13 of a CCD
    traffic: raw is read once; "previous" and "left_up" find their other values in the caches
    source: the average is PNG's filter 3 (ISO/IEC 15948), its first row and column apart; NXmx pixel_mask; zigzag: Protocol Buffers' encoding
    """

    name: ClassVar[str] = "compress.precondition"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count")

    capacity: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.number("capacity", whole=True) <= 2**31 - 1:
            raise ValueError(f"{self.name}: capacity must be 1 to {2**31 - 1}, got {self.capacity}")

    def inverse(self) -> Restore:
        return Restore(**{k: v for k, v in self._fields().items() if k != "capacity"})

    def attributes(self) -> dict[str, Any]:
        """HDF5 attributes of the dataset of codes; what has one value a pixel is maps()."""
        kind, plain = np.dtype(self.code).type, self.predictor == "none"
        meant = "the value; 0 where pixel_mask is not 0, which held gap_value" if plain else f"a zigzag difference: gpuredux.compress.Restore, {self.predictor}"
        listed = "; saturation_value: see outlier_index and outlier_value" if self.narrow or self.gaps is not None else ""
        known = {"preconditioning": f"gpuredux {self.name} 1", "predictor": np.uint8(PREDICTORS.index(self.predictor)), "decode": meant + listed,
                 "saturation_value": kind(self.fill_code)}
        return known if plain else {**known, "warning": "stock readers see differences: read with gpuredux.compress.hdf5.read"}

    def maps(self) -> dict[str, np.ndarray]:
        """pixel_mask u32, as NXmx has it: bit 0 = gap; gap_value: what these pixels hold; pedestal: the planes that there are."""
        planes = {} if self.pedestal is None else {"pedestal": self.pedestal}
        if self.gaps is None or not self.gaps.any():
            return planes
        held = np.array((0, *self.gap_values), self.dtype)[self.gaps]
        return {**planes, "pixel_mask": (self.gaps > 0).astype(np.uint32), "gap_value": held}

    def outputs(self, raw: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("raw", raw, np.dtype(self.dtype), ("n", *(self.frame or frame_of(raw)))).shape
        if math.prod(shape[1:]) < 1:
            raise ValueError(f"{self.name}: raw must have 1 pixel or more a frame, got {shape}")
        n, u32, listed = shape[0], np.dtype(np.uint32), np.dtype(np.int32 if self.dtype[0] == "i" else np.uint32)
        out = (Spec("code", shape, np.dtype(self.code)), Spec("outlier_index", (n, self.capacity), u32), Spec("outlier_value", (n, self.capacity), listed),
               Spec("outlier_count", (n,), u32))
        return (*out, *self.frame_outputs(n, frame_status, live))

    def scratch(self, raw: Any, *x: Any) -> tuple[Spec, ...]:
        tiles = 4 * frame_grid(1, math.prod(raw.shape[1:]), self.vector(raw.shape[1:]))[0]       # a tile is what a warp owns
        return tuple(Spec(name, (raw.shape[0], tiles + 1), np.dtype(np.uint32)) for name in ("tile_count", "tile_start"))

    def traffic(self, *x: Any) -> int:
        out = self.outputs(*x)      # the lists count nothing: they are empty, if all is well
        return nbytes(*x) + nbytes(out[0], *out[3:]) + nbytes(*self.constants().values())

    def numpy(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, new_status = plan.every_output(out)
        gap, held = np.zeros(raw.shape[1:], bool), np.zeros(raw.shape[1:], np.int64)
        if self.gaps is not None:
            gap, held = plan.constants["gaps"] > 0, np.array([0, *self.gap_values])[plan.constants["gaps"]]
        before = held
        for f in range(live_rows(raw, live)):
            x = raw[f].astype(np.int64)
            w = np.where(gap, 0, x)
            c = w if self.is_plain(f) else zigzag(w - self.predicted(plan, w, before), self.bits)
            exceptional = np.where(gap, x != held, self.narrow & ~((c >= self.lowest) & (c < self.fill_code)))
            code[f] = np.where(exceptional, self.fill_code, np.where(gap, 0, c)).astype(code.dtype)
            listed = np.flatnonzero(exceptional)
            number[f], kept = len(listed), listed[: self.capacity]
            index[f, : len(kept)], value[f, : len(kept)] = kept, raw[f].reshape(-1)[kept]
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if len(listed) > self.capacity else 0)
            before = w

    def predicted(self, plan: Plan, w: np.ndarray, before: np.ndarray) -> Any:
        """What words w, 0 in gaps, are expected to be."""
        if self.predictor == "previous":
            return before
        if self.predictor == "pedestal":
            return plan.constants["pedestal"].astype(np.int64)
        lines = w.reshape(-1, *self.lines(w.shape))
        expected = np.zeros(lines.shape, np.int64)
        expected[:, 0, 1:], expected[:, 1:, 0] = lines[:, 0, :-1], lines[:, :-1, 0]
        expected[:, 1:, 1:] = average(lines[:, 1:, :-1], lines[:, :-1, 1:])
        return expected.reshape(w.shape)

    def numba(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, new_status = plan.every_output(out)
        n = live_rows(raw, live)
        precondition_frames(raw[:n], plan.constants, self.how(raw.shape[1:]), code, index, value, number)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(number[:n] > self.capacity, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        code, index, value, number, new_status = plan.every_output(out)
        shape = raw.shape[1:]
        n, npix, (rows, cols) = raw.shape[0], math.prod(shape), self.lines(shape)
        plan.start_status(frame_status, new_status, live)
        defines = {**self.defines(shape), "LIVE": live is not None}
        grid, (count, start) = frame_grid(n, npix, self.vector(shape)), (plan.scratch[k] for k in ("tile_count", "tile_start"))
        frames, pixels, tiles, cap = (np.uint32(k) for k in (n, npix, 4 * grid[0], self.capacity))
        gaps, held, pedestal = (plan.constants.get(k, code) for k in ("gaps", "gap_value", "pedestal"))        # code stands in where nobody looks
        flags, alive = number if new_status is None else new_status, number if live is None else live
        first = (raw, gaps, held, pedestal, code, count, alive, frames, pixels, np.uint32(rows), np.uint32(cols), tiles, np.uint32(self.every))
        plan.launch("compress/precondition.cl", "precondition", grid, 128, first, **defines)
        scan = (count, start, number, flags, alive, frames, tiles, cap)
        plan.launch("compress/precondition.cl", "precondition_scan", (n,), 128, scan, **defines, FRAME_STATUS=new_status is not None)
        last = (raw, gaps, code, start, index, value, alive, frames, pixels, tiles, cap)
        plan.launch("compress/precondition.cl", "precondition_list", grid, 128, last, **defines)
