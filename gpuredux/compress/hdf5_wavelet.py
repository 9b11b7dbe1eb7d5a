"""Frames through a wavelet codec in HDF5 that plain h5py + hdf5plugin opens, and frames rebuilt from it.

    write_wavelet("run.h5", Wavelet(0.5), energy)               # float32 within 0.5; other values exact
    write_wavelet("run.h5", ReversibleWavelet("uint16"), raw)   # lossless
    energy = read_wavelet("run.h5")                             # CRCs checked

Layout 2, in the file's root or any group (1, never released, had no seal):
  code                (n, 2, *frame) u16, a frame a chunk, of the filters of the encoder that is named: coefficients, and corrections (compress.Wavelet); or
                      (n, *frame) u16 or u32: coefficients alone (compress.ReversibleWavelet). Folded: c = (code >> 1) ^ -(code & 1). hdf5.py says what lies
                      in code_side: the CRC of each chunk, and frame_status
  with a bound also:
  max_error           (n,) f32: the largest error of a frame's pixels that are neither masked nor listed; 0 of a frame that is kept whole
  outlier_offset      (n + 1,) u64: frame i has the values offset[i] to offset[i + 1] of outlier_index (m,) u32, the flat pixel, ascending, and
                      outlier_value (m,) f32
  lossless            (k, *frame) f32, by the same encoder, with its CRCs in lossless_side, and lossless_frame (k,) u64: frames with more such values
                      than the list held
Attributes of the group: wavelet_layout = 2; dtype of the frames; wavelet, lifting, levels and, with a bound, steps (of the approximation, then of levels 1, 2
...), residual_step, error_bound, missing_value, listed_value: energy = inverse DWT(c[0] * step) + c[1] * residual_step, in float32 and in the order that
features.Lifting states. seal_crc32c: of the numbers and dtype among these, code's shape, outlier_offset and lossless_frame (hdf5_groups.py). The operations'
configuration is in the attribute codec, the data's way in provenance (JSON). Lists that are not empty have Fletcher-32 sums."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import backends
from ..op import DecodeError
from . import hdf5_groups as groups
from . import hdf5_layout as layout
from . import hdf5_rows
from .codecs import exact_encoder_of, of_any_frames
from .hdf5_chunks import are_those, damage, entries
from .hdf5_place import Place, place_of
from .hdf5_reader import Stored, listed_of, opened
from .hdf5_writer import Writer
from .reversible_wavelet import LIFTED, ReversibleWavelet
from .wavelet import Wavelet
from .wavelet_decode import WaveletDecode
from .wavelet_numba import LISTED, MASKED

LAYOUT = 2
BATCH = 64 << 20    # bytes of frames that are coded or rebuilt at a time
NAMES = ("code", "code_side", "max_error", "outlier_offset", "outlier_index", "outlier_value", "lossless", "lossless_side", "lossless_frame")
LISTS = {"outlier_offset": np.uint64, "outlier_index": np.uint32, "outlier_value": np.float32}
SEALED = ("wavelet_layout", "dtype", "levels")                                                          # of both operations
BOUNDED = ("steps", "residual_step", "error_bound", "missing_value", "listed_value")                    # of Wavelet, too
ATTRIBUTES = (*SEALED, *BOUNDED, "wavelet", "lifting", "quantizer", groups.SEAL, *groups.PROVENANCE)


def write_wavelet(where: Any, op: Wavelet | ReversibleWavelet, frames: Any, *, pixel_status: Any = None, frame_status: Any = None,
                  encoder: Any = "bitshuffle_zstd", backend: str | None = None, provenance: Mapping[str, Any] | None = None) -> None:
    """A new file, or what an open h5py Group holds from then on; what fails leaves neither file nor any part of it behind.

    frames:  (n, *panels, rows, cols) of op's dtype, of numpy, cupy or opencl, coded where they are, on this backend of theirs; every row is stored: of a batch
             that has fewer live ones, give frames[:live]. Those with more values than op's list holds are kept whole
    pixel_status (n, *frame) u8, with Wavelet: what is not 0 is masked; frame_status (n,) u32: both where frames are
    encoder: of code and lossless, a name of codecs.CODECS or an operation that makes chunks without loss
    raises:  TypeError, ValueError: something is not as said here, or the group holds one of the names; FileExistsError; OSError
    """
    if not isinstance(op, (Wavelet, ReversibleWavelet)) or getattr(op, "back", False):
        raise TypeError(f"write_wavelet: op must be a compress.Wavelet or ReversibleWavelet, got {getattr(op, 'name', type(op).__name__)}")
    if pixel_status is not None and not isinstance(op, Wavelet):
        raise TypeError(f"write_wavelet: {op.name} is lossless: pixel_status has no place in it")
    code = op.outputs(*op.bind((frames,), {}))[0]
    maker = exact_encoder_of(encoder, "write_wavelet")
    with groups.filling(where, NAMES, ATTRIBUTES, "write_wavelet") as group:
        with Writer(group, "code", code.shape[1:], code.dtype, encoder=maker, backend=backend, provenance=dict(provenance or {})) as writer:
            if isinstance(op, Wavelet):
                there = backend if backend in ("numpy", "numba") else None
                with Writer(group, "lossless", tuple(frames.shape[1:]), np.float32, encoder=of_any_frames(maker), backend=there) as kept:
                    lists, whole = _append(writer, kept, op, frames, pixel_status, frame_status, backend)
                sealed = _keep(group, lists, whole)
            else:
                sealed = ()
                for _, x, words in _batches(frames, frame_status):
                    writer.append(op(x, backend=backend), frame_status=words)
        attributes = op.attributes() if isinstance(op, Wavelet) else {"wavelet": "CDF 5/3", "lifting": "ITU-T T.800 annex F", "levels": np.uint32(op.levels)}
        made_by = {**layout.provenance([op, maker], {}), "provenance": writer.dataset.attrs["provenance"]}
        decides = {"wavelet_layout": LAYOUT, "dtype": np.bytes_(np.dtype(frames.dtype).name), **{k: v for k, v in attributes.items() if not isinstance(v, str)}}
        group.attrs.update({**{k: v for k, v in attributes.items() if isinstance(v, str)}, **made_by})
        groups.seal(group, decides, (np.array(writer.dataset.shape, np.uint64), *sealed))


def _batches(frames: Any, *beside: Any) -> Iterator[tuple[Any, ...]]:
    """The number of frames before, some frames, and their rows of what is beside, None where that is None."""
    step = max(1, BATCH // max(layout.frame_nbytes(frames.shape[1:], frames.dtype), 1))
    for a in range(0, len(frames), step):
        yield (a, *(None if k is None else k[a : a + step] for k in (frames, *beside)))


def _append(writer: Writer, kept: Writer, op: Any, frames: Any, pixel_status: Any, frame_status: Any,
            backend: str | None) -> tuple[list[dict[str, Any]], list[int]]:
    """Code all frames, batch by batch; those with more outliers than a list holds go to kept, whole: the lists of each batch, and the rows of these frames."""
    owner, lists = backends.owners(frames)[0], []
    whole: list[int] = []
    for a, x, marks, words in _batches(frames, pixel_status, frame_status):
        status = None if words is None else np.array(owner.get(words))
        out = op(x, marks, backend=backend)
        parts = {k: owner.get(getattr(out, k)) for k in ("outlier_index", "outlier_value", "outlier_count", "max_error")}
        over = {int(row): owner.get(x[row]) for row in np.flatnonzero(parts["outlier_count"] > op.capacity)}
        writer.append(out.code, frame_status=owner.put(hdf5_rows.frame_words(len(x), status, list(over))))
        for frame in over.values():
            kept.append(frame[None])
        parts["max_error"][list(over)] = 0
        lists.append(hdf5_rows.side_lists(len(x), parts["outlier_index"], parts["outlier_value"], parts["outlier_count"], parts["max_error"], over))
        whole += [a + row for row in over]
    return lists, whole


def _keep(group: Any, lists: list[dict[str, Any]], whole: list[int]) -> tuple[np.ndarray, ...]:
    """The lists of all frames: what of it is to be sealed."""
    kinds = {"outlier_index": np.uint32, "outlier_value": np.float32, "outlier_count": np.uint64, "max_error": np.float32}
    joined = {k: np.concatenate([part[k] for part in lists]) if lists else np.empty(0, kind) for k, kind in kinds.items()}
    joined["outlier_offset"] = np.concatenate([[0], np.cumsum(joined.pop("outlier_count"))]).astype(np.uint64)
    joined["lossless_frame"] = np.array(whole, np.uint64)
    groups.add_lists(group, joined)
    return joined["outlier_offset"], joined["lossless_frame"]


def read_wavelet(where: Any, rows: slice = slice(None), masked: float = math.nan, *, backend: str | None = None, device: Any = None) -> Any:
    """The frames, rebuilt: (n, *frame) of the dtype that they had. where: a path, or an open h5py Group; rows: which frames, step 1; masked: 0 or NaN, for
    pixels that are no measurement; backend, device: where frames are decoded, all at once, and stay (None: the host, numpy arrays). DecodeError: bytes, lists
    or attributes that are not what was written."""
    place = place_of(backend, device, "read_wavelet")
    if not (masked == 0 or math.isnan(masked)):
        raise ValueError(f"read_wavelet: masked must be 0 or NaN, got {masked}")
    with opened(where) as group:
        label = f"{group.name!r} of {group.file.filename}"
        groups.layout_of(group, "wavelet_layout", LAYOUT, "read_wavelet", label)
        with damage(label):
            codes, decoder, kind, lists = _opened(group, masked, label)
        chosen, bounded = groups.rows_of(rows, len(codes.main), "read_wavelet"), isinstance(decoder, WaveletDecode)
        with damage(codes.main.label):
            codes.admit(chosen, False)
            codes.check_sizes(chosen)
        shape = codes.main.shape[2 if bounded else 1 :]
        frames, batch = place.empty((len(chosen), *shape), kind), place.step(BATCH // max(layout.frame_nbytes(shape, kind), 1), len(chosen))
        for a in range(0, len(chosen), batch):
            some, out = chosen[a : a + batch], frames[a : a + batch] if batch < len(chosen) else frames
            with damage(label):
                code = codes.frames(some, None, place)
                if bounded:
                    _bounded(group, decoder, lists, code, some, masked, out, label, place)
                else:
                    place.run(decoder, code, out=out)
        return frames


def _opened(group: Any, masked: float, label: str) -> tuple[Stored, Any, np.dtype[Any], dict[str, Any]]:
    """Codes, what decodes them, the frames' dtype, and the lists. Raises ValueError or DecodeError for a group that is not of one piece."""
    said = groups.attributes_of(group, SEALED, label)
    dtype = said["dtype"].item().decode("ascii", "replace") if said["dtype"].dtype.kind == "S" else ""
    bounded = dtype == "float32"
    said |= groups.attributes_of(group, BOUNDED if bounded else (), label)
    codes = Stored(group, "code")
    lists = {k: groups.list_of(group, k, kind, label) for k, kind in {**LISTS, "lossless_frame": np.uint64}.items()} if bounded else {}
    sealed = [entries(lists[k], label) for k in ("outlier_offset", "lossless_frame")] if bounded else []
    groups.open_seal(group, said, (np.array(codes.main.shape, np.uint64), *sealed), label)
    if dtype not in (*LIFTED, "float32") or len(codes.main.shape) < (4 if bounded else 3) or (bounded and (
            codes.main.shape[1] != 2 or codes.main.dtype != np.uint16 or len(sealed[0]) != len(codes.main) + 1)):
        raise DecodeError(f"{label}: code {codes.main.dtype} {codes.main.shape} is not of frames of {dtype}, or outlier_offset not of these")
    try:
        decoder: Any = WaveletDecode(tuple(said["steps"].tolist()), float(said["residual_step"]), masked) if bounded else \
            ReversibleWavelet(dtype, int(said["levels"]), back=True)
    except (TypeError, ValueError) as e:
        raise DecodeError(f"{label}: its attributes are not those of a codec: {e}") from e
    if bounded:
        lists["whole"] = {int(row): i for i, row in enumerate(sealed[1])}
    return codes, decoder, np.dtype(dtype), lists


