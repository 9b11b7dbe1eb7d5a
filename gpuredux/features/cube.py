"""Sums of frames by a bin of each event: delay, angle, position of a stage; 1 to 3 axes. Over 200 lines: with the state and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, bits_define, frame_grid, live_rows, nbytes
from ..status import Frame
from .bin import measured
from .cube_numba import cube_tiles
from .frames import LARGEST, FrameOp, whole, word

HELD = ("cube_count", "cube_sum", "cube_sum2", "cube_used", "cube_weight", "cube_outside")
MOST_BINS = 65535       # CUDA's gridDim.y


@dataclass(frozen=True, eq=False)
class Cube(FrameOp):
    """cube_sum[b] = sum of q over the frames whose bin is b, cube_count[b] their number; q = energy / unit of float frames; on top of the state so far.

    fields: bins, how many along each of 1 to 3 axes, 65535 in all; squares, used, weighted: with cube_sum2, cube_used, cube_weight; good (*frame) bool,
            True = use, None = all; unit, weight_unit: the steps of float frames and of weights, powers of two [units of energy, of weight]
            most_bytes: ValueError for a state that takes more, old and new together; of: the input with the frames, or with what was made of them
    in:  energy (n, *frame) u8, u16, i16, u32, i32 or f32, NaN and Inf are not used, or i64, without squares: sums that an op before this one made, exact
         while their own sums are below 2**63; pixel_status (n, *frame) u8, used where 0
         bin_index (n,) i32, with more axes (n, axes); weight (n,) f32, only with weighted: I0, say; frame_status (n,) u32; live (1,) i32
         cube_count (bins,) i64: events; bins: all of them in one axis, the last of the axes runs fastest
         cube_sum (bins, *frame) i64 [unit]; cube_weight (bins,) i64 [weight_unit]: the sum of the events' weights, by which to divide
         cube_sum2 (1 or 2, bins, *frame) u64 [unit**2]: of frames of 8 and 16 bits; of others of the low and of the high 32 bits of q**2
         cube_used (bins, *frame) u32: how often the pixel was used, where that differs from cube_count
         cube_outside (2,) i64: events whose index lies outside of the bins, and others whose weight is not finite: they enter nothing else
    out: cube_count, cube_sum, cube_sum2, cube_used, cube_weight, cube_outside like the inputs: the state with this batch in it
         frame_status (n,) u32, when given: BEYOND_UNIT where a weight or, of an event with a bin, a pixel was more than 2147483520 steps, taken as so many
    exact: integers: no order and no batching changes a bit, up to 2**31 - 1 events
    events weighted by I0, laser on and off: Chain((AzimuthalIntegrate(rings), Cube((2,), of="sum_signal", weighted=True))), bin_index 1 with the laser, -1 for
         shots to be dropped: mean() over each ring's normalisation is the average; where pixels are left out of some frames, do the same of="intensity"
    source: event binning of pump-probe experiments; a run copies the state: cost and memory are those of all bins, so let batches be large
    """

    name: ClassVar[str] = "features.cube"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "bin_index", "cube_count", "cube_sum", "cube_sum2?", "cube_used?", "cube_weight?", "cube_outside",
                                         "weight?", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = HELD
    state: ClassVar[tuple[str, ...]] = HELD
    dtypes: ClassVar[tuple[str, ...]] = (*FrameOp.dtypes, "int64")

    bins: tuple[int, ...] = (1,)
    squares: bool = False
    used: bool = False
    weighted: bool = False
    good: np.ndarray | None = None
    unit: float = 2.0**-8
    weight_unit: float = 2.0**-16
    most_bytes: int = 2**33

    def __post_init__(self) -> None:
        super().__post_init__()
        bins: Any = tuple(self.bins) if isinstance(self.bins, (tuple, list)) else (self.bins,)
        if not 1 <= len(bins) <= 3 or not all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in bins) or math.prod(bins) > MOST_BINS:
            raise ValueError(f"{self.name}: bins must be how many along 1 to 3 axes, at most {MOST_BINS} in all, got {self.bins!r}")
        object.__setattr__(self, "bins", bins)
        self.own_unit()
        if not math.frexp(self.number("weight_unit"))[0] == 0.5 or not 2.0**-60 <= self.weight_unit <= 2.0**60:
            raise ValueError(f"{self.name}: weight_unit must be a power of two from 2**-60 to 2**60, got {self.weight_unit}")
        if self.number("most_bytes", whole=True) < 1:
            raise ValueError(f"{self.name}: most_bytes must be positive, got {self.most_bytes}")
        self.own_good()

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    @property
    def n_bins(self) -> int:
        """Of all axes."""
        return math.prod(self.bins)

    # ------------------------------------------------------------------ the state
    def held(self, frame: tuple[int, ...], dtype: Any) -> tuple[Spec, ...]:
        """The arrays of the state for frames of this shape and dtype. Raises ValueError where twice their size is more than most_bytes."""
        kind, n = np.dtype(dtype), self.n_bins
        if kind.name not in self.dtypes:
            raise TypeError(f"{self.name}: frames must be {' or '.join(self.dtypes)}, got {kind}")
        if self.squares and kind == np.int64:
            raise TypeError(f"{self.name}: squares of int64 are beyond 64 bits: make the cube without squares")
        asked = {
            "cube_count": (True, (n,), np.int64), "cube_sum": (True, (n, *frame), np.int64),
            "cube_sum2": (self.squares, (1 if kind.itemsize < 4 else 2, n, *frame), np.uint64), "cube_used": (self.used, (n, *frame), np.uint32),
            "cube_weight": (self.weighted, (n,), np.int64), "cube_outside": (True, (2,), np.int64),
        }
        specs = tuple(Spec(k, shape, np.dtype(d)) for k, (wanted, shape, d) in asked.items() if wanted)
        if 2 * nbytes(*specs) > self.most_bytes:
            raise ValueError(f"{self.name}: {n} bins of frames {tuple(frame)} take {2 * nbytes(*specs)} bytes, old and new state together, and most_bytes is"
                             f" {self.most_bytes}: take fewer bins, bin the frames first (features.Bin) or cut regions out of them")
        return specs

    def start(self, frame: tuple[int, ...], dtype: Any = np.float32) -> dict[str, np.ndarray]:
        """The state before the first event."""
        return {s.name: np.zeros(s.shape, s.dtype) for s in self.held(frame, dtype)}

    def merge(self, *states: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The state of all events of these states, whoever took them in, in whatever order."""
        if any({k: v.shape for k, v in s.items()} != {k: v.shape for k, v in states[0].items()} for s in states):
            raise ValueError(f"{self.name}: states of other frames, bins or fields cannot be merged")
        return {k: np.sum([s[k] for s in states], axis=0, dtype=v.dtype) for k, v in states[0].items()}

    def mean(self, state: Mapping[str, np.ndarray], scale: float) -> np.ndarray:
        """(*bins, *frame) f64: the sum over the weight, or over how often a pixel was used, or over the events; NaN where that is 0.

        scale: what a step is worth: unit for float frames, 1 for whole numbers. Where pixels are left out of some events only, ask for used: without it
        such a mean is too small. A weight is of all events of a bin: with used, too, pixels that were not used in all of them are NaN."""
        total, count = state["cube_sum"], state["cube_count"].astype(np.float64)
        wide = (len(count), *[1] * (total.ndim - 1))
        used = np.asarray(state["cube_used"], np.float64) if "cube_used" in state else count.reshape(wide)
        by = used
        if "cube_weight" in state:
            by = np.where(used == count.reshape(wide), (state["cube_weight"] * self.weight_unit).reshape(wide), np.nan)
        with np.errstate(invalid="ignore"):
            mean = total * scale / np.where(by == 0, np.nan, by)
        return mean.reshape(*self.bins, *total.shape[1:])

    # ------------------------------------------------------------------ the run
    def outputs(self, x: Any, bin_index: Any, *given: Any) -> tuple[Spec, ...]:
        """See Op."""
        *state, weight, pixel_status, frame_status, live = given
        shape = self.require_frames(x, self.good)
        n, *frame = shape
        if 0 in frame:
            raise ValueError(f"{self.name}: {self.of} must be (n, *frame) with pixels, got {x.dtype} {tuple(x.shape)}")
        self.require("bin_index", bin_index, np.int32, (n,) if len(self.bins) == 1 else (n, len(self.bins)))
        wanted = {s.name: s for s in self.held(tuple(frame), x.dtype)}
        for name, a in zip(HELD, state, strict=True):
            if name in wanted:
                self.require(name, a, wanted[name].dtype, wanted[name].shape)
            elif a is not None:
                raise ValueError(f"{self.name}: {name} was given, but not asked for (squares={self.squares}, used={self.used}, weighted={self.weighted})")
        if self.weighted:
            self.require("weight", weight, np.float32, (n,))
        elif weight is not None:
            raise ValueError(f"{self.name}: weight was given, but not asked for (weighted=False)")
        self.require_marks(shape, pixel_status=pixel_status)
        return (*wanted.values(), *self.frame_outputs(n, frame_status, live))

    def scratch(self, x: Any, *given: Any) -> tuple[Spec, ...]:
        """Each event's bin, the next event of that bin, each bin's first."""
        n = max(x.shape[0], 1)
        return tuple(Spec(k, (size,), np.dtype(np.int32)) for k, size in (("bin", n), ("next", n), ("first", self.n_bins)))

    def places(self, bin_index: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(bin of each event, -1 = outside, -2 = no weight; its weight in steps), both i64."""
        index, bins = bin_index.reshape(len(bin_index), len(self.bins)).astype(np.int64), np.array(self.bins)
        inside = ((index >= 0) & (index < bins)).all(axis=1)
        place = np.where(inside, np.ravel_multi_index(tuple(np.clip(index, 0, bins - 1).T), tuple(bins)), -1)
        if weight is None:
            return place, np.zeros(len(place), np.int64)
        return np.where(inside & ~np.isfinite(weight), -2, place), whole(weight, self.weight_unit)[0]

    def _events(self, bin_index: Any, weight: Any, n: int, old: Any, new: Any) -> tuple[np.ndarray, np.ndarray]:
        """places() of n events; their counts and weights go into the new state, all else of the old one is for the caller."""
        weight = None if weight is None else weight[:n]
        place, steps = self.places(bin_index[:n], weight)
        inside, more = place >= 0, np.zeros(self.n_bins, np.int64)
        new[0][...] = old[0] + np.bincount(place[inside], minlength=self.n_bins)
        if self.weighted:
            np.add.at(more, place[inside], steps[inside])
            new[4][...] = old[4] + more
        new[5][...] = old[5] + np.array([(place == -1).sum(), (place == -2).sum()])
        far = np.zeros(n, bool) if weight is None else inside & whole(weight, self.weight_unit)[1]
        return place, far

    def numpy(self, plan: Plan, x: Any, bin_index: Any, *given_and_out: Any) -> None:
        (*old, weight, pixel_status, frame_status, live), out = given_and_out[:10], plan.every_output(given_and_out[10:])
        *new, new_status = out
        for a, b in zip(new[1:4], old[1:4], strict=True):
            if a is not None:
                a[...] = b
        place, far = self._events(bin_index, weight, live_rows(x, live), old, new)
        for f, b in enumerate(place):
            q, beyond = whole(x[f], self.unit)
            use = measured(x[f], plan.constants.get("good"), None if pixel_status is None else pixel_status[f])
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if far[f] or (b >= 0 and (beyond & use).any()) else 0)
            if b < 0:
                continue
            q = np.where(use, q, 0)
            new[1][b] += q
            if self.squares:
                square = q.view(np.uint64) * q.view(np.uint64)      # of a negative one, too: modulo 2**64
                for row, part in zip(new[2], [square] if len(new[2]) == 1 else [square & np.uint64(2**32 - 1), square >> np.uint64(32)], strict=True):
                    row[b] += part
            if self.used:
                new[3][b] += use

    def numba(self, plan: Plan, x: Any, bin_index: Any, *given_and_out: Any) -> None:
        (*old, weight, pixel_status, frame_status, live), out = given_and_out[:10], plan.every_output(given_and_out[10:])
        *new, new_status = out
        n, npix = live_rows(x, live), math.prod(x.shape[1:])
        place, far = self._events(bin_index, weight, n, old, new)
        order = np.argsort(place, kind="stable")
        first = np.searchsorted(place[order], np.arange(self.n_bins + 1))
        good, beyond = plan.constants.get("good"), far.astype(np.uint8)
        flat = [None if a is None else a.reshape(-1, self.n_bins, npix) for a in (*old[1:4], *new[1:4])]
        cube_tiles(x.reshape(len(x), npix), order, first, None if good is None else good.reshape(npix),
                   None if pixel_status is None else pixel_status.reshape(len(x), npix), *flat,
                   np.float32(1 / self.unit) if x.dtype.kind == "f" else None, np.float32(LARGEST), beyond)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(beyond, np.uint32(Frame.BEYOND_UNIT), np.uint32(0))

    def device(self, plan: Plan, x: Any, bin_index: Any, *given_and_out: Any) -> None:
        (*old, weight, pixel_status, frame_status, live), out = given_and_out[:10], plan.every_output(given_and_out[10:])
        *new, new_status = out
        n, npix, some = x.shape[0], math.prod(x.shape[1:]), old[0]      # some: stands in where a kernel never looks
        plan.start_status(frame_status, new_status, live)
        tables = [plan.scratch[k] for k in ("bin", "next", "first")]
        axes = [*self.bins, 1, 1][:3]
        choice = {"VECTOR": 1, "LIVE": live is not None, "WEIGHTED": self.weighted, "FLAGS": new_status is not None}
        arrays = [bin_index if n else some, weight if n else None, live, new_status]
        plan.launch("features/cube.cl", "cube_bins", (-(-max(n, 1) // 128),), 128,
                    (*(some if a is None else a for a in arrays), tables[0], *map(np.uint32, (n, len(self.bins), *axes))),
                    STEP=1, PER_UNIT=bits_define(1 / self.weight_unit), **choice)
        arrays = [weight if n else None, live, old[0], old[4], old[5], new[0], new[4], new[5], *tables]
        plan.launch("features/cube.cl", "cube_lists", (-(-self.n_bins // 128),), 128,
                    (*(some if a is None else a for a in arrays), np.uint32(n), np.uint32(self.n_bins)),
                    STEP=2, PER_UNIT=bits_define(1 / self.weight_unit), **choice)
        arrays = [x if n else some, plan.constants.get("good"), pixel_status if n else None, *tables[1:], *old[1:4], *new[1:4], new_status]
        plan.launch(
            "features/cube.cl", "cube_add", (frame_grid(n, npix, 1)[0], self.n_bins), 128,
            (*(some if a is None else a for a in arrays), np.uint32(self.n_bins), np.uint32(npix)),
            STEP=3, VECTOR=1, WORD="i64" if x.dtype == np.int64 else word(x), FLOATS=x.dtype.kind == "f", NARROW=x.dtype.itemsize < 4,
            SQUARES=self.squares, USED=self.used, GOOD=self.good is not None, STATUS=pixel_status is not None, FLAGS=new_status is not None,
            PER_UNIT=bits_define(1 / self.unit),
        )
