"""An operation that makes codes of a chunk and lists what has none, then a lossless codec for the codes. Over 200 lines: a class for each operation."""

from __future__ import annotations

import math
import struct
from typing import Any, ClassVar

import numcodecs
import numpy as np
from numcodecs.compat import ensure_bytes, ensure_contiguous_ndarray

from ..op import DecodeError, Op, Spec
from .dequantize import CODES
from .numcodecs_chunk import ChunkCodec, plane_of
from .precondition import Precondition
from .precondition_form import DTYPES
from .quantize import Quantize
from .quantize_counts import QuantizeCounts
from .reversible_wavelet import ReversibleWavelet
from .wavelet import Wavelet
from .wavelet_decode import LISTED, MASKED

HEAD = 16           # bytes in front of the codes
CAPACITY = 1024     # listed values, at first
OWN = "gpuredux_"


class CodesCodec(ChunkCodec):
    """fields: those of the operation; codec: the configuration of the codec for the codes, any of numcodecs' that loses nothing; one of these here is given
            without dtype and shape
    bytes, little-endian: magic; u32 listed values; f32 the largest error made, 0 where there is none; u32 bytes of the codes' chunk; that chunk; the listed
            values' flat indices, ascending, u32; the values, f32, or i32 or u32 where the chunk holds whole numbers"""

    what: ClassVar[str]             # such a chunk, in words
    magic: ClassVar[bytes]
    defaults: ClassVar[dict[str, Any]] = {"codec": {"id": "gpuredux_auto"}}
    dtypes: ClassVar[tuple[str, ...]]
    listing: ClassVar[bool] = True      # the operation has a list

    def make(self) -> Op:
        if self.dtype not in self.dtypes:
            raise TypeError(f"{self.codec_id}: the dtype must be {' or '.join(self.dtypes)}, got {self.dtype}")
        if not self.shape or math.prod(self.shape) >= 1 << 31:
            raise ValueError(f"{self.codec_id}: chunks must have axes and at most 2**31 - 1 values, got {self.shape}")
        self._fields = {**self.defaults, **self._fields}
        encoder = self.with_capacity(CAPACITY)
        frames = Spec(encoder.inputs[0], self.batch_shape, np.dtype(self.dtype))
        self._code = encoder.outputs(*encoder.bind((frames,), {}))[0]
        self._inner_shape = shape = self._code.shape[1:] if self._code.shape[0] == 1 else self._code.shape
        inner = self._fields["codec"]
        if not isinstance(inner, dict):
            raise TypeError(f"{self.codec_id}: codec must be the configuration of one, {{'id': 'zstd', 'level': 3}}, say, got {inner!r}")
        self._own = str(inner.get("id")).startswith(OWN)
        self._inner = numcodecs.get_codec({**inner, **({"dtype": self._code.dtype.name, "shape": shape} if self._own else {})})
        if inner.get("id") == "gpuredux_zfp" or (isinstance(self._inner, CodesCodec) and not isinstance(self._inner, LOSSLESS)):
            raise ValueError(f"{self.codec_id}: {inner['id']} loses bits of codes: codec must be one that does not")
        return encoder

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """(n, *frame): the chunk as the operation takes it."""
        return (1, *self.shape)

    def with_capacity(self, capacity: int) -> Any:
        given = {k: v for k, v in self._fields.items() if k != "codec"}
        return self.operation(**given, **({"capacity": capacity} if self.listing else {}))

    def write(self, frame: np.ndarray) -> bytes:
        frames = frame.reshape(self.batch_shape)
        out = self._encoder(frames)
        most = int(out.outlier_count.max(initial=0)) if self.listing else 0
        if most > CAPACITY:
            out = self.with_capacity(most)(frames)
        code = out.code if self.listing else out
        chunk = ensure_bytes(self._inner.encode(code.reshape(self._inner_shape)))
        if not self._own and bytes(ensure_bytes(self._inner.decode(chunk))) != code.tobytes():
            raise ValueError(f"{self.codec_id}: {self._fields['codec']} does not give the codes back: codec must be one that loses nothing")
        index, value = self._lists(out) if self.listing else (np.empty(0, np.int64), np.empty(0, self.listed_kind))
        head = struct.pack("<4sIfI", self.magic, len(index), self.error_of(frames, out), len(chunk))
        return head + chunk + index.astype("<u4").tobytes() + value.astype(self.listed_kind.newbyteorder("<")).tobytes()

    def _lists(self, out: Any) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices in the chunk, and their values."""
        inside = np.arange(out.outlier_index.shape[1], dtype=np.uint64) < out.outlier_count[:, None]
        first = np.arange(len(inside), dtype=np.int64)[:, None] * math.prod(self.batch_shape[1:])
        return (out.outlier_index + first)[inside], out.outlier_value[inside]

    def read(self, chunk: bytes) -> np.ndarray:
        npix, kind, who = math.prod(self.shape), self._code, f"{self.what} chunk"
        magic, count, _, size = struct.unpack_from("<4sIfI", chunk) if len(chunk) >= HEAD else (b"", 0, 0, 0)
        if magic != self.magic or count > npix or HEAD + size + 8 * count != len(chunk):
            raise DecodeError(f"{who} of {len(chunk)} bytes for {self.shape}: its first {HEAD} bytes do not fit the rest")
        try:
            values = ensure_contiguous_ndarray(self._inner.decode(chunk[HEAD : HEAD + size]))
        except Exception as e:      # each codec of numcodecs has its own: RuntimeError, zlib.error, OSError, ...
            raise DecodeError(f"{who} for {self.shape}: its codes do not decode: {e}") from e
        wanted = math.prod(kind.shape) * kind.dtype.itemsize
        if values.nbytes != wanted:
            raise DecodeError(f"{who} for {self.shape}: its codes are {values.nbytes} bytes, and {wanted} are wanted")
        code = np.require(values.reshape(-1).view(kind.dtype), requirements="A").reshape(kind.shape)
        index, value = (np.frombuffer(chunk, d.newbyteorder("<"), count, HEAD + size + k * 4 * count).astype(d)
                        for k, d in enumerate((np.dtype(np.uint32), self.listed_kind)))
        listed, wrong = self.listed(code)
        if wrong or not np.array_equal(np.flatnonzero(listed), index):
            raise DecodeError(f"{who} for {self.shape}: the {count} outliers are not where its codes say")
        return self.rebuilt(code, index, value)

    def lists_of(self, index: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """outlier_index (n, capacity), outlier_value and outlier_count (n,) as decoders take them."""
        n, npix = self.batch_shape[0], math.prod(self.batch_shape[1:])
        ends = np.searchsorted(index, np.arange(n + 1, dtype=np.int64) * npix)
        count = np.diff(ends)
        inside = np.arange(max(1, int(count.max(initial=0)))) < count[:, None]
        places, values = np.zeros(inside.shape, np.uint32), np.zeros(inside.shape, value.dtype)
        places[inside], values[inside] = index % npix, value
        return places, values, count.astype(np.uint32)

    @property
    def listed_kind(self) -> np.dtype[Any]:
        return np.dtype({"f": np.float32, "i": np.int32, "u": np.uint32}[np.dtype(self.dtype).kind])

    def error_of(self, frames: np.ndarray, out: Any) -> float:
        """The largest one."""
        return float(out.max_error.max(initial=0)) if hasattr(out, "max_error") else 0.0

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        """Where codes say that the value is in the list; and whether there are codes that encode() does not write."""
        raise NotImplementedError

    def rebuilt(self, code: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.asarray(self._encoder.inverse()(code, *self.lists_of(index, value)))


class QuantizeCodec(CodesCodec):
    """float32 within a bound that holds for every value. NaN, Inf and what no code fits come back bit by bit. fields: abs, or rel and smallest; code, int16
    (default), uint16 or int32; zero. The largest error with rel is that of the values' share."""

    codec_id, operation, what, magic = "gpuredux_quantize", Quantize, "quantised", b"GRQ1"
    dtypes, takes = ("float32",), ("abs", "rel", "smallest", "code", "zero", "codec")
    defaults: ClassVar[dict[str, Any]] = {"code": "int16", "codec": {"id": "gpuredux_shuffle_zstd"}}

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        kind = CODES[self._fields["code"]]
        return code == kind.fill, bool((code == kind.masked).any())


