"""Nasty inputs of compress.shuffle_zstd_decode and compress.bitshuffle_zstd_decode: chunks that HDF5's own filters wrote, by hand, and damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from gpuredux.compress import BitshuffleZstdDecode, ShuffleZstdDecode

from .case import Case, chunk_rows, frame_bits, live_of, seeded

MAGIC = b"\x28\xb5\x2f\xfd"


def shuffle_chunk(frame: np.ndarray, level: int = 1) -> bytes:
    """The chunk that HDF5's shuffle and hdf5plugin's zstd make of a frame."""
    return _written(frame, shuffle=True, **hdf5plugin.Zstd(clevel=level))


def bitshuffle_chunk(frame: np.ndarray, level: int = 1, block: int = 0) -> bytes:
    """The same of bitshuffle with zstd, in blocks of so many elements (0: its default of 8 KiB)."""
    return _written(frame, **hdf5plugin.Bitshuffle(nelems=block, cname="zstd", clevel=level))


def _written(frame: np.ndarray, **filters: Any) -> bytes:
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as f:
        d = f.create_dataset("x", data=frame, chunks=frame.shape, **filters)
        return d.id.read_direct_chunk((0,) * frame.ndim)[1]


def header(raw_bytes: int) -> bytes:
    """Of a frame that is one segment, its content size in 4 bytes."""
    return MAGIC + b"\xa0" + struct.pack("<I", raw_bytes)


def block(kind: int, size: int, content: bytes, last: bool = False) -> bytes:
    return (int(last) | kind << 1 | size << 3).to_bytes(3, "little") + content


def plain(data: bytes) -> list[bytes]:
    """Blocks of raw bytes, runs, nothing at all, and literals alone, raw and as a run, that hold these bytes, at least 60."""
    a, b, c = len(data) // 4, len(data) // 2, len(data) // 4 * 3
    lits = bytes([(c - b) << 4 & 255 | 12, (c - b) >> 4 & 255, (c - b) >> 12])
    run = bytes([(len(data) - c) << 4 & 255 | 13, (len(data) - c) >> 4 & 255, (len(data) - c) >> 12])
    assert len(set(data[:a])) == 1 == len(set(data[c:]))
    return [
        block(1, a, data[:1]), block(0, 0, b""), block(0, b - a, data[a:b]), block(1, 0, b"x"),
        block(2, 3 + c - b + 1, lits + data[b:c] + b"\0"), block(2, 5, run + data[-1:] + b"\0"), block(0, 0, b"", True),
    ]


def frames_of(shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    """Zeros, all bits set, sparse counts, counts, noise, a text that repeats."""
    rng, kind, npix = seeded(name), np.dtype(dtype), int(np.prod(shape))
    noise = np.frombuffer(rng.bytes(npix * kind.itemsize), kind)
    words = np.resize(np.frombuffer(b"".join(rng.bytes(k) for k in (3, 4, 7, 30)) * 9, np.uint8), npix * kind.itemsize).view(kind)
    counts = [rng.poisson(mean, npix).astype(kind) for mean in (0.05, 2)]
    return np.stack([np.zeros(npix, kind), np.full(npix * kind.itemsize, 255, np.uint8).view(kind), *counts, noise, words]).reshape(-1, *shape)


def damaged(rng: np.random.Generator, chunk: bytes) -> bytes:
    """One to three lies, often in a header."""
    lie = bytearray(chunk)
    for _ in range(int(rng.integers(1, 4))):
        if not lie:
            break
        at = int(rng.integers(len(lie))) if rng.integers(2) else int(rng.integers(min(len(lie), 40)))
        match rng.integers(5):
            case 0:
                lie[at] ^= 1 << int(rng.integers(8))
            case 1:
                lie[at] = (0, 1, 127, 128, 255)[rng.integers(5)]
            case 2:
                del lie[at : at + int(rng.integers(1, 4))]
            case 3:
                lie[at:at] = rng.bytes(int(rng.integers(1, 4)))
            case _:
                lie[at] = int(rng.integers(256))
    return bytes(lie)


def rows_of(chunks: list[bytes]) -> dict[str, np.ndarray]:
    """Rows longer than any chunk, and a multiple of 16."""
    return chunk_rows(chunks, 17, 16)


def case_of(name: str, op: Any, chunks: list[bytes], rows: int | None = None, bits: bool = True) -> Case:
    status = {"frame_status": frame_bits(len(chunks))} if bits else {}
    return Case(name, op, {**rows_of(chunks), **status, **live_of(rows)})


def broken(op: Any, right: list[bytes], name: str, count: int) -> Case:
    """Right chunks among damaged ones, and one whose size is beyond its row."""
    rng = seeded(name)
    case = case_of(name, op, [*right, *(damaged(rng, right[i % len(right)]) for i in range(count))])
    case.inputs["size"][-1] = case.inputs["payload"].shape[1] + 1
    return case


def shuffled_text(shape: tuple[int, ...], dtype: str) -> bytes:
    """The byte planes of a frame whose first and last quarter are runs."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return b"\7" * (n // 4) + seeded("planes").bytes(n // 4 * 3 - n // 4) + b"\0" * (n - n // 4 * 3)


