"""zfp streams for numba, both ways: 16 blocks of a row at a time. Over 200 lines: the vector instructions and the two loops they serve are read together.

A batch of blocks lies in rows of LANES words: row i holds value i of each block. What all blocks do alike (lifting, turning words into bit planes)
are plain LLVM vectors of a row (no instruction of one processor by name); only the bits of a plane are coded block by block.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES = 16
ROWS = 64                           # of the largest block
SCALE, MASK, MOST, ANY, BAD, WORST, VALID = (3 * ROWS + k for k in range(7))      # rows of one number a block, behind values, coefficients, planes
LANE_WORDS = (3 * ROWS + 7) * LANES     # of scratch a frame
ACC, FILL, N = 0, 1, 2      # rows of the coder: bits that wait, how many, how many words of a block were not 0 so far; behind them such bits, such numbers
WAITED = 36                 # rows of each: at most 1051 bits a block of 16 values, of which 34 or more go at once
CODE_WORDS = (3 + 2 * WAITED) * LANES
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE, TOP = np.uint64(1), np.uint64(63)
I1, I8, I64 = (ir.IntType(k) for k in (1, 8, 64))
fast = njit(cache=True, nogil=True, error_model="numpy")

BLOCK_CUT, BLOCK_BITS, PADDING = 1, 2, 3    # what can be wrong with a stream; zfp_decode.REASONS has the words


# ------------------------------------------------------------------------------------------------- vector instructions
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

    two, three, four = lambda _, w, a: typed(w), lambda _, w, a, b: typed(w), lambda _, w, a, b, c: typed(w)
    return intrinsic({1: two, 2: three, 3: four, 4: lambda _, w, a, b, c, d: typed(w), 5: lambda _, w, a, b, c, d, e: typed(w)}[arity])


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


@intrinsic
def code_plane(typingctx, w, at, shift, k, size, codes):
    """One plane of 16 blocks of up to 16 values, behind what waits in ACC of codes: its first N bits as they are, then runs of zeros that end
    in a one, each behind a 1, then a 0 if there is more of the plane. The plane: bits from `shift` on of row `at`; blocks whose MASK has no bit k
    have none. Gives the most bits that wait."""

    def codegen(context, builder, sig, args):
        rows, out = _Rows(context, builder, sig.args[0], args[0]), _Rows(context, builder, sig.args[5], args[5])
        short = ir.VectorType(ir.IntType(32), LANES)
        each = lambda v, kind: builder.shuffle_vector(  # noqa: E731
            builder.insert_element(ir.Constant(kind, ir.Undefined), v, ir.Constant(ir.IntType(32), 0)), ir.Constant(kind, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))
        narrow = lambda v: v if v.type == short else builder.trunc(v, short)  # noqa: E731
        number = lambda v: ir.Constant(short, [v] * LANES)  # noqa: E731
        word = lambda v: builder.trunc(v, rows.word) if rows.bits < 64 else v  # noqa: E731
        x = builder.and_(narrow(builder.lshr(rows.load(args[1]), each(word(args[2]), rows.vector))), number(0xFFFF))
        active = builder.icmp_unsigned("!=", builder.and_(builder.lshr(rows.load(ir.Constant(I64, MASK)), each(word(args[3]), rows.vector)),
                                                          rows.all(1)), rows.all(0))
        x = builder.select(active, x, number(0))
        n = narrow(out.load(ir.Constant(I64, N)))
        wide = each(builder.trunc(args[4], ir.IntType(32)), short)
        first = builder.and_(x, builder.sub(builder.shl(number(1), n), number(1)))
        before, loop, after = builder.block, builder.append_basic_block("runs"), builder.append_basic_block("ran")
        rest = builder.lshr(x, n)
        any_of = get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), [short]), "llvm.vector.reduce.or.v16i32")
        zeros_of = get_or_insert_function(builder.module, ir.FunctionType(short, [short, I1]), "llvm.cttz.v16i32")
        none = ir.Constant(ir.IntType(32), 0)
        builder.cbranch(builder.icmp_unsigned("!=", builder.call(any_of, [rest]), none), loop, after)
        builder.position_at_end(loop)
        y, code, length, m = (builder.phi(short) for _ in range(4))
        found = builder.icmp_unsigned("!=", y, number(0))
        zeros = builder.and_(builder.call(zeros_of, [y, ir.Constant(I1, 0)]), number(31))       # what is not found is not used
        passed = builder.add(m, builder.add(zeros, number(1)))
        inside = builder.icmp_unsigned("<", passed, wide)       # else the one is understood
        run = builder.or_(number(1), builder.select(inside, builder.shl(number(2), zeros), number(0)))
        run = builder.select(found, builder.shl(run, length), number(0))
        longer = builder.add(builder.add(length, builder.add(zeros, number(1))), builder.zext(inside, short))
        values = (builder.lshr(builder.lshr(y, zeros), number(1)), builder.or_(code, run), builder.select(found, longer, length),
                  builder.select(found, passed, m))
        y2 = builder.select(found, values[0], number(0))
        again = builder.icmp_unsigned("!=", builder.call(any_of, [y2]), none)
        for phi, start, value in zip((y, code, length, m), (rest, first, n, n), (y2, *values[1:]), strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, builder.block)
        loop_end = builder.block
        builder.cbranch(again, loop, after)
        builder.position_at_end(after)
        done = []
        for start, value in zip((first, n, n), values[1:], strict=True):
            phi = builder.phi(short)
            phi.add_incoming(start, before)
            phi.add_incoming(value, loop_end)
            done.append(phi)
        code, length, m = done
        length = builder.add(length, builder.zext(builder.icmp_unsigned("<", m, wide), short))
        length = builder.select(active, length, number(0))
        acc, fill = out.load(ir.Constant(I64, ACC)), out.load(ir.Constant(I64, FILL))
        acc = builder.or_(acc, builder.shl(builder.zext(code, out.vector), fill))
        fill = builder.add(fill, builder.zext(length, out.vector))
        for value, row in ((acc, ACC), (fill, FILL), (builder.zext(m, out.vector), N)):
            out.store(value, ir.Constant(I64, row))
        most = get_or_insert_function(builder.module, ir.FunctionType(I64, [out.vector]), "llvm.vector.reduce.umax.v16i64")
        return builder.call(most, [fill])

    return types.int64(w, types.int64, types.uint64, types.uint64, types.int64, codes), codegen


def _byte_at(context, builder, ty, array, index):
    data = context.make_array(ty)(context, builder, array).data
    return builder.bitcast(builder.gep(builder.bitcast(data, I8.as_pointer()), [index]), I64.as_pointer())


@intrinsic
def load64(typingctx, p, at):
    """8 bytes from byte `at` on."""

    def codegen(context, builder, sig, args):
        value = builder.load(_byte_at(context, builder, sig.args[0], args[0], args[1]))
        value.align = 1
        return value

    return types.uint64(p, types.int64), codegen


@intrinsic
def store64(typingctx, p, at, word):
    """word to 8 bytes from byte `at` on."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _byte_at(context, builder, sig.args[0], args[0], args[1]), align=1)
        return context.get_dummy_value()

    return types.void(p, types.int64, types.uint64), codegen


