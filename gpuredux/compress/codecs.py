"""Codecs by name; and from a dataset's HDF5 filters and a chunk's filter_mask to what decodes the chunk. Over 200 lines: one table, both ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..op import DecodeError, Op
from .auto import Auto
from .auto_decode import AutoDecode
from .bitshuffle import Bitshuffle
from .bitshuffle_decode import BitshuffleDecode
from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, decode_chunk
from .bitshuffle_zstd import BitshuffleZstd
from .bitshuffle_zstd_decode import BitshuffleZstdDecode, decode_bitshuffle_zstd
from .blosc_bitshuffle_lz4 import BloscBitshuffleLZ4
from .blosc_decode import BloscDecode, decode_blosc
from .chunk_encoder import Filter
from .lz4_decode import LZ4Decode, decode_lz4
from .plain_decode import PlainDecode
from .shuffle_deflate import ShuffleDeflate
from .shuffle_deflate_decode import ShuffleDeflateDecode, inflate_chunk
from .shuffle_zstd import ShuffleZstd
from .shuffle_zstd_decode import ShuffleZstdDecode, decode_shuffle_zstd
from .zfp import Zfp
from .zfp_decode import ZfpDecode, decode_zfp
from .zfp_format import HDF5_FILTER, MIN_EXP, MOST_PRECISION, given_values

CODECS: dict[str, type[Op]] = {"bitshuffle_lz4": BitshuffleLZ4, "bitshuffle_zstd": BitshuffleZstd, "shuffle_zstd": ShuffleZstd,
                               "shuffle_deflate": ShuffleDeflate, "bitshuffle": Bitshuffle, "blosc_bitshuffle_lz4": BloscBitshuffleLZ4,
                               "auto": Auto}
OTHERS = {"compress.wavelet": "hdf5_wavelet.write_wavelet", "compress.reversible_wavelet": "hdf5_wavelet.write_wavelet",
          "compress.roibin": "hdf5_roibin.write_roibin"}
NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle",
         32013: "zfp", 32015: "zstd", 32017: "sz", 32024: "sz3", 32026: "blosc2"}
# Raw bytes that a stored byte can stand for, at most: what claims more is refused before anything is allocated for it.
MOST = {"": 1, "lz4": 255, "deflate": 1032, "zstd": 1 << 15, "zfp": 1 << 12}
# Stored bytes for a raw byte, at most, and for a chunk: what an encoder makes of noise in its smallest blocks. LZ4's are of 1 byte: its length in 4, a token,
# the byte; those of bitshuffle are of 8 bytes, with LZ4 in 13 and with zstd in 25; blosc stores what does not become smaller as it is.
GROWTH = {"": 1, "bitshuffle_lz4": 2, "bitshuffle_zstd": 4, "blosc": 2, "lz4": 6, "deflate": 2, "zstd": 2}
ROOM = 4096


def encoder_of(codec: Any, who: str = "hdf5") -> Op:
    """The operation of a codec by its name; operations that make chunks pass."""
    if isinstance(codec, str) and codec in CODECS:
        return CODECS[codec]()
    if isinstance(codec, Zfp) or (isinstance(codec, Op) and hasattr(codec, "filters")):
        return codec
    said = codec.name if isinstance(codec, Op) else f"{codec.__name__}, which is to be made: {codec.__name__}()" if isinstance(codec, type) else repr(codec)
    said += f": {OTHERS[said]} writes it" if said in OTHERS else ""
    raise TypeError(f"{who}: codec must be one of {', '.join(CODECS)} or an operation that makes chunks, got {said}")


def exact_encoder_of(codec: Any, who: str) -> Op:
    """The same of one that loses nothing, as codes want it."""
    made = encoder_of(codec, who)
    if isinstance(made, Zfp):
        raise TypeError(f"{who}: {made.name} loses bits of codes: take an encoder that does not")
    return made


def of_any_frames(encoder: Any) -> Op:
    """An encoder like this, of frames of another shape and dtype: those beside codes."""
    made: Op = encoder if getattr(encoder, "shape", None) is None else replace(encoder, shape=None, dtype=None)
    return made


def filters_of(encoder: Op, chunk_shape: tuple[int, ...], dtype: Any) -> tuple[Filter, ...]:
    """Of a dataset that holds this encoder's chunks. Raises TypeError or ValueError for frames that it cannot hold."""
    if isinstance(encoder, Zfp):
        encoder.hdf5_values(chunk_shape, dtype)     # refuses what the filter does not take
        return (Filter(HDF5_FILTER, given_values(encoder.tolerance, encoder.rate, encoder.precision)),)
    encoder.layout(chunk_shape, np.dtype(dtype))    # type: ignore[attr-defined]
    found: tuple[Filter, ...] = encoder.filters(np.dtype(dtype).itemsize)   # type: ignore[attr-defined]
    return found


