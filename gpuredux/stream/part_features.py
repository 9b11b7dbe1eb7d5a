"""What the stages features.* of a run made of its events, in its files: a group a stage, and what accumulated, in a file of its own.

/entry/features/<stage>, e.g. peak_finder8: a dataset an output, with a row for each event of /entry/events, or behind a veto for each frame of
/entry/data; `pulse_id` links to theirs. Lists, such as peak_row beside peak_count, lie one behind the other: the list of row i is
peak_row[peak_start[i] : peak_start[i + 1]], and peak_count[i] is the true number, which may be more than were listed; a list's attribute `lists` names
where its own begin.
Curves have their axis beside them: radial, azimuthal.

accumulated.h5: a group a stage, a dataset an array of its state, as the operation's merge(), mean() and the like take it.
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
from ..op import Op
from .part_bytes import SinkFailed, digest

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
        self._lengths: dict[tuple[int, str], list[Any]] = {}        # of lists, by stage and the output that counts them
        if not self._features:
            return
        top = entry.create_group("features")
        top.attrs["NX_class"] = "NXcollection"
        for f in self._features:
            group = self._groups[f.at] = top.create_group(name_of(f.op) if name_of(f.op) not in top else f"{name_of(f.op)}_{f.at}")
            group.attrs.update({"NX_class": "NXdata", "operation": json.dumps({"op": f.op.name, **f.op.config()}, default=str)})
            group["pulse_id"] = h5py.SoftLink("/entry/data/pulse_id" if f.kept else "/entry/events/pulse_id")
            _axes(group, f.op, {self._specs[k].shape[1:] for k in f.store or ()})
            for name in f.store or ():
                spec, count = self._specs[name], self._counted(f.op, name)
                row = spec.shape[2:] if count else spec.shape[1:]
                size = max(1, math.prod(row) * spec.dtype.itemsize)
                group.create_dataset(name, (0, *row), spec.dtype, maxshape=(None, *row), chunks=(max(1, CHUNK // size), *row), **hdf5plugin.Bitshuffle())
                if count:
                    group[name].attrs["lists"] = start_of(count)
                    self._lengths.setdefault((f.at, count), [])

    def _counted(self, op: Op, name: str) -> str:
        """The output that says how long the lists are that an output has a row of for each event; '' where rows are no such lists. Of what stands around
        the peaks of a finder it is the finder's."""
        around = "peak_count" if getattr(op, "half", None) is not None and "peak_count" in op.input_names else ""
        count = around or f"{name.rsplit('_', 1)[0]}_count"
        there = name != count and (around or count in op.writes) and count in self._specs
        return count if there and len(self._specs[count].shape) == 1 and len(self._specs[name].shape) > 1 else ""

    def _count(self, f: Feature, count: str, slot: Slot, a: int, b: int) -> Any:
        """Of rows a to b. A finder in front of a veto counts for all events, and a stage behind it has the rows of those that are kept."""
        of_all = f.kept and any(count in g.op.writes and not g.kept for g in self._features)
        return slot.out[count][slot.source[a:b]] if of_all else slot.out[count][a:b]

    def append(self, slot: Slot, events: tuple[int, int], kept: tuple[int, int]) -> None:
        """The events of a batch from and to these, of which those rows were kept."""
        for f in self._features:
            a, b = kept if f.kept else events
            counts = {count: self._count(f, count, slot, a, b) for at, count in self._lengths if at == f.at}
            for count, lengths in counts.items():
                self._lengths[f.at, count].append(lengths.copy())
            for name in f.store or ():
                rows, count = slot.out[name][a:b], self._counted(f.op, name)
                if count:
                    rows = rows[np.arange(rows.shape[1]) < counts[count][:, None]]
                data = self._groups[f.at][name]
                data.resize(len(data) + len(rows), 0)
                if len(rows):
                    data[len(data) - len(rows) :] = rows

    def finish(self) -> None:
        """Where each list begins."""
        for f in self._features:
            for name in f.store or ():
                count = self._counted(f.op, name)
                start = start_of(count)
                if count and start not in self._groups[f.at]:
                    listed = np.minimum(np.concatenate([np.zeros(0, np.int32), *self._lengths[f.at, count]]), self._specs[name].shape[1])
                    self._groups[f.at][start] = np.concatenate([[0], np.cumsum(listed)]).astype(np.uint64)


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
    path, state = folder / ACCUMULATED, pipeline.accumulated()
    partial = Path(f"{path}.partial")
    try:
        with h5py.File(partial, "w", libver=("v110", "v110")) as file:
            file.attrs.update({**{k: str(v) for k, v in about.items()}, "events": pipeline.computed, "configuration": pipeline.document.text})
            for f in pipeline.features:
                held = [k for k in f.op.state if k in state]
                group: Any = file.create_group(name_of(f.op)) if held else None
                for k in held:
                    group.create_dataset(k, data=state[k], **(hdf5plugin.Bitshuffle() if state[k].size else {}))
                if group is not None:
                    group.attrs["operation"] = json.dumps({"op": f.op.name, **f.op.config()}, default=str)
        with open(partial, "rb") as raw:
            os.fsync(raw.fileno())
            size, crc = digest(raw.fileno())
        os.rename(partial, path)
        sync(folder)
    except (OSError, RuntimeError) as e:
        raise SinkFailed(f"{path}: {getattr(e, 'strerror', None) or e}") from None
    return {"kind": "accumulated", "file": path.name, "bytes": size, "crc32c": crc, "events": pipeline.computed}
