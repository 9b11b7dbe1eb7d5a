"""Inputs of features.azimuthal_integrate: rings of no pixel, of one and of many, whatever can be wrong with a pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded
from .cases_peaks import bragg, radius_of


def azimuthal_case(
    name: str, shape: tuple[int, ...], n: int = 5, rows: int | None = None, kind: str = "uint16", bins: int = 20, around: int = 1, weighted: bool = False,
    status: bool = False, **fields: object,
) -> Case:
    rng = seeded(f"azimuthal {name}")
    azimuth = rng.uniform(-180, 180, shape) if around > 1 else None
    rings = features.Rings.from_position(radius_of(shape), bins, (2.0, 40.0), rng.random(shape) > 0.05, azimuth, around)
    weight = rng.uniform(0.001, 120, shape).astype(np.float32) if weighted else None
    inputs = {"energy": bragg(rng, n, shape, kind, 20.0, 5)}
    if kind in ("uint32", "int32") and n:
        inputs["energy"][:, ..., ::5] = np.iinfo(kind).max
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 10 + [1, 2, 128], np.uint8), (n, *shape))
        inputs["frame_status"] = frame_bits(n)
    return Case(name, features.AzimuthalIntegrate(rings, weight, **fields), {**inputs, **live_of(rows)})


def azimuthal_integrate() -> Iterator[Case]:
    for k, kind in enumerate(("uint16", "float32", "int32", "uint8", "int16", "uint32")):
        yield azimuthal_case(kind, (37, 53), kind=kind, status=k % 2 == 0, error_model="poisson")
    yield azimuthal_case("weights", (37, 53), 4, weighted=True, error_model="poisson")
    yield azimuthal_case("weights-float", (2, 24, 40), 9, 7, "float32", weighted=True, status=True)
    yield azimuthal_case("float-status", (37, 53), 3, -1, "float32", status=True, error_model="poisson", unit=2.0**-16)
    yield azimuthal_case("two-dimensions", (2, 24, 40), 2, bins=7, around=9, weighted=True)
    yield azimuthal_case("more-rings-than-16-bits", (5, 7), 3, bins=300, around=300, status=True)
    yield azimuthal_case("one-pixel", (1, 1), 2, bins=1, weighted=True)
    yield azimuthal_case("larger", (131, 257), 17, 20, "float32", bins=100, status=True)
    yield azimuthal_case("empty", (24, 17), 0)
    yield azimuthal_case("dead", (24, 17), 3, 0)


def sized_azimuthal_integrate(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    frames = seeded("sized azimuthal").poisson(20.0, (n, *shape)).astype(np.uint16)
    rings = features.Rings.from_position(radius_of(shape, (0.5, 0.5)), 1000)
    return Case("uint16, 1000 bins", features.AzimuthalIntegrate(rings), {"energy": frames})


def sigma_clip_case(name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, kind: str = "uint16", weighted: bool = False, status: bool = False,
                    bins: int = 12, **fields: object) -> Case:
    rng = seeded(f"sigma clip {name}")
    rings = features.Rings.from_position(radius_of(shape), bins, (1.0, 30.0), rng.random(shape) > 0.05)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32) if weighted else None
    inputs = {"energy": bragg(rng, n, shape, kind, 20.0, 8)}
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 10 + [1, 2, 128], np.uint8), (n, *shape))
    return Case(name, features.SigmaClip(rings, weight, **fields), {**inputs, **live_of(rows)})


def sigma_clip() -> Iterator[Case]:
    for k, kind in enumerate(("uint16", "float32", "int32", "uint8", "int16", "uint32")):
        yield sigma_clip_case(kind, (37, 53), kind=kind, status=k % 2 == 0, threshold=3.0)
    yield sigma_clip_case("poisson", (2, 24, 40), 5, 4, weighted=True, error_model="poisson", threshold=0.0)
    yield sigma_clip_case("poisson-negative", (37, 53), kind="float32", error_model="poisson")
    yield sigma_clip_case("weights", (37, 53), 2, kind="float32", weighted=True, threshold=0.0, max_iter=3)
    yield sigma_clip_case("no-round", (24, 17), max_iter=0)
    yield sigma_clip_case("larger than SHARED", (131, 257), 1, weighted=True, bins=1, threshold=2.0, status=True)
    yield sigma_clip_case("one-pixel", (1, 1), 2)
    yield sigma_clip_case("empty", (24, 17), 0)
    yield sigma_clip_case("dead", (24, 17), 3, 0)


def sized_sigma_clip(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_azimuthal_integrate(shape, n, scattered)
    return Case(source.name, features.SigmaClip(source.op.rings), source.inputs)