def shuffle_zstd_decode() -> Iterator[Case]:
    for i, (shape, dtype, level, rows) in enumerate((
        ((37, 53), "uint16", 1, None), ((24, 17), "float32", 19, 4), ((3, 5), "uint8", 1, 99), ((9, 17), "float64", 3, 0), ((1, 1), "uint16", 1, None),
    )):
        op = ShuffleZstdDecode(shape, dtype)
        yield case_of(f"{dtype}-{shape}", op, [shuffle_chunk(f, level) for f in frames_of(shape, dtype, f"{shape}")], rows, bits=i % 2 > 0)
    large, op = frames_of((300, 470), "uint16", "large"), ShuffleZstdDecode((300, 470), "uint16")
    yield case_of("several blocks", op, [shuffle_chunk(large[k], level) for k, level in ((3, 1), (2, 5), (5, 3), (4, 1))])
    shape = (40, 50)
    text, op = shuffled_text(shape, "uint16"), ShuffleZstdDecode(shape, "uint16")
    right = [header(len(text)) + b"".join(plain(text)), *(shuffle_chunk(f, 19) for f in frames_of(shape, "uint16", "right")[2:])]
    yield broken(op, right, "by hand and damaged", 60)
    yield case_of("empty", op, [])


def bitshuffle_zstd_decode() -> Iterator[Case]:
    for i, (shape, dtype, size, rows) in enumerate((
        ((37, 53), "uint16", 64, None), ((24, 17), "float32", 0, 4), ((3, 5), "uint8", 8, 99), ((9, 17), "float64", 16, 0), ((7,), "uint16", 0, None),
        ((300, 470), "uint16", 1 << 16, None),
    )):
        op, few = BitshuffleZstdDecode(shape, dtype), slice(None) if shape[0] < 300 else slice(2, 4)
        chunks = [bitshuffle_chunk(f, 1 + i, size) for f in frames_of(shape, dtype, f"bits {shape}")[few]]
        yield case_of(f"{dtype}-{shape}", op, chunks, rows, bits=i % 2 > 0)
    shape = (40, 50)
    text, op = shuffled_text(shape, "uint16"), BitshuffleZstdDecode(shape, "uint16")
    frame = header(len(text)) + b"".join(plain(text))
    right = [struct.pack(">QII", len(text), len(text), len(frame)) + frame]
    right += [bitshuffle_chunk(f, 19, size) for f, size in zip(frames_of(shape, "uint16", "right")[2:], (0, 64, 512, 2000), strict=True)]
    yield broken(op, right, "by hand and damaged", 60)
    yield case_of("empty", op, [])


def sized_shuffle_zstd_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    code = seeded("sized").poisson(2, (n, *shape)).astype(np.uint16)
    return Case("counts of 2", ShuffleZstdDecode(shape, "uint16"), rows_of([shuffle_chunk(f) for f in code]))


def sized_bitshuffle_zstd_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    code = seeded("sized").poisson(2, (n, *shape)).astype(np.uint16)
    return Case("counts of 2", BitshuffleZstdDecode(shape, "uint16"), rows_of([bitshuffle_chunk(f, block=1 << 16) for f in code]))


CASES = {"compress.shuffle_zstd_decode": shuffle_zstd_decode, "compress.bitshuffle_zstd_decode": bitshuffle_zstd_decode}
SIZED = {"compress.shuffle_zstd_decode": sized_shuffle_zstd_decode, "compress.bitshuffle_zstd_decode": sized_bitshuffle_zstd_decode}
