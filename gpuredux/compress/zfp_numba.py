"""The bits of zfp streams for numba, both ways. Over 200 lines: what is written and what is read stand side by side; the transform is in zfp_lanes.py."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only
from .words_numba import I1, I32, I64, leading_zeros, lent, load64, store64, trailing_zeros
from .zfp_lanes import (
    ACC,
    CODED,
    FILL,
    FULL,
    HEADS,
    LANES,
    LONG,
    ONE,
    PLANES,
    SCALES,
    SHORT,
    TOPS,
    WAITED,
    WAITING,
    N,
    _each,
    _resized,
    _Rows,
    fast,
    planes_coded,
    scale_word,
    to_planes,
    to_values,
)

TOP = np.uint64(63)
BLOCK_CUT, BLOCK_BITS, PADDING = 1, 2, 3    # what can be wrong with a stream; zfp_decode.REASONS has the words
ALONE = 1 << 18     # bytes of frames for which no thread is woken
inlined = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)       # once a block, with one caller: a call's ten to twenty arguments cost more


def _runs(builder, x, n, size, first):
    """The code of what follows the first n bits of a plane, behind those: the code, its length, the new n."""
    number = lambda v: ir.Constant(SHORT, [v] * LANES)  # noqa: E731
    any_of = get_or_insert_function(builder.module, ir.FunctionType(I32, [SHORT]), "llvm.vector.reduce.or.v16i32")
    zeros_of = get_or_insert_function(builder.module, ir.FunctionType(SHORT, [SHORT, I1]), "llvm.cttz.v16i32")
    more = lambda y: builder.icmp_unsigned("!=", builder.call(any_of, [y]), ir.Constant(I32, 0))  # noqa: E731
    rest, before = builder.lshr(x, n), builder.block
    loop, after = builder.append_basic_block("runs"), builder.append_basic_block("ran")
    builder.cbranch(more(rest), loop, after)
    builder.position_at_end(loop)
    y, code, length, m = phis = [builder.phi(SHORT) for _ in range(4)]
    found = builder.icmp_unsigned("!=", y, number(0))
    zeros = builder.and_(builder.call(zeros_of, [y, ir.Constant(I1, 0)]), number(31))       # of what is not found nothing is used
    step = builder.add(zeros, number(1))
    passed = builder.add(m, step)
    inside = builder.icmp_unsigned("<", passed, size)       # else its one is understood
    run = builder.or_(number(1), builder.select(inside, builder.shl(number(2), zeros), number(0)))
    longer = builder.add(builder.add(length, step), builder.zext(inside, SHORT))
    values = [builder.select(found, builder.lshr(builder.lshr(y, zeros), number(1)), number(0)),
              builder.or_(code, builder.select(found, builder.shl(run, length), number(0))),
              builder.select(found, longer, length), builder.select(found, passed, m)]
    for phi, start, value in zip(phis, (rest, first, n, n), values, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    builder.cbranch(more(values[0]), loop, after)
    builder.position_at_end(after)
    done = [builder.phi(SHORT) for _ in range(3)]
    for phi, start, value in zip(done, (first, n, n), values[1:], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, loop)
    return done


@intrinsic
def code_plane(typingctx, codes, k, size, turn):
    """Plane k of 16 blocks of up to 16 values, behind what waits in ACC: its first N bits as they are, then runs of zeros that end in a one, each
    behind a 1, then a 0 if there is more of the plane. Only of blocks that have `turn` planes or more. Gives the most bits that wait."""

    def codegen(context, builder, sig, args):
        rows = _Rows(context, builder, sig.args[0], args[0])
        row = lambda k: rows.load(ir.Constant(I64, k))  # noqa: E731
        active = builder.icmp_unsigned(">=", row(CODED), _each(builder, args[3], LONG))
        none, one = ir.Constant(SHORT, [0] * LANES), ir.Constant(SHORT, [1] * LANES)
        x = builder.select(active, _resized(builder, rows.load(builder.add(args[1], ir.Constant(I64, PLANES))), SHORT), none)
        n, size = _resized(builder, row(N), SHORT), _each(builder, builder.trunc(args[2], I32), SHORT)
        code, length, m = _runs(builder, x, n, size, builder.and_(x, builder.sub(builder.shl(one, n), one)))
        length = builder.add(length, builder.zext(builder.icmp_unsigned("<", m, size), SHORT))
        fill = row(FILL)
        acc = builder.or_(row(ACC), builder.shl(_resized(builder, builder.select(active, code, none), LONG), fill))
        fill = builder.add(fill, _resized(builder, builder.select(active, length, none), LONG))
        for value, at in ((acc, ACC), (fill, FILL), (_resized(builder, m, LONG), N)):
            rows.store(value, ir.Constant(I64, at))
        most = get_or_insert_function(builder.module, ir.FunctionType(I64, [LONG]), "llvm.vector.reduce.umax.v16i64")
        return builder.call(most, [fill])

    return types.int64(codes, types.int64, types.int64, types.int64), codegen


# ----------------------------------------------------------------------------------------------------------- encoder
@fast
def put(out, acc, fill, at, code, length):
    """Append `length` <= 64 bits (code has no others): the bits that wait, how many (< 64), the byte for the next 64."""
    acc |= code << np.uint64(fill)
    fill += length
    if fill >= 64:
        store64(out, at, acc)
        at += 8
        fill -= 64
        acc = (code >> ONE) >> np.uint64(length - fill - 1)
    return acc, fill, at


@fast
def put_zeros(out, acc, fill, at, length):
    while length > 0:
        some = min(length, 64)
        acc, fill, at = put(out, acc, fill, at, np.uint64(0), some)
        length -= some
    return acc, fill, at


@fast
def put_some(out, acc, fill, at, code, length, left):
    """put, but at most `left` bits."""
    if length > left:
        length = left
        code &= (ONE << np.uint64(left)) - ONE      # left < 64
    acc, fill, at = put(out, acc, fill, at, code, length)
    return acc, fill, at, left - length


@fast
def _code_wide(codes, lane, top, lowest, prec, left, out, acc, fill, at):
    """The planes prec - 1 down to `lowest` of one block of 64 values, in at most `left` bits; there is no one above plane top."""
    zeros = min(prec - 1 - max(top, lowest - 1), left)
    acc, fill, at = put_zeros(out, acc, fill, at, zeros)
    left -= zeros
    n = 0
    for k in range(top, lowest - 1, -1):
        if left == 0:
            break
        x = codes[LANES * (PLANES + k) + lane]
        if n == 64:
            acc, fill, at, left = put_some(out, acc, fill, at, x, 64, left)
            continue
        acc, fill, at, left = put_some(out, acc, fill, at, x & (ONE << np.uint64(n)) - ONE, n, left)
        x >>= np.uint64(n)
        while n < 64:
            zeros, code, length = trailing_zeros(x), np.uint64(0), 1
            if x != 0:
                n += zeros + 1
                length = zeros + 2 if n < 64 else zeros + 1      # the last word's one is understood
                code = ONE | (np.uint64(2) << np.uint64(zeros) if n < 64 else np.uint64(0))
            acc, fill, at, left = put_some(out, acc, fill, at, code, length, left)
            if x == 0:
                break
            x = (x >> np.uint64(zeros)) >> ONE
    return acc, fill, at, left


@fast
def _flush(codes, row):
    """What waits becomes a row of bits that waited; the fewest bits of a block that has any planes."""
    least = np.uint64(1 << 20)
    for lane in range(LANES):
        waits = codes[LANES * FILL + lane]
        codes[LANES * (WAITING + row) + lane] = codes[LANES * ACC + lane]
        codes[LANES * (WAITING + WAITED + row) + lane] = waits
        least = min(least, waits) if codes[LANES * CODED + lane] else least
    codes[LANES * ACC : LANES * N] = 0
    return np.int64(least)


@fast
def _code_rows(codes, size, prec, maxbits):
    """All planes of 16 blocks of up to 16 values; how many rows of bits that waited. Stops where all blocks have maxbits."""
    coded, any_bit = np.uint64(0), np.uint64(0)
    for lane in range(LANES):
        coded = max(coded, codes[LANES * CODED + lane])
        any_bit |= codes[LANES * TOPS + lane]
    if coded == 0:
        return 0
    empty, coded = min(leading_zeros(any_bit) - 64 + prec, 32), np.int64(coded)     # the first planes: no block has any one there
    codes[: LANES * (N + 1)] = 0
    for lane in range(LANES):
        codes[LANES * FILL + lane] = min(empty, np.int64(codes[LANES * CODED + lane]))
    row, sure, most = 0, 0, 1
    for turn in range(empty + 1, coded + 1):
        most = code_plane(codes, np.int64(prec - turn), np.int64(size), np.int64(turn))
        if most > 33:
            sure += _flush(codes, row)
            row, most = row + 1, 0
            if sure >= maxbits:
                break
    if most > 0:
        _flush(codes, row)
        row += 1
    return row


@fast
def _lane_out(codes, taken, lane, head_bits, prec, size, minbits, maxbits, out, acc, fill, at):
    """One block; the bits it took."""
    left, coded = maxbits, np.int64(codes[LANES * CODED + lane])
    if head_bits > 0:
        length = head_bits if coded > 0 else 1
        acc, fill, at = put(out, acc, fill, at, codes[LANES * HEADS + lane] if coded > 0 else np.uint64(0), length)
        left -= length
    if coded > 0 and size == 64:
        top = 63 - leading_zeros(codes[LANES * TOPS + lane])
        acc, fill, at, left = _code_wide(codes, lane, top, prec - coded, prec, left, out, acc, fill, at)
    elif coded > 0:
        for row in range(taken):
            length = np.int64(codes[LANES * (WAITING + WAITED + row) + lane])
            acc, fill, at, left = put_some(out, acc, fill, at, codes[LANES * (WAITING + row) + lane], length, left)
    if maxbits - left < minbits:
        acc, fill, at = put_zeros(out, acc, fill, at, minbits - maxbits + left)
        left = maxbits - minbits
    return acc, fill, at, maxbits - left


@fast
def _encode_frame(frames, f, works, codes, order, params, floating, check, side, out, block_bits):
    """The stream of one frame: its bytes. frames, works: each as words of 32 and of 64 bits, of which params says which are meant."""
    codes, out = lent(codes), lent(out)
    axes, size, minbits, maxbits, prec = params[:3], params[4], params[5], params[6], params[9]
    down, across = (axes[1] + 3) >> 2, (axes[2] + 3) >> 2
    head_bits = (9 if prec == 32 else 12) if floating else 0
    acc, fill, at, block = np.uint64(0), 0, 0, 0
    for row in range(((axes[0] + 3) >> 2) * down):
        for first in range(0, across, LANES):
            if prec == 32:
                to_planes(frames[0][f], works[0][f], order, params, floating, check, row // down, row % down, first, codes)
            else:
                to_planes(frames[1][f], works[1][f], order, params, floating, check, row // down, row % down, first, codes)
            taken = _code_rows(codes, size, prec, maxbits) if size < 64 else 0
            for lane in range(min(LANES, across - first)):
                acc, fill, at, used = _lane_out(codes, taken, lane, head_bits, prec, size, minbits, maxbits, out, acc, fill, at)
                if side:
                    block_bits[block] = used
                block += 1
    if fill > 0:
        store64(out, at, acc)
        at += 8
    return at


def both_widths(x, spare):
    """An array of words as words of 32 and of 64 bits, an empty one for the width that it does not have."""
    return (x, spare.view(np.uint64)) if x.itemsize == 4 else (spare.view(np.uint32), x)


def each_frame(run, n, nbytes):
    """run(f) for all frames."""
    def part(first, last):
        for f in range(first, last):
            run(f)

    if nbytes < ALONE:
        part(0, n)
    else:
        share(part, n)


def encode_frames(frames, work, codes, order, params, floating, check, side, payload, sizes, block_bits):
    """Streams of all frames (n, pixels) of words. work (n, LANE_WORDS): BAD is not 0 where a value cannot be held, WORST the largest errors."""
    n, order = len(frames), order[params[3] - 1]
    spare = np.zeros((n, 2), np.uint32)
    pairs, works = both_widths(frames, read_only(spare)), both_widths(work, spare)

    def run(f):
        sizes[f] = _encode_frame(pairs, f, works, codes[f], order, params, floating, check, side, payload[f], block_bits[f])

    each_frame(run, n, frames.nbytes)


# ----------------------------------------------------------------------------------------------------------- decoder
@fast
def _bits64(p, at):
    """64 bits from bit `at` on: they lie in 9 bytes."""
    low, high, shift = load64(p, at >> 3), np.uint64(p[(at >> 3) + 8]), np.uint64(at & 7)
    return low >> shift | (high << ONE) << (TOP - shift)


@fast
def _bit(p, at):
    return np.int64(p[at >> 3]) >> (at & 7) & 1


@fast
def _plane_slowly(p, at, n, size, left):
    """One plane bit by bit, in at most `left` bits: the plane, n, and how many bits; one more than left if it needs more."""
    x, used = np.uint64(0), min(n, left)
    for i in range(used):
        x |= np.uint64(_bit(p, at + i)) << np.uint64(i)
    if used < n:
        return x, n, left + 1
    while n < size:
        if used == left:
            return x, n, left + 1
        used += 1
        if _bit(p, at + used - 1) == 0:
            break
        while n < size - 1:
            if used == left:
                return x | ONE << np.uint64(n), n + 1, left + 1
            used += 1
            if _bit(p, at + used - 1):
                break
            n += 1
        x |= ONE << np.uint64(n)
        n += 1
    return x, n, used


LOOK = 10       # bits of a code that are looked up at once


def _run_words() -> np.ndarray:
    """The way back, of the next LOOK bits: plane | bits of the plane << 16 | bits of the code << 24; 31 bits of the plane: the code goes on beyond them."""
    table = np.full(1 << LOOK, 31 << 16, np.uint32)
    for code in range(1 << LOOK):
        plane, count, used = 0, 0, 0
        while used < LOOK and code >> used & 1:
            rest = code >> used + 1
            zeros = (rest & -rest).bit_length() - 1 if rest else LOOK
            plane |= 1 << min(count + zeros, LOOK)
            count, used = count + zeros + 1, used + zeros + 2
        if used < LOOK:
            table[code] = plane | count << 16 | used + 1 << 24
    return table


RUN_WORDS = _run_words()


@fast
def _runs_in(word, x, n, size):
    """The runs of one plane, from the bits that follow its first n: the plane, the new n, how many bits."""
    used = 0
    while n < size:
        if word & ONE == 0:
            return x, n, used + 1
        zeros = trailing_zeros(word >> ONE)
        if zeros >= size - 1 - n:       # the last word's one is understood
            return x | ONE << np.uint64(size - 1), size, used + size - n
        used += zeros + 2
        n += zeros + 1
        x |= ONE << np.uint64(n - 1)
        word = (word >> ONE >> np.uint64(zeros)) >> ONE
    return x, n, used


@fast
def _wide_plane(p, at, n):
    """One plane of 64 bits, where bits are plenty: the plane, n, how many bits."""
    word, used = _bits64(p, at), n
    x = word & FULL >> np.uint64(64 - n) if n > 0 else np.uint64(0)
    while n < 64:
        word = _bits64(p, at + used)
        if word & ONE == 0:
            used += 1
            break
        zeros = min(trailing_zeros(word >> ONE), 63 - n)
        used += zeros + 2 if zeros < 63 - n else zeros + 1
        n += zeros + 1
        x |= ONE << np.uint64(n - 1)
    return x, n, used


@inlined
def _quick_planes(p, at, plenty, planes, lane, size, top, lowest):
    """Planes of one block of up to 16 values from plane top down, as long as bits are plenty: the next plane, n, the next bit."""
    n, k = 0, top
    if at > plenty:
        return k, n, at
    word, have, ahead = load64(p, at >> 3) >> np.uint64(at & 7), 56 - (at & 7), (at >> 3) + 7       # `have` bits of word count; the rest comes twice
    word &= (ONE << np.uint64(have)) - ONE
    used = min(trailing_zeros(word | ONE << np.uint64(20)), k - lowest + 1)     # planes before the first one: a 0 each
    k, at, have, low = k - used, at + used, have - used, np.uint64((1 << LOOK) - 1)
    word >>= np.uint64(used)
    while k >= lowest and at <= plenty:
        rest = word >> np.uint64(n)     # 25 bits of word or more count, for a plane takes up to 31: n and those that are looked up
        found = np.int64(RUN_WORDS[rest & low])
        word |= load64(p, ahead) << np.uint64(have)     # now 56 or more
        ahead += (63 - have) >> 3
        have |= 56
        x = word & ((ONE << np.uint64(n)) - ONE)
        count, used = found >> 16 & 31, n + (found >> 24)
        if n + count < size:
            x |= np.uint64(found & 0xFFFF) << np.uint64(n)
            n += count
        elif n < size:
            x, more, used = _runs_in(word >> np.uint64(n), x, n, size)
            used, n = used + n, more
        else:
            used = n
        word >>= np.uint64(used)
        have -= used
        at += used
        planes[np.uint64(LANES * k + lane)] = x
        k -= 1
    return k, n, at


@inlined
def _lane_in(p, at, left, end, planes, lane, size, prec, coded):
    """The planes of one block, in at most `left` bits from bit `at` on: how many it took, one more than left if it needs more. end: of the stream."""
    n, begin, stop, k, lowest = 0, at, at + left, prec - 1, prec - coded
    plenty = min(stop, end - 160) - 2 * size - 1
    if size < 64:
        k, n, at = _quick_planes(p, at, plenty, planes, lane, size, k, lowest)
    while k >= lowest and at <= stop:
        if size == 64 and at <= plenty:
            x, n, used = _wide_plane(p, at, n)
        else:
            x, n, used = _plane_slowly(p, at, n, size, stop - at)
        at += used
        planes[LANES * k + lane] = x
        k -= 1
    return at - begin


@inlined
def _head(p, at, left, end, head_bits):
    """The exponent's field, -1 for a block of zeros, and the bits it took; one more than left if that is too few."""
    if left >= head_bits and at + 72 <= end:
        word = _bits64(p, at)
        return (np.int64(word >> ONE) & ((1 << (head_bits - 1)) - 1), head_bits) if word & ONE else (-1, 1)
    if left < 1:
        return 0, left + 1
    if _bit(p, at) == 0:
        return -1, 1
    if left < head_bits:
        return 0, left + 1
    field = 0
    for i in range(1, head_bits):
        field |= _bit(p, at + i) << (i - 1)
    return field, head_bits


