"""Components of strong pixels on a device, from bits to members in order: what strong.cl is launched with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Plan, Spec


def strong_scratch(n: int, npix: int, capacity: int) -> tuple[Spec, ...]:
    """Bits, ranks and lists of n frames of npix pixels, of which capacity may be strong."""
    words = -(-npix // 32)
    sizes = {"bits": words, "rank": words, "tile_count": -(-words // 128), "found": 1, "components": 1, "start": capacity + 1,
             **dict.fromkeys(("strong", "parent", "size", "inner", "turn", "members"), capacity)}
    return tuple(Spec(k, (n, size), np.dtype(np.uint32)) for k, size in sizes.items())


def list_components(
    plan: Plan, bits: Any, live: Any, strong_count: Any, new_status: Any, cols: int, tile: tuple[int, int], min_pix: int, max_pix: int
) -> None:
    """Fills strong_scratch from bits (n, words). cols: of the frame; tile: rows and cols of what counts as a panel.

    strong (n, capacity): pixels in raster order; components (n, 1): how many, each of min_pix to max_pix pixels, one of them off the tile's border, in
    the order of that one; members (n, capacity): numbers of strong pixels, ascending in each component; start (n, capacity + 1): where its own begin.
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
                (bits, rank, strong, found, alive, *lists, n_, words_, capacity_, *map(np.uint32, (cols, *tile, min_pix, max_pix))), LABEL=True, **both)
