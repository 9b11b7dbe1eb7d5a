"""What compress.roibin made in HDF5 that plain h5py + hdf5plugin opens, and frames rebuilt from it. Over 200 lines: the layout, who writes it, who reads it.

    out = op(energy, *peaks)                                # op: compress.Roibin(90.0, good=good)
    write_roibin("run.h5", op, out, peaks=peaks)
    energy = read_roibin("run.h5")                          # exact in windows, the bins' means elsewhere

Layout 1, in the file's root or any group:
  background       (n, [panels,] R, C), a frame a chunk: codes of the bins' means, mean = code * scale_factor; _FillValue: no code fits, all pixels are in
                   roi; missing_value: the bin has no measurement. Attributes: scale_factor, _FillValue, missing_value, valid_range, error_bound, decode_dtype,
                   quantizer (Quantize.attributes())
  mask             (n, [panels,] rows, cols) u8, a frame a chunk, zstd: 0 = the pixel is its bin's mean, 1 = it is the next of roi, 2 = not good, and nowhere
  roi              (m,) as the frames: the exact pixels, frame by frame, in raster order
  roi_offset       (n + 1,) u64: frame i has roi[offset[i] : offset[i + 1]]
  background_error, max_error    (n,) f32: the largest |mean - code * scale_factor|, and the largest |pixel - rebuilt| of mask 0
  frame_status     (n,) u32: bits of gpuredux.status.Frame, if there are any
  windows, windows_offset        (k, 3) i32: panel, first row and col of each window, before the panel's edges cut it, if peaks were given; (n + 1,) u64
Attributes of the group: roibin_layout = 1; frame_shape; dtype; window: rows and cols of one; bin_size; error_bound: of means; pixel_bound: of every pixel of
mask 0, NaN = none was asked for; gpuredux_version, codec, codec_digest, provenance (JSON).
background goes through the filters of the codec that is named, roi through shuffle (2) and zstd (32015), mask through zstd; all lists have Fletcher-32 sums.
A frame with OUTLIER_OVERFLOW has lost exact pixels and is refused, unless it is given whole: all its good pixels are then in roi."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from .. import backends
from ..features.around_peaks import PEAKS
from ..op import DecodeError
from ..status import Frame
from . import hdf5_layout as layout
from .codecs import encoder_of, filters_of
from .roibin import Roibin, corners
from .roibin_decode import RoibinDecode

LAYOUT = 1
BACKGROUND, EXACT, NOT_GOOD = range(3)      # of mask
CHUNK = 1 << 16                             # pixels of one chunk of roi
MOST = 1 << 10                              # frames that are rebuilt at a time


def write_roibin(where: Any, op: Roibin, made: Any, frame_shape: tuple[int, ...], *, codec: Any = "shuffle_zstd", peaks: Mapping[str, Any] | None = None,
                 whole: Mapping[int, np.ndarray] | None = None, frames: int | None = None, provenance: Mapping[str, Any] | None = None) -> None:
    """A new file, or what an open h5py Group holds from then on. made: op's outputs, of any backend, for frames of this shape; or those of
    a Chain that ends in codec and keeps what op writes, with payload and size in place of code.

    codec: of background, by its name or an operation that makes chunks; it runs where the codes are. peaks: the inputs of op, for windows; whole: {row: frame}
    of frames with OUTLIER_OVERFLOW; frames: only the first ones, where fewer rows are live. FileExistsError, ValueError: the file or one of the names is there.
    """
    given = made._asdict()
    host, encoder = {k: backends.owners(v)[0].get(v)[:frames] for k, v in given.items() if k != "code"}, encoder_of(codec, "write_roibin")
    parts = _exact(op, host, tuple(frame_shape), dict(whole or {}))
    if "payload" not in given:
        if given["code"].shape[1:] != op.bins.binned_shape(tuple(frame_shape)):
            raise ValueError(f"write_roibin: frame_shape {frame_shape} is not that of the frames of code {given['code'].shape}")
        host["payload"], host["size"] = (backends.owners(a)[0].get(a)[:frames] for a in encoder(given["code"])[:2])
    rest = {k: host[k] for k in ("background_error", "max_error", "frame_status") if k in host}
    rest["max_error"] = np.where(np.isin(np.arange(len(rest["max_error"])), list(whole or {})), np.float32(0), rest["max_error"])
    if peaks is not None:
        parts |= _windows(op, peaks, len(host["roi"]))
    known = _attributes(op, host, tuple(frame_shape), encoder, provenance)
    if isinstance(where, h5py.Group):
        _fill(where, op, encoder, host, parts | rest, known)
        return
    try:
        with h5py.File(where, "x", libver=layout.LIBVER) as file:
            _fill(file, op, encoder, host, parts | rest, known)
    except FileExistsError:
        raise
    except BaseException:
        with suppress(OSError):
            os.unlink(where)
        raise


def _fill(group: Any, op: Roibin, encoder: Any, host: Mapping[str, Any], lists: Mapping[str, np.ndarray], known: Mapping[str, Any]) -> None:
    """All that a group holds."""
    frame = known["frame_shape"]
    bins = op.bins.binned_shape(frame)
    if any(k in group for k in ("background", "mask", "roi")):
        raise ValueError(f"write_roibin: {group.name} holds background, mask or roi already")
    dataset = layout.create_chunks(group, "background", bins, op.kind.dtype, fill=op.kind.masked, filters=filters_of(encoder, bins, op.kind.dtype))
    dataset.resize(len(host["size"]), axis=0)
    for i, size in enumerate(host["size"]):
        dataset.id.write_direct_chunk((i, *(0,) * len(bins)), host["payload"][i, :size].tobytes())
    dataset.attrs.update(op.quantizer.attributes())
    for name, x in lists.items():
        form: dict[str, Any] = {"chunks": (min(len(x), layout.ROWS), *x.shape[1:]), "fletcher32": True}
        if name == "mask":
            form = {"chunks": (1, *frame), **hdf5plugin.Zstd(clevel=9)}
        elif name == "roi":
            form = {"chunks": (min(CHUNK, len(x)),), "shuffle": True, **hdf5plugin.Zstd(clevel=9)}
        group.create_dataset(name, data=x, **(form if len(x) else {}))
    group.attrs.update(known)


def _attributes(op: Roibin, host: Mapping[str, Any], frame: tuple[int, ...], encoder: Any, provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of the group."""
    side = 2 * int(op.half or 0) + 1
    return {"roibin_layout": LAYOUT, "frame_shape": frame, "dtype": host["roi"].dtype.name, "window": (side, side), "bin_size": op.size,
            "error_bound": op.abs, "pixel_bound": math.nan if op.bound is None else op.pixel_bound, **layout.provenance([op, encoder], dict(provenance or {}))}


