"""What a detector is, as data: shape, word decoding, error codes. A partial detector is a detector like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .status import Pixel


@dataclass(frozen=True)
class Detector:
    """word -> (adc, plane of constants, status): adc = word & adc_mask; plane = planes[word >> gain_shift & (len(planes) - 1)].

    planes: the constants' plane for each value of the gain bits, -1 for a value that the detector never sends.
    codes: words that are no measurement, with their status."""

    name: str
    shape: tuple[int, ...]
    adc_mask: int
    gain_shift: int = 0
    planes: tuple[int, ...] = (0,)
    codes: tuple[tuple[int, Pixel], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.planes)
        if n & (n - 1) or n > 16 or max(self.planes) > 7 or self.planes[0] != 0:
            raise ValueError(f"detector {self.name}: planes must be 1, 2, 4, 8 or 16 numbers of -1 to 7, the first 0, got {self.planes}")

    @property
    def n_planes(self) -> int:
        return max(self.planes) + 1

    @property
    def gain_mask(self) -> int:
        return len(self.planes) - 1

    def decode(self, word: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """adc u16, plane i8 (0 where invalid), status u8 of raw words of any shape."""
        plane = np.array(self.planes, np.int8)[word >> self.gain_shift & self.gain_mask]
        status = np.where(plane < 0, np.uint8(Pixel.INVALID_CODE), np.uint8(0))
        for code, bit in self.codes:
            status[word == code] = bit
        return word & np.uint16(self.adc_mask), np.maximum(plane, 0), status

    def defines(self) -> dict[str, str]:
        """The same decoding for kernels: ADC_MASK, PLANE_OF(w) (15 = invalid), WORD_STATUS(w)."""
        table = sum((p & 15) << 4 * i for i, p in enumerate(self.planes))
        half = f"{table}u"      # 32-bit words: with a 64-bit table ptxas spilled
        if self.gain_mask > 7:
            half = f"((w) >> {self.gain_shift}u & 8u ? {table >> 32}u : {table & 0xFFFFFFFF}u)"
        codes = "".join(f"(w) == {code}u ? {int(bit)}u : " for code, bit in self.codes)
        return {
            "ADC_MASK": f"{self.adc_mask}u",
            "GAIN_BITS": f"{self.gain_mask << self.gain_shift}u",
            "PLANE_OF(w)": f"({half} >> 4u * ((w) >> {self.gain_shift}u & {self.gain_mask & 7}u) & 15u)",
            "WORD_STATUS(w)": f"({codes}0u)",
        }


_JUNGFRAU: dict[str, Any] = {
    "adc_mask": 0x3FFF, "gain_shift": 14, "planes": (0, 1, -1, 2),
    "codes": ((0xC000, Pixel.SATURATED), (0xFFFF, Pixel.MISSING), (0x4000, Pixel.MISSING)),
}

DETECTORS: dict[str, Detector] = {
    d.name: d
    for d in (
        Detector("jungfrau", (512, 1024), **_JUNGFRAU),         # one 0.5M module
        Detector("jungfrau1M", (2, 512, 1024), **_JUNGFRAU),
        Detector("jungfrau4M", (8, 512, 1024), **_JUNGFRAU),
        Detector("jungfrau16M", (32, 512, 1024), **_JUNGFRAU),
        Detector("epix100", (704, 768), adc_mask=0xFFFF),
    )
}


def detector(which: str | Detector) -> Detector:
    """The Detector of this name. Raises ValueError with the names there are."""
    if isinstance(which, Detector):
        return which
    if which not in DETECTORS:
        raise ValueError(f"detector {which!r} is unknown: choose from {', '.join(DETECTORS)}, or pass a Detector")
    return DETECTORS[which]
