"""EuXFEL constants from the HDF5 files that its catalogue CALCAT names: /<PDU>/<Constant>/<n>/data, with the attribute dims on data.

Offset [ADU] is subtracted, Noise [ADU], ThresholdsDark (AGIPD), BadPixelsDark / PC / FF (flags BadPixels, ORed into status).
Gain maps (RelativeGain, SlopesPC, SlopesFF, GainAmpMap, FFMap ...) divide or multiply, relative to high gain or not, by detector and by year: gain= says
it for each, else they are refused. Which file is valid for a run is the catalogue's knowledge (conditions, event_at), not the file's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from ..detectors import Detector, detector
from .constants import Constants, inverse
from .constants_given import by_segment, opened

Place = tuple[str | os.PathLike[str], str]
AXES = ("gain", "cell", "slow_scan", "fast_scan")
BAD = ("BadPixelsDark", "BadPixelsPC", "BadPixelsFF")
TAKEN = {"Offset": "pedestal", "Noise": "noise", "ThresholdsDark": "threshold"}


def load_calcat(modules: Mapping[int, Mapping[str, Place]], kind: str | Detector, *, gain: Mapping[str, str] | None = None, gain_unit: str = "",
                thresholds: Sequence[int] | None = None, dims: Mapping[str, Sequence[str]] | None = None, **about: Any) -> Constants:
    """The set of {segment id: {constant's name: (file, dataset's group)}}; every module needs the same constants.

    gain: {constant's name: "divides" or "multiplies"}; their product, as what divides, is the gain, in gain_unit
    thresholds: which entries of the gain axis of ThresholdsDark are the thresholds, where it holds more than one less than the gains
    dims: axes by constant's name, for files without the attribute; known are gain, cell, slow_scan, fast_scan
    raises ValueError for what is missing, or not understood"""
    modules = by_segment("constants_calcat", modules)
    kind = detector(kind).select(modules)
    names = _names({k: modules[k] for k in kind.ids})
    if dims is not None and not isinstance(dims, Mapping):
        raise TypeError(f"constants_calcat: dims must be {{constant's name: axes}}, got {dims!r}")
    for k in kind.ids:
        if missing := sorted(names - set(modules[k])):
            raise ValueError(f"constants_calcat: segment {k} has no {', '.join(missing)}, which others have")
    gain = dict(gain or {})
    odd = sorted(names - set(TAKEN) - set(BAD) - set(gain)) + sorted(set(gain) - names)
    if odd or set(gain.values()) - {"divides", "multiplies"} or bool(gain) != bool(gain_unit):
        raise ValueError(f"constants_calcat: {', '.join(odd) or 'gain='}: say for each gain map whether it 'divides' or 'multiplies'"
                         f" (gain={{name: ...}}), and gain_unit, e.g. 'ADU/keV'; understood are {', '.join((*TAKEN, *BAD))}; got gain={gain}, {gain_unit!r}")
    whole = {name: _stack(name, [modules[k][name] for k in kind.ids], kind, (dims or {}).get(name)) for name in sorted(names)}
    counts = {a.shape[1] for a in whole.values()} - {1}
    if len(counts) > 1:
        raise ValueError(f"constants_calcat: different numbers of memory cells: {({n: a.shape[1] for n, a in whole.items()})}")
    cells = counts.pop() if counts else 1
    arrays = {ours: whole[name] for name, ours in TAKEN.items() if name in whole}
    if "threshold" in arrays:
        arrays["threshold"] = _thresholds(arrays["threshold"], thresholds, kind)
    if found := [_unsigned(name, whole[name]) for name in BAD if name in whole]:
        arrays["status"] = np.bitwise_or.reduce([np.broadcast_to(a, (kind.n_planes, cells, *kind.shape)) for a in found])
    for name, does in gain.items():
        factor = inverse(whole[name]) if does == "multiplies" else whole[name]
        arrays["gain"] = factor if "gain" not in arrays else arrays["gain"] * factor
    many = {n: np.broadcast_to(a, (kind.n_planes - (n == "threshold"), cells, *kind.shape)) for n, a in arrays.items()}
    notes = f"from CALCAT's files: {', '.join(sorted(names))}" + "".join(f"; {n} {does}" for n, does in gain.items())
    return Constants(kind.name, **{n: a if kind.cells else a[:, 0] for n, a in many.items()}, cells=cells if kind.cells else 0, shape=kind.shape,
                     segments=kind.ids, flags="BadPixels" if "status" in arrays else "", units={"gain": gain_unit} if gain else {}, **{"notes": notes, **about})


def _names(modules: Mapping[int, Any]) -> set[str]:
    """All constants' names, each with its place."""
    for k, places in modules.items():
        if not isinstance(places, Mapping):
            raise TypeError(f"constants_calcat: segment {k} must have {{constant's name: (file, group)}}, got {places!r}")
        for name, place in places.items():
            if isinstance(place, str) or not isinstance(place, Sequence) or len(place) != 2:
                raise TypeError(f"constants_calcat: {name} of segment {k} must be (file, group), got {place!r}")
    return set().union(*modules.values())


def _stack(name: str, places: Sequence[Place], kind: Detector, dims: Sequence[str] | None) -> np.ndarray:
    """(gains or 1, cells or 1, *kind.shape) of all modules."""
    parts = [_module(name, place, kind, dims) for place in places]
    if len({p.shape for p in parts}) > 1:
        raise ValueError(f"constants_calcat: {name} differs in shape between modules: {[p.shape for p in parts]}")
    return np.stack(parts, axis=2).reshape(*parts[0].shape[:2], *kind.shape)


def _module(name: str, place: Place, kind: Detector, dims: Sequence[str] | None) -> np.ndarray:
    """One dataset with its axes in the order of AXES; a missing gain or cell axis has length 1."""
    path, group = place
    with opened(path) as file:
        dataset = file.get(f"{group}/data")
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu" or dataset.shape is None:
            raise ValueError(f"{path}: has no numbers at {group}/data")
        said = dataset.attrs.get("dims", dims)
        if said is None:
            raise ValueError(f"{path}: {group}/data has no attribute dims; say them with dims={{{name!r}: ...}}, of {', '.join(AXES)}")
        axes = [a.decode(errors="replace") if isinstance(a, bytes) else str(a) for a in np.ravel(said).tolist()]
        data = np.asarray(dataset[()])
    if len(axes) != data.ndim or len(set(axes)) != len(axes) or set(axes) - set(AXES) or not {"slow_scan", "fast_scan"} <= set(axes):
        raise ValueError(f"{path}: {group}/data of {data.ndim} axes has dims {axes}; understood are {', '.join(AXES)}, each once, the last two always")
    length = dict(zip(axes, data.shape, strict=True))
    gains, cells = length.get("gain", 1), length.get("cell", 1)
    rows_cols = (length["slow_scan"], length["fast_scan"])
    if rows_cols != kind.shape[-2:] or cells > max(kind.cells, 1) or (name != "ThresholdsDark" and gains not in (1, kind.n_planes)):
        raise ValueError(f"{path}: {group}/data must be {kind.shape[-2:]} with {kind.n_planes} gains and up to {kind.cells} cells for {kind.name},"
                         f" got {length}")
    return data.transpose([axes.index(a) for a in AXES if a in axes]).reshape(gains, cells, *rows_cols)


def _thresholds(threshold: np.ndarray, chosen: Sequence[int] | None, kind: Detector) -> np.ndarray:
    want = kind.n_planes - 1
    chosen = range(want) if chosen is None and len(threshold) == want else chosen
    if chosen is None or len(chosen) != want or not all(0 <= k < len(threshold) for k in chosen):
        raise ValueError(f"constants_calcat: ThresholdsDark has {len(threshold)} entries, {kind.name} needs {want}: say which with thresholds=")
    return threshold[list(chosen)]


def _unsigned(name: str, a: np.ndarray) -> np.ndarray:
    if a.dtype.kind not in "ui":
        raise ValueError(f"constants_calcat: {name} must be integers, bits of bad pixels, got {a.dtype}")
    if (a < 0).any():
        raise ValueError(f"constants_calcat: {name} must be bits of bad pixels, and {int((a < 0).sum())} values are negative, the first {a[a < 0][0]}")
    return a.astype(np.uint32) if a.dtype.itemsize <= 4 else a.astype(np.uint64)
