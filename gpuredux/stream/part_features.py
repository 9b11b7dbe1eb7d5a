"""What the stages features.* of a run made of its events, in its files: a group a stage, and what accumulated, in a file of its own.

/entry/features/<stage>, e.g. peak_finder8: a dataset an output, with a row for each event of /entry/events, or behind a veto for each frame of
/entry/data; `pulse_id` links to theirs. Lists, such as peak_row beside peak_count, lie one behind the other: the list of row i is
peak_row[peak_start[i] : peak_start[i + 1]], and peak_count[i] is the true number, which may be more than were listed; a list's attribute `lists` names
where its own begin.
Curves have their axis beside them: radial, azimuthal.

accumulated.h5: a group a stage, a dataset an array of its state, as the operation's merge(), mean() and the like take it; pulse_id: of the events in it.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np

from ..compress.hdf5_layout import sync
from ..features import Correlate
from ..op import Op, Spec
from ..status import Frame
from .event import Ids
from .part_bytes import PartBytes, SinkFailed, digest

if TYPE_CHECKING:
    from .features import Feature
    from .pipeline import Pipeline
    from .slot import Slot

ACCUMULATED = "accumulated.h5"
CHUNK = 1 << 18     # bytes of a chunk, about


def name_of(op: Op) -> str:
    """Of the group of an operation."""
    return op.name.removeprefix("features.")


def start_of(count: str) -> str:
    """The dataset that says where lists begin of which an output says how long they are."""
    return f"{count.removesuffix('_count')}_start"


def lengths(group: Any) -> list[str]:
    """What is wrong with the lengths of the datasets of a stage."""
    n, faults = len(group["pulse_id"]), []
    for name, data in group.items():
        if name not in ("pulse_id", "radial", "azimuthal"):
            start = data.attrs.get("lists")
            want = n + 1 if any(d.attrs.get("lists") == name for d in group.values()) else n if start is None else int(group[start][-1])
            faults += [f"{group.name}/{name} has {len(data)} rows, and should have {want} for {n} pulse ids"] if len(data) != want else []
    return faults


class FeatureRows:
    """The groups of one part while it grows."""

    def __init__(self, entry: Any, pipeline: Pipeline) -> None:
        self._features = [f for f in pipeline.features if f.store]
        self._specs = {s.name: s for s in pipeline.plan.outs}
        self._groups: dict[int, Any] = {}
        self._counts: dict[tuple[int, str], list[Any]] = {}        # of lists, by stage and what counts them
        top: Any = entry.create_group("features") if self._features else None
        if top is not None:
            top.attrs["NX_class"] = "NXcollection"
        for f in self._features:
            group = self._groups[f.at] = top.create_group(name_of(f.op) if name_of(f.op) not in top else f"{name_of(f.op)}_{f.at}")
            group.attrs.update({"NX_class": "NXdata", "operation": json.dumps({"op": f.op.name, **f.op.config()}, default=str)})
            group["pulse_id"] = h5py.SoftLink("/entry/data/pulse_id" if f.kept else "/entry/events/pulse_id")
            lists = f.op.lists()
            _axes(group, f.op, {self._spec(f, k).shape[1:] for k in f.store or ()})
            for name in f.store or ():
                spec, count = self._spec(f, name), lists.get(name)
                row = spec.shape[1:] if count is None else spec.shape[2:]
                size = max(1, math.prod(row) * spec.dtype.itemsize)
                group.create_dataset(name, (0, *row), spec.dtype, maxshape=(None, *row), chunks=(max(1, CHUNK // size), *row), **hdf5plugin.Bitshuffle())
                if count is not None:
                    group[name].attrs["lists"] = start_of(count)
                    self._counts.setdefault((f.at, count), [])
                if name == "frame_status":
                    group[name].attrs["flag_masks"] = np.array([int(bit) for bit in Frame], np.uint32)
                    group[name].attrs["flag_meanings"] = " ".join(str(bit.name) for bit in Frame)

    def _spec(self, f: Feature, name: str) -> Spec:
        return self._specs[f.taken[name].alias]

    def append(self, slot: Slot, events: tuple[int, int], kept: tuple[int, int]) -> None:
        """The events of a batch from and to these, of which those rows were kept."""
        for f in self._features:
            (a, b), lists = kept if f.kept else events, f.op.lists()
            counts = {count: slot.out[f.taken[count].alias][a:b].copy() for at, count in self._counts if at == f.at}
            for count, found in counts.items():
                self._counts[f.at, count].append(found)
            for name in f.store or ():
                rows = slot.out[f.taken[name].alias][a:b]
                if name in lists:
                    rows = rows[np.arange(rows.shape[1]) < counts[lists[name]][:, None]]
                data = self._groups[f.at][name]
                data.resize(len(data) + len(rows), 0)
                if len(rows):
                    data[len(data) - len(rows) :] = rows

    def finish(self) -> None:
        """Where each list begins."""
        for f in self._features:
            for name, count in f.op.lists().items():
                if name in (f.store or ()) and start_of(count) not in self._groups[f.at]:
                    listed = np.minimum(np.concatenate([np.zeros(0, np.int32), *self._counts[f.at, count]]), self._spec(f, name).shape[1])
                    self._groups[f.at][start_of(count)] = np.concatenate([[0], np.cumsum(listed)]).astype(np.uint64)


def _axes(group: Any, op: Op, shapes: set[tuple[int, ...]]) -> None:
    """Of curves, where outputs have that shape."""
    rings = getattr(op, "rings", None)
    if rings is not None and rings.shape_of_result in shapes:
        group["radial"] = rings.radial
        group["radial"].attrs["units"] = rings.unit
        if rings.azimuthal is not None:
            group["azimuthal"] = rings.azimuthal
            group["azimuthal"].attrs["units"] = "degree"


def write_accumulated(folder: Path, pipeline: Pipeline, about: dict[str, Any]) -> dict[str, Any] | None:
    """What accumulated over the run, as a file that is whole or not there; its record for the journal; None where nothing accumulates.

    It is of all events that the chain took in: of those, too, that failed or were dropped behind it. Raises SinkFailed."""
    if not pipeline.state:
        return None
    path, partial = folder / ACCUMULATED, folder / f"{ACCUMULATED}.partial"
    try:
        partial.unlink(missing_ok=True)
        bytes_ = PartBytes(partial)
    except OSError as e:
        raise SinkFailed(f"{partial}: {e.strerror or e}") from None
    try:
        with h5py.File(bytes_, "w", libver=("v110", "v110")) as file:
            _fill(file, pipeline, about)
        if bytes_.error is not None:
            raise bytes_.error
        os.fsync(bytes_.fd)
        size, crc = digest(bytes_.fd)
        os.rename(partial, path)
        sync(folder)
    except Exception as e:
        partial.unlink(missing_ok=True)
        raise SinkFailed(f"{path}: {getattr(bytes_.error or e, 'strerror', None) or bytes_.error or e}") from None
    finally:
        bytes_.close()
    return {"kind": "accumulated", "file": path.name, "bytes": size, "crc32c": crc, "events": sum(len(ids) for ids, _ in pipeline.computed)}


def gaps(ids: Ids) -> int:
    """How many steps from one pulse id to the next are not the commonest one: events that were dropped, corrupt, or of another order."""
    steps, often = np.unique(np.diff(ids.astype(np.int64)), return_counts=True)
    return int(often.sum() - often.max()) if len(steps) else 0


def warnings(pipeline: Pipeline) -> list[str]:
    """What a person must know of what accumulated."""
    ids = np.concatenate([np.zeros(0, np.uint64), *(batch for batch, _ in pipeline.computed)])
    lost = gaps(ids) if any(isinstance(f.op, Correlate) for f in pipeline.features) else 0
    words = f"features.correlate: {lost} of {len(ids) - 1} steps between pulse ids are not the commonest one: lags that reach over them are wrong"
    return [words] if lost else []


def _fill(file: Any, pipeline: Pipeline, about: dict[str, Any]) -> None:
    """A group for each stage that accumulates, with the pulse ids of what is in it, in the order of the run."""
    file.attrs.update({**{k: str(v) for k, v in about.items()}, "configuration": pipeline.document.text})
    state, none = pipeline.accumulated(), np.zeros(0, np.uint64)
    for f in pipeline.features:
        if not f.op.state:
            continue
        group = file.create_group(name_of(f.op))
        group.attrs["operation"] = json.dumps({"op": f.op.name, **f.op.config()}, default=str)
        held = {k: state[k] for k in f.op.state if k in state} | {"pulse_id": np.concatenate([none, *(pair[f.kept] for pair in pipeline.computed)])}
        group.attrs["events"], group.attrs["gaps"] = len(held["pulse_id"]), gaps(held["pulse_id"])
        for name, array in held.items():
            group.create_dataset(name, data=array, **(hdf5plugin.Bitshuffle() if array.size else {}))
