"""Inputs of features.region_sums, windows and projections: overlaps, runs of every width, windows over the edge, peaks that are nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import features
from gpuredux.op import Op

from .case import Case, frame_bits, live_of, seeded

SPECIAL = np.array([0, -0.0, 1, -1, np.nan, -np.nan, np.inf, -np.inf, 1e-45, 3e38, -3e38, 2.0**22, 8388607.5, -8388608.5], np.float32)


def frames_of(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Counts, with the ends of the dtype; one frame of nothing but the largest value, one without any that is a measurement."""
    info = None if dtype == "float32" else np.iinfo(dtype)
    x = rng.normal(3, 40, shape)
    x = x.astype(np.float32) if info is None else np.clip(np.rint(x), info.min, info.max).astype(dtype)
    ends = SPECIAL if info is None else np.array([0, 1, info.min, info.max, info.max - 1, info.max // 2], dtype)
    spot = rng.random(shape) < 0.1
    x[spot] = rng.choice(ends, int(spot.sum()))
    if len(x) > 3:
        x[1], x[2], x[3] = ends[-1], 0, np.float32(3e38) if info is None else info.max
    if len(x) > 4 and info is None:
        x[4] = np.nan
    return x


def peaks_of(rng: np.random.Generator, n: int, cap: int, frame: tuple[int, ...], floats: bool) -> dict[str, np.ndarray]:
    """Inside, over each edge, halfway between pixels, far away, in no panel; counts of none, some, all, too many and less than none."""
    panels = 1 if len(frame) == 2 else frame[0]
    panel = rng.integers(0, panels, (n, cap)).astype(np.int32)
    panel.flat[::11] = rng.choice(np.array([-1, panels, 2**31 - 1], np.int32), panel.flat[::11].shape)
    places = []
    for size in frame[-2:]:
        at = rng.uniform(-3, size + 3, (n, cap))
        at.flat[::5] = rng.choice([0.5, 1.5, -0.5, 2.5, size - 0.5, 0, size - 1], at.flat[::5].shape)
        if floats:
            at = at.astype(np.float32)
            at.flat[::13] = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38, -1e6, 1e6, 1000001, -0.0], np.float32), at.flat[::13].shape)
        else:
            at = at.astype(np.int32)
            at.flat[::13] = rng.choice(np.array([2**31 - 1, -(2**31), 10**6, -(10**6) - 1], np.int32), at.flat[::13].shape)
        places.append(at)
    count = np.resize(np.array([cap, 1, cap + 3, 0, cap - 1, -2], np.int32), n)
    return {"peak_panel": panel, "peak_row": places[0], "peak_col": places[1], "peak_count": count}


def regions_of(rng: np.random.Generator, frame: tuple[int, ...]) -> features.Regions:
    """Rectangles that overlap, one pixel and the whole frame among them; polygons; masks, of one scattered, of one over all panels."""
    panels, rows, cols = (1, *frame)[-3:] if len(frame) == 2 else frame
    top, left = rng.integers(0, rows, 9), rng.integers(0, cols, 9)
    table = np.stack([rng.integers(0, panels, 9), top, left, 1 + rng.integers(0, 40, 9) % (rows - top), 1 + rng.integers(0, 40, 9) % (cols - left)], 1)
    table = np.concatenate([table, [[panels - 1, rows - 1, cols - 1, 1, 1], [0, 0, 0, rows, cols]]])
    made = features.Regions.rectangles(frame, table)
    star = [(rows * (0.5 + 0.6 * np.sin(2.4 * np.pi * k)), cols * (0.5 + 0.6 * np.cos(2.4 * np.pi * k))) for k in range(5)]
    if min(rows, cols) > 4:
        made += features.Regions.polygons(frame, [(0, star), (panels - 1, [(0, 0), (0, cols / 2), (rows / 2, 0)])])
    scattered = rng.random(frame) < 0.3
    scattered.flat[-1] = True
    return made + features.Regions.masks(frame, [scattered, np.ones(frame, bool)])


# frame, dtype, n, live, what is given
GIVEN: tuple[tuple[tuple[int, ...], str, int, int | None, str], ...] = (
    ((37, 53), "float32", 7, None, "status frame good"), ((2, 12, 20), "uint16", 6, 5, "status"), ((1, 1), "uint32", 3, None, "status frame good"),
    ((64, 300), "float32", 5, None, "status"), ((3, 5), "uint16", 5, 0, ""), ((4, 10), "uint16", 5, 9, "frame good"),
    ((24, 17), "uint32", 5, None, "status frame good"), ((4, 10), "float32", 0, None, "status frame good"), ((3, 5), "uint16", 5, -3, "status frame good"),
)
AROUND: tuple[tuple[tuple[int, ...], str, int, int | None, str, int, bool], ...] = (
    ((37, 53), "float32", 7, None, "status frame good", 3, True), ((2, 12, 20), "int16", 6, 5, "status", 8, False),
    ((1, 1), "float32", 3, None, "status", 8, True), ((3, 24, 17), "int16", 5, 9, "", 0, False), ((131, 257), "float32", 4, None, "", 8, True),
)


