"""zstd_encode.py for numba: bytes to regions, units and blocks, the same decisions with machine words. Over 200 lines: one format, read together.

What a thread works with lies in three arrays, `octets` (u8), `bits` (u64) and `numbers` (i64), at the places named below: functions that pass many arrays on
take minutes to compile.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

from .huffman_lengths import WORK, code_lengths_into
from .lz4_numba import FULL, I1, I64, MARGIN, _at, copy_bytes, equal64, first_one, shuffle
from .zstd_encode import FOUR_STREAMS, REGION, UNIT
from .zstd_format import LL_BASE, LL_BITS, LL_DEFAULT, ML_BASE, ML_BITS, ML_DEFAULT, OF_DEFAULT

fast = njit(cache=True, nogil=True, error_model="numpy")
UNITS, WORDS = REGION // UNIT, UNIT // 64
SLOT = REGION + 3 * UNITS + 16 + 64     # the largest blocks of a region behind a block length and a frame header, and what vectors may write beyond
BIT = np.int64(256)
RAW_BLOCK, RLE_BLOCK, COMPRESSED_BLOCK = 0, 1, 2
DEFAULTS = np.zeros((3, 64), np.int64)
DEFAULTS[0, : len(LL_DEFAULT)], DEFAULTS[1, : len(OF_DEFAULT)], DEFAULTS[2, : len(ML_DEFAULT)] = LL_DEFAULT, OF_DEFAULT, ML_DEFAULT
DEFAULTS.flags.writeable = False
SYMBOLS, DEFAULT_LOG, MOST_LOG = (36, 29, 53), (6, 5, 6), (9, 8, 9)        # of literal lengths, offsets, match lengths
LL, OF, ML, WEIGHT = range(4)

# counts, of a unit or a block: literals by value, codes, distances by number, extra bits, the value of all bytes or -1, bytes
LITERAL, LL_CODE, ML_CODE, WHICH, EXTRA, FIRST, RAW, COLUMNS = 0, 256, 292, 345, 349, 350, 351, 352

# octets: the region behind a margin, then the literals of a block, the block
B = MARGIN
LITERALS = REGION + 3 * MARGIN
BLOCK = LITERALS + REGION + 3 * MARGIN
OCTETS = BLOCK + REGION * 11 // 8 + 16 * MARGIN

# bits: four bitmaps of a unit, their matches' starts, the Huffman codes as code | length << 32
ROW = WORDS + 2
START = 4 * ROW
CODES = START + ROW
BITS = CODES + 256

# numbers
MOST = REGION // 4 + 2 * UNITS          # matches
AT, LENGTH, WHICHES = 0, MOST, 2 * MOST                         # matches: place in the region, length, number of the distance
FIRST_MATCH = 3 * MOST                                          # of each unit
BLOCKS = FIRST_MATCH + UNITS + 1                                # units of the block that begins with each
COUNTS = BLOCKS + UNITS                                         # of each unit
BLOCK_COUNTS, BOTH, CODED = (COUNTS + COLUMNS * (UNITS + k) for k in range(3))      # a block; with the next unit; what is coded of a block
PARTS = CODED + COLUMNS                                         # four tables to count bytes in
LITERAL_RUN, MATCH_RUN, OFFSET = (PARTS + 1024 + MOST * k for k in range(3))        # sequences
SHARE = OFFSET + MOST                                           # 64 for each of the four kinds of codes
REACH = SHARE + 4 * 64                                          # 3 * 64 for each: see fse_table
STATES = REACH + 4 * 192                                        # 1024 for each
WEIGHTS = STATES + 4 * 1024
NUMBERS = WEIGHTS + 256


@intrinsic
def leading_zeros(typingctx, x):
    """Of 64 bits."""

    def codegen(context, builder, sig, args):
        return builder.ctlz(args[0], ir.Constant(I1, 0))

    return types.int64(types.int64), codegen


@intrinsic
def store64(typingctx, to, i, value):
    """to[i : i + 8] = the bytes of a u64."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _at(context, builder, sig.args[0], args[0], args[1], I64), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, types.uint64), codegen


@fast
def highest(x):
    """The place of the highest bit of x > 0."""
    return 63 - leading_zeros(x)


