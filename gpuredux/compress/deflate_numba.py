"""The zlib encoder of shuffle_deflate.py for numba: the same bytes. Over 200 lines: units, codes and the bit writer share their tables.

Buffers that are read by whole vectors carry MARGIN spare bytes on both sides; user arrays do not.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only
from .huffman_lengths import WORK, code_lengths_into
from .lz4_numba import FULL, MARGIN, V64, copy_bytes, equal64
from .words_numba import I32, I64, _at, _load, load64, store64, trailing_zeros

UNIT, GROUP, LONGEST, SYMBOLS = 1 << 15, 4, 14, 286
SLOT = GROUP * (UNIT + 64) + 64         # a group's blocks, each from a multiple of 64 bytes on
fast = njit(nogil=True, error_model="numpy")        # cached with what calls it


def _lengths():
    """Of a match by its length: symbol, bits of extra, extra."""
    base = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
    bits = [0] * 8 + [k for k in (1, 2, 3, 4, 5) for _ in range(4)] + [0]
    table = np.zeros((3, 259), np.int64)
    for m in range(3, 259):
        s = max(k for k in range(29) if base[k] <= m)
        table[:, m] = 257 + s, bits[s], m - base[s]
    return table


MATCH = _lengths()
EXTRA_BITS = np.array([0] * 257 + [0] * 8 + [k for k in (1, 2, 3, 4, 5) for _ in range(4)] + [0])
FIXED = np.repeat(np.array([8, 9, 7, 8], np.uint8), [144, 112, 24, 8])
ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
SHARES = np.array([161, 256, 337, 406, 463, 512])


# ------------------------------------------------------------------------------------------------- vector intrinsics
@intrinsic
def ones(typingctx, x):
    """How many bits of a word are set."""

    def codegen(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def sums64(typingctx, array, i):
    """Of 64 bytes: their sum, and in the upper half the sum of 64 times the first, 63 times the second and so on."""

    def codegen(context, builder, sig, args):
        wide = ir.VectorType(ir.IntType(32), 64)
        x = builder.zext(_load(context, builder, sig.args[0], args[0], args[1], V64), wide)
        y = builder.mul(x, ir.Constant(wide, list(range(64, 0, -1))))
        name, kind = "llvm.vector.reduce.add.v64i32", ir.FunctionType(I32, [wide])
        low, high = (builder.zext(builder.call(get_or_insert_function(builder.module, kind, name), [v]), I64) for v in (x, y))
        return builder.or_(low, builder.shl(high, ir.Constant(I64, 32)))

    return types.int64(array, types.int64), codegen


def _rank_taker(size):
    @intrinsic
    def take(typingctx, source, i, rank, to, j):
        """to[j : j + 64] = byte `rank` of the 64 elements from byte source[i] on."""

        def codegen(context, builder, sig, args):
            kind = ir.IntType(8 * size)
            wide = ir.VectorType(kind, 64)
            x = _load(context, builder, sig.args[0], args[0], args[1], wide)
            if size > 1:
                shift = builder.mul(args[2], ir.Constant(I64, 8))
                shift = builder.trunc(shift, kind) if size < 8 else shift
                one = builder.insert_element(ir.Constant(wide, ir.Undefined), shift, ir.Constant(I32, 0))
                x = builder.trunc(builder.lshr(x, builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, 64), [0] * 64))), V64)
            builder.store(x, _at(context, builder, sig.args[3], args[3], args[4], V64), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, types.int64, to, types.int64), codegen

    return take


take1, take2, take4, take8 = (_rank_taker(k) for k in (1, 2, 4, 8))


@fast
def shuffled(raw, size, first, last, to, at):
    """to[at:] = bytes first to last of the byte-shuffled frame raw."""
    npix = raw.shape[0] // size
    while first < last:
        rank, k = first // npix, first % npix
        count = min(last - first, npix - k)
        for g in range(0, count - 63, 64):
            i = (k + g) * size
            if size == 1:
                take1(raw, i, rank, to, at + g)
            elif size == 2:
                take2(raw, i, rank, to, at + g)
            elif size == 4:
                take4(raw, i, rank, to, at + g)
            else:
                take8(raw, i, rank, to, at + g)
        for g in range(count // 64 * 64, count):
            to[at + g] = raw[(k + g) * size + rank]
        first += count
        at += count


# --------------------------------------------------------------------------------------------------------------- units
@fast
def _bitmap(b, at, n, equal, count, begins):
    """Of the unit b[at : at + n]: bit k of `equal`: byte k is the one before it, which byte 0 has unless the frame begins here. count: of each
    byte, in four shares. Returns the sums of adler32."""
    words = (n + 63) >> 6
    low = high = 0
    for w in range(words):
        i = at + 64 * w
        e = equal64(b, i, 1)
        left = n - 64 * w
        if left < 64:
            e &= ~(FULL << np.uint64(left))
        if begins and w == 0:
            e &= ~np.uint64(1)
        equal[w] = e
        if e == FULL:
            v = np.int64(b[i])
            count[0, v] += 64
            high += 64 * low + 2080 * v
            low += 64 * v
        elif left >= 64:
            if ones(e) >= 44:
                _count_heads(b, i, e, count)
            else:
                for k in range(0, 64, 4):
                    count[0, b[i + k]] += 1
                    count[1, b[i + k + 1]] += 1
                    count[2, b[i + k + 2]] += 1
                    count[3, b[i + k + 3]] += 1
            both = sums64(b, i)
            high += 64 * low + (both >> 32)
            low += both & 0xFFFFFFFF
        else:
            for k in range(left):
                count[0, b[i + k]] += 1
                low += b[i + k]
                high += low
    equal[words] = equal[words + 1] = np.uint64(0)
    return low, high


@fast
def _count_heads(b, i, e, count):
    """64 bytes, most of them equal to the ones before: each stretch at once."""
    heads = ~e & ~np.uint64(1)
    at = 0
    while heads:
        head = trailing_zeros(heads)
        count[0, b[i + at]] += head - at
        at = head
        heads &= heads - np.uint64(1)
    count[0, b[i + at]] += 64 - at


@fast
def _begins(equal, w):
    """Bit k: three ones in a row from bit k of word w on."""
    e, more = equal[w], equal[w + 1]
    return e & (e >> np.uint64(1) | more << np.uint64(63)) & (e >> np.uint64(2) | more << np.uint64(62))


@fast
def _run(equal, pos):
    """How many ones follow from bit pos on."""
    w, n = pos >> 6, 64 - (pos & 63)
    unequal = ~equal[w] >> np.uint64(pos & 63)
    if unequal:
        return trailing_zeros(unequal)
    while equal[w + 1] == FULL:
        w, n = w + 1, n + 64
    return n + trailing_zeros(~equal[w + 1])


@fast
def _least(count, n):
    """From which length on a run of a byte may be a match."""
    for k in range(6):
        if 1024 * count < SHARES[k] * n:
            return k + 3
    return 9


@fast
def _unit(b, at, start, n, begins, equal, count, least, matches, found, hist):
    """The matches of the unit from byte `start` of the group on, behind those found: start << 9 | length; how many there are then. hist: of
    its symbols. Also the sums of adler32."""
    for v in range(256):
        count[0, v] = count[1, v] = count[2, v] = count[3, v] = 0
    low, high = _bitmap(b, at, n, equal, count, begins)
    for v in range(256):
        c = np.int64(count[0, v] + count[1, v] + count[2, v] + count[3, v])
        hist[v] = c
        least[v] = _least(c, n) if c else 9
    for s in range(256, SYMBOLS):
        hist[s] = 0
    words, w, m = (n + 63) >> 6, 0, _begins(equal, 0)
    while True:
        while m == 0 and w + 1 < words:
            w += 1
            m = _begins(equal, w)
        if m == 0:
            break
        pos = 64 * w + trailing_zeros(m)
        run = _run(equal, pos)
        v = b[at + pos]
        end = pos + run
        while run >= 258:
            matches[found] = (start + pos) << 9 | 258
            found += 1
            hist[285] += 1
            hist[v] -= 258
            pos += 258
            run -= 258
        if run >= least[v]:
            matches[found] = (start + pos) << 9 | run
            found += 1
            hist[MATCH[0, run]] += 1
            hist[v] -= run
        w = end >> 6
        m = _begins(equal, w) & (FULL << np.uint64(end & 63))
    hist[256] = 1
    return found, low, high


# --------------------------------------------------------------------------------------------------------------- codes
@fast
def _say(lengths, said, counts):
    """The lengths of a dynamic block's codes as symbols: said[k] = symbol | extra << 8 | bits of extra << 16, and counts of the symbols; how many."""
    used = SYMBOLS
    while lengths[used - 1] == 0:
        used -= 1
    for s in range(19):
        counts[s] = 0
    many = at = 0
    while at < used + 2:
        v = np.int64(lengths[at]) if at < used else 1
        run = 1
        while at + run < used + 2 and (np.int64(lengths[at + run]) if at + run < used else 1) == v:
            run += 1
        at += run
        if v:
            said[many] = v
            many += 1
            run -= 1
        most, least, symbol, bits = (6, 3, 16, 2) if v else (138, 11, 18, 7)
        while run >= least:
            said[many] = symbol | (min(run, most) - least) << 8 | bits << 16
            many += 1
            run -= min(run, most)
        if v == 0 and run >= 3:
            said[many] = 17 | (run - 3) << 8 | 3 << 16
            many += 1
            run = 0
        for _ in range(run):
            said[many] = v
            many += 1
    for k in range(many):
        counts[said[k] & 255] += 1
    return many, used


