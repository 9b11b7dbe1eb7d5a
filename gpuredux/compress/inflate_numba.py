"""A zlib decoder for numba that checks every length, as zlib does. Over 200 lines: bit buffer, codes and the symbol loop are read together.

A stream of another's making may have any distance up to 32 KiB and any codes. Words of 8 bytes are read only where they lie in the chunk; what
is written may reach MARGIN bytes beyond the frame, in a buffer that has them.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only
from .deflate_numba import FIXED, ORDER, sums64
from .lz4_numba import MARGIN, V64, _copy_match, copy_bytes
from .words_numba import I64, _at, _load, load64

BITS = 11               # of a code that is found by one look-up
LITERAL, LITERALS, MATCH, END, LONG = 1, 2, 3, 4, 5
# What can be wrong with a chunk; shuffle_deflate_decode.REASONS has the words.
ZLIB_HEADER, DICTIONARY, CUT, BLOCK_KIND, STORED_LENGTH, MANY_CODES, LENGTH_CODE, REPEAT, NO_END, LITERAL_CODE, DISTANCE_CODE, BAD_LITERAL, BAD_DISTANCE, FAR, \
    TOO_LONG, TOO_SHORT, CHECKSUM, LEFT_OVER, SIZE = range(1, 20)
LENGTH_BITS = np.array([0] * 8 + [k for k in (1, 2, 3, 4, 5) for _ in range(4)] + [0])
LENGTH_BASE = np.array([3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258])
DISTANCE_BITS = np.array([0, 0] + [k for k in range(14) for _ in range(2)])
DISTANCE_BASE = np.array([1, 2, *(1 + (2 + s % 2 << s // 2 - 1) for s in range(2, 30))])
fast = njit(nogil=True, error_model="numpy")        # cached with what calls it


@intrinsic
def store16(typingctx, to, i, word):
    """to[i], to[i + 1] = the low two bytes."""

    def codegen(context, builder, sig, args):
        kind = ir.IntType(16)
        builder.store(builder.trunc(args[2], kind), _at(context, builder, sig.args[0], args[0], args[1], kind), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, types.int64), codegen


# ---------------------------------------------------------------------------------------------------------- bit buffer
@fast
def _fill(p, ip, end, word, n):
    """At least 56 bits in the word: where the next byte comes from, behind the end zeros, the word, its bits."""
    if ip + 8 <= end:
        word |= load64(p, ip) << np.uint64(n)
        return ip + ((63 - n) >> 3), word, n | 56
    while n <= 56:
        if ip < end:
            word |= np.uint64(p[ip]) << np.uint64(n)
        else:
            word &= ~(~np.uint64(0) << np.uint64(n))
        ip, n = ip + 1, n + 8
    return ip, word, n


# --------------------------------------------------------------------------------------------------------------- codes
@fast
def _ranks(lengths, n, code):
    """code[0, d] = how many codes have d bits, code[1] = the symbols by length; 0 for a complete code, 1 for one code of one bit, 2 for none, -1 otherwise."""
    for d in range(16):
        code[0, d] = 0
    for s in range(n):
        code[0, lengths[s]] += 1
    if code[0, 0] == n:
        return 2
    left, at = 1, 0
    for d in range(1, 16):
        left = 2 * left - code[0, d]
        if left < 0:
            return -1
        code[0, 16 + d] = at
        at += code[0, d]
    for s in range(n):
        d = lengths[s]
        if d:
            code[1, code[0, 16 + d]] = s
            code[0, 16 + d] += 1
    return 0 if left == 0 else 1 if code[0, 1] == 1 and code[0, 0] == n - 1 else -1


@fast
def _fill_table(code, symbols, bits, entry, table):
    """table[the next `bits` bits] = entry[symbol] | length of its code; LONG for longer codes; 0 where no code is."""
    size = 1 << bits
    for k in range(size):
        table[k] = 0
    first = at = 0
    for d in range(1, bits + 1):
        for k in range(code[0, d]):
            turned, c = 0, first + k
            for _ in range(d):
                turned = turned << 1 | (c & 1)
                c >>= 1
            e = entry[code[1, at]] | d
            at += 1
            for i in range(turned, size, 1 << d):
                table[i] = e
        first = (first + code[0, d]) << 1
    if at < symbols:            # longer codes: their beginnings are left
        for k in range(first >> 1, size):
            turned, c = 0, k
            for _ in range(bits):
                turned = turned << 1 | (c & 1)
                c >>= 1
            table[turned] = LONG << 8


@fast
def _pairs(single, table):
    """Two literals at once where both codes are short."""
    for k in range(1 << BITS):
        e = single[k]
        if e >> 8 & 255 == LITERAL:
            d = e & 255
            second = single[k >> d]
            if second >> 8 & 255 == LITERAL and d + (second & 255) <= BITS:
                e = (d + (second & 255)) | LITERALS << 8 | (e >> 16) << 16 | (second >> 16) << 24
        table[k] = e


@fast
def _slow(code, word):
    """The symbol of a code of up to 15 bits and its length, -1 for none."""
    c = first = at = 0
    for d in range(1, 16):
        c |= np.int64(word & np.uint64(1))
        word >>= np.uint64(1)
        here = code[0, d]
        if c - first < here:
            return code[1, at + c - first], d
        at += here
        first = (first + here) << 1
        c <<= 1
    return -1, 0


@fast
def _entries(entry):
    """What the tables hold of a literal or length (row 0), of a distance (row 1): its kind, base and extra bits."""
    for s in range(256):
        entry[0, s] = LITERAL << 8 | s << 16
    entry[0, 256] = END << 8
    for s in range(29):
        entry[0, 257 + s] = MATCH << 8 | LENGTH_BASE[s] << 16 | LENGTH_BITS[s] << 25
    entry[0, 286] = entry[0, 287] = 0
    for s in range(30):
        entry[1, s] = MATCH << 8 | DISTANCE_BASE[s] << 16 | DISTANCE_BITS[s] << 32
    entry[1, 30] = entry[1, 31] = 0


@fast
def _tables(lengths, n_literals, n_distances, literal, distance, entry, table):
    """Of both codes; lengths (2, ...). 0 or what is wrong."""
    kind = _ranks(lengths[0], n_literals, literal)
    if kind < 0:
        return LITERAL_CODE
    _fill_table(literal, n_literals - literal[0, 0], BITS, entry[0], table[1])
    _pairs(table[1], table[0])
    kind = _ranks(lengths[1], n_distances, distance)
    if kind < 0:
        return DISTANCE_CODE
    _fill_table(distance, n_distances - distance[0, 0], 8, entry[1], table[2])
    return 0


@fast
def _read_lengths(p, ip, end, word, n, lengths, literal, entry, table):
    """The header of a dynamic block: error, how many literals and distances there are, and the bit buffer behind it."""
    ip, word, n = _fill(p, ip, end, word, n)
    head = np.int64(word & np.uint64(0x3FFF))
    literals, distances, said = (head & 31) + 257, (head >> 5 & 31) + 1, (head >> 10) + 4
    word, n = word >> np.uint64(14), n - 14
    if literals > 286 or distances > 30:
        return MANY_CODES, 0, 0, ip, word, n
    for k in range(19):
        lengths[0, k] = 0
    for k in range(said):
        if n < 3:
            ip, word, n = _fill(p, ip, end, word, n)
        lengths[0, ORDER[k]] = np.int64(word & np.uint64(7))
        word, n = word >> np.uint64(3), n - 3
    if _ranks(lengths[0], 19, literal) != 0:
        return LENGTH_CODE, 0, 0, ip, word, n
    _fill_table(literal, 19 - literal[0, 0], 7, entry[2], table[0])
    error, ip, word, n = _said_lengths(p, ip, end, word, n, lengths, literals, literals + distances, table)
    return error, literals, distances, ip, word, n


@fast
def _said_lengths(p, ip, end, word, n, lengths, literals, both, table):
    """The lengths of both codes, by the code in table[0]."""
    at, last = 0, -1
    while at < both:
        ip, word, n = _fill(p, ip, end, word, n)
        e = np.int64(table[0, np.int64(word & np.uint64(127))])
        s, d = e >> 16, e & 255
        word, n = word >> np.uint64(d), n - d
        times = 1
        if s < 16:
            last = s
        else:
            extra = 2 if s == 16 else 3 if s == 17 else 7
            times = (11 if s == 18 else 3) + (np.int64(word) & (1 << extra) - 1)
            word, n = word >> np.uint64(extra), n - extra
            if s > 16:
                last = 0
            if last < 0:
                return REPEAT, ip, word, n
        if at + times > both:
            return REPEAT, ip, word, n
        for k in range(at, at + times):
            if k < literals:
                lengths[0, k] = last
            else:
                lengths[1, k - literals] = last
        at += times
    return 0 if lengths[0, 256] else NO_END, ip, word, n


# -------------------------------------------------------------------------------------------------------------- symbols
@fast
def _block(p, ip, end, word, n, literal, distance, entry, table, out, op, total):
    """The symbols of a block: error, the bit buffer behind them, how many bytes there are. Long: the loop that all time is spent in."""
    mask = np.uint64((1 << BITS) - 1)
    while True:
        ip, word, n = _fill(p, ip, end, word, n)
        if 8 * ip - n > 8 * end:
            return CUT, ip, word, n, op
        e = np.int64(table[0, np.int64(word & mask)])
        kind = e >> 8 & 255
        if kind <= LITERALS and kind > 0:
            for _ in range(4):              # at most 44 bits
                store16(out, op, e >> 16)
                op += kind
                word, n = word >> np.uint64(e & 255), n - (e & 255)
                e = np.int64(table[0, np.int64(word & mask)])
                kind = e >> 8 & 255
                if kind > LITERALS or kind == 0:
                    break
            if op > total:
                return TOO_LONG, ip, word, n, op
            continue
        d = e & 255
        if kind == LONG:
            s, d = _slow(literal, word)
            e = np.int64(entry[0, s]) if s >= 0 else 0
            kind = e >> 8 & 255
        word, n = word >> np.uint64(d), n - d
        if kind == END:
            return (CUT if 8 * ip - n > 8 * end else 0), ip, word, n, op
        if kind == LITERAL:
            if op >= total:
                return TOO_LONG, ip, word, n, op
            out[op] = e >> 16
            op += 1
            continue
        if kind != MATCH:
            return BAD_LITERAL, ip, word, n, op
        extra = e >> 25
        length = (e >> 16 & 511) + np.int64(word & ((np.uint64(1) << np.uint64(extra)) - np.uint64(1)))
        word, n = word >> np.uint64(extra), n - extra
        e = np.int64(table[2, np.int64(word & np.uint64(255))])
        d = e & 255
        if e >> 8 & 255 == LONG:
            s, d = _slow(distance, word)
            e = np.int64(entry[1, s]) if s >= 0 else 0
        if e >> 8 & 255 != MATCH:
            return BAD_DISTANCE, ip, word, n, op
        word, n = word >> np.uint64(d), n - d
        extra = e >> 32
        back = (e >> 16 & 0xFFFF) + np.int64(word & ((np.uint64(1) << np.uint64(extra)) - np.uint64(1)))
        word, n = word >> np.uint64(extra), n - extra
        if 8 * ip - n > 8 * end:
            return CUT, ip, word, n, op
        if back > op:
            return FAR, ip, word, n, op
        if length > total - op:
            return TOO_LONG, ip, word, n, op
        _copy_match(out, op, back, length, total + MARGIN - op)
        op += length


@fast
def _adler32(b, n):
    low, high = 1, 0
    for at in range(0, n, 4096):
        stop = min(at + 4096, n)
        for i in range(at, stop - 63, 64):
            both = sums64(b, i)
            high += 64 * low + (both >> 32)
            low += both & 0xFFFFFFFF
        for i in range(at + (stop - at) // 64 * 64, stop):
            low += b[i]
            high += low
        low, high = low % 65521, high % 65521
    return high << 16 | low


@fast
def inflate(p, size, out, total, lengths, literal, distance, entry, table):
    """out[:total] = the zlib stream p[:size]: 0, or what is wrong, and at which byte of it. out is MARGIN bytes longer."""
    if size < 2 or size > p.shape[0]:
        return SIZE, 0
    head = np.int64(p[0]) << 8 | np.int64(p[1])
    if head % 31 or p[0] & 15 != 8 or p[0] >> 4 > 7:
        return ZLIB_HEADER, 0
    if p[1] & 32:
        return DICTIONARY, 1
    ip, word, n, op = 2, np.uint64(0), 0, 0
    final = False
    while not final:
        ip, word, n = _fill(p, ip, size, word, n)
        final, kind = word & np.uint64(1) != 0, np.int64(word >> np.uint64(1) & np.uint64(3))
        word, n = word >> np.uint64(3), n - 3
        error = CUT if 8 * ip - n > 8 * size else BLOCK_KIND if kind == 3 else 0
        if error == 0 and kind == 0:
            error, ip, word, n, op = _stored(p, ip, size, n, out, op, total)
        elif error == 0:
            literals, distances = 288, 32
            if kind == 2:
                error, literals, distances, ip, word, n = _read_lengths(p, ip, size, word, n, lengths, literal, entry, table)
            else:
                for s in range(288):
                    lengths[0, s] = FIXED[s]
                for s in range(32):
                    lengths[1, s] = 5
            if error == 0:
                error = _tables(lengths, literals, distances, literal, distance, entry, table)
            if error == 0:
                error, ip, word, n, op = _block(p, ip, size, word, n, literal, distance, entry, table, out, op, total)
        if error:
            return error, min((8 * ip - n) >> 3, size)
    return _trailer(p, ip - (n >> 3), size, out, op, total)


@fast
def _trailer(p, ip, size, out, op, total):
    """What is wrong behind the last block, and where."""
    if ip + 4 > size:
        return CUT, size
    if op != total:
        return TOO_SHORT, ip
    check = np.int64(p[ip]) << 24 | np.int64(p[ip + 1]) << 16 | np.int64(p[ip + 2]) << 8 | np.int64(p[ip + 3])
    if check != _adler32(out, total):
        return CHECKSUM, ip
    return (LEFT_OVER if ip + 4 < size else 0), ip + 4


@fast
def _stored(p, ip, end, n, out, op, total):
    """A stored block behind the rest of its first byte: error, the empty bit buffer behind it, how many bytes there are."""
    ip -= n >> 3
    word = np.uint64(0)
    if ip + 4 > end:
        return CUT, end, word, 0, op
    length = np.int64(p[ip]) | np.int64(p[ip + 1]) << 8
    if length ^ (np.int64(p[ip + 2]) | np.int64(p[ip + 3]) << 8) != 0xFFFF:
        return STORED_LENGTH, ip, word, 0, op
    ip += 4
    if length > end - ip:
        return CUT, end, word, 0, op
    if length > total - op:
        return TOO_LONG, ip, word, 0, op
    copy_bytes(out, op, p, ip, length)
    return 0, ip + length, word, 0, op + length


# ----------------------------------------------------------------------------------------------------------- whole frames
def _unrank(size):
    @intrinsic
    def put(typingctx, source, i, plane, to, j):
        """64 elements from byte to[j] on: their bytes are source[i], source[i + plane] and so on."""

        def codegen(context, builder, sig, args):
            kind = ir.VectorType(ir.IntType(8 * size), 64)
            x = ir.Constant(kind, None)
            for rank in range(size):
                at = builder.add(args[1], builder.mul(args[2], ir.Constant(I64, rank)))
                one = builder.zext(_load(context, builder, sig.args[0], args[0], at, V64), kind)
                x = builder.or_(x, builder.shl(one, ir.Constant(kind, [8 * rank] * 64)))
            builder.store(x, _at(context, builder, sig.args[3], args[3], args[4], kind), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, types.int64, to, types.int64), codegen

    return put


unrank2, unrank4, unrank8 = (_unrank(k) for k in (2, 4, 8))


@fast
def unshuffle(planes, raw, size):
    """raw = the elements whose bytes of rank 0 are the first ones of planes, and so on."""
    npix = raw.shape[0] // size
    whole = npix // 64 * 64
    if size == 1:
        copy_bytes(raw, 0, planes, 0, npix)
        return
    for k in range(0, whole, 64):
        if size == 2:
            unrank2(planes, k, npix, raw, 2 * k)
        elif size == 4:
            unrank4(planes, k, npix, raw, 4 * k)
        else:
            unrank8(planes, k, npix, raw, 8 * k)
    for k in range(whole, npix):
        for rank in range(size):
            raw[k * size + rank] = planes[rank * npix + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _share(first, step, payload, sizes, size, raw, planes, found):
    """Every step-th frame: raw, and in found what is wrong and where."""
    lengths, table = np.zeros((2, 320), np.uint8), np.zeros((3, 1 << BITS), np.int64)
    literal, distance, entry = np.zeros((2, 320), np.int64), np.zeros((2, 320), np.int64), np.zeros((3, 288), np.int64)
    _entries(entry)
    for s in range(19):
        entry[2, s] = s << 16
    for f in range(first, raw.shape[0], step):
        error, at = inflate(payload[f], np.int64(sizes[f]), planes[f], raw.shape[1], lengths, literal, distance, entry, table)
        found[f, 0], found[f, 1] = error, at
        if error:
            raw[f, :] = 0
        else:
            unshuffle(planes[f], raw[f], size)


def decode_frames(payload, sizes, size, raw, planes, threads):
    """Fill raw (n, bytes) u8; for each frame (error, byte of the chunk): 0 = none. planes: MARGIN bytes longer a frame than raw."""
    found, payload, sizes = np.zeros((len(raw), 2), np.int64), read_only(payload), read_only(sizes)
    share(lambda t, _: _share(t, threads, payload, sizes, size, raw, planes, found), threads)
    return found
