"""The kernels of both zstd encoders: what they keep in scratch, and how they follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Plan, Spec
from .zstd_encode import REGION, UNIT

MATCHES, COLUMNS, MASK, SLOT = 2056, 360, 256, UNIT + 16        # of a unit, as zstd_codes.cl has them: words, words, words, bytes
REGION_UNITS = REGION // UNIT
ELEMENTS = 512                                                  # of a block of zstd_shuffle


def scratch(n: int, units: int, slots: int = 0, whose: str = "") -> tuple[Spec, ...]:
    """For n frames of so many units; slots: the fewest bytes of a frame's slots. numba uses these alone, the others are but addresses there. whose: put in
    front of the names, where one plan has two."""
    units, u32 = max(units, 1), np.dtype(np.uint32)
    return (
        Spec(f"{whose}shuffled", (n, units * UNIT), np.dtype(np.uint8)),
        Spec(f"{whose}matches", (n, units, MATCHES), u32),
        Spec(f"{whose}counts", (n, units, COLUMNS), u32),
        Spec(f"{whose}literals", (n, units, MASK), u32),
        Spec(f"{whose}blocks", (n, units), u32),
        Spec(f"{whose}slots", (n, max(units * SLOT, slots)), np.dtype(np.uint8)),
        Spec(f"{whose}block_size", (n, units), u32),
        Spec(f"{whose}block_start", (n, units), u32),
        Spec(f"{whose}ends", (n, units, 8), u32),
        Spec(f"{whose}about", (n, -(-units // REGION_UNITS)), u32),
    )


class Frames:
    """Frames on their way to chunks: what both encoders launch."""

    def __init__(self, plan: Plan, planes: bool, total: int, code: Any, live: Any, payload: Any, whose: str = "") -> None:
        """total: the bytes of a frame that are compressed; whose: see scratch."""
        self.plan, self.planes, self.code, self.n, self.units = plan, planes, code, code.shape[0], -(-total // UNIT)
        self.itemsize, self.pixels = np.dtype(code.dtype).itemsize, int(np.prod(code.shape[1:]))
        self.work = {s.name: (plan.scratch or {}).get(whose + s.name) for s in scratch(1, 1)}
        self.rows = payload if live is None else live       # stands in where the kernels never look
        self.live = {"LIVE": live is not None}
        self.count = tuple(np.uint32(k) for k in (self.n, self.units, total, max(self.units, 1) * UNIT))

    def read(self, align: int) -> None:
        """Up to the blocks that are to be made, and how large they are about. align: of every frame's first byte."""
        (n, units, total, pitch), rows, work, plan = self.count, self.rows, self.work, self.plan
        shuffle = {"SIZE": self.itemsize, "ALIGN": align, **self.live}
        if self.planes:
            args: tuple[Any, ...] = (self.code, work["shuffled"], rows, n, np.uint32(self.pixels * self.itemsize), total, pitch)
            plan.launch("compress/bitshuffle_zstd.cl", "zstd_planes", (self.units, self.n), 128, args, **shuffle)
        else:
            args = (self.code, work["shuffled"], rows, n, np.uint32(self.pixels), pitch)
            plan.launch("compress/shuffle_zstd.cl", "zstd_shuffle", (-(-self.pixels // ELEMENTS), self.n), 128, args, **shuffle)
        shared, file = {"PLANES": self.planes, **self.live}, "compress/zstd_units.cl"
        args = (work["shuffled"], work["matches"], work["counts"], work["literals"], rows, n, units, total, pitch, np.uint32(self.itemsize))
        plan.launch(file, "zstd_units", (self.n * self.units,), 128, args, **shared)
        args = (work["counts"], work["blocks"], work["about"], rows, n, units)
        plan.launch(file, "zstd_merge", (self.n * -(-self.units // REGION_UNITS),), 128, args, **shared)

    def write(self, blocks: Any) -> None:
        """Those blocks to their slots: of each unit how many units the block has that begins there, 0 where none is to be made."""
        (n, units, total, pitch), rows, work = self.count, self.rows, self.work
        shared, file, grid = {"PLANES": self.planes, **self.live}, "compress/zstd_blocks.cl", (self.n * self.units,)
        args = (work["shuffled"], work["matches"], work["counts"], work["literals"], blocks, work["slots"], work["block_size"], rows, n, units, total, pitch)
        self.plan.launch(file, "zstd_literals", grid, 128, args, **shared)
        args = (work["matches"], work["counts"], blocks, work["slots"], work["block_size"], work["ends"], rows, n, units, total, np.uint32(self.itemsize))
        self.plan.launch(file, "zstd_sequences", grid, 128, args, **shared)
        args = (blocks, work["slots"], work["block_size"], work["ends"], rows, n, units, total)
        self.plan.launch(file, "zstd_close", (-(-self.n * self.units // 128),), 128, args, **shared)


def encode(plan: Plan, planes: bool, total: int, align: int, code: Any, live: Any, payload: Any, size: Any) -> None:
    """Frames to chunks. total: the bytes of a frame that are compressed; align: of every frame's first byte."""
    frames = Frames(plan, planes, total, code, live, payload)
    work, (n, units, _, pitch), cap = frames.work, frames.count, np.uint32(payload.shape[1])
    frames.read(align)
    frames.write(work["blocks"])
    blocks, sizes, starts = (work[k] for k in ("blocks", "block_size", "block_start"))
    shared, file, bytes_ = {"PLANES": planes, **frames.live}, "compress/zstd_blocks.cl", np.uint32(frames.pixels * frames.itemsize)
    args = (code, blocks, sizes, starts, payload, size, frames.rows, n, units, np.uint32(total), bytes_, cap)
    plan.launch(file, "zstd_place", (frames.n,), 128, args, **shared)
    args = (work["shuffled"], work["slots"], blocks, sizes, starts, payload, frames.rows, n, units, np.uint32(total), pitch, cap)
    plan.launch(file, "zstd_gather", (frames.n * frames.units,), 128, args, **shared)