# ------------------------------------------------------------------------------------------------------------------- 1
@fast
def bytes_of(raw, at, n, size, b):
    """b[B : B + n] = bytes at and on of the frame raw, shuffled by bytes."""
    pixels, i = raw.shape[0] // size, 0
    while i < n:
        plane, pixel = (at + i) // pixels, (at + i) % pixels
        many, to, source = min(n - i, pixels - pixel), B + i, pixel * size + plane
        if size == 1:
            copy_bytes(b, to, raw, source, many)
        elif size == 2:
            for k in range(many):
                b[to + k] = raw[source + 2 * k]
        elif size == 4:
            for k in range(many):
                b[to + k] = raw[source + 4 * k]
        else:
            for k in range(many):
                b[to + k] = raw[source + 8 * k]
        i += many


@fast
def bitmaps(b, begin, n, distances, least, bits):
    """Row k, bit i: byte begin + i of the region equals the one distances[k] before it; START, bit i: `least` ones follow in some row. Words behind
    the unit are 0. Whether START has a one."""
    words, any_start = (n + 63) >> 6, np.uint64(0)
    for w in range(ROW):
        bits[START + w] = np.uint64(0)
    for k in range(distances.shape[0]):
        d, row, any_equal = distances[k], ROW * k, np.uint64(0)
        for w in range(words):
            equal = np.uint64(0)
            at = begin + 64 * w
            if d > 0 and at + 64 > d:
                equal = equal64(b, B + at, d)
                if at < d:
                    equal &= FULL << np.uint64(d - at)
            bits[row + w] = equal
            any_equal |= equal
        bits[row + words] = bits[row + words + 1] = np.uint64(0)
        if n & 63:
            bits[row + words - 1] &= ~(FULL << np.uint64(n & 63))
        if any_equal:
            next_two = next_four = np.uint64(0)
            for w in range(words - 1, -1, -1):
                two = bits[row + w] & (bits[row + w] >> np.uint64(1) | bits[row + w + 1] << np.uint64(63))
                four = two & (two >> np.uint64(2) | next_two << np.uint64(62))
                ones = four if least == 4 else four & (four >> np.uint64(4) | next_four << np.uint64(60))
                bits[START + w] |= ones
                any_start |= ones
                next_two, next_four = two, four
    return any_start != 0


@fast
def run(bits, row, pos):
    """How many ones follow in a row from bit pos on."""
    w = row + (pos >> 6)
    unequal = ~bits[w] >> np.uint64(pos & 63)
    if unequal:
        return first_one(unequal)
    n = 64 - (pos & 63)
    while bits[w + 1] == FULL:
        w, n = w + 1, n + 64
    return n + first_one(~bits[w + 1])


@fast
def unit_matches(begin, n, kinds, found, bits, numbers):
    """The matches of a unit, to places found and on; how many there are then."""
    w, words = 0, (n + 63) >> 6
    m = bits[START]
    while True:
        while m == 0 and w + 1 < words:
            w += 1
            m = bits[START + w]
        if m == 0:
            return found
        pos = 64 * w + first_one(m)
        longest, later, which, which_later = 0, 0, 0, 0
        for k in range(kinds):
            here = run(bits, ROW * k, pos)
            if here > longest:
                longest, which = here, k
            if kinds > 1:
                there = here - 1 if here > 0 else run(bits, ROW * k, pos + 1)
                if there > later:
                    later, which_later = there, k
        if later > longest + 1:
            pos, longest, which = pos + 1, later, which_later
        numbers[AT + found], numbers[LENGTH + found], numbers[WHICHES + found] = begin + pos, longest, which
        found += 1
        pos += longest
        w = pos >> 6
        m = bits[START + w] & (FULL << np.uint64(pos & 63))


@fast
def ll_code(x):
    if x < 16:
        return x
    if x < 64:
        return 16 + (x - 16 >> 1) if x < 24 else 20 + (x - 24 >> 2) if x < 32 else 22 + (x - 32 >> 3) if x < 48 else 24
    return 19 + highest(x)


@fast
def ml_code(length):
    x = length - 3
    if x < 32:
        return x
    if x < 128:
        return 32 + (x - 32 >> 1) if x < 40 else 36 + (x - 40 >> 2) if x < 48 else 38 + (x - 48 >> 3) if x < 64 else 40 + (x - 64 >> 4) if x < 96 else 42
    return 36 + highest(x)


@fast
def count_bytes(b, at, end, numbers):
    """Four at a time, each in a table of its own, so that equal neighbours do not wait for one another."""
    while at + 4 <= end:
        numbers[PARTS + np.int64(b[at])] += 1
        numbers[PARTS + 256 + np.int64(b[at + 1])] += 1
        numbers[PARTS + 512 + np.int64(b[at + 2])] += 1
        numbers[PARTS + 768 + np.int64(b[at + 3])] += 1
        at += 4
    while at < end:
        numbers[PARTS + np.int64(b[at])] += 1
        at += 1


