"""Flipped bits of a whole file: a reader says so, or gives what was written."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def flip_bits(path: Path, wanted: np.ndarray, read: Callable[[Path], Any], count: int) -> None:
    """So many single bits, one after the other; errors must be ValueError (DecodeError is one) or OSError, and some there must be."""
    right, rng, found = path.read_bytes(), np.random.default_rng(zlib.crc32(path.name.encode())), 0
    damaged = path.with_name("damaged.h5")
    for at, bit in zip(rng.integers(len(right), size=count).tolist(), rng.integers(8, size=count).tolist(), strict=True):
        damaged.write_bytes(right[:at] + bytes([right[at] ^ 1 << bit]) + right[at + 1 :])
        try:
            got = read(damaged)
        except (ValueError, OSError) as e:
            assert str(e), (at, bit)
            found += 1
        else:
            assert got.dtype == wanted.dtype and got.tobytes() == wanted.tobytes(), f"bit {bit} of byte {at} is silently wrong"
    assert found > count // 20, f"{found} of {count}"
