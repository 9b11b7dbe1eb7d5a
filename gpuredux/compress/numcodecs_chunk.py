"""buffer <-> the chunk of one frame: what all codecs of numcodecs.py share."""

from __future__ import annotations

import base64
import binascii
import io
import math
import struct
import zlib
from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_contiguous_ndarray

from ..op import Op
from .chunk_encoder import whole_shape

HEADER = 4096       # bytes that the head of an array as .npy has at most


class ChunkCodec(Codec):  # type: ignore[misc]
    """fields: dtype, shape of a chunk, and those of the operation, which checks them; arrays among these are text in the configuration (plane_text)."""

    operation: ClassVar[type[Op]]
    takes: ClassVar[tuple[str, ...]] = ()       # fields of the operation
    words: ClassVar[Any]        # (chunk, shape, dtype): decodes a chunk, or says what is wrong with it

    def __init__(self, dtype: Any = None, shape: Any = None, **fields: Any) -> None:
        if dtype is None or shape is None:       # NumPy's None is float64
            raise TypeError(f"{self.codec_id}: the dtype must be given, and the shape of a chunk, got dtype={dtype!r}, shape={shape!r}")
        try:
            kind = np.dtype(dtype)
        except TypeError as e:
            raise TypeError(f"{self.codec_id}: the dtype must be one of NumPy's, got {dtype!r}") from e
        if not kind.isnative:
            raise TypeError(f"{self.codec_id}: the dtype must be of this machine's byte order, got {kind.str}")
        strange = [k for k in fields if k not in self.takes]
        if strange:
            raise TypeError(f"{self.codec_id}: the fields are dtype, shape{''.join(f', {k}' for k in self.takes)}, got {', '.join(strange)}")
        self.dtype, self.shape, self._fields = kind.name, whole_shape(str(self.codec_id), shape), as_json(fields)
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
        frame: np.ndarray = type(self).words(chunk, self.shape, self.dtype)
        return frame

    def read_rows(self, chunk: bytes, first: int, last: int) -> np.ndarray | None:
        """Rows first to last - 1 along the chunk's first axis, (last - first, ...), where they can be decoded without the others; else None."""
        return None


def as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as a configuration keeps them: arrays as text, numbers of NumPy as numbers, tuples as lists."""
    def plain(v: Any) -> Any:
        if isinstance(v, np.ndarray) and v.ndim:
            return plane_text(v)
        return v.item() if isinstance(v, (np.generic, np.ndarray)) else [plain(k) for k in v] if isinstance(v, (tuple, list)) else v

    return {k: plain(v) for k, v in fields.items()}


def plane_text(plane: np.ndarray) -> str:
    """An array in JSON: its .npy, deflated, in base 64."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(plane), allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue(), 9)).decode()


def plane_of(text: Any, shape: tuple[int, ...], who: str) -> np.ndarray:
    """The array that plane_text made text of, of 8 bytes a value at most; ValueError for what is none of this shape."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 8 * math.prod(shape) + HEADER)
        plane = np.load(io.BytesIO(data), allow_pickle=False)
    except (binascii.Error, zlib.error, ValueError, TypeError, EOFError) as e:
        raise ValueError(f"{who} must be an array of {shape}, or the text of one that a configuration holds, got {str(text)[:40]!r}: {e}") from None
    if not isinstance(plane, np.ndarray) or plane.shape != shape:
        raise ValueError(f"{who} must be {shape} as a frame, got {getattr(plane, 'dtype', type(plane).__name__)} {getattr(plane, 'shape', '')}")
    return plane


def blocks_of(chunk: bytes, nbytes: int, itemsize: int, first: int, last: int) -> tuple[bytes, int, int] | None:
    """Of a bitshuffle chunk (HDF5 filter 32008, compressed) the blocks that hold the bytes first to last - 1 of nbytes, as a chunk of their own; and the bytes
    from the first to the last of these. What lies before is walked through, and not looked at. None if it is no such chunk as far as that."""
    raw, block = int.from_bytes(chunk[:8], "big"), int.from_bytes(chunk[8:12], "big")
    if len(chunk) < 12 or raw != nbytes or block == 0 or block % (8 * itemsize):
        return None
    usable = nbytes // (8 * itemsize) * 8 * itemsize
    begin, end = min(first, usable) // block * block, min(-(-last // block) * block, usable)
    at, start = 12, 12
    for place in range(0, end, block):
        start = at if place == begin else start
        at += 4 + int.from_bytes(chunk[at : at + 4], "big")
        if at > len(chunk):
            return None
    if last > usable:       # the elements behind the last eight, which nothing encoded
        at, end = at + nbytes - usable, nbytes
        start = len(chunk) - nbytes + usable if begin == usable else start
        if at != len(chunk):
            return None
    return struct.pack(">QI", end - begin, block) + chunk[start:at], begin, end
