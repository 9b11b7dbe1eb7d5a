"""Pedestal, gain, mask and noise of a run: from files or from the simulation, checked against the detector and the frames."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ..detectors import DETECTORS
from .config import Document
from .faults import ConfigError
from .source import Source


def constants(document: Document, source: Source) -> dict[str, np.ndarray[Any, Any]]:
    """pedestal, gain, good and noise of the source's detector, checked against its kind and the frames. Raises ConfigError."""
    name = document.config.source.detector
    block = document.config.detectors[name]
    kind, path = DETECTORS[block.type], ("detectors", name)
    frame = tuple(block.shape) if block.shape else kind.shape
    faults, found = [], {}
    if source.frame != frame:
        faults.append(document.at((*path, "shape"), f"{name} is {frame}, the source gives frames of {source.frame}"))
    planes = (kind.n_planes, *frame)
    for key, shape, kinds, words in (("pedestal", planes, "fiu", "numbers"), ("gain", planes, "fiu", "numbers"), ("good", frame, "b", "bool"),
                                     ("noise", planes, "fiu", "numbers")):
        where = getattr(block, key)
        if where is None:
            continue
        try:
            value = source.constant(key) if where == "simulated" else _dataset(document, where)
        except ValueError as e:
            faults.append(document.at((*path, key), str(e)))
            continue
        if value is None:
            faults.append(document.at((*path, key), "'simulated' needs a source of type simulated"))
            continue
        if value.shape != shape or value.dtype.kind not in kinds:
            faults.append(document.at((*path, key), f"{where} must be {words} {shape} for {block.type}, got {value.dtype} {value.shape}"))
        found[key] = value
    if faults:
        raise ConfigError(faults)
    return found


def _dataset(document: Document, where: str) -> np.ndarray[Any, Any]:
    """The array of file.h5:/dataset. Raises ValueError with the words."""
    name, colon, dataset = where.rpartition(":/")
    if not colon:
        raise ValueError(f"must be file.h5:/dataset or 'simulated', got {where!r}")
    path = document.resolve(name)
    if not path.exists():
        raise ValueError(f"{name}: no such file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = file.get(dataset)
            if not isinstance(found, h5py.Dataset):
                raise ValueError(f"{name} has no dataset '/{dataset}'")
            value: np.ndarray[Any, Any] = found[...]
            return value
    except OSError as e:
        raise ValueError(f"{name}: cannot be read as HDF5: {e}") from None
