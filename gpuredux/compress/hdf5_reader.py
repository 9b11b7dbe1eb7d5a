"""Read frames back: every chunk's CRC first, then our own bounds-checked decoder, then the codes' meaning. Over 200 lines: a dataset as a whole."""

from __future__ import annotations

import errno
import itertools
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..op import MOST_PIXELS, DecodeError
from . import hdf5_layout as layout
from .dequantize import CODES, Dequantize
from .dequantize_counts import CODES as TABLES
from .dequantize_counts import DequantizeCounts
from .hdf5_chunks import BATCH, Chunks, are_those, damage, entries, local
from .hdf5_lists import listed
from .hdf5_place import HOST, Place, place_of
from .hdf5_precondition import restore_of, restored
from .quantize import Quantize
from .restore import Restore


def read(where: Any, name: str, frames: Any = slice(None), *, masked: float | None = None, unchecked: bool = False, backend: str | None = None,
         device: Any = None) -> Any:
    """The frames of a dataset that Writer made: integers and floats as they were; of codes energy = code * step with all outliers and lossless frames exact.

    in:  where: a path or an open h5py Group; frames: a slice, a number (no frame axis in the result) or a sequence of numbers;
         masked: what stands for masked pixels of codes (default NaN); unchecked: take frames without a CRC too (files of other programs,
         the tail that a killed writer left): their bytes meet only the decoder's checks
         backend: "opencl" or "cupy": chunks are decoded on that device (None: its first one), all at once, and frames stay there; masked is then 0 or NaN
    out: (n, *frame) in the dtype that was written: of numpy, or of the backend that is named
    exact, or within the dataset's attribute error_bound; DecodeError names the frame whose bytes are not what was written
    """
    place = place_of(backend, device, "hdf5.read")
    with opened(where) as group:
        with damage(f"{name!r} of {group.file.filename}"):
            stored = Stored(group, name)
        chosen, single = _choose(frames, len(stored.main))
        with damage(stored.main.label):
            stored.admit(chosen, unchecked)
            out = stored.frames(chosen, masked, place)
        return out[0] if single else out