@fast
def count_unit(begin, n, low, high, count, b, numbers):
    """What is counted of a unit whose matches are low to high, to numbers[count:]."""
    for c in range(COLUMNS):
        numbers[count + c] = 0
    for c in range(1024):
        numbers[PARTS + c] = 0
    anchor, extra = begin, 0
    for k in range(low, high):
        at, length = numbers[AT + k], numbers[LENGTH + k]
        count_bytes(b, B + anchor, B + at, numbers)
        ll, ml = ll_code(at - anchor), ml_code(length)
        numbers[count + LL_CODE + ll] += 1
        numbers[count + ML_CODE + ml] += 1
        numbers[count + WHICH + numbers[WHICHES + k]] += 1
        extra += np.int64(LL_BITS[ll]) + np.int64(ML_BITS[ml])
        anchor = at + length
    count_bytes(b, B + anchor, B + begin + n, numbers)
    for c in range(256):
        numbers[count + c] = numbers[PARTS + c] + numbers[PARTS + 256 + c] + numbers[PARTS + 512 + c] + numbers[PARTS + 768 + c]
    numbers[count + EXTRA], numbers[count + RAW], numbers[count + FIRST] = extra, n, np.int64(b[B + begin])
    for i in range(1, n):
        if b[B + begin + i] != b[B + begin]:
            numbers[count + FIRST] = -1
            break


# ------------------------------------------------------------------------------------------------------------------- 2
@fast
def log2_units(x):
    e = highest(x)
    part = (x << 17 >> e >> 9) & 255
    return 256 * e + part + (part * (256 - part) * 88 >> 16)


@fast
def entropy(numbers, low, high):
    """Of numbers[low:high]: in units, how many together, of how many kinds."""
    total, kinds, inside = 0, 0, 0
    for c in range(low, high):
        x = numbers[c]
        total += x
        kinds += x > 0
        inside += x * log2_units(x | (x == 0))
    return (total * log2_units(total) - inside if total else 0), total, kinds


