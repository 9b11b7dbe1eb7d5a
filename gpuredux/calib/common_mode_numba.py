"""The banks of calib.common_mode for the CPU: 16 rows or columns at a time. Over 200 lines: vector instructions, and what they leave to plain loops."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only
from ..turn_numba import turned

PEAK = 127
LANES = 16
PASSES = 9      # counting passes for 16 medians at a time, at most; what is not found then is selected one by one
FLOATS, INTS, BITS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES), ir.IntType(LANES)
ADDRESS, WORD = types.uint64, ir.IntType(64)
TOGETHER = 393216       # bytes of banks side by side that a thread takes, corrects and gives in whole rows: they stay in its L2 cache
INFINITE = float("inf")
NAN = np.float32(np.nan)
LEFT = np.float32(-0.0)    # the mode of a group that is not corrected, until _say has read it: modes themselves end on + 0, which leaves no -0
MARK = np.uint32(0x80000000)        # its bits


# ------------------------------------------------------------------------------------------------- vectors of 16 values
def _load(builder, where, kind=FLOATS):
    value = builder.load(builder.inttoptr(where, kind.as_pointer()))
    value.align = 4
    return value


def _store(builder, value, where):
    builder.store(value, builder.inttoptr(where, value.type.as_pointer())).align = 4


def _all(builder, value, kind=FLOATS):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES))


def _fixed(value, kind=FLOATS):
    return ir.Constant(kind, [value] * LANES)


def _call(builder, name, kind, value):
    """An intrinsic of LLVM on one vector."""
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [value.type]), name), [value])


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _smaller(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _walk(builder, where, step, count, start, body, together=4):
    """Accumulators, begun as `start`, after body(accumulators, x) for each of `count` vectors, a multiple of `together`, `step` bytes apart."""
    slots = [cgutils.alloca_once(builder, s.type) for s in start]
    for slot, s in zip(slots, start, strict=True):
        builder.store(s, slot)
    with cgutils.for_range(builder, builder.udiv(count, ir.Constant(WORD, together))) as loop:
        at = builder.add(where, builder.mul(builder.mul(loop.index, ir.Constant(WORD, together)), step))
        held = [builder.load(slot) for slot in slots]
        for _ in range(together):
            held = body(held, _load(builder, at))
            at = builder.add(at, step)
        for slot, h in zip(slots, held, strict=True):
            builder.store(h, slot)
    return [builder.load(slot) for slot in slots]


def _plus(builder, count, mask):
    return builder.sub(count, builder.sext(mask, INTS))


def _neighbours(builder, held, x, pivot):
    """The two largest values not above the pivot, and the two smallest above it."""
    under, next_under, over, next_over = held
    low = builder.select(builder.fcmp_ordered("<=", x, pivot), x, _fixed(-INFINITE))
    high = builder.select(builder.fcmp_ordered(">", x, pivot), x, _fixed(INFINITE))
    next_under, under = _larger(builder, next_under, _smaller(builder, under, low)), _larger(builder, under, low)
    next_over, over = _smaller(builder, next_over, _larger(builder, over, high)), _smaller(builder, over, high)
    return under, next_under, over, next_over


def _next_pivot(builder, state, aim, slope):
    """By interpolation between the pivots on both sides, or, where there is none yet on one, by the slope."""
    pivot, count, low, low_count, high, high_count = state
    short = builder.fcmp_ordered("<", count, aim)
    low, low_count = builder.select(short, pivot, low), builder.select(short, count, low_count)
    high, high_count = builder.select(short, high, pivot), builder.select(short, high_count, count)
    part = builder.fdiv(builder.fsub(aim, low_count), builder.fsub(high_count, low_count))
    between = builder.fadd(low, builder.fmul(builder.fsub(high, low), part))
    stepped = builder.fadd(pivot, builder.fmul(builder.fsub(aim, count), slope))
    both = builder.and_(builder.fcmp_ordered(">", low, _fixed(-INFINITE)), builder.fcmp_ordered("<", high, _fixed(INFINITE)))
    return builder.select(both, between, stepped), low, low_count, high, high_count


def _choose(builder, rank, even, count, found):
    """The median, and the lanes where the neighbours of the pivot hold it."""
    under, next_under, over, next_over = found
    ahead = builder.sub(rank, count)
    at = [builder.icmp_signed("==", ahead, _fixed(k, INTS)) for k in (-1, 0, 1, 2)]
    low = builder.select(at[0], next_under, builder.select(at[1], under, builder.select(at[2], over, next_over)))
    high = builder.select(at[0], under, builder.select(at[1], over, next_over))
    middle = builder.fmul(builder.fadd(low, high), _fixed(0.5))
    three = builder.or_(builder.or_(at[0], at[1]), at[2])
    return builder.select(even, middle, low), builder.or_(three, builder.and_(builder.not_(even), at[3]))


@intrinsic
def _medians(typingctx, where, step, count, mode, guess, spread, threshold, cormax, npix_min):
    """mode[0:16] of 16 groups side by side, `count` vectors `step` bytes apart; a bit for each group whose median was not found.

    Counting passes close in on all 16 at once, then one pass takes the two nearest values on both sides.
    Long: one stretch of vector instructions, whose values live from its begin to its end."""

    def codegen(context, builder, sig, args):
        """Long: see above."""
        where, step, count, mode, guess, spread, threshold, cormax, npix_min = args
        top, zero = _all(builder, threshold), _fixed(0, INTS)
        pivot = _smaller(builder, _all(builder, guess), top)

        def first(held, x):
            return [_plus(builder, held[0], builder.fcmp_ordered("<=", x, top)), _plus(builder, held[1], builder.fcmp_ordered("<=", x, pivot))]

        n, below = _walk(builder, where, step, count, [zero, zero], first)
        rank = builder.lshr(builder.add(n, _fixed(1, INTS)), _fixed(1, INTS))
        even = builder.icmp_signed("==", builder.and_(n, _fixed(1, INTS)), zero)
        wanted = builder.icmp_signed(">", n, _all(builder, npix_min, INTS))
        aim = builder.fadd(builder.sitofp(rank, FLOATS), builder.select(even, _fixed(0.0), _fixed(-0.5)))
        slope = builder.fdiv(_all(builder, spread), builder.sitofp(n, FLOATS))
        names = [pivot, below, _fixed(-INFINITE), _fixed(0.0), _fixed(INFINITE), builder.sitofp(n, FLOATS)]
        slots = [cgutils.alloca_once(builder, v.type) for v in names]
        for slot, v in zip(slots, names, strict=True):
            builder.store(v, slot)
        with cgutils.for_range(builder, ir.Constant(WORD, PASSES)) as loop:
            pivot, below, *bracket = [builder.load(slot) for slot in slots]
            ahead = builder.sub(rank, below)
            near = builder.icmp_unsigned("<=", builder.add(ahead, _fixed(1, INTS)), builder.select(even, _fixed(2, INTS), _fixed(3, INTS)))
            far = builder.bitcast(builder.and_(wanted, builder.not_(near)), BITS)
            with builder.if_then(builder.icmp_unsigned("==", far, ir.Constant(BITS, 0))):
                loop.do_break()
            new, *bracket = _next_pivot(builder, (pivot, builder.sitofp(below, FLOATS), *bracket), aim, slope)
            pivot = builder.select(near, pivot, _smaller(builder, new, top))
            (below,) = _walk(builder, where, step, count, [zero], lambda held, x: [_plus(builder, held[0], builder.fcmp_ordered("<=", x, pivot))])
            for slot, v in zip(slots, (pivot, below, *bracket), strict=True):
                builder.store(v, slot)
        pivot, below = builder.load(slots[0]), builder.load(slots[1])
        start = [_fixed(-INFINITE)] * 2 + [_fixed(INFINITE)] * 2
        found = _walk(builder, where, step, count, start, lambda held, x: _neighbours(builder, held, x, pivot), 2)
        median, sure = _choose(builder, rank, even, below, found)
        size = _call(builder, "llvm.fabs.v16f32", FLOATS, median)
        fits = builder.and_(wanted, builder.fcmp_ordered("<", size, _all(builder, cormax)))
        _store(builder, builder.select(fits, builder.fadd(median, _fixed(0.0)), _fixed(-0.0)), mode)
        return builder.zext(builder.bitcast(builder.and_(wanted, builder.not_(sure)), BITS), ir.IntType(32))

    return types.uint32(*[ADDRESS] * 4, *[types.float32] * 4, types.int32), codegen


@intrinsic
def _counts(typingctx, where, count, pivot):
    """How many of `count` vectors' values are not above the pivot."""

    def codegen(context, builder, sig, args):
        where, count, pivot = args
        p = _all(builder, pivot)
        start, step = [_fixed(0, INTS)] * 2, ir.Constant(WORD, 4 * LANES)

        def body(held, x):      # two sums in turn: neither waits for the other
            return [held[1], _plus(builder, held[0], builder.fcmp_ordered("<=", x, p))]

        total = builder.add(*_walk(builder, where, step, count, start, body))
        return _call(builder, "llvm.vector.reduce.add.v16i32", ir.IntType(32), total)

    return types.int32(ADDRESS, ADDRESS, types.float32), codegen


