"""The stage calib.assemble: panels at their places in an image, by a geometry file; what follows reads the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..calib import Assemble, assembly, geometry
from ..compress import Quantize
from ..detectors import DETECTORS, Detector
from .config import Document
from .faults import ConfigError

PIXELS, IMAGE = ("energy", "pixel_status"), ("image", "image_status")


@dataclass(frozen=True, eq=False)
class QuantizeImage(Quantize):
    """Quantize, of an assembled image: gaps are masked codes."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "image_status?", "frame_status?", "live?")
    loads: ClassVar[tuple[str, ...]] = IMAGE


def assembled(document: Document, i: int, kind: Detector) -> tuple[Assemble, tuple[float, float]]:
    """The op, and where the beam is in the image: (row, col) in pixels, their centres at a number plus a half. Raises ConfigError."""
    name: Any = document.config.stages[i].fields()["geometry"]
    path, rows, cols = document.resolve(name), *kind.shape[-2:]
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        there, whole = geometry.read(path), DETECTORS[kind.name].n_panels
        if kind.n_panels < whole and there.shape[0] * there.shape[1] == whole * rows:
            there = there.reframed((whole, rows, cols)).select(kind.ids)
        there = there.reframed((kind.n_panels, rows, cols))
        on = assembly.canvas(there)
        source = assembly.by_map(there, on).source
    except (ValueError, ImportError, OSError) as e:
        words = " ".join(str(e).split()).replace(str(path), name)
        raise ConfigError([document.at(("stages", i, "geometry"), words if words.startswith(name) else f"{name}: {words}")]) from None
    return Assemble(frame=kind.shape, source=source, status=True), on.centre
