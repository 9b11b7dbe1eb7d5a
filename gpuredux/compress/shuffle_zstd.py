"""chunk = the byte-shuffled frame as one zstd frame (HDF5 filters 2 and 32015); and what both encoders of zstd chunks share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, Spec, live_rows
from . import zstd_device
from .chunk_encoder import ChunkEncoder, Filter, fits
from .zstd_encode import REGION, UNIT, blocks_of, frame_header
from .zstd_encode_numba import SLOT, encode_frames, stages


@dataclass(frozen=True)
class Layout:
    """Of one frame: bytes, those of them that are compressed, regions, worst-case chunk, alignment of every frame's first byte (at most 16)."""

    nbytes: int
    usable: int
    regions: int
    cap: int
    align: int


@lru_cache(256)
def zstd_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any], planes: bool) -> Layout:
    """Raises TypeError or ValueError for frames that this filter cannot hold. planes: of bits, in frames of a region each.

    The largest chunk has a raw block for every unit."""
    if not fits(dtype):
        raise TypeError(f"{who}: the dtype must be native numbers of 1, 2, 4 or 8 bytes, got {dtype}")
    if len(frame) < 1 or min(frame) < 1:
        raise ValueError(f"{who}: frames must have pixels, got the frame shape {tuple(frame)}")
    total = math.prod(frame) * dtype.itemsize
    usable = total // (8 * dtype.itemsize) * 8 * dtype.itemsize if planes else total
    if total >= 1 << 32:
        raise ValueError(f"{who}: a frame of {total} bytes could need a chunk of 4 GiB or more; cut it into panels")
    headers = len(frame_header(total))
    if planes:
        headers = 12 + usable // REGION * (4 + len(frame_header(REGION))) + (4 + len(frame_header(usable % REGION)) if usable % REGION else 0)
    cap = -(-(headers + total + 3 * -(-usable // UNIT)) // 16) * 16
    if cap >= 1 << 32:
        raise ValueError(f"{who}: a frame of {total} bytes could need a chunk of 4 GiB or more; cut it into panels")
    return Layout(total, usable, -(-usable // REGION), cap, next(k for k in (16, 8, 4, 2, 1) if total % k == 0))


@dataclass(frozen=True, eq=False)
class ZstdEncoder(ChunkEncoder):
    """What the encoders of zstd chunks share."""

    planes: ClassVar[bool] = False          # of bits, each region a zstd frame; else of bytes, one zstd frame
    least: ClassVar[int] = 4                # bytes of a match

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return zstd_layout(self.name, frame, dtype, self.planes)

    def scratch(self, code: Any, live: Any) -> tuple[Spec, ...]:
        n, layout = code.shape[0], self.layout(code.shape[1:], np.dtype(code.dtype))
        return zstd_device.scratch(n, -(-layout.usable // UNIT), max(layout.regions, 1) * SLOT)

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        n, layout, threads = live_rows(code, live), self.layout(code.shape[1:], code.dtype), numba.get_num_threads()
        if n == 0:
            return
        spans = 1 if threads == 1 else max(1, min(layout.regions, 4 * threads // n))
        raw = code.reshape(len(code), -1).view(np.uint8)
        encode_frames(raw[:n], code.dtype.itemsize, int(self.planes), payload[:n], size[:n], plan.scratch["slots"][:n], spans, stages())

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        layout = self.layout(code.shape[1:], np.dtype(code.dtype))
        zstd_device.encode(plan, self.planes, layout.usable, layout.align, code, live, payload, size)


@dataclass(frozen=True, eq=False)
class ShuffleZstd(ZstdEncoder):
    """payload[f, :size[f]] = the chunk of frame f for the HDF5 filters 2 (byte shuffle) and 32015 (zstd).

    The frame's bytes, byte 0 of all elements first, are one zstd frame with its content size and without a checksum, made region by region as
    zstd_encode.py states, with matches of 4 bytes and more at distance 1. It fixes every byte.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not changed; cap is the worst case (raw blocks), a multiple of 16
         size (n,) u32 [bytes]
    exact: byte-identical on every backend. Scratch: 3.4 times the raw batch on a device, a little more than it on a CPU
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: HDF5's shuffle filter, the registered filter 32015; RFC 8878
    """

    name: ClassVar[str] = "compress.shuffle_zstd"

    def chunk_of(self, frame: np.ndarray) -> bytes:
        return shuffle_zstd_chunk(frame)

    def decoder(self) -> type[Op]:
        from .shuffle_zstd_decode import ShuffleZstdDecode

        return ShuffleZstdDecode

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """Filter 32015's value, its level, is of no use to a reader."""
        return Filter(2, ()), Filter(32015, (1,))


def shuffle_zstd_chunk(frame: np.ndarray) -> bytes:
    """The whole chunk of one frame."""
    shuffled = np.ascontiguousarray(frame.reshape(-1, 1).view(np.uint8).T).ravel()
    starts = range(0, len(shuffled), REGION)
    return frame_header(len(shuffled)) + b"".join(blocks_of(shuffled[k : k + REGION], (1,), 4, k == starts[-1]) for k in starts)
