"""Where things lie in a file: dataset NAME of compressed chunks, group NAME_side with what guards and completes it. See hdf5.py."""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np

from ..op import Op
from .bitshuffle_lz4 import BitshuffleLZ4
from .chunk_encoder import Filter

LAYOUT = 1          # a changed layout, or another meaning of the codes, has a new number; readers know all
LAYOUT_BOUNDS = 2   # codes of a relative bound, or of one by noise, whose scale is a plane
LAYOUT_COUNTS = 3   # codes of QuantizeCounts, whose meanings are a table
LAYOUT_WORDS = 4    # codes of Precondition
BITSHUFFLE = 32008
DTYPES = tuple(np.dtype(t) for t in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"))
LIBVER = ("v110", "v110")   # checksummed metadata, readable by HDF5 1.10 and later, can be switched to SWMR
HEADROOM = 1 << 20          # bytes kept free for metadata, so that a full disk cannot stop the file from being closed
ROWS = 1024                 # entries of one chunk of a side list


def side_of(name: str) -> str:
    """The group beside a dataset."""
    return name.rstrip("/") + "_side"


def first_absent(group: Any, path: str) -> str:
    """The first part of a path that is not there yet: where it begins to be made."""
    parts = path.split("/")
    paths = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return next((p for p in paths if group.get(p, getlink=True) is None), path)


def frame_nbytes(shape: Sequence[int], dtype: Any) -> int:
    return math.prod(int(k) for k in shape) * np.dtype(dtype).itemsize


def chunk_limit(nbytes: int) -> int:
    """More bytes than any bitshuffle + LZ4 chunk of so many bytes can have (LZ4 adds 1/255, each block of 64 elements or more 16 + 4)."""
    return 2 * nbytes + 4096


def check_frame(who: str, shape: Sequence[int], dtype: Any, panels: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The frame's shape and dtype, if they can be stored."""
    frame, kind = tuple(int(k) for k in shape), np.dtype(dtype)
    if kind not in DTYPES:
        remedy = "; pass frames.astype(frames.dtype.newbyteorder('='))" if not kind.isnative and kind.newbyteorder("=") in DTYPES else ""
        raise TypeError(f"{who}: frames must be {', '.join(map(str, DTYPES))} in the machine's byte order, got {kind.str}{remedy}")
    if not 1 <= len(frame) <= 4 or min(frame) < 1:
        raise ValueError(f"{who}: frames must have 1 to 4 axes of 1 or more, got {frame}")
    if panels and len(frame) < 2:
        raise ValueError(f"{who}: panels=True wants frames (panels, ...), got {frame}")
    if frame_nbytes(frame[1:] if panels else frame, kind) >= 2**32 - 2**20:
        raise ValueError(f"{who}: an HDF5 chunk holds less than 4 GiB, got {frame} {kind}" + ("" if panels else "; panels=True stores one panel a chunk"))
    return frame, kind


def create_chunks(group: Any, name: str, frame: tuple[int, ...], dtype: Any, panels: bool = False, fill: Any = None,
                  filters: Sequence[Filter] | None = None) -> Any:
    """An empty dataset that grows along frames, one frame or one panel a chunk, with the filters that its chunks went through (bitshuffle + LZ4)."""
    chunk = (1, 1, *frame[1:]) if panels else (1, *frame)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for filter in BitshuffleLZ4.filters(np.dtype(dtype).itemsize) if filters is None else filters:
        plist.set_filter(filter.number, 0, filter.values)
    return group.create_dataset(name, (0, *frame), dtype, maxshape=(None, *frame), chunks=chunk, fillvalue=fill, dcpl=plist)


def create_list(group: Any, name: str, dtype: Any, first: Sequence[Any] = ()) -> Any:
    """An empty one-dimensional list that grows; every HDF5 build checks its Fletcher checksum."""
    return group.create_dataset(name, data=np.array(first, dtype), maxshape=(None,), chunks=(ROWS,), fletcher32=True)


def extend(dataset: Any, values: Any) -> None:
    """Append to a list."""
    old = dataset.shape[0]
    if len(values):
        dataset.resize(old + len(values), axis=0)
        dataset[old:] = values


def provenance(codec: list[Op], more: dict[str, Any]) -> dict[str, str]:
    """Attributes that say where the data come from: version, the codec's ops with configuration and digest, and what the caller knows."""
    from .. import __version__  # not at import: the package imports this family first

    return {
        "gpuredux_version": __version__,
        "codec": json.dumps([{"op": op.name, **op.config()} for op in codec]),
        "codec_digest": json.dumps([op.digest() for op in codec]),
        "provenance": json.dumps(more, default=str),
    }


# ---------------------------------------------------------------------------------------------------- files of our own
def new_file(path: Any, who: str, hint: str = "") -> Any:
    """An HDF5 file that was not there, open. hint: what to do if it is there."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{who}: where must be a path or an open h5py Group, got {type(path).__name__}")
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(Path(path).parent))
    try:
        return h5py.File(path, "x", libver=LIBVER)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, f"the file exists{hint}", os.fspath(path)) from None


@contextmanager
def gone_if_it_fails(path: Any, file: Any = None) -> Iterator[None]:
    """What fails leaves no file behind that was made before; file: it, where it is still open."""
    try:
        yield
    except BaseException:
        with suppress(OSError, RuntimeError):       # the first error is the one to be seen
            if file is not None:
                file.close()
        with suppress(OSError):
            os.unlink(path)
        raise


# ---------------------------------------------------------------------------------------------------- room on the disk
_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
_fallocate = getattr(_libc, "fallocate", None)      # Linux; posix_fallocate would write every block where the file system cannot reserve


def reserve(file: Any, need: int) -> None:
    """Take room for so many bytes, and for metadata, behind the end of an open file; OSError if there is none.

    HDF5 cannot close a file whose metadata no longer fit, and such a file can hardly be opened again. So the room is asked for
    before HDF5 is touched: what was appended before then stays whole. Where the system cannot reserve, free space is compared."""
    if file.driver != "sec2":
        return
    fd, end, need = file.id.get_vfd_handle(), file.id.get_filesize(), need + HEADROOM
    problem = errno.EOPNOTSUPP if _fallocate is None else errno.EINTR
    while problem == errno.EINTR and _fallocate is not None:
        problem = ctypes.get_errno() if _fallocate(fd, 0, ctypes.c_int64(end), ctypes.c_int64(need)) else 0
    if problem in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        room = os.fstatvfs(fd) if hasattr(os, "fstatvfs") else None
        problem = errno.ENOSPC if room is not None and room.f_bavail * room.f_frsize < need else 0
    if problem:
        raise OSError(problem, os.strerror(problem), os.fsdecode(file.filename))


def sync(path: Any) -> None:
    """Make the bytes of a closed file, or the names in a folder, last through a power failure."""
    if os.path.isdir(path) and os.name != "posix":
        return      # elsewhere a folder cannot be opened; its names are the system's affair
    fd = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def trim(file: Any) -> None:
    """Give back what reserve() took beyond the end that HDF5 knows; after a flush."""
    if file.driver == "sec2":
        fd, end = file.id.get_vfd_handle(), file.id.get_filesize()
        if os.fstat(fd).st_size > end:
            os.ftruncate(fd, end)
