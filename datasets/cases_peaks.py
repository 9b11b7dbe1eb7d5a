"""Inputs of features.peak_finder8: few pixels a ring, peaks that touch, on borders and corners, flat rings, all that can be wrong with a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded

KINDS = ("uint16", "float32", "int32", "uint8", "int16", "uint32")


def radius_of(shape: tuple[int, ...], at: tuple[float, float] = (0.4, 0.6)) -> np.ndarray:
    """Radii of each panel about a point of its own, as fractions of the panel."""
    rows, cols = (np.arange(k, dtype=np.float32) for k in shape[-2:])
    radius = np.hypot((rows - np.float32(at[0] * shape[-2]))[:, None], (cols - np.float32(at[1] * shape[-1]))[None])
    return np.broadcast_to(radius, shape).astype(np.float32)


def bragg(rng: np.random.Generator, n: int, shape: tuple[int, ...], kind: str, background: float, peaks: int, height: float = 300.0) -> np.ndarray:
    """Poisson background, spots of a few pixels, some at the borders; of some frames nothing but one value."""
    frames = rng.poisson(background, (n, *shape)).astype(np.float64)
    flat = frames.reshape(n, math.prod(shape[:-2]), *shape[-2:])
    rows, cols = shape[-2:]
    for f in range(n):
        for _ in range(peaks):
            p, r, c = rng.integers(0, flat.shape[1]), rng.integers(-1, rows + 1), rng.integers(-1, cols + 1)
            high, wide = rng.uniform(0.02, 1) * height, rng.integers(0, 3)
            for dr in range(-wide, wide + 1):
                for dc in range(-wide, wide + 1):
                    if 0 <= r + dr < rows and 0 <= c + dc < cols:
                        flat[f, p, r + dr, c + dc] += high / (1 + dr * dr + dc * dc)
    if n > 2:
        frames[1] = 7
    top = 254.0 if kind == "uint8" else 3e4
    if kind == "float32":
        frames -= background
        values = frames.astype(np.float32)
        spoiled = rng.random(values.shape) < 0.01
        values[spoiled] = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e9, -1e9, 3e38, -0.0, 1e-40], np.float32), int(spoiled.sum()))
        return values
    return np.clip(np.rint(frames), 0, top).astype(kind)


def peak_case(
    name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, kind: str = "uint16", background: float = 20.0, peaks: int = 12,
    status: bool = False, **fields: object,
) -> Case:
    rng = seeded(f"peaks {name}")
    inputs = {"energy": bragg(rng, n, shape, kind, background, peaks), "frame_status": frame_bits(n)}
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 30 + [1, 2, 128], np.uint8), (n, *shape))
    if fields.pop("without_status", False):
        del inputs["frame_status"]
    given = {"adc_threshold": 20.0, "min_snr": 4.0, "min_pix": 1, "max_pix": 40, "max_num_peaks": 16, "good": rng.random(shape) > 0.03, **fields}
    return Case(name, features.PeakFinder8(radius_of(shape), **given), {**inputs, **live_of(rows)})


def peak_finder8() -> Iterator[Case]:
    for k, kind in enumerate(KINDS):
        yield peak_case(kind, (37, 53), kind=kind, status=k % 2 == 0)
    yield peak_case("panels-live", (2, 24, 40), 5, 4, "float32", status=True)
    yield peak_case("legacy", (2, 24, 40), 5, -1)
    yield peak_case("legacy-all", (2, 24, 40), 4, None, "float32", variant="legacy", unit=2.0**-4)
    yield peak_case("legacy-zero-background", (37, 53), background=0.02, variant="legacy", adc_threshold=5.0)
    yield peak_case("zero-background", (37, 53), background=0.02, adc_threshold=5.0, status=True)
    yield peak_case("no-threshold", (37, 53), background=0.5, adc_threshold=0.0, min_snr=2.0, max_num_peaks=4)
    yield peak_case("asics", (2, 24, 40), panel_shape=(8, 10), background=5.0, peaks=40, min_snr=3.0, max_num_peaks=64)
    yield peak_case("asics-legacy", (2, 24, 40), panel_shape=(8, 10), background=5.0, peaks=40, min_snr=1.5, variant="legacy", adc_threshold=-5.0,
                    kind="float32")
    yield peak_case("too-many", (24, 40), background=3.0, peaks=30, adc_threshold=2.0, min_snr=1.0, max_strong=40)
    yield peak_case("one-pixel", (1, 1), 2)
    yield peak_case("one-row", (1, 70), 2, kind="int16")
    yield peak_case("larger", (131, 257), 2, kind="float32", peaks=60, min_pix=2, local_bg_radius=2, max_num_peaks=200)
    yield peak_case("nothing-good", (24, 17), good=np.zeros((24, 17), bool))
    yield peak_case("empty", (24, 17), 0)
    yield peak_case("dead", (24, 17), 3, 0, without_status=True)


def sized_peak_finder8(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    rng = seeded("sized peaks")
    frames = rng.poisson(20.0, (n, *shape)).astype(np.uint16)
    flat = frames.reshape(n, -1)
    for f in range(n):
        at = rng.integers(0, flat.shape[1] - 2, flat.shape[1] // 20000 + 1)
        flat[f, at], flat[f, at + 1] = 900, 500
    op = features.PeakFinder8(radius_of(shape), 100.0)
    return Case("uint16, 50 peaks a megapixel", op, {"energy": frames})


def droplet_case(
    name: str, shape: tuple[int, ...], n: int = 3, rows: int | None = None, kind: str = "uint16", status: bool = False, masked: bool = False, **fields: object
) -> Case:
    rng = seeded(f"droplets {name}")
    inputs = {"energy": bragg(rng, n, shape, kind, 0.3, 25, 60.0), "frame_status": frame_bits(n)}
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 30 + [1, 2, 128], np.uint8), (n, *shape))
    good = rng.random(shape) > 0.05 if masked else None
    return Case(name, features.Droplets(**{"threshold": 8.0, "threshold_low": 2.5, "good": good, "max_droplets": 32, **fields}), {**inputs, **live_of(rows)})


def droplets() -> Iterator[Case]:
    for k, kind in enumerate(KINDS):
        yield droplet_case(kind, (37, 53), kind=kind, status=k % 2 == 0, masked=k % 3 == 0, connectivity=4 + 4 * (k % 2))
    yield droplet_case("panels-live", (2, 24, 40), 5, 4, "float32", status=True, connectivity=8)
    yield droplet_case("four", (24, 40), 5, -1, min_pix=2, max_pix=5, min_adu=30.0)
    yield droplet_case("more than fit", (64, 80), 2, max_droplets=3, masked=True)
    yield droplet_case("too-many", (24, 40), max_strong=20)
    yield droplet_case("one-pixel", (1, 1), 2, masked=True)
    yield droplet_case("empty", (24, 17), 0)
    yield droplet_case("dead", (24, 17), 3, 0)


def sized_droplets(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    frames = seeded("sized droplets").normal(0, 2, (n, *shape)).astype(np.float32)
    flat = frames.reshape(n, -1)
    for f in range(n):
        at = seeded(f"at {f}").integers(0, flat.shape[1] - 2, flat.shape[1] // 1000 + 1)
        flat[f, at], flat[f, at + 1] = 90, 60
    return Case("one a thousand pixels", features.Droplets(40.0, 14.0, max_droplets=32768), {"energy": frames})
