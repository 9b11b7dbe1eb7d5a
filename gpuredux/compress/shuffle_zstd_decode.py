"""frame = its chunk of HDF5 filters 2 and 32015 (byte shuffle, zstd), anybody's, decoded with every length checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows, read_only
from . import zstd_decode_numba as numba_zstd
from .bitshuffle_lz4 import Layout, frame_layout
from .chunk_decoder import ChunkDecoder
from .zstd_decode import frame_content


@dataclass(frozen=True, eq=False)
class ZstdDecode(ChunkDecoder):
    """What the decoders of zstd chunks have in common."""

    kind: ClassVar[int] = numba_zstd.SHUFFLE

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def scratch(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, layout = payload.shape[0], self.layout
        row = -(-(layout.nbytes + numba_zstd.MARGIN) // 16) * 16
        most = 1 if self.kind == numba_zstd.SHUFFLE else max(layout.usable // (8 * np.dtype(self.dtype).itemsize), 1)      # zstd frames
        return (
            Spec("planes", (n, row), np.dtype(np.uint8)),
            Spec("starts", (n, most), np.dtype(np.uint32)),
            Spec("framing", (n, 2), np.dtype(np.uint32)),
        )

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, layout, threads = live_rows(payload, live), self.layout, numba.get_num_threads()
        if n == 0:
            return
        spans = 1 if threads == 1 or self.kind == numba_zstd.SHUFFLE else min(max(layout.blocks // 16, 1), max(8 * threads // n, 1))
        raw = code.reshape(len(code), -1).view(np.uint8)
        first = first_errors(payload[:n], size[:n], np.dtype(self.dtype).itemsize, self.kind, raw[:n], plan.scratch["planes"][:n], spans)
        self.mark(n, first[:, 0], frame_status, new_status)

    def launch_frames(self, plan: Plan, payload: Any, size: Any, live: Any, code: Any, used_bytes: int, groups: int) -> None:
        """zstd frames to planes. Literals lie in `code` on the way: whatever is there is written anew behind it."""
        n, cap = payload.shape
        starts, framing, planes = (plan.scratch[k] if plan.scratch else None for k in ("starts", "framing", "planes"))
        row, most = self.scratch(payload, size, None, live)[0].shape[1], used_bytes // (8 * np.dtype(self.dtype).itemsize)
        count = [np.uint32(k) for k in (live is not None, self.kind == numba_zstd.BITSHUFFLE, n, groups, most, self.layout.nbytes, used_bytes, row, cap)]
        args = (payload, size, starts, framing, code, planes, code if live is None else live, *count)
        plan.launch("compress/zstd_decode.cl", "zstd_frames", (n * groups,), 32, args)


@dataclass(frozen=True, eq=False)
class ShuffleZstdDecode(ZstdDecode):
    """code[f] = the frame whose chunk of HDF5 filters 2 and 32015 (byte shuffle, then zstd) is payload[f, :size[f]].

    The chunk is one zstd frame, whoever wrote it, with nothing before or behind it; zstd_decode.py says what is taken and what is refused. Nothing is
    read beyond size and nothing written beyond the frame, whatever the bytes say. A checksum, if there is one, is verified on every backend.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes)
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where anything in the chunk is wrong
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once. On a device one warp decodes a frame, block after block
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: HDF5's shuffle filter, the registered filter 32015; RFC 8878
    """

    name: ClassVar[str] = "compress.shuffle_zstd_decode"

    def inverse(self) -> Op:
        from .shuffle_zstd import ShuffleZstd

        return ShuffleZstd(self.shape, self.dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        try:
            planes = np.frombuffer(frame_content(chunk, self.layout.nbytes), np.uint8)
        except DecodeError:
            return bytes(self.layout.nbytes), False
        return planes.reshape(np.dtype(self.dtype).itemsize, -1).T.tobytes(), True

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, npix, itemsize = payload.shape[0], self.layout.nbytes // np.dtype(self.dtype).itemsize, np.dtype(self.dtype).itemsize
        tiles = -(-npix // 1024)
        self.launch_frames(plan, payload, size, live, code, self.layout.nbytes, 1)
        planes, starts = (plan.scratch[k] if plan.scratch else None for k in ("planes", "starts"))
        before, have_live = (new_status if a is None else a for a in (frame_status, live))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, tiles, npix, self.scratch(payload, size, None, live)[0].shape[1])]
        args = (planes, starts, before, new_status, code, have_live, *count)
        defines = {"SIZE": itemsize, "STATUS": frame_status is not None, "LIVE": live is not None}
        plan.launch("compress/shuffle_zstd_decode.cl", "join_planes", (n * tiles,), 128, args, **defines)


def first_errors(payload: np.ndarray, size: np.ndarray, itemsize: int, kind: Any, raw: np.ndarray, planes: np.ndarray, spans: int) -> np.ndarray:
    """Fill raw (n, bytes); for each frame (error, block, place): the first error, 0 = none. kind: of all chunks, or of each."""
    found, kinds = np.zeros((len(raw), spans, 3), np.int64), np.broadcast_to(np.int64(kind), (len(raw),)).copy()
    numba_zstd.decode_frames(read_only(payload), size.astype(np.int64), itemsize, kinds, raw, planes, spans, found)
    return found[np.arange(len(raw)), (found[:, :, 0] != 0).argmax(axis=1)]


def decoded_chunk(what: str, kind: int, chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame of one chunk. Raises gpuredux.DecodeError that says what is wrong and where."""
    layout = frame_layout("compress.decode_chunk", tuple(shape), np.dtype(dtype))
    payload = np.frombuffer(chunk, np.uint8).reshape(1, -1)
    raw, planes = np.empty((1, layout.nbytes), np.uint8), np.empty((1, layout.nbytes + numba_zstd.MARGIN), np.uint8)
    error, block, place = first_errors(payload, np.array([payload.size]), np.dtype(dtype).itemsize, kind, raw, planes, 1)[0]
    if error:
        at = f"block {block}, byte {place} of the chunk" if kind == numba_zstd.BITSHUFFLE else f"byte {place} of the chunk"
        raise DecodeError(f"{what} chunk of {payload.size} bytes for {np.dtype(dtype)} {tuple(shape)}: {numba_zstd.REASONS[int(error)]} ({at})")
    return raw.view(np.dtype(dtype)).reshape(shape)


def decode_shuffle_zstd(chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame of one chunk of filters 2 and 32015 (byte shuffle, zstd). Raises gpuredux.DecodeError that says what is wrong and where."""
    return decoded_chunk("shuffle-zstd", numba_zstd.SHUFFLE, chunk, shape, dtype)
