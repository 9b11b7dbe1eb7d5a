"""Codecs of numcodecs: encoded bytes are the standard chunks of the operations, of one chunk as one frame. Over 200 lines: a class for each codec.

A decoder must know dtype and shape of a chunk, and its bytes do not say them: they travel in the configuration, {"id": "gpuredux_...", "dtype": "uint16",
"shape": [16, 512, 1024], ...}; of a Zarr array they are its dtype and its chunks. Decoding gives the values in the order in which they lay in memory, one
axis, as numcodecs does. What numcodecs itself decodes without this package: gpuredux_shuffle_zstd by Shuffle and Zstd, gpuredux_shuffle_deflate by Shuffle
and Zlib, gpuredux_blosc_bitshuffle_lz4 by Blosc; the others are chunks of HDF5's filters (32008, 32013), or say here what they are.

numcodecs imports this file by its entry points; nothing else of gpuredux does. Codecs run on the CPU, by numba.
"""

from __future__ import annotations

import math
import struct
from typing import Any, ClassVar

import numcodecs
import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_contiguous_ndarray

from ..op import DecodeError, Op
from ..status import Frame
from .auto import Auto
from .bitshuffle import Bitshuffle
from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import decode_chunk
from .bitshuffle_zstd import BitshuffleZstd
from .bitshuffle_zstd_decode import decode_bitshuffle_zstd
from .blosc_bitshuffle_lz4 import BloscBitshuffleLZ4
from .blosc_decode import decode_blosc
from .dequantize import CODES
from .quantize import Quantize
from .shuffle_deflate import ShuffleDeflate
from .shuffle_deflate_decode import inflate_chunk
from .shuffle_zstd import ShuffleZstd
from .shuffle_zstd_decode import decode_shuffle_zstd
from .zfp import Zfp
from .zfp_decode import decode_zfp

HEAD = 16        # bytes in front of a quantised chunk


class ChunkCodec(Codec):  # type: ignore[misc]
    """buffer <-> the chunk of one frame. fields: dtype, shape of a chunk, and those of the operation, which checks them."""

    operation: ClassVar[type[Op]]

    def __init__(self, dtype: Any, shape: Any, **fields: Any) -> None:
        if dtype is None:       # NumPy's None is float64
            raise TypeError(f"{self.codec_id}: the dtype must be given, got None")
        kind = np.dtype(dtype)
        if not kind.isnative:
            raise TypeError(f"{self.codec_id}: the dtype must be of this machine's byte order, got {kind.str}")
        self.dtype, self.shape, self._fields = kind.name, tuple(int(k) for k in shape), fields
        self._encoder = self.make()

    def make(self) -> Op:
        """The encoder. Raises TypeError or ValueError for a chunk that it cannot hold."""
        return self.operation(shape=self.frame_shape, dtype=self.dtype, **self._fields)     # type: ignore[call-arg]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def get_config(self) -> dict[str, Any]:
        return {"id": self.codec_id, "dtype": self.dtype, "shape": list(self.shape), **self._fields}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items() if k != 'id')})"

    def encode(self, buf: Any) -> bytes:
        """buf: an array of this dtype and shape, in either order, or as one axis; or as many bytes."""
        return self.write(self.frame_of(buf))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The values, one axis; or out, filled. Raises gpuredux.DecodeError for bytes that are not a chunk of this dtype and shape."""
        values = self.read(ensure_bytes(buf)).reshape(-1)
        if out is None:
            return values
        target = ensure_contiguous_ndarray(out)
        if target.nbytes != values.nbytes or not target.flags.writeable:
            state = "that can be written" if target.flags.writeable else "that can be written, and this one cannot"
            raise ValueError(f"{self.codec_id}: out must be {values.nbytes} bytes {state}, got {target.nbytes}")
        target.view(np.uint8)[...] = values.view(np.uint8)
        return out

    def frame_of(self, buf: Any) -> np.ndarray:
        """The buffer as a frame; it is copied only where it does not lie at a multiple of its items."""
        flat, kind = ensure_contiguous_ndarray(buf), np.dtype(self.dtype)
        given = getattr(buf, "shape", None) or flat.shape
        if flat.dtype != kind and not (flat.dtype.itemsize == 1 and flat.dtype.kind in "uiSV"):
            raise TypeError(f"{self.codec_id}: the buffer must hold {kind} or bytes, got {flat.dtype}")
        if flat.nbytes != self.nbytes or (len(given) > 1 and tuple(given) != self.shape):
            got = f"{flat.dtype} {tuple(given)}, {flat.nbytes} bytes"
            raise ValueError(f"{self.codec_id}: the buffer must be {kind} {self.shape}, {self.nbytes} bytes, got {got}")
        return np.require(flat.view(kind), requirements="A").reshape(self.frame_shape)

    def write(self, frame: np.ndarray) -> bytes:
        payload, size, *_ = self._encoder(frame[None])
        return bytes(payload[0, : size[0]].tobytes())

    def read(self, chunk: bytes) -> np.ndarray:
        raise NotImplementedError


class BitshuffleCodec(ChunkCodec):
    """The chunk of HDF5 filter 32008 without compression. fields: block, elements of a block, 0 = 8 KiB of them."""

    codec_id = "gpuredux_bitshuffle"
    operation = Bitshuffle

    def read(self, chunk: bytes) -> np.ndarray:
        row = np.frombuffer(chunk, np.uint8).reshape(1, -1)
        code, status = self._encoder.inverse()(row, np.array([row.size], np.uint32))
        if status[0]:
            raise DecodeError(f"bitshuffle chunk of {len(chunk)} bytes for {self.dtype} {self.shape}: it must have {self.nbytes}")
        return np.asarray(code[0])


class BitshuffleLZ4Codec(ChunkCodec):
    """The chunk of HDF5 filter 32008 with LZ4; decodes anybody's."""

    codec_id = "gpuredux_bitshuffle_lz4"
    operation = BitshuffleLZ4

    def read(self, chunk: bytes) -> np.ndarray:
        return decode_chunk(chunk, self.shape, self.dtype)


