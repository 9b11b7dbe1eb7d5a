"""The memory of a run: a slot has the buffers of one batch, and a run has a fixed number of slots."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..veto.decision import DECISION
from .event import Ids

Array = Any


@dataclass
class Slot:
    """The buffers of one batch, from the source to the sink; allocated once."""

    raw: Array                      # (batch, *frame) u16
    pulse_id: Ids                   # (batch,)
    live: Array                     # (1,) i32
    out: dict[str, Array]           # host copies of the chain's outputs
    raw_payload: Array              # (batch, capacity) u8: events to be kept unreduced
    raw_size: Array
    raw_mask: Array | None          # of codecs that have one: the filter_mask of each
    n: int = 0                      # events in the batch
    kept: int = 0                   # rows of out["payload"]
    source: Array = None            # (kept,) the event of each row
    raw_source: Array = None        # the event of each row of raw_payload
    overflowed: list[int] = field(default_factory=list)     # rows with more outliers than their list holds
    failed: list[int] = field(default_factory=list)         # rows that verify found wrong; they are not written
    broken: list[int] = field(default_factory=list)         # of them those whose codes do not hold their bound
    verified: list[int] = field(default_factory=list)       # rows that it found right
    values: dict[str, Array] = field(default_factory=dict)  # (batch, ...) what the source says of each event

    def keep(self, n: int, wanted: Array) -> None:
        """Of the first n events only the wanted ones: their rows move up one by one, for a batch is too large to be copied."""
        rows = np.flatnonzero(wanted[:n])
        for to, row in enumerate(rows.tolist()):
            if to != row:
                self.raw[to] = self.raw[row]
        for value in self.values.values():
            value[: len(rows)] = value[rows]
        self.pulse_id[: len(rows)] = self.pulse_id[rows]
        self.n = len(rows)

    def ids(self, start: int = 0) -> Ids:
        """Of the events from this one on, without those that failed."""
        events = np.arange(start, self.n)
        return self.pulse_id[events[~np.isin(events, self.source[self.failed])]]

    @property
    def whole(self) -> list[tuple[int, int]]:
        """Runs of events (start, stop) without those that failed."""
        ends = [-1, *sorted(int(self.source[row]) for row in self.failed), self.n]
        return [(a + 1, b) for a, b in pairwise(ends) if a + 1 < b]

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.raw, self.pulse_id, self.live, self.raw_payload, self.raw_size, *([] if self.raw_mask is None else [self.raw_mask]),
                                       *self.out.values(), *self.values.values()))

    @property
    def decision(self) -> Array:
        """(n,) records of veto.decision.DECISION, or without a veto: keep all."""
        if "decision" in self.out:
            return self.out["decision"][: self.n].view(DECISION)[:, 0]
        return np.array([(1, 0, 0, np.nan)] * self.n, DECISION)
