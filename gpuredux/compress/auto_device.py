"""The kernels of compress.Auto: what they keep in scratch, and how they follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Plan, Spec
from . import zstd_device

FILE = "compress/auto.cl"
VERDICT = 8         # words of a frame, as auto.cl has them


def scratch(n: int, s_units: int, b_units: int, slots: int) -> tuple[Spec, ...]:
    """For n frames of so many units; slots: of a frame's slots for numba, which uses nothing else."""
    u32 = np.dtype(np.uint32)
    return (
        *zstd_device.scratch(n, s_units, slots, "s_"), *zstd_device.scratch(n, b_units, slots, "b_"), Spec("now", (n, max(s_units, 1)), u32),
        Spec("verdict", (n, VERDICT), u32),
    )


def encode(plan: Plan, layout: Any, code: Any, live: Any, payload: Any, size: Any, filter_mask: Any) -> None:
    """Frames to chunks: what both have of a frame is read, what is chosen is written, and where that may not be the smaller one the other one too."""
    s = zstd_device.Frames(plan, False, layout.nbytes, code, live, payload, "s_")
    b = zstd_device.Frames(plan, True, layout.usable, code, live, payload, "b_")
    s.read(layout.align)
    b.read(layout.align)
    now, verdict = ((plan.scratch or {}).get(k) for k in ("now", "verdict"))
    n, s_units, b_units, tail = s.count[0], s.count[1], b.count[1], np.uint32(layout.nbytes - layout.usable)
    blocks, sizes, every = ((s.work[k], b.work[k]) for k in ("blocks", "block_size", "about"))
    grid, count = (s.n,), (n, s_units, b_units, tail)
    plan.launch(FILE, "auto_first", grid, 128, (*every, verdict, s.rows, *count), **s.live)
    write(s, b, verdict, now, 0)
    plan.launch(FILE, "auto_other", grid, 128, (*blocks, *sizes, verdict, s.rows, *count), **s.live)
    write(s, b, verdict, now, 1)
    plan.launch(FILE, "auto_choose", grid, 128, (*blocks, *sizes, verdict, filter_mask, s.rows, *count), **s.live)
    start, sized, cap = s.work["block_start"], np.uint32(layout.nbytes), np.uint32(payload.shape[1])
    args = (code, *blocks, *sizes, verdict, start, payload, size, s.rows, n, s_units, b_units, sized, tail, cap)
    plan.launch(FILE, "auto_place", grid, 128, args, **s.live)
    both = (s.work["shuffled"], b.work["shuffled"], s.work["slots"], b.work["slots"], *blocks, *sizes)
    args = (*both, verdict, start, payload, s.rows, n, s_units, b_units, sized, tail, cap)
    plan.launch(FILE, "auto_gather", (s.n * s.units,), 128, args, **s.live)


def write(s: zstd_device.Frames, b: zstd_device.Frames, verdict: Any, now: Any, again: int) -> None:
    """Of each frame the blocks of the codec that it chose first; again: of the other one, where it tries that."""
    for codec, frames in enumerate((s, b)):
        args = (verdict, frames.work["blocks"], now, frames.rows, frames.count[0], frames.count[1], np.uint32(codec), np.uint32(again))
        frames.plan.launch(FILE, "auto_now", (-(-frames.n * frames.units // 128),), 128, args, **frames.live)
        frames.write(now)


def no_mask(plan: Plan, live: Any, filter_mask: Any) -> None:
    """Every filter was applied."""
    n = filter_mask.shape[0]
    args = (filter_mask, filter_mask if live is None else live, np.uint32(n))
    plan.launch(FILE, "auto_no_mask", (-(-n // 128),), 128, args, LIVE=live is not None)