def _counter(name):
    @intrinsic
    def count(typingctx, x):
        def codegen(context, builder, sig, args):
            kind = ir.FunctionType(I64, [I64, I1])
            return builder.call(get_or_insert_function(builder.module, kind, name), [args[0], ir.Constant(I1, 0)])

        return types.int64(types.uint64), codegen

    return count


trailing_zeros, leading_zeros = _counter("llvm.cttz.i64"), _counter("llvm.ctlz.i64")      # 64 for 0


# ----------------------------------------------------------------------------------------------------------- bits out
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
def plane_of(planes, lane, k):
    """Bit i of 64: bit k of word i."""
    x = np.uint64(0)
    for g in range(4):
        x |= (np.uint64(planes[LANES * (16 * g + (k & 15)) + lane]) >> np.uint64(16 * (k >> 4)) & np.uint64(0xFFFF)) << np.uint64(16 * g)
    return x


@fast
def code_wide(planes, lane, top, lowest, prec, left, out, acc, fill, at):
    """The planes prec - 1 down to `lowest` of one block of 64 values, in at most `left` bits; there is no one above plane top."""
    zeros = min(prec - 1 - max(top, lowest - 1), left)
    acc, fill, at = put_zeros(out, acc, fill, at, zeros)
    left -= zeros
    n = 0
    for k in range(top, lowest - 1, -1):
        if left == 0:
            break
        x = plane_of(planes, lane, k)
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


# ----------------------------------------------------------------------------------------------------------- encoder
@fast
def _planes_coded(exponent, prec, rank, maxprec, minexp, floating):
    """How many bit planes of a block are coded."""
    if floating:
        maxprec = min(maxprec, max(0, exponent - minexp + 2 * (rank + 1)))
    return min(maxprec, prec)


