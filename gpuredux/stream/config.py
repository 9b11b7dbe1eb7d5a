"""The configuration of a run: YAML 1.2, checked in full before anything starts; every fault is one line that says where and what.

A stage's keys are the fields of its operation, derived from the class: an operation gains a field, and the file may set it.
Paths in a file are relative to the file's folder. What needs other files to be opened is checked in pipeline.py.
"""

from __future__ import annotations

import dataclasses
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import Field, create_model

from .. import OPS, Op
from ..backends import BACKENDS
from ..calib.tracking import Tracking
from ..detectors import DETECTORS, Detector
from ..simulate import Simulation
from .document import Block, Text, text_of, validated
from .faults import ConfigError
from .wiring import wiring

STAGE_OPS = ("calib.gain", "calib.counts", "calib.common_mode", "calib.scale", "veto.lit_pixels", "compress.quantize", "compress.bitshuffle_lz4")
SET_BY_STREAM: dict[str, set[str]] = {      # by the rest of a configuration, or kept as they are
    "calib.gain": {"pedestal", "gain", "good", "detector", "status", "cells", "gain_stage"}, "calib.counts": {"good", "codes", "status"},
    "calib.common_mode": {"gain", "report"}, "calib.scale": {"plane"}, "veto.lit_pixels": {"good"}, "compress.quantize": {"good"},
    "compress.bitshuffle_lz4": {"shape", "dtype"},
}
Count = Annotated[int, Field(ge=1, le=1 << 48)]     # beyond any detector; numpy takes no larger ones everywhere


class PanelsBlock(Block):
    """A detector: its kind, and if only a part of it is read, the ids of its panels or the shape of a frame."""

    type: str
    shape: Annotated[list[Count], Field(min_length=1, max_length=3)] | None = None
    segments: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None

    @property
    def frame(self) -> tuple[int, ...]:
        """The shape of one frame of constants, for a type that there is."""
        whole = DETECTORS[self.type].shape
        return tuple(self.shape) if self.shape else (len(self.segments), *whole[1:]) if self.segments and len(whole) > 2 else whole

    @property
    def kind(self) -> Detector:
        """The detector of these panels."""
        return dataclasses.replace(DETECTORS[self.type], shape=self.frame, segments=tuple(self.segments or ()))


class DetectorBlock(PanelsBlock):
    """A detector, and its constants: a constants file of gpuredux, and what that does not hold as file.h5:/dataset or `simulated`. bad: names of bits of
    the file's status that leave a gain stage of a pixel out. noise is for track_pedestal."""

    constants: str | None = None
    bad: list[str] | None = None
    pedestal: str | None = None
    gain: str | None = None
    good: str | None = None
    noise: str | None = None


class Hdf5Source(Block):
    """Frames of HDF5 files, one after the other; without pulse_id, frames are numbered from 0. taken: the number of the run, or its time in ISO 8601,
    for the validity of the constants."""

    type: Literal["hdf5"]
    detector: str
    files: Annotated[list[str], Field(min_length=1)]
    raw: str
    pulse_id: str | None = None
    taken: int | str | None = None


def fields_of(cls: type, leave_out: set[str]) -> dict[str, Any]:
    """The fields of a dataclass that are no arrays, with their types and defaults, for a block. A YAML list will do for a tuple."""
    hints, given = get_type_hints(cls), {}
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if not _is_array(hint) and f.name not in leave_out:
            hint = Annotated[hint, Field(strict=False)] if get_origin(hint) is tuple else hint
            given[f.name] = (hint, ... if f.default is dataclasses.MISSING else f.default)
    return given


def _is_array(hint: Any) -> bool:
    return hint is np.ndarray or any(_is_array(a) for a in get_args(hint))


class _Simulated(Block):
    """Frames of gpuredux.simulate: so many of them; gives <detector>.raw and <detector>.pulse_id. The other keys are Simulation's fields."""

    type: Literal["simulated"]
    detector: str
    frames: Count


