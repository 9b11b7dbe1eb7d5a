"""frame = its zlib stream of shuffled bytes (HDF5 filters 2 + 1), anybody's, decoded with every length and code checked."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows
from . import inflate_numba as inflate
from .chunk_decoder import ChunkDecoder
from .lz4_numba import MARGIN
from .shuffle_deflate import Layout, ShuffleDeflate, frame_layout

REASONS = {
    inflate.ZLIB_HEADER: "the first two bytes are no zlib header",
    inflate.DICTIONARY: "the stream asks for a preset dictionary",
    inflate.CUT: "the stream is cut off",
    inflate.BLOCK_KIND: "a block of kind 3",
    inflate.STORED_LENGTH: "a stored block whose length and its complement disagree",
    inflate.MANY_CODES: "more than 286 literals and lengths or 30 distances",
    inflate.LENGTH_CODE: "the code for code lengths is not complete",
    inflate.REPEAT: "a repeated code length without one before it, or beyond the last symbol",
    inflate.NO_END: "a code without an end of block",
    inflate.LITERAL_CODE: "the code for literals and lengths is over-full or incomplete",
    inflate.DISTANCE_CODE: "the code for distances is over-full or incomplete",
    inflate.BAD_LITERAL: "bits that are no literal or length",
    inflate.BAD_DISTANCE: "bits that are no distance",
    inflate.FAR: "a match begins before the frame",
    inflate.TOO_LONG: "more bytes than the frame has",
    inflate.TOO_SHORT: "fewer bytes than the frame has",
    inflate.CHECKSUM: "the Adler-32 checksum is not that of the bytes",
    inflate.LEFT_OVER: "bytes behind the stream",
    inflate.SIZE: "the size is below 2 or beyond the payload",
}


@dataclass(frozen=True, eq=False)
class ShuffleDeflateDecode(ChunkDecoder):
    """code[f] = the frame whose zlib stream of shuffled bytes (HDF5 filters 2 + 1) is payload[f, :size[f]].

    Any valid stream of exactly the frame's bytes is decoded, whoever wrote it; what zlib refuses is refused, and bytes behind the stream too. Nothing is
    read beyond size and nothing written beyond the frame, whatever the bytes say.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes)
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where anything is wrong
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: RFC 1950 and RFC 1951; the HDF5 shuffle filter
    """

    name: ClassVar[str] = "compress.shuffle_deflate_decode"
    most: ClassVar[int] = 1 << 29
    why: ClassVar[str] = "positions are counted in bits, up to 512 MiB a chunk"

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        b = bytes_of(chunk, self.layout.nbytes)
        return (bytes(self.layout.nbytes), False) if b is None else (unshuffled(b, self.shape, np.dtype(self.dtype)).tobytes(), True)

    def scratch(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        return (Spec("planes", (payload.shape[0], self.layout.stride), np.dtype(np.uint8)),)

    def inverse(self) -> Op:
        return ShuffleDeflate(self.shape, self.dtype)

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, itemsize = live_rows(payload, live), np.dtype(self.dtype).itemsize
        if n == 0:
            return
        raw, planes = code.reshape(len(code), -1).view(np.uint8), plan.scratch["planes"]
        found = inflate.decode_frames(payload[:n], size[:n], itemsize, raw[:n], planes[:n], min(numba.get_num_threads(), n))
        self.mark(n, found[:, 0], frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap), itemsize = self.layout, payload.shape, np.dtype(self.dtype).itemsize
        npix = layout.nbytes // itemsize
        tiles = -(-npix // 512)
        planes = plan.scratch["planes"] if plan.scratch else None
        have_live, before = (new_status if a is None else a for a in (live, frame_status))      # stand in where the kernels never look
        file, defines = "compress/shuffle_deflate_decode.cl", {"LIVE": live is not None}
        args = (payload, size, before, new_status, planes, have_live, *(np.uint32(k) for k in (n, layout.nbytes, cap, layout.stride)))
        plan.launch(file, "inflate", (n,), 128, args, UNSHUFFLE=False, STATUS=frame_status is not None, **defines)
        args = (planes, code, have_live, *(np.uint32(k) for k in (n, tiles, npix, layout.stride)))
        plan.launch(file, "unshuffle", (n * tiles,), 128, args, UNSHUFFLE=True, SIZE=itemsize, WIDE=npix % 4 == 0, **defines)


def inflate_chunk(chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame of one chunk of filters 2 + 1 (shuffle and deflate). Raises gpuredux.DecodeError that says what is wrong and where."""
    kind = np.dtype(dtype)
    layout = frame_layout("compress.inflate_chunk", tuple(shape), kind)
    payload = np.frombuffer(chunk, np.uint8).reshape(1, -1)
    code, planes = np.empty((1, layout.nbytes), np.uint8), np.empty((1, layout.nbytes + MARGIN), np.uint8)
    error, place = inflate.decode_frames(payload, np.array([payload.size], np.uint32), kind.itemsize, code, planes, 1)[0]
    if error:
        raise DecodeError(f"zlib chunk of {payload.size} bytes for {kind} {tuple(shape)}: {REASONS[int(error)]} (byte {place} of the chunk)")
    return code.view(kind).reshape(shape)


def bytes_of(chunk: bytes, many: int) -> bytes | None:
    """What the zlib stream holds, None if that is not exactly so many bytes, the stream is not right, or bytes follow it."""
    stream = zlib.decompressobj()
    try:
        b = stream.decompress(chunk, many + 1)
    except zlib.error:
        return None
    return b if stream.eof and not stream.unused_data and len(b) == many else None


def unshuffled(b: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """The way back of shuffled."""
    return np.ascontiguousarray(np.frombuffer(b, np.uint8).reshape(dtype.itemsize, -1).T).view(dtype).reshape(shape)
