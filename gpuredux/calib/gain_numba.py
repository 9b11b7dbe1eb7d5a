"""The tiles of calib.gain for the CPU: 64 pixels at a time in vector registers. Over 200 lines: with the vector pieces that LLVM gets."""

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

TILE = 16384    # pixels whose plane-0 constants (128 KiB) stay in the L2 cache while a tile walks the frames
WIDE = 64       # pixels that are decided on together
FEW = 6         # up to so many pixels of another plane in 64 are fetched one by one
WORDS, FLOATS = ir.VectorType(ir.IntType(16), WIDE), ir.VectorType(ir.FloatType(), WIDE)
ADDRESS = types.uint64


def _load(builder, where, kind, align):
    value = builder.load(builder.inttoptr(where, kind.as_pointer()))
    value.align = align
    return value


def _all_lanes(builder, value, kind):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE))


def _energy(builder, word, pedestal, factor, adc_mask, bad):
    """(f32(word & adc_mask) - pedestal) * factor, bad where factor is 0, of 64 pixels."""
    adc = builder.uitofp(builder.and_(word, _all_lanes(builder, adc_mask, WORDS)), FLOATS)
    k = _load(builder, factor, FLOATS, 4)
    y = builder.fmul(builder.fsub(adc, _load(builder, pedestal, FLOATS, 4)), k)
    return builder.select(builder.fcmp_unordered("!=", k, ir.Constant(FLOATS, [0.0] * WIDE)), y, _all_lanes(builder, bad, FLOATS))


@intrinsic
def _plain(typingctx, raw, pedestal, factor, energy, adc_mask, bad):
    """energy[0:64] of one plane, by addresses; energy at a multiple of 16 bytes.

    Non-temporal: a store through the cache would first read the line, 10 bytes a pixel on the bus instead of 6."""

    def codegen(context, builder, sig, args):
        y = _energy(builder, _load(builder, args[0], WORDS, 2), *args[1:3], *args[4:])
        store = builder.store(y, builder.inttoptr(args[3], FLOATS.as_pointer()))
        store.align = 16
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(ADDRESS, ADDRESS, ADDRESS, ADDRESS, types.uint16, types.float32), codegen


@intrinsic
def _select(typingctx, raw, pedestal, factor, energy, adc_mask, bad, bits, value):
    """energy[0:64] of one plane where raw & bits == value; the other pixels keep theirs."""

    def codegen(context, builder, sig, args):
        word = _load(builder, args[0], WORDS, 2)
        y = _energy(builder, word, *args[1:3], *args[4:6])
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


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def gain_tiles(raw, cell, pedestal, factor, energy, pixel_status, decode, planes, codes, bad):
    """Fill energy and pixel_status (n, npix); return the OR of the data's status bits of each frame.

    Tiles of pixels in parallel; a tile walks all frames with its constants in cache."""
    n, npix = raw.shape
    n_tiles = (npix + TILE - 1) // TILE
    flags = np.zeros((n_tiles, n), np.uint32)
    mark = factor.view(np.uint32)
    for tile in prange(n_tiles):
        stop = min(tile * TILE + TILE, npix)
        for f in range(n):
            c = np.uint64(0)
            lost = False
            if cell is not None:
                lost = cell[f] >= pedestal.shape[1]
                c = np.uint64(0) if lost else np.uint64(cell[f])
            if lost:
                energy[f, tile * TILE : stop] = bad
                flags[tile, f] = np.uint32(1)
            else:
                flags[tile, f] = _row(raw[f], pedestal, factor, mark, energy[f], c, tile * TILE, stop, decode, planes, codes, bad)
            if pixel_status is not None:
                _status(raw[f], mark, pixel_status[f], c, tile * TILE, stop, lost, decode, planes, codes)
    total = np.zeros(n, np.uint32)
    for tile in range(n_tiles):
        total |= flags[tile]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _row(raw, pedestal, factor, mark, energy, c, start, stop, decode, planes, codes, bad):
    """Pixels start to stop of one frame: 64 at a time, the rest one by one."""
    flags = np.uint32(0)
    gain_bits = np.uint16(decode[2] << decode[1])
    short = energy.ctypes.data % 16 == 0     # else the frame does not begin at a vector's boundary
    for i in range(codes.shape[0]):
        short = short and codes[i, 0] & gain_bits != 0      # a code that looks like plane 0 needs a look at each word
    whole = start + (stop - start) // WIDE * WIDE
    words, to = np.uint64(raw.ctypes.data), np.uint64(energy.ctypes.data)
    plane = np.uint64(pedestal.shape[1] * pedestal.shape[2] * 4)
    first = c * np.uint64(pedestal.shape[2] * 4)
    p, k = np.uint64(pedestal.ctypes.data) + first, np.uint64(factor.ctypes.data) + first
    for a in range(start, whole, WIDE):
        j = np.uint64(a)
        two, four = j * np.uint64(2), j * np.uint64(4)
        odd = np.uint16(0)
        for i in range(np.uint64(WIDE)):
            odd |= raw[j + i]
        if short and odd & gain_bits == 0:
            _plain(words + two, p + four, k + four, to + four, np.uint16(decode[0]), bad)
        else:
            at = (words + two, p + four, k + four, to + four, plane)
            flags |= _mixed(at, raw, pedestal, factor, mark, energy, c, j, odd & gain_bits, decode, planes, codes, bad)
    for a in range(whole, stop):
        flags |= _one(raw, pedestal, factor, mark, energy, c, a, decode, planes, codes, bad)
    return flags


