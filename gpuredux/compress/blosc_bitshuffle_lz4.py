"""chunk = header, where each block begins, and the LZ4 blocks of the bit planes of a frame (blosc 1, HDF5 filter 32001)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, Spec, live_rows
from .bitshuffle_lz4 import bit_planes, lz4_block, second_row
from .bitshuffle_lz4 import frame_layout as lz4_layout
from .blosc_numba import encode_frames
from .chunk_encoder import ChunkEncoder, Filter
from .lz4_numba import BLOCK, SLOT

HEADER = 16
BITSHUFFLE, MEMCPYED = 0x34, 0x36       # flags: LZ4, one stream a block, bit planes; and, besides, nothing compressed at all


@dataclass(frozen=True, eq=False)
class BloscBitshuffleLZ4(ChunkEncoder):
    """payload[f, :size[f]] = the blosc 1 chunk (bitshuffle + LZ4, HDF5 filter 32001) of frame f, in which each block is found by its number.

    16 bytes: 2, 1, flags 0x34 (bitshuffle, one stream a block, LZ4), the item size, and as little-endian u32 the frame's bytes, a block's bytes and the
    chunk's bytes; where each block begins (u32); for each block its size (i32) and the LZ4 block of its bit planes, made as BitshuffleLZ4 makes it. A block
    that would not be smaller than its planes is its planes; a chunk that would not be smaller than the frame with a header is that, flags 0x36.
    Blocks have 8 KiB, the last one less. Blosc leaves a block whose elements are no multiple of 8 as it is, and so is it stored. Where a frame's are none,
    blocks have the size, of whole units of 8 elements from 6 to 8 KiB, that makes the last one and 16 bytes for each other one fewest, the largest of equals;
    of a frame below 8 KiB all its whole units.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not written; cap is the frame's bytes and 16, rounded up to a multiple of 16
         size (n,) u32 [bytes]
    exact: byte-identical on every backend. Scratch: a little more than the raw batch
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: c-blosc's README_HEADER (chunk format 2); LZ4 block format
    """

    name: ClassVar[str] = "compress.blosc_bitshuffle_lz4"

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def chunk_of(self, frame: np.ndarray) -> bytes:
        return chunk_of(frame, self.layout(frame.shape, frame.dtype))

    def decoder(self) -> type[Op]:
        from .blosc_decode import BloscDecode

        return BloscDecode

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """The filter itself fills in the first four; then level, bitshuffle, LZ4."""
        return (Filter(32001, (0, 0, 0, 0, 5, 2, 1)),)

    def scratch(self, code: Any, live: Any) -> tuple[Spec, ...]:
        n, layout = code.shape[0], self.layout(code.shape[1:], np.dtype(code.dtype))
        return (
            Spec("slots", (n, max(layout.coded, 1), SLOT), np.dtype(np.uint8)),
            Spec("block_size", (n, layout.blocks), np.dtype(np.uint32)),
            Spec("block_start", (n, layout.blocks), np.dtype(np.uint32)),
        )

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        n, layout, threads = live_rows(code, live), self.layout(code.shape[1:], code.dtype), numba.get_num_threads()
        if n == 0:
            return
        spans = 1 if threads == 1 else min(max(layout.coded // 8 // threads, 1) * threads, max(8 * threads // n, 1))
        raw = code.reshape(len(code), -1).view(np.uint8)
        slots, width = plan.scratch["slots"].reshape(len(code), max(layout.coded, 1) * SLOT), code.shape[-1]
        reach = (width // 8, second_row(width))
        encode_frames(raw[:n], code.dtype.itemsize, reach, layout.step, layout.coded, payload[:n], size[:n], slots[:n], plan.scratch["block_size"][:n], spans)

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        layout, width, n = self.layout(code.shape[1:], np.dtype(code.dtype)), code.shape[-1], code.shape[0]
        slots, block_size, block_start = (plan.scratch[k] if plan.scratch else None for k in ("slots", "block_size", "block_start"))
        have_live = payload if live is None else live      # stands in where the kernels never look
        defines = {"SIZE": code.dtype.itemsize, "ALIGN": layout.align, "LIVE": live is not None}
        if layout.coded:
            count = [np.uint32(k) for k in (n, layout.coded, layout.nbytes, layout.step, width // 8, second_row(width))]
            plan.launch("compress/bitshuffle_lz4.cl", "lz4_blocks", (n * layout.coded,), 128, (code, slots, block_size, have_live, *count), **defines)
        file, count = "compress/blosc_bitshuffle_lz4.cl", [np.uint32(k) for k in (n, layout.coded, layout.nbytes, layout.cap, layout.step)]
        plan.launch(file, "blosc_place", (n,), 128, (block_size, block_start, payload, size, have_live, *count), **defines)
        args = (code, slots, block_size, block_start, payload, size, have_live, *count)
        plan.launch(file, "blosc_gather", (n * layout.blocks,), 128, args, **defines)


@dataclass(frozen=True)
class Layout:
    """Of one frame: bytes, bytes of a block, blocks, how many of them are coded (the others, at most one, are as they are), the chunk's row, alignment."""

    nbytes: int
    step: int
    blocks: int
    coded: int
    cap: int
    align: int


@lru_cache(256)
def frame_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    """Raises TypeError or ValueError for frames that blosc 1 cannot hold."""
    nbytes, unit = lz4_layout(who, frame, dtype).nbytes, 8 * dtype.itemsize
    if nbytes + HEADER >= 1 << 31:
        raise ValueError(f"{who}: a blosc chunk holds less than 2 GiB, got a frame of {nbytes} bytes; cut it into panels")
    units, most = nbytes // unit, BLOCK // unit
    if nbytes % unit == 0:
        step = min(BLOCK, nbytes)
        coded = -(-nbytes // step)
    elif units == 0:
        step, coded = nbytes, 0
    else:
        each = min(range(min(units, most * 3 // 4), min(units, most) + 1), key=lambda k: (units % k * unit + 16 * (units // k), -k))
        step, coded = each * unit, units // each
    align = next(k for k in (16, 8, 4, 2, 1) if nbytes % k == 0 and step % k == 0)
    return Layout(nbytes, step, -(-nbytes // step), coded, -(-(nbytes + HEADER) // 16) * 16, align)


def chunk_of(frame: np.ndarray, layout: Layout) -> bytes:
    """The whole chunk of one frame."""
    x, raw, width, starts, data = frame.reshape(-1), frame.tobytes(), frame.shape[-1], b"", b""
    for block in range(layout.blocks):
        begin, end = block * layout.step, min((block + 1) * layout.step, layout.nbytes)
        stored = raw[begin:end]
        if block < layout.coded:
            planes = bit_planes(x[begin // frame.itemsize : end // frame.itemsize])
            distances = [d for d in (1, len(planes) // (8 * frame.itemsize), width // 8, second_row(width)) if d > 0]
            stored = min(planes.tobytes(), lz4_block(planes, distances), key=len)
        starts += (HEADER + 4 * layout.blocks + len(data)).to_bytes(4, "little")
        data += len(stored).to_bytes(4, "little") + stored
    total = HEADER + len(starts) + len(data)
    if total >= HEADER + layout.nbytes:
        return header(MEMCPYED, frame.itemsize, layout, HEADER + layout.nbytes) + raw
    return header(BITSHUFFLE, frame.itemsize, layout, total) + starts + data


def header(flags: int, itemsize: int, layout: Layout, total: int) -> bytes:
    return bytes([2, 1, flags, itemsize]) + b"".join(k.to_bytes(4, "little") for k in (layout.nbytes, layout.step, total))
