"""The configuration of `gpuredux-stream dark`: which frames are dark, of which gain stage, how they are judged, and where the constants go."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from ..backends import BACKENDS
from ..calib.dark_kind import stages
from ..calib.dark_status import Limits
from ..detectors import DETECTORS, Detector
from .config import Hdf5Source, PanelsBlock, SimulatedSource
from .document import Block, Text, text_of, validated
from .faults import ConfigError, did_you_mean
from .stages import fields_of
from .wiring import panels


class DarkDetector(PanelsBlock):
    """A detector, and its memory cells in use."""

    cells: Annotated[int, Field(ge=0, le=65535)] = 0


class DarkHdf5(Block):
    """Dark frames of HDF5 files, one after the other; cell: the dataset with each frame's memory cell, for a detector with cells."""

    type: Literal["hdf5"]
    detector: str
    files: Annotated[list[str], Field(min_length=1)]
    raw: str
    cell: str | None = None

    def source(self) -> Hdf5Source:
        """The same frames as a source; a frame's cell stands where its pulse id would."""
        return Hdf5Source(type="hdf5", detector=self.detector, files=self.files, raw=self.raw, pulse_id=self.cell)


class DarkBlock(Block):
    """Dark frames of one gain stage, or of pixels that were all configured for one state (ePix10ka, ePixHR, ePixUHR: FH, AHL_H, FHG ...)."""

    gain: Annotated[int, Field(ge=0, le=7)] | None = None
    state: str | None = None
    source: Annotated[SimulatedSource | DarkHdf5, Field(discriminator="type")]

    @property
    def stage(self) -> int | str:
        """What the results go by; one of the two is there."""
        return self.state if self.state is not None else int(self.gain or 0)

    @property
    def title(self) -> str:
        return f"gain {self.gain}" if self.state is None else f"state {self.state}"


if TYPE_CHECKING:
    LimitsBlock = Block
else:
    LimitsBlock = create_model("LimitsBlock", __base__=Block, **fields_of(Limits, set()))


class EstimatorBlock(Block):
    """sample: frames, spread evenly over a run (of each cell), that set the gate of median +- width * 1.4826 MAD. write: which estimate the file gets."""

    sample: Annotated[int, Field(ge=2, le=65535)] = 100
    width: Annotated[float, Field(ge=1, le=100)] = 3.0
    write: Literal["robust", "plain"] = "robust"
    limits: LimitsBlock = LimitsBlock()


class OutputBlock(Block):
    """The constants file."""

    path: str
    overwrite: bool = False


class DarkRunBlock(Block):
    """How it runs; nothing here changes what is written."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 64
    backend: Literal[tuple(BACKENDS)] = "numba"  # type: ignore[valid-type]
    device: Annotated[int, Field(ge=0)] = 0


class DarkConfig(Block):
    """A whole file."""

    version: Literal[1]
    detectors: Annotated[dict[str, DarkDetector], Field(min_length=1)]
    darks: Annotated[list[DarkBlock], Field(min_length=1)]
    output: OutputBlock
    estimator: EstimatorBlock = EstimatorBlock()
    run: DarkRunBlock = DarkRunBlock()


@dataclasses.dataclass(frozen=True)
class DarkDocument(Text):
    """A configuration of dark runs with the text it came from."""

    config: DarkConfig

    @property
    def detector(self) -> tuple[DarkDetector, Detector, tuple[int, ...]]:
        """The block of the one detector, its kind, and the shape of a frame of words."""
        block = self.config.detectors[self.config.darks[0].source.detector]
        return block, block.kind, block.kind.raw_shape


def load(file: str | Path) -> DarkDocument:
    """Read and check a file. Raises ConfigError with all the faults that can be seen without opening other files."""
    return parse(*text_of(file))


def parse(text: str, name: str, folder: Path) -> DarkDocument:
    """Check a configuration's text; name stands in the messages, folder is where its paths begin."""
    config, lines = validated(DarkConfig, text, name)
    document = DarkDocument(text, name, folder, lines, config)
    faults = _faults(document)
    if faults:
        raise ConfigError(faults)
    return document


