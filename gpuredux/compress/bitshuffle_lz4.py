"""chunk = header, then for every 8 KiB of a frame the LZ4 block of its bit planes (HDF5 filter 32008). Over 200 lines: the op and its readable encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np

from ..op import Op, Plan, Spec, live_rows
from .chunk_encoder import ChunkEncoder, Filter, fits
from .lz4_numba import BLOCK, SLOT, encode_frames

HEADER = 12


@dataclass(frozen=True, eq=False)
class BitshuffleLZ4(ChunkEncoder):
    """payload[f, :size[f]] = the HDF5 filter-32008 chunk (bitshuffle + LZ4, 8 KiB blocks) of frame f.

    The matcher has no table: a match begins where 4 bytes equal those at one of four fixed distances: 1, the size of a bit plane,
    one row of a plane (width // 8), and more rows (second_row). At the first such byte the longest wins, the first of equals; a match
    that begins one byte later and is longer by 2 or more is taken instead. This fixes every byte.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not written; cap is the worst case, a multiple of 16
         size (n,) u32 [bytes]
    exact: byte-identical on every backend. Scratch: a little more than the raw batch
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: the bitshuffle HDF5 filter's chunk layout (registered filter 32008); LZ4 block format
    """

    name: ClassVar[str] = "compress.bitshuffle_lz4"

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        return frame_layout(self.name, frame, dtype)

    def chunk_of(self, frame: np.ndarray) -> bytes:
        return chunk_of(frame)

    def decoder(self) -> type[Op]:
        from .bitshuffle_lz4_decode import BitshuffleLZ4Decode

        return BitshuffleLZ4Decode

    @staticmethod
    def filters(itemsize: int) -> tuple[Filter, ...]:
        """The filter itself puts three values in front: its version and the item size."""
        return (Filter(32008, (0, 2)),)

    def scratch(self, code: Any, live: Any) -> tuple[Spec, ...]:
        n, blocks = code.shape[0], frame_layout(self.name, code.shape[1:], np.dtype(code.dtype)).blocks
        return (
            Spec("slots", (n, max(blocks, 1), SLOT), np.dtype(np.uint8)),
            Spec("block_size", (n, max(blocks, 1)), np.dtype(np.uint32)),
            Spec("block_start", (n, max(blocks, 1)), np.dtype(np.uint32)),
        )

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        n, layout = live_rows(code, live), frame_layout(self.name, code.shape[1:], code.dtype)
        threads = numba.get_num_threads()
        spans = 1 if threads == 1 or n == 0 else min(max(layout.blocks // 8 // threads, 1) * threads, max(8 * threads // n, 1))
        raw = code.reshape(len(code), -1).view(np.uint8) if n else np.empty((0, layout.nbytes), np.uint8)
        slots = plan.scratch["slots"].reshape(len(code), max(layout.blocks, 1) * SLOT)
        width = code.shape[-1]
        encode_frames(raw[:n], code.dtype.itemsize, width // 8, second_row(width), payload[:n], size[:n], slots[:n], spans, threads)

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any) -> None:
        layout, width = frame_layout(self.name, code.shape[1:], np.dtype(code.dtype)), code.shape[-1]
        n, blocks = code.shape[0], layout.blocks
        slots, block_size, block_start = (plan.scratch[k] if plan.scratch else None for k in ("slots", "block_size", "block_start"))
        have_live = payload if live is None else live      # stands in where the kernels never look
        count = [np.uint32(k) for k in (n, blocks, layout.nbytes, layout.cap)]
        defines = {"SIZE": code.dtype.itemsize, "ALIGN": layout.align, "LIVE": live is not None}
        file = "compress/bitshuffle_lz4.cl"
        step = [np.uint32(k) for k in (BLOCK, width // 8, second_row(width))]
        plan.launch(file, "lz4_blocks", (n * blocks,), 128, (code, slots, block_size, have_live, *count[:3], *step), **defines)
        plan.launch(file, "lz4_place", (n,), 128, (code, block_size, block_start, payload, size, have_live, *count), **defines)
        plan.launch(file, "lz4_gather", (n * blocks,), 128, (slots, block_size, block_start, payload, have_live, *count), **defines)


@dataclass(frozen=True)
class Layout:
    """Of one frame: bytes, bytes that go into blocks, blocks, worst-case chunk, alignment of every frame's first byte (at most 16)."""

    nbytes: int
    usable: int
    blocks: int
    cap: int
    align: int


@lru_cache(256)
def frame_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    """Raises TypeError or ValueError for frames that this filter cannot hold."""
    if not fits(dtype):
        raise TypeError(f"{who}: the dtype must be native numbers of 1, 2, 4 or 8 bytes, got {dtype}")
    if len(frame) < 1 or min(frame) < 1:
        raise ValueError(f"{who}: frames must have pixels, got the frame shape {tuple(frame)}")
    total = math.prod(frame) * dtype.itemsize
    usable = total // (8 * dtype.itemsize) * 8 * dtype.itemsize
    blocks = -(-usable // BLOCK)
    worst = HEADER + sum((4 + n + n // 255 + 16) * k for n, k in ((BLOCK, usable // BLOCK), (usable % BLOCK, 1))) + total - usable
    cap = -(-worst // 16) * 16
    if cap >= 1 << 32:
        raise ValueError(f"{who}: a frame of {total} bytes could need a chunk of 4 GiB or more; cut it into panels")
    return Layout(total, usable, blocks, cap, next(k for k in (16, 8, 4, 2, 1) if total % k == 0))


def second_row(width: int) -> int:
    """The fourth distance: the fewest rows, from two on, that are whole bytes of a bit plane; for odd widths one row rounded up."""
    return width // 4 if width % 4 == 0 else width // 2 if width % 2 == 0 else width // 8 + 1


def bit_planes(x: np.ndarray) -> np.ndarray:
    """Bit p of element k -> plane p, byte k // 8, bit k % 8; the planes of a multiple of 8 elements, one after another, u8."""
    bits = np.unpackbits(x.view(np.uint8).reshape(len(x), x.itemsize), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").ravel()


def run_lengths(b: np.ndarray, distance: int) -> np.ndarray:
    """At each byte: how many bytes from there on equal those `distance` before them. The last 5 bytes are never part of a run."""
    equal = np.zeros(len(b) + 1, bool)
    equal[distance : len(b)] = b[distance:] == b[: max(len(b) - distance, 0)]
    equal[max(len(b) - 5, 0) :] = False
    at, unequal = np.arange(len(b) + 1), np.flatnonzero(~equal)
    return unequal[np.searchsorted(unequal, at)] - at


def lz4_block(b: np.ndarray, distances: list[int]) -> bytes:
    """The LZ4 block of the bytes b: matches at these distances alone."""
    runs = np.array([run_lengths(b, d) for d in distances])
    best, which = runs.max(axis=0), runs.argmax(axis=0)
    best[max(len(b) - 11, 0) :] = 0        # the format: the last match begins 12 bytes before the end or earlier
    out, anchor, pos = bytearray(), 0, 0
    while pos < len(b):
        if best[pos] < 4:
            pos += 1
            continue
        if best[pos + 1] > best[pos] + 1:
            pos += 1
        length = int(best[pos])
        out += sequence(b[anchor:pos], length) + distances[which[pos]].to_bytes(2, "little") + extension(length - 4)
        anchor = pos = pos + length
    return bytes(out + sequence(b[anchor:], 4))


def sequence(literals: np.ndarray, match: int) -> bytes:
    """Token, the literals' length, the literals."""
    token = min(len(literals), 15) << 4 | min(match - 4, 15)
    return bytes([token]) + extension(len(literals)) + literals.tobytes()


def extension(length: int) -> bytes:
    """What follows a nibble of 15."""
    return b"" if length < 15 else b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])


def chunk_of(frame: np.ndarray) -> bytes:
    """The whole chunk of one frame."""
    x, size, width = frame.reshape(-1), frame.itemsize, frame.shape[-1]
    usable = len(x) // 8 * 8
    chunk = bytearray(frame.nbytes.to_bytes(8, "big") + BLOCK.to_bytes(4, "big"))
    for start in range(0, usable, BLOCK // size):
        part = x[start : min(start + BLOCK // size, usable)]
        distances = [d for d in (1, len(part) // 8, width // 8, second_row(width)) if d > 0]
        block = lz4_block(bit_planes(part), distances)
        chunk += len(block).to_bytes(4, "big") + block
    return bytes(chunk + x[usable:].tobytes())
