"""The tiles of calib.gain for the CPU: 64 pixels at a time in vector registers. Over 200 lines: the vector instructions and the loop they serve."""

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

TILE = 32768    # pixels whose plane-0 constants (256 KiB) stay in the L2 cache while a tile walks the frames
TOGETHER = 4    # frames whose 64 pixels use the constants while these are in registers
WIDE = 64       # pixels that are decided on together
FEW = 6         # up to so many pixels of another plane in 64 are fetched one by one
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
WORDS, FLOATS = ir.VectorType(ir.IntType(16), WIDE), ir.VectorType(ir.FloatType(), WIDE)
ADDRESS = types.uint64


def _load(builder, where, kind, align):
    value = builder.load(builder.inttoptr(where, kind.as_pointer()))
    value.align = align
    return value


def _all_lanes(builder, value, kind):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE))


def _energy(builder, word, p, k, adc_mask, bad):
    """(f32(word & adc_mask) - p) * k, bad where k is 0, of 64 pixels."""
    adc = builder.uitofp(builder.and_(word, _all_lanes(builder, adc_mask, WORDS)), FLOATS)
    y = builder.fmul(builder.fsub(adc, p), k)
    return builder.select(builder.fcmp_unordered("!=", k, ir.Constant(FLOATS, [0.0] * WIDE)), y, _all_lanes(builder, bad, FLOATS))


def _past_cache(builder, value, where):
    """A store at a multiple of 64 bytes; one through the cache would first read the line, 10 bytes a pixel on the bus instead of 6."""
    store = builder.store(value, builder.inttoptr(where, FLOATS.as_pointer()))
    store.align = 64
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _plain_of(frames):
    @intrinsic
    def plain(typingctx, raw, row_bytes, pedestal, factor, energy, adc_mask, bad):
        """energy[0:64] of one plane in `frames` frames, by addresses; energy at a multiple of 64 bytes."""

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


def _prefetcher(lines):
    @intrinsic
    def prefetch(typingctx, where):
        """Ask for the next cache lines (64 bytes each) of an address that may be any."""

        def codegen(context, builder, sig, args):
            byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
            ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word]))
            for k in range(lines):
                at = builder.inttoptr(builder.add(args[0], ir.Constant(ir.IntType(64), 64 * k)), byte)
                builder.call(ask, [at, *(ir.Constant(word, v) for v in (0, 2, 1))])
            return context.get_dummy_value()

        return types.void(ADDRESS), codegen

    return prefetch


_prefetch1, _prefetch2, _prefetch4 = _prefetcher(1), _prefetcher(2), _prefetcher(4)


@intrinsic
def _stream(typingctx, source, energy):
    """energy[0:64] = source[0:64], past the cache like _plain."""

    def codegen(context, builder, sig, args):
        _past_cache(builder, _load(builder, args[0], FLOATS, 4), args[1])
        return context.get_dummy_value()

    return types.void(ADDRESS, ADDRESS), codegen


@intrinsic
def _select(typingctx, raw, pedestal, factor, energy, adc_mask, bad, bits, value):
    """energy[0:64] of one plane where raw & bits == value; the other pixels keep theirs."""

    def codegen(context, builder, sig, args):
        word = _load(builder, args[0], WORDS, 2)
        y = _energy(builder, word, *(_load(builder, where, FLOATS, 4) for where in args[1:3]), *args[4:6])
        mine = builder.icmp_unsigned("==", builder.and_(word, _all_lanes(builder, args[6], WORDS)), _all_lanes(builder, args[7], WORDS))
        to = builder.inttoptr(args[3], FLOATS.as_pointer())
        before = builder.load(to)
        before.align = 4
        builder.store(builder.select(mine, y, before), to).align = 4
        return context.get_dummy_value()

    return types.void(*[ADDRESS] * 4, types.uint16, types.float32, types.uint16, types.uint16), codegen


@intrinsic
def _where(typingctx, raw, bits, value):
    """One bit for each of 64 pixels: raw & bits == value."""

    def codegen(context, builder, sig, args):
        word = builder.and_(_load(builder, args[0], WORDS, 2), _all_lanes(builder, args[1], WORDS))
        return builder.bitcast(builder.icmp_unsigned("==", word, _all_lanes(builder, args[2], WORDS)), ir.IntType(64))

    return types.uint64(ADDRESS, types.uint16, types.uint16), codegen