class Stored:
    """A dataset with what lies beside it, checked for being of one piece."""

    def __init__(self, group: Any, name: str) -> None:
        label = f"{name!r} of {group.file.filename}"
        self.side = local(group, layout.side_of(name), h5py.Group, label, missing=None)
        crc = None if self.side is None else listed(self.side, "chunk_crc32c", label, missing=None)
        self.main = Chunks(group, name, crc, label)
        attrs = self.main.dataset.attrs
        self.inverse: Any = None
        self.codes, self.lossless = "quantizer" in attrs or "preconditioning" in attrs, None
        self.committed = self.main.committed()
        known = layout.LAYOUT_WORDS if "preconditioning" in attrs else layout.LAYOUT_COUNTS if "step_sigma" in attrs else \
            layout.LAYOUT_BOUNDS if self.codes and "error_bound" not in attrs else layout.LAYOUT
        if "gpuredux_layout" in attrs and not np.array_equal(attrs["gpuredux_layout"], known):
            raise DecodeError(f"{label} has layout {attrs['gpuredux_layout']}; this version knows {known} of such data")
        if ("gpuredux_layout" in attrs and crc is None) or self.committed > len(self.main):
            raise DecodeError(f"{label} has {len(self.main)} frames, and CRCs of {'none' if crc is None else self.committed}")
        if not self.codes:
            return
        if self.side is None:
            raise DecodeError(f"{label} holds codes, but the group {layout.side_of(name)} with their outliers is missing")
        lists = ("outlier_index", "outlier_value", "outlier_offset", "lossless_frame", "lossless_crc32c")
        self.lists = {key: listed(self.side, key, label) for key in lists}
        self.lossless = Chunks(self.side, "lossless", self.lists["lossless_crc32c"], f"lossless frames of {label}")
        self.inverse = self._dequantize(attrs, label)
        if len(self.lists["outlier_offset"]) <= self.committed or self.lossless.shape[1:] != self.main.shape[1:]:
            raise DecodeError(f"{label}: the lists of outliers do not belong to {self.committed} frames of {self.main.shape[1:]}")
        if not len(self.lists["lossless_frame"]) == self.lossless.committed() <= self.lossless.dataset.id.get_num_chunks():
            raise DecodeError(f"{label}: lossless frames, their numbers and their CRCs are not equally many")
        self.lossless_rows = {int(row): i for i, row in enumerate(entries(self.lists["lossless_frame"], label))}

    def _dequantize(self, attrs: Any, label: str) -> Dequantize | DequantizeCounts | Restore:
        """The inverse of the Quantize, or of what else makes codes, that these attributes describe; they must all be what it would
        write. Strings are never read: HDF5 keeps them without a checksum, and there are bits whose flip sends it into an endless loop."""
        if "preconditioning" in attrs:
            return restore_of(self, attrs, label)
        if "step_sigma" in attrs:
            return self._of_counts(attrs, label)
        code = next((k for k, kind in CODES.items() if kind.dtype == self.main.dtype), "")
        try:
            zero = int(attrs.get("zero_code", 0))
            if "error_bound_sigma" in attrs:
                return Dequantize(code=code, scale=self._scale(label), zero=zero)
            bound = {"rel": float(attrs["error_bound_relative"])} if "error_bound_relative" in attrs else {"abs": float(attrs["error_bound"])}
            quantize = Quantize(code=code, zero=zero, **bound)
            expected = quantize.attributes() if "abs" in bound else {"log2_step": quantize.step}
            wrong = [k for k, value in expected.items() if not isinstance(value, str) and not np.array_equal(attrs[k], value)]
            wrong += ["add_offset"] if "add_offset" in attrs and not zero else []
            if not wrong and "rel" in bound:
                return Dequantize(code=code, log2_step=float(attrs["log2_step"]), log2_smallest=float(attrs["log2_smallest"]))
        except (KeyError, ValueError, TypeError, OSError) as e:
            raise DecodeError(f"{label}: its attributes are not those of codes: {' '.join(str(e).split())}") from None
        if wrong:
            raise DecodeError(f"{label}: the attributes {', '.join(wrong)} do not belong to error_bound {next(iter(bound.values()))}")
        return quantize.inverse()

    def _of_counts(self, attrs: Any, label: str) -> DequantizeCounts:
        """The inverse of a QuantizeCounts: its table lies beside the codes."""
        stored = listed(self.side, "decode_table", label)
        if stored.ndim != 1 or stored.dtype != np.float32 or not 1 <= stored.size < 1 << 16 or self.main.dtype.name not in TABLES:
            raise DecodeError(f"{label}: its decode_table must be float32 of less than 65536 entries, got {stored.dtype} {stored.shape}")
        with damage(f"decode_table of {label}"):
            table, given = stored[()], {k: attrs[k] for k in ("_FillValue", "missing_value", "valid_range")}
        try:
            inverse = DequantizeCounts(table, self.main.dtype.name)
        except ValueError as e:
            raise DecodeError(f"{label}: its decode_table is none: {e}") from None
        expected = {"_FillValue": inverse.fill_code, "missing_value": inverse.masked_code, "valid_range": [0, len(table) - 1]}
        wrong = [k for k, value in expected.items() if not np.array_equal(given[k], value)]
        if wrong:
            raise DecodeError(f"{label}: the attributes {', '.join(wrong)} do not belong to a decode_table of {len(table)} entries")
        return inverse

    def _scale(self, label: str) -> np.ndarray:
        """The step of each pixel."""
        stored = listed(self.side, "scale", label)
        if stored.shape != self.main.shape[1:] or stored.dtype != np.float32 or stored.size > MOST_PIXELS:
            raise DecodeError(f"{label}: its scale must be float32 {self.main.shape[1:]}, got {stored.dtype} {stored.shape}")
        with damage(f"scale of {label}"):
            plane: np.ndarray = stored[()]
        return plane

    def admit(self, chosen: Sequence[int], unchecked: bool) -> None:
        """Whether these frames may be read."""
        last = max((*chosen[:1], *chosen[-1:]) if isinstance(chosen, range) else chosen, default=-1)    # a range may claim 2**60 frames
        if last >= self.committed and (self.codes or not unchecked):
            if self.main.crc is None:
                raise DecodeError(f"{self.main.label} has no CRCs: not written by gpuredux; unchecked=True reads it all the same")
            remedy = "" if self.codes else ", or unchecked=True"
            raise DecodeError(f"frames {self.committed} to {len(self.main) - 1} of {self.main.label} were not committed: the writer did not end; "
                              f"read frames=slice({self.committed}){remedy}")

    def outliers(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """outlier_index (n, capacity), outlier_value (n, capacity), outlier_count (n,) of these frames, as Dequantize takes them."""
        return listed_of(self.lists, rows, math.prod(self.main.shape[1:]), self.main.label)

    def check_sizes(self, rows: Sequence[int]) -> int:
        """The stored bytes of these frames; DecodeError if they cannot be what they claim."""
        total = self.main.check_sizes(rows)
        return total if self.lossless is None else total + self.lossless.check_sizes([self.lossless_rows[k] for k in rows if k in self.lossless_rows])

    def frames(self, chosen: Sequence[int], masked: float | None, place: Place = HOST) -> Any:
        """Decode, and dequantise codes, there."""
        main, frame = self.main, self.main.shape[1:]
        self.check_sizes(chosen if isinstance(chosen, range) else sorted(set(chosen)))
        words = self.lossless.dtype if isinstance(self.inverse, Restore) else np.float32     # type: ignore[union-attr]
        out = place.empty((len(chosen), *frame), words if self.codes else main.dtype)
        if not self.codes:
            main.decode(chosen, out, place)
            return out
        if isinstance(self.inverse, Restore):
            restored(self, chosen, out, place)
            return out
        step = place.step(BATCH // layout.frame_nbytes(frame, main.dtype), len(chosen))
        for a in range(0, len(chosen), step):
            self._energy(chosen[a : a + step], masked, out[a : a + step] if step < len(chosen) else out, place)
        return out

    def exact(self, row: int) -> np.ndarray:
        """One of lossless_rows."""
        frame = np.empty((1, *self.main.shape[1:]), self.lossless.dtype)     # type: ignore[union-attr]
        self.lossless.decode([self.lossless_rows[row]], frame)     # type: ignore[union-attr]
        return frame[0]

    def _energy(self, rows: Sequence[int], masked: float | None, out: Any, place: Place) -> None:
        """Codes come back to the host, to be held against the lists."""
        code = place.empty(out.shape, self.main.dtype)
        self.main.decode(rows, code, place)
        index, value, count = self.outliers(rows)
        place.run(place.masking(self.inverse, masked, "hdf5.read"), code, index, value, count, out=out)
        code, put = place.get(code), math.nan if masked is None else masked
        fill, masking = (self.inverse.kind.fill, self.inverse.kind.masked) if isinstance(self.inverse, Dequantize) else \
            (self.inverse.fill_code, self.inverse.masked_code)
        for i, row in enumerate(rows):
            if row in self.lossless_rows:
                exact = self.exact(row).astype(np.float32)
                exact[code[i] == masking] = put
                place.keep(out, i, exact)
            elif not are_those(index[i, : count[i]], code[i] == fill):
                raise DecodeError(f"frame {row} of {self.main.label}: its outliers are not where its codes say")
            elif place.host:
                out[i][code[i] == masking] = put


def listed_of(lists: Mapping[str, Any], rows: Sequence[int], npix: int, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """outlier_index (n, capacity), outlier_value (n, capacity), outlier_count (n,) of frames of so many pixels, from the lists of a file; DecodeError if they
    cannot be."""
    with damage(f"outliers of {label}"):
        ends = _pick(lists["outlier_offset"], rows), _pick(lists["outlier_offset"], [row + 1 for row in rows])
        stop = min(len(lists["outlier_index"]), len(lists["outlier_value"]))
        spans = [(int(a), int(b)) for a, b in zip(*ends, strict=True)]
        for row, (a, b) in zip(rows, spans, strict=True):
            if not a <= b <= stop or b - a > npix:
                raise DecodeError(f"frame {row} of {label} claims the outliers {a} to {b} of {stop}")
        count = np.array([b - a for a, b in spans], np.uint32)
        index = np.zeros((len(rows), max(1, int(count.max(initial=0)))), np.uint32)
        value = np.zeros(index.shape, lists["outlier_value"].dtype)
        for i, (a, b) in enumerate(spans):
            if b > a:
                index[i, : b - a], value[i, : b - a] = lists["outlier_index"][a:b], lists["outlier_value"][a:b]
    for i, row in enumerate(rows):
        own = index[i, : count[i]].astype(np.int64)
        if len(own) and (own[-1] >= npix or np.any(np.diff(own) <= 0)):
            raise DecodeError(f"frame {row} of {label}: its outliers are not ascending pixels below {npix}")
    return index, value, count


def _pick(dataset: Any, rows: Sequence[int]) -> np.ndarray:
    """Entries of a list: in one read where they stand in a row."""
    if not rows:
        return np.empty(0, dataset.dtype)
    if len(rows) == rows[-1] - rows[0] + 1 and all(b - a == 1 for a, b in itertools.pairwise(rows)):
        together: np.ndarray = dataset[rows[0] : rows[-1] + 1]
        return together
    return np.array([dataset[row] for row in rows])


def _choose(frames: Any, n: int) -> tuple[Sequence[int], bool]:
    """Numbers of frames; and whether one number was asked for."""
    if isinstance(frames, slice):
        return range(n)[frames], False
    single = not isinstance(frames, (Sequence, np.ndarray))
    try:
        rows = [operator.index(k) for k in ([frames] if single else frames)]
    except TypeError:
        raise TypeError(f"hdf5.read: frames must be a slice, a frame's number or a sequence of numbers (of a mask numpy.flatnonzero(mask)), "
                        f"got {frames!r}") from None
    for k in rows:
        if not -n <= k < n:
            raise IndexError(f"hdf5.read: frame {k} of {n}")
    return [k % n for k in rows], single


@contextmanager
def opened(where: Any) -> Iterator[Any]:
    """A Group as it is, or the file of a path. Never opened as SWMR readers do: HDF5 would then retry a damaged checksum for hours."""
    if isinstance(where, h5py.Group):
        yield where
        return
    if not isinstance(where, (str, os.PathLike)):
        raise TypeError(f"hdf5: where must be a path or an open h5py Group, got {type(where).__name__}")
    if not Path(where).is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", os.fspath(where))
    try:
        file = h5py.File(where, "r")
    except (OSError, RuntimeError) as e:
        reason = " ".join(str(e).split())
        if "already open for write" in reason:
            reason = "its writer is at work or was killed: pass h5py.File(path, 'r', swmr=True) in place of the path, or run h5clear -s"
        raise DecodeError(f"{os.fspath(where)} is no whole HDF5 file: {reason}") from e
    with file:
        yield file
