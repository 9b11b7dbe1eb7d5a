"""frame = its HDF5 filter-32004 chunk: blocks of LZ4 without a shuffle, as DECTRIS detectors send and write them, every length checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import DecodeError, Op, Plan, Spec, live_rows
from . import lz4_numba as lz4
from .bitshuffle_lz4 import HEADER, Layout, frame_layout
from .bitshuffle_lz4_decode import REASONS, lz4_unpack
from .chunk_decoder import ChunkDecoder


@dataclass(frozen=True, eq=False)
class LZ4Decode(ChunkDecoder):
    """code[f] = the frame whose filter-32004 chunk is payload[f, :size[f]]: its bytes and those of a block (big-endian u64, u32), then length and block.

    A block is an LZ4 block of the block's bytes (the last one is shorter), or these bytes themselves where its length says so. Of any size, whoever wrote it.
    Nothing is read beyond size and nothing written beyond the frame, whatever the bytes say.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes)
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where anything is wrong in the chunk
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong, bytes left over included
    exact: bit-identical on every backend, for every input. On a device one block decodes a frame
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: the HDF5 LZ4 filter's chunk layout (registered filter 32004); LZ4 block format
    """

    name: ClassVar[str] = "compress.lz4_decode"

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        total, out, at = self.layout.nbytes, bytearray(), HEADER
        none, block = bytes(total), int.from_bytes(chunk[8:12], "big")
        if len(chunk) < HEADER or int.from_bytes(chunk[:8], "big") != total or block == 0:
            return none, False
        while len(out) < total:
            want, length = min(block, total - len(out)), int.from_bytes(chunk[at : at + 4], "big")
            content = chunk[at + 4 : at + 4 + length]
            raw = content if length == want else lz4_unpack(content, want)
            if at + 4 + length > len(chunk) or raw is None:
                return none, False
            out, at = out + raw, at + 4 + length
        return (bytes(out), True) if at == len(chunk) else (none, False)

    def inverse(self) -> Op:
        raise TypeError(f"{self.name} has no inverse: compress.bitshuffle_lz4 makes smaller chunks")

    def scratch(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        return (Spec("wrong", (payload.shape[0],), np.dtype(np.uint32)),)

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n = live_rows(payload, live)
        if n:
            found = np.zeros((n, 2), np.int64)
            share(lz4_frames, n, payload[:n], size[:n], code.reshape(len(code), -1).view(np.uint8)[:n], found)
            self.mark(n, found[:, 0], frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, cap = payload.shape
        wrong = plan.scratch["wrong"] if plan.scratch else None
        before, have_live = (new_status if a is None else a for a in (frame_status, live))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, self.layout.nbytes, cap)]
        defines = {"STATUS": frame_status is not None, "LIVE": live is not None}
        file = "compress/lz4_decode.cl"
        plan.launch(file, "lz4_frames", (n,), 128, (payload, size, code, wrong, have_live, *count), **defines)
        plan.launch(file, "lz4_settle", (n,), 128, (before, new_status, code, wrong, have_live, *count[:2]), **defines)


@njit(cache=True, nogil=True, error_model="numpy")
def _lz4_frame(p, size, raw):
    """raw = one frame; what is wrong with its chunk, and where."""
    total = raw.shape[0]
    if size < 12 or size > p.shape[0]:
        return lz4.HEADER_SHORT, size
    block = lz4.be32(p, 8)
    if lz4.be32(p, 0) << 32 | lz4.be32(p, 4) != total:
        return lz4.RAW_BYTES, 0
    if block == 0:
        return lz4.BLOCK_BYTES, 8
    at, done = 12, 0
    while done < total:
        want = min(block, total - done)
        if size - at < 4:
            return lz4.LENGTH_CUT, at
        length = lz4.be32(p, at)
        if length > size - at - 4:
            return lz4.BLOCK_CUT, at
        if length == want:
            lz4.copy_bytes(raw, done, p, at + 4, length)
        else:
            error, place = lz4.unlz4(p, np.int64(at + 4), np.int64(at + 4 + length), raw, done, want, total - done)
            if error:
                return error, place
        at += 4 + length
        done += want
    return (0, 0) if at == size else (lz4.TAIL, at)


@njit(cache=True, nogil=True, error_model="numpy")
def lz4_frames(begin, end, payload, sizes, raw, found):
    """Fill raw (n, bytes) u8; found (n, 2): what is wrong with each, 0 = nothing, and where."""
    for f in range(begin, end):
        error, place = _lz4_frame(payload[f], np.int64(sizes[f]), raw[f])
        found[f, 0], found[f, 1] = error, place
        if error:
            raw[f, :] = 0


def decode_lz4(chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame (*shape) dtype of one filter-32004 chunk, on the CPU.

    in:  chunk: bytes of LZ4Decode's format, whoever wrote it; shape, dtype of the frame: numbers of 1, 2, 4 or 8 bytes
    out: a new array. Raises gpuredux.DecodeError that says what is wrong and where: no frame is given back in part; TypeError or ValueError for a shape or a
         dtype that no chunk has
    """
    LZ4Decode(tuple(shape), np.dtype(dtype).name)      # refuses them
    payload, kind = np.frombuffer(chunk, np.uint8).reshape(1, -1), np.dtype(dtype)
    raw, found = np.empty((1, math.prod(shape) * kind.itemsize), np.uint8), np.zeros((1, 2), np.int64)
    lz4_frames(0, 1, payload, np.array([payload.size], np.uint32), raw, found)
    if found[0, 0]:
        raise DecodeError(f"LZ4 chunk of {payload.size} bytes for {kind} {tuple(shape)}: {REASONS[int(found[0, 0])]} (byte {found[0, 1]} of the chunk)")
    return raw.view(kind).reshape(shape)
