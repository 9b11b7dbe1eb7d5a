"""What the generators of nasty inputs share: Case, seeds, frame shapes, live rows, the pixels where a kernel may slip."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from gpuredux.op import Op


class Case(NamedTuple):
    """One op with one set of inputs."""

    name: str
    op: Op
    inputs: dict[str, np.ndarray]
    fuse: bool = False      # to be paired with every op that its output can feed


def seeded(name: str) -> np.random.Generator:
    """A generator that depends on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


# Frames: odd, tiny, one pixel, a multiple of 8 but not of 1024, 4096 exactly, several tiles with a ragged end, panels, and an odd one of more
# than 128 tiles of 128 pixels, so that a block that sums a frame's tiles goes round twice.
FRAMES = ((37, 53), (3, 5), (1, 1), (24, 17), (4, 1024), (64, 300), (2, 3, 8), (131, 257))
# Rows and live rows: none, one, a full group of 16 frames, more; live absent, none, some, all, too many and negative.
ROWS = ((0, None), (1, None), (16, None), (17, 16), (35, 20), (5, 0), (5, 5), (5, 9), (5, -3))
FILLED = ((18, None), (35, 20), (3, None), (16, 15))     # for the frames above, so that each has pixels at work


def live_of(rows: int | None) -> dict[str, np.ndarray]:
    return {} if rows is None else {"live": np.array([rows], np.int32)}


def frame_bits(n: int) -> np.ndarray:
    """Frame status that already has bits: low, high and none."""
    return np.resize(np.array([0, 0x80000300, 2], np.uint32), n)


def spots(rng: np.random.Generator, npix: int) -> np.ndarray:
    """Pixels where a kernel may slip: the ends, the borders of groups of 8, 32, 64, 1024 and 4096, and some at random."""
    border = [b + d for b in (0, 8, 32, 64, 128, 1024, 4096, npix // 8 * 8, npix) for d in (-1, 0)]
    return np.unique([*(p for p in border if 0 <= p < npix), *rng.integers(0, npix, 24)])


def chunk_rows(chunks: list[bytes], beyond: int = 5, unit: int = 1) -> dict[str, np.ndarray]:
    """payload and size; rows have so many bytes and more behind the longest chunk, a multiple of unit; behind each chunk's end the bytes are 0xC3."""
    payload = np.full((len(chunks), -(-(max(map(len, chunks), default=0) + beyond) // unit) * unit), 0xC3, np.uint8)
    for row, chunk in zip(payload, chunks, strict=True):
        row[: len(chunk)] = np.frombuffer(chunk, np.uint8)
    return {"payload": payload, "size": np.array([len(c) for c in chunks], np.uint32)}


def decoding(source: Case) -> Case:
    """What an encoder makes of a case, as one of its decoder."""
    payload, size = source.op(**source.inputs, backend="numba")
    return Case(source.name, source.op.inverse(), {"payload": payload, "size": size, "frame_status": np.zeros(len(size), np.uint32)})
