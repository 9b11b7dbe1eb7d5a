"""Waveforms against float64 NumPy and SciPy, and against pulses whose times are known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage

from gpuredux import features

RNG = np.random.default_rng(11)


def run(target: Target, op, trace: np.ndarray) -> dict[str, np.ndarray]:
    out = op(target.put(trace), backend=target.backend.name)
    return {k: target.get(v) for k, v in out._asdict().items()}


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@pytest.mark.parametrize("method", ["mean", "median"])
@pytest.mark.parametrize("stop", [133, 134])
def test_baseline_is_numpys_mean_median_and_std(target: Target, dtype: str, method: str, stop: int) -> None:
    trace = (RNG.normal(0, 300, (3, 4, 500)) + (3000 if dtype == "uint16" else 0)).astype(dtype)
    got = run(target, features.Baseline(7, stop, method), trace)
    window = trace[..., 7:stop].astype(np.float64)
    want = getattr(np, method)(window, axis=-1)
    np.testing.assert_array_max_ulp(got["baseline"], want.astype(np.float32), 1)
    np.testing.assert_allclose(got["baseline_rms"], window.std(-1), rtol=1e-6)
    np.testing.assert_allclose(got["trace"], trace - want[..., None], rtol=0, atol=2e-4)


def test_a_baseline_without_a_measurement_is_none(target: Target) -> None:
    trace = np.full((1, 2, 40), 5, np.float32)
    trace[0, 0, :20], trace[0, 1, 3], trace[0, 1, 4] = np.nan, np.nan, np.inf
    got = run(target, features.Baseline(0, 20), trace)
    assert np.isnan(got["baseline"][0, 0]) and np.isnan(got["trace"][0, 0]).all()
    assert got["baseline"][0, 1] == 5 and got["baseline_rms"][0, 1] == 0 and np.isnan(got["trace"][0, 1, 3]) and got["trace"][0, 1, 4] == np.inf


@pytest.mark.parametrize(("dtype", "before", "after"), [("uint16", 3, 9), ("int16", 0, 0), ("float32", 40, 2)])
def test_pulses_are_scipys_labels_of_a_dilated_mask(target: Target, dtype: str, before: int, after: int) -> None:
    """Dilation and labels by scipy.ndimage, height and integral by NumPy."""
    trace = RNG.normal(0, 20, (2, 3, 3000))
    trace = (trace + ndimage.gaussian_filter1d((RNG.random(trace.shape) < 0.01) * 2000.0, 4, axis=-1) + 1000).astype(dtype)
    got = run(target, features.ZeroSuppress(1060.0, before, after, cap=64), trace)
    for f, c in np.ndindex(2, 3):
        x = trace[f, c].astype(np.float64)
        offset = np.arange(-before - after, before + after + 1)
        near = ndimage.binary_dilation(x > 1060, (offset >= -before) & (offset <= after))
        found = ndimage.find_objects(ndimage.label(near)[0])
        assert got["pulse_count"][f, c] == len(found) > 3
        for k, (piece,) in enumerate(found[:64]):
            assert (got["pulse_start"][f, c, k], got["pulse_length"][f, c, k]) == (piece.start, piece.stop - piece.start)
            assert got["pulse_at"][f, c, k] == piece.start + x[piece].argmax() and got["pulse_height"][f, c, k] == x[piece].max()
            assert got["pulse_integral"][f, c, k] == pytest.approx(x[piece].sum(), rel=1e-7)
        assert not any(got[f"pulse_{k}"][f, c, len(found) :].any() for k in ("start", "length", "at", "height", "integral"))


def test_more_pulses_than_there_is_room_are_counted(target: Target) -> None:
    trace = np.zeros((1, 2, 1000), np.uint16)
    trace[0, 0, ::10] = 9
    got = run(target, features.ZeroSuppress(5.0, 1, 1, cap=7), trace)
    assert got["pulse_count"].tolist() == [[100, 0]]
    assert got["pulse_start"][0, 0].tolist() == [0, 9, 19, 29, 39, 49, 59] and got["pulse_length"][0, 0].tolist() == [2, 3, 3, 3, 3, 3, 3]
    assert not got["pulse_start"][0, 1].any()
    down = run(target, features.ZeroSuppress(5.0, 1, 1, cap=7, polarity=-1), -trace.astype(np.int16))
    assert all(np.array_equal(down[k], got[k]) for k in got)
