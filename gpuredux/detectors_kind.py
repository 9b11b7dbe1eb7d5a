"""The Detector class: shape, word decoding, gain decision, banks, wide pixels, error codes. The catalogue is in detectors.py."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .status import Pixel

Lines = tuple[int, ...]
Codes = tuple[tuple[int, Pixel], ...]
WORDS = ("u16", "packed12")


def codes_table(codes: Codes) -> np.ndarray:
    """(codes, 2) u32: word and status, for numba."""
    return np.array([(word % 2**32, int(bit)) for word, bit in codes], np.uint32).reshape(-1, 2)


def codes_define(codes: Codes) -> str:
    """The same for kernels: the status of a word w, 0 where it is no code."""
    return f"({''.join(f'(w) == {word % 2**32}u ? {int(bit)}u : ' for word, bit in codes)}0u)"


@dataclass(frozen=True)
class Configuration:
    """Gain states that a pixel's configuration chooses: state = the first with code & mask == value, where
    code = config & bits | transfer * trbit | switched * (the word's gain bit).

    states: (name, mask, value); masked: a bit of config that switches the pixel off; bits: those of config that count."""

    states: tuple[tuple[str, int, int], ...]
    bits: int
    switched: int
    transfer: int = 0
    masked: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.states)


@dataclass(frozen=True)
class Detector:
    """word -> (adc, plane of constants, status): adc = (word & adc_mask) >> adc_shift; plane = planes[word >> gain_shift & (len(planes) - 1)].

    shape: of one frame of constants and energies, ([panels,] rows, cols); raw_shape is that of the words
    planes: the constants' plane for each value of the gain bits, -1 for a value that the detector never sends;
        with second_image, for each number of thresholds that the digital image exceeds
    codes: words that are no measurement, with their status; counts: (dtype, its codes) for a counter of photons, whose word is the count
    gains: names of the planes; config: gain states that the pixels' configuration chooses, folded into two planes by calib.folding
    default_gain: for each state of config, else for each plane, in gain_unit; where a detector has no constants yet
    asic, bank (rows, cols): what has limits, what has a common mode of its own; wide_rows, wide_cols: lines of a panel that are wide_size pixels wide
    pixel_size (rows, cols) [m]; cells: most memory cells, 0 = none
    word: "u16", or "packed12": two 12-bit words in 3 bytes, a & 255, a >> 8 | (b & 15) << 4, b >> 4; raw is then u8
    second_image: raw is ([panels,] 2, rows, cols), first the adc, then the image whose value tells the gain by thresholds
    segments: ids of the panels present, () = all of them in order"""

    name: str
    shape: tuple[int, ...]
    adc_mask: int
    gain_shift: int = 0
    planes: tuple[int, ...] = (0,)
    codes: Codes = ()
    adc_shift: int = 0
    gains: tuple[str, ...] = ()
    config: Configuration | None = None
    default_gain: tuple[float, ...] = ()
    gain_unit: str = ""
    asic: tuple[int, int] | None = None
    bank: tuple[int, int] | None = None
    wide_rows: Lines = ()
    wide_cols: Lines = ()
    wide_size: float = 1.0
    pixel_size: tuple[float, float] | None = None
    cells: int = 0
    word: str = "u16"
    second_image: bool = False
    counts: tuple[tuple[str, Codes], ...] = ()
    segments: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.planes)
        if (n & (n - 1) and not self.second_image) or n > 16 or max(self.planes) > 7 or self.planes[0] != 0:
            raise ValueError(f"detector {self.name}: planes must be 1, 2, 4, 8 or 16 numbers of -1 to 7, the first 0, got {self.planes}")
        if self.word not in WORDS or (self.word == "packed12" and self.shape[-1] % 2):
            raise ValueError(f"detector {self.name}: word must be {' or '.join(WORDS)} (with an even number of columns), got {self.word!r}, {self.shape}")
        if not 0 <= self.adc_shift < 16 or self.adc_mask & ((1 << self.adc_shift) - 1):
            raise ValueError(f"detector {self.name}: adc_mask {self.adc_mask:#x} holds bits that adc_shift={self.adc_shift} drops")
        if self.segments and (len(self.segments) != self.n_panels or len(set(self.segments)) != len(self.segments)):
            raise ValueError(f"detector {self.name}: segments must be {self.n_panels} different ids, one a panel of {self.shape}, got {self.segments}")
        if self.gains and len(self.gains) != self.n_planes:
            raise ValueError(f"detector {self.name}: gains must name {self.n_planes} planes, got {self.gains}")
        states = self.n_planes if self.config is None else len(self.config.states)
        if self.default_gain and len(self.default_gain) != states:
            raise ValueError(f"detector {self.name}: default_gain must be {states} numbers, got {self.default_gain}")

    @property
    def n_planes(self) -> int:
        return max(self.planes) + 1

    @property
    def gain_mask(self) -> int:
        return len(self.planes) - 1

    @property
    def n_panels(self) -> int:
        """How many panels a frame has; 1 for a shape without that axis."""
        return math.prod(self.shape[:-2])

    @property
    def ids(self) -> tuple[int, ...]:
        """The segment id of each panel."""
        return self.segments or tuple(range(self.n_panels))

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one frame of words."""
        rows, cols = self.shape[-2:]
        return (*self.shape[:-2], *(2,) * self.second_image, rows, cols * 3 // 2 if self.word == "packed12" else cols)

    @property
    def raw_dtypes(self) -> tuple[np.dtype[np.generic], ...]:
        """The types that raw words can have."""
        return tuple(np.dtype(d) for d, _ in self.counts) or (np.dtype(np.uint8 if self.word == "packed12" else np.uint16),)

    def codes_of(self, dtype: np.dtype[np.generic] | type | str) -> Codes:
        """The words of this type that are no measurement. Raises TypeError for a type that the detector does not send."""
        kinds = dict(zip(self.raw_dtypes, [c for _, c in self.counts] or [self.codes], strict=True))
        if np.dtype(dtype) not in kinds:
            raise TypeError(f"detector {self.name}: words must be {' or '.join(map(str, kinds))}, got {np.dtype(dtype)}")
        return kinds[np.dtype(dtype)]

    def select(self, panels: Iterable[int]) -> Detector:
        """The detector of these segment ids alone, in this order. Raises ValueError for an id that it does not have."""
        wanted = tuple(int(k) for k in panels)
        missing = sorted(set(wanted) - set(self.ids))
        if missing or not wanted or len(set(wanted)) != len(wanted):
            raise ValueError(f"detector {self.name}: select takes different ids of {self.ids}, got {wanted}")
        if len(self.shape) < 3:
            return self
        if len(self.shape) > 3:
            raise ValueError(f"detector {self.name}: select needs (panels, rows, cols), this is {self.shape}")
        return replace(self, shape=(len(wanted), *self.shape[1:]), segments=wanted)

    def unpack(self, raw: np.ndarray) -> np.ndarray:
        """u16 words of raw as it is sent; itself where nothing is packed. Raises TypeError or ValueError."""
        self.codes_of(raw.dtype)
        if self.word != "packed12":
            return raw
        if raw.ndim == 0 or raw.shape[-1] % 3:
            raise ValueError(f"detector {self.name}: 12-bit words come in groups of 3 bytes, got {raw.shape}")
        low, mid, high = (raw[..., k::3].astype(np.uint16) for k in range(3))
        words = np.stack((low | (mid & 15) << 8, mid >> 4 | high << 4), axis=-1)
        return words.reshape(*raw.shape[:-1], raw.shape[-1] // 3 * 2)

    def decode(self, word: np.ndarray, threshold: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """adc, plane i8 (0 where invalid), status u8 of raw words of any shape; the adc is u16, or the word itself for a counter of photons.

        second_image: word is (..., 2, rows, cols), and threshold (k, ..., rows, cols) ascending; NaN is never exceeded."""
        if self.second_image != (threshold is not None):
            raise ValueError(f"detector {self.name}: threshold is {'missing' if self.second_image else 'for detectors with a second image'}")
        word = self.unpack(word)
        if threshold is None:
            stage = word >> self.gain_shift & self.gain_mask if self.gain_mask else np.zeros(word.shape, np.uint8)
        else:
            if word.ndim < 3 or word.shape[-3] != 2 or len(threshold) != len(self.planes) - 1:
                raise ValueError(f"detector {self.name}: words must be (..., 2, rows, cols), threshold ({len(self.planes) - 1}, ...);"
                                 f" got {word.shape}, {threshold.shape}")
            stage = sum(((word[..., 1, :, :] > t).astype(np.uint8) for t in threshold), np.zeros(word[..., 1, :, :].shape, np.uint8))
            word = word[..., 0, :, :]
        plane = np.array(self.planes, np.int8)[stage]
        status = np.where(plane < 0, np.uint8(Pixel.INVALID_CODE), np.uint8(0))
        for code, bit in self.codes_of(word.dtype) if self.word == "u16" else self.codes:
            status[word == code] = bit
        adc = word if self.counts else (word & np.uint16(self.adc_mask)) >> np.uint16(self.adc_shift)
        return adc, np.maximum(plane, 0), status

    def defines(self) -> dict[str, str]:
        """The same decoding for kernels: ADC_MASK (in the word's place), PLANE_OF(w) (15 = invalid), WORD_STATUS(w)."""
        if self.second_image:
            raise ValueError(f"detector {self.name}: its gain is not in the word, but in the second image")
        table = sum((p & 15) << 4 * i for i, p in enumerate(self.planes))
        half = f"{table}u"      # 32-bit words: with a 64-bit table ptxas spilled
        if self.gain_mask > 7:
            half = f"((w) >> {self.gain_shift}u & 8u ? {table >> 32}u : {table & 0xFFFFFFFF}u)"
        return {
            "ADC_MASK": f"{self.adc_mask}u",
            "GAIN_BITS": f"{self.gain_mask << self.gain_shift}u",
            "PLANE_OF(w)": f"({half} >> 4u * ((w) >> {self.gain_shift}u & {self.gain_mask & 7}u) & 15u)",
            "WORD_STATUS(w)": codes_define(self.codes),
        }
