"""Zero suppression of waveforms: where each trace is above a threshold, with samples before and after, and what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Plan, Spec, live_rows
from .traces import TraceOp, in_lanes
from .traces_numba import halved

LANES = 32
COLUMNS = {"start": np.int32, "length": np.int32, "at": np.int32, "height": np.float32, "integral": np.float32}


@dataclass(frozen=True, eq=False)
class ZeroSuppress(TraceOp):
    """pulses: runs of samples that lie `before` or fewer before, or `after` or fewer behind, a sample with s = polarity * trace > threshold.

    fields: threshold (rounded to float32); before, after [samples]: runs that meet or touch are one; cap: pulses listed of a trace; polarity: see TraceOp
    in:  trace (n, channels, samples) u16, i16 or f32; NaN is above nothing, and +-Inf neither; live (1,) i32
    out: pulse_start, pulse_length i32; pulse_at i32: the first of its highest samples; pulse_height f32: s there; pulse_integral f32: the sum of its s, of
         measured ones; each (n, channels, cap), in order of time, 0 behind the last; pulse_count (n, channels) i32: more than cap if some were left out
    exact: bit-identical on every backend; integrals are f64 sums in a stated order (32 lanes, then by halves), exact for whole numbers, rounded once
    source: sparse windows as fast digitizers report them (threshold, samples before and after)
    """

    name: ClassVar[str] = "features.zero_suppress"
    inputs: ClassVar[tuple[str, ...]] = ("trace", "live?")
    writes: ClassVar[tuple[str, ...]] = (*(f"pulse_{k}" for k in COLUMNS), "pulse_count")

    threshold: float
    before: int = 8
    after: int = 8
    cap: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.finite_field("threshold")
        self.whole_field("before", 0)
        self.whole_field("after", 0)
        self.whole_field("cap", 1)

    def outputs(self, trace: Any, live: Any) -> tuple[Spec, ...]:
        n, channels, _ = self.require_traces(trace, live)
        columns = (Spec(f"pulse_{k}", (n, channels, self.cap), np.dtype(d)) for k, d in COLUMNS.items())
        return (*columns, Spec("pulse_count", (n, channels), np.dtype(np.int32)))

    def numpy(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        *columns, count = out
        for f in range(live_rows(trace, live)):
            for c in range(trace.shape[1]):
                s = trace[f, c].astype(np.float32) * np.float32(self.polarity)
                measured = np.isfinite(s)
                covered = np.zeros(s.size, bool)
                for i in np.flatnonzero(measured & (s > np.float32(self.threshold))):
                    covered[max(i - self.before, 0) : i + self.after + 1] = True
                edge = np.diff(covered.astype(np.int8), prepend=0, append=0)
                starts, ends = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
                count[f, c] = len(starts)
                for column in columns:
                    column[f, c] = 0
                for k, (start, end) in enumerate(zip(starts[: self.cap], ends, strict=False)):
                    own, use = s[start:end], measured[start:end]
                    at = int(np.argmax(np.where(use, own, -np.inf)))
                    total = in_lanes(np.where(use, own, 0).astype(np.float64), LANES)
                    for column, value in zip(columns, (start, end - start, start + at, own[at] + np.float32(0), np.float32(total)), strict=True):
                        column[f, c, k] = value

    def numba(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        given = trace[: live_rows(trace, live)]
        share(find, len(given) * given.shape[1], given, np.float32(self.threshold), np.float32(self.polarity), self.before, self.after, *out)

    def device(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        n, channels, samples = trace.shape
        words = -(-samples // 32)       # their bits, twice, in whole KiB: each size is a kernel to compile
        sizes = (n, channels, samples, min(self.before, samples), min(self.after, samples), self.cap)
        plan.launch(
            "features/zero_suppress.cl", "find_pulses", (n * channels,), 128,
            (trace, out[-1] if live is None else live, *out, np.float32(self.threshold), np.float32(self.polarity), *map(np.uint32, sizes)),
            shared=-(-words * 8 // 1024) * 1024, **self.trace_defines(trace, live))


@njit(cache=True, nogil=True)
def find(first, last, trace, threshold, sign, before, after, starts, lengths, ats, heights, integrals, counts):
    _, channels, samples = trace.shape
    for task in range(first, last):
        f, c = task // channels, task % channels
        count, begin, end = 0, 0, -1        # end: one behind the last covered sample of the open run; -1: none is open
        for k in range(starts.shape[2]):
            starts[f, c, k], lengths[f, c, k], ats[f, c, k], heights[f, c, k], integrals[f, c, k] = 0, 0, 0, 0, 0
        for i in range(samples + 1):
            lit = i < samples and np.float32(trace[f, c, min(i, samples - 1)]) * sign > threshold
            if lit:
                lit = abs(np.float32(trace[f, c, i])) < np.float32(np.inf)
            if end >= 0 and ((lit and i - before > end) or i == samples):
                if count < starts.shape[2]:
                    starts[f, c, count], lengths[f, c, count] = begin, end - begin
                    measure(trace[f, c, begin:end], sign, begin, f, c, count, ats, heights, integrals)
                count += 1
                end = -1
            if lit:
                begin = max(i - before, 0) if end < 0 else begin
                end = min(i + after + 1, samples)
        counts[f, c] = count


@njit(cache=True, nogil=True)
def measure(own, sign, begin, f, c, k, ats, heights, integrals):
    """Where a run is highest, how high, and its sum."""
    lanes, at, high = np.zeros(LANES), 0, np.float32(-np.inf)
    for i in range(len(own)):
        s = np.float32(own[i]) * sign
        if abs(s) < np.float32(np.inf):
            lanes[i % LANES] += s
            if s > high:
                at, high = i, s
    ats[f, c, k], heights[f, c, k], integrals[f, c, k] = begin + at, high + np.float32(0), np.float32(halved(lanes))
