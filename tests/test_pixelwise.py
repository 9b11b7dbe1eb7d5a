"""The steps that change each pixel, against float64 and NumPy's own polynomials and interpolation; and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target

import gpuredux
from gpuredux.calib import Breakpoint, CommonMode, Gain, LookUp, Polynomial, Scale, StatusCount, Variance
from gpuredux.datasets.cases import CASES
from gpuredux.status import MOST_PLANES, Pixel

SHAPE = (2, 9, 16)
RNG = np.random.default_rng(11)
ENERGY = RNG.normal(0, 300, (4, *SHAPE)).astype(np.float32)
STAGE = RNG.integers(0, 3, ENERGY.shape, dtype=np.uint8)


def on(target: Target, op: gpuredux.Op, **x: np.ndarray) -> np.ndarray:
    result = op(**{k: target.put(v) for k, v in x.items()}, backend=target.backend.name)
    return target.get(result)


def chosen(planes: np.ndarray) -> np.ndarray:
    """planes (3, *SHAPE) at STAGE, in float64."""
    return np.take_along_axis(planes.astype(np.float64)[:, None], STAGE[None].astype(np.intp), axis=0)[0]


def test_scale_is_a_division_by_all_that_was_folded(target: Target) -> None:
    flat, solid = RNG.normal(1, 0.1, SHAPE), RNG.uniform(0.7, 1, SHAPE)
    gains = RNG.normal(40, 1, (3, *SHAPE))
    good = RNG.random(SHAPE) > 0.2
    flat[~good] = 0     # dead in the flat field: masked, so nothing is divided
    op = Scale.folding(SHAPE, divide=[flat, solid, 9.5], multiply=[1 / gains], good=good)
    with np.errstate(divide="ignore"):
        want = np.where(good, ENERGY / chosen(gains) / flat / solid / 9.5, 0)
    assert np.allclose(on(target, op, energy=ENERGY, gain_stage=STAGE), want, rtol=1e-6)
    one = Scale.folding(SHAPE, divide=[solid])
    assert np.allclose(on(target, one, energy=ENERGY), ENERGY / solid, rtol=1e-6)


def test_polynomial_is_numpys(target: Target) -> None:
    c = np.stack([RNG.normal(0, 1, (3, *SHAPE)), RNG.normal(1, 0.1, (3, *SHAPE)), RNG.normal(0, 1e-4, (3, *SHAPE)), RNG.normal(0, 1e-7, (3, *SHAPE))], axis=1)
    x = ENERGY.astype(np.float64)
    want = sum(chosen(c[:, t]) * x**t for t in range(4))
    scale = sum(np.abs(chosen(c[:, t]) * x**t) for t in range(4))
    assert (np.abs(on(target, Polynomial(c), energy=ENERGY, gain_stage=STAGE) - want) <= 4e-7 * scale).all()


def test_breakpoint_is_continuous_and_has_two_slopes(target: Target) -> None:
    knee, low, high = RNG.normal(50, 20, (1, *SHAPE)), RNG.normal(1, 0.1, (1, *SHAPE)), RNG.normal(0.4, 0.1, (1, *SHAPE))
    want = np.where(ENERGY <= knee, ENERGY * low, low * knee + (ENERGY - knee) * high)
    assert np.allclose(on(target, Breakpoint(knee, low, high), energy=ENERGY), want, rtol=1e-5, atol=1e-4)


def test_look_up_interpolates_and_reads_every_adc(target: Target) -> None:
    tables = np.cumsum(RNG.random((1, 4, 101)), axis=2)
    which = RNG.integers(0, 4, SHAPE, dtype=np.uint8)
    x = RNG.uniform(-50, 150, ENERGY.shape).astype(np.float32)
    got = on(target, LookUp(tables, which, start=-50, step=2.0), energy=x)
    for t in range(4):
        at = np.broadcast_to(which == t, x.shape)
        assert np.allclose(got[at], np.interp(x[at], -50 + 2.0 * np.arange(101), tables[0, t]), rtol=1e-5)
    adc = np.arange(16384, dtype=np.uint16).reshape(1, 128, 128)
    response = np.sqrt(np.arange(16384.0)).astype(np.float32)[None, None]
    words = Gain(np.zeros((3, 128, 128)), np.ones((3, 128, 128)), adu=True)
    chain = gpuredux.Chain([words, LookUp(response, np.zeros((128, 128), np.uint8))], keep=["energy"])
    got = target.get(chain(raw=target.put(adc), backend=target.backend.name))
    adc_kept = adc != 0x4000
    assert np.array_equal(got[adc_kept], response[0, 0][adc[adc_kept]])     # not a bit lost: an integrating detector's own table


def test_look_up_goes_on_straight_beyond_its_ends(target: Target) -> None:
    op = LookUp(np.array([[[1.0, 3.0, 4.0]]]), np.zeros((1, 3), np.uint8))
    assert np.array_equal(on(target, op, energy=np.array([[[-2.0, 2.0, 5.0]]], np.float32)), [[[-3.0, 4.0, 7.0]]])


def test_the_most_planes_are_all_read(target: Target) -> None:
    """Each stage its own plane, and the last one for stages beyond: 32 is more than np.choose takes of NumPy 1."""
    rng = np.random.default_rng(13)
    stage = rng.permutation(np.resize(np.arange(256, dtype=np.uint8), ENERGY.size)).reshape(ENERGY.shape)
    at = (np.minimum(stage, MOST_PLANES - 1), *np.indices(SHAPE))
    p, q = rng.normal(1, 0.1, (2, MOST_PLANES, *SHAPE)).astype(np.float32)
    x = ENERGY.astype(np.float64)
    table, which = rng.normal(1, 0.1, (MOST_PLANES, 2, 3)).astype(np.float32), rng.integers(0, 2, SHAPE, dtype=np.uint8)
    a, b, c = (table[at[0], which, k].astype(np.float64) for k in range(3))
    for op, want in (
        (Scale(p), x * p[at]), (Polynomial(np.stack([p, q], axis=1)), p[at] + q[at] * x), (Variance(np.abs(p)), p[at].astype(np.float64) ** 2),
        (Breakpoint(np.zeros_like(p), p, q), np.where(x > 0, q[at], p[at]) * x),
        (LookUp(table, which, start=-1000.0, step=1000.0), np.where(x < 0, b - (a - b) * x / 1000, b + (c - b) * x / 1000)),
    ):
        assert np.allclose(on(target, op, energy=ENERGY, gain_stage=stage), want, rtol=1e-5, atol=1e-4), op.name


@pytest.mark.parametrize("count", (0, MOST_PLANES + 1))
def test_planes_are_limited_alike(count: int) -> None:
    one, words = np.ones((count, 2, 2)), f"1 to 32 planes, one for all gain stages or one for each, got \\({count}, "
    for make in (lambda: Scale(one), lambda: Polynomial(one[:, None].repeat(2, axis=1)), lambda: Breakpoint(one, one, one), lambda: Variance(one),
                 lambda: Variance(one[:, None], cells=1), lambda: LookUp(np.ones((count, 1, 2)), np.zeros((2, 2), np.uint8)),
                 lambda: CommonMode((2, 2), gain=one)):
        with pytest.raises(ValueError, match=words):
            make()


def test_pixels_with_a_status_stay(target: Target) -> None:
    status = RNG.integers(0, 2, ENERGY.shape, dtype=np.uint8) * np.uint8(Pixel.SATURATED)
    for op in (Scale(np.full((1, *SHAPE), 2.0)), Polynomial(np.ones((1, 3, *SHAPE))), Breakpoint(*np.full((3, 1, *SHAPE), 2.0))):
        got = on(target, op, energy=ENERGY, pixel_status=status)
        assert np.array_equal(got[status != 0], ENERGY[status != 0]) and (got[status == 0] != ENERGY[status == 0]).any(), op.name


def test_variance_is_that_of_simulated_frames(target: Target) -> None:
    """20,000 frames of pixels with noise and photons: their scatter is what the op says, to 2 %."""
    photon, gain, noise, mean = 8.0, 40.0, 20.0, np.array([0.0, 0.5, 3.0, 40.0])
    rng = np.random.default_rng(12)
    frames = rng.poisson(mean, (20000, 4)) * photon + rng.normal(0, noise / gain, (20000, 4))
    op = Variance(np.full((1, 1, 4), noise), np.full((1, 1, 4), gain), quantum=photon)
    told = on(target, op, energy=(mean * photon).astype(np.float32).reshape(1, 1, 4))
    assert np.allclose(told[0, 0], frames.var(axis=0), rtol=0.03)


def test_status_count_counts(target: Target) -> None:
    status = RNG.integers(0, 256, ENERGY.shape, dtype=np.uint8)
    got = on(target, StatusCount(), energy=ENERGY, pixel_status=status)
    want = [[sum(int(s) >> b & 1 for s in frame.ravel()) for b in range(8)] for frame in status]
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("calib.")])
def test_numpy_methods_warn_of_nothing(name: str) -> None:
    """Inf where float32 overflows, NaN of Inf: that is what the ops say they give. In every contract case of the family, which are nasty."""
    ran = 0
    for case in CASES[name]():
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            case.op(**case.inputs, backend="numpy")
        ran += 1
    assert ran > 5


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Scale(np.ones((0, 4))), "1 to 32 planes"), (lambda: Scale(np.ones((33, 4))), "1 to 32 planes"),
    (lambda: Scale(np.ones(5)), r"plane must be \(planes, \*frame\)"), (lambda: Scale(np.full((1, 2, 2), np.nan)), "4 values of plane are not finite"),
    (lambda: Scale.folding((2, 2), divide=[0.0]), "not finite"), (lambda: Scale.folding((2, 2), divide=[np.ones(3)]), "a factor must be"),
    (lambda: Scale.folding((2, 2), good=np.ones((2, 2))), "good must be bool"), (lambda: Polynomial(np.ones((1, 1, 2, 2))), "2 to 6 terms"),
    (lambda: Polynomial(np.full((1, 2, 2, 2), np.inf)), "must be finite"), (lambda: Breakpoint(np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2))), "like knee"),
    (lambda: LookUp(np.ones((1, 1, 1)), np.zeros((2, 2), np.uint8)), "2 to 65536 nodes"),
    (lambda: LookUp(np.ones((1, 1, 2)), np.ones((2, 2), np.uint8)), "below 1, the number of tables"),
    (lambda: LookUp(np.ones((1, 1, 2)), np.zeros((2, 2), np.uint8), step=0.0), "must be above 0"), (lambda: Variance(np.full((1, 2, 2), -1.0)), "0 or more"),
    (lambda: Variance(np.ones((1, 2, 2)), quantum=np.inf), "quantum must be 0 or more"),
    (lambda: Scale(np.ones((3, 2, 2)))(np.ones((1, 2, 2), np.float32)), "3 gain stages need the input gain_stage"),
])
def test_what_they_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
