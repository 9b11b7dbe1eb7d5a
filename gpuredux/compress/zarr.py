"""Codecs of Zarr version 3: an array's chunk <-> the bytes that the codec of numcodecs with the same name makes.

zarr.create_array(..., serializer=gpuredux.compress.zarr.BitshuffleZstd()): the array says dtype and shape of its chunks, so that the metadata hold only
{"name": "gpuredux_bitshuffle_zstd", "configuration": {...}} with the fields of the operation. Inside shards they are codecs like any other. In version 2, and
behind filters, take those of numcodecs.py as compressor=. zarr imports this file by its entry points; nothing else of gpuredux does.

Errors: an array whose dtype or chunks a codec cannot hold is a TypeError or ValueError when it is created or opened; a chunk that does not decode is
gpuredux.DecodeError when it is read. dtypes are in this machine's byte order.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.common import parse_named_configuration
from zarr.registry import register_codec

from . import numcodecs


@dataclass(frozen=True)
class ChunkCodec(ArrayBytesCodec):  # type: ignore[misc]
    """configuration: the fields of the operation, as JSON, so that codecs of the same configuration are equal."""

    codec: ClassVar[type[numcodecs.ChunkCodec]]
    is_fixed_size: ClassVar[bool] = False

    configuration: str

    def __init__(self, **fields: Any) -> None:
        object.__setattr__(self, "configuration", json.dumps(fields, sort_keys=True))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ChunkCodec:
        _, fields = parse_named_configuration(data, cls.codec.codec_id, require_configuration=False)
        return cls(**(fields or {}))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.codec.codec_id, "configuration": json.loads(self.configuration)}

    def of(self, spec: Any) -> numcodecs.ChunkCodec:
        """The codec for chunks of this dtype and shape. Raises TypeError or ValueError for such as it cannot hold."""
        return self.codec(spec.dtype.to_native_dtype(), spec.shape, **json.loads(self.configuration))

    def evolve_from_array_spec(self, array_spec: Any) -> ChunkCodec:
        self.of(array_spec)     # an array that cannot be written is refused when it is made
        return self

    async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
        frame = np.ascontiguousarray(chunk_array.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(await asyncio.to_thread(self.of(chunk_spec).encode, frame))

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        values = await asyncio.to_thread(self.of(chunk_spec).decode, chunk_bytes.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values.reshape(chunk_spec.shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        raise NotImplementedError("the size depends on the values")


class Bitshuffle(ChunkCodec):
    """fields: block, elements of a block, a multiple of 8, 0 = 8 KiB of them. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleCodec


class BitshuffleLZ4(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleLZ4Codec


class BitshuffleZstd(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleZstdCodec


class ShuffleZstd(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.ShuffleZstdCodec


class ShuffleDeflate(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.ShuffleDeflateCodec


class BloscBitshuffleLZ4(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes; chunks below 2 GiB."""

    codec = numcodecs.BloscCodec


class Auto(ChunkCodec):
    """fields: profile. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.AutoCodec


class Zfp(ChunkCodec):
    """fields: one of tolerance (of floats alone), rate, precision. dtypes: float32, float64, int32, int64, of 1 to 3 axes of more than one value. Writing
    values whose tolerance cannot be held (NaN, Inf, too large) is a ValueError."""

    codec = numcodecs.ZfpCodec


class Quantize(ChunkCodec):
    """fields: abs or rel; code; codec, as those of numcodecs.py. dtypes: float32."""

    codec = numcodecs.QuantizeCodec


CODECS: tuple[type[ChunkCodec], ...] = (
    Bitshuffle, BitshuffleLZ4, BitshuffleZstd, ShuffleZstd, ShuffleDeflate, BloscBitshuffleLZ4, Auto, Zfp, Quantize,
)


def register() -> None:
    """What the entry points do, for a package that was not installed."""
    for codec in CODECS:
        register_codec(str(codec.codec.codec_id), codec)
