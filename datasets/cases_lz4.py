"""Nasty inputs of compress.lz4_decode: chunks of HDF5's own filter with blocks of several sizes, raw ones too, and damaged."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import hdf5plugin
import numpy as np

from gpuredux.compress import LZ4Decode

from .case import Case, chunk_rows, frame_bits, live_of, seeded
from .cases_zstd_decode import damaged, frames_of


def chunk_of(frame: np.ndarray, block: int = 0) -> bytes:
    """As HDF5's plugin writes it, in blocks of so many bytes."""
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as f:
        d = f.create_dataset("x", data=frame, chunks=frame.shape, **hdf5plugin.LZ4(nbytes=block))
        chunk: bytes = d.id.read_direct_chunk((0,) * frame.ndim)[1]
        return chunk


def case(name: str, shape: tuple[int, ...], dtype: str, blocks: tuple[int, ...], lies: int, rows: int | None = None, bits: bool = True) -> Case:
    rng = seeded(name)
    chunks = [chunk_of(x, b) for b in blocks for x in frames_of(shape, dtype, name)]
    chunks += [damaged(rng, chunks[int(rng.integers(len(chunks)))]) for _ in range(lies)]
    inputs = chunk_rows(chunks)
    inputs["size"][-1:] = inputs["payload"].shape[1] + 1
    status = {"frame_status": frame_bits(len(chunks))} if bits else {}
    return Case(name, LZ4Decode(shape, dtype), {**inputs, **status, **live_of(rows)})


def lz4_decode() -> Iterator[Case]:
    yield case("uint8", (37, 53), "uint8", (0, 100, 1961, 1), 40)
    yield case("uint16", (24, 170), "uint16", (0, 8192, 333), 40, bits=False)
    yield case("float64-live9", (3, 50), "float64", (64,), 12, 9)
    none = {"payload": np.empty((0, 16), np.uint8), "size": np.empty(0, np.uint32)}
    yield Case("rows-0", LZ4Decode((4, 10), "uint16"), none)


def sized_lz4_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    x = seeded("sized").poisson(0.5, shape).astype(np.uint16)
    chunk = np.frombuffer(chunk_of(x), np.uint8)
    return Case("0.5 photons", LZ4Decode(shape, "uint16"), {"payload": np.tile(chunk, (n, 1)), "size": np.full(n, len(chunk), np.uint32)})


CASES = {"compress.lz4_decode": lz4_decode}
SIZED = {"compress.lz4_decode": sized_lz4_decode}
