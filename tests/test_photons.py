"""Whole photons against outsiders: the formula in exact fractions, and a sequential program of the charge-sharing rule."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from conftest import Target
from scipy.special import ndtr

import gpuredux
from gpuredux.calib import Gain, Photons, SharedPhotons
from gpuredux.calib.photons import WHOLE
from gpuredux.status import Pixel

LIMITS = {"uint8": (0, 255), "uint16": (0, 65535), "int32": (-(2**31) + 1, 2**31 - 1), "float32": (-(2**24), 2**24)}


@pytest.mark.parametrize("dtype", WHOLE)
def test_floor_in_exact_fractions(target: Target, dtype: str) -> None:
    """photon_energy 0.5 and offset 0.5 leave float32's own rounding of energy * 2 + 0.5 alone: beside 2**23, where a sum rounds, there is none."""
    k = np.concatenate([np.arange(-30, 300, 0.125), np.arange(65500, 65600, 0.125), 2.0 ** np.arange(3, 40), -(2.0 ** np.arange(3, 40))])
    energy = (k[np.abs(k) != 2.0**22] / 2).astype(np.float32)[None]
    photons, status = (target.get(a)[0] for a in Photons(0.5, dtype=dtype, status=True)(target.put(energy)))
    exact = [floor(Fraction(float(e)) * 2 + Fraction(1, 2)) for e in energy[0]]
    low, high = LIMITS[dtype]
    assert photons.tolist() == [min(max(n, low), high) for n in exact]
    saturated = np.array([n >= high or (low < 0 and n <= low) for n in exact])
    assert saturated.any() and np.array_equal(status, np.where(saturated, Pixel.SATURATED, 0))


def test_the_rounding_of_12_keV(target: Target) -> None:
    """floor((E + 6.2) / 12.4) in float64 of the same energies, except where this lies within float32's rounding of a whole number."""
    energy = np.random.default_rng(7).uniform(-30, 5000, (1, 100000)).astype(np.float32)
    exact = (energy[0].astype(np.float64) + 6.2) / 12.4
    near = np.abs(exact - np.rint(exact)) < 2.0**-22 * np.maximum(np.abs(exact), 1)
    photons = target.get(Photons(12.4, dtype="int32")(target.put(energy)))[0]
    assert near.mean() < 1e-3 and np.array_equal(photons[~near], np.floor(exact)[~near])
    assert (np.abs(photons - exact)[near] < 1.001).all()


def test_numbers_that_are_none(target: Target) -> None:
    """NaN and -Inf are masked, Inf is saturated, a status that was given stays, and nothing wraps."""
    energy = np.array([[np.nan, -np.inf, np.inf, 65534.4, 65534.6, 3e38, -3e38, 7, 7, 7, np.nan, 9]], np.float32)
    given = np.array([[0, 0, 0, 0, 0, 0, 0, 8, 2, 10, 2, 0]], np.uint8)
    out = Photons(1.0, status=True)(target.put(energy), target.put(given), frame_status=target.put(np.zeros(1, np.uint32)))
    photons, status, frame = (target.get(a)[0] for a in out)
    assert photons.tolist() == [0, 0, 65535, 65534, 65535, 65535, 0, 0, 65535, 0, 65535, 9]
    assert status.tolist() == [8, 8, 2, 0, 2, 2, 0, 8, 2, 10, 2, 0] and frame == Pixel.SATURATED


