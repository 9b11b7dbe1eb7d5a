"""Elements to bit planes and back, in blocks of any size, for numba: the vectors are those of lz4_numba."""

from __future__ import annotations

import numpy as np

from ..backends import share
from .lz4_numba import copy_bytes, fast, shuffle, unshuffle

PART = 8192     # bytes of a block where nobody says how many


@fast
def _split_span(raw, size, step, to, part, spans):
    """Every block of a span; of the last one the bytes behind the blocks too."""
    usable = raw.shape[0] // (8 * size) * (8 * size)
    blocks = (usable + step - 1) // step
    spare = np.zeros((2, 512), np.uint8)
    for block in range(blocks * part // spans, blocks * (part + 1) // spans):
        shuffle(raw, step * block, min(step, usable - step * block), size, to, step * block, spare)
    if part == spans - 1:
        copy_bytes(to, usable, raw, usable, raw.shape[0] - usable)


@fast
def _join_span(p, length, size, step, raw, part, spans):
    """The same of what the filter does to read. A chunk of the wrong length: zeros."""
    usable = raw.shape[0] // (8 * size) * (8 * size)
    blocks = (usable + step - 1) // step
    right = length == raw.shape[0] and length <= p.shape[0]
    spare = np.zeros((2, 512), np.uint8)
    for block in range(blocks * part // spans, blocks * (part + 1) // spans):
        at = step * block
        n = min(step, usable - at)
        if right:
            unshuffle(p, at, n, size, raw, at, spare)
        else:
            raw[at : at + n] = 0
    if part == spans - 1:
        if right:
            copy_bytes(raw, usable, p, usable, raw.shape[0] - usable)
        else:
            raw[usable:] = 0


def split_frames(raw, size, step, payload, spans):
    """Chunks of all frames raw (n, bytes) u8; a frame is cut into spans of blocks."""
    share(_split, len(raw) * spans, raw, size, step, payload, spans)


def join_frames(payload, sizes, size, step, code, spans):
    """Frames code (n, bytes) u8 of all chunks."""
    share(_join, len(code) * spans, payload, sizes, size, step, code, spans)


@fast
def _split(first, last, raw, size, step, payload, spans):
    for item in range(first, last):
        _split_span(raw[item // spans], size, step, payload[item // spans], item % spans, spans)


@fast
def _join(first, last, payload, sizes, size, step, code, spans):
    for item in range(first, last):
        f = item // spans
        _join_span(payload[f], np.int64(sizes[f]), size, step, code[f], item % spans, spans)
