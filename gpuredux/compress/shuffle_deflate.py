"""chunk = the zlib stream of a byte-shuffled frame (HDF5 filters 2 + 1), its only matches runs. Over 200 lines: the op and its readable encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, Spec, live_rows
from .chunk_encoder import ChunkEncoder, Filter, fits
from .deflate_numba import SLOT, encode_frames
from .huffman_lengths import code_lengths

UNIT, GROUP = 1 << 15, 4        # bytes that are cut into symbols together; units that may share a code
TABLE = 4 * 356 + 7 * 376       # words of shuffle_deflate.cl's tables for a group
LONGEST = 14                    # bits of a code: four of them and what is left of a byte fit a 64-bit word
HEADER = b"\x78\x01"
END, MOST_MATCH, SYMBOLS = 256, 258, 286
# A run may be a match from this length on: the first m of 3 to 8 at which m literals of this byte take more than 8 bits by the byte's share of the
# unit, count / bytes < 2**(-8 / m) in 1/1024; 9 from a share of 1/2 on, where a literal takes Huffman's least, one bit.
SHARES = (161, 256, 337, 406, 463, 512)
LENGTH_BASE = np.array([3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258])
LENGTH_BITS = np.array([0] * 8 + [k for k in (1, 2, 3, 4, 5) for _ in range(4)] + [0])
ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)      # of the lengths of the code for lengths
FIXED = np.repeat([8, 9, 7, 8], [144, 112, 24, 6])
Fields = list[tuple[int, int]]          # numbers and their bits, the first one in the lowest bits


@dataclass(frozen=True, eq=False)
class ShuffleDeflate(ChunkEncoder):
    """payload[f, :size[f]] = the zlib stream of the byte-shuffled frame f: the HDF5 chunk of filters 2 (shuffle) and 1 (deflate), read without plugins.

    The shuffled bytes are cut into units of 32 KiB. The symbols of a unit are literals and matches at distance 1: of a run (bytes equal to the one before
    them, inside the unit) pieces of 258, then what is left if it is long enough by SHARES. Of four units, neighbouring pairs, then all four, are joined in
    one block where that is not larger; a block is the smallest of stored (one unit only), fixed and dynamic codes, the first of equals. Blocks
    follow each other bit by bit. This and huffman_lengths.py fix every byte.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not changed; cap is the worst case, a multiple of 16
         size (n,) u32 [bytes]
    exact: byte-identical on every backend. Scratch: the shuffled batch and a tenth of it
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: RFC 1950 and RFC 1951; the HDF5 shuffle filter
    """

    name: ClassVar[str] = "compress.shuffle_deflate"

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def chunk_of(self, frame: np.ndarray) -> bytes:
        return chunk_of(frame)

    def decoder(self) -> type[Op]:
        from .shuffle_deflate_decode import ShuffleDeflateDecode

        return ShuffleDeflateDecode

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """Filter 1's value, its level, is of no use to a reader."""
        return Filter(2, ()), Filter(1, (1,))

    def scratch(self, code: Any, live: Any) -> tuple[Spec, ...]:
        n, groups = code.shape[0], -(-self.layout(code.shape[1:], np.dtype(code.dtype)).units // GROUP)
        return Spec("slots", (n, groups, SLOT), np.dtype(np.uint8)), Spec("tables", (n, groups, TABLE), np.dtype(np.uint32))

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        n = live_rows(code, live)
        if n:
            raw, slots = code.reshape(len(code), -1).view(np.uint8), plan.scratch["slots"]
            threads = min(numba.get_num_threads(), n * slots.shape[1])
            encode_frames(raw[:n], code.dtype.itemsize, payload[:n], size[:n], slots[:n], threads)

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        layout, n, itemsize = self.layout(code.shape[1:], np.dtype(code.dtype)), code.shape[0], np.dtype(code.dtype).itemsize
        units, groups, npix = layout.units, -(-layout.units // GROUP), layout.nbytes // itemsize
        tiles = -(-npix // 512)
        planes, tables = (plan.scratch[k] if plan.scratch else None for k in ("slots", "tables"))     # numba's slots hold the shuffled frames here
        have_live = payload if live is None else live      # stands in where the kernels never look
        count, stride = [np.uint32(k) for k in (n, units, layout.nbytes)], np.uint32(groups * SLOT)
        file, defines = "compress/shuffle_deflate.cl", {"LIVE": live is not None}
        args = (code, planes, have_live, np.uint32(n), np.uint32(tiles), np.uint32(npix), stride)
        plan.launch(file, "deflate_shuffle", (n * tiles,), 128, args, SHUFFLE=True, SIZE=itemsize, WIDE=npix % 4 == 0, **defines)
        plan.launch(file, "deflate_tally", (n * units,), 128, (planes, tables, have_live, *count, stride), SHUFFLE=False, **defines)
        plan.launch(file, "deflate_codes", (n * groups * 7,), 128, (tables, have_live, *count), SHUFFLE=False, **defines)
        plan.launch(file, "deflate_place", (n,), 128, (tables, payload, size, have_live, *count, np.uint32(layout.cap)), SHUFFLE=False, **defines)
        args = (planes, tables, payload, have_live, *count, stride, np.uint32(layout.cap))
        plan.launch(file, "deflate_emit", (n * units,), 128, args, SHUFFLE=False, **defines)


@dataclass(frozen=True)
class Layout:
    """Of one frame: bytes, units of 32 KiB, worst-case chunk, a row of its shuffled bytes, alignment of every frame's first byte (at most 16)."""

    nbytes: int
    units: int
    cap: int
    stride: int
    align: int


@lru_cache(256)
def frame_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    """Raises TypeError or ValueError for frames that this filter cannot hold."""
    if not fits(dtype):
        raise TypeError(f"{who}: the dtype must be native numbers of 1, 2, 4 or 8 bytes, got {dtype}")
    if len(frame) < 1 or min(frame) < 1:
        raise ValueError(f"{who}: frames must have pixels, got the frame shape {tuple(frame)}")
    total = math.prod(frame) * dtype.itemsize
    if total >= 1 << 28:
        raise ValueError(f"{who}: a frame of {total} bytes: positions are counted in bits, up to 256 MiB a frame; cut it into panels")
    units = -(-total // UNIT)
    cap, stride = (-(-k // 16) * 16 for k in (total + 6 * units + 7, total + 64))
    return Layout(total, units, cap, stride, next(k for k in (16, 8, 4, 2, 1) if total % k == 0))


def shuffled(frame: np.ndarray) -> np.ndarray:
    """Byte 0 of all elements, byte 1 of all elements, and so on."""
    return np.ascontiguousarray(frame.reshape(-1, 1).view(np.uint8).T).ravel()


def symbols_of_lengths() -> np.ndarray:
    """The symbol of a match, by its length."""
    symbol = 256 + np.searchsorted(LENGTH_BASE, np.arange(MOST_MATCH + 1), side="right")
    symbol[:3] = 0
    return symbol


LENGTH_SYMBOL = symbols_of_lengths()


def tokens_of(b: np.ndarray, start: int, stop: int) -> list[int]:
    """The unit b[start:stop]: a literal is its byte, a match of length m is 256 + m."""
    count = np.bincount(b[start:stop], minlength=256)
    at_least = [next((m for m, share in enumerate(SHARES, 3) if 1024 * int(c) < share * (stop - start)), 9) for c in count]
    tokens, at = [], start
    while at < stop:
        run = 0
        while at > 0 and at + run < stop and b[at + run] == b[at - 1]:
            run += 1
        tokens += [256 + MOST_MATCH] * (run // MOST_MATCH)
        rest = run % MOST_MATCH
        tokens += [256 + rest] if rest >= at_least[b[at]] else [int(b[at])] * (rest if run else 1)
        at += max(run, 1)
    return tokens


def counts_of(tokens: list[int]) -> np.ndarray:
    """How often each symbol occurs in a block, its end included."""
    symbols = [t if t < 256 else LENGTH_SYMBOL[t - 256] for t in tokens]
    return np.bincount([*symbols, END], minlength=SYMBOLS)


def reversed_codes(lengths: np.ndarray) -> list[int]:
    """The codes of RFC 1951 for these lengths, each with its first bit lowest."""
    code, codes = 0, [0] * len(lengths)
    for bits in range(1, 16):
        code <<= 1
        for s in np.flatnonzero(np.asarray(lengths) == bits):
            codes[s] = int(f"{code:0{bits}b}"[::-1], 2)
            code += 1
    return codes


def code_header(lengths: np.ndarray) -> Fields:
    """How a dynamic block says its codes: literals and lengths as given, two distances of one bit."""
    used = int(np.flatnonzero(lengths)[-1]) + 1
    said = said_lengths([*map(int, lengths[:used]), 1, 1])
    of_lengths = code_lengths(np.bincount([s for s, _, _ in said], minlength=19), 7)
    codes = reversed_codes(of_lengths)
    last = max(k for k in range(19) if of_lengths[ORDER[k]] or k < 4)
    fields = [(used - 257, 5), (1, 5), (last - 3, 4), *((int(of_lengths[s]), 3) for s in ORDER[: last + 1])]
    for symbol, extra, bits in said:
        fields += [(codes[symbol], int(of_lengths[symbol])), (extra, bits)]
    return fields


def said_lengths(lengths: list[int]) -> Fields:
    """Code lengths as (symbol, extra, bits of extra): 16 repeats the last one 3 to 6 times, 17 is 3 to 10 zeros, 18 is 11 to 138."""
    said, at = [], 0
    while at < len(lengths):
        run = next((k for k in range(at, len(lengths)) if lengths[k] != lengths[at]), len(lengths)) - at
        if lengths[at]:
            said.append((lengths[at], 0, 0))
        rest = run - (lengths[at] > 0)
        most, least, symbol, bits = (6, 3, 16, 2) if lengths[at] else (138, 11, 18, 7)
        while rest >= least:
            said.append((symbol, min(rest, most) - least, bits))
            rest -= min(rest, most)
        if not lengths[at] and rest >= 3:
            said.append((17, rest - 3, 3))
            rest = 0
        said += [(lengths[at], 0, 0)] * rest
        at += run
    return said


def bits_of(fields: Fields) -> int:
    return sum(bits for _, bits in fields)


class Block:
    """One block: its tokens, and the smallest of stored (one unit), fixed and dynamic."""

    def __init__(self, tokens: list[int], raw: bytes, stored: bool) -> None:
        self.tokens, self.raw = tokens, raw
        counts = counts_of(tokens)
        self.lengths = code_lengths(counts, LONGEST)
        extra = int((counts[257:] * LENGTH_BITS).sum())
        matches = int(counts[257:].sum())
        sizes = {
            0: 42 + 8 * len(raw) if stored else 1 << 62,        # with as much padding as there can be
            1: 3 + int((counts * FIXED).sum()) + extra + 5 * matches,
            2: 3 + bits_of(code_header(self.lengths)) + int((counts * self.lengths).sum()) + extra + matches,
        }
        self.kind = min(sizes, key=lambda k: sizes[k])
        self.size = sizes[self.kind]

    def fields(self, final: bool) -> Fields:
        """All but what is stored."""
        fields = [(int(final), 1), (self.kind, 2)]
        if self.kind == 0:
            return fields
        fields += code_header(self.lengths) if self.kind == 2 else []
        lengths, distance = (self.lengths, 1) if self.kind == 2 else (FIXED, 5)
        codes = reversed_codes(np.append(lengths, [8, 8]) if self.kind == 1 else lengths)      # the fixed code has two more symbols
        for t in [*self.tokens, END]:
            s = t if t <= END else LENGTH_SYMBOL[t - 256]
            fields.append((codes[s], int(lengths[s])))
            if t > END:
                fields += [(t - 256 - int(LENGTH_BASE[s - 257]), int(LENGTH_BITS[s - 257])), (0, distance)]
        return fields


def blocks_of(units: list[Block]) -> list[Block]:
    """Neighbours joined, then neighbours of those, where one block is not larger than what it replaces."""
    parts = [[u] for u in units]
    whole = list(units)             # what one block of all of a part would be
    while len(parts) > 1:
        for k in range(0, len(parts) - 1, 2):
            both = Block(whole[k].tokens + whole[k + 1].tokens, whole[k].raw + whole[k + 1].raw, False)
            split = parts[k] + parts[k + 1]
            parts[k] = [both] if both.size <= sum(p.size for p in split) else split
            whole[k] = both
        parts, whole = parts[::2], whole[::2]
    return parts[0]


def adler32(b: np.ndarray) -> int:
    x = b.astype(np.int64)
    low = 1 + int(x.sum())
    high = len(x) + int((x * np.arange(len(x), 0, -1)).sum())
    return high % 65521 << 16 | low % 65521


def packed(fields: Fields) -> bytes:
    """The fields one after another, the last byte filled with zeros."""
    value = at = 0
    parts = []
    for field, bits in fields:
        value |= field << at
        at += bits
        if at >= 4096:
            parts.append((value & (1 << 4096) - 1).to_bytes(512, "little"))
            value, at = value >> 4096, at - 4096
    return b"".join(parts) + value.to_bytes(-(-at // 8), "little")


def chunk_of(frame: np.ndarray) -> bytes:
    """The whole chunk of one frame."""
    b, blocks = shuffled(frame), []
    for start in range(0, len(b), UNIT * GROUP):
        units = []
        for first in range(start, min(start + UNIT * GROUP, len(b)), UNIT):
            stop = min(first + UNIT, len(b))
            units.append(Block(tokens_of(b, first, stop), b[first:stop].tobytes(), True))
        blocks += blocks_of(units)
    fields: Fields = []
    for block in blocks:
        fields += block.fields(block is blocks[-1])
        if block.kind == 0:
            fields.append((0, -bits_of(fields) % 8))
            fields += [(len(block.raw), 16), (len(block.raw) ^ 0xFFFF, 16), *((k, 8) for k in block.raw)]
    return HEADER + packed(fields) + adler32(b).to_bytes(4, "big")
