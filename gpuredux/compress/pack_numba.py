"""The numba rows of compress.pack: pieces of all chunks, so that one large chunk does not wait for one thread."""

import numpy as np
from numba import njit

from ..backends import share

PIECE = 1 << 18     # bytes of one task


def pack_rows(payload, size, offset, packed):
    pieces = -(-payload.shape[1] // PIECE)
    share(_pieces, len(payload) * pieces, pieces, payload, size, offset, packed)


@njit(cache=True, nogil=True)
def _pieces(begin, end, pieces, payload, size, offset, packed):
    for job in range(begin, end):
        f, piece = job // pieces, job % pieces
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
