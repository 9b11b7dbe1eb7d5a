"""Constants: one immutable set of calibration constants, what they mean and whence they come. Over 200 lines: the checks that real sets need are part of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntFlag
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from ..detectors import DETECTORS, Detector, detector
from . import constants_file
from .constants_file import ARRAYS, FLOATS
from .constants_given import listed, plain, text, whole
from .flags import good_from

UNITS = {"pedestal": "ADU", "gain": "ADU/keV", "noise": "ADU", "offset": "ADU", "threshold": "ADU", "status": "", "good": ""}
ENERGIES = ("ev", "kev", "mev", "gev", "photon", "photons")     # what comes out, never what words are in
Moment = int | datetime


@dataclass(frozen=True, eq=False)
class Constants:
    """keV = (adc - pedestal - offset) / gain for each gain stage, memory cell and pixel; keV or what else gain is per. Equal digests, equal constants.

    detector: its name; segments: the ids of the panels, () = all of the detector's; shape: of a frame, () = the detector's
    pedestal, gain, noise, offset (planes, [cells,] *shape) float32 or float64: any of them may be absent; integers become the smaller that is exact
    threshold (planes - 1, [cells,] *shape): a second image above them tells the next gain stage
    status (planes, [cells,] *shape) unsigned: bits whose names are those of the IntFlag `flags` (calib.flags), nothing is masked by them alone
    good (*shape) bool, True = use the pixel; planes: the names of the planes, () = the detector's gains or its configuration's states
    cells: memory cells, 0 = no such axis; units: of each array, where they are not UNITS
    validity: (begin, end), both included: runs, or times with a zone; None = open; source_runs: what it was made from
    made_by: program and version; notes: what a loader has converted
    raises ValueError or TypeError for what does not fit together, or what no file gives back (a masked array, NUL in a text). NaN, Inf and a gain of
    0 are kept: calib.Gain raises or masks them"""

    detector: str
    pedestal: np.ndarray | None = None
    gain: np.ndarray | None = None
    noise: np.ndarray | None = None
    offset: np.ndarray | None = None
    threshold: np.ndarray | None = None
    status: np.ndarray | None = None
    good: np.ndarray | None = None
    segments: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    planes: tuple[str, ...] = ()
    cells: int = 0
    units: Mapping[str, str] = field(default_factory=dict)
    flags: str = ""
    validity: tuple[Moment | None, Moment | None] | None = None
    source_runs: tuple[str, ...] = ()
    made_by: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        kind = detector(self.detector)
        self._set(detector=kind.name, shape=whole("constants: shape", self.shape) or kind.shape, cells=whole("constants: cells", [self.cells])[0],
                  **{n: text(f"constants: {n}", getattr(self, n)) for n in ("flags", "made_by", "notes")})
        self._set(made_by=self.made_by or f"gpuredux {version('gpuredux')}", source_runs=listed("constants: source_runs", self.source_runs))
        if len(self.shape) != len(kind.shape) or any(k < 1 for k in self.shape):
            raise ValueError(f"constants: a frame of {kind.name} is {kind.shape}, or a part of as many axes, got shape={self.shape}")
        same = math.prod(self.shape[:-2]) == kind.n_panels
        self._set(segments=whole("constants: segments", self.segments) or (kind.ids if same else ()))
        if len(set(self.segments)) != len(self.segments) or len(self.segments) != math.prod(self.shape[:-2]) or set(self.segments) - set(kind.ids):
            raise ValueError(f"constants: segments must be the ids of {math.prod(self.shape[:-2])} panels of {kind.name}, {kind.ids}, got {self.segments}")
        for name in ARRAYS:
            if getattr(self, name) is not None:
                self._own(name)
        present = self.arrays
        if not present:
            raise ValueError(f"constants: give at least one of {', '.join(ARRAYS)}")
        self._check_planes(kind)
        odd = set(self.units) - set(present)
        if odd:
            raise ValueError(f"constants: units for {', '.join(sorted(odd))}, which is not there")
        self._set(units={n: text(f"constants: units of {n}", self.units.get(n, UNITS[n])) for n in present})
        self._check_units()
        if bool(self.flags) != ("status" in present):
            raise ValueError("constants: status needs flags, the name of its bits (e.g. 'NXmx'), and flags needs status")
        self._check_validity()

    def _check_units(self) -> None:
        word, _, per = self.units.get("gain", "ADU/keV").partition("/")
        if not per or word.strip().lower() in ENERGIES:
            raise ValueError(f"constants: gain divides: its unit is that of the words per what comes out, e.g. 'ADU/keV', got {self.units['gain']!r};"
                             " of one that multiplies take the reciprocal")
        for name in FLOATS:
            if name != "gain" and self.units.get(name, word.strip()) != word.strip():
                raise ValueError(f"constants: {name} must be in the words' unit, that of gain is {word.strip()!r}, got {self.units[name]!r}")

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _own(self, name: str) -> None:
        """A read-only copy of the right type."""
        given = plain(f"constants: {name}", getattr(self, name))
        kinds = "b" if name == "good" else "u" if name == "status" else "fiu"
        if given.dtype.kind not in kinds or given.dtype.itemsize > 8 or given.dtype == np.float16:
            want = {"b": "bool, True = use the pixel", "u": "unsigned integers", "fiu": "float32, float64 or integers"}[kinds]
            raise TypeError(f"constants: {name} must be {want}, got {given.dtype}")
        exact = np.float32 if given.dtype.itemsize <= 2 else np.float64
        dtype = exact if name in FLOATS and given.dtype.kind != "f" else given.dtype.newbyteorder("=")
        copy = np.array(given, dtype=dtype, order="C", copy=True)
        copy.setflags(write=False)
        if name == "noise" and (low := copy < 0).any():
            raise ValueError(f"constants: noise is a standard deviation, and {int(low.sum())} values are negative; NaN where it is not known")
        self._set(**{name: copy})

    def _check_planes(self, kind: Detector) -> None:
        """The planes' names, and every array's shape."""
        if not self.planes:
            counts = {len(a) + (n == "threshold") for n, a in self.arrays.items() if n != "good"} or {kind.n_planes}
            known = [names for names in ((kind.gains, kind.config.names) if kind.config else (kind.gains,)) if {len(names)} == counts]
            plain = tuple(f"G{k}" for k in range(kind.n_planes)) if counts == {kind.n_planes} else ()
            self._set(planes=known[0] if known else plain)
        self._set(planes=listed("constants: planes", self.planes))
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise ValueError(f"constants: {kind.name} has {kind.n_planes} planes{f' or {kind.config.names}' if kind.config else ''};"
                             f" name them (planes=) if yours are others, got {self.planes or {n: a.shape for n, a in self.arrays.items()}}")
        if self.cells < 0 or self.cells > kind.cells:
            raise ValueError(f"constants: {kind.name} has {kind.cells} memory cells at most, got cells={self.cells}")
        cells = (self.cells,) * (self.cells > 0)
        for name, a in self.arrays.items():
            want = self.shape if name == "good" else (len(self.planes) - (name == "threshold"), *cells, *self.shape)
            if a.shape != want:
                raise ValueError(f"constants: {name} of {kind.name} must be {want}, ([planes, [cells,]] *shape), got {a.shape}; shape= says what part of it")

    def _check_validity(self) -> None:
        if self.validity is None:
            return
        begin, end = self.validity
        moments = [m for m in (begin, end) if m is not None]
        kinds = {"time" if isinstance(m, datetime) and m.tzinfo else "run" if isinstance(m, (int, np.integer)) and not isinstance(m, bool) else ""
                 for m in moments}
        if kinds not in ({"run"}, {"time"}) or (begin is not None and end is not None and begin > end):
            raise ValueError(f"constants: validity must be (begin, end), runs or times with a zone, in order, None = open; got {self.validity}")
        self._set(validity=(begin, end))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Those that are there, by name."""
        return {n: getattr(self, n) for n in ARRAYS if getattr(self, n) is not None}

    @property
    def kind(self) -> Detector:
        """The detector of these panels alone."""
        return replace(detector(self.detector), shape=self.shape, segments=self.segments)

    @property
    def convention(self) -> str:
        """How the arrays make a physical value, in words."""
        per = self.units["gain"].partition("/")[2] if self.gain is not None else "ADU"
        difference = "adc - pedestal - offset" if self.offset is not None else "adc - pedestal"
        return f"{per} = ({difference}) / gain" if self.gain is not None else f"{per} = {difference}"

    @property
    def header(self) -> dict[str, Any]:
        """All but the arrays, as JSON can hold it."""
        moments = None if self.validity is None else [m.isoformat() if isinstance(m, datetime) else m if m is None else int(m) for m in self.validity]
        return {
            "detector": self.detector, "segments": list(self.segments), "shape": list(self.shape), "planes": list(self.planes), "cells": int(self.cells),
            "convention": self.convention, "units": dict(self.units), "flags": self.flags, "validity": moments,
            "source_runs": list(self.source_runs), "made_by": self.made_by, "notes": self.notes,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything, as in the file."""
        return constants_file.digest(self.header, self._stored())

    def _stored(self) -> dict[str, np.ndarray]:
        return {n: a.view(np.uint8) if n == "good" else a for n, a in self.arrays.items()}

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """One file, one set, whole or not at all. Raises FileExistsError without overwrite."""
        constants_file.write(path, self.header, self._stored(), overwrite)

    def select(self, segments: Iterable[int]) -> Constants:
        """The constants of these segment ids (not positions), in this order. Raises ValueError for one that is not there."""
        wanted = whole("constants: segments", segments)
        missing = [k for k in wanted if k not in self.segments]
        if missing or not wanted or len(set(wanted)) != len(wanted):
            raise ValueError(f"constants: select takes different segment ids of {self.segments}, got {wanted}: no {missing}")
        if len(self.shape) < 3:
            return self
        at = [self.segments.index(k) for k in wanted]
        parts = {n: np.take(a, at, axis=a.ndim - 3) for n, a in self.arrays.items()}
        return replace(self, **parts, shape=(len(wanted), *self.shape[1:]), segments=wanted)

    def ordered(self, missing: str = "raise") -> Constants:
        """The set with the planes of the detector, in its order: they are told by their names.

        missing: planes that the set lacks, "raise" ValueError, or "mask": NaN (0 of integers), which calib.Gain(invalid="mask") makes BAD_CONSTANT, and
        thresholds, which are then of other stages, are left out. Raises ValueError for planes that are not the detector's"""
        want = self.kind.gains or tuple(f"G{k}" for k in range(self.kind.n_planes))
        odd, lost = [n for n in self.planes if n not in want], [n for n in want if n not in self.planes]
        if missing not in ("raise", "mask"):
            raise ValueError(f"constants: missing must be 'raise' or 'mask', got {missing!r}")
        if self.planes == want:
            return self
        if odd or (lost and missing == "raise"):
            raise ValueError(f"constants: the planes of {self.detector} are {', '.join(want)}, the set's are {', '.join(self.planes)}"
                             + ("" if odd else f": it lacks {', '.join(lost)}"))
        if self.threshold is not None and not lost:
            raise ValueError(f"constants: each threshold lies between two stages, and the set has its stages in another order, {', '.join(self.planes)}:"
                             f" give planes and thresholds in the order {', '.join(want)}")

        def planes(a: np.ndarray) -> np.ndarray:
            empty = np.full(a.shape[1:], np.nan if a.dtype.kind == "f" else 0, a.dtype)
            return np.stack([a[self.planes.index(n)] if n in self.planes else empty for n in want])

        parts: dict[str, Any] = {n: planes(a) for n, a in self.arrays.items() if n not in ("good", "threshold")}
        return replace(self, planes=want, threshold=None, units={n: u for n, u in self.units.items() if n != "threshold"}, **parts)

    def valid_for(self, moment: Moment) -> bool:
        """Whether a run (int) or a time lies in the validity; always, where none is stated. Raises TypeError for the other kind."""
        if self.validity is None:
            return True
        begin, end = self.validity
        if isinstance(moment, datetime) != any(isinstance(m, datetime) for m in self.validity):
            raise TypeError(f"constants: valid from {begin} to {end}, asked about {moment!r}")
        return (begin is None or begin <= moment) and (end is None or moment <= end)

    def to_gain(self, bad: Iterable[str] = (), kind: type[IntFlag] | None = None, **other: Any) -> dict[str, Any]:
        """The arguments of calib.Gain: pedestal + offset (added in float64), gain, good, detector, cells; other is added or replaces.
        Planes come in the detector's order, by their names: what else is taken of the set (noise, threshold), take from ordered().

        bad: names of status bits; where one is set, that gain stage and cell of the pixel gives BAD_CONSTANT (gain 0, invalid="mask")
        kind: the IntFlag of these names, where calib.flags does not know self.flags"""
        if self.pedestal is None or self.gain is None:
            raise ValueError(f"constants: calib.Gain needs pedestal and gain; here are {', '.join(self.arrays)}")
        if len(self.planes) != self.kind.n_planes or (self.kind.config and set(self.planes) & set(self.kind.config.names)):     # two states are no planes
            raise ValueError(f"constants: {len(self.planes)} gain states {self.planes} are not {self.kind.n_planes} planes:"
                             " fold them with the pixels' configuration first (calib.folding.fold_constants)")
        own = self.ordered()
        pedestal = own.pedestal if own.offset is None else np.asarray(own.pedestal, np.float64) + own.offset
        gain, names = own.gain, bad if isinstance(bad, str) else tuple(bad)
        if names:
            if own.status is None:
                raise ValueError(f"constants: bad={names}, and there is no status")
            gain = np.where(good_from(own.status, names, kind or own.flags, unnamed="ignore"), gain, gain.dtype.type(0))
            other = {"invalid": "mask", **other}
        return {"pedestal": pedestal, "gain": gain, "good": own.good, "detector": own.kind, "cells": own.cells, **other}


def inverse(factor: np.ndarray) -> np.ndarray:
    """1 / factor, of a gain that multiplies: taken in float64, rounded once to the type of factor; 0 stays 0, which calib.Gain refuses or masks."""
    f = np.asarray(factor, np.float64)
    kept = factor.dtype if factor.dtype.kind == "f" else np.dtype(np.float64)
    return np.divide(1.0, f, out=np.zeros_like(f), where=f != 0).astype(kept)


def of_detector(constants: Constants, which: str | Detector) -> Constants:
    """The set for this detector: itself, or under the name of one whose frames differ in the packing of their words alone (epixuhr3x2_asics and _packed).

    Raises ValueError for any other detector"""
    wanted = which.name if isinstance(which, Detector) else which
    if wanted == constants.detector:
        return constants
    own, other = DETECTORS[constants.detector], DETECTORS.get(wanted)
    if other is None or replace(own, name=other.name, word=other.word) != other:
        raise ValueError(f"holds constants of {constants.detector!r}, not of {wanted!r}")
    return replace(constants, detector=wanted)


def load(path: str | os.PathLike[str], detector: str | Detector | None = None, segments: Iterable[int] | None = None) -> Constants:
    """The set in a file of Constants.save; of this detector, and these segment ids, where they are given.

    Raises ValueError for a file that is cut short, changed or of another layout or detector, and for missing segments."""
    header, arrays = constants_file.read(path)
    stated = header.pop("convention")
    try:
        if header["validity"] is not None:
            header["validity"] = tuple(datetime.fromisoformat(m) if isinstance(m, str) else m for m in header["validity"])
        if "good" in arrays:
            arrays["good"] = arrays["good"].astype(bool)
        found = Constants(**{k: tuple(v) if isinstance(v, list) else v for k, v in header.items()}, **arrays)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{path}: {e}") from None
    if found.convention != stated:
        raise ValueError(f"{path}: states the convention {stated!r}, its arrays mean {found.convention!r}")
    if isinstance(detector, Detector) and segments is None:
        segments = detector.ids
    try:
        found = found if detector is None else of_detector(found, detector)
        return found if segments is None else found.select(segments)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