def test_photons_of_a_real_jungfrau_frame(target: Target, real) -> None:
    """Raw words to photons in one chain: PSI's own photons, rounded. On a device one pass over memory."""
    file = "jungfrau_m049_raw_to_photons.h5"
    raw, conv, pedestal, k0 = real(file, "raw")[:1], real(file, "conv")[0], real(file, "ped"), real(file, "k_g0")
    k = np.zeros(pedestal.shape)
    k[0] = k0
    for plane, name in ((1, "k_g1"), (2, "k_g2")):
        k[plane].flat[real(file, name + "_index")] = real(file, name)
    with np.errstate(divide="ignore"):
        chain = gpuredux.Chain([Gain(pedestal, 1 / k, invalid="mask", status=True), Photons(1.0, status=True)])
    plan = chain.plan(raw=target.put(raw), backend=target.backend.name)
    assert len(plan.passes) == (1 if target.backend.kernels else 2)
    out = plan(target.put(raw))
    photons, status = (target.get(a)[0] for a in (out.photons, out.pixel_status))
    clear = (status == 0) & (np.abs(conv % 1 - 0.5) > 1e-4)
    assert clear.mean() > 0.99 and np.array_equal(photons[clear], np.maximum(np.floor(conv + 0.5), 0)[clear])
    assert (photons[conv == 32678] == 65535).all() and (conv == 32678).any()


