"""What compress.roibin made in HDF5 that plain h5py + hdf5plugin opens, and frames rebuilt from it. Over 200 lines: the layout, who writes it, who reads it.

    out = op(energy, *peaks)                                # op: compress.Roibin(90.0, good=good)
    write_roibin("run.h5", op, out, peaks=peaks)
    energy = read_roibin("run.h5")                          # exact in windows, the bins' means elsewhere

Layout 2, in the file's root or any group (1, never released, had no CRCs):
  background       (n, [panels,] R, C), a frame a chunk: codes of the bins' means, mean = code * scale_factor; _FillValue: no code fits, all pixels are in
                   roi; missing_value: the bin has no measurement. Attributes: scale_factor, _FillValue, missing_value, valid_range, error_bound, decode_dtype
  mask             (n, [panels,] rows, cols) u8, a frame a chunk: 0 = the pixel is its bin's mean, 1 = it is the next of roi, 2 = not good, and nowhere
  background_side, mask_side     as hdf5.py has them: the CRC32C of each chunk; background_side/frame_status (n,) u32: bits of gpuredux.status.Frame
  roi              (m,) as the frames: the exact pixels, frame by frame, in raster order
  roi_offset       (n + 1,) u64: frame i has roi[offset[i] : offset[i + 1]]
  background_error, max_error    (n,) f32: the largest |mean - code * scale_factor|, and the largest |pixel - rebuilt| of mask 0
  windows, windows_offset        (k, 3) i32: panel, first row and col of each window, before the panel's edges cut it, if peaks were given; (n + 1,) u64
Attributes of the group: roibin_layout = 2; frame_shape; dtype; window: rows and cols of one; bin_size; error_bound: of means; pixel_bound: of every pixel of
mask 0, NaN = none was asked for; seal_crc32c: of all these and roi_offset (hdf5_groups.py); gpuredux_version, codec, codec_digest, provenance (JSON).
background goes through the filters of the codec that is named, mask through shuffle (2) and zstd (32015), roi through these and Fletcher-32; every other list
that is not empty, windows too, has a Fletcher-32 sum as well. All four are checked before a byte is decoded.
A frame with OUTLIER_OVERFLOW has lost exact pixels and is refused, unless it is given whole: all its good pixels are then in roi."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import hdf5plugin
import numpy as np

from .. import backends
from ..features.around_peaks import PEAKS
from ..features.frames import WORDS
from ..features.regions import corners
from ..op import DecodeError, Op
from ..status import Frame
from . import hdf5_groups as groups
from . import hdf5_layout as layout
from .codecs import exact_encoder_of
from .hdf5_chunks import damage, entries
from .hdf5_place import Place, place_of
from .hdf5_reader import Stored, opened
from .hdf5_writer import Writer
from .roibin import Roibin
from .roibin_decode import RoibinDecode

LAYOUT = 2
BACKGROUND, EXACT, NOT_GOOD = range(3)      # of mask
CHUNK = 1 << 16                             # pixels of one chunk of roi
MOST = 1 << 10                              # frames that are rebuilt at a time
NAMES = ("background", "background_side", "mask", "mask_side", "roi", "roi_offset", "background_error", "max_error", "windows", "windows_offset")
SEALED = ("roibin_layout", "frame_shape", "dtype", "window", "bin_size", "error_bound", "pixel_bound")


def write_roibin(where: Any, op: Roibin, made: Any, frame_shape: tuple[int, ...], *, codec: Any = "shuffle_zstd", peaks: Mapping[str, Any] | None = None,
                 whole: Mapping[int, np.ndarray] | None = None, frames: int | None = None, backend: str | None = None,
                 provenance: Mapping[str, Any] | None = None) -> None:
    """A new file, or what an open h5py Group holds from then on; what fails leaves neither file nor any part of it behind.

    made:   op's outputs for n frames ([panels,] rows, cols) = frame_shape, arrays of any backend; or those of a Chain that ends in codec and keeps
            what op writes, with all that codec writes (payload, size; of compress.Auto filter_mask too) in place of code
    codec:  of background, a name of codecs.CODECS or an operation that makes chunks without loss; it runs where the codes are, on this backend of theirs
    peaks:  {peak_panel, peak_row, peak_col (n, cap), peak_count (n,)}, the inputs of op, for windows; whole: {row: frame as op was given it}: keeps all its
            good pixels, which one with OUTLIER_OVERFLOW wants
    frames: how many rows are live: those at and beyond it, which op did not write where live was less than n, are not looked at and not stored; None = all
    raises: TypeError, ValueError: something is not as said here, or the group holds one of the names; FileExistsError; OSError
    """
    given, encoder = made._asdict(), exact_encoder_of(codec, "write_roibin")
    source = given["payload" if "payload" in given else "code"]
    n = len(source) if frames is None else operator.index(frames)
    if not 0 <= n <= len(source):
        raise ValueError(f"write_roibin: frames must be 0 to {len(source)}, got {frames}")
    host = {k: backends.owners(v)[0].get(v)[:n] for k, v in given.items() if k != "code"}
    parts, kept = _exact(op, host, frame_shape := tuple(frame_shape), dict(whole or {})), list(whole or {})
    error = host["max_error"].copy()
    error[kept] = 0
    parts |= {"background_error": host["background_error"], "max_error": error}
    if peaks is not None:
        parts |= _windows(op, peaks, n)
    missing = [k for k in encoder.writes if "payload" in given and k not in given]
    if missing:
        raise ValueError(f"write_roibin: {encoder.name} writes {', '.join(missing)}, which made lacks: let the chain keep it")
    if "payload" not in given and source.shape[1:] != op.bins.binned_shape(frame_shape):
        raise ValueError(f"write_roibin: frame_shape {frame_shape} is not that of the frames of code {source.shape}")
    with groups.filling(where, NAMES, (*SEALED, groups.SEAL, *groups.PROVENANCE), "write_roibin") as group:
        _background(group, op, encoder, source[:n] if "payload" not in given else None, host, frame_shape, backend, dict(provenance or {}))
        with Writer(group, "mask", frame_shape, np.uint8, encoder="shuffle_zstd") as writer:
            writer.append(parts.pop("mask"))
        _lists(group, parts)
        _seal(group, op, parts["roi_offset"], host["roi"].dtype, frame_shape)
        group.attrs.update({**layout.provenance([op, encoder], {}), "provenance": group["background"].attrs["provenance"]})


def _background(group: Any, op: Roibin, encoder: Op, code: Any, host: Mapping[str, Any], frame: tuple[int, ...], backend: str | None,
                known: dict[str, Any]) -> None:
    """Codes that are still to be encoded, or chunks of them."""
    attributes = {k: v for k, v in op.quantizer.attributes().items() if k != "quantizer"}      # this would have it read as energy, by its own layout
    words = host.get("frame_status")
    if code is None:
        known = {"backend": backend or "that of the chain", **known}
    bins, kind = op.bins.binned_shape(frame), op.kind.dtype
    with Writer(group, "background", bins, kind, encoder=encoder, backend=backend, attrs=attributes, provenance=known) as writer:
        if code is None:
            writer.append_encoded(host["payload"], host["size"], filter_mask=host.get("filter_mask"), frame_status=words)
        elif len(code):
            writer.append(code, frame_status=None if words is None else backends.owners(code)[0].put(words))


def _lists(group: Any, lists: dict[str, np.ndarray]) -> None:
    """roi and all others."""
    roi = lists.pop("roi")
    layout.reserve(group.file, 2 * roi.nbytes)
    form: dict[str, Any] = {"chunks": (min(CHUNK, len(roi)),), "shuffle": True, **hdf5plugin.Zstd(clevel=9), "fletcher32": True}
    group.create_dataset("roi", data=roi, **(form if len(roi) else {}))
    groups.add_lists(group, lists)


def _seal(group: Any, op: Roibin, offset: np.ndarray, dtype: np.dtype[Any], frame: tuple[int, ...]) -> None:
    """What decides about pixels."""
    side = 2 * int(op.half or 0) + 1
    said = (LAYOUT, frame, np.bytes_(dtype.name), (side, side), op.size, float(op.abs), math.nan if op.bound is None else op.pixel_bound)
    groups.seal(group, dict(zip(SEALED, said, strict=True)), (offset, *_of_codes(group["background"])))


def _of_codes(background: Any) -> tuple[Any, ...]:
    """What the seal covers of them."""
    return np.array(background.shape, np.uint64), np.array([background.attrs["scale_factor"]], np.float64)


def _exact(op: Roibin, host: dict[str, np.ndarray], frame: tuple[int, ...], whole: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """mask, roi and roi_offset."""
    npix, n, cap = math.prod(frame), len(host["roi"]), host["roi"].shape[1]
    if host["roi_bits"].shape[1] != -(-npix // 32) or (op.good is not None and op.good.shape != frame):
        raise ValueError(f"write_roibin: frame_shape {frame} is not that of the frames that {op.name} was given")
    strange = [k for k in whole if not isinstance(k, (int, np.integer)) or not 0 <= k < n]
    if strange:
        raise ValueError(f"write_roibin: whole must be of rows 0 to {n - 1}, got {strange[:8]}")
    over = host["roi_count"] > cap
    if "frame_status" in host:
        over |= host["frame_status"] & np.uint32(Frame.OUTLIER_OVERFLOW) != 0
    lost = sorted(set(map(int, np.flatnonzero(over))) - set(whole))
    if lost:
        raise ValueError(f"write_roibin: frames {lost[:8]} have OUTLIER_OVERFLOW, roi holds {cap} pixels of each: a larger capacity, longer lists of "
                         "peaks, or whole={row: frame}")
    mask, rows = np.zeros((n, npix), np.uint8), []
    for i in range(n):
        kept = np.unpackbits(host["roi_bits"][i].astype("<u4").view(np.uint8), bitorder="little")[:npix].astype(bool)
        if i in whole:
            given = np.asarray(whole[i])
            if given.shape != frame or given.dtype != host["roi"].dtype:
                raise ValueError(f"write_roibin: whole[{i}] must be {host['roi'].dtype} {frame}, got {given.dtype} {given.shape}")
            kept = np.ones(npix, bool) if op.good is None else op.good.reshape(-1)
        rows.append(np.asarray(whole[i]).reshape(-1)[kept] if i in whole else host["roi"][i, : host["roi_count"][i]])
        mask[i] = kept
        if op.good is not None:
            mask[i][~op.good.reshape(-1)] = NOT_GOOD
    return {"mask": mask.reshape(n, *frame), "roi": np.concatenate([np.empty(0, host["roi"].dtype), *rows]),
            "roi_offset": np.cumsum([0, *map(len, rows)], dtype=np.uint64)}


def _windows(op: Roibin, peaks: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    panel, row, col, count = (backends.owners(peaks[k])[0].get(peaks[k])[:n] for k in PEAKS)
    half = int(op.half or 0)
    table = np.stack([panel.astype(np.int64), corners(row, half), corners(col, half)], -1).astype(np.int32)
    listed = np.clip(count, 0, panel.shape[1])
    use = np.arange(panel.shape[1]) < listed[:, None]
    return {"windows": table[use], "windows_offset": np.cumsum([0, *listed], dtype=np.uint64)}


def read_roibin(where: Any, rows: slice = slice(None), fill: float = 0, *, backend: str | None = None, device: Any = None) -> Any:
    """The frames, rebuilt: (n, *frame), of the dtype that they had. where: a path, or an open h5py Group; rows: which frames, step 1; fill: of pixels that are
    not good; backend, device: where background is decoded and frames are rebuilt, all at once, and stay (None: the host, numpy arrays). DecodeError: bytes
    that are not what was written, by their CRCs and sums, or what the file says of itself does not agree."""
    place = place_of(backend, device, "read_roibin")
    with opened(where) as group:
        label = f"{group.name!r} of {group.file.filename}"
        groups.layout_of(group, "roibin_layout", LAYOUT, "read_roibin", label)
        with damage(label):
            made = _opened(group, label)
        chosen = groups.rows_of(rows, len(made.offset) - 1, "read_roibin")
        decoder = RoibinDecode(made.frame, made.step, made.size, made.background.main.dtype.name, None, fill)
        decoder.filler(made.roi.dtype)
        for stored in (made.background, made.mask):
            with damage(stored.main.label):
                stored.admit(chosen, False)
                stored.check_sizes(chosen)
        frames = place.empty((len(chosen), *made.frame), made.roi.dtype)
        batch = place.step(min((64 << 20) // max(layout.frame_nbytes(made.frame, made.roi.dtype), 1), MOST), len(chosen))
        for a in range(0, len(chosen), batch):
            with damage(label):
                _rebuild(made, decoder, chosen[a : a + batch], frames[a : a + batch] if batch < len(chosen) else frames, place)
        return frames


@dataclass(frozen=True, eq=False)
class _Opened:
    """What a group holds, after its seal was found whole."""

    label: str
    frame: tuple[int, ...]
    size: tuple[int, int]
    step: float
    background: Stored
    mask: Stored
    roi: Any
    offset: np.ndarray


def _opened(group: Any, label: str) -> _Opened:
    """Raises ValueError or DecodeError for a group that is not of one piece."""
    said = groups.attributes_of(group, SEALED, label)
    background, mask = Stored(group, "background"), Stored(group, "mask")
    step = groups.attributes_of(background.main.dataset, ("scale_factor",), background.main.label)["scale_factor"]
    dtype = said["dtype"].item().decode("ascii", "replace") if said["dtype"].dtype.kind == "S" else ""
    roi = groups.list_of(group, "roi", dtype, label) if dtype in WORDS else None
    offset = entries(groups.list_of(group, "roi_offset", np.uint64, label), label)
    groups.open_seal(group, said, (offset, *_of_codes(background.main.dataset)), label)
    frame, size = tuple(said["frame_shape"].tolist()), tuple(said["bin_size"].tolist())
    bins = (*frame[:-2], *(-(-k // b) for k, b in zip(frame[-2:], size, strict=True)))
    n, ends = len(background.main), offset.astype(np.int64)
    if roi is None or background.main.shape[1:] != bins or mask.main.shape != (n, *frame) or mask.main.dtype != np.uint8 or len(ends) != n + 1:
        raise DecodeError(f"{label}: background {background.main.shape}, mask {mask.main.dtype} {mask.main.shape}, roi_offset {offset.shape} are not of {n} "
                          f"frames {frame} {dtype}")
    if ends[0] != 0 or (np.diff(ends) < 0).any() or (np.diff(ends) > math.prod(frame)).any() or ends[-1] != len(roi):
        raise DecodeError(f"{label}: roi_offset does not ascend from 0 to roi's {len(roi)} pixels by no more than a frame's")
    return _Opened(label, frame, (size[0], size[1]), float(step), background, mask, roi, ends)


def _rebuild(made: _Opened, decoder: RoibinDecode, rows: range, out: Any, place: Place) -> None:
    """Fill out with some frames."""
    n, offset = len(rows), made.offset[rows.start : rows.stop + 1]
    mask, code = made.mask.frames(rows, None).reshape(n, -1), made.background.frames(rows, None, place)
    if (mask > NOT_GOOD).any():
        raise DecodeError(f"{made.label}: mask of frame {rows[int((mask > NOT_GOOD).any(axis=1).argmax())]} holds {int(mask.max())}; known are 0, 1 and 2")
    roi, count = made.roi[offset[0] : offset[-1]], np.diff(offset)
    listed = np.zeros((n, max(int(count.max()), 1)), roi.dtype)
    for i, a in enumerate(offset[:-1] - offset[0]):
        listed[i, : count[i]] = roi[a : a + count[i]]
    packed = np.packbits(mask == EXACT, axis=1, bitorder="little")
    bits = np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4)))).view("<u4").astype(np.uint32)
    lists, status = map(place.put, (bits, listed, count.astype(np.int32))), place.empty((n,), np.uint32)
    if (mask == NOT_GOOD).any() and not place.host:
        decoder = replace(decoder, good=_good(made, mask))
    decoder(code, *lists, frame_status=place.put(np.zeros(n, np.uint32)), out=(out, status), backend=place.backend.name)
    wrong = np.flatnonzero(place.get(status))
    if wrong.size:
        raise DecodeError(f"{made.label}: frame {rows[int(wrong[0])]} has another number of exact pixels in mask than in roi")
    if place.host:
        out.reshape(mask.shape)[mask == NOT_GOOD] = decoder.filler(out.dtype)


def _good(made: _Opened, mask: np.ndarray) -> np.ndarray:
    """Which pixels are good, in all of these frames."""
    good: np.ndarray = mask[0] != NOT_GOOD
    if ((mask != NOT_GOOD) != good).any():
        raise DecodeError(f"{made.label}: its frames differ in which pixels are not good, which write_roibin does not write: read them without backend")
    return good.reshape(made.frame)
