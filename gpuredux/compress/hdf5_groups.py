"""Groups of HDF5 whose datasets belong together: filled whole or not at all, sealed by a sum of what decides about pixels, and opened by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import h5py
import numpy as np

from ..op import DecodeError
from . import hdf5_layout as layout
from .crc32c import crc32c
from .hdf5_chunks import damage
from .hdf5_lists import listed

SEAL = "seal_crc32c"
PROVENANCE = ("gpuredux_version", "codec", "codec_digest", "provenance")
MOST = 64       # numbers of an attribute


@contextmanager
def filling(where: Any, names: Sequence[str], attributes: Sequence[str], who: str) -> Iterator[Any]:
    """A new file, closed behind it, or an open Group that holds none of these names and attributes yet. What fails leaves nothing behind."""
    if not isinstance(where, h5py.Group):
        file = layout.new_file(where, who)
        with layout.gone_if_it_fails(where), file:
            yield file
        return
    held = [k for k in names if where.get(k, getlink=True) is not None] + [f"the attribute {k}" for k in attributes if k in where.attrs]
    if held:
        raise ValueError(f"{who}: {where.name} holds {', '.join(held)} already")
    try:
        yield where
    except BaseException:
        for held, keys in ((where, names), (where.attrs, attributes)):
            for key in keys:
                with suppress(OSError, RuntimeError, KeyError):     # the first error is the one to be seen
                    del held[key]
        raise


def add_lists(group: Any, lists: Mapping[str, np.ndarray]) -> None:
    """Each with its Fletcher-32 sum, empty ones apart; OSError, before HDF5 is touched, where the disk has no room for them."""
    layout.reserve(group.file, sum(a.nbytes for a in lists.values()) + 1024 * len(lists))
    for key, values in lists.items():
        form: dict[str, Any] = {"chunks": (min(len(values), layout.ROWS), *values.shape[1:]), "fletcher32": True} if len(values) else {}
        group.create_dataset(key, data=values, **form)


def list_of(group: Any, key: str, dtype: Any, label: str) -> Any:
    """A list in a group. DecodeError if it is none of this dtype."""
    found = listed(group, key, label)
    if found.ndim != 1 or found.dtype != dtype:
        raise DecodeError(f"{label}: {key} must be a list of {np.dtype(dtype)}, got {found.dtype} {found.shape}")
    return found


def seal(group: Any, attributes: Mapping[str, Any], more: Iterable[Any]) -> None:
    """Write the attributes that decide about pixels, and the sum of them and of these arrays. Texts are of fixed length: see attributes_of."""
    for key, value in attributes.items():
        group.attrs[key] = value
    group.attrs[SEAL] = np.uint32(_sum({k: np.asarray(v) for k, v in attributes.items()}, more))


def attributes_of(group: Any, keys: Iterable[str], label: str) -> dict[str, np.ndarray]:
    """These attributes, and no others. Texts of variable length are never read: HDF5 keeps them without a checksum, and there are bits whose
    flip sends it into an endless loop. DecodeError: one is not there, or of no kind that is written here."""
    found = {}
    with damage(f"attributes of {label}"):
        for key in keys:
            if key not in group.attrs:
                raise DecodeError(f"{label} has no attribute {key}")
            kept = group.attrs.get_id(key)
            if kept.dtype.kind not in "iufS" or kept.shape is None or int(np.prod(kept.shape, dtype=np.float64)) > MOST or kept.dtype.itemsize > MOST:
                raise DecodeError(f"{label}: its attribute {key} is {kept.dtype} {kept.shape}, which is nothing that was written")
            found[key] = np.asarray(group.attrs[key])
    return found


def rows_of(rows: slice, n: int, who: str) -> range:
    """Which of n frames are wanted."""
    chosen = range(n)[rows]
    if chosen.step != 1:
        raise ValueError(f"{who}: rows must have the step 1, got {rows}")
    return chosen


def layout_of(group: Any, key: str, known: int, who: str, label: str) -> None:
    """Raise DecodeError for a group that is not of this layout."""
    with damage(f"attributes of {label}"):
        there = key in group.attrs
    number = attributes_of(group, (key,), label)[key].tolist() if there else None
    if number != known:
        raise DecodeError(f"{who}: {label} has {key} {number}; known is {known}")


def open_seal(group: Any, attributes: Mapping[str, np.ndarray], more: Iterable[Any], label: str) -> None:
    """Raise DecodeError if these are not what was sealed."""
    wanted, got = attributes_of(group, (SEAL,), label)[SEAL], _sum(attributes, more)
    if wanted.shape != () or int(wanted) != got:
        raise DecodeError(f"{label}: {', '.join(attributes)}, or the lists of its frames, are not what was written: their CRC32C is {got:08x}, "
                          f"written as {wanted}")


def _sum(attributes: Mapping[str, np.ndarray], more: Iterable[Any]) -> int:
    """CRC32C of name, dtype, shape and bytes of the attributes in the order of their names, then of dtype, shape and bytes of each array."""
    total = 0
    for key, a in [*sorted(attributes.items()), *(("", np.asarray(a)) for a in more)]:
        total = crc32c(f"{key} {a.dtype.str} {a.shape} ".encode() + np.ascontiguousarray(a).tobytes(), total)
    return total