@fast
def _last_said(of_lengths):
    last = 18
    while last > 3 and of_lengths[ORDER[last]] == 0:
        last -= 1
    return last


@fast
def _cost(hist, lengths, raw, said, counts, of_lengths, work):
    """The codes of a block, and the bits and the kind (0 stored, 1 fixed, 2 dynamic) of the smallest. raw: bytes, 0 where it must not be stored."""
    stored = 42 + 8 * raw if raw else 1 << 62
    code_lengths_into(hist, LONGEST, lengths, work)
    fixed = dynamic = 3
    for s in range(SYMBOLS):
        fixed += hist[s] * (FIXED[s] + EXTRA_BITS[s])
        dynamic += hist[s] * (lengths[s] + EXTRA_BITS[s])
    matches = 0
    for s in range(257, SYMBOLS):
        matches += hist[s]
    fixed += 5 * matches
    dynamic += matches
    if dynamic < min(stored, fixed):            # without the codes themselves
        many, _ = _say(lengths, said, counts)
        code_lengths_into(counts, 7, of_lengths, work)
        dynamic += 14 + 3 * (_last_said(of_lengths) + 1)
        for k in range(many):
            dynamic += of_lengths[said[k] & 255] + (said[k] >> 16)
    if stored <= min(fixed, dynamic):
        return stored, 0
    return (fixed, 1) if fixed <= dynamic else (dynamic, 2)


