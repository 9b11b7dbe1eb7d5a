"""raw = the content of one Zstandard frame: a decoder to be read. Over 200 lines: literals, tables, sequences and frame are one format.

What is taken: one frame, and nothing before or behind it, whose content is exactly as many bytes as are expected: single segment or window,
content size given or not, checksum or not, raw, RLE and compressed blocks, all four kinds of literals and of tables.
What is refused, though libzstd takes it: frames with skippable frames or other frames around them; a compressed block without literals and
sequences; a block of more than min(window, 128 KiB) raw bytes; Huffman codes of 12 bits (the RFC allows 11); a stream of literals that is not
read to its very end; Huffman weights whose two first states are not there in full. Where libzstd is laxer than the RFC otherwise, so is this:
offsets beyond the window, the unused last nibble of weights, the unused bit of the frame header, an ID of 0 for a dictionary.
Refused by both: dictionaries, windows beyond 2 GiB.
source: RFC 8878
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np

from ..op import DecodeError
from . import zstd_format as z


class Table(NamedTuple):
    """States of an FSE table: the symbol of each, the bits to read, what they are added to; log: the first state's bits."""

    log: int
    symbol: np.ndarray
    bits: np.ndarray
    base: np.ndarray


class Huffman(NamedTuple):
    """For each of 1 << log next bits: the symbol, and how many of the bits are its code."""

    log: int
    symbol: np.ndarray
    bits: np.ndarray


class Header(NamedTuple):
    """Of a frame: where its blocks begin, what a block may hold at most, whether a checksum follows."""

    begin: int
    most: int
    checksum: bool


PREDEFINED = [
    Table(log, *z.fse_table(counts, log))
    for counts, log in ((z.LL_DEFAULT, z.LL_DEFAULT_LOG), (z.OF_DEFAULT, z.OF_DEFAULT_LOG), (z.ML_DEFAULT, z.ML_DEFAULT_LOG))
]
LOG_MOST = (z.LL_LOG_MOST, z.OF_LOG_MOST, z.ML_LOG_MOST)
SYMBOL_MOST = (len(z.LL_BASE) - 1, z.OF_MOST, len(z.ML_BASE) - 1)


def wrong(reason: str, place: int) -> NoReturn:
    raise DecodeError(f"{reason} (byte {place} of the zstd frame)")


def need(holds: bool, reason: str, place: int) -> None:
    if not holds:
        wrong(reason, place)


