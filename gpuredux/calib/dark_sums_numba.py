"""The tiles of calib.dark_sums for the CPU: 64 pixels of up to 16 frames summed in vector registers. Over 200 lines: the instruction and the loop
that it serves."""

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 8192     # pixels whose state stays in the L2 cache while the frames go by
ROW = TILE + 32     # elements between rows of copies: rows that lie a power of two apart, as frames do, would share the same few lines of a cache
WIDE = 64       # pixels that are decided on together
STRIPS = 64     # each with memory of its own: asked for by the tile, it costs more than the sums (fresh pages)
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


def _row(builder, where, k, size):
    return _at(builder, where, k * size * ROW)


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

    def write(self, n, count, total, extreme, gated):
        """On top of the state."""
        builder = self.builder
        _grow(builder, count, _all_lanes(builder, builder.trunc(n, HALF), HALVES))
        for k in range(2 if gated else 1):
            y = self.sums2[k].value
            _grow(builder, _row(builder, total, 2 * k, 8), builder.zext(self.sums[k].value, LONGS))
            _grow(builder, _row(builder, total, 2 * k + 1, 8), y if self.squares is LONGS else builder.zext(y, LONGS))
        if gated:
            _grow(builder, _row(builder, count, 3, 4), builder.zext(self.inside_count.value, HALVES))
        for k, (relation, end) in enumerate((("<", self.least.value), (">", self.most.value))):
            before = _load(builder, _row(builder, extreme, k, 2), WORDS)
            _store(builder, builder.select(builder.icmp_unsigned(relation, end, before), end, before), _row(builder, extreme, k, 2))


def _summer(gated, squares):
    """An instruction: the state of 64 pixels takes in a few frames; squares: the width of a sum of squares of so many."""

    @intrinsic
    def sum_frames(typingctx, words, n, masks, gate, count, total, extreme):
        """Not zero if a word has other gain bits than the stage's: then nothing is changed. By address, in rows of ROW elements: words of n frames, the
        gate, the state; and the masks of the adc and of the gain bits, the stage's gain bits, the adc's shift."""

        def codegen(context, builder, sig, args):
            words, n, masks, gate, count, total, extreme = args
            adc_mask, gain_bits, stage, shift = (_all_lanes(builder, _load(builder, _at(builder, masks, 2 * k), WORD), WORDS) for k in range(4))
            sums = _Sums(builder, squares)
            limits = [_load(builder, _row(builder, gate, k, 2), WORDS) for k in range(2)] if gated else None
            with cgutils.for_range(builder, n) as loop:
                word = _load(builder, builder.add(words, builder.mul(loop.index, ir.Constant(LONG, 2 * ROW))), WORDS)
                sums.wrong.put(builder.or_(sums.wrong.value, builder.xor(builder.and_(word, gain_bits), stage)))
                sums.take(builder.lshr(builder.and_(word, adc_mask), shift), limits)
            found = builder.bitcast(builder.icmp_unsigned("!=", sums.wrong.value, ir.Constant(WORDS, [0] * WIDE)), LONG)
            with builder.if_then(builder.icmp_unsigned("==", found, ir.Constant(LONG, 0))):
                sums.write(n, count, total, extreme, gated)
            return found

        return types.uint64(ADDRESS, types.int64, *[ADDRESS] * 5), codegen

    return sum_frames


_sum, _sum_big, _sum_gated, _sum_gated_big = (_summer(gated, squares) for gated in (False, True) for squares in (HALVES, LONGS))


