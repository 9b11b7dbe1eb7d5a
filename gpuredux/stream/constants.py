"""Pedestal, gain, mask and noise of a run: from datasets or the simulation, checked against the detector and the frames; constants files: constants_set.py."""

from __future__ import annotations

from typing import Any, NamedTuple

import h5py
import numpy as np

from ..detectors import Detector
from . import constants_set
from .config import Document
from .faults import ConfigError
from .source import Source
from .stages import Stage

Arrays = dict[str, np.ndarray[Any, Any]]


class Known(NamedTuple):
    """What is known of the source's detector."""

    kind: Detector                                  # of the frames: their shape and panels
    arrays: Arrays                                  # pedestal, gain, good and noise, those that there are
    flagged: np.ndarray[Any, Any] | None            # (planes, *frame): gain stages of pixels that `bad` leaves out
    about: dict[str, Any] | None                    # the constants file


def known(document: Document, source: Source) -> Known:
    """The constants of the source's detector, checked against its kind and the frames. Raises ConfigError."""
    name = document.config.source.detector
    block = document.config.detectors[name]
    kind = block.kind
    gain = next((s for s in document.config.stages if s.type == "calib.gain"), None)
    faults = []
    if source.frame != kind.shape:
        faults.append(document.at(("detectors", name, "shape"), f"{name} is {kind.shape}, the source gives frames of {source.frame}"))
    arrays, more = _given(document, source, kind)
    faults += more
    flagged = about = None
    if block.constants is not None:
        try:
            arrays, flagged, about = constants_set.read(document, kind, arrays, gain)
        except ConfigError as e:
            faults += e.lines
    elif gain is not None and "gain" not in arrays:     # wiring saw to it that energies are in ADU then
        arrays["gain"] = np.ones((kind.n_planes, *kind.shape), np.float32)
    if faults:
        raise ConfigError(faults)
    return Known(kind, arrays, flagged, about)


def _given(document: Document, source: Source, kind: Detector) -> tuple[Arrays, list[str]]:
    """The arrays that the detector's block names one by one, and what is wrong with them."""
    name, planes = document.config.source.detector, (kind.n_planes, *kind.shape)
    block, faults, found = document.config.detectors[name], [], {}
    for key, shape, kinds, words in (("pedestal", planes, "fiu", "numbers"), ("gain", planes, "fiu", "numbers"), ("good", kind.shape, "b", "bool"),
                                     ("noise", planes, "fiu", "numbers")):
        where = getattr(block, key)
        if where is None:
            continue
        path = ("detectors", name, key)
        try:
            value = source.constant(key) if where == "simulated" else dataset(document, where, " or 'simulated'")
        except ValueError as e:
            faults.append(document.at(path, str(e)))
            continue
        if value is None:
            faults.append(document.at(path, "'simulated' needs a source of type simulated"))
            continue
        if value.shape != shape or value.dtype.kind not in kinds:
            cells = "; memory cells: no source says which cell a frame is of" if _with_cells(value.shape, shape, kind) else ""
            faults.append(document.at(path, f"{where} must be {words} {shape} for {block.type}, got {value.dtype} {value.shape}{cells}"))
        found[key] = value
    return found, faults


def _with_cells(got: tuple[int, ...], want: tuple[int, ...], kind: Detector) -> bool:
    """Whether a shape has one axis more that may be of memory cells."""
    return any(got[:k] + got[k + 1 :] == want and got[k] <= kind.cells for k in range(len(got)))


def of_stage(document: Document, i: int) -> dict[str, Any]:
    """The fields of a stage's operation, with the arrays that it names. Raises ConfigError."""
    stage: Stage = document.config.stages[i]
    fields, faults = stage.fields(), []

    def array(where: Any, *path: str | int) -> Any:
        try:
            return dataset(document, where) if isinstance(where, str) else where
        except ValueError as e:
            faults.append(document.at(("stages", i, *path), str(e)))

    fields |= {key: array(fields[key], key) for key in stage.arrays}
    fields |= {key: [array(a, key, k) for k, a in enumerate(fields[key])] for key in ("divide", "multiply") if key in fields}
    if faults:
        raise ConfigError(faults)
    return fields


def dataset(document: Document, where: str, other: str = "") -> np.ndarray[Any, Any]:
    """The array of file.h5:/dataset. Raises ValueError with the words; other: what may stand there, too."""
    name, colon, path_in_file = where.rpartition(":/")
    if not colon:
        raise ValueError(f"must be file.h5:/dataset{other}, got {where!r}")
    path = document.resolve(name)
    if not path.exists():
        raise ValueError(f"{name}: no such file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = file.get(path_in_file)
            if not isinstance(found, h5py.Dataset):
                raise ValueError(f"{name} has no dataset '/{path_in_file}'")
            value: np.ndarray[Any, Any] = found[...]
            return value
    except OSError as e:
        raise ValueError(f"{name}: cannot be read as HDF5: {e}") from None
