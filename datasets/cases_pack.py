"""Inputs of compress.pack: sizes of nothing, of a whole row and of more, around words of 16 bytes; more rows than a block has threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gpuredux import compress

from .case import Case, live_of, seeded


def pack_case(name: str, n: int, cap: int, rows: int | None, align: int = 16) -> Case:
    rng = seeded(name)
    edges = np.array([0, 1, 15, 16, 17, cap - 1, cap, cap + 1, 2**32 - 1, *rng.integers(0, cap, 9)], np.uint32)
    size = np.concatenate([edges[:n], rng.choice(edges, max(n - len(edges), 0))])
    return Case(name, compress.Pack(align), {"payload": rng.integers(1, 256, (n, cap), dtype=np.uint8), "size": size, **live_of(rows)})


def pack() -> Iterator[Case]:
    for n, cap, rows, align in ((0, 16, None, 16), (1, 16, None, 4096), (300, 48, None, 16), (300, 48, 257, 64), (9, 4112, None, 4096), (5, 16400, 0, 16),
                                (5, 32, -3, 16), (9, 2**20 + 16, 9, 16)):
        yield pack_case(f"{n}-{cap}-live{rows}-align{align}", n, cap, rows, align)


def sized_pack(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """Chunks of a sixth of their rows, as frames of photons give them."""
    rng, cap = seeded("pack"), -(-2 * int(np.prod(shape)) // 16) * 16
    size = rng.integers(cap // 7, cap // 5, n, dtype=np.uint32)
    return Case("chunks of a sixth", compress.Pack(), {"payload": np.resize(rng.integers(0, 256, 1 << 20, dtype=np.uint8), (n, cap)), "size": size})


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.pack": pack}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {"compress.pack": sized_pack}
