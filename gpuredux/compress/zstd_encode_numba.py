"""zstd_encode.py for numba: bytes to regions, units and blocks, the same decisions with machine words. Over 200 lines: one format, read together.

What a thread works with lies in three arrays, `octets` (u8), `bits` (u64) and `numbers` (i32), at the places named below. Indices of inner loops go through
at8 to add32: numba looks at the sign of an index otherwise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from ..backends import share
from .by_address import address_of, call
from .huffman_lengths import WORK, code_lengths_into
from .lz4_numba import FULL, MARGIN, V64, _write, copy16, copy64, copy_bytes, equal64
from .words_numba import I8, I32, I64, _at, _load, leading_zeros, store64, trailing_zeros
from .zstd_encode import FOUR_STREAMS, REGION, UNIT, WORTH
from .zstd_format import LL_BASE, LL_BITS, LL_DEFAULT, ML_BASE, ML_BITS, ML_DEFAULT, OF_DEFAULT

fast = njit(cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
UNITS, WORDS = REGION // UNIT, UNIT // 64
SLOT = REGION + 3 * UNITS + 16 + 64     # the largest blocks of a region behind a block length and a frame header, and what vectors may write beyond
BIT = 256
STAGES = 8
RAW_BLOCK, RLE_BLOCK, COMPRESSED_BLOCK = 0, 1, 2
LL, OF, ML, WEIGHT = range(4)
# By kind, of arrays: numba would compile a function once for each constant that it is given.
SYMBOLS, DEFAULT_LOG, MOST_LOG = np.array([36, 29, 53]), np.array([6, 5, 6]), np.array([9, 8, 9])
DEFAULTS = np.zeros((3, 64), np.int32)
DEFAULTS[0, : len(LL_DEFAULT)], DEFAULTS[1, : len(OF_DEFAULT)], DEFAULTS[2, : len(ML_DEFAULT)] = LL_DEFAULT, OF_DEFAULT, ML_DEFAULT
LL_OF = np.searchsorted(LL_BASE, np.arange(64), side="right").astype(np.uint8) - np.uint8(1)        # codes of short lengths
ML_OF = np.searchsorted(ML_BASE, np.arange(131), side="right").astype(np.uint8) - np.uint8(1)
EXTRA_BITS = np.zeros(128, np.uint8)            # of literal lengths, then of matches
EXTRA_BITS[: len(LL_BITS)], EXTRA_BITS[64 : 64 + len(ML_BITS)] = LL_BITS, ML_BITS
FIRST_OF = np.zeros(128, np.int32)              # lengths of each code, in the same places
FIRST_OF[: len(LL_BASE)], FIRST_OF[64 : 64 + len(ML_BASE)] = LL_BASE, ML_BASE
for table in (FIRST_OF, EXTRA_BITS, SYMBOLS, DEFAULT_LOG, MOST_LOG, DEFAULTS, LL_OF, ML_OF):
    table.flags.writeable = False

# counts, of a unit or a block: literals by value, codes, distances by number, extra bits, the value of all bytes or -1, bytes. In 16s: see add32.
LITERAL, LL_CODE, ML_CODE, WHICH, EXTRA, FIRST, RAW, COLUMNS = 0, 256, 304, 368, 372, 373, 374, 384
CODE = np.array([LL_CODE, 0, ML_CODE])          # of CODED, by kind; the offsets' codes lie where literals were counted

# octets: the region behind a margin, then the literals, the block, three of its four streams, a place for bit planes, lengths of codes
B = MARGIN
LITERALS = REGION + 3 * MARGIN
BLOCK = LITERALS + REGION + 3 * MARGIN
STREAM = REGION * 11 // 32 + 2 * MARGIN
STREAMS = BLOCK + REGION * 11 // 8 + 16 * MARGIN
SPARE = STREAMS + 3 * STREAM
LENGTHS = SPARE + 64 * 64
OCTETS = LENGTHS + 256

# bits: two bitmaps of a unit, their matches' starts, the Huffman codes (a code in the highest bits, its length in the lowest), sequences as
# literals | match << 20 | offset << 40
ROW = WORDS + 2
START = 2 * ROW
CODES = START + ROW
SEQUENCE = CODES + 256
MOST = REGION // 4 + 2 * UNITS          # matches
BITS = SEQUENCE + MOST

# numbers
AT, MATCH = 0, MOST                                             # matches: place in the region, number of the distance | length << 2
SEQUENCE_CODES = 2 * MOST                                       # of literals | of the match << 8 | of the offset << 16
FIRST_MATCH = 3 * MOST                                          # of each unit
FIRST_LITERAL = FIRST_MATCH + UNITS + 1
BLOCKS = FIRST_LITERAL + UNITS + 1                              # units of the block that begins with each
COUNTS = BLOCKS + UNITS                                         # of each unit
BLOCK_COUNTS, BOTH, CODED = (COUNTS + COLUMNS * (UNITS + k) for k in range(3))      # a block; with the next unit; what is coded of a block
PARTS = CODED + COLUMNS                                         # four tables to count bytes in
SHARE = PARTS + 1024                                            # 64 for each of the four kinds of codes
REACH = SHARE + 4 * 64                                          # 3 * 64 for each: see fse_table
STATES = REACH + 4 * 192                                        # 1024 for each
WEIGHTS = STATES + 4 * 1024
LOGS = WEIGHTS + 256                                            # of the tables, by kind
BEGIN = LOGS + 3                                                # where the block begins
NUMBERS = BEGIN + 5


def _getter(kind, size):
    @intrinsic
    def get(typingctx, array, i):
        def codegen(context, builder, sig, args):
            value = _load(context, builder, sig.args[0], args[0], builder.mul(args[1], ir.Constant(I64, size)), kind)
            return value if size == 8 else builder.sext(value, I64) if size == 4 else builder.zext(value, I64)

        return (types.uint64 if size == 8 else types.int64)(array, types.int64), codegen

    return get


def _setter(kind, size):
    @intrinsic
    def put(typingctx, array, i, value):
        def codegen(context, builder, sig, args):
            value = args[2] if size == 8 else builder.trunc(args[2], kind)
            builder.store(value, _at(context, builder, sig.args[0], args[0], builder.mul(args[1], ir.Constant(I64, size)), kind), align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.uint64 if size == 8 else types.int64), codegen

    return put


at8, at32, at64 = _getter(I8, 1), _getter(I32, 4), _getter(I64, 8)
put8, put32, put64 = _setter(I8, 1), _setter(I32, 4), _setter(I64, 8)


@intrinsic
def add32(typingctx, numbers, to, i, j):
    """numbers[to : to + 16] = those at i and those at j together."""

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(I32, 16)
        a, b = (_load(context, builder, sig.args[0], args[0], builder.shl(args[k], ir.Constant(I64, 2)), kind) for k in (2, 3))
        builder.store(builder.add(a, b), _at(context, builder, sig.args[0], args[0], builder.shl(args[1], ir.Constant(I64, 2)), kind), align=4)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, types.int64, types.int64), codegen


@intrinsic
def zero16(typingctx, numbers, to):
    """numbers[to : to + 16] = 0."""

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(I32, 16)
        builder.store(ir.Constant(kind, [0] * 16), _at(context, builder, sig.args[0], args[0], builder.shl(args[1], ir.Constant(I64, 2)), kind), align=4)
        return context.get_dummy_value()

    return types.void(numbers, types.int64), codegen


@intrinsic
def log2_units(typingctx, x):
    """Of 1 <= x < 1 << 24: a float's exponent and the first 8 bits behind it are what zstd_encode.py computes, and can be had of many x at once."""

    def codegen(context, builder, sig, args):
        word = lambda k: ir.Constant(I32, k)  # noqa: E731
        x = builder.bitcast(builder.sitofp(builder.trunc(args[0], I32), ir.FloatType()), I32)
        x = builder.sub(builder.lshr(x, word(15)), word(127 << 8))
        part = builder.and_(x, word(255))
        more = builder.mul(builder.mul(part, builder.sub(word(256), part)), word(88))
        return builder.sext(builder.add(x, builder.lshr(more, word(16))), I64)

    return types.int64(types.int64), codegen


