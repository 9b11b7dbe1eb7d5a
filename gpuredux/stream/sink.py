"""Where events go: part files, and the journal that says which of them are committed.

A part ends when it holds part_frames written events, or 64 times as many events seen, wherever the batches end: what is in a
file does not depend on the batch size. Its commit record follows its rename, so what the journal calls committed is there.
"""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np

from .. import __version__
from .config import Document
from .event import VETOED, WRITTEN, Account, Ids
from .faults import ConfigError
from .journal import FORMAT, NAME, JournalWriter, being_written
from .part import Part, stored
from .part_bytes import SinkFailed
from .part_features import write_accumulated
from .pipeline import Pipeline
from .slot import Slot

OURS = re.compile(r"part_\d{6,}\.h5(\.partial)?|journal\.bin|(summary\.json|accumulated\.h5)(\.partial)?")
EVENTS_PER_FRAME = 64
VERSIONS = {"gpuredux": __version__, "numpy": np.__version__, "numba": numba.__version__, "h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version,
            "python": platform.python_version()}


def claim(document: Document, folder: Path) -> None:
    """Refuse a folder that cannot be made or written, one that a run is writing, and one with an earlier run, unless overwrite is true. Leaves all
    as it is. Raises ConfigError."""
    try:
        _claim(document, folder)
    except (OSError, ValueError) as e:
        if isinstance(e, ConfigError):
            raise
        raise ConfigError([document.at(("sink", "path"), f"{str(folder)[:200]!r} cannot be used: {getattr(e, 'strerror', None) or e}")]) from None


def _claim(document: Document, folder: Path) -> None:
    """claim, with what the system refuses left as it is. Raises ConfigError, OSError, ValueError."""
    path = [folder, *folder.parents]
    k = next(i for i, p in enumerate(path) if os.path.lexists(p))
    if not path[k].is_dir():
        raise ConfigError([document.at(("sink", "path"), f"{path[k]} is not a folder")])
    if not os.access(path[k], os.W_OK | os.X_OK):
        raise ConfigError([document.at(("sink", "path"), f"{path[k]} cannot be written")])
    if k and not os.statvfs(path[k]).f_blocks:      # /proc, /sys and the like say yes and take no files; only a trial tells
        path[k - 1].mkdir()
        path[k - 1].rmdir()
    if being_written(folder):
        raise ConfigError([document.at(("sink", "path"), f"{folder}: a run is writing there; choose another folder")])
    old = sorted(p.name for p in folder.iterdir() if OURS.fullmatch(p.name)) if folder.exists() else []
    if old and not document.config.sink.overwrite:
        raise ConfigError([document.at(("sink", "path"), f"{folder} holds an earlier run ({old[0]}{', ...' if len(old) > 1 else ''}): "
                                       "choose another folder, or set sink.overwrite: true to replace it")])


class Sink:
    """Takes slots in order; for one thread, but the journal is for all."""

    def __init__(self, document: Document, folder: Path, pipeline: Pipeline, account: Account) -> None:
        self._document, self.folder, self._pipeline, self._account = document, folder, pipeline, account
        self._part: Part | None = None
        self._number = self.taken = 0       # the next part; how many events of the current batch are in parts
        self.committed = {"parts": 0, "payload": 0, "bytes": 0, "lossless": 0, "reduced": 0, "unreduced": 0}
        about = {"versions": VERSIONS, "start_time": datetime.now(UTC).isoformat(timespec="seconds")}
        self._about = {"version": __version__, "start_time": about["start_time"], **{f"{k}_version": v for k, v in VERSIONS.items() if k != "gpuredux"}}
        claim(document, folder)     # again: another run may have begun here since the configuration was checked
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in [p for p in folder.iterdir() if OURS.fullmatch(p.name)] if document.config.sink.overwrite else []:
                old.unlink()
            self.journal = JournalWriter(folder)
            self.journal.append({"kind": "start", "format": FORMAT, **about, "config": document.text, "config_sha256": document.digest,
                                 "operations": pipeline.chain.digest(), "backend": pipeline.backend.name, "device": str(pipeline.device),
                                 "constants": pipeline.about_constants})
        except OSError as e:
            raise SinkFailed(f"{folder}: {e.strerror or e}") from None

    def note(self, payload: dict[str, Any], durable: bool = True) -> None:
        """A record of the journal, from any thread. Raises SinkFailed."""
        try:
            self.journal.append(payload, durable)
        except OSError as e:
            raise SinkFailed(f"{self.folder / NAME}: {e.strerror or e}") from None

    def write(self, slot: Slot) -> None:
        """Store a batch, closing parts where they are full. Raises SinkFailed."""
        limit = self._document.config.sink.part_frames
        self.taken = 0
        kept = np.cumsum(stored(slot.decision))
        for start, stop in slot.whole:
            self._write(slot, start, stop, limit, kept)

    def _write(self, slot: Slot, start: int, end: int, limit: int, kept: Any) -> None:
        """A run of events, none of which failed."""
        while start < end:
            if self._part is None:
                self._part = self._new_part()
            part, before = self._part, int(kept[start - 1]) if start else 0
            room = limit - part.n_written
            full = int(np.searchsorted(kept, before + room)) + 1        # the event that fills the part, and it
            stop = min(end, full, start + limit * EVENTS_PER_FRAME - part.n_events)
            part.append(slot, start, stop)
            self.taken = stop
            if part.n_written == limit or part.n_events == limit * EVENTS_PER_FRAME:
                self.commit()
            start = stop

    def _new_part(self) -> Part:
        try:
            return Part(self.folder, self._number, self._document, self._pipeline, self._about)
        except OSError as e:
            raise SinkFailed(f"{self.folder}: part {self._number}: {e.strerror or e}") from None

    def commit(self) -> None:
        """Finish the open part, if there is one, and write its commit record. Raises SinkFailed."""
        if self._part is None:
            return
        record = self._part.finish()
        counts = {k: sum(run[1] for run in record[k]) for k in ("written", "vetoed", "reduced", "unreduced")}
        self.note({**record, "counts": counts})     # should this fail, the part is still the open one, and is abandoned
        self._part = None
        self._account.settle(WRITTEN, counts["written"])
        self._account.settle(VETOED, counts["vetoed"])
        self._number += 1
        self.committed["parts"] += 1
        for key in ("payload", "bytes", "lossless"):
            self.committed[key] += record[key]
        for key in ("reduced", "unreduced"):
            self.committed[key] += counts[key]

    def end(self) -> None:
        """Commit the open part, and write what accumulated over the run, now that all is computed. Raises SinkFailed."""
        self.commit()
        record = write_accumulated(self.folder, self._pipeline, self._about)
        if record is not None:
            self.note(record)
            self.committed["bytes"] += record["bytes"]

    def abandon(self) -> Ids:
        """Remove the open part; the ids of its events."""
        part, self._part = self._part, None
        return part.abandon() if part is not None else np.zeros(0, np.uint64)
