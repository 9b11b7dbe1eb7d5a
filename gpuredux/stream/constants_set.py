"""A constants file of gpuredux (calib.Constants) for a run: its detector, panels, gain stages and validity held against what the run has."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..calib import Constants
from ..calib.constants import load, of_detector
from ..detectors import DETECTORS, Detector
from .config import DetectorBlock, Document, Hdf5Source
from .constants_status import counted
from .faults import ConfigError
from .stages import Stage
from .wiring import wants_noise

Arrays = dict[str, np.ndarray[Any, Any]]


class _Misfit(ValueError):
    """Words, and the key of the detector's block that they are about."""

    def __init__(self, words: str, key: str = "constants") -> None:
        super().__init__(words)
        self.key = key


def read(document: Document, kind: Detector, given: Arrays, gain: Stage | None) -> tuple[Arrays, np.ndarray[Any, Any] | None, dict[str, Any]]:
    """Arrays for the frames of `kind`, what of them `bad` leaves out, and what is to be known of the file. given: arrays of the detector's block, for what
    the file does not hold; gain: the stage calib.gain, if there is one. Raises ConfigError."""
    name = document.config.source.detector
    block = document.config.detectors[name]
    try:
        held = _loaded(document.resolve(str(block.constants)), str(block.constants))
        told = {k: held.header[k] for k in ("detector", "convention", "made_by", "source_runs", "validity")}
        about = {"file": block.constants, "sha256": held.digest, **told, "taken": _moment(document, held)}
        measured = held.planes
        held = _panels(_stages(held, block, kind, gain), block, kind, name)
        held, about["added"] = _completed(held, block, given, gain), {k: getattr(block, k) for k in given}
        arrays, flagged = _arrays(held, block, gain)
    except _Misfit as e:
        raise ConfigError([document.at(("detectors", name, e.key), str(e))]) from None
    noisy = wants_noise(document)
    if noisy and "noise" not in arrays:
        raise ConfigError([document.at(("detectors", name, "constants"), f"{block.constants} has no noise, {noisy} needs it: give noise as well")])
    stages = counted(held, arrays) if gain is not None else {}
    about["planes"] = [n for n in held.planes if n in measured]
    about["masked"] = [n for n in stages if n not in measured and not stages[n]["in_use"]]
    return arrays, flagged, {**about, "segments": list(held.segments), "stages": stages, "bad": block.bad or []}


def _loaded(path: Path, name: str) -> Constants:
    try:
        return load(path)
    except FileNotFoundError:
        raise _Misfit(f"{name}: no such file; gpuredux-stream dark makes one from dark frames") from None
    except (ValueError, TypeError, OSError) as e:       # its own words begin with the whole path
        raise _Misfit(f"{name}: {' '.join(str(e).split()).removeprefix(f'{path}: ')}") from None


def _stages(held: Constants, block: DetectorBlock, kind: Detector, gain: Stage | None) -> Constants:
    """The set with the planes of the detector, in its order; stages that the file lacks have NaN, where calib.gain masks such pixels."""
    try:
        held = of_detector(held, kind.name)
    except ValueError:
        raise _Misfit(f"{block.constants} holds constants of {held.detector!r}, the detector is {kind.name!r}") from None
    if held.cells:
        raise _Misfit(f"{block.constants} has {held.cells} memory cells; a source of gpuredux-stream run does not say which cell a frame is of")
    want = kind.gains or tuple(f"G{k}" for k in range(kind.n_planes))
    odd, lost = [n for n in held.planes if n not in want], [n for n in want if n not in held.planes]
    words = f"{block.constants} holds the gain stages {', '.join(held.planes)}; {kind.name} has {', '.join(want)}"
    if odd and kind.config is not None:
        words += ": fold the states with the configuration of the pixels first (gpuredux.calib.folding.fold_constants)"
    if odd or (lost and getattr(gain, "invalid", "mask") != "mask"):
        raise _Misfit(words + ("" if odd else "; measure the others, or let calib.gain mask their pixels (invalid: mask)"))
    try:
        return held.ordered(missing="mask")
    except ValueError as e:
        raise _Misfit(f"{block.constants}: {str(e).partition(': ')[2]}") from None