def _rank(size):
    @intrinsic
    def rank(typingctx, source, i, byte, to, j):
        """to[j : j + 64] = this byte of each of the 64 numbers of `size` bytes at source[i:]."""

        def codegen(context, builder, sig, args):
            word = ir.IntType(8 * size)
            kind = ir.VectorType(word, 64)
            shift = builder.trunc(builder.shl(args[2], ir.Constant(I64, 3)), word) if size < 8 else builder.shl(args[2], ir.Constant(I64, 3))
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), shift, ir.Constant(I32, 0))
            shifts = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, 64), [0] * 64))
            value = builder.trunc(builder.lshr(_load(context, builder, sig.args[0], args[0], args[1], kind), shifts), V64)
            builder.store(value, _at(context, builder, sig.args[3], args[3], args[4], V64), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, types.int64, to, types.int64), codegen

    return rank


rank2, rank4, rank8 = _rank(2), _rank(4), _rank(8)


@fast
def highest(x):
    """The place of the highest bit of x > 0."""
    return 63 - leading_zeros(x)


# ------------------------------------------------------------------------------------------------------------------- 1
@fast
def bytes_of(raw, pixels, at, n, size, b):
    """b[B : B + n] = bytes at and on of the frame raw, shuffled by bytes."""
    i = 0
    while i < n:
        byte, pixel = (at + i) // pixels, (at + i) % pixels
        many, to, source = min(n - i, pixels - pixel), B + i, pixel * size
        k = 0
        if size == 1:
            copy_bytes(b, to, raw, source, many)
            k = many
        while k + 64 <= many:
            if size == 2:
                rank2(raw, source + 2 * k, byte, b, to + k)
            elif size == 4:
                rank4(raw, source + 4 * k, byte, b, to + k)
            else:
                rank8(raw, source + 8 * k, byte, b, to + k)
            k += 64
        while k < many:
            put8(b, to + k, at8(raw, source + size * k + byte))
            k += 1
        i += many


@fast
def bits_of(raw, at, n, size, b):
    """b[B : B + n] = the bit planes of the n bytes raw[at:]. By 512 elements: planes lie apart by powers of two, and what is written to
    each should fill a line of the cache at once."""
    plane, groups, left = n // (8 * size), n // (64 * size), n // (8 * size) % 8
    g = 0
    while g < groups:
        many = min(groups - g, 8)
        for k in range(many):
            _write(size, raw, at + 64 * size * (g + k), b, SPARE + 8 * k, 64)
        for p in range(8 * size):
            if many == 8:
                copy64(b, B + p * plane + 8 * g, b, SPARE + 64 * p)
            else:
                copy_bytes(b, B + p * plane + 8 * g, b, SPARE + 64 * p, 8 * many)
        g += many
    if left:
        copy_bytes(b, LITERALS, raw, at + 64 * size * groups, 8 * size * left)
        _write(size, b, LITERALS, b, SPARE, 8)
        for p in range(8 * size):
            copy_bytes(b, B + p * plane + 8 * groups, b, SPARE + 8 * p, left)


def fill(raw, octets, at, n, size, pixels, planes):
    """The region octets[B : B + n]: bytes at and on of a frame of so many pixels."""
    source, b = carray(raw, (pixels * size,)), carray(octets, (OCTETS,))
    if planes:
        bits_of(source, at, n, size, b)
    else:
        bytes_of(source, pixels, at, n, size, b)
    return 0


@fast
def bitmaps(b, begin, n, plane, bits):
    """Row 0, bit i: byte begin + i of the region equals the one before; row 1: the one a plane before. START, bit i: so many ones as a match has at least
    follow in a row. Words behind the unit are 0. Whether START has a one, and whether all bytes are equal."""
    words, any_start, same = (n + 63) >> 6, np.uint64(0), FULL
    for w in range(ROW):
        put64(bits, START + w, np.uint64(0))
    for k in range(2 if plane else 1):
        d, row, any_equal = plane if k else np.int64(1), ROW * k, np.uint64(0)
        for w in range(words):
            equal, at = np.uint64(0), begin + 64 * w
            if at + 64 > d:
                equal = equal64(b, B + at, d)
                if at < d:
                    equal &= FULL << np.uint64(d - at)
            put64(bits, row + w, equal)
            any_equal |= equal
            if k == 0:
                same &= equal | (np.uint64(w == 0) if w + 1 < words or n & 63 == 0 else np.uint64(w == 0) | FULL << np.uint64(n & 63))
        put64(bits, row + words, np.uint64(0))
        put64(bits, row + words + 1, np.uint64(0))
        if n & 63:
            put64(bits, row + words - 1, at64(bits, row + words - 1) & ~(FULL << np.uint64(n & 63)))
        if any_equal:
            for w in range(words):
                low, high = at64(bits, row + w), at64(bits, row + w + 1)
                two = low & (low >> np.uint64(1) | high << np.uint64(63))
                next_two = high & (high >> np.uint64(1))
                four = two & (two >> np.uint64(2) | next_two << np.uint64(62))
                if plane:
                    four &= four >> np.uint64(4) | (next_two & next_two >> np.uint64(2)) << np.uint64(60)
                ones = at64(bits, START + w) | four
                put64(bits, START + w, ones)
                any_start |= ones
    return any_start != 0, same == FULL


@fast
def run(bits, row, pos):
    """How many ones follow in a row from bit pos on."""
    w = row + (pos >> 6)
    unequal = ~at64(bits, w) >> np.uint64(pos & 63)
    if unequal:
        return trailing_zeros(unequal)
    n = 64 - (pos & 63)
    while at64(bits, w + 1) == FULL:
        w, n = w + 1, n + 64
    return n + trailing_zeros(~at64(bits, w + 1))


