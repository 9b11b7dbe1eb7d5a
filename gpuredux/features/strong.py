"""Components of strong pixels: on a device from bits to a table, by what strong.cl is launched with; and what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..op import Plan, Spec
from .strong_numba import Grid

PIXELS = 3      # the column of candidates that is 0 where there is none


def strong_scratch(n: int, npix: int, capacity: int) -> tuple[Spec, ...]:
    """Bits, ranks and lists of n frames of npix pixels, of which capacity may be strong."""
    words = -(-npix // 32)
    sizes = {"bits": words, "rank": words, "tile_count": -(-words // 128), "found": 1, "components": 1, "start": capacity + 1,
             **dict.fromkeys(("strong", "parent", "size", "inner", "turn", "members"), capacity)}
    return tuple(Spec(k, (n, size), np.dtype(np.uint32)) for k, size in sizes.items())


def list_components(plan: Plan, bits: Any, live: Any, strong_count: Any, new_status: Any, grid: Grid) -> None:
    """Fills strong_scratch from bits (n, words).

    strong (n, capacity): pixels in raster order; components (n, 1): how many, of grid's kind and in its order; members (n, capacity):
    numbers of strong pixels, ascending in each component; start (n, capacity + 1): where its own begin.
    strong_count (n,) i32: the true number; a frame with more than capacity has no components, and TOO_MANY in new_status, if that is there."""
    held, (n, words), capacity = plan.scratch, bits.shape, plan.scratch["strong"].shape[1]
    alive, both, tiles = strong_count if live is None else live, {"LIVE": live is not None}, -(-words // 128)
    n_, words_, capacity_ = np.uint32(n), np.uint32(words), np.uint32(capacity)
    rank, tile_count, found, strong = (held[k] for k in ("rank", "tile_count", "found", "strong"))
    plan.launch("features/strong.cl", "count_bits", (tiles, n), 128, (bits, alive, rank, tile_count, n_, words_), COUNT_BITS=True, **both)
    status = strong_count if new_status is None else new_status
    plan.launch("features/strong.cl", "scan_tiles", (n,), 128, (tile_count, alive, strong_count, found, status, n_, np.uint32(tiles), capacity_),
                SCAN_TILES=True, FRAME_STATUS=new_status is not None, **both)
    plan.launch("features/strong.cl", "list_bits", (tiles, n), 128, (bits, tile_count, found, alive, rank, strong, n_, words_, capacity_),
                LIST_BITS=True, **both)
    lists = [held[k] for k in ("parent", "size", "inner", "turn", "start", "members", "components")]
    plan.launch("features/strong.cl", "label_strong", (n,), 128,
                (bits, rank, strong, found, alive, *lists, n_, words_, capacity_, *map(np.uint32, grid[1:6])),
                LABEL=True, EIGHT=grid.eight, OFF_BORDER=grid.off_border, **both)


def table_of(plan: Plan, columns: Sequence[Any], count: Any, live: Any) -> None:
    """The candidates of scratch "columns" (n, len(columns) * capacity) whose column PIXELS is not 0, in order, to columns (n, rows); count (n,) i32."""
    n, rows = columns[0].shape
    nine = [*columns, *[columns[0]] * (9 - len(columns))]
    plan.launch("features/strong.cl", "table_of", (n,), 128,
                (plan.scratch["columns"], plan.scratch["components"], count if live is None else live, *nine, count,
                 *map(np.uint32, (n, plan.scratch["strong"].shape[1], rows))), TABLE=True, COLUMNS=len(columns), PIXELS=f"{PIXELS}u", LIVE=live is not None)


def connected(strong: np.ndarray, tile: tuple[int, int], eight: bool) -> Iterator[list[tuple[int, int, int]]]:
    """The 8- or 4-connected pixels of each panel (panels, rows, cols), by tiles of it: members in raster order."""
    rows, cols = tile
    left = set(map(tuple, np.argwhere(strong).tolist()))
    for seed in sorted(left):
        if seed not in left:
            continue
        left.discard(seed)
        members, walk = [seed], [seed]
        while walk:
            p, r, c = walk.pop()
            around = [(p, y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)
                      if y // rows == r // rows and x // cols == c // cols and (eight or y == r or x == c)]
            fresh = [a for a in around if a in left]
            left.difference_update(fresh)
            members += fresh
            walk += fresh
        yield sorted(members)