@inlined
def _block_in(p, at, room, end, codes, lane, params, floating):
    """One block of at most `room` bits: how many it took, one more than room if it needs more."""
    rank, size, maxprec, minexp, prec = params[3], params[4], params[7], params[8], params[9]
    head, bias, head_bits = 0, 127 if prec == 32 else 1023, 9 if prec == 32 else 12
    exponent = 0
    if floating:
        field, head = _head(p, at, room, end, head_bits)
        if field < 0 or head > room:
            return head
        exponent = field - bias
        codes[LANES * SCALES + lane] = scale_word(exponent, prec)
    coded = planes_coded(exponent, prec, rank, maxprec, minexp, floating)
    return head + _lane_in(p, at + head, room - head, end, codes, LANES * PLANES + lane, size, prec, coded)


@fast
def _decode_frame(p, size_bytes, block_bits, side, order, params, floating, frames, f, works, codes):
    """One frame: what is wrong, in which block, at which bit. Long: one batch of blocks goes through all stages."""
    p, codes = lent(p), lent(codes)
    axes, minbits, maxbits, prec = params[:3], params[5], params[6], params[9]
    down, across = (axes[1] + 3) >> 2, (axes[2] + 3) >> 2
    end, known = 8 * size_bytes if size_bytes <= p.shape[0] else 0, side or minbits == maxbits
    at, block, error, bad, where = 0, 0, 0, 0, 0
    for row in range(((axes[0] + 3) >> 2) * down):
        for first in range(0, across, LANES):
            codes[LANES * PLANES : LANES * (PLANES + prec)] = 0
            codes[LANES * SCALES : LANES * WAITING] = 0     # blocks of zeros say none, and what lies there may be NaN
            for lane in range(min(LANES, across - first)):
                room = maxbits if minbits == maxbits else np.int64(block_bits[block]) if side else end - at
                wrong = BLOCK_CUT if at <= end and at + room > end else 0
                if at <= end and wrong == 0:
                    used = _block_in(p, at, room, end, codes, lane, params, floating)
                    if side and used != room:
                        wrong = BLOCK_BITS
                    elif used > room and minbits != maxbits:
                        wrong = BLOCK_CUT
                    room = room if known else used
                if wrong:
                    codes[LANES * PLANES + lane : LANES * (PLANES + prec) : LANES] = 0
                    if error == 0:
                        error, bad, where = wrong, block, at
                at = end + 1 if wrong == BLOCK_CUT or at > end else at + room       # end + 1: nothing fits from here on
                block += 1
            if prec == 32:
                to_values(frames[0][f], works[0][f], order, params, floating, row // down, row % down, first, codes)
            else:
                to_values(frames[1][f], works[1][f], order, params, floating, row // down, row % down, first, codes)
    if error == 0:
        left = end - at
        for k in range(at, end if left < 64 else at):
            left += 64 * _bit(p, k)
        if left >= 64:
            error, bad, where = PADDING, block, at
    return error, bad, where


def decode_frames(payload, sizes, block_bits, side, order, params, floating, frames, work, codes):
    """Fill frames (n, pixels) of words; for each (what is wrong, block, bit), the first thing, 0 = nothing. work (n, LANE_WORDS)."""
    n, order = len(frames), order[params[3] - 1]
    found, spare = np.zeros((n, 3), np.int64), np.zeros((n, 2), np.uint32)
    pairs, works = both_widths(frames, spare), both_widths(work, spare)

    def run(f):
        found[f] = _decode_frame(payload[f], int(sizes[f]), block_bits[f], side, order, params, floating, pairs, f, works, codes[f])

    each_frame(run, n, frames.nbytes)
    return found
