"""EXtra-geom: European XFEL's HDF5 files of quadrants (LPD, DSSC), and the fragments of any of its detectors.

The HDF5 files place tiles by x and y alone, in mm: axis-aligned, in one plane, without a distance. `from_fragments` and
`to_fragments` translate every extra_geom detector (AGIPD, DSSC, ePix, JUNGFRAU, LPD, PNCCD) with its three coordinates.
DSSC's pixels are hexagons: odd rows are staggered by half a pixel, and a pixel's centre lies 2/3 of a row behind its
fragment's corner, so that the panel begins 1/6 of a row later; areas are the hexagons', corners those of rectangles of that area.
source: https://extra-geom.readthedocs.io/en/latest/geometry.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Geometry
from .geometry_io import fault, foreign, needs
from .geometry_panel import Panel

TILES = {16: "LPD_1M", 2: "DSSC_1M"}     # tiles a module -> class of extra_geom
HEXAGON = 1 / 6                          # of a row
FAR = 1e9                                # mm: no tile is there
UNREADABLE = "not an HDF5 file, cut short or damaged"


def is_quadrants(path: Path) -> bool:
    """Whether an HDF5 file has European XFEL's quadrants."""
    import h5py

    with foreign(path, doing=UNREADABLE), h5py.File(path) as f:
        return "Q1" in f


def read(path: Path, *, quad_positions: Sequence[Sequence[float]] | None = None, distance: float = 0.0, unit: float = 1e-3) -> Geometry:
    """quad_positions: (x, y) of the four quadrants, in `unit` metres, for files that do not say them; instead of the file's.

    distance [m]: the file has none; without it the geometry is a layout, which .with_distance places."""
    extra = needs("extra_geom")
    tiles, has_quads = _checked(path)
    if quad_positions is None and not has_quads:
        raise fault(path, None, "the file has no positions of its quadrants: pass quad_positions=4 x (x, y), in mm")
    kind = getattr(extra, f"{TILES[tiles]}Geometry")
    if quad_positions is not None:
        positions = np.array(quad_positions, np.float64)
        if positions.shape != (4, 2) or not np.isfinite(positions).all():
            raise ValueError(f"quad_positions must be four finite (x, y), got {quad_positions}")
        with foreign(path):
            geom = kind.from_h5_file_and_quad_positions(str(path), positions, unit=unit)
    else:
        with foreign(path):
            geom = kind.from_h5_file(str(path))
    return from_fragments(geom).shift((0, 0, distance))


def _checked(path: Path) -> tuple[int, bool]:
    """How many tiles a module has; whether the quadrants have positions. All of the 4 x 4 modules must be there, and finite."""
    import h5py

    with foreign(path, doing=UNREADABLE), h5py.File(path) as f:
        first = f.get("Q1/M1")
        tiles = len([k for k in first if k.startswith("T")]) if isinstance(first, h5py.Group) else 0
        if tiles not in TILES:
            raise fault(path, None, f"Q1/M1 has {tiles} tiles: LPD has 16 and DSSC 2; is this a file of quadrants?")
        modules = [f"Q{q}/M{m}" for q in range(1, 5) for m in range(1, 5)]
        names = [f"{m}{t}/Position" for m in modules for t in ["", *(f"/T{t:02}" for t in range(1, tiles + 1))]]
        quads = [f"Q{q}/Position" for q in range(1, 5)]
        has_quads = any(q in f for q in quads)
        for name in names + quads * has_quads:
            if name not in f:
                raise fault(path, None, f"there is no {name}: a missing panel")
            at = f[name]
            if not isinstance(at, h5py.Dataset) or at.dtype.kind not in "iuf" or at.shape not in ((2,), (3,)) or not (np.abs(at[:2]) < FAR).all():
                raise fault(path, None, f"{name} must be two finite numbers, got {np.ravel(at[()]).tolist() if isinstance(at, h5py.Dataset) else at}")
    return tiles, has_quads


