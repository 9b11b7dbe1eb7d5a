"""Droplets: what photons leave in pixels beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from ..status import Frame
from . import droplets_numba as host
from .frames import FrameOp, host_marks, word
from .strong import connected, list_components, strong_bits, strong_scratch, table_of
from .strong_numba import Grid

COLUMNS = {"panel": np.int32, "row": np.float32, "col": np.float32, "pixels": np.int32, "adu": np.float32, "max": np.float32}
WHOLE, REAL = ("panel", "pixels"), ("row", "col", "adu", "max")
Pixel = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class DropletOp(FrameOp):
    """Ops that find droplets.

    fields: threshold, threshold_low [unit of energy, float32], threshold_low above 0; min_adu: least sum; min_pix, max_pix: pixels of a droplet
            connectivity: 4 or 8 neighbours; good (*frame) bool, None = all
            max_strong: pixels above threshold_low that are looked at, None = a fourth of the frame, at least 4096; a frame with more has no droplets"""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")

    threshold: float
    threshold_low: float
    min_adu: float = 0.0
    min_pix: int = 1
    max_pix: int = 2**31 - 1
    connectivity: int = 4
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
        for field in ("min_pix", "max_pix", "max_strong"):
            self.whole_field(field, 2**31 - 1)
        if self.connectivity not in (4, 8):
            raise ValueError(f"{self.name}: connectivity must be 4 or 8, got {self.connectivity}")

    def whole_field(self, field: str, top: int) -> None:
        """Raises ValueError where a field is not 1 to top; max_strong may be None."""
        if (getattr(self, field) is not None or field != "max_strong") and not 1 <= self.number(field, whole=True) <= top:
            raise ValueError(f"{self.name}: {field} must be 1 to {top}, got {getattr(self, field)}")

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def capacity(self, npix: int) -> int:
        """Pixels above threshold_low that are looked at."""
        return min(npix, max(4096, npix // 4) if self.max_strong is None else self.max_strong)

    def grid(self, energy: Any) -> Grid:
        """Which components are looked for."""
        rows, cols = energy.shape[-2:]
        return Grid(rows, cols, rows, cols, self.min_pix, self.max_pix, self.connectivity == 8, False)

    def require_panels(self, energy: Any, pixel_status: Any) -> tuple[int, ...]:
        """The shape of the frames; of pixel_status, too."""
        shape = self.require_frames(energy, self.good)
        if len(shape) not in (3, 4):
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) or (n, panels, rows, cols), got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        return shape

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, the mask once, what is written."""
        out = self.outputs(energy, pixel_status, frame_status, live)
        return nbytes(energy, pixel_status, frame_status, live, *out, *self.constants().values())

    def droplets(self, frame: np.ndarray, marks: np.ndarray | None) -> tuple[np.ndarray, int, list[list[Pixel]]]:
        """Of a frame: (panels, rows, cols) f32, how many pixels are strong, the members of each droplet in raster order."""
        v = frame.astype(np.float32)
        strong = np.isfinite(v) & (v > np.float32(self.threshold_low))
        for use in (self.good, None if marks is None else marks == 0):
            strong &= True if use is None else use
        some, panels = int(strong.sum()), v.reshape(-1, *v.shape[-2:])
        joined = connected(strong.reshape(panels.shape), panels.shape[1:], self.connectivity == 8) if some <= self.capacity(v.size) else iter(())
        return panels, some, [d for d in joined if self._is_one(d, panels)]

    def _is_one(self, members: list[Pixel], v: np.ndarray) -> bool:
        most = max(v[m] for m in members)
        return bool(self.min_pix <= len(members) <= self.max_pix and most > np.float32(self.threshold) and total_of(members, v)[0] >= self.min_adu)

    def host_input(self, energy: Any, pixel_status: Any, n: int) -> tuple[Any, ...]:
        """What numba's finders take first: frames, marks, whether there are any, good, thresholds, capacity, grid."""
        npix = math.prod(energy.shape[1:])
        good = np.ones(1, bool) if self.good is None or npix < 2 else self.good.reshape(-1)
        frames = energy.reshape(-1, npix)[:n]
        if frames.dtype.name not in ("uint16", "float32") or (npix == 1 and self.good is not None):
            frames = np.where(True if self.good is None else self.good.reshape(-1), frames, 0).astype(np.float32)     # no compilation more: it takes long
        thresholds = float(np.float32(self.threshold_low)), float(np.float32(self.threshold)), float(self.min_adu)
        return (read_only(frames), host_marks(pixel_status, n), pixel_status is not None, read_only(good), thresholds, self.capacity(npix), self.grid(energy))

    def list_droplets(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, strong_count: Any, new_status: Any) -> None:
        """On a device: strong_scratch is filled, and the status."""
        plan.start_status(frame_status, new_status, live)
        strong_bits(plan, energy, pixel_status, live, plan.constants.get("good"), self.threshold_low)
        list_components(plan, plan.scratch["bits"], live, strong_count, new_status, self.grid(energy))


