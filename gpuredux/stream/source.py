"""Where frames come from: what a source is, and the simulation. A source fills the buffers that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..simulate import Simulation, Truth
from .config import Document
from .event import Ids
from .faults import ConfigError


class SourceLost(RuntimeError):
    """The source ended before its frames did."""


class Read(NamedTuple):
    """What a read brought: n whole frames in the first rows, and the ids of frames that could not be decoded. ended: no more will come."""

    n: int
    corrupt: Ids
    ended: bool


Values = Mapping[str, np.ndarray[Any, Any]]
NOTHING: Values = {}


class Source(Protocol):
    """frame: the shape of one frame; total: how many frames there are; values: what it says of each event beside its id, (total, ...) by name."""

    frame: tuple[int, ...]
    total: int
    values: dict[str, np.ndarray[Any, Any]]

    def read(self, raw: np.ndarray[Any, Any], pulse_id: Ids, limit: int, values: Values = NOTHING) -> Read:
        """Fill at most `limit` rows of raw (batch, *frame) u16, pulse_id and values (batch, ...). Raises SourceLost."""
        ...

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """pedestal, gain or good, of a source that makes them itself."""
        ...

    def close(self) -> None: ...


NONE = np.zeros(0, np.uint64)


class FromSimulation:
    """Frames of gpuredux.simulate, one at a time: they are the same for any batch size."""

    def __init__(self, document: Document) -> None:
        block = document.config.source
        detector = document.config.detectors[block.detector]
        if not detector.type.startswith("jungfrau"):
            raise ConfigError([document.at(("source", "type"), f"the simulation is of the Jungfrau kind, {block.detector} is {detector.type!r}")])
        self.frame = detector.frame
        fields = block.model_dump(exclude={"type", "detector", "frames"})
        try:
            self.simulation = Simulation(self.frame, **fields)
        except ValueError as e:
            raise ConfigError([document.at(("source",), str(e).removeprefix("Simulation: "))]) from None
        self.total: int = block.model_dump()["frames"]
        self.values: dict[str, np.ndarray[Any, Any]] = {}
        self._next = 0
        self.tell: Callable[[Truth], None] | None = None    # the truth of each frame that is given

    def read(self, raw: np.ndarray[Any, Any], pulse_id: Ids, limit: int, values: Values = NOTHING) -> Read:
        n = min(limit, len(raw), self.total - self._next)
        for i in range(n):
            frame, truth = self.simulation.frames(self._next + i, 1)
            raw[i], pulse_id[i] = frame[0], truth.pulse_id[0]
            if self.tell is not None:
                self.tell(truth)
        self._next += n
        return Read(n, NONE, n == 0)

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        value: np.ndarray[Any, Any] = getattr(self.simulation, name)
        return value

    def close(self) -> None:
        pass
