"""What callers and other people's files give, checked before it is used: plain arrays, whole numbers, text that a file holds, datasets of HDF5."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np


def plain(who: str, value: Any) -> np.ndarray:
    """As an array. Raises TypeError for a masked one, whose mask no array, file or kernel here would hold."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{who} is a masked array, and its mask would be lost: give a plain one, .filled(np.nan) where a float is unknown, and good=")
    return np.asarray(value)


def whole(who: str, values: Any) -> tuple[int, ...]:
    """Whole numbers. Raises TypeError for text, and for numbers with a fraction."""
    try:
        if isinstance(values, str):
            raise TypeError
        return tuple(operator.index(k) for k in values)
    except TypeError:
        raise TypeError(f"{who} must be whole numbers, in a list or tuple, got {values!r}") from None


def listed(who: str, values: Any) -> tuple[str, ...]:
    """Names in a list or tuple. Raises TypeError for one text, which is a list of letters to Python."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{who} come in a list or tuple, such as {(values,)!r}, got {values!r}")
    return tuple(text(who, str(value)) for value in values)


def text(who: str, value: Any) -> str:
    """Text that a file gives back as it was. Raises TypeError, and ValueError for what HDF5 would cut short or UTF-8 cannot say."""
    if not isinstance(value, str):
        raise TypeError(f"{who} must be text, got {value!r}")
    if "\0" in value:
        raise ValueError(f"{who} must be without NUL, which would end it in a file, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{who} is no text that UTF-8 can say, {value!r}") from None
    return str(value)


def by_segment(who: str, given: Any) -> dict[int, Any]:
    """{segment id: ...}. Raises TypeError for another thing, and for ids that are no whole numbers."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{who}: the modules must be {{segment id: ...}}, got {type(given).__name__}")
    odd = [k for k in given if isinstance(k, bool) or not isinstance(k, (int, np.integer))]
    if odd:
        raise TypeError(f"{who}: segment ids are whole numbers, got {odd[0]!r}")
    return {int(k): v for k, v in given.items()}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An HDF5 file, and whatever the library finds wrong while it reads it as one ValueError."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, RuntimeError, KeyError, MemoryError) as e:
        words = " ".join(str(e).split()) or type(e).__name__
        raise ValueError(f"{path}: cannot be read as HDF5; it is cut short, damaged or something else: {words}") from None
