"""The tiles of features.cube for the CPU: each is the state of a bin with the frames of that bin on top."""

import numpy as np
from numba import njit

from ..backends import share
from .bin_numba import used_pixels
from .running_numba import take_steps

TILE = 4096     # pixels


def cube_tiles(x, order, first, *rest):
    """The new state; order: events by bin, first: where each bin's begin."""
    share(_tiles, -(-x.shape[1] // TILE) * (len(first) - 1), x, order, first, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _tiles(first_job, last_job, x, order, first, good, status, total, total2, used, new_total, new_total2, new_used, per_unit, largest, beyond):
    n_tiles = (x.shape[1] + TILE - 1) // TILE
    for job in range(first_job, last_job):
        _tile(job // n_tiles, job % n_tiles * TILE, x, order, first, good, status, total, total2, used, new_total, new_total2, new_used, per_unit, largest,
              beyond)


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(b, begin, x, order, first, good, status, total, total2, used, new_total, new_total2, new_used, per_unit, largest, beyond):
    end = min(begin + TILE, x.shape[1])
    new_total[0, b, begin:end] = total[0, b, begin:end]
    if total2 is not None:
        new_total2[:, b, begin:end] = total2[:, b, begin:end]
    if used is not None:
        new_used[0, b, begin:end] = used[0, b, begin:end]
    if first[b] == first[b + 1]:
        return
    if good is None and status is None and per_unit is None and total2 is None and used is None:
        for k in range(first[b], first[b + 1]):
            _add_all(x[order[k], begin:end], new_total[0, b, begin:end])
        return
    use, q = np.empty(end - begin, np.uint8), np.empty(end - begin, np.int64)
    for k in range(first[b], first[b + 1]):
        f = order[k]
        row = x[f, begin:end]
        used_pixels(row, None if good is None else good[begin:end], None if status is None else status[f, begin:end], use)
        if take_steps(row, use, per_unit, largest, q):
            beyond[f] = 1
        for j in range(len(q)):
            new_total[0, b, begin + j] += q[j]
        if total2 is not None:
            _add_squares(q, len(total2) == 1, new_total2[:, b, begin:end])
        if used is not None:
            for j in range(len(q)):
                new_used[0, b, begin + j] += np.uint32(use[j])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_all(row, total):
    """A frame of whole numbers, all pixels of which are used."""
    for j in range(len(row)):
        total[j] += np.int64(row[j])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_squares(q, narrow, total2):
    for j in range(len(q)):
        square = np.uint64(q[j]) * np.uint64(q[j])
        if narrow:
            total2[0, j] += square
        else:
            total2[0, j] += square & np.uint64(0xFFFFFFFF)
            total2[1, j] += square >> np.uint64(32)