@intrinsic
def _lowest(typingctx, bits):
    """The number of the lowest bit set."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def _count(typingctx, bits):
    """How many bits are set."""

    def codegen(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def gain_tiles(raw, cell, pedestal, factor, energy, pixel_status, decode, planes, codes, bad):
    """Fill energy and pixel_status (n, npix); return the OR of the data's status bits of each frame.

    Tiles of pixels in parallel; a tile walks all frames with its constants in cache, up to TOGETHER frames at a time."""
    n, npix = raw.shape
    n_tiles = (npix + TILE - 1) // TILE
    flags = np.zeros((n_tiles, n), np.uint32)
    mark = factor.view(np.uint32)
    for tile in prange(n_tiles):
        odd, row = np.empty((TOGETHER * TILE // WIDE, 2), np.int64), np.empty(WIDE, np.float32)
        begin, stop = tile * TILE, min(tile * TILE + TILE, npix)
        f = 0
        while f < n:
            c = np.uint64(0) if cell is None else np.uint64(cell[f])
            lost = c >= np.uint64(pedestal.shape[1])
            many = 1 if lost else _together(cell, f, n, npix)
            if lost:
                energy[f, begin:stop] = bad
                flags[tile, f] = np.uint32((mark[0, 0, begin:stop] != 0).any())
            else:
                _rows(raw, pedestal, factor, mark, energy, c, f, many, begin, stop, decode, planes, codes, bad, flags[tile], odd, row)
            for g in range(f, f + many):
                if pixel_status is not None:
                    _status(raw[g], mark, pixel_status[g], np.uint64(0) if lost else c, begin, stop, lost, decode, planes, codes)
            f += many
    total = np.zeros(n, np.uint32)
    for tile in range(n_tiles):
        total |= flags[tile]
    return total


@fast
def _together(cell, f, n, npix):
    """4, 2 or 1: frames from f on of the same cell and with the same place in a cache line."""
    many = 1
    while 2 * many <= min(TOGETHER, n - f) and npix % 16 == 0:
        for g in range(f + many, f + 2 * many):
            if cell is not None and cell[g] != cell[f]:
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
def _rows(raw, pedestal, factor, mark, energy, c, f, many, begin, stop, decode, planes, codes, bad, flags, odd, row):
    """Pixels begin to stop, moved to the next cache line, of `many` frames: 64 at a time, the ends one by one."""
    begin, stop = _line(energy[f], begin), _line(energy[f], stop)
    first = min(-(energy[f].ctypes.data // 4) & 15, stop) if begin == 0 else begin
    last = first + (stop - first) // WIDE * WIDE
    for g in range(f, f + many):
        for a in range(begin, first):
            flags[g] |= _one(raw[g], pedestal, factor, mark, energy[g], c, a, decode, planes, codes, bad)
        for a in range(last, stop):
            flags[g] |= _one(raw[g], pedestal, factor, mark, energy[g], c, a, decode, planes, codes, bad)
    size, row_bytes = np.uint64(4 * pedestal.shape[2]), np.uint64(2 * raw.shape[1])
    at = (
        np.uint64(raw[f].ctypes.data), row_bytes, np.uint64(pedestal.ctypes.data) + c * size, np.uint64(factor.ctypes.data) + c * size,
        np.uint64(energy[f].ctypes.data), np.uint64(pedestal.shape[1]) * size,
    )
    on = f + many < len(raw)        # what is read next: the following frames, or the first ones of the next tile
    ahead = row_bytes * np.uint64(many) if on else np.uint64(2 * TILE) - row_bytes * np.uint64(f)
    count = _simple(at, many, first, last, ahead, on, decode, planes, codes, bad, odd)
    for i in range(count):
        g, j = np.uint64(odd[i, 0]), np.uint64(odd[i, 1])
        words, p, k, to = at[0] + g * at[1] + np.uint64(2) * j, at[2] + np.uint64(4) * j, at[3] + np.uint64(4) * j, np.uint64(row.ctypes.data)
        flags[f + odd[i, 0]] |= _mixed((words, p, k, to, at[5]), raw[f + odd[i, 0]], pedestal, factor, mark, row, c, j, decode, planes, codes, bad)
        _stream(to, at[4] + np.uint64(2) * g * at[1] + np.uint64(4) * j)


@fast
def _simple(at, many, first, last, ahead, on, decode, planes, codes, bad, odd):
    """The blocks of 64 pixels with plane 0 alone; the others are listed in odd (frame, pixel), and their constants asked for."""
    words, row_bytes, p, k, to, plane = at
    adc_mask, gain_bits = np.uint16(decode[0]), np.uint16(decode[2] << decode[1])
    look = False
    for i in range(codes.shape[0]):
        look = look or codes[i, 0] & gain_bits == 0     # a code that looks like plane 0
    count = 0
    for a in range(first, last, WIDE):
        two, four = np.uint64(2 * a), np.uint64(4 * a)
        mixed = np.uint64(0)
        for g in range(np.uint64(many)):
            word = words + g * row_bytes + two
            _prefetch2(word + ahead)
            if look or _where(word, gain_bits, np.uint16(0)) != FULL:
                mixed |= np.uint64(1) << g
                odd[count, 0], odd[count, 1] = g, a
                count += 1
                _fetch(word, p + four, k + four, plane, gain_bits, decode[1], planes)
        if not on:
            _prefetch4(p + four + np.uint64(4 * TILE))
            _prefetch4(k + four + np.uint64(4 * TILE))
        if mixed == 0 and many == 4:
            _plain4(words + two, row_bytes, p + four, k + four, to + four, adc_mask, bad)
        elif mixed == 0 and many == 2:
            _plain2(words + two, row_bytes, p + four, k + four, to + four, adc_mask, bad)
        else:
            for g in range(np.uint64(many)):
                if mixed >> g & np.uint64(1) == 0:
                    _plain1(words + g * row_bytes + two, row_bytes, p + four, k + four, to + np.uint64(2) * g * row_bytes + four, adc_mask, bad)
    return count


@fast
def _fetch(words, p, k, plane, gain_bits, shift, planes):
    """Ask for the cache lines of the other planes that 64 pixels use."""
    for v in range(planes.shape[0]):
        if planes[v] > 0:
            hit = _where(words, gain_bits, np.uint16(v << shift))
            far = np.uint64(planes[v]) * plane
            for q in range(np.uint64(4)):
                if hit >> (np.uint64(16) * q) & np.uint64(0xFFFF):
                    _prefetch1(p + far + np.uint64(64) * q)
                    _prefetch1(k + far + np.uint64(64) * q)


@fast
def _mixed(at, raw, pedestal, factor, mark, row, c, j, decode, planes, codes, bad):
    """row[0:64] = the energies from pixel j on: each plane that the gain bits can mean, selected over the last; then invalid gains and codes,
    which are rare. Returns the status bits of the data."""
    adc_mask, shift, mask = np.uint16(decode[0]), decode[1], decode[2]
    gain_bits = np.uint16(mask << shift)
    words, p, k, to, plane = at
    flags, odd = np.uint32(0), np.uint16(0)
    for i in range(np.uint64(WIDE)):
        odd |= raw[j + i]
    odd &= gain_bits
    for v in range(planes.shape[0]):
        value = np.uint16(v << shift)
        if value & odd != value:
            continue
        hit = _where(words, gain_bits if v else np.uint16(0), value)    # plane 0 for all at first
        g = planes[v]
        if g < 0:
            for i in range(codes.shape[0]):     # a code says itself what it is
                hit &= ~_where(words, np.uint16(0xFFFF), np.uint16(codes[i, 0]))
            flags |= _refuse(hit, row, mark, c, j, np.uint32(1), bad)
        elif _count(hit) > FEW:
            _select(words, p + np.uint64(g) * plane, k + np.uint64(g) * plane, to, adc_mask, bad, gain_bits if v else np.uint16(0), value)
        else:
            _gather(hit, raw, pedestal, factor, row, np.uint64(g), c, j, adc_mask, bad)
    for i in range(codes.shape[0]):
        if codes[i, 0] & gain_bits & odd == codes[i, 0] & gain_bits:
            hit = _where(words, np.uint16(0xFFFF), np.uint16(codes[i, 0]))
            flags |= _refuse(hit, row, mark, c, j, codes[i, 1], bad)
    return flags


@fast
def _refuse(hit, row, mark, c, j, bit, bad):
    """row = bad where hit has a bit; the status bit, if one of these pixels is not masked."""
    flags = np.uint32(0)
    while hit:
        i = j + _lowest(hit)
        hit &= hit - np.uint64(1)
        row[i - j] = bad
        if mark[np.uint64(0), c, i] != 0:
            flags = np.uint32(bit)
    return flags


@fast
def _gather(hit, raw, pedestal, factor, row, g, c, j, adc_mask, bad):
    """row at the few pixels where hit has a bit."""
    while hit:
        i = j + _lowest(hit)
        hit &= hit - np.uint64(1)
        y = (np.float32(raw[i] & adc_mask) - pedestal[g, c, i]) * factor[g, c, i]
        row[i - j] = y if factor[g, c, i] != 0 else bad


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


@fast
def _status(raw, mark, pixel_status, c, start, stop, lost, decode, planes, codes):
    """pixel_status of pixels start to stop: masked first, then the word, then the constant of its plane."""
    for j in range(np.uint64(start), np.uint64(stop)):
        word = np.uint32(raw[j])
        plane = planes[word >> decode[1] & decode[2]]
        bit = np.uint32(1) if plane < 0 or lost else np.uint32(0)
        if not lost:
            for i in range(codes.shape[0]):
                if word == codes[i, 0]:
                    bit = codes[i, 1]
        if bit == 0 and mark[np.uint64(plane), c, j] == 0x80000000:
            bit = np.uint32(16)
        pixel_status[j] = 8 if mark[np.uint64(0), c, j] == 0 else bit