WRONG = [
    ({"photon_energy": 0}, "photon_energy"), ({"photon_energy": np.nan}, "photon_energy"), ({"photon_energy": -1.0}, "photon_energy"),
    ({"photon_energy": 1e-39}, "photon_energy"), ({"photon_energy": 1.0, "dtype": "int16"}, "dtype"), ({"photon_energy": 1.0, "offset": np.inf}, "offset"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_wrong_fields_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^calib\.photons: {message}"):
        Photons(**fields)


# ----------------------------------------------------------------------------------------------------------- calib.shared_photons
def clouds(rng: np.random.Generator, shape: tuple[int, int], flux: float, noise: float = 0.04, centred: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Photons that fall anywhere (centred: in the middle of a row), each a Gaussian cloud of charge over the 3 x 3 pixels around; the energies of
    the pixels, and their photons."""
    rows, cols = shape
    y, x = rng.uniform(0, [[rows], [cols]], (2, rng.poisson(flux * rows * cols)))
    r, c, sigma = y.astype(int), x.astype(int), 0.2
    if centred:
        y, sigma = r + 0.5, 0.1
    true, energy = np.zeros(shape), np.zeros((rows + 2, cols + 2))
    np.add.at(true, (r, c), 1)
    for dr, dc in np.ndindex(3, 3):
        part = np.prod([ndtr((k + d - u) / sigma) - ndtr((k + d - 1 - u) / sigma) for k, d, u in ((r, dr, y), (c, dc, x))], axis=0)
        np.add.at(energy, (r + dr, c + dc), part)
    return (energy[1:-1, 1:-1] + rng.normal(0, noise, shape)).astype(np.float32), true


def beside(at: tuple[int, int], shape: tuple[int, int]) -> list[tuple[int, int]]:
    r, c = at
    return [(a, b) for a, b in ((r - 1, c), (r, c - 1), (r, c + 1), (r + 1, c)) if 0 <= a < shape[0] and 0 <= b < shape[1]]


def one_by_one(x: np.ndarray, largest_first: bool, fraction: float = 0.9) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """The rule as a sequential program over maxima, in raster order or the largest first; and the pixels that two maxima could want."""
    whole = np.floor(np.maximum(x, 0))
    f = np.where(x > 0, x - whole, np.float32(0)).astype(np.float32)
    above = lambda p, q: (f[p], -p[0], -p[1]) > (f[q], -q[0], -q[1])  # noqa: E731
    maxima = [p for p in map(tuple, np.argwhere(f >= 0.5).tolist()) if all(above(p, q) for q in beside(p, f.shape))]
    wanted: dict[tuple[int, int], int] = {}
    for p in maxima:
        for q in beside(p, f.shape):
            wanted[q] = wanted.get(q, 0) + 1
    used: set[tuple[int, int]] = set()
    for p in sorted(maxima, key=lambda p: (-f[p], p)) if largest_first else maxima:
        free = [q for q in beside(p, f.shape) if q not in used]
        best = max(free, key=lambda q: (f[q], -q[0], -q[1]), default=None)
        if best is not None and np.float32(f[p] + f[best]) >= np.float32(fraction):
            whole[p] += 1
            used.add(best)
    contested = {q for q, times in wanted.items() if times > 1}
    return whole, {p for p in maxima if contested & set(beside(p, f.shape))}


@pytest.mark.parametrize("flux", (0.02, 0.2, 2.0))
def test_pairs_are_those_of_a_program_that_takes_the_largest_first(target: Target, flux: float) -> None:
    """At every pixel, contested or not; on tiles' borders too. In raster order, as LCLS: at every pixel whose neighbours no other maximum wants."""
    energy, _ = clouds(np.random.default_rng(13), (150, 170), flux)
    photons = target.get(SharedPhotons(1.0, rounds=8)(target.put(energy[None])))[0]
    want, contested = one_by_one(energy, True)
    assert np.array_equal(photons, want)
    lcls, _ = one_by_one(energy, False)
    differ = set(map(tuple, np.argwhere(lcls != photons).tolist()))
    assert len(contested) > 5 and differ <= contested and (flux < 2 or differ), "only contested pixels differ, and at high flux some do"


def test_equal_energies_have_one_answer(target: Target) -> None:
    """Eighths of photons: nearly everything is a tie."""
    energy = (np.random.default_rng(14).integers(0, 12, (90, 100)) / 8).astype(np.float32)
    assert np.array_equal(target.get(SharedPhotons(1.0, rounds=8)(target.put(energy[None])))[0], one_by_one(energy, True)[0])


def test_photons_that_two_pixels_share_are_all_found(target: Target) -> None:
    """12 keV photons whose charge spreads along their row, few enough to be alone: a floor finds a quarter of them."""
    energy, true = clouds(np.random.default_rng(15), (512, 512), 0.002, 0.01, centred=True)
    photons = target.get(SharedPhotons(12.4)(target.put(energy[None] * np.float32(12.4))))[0]
    assert abs(photons.sum(dtype=np.float64) / true.sum() - 1) < 0.01 and (photons != true).sum() < 0.02 * true.sum()
    assert np.floor(np.maximum(energy, 0)).sum() < 0.4 * true.sum()


def test_panels_do_not_share(target: Target) -> None:
    energy = np.zeros((1, 2, 3, 4), np.float32)
    energy[0, 0, 2, 1], energy[0, 1, 0, 1] = 0.6, 0.4       # side by side in memory, on two panels
    energy[0, 1, 2, 0], energy[0, 1, 2, 1] = 0.6, 0.4
    photons = target.get(SharedPhotons(1.0, dtype="int32")(target.put(energy)))
    assert np.argwhere(photons).tolist() == [[0, 1, 2, 0]]


def test_a_refused_maximum_asks_again_in_the_next_round(target: Target) -> None:
    """b, smaller, is refused by the neighbour that a wants, too, and takes its second; in one round it cannot."""
    energy = np.zeros((1, 3, 5), np.float32)
    energy[0, 1] = [0.1, 0.8, 0.6, 0.7, 0.5]
    assert target.get(SharedPhotons(1.0)(target.put(energy)))[0, 1].tolist() == [0, 1, 0, 1, 0]
    assert target.get(SharedPhotons(1.0, rounds=1)(target.put(energy)))[0, 1].tolist() == [0, 1, 0, 0, 0]
    masked = np.zeros((1, 3, 5), np.uint8)
    masked[0, 1, 2:4] = 8, 2
    assert target.get(SharedPhotons(1.0)(target.put(energy), target.put(masked)))[0, 1].tolist() == [0, 1, 0, 65535, 0], "0.8 + 0.1"


WRONG_SHARED = [
    ({"fraction": 0.4}, "fraction"), ({"fraction": np.nan}, "fraction"), ({"rounds": 0}, "rounds"), ({"rounds": 9}, "rounds"), ({"dtype": "f4"}, "dtype"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG_SHARED)
def test_wrong_rules_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^calib\.shared_photons: {message}"):
        SharedPhotons(**{"photon_energy": 1.0, **fields})
