"""What is wrong with a dark pixel: named bits, by named limits, taken over each ASIC by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np

from ..detectors import Detector
from .dark_estimate import NORMAL


class DarkStatus(IntFlag):
    """Of a pixel in one gain stage and memory cell; 0 = good. The first seven have psana's bits."""

    NOISE_HIGH = 1
    NOISE_LOW = 2
    SATURATED = 4           # at the upper end of the adc in too many frames
    COLD = 8                # at its lower end
    PEDESTAL_HIGH = 16
    PEDESTAL_LOW = 32
    WRONG_GAIN = 64         # too many words of another gain stage
    TOO_FEW = 128           # words of the stage: the numbers mean little, or there are none
    RANDOM_TELEGRAPH = 256  # too many words outside the gate, or two levels inside
    INVALID_WORDS = 512     # too many error codes, or gain bits that cannot be
    NOT_GAUSSIAN = 1024     # no Gaussian shows such moments in its gate: pedestal and noise are those of the gated words as they are
    GAIN_UNCLEAR = 2048     # in the image that tells the gain, this stage's level lies too near to a neighbour's


# The same in other people's names (calib.flags): what each of our bits would be called there.
BAD_PIXELS = {      # European XFEL
    "NOISE_HIGH": "NOISE_OUT_OF_THRESHOLD", "NOISE_LOW": "NOISE_OUT_OF_THRESHOLD", "SATURATED": "VALUE_OUT_OF_RANGE", "COLD": "VALUE_OUT_OF_RANGE",
    "PEDESTAL_HIGH": "OFFSET_OUT_OF_THRESHOLD", "PEDESTAL_LOW": "OFFSET_OUT_OF_THRESHOLD", "WRONG_GAIN": "WRONG_GAIN_VALUE", "TOO_FEW": "NO_DARK_DATA",
    "RANDOM_TELEGRAPH": "NOISE_OUT_OF_THRESHOLD", "INVALID_WORDS": "NO_DARK_DATA", "NOT_GAUSSIAN": "OFFSET_NOISE_EVAL_ERROR",
    "GAIN_UNCLEAR": "GAIN_THRESHOLDING_ERROR",
}
NXMX = {
    "NOISE_HIGH": "NOISY", "NOISE_LOW": "DEAD", "SATURATED": "OVER_RESPONDING", "COLD": "DEAD", "PEDESTAL_HIGH": "OVER_RESPONDING",
    "PEDESTAL_LOW": "UNDER_RESPONDING", "WRONG_GAIN": "OVER_RESPONDING", "TOO_FEW": "DEAD", "RANDOM_TELEGRAPH": "NOISY", "INVALID_WORDS": "DEAD",
    "NOT_GAUSSIAN": "NOISY", "GAIN_UNCLEAR": "OVER_RESPONDING",
}
PSANA = {
    "NOISE_HIGH": "RMS_HIGH", "NOISE_LOW": "RMS_LOW", "SATURATED": "SATURATED", "COLD": "COLD", "PEDESTAL_HIGH": "AVERAGE_HIGH",
    "PEDESTAL_LOW": "AVERAGE_LOW", "WRONG_GAIN": "BAD_GAIN_SWITCH", "INVALID_WORDS": "BAD_GAIN_SWITCH",
    "GAIN_UNCLEAR": "BAD_GAIN_SWITCH",
}


def translate(status: np.ndarray, names: dict[str, str], kind: type[IntFlag]) -> np.ndarray:
    """The same status (u32) in the bits of another kind; bits that have no name there are left out."""
    out = np.zeros(status.shape, np.uint32)
    for ours, theirs in names.items():
        out[(status & DarkStatus[ours]) != 0] |= np.uint32(kind[theirs])
    return out


@dataclass(frozen=True)
class Limits:
    """pedestal, noise: beyond so many robust sigmas of the ASIC's pixels from their median; not within pedestal_least [ADU] and noise_least (a share of the
    median) of it. saturated, cold, switched, invalid: largest shares of words (saturated and cold: of the sample's). frames: fewest words of the stage.
    outside: largest share of words outside the gate, on top of the ASIC's median pixel's and of what chance
    can do: with a sample of 100 and 1,000 frames, a pixel that is elsewhere in 10 % of them is found; a larger sample finds less.
    two_levels: with NOISE_HIGH, the least kurtosis of the sample within median +- 3 MAD: 2.2 for a Gaussian, 1 for two levels far apart."""

    pedestal: float = 5.0
    noise: float = 5.0
    pedestal_least: float = 1.0
    noise_least: float = 0.1
    saturated: float = 0.1
    cold: float = 0.1
    switched: float = 0.01
    invalid: float = 0.1
    frames: int = 30
    outside: float = 0.02
    two_levels: float = 1.7

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not 0 <= value < np.inf:
                raise ValueError(f"limits: {name} must be 0 or more, got {value!r}")


