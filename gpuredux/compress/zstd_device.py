"""The kernels of both zstd encoders: what they keep in scratch, and how they follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Plan, Spec
from .zstd_encode import UNIT

MATCHES, COLUMNS, MASK, SLOT = 2056, 360, 256, UNIT + 16        # of a unit, as zstd_codes.cl has them: words, words, words, bytes
ELEMENTS = 512                                                  # of a block of zstd_shuffle


def scratch(n: int, units: int, slots: int = 0) -> tuple[Spec, ...]:
    """For n frames of so many units; slots: the fewest bytes of a frame's slots. numba uses these alone, the others are but addresses there."""
    units, u32 = max(units, 1), np.dtype(np.uint32)
    return (
        Spec("shuffled", (n, units * UNIT), np.dtype(np.uint8)),
        Spec("matches", (n, units, MATCHES), u32),
        Spec("counts", (n, units, COLUMNS), u32),
        Spec("literals", (n, units, MASK), u32),
        Spec("blocks", (n, units), u32),
        Spec("slots", (n, max(units * SLOT, slots)), np.dtype(np.uint8)),
        Spec("block_size", (n, units), u32),
        Spec("block_start", (n, units), u32),
        Spec("ends", (n, units, 8), u32),
    )


def encode(plan: Plan, planes: bool, total: int, align: int, code: Any, live: Any, payload: Any, size: Any) -> None:
    """Frames to chunks. total: the bytes of a frame that are compressed; align: of every frame's first byte."""
    n, cap, itemsize = code.shape[0], payload.shape[1], np.dtype(code.dtype).itemsize
    pixels = int(np.prod(code.shape[1:]))
    units = -(-total // UNIT)
    if n * max(units, 1) >= 1 << 31:
        raise ValueError(f"{plan.op.name}: {n} frames of {units} units are more than one launch holds; plan for fewer frames")
    held = plan.scratch or {}
    shuffled, matches, counts, literals, blocks, slots, block_size, block_start, ends = (held.get(s.name) for s in scratch(1, 1))
    rows = payload if live is None else live        # stands in where the kernels never look
    n_, units_, total_, pitch = (np.uint32(k) for k in (n, units, total, max(units, 1) * UNIT))
    size_, live_ = np.uint32(itemsize), {"LIVE": live is not None}
    shuffle = {"SIZE": itemsize, "ALIGN": align, **live_}
    if planes:
        args: tuple[Any, ...] = (code, shuffled, rows, n_, np.uint32(pixels * itemsize), total_, pitch)
        plan.launch("compress/bitshuffle_zstd.cl", "zstd_planes", (units, n), 128, args, **shuffle)
    else:
        args = (code, shuffled, rows, n_, np.uint32(pixels), pitch)
        plan.launch("compress/shuffle_zstd.cl", "zstd_shuffle", (-(-pixels // ELEMENTS), n), 128, args, **shuffle)
    shared = {"PLANES": planes, **live_}
    regions, file = -(-total // (16 * UNIT)), "compress/zstd_units.cl"
    plan.launch(file, "zstd_units", (n * units,), 128, (shuffled, matches, counts, literals, rows, n_, units_, total_, pitch, size_), **shared)
    plan.launch(file, "zstd_merge", (n * regions,), 128, (counts, blocks, rows, n_, units_), **shared)
    file = "compress/zstd_blocks.cl"
    args = (shuffled, matches, counts, literals, blocks, slots, block_size, rows, n_, units_, total_, pitch)
    plan.launch(file, "zstd_literals", (n * units,), 128, args, **shared)
    plan.launch(file, "zstd_sequences", (n * units,), 128, (matches, counts, blocks, slots, block_size, ends, rows, n_, units_, total_, size_), **shared)
    plan.launch(file, "zstd_close", (-(-n * units // 128),), 128, (blocks, slots, block_size, ends, rows, n_, units_, total_), **shared)
    args = (code, blocks, block_size, block_start, payload, size, rows, n_, units_, total_, np.uint32(pixels * itemsize), np.uint32(cap))
    plan.launch(file, "zstd_place", (n,), 128, args, **shared)
    args = (shuffled, slots, blocks, block_size, block_start, payload, rows, n_, units_, total_, pitch, np.uint32(cap))
    plan.launch(file, "zstd_gather", (n * units,), 128, args, **shared)