if TYPE_CHECKING:
    SimulatedSource = _Simulated
else:
    SimulatedSource = create_model("SimulatedSource", __base__=_Simulated, **fields_of(Simulation, {"shape"}))


class Stage(Block):
    """One operation; its fields are those of the operation, arrays as file.h5:/dataset."""

    op: ClassVar[type[Op]]
    arrays: ClassVar[tuple[str, ...]]
    type: str
    input: str | None = None

    def fields(self) -> dict[str, Any]:
        """What the file says about the operation."""
        return {k: getattr(self, k) for k in type(self).model_fields if k not in ("type", "input", "track_pedestal")}


if TYPE_CHECKING:
    TrackBlock = Block
else:
    TrackBlock = create_model("TrackBlock", __base__=Block, __doc__=Tracking.__doc__, **fields_of(Tracking, set()))


def stage_of(op: type[Op]) -> type[Stage]:
    """The block of an operation: its fields, with their types and defaults; calib.gain's has track_pedestal, too, a bank may be the detector's, and
    calib.scale's plane is a product."""
    kept, hints = SET_BY_STREAM.get(op.name, set()), get_type_hints(op)
    given: dict[str, Any] = {"type": (Literal[op.name], ...), **fields_of(op, kept)}
    arrays = {f.name: f.default for f in dataclasses.fields(op) if _is_array(hints[f.name]) and f.name not in kept}
    given |= {k: (str, ...) if default is dataclasses.MISSING else (str | None, None) for k, default in arrays.items()}
    given |= {"track_pedestal": (TrackBlock | None, None)} if op.name == "calib.gain" else {}
    given |= {"bank": (given["bank"][0] | None, None)} if op.name == "calib.common_mode" else {}
    given |= {"divide": (list[float | str], []), "multiply": (list[float | str], [])} if op.name == "calib.scale" else {}
    made = create_model(f"{op.__name__}Stage", __base__=Stage, __doc__=op.__doc__, **given)
    made.op, made.arrays = op, tuple(arrays)
    return made


STAGES = {name: stage_of(OPS[name]) for name in STAGE_OPS}

if TYPE_CHECKING:
    AnyStage = Stage
else:
    AnyStage = Annotated[reduce(or_, STAGES.values()), Field(discriminator="type")]


class SinkBlock(Block):
    """HDF5/NeXus part files in a folder of their own; a part is closed when it holds part_frames stored frames."""

    type: Literal["hdf5"]
    path: str
    part_frames: Count = 1000
    overwrite: bool = False


class RunBlock(Block):
    """How it runs; nothing here changes what is written, but where pedestals are tracked: they are swapped between batches."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 32
    slots: Annotated[int, Field(ge=1, le=1024)] = 3
    backend: Literal[tuple(BACKENDS)] = "numba"  # type: ignore[valid-type]
    device: Annotated[int, Field(ge=0)] = 0
    max_frames: Count | None = None


class Config(Block):
    """A whole file."""

    version: Literal[1]
    detectors: Annotated[dict[str, DetectorBlock], Field(min_length=1)]
    source: Annotated[SimulatedSource | Hdf5Source, Field(discriminator="type")]
    stages: Annotated[list[AnyStage], Field(min_length=1)]
    sink: SinkBlock
    run: RunBlock = RunBlock()


@dataclasses.dataclass(frozen=True)
class Document(Text):
    """A configuration of a run with the text it came from."""

    config: Config


def load(file: str | Path) -> Document:
    """Read and check a file. Raises ConfigError with all the faults that can be seen without opening other files."""
    return parse(*text_of(file))


def parse(text: str, name: str, folder: Path) -> Document:
    """Check a configuration's text; name stands in the messages, folder is where its paths begin."""
    config, lines = validated(Config, text, name)
    document = Document(text, name, folder, lines, config)
    faults = wiring(document)
    if faults:
        raise ConfigError(faults)
    return document
