"""Blosc 1 chunks of LZ4 for numba, both ways. Over 200 lines: the chunk's format is in one place."""

from __future__ import annotations

import numpy as np

from ..backends import share
from .lz4_numba import BLOCK, MARGIN, SLOT, _read, copy_bytes, fast, lz4_block, shuffle, unlz4

# What can be wrong with a chunk, besides what can be wrong with an LZ4 block; blosc_decode.REASONS has the words.
HEADER_SHORT, VERSION, RAW_BYTES, BLOCK_BYTES, CHUNK_BYTES, TYPE_BYTES, FILTERS, CODEC, START, STREAM = range(101, 111)
NONE, SHUFFLE, BITSHUFFLE, RAW, WRONG = range(5)      # how a chunk's blocks are undone; RAW: nothing was compressed


# ----------------------------------------------------------------------------------------------------------- encoder
@fast
def le32(p, at):
    return np.int64(p[at]) | np.int64(p[at + 1]) << 8 | np.int64(p[at + 2]) << 16 | np.int64(p[at + 3]) << 24


@fast
def _put_le32(p, at, value):
    for k in range(4):
        p[at + k] = np.uint8(value >> 8 * k & 255)


@fast
def _encode_span(raw, first, last, size, reach, step, to, at, room, sizes):
    """Coded blocks first to last of one frame, each behind its size, to[at:]; the bytes written. More than room: the chunk would be larger than the frame."""
    planes, out = np.zeros(BLOCK + 4 * MARGIN, np.uint8), np.zeros(SLOT + 4 * MARGIN, np.uint8)
    equal, start = np.zeros((BLOCK // 64 + 4, 4), np.uint64), np.zeros(BLOCK // 64 + 4, np.uint64)
    spare, offsets = np.zeros((2, 512), np.uint8), np.array([1, 0, reach[0], reach[1]])
    begin = at
    for block in range(first, last):
        n = min(step, raw.shape[0] - step * block)
        offsets[1] = n // (8 * size)
        shuffle(raw, step * block, n, size, planes, MARGIN, spare)
        length = min(lz4_block(planes, n, offsets, equal, start, out), n)
        if at - begin + 4 + length > room:
            return room + 1
        sizes[block] = length
        _put_le32(to, at, length)
        if length == n:
            copy_bytes(to, at + 4, planes, MARGIN, n)
        else:
            copy_bytes(to, at + 4, out, 0, length)
        at += 4 + length
    return at - begin


@fast
def _place(f, s, spans, step, coded, length, raw, size, payload, sizes, slots, block_size):
    """Span s of frame f to its place behind the spans before it; the last one adds what is not coded, where each block begins, and the header."""
    nbytes, chunk = raw.shape[0], payload[f]
    blocks = (nbytes + step - 1) // step
    at = 16 + 4 * blocks
    total = at + 4 * (blocks - coded) + (nbytes - step * coded if blocks > coded else 0)
    for k in range(spans):
        total += length[f, k]
        if k < s:
            at += length[f, k]
    whole = total >= 16 + nbytes
    if whole:
        total = 16 + nbytes
    elif s > 0:
        copy_bytes(chunk, at, slots[f], SLOT * (coded * s // spans), length[f, s])
    if s < spans - 1:
        return
    at = 16 + 4 * blocks
    for b in range(0 if whole else blocks):
        count = np.int64(block_size[f, b]) if b < coded else nbytes - step * b
        _put_le32(chunk, 16 + 4 * b, at)
        if b >= coded:
            _put_le32(chunk, at, count)
            copy_bytes(chunk, at + 4, raw, step * b, count)
        at += 4 + count
    if whole:
        copy_bytes(chunk, 16, raw, 0, nbytes)
    chunk[0], chunk[1], chunk[2], chunk[3] = 2, 1, 0x36 if whole else 0x34, size
    _put_le32(chunk, 4, nbytes)
    _put_le32(chunk, 8, step)
    _put_le32(chunk, 12, total)
    sizes[f] = total


def encode_frames(raw, size, reach, step, coded, payload, sizes, slots, block_size, spans):
    """Chunks of all frames raw (n, bytes) u8. The first span of a frame's blocks is written in its place, the others to slots, and then moved."""
    length = np.zeros((len(raw), spans), np.int64)
    share(_encode, length.size, raw, size, reach, step, coded, payload, slots, block_size, length)
    share(_place_all, length.size, raw, size, step, coded, payload, sizes, slots, block_size, length)


@fast
def _encode(first, last, raw, size, reach, step, coded, payload, slots, block_size, length):
    nbytes, spans = raw.shape[1], length.shape[1]
    begin = 16 + 4 * ((nbytes + step - 1) // step)
    for item in range(first, last):
        f, s = item // spans, item % spans
        a, b = coded * s // spans, coded * (s + 1) // spans
        to, at, room = (payload[f], begin, nbytes + 16 - begin) if s == 0 else (slots[f], SLOT * a, 1 << 40)
        length[f, s] = _encode_span(raw[f], a, b, size, reach, step, to, at, room, block_size[f])


@fast
def _place_all(first, last, raw, size, step, coded, payload, sizes, slots, block_size, length):
    spans = length.shape[1]
    for item in range(first, last):
        f = item // spans
        _place(f, item % spans, spans, step, coded, length, raw[f], size, payload, sizes, slots, block_size)


# ----------------------------------------------------------------------------------------------------------- decoder
@fast
def parse_header(p, size, nbytes, itemsize):
    """(error, bytes of a block, how blocks are undone, streams of a block that is not the last short one)."""
    if size < 16 or size > p.shape[0]:
        return HEADER_SHORT, BLOCK, WRONG, 1
    flags, each, block = np.int64(p[2]), np.int64(p[3]), le32(p, 8)
    kind = flags & 1 | flags >> 1 & 2
    memcpyed = flags & 2 != 0
    error = 0
    if p[0] < 1 or p[0] > 2:
        error = VERSION
    elif le32(p, 4) != nbytes:
        error = RAW_BYTES
    elif block < 1 or block > nbytes:
        error = BLOCK_BYTES
    elif le32(p, 12) != size or (memcpyed and size != 16 + nbytes):
        error = CHUNK_BYTES
    elif flags & 8 != 0 or (not memcpyed and kind == 3):
        error = FILTERS
    elif not memcpyed and (flags >> 5 != 1 or p[1] != 1):
        error = CODEC
    elif each == 0 or (not memcpyed and kind != 0 and each != itemsize):
        error = TYPE_BYTES
    if error:
        return error, BLOCK, WRONG, 1
    split = flags & 16 == 0 and each <= 16 and block // each >= 128
    if split and not memcpyed and block % each:
        return BLOCK_BYTES, BLOCK, WRONG, 1
    return 0, block, RAW if memcpyed else kind, each if split else 1


@fast
def _streams(p, size, at, streams, d, begin, n, room):
    """d[begin : begin + n] = the streams of a block, each behind its size, from p[at] on; 0, or what is wrong and where."""
    each = n // streams
    for s in range(streams):
        if size - at < 4:
            return STREAM, at
        length = le32(p, at)
        if length > size - at - 4:
            return STREAM, at
        if length == each:
            copy_bytes(d, begin + s * each, p, at + 4, each)
        else:
            error, place = unlz4(p, at + 4, at + 4 + length, d, begin + s * each, each, room - s * each)
            if error:
                return error, place
        at += 4 + length
    return 0, at


@fast
def _join_bits(d, begin, n, size, low, high, code, at, spare):
    """code[at + low : at + high] = these bytes of the n, a multiple of 8 elements, whose bit planes are d[begin : begin + n] and what follows."""
    plane, width = n // (8 * size), 64 * size
    for g in range(low // width, (high + width - 1) // width):
        first, last = max(low, width * g), min(high, width * (g + 1))
        if last - first == width:
            _read(size, d, begin + 8 * g, plane, code, at + width * g)
        else:
            count = min(8, plane - 8 * g)
            for p in range(8 * size):
                for k in range(count):
                    spare[0, 8 * p + k] = d[begin + p * plane + 8 * g + k]
            _read(size, spare[0], 0, 8, spare[1], 0)
            copy_bytes(code, at + first, spare[1], first - width * g, last - first)


@fast
def _join_bytes(d, begin, count, size, first, last, code, at):
    """Elements first to last of a block of `count`, of 2, 4 or 8 shuffled bytes each: with the numbers in the text LLVM makes vectors of it."""
    if size == 2:
        for e in range(first, last):
            code[at + 2 * e], code[at + 2 * e + 1] = d[begin + e], d[begin + count + e]
    elif size == 4:
        for e in range(first, last):
            for r in range(4):
                code[at + 4 * e + r] = d[begin + r * count + e]
    else:
        for e in range(first, last):
            for r in range(8):
                code[at + 8 * e + r] = d[begin + r * count + e]


@fast
def _undo(d, begin, n, size, kind, low, high, code, at, spare):
    """code[at + low : at + high] = these bytes of the block of n whose filtered bytes are d[begin : begin + n]."""
    count = n // size
    whole = count * size if (kind == SHUFFLE and size > 1) or (kind == BITSHUFFLE and count % 8 == 0) else 0     # the others are as they are
    if low < whole and kind == BITSHUFFLE:
        _join_bits(d, begin, whole, size, low, min(high, whole), code, at, spare)
    elif low < whole:
        first, last = (low + size - 1) // size, min(high, whole) // size       # elements of which all bytes are wanted
        _join_bytes(d, begin, count, size, first, last, code, at)
        for k in range(low, min(size * first, high, whole)):
            code[at + k] = d[begin + k % size * count + k // size]
        for k in range(max(size * last, low), min(high, whole)):
            code[at + k] = d[begin + k % size * count + k // size]
    if high > whole:
        first = max(low, whole)
        copy_bytes(code, at + first, d, begin + first, high - first)


@fast
def _decode_span(p, size, nbytes, itemsize, framing, first, last, low, high, code, planes):
    """Of blocks first to last the bytes low to high of the frame; the first error, its block and place. planes: where blocks beyond 8 KiB are built."""
    block, kind, streams = framing[0], framing[1], framing[2]
    blocks = (nbytes + block - 1) // block
    buffer, spare = np.zeros(BLOCK + 4 * MARGIN, np.uint8), np.zeros((2, 512), np.uint8)
    problem, bad, where = 0, 0, 0
    for b in range(first, last):
        at = block * b
        n = min(block, nbytes - at)
        begin, end = max(low - at, 0), min(high - at, n)
        error, place = 0, 0
        if kind == RAW:
            copy_bytes(code, at - low + begin, p, 16 + at + begin, end - begin)
            continue
        if kind != WRONG:
            there = le32(p, 16 + 4 * b) if 16 + 4 * blocks <= size else 0
            if there < 16 + 4 * blocks or there > size:
                error, place = START, 16 + 4 * b
            elif n <= BLOCK:
                error, place = _streams(p, size, there, streams if n == block else 1, buffer, 0, n, BLOCK + 2 * MARGIN)
                if error == 0:
                    _undo(buffer, 0, n, itemsize, kind, begin, end, code, at - low, spare)
            else:
                error, place = _streams(p, size, there, streams if n == block else 1, planes, at, n, n)
                if error == 0:
                    _undo(planes, at, n, itemsize, kind, begin, end, code, at - low, spare)
        if error or kind == WRONG:
            code[at - low + begin : at - low + end] = 0
            if problem == 0:
                problem, bad, where = error, b, place
    return problem, bad, where


def decode_frames(payload, sizes, nbytes, itemsize, low, code, planes, spans):
    """Fill code (n, bytes) u8 with the bytes of the frames from low on; for each frame (error, block, place): the first one, 0 = none."""
    found = np.zeros((len(code), spans, 3), np.int64)
    share(_decode, len(code) * spans, payload, sizes, nbytes, itemsize, low, code, planes, found)
    first = (found[:, :, 0] != 0).argmax(axis=1)
    return found[np.arange(len(code)), first]


@fast
def _decode(begin, end, payload, sizes, nbytes, itemsize, low, code, planes, found):
    spans, high = found.shape[1], low + code.shape[1]
    for item in range(begin, end):
        f, s = item // spans, item % spans
        error, block, kind, streams = parse_header(payload[f], np.int64(sizes[f]), nbytes, itemsize)
        first, last = low // block, (high - 1) // block + 1
        first, last = first + (last - first) * s // spans, first + (last - first) * (s + 1) // spans
        problem, bad, where = _decode_span(
            payload[f], np.int64(sizes[f]), nbytes, itemsize, (block, kind, streams), first, last, low, high, code[f], planes[f]
        )
        found[f, s, 0], found[f, s, 1], found[f, s, 2] = (error, 0, 0) if error else (problem, bad, where)