@fast
def ll_code(x):
    return at8(LL_OF, x) if x < 64 else 19 + highest(x)


@fast
def ml_code(x):
    return at8(ML_OF, x) if x < 131 else 36 + highest(x - 3)


@fast
def copy_short(octets, to, source, count):
    """Mostly a few bytes; up to 15 more are written behind them."""
    for k in range(0, count, 16):
        copy16(octets, to + k, octets, source + k)


@fast
def unit_matches(begin, n, plane, found, have, count, octets, bits, numbers):
    """The matches of a unit, to places found and on, its literals to LITERALS + have and on: how many of each there are then. What is counted of them,
    to numbers[count:]."""
    w, words, anchor, extra, row, row_plane = 0, (n + 63) >> 6, begin, 0, np.int64(0), np.int64(ROW)
    m = at64(bits, START)
    while True:
        while m == 0 and w + 1 < words:
            w += 1
            m = at64(bits, START + w)
        if m == 0:
            break
        pos, which = 64 * w + trailing_zeros(m), 0
        length = run(bits, row, pos)
        if plane:
            other = run(bits, row_plane, pos)
            later = length - 1 if length > 0 else run(bits, row, pos + 1)
            other_later = other - 1 if other > 0 else run(bits, row_plane, pos + 1)
            which, which_later = np.int64(other > length), np.int64(other_later > later)
            length, later = max(length, other), max(later, other_later)
            if later > length + 1:
                pos, length, which = pos + 1, later, which_later
        at = begin + pos
        put32(numbers, AT + found, at)
        put32(numbers, MATCH + found, which | length << 2)
        copy_short(octets, LITERALS + have, B + anchor, at - anchor)
        ll, ml = ll_code(at - anchor), ml_code(length)
        put32(numbers, count + LL_CODE + ll, at32(numbers, count + LL_CODE + ll) + 1)
        put32(numbers, count + ML_CODE + ml, at32(numbers, count + ML_CODE + ml) + 1)
        put32(numbers, count + WHICH + which, at32(numbers, count + WHICH + which) + 1)
        extra += at8(EXTRA_BITS, ll) + at8(EXTRA_BITS, 64 + ml)
        found, have, anchor, pos = found + 1, have + at - anchor, at + length, pos + length
        w = pos >> 6
        m = at64(bits, START + w) & (FULL << np.uint64(pos & 63))
    copy_bytes(octets, LITERALS + have, octets, B + anchor, begin + n - anchor)
    put32(numbers, count + EXTRA, extra)
    return found, have + begin + n - anchor


@fast
def count_literals(at, end, count, octets, numbers):
    """Four at a time, each in a table of its own, so that equal neighbours do not wait for one another."""
    for c in range(PARTS, PARTS + 1024):
        put32(numbers, c, 0)
    while at + 4 <= end:
        for k in range(4):
            c = PARTS + 256 * k + at8(octets, at + k)
            put32(numbers, c, at32(numbers, c) + 1)
        at += 4
    while at < end:
        c = PARTS + at8(octets, at)
        put32(numbers, c, at32(numbers, c) + 1)
        at += 1
    for c in range(0, 256, 16):
        add32(numbers, PARTS + c, PARTS + c, PARTS + 256 + c)
        add32(numbers, PARTS + 512 + c, PARTS + 512 + c, PARTS + 768 + c)
        add32(numbers, count + c, PARTS + c, PARTS + 512 + c)


@fast
def short_may_cost(count, lengths, many, numbers):
    """Whether there are matches of less than WORTH bytes, and `lengths` units of `many` matches more for them than their bytes have as bits."""
    short, octets = 0, 0
    for k in range(4, WORTH):
        x = at32(numbers, count + ML_CODE + k - 3)
        short += x
        octets += k * x
    return lengths * short > BIT * octets * many


@fast
def count_long(begin, low, high, count, to, octets, numbers):
    """To numbers[to:] what would be counted, without the short ones of matches low to high: they become literals."""
    for c in range(256, COLUMNS, 16):
        zero16(numbers, to + c)
    for c in range(0, 256, 16):
        add32(numbers, to + c, count + c, to + 256)
    anchor, extra, many = begin, 0, 0
    for k in range(low, high):
        at, length = at32(numbers, AT + k), at32(numbers, MATCH + k) >> 2
        if length < WORTH:
            c = to + at8(octets, B + at)
            put32(numbers, c, at32(numbers, c) + length)
        else:
            ll, ml = ll_code(at - anchor), ml_code(length)
            put32(numbers, to + LL_CODE + ll, at32(numbers, to + LL_CODE + ll) + 1)
            put32(numbers, to + ML_CODE + ml, at32(numbers, to + ML_CODE + ml) + 1)
            extra += at8(EXTRA_BITS, ll) + at8(EXTRA_BITS, 64 + ml)
            anchor, many = at + length, many + 1
    put32(numbers, to + WHICH, many)
    put32(numbers, to + EXTRA, extra)
    put32(numbers, to + FIRST, at32(numbers, count + FIRST))
    put32(numbers, to + RAW, at32(numbers, count + RAW))


@fast
def keep_long(begin, n, low, high, have, octets, numbers):
    """Only those of matches low to high that have WORTH bytes and more, and a unit's literals again to LITERALS + have and on: how many of each there are."""
    anchor, found = begin, low
    for k in range(low, high):
        at, match = at32(numbers, AT + k), at32(numbers, MATCH + k)
        if match >> 2 >= WORTH:
            put32(numbers, AT + found, at)
            put32(numbers, MATCH + found, match)
            copy_short(octets, LITERALS + have, B + anchor, at - anchor)
            found, have, anchor = found + 1, have + at - anchor, at + (match >> 2)
    copy_bytes(octets, LITERALS + have, octets, B + anchor, begin + n - anchor)
    return found, have + begin + n - anchor


def unit(octets, bits, numbers, u, n, plane):
    """Matches, literals and counts of unit u of a region of n bytes."""
    b, words, table = carray(octets, (OCTETS,)), carray(bits, (BITS,)), carray(numbers, (NUMBERS,))
    begin, count, found, have = UNIT * u, COUNTS + COLUMNS * u, at32(table, FIRST_MATCH + u), at32(table, FIRST_LITERAL + u)
    size = min(UNIT, n - begin)
    for c in range(256, COLUMNS):
        put32(table, count + c, 0)
    put32(table, count + RAW, size)
    matches, same = bitmaps(b, begin, size, plane, words)
    put32(table, count + FIRST, at8(b, B + begin) if same else -1)
    if matches:
        found, end = unit_matches(begin, size, plane, found, have, count, b, words, table)
    else:
        copy_bytes(b, LITERALS + have, b, B + begin, size)
        end = have + size
    count_literals(LITERALS + have, LITERALS + end, count, b, table)
    if matches and plane == 0:
        low, both = at32(table, FIRST_MATCH + u), np.int64(BOTH)
        lengths = length_bits(table, count)
        if short_may_cost(count, lengths, found - low, table):
            count_long(begin, low, found, count, both, b, table)
            few, all_ = literal_bits(table, both)[0], literal_bits(table, count)[0]
            if few + length_bits(table, both) < all_ + lengths:
                copy_counts(table, count, both)
                found, end = keep_long(begin, size, low, found, have, b, table)
    put32(table, FIRST_MATCH + u + 1, found)
    put32(table, FIRST_LITERAL + u + 1, end)
    return 0


