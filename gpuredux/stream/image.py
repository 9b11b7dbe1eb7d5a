"""What is stored, where it is not energies of panels: the stage calib.assemble, by a geometry file, and the packing of other arrays than codes."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

from ..calib import Assemble, assembly
from ..compress import Quantize
from ..detectors import Detector
from ..op import Op, Spec
from .config import Document
from .faults import ConfigError
from .rings import geometry_of

PIXELS, IMAGE = ("energy", "pixel_status"), ("image", "image_status")
BESIDE = ("beside_payload", "beside_size", "beside_filter_mask")      # the last of some codecs alone


@dataclass(frozen=True, eq=False)
class QuantizeImage(Quantize):
    """Quantize, of an assembled image: gaps are masked codes."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "image_status?", "frame_status?", "live?")
    loads: ClassVar[tuple[str, ...]] = IMAGE


class Named:
    """What makes an encoder one of an array by its name; beside: of the second array of a frame."""

    array: str
    beside: bool

    def __post_init__(self) -> None:
        super().__post_init__()     # type: ignore[misc]
        object.__setattr__(self, "inputs", (self.array, "live?"))
        if self.beside:
            object.__setattr__(self, "writes", tuple(f"beside_{name}" for name in type(self).writes))       # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)     # type: ignore[misc]
        self.__post_init__()

    def outputs(self, code: Any, live: Any) -> tuple[Spec, ...]:
        found = super().outputs(code, live)     # type: ignore[misc]
        return tuple(s._replace(name=name) for s, name in zip(found, self.writes, strict=True))     # type: ignore[attr-defined]


@cache
def _named(kind: Any) -> Any:
    added = [("array", str, "code"), ("beside", bool, False)]
    return make_dataclass(f"Packed{kind.__name__}", added, bases=(Named, kind), frozen=True, eq=False)


def packed(encoder: Op, array: str, beside: bool = False) -> Op:
    """An encoder like this one, of the array of this name."""
    given = {f.name: getattr(encoder, f.name) for f in fields(encoder)}
    kind: Any = type(encoder)
    made: Op = _named(kind)(**given, array=array, beside=beside)
    return made


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