def asics(kind: Detector, frame: tuple[int, ...]) -> np.ndarray:
    """(*frame) i64: a number for each pixel's ASIC; a panel that is cut otherwise, or whose detector has none, is one."""
    rows, cols = frame[-2:] if len(frame) > 1 else (1, frame[-1])
    size = kind.asic if kind.asic and rows % kind.asic[0] == 0 and cols % kind.asic[1] == 0 else (rows, cols)
    one = (np.arange(rows) // size[0])[:, None] * (cols // size[1]) + np.arange(cols) // size[1]
    panels = int(np.prod(frame[:-2], dtype=np.int64))
    return (np.arange(panels)[:, None, None] * (int(one.max()) + 1) + one).reshape(frame)


def over_asic(value: np.ndarray, use: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """median and robust sigma (1.4826 MAD) of the ASIC, at each pixel; NaN for one without a pixel to use."""
    centre, sigma = (np.full(int(label.max()) + 1, np.nan) for _ in range(2))
    order = np.argsort(label.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(label.ravel(), minlength=len(centre)))
    for k, (begin, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        here = order[begin:end]
        x = value.ravel()[here][use.ravel()[here]]
        if x.size:
            centre[k] = np.median(x)
            sigma[k] = NORMAL * np.median(np.abs(x - centre[k]))
    return centre[label], sigma[label]


def beyond_if(sigmas: float, width: float, words: np.ndarray) -> np.ndarray:
    """The share of a Gaussian outside its gate if MAD, of so many words, came out so many of its own sigmas (1.17 / sqrt(words)) too small; of 0.3 at least."""
    small = np.maximum(1 - sigmas * 1.17 / np.sqrt(np.maximum(words, 1.0)), 0.3)
    table = np.array([math.erfc(k / 1000 * width / math.sqrt(2)) for k in range(1001)])
    return table[np.rint(1000 * small).astype(np.int64)]


def status_of(kind: Detector, limits: Limits, frame: tuple[int, ...], width: float, found: dict[str, Any]) -> np.ndarray:
    """(*frame) u32 of one gain stage and cell. width: of the gate [robust sigma]; found: arrays of DarkRun.finish by name, and the shares saturated and cold.

    Outside the gate lies what the Gaussian found there has beyond it; at least what a MAD does that is 2.5 of its own sigmas small, and that is usual among
    many pixels; at most what 5 do, for two levels make a wide Gaussian."""
    label, status = asics(kind, frame), np.zeros(frame, np.uint32)
    count, switched, invalid = (found[k].astype(np.float64) for k in ("count", "switched", "invalid"))
    words = np.maximum(count + switched + invalid, 1)

    def mark(bit: DarkStatus, where: np.ndarray) -> None:
        status[where] |= np.uint32(bit)

    mark(DarkStatus.TOO_FEW, (count < max(limits.frames, 2)) | (found["inside"] < 2))
    for bit, share in ((DarkStatus.SATURATED, found["saturated"] > limits.saturated), (DarkStatus.COLD, found["cold"] > limits.cold),
                       (DarkStatus.WRONG_GAIN, switched / words > limits.switched), (DarkStatus.INVALID_WORDS, invalid / words > limits.invalid)):
        mark(bit, share)
    use = (status & (DarkStatus.TOO_FEW | DarkStatus.SATURATED | DarkStatus.COLD)) == 0
    mark(DarkStatus.NOT_GAUSSIAN, use & ~found["gaussian"])
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, low, high, least in (("pedestal", DarkStatus.PEDESTAL_LOW, DarkStatus.PEDESTAL_HIGH, None),
                                       ("noise", DarkStatus.NOISE_LOW, DarkStatus.NOISE_HIGH, limits.noise_least)):
            centre, sigma = over_asic(found[name], use, label)
            reach = np.maximum(getattr(limits, name) * sigma, limits.pedestal_least if least is None else least * centre)
            mark(low, use & (found[name] < centre - reach))
            mark(high, use & (found[name] > centre + reach))
        fitted = np.where(found["gaussian"], 1 - found["expected"], 0)
        outside = 1 - found["inside"] / count
        usual, _ = over_asic(outside - fitted, use, label)
        beyond = np.maximum(usual, 0) + fitted.clip(beyond_if(2.5, width, found["words"]), beyond_if(5, width, found["words"]))
        most = limits.outside + beyond + 4 * np.sqrt(beyond / count)
        levels = (status & DarkStatus.NOISE_HIGH != 0) & (found["kurtosis"] < limits.two_levels)
        mark(DarkStatus.RANDOM_TELEGRAPH, use & ((outside > most) | levels))
    return status
