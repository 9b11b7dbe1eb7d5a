"""frame, or some rows of it = its blosc 1 chunk (HDF5 filter 32001), anybody's, decoded with every length checked. Over 200 lines: op, decode_blosc, a readable
decoder."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows
from . import blosc_numba as blosc
from .bitshuffle_lz4_decode import REASONS as LZ4_REASONS
from .bitshuffle_lz4_decode import elements, lz4_unpack
from .blosc_bitshuffle_lz4 import HEADER, BloscBitshuffleLZ4
from .blosc_bitshuffle_lz4 import frame_layout as blosc_layout
from .chunk_decoder import ChunkDecoder

REASONS = LZ4_REASONS | {
    blosc.HEADER_SHORT: "the header needs 16 bytes",
    blosc.VERSION: "no chunk format 1 or 2 (blosc2 writes later ones)",
    blosc.RAW_BYTES: "the header's raw size is not that of the frame",
    blosc.BLOCK_BYTES: "the header's block size is 0, more than the frame, or no multiple of its streams",
    blosc.CHUNK_BYTES: "the header's chunk size is not the chunk's",
    blosc.TYPE_BYTES: "the header's item size is not that of the dtype",
    blosc.FILTERS: "filters other than none, shuffle or bitshuffle",
    blosc.CODEC: "a codec other than LZ4",
    blosc.START: "a block begins outside of the chunk",
    blosc.STREAM: "a stream's length reaches beyond the chunk",
}
NONE, SHUFFLE, BITSHUFFLE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class BloscDecode(ChunkDecoder):
    """code[f] = the frame, or its rows, whose blosc 1 chunk (HDF5 filter 32001) is payload[f, :size[f]].

    Taken are chunks of format 1 or 2, whoever wrote them: LZ4 (and LZ4HC), behind bitshuffle, shuffle or nothing, blocks of any size in any order, split into
    streams or not; and chunks of any codec that are not compressed (flag 2). Refused, as CORRUPT: other codecs, blosc2's formats, an item size that is
    not the dtype's (but without a filter); and, though c-blosc takes them, blocks that begin inside of the header or of the table of where blocks begin, and
    matches at LZ4's offset 0. Taken, though c-blosc refuses them: format 1, and blocks without LZ4's rules for encoders. Nothing is read beyond size and
    nothing written beyond the frame.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes); rows: first and last (exclusive) along the frame's first axis, None = all. Only the
            blocks that hold them are read
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape), with rows (n, last - first, ...) dtype: what lies in a block that does not decode to exactly its raw size is zero, and all is where
         the header is wrong
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where the header or a block that was read was wrong. What no block reads
         is not looked at
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once (blocks beyond 8 KiB), of whole frames
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: c-blosc's README_HEADER (chunk formats 1 and 2); LZ4 block format
    """

    name: ClassVar[str] = "compress.blosc_decode"

    rows: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows is not None:
            if not isinstance(self.rows, (tuple, list)) or len(self.rows) != 2 or not all(isinstance(k, numbers.Integral) for k in self.rows):
                raise TypeError(f"{self.name}: rows must be two whole numbers, first and last, got {self.rows!r}")
            first, last = self.rows
            if not 0 <= first < last <= self.shape[0]:
                raise ValueError(f"{self.name}: rows must be first and last of 0 to {self.shape[0]}, and not none, got {self.rows}")
            object.__setattr__(self, "rows", (int(first), int(last)))

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype, self.rows)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        return bytes_of(chunk, self.layout, np.dtype(self.dtype).itemsize)

    def outputs(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        code, status = super().outputs(payload, size, frame_status, live)
        return code if self.rows is None else code._replace(shape=(code.shape[0], self.rows[1] - self.rows[0], *self.shape[1:])), status

    def scratch(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n = payload.shape[0]
        return Spec("framing", (n, 4), np.dtype(np.uint32)), Spec("planes", (n, self.layout.nbytes + 16), np.dtype(np.uint8))

    def inverse(self) -> Op:
        if self.rows is not None:
            raise TypeError(f"{self.name}: some rows of a frame have no chunk")
        return BloscBitshuffleLZ4(self.shape, self.dtype)

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, layout, threads = live_rows(payload, live), self.layout, numba.get_num_threads()
        if n == 0:
            return
        spans = 1 if threads == 1 else min(max(layout.groups // 16, 1), max(8 * threads // n, 1))
        raw, itemsize = code.reshape(len(code), -1).view(np.uint8), np.dtype(self.dtype).itemsize
        first = blosc.decode_frames(payload[:n], size[:n], layout.nbytes, itemsize, layout.low, raw[:n], plan.scratch["planes"][:n], spans)
        self.mark(n, first[:, 0], frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap) = self.layout, payload.shape
        framing, planes = (plan.scratch[k] if plan.scratch else None for k in ("framing", "planes"))
        defines = {"SIZE": np.dtype(self.dtype).itemsize, "ALIGN": layout.align, "LIVE": live is not None}
        have_live, before = (new_status if a is None else a for a in (live, frame_status))      # stand in where the kernels never look
        file, count = "compress/blosc_decode.cl", [np.uint32(k) for k in (n, layout.nbytes, cap)]
        args = (payload, size, framing, before, new_status, have_live, *count)
        plan.launch(file, "blosc_header", (n,), 32, args, STATUS=frame_status is not None, LARGE=False, **defines)
        count = [np.uint32(k) for k in (n, layout.groups, layout.nbytes, cap, layout.low, layout.high)]
        for large in (False, True):
            args = (payload, framing, planes, new_status, code, have_live, *count)
            plan.launch(file, "blosc_blocks", (n * layout.groups,), 128, args, STATUS=False, LARGE=large, **defines)


class Layout(NamedTuple):
    """Of one frame: bytes, which of them are wanted, groups that share the blocks (one for each 8 KiB that is wanted), alignment of what is stored."""

    nbytes: int
    low: int
    high: int
    groups: int
    align: int


@lru_cache(256)
def frame_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any], rows: tuple[int, int] | None) -> Layout:
    nbytes = blosc_layout(who, frame, dtype).nbytes
    row = math.prod(frame[1:]) * dtype.itemsize
    low, high = (0, nbytes) if rows is None else (rows[0] * row, rows[1] * row)
    align = next(k for k in (16, 8, 4, 2, 1) if low % k == 0 and (high - low) % k == 0)
    return Layout(nbytes, low, high, -(-high // 8192) - low // 8192, align)


def decode_blosc(chunk: bytes, shape: tuple[int, ...], dtype: Any, rows: tuple[int, int] | None = None) -> np.ndarray:
    """The frame (*shape) dtype of one blosc 1 chunk, or rows first to last - 1 of it (last - first, ...), on the CPU.

    in:  chunk: bytes of what BloscDecode takes, whoever wrote them; shape, dtype of the frame: numbers of 1, 2, 4 or 8 bytes; rows: (first, last)
         along the first axis, None = all: only the blocks that hold them are looked at
    out: a new array. Raises gpuredux.DecodeError that says what is wrong, or not taken, and where; TypeError or ValueError for a shape, a dtype or rows that
         no chunk has
    """
    op = BloscDecode(tuple(shape), np.dtype(dtype).name, rows)
    layout, kind = op.layout, np.dtype(dtype)
    payload, sizes = np.frombuffer(chunk, np.uint8).reshape(1, -1), np.array([len(chunk)], np.uint32)
    code, planes = np.empty((1, layout.high - layout.low), np.uint8), np.empty((1, layout.nbytes + 16), np.uint8)
    error, block, place = blosc.decode_frames(payload, sizes, layout.nbytes, kind.itemsize, layout.low, code, planes, 1)[0]
    if error:
        raise DecodeError(f"blosc chunk of {len(chunk)} bytes for {kind} {tuple(shape)}: {REASONS[int(error)]} (block {block}, byte {place} of the chunk)")
    return code.view(kind).reshape(-1, *shape[1:])


class Header(NamedTuple):
    """Of a chunk that is taken."""

    block: int
    kind: int
    split: bool
    memcpyed: bool


def header_of(chunk: bytes, nbytes: int, itemsize: int) -> Header | None:
    """None if it is wrong, or of a chunk that is not taken."""
    if len(chunk) < HEADER:
        return None
    version, codec, flags, typesize = chunk[:4]
    raw, block, total = (int.from_bytes(chunk[k : k + 4], "little") for k in (4, 8, 12))
    kind, memcpyed = (flags & 1) | (flags >> 1 & 2), bool(flags & 2)
    split = not flags & 16 and typesize <= 16 and block // max(typesize, 1) >= 128
    right = version in (1, 2) and raw == nbytes and 0 < block <= nbytes and total == len(chunk) and typesize > 0 and not flags & 8
    if memcpyed:
        right &= total == HEADER + nbytes
    else:
        right &= kind < 3 and flags >> 5 == 1 and codec == 1 and (kind == NONE or typesize == itemsize)
        right &= not (right and split and block % typesize)
    return Header(block, kind, split, memcpyed) if right else None


def bytes_of(chunk: bytes, layout: Layout, itemsize: int) -> tuple[bytes, bool]:
    """The bytes that are wanted, and whether all that was read was right."""
    header, raw, good = header_of(chunk, layout.nbytes, itemsize), bytearray(layout.nbytes), True
    if header is None:
        return bytes(layout.high - layout.low), False
    if header.memcpyed:
        return chunk[HEADER + layout.low : HEADER + layout.high], True
    for block in range(layout.low // header.block, -(-layout.high // header.block)):
        begin, end = block * header.block, min((block + 1) * header.block, layout.nbytes)
        filtered = filtered_block(chunk, block, end - begin, -(-layout.nbytes // header.block), chunk[3] if header.split and end - begin == header.block else 1)
        good &= filtered is not None
        raw[begin:end] = bytes(end - begin) if filtered is None else undone(filtered, header.kind, itemsize)
    return bytes(raw[layout.low : layout.high]), good


def filtered_block(chunk: bytes, block: int, raw_bytes: int, blocks: int, streams: int) -> bytes | None:
    """What the streams of a block hold, None if they are not right."""
    table, out = HEADER + 4 * blocks, b""
    at = int.from_bytes(chunk[HEADER + 4 * block : HEADER + 4 * block + 4], "little") if table <= len(chunk) else 0
    if not table <= at <= len(chunk):
        return None
    for _ in range(streams):
        end = at + 4 + int.from_bytes(chunk[at : at + 4], "little")
        if at + 4 > len(chunk) or end > len(chunk):
            return None
        stream = chunk[at + 4 : end]
        part = stream if len(stream) == raw_bytes // streams else lz4_unpack(stream, raw_bytes // streams)
        if part is None:
            return None
        out, at = out + part, end
    return out


def undone(b: bytes, kind: int, itemsize: int) -> bytes:
    """The way back of blosc's filters; it leaves bytes behind the last whole element, and bits of elements that are no multiple of 8, as they are."""
    count = len(b) // itemsize
    whole = count * itemsize
    if kind == SHUFFLE:
        return np.frombuffer(b[:whole], np.uint8).reshape(itemsize, count).T.tobytes() + b[whole:]
    return elements(b[:whole], itemsize) + b[whole:] if kind == BITSHUFFLE and count % 8 == 0 and count else b
