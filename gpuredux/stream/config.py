"""The configuration of a run: YAML 1.2, checked in full before anything starts; every fault is one line that says where and what.

Stages: stages.py. Paths in a file are relative to the file's folder. What needs other files to be opened is checked in pipeline.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, create_model

from ..backends import BACKENDS
from ..detectors import DETECTORS, Detector
from ..simulate import Simulation
from .document import Block, Text, text_of, validated
from .faults import ConfigError
from .stages import AnyStage, fields_of
from .wiring import wiring

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
    the file's status that leave a gain stage of a pixel out. noise is for track_pedestal and calib.variance."""

    constants: str | None = None
    bad: list[str] | None = None
    pedestal: str | None = None
    gain: str | None = None
    good: str | None = None
    noise: str | None = None


class Hdf5Source(Block):
    """Frames of HDF5 files, one after the other; without pulse_id, frames are numbered from 0. taken: the number of the run, or its time in ISO 8601,
    for the validity of the constants. values: datasets with a row for each frame, by the names of inputs of operations: bin_index, weight, ..."""

    type: Literal["hdf5"]
    detector: str
    files: Annotated[list[str], Field(min_length=1)]
    raw: str
    pulse_id: str | None = None
    taken: int | str | None = None
    values: dict[str, str] = Field(default_factory=dict)


class _Simulated(Block):
    """Frames of gpuredux.simulate: so many of them; gives <detector>.raw and <detector>.pulse_id. The other keys are Simulation's fields."""

    type: Literal["simulated"]
    detector: str
    frames: Count


if TYPE_CHECKING:
    SimulatedSource = _Simulated
else:
    SimulatedSource = create_model("SimulatedSource", __base__=_Simulated, **fields_of(Simulation, {"shape"}))


class SinkBlock(Block):
    """HDF5/NeXus part files in a folder of their own; a part is closed when it holds part_frames stored frames."""

    type: Literal["hdf5"]
    path: str
    part_frames: Count = 1000
    overwrite: bool = False


class RunBlock(Block):
    """How it runs; nothing here changes what is written, but where pedestals are tracked: they are swapped between batches. verify: N: the chunk of every
    N-th reduced frame is decoded again, on the host, before it is written; if it is not what was encoded, its event failed. So it does if its energies, made
    anew on the host, lie beyond the quantiser's bound from what is decoded, or beyond the error that is noted of it. Events that were found right have a 1 in
    events/verified of their part. (Images beside, and unreduced words, are not looked at.)"""

    batch: Annotated[int, Field(ge=1, le=65536)] = 32
    slots: Annotated[int, Field(ge=1, le=1024)] = 3
    backend: Literal[tuple(BACKENDS)] = "numba"  # type: ignore[valid-type]
    device: Annotated[int, Field(ge=0)] = 0
    max_frames: Count | None = None
    verify: Count | None = None


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
