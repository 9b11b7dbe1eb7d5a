"""Jungfrau constants from PSI's files: gain maps and pedestals in HDF5 (SwissFEL, jungfrau_utils), gain maps as plain binary.

gain file:      /gains (4 or 6, H, W) ADU/keV: G0, G1, G2, HG0 [, HG1, HG2]; H = 512 rows a module, module after module
pedestal file:  /gains (3 or 4, H, W) ADU in the same order, /pixel_mask (H, W): 0 = good; /gainsRMS like /gains is taken as noise, unless it repeats
                /gains, as some versions of jungfrau_utils wrote it
binary gains:   one file a module, (3, 4 or 6, 512, 1024) float64, little-endian
Signs stay: G1 and G2 are negative at PSI, since the adc falls with charge. Programs that keep |G| and turn the subtraction round are refused, or
read with absolute=True. A pedestal of 0, or of 16383 and more, stands for a pixel whose pedestal failed: it becomes NaN, and so do NaN and Inf."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..detectors import Detector, detector
from .constants import Constants
from .constants_given import opened
from .flags import good_from

FAILED = 16383.0    # Jungfraujoch writes 16383.5, the largest of its 14-bit numbers
MODULE = (512, 1024)
Where = str | os.PathLike[str]


def load_psi(gains: Where | Sequence[Where], pedestals: Where | None = None, kind: str | Detector = "jungfrau", *, highgain: bool = False,
             absolute: bool = False, bad: Sequence[str] | None = None, segments: Iterable[int] | None = None, **about: Any) -> Constants:
    """The set of a gain file (or of binary ones, one a module) and a pedestal file; about: validity, source_runs and other fields of Constants.

    highgain: the setting HG0. Of a file with its own planes for it, (HG0, HG1, HG2); of one with HG0 alone, G1 and G2 have no constants and get the
        gain 0, which calib.Gain refuses or masks (invalid="mask"), where peers take HG0 for them
    bad: names of calib.flags.SwissFEL that condemn a pixel of pixel_mask, None = any value but 0, as at PSI; the others are not looked at
    segments: ids of the modules in the files, None = all of the detector's"""
    kind = detector(kind)
    if kind.shape[-2:] != MODULE:
        raise ValueError(f"constants_psi: PSI's files are of Jungfrau modules {MODULE}, {kind.name} has {kind.shape}")
    kind = kind if segments is None else kind.select(segments)
    notes: list[str] = []
    several = isinstance(gains, (list, tuple))
    gain = _binary(gains, kind) if several else _modules(gains, "gains", (4, 6), kind)
    gain = _signed(_chosen(gain, highgain), absolute, notes)
    arrays: dict[str, Any] = {"gain": gain}
    if pedestals is not None:
        whole = _modules(pedestals, "gains", (3, 4, 6), kind)
        arrays["pedestal"] = _failed(_chosen(whole, highgain), notes)
        with opened(pedestals) as file:
            names = set(file)
        if "gainsRMS" in names:
            noise = _modules(pedestals, "gainsRMS", (len(whole),), kind)
            if (noise < 0).any():
                raise ValueError(f"{pedestals}: /gainsRMS is a standard deviation, and {int((noise < 0).sum())} values are negative")
            if np.array_equal(noise, whole, equal_nan=True):
                notes.append("/gainsRMS repeats /gains: left out")
            else:
                arrays["noise"] = _chosen(noise, highgain)
        if "pixel_mask" in names:
            mask = _modules(pedestals, "pixel_mask", (), kind)
            arrays["good"] = mask == 0 if bad is None else good_from(mask, bad, "SwissFEL", unnamed="ignore")
            notes.append(f"good: pixel_mask has {'no bit at all' if bad is None else 'none of ' + ', '.join(bad)}")
    notes.insert(0, f"gains {'HG0' if highgain else 'G0 G1 G2'} of PSI's files, ADU/keV that divide")
    return Constants(kind.name, **arrays, shape=kind.shape, segments=kind.ids, planes=kind.gains, **{"notes": "; ".join(notes), **about})


