"""Count, sum, sum of squares and extremes of each pixel over frames, one class of events beside the other: virtual powders. Over 200 lines: with what is
made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, bits_define, frame_grid, live_rows
from ..status import Frame
from .bin import measured
from .frames import LARGEST, FrameOp, whole, word
from .running_numba import run_tiles

HELD = ("running_count", "running_sum", "running_sum2", "running_extreme", "running_stray")


@dataclass(frozen=True, eq=False)
class Running(FrameOp):
    """count, sum q, sum q**2, least and largest of each pixel over the frames of a batch, on top of the state so far; q = energy / unit of float frames.

    fields: classes of events, 0 = none; squares, extremes: with running_sum2, running_extreme; good (*frame) bool, True = use, None = all; unit: the
            step in which float frames are summed, a power of two [unit of energy], whole numbers are themselves; of: the input with the frames
    in:  energy (n, *frame) u8, u16, i16, u32, i32 or f32, NaN and Inf are not used; pixel_status (n, *frame) u8, used where 0
         event_class (n,) u8 with classes > 0; frame_status (n,) u32; live (1,) i32
         running_count ([classes,] *frame) u32: how often the pixel was used
         running_sum ([classes,] *frame) i64 [unit]
         running_sum2 (1 or 2, [classes,] *frame) u64 [unit**2]: of frames of 8 and 16 bits; of others of the low and of the high 32 bits of q**2
         running_extreme (2, [classes,] *frame) of the frames' dtype: least and largest value; starts as the type's ends, of f32 as Inf and -Inf
         running_stray (1,) u32, with classes > 0: frames so far whose class does not exist: they enter nothing else
    out: running_count, running_sum, running_sum2, running_extreme, running_stray like the inputs: the state with this batch in it
         frame_status (n,) u32, when given: BEYOND_UNIT for a frame with a pixel of more than 2147483520 units, which was taken as that many
    exact: integers: no order and no batching changes a bit, up to 2**31 - 1 frames; extremes are values as they are, -0.0 as 0.0
    source: the sums of the sample mean and variance; start(), merge(), mean(), variance() make, join and read a state, on the host
    """

    name: ClassVar[str] = "features.running"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "running_count", "running_sum", "running_sum2?", "running_extreme?", "running_stray?", "event_class?",
                                         "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = HELD
    state: ClassVar[tuple[str, ...]] = HELD

    classes: int = 0
    squares: bool = True
    extremes: bool = True
    good: np.ndarray | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.number("classes", whole=True) <= 256:
            raise ValueError(f"{self.name}: classes must be 0 to 256, got {self.classes}")
        self.own_unit()
        self.own_good()

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    # ------------------------------------------------------------------ the state
    def held(self, frame: tuple[int, ...], dtype: Any) -> tuple[Spec, ...]:
        """The arrays of the state for frames of this shape and dtype."""
        kind = np.dtype(dtype)
        if kind.name not in self.dtypes:
            raise TypeError(f"{self.name}: frames must be {' or '.join(self.dtypes)}, got {kind}")
        at = ((self.classes,) if self.classes else ()) + tuple(frame)
        specs = [Spec("running_count", at, np.dtype(np.uint32)), Spec("running_sum", at, np.dtype(np.int64))]
        specs += [Spec("running_sum2", (1 if kind.itemsize < 4 else 2, *at), np.dtype(np.uint64))] if self.squares else []
        specs += [Spec("running_extreme", (2, *at), kind)] if self.extremes else []
        return (*specs, *([Spec("running_stray", (1,), np.dtype(np.uint32))] if self.classes else []))

    def start(self, frame: tuple[int, ...], dtype: Any = np.float32) -> dict[str, np.ndarray]:
        """The state before the first frame."""
        state = {s.name: np.zeros(s.shape, s.dtype) for s in self.held(frame, dtype)}
        if self.extremes:
            kind = np.dtype(dtype)
            ends = (np.inf, -np.inf) if kind.kind == "f" else (np.iinfo(kind).max, np.iinfo(kind).min)
            state["running_extreme"][0], state["running_extreme"][1] = ends
        return state

    def merge(self, *states: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The state of all frames of these states, whoever took them in, in whatever order."""
        joined = {k: np.array(v) for k, v in states[0].items()}
        for state in states[1:]:
            if {k: (v.shape, v.dtype) for k, v in state.items()} != {k: (v.shape, v.dtype) for k, v in joined.items()}:
                raise ValueError(f"{self.name}: states of other frames, classes or fields cannot be merged")
            for key, value in state.items():
                if key == "running_extreme":
                    joined[key] = np.stack([np.minimum(joined[key][0], value[0]), np.maximum(joined[key][1], value[1])])
                else:
                    joined[key] += value
        return joined

    def scale(self, state: Mapping[str, np.ndarray]) -> float:
        """What a step of the sums is worth: unit for float frames, 1 for whole numbers. The extremes tell which they were."""
        if "running_extreme" not in state:
            raise ValueError(f"{self.name}: a state without extremes does not tell the frames' dtype: give scale={self.unit} for f32, 1 for whole numbers")
        return self.unit if state["running_extreme"].dtype.kind == "f" else 1.0

    def mean(self, state: Mapping[str, np.ndarray], scale: float | None = None) -> np.ndarray:
        """Of each pixel, f64, NaN where it was never used. scale: needed for a state without extremes."""
        step = self.scale(state) if scale is None else scale
        with np.errstate(invalid="ignore"):
            return state["running_sum"] / np.where(state["running_count"], state["running_count"], np.nan) * step

    def variance(self, state: Mapping[str, np.ndarray], ddof: int = 0, scale: float | None = None) -> np.ndarray:
        """Of each pixel, f64, NaN where it was used ddof times or less: sum (q - q0)**2 - count (mean - q0)**2, q0 the mean rounded down.

        In integers modulo 2**64, so that nothing cancels; only where that sum does not fit, by f64 sums of squares."""
        count, total = state["running_count"].astype(np.int64), state["running_sum"]
        low, high = state["running_sum2"][0], state["running_sum2"][1] if len(state["running_sum2"]) == 2 else np.uint64(0)
        near = total // np.maximum(count, 1)
        rest = (total - near * count).astype(np.float64)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            n, signed = count.astype(np.float64), (low + (high << np.uint64(32))).view(np.int64)
            spread = (signed - 2 * near * total + near * near * count).view(np.uint64).astype(np.float64)
            rough = low.astype(np.float64) + np.asarray(high, np.float64) * 2.0**32 - total.astype(np.float64) ** 2 / n
            wide = rough > 2.0**62
            left = np.where(wide, rough, spread - rest * rest / n) * (self.scale(state) if scale is None else scale) ** 2
            return np.where(count > ddof, left / (n - ddof), np.nan)

    # ------------------------------------------------------------------ the run
    def outputs(self, x: Any, *given: Any) -> tuple[Spec, ...]:
        """See Op."""
        *state, event_class, pixel_status, frame_status, live = given
        shape = self.require_frames(x, self.good)
        n, *frame = shape
        if 0 in frame:
            raise ValueError(f"{self.name}: {self.of} must be (n, *frame) with pixels, got {x.dtype} {tuple(x.shape)}")
        wanted = {s.name: s for s in self.held(tuple(frame), x.dtype)}
        for name, a in zip(HELD, state, strict=True):
            if name in wanted:
                self.require(name, a, wanted[name].dtype, wanted[name].shape)
            elif a is not None:
                raise ValueError(f"{self.name}: {name} was given, but not asked for (squares={self.squares}, extremes={self.extremes}, classes={self.classes})")
        if self.classes:
            self.require("event_class", event_class, np.uint8, (n,))
        elif event_class is not None:
            raise ValueError(f"{self.name}: event_class was given, but not asked for (classes=0)")
        self.require_marks(shape, pixel_status=pixel_status)
        return (*wanted.values(), *self.frame_outputs(n, frame_status, live))

    def numpy(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        given, out = given_and_out[:9], plan.every_output(given_and_out[9:])
        (*state, event_class, pixel_status, frame_status, live), (count, total, total2, extreme, stray, new_status) = given, out
        for new, old in zip(out[:5], state, strict=True):
            if new is not None:
                new[...] = old
        for f in range(live_rows(x, live)):
            q, beyond = whole(x[f], self.unit)
            use = measured(x[f], plan.constants.get("good"), None if pixel_status is None else pixel_status[f])
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if (beyond & use).any() else 0)
            if self.classes and event_class[f] >= self.classes:
                stray[0] += 1
                continue
            c = event_class[f] if self.classes else ...
            q = np.where(use, q, 0)
            count[c] += use
            total[c] += q
            if total2 is not None:
                square = q.view(np.uint64) * q.view(np.uint64)      # of a negative one, too: modulo 2**64
                for row, part in zip(total2, [square] if len(total2) == 1 else [square & np.uint64(2**32 - 1), square >> np.uint64(32)], strict=True):
                    row[c] += part
            if extreme is not None:
                value = x[f] + x.dtype.type(0)      # no -0.0
                extreme[0][c] = np.where(use, np.minimum(value, extreme[0][c]), extreme[0][c])
                extreme[1][c] = np.where(use, np.maximum(value, extreme[1][c]), extreme[1][c])

    def numba(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        given, out = given_and_out[:9], plan.every_output(given_and_out[9:])
        (*state, event_class, pixel_status, frame_status, live), (*new, new_status) = given, out
        n, classes, npix = live_rows(x, live), max(self.classes, 1), math.prod(x.shape[1:])
        where = np.minimum(event_class[:n].astype(np.int64), self.classes) if self.classes else np.zeros(n, np.int64)
        order, first = np.argsort(where, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(where, minlength=classes)[:classes])])
        if self.classes:
            new[4][0] = state[4][0] + np.uint32(n - first[-1])
        flat = [None if a is None else a.reshape(-1, classes, npix) for a in (*state[:4], *new[:4])]
        good, frames = plan.constants.get("good"), x.reshape(len(x), npix)
        status = None if pixel_status is None else pixel_status.reshape(len(x), npix)
        good = None if good is None else good.reshape(npix)
        beyond = np.zeros(len(x), np.uint8)
        per_unit = np.float32(1 / self.unit) if x.dtype.kind == "f" else None
        run_tiles(frames, order, first, good, status, *flat, per_unit, np.float32(LARGEST), beyond)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(beyond[:n], np.uint32(Frame.BEYOND_UNIT), np.uint32(0))

    def device(self, plan: Plan, x: Any, *given_and_out: Any) -> None:
        given, out = given_and_out[:9], plan.every_output(given_and_out[9:])
        (*state, event_class, pixel_status, frame_status, live), (*new, new_status) = given, out
        n, npix = x.shape[0], math.prod(x.shape[1:])
        plan.start_status(frame_status, new_status, live)
        some = state[0]     # stands in where the kernel never looks
        arrays = [x if n else some, plan.constants.get("good"), pixel_status if n else None, event_class if n else None, live, *state, *new, new_status]
        plan.launch(
            "features/running.cl", "running", (frame_grid(n, npix, 1)[0], max(self.classes, 1)), 128,
            (*(some if a is None else a for a in arrays), np.uint32(n), np.uint32(npix)),
            VECTOR=1, WORD=word(x), FLOATS=x.dtype.kind == "f", NARROW=x.dtype.itemsize < 4, CLASSES=self.classes, SQUARES=self.squares,
            EXTREMES=self.extremes, GOOD=self.good is not None, STATUS=pixel_status is not None, FLAGS=new_status is not None, LIVE=live is not None,
            PER_UNIT=bits_define(1 / self.unit), BLOCKS_AT_LEAST=2,
        )
