"""The run: source -> compute -> sink, three threads and a fixed set of slots between them. Over 200 lines: all that becomes of an event.

Order is kept, and no event is lost unseen. Only the compute thread runs the plan; the sink takes turns with it, by the lock of the pipeline, for
the rare frames that it encodes itself.
Every wait is on a queue that is closed when its sender ends, for whatever reason. A failure stops the intake; what is whole is still
written, the rest is counted as failed, with its pulse ids.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from .channel import Channel, Closed
from .config import Document
from .event import CORRUPT, DROPPED, DUPLICATE, FAILED, Account, Ids, PulseSet, Rates, pack_ids
from .part_bytes import SinkFailed
from .pipeline import Pipeline
from .recheck import BROKEN, WORDS
from .sink import Sink
from .slot import Slot
from .source import Source, SourceLost


class Runner:
    """A configured run. run() returns when all is drained; stop() and abort() may be called from signal handlers."""

    def __init__(self, document: Document, source: Source, pipeline: Pipeline, folder: Path, max_frames: int | None = None) -> None:
        limits = [source.total, *(m for m in (max_frames, document.config.run.max_frames) if m is not None)]
        self.expected = min(limits)
        self.document, self.source, self.pipeline, self.folder = document, source, pipeline, folder
        self.account, self.rates = Account(), Rates()
        self.failure: tuple[str, BaseException] | None = None
        self._stop = self._abort = False
        self._lock = threading.Lock()
        self._free: Channel[Slot] = Channel()
        self._ready: Channel[Slot] = Channel()
        self._done: Channel[Slot] = Channel()
        self.slots = [pipeline.slot() for _ in range(document.config.run.slots)]
        for slot in self.slots:
            self._free.put(slot)
        self.sink = Sink(document, folder, pipeline, self.account)

    # ------------------------------------------------------------------ the main thread
    def run(self, progress: Callable[[Runner], None], every: float = 0.5) -> None:
        """Run to the end; progress is called now and then from this thread. Should it raise, the intake ends, and what was taken in is written."""
        self.rates.started = time.monotonic()
        steps = (("source", self._intake), ("compute", self._compute), ("sink", self._store))
        threads = [threading.Thread(target=self._guard, args=step, name=f"gpuredux-{step[0]}") for step in steps]
        for t in threads:
            t.start()
        try:
            for t in threads:
                while t.is_alive():
                    t.join(every)
                    progress(self)
        except BaseException:
            self.stop()
            raise
        finally:
            for t in threads:
                t.join()
            self.rates.ended = time.monotonic()
            self.source.close()

    def stop(self) -> None:
        """End the intake; what was taken in is written."""
        self._stop = True

    def abort(self) -> None:
        """End the intake and drop what was not computed or stored yet; it is counted as dropped."""
        self._stop = self._abort = True

    def fail(self, step: str, cause: BaseException) -> None:
        """Remember the first failure and end the intake."""
        with self._lock:
            self.failure = self.failure or (step, cause)
        self._stop = True
        if not isinstance(cause, SourceLost):
            self._free.close()

    @property
    def interrupted(self) -> bool:
        return self._stop and self.failure is None

    def _guard(self, step: str, body: Callable[[], None]) -> None:
        """Run the body of a thread; whatever ends it, the next thread hears of it."""
        after = {"source": self._ready, "compute": self._done, "sink": self._free}[step]
        try:
            body()
        except Closed:
            pass        # a later thread failed and ended the intake; it has said why
        except BaseException as e:
            self.fail(step, e)
        finally:
            after.close()

    def _lose(self, ids: Ids, step: str, outcome: str = FAILED, words: str = "") -> None:
        """Count events that will not be written, and try to say so in the journal."""
        if not len(ids):
            return
        self.account.settle(outcome, len(ids))
        said = words or (self.failure[1] if self.failure and outcome == FAILED else None)
        why = f"{step}: {said}" if said else "aborted"
        try:
            self.sink.note({"kind": "lost", "outcome": outcome, "ids": pack_ids(ids), "why": why})
        except SinkFailed as e:
            self.fail("sink", e)

    # ------------------------------------------------------------------ the three threads
    def _intake(self) -> None:
        known, seen = PulseSet(), 0
        while not self._stop and seen < self.expected:
            slot = self._free.get()
            begun = time.monotonic()
            found = self.source.read(slot.raw, slot.pulse_id, min(self.pipeline.batch, self.expected - seen), slot.values)
            if found.ended:
                return
            ids = slot.pulse_id[: found.n]
            new = known.add(ids)
            duplicate = ids[~new]
            slot.keep(found.n, new)
            seen += found.n + len(found.corrupt)
            self._announce(slot, duplicate, found.corrupt)
            self.rates.frames += found.n
            self.rates.bytes_in += found.n * slot.raw[:1].nbytes
            self.rates.busy["source"] += time.monotonic() - begun
            (self._ready if slot.n else self._free).put(slot)

    def _announce(self, slot: Slot, duplicate: Ids, corrupt: Ids) -> None:
        """Account and journal hear of events before anything is done with them."""
        ids = slot.pulse_id[: slot.n]
        self.account.see(slot.n + len(duplicate) + len(corrupt))
        self.account.settle(DUPLICATE, len(duplicate))
        self.account.settle(CORRUPT, len(corrupt))
        try:
            self.sink.note({"kind": "seen", "ids": pack_ids(ids), "duplicate": pack_ids(duplicate), "corrupt": pack_ids(corrupt)}, durable=False)
        except SinkFailed as e:
            self.fail("sink", e)
            self._lose(ids, "sink")
            raise

    def _compute(self) -> None:
        broken = False
        for slot in self._ready:
            begun = time.monotonic()
            if self._abort or broken:
                self._lose(slot.pulse_id[: slot.n], "compute", DROPPED if self._abort else FAILED)
                self._free.put(slot)
                continue
            try:
                self._swap()
                self.pipeline.run(slot)
            except BaseException as e:      # a callable's sys.exit() loses no event
                broken = True
                self.fail("compute", e)
                self._lose(slot.pulse_id[: slot.n], "compute")
                self._free.put(slot)
                continue
            self.rates.busy["compute"] += time.monotonic() - begun
            self._done.put(slot)

    def _swap(self) -> None:
        """Between two batches, the pedestals that were tracked, and a word about them in the journal."""
        if self.pipeline.follower is None:
            return
        move = self.pipeline.follower.swap(lambda: self._abort or self.failure is not None)
        if move is not None:
            self.sink.note({"kind": "pedestal", **asdict(move)}, durable=False)

    def _store(self) -> None:
        broken = False
        for slot in self._done:
            begun = time.monotonic()
            for words, rows in ((WORDS, [row for row in slot.failed if row not in slot.broken]), (BROKEN, slot.broken)):
                self._lose(slot.pulse_id[slot.source[rows]], "verify", words=words)
            if not (broken or self._abort):
                try:
                    with self.pipeline.parallel if slot.overflowed else nullcontext():     # such frames are made anew and encoded there
                        begun = time.monotonic()
                        self.sink.write(slot)
                except Exception as e:
                    broken = self._break(e)
                    self._lose(slot.ids(self.sink.taken), "sink")
            else:
                self._lose(slot.ids(), "sink", FAILED if broken else DROPPED)
            if self.pipeline.follower is not None:
                self.pipeline.follower.settled(bool(slot.overflowed))
            self.rates.busy["sink"] += time.monotonic() - begun
            self._free.put(slot)
        if not broken:
            try:
                self.sink.end()
            except Exception as e:
                self._break(e)

    def _break(self, cause: Exception) -> bool:
        """The sink can write no more: the open part and all in it is lost."""
        self.fail("sink", cause)
        self._lose(self.sink.abandon(), "sink")
        return True