# ------------------------------------------------------------------------------------------------------------------- 2
@fast
def entropy(numbers, low, many):
    """Of numbers[low : low + many]: in units, how many together, of how many kinds."""
    total, kinds, inside = 0, 0, 0
    for c in range(many):
        x = at32(numbers, low + c)
        total += x
        kinds += np.int64(x > 0)
        inside += x * log2_units(x)
    return (total * log2_units(total) - inside if total else 0), total, kinds


@fast
def literal_bits(numbers, count):
    """About, in units; of how many literals, of how many kinds."""
    total, kinds, inside, most = 0, 0, 0, 0
    for c in range(256):
        x = at32(numbers, count + c)
        total += x
        kinds += np.int64(x > 0)
        inside += x * log2_units(x)
        most = max(most, x)
    if kinds < 2:
        return 8 * BIT, total, kinds
    if 2 * most < total:
        return total * log2_units(total) - inside, total, kinds
    others = total - most
    return BIT * total + others * log2_units(others) - (inside - most * log2_units(most)), total, kinds


@fast
def length_bits(numbers, count):
    """Of literals and of matches, without tables."""
    ll, _, _ = entropy(numbers, count + LL_CODE, np.int64(48))
    ml, _, _ = entropy(numbers, count + ML_CODE, np.int64(64))
    return BIT * at32(numbers, count + EXTRA) + ll + ml


