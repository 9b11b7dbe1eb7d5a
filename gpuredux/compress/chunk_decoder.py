"""What the decoders of standard chunks share: payload and size in, frames and their status out; what is right in a chunk is each one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, live_rows, nbytes
from ..status import Frame
from .chunk_encoder import whole_shape


@dataclass(frozen=True, eq=False)
class ChunkDecoder(Op):
    """code[f] = the frame whose chunk is payload[f, :size[f]]. A subclass says how: layout_of(), frame_bytes(), numba(), device(), inverse()."""

    inputs: ClassVar[tuple[str, ...]] = ("payload", "size", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code",)
    most: ClassVar[int] = 1 << 32                               # of bytes a row of payload has fewer,
    why: ClassVar[str] = "chunks must be smaller than 4 GiB"    # because

    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype is None:      # NumPy's None is float64
            raise TypeError(f"{self.name}: dtype must be given, got None")
        object.__setattr__(self, "shape", whole_shape(self.name, self.shape))
        self.layout_of(self.shape, np.dtype(self.dtype))
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Of frames of this shape. Raises TypeError or ValueError for such as the format cannot hold."""
        raise NotImplementedError

    @property
    def layout(self) -> Any:
        return self.layout_of(self.shape, np.dtype(self.dtype))

    def frame_bytes(self, chunk: bytes) -> tuple[bytes, bool]:
        """For numpy: the bytes of a frame, and whether its chunk was right in every byte."""
        raise NotImplementedError

    def outputs(self, payload: Any, size: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, cap = self.require("payload", payload, np.uint8, ("n", "cap")).shape
        self.require("size", size, np.uint32, (n,))
        if cap >= self.most:
            raise ValueError(f"{self.name}: payload rows of {cap} bytes: {self.why}")
        self.frame_outputs(n, frame_status, live)       # it is written in any case
        return Spec("code", (n, *self.shape), np.dtype(self.dtype)), Spec("frame_status", (n,), np.dtype(np.uint32))

    def traffic(self, payload: Any, size: Any, frame_status: Any, live: Any) -> int:
        return nbytes(size, frame_status, live) + nbytes(*self.outputs(payload, size, frame_status, live))

    def numpy(self, plan: Plan, payload: Any, size: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        for f in range(live_rows(payload, live)):
            chunk = payload[f, : size[f]].tobytes() if size[f] <= payload.shape[1] else b""
            raw, good = self.frame_bytes(chunk)
            code[f] = np.frombuffer(raw, self.dtype).reshape(code.shape[1:])
            before = 0 if frame_status is None else frame_status[f]
            new_status[f] = before | (0 if good else Frame.CORRUPT)

    @staticmethod
    def mark(n: int, errors: np.ndarray, frame_status: Any, new_status: Any) -> None:
        """For numba: CORRUPT to the first n frames whose error is not 0."""
        corrupt = np.where(errors != 0, np.uint32(Frame.CORRUPT), np.uint32(0))
        new_status[:n] = corrupt if frame_status is None else frame_status[:n] | corrupt
