"""Nasty inputs of calib.counts: every code and its neighbours, counts that float32 cannot hold, ends of tables, masks and bad planes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import calib
from gpuredux.calib.counts import CODES, dead_time_table
from gpuredux.status import Pixel

from .case import FILLED, FRAMES, ROWS, Case, frame_bits, live_of, seeded, spots

BAD_PLANE = np.array([0, -0.0, np.nan, np.inf, -np.inf, -1, 2.0**-41, 2.0**41, 1e-45, 2.0**-40, 2.0**40], np.float32)


def count_words(rng: np.random.Generator, dtype: Any, n: int, frame: tuple[int, ...], special: list[int]) -> np.ndarray:
    """Mostly few counts; codes, ends of the range and roundings at the spots; some frames of nothing else."""
    info, npix = np.iinfo(dtype), int(np.prod(frame))
    raw = rng.poisson(0.4, (n, npix)).astype(dtype)
    middle = [2**24 + 1, 2**24 + 3, 2**25 + 2, 2**25 + 6, 2**31 - 65, 2**31 - 64, 2**31 - 1, 2**31, 2**32 - 129, 2**32 - 128]
    edges = [0, 1, info.max, info.max - 1, info.max - 2, info.max - 3, info.min, info.min + 1, -1, -2, -3, 255, 4095, *middle]
    edges += [s + d for s in special for d in (-1, 0, 1)]
    pool = np.array([e for e in edges if info.min <= e <= info.max]).astype(dtype)
    for f in range(n):
        where = spots(rng, npix)
        raw[f, where] = rng.choice(pool, where.size)
        if f % 5 == 3:      # every block of pixels has every kind of word
            raw[f] = rng.choice(pool, npix)
        if f % 5 == 4 and special:      # all along the table
            raw[f] = rng.integers(0, min(2 * max(special) + 2, info.max), npix)
    return raw.reshape(n, *frame)


def count_case(
    name: str, dtype: Any, frame: tuple[int, ...], n: int, rows: int | None, given: str = "", fuse: bool = False, special: tuple[int, ...] = (), **fields: Any
) -> Case:
    """given: which of plane, bad (planes), good, status, frame are there."""
    rng = seeded(name)
    if "plane" in given or "bad" in given:
        plane = rng.normal(1, 0.02, frame).astype(np.float32)
        if "bad" in given:
            plane.flat[rng.integers(0, plane.size, 60)] = rng.choice(BAD_PLANE, 60)
            fields["invalid"] = "mask"
        fields["plane"] = plane
    if "good" in given:
        fields["good"] = rng.random(frame) > 0.1
    op = calib.Counts(status="status" in given, **fields)
    ends = [op._top(np.dtype(dtype))] if "table" in fields or "largest" in fields else []
    inputs = {"raw": count_words(rng, dtype, n, frame, [*special, *ends]), **live_of(rows)}
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs, fuse)


def table_of(**arguments: Any) -> dict[str, Any]:
    table, step = dead_time_table(**arguments)
    return {"table": table, "table_step": step}


def counts() -> Iterator[Case]:
    for i, frame in enumerate(FRAMES):
        n, rows = FILLED[i % 4]
        dtype, given = (("uint8", "status frame"), ("uint16", "plane good status frame"), ("uint32", ""), ("int32", "plane good frame"))[(i + i // 4) % 4]
        yield count_case(f"{dtype}-{frame}-{n}-live{rows}-{given}", dtype, frame, n, rows, given)
    for n, rows in ROWS:
        yield count_case(f"rows-{n}-live{rows}", "uint16", (3, 5), n, rows, "plane good status frame")
    for dtype in CODES:
        yield count_case(f"{dtype}-bad-planes", dtype, (24, 17), 18, None, "bad good status frame", bad_value=np.nan)
    for dtype, largest in (("uint16", 65533), ("uint32", 2**32 - 1), ("int32", 10**6)):
        fields = table_of(dead_time=1.2e-7, exposure=0.001, model="paralysable", largest=largest)
        yield count_case(f"{dtype}-paralysable", dtype, (24, 17), 20, None, "plane good status frame", dtype == "int32", **fields)
    fields = table_of(dead_time=1e-7, exposure=1.0, largest=2**32 - 1, most_factor=2.0)
    yield count_case("uint32-nonparalysable", "uint32", (37, 53), 20, None, "status", **fields)
    steps = np.array([1, 1, 2, 2, 1.5, 2.0**-40, 7, 1e6, 2.0**40])
    yield count_case("a table of steps", "uint8", (16, 40), 20, 17, "frame", table=steps, table_step=16)
    yield count_case("a table of one entry", "int32", (3, 5), 20, None, "status", table=np.array([3.5]), special=(1,))
    codes = ((0, Pixel.MISSING), (4095, Pixel.SATURATED), (7, Pixel.BAD_CONSTANT), (-1, Pixel.INVALID_CODE), (2**32 - 1, Pixel.MISSING))
    yield count_case("other codes", "uint32", (24, 17), 18, None, "status frame", codes=codes, special=(7, 4095))
    yield count_case("other codes, signed", "int32", (24, 17), 18, None, "status frame", codes=codes, special=(7, 4095))
    yield count_case("no codes", "uint16", (3, 5), 18, None, "status frame", codes=())
    yield count_case("a largest count", "uint16", (16, 40), 18, None, "status frame", largest=4094, special=(4095,))
    yield count_case("no count at all", "uint8", (3, 5), 18, None, "status", largest=0)


def sized_counts(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """A PILATUS or EIGER image: 8 % gaps in bands of columns, few counts, a flat field; the counts of Bragg peaks are corrected by a table."""
    rng = seeded("counts")
    raw = np.empty((n, *shape), np.uint16)
    for f in range(n):
        few = rng.poisson(0.3, 1 << 16).astype(np.uint16)
        raw[f] = np.resize(few, raw[f].shape)
    raw[..., -max(shape[-1] // 13, 1) :] = 65535
    op = calib.Counts(plane=rng.normal(1, 0.02, shape), **table_of(dead_time=1.2e-7, exposure=0.001))
    return Case("a table and a flat field, 8 % gaps", op, {"raw": raw, "frame_status": np.zeros(n, np.uint32)})