@dataclass(frozen=True)
class Decoding:
    """How chunks become frames: one operation, or two, the bytes' order being undone by the second; as u8 where the first knows of no elements.

    most: raw bytes that a stored byte can stand for; least, limit: bytes of the smallest and the largest chunk; words: decodes one chunk, or says what is
    wrong with it."""

    ops: tuple[Op, ...]
    most: int
    least: int
    limit: int
    words: Callable[[bytes], Any]

    def run(self, backend: Any, payload: Any, size: Any, out: Any, device: Any = None) -> Any:
        """Fill out (n, *frame), and return frame_status (n,): arrays of one backend."""
        n, first, name = payload.shape[0], self.ops[0], backend.name
        nbytes = math.prod(out.shape[1:]) * out.dtype.itemsize
        status = backend.empty((n,), np.uint32, device)
        if len(self.ops) == 1:
            to = out if first.dtype == out.dtype.name else out.view(np.uint8).reshape(n, *first.shape)      # type: ignore[attr-defined]
            first(payload, size, out=(to, status), backend=name)
            return status
        middle, after = backend.empty((n, nbytes), np.uint8, device), backend.empty((n,), np.uint32, device)
        first(payload, size, out=(middle.reshape(n, *first.shape), status), backend=name)       # type: ignore[attr-defined]
        whole = backend.put(np.full(n, nbytes, np.uint32), device)
        self.ops[1](middle, whole, status, out=(out, after), backend=name)
        return after


@dataclass(frozen=True)
class Filters:
    """Of a dataset, as the file keeps them, in the order in which they encode; and the frames that its chunks hold.

    What decodes them is kept here, with its plans and their memory, and ends with this object."""

    filters: tuple[Filter, ...]
    shape: tuple[int, ...]
    dtype: str
    _made: dict[int, Decoding] = field(default_factory=dict, init=False, repr=False, compare=False)

    def decoding(self, filter_mask: int) -> Decoding:
        """Of chunks with this mask. Raises UnknownFilters."""
        mask = int(filter_mask) & (1 << len(self.filters)) - 1
        if mask not in self._made:
            self._made[mask] = decoding_of(self.filters, mask, self.shape, self.dtype)
        return self._made[mask]

    def check(self) -> None:
        """Raise UnknownFilters if there is one that nothing here undoes, whatever the masks are."""
        itemsize = np.dtype(self.dtype).itemsize
        if any(_kind(f, itemsize) == "unknown" for f in self.filters):
            self.decoding(0)

    @cached_property
    def auto(self) -> Op | None:
        """What decodes chunks of more than one mask, where they are those of compress.Auto."""
        own = Auto().filters(np.dtype(self.dtype).itemsize)
        stored = [f.values[3] if f.number == 32008 and len(f.values) > 3 else 0 for f in self.filters[:1]]
        same = [f.number for f in own] == [f.number for f in self.filters] and stored == [own[0].values[0]]
        return AutoDecode(self.shape, self.dtype) if same else None

    def decode(self, payload: np.ndarray, size: np.ndarray, filter_mask: np.ndarray, out: Any, backend: Any, device: Any = None) -> Any:
        """Fill out (n, *frame), and return frame_status (n,): arrays of the backend; payload, size and filter_mask lie on the host."""
        masks = np.unique(filter_mask).tolist()
        if len(masks) < 2:
            return self.decoding(masks[0] if masks else 0).run(backend, backend.put(payload, device), backend.put(size, device), out, device)
        auto = self.auto
        if auto is not None and set(masks) <= set(auto.masks):      # type: ignore[attr-defined]
            status = backend.empty((len(size),), np.uint32, device)
            auto(*(backend.put(a, device) for a in (payload, size, filter_mask)), out=(out, status), backend=backend.name)
            return status
        host = isinstance(out, np.ndarray)
        found, whole = np.zeros(len(size), np.uint32), out if host else np.empty(out.shape, out.dtype)
        for mask in masks:      # each by itself, and to its rows on the host: such datasets are rare
            rows = np.flatnonzero(filter_mask == mask)
            part = backend.empty((len(rows), *out.shape[1:]), out.dtype, device)
            given = (backend.put(np.ascontiguousarray(a[rows]), device) for a in (payload, size))
            found[rows] = backend.get(self.decoding(mask).run(backend, *given, part, device))
            whole[rows] = backend.get(part)
        if not host:
            backend.overwrite(out, whole)
        return backend.put(found, device)


