"""Nasty inputs of compress.plain_decode: all item sizes, both orders, sizes that are not a frame's, rows that are not live."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpuredux.compress import PlainDecode

from .case import Case, frame_bits, live_of, seeded


def case(name: str, shape: tuple[int, ...], dtype: str, shuffle: bool, n: int = 7, spare: int = 3, rows: int | None = None, bits: bool = True) -> Case:
    """Bytes at random; the third frame's chunk is one byte too short, the fourth's one too long, the fifth claims nothing, the sixth 4 GiB."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    payload = np.frombuffer(seeded(name).bytes(n * (nbytes + spare)), np.uint8).reshape(n, nbytes + spare)
    size = np.full(n, nbytes, np.uint32)
    for row, lie in ((2, nbytes - 1), (3, nbytes + 1), (4, 0), (5, 2**32 - 1)) if n > 5 else ():
        size[row] = lie
    status = {"frame_status": frame_bits(n)} if bits else {}
    return Case(name, PlainDecode(shape, dtype, shuffle), {"payload": payload, "size": size, **status, **live_of(rows)})


def plain_decode() -> Iterator[Case]:
    for shape, dtype in (((3, 5), "uint8"), ((37, 53), "uint16"), ((24, 17), "float32"), ((1, 131), "float64")):
        for shuffle in (False, True):
            yield case(f"{dtype}-{shape}-{'shuffled' if shuffle else 'raw'}", shape, dtype, shuffle, bits=not shuffle)
    yield case("cut", (4, 40), "int16", True, spare=-1)
    yield case("rows-live5", (4, 40), "int16", True, rows=5)
    yield case("rows-0", (4, 40), "int16", False, n=0)


def sized_plain_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return case("shuffled", shape, "uint16", True, n=n, spare=0)


CASES = {"compress.plain_decode": plain_decode}
SIZED = {"compress.plain_decode": sized_plain_decode}