@fast
def _codes(lengths, n, codes, next_code):
    """codes[s] = the code of symbol s, its first bit lowest."""
    for d in range(16):
        next_code[d] = 0
    for s in range(n):
        next_code[lengths[s]] += 1
    code = 0
    next_code[0] = 0
    for d in range(1, 16):
        here = next_code[d]
        next_code[d] = code
        code = (code + here) << 1
    for s in range(n):
        d = lengths[s]
        if d:
            c, turned = next_code[d], 0
            next_code[d] += 1
            for _ in range(d):
                turned = turned << 1 | (c & 1)
                c >>= 1
            codes[s] = turned


# ---------------------------------------------------------------------------------------------------------- bit writer
@fast
def _header(lengths, out, at, said, counts, of_lengths, codes, work):
    """3 bits are there; the codes of a dynamic block behind them. The word, its bits and where it goes."""
    many, used = _say(lengths, said, counts)
    code_lengths_into(counts, 7, of_lengths, work)
    _codes(of_lengths, 19, codes, work[0])
    last = _last_said(of_lengths)
    word, n = np.uint64(4 | (used - 257) << 3 | 1 << 8 | (last - 3) << 13), 17
    for k in range(last + 1):
        word |= np.uint64(of_lengths[ORDER[k]]) << np.uint64(n)
        n += 3
        if n > 48:
            store64(out, at, word)
            at, word, n = at + 6, word >> np.uint64(48), n - 48
    for k in range(many):
        s = said[k] & 255
        word |= np.uint64(codes[s] | (said[k] >> 8 & 255) << of_lengths[s]) << np.uint64(n)
        n += of_lengths[s] + (said[k] >> 16)
        store64(out, at, word)
        at, word, n = at + (n >> 3), word >> np.uint64(n & 56), n & 7
    return word, n, at