def _exact(op: Roibin, host: dict[str, np.ndarray], frame: tuple[int, ...], whole: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """mask, roi and roi_offset."""
    npix, n, cap = math.prod(frame), len(host["roi"]), host["roi"].shape[1]
    if host["roi_bits"].shape[1] != -(-npix // 32) or (op.good is not None and op.good.shape != frame):
        raise ValueError(f"write_roibin: frame_shape {frame} is not that of the frames that {op.name} was given")
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


def read_roibin(where: Any, rows: slice = slice(None), fill: float = 0) -> np.ndarray:
    """The frames, rebuilt: (n, *frame), of the dtype that they had. where: a path, or an open h5py Group; rows: which frames, step 1; fill: of pixels that are
    not good. DecodeError: what the file says of itself does not agree."""
    with nullcontext(where) if isinstance(where, h5py.Group) else h5py.File(where) as group:
        decoder, dtype = _decoder(group, fill)
        n = len(group["background"])
        first, stop, step = rows.indices(n)
        if step != 1:
            raise ValueError(f"read_roibin: rows must have the step 1, got {rows}")
        frames = np.empty((max(stop - first, 0), *decoder.shape), dtype)
        batch = min(max(1, (64 << 20) // max(frames[:1].nbytes, 1)), MOST)
        for a in range(first, stop, batch):
            _rebuild(group, decoder, a, min(a + batch, stop), frames[a - first : min(a + batch, stop) - first])
        return frames


def _decoder(group: Any, fill: float) -> tuple[RoibinDecode, np.dtype[Any]]:
    """What rebuilds the frames of a group, and their dtype. Raises ValueError or DecodeError for one that is not of this layout."""
    said = dict(group.attrs)
    if said.get("roibin_layout") != LAYOUT:
        raise ValueError(f"read_roibin: {group.name} has roibin_layout {said.get('roibin_layout')}; known is {LAYOUT}")
    absent = [k for k in ("background", "roi", "roi_offset") if not isinstance(group.get(k), h5py.Dataset)]
    if absent:
        raise DecodeError(f"read_roibin: {group.name} has no dataset {', '.join(absent)}")
    shape = tuple(int(k) for k in said["frame_shape"])
    code, roi, offset = (group[k] for k in ("background", "roi", "roi_offset"))
    decoder = RoibinDecode(shape, float(code.attrs["scale_factor"]), (int(said["bin_size"][0]), int(said["bin_size"][1])), code.dtype.name, None, fill)
    bins = (*shape[:-2], *(-(-k // b) for k, b in zip(shape[-2:], decoder.size, strict=True)))
    n = len(code)
    if code.shape[1:] != bins or offset.shape != (n + 1,) or roi.ndim != 1 or roi.dtype.name != said["dtype"] or (
            n and (group.get("mask") is None or group["mask"].shape != (n, *shape) or group["mask"].dtype != np.uint8)):
        raise DecodeError(f"read_roibin: {group.name}: background {code.shape}, roi {roi.shape} {roi.dtype}, roi_offset {offset.shape} and mask are not of {n} "
                          f"frames {shape} {said['dtype']}")
    return decoder, roi.dtype


def _rebuild(group: Any, decoder: RoibinDecode, first: int, stop: int, out: np.ndarray) -> None:
    """Fill out with some frames."""
    try:
        offset = group["roi_offset"][first : stop + 1].astype(np.int64)
        mask, code = group["mask"][first:stop].reshape(stop - first, -1), group["background"][first:stop]
        if (np.diff(offset) < 0).any() or offset[0] < 0 or offset[-1] > len(group["roi"]):
            raise DecodeError(f"read_roibin: roi_offset of frames {first} to {stop - 1} is not ascending within roi's {len(group['roi'])} pixels")
        roi = group["roi"][offset[0] : offset[-1]]
    except OSError as e:
        raise DecodeError(f"read_roibin: frames {first} to {stop - 1} cannot be read: {' '.join(str(e).split())}") from e
    count = np.diff(offset)
    listed = np.zeros((stop - first, max(int(count.max()), 1)), roi.dtype)
    for i, a in enumerate(offset[:-1] - offset[0]):
        listed[i, : count[i]] = roi[a : a + count[i]]
    packed = np.packbits(mask == EXACT, axis=1, bitorder="little")
    bits = np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4)))).view("<u4").astype(np.uint32)
    _, status = decoder(code, bits, listed, count.astype(np.int32), frame_status=np.zeros(stop - first, np.uint32),
                        out=(out, np.empty(stop - first, np.uint32)), backend="numba")
    wrong = np.flatnonzero(status)
    if wrong.size:
        raise DecodeError(f"read_roibin: frame {first + int(wrong[0])} has another number of exact pixels in mask than in roi")
    out.reshape(mask.shape)[mask == NOT_GOOD] = decoder.filler(out.dtype)
