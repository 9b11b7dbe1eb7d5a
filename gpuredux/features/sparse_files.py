"""Lists of pixels in files, in the layouts of two others: pyFAI's sparsify-Bragg, and the ID11 segmenter, whose files ImageD11 reads.

They take what features.Sparsify returns, as NumPy arrays: sparse_index, sparse_value (n, cap), sparse_count (n,), background_mean, background_std (n, rings).
A frame whose true count is beyond cap has lost pixels: ValueError, unless truncated=True. frames: only the first ones, where fewer rows are live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from .sparsify import Sparsify


def write_pyfai(path: str | Path, lists: Any, op: Sparsify, frame: tuple[int, int] | None = None, dummy: float = 0, truncated: bool = False,
                frames: int | None = None) -> None:
    """A new NeXus file that fabio opens as dense frames (fabio.open(path).data), as its command densify-Bragg does. FileExistsError: it is there.

    op: what made the lists; frame: rows and cols of the image where frames have panels, which are stacked; dummy: what masked pixels become.

    / default = "entry", creator = "pyFAI ..."; entry (NXentry): default and pyFAI_sparse_frames = "sparse_frames"
    entry/sparse_frames (NXdata): signal = "background_avg", axes = [".", "radius"]
      frame_ptr (n + 1,) u32: index[frame_ptr[k]:frame_ptr[k + 1]] are frame k's; index (nnz,) u32: pixels, row by row; intensity (nnz,) as the frames
      radius (rings,) f32, attribute unit; mask (rows, cols) f32: each pixel's radius, not beyond the first and last of these, NaN = masked
      background_avg, background_std (n, rings) f32; normalization (rows, cols) f32: dense = background * normalization; dummy: of masked pixels
    entry/sparsify (NXprocess): program, version, sequence_index; configuration/data: JSON, of which fabio reads sparsify.cutoff_pick"""
    from .. import __version__  # not at import: the package imports this family first

    shape = _image_of(op.rings.shape, frame)
    pointer, index, value = _packed(lists, truncated, frames)
    with h5py.File(path, "x") as file:
        entry = _group(file, "entry", "NXentry")
        file.attrs["default"], file.attrs["creator"] = "entry", f"pyFAI layout, by gpuredux {__version__}"      # fabio goes by this word
        data = _group(entry, "sparse_frames", "NXdata")
        entry.attrs["default"] = entry.attrs["pyFAI_sparse_frames"] = "sparse_frames"
        data.attrs["signal"], data.attrs["axes"] = "background_avg", [".", "radius"]
        data["frame_ptr"] = pointer.astype(np.uint32)
        radial = op.rings.label if op.radial is None else op.radial
        axis = np.arange(op.rings.count) if op.radial is None else op.rings.radial
        masked, limits = op.position.reshape(radial.shape) < 0, axis[[0, -1]].astype(np.float32)
        image = np.where(masked, np.nan, np.clip(radial.astype(np.float32), *limits)).reshape(shape)      # fabio masks what is nearer than the first centre
        many = {"index": index, "intensity": value, "mask": image.astype(np.float32), "background_avg": _known(lists.background_mean[:frames]),
                "background_std": _known(lists.background_std[:frames])}
        if op.normalisation is not None:
            many["normalization"] = op.normalisation.reshape(shape)
        for name, x in many.items():
            data.create_dataset(name, data=x, **hdf5plugin.Bitshuffle())
        data["radius"], data["dummy"] = axis.astype(np.float32), np.array(dummy).astype(value.dtype)
        data["radius"].attrs["unit"] = data["mask"].attrs["unit"] = op.rings.unit
        process = _group(entry, "sparsify", "NXprocess")
        process["program"], process["version"], process["sequence_index"] = "gpuredux", __version__, 1
        note = _group(process, "configuration", "NXnote")
        note["type"] = "text/json"
        note["data"] = json.dumps({"sparsify": {**op.config(), "op": op.name, "digest": op.digest()}}, default=str)


def read_pyfai(path: str | Path) -> dict[str, np.ndarray]:
    """What a file of this layout holds, whoever wrote it: sparse_index, sparse_value (n, cap), sparse_count (n,), background_mean, background_std
    (n, rings), radius (rings,), mask (rows, cols): radius, NaN = masked, dummy; normalization (rows, cols) if it is there. cap: of the fullest frame."""
    with h5py.File(path) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["pyFAI_sparse_frames"]]
        held = {k: np.asarray(data[k][()]) for k in data if k in ("radius", "mask", "dummy", "normalization")}
        pointer, index, value = (np.asarray(data[k][()]) for k in ("frame_ptr", "index", "intensity"))
        curves = {ours: np.asarray(data[k][()]) for ours, k in (("background_mean", "background_avg"), ("background_std", "background_std"))}
    return {**_unpacked(np.diff(pointer.astype(np.int64)), index, value), **curves, **held}


def write_imaged11(path: str | Path, lists: Any, frame: tuple[int, int], group: str = "1.1", truncated: bool = False,
                   frames: int | None = None) -> None:
    """The pixels alone, as ID11's segmenter writes a scan; the file may be new, or hold other scans.

    <group>: attributes shape0, shape1: rows and cols; nframes; npx: pixels of all frames; itype: dtype of intensity
      nnz (n,) u32: pixels of each frame; row, col (npx,) u16 and intensity (npx,) as the frames: frame by frame, in raster order within

    frame: rows and cols, 65536 at most; panels are stacked. source: the layout (nnz, row, col, intensity) of frames for ImageD11"""
    from .. import __version__  # not at import: the package imports this family first

    rows, cols = frame
    if max(rows, cols) > 65536:
        raise ValueError(f"{path}: rows and cols must be 65536 at most, got {frame}")
    pointer, index, value = _packed(lists, truncated, frames)
    if index.size and int(index.max()) >= rows * cols:
        raise ValueError(f"{path}: frames must be of {frame}, got pixel {int(index.max())}")
    with h5py.File(path, "a") as file:
        if group in file:
            raise ValueError(f"{path} holds a scan {group} already")
        scan = file.create_group(group)
        scan.attrs.update({"shape0": rows, "shape1": cols, "nframes": len(pointer) - 1, "npx": int(pointer[-1]), "itype": value.dtype.name,
                           "gpuredux_version": __version__})
        scan["nnz"] = np.diff(pointer).astype(np.uint32)
        for name, x in (("row", (index // cols).astype(np.uint16)), ("col", (index % cols).astype(np.uint16)), ("intensity", value)):
            scan.create_dataset(name, data=x, **({"chunks": (min(len(x), 2**16),), "compression": "gzip", "shuffle": True} if len(x) else {}))


def read_imaged11(path: str | Path, group: str = "1.1") -> dict[str, np.ndarray]:
    """Such a scan, whoever wrote it: sparse_index, sparse_value (n, cap), sparse_count (n,). cap: of the fullest frame."""
    with h5py.File(path) as file:
        scan = file[group]
        count, row, col, value = (np.asarray(scan[k][()]) for k in ("nnz", "row", "col", "intensity"))
        cols = int(scan.attrs["shape1"])
    return _unpacked(count.astype(np.int64), row.astype(np.uint32) * np.uint32(cols) + col, value)


def _packed(lists: Any, truncated: bool, frames: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each frame begins, and the lists without their ends."""
    count, cap = lists.sparse_count[:frames].astype(np.int64), lists.sparse_index.shape[1]
    if (count > cap).any() and not truncated:
        raise ValueError(f"sparse_files: {int((count > cap).sum())} frames have more than the {cap} pixels that are listed, up to {int(count.max())}: give "
                         "Sparsify a larger max_pixels, or truncated=True to write what there is")
    listed = np.minimum(count, cap)
    use = np.arange(cap) < listed[:, None]
    return np.concatenate([[0], np.cumsum(listed)]), lists.sparse_index[:frames][use], lists.sparse_value[:frames][use]


def _unpacked(count: np.ndarray, index: np.ndarray, value: np.ndarray) -> dict[str, np.ndarray]:
    use = np.arange(int(count.max(initial=0))) < count[:, None]
    lists = {"sparse_index": np.zeros(use.shape, np.uint32), "sparse_value": np.zeros(use.shape, value.dtype)}
    lists["sparse_index"][use], lists["sparse_value"][use] = index, value
    return {**lists, "sparse_count": count.astype(np.int32)}


def _image_of(shape: tuple[int, ...], frame: tuple[int, int] | None) -> tuple[int, int]:
    stacked = (int(np.prod(shape[:-1])), shape[-1]) if frame is None else frame
    if np.prod(stacked) != np.prod(shape):
        raise ValueError(f"sparse_files: frame {frame} has not the pixels of {shape}")
    return stacked


def _known(curves: np.ndarray) -> np.ndarray:
    """The same without NaN: in a ring without a pixel the neighbours', for readers know of no NaN; 0 where there are none."""
    filled = curves.astype(np.float32)
    for curve in filled:
        some = np.isfinite(curve)
        curve[~some] = np.interp(np.flatnonzero(~some), np.flatnonzero(some), curve[some]) if some.any() else 0
    return filled


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group
