"""Elements to bit planes and back, in blocks of any size, for numba: the vectors are those of lz4_numba."""

from __future__ import annotations

import numpy as np

from ..backends import share
from .lz4_numba import _read, _write, copy_bytes, fast

PART = 8192     # bytes of a block where nobody says how many


@fast
def split(raw, at, n, size, to, begin, spare):
    """to[begin : begin + n] = the bit planes of the n bytes raw[at:]; spare: 2 x 512 bytes for the last elements. Nothing else is written."""
    plane, groups = n // (8 * size), n // (64 * size)
    for g in range(groups):
        _write(size, raw, at + 64 * size * g, to, begin + 8 * g, plane)
    left = plane - 8 * groups
    if left:
        copy_bytes(spare[0], 0, raw, at + 64 * size * groups, 8 * size * left)
        _write(size, spare[0], 0, spare[1], 0, 8)
        for p in range(8 * size):
            for k in range(left):
                to[begin + p * plane + 8 * groups + k] = spare[1, 8 * p + k]


@fast
def join(planes, begin, n, size, raw, at, spare):
    """raw[at : at + n] = the elements whose bit planes are planes[begin : begin + n]. Nothing else is read."""
    plane, groups = n // (8 * size), n // (64 * size)
    for g in range(groups):
        _read(size, planes, begin + 8 * g, plane, raw, at + 64 * size * g)
    left = plane - 8 * groups
    if left:
        for p in range(8 * size):
            for k in range(left):
                spare[0, 8 * p + k] = planes[begin + p * plane + 8 * groups + k]
        _read(size, spare[0], 0, 8, spare[1], 0)
        copy_bytes(raw, at + 64 * size * groups, spare[1], 0, 8 * size * left)


@fast
def _split_span(raw, size, step, to, part, spans):
    """Every block of a span; of the last one the bytes behind the blocks too."""
    usable = raw.shape[0] // (8 * size) * (8 * size)
    blocks = (usable + step - 1) // step
    spare = np.zeros((2, 512), np.uint8)
    for block in range(blocks * part // spans, blocks * (part + 1) // spans):
        split(raw, step * block, min(step, usable - step * block), size, to, step * block, spare)
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
            join(p, at, n, size, raw, at, spare)
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
