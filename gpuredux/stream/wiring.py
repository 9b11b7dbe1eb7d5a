"""Names that nothing gives, and stages in an order that makes no pipeline."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from ..detectors import DETECTORS
from .faults import did_you_mean

if TYPE_CHECKING:
    from .config import Document

PACK = "compress.bitshuffle_lz4"
ORDERS = [      # the pipelines there are
    ["calib.gain", "compress.quantize", PACK],
    ["calib.gain", "veto.lit_pixels", "compress.quantize", PACK],
    ["calib.gain", "veto.lit_pixels", PACK],
    [PACK],
]


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
    kinds = [s.type for s in config.stages]
    if kinds not in ORDERS:
        orders = " | ".join(", ".join(order) for order in ORDERS)
        return [*faults, document.at(("stages",), f"{', '.join(kinds)} make no pipeline; possible: {orders}")]
    for i, stage in enumerate(config.stages):
        raw = f"{name}.raw"
        wanted = raw if i == 0 or (stage.type == PACK and kinds[i - 1] != "compress.quantize") else "code" if stage.type == PACK else "energy"
        if stage.input is None and wanted == raw:
            faults.append(document.at(("stages", i, "input"), f"missing: write 'input: {raw}'{' to pack the raw words as they are' if i else ''}"))
        elif stage.input not in (None, wanted) and name in config.detectors:
            faults.append(document.at(("stages", i, "input"), f"{stage.input!r} is not what {stage.type} can read here{did_you_mean(stage.input, [wanted])}"))
    if "calib.gain" in kinds and name in config.detectors:
        block, stage = config.detectors[name], config.stages[kinds.index("calib.gain")]
        needs = {"pedestal": "calib.gain", "gain": "calib.gain", **({"noise": "track_pedestal"} if getattr(stage, "track_pedestal", None) else {})}
        faults += [document.at(("detectors", name, k), f"missing: {who} needs it, as file.h5:/dataset or 'simulated'")
                   for k, who in needs.items() if getattr(block, k) is None]
    return faults


def _room(document: Document) -> list[str]:
    """Memory that no run can do without, held against all that the machine has: else the allocation fails, or the system ends the process."""
    config = document.config
    block, run = config.detectors.get(config.source.detector), config.run
    if block is None or block.type not in DETECTORS:
        return []
    shape = tuple(block.shape or DETECTORS[block.type].shape)
    need, has = 2 * math.prod(shape) * run.batch * run.slots, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need <= has:
        return []
    return [document.at(("run", "batch"), f"{run.batch} frames of {shape} in each of {run.slots} slots need {need} bytes for the raw words alone; "
                                          f"this machine has {has}")]