class BitshuffleZstdCodec(ChunkCodec):
    """The chunk of HDF5 filter 32008 with zstd; decodes anybody's."""

    codec_id = "gpuredux_bitshuffle_zstd"
    operation = BitshuffleZstd

    def read(self, chunk: bytes) -> np.ndarray:
        return decode_bitshuffle_zstd(chunk, self.shape, self.dtype)


class ShuffleZstdCodec(ChunkCodec):
    """One zstd frame of the shuffled bytes: HDF5 filters 2 and 32015, numcodecs' Shuffle and Zstd; decodes anybody's."""

    codec_id = "gpuredux_shuffle_zstd"
    operation = ShuffleZstd

    def read(self, chunk: bytes) -> np.ndarray:
        return decode_shuffle_zstd(chunk, self.shape, self.dtype)


class ShuffleDeflateCodec(ChunkCodec):
    """One zlib stream of the shuffled bytes: HDF5 filters 2 and 1, numcodecs' Shuffle and Zlib; decodes anybody's."""

    codec_id = "gpuredux_shuffle_deflate"
    operation = ShuffleDeflate

    def read(self, chunk: bytes) -> np.ndarray:
        return inflate_chunk(chunk, self.shape, self.dtype)


class BloscCodec(ChunkCodec):
    """The blosc 1 chunk (bitshuffle, LZ4): HDF5 filter 32001, numcodecs' Blosc; decodes anybody's of LZ4."""

    codec_id = "gpuredux_blosc_bitshuffle_lz4"
    operation = BloscBitshuffleLZ4

    def read(self, chunk: bytes) -> np.ndarray:
        return decode_blosc(chunk, self.shape, self.dtype)


class AutoCodec(ChunkCodec):
    """The smaller one of shuffle + zstd and bitshuffle + zstd (or what profile says). fields: profile.

    bytes: HDF5's mask of the filters that were not applied (u32, little-endian), and the chunk."""

    codec_id = "gpuredux_auto"
    operation = Auto

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

    codec_id = "gpuredux_zfp"
    operation = Zfp

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