@njit(cache=True, nogil=True, error_model="numpy")
def _mixed(at, raw, pedestal, factor, mark, energy, c, j, odd, decode, planes, codes, bad):
    """64 pixels: each plane that the gain bits `odd` can mean, selected over the last; then invalid gains and codes, which are rare."""
    adc_mask, shift, mask = np.uint16(decode[0]), decode[1], decode[2]
    gain_bits = np.uint16(mask << shift)
    words, p, k, to, plane = at
    flags = np.uint32(0)
    for v in range(planes.shape[0]):
        value = np.uint16(v << shift)
        if value & odd != value:
            continue
        hit = _where(words, gain_bits if v else np.uint16(0), value)    # plane 0 for all at first
        g = planes[v]
        if g < 0:
            flags |= _refuse(hit, energy, mark, c, j, np.uint32(1), bad)
        elif _count(hit) > FEW:
            _select(words, p + np.uint64(g) * plane, k + np.uint64(g) * plane, to, adc_mask, bad, gain_bits if v else np.uint16(0), value)
        else:
            _gather(hit, raw, pedestal, factor, energy, np.uint64(g), c, j, adc_mask, bad)
    for i in range(codes.shape[0]):
        if codes[i, 0] & gain_bits & odd == codes[i, 0] & gain_bits:
            hit = _where(words, np.uint16(0xFFFF), np.uint16(codes[i, 0]))
            flags |= _refuse(hit, energy, mark, c, j, codes[i, 1], bad)
    return flags


@njit(cache=True, nogil=True, error_model="numpy")
def _refuse(hit, energy, mark, c, j, bit, bad):
    """energy = bad where hit has a bit; the status bit, if one of these pixels is not masked."""
    flags = np.uint32(0)
    while hit:
        i = j + _lowest(hit)
        hit &= hit - np.uint64(1)
        energy[i] = bad
        if mark[np.uint64(0), c, i] != 0:
            flags = np.uint32(bit)
    return flags


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(hit, raw, pedestal, factor, energy, g, c, j, adc_mask, bad):
    """energy of the few pixels where hit has a bit."""
    while hit:
        i = j + _lowest(hit)
        hit &= hit - np.uint64(1)
        y = (np.float32(raw[i] & adc_mask) - pedestal[g, c, i]) * factor[g, c, i]
        energy[i] = y if factor[g, c, i] != 0 else bad


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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
