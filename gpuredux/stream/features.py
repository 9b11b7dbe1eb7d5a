"""The stages features.*: their operations, which of their outputs are stored, and what accumulates from batch to batch."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from .. import Chain, Op, Spec
from ..features import Correlate, Regions, RegionSums
from ..fusing import Step
from ..op import Taken
from .config import Document
from .constants import Known
from .faults import ConfigError
from .image import BESIDE
from .rings import geometry_of, normalisation_of, radius_of, rings_of
from .stages import FEATURES, NormalisationBlock, RingsBlock
from .wiring import PHOTONS, QUANTIZE, SOURCES, VETO

OWN = ("raw", "code", "live", "source", "decision", "pulse_id", "payload", "size", "filter_mask", *BESIDE, "outlier_index", "outlier_value", "outlier_count",
       "max_error", "image", "image_status", "variance")         # names of arrays that the run makes
MARKS = ("energy", "pixel_status", "frame_status")
FRAMES = ("energy", "raw", "photons", "signal")
PLACES = ("all", "kept", "photons")      # in front of the veto, behind it, behind the photons


@dataclass(frozen=True)
class Feature:
    """One stage: its operation, the names of outputs that are stored, and whether it sees the events that a veto keeps alone."""

    op: Op
    store: tuple[str, ...] | None   # None: all, but see stored()
    kept: bool
    place: str      # of PLACES
    at: int         # which stage
    taken: dict[str, Taken] = field(default_factory=dict)       # what is stored, and what counts its lists, by name


def features(document: Document, held: Known, fields: dict[int, dict[str, Any]]) -> tuple[Feature, ...]:
    """What the stages features.* of a configuration do, in their order. fields: of each stage, with its arrays. Raises ConfigError."""
    found, faults, stages = list[Feature](), list[str](), document.config.stages
    veto = next((i for i, s in enumerate(stages) if s.type == VETO), len(stages))
    photons = next((i for i, s in enumerate(stages) if s.type in PHOTONS), len(stages))
    for i, stage in enumerate(stages):
        if stage.type not in FEATURES:
            continue
        place = "photons" if i > photons else "kept" if i > veto else "all"
        made = _of(document, stage.input, "photons" if i > photons else "energy" if stages[0].type in SOURCES else "raw")
        try:
            op = _made(document, held, i, made, dict(fields[i]))
            kinds = [s.type for s in stages]
            frames = MARKS[:2] if {QUANTIZE, *PHOTONS} & set(kinds) else ()
            changed = [k for k in op.writes if k in OWN or k in frames or (k == "photons" and i > photons)]
            if changed:
                words = f"gives {changed[0]} anew, which the run makes itself and stores by: leave it out, or what stores frames"
                raise ConfigError([document.at(("stages", i, "type"), words)])
            found.append(Feature(op, _wished(document, i, op), i > veto, place, i))
            if op.state and any(f.op.state == op.state for f in found[:-1]):
                faults.append(document.at(("stages", i, "type"), f"{stage.type} stands here twice, and has one state: run two configurations"))
            if isinstance(op, Correlate) and i > veto:
                faults.append(document.at(("stages", i, "type"), "needs the frames in their sequence, and a veto in front of it takes some out"))
        except ConfigError as e:
            faults += e.lines
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def _of(document: Document, given: str | None, made: str) -> str:
    return made if given is None else "raw" if given == f"{document.config.source.detector}.raw" else given


def _made(document: Document, held: Known, i: int, of: str, own: dict[str, Any]) -> Op:
    """The operation of a stage."""
    kind = document.config.stages[i].op
    for key, value in own.items():
        if isinstance(value, RingsBlock):
            own[key] = rings_of(document, held, ("stages", i, key), value)
            if "radial" in own and own["radial"] is None and value.bins is not None and value.azimuth_bins == 1:
                own["radial"] = radius_of(document, held, ("stages", i, key), value)       # curves are read between the bins, too
        elif isinstance(value, NormalisationBlock):
            own[key] = normalisation_of(document, held, ("stages", i, key), value)
        elif isinstance(value, list):
            own[key] = np.asarray(value)
    if "good" in own and own["good"] is None and of == "raw":
        own["good"] = held.arrays.get("good")       # of energies and photons their status says it
    if kind.name == "features.jet_streak":
        there = geometry_of(document, ("stages", i, "geometry"), own.pop("geometry"), held.kind)
        at = (there.pixel_positions() / np.sqrt(there.pixel_area)).reshape(*held.kind.shape, 3)
        own |= {"x": at[..., 0].astype(np.float32), "y": at[..., 1].astype(np.float32)}
    if kind.name == "features.hook":
        own |= {"call": _callable(document, i, own["call"]), "of": of}
    elif hasattr(kind, "of"):
        default = getattr(kind, "of", "energy")
        own["of"] = of if default == "energy" or document.config.stages[i].input is not None else default
        if hasattr(kind, "marks") and own["of"] not in FRAMES:
            own["marks"] = "bin_status" if own["of"] == "binned" else f"{own['of']}_status"      # pixel_status is of other pixels
    try:
        if kind is RegionSums:
            rectangles = own.pop("rectangles")
            own["regions"] = None if rectangles is None else Regions.rectangles(held.kind.shape, rectangles)
        return kind(**own)
    except (TypeError, ValueError) as e:
        words = str(e).removeprefix(f"{kind.name}: ").removeprefix("Regions: ")
        key, _, rest = words.partition(" ")
        raise ConfigError([document.at(("stages", i, key), rest) if key in own else document.at(("stages", i), words)]) from None


def _wished(document: Document, i: int, op: Op) -> tuple[str, ...] | None:
    """What the key store of a stage says. Raises ConfigError."""
    wanted = getattr(document.config.stages[i], "store", None)
    odd = [k for k in wanted or () if k not in _storable(op)]
    if odd:
        raise ConfigError([document.at(("stages", i, "store"), f"{op.name} gives {', '.join(_storable(op)) or 'nothing'} to be stored, got {', '.join(odd)}")])
    return None if wanted is None else tuple(wanted)


def _storable(op: Op) -> list[str]:
    return [k for k in op.writes if k not in (*MARKS, *op.state)]


def stored(document: Document, found: Sequence[Feature], slots: Sequence[Spec], steps: Sequence[Step], n: int, npix: int) -> tuple[Feature, ...]:
    """The features with what of theirs is stored: what the key store says, else all that is there but arrays of a frame's size that a later stage reads;
    beside lists what counts them, and the frames' status.

    slots, steps: of the chain; n: frames of a batch. Raises ConfigError where an output has no row for each frame."""
    resolved: list[Feature] = []
    for f in found:
        k = next(k for k, step in enumerate(steps) if step.op is f.op)
        names, there, lists = f.store, {slots[w].name: slots[w] for w in steps[k].writes}, f.op.lists()
        if names is None:
            read = {name for later in found if later.at > f.at for name in later.op.input_names}
            names = tuple(key for key in _storable(f.op) if key in there and not (key in read and 2 * math.prod(there[key].shape[1:]) >= npix))
        missing, odd = [key for key in names if key not in there], [key for key in names if key in there and there[key].shape[:1] != (n,)]
        if missing:
            raise ConfigError([document.at(("stages", f.at, "store"), f"{f.op.name} does not give {', '.join(missing)} as it is configured")])
        if odd:
            raise ConfigError([document.at(("stages", f.at), f"{', '.join(odd)} of {f.op.name} has no row for each frame")])
        counts = {lists[name] for name in names if name in lists}
        names = tuple(dict.fromkeys([*names, *sorted(counts & set(there)), *(("frame_status",) if names and "frame_status" in there else ())]))
        taken = {name: Taken(k, name, f"s{f.at}_{name}") for name in names}
        for count in counts - set(there):       # what counts the peaks that come in
            slot = steps[k].reads[f.op.input_names.index(count)]
            writer = next(j for j, step in enumerate(steps) if slot in step.writes)
            same = next((t for g in resolved for t in g.taken.values() if (t.op, t.name) == (writer, count)), None)
            taken[count] = same or Taken(writer, count, f"s{f.at}_of_{count}")
        resolved.append(replace(f, store=names, taken=taken))
    return tuple(resolved)


def _callable(document: Document, i: int, named: str) -> Any:
    """What module:function names. Raises ConfigError."""
    module, _, name = named.partition(":")
    try:
        if not module or not name:
            raise ValueError(f"got {named!r}")
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as e:
        raise ConfigError([document.at(("stages", i, "call"), f"must be module:function, of a module that Python finds here: {e}")]) from None


def start_of(features: Sequence[Feature], ops: Sequence[Op], specs: dict[str, Spec]) -> dict[str, np.ndarray[Any, Any]]:
    """The state of what accumulates before the first event, by the names of arrays. Raises TypeError, ValueError."""
    states: dict[str, np.ndarray[Any, Any]] = {}
    for f in features:
        if not f.op.state:
            continue
        op: Any = f.op
        front = Chain(ops[: next(k for k, o in enumerate(ops) if o is op)])
        known = {**specs, **{k: Spec(k, a.shape, a.dtype) for k, a in states.items()}}
        slots = front.wire(*front.bind((), {k: s for k, s in known.items() if k in front.input_names}))[0] if front.ops else []
        frames = next((s for s in reversed(slots) if s.name == op.of), specs.get(op.of))
        if frames is None:
            raise ValueError(f"{op.name}: nothing gives {op.of}")
        states |= op.start(frames.shape[1:], frames.dtype)
    return states