def _modules(path: Where, name: str, planes: tuple[int, ...], kind: Detector) -> np.ndarray:
    """A dataset ([planes,] H, W) as ([planes,] *kind.shape)."""
    want = (kind.n_panels * MODULE[0], MODULE[1])
    with opened(path) as file:
        found = file.get(name)
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise ValueError(f"{path}: has no dataset /{name}; it holds {', '.join(file) or 'nothing'}")
        lead = found.shape[:-2]
        if found.shape[-2:] != want or (lead not in [(n,) for n in planes] if planes else lead != ()):
            many = f"{' or '.join(map(str, planes))}, " if planes else ""
            raise ValueError(f"{path}: /{name} must be ({many}{want[0]}, {want[1]}), {kind.n_panels} modules of {kind.name}, got {found.shape}")
        if found.dtype.kind not in ("fiu" if planes else "iu"):
            raise ValueError(f"{path}: /{name} must be {'numbers' if planes else 'integers'}, got {found.dtype}")
        return np.asarray(found[()]).reshape(*lead, *kind.shape)


def _binary(paths: Sequence[Where], kind: Detector) -> np.ndarray:
    if len(paths) != kind.n_panels:
        raise ValueError(f"constants_psi: {kind.name} needs {kind.n_panels} binary gain files, one a module, got {len(paths)}")
    size, modules = 8 * MODULE[0] * MODULE[1], []
    for path in paths:
        data = Path(path).read_bytes()
        if len(data) not in (3 * size, 4 * size, 6 * size):
            raise ValueError(f"{path}: a binary gain file has 3, 4 or 6 planes of {size} bytes, got {len(data)} bytes")
        modules.append(np.frombuffer(data, "<f8").reshape(-1, *MODULE))
    if len({len(m) for m in modules}) > 1:
        raise ValueError(f"constants_psi: the binary gain files have different numbers of planes, {[len(m) for m in modules]}")
    return np.stack(modules, axis=1).reshape(-1, *kind.shape)


def _chosen(planes: np.ndarray, highgain: bool) -> np.ndarray:
    """Three planes of the setting."""
    planes = planes if planes.dtype.kind == "f" else planes.astype(np.float64)
    if not highgain:
        return planes[:3]
    if len(planes) == 3:
        raise ValueError("constants_psi: highgain needs a plane for HG0, and the file has three, G0, G1 and G2")
    return planes[3:] if len(planes) == 6 else np.concatenate((planes[3:], np.zeros_like(planes[:2])))


def _signed(gain: np.ndarray, absolute: bool, notes: list[str]) -> np.ndarray:
    """G0 > 0 > G1, G2, and each of fewer ADU/keV than the one before, by the medians of what is known."""
    middle = [float(np.median(known)) if (known := g[np.isfinite(g) & (g != 0)]).size else 0.0 for g in gain]
    if middle[0] < 0 or (any(m < 0 for m in middle[1:]) and (absolute or any(m > 0 for m in middle[1:]))):
        raise ValueError(f"constants_psi: gains with medians {middle} ADU/keV are not of PSI's signs (+, -, -){' nor absolute ones' if absolute else ''}")
    sizes = [abs(m) for m in middle if m]
    if sizes != sorted(sizes, reverse=True):
        raise ValueError(f"constants_psi: gains with medians {middle} rise from stage to stage: are they keV/ADU? PSI's are ADU/keV, which fall; take 1 / gain")
    if any(m > 0 for m in middle[1:]):
        if not absolute:
            raise ValueError(f"constants_psi: the gains of G1 and G2 have medians {middle[1:]} ADU/keV; PSI's are negative, since the adc falls with charge."
                             " If these are |G|, pass absolute=True")
        notes.append("G1 and G2 were absolute values: turned negative")
        return np.concatenate((gain[:1], -gain[1:]))
    return gain


def _failed(pedestal: np.ndarray, notes: list[str]) -> np.ndarray:
    """NaN for what says that the pedestal failed; a plane of zeros alone was not measured, or is not there."""
    failed = ~(np.isfinite(pedestal) & (pedestal > 0) & (pedestal < FAILED))
    if failed.any():
        notes.append(f"failed pedestals (0, 16383 or more, not finite) are NaN: {', '.join(str(int(f.sum())) for f in failed)} pixels")
    return np.where(failed, pedestal.dtype.type(np.nan), pedestal)