def _bounded(group: Any, decoder: Any, lists: dict[str, Any], code: Any, rows: range, masked: float, out: Any, label: str, place: Place) -> None:
    """Frames of Wavelet's codes; those that are kept whole are put in their place, and masked there too."""
    index, value, count = listed_of(lists, rows, math.prod(out.shape[1:]), label)
    place.run(decoder, code, index, value, count, out=out)
    code = place.get(code)      # to be held against the lists
    kept = None
    for i, row in enumerate(rows):
        marks = code[i, 1]
        if row in lists["whole"]:
            kept = kept or _whole(group, lists["whole"], out, label)
            exact = kept.frames([lists["whole"][row]], None)[0]
            exact[marks == MASKED] = masked
            place.keep(out, i, exact)
        elif not are_those(index[i, : count[i]], marks == LISTED):
            raise DecodeError(f"frame {row} of {label}: its outliers are not where its codes say")


def _whole(group: Any, rows: Mapping[int, int], out: Any, label: str) -> Stored:
    """The frames that are kept whole."""
    kept = Stored(group, "lossless")
    if kept.main.shape != (len(rows), *out.shape[1:]) or kept.main.dtype != np.float32:
        raise DecodeError(f"{label}: lossless {kept.main.dtype} {kept.main.shape} is not of {len(rows)} frames of {out.shape[1:]}")
    kept.admit(range(len(rows)), False)
    return kept