@fast
def _entries(lengths, distance_bits, codes, entry):
    """entry[literal], entry[256] for the end, entry[256 + length]: what is written << 8 | its bits."""
    for s in range(257):
        entry[s] = np.uint64(codes[s] << 8 | lengths[s])
    for m in range(3, 259):
        s = MATCH[0, m]
        bits = np.int64(lengths[s])
        entry[256 + m] = np.uint64((codes[s] | MATCH[2, m] << bits) << 8 | (bits + MATCH[1, m] + distance_bits))


@fast
def _literals(b, i, stop, entry, word, n, out, at):
    """b[i:stop] behind the n bits (below 8) of the word."""
    low, eight, three, up = np.uint64(255), np.uint64(8), np.uint64(3), np.uint64(56)
    seven = np.uint64(7)
    while i + 4 <= stop:
        e0, e1, e2, e3 = entry[b[i]], entry[b[i + 1]], entry[b[i + 2]], entry[b[i + 3]]
        n0, n2 = e0 & low, e2 & low
        n01 = n0 + (e1 & low)
        four = (e0 >> eight | e1 >> eight << n0) | (e2 >> eight | e3 >> eight << n2) << n01
        word |= four << n
        n += n01 + n2 + (e3 & low)
        store64(out, at, word)
        at += np.int64(n >> three)
        word >>= n & up
        n &= seven
        i += 4
    while i < stop:
        e = entry[b[i]]
        word |= e >> eight << n
        n += e & low
        i += 1
        if i == stop or n > np.uint64(40):
            store64(out, at, word)
            at += np.int64(n >> three)
            word >>= n & up
            n &= seven
    return word, n, at


@fast
def _symbols(b, at_b, start, stop, matches, first, last, entry, word, bits, out, at):
    """Literals and matches of bytes start to stop of the group, then the end; where the next byte would go, and the bits left in the last one."""
    n = np.uint64(bits)
    pos = start
    for k in range(first, last):
        begin, length = matches[k] >> 9, matches[k] & 511
        if pos < begin:
            word, n, at = _literals(b, at_b + pos, at_b + begin, entry, word, n, out, at)
        e = entry[256 + length]
        word |= e >> np.uint64(8) << n
        n += e & np.uint64(255)
        store64(out, at, word)
        at += np.int64(n >> np.uint64(3))
        word >>= n & np.uint64(56)
        n &= np.uint64(7)
        pos = begin + length
    word, n, at = _literals(b, at_b + pos, at_b + stop, entry, word, n, out, at)
    word |= entry[256] >> np.uint64(8) << n
    n += entry[256] & np.uint64(255)
    store64(out, at, word)
    store64(out, at + 8, np.uint64(0))
    return 8 * at + np.int64(n)


