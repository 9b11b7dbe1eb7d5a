"""One part file: NeXus, whole or not there at all. part_000000.h5.partial -> flush, fsync, rename to part_000000.h5, fsync of the folder.

The commit record in the journal follows the rename, and it is what counts: a crash between the two leaves a whole part_000000.h5 that the
journal does not name. Its events are in flight, as verify says, and readers take the names of parts from the journal or summary.json.

/entry/data           NXdata: data (codes, photons, or raw words), pulse_id, and data_side: what guards and completes the codes; variance
                      of energies, or pixel_status of photons, with the same beside them
/entry/unreduced      NXdata: data (raw words), pulse_id, of the events that the veto marks to be kept raw
/entry/features       what features.* made of events: part_features.py
/entry/events         every event seen, in order: pulse_id, keep, raw, reason, score; with run.verify: verified, 1 = decoded again before it was written
/entry/instrument     NXdetector with a link to the data, its kind, the digests of its constants and their file, and the beam in an image
/entry/gpuredux       NXprocess: version, configuration as it was read, operations with digests, backend, device
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..compress.hdf5_layout import sync
from ..compress.hdf5_writer import Writer
from .config import Document
from .event import Ids, pack_ids
from .image import BESIDE
from .part_beside import beside_of, unit_of
from .part_bytes import PartBytes, SinkFailed, digest
from .part_features import FeatureRows
from .pipeline import Pipeline
from .slot import Slot


class Part:
    """One part file while it grows."""

    def __init__(self, folder: Path, number: int, document: Document, pipeline: Pipeline, about: dict[str, Any]) -> None:
        self.number, self.path = number, folder / f"part_{number:06d}.h5"
        self.partial = Path(f"{self.path}.partial")
        self.events: list[tuple[Ids, Any]] = []
        self.verified: list[Any] | None = [] if pipeline.recheck is not None else None
        self.reduced: list[Ids] = []
        self.unreduced: list[Ids] = []
        self.n_events = self.n_written = 0
        self.exact = pipeline.exact
        self.bytes = PartBytes(self.partial)
        self.file = h5py.File(self.bytes, "w", libver=("v110", "v110"))
        try:
            with self._storing():
                self._create(document, pipeline, about)
        except BaseException:
            self.abandon()
            raise

    def _create(self, document: Document, pipeline: Pipeline, about: dict[str, Any]) -> None:
        """All groups and datasets that grow."""
        entry = _group(self.file, "entry", "NXentry", default="data")
        self.codes: Any = None
        data = _group(entry, "data", "NXdata", **({"signal": "data", "axes": [".", *["."] * len(pipeline.stored_frame)]} if pipeline.pack else {}))
        where, host = {"backend": pipeline.backend.name, "device": str(pipeline.device)}, pipeline.host
        exact = {"lossless_energies": host.name} if pipeline.quantize else {}
        if pipeline.pack is not None:
            self.codes = Writer(data, "data", pipeline.stored_frame, pipeline.quantize or pipeline.stored, attrs=unit_of(pipeline),
                                provenance={**where, **exact}, backend=host.name, encoder=pipeline.pack)
        self.features = FeatureRows(entry, pipeline)
        self.beside: Writer | None = None
        if pipeline.beside:
            second, dtype, attrs = beside_of(pipeline)
            self.beside = Writer(data, second, pipeline.stored_frame, dtype, attrs=attrs, provenance=where, backend=host.name, encoder=pipeline.encoder)
        self.raw: Writer | None = None
        if pipeline.keeps_raw:
            group = _group(entry, "unreduced", "NXdata", signal="data", axes=[".", *["."] * len(pipeline.frame)])
            self.raw = Writer(group, "data", pipeline.frame, np.dtype(np.uint16), provenance={"backend": host.name, "device": str(host.devices()[0])},
                              encoder=pipeline.encoder)
        _describe(entry, document, pipeline, {**about, **where, "part": self.number})

    def append(self, slot: Slot, start: int, stop: int) -> None:
        """The events start to stop of a batch."""
        out, (j, k) = slot.out, np.searchsorted(slot.source, [start, stop]).tolist()
        lists = ("outlier_index", "outlier_value", "outlier_count", "max_error", "frame_status", "filter_mask")
        with self._storing():
            self.features.append(slot, (start, stop), (j, k))
            for a, b in pairwise(sorted({j, k, *(row for row in slot.overflowed if j < row < k)})) if self.codes else ():      # of each the first row at most
                lossless = {0: self.exact(slot, a)} if a in slot.overflowed else {}
                named = {name: out[name][a:b] for name in lists if name in out}
                self.codes.append_encoded(out["payload"][a:b], out["size"][a:b], lossless=lossless, **named)
                if self.beside is not None:
                    self.beside.append_encoded(*(out[name][a:b] for name in BESIDE[:2]), filter_mask=out[BESIDE[2]][a:b] if BESIDE[2] in out else None)
            self.reduced.append(slot.pulse_id[slot.source[j:k]])
            if self.raw is not None:
                a, b = np.searchsorted(slot.raw_source, [start, stop]).tolist()
                self.raw.append_encoded(slot.raw_payload[a:b], slot.raw_size[a:b], filter_mask=None if slot.raw_mask is None else slot.raw_mask[a:b])
                self.unreduced.append(slot.pulse_id[slot.raw_source[a:b]])
        decision = slot.decision[start:stop].copy()
        self.events.append((slot.pulse_id[start:stop].copy(), decision))
        if self.verified is not None:
            self.verified.append(np.isin(np.arange(start, stop), slot.source[slot.verified]).astype(np.uint8))
        self.n_events += stop - start
        self.n_written += int(stored(decision).sum())

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Raise what the disk said, if it refused a write, whatever HDF5 made of it."""
        try:
            yield
        except Exception as e:
            if self.bytes.error is None:
                raise e if not isinstance(e, OSError) else SinkFailed(f"{self.path}: {e.strerror or e}") from None
        if self.bytes.error is not None:
            raise SinkFailed(f"{self.path}: {self.bytes.error.strerror or self.bytes.error}")

    def finish(self) -> dict[str, Any]:
        """Make the file whole and give it its name; the commit record that is then due."""
        ids, decision = (np.concatenate([e[i] for e in self.events]) for i in (0, 1))
        writers = [w for w in (self.codes, self.beside, self.raw) if w is not None]
        with self._storing():
            self.features.finish()
            self._write_lists(ids, decision)
            for writer in writers:
                writer.close()
            self.file.close()
        with self._storing():
            os.fsync(self.bytes.fd)
            size, crc = digest(self.bytes.fd)
            self.bytes.close()
            os.rename(self.partial, self.path)
            sync(self.path.parent)
        kept = stored(decision)
        return {"kind": "commit", "part": self.number, "file": self.path.name, "bytes": size, "crc32c": crc, "events": len(ids),
                "written": pack_ids(ids[kept]), "vetoed": pack_ids(ids[~kept]), "reduced": pack_ids(np.concatenate(self.reduced)),
                "unreduced": pack_ids(np.concatenate(self.unreduced) if self.unreduced else []), "payload": sum(w.stored_bytes for w in writers),
                "lossless": self.codes.lossless_frames if self.codes else 0}

    def _write_lists(self, ids: Ids, decision: Any) -> None:
        """Pulse ids of the frames, and the table of all events."""
        entry = self.file["entry"]
        entry["data"]["pulse_id"] = np.concatenate(self.reduced)
        if self.raw is not None:
            entry["unreduced"]["pulse_id"] = np.concatenate(self.unreduced)
        events = _group(entry, "events", "NXcollection")
        events["pulse_id"] = ids
        for name in decision.dtype.names or ():
            events[name] = decision[name]
        if self.verified is not None:
            events["verified"] = np.concatenate(self.verified)

    def abandon(self) -> Ids:
        """Remove the file; the ids that were in it."""
        self.bytes.error = self.bytes.error or OSError("abandoned")
        with suppress(OSError, RuntimeError, ValueError):       # all that HDF5 and h5py raise; the file goes anyway
            self.file.close()
        with suppress(OSError):
            self.bytes.close()
        for path in (self.partial, self.path):
            path.unlink(missing_ok=True)
        return np.concatenate([np.zeros(0, np.uint64), *(e[0] for e in self.events)])


