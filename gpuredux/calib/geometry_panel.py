"""A panel of a detector: one plane of pixels in rows and columns, some lines wider than the others. The frame is geometry.py's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

WideLines = tuple[tuple[int, float], ...]
MOST_PIXELS = 2**28     # of a raw frame, gaps included: 16 times the largest detectors, and what a few GB of positions hold


def too_large(shape: tuple[int, ...]) -> str:
    """What is wrong with the size of a raw frame (segments, rows, cols), or nothing."""
    return "" if math.prod(shape) <= MOST_PIXELS else f"a raw frame of {' x '.join(map(str, shape))} has more than {MOST_PIXELS} pixels, the most that is read"


@dataclass(frozen=True, eq=False)
class Panel:
    """corner (3,) [m]; fs, ss (3,) [m per ordinary pixel]; shape (rows, cols).

    wide_rows, wide_cols: (line, size in ordinary pixels) of the lines of another size; 0: a line of words that are no pixels.
    segment, first: which segment of the raw frame, and the row and column there, the panel's first pixel is.
    stagger: odd rows lie this many pixels further along fs (hexagons, whose corners are those of a rectangle of their area)."""

    name: str
    corner: np.ndarray
    fs: np.ndarray
    ss: np.ndarray
    shape: tuple[int, int]
    wide_rows: WideLines = ()
    wide_cols: WideLines = ()
    segment: int = 0
    first: tuple[int, int] = (0, 0)
    stagger: float = 0.0

    def __post_init__(self) -> None:
        for field in ("corner", "fs", "ss"):
            vector = np.array(getattr(self, field), np.float64)
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise ValueError(f"panel {self.name}: {field} must be three finite numbers, got {getattr(self, field)}")
            vector.setflags(write=False)
            object.__setattr__(self, field, vector)
        if len(self.shape) != 2 or min(self.shape) < 1 or min(self.segment, *self.first) < 0 or not np.isfinite(self.stagger):
            raise ValueError(f"panel {self.name}: shape {self.shape}, segment {self.segment}, first pixel {self.first} cannot be")
        if large := too_large(self.last):
            raise ValueError(f"panel {self.name}: {large}")
        lengths = np.linalg.norm(self.fs) * np.linalg.norm(self.ss)
        if not np.linalg.norm(np.cross(self.fs, self.ss)) > 1e-3 * lengths:
            raise ValueError(f"panel {self.name}: fs {self.fs} and ss {self.ss} span no plane")
        for lines, n in ((self.wide_rows, self.shape[0]), (self.wide_cols, self.shape[1])):
            numbers = [k for k, _ in lines]
            if len(set(numbers)) != len(numbers) or any(not 0 <= k < n for k in numbers) or any(not 0 <= size < np.inf for _, size in lines):
                raise ValueError(f"panel {self.name}: wide lines {lines} of {n} cannot be")

    @property
    def place(self) -> tuple[int, slice, slice]:
        """The panel's part of the raw frame."""
        (r, c), (rows, cols) = self.first, self.shape
        return self.segment, slice(r, r + rows), slice(c, c + cols)

    @property
    def last(self) -> tuple[int, int, int]:
        """Segment, row and column behind the panel's last."""
        return self.segment + 1, self.first[0] + self.shape[0], self.first[1] + self.shape[1]

    @cached_property
    def row_sizes(self) -> np.ndarray:
        return _sizes(self.shape[0], self.wide_rows)

    @cached_property
    def col_sizes(self) -> np.ndarray:
        return _sizes(self.shape[1], self.wide_cols)

    @cached_property
    def row_edges(self) -> np.ndarray:
        """(rows + 1,) in ordinary pixels from the corner."""
        return np.concatenate([[0.0], np.cumsum(self.row_sizes)])

    @cached_property
    def col_edges(self) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(self.col_sizes)])

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the plane, fs x ss."""
        across = np.cross(self.fs, self.ss)
        return across / np.linalg.norm(across)

    @property
    def outline(self) -> np.ndarray:
        """The four corners (4, 3) [m], in turn."""
        rows, cols = self.row_edges[-1] * self.ss, self.col_edges[-1] * self.fs
        return self.corner + np.array([0 * rows, rows, rows + cols, cols])

    @property
    def centre(self) -> np.ndarray:
        return self.outline.mean(0)

    def _at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Points (rows, cols, 3) of the lines of the panel, in ordinary pixels from the corner."""
        odd = self.stagger * (np.arange(len(rows)) % 2)
        across = cols[None, :, None] + odd[:, None, None]
        return self.corner + rows[:, None, None] * self.ss + across * self.fs

    def positions(self) -> np.ndarray:
        """Centres (rows, cols, 3) [m]."""
        return self._at((self.row_edges[1:] + self.row_edges[:-1]) / 2, (self.col_edges[1:] + self.col_edges[:-1]) / 2)

    def corners(self) -> np.ndarray:
        """Corners (rows, cols, 4, 3) [m]: first, next row, next row and column, next column."""
        top, bottom, left, right = self.row_edges[:-1], self.row_edges[1:], self.col_edges[:-1], self.col_edges[1:]
        return np.stack([self._at(top, left), self._at(bottom, left), self._at(bottom, right), self._at(top, right)], axis=2)

    @property
    def area(self) -> float:
        """[m^2]"""
        return float(self.areas().sum())

    def areas(self) -> np.ndarray:
        """(rows, cols) [m^2]."""
        return np.linalg.norm(np.cross(self.fs, self.ss)) * np.outer(self.row_sizes, self.col_sizes)

    @property
    def uniform(self) -> bool:
        return not (self.wide_rows or self.wide_cols or self.stagger)

    def split(self, format: str) -> list[Panel]:
        """The same pixels as panels without wide lines, for formats that know none: exact. Words that are no pixels have no panel."""
        if self.stagger:
            raise ValueError(f"panel {self.name}: its rows are staggered, which {format} cannot say")
        runs = [(r, c) for r in _runs(self.row_sizes) for c in _runs(self.col_sizes)]
        parts = [
            replace(
                self, name=self.name if len(runs) == 1 else f"{self.name}_{k}",
                corner=self.corner + self.row_edges[r0] * self.ss + self.col_edges[c0] * self.fs,
                ss=self.ss * self.row_sizes[r0], fs=self.fs * self.col_sizes[c0], shape=(r1 - r0, c1 - c0),
                wide_rows=(), wide_cols=(), first=(self.first[0] + r0, self.first[1] + c0),
            )
            for k, ((r0, r1), (c0, c1)) in enumerate(runs)
            if self.row_sizes[r0] and self.col_sizes[c0]
        ]
        return parts


def _sizes(n: int, wide: WideLines) -> np.ndarray:
    sizes = np.ones(n)
    for line, size in wide:
        sizes[line] = size
    return sizes


def _runs(sizes: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of the runs of one size."""
    cuts = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    return list(pairwise(cuts))


def depth_of_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """How far two convex outlines (4, 2) reach into each other: the least over the normals of their edges; negative if apart."""
    edges = np.concatenate([np.diff(a, axis=0)[:2], np.diff(b, axis=0)[:2]])
    length = np.linalg.norm(edges, axis=1)
    normals = edges[length > 0][:, ::-1] * (1, -1) / length[length > 0, None]
    pa, pb = a @ normals.T, b @ normals.T
    return float((np.minimum(pa.max(0), pb.max(0)) - np.maximum(pa.min(0), pb.min(0))).min(initial=np.inf))
