"""chunk = header, then for every 128 KiB of a frame the zstd frame of its bit planes (HDF5 filter 32008 with zstd)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..op import Op
from .bitshuffle_lz4 import bit_planes
from .chunk_encoder import Filter
from .shuffle_zstd import ZstdEncoder
from .zstd_encode import REGION, blocks_of, frame_header


@dataclass(frozen=True, eq=False)
class BitshuffleZstd(ZstdEncoder):
    """payload[f, :size[f]] = the HDF5 filter-32008 chunk (bitshuffle + zstd, 128 KiB blocks) of frame f.

    The frame's bytes and 128 KiB as big-endian u64 and u32; for each 128 KiB, the last ones cut to a multiple of 8 elements, the bytes of a zstd frame
    (big-endian u32) and that frame, of the bit planes; the last elements, fewer than 8, as they are. A zstd frame has its content size, no checksum, and
    one region made as zstd_encode.py states, with matches of 8 bytes and more at two distances: 1 and the size of a plane. It fixes every byte.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not changed; cap is the worst case (raw blocks), a multiple of 16
         size (n,) u32 [bytes]
    exact: byte-identical on every backend. Scratch: 3.4 times the raw batch on a device, a little more than it on a CPU
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008); RFC 8878
    """

    name: ClassVar[str] = "compress.bitshuffle_zstd"
    planes: ClassVar[bool] = True
    least: ClassVar[int] = 8

    def chunk_of(self, frame: np.ndarray) -> bytes:
        return bitshuffle_zstd_chunk(frame)

    def decoder(self) -> type[Op]:
        from .bitshuffle_zstd_decode import BitshuffleZstdDecode

        return BitshuffleZstdDecode

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """The filter itself puts three values in front: its version and the item size."""
        return (Filter(32008, (REGION // itemsize, 3, 1)),)


def bitshuffle_zstd_chunk(frame: np.ndarray) -> bytes:
    """The whole chunk of one frame."""
    x, size = frame.reshape(-1), frame.itemsize
    usable, step = len(x) // 8 * 8, REGION // size
    chunk = bytearray(frame.nbytes.to_bytes(8, "big") + REGION.to_bytes(4, "big"))
    for start in range(0, usable, step):
        planes = bit_planes(x[start : min(start + step, usable)])
        zstd = frame_header(len(planes)) + blocks_of(planes, (1, len(planes) // (8 * size)), 8, True)
        chunk += len(zstd).to_bytes(4, "big") + zstd
    return bytes(chunk) + x[usable:].tobytes()
