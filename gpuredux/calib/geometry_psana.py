"""psana geometry files (.data): a tree of segments, a line each of 13 columns, lengths in um and angles in degrees.

    PARENT index OBJECT index X0 Y0 Z0 ROT_Z ROT_Y ROT_X TILT_Z TILT_Y TILT_X

A point p of the object is Rx Ry Rz p + (X0, Y0, Z0) in its parent, by the angles ROT + TILT; the children are stacked in the
file's order. The file's frame is x along rows, y along columns, z against the beam; the laboratory is (-y, -x, -z). A line
whose parent's name begins with IP (the interaction point) places the detector; its Z0 > 0 is taken as -Z0, as psana does.
source: https://confluence.slac.stanford.edu/display/PSDM/Detector+Geometry

The classes of segments, and what differs from psana there, are in geometry_segments. CSPAD2X2 is (2, 185, 388) here, psana's (185, 388, 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .geometry import Geometry
from .geometry_io import fault, finite, lines_of
from .geometry_panel import Panel
from .geometry_segments import SEGMENTS, UM, Segment, archon, is_segment, segment_of

MOST_LEVELS = 100     # of the tree; real ones have three
LAB = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]])     # the file's frame to the laboratory, and back


class Line(NamedTuple):
    """One line of the file; turn and offset [um] take the object to its parent."""

    number: int
    parent: tuple[str, int]
    child: tuple[str, int]
    offset: np.ndarray
    turn: np.ndarray


def read(path: Path, *, shape: tuple[int, int] | None = None, pixel_um: tuple[float, float] | None = None, gaps: str = "refuse") -> Geometry:
    """shape (rows, cols): for classes that leave it open, MTRXANY and ARCHON; pixel_um (row, col): for MTRXANY.

    gaps="allow": children whose indices are not 0, 1, 2 ... are stacked in the file's order, as psana does."""
    lines = [_line(path, n, text) for n, text in enumerate(lines_of(path), 1) if text.strip() and not text.lstrip().startswith("#")]
    children: dict[tuple[str, int], list[Line]] = {}
    seen: dict[tuple[str, int], int] = {}
    for line in lines:
        if line.child in seen:
            raise fault(path, line.number, f"{line.child[0]} {line.child[1]} was placed already, in line {seen[line.child]}")
        # psana numbers segments within their parent, so only what has children of its own is one thing everywhere
        if not is_segment(line.child[0]):
            seen[line.child] = line.number
        children.setdefault(line.parent, []).append(line)
    roots = [line for line in lines if line.parent[0].startswith("IP")]
    if len(roots) != 1:
        raise fault(path, None, f"one line must place the detector in IP, got {len(roots)}: is the file cut short?")
    panels: list[Panel] = []
    used = _walk(path, roots[0], children, np.eye(3), np.zeros(3), panels, (shape, pixel_um, gaps), 1)
    if used != len(lines):
        raise fault(path, None, f"{len(lines) - used} lines hang on no parent that is placed in IP")
    return Geometry(panels)


def _line(path: Path, number: int, text: str) -> Line:
    columns = text.split()
    if len(columns) != 13:
        raise fault(path, number, f"13 columns expected, got {len(columns)}: is this a psana geometry file, and whole?")
    names = "X0 Y0 Z0 ROT_Z ROT_Y ROT_X TILT_Z TILT_Y TILT_X".split()
    values = np.array([finite(path, number, n, c) for n, c in zip(names, columns[4:], strict=True)])
    for name, c in (("parent index", columns[1]), ("object index", columns[3])):
        if not c.isdecimal() or len(c) > 18:
            raise fault(path, number, f"the {name} must be a whole number, got {c!r}")
    if columns[0].startswith("IP"):
        values[2] = -abs(values[2])
    z, y, x = np.radians(values[3:6] + values[6:9])
    return Line(number, (columns[0], int(columns[1])), (columns[2], int(columns[3])), values[:3], rotation(x, y, z))


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rx Ry Rz of three angles [rad]."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_x @ about_y @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def _walk(path: Path, line: Line, children: dict, turn: np.ndarray, offset: np.ndarray, panels: list[Panel], options: tuple,
          level: int) -> int:
    """Append the panels under a line; returns how many lines that took. turn and offset [um]: of the parent in IP."""
    if level > MOST_LEVELS:
        raise fault(path, line.number, f"{line.child[0]} {line.child[1]} is more than {MOST_LEVELS} levels below IP")
    turn, offset = turn @ line.turn, turn @ line.offset + offset
    below = [] if is_segment(line.child[0]) else children.get(line.child, [])
    if not below:
        segment = segment_of(path, line.number, line.child[0], options[0], options[1])
        try:
            own = segment.panel(f"{line.child[0]}:{len(panels)}", len(panels))
            corner = LAB @ (turn @ own.corner + offset * UM)
            panels.append(Panel(own.name, corner, LAB @ turn @ own.fs, LAB @ turn @ own.ss, own.shape, own.wide_rows, own.wide_cols, len(panels)))
        except ValueError as e:
            raise fault(path, line.number, str(e)) from None
        return 1
    indices = [b.child[1] for b in below]
    if options[2] != "allow" and indices != list(range(len(below))):
        missing = sorted(set(range(len(below))) - set(indices))
        raise fault(path, below[-1].number, f"children {indices} of {line.child[0]} {line.child[1]}: not 0, 1, 2 ..., {missing} missing; gaps='allow'")
    return 1 + sum(_walk(path, b, children, turn, offset, panels, options, level + 1) for b in below)


