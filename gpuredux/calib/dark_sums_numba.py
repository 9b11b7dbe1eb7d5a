"""The tiles of calib.dark_sums for the CPU: 64 pixels of up to 16 frames summed in vector registers. Over 200 lines: the instruction and the loop
that it serves."""

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 4096     # pixels whose state stays in the L2 cache while the frames go by
WIDE = 64       # pixels that are decided on together
TOGETHER = 16   # frames; of 14 bits, so many squares fit into 32
WORD, HALF, LONG = ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS, HALVES, LONGS = (ir.VectorType(kind, WIDE) for kind in (WORD, HALF, LONG))
ADDRESS = types.uint64


def _load(builder, where, kind, align=2):
    value = builder.load(builder.inttoptr(where, kind.as_pointer()))
    value.align = align
    return value


def _store(builder, value, where):
    builder.store(value, builder.inttoptr(where, value.type.as_pointer())).align = 2


def _all_lanes(builder, value, kind):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(HALF, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(HALF, WIDE), [0] * WIDE))


def _at(builder, where, nbytes):
    return builder.add(where, ir.Constant(LONG, nbytes))


def _ask_ahead(builder, where):
    """Prefetch the cache lines of 64 words."""
    byte = ir.IntType(8).as_pointer()
    ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, HALF, HALF, HALF]))
    for k in range(2):
        builder.call(ask, [builder.inttoptr(_at(builder, where, 64 * k), byte), *(ir.Constant(HALF, v) for v in (0, 2, 1))])


class _Register:
    """A vector that a loop changes; LLVM keeps it in registers."""

    def __init__(self, builder, kind, first):
        self.builder, self.place = builder, cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, [first] * WIDE), self.place)

    @property
    def value(self):
        return self.builder.load(self.place)

    def put(self, value):
        self.builder.store(value, self.place)

    def add(self, value):
        self.put(self.builder.add(self.value, value))

    def add_where(self, chosen, value):
        self.put(self.builder.select(chosen, self.builder.add(self.value, value), self.value))

    def pick(self, relation, value):
        self.put(self.builder.select(self.builder.icmp_unsigned(relation, value, self.value), value, self.value))


def _grow(builder, where, more):
    """What lies there, plus these, in the width that it has."""
    _store(builder, builder.add(_load(builder, where, more.type), more), where)


class _Sums:
    """The sums of 64 pixels over a few frames, in registers."""

    def __init__(self, builder, squares):
        self.builder, self.squares = builder, squares
        self.sums, self.sums2 = ([_Register(builder, kind, 0) for _ in range(2)] for kind in (HALVES, squares))
        self.wrong, self.inside_count = (_Register(builder, WORDS, 0) for _ in range(2))
        self.least, self.most = _Register(builder, WORDS, 65535), _Register(builder, WORDS, 0)

    def take(self, adc, gate):
        """gate: (low, high), or None."""
        builder = self.builder
        x = builder.zext(adc, HALVES)
        y = builder.mul(x, x)
        y = y if self.squares is HALVES else builder.zext(y, self.squares)
        self.sums[0].add(x)
        self.sums2[0].add(y)
        self.least.pick("<", adc)
        self.most.pick(">", adc)
        if gate:
            inside = builder.and_(builder.icmp_unsigned(">=", adc, gate[0]), builder.icmp_unsigned("<=", adc, gate[1]))
            self.sums[1].add_where(inside, x)
            self.sums2[1].add_where(inside, y)
            self.inside_count.add_where(inside, ir.Constant(WORDS, [1] * WIDE))

    def write(self, row, n, count, total, extreme, gated):
        """On top of the state."""
        builder = self.builder
        _grow(builder, count, _all_lanes(builder, builder.trunc(n, HALF), HALVES))
        for k in range(2 if gated else 1):
            y = self.sums2[k].value
            _grow(builder, row(total, 2 * k, 8), builder.zext(self.sums[k].value, LONGS))
            _grow(builder, row(total, 2 * k + 1, 8), y if self.squares is LONGS else builder.zext(y, LONGS))
        if gated:
            _grow(builder, row(count, 3, 4), builder.zext(self.inside_count.value, HALVES))
        for k, (relation, end) in enumerate((("<", self.least.value), (">", self.most.value))):
            before = _load(builder, row(extreme, k, 2), WORDS)
            _store(builder, builder.select(builder.icmp_unsigned(relation, end, before), end, before), row(extreme, k, 2))


