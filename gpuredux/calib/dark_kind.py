"""What the words of a dark run are: of one gain stage or of one configured state, packed or not, with or without a second image that tells the gain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..detectors import Detector, detector
from .dark_sums import words_alone
from .words_numba import unpack12_rows

Stage = int | str       # a plane of the detector, or the name of a configured state


class Measured(NamedTuple):
    """words: of the u16 words that are summed, `plane` being the plane of them that counts; second: of the image that tells the gain, if there is one."""

    words: Detector
    plane: int
    second: Detector | None


def measured(which: str | Detector, gain: int = 0, state: str | None = None) -> Measured:
    """How a run is summed that was taken in gain stage `gain`, or with all pixels configured for `state` (kind.config.names).

    A fixed state (FH, FM, FL; FHG ...) leaves the word's gain bit without a meaning: words count whatever it says. In an automatic one it parts the
    words: those of the other value are switched, and enter nothing. Raises ValueError for what the detector does not have"""
    kind = detector(which)
    bare = replace(kind, planes=(0,), gains=(), config=None, default_gain=(), second_image=False, word="u16")
    if state is None and kind.second_image:
        if gain not in kind.planes or gain < 0:
            raise ValueError(f"darks: {kind.name} has the gain stages {', '.join(map(str, stages(kind)))}, got {gain}")
        return Measured(words_alone("darks", bare), 0, replace(bare, adc_mask=0xFFFF, adc_shift=0, codes=()))
    if state is None:
        return Measured(words_alone("darks", replace(kind, word="u16")), gain, None)
    if kind.config is None:
        raise ValueError(f"darks: {kind.name} has no configured states, got state={state!r}; its gain stages are {', '.join(map(str, stages(kind)))} (gain=)")
    if state not in kind.config.names or gain != 0:
        raise ValueError(f"darks: state must be one of {', '.join(kind.config.names)} for {kind.name}, and gain is not given then; got {state!r}, gain={gain}")
    _, mask, value = kind.config.states[kind.config.names.index(state)]
    if not mask & kind.config.switched:
        return Measured(words_alone("darks", bare), 0, None)
    return Measured(words_alone("darks", replace(kind, word="u16")), kind.planes[bool(value & kind.config.switched)], None)


def stages(kind: Detector) -> list[int]:
    """The planes that words can have."""
    return sorted({p for p in kind.planes if p >= 0})


def names_of(measured_stages: Iterable[Stage], kind: Detector) -> dict[Stage, str]:
    """The plane's name of each stage, in the detector's order: the states of its configuration, or its gains. Raises ValueError for a mixture."""
    given = list(measured_stages)
    kinds = {isinstance(s, str) for s in given}
    if kinds == {True, False}:
        raise ValueError(f"darks: gain stages and configured states do not go together in one set, got {', '.join(map(str, given))}")
    known: list[Stage] = list(kind.config.names if kind.config else ()) if kinds == {True} else list(stages(kind))
    odd = [s for s in given if s not in known]
    if odd:
        raise ValueError(f"darks: {kind.name} has no {', '.join(map(str, odd))}; it has {', '.join(map(str, known)) or 'no configured states'}")
    return {s: str(s) if isinstance(s, str) else kind.gains[s] if kind.gains else f"G{s}" for s in known if s in given}


def images(kind: Detector, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The words (n, *frame) u16 of frames as they are sent, unpacked, and the image that tells the gain."""
    if kind.word == "packed12":
        if raw.dtype != np.uint8 or raw.ndim < 3 or raw.shape[-1] % 3:
            raise ValueError(f"darks: frames of {kind.name} must be uint8 (n, ..., cols * 3 / 2), 12-bit words in pairs, got {raw.dtype} {raw.shape}")
        words = np.empty((*raw.shape[:-1], raw.shape[-1] // 3 * 2), np.uint16)
        npix = int(np.prod(words.shape[1:]))
        unpack12_rows(np.ascontiguousarray(raw).reshape(len(raw), npix * 3 // 2), words.reshape(len(raw), npix))
        raw = words
    if not kind.second_image:
        return raw, None
    if raw.ndim < 4 or raw.shape[-3] != 2:
        raise ValueError(f"darks: frames of {kind.name} must be (n, [panels,] 2, rows, cols), the adc and the image that tells the gain, got {raw.shape}")
    return np.ascontiguousarray(raw[..., 0, :, :]), np.ascontiguousarray(raw[..., 1, :, :])
