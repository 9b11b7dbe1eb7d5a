"""The bits of other people's pixel masks, by name: NXmx, EuXFEL, psana, SwissFEL, Cheetah, and our own; and good pixels from names chosen one by one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntFlag

import numpy as np

from .constants_given import plain
from .dark_status import DarkStatus


class NXmx(IntFlag):
    """pixel_mask of NeXus' NXmx and NXdetector. 0 = good; the low 16 bits reject a pixel, the others only tell."""

    GAP = 1 << 0
    DEAD = 1 << 1
    UNDER_RESPONDING = 1 << 2
    OVER_RESPONDING = 1 << 3
    NOISY = 1 << 4
    CLUSTER = 1 << 6
    USER = 1 << 8
    VIRTUAL = 1 << 31


class BadPixels(IntFlag):
    """European XFEL, the names of its calibration constants and corrected data. 0 = good. GAIN_OF_OF is how it is spelt.

    EXPERT_CHOICE and USER flags are in use too, at bits that are not public."""

    OFFSET_OUT_OF_THRESHOLD = 1 << 0
    NOISE_OUT_OF_THRESHOLD = 1 << 1
    OFFSET_NOISE_EVAL_ERROR = 1 << 2
    NO_DARK_DATA = 1 << 3
    CI_GAIN_OF_OF_THRESHOLD = 1 << 4
    CI_LINEAR_DEVIATION = 1 << 5
    CI_EVAL_ERROR = 1 << 6
    FF_GAIN_EVAL_ERROR = 1 << 7
    FF_GAIN_DEVIATION = 1 << 8
    FF_NO_ENTRIES = 1 << 9
    CI2_EVAL_ERROR = 1 << 10
    VALUE_IS_NAN = 1 << 11
    VALUE_OUT_OF_RANGE = 1 << 12
    GAIN_THRESHOLDING_ERROR = 1 << 13
    DATA_STD_IS_ZERO = 1 << 14
    ASIC_STD_BELOW_NOISE = 1 << 15
    INTERPOLATED = 1 << 16
    NOISY_ADC = 1 << 17
    OVERSCAN = 1 << 18
    NON_SENSITIVE = 1 << 19
    NON_LIN_RESPONSE_REGION = 1 << 20
    WRONG_GAIN_VALUE = 1 << 21
    NON_STANDARD_SIZE = 1 << 22     # tells, does not condemn: a wide pixel


class Psana(IntFlag):
    """pixel_status of LCLS dark runs. 0 = good."""

    RMS_HIGH = 1
    RMS_LOW = 2
    SATURATED = 4
    COLD = 8
    AVERAGE_HIGH = 16
    AVERAGE_LOW = 32
    BAD_GAIN_SWITCH = 64


class SwissFEL(IntFlag):
    """pixel_mask of SwissFEL's pedestal files. 0 = good. G10 is the gain code 10, which a Jungfrau never sends; HG = the high-gain setting.

    Bits as its data acquisition writes them today; older files of jungfrau_utils have wrong gain one bit lower, at 0, 1, 3 and 4."""

    EXTRA_MASK = 1 << 0
    WRONG_GAIN_G0 = 1 << 1
    WRONG_GAIN_G1 = 1 << 2
    WRONG_GAIN_G10 = 1 << 3
    WRONG_GAIN_G2 = 1 << 4
    WRONG_GAIN_HG0 = 1 << 5
    WRONG_GAIN_HG1 = 1 << 6
    WRONG_GAIN_HG10 = 1 << 7
    WRONG_GAIN_HG2 = 1 << 8
    NO_NOISE_G0 = 1 << 9
    NO_NOISE_G1 = 1 << 10
    NO_NOISE_G10 = 1 << 11
    NO_NOISE_G2 = 1 << 12
    NO_NOISE_HG0 = 1 << 13
    EMPTY = 1 << 20
    DOUBLE = 1 << 21
    MODULE_EDGE = 1 << 22


class Cheetah(IntFlag):
    """Badpixel of Cheetah's AGIPD files: any value but 0 is bad."""

    BAD = 1


KINDS: dict[str, type[IntFlag]] = {kind.__name__: kind for kind in (NXmx, BadPixels, Psana, SwissFEL, Cheetah, DarkStatus)}
# What usually condemns a pixel, to be passed as bad=: all but what only tells something about it.
TELLS = {"VIRTUAL", "NON_STANDARD_SIZE", "INTERPOLATED", "DOUBLE", "MODULE_EDGE"}
USUAL: dict[str, tuple[str, ...]] = {name: tuple(bit.name for bit in kind if bit.name and bit.name not in TELLS) for name, kind in KINDS.items()}


def flags(kind: str | type[IntFlag]) -> type[IntFlag]:
    """The IntFlag of this name. Raises ValueError with the names there are."""
    if not isinstance(kind, str):
        return kind
    if kind not in KINDS:
        raise ValueError(f"flags: unknown kind {kind!r}{_did_you_mean(kind, KINDS)}")
    return KINDS[kind]


def bits(names: Iterable[str], kind: str | type[IntFlag]) -> int:
    """The OR of the bits of these names. Raises ValueError for an unknown one."""
    kind = flags(kind)
    if isinstance(names, str):
        raise TypeError(f"flags: names come one by one, in a list or tuple, got {names!r}")
    known, total = {bit.name or "" for bit in kind}, 0
    for name in names:
        if name not in known:
            raise ValueError(f"flags: {kind.__name__} has no {name!r}{_did_you_mean(name, known)}")
        total |= int(kind[name])
    return total


def good_from(array: np.ndarray, bad: Iterable[str], kind: str | type[IntFlag], *, over: int = 0, unnamed: str = "raise") -> np.ndarray:
    """good = no bit of `bad` is set: bool, True = use the pixel. The first `over` axes (gains, cells) are combined: bad in one is bad.

    unnamed: what a bit without a name does: "raise", "bad" or "ignore"."""
    kind = flags(kind)
    array = plain(f"flags: a mask of {kind.__name__}", array)
    if array.dtype.kind not in "ui":
        raise TypeError(f"flags: a mask of {kind.__name__} is of integers, got {array.dtype}")
    if unnamed not in ("raise", "bad", "ignore"):
        raise ValueError(f"flags: unnamed must be 'raise', 'bad' or 'ignore', got {unnamed!r}")
    if not 0 <= over < max(array.ndim, 1):
        raise ValueError(f"flags: over must be 0 to {array.ndim - 1}, the leading axes to combine of {array.shape}, got {over}")
    word = array.astype(np.int64, copy=False).view(np.uint64) if array.dtype.kind == "i" else array.astype(np.uint64, copy=False)
    if array.dtype.kind == "i" and array.dtype.itemsize < 8:
        word = word & np.uint64(2 ** (8 * array.dtype.itemsize) - 1)      # bit 31 of an int32 is that bit, not all above it
    condemned, named = bits(bad, kind), sum(int(b) for b in kind)
    if unnamed == "raise":
        odd = int(np.bitwise_or.reduce(word, axis=None, initial=np.uint64(0))) & ~named
        if odd:
            raise ValueError(f"flags: bits {[k for k in range(64) if odd >> k & 1]} are set and have no name in {kind.__name__};"
                             " pass unnamed='bad' or 'ignore', or another kind")
    if unnamed == "bad":
        condemned |= 2**64 - 1 & ~named
    good = word & np.uint64(condemned) == 0
    return good.all(axis=tuple(range(over))) if over else good


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    close = difflib.get_close_matches(word.upper(), choices, 1, 0.5) or difflib.get_close_matches(word, choices, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(choices)}"
