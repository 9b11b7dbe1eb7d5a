"""Inputs of features.bin, running, cube and histogram: frames with the ends of their dtype, masks that leave nothing. Over 200 lines: four ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded, spots

ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 3.4e38, -3.4e38, 1e9, -8388608.5, 2**31, 0.001953125, 0.005859375], np.float32)


def frames_of(rng: np.random.Generator, dtype: str, n: int, frame: tuple[int, ...]) -> np.ndarray:
    """Ordinary values; the type's ends at the spots; a frame of the largest value, one of the least, one of NaN, one of -0.0."""
    npix, dt = int(np.prod(frame)), np.dtype(dtype)
    if dt.kind == "f":
        x = rng.normal(3, 40, (n, npix)).astype(np.float32)
        ends, whole = ODD, [3.4e38, -3.4e38, np.nan, -0.0]
    else:
        info = np.iinfo(np.int32 if dt == np.int64 else dt)     # sums that an op made are far from 2**63
        x = rng.integers(max(info.min, -50), min(info.max, 300), (n, npix)).astype(dt)
        ends, whole = np.array([info.min, info.max, info.max - 1, 0], dt), [info.max, info.min]
    for f in range(n):
        where = spots(rng, npix)
        x[f, where] = rng.choice(ends, where.size)
        if f % 9 >= 9 - len(whole):
            x[f] = whole[f % 9 - 9]
    return (x << 20 if dt == np.int64 else x).reshape(n, *frame)


def marks_of(rng: np.random.Generator, n: int, frame: tuple[int, ...]) -> np.ndarray:
    """Mostly 0; of every fifth frame no pixel is left."""
    status = rng.choice(np.array([0] * 12 + [1, 2, 8, 255], np.uint8), (n, *frame))
    status[4::5] = 16
    return status