class Backward:
    """The bits of data[at:end] from the last one to the first; the highest 1 of the last byte closes the stream."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        need(at < end, "a bit stream of no bytes", at)
        need(data[end - 1] != 0, "a bit stream whose last byte is 0", end - 1)
        self.data, self.at, self.left = data, at, 8 * (end - at) - 9 + data[end - 1].bit_length()

    def peek(self, count: int) -> int:
        """The next bits; zeros behind the end."""
        low = self.left - count
        first = max(low, 0)
        begin = self.at + (first >> 3)
        value = int.from_bytes(self.data[begin : begin + 8], "little") >> (first & 7) & (1 << self.left - first) - 1
        return value << first - low

    def take(self, count: int) -> int:
        value = self.peek(count)
        self.left -= count
        need(self.left >= 0, "a bit stream ends too early", self.at)
        return value


def distribution(data: bytes, at: int, end: int, symbol_most: int, log_most: int) -> tuple[list[int], int, int]:
    """The counts of an FSE table, its log, and where what follows begins."""
    bits, used = int.from_bytes(data[at : min(end, at + 600)], "little"), 4
    log = (bits & 15) + 5
    need(log <= log_most, f"an FSE table of log {log}", at)
    counts: list[int] = []
    left = (1 << log) + 1
    while left > 1:
        need(len(counts) <= symbol_most, "an FSE distribution of too many symbols", at)
        width = left.bit_length() - 1
        short = (2 << width) - 1 - left            # so many values are one bit shorter
        value = bits >> used & (2 << width) - 1
        if value & (1 << width) - 1 < short:
            value &= (1 << width) - 1
            used += width
        else:
            value -= short if value >= 1 << width else 0
            used += width + 1
        counts.append(value - 1)
        left -= abs(value - 1)
        more = value == 1
        while more:         # behind a count of 0: how many zeros follow, three and more by another two bits
            zeros = bits >> used & 3
            used += 2
            counts += [0] * zeros
            more = zeros == 3 and len(counts) <= symbol_most + 3
    need(len(counts) <= symbol_most + 1, "an FSE distribution of too many symbols", at)
    need(used <= 8 * (end - at), "an FSE distribution reaches beyond its block", at)
    return counts, log, at + (used + 7) // 8


def weights_of(data: bytes, at: int, end: int) -> tuple[list[int], int]:
    """The Huffman weights that are written, and where what follows begins."""
    need(at < end, "no Huffman tree", at)
    head = data[at]
    stop = at + 1 + (head if head < 128 else (head - 126) // 2)
    need(stop <= end, "a Huffman tree reaches beyond the literals", at)
    if head >= 128:
        return [data[at + 1 + k // 2] >> (0 if k % 2 else 4) & 15 for k in range(head - 127)], stop
    counts, log, begin = distribution(data, at + 1, stop, 255, z.WEIGHT_LOG_MOST)
    table = Table(log, *z.fse_table(np.array(counts), log))
    stream = Backward(data, begin, stop)
    weights, states = [], [stream.take(log), stream.take(log)]
    while True:         # two states in turn; when one of them finds too few bits, the other one has the last symbol
        state, other = states
        weights.append(int(table.symbol[state]))
        width = int(table.bits[state])
        need(len(weights) <= 254, "more than 255 Huffman weights", at)
        if width > stream.left:
            return [*weights, int(table.symbol[other])], stop
        states = [other, int(table.base[state]) + stream.take(width)]


def huffman(data: bytes, at: int, end: int) -> tuple[Huffman, int]:
    """The tree that is described at data[at], and where what follows begins. Symbols of low weight have the lowest codes, in their order."""
    weights, stop = weights_of(data, at, end)
    total = sum(1 << w >> 1 for w in weights)
    need(total > 0 and max(weights) <= z.HUFFMAN_LOG_MOST, "Huffman weights that make no tree", at)
    log = total.bit_length()
    rest = (1 << log) - total
    need(log <= z.HUFFMAN_LOG_MOST and rest & (rest - 1) == 0, "Huffman weights that make no tree", at)
    weights.append(rest.bit_length())
    need(weights.count(1) >= 2, "Huffman weights that make no tree", at)
    order = [s for w in range(1, log + 1) for s in range(len(weights)) if weights[s] == w]
    size = [1 << weights[s] >> 1 for s in order]
    return Huffman(log, np.repeat(order, size), np.repeat([log + 1 - weights[s] for s in order], size)), stop


def huffman_stream(tree: Huffman, data: bytes, at: int, end: int, count: int) -> bytes:
    """So many symbols, which are all that the stream holds."""
    stream, out = Backward(data, at, end), bytearray()
    for _ in range(count):
        index = stream.peek(tree.log)
        out.append(tree.symbol[index])
        stream.take(int(tree.bits[index]))
    need(stream.left == 0, "bits are left over behind the literals", at)
    return bytes(out)


class Block:
    """Decodes compressed blocks one after another: what a block leaves to the next ones is kept here."""

    def __init__(self) -> None:
        self.tree: Huffman | None = None
        self.tables: list[Table] = []
        self.offsets = z.FIRST_OFFSETS

    def decode(self, data: bytes, at: int, end: int, raw: bytearray, most: int) -> None:
        """Append the content of the block data[at:end] to raw, at most so many bytes."""
        begin = len(raw)
        literals, place = self.literals(data, at, end, most)
        used = 0
        for length, match, offset in self.sequences(data, place, end):
            need(used + length <= len(literals), "a sequence takes more literals than there are", place)
            need(len(raw) - begin + length + match <= most, "a block of too many bytes", at)
            raw += literals[used : used + length]
            used += length
            need(0 < offset <= len(raw), "a match begins before the frame", place)
            for _ in range(match):
                raw.append(raw[-offset])
        raw += literals[used:]
        need(len(raw) - begin <= most, "a block of too many bytes", at)
        need(len(raw) > begin, "a compressed block of nothing", at)

    def literals(self, data: bytes, at: int, end: int, most: int) -> tuple[bytes, int]:
        """The literals, and where the sequences begin."""
        need(at < end, "a compressed block of no bytes", at)
        kind, form = data[at] & 3, data[at] >> 2 & 3
        coded = kind in (z.COMPRESSED, z.TREELESS)
        head = (3, 3, 4, 5)[form] if coded else (1, 2, 1, 3)[form]
        need(at + head <= end, "the header of literals is cut", at)
        value = int.from_bytes(data[at : at + head], "little")
        width = (10, 10, 14, 18)[form] if coded else 20
        count = value >> 4 & (1 << width) - 1 if coded or form & 1 else value >> 3
        need(count <= most, "more literals than the block may have bytes", at)
        begin = at + head
        stop = begin + (value >> 4 + width if coded else count if kind == z.RAW else 1)
        need(stop <= end, "literals reach beyond the block", at)
        if kind == z.RAW:
            return data[begin:stop], stop
        if kind == z.RLE:
            return data[begin:stop] * count, stop
        if kind == z.COMPRESSED:
            self.tree, begin = huffman(data, begin, stop)
        need(self.tree is not None, "literals without a Huffman tree, and none before", at)
        if form == 0:
            return huffman_stream(self.tree, data, begin, stop, count), stop
        return self.four_streams(data, begin, stop, count), stop

    def four_streams(self, data: bytes, at: int, end: int, count: int) -> bytes:
        need(count >= 6, "too few literals for four streams", at)
        need(at + 10 <= end, "four streams of literals in less than 10 bytes", at)
        begin, out, part = at + 6, b"", (count + 3) // 4
        for k in range(4):
            stop = begin + int.from_bytes(data[at + 2 * k : at + 2 * k + 2], "little") if k < 3 else end
            need(stop <= end, "a stream of literals reaches beyond them", at)
            out += huffman_stream(self.tree, data, begin, stop, min(part, count - k * part))
            begin = stop
        return out

    def sequences(self, data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Literal length, match length and offset of each."""
        need(at < end, "no number of sequences", at)
        head = 1 + (data[at] >= 128) + (data[at] == 255)
        need(at + head <= end, "the number of sequences is cut", at)
        first, more = data[at], data[at + 1 : at + head]
        count = first if head == 1 else (first - 128 << 8) + more[0] if head == 2 else int.from_bytes(more, "little") + 0x7F00
        if count == 0:
            need(at + head == end, "bytes behind a block without sequences", at)
            return
        at += head
        need(at < end, "no modes of the tables", at)
        modes = data[at]
        need(modes & 3 == 0, "reserved bits in the modes of the tables", at)
        before, self.tables = self.tables, []
        at += 1
        for k in range(3):
            table, at = self.table(k, modes >> 6 - 2 * k & 3, data, at, end, before)
            self.tables.append(table)
        yield from self.decoded(Backward(data, at, end), count)

    def table(self, k: int, mode: int, data: bytes, at: int, end: int, before: list[Table]) -> tuple[Table, int]:
        """Of literal lengths (0), offsets (1), match lengths (2); and where what follows begins."""
        if mode == z.PREDEFINED:
            return PREDEFINED[k], at
        if mode == z.REPEAT:
            need(bool(before), "a table is to be repeated, and there was none", at)
            return before[k], at
        if mode == z.ONE_SYMBOL:
            need(at < end and data[at] <= SYMBOL_MOST[k], "no symbol of a table of one", at)
            return Table(0, np.array([data[at]], np.uint8), np.zeros(1, np.uint8), np.zeros(1, np.uint16)), at + 1
        counts, log, stop = distribution(data, at, end, SYMBOL_MOST[k], LOG_MOST[k])
        return Table(log, *z.fse_table(np.array(counts), log)), stop

    def decoded(self, stream: Backward, count: int) -> Iterator[tuple[int, int, int]]:
        ll, of, ml = self.tables
        states = [stream.take(t.log) for t in self.tables]
        for k in range(count):
            literal, power, match = (int(t.symbol[s]) for t, s in zip(self.tables, states, strict=True))
            value = (1 << power) + stream.take(power)
            match_length = int(z.ML_BASE[match]) + stream.take(int(z.ML_BITS[match]))
            length = int(z.LL_BASE[literal]) + stream.take(int(z.LL_BITS[literal]))
            yield length, match_length, self.offset(value, length)
            if k < count - 1:
                for t, i in ((ll, 0), (ml, 2), (of, 1)):
                    states[i] = int(t.base[states[i]]) + stream.take(int(t.bits[states[i]]))
        need(stream.left == 0, "bits are left over behind the sequences", stream.at)

    def offset(self, value: int, length: int) -> int:
        """The values 1 to 3 are the last three offsets; without literals the second, the third and the first less one. 0 is no offset."""
        a, b, c = self.offsets
        if value > 3:
            self.offsets = value - 3, a, b
        else:
            which = value - (length > 0)
            offset = (a, b, c, a - 1)[which]
            self.offsets = (a, b, c) if which == 0 else (offset, a, c) if which == 1 else (offset, a, b)
        return self.offsets[0]


