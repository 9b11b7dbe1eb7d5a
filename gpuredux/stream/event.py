"""What is known about events: sets of pulse ids, what became of each event, the account that has to close, and the pace."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.uint64]]
Runs = list[list[int]]

# What can become of an event: each one seen has exactly one of these outcomes, or is in flight. A vetoed event kept raw is written.
WRITTEN, VETOED, DROPPED, FAILED, DUPLICATE, CORRUPT = OUTCOMES = ("written", "vetoed", "dropped", "failed", "duplicate", "corrupt")


def pack_ids(ids: Any) -> Runs:
    """Ids, in their order, as runs [first, count, step] for the journal. Steps are taken modulo 2**64."""
    ids = np.asarray(ids, np.uint64)
    steps = np.diff(ids)
    ends = np.append(np.flatnonzero(steps[1:] != steps[:-1]) + 1, len(steps))     # steps[i:end] are equal
    runs: Runs = []
    i = 0
    while i < len(ids):
        end = int(ends[np.searchsorted(ends, i, side="right")]) if i < len(steps) else i
        runs.append([int(ids[i]), end - i + 1, int(steps[i]) if end > i else 1])
        i = end + 1
    return runs


def unpack_ids(runs: Runs) -> Ids:
    """The inverse of pack_ids."""
    parts = [np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(step) for first, count, step in runs]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


class PulseSet:
    """The pulse ids seen so far, as sorted ranges: 16 bytes a range, however long it is."""

    def __init__(self) -> None:
        self._first = np.zeros(64, np.uint64)
        self._last = np.zeros(64, np.uint64)
        self._n = 0

    def __len__(self) -> int:
        return sum(int(b) - int(a) + 1 for a, b in self.ranges())

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of every range, both included."""
        return list(zip(self._first[: self._n].tolist(), self._last[: self._n].tolist(), strict=True))

    def add(self, ids: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Add ids. True for those that were not there before; of equal ones in the same call, the first."""
        order = np.argsort(ids, kind="stable")
        s = ids[order]
        first, last = self._first[: self._n], self._last[: self._n]
        known = np.zeros(len(s), bool)
        known[1:] = s[1:] == s[:-1]
        if self._n:
            k = np.searchsorted(first, s, side="right") - 1
            known |= (k >= 0) & (s <= last[np.maximum(k, 0)])
        u = s[~known]
        if len(u):
            gap = np.flatnonzero(u[1:] - u[:-1] != 1)
            self._merge(u[np.append(0, gap + 1)], u[np.append(gap, len(u) - 1)])
        new = np.empty(len(s), bool)
        new[order] = ~known
        return new

    def _merge(self, first: Ids, last: Ids) -> None:
        """Take in sorted ranges that meet none of those held."""
        n, one = self._n, np.uint64(1)
        keep = n - 1 if n and first[0] > self._last[n - 1] else 0     # in order: only the last range can grow
        a = np.concatenate([self._first[keep:n], first])
        b = np.concatenate([self._last[keep:n], last])
        order = np.argsort(a, kind="stable")
        a, b = a[order], b[order]
        cut = np.flatnonzero(a[1:] - b[:-1] != one)
        a, b = a[np.append(0, cut + 1)], b[np.append(cut, len(b) - 1)]
        while keep + len(a) > len(self._first):
            self._first, self._last = (np.concatenate([x, np.zeros_like(x)]) for x in (self._first, self._last))
        self._n = keep + len(a)
        self._first[keep : self._n], self._last[keep : self._n] = a, b


class Account:
    """seen = written + vetoed + dropped + failed + duplicate + corrupt + in flight; safe to read and write from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0
        self._count = dict.fromkeys(OUTCOMES, 0)

    def see(self, n: int) -> None:
        with self._lock:
            self._seen += n

    def settle(self, outcome: str, n: int) -> None:
        """n events that were in flight have this outcome."""
        with self._lock:
            self._count[outcome] += n

    def snapshot(self) -> dict[str, int]:
        """All the numbers of one moment; in_flight is what seen events have no outcome yet."""
        with self._lock:
            return {"seen": self._seen, **self._count, "in_flight": self._seen - sum(self._count.values())}


@dataclass
class Rates:
    """Of the run so far."""

    frames: int = 0
    bytes_in: int = 0
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("source", "compute", "sink"), 0.0))     # seconds of work, waits apart
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started
