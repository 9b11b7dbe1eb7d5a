"""Codecs of numcodecs: encoded bytes are the standard chunks of the operations, of one chunk as one frame.

A decoder must know dtype and shape of a chunk, and its bytes do not say them: they travel in the configuration, {"id": "gpuredux_...", "dtype": "uint16",
"shape": [16, 512, 1024], ...}; of a Zarr array they are its dtype and its chunks. Decoding gives the values in the order in which they lay in memory, one
axis, as numcodecs does. What numcodecs itself decodes without this package: gpuredux_shuffle_zstd by Shuffle and Zstd, gpuredux_shuffle_deflate by Shuffle
and Zlib, gpuredux_blosc_bitshuffle_lz4 by Blosc; the others are chunks of HDF5's filters (32008, 32013), or say here, or in numcodecs_codes.py, what they are.

numcodecs imports this file by its entry points; nothing else of gpuredux does. Codecs run on the CPU, by numba.
"""

from __future__ import annotations

import struct

import numcodecs
import numpy as np

from ..op import DecodeError
from ..status import Frame
from .auto import Auto
from .bitshuffle import Bitshuffle
from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import decode_chunk
from .bitshuffle_zstd import BitshuffleZstd
from .bitshuffle_zstd_decode import decode_bitshuffle_zstd
from .blosc_bitshuffle_lz4 import BloscBitshuffleLZ4
from .blosc_decode import decode_blosc
from .numcodecs_chunk import ChunkCodec, blocks_of
from .numcodecs_codes import PreconditionCodec, QuantizeCodec, QuantizeCountsCodec, ReversibleWaveletCodec, WaveletCodec
from .shuffle_deflate import ShuffleDeflate
from .shuffle_deflate_decode import inflate_chunk
from .shuffle_zstd import ShuffleZstd
from .shuffle_zstd_decode import decode_shuffle_zstd
from .zfp import Zfp
from .zfp_decode import decode_zfp


class BitshuffleCodec(ChunkCodec):
    """The chunk of HDF5 filter 32008 without compression. fields: block, elements of a block, 0 = 8 KiB of them."""

    codec_id, operation = "gpuredux_bitshuffle", Bitshuffle
    takes = ("block",)

    def read(self, chunk: bytes) -> np.ndarray:
        row = np.frombuffer(chunk, np.uint8).reshape(1, -1)
        code, status = self._encoder.inverse()(row, np.array([row.size], np.uint32))
        if status[0]:
            raise DecodeError(f"bitshuffle chunk of {len(chunk)} bytes for {self.dtype} {self.shape}: it must have {self.nbytes}")
        return np.asarray(code[0])


