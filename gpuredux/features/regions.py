"""Regions of a frame, packed as runs along rows: rectangles, polygons and masks alike; and windows around each frame's peaks. On the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_SIDE = 65535       # rows and columns of a panel: kernels multiply offsets with 32-bit values
PART = 4096             # pixels that one warp takes: sums of offset * value over them stay within 64 bits
MOST_HALF = 31          # half a window's side: a window is one part
FAR = 1_000_000         # a peak further away than this lies in no panel, and neither does NaN


class Regions:
    """regions of frames ([panels,] rows, cols) as spans (k, 4) i32: region, row (of the panels one below the other), col, length; sorted.

    They may overlap; each has one pixel or more. Joined by +: the second one's regions are numbered behind the first one's."""

    def __init__(self, frame: Sequence[int], spans: Any) -> None:
        self.frame = checked_frame(frame)
        given = np.asarray(spans)
        if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1:] != (4,) or not len(given):
            raise ValueError(f"Regions: spans must be whole numbers (k, 4): region, row, col, length, got {given.dtype} {given.shape}")
        wide = given.astype(np.int64)
        wide = wide[np.lexsort((wide[:, 2], wide[:, 1], wide[:, 0]))]
        region, row, col, length = wide.T
        (panels, rows, cols), end = in_panels(self.frame), col + length
        wrong = np.flatnonzero((row < 0) | (row >= panels * rows) | (col < 0) | (length < 1) | (end > cols))
        if wrong.size:
            raise ValueError(f"Regions: region {region[wrong[0]]}: the run (row, col, length) {tuple(map(int, wide[wrong[0], 1:]))} is not in {self.frame}")
        meet = np.flatnonzero((region[1:] == region[:-1]) & (row[1:] == row[:-1]) & (col[1:] < end[:-1]))
        if meet.size:
            raise ValueError(f"Regions: region {region[meet[0]]} holds pixel {tuple(map(int, wide[meet[0] + 1, 1:3]))} twice")
        empty = np.setdiff1d(np.arange(region[-1] + 1), region)
        if region[0] < 0 or empty.size:
            raise ValueError(f"Regions: regions must be numbered from 0 without gaps, got {int(region[0])}, and none of number {empty[:1]}")
        self.spans = wide.astype(np.int32)
        self.spans.setflags(write=False)

    def __len__(self) -> int:
        return int(self.spans[-1, 0]) + 1

    def __add__(self, other: Regions) -> Regions:
        if self.frame != other.frame:
            raise ValueError(f"Regions: of frames {self.frame} and {other.frame}")
        return Regions(self.frame, np.concatenate([self.spans, other.spans + np.array([len(self), 0, 0, 0])]))

    @classmethod
    def rectangles(cls, frame: Sequence[int], rectangles: Any) -> Regions:
        """One region a row of (k, 5): panel, row, col, rows, cols; within the panel."""
        shape = checked_frame(frame)
        table = checked_rectangles("Regions", rectangles)
        panels, rows, cols = in_panels(shape)
        inside = (table[:, :3] >= 0).all(1) & (table[:, 0] < panels) & (table[:, 1] + table[:, 3] <= rows) & (table[:, 2] + table[:, 4] <= cols)
        if not inside.all():
            k = int(np.flatnonzero(~inside)[0])
            raise ValueError(f"Regions: rectangle {k}, {tuple(map(int, table[k]))}, is not within {shape}")
        region = np.repeat(np.arange(len(table)), table[:, 3])
        down = np.arange(len(region)) - np.repeat(np.cumsum(table[:, 3]) - table[:, 3], table[:, 3])
        return cls(shape, np.stack([region, table[region, 0] * rows + table[region, 1] + down, table[region, 2], table[region, 4]], 1))

    @classmethod
    def masks(cls, frame: Sequence[int], masks: Sequence[Any]) -> Regions:
        """One region a mask (*frame) of bool."""
        shape = checked_frame(frame)
        panels, rows, cols = in_panels(shape)
        parts = []
        for k, given in enumerate(masks):
            mask = np.asarray(given)
            if mask.dtype != bool or mask.shape != shape or not mask.any():
                raise ValueError(f"Regions: mask {k} must be bool {shape} and hold a pixel, got {mask.dtype} {mask.shape} with {np.count_nonzero(mask)}")
            edge = np.diff(mask.reshape(panels * rows, cols).astype(np.int8), axis=1, prepend=0, append=0)
            (row, start), (_, end) = np.nonzero(edge == 1), np.nonzero(edge == -1)
            parts.append(np.stack([np.full(len(row), k), row, start, end - start], 1))
        return cls(shape, np.concatenate(parts) if parts else np.zeros((0, 4), int))

    @classmethod
    def polygons(cls, frame: Sequence[int], polygons: Sequence[tuple[int, Any]]) -> Regions:
        """One region for each (panel, vertices (k, 2): row, col; whole numbers are the centres of pixels): the pixels whose centre is inside by the
        even-odd rule. A centre on an edge belongs to the side of larger rows and columns, so that polygons side by side share no pixel."""
        shape = checked_frame(frame)
        panels, rows, cols = in_panels(shape)
        masks = np.zeros((len(polygons), panels, rows, cols), bool)
        for k, (panel, vertices) in enumerate(polygons):
            corner = np.asarray(vertices, np.float64)
            if not 0 <= panel < panels or corner.ndim != 2 or corner.shape[1:] != (2,) or len(corner) < 3 or not np.isfinite(corner).all():
                raise ValueError(f"Regions: polygon {k} must be (panel, (3 or more, 2)), finite and in one of {panels} panels, got {panel}, {corner.shape}")
            masks[k, panel] = inside_polygon(corner, rows, cols)
        return cls.masks(shape, masks.reshape(len(polygons), *shape))

    def tables(self) -> dict[str, np.ndarray]:
        """What kernels read. span (k, 4) i32: first pixel, length, row and col from the region's corner; part (p, 4) i32: region, first span, end, 0: PART
        pixels or fewer; box (regions, 4) i32: row and col of its corner, first part, end."""
        _, rows, cols = in_panels(self.frame)
        region, row, col, length = cut(self.spans.astype(np.int64)).T
        box = np.stack([least(region, row % rows, len(self)), least(region, col, len(self))], 1)
        span = np.stack([row * cols + col, length, row % rows - box[region, 0], col - box[region, 1]], 1)
        first, held, last = [0], 0, -1
        for k, (r, n) in enumerate(zip(region.tolist(), length.tolist(), strict=True)):
            if k and (r != last or held + n > PART):
                first.append(k)
                held = 0
            held, last = held + n, r
        starts = np.array(first)
        part = np.stack([region[starts], starts, [*first[1:], len(span)], np.zeros(len(starts), int)], 1)
        parts = np.searchsorted(part[:, 0], np.arange(len(self) + 1))
        made = {"span": span, "part": part, "box": np.concatenate([box, parts[:-1, None], parts[1:, None]], 1)}
        return {k: v.astype(np.int32) for k, v in made.items()}


def cut(spans: np.ndarray) -> np.ndarray:
    """The same with runs of PART pixels at most."""
    pieces = -(-spans[:, 3] // PART)
    which = np.repeat(np.arange(len(spans)), pieces)
    at = (np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * PART
    region, row, col, length = spans[which].T
    return np.stack([region, row, col + at, np.minimum(length - at, PART)], 1)


def least(region: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    """The smallest value of each region."""
    return np.minimum.reduceat(value, np.searchsorted(region, np.arange(count)))


def lanes(lengths: np.ndarray) -> int:
    """How many of a warp's 32 lanes should walk one run, so that few stand idle."""
    return min((32, 16, 8), key=lambda wide: int((-(-lengths // wide) * wide).sum()))


def inside_polygon(corner: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """(rows, cols) bool: an odd number of edges lies at larger columns."""
    row, col = np.arange(rows, dtype=np.float64)[:, None], np.arange(cols, dtype=np.float64)
    odd = np.zeros((rows, cols), bool)
    for (r0, c0), (r1, c1) in zip(corner, np.roll(corner, -1, 0), strict=True):
        if r0 != r1:
            odd ^= ((r0 <= row) != (r1 <= row)) & (col < c0 + (row - r0) * ((c1 - c0) / (r1 - r0)))
    return odd


def checked_frame(frame: Sequence[int]) -> tuple[int, ...]:
    """([panels,] rows, cols). Raises ValueError."""
    shape = tuple(int(k) for k in frame)
    if len(shape) < 2 or min(shape) < 1 or max(shape[-2:]) > MOST_SIDE or math.prod(shape) >= 2**31:
        raise ValueError(f"Regions: a frame must be ([panels,] rows, cols), sides up to {MOST_SIDE}, got {shape}")
    return shape


def in_panels(frame: Sequence[int]) -> tuple[int, int, int]:
    """panels, rows, cols."""
    return math.prod(frame[:-2]), frame[-2], frame[-1]


def checked_rectangles(who: str, rectangles: Any) -> np.ndarray:
    """(k, 5) i64: panel, row, col, rows, cols; rows and cols 1 or more. Raises ValueError."""
    table = np.asarray(rectangles)
    if table.dtype.kind not in "iu" or table.ndim != 2 or table.shape[1:] != (5,) or not len(table):
        raise ValueError(f"{who}: rectangles must be whole numbers (k, 5): panel, row, col, rows, cols, got {table.dtype} {table.shape}")
    table = table.astype(np.int64)
    wrong = np.flatnonzero((table[:, 3:] < 1).any(1) | (np.abs(table) > FAR).any(1) | (table[:, 3:] > MOST_SIDE).any(1))
    if wrong.size:
        raise ValueError(f"{who}: rectangle {wrong[0]} must have 1 to {MOST_SIDE} rows and cols, got {tuple(map(int, table[wrong[0]]))}")
    return table


def corners(peak: np.ndarray, half: int) -> np.ndarray:
    """The first rows or columns (i64) of windows around peaks; far outside for what is no place."""
    place = peak.astype(np.float64)
    near = np.abs(place) <= FAR     # False for NaN
    made: np.ndarray = np.where(near, np.rint(np.where(near, place, 0)).astype(np.int64) - half, -4 * FAR)
    return made


def corner_of(peak: Any, half: int) -> int:
    """That of one peak."""
    return int(corners(np.asarray(peak), half))
