"""features.droplet_photons for the CPU: droplets as features.droplets lists them, photons one after the other."""

import numpy as np
from numba import njit

from ..backends import share
from .droplets_numba import TOO_MANY, above
from .strong_numba import components

MOST = 2.0**24      # photons of one droplet
fast = njit(cache=True, nogil=True, error_model="numpy")


def find(frames, *rest):
    """Fill map and table; what is to be added to each frame's status. thresholds: low, high, adu; top: the map's largest number."""
    status = np.zeros(len(frames), np.uint32)
    share(_frames, len(frames), status, frames, *rest)
    return status


@fast
def _frames(first, last, status, frames, marks, marked, good, thresholds, capacity, grid, aduspphot, offset, photons, top, panel, row, col, photon_count,
            strong_count):
    for f in range(first, last):
        status[f] = _frame(frames[f], marks[f if marked else 0], marked, good, thresholds, capacity, grid, aduspphot, offset, photons[f],
                           top, panel[f], row[f], col[f], photon_count, strong_count, f)


@fast
def _frame(v, marks, marked, good, thresholds, capacity, grid, aduspphot, offset, photons, top, panel, row, col, photon_count, strong_count, f):
    all_strong, strong = above(v, marks, marked, good, np.float32(thresholds[0]), capacity)
    strong_count[f], found = all_strong, 0
    for i in range(len(photons)):
        photons[i] = 0
    if all_strong <= capacity:
        start, members = components(strong, grid)
        fraction, heap = np.zeros((2, len(strong)), np.float64), np.empty(len(strong), np.int64)      # what is left of a pixel, what the heap knows of it
        for k in range(len(start) - 1):
            found += _droplet(v, strong, members[start[k] : start[k + 1]], thresholds, grid, aduspphot, offset, fraction, heap, photons, top, panel, row, col,
                              found)
    photon_count[f] = min(found, 2**31 - 1)
    for k in range(min(found, len(panel)), len(panel)):
        panel[k], row[k], col[k] = 0, 0, 0
    return TOO_MANY if all_strong > capacity else np.uint32(0)


@fast
def _droplet(v, strong, members, thresholds, grid, aduspphot, offset, fraction, heap, photons, top, panel, row, col, found):
    """How many photons a component has; they go to the map, and to the rows of the table from `found` on."""
    cols, size = grid.cols, grid.panel_rows * grid.cols
    total = down = across = 0.0
    brightest, many_pixels = np.int64(strong[members[0]]), len(members)
    for k in members:
        i = np.int64(strong[k])
        x = np.float64(np.float32(v[i]))
        total, down, across = total + x, down + x * np.float64(i % size // cols), across + x * np.float64(i % cols)
        if np.float32(v[i]) > np.float32(v[brightest]):
            brightest = i
    if not (np.float32(v[brightest]) > np.float32(thresholds[1]) and total >= thresholds[2]):
        return 0
    many, base = np.int64(min(np.floor(total / aduspphot + offset), MOST)), np.int64(strong[members[0]]) // size * size
    if many == 1:
        down, across = down / total, across / total
        nearest = base + np.int64(np.floor(down + 0.5)) * cols + np.int64(np.floor(across + 0.5))
        own = False
        for k in members:
            own |= np.int64(strong[k]) == nearest
        _put(nearest if own else brightest, 1, down, across, base // size, photons, top, panel, row, col, found)
        return 1
    placed = np.int64(0)
    for at in range(many_pixels):
        k = members[at]
        i = np.int64(strong[k])
        x = np.float64(np.float32(v[i])) / aduspphot
        fraction[0, k], fraction[1, k], heap[at] = x - np.floor(x), x - np.floor(x), k
        whole = np.int64(min(np.floor(x), np.float64(many - placed))) if many_pixels > 1 else many
        if whole:
            _put(i, whole, np.float64(i % size // cols), np.float64(i % cols), base // size, photons, top, panel, row, col, found + placed)
        placed += whole
    if placed < many:
        for at in range(many_pixels // 2 - 1, -1, -1):
            _sink(heap, fraction[1], many_pixels, at)
    while placed < many:
        _guess(strong, _largest(heap, fraction, many_pixels), fraction[0], grid, photons, top, panel, row, col, found + placed)
        placed += 1
    return many


@fast
def _put(pixel, many, at_row, at_col, on_panel, photons, top, panel, row, col, found):
    photons[pixel] = min(np.int64(photons[pixel]) + many, top)
    for k in range(found, min(found + many, len(panel))):
        panel[k], row[k], col[k] = on_panel, at_row, at_col


@fast
def _number(strong, pixel):
    """The number of a pixel among the strong ones, or -1. Not np.searchsorted: that takes numba longer to compile than all else here."""
    low, high = 0, len(strong)
    while low < high:
        middle = (low + high) // 2
        if np.int64(strong[middle]) < pixel:
            low = middle + 1
        else:
            high = middle
    return low if low < len(strong) and np.int64(strong[low]) == pixel else -1


@fast
def _ahead(key, a, b):
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@fast
def _sink(heap, key, size, at):
    """One place of a heap, whose first is ahead of all, set right where those below it are."""
    mine, going = heap[at], 2 * at + 1
    while going < size:
        if going + 1 < size and _ahead(key, heap[going + 1], heap[going]):
            going += 1
        if _ahead(key, mine, heap[going]):
            break
        heap[at] = heap[going]
        at, going = going, 2 * going + 1
    heap[at] = mine


@fast
def _largest(heap, fraction, size):
    """The number of the pixel of which most is left: fractions only fall, so what the heap knows is never too little."""
    while fraction[1, heap[0]] != fraction[0, heap[0]]:
        fraction[1, heap[0]] = fraction[0, heap[0]]
        _sink(heap, fraction[1], size, 0)
    return heap[0]


@fast
def _guess(strong, first, fraction, grid, photons, top, panel, row, col, found):
    """The next photon, taken from strong pixel number `first`; its charge is taken out of the fractions."""
    cols, size = grid.cols, grid.panel_rows * grid.cols
    away = 1.0 - fraction[first]
    fraction[first] = 0.0
    i = np.int64(strong[first])
    r, c = i % size // cols, i % cols
    up = _number(strong, i - cols) if r > 0 else -1
    down = _number(strong, i + cols) if r + 1 < grid.panel_rows else -1
    left = _number(strong, i - 1) if c > 0 else -1
    right = _number(strong, i + 1) if c + 1 < cols else -1
    other, most, down_by, right_by = up, fraction[up] if up >= 0 else 0.0, -1, 0
    for k, a, b in ((down, 1, 0), (left, 0, -1), (right, 0, 1)):
        value = fraction[k] if k >= 0 else 0.0
        if value >= most:
            other, most, down_by, right_by = k, value, a, b
    if other >= 0:
        fraction[other] = max(0.0, fraction[other] - away)
    at_row, at_col = np.float64(r) + down_by * away, np.float64(c) + right_by * away
    near_row, near_col = np.int64(np.floor(at_row + 0.5)), np.int64(np.floor(at_col + 0.5))
    on_panel = near_row < grid.panel_rows and near_col < cols
    pixel = i // size * size + near_row * cols + near_col if on_panel else i
    _put(pixel, 1, at_row, at_col, i // size, photons, top, panel, row, col, found)