class BlocksCodec(ChunkCodec):
    """A chunk of blocks whose sizes lead from one to the next."""

    def read_rows(self, chunk: bytes, first: int, last: int) -> np.ndarray | None:
        row = self.nbytes // self.shape[0]
        found = blocks_of(chunk, self.nbytes, size := np.dtype(self.dtype).itemsize, first * row, last * row)
        if found is None:
            return None
        part, begin, end = found
        values = type(self).words(part, ((end - begin) // size,), self.dtype)[(first * row - begin) // size : (last * row - begin) // size]
        return np.asarray(values.reshape(last - first, *self.shape[1:]))


class BitshuffleLZ4Codec(BlocksCodec):
    """The chunk of HDF5 filter 32008 with LZ4; decodes anybody's."""

    codec_id, operation, words = "gpuredux_bitshuffle_lz4", BitshuffleLZ4, staticmethod(decode_chunk)


class BitshuffleZstdCodec(BlocksCodec):
    """The chunk of HDF5 filter 32008 with zstd; decodes anybody's."""

    codec_id, operation, words = "gpuredux_bitshuffle_zstd", BitshuffleZstd, staticmethod(decode_bitshuffle_zstd)


class ShuffleZstdCodec(ChunkCodec):
    """One zstd frame of the shuffled bytes: HDF5 filters 2 and 32015, numcodecs' Shuffle and Zstd; decodes anybody's."""

    codec_id, operation, words = "gpuredux_shuffle_zstd", ShuffleZstd, staticmethod(decode_shuffle_zstd)


class ShuffleDeflateCodec(ChunkCodec):
    """One zlib stream of the shuffled bytes: HDF5 filters 2 and 1, numcodecs' Shuffle and Zlib; decodes anybody's."""

    codec_id, operation, words = "gpuredux_shuffle_deflate", ShuffleDeflate, staticmethod(inflate_chunk)


class BloscCodec(ChunkCodec):
    """The blosc 1 chunk (bitshuffle, LZ4): HDF5 filter 32001, numcodecs' Blosc; decodes anybody's of LZ4."""

    codec_id, operation, words = "gpuredux_blosc_bitshuffle_lz4", BloscBitshuffleLZ4, staticmethod(decode_blosc)

    def read_rows(self, chunk: bytes, first: int, last: int) -> np.ndarray | None:
        return decode_blosc(chunk, self.shape, self.dtype, (first, last))


class AutoCodec(ChunkCodec):
    """The smaller one of shuffle + zstd and bitshuffle + zstd (or what profile says). fields: profile.

    bytes: HDF5's mask of the filters that were not applied (u32, little-endian), and the chunk."""

    codec_id, operation = "gpuredux_auto", Auto
    takes = ("profile",)

    def write(self, frame: np.ndarray) -> bytes:
        out = self._encoder(frame[None])
        return struct.pack("<I", out.filter_mask[0]) + bytes(out.payload[0, : out.size[0]].tobytes())

    def read(self, chunk: bytes) -> np.ndarray:
        mask, row = np.array([int.from_bytes(chunk[:4], "little")], np.uint32), np.frombuffer(chunk[4:], np.uint8).reshape(1, -1)
        code, status = self._encoder.inverse()(row, np.array([row.size], np.uint32), mask)
        if status[0]:
            raise DecodeError(f"chunk of {len(chunk)} bytes for {self.dtype} {self.shape}: no mask and chunk of the profile that decode to that")
        return np.asarray(code[0])


class ZfpCodec(ChunkCodec):
    """The zfp stream without a header, axes of one value left out: HDF5 filter 32013. fields: one of tolerance, rate, precision.

    A chunk whose values break the tolerance (NaN, Inf, too large) is a ValueError when it is encoded. Zero bits fill it up to a multiple of 64."""

    codec_id, operation = "gpuredux_zfp", Zfp
    takes = ("tolerance", "rate", "precision")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return tuple(k for k in self.shape if k > 1) or (1,)

    def write(self, frame: np.ndarray) -> bytes:
        out = self._encoder(frame[None])
        if out.frame_status[0] & Frame.NOT_HELD:
            raise ValueError(f"{self.codec_id}: {self._fields} cannot be held for this chunk: NaN, Inf or values that are too large; take gpuredux_quantize")
        return bytes(out.payload[0, : out.size[0]].tobytes())

    def read(self, chunk: bytes) -> np.ndarray:
        if not chunk or len(chunk) % 8:
            raise DecodeError(f"zfp chunk of {len(chunk)} bytes for {self.dtype} {self.shape}: it must be words of 8 bytes")
        return decode_zfp(chunk, self.frame_shape, self.dtype, **self._fields)


CODECS: tuple[type[ChunkCodec], ...] = (
    BitshuffleCodec, BitshuffleLZ4Codec, BitshuffleZstdCodec, ShuffleZstdCodec, ShuffleDeflateCodec, BloscCodec, AutoCodec, ZfpCodec, QuantizeCodec,
    QuantizeCountsCodec, WaveletCodec, ReversibleWaveletCodec, PreconditionCodec,
)


def register() -> None:
    """What the entry points do, for a package that was not installed."""
    for codec in CODECS:
        numcodecs.register_codec(codec)