def _panels(held: Constants, block: DetectorBlock, kind: Detector, name: str) -> Constants:
    """The set of the panels in the frames, in their order."""
    if block.segments is None and kind.n_panels != DETECTORS[kind.name].n_panels:
        raise _Misfit(f"frames have {kind.n_panels} of the {DETECTORS[kind.name].n_panels} panels of {kind.name}: say which, by segments: [id, ...]", "shape")
    lost = [k for k in kind.ids if k not in held.segments]
    if lost:
        raise _Misfit(f"{block.constants} has no constants of the segments {', '.join(map(str, lost))}; it has {', '.join(map(str, held.segments))}")
    held = held if kind.ids == held.segments else held.select(kind.ids)
    if held.shape != kind.shape:
        raise _Misfit(f"{block.constants} is for frames of {held.shape}, {name} is {kind.shape}")
    return held


def _completed(held: Constants, block: DetectorBlock, given: Arrays, gain: Stage | None) -> Constants:
    """The set with the arrays of the block, each of which it must lack; in ADU a gain of 1 where there is none."""
    for key in given:
        if getattr(held, key) is not None:
            raise _Misfit(f"given twice: {block.constants} holds {key}, too; leave one of them out", key)
    more: dict[str, Any] = dict(given)
    if gain is not None and held.gain is None and "gain" not in more:
        if not gain.fields()["adu"]:
            raise _Misfit(f"{block.constants} has no gain (dark frames give none): add gain: file.h5:/dataset, or for energies in ADU adu: true in calib.gain")
        more["gain"] = np.ones((len(held.planes), *held.shape), np.float32)
    if gain is not None and held.pedestal is None and "pedestal" not in more:
        raise _Misfit(f"{block.constants} has no pedestal: add pedestal: file.h5:/dataset")
    return replace(held, **more) if more else held


def _arrays(held: Constants, block: DetectorBlock, gain: Stage | None) -> tuple[Arrays, np.ndarray[Any, Any] | None]:
    """What calib.gain takes, and noise; and which of it `bad` leaves out."""
    noise = {} if held.noise is None else {"noise": held.noise}
    if gain is None:
        return {**{k: a for k in ("pedestal", "gain", "good") if (a := getattr(held, k)) is not None}, **noise}, None
    try:
        given = held.to_gain(block.bad or ())
    except (ValueError, TypeError) as e:
        raise _Misfit(str(e).partition(": ")[2], "bad" if block.bad else "constants") from None
    arrays = {k: given[k] for k in ("pedestal", "gain", "good") if given[k] is not None}
    return {**arrays, **noise}, (given["gain"] == 0) & (held.gain != 0) if block.bad else None


def _moment(document: Document, held: Constants) -> str | int | None:
    """When the frames were taken, if the source says so, and the constants are valid then."""
    source = document.config.source
    taken = source.taken if isinstance(source, Hdf5Source) else None
    if taken is None:
        return None
    place = ("source", "taken")
    try:
        moment = taken if isinstance(taken, int) else datetime.fromisoformat(taken)
        if isinstance(moment, datetime) and moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise ConfigError([document.at(place, f"must be the number of a run, or a time in ISO 8601 with its zone, got {taken!r}")]) from None
    try:
        valid = held.valid_for(moment)
    except TypeError:
        raise ConfigError([document.at(place, f"the constants are valid for {span(held.header['validity'])}, got {taken!r}")]) from None
    if not valid:
        raise ConfigError([document.at(place, f"{taken}: the constants are valid for {span(held.header['validity'])} alone")])
    return taken


def span(validity: list[Any]) -> str:
    """Runs or times, in words."""
    begin, end = (None if m is None else str(m) for m in validity)
    kind = "runs" if any(isinstance(m, int) for m in validity) else "times"
    return f"{kind} {f'from {begin}' if begin else ''}{' ' if begin and end else ''}{f'to {end}' if end else ''}"


def words(about: dict[str, Any]) -> str:
    """For a person: what constants are used, and what of them was not checked."""
    validity = about["validity"]
    valid = "no validity stated" if validity is None else f"valid for {span(validity)}"
    if validity is not None:
        valid += f", taken {about['taken']}" if about["taken"] is not None else ", NOT CHECKED: the source does not say when its frames were taken"
    masked = f" ({', '.join(about['masked'])} not measured: such pixels are masked)" if about["masked"] else ""
    return f"{about['file']}: {about['detector']}, stages {', '.join(about['planes'])}{masked}, sha256 {about['sha256'][:16]}, {valid}"