def _summer(gated, squares):
    """An instruction: the state of 64 pixels takes in a few frames; squares: the width of a sum of squares of so many."""

    @intrinsic
    def sum_frames(typingctx, rows, n, offset, masks, gate, count, total, extreme, length):
        """Not zero if a word has other gain bits than the stage's: then nothing is changed. By address: rows (u64) of n frames, and TOGETHER behind
        them those that come next; masks of the adc and of the gain bits, the stage's gain bits, the adc's shift; the first rows, of so many
        elements, of the gate and of the state. offset: of the pixels in a frame [bytes]."""

        def codegen(context, builder, sig, args):
            rows, n, offset, masks, gate, count, total, extreme, length = args
            row = lambda where, k, size: builder.add(where, builder.mul(length, ir.Constant(LONG, k * size)))  # noqa: E731
            adc_mask, gain_bits, stage, shift = (_all_lanes(builder, _load(builder, _at(builder, masks, 2 * k), WORD), WORDS) for k in range(4))
            sums = _Sums(builder, squares)
            limits = [_load(builder, row(gate, k, 2), WORDS) for k in range(2)] if gated else None
            with cgutils.for_range(builder, n) as loop:
                pointer = builder.add(rows, builder.mul(loop.index, ir.Constant(LONG, 8)))
                word = _load(builder, builder.add(_load(builder, pointer, LONG, 8), offset), WORDS)
                _ask_ahead(builder, builder.add(_load(builder, _at(builder, pointer, 8 * TOGETHER), LONG, 8), offset))
                sums.wrong.put(builder.or_(sums.wrong.value, builder.xor(builder.and_(word, gain_bits), stage)))
                sums.take(builder.lshr(builder.and_(word, adc_mask), shift), limits)
            found = builder.bitcast(builder.icmp_unsigned("!=", sums.wrong.value, ir.Constant(WORDS, [0] * WIDE)), LONG)
            with builder.if_then(builder.icmp_unsigned("==", found, ir.Constant(LONG, 0))):
                sums.write(row, n, count, total, extreme, gated)
            return found

        return types.uint64(ADDRESS, types.int64, *[ADDRESS] * 7), codegen

    return sum_frames


_sum, _sum_big, _sum_gated, _sum_gated_big = (_summer(gated, squares) for gated in (False, True) for squares in (HALVES, LONGS))


@intrinsic
def _which_is(typingctx, where, value):
    """One bit for each of 64 words: word == value."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.icmp_unsigned("==", _load(builder, args[0], WORDS), _all_lanes(builder, args[1], WORDS)), LONG)

    return types.uint64(ADDRESS, types.uint16), codegen


fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def sum_tiles(raw, order, first, count, total, extreme, gate, new_count, new_total, new_extreme, word_class, masks, looks):
    """The new state; order: frames by cell, first: where each cell's begin. Tiles of pixels of a cell in parallel."""
    npix = raw.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    for job in prange(n_tiles * (len(first) - 1)):
        c, begin = job // n_tiles, job % n_tiles * TILE
        stop = min(begin + TILE, npix)
        _copy(count, new_count, c, begin, stop)
        _copy(total, new_total, c, begin, stop)
        _copy(extreme, new_extreme, c, begin, stop)
        frames = order[first[c] : first[c + 1]]
        for f in range(0, len(frames), TOGETHER):
            _group(raw, frames, f, c, begin, stop, gate, new_count, new_total, new_extreme, word_class, masks, looks)


