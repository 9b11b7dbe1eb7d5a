"""What a part says of photons, and of the second array of a frame, which lies beside the first: the variance of energies, or the status of photons."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calib import Photons
from ..status import Pixel
from .pipeline import Pipeline

NAMES = ("variance", "pixel_status")


def beside_of(pipeline: Pipeline) -> tuple[str, np.dtype[Any], dict[str, Any]]:
    """The second array's name in the file, also where it is of an image, its dtype and attributes, those of flags by the names of the CF conventions."""
    if pipeline.beside == "variance":
        return "variance", np.dtype(np.float32), {}
    return "pixel_status", np.dtype(np.uint8), {"flag_masks": np.array([int(bit) for bit in Pixel], np.uint8),
                                                "flag_meanings": " ".join(str(bit.name) for bit in Pixel)}


def unit_of(pipeline: Pipeline) -> dict[str, Any]:
    """Attributes of photons: what one is, what stands for all that are more, and how they were counted; of energies none."""
    op = pipeline.photons
    if op is None:
        return {}
    more = {"photon_offset": op.offset} if isinstance(op, Photons) else {"photon_fraction": op.fraction}
    return {"units": "counts", "long_name": "photons", "photon_energy": op.photon_energy, "saturated": op.kind.dtype.type(op.kind.top), **more}


def stores(pipeline: Pipeline) -> str:
    """For a person: what is in the files of a reduced frame."""
    made = "; ".join(f"{f.op.name}: {', '.join(f.store)}" for f in pipeline.features if f.store)
    if pipeline.pack is None:
        return f"no frames; {made}"
    what = "codes" if pipeline.quantize else "photons" if pipeline.photons else "raw words"
    beside = f"; beside it {beside_of(pipeline)[0]}, {beside_of(pipeline)[1]}, without loss" if pipeline.beside else ""
    beside += f"; {made}" if made else ""
    return f"{what} of {pipeline.stored_frame}, {pipeline.stored}{beside}"