class QuantizeCountsCodec(CodesCodec):
    """Counts in square-root steps. fields: step, exact_below, gain, read_noise, smallest, largest, unit, code. Whole numbers come back as the nearest whole
    number to what their bin means; what has no bin, bit by bit. dtypes: uint8, uint16, uint32, int16, int32, float32."""

    codec_id, operation, what, magic = "gpuredux_quantize_counts", QuantizeCounts, "square-root", b"GRC1"
    dtypes = (*DTYPES, "float32")
    takes = ("step", "exact_below", "gain", "read_noise", "smallest", "largest", "unit", "code", "codec")

    def error_of(self, frames: np.ndarray, out: Any) -> float:
        if self.dtype == "float32":
            return super().error_of(frames, out)
        listed, _ = self.listed(out.code)
        made = self._whole(np.where(listed, 0, out.code)).astype(np.float64)
        return float(np.max(np.abs(made - frames), initial=0, where=~listed))

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        op, known = self._encoder, len(self._encoder.table)     # type: ignore[attr-defined]
        listed = code == op.fill_code       # type: ignore[attr-defined]
        return listed, bool(((code >= known) & ~listed).any())

    def _whole(self, code: np.ndarray) -> np.ndarray:
        kind, meant = np.dtype(self.dtype), np.rint(self._encoder.table.astype(np.float64))      # type: ignore[attr-defined]
        limits = np.iinfo(kind)
        return np.clip(meant, limits.min, limits.max).astype(kind)[code]

    def rebuilt(self, code: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        if self.dtype == "float32":
            return np.asarray(self._encoder.decoder()(code, *self.lists_of(index, value)))      # type: ignore[attr-defined]
        made = self._whole(np.where(self.listed(code)[0], 0, code)).reshape(-1)
        made[index] = value.astype(made.dtype)
        return made


class WaveletCodec(CodesCodec):
    """float32 within abs, by 9/7 wavelets of the last two axes and corrections. NaN, Inf and what no code fits come back bit by bit. fields: abs, levels, step,
    weights, dead_zone, fill."""

    codec_id, operation, what, magic = "gpuredux_wavelet", Wavelet, "wavelet", b"GRW1"
    dtypes, takes = ("float32",), ("abs", "levels", "step", "weights", "dead_zone", "fill", "codec")

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        return code[:, 1] == LISTED, bool((code[:, 1] == MASKED).any())


class ReversibleWaveletCodec(CodesCodec):
    """Whole numbers, exact, by 5/3 wavelets of the last two axes. fields: levels. dtypes: uint8, int16, uint16, int32, uint32."""

    codec_id, operation, what, magic, listing = "gpuredux_reversible_wavelet", ReversibleWavelet, "5/3 wavelet", b"GRR1", False
    dtypes, takes = DTYPES, ("levels", "codec")

    def with_capacity(self, capacity: int) -> ReversibleWavelet:
        return ReversibleWavelet(words=self.dtype, **{k: v for k, v in self._fields.items() if k != "codec"})

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        return np.zeros(0, bool), False

    def rebuilt(self, code: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.asarray(self._encoder.inverse()(code))


class PreconditionCodec(CodesCodec):
    """Words of a detector, exact, in a form that compresses better. The chunk's first axis is that of frames. fields: code, predictor, every, gaps and
    gap_values (find_gaps), pedestal; gaps and pedestal are planes of a frame. dtypes: uint8, uint16, int16, uint32, int32."""

    codec_id, operation, what, magic = "gpuredux_precondition", Precondition, "preconditioned", b"GRP1"
    dtypes, takes = DTYPES, ("code", "predictor", "every", "gaps", "gap_values", "pedestal", "codec")

    @property
    def batch_shape(self) -> tuple[int, ...]:
        if len(self.shape) < 2:
            raise ValueError(f"{self.codec_id}: chunks must be (frames, ...), of two axes or more, got {self.shape}")
        return self.shape

    def with_capacity(self, capacity: int) -> Precondition:
        given = {k: v for k, v in self._fields.items() if k != "codec"}
        given |= {k: plane_of(given[k], self.shape[1:], f"{self.codec_id}: {k}") for k in ("gaps", "pedestal") if given.get(k) is not None}
        return Precondition(self.dtype, capacity=capacity, **given)

    def listed(self, code: np.ndarray) -> tuple[np.ndarray, bool]:
        op: Any = self._encoder
        return (code == op.fill_code) & (op.narrow or (False if op.gaps is None else op.gaps > 0)), False


LOSSLESS = (ReversibleWaveletCodec, PreconditionCodec)
