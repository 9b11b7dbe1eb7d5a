"""The tiles of calib.gain for the CPU: 64 pixels at a time in vector registers. Over 200 lines: the vector instructions and the loop they serve."""

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only

TILE = 131072   # pixels that walk all frames before the next ones do; in a single pass memory is asked for so far ahead (64 K: 12 % slower)
AHEAD = 1024    # pixels before they are reached, their other planes are asked for
WIDE = 64       # pixels that are decided on together
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
U16, I32, I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS, FLOATS, MARKS, LANES = (ir.VectorType(kind, WIDE) for kind in (U16, ir.FloatType(), I32, ir.IntType(1)))
ADDRESS = types.uint64


def _load(builder, where, kind, align):
    value = builder.load(builder.inttoptr(where, kind.as_pointer()))
    value.align = align
    return value


def _all_lanes(builder, value, kind):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, WIDE), [0] * WIDE))


def _equal(builder, words, value):
    return builder.icmp_unsigned("==", words, _all_lanes(builder, value, WORDS))


def _some(builder, bits):
    return builder.icmp_unsigned("!=", bits, ir.Constant(I64, 0))


def _energy(builder, word, p, k, adc_mask, bad):
    """(f32(word & adc_mask) - p) * k, bad where k is 0, of 64 pixels."""
    adc = builder.uitofp(builder.and_(word, _all_lanes(builder, adc_mask, WORDS)), FLOATS)
    y = builder.fmul(builder.fsub(adc, p), k)
    return builder.select(builder.fcmp_unordered("!=", k, ir.Constant(FLOATS, [0.0] * WIDE)), y, _all_lanes(builder, bad, FLOATS))


def _past_cache(builder, value, where):
    """A store at a multiple of 64 bytes; one through the cache would first read the line, 10 bytes a pixel on the bus instead of 6."""
    store = builder.store(value, builder.inttoptr(where, FLOATS.as_pointer()))
    store.align = 64
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))


def _plain_of(frames):
    @intrinsic
    def plain(typingctx, raw, row_bytes, pedestal, factor, energy, adc_mask, bad):
        """energy[0:64] of plane 0 in `frames` frames, by addresses; energy at a multiple of 64 bytes."""

        def codegen(context, builder, sig, args):
            raw, row_bytes, pedestal, factor, energy, adc_mask, bad = args
            p, k = (_load(builder, where, FLOATS, 4) for where in (pedestal, factor))
            for _ in range(frames):
                _past_cache(builder, _energy(builder, _load(builder, raw, WORDS, 2), p, k, adc_mask, bad), energy)
                raw, energy = builder.add(raw, row_bytes), builder.add(energy, builder.add(row_bytes, row_bytes))
            return context.get_dummy_value()

        return types.void(*[ADDRESS] * 5, types.uint16, types.float32), codegen

    return plain


_plain1, _plain2, _plain4 = _plain_of(1), _plain_of(2), _plain_of(4)


def _where_of(frames):
    @intrinsic
    def where(typingctx, raw, row_bytes, bits, value):
        """One bit for each of 64 pixels: the OR of its words in `frames` frames, & bits, is value."""

        def codegen(context, builder, sig, args):
            raw, row_bytes, bits, value = args
            words = _load(builder, raw, WORDS, 2)
            for _ in range(frames - 1):
                raw = builder.add(raw, row_bytes)
                words = builder.or_(words, _load(builder, raw, WORDS, 2))
            return builder.bitcast(_equal(builder, builder.and_(words, _all_lanes(builder, bits, WORDS)), value), I64)

        return types.uint64(ADDRESS, ADDRESS, types.uint16, types.uint16), codegen

    return where


_where1, _where2, _where4 = _where_of(1), _where_of(2), _where_of(4)


def _prefetcher(lines):
    @intrinsic
    def prefetch(typingctx, where):
        """Ask for the next cache lines (64 bytes each) of an address that may be any."""

        def codegen(context, builder, sig, args):
            byte = ir.IntType(8).as_pointer()
            ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]))
            for k in range(lines):
                at = builder.inttoptr(builder.add(args[0], ir.Constant(I64, 64 * k)), byte)
                builder.call(ask, [at, *(ir.Constant(I32, v) for v in (0, 2, 1))])
            return context.get_dummy_value()

        return types.void(ADDRESS), codegen

    return prefetch


_prefetch2, _prefetch4 = _prefetcher(2), _prefetcher(4)


