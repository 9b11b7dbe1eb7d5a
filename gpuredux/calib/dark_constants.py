"""From what dark runs measured to sets of constants; and the sets of several runs in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..detectors import DETECTORS, Detector, detector
from .constants import Constants
from .dark_kind import names_of
from .dark_status import DarkStatus

if TYPE_CHECKING:
    from .darks import DarkResult

WORDS = ("adc_mask", "adc_shift", "gain_shift", "planes", "gains", "config", "codes", "counts", "second_image")     # what pedestals of words depend on


def to_constants(
    results: Mapping[Any, DarkResult], detector: str | Detector, robust: bool = True, source_runs: Iterable[str] = (), notes: str = "",
    separation: float = 5.0,
) -> Constants:
    """Constants with pedestal, noise and status of the gain stages measured; the status' bits are DarkStatus.

    results: of each gain stage (its number), or of each configured state (its name, in any order: as DarkRun's state); fold_constants takes the latter
    robust=False: the plain mean and rms. A pixel without a word of the stage has NaN for both
    Of a detector whose second image tells the gain, all of whose stages were measured, the set has thresholds: halfway between the levels of
    neighbouring stages in that image, plainly, not weighted with their noises, as the European XFEL has them. Where levels lie less than `separation`
    of their noises (added in squares) apart, both stages are GAIN_UNCLEAR; where they do not ascend, this threshold and those above are NaN, which
    nothing exceeds, and all the stages from there on are GAIN_UNCLEAR. With other than all stages there is no threshold.
    detector: one of the catalogue, or a part of one"""
    kind = _of_catalogue(detector)
    if not results:
        raise ValueError("darks: no gain stage was measured")
    names = names_of(results, kind)
    each = [results[s] for s in names]
    pedestal, noise = (np.stack(a).astype(np.float32) for a in zip(*(_estimate(r, robust) for r in each), strict=True))
    status, more = np.stack([r.status for r in each]), dict[str, Any]()
    if kind.second_image and len(each) == kind.n_planes:
        more["threshold"] = _thresholds(each, robust, separation, status)
    one = each[0].status
    cells = one.shape[0] if one.ndim == len(kind.shape) + 1 else 0
    return Constants(detector=kind.name, pedestal=pedestal, noise=noise, status=status, flags=DarkStatus.__name__, shape=one.shape[1 if cells else 0 :],
                     planes=tuple(names.values()), segments=kind.segments, cells=cells, source_runs=tuple(source_runs), notes=notes, **more)


def _estimate(r: DarkResult, robust: bool) -> tuple[np.ndarray, np.ndarray]:
    return (r.pedestal, r.noise) if robust else (r.plain_pedestal, r.plain_noise)


def _of_catalogue(which: str | Detector) -> Detector:
    """The detector, if a set of constants can name it."""
    kind = detector(which)
    own = DETECTORS.get(kind.name)
    how = f"gpuredux.detectors.DETECTORS[{kind.name!r}] = yours, here and where the set is loaded"
    if own is None:
        raise ValueError(f"darks: a set of constants says its detector by name, and the catalogue has no {kind.name!r}. Enter it: {how};"
                         " a part of a catalogue's detector keeps the name of the whole")
    odd = [f for f in WORDS if getattr(kind, f) != getattr(own, f)]
    if odd:
        raise ValueError(f"darks: this {kind.name!r} is not the catalogue's, by which the set would be read: {', '.join(odd)} differ."
                         f" Give it a name of its own and enter it: {how.replace(repr(kind.name), 'name')}")
    return kind


def _thresholds(each: Sequence[DarkResult], robust: bool, separation: float, status: np.ndarray) -> np.ndarray:
    """(stages - 1, [cells,] *frame) f32, as to_constants says; marks status."""
    lost = [i for i, r in enumerate(each) if r.second is None]
    if lost:
        raise ValueError(f"darks: the results of the stages {lost} have no second image")
    level, noise = (np.stack(a) for a in zip(*(_estimate(r.second, robust) for r in each if r.second is not None), strict=True))
    threshold = ((level[:-1] + level[1:]) / 2).astype(np.float32)
    for i in range(len(threshold)):
        step = level[i + 1] - level[i]
        with np.errstate(invalid="ignore"):
            ascends = step > 0 if i == 0 else (step > 0) & ~np.isnan(threshold[i - 1])
            clear = ascends & (step >= separation * np.hypot(noise[i], noise[i + 1]))
        threshold[i][~ascends] = np.nan
        status[i : i + 2][:, ~clear] |= np.uint32(DarkStatus.GAIN_UNCLEAR)
    return threshold


def merge(sets: Iterable[Constants]) -> Constants:
    """One set with the planes of several, in the detector's order: of dark runs in the states of an ePix, each with its own file.

    Source runs and notes come one after the other; a pixel is good where every set has it good. Raises ValueError for a plane that two sets have, for
    sets that differ in anything else (the arrays they hold, among them), and for thresholds, which need all the stages together: see to_constants"""
    given = list(sets)
    if not given:
        raise ValueError("merge: no set was given")
    first = given[0]
    for other in given:
        _fits(first, other)
    planes = [p for s in given for p in s.planes]
    twice = sorted({p for p in planes if planes.count(p) > 1})
    if twice:
        raise ValueError(f"merge: {', '.join(twice)} are in two sets")
    kind = first.kind
    known = list(dict.fromkeys((*(kind.config.names if kind.config else ()), *kind.gains, *planes)))
    order = sorted(range(len(planes)), key=lambda i: known.index(planes[i]))
    arrays: dict[str, Any] = {n: np.concatenate([s.arrays[n] for s in given])[order] for n in first.arrays if n != "good"}
    if first.good is not None:
        arrays["good"] = np.logical_and.reduce([s.good for s in given])
    return replace(first, **arrays, planes=tuple(planes[i] for i in order), source_runs=tuple(dict.fromkeys(r for s in given for r in s.source_runs)),
                   notes="; ".join(dict.fromkeys(s.notes for s in given if s.notes)), made_by="")


def _fits(first: Constants, other: Constants) -> None:
    for what in ("detector", "segments", "shape", "cells", "flags", "validity"):
        if getattr(first, what) != getattr(other, what):
            raise ValueError(f"merge: the sets have different {what}: {getattr(first, what)} and {getattr(other, what)}")
    if first.units != other.units:
        raise ValueError(f"merge: the sets hold different arrays or units: {dict(first.units)} and {dict(other.units)}")
    if other.threshold is not None:
        raise ValueError("merge: thresholds lie between the stages of one set; measure all of them together (to_constants)")
