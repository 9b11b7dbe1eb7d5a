"""calib.common_mode against NumPy's masked arrays in float64, and what goes wrong elsewhere. Over 200 lines: every choice has its outside truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from conftest import Target

from gpuredux import Chain
from gpuredux.calib import Calibrate, CommonMode, Gain
from gpuredux.detectors import DETECTORS
from gpuredux.status import Frame

BANK = (22, 24)
LEFT = int(Frame.NOT_CORRECTED)


def run(target: Target, op: CommonMode, **x: np.ndarray) -> dict[str, np.ndarray]:
    plan = op.plan(**{k: target.put(v) for k, v in x.items()}, backend=target.backend.name)
    out = plan(**{k: target.put(v) for k, v in x.items()})
    return {s.name: target.get(a) for s, a in zip(plan.outs, out if len(plan.outs) > 1 else [out], strict=True)}


def noise(seed: int = 1, n: int = 3, frame: tuple[int, ...] = (44, 48)) -> np.ndarray:
    """Dark noise of 3 ADU with a mode for each bank, row and column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 3, (n, *frame))
    for b in np.ndindex(n, *frame[:-2], frame[-2] // BANK[0], frame[-1] // BANK[1]):
        rows, cols = slice(b[-2] * BANK[0], (b[-2] + 1) * BANK[0]), slice(b[-1] * BANK[1], (b[-1] + 1) * BANK[1])
        x[(*b[:-2], rows, cols)] += rng.normal(0, 20) + rng.normal(0, 4, (BANK[0], 1)) + rng.normal(0, 2, BANK[1])
    return x.astype(np.float32)


def by_masked_arrays(
    x: np.ndarray, used: np.ndarray, bank: tuple[int, int], steps: tuple[str, ...], cormax: float, npix_min: int, threshold: float,
) -> np.ndarray:
    """One frame (rows, cols) in float64, bank by bank, by np.ma.median."""
    y = x.astype(np.float64)
    for r in range(0, x.shape[0], bank[0]):
        for c in range(0, x.shape[1], bank[1]):
            box = (slice(r, r + bank[0]), slice(c, c + bank[1]))
            for step in steps:
                v, use = y[box], used[box]
                axis = {"bank": None, "rows": 1, "cols": 0}[step]
                counted = use & (v <= threshold)
                mode = np.ma.median(np.ma.array(v, mask=~counted), axis=axis, keepdims=True)
                enough = counted.sum(axis=axis, keepdims=True) > npix_min
                mode = np.ma.filled(mode, 0.0)
                y[box] = np.where(use, v - np.where(enough & (np.abs(mode) < cormax), mode, 0.0), v)
    return y


@pytest.mark.parametrize("steps", [("bank",), ("rows",), ("cols",), ("bank", "rows", "cols"), ("cols", "bank", "rows")], ids=str)
@pytest.mark.parametrize(("cormax", "npix_min", "threshold"), [(np.inf, 10, np.inf), (15.0, 17, np.inf), (np.inf, 6, 12.0)])
def test_medians_are_those_of_masked_arrays(target: Target, steps: tuple[str, ...], cormax: float, npix_min: int, threshold: float) -> None:
    x = noise()
    rng = np.random.default_rng(2)
    good, status = rng.random(x.shape[1:]) > 0.1, rng.choice(np.array([0] * 9 + [2], np.uint8), x.shape)
    got = run(target, CommonMode(BANK, steps, good, cormax, npix_min, threshold=threshold), energy=x, pixel_status=status)["energy"]
    for f in range(len(x)):
        used = good & (status[f] == 0)
        want = by_masked_arrays(x[f], used, BANK, steps, cormax, npix_min, threshold)
        assert np.abs(got[f] - want).max() < 1e-4     # five steps of float32 at some 50 ADU
        assert np.array_equal(got[f][~used].view(np.uint32), x[f][~used].view(np.uint32))
        assert (got[f] != x[f])[used].mean() > (0.05 if cormax < 20 or threshold < 20 else 0.9)


def test_the_modes_come_out_and_are_gone(target: Target) -> None:
    x = noise(3, 2, (2, 44, 48))
    out = run(target, CommonMode(BANK, report=True), energy=x)
    assert out["common_mode"].shape == (2, 8, 1 + 22 + 24)
    left = x - out["energy"]
    for f, p, r, c in np.ndindex(2, 2, 44, 48):
        if (r * 7 + c) % 11 == 0:
            m = out["common_mode"][f, p * 4 + r // 22 * 2 + c // 24]
            assert abs(left[f, p, r, c] - (m[0] + m[1 + r % 22] + m[23 + c % 24])) < 1e-4
    again = run(target, CommonMode(BANK, ("cols",), report=True), energy=out["energy"])["common_mode"]
    assert np.abs(again).max() < 1e-6       # the median of what is corrected is zero


@pytest.mark.parametrize("count", [9, 10, 11, 12])
@pytest.mark.parametrize("step", ["bank", "rows", "cols"])
def test_more_than_npix_min_in_all_three_alike(target: Target, step: str, count: int) -> None:
    """psana takes npix_min values as enough for a bank, and not for a row or a column."""
    x = np.full((1, 24, 24), 100, np.float32)
    x[0, 0, :] = x[0, :, 0] = 7
    good = np.zeros((24, 24), bool)
    good[(0, slice(count)) if step != "cols" else (slice(count), 0)] = True
    out = run(target, CommonMode((24, 24), (step,), good, npix_min=10, report=True), energy=x, frame_status=np.array([3], np.uint32))
    got, said = out["energy"], out["common_mode"][0, 0]
    assert (got[0][good] == (0 if count > 10 else 7)).all() and (got[0][~good] == x[0][~good]).all()
    at = {"bank": 0, "rows": 1, "cols": 25}[step]
    assert np.array_equal(said[[at]], [7 if count > 10 else np.nan], equal_nan=True) and (np.delete(said, at) == 0).all()     # others have no pixels
    assert out["frame_status"].tolist() == [3 if count > 10 else 3 | LEFT]


def test_cormax_is_strict(target: Target) -> None:
    x = np.full((1, 24, 24), 7.25, np.float32)
    for cormax, value in ((7.25, 7.25), (np.nextafter(np.float32(7.25), np.float32(8)), 0.0)):
        op = CommonMode((24, 24), ("bank",), cormax=float(cormax), report=True)
        out = run(target, op, energy=x, frame_status=np.zeros(1, np.uint32))
        assert (out["energy"] == np.float32(value)).all()
        assert np.isnan(out["common_mode"][0, 0, 0]) == (value > 0) and out["frame_status"].tolist() == [LEFT if value else 0]


def test_one_nan_does_not_kill_its_row(target: Target) -> None:
    """np.ma.median of a row with NaN is NaN: psana then loses the whole row of the bank."""
    x = noise(5)
    x[:, 3, 5], x[:, 3, 6], x[:, 30, 40] = np.nan, np.inf, -np.inf
    got = run(target, CommonMode(BANK), energy=x)["energy"]
    odd = ~np.isfinite(x)
    assert np.array_equal(got[odd].view(np.uint32), x[odd].view(np.uint32))
    assert np.isfinite(got[~odd]).all() and np.abs(np.median(got[:, 3, :24][~odd[:, 3, :24]])) < 1


def test_without_a_mask_columns_are_columns(target: Target) -> None:
    """psana's common_mode_2d_hsplit_nbanks(mask=None) does the rows."""
    x = np.tile(np.arange(24, dtype=np.float32), (1, 22, 1))
    assert (run(target, CommonMode(BANK, ("cols",)), energy=x)["energy"] == 0).all()
    assert (run(target, CommonMode(BANK, ("rows",)), energy=x)["energy"] == x - np.float32(11.5)).all()


def test_switched_pixels_are_neither_used_nor_corrected(target: Target) -> None:
    x = noise(7)
    stage = np.zeros(x.shape, np.uint8)
    stage[:, ::3, ::2] = 1
    x[stage == 1] += 5000
    got = run(target, CommonMode(BANK, exclude_stages=(1,)), energy=x, gain_stage=stage)["energy"]
    assert np.array_equal(got[stage == 1], x[stage == 1])
    for f in range(len(x)):
        assert np.abs(got[f] - by_masked_arrays(x[f], stage[f] == 0, BANK, ("bank", "rows", "cols"), np.inf, 10, np.inf)).max() < 1e-3
    gain = np.array([40.0, -0.5], np.float32)[:, None, None] * np.ones((2, 44, 48), np.float32)
    in_kev = run(target, CommonMode(BANK, exclude_stages=(1,), gain=gain), energy=x, gain_stage=stage)["energy"]
    assert np.allclose(in_kev, got / np.where(stage == 0, 40.0, -0.5), rtol=1e-6)


def test_above_the_threshold_is_corrected_but_not_counted(target: Target) -> None:
    x = np.zeros((1, 22, 24), np.float32)
    x[0, :, :15] = 1000.0
    x += 3
    got = run(target, CommonMode(BANK, ("bank",), threshold=500.0), energy=x)["energy"]
    assert (got[0, :, 15:] == 0).all() and (got[0, :, :15] == 1000).all()


def test_a_bank_that_is_masked_stays_and_says_so(target: Target) -> None:
    x = noise(8)
    good = np.ones(x.shape[1:], bool)
    good[:22, :24] = False
    out = run(target, CommonMode(BANK, good=good, report=True), energy=x, frame_status=np.zeros(len(x), np.uint32))
    assert np.array_equal(out["energy"][:, :22, :24], x[:, :22, :24])
    assert (out["common_mode"][:, 0].view(np.uint32) == 0).all() and (out["common_mode"][:, 1:] != 0).any()
    assert np.isfinite(out["common_mode"]).all() and (out["frame_status"] == 0).all()      # a mask is no fault of the frame


def statistic_of(name: str, counted: np.ndarray) -> tuple[float, int]:
    """In float64, and how many values had a part in it; bins of 0.5."""
    if name == "zero_peak":
        bins = Counter(int(k) for k in np.rint(counted / 0.5) if abs(k) <= 127)
        return (min(bins, key=lambda k: (-bins[k], abs(k), k)) * 0.5 if bins else np.nan), bins.total()
    counted = counted[np.abs(counted) < 2**26] if name == "mean_below" else counted
    return (float((np.median if name == "median" else np.mean)(counted)) if len(counted) else np.nan), len(counted)


def by_groups(x: np.ndarray, used: np.ndarray, op: CommonMode) -> tuple[np.ndarray, np.ndarray]:
    """One frame (rows, cols), one group after the other in float64: energy, and the mode of each group, NaN where pixels in use stay as they are."""
    y, (rows, cols), said = x.astype(np.float64), op.bank, []
    parts = {"bank": [(0, np.s_[:, :])], "rows": [(1 + r, np.s_[r, :]) for r in range(rows)], "cols": [(1 + rows + c, np.s_[:, c]) for c in range(cols)]}
    for r, c in np.ndindex(x.shape[0] // rows, x.shape[1] // cols):
        v, use = (a[r * rows :][:rows, c * cols :][:, :cols] for a in (y, used))
        said.append(np.zeros(1 + rows + cols))
        for at, part in (p for step in op.steps for p in parts[step]):
            values = v[part][use[part]]
            if len(values):
                mode, n = statistic_of(op.statistic, values[values <= op.threshold])
                said[-1][at] = mode if n > op.npix_min and abs(mode) < op.cormax else np.nan
                v[part][use[part]] -= np.nan_to_num(said[-1][at])
    return y, np.stack(said)


ORDERS = {"median": [("bank", "rows", "cols"), ("cols", "rows", "bank")], "mean_below": [("rows", "cols", "bank")], "zero_peak": [("bank", "cols")]}


@pytest.mark.parametrize("statistic", ORDERS)
def test_what_stays_as_it_is_says_so(target: Target, statistic: str) -> None:
    """Whole numbers, so that medians are exact and |mode| == cormax is no rarity. A kernel is compiled for each order of steps: not for all 15."""
    rng = np.random.default_rng(11)
    x, good, status = rng.integers(-4, 5, (8, 44, 48)).astype(np.float32), np.ones((44, 48), bool), np.zeros((8, 44, 48), np.uint8)
    good[:22, :24] = good[25] = good[:, 40] = False      # a bank, a row, a column
    x[1, 22:, 24:] += 3     # cormax, for many
    x[2, :22, 24:] = 900    # above the threshold: none is counted
    x[3, 30] = 900
    x[3, :, 3] = -1e9       # beyond what a mean or a histogram takes
    status[4, 22:, :24][np.arange(22)[:, None] + np.arange(24) > 9] = 1         # rows and columns of 10 pixels and fewer
    status[5, 22:, :24][np.arange(22)[:, None] // 2 * 2 + np.arange(24) > 11] = 1
    x[6] = rng.choice(np.array([0.0, -0.0], np.float32), x[6].shape)
    x[7] = np.nan
    every = [s for k in (1, 2, 3) for s in permutations(("bank", "rows", "cols"), k)]
    seen = []
    for steps in ORDERS[statistic] if target.backend.kernels else every:
        op = CommonMode(BANK, steps, good, 3.0, 7, statistic, 500.0, bin_width=0.5, report=True)
        out = run(target, op, energy=x, pixel_status=status, frame_status=np.full(8, 5, np.uint32))
        for f in range(8):
            energy, modes = by_groups(x[f], good & (status[f] == 0) & np.isfinite(x[f]), op)
            near = {"rtol": 0, "atol": 1e-4 if statistic == "mean_below" else 0, "equal_nan": True}
            assert np.allclose(out["common_mode"][f], modes, **near) and np.allclose(out["energy"][f], energy.astype(np.float32), **near), (steps, f)
            assert out["frame_status"][f] == 5 | (LEFT if np.isnan(modes).any() else 0), (steps, f)
        seen.append(out["frame_status"] & LEFT > 0)
    assert not np.any(seen, axis=0)[6:].any() and np.any(seen, axis=0)[1:5].all() and not np.all(seen)


def test_what_stays_stays_bit_for_bit(target: Target) -> None:
    """-0 too, of which x - -0 makes +0; and 0 is what is said of steps not asked for."""
    rng = np.random.default_rng(12)
    x = rng.choice(np.array([0.0, -0.0, 1e-45, -1e-45, 3.0, 1e38, np.nan, -np.inf], np.float32), (3, 44, 48))
    for fields in ({"cormax": 0.0}, {"npix_min": 600}, {"threshold": -1e38}):
        out = run(target, CommonMode(BANK, ("bank", "cols"), report=True, **fields), energy=x, frame_status=np.zeros(3, np.uint32))
        assert np.array_equal(out["energy"].view(np.uint32), x.view(np.uint32))
        said = out["common_mode"].view(np.uint32)
        assert (said[..., 1:23] == 0).all() and (np.delete(said, np.s_[1:23], axis=2) == 0x7FC00000).all() and (out["frame_status"] == LEFT).all()


def test_mean_and_peak(target: Target) -> None:
    x = noise(9)
    for threshold in (np.inf, 10.0):
        got = run(target, CommonMode(BANK, ("bank",), statistic="mean_below", threshold=threshold, report=True), energy=x)["common_mode"]
        for f, b in np.ndindex(*got.shape[:2]):
            v = x[f, b // 2 * 22 :, b % 2 * 24 :][:22, :24].astype(np.float64)
            counted = v[v <= threshold]
            assert abs(got[f, b, 0] - (counted.mean() if len(counted) > 10 else 0)) < 1e-5 * max(1, np.abs(v).max())
    rng = np.random.default_rng(4)
    photons = (rng.normal(2.0, 0.6, (1, 22, 24)) + 40 * (rng.random((1, 22, 24)) < 0.3)).astype(np.float32)
    got = run(target, CommonMode(BANK, ("bank",), statistic="zero_peak", bin_width=0.5, report=True), energy=photons)["common_mode"][0, 0, 0]
    counts, edges = np.histogram(photons, (np.arange(-127, 129) - 0.5) * 0.5)
    assert got == edges[counts.argmax()] + 0.25 and abs(got - 2) <= 0.5
    ties = np.repeat(np.array([3, -2, 2, 9], np.float32), 132).reshape(1, 22, 24)
    assert run(target, CommonMode(BANK, ("bank",), statistic="zero_peak", report=True), energy=ties)["common_mode"][0, 0, 0] == -2


def test_gain_and_common_mode_are_one_pass(target: Target) -> None:
    rng = np.random.default_rng(6)
    raw = rng.integers(2900, 3100, (4, 44, 48), dtype=np.uint16)
    raw[:, 5, 5] = 0x4000 | 4000
    pedestal, ones = rng.normal(3000, 5, (3, 44, 48)), np.ones((3, 44, 48))
    chain = Chain([Gain(pedestal, ones, gain_stage=True, status=True), CommonMode(BANK, exclude_stages=(1,))], keep=("energy",))
    plan = chain.plan(target.put(raw), backend=target.backend.name)
    got = target.get(plan(target.put(raw)))
    x = (raw & 0x3FFF).astype(np.float32) - pedestal.astype(np.float32)[(raw >> 14).astype(int), np.arange(44)[:, None], np.arange(48)]
    for f in range(4):
        assert np.abs(got[f] - by_masked_arrays(x[f], raw[f] < 0x4000, BANK, ("bank", "rows", "cols"), np.inf, 10, np.inf)).max() < 1e-3
    if target.backend.kernels:
        assert [p.ops for p in plan.passes] == ["calib.gain + calib.common_mode"]


def test_the_bit_goes_through_a_chain(target: Target) -> None:
    """Beside calib.gain's own bits, whether it runs by itself or is taken in; calib.Calibrate hands it on."""
    rng = np.random.default_rng(13)
    raw = rng.integers(2990, 3010, (4, 44, 48), dtype=np.uint16)
    raw[1, 5, 5] = raw[3, 6, 6] = 0x8000       # gain bits that are never sent
    raw[2:, 22:, 24:] |= 0x4000                # switched, all but 7 of a bank
    raw[2:, 22, 24:31] &= 0x3FFF
    constants = {"pedestal": np.full((3, 44, 48), 2900.0), "gain": np.ones((3, 44, 48))}
    mode = CommonMode(BANK, exclude_stages=(1,), report=True)
    chain = Chain([Gain(**constants, gain_stage=True, status=True), mode], keep=("energy", "common_mode", "frame_status"))
    plan = chain.plan(target.put(raw), backend=target.backend.name)
    out = [target.get(a) for a in plan(target.put(raw))]
    assert out[2].tolist() == [0, 1, LEFT, LEFT | 1]
    assert np.isnan(out[1]).sum(axis=2).tolist() == [[0] * 4, [0] * 4, [0, 0, 0, 9], [0, 0, 0, 9]]     # the bank, its row, seven columns
    assert not target.backend.kernels or len(plan.passes) == 1
    alone = Chain(chain.ops, keep=("frame_status",))
    assert np.array_equal(target.get(alone(target.put(raw), backend=target.backend.name)), out[2])
    kind = replace(DETECTORS["jungfrau1M"], shape=(44, 48))
    calibrated = Calibrate(kind, constants, common_mode=mode)
    named = calibrated(target.put(raw), frame_status=target.put(np.zeros(4, np.uint32)), backend=target.backend.name)
    assert np.array_equal(target.get(named.frame_status), out[2]) and np.array_equal(target.get(named.common_mode), out[1], equal_nan=True)


GOOD = {"bank": BANK}


@pytest.mark.parametrize(("fields", "error", "says"), [
    ({"bank": (0, 4)}, ValueError, "bank"), ({"bank": 7}, ValueError, "bank"), ({"bank": (2.5, 4)}, ValueError, "bank"),
    ({"bank": (2048, 1024)}, ValueError, "bank"),
    ({"steps": ()}, ValueError, "steps"), ({"steps": ("rows", "rows")}, ValueError, "steps"), ({"steps": "columns"}, ValueError, "steps"),
    ({"statistic": "mode"}, ValueError, "statistic"), ({"cormax": np.nan}, ValueError, "cormax"), ({"cormax": -1}, ValueError, "cormax"),
    ({"npix_min": -1}, ValueError, "npix_min"), ({"npix_min": 2.5}, TypeError, "npix_min"), ({"threshold": np.nan}, ValueError, "threshold"),
    ({"bin_width": 0}, ValueError, "bin_width"), ({"exclude_stages": (32,)}, ValueError, "exclude_stages"), ({"good": np.ones((44, 48))}, ValueError, "good"),
    ({"gain": np.ones((44, 48))}, ValueError, "gain"), ({"gain": np.zeros((1, 44, 48))}, ValueError, "2112 good pixels"),
    ({"gain": np.full((1, 44, 48), np.nan)}, ValueError, "mask them"), ({"gain": np.ones((1, 44, 48)), "good": np.ones((22, 24), bool)}, ValueError, "gain"),
])
def test_bad_fields(fields: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=rf"^calib.common_mode: .*{says}"):
        CommonMode(**{**GOOD, **fields})


def test_bad_inputs() -> None:
    x = np.zeros((2, 44, 48), np.float32)
    with pytest.raises(ValueError, match="whole banks"):
        CommonMode((22, 25))(x)
    with pytest.raises(ValueError, match="gain_stage"):
        CommonMode(BANK, exclude_stages=(1,))(x)
    with pytest.raises(ValueError, match="gain_stage"):
        CommonMode(BANK, gain=np.ones((2, 44, 48)))(x)
    masked = np.ones((1, 44, 48))
    masked[0, 0, 0] = 0
    good = masked[0] > 0
    out = CommonMode(BANK, good=good, gain=masked)(x)
    assert np.isnan(out[:, 0, 0]).all() and np.isfinite(out[:, good]).all()


@pytest.mark.parametrize("bank", [(4, 8), (8, 24)])
def test_columns_before_rows(target: Target, bank: tuple[int, int]) -> None:
    """With a report and live: PoCL once let the rows see columns that were not corrected yet."""
    x, live = np.random.default_rng(0).normal(0, 9, (2, 8, 24)).astype(np.float32), np.array([1], np.int32)
    op = CommonMode(bank, ("cols", "rows"), npix_min=3, report=True)
    want = op(x, live=live, backend="numpy")
    got = run(target, op, energy=x, live=live)
    assert np.array_equal(got["energy"][:1].view(np.uint32), want.energy[:1].view(np.uint32))
    assert np.array_equal(got["common_mode"][:1].view(np.uint32), want.common_mode[:1].view(np.uint32))
