"""features.histogram for the CPU: parts of a frame, or frames of a batch, have counters of their own, which are added up at the end."""

import numpy as np
from numba import njit, prange


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def histogram_parts(x, other, pixel_status, good, label, edge, other_edge, regions, bins, by_frame, chunks, counters, table):
    """(rows, chunks, counters) u32: of each frame in so many parts, or of the batch. table: the bin of each value, in the order of its bits, or None."""
    n, npix = x.shape
    rows = n if by_frame else 1
    parts = np.zeros((rows, chunks, counters), np.uint32)
    for job in prange(rows * chunks):
        row, chunk = job // chunks, job % chunks
        if by_frame:
            _count(row, chunk * npix // chunks, (chunk + 1) * npix // chunks, x, other, pixel_status, good, label, edge, other_edge, regions, bins, table,
                   parts[row, chunk])
        else:
            for f in range(chunk * n // chunks, (chunk + 1) * n // chunks):
                _count(f, 0, npix, x, other, pixel_status, good, label, edge, other_edge, regions, bins, table, parts[row, chunk])
    return parts


@njit(cache=True, nogil=True, error_model="numpy")
def _count(f, start, stop, x, other, pixel_status, good, label, edge, other_edge, regions, bins, table, counts):
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
        k = _place(x[f, j], edge, bins) if table is None else np.int64(table[np.int64(x[f, j]) & (len(table) - 1)])
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
