"""Components of strong pixels on the CPU: strong.cl's lists, by union and find."""

from typing import NamedTuple

import numpy as np
from numba import njit

fast = njit(cache=True, nogil=True, error_model="numpy")


class Grid(NamedTuple):
    """How a frame is cut: rows and cols of its panels, of the tiles that count as panels; which components are wanted."""

    panel_rows: int
    cols: int
    tile_rows: int
    tile_cols: int
    min_pix: int
    max_pix: int
    eight: bool         # neighbours over corners, too
    off_border: bool    # only components with a pixel off their tile's border


@fast
def _root(parent, k):
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@fast
def _join(parent, a, b):
    a, b = _root(parent, a), _root(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@fast
def components(strong, grid):
    """(start, members): components of as many pixels as asked, those of the k-th being members[start[k]:start[k+1]], places in strong, ascending.

    strong: pixels in raster order. In the order of their first pixels, or, with grid.off_border, of their first pixels off the tile's border: others
    have none and are left out."""
    m, cols = len(strong), grid.cols
    parent, above = np.arange(m), 0
    for k in range(m):
        i = np.int64(strong[k])
        row, col = i // cols, i % cols
        left, right = col % grid.tile_cols > 0, (col + 1) % grid.tile_cols > 0
        if left and k > 0 and strong[k - 1] == i - 1:
            _join(parent, k, k - 1)
        if row % grid.tile_rows == 0:
            continue
        while above < k and strong[above] < i - cols - 1:
            above += 1
        for j in range(above, min(above + 3, k)):
            d = np.int64(strong[j]) - (i - cols)
            if d > 1:
                break
            if d == 0 or (grid.eight and ((d == -1 and left) or (d == 1 and right))):
                _join(parent, k, j)
    return _in_order(strong, parent, grid)


@fast
def _in_order(strong, parent, grid):
    m = len(strong)
    size, inner = np.zeros(m, np.int64), np.full(m, -1)
    for k in range(m):
        root = _root(parent, k)
        parent[k] = root
        size[root] += 1
        row, col = np.int64(strong[k]) // grid.cols % grid.tile_rows, np.int64(strong[k]) % grid.cols % grid.tile_cols
        off = 0 < row < grid.tile_rows - 1 and 0 < col < grid.tile_cols - 1
        if inner[root] < 0 and (off or not grid.off_border):
            inner[root] = k
    # a component's turn comes with its first pixel off the border
    start, turn, some, total = np.zeros(m + 1, np.int64), np.full(m, -1), 0, 0
    for k in range(m):
        root = parent[k]
        if inner[root] == k and grid.min_pix <= size[root] <= grid.max_pix:
            turn[root] = some
            start[some] = total
            total += size[root]
            some += 1
    start[some] = total
    members, place = np.empty(total, np.int64), start[:some].copy()
    for k in range(m):
        t = turn[parent[k]]
        if t >= 0:
            members[place[t]] = k
            place[t] += 1
    return start[: some + 1], members
