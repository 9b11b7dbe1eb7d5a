"""Inputs of features.sparsify, features.densify and features.peak_finder_azimuthal: plateaus, rings of one pixel and of none, lists that are too short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded
from .cases_peaks import bragg, radius_of

BINS = 12
# Kernels are compiled for two kinds of input; each case is of one of them.
KINDS: dict[str, dict[str, Any]] = {
    "all": {"kind": "float32", "status": True, "weighted": True, "error_model": "poisson", "rows": 9},
    "plain": {"kind": "uint8"},
}


def above_case(
    op: type, name: str, of_kind: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, frames: np.ndarray | None = None, background: float = 4.0,
    between: bool = True, unused: float = 0.05, **fields: object,
) -> Case:
    given = {**KINDS[of_kind], **fields}
    rng, kind, status = seeded(f"above {name}"), str(given.pop("kind")), given.pop("status", False)
    standing = given.pop("rows", None)
    radius = radius_of(shape)
    rings = features.Rings.from_position(radius, BINS, (0.0, 32.0), rng.random(shape) >= unused)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32) if given.pop("weighted", False) else None
    inputs = {"energy": bragg(rng, n, shape, kind, background, 12, 120.0) if frames is None else frames.astype(kind)}
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 20 + [1, 2, 128], np.uint8), (n, *shape))
    if "frame_status?" in op.inputs and status:
        inputs["frame_status"] = frame_bits(n)
    made = op(rings, radius if between else None, weight, **given)
    return Case(name, made, {**inputs, **live_of(standing if rows is None else rows)})


def plateaus(shape: tuple[int, ...]) -> np.ndarray:
    """Equal pixels beside each other, and from edge to edge; nothing; one value, and what is exactly 1 and 3 above it; the most that a byte holds."""
    frames = np.zeros((4, *shape))
    frames[0, ..., 4:7, 5:9] = 50
    frames[0, ..., 12, :] = 40
    frames[0, ..., 15::4, 20::2] = 30
    frames[2], frames[3] = 3, 255
    frames[2, ..., 2::8, 3::11], frames[2, ..., 5::8, 3::11], frames[2, ..., 5::8, 4::11] = 4, 6, 6
    return frames


def common(op: type) -> Iterator[Case]:
    """What lists of pixels and tables of peaks have in common."""
    yield above_case(op, "panels-live", "all", (2, 19, 37), 4, 3)
    yield above_case(op, "chauvenet", "all", (37, 53), 4, background=20.0, cutoff_clip=0.0)
    yield above_case(op, "whole-pixels", "plain", (37, 53), 3, between=False)
    yield above_case(op, "plateaus", "plain", (2, 19, 37), 4, frames=plateaus((2, 19, 37)))
    yield above_case(op, "one-pixel", "plain", (1, 1), 2, unused=0.0)
    yield above_case(op, "one-row", "all", (1, 70), 2, background=0.5)
    yield above_case(op, "none-in-a-ring", "all", (24, 17), 2, unused=1.1)
    yield above_case(op, "empty", "plain", (24, 17), 0)
    yield above_case(op, "dead", "all", (24, 17), 3, 0)
    yield above_case(op, "larger", "plain", (131, 257), 2, background=1.0)


def sparsify() -> Iterator[Case]:
    yield from common(features.Sparsify)
    yield above_case(features.Sparsify, "more-than-fit", "plain", (37, 53), 3, cutoff_pick=0.0, noise=0.0, max_pixels=37)
    yield above_case(features.Sparsify, "as-high-as-noise", "plain", (37, 53), 4, frames=plateaus((37, 53)), cutoff_pick=0.5)
    yield above_case(features.Sparsify, "all-above", "all", (2, 19, 37), 2, cutoff_pick=0.0, noise=0.0, max_pixels=3000, background=2.0, cycle=0)


def peak_finder_azimuthal() -> Iterator[Case]:
    yield from common(features.PeakFinderAzimuthal)
    yield above_case(features.PeakFinderAzimuthal, "more-than-fit", "plain", (37, 53), 3, cutoff_peak=0.5, noise=0.0, connected=1, max_num_peaks=3)
    yield above_case(features.PeakFinderAzimuthal, "too-many", "all", (24, 40), 2, cutoff_peak=0.0, patch_size=5, max_strong=50)
    flat = {"frames": plateaus((19, 37)), "noise": 0.0, "cutoff_peak": 0.0, "connected": 1, "patch_size": 7}
    yield above_case(features.PeakFinderAzimuthal, "flat", "plain", (19, 37), 4, **flat)


def lists(rng: np.random.Generator, n: int, cap: int, npix: int, dtype: str) -> dict[str, np.ndarray]:
    """Pixels each once, of which one lies beyond the frame; counts below 0, 0, some, all and more than there are."""
    index = np.zeros((n, cap), np.uint32)
    for f in range(n):
        index[f] = np.sort(rng.permutation(max(npix, cap) + 2)[:cap])
    index[:, -1:] = 0xFFFFFFFF if n % 2 else npix
    value = rng.integers(0, 200, (n, cap)).astype(dtype)
    if dtype == "float32" and n:
        value[:, ::3] = rng.choice(np.array([np.nan, np.inf, -0.0, 1e-40, -3e38], np.float32), value[:, ::3].shape)
    count = np.resize(np.array([cap // 2, cap, cap + 9, 0, -3], np.int32), n)
    return {"sparse_index": index, "sparse_value": value, "sparse_count": count}


def densify_case(name: str, shape: tuple[int, ...], n: int, dtype: str, rows: int | None = None, numbered: bool = False, weighted: bool = False, cap: int = 40,
                 between: bool = True, **fields: object) -> Case:
    rng = seeded(f"densify {name}")
    radius, npix = radius_of(shape), int(np.prod(shape))
    rings = features.Rings.from_position(radius, BINS, (0.0, 32.0), rng.random(shape) >= 0.05)
    mean, std = rng.uniform(-3, 300, (n, BINS)).astype(np.float32), rng.uniform(0, 40, (n, BINS)).astype(np.float32)
    for curve in (mean, std):
        curve[rng.random(curve.shape) < 0.15] = np.nan
        curve[rng.random(curve.shape) < 0.05] = 3e38
    inputs = {**lists(rng, n, min(cap, npix), npix, dtype), "background_mean": mean, "background_std": std}
    if numbered:
        inputs["pulse_id"] = rng.integers(0, 2**64, n, dtype=np.uint64)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32) if weighted else None
    return Case(name, features.Densify(rings, radius if between else None, weight, **fields), {**inputs, **live_of(rows)})


def densify() -> Iterator[Case]:
    yield densify_case("u16", (37, 53), 5, "uint16", seed=2**63 + 5, fill=65535)
    yield densify_case("u16-larger", (64, 80), 2, "uint16", between=False, cutoff=0.5)
    every = {"dtype": "int32", "numbered": True, "weighted": True}
    yield densify_case("i32", (2, 19, 37), 5, rows=3, fill=-1, least=-np.inf, cutoff=np.inf, **every)
    yield densify_case("i32-live", (24, 17), 3, rows=9, fill=-2147483648, **every)
    yield densify_case("f32-no-noise", (37, 53), 5, "float32", seed=None, fill=np.nan, least=-5.0)
    yield densify_case("one-pixel", (1, 1), 3, "uint16", cap=1)
    yield densify_case("empty", (24, 17), 0, "uint16")
    yield densify_case("dead", (24, 17), 3, rows=0, **every)


def sized(op: type, shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """1.3 counts a pixel and 50 peaks a megapixel, 800 bins as sparsify-Bragg has."""
    rng, radius = seeded("sized above"), radius_of(shape, (0.5, 0.5))
    frames = rng.poisson(1.3, (n, *shape)).astype(np.uint16)
    flat = frames.reshape(n, -1)
    for f in range(n):
        at = rng.integers(0, flat.shape[1] - 2, flat.shape[1] // 20000 + 1)
        flat[f, at], flat[f, at + 1] = 90, 50
    rings = features.Rings.from_position(radius, 800)
    if op is not features.Densify:
        return Case("1.3 counts a pixel and peaks", op(rings, radius), {"energy": frames})
    made = features.Sparsify(rings, radius)(frames, backend="numba")._asdict()
    return Case("1.3 counts a pixel and peaks", op(rings, radius), {k: made[k] for k in op.inputs if k in made})


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "features.sparsify": sparsify, "features.peak_finder_azimuthal": peak_finder_azimuthal, "features.densify": densify,
}
SIZED: dict[str, Any] = {
    f"features.{k}": partial(sized, op)
    for k, op in (("sparsify", features.Sparsify), ("peak_finder_azimuthal", features.PeakFinderAzimuthal), ("densify", features.Densify))
}
