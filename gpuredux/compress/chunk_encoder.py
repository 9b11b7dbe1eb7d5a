"""What the encoders of standard chunks share: frames in, payload and size out; how a frame lies in its chunk is each one's own."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ..op import Op, Plan, Spec, live_rows, nbytes, spec_of

ITEMSIZES = (1, 2, 4, 8)


class Filter(NamedTuple):
    """Of HDF5: its registered number, and the values that a dataset is created with."""

    number: int
    values: tuple[int, ...]


class Layout(Protocol):
    """Of a frame in its chunk."""

    @property
    def cap(self) -> int:
        """Bytes of the largest chunk, a multiple of 16."""


def whole_shape(who: str, shape: Any) -> tuple[int, ...]:
    """A frame's shape as a tuple of int. Raises TypeError for what is none."""
    axes = tuple(shape) if isinstance(shape, (tuple, list)) else None
    if axes is None or not all(isinstance(k, numbers.Integral) and not isinstance(k, bool) for k in axes):
        raise TypeError(f"{who}: shape must be a tuple of whole numbers, got {shape!r}")
    return tuple(int(k) for k in axes)


@dataclass(frozen=True, eq=False)
class ChunkEncoder(Op):
    """payload[f, :size[f]] = the chunk of frame f. A subclass says how: layout(), chunk_of(), numba(), device(), decoder()."""

    inputs: ClassVar[tuple[str, ...]] = ("code", "live?")
    writes: ClassVar[tuple[str, ...]] = ("payload", "size")

    shape: tuple[int, ...] | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        if (self.shape is None) != (self.dtype is None):
            raise ValueError(f"{self.name}: shape and dtype are given together or not at all, got {self.shape} and {self.dtype}")
        if self.shape is not None:
            object.__setattr__(self, "shape", whole_shape(self.name, self.shape))
            self.layout(self.shape, np.dtype(self.dtype))
            object.__setattr__(self, "dtype", np.dtype(self.dtype).name)

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Of frames of this shape. Raises TypeError or ValueError for such as the format cannot hold."""
        raise NotImplementedError

    def chunk_of(self, frame: np.ndarray) -> bytes:
        """The whole chunk, for numpy."""
        raise NotImplementedError

    def decoder(self) -> Callable[[tuple[int, ...], str], Op]:
        """What makes the inverse for frames of a shape and dtype."""
        raise NotImplementedError

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """Of a dataset that holds such chunks, in the order in which they encode."""
        raise NotImplementedError

    def outputs(self, code: Any, live: Any) -> tuple[Spec, ...]:
        if not hasattr(code, "shape") or not hasattr(code, "dtype"):
            raise TypeError(f"{self.name}: code must be an array (n, ..., width), got {type(code).__name__}")
        given = spec_of("code", code)
        if self.shape is not None:
            self.require("code", code, np.dtype(self.dtype), ("n", *self.shape))
        if not fits(given.dtype) or len(given.shape) < 2 or min(given.shape[1:]) < 1:
            error = ValueError if fits(given.dtype) else TypeError
            raise error(f"{self.name}: code must be native numbers of 1, 2, 4 or 8 bytes (n, ..., width), got {given.dtype} {given.shape}")
        layout = self.layout(given.shape[1:], given.dtype)
        self.require_live(live)
        n = given.shape[0]
        return Spec("payload", (n, layout.cap), np.dtype(np.uint8)), Spec("size", (n,), np.dtype(np.uint32))

    def traffic(self, code: Any, live: Any) -> int:
        return nbytes(code, live) + nbytes(self.outputs(code, live)[1])

    def inverse(self) -> Op:
        if self.shape is None or self.dtype is None:
            raise TypeError(f"{self.name} has an inverse only if it knows its frames: {type(self).__name__}(shape=..., dtype=...)")
        return self.decoder()(self.shape, self.dtype)

    def numpy(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        for f in range(live_rows(code, live)):
            chunk = np.frombuffer(self.chunk_of(code[f]), np.uint8)
            payload[f, : len(chunk)] = chunk
            size[f] = len(chunk)


def fits(dtype: np.dtype[Any]) -> bool:
    """Native numbers of 1, 2, 4 or 8 bytes."""
    return dtype.itemsize in ITEMSIZES and dtype.kind in "biufc" and dtype.isnative
