"""Waveforms against float64 NumPy and SciPy, and against pulses whose times are known.."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage, signal, special

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


def gaussian_pulses(samples: int, times: np.ndarray, heights: np.ndarray, sigma: float) -> np.ndarray:
    t = np.arange(samples)
    return (heights[:, None] * np.exp(-((t - times[:, None]) ** 2) / (2 * sigma**2))).sum(0)


@pytest.mark.parametrize(("dtype", "sigma", "noise", "worst"), [("float32", 5.0, 0.0, 0.04), ("float32", 10.0, 0.0, 0.02), ("int16", 5.0, 0.0, 0.04),
                                                               ("float32", 5.0, 2.0, 0.06)])
def test_times_of_gaussian_pulses_are_those_of_the_formula(target: Target, dtype: str, sigma: float, noise: float, worst: float) -> None:
    """s(t - d) = f s(t) has the solution t0 + d / 2 + sigma^2 ln f / d for a Gaussian, whatever its height: 800 to 20000 counts. The error [samples] is the
    line's between two samples, 0.2 / sigma."""
    delay, fraction = round(1.2 * sigma), 0.4
    times = 12.3 * sigma * np.arange(1, 32) + np.random.default_rng(3).random(31)
    heights = np.random.default_rng(4).uniform(800, 20000, 31)
    samples = int(12.3 * sigma * 32)
    trace = gaussian_pulses(samples, times, heights, sigma) + noise * np.random.default_rng(5).normal(0, 1, (2, 1, samples))
    trace = (np.rint(trace) if dtype == "int16" else trace).astype(dtype)
    got = run(target, features.ConstantFraction(fraction, delay, threshold=200.0, before=12, after=12, cap=40), trace)
    assert got["hit_count"].tolist() == [[31], [31]]
    error = got["hit_time"][:, 0, :31] - (times + delay / 2 + sigma**2 * np.log(fraction) / delay)
    assert np.abs(error).max() < worst
    for f in range(2):
        i = np.ceil(got["hit_time"][f, 0, :31]).astype(int)
        gates = np.stack([trace[f, 0, k - 12 : k + 13].astype(np.float64) for k in i])
        assert np.array_equal(got["hit_height"][f, 0, :31], gates.max(1))
        np.testing.assert_allclose(got["hit_integral"][f, 0, :31], gates.sum(1), rtol=1e-6)
        s = trace[f, 0].astype(np.float64)
        c = np.concatenate([np.zeros(delay), s[:-delay]]) - fraction * s       # the zero crossing of the line between the two samples, by np.interp
        want = [np.interp(0, c[[k - 1, k]], [k - 1, k]) for k in i]
        np.testing.assert_allclose(got["hit_time"][f, 0, :31], want, rtol=0, atol=1e-9)
    assert not got["hit_time"][..., 31:].any() and not got["hit_integral"][..., 31:].any()


def test_noise_alone_has_no_hits_and_a_full_list_says_so(target: Target) -> None:
    trace = np.random.default_rng(6).normal(0, 5, (1, 2, 5000)).astype(np.float32)
    trace[0, 1] += gaussian_pulses(5000, np.arange(50.0, 4950, 50), np.full(98, 900.0), 4)
    got = run(target, features.ConstantFraction(0.5, 5, threshold=100.0, cap=10), trace)
    assert got["hit_count"].tolist() == [[0, 98]] and (got["hit_time"][0, 1] > 0).all() and not got["hit_time"][0, 0].any()
    down = run(target, features.ConstantFraction(0.5, 5, threshold=100.0, cap=10, polarity=-1), -trace)
    assert all(np.array_equal(down[k], got[k]) for k in got)