class UnknownFilters(ValueError):
    """Of a dataset whose chunks nothing here decodes."""


def decoding_of(filters: tuple[Filter, ...], filter_mask: int, shape: tuple[int, ...], dtype: str) -> Decoding:
    """Of chunks of frames of this shape. filters: as the file keeps them, in the order in which they encode; bit i of filter_mask: not filter i.

    Raises UnknownFilters that names all that a chunk went through."""
    used = [f for i, f in enumerate(filters) if not filter_mask >> i & 1]
    try:
        return _decoding(used, shape, dtype)
    except (TypeError, ValueError) as e:
        if isinstance(e, UnknownFilters):
            raise
        raise UnknownFilters(f"its filters are {described(used)}, which {dtype} {shape} cannot have gone through: {e}") from None


def _decoding(used: list[Filter], shape: tuple[int, ...], dtype: str) -> Decoding:
    kinds, kind = [_kind(f, np.dtype(dtype).itemsize) for f in used], np.dtype(dtype)
    order = next((k for k in kinds[:1] if k in ("shuffle", "bitshuffle")), "raw")
    rest, nbytes = kinds[order != "raw" :], math.prod(shape) * kind.itemsize
    limit = GROWTH.get((rest or [""])[0], 1) * nbytes + ROOM
    if kinds == ["zfp"]:
        mode = zfp_mode(used[0].values, shape, dtype)
        shape = tuple(k for k in shape if k > 1) or (1,)
        op = ZfpDecode(shape, dtype, **mode)
        return Decoding((op,), MOST["zfp"], 1, op.own_layout.cap, partial(decode_zfp, shape=shape, dtype=kind, **mode))
    if kinds == ["bitshuffle_lz4"]:
        return Decoding((BitshuffleLZ4Decode(shape, dtype),), MOST["lz4"], 12, limit, partial(decode_chunk, shape=shape, dtype=kind))
    if kinds == ["bitshuffle_zstd"]:
        return Decoding((BitshuffleZstdDecode(shape, dtype),), MOST["zstd"], 12, limit, partial(decode_bitshuffle_zstd, shape=shape, dtype=kind))
    if kinds == ["blosc"]:
        return Decoding((BloscDecode(shape, dtype),), MOST["lz4"], 16, limit, partial(decode_blosc, shape=shape, dtype=kind))
    if not rest:
        return Decoding((_in_order(used, order, shape, kind),), MOST[""], 1, limit, partial(_plain_words, many=nbytes))
    if rest in (["zstd"], ["deflate"], ["lz4"]):
        makes = {"zstd": (ShuffleZstdDecode, decode_shuffle_zstd), "deflate": (ShuffleDeflateDecode, inflate_chunk), "lz4": (LZ4Decode, decode_lz4)}
        make, words = makes[rest[0]]
        fused = order == "shuffle" and rest != ["lz4"]
        inner, of = (shape, dtype) if fused else ((*shape[:-1], shape[-1] * kind.itemsize), "uint8")
        ops = (make(inner, of), *(() if fused or order == "raw" else (_in_order(used, order, shape, kind),)))
        return Decoding(ops, MOST[rest[0]], 1, limit, partial(words, shape=inner, dtype=of))
    raise UnknownFilters(f"its filters are {described(used)}; decoded are bitshuffle (32008: with LZ4, zstd, or before zstd, deflate or LZ4), shuffle or "
                         f"nothing before zstd (32015), deflate (1), LZ4 (32004) or nothing, blosc with LZ4 (32001), and zfp (32013)")


