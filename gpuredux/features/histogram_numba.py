"""features.histogram for the CPU: parts of a frame, or frames of a batch, have counters of their own, which are added up at the end."""

import numpy as np
from numba import njit

from ..backends import share


def histogram_parts(x, other, pixel_status, good, label, edge, other_edge, regions, bins, by_frame, chunks, counters, table):
    """(rows, chunks, counters) u32: of each frame in so many parts, or of the batch. table: the counter of each value, in the order of its bits, or None."""
    parts = np.zeros((len(x) if by_frame else 1, chunks, counters), np.uint32)
    share(_parts, len(parts) * chunks, x, other, pixel_status, good, label, edge, other_edge, regions, bins, by_frame, table, parts)
    return parts


@njit(cache=True, nogil=True, error_model="numpy")
def _parts(first_job, last_job, x, other, pixel_status, good, label, edge, other_edge, regions, bins, by_frame, table, parts):
    """Parts of frames, or some frames of the batch each."""
    (n, npix), chunks = x.shape, parts.shape[1]
    for job in range(first_job, last_job):
        row, chunk = job // chunks, job % chunks
        first, last = (row, row + 1) if by_frame else (chunk * n // chunks, (chunk + 1) * n // chunks)
        start, stop = (chunk * npix // chunks, (chunk + 1) * npix // chunks) if by_frame else (0, npix)
        for f in range(first, last):
            if table is not None and other is None and label is None:
                _count_words(x[f, start:stop], None if good is None else good[start:stop], None if pixel_status is None else pixel_status[f, start:stop],
                             table, parts[row, chunk])
            else:
                _count(f, start, stop, x, other, pixel_status, good, label, edge, other_edge, regions, bins, parts[row, chunk])


@njit(cache=True, nogil=True, error_model="numpy")
def _count_words(x, good, pixel_status, table, counts):
    """Words of 8 or 16 bits by their table: four counters side by side, so that no count waits for the one before. The last are of pixels not used."""
    most, none = np.uint64(len(table) - 1), np.uint64(len(counts))
    side = np.zeros((4, len(counts) + 1), np.uint32)
    for j in range(len(x)):
        k = np.uint64(table[np.uint64(x[j]) & most])
        if good is not None:
            k = k if good[j] else none
        if pixel_status is not None:
            k = none if pixel_status[j] else k
        side[np.uint64(j & 3), k] += np.uint32(1)
    for k in range(len(counts)):
        counts[k] += side[0, k] + side[1, k] + side[2, k] + side[3, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _count(f, start, stop, x, other, pixel_status, good, label, edge, other_edge, regions, bins, counts):
    """Pixels start to stop of a frame."""
    all_bins = regions * bins
    for j in range(start, stop):
        region = 0
        if good is not None:
            if not good[j]:
                continue
        if pixel_status is not None:
            if pixel_status[f, j]:
                continue
        if label is not None:
            region = np.int64(label[j])
            if region >= regions:
                continue
        if other is not None:
            region = _place(other[f, j], other_edge, regions)
            if region < 0:
                counts[all_bins + 3 * regions - 1 - region] += np.uint32(1)
                continue
        k = _place(x[f, j], edge, bins)
        counts[all_bins + 3 * region - 1 - k if k < 0 else region * bins + k] += np.uint32(1)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _place(value, edge, bins):
    """The bin; -1: below the first edge, -2: above the last, -3: not finite. Behind the edges: bins in a unit."""
    x = np.float64(value)
    if not np.isfinite(x):
        return -3
    if x < edge[0]:
        return -1
    if x > edge[bins]:
        return -2
    k = min(np.int64((x - edge[0]) * edge[bins + 1]), bins - 1)
    if x < edge[k]:
        return k - 1
    if k + 1 < bins and x >= edge[k + 1]:
        return k + 1
    return k
