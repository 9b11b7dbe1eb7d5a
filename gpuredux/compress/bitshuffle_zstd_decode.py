"""frame = its HDF5 filter-32008 chunk with zstd, anybody's, decoded with every length checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import DecodeError, Op, Plan
from . import zstd_decode_numba as numba_zstd
from .bitshuffle_lz4_decode import frame_of
from .shuffle_zstd_decode import ZstdDecode, decoded_chunk
from .zstd_decode import frame_content


@dataclass(frozen=True, eq=False)
class BitshuffleZstdDecode(ZstdDecode):
    """code[f] = the frame whose filter-32008 chunk (bitshuffle + zstd) is payload[f, :size[f]].

    Any block size of 8 elements or more (a multiple of 8); each block is one zstd frame, whoever wrote it, of exactly the block's raw bytes;
    zstd_decode.py says what is taken and what is refused. Nothing is read beyond size and nothing written beyond the frame, whatever the bytes say.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes)
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: a block whose zstd frame is wrong is all zero, and so is whatever follows a broken framing (raw size, block size,
         block length, tail)
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong, bytes left over included
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once and block positions. On a device one warp decodes a block
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008); RFC 8878
    """

    name: ClassVar[str] = "compress.bitshuffle_zstd_decode"
    kind: ClassVar[int] = numba_zstd.BITSHUFFLE

    def inverse(self) -> Op:
        from .bitshuffle_zstd import BitshuffleZstd

        return BitshuffleZstd(self.shape, self.dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        return frame_of(chunk, self.layout, np.dtype(self.dtype).itemsize, content_or_none)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap), itemsize = self.layout, payload.shape, np.dtype(self.dtype).itemsize
        groups, units = max(layout.blocks, 1), layout.usable // (8 * itemsize)      # one group for each block of 8 KiB; smaller blocks share them
        tiles = max(-(-units // 128), 1)
        starts, framing, planes = (plan.scratch[k] if plan.scratch else None for k in ("starts", "framing", "planes"))
        before, have_live = (new_status if a is None else a for a in (frame_status, live))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, groups, layout.nbytes, cap)]
        args = (payload, size, starts, framing, before, new_status, code, have_live, *count)
        defines = {"SIZE": itemsize, "LIVE": live is not None}
        walk = {"STATUS": frame_status is not None, "LARGE": False, "ALIGN": layout.align}
        plan.launch("compress/bitshuffle_lz4_decode.cl", "lz4_walk", (n,), 32, args, **defines, **walk)
        if units:
            self.launch_frames(plan, payload, size, live, code, layout.usable, groups)
            count = [np.uint32(k) for k in (n, tiles, units, layout.nbytes // itemsize, self.scratch(payload, size, None, live)[0].shape[1])]
            args = (planes, starts, framing, new_status, code, have_live, *count)
            plan.launch("compress/bitshuffle_zstd_decode.cl", "join_bits", (n * tiles,), 128, args, **defines)


def content_or_none(frame: bytes, raw_bytes: int) -> bytes | None:
    """What a zstd frame holds, None if it is not right."""
    try:
        return frame_content(frame, raw_bytes)
    except DecodeError:
        return None


def decode_bitshuffle_zstd(chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The frame of one filter-32008 chunk (bitshuffle + zstd). Raises gpuredux.DecodeError that says what is wrong and where."""
    return decoded_chunk("bitshuffle-zstd", numba_zstd.BITSHUFFLE, chunk, shape, dtype)