def marked(rng: np.random.Generator, op: Op, x: np.ndarray, given: str, rows: int | None) -> dict[str, np.ndarray]:
    """The frames with pixel_status, frame_status and live."""
    inputs = {"energy": x}
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 9 + [1, 2, 3, 8, 255], np.uint8), x.shape)
    if "frame" in given and "frame_status" in op.input_names:
        inputs["frame_status"] = frame_bits(len(x))
    return {**inputs, **live_of(rows)}


def good_of(rng: np.random.Generator, frame: tuple[int, ...], given: str) -> np.ndarray | None:
    return rng.random(frame) > 0.1 if "good" in given else None


def sums_op(rng: np.random.Generator, frame: tuple[int, ...], dtype: str, **fields: Any) -> Op:
    if "half" not in fields:
        fields["regions"] = regions_of(rng, frame)
    return features.RegionSums(threshold=20.5, unit=2.0**-4, **fields)


def rectangles_of(rng: np.random.Generator, frame: tuple[int, ...]) -> np.ndarray:
    """Inside, over each edge, wholly outside, one pixel, larger than the frame."""
    panels, rows, cols = (1, *frame)[-3:] if len(frame) == 2 else frame
    corner = [rng.integers(0, panels, 9), rng.integers(-4, rows + 2, 9), rng.integers(-4, cols + 2, 9)]
    table = np.stack([*corner, rng.integers(1, 9, 9), rng.integers(1, 19, 9)], 1)
    return np.concatenate([table, [[panels - 1, rows - 1, cols - 1, 1, 1], [0, -2, -1, rows + 3, cols + 3], [0, rows, 0, 2, 2], [0, -5, -9, 3, 8]]])


def windows_op(rng: np.random.Generator, frame: tuple[int, ...], dtype: str, **fields: Any) -> Op:
    if "half" not in fields:
        fields["rectangles"] = rectangles_of(rng, frame)
    return features.Windows(fill={"float32": np.nan, "int16": -7}.get(dtype, 9), **fields)


def projections_op(rng: np.random.Generator, frame: tuple[int, ...], dtype: str, **fields: Any) -> Op:
    return features.Projections(rectangles_of(rng, frame), unit=2.0**-4, **fields)


MAKERS: dict[str, Callable[..., Op]] = {"features.region_sums": sums_op, "features.windows": windows_op, "features.projections": projections_op}


def cases_of(name: str) -> Iterator[Case]:
    for frame, dtype, n, rows, given in GIVEN:
        rng = seeded(f"{name} {frame} {dtype} {n}")
        op = MAKERS[name](rng, frame, dtype, good=good_of(rng, frame, given))
        yield Case(f"{frame}-{dtype}-{n}-live{rows}-{given}", op, marked(rng, op, frames_of(rng, dtype, (n, *frame)), given, rows))
    for frame, dtype, n, rows, given, half, floats in () if name == "features.projections" else AROUND:
        rng = seeded(f"{name} around {frame} {dtype} {n}")
        op = MAKERS[name](rng, frame, dtype, good=good_of(rng, frame, given), half=half)
        inputs = marked(rng, op, frames_of(rng, dtype, (n, *frame)), given, rows)
        yield Case(f"around{half}-{frame}-{dtype}-{n}-live{rows}-{given}", op, {**inputs, **peaks_of(rng, n, 13, frame, floats)})


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    """1000 windows of 17 x 17 a frame."""
    rng = seeded(f"sized {name}")
    panels, rows, cols = shape if len(shape) == 3 else (1, *shape)
    counts = rng.poisson(3, (1 << 16) + n * 977).astype(np.uint16)
    frames = np.stack([np.resize(counts[977 * f : 977 * f + (1 << 16)], shape) for f in range(n)])
    table = np.stack([rng.integers(0, panels, 1000), rng.integers(0, max(rows - 16, 1), 1000), rng.integers(0, max(cols - 16, 1), 1000),
                      np.full(1000, min(rows, 17)), np.full(1000, min(cols, 17))], 1)
    if name == "features.projections":
        middle = [(p, rows // 4, cols // 4, rows // 2, cols // 2) for p in range(panels)]
        return Case("the middle of each panel", features.Projections(middle), {"energy": frames})
    op = features.Windows(table) if name == "features.windows" else features.RegionSums(features.Regions.rectangles(shape, table))
    return Case("1000 windows of 17 x 17", op, {"energy": frames})
