"""Dark frames for `gpuredux-stream dark`, read twice: a few of them spread over the run, then all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..calib.darks import spread
from ..simulate import Simulation
from .dark_config import DarkDocument, DarkHdf5
from .event import Ids
from .faults import ConfigError
from .source import NONE, Read
from .source_hdf5 import FromHdf5

Frames = np.ndarray[Any, Any]


class SimulatedDarks:
    """Dark frames of gpuredux.simulate in one gain stage; no cells."""

    def __init__(self, document: DarkDocument, i: int, frame: tuple[int, ...]) -> None:
        block = document.config.darks[i].source
        try:
            self._simulation = Simulation(frame, **block.model_dump(exclude={"type", "detector", "frames"}))
        except ValueError as e:
            raise ConfigError([document.at(("darks", i, "source"), str(e).removeprefix("Simulation: "))]) from None
        self.frame, self.total, self._gain = frame, int(block.model_dump()["frames"]), document.config.darks[i].gain or 0
        self._next = 0

    @property
    def ids(self) -> Ids:
        return np.zeros(self.total, np.uint64)

    def skip(self, n: int) -> None:
        self._next += n

    def read(self, raw: Frames, pulse_id: Ids, limit: int) -> Read:
        n = min(limit, len(raw), self.total - self._next)
        raw[:n] = self._simulation.darks(n, self._gain, self._next)
        pulse_id[:n] = 0
        self._next += n
        return Read(n, NONE, n == 0)

    def close(self) -> None:
        pass


class DarkSource:
    """The dark frames of one block: sample() and then batches(). Raises ConfigError, and SourceLost while it reads."""

    def __init__(self, document: DarkDocument, i: int) -> None:
        block, kind, frame = document.detector
        self._document, self._i, self._cells = document, i, block.cells
        self._batch = document.config.run.batch
        source = document.config.darks[i].source
        if source.type == "simulated" and not kind.name.startswith("jungfrau"):
            raise ConfigError([document.at(("darks", i, "source", "type"), f"the simulation is of the Jungfrau kind, {source.detector} is {kind.name!r}")])
        self._frame = frame
        opened = self._open()
        self.total, self.ids = opened.total, opened.ids
        opened.close()
        if opened.frame != frame:
            raise ConfigError([document.at(("detectors", source.detector, "shape"), f"{source.detector} is {frame}, the source gives {opened.frame}")])
        if not self.total:
            raise ConfigError([document.at(("darks", i, "source"), "holds no frame")])
        if self._cells and int(self.ids.max()) >= self._cells:
            raise ConfigError([document.at(("darks", i, "source", "cell"), f"holds cell {self.ids.max()}; the detector has {self._cells}, counted from 0")])
        self.files = source.files if isinstance(source, DarkHdf5) else ["simulated"]
        self.corrupt = 0

    def _open(self) -> SimulatedDarks | FromHdf5:
        source = self._document.config.darks[self._i].source
        if isinstance(source, DarkHdf5):
            return FromHdf5(self._document, source.source(), ("darks", self._i, "source"))
        return SimulatedDarks(self._document, self._i, self._frame)

    def sample(self, k: int) -> tuple[Frames, Ids]:
        """k frames, of each cell, spread evenly over all that there are, and their cells; those that cannot be decoded are left out."""
        groups = [np.flatnonzero(self.ids == c) for c in range(self._cells)] if self._cells else [np.arange(self.total)]
        chosen = np.sort(np.concatenate([g[spread(len(g), k)] for g in groups]))
        raw, cell = np.empty((len(chosen), *self._frame), np.uint16), np.zeros(len(chosen), np.uint64)
        source, at, filled = self._open(), 0, 0
        try:
            for number in chosen.tolist():
                source.skip(number - at)
                filled += source.read(raw[filled : filled + 1], cell[filled : filled + 1], 1).n
                at = number + 1
        finally:
            source.close()
        return raw[:filled], cell[:filled]

    def batches(self) -> Iterator[tuple[Frames, Ids]]:
        """All frames, in one buffer that is used again, and their cells."""
        raw, cell = np.empty((min(self._batch, self.total), *self._frame), np.uint16), np.zeros(self._batch, np.uint64)
        source = self._open()
        self.corrupt = 0
        try:
            while True:
                found = source.read(raw, cell, self._batch)
                if found.ended:
                    return
                self.corrupt += len(found.corrupt)
                if found.n:
                    yield raw[: found.n], cell[: found.n]
        finally:
            source.close()
