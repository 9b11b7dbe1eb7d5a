"""Inputs of what is known of the beam in each shot: features.beam_centroid, beam_centre, jet_streak and radial_background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded
from .cases_peaks import bragg, radius_of
from .cases_pixelwise import NEAR, pixel_case

MARKS = np.array([0] * 20 + [1, 2, 128, 255], np.uint8)


def marks_of(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"pixel_status": rng.choice(MARKS, (n, *shape))}


# ------------------------------------------------------------------------------------------------------ features.beam_centroid
def centroid_case(name: str, shape: tuple[int, ...], n: int = 4, rows: int | None = None, kind: str = "uint16", given: str = "status", **fields: Any) -> Case:
    rng = seeded(f"centroid {name}")
    inputs = {"energy": bragg(rng, n, shape, kind, 20.0, 3)}
    if "status" in given:
        inputs |= {**marks_of(rng, n, shape), "frame_status": frame_bits(n)}
    good = rng.random(shape) > 0.1 if "good" in given else None
    return Case(name, features.BeamCentroid(good=good, **fields), {**inputs, **live_of(rows)})


def beam_centroid() -> Iterator[Case]:
    yield centroid_case("uint16", (37, 53), given="status good", threshold=21.5)
    yield centroid_case("box", (37, 53), threshold=20, box=(3, 31, 7, 53))
    yield centroid_case("float32", (37, 53), 5, 4, "float32", "status good", threshold=2.5)
    yield centroid_case("float-fine", (131, 257), 3, 2, "float32", unit=2.0**-20, box=(1, 131, 0, 256))
    yield centroid_case("nothing-above", (24, 17), 3, 9, "float32", threshold=1e38, given="")
    yield centroid_case("one-pixel", (1, 1), 3)
    yield centroid_case("dead", (24, 17), 3, 0, "float32")
    large = centroid_case("largest", (131, 257), 3, kind="uint32", threshold=4294967040.0)      # sums near the limits; a threshold that float32 has not
    large.inputs["energy"][:] = np.iinfo(np.uint32).max - np.arange(3, dtype=np.uint32)[:, None, None] * 255
    yield large
    yield centroid_case("empty", (24, 17), 0)


# -------------------------------------------------------------------------------------------------------- features.beam_centre
def symmetric(rng: np.random.Generator, n: int, shape: tuple[int, int], at: tuple[float, float], kind: str) -> np.ndarray:
    """Rings about a point, with noise; a frame of nothing but one value, and one of noise alone."""
    radius = np.hypot(*(np.indices(shape) - np.reshape(at, (2, 1, 1))))
    frames = rng.poisson(200 * np.exp(-radius / 10) + 60 * (np.sin(radius) > 0.6), (n, *shape)).astype(np.float64)
    frames[1:2], frames[2:3] = 9, rng.poisson(30, shape)
    made = frames.astype(kind)
    if kind == "float32":
        where = rng.random(made.shape) < 0.02
        made[where] = rng.choice(np.array([np.nan, np.inf, -np.inf, -1e9, 3e38, -0.0, 1e-40], np.float32), int(where.sum()))
    return made


def centre_case(
    name: str, shape: tuple[int, int], n: int = 4, rows: int | None = None, kind: str = "uint16", given: str = "status good", **fields: Any,
) -> Case:
    rng = seeded(f"centre {name}")
    at = 0.45 * shape[0], 0.57 * shape[1]
    inputs = {"energy": symmetric(rng, n, shape, at, kind)}
    if "status" in given:
        inputs |= marks_of(rng, n, shape)
    if "guesses" in given:
        for k, c in zip(("centre_row", "centre_col"), at, strict=True):
            inputs[k] = np.resize(np.array([c + 1, c, np.nan, c - 2, 1e9, -3, np.inf], np.float32), n)
    guess = None if "guesses" in given else (at[0] + 1.3, at[1] - 0.8)
    good = rng.random(shape) > 0.1 if "good" in given else None
    settings = {"window": 4.0, "levels": 2, "full": 300.0, "least_pairs": 40, **fields}
    return Case(name, features.BeamCentre(guess=guess, good=good, **settings), {**inputs, **live_of(rows)})


def beam_centre() -> Iterator[Case]:
    yield centre_case("uint16", (37, 53))
    yield centre_case("guesses", (37, 53), 7, given="guesses status", radius=(2.5, 14.0))
    yield centre_case("float32", (37, 53), 5, 4, "float32", window=3.0)
    yield centre_case("one-level", (24, 18), 3, 2, "float32", "status", levels=0, window=2.0, radius=(0.5, 9.0))
    yield centre_case("not-to-the-end", (64, 41), 3, finest=1, levels=3, least_pairs=300)
    yield centre_case("wide", (131, 66), 3, levels=1, window=14.0, given="")
    yield centre_case("too-few", (24, 17), 3, 9, "float32", least_pairs=10**6)
    yield centre_case("one-pixel", (1, 1), 3)
    yield centre_case("one-row", (1, 300), 3, given="good", full=1e-3)
    yield centre_case("dead", (24, 17), 3, 0, "float32")
    yield centre_case("empty", (24, 17), 0)
    ties = centre_case("ties", (40, 48), 2, given="", levels=0, window=4.0, radius=(1.0, 10.0))      # stripes: every other row is as good
    ties.inputs["energy"][:] = 100 * (np.arange(48) % 6 < 3) + np.arange(2)[:, None, None]
    yield ties


# --------------------------------------------------------------------------------------------------------- features.jet_streak
def streak_case(
    name: str, shape: tuple[int, ...], n: int = 4, rows: int | None = None, kind: str = "uint16", given: str = "status good", **fields: Any,
) -> Case:
    rng = seeded(f"streak {name}")
    y, x = (np.broadcast_to(a - share * size, shape).astype(np.float32) for a, share, size in zip(np.indices(shape[-2:]), (0.4, 0.6), shape[-2:], strict=True))
    frames = bragg(rng, n, shape, kind, 20.0, 2, 50.0)
    for f in (0, 3):
        angle = rng.uniform(0, np.pi)
        frames[f : f + 1, np.abs(x * np.sin(angle) - y * np.cos(angle)) < 1.5] += frames.dtype.type(60)
    if "nowhere" in given:
        x, y = x.copy(), y.copy()
        x[..., 3::7], y[..., 2, :] = np.nan, np.inf
    inputs = {"energy": frames}
    if "status" in given:
        inputs |= {**marks_of(rng, n, shape), "frame_status": frame_bits(n)}
    good = rng.random(shape) > 0.1 if "good" in given else None
    settings = {"radius": (2.0, 14.0), "half_width": 1.5, "threshold": 2.0, "sectors": 12, "min_pixels": 4, "good": good, **fields}
    return Case(name, features.JetStreak(x, y, **settings), {**inputs, **live_of(rows)})


def jet_streak() -> Iterator[Case]:
    yield streak_case("uint16", (37, 53))
    yield streak_case("float32", (37, 53), 5, 4, "float32", given="good")
    yield streak_case("reach", (2, 24, 40), 3, reach=9.0, bins=1, threshold=0.0)
    yield streak_case("nowhere", (37, 53), 4, given="status nowhere", sectors=50, min_pixels=1, apart=2, bins=32)
    yield streak_case("sectors-of-no-pixel", (24, 17), 5, 9, "float32", "good", sectors=512, min_pixels=1, unit=2.0**-12)
    yield streak_case("few-others", (37, 53), sectors=8, apart=4)
    yield streak_case("no-sector", (24, 17), 3, 2, "float32", "good", min_pixels=10**6)
    yield streak_case("one-pixel", (1, 1), 2)
    yield streak_case("dead", (37, 53), 3, 0, "float32", "good")
    yield streak_case("empty", (37, 53), 0)
    flat = streak_case("one-bright-sector", (37, 53), 3, given="", threshold=1e3, bins=1)      # the others all alike: Inf
    flat.inputs["energy"][:] = 7
    x, y = flat.op.x, flat.op.y
    flat.inputs["energy"][1][np.mod(np.degrees(np.arctan2(y, x)), 180) // 15 == 4] = 8
    flat.inputs["energy"][2] = 0
    yield flat


# -------------------------------------------------------------------------------------------------- features.radial_background
def background_op(rng: np.random.Generator, shape: tuple[int, ...], weighted: bool = False, **fields: Any) -> features.RadialBackground:
    rings = features.Rings.from_position(radius_of(shape), fields.pop("bins", 9), (1.0, 25.0), rng.random(shape) > 0.1, **fields.pop("around", {}))
    return features.RadialBackground(rings, rng.uniform(0.5, 2, shape).astype(np.float32) if weighted else None, **fields)


def background_case(name: str, shape: tuple[int, ...], n: int, rows: int | None = None, given: str = "status frame", fuse: bool = False, **fields: Any) -> Case:
    rng = seeded(f"background {name}")
    op = background_op(rng, shape, **fields)
    case = pixel_case(name, op, shape, n, rows, given, NEAR, fuse)
    curve = rng.normal(20, 5, (n, *op.rings.shape_of_result)).astype(np.float32)
    curve.flat[2::5], curve.flat[3::11], curve.flat[4::13] = np.nan, np.inf, -0.0
    return Case(name, op, {**case.inputs, op.curve: curve}, fuse)


def radial_background() -> Iterator[Case]:
    yield background_case("status", (37, 53), 18)
    yield background_case("weights", (24, 17), 35, 20, weighted=True)
    yield background_case("wide", (16, 40), 5, 9, "status", weighted=True, curve="mean")
    yield background_case("bare", (2, 24, 40), 5, None, "")
    around = {"azimuth": np.linspace(-180, 179, 408).reshape(24, 17), "azimuth_bins": 4}
    yield background_case("two-dimensions", (24, 17), 3, None, "frame", bins=3, around=around)
    yield background_case("more-rings-than-16-bits", (3, 5), 2, 1, "", bins=70000)
    yield background_case("one-pixel", (1, 1), 3)
    yield background_case("dead", (16, 40), 5, 0, "status", weighted=True)
    yield background_case("empty", (4, 10), 0, None, "frame")


def fed_radial_background(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    if frame == (37, 53):       # not for every frame: each pair is a kernel to compile
        rng = seeded("fed background")
        yield Case("curve", background_op(rng, frame), {"intensity": rng.normal(20, 5, (n, 9)).astype(np.float32)})


# -------------------------------------------------------------------------------------------------------------- the benchmark's
def beam(shape: tuple[int, ...], n: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of scattering that falls with the radius, and x, y of the pixels."""
    y, x = (np.broadcast_to(a - 0.5 * size, shape).astype(np.float32) for a, size in zip(np.indices(shape[-2:]), shape[-2:], strict=True))
    mean = 3000 / (1 + np.hypot(x, y) / 30)
    return np.stack([seeded(f"beam {f}").poisson(mean).astype(kind) for f in range(n)]) if n else np.empty((0, *shape), kind), x, y


