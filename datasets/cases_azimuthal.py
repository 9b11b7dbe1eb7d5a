"""Inputs of features.azimuthal_integrate, azimuthal_median and sigma_clip: rings of no pixel, of one and of many, whatever can be wrong with a pixel."""

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


def corners_of(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Radius and azimuth of pixels' corners; the beam lies within a pixel."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    y = y[..., None] + np.array([0, 1, 1, 0]) - 0.37 * shape[-2] - 0.1
    x = x[..., None] + np.array([0, 0, 1, 1]) - 0.45 * shape[-1] - 0.2
    return np.broadcast_to(np.hypot(y, x), (*shape, 4)), np.broadcast_to(np.degrees(np.arctan2(y, x)), (*shape, 4))


def split_case(name: str, shape: tuple[int, ...], n: int = 5, rows: int | None = None, kind: str = "uint16", bins: int = 20, around: int = 1,
               split: str = "full", limits: tuple[float, float] = (2.0, 30.0), **fields: object) -> Case:
    """As azimuthal_case, of rings that split pixels; what is asked of kernels is the same for all cases of one kind, or they were too many."""
    whole = azimuthal_case(name, shape, n, rows, kind, status=kind != "uint32", weighted=kind != "float32", **fields)
    good = seeded(name).random(shape) > 0.05
    rings = features.SplitRings.from_corners(*corners_of(shape), bins, limits, good, around, split=split)
    return whole._replace(op=features.AzimuthalIntegrate(rings, whole.op.normalisation, **fields))


def split_cases() -> Iterator[Case]:
    yield split_case("split", (37, 53), error_model="poisson")
    yield split_case("split-two-dimensions", (2, 19, 37), 7, 5, "float32", 9, 12, limits=(0.0, 40.0))
    yield split_case("split-azimuthal", (37, 53), 3, kind="uint32", error_model="azimuthal")
    yield azimuthal_case("azimuthal", (37, 53), 5, 4, "float32", status=True, error_model="azimuthal")
    yield split_case("split-fine-bins", (19, 37), 2, bins=90, error_model="poisson")
    yield split_case("split-box", (2, 19, 37), bins=7, split="bbox", error_model="poisson")
    yield split_case("split-two-dimensions-box", (37, 53), 3, 9, "float32", 9, 5, "bbox")
    yield split_case("split-one-pixel", (1, 1), 2, bins=3, limits=(0.0, 1.0), error_model="poisson")
    yield split_case("split-empty", (24, 17), 0, error_model="poisson")


def azimuthal_integrate() -> Iterator[Case]:
    """Those of different kernels first: the ten that PoCL sees."""
    for k, kind in enumerate(("uint16", "float32", "int32")):
        yield azimuthal_case(kind, (37, 53), kind=kind, status=k % 2 == 0, error_model="poisson")
    yield from split_cases()
    for k, kind in enumerate(("uint8", "int16", "uint32")):
        yield azimuthal_case(kind, (37, 53), kind=kind, status=k % 2 == 1, error_model="poisson")
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


def median_case(name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, kind: str = "uint16", bins: int = 12, **fields: object) -> Case:
    rng = seeded(f"median {name}")
    rings = features.Rings.from_position(radius_of(shape), bins, (1.0, 30.0), rng.random(shape) > 0.05)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32) if kind == "float32" else None
    inputs = {"energy": bragg(rng, n, shape, kind, 20.0, 8)}
    if kind == "float32":
        nasty = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 3e38, -3e38, 20.0], np.float32)
        where = rng.random(inputs["energy"].shape) < 0.2
        inputs["energy"][where] = rng.choice(nasty, int(where.sum()))
    elif kind in ("int32", "uint32") and n:
        inputs["energy"][:, ..., ::3] = np.iinfo(kind).max
    if kind != "uint32":
        inputs["pixel_status"] = rng.choice(np.array([0] * 10 + [1, 2, 128], np.uint8), (n, *shape))
        inputs["pixel_status"][n // 2 :, radius_of(shape) < 6] = 4      # the innermost rings of these frames have no pixel
    return Case(name, features.AzimuthalMedian(rings, weight, **fields), {**inputs, **live_of(rows)})


def azimuthal_median() -> Iterator[Case]:
    yield median_case("uint16", (37, 53))
    yield median_case("larger than SHARED", (131, 257), 1, bins=1)
    yield median_case("one-pixel", (1, 1), 2)
    yield median_case("empty", (24, 17), 0)
    yield median_case("first", (19, 37), quantile=0.0)
    yield median_case("last", (19, 37), quantile=1.0)
    yield median_case("weights-float", (2, 19, 37), 5, 4, "float32")
    yield median_case("weights-quarter", (37, 53), 2, 9, "float32", quantile=0.25)
    yield median_case("uint32", (37, 53), kind="uint32", quantile=0.9)
    yield median_case("int16", (37, 53), kind="int16")


def sized_azimuthal_median(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_azimuthal_integrate(shape, n, scattered)
    return Case(source.name, features.AzimuthalMedian(source.op.rings), source.inputs)


CASES = {"features.azimuthal_integrate": azimuthal_integrate, "features.azimuthal_median": azimuthal_median, "features.sigma_clip": sigma_clip}
SIZED = {"features.azimuthal_integrate": sized_azimuthal_integrate, "features.azimuthal_median": sized_azimuthal_median,
         "features.sigma_clip": sized_sigma_clip}