@pytest.mark.parametrize(("dtype", "length", "polarity"), [("uint16", 20, 1), ("float32", 13, -1), ("int16", 40, 1)])
def test_edges_are_where_they_were_put(target: Target, dtype: str, length: int, polarity: int) -> None:
    """Error functions of width 6 at known times, found to 0.02 samples; r by scipy.signal, the vertex by np.polyfit, the width by np.interp."""
    true = np.random.default_rng(7).uniform(200, 800, (4, 3))
    step = special.erf((np.arange(1024) - true[..., None]) / 6)
    trace = (1500 + polarity * 1000 * step).astype(np.float64)
    trace += np.random.default_rng(8).normal(0, 0.5, trace.shape)
    trace = (np.rint(trace) if dtype != "float32" else trace).astype(dtype)
    op = features.Edge.step(length, polarity=polarity)
    got = run(target, op, trace)
    assert np.abs(got["edge_position"] - true).max() < 0.02
    for f, c in np.ndindex(4, 3):
        r = signal.correlate(trace[f, c].astype(np.float64), polarity * op.weights, "valid", method="direct")
        i = int(r.argmax())
        a, b, _ = line = np.polyfit([-1, 0, 1], r[i - 1 : i + 2], 2)
        assert got["edge_position"][f, c] == pytest.approx(i - b / (2 * a) + length - 0.5, abs=1e-6)
        assert got["edge_height"][f, c] == pytest.approx(np.polyval(line, -b / (2 * a)), rel=1e-6)
        left, right = i - np.argmax(r[i::-1] < r[i] / 2), i + np.argmax(r[i:] < r[i] / 2)
        want = np.interp(-r[i] / 2, -r[[right - 1, right]], [right - 1, right]) - np.interp(r[i] / 2, r[[left, left + 1]], [left, left + 1])
        assert got["edge_fwhm"][f, c] == pytest.approx(want, rel=1e-6)
        others = np.setdiff1d(signal.find_peaks(r)[0], [i])
        assert got["edge_next"][f, c] == pytest.approx(r[others].max(), rel=1e-6)


def test_edges_that_are_none(target: Target) -> None:
    """Nothing measured; a ramp, whose filter is flat; a filter as long as the trace; an edge at the end."""
    trace = np.zeros((1, 4, 40), np.float32)
    trace[0, 0], trace[0, 1], trace[0, 2, 20:], trace[0, 3, 39] = np.nan, np.arange(40), 1, 1
    got = run(target, features.Edge.step(2), trace)
    assert all(np.isnan(got[f"edge_{k}"][0, 0]) for k in ("position", "height", "fwhm", "next"))
    assert got["edge_position"][0, 1] == 1.5 and got["edge_height"][0, 1] == 2 and np.isnan(got["edge_fwhm"][0, 1])
    assert got["edge_position"][0, 2] == 19.5 and got["edge_height"][0, 2] == 1 and got["edge_fwhm"][0, 2] == 2
    assert got["edge_position"][0, 3] == 37.5 and got["edge_height"][0, 3] == 0.5 and np.isnan(got["edge_fwhm"][0, 3])
    whole = run(target, features.Edge(np.ones(40)), trace)
    assert whole["edge_position"][0, 2] == 19.5 and whole["edge_height"][0, 2] == 20 and np.isnan(whole["edge_next"][0, 2])


@pytest.mark.parametrize(("make", "words"), [
    (lambda: features.Baseline(5, 5), "stop must be 6"), (lambda: features.Baseline(method="mode"), "method must be"),
    (lambda: features.Baseline(0, 101), "101 samples up to"),
    (lambda: features.ZeroSuppress(np.nan), "threshold must be finite"), (lambda: features.ZeroSuppress(1.0, cap=0), "cap must be"),
    (lambda: features.ConstantFraction(1.0, 3, 1.0), "fraction must be"), (lambda: features.ConstantFraction(0.5, 0, 1.0), "delay must be"),
    (lambda: features.Edge(np.zeros(4)), "weights must be"), (lambda: features.Edge(np.ones(101)), "the 101 samples of the filter"),
    (lambda: features.Edge.step(0), "length must be"), (lambda: features.ZeroSuppress(1.0, polarity=2), "polarity must be"),
])
def test_fields_and_traces_that_do_not_fit(make, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^features\.\w+: .*{words}"):
        make().plan(np.zeros((1, 2, 100), np.uint16))