def from_fragments(geom: Any) -> Geometry:
    """The Geometry of an extra_geom detector object, its modules the segments."""
    modules, rows, cols = geom.expected_data_shape
    numbers = np.arange(rows * cols).reshape(rows, cols)
    hexagons = hasattr(geom, "plot_data_hexes")
    panels = []
    for m, module in enumerate(geom.modules):
        for a, (f, part) in enumerate(zip(module, geom.split_tiles(numbers), strict=True)):
            corner = f.corner_pos + (HEXAGON * f.ss_vec if hexagons else 0)
            first = divmod(int(part.flat[0]), cols)
            shape = (f.ss_pixels, f.fs_pixels)
            panels.append(Panel(f"p{m}a{a}", corner, f.fs_vec, f.ss_vec, shape, segment=m, first=first, stagger=0.5 if hexagons else 0.0))
    return Geometry(panels, (modules, rows, cols))


def to_fragments(geometry: Geometry, detector: str) -> Any:
    """The extra_geom object of the class `detector`Geometry, such as "AGIPD_1M" or "JUNGFRAU", with the geometry's panels as tiles.

    Wide lines are split off; ValueError where the panels are not that detector's tiles."""
    extra = needs("extra_geom")
    kind = getattr(extra, f"{detector}Geometry", None)
    if kind is None:
        raise ValueError(f"extra_geom has no {detector}Geometry")
    fragment = needs("extra_geom.base").GeometryFragment
    hexagons = hasattr(kind, "plot_data_hexes")
    parts = [part for p in geometry.panels for part in ([p] if hexagons else p.split("EXtra-geom"))]
    rows, cols = kind.expected_data_shape[1:] if len(kind.expected_data_shape) == 3 else geometry.shape[1:]
    places = [divmod(int(t.flat[0]), cols) for t in kind.split_tiles(np.arange(rows * cols).reshape(rows, cols))]
    modules = []
    for m in range(geometry.shape[0]):
        mine = {p.first: p for p in parts if p.segment == m}
        sizes = {(p.shape, p.stagger) for p in mine.values()}
        if sorted(mine) != sorted(places) or sizes != {((kind.frag_ss_pixels, kind.frag_fs_pixels), 0.5 * hexagons)}:
            raise ValueError(f"segment {m}: its panels are not the {len(places)} tiles of {detector} (a wide line counts as a panel of its own)")
        tiles = [mine[place] for place in places]
        modules.append([fragment(p.corner - HEXAGON * hexagons * p.ss, p.ss.copy(), p.fs.copy(), *p.shape) for p in tiles])
    if kind.n_modules not in (0, len(modules)):
        raise ValueError(f"{detector} has {kind.n_modules} modules, this geometry {len(modules)} segments")
    return kind(modules)


def write(geometry: Geometry, path: Path) -> None:
    """The HDF5 file of an LPD or DSSC, quadrants' positions in it. ValueError where that cannot hold the panels to 1e-6 of a pixel,
    turned or tilted ones above all; the distance is left out, for the format has none."""
    rows_cols = {(256, 256): "LPD_1M", (128, 512): "DSSC_1M"}
    detector = rows_cols.get(geometry.shape[1:])
    if detector is None:
        raise ValueError(f"EXtra-geom's files of quadrants are for LPD and DSSC, not for a raw frame {geometry.shape}; to_fragments takes others")
    to_fragments(geometry, detector).to_h5_file_and_quad_positions(str(path))
    off = read(path, distance=geometry.distance).pixel_corners() - geometry.pixel_corners()
    pixels = float(np.abs(off).max() / np.sqrt(geometry.pixel_area))
    if not pixels < 1e-6:
        path.unlink()
        raise ValueError(f"EXtra-geom's files of quadrants hold tiles along x and y in one plane: this geometry is off by {pixels:.2g} pixels")
