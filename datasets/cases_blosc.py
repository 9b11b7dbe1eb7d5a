"""Inputs of compress.blosc_bitshuffle_lz4 and compress.blosc_decode: blocks coded, stored and left over; others' chunks, made by hand; lies."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from gpuredux import compress
from gpuredux.compress.bitshuffle_lz4 import bit_planes, extension, lz4_block

from .case import Case, chunk_rows, decoding, frame_bits, live_of, seeded


def frames_of(name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Constant; noise (not compressed at all); half of each (blocks that are stored); few counts; counts; a long run (bool: 0 or 1)."""
    rng, dt, npix = seeded(name), np.dtype(dtype), int(np.prod(shape))
    noise = np.frombuffer(rng.bytes(npix * dt.itemsize), np.uint8).view(dt if dtype != "bool" else np.uint8)
    half = np.where(np.arange(npix) < npix // 2, 0, noise)
    kinds = [np.zeros(npix), noise, half, rng.poisson(0.02, npix), rng.poisson(2, npix), np.where(np.arange(npix) % 700 < 9, noise, 3)]
    return np.stack([(k & 1 if dtype == "bool" and k.dtype.kind == "u" else k).astype(dt) for k in kinds]).reshape(-1, *shape)


def encode_case(name: str, dtype: str, shape: tuple[int, ...], n: int | None = None, rows: int | None = None, known: bool = True) -> Case:
    code = frames_of(name, dtype, shape)
    code = code if n is None else np.resize(code[::-1], (n, *shape))
    return Case(name, compress.BloscBitshuffleLZ4(shape, dtype) if known else compress.BloscBitshuffleLZ4(), {"code": code, **live_of(rows)})


def blosc_bitshuffle_lz4() -> Iterator[Case]:
    """A tail and one block; fewer than 8 elements; odd, with several blocks below 8 KiB; 8 KiB exactly; several blocks, the last one short; panels."""
    for dtype, shape in (("uint8", (3, 5)), ("int16", (7,)), ("uint16", (61, 301)), ("uint16", (4, 1024)), ("float32", (37, 152)), ("float64", (2, 3, 101)),
                         ("bool", (5, 9)), ("complex64", (5, 9))):
        yield encode_case(f"{dtype}-{shape}", dtype, shape)
    yield encode_case("unknown", "uint16", (37, 53), known=False)
    yield encode_case("more blocks than a group has threads", "uint8", (1025, 1025), 2)
    for n, rows in ((0, None), (17, 16), (5, 9), (5, -3)):
        yield encode_case(f"rows-{n}-live{rows}", "uint16", (4, 10), n, rows)


def filtered(block: bytes, kind: int, itemsize: int) -> bytes:
    """What blosc 1 makes of a block: 0 nothing, 1 shuffle, 2 bitshuffle."""
    count = len(block) // itemsize
    whole, tail = np.frombuffer(block[: count * itemsize], f"V{itemsize}"), block[count * itemsize :]
    if kind == 1:
        return whole.view(np.uint8).reshape(count, itemsize).T.tobytes() + tail
    return bit_planes(whole).tobytes() + tail if kind == 2 and count and count % 8 == 0 else block


def stream(b: bytes, whole: bool) -> bytes:
    """Behind its size: the LZ4 block, of matches at the distances 1 and 2, or of literals alone; or, where that is not smaller, the bytes."""
    raw = np.frombuffer(b, np.uint8)
    coded = bytes([min(len(b), 15) << 4]) + extension(len(b)) + b if whole else lz4_block(raw, [1, 2])
    coded = b if len(coded) >= len(b) and not whole else coded
    return struct.pack("<i", len(coded)) + coded


def foreign(frame: np.ndarray, kind: int, step: int, split: bool = False, literals: bool = False, backward: bool = False, typesize: int = 0) -> bytes:
    """A chunk as c-blosc's writers may make it. literals: no stream is smaller than its bytes; backward: the last block comes first."""
    raw, size = frame.tobytes(), typesize or frame.itemsize
    step = min(step, len(raw))
    blocks = [filtered(raw[k : k + step], kind, size) for k in range(0, len(raw), step)]
    split = split and step // size >= 128
    parts = []
    for b in blocks:
        each = len(b) // (size if split and len(b) == step else 1)
        parts.append(b"".join(stream(b[k : k + each], literals) for k in range(0, len(b), each)))
    order = range(len(parts))[:: -1 if backward else 1]
    at, starts = 16 + 4 * len(parts), [0] * len(parts)
    for k in order:
        starts[k], at = at, at + len(parts[k])
    flags = (0, 1, 4)[kind] | (0 if split else 16) | 1 << 5
    header = bytes([2, 1, flags, size]) + struct.pack("<III", len(raw), step, at)
    return header + struct.pack(f"<{len(parts)}I", *starts) + b"".join(parts[k] for k in order)


def chunks_of(code: np.ndarray) -> list[bytes]:
    """Ours, and others' of each kind: small blocks, blocks beyond 8 KiB, blocks whose elements are no multiple of 8 or that cut an element."""
    payload, size = compress.BloscBitshuffleLZ4()(code, backend="numpy")
    chunks, itemsize = [p[:s].tobytes() for p, s in zip(payload, size, strict=True)], code.itemsize
    for i, (kind, step) in enumerate((k, s) for k in (0, 1, 2) for s in (8 * itemsize, 129 * itemsize, 1024 * itemsize, 20 * 1024, 8192 + itemsize // 2)):
        split = i % 2 == 0 and step % itemsize == 0
        chunks.append(foreign(code[2 + i % 4], kind, step, split, literals=i % 5 == 4, backward=i % 3 == 2))
    chunks.append(foreign(code[3], 0, 999, typesize=200))
    return chunks


def damaged(rng: np.random.Generator, chunk: bytes) -> bytes:
    """A lie or two: mostly in the header, where blocks begin, or a stream's size; the header's chunk size then agrees every other time."""
    c = bytearray(chunk)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(min(len(c), (len(c), 16, 40)[rng.integers(3)])))
        match rng.integers(5):
            case 0:
                c[at] ^= 1 << int(rng.integers(8))
            case 1:
                c[at] = int(rng.integers(256))
            case 2:
                c[at : at + 1] = b""
            case 3:
                c[at:at] = rng.bytes(1)
            case _:
                del c[max(at, 1) :]
    if rng.integers(2) and len(c) >= 16:
        c[12:16] = struct.pack("<I", len(c))
    return bytes(c)


def decode_case(name: str, dtype: str, shape: tuple[int, ...], lies: int = 0, rows: tuple[int, int] | None = None, live: int | None = None,
                bits: bool = True) -> Case:
    rng, chunks = seeded(name), chunks_of(frames_of(name, dtype, shape))
    chunks += [damaged(rng, chunks[rng.integers(len(chunks))]) for _ in range(lies)]
    inputs = chunk_rows(chunks)
    if lies:
        inputs["size"][-4:] = 0, 15, inputs["payload"].shape[1] + 1, 2**32 - 1
    status = {"frame_status": frame_bits(len(chunks))} if bits else {}
    return Case(name, compress.BloscDecode(shape, dtype, rows), {**inputs, **status, **live_of(live)})


def blosc_decode() -> Iterator[Case]:
    for dtype, shape, lies in (("uint8", (3, 5), 60), ("int16", (7,), 0), ("uint16", (61, 301), 60), ("float32", (37, 152), 20), ("float64", (2, 3, 101), 0),
                               ("bool", (5, 9), 0)):
        yield decode_case(f"{dtype}-{shape}", dtype, shape, lies)
    yield decode_case("uint16-rows", "uint16", (61, 301), 20, (20, 33))
    yield decode_case("float32-one-row", "float32", (37, 152), 0, (36, 37), bits=False)
    yield decode_case("uint8-rows-of-8-KiB", "uint8", (40, 1024), 0, (8, 24))
    yield decode_case("live16", "uint16", (4, 10), 5, live=16, bits=False)
    yield decode_case("live0", "uint16", (4, 10), live=0, bits=False)
    none = {"payload": np.empty((0, 16), np.uint8), "size": np.empty(0, np.uint32), "frame_status": np.empty(0, np.uint32)}
    yield Case("rows-0", compress.BloscDecode((4, 10), "uint16"), none)


def sized_blosc_bitshuffle_lz4(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    code = np.resize(seeded("sized").poisson(0.5, 1 << 20).astype(np.uint16), (n, *shape))
    return Case("0.5 photons", compress.BloscBitshuffleLZ4(shape, "uint16"), {"code": code})


def sized_blosc_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return decoding(sized_blosc_bitshuffle_lz4(shape, n, scattered))


CASES = {"compress.blosc_bitshuffle_lz4": blosc_bitshuffle_lz4, "compress.blosc_decode": blosc_decode}
SIZED = {"compress.blosc_bitshuffle_lz4": sized_blosc_bitshuffle_lz4, "compress.blosc_decode": sized_blosc_decode}
