"""Chunks of a dataset: that they are there and can be what they claim, their CRCs, their decoding. Over 200 lines: a chunk goes one way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from ..op import DecodeError
from . import hdf5_layout as layout
from .chunk_encoder import Filter
from .codecs import Decoding, Filters, UnknownFilters
from .crc32c import crc32c
from .hdf5_place import HOST, Place

BATCH = 32 << 20    # bytes that are decoded at a time: bounds the memory


class Chunks:
    """A dataset of chunks, one frame or one panel each, by any filters that codecs.py knows, and their CRCs if there are any."""

    def __init__(self, group: Any, name: str, crc: Any, label: str) -> None:
        self.label, self.crc = label, crc
        self.dataset = dataset = local(group, name, h5py.Dataset, label)
        plist = dataset.id.get_create_plist()
        if dataset.is_virtual or plist.get_layout() != h5py.h5d.CHUNKED:
            raise unsuited(f"{label} is {_elsewhere(dataset) if dataset.is_virtual else 'not chunked: h5py reads it as it is, hdf5.write makes chunks of it'}")
        filters = tuple(Filter(f[0], tuple(f[2])) for f in map(plist.get_filter, range(plist.get_nfilters())))
        if dataset.dtype not in layout.DTYPES:
            raise ValueError(f"{label} is {dataset.dtype.str}; read() knows {', '.join(map(str, layout.DTYPES))} in this machine's byte order")
        self.shape, self.dtype = tuple(int(k) for k in dataset.shape), dataset.dtype
        self.lead = 2 if len(self.shape) > 2 and dataset.chunks[1] == 1 != self.shape[1] else 1
        if dataset.chunks != (1,) * self.lead + self.shape[self.lead :] or len(self.shape) < 2:
            raise ValueError(f"{label} of {self.shape} has chunks of {dataset.chunks}; read() knows one frame or one panel a chunk")
        self.chunk_shape, self.per_frame = self.shape[self.lead :], math.prod(self.shape[1 : self.lead])
        self.nbytes = layout.frame_nbytes(self.chunk_shape, self.dtype)
        self.filters = Filters(filters, self.chunk_shape, self.dtype.name)
        try:
            self.filters.check()
        except UnknownFilters as e:
            raise UnknownFilters(f"{label}: {e}") from None
        self.file_size = dataset.file.id.get_filesize()
        self._held: tuple[int, int, np.ndarray] = (0, 0, np.empty(0, np.uint32))

    def __len__(self) -> int:
        return self.shape[0]

    def committed(self) -> int:
        return 0 if self.crc is None else int(self.crc.shape[0]) // self.per_frame

    def _start(self, row: int, k: int) -> tuple[int, ...]:
        return (row, *((k,) if self.lead == 2 else ()), *(0,) * len(self.chunk_shape))

    def _name(self, row: int, k: int) -> str:
        return f"frame {row} of {self.label}" if self.lead == 1 else f"frame {row}, panel {k} of {self.label}"

    def check_sizes(self, rows: Sequence[int]) -> int:
        """The stored bytes of these rows, all together: whether they are there, and can be what they claim, before anything is allocated for them."""
        return sum(self.sizes(rows))

    def largest(self, rows: Sequence[int]) -> int:
        """Of the chunks of these rows, checked like that."""
        return max(self.sizes(rows), default=0)

    def sizes(self, rows: Sequence[int]) -> list[int]:
        if len(rows) * self.per_frame > self.dataset.id.get_num_chunks():
            raise DecodeError(f"{self.label}: {len(rows) * self.per_frame} chunks are wanted, the file stores {self.dataset.id.get_num_chunks()}")
        found = []
        for row in rows:
            for k in range(self.per_frame):
                with damage(self._name(row, k)):
                    info = self.dataset.id.get_chunk_info_by_coord(self._start(row, k))
                found.append(self._check_info(info, self._name(row, k)))
        if sum(found) > self.file_size:
            raise DecodeError(f"{self.label}: its chunks claim {sum(found)} bytes, more than the file's {self.file_size}")
        return found

    def _check_info(self, info: Any, chunk: str) -> int:
        if info.byte_offset is None:
            raise DecodeError(f"{chunk} is not in the file")
        if info.byte_offset + info.size > self.file_size:
            raise DecodeError(f"{chunk} claims bytes up to {info.byte_offset + info.size}, the file has {self.file_size}")
        how = self.decoding(info.filter_mask, chunk)
        if not how.least <= info.size <= how.limit or self.nbytes > how.most * info.size:
            raise DecodeError(f"{chunk} claims {info.size} bytes, which cannot be {self.nbytes} bytes compressed")
        return int(info.size)

    def decoding(self, filter_mask: int, chunk: str) -> Decoding:
        """How chunks with this mask are decoded. DecodeError if this one went through what is not known."""
        try:
            return self.filters.decoding(filter_mask)
        except UnknownFilters as e:
            raise DecodeError(f"{chunk} (filter_mask {filter_mask:#x}): {e}") from None

    def chunk(self, row: int, k: int) -> tuple[int, bytes]:
        """filter_mask and stored bytes of a chunk whose sizes were checked; DecodeError if their CRC is another."""
        with damage(self._name(row, k)):
            mask, data = self.dataset.id.read_direct_chunk(self._start(row, k))
        if row < self.committed():
            wanted, got = self._crc_of(row * self.per_frame + k), crc32c(data)
            if wanted != got:
                raise DecodeError(f"{self._name(row, k)} is damaged: CRC32C {got:08x}, written as {wanted:08x}")
        return mask, bytes(data)

    def _crc_of(self, i: int) -> int:
        first, stop, held = self._held
        if not first <= i < stop:
            with damage(f"chunk_crc32c of {self.label}"):
                held = self.crc[i : i + 65536]
            self._held = (i, i + len(held), held)
        return int(held[i - self._held[0]])

    def keys(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """The chunks of these frames."""
        return [(row, k) for row in rows for k in range(self.per_frame)]

    def decode(self, rows: Sequence[int], out: Any, place: Place = HOST) -> None:
        """Fill out (len(rows), *frame), an array that lies there."""
        keys, flat = self.keys(rows), out.reshape((-1, *self.chunk_shape))
        step = place.step(BATCH // self.nbytes, len(keys))
        for a in range(0, len(keys), step):
            self._decode(keys[a : a + step], flat[a : a + step] if step < len(keys) else flat, place)

    def _decode(self, keys: list[tuple[int, int]], out: Any, place: Place) -> None:
        """Some chunks, in one go."""
        held = [self.chunk(*key) for key in keys]
        payload, size = padded([data for _, data in held], self.nbytes)
        status = self.filters.decode(payload, size, np.array([mask for mask, _ in held], np.uint32), out, place.backend, place.device)
        for i in np.flatnonzero(place.get(status)):
            self.complain(held[i], *keys[i])

    def complain(self, held: tuple[int, bytes], row: int, k: int) -> None:
        """Raise DecodeError: what is wrong with a chunk, in words, as the same decoder finds it."""
        reason = "it cannot be decoded"
        try:
            self.filters.decoding(held[0]).words(held[1])
        except DecodeError as e:
            reason = str(e)
        raise DecodeError(f"{self._name(row, k)}: {reason}")


def padded(chunks: Sequence[bytes], nbytes: int, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """payload (n, cap), size (n,) as decoders take them, of chunks of so many raw bytes; of few capacities, so that few plans are made,
    least bytes or more."""
    size = np.array([len(c) for c in chunks], np.uint32)
    unit = -(-(nbytes // 8 + 64) // 16) * 16
    payload = np.empty((len(chunks), -(-int(size.max(initial=least)) // unit) * unit), np.uint8)
    for row, data in zip(payload, chunks, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return payload, size


def local(group: Any, name: str, kind: Any, label: str, missing: Any = ...) -> Any:
    """An object of this very file: links that lead elsewhere are refused."""
    here = group
    for part in [p for p in name.split("/") if p]:
        with damage(label):
            link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
            if isinstance(link, h5py.ExternalLink):
                raise unsuited(f"{label}: {part!r} is a link to another file ({link.filename}); open that")
            here = here[part] if isinstance(link, h5py.HardLink) else None if link is None else here.get(part)     # what does not open is damaged, not absent
        if here is None:
            break
    if here is None and missing is None:
        return None
    if not isinstance(here, kind):
        held = list(group)[:20]
        raise unsuited(f"{label}: there is no {kind.__name__.lower()} {name!r} in {group.name}; it has {', '.join(held) or 'nothing'}"
                       + (": name one of these" if held else ""))
    return here


def unsuited(line: str) -> ValueError:
    """A ConfigError about a dataset that cannot be read like this."""
    from ..stream.faults import ConfigError  # not at import: the stream imports this family

    return ConfigError([line])


def _elsewhere(dataset: Any) -> str:
    """Of a virtual dataset: where its frames are."""
    parts = dict.fromkeys(f"{dataset.file.filename.rsplit('/', 1)[-1] if v.file_name == '.' else v.file_name}:{v.dset_name}" for v in dataset.virtual_sources())
    return f"virtual: its chunks are not here; read {', '.join(list(parts)[:4])}{' and others' if len(parts) > 4 else ''}"


def entries(listed: Any, label: str) -> np.ndarray:
    """All of a list of whole numbers. Lists are stored as they are: one that claims more bytes than its file has (and 1 MiB) is refused before anything is
    allocated for it."""
    name = listed.name.rsplit("/", 1)[-1]
    if listed.ndim != 1 or listed.dtype.kind not in "iu":
        raise DecodeError(f"{label}: {name} must be a list of whole numbers, got {listed.dtype} {listed.shape}")
    if listed.size * listed.dtype.itemsize > max(listed.file.id.get_filesize(), 1 << 20):
        raise DecodeError(f"{label}: its {name} claims {listed.size} entries, more than the file has bytes for")
    with damage(f"{name} of {label}"):
        return np.asarray(listed[...])


def are_those(index: np.ndarray, marked: np.ndarray) -> bool:
    """Whether ascending flat pixels are just those that are marked in a frame."""
    return np.count_nonzero(marked) == len(index) and bool(marked.reshape(-1)[index].all())


@contextmanager
def damage(what: str) -> Iterator[None]:
    """What HDF5 finds wrong while it reads, as a DecodeError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as e:
        if type(e).__module__ != "builtins":    # a backend's own: nothing is wrong with the file
            raise
        raise DecodeError(f"{what} cannot be read: {' '.join(str(e).split())}") from e
