"""Whole photons against outsiders: the formula in exact fractions, and a sequential program of the charge-sharing rule."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from conftest import Target

import gpuredux
from gpuredux.calib import Gain, Photons
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