def _refused(builder, word, invalid, factor, codes, count):
    """One bit for each of 64 words that is a code or invalid; the status bits of those that are not masked. (Lanes without AVX-512 are dear.)"""
    coded, seen = (cgutils.alloca_once_value(builder, ir.Constant(kind, 0)) for kind in (I64, I32))

    def note(bits, status):
        with builder.if_then(_some(builder, bits), likely=False):
            used = builder.icmp_unsigned("!=", _load(builder, factor, MARKS, 4), ir.Constant(MARKS, None))
            is_used = _some(builder, builder.and_(bits, builder.bitcast(used, I64)))
            builder.store(builder.or_(builder.load(seen), builder.select(is_used, status, ir.Constant(I32, 0))), seen)

    with cgutils.for_range(builder, count) as loop:
        code = builder.add(codes, builder.mul(loop.index, ir.Constant(I64, 8)))
        bits = builder.bitcast(_equal(builder, word, builder.trunc(_load(builder, code, I32, 4), U16)), I64)
        builder.store(builder.or_(builder.load(coded), bits), coded)
        note(bits, _load(builder, builder.add(code, ir.Constant(I64, 4)), I32, 4))
    coded = builder.load(coded)
    note(builder.and_(invalid, builder.not_(coded)), ir.Constant(I32, 1))     # a code says itself what it is
    return builder.or_(invalid, coded), builder.load(seen)


@intrinsic
def _blend(typingctx, raw, pedestal, factor, energy, plane_bytes, planes, values, shift, mask, codes, count, adc_mask, bad):
    """energy[0:64] with the plane that each word's gain bits mean; returns the status bits of the data. energy at a multiple of 64 bytes."""

    def codegen(context, builder, sig, args):
        raw, pedestal, factor, energy, plane_bytes, planes, values, shift, mask, codes, count, adc_mask, bad = args
        word, byte = _load(builder, raw, WORDS, 2), ir.IntType(8)
        gain = builder.and_(word, _all_lanes(builder, mask, WORDS))
        used = [(where, cgutils.alloca_once_value(builder, _load(builder, where, FLOATS, 4))) for where in (pedestal, factor)]
        invalid = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        with cgutils.for_range(builder, values, start=ir.Constant(I64, 1)) as loop:
            plane = _load(builder, builder.add(planes, loop.index), byte, 1)
            mine = _equal(builder, gain, builder.shl(builder.trunc(loop.index, U16), shift))
            bits = builder.bitcast(mine, I64)
            with builder.if_then(_some(builder, bits)):
                with builder.if_then(builder.icmp_signed(">", plane, ir.Constant(byte, 0))):
                    far = builder.mul(builder.zext(plane, I64), plane_bytes)
                    for where, kept in used:
                        builder.store(builder.select(mine, _load(builder, builder.add(where, far), FLOATS, 4), builder.load(kept)), kept)
                with builder.if_then(builder.icmp_signed("<", plane, ir.Constant(byte, 0)), likely=False):
                    builder.store(builder.or_(builder.load(invalid), bits), invalid)
        y = cgutils.alloca_once_value(builder, _energy(builder, word, *(builder.load(kept) for _, kept in used), adc_mask, bad))
        refused, seen = _refused(builder, word, builder.load(invalid), factor, codes, count)
        with builder.if_then(_some(builder, refused), likely=False):
            builder.store(builder.select(builder.bitcast(refused, LANES), _all_lanes(builder, bad, FLOATS), builder.load(y)), y)
        _past_cache(builder, builder.load(y), energy)
        return seen

    u16 = types.uint16
    return types.uint32(*[ADDRESS] * 7, u16, u16, ADDRESS, ADDRESS, u16, types.float32), codegen


fast = njit(cache=True, nogil=True, error_model="numpy")


@fast
def _where(many, words, row_bytes, bits, value):
    """One bit for each of 64 pixels: the OR of its words in `many` frames, & bits, is value."""
    if many == 4:
        return _where4(words, row_bytes, bits, value)
    if many == 2:
        return _where2(words, row_bytes, bits, value)
    return _where1(words, row_bytes, bits, value)