def good_of(rng: np.random.Generator, frame: tuple[int, ...]) -> np.ndarray:
    """A fifth of the pixels is masked, and a corner wholly."""
    good = rng.random(frame) > 0.2
    good[..., : max(1, frame[-2] // 3), : max(1, frame[-1] // 3)] = False
    return good


def inputs_of(rng: np.random.Generator, dtype: str, n: int, frame: tuple[int, ...], rows: int | None, given: str) -> dict[str, np.ndarray]:
    inputs = {"energy": frames_of(rng, dtype, n, frame), **live_of(rows)}
    return inputs | ({"pixel_status": marks_of(rng, n, frame)} if "status" in given else {})


# ----------------------------------------------------------------------------------------------------------- features.bin
BINS: tuple[tuple[str, tuple[int, ...], int, int | None, str, dict[str, Any]], ...] = (
    ("uint16", (37, 53), 18, 18, "", {}),
    ("uint16", (2, 16, 40), 5, 3, "", {}),
    ("uint16", (1, 1), 3, 3, "", {}),
    ("uint16", (8, 9), 0, 0, "", {}),
    ("uint16", (8, 9), 35, 20, "", {}),
    ("uint16", (8, 9), 5, 0, "", {}),
    ("uint16", (8, 9), 5, 9, "", {}),
    ("uint16", (8, 9), 5, -3, "", {}),
    ("float32", (37, 53), 18, 18, "status good", {"statistic": "mean", "min_good": 3, "count": True, "status": True}),
    ("float32", (2, 7, 129), 16, 15, "status good", {"statistic": "mean", "min_good": 3, "count": True, "status": True}),
    ("float32", (24, 17), 19, None, "", {"size": (5, 3)}),
    ("float32", (1, 1), 19, None, "", {"size": (5, 3)}),
    ("float32", (33, 20), 18, None, "status", {"statistic": "max", "size": (4, 4), "count": True}),
    ("int16", (33, 20), 18, None, "good", {"statistic": "max", "size": (1, 3), "min_good": 2, "status": True}),
    ("uint32", (37, 131), 9, None, "", {"statistic": "mean", "size": (31, 130)}),
)


def bin_case(dtype: str, frame: tuple[int, ...], n: int, rows: int | None, given: str, fields: dict[str, Any]) -> Case:
    name = f"{dtype}-{frame}-{n}-live{rows}-{'-'.join(f'{k}{v}' for k, v in fields.items())}"
    rng = seeded(f"bin {name}")
    return Case(name, features.Bin(good=good_of(rng, frame) if "good" in given else None, **fields), inputs_of(rng, dtype, n, frame, rows, given))


def bins() -> Iterator[Case]:
    yield from (bin_case(*row) for row in BINS)


def sized_words(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts, u16."""
    some = rng.poisson(3, (1 << 18) + n * 977).astype(np.uint16)
    return np.stack([np.resize(some[977 * f : 977 * f + (1 << 18)], shape) for f in range(n)])


def sized_bin(shape: tuple[int, ...], n: int) -> Case:
    return Case("2 x 2 sums of u16", features.Bin(), {"energy": sized_words(shape, n, seeded("bin"))})


# ------------------------------------------------------------------------------------------------------- features.running
RUNNING: tuple[tuple[str, tuple[int, ...], int, int | None, str, dict[str, Any]], ...] = (
    ("uint16", (37, 53), 18, 17, "", {}),
    ("uint16", (1, 1), 3, 3, "", {}),
    ("uint16", (8, 9), 0, 0, "", {}),
    ("uint16", (8, 9), 5, 0, "", {}),
    ("uint16", (8, 9), 5, -3, "", {}),
    ("uint16", (8, 9), 35, 99, "", {}),
    ("float32", (37, 53), 19, 18, "status good frame", {"classes": 3}),
    ("float32", (2, 3, 700), 12, 12, "status good frame", {"classes": 3}),
    ("float32", (24, 17), 19, None, "frame", {"unit": 2.0**-3}),
    ("float32", (1, 1), 19, None, "frame", {"unit": 2.0**-3}),
    ("uint32", (37, 131), 9, None, "good", {"extremes": False, "classes": 2}),
    ("int32", (16, 40), 18, None, "", {}),
    ("int16", (3, 5), 18, None, "status", {"squares": False}),
)


def running_case(dtype: str, frame: tuple[int, ...], n: int, rows: int | None, given: str, fields: dict[str, Any]) -> Case:
    """On top of a state that already holds much."""
    name = f"{dtype}-{frame}-{n}-live{rows}-{'-'.join(f'{k}{v}' for k, v in fields.items())}"
    rng = seeded(f"running {name}")
    op = features.Running(good=good_of(rng, frame) if "good" in given else None, **fields)
    inputs = inputs_of(rng, dtype, n, frame, rows, given)
    for key, value in op.start(frame, dtype).items():
        held = {"running_count": [0, 1, 2**31 - n], "running_sum": [0, -1, 2**40, -(2**62)], "running_sum2": [0, 2**32 - 1, 2**63], "running_stray": [7]}
        inputs[key] = frames_of(rng, dtype, 2, value.shape[1:]) if key == "running_extreme" else rng.choice(np.array(held[key], value.dtype), value.shape)
        if key == "running_extreme":
            inputs[key] = np.where(rng.random(value.shape) < 0.5, value, np.where(np.isnan(inputs[key]), value, inputs[key] + value.dtype.type(0)))
    if op.classes:
        inputs["event_class"] = rng.integers(0, op.classes + 1, n).astype(np.uint8)
        inputs["event_class"][:2] = 255
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs)


def runnings() -> Iterator[Case]:
    yield from (running_case(*row) for row in RUNNING)


def sized_running(shape: tuple[int, ...], n: int) -> Case:
    op = features.Running()
    return Case("a powder of u16", op, {"energy": sized_words(shape, n, seeded("running")), **op.start(shape, np.uint16)})


# ---------------------------------------------------------------------------------------------------------- features.cube
CUBES: tuple[tuple[str, tuple[int, ...], int, int | None, str, dict[str, Any]], ...] = (
    ("uint16", (37, 53), 18, 17, "", {"bins": (5,)}),
    ("uint16", (1, 1), 3, 3, "", {"bins": (300,)}),
    ("uint16", (3, 5), 0, 0, "", {"bins": (5,)}),
    ("uint16", (3, 5), 5, 0, "", {"bins": (5,)}),
    ("uint16", (3, 5), 5, -3, "", {"bins": (5,)}),
    ("uint16", (3, 5), 35, 99, "", {"bins": (1,)}),
    ("float32", (24, 17), 140, 135, "status good frame", {"bins": (3, 4), "weighted": True, "squares": True, "used": True}),
    ("float32", (2, 3, 1500), 12, 12, "status good frame", {"bins": (3, 1, 2), "weighted": True, "squares": True, "used": True}),
    ("float32", (7,), 19, None, "", {"bins": (2, 2, 2), "unit": 2.0**-3}),
    ("uint32", (37, 131), 9, None, "good", {"bins": (4,), "squares": True}),
    ("int16", (3, 5), 18, None, "status", {"bins": (130,), "squares": True, "used": True}),
    ("int64", (2, 10), 18, None, "status", {"bins": (2,), "weighted": True}),
)


def cube_case(dtype: str, frame: tuple[int, ...], n: int, rows: int | None, given: str, fields: dict[str, Any]) -> Case:
    """On top of a state that already holds much; indices at both ends of each axis, and beyond them."""
    name = f"{dtype}-{frame}-{n}-live{rows}-{'-'.join(f'{k}{v}' for k, v in fields.items())}"
    rng = seeded(f"cube {name}")
    op = features.Cube(good=good_of(rng, frame) if "good" in given else None, **fields)
    inputs = inputs_of(rng, dtype, n, frame, rows, given)
    axes = [rng.choice(np.array([0, k - 1, k // 2, k, -1, -(2**31), 2**31 - 1], np.int32), n, p=[0.3, 0.3, 0.3, 0.04, 0.02, 0.02, 0.02]) for k in op.bins]
    inputs["bin_index"] = axes[0] if len(axes) == 1 else np.stack(axes, axis=1)
    for key, value in op.start(frame, dtype).items():
        held = [0, 1, 2**31] if key == "cube_used" else [0, 1, 2**40, 2**62]
        inputs[key] = rng.choice(np.array(held, value.dtype), value.shape)
    if op.weighted:
        inputs["weight"] = rng.choice(np.concatenate([rng.normal(1, 0.3, 20), [np.nan, np.inf, -0.0, 1e-9, 1e30, -1e30, 2.0**-17, 3 * 2.0**-17]]), n)
        inputs["weight"] = inputs["weight"].astype(np.float32)
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs)


def cubes() -> Iterator[Case]:
    yield from (cube_case(*row) for row in CUBES)


def sized_cube(shape: tuple[int, ...], n: int) -> Case:
    """Eight bins, all of which a batch meets where it has so many frames."""
    op = features.Cube((8,))
    return Case("8 bins of u16", op, {"energy": sized_words(shape, n, seeded("cube")), "bin_index": np.arange(n, dtype=np.int32) * 3 % 8,
                                      **op.start(shape, np.uint16)})


# ----------------------------------------------------------------------------------------------------- features.histogram
HISTOGRAMS: tuple[tuple[str, tuple[int, ...], int, int | None, str, dict[str, Any]], ...] = (
    ("uint16", (64, 130), 18, 17, "", {"low": -0.5, "high": 299.5, "bins": 75}),
    ("uint16", (1, 1), 3, 3, "", {"low": 0, "high": 65535, "bins": 1}),
    ("uint16", (3, 5), 0, 0, "", {"low": 0, "high": 100, "bins": 10}),
    ("uint16", (3, 5), 5, 0, "", {"low": 0, "high": 100, "bins": 10}),
    ("uint16", (3, 5), 35, 99, "", {"low": 0, "high": 100, "bins": 10}),
    ("int16", (5, 7), 9, None, "status good", {"low": -32768, "high": 300, "bins": 129}),
    ("float32", (37, 53), 18, None, "status good label", {"low": -20, "high": 60, "bins": 33, "over": "batch"}),
    ("float32", (3, 5), 0, None, "status good label", {"low": -20, "high": 60, "bins": 33, "over": "batch"}),
    ("float32", (37, 53), 18, 17, "status good label", {"low": -20, "high": 60, "bins": 33, "regions": 3}),
    ("float32", (2, 31, 129), 5, None, "", {"low": -1e30, "high": 1e30, "bins": 7, "other": (-0.1, 0.3, 3)}),
    ("int32", (24, 17), 20, -3, "", {"low": -50, "high": 250, "bins": 300, "over": "batch"}),
    ("uint32", (37, 131), 9, None, "", {"low": 0, "high": 2.0**32, "bins": 7000}),
)


def histogram_case(dtype: str, frame: tuple[int, ...], n: int, rows: int | None, given: str, fields: dict[str, Any]) -> Case:
    """Values on the edges, and beside them."""
    name = f"{dtype}-{frame}-{n}-live{rows}-{'-'.join(f'{k}{v}' for k, v in fields.items())}"
    rng = seeded(f"histogram {name}")
    good = good_of(rng, frame) if "good" in given else None
    label = rng.choice(np.array([0, 1, 2, 3, 65535], np.uint16), frame) if "label" in given else None
    op = features.Histogram(good=good, label=label, **({"regions": 4} if "label" in given else {}) | fields)
    inputs = inputs_of(rng, dtype, n, frame, rows, given)
    edges, flat = np.linspace(op.low, op.high, op.bins + 1), inputs["energy"].reshape(n, int(np.prod(frame)))
    on = edges.astype(np.float32) if dtype == "float32" else np.clip(np.ceil(edges), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    beside = [on, np.nextafter(on, np.float32(9e30)), np.nextafter(on, np.float32(-9e30))] if dtype == "float32" else [on]
    flat[:, ::3] = rng.choice(np.concatenate(beside), flat[:, ::3].shape)
    if op.other is not None:
        ends = np.linspace(*op.other[:2], op.other[2] + 1).astype(np.float32)
        some = np.concatenate([ends, np.nextafter(ends, np.float32(9)), rng.uniform(-0.2, 0.4, 9).astype(np.float32), ODD[:4]])
        inputs["other"] = rng.choice(some, (n, *frame))
    return Case(name, op, inputs)


def histograms() -> Iterator[Case]:
    yield from (histogram_case(*row) for row in HISTOGRAMS)


def sized_histogram(shape: tuple[int, ...], n: int) -> Case:
    return Case("256 bins of u16", features.Histogram(-0.5, 255.5, 256), {"energy": sized_words(shape, n, seeded("histogram"))})


MAKERS: dict[str, Any] = {"features.bin": (bins, sized_bin), "features.running": (runnings, sized_running),
                          "features.cube": (cubes, sized_cube), "features.histogram": (histograms, sized_histogram)}


def cases_of(name: str) -> Iterator[Case]:
    yield from MAKERS[name][0]()


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    case: Case = MAKERS[name][1](shape, n)
    return case
