"""frame = its chunk of bytes as they are, byte-shuffled or bit-shuffled, compressed by nothing (no HDF5 filter; 2; 32008 without LZ4 or zstd)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit, prange

from ..op import Op, Plan, live_rows
from . import inflate_numba as bytes_apart
from . import lz4_numba as bits_apart
from .bitshuffle_lz4 import Layout, frame_layout
from .bitshuffle_lz4_decode import elements
from .chunk_decoder import ChunkDecoder
from .shuffle_deflate_decode import unshuffled

ORDERS = ("raw", "shuffle", "bitshuffle")


@dataclass(frozen=True, eq=False)
class PlainDecode(ChunkDecoder):
    """code[f] = the bytes payload[f, :size[f]] in the order of elements again: they came raw, byte 0 of all elements first, or bit 0 of all first.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes); order "raw", "shuffle" or "bitshuffle"; block: with "bitshuffle", bytes that
            were shuffled at a time, a multiple of 8 elements, None = 8192. The last block is cut to such a multiple; what is left lies raw behind it
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: all zero where size is not that of a frame
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where size is not that of a frame
    exact: bit-identical on every backend
    traffic: the raw bytes twice, the sizes and the status
    source: the HDF5 shuffle filter; the bitshuffle HDF5 filter (registered filter 32008)
    """

    name: ClassVar[str] = "compress.plain_decode"

    order: str = "raw"
    block: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("order", *ORDERS)
        unit = 8 * np.dtype(self.dtype).itemsize
        if self.block is not None:
            object.__setattr__(self, "block", self.number("block", whole=True))
            if self.order != "bitshuffle" or not unit <= self.block < 1 << 31 or self.block % unit:
                raise ValueError(f"{self.name}: block belongs to 'bitshuffle' and must be a multiple of {unit} bytes, got {self.block} and {self.order!r}")

    @property
    def block_bytes(self) -> int:
        return self.block or bits_apart.BLOCK

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        layout, kind = self.layout, np.dtype(self.dtype)
        if len(chunk) != layout.nbytes:
            return bytes(layout.nbytes), False
        if self.order == "shuffle":
            return unshuffled(chunk, self.shape, kind).tobytes(), True
        if self.order == "raw":
            return chunk, True
        starts = range(0, layout.usable, self.block_bytes)
        blocks = [elements(chunk[k : min(k + self.block_bytes, layout.usable)], kind.itemsize) for k in starts]
        return b"".join(blocks) + chunk[layout.usable :], True

    def traffic(self, payload: Any, size: Any, frame_status: Any, live: Any) -> int:
        return super().traffic(payload, size, frame_status, live) + min(payload.shape[1], self.layout.nbytes) * payload.shape[0]

    def inverse(self) -> Op:
        raise TypeError(f"{self.name} has no inverse: nothing writes chunks that nothing has compressed")

    def numba(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n = live_rows(payload, live)
        if n == 0:
            return
        raw, errors = code.reshape(len(code), -1).view(np.uint8), np.zeros(n, np.int64)
        order, itemsize = ORDERS.index(self.order), np.dtype(self.dtype).itemsize
        plain_frames(payload[:n], size[:n].astype(np.int64), itemsize, order, self.block_bytes, raw[:n], errors)
        self.mark(n, errors, frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        layout, (n, cap), itemsize = self.layout, payload.shape, np.dtype(self.dtype).itemsize
        npix = layout.nbytes // itemsize
        tiles = -(-npix // 1024)
        if n * tiles >= 1 << 31:
            raise ValueError(f"{self.name}: {n} frames of {npix} pixels are more than one launch holds; plan for fewer frames")
        before, have_live = (new_status if a is None else a for a in (frame_status, live))      # stand in where the kernels never look
        count = [np.uint32(k) for k in (n, tiles, npix, cap, self.block_bytes // (8 * itemsize))]
        defines = {"SIZE": itemsize, "ORDER": ORDERS.index(self.order), "STATUS": frame_status is not None, "LIVE": live is not None}
        plan.launch("compress/plain_decode.cl", "plain", (n * tiles,), 128, (payload, size, before, new_status, code, have_live, *count), **defines)


@njit(cache=True, nogil=True, error_model="numpy")
def _plain_frame(p, size, itemsize, order, block, raw):
    """raw = one frame; whether its size is not that."""
    total = raw.shape[0]
    if size != total or size > p.shape[0]:
        raw[:] = 0
        return 1
    if order == 0:
        bits_apart.copy_bytes(raw, 0, p, 0, total)
    elif order == 1:
        bytes_apart.unshuffle(p, raw, itemsize)
    else:
        usable = total // (8 * itemsize) * (8 * itemsize)
        planes, spare = np.zeros(min(block, usable) + 16, np.uint8), np.zeros((2, 512), np.uint8)
        for at in range(0, usable, block):
            many = min(block, usable - at)
            bits_apart.copy_bytes(planes, 0, p, at, many)      # 8 bytes behind a block are read
            bits_apart.unshuffle(planes, 0, many, itemsize, raw, at, spare)
        bits_apart.copy_bytes(raw, usable, p, usable, total - usable)
    return 0


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def plain_frames(payload, sizes, itemsize, order, block, raw, errors):
    """Fill raw (n, bytes) u8; errors: 1 where a size is not that of a frame."""
    for f in prange(len(raw)):
        errors[f] = _plain_frame(payload[f], sizes[f], itemsize, order, block, raw[f])