def write(geometry: Geometry, path: Path) -> None:
    """One camera, its panels its children. ValueError where psana cannot hold a panel: wide lines of no known class, fs and ss at
    no right angle, a size that differs from the class's by more than 1e-6 of a pixel over the panel, a detector behind the sample."""
    numbers = [(p.segment, p.first) for p in geometry.panels]
    if numbers != [(k, (0, 0)) for k in range(len(numbers))] or any(p.shape != geometry.shape[1:] for p in geometry.panels):
        raise ValueError("psana: each segment must be one whole panel, in order: its classes say what is wide, so do not split")
    lines = [_written(k, p, geometry.distance) for k, p in enumerate(geometry.panels)]
    if geometry.distance < 0:
        raise ValueError("psana: it takes each distance along the beam, and this detector is behind the sample")
    head = "# HDR PARENT IND OBJECT IND X0[um] Y0[um] Z0[um] ROT-Z ROT-Y ROT-X TILT-Z TILT-Y TILT-X"
    root = f"IP 0 CAMERA 0 0 0 {-geometry.distance / UM!r} 0 0 0 0 0 0"
    path.write_text("\n".join([head, *lines, root, ""]))


def _written(number: int, p: Panel, distance: float) -> str:
    rows, cols = np.linalg.norm(p.ss) / UM, np.linalg.norm(p.fs) / UM
    classes = {**SEGMENTS, "ARCHON:V1": archon(p.shape[0], 264), "ARCHON:V2": archon(p.shape[0], 0)}
    name, segment = next(
        ((n, s) for n, s in classes.items() if _same(s, p, rows, cols)),
        (f"MTRX:V2:{p.shape[0]}:{p.shape[1]}:{float(rows)!r}:{float(cols)!r}", Segment(p.shape, (rows, cols))),
    )
    own = segment.panel(name, number)
    axes = [np.stack([v / np.linalg.norm(v) for v in (a, b, np.cross(a, b))], 1) for a, b in ((LAB @ p.fs, LAB @ p.ss), (own.fs, own.ss))]
    turn = axes[0] @ axes[1].T
    y = np.arcsin(np.clip(turn[0, 2], -1, 1))
    if abs(turn[0, 2]) < 1 - 1e-12:
        z, x = np.arctan2(-turn[0, 1], turn[0, 0]), np.arctan2(-turn[1, 2], turn[2, 2])
    else:
        z, x = np.arctan2(turn[1, 0], turn[1, 1]), 0.0     # x and z turn about the same axis
    turn = rotation(x, y, z)
    offset = LAB @ p.centre - turn @ own.centre
    off = max(np.abs(turn @ (own.outline - own.centre).T - LAB @ (p.outline - p.centre).T).max() / min(rows, cols) / UM, 0)
    if off > 1e-6 or (segment.wide_rows, segment.wide_cols, p.stagger) != (p.wide_rows, p.wide_cols, 0):
        raise ValueError(f"psana: panel {p.name} is no {name}: wide lines differ, or its corners by {off:.2g} pixels")
    x0, y0, z0 = ((offset + np.array([0, 0, distance])) / UM).tolist()
    angles = " ".join(repr(float(np.degrees(a))) for a in (z, y, x))
    return f"CAMERA 0 {name} {number} {x0!r} {y0!r} {z0!r} {angles} 0 0 0"


def _same(s: Segment, p: Panel, rows: float, cols: float) -> bool:
    near = np.abs(np.array([rows, cols]) / s.pixel - 1).max() < 1e-6
    return bool(near) and (s.shape, s.wide_rows, s.wide_cols) == (p.shape, p.wide_rows, p.wide_cols) and p.stagger == 0