@fast
def _copy(old, new, c, begin, stop):
    for k in range(len(old)):
        new[k, c, begin:stop] = old[k, c, begin:stop]


@fast
def _group(raw, order, f, c, begin, stop, gate, count, total, extreme, word_class, masks, looks):
    """A few frames of a tile: 64 pixels at a time where all words are of the stage; else, and at the end, one by one."""
    frames, rows = order[f : f + TOGETHER], np.empty(2 * TOGETHER, np.uint64)
    last = f + TOGETHER >= len(order)       # then the first frames of the next tile are asked for, and not the next ones of this
    for k in range(TOGETHER):
        g = k if last else f + TOGETHER + k
        rows[k] = raw.ctypes.data + order[min(f + k, len(order) - 1)] * raw.strides[0]
        rows[TOGETHER + k] = raw.ctypes.data + order[min(g, len(order) - 1)] * raw.strides[0] + (2 * TILE if last else 0)
    where, length = np.uint64(c) * np.uint64(count.shape[2]), np.uint64(count.shape[1] * count.shape[2])
    here = (np.uint64(rows.ctypes.data), np.uint64(masks.ctypes.data), np.uint64(0) if gate is None else np.uint64(gate.ctypes.data),
            np.uint64(count.ctypes.data), np.uint64(total.ctypes.data), np.uint64(extreme.ctypes.data))
    whole = begin + (stop - begin) // WIDE * WIDE
    for a in range(begin, whole, WIDE):
        offset, pixel = np.uint64(2 * a), where + np.uint64(a)
        wrong = _codes(rows, len(frames), offset, looks)
        if wrong == 0:
            two, four, eight = np.uint64(2) * pixel, np.uint64(4) * pixel, np.uint64(8) * pixel
            if gate is not None:
                if masks[0] >> masks[3] < 16384:
                    wrong = _sum_gated(here[0], len(frames), offset, here[1], here[2] + two, here[3] + four, here[4] + eight, here[5] + two, length)
                else:
                    wrong = _sum_gated_big(here[0], len(frames), offset, here[1], here[2] + two, here[3] + four, here[4] + eight, here[5] + two, length)
            elif masks[0] >> masks[3] < 16384:
                wrong = _sum(here[0], len(frames), offset, here[1], here[2], here[3] + four, here[4] + eight, here[5] + two, length)
            else:
                wrong = _sum_big(here[0], len(frames), offset, here[1], here[2], here[3] + four, here[4] + eight, here[5] + two, length)
        if wrong:
            _by_word(raw, frames, c, a, a + WIDE, gate, count, total, extreme, word_class, masks)
    _by_word(raw, frames, c, whole, stop, gate, count, total, extreme, word_class, masks)


@fast
def _codes(rows, n, offset, looks):
    """Not zero if one of these words is an error code that looks like the stage."""
    found = np.uint64(0)
    for i in range(len(looks)):
        for k in range(n):
            found |= _which_is(rows[k] + offset, looks[i])
    return found


@fast
def _by_word(raw, frames, c, start, stop, gate, count, total, extreme, word_class, masks):
    """Pixels start to stop of a few frames, one by one."""
    for f in frames:
        for a in range(np.uint64(start), np.uint64(stop)):
            word = raw[np.uint64(f), a]
            kind = np.uint64(word_class[word])
            count[kind, c, a] += np.uint32(1)
            if kind == 0:
                adc = (word & masks[0]) >> masks[3]
                x = np.uint64(adc)
                total[0, c, a] += x
                total[1, c, a] += x * x
                extreme[0, c, a], extreme[1, c, a] = min(extreme[0, c, a], adc), max(extreme[1, c, a], adc)
                if gate is not None and gate[0, c, a] <= adc <= gate[1, c, a]:
                    count[3, c, a] += np.uint32(1)
                    total[2, c, a] += x
                    total[3, c, a] += x * x
