"""auto.py for numba: both codecs read a region, and the one that is expected to be smaller writes it at once; what is then missing is read again.

What is expected decides about time alone: which chunk is taken, its estimates and sizes say."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..backends import share
from .by_address import call
from .lz4_numba import copy_bytes
from .zstd_encode_numba import BIT, BITS, NUMBERS, OCTETS, RAW_BLOCK, REGION, SLOT, fast, frame_header, little_endian

MASKS = np.array([0b1001, 0b1010], np.uint32)
MASKS.flags.writeable = False
S, B, BOTH = 0, 1, 2
PIECE = 1 << 13
FEW = 4             # regions of a frame that are kept until all are read: 1.3 MB each


@fast
def bytes_here(which, r, size, pixels):
    """Of region r; none where the whole planes of bits end before."""
    return max(min(REGION, (pixels // 8 * 8 if which else pixels) * size - REGION * r), 0)


@fast
def read(which, r, raw, size, pixels, stages, octets, bits, numbers):
    """The estimates of the region's blocks."""
    n = bytes_here(which, r, size, pixels)
    return call(stages[6], (raw, octets, bits, numbers, stages, REGION * r, n, size, pixels, which)) if n else 0


@fast
def expected(f, raw, size, stages, octets, bits, numbers):
    """Which one is smaller by its estimates of some pieces of a frame, BOTH where these are close."""
    total, pixels, ahead, whole = raw.shape[1], raw.shape[1] // size, 0, 0
    pieces = max(min(2 * total // REGION, 64), 16)
    for k in range(pieces):
        at = (2 * k + 1) * (total - PIECE) // (2 * pieces) // 64 * 64
        for which in range(2):
            about = call(stages[6], (raw[f], octets, bits, numbers, stages, at, np.int64(PIECE), size, pixels, which))
            ahead += (2 * which - 1) * about
            whole += about
    return np.int64(BOTH) if abs(ahead) * 64 < whole else np.int64(ahead < 0)


@fast
def write(which, r, size, pixels, stages, octets, bits, numbers, slots):
    """The blocks of the region that was read last, to its slot; their bytes."""
    n = bytes_here(which, r, size, pixels)
    last = np.int64(bytes_here(which, r + 1, size, pixels) == 0 and not (which and pixels % 8))
    return call(stages[7], (slots[SLOT * r :], octets, bits, numbers, stages, n, n // (8 * size) if which else 0, last, 0)) if n else 0


@fast
def tail_of(which, raw_bytes, size):
    """The bytes of the raw block behind whole planes of bits."""
    tail = raw_bytes % (8 * size) if which else 0
    return 3 + tail if tail else 0


@fast
def estimates(f, raw_bytes, size, about):
    s, b = 0, 8 * BIT * tail_of(B, raw_bytes, size)
    for k in range(about.shape[2]):
        s += about[S, f, k]
        b += about[B, f, k]
    return s, b


@fast
def first_of(f, raw_bytes, size, about):
    s, b = estimates(f, raw_bytes, size, about)
    return np.int64(b < s)


@fast
def read_span(f, s, raw, size, s_slots, b_slots, made, about, expect, first, last, stages, octets, bits, numbers):
    """Both of regions first to last of frame f to the estimates; those that are expected to the slots too."""
    pixels = raw.shape[1] // size
    for r in range(first, last):
        for k in range(2):
            about[k, f, s] += read(k, r, raw[f], size, pixels, stages, octets[k], bits[k], numbers[k])
            if k == expect[f] or expect[f] == BOTH:
                made[k, f, r] = write(k, r, size, pixels, stages, octets[k], bits[k], numbers[k], b_slots[f] if k else s_slots[f])


@fast
def read_frame(f, raw, size, s_slots, b_slots, made, about, stages, octets, bits, numbers):
    """Both of the few regions of frame f to the estimates; the one that is smaller by them, all of whose regions are kept, to the slots."""
    regions, pixels = made.shape[2], raw.shape[1] // size
    for i in range(2 * regions):
        k, r = i // regions, i % regions
        about[k, f, 0] += read(k, r, raw[f], size, pixels, stages, octets[i], bits[i], numbers[i])
    k = first_of(f, raw.shape[1], size, about)
    for r in range(regions):
        i = k * regions + r
        made[k, f, r] = write(k, r, size, pixels, stages, octets[i], bits[i], numbers[i], b_slots[f] if k else s_slots[f])


@fast
def bytes_of(which, f, raw_bytes, size, made):
    """Of the blocks of one of both."""
    n = tail_of(which, raw_bytes, size)
    for r in range(made.shape[2]):
        n += made[which, f, r]
    return n


@fast
def wants_other(f, raw_bytes, size, made, about):
    """Whether the other one may be smaller than the first one, which is complete: at_least of auto.py."""
    s, b = estimates(f, raw_bytes, size, about)
    return max(s, b) - max(s, b) // 32 - 64 * 8 * BIT < 8 * BIT * bytes_of(first_of(f, raw_bytes, size, about), f, raw_bytes, size, made)


@fast
def complete(which, f, raw, size, slots, made, first, last, stages, octets, bits, numbers):
    """What is missing of regions first to last of one of both."""
    pixels = raw.shape[1] // size
    for r in range(first, last):
        if made[which, f, r] < 0:
            read(which, r, raw[f], size, pixels, stages, octets, bits, numbers)
            made[which, f, r] = write(which, r, size, pixels, stages, octets, bits, numbers, slots[f])


@fast
def place(f, s, spans, raw, size, payload, sizes, masks, s_slots, b_slots, made, about):
    """Span s of the smaller one to its place; the first one adds the header, the last one what is behind the blocks."""
    total, to, regions, which = raw.shape[1], payload[f], made.shape[2], first_of(f, raw.shape[1], size, about)
    if wants_other(f, total, size, made, about):
        which = np.int64(bytes_of(B, f, total, size, made) < bytes_of(S, f, total, size, made))
    at, slots = 6 if total < 256 else 7 if total < 256 + (1 << 16) else 9, b_slots if which else s_slots
    if s == 0:
        frame_header(total, to, np.int64(0))
    first, last = regions * s // spans, regions * (s + 1) // spans
    for r in range(last):
        if r >= first:
            copy_bytes(to, at, slots[f], SLOT * r, made[which, f, r])
        at += made[which, f, r]
    if s == spans - 1:
        tail = tail_of(which, total, size) - 3
        if tail > 0:
            at = little_endian(to, at, tail << 3 | RAW_BLOCK << 1 | 1, np.int64(3))
            copy_bytes(to, at, raw[f], total - tail, tail)
            at += tail
        sizes[f], masks[f] = at, MASKS[which]


@fast
def finish_span(step, f, raw, size, s_slots, b_slots, made, about, first, last, stages, octets, bits, numbers):
    """What is missing of the first one (step 1), of the other one (step 2) where it is wanted."""
    which = first_of(f, raw.shape[1], size, about)
    if step == 1 or wants_other(f, raw.shape[1], size, made, about):
        which = which if step == 1 else 1 - which
        complete(which, f, raw, size, b_slots if which else s_slots, made, first, last, stages, octets, bits, numbers)


@fast
def work(step, worker, workers, spans, raw, size, s_slots, b_slots, made, about, expect, stages):
    """One worker's share of a step: every so many-th frame, or span of a frame. What it works in is allocated once: its pages are new each time."""
    n, regions = raw.shape[0], made.shape[2]
    sets = 1 if step > 0 else 2 * regions if regions <= FEW else 2
    octets, bits, numbers = np.empty((sets, OCTETS), np.uint8), np.empty((sets, BITS), np.uint64), np.empty((sets, NUMBERS), np.int32)
    for item in range(worker, n if step < 0 or regions <= FEW else n * spans, workers):
        f, s = (item, 0) if step < 0 or regions <= FEW else (item // spans, item % spans)
        first, last = (0, regions) if regions <= FEW else (regions * s // spans, regions * (s + 1) // spans)
        if step < 0:
            expect[f] = expected(f, raw, size, stages, octets[0], bits[0], numbers[0])
        elif step > 0:
            finish_span(step, f, raw, size, s_slots, b_slots, made, about, first, last, stages, octets[0], bits[0], numbers[0])
        elif regions <= FEW:
            read_frame(f, raw, size, s_slots, b_slots, made, about, stages, octets, bits, numbers)
        else:
            read_span(f, s, raw, size, s_slots, b_slots, made, about, expect, first, last, stages, octets, bits, numbers)


def encode_frames(raw, size, payload, sizes, masks, s_slots, b_slots, made, about, spans, workers, stages):
    """Chunks of all frames raw (n, bytes) u8. made (2, n, regions), -1 before: bytes of blocks; about (2, n, spans), 0 before: estimates. A frame is cut
    into spans of regions so that a few large frames use all cores. stages: those of zstd_encode_numba."""
    n, regions = raw.shape[0], made.shape[2]
    expect = np.zeros(n, np.int64)
    for step in range(0 if regions <= FEW else -1, 3):
        share(take_step, workers, step, workers, spans, raw, size, s_slots, b_slots, made, about, expect, stages)
    share(place_spans, n * spans, spans, raw, size, payload, sizes, masks, s_slots, b_slots, made, about)


@njit(cache=True, nogil=True, error_model="numpy")
def take_step(begin, end, step, workers, spans, raw, size, s_slots, b_slots, made, about, expect, stages):
    for worker in range(begin, end):
        work(step, worker, workers, spans, raw, size, s_slots, b_slots, made, about, expect, stages)


@njit(cache=True, nogil=True, error_model="numpy")
def place_spans(begin, end, spans, raw, size, payload, sizes, masks, s_slots, b_slots, made, about):
    for item in range(begin, end):
        place(item // spans, item % spans, spans, raw, size, payload, sizes, masks, s_slots, b_slots, made, about)
