"""Inputs of compress.bitshuffle and compress.bitshuffle_decode: blocks of every kind of size, ends of every kind, chunks of a wrong size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpuredux import compress

from .case import Case, decoding, frame_bits, live_of, seeded

# 3 x 5: a tail and one short block; 7 elements: a tail alone; blocks of 8 KiB with a short one behind; blocks of 8 and of 264 elements; a block of
# three parts of 8 KiB, the last one short, and a shorter block; a block larger than the frame
SHAPES = (
    ("uint8", (3, 5), 0), ("int16", (7,), 0), ("uint16", (61, 300), 0), ("float32", (24, 17), 8), ("float64", (9, 130), 264), ("uint64", (2, 3, 8), 0),
    ("uint16", (61, 300), 9000), ("uint8", (131, 257), 1 << 20), ("int32", (4, 1024), 0), ("bool", (5, 9), 0), ("complex64", (5, 9), 0),
)


def noise(name: str, dtype: str, shape: tuple[int, ...], n: int = 3) -> np.ndarray:
    """Any bits; of bool the two that it may have."""
    raw = np.frombuffer(seeded(name).bytes(n * int(np.prod(shape)) * np.dtype(dtype).itemsize), np.uint8)
    return (raw & 1 if dtype == "bool" else raw).view(dtype).reshape(n, *shape)


def encode_case(name: str, dtype: str, shape: tuple[int, ...], block: int = 0, n: int = 3, rows: int | None = None, known: bool = True) -> Case:
    op = compress.Bitshuffle(shape, dtype, block) if known else compress.Bitshuffle(block=block)
    return Case(name, op, {"code": noise(name, dtype, shape, n), **live_of(rows)})


def bitshuffle() -> Iterator[Case]:
    for dtype, shape, block in SHAPES:
        yield encode_case(f"{dtype}-{shape}-{block}", dtype, shape, block)
    yield encode_case("unknown", "uint16", (37, 53), known=False)
    for n, rows in ((0, None), (17, 16), (5, 9), (5, -3)):
        yield encode_case(f"rows-{n}-live{rows}", "uint16", (4, 10), n=n, rows=rows)


def bitshuffle_decode() -> Iterator[Case]:
    for i, case in enumerate(bitshuffle()):
        if case.op.shape is None:
            continue
        payload, size = case.op(case.inputs["code"], backend="numpy")
        n, used = len(size), case.inputs["code"][:1].nbytes
        rows = np.full((n, used + (3 if i % 2 else 8)), 0xC3, np.uint8)     # rows that begin anywhere, and at words
        rows[:, :used] = payload[:, :used]
        status = {"frame_status": frame_bits(n)} if i % 3 else {}
        live = {k: v for k, v in case.inputs.items() if k == "live"}
        yield Case(case.name, case.op.inverse(), {"payload": rows, "size": size, **status, **live})
    source = encode_case("sizes", "uint16", (37, 53), n=7)
    payload, size = source.op(source.inputs["code"], backend="numpy")
    used = int(size[0])
    sizes = np.array([0, used - 1, used, used + 1, payload.shape[1] + 1, 2**32 - 1, used], np.uint32)
    yield Case("wrong sizes", source.op.inverse(), {"payload": payload, "size": sizes, "frame_status": frame_bits(7)})
    yield Case("short rows", source.op.inverse(), {"payload": payload[:, : used - 1].copy(), "size": size})


def sized_bitshuffle(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    code = np.resize(seeded("sized").poisson(0.5, 1 << 20).astype(np.uint16), (n, *shape))
    return Case("0.5 photons", compress.Bitshuffle(shape, "uint16"), {"code": code})


def sized_bitshuffle_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return decoding(sized_bitshuffle(shape, n, scattered))


CASES = {"compress.bitshuffle": bitshuffle, "compress.bitshuffle_decode": bitshuffle_decode}
SIZED = {"compress.bitshuffle": sized_bitshuffle, "compress.bitshuffle_decode": sized_bitshuffle_decode}
