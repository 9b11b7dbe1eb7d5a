"""Frames of HDF5 files, one file after the other, whatever filters they need.

Chunks of bitshuffle + LZ4 alone meet a decoder that checks every length (source_chunks.py): damage in them costs their frames and no more. What
other filters do with damaged bytes is theirs, and HDF5 itself believes much of its own metadata (object headers, the index of the chunks; older
files have no checksums there): whether it survives damage in those cannot be checked from here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np

from .config import Hdf5Source
from .document import Text
from .event import Ids
from .faults import ConfigError
from .source import NONE, NOTHING, Read, SourceLost, Values
from .source_chunks import ChunkReader, decodable
from .source_rows import Misfit, dataset_in, in_words, row_for_each
from .yaml12 import Path as Key

PLUGINS = hdf5plugin.__name__       # importing it is what registers the filters


class _Piece(NamedTuple):
    file: Path
    frames: int
    pulse_id: Ids
    size: int       # of the file [bytes]
    values: dict[str, np.ndarray[Any, Any]]


class FromHdf5:
    """The datasets `raw` of several files as one run of frames; place: of the block in the document."""

    def __init__(self, document: Text, block: Hdf5Source, place: Key = ("source",)) -> None:
        self._block, self._place = block, place
        faults: list[str] = []
        self._pieces: list[_Piece] = []
        self.frame: tuple[int, ...] = ()
        for i, name in enumerate(block.files):
            try:
                self._pieces.append(self._open(document.resolve(name), sum(p.frames for p in self._pieces)))
            except Misfit as e:
                faults.append(document.at(e.key or (*place, "files", i), f"{name}{e}"))
            except (OSError, RuntimeError, ValueError, MemoryError) as e:     # damage: HDF5's words, or an array of a size that cannot be
                faults.append(document.at((*place, "files", i), f"{name}: cannot be read: {in_words(e)}"))
        if faults:
            raise ConfigError(faults)
        self.total, self.ids = sum(p.frames for p in self._pieces), np.concatenate([p.pulse_id for p in self._pieces])
        self.values = {k: np.concatenate([p.values[k] for p in self._pieces]) for k in block.values}
        self._piece = self._row = 0
        self._file: h5py.File | None = None
        self._chunks: ChunkReader | None = None

    def _open(self, path: Path, before: int) -> _Piece:
        """What a file holds. Raises Misfit."""
        if not path.exists():
            raise Misfit((), ": no such file")
        if not path.is_file():
            raise Misfit((), f": is {'a folder' if path.is_dir() else 'no file'}; name the HDF5 files")
        try:
            file = h5py.File(path, "r", locking=False)
        except OSError as e:
            raise Misfit((), f": cannot be opened as HDF5: {in_words(e)}") from None
        with file:
            raw = dataset_in(file, self._block.raw, (*self._place, "raw"))
            if raw.dtype != np.uint16 or raw.ndim < 2 or (self.frame and raw.shape[1:] != self.frame):
                want = ", ".join(map(str, self.frame)) if self.frame else "rows, cols"
                raise Misfit((*self._place, "raw"), f":{self._block.raw} must be uint16 (n, {want}), got {raw.dtype} {raw.shape}")
            self.frame = raw.shape[1:]
            values = {k: row_for_each(file, where, len(raw), (*self._place, "values", k)) for k, where in self._block.values.items()}
            if self._block.pulse_id is None:
                return _Piece(path, len(raw), np.arange(before, before + len(raw), dtype=np.uint64), path.stat().st_size, values)
            key: Key = (*self._place, "pulse_id")
            ids = row_for_each(file, self._block.pulse_id, len(raw), key, "iu")
            if len(ids) and ids.min() < 0:
                raise Misfit(key, f":{self._block.pulse_id} has {(ids < 0).sum()} negative ids")
            return _Piece(path, len(raw), ids.astype(np.uint64), path.stat().st_size, values)

    def skip(self, n: int) -> None:
        """Pass over n frames, unread."""
        while n and self._piece < len(self._pieces):
            step = min(n, self._pieces[self._piece].frames - self._row)
            self._row, n = self._row + step, n - step
            self._next_piece()

    def _next_piece(self) -> None:
        while self._piece < len(self._pieces) and self._row == self._pieces[self._piece].frames:
            self.close()
            self._piece, self._row = self._piece + 1, 0

    def read(self, raw: np.ndarray[Any, Any], pulse_id: Ids, limit: int, values: Values = NOTHING) -> Read:
        self._next_piece()
        if self._piece == len(self._pieces):
            return Read(0, NONE, True)
        piece = self._pieces[self._piece]
        n = min(limit, len(raw), piece.frames - self._row)
        ids = piece.pulse_id[self._row : self._row + n]
        good = self._fill(piece, raw, n)
        self._still_whole(piece)
        for name, rows in values.items():
            rows[: good.sum()] = piece.values[name][self._row : self._row + n][good]
        self._row += n
        pulse_id[: good.sum()] = ids[good]
        return Read(int(good.sum()), ids[~good], False)

    def _fill(self, piece: _Piece, raw: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
        """Read n frames; where one cannot be decoded, the later ones move up. True for the good ones."""
        good = np.ones(n, bool)
        try:
            if self._file is None:
                self._file = h5py.File(piece.file, "r", locking=False)
                self._chunks = None
            data = self._file[self._block.raw]
            if data.shape != (piece.frames, *self.frame):
                raise SourceLost(f"{piece.file}: {self._block.raw} changed from {(piece.frames, *self.frame)} to {data.shape} while it was read")
            if decodable(data):
                return self._decoded(data, piece, raw, n)
            try:
                data.read_direct(raw, np.s_[self._row : self._row + n], np.s_[:n])
                return good
            except OSError as e:
                _raise_if_lost(e)
            filled = 0
            for i in range(n):
                try:
                    data.read_direct(raw, np.s_[self._row + i], np.s_[filled])
                    filled += 1
                except OSError as e:
                    _raise_if_lost(e)
                    good[i] = False
        except SourceLost:
            raise
        except (OSError, KeyError, RuntimeError, MemoryError) as e:
            raise SourceLost(f"{piece.file}: frame {self._row} on: {in_words(e)}") from None
        return good

    def _decoded(self, data: Any, piece: _Piece, raw: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
        """_fill for chunks that are decoded here."""
        if self._chunks is None:
            self._chunks = ChunkReader(data, piece.size)
        good: np.ndarray[Any, Any] = self._chunks.read(raw, self._row, n)
        for to, row in enumerate(np.flatnonzero(good).tolist()):
            if to != row:
                raw[to] = raw[row]      # one by one: a batch is too large to be copied
        return good

    def _still_whole(self, piece: _Piece) -> None:
        """HDF5 reads zeros where a file was cut off after it was opened: such frames must not pass. Raises SourceLost."""
        try:
            size = piece.file.stat().st_size if self._file is None else os.fstat(self._file.id.get_vfd_handle()).st_size
        except OSError as e:
            raise SourceLost(f"{piece.file}: frame {self._row} on: {e}") from None
        if size < piece.size:
            raise SourceLost(f"{piece.file}: frame {self._row} on: the file was cut off while it was read ({size} of {piece.size} bytes are left)")

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        return None

    def close(self) -> None:
        self._chunks = None
        if self._file is not None:
            self._file.close()
            self._file = None


def _raise_if_lost(e: OSError) -> None:
    """A frame that a filter refuses is corrupt; any other failure is the file's."""
    if "filter" not in str(e):
        raise e
