"""zfp's transform for numba, both ways, of 16 blocks at a time. Over 200 lines: the vector instructions and the loops they serve are read together.

A batch of blocks lies in rows of LANES words: row i holds value i of each block. What all blocks do alike are plain LLVM vectors of a row (no
instruction of one processor by name: where the machine has no such registers, LLVM splits them). Words are of 32 or 64 bits, as the frame's values;
between here and zfp_numba, which codes bits and knows no width, stand bit planes: 64 bits a plane and block.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .words_numba import I32, I64, leading_zeros

LANES = 16
ROWS = 64                           # of the largest block
SCALE, MASK, MOST, ANY, BAD, WORST, VALID = (3 * ROWS + k for k in range(7))      # rows of one number a block, behind values, coefficients, planes
LANE_WORDS = (3 * ROWS + 7) * LANES     # of scratch a frame
# The other scratch, of 64-bit words: bits that wait, how many, how many words of a block were not 0 so far; the planes that are coded, the exponent's bits,
# the highest plane that is not 0, a decoder's scale; then rows of bits that waited, of their numbers, and the planes from the lowest on.
ACC, FILL, N, CODED, HEADS, TOPS, SCALES, WAITING = range(8)
WAITED = 36                 # at most 1051 bits a block of 16 values, of which 34 or more go at once
PLANES = WAITING + 2 * WAITED
CODE_WORDS = (PLANES + ROWS) * LANES
FULL, ONE = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(1)
SHORT, LONG = ir.VectorType(I32, LANES), ir.VectorType(I64, LANES)
fast = njit(cache=True, nogil=True, error_model="numpy")


class _Rows:
    """The rows of an array of words as LLVM vectors, and what is known of the words."""

    def __init__(self, context, builder, ty, array) -> None:
        self.builder, bits = builder, ty.dtype.bitwidth
        self.bits, self.word = bits, ir.IntType(bits)
        self.vector, self.data = ir.VectorType(self.word, LANES), context.make_array(ty)(context, builder, array).data
        self.floats = ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), LANES)
        self.mantissa = 23 if bits == 32 else 52
        self.infinite = (1 << bits - 1) - (1 << self.mantissa)
        self.negabinary = self.all(0xAAAAAAAAAAAAAAAA >> (64 - bits))

    def _at(self, row):
        return self.builder.bitcast(self.builder.gep(self.data, [self.builder.mul(row, ir.Constant(I64, LANES))]), self.vector.as_pointer())

    def load(self, row):
        value = self.builder.load(self._at(row))
        value.align = self.bits // 8
        return value

    def store(self, value, row) -> None:
        self.builder.store(value, self._at(row), align=self.bits // 8)

    def all(self, number):
        return ir.Constant(self.vector, [number] * LANES)

    def larger(self, x, y):
        return self.builder.select(self.builder.icmp_unsigned(">", x, y), x, y)

    def as_float(self, row, scale):
        """A row of whole numbers times a row of floats."""
        return self.builder.fmul(self.builder.sitofp(self.load(row), self.floats), self.builder.bitcast(self.load(scale), self.floats))


def _of_rows(body):
    """body(rows, builder, *row numbers) as a function of numba: f(words, *row numbers), which gives nothing back."""
    arity = body.__code__.co_argcount - 2

    def codegen(context, builder, sig, args):
        body(_Rows(context, builder, sig.args[0], args[0]), builder, *args[1:])
        return context.get_dummy_value()

    def typed(w):
        return types.void(w, *[types.int64] * arity), codegen

    return intrinsic({1: lambda _, w, a: typed(w), 2: lambda _, w, a, b: typed(w), 3: lambda _, w, a, b, c: typed(w),
                      5: lambda _, w, a, b, c, d, e: typed(w)}[arity])


def _four(builder, at, step):
    return [at, *(builder.add(at, builder.mul(ir.Constant(I64, k), step)) for k in (1, 2, 3))]


@_of_rows
def lift(rows, builder, at, step):
    """zfp's forward transform of the rows at, at + step, at + 2 step, at + 3 step."""
    places = _four(builder, at, step)
    x, y, z, w = (rows.load(k) for k in places)
    one, add, sub, half = rows.all(1), builder.add, builder.sub, builder.ashr
    x = half(add(x, w), one)
    w = sub(w, x)
    z = half(add(z, y), one)
    y = sub(y, z)
    x = half(add(x, z), one)
    z = sub(z, x)
    w = half(add(w, y), one)
    y = sub(y, w)
    w = add(w, half(y, one))
    y = sub(y, half(w, one))
    for k, value in zip(places, (x, y, z, w), strict=True):
        rows.store(value, k)