def stored(decision: Any) -> Any:
    """Which of these events are written, reduced or raw."""
    return (decision["keep"] != 0) | (decision["raw"] != 0)


def _group(parent: Any, name: str, kind: str, **attrs: Any) -> Any:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": kind, **attrs})
    return group


def _describe(entry: Any, document: Document, pipeline: Pipeline, about: dict[str, Any]) -> None:
    """Instrument and provenance."""
    config = document.config
    name = config.source.detector
    entry["start_time"] = about["start_time"]
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, name, "NXdetector")
    detector["type"], detector["description"] = "pixel array", config.detectors[name].type
    if pipeline.pack is not None:
        detector["data"] = h5py.SoftLink("/entry/data/data")
    for key, value in pipeline.constants.items():
        detector.attrs[f"{key}_sha256"] = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()     # no copy: they are large
    if pipeline.beam is not None:       # NeXus counts from the outer corner of the first pixel, as this does
        detector["beam_center_y"], detector["beam_center_x"] = pipeline.beam
        for key in ("beam_center_y", "beam_center_x"):
            detector[key].attrs["units"] = "pixel"
    if pipeline.about_constants is not None:
        detector.attrs["constants"], detector.attrs["constants_sha256"] = json.dumps(pipeline.about_constants), pipeline.about_constants["sha256"]
    process = _group(entry, "gpuredux", "NXprocess")
    process["program"], process["configuration"] = "gpuredux-stream", document.text
    process["operations"] = json.dumps([{"op": op.name, **op.config(), "sha256": op.digest()} for op in pipeline.ops], default=str)
    for key, value in about.items():
        process[key] = value
