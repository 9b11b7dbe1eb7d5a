"""psana's classes of segments, as data: pixels, wide lines, which way rows run. Sizes in um.

A wide pixel's position is its own centre: psana's, with use_wide_pix_center=True. Where psana 4.3.4 says otherwise:
JUNGFRAU:V1 has two missing lines between ordinary ones; they are taken for the wide pixels that they are.
EPIXUHR3X2:V1: the wide columns 192 and 384 are moved to their centres, where psana moves 193 and 385.
EPIXHR1X4:V1 is laid out like its neighbours; psana puts its outer ASICs 100 um further out, and lets its two halves overlap
by two rows. EPIX10KA:V1 has wide pixels of 225 um, as in LCLS-II's psana; LCLS-I's V1 took 250 um, and its V2 225 um.
source: the drawings' numbers, at https://confluence.slac.stanford.edu/display/PSDM/Detector+Geometry
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .geometry_io import fault, finite
from .geometry_panel import Panel, WideLines

UM = 1e-6
DOWN, UP = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)     # where the next row lies, in a segment's own frame


class Segment(NamedTuple):
    """A class of segments: pixel is (row, col) [um]; its own origin is its centre or, cornered, the centre of its first pixel."""

    shape: tuple[int, int]
    pixel: tuple[float, float]
    wide_rows: WideLines = ()
    wide_cols: WideLines = ()
    ss: tuple[float, float, float] = DOWN
    fs: tuple[float, float, float] = (1.0, 0.0, 0.0)
    cornered: bool = False

    def panel(self, name: str, number: int) -> Panel:
        """The segment in its own frame [m]."""
        fs, ss = np.array(self.fs) * self.pixel[1] * UM, np.array(self.ss) * self.pixel[0] * UM
        at_origin = Panel(name, np.zeros(3), fs, ss, self.shape, self.wide_rows, self.wide_cols, number)
        corner = -(fs + ss) / 2 if self.cornered else -at_origin.centre
        return Panel(name, corner, fs, ss, self.shape, self.wide_rows, self.wide_cols, number)


def _wide(size: float, *lines: int) -> WideLines:
    return tuple((line, size) for line in lines)


def archon(rows: int, first: int) -> Segment:
    """16 banks of 300 columns, 36 of which, from `first` on, are no pixels."""
    return Segment((rows, 4800), (20.0, 10.0), (), _wide(0.0, *(300 * b + first + k for b, k in product(range(16), range(36)))))


_JUNGFRAU = ((512, 1024), (75.0, 75.0), _wide(2.0, 255, 256), _wide(2.0, 255, 256, 511, 512, 767, 768))
_EPIX10KA = ((352, 384), (100.0, 100.0), _wide(2.25, 175, 176), _wide(2.25, 191, 192))
SEGMENTS = {
    "JUNGFRAU:V2": Segment(*_JUNGFRAU, ss=UP),
    "JUNGFRAU:V1": Segment(*_JUNGFRAU),
    "EPIX10KA:V1": Segment(*_EPIX10KA),
    "EPIX10KA:V2": Segment(*_EPIX10KA),
    "EPIXHR2X2:V1": Segment((288, 384), (100.0, 100.0), _wide(2.25, 143, 144), _wide(2.25, 191, 192)),
    "EPIXHR1X4:V1": Segment((144, 768), (100.0, 100.0), (), _wide(2.25, 191, 192, 383, 384, 575, 576)),
    "EPIXUHR3X2:V1": Segment((336, 576), (100.0, 100.0), _wide(2.625, 167, 168), _wide(2.625, 191, 192, 383, 384)),
    "EPIXMASIC:V1": Segment((192, 384), (50.0, 50.0)),
    "EPIXUHRASIC:V1": Segment((168, 192), (100.0, 100.0)),
    "EPIX100:V1": Segment((704, 768), (50.0, 50.0), _wide(3.5, 351, 352), _wide(3.5, 383, 384), ss=UP),
    "SENS2X1:V1": Segment((185, 388), (109.92, 109.92), (), _wide(2.5, 193, 194)),
    "PNCCD:V1": Segment((512, 512), (75.0, 75.0), ss=(1.0, 0.0, 0.0), fs=UP, cornered=True),
}
WITHDRAWN = {"EPIXM320:V1": "psana has withdrawn it, its panel is not uniform: use four EPIXMASIC:V1"}


def is_segment(name: str) -> bool:
    """A class of segments, not a group of other objects."""
    return name in SEGMENTS or name in WITHDRAWN or name.partition(":")[0] in ("MTRX", "MTRXANY", "ARCHON")


def segment_of(path: Path, number: int, name: str, shape: tuple[int, int] | None, pixel_um: tuple[float, float] | None) -> Segment:
    """The class that a file names; shape and pixel_um for classes that leave theirs open."""
    if name in SEGMENTS:
        return SEGMENTS[name]
    if name.startswith("ARCHON:"):
        if name not in ("ARCHON:V1", "ARCHON:V2") or shape is None or shape[1] != 4800:
            raise fault(path, number, f"{name} leaves its rows open: pass shape=(rows, 4800), of ARCHON:V1 or V2")
        return archon(shape[0], 264 if name == "ARCHON:V1" else 0)
    if name.startswith("MTRXANY:"):
        if shape is None or pixel_um is None:
            raise fault(path, number, f"{name} leaves its size open: pass shape=(rows, cols), pixel_um=(row, col)")
        return Segment(shape, pixel_um)
    fields = name.split(":")
    if fields[0] == "MTRX" and len(fields) in (5, 6):
        rows, cols, *pixel = (finite(path, number, name, f) for f in fields[-4:])
        if min(rows, cols, *pixel) > 0 and rows % 1 == cols % 1 == 0:
            first = {} if "V2" in fields[1] else {"ss": (1.0, 0.0, 0.0), "fs": UP, "cornered": True}
            return Segment((int(rows), int(cols)), (pixel[0], pixel[1]), **first)
    reason = WITHDRAWN.get(name, f"no class of segments that is known here ({', '.join(SEGMENTS)}, MTRX...), and it has no children")
    raise fault(path, number, f"{name}: {reason}")
