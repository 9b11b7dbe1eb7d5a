"""Zstandard frames for numba: zstd_decode.py once more, made to be fast. Over 200 lines: one loop over blocks and what it calls.

A bit stream is read from its end: `left` bits are unread, and one load of 8 bytes has the next 57 of them at least. Such a load may begin before
the stream, but not before the frame, whose headers alone are longer than 8 bytes. Literals and output are copied by whole vectors where `room`
allows it.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..backends import share
from . import zstd_format as z
from .lz4_numba import BLOCK, V64, be32, copy16, copy32, copy64, copy_bytes, splat64, unshuffle
from .words_numba import I1, I8, I64, _at, _load, load64, trailing_zeros

(FRAME_HEADER, DICTIONARY, CONTENT_SIZE, BLOCK_CUT, BLOCK_TYPE, BLOCK_BYTES, LITERALS_CUT, LITERALS_MANY, TREE, NO_TREE, LITERALS_BITS, SEQUENCES_CUT,
 TABLE, NO_TABLE, SEQUENCES_BITS, LITERALS_OUT, BAD_OFFSET, NOTHING, CONTENT_SHORT, FRAME_TAIL, CHECKSUM,
 CHUNK_HEADER, CHUNK_RAW, CHUNK_BLOCK, LENGTH_CUT, LENGTH_OUT, CHUNK_TAIL) = range(1, 28)

REASONS = {
    FRAME_HEADER: "the frame's header is no zstd header, or is cut, or has a reserved bit, or a window of more than 2 GiB",
    DICTIONARY: "the frame needs a dictionary",
    CONTENT_SIZE: "the frame's content size is not the raw size",
    BLOCK_CUT: "a block reaches beyond the frame",
    BLOCK_TYPE: "a block of the reserved type",
    BLOCK_BYTES: "a block of too many bytes",
    LITERALS_CUT: "literals reach beyond their block",
    LITERALS_MANY: "more literals than the block may have bytes",
    TREE: "a Huffman tree that is none",
    NO_TREE: "literals without a Huffman tree, and none before",
    LITERALS_BITS: "a stream of literals does not end where its literals do",
    SEQUENCES_CUT: "the head of the sequences is cut, or has reserved bits, or bytes behind it",
    TABLE: "an FSE table that is none",
    NO_TABLE: "a table is to be repeated, and there was none",
    SEQUENCES_BITS: "the bit stream does not end where its sequences do",
    LITERALS_OUT: "a sequence takes more literals than there are",
    BAD_OFFSET: "a match begins before the frame",
    NOTHING: "a compressed block of nothing",
    CONTENT_SHORT: "the frame's content is less than the raw size",
    FRAME_TAIL: "the bytes behind the last block are not those of a frame",
    CHECKSUM: "the frame's checksum is wrong",
    CHUNK_HEADER: "the header needs 12 bytes",
    CHUNK_RAW: "the header's raw size is not that of the frame",
    CHUNK_BLOCK: "the header's block size is not a positive multiple of 8 elements",
    LENGTH_CUT: "the chunk ends inside a block's length",
    LENGTH_OUT: "a block's length reaches beyond the chunk",
    CHUNK_TAIL: "the bytes behind the last block are not the frame's last elements",
}

fast = njit(cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)     # not called from Python: half the compiling
SHUFFLE, BITSHUFFLE, PLANES = 0, 1, 2      # one zstd frame of bytes by rank; a frame for the bit planes of each block; one of those of every 128 KiB
MARGIN = 128                        # spare bytes behind a block's literals and behind output that is ours
PAIRS_FROM = 6144                   # so many literals pay for a table of two symbols at once
OFFSETS, ROWS, LOGS, TREE_IS, PAIRS_ARE, STATE = 0, 3, 6, 9, 10, 11    # in state: the last offsets, the tables in use, their logs ...
BASE = np.concatenate([z.LL_BASE, [(1 << k) & 0xFFFFFFFF for k in range(32)], z.ML_BASE, np.arange(256)]).astype(np.int64)
EXTRA = np.concatenate([z.LL_BITS, np.arange(32), z.ML_BITS, np.zeros(256)]).astype(np.int64)
FIRST = np.array([0, len(z.LL_BASE), len(z.LL_BASE) + 32, len(z.LL_BASE) + 32 + len(z.ML_BASE), len(BASE)])     # of each kind of symbols in BASE
WEIGHTS = 3                         # the fourth kind
DEFAULT = np.concatenate([z.LL_DEFAULT, z.OF_DEFAULT, z.ML_DEFAULT]).astype(np.int64)
DEFAULT_FIRST = np.array([0, len(z.LL_DEFAULT), len(z.LL_DEFAULT) + len(z.OF_DEFAULT), len(DEFAULT)])
DEFAULT_LOG = np.array([z.LL_DEFAULT_LOG, z.OF_DEFAULT_LOG, z.ML_DEFAULT_LOG])
LOG_MOST = np.array([z.LL_LOG_MOST, z.OF_LOG_MOST, z.ML_LOG_MOST, z.WEIGHT_LOG_MOST])
ROW = 512                           # states that a table may have


# ------------------------------------------------------------------------------------------------------------ intrinsics
@intrinsic
def put16(typingctx, to, i, value):
    """to[i : i + 2] = the low 16 bits."""

    def codegen(context, builder, sig, args):
        kind = ir.IntType(16)
        builder.store(builder.trunc(args[2], kind), _at(context, builder, sig.args[0], args[0], args[1], kind), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, types.uint64), codegen


@intrinsic
def put8(typingctx, to, i, value):
    """to[i] = the low byte."""

    def codegen(context, builder, sig, args):
        builder.store(builder.trunc(args[2], I8), _at(context, builder, sig.args[0], args[0], args[1], I8))
        return context.get_dummy_value()

    return types.void(to, types.int64, types.uint64), codegen


@intrinsic
def highest_one(typingctx, x):
    """The place of the highest 1; x > 0."""

    def codegen(context, builder, sig, args):
        return builder.sub(ir.Constant(I64, 63), builder.ctlz(args[0], ir.Constant(I1, 1)))

    return types.int64(types.int64), codegen


@intrinsic
def fill(typingctx, to, i, byte, count):
    """to[i : i + count] = the byte."""

    def codegen(context, builder, sig, args):
        call = builder.module.declare_intrinsic("llvm.memset", [I8.as_pointer(), I64])
        builder.call(call, [_at(context, builder, sig.args[0], args[0], args[1], I8), builder.trunc(args[2], I8), args[3], ir.Constant(I1, 0)])
        return context.get_dummy_value()

    return types.void(to, types.int64, types.int64, types.int64), codegen


def _merger(size):
    """64 bytes of each of `size` planes to 64 elements: plane k with plane k + half are interleaved, until one is left."""
    low = ir.Constant(ir.VectorType(ir.IntType(32), 64), [v for k in range(32) for v in (k, 64 + k)])
    high = ir.Constant(ir.VectorType(ir.IntType(32), 64), [v for k in range(32, 64) for v in (k, 64 + k)])

    @intrinsic
    def merge(typingctx, source, i, plane, to, j):
        def codegen(context, builder, sig, args):
            where = [builder.add(args[1], builder.mul(args[2], ir.Constant(I64, k))) for k in range(size)]
            parts = [[_load(context, builder, sig.args[0], args[0], at, V64)] for at in where]
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [
                    [m for a, b in zip(parts[k], parts[k + half], strict=True) for m in (builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))]
                    for k in range(half)
                ]
            for k, x in enumerate(parts[0]):
                builder.store(x, _at(context, builder, sig.args[3], args[3], builder.add(args[4], ir.Constant(I64, 64 * k)), V64), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, types.int64, to, types.int64), codegen

    return merge


merge2, merge4, merge8 = (_merger(k) for k in (2, 4, 8))


@fast
def join_planes(planes, plane, size, raw):
    """raw = elements of `size` bytes, whose k-th bytes are the k-th of the planes of so many bytes."""
    for g in range(plane // 64):
        if size == 2:
            merge2(planes, 64 * g, plane, raw, 128 * g)
        elif size == 4:
            merge4(planes, 64 * g, plane, raw, 256 * g)
        else:
            merge8(planes, 64 * g, plane, raw, 512 * g)
    for i in range(plane // 64 * 64, plane):
        for k in range(size):
            raw[i * size + k] = planes[k * plane + i]


# ------------------------------------------------------------------------------------------------------------ FSE tables
@fast
def _forward(p, at, end, bit, count):
    """So many bits of p[at:end], at most 16, from bit `bit` on; zeros behind the end."""
    value, byte = 0, at + (bit >> 3)
    for k in range(3):
        if byte + k < end:
            value |= np.int64(p[byte + k]) << (8 * k)
    return value >> (bit & 7) & ((1 << count) - 1)


@fast
def distribution(p, at, end, symbols, log_most, counts):
    """(place behind it, log, how many counts there are); place 0: it is wrong."""
    log = _forward(p, at, end, 0, 4) + 5
    if log > log_most:
        return 0, 0, 0
    left, used, n = (1 << log) + 1, 4, 0
    while left > 1:
        if n >= symbols:
            return 0, 0, 0
        width = highest_one(left)
        short = (2 << width) - 1 - left
        value = _forward(p, at, end, used, width + 1)
        if value & ((1 << width) - 1) < short:
            value &= (1 << width) - 1
            used += width
        else:
            if value >= 1 << width:
                value -= short
            used += width + 1
        counts[n] = value - 1
        n += 1
        left -= abs(value - 1)
        more = value == 1
        while more:
            zeros = _forward(p, at, end, used, 2)
            used += 2
            if n + zeros > symbols:
                return 0, 0, 0
            for _ in range(zeros):
                counts[n] = 0
                n += 1
            more = zeros == 3
    if used > 8 * (end - at):
        return 0, 0, 0
    return at + ((used + 7) >> 3), log, n


@fast
def build(counts, n, log, kind, tables, row, seen):
    """tables[row : row + (1 << log)]: base value | next state << 32 | its bits << 48 | extra bits << 56 of each state."""
    size, first = 1 << log, FIRST[kind]
    free, step, at = size, (size >> 1) + (size >> 3) + 3, 0
    for s in range(n):
        seen[s] = abs(counts[s])
        if counts[s] == -1:
            free -= 1
            tables[row + free] = np.uint64(s)
    for s in range(n):
        for _ in range(counts[s]):
            tables[row + at] = np.uint64(s)
            at = (at + step) & (size - 1)
            while at >= free:
                at = (at + step) & (size - 1)
    for state in range(size):
        s = np.int64(tables[row + state])
        width = log - highest_one(seen[s])
        next_state = (seen[s] << width) - size
        seen[s] += 1
        tables[row + state] = np.uint64(BASE[first + s]) | np.uint64(next_state) << np.uint64(32) | np.uint64(width) << np.uint64(48) | np.uint64(
            EXTRA[first + s]) << np.uint64(56)


@fast
def _closed(p, at, end):
    """How many bits a stream has; -1: it is none."""
    if at >= end or p[end - 1] == 0:
        return -1
    return 8 * (end - at) - 8 + highest_one(np.int64(p[end - 1]))


@fast
def _window(p, at, left):
    """The next 57 unread bits at least, from the top; what lies before the stream behind them."""
    return load64(p, at + ((left + 7) >> 3) - 8) << np.uint64(-left & 7)


# --------------------------------------------------------------------------------------------------------------- Huffman
@fast
def _weights(p, at, end, weights, counts, tables, seen):
    """(how many, place behind them); place 0: they are wrong."""
    if at >= end:
        return 0, 0
    head = np.int64(p[at])
    stop = at + 1 + (head if head < 128 else (head - 126) >> 1)
    if stop > end:
        return 0, 0
    if head >= 128:
        for k in range(head - 127):
            weights[k] = p[at + 1 + (k >> 1)] >> (0 if k & 1 else 4) & 15
        return head - 127, stop
    begin, log, n = distribution(p, at + 1, stop, 256, LOG_MOST[WEIGHTS], counts)
    if begin == 0:
        return 0, 0
    build(counts, n, log, WEIGHTS, tables, 6 * ROW, seen)
    left = _closed(p, begin, stop)
    if left < 2 * log:
        return 0, 0
    bits = _window(p, begin, left)
    state = np.int64(bits >> np.uint64(64 - log))
    other = np.int64((bits << np.uint64(log)) >> np.uint64(64 - log))
    left -= 2 * log
    for k in range(254):
        entry = tables[6 * ROW + state]
        weights[k] = np.uint8(entry & np.uint64(255))
        width = np.int64(entry >> np.uint64(48) & np.uint64(255))
        if width > left:
            weights[k + 1] = np.uint8(tables[6 * ROW + other] & np.uint64(255))
            return k + 2, stop
        value = np.int64(_window(p, begin, left) >> np.uint64(1) >> np.uint64(63 - width))
        state, other = other, np.int64(entry >> np.uint64(32) & np.uint64(0xFFFF)) + value
        left -= width
    return 0, 0


@fast
def huffman(p, at, end, tree, weights, counts, tables, seen):
    """tree[next 11 bits] = symbol | bits << 8; the place behind the description, 0: it is wrong."""
    n, stop = _weights(p, at, end, weights, counts, tables, seen)
    if stop == 0:
        return 0
    total = 0
    for k in range(n):
        if weights[k] > z.HUFFMAN_LOG_MOST:
            return 0
        total += 1 << weights[k] >> 1
    log = highest_one(total) + 1 if total else 99
    if log > z.HUFFMAN_LOG_MOST:
        return 0
    rest = (1 << log) - total
    if rest & (rest - 1):
        return 0
    weights[n] = np.uint8(highest_one(rest) + 1)
    n += 1
    for weight in range(16):        # counts is free again: where the codes of each weight begin
        counts[weight] = 0
    for s in range(n):
        counts[weights[s]] += 1
    ones, begin = counts[1], 0
    for weight in range(1, log + 1):
        many, counts[weight] = counts[weight], begin
        begin += many << (weight - 1 + z.HUFFMAN_LOG_MOST - log)
    for s in range(n):
        weight = np.int64(weights[s])
        if weight:
            begin = counts[weight]
            counts[weight] += 1 << (weight - 1 + z.HUFFMAN_LOG_MOST - log)
            for k in range(begin, counts[weight]):
                tree[k] = np.uint16(s | (log + 1 - weight) << 8)
    return stop if ones >= 2 else 0


@fast
def make_pairs(tree, pairs, both):
    """pairs[next 11 bits] = bits | how many << 8 | symbol << 16 | a second one << 24, where `both` is wished and its code is there."""
    for k in range(1 << z.HUFFMAN_LOG_MOST):
        one = np.int64(tree[k])
        bits, two, count = one >> 8, np.int64(0), np.int64(1)
        if both:
            then = np.int64(tree[(k << bits) & 2047])
            if bits + (then >> 8) <= z.HUFFMAN_LOG_MOST:
                bits, two, count = bits + (then >> 8), then & 255, 2
        pairs[k] = np.uint32(bits | count << 8 | (one & 255) << 16 | two << 24)


@fast
def _rest_of_stream(p, at, left, tree, to, op, stop):
    """to[op:stop] = symbols of a stream with so many unread bits; whether that was all of it."""
    while op < stop:
        entry = np.int64(tree[_window(p, at, left) >> np.uint64(53)])
        left -= entry >> 8
        if left < 0:
            return False
        put8(to, op, np.uint64(entry))
        op += 1
    return left == 0


@fast
def four_streams(p, at, end, tree, pairs, to, count):
    """to[:count] = the literals of four streams. Whether they were right. Long: 20 symbols or pairs are one turn of the loop.

    The lowest 1 of a word of bits says how many of it were used: `from` is where its 8 bytes begin."""
    part = (count + 3) >> 2
    one = at + 6
    two = one + (np.int64(p[at]) | np.int64(p[at + 1]) << 8)
    three = two + (np.int64(p[at + 2]) | np.int64(p[at + 3]) << 8)
    four = three + (np.int64(p[at + 4]) | np.int64(p[at + 5]) << 8)
    if four >= end:
        return False
    left1, left2, left3, left4 = _closed(p, one, two), _closed(p, two, three), _closed(p, three, four), _closed(p, four, end)
    if min(left1, left2, left3, left4) < 0:
        return False
    from1, from2, from3, from4 = two - 8, three - 8, four - 8, end - 8
    low = np.uint64(1)
    bits1 = (load64(p, from1) | low) << np.uint64(8 * (two - one) - left1)
    bits2 = (load64(p, from2) | low) << np.uint64(8 * (three - two) - left2)
    bits3 = (load64(p, from3) | low) << np.uint64(8 * (four - three) - left3)
    bits4 = (load64(p, from4) | low) << np.uint64(8 * (end - four) - left4)
    op1, op2, op3, op4 = 0, part, 2 * part, 3 * part
    while from1 >= one and from2 >= two and from3 >= three and from4 >= four and (
        op1 + 10 <= part and op2 + 10 <= 2 * part and op3 + 10 <= 3 * part and op4 + 10 <= count
    ):
        for _ in range(5):
            e1, e2, e3, e4 = pairs[bits1 >> np.uint64(53)], pairs[bits2 >> np.uint64(53)], pairs[bits3 >> np.uint64(53)], pairs[bits4 >> np.uint64(53)]
            put16(to, op1, np.uint64(e1 >> np.uint32(16)))
            put16(to, op2, np.uint64(e2 >> np.uint32(16)))
            put16(to, op3, np.uint64(e3 >> np.uint32(16)))
            put16(to, op4, np.uint64(e4 >> np.uint32(16)))
            bits1 <<= np.uint64(e1 & np.uint32(63))
            bits2 <<= np.uint64(e2 & np.uint32(63))
            bits3 <<= np.uint64(e3 & np.uint32(63))
            bits4 <<= np.uint64(e4 & np.uint32(63))
            op1 += np.int64(e1 >> np.uint32(8) & np.uint32(255))
            op2 += np.int64(e2 >> np.uint32(8) & np.uint32(255))
            op3 += np.int64(e3 >> np.uint32(8) & np.uint32(255))
            op4 += np.int64(e4 >> np.uint32(8) & np.uint32(255))
        used1, used2, used3, used4 = trailing_zeros(bits1), trailing_zeros(bits2), trailing_zeros(bits3), trailing_zeros(bits4)
        from1 -= used1 >> 3
        from2 -= used2 >> 3
        from3 -= used3 >> 3
        from4 -= used4 >> 3
        bits1 = (load64(p, from1) | low) << np.uint64(used1 & 7)
        bits2 = (load64(p, from2) | low) << np.uint64(used2 & 7)
        bits3 = (load64(p, from3) | low) << np.uint64(used3 & 7)
        bits4 = (load64(p, from4) | low) << np.uint64(used4 & 7)
    left1 = 8 * (from1 + 8 - one) - trailing_zeros(bits1)
    left2 = 8 * (from2 + 8 - two) - trailing_zeros(bits2)
    left3 = 8 * (from3 + 8 - three) - trailing_zeros(bits3)
    left4 = 8 * (from4 + 8 - four) - trailing_zeros(bits4)
    if min(left1, left2, left3, left4) < 0:
        return False
    good = _rest_of_stream(p, one, left1, tree, to, op1, part) and _rest_of_stream(p, two, left2, tree, to, op2, 2 * part)
    return good and _rest_of_stream(p, three, left3, tree, to, op3, 3 * part) and _rest_of_stream(p, four, left4, tree, to, op4, count)


@fast
def literals_of(p, at, end, most, state, tree, pairs, tables, literals, weights, counts, seen):
    """(error, place behind them, where the literals begin in p or, if that is 0, in `literals`, how many). Long: as unzstd."""
    if at >= end:
        return LITERALS_CUT, at, 0, 0
    kind, form = np.int64(p[at]) & 3, np.int64(p[at]) >> 2 & 3
    coded = kind >= z.COMPRESSED
    head = (3 + (form >> 1) * (form - 1)) if coded else (1 + (form & 1) + (form == 3))
    if at + head > end:
        return LITERALS_CUT, at, 0, 0
    value = 0
    for k in range(head):
        value |= np.int64(p[at + k]) << (8 * k)
    width = 10 + 4 * (head - 3)
    count = value >> 4 & ((1 << width) - 1) if coded else value >> 4 if form & 1 else value >> 3
    if count > most:
        return LITERALS_MANY, at, 0, 0
    begin = at + head
    stop = begin + (value >> (4 + width) if coded else count if kind == z.RAW else 1)
    if stop > end:
        return LITERALS_CUT, at, 0, 0
    if kind == z.RAW:
        if stop + MARGIN <= p.shape[0]:
            return 0, stop, begin, count
        copy_bytes(literals, 0, p, begin, count)
        return 0, stop, 0, count
    if kind == z.RLE:
        for k in range(0, count, 64):
            splat64(literals, k, p[begin])
        return 0, stop, 0, count
    if kind == z.COMPRESSED:
        begin = huffman(p, begin, stop, tree, weights, counts, tables, seen)
        state[TREE_IS] = begin != 0
        state[PAIRS_ARE] = 0
        if begin == 0:
            return TREE, at, 0, 0
    if state[TREE_IS] == 0:
        return NO_TREE, at, 0, 0
    if form == 0:
        left = _closed(p, begin, stop)
        return 0 if left >= 0 and _rest_of_stream(p, begin, left, tree, literals, 0, count) else LITERALS_BITS, stop, 0, count
    if count < 6 or begin + 10 > stop:
        return LITERALS_BITS, at, 0, 0
    wanted = 2 if count >= PAIRS_FROM else 1
    if state[PAIRS_ARE] < wanted:
        make_pairs(tree, pairs, wanted == 2)
        state[PAIRS_ARE] = wanted
    return 0 if four_streams(p, begin, stop, tree, pairs, literals, count) else LITERALS_BITS, stop, 0, count


# ------------------------------------------------------------------------------------------------------------- sequences
@fast
def tables_of(p, at, end, state, tables, counts, seen):
    """The three tables of a block with sequences, made where they are new: (error, place behind them)."""
    if at >= end or p[at] & 3:
        return SEQUENCES_CUT, at
    modes = np.int64(p[at])
    at += 1
    for k in range(3):
        mode = modes >> (6 - 2 * k) & 3
        if mode == z.PREDEFINED:
            state[ROWS + k], state[LOGS + k] = 3 + k, DEFAULT_LOG[k]
        elif mode == z.ONE_SYMBOL:
            if at >= end or p[at] >= FIRST[k + 1] - FIRST[k]:
                return TABLE, at
            s = FIRST[k] + np.int64(p[at])
            tables[k * ROW] = np.uint64(BASE[s]) | np.uint64(EXTRA[s]) << np.uint64(56)
            state[ROWS + k], state[LOGS + k] = k, 0
            at += 1
        elif mode == z.OWN_TABLE:
            stop, log, n = distribution(p, at, end, FIRST[k + 1] - FIRST[k], LOG_MOST[k], counts)
            if stop == 0:
                return TABLE, at
            build(counts, n, log, k, tables, k * ROW, seen)
            state[ROWS + k], state[LOGS + k] = k, log
            at = stop
        elif state[ROWS + k] < 0:
            return NO_TABLE, at
    return 0, at


@fast
def copy_match(d, to, offset, length, room):
    """d[to : to + length] = d[to - offset : ...], byte after byte; vectors may reach up to `room`."""
    if to + length + 64 > room:
        for i in range(to, to + length):
            d[i] = d[i - offset]
    elif offset >= 16:
        copy16(d, to, d, to - offset)
        if length > 16:
            if offset >= 64:
                for i in range(16, length, 64):
                    copy64(d, to + i, d, to - offset + i)
            else:
                for i in range(16, length, 16):
                    copy16(d, to + i, d, to - offset + i)
    elif offset == 1:
        for i in range(0, length, 64):
            splat64(d, to + i, d[to - 1])
    else:
        whole = offset         # a multiple of the offset that a vector of 16 fits in
        while whole < 16:
            whole += offset
        for i in range(to, to + min(length, whole)):
            d[i] = d[i - offset]
        for i in range(whole, length, 16):
            copy16(d, to + i, d, to - whole + i)


@fast
def execute(p, at, end, count, source, lit, lits, d, start, op, stop, room, state, tables):
    """d[op:stop] = what so many sequences make of the literals source[lit:lits]: (error, lit and op behind them). start: of the frame's content.
    Long: one loop, whose state is kept in registers."""
    left = _closed(p, at, end)
    row_ll, row_of, row_ml = ROW * state[ROWS], ROW * state[ROWS + 1], ROW * state[ROWS + 2]
    log_ll, log_of, log_ml = state[LOGS], state[LOGS + 1], state[LOGS + 2]
    if left < log_ll + log_of + log_ml:
        return SEQUENCES_BITS, lit, op
    bits, one, mask = _window(p, at, left), np.uint64(1), np.uint64(0xFFFFFFFF)
    s_ll = np.int64(bits >> one >> np.uint64(63 - log_ll))
    bits <<= np.uint64(log_ll)
    s_of = np.int64(bits >> one >> np.uint64(63 - log_of))
    bits <<= np.uint64(log_of)
    s_ml = np.int64(bits >> one >> np.uint64(63 - log_ml))
    left -= log_ll + log_of + log_ml
    first, second, third = state[OFFSETS], state[OFFSETS + 1], state[OFFSETS + 2]
    far, near = source.shape[0] - 32, room - 64
    for k in range(count):
        ll, of, ml = tables[np.uint64(row_ll + s_ll)], tables[np.uint64(row_of + s_of)], tables[np.uint64(row_ml + s_ml)]
        bits = _window(p, at, left)
        n_of, n_ml, n_ll = of >> np.uint64(56), ml >> np.uint64(56), ll >> np.uint64(56)
        extra = n_of + n_ml + n_ll
        left -= np.int64(extra)
        if left < 0:
            return SEQUENCES_BITS, lit, op
        value = np.int64((of & mask) + (bits >> one >> (np.uint64(63) - n_of)))
        if extra <= np.uint64(30):          # and 26 bits for the states behind it
            match = np.int64((ml & mask) + (bits << n_of >> one >> (np.uint64(63) - n_ml)))
            length = np.int64((ll & mask) + (bits << (n_of + n_ml) >> one >> (np.uint64(63) - n_ll)))
            bits <<= extra
        else:
            bits = _window(p, at, left + np.int64(n_ml + n_ll))
            match = np.int64((ml & mask) + (bits >> one >> (np.uint64(63) - n_ml)))
            length = np.int64((ll & mask) + (bits << n_ml >> one >> (np.uint64(63) - n_ll)))
            bits = _window(p, at, left)
        if k < count - 1:
            n_ll, n_ml, n_of = ll >> np.uint64(48) & np.uint64(15), ml >> np.uint64(48) & np.uint64(15), of >> np.uint64(48) & np.uint64(15)
            s_ll = np.int64((ll >> np.uint64(32) & np.uint64(0xFFFF)) + (bits >> one >> (np.uint64(63) - n_ll)))
            s_ml = np.int64((ml >> np.uint64(32) & np.uint64(0xFFFF)) + (bits << n_ll >> one >> (np.uint64(63) - n_ml)))
            s_of = np.int64((of >> np.uint64(32) & np.uint64(0xFFFF)) + (bits << (n_ll + n_ml) >> one >> (np.uint64(63) - n_of)))
            left -= np.int64(n_ll + n_ml + n_of)
            if left < 0:
                return SEQUENCES_BITS, lit, op
        if value > 3:
            first, second, third = value - 3, first, second
        else:
            which = value - (length > 0)
            if which == 1:
                first, second = second, first
            elif which > 1:
                first, second, third = third if which == 2 else first - 1, first, second
        if length > lits - lit:
            return LITERALS_OUT, lit, op
        if length + match > stop - op:
            return BLOCK_BYTES, lit, op
        if first <= 0 or first > op + length - start:
            return BAD_OFFSET, lit, op
        if op <= near - length and lit + length <= far:
            copy16(d, op, source, lit)
            if length > 16:
                for i in range(16, length, 32):
                    copy32(d, op + i, source, lit + i)
        else:
            copy_bytes(d, op, source, lit, length)
        lit += length
        op += length
        if first >= 16 and op <= near - match:      # most of them; the rest is called
            copy16(d, op, d, op - first)
            if match > 16:
                copy_match(d, op + 16, first, match - 16, room)
        else:
            copy_match(d, op, first, match, room)
        op += match
    if left != 0:
        return SEQUENCES_BITS, lit, op
    state[OFFSETS], state[OFFSETS + 1], state[OFFSETS + 2] = first, second, third
    return 0, lit, op


@fast
def count_of(p, at, end):
    """(how many sequences, where what follows begins); -1: it is cut."""
    if at >= end:
        return -1, at
    count = np.int64(p[at])
    head = 1 + (count >= 128) + (count == 255)
    if at + head > end:
        return -1, at
    if head == 2:
        count = (count - 128 << 8) + np.int64(p[at + 1])
    elif head == 3:
        count = np.int64(p[at + 1]) + (np.int64(p[at + 2]) << 8) + 0x7F00
    return (-1 if count == 0 and at + head != end else count), at + head


# ----------------------------------------------------------------------------------------------------------------- frame
@fast
def frame_header(p, at, end, n):
    """(error, place of the first block, most bytes of a block, whether a checksum follows)."""
    if end - at < 5 or be32(p, at) != 0x28B52FFD:
        return FRAME_HEADER, at, 0, False
    flags = np.int64(p[at + 4])
    single, named = flags >> 5 & 1, (flags & 3) + (flags & 3 == 3)
    sized = 1 << (flags >> 6) if flags >> 6 else single
    place = at + 6 - single
    if place + named + sized > end or flags & 8:
        return FRAME_HEADER, at, 0, False
    window = n
    if not single:
        if p[at + 5] >> 3 > 21:
            return FRAME_HEADER, at + 5, 0, False
        window = (8 + (np.int64(p[at + 5]) & 7)) << (7 + (np.int64(p[at + 5]) >> 3))
    for k in range(named):
        if p[place + k]:
            return DICTIONARY, place, 0, False
    place += named
    content = np.uint64(256) if sized == 2 else np.uint64(0)
    for k in range(sized):
        content += np.uint64(p[place + k]) << np.uint64(8 * k)
    if sized and content != np.uint64(n):
        return CONTENT_SIZE, place, 0, False
    return 0, place + sized, min(window, z.MOST_BLOCK), flags & 4 != 0


@fast
def unzstd(p, at, end, d, start, n, room, state, tree, pairs, tables, literals, weights, counts, seen):
    """d[start : start + n] = the frame p[at:end]; 0, or what is wrong and where. room: the end of what may be overwritten in d.
    Long: numba compiles all that a function calls anew with it, so that few levels of calls are compiled in less time."""
    error, place, most, checksum = frame_header(p, at, end, n)
    if error:
        return error, place
    for k in range(3):
        state[OFFSETS + k], state[ROWS + k] = z.FIRST_OFFSETS[k], -1
    state[TREE_IS] = 0
    op, last, stop = start, False, start + n
    while not last:
        if end - place < 3:
            return BLOCK_CUT, place
        head = np.int64(p[place]) | np.int64(p[place + 1]) << 8 | np.int64(p[place + 2]) << 16
        last, kind, size = head & 1 != 0, head >> 1 & 3, head >> 3
        begin, here = place + 3, place
        place = begin + (1 if kind == z.RLE else size)
        if kind == z.RESERVED:
            return BLOCK_TYPE, here
        if place > end:
            return BLOCK_CUT, here
        if size > most or (kind != z.COMPRESSED and size > stop - op):
            return BLOCK_BYTES, here
        if kind == z.RAW:
            copy_bytes(d, op, p, begin, size)
            op += size
        elif kind == z.RLE:
            fill(d, op, np.int64(p[begin]), size)
            op += size
        else:
            limit, done = min(op + most, stop), op
            error, at, lit, many = literals_of(p, begin, place, limit - op, state, tree, pairs, tables, literals, weights, counts, seen)
            if error:
                return error, at
            sequences, at = count_of(p, at, place)
            if sequences < 0:
                return SEQUENCES_CUT, at
            source = p if lit > 0 else literals
            lits = lit + many
            if sequences:
                error, at = tables_of(p, at, place, state, tables, counts, seen)
                if error:
                    return error, at
                error, lit, op = execute(p, at, place, sequences, source, lit, lits, d, start, op, limit, room, state, tables)
                if error:
                    return error, at
            if lits - lit > limit - op:
                return BLOCK_BYTES, here
            copy_bytes(d, op, source, lit, lits - lit)
            op += lits - lit
            if op == done:
                return NOTHING, here
    if op != stop:
        return CONTENT_SHORT, place
    if end - place != (4 if checksum else 0):
        return FRAME_TAIL, place
    if checksum and be32(p, place) != xxh64(d, start, n):
        return CHECKSUM, place
    return 0, place


ONE, TWO, THREE, FOUR, FIVE = (np.uint64(k) for k in (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5))


@fast
def _turned(x, by):
    return x << np.uint64(by) | x >> np.uint64(64 - by)


@fast
def _taken(lane, word):
    return _turned(lane + word * TWO, 31) * ONE


@fast
def xxh64(d, at, n):
    """The low 32 bits of XXH64 of d[at : at + n] with seed 0, as the four bytes of a checksum, read by be32."""
    end, value = at + n, FIVE
    if n >= 32:
        a, b, c, e = ONE + TWO, TWO, np.uint64(0), np.uint64(0) - ONE
        while at + 32 <= end:
            a, b = _taken(a, load64(d, at)), _taken(b, load64(d, at + 8))
            c, e = _taken(c, load64(d, at + 16)), _taken(e, load64(d, at + 24))
            at += 32
        value = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(e, 18)
        for lane in (a, b, c, e):
            value = (value ^ _taken(np.uint64(0), lane)) * ONE + FOUR
    value += np.uint64(n)
    while at + 8 <= end:
        value = _turned(value ^ _taken(np.uint64(0), load64(d, at)), 27) * ONE + FOUR
        at += 8
    if at + 4 <= end:
        word = np.uint64(d[at]) | np.uint64(d[at + 1]) << np.uint64(8) | np.uint64(d[at + 2]) << np.uint64(16) | np.uint64(d[at + 3]) << np.uint64(24)
        value = _turned(value ^ word * ONE, 23) * TWO + THREE
        at += 4
    while at < end:
        value = _turned(value ^ np.uint64(d[at]) * FIVE, 11) * ONE
        at += 1
    value = (value ^ value >> np.uint64(33)) * TWO
    value = (value ^ value >> np.uint64(29)) * THREE
    low = np.int64((value ^ value >> np.uint64(32)) & np.uint64(0xFFFFFFFF))
    return (low & 255) << 24 | (low >> 8 & 255) << 16 | (low >> 16 & 255) << 8 | low >> 24


# ---------------------------------------------------------------------------------------------------------------- chunks
@fast
def framing(p, size, element, frame_bytes):
    """(error, place, bytes of a block) of a filter-32008 chunk's header."""
    if size < 12 or size > p.shape[0]:
        return CHUNK_HEADER, size, BLOCK
    if be32(p, 0) << 32 | be32(p, 4) != frame_bytes:
        return CHUNK_RAW, 0, BLOCK
    return (CHUNK_BLOCK if be32(p, 8) == 0 or be32(p, 8) % (8 * element) else 0), 8, be32(p, 8)


