"""Pedestals that follow the dark pixels of the run itself: track_pedestal of calib.gain. They are swapped between two batches, never within one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calib.gain import Gain
from ..calib.tracking import Move, PedestalTracker, Tracking
from ..op import Plan
from .faults import ConfigError

if TYPE_CHECKING:
    from .pipeline import Pipeline


class Follower:
    """The tracker of a pipeline, and the plans that get its pedestals."""

    def __init__(self, tracker: PedestalTracker, plans: Sequence[Plan]) -> None:
        self.tracker, self._plans = tracker, plans
        self._stored, self._to_store = threading.Condition(), 0     # batches with frames that the sink calibrates anew, with the pedestals of their time

    def add(self, n: int, raw: Any, live: Any, overflowed: bool) -> None:
        """A batch was computed; overflowed: it has such frames."""
        self.tracker.add(n, raw, live)
        with self._stored:
            self._to_store += overflowed

    def settled(self, overflowed: bool) -> None:
        """The sink has done with a batch."""
        with self._stored:
            self._to_store -= overflowed
            self._stored.notify_all()

    def swap(self, give_up: Callable[[], bool]) -> Move | None:
        """Between batches, for the thread that runs them: new pedestals, if they are due. First the sink stores what needs those of now."""
        if not self.tracker.due:
            return None
        with self._stored:
            while self._to_store and not give_up():
                self._stored.wait(0.05)
        if give_up():
            return None
        pedestal = self.tracker.step()
        for plan in self._plans:
            plan.update(pedestal=pedestal)
        return self.tracker.moves[-1]


def follower(pipeline: Pipeline, noise: np.ndarray[Any, Any] | None) -> Follower | None:
    """What follows the pedestals, if the configuration wants it. Raises ConfigError."""
    stages = pipeline.document.config.stages
    i, block = next(((i, b) for i, s in enumerate(stages) if (b := getattr(s, "track_pedestal", None)) is not None), (0, None))
    if block is None:
        return None
    assert isinstance(pipeline.gain, Gain) and noise is not None        # wiring saw to it
    try:
        tracker = PedestalTracker(pipeline.gain, noise, Tracking(**block.model_dump()), pipeline.backend.name, pipeline.device)
    except ValueError as e:
        words = str(e).removeprefix("tracking: ")
        raise ConfigError([pipeline.document.at(("stages", i, "track_pedestal", words.split()[0]), words)]) from None
    exact = pipeline.exact_plan
    return Follower(tracker, [pipeline.plan, *([exact] if exact and exact.device != pipeline.device else [])])
