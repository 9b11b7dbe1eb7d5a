"""The baseline of each trace, taken off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Plan, Spec, live_rows
from .traces import TraceOp, in_lanes
from .traces_numba import NAN, halved

LANES = 128


@dataclass(frozen=True, eq=False)
class Baseline(TraceOp):
    """trace - baseline, baseline = mean or median of the samples start to stop - 1 of each trace; rms = standard deviation of these samples.

    fields: start, stop: the window; method: "mean" or "median"
    in:  trace (n, channels, samples) u16, i16 or f32; NaN and Inf do not enter the baseline; live (1,) i32
    out: trace (n, channels, samples) f32, rounded once from the float32 baseline; baseline, baseline_rms (n, channels) f32: NaN, and all of the trace,
         where the window holds no measurement
    exact: bit-identical on every backend: f64 sums in a stated order (128 lanes, then by halves), exact for whole numbers; the median of an even number is
         the mean of the two in the middle
    source: the definitions of mean, median and standard deviation (of a population)
    """

    name: ClassVar[str] = "features.baseline"
    inputs: ClassVar[tuple[str, ...]] = ("trace", "live?")
    writes: ClassVar[tuple[str, ...]] = ("trace", "baseline", "baseline_rms")

    start: int = 0
    stop: int = 64
    method: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("method", "mean", "median")
        self.whole_field("start", 0)
        self.whole_field("stop", self.start + 1)
        if self.polarity != 1:
            raise ValueError(f"{self.name}: polarity is for what follows: a baseline has none")

    def outputs(self, trace: Any, live: Any) -> tuple[Spec, ...]:
        n, channels, samples = self.require_traces(trace, live)
        if self.stop > samples:
            raise ValueError(f"{self.name}: {self.of} must have the {self.stop} samples up to stop, got {trace.dtype} {(n, channels, samples)}")
        f32 = np.dtype(np.float32)
        return Spec("trace", (n, channels, samples), f32), Spec("baseline", (n, channels), f32), Spec("baseline_rms", (n, channels), f32)

    def numpy(self, plan: Plan, trace: Any, live: Any, out: Any, baseline: Any, rms: Any) -> None:
        for f in range(live_rows(trace, live)):
            for c in range(trace.shape[1]):
                window = trace[f, c, self.start : self.stop].astype(np.float64)
                use = np.isfinite(window)
                baseline[f, c] = rms[f, c] = np.nan
                if use.any():
                    mean = in_lanes(np.where(use, window, 0), LANES) / use.sum()
                    apart = np.where(use, window - mean, 0)
                    rms[f, c] = np.sqrt(in_lanes(apart * apart, LANES) / use.sum())
                    ordered = np.sort(window[use] + 0.0)
                    middle = (ordered[(use.sum() - 1) // 2] + ordered[use.sum() // 2]) * 0.5
                    baseline[f, c] = np.float32(mean if self.method == "mean" else middle)
                lowered = trace[f, c].astype(np.float32) - baseline[f, c]
                out[f, c] = np.where(np.isnan(lowered), np.float32(np.nan), lowered)

    def numba(self, plan: Plan, trace: Any, live: Any, out: Any, baseline: Any, rms: Any) -> None:
        given = trace[: live_rows(trace, live)]
        share(lower, len(given) * given.shape[1], given, self.start, self.stop, self.method == "median", out, baseline, rms)

    def device(self, plan: Plan, trace: Any, live: Any, out: Any, baseline: Any, rms: Any) -> None:
        n, channels, samples = trace.shape
        plan.launch(
            "features/baseline.cl", "lower", (n * channels,), 128,
            (trace, rms if live is None else live, out, baseline, rms, *map(np.uint32, (n, channels, samples, self.start, self.stop))),
            MEDIAN=self.method == "median", **self.trace_defines(trace, live))


@njit(cache=True, nogil=True)
def lower(begin, end, trace, start, stop, median, out, baseline, rms):
    _, channels, samples = trace.shape
    for task in range(begin, end):
        f, c = task // channels, task % channels
        lanes, kept, count = np.zeros(LANES), np.empty(stop - start), 0
        for i in range(start, stop):
            x = np.float64(trace[f, c, i])
            if abs(x) < np.inf:
                lanes[(i - start) % LANES] += x
                kept[count] = x + 0.0
                count += 1
        middle, spread = NAN, NAN
        if count:
            mean = halved(lanes) / count
            lanes[:] = 0
            for i in range(start, stop):
                x = np.float64(trace[f, c, i])
                if abs(x) < np.inf:
                    lanes[(i - start) % LANES] += (x - mean) * (x - mean)
            spread = np.float32(np.sqrt(halved(lanes) / count))
            middle = np.float32(mean)
            if median:
                ordered = np.sort(kept[:count])
                middle = np.float32((ordered[(count - 1) // 2] + ordered[count // 2]) * 0.5)
        baseline[f, c], rms[f, c] = middle, spread
        for i in range(samples):
            lowered = np.float32(trace[f, c, i]) - middle
            out[f, c, i] = lowered if lowered == lowered else NAN