@fast
def estimate(numbers, count):
    if numbers[count + FIRST] >= 0:
        return 32 * BIT
    size, n, kinds = entropy(numbers, count, count + 256)
    size = 8 * BIT if kinds < 2 else min(max(size, BIT * n) + BIT * (48 + 6 * min(kinds, 64)), 8 * BIT * n)
    which, many, _ = entropy(numbers, count + WHICH, count + EXTRA)
    if many:
        size += BIT * (numbers[count + EXTRA] + 24) + which
        for h in range(2):
            low, high = (count + LL_CODE, count + ML_CODE) if h == 0 else (count + ML_CODE, count + WHICH)
            own, _, kinds = entropy(numbers, low, high)
            size += min(own + 5 * BIT * kinds, 21 * BIT // 4 * many)
    return min(size + 48 * BIT, BIT * (8 * numbers[count + RAW] + 24))


@fast
def merge(units, numbers):
    """BLOCKS: how many units the block has that begins with a unit, 0 where none begins."""
    begin, size = 0, 0
    for k in range(units):
        unit = COUNTS + COLUMNS * k
        alone = estimate(numbers, unit)
        whole = 0
        if k:
            for c in range(COLUMNS):
                numbers[BOTH + c] = numbers[BLOCK_COUNTS + c] + numbers[unit + c]
            numbers[BOTH + FIRST] = numbers[unit + FIRST] if numbers[unit + FIRST] == numbers[BLOCK_COUNTS + FIRST] else -1
            whole = estimate(numbers, BOTH)
        if k == 0 or whole > size + alone:
            begin, size = k, alone
            for c in range(COLUMNS):
                numbers[BLOCK_COUNTS + c] = numbers[unit + c]
        else:
            size = whole
            for c in range(COLUMNS):
                numbers[BLOCK_COUNTS + c] = numbers[BOTH + c]
        numbers[BLOCKS + k] = 0
        numbers[BLOCKS + begin] = k + 1 - begin


# ------------------------------------------------------------------------------------------------------------------- 3
@fast
def put_bits(to, at, held, have):
    """The whole bytes of held, of whose bits `have` are given, at most 63: where the next one goes, and what is left."""
    store64(to, at, held)
    whole = have >> 3
    return at + whole, held >> np.uint64(8 * whole), have & 7


@fast
def little_endian(to, at, value, count):
    for k in range(count):
        to[at + k] = np.uint8(value >> 8 * k & 255)
    return at + count


@fast
def normalise(numbers, counts, symbols, total, log, share):
    """numbers[share : share + symbols] adds up to 1 << log."""
    left = np.int64(1) << log
    size = left
    for s in range(symbols):
        c = numbers[counts + s]
        many = max(1, (2 * c * size + total) // (2 * total)) if c else 0
        numbers[share + s] = many
        left -= many
    while left != 0:
        largest = 0
        for s in range(1, symbols):
            if numbers[share + s] > numbers[share + largest]:
                largest = s
        step = 1 if left > 0 else -1
        numbers[share + largest] += step
        left -= step


@fast
def describe(numbers, share, log, to, at):
    """The table's description to to[at:]; where it ends."""
    held, have = np.uint64(log - 5), 4
    left, s = (np.int64(1) << log) + 1, share
    while left > 1:
        width = highest(left) + 1
        short = (np.int64(1) << width) - 1 - left
        value = numbers[s] + 1
        left -= numbers[s]
        if value < short:
            width -= 1
        elif value >= np.int64(1) << width - 1:
            value += short
        held |= np.uint64(value) << np.uint64(have)
        have += width
        repeated = numbers[s] == 0
        s += 1
        if repeated:
            zeros = 0
            while numbers[s + zeros] == 0:
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
    return at + (have > 0)


@fast
def fse_table(numbers, kind, symbols, log):
    """STATES: of all symbols their states plus 1 << log, one symbol after another. Of a symbol s: (state + REACH[s]) >> 16 is how many bits a state
    writes before it, and REACH[64 + s] + what is then left of the state is the place of the next one. -1: less than one."""
    size = np.int64(1) << log
    share, reach, states = SHARE + 64 * kind, REACH + 192 * kind, STATES + 1024 * kind
    mask, step, place, free = size - 1, (size >> 1) + (size >> 3) + 3, 0, size
    for s in range(symbols):
        many = abs(numbers[share + s])
        if many:
            width = log if many == 1 else log - highest(many - 1)
            numbers[reach + s], numbers[reach + 64 + s], numbers[reach + 128 + s] = (width << 16) - (many << width), place - many, place
            place += many
        if numbers[share + s] < 0:
            free -= 1
            numbers[states + size + free] = s       # behind the states: the symbol of each, until they are listed
    at = 0
    for s in range(symbols):
        for _ in range(numbers[share + s]):
            numbers[states + size + at] = s
            at = (at + step) & mask
            while at >= free:
                at = (at + step) & mask
    for state in range(size):
        s = numbers[states + size + state]
        numbers[states + numbers[reach + 128 + s]] = size + state
        numbers[reach + 128 + s] += 1


@fast
def first_state(numbers, kind, symbol):
    return numbers[STATES + 1024 * kind + numbers[REACH + 192 * kind + 64 + symbol] + abs(numbers[SHARE + 64 * kind + symbol])]


@fast
def next_state(numbers, kind, state, symbol, held, have):
    """One symbol further: the state, and the bits with those that the old one writes."""
    width = (state + numbers[REACH + 192 * kind + symbol]) >> 16
    held |= np.uint64(state & ((1 << width) - 1)) << np.uint64(have)
    return numbers[STATES + 1024 * kind + numbers[REACH + 192 * kind + 64 + symbol] + (state >> width)], held, have + width


@fast
def huffman_codes(lengths, bits):
    """CODES = code | length << 32; the longest length."""
    longest = 0
    for s in range(256):
        longest = max(longest, np.int64(lengths[s]))
    code = 0
    for length in range(longest, 0, -1):
        for s in range(256):
            if lengths[s] == length:
                bits[CODES + s] = np.uint64(code) | np.uint64(length) << np.uint64(32)
                code += 1
        code >>= 1
    return longest


@fast
def tree(lengths, longest, numbers, to, at):
    """The description of the tree to to[at:]; where it ends, at itself where there is none."""
    counts, last = CODED + LL_CODE, 255
    while lengths[last] == 0:
        last -= 1
    for w in range(12):
        numbers[counts + w] = 0
    for s in range(last):
        weight = longest + 1 - np.int64(lengths[s]) if lengths[s] else 0
        numbers[WEIGHTS + s] = weight
        numbers[counts + weight] += 1
    kinds, size, direct = 0, 0, (last + 1) // 2
    for w in range(12):
        kinds += numbers[counts + w] > 0
    if last >= 2 and kinds >= 2:
        log = min(max(highest(last) - 2, highest(2 * kinds - 1) + 1, 5), 6)
        normalise(numbers, counts, 12, last, log, SHARE + 64 * WEIGHT)
        size = code_weights(last, log, numbers, to, at + 1) - at - 1
    if 0 < size < 128 and (last > 128 or size < direct):
        to[at] = np.uint8(size)
        return at + size + 1
    if last > 128:
        return at
    to[at] = np.uint8(127 + last)
    numbers[WEIGHTS + last] = 0
    for k in range(direct):
        to[at + 1 + k] = np.uint8(numbers[WEIGHTS + 2 * k] << 4 | numbers[WEIGHTS + 2 * k + 1])
    return at + 1 + direct


@fast
def code_weights(last, log, numbers, to, at):
    """Their table, then even and odd ones in a stream of states each; where it ends."""
    at = describe(numbers, SHARE + 64 * WEIGHT, log, to, at)
    fse_table(numbers, WEIGHT, 12, log)
    held, have, odd, even = np.uint64(0), 0, 0, 0
    for k in range(last - 1, -1, -1):
        w = numbers[WEIGHTS + k]
        if k >= last - 2:
            state = first_state(numbers, WEIGHT, w)
        else:
            state, held, have = next_state(numbers, WEIGHT, odd if k & 1 else even, w, held, have)
            at, held, have = put_bits(to, at, held, have)
        if k & 1:
            odd = state
        else:
            even = state
    size = np.int64(1) << log
    held |= (np.uint64(odd - size) | np.uint64(even - size) << np.uint64(log) | np.uint64(1) << np.uint64(2 * log)) << np.uint64(have)
    at, held, have = put_bits(to, at, held, have + 2 * log + 1)
    store64(to, at, held)
    return at + (have > 0)


@fast
def huffman_stream(literal, begin, end, bits, to, at):
    """Codes of literal[begin:end], the last one first; where it ends."""
    held, have, k = np.uint64(0), 0, end
    while k - 4 >= begin:
        for j in range(1, 5):
            code = bits[CODES + np.int64(literal[k - j])]
            held |= (code & np.uint64(0xFFFFFFFF)) << np.uint64(have)
            have += np.int64(code >> np.uint64(32))
        k -= 4
        at, held, have = put_bits(to, at, held, have)
    while k > begin:
        k -= 1
        code = bits[CODES + np.int64(literal[k])]
        held |= (code & np.uint64(0xFFFFFFFF)) << np.uint64(have)
        have += np.int64(code >> np.uint64(32))
    held |= np.uint64(1) << np.uint64(have)
    at, held, have = put_bits(to, at, held, have + 1)
    store64(to, at, held)
    return at + (have > 0)


@fast
def plain_literals(n, octets):
    """Raw, or one byte repeated; where it ends."""
    one = n > 0
    for k in range(1, n):
        if octets[LITERALS + k] != octets[LITERALS]:
            one = False
            break
    kind = RLE_BLOCK if one else RAW_BLOCK
    if n < 32:
        at = little_endian(octets, BLOCK, kind | n << 3, 1)
    elif n < 4096:
        at = little_endian(octets, BLOCK, kind | 1 << 2 | n << 4, 2)
    else:
        at = little_endian(octets, BLOCK, kind | 3 << 2 | n << 4, 3)
    if one:
        octets[at] = octets[LITERALS]
        return at + 1
    copy_bytes(octets, at, octets, LITERALS, n)
    return at + n


@fast
def literals_section(n, octets, bits, numbers, lengths, huffman):
    """The smallest of one byte repeated, Huffman codes and raw, to BLOCK and on; where it ends."""
    kinds, coded = 0, 0
    for c in range(256):
        kinds += numbers[CODED + c] > 0
    if n < 2 or kinds < 2:
        return plain_literals(n, octets)
    code_lengths_into(numbers[CODED : CODED + 256], 11, lengths, huffman)
    for c in range(256):
        coded += numbers[CODED + c] * np.int64(lengths[c])
    begin = BLOCK + 5
    tree_end = tree(lengths, huffman_codes(lengths, bits), numbers, octets, begin)
    if tree_end == begin or (coded >> 3) + tree_end - begin >= n:
        return plain_literals(n, octets)
    if n < FOUR_STREAMS:
        end = huffman_stream(octets, LITERALS, LITERALS + n, bits, octets, tree_end)
    else:
        quarter = (n + 3) // 4
        end = tree_end + 6
        for k in range(4):
            after = huffman_stream(octets, LITERALS + k * quarter, LITERALS + min((k + 1) * quarter, n), bits, octets, end)
            if k < 3:
                little_endian(octets, tree_end + 2 * k, after - end, 2)
            end = after
    body = end - begin
    form, width = (1 if n >= FOUR_STREAMS else 0), 10
    if max(n, body) >= 1 << 10:
        form, width = (2, 14) if max(n, body) < 1 << 14 else (3, 18)
    header = (4 + 2 * width) // 8
    if header + body >= n + (1 if n < 32 else 2 if n < 4096 else 3):
        return plain_literals(n, octets)
    little_endian(octets, BLOCK, COMPRESSED_BLOCK | form << 2 | n << 4 | body << (4 + width), header)
    if header < 5:
        for k in range(body):
            octets[BLOCK + header + k] = octets[begin + k]
    return BLOCK + header + body


@fast
def offset_values(many, which, distances, numbers):
    """OFFSET, that says whether there are literals: 1 to 3 for one of the last three distances, or the distance + 3. which: the distances' place."""
    a = b = c = -1
    if distances.shape[0] == 1:
        a = 0
    for i in range(many):
        k, behind = numbers[which + i], numbers[OFFSET + i]
        if k == a:
            numbers[OFFSET + i] = behind
        elif k == b:
            numbers[OFFSET + i] = 1 + behind
            a, b = k, a
        elif k == c:
            numbers[OFFSET + i] = 2 + behind
            a, b, c = k, a, b
        else:
            numbers[OFFSET + i] = distances[k] + 3
            a, b, c = k, a, b


@fast
def choose(kind, many, counts, octets, at, numbers):
    """The table of one of the three streams of codes: its mode, its log, where its description ends."""
    share, symbols, kinds, last = SHARE + 64 * kind, SYMBOLS[kind], 0, 0
    for s in range(symbols):
        kinds += numbers[counts + s] > 0
        last = s if numbers[counts + s] else last
    if kinds == 1:
        octets[at] = np.uint8(last)
        return 1, 0, at + 1
    log = min(max(highest(many) - 2, highest(2 * kinds - 1) + 1, 5), MOST_LOG[kind])
    normalise(numbers, counts, symbols, many, log, share)
    end = describe(numbers, share, log, octets, at)
    own, given = 8 * BIT * (end - at), 0
    for s in range(symbols):
        count = numbers[counts + s]
        if count:
            own += count * (BIT * log - log2_units(numbers[share + s]))
            given += count * (BIT * DEFAULT_LOG[kind] - log2_units(abs(DEFAULTS[kind, s])))
    mode = 2
    if given <= own:
        mode, end, log = 0, at, DEFAULT_LOG[kind]
        for s in range(symbols):
            numbers[share + s] = DEFAULTS[kind, s]
    fse_table(numbers, kind, symbols, log)
    return mode, log, end


@fast
def sequences_section(many, octets, at, numbers):
    """To octets[at:]; where it ends."""
    if many == 0:
        return little_endian(octets, at, 0, 1)
    for c in range(COLUMNS):
        numbers[CODED + c] = 0
    for i in range(many):
        numbers[CODED + LL_CODE + ll_code(numbers[LITERAL_RUN + i])] += 1
        numbers[CODED + ML_CODE + ml_code(numbers[MATCH_RUN + i])] += 1
        numbers[CODED + highest(numbers[OFFSET + i])] += 1
    if many < 128:
        modes = little_endian(octets, at, many, 1)
    elif many < 0x7F00:
        modes = little_endian(octets, at, ((many >> 8) + 128) | (many & 255) << 8, 2)
    else:
        modes = little_endian(octets, at, 255 | (many - 0x7F00) << 8, 3)
    mode0, log0, at = choose(LL, many, CODED + LL_CODE, octets, modes + 1, numbers)
    mode1, log1, at = choose(OF, many, CODED, octets, at, numbers)
    mode2, log2, at = choose(ML, many, CODED + ML_CODE, octets, at, numbers)
    octets[modes] = np.uint8(mode0 << 6 | mode1 << 4 | mode2 << 2)
    held, have, s0, s1, s2 = np.uint64(0), 0, 0, 0, 0
    for i in range(many - 1, -1, -1):
        literals, length, value = numbers[LITERAL_RUN + i], numbers[MATCH_RUN + i], numbers[OFFSET + i]
        ll, of, ml = ll_code(literals), highest(value), ml_code(length)
        if i == many - 1:
            s1 = first_state(numbers, OF, of) if log1 else 0
            s2 = first_state(numbers, ML, ml) if log2 else 0
            s0 = first_state(numbers, LL, ll) if log0 else 0
        else:
            if log1:
                s1, held, have = next_state(numbers, OF, s1, of, held, have)
            if log2:
                s2, held, have = next_state(numbers, ML, s2, ml, held, have)
            if log0:
                s0, held, have = next_state(numbers, LL, s0, ll, held, have)
            at, held, have = put_bits(octets, at, held, have)
        held |= np.uint64(literals - np.int64(LL_BASE[ll])) << np.uint64(have)
        have += np.int64(LL_BITS[ll])
        held |= np.uint64(length - np.int64(ML_BASE[ml])) << np.uint64(have)
        have += np.int64(ML_BITS[ml])
        held |= np.uint64(value - (np.int64(1) << of)) << np.uint64(have)
        at, held, have = put_bits(octets, at, held, have + of)
    held |= np.uint64(s2 & ((1 << log2) - 1)) << np.uint64(have)
    have += log2
    held |= np.uint64(s1 & ((1 << log1) - 1)) << np.uint64(have)
    have += log1
    held |= np.uint64(s0 & ((1 << log0) - 1)) << np.uint64(have)
    have += log0
    held |= np.uint64(1) << np.uint64(have)
    at, held, have = put_bits(octets, at, held, have + 1)
    store64(octets, at, held)
    return at + (have > 0)


@fast
def sequences_of(begin, end, low, high, distances, octets, numbers):
    """LITERALS and the sequences of a block: how many of each."""
    many, have, anchor, single = 0, 0, begin, distances.shape[0] == 1
    for k in range(low, high):
        at, length, which = numbers[AT + k], numbers[LENGTH + k], numbers[WHICHES + k]
        if many and at == anchor and numbers[AT + low + many - 1] == which:
            numbers[MATCH_RUN + many - 1] += length
        else:
            begins = at + 1 if single and at == begin else at
            copy_bytes(octets, LITERALS + have, octets, B + anchor, begins - anchor)
            have += begins - anchor
            numbers[LITERAL_RUN + many], numbers[MATCH_RUN + many], numbers[OFFSET + many] = begins - anchor, at + length - begins, begins > anchor
            numbers[AT + low + many] = which        # its place is done with: the distances in their order
            many += 1
        anchor = at + length
    copy_bytes(octets, LITERALS + have, octets, B + anchor, end - anchor)
    have += end - anchor
    offset_values(many, AT + low, distances, numbers)
    return have, many


@fast
def block(begin, end, low, high, distances, last, octets, bits, numbers, lengths, huffman, to, at):
    """The block of the region's bytes begin to end, whose matches are low to high, behind its header at to[at]; where it ends."""
    n, final = end - begin, np.int64(last)
    if numbers[CODED + FIRST] >= 0:
        at = little_endian(to, at, n << 3 | RLE_BLOCK << 1 | final, 3)
        return little_endian(to, at, numbers[CODED + FIRST], 1)
    if distances.shape[0] == 1 and low < high and numbers[AT + low] == begin:
        numbers[CODED + np.int64(octets[B + begin])] += 1      # see sequences_of
    have, many = sequences_of(begin, end, low, high, distances, octets, numbers)
    coded = literals_section(have, octets, bits, numbers, lengths, huffman)
    if coded - BLOCK < n:
        coded = sequences_section(many, octets, coded, numbers)
    size = coded - BLOCK
    if size < n:
        at = little_endian(to, at, size << 3 | COMPRESSED_BLOCK << 1 | final, 3)
        copy_bytes(to, at, octets, BLOCK, size)
        return at + size
    at = little_endian(to, at, n << 3 | RAW_BLOCK << 1 | final, 3)
    copy_bytes(to, at, octets, B + begin, n)
    return at + n


@fast
def region_blocks(n, distances, least, last, octets, bits, numbers, lengths, huffman, to, at):
    """The blocks of the region octets[B : B + n]; where they end."""
    units, found = (n + UNIT - 1) // UNIT, 0
    for u in range(units):
        begin = UNIT * u
        size = min(UNIT, n - begin)
        numbers[FIRST_MATCH + u] = found
        if bitmaps(octets, begin, size, distances, least, bits):
            found = unit_matches(begin, size, distances.shape[0], found, bits, numbers)
        count_unit(begin, size, numbers[FIRST_MATCH + u], found, COUNTS + COLUMNS * u, octets, numbers)
    numbers[FIRST_MATCH + units] = found
    merge(units, numbers)
    u = 0
    while u < units:
        after = u + numbers[BLOCKS + u]
        for c in range(COLUMNS):
            numbers[CODED + c] = numbers[COUNTS + COLUMNS * u + c]
        for k in range(u + 1, after):
            for c in range(256):
                numbers[CODED + c] += numbers[COUNTS + COLUMNS * k + c]
            if numbers[COUNTS + COLUMNS * k + FIRST] != numbers[CODED + FIRST]:
                numbers[CODED + FIRST] = -1
        low, high = numbers[FIRST_MATCH + u], numbers[FIRST_MATCH + after]
        final = last and after == units
        at = block(UNIT * u, min(UNIT * after, n), low, high, distances, final, octets, bits, numbers, lengths, huffman, to, at)
        u = after
    return at


@fast
def frame_header(size, to, at):
    little_endian(to, at, 0xFD2FB528, 4)
    if size < 256:
        return little_endian(to, at + 4, 0x20 | size << 8, 2)
    if size < 256 + (1 << 16):
        return little_endian(to, at + 4, 0x60 | (size - 256) << 8, 3)
    return little_endian(to, at + 4, 0xA0 | size << 8, 5)


@fast
def encode_span(raw, first, last, size, planes, distances, least, to, at):
    """Regions first to last of a frame to to[at:], in planes of bits each behind its length and frame header; the bytes written."""
    octets, bits, numbers = np.zeros(OCTETS, np.uint8), np.zeros(BITS, np.uint64), np.zeros(NUMBERS, np.int64)
    lengths, huffman, spare, reach = np.zeros(256, np.uint8), np.zeros(WORK, np.int64), np.zeros((2, 512), np.uint8), distances.copy()
    total = raw.shape[0] // (8 * size) * (8 * size) if planes else raw.shape[0]
    begin = at
    for r in range(first, last):
        n = min(REGION, total - REGION * r)
        if planes:
            shuffle(raw, REGION * r, n, size, octets, spare)
            reach[1] = n // (8 * size)
            start = at
            at = region_blocks(n, reach, least, True, octets, bits, numbers, lengths, huffman, to, frame_header(n, to, at + 4))
            for k in range(4):
                to[start + k] = np.uint8((at - start - 4) >> (24 - 8 * k) & 255)
        else:
            bytes_of(raw, REGION * r, n, size, octets)
            at = region_blocks(n, reach, least, REGION * (r + 1) >= total, octets, bits, numbers, lengths, huffman, to, at)
    return at - begin


@fast
def place(f, s, spans, regions, length, raw, size, planes, payload, sizes, slots):
    """Span s of frame f to its place behind those before it; the first one adds the header, the last one tail and size."""
    total = raw.shape[0]
    usable = total // (8 * size) * (8 * size) if planes else total
    at = 12 if planes else 6 if total < 256 else 7 if total < 256 + (1 << 16) else 9
    if s == 0 and planes:
        for k in range(12):
            payload[f, k] = np.uint8(total >> (56 - 8 * k) & 255) if k < 8 else np.uint8(REGION >> (88 - 8 * k) & 255)
    elif s == 0:
        frame_header(total, payload[f], 0)
    for k in range(s):
        at += length[f, k]
    copy_bytes(payload[f], at, slots[f], SLOT * (regions * s // spans), length[f, s])
    if s == spans - 1:
        at += length[f, s]
        copy_bytes(payload[f], at, raw, usable, total - usable)
        sizes[f] = at + total - usable


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def encode_frames(raw, size, planes, distances, least, payload, sizes, slots, spans):
    """Chunks of all frames raw (n, bytes) u8. distances: the second is set to the size of a plane where planes of bits are made. A frame is cut into
    spans of regions so that a few large frames use all cores; all go to slots (n, regions * SLOT) first: where one belongs is known in the end."""
    n = raw.shape[0]
    usable = raw.shape[1] // (8 * size) * (8 * size) if planes else raw.shape[1]
    regions = (usable + REGION - 1) // REGION
    length = np.zeros((n, spans), np.int64)
    for item in prange(n * spans):
        f, s = item // spans, item % spans
        first, last = regions * s // spans, regions * (s + 1) // spans
        length[f, s] = encode_span(raw[f], first, last, size, planes, distances, least, slots[f], SLOT * first)
    for item in prange(n * spans):
        f, s = item // spans, item % spans
        place(f, s, spans, regions, length, raw[f], size, planes, payload, sizes, slots)
