"""Inputs for compress.shuffle_deflate and its decoder: runs of every length that its rules tell apart, every kind of block, chunks with lies in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import compress
from gpuredux.compress.shuffle_deflate import SHARES

from .case import Case, chunk_rows, decoding, frame_bits, live_of, seeded


def planned_runs(rng: np.random.Generator, size: int) -> np.ndarray:
    """Runs of the lengths at which matches begin, change their symbol, and are cut: of common bytes and of rare ones."""
    lengths = rng.permutation(np.repeat([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 19, 35, 130, 131, 227, 257, 258, 259, 260, 261, 262, 267, 516, 519], 3))
    return np.resize(np.repeat(rng.choice(np.array([0, 0, 0, 0, 1, 1, 2, 200], np.uint8), len(lengths)), lengths), size)


def from_shuffled(b: np.ndarray, dtype: Any) -> np.ndarray:
    """The elements whose shuffled bytes these are."""
    return np.ascontiguousarray(b.reshape(np.dtype(dtype).itemsize, -1).T).view(dtype).reshape(-1)


def frames_to_deflate(rng: np.random.Generator, dtype: Any, frame: tuple[int, ...]) -> np.ndarray:
    """One frame of each kind: constants, noise (stored), planned runs, a few pixels, as many of each byte (nothing to code), halves that differ."""
    dt, size = np.dtype(dtype), int(np.prod(frame)) * np.dtype(dtype).itemsize
    one = np.zeros(size, np.uint8)
    one[-1] = 0x80
    noise = rng.integers(0, 256, size, dtype=np.uint8)
    few = (rng.random(size) < 0.02) * rng.integers(1, 9, size)
    halves = np.where(np.arange(size) < size // 2, rng.poisson(0.3, size), rng.poisson(40, size))
    kinds = [np.zeros(size), np.full(size, 255), one, noise, planned_runs(rng, size), few, np.arange(size) % 144, halves]
    frames = [from_shuffled(k.astype(np.uint8), np.uint8 if dt.kind == "b" else dt) for k in kinds]
    if dt.kind == "b":
        frames = [(f & 1).view(bool) for f in frames]
    return np.stack(frames).reshape(-1, *frame)


def units_to_deflate(rng: np.random.Generator, size: int) -> np.ndarray:
    """Units of 32 KiB: alike, apart, stored between coded ones, at both ends; a run over their borders; the last one short."""
    unit, few = 1 << 15, (rng.random(size) < 0.05) * rng.integers(1, 9, size)
    noise, dense = rng.integers(0, 256, size), rng.poisson(40, size)
    which = np.array([[0, 0, 0, 0, 0], [1, 2, 1, 2, 1], [0, 0, 2, 2, 0], [3, 3, 3, 3, 3], [2, 0, 0, 1, 0]])
    x = np.choose(which[:, np.minimum(np.arange(size) // unit, 4)], [few, noise, dense, np.zeros(size, int)])
    x[2, unit - 300 : unit + 300] = 7
    return x.astype(np.uint8)


def shares_to_deflate(shares: tuple[int, ...]) -> np.ndarray:
    """Frames of 1024 bytes with as many zeros as a share of SHARES, and one less, in runs of the length that the share decides about."""
    frames = []
    for length, share in enumerate(shares, 3):
        for count in (share, share - 1):
            b = np.resize(np.arange(1, 256, dtype=np.uint8), 1024)
            several = count // (length + 1) - 3
            for k in range(several):
                b[(length + 3) * k : (length + 3) * k + length + 1] = 0
            left = (length + 3) * several + 2 * np.arange(count - several * (length + 1))
            b[left] = 0
            frames.append(b)
    return np.stack(frames)


def encode_case(name: str, frame: tuple[int, ...], dtype: str, n: int | None = None, rows: int | None = None, known: bool = True) -> Case:
    code = frames_to_deflate(seeded(name), dtype, frame)
    code = code if n is None else np.resize(code[::-1], (n, *frame))
    return Case(name, compress.ShuffleDeflate(frame, dtype) if known else compress.ShuffleDeflate(), {"code": code, **live_of(rows)})


def shuffle_deflate() -> Iterator[Case]:
    for frame, dtype in (((3, 5), "uint8"), ((1, 1), "float64"), ((7,), "bool"), ((24, 17), "float32"), ((2, 3, 8), "complex64")):
        yield encode_case(f"{dtype}-{frame}", frame, dtype)
    yield encode_case("uint16-(37, 53)", (37, 53), "uint16", known=False)
    yield Case("uint8-shares", compress.ShuffleDeflate(), {"code": shares_to_deflate(SHARES)})
    yield encode_case("uint16-two-units", (151, 123), "uint16", 3)
    several = units_to_deflate(seeded("units"), 4 * (1 << 15) + 4100)
    yield Case("uint8-several-units", compress.ShuffleDeflate((several.shape[1],), "uint8"), {"code": several})
    three = several[[1, 2], : 3 * (1 << 15)].reshape(2, 3, 1 << 15)
    yield Case("uint8-three-units", compress.ShuffleDeflate(three.shape[1:], "uint8"), {"code": three})
    for n, rows in ((0, None), (17, 16), (5, 9), (5, -3)):
        yield encode_case(f"rows-{n}-live{rows}", (4, 10), "uint16", n, rows)


def foreign(raw: np.ndarray) -> list[bytes]:
    """Streams of zlib's making: stored, fast, best, fixed codes, no matches, a small window, and blocks that hold nothing."""
    b, streams = raw.tobytes(), []
    for level, window, strategy in ((0, 15, 0), (1, 15, 0), (9, 15, 0), (6, 15, zlib.Z_FIXED), (6, 15, zlib.Z_HUFFMAN_ONLY), (6, 9, zlib.Z_RLE)):
        z = zlib.compressobj(level, zlib.DEFLATED, window, 1, strategy)
        streams.append(z.compress(b[: len(b) // 2]) + z.flush(zlib.Z_FULL_FLUSH) + z.compress(b[len(b) // 2 :]) + z.flush())
    return streams


def damaged(rng: np.random.Generator, chunk: bytes, many: int) -> bytes:
    """A chunk with one or two lies in it; every other time with a checksum that agrees with what comes out, where something does."""
    c = bytearray(chunk)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(c))) if rng.integers(2) else int(rng.integers(min(len(c), 40)))
        match rng.integers(4):
            case 0:
                c[at] ^= 1 << int(rng.integers(8))
            case 1:
                c[at] = int(rng.integers(256))
            case 2:
                c[at : at + 1] = b""
            case _:
                c[at:at] = rng.bytes(1)
    if rng.integers(2):
        z = zlib.decompressobj(-15)
        try:
            b = z.decompress(bytes(c[2:]), many + 1)
        except zlib.error:
            return bytes(c)
        if z.eof:
            c[len(c) - len(z.unused_data) :] = zlib.adler32(b).to_bytes(4, "big")
    return bytes(c)


def decode_case(name: str, frame: tuple[int, ...], dtype: str, lies: int = 0, rows: int | None = None, bits: bool = True) -> Case:
    rng = seeded(name)
    code = frames_to_deflate(rng, dtype, frame)
    itemsize = code.dtype.itemsize
    payload, size = compress.ShuffleDeflate()(code, backend="numpy")
    chunks = [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]
    chunks += [s for f in code[3:7] for s in foreign(f.reshape(-1, 1).view(np.uint8).reshape(-1, itemsize).T.copy())]
    chunks += [damaged(rng, chunks[rng.integers(len(chunks))], code[0].nbytes) for _ in range(lies)]
    inputs = chunk_rows(chunks)
    if lies:
        inputs["size"][-4:] = 0, 1, inputs["payload"].shape[1] + 1, 2**32 - 1
    status = {"frame_status": frame_bits(len(chunks))} if bits else {}
    return Case(name, compress.ShuffleDeflateDecode(frame, dtype), {**inputs, **status, **live_of(rows)})


def shuffle_deflate_decode() -> Iterator[Case]:
    for frame, dtype, lies in (((3, 5), "uint8", 60), ((7,), "bool", 0), ((24, 17), "float32", 40), ((2, 3, 8), "complex64", 0), ((37, 53), "uint16", 60)):
        yield decode_case(f"{dtype}-{frame}", frame, dtype, lies)
    yield decode_case("uint8-wide", (1, 70000), "uint8", 6)
    yield decode_case("rows-live16", (4, 10), "uint16", 5, 16, bits=False)
    yield decode_case("rows-live0", (4, 10), "uint16", 0, 0, bits=False)
    none = {"payload": np.empty((0, 16), np.uint8), "size": np.empty(0, np.uint32), "frame_status": np.empty(0, np.uint32)}
    yield Case("rows-0", compress.ShuffleDeflateDecode((4, 10), "uint16"), none)


def sized_shuffle_deflate(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("0.5 photons", compress.ShuffleDeflate(shape, "uint16"), {"code": seeded("sized").poisson(0.5, (n, *shape)).astype(np.uint16)})


def sized_shuffle_deflate_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return decoding(sized_shuffle_deflate(shape, n, scattered))


CASES = {"compress.shuffle_deflate": shuffle_deflate, "compress.shuffle_deflate_decode": shuffle_deflate_decode}
SIZED = {"compress.shuffle_deflate": sized_shuffle_deflate, "compress.shuffle_deflate_decode": sized_shuffle_deflate_decode}
