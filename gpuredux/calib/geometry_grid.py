"""Panels from the corners of all pixels: where neighbours do not touch, or the plane turns, another panel begins."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from .geometry_io import fault
from .geometry_panel import Panel, WideLines

TOUCH = 1e-3     # of a pixel: neighbours touch, and a panel is flat; corners in float32 are within it


def panels_of(path: Path, corners: np.ndarray) -> list[Panel]:
    """The panels that a grid of pixels' corners (rows, cols, 4, 3) [m] is made of."""
    rows, cols = _cuts(corners), _cuts(np.swapaxes(corners, 0, 1)[:, :, [0, 3, 2, 1]])
    blocks = [(r, c) for r in pairwise(rows) for c in pairwise(cols)]
    panels = []
    for (r0, r1), (c0, c1) in blocks:
        block = corners[r0:r1, c0:c1]
        if np.isnan(block).any():
            if not np.isnan(block).any((2, 3)).all():
                raise fault(path, None, f"pixels {r0}:{r1}, {c0}:{c1}: some have corners and some have none")
            continue
        down, along = block[:, 0, 1] - block[:, 0, 0], block[0, :, 3] - block[0, :, 0]
        (rows_, ss), (cols_, fs) = _lines(down), _lines(along)
        panel = Panel(f"p{len(panels)}", block[0, 0, 0], fs, ss, block.shape[:2], rows_, cols_, first=(r0, c0))
        off = np.abs(panel.corners() - block).max() / min(np.linalg.norm(fs), np.linalg.norm(ss))
        if off > 10 * TOUCH:
            raise fault(path, None, f"pixels {r0}:{r1}, {c0}:{c1} are no flat grid: off by {off:.2g} pixels")
        panels.append(panel)
    return panels


def _cuts(corners: np.ndarray) -> list[int]:
    """Where a new panel begins along the first axis: the lines do not touch, or step another way, or are not there."""
    size = np.nanmedian(np.linalg.norm(corners[:, :, 1] - corners[:, :, 0], axis=-1))
    step = corners[:, :, 1] - corners[:, :, 0]
    way = step / np.linalg.norm(step, axis=-1, keepdims=True)
    there = np.isfinite(corners).all((2, 3))
    apart = np.abs(corners[1:, :, 0] - corners[:-1, :, 1]).max(-1) > TOUCH * size
    cut = (apart | (np.abs(np.diff(way, axis=0)).max(-1) > TOUCH) | (there[1:] != there[:-1])).any(1)
    return [0, *(np.flatnonzero(cut) + 1).tolist(), len(corners)]


def _lines(steps: np.ndarray) -> tuple[WideLines, np.ndarray]:
    """Wide lines, and the step of an ordinary one, of the steps (lines, 3) of all."""
    sizes = np.linalg.norm(steps, axis=1)
    usual = float(np.median(sizes))
    wide = tuple((int(k), float(sizes[k] / usual)) for k in np.flatnonzero(np.abs(sizes / usual - 1) > TOUCH))
    total = sum(size for _, size in wide) + len(sizes) - len(wide)
    return wide, steps.sum(0) / total
