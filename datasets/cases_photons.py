"""Nasty inputs of calib.photons and calib.shared_photons: halves, ends of the types, NaN and Inf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import calib
from gpuredux.calib.photons import WHOLE

from .case import FILLED, FRAMES, ROWS, Case, frame_bits, live_of, seeded, spots

STATUS = np.array([0] * 30 + [1, 2, 4, 8, 16, 10, 128, 255], np.uint8)


def photon_pool(op: Any) -> np.ndarray:
    """Energies where a number of photons may slip: every half and whole, a float32 below and above it, the ends of all types, no numbers."""
    k = np.concatenate([np.arange(-3, 20), [254, 255, 256, 65534, 65535, 65536, 2**23, 2**24 - 1, 2**24, 2**24 + 2, 2**30, 2**31, 2**32]])
    with np.errstate(over="ignore"):
        at = ((np.concatenate([k, -k]) - getattr(op, "offset", 0.0)) * op.photon_energy).astype(np.float32)
        around = np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf)), at + np.float32(0.5 * op.photon_energy)])
    return np.append(around, np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-39, 3.4e38, -3.4e38], np.float32))


def photon_energies(rng: np.random.Generator, op: Any, n: int, frame: tuple[int, ...]) -> np.ndarray:
    npix = int(np.prod(frame))
    pool = photon_pool(op)
    energy = (rng.poisson(0.7, (n, npix)) * op.photon_energy + rng.normal(0, 0.2 * op.photon_energy, (n, npix))).astype(np.float32)
    for f in range(n):
        where = spots(rng, npix)
        energy[f, where] = rng.choice(pool, where.size)
        if f % 3 == 1:
            energy[f] = rng.choice(pool, npix)
    return energy.reshape(n, *frame)


def photon_case(name: str, frame: tuple[int, ...], n: int, rows: int | None, given: str = "", op: type = calib.Photons, **fields: Any) -> Case:
    """given: which of bits (pixel_status in), status (out), frame are there."""
    rng = seeded(name)
    made = op(**{"photon_energy": 12.4, "status": "status" in given, **fields})
    inputs = {"energy": photon_energies(rng, made, n, frame), **live_of(rows)}
    if "bits" in given:
        inputs["pixel_status"] = rng.choice(STATUS, (n, *frame))
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, made, inputs)


def photons() -> Iterator[Case]:
    for i, frame in enumerate(FRAMES):
        n, rows = FILLED[i % 4]
        dtype, given = (("uint8", "bits status frame"), ("uint16", ""), ("int32", "bits frame"), ("float32", "status"))[(i + i // 4) % 4]
        yield photon_case(f"{dtype}-{frame}-{n}-live{rows}", frame, n, rows, given, dtype=dtype)
    for n, rows in ROWS:
        yield photon_case(f"rows-{n}-live{rows}", (4, 10), n, rows, "bits status frame", dtype="int32")
    for dtype in WHOLE:
        for value, offset in ((1.0, 0.5), (0.3, 0.0), (2.0**-20, 0.75)):
            yield photon_case(f"{dtype}-{value}-{offset}", (24, 17), 9, None, "bits status frame", photon_energy=value, offset=offset, dtype=dtype)
    yield photon_case("huge photons", (3, 5), 9, None, "", photon_energy=2.0**100, offset=-0.0)
    yield photon_case("a negative offset", (3, 5), 9, None, "status", offset=-1e6, dtype="float32")


def fed_photons(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    """One type that saturates and wraps easily, with all outputs; one that is bare."""
    yield Case("uint8", calib.Photons(0.37, dtype="uint8", status=True), {})
    if frame in ((24, 17), (16, 40)):
        yield Case("float32", calib.Photons(1.0, 0.25, dtype="float32"), {})


def sized_photon_energy(shape: tuple[int, ...], n: int) -> np.ndarray:
    """A photon in every third pixel, with noise, and few bright ones."""
    rng = seeded("sized photons")
    few = (rng.poisson(0.3, 1 << 18) * 12.4 + rng.normal(0, 1, 1 << 18)).astype(np.float32)
    few[rng.integers(0, few.size, 200)] = 12.4 * 3000
    return np.stack([np.resize(np.roll(few, 977 * f), shape) for f in range(n)])


def sized_photons(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("uint16 photons of 12.4 keV", calib.Photons(12.4), {"energy": sized_photon_energy(shape, n), "frame_status": np.zeros(n, np.uint32)})


def shared_case(name: str, frame: tuple[int, ...], n: int, rows: int | None, given: str = "", **fields: Any) -> Case:
    """Pixels that share photons with all their neighbours; few values, so that many are equal, in every third frame; and what photon_case has."""
    case = photon_case(name, frame, n, rows, given, calib.SharedPhotons, **fields)
    rng, energy = seeded(f"shared {name}"), case.inputs["energy"]
    unit = case.op.photon_energy
    for f in range(n):
        if f % 3 == 0:
            energy[f] = rng.integers(0, 9, frame) * np.float32(unit / 8)
        elif f % 3 == 2:
            energy[f] = rng.random(frame) * np.float32(2 * unit)
    return case


def shared_photons() -> Iterator[Case]:
    for i, frame in enumerate(FRAMES):
        n, rows = FILLED[i % 4]
        dtype, given = (("uint8", "bits status frame"), ("uint16", ""), ("int32", "bits status frame"), ("uint16", ""))[(i + i // 4) % 4]
        if frame != (131, 257):
            yield shared_case(f"{dtype}-{frame}-{n}-live{rows}", frame, n, rows, given, dtype=dtype)
    for n, rows in ROWS:
        yield shared_case(f"rows-{n}-live{rows}", (4, 10), n, rows, "bits status frame", dtype="uint8")
    for rounds, fraction in ((1, 0.9), (6, 2.0), (8, 0.5)):
        yield shared_case(f"{rounds}-rounds-{fraction}", (70, 101), 3, None, "bits status frame", photon_energy=1.0, rounds=rounds, fraction=fraction)
    yield shared_case("float32", (24, 17), 6, None, "bits status frame", photon_energy=0.3, dtype="float32")
    chain = np.zeros((1, 3, 70), np.float32)        # maxima in a row, each of which is refused by one side after the other has been
    chain[0, 1, 0::2], chain[0, 1, 1::2] = 0.95 - np.arange(35) / 100, 0.5 - np.arange(35) / 1000
    yield Case("a chain of refusals", calib.SharedPhotons(1.0, 0.5), {"energy": chain})


def sized_shared_photons(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("uint16 photons of 12.4 keV", calib.SharedPhotons(12.4), {"energy": sized_photon_energy(shape, n), "frame_status": np.zeros(n, np.uint32)})
