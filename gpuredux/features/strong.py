"""Components of strong pixels: on a device from frames to a table, by what strong.cl is launched with; and what they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..op import Plan, Spec
from .frames import word
from .strong_numba import Grid

PIXELS = 3      # the column of candidates that is 0 where there is none


def count_scratch(n: int, npix: int) -> tuple[Spec, ...]:
    """Bits and ranks of n frames of npix pixels."""
    words = -(-npix // 32)
    return _words(n, bits=words, rank=words, tile_count=-(-words // 128), found=1)


def list_scratch(n: int, npix: int, capacity: int) -> tuple[Spec, ...]:
    """count_scratch, and a list of strong pixels, of which capacity may be."""
    return (*count_scratch(n, npix), *_words(n, strong=capacity))


def strong_scratch(n: int, npix: int, capacity: int) -> tuple[Spec, ...]:
    """list_scratch, and what list_components fills."""
    lists = dict.fromkeys(("parent", "size", "inner", "turn", "members"), capacity)
    return (*list_scratch(n, npix, capacity), *_words(n, components=1, start=capacity + 1, **lists))


def _words(n: int, **sizes: int) -> tuple[Spec, ...]:
    return tuple(Spec(k, (n, size), np.dtype(np.uint32)) for k, size in sizes.items())


def count_strong(plan: Plan, bits: Any, live: Any, strong_count: Any, new_status: Any, capacity: int) -> None:
    """Fills count_scratch from bits (n, words), rank up to each word of a tile, tile_count up to each tile.

    strong_count (n,) i32: how many bits are set; found (n, 1): as many, but 0 for a frame with more than capacity, which has TOO_MANY in new_status, if that is
    there."""
    held, (n, words), tiles = plan.scratch, bits.shape, -(-bits.shape[1] // 128)
    alive, both, n_ = strong_count if live is None else live, {"LIVE": live is not None}, np.uint32(n)
    plan.launch("features/strong.cl", "count_bits", (tiles, n), 128, (bits, alive, held["rank"], held["tile_count"], n_, np.uint32(words)),
                COUNT_BITS=True, **both)
    status = strong_count if new_status is None else new_status
    plan.launch("features/strong.cl", "scan_tiles", (n,), 128,
                (held["tile_count"], alive, strong_count, held["found"], status, n_, np.uint32(tiles), np.uint32(capacity)),
                SCAN_TILES=True, FRAME_STATUS=new_status is not None, **both)


def list_strong(plan: Plan, bits: Any, live: Any, strong_count: Any, new_status: Any) -> None:
    """count_strong, then strong (n, capacity) of list_scratch: the numbers of the bits that are set, ascending."""
    held, (n, words), capacity = plan.scratch, bits.shape, plan.scratch["strong"].shape[1]
    count_strong(plan, bits, live, strong_count, new_status, capacity)
    lists = (held["tile_count"], held["found"], strong_count if live is None else live, held["rank"], held["strong"])
    plan.launch("features/strong.cl", "list_bits", (-(-words // 128), n), 128, (bits, *lists, *map(np.uint32, (n, words, capacity))), LIST_BITS=True,
                LIVE=live is not None)


def strong_bits(plan: Plan, image: Any, marks: Any, live: Any, good: Any = None, low: float = 0.0, rings: tuple[Any, Any, float] | None = None) -> None:
    """Fills "bits" of strong_scratch: pixels that are finite, good, of no mark, and above low. rings: label of each pixel, thresholds (n, rings), and the
    largest value there is: above its ring's threshold, and in a ring."""
    n, npix, bits = image.shape[0], math.prod(image.shape[1:]), plan.scratch["bits"]
    label, high, most = (bits, bits, 0.0) if rings is None else rings
    arrays = (bits if a is None else a for a in (marks, good, live))
    plan.launch("features/strong.cl", "strong_bits", (-(-npix // 1024), n), 128,
                (image, *arrays, label, high, bits, np.float32(low), np.float32(most), *map(np.uint32, (n, npix, bits.shape[1], high.shape[1]))),
                STRONG_BITS=True, WORD=word(image), MARKED=marks is not None, GOOD=good is not None, RINGED=rings is not None, LIVE=live is not None)


def list_components(plan: Plan, bits: Any, live: Any, strong_count: Any, new_status: Any, grid: Grid) -> None:
    """Fills strong_scratch from bits (n, words): list_strong, then

    components (n, 1): how many, of grid's kind and in its order; members (n, capacity): numbers of strong pixels, ascending in each component;
    start (n, capacity + 1): where its own begin. A frame with more strong pixels than capacity has none."""
    list_strong(plan, bits, live, strong_count, new_status)
    held, (n, words), alive = plan.scratch, bits.shape, strong_count if live is None else live
    lists = [held[k] for k in ("parent", "size", "inner", "turn", "start", "members", "components")]
    plan.launch("features/strong.cl", "label_strong", (n,), 128,
                (bits, held["rank"], held["strong"], held["found"], alive, *lists, *map(np.uint32, (n, words, held["strong"].shape[1], *grid[1:6]))),
                LABEL=True, EIGHT=grid.eight, OFF_BORDER=grid.off_border, LIVE=live is not None)


def table_of(plan: Plan, columns: Sequence[Any], count: Any, live: Any, candidates: str = "components") -> None:
    """The candidates of scratch "columns" (n, len(columns) * capacity) whose column PIXELS is not 0, in order, to columns (n, rows); count (n,) i32.

    candidates: the array of the scratch that says how many there are."""
    n, rows = columns[0].shape
    nine = [*columns, *[columns[0]] * (9 - len(columns))]
    plan.launch("features/strong.cl", "table_of", (n,), 128,
                (plan.scratch["columns"], plan.scratch[candidates], count if live is None else live, *nine, count,
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
