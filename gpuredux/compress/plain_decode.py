"""frame = its chunk of bytes as they are, or byte-shuffled (HDF5 filter 2), compressed by nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Op, Plan, live_rows
from .bitshuffle_lz4 import Layout, frame_layout
from .chunk_decoder import ChunkDecoder
from .inflate_numba import unshuffle
from .lz4_numba import copy_bytes
from .shuffle_deflate_decode import unshuffled


@dataclass(frozen=True, eq=False)
class PlainDecode(ChunkDecoder):
    """code[f] = the elements whose bytes are payload[f, :size[f]], as they are or byte 0 of all elements first: what HDF5 stores where nothing shrinks.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes); shuffle: whether byte 0 of all elements comes first
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where size is not that of a frame
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where size is not that of a frame
    exact: bit-identical on every backend
    traffic: the raw bytes twice, the sizes and the status
    source: the HDF5 shuffle filter, and the filter masks of chunks that optional filters left as they were
    """

    name: ClassVar[str] = "compress.plain_decode"

    shuffle: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shuffle, bool):
            raise TypeError(f"{self.name}: shuffle must be True or False, got {self.shuffle!r}")

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        if len(chunk) != self.layout.nbytes:
            return bytes(self.layout.nbytes), False
        return unshuffled(chunk, self.shape, np.dtype(self.dtype)).tobytes() if self.shuffle else chunk, True

    def traffic(self, payload: Any, size: Any, frame_status: Any, live: Any) -> int:
        return super().traffic(payload, size, frame_status, live) + min(payload.shape[1], self.layout.nbytes) * payload.shape[0]

    def inverse(self) -> Op:
        raise TypeError(f"{self.name} has no inverse: nothing writes chunks that nothing has compressed")

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n = live_rows(payload, live)
        if n == 0:
            return
        raw, errors = code.reshape(len(code), -1).view(np.uint8), np.zeros(n, np.int64)
        itemsize = np.dtype(self.dtype).itemsize
        share(plain_frames, n, payload[:n], size[:n], itemsize if self.shuffle else 1, raw[:n], errors)
        self.mark(n, errors, frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap), itemsize = self.layout, payload.shape, np.dtype(self.dtype).itemsize
        npix = layout.nbytes // itemsize
        tiles = -(-npix // 1024)
        before, have_live = (new_status if a is None else a for a in (frame_status, live))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, tiles, npix, cap)]
        defines = {"SIZE": itemsize, "SHUFFLE": self.shuffle, "STATUS": frame_status is not None, "LIVE": live is not None}
        plan.launch("compress/plain_decode.cl", "plain", (n * tiles,), 128, (payload, size, before, new_status, code, have_live, *count), **defines)


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_frame(p, size, itemsize, raw):
    """raw = one frame; 1 if its size is not that."""
    if size != raw.shape[0] or size > p.shape[0]:
        raw[:] = 0
        return 1
    if itemsize == 1:
        copy_bytes(raw, 0, p, 0, raw.shape[0])
    else:
        unshuffle(p, raw, itemsize)
    return 0


@njit(cache=True, nogil=True, error_model="numpy")
def plain_frames(begin, end, payload, sizes, itemsize, raw, errors):
    """Fill raw (n, bytes) u8; errors: 1 where a size is not that of a frame. itemsize: 1 for bytes as they are."""
    for f in range(begin, end):
        errors[f] = _plain_frame(payload[f], np.int64(sizes[f]), itemsize, raw[f])