def header(data: bytes, raw_bytes: int) -> Header:
    """Of the frame; its content size, if it is there, must be raw_bytes."""
    need(len(data) >= 5, "a frame of less than 5 bytes", 0)
    need(int.from_bytes(data[:4], "little") == z.MAGIC, "no zstd frame", 0)
    flags = data[4]
    single = flags >> 5 & 1
    id_bytes, size_bytes = (0, 1, 2, 4)[flags & 3], (single, 2, 4, 8)[flags >> 6]
    begin = 5 + (1 - single) + id_bytes + size_bytes
    need(len(data) >= begin, "the frame's header is cut", 4)
    need(flags & 8 == 0, "a reserved bit in the frame's header", 4)
    need(not any(data[begin - size_bytes - id_bytes : begin - size_bytes]), "a frame that needs a dictionary", 5)
    if size_bytes:
        content = int.from_bytes(data[begin - size_bytes : begin], "little") + (256 if size_bytes == 2 else 0)
        need(content == raw_bytes, f"the frame's content size is not {raw_bytes}", begin - size_bytes)
    window = raw_bytes
    if not single:
        need(data[5] >> 3 <= 21, "a window of more than 2 GiB", 5)
        window = (8 + (data[5] & 7)) << 7 + (data[5] >> 3)
    return Header(begin, min(window, z.MOST_BLOCK), bool(flags & 4))


