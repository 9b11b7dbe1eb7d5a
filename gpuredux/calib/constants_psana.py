"""Constants from psana's arrays: the dictionary that det.raw._calibconst holds, or its text and .npy files.

pedestals, pixel_gain, pixel_offset, pixel_rms, pixel_status (states, panels, rows, cols), without the first axis for detectors of one gain;
pixel_mask 1 = good. The states are G0 G1 G2 of Jungfrau, the seven of ePix10ka, the eight or twelve of ePixUHR.
psana computes (adc - (pedestals + pixel_offset)) / pixel_gain: the same as here. For detectors where its unit is not settled, gain_unit must say it:
one that is per ADU, such as "keV/ADU", multiplies and is inverted."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..detectors import Detector, detector
from .constants import Constants, inverse
from .constants_given import plain
from .flags import good_from

TAKEN = {"pedestals": "pedestal", "pixel_gain": "gain", "pixel_offset": "offset", "pixel_rms": "noise", "pixel_status": "status"}
LEFT = ("status_extra", "common_mode", "geometry", "pixel_max", "pixel_min", "pixel_status_extra")
MODES = {"epixm320": ("SH", "SL", "AHL_H")}      # the planes of psana's arrays, where the switched states have none
IN_ADU_PER_KEV = ("jungfrau", "epix10ka", "epixhr")


def load_psana(calibconst: Mapping[str, Any], kind: str | Detector, *, segments: Iterable[int] | None = None, gain_unit: str | None = None,
               bad: Sequence[str] = (), **about: Any) -> Constants:
    """The set of a dictionary name -> array or (array, metadata). Metadata give the validity and the source runs, unless `about` does.

    bad: names of calib.flags.Psana that make a pixel not good, in any state; segments: ids of the panels, None = all of the detector's
    raises ValueError for a name or shape that is not understood; what is known and not needed is left out, and noted"""
    kind = detector(kind)
    kind = kind if segments is None else kind.select(segments)
    odd = sorted(set(calibconst) - set(TAKEN) - set(LEFT) - {"pixel_mask"})
    if odd:
        raise ValueError(f"constants_psana: {', '.join(odd)} is not understood; known are {', '.join((*TAKEN, 'pixel_mask', *LEFT))}")
    found = {name: v if isinstance(v, tuple) else (v, {}) for name, v in calibconst.items() if v is not None}
    left = [name for name in found if name in LEFT]
    notes = ["from psana's arrays", *([f"left out: {', '.join(left)}"] if left else [])]
    arrays = {ours: _states(name, found[name][0], kind) for name, ours in TAKEN.items() if name in found}
    units = {}
    if "gain" in arrays:
        arrays["gain"], units["gain"] = _gain(arrays["gain"], gain_unit, kind, notes)
    good = None
    if "pixel_mask" in found:
        mask = plain("constants_psana: pixel_mask", found["pixel_mask"][0])
        if mask.dtype.kind not in "bui" or not np.isin(mask, (0, 1)).all():
            raise ValueError("constants_psana: pixel_mask must hold 0 and 1, 1 = good")
        good = _panels("pixel_mask", mask, kind) != 0
    if "status" in arrays:
        arrays["status"] = _bits(arrays["status"])
    if bad:
        if "status" not in arrays:
            raise ValueError("constants_psana: bad= needs pixel_status")
        usable = good_from(arrays["status"], bad, "Psana", over=1, unnamed="ignore")
        good = usable if good is None else good & usable
    given = {"notes": "; ".join(notes), **({"planes": MODES[kind.name]} if kind.name in MODES else {})}
    about = {**given, **_metadata({n: m for n, (_, m) in found.items() if n in TAKEN}), **about}
    return Constants(kind.name, **arrays, good=good, flags="Psana" if "status" in arrays else "", units=units, shape=kind.shape, segments=kind.ids, **about)


def _panels(name: str, a: np.ndarray, kind: Detector) -> np.ndarray:
    """psana always has an axis of panels, also for one."""
    if a.shape != kind.shape and a.shape != (1, *kind.shape):
        raise ValueError(f"constants_psana: {name} must be {kind.shape} for {kind.name} with segments {kind.ids}, got {a.shape}")
    return a.reshape(kind.shape)


def _states(name: str, given: Any, kind: Detector) -> np.ndarray:
    """(states, *kind.shape)."""
    a = plain(f"constants_psana: {name}", given)
    count = len(MODES.get(kind.name, kind.config.states)) if kind.config else kind.n_planes
    if count == 1 and a.shape in (kind.shape, (1, *kind.shape)):
        return a.reshape(1, *kind.shape)
    if count == 12 and len(a) == 8:
        raise ValueError(f"constants_psana: {name} has the 8 states of {kind.name} without the switched ones; complete it with folding.low_states"
                         " (gains) and folding.switched_pedestal (pedestals) first")
    if a.ndim < 3 or len(a) != count or a.shape[1:] not in (kind.shape, (1, *kind.shape)):
        raise ValueError(f"constants_psana: {name} must be ({count}, {', '.join(map(str, kind.shape))}) for {kind.name} with segments {kind.ids},"
                         f" got {a.shape}")
    return a.reshape(count, *kind.shape)


def _bits(status: np.ndarray) -> np.ndarray:
    """pixel_status as bits; psana's text files may have made floats of them."""
    if status.dtype.kind not in "uif":
        raise ValueError(f"constants_psana: pixel_status must be whole numbers, got {status.dtype}")
    odd = ~((status >= 0) & (status < 2.0**64))
    if status.dtype.kind == "f":
        odd |= status != np.floor(status)
    if odd.any():
        first = tuple(int(k) for k in np.argwhere(odd)[0])
        raise ValueError(f"constants_psana: pixel_status must be bits, whole numbers from 0; {int(odd.sum())} are not, the first at {first}: {status[first]}")
    return status.astype(np.uint64)


