"""chunk = the bit planes of every block of a frame, nothing compressed (HDF5 filter 32008 without a codec)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, live_rows
from .bitshuffle_lz4 import bit_planes
from .bitshuffle_lz4 import frame_layout as lz4_layout
from .bitshuffle_numba import PART, split_frames
from .chunk_encoder import ChunkEncoder, Filter


@dataclass(frozen=True, eq=False)
class Bitshuffle(ChunkEncoder):
    """payload[f, :size[f]] = bit p of element k of a block at plane p, bit k: the HDF5 filter-32008 chunk (bitshuffle alone) of frame f.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
            block: elements of a block, a multiple of 8; 0 = as many as fill 8 KiB, the filter's own choice. What reads the chunk must be told it
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not written; cap is the frame's bytes, rounded up to a multiple of 16
         size (n,) u32 [bytes]: always the frame's bytes
    exact: byte-identical on every backend and to the bitshuffle library
    traffic: the raw bytes twice and the sizes
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008)
    """

    name: ClassVar[str] = "compress.bitshuffle"

    block: int = 0

    def __post_init__(self) -> None:
        check_block(self)
        super().__post_init__()

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype, self.block)

    def chunk_of(self, frame: np.ndarray) -> bytes:
        x, usable, step = frame.reshape(-1), frame.size // 8 * 8, self.block or PART // frame.itemsize
        blocks = [bit_planes(x[start : min(start + step, usable)]).tobytes() for start in range(0, usable, step)]
        return b"".join(blocks) + x[usable:].tobytes()

    def decoder(self) -> Callable[..., Op]:
        from .bitshuffle_decode import BitshuffleDecode

        return partial(BitshuffleDecode, block=self.block)

    def filters(self, itemsize: int) -> tuple[Filter, ...]:     # type: ignore[override]
        """The filter itself puts three values in front: its version and the item size."""
        return (Filter(32008, (self.block, 0)),)

    def traffic(self, code: Any, live: Any) -> int:
        return super().traffic(code, live) + code.shape[0] * self.layout(code.shape[1:], np.dtype(code.dtype)).nbytes

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        n, layout = live_rows(code, live), self.layout(code.shape[1:], code.dtype)
        if n:
            raw = code.reshape(len(code), -1).view(np.uint8)
            split_frames(raw[:n], code.dtype.itemsize, layout.step, payload[:n], layout.spans(n, numba.get_num_threads()))
            size[:n] = layout.nbytes

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        layout, n = self.layout(code.shape[1:], np.dtype(code.dtype)), code.shape[0]
        count = [np.uint32(k) for k in (n, layout.parts, layout.nbytes, layout.cap, layout.step)]
        args = (code, payload, size, payload if live is None else live, *count)      # payload stands in where the kernel never looks
        plan.launch("compress/bitshuffle.cl", "split_bits", (n * layout.parts,), 128, args, SIZE=code.dtype.itemsize, ALIGN=layout.align, LIVE=live is not None)


@dataclass(frozen=True)
class Layout:
    """Of one frame: bytes, bytes that go into blocks, bytes of a block, parts of up to 8 KiB (1 at least), the chunk's row, alignment of what is loaded."""

    nbytes: int
    usable: int
    step: int
    parts: int
    cap: int
    align: int

    def spans(self, n: int, threads: int) -> int:
        """Into how many a frame is cut, that a few large frames use all cores."""
        return 1 if threads == 1 else min(max(self.usable // self.step, 1), max(8 * threads // n, 1))


def check_block(op: Any) -> None:
    """Raises ValueError unless op.block is a multiple of 8 that filter 32008 can be told."""
    object.__setattr__(op, "block", op.number("block", whole=True))
    if op.block % 8 or not 0 <= op.block < 1 << 29:
        raise ValueError(f"{op.name}: block must be a multiple of 8 elements below 2**29, or 0 for blocks of 8 KiB, got {op.block}")


@lru_cache(256)
def frame_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any], block: int) -> Layout:
    """Raises TypeError or ValueError for frames that this filter cannot hold."""
    whole = lz4_layout(who, frame, dtype)
    unit = 8 * dtype.itemsize
    step = min(block * dtype.itemsize or PART, max(whole.usable, unit))
    full, rest = divmod(whole.usable, step)
    parts = full * -(-step // PART) + -(-rest // PART)
    align = next(k for k in (16, 8, 4, 2, 1) if whole.nbytes % k == 0 and step % k == 0)
    return Layout(whole.nbytes, whole.usable, step, max(parts, 1), -(-whole.nbytes // 16) * 16, align)
