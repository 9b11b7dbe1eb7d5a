"""Inputs of features.droplet_photons, contrast and correlate: charge shared in all ways, ties, regions of one pixel, batches that begin anywhere in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded
from .cases_binning import ODD
from .cases_peaks import radius_of

ADU = 160.0     # of one photon


def rings_of(rng: np.random.Generator, shape: tuple[int, ...], bins: int = 5, around: int = 1) -> features.Rings:
    """Some regions, of which the first has no pixel, if there are several."""
    azimuth = rng.uniform(-180, 180, shape) if around > 1 else None
    limits = (0.0 if bins == 1 else -0.3 * max(shape[-2:]), 0.8 * max(shape[-2:]))
    return features.Rings.from_position(radius_of(shape), bins, limits, rng.random(shape) > 0.05, azimuth, around)


def marks_of(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> np.ndarray:
    """Mostly 0; of every fifth frame no pixel is left."""
    status = rng.choice(np.array([0] * 20 + [1, 2, 128], np.uint8), (n, *shape))
    status[4::5] = 16
    return status


# ----------------------------------------------------------------------------------------------- features.droplet_photons
def charge(rng: np.random.Generator, n: int, shape: tuple[int, ...], kind: str, density: float) -> np.ndarray:
    """Photons whose charge goes to up to four pixels, some at the panel's ends; one about a dark pixel; of some frames fractions that tie, and a blob."""
    rows, cols = shape[-2:]
    frames = np.zeros((n, int(np.prod(shape[:-2])), rows, cols))
    for f in range(n):
        for _ in range(rng.poisson(density * np.prod(shape))):
            p, r, c = rng.integers(0, frames.shape[1]), rng.integers(0, rows), rng.integers(0, cols)
            down, across = (int(k) for k in rng.choice([-1, 0, 1], 2))
            a, b = (rng.choice([0.0, 0.25, 0.5, rng.random() / 2], 2)) if f % 3 < 2 else (0.25, 0.25)
            for dr, dc, part in ((0, 0, (1 - a) * (1 - b)), (down, 0, a * (1 - b)), (0, across, (1 - a) * b), (down, across, a * b)):
                if 0 <= r + dr < rows and 0 <= c + dc < cols:
                    frames[f, p, r + dr, c + dc] += part * ADU * rng.choice([1, 1, 1, 3.6])
        if f % 3 == 1:
            frames[f, 0, : rows // 2, : cols // 2] += rng.choice([0.3, 0.5, 0.75, 1.25], (rows // 2, cols // 2)) * ADU
    if n and rows > 8:
        frames[0, -1, -6:, -6:] = 0
        frames[0, -1, -5:-2, -5:-2] = [[22, 22, 22], [22, 0, 22], [22, 45, 23]]
    frames = frames.reshape(n, *shape)
    if kind != "float32":
        return np.clip(np.rint(frames), 0, np.iinfo(kind).max).astype(kind)
    values = (frames + (np.arange(n) % 3 == 2).reshape(-1, *[1] * len(shape)) * rng.normal(0, 4, frames.shape)).astype(np.float32)
    spoiled = rng.random(values.shape) < 0.003
    values[spoiled] = rng.choice(ODD, int(spoiled.sum()))
    return values


# Kernels are compiled for two kinds of input; each case is of one of them.
def droplet_case(name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, density: float = 0.03, **fields: Any) -> Case:
    """With rows: words, marks, a mask, live, eight neighbours, a map of bytes; without: none of these."""
    rng, every = seeded(f"droplet photons {name}"), rows is not None
    inputs = {"energy": charge(rng, n, shape, "uint16" if every else "float32", density), "frame_status": frame_bits(n)}
    given = {"threshold": 40.0, "threshold_low": 20.0, "aduspphot": ADU, "max_photons": 200, **fields}
    if every:
        inputs["pixel_status"] = marks_of(rng, n, shape)
        given |= {"good": rng.random(shape) > 0.03, "connectivity": 8, "dtype": "uint8"}
    return Case(name, features.DropletPhotons(**given), {**inputs, **live_of(rows)})


def droplet_photons() -> Iterator[Case]:
    yield droplet_case("shared", (19, 37))
    yield droplet_case("panels", (2, 19, 37), 4)
    yield droplet_case("panels-live", (2, 19, 37), 5, 4)
    yield droplet_case("nobody-live", (19, 37), 4, -1)
    yield droplet_case("many in few pixels", (5, 6), 3, 9, density=4.0, max_photons=4096, aduspphot=3.0)
    yield droplet_case("more than fit", (19, 37), 4, density=0.2, max_photons=7)
    yield droplet_case("few of a droplet", (19, 37), 3, 3, offset=0.0, min_pix=2, max_pix=6, min_adu=100.0)
    yield droplet_case("nearly one", (19, 37), offset=0.9, density=0.1)
    yield droplet_case("too many strong", (19, 37), 3, 3, max_strong=25)
    yield droplet_case("one-pixel", (1, 1), 4, density=3.0)
    yield droplet_case("empty", (5, 6), 0)
    yield droplet_case("dead", (5, 6), 3, 0)


def sized_droplet_photons(shape: tuple[int, ...], n: int) -> Case:
    frames = seeded("sized droplet photons").normal(0, 5, (n, *shape)).astype(np.float32)
    flat = frames.reshape(n, -1)
    for f in range(n):
        at = seeded(f"photons at {f}").integers(0, flat.shape[1] - 2, flat.shape[1] // 100 + 1)
        flat[f, at] += 100
        flat[f, at + 1] += 60
    return Case("one photon a hundred pixels", features.DropletPhotons(40.0, 25.0, aduspphot=ADU, max_photons=2**17), {"energy": frames})


# ------------------------------------------------------------------------------------------------------ features.contrast
def contrast_case(name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, mean: float = 0.5, bins: int = 5, around: int = 1,
                  **fields: Any) -> Case:
    """With rows: bytes, marks, live; without: words."""
    rng, kind = seeded(f"contrast {name}"), "uint16" if rows is None else "uint8"
    photons = rng.poisson(rng.gamma(2, mean / 2, (n, *shape))).astype(np.int64)
    if n > 2:
        photons[1] = 0
        photons[2, ..., ::3] = rng.choice([1, 2, 254, np.iinfo(kind).max], photons[2, ..., ::3].shape)
    inputs = {"photons": np.minimum(photons, np.iinfo(kind).max).astype(kind), **({} if rows is None else {"pixel_status": marks_of(rng, n, shape)})}
    return Case(name, features.Contrast(rings_of(rng, shape, bins, around), **fields), {**inputs, **live_of(rows)})


def contrast() -> Iterator[Case]:
    yield contrast_case("words", (19, 37))
    yield contrast_case("bytes", (2, 19, 37), 6, 5, 3.0)
    yield contrast_case("two-dimensions", (2, 19, 37), 4, bins=3, around=4, most=2)
    yield contrast_case("most", (19, 37), 5, 9, 40.0, bins=1, most=254)
    yield contrast_case("one-pixel", (1, 1), 4, bins=1)
    yield contrast_case("hardly a photon", (5, 6), 2, mean=1e-3)
    yield contrast_case("empty", (5, 6), 0)
    yield contrast_case("dead", (5, 6), 3, 0)


def sized_contrast(shape: tuple[int, ...], n: int) -> Case:
    photons = seeded("sized contrast").poisson(0.05, (n, *shape)).astype(np.uint16)
    return Case("5 of a hundred pixels, 50 rings", features.Contrast(features.Rings.from_position(radius_of(shape, (0.5, 0.5)), 50)), {"photons": photons})


# ----------------------------------------------------------------------------------------------------- features.correlate
# Kernels are compiled for words alone, and for float32 and int32 with marks, live and status.
def correlate_case(name: str, shape: tuple[int, ...], n: int, rows: int | None = None, kind: str = "uint16", before: int = 0, bins: int = 5,
                   **fields: Any) -> Case:
    """A batch behind `before` frames, whose state is whatever a state can be."""
    rng = seeded(f"correlate {name}")
    op = features.Correlate(rings_of(rng, shape, bins), **{"num_levels": 3, "num_bufs": 4, **fields})
    if kind == "float32":
        frames = rng.normal(3, 40, (n, *shape)).astype(np.float32)
        spoiled = rng.random(frames.shape) < 0.02
        frames[spoiled] = rng.choice(ODD, int(spoiled.sum()))
    else:
        frames = rng.poisson(0.8, (n, *shape)).astype(kind)
        odd = rng.random(frames.shape) < 0.02
        frames[odd] = rng.choice(np.array([np.iinfo(kind).min, np.iinfo(kind).max], kind), int(odd.sum()))
    inputs = {"energy": frames, **op.start()}
    if before:
        inputs["g2_frames"][0] = before
        for level, history in enumerate(inputs["g2_history"]):      # the latest are there
            for s in range(min(before >> level, op.num_bufs - 1)):
                history[-1 - s] = rng.choice(np.array([-(2**31), -op.most << level, 0, 1, 7, op.most << level]), history.shape[1])
        inputs["g2_product"][0] = rng.choice([0, 1, 2**32 - 1], inputs["g2_product"][0].shape)
        for sums in (inputs["g2_product"][1], inputs["g2_past"], inputs["g2_future"]):
            sums[...] = rng.choice([0, -1, 2**40, -(2**62)], sums.shape)
        inputs["g2_pairs"][...] = 2**40
    if kind != "uint16":
        inputs["pixel_status"] = marks_of(rng, n, shape)
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, {**inputs, **live_of(rows)})


def correlate() -> Iterator[Case]:
    yield correlate_case("words", (19, 37), 12)
    yield correlate_case("words-late", (2, 19, 37), 9, before=2**40 + 3)
    yield correlate_case("float-late", (2, 19, 37), 7, 9, "float32", 21, num_levels=16, num_bufs=2)
    yield correlate_case("float-live", (19, 37), 9, 7, "float32", 6)
    yield correlate_case("whole-late", (19, 37), 17, 16, "int32", 5, num_bufs=10)
    yield correlate_case("whole-live", (19, 37), 6, -1, "int32", 1, num_levels=2, num_bufs=6)
    yield correlate_case("one level, large region", (131, 57), 8, num_levels=1, num_bufs=8, bins=1, before=3)
    yield correlate_case("one-pixel", (1, 1), 9, bins=1, before=2)
    yield correlate_case("empty", (5, 6), 0, before=7)
    yield correlate_case("dead", (5, 6), 3, 0, "float32", 6)


def sized_correlate(shape: tuple[int, ...], n: int) -> Case:
    op = features.Correlate(features.Rings.from_position(radius_of(shape, (0.5, 0.5)), 50))
    return Case("8 levels of 8, 50 rings", op, {"energy": seeded("sized correlate").poisson(0.05, (n, *shape)).astype(np.uint16), **op.start()})


MAKERS: dict[str, Any] = {"features.droplet_photons": (droplet_photons, sized_droplet_photons), "features.contrast": (contrast, sized_contrast),
                          "features.correlate": (correlate, sized_correlate)}


def cases_of(name: str) -> Iterator[Case]:
    yield from MAKERS[name][0]()


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    case: Case = MAKERS[name][1](shape, n)
    return case
