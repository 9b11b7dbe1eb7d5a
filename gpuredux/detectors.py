"""What detectors are, as data: DETECTORS by name. A partial detector is a detector like any other: Detector.select.

Unverified on an instrument, from documents or memory alone: what is marked (?)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .detectors_kind import Configuration, Detector
from .status import Pixel

__all__ = ["DETECTORS", "Configuration", "Detector", "detector"]

UM = 1e6     # in a metre; divided by, so that 200 um are 2e-4 m to the last bit


def _square(um: float) -> tuple[float, float]:
    return (um / UM, um / UM)


def _beside(*borders: int) -> tuple[int, ...]:
    """The two lines at each border between chips."""
    return tuple(line for b in borders for line in (b - 1, b))


_JUNGFRAU: dict[str, Any] = {
    "adc_mask": 0x3FFF, "gain_shift": 14, "planes": (0, 1, -1, 2), "gains": ("G0", "G1", "G2"),
    "codes": ((0xC000, Pixel.SATURATED), (0xFFFF, Pixel.MISSING), (0x4000, Pixel.MISSING)),
    "asic": (256, 256), "bank": (256, 64), "wide_rows": _beside(256), "wide_cols": _beside(256, 512, 768), "wide_size": 2.0,
    "pixel_size": _square(75), "cells": 16,
}

# code = config & 12 | trbit << 4 | the word's gain bit << 5
_EPIX_CONFIG = Configuration(
    (("FH", 28, 28), ("FM", 28, 12), ("FL", 12, 8), ("AHL_H", 60, 16), ("AML_M", 60, 0), ("AHL_L", 60, 48), ("AML_L", 60, 32)),
    bits=12, switched=32, transfer=16,
)


def _epix(high: float, medium: float, low: float) -> dict[str, Any]:
    """ePix10ka and ePixHR: the default gains of the seven states."""
    return {
        "adc_mask": 0x3FFF, "planes": (0, 1), "gains": ("not switched", "switched"), "config": _EPIX_CONFIG,
        "default_gain": (high, medium, low, high, medium, low, low), "gain_unit": "ADU/keV", "pixel_size": _square(100), "wide_size": 2.25,
    }


_EPIX10KA: dict[str, Any] = {
    **_epix(16.4, 5.466, 0.164), "gain_shift": 14, "asic": (176, 192), "bank": (176, 48), "wide_rows": _beside(176), "wide_cols": _beside(192),
}
# The firmware of 2023 wires bit 14 to the gain as well: bit 15 alone decides.
_EPIXHR: dict[str, Any] = {**_epix(41.0, 13.7, 0.512), "gain_shift": 15, "asic": (144, 192), "bank": (144, 48)}

# The configuration's bits: 5 low gain 1 or 2, 4 automatic, 3 medium, 2 injection (counts for nothing here), 1 masked, 0 low. Bit 6 is the word's gain
# bit, which the fixed states ignore. The wire's word: UUUU DDDDDDDDDDD G, the gain bit lowest.
_UHR: dict[str, Any] = {
    "adc_mask": 0x0FFE, "adc_shift": 1, "planes": (0, 1), "gains": ("not switched", "switched"),
    "config": Configuration(
        (("FHG", 0b111011, 0b100000), ("FMG", 0b111011, 0b101000), ("FLG1", 0b111011, 0b000001), ("FLG2", 0b111011, 0b100001),
         ("AHLG1", 0b1111011, 0b0010000), ("AHLG2", 0b1111011, 0b0110000), ("AMLG1", 0b1111011, 0b0011000), ("AMLG2", 0b1111011, 0b0111000),
         ("AHLG1_L", 0b1111011, 0b1010000), ("AHLG2_L", 0b1111011, 0b1110000), ("AMLG1_L", 0b1111011, 0b1011000), ("AMLG2_L", 0b1111011, 0b1111000)),
        bits=0b111111, switched=0b1000000, masked=0b000010,
    ),
    "default_gain": (1.51, 0.54, 0.0172, 0.0086, 1.51, 1.51, 0.54, 0.54, 0.0172, 0.0086, 0.0172, 0.0086), "gain_unit": "mV/keV",
    "asic": (168, 192), "pixel_size": _square(100),
}

# The gain mode is one for the whole detector; as a configuration it is a number of ours: 0 SH (all high), 1 SL (all low), 2 AHL (automatic). Bit 2 is the
# word's gain bit, which SH and SL ignore. Defaults: psana2's of the three modes, negative; AHL's low stage as SL (?).
_EPIXM320: dict[str, Any] = {
    "adc_mask": 0x7FFF, "gain_shift": 15, "planes": (0, 1), "gains": ("not switched", "switched"),
    "config": Configuration((("SH", 0b011, 0), ("SL", 0b011, 1), ("AHL_H", 0b111, 0b010), ("AHL_L", 0b111, 0b110)), bits=0b011, switched=0b100),
    "default_gain": (-100.7, -21.3, -100.7, -21.3), "gain_unit": "ADU/pulser step", "asic": (192, 384), "pixel_size": _square(50),
}

# Two lines of 200 x 400 um between the chips of 64 rows. The adc's 14 bits (?).
_AGIPD: dict[str, Any] = {
    "adc_mask": 0x3FFF, "planes": (0, 1, 2), "gains": ("high", "medium", "low"), "second_image": True, "asic": (64, 64),
    "wide_rows": _beside(*range(64, 512, 64)), "wide_size": 2.0, "pixel_size": _square(200), "cells": 352,
}

# Counters of photons: all ones = masked or gap, all ones - 1 = saturated (?). EIGER2 alone has 8 bits, which roll over above 255 without a word.
_EIGER2_COUNTS = tuple((f"uint{n}", ((2**n - 1, Pixel.MASKED), (2**n - 2, Pixel.SATURATED))) for n in (8, 16, 32))
_PILATUS: dict[str, Any] = {
    "adc_mask": 0, "counts": (("int32", ((-1, Pixel.MASKED), (-2, Pixel.MASKED))),), "pixel_size": _square(172),     # -1 = gap, -2 = bad pixel
}


def _eiger(counts: Any) -> dict[str, Any]:
    return {"adc_mask": 0xFFFF, "codes": dict(counts)["uint16"], "counts": counts, "pixel_size": _square(75)}


def _catalogue() -> Iterator[Detector]:
    for size, panels in (("", ()), ("1M", (2,)), ("4M", (8,)), ("9M", (18,)), ("16M", (32,))):
        yield Detector(f"jungfrau{size}", (*panels, 512, 1024), **_JUNGFRAU)        # jungfrau: one module of 0.5M
    for size, panels in (("", ()), ("quad", (4,)), ("2M", (16,))):
        yield Detector(f"epix10ka{size}", (*panels, 352, 384), **_EPIX10KA)
    yield Detector("epixhr2x2", (288, 384), **_EPIXHR, wide_rows=_beside(144), wide_cols=_beside(192))
    yield Detector("epixhr1x4", (144, 768), **_EPIXHR, wide_cols=_beside(192, 384, 576))
    yield Detector("epixm320", (4, 192, 384), **_EPIXM320)      # panels are ASICs
    yield Detector("epixuhr3x2", (336, 576), **_UHR, wide_rows=_beside(168), wide_cols=_beside(192, 384), wide_size=2.625)
    yield Detector("epixuhr3x2_asics", (6, 168, 192), **_UHR)       # as sent; wide lines are the panel's: calib.folding.place turns ASICs
    yield Detector("epixuhr3x2_packed", (6, 168, 192), **_UHR, word="packed12")
    yield Detector("epix100", (704, 768), adc_mask=0xFFFF, default_gain=(1 / 0.060,), gain_unit="ADU/keV", asic=(352, 384), bank=(352, 96),
                   wide_rows=_beside(352), wide_cols=_beside(384), wide_size=3.5, pixel_size=_square(50))
    yield Detector("pnccd", (4, 512, 512), adc_mask=0x3FFF, bank=(512, 128), pixel_size=_square(75))
    yield Detector("agipd1M", (16, 512, 128), **_AGIPD)
    yield Detector("agipd500K", (8, 512, 128), **_AGIPD)
    # 12 bits of adc, 2 of gain; 3 is never sent (?). A chip is 16 x 32 pixels, 512 channels (?).
    yield Detector("lpd1M", (16, 256, 256), adc_mask=0x0FFF, gain_shift=12, planes=(0, 1, 2, -1), gains=("high", "medium", "low"), asic=(16, 32),
                   pixel_size=_square(500), cells=512)
    # 8 to 9 bits (?); hexagons of 236 um pitch along a row, rows 204 um apart
    yield Detector("dssc1M", (16, 128, 512), adc_mask=0xFFFF, asic=(64, 64), pixel_size=(204 / UM, 236 / UM), cells=800)
    yield from _counters()


def _counters() -> Iterator[Detector]:
    """Shapes of the assembled image with its gaps, as DECTRIS and Rayonix state them."""
    for size, shape in (("500K", (514, 1030)), ("1M", (1065, 1030)), ("4M", (2167, 2070)), ("9M", (3269, 3110)), ("16M", (4371, 4150))):
        yield Detector(f"eiger{size}", shape, **_eiger(_EIGER2_COUNTS[1:]))
    for size, shape in (("500K", (512, 1028)), ("1M", (1062, 1028)), ("4M", (2162, 2068)), ("9M", (3262, 3108)), ("16M", (4362, 4148))):
        yield Detector(f"eiger2_{size}", shape, **_eiger(_EIGER2_COUNTS))
    for size, shape in (("100K", (195, 487)), ("300K", (619, 487)), ("1M", (1043, 981)), ("2M", (1679, 1475)), ("6M", (2527, 2463))):
        yield Detector(f"pilatus{size}", shape, **_PILATUS)
    # Integrating, corrected in the camera. Unbinned; binned b x b, replace shape by shape / b and pixel_size by b times it.
    for name, side in (("rayonix_mx170hs", 3840), ("rayonix_mx340hs", 7680)):
        yield Detector(name, (side, side), adc_mask=0xFFFF, codes=((0xFFFF, Pixel.SATURATED),), pixel_size=_square(44.2708))


DETECTORS: dict[str, Detector] = {d.name: d for d in _catalogue()}


def detector(which: str | Detector) -> Detector:
    """The Detector of this name. Raises ValueError with the names there are."""
    if isinstance(which, Detector):
        return which
    if which not in DETECTORS:
        raise ValueError(f"detector {which!r} is unknown: choose from {', '.join(DETECTORS)}, or pass a Detector")
    return DETECTORS[which]
