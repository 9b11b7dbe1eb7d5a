"""Names that nothing gives, and stages in an order that makes no pipeline."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from typing import TYPE_CHECKING

from ..compress.codecs import CODECS
from ..detectors import DETECTORS
from .faults import did_you_mean
from .stages import FEATURES

if TYPE_CHECKING:
    from .config import Document, PanelsBlock
    from .document import Text

PACKS = tuple(f"compress.{name}" for name in CODECS)       # what makes chunks
QUANTIZE, VETO = "compress.quantize", "veto.lit_pixels"
ASSEMBLE, COMMON_MODE, SCALE, VARIANCE = "calib.assemble", "calib.common_mode", "calib.scale", "calib.variance"
SOURCES, PHOTONS = ("calib.gain", "calib.counts"), ("calib.photons", "calib.shared_photons")
CURVES, CROSSTALK = ("calib.polynomial", "calib.breakpoint", "calib.look_up"), ("calib.stencil", "calib.recursive")      # several of each, in any order
GROUPS = (SOURCES, CURVES, (COMMON_MODE,), (SCALE,), (VARIANCE,), CROSSTALK, (VETO,), PHOTONS, (ASSEMBLE,), (QUANTIZE,), PACKS)
FEATURE = "features.*"      # all of them, in any order, in these places
WORDS = ", ".join((" and " if g in (CURVES, CROSSTALK) else " or ").join(g) for g in GROUPS[1:-1])
ORDER = (f"a codec alone ({', '.join(PACKS)}); or {' or '.join(SOURCES)}, then what is wanted of {WORDS} in this order, {VETO}, {QUANTIZE} or photons at "
         f"least, one of the last two of which {ASSEMBLE} needs, and a codec; {FEATURE} behind all that calibrates and in front of {ASSEMBLE} and {QUANTIZE}; "
         f"with one of them {QUANTIZE}, the codec and calibration may be left out")


def wiring(document: Document) -> list[str]:
    """Names that nothing gives, and stages in an order that makes no pipeline."""
    config, faults = document.config, []
    for name, block in config.detectors.items():
        if block.type not in DETECTORS:
            faults.append(document.at(("detectors", name, "type"), f"unknown type {block.type!r}{did_you_mean(block.type, DETECTORS)}"))
    name = config.source.detector
    if name not in config.detectors:
        faults.append(document.at(("source", "detector"), f"no detector {name!r}{did_you_mean(name, config.detectors)}"))
    if not config.sink.path:
        faults.append(document.at(("sink", "path"), "must not be empty"))
    faults += _room(document)
    faults += panels(document, name, config.detectors.get(name))
    kinds = [s.type for s in config.stages]
    if not (len(kinds) == 1 and kinds[0] in PACKS) and not _in_order(kinds):
        return [*faults, document.at(("stages",), f"{', '.join(kinds)} make no pipeline; possible: {ORDER}")]
    faults += _inputs(document, kinds) if name in config.detectors else []
    if name in config.detectors and config.detectors[name].type in DETECTORS:
        faults += _of_words(document, kinds) or [*_of_constants(document, kinds), *_of_variance(document, kinds)]
    return faults


def _in_order(kinds: list[str]) -> bool:
    """Whether each stage stands behind those that it may follow, and all ends in something that can be packed, or has features."""
    frames, features = [k for k in kinds if k not in FEATURES], {i for i, k in enumerate(kinds) if k in FEATURES}
    ranks = [next(i for i, group in enumerate(GROUPS) if k in group) for k in frames]
    once = all(a < b or (a == b and GROUPS[a] in (CURVES, CROSSTALK)) for a, b in pairwise(ranks))
    places = [i for i, k in enumerate(kinds) if k not in FEATURES and k not in (VETO, *PHOTONS)]
    if features and any((i > min(features)) != (kinds[i] in (ASSEMBLE, QUANTIZE, *PACKS)) or min(features) < i < max(features) for i in places):
        return False
    packs = [k for k in frames if k in PACKS]
    if frames == packs[:1]:
        return bool(features)
    if features and not packs:
        return once and kinds[0] in SOURCES and not {QUANTIZE, ASSEMBLE, VARIANCE} & set(frames)
    ends = {QUANTIZE, *PHOTONS} if ASSEMBLE in frames else {QUANTIZE, *PHOTONS, VETO}
    return once and kinds[0] in SOURCES and frames[-1] in PACKS and bool(ends & set(frames))


def _inputs(document: Document, kinds: list[str]) -> list[str]:
    """What stages say they read, held against what there is. Of features any name may be read that is made in front of them: operations.py knows which."""
    raw, before, faults = f"{document.config.source.detector}.raw", "", []
    for i, stage in enumerate(document.config.stages):
        if stage.type in FEATURES:
            if stage.input is None and not before:
                faults.append(document.at(("stages", i, "input"), f"missing: write 'input: {raw}' for the raw words as they are"))
            elif stage.input is not None and "." in stage.input and stage.input != raw:
                faults.append(document.at(("stages", i, "input"), f"{stage.input!r} is nothing that is read here{did_you_mean(stage.input, [raw])}"))
            continue
        wanted = raw if not before else _read(stage.type, before, raw)
        if stage.input is None and wanted == raw:
            faults.append(document.at(("stages", i, "input"), f"missing: write 'input: {raw}'{' to pack the raw words as they are' if i else ''}"))
        elif stage.input not in (None, wanted):
            faults.append(document.at(("stages", i, "input"), f"{stage.input!r} is not what {stage.type} can read here{did_you_mean(stage.input, [wanted])}"))
        before = stage.type
    return faults


def _read(kind: str, before: str, raw: str) -> str:
    """What a stage reads of what the one in front of it leaves."""
    if kind in PACKS:
        return "code" if before == QUANTIZE else "photons" if before in PHOTONS else "image" if before == ASSEMBLE else raw
    return "image" if before == ASSEMBLE else "photons" if before in PHOTONS else "energy"


def panels(document: Text, name: str, block: PanelsBlock | None) -> list[str]:
    """Panels that the detector of a block does not have."""
    if block is None or block.type not in DETECTORS or block.segments is None:
        return []
    kind, place = DETECTORS[block.type], ("detectors", name, "segments")
    try:
        kind.select(block.segments)
    except ValueError:
        return [document.at(place, f"must be different ids of {kind.name}'s panels, 0 to {kind.n_panels - 1}, got {block.segments}")]
    if len(block.frame) != len(kind.shape):
        return [document.at(("detectors", name, "shape"), f"with segments it must have {len(kind.shape)} axes, as {kind.name} has; got {list(block.frame)}")]
    many = math.prod(block.frame[:-2])
    return [] if many == len(block.segments) else [document.at(place, f"shape says {many} panels, got {len(block.segments)} ids")]


def _of_words(document: Document, kinds: list[str]) -> list[str]:
    """A first stage that cannot read the words of the detector."""
    config = document.config
    kind = DETECTORS[config.detectors[config.source.detector].type]
    place = ("stages", 0, "type")
    if kind.second_image:
        return [document.at(place, f"{kind.name} sends a second image that tells the gain; no stage takes it yet: calib.Calibrate of the library does")]
    if kinds[0] == "calib.gain" and kind.counts:
        return [document.at(place, f"{kind.name} counts photons: use calib.counts")]
    if kinds[0] == "calib.counts" and not kind.counts:
        return [document.at(place, f"{kind.name} sends an adc: use calib.gain")]
    faults = []
    for i, stage in enumerate(kinds) if kinds[0] == "calib.counts" else ():
        if stage == COMMON_MODE:
            faults.append(document.at(("stages", i, "type"), f"{kind.name} counts photons, which have no common mode"))
        elif stage in CURVES:
            faults.append(document.at(("stages", i, "type"), f"{kind.name} counts photons: their only nonlinearity is the dead time, table of calib.counts"))
    if QUANTIZE in kinds and set(PHOTONS) & set(kinds):
        words = f"photons are whole numbers, which {kinds[-1]} takes as such: leave {QUANTIZE} out"
        faults.append(document.at(("stages", kinds.index(QUANTIZE), "type"), words))
    return faults


def _of_variance(document: Document, kinds: list[str]) -> list[str]:
    """A variance that is not known of what is stored, as calib.Calibrate has it."""
    if VARIANCE not in kinds:
        return []
    at, stages = kinds.index(VARIANCE), document.config.stages
    curves, mixed = ([k for k in kinds if k in group] for group in (CURVES, CROSSTALK))
    photons = next((k for k in kinds if k in PHOTONS), None)
    scaled = [k for k in (SCALE,) if k in kinds] + [k for k in ("plane", "table") if getattr(stages[0], k, None) is not None]
    if photons is not None:
        words = f"no variance is known of what comes out of {photons}, whose rounding is no propagation of errors: leave one of them out"
    elif QUANTIZE not in kinds:
        words = f"is stored beside energies: it needs {QUANTIZE}"
    elif len(curves) > 1:
        words = f"a variance goes through one nonlinearity; got {', '.join(curves)}"
    elif mixed not in ([], ["calib.stencil"]):
        words = f"a variance goes through one calib.stencil, behind which errors are no longer independent; got {', '.join(mixed)}"
    elif kinds[0] == "calib.counts" and scaled:
        words = f"the variance of counts is theirs before they are scaled and before a dead time: leave {', '.join(scaled)} out, and scale later"
    else:
        return []
    return [document.at(("stages", at, "type"), words)]


def _of_constants(document: Document, kinds: list[str]) -> list[str]:
    """Constants that a stage needs and nothing gives, and those that nothing reads."""
    config, faults = document.config, []
    name = config.source.detector
    block, stage = config.detectors[name], config.stages[0]
    if block.constants is None:
        needs = {"pedestal": "calib.gain", "gain": "calib.gain"} if stage.type == "calib.gain" else {}
        noisy = wants_noise(document)
        needs |= {"noise": noisy} if noisy else {}
        faults += [document.at(("detectors", name, k), f"missing: {who} needs it, as file.h5:/dataset or 'simulated'")
                   for k, who in needs.items() if getattr(block, k) is None and not (k == "gain" and getattr(stage, "adu", False))]
        if getattr(config.source, "taken", None) is not None:
            faults.append(document.at(("source", "taken"), f"nothing is held against it: {name} has no constants file (constants: file.h5)"))
    if block.bad is not None and (block.constants is None or stage.type != "calib.gain"):
        faults.append(document.at(("detectors", name, "bad"), "names bits of the status in a constants file, for calib.gain: one of them is not there"))
    if stage.type == "calib.counts":
        faults += [document.at(("detectors", name, k), f"{block.type} counts photons, and has none")
                   for k in ("constants", "pedestal", "gain", "noise") if getattr(block, k) is not None]
    return faults


def wants_noise(document: Document) -> str:
    """Who needs the noise of the pixels, or ''."""
    kinds = [s.type for s in document.config.stages]
    return "track_pedestal" if getattr(document.config.stages[0], "track_pedestal", None) else \
        VARIANCE if VARIANCE in kinds and kinds[0] == "calib.gain" else ""


def _room(document: Document) -> list[str]:
    """Memory that no run can do without, held against all that the machine has: else the allocation fails, or the system ends the process."""
    config = document.config
    block, run = config.detectors.get(config.source.detector), config.run
    if block is None or block.type not in DETECTORS:
        return []
    shape = block.frame
    need, has = 2 * math.prod(shape) * run.batch * run.slots, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need <= has:
        return []
    return [document.at(("run", "batch"), f"{run.batch} frames of {shape} in each of {run.slots} slots need {need} bytes for the raw words alone; "
                                          f"this machine has {has}")]
