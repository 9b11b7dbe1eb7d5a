"""Lists and planes beside frames, read chunk by chunk: libhdf5 2.0 dies over a chunk that stands for fewer bytes than it should, so it decodes none."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import h5py
import numpy as np

from ..op import DecodeError
from . import hdf5_layout as layout
from .chunk_encoder import Filter
from .codecs import Decoding, Filters, UnknownFilters
from .hdf5_chunks import damage, local, padded
from .hdf5_place import HOST

FLETCHER, SUM = 3, 4        # the filter's number, and its bytes behind what it guards
MOST_CHUNK = 1 << 31        # bytes: far more than any chunk of a list that is written here


def listed(group: Any, name: str, label: str, missing: Any = ...) -> Any:
    """A list or plane of a group. DecodeError if there is none: `missing`, if that is given."""
    try:
        found = local(group, name, h5py.Dataset, label, None if missing is None else ...)
    except DecodeError:
        raise
    except ValueError as e:     # beside frames, what is not there was lost
        raise DecodeError(str(e)) from None
    return None if found is None else Listed(found, label)


class Listed:
    """A dataset beside frames, read like one of h5py: all of it, or of a list one entry or a slice without a step."""

    def __init__(self, dataset: Any, label: str) -> None:
        self.dataset, self.file, self.name, self.label = dataset, dataset.file, dataset.name, f"{dataset.name.rsplit('/', 1)[-1]} of {label}"
        self.shape, self.dtype, self.ndim, self.size = dataset.shape, dataset.dtype, dataset.ndim, dataset.size
        plist = dataset.id.get_create_plist()
        self._chunk = tuple(map(int, dataset.chunks)) if plist.get_layout() == h5py.h5d.CHUNKED else None
        self._filters = tuple(Filter(f[0], tuple(f[2])) for f in map(plist.get_filter, range(plist.get_nfilters())))
        self._decoders: dict[int, Filters] = {}
        self._held: tuple[tuple[int, ...], np.ndarray] | None = None

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        """What h5py gives. DecodeError for a chunk that is not there, or is not what it should be."""
        with damage(self.label):
            if self._chunk is None:
                return self.dataset[key]
            if self.ndim == 1 and not isinstance(key, tuple) and key is not ...:
                first, stop, step = key.indices(len(self)) if isinstance(key, slice) else (int(key), int(key) + 1, 1)
                if step != 1 or not 0 <= first <= max(first, stop) <= len(self):
                    raise IndexError(f"{self.label}: entries {key} of {len(self)}")
                found = self._entries(first, max(first, stop), self._chunk[0])
                return found if isinstance(key, slice) else found[0]
            return self._whole(self._chunk)

    def _entries(self, first: int, stop: int, deep: int) -> np.ndarray:
        parts = [self._values((a,))[max(first - a, 0) : stop - a] for a in range(first // deep * deep, stop, deep) if stop > first]
        return np.concatenate([np.empty(0, self.dtype), *parts])

    def _whole(self, chunk: tuple[int, ...]) -> np.ndarray:
        """All of it, once every chunk was found to be there."""
        many = math.prod(-(-n // c) for n, c in zip(self.shape, chunk, strict=True))
        if many > self.dataset.id.get_num_chunks():
            raise DecodeError(f"{self.label}: {many} chunks are wanted, the file stores {self.dataset.id.get_num_chunks()}")
        out = np.empty(self.shape, self.dtype)
        for start in product(*(range(0, n, c) for n, c in zip(self.shape, chunk, strict=True))):
            ends = [min(a + c, n) for a, c, n in zip(start, chunk, self.shape, strict=True)]
            within = tuple(slice(0, b - a) for a, b in zip(start, ends, strict=True))
            out[tuple(map(slice, start, ends))] = self._values(start)[within]
        return out

    def _values(self, start: tuple[int, ...]) -> np.ndarray:
        """One chunk; the last one is kept, for entries are asked for in their order."""
        if self._held is None or self._held[0] != start:
            self._held = start, self._decoded(start, self._chunk or ())
        return self._held[1]

    def _decoded(self, start: tuple[int, ...], chunk: tuple[int, ...]) -> np.ndarray:
        info, file_size = self.dataset.id.get_chunk_info_by_coord(start), self.file.id.get_filesize()
        if info.byte_offset is None or info.byte_offset + info.size > file_size:
            raise DecodeError(f"{self.label}: the chunk at {start} is not in the file")
        many = layout.frame_nbytes(chunk, self.dtype)
        if many > MOST_CHUNK or self.dtype not in layout.DTYPES:
            raise DecodeError(f"{self.label} has chunks of {self.dtype.str} {chunk}, which are not written here")
        filters, mask, guarded = self._of(info.filter_mask)
        how, size = self._how(filters, mask), info.size - SUM * guarded
        if not how.least <= size <= how.limit or many > how.most * size:
            raise DecodeError(f"{self.label}: the chunk at {start} has {info.size} bytes, which cannot be {many} bytes compressed")
        data = self.dataset.id.read_direct_chunk(start)[1]
        if guarded and not fletcher_agrees(data):
            raise DecodeError(f"{self.label}: the chunk at {start} is damaged: its Fletcher-32 sum is another")
        return self._filled(filters, mask, how, bytes(data[:size]), np.empty((1, *chunk), self.dtype), start)

    def _filled(self, filters: Filters, mask: int, how: Decoding, data: bytes, out: np.ndarray, start: tuple[int, ...]) -> np.ndarray:
        many = out.nbytes
        if not [f for i, f in enumerate(filters.filters) if not mask >> i & 1]:
            if len(data) != many:
                raise DecodeError(f"{self.label}: the chunk at {start} has {len(data)} bytes that nothing compressed, not {many}")
            return np.frombuffer(data, self.dtype).reshape(out.shape[1:])
        payload, length = padded([data], many)
        status = filters.decode(payload, length, np.array([mask], np.uint32), out, HOST.backend)
        if status[0]:
            how.words(data)
            raise DecodeError(f"{self.label}: the chunk at {start} cannot be decoded")
        return out[0]

    def _of(self, filter_mask: int) -> tuple[Filters, int, bool]:
        """The filters before the sum, which comes last or not at all, the mask of these, and whether a sum is there."""
        at = [i for i, f in enumerate(self._filters) if f.number == FLETCHER]
        if at not in ([], [len(self._filters) - 1]):
            raise DecodeError(f"{self.label}: its Fletcher-32 sum is not the last of its filters")
        if 0 not in self._decoders:
            self._decoders[0] = Filters(self._filters[: len(self._filters) - len(at)], self._chunk or (), self.dtype.name)
        return self._decoders[0], int(filter_mask) & (1 << len(self._filters) - len(at)) - 1, bool(at) and not filter_mask >> at[0] & 1

    def _how(self, filters: Filters, mask: int) -> Decoding:
        try:
            return filters.decoding(mask)
        except UnknownFilters as e:
            raise DecodeError(f"{self.label}: {e}") from None


def fletcher_agrees(data: Any) -> bool:
    """Whether the last 4 bytes are HDF5's Fletcher-32 sum of those before: of 16-bit words, high byte first, a last byte alone as a high one; both sums are
    modulo 65535, and their 0 has two forms.

    source: Fletcher 1982; HDF5 file format specification, filter 3"""
    guarded = np.frombuffer(data, np.uint8)[:-SUM]
    words = np.frombuffer(np.append(guarded, np.zeros(len(guarded) % 2, np.uint8)).tobytes(), ">u2").astype(np.uint64)
    first = second = 0
    for part in (words[a : a + 65536] for a in range(0, len(words), 65536)):
        falling = np.arange(len(part), 0, -1, dtype=np.uint64)
        second = (second + first * len(part) + int((part * falling).sum())) % 65535     # at most 65536 * 65536 * 65535: no overflow
        first = (first + int(part.sum())) % 65535
    stored = int.from_bytes(bytes(data[-SUM:]), "little")
    return (stored & 0xFFFF) % 65535 == first and (stored >> 16) % 65535 == second
