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


def _run_codes() -> np.ndarray:
    """Of 8 bits of a plane behind the first n: [0] up to the last one among them, [1] all 8, more ones to come: code | its length << 16 | bits << 24.
    Each run of zeros and its one has a 1 in front."""
    table = np.zeros((2, 256), np.uint32)
    for more in (0, 1):
        for y in range(256):
            code, length, begins, count = 0, 0, True, 8 if more else y.bit_length()
            for bit in (y >> k & 1 for k in range(count)):
                code |= (1 | bit << 1 if begins else bit) << length
                length += 2 if begins else 1
                begins = bit == 1
            table[more, y] = code | length << 16 | count << 24
    return table


LOOK = 10       # bits of a code that are looked up at once


def _run_words() -> np.ndarray:
    """The way back, of the next LOOK bits: plane | bits of the plane << 12 | bits of the code << 16, 0 if the code goes on beyond them."""
    table = np.zeros(1 << LOOK, np.uint32)
    for code in range(1 << LOOK):
        plane, count, used = 0, 0, 0
        while used < LOOK and code >> used & 1:
            rest = code >> used + 1
            zeros = (rest & -rest).bit_length() - 1 if rest else LOOK
            plane |= 1 << min(count + zeros, LOOK)
            count, used = count + zeros + 1, used + zeros + 2
        if used < LOOK:
            table[code] = plane | count << 12 | used + 1 << 16
    return table


RUN_CODES, RUN_WORDS = _run_codes(), _run_words()


@fast
def plane_of(planes, lane, k, size):
    """Bit i: bit k of word i."""
    shift, at = np.uint64(16 * (k >> 4)), LANES * (k & 15) + lane
    x = np.uint64(planes[at]) >> shift & np.uint64(0xFFFF)
    if size == 64:
        for g in range(1, 4):
            x |= (np.uint64(planes[16 * LANES * g + at]) >> shift & np.uint64(0xFFFF)) << np.uint64(16 * g)
    return x


@fast
def runs_of(x, n, size):
    """What follows the first n < size bits of a plane of up to 16: the code, its length, the new n. x: the plane from bit n on."""
    low = np.int64(RUN_CODES[1 if x > np.uint64(255) else 0, x & np.uint64(255)])
    high = np.int64(RUN_CODES[0, x >> np.uint64(8)])
    inside = 1 - (np.int64(x) >> 7 & 1) if x > np.uint64(255) else 0        # the second byte begins inside of a run: no 1 in front
    code = np.uint64(low & 0xFFFF | (high & 0xFFFF) >> inside << (low >> 16 & 0xFF))
    length = (low >> 16 & 0xFF) + (high >> 16 & 0xFF) - inside
    n += (low >> 24) + (high >> 24)
    length += 1 if n < size else -1     # a 0 says that there is no more; the last bit's one is understood
    return code & (ONE << np.uint64(length)) - ONE, length, n


@fast
def code_planes(planes, lane, top, lowest, prec, size, left, out, acc, fill, at):
    """The planes prec - 1 down to `lowest` of one block, in at most `left` bits; there is no one above plane top."""
    zeros = min(prec - 1 - max(top, lowest - 1), left)
    acc, fill, at = put_zeros(out, acc, fill, at, zeros)
    left -= zeros
    n = 0
    for k in range(top, lowest - 1, -1):
        if left == 0:
            break
        x = plane_of(planes, lane, k, size)
        if size == 64:
            acc, fill, at, left, n = _wide_plane(x, n, left, out, acc, fill, at)
        elif n == size:
            acc, fill, at, left = put_some(out, acc, fill, at, x, n, left)
        else:
            code, length, more = runs_of(x >> np.uint64(n), n, size)
            code = x & (ONE << np.uint64(n)) - ONE | code << np.uint64(n)
            acc, fill, at, left = put_some(out, acc, fill, at, code, n + length, left)
            n = more
    return acc, fill, at, left


