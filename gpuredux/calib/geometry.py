"""Where each pixel of a detector lies: panels in the laboratory; read from, and written to, five formats.

Frame: metres; the origin is the sample; z along the beam, y up, x completes a right-handed frame: to the left for somebody
who looks along the beam. It is the frame of CrystFEL, EXtra-geom and NeXus (McStas); psana's laboratory frame, its file's
(-y, -x, -z); and pyFAI's (3, 1, 2) = (z, y, x). A geometry whose panels all lie at z = 0 is a layout: it has no distance yet.

A panel's `corner` is the outer corner of its first pixel, not that pixel's centre; `fs` and `ss` are the steps of one
ordinary pixel along a row (fast) and from row to row (slow). Pixel (r, c) covers a part of the panel from
corner + y[r] ss + x[c] fs to corner + y[r+1] ss + x[c+1] fs, where x and y count ordinary pixels and wide lines count more.

format    file                    read and written by
psana     .data                   geometry_psana: 13 columns, a tree of rotations, classes of segments with wide pixels
crystfel  .geom                   geometry_crystfel: wide lines become panels of their own, which is exact
extra     .h5 of quadrants        geometry_extra: LPD and DSSC quadrants; fragments of every EXtra-geom detector
nexus     .nxs, .h5               geometry_nexus: NXdetector_module and NXtransformations
pyfai     .poni (and its .h5)     geometry_pyfai: PONI and detector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .geometry_io import read, write
from .geometry_panel import Panel, depth_of_overlap, too_large

__all__ = ["Geometry", "Overlap", "Panel", "read", "write"]


class Overlap(NamedTuple):
    """Two panels, by number, that lie over each other as seen along the beam, and by how many pixels at least."""

    first: int
    second: int
    pixels: float


class Geometry:
    """Panels, and the frame (segments, rows, cols) of raw data that they are parts of. Immutable.

    Arrays are (segments, rows, cols, ...) float64; NaN where no panel covers the raw frame (an absent module)."""

    def __init__(self, panels: Sequence[Panel], shape: tuple[int, int, int] | None = None) -> None:
        self.panels = tuple(panels)
        if not self.panels:
            raise ValueError("a geometry has at least one panel")
        least = tuple(max(p.last[i] for p in self.panels) for i in range(3))
        self.shape = least if shape is None else tuple(int(n) for n in shape)
        if len(self.shape) != 3 or any(a > b for a, b in zip(least, self.shape, strict=True)):
            raise ValueError(f"the panels need a raw frame of {least} at least, got {self.shape}")
        if large := too_large(self.shape):
            raise ValueError(large)
        taken = np.zeros(self.shape, bool)
        for p in self.panels:
            if taken[p.place].any():
                raise ValueError(f"panel {p.name}: another panel has already taken raw pixels of segment {p.segment}, first pixel {p.first}")
            taken[p.place] = True

    def __repr__(self) -> str:
        return f"Geometry({len(self.panels)} panels, raw frame {self.shape}, {self.distance:.6g} m from the sample)"

    def _fill(self, tail: tuple[int, ...], of_panel: Any) -> np.ndarray:
        out = np.full(self.shape + tail, np.nan)
        for p in self.panels:
            out[p.place] = of_panel(p)
        return out

    def pixel_positions(self) -> np.ndarray:
        """Centres (segments, rows, cols, 3) [m]."""
        return self._fill((3,), Panel.positions)

    def pixel_corners(self) -> np.ndarray:
        """Corners (segments, rows, cols, 4, 3) [m], in turn: first, next row, next row and column, next column."""
        return self._fill((4, 3), Panel.corners)

    def area(self) -> np.ndarray:
        """Areas (segments, rows, cols), in units of the detector's commonest pixel: 2.25 for a pixel wide in one direction."""
        return self._fill((), Panel.areas) / self.pixel_area

    @property
    def pixel_area(self) -> float:
        """The area [m^2] of the commonest pixel: the median over the panels' pixels."""
        areas = np.array([np.linalg.norm(np.cross(p.fs, p.ss)) for p in self.panels])
        order = np.argsort(areas, kind="stable")
        counts = np.cumsum(np.array([p.shape[0] * p.shape[1] for p in self.panels])[order])
        return float(areas[order[np.searchsorted(counts, counts[-1] / 2)]])

    @property
    def distance(self) -> float:
        """The mean z [m] of the panels' centres, weighted by their areas."""
        return float(np.average([p.centre[2] for p in self.panels], weights=[p.area for p in self.panels]))

    def _from_sample(self) -> np.ndarray:
        if not any(p.outline[:, 2].any() for p in self.panels):
            raise ValueError("this geometry is a layout at z = 0: .with_distance(metres) first")
        return self.pixel_positions()

    def two_theta(self) -> np.ndarray:
        """Scattering angles (segments, rows, cols) [rad]."""
        at = self._from_sample()
        return np.arctan2(np.hypot(at[..., 0], at[..., 1]), at[..., 2])

    def q(self, wavelength: float) -> np.ndarray:
        """4 pi sin(two_theta / 2) / wavelength, in the inverse of the wavelength's unit."""
        if not wavelength > 0 or not np.isfinite(wavelength):
            raise ValueError(f"the wavelength must be positive, got {wavelength}")
        return 4 * np.pi * np.sin(self.two_theta() / 2) / wavelength

    def solid_angle(self, distance: float | None = None) -> np.ndarray:
        """cos^3 of the incidence on the panel's true plane: relative to the same pixel at normal incidence on that plane, as pyFAI has it.

        With a distance D [m]: cos * D^2 / r^2, relative to a pixel that faces the sample at D: one scale for panels at several
        distances. Both are of unit area: multiply by area() for wide pixels."""
        if distance is not None and not 0 < distance < np.inf:
            raise ValueError(f"the distance must be positive, got {distance}")
        at = self._from_sample()
        r = np.linalg.norm(at, axis=-1)
        cos = np.full(self.shape, np.nan)
        for p in self.panels:
            cos[p.place] = np.abs(at[p.place] @ p.normal) / r[p.place]
        return cos**3 if distance is None else cos * (distance / r) ** 2

    def polarisation(self, factor: float, axis_offset: float = 0.0) -> np.ndarray:
        """0.5 (1 + cos^2 two_theta - factor cos(2 (chi + axis_offset)) sin^2 two_theta), chi = atan2(y, x) [rad]: pyFAI's convention.

        factor 1: polarised along x, -1: along y, 0: not at all."""
        if not -1 <= factor <= 1:
            raise ValueError(f"the polarisation factor must be -1 to 1, got {factor}")
        if not np.isfinite(axis_offset):
            raise ValueError(f"the axis_offset must be an angle [rad], got {axis_offset}")
        at = self._from_sample()
        cos2 = at[..., 2] ** 2 / (at**2).sum(-1)
        chi = np.arctan2(at[..., 1], at[..., 0])
        return 0.5 * (1 + cos2 - factor * np.cos(2 * (chi + axis_offset)) * (1 - cos2))

    def shift(self, by: Sequence[float]) -> Geometry:
        """The same detector moved by (x, y, z) [m]."""
        return Geometry([replace(p, corner=p.corner + np.asarray(by, np.float64)) for p in self.panels], self.shape)

    def with_distance(self, distance: float) -> Geometry:
        """Moved along the beam so that `distance` [m] is the new distance."""
        return self.shift((0, 0, distance - self.distance))

    def select(self, which: Sequence[int] | Sequence[str]) -> Geometry:
        """A partial detector: these segments, renumbered in this order; or, by name, these panels, their segments renumbered."""
        wanted = list(which)
        names = [p.name for p in self.panels]
        strangers = [w for w in wanted if w not in (names if isinstance(w, str) else {p.segment for p in self.panels})]
        if strangers or len(set(wanted)) != len(wanted) or not wanted or len({isinstance(w, str) for w in wanted}) != 1:
            raise ValueError(f"select takes different segment numbers, or different panel names, of this geometry; got {wanted}")
        if isinstance(wanted[0], str):
            kept = [p for p in self.panels if p.name in wanted]
            segments = sorted({p.segment for p in kept})
        else:
            segments = [int(w) for w in wanted]
            kept = [p for s in segments for p in self.panels if p.segment == s]
        return Geometry([replace(p, segment=segments.index(p.segment)) for p in kept], (len(segments), *self.shape[1:]))

    def reframed(self, shape: tuple[int, int, int]) -> Geometry:
        """The same raw words seen as (segments, rows, cols): a stack of modules in one image, or the modules of such an image."""
        if np.prod(shape) != np.prod(self.shape) or shape[2] != self.shape[2]:
            raise ValueError(f"a raw frame {self.shape} is not {tuple(shape)} in the same order of words")
        panels = []
        for p in self.panels:
            segment, row = divmod(p.segment * self.shape[1] + p.first[0], shape[1])
            if row + p.shape[0] > shape[1]:
                raise ValueError(f"panel {p.name}: would lie across two segments of {tuple(shape)}")
            panels.append(replace(p, segment=segment, first=(row, p.first[1])))
        return Geometry(panels, tuple(shape))

    def overlaps(self, tolerance: float = 1.0) -> list[Overlap]:
        """Panels whose outlines, as seen along the beam, lie over each other by more than `tolerance` pixels in every direction."""
        if not tolerance >= 0:
            raise ValueError(f"the tolerance must be pixels from 0, got {tolerance}")
        outline = np.array([p.outline[:, :2] for p in self.panels])
        low, high = outline.min(1), outline.max(1)
        size = np.array([min(np.linalg.norm(p.fs), np.linalg.norm(p.ss)) for p in self.panels])
        found = []
        for i in range(len(self.panels)):
            near = (np.minimum(high[i], high[i + 1 :]) > np.maximum(low[i], low[i + 1 :])).all(-1)
            for j in i + 1 + np.flatnonzero(near):
                depth = depth_of_overlap(outline[i], outline[j]) / min(size[i], size[j])
                if depth > tolerance:
                    found.append(Overlap(i, int(j), float(depth)))
        return found
