"""status_count = how many pixels of a frame have each status: what calibration did, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Fused, Op, Plan, Spec, frame_grid, frame_of, live_rows, nbytes, vector


@dataclass(frozen=True, eq=False)
class StatusCount(Op):
    """status_count[f, b] = number of pixels of frame f whose status has bit b: status.Pixel names the bits.

    StatusCount.alone() reads pixel_status or image_status and nothing else.
    in:  energy (n, *frame) f32, whose values nobody looks at: a kernel that takes an op in asks it for both; pixel_status (n, *frame) u8; live (1,) i32
    out: status_count (n, 8) u32
    exact: whole numbers, the same on every backend
    source: counting
    """

    name: ClassVar[str] = "calib.status_count"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status", "live?")
    writes: ClassVar[tuple[str, ...]] = ("status_count",)
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("energy", energy, np.float32, ("n", *frame_of(energy))).shape
        if not isinstance(pixel_status, Fused):
            self.require("pixel_status", pixel_status, np.uint8, shape)
        self.require_live(live)
        return (Spec("status_count", (shape[0], 8), np.dtype(np.uint32)),)

    def traffic(self, energy: Any, pixel_status: Any, live: Any) -> int:
        return nbytes(pixel_status, live) + nbytes(*self.outputs(energy, pixel_status, live))

    @staticmethod
    def alone(image: bool = False) -> MarksCount:
        """The op that counts pixel_status alone, whoever wrote it; with image: image_status, as image_status_count."""
        return ImageCount() if image else MarksCount()

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, status_count: Any) -> None:
        for f in range(live_rows(energy, live)):
            status_count[f] = [np.count_nonzero(pixel_status[f] & 1 << b) for b in range(8)]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, status_count: Any) -> None:
        n = live_rows(energy, live)
        count_bits(pixel_status.reshape(len(energy), math.prod(energy.shape[1:]))[:n], status_count)

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, status_count: Any) -> None:
        self.launch(plan, energy, (energy, pixel_status), live, status_count)

    def launch(self, plan: Plan, shaped: Any, load: Any, live: Any, count: Any) -> None:
        """load: what LOAD reads, None for marks that lie in memory, which are then `shaped`, an array of their shape."""
        n, npix, wide, frames = shaped.shape[0], math.prod(shaped.shape[1:]), plan.device.vector, plan.device.frames
        rows = count if live is None else live
        given = {"LIVE": live is not None}
        plan.launch("calib/status_count.cl", "status_count_start", (-(-n // 16),), 128, (count, rows, np.uint32(n)), START=True, **given)
        plan.launch(
            "calib/status_count.cl", "status_count", frame_grid(n, npix, wide, frames), 128,
            (*((shaped,) if load is None else ()), count, rows, np.uint32(n), np.uint32(npix)),
            load=load, VECTOR=vector(npix, wide), FRAMES=f"{frames}u", ALONE=load is None, **given,
        )


@dataclass(frozen=True, eq=False)
class MarksCount(StatusCount):
    """status_count of pixel_status as it lies in memory; StatusCount.alone() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("pixel_status", "live?")
    loads: ClassVar[tuple[str, ...]] = ()

    def outputs(self, marks: Any, live: Any) -> tuple[Spec, ...]:       # type: ignore[override]
        shape = self.require(self.inputs[0], marks, np.uint8, ("n", *frame_of(marks))).shape
        self.require_live(live)
        return (Spec(self.writes[0], (shape[0], 8), np.dtype(np.uint32)),)

    def traffic(self, marks: Any, live: Any) -> int:        # type: ignore[override]
        return nbytes(marks, live) + nbytes(*self.outputs(marks, live))

    def numpy(self, plan: Plan, marks: Any, live: Any, count: Any) -> None:     # type: ignore[override]
        super().numpy(plan, marks, marks, live, count)

    def numba(self, plan: Plan, marks: Any, live: Any, count: Any) -> None:     # type: ignore[override]
        super().numba(plan, marks, marks, live, count)

    def device(self, plan: Plan, marks: Any, live: Any, count: Any) -> None:    # type: ignore[override]
        self.launch(plan, marks, None, live, count)


@dataclass(frozen=True, eq=False)
class ImageCount(MarksCount):
    """image_status_count (n, 8): the same of image_status."""

    inputs: ClassVar[tuple[str, ...]] = ("image_status", "live?")
    writes: ClassVar[tuple[str, ...]] = ("image_status_count",)


def count_bits(status, count):
    """count[f] (8,) = the pixels of status (n, npix) with each bit"""
    share(_frames, len(status), status, count)


@njit(cache=True, nogil=True)
def _frames(first, last, status, count):
    npix = status.shape[1]
    for f in range(first, last):
        total = np.zeros(8, np.uint32)
        for j in range(np.uint64(npix)):
            s = status[f, j]
            if s:       # few are set
                for b in range(8):
                    total[b] += s >> b & 1
        count[f] = total
