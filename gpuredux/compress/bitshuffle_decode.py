"""frame = its HDF5 filter-32008 chunk without a codec: elements from the bit planes of every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, live_rows
from .bitshuffle import Bitshuffle, Layout, check_block, frame_layout
from .bitshuffle_lz4_decode import elements
from .bitshuffle_numba import join_frames
from .chunk_decoder import ChunkDecoder


@dataclass(frozen=True, eq=False)
class BitshuffleDecode(ChunkDecoder):
    """code[f] = the frame whose filter-32008 chunk (bitshuffle alone) is payload[f, :size[f]].

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes); block: elements of a block, as it was encoded with, 0 = 8 KiB of them
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where size is not the frame's bytes, or beyond cap; nothing else can be wrong
         frame_status (n,) u32, always: what was given or 0, with CORRUPT for such frames
    exact: bit-identical on every backend, for every input
    traffic: the raw bytes, the sizes and the status; payload is not counted, for it may be of any size
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008)
    """

    name: ClassVar[str] = "compress.bitshuffle_decode"

    block: int = 0

    def __post_init__(self) -> None:
        check_block(self)
        super().__post_init__()

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype, self.block)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        layout, itemsize = self.layout, np.dtype(self.dtype).itemsize
        if len(chunk) != layout.nbytes:
            return bytes(layout.nbytes), False
        starts = range(0, layout.usable, layout.step)
        return b"".join(elements(chunk[k : min(k + layout.step, layout.usable)], itemsize) for k in starts) + chunk[layout.usable :], True

    def inverse(self) -> Op:
        return Bitshuffle(self.shape, self.dtype, self.block)

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, layout = live_rows(payload, live), self.layout
        if n:
            raw = code.reshape(len(code), -1).view(np.uint8)
            spans = layout.spans(n, numba.get_num_threads())
            join_frames(payload[:n], size[:n], np.dtype(self.dtype).itemsize, layout.step, raw[:n], spans)
            self.mark(n, (size[:n] != layout.nbytes) | (size[:n] > payload.shape[1]), frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap) = self.layout, payload.shape
        have_live, before = (new_status if a is None else a for a in (live, frame_status))      # stand in where the kernel never looks
        count = [np.uint32(k) for k in (n, layout.parts, layout.nbytes, cap, layout.step)]
        defines = {"SIZE": np.dtype(self.dtype).itemsize, "ALIGN": layout.align, "LIVE": live is not None, "STATUS": frame_status is not None}
        plan.launch("compress/bitshuffle_decode.cl", "join_bits", (n * layout.parts,), 128, (payload, size, before, new_status, code, have_live, *count),
                    **defines)