@fast
def _flush(w, codes, row):
    """What waits becomes a row of codes; the fewest bits of a block that has any planes."""
    least = np.uint64(1 << 20)
    for lane in range(LANES):
        waits = codes[LANES * FILL + lane]
        codes[LANES * (3 + row) + lane] = codes[LANES * ACC + lane]
        codes[LANES * (3 + WAITED + row) + lane] = waits
        least = min(least, waits) if w[LANES * MASK + lane] else least
    codes[: LANES * N] = 0
    return np.int64(least)


@fast
def _code_rows(w, codes, size, prec, maxbits):
    """All planes of 16 blocks of up to 16 values; how many rows of codes they take. Stops where all blocks have maxbits."""
    any_mask, any_bit = np.uint64(0), np.uint64(0)
    for lane in range(LANES):
        any_mask |= np.uint64(w[LANES * MASK + lane])
        any_bit |= np.uint64(w[LANES * ANY + lane])
    if any_mask == 0:
        return 0
    empty, lowest = min(leading_zeros(any_bit) - 64 + prec, 32), trailing_zeros(any_mask)      # the first planes: no block has any one there
    codes[: LANES * (N + 1)] = 0
    for lane in range(LANES):
        mask = np.uint64(w[LANES * MASK + lane])
        codes[LANES * FILL + lane] = min(empty, prec - trailing_zeros(mask)) if mask else 0
    row, sure, most = 0, 0, 1
    for k in range(prec - 1 - empty, lowest - 1, -1):
        most = code_plane(w, np.int64(2 * ROWS + (k & 15)), np.uint64(16 * (k >> 4)), np.uint64(k), np.int64(size), codes)
        if most > 33:
            sure += _flush(w, codes, row)
            row, most = row + 1, 0
            if sure >= maxbits:
                break
    if most > 0:
        _flush(w, codes, row)
        row += 1
    return row


@fast
def _lane_out(w, codes, taken, lane, coded, head, head_bits, prec, size, minbits, maxbits, out, acc, fill, at):
    """One block; the bits it took."""
    left = maxbits
    if head_bits > 0:
        length = head_bits if coded > 0 else 1
        acc, fill, at = put(out, acc, fill, at, head if coded > 0 else np.uint64(0), length)
        left -= length
    if coded > 0 and size == 64:
        top = 63 - leading_zeros(np.uint64(w[LANES * ANY + lane]))
        acc, fill, at, left = code_wide(w[LANES * 2 * ROWS : LANES * 3 * ROWS], lane, top, prec - coded, prec, left, out, acc, fill, at)
    elif coded > 0:
        for row in range(taken):
            length = np.int64(codes[LANES * (3 + WAITED + row) + lane])
            acc, fill, at, left = put_some(out, acc, fill, at, codes[LANES * (3 + row) + lane], length, left)
    if maxbits - left < minbits:
        acc, fill, at = put_zeros(out, acc, fill, at, minbits - maxbits + left)
        left = maxbits - minbits
    return acc, fill, at, maxbits - left


@fast
def _to_planes(frame, w, order, params, floating, check, bz, by, first):
    """Values of 16 blocks to coefficients: the exponent, how many planes of each block count (MASK), and the error that this makes."""
    axes, rank, size, maxprec, minexp = params[:3], params[3], params[4], params[7], params[8]
    prec = 8 * w.itemsize
    mantissa, bias = (23, 127) if prec == 32 else (52, 1023)
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
    for lane in range(LANES):
        most = np.uint64(w[LANES * MOST + lane])
        exponent = np.int64(most >> np.uint64(mantissa)) + 1 - bias
        coded = _planes_coded(exponent, prec, rank, maxprec, minexp, floating)
        coded = 0 if floating and most == 0 else coded
        w[LANES * MASK + lane] = (FULL << np.uint64(prec - coded)) if coded > 0 else np.uint64(0)
        w[LANES * SCALE + lane] = scale_word(exponent, prec)
    if check:
        backward(w, order, rank, size)
        largest_error(w, size >> 2, axes, bz, by, first)
    if size == 4:
        w[LANES * (2 * ROWS + 4) : LANES * (2 * ROWS + 16)] = 0
    for g in range((size + 15) >> 4):
        transpose(w, np.int64(2 * ROWS + 16 * g))


