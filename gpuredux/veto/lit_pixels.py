"""A frame is kept if the number of its lit pixels lies between two limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, read_only, vector
from .decision import Reason

TILE = 32768    # pixels that one numba task counts


@dataclass(frozen=True, eq=False)
class LitPixels(Op):
    """keep = min_lit <= score <= max_lit, score = number of pixels with energy > threshold, good and of status 0.

    fields: threshold (rounded to float32) [unit of energy]; min_lit, max_lit (None = no limit); good (*frame) bool, None = all
            raw_every > 0 marks every so-many-th pulse of a source with one pulse each raw_stride ids to be kept unreduced:
            raw = pulse_id % raw_stride == 0 and pulse_id // raw_stride % raw_every == 0, whatever the score
    in:  energy (n, *frame) f32, NaN is not lit; pixel_status (n, *frame) u8; pulse_id (n,) u64, needed if raw_every > 0;
         frame_status (n,) u32; live (1,) i32
    out: decision (n, 4) i32: keep, raw, reason, score as float32 bits; see decision.py
         frame_status (n,) u32, when given: unchanged, or with the bits of a per-pixel op that was fused in
    exact: bit-identical on every backend; the limits hold for the integer count, the score is its float32
    source: hit finding by lit pixels, e.g. Barty et al., J. Appl. Cryst. 47 (2014) 1118 (Cheetah)
    """

    name: ClassVar[str] = "veto.lit_pixels"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "pulse_id?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("decision",)
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")

    threshold: float
    min_lit: int
    max_lit: int | None = None
    good: np.ndarray | None = None
    raw_every: int = 0
    raw_stride: int = 1

    def __post_init__(self) -> None:
        if not abs(self.number("threshold")) <= float(np.finfo(np.float32).max):
            raise ValueError(f"{self.name}: threshold must be a finite float32, got {self.threshold}")
        top = {"min_lit": (0, 2**32 - 1), "max_lit": (self.number("min_lit", whole=True), 2**32 - 1), "raw_every": (0, 2**63 - 1), "raw_stride": (1, 2**63 - 1)}
        for field, (low, high) in top.items():
            value = getattr(self, field)
            if value is None and field == "max_lit":
                continue
            value = self.number(field, whole=True)
            if not low <= value <= high:
                raise ValueError(f"{self.name}: {field} must be {low} to {high}, got {value}")
            object.__setattr__(self, field, value)
        self.own_good()

    @property
    def limits(self) -> tuple[int, int]:
        """min_lit and max_lit as numbers."""
        return self.min_lit, 2**32 - 1 if self.max_lit is None else self.max_lit

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def outputs(self, energy: Any, pixel_status: Any, pulse_id: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("energy", energy, np.float32, ("n", *(frame_of(energy) if self.good is None else self.good.shape))).shape
        n = shape[0]
        self.require_marks(shape, pixel_status=pixel_status)
        if pulse_id is not None:
            self.require("pulse_id", pulse_id, np.uint64, (n,))
        elif self.raw_every:
            raise ValueError(f"{self.name}: raw_every={self.raw_every} needs the input pulse_id uint64 ({n},)")
        return (Spec("decision", (n, 4), np.dtype(np.int32)), *self.frame_outputs(n, frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        tiles = frame_grid(1, math.prod(energy.shape[1:]))[0]
        return (Spec("counts", (energy.shape[0], tiles), np.dtype(np.uint32)),)

    def _decide(self, decision: Any, score: Any, pulse_id: Any) -> None:
        """The rows of decision for these counts."""
        low, high = self.limits
        reason = np.where(score < low, Reason.TOO_FEW, np.where(score > high, Reason.TOO_MANY, Reason.KEPT))
        decision[:, 0] = reason == Reason.KEPT
        decision[:, 1] = 0
        if self.raw_every:
            stride, every = np.uint64(self.raw_stride), np.uint64(self.raw_every)
            decision[:, 1] = (pulse_id % stride == 0) & (pulse_id // stride % every == 0)
        decision[:, 2] = reason
        decision[:, 3] = score.astype(np.float32).view(np.int32)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, pulse_id: Any, frame_status: Any, live: Any, decision: Any, new_status: Any = None) -> None:
        n = live_rows(energy, live)
        score = np.zeros(n, np.int64)
        for f in range(n):
            lit = energy[f] > np.float32(self.threshold)
            if self.good is not None:
                lit &= plan.constants["good"] != 0
            if pixel_status is not None:
                lit &= pixel_status[f] == 0
            score[f] = lit.sum()
        self._decide(decision[:n], score, None if pulse_id is None else pulse_id[:n])
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, pulse_id: Any, frame_status: Any, live: Any, decision: Any, new_status: Any = None) -> None:
        n, npix = live_rows(energy, live), math.prod(energy.shape[1:])
        flat = [None if a is None else a.reshape(len(energy), npix)[:n] for a in (energy, pixel_status)]
        good = None if self.good is None else plan.constants["good"].reshape(npix)
        score = lit_counts(flat[0], flat[1], good, np.float32(self.threshold), TILE).sum(axis=1)
        self._decide(decision[:n], score, None if pulse_id is None else pulse_id[:n])
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, energy: Any, pixel_status: Any, pulse_id: Any, frame_status: Any, live: Any, decision: Any, new_status: Any = None) -> None:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        counts, grid = plan.scratch["counts"], frame_grid(n, npix)
        flags = new_status is not None and carries(energy)    # the fused op's own status pass may be gone: carry its bits
        plan.start_status(frame_status, new_status, live)
        good = plan.constants.get("good")
        optional = [counts if a is None else a for a in (good, new_status if flags else None, live)]
        plan.launch(
            "veto/lit_pixels.cl", "lit_count", grid, 128, (*optional, counts, np.float32(self.threshold), np.uint32(n), np.uint32(npix)),
            load=(energy, pixel_status), VECTOR=vector(npix), STATUS=pixel_status is not None, GOOD=good is not None, FLAGS=flags, LIVE=live is not None,
        )
        limits = (*map(np.uint32, self.limits), np.uint64(self.raw_stride), np.uint64(max(self.raw_every, 1)))
        optional = [counts if a is None else a for a in (pulse_id if self.raw_every else None, live)]
        plan.launch(
            "veto/lit_pixels.cl", "lit_decide", (n,), 128, (counts, *optional, decision, *limits, np.uint32(n), np.uint32(grid[0])),
            DECIDE=True, RAW=self.raw_every > 0, LIVE=live is not None,
        )


def lit_counts(energy, pixel_status, good, threshold, size):
    """(n, tiles) u32: lit pixels of each frame in tiles of this size. What is not there gets a stand-in, so that this is compiled once."""
    counts = np.zeros((len(energy), -(-energy.shape[1] // size)), np.uint32)
    marks, use = np.empty((0, 0), np.uint8) if pixel_status is None else pixel_status, np.empty(0, np.uint8) if good is None else good
    share(_tiles, counts.size, counts, energy, read_only(marks), read_only(use), threshold, size)
    return counts


@njit(cache=True, nogil=True)
def _tiles(first, last, counts, energy, pixel_status, good, threshold, size):
    npix, tiles = energy.shape[1], counts.shape[1]
    for task in range(first, last):
        f, tile = task // tiles, task % tiles
        counts[f, tile] = _lit(energy, pixel_status, good, threshold, f, np.uint64(tile * size), np.uint64(min(tile * size + size, npix)))


@njit(cache=True, nogil=True)
def _lit(energies, marks, good, threshold, f, start, stop):
    """How many pixels of start to stop are lit. No branch in the loops: they vectorise."""
    count, energy = np.uint32(0), energies[f]
    if len(marks) == 0:
        if len(good) == 0:
            for j in range(start, stop):
                count += np.uint32(energy[j] > threshold)
        else:
            for j in range(start, stop):
                count += np.uint32(energy[j] > threshold) & np.uint32(good[j])
    else:
        pixel_status = marks[f]
        if len(good) == 0:
            for j in range(start, stop):
                count += np.uint32(energy[j] > threshold) & np.uint32(pixel_status[j] == 0)
        else:
            for j in range(start, stop):
                count += np.uint32(energy[j] > threshold) & np.uint32(pixel_status[j] == 0) & np.uint32(good[j])
    return count
