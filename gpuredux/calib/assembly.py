"""Where the pixels of a geometry come to lie in an image: the maps of the three ways of assembling. On the host, once a run.

An image's rows go along y and its columns along x of the geometry's frame (see geometry.py), as EXtra-geom has them; its pixels are squares
of one size. Panels are seen along the beam. Which of two pixels is seen that lie over each other is said by overlap=.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .assemble import Assemble
from .assemble_split import AssembleSplit
from .assemble_tiles import AssembleTiles
from .geometry import Geometry
from .geometry_panel import Panel

__all__ = ["Canvas", "by_map", "by_split", "by_tiles", "canvas"]


class Canvas(NamedTuple):
    """The image: the size of a pixel [m], its lower corner (x, y) [m], its shape (rows, cols)."""

    pixel: float
    corner: tuple[float, float]
    shape: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """(row, col) of the beam, x = y = 0, where a pixel's centre is at its number plus a half."""
        return -self.corner[1] / self.pixel, -self.corner[0] / self.pixel

    def at(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or more) [m] as (x, y) in pixels of the image."""
        where: np.ndarray = (points[..., :2] - np.asarray(self.corner)) / self.pixel
        return where


def canvas(geometry: Geometry, pixel: float | None = None) -> Canvas:
    """The smallest image that holds the geometry, with the beam at a corner of pixels. pixel: its size [m], by default that of the commonest pixel."""
    size = math.sqrt(geometry.pixel_area) if pixel is None else float(pixel)
    if not 0 < size < math.inf:
        raise ValueError(f"the size of a pixel must be positive, got {pixel}")
    with np.errstate(over="ignore"):
        outline = np.concatenate([p.outline[:, :2] for p in geometry.panels]) / size
    low, high = np.floor(outline.min(0) + 1e-6), np.ceil(outline.max(0) - 1e-6)
    if not (np.abs([low, high]) < 2**52).all() or math.prod(high - low) > 2**30:
        raise ValueError(f"the image would have {high[1] - low[1]:.6g} x {high[0] - low[0]:.6g} pixels; pass a larger pixel=")
    cols, rows = (int(k) for k in high - low)
    if min(rows, cols) < 1:
        raise ValueError(f"the size of a pixel must be less than a million detectors', got {pixel}")
    return Canvas(size, (float(low[0]) * size, float(low[1]) * size), (rows, cols))


def _number(geometry: Geometry, panel: Panel, row: Any, col: Any) -> Any:
    """The number in the raw frame of pixels of a panel."""
    _, rows, cols = geometry.shape
    return ((panel.segment * rows) + panel.first[0] + row) * cols + panel.first[1] + col


def by_map(geometry: Geometry, on: Canvas | None = None, overlap: str = "first", **fields: Any) -> Assemble:
    """calib.Assemble: each pixel of the image shows the pixel of the detector that its centre lies in, and gaps stay gaps.

    overlap: of panels over each other the "first" or the "last" of the geometry is seen. A wide pixel fills all that it covers: sums are not kept."""
    if overlap not in ("first", "last"):
        raise ValueError(f"overlap must be 'first' or 'last', got {overlap!r}")
    on = on or canvas(geometry)
    source = np.full(on.shape, -1, np.int32)
    for panel in geometry.panels if overlap == "last" else reversed(geometry.panels):
        box, inside, number = _seen(geometry, panel, on)
        source[box][inside] = number
    return Assemble(frame=geometry.shape, source=source, **fields)


def _seen(geometry: Geometry, panel: Panel, on: Canvas) -> tuple[Any, np.ndarray, np.ndarray]:
    """The box of the image that a panel may cover, where in it the panel lies, and the pixel there."""
    outline = on.at(panel.outline)
    low = np.maximum(np.floor(outline.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, on.shape[::-1])
    box = slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0]))
    x, y = np.meshgrid(np.arange(low[0], max(high[0], low[0])) + 0.5, np.arange(low[1], max(high[1], low[1])) + 0.5)
    axes = np.column_stack([panel.fs[:2], panel.ss[:2]]) / on.pixel
    if abs(np.linalg.det(axes)) < 1e-6:
        raise ValueError(f"panel {panel.name} is seen edge on: it covers nothing of an image")
    from_corner = np.stack([x, y], axis=-1) - on.at(panel.corner)
    across, down = np.moveaxis(from_corner @ np.linalg.inv(axes).T, -1, 0)
    row = np.searchsorted(panel.row_edges, down, side="right") - 1
    across = across - panel.stagger * (row % 2)
    col = np.searchsorted(panel.col_edges, across, side="right") - 1
    inside = (row >= 0) & (row < panel.shape[0]) & (col >= 0) & (col < panel.shape[1])
    return box, inside, _number(geometry, panel, row[inside], col[inside]).astype(np.int32)


def by_tiles(geometry: Geometry, **fields: Any) -> AssembleTiles:
    """calib.AssembleTiles: panels turned to the nearest quarter and moved to the nearest pixel, as EXtra-geom's fast assembly does it.

    Raises ValueError for panels of different shapes or with wide lines, and for those that then lie over each other: use by_map."""
    shapes = {p.shape for p in geometry.panels}
    tile = next(iter(shapes))
    segments, rows, cols = geometry.shape
    down, across = rows // tile[0], cols // tile[1]
    if len(shapes) > 1 or not all(p.uniform for p in geometry.panels) or len(geometry.panels) * math.prod(tile) != math.prod(geometry.shape):
        raise ValueError(f"tiles must be of one shape, without wide lines, and cover the raw frame {geometry.shape}; got {sorted(shapes)}: use by_map")
    size = math.sqrt(geometry.pixel_area)
    steps = np.zeros((segments, down, across, 2, 2), int)       # of ss and fs, in (x, y)
    corner = np.zeros((segments, down, across, 2), int)
    for p in geometry.panels:
        where = p.segment, p.first[0] // tile[0], p.first[1] // tile[1]
        steps[where] = np.rint(np.stack([p.ss[:2], p.fs[:2]]) / size)
        corner[where] = np.rint(p.corner[:2] / size)
        if (np.abs(steps[where]).sum(1) != 1).any() or abs(int(np.linalg.det(steps[where]).round())) != 1:
            raise ValueError(f"panel {p.name} is not within an eighth of a turn of whole quarters, or its pixels are not square: use by_map")
    first = corner + np.minimum(steps.sum(-2), 0)       # the pixel whose outer corner it is
    ends = np.stack([first + r * steps[..., 0, :] + c * steps[..., 1, :] for r in (0, tile[0] - 1) for c in (0, tile[1] - 1)])
    low, high = ends.reshape(-1, 2).min(0), ends.reshape(-1, 2).max(0) + 1
    width = int(high[0] - low[0])
    to = np.array([1, width])       # from (x, y) to the number of a pixel
    place = np.stack([(first - low) @ to, steps[..., 0, :] @ to, steps[..., 1, :] @ to], axis=-1).reshape(-1, 3)
    return AssembleTiles(frame=geometry.shape, tile=tile, image=(int(high[1] - low[1]), width), place=place, **fields)


def by_split(geometry: Geometry, on: Canvas | None = None, **fields: Any) -> AssembleSplit:
    """calib.AssembleSplit: each pixel of the detector spread over the pixels of the image by the area that they share: the sum over an image is the
    sum over the frame, less what lies outside a canvas that does not hold it all. Panels over each other add up."""
    on = on or canvas(geometry)
    parts = [_shares(geometry, p, on) for p in geometry.panels]
    target, source, weight = (np.concatenate(k) for k in zip(*parts, strict=True))
    inside, whole = np.bincount(source, weight, minlength=math.prod(geometry.shape)), _areas(geometry, on)
    weight = weight / np.where(inside > whole * (1 - 1e-6), inside, whole)[source]      # rounding takes nothing from a sum
    order = np.lexsort((source, target))
    first = np.searchsorted(target[order], np.arange(math.prod(on.shape) + 1))
    return AssembleSplit(frame=geometry.shape, image=on.shape, first=first, source=source[order], weight=weight[order], **fields)


def _areas(geometry: Geometry, on: Canvas) -> np.ndarray:
    """Of each pixel of the frame, in pixels of the image."""
    found = np.ones(math.prod(geometry.shape))
    for panel in geometry.panels:
        x, y = np.moveaxis(on.at(panel.corners()).reshape(-1, 4, 2), 2, 0)
        row, col = np.divmod(np.arange(len(x)), panel.shape[1])
        found[_number(geometry, panel, row, col)] = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
    return found


def _shares(geometry: Geometry, panel: Panel, on: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel of the image, pixel of the frame, and the area that they share, of all pairs of a panel that share any."""
    corners = on.at(panel.corners()).reshape(-1, 4, 2)
    row, col = np.divmod(np.arange(len(corners)), panel.shape[1])
    number = _number(geometry, panel, row, col)
    low, high = np.floor(corners.min(1)).astype(int), np.ceil(corners.max(1)).astype(int)
    found = []
    for dy in range(int((high - low)[:, 1].max())):
        for dx in range(int((high - low)[:, 0].max())):
            cell = low + np.array([dx, dy])
            some = np.flatnonzero(((cell < high) & (cell >= 0) & (cell < on.shape[::-1])).all(1))
            area = np.abs(_area_in_unit_square(corners[some] - cell[some, None]))
            kept = area > 1e-9
            found.append((cell[some, 1][kept] * on.shape[1] + cell[some, 0][kept], number[some][kept], area[kept]))
    target, source, weight = (np.concatenate(k) for k in zip(*found, strict=True))
    return target, source, weight


def _area_in_unit_square(corners: np.ndarray) -> np.ndarray:
    """The signed area of quadrilaterals (n, 4, 2) within [0, 1] x [0, 1]: over their edges, the integral of y, held to 0 to 1, over x, held likewise."""
    area = np.zeros(len(corners))
    for k in range(4):
        (xa, ya), (xb, yb) = corners[:, k].T, corners[:, (k + 1) % 4].T
        a, b = np.clip(xa, 0, 1), np.clip(xb, 0, 1)
        width = np.where(xa == xb, 1, xb - xa)
        slope = np.where(xa == xb, 0, (yb - ya) / width)
        at_a, at_b = ya + slope * (a - xa), ya + slope * (b - xa)
        flat = np.abs(at_b - at_a) < 1e-9
        rise = np.where(flat, 1, at_b - at_a)
        mean = np.where(flat, np.clip((at_a + at_b) / 2, 0, 1), (_held(at_b) - _held(at_a)) / rise)
        area += mean * (b - a)
    return area


def _held(y: np.ndarray) -> np.ndarray:
    """The integral of t, held to 0 to 1, from 0 to y."""
    inside = np.clip(y, 0, 1)
    return inside**2 / 2 + np.maximum(y - 1, 0)