@fast
def _blocks(at, many, first, last, ahead, next_tile, decode, planes, codes, bad, flags):
    """64 pixels of `many` frames at a time: of plane 0 alone, or of all planes that their words mean."""
    words, row_bytes, p, k, to, plane_bytes = at
    adc_mask, shift, gain_bits = np.uint16(decode[0]), np.uint16(decode[1]), np.uint16(decode[2] << decode[1])
    look = False
    for i in range(codes.shape[0]):
        look = look or codes[i, 0] & gain_bits == 0     # a code that looks like plane 0
    for a in range(first, last, WIDE):
        two, four, soon = np.uint64(2 * a), np.uint64(4 * a), np.uint64(min(a + AHEAD, last - WIDE))
        for g in range(np.uint64(many)):
            _prefetch2(words + g * row_bytes + two + ahead)
        if next_tile:
            _prefetch4(p + four + next_tile)
            _prefetch4(k + four + next_tile)
        then = words + np.uint64(2) * soon
        if _where(many, then, row_bytes, gain_bits, np.uint16(0)) != FULL:
            for v in range(planes.shape[0]):
                value = np.uint16(v << shift)
                if planes[v] > 0 and _where(many, then, row_bytes, value, value):
                    far = np.uint64(planes[v]) * plane_bytes + np.uint64(4) * soon
                    _prefetch4(p + far)
                    _prefetch4(k + far)
        if look or _where(many, words + two, row_bytes, gain_bits, np.uint16(0)) != FULL:
            for g in range(np.uint64(many)):
                flags[g] |= _blend(
                    words + g * row_bytes + two, p + four, k + four, to + np.uint64(2) * g * row_bytes + four, plane_bytes, np.uint64(planes.ctypes.data),
                    np.uint64(len(planes)), shift, gain_bits, np.uint64(codes.ctypes.data), np.uint64(len(codes)), adc_mask, bad,
                )
        elif many == 4:
            _plain4(words + two, row_bytes, p + four, k + four, to + four, adc_mask, bad)
        elif many == 2:
            _plain2(words + two, row_bytes, p + four, k + four, to + four, adc_mask, bad)
        else:
            _plain1(words + two, row_bytes, p + four, k + four, to + four, adc_mask, bad)


