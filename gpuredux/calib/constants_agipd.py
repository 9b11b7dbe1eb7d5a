"""AGIPD constants from Cheetah's files, one a module (Cheetah-AGIPDnn-calib.h5).

AnalogOffset i16 (3, cells, 512, 128) ADU is subtracted; RelativeGain f32 multiplies the result, ADU -> ADU of high gain: its inverse is the gain here;
DigitalGainLevel u16 (3, ...): above its plane 1 the gain is medium, above plane 2 low (plane 0 is not used); Badpixel u8: any value but 0 is bad, in
that gain and cell alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from ..detectors import Detector, detector
from .constants import Constants, inverse
from .constants_given import by_segment, opened

DATASETS = {"AnalogOffset": "iu", "RelativeGain": "f", "DigitalGainLevel": "iu", "Badpixel": "iu"}


def load_cheetah(paths: Mapping[int, str | os.PathLike[str]], kind: str | Detector = "agipd1M", *, stages: int = 3, **about: Any) -> Constants:
    """The set of the files of these modules: {segment id: path}. Bad pixels are status (flags Cheetah); good is not touched.

    stages: 3, or 2 as Cheetah itself takes them, since the thresholds of medium and low gain merge: then low gain is never chosen
    raises ValueError for what is missing or of another shape. Cheetah reads DigitalGainLevel as signed; it is unsigned"""
    paths = by_segment("constants_agipd", paths)
    kind = detector(kind).select(paths)
    if stages not in (2, 3):
        raise ValueError(f"constants_agipd: stages must be 2 or 3, got {stages}")
    modules = [_module(paths[k], kind) for k in kind.ids]
    cells = {a["AnalogOffset"].shape[1] for a in modules}
    if len(cells) > 1:
        raise ValueError(f"constants_agipd: the modules {kind.ids} have different numbers of memory cells, {[a['AnalogOffset'].shape[1] for a in modules]}")
    whole = {name: np.stack([m[name] for m in modules], axis=2) for name in DATASETS}      # (3, cells, panels, 512, 128)
    threshold = whole["DigitalGainLevel"][1:].astype(np.float32)
    if stages == 2:
        threshold[1] = np.inf
    notes = f"from Cheetah's files: gain = 1 / RelativeGain, 0 stays 0; {stages} stages"
    return Constants(
        kind.name, pedestal=whole["AnalogOffset"], gain=inverse(whole["RelativeGain"]), threshold=threshold,
        status=(whole["Badpixel"] != 0).astype(np.uint8), flags="Cheetah", cells=cells.pop(), shape=kind.shape, segments=kind.ids, planes=kind.gains,
        units={"gain": "ADU/ADU of high gain"}, **{"notes": notes, **about},
    )


def _module(path: str | os.PathLike[str], kind: Detector) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with opened(path) as file:
        for name, kinds in DATASETS.items():
            dataset = file.get(name)
            if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds:
                raise ValueError(f"{path}: {'has no dataset' if dataset is None else 'is of another kind:'} /{name}; it holds {', '.join(file)}")
            first = found.get("AnalogOffset", dataset).shape
            if len(dataset.shape or ()) != 4 or dataset.shape[0] != 3 or dataset.shape[2:] != kind.shape[-2:] or dataset.shape != first:
                raise ValueError(f"{path}: /{name} must be (3, cells, {kind.shape[-2]}, {kind.shape[-1]}), got {dataset.shape}")
            if not 1 <= dataset.shape[1] <= kind.cells:
                raise ValueError(f"{path}: /{name} must have 1 to {kind.cells} memory cells for {kind.name}, got {dataset.shape}")
            found[name] = dataset[()]
    return found
