"""Names that nothing gives, and stages in an order that makes no pipeline."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from ..detectors import DETECTORS
from .faults import did_you_mean

if TYPE_CHECKING:
    from .config import Document, PanelsBlock
    from .document import Text

PACK, QUANTIZE, VETO = "compress.bitshuffle_lz4", "compress.quantize", "veto.lit_pixels"
ASSEMBLE = "calib.assemble"
SOURCES, STEPS = ("calib.gain", "calib.counts"), ("calib.common_mode", "calib.scale")
ORDER = (f"{PACK} alone; or {' or '.join(SOURCES)}, then what is wanted of {', '.join((*STEPS, VETO, ASSEMBLE, QUANTIZE))} in this order, "
         f"{VETO} or {QUANTIZE} at least, which {ASSEMBLE} needs, and {PACK}")


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
    rest = [k for k in (*STEPS, VETO, ASSEMBLE, QUANTIZE) if k in kinds]
    needed = {QUANTIZE} if ASSEMBLE in kinds else {VETO, QUANTIZE}
    if kinds != [PACK] and not (kinds[0] in SOURCES and needed & set(rest) and kinds[1:] == [*rest, PACK]):
        return [*faults, document.at(("stages",), f"{', '.join(kinds)} make no pipeline; possible: {ORDER}")]
    for i, stage in enumerate(config.stages):
        raw = f"{name}.raw"
        wanted = raw if i == 0 or (stage.type == PACK and kinds[i - 1] != QUANTIZE) else "code" if stage.type == PACK else \
            "image" if kinds[i - 1] == ASSEMBLE else "energy"
        if stage.input is None and wanted == raw:
            faults.append(document.at(("stages", i, "input"), f"missing: write 'input: {raw}'{' to pack the raw words as they are' if i else ''}"))
        elif stage.input not in (None, wanted) and name in config.detectors:
            faults.append(document.at(("stages", i, "input"), f"{stage.input!r} is not what {stage.type} can read here{did_you_mean(stage.input, [wanted])}"))
    if name in config.detectors and config.detectors[name].type in DETECTORS:
        faults += _of_words(document, kinds) or _of_constants(document, kinds)
    return faults


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
    if kinds[0] == "calib.counts" and "calib.common_mode" in kinds:
        return [document.at(("stages", kinds.index("calib.common_mode"), "type"), f"{kind.name} counts photons, which have no common mode")]
    return []


def _of_constants(document: Document, kinds: list[str]) -> list[str]:
    """Constants that a stage needs and nothing gives, and those that nothing reads."""
    config, faults = document.config, []
    name = config.source.detector
    block, stage = config.detectors[name], config.stages[0]
    if block.constants is None:
        needs = {"pedestal": "calib.gain", "gain": "calib.gain"} if stage.type == "calib.gain" else {}
        needs |= {"noise": "track_pedestal"} if getattr(stage, "track_pedestal", None) else {}
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
