"""The numba rows of compress.pack: pieces of all chunks, so that one large chunk does not wait for one thread."""

import numpy as np
from numba import njit, prange

PIECE = 1 << 18     # bytes of one task


@njit(cache=True, nogil=True, parallel=True)
def pack_rows(payload, size, offset, packed):
    n, cap = payload.shape
    pieces = (cap + PIECE - 1) // PIECE
    for job in prange(n * pieces):
        f, piece = np.int64(job) // pieces, np.int64(job) % pieces     # job is unsigned: mixed, it would become a float
        _piece(payload[f], np.int64(size[f]), np.int64(offset[f]), np.int64(offset[f + 1]), packed, piece * PIECE)


@njit(cache=True, nogil=True)
def _piece(row, size, start, end, packed, first):
    """Bytes from first on of a chunk; the first piece of a chunk fills up what is behind its end."""
    length = min(size, len(row))
    if first < length:
        last = min(first + PIECE, length)
        packed[start + first : start + last] = row[first:last]
    if first == 0:
        packed[start + length : end] = 0