def sized(name: str, shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    frames, x, y = beam(shape, n, "float32" if name == "features.radial_background" else "uint16")
    if name == "features.radial_background":
        rings = features.Rings.from_position(np.hypot(x, y), 500)
        return Case("500 rings", features.RadialBackground(rings), {"energy": frames, "intensity": np.full((n, 500), 20, np.float32)})
    if name == "features.jet_streak":
        return Case("90 sectors", features.JetStreak(x, y, (20.0, 200.0), 4.0), {"energy": frames})
    image = frames.reshape(n, -1, shape[-1])        # panels one below the other
    if name == "features.beam_centroid":
        return Case("above 500", features.BeamCentroid(500.0), {"energy": image})
    return Case("window 32", features.BeamCentre((image.shape[1] / 2 + 3, shape[-1] / 2 - 5), radius=(10.0, 400.0)), {"energy": image})


NAMES = ("features.beam_centroid", "features.beam_centre", "features.jet_streak", "features.radial_background")
CASES: dict[str, Callable[[], Iterator[Case]]] = dict(zip(NAMES, (beam_centroid, beam_centre, jet_streak, radial_background), strict=True))
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {
    name: lambda shape, n, scattered, name=name: sized(name, shape, n, scattered) for name in NAMES}
FEEDING: dict[str, Callable[[tuple[int, ...], int], Iterator[Case]]] = {"features.radial_background": fed_radial_background}
