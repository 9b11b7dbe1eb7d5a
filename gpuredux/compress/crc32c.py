"""CRC32C (Castagnoli) of bytes on the host: what guards every stored chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["crc32c", "crc32c_rows"]

LANE = 512      # bytes; three lanes are walked side by side, because one lane alone waits for its own table look-ups


def crc32c(data: Any, value: int = 0) -> int:
    """crc = remainder of the bytes, bit-reversed, modulo x^32 + 0x1EDC6F41, in and out inverted; value: the CRC of what came before.

    in:  data bytes, or anything contiguous with a buffer
    out: crc, 0 to 2^32 - 1
    exact
    source: RFC 3720, 12.1 and B.4
    """
    flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    if not 0 <= value < 1 << 32:
        raise ValueError(f"crc32c: value must be from 0 to 2^32 - 1, got {value}")
    return int(_crc(flat, np.uint64(flat.size), np.uint32(value)))


def crc32c_rows(payload: np.ndarray, size: np.ndarray) -> np.ndarray:
    """crc[i] = crc32c(payload[i, :size[i]]).

    in:  payload (n, capacity) u8; size (n,) of any integer type
    out: crc (n,) u32
    exact
    """
    if payload.ndim != 2 or payload.dtype != np.uint8 or size.shape != payload.shape[:1]:
        raise ValueError(f"crc32c: payload must be uint8 (n, capacity) and size (n,), got {payload.dtype} {payload.shape} and {size.shape}")
    if size.size and (int(size.max()) > payload.shape[1] or int(size.min()) < 0):
        raise ValueError(f"crc32c: sizes must be from 0 to the capacity {payload.shape[1]}, got {int(size.min())} to {int(size.max())}")
    crc = np.empty(len(payload), np.uint32)
    _rows(payload, size.astype(np.uint64), crc)
    return crc


def _byte_tables(count: int) -> np.ndarray:
    """table[k, b] = remainder of byte b followed by k zero bytes."""
    table = np.zeros((count, 256), np.uint32)
    x = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        x = np.where(x & 1, x >> 1 ^ np.uint32(0x82F63B78), x >> 1)
    table[0] = x
    for k in range(1, count):
        table[k] = table[k - 1] >> 8 ^ table[0][table[k - 1] & 0xFF]
    return table


def _lane_tables() -> np.ndarray:
    """table[k, b] = remainder of byte k (of value b) of a CRC register followed by LANE zero bytes."""
    bit = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(LANE):
        bit = bit >> 8 ^ BYTES[0][bit & 0xFF]
    on = np.arange(256)[:, None] >> np.arange(8) & 1
    return np.stack([np.bitwise_xor.reduce(np.where(on, bit[8 * k : 8 * k + 8], np.uint32(0)), axis=1) for k in range(4)])


BYTES = _byte_tables(8)
LANES = _lane_tables()


@njit(cache=True, nogil=True, inline="always")
def _word(data, i):
    """Eight bytes, the first lowest; LLVM makes one load of it, aligned or not."""
    w = np.uint64(data[i])
    for k in range(1, 8):
        w |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
    return w


@njit(cache=True, nogil=True, inline="always")
def _step(crc, data, i):
    """The register eight bytes on."""
    w = _word(data, i) ^ np.uint64(crc)
    m = np.uint64(255)
    low = BYTES[7, w & m] ^ BYTES[6, w >> np.uint64(8) & m] ^ BYTES[5, w >> np.uint64(16) & m] ^ BYTES[4, w >> np.uint64(24) & m]
    return low ^ BYTES[3, w >> np.uint64(32) & m] ^ BYTES[2, w >> np.uint64(40) & m] ^ BYTES[1, w >> np.uint64(48) & m] ^ BYTES[0, w >> np.uint64(56)]


@njit(cache=True, nogil=True, inline="always")
def _over_lane(crc):
    """The register LANE zero bytes on."""
    c, m = np.uint64(crc), np.uint64(255)
    return LANES[0, c & m] ^ LANES[1, c >> np.uint64(8) & m] ^ LANES[2, c >> np.uint64(16) & m] ^ LANES[3, c >> np.uint64(24)]


@njit(cache=True, nogil=True)
def _crc(data, size, value):
    """Three lanes at a time, then eight bytes, then one. Indices are unsigned: numba tests signed ones for wraparound."""
    n, lane, i = np.uint64(size), np.uint64(LANE), np.uint64(0)
    crc = np.uint32(value ^ np.uint32(0xFFFFFFFF))
    while n - i >= np.uint64(3) * lane:
        a, b, c = crc, np.uint32(0), np.uint32(0)
        for j in range(i, i + lane, np.uint64(8)):
            a, b, c = _step(a, data, j), _step(b, data, j + lane), _step(c, data, j + lane + lane)
        crc = _over_lane(_over_lane(a) ^ b) ^ c
        i += np.uint64(3) * lane
    while n - i >= np.uint64(8):
        crc = _step(crc, data, i)
        i += np.uint64(8)
    while i < n:
        crc = np.uint32(crc >> np.uint32(8)) ^ BYTES[0, np.uint64(crc ^ data[i]) & np.uint64(255)]
        i += np.uint64(1)
    return np.uint32(crc ^ np.uint32(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def _rows(payload, size, crc):
    """On one thread: the stream's sink checks while the next batch's kernels have the others."""
    for i in range(len(payload)):
        crc[i] = _crc(payload[i], size[i], np.uint32(0))