@fast
def _tree(units, size, stop, hist, lengths, bits, kind, owner, said, counts, of_lengths, work):
    """Units 0 to 3, pairs 4 and 5, all 6: which of these each unit is in. size: bytes of a unit, in front of it those before."""
    for u in range(units):
        bits[u], kind[u] = _cost(hist[u], lengths[u], stop[u] - (stop[u - 1] if u else 0), said, counts, of_lengths, work)
        owner[u] = u
    for node in range(4, 7):
        a, c, first = (0, 1, 0) if node == 4 else (2, 3, 2) if node == 5 else (4, 5 if units == 4 else 2, 0)
        right = 2 if node == 6 else first + 1
        if units <= right:
            continue
        for s in range(SYMBOLS):
            hist[node, s] = hist[a, s] + hist[c, s]
        hist[node, 256] = 1
        split = bits[a] + bits[c]
        bits[node], kind[node] = _cost(hist[node], lengths[node], np.int64(0), said, counts, of_lengths, work)
        if bits[node] <= split:
            for u in range(first, min(units, 4 if node == 6 else first + 2)):
                owner[u] = node
        else:
            bits[node] = split


@fast
def _encode_group(raw, size, first, last, slot, blocks, sums, b, equal, count, least, matches, hist, lengths, small, codes, entry, work):
    """Bytes first to last of the shuffled frame: its blocks to the slot. blocks[k]: bits, raw bytes if stored, where in the slot. Long: every table."""
    shuffled(raw, size, first, last, b, MARGIN)
    if first > 0:
        shuffled(raw, size, first - 1, first, b, MARGIN - 1)
    units = (last - first + UNIT - 1) // UNIT
    stop, ends, bits, kind, owner, said, counts = small[0], small[1], small[2], small[3], small[4], small[5], small[6, :19]
    of_lengths = lengths[7]
    found = low = high = np.int64(0)           # not literals, for which numba would compile twice
    for u in range(units):
        n = min(UNIT, last - first - UNIT * u)
        found, a, c = _unit(b, MARGIN + UNIT * u, UNIT * u, n, first + u == 0, equal, count, least, matches, found, hist[u])
        stop[u], ends[u] = UNIT * u + n, found
        high += n * low + c
        low += a
    sums[0], sums[1] = low, high
    _tree(units, size, stop, hist, lengths, bits, kind, owner, said, counts, of_lengths, work)
    u = at = many = np.int64(0)
    while u < units:
        end, node = u + 1, owner[u]
        while end < units and owner[end] == node and node > 3:
            end += 1
        begin, begin_match = (stop[u - 1], ends[u - 1]) if u else (0, 0)
        blocks[many, 1], blocks[many, 2] = 0, at
        if kind[node] == 0:
            store64(slot, at, np.uint64(0))
            copy_bytes(slot, at + 8, b, MARGIN + begin, stop[u] - begin)
            blocks[many, 0], blocks[many, 1] = 3, stop[u] - begin
            at += (stop[u] - begin + 8 + 63) >> 6 << 6
        else:
            if kind[node] == 2:
                word, left, to = _header(lengths[node], slot, at, said, counts, of_lengths, codes, work)
                _codes(lengths[node], SYMBOLS, codes, work[0])
                _entries(lengths[node], 1, codes, entry)
            else:
                word, left, to = np.uint64(2), 3, at
                _codes(FIXED, 288, codes, work[0])
                _entries(FIXED, 5, codes, entry)
            total = _symbols(b, MARGIN, begin, stop[end - 1], matches, begin_match, ends[end - 1], entry, word, left, slot, to)
            blocks[many, 0] = total - 8 * at
            at = ((total + 7 >> 3) + 16 + 63) >> 6 << 6
        many += 1
        u = end
    for k in range(many, 4):
        blocks[k, 0] = 0


# ------------------------------------------------------------------------------------------------------- the whole chunk
@fast
def _append(source, i, bits, out, pos):
    """bits from byte source[i] on to bit pos of out, whose bits before it in the same byte are kept; the rest of the last byte is 0."""
    at, shift, many = pos >> 3, pos & 7, (bits + 7) >> 3
    if shift == 0:
        copy_bytes(out, at, source, i, many)
        return
    up, down = np.uint64(shift), np.uint64(64 - shift)
    carry = np.uint64(out[at]) & ((np.uint64(1) << up) - np.uint64(1))
    total, k = (shift + bits + 7) >> 3, 0
    while k + 8 <= total:
        word = load64(source, i + k)
        store64(out, at + k, word << up | carry)
        carry = word >> down
        k += 8
    word = carry | (load64(source, i + k) << up if k < many else np.uint64(0))
    while k < total:
        out[at + k] = np.uint8(word & np.uint64(255))
        word >>= np.uint64(8)
        k += 1


