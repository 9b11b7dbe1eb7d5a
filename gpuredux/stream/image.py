"""What is stored, where it is not energies of panels: the stage calib.assemble, by a geometry file, and the packing of other arrays than codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..calib import Assemble, assembly
from ..compress import BitshuffleLZ4, Quantize
from ..detectors import Detector
from ..op import Spec
from .config import Document
from .faults import ConfigError
from .rings import geometry_of

PIXELS, IMAGE = ("energy", "pixel_status"), ("image", "image_status")
BESIDE = ("beside_payload", "beside_size")


@dataclass(frozen=True, eq=False)
class QuantizeImage(Quantize):
    """Quantize, of an assembled image: gaps are masked codes."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "image_status?", "frame_status?", "live?")
    loads: ClassVar[tuple[str, ...]] = IMAGE


@dataclass(frozen=True, eq=False)
class Packed(BitshuffleLZ4):
    """BitshuffleLZ4, of an array by its name; beside: as the second array of a frame."""

    array: str = "code"
    beside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "inputs", (self.array, "live?"))
        object.__setattr__(self, "writes", BESIDE if self.beside else ("payload", "size"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__post_init__()

    def outputs(self, code: Any, live: Any) -> tuple[Spec, ...]:
        found = super().outputs(code, live)
        return tuple(s._replace(name=name) for s, name in zip(found, self.writes, strict=True))


def assembled(document: Document, i: int, kind: Detector) -> tuple[Assemble, tuple[float, float]]:
    """The op, and where the beam is in the image: (row, col) in pixels, their centres at a number plus a half. Raises ConfigError."""
    place, name = ("stages", i, "geometry"), str(document.config.stages[i].fields()["geometry"])
    there = geometry_of(document, place, name, kind)
    try:
        on = assembly.canvas(there)
        source = assembly.by_map(there, on).source
    except ValueError as e:
        raise ConfigError([document.at(place, f"{name}: {e}")]) from None
    return Assemble(frame=kind.shape, source=source, status=True), on.centre