def gain_tiles(raw, cell, pedestal, factor, energy, pixel_status, *decoding):
    """Fill energy and pixel_status (n, npix); return the OR of the data's status bits of each frame.

    Tiles of pixels in parallel, so that one frame keeps all threads busy; a tile walks all frames, up to 4 at a time.
    What is not there gets a stand-in, so that the tiles are compiled once, not once for each choice."""
    n, npix = raw.shape
    size = min(TILE, npix // (2 * get_num_threads()) + 4096)
    flags = np.zeros((-(-npix // size), n), np.uint32)
    raw, cell, factor = (read_only(a) for a in (raw, np.zeros(n, np.uint16) if cell is None else cell, factor))
    pixel_status = np.empty((0, 0), np.uint8) if pixel_status is None else pixel_status
    share(_tiles, len(flags), flags, raw, cell, read_only(pedestal), factor, factor.view(np.uint32), energy, pixel_status, size, *decoding)
    return np.bitwise_or.reduce(flags, axis=0)


@fast
def _tiles(first_tile, last_tile, flags, raw, cell, pedestal, factor, mark, energy, pixel_status, size, decode, planes, codes, bad):
    n, npix = raw.shape
    for tile in range(first_tile, last_tile):
        begin, stop = tile * size, min(tile * size + size, npix)
        f = 0
        while f < n:
            c = np.uint64(cell[f])
            lost = c >= np.uint64(pedestal.shape[1])
            many = 1 if lost else _together(cell, f, n, npix)
            if lost:
                energy[f, begin:stop] = bad
                flags[tile, f] = np.uint32((mark[0, 0, begin:stop] != 0).any())
            else:
                _rows(raw, pedestal, factor, mark, energy, c, f, many, begin, stop, size, decode, planes, codes, bad, flags[tile])
            if len(pixel_status):
                for g in range(f, f + many):
                    _status(raw[g], mark, pixel_status[g], np.uint64(0) if lost else c, begin, stop, lost, decode, planes, codes)
            f += many


@fast
def _together(cell, f, n, npix):
    """4, 2 or 1: frames from f on of the same cell and with the same place in a cache line."""
    many = 1
    while many < 4 and 2 * many <= n - f and npix % 16 == 0:
        for g in range(f + many, f + 2 * many):
            if cell[g] != cell[f]:
                return many
        many *= 2
    return many


@fast
def _line(energy, pixel):
    """The first pixel from this one on that begins a cache line of 64 bytes; 0 and the end stay."""
    if pixel == 0 or pixel >= energy.shape[0]:
        return min(pixel, energy.shape[0])
    return min(pixel + (-(energy.ctypes.data // 4 + pixel) & 15), energy.shape[0])


@fast
def _rows(raw, pedestal, factor, mark, energy, c, f, many, begin, stop, size, decode, planes, codes, bad, flags):
    """Pixels begin to stop, moved to the next cache line, of `many` frames: 64 at a time, the ends one by one."""
    begin, stop = _line(energy[f], begin), _line(energy[f], stop)
    first = min(-(energy[f].ctypes.data // 4) & 15, stop) if begin == 0 else begin
    last = first + (stop - first) // WIDE * WIDE
    for g in range(f, f + many):
        for a in range(begin, first):
            flags[g] |= _one(raw[g], pedestal, factor, mark, energy[g], c, a, decode, planes, codes, bad)
        for a in range(last, stop):
            flags[g] |= _one(raw[g], pedestal, factor, mark, energy[g], c, a, decode, planes, codes, bad)
    plane, row_bytes = np.uint64(4 * pedestal.shape[2]), np.uint64(2 * raw.shape[1])
    at = (
        np.uint64(raw[f].ctypes.data), row_bytes, np.uint64(pedestal.ctypes.data) + c * plane, np.uint64(factor.ctypes.data) + c * plane,
        np.uint64(energy[f].ctypes.data), np.uint64(pedestal.shape[1]) * plane,
    )
    on = f + many < len(raw)        # what is read next: the following frames, or the first ones of the next tile and its constants
    ahead = row_bytes * np.uint64(many) if on else np.uint64(2 * size) - row_bytes * np.uint64(f)
    next_tile = np.uint64(0 if on else 4 * size)
    _blocks(at, many, first, last, ahead, next_tile, decode, planes, codes, bad, flags[f:])


@fast
def _one(raw, pedestal, factor, mark, energy, c, a, decode, planes, codes, bad):
    """One pixel; its status bits from the data."""
    word = np.uint32(raw[a])
    plane = planes[word >> decode[1] & decode[2]]
    bit = np.uint32(1) if plane < 0 else np.uint32(0)
    for i in range(codes.shape[0]):
        if word == codes[i, 0]:
            bit = codes[i, 1]
    k = factor[max(plane, 0), c, a]
    y = (np.float32(word & decode[0]) - pedestal[max(plane, 0), c, a]) * k
    energy[a] = y if bit == 0 and k != 0 else bad
    return bit if mark[0, c, a] != 0 else np.uint32(0)


@intrinsic
def _plain_status(typingctx, mark, status):
    """status[0:64] of plane 0 by the marks of its factors: 8 where +0, 16 where -0, else 0."""

    def codegen(context, builder, sig, args):
        lanes, bytes_ = ir.VectorType(ir.IntType(32), WIDE), ir.VectorType(ir.IntType(8), WIDE)
        m = _load(builder, args[0], lanes, 4)
        masked, bad = (builder.icmp_unsigned("==", m, ir.Constant(lanes, [v] * WIDE)) for v in (0, 0x80000000))
        value = builder.select(bad, ir.Constant(bytes_, [16] * WIDE), ir.Constant(bytes_, [0] * WIDE))
        builder.store(builder.select(masked, ir.Constant(bytes_, [8] * WIDE), value), builder.inttoptr(args[1], bytes_.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(ADDRESS, ADDRESS), codegen


@fast
def _status(raw, mark, pixel_status, c, start, stop, lost, decode, planes, codes):
    """pixel_status of pixels start to stop: masked first, then the word, then the constant of its plane; WIDE pixels at a time where all are of plane 0."""
    gain_bits = np.uint16(decode[2] << decode[1])
    words, to = np.uint64(raw.ctypes.data), np.uint64(pixel_status.ctypes.data)
    marks = np.uint64(mark.ctypes.data) + np.uint64(4) * c * np.uint64(mark.shape[2])
    look = lost
    for k in range(codes.shape[0]):
        look = look or codes[k, 0] & gain_bits == 0     # a code that looks like plane 0
    for begin in range(start, stop, WIDE):
        j, end = np.uint64(begin), np.uint64(min(begin + WIDE, stop))
        if not look and begin + WIDE <= stop and _where1(words + np.uint64(2) * j, np.uint64(0), gain_bits, np.uint16(0)) == FULL:
            _plain_status(marks + np.uint64(4) * j, to + j)
        else:
            for i in range(j, end):
                pixel_status[i] = _status_of(np.uint32(raw[i]), mark, c, i, lost, decode, planes, codes)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _status_of(word, mark, c, j, lost, decode, planes, codes):
    """The status of one pixel."""
    plane = planes[word >> decode[1] & decode[2]]
    bit = np.uint32(1) if plane < 0 or lost else np.uint32(0)
    if not lost:
        for i in range(codes.shape[0]):
            if word == codes[i, 0]:
                bit = codes[i, 1]
    if bit == 0 and mark[np.uint64(plane), c, j] == 0x80000000:
        bit = np.uint32(16)
    return np.uint32(8) if mark[np.uint64(0), c, j] == 0 else bit