@fast
def _wide_plane(x, n, left, out, acc, fill, at):
    """One plane of 64 bits."""
    if n == 64:
        acc, fill, at, left = put_some(out, acc, fill, at, x, 64, left)
        return acc, fill, at, left, n
    acc, fill, at, left = put_some(out, acc, fill, at, x & (ONE << np.uint64(n)) - ONE, n, left)
    x >>= np.uint64(n)
    while n < 64:
        if x == 0:
            acc, fill, at, left = put_some(out, acc, fill, at, x, 1, left)
            break
        zeros = trailing_zeros(x)
        n += zeros + 1
        code = ONE | (np.uint64(2) << np.uint64(zeros) if n < 64 else np.uint64(0))      # the last word's one is understood
        acc, fill, at, left = put_some(out, acc, fill, at, code, zeros + 2 if n < 64 else zeros + 1, left)
        x = (x >> np.uint64(zeros)) >> ONE
    return acc, fill, at, left, n


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
def _lane_out(u, lane, top, coded, head, head_bits, prec, size, minbits, maxbits, out, acc, fill, at):
    """One block; the bits it took."""
    if coded == 0:
        acc, fill, at = put(out, acc, fill, at, np.uint64(0), 1) if head_bits > 0 else (acc, fill, at)
        used = 1 if head_bits > 0 else 0
    else:
        acc, fill, at = put(out, acc, fill, at, head, head_bits) if head_bits > 0 else (acc, fill, at)
        left = maxbits - head_bits
        acc, fill, at, left = code_planes(u, lane, top, prec - coded, prec, size, left, out, acc, fill, at)
        used = maxbits - left
    if used < minbits:
        acc, fill, at = put_zeros(out, acc, fill, at, minbits - used)
        used = minbits
    return acc, fill, at, used


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
def _encode_frame(frame, w, order, params, floating, check, side, out, block_bits):
    """The stream of one frame: its bytes."""
    axes, size, minbits, maxbits = params[:3], params[4], params[5], params[6]
    prec, down, across = 8 * w.itemsize, (axes[1] + 3) >> 2, (axes[2] + 3) >> 2
    mantissa, head_bits = (23, 9) if prec == 32 else (52, 12)
    head_bits = head_bits if floating else 0
    acc, fill, at, block = np.uint64(0), 0, 0, 0
    w[LANES * BAD :] = 0
    u = w[LANES * 2 * ROWS : LANES * 3 * ROWS]
    for row in range(((axes[0] + 3) >> 2) * down):
        for first in range(0, across, LANES):
            _to_planes(frame, w, order, params, floating, check, row // down, row % down, first)
            for lane in range(min(LANES, across - first)):
                mask = np.uint64(w[LANES * MASK + lane])
                lowest = min(trailing_zeros(mask), prec)
                top = 63 - leading_zeros(np.uint64(w[LANES * ANY + lane]))
                head = (np.uint64(w[LANES * MOST + lane]) >> np.uint64(mantissa) << ONE) + np.uint64(3)
                acc, fill, at, used = _lane_out(u, lane, top, prec - lowest, head, head_bits, prec, size, minbits, maxbits, out, acc, fill, at)
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
def _encode_frames(frames, work, order, params, floating, check, side, payload, sizes, block_bits):
    for f in prange(frames.shape[0]):
        sizes[f] = _encode_frame(frames[f], work[f], order[params[3] - 1], params, floating, check, side, payload[f], block_bits[f])


def encode_frames(frames, work, order, params, floating, check, side, payload, sizes, block_bits):
    """Streams of all frames (n, pixels) of words. work (n, LANE_WORDS): BAD is not 0 where a value cannot be held, WORST the largest errors."""
    if len(frames) == 1:    # it wakes no thread
        sizes[0] = _encode_frame(frames[0], work[0], order[params[3] - 1], params, floating, check, side, payload[0], block_bits[0])
    else:
        _encode_frames(frames, work, order, params, floating, check, side, payload, sizes, block_bits)


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


@fast
def _plane_fast(p, at, n, size):
    """The same where bits are plenty: those of the plane and 9 bytes more."""
    word, used = _bits64(p, at), n
    if n == size:
        return word & FULL >> np.uint64(64 - size), n, n
    x = word & ((ONE << np.uint64(n)) - ONE)
    word >>= np.uint64(n)
    found = np.int64(RUN_WORDS[word & np.uint64((1 << LOOK) - 1)]) if size < 64 else 0
    if found > 0 and n + (found >> 12 & 15) < size:
        return x | np.uint64(found & 0xFFF) << np.uint64(n), n + (found >> 12 & 15), used + (found >> 16)
    while n < size:
        if size == 64:
            word = _bits64(p, at + used)
        if word & ONE == 0:
            used += 1
            break
        word >>= ONE
        zeros = trailing_zeros(word)
        if zeros >= size - 1 - n:
            used += size - n
            x |= ONE << np.uint64(size - 1)
            n = size
        else:
            used += zeros + 2
            n += zeros + 1
            x |= ONE << np.uint64(n - 1)
            word = (word >> np.uint64(zeros)) >> ONE
    return x, n, used


@fast
def _lane_in(p, at, left, end, u, lane, size, prec, coded):
    """The planes of one block to u, in at most `left` bits from bit `at` on: how many it took, one more than left if it needs more. end: of the stream."""
    n, begin, stop = 0, at, at + left
    plenty = min(stop, end - 72) - 2 * size - 1
    for k in range(prec - 1, prec - 1 - coded, -1):
        if at <= plenty:
            x, n, used = _plane_fast(p, at, n, size)
        else:
            x, n, used = _plane_slowly(p, at, n, size, stop - at)
        at += used
        shift, row = np.uint64(16 * (k >> 4)), LANES * (k & 15) + lane
        u[row] |= (x & np.uint64(0xFFFF)) << shift
        if size == 64:
            for g in range(1, 4):
                u[16 * LANES * g + row] |= (x >> np.uint64(16 * g) & np.uint64(0xFFFF)) << shift
        if at > stop:
            break
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