class QuantizeCodec(ChunkCodec):
    """float32 within a bound that holds for every value: Quantize, then a lossless codec. NaN, Inf and what no code fits come back bit by bit.

    fields: abs or rel; code, int16 (default), uint16 or int32; codec: the configuration of the codec for the codes, any of numcodecs'; one of these here is
            given without dtype and shape
    bytes, little-endian: b"GRQ1"; u32 outliers; f32 the largest error made [abs: of the values; rel: of their share]; u32 bytes of the codes' chunk; that
            chunk; the outliers' flat indices, ascending, u32; their values, f32"""

    codec_id = "gpuredux_quantize"
    operation = Quantize

    def make(self) -> Op:
        if self.dtype != "float32":
            raise TypeError(f"{self.codec_id}: the dtype must be float32, got {self.dtype}")
        if math.prod(self.shape) >= 1 << 31:
            raise ValueError(f"{self.codec_id}: {self.shape} are more values than 2**31 - 1")
        self._fields = {"code": "int16", "codec": {"id": ShuffleZstdCodec.codec_id}, **self._fields}
        inner = dict(self._fields["codec"])
        own = any(c.codec_id == inner.get("id") for c in CODECS)
        self._inner = numcodecs.get_codec({**inner, **({"dtype": self._fields["code"], "shape": self.shape} if own else {})})
        return self._quantize(1024)

    def _quantize(self, capacity: int) -> Quantize:
        return Quantize(capacity=capacity, **{k: v for k, v in self._fields.items() if k != "codec"})

    def encode(self, buf: Any) -> bytes:
        frame = self.frame_of(buf)[None]
        out = self._encoder(frame)
        if out.outlier_count[0] > 1024:
            out = self._quantize(int(out.outlier_count[0]))(frame)
        count, chunk = int(out.outlier_count[0]), ensure_bytes(self._inner.encode(out.code[0]))
        head = struct.pack("<4sIfI", b"GRQ1", count, float(out.max_error[0]), len(chunk))
        return head + chunk + out.outlier_index[0, :count].astype("<u4").tobytes() + out.outlier_value[0, :count].astype("<f4").tobytes()

    def read(self, chunk: bytes) -> np.ndarray:
        kind, npix = CODES[self._fields["code"]], math.prod(self.shape)
        magic, count, _, size = struct.unpack_from("<4sIfI", chunk) if len(chunk) >= HEAD else (b"", 0, 0, 0)
        if magic != b"GRQ1" or count > npix or HEAD + size + 8 * count != len(chunk):
            raise DecodeError(f"quantised chunk of {len(chunk)} bytes for {self.shape}: its first {HEAD} bytes do not fit the rest")
        try:
            values = ensure_contiguous_ndarray(self._inner.decode(chunk[HEAD : HEAD + size]))
        except Exception as e:      # each codec of numcodecs has its own: RuntimeError, zlib.error, OSError, ...
            raise DecodeError(f"quantised chunk for {self.shape}: its codes do not decode: {e}") from e
        if values.nbytes != npix * kind.dtype.itemsize:
            raise DecodeError(f"quantised chunk for {self.shape}: its codes are {values.nbytes} bytes, and {npix * kind.dtype.itemsize} are wanted")
        code = np.require(values.reshape(-1).view(kind.dtype), requirements="A")
        index, value = (np.frombuffer(chunk, d, count, HEAD + size + k * 4 * count).astype(d[1:]) for k, d in enumerate(("<u4", "<f4")))
        if not np.array_equal(np.flatnonzero(code == kind.fill), index) or (code == kind.masked).any():
            raise DecodeError(f"quantised chunk for {self.shape}: the {count} outliers are not where its codes say")
        inverse = self._encoder.inverse()
        return np.asarray(inverse(code.reshape(1, -1), index.reshape(1, -1), value.reshape(1, -1), np.array([count], np.uint32)))


CODECS: tuple[type[ChunkCodec], ...] = (
    BitshuffleCodec, BitshuffleLZ4Codec, BitshuffleZstdCodec, ShuffleZstdCodec, ShuffleDeflateCodec, BloscCodec, AutoCodec, ZfpCodec, QuantizeCodec,
)


def register() -> None:
    """What the entry points do, for a package that was not installed."""
    for codec in CODECS:
        numcodecs.register_codec(codec)
