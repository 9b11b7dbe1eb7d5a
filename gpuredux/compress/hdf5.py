"""Frames in HDF5 files that plain h5py + hdf5plugin opens: write, Writer, read, batches, verify; and anybody's chunks, to be decoded on a device: chunks.

    write("run.h5", "entry/data/data", raw)                                          # lossless, any integer or float
    write("run.h5", "entry/data/data", raw, "shuffle_zstd", overwrite=True)          # by another codec of codecs.CODECS
    write("run.h5", "entry/data/data", energy, Quantize(abs=0.5), overwrite=True)    # float32 within a bound; encoder="bitshuffle_zstd"
    write("run.h5", "entry/data/data", counts, QuantizeCounts(), overwrite=True)     # square-root steps of counts
    gaps, values = find_gaps(raw)                                                    # of PILATUS: -1 and -2; smaller, and exact:
    write("run.h5", "entry/data/data", raw, Precondition("int32", "uint8", gaps=gaps, gap_values=values), encoder="auto", overwrite=True)
    write("run.h5", "entry/data/data", energy, Zfp(tolerance=0.5), overwrite=True)
    energy = read("run.h5", "entry/data/data")                                       # CRCs checked, outliers exact
    for first, energy in batches("run.h5", "entry/data/data", 64, backend="cupy"): ...     # decoded there, and there they stay
    for batch in chunks("eiger.h5", "entry/data/data", 64): frames, status = batch.decode("cupy")   # stored bytes go to the device
    code = f["entry/data/data"][:];  energy = code * f["entry/data/data"].attrs["scale_factor"]     # anybody's h5py

Layout 1 of a dataset NAME; 2, of codes whose bound is not absolute; 3, of those of QuantizeCounts; and 4, of those of Precondition:
  NAME                        (n, *frame), one frame a chunk, or one panel: the filters of its encoder, bitshuffle + LZ4 (32008) in blocks of 8 KiB if none
                              is named; which of them a chunk has gone through its filter_mask says. Lossless: the data themselves; by zfp (32013) with
                              the attribute zfp_tolerance, zfp_rate or zfp_precision. With Quantize: codes, energy = code * scale_factor; _FillValue
                              stands where the exact value is
                              in the list of outliers, missing_value where the pixel is masked. Attributes: scale_factor, _FillValue,
                              missing_value, valid_range, error_bound, decode_dtype, quantizer (Quantize.attributes()); gpuredux_layout, side,
                              gpuredux_version, codec (JSON: ops with configuration), codec_digest (JSON: their SHA-256), provenance (JSON)
  NAME_side/chunk_crc32c      (chunks,) u32: CRC32C of the stored bytes of each chunk, frames first, then panels. It is written last: the frames
                              that it covers are committed
  NAME_side/frame_status      (n,) u32: bits of gpuredux.status.Frame
  NAME_side/max_error         (n,) f32, with a tolerance of zfp, or with Quantize: the largest error of the frame's coded pixels, |energy - code *
                              scale_factor|, or as Quantize, QuantizeCounts and Zfp say
  with Quantize also:
  NAME_side/scale             (*frame) f32, with Quantize(k_sigma=): energy = code * scale, NaN where a pixel is masked. With Quantize(rel=) the
                              attributes log2_step and log2_smallest, and decode, which says how
  NAME_side/decode_table      (codes,) f32, with QuantizeCounts: count = decode_table[code]; attributes: _FillValue, missing_value, valid_range, step_sigma,
                              exact_below, gain, read_noise, unit, decode, quantizer
  NAME_side/outlier_offset    (n + 1,) u64: frame i has the outliers offset[i] to offset[i + 1] of
  NAME_side/outlier_index     (m,) u32: the flat pixel in its frame, ascending, and
  NAME_side/outlier_value     (m,) f32: its exact value; of counts f32, u32 or i32, as they were given
  NAME_side/lossless          (k, *frame) in the dtype that was given, by the same encoder: the frames that have more outliers than
                              Quantize.capacity, exact, encoded on the host: with its own gpuredux_version, codec, codec_digest, provenance;
  NAME_side/lossless_frame    (k,) u64: which frames these are, and
  NAME_side/lossless_crc32c   (k,) u32: the CRC32C of their chunks. For a stock reader these frames' outliers are _FillValue, like others
  with Precondition, but for scale_factor and the like: NAME is plain to stock readers without a predictor, 0 in gaps, saturation_value where the exact
  value is in the list; attributes: preconditioning, predictor (0 none, 1 previous, 2 left_up, 3 pedestal), saturation_value, decode, warning if stock
  readers see differences
  NAME_side/pixel_mask        (*frame) u32 as NXmx has it, bit 0 = gap, and
  NAME_side/gap_value         (*frame) in the dtype that was given: what these pixels hold
  NAME_side/pedestal          (*frame) in that dtype, with predictor "pedestal"
  NAME_side/key_frame         (k,) u64, ascending, with predictor "previous": the frames that are plain; the others are differences from the one before
All lists have HDF5's Fletcher-32 checksum. Files made here are of HDF5 1.10, whose metadata have checksums too; whoever opens the file for
a Writer should do so with libver="v110" or later. A full disk is found before HDF5 is touched, so that the file can still be closed.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Mapping
from typing import Any

import h5py

from . import hdf5_layout as layout
from .codecs import encoder_of
from .hdf5_batches import Batch, batches, chunks
from .hdf5_reader import read
from .hdf5_verify import Report, verify
from .hdf5_writer import CODED, Writer
from .quantize_counts import QuantizeCounts

__all__ = ["Batch", "Report", "Writer", "batches", "chunks", "read", "verify", "write"]


def write(where: Any, name: str, frames: Any, codec: Any = "bitshuffle_lz4", *, encoder: Any = None, backend: str | None = None,
          overwrite: bool = False, attrs: Mapping[str, Any] | None = None, panels: bool = False) -> None:
    """Write frames (n, *frame), of numpy, cupy or opencl, encoded where they are: a new file, or a dataset in an open Group.

    codec: a name of codecs.CODECS or an operation that makes chunks (lossless, but for Zfp); or a Quantize (float32), QuantizeCounts or Precondition, whose
    codes encoder= makes chunks of, such a name or operation, bitshuffle_lz4 if not given; panels: one panel a chunk; overwrite: replace the file or dataset,
    once the new one is whole. A write that fails leaves no file or dataset behind, and an old one as it was
    """
    coded = isinstance(codec, CODED)
    if encoder is not None and not coded:
        raise TypeError(f"hdf5.write: encoder belongs to codes: give codec a compress.Quantize, QuantizeCounts or Precondition, or {encoder!r} as codec")
    made = encoder_of((encoder or "bitshuffle_lz4") if coded else codec, "hdf5.write")
    if not hasattr(frames, "dtype") or len(getattr(frames, "shape", ())) < 2:
        raise TypeError(f"hdf5.write: frames must be an array (n, *frame), got {type(frames).__name__} {getattr(frames, 'shape', '')}")
    shape, kind = tuple(frames.shape[1:]), codec if coded else frames.dtype
    settings: dict[str, Any] = {"panels": panels, "attrs": attrs, "backend": backend, "encoder": made}
    if isinstance(codec, QuantizeCounts):
        settings["count_dtype"] = frames.dtype
    if isinstance(where, h5py.Group):
        _write_dataset(where, name.strip("/"), frames, (shape, kind), overwrite, settings)
    else:
        _write_file(where, name, frames, (shape, kind), overwrite, settings)


def _write_dataset(group: Any, name: str, frames: Any, form: tuple[Any, Any], overwrite: bool, settings: dict[str, Any]) -> None:
    """A dataset in an open group. One that is replaced lives until the new one is whole: this is written under another name first."""
    old = [key for key in (name, layout.side_of(name)) if overwrite and name and group.get(key, getlink=True) is not None]
    free = (f"{name}.{i}.part" for i in itertools.count())
    writer = Writer(group, next(key for key in free if key not in group) if old else name, *form, **settings)
    try:
        with writer:
            writer.append(frames)
        if old:
            writer.dataset.attrs["side"] = layout.side_of(name).rpartition("/")[2]
    except BaseException:
        writer.discard()
        raise
    if old:
        for key in old:
            del group[key]
        group.move(writer.name, name)
        group.move(layout.side_of(writer.name), layout.side_of(name))
        group.file.flush()


def _write_file(where: Any, name: str, frames: Any, form: tuple[Any, Any], overwrite: bool, settings: dict[str, Any]) -> None:
    """A file of its own. One that is replaced lives until the new one is on the disk, and so is the new name before this returns."""
    replaces = overwrite and os.path.exists(where)
    path = f"{os.fspath(where)}.{os.getpid()}.part" if replaces else where
    writer = Writer(path, name, *form, **settings)
    try:
        with layout.gone_if_it_fails(path):
            with writer:
                writer.append(frames)
            if replaces:
                layout.sync(path)
                os.replace(path, where)
                layout.sync(os.path.dirname(os.path.abspath(where)))
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise OSError(e.errno, f"{os.strerror(e.errno)}: nothing was written", os.fspath(where)) from e
        raise
