"""Codecs of Zarr version 3: an array's chunk <-> the bytes that the codec of numcodecs with the same name makes.

zarr.create_array(..., serializer=gpuredux.compress.zarr.BitshuffleZstd()): the array says dtype and shape of its chunks, so that the metadata hold only
{"name": "gpuredux_bitshuffle_zstd", "configuration": {...}} with the fields of the operation. Inside shards they are codecs like any other. In version 2, and
behind filters, take those of numcodecs.py as compressor=. zarr imports this file by its entry points; nothing else of gpuredux does.

Errors: an array whose dtype or chunks a codec cannot hold is a TypeError or ValueError when it is created or opened; a chunk that does not decode is
gpuredux.DecodeError when it is read. dtypes are in this machine's byte order. Of a chunk of bitshuffle (LZ4, zstd) or blosc only the blocks are decoded
that hold the rows that are read (frames, where these are the first axis), if no compressors= or filters= stand around it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.core.common import parse_named_configuration
from zarr.registry import register_codec

from . import numcodecs
from .numcodecs_chunk import ChunkCodec as Chunks
from .numcodecs_chunk import as_json


@dataclass(frozen=True)
class ChunkCodec(ArrayBytesCodec):  # type: ignore[misc]
    """configuration: the fields of the operation, as JSON, so that codecs of the same configuration are equal."""

    codec: ClassVar[type[Chunks]]
    is_fixed_size: ClassVar[bool] = False

    configuration: str

    def __init__(self, **fields: Any) -> None:
        strange = [k for k in fields if k not in self.codec.takes]
        if strange:
            raise TypeError(f"{self.codec.codec_id}: the configuration takes {', '.join(self.codec.takes) or 'nothing'}, got {', '.join(strange)}")
        object.__setattr__(self, "configuration", json.dumps(as_json(fields), sort_keys=True))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ChunkCodec:
        _, fields = parse_named_configuration(data, cls.codec.codec_id, require_configuration=False)
        return cls(**(fields or {}))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.codec.codec_id, "configuration": json.loads(self.configuration)}

    def of(self, spec: Any) -> Chunks:
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


class RowsCodec(ChunkCodec, ArrayBytesCodecPartialDecodeMixin):  # type: ignore[misc]
    """Of chunks whose rows along the first axis are decoded without the others: what is not asked for is not looked at."""

    async def _decode_partial_single(self, byte_getter: Any, selection: Any, chunk_spec: Any) -> Any:
        chunk = await byte_getter.get(prototype=chunk_spec.prototype)
        if chunk is None:
            return None
        values = await asyncio.to_thread(self._selected, chunk.to_bytes(), selection, chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(np.asarray(values))

    def _selected(self, chunk: bytes, selection: Any, spec: Any) -> np.ndarray:
        one, wanted = self.of(spec), rows_of(selection[0], spec.shape[0]) if isinstance(selection, tuple) and selection else None
        if wanted is not None and len(wanted[0]) < spec.shape[0]:
            values = one.read_rows(chunk, wanted[0].start, wanted[0].stop)
            if values is not None:
                return np.asarray(values[(wanted[1], *selection[1:])])
        return np.asarray(one.decode(chunk).reshape(spec.shape)[selection])


def rows_of(chosen: Any, rows: int) -> tuple[range, Any] | None:
    """The rows from the first to the last of what is chosen along an axis, and the choice among these; None for choices of another kind, or of none."""
    if isinstance(chosen, slice):
        picked = range(rows)[chosen]
        if not picked or picked.step < 1:
            return None
        return range(picked[0], picked[-1] + 1), slice(0, None, picked.step)
    if isinstance(chosen, (int, np.integer)) and 0 <= chosen < rows:
        return range(int(chosen), int(chosen) + 1), 0
    if isinstance(chosen, np.ndarray) and chosen.dtype.kind in "iu" and chosen.size and 0 <= int(chosen.min()) and int(chosen.max()) < rows:
        first = int(chosen.min())
        return range(first, int(chosen.max()) + 1), chosen - first
    return None


class Bitshuffle(ChunkCodec):
    """fields: block, elements of a block, a multiple of 8, 0 = 8 KiB of them. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleCodec


class BitshuffleLZ4(RowsCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleLZ4Codec


class BitshuffleZstd(RowsCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.BitshuffleZstdCodec


class ShuffleZstd(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.ShuffleZstdCodec


class ShuffleDeflate(ChunkCodec):
    """No fields. dtypes: numbers of 1, 2, 4 or 8 bytes."""

    codec = numcodecs.ShuffleDeflateCodec


class BloscBitshuffleLZ4(RowsCodec):
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


class QuantizeCounts(ChunkCodec):
    """fields: step, exact_below, gain, read_noise, smallest, largest, unit, code; codec. dtypes: uint8, uint16, uint32, int16, int32, float32."""

    codec = numcodecs.QuantizeCountsCodec


class Wavelet(ChunkCodec):
    """fields: abs, levels, step, weights, dead_zone, fill; codec. dtypes: float32, of 2 axes or more."""

    codec = numcodecs.WaveletCodec


class ReversibleWavelet(ChunkCodec):
    """fields: levels; codec. dtypes: uint8, int16, uint16, int32, uint32, of 2 axes or more."""

    codec = numcodecs.ReversibleWaveletCodec


class Precondition(ChunkCodec):
    """fields: code, predictor, every, gaps, gap_values, pedestal; codec. dtypes: uint8, uint16, int16, uint32, int32, of 2 axes or more: the first one is that
    of frames, the planes gaps and pedestal are of the others. They are kept in the array's metadata."""

    codec = numcodecs.PreconditionCodec


CODECS: tuple[type[ChunkCodec], ...] = (
    Bitshuffle, BitshuffleLZ4, BitshuffleZstd, ShuffleZstd, ShuffleDeflate, BloscBitshuffleLZ4, Auto, Zfp, Quantize, QuantizeCounts, Wavelet,
    ReversibleWavelet, Precondition,
)


def register() -> None:
    """What the entry points do, for a package that was not installed."""
    for codec in CODECS:
        register_codec(str(codec.codec.codec_id), codec)
