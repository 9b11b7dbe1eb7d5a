"""frame = its HDF5 filter-32008 chunk, anybody's, decoded with every length checked. Over 200 lines: the op, decode_chunk, the readable decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows
from . import lz4_numba as lz4
from .bitshuffle_lz4 import HEADER, BitshuffleLZ4, Layout, frame_layout
from .chunk_decoder import ChunkDecoder

REASONS = {
    lz4.HEADER_SHORT: "the header needs 12 bytes",
    lz4.RAW_BYTES: "the header's raw size is not that of the frame",
    lz4.BLOCK_BYTES: "the header's block size is not a positive multiple of 8 elements",
    lz4.LENGTH_CUT: "the chunk ends inside a block's length",
    lz4.BLOCK_CUT: "a block's length reaches beyond the chunk",
    lz4.NO_TOKEN: "the LZ4 block ends inside a sequence or without last literals",
    lz4.LITERALS_IN: "literals reach beyond the LZ4 block",
    lz4.LITERALS_OUT: "literals reach beyond the block's raw size",
    lz4.BAD_OFFSET: "a match begins before the block",
    lz4.MATCH_OUT: "a match reaches beyond the block's raw size",
    lz4.BLOCK_SHORT: "the LZ4 block ends before the block's raw size",
    lz4.TAIL: "the bytes behind the last block are not the frame's last elements",
}


@dataclass(frozen=True, eq=False)
class BitshuffleLZ4Decode(ChunkDecoder):
    """code[f] = the frame whose filter-32008 chunk (bitshuffle + LZ4) is payload[f, :size[f]].

    Any block size of 8 elements or more (a multiple of 8) and any valid LZ4 block is decoded, whoever wrote it. LZ4's rules for encoders
    (5 last literals, 12 bytes) are not demanded. Nothing is read beyond size and nothing written beyond the frame, whatever the bytes say.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes)
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: a block that does not decode to exactly its raw size is all zero, and so is whatever follows a broken
         framing (raw size, block size, block length, tail)
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong, bytes left over included
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once (blocks beyond 8 KiB) and block positions
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008); LZ4 block format
    """

    name: ClassVar[str] = "compress.bitshuffle_lz4_decode"

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        return frame_of(chunk, self.layout, np.dtype(self.dtype).itemsize, lz4_unpack)

    def scratch(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, layout = payload.shape[0], self.layout
        most = max(layout.usable // (8 * np.dtype(self.dtype).itemsize), 1)      # blocks, of 8 elements each
        return (
            Spec("block_start", (n, most), np.dtype(np.uint32)),
            Spec("framing", (n, 2), np.dtype(np.uint32)),
            Spec("planes", (n, layout.usable + 16), np.dtype(np.uint8)),
        )

    def inverse(self) -> Op:
        return BitshuffleLZ4(self.shape, self.dtype)

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, layout, threads = live_rows(payload, live), self.layout, numba.get_num_threads()
        if n == 0:
            return
        spans = 1 if threads == 1 else min(max(layout.blocks // 16, 1), max(8 * threads // n, 1))
        raw, work = code.reshape(len(code), -1).view(np.uint8), plan.scratch
        first = lz4.decode_frames(payload[:n], size[:n], np.dtype(self.dtype).itemsize, raw[:n], work["block_start"][:n], work["planes"][:n], spans)
        self.mark(n, first[:, 0], frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap) = self.layout, payload.shape
        groups = max(layout.blocks, 1)      # one for each block of 8 KiB; smaller blocks share them
        start, framing, planes = (plan.scratch[k] if plan.scratch else None for k in ("block_start", "framing", "planes"))
        defines = {"SIZE": np.dtype(self.dtype).itemsize, "ALIGN": layout.align, "LIVE": live is not None}
        have_live, before = (new_status if a is None else a for a in (live, frame_status))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, groups, layout.nbytes, cap)]
        file = "compress/bitshuffle_lz4_decode.cl"
        args = (payload, size, start, framing, before, new_status, code, have_live, *count)
        plan.launch(file, "lz4_walk", (n,), 32, args, STATUS=frame_status is not None, LARGE=False, **defines)
        args = (payload, start, framing, planes, new_status, code, have_live, *count)
        for large in (False, True):
            plan.launch(file, "lz4_decode", (n * groups,), 128, args, STATUS=False, LARGE=large, **defines)


def decode_chunk(chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame of one filter-32008 chunk (bitshuffle + LZ4). Raises gpuredux.DecodeError that says what is wrong and where."""
    kind = np.dtype(dtype)
    layout = frame_layout("compress.decode_chunk", tuple(shape), kind)
    payload = np.frombuffer(chunk, np.uint8).reshape(1, -1)
    code = np.empty((1, layout.nbytes), np.uint8)
    start = np.empty((1, max(layout.usable // (8 * kind.itemsize), 1)), np.uint32)
    planes = np.empty((1, layout.usable + 16), np.uint8)
    error, block, place = lz4.decode_frames(payload, np.array([payload.size], np.uint32), kind.itemsize, code, start, planes, 1)[0]
    if error:
        raise DecodeError(
            f"bitshuffle-LZ4 chunk of {payload.size} bytes for {kind} {tuple(shape)}: {REASONS[int(error)]} (block {block}, byte {place} of the chunk)"
        )
    return code.view(kind).reshape(shape)


def frame_of(chunk: bytes, layout: Layout, itemsize: int, unpack: Callable[[bytes, int], bytes | None]) -> tuple[bytes, bool]:
    """The bytes of a frame and whether its chunk was right in every byte. unpack: what a block of so many raw bytes holds, None if it is not right."""
    raw, unit, good = bytearray(layout.nbytes), 8 * itemsize, True
    block_bytes = int.from_bytes(chunk[8:12], "big")
    if len(chunk) < HEADER or int.from_bytes(chunk[:8], "big") != layout.nbytes or block_bytes == 0 or block_bytes % unit:
        return bytes(raw), False
    at = HEADER
    for start in range(0, layout.usable, block_bytes):
        stop = min(start + block_bytes, layout.usable)
        end = at + 4 + int.from_bytes(chunk[at : at + 4], "big")
        if at + 4 > len(chunk) or end > len(chunk):
            return bytes(raw), False
        planes = unpack(chunk[at + 4 : end], stop - start)
        if planes is None:
            good = False
        else:
            raw[start:stop] = elements(planes, itemsize)
        at = end
    tail = layout.nbytes - layout.usable
    if len(chunk) - at < tail:
        return bytes(raw), False
    raw[layout.usable :] = chunk[at : at + tail]
    return bytes(raw), good and at + tail == len(chunk)


def elements(planes: bytes, itemsize: int) -> bytes:
    """The way back of bit_planes."""
    bits = np.unpackbits(np.frombuffer(planes, np.uint8).reshape(8 * itemsize, -1), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()


def lz4_unpack(block: bytes, raw_bytes: int) -> bytes | None:
    """What an LZ4 block holds, None if that is not exactly raw_bytes or the block is not right."""
    out, at = bytearray(), 0

    def length(nibble: int) -> int:
        nonlocal at
        total = nibble
        while nibble == 15:
            total += block[at]
            at += 1
            if block[at - 1] != 255:
                break
        return total

    try:
        while True:
            token = block[at]
            at += 1
            count = length(token >> 4)
            if at + count > len(block) or len(out) + count > raw_bytes:
                return None
            out += block[at : at + count]
            at += count
            if at == len(block):
                return bytes(out) if len(out) == raw_bytes else None
            offset = block[at] | block[at + 1] << 8
            at += 2
            count = length(token & 15) + 4
            if not 0 < offset <= len(out) or len(out) + count > raw_bytes:
                return None
            for _ in range(count):
                out.append(out[-offset])
    except IndexError:
        return None
