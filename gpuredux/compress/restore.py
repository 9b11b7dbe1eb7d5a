"""What compress.Precondition took apart, put together again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, frame_grid, frame_of, live_rows, nbytes
from ..status import Frame
from .precondition_form import Form, average, unzigzag, wrapped
from .restore_numba import restore_frames


@dataclass(frozen=True, eq=False)
class Restore(Form):
    """raw = prediction + widen(code), the gap's value in gaps, the listed value where the code says so: what Precondition was given, bit for bit.

    fields: those of Precondition
    in:  code (n, *frame), outlier_index (n, capacity) u32, ascending, outlier_value (n, capacity) u32 or i32, outlier_count (n,) u32: as Precondition
         writes them; previous (1, *frame) dtype: only with predictor "previous": the frame before the batch, whose first frame is then a difference and no
         plain one: for a batch of at most every frames, none of them plain; frame_status (n,) u32; live (1,) i32
    out: raw (n, *frame) dtype: a listed pixel that the list, cut off at its capacity, does not hold is what its code is worth
         frame_status (n,) u32, when given: with OUTLIER_OVERFLOW where the list is cut off, or that of a frame before that this one builds on
    exact: integers
    traffic: each code is read once; "left_up" goes through a panel as a wave, a row behind the one above it: few frames do not fill a device
    source: Precondition
    """

    name: ClassVar[str] = "compress.restore"
    inputs: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "previous?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("raw",)
    state: ClassVar[tuple[str, ...]] = ("previous",)

    def outputs(self, code: Any, index: Any, value: Any, count: Any, previous: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("code", code, np.dtype(self.code), ("n", *(self.frame or frame_of(code)))).shape
        if math.prod(shape[1:]) < 1:
            raise ValueError(f"{self.name}: code must have 1 pixel or more a frame, got {shape}")
        self.require("outlier_index", index, np.uint32, (shape[0], "capacity"))
        self.require("outlier_value", value, np.int32 if self.dtype[0] == "i" else np.uint32, (shape[0], index.shape[1]))
        self.require("outlier_count", count, np.uint32, (shape[0],))
        if previous is not None:
            self.require("previous", previous, np.dtype(self.dtype), (1, *shape[1:]))
            if self.predictor != "previous" or shape[0] > self.every:
                raise ValueError(f"{self.name}: previous goes with predictor='previous' and at most every={self.every} frames, "
                                 f"got {self.predictor!r} and {shape}")
        return (Spec("raw", shape, np.dtype(self.dtype)), *self.frame_outputs(shape[0], frame_status, live))

    def traffic(self, *x: Any) -> int:
        return nbytes(x[0], *x[3:]) + nbytes(*self.outputs(*x)) + nbytes(*self.constants().values())     # the lists: nothing, if empty

    def builds_on(self, row: int) -> int:
        """The first frame of the batch that this one is made of."""
        return row // self.every * self.every if self.predictor == "previous" else row

    def numpy(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, previous: Any, frame_status: Any, live: Any, *out: Any) -> None:
        raw, new_status = plan.every_output(out)
        gap = np.zeros(code.shape[1:], bool) if self.gaps is None else plan.constants["gaps"] > 0
        held = np.array([0, *self.gap_values])[plan.constants["gaps"]] if self.gaps is not None else None
        before = None if previous is None else np.where(gap, 0, previous[0])
        over = count > index.shape[1]
        for f in range(live_rows(code, live)):
            c, listed = code[f].astype(np.int64), min(int(count[f]), index.shape[1])
            replaced = {}
            for pixel in np.flatnonzero((c == self.fill_code) & (gap | self.narrow)):
                slot = np.searchsorted(index[f, :listed], np.uint32(pixel))
                if slot < listed and index[f, slot] == pixel:
                    replaced[int(pixel)] = int(wrapped(int(value[f, slot]), self.limits))
            plain = self.is_plain(f) and not (f == 0 and previous is not None)
            w = self._words(plan, c, plain, before, gap, replaced)
            before = np.where(gap, 0, w)
            x = (w if held is None else np.where(gap, held, w)).reshape(-1)
            x[list(replaced)] = list(replaced.values())
            raw[f] = x.reshape(c.shape)
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.OUTLIER_OVERFLOW if over[self.builds_on(f) : f + 1].any() else 0)

    def _words(self, plan: Plan, c: Any, plain: bool, before: Any, gap: Any, replaced: dict[int, int]) -> np.ndarray:
        """Of codes c and the listed values: what pixels that are in no gap hold, int64."""
        if plain:
            w = wrapped(c, self.limits)
        elif self.predictor == "left_up":
            return self._wave(unzigzag(c), gap, replaced)
        else:
            w = wrapped(unzigzag(c) + (before if self.predictor == "previous" else plan.constants["pedestal"].astype(np.int64)), self.limits)
        w.reshape(-1)[list(replaced)] = list(replaced.values())
        return np.asarray(w)

    def _wave(self, difference: Any, gap: Any, replaced: dict[int, int]) -> np.ndarray:
        rows, cols = self.lines(difference.shape)
        d, hole = (a.reshape(-1, rows, cols) for a in (difference, gap))
        given = np.full(d.size, np.iinfo(np.int64).max)
        given[list(replaced)] = list(replaced.values())
        w, known, given = np.zeros(d.shape, np.int64), np.zeros(d.shape, np.int64), given.reshape(d.shape)      # known: w with 0 in gaps
        for r in range(rows):
            for c in range(cols):
                left, up = (known[:, r, c - 1] if c else None), (known[:, r - 1, c] if r else None)
                expected = average(left, up) if r and c else left if c else up if r else 0
                x = wrapped(expected + d[:, r, c], self.limits)
                w[:, r, c] = np.where(given[:, r, c] < np.iinfo(np.int64).max, given[:, r, c], x)
                known[:, r, c] = np.where(hole[:, r, c], 0, w[:, r, c])
        return w.reshape(difference.shape)

    def numba(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, previous: Any, frame_status: Any, live: Any, *out: Any) -> None:
        raw, new_status = plan.every_output(out)
        n = live_rows(code, live)
        restore_frames(code[:n], index, value, count, previous, plan.constants, self.how(code.shape[1:]), raw)
        if new_status is not None:
            over, begin = count[:n] > index.shape[1], [self.builds_on(f) for f in range(n)]
            wrong = np.array([over[a : f + 1].any() for f, a in enumerate(begin)], bool)
            new_status[:n] = frame_status[:n] | np.where(wrong, np.uint32(Frame.OUTLIER_OVERFLOW), np.uint32(0))

    def device(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, previous: Any, frame_status: Any, live: Any, *out: Any) -> None:
        raw, new_status = plan.every_output(out)
        shape = code.shape[1:]
        n, npix, (rows, cols), wave = code.shape[0], math.prod(shape), self.lines(shape), self.predictor == "left_up"
        plan.start_status(frame_status, new_status, live)
        gaps, held, pedestal = (plan.constants.get(k, code) for k in ("gaps", "gap_value", "pedestal"))        # code stands in where nobody looks
        alive, before = (code if a is None else a for a in (live, previous))
        frames, pixels, cap = (np.uint32(k) for k in (n, npix, index.shape[1]))
        defines = {**self.defines(shape), "LIVE": live is not None, "PREVIOUS": previous is not None}
        group = self.every if self.predictor == "previous" else 16
        if new_status is not None:
            plan.launch("compress/restore.cl", "restore_status", (-(-n // 128),), 128,
                        (count, new_status, alive, frames, cap, np.uint32(group if self.predictor == "previous" else 1)), **defines, STATUS_ONLY=True)
        lists = (code, index, value, count)
        if wave:
            args = (*lists, raw, alive, gaps, held, frames, pixels, np.uint32(rows), np.uint32(cols), cap)
            plan.launch("compress/restore.cl", "restore_left_up", (n * (npix // (rows * cols)),), 128, args, **defines)
        else:
            args = (*lists, before, raw, alive, gaps, held, pedestal, frames, pixels, cap)
            plan.launch("compress/restore.cl", "restore", frame_grid(n, npix, frames=group), 128, args, **defines, FRAMES=f"{group}u")