@fast
def _place(f, groups, total, slots, blocks, sums, payload):
    """Header, blocks, adler32; the chunk's size."""
    payload[0], payload[1] = 0x78, 0x01
    pos, low, high = 16, 1, 0
    for g in range(groups):
        for k in range(GROUP):
            bits, raw, at = blocks[f, g, k, 0], blocks[f, g, k, 1], blocks[f, g, k, 2]
            if bits == 0:
                continue
            if g == groups - 1 and (k == GROUP - 1 or blocks[f, g, k + 1, 0] == 0):
                slots[f, g, at] |= 1
            _append(slots[f, g], at, bits, payload, pos)
            pos += bits
            if raw:
                to = (pos + 7) >> 3
                payload[to], payload[to + 1] = np.uint8(raw & 255), np.uint8(raw >> 8)
                payload[to + 2], payload[to + 3] = np.uint8(~raw & 255), np.uint8(~raw >> 8 & 255)
                copy_bytes(payload, to + 4, slots[f, g], at + 8, raw)
                pos = 8 * (to + 4 + raw)
        count = min(GROUP * UNIT, total - g * GROUP * UNIT)
        high = (high + count * low + sums[f, g, 1]) % 65521
        low = (low + sums[f, g, 0]) % 65521
    at = (pos + 7) >> 3
    for k in range(2):
        payload[at + k], payload[at + 2 + k] = np.uint8(high >> (8 - 8 * k) & 255), np.uint8(low >> (8 - 8 * k) & 255)
    return at + 4


@njit(cache=True, nogil=True, error_model="numpy")
def _share(first, step, whole, place, raw, size, payload, sizes, slots, blocks, sums):
    """Every step-th frame; or, where frames are fewer than threads, every step-th group of the batch, and then (place) every step-th frame's chunk."""
    n, groups, total = slots.shape[0], slots.shape[1], raw.shape[1]
    b = np.zeros(GROUP * UNIT + 4 * MARGIN, np.uint8)
    equal, count, least = np.zeros(UNIT // 64 + 4, np.uint64), np.zeros((4, 256), np.uint32), np.zeros(256, np.int64)
    matches = np.zeros(GROUP * UNIT // 4 + 16, np.uint32)
    hist, lengths, small = np.zeros((7, SYMBOLS), np.int64), np.zeros((8, 288), np.uint8), np.zeros((7, 320), np.int64)
    codes, entry, work = np.zeros(288, np.int64), np.zeros(515, np.uint64), np.zeros(WORK, np.int64)
    every = whole or place
    for item in range(0 if every else first, n * groups, 1 if every else step):
        f, g = item // groups, item % groups
        if not place and (not whole or f % step == first):
            _encode_group(raw[f], size, g * GROUP * UNIT, min((g + 1) * GROUP * UNIT, total), slots[f, g], blocks[f, g], sums[f, g],
                          b, equal, count, least, matches, hist, lengths, small, codes, entry, work)
        if g == groups - 1 and (place or whole) and f % step == first:
            sizes[f] = _place(f, groups, total, slots, blocks, sums, payload[f])


def encode_frames(raw, size, payload, sizes, slots, threads):
    """Chunks of all frames raw (n, bytes) u8. slots (n, groups, SLOT): the blocks, before it is known at which bit they begin. threads: no more than numba
    may have."""
    n, groups = slots.shape[:2]
    blocks, sums = np.zeros((n, groups, GROUP, 3), np.int64), np.zeros((n, groups, 2), np.int64)
    raw = read_only(raw)
    phases = ((True, False),) if n >= threads else ((False, False), (False, True))
    for whole, place in phases:
        share(lambda t, _, a=whole, b=place: _share(t, threads, a, b, raw, size, payload, sizes, slots, blocks, sums), threads)
