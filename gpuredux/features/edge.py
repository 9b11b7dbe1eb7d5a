"""Where a trace has its edge: the time tool's answer, by a filter of finite length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Plan, Spec, live_rows
from .traces import TraceOp

COLUMNS = {"position": np.float64, "height": np.float32, "fwhm": np.float32, "next": np.float32}


@dataclass(frozen=True, eq=False)
class Edge(TraceOp):
    """r[i] = polarity * sum over k of weights[k] * trace[i + k]; position, height = vertex of the parabola through the largest r and its neighbours.

    fields: weights (taps,) f64: the filter as np.correlate takes it, turned round for those who convolve; polarity: see TraceOp
    in:  trace (n, channels, samples) u16, i16 or f32, for a time tool over or less its reference; live (1,) i32
    out: edge_position f64 [samples]: the middle of the filter there: i + (taps - 1) / 2, and the part of a sample; edge_height f32; edge_fwhm f32 [samples]:
         between the half heights of r, interpolated; edge_next f32: the next highest local maximum of r; each (n, channels).
         NaN: all where no r is a number; the fwhm where half the height is not reached on both sides, or r is not above 0; next where there is none
         Of equal r the first counts. At an end, and beside a NaN, there is no parabola: the sample itself
    exact: bit-identical on every backend: f64 sums in the order of k, and the rest in the order written; columns of f32 are rounded once
    source: M. Harmand et al., Nature Photonics 7 (2013) 215: single-shot arrival times by the edge of a filtered projection
    """

    name: ClassVar[str] = "features.edge"
    inputs: ClassVar[tuple[str, ...]] = ("trace", "live?")
    writes: ClassVar[tuple[str, ...]] = tuple(f"edge_{k}" for k in COLUMNS)

    weights: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        held = self.own("weights", np.float64)
        if held.ndim != 1 or not 1 <= held.size <= 4096 or not np.isfinite(held).all() or not (np.abs(held) <= 1e100).all() or not held.any():
            raise ValueError(f"{self.name}: weights must be 1 to 4096 finite numbers, not all 0, got {held.dtype} {held.shape}")

    @classmethod
    def step(cls, length: int, **fields: Any) -> Edge:
        """The filter for a step up: the mean of `length` samples less the mean of as many before."""
        if length < 1:
            raise ValueError(f"{cls.name}: length must be 1 or more, got {length}")
        return cls(np.repeat([-1 / length, 1 / length], length), **fields)

    def constants(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights * self.polarity}

    def outputs(self, trace: Any, live: Any) -> tuple[Spec, ...]:
        n, channels, samples = self.require_traces(trace, live)
        if samples < self.weights.size:
            raise ValueError(f"{self.name}: {self.of} must have the {self.weights.size} samples of the filter, got {trace.dtype} {(n, channels, samples)}")
        return tuple(Spec(f"edge_{k}", (n, channels), np.dtype(d)) for k, d in COLUMNS.items())

    def scratch(self, trace: Any, live: Any) -> tuple[Spec, ...]:
        n, channels, samples = trace.shape
        return (Spec("filtered", (n, channels, samples - self.weights.size + 1), np.dtype(np.float64)),)

    def numpy(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        weights = plan.constants["weights"]
        for f in range(live_rows(trace, live)):
            for c in range(trace.shape[1]):
                x = trace[f, c].astype(np.float64)
                r = np.zeros(x.size - weights.size + 1)
                with np.errstate(invalid="ignore"):
                    for k, weight in enumerate(weights):
                        r += weight * x[k : k + r.size]
                for column, value in zip(out, edge_of(r, weights.size), strict=True):
                    column[f, c] = value

    def numba(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        given = trace[: live_rows(trace, live)]
        share(find_edges, len(given) * given.shape[1], given, plan.constants["weights"], plan.scratch["filtered"], *out)

    def device(self, plan: Plan, trace: Any, live: Any, *out: Any) -> None:
        n, channels, _ = trace.shape
        filtered, weights = plan.scratch["filtered"], plan.constants["weights"]
        defines = self.trace_defines(trace, live)
        sizes = tuple(map(np.uint32, (n, channels, filtered.shape[2], weights.shape[0])))
        tail = out[1] if live is None else live
        tiles = -(-filtered.shape[2] // 128)
        plan.launch("features/edge.cl", "filter_traces", (n * channels * tiles,), 128, (trace, weights, tail, filtered, *sizes), **defines)
        plan.launch("features/edge.cl", "find_edges", (n * channels,), 128, (filtered, tail, *out, *sizes), FIND=True, LIVE=live is not None)


def edge_of(r: np.ndarray, taps: int) -> tuple[float, ...]:
    """position, height, fwhm, next."""
    valid = np.isfinite(r)
    if not valid.any():
        return (math.nan,) * 4
    i = int(np.argmax(np.where(valid, r, -np.inf)))
    inner = np.arange(1, r.size - 1)
    with np.errstate(invalid="ignore"):
        peak = inner[valid[inner] & (r[inner] > r[inner - 1]) & (r[inner] >= r[inner + 1]) & (inner != i)]
    following = r[peak].max() + 0.0 if peak.size else math.nan
    shift, height = 0.0, float(r[i]) + 0.0
    if 0 < i < r.size - 1 and valid[i - 1] and valid[i + 1]:
        bend = r[i - 1] - 2.0 * r[i] + r[i + 1]
        if bend != 0:
            shift = 0.5 * (r[i - 1] - r[i + 1]) / bend
            height = r[i] - 0.25 * (r[i - 1] - r[i + 1]) * shift + 0.0
    fwhm = math.nan
    if r[i] > 0:
        level = 0.5 * r[i]
        with np.errstate(invalid="ignore"):
            below = np.flatnonzero(~(r >= level))
        left, right = below[below < i], below[below > i]
        if left.size and right.size and valid[left[-1]] and valid[right[0]]:
            a, b = int(left[-1]), int(right[0])
            fwhm = (b - 1) + (r[b - 1] - level) / (r[b - 1] - r[b]) - (a + (level - r[a]) / (r[a + 1] - r[a]))
    return i + shift + 0.5 * (taps - 1), np.float32(height), np.float32(fwhm), np.float32(following)


@njit(cache=True, nogil=True)
def find_edges(begin, end, trace, weights, filtered, position, height, fwhm, following):
    channels = trace.shape[1]
    for task in range(begin, end):
        f, c = task // channels, task % channels
        r, taps, wide = filtered[f, c], len(weights), np.empty(512 + len(weights))
        for first in range(0, len(r), 512):     # pieces that stay in the first cache
            size = min(512, len(r) - first)
            for i in range(size + taps - 1):
                wide[i] = np.float64(trace[f, c, first + i])
            piece = r[first : first + size]
            piece[:] = 0
            for k in range(taps):
                for i in range(size):
                    piece[i] += weights[k] * wide[i + k]
        position[f, c], height[f, c], fwhm[f, c], following[f, c] = edge_in(r, taps)


@njit(cache=True, nogil=True)
def edge_in(r, taps):
    """edge_of, compiled."""
    nan, at, second = np.float32(np.nan), -1, -np.inf
    for i in range(len(r)):
        if abs(r[i]) < np.inf and (at < 0 or r[i] > r[at]):
            at = i
    if at < 0:
        return np.nan, nan, nan, nan
    some = False
    for i in range(1, len(r) - 1):
        if abs(r[i]) < np.inf and r[i] > r[i - 1] and r[i] >= r[i + 1] and i != at:
            second, some = max(second, r[i]), True
    shift, height, fwhm = 0.0, r[at] + 0.0, np.nan
    if 0 < at < len(r) - 1:
        a, b, c = r[at - 1], r[at], r[at + 1]
        if abs(a) < np.inf and abs(c) < np.inf:
            bend = a - 2.0 * b + c
            if bend != 0:
                shift = 0.5 * (a - c) / bend
                height = b - 0.25 * (a - c) * shift + 0.0
    if r[at] > 0:
        level, left, right = 0.5 * r[at], at, at
        while left >= 0 and r[left] >= level:
            left -= 1
        while right < len(r) and r[right] >= level:
            right += 1
        if left >= 0 and right < len(r) and abs(r[max(left, 0)]) < np.inf and abs(r[min(right, len(r) - 1)]) < np.inf:
            up = left + (level - r[left]) / (r[left + 1] - r[left])
            fwhm = (right - 1) + (r[right - 1] - level) / (r[right - 1] - r[right]) - up
    return at + shift + 0.5 * (taps - 1), np.float32(height), np.float32(fwhm), np.float32(second + 0.0) if some else nan
