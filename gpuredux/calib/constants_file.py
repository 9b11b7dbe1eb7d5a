"""The file of calib.Constants: HDF5, written whole or not at all, and read only if nothing in it has changed.

Layout 1. Attributes of /:
  layout "gpuredux.constants", layout_version 1, sha256 (hex, of everything below, see digest)
  detector, convention, made_by, notes            text (UTF-8, fixed length)
  planes, source_runs                             lists of text, in JSON
  segments (panels,) i64, shape (k,) i64          ids of the panels; the shape of a frame, ([panels,] rows, cols)
  cells i64                                       0 = constants without a memory-cell axis
  validity                                        JSON: null, or [begin, end], runs as numbers or times in ISO 8601, null = open
Datasets, contiguous, little-endian, each with the attributes units (text) and dims (JSON list of plane, cell, panel, row, col):
  pedestal, gain, noise, offset (planes, [cells,] *shape) f4 or f8; threshold (planes - 1, [cells,] *shape) f4 or f8;
  status (planes, [cells,] *shape) u1 to u8, with the attribute flags: the name of its bits; good (*shape) u1, 1 = use the pixel
A set has at least one. The format is of HDF5 1.10, whose metadata have checksums; nothing is compressed, so that a size can be checked before it is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LAYOUT, VERSION = "gpuredux.constants", 1
TEXTS, NUMBERS, LISTS = ("detector", "convention", "made_by", "notes"), ("segments", "shape", "cells"), ("planes", "source_runs", "validity")
FLOATS = ("pedestal", "gain", "noise", "offset", "threshold")
ARRAYS = (*FLOATS, "status", "good")


def digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of the header as JSON with sorted keys, then of each array in the order of ARRAYS: name, dtype, shape, bytes."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True, ensure_ascii=False).encode())
    for name in ARRAYS:
        if name in arrays:
            a = arrays[name]
            sha.update(f"\n{name} {a.dtype.newbyteorder('<').str} {a.shape}\n".encode())
            sha.update(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).data)
    return sha.hexdigest()


def write(path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray], overwrite: bool) -> None:
    """A new file beside path, then its name: an old file stays until the new one is on the disk. Raises FileExistsError without overwrite, and
    OSError with the path where there is no room, or the disk says no."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: constants are immutable; pass overwrite=True to replace the file")
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        _stored(partial, header, arrays)
        _sync(partial)
        if overwrite:
            os.replace(partial, path)
        else:
            _name_new(partial, path)
        _sync(path.parent)
    except RuntimeError as e:       # h5py's, of what the disk said
        raise OSError(errno.EIO, f"cannot be written: {' '.join(str(e).split())}", str(path)) from None
    except OSError as e:
        if isinstance(e, FileExistsError):
            raise
        raise OSError(e.errno or errno.EIO, os.strerror(e.errno) if e.errno else " ".join(str(e).split()), str(path)) from None
    finally:
        with suppress(OSError):     # the first error is the one to be seen
            partial.unlink(missing_ok=True)


def _stored(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A whole file, closed. A full disk is found before HDF5 is touched, which could not close a file without room."""
    from ..compress.hdf5_layout import reserve, trim  # not at import: families do not import each other

    file = h5py.File(path, "x", libver=("v110", "v110"))
    try:
        reserve(file, sum(a.nbytes for a in arrays.values()) + len(json.dumps(header)))
        _fill(file, header, arrays)
        file.flush()
        trim(file)
        file.close()
    except BaseException:
        with suppress(OSError, RuntimeError):       # the first error is the one to be seen
            file.close()
        raise


def _sync(path: Path) -> None:
    """A file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _name_new(partial: Path, path: Path) -> None:
    """Give the file its name if that is still free, in one step where the file system has links."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise FileExistsError(f"{path} has appeared meanwhile: constants are immutable; pass overwrite=True to replace the file") from None
    except OSError:     # no links there
        os.replace(partial, path)


def _text(value: str) -> Any:
    """Fixed length: HDF5 keeps text of variable length in a heap without a checksum."""
    return np.array(value.encode(), dtype=h5py.string_dtype("utf-8", max(len(value.encode()), 1)))


def _fill(file: Any, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    attributes = {"layout": _text(LAYOUT), "layout_version": np.int64(VERSION), "sha256": _text(digest(header, arrays))}
    attributes |= {k: _text(header[k]) for k in TEXTS} | {k: np.asarray(header[k], np.int64) for k in NUMBERS}
    attributes |= {k: _text(json.dumps(header[k], ensure_ascii=False)) for k in LISTS}
    for key, value in attributes.items():
        file.attrs[key] = value
    for name, a in arrays.items():
        dataset = file.create_dataset(name, data=np.ascontiguousarray(a, a.dtype.newbyteorder("<")))
        dataset.attrs["units"] = _text(header["units"].get(name, ""))
        dataset.attrs["dims"] = _text(json.dumps(_dims(name, header)))
        if name == "status":
            dataset.attrs["flags"] = _text(header["flags"])


def _dims(name: str, header: dict[str, Any]) -> list[str]:
    frame = ["panel", "row", "col"][-len(header["shape"]):]
    return frame if name == "good" else ["plane", *["cell"] * (header["cells"] > 0), *frame]


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays. Raises ValueError for anything but a whole, unchanged file of this layout; FileNotFoundError without one."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            header, arrays, said = _contents(file, path.stat().st_size)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as e:
        raise ValueError(f"{path}: cannot be read as HDF5; it is cut short, damaged or something else: {e}") from None
    except ValueError as e:     # of the layout, of JSON or of UTF-8
        raise ValueError(f"{path}: {e}") from None
    made = digest(header, arrays)
    if made != said:
        raise ValueError(f"{path}: its content was changed: sha256 {made[:16]}..., written as {said[:16]}...")
    return header, arrays


def _contents(file: Any, size: int) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    def text(where: Any, key: str) -> str:
        value = where.attrs[key]
        if not isinstance(value, bytes):
            raise ValueError(f"attribute {key} must be text, got {value!r}")
        return value.decode()

    wanted = {"layout", "layout_version", "sha256", *TEXTS, *NUMBERS, *LISTS}
    if "layout" not in file.attrs or text(file, "layout") != LAYOUT:
        raise ValueError(f"is no constants file of gpuredux (no attribute layout = {LAYOUT!r})")
    if file.attrs.get("layout_version") != VERSION:
        raise ValueError(f"has layout {file.attrs.get('layout_version')}, this version of gpuredux reads layout {VERSION}")
    odd = sorted(set(file.attrs) ^ wanted) + sorted(set(file) - set(ARRAYS))
    if odd:
        raise ValueError(f"does not hold what layout {VERSION} says; too many or missing: {', '.join(odd)}")
    header: dict[str, Any] = {k: text(file, k) for k in TEXTS} | {k: np.asarray(file.attrs[k]).tolist() for k in NUMBERS}
    header |= {k: json.loads(text(file, k)) for k in LISTS} | {"units": {}, "flags": ""}
    arrays = {}
    for name in ARRAYS:
        if name not in file:
            continue
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fu" or dataset.nbytes > size:
            raise ValueError(f"{name} is no array of this layout: {dataset}")
        header["units"][name] = text(dataset, "units")
        if name == "status":
            header["flags"] = text(dataset, "flags")
        if json.loads(text(dataset, "dims")) != _dims(name, header):
            raise ValueError(f"{name} has dims {text(dataset, 'dims')}, not {_dims(name, header)}")
        arrays[name] = dataset[()]
    return header, arrays, text(file, "sha256")
