"""Frames through a wavelet codec in HDF5 that plain h5py + hdf5plugin opens, and frames rebuilt from it.

    write_wavelet("run.h5", Wavelet(0.5), energy)               # float32 within 0.5; other values exact
    write_wavelet("run.h5", ReversibleWavelet("uint16"), raw)   # lossless
    energy = read_wavelet("run.h5")                             # CRCs checked

Layout 1, in the file's root or any group:
  code                (n, 2, *frame) u16, a frame a chunk, of the filters of the encoder that is named: coefficients, and corrections (compress.Wavelet); or
                      (n, *frame) u16 or u32: coefficients alone (compress.ReversibleWavelet). Folded: c = (code >> 1) ^ -(code & 1). hdf5.py says what lies
                      in code_side: the CRC of each chunk, and frame_status
  with a bound also:
  max_error           (n,) f32: the largest error of a frame's pixels that are neither masked nor listed; 0 of a frame that is kept whole
  outlier_offset      (n + 1,) u64: frame i has the values offset[i] to offset[i + 1] of outlier_index (m,) u32, the flat pixel, ascending, and
                      outlier_value (m,) f32
  lossless            (k, *frame) f32, and lossless_frame (k,) u64: frames with more such values than the list held, by the same encoder
Attributes of the group: wavelet_layout = 1; dtype of the frames; wavelet, lifting, levels and, with a bound, steps (of the approximation, then of levels 1, 2
...), residual_step, error_bound, missing_value, listed_value: energy = inverse DWT(c[0] * step) + c[1] * residual_step, in float32 and in the order that
features.Lifting states. The operations' configuration is in the attribute codec, the data's way in provenance (JSON)."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import h5py
import numpy as np

from .. import backends
from ..op import DecodeError
from . import hdf5_layout as layout
from . import hdf5_rows
from .codecs import encoder_of
from .hdf5_chunks import damage, local
from .hdf5_reader import opened
from .hdf5_reader import read as read_codes
from .hdf5_writer import Writer
from .reversible_wavelet import ReversibleWavelet
from .wavelet import Wavelet
from .wavelet_decode import WaveletDecode

LAYOUT = 1
BATCH = 64 << 20    # bytes of frames that are coded or rebuilt at a time
NAMES = ("code", "code_side", "max_error", "outlier_offset", "outlier_index", "outlier_value", "lossless", "lossless_side", "lossless_frame")


def write_wavelet(where: Any, op: Wavelet | ReversibleWavelet, frames: Any, *, pixel_status: Any = None, frame_status: Any = None,
                  encoder: Any = "bitshuffle_zstd", backend: str | None = None, provenance: Mapping[str, Any] | None = None) -> None:
    """A new file, or what an open h5py Group holds from then on: frames of numpy, cupy or opencl, coded where they are. Frames with more values than op's list
    holds are kept whole. encoder: of code and lossless, by its name or an operation that makes chunks. What fails leaves nothing behind."""
    if not isinstance(op, (Wavelet, ReversibleWavelet)) or getattr(op, "back", False):
        raise TypeError(f"write_wavelet: op must be a compress.Wavelet or ReversibleWavelet, got {getattr(op, 'name', type(op).__name__)}")
    if pixel_status is not None and not isinstance(op, Wavelet):
        raise TypeError(f"write_wavelet: {op.name} is lossless: pixel_status has no place in it")
    code = op.outputs(*op.bind((frames,), {}))[0]
    maker = encoder_of(encoder, "write_wavelet")
    if not isinstance(where, h5py.Group) and os.path.exists(where):
        raise FileExistsError(errno.EEXIST, "the file exists", os.fspath(where))
    with ExitStack() as undo, nullcontext(where) if isinstance(where, h5py.Group) else h5py.File(where, "x", libver=layout.LIBVER) as group:
        held = [k for k in NAMES if k in group]
        if held:
            raise ValueError(f"write_wavelet: {group.name} holds {', '.join(held)} already")
        undo.callback(_discard, where)
        with Writer(group, "code", code.shape[1:], code.dtype, encoder=maker, backend=backend, provenance=dict(provenance or {})) as writer:
            lists, whole = _append(writer, op, frames, pixel_status, frame_status, backend)
        if isinstance(op, Wavelet):
            _keep(group, lists, whole, tuple(frames.shape[1:]), maker, backend)
        attributes = op.attributes() if isinstance(op, Wavelet) else {"wavelet": "CDF 5/3", "lifting": "ITU-T T.800 annex F", "levels": np.uint32(op.levels)}
        made_by = {**layout.provenance([op, maker], dict(provenance or {})), "provenance": writer.dataset.attrs["provenance"]}
        group.attrs.update({**attributes, **made_by, "dtype": np.dtype(frames.dtype).name, "wavelet_layout": LAYOUT})
        undo.pop_all()


def _discard(where: Any) -> None:
    """What a failed write made."""
    if isinstance(where, h5py.Group):
        for name in NAMES:
            with suppress(OSError, RuntimeError, KeyError):     # the first error is the one to be seen
                del where[name]
    else:
        with suppress(OSError):
            os.unlink(where)


def _append(writer: Writer, op: Any, frames: Any, pixel_status: Any, frame_status: Any,
            backend: str | None) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
    """Code all frames, batch by batch: the lists of each batch, and the frames to be kept whole."""
    owner, lists = backends.owners(frames)[0], []
    whole: dict[int, np.ndarray] = {}
    step = max(1, BATCH // max(layout.frame_nbytes(frames.shape[1:], frames.dtype), 1))
    for a in range(0, len(frames), step):
        x, (marks, words) = frames[a : a + step], (None if k is None else k[a : a + step] for k in (pixel_status, frame_status))
        status = None if words is None else np.array(owner.get(words))
        if isinstance(op, ReversibleWavelet):
            writer.append(op(x, backend=backend), frame_status=status if status is None else owner.put(status))
            continue
        out = op(x, marks, backend=backend)
        parts = {k: owner.get(getattr(out, k)) for k in ("outlier_index", "outlier_value", "outlier_count", "max_error")}
        over = {int(row): owner.get(x[row]) for row in np.flatnonzero(parts["outlier_count"] > op.capacity)}
        writer.append(out.code, frame_status=owner.put(hdf5_rows.frame_words(len(x), status, list(over))))
        parts["max_error"][list(over)] = 0
        lists.append(hdf5_rows.side_lists(len(x), parts["outlier_index"], parts["outlier_value"], parts["outlier_count"], parts["max_error"], over))
        whole |= {a + row: frame for row, frame in over.items()}
    return lists, whole


def _keep(group: Any, lists: list[dict[str, Any]], whole: dict[int, np.ndarray], frame: tuple[int, ...], maker: Any, backend: str | None) -> None:
    """The lists of all frames, and the frames that are kept whole."""
    kinds = {"outlier_index": np.uint32, "outlier_value": np.float32, "outlier_count": np.uint64, "max_error": np.float32}
    joined = {k: np.concatenate([part[k] for part in lists]) if lists else np.empty(0, kind) for k, kind in kinds.items()}
    joined["outlier_offset"] = np.concatenate([[0], np.cumsum(joined.pop("outlier_count"))]).astype(np.uint64)
    joined["lossless_frame"] = np.array(list(whole), np.uint64)
    for key, values in joined.items():
        layout.extend(layout.create_list(group, key, values.dtype), values)
    with Writer(group, "lossless", frame, np.float32, encoder=maker, backend=backend if backend in ("numpy", "numba") else None) as writer:
        for x in whole.values():
            writer.append(x[None])


def read_wavelet(where: Any, rows: slice = slice(None), masked: float = math.nan) -> np.ndarray:
    """The frames, rebuilt: (n, *frame) of the dtype that they had. where: a path, or an open h5py Group; rows: which frames, step 1; masked: 0 or NaN, for
    pixels that are no measurement. DecodeError: bytes or lists that are not what was written."""
    with opened(where) as group:
        label = f"{group.name!r} of {group.file.filename}"
        with damage(label):
            said = dict(group.attrs)
        if said.get("wavelet_layout") != LAYOUT:
            raise ValueError(f"read_wavelet: {label} has wavelet_layout {said.get('wavelet_layout')}; known is {LAYOUT}")
        dataset = local(group, "code", h5py.Dataset, label)
        first, stop, step = rows.indices(len(dataset))
        if step != 1:
            raise ValueError(f"read_wavelet: rows must have the step 1, got {rows}")
        decoder = _decoder(said, masked, label)
        bounded, stop = isinstance(decoder, WaveletDecode), max(first, stop)
        frames = np.empty((stop - first, *dataset.shape[2 if bounded else 1 :]), said["dtype"])
        batch = max(1, BATCH // max(frames[:1].nbytes, 1))
        for a in range(first, stop, batch):
            b = min(a + batch, stop)
            code, out = read_codes(group, "code", slice(a, b)), frames[a - first : b - first]
            with damage(label):
                out[...] = decoder(code, *_lists(group, a, b, len(dataset), label)) if bounded else decoder(code)
        if bounded:
            _whole(group, first, stop, frames, label)
        return frames


def _decoder(said: Mapping[str, Any], masked: float, label: str) -> WaveletDecode | ReversibleWavelet:
    """What the attributes say of the codes."""
    try:
        if "residual_step" in said:
            return WaveletDecode(tuple(float(s) for s in said["steps"]), float(said["residual_step"]), masked)
        return ReversibleWavelet(str(said["dtype"]), int(said["levels"]), back=True)
    except (KeyError, TypeError, ValueError) as e:
        if not (masked == 0 or math.isnan(masked)):
            raise
        raise DecodeError(f"read_wavelet: {label}: its attributes are not those of a codec: {e}") from e


def _lists(group: Any, first: int, stop: int, n: int, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """outlier_index, outlier_value, outlier_count of some frames, as a decoder takes them."""
    offsets, index, value = (local(group, k, h5py.Dataset, label) for k in ("outlier_offset", "outlier_index", "outlier_value"))
    ends = offsets[first : stop + 1].astype(np.int64)
    if offsets.shape != (n + 1,) or (np.diff(ends) < 0).any() or ends[0] < 0 or ends[-1] > min(len(index), len(value)):
        raise DecodeError(f"read_wavelet: {label}: outlier_offset of frames {first} to {stop - 1} does not ascend within the list's {len(index)} values")
    count = np.diff(ends)
    listed = np.arange(max(int(count.max()), 1)) < count[:, None]
    indices, values = np.full(listed.shape, 2**32 - 1, np.uint32), np.zeros(listed.shape, np.float32)
    indices[listed], values[listed] = index[ends[0] : ends[-1]], value[ends[0] : ends[-1]]
    return indices, values, count.astype(np.uint32)


def _whole(group: Any, first: int, stop: int, frames: np.ndarray, label: str) -> None:
    """Put frames that are kept whole where they belong."""
    with damage(label):
        which = local(group, "lossless_frame", h5py.Dataset, label)[:].astype(np.int64)
        many = len(local(group, "lossless", h5py.Dataset, label))
    if (np.diff(which) <= 0).any() or many != len(which):
        raise DecodeError(f"read_wavelet: {label}: lossless_frame names {len(which)} frames, ascending or not, and lossless holds {many}")
    for k in np.flatnonzero((which >= first) & (which < stop)):
        frames[which[k] - first] = read_codes(group, "lossless", int(k))