@fast
def _encode_frame(frame, w, codes, order, params, floating, check, side, out, block_bits):
    """The stream of one frame: its bytes."""
    axes, size, minbits, maxbits = params[:3], params[4], params[5], params[6]
    prec, down, across = 8 * w.itemsize, (axes[1] + 3) >> 2, (axes[2] + 3) >> 2
    mantissa, head_bits = (23, 9) if prec == 32 else (52, 12)
    head_bits = head_bits if floating else 0
    acc, fill, at, block = np.uint64(0), 0, 0, 0
    w[LANES * BAD :] = 0
    for row in range(((axes[0] + 3) >> 2) * down):
        for first in range(0, across, LANES):
            _to_planes(frame, w, order, params, floating, check, row // down, row % down, first)
            taken = _code_rows(w, codes, size, prec, maxbits) if size < 64 else 0
            for lane in range(min(LANES, across - first)):
                mask = np.uint64(w[LANES * MASK + lane])
                coded = prec - min(trailing_zeros(mask), prec)
                head = (np.uint64(w[LANES * MOST + lane]) >> np.uint64(mantissa) << ONE) + np.uint64(3)
                acc, fill, at, used = _lane_out(w, codes, taken, lane, coded, head, head_bits, prec, size, minbits, maxbits, out, acc, fill, at)
                if side:
                    block_bits[block] = used
                block += 1
    if fill > 0:
        store64(out, at, acc)
        at += 8
    return at


def read_only(x):
    """The same array: numba compiles once for what is written and once for what is not."""
    x = x.view()
    x.setflags(write=False)
    return x


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def _encode_frames(frames, work, codes, order, params, floating, check, side, payload, sizes, block_bits):
    for f in prange(frames.shape[0]):
        sizes[f] = _encode_frame(frames[f], work[f], codes[f], order[params[3] - 1], params, floating, check, side, payload[f], block_bits[f])


def encode_frames(frames, work, codes, order, params, floating, check, side, payload, sizes, block_bits):
    """Streams of all frames (n, pixels) of words. work (n, LANE_WORDS): BAD is not 0 where a value cannot be held, WORST the largest errors."""
    if len(frames) == 1:    # it wakes no thread
        sizes[0] = _encode_frame(frames[0], work[0], codes[0], order[params[3] - 1], params, floating, check, side, payload[0], block_bits[0])
    else:
        _encode_frames(frames, work, codes, order, params, floating, check, side, payload, sizes, block_bits)


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


LOOK = 11       # bits of a code that are looked up at once


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


@fast
def _quick_planes(p, at, plenty, u, lane, size, top, lowest):
    """Planes of one block of up to 16 values from plane top down, as long as bits are plenty: the next plane, n, the next bit."""
    n, k = 0, top
    if at > plenty:
        return k, n, at
    word, have, ahead = load64(p, at >> 3) >> np.uint64(at & 7), 56 - (at & 7), (at >> 3) + 7       # `have` bits of word count; the rest comes twice
    word &= (ONE << np.uint64(have)) - ONE
    low = np.uint64((1 << LOOK) - 1)
    while k >= lowest and at <= plenty:
        word |= load64(p, ahead) << np.uint64(have)
        ahead += (63 - have) >> 3
        have |= 56
        x = word & ((ONE << np.uint64(n)) - ONE)
        rest = word >> np.uint64(n)
        found = np.int64(RUN_WORDS[rest & low])
        count, used = found >> 16 & 31, n + (found >> 24)
        if n + count < size:
            x |= np.uint64(found & 0xFFFF) << np.uint64(n)
            n += count
        elif n < size:
            x, more, used = _runs_in(rest, x, n, size)
            used += n
            n = more
        else:
            used = n
        word >>= np.uint64(used)
        have -= used
        at += used
        u[LANES * (k & 15) + lane] |= x << np.uint64(16 * (k >> 4))
        k -= 1
    return k, n, at


@fast
def _lane_in(p, at, left, end, u, lane, size, prec, coded):
    """The planes of one block to u, in at most `left` bits from bit `at` on: how many it took, one more than left if it needs more. end: of the stream."""
    n, begin, stop, k, lowest = 0, at, at + left, prec - 1, prec - coded
    plenty = min(stop, end - 160) - 2 * size - 1
    if size < 64:
        k, n, at = _quick_planes(p, at, plenty, u, lane, size, k, lowest)
    while k >= lowest and at <= stop:
        if size == 64 and at <= plenty:
            x, n, used = _wide_plane(p, at, n)
        else:
            x, n, used = _plane_slowly(p, at, n, size, stop - at)
        at += used
        shift, row = np.uint64(16 * (k >> 4)), LANES * (k & 15) + lane
        u[row] |= (x & np.uint64(0xFFFF)) << shift
        if size == 64:
            for g in range(1, 4):
                u[16 * LANES * g + row] |= (x >> np.uint64(16 * g) & np.uint64(0xFFFF)) << shift
        k -= 1
    return at - begin


@fast
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


@fast
def _block_in(p, at, room, end, w, lane, params, prec, floating):
    """One block of at most `room` bits: how many it took, one more than room if it needs more."""
    rank, size, maxprec, minexp = params[3], params[4], params[7], params[8]
    head, bias, head_bits = 0, 127 if prec == 32 else 1023, 9 if prec == 32 else 12
    exponent = 0
    if floating:
        field, head = _head(p, at, room, end, head_bits)
        if field < 0 or head > room:
            return head
        exponent = field - bias
        w[LANES * SCALE + lane] = scale_word(exponent, prec)
    coded = _planes_coded(exponent, prec, rank, maxprec, minexp, floating)
    return head + _lane_in(p, at + head, room - head, end, w[LANES * 2 * ROWS : LANES * 3 * ROWS], lane, size, prec, coded)


@fast
def _clear(w, lane):
    for i in range(ROWS):
        w[LANES * (2 * ROWS + i) + lane] = 0


@fast
def _to_values(frame, w, order, params, floating, bz, by, first):
    """Bit planes of 16 blocks to what they decode to, in the frame."""
    rank, size = params[3], params[4]
    for g in range((size + 15) >> 4):
        transpose(w, np.int64(2 * ROWS + 16 * g))
    backward(w, order, rank, size)
    for i in range(size if floating else 0):
        to_floats(w, np.int64(ROWS + i), np.int64(SCALE))
    scatter(frame, size >> 2, params[:3], bz, by, first, w)


@fast
def _decode_frame(p, size_bytes, block_bits, side, order, params, floating, frame, w):
    """One frame: what is wrong, in which block, at which bit. Long: one batch of blocks goes through all stages."""
    axes, size, minbits, maxbits = params[:3], params[4], params[5], params[6]
    prec, down, across = 8 * w.itemsize, (axes[1] + 3) >> 2, (axes[2] + 3) >> 2
    end, known = 8 * size_bytes if size_bytes <= p.shape[0] else 0, side or minbits == maxbits
    at, block, error, bad, where = 0, 0, 0, 0, 0
    w[LANES * MASK : LANES * MOST] = FULL >> np.uint64(64 - prec)
    for row in range(((axes[0] + 3) >> 2) * down):
        for first in range(0, across, LANES):
            w[LANES * 2 * ROWS : LANES * (2 * ROWS + max(size, 16))] = 0
            w[LANES * SCALE : LANES * MASK] = 0     # blocks of zeros say none, and what lies there may be NaN
            for lane in range(min(LANES, across - first)):
                room = maxbits if minbits == maxbits else np.int64(block_bits[block]) if side else end - at
                wrong = BLOCK_CUT if at <= end and at + room > end else 0
                if at <= end and wrong == 0:
                    used = _block_in(p, at, room, end, w, lane, params, prec, floating)
                    if side and used != room:
                        wrong = BLOCK_BITS
                    elif used > room and minbits != maxbits:
                        wrong = BLOCK_CUT
                    room = room if known else used
                if wrong:
                    _clear(w, lane)
                    if error == 0:
                        error, bad, where = wrong, block, at
                at = end + 1 if wrong == BLOCK_CUT or at > end else at + room       # end + 1: nothing fits from here on
                block += 1
            _to_values(frame, w, order, params, floating, row // down, row % down, first)
    if error == 0:
        left = end - at
        for k in range(at, end if left < 64 else at):
            left += 64 * _bit(p, k)
        if left >= 64:
            error, bad, where = PADDING, block, at
    return error, bad, where


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def _decode_frames(payload, sizes, block_bits, side, order, params, floating, frames, work, found):
    for f in prange(frames.shape[0]):
        found[f, 0], found[f, 1], found[f, 2] = _decode_frame(
            payload[f], np.int64(sizes[f]), block_bits[f], side, order[params[3] - 1], params, floating, frames[f], work[f])


def decode_frames(payload, sizes, block_bits, side, order, params, floating, frames, work):
    """Fill frames (n, pixels) of words; for each (what is wrong, block, bit), the first thing, 0 = nothing. work (n, LANE_WORDS)."""
    found = np.zeros((len(frames), 3), np.int64)
    if len(frames) == 1:    # it wakes no thread
        found[0] = _decode_frame(payload[0], int(sizes[0]), block_bits[0], side, order[params[3] - 1], params, floating, frames[0], work[0])
    else:
        _decode_frames(payload, sizes, block_bits, side, order, params, floating, frames, work, found)
    return found