@intrinsic
def _inside(typingctx, where, low, high):
    """One bit for each of 32 values with low < x <= high."""

    def codegen(context, builder, sig, args):
        word, bits = ir.IntType(32), []
        for k in range(2):
            x = _load(builder, builder.add(args[0], ir.Constant(WORD, 64 * k)))
            inside = builder.and_(builder.fcmp_ordered(">", x, _all(builder, args[1])), builder.fcmp_ordered("<=", x, _all(builder, args[2])))
            bits.append(builder.zext(builder.bitcast(inside, BITS), word))
        return builder.or_(bits[0], builder.shl(bits[1], ir.Constant(word, LANES)))

    return types.uint32(ADDRESS, types.float32, types.float32), codegen


@intrinsic
def _lowest(typingctx, bits):
    """The number of the lowest bit set."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), WORD)

    return types.uint64(types.uint32), codegen


@intrinsic
def _turn(typingctx, source, step, target):
    """target[c, r] = source[r, c] of 16 rows `step` bytes apart, 16 columns."""

    def codegen(context, builder, sig, args):
        source, step, target = args
        v = []
        for _ in range(LANES):
            v.append(_load(builder, source))
            source = builder.add(source, step)
        v = turned(builder, v)
        for k in range(LANES):
            _store(builder, v[k], builder.add(target, ir.Constant(WORD, 4 * LANES * k)))
        return context.get_dummy_value()

    return types.void(ADDRESS, ADDRESS, ADDRESS), codegen


@intrinsic
def _corrected(typingctx, work, mode, before, out):
    """out[0:16] = work - mode, or what it was before, by its bits, where work is no number."""

    def codegen(context, builder, sig, args):
        x, mode, before = _load(builder, args[0]), _load(builder, args[1]), _load(builder, args[2], INTS)
        y = builder.bitcast(builder.fsub(x, mode), INTS)
        _store(builder, builder.select(builder.fcmp_unordered("uno", x, x), before, y), args[3])
        return context.get_dummy_value()

    return types.void(*[ADDRESS] * 4), codegen


@intrinsic
def _line_past_cache(typingctx, source, target):
    """target[0:16] = source[0:16], target at a multiple of 64 bytes; a store through the cache would read its line first."""

    def codegen(context, builder, sig, args):
        store = builder.store(_load(builder, args[0], INTS), builder.inttoptr(args[1], INTS.as_pointer()))
        store.align = 64
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(ADDRESS, ADDRESS), codegen


fast = njit(cache=True, nogil=True, error_model="numpy")


# ------------------------------------------------------------------------------------------------------------ the banks
def common_mode_banks(energy, status, stage, out, modes, left, good, factor, shape, *how):
    """Fill out (n, npix), modes (n, banks, 1 + rows + cols) and, where a used pixel stays as it is, left (n,); a row of banks of a frame at a time.

    shape: rows and cols of a bank, width of the frame; steps: 0 bank, 1 rows, 2 cols; limits: cormax, threshold, bin width, 1 / it.
    What is not there has no pixels, so that this is compiled once, not once for each choice."""
    n, npix = energy.shape
    rows, cols, width = shape
    across = width // cols
    together = min(across, max(1, TOGETHER // (4 * rows * cols)))
    tasks = n * (npix // (rows * width)) * -(-across // together)
    share(_banks, tasks, energy, status, stage, out, modes, left, read_only(good), read_only(factor), shape, together, *how)


@fast
def _banks(first, last, energy, status, stage, out, modes, left, good, factor, shape, together, steps, statistic, excluded, limits, npix_min):
    npix = energy.shape[1]
    rows, cols, width = shape
    across, deep = width // cols, npix // (rows * width)
    groups = (across + together - 1) // together
    for task in range(first, last):
        f, down, group = task // (deep * groups), task // groups % deep, task % groups
        banks = min(together, across - group * together)
        origin = down * rows * width + group * together * cols
        work = np.full((banks, (rows + 15) // 16 * 16, (cols + 15) // 16 * 16), NAN, np.float32)
        pending, mode = np.zeros((banks, work.shape[2]), np.float32), np.zeros((banks, 1 + work.shape[1] + work.shape[2]), np.float32)
        turned, chosen = np.empty((work.shape[2], LANES), np.float32), np.empty(work[0].size, np.float32)
        _take(energy[f], status[f], stage[f], good, work, origin, shape, excluded)
        spread = np.float32(0)      # that of the first bank will do for its neighbours
        for b in range(banks):
            spread = _correct(work[b], turned, chosen, pending[b], mode[b], shape, steps, statistic, limits, npix_min, spread)
            if _say(work[b], mode[b], shape) and left.shape[0]:
                left[f] = True
        _give(energy[f], out[f], work, pending, origin, shape)
        for b in range(banks):
            if factor.shape[0]:
                _convert(out[f], status[f], stage[f], factor, shape, origin + b * cols)
            if modes.shape[1]:
                to = modes[f, down * across + group * together + b]
                to[: 1 + rows] = mode[b, : 1 + rows]
                to[1 + rows :] = mode[b, 1 + work.shape[1] : 1 + work.shape[1] + cols]


@fast
def _take(energy, status, stage, good, work, origin, shape, excluded):
    """work = the used pixels of banks side by side; NaN stands for the others. Row after row, as they lie in memory."""
    for r in range(np.uint64(shape[0])):
        for b in range(np.uint64(work.shape[0])):
            first, row = np.uint64(origin) + r * np.uint64(shape[2]) + b * np.uint64(shape[1]), work[b, r]
            if good.shape[0] == 0:
                for c in range(np.uint64(shape[1])):
                    row[c] = energy[first + c] if abs(energy[first + c]) < np.float32(np.inf) else NAN
            else:
                for c in range(np.uint64(shape[1])):
                    row[c] = energy[first + c] if (abs(energy[first + c]) < np.float32(np.inf)) & (good[first + c] != 0) else NAN
            if status.shape[0]:
                for c in range(np.uint64(shape[1])):
                    row[c] = row[c] if status[first + c] == 0 else NAN
            if stage.shape[0]:
                for c in range(np.uint64(shape[1])):
                    s = np.uint32(stage[first + c])
                    row[c] = row[c] if s >= np.uint32(32) or (excluded >> (s & np.uint32(31))) & np.uint32(1) == 0 else NAN


@fast
def _give(energy, out, work, pending, origin, shape):
    """out = work - pending where it is a number, else what it was, by its bits: a signalling NaN stays one."""
    cols, size = np.uint64(shape[1]), np.uint64(shape[1] * work.shape[0])
    before, after = energy.view(np.uint32), out.view(np.uint32)
    whole = cols // np.uint64(LANES) * np.uint64(LANES)
    line = np.empty(size, np.float32)
    bits = line.view(np.uint32)
    for r in range(np.uint64(shape[0])):
        first = np.uint64(origin) + r * np.uint64(shape[2])
        for b in range(np.uint64(work.shape[0])):
            x, m, i = work[b, r], pending[b], b * cols
            at, mode, source, to = x.ctypes.data, m.ctypes.data, energy.ctypes.data + 4 * np.int64(first + i), line.ctypes.data + 4 * np.int64(i)
            for c in range(0, np.int64(4 * whole), 64):
                _corrected(np.uint64(at + c), np.uint64(mode + c), np.uint64(source + c), np.uint64(to + c))
            for c in range(whole, cols):
                i = b * cols + c
                line[i] = x[c] - m[c]
                bits[i] = bits[i] if x[c] == x[c] else before[first + i]
        to = np.uint64(out.ctypes.data) + np.uint64(4) * first
        head = min((np.uint64(0) - to & np.uint64(63)) // np.uint64(4), size)     # up to where a line of the cache begins
        last = head + (size - head) // np.uint64(LANES) * np.uint64(LANES)
        for i in range(head):
            after[first + i] = bits[i]
        for i in range(head, last, np.uint64(LANES)):
            _line_past_cache(np.uint64(line.ctypes.data) + np.uint64(4) * i, to + np.uint64(4) * i)
        for i in range(last, size):
            after[first + i] = bits[i]


@fast
def _convert(out, status, stage, factor, shape, origin):
    """Out of a bank times 1 / gain, in place, where the status is 0."""
    for r in range(shape[0]):
        for c in range(shape[1]):
            i = origin + r * shape[2] + c
            if status.shape[0] and status[i] != 0:
                continue
            s = np.int64(stage[i]) if stage.shape[0] else 0
            y = out[i] * factor[s, i] if s < factor.shape[0] else NAN
            out[i] = NAN if np.isnan(y) else y


@fast
def _correct(work, turned, chosen, pending, mode, shape, steps, statistic, limits, npix_min, spread):
    """The steps on one bank: work less pending is what comes out, and mode what was subtracted."""
    rows, cols = np.int64(shape[0]), np.int64(shape[1])
    row_mode, col_mode = mode[1 : 1 + work.shape[0]], mode[1 + work.shape[0] :]
    guess = np.float32(0)
    if statistic == 0:
        guess, spread = _sample(work, chosen, shape, spread)
    for k in range(len(steps)):
        if k and steps[k - 1] == 2:
            _subtract_cols(work, pending)
            pending[:] = 0
        if steps[k] == 0:
            if statistic == 0:
                m = _bank_median(work, chosen, guess, spread, limits, npix_min)
            else:
                m = _mode(work[:rows, :cols], chosen, statistic, limits, npix_min)
            mode[0] = m
            guess -= m
            _subtract_one(work, m + np.float32(0))      # no -0: x - -0 makes +0 of -0
        elif steps[k] == 1:
            if statistic == 0:
                _row_medians(work, turned, chosen, row_mode, rows, guess, spread, limits, npix_min)
            else:
                for r in range(rows):
                    row_mode[r] = _mode(work[r : r + 1, :cols], chosen, statistic, limits, npix_min)
            _subtract_rows(work, row_mode)
        else:
            if statistic == 0:
                _col_medians(work, chosen, col_mode, cols, guess, spread, limits, npix_min)
            else:
                for c in range(cols):
                    col_mode[c] = _mode(work[:rows, c : c + 1], chosen, statistic, limits, npix_min)
            for c in range(np.uint64(pending.shape[0])):
                pending[c] = col_mode[c] + np.float32(0)
    return spread


@fast
def _say(work, mode, shape):
    """In place of each mark NaN, if the group has a pixel that is used, else 0. Whether there is a NaN."""
    rows, cols, first_col = np.int64(shape[0]), np.int64(shape[1]), 1 + work.shape[0]
    marks, marked, left = mode.view(np.uint32), False, False
    for i in range(np.uint64(marks.shape[0])):
        marked |= marks[i] == MARK
    if not marked:
        return False
    if marks[0] == MARK:
        mode[0] = _said(work[:rows, :cols])
        left |= mode[0] != 0
    for r in range(rows):
        if marks[1 + r] == MARK:
            mode[1 + r] = _said(work[r : r + 1, :cols])
            left |= mode[1 + r] != 0
    for c in range(cols):
        if marks[first_col + c] == MARK:
            mode[first_col + c] = _said(work[:rows, c : c + 1])
            left |= mode[first_col + c] != 0
    return left


@fast
def _said(x):
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            if x[r, c] == x[r, c]:
                return NAN
    return np.float32(0)


@fast
def _subtract_one(work, m):
    flat = work.reshape(-1)
    for i in range(np.uint64(flat.shape[0])):
        flat[i] -= m


@fast
def _subtract_rows(work, mode):
    for r in range(np.uint64(work.shape[0])):
        row, m = work[r], mode[r] + np.float32(0)
        for c in range(np.uint64(work.shape[1])):
            row[c] -= m


@fast
def _subtract_cols(work, mode):
    for r in range(np.uint64(work.shape[0])):
        row = work[r]
        for c in range(np.uint64(work.shape[1])):
            row[c] -= mode[c]


@fast
def _row_medians(work, turned, chosen, row_mode, rows, guess, spread, limits, npix_min):
    """16 rows at a time, as columns of a turned copy."""
    for r in range(0, rows, LANES):
        for c in range(0, work.shape[1], LANES):
            _turn(np.uint64(work[r].ctypes.data + 4 * c), np.uint64(4 * work.shape[1]), np.uint64(turned[c].ctypes.data))
        left = _medians(np.uint64(turned.ctypes.data), np.uint64(4 * LANES), np.uint64(work.shape[1]), np.uint64(row_mode[r:].ctypes.data),
                        guess, spread, limits[1], limits[0], npix_min)
        for k in range(LANES):
            if left >> np.uint32(k) & np.uint32(1):
                row_mode[r + k] = _mode(work[r + k : r + k + 1], chosen, 0, limits, npix_min)


@fast
def _col_medians(work, chosen, col_mode, cols, guess, spread, limits, npix_min):
    for c in range(0, cols, LANES):
        left = _medians(np.uint64(work.ctypes.data + 4 * c), np.uint64(4 * work.shape[1]), np.uint64(work.shape[0]), np.uint64(col_mode[c:].ctypes.data),
                        guess, spread, limits[1], limits[0], npix_min)
        for k in range(LANES):
            if left >> np.uint32(k) & np.uint32(1):
                col_mode[c + k] = _mode(work[:, c + k : c + k + 1], chosen, 0, limits, npix_min)


@fast
def _sample(work, chosen, shape, spread):
    """Where the median may be, by 64 values from all over the bank; and, where spread is 0, how many values apart ranks lie there. A guess."""
    n, c = 0, 0
    step = max(np.int64(shape[0]) // 64, 1)
    for r in range(0, np.int64(shape[0]), step):
        c = (c + 29) % np.int64(shape[1])
        if abs(work[r, c]) < np.float32(np.inf):
            chosen[n] = work[r, c]
            n += 1
    if n < 8:
        return np.float32(0), np.float32(1)
    guess = _nth(chosen[:n], n // 2)
    if spread == 0:
        spread = np.float32(2) * (_nth(chosen[:n], n - 1 - n // 4) - _nth(chosen[:n], n // 4))
    return guess, spread


@fast
def _bank_median(work, chosen, guess, spread, limits, npix_min):
    """By counting passes close in on a few values, then choose among these; on the plain way if they stay many."""
    where, count = np.uint64(work.ctypes.data), np.uint64(work.size // LANES)
    cormax, threshold, _, _ = limits
    n = _counts(where, count, threshold)
    if n <= npix_min or n < 64:
        return _mode(work, chosen, 0, limits, npix_min)
    rank, slope, pivot = (n + 1) // 2, spread / np.float32(n), min(guess, threshold)
    for k in range(5):
        below = _counts(where, count, pivot)
        ahead = rank - below
        if abs(ahead) <= 12 or k == 4:
            break
        pivot = min(pivot + np.float32(ahead) * slope, threshold)
    reach = np.float32(8) * slope
    low, high = pivot + min(np.float32(ahead) * slope, np.float32(0)) - reach, min(pivot + max(np.float32(ahead) * slope, np.float32(0)) + reach, threshold)
    found, flat = 0, work.reshape(-1)
    for v in range(np.uint64(0), np.uint64(work.size), np.uint64(32)):
        bits = _inside(where + np.uint64(4) * v, low, high)
        if bits and found + 32 > min(1024, chosen.size):
            return _mode(work, chosen, 0, limits, npix_min)
        while bits:
            x = flat[v + _lowest(bits)]
            chosen[found] = x
            found += 1
            below -= x <= pivot     # what is left at the end is not above low
            bits &= bits - np.uint32(1)
    k = rank - below        # the first is number below + 1
    if not (k >= 1 and k + 1 <= found):
        return _mode(work, chosen, 0, limits, npix_min)
    m = _nth(chosen[:found], k - 1)
    if n % 2 == 0:
        after = chosen[k]
        for i in range(k + 1, found):
            after = min(after, chosen[i])
        m = (m + after) * np.float32(0.5)
    return m + np.float32(0) if abs(m) < cormax else LEFT


# ------------------------------------------------------------------------------------------------- one group by itself
@fast
def _mode(x, chosen, statistic, limits, npix_min):
    """What is subtracted from one group."""
    cormax, threshold, width, inverse = limits
    n, mode = 0, np.float32(0)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            if x[r, c] <= threshold:
                chosen[n] = x[r, c]
                n += 1
    if statistic == 1:
        n, mode = _mean(chosen[:n])
    elif statistic == 2:
        n, mode = _peak(chosen[:n], width, inverse)
    elif n > npix_min:
        mode = _median(chosen[:n])
    return mode + np.float32(0) if n > npix_min and abs(mode) < cormax else LEFT


@fast
def _mean(x):
    total, n = np.int64(0), 0
    for i in range(x.shape[0]):
        if abs(x[i]) < np.float32(2.0**26):
            total += np.int64(np.rint(x[i] * np.float32(65536)))
            n += 1
    return n, np.float32(np.float64(total) / np.float64(max(n, 1)) / 65536.0)


@fast
def _peak(x, width, inverse):
    count, n = np.zeros(2 * PEAK + 1, np.int64), 0
    for i in range(x.shape[0]):
        q = np.rint(x[i] * inverse)
        if abs(q) <= np.float32(PEAK):
            count[int(q) + PEAK] += 1
            n += 1
    best = 0
    for k in range(1, PEAK + 1):        # 0, -1, 1, -2 ...: of equals the first
        for q in (-k, k):
            if count[q + PEAK] > count[best + PEAK]:
                best = q
    return n, np.float32(best) * width


@fast
def _median(x):
    """The middle value, or the mean of the two; x, without NaN, is put in another order."""
    n = x.shape[0]
    high = _nth(x, n // 2)
    if n % 2:
        return high
    low = x[0]
    for i in range(1, n // 2):
        low = max(low, x[i])
    return (low + high) * np.float32(0.5)


@fast
def _nth(x, k):
    """The value that has k others before it in order: x is partitioned around x[k] (Hoare's selection)."""
    low, high = 0, x.shape[0] - 1
    while low < high:
        pivot, i, j = x[(low + high) // 2], low, high
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return x[k]
