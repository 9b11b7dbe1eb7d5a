"""What Writer.append_encoded is given, checked and brought into the form in which the file keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..status import Frame
from .chunk_encoder import Filter
from .hdf5_layout import BITSHUFFLE

WHO = "hdf5.append_encoded"


def require(key: str, x: Any, kinds: Any, n: int, axes: int) -> None:
    """A numpy array of n rows, so many axes and one of these dtypes, or an error that says what it is instead."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{WHO}: {key} must be a numpy array, got {type(x).__name__}")
    if x.dtype not in kinds:
        raise TypeError(f"{WHO}: {key} must be {' or '.join(np.dtype(k).name for k in kinds)}, got {x.dtype}")
    if x.ndim != axes or len(x) != n:
        raise ValueError(f"{WHO}: {key} must have {axes} axes and {n} rows, got {x.shape}")


def least_bytes(filters: Sequence[Filter]) -> int:
    """Of the smallest chunk: the header of bitshuffle's own compressed ones, or 1."""
    return 12 if len(filters) == 1 and filters[0].number == BITSHUFFLE and filters[0].values[1] else 1


def count_frames(payload: Any, size: Any, chunks_per_frame: int, least: int = 12) -> int:
    """How many frames these rows of chunks are."""
    require("size", size, (np.uint32, np.uint64, np.int32, np.int64), np.size(size), 1)
    require("payload", payload, (np.uint8,), len(size), 2)
    n, rest = divmod(len(size), chunks_per_frame)
    if rest:
        raise ValueError(f"{WHO}: rows must be a multiple of the {chunks_per_frame} panels of a frame, got {len(size)}")
    if len(size) and int(size.min()) < least:
        raise ValueError(f"{WHO}: row {int(size.argmin())} has {int(size.min())} bytes, which is no chunk")
    return n


def chunk_masks(rows: int, filter_mask: Any, filters: int, wanted: bool) -> list[int]:
    """The filter_mask of each chunk: 0 if none is given, and the encoder gives none."""
    if filter_mask is None and not wanted:
        return [0] * rows
    require("filter_mask", filter_mask, (np.uint32,), rows, 1)
    if rows and int(filter_mask.max()) >> filters:
        raise ValueError(f"{WHO}: filter_mask of row {int(filter_mask.argmax())} is {int(filter_mask.max()):#x}, and there are {filters} filters")
    masks: list[int] = filter_mask.tolist()
    return masks


def frame_words(n: int, frame_status: Any, overflowed: list[int]) -> np.ndarray:
    """frame_status (n,) u32, with OUTLIER_OVERFLOW where a frame is kept losslessly."""
    if frame_status is not None:
        require("frame_status", frame_status, (np.uint32,), n, 1)
    words = np.zeros(n, np.uint32) if frame_status is None else frame_status.copy()
    words[overflowed] |= np.uint32(Frame.OUTLIER_OVERFLOW)
    return words


def side_lists(n: int, index: Any, value: Any, count: Any, max_error: Any, lossless: Mapping[int, np.ndarray],
               listed: Any = np.float32, bounded: bool = True) -> dict[str, np.ndarray]:
    """Outliers of n frames, one frame's after the other's, and how many each has: none where the frame is kept losslessly. bounded: with a max_error."""
    require("outlier_index", index, (np.uint32,), n, 2)
    require("outlier_value", value, (listed,), n, 2)
    require("outlier_count", count, (np.uint32,), n, 1)
    if bounded:
        require("max_error", max_error, (np.float32,), n, 1)
    elif max_error is not None:
        raise TypeError(f"{WHO}: these codes are exact: no max_error belongs to them")
    if index.shape != value.shape:
        raise ValueError(f"{WHO}: outlier_index and outlier_value must have one shape, got {index.shape} and {value.shape}")
    missing = [int(row) for row in np.flatnonzero(count > index.shape[1]) if int(row) not in lossless]
    if missing:
        raise ValueError(f"{WHO}: row {missing[0]} has {int(count[missing[0]])} outliers, its list holds {index.shape[1]}, lossless lacks it")
    many = count.astype(np.uint64)
    many[sorted(lossless)] = 0
    inside = np.arange(index.shape[1], dtype=np.uint64) < many[:, None]
    return {"outlier_index": index[inside], "outlier_value": value[inside], "outlier_count": many, **({"max_error": max_error.copy()} if bounded else {})}


def exact_frames(n: int, frame: tuple[int, ...], dtype: np.dtype[Any], lossless: Mapping[int, np.ndarray] | None) -> dict[int, np.ndarray]:
    """The frames to be kept losslessly, by row, in order."""
    for row, x in (lossless or {}).items():
        if not 0 <= row < n or x.dtype != dtype or x.shape != frame:
            raise ValueError(f"{WHO}: lossless must map rows below {n} to {dtype} {frame}, got {row}: {x.dtype} {x.shape}")
    return {int(row): x for row, x in sorted((lossless or {}).items())}