def _faults(document: DarkDocument) -> list[str]:
    """Names that nothing gives, gain stages that are not there or given twice."""
    config, faults = document.config, []
    for name, block in config.detectors.items():
        if block.type not in DETECTORS:
            faults.append(document.at(("detectors", name, "type"), f"unknown type {block.type!r}{did_you_mean(block.type, DETECTORS)}"))
            continue
        faults += panels(document, name, block)
        whole = DETECTORS[block.type].n_panels
        if block.segments is None and math.prod(block.frame[:-2]) != whole:
            faults.append(document.at(("detectors", name, "shape"), f"frames have other than the {whole} panels of {block.type}: say which, by segments: [id]"))
        unread = _unread(DETECTORS[block.type])
        if unread:
            faults.append(document.at(("detectors", name, "type"), f"{block.type}: {unread}"))
    first = config.darks[0].source.detector
    for i, dark in enumerate(config.darks):
        place: tuple[Any, ...] = ("darks", i)
        name = dark.source.detector
        if name not in config.detectors:
            faults.append(document.at((*place, "source", "detector"), f"no detector {name!r}{did_you_mean(name, config.detectors)}"))
        elif name != first:
            faults.append(document.at((*place, "source", "detector"), f"{name!r}: one file holds one detector, and this one is {first!r}'s"))
        if (dark.gain is None) == (dark.state is None):
            faults.append(document.at(place, f"needs gain or state, {'one' if dark.gain is None else 'and not both'} of them"))
        elif dark.stage in [d.stage for d in config.darks[:i]]:
            key = "gain" if dark.state is None else "state"
            what = f"{'stage' if dark.state is None else 'state'} {dark.stage}"
            faults.append(document.at((*place, key), f"{what} is given twice; put its files into one list"))
        elif (dark.state is None) != (config.darks[0].state is None):
            faults.append(document.at(place, "gain stages and configured states do not go together in one file"))
    if not config.output.path:
        faults.append(document.at(("output", "path"), "must not be empty"))
    try:
        Limits(**config.estimator.limits.model_dump())
    except ValueError as e:
        faults.append(document.at(("estimator", "limits", str(e).split()[1]), str(e).removeprefix("limits: ")))
    return faults or _of_detector(document)


def _unread(kind: Detector) -> str:
    """Why dark frames of a detector cannot be read here, if so."""
    if kind.word == "packed12":
        return ("its words are packed, and sources here are of 16-bit words: unpack them (Detector.unpack) and name them epixuhr3x2_asics, whose constants"
                " hold for both; or let calib.darks.DarkRun of the library take them as they are")
    return "it counts photons, and has no pedestal" if kind.counts else ""


def _of_detector(document: DarkDocument) -> list[str]:
    """What the detector's kind says of the rest."""
    block, kind, _ = document.detector
    name, faults = document.config.darks[0].source.detector, []
    if block.cells > kind.cells:
        faults.append(document.at(("detectors", name, "cells"), f"{kind.name} has {kind.cells or 'no'} memory cells, got {block.cells}"))
    for i, d in enumerate(document.config.darks):
        if d.gain is not None and d.gain not in stages(kind):
            faults.append(document.at(("darks", i, "gain"), f"{kind.name} has the stages {', '.join(map(str, stages(kind)))}, got {d.gain}"))
        known = kind.config.names if kind.config else ()
        if d.state is not None and d.state not in known:
            words = f"{kind.name} has the states {', '.join(known)}, got {d.state!r}{did_you_mean(d.state, known)}" if known else \
                f"{kind.name} has no configured states; give gain"
            faults.append(document.at(("darks", i, "state"), words))
        if block.cells and not isinstance(d.source, DarkHdf5):
            what = f"the simulation does not say which cell a frame is of, and {name} has cells (detectors.{name}.cells)"
            faults.append(document.at(("darks", i, "source", "type"), what))
        elif (getattr(d.source, "cell", None) is not None) != (block.cells > 0):
            what = "missing: the dataset with each frame's cell" if block.cells else "given, but the detector has no cells (detectors.NAME.cells)"
            faults.append(document.at(("darks", i, "source", "cell"), what))
    return faults