def described(filters: Sequence[Filter]) -> str:
    """Filters for a person: number, name, values."""
    return " + ".join(f"{f.number} ({NAMES.get(f.number, 'unknown')}{''.join(f', {v}' for v in f.values)})" for f in filters) or "none"


def _kind(f: Filter, itemsize: int) -> str:
    """What a filter does, or a name that nothing knows."""
    if f.number == 32008:
        known = len(f.values) < 3 or f.values[2] == itemsize
        packed = f.values[4] if len(f.values) > 4 else 0
        return {0: "bitshuffle", 2: "bitshuffle_lz4", 3: "bitshuffle_zstd"}.get(packed, "unknown") if known else "unknown"
    if f.number == 2:
        return "shuffle" if not f.values or f.values[0] == itemsize else "unknown"
    return {1: "deflate", 32001: "blosc", 32004: "lz4", 32015: "zstd", HDF5_FILTER: "zfp"}.get(f.number, "unknown")


def _in_order(used: Sequence[Filter], order: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> Op:
    """What undoes an order of bytes. Bitshuffle's blocks are of 8 KiB, or of so many elements as the filter says."""
    if order == "bitshuffle":
        return BitshuffleDecode(shape, kind.name, used[0].values[3] if len(used[0].values) > 3 else 0)
    return PlainDecode(shape, kind.name, order == "shuffle")


def _plain_words(chunk: bytes, many: int) -> None:
    if len(chunk) != many:
        raise DecodeError(f"{len(chunk)} bytes that nothing compressed, a frame has {many}")


def zfp_mode(values: Sequence[int], shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """tolerance=, rate= or precision= of a dataset of filter 32013, by the header of zfp among its values, which must be of such frames."""
    number, axes = sum(v << 32 * k for k, v in enumerate(values[1:])), [k for k in shape if k > 1] or [1]
    short, size = number >> 84 & 0xFFF, 4 ** len(axes)
    minbits, maxbits, maxprec, minexp = 1, 16658, MOST_PRECISION, MIN_EXP
    if short < 2048:
        minbits = maxbits = short + 1
    elif short < 2176:
        maxprec = short - 2047
    elif short < 0xFFF:
        minexp = short - 2177 + MIN_EXP
    else:
        word = number >> 96
        minbits, maxbits, maxprec, minexp = (word & 0x7FFF) + 1, (word >> 15 & 0x7FFF) + 1, (word >> 30 & 0x7F) + 1, (word >> 37 & 0x7FFF) - 16495
    mode: dict[str, Any] = {"rate": maxbits / size} if minbits == maxbits else {"precision": maxprec} if minexp == MIN_EXP else {"tolerance": 2.0**minexp}
    made = Zfp(**mode)
    expected = made.hdf5_values(tuple(axes), dtype) if min(axes) > 1 else ()
    if tuple(values[1:]) != expected[1:]:
        raise UnknownFilters(f"its values {tuple(values)} of filter 32013 are not those of zfp's rate, precision or accuracy for {dtype} {tuple(shape)}")
    return mode
