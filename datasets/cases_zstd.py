"""Nasty inputs of compress.shuffle_zstd and compress.bitshuffle_zstd: every kind of block, of literals and of tables, every limit of a header's field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux.compress.bitshuffle_zstd import BitshuffleZstd
from gpuredux.compress.shuffle_zstd import ShuffleZstd
from gpuredux.compress.zstd_encode import REGION, UNIT

from .case import Case, live_of, seeded

LITERALS = (1, 2, 3, 31, 32, 254, 255, 256, 257, 900, 1022, 1024, 4094, 4095, 4096, 8300)     # how many of them a block has


def bytes_to_code(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """n bytes each, 20000 or so, of which an encoder makes: """
    k = np.arange(n)
    counts, noise = rng.poisson(2, n), rng.integers(0, 256, n)
    yield np.zeros(n)                                                               # repeated bytes
    yield noise                                                                     # raw blocks
    yield np.where(k < UNIT, 7, np.where(k < 2 * UNIT, noise, counts))              # one block of each kind
    yield np.repeat(rng.integers(0, 200, n), rng.integers(1, 90, n))[:n]            # own tables of all three kinds
    yield k // 6 % 2 * 9 + 1                                                        # every sequence the same: tables of one symbol
    yield np.repeat(rng.integers(0, 3, n), rng.integers(1, 9, n))[:n]               # many short runs, two numbers of literals
    yield np.where((k > 5000) & (k < 5100), 3, noise)                               # one match among raw literals
    yield np.where(abs(k - UNIT) < 3000, 0, np.where(abs(k - 2 * UNIT) < 900, 200, counts))     # matches that go on in the next unit
    yield np.minimum(rng.geometric(0.02, n), 255)                                   # more than 128 symbols: their weights by FSE codes
    yield rng.integers(0, 24, n)                                                    # few weights: direct
    yield np.searchsorted(np.cumsum(1.618 ** np.arange(20)), k % n * (1.618**20 / n)) * 3        # codes deeper than 11 bits, were they allowed
    yield np.where(k % 1000 < 990, np.where(k % 1000 < 500, 5, 6), noise)           # predefined tables
    yield np.where(k < n - 3, 0, k)                                                 # a run to nearly the end


def literals_first(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """So many literals of few values and of many, then a run."""
    for many in LITERALS:
        yield np.where(np.arange(n) < many, rng.permuted(np.arange(n) % 5 + rng.integers(0, 2, n)), 77)
        yield np.where(np.arange(n) < many, rng.integers(0, 256, n), 77)


def repeated_planes(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """Eight planes of a unit each: matches at the distance of a plane; short runs against long matches; literals of one value."""
    plane = rng.integers(0, 256, n // 8)
    cut, short = plane.copy(), plane.copy()
    cut[:3] = cut[4000:4005] = 0
    short[::300] = 1
    yield np.concatenate([plane, plane, cut, cut, short, plane, np.zeros(n // 8), plane])
    yield np.concatenate([np.zeros(n // 8), plane, np.roll(plane, 1), np.roll(plane, 1), *[plane // 64] * 3, plane])
    holes = np.arange(n // 8) % 40
    yield np.concatenate([np.where(holes < k, 0, plane % 16 + 1) for k in (0, 1, 2, 3, 4, 5, 6, 7)])


def frame_of(planned: np.ndarray, dtype: Any, planes: bool) -> np.ndarray:
    """The pixels whose shuffled bytes, or bit planes, are these; of planes no more than a region."""
    octets = planned.astype(np.int64).astype(np.uint8)
    size = np.dtype(dtype).itemsize
    if not planes:
        return np.ascontiguousarray(octets.reshape(size, -1).T).view(dtype).ravel()
    whole = len(octets) // (8 * size) * 8 * size
    bits = np.unpackbits(octets[:whole].reshape(8 * size, -1), axis=1, bitorder="little")
    return np.concatenate([np.packbits(bits.T, axis=1, bitorder="little").ravel(), octets[whole:]]).view(dtype)


def counts_of(name: str, shape: tuple[int, ...], dtype: str, kinds: int = 6) -> np.ndarray:
    """Zeros, sparse counts, counts, noise, gaps of all bits set, a ramp."""
    rng, dt, n = seeded(name), np.dtype(dtype), int(np.prod(shape))
    noise = np.frombuffer(rng.bytes(n * dt.itemsize), dt)
    gaps = np.where(np.arange(n) % 97 < 40, rng.poisson(1, n).astype(dt), np.full(dt.itemsize, 255, np.uint8).view(dt))
    frames = [np.zeros(n, dt), rng.poisson(0.02, n).astype(dt), rng.poisson(3, n).astype(dt), noise, gaps, (np.arange(n) % 250).astype(dt)]
    return np.stack(frames[:kinds]).reshape(-1, *shape)


def cases_of(op: Any) -> Iterator[Case]:
    planes = op is BitshuffleZstd
    for name, maker, n in (("blocks", bytes_to_code, 20001), ("literals", literals_first, 9000), ("planes", repeated_planes, 8 * UNIT)):
        frames = [frame_of(x, np.uint8, planes) for x in maker(seeded(name), n)]
        yield Case(name, op((1, n), "uint8"), {"code": np.stack(frames)[:, None]})
    large = counts_of("regions", (301, 233), "uint16", 4)[[1, 2]]
    large[0].reshape(-1)[REGION // 2 - 3000 : REGION // 2 + 900] = 5        # a run beyond a region
    yield Case("regions", op(), {"code": large})
    for shape, dtype, rows in (((37, 53), "uint16", 4), ((24, 17), "int32", None), ((9, 17), "float64", 99), ((7,), "uint8", None), ((2, 3, 5), "uint16", -3)):
        yield Case(f"{dtype}-{shape}-live{rows}", op(shape, dtype), {"code": counts_of(f"{shape}", shape, dtype), **live_of(rows)})
    yield Case("one pixel", op(), {"code": counts_of("one", (1, 1), "uint16")})
    yield Case("no rows live", op(), {"code": counts_of("none", (4, 10), "uint16"), **live_of(0)})
    yield Case("empty", op(), {"code": np.empty((0, 4, 10), np.uint16)})


def sized(op: Any, shape: tuple[int, ...], n: int) -> Case:
    return Case("counts of 2", op(shape, "uint16"), {"code": seeded("sized").poisson(2, (n, *shape)).astype(np.uint16)})


CASES: dict[str, Callable[[], Iterator[Case]]] = {op.name: lambda op=op: cases_of(op) for op in (ShuffleZstd, BitshuffleZstd)}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {
    op.name: lambda shape, n, _, op=op: sized(op, shape, n) for op in (ShuffleZstd, BitshuffleZstd)
}