@_of_rows
def unlift(rows, builder, at, step):
    """The way back of lift."""
    places = _four(builder, at, step)
    x, y, z, w = (rows.load(k) for k in places)
    one, add, sub, half = rows.all(1), builder.add, builder.sub, builder.ashr
    y = add(y, half(w, one))
    w = sub(w, half(y, one))
    y = add(y, w)
    w = sub(add(w, w), y)
    z = add(z, x)
    x = sub(add(x, x), z)
    y = add(y, z)
    z = sub(add(z, z), y)
    w = add(w, x)
    x = sub(add(x, x), w)
    for k, value in zip(places, (x, y, z, w), strict=True):
        rows.store(value, k)


@_of_rows
def transpose(rows, builder, at):
    """16 rows from row `at` on, in each 16 bits of a word: bit j of row p becomes bit p of row j. Twice is nothing."""
    places = [builder.add(at, ir.Constant(I64, k)) for k in range(16)]
    v = [rows.load(k) for k in places]
    for step, mask in ((8, 0x00FF), (4, 0x0F0F), (2, 0x3333), (1, 0x5555)):
        keep, shift = rows.all(sum(mask << k for k in range(0, rows.bits, 16))), rows.all(step)
        for k in range(16):
            if not k & step:
                low, high = v[k], v[k + step]
                other = builder.and_(builder.xor(builder.lshr(low, shift), high), keep)
                v[k + step] = builder.xor(high, other)
                v[k] = builder.xor(low, builder.shl(other, shift))
    for k, value in zip(places, v, strict=True):
        rows.store(value, k)


@_of_rows
def finite(rows, builder, at, most, bad):
    """NaN and Inf of a row become 0, and bad not 0; most: the largest |x| so far, as words."""
    x = rows.load(at)
    size = builder.and_(x, rows.all((1 << rows.bits - 1) - 1))
    lost = builder.icmp_unsigned(">=", size, rows.all(rows.infinite))
    rows.store(builder.select(lost, rows.all(0), x), at)
    rows.store(rows.larger(builder.select(lost, rows.all(0), size), rows.load(most)), most)
    rows.store(builder.or_(rows.load(bad), builder.sext(lost, rows.vector)), bad)


@_of_rows
def fixed(rows, builder, at, to, most):
    """A row of finite floats as whole numbers, truncated, of which 2**(bits - 2) is the power of two above `most`."""
    x, zero, one, mantissa = rows.load(at), rows.all(0), rows.all(1), rows.all(rows.mantissa)
    exponent = builder.lshr(builder.and_(x, rows.all(rows.infinite)), mantissa)
    normal = builder.icmp_unsigned("!=", exponent, zero)
    hidden = builder.select(normal, rows.all(1 << rows.mantissa), zero)
    value = builder.or_(builder.and_(x, rows.all((1 << rows.mantissa) - 1)), hidden)
    down = builder.sub(builder.add(builder.lshr(rows.load(most), mantissa), one), builder.select(normal, exponent, one))
    down = builder.select(builder.icmp_unsigned("<", down, rows.all(rows.bits - 1)), down, rows.all(rows.bits - 1))
    value = builder.lshr(builder.shl(value, rows.all(rows.bits - 2 - rows.mantissa)), down)
    negative = builder.icmp_signed("<", x, zero)
    rows.store(builder.select(negative, builder.sub(zero, value), value), to)


@_of_rows
def within(rows, builder, at, to, bad):
    """A row of whole numbers as it is; bad is not 0 where one is beyond +-2**(bits - 2)."""
    x = rows.load(at)
    rows.store(x, to)
    rows.store(builder.or_(rows.load(bad), builder.lshr(builder.add(x, rows.all(1 << rows.bits - 2)), rows.all(rows.bits - 1))), bad)


@_of_rows
def to_negabinary(rows, builder, at, to, any_bit):
    """Base -2: (y + NB) ^ NB; any_bit collects what is set anywhere."""
    u = builder.xor(builder.add(rows.load(at), rows.negabinary), rows.negabinary)
    rows.store(u, to)
    rows.store(builder.or_(u, rows.load(any_bit)), any_bit)


@_of_rows
def from_negabinary(rows, builder, at, to, mask):
    """The way back, of the planes in mask."""
    u = builder.and_(rows.load(at), rows.load(mask))
    rows.store(builder.sub(builder.xor(u, rows.negabinary), rows.negabinary), to)