@intrinsic
def _which_is(typingctx, where, value):
    """One bit for each of 64 words: word == value."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.icmp_unsigned("==", _load(builder, args[0], WORDS), _all_lanes(builder, args[1], WORDS)), LONG)

    return types.uint64(ADDRESS, types.uint16), codegen


@intrinsic
def _fetch(typingctx, where, to, ahead):
    """Copy 64 words, and ask for the cache lines of the 64 that lie `ahead`."""

    def codegen(context, builder, sig, args):
        byte = ir.IntType(8).as_pointer()
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, HALF, HALF, HALF]))
        for k in range(2):
            builder.call(ask, [builder.inttoptr(_at(builder, args[2], 64 * k), byte), *(ir.Constant(HALF, v) for v in (0, 2, 1))])
        _store(builder, _load(builder, args[0], WORDS), args[1])
        return context.get_dummy_value()

    return types.void(*[ADDRESS] * 3), codegen


fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def sum_tiles(raw, order, first, count, total, extreme, gate, new_count, new_total, new_extreme, word_class, masks, looks):
    """The new state; order: frames by cell, first: where each cell's begin. Strips of tiles of pixels of a cell in parallel."""
    npix = raw.shape[1]
    n_tiles = (npix + TILE - 1) // TILE
    jobs = n_tiles * (len(first) - 1)
    strips = min(jobs, STRIPS)
    for strip in prange(strips):
        room = (np.empty((TOGETHER, ROW), np.uint16), np.empty((2, ROW), np.uint16), np.empty((4, ROW), np.uint32), np.empty((4, ROW), np.uint64),
                np.empty((2, ROW), np.uint16))
        for job in range(strip * jobs // strips, (strip + 1) * jobs // strips):
            c, begin = job // n_tiles, job % n_tiles * TILE
            _tile(raw, order, first[c], first[c + 1], c, begin, min(TILE, npix - begin), count, total, extreme, gate, new_count, new_total, new_extreme,
                  word_class, masks, looks, room)


@fast
def _tile(raw, order, first, last, c, begin, n, count, total, extreme, gate, new_count, new_total, new_extreme, word_class, masks, looks, room):
    """A tile of a cell over its frames, on copies of state and words."""
    words, limits, counts, totals, ends = room
    _copy(count[:, c, begin : begin + n], counts[:, :n])
    _copy(total[:, c, begin : begin + n], totals[:, :n])
    _copy(extreme[:, c, begin : begin + n], ends[:, :n])
    if gate is not None:
        _copy(gate[:, c, begin : begin + n], limits[:, :n])
    for f in range(first, last, TOGETHER):
        many = min(TOGETHER, last - f)
        _read(raw, order, f, many, last, begin, n, words)
        _sum_tile(words, many, n, gate is not None, limits, counts, totals, ends, word_class, masks, looks)
    _copy(counts[:, :n], new_count[:, c, begin : begin + n])
    _copy(totals[:, :n], new_total[:, c, begin : begin + n])
    _copy(ends[:, :n], new_extreme[:, c, begin : begin + n])


@fast
def _copy(source, target):
    for k in range(min(len(source), len(target))):
        target[k] = source[k]


@fast
def _read(raw, order, f, many, last, begin, n, words):
    """Words of a tile in `many` frames, a frame after the other, while the next frame's are asked for; behind the last frame, the next tile's."""
    base, row, whole = np.uint64(raw.ctypes.data), np.uint64(raw.strides[0]), n // WIDE * WIDE
    for k in range(many):
        at = base + np.uint64(order[f + k]) * row + np.uint64(2 * begin)
        ahead = base + np.uint64(order[f + k + 1]) * row + np.uint64(2 * begin) if f + k + 1 < last else at + np.uint64(2 * TILE)
        to = np.uint64(words[k].ctypes.data)
        for a in range(0, 2 * whole, 2 * WIDE):
            _fetch(at + np.uint64(a), to + np.uint64(a), ahead + np.uint64(a))
        for a in range(whole, n):
            words[k, a] = raw[order[f + k], begin + a]


@fast
def _sum_tile(words, many, n, gated, limits, counts, totals, ends, word_class, masks, looks):
    """64 pixels at a time where all words are of the stage; else, and at the end, one by one."""
    at = (np.uint64(words.ctypes.data), np.uint64(masks.ctypes.data), np.uint64(limits.ctypes.data), np.uint64(counts.ctypes.data),
          np.uint64(totals.ctypes.data), np.uint64(ends.ctypes.data))
    small, whole = masks[0] >> masks[3] < 16384, n // WIDE * WIDE
    for a in range(0, whole, WIDE):
        two = np.uint64(2 * a)
        word, gate, count, total, end = at[0] + two, at[2] + two, at[3] + np.uint64(2) * two, at[4] + np.uint64(4) * two, at[5] + two
        wrong = _codes(word, many, looks)
        if wrong == 0:
            if gated and small:
                wrong = _sum_gated(word, many, at[1], gate, count, total, end)
            elif gated:
                wrong = _sum_gated_big(word, many, at[1], gate, count, total, end)
            elif small:
                wrong = _sum(word, many, at[1], gate, count, total, end)
            else:
                wrong = _sum_big(word, many, at[1], gate, count, total, end)
        if wrong:
            _by_word(words, many, a, a + WIDE, gated, limits, counts, totals, ends, word_class, masks)
    _by_word(words, many, whole, n, gated, limits, counts, totals, ends, word_class, masks)


@fast
def _codes(word, many, looks):
    """Not zero if one of these words is an error code that looks like the stage."""
    found = np.uint64(0)
    for i in range(len(looks)):
        for k in range(np.uint64(many)):
            found |= _which_is(word + np.uint64(2 * ROW) * k, looks[i])
    return found


@fast
def _by_word(words, many, start, stop, gated, limits, counts, totals, ends, word_class, masks):
    """Pixels start to stop of a few frames, one by one."""
    for f in range(np.uint64(many)):
        for a in range(np.uint64(start), np.uint64(stop)):
            word = words[f, a]
            kind = np.uint64(word_class[word])
            counts[kind, a] += np.uint32(1)
            if kind == 0:
                adc = (word & masks[0]) >> masks[3]
                x = np.uint64(adc)
                totals[0, a] += x
                totals[1, a] += x * x
                ends[0, a], ends[1, a] = min(ends[0, a], adc), max(ends[1, a], adc)
                if gated and limits[0, a] <= adc <= limits[1, a]:
                    counts[3, a] += np.uint32(1)
                    totals[2, a] += x
                    totals[3, a] += x * x
