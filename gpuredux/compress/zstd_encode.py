"""Bytes -> blocks of a Zstandard frame, whose matches have fixed distances. Over 200 lines: the whole readable encoder, which states every byte.

Shuffled bytes are taken in regions of REGION bytes, a region in units of UNIT bytes. What is found in a unit depends on its region's bytes up to
there alone, so units are read side by side:
  1. matches_of   where `least` bytes or more equal those at a distance before them, a match begins; it does not leave its unit
     kept         with a single distance short matches are dropped where their bytes cost less as literals
  2. merged       units become blocks: a unit joins the block before it where a count of bits says that both together are not larger
  3. block_of     matches that go on in the next unit are joined; literals by Huffman codes, sequences by FSE codes, or the bytes as they are
A block knows of others only by its matches: it has tables and repeated offsets of its own. So blocks are made side by side too.

source: RFC 8878
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .huffman_lengths import code_lengths
from .zstd_format import (
    COMPRESSED,
    HUFFMAN_LOG_MOST,
    LL_BASE,
    LL_BITS,
    LL_DEFAULT,
    LL_DEFAULT_LOG,
    MAGIC,
    ML_BASE,
    ML_BITS,
    ML_DEFAULT,
    ML_DEFAULT_LOG,
    OF_DEFAULT,
    OF_DEFAULT_LOG,
    ONE_SYMBOL,
    OWN_TABLE,
    PREDEFINED,
    RAW,
    RLE,
    WEIGHT_LOG_MOST,
    fse_spread,
)

REGION, UNIT = 1 << 17, 1 << 13
WORTH = 8                   # bytes of a match that is always kept
FOUR_STREAMS = 256          # literals, from here on in four streams
BIT = 256                   # estimates are in units of 1 / 256 bit
LL_CODES, ML_CODES = len(LL_BASE), len(ML_BASE)


class Match(NamedTuple):
    """In a region: where it begins, its length, the number of its distance."""

    at: int
    length: int
    which: int


class Sequence(NamedTuple):
    """So many literals, then a match."""

    literals: int
    length: int
    which: int


# ------------------------------------------------------------------------------------------------------------------- 1
def matches_of(region: np.ndarray, start: int, distances: tuple[int, ...], least: int) -> list[Match]:
    """The matches of the unit of a region that begins at start. At the first byte where `least` bytes or more equal those at some distance before
    them the longest wins, the first of equals; one that begins a byte later and is longer by 2 or more is taken instead."""
    stop = min(start + UNIT, len(region))
    longest, which = np.zeros(stop - start + 1, np.int64), np.zeros(stop - start + 1, np.int64)
    for k, d in enumerate(distances):
        equal = np.zeros(stop - start + 1, bool)
        first = max(start, d)
        if d and first < stop:
            equal[first - start : stop - start] = region[first:stop] == region[first - d : stop - d]
        unequal = np.flatnonzero(~equal)
        length = unequal[np.searchsorted(unequal, np.arange(len(equal)))] - np.arange(len(equal))
        which[length > longest] = k
        longest = np.maximum(longest, length)
    found, pos = [], 0
    starts = np.flatnonzero(longest >= least)
    while (next_one := np.searchsorted(starts, pos)) < len(starts):
        pos = int(starts[next_one])
        if longest[pos + 1] > longest[pos] + 1:
            pos += 1
        found.append(Match(start + pos, int(longest[pos]), int(which[pos])))
        pos += found[-1].length
    return found


# ------------------------------------------------------------------------------------------------------------------- 2
class Counts(NamedTuple):
    """What an estimate needs to know of a unit or of several: they are added."""

    raw: int
    literal: np.ndarray             # (256,)
    literal_length: np.ndarray      # (36,) by code
    match_length: np.ndarray        # (53,) by code
    distance: np.ndarray            # (4,) by number
    extra: int                      # bits
    first: int                      # byte, -1: there are several values


def counts_of(region: np.ndarray, start: int, matches: list[Match]) -> Counts:
    unit = region[start : start + UNIT]
    literal = np.ones(len(unit), bool)
    for m in matches:
        literal[m.at - start : m.at - start + m.length] = False
    ends = [start, *(m.at + m.length for m in matches)]
    ll = code_of(np.array([m.at - end for m, end in zip(matches, ends, strict=False)], np.int64), LL_BASE)
    ml = code_of(np.array([m.length for m in matches], np.int64), ML_BASE)
    return Counts(
        len(unit), np.bincount(unit[literal], minlength=256), np.bincount(ll, minlength=LL_CODES), np.bincount(ml, minlength=ML_CODES),
        np.bincount(np.array([m.which for m in matches], np.int64), minlength=4), int(LL_BITS[ll].sum() + ML_BITS[ml].sum()),
        int(unit[0]) if (unit == unit[0]).all() else -1,
    )


def together(a: Counts, b: Counts) -> Counts:
    return Counts(*(x + y for x, y in zip(a[:6], b[:6], strict=True)), a.first if a.first == b.first else -1)


def log2_units(x: int) -> int:
    """log2(x) of 1 <= x <= REGION in units of 1 / BIT, within 3 of them; without tables and floats, so that every device has the same."""
    e = x.bit_length() - 1
    part = (x << 17 >> e >> 9) & 255
    return 256 * e + part + (part * (256 - part) * 88 >> 16)


def entropy(counts: np.ndarray) -> int:
    """Of all together, order 0, in units."""
    present = [int(c) for c in counts if c]
    total = sum(present)
    return total * log2_units(total) - sum(c * log2_units(c) for c in present) if total else 0


def literal_bits(counts: np.ndarray) -> int:
    """About, in units: of one value its byte. A value that half of the literals have gets a code of one bit, and all others one bit in front of theirs."""
    n, most = int(counts.sum()), int(counts.max())
    if np.count_nonzero(counts) < 2:
        return 8 * BIT
    return BIT * n + entropy(np.delete(counts, counts.argmax())) if 2 * most >= n else entropy(counts)


def kept(region: np.ndarray, start: int, matches: list[Match]) -> list[Match]:
    """Of the matches of a unit, at a single distance: those of WORTH bytes and more if these and more literals are fewer bits, else all. All, too, where
    the others' bytes at one bit each, which no literal is below, are not fewer bits than the share of all lengths that they have by their number."""
    long, short = [m for m in matches if m.length >= WORTH], [m.length for m in matches if m.length < WORTH]
    all_ = counts_of(region, start, matches)
    if length_bits(all_) * len(short) <= BIT * sum(short) * len(matches):
        return matches
    few = counts_of(region, start, long)
    return long if literal_bits(few.literal) + length_bits(few) < literal_bits(all_.literal) + length_bits(all_) else matches