@_of_rows
def to_floats(rows, builder, at, scale):
    """A row of whole numbers times scale."""
    rows.store(builder.bitcast(rows.as_float(at, scale), rows.vector), at)


@_of_rows
def error_of(rows, builder, value, at, scale, valid, worst):
    """worst = the larger of it and |value - whole number * scale|, rounded up, where valid has ones. Words of floats >= 0 are in their order."""
    x, y, sub = builder.bitcast(rows.load(value), rows.floats), rows.as_float(at, scale), builder.fsub
    near = sub(x, y)
    back = sub(near, x)
    lost = builder.bitcast(sub(sub(x, sub(near, back)), builder.fadd(y, back)), rows.vector)    # what was rounded off, exactly (Knuth's two-sum)
    near, size = builder.bitcast(near, rows.vector), rows.all((1 << rows.bits - 1) - 1)
    up = builder.and_(builder.icmp_unsigned("!=", builder.and_(lost, size), rows.all(0)),
                      builder.icmp_signed(">=", builder.xor(near, lost), rows.all(0)))
    error = builder.and_(builder.and_(near, size), rows.load(valid))
    up = builder.and_(up, builder.icmp_unsigned("<", builder.and_(error, rows.load(valid)), rows.all(rows.infinite)))
    error = builder.add(error, builder.and_(builder.sext(up, rows.vector), builder.and_(rows.load(valid), rows.all(1))))
    rows.store(rows.larger(error, rows.load(worst)), worst)


def _line_of(context, builder, ty, array, at):
    """4 * LANES words of a frame, as one vector."""
    data = builder.gep(context.make_array(ty)(context, builder, array).data, [at])
    return builder.bitcast(data, ir.VectorType(ir.IntType(ty.dtype.bitwidth), 4 * LANES).as_pointer())


def _picked(builder, low, high, order):
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


@intrinsic
def take_line(typingctx, frame, at, w, row):
    """Words of 16 blocks, 4 a block, to the rows `row` to row + 3."""

    def codegen(context, builder, sig, args):
        rows = _Rows(context, builder, sig.args[2], args[2])
        line = builder.load(_line_of(context, builder, sig.args[0], args[0], args[1]))
        line.align = rows.bits // 8
        for k in range(4):
            rows.store(_picked(builder, line, line, list(range(k, 4 * LANES, 4))), builder.add(args[3], ir.Constant(I64, k)))
        return context.get_dummy_value()

    return types.void(frame, types.int64, w, types.int64), codegen


@intrinsic
def give_line(typingctx, frame, at, w, row):
    """The way back."""

    def codegen(context, builder, sig, args):
        rows = _Rows(context, builder, sig.args[2], args[2])
        v = [rows.load(builder.add(args[3], ir.Constant(I64, k))) for k in range(4)]
        pairs = [_picked(builder, v[k], v[k + 1], list(range(2 * LANES))) for k in (0, 2)]
        line = _picked(builder, *pairs, [LANES * (k & 3) + (k >> 2) for k in range(4 * LANES)])
        builder.store(line, _line_of(context, builder, sig.args[0], args[0], args[1]), align=rows.bits // 8)
        return context.get_dummy_value()

    return types.void(frame, types.int64, w, types.int64), codegen


def _each(builder, value, kind):
    """A number in all lanes."""
    none = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(none, value, ir.Constant(I32, 0)), none, ir.Constant(SHORT, [0] * LANES))


def _resized(builder, value, kind):
    """A vector of words as one of another width: cut, or filled with 0."""
    if value.type == kind:
        return value
    return builder.trunc(value, kind) if value.type == LONG else builder.zext(value, kind)


@intrinsic
def plane_out(typingctx, w, row, shift, codes, k, group):
    """16 bits of each word of a row, from `shift` on: to bits 16 group and on of plane k; group 0 clears the others."""

    def codegen(context, builder, sig, args):
        rows, planes = _Rows(context, builder, sig.args[0], args[0]), _Rows(context, builder, sig.args[3], args[3])
        _, row, shift, _, k, group = args
        bits = _resized(builder, builder.lshr(rows.load(row), _each(builder, shift if rows.bits == 64 else builder.trunc(shift, I32), rows.vector)), LONG)
        bits = builder.shl(builder.and_(bits, planes.all(0xFFFF)), _each(builder, builder.mul(group, ir.Constant(I64, 16)), LONG))
        at = builder.add(k, ir.Constant(I64, PLANES))
        first = builder.icmp_signed("==", group, ir.Constant(I64, 0))
        planes.store(builder.or_(bits, builder.select(first, planes.all(0), planes.load(at))), at)
        return context.get_dummy_value()

    return types.void(w, types.int64, types.int64, codes, types.int64, types.int64), codegen


