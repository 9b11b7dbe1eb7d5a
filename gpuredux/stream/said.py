"""What a source says of each event beside its id, source.values, and inputs of features that nothing gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import Op, Spec
from ..features import Cube
from ..features.frames import LARGEST
from ..op import op_writes
from .config import Document
from .faults import ConfigError
from .features import MARKS, OWN, Feature

BY_EVENT = {"bin_index": np.int32, "weight": np.float32, "event_class": np.uint8}        # how operations take it


def event_specs(document: Document, values: Mapping[str, np.ndarray[Any, Any]], n: int, found: Sequence[Feature]) -> dict[str, Spec]:
    """What a source says of each event, as the operations take it: rows of n events. Raises ConfigError where that would change a number, but for a float's
    rounding, or where an operation cannot count so large a weight."""
    specs, faults, taken_already = {}, [], {*OWN, *MARKS, *(k for f in found for k in f.op.state)}
    most = min((float(LARGEST * f.op.weight_unit) for f in found if isinstance(f.op, Cube) and f.op.weighted), default=math.inf)
    for name, a in values.items():
        dtype, place = np.dtype(BY_EVENT.get(name, a.dtype)), ("source", "values", name)
        with np.errstate(invalid="ignore", over="ignore"):
            taken = a.astype(dtype)
        wrong = (np.isfinite(taken) != np.isfinite(a)) if dtype.kind == "f" else taken != a
        beyond = np.abs(taken) > most if name == "weight" else np.zeros(a.shape, bool)
        for bad, words in ((wrong, f"must be {dtype}"), (beyond, f"must be {most:g} at most, by features.cube's weight_unit")):
            if bad.any():
                at = int(np.flatnonzero(bad.reshape(len(a), -1).any(1))[0])
                faults.append(document.at(place, f"{words}, got {a.dtype} with {a[at]} at frame {at}"))
        if name in taken_already:
            faults.append(document.at(place, "is the name of something that the run makes itself"))
        specs[name] = Spec(name, (n, *a.shape[1:]), dtype)
    if faults:
        raise ConfigError(faults)
    return specs


def unfed(ops: Sequence[Op], found: Sequence[Feature], specs: Mapping[str, Spec], document: Document) -> None:
    """Inputs of features that nothing gives. Raises ConfigError."""
    there, faults = set(specs), []
    places = {id(f.op): f for f in found}
    for op in ops:
        needs = [n for n in op.inputs if not n.endswith("?") and n not in there and n != "frame_status"]
        if needs and id(op) in places:
            words = f"{op.name} needs {', '.join(needs)}, which no stage in front of it gives; a source of files may say it of each event: source.values"
            faults.append(document.at(("stages", places[id(op)].at), words))
        there |= op_writes(op)
    unread = [k for k in specs if k in getattr(document.config.source, "values", {}) and k not in {n.rstrip("?") for op in ops for n in op.inputs}]
    faults += [document.at(("source", "values", k), "is read by no stage") for k in unread]
    if faults:
        raise ConfigError(faults)
