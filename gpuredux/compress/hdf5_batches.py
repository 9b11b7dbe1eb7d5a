"""Stored chunks in batches, whoever wrote them: padded rows with their sizes and filter masks, as decoders take them, and decoded on any device."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from .. import backends
from ..op import Op
from . import hdf5_layout as layout
from .codecs import Filters
from .hdf5_chunks import Chunks, damage, local, padded
from .hdf5_lists import listed
from .hdf5_place import place_of
from .hdf5_reader import Stored, opened


@dataclass(frozen=True)
class Batch:
    """Chunks one after the other: rows first to first + frames - 1 of a dataset, each of per_frame chunks (its panels).

    payload (n, cap) u8, size (n,) u32 [bytes], filter_mask (n,) u32, n = frames * per_frame: on the host, frame by frame, its panels in order; all batches
    of a dataset but the last are of one shape. frame: the shape of a whole frame, panels included; filters: of the dataset, which say what a chunk holds
    (filters.shape, filters.dtype) and keep what decodes it for all batches."""

    first: int
    frames: int
    payload: np.ndarray
    size: np.ndarray
    filter_mask: np.ndarray
    frame: tuple[int, ...]
    filters: Filters

    def decoder(self) -> Op:
        """The one operation that decodes these chunks: on payload and size, and on filter_mask where it asks for that. ValueError if it takes two."""
        masks = np.unique(self.filter_mask).tolist() or [0]
        auto = self.filters.auto
        if auto is not None:
            return auto
        if len(masks) > 1 or len(self.filters.decoding(masks[0]).ops) > 1:
            raise ValueError(f"hdf5.chunks: the frames from {self.first} on take more than one operation: use decode()")
        return self.filters.decoding(masks[0]).ops[0]

    def decode(self, backend: str = "numba", device: Any = None) -> tuple[Any, Any]:
        """frames (frames, *frame) dtype and frame_status (n,) u32, one for each chunk, arrays on this device. What does not decode is CORRUPT there (its
        pixels are what the decoder's op says), and nothing is raised for it.

        Raises UnknownFilters (a ValueError) for a filter_mask whose filters nothing here undoes, BackendUnavailable for a backend that is not there."""
        where = backends.get(backend)
        out = where.empty((len(self.size), *self.filters.shape), np.dtype(self.filters.dtype), device)
        status = self.filters.decode(self.payload, self.size, self.filter_mask, out, where, device)
        return out.reshape((self.frames, *self.frame)), status


def chunks(where: Any, name: str, batch: int = 64, frames: slice = slice(None)) -> Iterator[Batch]:
    """The chunks of a dataset, `batch` frames at a time, as they are stored: of a path or an open h5py Group, by any filters that codecs.py knows.

    Each chunk's place and size is checked before it is read, and its CRC where there is one. Codes stay codes: read() gives what they mean.
    Raises ValueError for a dataset that cannot be read like this, DecodeError for a chunk that is not there or cannot be what it claims."""
    batch = _asked(batch, frames, "hdf5.chunks")
    with opened(where) as group:
        label = f"{name!r} of {group.file.filename}"
        with damage(label):
            side = local(group, layout.side_of(name), h5py.Group, label, missing=None)
            crc = None if side is None else listed(side, "chunk_crc32c", label, missing=None)
            stored = Chunks(group, name, crc, label)
        rows = range(len(stored))[frames]
        with damage(label):
            cap = stored.largest(rows)
        for a in range(0, len(rows), batch):
            held = [stored.chunk(*key) for key in stored.keys(rows[a : a + batch])]
            payload, size = padded([data for _, data in held], stored.nbytes, cap)
            masks = np.array([mask for mask, _ in held], np.uint32)
            yield Batch(rows[a], len(rows[a : a + batch]), payload, size, masks, stored.shape[1:], stored.filters)


def batches(where: Any, name: str, batch: int = 64, frames: slice = slice(None), *, masked: float | None = None, unchecked: bool = False,
            backend: str | None = None, device: Any = None) -> Iterator[tuple[int, Any]]:
    """What read() gives, `batch` frames at a time: the number of the first one, and the frames (batch, *frame), the last time fewer, where backend keeps its
    arrays. The file is opened once, and what decodes is made once."""
    batch, place = _asked(batch, frames, "hdf5.batches"), place_of(backend, device, "hdf5.batches")
    with opened(where) as group:
        with damage(f"{name!r} of {group.file.filename}"):
            stored = Stored(group, name)
        rows = range(len(stored.main))[frames]
        with damage(stored.main.label):
            stored.admit(rows, unchecked)
        for a in range(0, len(rows), batch):
            with damage(stored.main.label):
                out = stored.frames(rows[a : a + batch], masked, place)
            yield rows[a], out


def _asked(batch: Any, frames: Any, who: str) -> int:
    """How many frames at a time. Raises TypeError or ValueError for what is no such number, and for frames that do not follow one another."""
    if not isinstance(batch, numbers.Integral) or isinstance(batch, bool):
        raise TypeError(f"{who}: batch must be a whole number of frames, got {batch!r}")
    if batch < 1:
        raise ValueError(f"{who}: batch must be 1 frame or more, got {batch}")
    if not isinstance(frames, slice) or frames.step not in (None, 1):
        raise ValueError(f"{who}: frames must be a slice without a step, for they follow one another, got {frames!r}")
    return int(batch)
