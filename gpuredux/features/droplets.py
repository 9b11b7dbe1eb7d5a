"""Droplets: what photons leave in pixels beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from ..status import Frame
from . import droplets_numba as host
from .frames import FrameOp, host_marks, read_only, word
from .strong import connected, list_components, strong_scratch, table_of
from .strong_numba import Grid

COLUMNS = {"panel": np.int32, "row": np.float32, "col": np.float32, "pixels": np.int32, "adu": np.float32, "max": np.float32}
WHOLE, REAL = ("panel", "pixels"), ("row", "col", "adu", "max")


@dataclass(frozen=True, eq=False)
class Droplets(FrameOp):
    """connected pixels above threshold_low of which one is above threshold: their sum (adu) and centre of mass.

    fields: threshold, threshold_low [unit of energy, float32], threshold_low above 0; min_adu: least sum; min_pix, max_pix: pixels of a droplet
            connectivity: 4 or 8 neighbours; max_droplets: rows of the table; good (*frame) bool, None = all
            max_strong: pixels above threshold_low that are looked at, None = a fourth of the frame, at least 4096; a frame with more has none listed
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         frame_status (n,) u32; live (1,) i32
    out: droplet_panel i32, droplet_row, droplet_col f32 (centre of mass), droplet_pixels i32, droplet_adu, droplet_max f32, each (n, max_droplets), 0 behind
         the last: in raster order of each one's first pixel; droplet_count (n,) i32, more than max_droplets where some were left out;
         strong_count (n,) i32 pixels above threshold_low; frame_status (n,) u32, when given: with TOO_MANY where strong_count > max_strong
    exact: bit-identical on every backend: sums are taken in raster order in f64
    source: droplets of S. O. Hruszkewycz et al., Phys. Rev. Lett. 109 (2012) 185502, as smalldata_tools names them
    """

    name: ClassVar[str] = "features.droplets"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = (*(f"droplet_{k}" for k in COLUMNS), "droplet_count", "strong_count")

    threshold: float
    threshold_low: float
    min_adu: float = 0.0
    min_pix: int = 1
    max_pix: int = 2**31 - 1
    connectivity: int = 4
    max_droplets: int = 4096
    good: np.ndarray | None = None
    max_strong: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_good()
        for field in ("threshold", "threshold_low", "min_adu"):
            if not abs(self.number(field)) <= float(np.finfo(np.float32).max):
                raise ValueError(f"{self.name}: {field} must be a finite float32, got {getattr(self, field)}")
        if not 0 < np.float32(self.threshold_low) <= np.float32(self.threshold):
            raise ValueError(f"{self.name}: thresholds must be 0 < threshold_low <= threshold, got {self.threshold_low} and {self.threshold}")
        for field, top in (("min_pix", 2**31 - 1), ("max_pix", 2**31 - 1), ("max_droplets", 2**24), ("max_strong", 2**31 - 1)):
            if getattr(self, field) is not None and not 1 <= self.number(field, whole=True) <= top:
                raise ValueError(f"{self.name}: {field} must be 1 to {top}, got {getattr(self, field)}")
        if self.connectivity not in (4, 8):
            raise ValueError(f"{self.name}: connectivity must be 4 or 8, got {self.connectivity}")

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def capacity(self, npix: int) -> int:
        """Pixels above threshold_low that are looked at."""
        return min(npix, max(4096, npix // 4) if self.max_strong is None else self.max_strong)

    def grid(self, energy: Any) -> Grid:
        """Which components are looked for."""
        rows, cols = energy.shape[-2:]
        return Grid(rows, cols, rows, cols, self.min_pix, self.max_pix, self.connectivity == 8, False)

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.good)
        if len(shape) not in (3, 4):
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) or (n, panels, rows, cols), got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        columns = tuple(Spec(f"droplet_{k}", (shape[0], self.max_droplets), np.dtype(d)) for k, d in COLUMNS.items())
        counts = tuple(Spec(k, (shape[0],), np.dtype(np.int32)) for k in ("droplet_count", "strong_count"))
        return (*columns, *counts, *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        most = self.capacity(npix)
        return (Spec("columns", (n, len(COLUMNS) * most), np.dtype(np.uint32)), *strong_scratch(n, npix, most))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, the mask once, the tables."""
        out = self.outputs(energy, pixel_status, frame_status, live)
        return nbytes(energy, pixel_status, frame_status, live, *out, *self.constants().values())

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        columns, (droplet_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        for f in range(live_rows(energy, live)):
            v = energy[f].astype(np.float32)
            strong = np.isfinite(v) & (v > np.float32(self.threshold_low))
            for use in (self.good, None if pixel_status is None else pixel_status[f] == 0):
                strong &= True if use is None else use
            strong_count[f] = strong.sum()
            too_many = strong_count[f] > self.capacity(v.size)
            panels = v.reshape(-1, *v.shape[-2:])
            joined = [] if too_many else connected(strong.reshape(panels.shape), panels.shape[1:], self.connectivity == 8)
            found = [d for members in joined if (d := self._droplet(members, panels))]
            droplet_count[f] = len(found)
            for k, column in zip(COLUMNS, columns, strict=True):
                column[f] = 0
                column[f, : len(found)] = [d[k] for d in found[: self.max_droplets]]
            for status in new_status:
                status[f] = frame_status[f] | (Frame.TOO_MANY if too_many else 0)

    def _droplet(self, members: list[tuple[int, int, int]], v: np.ndarray) -> dict[str, Any] | None:
        """One droplet, members in raster order; None if it is none. Sums are f64, one after the other."""
        total = row = col = 0.0
        for p, r, c in members:
            x = float(v[p, r, c])
            total, row, col = total + x, row + x * r, col + x * c
        most = max(v[m] for m in members)
        if not (self.min_pix <= len(members) <= self.max_pix and most > np.float32(self.threshold) and total >= self.min_adu):
            return None
        return {"panel": members[0][0], "row": row / total, "col": col / total, "pixels": len(members), "adu": total, "max": most}

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix = live_rows(energy, live), math.prod(energy.shape[1:])
        named = dict(zip(COLUMNS, out, strict=False))
        droplet_count, strong_count, *new_status = out[len(COLUMNS):]
        good = np.ones(1, bool) if self.good is None or npix < 2 else self.good.reshape(-1)
        frames = energy.reshape(-1, npix)[:n]
        if frames.dtype.name not in ("uint16", "float32") or (npix == 1 and self.good is not None):
            frames = np.where(True if self.good is None else self.good.reshape(-1), frames, 0).astype(np.float32)     # no compilation more: it takes long
        thresholds = float(np.float32(self.threshold_low)), float(np.float32(self.threshold)), float(self.min_adu)
        status = host.find(
            read_only(frames), host_marks(pixel_status, n), pixel_status is not None, read_only(good), thresholds, self.capacity(npix), self.grid(energy),
            tuple(named[k] for k in WHOLE), tuple(named[k] for k in REAL), droplet_count, strong_count,
        )
        for new in new_status:
            new[:n] = frame_status[:n] | status

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, held = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch
        columns, (droplet_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        new, most = new_status[0] if new_status else None, self.capacity(npix)
        plan.start_status(frame_status, new, live)
        alive, good = droplet_count if live is None else live, plan.constants.get("good")
        marks, mask = (droplet_count if a is None else a for a in (pixel_status, good))
        size, kind = (np.uint32(n), np.uint32(npix)), {"WORD": word(energy), "LIVE": live is not None}
        words = np.uint32(held["bits"].shape[1])
        plan.launch("features/droplets.cl", "threshold", (-(-npix // 1024), n), 128,
                    (energy, marks, mask, alive, held["bits"], np.float32(self.threshold_low), *size, words),
                    THRESHOLD=True, MARKED=pixel_status is not None, GOOD=good is not None, **kind)
        list_components(plan, held["bits"], live, strong_count, new, self.grid(energy))
        lists = [held[k] for k in ("strong", "start", "members", "components")]
        plan.launch("features/droplets.cl", "droplets", (-(-most // 128), n), 128,
                    (energy, *lists, alive, held["columns"], np.float64(self.min_adu), np.float32(self.threshold), *size,
                     *map(np.uint32, (most, *energy.shape[-2:]))), **kind)
        table_of(plan, columns, droplet_count, live)
