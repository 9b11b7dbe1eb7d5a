"""Intensity correlation over a stream, many delays at once: multi-tau g2 of each region, exact. Over 200 lines: with the state and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, read_only
from ..status import Frame
from . import correlate_numba as host
from .frames import LARGEST, FrameOp, host_marks, whole, word
from .rings import Rings, frozen

HELD = ("g2_frames", "g2_history", "g2_product", "g2_past", "g2_future", "g2_pairs")
UNUSED = -(2**31)       # in place of a number: no measurement
TOGETHER = 4            # delays that a thread of the device takes at once
TILE = 512              # pixels of one region that are summed up together


@dataclass(frozen=True, eq=False)
class Correlate(FrameOp):
    """g2[delay, region] = (sum I(t) I(t + delay)) pairs / (sum I(t) sum I(t + delay)), sums over pairs: pixels of the region, and all t.

    Level 0 has the frames and the delays 0 to num_bufs - 1; a frame of level k is the sum of two frames of level k - 1, one after the other, and its delays
    are num_bufs / 2 to num_bufs - 1 of such frames: (num_levels + 1) num_bufs / 2 delays in all. A pixel that is no measurement in one frame is none in
    what the frame becomes part of, and makes no pair. Frames are as many as time has steps: for one that is missing hand in one marked all over.
    fields: rings: Rings, the regions; pixels outside are not looked at; num_levels, num_bufs: levels, and delays of the first one, as in scikit-beam
            unit: the step in which float frames are taken, a power of two [unit of energy], whole numbers are themselves; of: the input with the frames
    in:  energy (n, *frame) u8, u16, i16, u32, i32 or f32: NaN and Inf are no measurement; pixel_status (n, *frame) u8, nor is what is not 0 there
         frame_status (n,) u32; live (1,) i32
         g2_frames (1,) i64: frames so far; g2_history (num_levels, num_bufs - 1, used) i32: the last ones of each level, the latest last, used: pixels of
         the regions in the order of rings.order; -2**31: no measurement
         g2_product (2, delays, regions) i64: sum of I(t) I(t + delay) by its low 32 bits, 0 to 2**32 - 1, and by all above
         g2_past, g2_future (delays, regions) i64: sums of I(t) and of I(t + delay); g2_pairs (delays, regions) i64: how many of both
    out: g2_frames, g2_history, g2_product, g2_past, g2_future, g2_pairs like the inputs: the state with this batch in it
         frame_status (n,) u32, when given: BEYOND_UNIT for a frame with a pixel beyond 2147483520 / 2**(num_levels - 1) units, which was taken as that many
    exact: integers: bit-identical on every backend and for every batching, while g2_past and g2_future stay below 2**63
    source: D. Lumma et al., Rev. Sci. Instrum. 71 (2000) 3274, the symmetric normalisation included; as scikit-beam's multi_tau_auto_corr has it
    """

    name: ClassVar[str] = "features.correlate"
    inputs: ClassVar[tuple[str, ...]] = ("energy", *HELD, "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = HELD
    state: ClassVar[tuple[str, ...]] = HELD

    rings: Rings
    num_levels: int = 8
    num_bufs: int = 8
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        if self.rings.order.size == 0:
            raise ValueError(f"{self.name}: the rings have no pixel")
        if not 1 <= self.number("num_levels", whole=True) <= 16:
            raise ValueError(f"{self.name}: num_levels must be 1 to 16, got {self.num_levels}")
        if self.number("num_bufs", whole=True) % 2 or not 2 <= self.num_bufs <= 8192:
            raise ValueError(f"{self.name}: num_bufs must be even, 2 to 8192, got {self.num_bufs}")
        self.own_unit()

    # ------------------------------------------------------------------ delays
    @cached_property
    def delays(self) -> tuple[tuple[int, int], ...]:
        """(level, delay in frames of that level) in the order of results."""
        middle = self.num_bufs // 2
        return tuple((k, i) for k in range(self.num_levels) for i in range(middle if k else 0, self.num_bufs))

    @cached_property
    def lag_steps(self) -> np.ndarray:
        """(delays,) i64 [frames]."""
        return frozen(np.array([i << k for k, i in self.delays], np.int64))

    @property
    def most(self) -> int:
        """What a pixel counts at most, in units, so that the last level's sums fit into 32 bits; a float32, too."""
        return LARGEST >> (self.num_levels - 1)

    # ------------------------------------------------------------------ the state
    @cached_property
    def held(self) -> tuple[Spec, ...]:
        """The arrays of the state."""
        sums, i64 = (len(self.delays), self.rings.count), np.dtype(np.int64)
        shapes = {"g2_frames": (1,), "g2_product": (2, *sums), "g2_past": sums, "g2_future": sums, "g2_pairs": sums}
        history = Spec("g2_history", (self.num_levels, self.num_bufs - 1, self.rings.order.size), np.dtype(np.int32))
        return tuple(history if k == "g2_history" else Spec(k, shapes[k], i64) for k in HELD)

    def start(self, frame: tuple[int, ...] = (), dtype: Any = None) -> dict[str, np.ndarray]:
        """The state before the first frame, whatever its shape and dtype."""
        return {s.name: np.full(s.shape, UNUSED if s.name == "g2_history" else 0, s.dtype) for s in self.held}

    def g2(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """(delays, *bins) f64: the curves of a state at lag_steps; NaN where there is no pair yet or one of the sums is 0."""
        low, high = (np.asarray(p, np.float64) for p in state["g2_product"])
        past, future, pairs = (np.asarray(state[k], np.float64) for k in ("g2_past", "g2_future", "g2_pairs"))
        norm = past * future
        with np.errstate(divide="ignore", invalid="ignore"):
            curve = np.where(norm == 0, np.nan, (high * 2.0**32 + low) * pairs / norm)
        return curve.reshape(-1, *self.rings.shape_of_result)

    # ------------------------------------------------------------------ the run
    @cached_property
    def tiles(self) -> dict[str, np.ndarray]:
        """tile (tiles, 2) u32: pieces of rings.order of at most TILE pixels, each of one region; first_tile (regions + 1,) u32."""
        first = self.rings.first.astype(np.int64)
        each = -(-np.diff(first) // TILE)
        first_tile = np.append(0, np.cumsum(each))
        region = np.repeat(np.arange(self.rings.count), each)
        begin = first[region] + (np.arange(first_tile[-1]) - first_tile[region]) * TILE
        tile = np.stack([begin, np.minimum(begin + TILE, first[region + 1])], axis=1)
        return {"tile": frozen(tile.astype(np.uint32)), "first_tile": frozen(first_tile.astype(np.uint32))}

    def constants(self) -> dict[str, np.ndarray]:
        return self.tiles

    def outputs(self, x: Any, *given: Any) -> tuple[Spec, ...]:
        *state, pixel_status, frame_status, live = given
        shape = self.require_frames(x, self.rings.label)
        for spec, a in zip(self.held, state, strict=True):
            self.require(spec.name, a, spec.dtype, spec.shape)
        self.require_marks(shape, pixel_status=pixel_status)
        return (*self.held, *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, x: Any, *given: Any) -> tuple[Spec, ...]:
        """The frames of all levels that a batch makes, and the sums of each tile."""
        rows = sum((x.shape[0] >> k) + 1 for k in range(self.num_levels))
        parts = (len(self.delays), 5, len(self.tiles["tile"]))
        return Spec("series", (rows, self.rings.order.size), np.dtype(np.int32)), Spec("parts", parts, np.dtype(np.uint64))

    def _steps(self, frame: np.ndarray, marks: np.ndarray | None) -> tuple[np.ndarray, bool]:
        """A frame in units, of the regions' pixels in order; whether one was beyond."""
        v = frame.reshape(-1)[self.rings.order]
        use = np.isfinite(v) if marks is None else np.isfinite(v) & (marks.reshape(-1)[self.rings.order] == 0)
        q, _ = whole(v, self.unit)
        return np.where(use, np.clip(q, -self.most, self.most), UNUSED), bool((use & (np.abs(q) > self.most)).any())

    def numpy(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        (*old, pixel_status, frame_status, live), (*new, new_status) = given_and_out[:9], plan.every_output(given_and_out[9:])
        frames, history, product, *sums = new
        for a, b in zip(new, old, strict=True):
            a[...] = b
        rows = [list(level.astype(np.int64)) for level in history]
        region = np.repeat(np.arange(self.rings.count), np.diff(self.rings.first.astype(np.int64)))
        for f in range(live_rows(x, live)):
            row, beyond = self._steps(x[f], None if pixel_status is None else pixel_status[f])
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if beyond else 0)
            frames[0] += 1
            for k in range(self.num_levels):
                rows[k].append(row)
                self._pair(k, rows[k], region, product, *sums)
                before = rows[k].pop(0) if self.num_bufs == 2 else rows[k][-2]
                rows[k] = rows[k][-(self.num_bufs - 1):]
                if frames[0] % 2 ** (k + 1):
                    break
                row = np.where((before == UNUSED) | (row == UNUSED), UNUSED, before + row)
        history[...] = rows

    def _pair(self, level: int, rows: list[np.ndarray], region: np.ndarray, product: np.ndarray, *sums: np.ndarray) -> None:
        """The latest frame of a level with those before it."""
        for d, (k, i) in enumerate(self.delays):
            if k == level:
                a, b = rows[-1 - i], rows[-1]
                both = (a != UNUSED) & (b != UNUSED)
                a, b, mine = a[both], b[both], region[both]
                for total, value in zip((product[0, d], product[1, d], *(s[d] for s in sums)),
                                        (a * b & 0xFFFFFFFF, a * b >> 32, a, b, np.ones_like(a)), strict=True):
                    np.add.at(total, mine, value)
                product[1, d] += product[0, d] >> 32
                product[0, d] &= 0xFFFFFFFF

    def numba(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        (*old, pixel_status, frame_status, live), (*new, new_status) = given_and_out[:9], plan.every_output(given_and_out[9:])
        n = live_rows(x, live)
        flat = x.reshape(len(x), self.rings.label.size)[:n]
        if flat.dtype.name not in ("uint16", "float32"):
            flat = (np.minimum(flat, 2**31 - 1) if flat.dtype == np.uint32 else flat).astype(np.int32)      # beyond is beyond
        per_unit, steps = np.float32(1 / self.unit) if flat.dtype.kind == "f" else None, np.empty((n, self.rings.order.size), np.int32)
        beyond = host.take(read_only(flat), host_marks(pixel_status, n), pixel_status is not None, self.rings.order, self.most, per_unit, steps)
        host.correlate(steps, self.tiles["tile"], self.tiles["first_tile"], np.array([self.num_levels, self.num_bufs, old[0][0]]),
                       tuple(read_only(a) for a in old[1:]), tuple(new[1:]))
        new[0][0] = old[0][0] + n
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(beyond, np.uint32(Frame.BEYOND_UNIT), np.uint32(0))

    def device(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        (*old, pixel_status, frame_status, live), (*new, new_status) = given_and_out[:9], plan.every_output(given_and_out[9:])
        n, npix, used = x.shape[0], self.rings.label.size, self.rings.order.size
        series, parts, first_tile = plan.scratch["series"], plan.scratch["parts"], plan.constants["first_tile"]
        some, kind, tiles = old[0], np.dtype(x.dtype), len(self.tiles["tile"])      # some: stands in where a kernel never looks
        plan.start_status(frame_status, new_status, live)
        given = (x if n else some, pixel_status if n else None, plan.statics["order"], live, *old[:2], *new[:2], series, new_status)
        size = (n, npix, used, self.num_levels, self.num_bufs)
        plan.launch("features/correlate.cl", "g2_series", (-(-used // 128),), 128,
                    (*(some if a is None else a for a in given), np.float32(1 / self.unit), np.int32(self.most), *map(np.uint32, size)),
                    STEP=1, VECTOR=1, WORD=word(x), FLOATS=kind.kind == "f", NARROW=kind.itemsize < 4, MARKED=pixel_status is not None,
                    FLAGS=new_status is not None, LIVE=live is not None)
        groups = -(-self.num_bufs // TOGETHER) + (self.num_levels - 1) * -(-self.num_bufs // 2 // TOGETHER)
        plan.launch("features/correlate.cl", "g2_pairs", (tiles, groups), 128,
                    (old[1], series, old[0], new[0], plan.constants["tile"], parts, *map(np.uint32, (n, used, self.num_bufs, tiles))), STEP=2)
        plan.launch("features/correlate.cl", "g2_sums", (self.rings.count, len(self.delays)), 128,
                    (parts, first_tile, *old[2:], *new[2:], *map(np.uint32, (tiles, self.rings.count, len(self.delays)))), STEP=3)