def _gain(gain: np.ndarray, unit: str | None, kind: Detector, notes: list[str]) -> tuple[np.ndarray, str]:
    """The gain that divides, and its unit."""
    if unit is None:
        if not kind.name.startswith(IN_ADU_PER_KEV):
            raise ValueError(f"constants_psana: pixel_gain of {kind.name}: say gain_unit, e.g. 'ADU/keV' (divides) or 'keV/ADU' (multiplies)")
        unit = "ADU/keV"
    over, slash, per = unit.partition("/")
    if not slash or not over or not per or (over == "ADU") == (per == "ADU"):
        raise ValueError(f"constants_psana: gain_unit must be ADU/something or something/ADU, got {unit!r}")
    if per != "ADU":
        return gain, unit
    notes.append(f"pixel_gain was {unit}, multiplied: inverted, 0 stays 0")
    return inverse(gain), f"ADU/{over}"


def _metadata(metadata: dict[str, Mapping[str, Any]]) -> dict[str, Any]:
    """validity: the runs where all are valid; source_runs."""
    begin, end, source = [], [], []
    for name, m in metadata.items():
        first, last = m.get("run_beg", m.get("run")), m.get("run_end")
        try:
            begin += [] if first is None else [int(first)]
            end += [] if last in (None, "end") else [int(last)]
        except (TypeError, ValueError):
            raise ValueError(f"constants_psana: {name} is said to be valid from run {first!r} to {last!r}, which are no numbers") from None
        made = m.get("run_orig", m.get("run"))
        source += [] if made is None else [f"{m.get('experiment', '')} {made}".strip()]
    if begin and end and max(begin) > min(end):
        raise ValueError(f"constants_psana: the constants are never valid together: from runs {begin} to runs {end}")
    limits = (max(begin) if begin else None, min(end) if end else None)
    return {**({"validity": limits} if begin or end else {}), "source_runs": tuple(dict.fromkeys(source))}


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """An array of a .npy file, or of psana's text: '# DTYPE', '# NDIM', '# DIM:k' or '# SHAPE' in its head, then the numbers. Raises ValueError."""
    path = Path(path)
    if path.suffix == ".npy":
        try:
            found = np.load(path)
        except (ValueError, EOFError, OSError, MemoryError) as e:
            if isinstance(e, FileNotFoundError):
                raise
            raise ValueError(f"{path}: cannot be read as .npy: {e}") from None
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
            raise ValueError(f"{path}: must hold one array of numbers, got {getattr(found, 'dtype', type(found).__name__)}")
        return found
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text") from None
    head = dict(words for line in lines if line.startswith("#") and len(words := line[1:].split(None, 1)) == 2)
    said = head.get("SHAPE") or ",".join(head[k] for k in head if k.startswith("DIM:"))
    try:
        shape = tuple(int(k) for k in said.strip().strip("()[]").split(",") if k.strip())
        dtype = np.dtype(head.get("DTYPE", head.get("DATATYPE", "float32")).strip())
        axes = int(head.get("NDIM", len(shape)))
        values = np.array([w for line in lines if not line.startswith("#") for w in line.split()], np.float64)
    except (ValueError, TypeError) as e:
        raise ValueError(f"{path}: is no array of psana: {e}") from None
    if not shape or min(shape) < 0 or dtype.kind not in "fiu" or values.size != math.prod(shape) or axes != len(shape):
        raise ValueError(f"{path}: its head says {dtype} {shape or 'no shape'}, it holds {values.size} numbers; is it cut short?")
    with np.errstate(invalid="raise", over="raise"):
        try:
            made = values.reshape(shape).astype(dtype)
        except FloatingPointError:
            raise ValueError(f"{path}: holds numbers that are no {dtype}") from None
    if dtype.kind in "iu" and not np.array_equal(made.astype(np.float64), values.reshape(shape)):
        raise ValueError(f"{path}: holds numbers that are no {dtype}")
    return made