@fast
def estimate(numbers, count):
    if at32(numbers, count + FIRST) >= 0:
        return 32 * BIT
    size, n, kinds = literal_bits(numbers, count)
    if kinds > 1:
        size = min(size + BIT * (48 + 6 * min(kinds, 64)), 8 * BIT * n)
    which, many, _ = entropy(numbers, count + WHICH, np.int64(4))
    if many:
        size += BIT * (at32(numbers, count + EXTRA) + 24) + which
        for low, width in ((LL_CODE, 48), (ML_CODE, 64)):
            own, _, kinds = entropy(numbers, count + low, np.int64(width))
            size += min(own + 5 * BIT * kinds, 21 * BIT // 4 * many)
    return min(size + 48 * BIT, BIT * (8 * at32(numbers, count + RAW) + 24))


@fast
def add_counts(numbers, to, i, j):
    """To `to` what is counted at i and j."""
    first = at32(numbers, i + FIRST) if at32(numbers, i + FIRST) == at32(numbers, j + FIRST) else -1
    for c in range(0, COLUMNS, 16):
        add32(numbers, to + c, i + c, j + c)
    put32(numbers, to + FIRST, first)


@fast
def copy_counts(numbers, to, i):
    for c in range(COLUMNS):
        put32(numbers, to + c, at32(numbers, i + c))


def merge(numbers, units):
    """BLOCKS: how many units the block has that begins with a unit, 0 where none begins. The estimates of all blocks together."""
    table = carray(numbers, (NUMBERS,))
    begin, size, before, block, both = 0, 0, 0, np.int64(BLOCK_COUNTS), np.int64(BOTH)
    for k in range(units):
        count = COUNTS + COLUMNS * k
        alone, whole = estimate(table, count), 0
        if k:
            add_counts(table, both, block, count)
            whole = estimate(table, both)
        if k == 0 or whole > size + alone:
            before += size
            begin, size = k, alone
            copy_counts(table, block, count)
        else:
            size = whole
            block, both = both, block
        put32(table, BLOCKS + k, 0)
        put32(table, BLOCKS + begin, k + 1 - begin)
    return before + size


# ------------------------------------------------------------------------------------------------------------------- 3
@fast
def put_bits(to, at, held, have):
    """The whole bytes of held, of whose bits `have` are given, at most 63: where the next one goes, and what is left."""
    store64(to, at, held)
    return at + (have >> 3), held >> np.uint64(have & 56), have & 7


@fast
def normalise(numbers, counts, symbols, total, log, share):
    """numbers[share : share + symbols] adds up to 1 << log."""
    left = np.int64(1) << log
    size = left
    for s in range(symbols):
        c = at32(numbers, counts + s)
        many = max(1, (2 * c * size + total) // (2 * total)) if c else 0
        put32(numbers, share + s, many)
        left -= many
    while left != 0:
        largest = 0
        for s in range(1, symbols):
            if at32(numbers, share + s) > at32(numbers, share + largest):
                largest = s
        step = 1 if left > 0 else -1
        put32(numbers, share + largest, at32(numbers, share + largest) + step)
        left -= step


@fast
def describe(numbers, share, log, to, at):
    """The table's description to to[at:]; where it ends."""
    held, have = np.uint64(log - 5), 4
    left, s = (np.int64(1) << log) + 1, share
    while left > 1:
        width = highest(left) + 1
        short, many = (np.int64(1) << width) - 1 - left, at32(numbers, s)
        value = many + 1
        left -= many
        if value < short:
            width -= 1
        elif value >= np.int64(1) << width - 1:
            value += short
        held |= np.uint64(value) << np.uint64(have)
        have += width
        s += 1
        if many == 0:
            zeros = 0
            while at32(numbers, s + zeros) == 0:
                zeros += 1
            s += zeros
            while zeros >= 3:
                held |= np.uint64(3) << np.uint64(have)
                zeros -= 3
                at, held, have = put_bits(to, at, held, have + 2)
            held |= np.uint64(zeros) << np.uint64(have)
            have += 2
        at, held, have = put_bits(to, at, held, have)
    store64(to, at, held)
    return at + np.int64(have > 0)


@fast
def fse_table(numbers, kind, symbols, log):
    """STATES: of all symbols their states plus 1 << log, one symbol after another. Of a symbol s: (state + REACH[s]) >> 16 is how many bits a state
    writes before it, and REACH[64 + s] + what is then left of the state is the place of the next one. -1: less than one. With a single symbol and
    log 0 nothing is ever written."""
    size = np.int64(1) << log
    share, reach, states = SHARE + 64 * kind, REACH + 192 * kind, STATES + 1024 * kind
    mask, step, place, free = size - 1, (size >> 1) + (size >> 3) + 3, 0, size
    for s in range(symbols):
        many = abs(at32(numbers, share + s))
        if many:
            width = log if many == 1 else log - highest(many - 1)
            put32(numbers, reach + s, (width << 16) - (many << width))
            put32(numbers, reach + 64 + s, place - many)
            put32(numbers, reach + 128 + s, place)
            place += many
        if at32(numbers, share + s) < 0:
            free -= 1
            put32(numbers, states + size + free, s)         # behind the states: the symbol of each, until they are listed
    at = 0
    for s in range(symbols):
        for _ in range(at32(numbers, share + s)):
            put32(numbers, states + size + at, s)
            at = (at + step) & mask
            while at >= free:
                at = (at + step) & mask
    for state in range(size):
        s = reach + 128 + at32(numbers, states + size + state)
        place = at32(numbers, s)
        put32(numbers, states + place, size + state)
        put32(numbers, s, place + 1)


@fast
def first_state(numbers, kind, symbol):
    return at32(numbers, STATES + 1024 * kind + at32(numbers, REACH + 192 * kind + 64 + symbol) + abs(at32(numbers, SHARE + 64 * kind + symbol)))


@fast
def next_state(numbers, kind, state, symbol, held, have):
    """One symbol further: the state, and the bits with those that the old one writes."""
    width = (state + at32(numbers, REACH + 192 * kind + symbol)) >> 16
    held |= np.uint64(state & ((1 << width) - 1)) << np.uint64(have)
    return at32(numbers, STATES + 1024 * kind + at32(numbers, REACH + 192 * kind + 64 + symbol) + (state >> width)), held, have + width


@fast
def little_endian(to, at, value, count):
    """The next place."""
    for k in range(count):
        put8(to, at + k, value >> 8 * k)
    return at + count


@fast
def huffman_codes(lengths, bits):
    """CODES; the longest length."""
    longest, code = 0, 0
    for s in range(256):
        longest = max(longest, at8(lengths, s))
    for length in range(longest, 0, -1):
        for s in range(256):
            if at8(lengths, s) == length:
                put64(bits, CODES + s, np.uint64(code) << np.uint64(64 - length) | np.uint64(length))
                code += 1
        code >>= 1
    return longest


@fast
def tree(lengths, longest, numbers, to, at):
    """The description of the tree to to[at:]; where it ends, at itself where there is none."""
    counts, last, kind, symbols = CODED + LL_CODE, 255, np.int64(WEIGHT), np.int64(12)
    while at8(lengths, last) == 0:
        last -= 1
    for w in range(12):
        put32(numbers, counts + w, 0)
    for s in range(last):
        length = at8(lengths, s)
        weight = longest + 1 - length if length else 0
        put32(numbers, WEIGHTS + s, weight)
        put32(numbers, counts + weight, at32(numbers, counts + weight) + 1)
    kinds, size, direct = 0, 0, (last + 1) // 2
    for w in range(12):
        kinds += np.int64(at32(numbers, counts + w) > 0)
    if last >= 2 and kinds >= 2:
        log = np.int64(6)
        normalise(numbers, np.int64(counts), symbols, last, log, SHARE + 64 * kind)
        end = describe(numbers, SHARE + 64 * kind, log, to, at + 1)
        fse_table(numbers, kind, symbols, log)
        size = code_weights(last, log, numbers, to, end) - at - 1
    if 0 < size < 128 and (last > 128 or size < direct):
        put8(to, at, size)
        return at + size + 1
    if last > 128:
        return at
    put8(to, at, 127 + last)
    put32(numbers, WEIGHTS + last, 0)
    for k in range(direct):
        put8(to, at + 1 + k, at32(numbers, WEIGHTS + 2 * k) << 4 | at32(numbers, WEIGHTS + 2 * k + 1))
    return at + 1 + direct


@fast
def code_weights(last, log, numbers, to, at):
    """Even and odd ones in a stream of states each; where it ends."""
    held, have, odd, even, kind = np.uint64(0), 0, 0, 0, np.int64(WEIGHT)
    for k in range(last - 1, -1, -1):
        w = at32(numbers, WEIGHTS + k)
        if k >= last - 2:
            state = first_state(numbers, kind, w)
        else:
            state, held, have = next_state(numbers, kind, odd if k & 1 else even, w, held, have)
            at, held, have = put_bits(to, at, held, have)
        if k & 1:
            odd = state
        else:
            even = state
    size = np.int64(1) << log
    held |= np.uint64(odd - size | even - size << log | 1 << 2 * log) << np.uint64(have)
    at, held, have = put_bits(to, at, held, have + 2 * log + 1)
    store64(to, at, held)
    return at + np.int64(have > 0)


@fast
def put_codes(k, count, octets, bits, held, have):
    """The codes of so many bytes up to octets[k]: the newest are the highest bits of held, so that what is left of the lengths added to it never shows:
    four codes and 7 bits leave room for it, five would not."""
    for _ in range(count):
        k -= 1
        code = at64(bits, CODES + at8(octets, k))
        held = held >> (code & np.uint64(63)) | code
        have += code
    return k, held, have


@fast
def put_high(to, at, held, have):
    """The whole bytes of the highest bits of held, of which the lowest byte of `have` says how many: where the next one goes, and how many are left."""
    count = have & np.uint64(255)
    store64(to, at, held >> (np.uint64(64) - count & np.uint64(63)))
    return at + np.int64(count >> np.uint64(3)), count & np.uint64(7)


@fast
def end_stream(to, at, held, have):
    """Behind what is left, the one that ends it; the next place."""
    store64(to, at, (held >> np.uint64(64) - have if have else np.uint64(0)) | np.uint64(1) << have)
    return at + 1


@fast
def two_streams(begin, middle, end, octets, bits, at, to):
    """Codes of octets[begin:middle] to octets[at:], of octets[middle:end] to octets[to:], each from its last byte on: where they end. In turns, for neither
    waits for the other."""
    j, held, have = put_codes(middle, (middle - begin) & 3, octets, bits, np.uint64(0), np.uint64(0))
    k, second, has = put_codes(end, (end - middle) & 3, octets, bits, np.uint64(0), np.uint64(0))
    at, have = put_high(octets, at, held, have)
    to, has = put_high(octets, to, second, has)
    while j > begin and k > middle:
        j, held, have = put_codes(j, 4, octets, bits, held, have)
        k, second, has = put_codes(k, 4, octets, bits, second, has)
        at, have = put_high(octets, at, held, have)
        to, has = put_high(octets, to, second, has)
    while j > begin:
        j, held, have = put_codes(j, 4, octets, bits, held, have)
        at, have = put_high(octets, at, held, have)
    while k > middle:
        k, second, has = put_codes(k, 4, octets, bits, second, has)
        to, has = put_high(octets, to, second, has)
    return end_stream(octets, at, held, have), end_stream(octets, to, second, has)


@fast
def four_streams(begin, n, octets, bits, at):
    """With their lengths in front; where they end."""
    quarter, one, two, three = (n + 3) // 4, np.int64(STREAMS), np.int64(STREAMS + STREAM), np.int64(STREAMS + 2 * STREAM)
    half = begin + 2 * quarter
    end, end_one = two_streams(begin, begin + quarter, half, octets, bits, at + 6, one)
    end_two, end_three = two_streams(half, half + quarter, begin + n, octets, bits, two, three)
    for k in range(3):
        size = end - at - 6 if k == 0 else end_one - one if k == 1 else end_two - two
        put8(octets, at + 2 * k, size)
        put8(octets, at + 2 * k + 1, size >> 8)
    copy_bytes(octets, end, octets, one, end_one - one)
    end += end_one - one
    copy_bytes(octets, end, octets, two, end_two - two)
    end += end_two - two
    copy_bytes(octets, end, octets, three, end_three - three)
    return end + end_three - three


@fast
def plain_literals(begin, n, one, octets):
    """Raw, or one byte repeated; where it ends."""
    kind, count = RLE_BLOCK if one else RAW_BLOCK, np.int64(1 if n < 32 else 2 if n < 4096 else 3)
    form = n << 3 if n < 32 else 1 << 2 | n << 4 if n < 4096 else 3 << 2 | n << 4
    at = little_endian(octets, np.int64(BLOCK), kind | form, count)
    size = 1 if one else n
    copy_bytes(octets, at, octets, begin, size)
    return at + size


def literals_section(octets_at, bits_at, numbers_at, begin, n):
    """The smallest of one byte repeated, Huffman codes and raw of octets[begin : begin + n], whose counts are CODED, to BLOCK or a little behind it: from
    BEGIN on; where it ends."""
    octets, bits, numbers = carray(octets_at, (OCTETS,)), carray(bits_at, (BITS,)), carray(numbers_at, (NUMBERS,))
    kinds, coded = 0, 0
    put32(numbers, BEGIN, BLOCK)
    for c in range(256):
        kinds += np.int64(at32(numbers, CODED + c) > 0)
    if kinds < 2:
        return plain_literals(begin, n, kinds == 1, octets)
    lengths = octets[LENGTHS : LENGTHS + 256]
    code_lengths_into(numbers[CODED : CODED + 256], np.int64(11), lengths, np.empty(WORK, np.int64))
    for c in range(256):
        coded += at32(numbers, CODED + c) * at8(lengths, c)
    if coded >> 3 >= n:
        return plain_literals(begin, n, kinds == 1, octets)
    tree_at = np.int64(BLOCK + 5)
    tree_end = tree(lengths, huffman_codes(lengths, bits), numbers, octets, tree_at)
    if tree_end == tree_at or (coded >> 3) + tree_end - tree_at >= n:
        return plain_literals(begin, n, kinds == 1, octets)
    if n < FOUR_STREAMS:
        end, _ = two_streams(begin, begin + n, begin + n, octets, bits, tree_end, np.int64(STREAMS))
    else:
        end = four_streams(begin, n, octets, bits, tree_end)
    body = end - tree_at
    size, form, width = max(n, body), np.int64(n >= FOUR_STREAMS), 10
    if size >= 1 << 14:
        form, width = 3, 18
    elif size >= 1 << 10:
        form, width = 2, 14
    header = (4 + 2 * width) // 8
    if header + body >= n + (1 if n < 32 else 2 if n < 4096 else 3):
        return plain_literals(begin, n, kinds == 1, octets)
    put32(numbers, BEGIN, tree_at - header)
    little_endian(octets, tree_at - header, COMPRESSED_BLOCK | form << 2 | n << 4 | body << 4 + width, header)
    return end


@fast
def sequences_of(begin, low, high, plane, bits, numbers):
    """SEQUENCE of a block from its matches; how many. The distance 1 alone is always the last one; of two each is known once it occurred."""
    many, anchor, last, known = 0, begin, 0 if plane == 0 else -1, 1 if plane == 0 else 0
    for k in range(low, high):
        at, length = at32(numbers, AT + k), at32(numbers, MATCH + k) >> 2
        which = at32(numbers, MATCH + k) & 3
        if many and at == anchor and which == last:
            put64(bits, SEQUENCE + many - 1, at64(bits, SEQUENCE + many - 1) + np.uint64(length << 20))
        else:
            begins = at + 1 if plane == 0 and at == begin else at
            if known >> which & 1:
                value = 1 if which == last or begins == anchor else 2
            else:
                value = 3 + (plane if which else 1)
            put64(bits, SEQUENCE + many, np.uint64(begins - anchor | at + length - begins << 20 | value << 40))
            known |= 1 << which
            last = which
            many += 1
        anchor = at + length
    return many


@fast
def choose(kind, many, octets, at, numbers):
    """The table of one of the three streams of codes: its mode, where its description ends."""
    counts, share, symbols, kinds, last = CODED + CODE[kind], SHARE + 64 * kind, SYMBOLS[kind], 0, 0
    for s in range(symbols):
        put32(numbers, share + s, 0)
        if at32(numbers, counts + s):
            kinds, last = kinds + 1, s
    if kinds == 1:
        put8(octets, at, last)
        put32(numbers, share + last, 1)
        mode, log, at = 1, 0, at + 1
    else:
        log = min(max(highest(many) - 2, highest(2 * kinds - 1) + 1, 5), MOST_LOG[kind])
        normalise(numbers, counts, symbols, many, log, share)
        end = describe(numbers, share, log, octets, at)
        own, given = 8 * BIT * (end - at), 0
        for s in range(symbols):
            count = at32(numbers, counts + s)
            if count:
                own += count * (BIT * log - log2_units(at32(numbers, share + s)))
                given += count * (BIT * DEFAULT_LOG[kind] - log2_units(abs(np.int64(DEFAULTS[kind, s]))))
        mode = 2
        if given <= own:
            mode, log, end = 0, DEFAULT_LOG[kind], at
            for s in range(symbols):
                put32(numbers, share + s, np.int64(DEFAULTS[kind, s]))
        at = end
    fse_table(numbers, kind, symbols, log)
    put32(numbers, LOGS + kind, log)
    return mode, at


@fast
def count_codes(many, bits, numbers):
    """SEQUENCE_CODES, and how often each occurs, in CODED."""
    for c in range(COLUMNS):
        put32(numbers, CODED + c, 0)
    for i in range(many):
        word = np.int64(at64(bits, SEQUENCE + i))
        ll, ml, of = ll_code(word & 0xFFFFF), ml_code(word >> 20 & 0xFFFFF), highest(word >> 40)
        put32(numbers, SEQUENCE_CODES + i, ll | ml << 8 | of << 16)
        put32(numbers, CODED + LL_CODE + ll, at32(numbers, CODED + LL_CODE + ll) + 1)
        put32(numbers, CODED + ML_CODE + ml, at32(numbers, CODED + ML_CODE + ml) + 1)
        put32(numbers, CODED + of, at32(numbers, CODED + of) + 1)


@fast
def sequence_bits(many, octets, bits, numbers, at):
    """The stream of all sequences, the last one first; where it ends."""
    held, have, ll_kind, of_kind, ml_kind = np.uint64(0), 0, np.int64(LL), np.int64(OF), np.int64(ML)
    ll_state = of_state = ml_state = 0
    for i in range(many - 1, -1, -1):
        word, codes = np.int64(at64(bits, SEQUENCE + i)), at32(numbers, SEQUENCE_CODES + i)
        ll, ml, of = codes & 255, codes >> 8 & 255, codes >> 16
        if i == many - 1:
            ll_state, of_state, ml_state = first_state(numbers, ll_kind, ll), first_state(numbers, of_kind, of), first_state(numbers, ml_kind, ml)
        else:
            of_state, held, have = next_state(numbers, of_kind, of_state, of, held, have)
            ml_state, held, have = next_state(numbers, ml_kind, ml_state, ml, held, have)
            ll_state, held, have = next_state(numbers, ll_kind, ll_state, ll, held, have)
            at, held, have = put_bits(octets, at, held, have)
        held |= np.uint64((word & 0xFFFFF) - at32(FIRST_OF, ll)) << np.uint64(have)
        have += at8(EXTRA_BITS, ll)
        held |= np.uint64((word >> 20 & 0xFFFFF) - at32(FIRST_OF, 64 + ml)) << np.uint64(have)
        have += at8(EXTRA_BITS, 64 + ml)
        held |= np.uint64((word >> 40) - (1 << of)) << np.uint64(have)
        at, held, have = put_bits(octets, at, held, have + of)
    return end_sequences(ll_state, of_state, ml_state, octets, numbers, at, held, have)


@fast
def end_sequences(ll_state, of_state, ml_state, octets, numbers, at, held, have):
    """The last states, and the one that ends the stream; the next place."""
    for kind in (ML, OF, LL):
        log, state = at32(numbers, LOGS + kind), ml_state if kind == ML else of_state if kind == OF else ll_state
        held |= np.uint64(state & (1 << log) - 1) << np.uint64(have)
        have += log
    held |= np.uint64(1) << np.uint64(have)
    at, held, have = put_bits(octets, at, held, have + 1)
    store64(octets, at, held)
    return at + np.int64(have > 0)


@fast
def state_bits(numbers, kind, state, symbol):
    """How many bits a state writes before a symbol, and the next state."""
    width = (state + at32(numbers, REACH + 192 * kind + symbol)) >> 16
    return width, at32(numbers, STATES + 1024 * kind + at32(numbers, REACH + 192 * kind + 64 + symbol) + (state >> width))


@fast
def near_bits(many, octets, bits, numbers, at):
    """sequence_bits where every offset is the last one: what a sequence writes, 50 bits at most, is put together first, so that it waits for no place."""
    held, have, ll_kind, ml_kind, i = np.uint64(0), 0, np.int64(LL), np.int64(ML), many - 1
    codes = at32(numbers, SEQUENCE_CODES + i)
    ll_state, ml_state = first_state(numbers, ll_kind, codes & 255), first_state(numbers, ml_kind, codes >> 8 & 255)
    while True:
        word = np.int64(at64(bits, SEQUENCE + i))
        ll, ml = codes & 255, codes >> 8 & 255
        short = at8(EXTRA_BITS, ll)
        extra = (word & 0xFFFFF) - at32(FIRST_OF, ll) | (word >> 20 & 0xFFFFF) - at32(FIRST_OF, 64 + ml) << short
        width = short + at8(EXTRA_BITS, 64 + ml)
        if i < many - 1:
            of_ml, next_ml = state_bits(numbers, ml_kind, ml_state, ml)
            of_ll, next_ll = state_bits(numbers, ll_kind, ll_state, ll)
            states = ml_state & (1 << of_ml) - 1 | (ll_state & (1 << of_ll) - 1) << of_ml
            extra, width, ml_state, ll_state = extra << of_ml + of_ll | states, width + of_ml + of_ll, next_ml, next_ll
        at, held, have = put_bits(octets, at, held | np.uint64(extra) << np.uint64(have), have + width)
        if i == 0:
            break
        i -= 1
        codes = at32(numbers, SEQUENCE_CODES + i)
    return end_sequences(ll_state, 0, ml_state, octets, numbers, at, held, have)


def sequences_section(octets_at, bits_at, numbers_at, begin, low, high, plane, at):
    """Of a block's matches low to high to octets[at:]; where it ends. A region has room for fewer than 0x7F00 sequences of 5 bytes and more."""
    octets, bits, numbers = carray(octets_at, (OCTETS,)), carray(bits_at, (BITS,)), carray(numbers_at, (NUMBERS,))
    many = sequences_of(begin, low, high, plane, bits, numbers)
    if many < 128:
        put8(octets, at, many)
        at += 1
    else:
        put8(octets, at, (many >> 8) + 128)
        put8(octets, at + 1, many)
        at += 2
    if many == 0:
        return at
    count_codes(many, bits, numbers)
    modes, modes_at, at = 0, at, at + 1
    for kind in range(3):
        mode, at = choose(kind, many, octets, at, numbers)
        modes |= mode << 6 - 2 * kind
    put8(octets, modes_at, modes)
    return near_bits(many, octets, bits, numbers, at) if plane == 0 else sequence_bits(many, octets, bits, numbers, at)


@fast
def block(stages, u, after, n, plane, last, octets, bits, numbers, to, at):
    """The block of units u to after of a region of n bytes, behind its header at to[at:]; where it ends."""
    begin, end, count, coded_counts = UNIT * u, min(UNIT * after, n), np.int64(3), np.int64(CODED)
    copy_counts(numbers, coded_counts, COUNTS + COLUMNS * u)
    for k in range(u + 1, after):
        add_counts(numbers, coded_counts, coded_counts, COUNTS + COLUMNS * k)
    low, high, first = at32(numbers, FIRST_MATCH + u), at32(numbers, FIRST_MATCH + after), at32(numbers, FIRST_LITERAL + u)
    size, one = end - begin, at32(numbers, CODED + FIRST)
    if one >= 0:
        at = little_endian(to, at, size << 3 | RLE_BLOCK << 1 | last, count)
        put8(to, at, one)
        return at + 1
    if plane == 0 and low < high and at32(numbers, AT + low) == begin:      # see sequences_of: this byte becomes a literal
        value = at8(octets, B + begin)
        put32(numbers, CODED + value, at32(numbers, CODED + value) + 1)
        first -= 1
        put8(octets, LITERALS + first, value)
    literals = at32(numbers, FIRST_LITERAL + after) - first
    coded = call(stages[2], (octets, bits, numbers, LITERALS + first, literals))
    block_at = at32(numbers, BEGIN)
    if coded - block_at < size:
        coded = call(stages[3], (octets, bits, numbers, begin, low, high, plane, coded))
    if coded - block_at < size:
        at = little_endian(to, at, coded - block_at << 3 | COMPRESSED_BLOCK << 1 | last, count)
        copy_bytes(to, at, octets, block_at, coded - block_at)
        return at + coded - block_at
    at = little_endian(to, at, size << 3 | RAW_BLOCK << 1 | last, count)
    copy_bytes(to, at, octets, B + begin, size)
    return at + size


@fast
def frame_header(size, to, at):
    """Where the blocks begin."""
    form, count = (0x20 | size << 8, 2) if size < 256 else (0x60 | size - 256 << 8, 3) if size < 256 + (1 << 16) else (0xA0 | size << 8, 5)
    little_endian(to, at, np.int64(0xFD2FB528), np.int64(4))
    return little_endian(to, at + 4, form, np.int64(count))


def read_region(raw, octets_at, bits_at, numbers_at, stages_at, at, n, size, pixels, planes):
    """The region of n bytes at and on of a frame of so many pixels, as far as its blocks are known; their estimates together."""
    octets, bits, numbers = carray(octets_at, (OCTETS,)), carray(bits_at, (BITS,)), carray(numbers_at, (NUMBERS,))
    stages, units, plane = carray(stages_at, (STAGES,)), (n + UNIT - 1) // UNIT, n // (8 * size) if planes else 0
    call(stages[4], (raw, octets, at, n, size, pixels, planes))
    put32(numbers, FIRST_MATCH, 0)
    put32(numbers, FIRST_LITERAL, 0)
    for u in range(units):
        call(stages[0], (octets, bits, numbers, u, n, plane))
    return call(stages[1], (numbers, units))


def write_region(to_at, octets_at, bits_at, numbers_at, stages_at, n, plane, last, at):
    """The blocks of the region that was read last to to[at:]; where they end. last: a reader is to stop behind them."""
    octets, bits, numbers = carray(octets_at, (OCTETS,)), carray(bits_at, (BITS,)), carray(numbers_at, (NUMBERS,))
    to, stages, units, u = carray(to_at, (SLOT,)), carray(stages_at, (STAGES,)), (n + UNIT - 1) // UNIT, np.int64(0)
    while u < units:
        after = u + at32(numbers, BLOCKS + u)
        at = block(stages, u, after, n, plane, np.int64(after == units and last), octets, bits, numbers, to, at)
        u = after
    return at


def span(raw, to_at, stages_at, first, last, size, pixels, planes):
    """Regions first to last of a frame of so many pixels, in planes of bits each behind its length and frame header; the bytes written."""
    octets, bits, numbers = np.empty(OCTETS, np.uint8), np.empty(BITS, np.uint64), np.empty(NUMBERS, np.int32)
    to, stages = carray(to_at, (SLOT * (last - first),)), carray(stages_at, (STAGES,))
    total, at = pixels // 8 * 8 * size if planes else pixels * size, 0
    for r in range(first, last):
        n, start = min(REGION, total - REGION * r), at
        plane = n // (8 * size) if planes else 0
        call(stages[6], (raw, octets, bits, numbers, stages, REGION * r, n, size, pixels, planes))
        if planes:
            at = frame_header(n, to, at + 4)
        at = call(stages[7], (to, octets, bits, numbers, stages, n, plane, np.int64(planes or REGION * (r + 1) >= total), at))
        if planes:
            for k in range(4):
                put8(to, start + k, (at - start - 4) >> (24 - 8 * k))
    return at


@lru_cache(1)
def stages() -> np.ndarray:
    """Addresses of what is called by address, compiled at the first call."""
    octets, bits, numbers = types.uint8, types.uint64, types.int32
    places = [
        address_of(unit, (octets, bits, numbers), 3), address_of(merge, (numbers,), 1), address_of(literals_section, (octets, bits, numbers), 2),
        address_of(sequences_section, (octets, bits, numbers), 5), address_of(fill, (octets, octets), 5), address_of(span, (octets, octets, types.int64), 5),
        address_of(read_region, (octets, octets, bits, numbers, types.int64), 5), address_of(write_region, (octets, octets, bits, numbers, types.int64), 4),
    ]
    return np.array(places, np.int64)


@fast
def first_block(total, planes):
    """Where it is in a chunk, or its length."""
    return 12 if planes else 6 if total < 256 else 7 if total < 256 + (1 << 16) else 9


@fast
def place(f, s, spans, regions, length, raw, size, planes, payload, sizes, slots):
    """Span s of frame f to its place behind those before it, where a single one is already; the first one adds the header, the last one tail and size."""
    total = raw.shape[1]
    usable = total // (8 * size) * (8 * size) if planes else total
    at, to = first_block(total, planes), payload[f]
    if s == 0 and planes:
        for k in range(12):
            put8(to, k, total >> (56 - 8 * k) if k < 8 else REGION >> (88 - 8 * k))
    elif s == 0:
        frame_header(total, to, np.int64(0))
    for k in range(s):
        at += length[f, k]
    if spans > 1:
        copy_bytes(to, at, slots[f], SLOT * (regions * s // spans), length[f, s])
    if s == spans - 1:
        at += length[f, s]
        copy_bytes(to, at, raw[f], usable, total - usable)
        sizes[f] = at + total - usable


@fast
def encode_span(raw, to, stages, f, first, last, size, pixels, planes):
    """The bytes of these regions of frame f, which nothing is written behind."""
    return call(stages[5], (raw[f], to, stages, first, last, size, pixels, planes))


def encode_frames(raw, size, planes, payload, sizes, slots, spans, stages):
    """Chunks of all frames raw (n, bytes) u8; planes: 1 for planes of bits. A frame is cut into spans of regions so that a few large frames use all cores;
    all go to slots (n, regions * SLOT) first: where one belongs is known in the end; but a single one goes to its place. stages: stages()."""
    n, usable = raw.shape[0], raw.shape[1] // (8 * size) * (8 * size) if planes else raw.shape[1]
    regions = (usable + REGION - 1) // REGION
    length = np.zeros((n, spans), np.int64)
    share(encode_spans, n * spans, raw, size, planes, payload, slots, regions, length, stages)
    share(place_spans, n * spans, raw, size, planes, payload, sizes, slots, regions, length)


@njit(cache=True, nogil=True, error_model="numpy")
def encode_spans(begin, end, raw, size, planes, payload, slots, regions, length, stages):
    spans, at = length.shape[1], first_block(raw.shape[1], planes)
    for item in range(begin, end):
        f, s = item // spans, item % spans
        first, last = regions * s // spans, regions * (s + 1) // spans
        to = slots[f, SLOT * first :] if spans > 1 else payload[f, at:]
        length[f, s] = encode_span(raw, to, stages, f, first, last, size, raw.shape[1] // size, planes)


@njit(cache=True, nogil=True, error_model="numpy")
def place_spans(begin, end, raw, size, planes, payload, sizes, slots, regions, length):
    spans = length.shape[1]
    for item in range(begin, end):
        place(item // spans, item % spans, spans, regions, length, raw, size, planes, payload, sizes, slots)