def length_bits(c: Counts) -> int:
    """Of literals and of matches: about how many units, without tables."""
    return BIT * c.extra + entropy(c.literal_length) + entropy(c.match_length)


def estimate(c: Counts) -> int:
    """About how large a block would be, in units."""
    if c.first >= 0:
        return 32 * BIT
    n, kinds = int(c.literal.sum()), int((c.literal > 0).sum())
    size = 8 * BIT if kinds < 2 else min(literal_bits(c.literal) + BIT * (48 + 6 * min(kinds, 64)), 8 * BIT * n)
    many = int(c.distance.sum())
    if many:
        codes = (c.literal_length, c.match_length)
        size += BIT * (c.extra + 24) + entropy(c.distance) + sum(min(entropy(h) + 5 * BIT * int((h > 0).sum()), 21 * BIT // 4 * many) for h in codes)
    return min(size + 48 * BIT, BIT * (8 * c.raw + 24))


def merged(units: list[Counts]) -> tuple[list[int], int]:
    """Of each unit of a region: how many units the block that begins there has; 0 where none begins. And the estimates of all blocks together."""
    lengths, begin, block, size, before = [0] * len(units), 0, units[0], 0, 0
    for k, unit in enumerate(units):
        alone, both = estimate(unit), together(block, unit)
        if k > 0 and estimate(both) <= size + alone:
            block, size = both, estimate(both)
        else:
            before += size
            begin, block, size = k, unit, alone
        lengths[begin] = k + 1 - begin
    return lengths, before + size


# ------------------------------------------------------------------------------------------------------------------- 3
def block_of(region: np.ndarray, start: int, stop: int, matches: list[Match], distances: tuple[int, ...], last: bool) -> bytes:
    """The block, its header included, of region[start:stop]: the smallest of one byte repeated, compressed and raw; raw of equals."""
    raw = region[start:stop]
    if (raw == raw[0]).all():
        return block_header(len(raw), RLE, last) + bytes([raw[0]])
    literals, sequences = sequences_of(region, start, stop, matches, len(distances) == 1)
    body = literals_section(literals) + sequences_section(sequences, distances)
    if len(body) < len(raw):
        return block_header(len(body), COMPRESSED, last) + body
    return block_header(len(raw), RAW, last) + raw.tobytes()


def block_header(size: int, kind: int, last: bool) -> bytes:
    return (size << 3 | kind << 1 | last).to_bytes(3, "little")


def sequences_of(region: np.ndarray, start: int, stop: int, matches: list[Match], single: bool) -> tuple[np.ndarray, list[Sequence]]:
    """Matches that go on in the next unit are joined. With a single distance a match at the block's first byte begins one byte later: only
    behind a literal can a sequence name the last offset."""
    sequences: list[Sequence] = []
    literals, anchor = [], start
    for m in matches:
        end = m.at + m.length
        if sequences and m.at == anchor and sequences[-1].which == m.which:
            sequences[-1] = sequences[-1]._replace(length=sequences[-1].length + m.length)
        else:
            at = start + 1 if single and m.at == start else m.at
            sequences.append(Sequence(at - anchor, end - at, m.which))
            literals.append(region[anchor:at])
        anchor = end
    return np.concatenate([*literals, region[anchor:stop]]), sequences


class Bits:
    """A stream that is written from its least significant bit on, and read from its end."""

    def __init__(self) -> None:
        self.value = self.count = 0

    def put(self, value: int, count: int) -> None:
        self.value |= (value & (1 << count) - 1) << self.count
        self.count += count

    def bytes(self) -> bytes:
        return self.value.to_bytes((self.count + 7) // 8, "little")

    def closed(self) -> bytes:
        """With the one that tells a reader where the last byte's bits begin."""
        self.put(1, 1)
        return self.bytes()


def literals_section(literals: np.ndarray) -> bytes:
    """The smallest of: one byte repeated, Huffman codes, raw; raw of equals."""
    n = len(literals)
    counts = np.bincount(literals, minlength=256)
    plain = section_header(RAW, n)
    if np.count_nonzero(counts) == 1:
        return section_header(RLE, n) + bytes([literals[0]])
    if n < 2:
        return plain + literals.tobytes()
    lengths = code_lengths(counts, HUFFMAN_LOG_MOST)
    tree = tree_of(lengths)
    if tree is None:
        return plain + literals.tobytes()
    codes = huffman_codes(lengths)
    if n < FOUR_STREAMS:
        body = tree + huffman_stream(literals, lengths, codes)
    else:
        quarter = (n + 3) // 4
        streams = [huffman_stream(literals[k : k + quarter], lengths, codes) for k in range(0, 3 * quarter, quarter)]
        streams.append(huffman_stream(literals[3 * quarter :], lengths, codes))
        body = tree + b"".join(len(s).to_bytes(2, "little") for s in streams[:3]) + b"".join(streams)
    size = max(n, len(body))
    form, width = (0 if n < FOUR_STREAMS else 1, 10) if size < 1 << 10 else (2, 14) if size < 1 << 14 else (3, 18)
    header = (COMPRESSED | form << 2 | n << 4 | len(body) << 4 + width).to_bytes((4 + 2 * width) // 8, "little")
    coded = header + body
    return coded if len(coded) < len(plain) + n else plain + literals.tobytes()


def section_header(kind: int, n: int) -> bytes:
    """Of raw or repeated literals."""
    return bytes([kind | n << 3]) if n < 32 else (kind | 1 << 2 | n << 4).to_bytes(2, "little") if n < 4096 else (kind | 3 << 2 | n << 4).to_bytes(3, "little")


def huffman_codes(lengths: np.ndarray) -> np.ndarray:
    """The longest codes come first, from 0 on, in the order of the symbols."""
    codes, code = np.zeros(len(lengths), np.int64), 0
    for length in range(int(lengths.max()), 0, -1):
        for s in np.flatnonzero(lengths == length):
            codes[s] = code
            code += 1
        code >>= 1
    return codes


def huffman_stream(literals: np.ndarray, lengths: np.ndarray, codes: np.ndarray) -> bytes:
    """The last literal first."""
    bits = "".join(format(codes[s], f"0{lengths[s]}b") for s in literals)       # as a reader sees them, from the end
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "little")


def tree_of(lengths: np.ndarray) -> bytes | None:
    """The weights of all symbols but the last: 4 bits each, or by FSE codes if that is smaller; None where neither can be."""
    last = int(np.flatnonzero(lengths)[-1])
    weights = np.where(lengths[:last] > 0, int(lengths.max()) + 1 - lengths[:last].astype(np.int64), 0)
    coded = weights_coded(weights)
    direct = (last + 1) // 2
    if coded is not None and len(coded) < 128 and (last > 128 or len(coded) < direct):
        return bytes([len(coded)]) + coded
    if last > 128:
        return None
    nibbles = np.append(weights, 0)[: 2 * direct].reshape(-1, 2)
    return bytes([127 + last]) + bytes((nibbles[:, 0] << 4 | nibbles[:, 1]).tolist())


def weights_coded(weights: np.ndarray) -> bytes | None:
    """Table, then two streams of states: even and odd symbols."""
    counts = np.bincount(weights, minlength=HUFFMAN_LOG_MOST + 1)
    if len(weights) < 2 or np.count_nonzero(counts) < 2:
        return None
    log = WEIGHT_LOG_MOST
    table = States(normalised(counts, log), log)
    states = [0, 0]
    bits = Bits()
    for k in range(len(weights) - 1, -1, -1):
        states[k % 2] = table.first(weights[k]) if k >= len(weights) - 2 else table.next(states[k % 2], weights[k], bits)
    bits.put(states[1], log)
    bits.put(states[0], log)
    return table_description(normalised(counts, log), log) + bits.closed()


# --------------------------------------------------------------------------------------------------------------- FSE
def table_log(many: int, counts: np.ndarray, most: int) -> int:
    """How fine a table is worth its bytes: a quarter of what is coded, and no symbol is to want twice its place."""
    log = max(many.bit_length() - 3, (2 * int(np.count_nonzero(counts)) - 1).bit_length(), 5)
    return min(log, most)


def normalised(counts: np.ndarray, log: int) -> np.ndarray:
    """Counts that add up to 1 << log, each symbol that occurs at least 1: rounded shares; the largest, the first of equals, gives or takes one
    after another what is left over. There are at least as many states as symbols."""
    total, size = int(counts.sum()), 1 << log
    share = np.array([max(1, (2 * int(c) * size + total) // (2 * total)) if c else 0 for c in counts], np.int64)
    while (left := size - int(share.sum())) != 0:
        share[int(share.argmax())] += 1 if left > 0 else -1
    return share


def table_description(counts: np.ndarray, log: int) -> bytes:
    """Counts from the first symbol to the last that has one; fewer bits the less is left; behind a 0 how many more there are."""
    bits, left, symbol = Bits(), (1 << log) + 1, 0
    bits.put(log - 5, 4)
    while left > 1:
        width = left.bit_length()               # the value is at most left
        short = (1 << width) - 1 - left         # so many values need one bit less
        value = int(counts[symbol]) + 1
        if value < short:
            bits.put(value, width - 1)
        else:
            bits.put(value + (short if value >= 1 << width - 1 else 0), width)
        left -= int(counts[symbol])
        symbol += 1
        if value == 1:
            zeros = 0
            while counts[symbol + zeros] == 0:
                zeros += 1
            symbol += zeros
            while zeros >= 3:
                bits.put(3, 2)
                zeros -= 3
            bits.put(zeros, 2)
    return bits.bytes()


class States:
    """A table for writing: the state a symbol leaves behind, and the bits that it writes."""

    def __init__(self, counts: np.ndarray, log: int) -> None:
        symbol = fse_spread(counts, log)
        self.counts, self.log = np.abs(counts), log
        self.states = [np.flatnonzero(symbol == s) for s in range(len(counts))]

    def first(self, symbol: int) -> int:
        return int(self.states[symbol][0])

    def next(self, state: int, symbol: int, bits: Bits) -> int:
        left, width = state + (1 << self.log), 0
        while left >> width >= 2 * self.counts[symbol]:
            width += 1
        bits.put(left, width)
        return int(self.states[symbol][(left >> width) - self.counts[symbol]])


class Coding(NamedTuple):
    """Of one of a block's three streams of codes."""

    mode: int
    description: bytes
    table: States | None


def coding_of(codes: np.ndarray, default: np.ndarray, default_log: int, most: int) -> Coding:
    """One symbol; or of the predefined table and the block's own the one that makes fewer bits, the predefined of equals."""
    counts = np.bincount(codes, minlength=len(default))
    if np.count_nonzero(counts) == 1:
        return Coding(ONE_SYMBOL, bytes([codes[0]]), None)
    log = table_log(len(codes), counts, most)
    own = normalised(counts, log)
    description = table_description(np.append(own, 0), log)
    cost = BIT * 8 * len(description) + code_bits(counts, own, log)
    if not counts[len(default) :].any() and code_bits(counts, np.abs(default), default_log) <= cost:
        return Coding(PREDEFINED, b"", States(default, default_log))
    return Coding(OWN_TABLE, description, States(own, log))


def code_bits(counts: np.ndarray, shares: np.ndarray, log: int) -> int:
    """About how much, in units."""
    return sum(int(c) * (BIT * log - log2_units(int(s))) for c, s in zip(counts, shares, strict=False) if c)


def sequences_section(sequences: list[Sequence], distances: tuple[int, ...]) -> bytes:
    many = len(sequences)
    if many == 0:
        return b"\0"
    number = bytes([many]) if many < 128 else bytes([(many >> 8) + 128, many & 255])       # 0x7F00 and more, which need three bytes, a region does not hold
    literals, lengths = (np.array([s[k] for s in sequences], np.int64) for k in (0, 1))
    ll, ml = code_of(literals, LL_BASE), code_of(lengths, ML_BASE)
    values = offset_values(sequences, distances)
    of = np.array([v.bit_length() - 1 for v in values], np.int64)
    codings = (coding_of(ll, LL_DEFAULT, LL_DEFAULT_LOG, 9), coding_of(of, OF_DEFAULT, OF_DEFAULT_LOG, 8), coding_of(ml, ML_DEFAULT, ML_DEFAULT_LOG, 9))
    modes = codings[0].mode << 6 | codings[1].mode << 4 | codings[2].mode << 2
    bits, states = Bits(), [0, 0, 0]
    for k in range(many - 1, -1, -1):
        for i in (1, 2, 0):                     # a reader takes them in the opposite order
            table, code = codings[i].table, (ll, of, ml)[i][k]
            if table is not None:
                states[i] = table.first(code) if k == many - 1 else table.next(states[i], code, bits)
        bits.put(int(literals[k] - LL_BASE[ll[k]]), int(LL_BITS[ll[k]]))
        bits.put(int(lengths[k] - ML_BASE[ml[k]]), int(ML_BITS[ml[k]]))
        bits.put(values[k], int(of[k]))
    for i in (2, 1, 0):
        table = codings[i].table
        bits.put(states[i], table.log if table is not None else 0)
    return number + bytes([modes]) + b"".join(c.description for c in codings) + bits.closed()


def offset_values(sequences: list[Sequence], distances: tuple[int, ...]) -> list[int]:
    """Repeated offsets are named by 1 to 3; but which those are when a block begins is known for a single distance alone, so that with more
    each is written out where it is used first. Without literals the last offset cannot be named, and has no need to be."""
    recent = [0] if len(distances) == 1 else []
    values = []
    for s in sequences:
        if s.which in recent:
            values.append(recent.index(s.which) + (1 if s.literals else 0))
            recent.remove(s.which)
        else:
            values.append(distances[s.which] + 3)
        recent = [s.which, *recent][:3]
    return values


def code_of(values: np.ndarray, base: np.ndarray) -> np.ndarray:
    codes: np.ndarray = np.searchsorted(base, values, side="right") - 1
    return codes


# ------------------------------------------------------------------------------------------------------------- frames
def frame_header(size: int) -> bytes:
    """One segment, its size; no checksum."""
    if size < 256:
        return MAGIC.to_bytes(4, "little") + bytes([0x20, size])
    if size < 256 + (1 << 16):
        return MAGIC.to_bytes(4, "little") + b"\x60" + (size - 256).to_bytes(2, "little")
    return MAGIC.to_bytes(4, "little") + b"\xa0" + size.to_bytes(4, "little")


def blocks_of(region: np.ndarray, distances: tuple[int, ...], least: int, last: bool) -> bytes:
    """All blocks of a region; last: it is the frame's last one."""
    return estimated_blocks(region, distances, least, last)[0]


def estimated_blocks(region: np.ndarray, distances: tuple[int, ...], least: int, last: bool) -> tuple[bytes, int]:
    """The same, and about how many units of bits they have, as it was known before they were made."""
    starts = range(0, len(region), UNIT)
    matches = [matches_of(region, at, distances, least) for at in starts]
    if len(distances) == 1:
        matches = [kept(region, at, m) for at, m in zip(starts, matches, strict=True)]
    out = b""
    lengths, about = merged([counts_of(region, at, m) for at, m in zip(starts, matches, strict=True)])
    for k, units in enumerate(lengths):
        if units:
            stop = min((k + units) * UNIT, len(region))
            inside = [m for found in matches[k : k + units] for m in found]
            out += block_of(region, k * UNIT, stop, inside, distances, last and stop == len(region))
    return out, about
