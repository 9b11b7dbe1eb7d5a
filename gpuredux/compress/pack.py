"""Chunks one behind another, so that one copy takes them all off a device: offset says where each begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, live_rows, nbytes
from .pack_numba import pack_rows

PIECE = 16384       # bytes that a block copies


@dataclass(frozen=True, eq=False)
class Pack(Op):
    """offset[f + 1] = offset[f] + size[f] rounded up to a multiple of align; packed[offset[f] : offset[f] + size[f]] = payload[f, : size[f]].

    fields: align: of every start, a power of two of 16 to 4096 bytes (4096: what O_DIRECT wants of a file's)
    in:  payload (n, cap) u8, cap a multiple of 16, as all encoders have it; size (n,) u32 [bytes]: of one above cap the cap bytes that there are; live (1,) i32
    out: packed (n * cap rounded up to align,) u8: 0 between a chunk's end and the next start; bytes at or beyond offset[live] are not changed
         offset (n + 1,) u64 [bytes]: entries 0 to live, of which the last is the number of bytes to be copied
         size (n,) u32 [bytes]: as it came, cap at most: where a chunk ends, for a decoder takes no byte more
    exact: byte-identical on every backend
    traffic: sizes and offsets; the bytes of the chunks, read and written once, depend on the data and are not counted
    source: the exclusive prefix sum
    """

    name: ClassVar[str] = "compress.pack"
    inputs: ClassVar[tuple[str, ...]] = ("payload", "size", "live?")
    writes: ClassVar[tuple[str, ...]] = ("packed", "offset", "size")

    align: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "align", self.number("align", whole=True))
        if not 16 <= self.align <= 4096 or self.align & (self.align - 1):
            raise ValueError(f"{self.name}: align must be a power of two of 16 to 4096 bytes, got {self.align}")

    def outputs(self, payload: Any, size: Any, live: Any) -> tuple[Spec, ...]:
        n, cap = self.require("payload", payload, np.uint8, ("n", "cap")).shape
        if cap % 16 or not 0 < cap < 1 << 32:
            raise ValueError(f"{self.name}: payload must have rows of a multiple of 16 bytes below 4 GiB, as encoders write them, got {(n, cap)}")
        self.require("size", size, np.uint32, (n,))
        self.require_live(live)
        packed = Spec("packed", (n * -(-cap // self.align) * self.align,), np.dtype(np.uint8))
        return packed, Spec("offset", (n + 1,), np.dtype(np.uint64)), Spec("size", (n,), np.dtype(np.uint32))

    def traffic(self, payload: Any, size: Any, live: Any) -> int:
        return nbytes(size, live, *self.outputs(payload, size, live)[1:])

    def numpy(self, plan: Plan, payload: Any, size: Any, live: Any, packed: Any, offset: Any, held: Any) -> None:
        offset[0], at = 0, 0
        for f in range(live_rows(payload, live)):
            length = min(int(size[f]), payload.shape[1])
            end = at + -(-length // self.align) * self.align
            packed[at : at + length], packed[at + length : end] = payload[f, :length], 0
            offset[f + 1], held[f] = end, length
            at = end

    def numba(self, plan: Plan, payload: Any, size: Any, live: Any, packed: Any, offset: Any, held: Any) -> None:
        n = live_rows(payload, live)
        np.minimum(size[:n], np.uint32(payload.shape[1]), out=held[:n])
        units = -(-held[:n].astype(np.int64) // self.align)
        offset[0] = 0
        np.cumsum(units * self.align, out=offset[1 : n + 1].view(np.int64))
        pack_rows(payload[:n], size, offset, packed)

    def device(self, plan: Plan, payload: Any, size: Any, live: Any, packed: Any, offset: Any, held: Any) -> None:
        n, cap = payload.shape
        rows, counts = payload if live is None else live, (np.uint32(n), np.uint32(cap))    # stands in where the kernels never look
        defines = {"LIVE": live is not None, "PIECE": PIECE, "SHIFT": self.align.bit_length() - 1}
        plan.launch("compress/pack.cl", "pack_offsets", (1,), 128, (size, offset, held, rows, *counts), **defines)
        plan.launch("compress/pack.cl", "pack_copy", (-(-cap // PIECE), n), 128, (payload, size, offset, packed, rows, *counts), **defines)
