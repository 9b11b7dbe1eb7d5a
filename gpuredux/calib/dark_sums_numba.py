"""The tiles of calib.dark_sums for the CPU: 64 pixels of 8 frames at a time in vector registers. Over 200 lines: the instruction and the loops that it
serves."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only

TILE = 8192         # pixels whose sums stay in the L2 cache while the frames go by
ROW = TILE + 32     # elements between rows of sums: a power of two apart, they would share the same few lines of a cache
WIDE = 64           # pixels that are decided on together
TOGETHER = 8        # frames side by side; more would not fit: frames lie a power of two apart, and a cache has 8 places for such
FIT = 4             # words of 14 bits whose sum fits into 16
FEW = 8             # words outside a gate that are summed one by one
CARRY = 16          # frames of 14 bits, so many of whose squares fit into 32
SUM, SUM2, OTHER, LOST, BEYOND, MANY_BEYOND = range(6)      # rows of the narrow sums; beyond: outside the gate, which is rare
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
    return builder.shuffle_vector(one, one, _order([0] * WIDE))


def _at(builder, where, nbytes):
    return builder.add(where, ir.Constant(LONG, nbytes))


def _total(builder, values):
    total = values[0]
    for value in values[1:]:
        total = builder.add(total, value)
    return total


def _grow(builder, where, more):
    """What lies there, plus these, in the width that it has."""
    _store(builder, builder.add(_load(builder, where, more.type), more), where)


def _order(lanes):
    return ir.Constant(ir.VectorType(HALF, len(lanes)), list(lanes))


def _multiply_add(context):
    """x[2i] * y[2i] + x[2i+1] * y[2i+1] of signed words, in 32 bits: how many words and the name, if this processor has it."""
    features = context.codegen().magic_tuple()[2]
    return (32, "llvm.x86.avx512.pmaddw.d.512") if "+avx512bw" in features else (16, "llvm.x86.avx2.pmadd.wd") if "+avx2" in features else (0, "")


def _squares(context, builder, adc):
    """The sum of the squares of some vectors of words of 14 bits, in 32 bits: at best two frames' words side by side, with one multiplication for both."""
    width, name = _multiply_add(context)
    if not width:
        return _total(builder, [builder.mul(a, a) for a in [builder.zext(a, HALVES) for a in adc]])
    adc, kind = [*adc, ir.Constant(WORDS, [0] * WIDE)], ir.VectorType(HALF, width // 2)      # the last stays alone, or falls off
    call = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [ir.VectorType(WORD, width)] * 2))
    in_order = _order([p % 8 // 4 * (width // 2) + p // 8 * 4 + p % 4 for p in range(width)])
    parts = []
    for begin in range(0, WIDE, width):
        sums = []
        for four in (begin, begin + 4):     # the first and the last four of each 8 words: within 16 bytes they move most cheaply
            beside = _order([word for k in range(four, four + width, 8) for p in range(k, k + 4) for word in (p, WIDE + p)])
            pairs = [builder.shuffle_vector(a, b, beside) for a, b in zip(adc[:-1:2], adc[1::2], strict=False)]
            sums.append(_total(builder, [builder.call(call, [x, x]) for x in pairs]))
        parts.append(builder.shuffle_vector(*sums, in_order))
    while len(parts) > 1:
        parts = [builder.shuffle_vector(a, b, _order(range(2 * a.type.count))) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _grow_all(context, builder, adc, squares, where, where2):
    """Sum and sum of squares take in some vectors of words."""
    if squares is HALVES:
        x = [builder.zext(_total(builder, adc[k : k + FIT]), HALVES) for k in range(0, len(adc), FIT)]
        square = _squares(context, builder, adc)
    else:
        x = [builder.zext(a, HALVES) for a in adc]
        square = _total(builder, [builder.zext(builder.mul(a, a), squares) for a in x])
    _grow(builder, where, _total(builder, x))
    _grow(builder, where2, square)


def _bits(builder, lanes):
    return builder.bitcast(lanes, LONG)


def _any(builder, values):
    some = values[0]
    for value in values[1:]:
        some = builder.or_(some, value)
    return some


def _grow_ends(builder, low, high, ends):
    """Least and largest take in vectors of words."""
    for k, (relation, words) in enumerate((("<", low), (">", high))):
        best = _load(builder, _at(builder, ends, 2 * ROW * k), WORDS)
        for word in words:
            best = builder.select(builder.icmp_unsigned(relation, word, best), word, best)
        _store(builder, best, _at(builder, ends, 2 * ROW * k))


def _outside(builder, adc, gate, squares):
    """One bit a pixel. gate: low, high, and for 14 bits high - low + 1, with which one comparison does."""
    low, high, length = (_load(builder, _at(builder, gate, 2 * ROW * k), WORDS) for k in range(3))
    if squares is HALVES:
        return [builder.icmp_unsigned(">=", builder.sub(a, low), length) for a in adc]
    return [builder.or_(builder.icmp_unsigned("<", a, low), builder.icmp_unsigned(">", a, high)) for a in adc]


def _summer(frames, gated, squares):
    """An instruction: the sums of 64 pixels take in so many frames; squares: the width of a sum of squares."""

    @intrinsic
    def sum_frames(typingctx, rows, offset, masks, gate, small, square, ends, found):
        """By address: where the frames' rows lie, and the words in them; the masks of the adc and of the gain bits, and the stage's gain bits; the gate
        and the sums, in rows of ROW elements; found (8,) u64: one bit a pixel, for words of each frame outside the gate. Not zero if a word has other
        gain bits than the stage's: then no sum was changed."""

        def codegen(context, builder, sig, args):
            rows, offset, masks, gate, small, square, ends, found = args
            adc_mask, gain_bits, stage = (_all_lanes(builder, _load(builder, _at(builder, masks, 2 * k), WORD), WORDS) for k in range(3))
            words = [_load(builder, builder.add(_load(builder, _at(builder, rows, 8 * k), LONG), offset), WORDS) for k in range(frames)]
            odd = [builder.xor(builder.and_(w, gain_bits), stage) for w in words]
            wrong = _bits(builder, builder.icmp_unsigned("!=", _any(builder, odd), ir.Constant(WORDS, [0] * WIDE)))
            adc = [builder.and_(w, adc_mask) for w in words]
            beyond = [_bits(builder, b) for b in _outside(builder, adc, gate, squares)] if gated else []
            for k, bits in enumerate(beyond):
                _store(builder, bits, _at(builder, found, 8 * k))
            with builder.if_then(builder.icmp_unsigned("==", wrong, ir.Constant(LONG, 0)), likely=True):
                _grow_all(context, builder, adc, squares, small, square)
                _grow_ends(builder, adc, adc, ends)
            return wrong

        return types.uint64(*[ADDRESS] * 8), codegen

    return sum_frames


SIZES = (1, 4, TOGETHER)
_sum1, _sum4, _sum8, _gated1, _gated4, _gated8 = (_summer(frames, gated, HALVES) for gated in (False, True) for frames in SIZES)
_big1, _big4, _big8, _big_gated1, _big_gated4, _big_gated8 = (_summer(frames, gated, LONGS) for gated in (False, True) for frames in SIZES)


def _chooser(gated, squares):
    """An instruction: the sums of 64 pixels take in those words of one frame that count."""

    @intrinsic
    def sum_some(typingctx, words, mine, masks, gate, small, square, ends):
        """mine: one bit a pixel; the rest as in sum_frames. Which of them lie outside the gate."""

        def codegen(context, builder, sig, args):
            words, mine, masks, gate, small, square, ends = args
            chosen = builder.bitcast(mine, ir.VectorType(ir.IntType(1), WIDE))
            adc = builder.and_(_load(builder, words, WORDS), _all_lanes(builder, _load(builder, masks, WORD), WORDS))
            for_sum, for_least = (builder.select(chosen, adc, ir.Constant(WORDS, [v] * WIDE)) for v in (0, 65535))
            _grow_all(context, builder, [for_sum], squares, small, square)
            _grow_ends(builder, [for_least], [for_sum], ends)
            return builder.and_(mine, _bits(builder, _outside(builder, [adc], gate, squares)[0])) if gated else ir.Constant(LONG, 0)

        return types.uint64(*[ADDRESS] * 7), codegen

    return sum_some


_some, _some_gated, _some_big, _some_big_gated = (_chooser(gated, squares) for squares in (HALVES, LONGS) for gated in (False, True))


@intrinsic
def _outside_many(typingctx, words, beyond, masks, small, wide):
    """The sums of what lies outside take in words of one frame: beyond: one bit a pixel; the rest as in sum_frames, wide: of squares, in 64 bits."""

    def codegen(context, builder, sig, args):
        words, beyond, masks, small, wide = args
        chosen = builder.bitcast(beyond, ir.VectorType(ir.IntType(1), WIDE))
        adc = builder.and_(_load(builder, words, WORDS), _all_lanes(builder, _load(builder, masks, WORD), WORDS))
        masked = builder.select(chosen, adc, ir.Constant(WORDS, [0] * WIDE))
        _grow_all(context, builder, [masked], LONGS, _at(builder, small, 4 * ROW * BEYOND), _at(builder, wide, 8 * ROW))
        _grow(builder, _at(builder, small, 4 * ROW * MANY_BEYOND), builder.zext(chosen, HALVES))
        return context.get_dummy_value()

    return types.void(*[ADDRESS] * 5), codegen


@intrinsic
def _which_is(typingctx, where, bits, value):
    """One bit for each of 64 words: word & bits == value."""

    def codegen(context, builder, sig, args):
        word = builder.and_(_load(builder, args[0], WORDS), _all_lanes(builder, args[1], WORDS))
        return builder.bitcast(builder.icmp_unsigned("==", word, _all_lanes(builder, args[2], WORDS)), LONG)

    return types.uint64(ADDRESS, types.uint16, types.uint16), codegen


@intrinsic
def _lowest(typingctx, bits):
    """The number of the lowest bit set."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def _how_many(typingctx, bits):
    """How many bits are set."""

    def codegen(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def _ask(typingctx, where):
    """Prefetch the two cache lines of 64 words."""

    def codegen(context, builder, sig, args):
        byte = ir.IntType(8).as_pointer()
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, HALF, HALF, HALF]))
        for k in range(2):
            builder.call(ask, [builder.inttoptr(_at(builder, args[0], 64 * k), byte), *(ir.Constant(HALF, v) for v in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(ADDRESS), codegen


def _emitter(state, kind, minus):
    """An instruction: 64 bytes of the new state, past the cache: a store through it would read the line first."""
    lanes = 512 // state.width

    @intrinsic
    def emit(typingctx, old, plus, less, shift, to):
        """new = old + (plus - less >> shift), by address; `to` is a multiple of 64."""

        def codegen(context, builder, sig, args):
            old, plus, less, shift, to = args
            more = _load(builder, plus, ir.VectorType(kind, lanes))
            more = builder.sub(more, _load(builder, less, more.type)) if minus else more
            wide = ir.VectorType(state, lanes)
            more = more if kind is state else builder.zext(more, wide)
            if state is LONG:
                one = builder.insert_element(ir.Constant(wide, ir.Undefined), shift, ir.Constant(HALF, 0))
                more = builder.lshr(more, builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(HALF, lanes), [0] * lanes)))
            store = builder.store(builder.add(_load(builder, old, wide), more), builder.inttoptr(to, wide.as_pointer()))
            store.align = 64
            store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(HALF, 1)]))
            return context.get_dummy_value()

        return types.void(*[ADDRESS] * 5), codegen

    return emit


_emit_count, _emit_inside = _emitter(HALF, HALF, False), _emitter(HALF, HALF, True)
_emit_sum, _emit_inner = _emitter(LONG, HALF, False), _emitter(LONG, HALF, True)
_emit_sum2, _emit_inner2 = _emitter(LONG, LONG, False), _emitter(LONG, LONG, True)
fast = njit(cache=True, nogil=True, error_model="numpy")


def sum_tiles(raw, order, first, count, total, extreme, gate, *rest):
    """The new state; order: frames by cell, first: where each cell's begin. Tiles of pixels of a cell in parallel.

    Sums are of the words as they lie there, not shifted: the shift comes last, once."""
    state = (count, total, extreme, np.empty((2, 0, 0), np.uint16) if gate is None else gate)
    share(_tiles, -(-raw.shape[1] // TILE) * (len(first) - 1), raw, order, first, *map(read_only, state), *rest)


@fast
def _tiles(first_job, last_job, raw, order, first, count, total, extreme, gate, new_count, new_total, new_extreme, word_class, masks, looks):
    npix, gated = raw.shape[1], gate.shape[1] > 0
    n_tiles = (npix + TILE - 1) // TILE
    small, wide = np.empty((6, ROW), np.uint32), np.empty((2, ROW), np.uint64)    # for all tiles: fresh pages for each cost more than the sums
    ends, limits = np.empty((2, ROW), np.uint16), np.empty((3, ROW), np.uint16)
    for job in range(first_job, last_job):
        c, begin = job // n_tiles, job % n_tiles * TILE
        n, frames = min(TILE, npix - begin), order[first[c] : first[c + 1]]
        _clear(small, wide, ends, gated)
        if gated:
            _limits(gate[0, c, begin : begin + n], gate[1, c, begin : begin + n], masks, limits)
        if masks[0] < 16384:
            for f in range(0, len(frames), CARRY):
                last = min(f + CARRY, len(frames))
                _sum_tile(raw, frames, f, last, begin, n, gated, False, limits, small, small[SUM2:], wide, ends, word_class, masks, looks)
                _carry(small[SUM2], wide[0], n)
        else:
            _sum_tile(raw, frames, 0, len(frames), begin, n, gated, True, limits, small, wide, wide, ends, word_class, masks, looks)
        _give(count, total, extreme, new_count, new_total, new_extreme, gated, c, begin, n, len(frames), masks[3], small, wide, ends)


@fast
def _clear(small, wide, ends, gated):
    small[: 6 if gated else 4] = 0
    wide[: 2 if gated else 1] = 0
    ends[0], ends[1] = 65535, 0


@fast
def _limits(low, high, masks, limits):
    """The gate of a tile in words that are not shifted: least, largest and how many lie inside (for words of 14 bits)."""
    shift, top = np.uint32(masks[3]), np.uint32(masks[0])      # top + 1 is 65536 only without a shift, and then is never the lesser
    for a in range(len(low)):
        least, most = min(np.uint32(low[a]) << shift, top + np.uint32(1)), min(np.uint32(high[a]) << shift, top)
        limits[0, a], limits[1, a] = least, most
        limits[2, a] = most - least + np.uint32(1) if most >= least else np.uint32(0)


@fast
def _carry(narrow, wide, n):
    for a in range(n):
        wide[a] += narrow[a]
        narrow[a] = 0


@fast
def _address(raw, f, begin):
    return np.uint64(raw.ctypes.data) + np.uint64(f) * np.uint64(raw.strides[0]) + np.uint64(2 * begin)


@fast
def _sum_tile(raw, frames, f, last, begin, n, gated, big, limits, small, square, wide, ends, word_class, masks, looks):
    """Frames f to last of a tile: 64 pixels of eight frames at a time where all words are of the stage; else, and at the end, one by one."""
    found, rows, following = np.zeros(TOGETHER, np.uint64), np.empty(TOGETHER, np.uint64), np.empty(TOGETHER, np.uint64)
    outside, there = np.empty(TOGETHER * TILE // WIDE, np.uint64), np.empty(TOGETHER * TILE // WIDE, np.int64)
    to = (np.uint64(masks.ctypes.data), np.uint64(limits.ctypes.data), np.uint64(small.ctypes.data), np.uint64(square.ctypes.data),
          np.uint64(ends.ctypes.data), np.uint64(found.ctypes.data))
    whole, size, rows_at = n // WIDE * WIDE, np.uint64(8 if big else 4), np.uint64(rows.ctypes.data)
    while f < last:
        many = TOGETHER if f + TOGETHER <= last else 4 if f + 4 <= last else 1
        _rows(raw, frames, f, begin, rows)
        _rows(raw, frames, f + many, begin, following)
        events = np.uint64(0)
        for a in range(0, whole, WIDE):
            two, four, odd = np.uint64(2 * a), np.uint64(4 * a), np.uint64(0)
            at = (to[0], to[1] + two, to[2] + four, to[3] + size * np.uint64(a), to[4] + two, to[5])
            for k in range(many):
                _ask(following[k] + two)
            for i in range(len(looks)):
                for k in range(many):
                    odd |= _which_is(rows[k] + two, np.uint16(0xFFFF), looks[i])
            if odd or _block(rows_at, two, many, gated, big, at):
                for k in range(many):
                    found[k] = _choose(rows[k] + two, raw, frames[f + k], begin, a, gated, big, at, limits, small, square, wide, ends, word_class, masks, looks)
            if gated:
                for k in range(many):       # no branch: whether a word lies outside cannot be foreseen
                    outside[events], there[events] = found[k], a + k
                    events += np.uint64(found[k] != 0)
        for e in range(events):
            _leave(outside[e], raw, frames[f + there[e] % WIDE], begin, there[e] // WIDE * WIDE, to, small, wide, masks)
        _by_word(raw, frames[f : f + many], begin, whole, n, gated, limits, small, square, wide, ends, word_class, masks)
        f += many


@fast
def _rows(raw, frames, f, begin, rows):
    """Where the words of eight frames lie; behind the last frame, those of the next tile in the first ones."""
    last = len(frames) - 1
    for k in range(TOGETHER):
        rows[k] = _address(raw, frames[min(f + k, last)], begin) if f <= last else _address(raw, frames[min(k, last)], begin + TILE)


@fast
def _block(rows, offset, many, gated, big, at):
    """sum_frames for what is asked."""
    if many == TOGETHER:
        if gated:
            return _big_gated8(rows, offset, *at) if big else _gated8(rows, offset, *at)
        return _big8(rows, offset, *at) if big else _sum8(rows, offset, *at)
    if many == 4:
        if gated:
            return _big_gated4(rows, offset, *at) if big else _gated4(rows, offset, *at)
        return _big4(rows, offset, *at) if big else _sum4(rows, offset, *at)
    if gated:
        return _big_gated1(rows, offset, *at) if big else _gated1(rows, offset, *at)
    return _big1(rows, offset, *at) if big else _sum1(rows, offset, *at)


@fast
def _choose(where, raw, f, begin, a, gated, big, at, limits, small, square, wide, ends, word_class, masks, looks):
    """64 words of a frame, some of which are not of the stage. Which of them lie outside the gate."""
    mine = _which_is(where, masks[1], masks[2])
    for i in range(len(looks)):
        mine &= ~_which_is(where, np.uint16(0xFFFF), looks[i])
    if gated:
        beyond = (_some_big_gated(where, mine, at[0], at[1], at[2], at[3], at[4]) if big
                  else _some_gated(where, mine, at[0], at[1], at[2], at[3], at[4]))
    else:
        beyond = _some_big(where, mine, at[0], at[1], at[2], at[3], at[4]) if big else _some(where, mine, at[0], at[1], at[2], at[3], at[4])
    others = ~mine
    while others:
        k = np.uint64(a) + _lowest(others)
        others &= others - np.uint64(1)
        _add(raw[np.uint64(f), np.uint64(begin) + k], k, gated, limits, small, square, wide, ends, word_class, masks)    # of the stage by other bits, too
    return beyond


@fast
def _leave(beyond, raw, f, begin, a, to, small, wide, masks):
    """Words of 64 outside the gate: usually one."""
    if _how_many(beyond) > np.uint64(FEW):
        here = np.uint64(a)
        _outside_many(_address(raw, f, begin) + np.uint64(2) * here, beyond, to[0], to[2] + np.uint64(4) * here,
                      np.uint64(wide.ctypes.data) + np.uint64(8) * here)
        return
    while beyond:
        k = np.uint64(a) + _lowest(beyond)
        beyond &= beyond - np.uint64(1)
        _add_beyond(raw[np.uint64(f), np.uint64(begin) + k] & masks[0], k, small, wide)


@fast
def _by_word(raw, frames, begin, start, stop, gated, limits, small, square, wide, ends, word_class, masks):
    """Pixels start to stop of a few frames, one by one."""
    for f in frames:
        for a in range(np.uint64(start), np.uint64(stop)):
            _add(raw[np.uint64(f), np.uint64(begin) + a], a, gated, limits, small, square, wide, ends, word_class, masks)


@fast
def _add(word, a, gated, limits, small, square, wide, ends, word_class, masks):
    """One word of pixel a."""
    kind, adc = word_class[word], word & masks[0]
    if kind:
        small[OTHER if kind == 1 else LOST, a] += np.uint32(1)
        return
    x = np.uint32(adc)
    small[SUM, a] += x
    square[np.uint64(0), a] += x * x
    ends[0, a], ends[1, a] = min(ends[0, a], adc), max(ends[1, a], adc)
    if gated and not limits[0, a] <= adc <= limits[1, a]:
        _add_beyond(adc, a, small, wide)


@fast
def _add_beyond(adc, a, small, wide):
    x = np.uint32(adc)
    small[BEYOND, a] += x
    wide[np.uint64(1), a] += x * x
    small[MANY_BEYOND, a] += np.uint32(1)


@fast
def _give(count, total, extreme, new_count, new_total, new_extreme, gated, c, begin, n, frames, shift, small, wide, ends):
    """The old state and these sums."""
    stop, mine, lost, other, least, most = begin + n, small[SUM2], small[LOST], small[OTHER], ends[0], ends[1]
    for a in range(n):      # sums of squares were carried: their row has room
        mine[a] = np.uint32(frames) - other[a] - lost[a]
    for a in range(n):
        least[a] = least[a] >> np.uint16(shift) if mine[a] else np.uint16(65535)
        most[a] >>= np.uint16(shift)
    least_before, most_before, new_least, new_most = (extreme[0, c, begin:stop], extreme[1, c, begin:stop], new_extreme[0, c, begin:stop],
                                                      new_extreme[1, c, begin:stop])
    for a in range(n):
        new_least[a] = min(least[a], least_before[a])
        new_most[a] = max(most[a], most_before[a])
    for row in range(3):
        _grow_row(count[row, c, begin:stop], mine if row == 0 else other if row == 1 else lost, None, 0, new_count[row, c, begin:stop])
    _grow_row(total[0, c, begin:stop], small[SUM], None, shift, new_total[0, c, begin:stop])
    _grow_row(total[1, c, begin:stop], wide[0], None, 2 * shift, new_total[1, c, begin:stop])
    if gated:
        _grow_row(count[3, c, begin:stop], mine, small[MANY_BEYOND], 0, new_count[3, c, begin:stop])
        _grow_row(total[2, c, begin:stop], small[SUM], small[BEYOND], shift, new_total[2, c, begin:stop])
        _grow_row(total[3, c, begin:stop], wide[0], wide[1], 2 * shift, new_total[3, c, begin:stop])


@fast
def _grow_row(old, plus, less, shift, new):
    """new = old + (plus - less >> shift): whole lines of 64 bytes at a time, the ends one by one."""
    n, size, s = len(new), new.itemsize, np.uint64(shift)
    line = 64 // size
    first = min((-new.ctypes.data % 64) // size, n)
    last = first + (n - first) // line * line
    for a in range(first):
        new[a] = old[a] + (np.uint64(plus[a] - (0 if less is None else less[a])) >> s)
    for a in range(last, n):
        new[a] = old[a] + (np.uint64(plus[a] - (0 if less is None else less[a])) >> s)
    old_at, plus_at, to = np.uint64(old.ctypes.data), np.uint64(plus.ctypes.data), np.uint64(new.ctypes.data)
    less_at, narrow = np.uint64(0) if less is None else np.uint64(less.ctypes.data), np.uint64(plus.itemsize)
    for a in range(np.uint64(first), np.uint64(last), np.uint64(line)):
        x, y, z, new_at = old_at + np.uint64(size) * a, plus_at + narrow * a, less_at + narrow * a, to + np.uint64(size) * a
        if size == 4:
            if less is None:
                _emit_count(x, y, z, s, new_at)
            else:
                _emit_inside(x, y, z, s, new_at)
        elif narrow == 4:
            if less is None:
                _emit_sum(x, y, z, s, new_at)
            else:
                _emit_inner(x, y, z, s, new_at)
        elif less is None:
            _emit_sum2(x, y, z, s, new_at)
        else:
            _emit_inner2(x, y, z, s, new_at)
