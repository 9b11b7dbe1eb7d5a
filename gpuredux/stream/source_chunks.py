"""The chunks of a source file, bitshuffle + LZ4 alone, decoded here: the filter's own decoder believes its bytes, and a damaged chunk ends the process."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import h5py
import numpy as np
from numba import njit

from ..compress import lz4_numba as lz4
from ..compress.hdf5_layout import BITSHUFFLE, chunk_limit

Array = Any
LZ4 = 2             # the filter's fifth value: what follows the bitshuffle
PAST_FILTER = 1     # filter mask of a chunk that was stored as it is


@njit(cache=True, nogil=True, error_model="numpy")
def _decode(chunk, element, code, starts, planes):  # type: ignore[no-untyped-def]
    """lz4.decode_frames for one chunk and without threads: they are the compute thread's. Whether all was right."""
    block, listed, framing, _ = lz4.walk(chunk, np.int64(chunk.shape[0]), element, code, starts)
    usable = code.shape[0] // (8 * element) * (8 * element)
    error, _, _ = lz4._decode_span(chunk, element, code, starts, block, 0, (usable + block - 1) // block, listed, planes)
    return framing == 0 and error == 0


def decodable(data: Any) -> bool:
    """Whether the chunks of a dataset can be decoded here: stored in this file behind one filter, bitshuffle with LZ4."""
    plist = data.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CHUNKED or plist.get_nfilters() != 1:
        return False
    code, _, values, _ = plist.get_filter(0)
    return bool(code == BITSHUFFLE and len(values) > 4 and values[4] == LZ4)


class ChunkReader:
    """Frames of a dataset u16 (n, *frame) that is decodable(), whatever the shape of its chunks."""

    def __init__(self, data: Any, size: int) -> None:
        """size: of the file [bytes]. Raises OSError or RuntimeError where HDF5 cannot read the index of the chunks."""
        self._data, self._size = data, size
        self._shape, self._chunk = tuple(map(int, data.shape)), tuple(map(int, data.chunks))
        self._grid = tuple(-(-n // c) for n, c in zip(self._shape, self._chunk, strict=True))
        self._nbytes = math.prod(self._chunk) * 2
        self._direct = self._chunk == (1, *self._shape[1:])
        self._stored: dict[tuple[int, ...], tuple[int, int]] = {}     # of good address and size: filter mask, size; asking HDF5 one by one is quadratic
        data.id.chunk_iter(self._note)
        usable = self._nbytes // 16 * 16
        fits = bool(self._stored)      # else the chunks' claimed size may be nonsense, and no memory is taken for it
        self._starts = np.empty(max(usable // 16, 1) if fits else 1, np.uint32)
        self._planes = np.empty(usable + 16 if fits else 16, np.uint8)
        self._whole = np.empty(self._chunk if fits and not self._direct else 0, np.uint16)
        self._held: tuple[int, ...] | None = None       # the chunk that is in _whole, and good

    def _note(self, info: Any) -> None:
        past = info.filter_mask == PAST_FILTER and info.size == self._nbytes
        packed = info.filter_mask == 0 and 12 <= info.size <= chunk_limit(self._nbytes) and self._nbytes <= 255 * info.size
        if (past or packed) and info.byte_offset is not None and info.byte_offset + info.size <= self._size:
            self._stored[tuple(map(int, info.chunk_offset))] = info.filter_mask, int(info.size)

    def read(self, raw: Array, row: int, n: int) -> Array:
        """Fill n rows of raw; True for those that are whole. A chunk that is not in the file makes its frames corrupt, too: nothing is invented."""
        good, deep = np.ones(n, bool), self._chunk[0]
        for first in range(row // deep * deep, row + n, deep):
            begin, end = max(first, row), min(first + deep, row + n)
            for cell in product(*(range(k) for k in self._grid[1:])):
                start = (first, *(i * c for i, c in zip(cell, self._chunk[1:], strict=True)))
                if self._direct:
                    whole = self._fetch(start, raw[begin - row])
                elif whole := self._held == start or self._fetch(start, self._whole):
                    self._held = start
                    stop = [min(a + c, s) for a, c, s in zip(start[1:], self._chunk[1:], self._shape[1:], strict=True)]
                    to = tuple(slice(a, b) for a, b in zip(start[1:], stop, strict=True))
                    within = tuple(slice(0, b - a) for a, b in zip(start[1:], stop, strict=True))
                    raw[(slice(begin - row, end - row), *to)] = self._whole[(slice(begin - first, end - first), *within)]
                else:
                    self._held = None
                good[begin - row : end - row] &= whole
        return good

    def _fetch(self, start: tuple[int, ...], into: Array) -> bool:
        """One chunk, decoded; whether it is one. Raises OSError where the disk fails."""
        if start not in self._stored:
            return False
        mask, size = self._stored[start]
        try:
            found, data = self._data.id.read_direct_chunk(start)
        except (OSError, RuntimeError) as e:
            if "errno" in str(e):
                raise       # the system's; else HDF5 does not find what its index lists: damage
            return False
        if (found, len(data)) != (mask, size):
            return False
        code, chunk = into.reshape(-1).view(np.uint8), np.frombuffer(data, np.uint8)
        if mask == PAST_FILTER:
            code[:] = chunk
            return True
        return bool(_decode(chunk, 2, code, self._starts, self._planes))