@intrinsic
def plane_in(typingctx, w, row, codes, k, group):
    """The way back, of the planes k, k + 16 ... together: a whole row."""

    def codegen(context, builder, sig, args):
        rows, planes = _Rows(context, builder, sig.args[0], args[0]), _Rows(context, builder, sig.args[2], args[2])
        _, row, _, k, group = args
        shift, word = _each(builder, builder.mul(group, ir.Constant(I64, 16)), LONG), rows.all(0)
        for j in range(rows.bits // 16):
            bits = builder.lshr(planes.load(builder.add(k, ir.Constant(I64, PLANES + 16 * j))), shift)
            bits = _resized(builder, builder.and_(bits, planes.all(0xFFFF)), rows.vector)
            word = builder.or_(word, builder.shl(bits, rows.all(16 * j)))
        rows.store(word, row)
        return context.get_dummy_value()

    return types.void(w, types.int64, codes, types.int64, types.int64), codegen


# ------------------------------------------------------------------------------------------------- rows in, rows out
@fast
def line(length, block, k):
    """The index along an axis of value k of a block: beyond the end, values repeat as zfp does."""
    valid = min(length - 4 * block, 4)
    if k >= valid:
        k = 0 if k == 3 or valid == 1 else 1
    return 4 * block + k


@fast
def gather(frame, rows, axes, bz, by, first, w):
    """Rows 0 on of w: the values of 16 blocks from block `first` of a line of blocks on; lanes past the last block are 0."""
    nz, ny, nx = axes[0], axes[1], axes[2]
    lanes = min(LANES, (nx + 3) // 4 - first)
    for r in range(rows):
        row = (line(nz, bz, r >> 2) * ny + line(ny, by, r & 3)) * nx + 4 * first
        if 4 * (first + LANES) <= nx:
            take_line(frame, row, w, np.int64(4 * r))
        else:
            w[4 * LANES * r : 4 * LANES * (r + 1)] = 0
            for lane in range(lanes):
                for i in range(4):
                    w[LANES * (4 * r + i) + lane] = frame[row - 4 * first + line(nx, first + lane, i)]


@fast
def scatter(frame, rows, axes, bz, by, first, w):
    """The way back, from the coefficients' rows, of what lies in the frame."""
    nz, ny, nx = axes[0], axes[1], axes[2]
    for r in range(rows):
        if 4 * bz + (r >> 2) < nz and 4 * by + (r & 3) < ny:
            row = ((4 * bz + (r >> 2)) * ny + 4 * by + (r & 3)) * nx + 4 * first
            if 4 * (first + LANES) <= nx:
                give_line(frame, row, w, np.int64(ROWS + 4 * r))
            else:
                for k in range(nx - 4 * first):
                    frame[row + k] = w[LANES * (ROWS + 4 * r + (k & 3)) + (k >> 2)]


@fast
def scale_word(exponent, prec):
    """2**(exponent - (prec - 2)) as a decoder has it, the word of a float: a subnormal or 0 where it must be."""
    mantissa, bias = (23, 127) if prec == 32 else (52, 1023)
    e = exponent - (prec - 2) + bias
    if e > 0:
        return np.uint64(e) << np.uint64(mantissa)
    return ONE << np.uint64(mantissa - 1 + e) if mantissa - 1 + e >= 0 else np.uint64(0)


@fast
def forward(w, order, rank, size):
    """Lift the coefficients' rows; as negabinary words, in order, to the planes' rows."""
    step = 1
    for _ in range(rank):
        for r in range(size >> 2):
            lift(w, np.int64(ROWS + r // step * 4 * step + r % step), np.int64(step))
        step *= 4
    for i in range(size):
        to_negabinary(w, np.int64(ROWS + order[i]), np.int64(2 * ROWS + i), np.int64(ANY))


@fast
def backward(w, order, rank, size):
    """The way back, of the planes that MASK has."""
    for i in range(size):
        from_negabinary(w, np.int64(2 * ROWS + i), np.int64(ROWS + order[i]), np.int64(MASK))
    step = size >> 2
    for _ in range(rank):
        for r in range(size >> 2):
            unlift(w, np.int64(ROWS + r // step * 4 * step + r % step), np.int64(step))
        step >>= 2


@fast
def largest_error(w, rows, axes, bz, by, first):
    """WORST: the largest |value - decoded| so far, of what lies in the frame."""
    nz, ny, nx = axes[0], axes[1], axes[2]
    for r in range(rows):
        if 4 * bz + (r >> 2) < nz and 4 * by + (r & 3) < ny:
            for i in range(4):
                if 4 * (first + LANES) > nx or (r == 0 and i == 0):
                    for lane in range(LANES):
                        w[LANES * VALID + lane] = FULL if 4 * (first + lane) + i < nx else np.uint64(0)
                error_of(w, np.int64(4 * r + i), np.int64(ROWS + 4 * r + i), np.int64(SCALE), np.int64(VALID), np.int64(WORST))


@fast
def planes_coded(exponent, prec, rank, maxprec, minexp, floating):
    """How many bit planes of a block are coded."""
    if floating:
        maxprec = min(maxprec, max(0, exponent - minexp + 2 * (rank + 1)))
    return min(maxprec, prec)


@fast
def _limits(w, codes, params, floating, prec):
    """Which planes of each block are coded, for the coder, and for the rows MASK and SCALE; the lowest of all blocks."""
    rank, maxprec, minexp = params[3], params[7], params[8]
    mantissa, bias = (23, 127) if prec == 32 else (52, 1023)
    lowest = prec
    for lane in range(LANES):
        most = np.uint64(w[LANES * MOST + lane])
        exponent = np.int64(most >> np.uint64(mantissa)) + 1 - bias
        coded = planes_coded(exponent, prec, rank, maxprec, minexp, floating)
        coded = 0 if floating and most == 0 else coded
        w[LANES * MASK + lane] = (FULL << np.uint64(prec - coded)) if coded > 0 else np.uint64(0)
        w[LANES * SCALE + lane] = scale_word(exponent, prec)
        codes[LANES * CODED + lane] = coded
        codes[LANES * HEADS + lane] = np.uint64(2 * (exponent + bias) + 1)
        codes[LANES * TOPS + lane] = w[LANES * ANY + lane]
        lowest = min(lowest, prec - coded)
    return lowest


@fast
def to_planes(frame, w, order, params, floating, check, bz, by, first, codes):
    """Values of 16 blocks to bit planes, from the lowest that counts up to the highest that has any one, and the error that this makes (WORST)."""
    axes, rank, size, prec = params[:3], params[3], params[4], 8 * w.itemsize
    gather(frame, size >> 2, axes, bz, by, first, w)
    w[LANES * MOST : LANES * BAD] = 0       # MOST and ANY
    for i in range(size if floating else 0):
        finite(w, np.int64(i), np.int64(MOST), np.int64(BAD))
    for i in range(size):
        if floating:
            fixed(w, np.int64(i), np.int64(ROWS + i), np.int64(MOST))
        else:
            within(w, np.int64(i), np.int64(ROWS + i), np.int64(BAD))
    forward(w, order, rank, size)
    lowest = _limits(w, codes, params, floating, prec)
    if check:
        backward(w, order, rank, size)
        largest_error(w, size >> 2, axes, bz, by, first)
    if size == 4:
        w[LANES * (2 * ROWS + 4) : LANES * (2 * ROWS + 16)] = 0
    any_bit = np.uint64(0)
    for lane in range(LANES):
        any_bit |= codes[LANES * TOPS + lane]
    for g in range((size + 15) >> 4):
        transpose(w, np.int64(2 * ROWS + 16 * g))
        for k in range(lowest, max(64 - leading_zeros(any_bit), prec - 32)):       # the coder passes over 32 planes at most
            plane_out(w, np.int64(2 * ROWS + 16 * g + (k & 15)), np.int64(16 * (k >> 4)), codes, np.int64(k), np.int64(g))


@fast
def to_values(frame, w, order, params, floating, bz, by, first, codes):
    """Bit planes of 16 blocks to what they decode to, in the frame."""
    rank, size = params[3], params[4]
    for g in range((size + 15) >> 4):
        for k in range(16):
            plane_in(w, np.int64(2 * ROWS + 16 * g + k), codes, np.int64(k), np.int64(g))
        transpose(w, np.int64(2 * ROWS + 16 * g))
    for lane in range(LANES):
        w[LANES * MASK + lane], w[LANES * SCALE + lane] = FULL, codes[LANES * SCALES + lane]
    backward(w, order, rank, size)
    for i in range(size if floating else 0):
        to_floats(w, np.int64(ROWS + i), np.int64(SCALE))
    scatter(frame, size >> 2, params[:3], bz, by, first, w)
