"""Bitshuffle and LZ4 blocks for numba, both ways. Over 200 lines: the vector instructions and the two loops they serve are read together.

The intrinsics are plain LLVM vectors of 64 bytes (no instruction of one processor by name): where the machine has no such
registers, LLVM splits them. Buffers that are written by whole vectors carry MARGIN spare bytes on both sides; user arrays do not.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from ..backends import share
from .words_numba import I1, I8, I32, I64, _at, _load, trailing_zeros

BLOCK = 8192
MARGIN = 64
SLOT = BLOCK + BLOCK // 255 + 16 + 16     # the largest LZ4 block of 8192 bytes and its length, a multiple of 16
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
V64, V4 = ir.VectorType(I8, 64), ir.VectorType(I64, 4)
fast = njit(cache=True, nogil=True, error_model="numpy")

# What can be wrong with a chunk; decode.REASONS has the words.
HEADER_SHORT, RAW_BYTES, BLOCK_BYTES, LENGTH_CUT, BLOCK_CUT, NO_TOKEN, LITERALS_IN, LITERALS_OUT, BAD_OFFSET, MATCH_OUT, BLOCK_SHORT, TAIL = range(1, 13)


# ------------------------------------------------------------------------------------------------- vector intrinsics
@intrinsic
def equal64(typingctx, array, i, o):
    """Bit k: array[i + k] == array[i + k - o]."""

    def codegen(context, builder, sig, args):
        here = _load(context, builder, sig.args[0], args[0], args[1], V64)
        there = _load(context, builder, sig.args[0], args[0], builder.sub(args[1], args[2]), V64)
        return builder.bitcast(builder.icmp_signed("==", here, there), I64)

    return types.uint64(array, types.int64, types.int64), codegen


def _of_all(builder, name, *args):
    """An LLVM intrinsic on vectors of four words, or from one to a word (reduce)."""
    result = I64 if "reduce" in name else V4
    return builder.call(get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name), args)


def _windows(context, builder, sig, args, shift):
    """Of the four bitmaps, interleaved word by word: 64 bits each, from bit `shift` of word args[1] on."""
    at = builder.shl(args[1], ir.Constant(I64, 5))
    low = _load(context, builder, sig.args[0], args[0], at, V4)
    high = _load(context, builder, sig.args[0], args[0], builder.add(at, ir.Constant(I64, 32)), V4)
    return _of_all(builder, "llvm.fshr.v4i64", high, low, shift)


def _four(*values):
    return ir.Constant(V4, list(values))


@intrinsic
def starts(typingctx, equal, w):
    """Bit k: at bit k of word w four ones follow in some bitmap."""

    def codegen(context, builder, sig, args):
        four = _windows(context, builder, sig, args, _four(0, 0, 0, 0))
        for shift in (1, 2, 3):
            four = builder.and_(four, _windows(context, builder, sig, args, _four(*[shift] * 4)))
        return _of_all(builder, "llvm.vector.reduce.or.v4i64", four)

    return types.uint64(equal, types.int64), codegen


@intrinsic
def longest(typingctx, equal, w, shift):
    """The longest run of ones at bit `shift` of word w over the four bitmaps, and at the next bit (upper 32 bits): 4 * length + 3 - bitmap.
    A length of 63 or more may go on beyond what was looked at."""

    def codegen(context, builder, sig, args):
        one = builder.insert_element(ir.Constant(V4, ir.Undefined), args[2], ir.Constant(I32, 0))
        shifts = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, 4), [0] * 4))
        unequal = builder.xor(_windows(context, builder, sig, args, shifts), _four(*[-1] * 4))
        keys = []
        for x in (unequal, builder.lshr(unequal, _four(1, 1, 1, 1))):
            length = _of_all(builder, "llvm.cttz.v4i64", x, ir.Constant(I1, 0))
            key = builder.or_(builder.shl(length, _four(2, 2, 2, 2)), _four(3, 2, 1, 0))
            keys.append(_of_all(builder, "llvm.vector.reduce.umax.v4i64", key))
        return builder.or_(keys[0], builder.shl(keys[1], ir.Constant(I64, 32)))

    return types.int64(equal, types.int64, types.uint64), codegen


@intrinsic
def put(typingctx, to, i, byte):
    """to[i] = the low byte, i never from the end."""

    def codegen(context, builder, sig, args):
        builder.store(builder.trunc(args[2], I8), _at(context, builder, sig.args[0], args[0], args[1], I8))
        return context.get_dummy_value()

    return types.void(to, types.int64, types.int64), codegen


def _copier(width):
    @intrinsic
    def copy(typingctx, to, i, source, j):
        def codegen(context, builder, sig, args):
            kind = ir.VectorType(I8, width)
            value = _load(context, builder, sig.args[2], args[2], args[3], kind)
            builder.store(value, _at(context, builder, sig.args[0], args[0], args[1], kind), align=1)
            return context.get_dummy_value()

        return types.void(to, types.int64, source, types.int64), codegen

    return copy


copy16, copy32, copy64 = _copier(16), _copier(32), _copier(64)


@intrinsic
def splat64(typingctx, to, i, byte):
    """64 times the byte."""

    def codegen(context, builder, sig, args):
        one = builder.insert_element(ir.Constant(V64, ir.Undefined), args[2], ir.Constant(I32, 0))
        value = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, 64), [0] * 64))
        builder.store(value, _at(context, builder, sig.args[0], args[0], args[1], V64), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, types.uint8), codegen


@intrinsic
def copy_bytes(typingctx, to, i, source, j, count):
    """Exactly count bytes, not overlapping."""

    def codegen(context, builder, sig, args):
        a, b = (_at(context, builder, sig.args[k], args[k], args[k + 1], I8) for k in (0, 2))
        call = builder.module.declare_intrinsic("llvm.memcpy", [I8.as_pointer(), I8.as_pointer(), I64])
        builder.call(call, [a, b, args[4], ir.Constant(I1, 0)])
        return context.get_dummy_value()

    return types.void(to, types.int64, source, types.int64, types.int64), codegen


def _masks(start, step):
    return ir.Constant(ir.VectorType(I32, 64), [start + step * k for k in range(64)])


def _reversed_bits(k, size):
    return int(format(k, f"0{size.bit_length() - 1}b")[::-1], 2) if size > 1 else 0


def _plane_writer(size):
    """64 elements of `size` bytes to 8 bytes in each of 8 * size planes: bytes of one rank are gathered by halving, then
    their sign bits are collected, eight times, from the top bit down."""

    @intrinsic
    def write(typingctx, source, i, to, j, plane):
        def codegen(context, builder, sig, args):
            groups = [[_load(context, builder, sig.args[0], args[0], builder.add(args[1], ir.Constant(I64, 64 * k)), V64) for k in range(size)]]
            while len(groups[0]) > 1:
                groups = [
                    [builder.shuffle_vector(g[k], g[k + 1], _masks(odd, 2)) for k in range(0, len(g), 2)] for g in groups for odd in (0, 1)
                ]
            for g, (x,) in enumerate(groups):
                for bit in range(7, -1, -1):
                    mask = builder.bitcast(builder.icmp_signed("<", x, ir.Constant(V64, None)), I64)
                    where = builder.add(args[3], builder.mul(args[4], ir.Constant(I64, 8 * _reversed_bits(g, size) + bit)))
                    builder.store(mask, _at(context, builder, sig.args[2], args[2], where, I64), align=1)
                    x = builder.add(x, x)
            return context.get_dummy_value()

        return types.void(source, types.int64, to, types.int64, types.int64), codegen

    return write


def _plane_reader(size):
    """The way back: 8 bytes of each of 8 * size planes to 64 elements."""
    low = ir.Constant(ir.VectorType(I32, 64), [v for k in range(32) for v in (k, 64 + k)])
    high = ir.Constant(ir.VectorType(I32, 64), [v for k in range(32, 64) for v in (k, 64 + k)])

    @intrinsic
    def read(typingctx, source, i, plane, to, j):
        def codegen(context, builder, sig, args):
            ones = ir.VectorType(I1, 64)
            ranks = []
            for byte in range(size):
                x = ir.Constant(V64, None)
                for bit in range(7, -1, -1):
                    where = builder.add(args[1], builder.mul(args[2], ir.Constant(I64, 8 * byte + bit)))
                    mask = builder.bitcast(_load(context, builder, sig.args[0], args[0], where, I64), ones)
                    x = builder.or_(builder.add(x, x), builder.zext(mask, V64))
                ranks.append([x])
            while len(ranks) > 1:       # rank k with rank k + half: the interleaving that halving undoes
                half = len(ranks) // 2
                ranks = [
                    [m for a, b in zip(ranks[k], ranks[k + half], strict=True) for m in (builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))]
                    for k in range(half)
                ]
            for k, x in enumerate(ranks[0]):
                builder.store(x, _at(context, builder, sig.args[3], args[3], builder.add(args[4], ir.Constant(I64, 64 * k)), V64), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, types.int64, to, types.int64), codegen

    return read


write1, write2, write4, write8 = (_plane_writer(k) for k in (1, 2, 4, 8))
read1, read2, read4, read8 = (_plane_reader(k) for k in (1, 2, 4, 8))


@fast
def _write(size, source, i, to, j, plane):
    if size == 1:
        write1(source, i, to, j, plane)
    elif size == 2:
        write2(source, i, to, j, plane)
    elif size == 4:
        write4(source, i, to, j, plane)
    else:
        write8(source, i, to, j, plane)


@fast
def _read(size, source, i, plane, to, j):
    if size == 1:
        read1(source, i, plane, to, j)
    elif size == 2:
        read2(source, i, plane, to, j)
    elif size == 4:
        read4(source, i, plane, to, j)
    else:
        read8(source, i, plane, to, j)


@fast
def shuffle(raw, at, n, size, planes, begin, spare):
    """planes[begin : begin + n] = the bit planes of the n bytes raw[at:]; spare: 2 x 512 bytes for the last elements. Nothing else is written."""
    plane, groups = n // (8 * size), n // (64 * size)
    for g in range(groups):
        _write(size, raw, at + 64 * size * g, planes, begin + 8 * g, plane)
    left = plane - 8 * groups
    if left:
        copy_bytes(spare[0], 0, raw, at + 64 * size * groups, 8 * size * left)
        _write(size, spare[0], 0, spare[1], 0, 8)
        for p in range(8 * size):
            for k in range(left):
                planes[begin + p * plane + 8 * groups + k] = spare[1, 8 * p + k]


@fast
def unshuffle(planes, begin, n, size, raw, at, spare):
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


# ----------------------------------------------------------------------------------------------------------- encoder
@fast
def _bitmaps(b, n, offsets, equal, start):
    """equal[w, k], bit i: b[j] == b[j - offsets[k]] for j = 64 * w + i < n - 5.  start, bit i: four ones in a row for some k, j <= n - 12."""
    words = (n + 63) >> 6
    equal[: words + 2] = np.uint64(0)
    for k in range(4):
        o = offsets[k]
        first = min(o >> 6, words) if o > 0 else words
        for w in range(first, words):
            equal[w, k] = equal64(b, MARGIN + 64 * w, o)
        if first < words:
            equal[first, k] &= FULL << np.uint64(o & 63)
    end = n - 5
    for k in range(4):
        equal[end >> 6, k] &= ~(FULL << np.uint64(end & 63))
    equal[(end >> 6) + 1 : words + 2] = np.uint64(0)
    for w in range(words):
        start[w] = starts(equal, w)
    last = n - 11
    start[last >> 6] &= ~(FULL << np.uint64(last & 63))
    start[(last >> 6) + 1 : words + 2] = np.uint64(0)


@fast
def _run(equal, k, pos):
    """How many ones follow in bitmap k from bit pos on."""
    w, n = pos >> 6, 64 - (pos & 63)
    unequal = ~equal[w, k] >> np.uint64(pos & 63)
    if unequal:
        return trailing_zeros(unequal)
    while equal[w + 1, k] == FULL:
        w, n = w + 1, n + 64
    return n + trailing_zeros(~equal[w + 1, k])


@fast
def _longest_of_all(equal, pos):
    """`longest` at bit pos, for runs of any length."""
    key = key1 = 0
    for k in range(4):
        run = _run(equal, k, pos)
        run1 = run - 1 if run > 0 else _run(equal, k, pos + 1)
        key, key1 = max(key, 4 * run + 3 - k), max(key1, 4 * run1 + 3 - k)
    return key | key1 << 32


@fast
def _extend(out, at, left):
    """The bytes of a length behind its token."""
    many = 0
    if left >= 255:
        many = left // 255
        for i in range(0, many, 64):
            splat64(out, at + i, np.uint8(255))
    put(out, at + many, left - 255 * many)
    return at + many + 1


@fast
def _literals(out, at, b, anchor, count, match):
    """Token, literal length, literals."""
    put(out, at, min(count, 15) << 4 | min(match, 15))
    at += 1
    if count >= 15:
        at = _extend(out, at, count - 15)
    copy32(out, at, b, MARGIN + anchor)
    for i in range(32, count, 64):
        copy64(out, at + i, b, MARGIN + anchor + i)
    return at + count


@fast
def lz4_block(b, n, offsets, equal, start, out):
    """The LZ4 block of b[MARGIN : MARGIN + n]; its length."""
    at = anchor = w = words = 0
    m = np.uint64(0)
    if n >= 13:
        words = (n + 63) >> 6
        _bitmaps(b, n, offsets, equal, start)
        m = start[0]
    while True:
        while m == 0 and w + 1 < words:
            w += 1
            m = start[w]
        if m == 0:
            break
        pos = 64 * w + trailing_zeros(m)
        keys = longest(equal, w, np.uint64(pos & 63))
        if keys & 0xFFFFFFFF >= 252 or keys >> 32 >= 252:       # a run of 63 or more: look further
            keys = _longest_of_all(equal, pos)
        key, later = keys & 0xFFFFFFFF, keys >> 32
        if later >> 2 > (key >> 2) + 1 and pos + 1 <= n - 12:
            pos, key = pos + 1, later
        length = key >> 2
        at = _literals(out, at, b, anchor, pos - anchor, length - 4)
        offset = offsets[3 - (key & 3)]
        put(out, at, offset)
        put(out, at + 1, offset >> 8)
        at += 2
        if length >= 19:
            at = _extend(out, at, length - 19)
        anchor = pos + length
        w = anchor >> 6
        m = start[w] & (FULL << np.uint64(anchor & 63))
    return _literals(out, at, b, anchor, n - anchor, 0)


@fast
def _encode_span(raw, first, last, usable, size, row, second, to, at):
    """Blocks first to last of one frame, each behind its length, to[at:]; the bytes written."""
    planes, out = np.zeros(BLOCK + 4 * MARGIN, np.uint8), np.zeros(SLOT + 4 * MARGIN, np.uint8)
    equal, start = np.zeros((BLOCK // 64 + 4, 4), np.uint64), np.zeros(BLOCK // 64 + 4, np.uint64)
    spare = np.zeros((2, 512), np.uint8)
    offsets = np.array([1, 0, row, second])
    begin = at
    for block in range(first, last):
        n = min(BLOCK, usable - BLOCK * block)
        offsets[1] = n // (8 * size)
        shuffle(raw, BLOCK * block, n, size, planes, MARGIN, spare)
        length = lz4_block(planes, n, offsets, equal, start, out)
        for k in range(4):
            to[at + k] = np.uint8(length >> (24 - 8 * k) & 255)
        copy_bytes(to, at + 4, out, 0, length)
        at += 4 + length
    return at - begin


@fast
def _place(f, s, spans, blocks, usable, length, raw, payload, sizes, slots):
    """Span s of frame f to its place behind the spans before it; the last one adds header, tail and the chunk's size."""
    frame_bytes = raw.shape[1]
    at = 12
    for k in range(s):
        at += length[f, k]
    if s > 0:
        copy_bytes(payload[f], at, slots[f], SLOT * (blocks * s // spans), length[f, s])
    if s == spans - 1:
        at += length[f, s]
        for k in range(12):
            payload[f, k] = np.uint8(frame_bytes >> (56 - 8 * k) & 255) if k < 8 else np.uint8(BLOCK >> (88 - 8 * k) & 255)
        copy_bytes(payload[f], at, raw[f], usable, frame_bytes - usable)
        sizes[f] = at + frame_bytes - usable


def encode_frames(raw, size, row, second, payload, sizes, slots, spans, threads):
    """Chunks of all frames raw (n, bytes) u8. A frame is cut into spans of blocks so that a few large frames use all cores: the
    first span is written in its place, the others to slots (n, >= blocks * SLOT) and then moved."""
    n, frame_bytes = raw.shape
    usable = frame_bytes // (8 * size) * (8 * size)
    length = np.zeros((n, spans), np.int64)
    step = threads if n * spans % threads == 0 else 1       # share() deals in runs: a thread takes every threads-th span
    share(_encode_spans, n * spans, step, raw, usable, size, row, second, payload, slots, length)
    share(_place_spans, n * spans, step, raw, usable, payload, sizes, slots, length)


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(item, step, spans, total):
    """Frame and span."""
    run = total // step
    turn = item % run * step + item // run
    return turn // spans, turn % spans


@njit(cache=True, nogil=True, error_model="numpy")
def _encode_spans(begin, end, step, raw, usable, size, row, second, payload, slots, length):
    spans, blocks = length.shape[1], (usable + BLOCK - 1) // BLOCK
    for item in range(begin, end):
        f, s = _turn(item, step, spans, length.size)
        first, last = blocks * s // spans, blocks * (s + 1) // spans
        to, at = (payload[f], 12) if s == 0 else (slots[f], SLOT * first)
        length[f, s] = _encode_span(raw[f], first, last, usable, size, row, second, to, at)


@njit(cache=True, nogil=True, error_model="numpy")
def _place_spans(begin, end, step, raw, usable, payload, sizes, slots, length):
    """Each thread the spans that it has in its cache."""
    spans, blocks = length.shape[1], (usable + BLOCK - 1) // BLOCK
    for item in range(begin, end):
        f, s = _turn(item, step, spans, length.size)
        _place(f, s, spans, blocks, usable, length, raw, payload, sizes, slots)


# ----------------------------------------------------------------------------------------------------------- decoder
@fast
def _more(p, ip, end, length):
    """A length's further bytes: the new ip and length; ip > end says that they run out. A sum cannot overflow: it is at most 255 * bytes."""
    while True:
        if ip >= end:
            return end + 1, length
        byte = np.int64(p[ip])
        ip += 1
        length += byte
        if byte != 255:
            return ip, length


@fast
def _copy_match(d, op, offset, length, room):
    """d[op : op + length] = d[op - offset : ...], byte after byte; vectors may reach room bytes beyond op."""
    if offset == 1 and length + 64 <= room:
        for i in range(0, length, 64):
            splat64(d, op + i, d[op - 1])
    elif offset >= 64 and length + 64 <= room:
        for i in range(0, length, 64):
            copy64(d, op + i, d, op - offset + i)
    elif offset >= 16 and length + 16 <= room:
        for i in range(0, length, 16):
            copy16(d, op + i, d, op - offset + i)
    else:
        period = offset * (15 // offset + 1)        # what repeats after offset bytes repeats after so many, 16 or more, too
        by_bytes = period if length > 4 * period and length + 16 <= room else length
        for i in range(by_bytes):
            d[op + i] = d[op - offset + i]
        for i in range(by_bytes, length, 16):
            copy16(d, op + i, d, op - period + i)


@fast
def unlz4(p, ip, end, d, start, n, room):
    """d[start : start + n] = the LZ4 block p[ip:end]; 0, or what is wrong and where. room: bytes of d from start that may be overwritten."""
    op = 0
    while True:
        if ip >= end:
            return NO_TOKEN, ip
        token = np.int64(p[ip])
        here = ip
        ip += 1
        count = token >> 4
        if count == 15:
            ip, count = _more(p, ip, end, count)
        if count > end - ip:
            return LITERALS_IN, here
        if count > n - op:
            return LITERALS_OUT, here
        if count <= 32 and ip + 32 <= p.shape[0] and op + 32 <= room:
            copy32(d, start + op, p, ip)
        else:
            copy_bytes(d, start + op, p, ip, count)
        ip += count
        op += count
        if ip == end:
            return (0, ip) if op == n else (BLOCK_SHORT, here)
        if end - ip < 2:
            return NO_TOKEN, ip
        offset = np.int64(p[ip]) | np.int64(p[ip + 1]) << 8
        if offset == 0 or offset > op:
            return BAD_OFFSET, ip
        ip += 2
        match = (token & 15) + 4
        if match == 19:
            ip, match = _more(p, ip, end, match)
            if ip > end:
                return NO_TOKEN, end
        if match > n - op:
            return MATCH_OUT, here
        _copy_match(d, start + op, offset, match, room - op)
        op += match


@fast
def be32(p, at):
    return np.int64(p[at]) << 24 | np.int64(p[at + 1]) << 16 | np.int64(p[at + 2]) << 8 | np.int64(p[at + 3])


@fast
def walk(p, size, element, code, starts):
    """Header, the start of each block's data, tail: (block bytes, blocks listed, error, where). The tail is written to code."""
    frame_bytes, unit = code.shape[0], 8 * element
    usable = frame_bytes // unit * unit
    if size < 12 or size > p.shape[0]:
        code[usable:] = 0
        return BLOCK, 0, HEADER_SHORT, size
    block = be32(p, 8)
    if be32(p, 0) << 32 | be32(p, 4) != frame_bytes or block == 0 or block % unit:
        code[usable:] = 0
        return BLOCK, 0, BLOCK_BYTES if be32(p, 0) << 32 | be32(p, 4) == frame_bytes else RAW_BYTES, 0
    at, listed, total = 12, 0, (usable + block - 1) // block
    while listed < total:
        if size - at < 4 or be32(p, at) > size - at - 4:
            code[usable:] = 0
            return block, listed, LENGTH_CUT if size - at < 4 else BLOCK_CUT, at
        starts[listed] = at + 4
        at += 4 + be32(p, at)
        listed += 1
    if size - at < frame_bytes - usable:
        code[usable:] = 0
        return block, listed, TAIL, at
    code[usable:] = p[at : at + frame_bytes - usable]
    return block, listed, 0 if size - at == frame_bytes - usable else TAIL, at


@fast
def _decode_span(p, element, code, starts, block, first, last, listed, planes):
    """Blocks first to last of one frame; the first error, its block and place. planes: where blocks beyond 8 KiB are built."""
    usable = code.shape[0] // (8 * element) * (8 * element)
    buffer = np.zeros(BLOCK + 4 * MARGIN, np.uint8)
    spare = np.zeros((2, 512), np.uint8)
    problem, bad, where = 0, 0, 0
    for b in range(first, last):
        at = block * b
        n = min(block, usable - at)
        if b >= listed:
            code[at : at + n] = 0
            continue
        ip = np.int64(starts[b])
        end = ip + be32(p, ip - 4)
        if n <= BLOCK:
            error, place = unlz4(p, ip, end, buffer, 0, n, BLOCK + 2 * MARGIN)
            if error == 0:
                unshuffle(buffer, 0, n, element, code, at, spare)
        else:
            error, place = unlz4(p, ip, end, planes, at, n, n)     # not beyond: the next block may be another thread's
            if error == 0:
                unshuffle(planes, at, n, element, code, at, spare)
        if error:
            code[at : at + n] = 0
            if problem == 0:
                problem, bad, where = error, b, place
    return problem, bad, where


def decode_frames(payload, sizes, element, code, starts, planes, spans):
    """Fill code (n, bytes) u8; for each frame (error, block, place): the first one, 0 = none. planes: 8 bytes longer a frame than code."""
    framing, found = np.zeros((len(code), 4), np.int64), np.zeros((len(code), spans, 3), np.int64)
    share(_walk_frames, len(code), payload, sizes, element, code, starts, framing)
    share(_decode_spans, len(code) * spans, payload, element, code, starts, planes, framing, found)
    first = found[np.arange(len(code)), (found[:, :, 0] != 0).argmax(axis=1)]
    return np.where(first[:, :1] != 0, first, framing[:, [2, 1, 3]])


@njit(cache=True, nogil=True, error_model="numpy")
def _walk_frames(begin, end, payload, sizes, element, code, starts, framing):
    for f in range(begin, end):
        block, listed, error, where = walk(payload[f], np.int64(sizes[f]), element, code[f], starts[f])
        framing[f, 0], framing[f, 1], framing[f, 2], framing[f, 3] = block, listed, error, where


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_spans(begin, end, payload, element, code, starts, planes, framing, found):
    """Each (frame, span)."""
    spans, usable = found.shape[1], code.shape[1] // (8 * element) * (8 * element)
    for item in range(begin, end):
        f, s = item // spans, item % spans
        block, listed = framing[f, 0], framing[f, 1]
        total = (usable + block - 1) // block
        error, bad, where = _decode_span(
            payload[f], element, code[f], starts[f], block, total * s // spans, total * (s + 1) // spans, listed, planes[f]
        )
        found[f, s, 0], found[f, s, 1], found[f, s, 2] = error, bad, where