@fast
def _item(f, s, spans, payload, sizes, element, kind, code, planes, found):
    """Span s of the blocks of frame f: one block if it is a single zstd frame. found[f, s] = the first error, its block and place. Every span walks by all
    lengths before its own. Long: as unzstd."""
    state, tree, pairs = np.zeros(STATE, np.int64), np.empty(2048, np.uint16), np.empty(2048, np.uint32)
    tables, literals = np.empty(7 * ROW, np.uint64), np.empty(z.MOST_BLOCK + MARGIN, np.uint8)
    weights, counts, seen = np.empty(512, np.uint8), np.empty(260, np.int64), np.empty(260, np.int64)
    for k in range(3):
        for i in range(DEFAULT_FIRST[k], DEFAULT_FIRST[k + 1]):
            counts[i - DEFAULT_FIRST[k]] = DEFAULT[i]
        build(counts, DEFAULT_FIRST[k + 1] - DEFAULT_FIRST[k], DEFAULT_LOG[k], k, tables, (3 + k) * ROW, seen)
    p, raw, size, bits = payload[f], code[f], np.int64(sizes[f]), kind == BITSHUFFLE
    usable = raw.shape[0] // (8 * element) * (8 * element) if bits else raw.shape[0]
    error, where, length, at = 0, 0, usable, 0
    if bits:
        error, where, length = framing(p, size, element, raw.shape[0])
        at = 12
    elif size > p.shape[0]:
        error = FRAME_HEADER
    total = (usable + length - 1) // length if length else 0
    first, last, b, bad = total * s // spans, total * (s + 1) // spans, 0, 0
    buffer, spare = np.empty(min(max(length, 0), z.MOST_BLOCK) + MARGIN, np.uint8), np.empty((2, 512), np.uint8)
    while error == 0 and b < last:
        stop = size
        if bits:
            if size - at < 4 or be32(p, at) > size - at - 4:
                error, bad, where = LENGTH_CUT if size - at < 4 else LENGTH_OUT, b, at
                break
            stop = at + 4 + be32(p, at)
            at += 4
        if b >= first:
            begin, n, d, start = length * b, min(length, usable - length * b), buffer, 0
            room = buffer.shape[0]
            if kind == SHUFFLE and element == 1:
                d, room = raw, n
            elif n > z.MOST_BLOCK:
                d, start, room = planes[f], begin, begin + n if bits else planes.shape[1]     # the next block may be another thread's
            wrong, place = unzstd(p, at, stop, d, start, n, room, state, tree, pairs, tables, literals, weights, counts, seen)
            if wrong:
                fill(raw, begin, 0, n)
                if found[f, s, 0] == 0:
                    found[f, s, 0], found[f, s, 1], found[f, s, 2] = wrong, b, place
            elif kind != SHUFFLE:
                part = z.MOST_BLOCK if kind == PLANES else n
                whole = n // (8 * element) * (8 * element)
                for k in range(0, whole, part):
                    unshuffle(d, start + k, min(part, whole - k), element, raw, begin + k, spare)
                copy_bytes(raw, begin + whole, d, start + whole, n - whole)
            elif element > 1:
                join_planes(d, n // element, element, raw)
        at = stop
        b += 1
    if error:
        begin = max(length * min(b, total), length * first) if b else 0
        fill(raw, min(begin, usable), 0, max(min(length * last, usable) - begin, 0) if s < spans - 1 else max(usable - begin, 0))
    if bits and s == spans - 1:
        tail = raw.shape[0] - usable
        if error == 0 and size - at >= tail:
            copy_bytes(raw, usable, p, at, tail)
        else:
            fill(raw, usable, 0, tail)
        if error == 0 and size - at != tail:
            error, bad, where = CHUNK_TAIL, total, at
    if error and found[f, s, 0] == 0:
        found[f, s, 0], found[f, s, 1], found[f, s, 2] = error, bad, where


def decode_frames(payload, sizes, element, kinds, code, planes, spans, found):
    """Fill code (n, bytes) u8; kinds (n,) i64; found (n, spans, 3), zeros before: of each span (error, block, place), 0 = none. planes: MARGIN bytes longer
    a frame than code."""
    share(_items, code.shape[0] * spans, payload, sizes, element, kinds, code, planes, spans, found)


@njit(cache=True, nogil=True, error_model="numpy")
def _items(begin, end, payload, sizes, element, kinds, code, planes, spans, found):
    for item in range(begin, end):
        _item(item // spans, item % spans, spans, payload, sizes, element, kinds[item // spans], code, planes, found)