def frame_content(data: bytes, raw_bytes: int) -> bytes:
    """The raw_bytes bytes of the zstd frame that is data. Raises gpuredux.DecodeError that says what is wrong and where."""
    at, most, checksum = header(data, raw_bytes)
    raw, block, last = bytearray(), Block(), 0
    while not last:
        need(at + 3 <= len(data), "the header of a block is cut", at)
        head = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        begin, at = at + 3, at + 3 + (1 if kind == z.RLE else size)
        need(kind != z.RESERVED, "a block of the reserved type", begin - 3)
        need(at <= len(data), "a block reaches beyond the frame", begin - 3)
        need(size <= most, "a block of too many bytes", begin - 3)
        if kind == z.COMPRESSED:
            block.decode(data, begin, at, raw, min(most, raw_bytes - len(raw)))
            continue
        need(len(raw) + size <= raw_bytes, "more content than is expected", begin - 3)
        raw += data[begin:at] if kind == z.RAW else data[begin:at] * size
    need(len(raw) == raw_bytes, "less content than is expected", at)
    need(len(data) == at + 4 * checksum, "the bytes behind the last block are not those of the frame", at)
    need(not checksum or xxh64(bytes(raw)) & 0xFFFFFFFF == int.from_bytes(data[at:], "little"), "the checksum is wrong", at)
    return bytes(raw)


PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
ALL_BITS = (1 << 64) - 1


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0. source: the xxHash specification, doc/xxhash_spec.md of github.com/Cyan4973/xxHash"""
    one, two, three, four, five = PRIMES

    def turned(x: int, by: int) -> int:
        return (x << by | (x & ALL_BITS) >> 64 - by) & ALL_BITS

    def taken(lane: int, word: int) -> int:
        return turned(lane + word * two & ALL_BITS, 31) * one & ALL_BITS

    words = [int.from_bytes(data[k : k + 8], "little") for k in range(0, len(data) - 7, 8)]
    if len(data) >= 32:
        lanes = [one + two & ALL_BITS, two, 0, -one & ALL_BITS]
        for k, word in enumerate(words[: len(words) // 4 * 4]):
            lanes[k % 4] = taken(lanes[k % 4], word)
        value = sum(turned(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & ALL_BITS
        for lane in lanes:
            value = (value ^ taken(0, lane)) * one + four & ALL_BITS
        words = words[len(words) // 4 * 4 :]
    else:
        value = five
    value += len(data)
    for word in words:
        value = turned(value ^ taken(0, word), 27) * one + four & ALL_BITS
    rest = data[len(data) // 8 * 8 :]
    if len(rest) >= 4:
        value = turned(value ^ int.from_bytes(rest[:4], "little") * one & ALL_BITS, 23) * two + three & ALL_BITS
        rest = rest[4:]
    for byte in rest:
        value = turned(value ^ byte * five, 11) * one & ALL_BITS
    value = (value ^ (value & ALL_BITS) >> 33) * two & ALL_BITS
    value = (value ^ value >> 29) * three & ALL_BITS
    return value ^ value >> 32