def total_of(members: list[Pixel], v: np.ndarray) -> tuple[float, float, float]:
    """Sums of v, v row and v col: f64, one pixel after the other."""
    total = row = col = 0.0
    for p, r, c in members:
        x = float(v[p, r, c])
        total, row, col = total + x, row + x * r, col + x * c
    return total, row, col


@dataclass(frozen=True, eq=False)
class Droplets(DropletOp):
    """connected pixels above threshold_low of which one is above threshold: their sum (adu) and centre of mass.

    fields: threshold, threshold_low [unit of energy, float32], threshold_low above 0; min_adu: least sum; min_pix, max_pix: pixels of a droplet
            connectivity: 4 or 8 neighbours; good (*frame) bool, None = all; max_droplets: rows of the table
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
    writes: ClassVar[tuple[str, ...]] = (*(f"droplet_{k}" for k in COLUMNS), "droplet_count", "strong_count")

    max_droplets: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole_field("max_droplets", 2**24)

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys((f"droplet_{k}" for k in COLUMNS), "droplet_count")

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_panels(energy, pixel_status)
        columns = tuple(Spec(f"droplet_{k}", (shape[0], self.max_droplets), np.dtype(d)) for k, d in COLUMNS.items())
        counts = tuple(Spec(k, (shape[0],), np.dtype(np.int32)) for k in ("droplet_count", "strong_count"))
        return (*columns, *counts, *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        most = self.capacity(npix)
        return (Spec("columns", (n, len(COLUMNS) * most), np.dtype(np.uint32)), *strong_scratch(n, npix, most))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        columns, (droplet_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        for f in range(live_rows(energy, live)):
            panels, strong_count[f], droplets = self.droplets(energy[f], None if pixel_status is None else pixel_status[f])
            droplet_count[f] = len(droplets)
            rows = [self._row(members, panels) for members in droplets[: self.max_droplets]]
            for k, column in zip(COLUMNS, columns, strict=True):
                column[f] = 0
                with np.errstate(over="ignore"):      # a sum that float32 does not hold is Inf
                    column[f, : len(rows)] = [row[k] for row in rows]
            for status in new_status:
                status[f] = frame_status[f] | (Frame.TOO_MANY if strong_count[f] > self.capacity(panels.size) else 0)

    def _row(self, members: list[Pixel], v: np.ndarray) -> dict[str, Any]:
        """One droplet, members in raster order."""
        total, row, col = total_of(members, v)
        return {"panel": members[0][0], "row": row / total, "col": col / total, "pixels": len(members), "adu": total, "max": max(v[m] for m in members)}

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, named = live_rows(energy, live), dict(zip(COLUMNS, out, strict=False))
        droplet_count, strong_count, *new_status = out[len(COLUMNS):]
        tables = tuple(named[k] for k in WHOLE), tuple(named[k] for k in REAL)
        status = host.find(*self.host_input(energy, pixel_status, n), *tables, droplet_count, strong_count)
        for new in new_status:
            new[:n] = frame_status[:n] | status

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, held, most = energy.shape[0], plan.scratch, self.capacity(math.prod(energy.shape[1:]))
        columns, (droplet_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        self.list_droplets(plan, energy, pixel_status, frame_status, live, strong_count, new_status[0] if new_status else None)
        lists = [held[k] for k in ("strong", "start", "members", "components")]
        plan.launch("features/droplets.cl", "droplets", (-(-most // 128), n), 128,
                    (energy, *lists, droplet_count if live is None else live, held["columns"], np.float64(self.min_adu), np.float32(self.threshold),
                     *map(np.uint32, (n, math.prod(energy.shape[1:]), most, *energy.shape[-2:]))), WORD=word(energy), LIVE=live is not None)
        table_of(plan, columns, droplet_count, live)
