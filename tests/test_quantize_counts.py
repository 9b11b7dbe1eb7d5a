"""Square-root steps of counts: the bins against their definition, variance and bias by simulation, decoding by a stock reader, entropy on recorded frames."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import NUMPY, Target

from gpuredux.compress import DequantizeCounts, QuantizeCounts
from gpuredux.compress.counts_table import square_root_bins
from gpuredux.compress.quantize_counts import granules

SIMULATED = 1 << 19


def entropy(code: np.ndarray) -> float:
    """Bits a pixel, order 0."""
    share = np.unique(code, return_counts=True)[1] / code.size
    return float(-(share * np.log2(share)).sum())


def run(target: Target, op: QuantizeCounts, x: np.ndarray) -> Any:
    """The outputs as host arrays, the same bytes as those of numpy."""
    out = op(target.put(x), backend=target.backend.name)
    got, want = type(out)(*map(target.get, out)), op(x, backend=NUMPY.backend.name)
    for name in ("code", "outlier_count", "max_error"):
        assert getattr(got, name).tobytes() == getattr(want, name).tobytes(), name
    return got


OPS = (
    QuantizeCounts(), QuantizeCounts(step=0.5, exact_below=16, largest=2**24 - 1), QuantizeCounts(step=2, exact_below=0, gain=508, read_noise=51,
    smallest=-3000, largest=2**20), QuantizeCounts(step=1, exact_below=0, largest=10), QuantizeCounts(exact_below=300, smallest=-299, largest=300),
    QuantizeCounts(step=4, exact_below=5, gain=0.3, read_noise=9, smallest=-500, largest=10**6), QuantizeCounts(step=1, largest=0),
)


@pytest.mark.parametrize("op", OPS)
def test_bins_cover_every_value_once_and_are_as_wide_as_they_should_be(op: QuantizeCounts) -> None:
    start, sigma = op.bins.start, lambda v: np.sqrt(op.gain * np.maximum(v, 0) + op.read_noise**2)
    assert start[0] == op.smallest and start[-1] == op.largest + 1 and (np.diff(start) > 0).all()
    width, middle = np.diff(start), 0.5 * (start[:-1] + start[1:] - 1)
    inner = np.arange(1, len(width) - 1)        # the two outermost are cut off
    exact = np.abs(middle) < op.exact_below
    assert (op.bins.meant[width == 1] == middle[width == 1]).all() and (np.diff(op.bins.meant) > 0).all()
    assert (width[exact] == 1).all() and exact.sum() == np.count_nonzero(np.abs(np.arange(op.smallest, op.largest + 1)) < op.exact_below)
    wide = inner[~exact[inner] & (start[inner] > 0)]
    stable = (2 / op.gain) * (sigma(start[wide + 1]) - sigma(start[wide]))       # 2 sigma / gain: the scale on which the noise is 1
    assert np.all(np.abs(stable - op.step)[width[wide] > 1] < 1.1 / sigma(start[wide])[width[wide] > 1]) and np.all(stable >= 0)
    below = inner[~exact[inner] & (middle[inner] < -op.step * op.read_noise)]
    assert np.all(np.abs(width[below] - max(op.step * op.read_noise, 1)) < 1)
    if op.exact_below == 0 and op.read_noise > 0:
        first = start[np.searchsorted(start, 0, side="right") - 1 :][:2]
        assert abs(-first[0] - op.step * op.read_noise / 2) <= 1 and abs((2 / op.gain) * (sigma(first[1]) - sigma(0)) - op.step / 2) < 1.1 / sigma(first[1])
    values = np.unique(np.concatenate([start[:-1], start[1:] - 1, np.random.default_rng(0).integers(op.smallest, op.largest + 1, 20000)]))
    want = np.searchsorted(start, values, side="right") - 1
    assert np.array_equal(granules(op, values), want)


def test_every_value_within_its_bound(target: Target) -> None:
    for op, dtype in ((OPS[0], "uint16"), (OPS[2], "int32"), (QuantizeCounts(step=2, exact_below=0, gain=508, read_noise=51, smallest=-3000,
                      largest=2**20, unit=1 / 508), "float32")):
        rng = np.random.default_rng(1)
        v = np.arange(op.smallest, min(op.largest, 70000) + 1) if dtype != "float32" else rng.uniform(-5, 2000, 80000)
        x = v.astype(dtype)[: v.size // 64 * 64].reshape(1, 64, -1)
        r = run(target, op, x)
        y = target.get(op.decoder()(*(target.put(a) for a in (r.code, r.outlier_index, r.outlier_value, r.outlier_count)), backend=target.backend.name))
        error = np.abs(x.astype(np.float64) - y)
        assert not r.outlier_count.any() and (error <= op.bound_on(x)).all() and error.max() > 0.9 * op.bound_on(x).max()
        assert abs(r.max_error[0] - error.max()) <= 1e-6 * error.max()
        assert y.tobytes() == op.table[r.code].tobytes()


def test_what_has_no_bin_is_exact(target: Target) -> None:
    op = QuantizeCounts(largest=1000, capacity=10)
    x = np.array([0, 1000, 1001, 65535, 19, 20], np.uint16).reshape(1, 1, 6)
    r = run(target, op, x)
    assert r.code[0, 0, 2:4].tolist() == [op.fill_code] * 2 and r.outlier_value[0, :2].tolist() == [1001, 65535] and r.outlier_count[0] == 2
    y = target.get(op.decoder()(*(target.put(a) for a in (r.code, r.outlier_index, r.outlier_value, r.outlier_count)), backend=target.backend.name))
    assert y[0, 0, [0, 2, 3, 4, 5]].tolist() == [0, 1001, 65535, 19, op.table[20]]
    signed = run(target, QuantizeCounts(smallest=-5, capacity=10), np.array([-5, -6, -(2**31), 2**31 - 1, 3, 0], np.int32).reshape(1, 1, 6))
    assert signed.outlier_value[0, :3].tolist() == [-6, -(2**31), 2**31 - 1] and signed.code[0, 0, [0, 4, 5]].tolist() == [0, 8, 5]
    floats = run(target, QuantizeCounts(unit=0.5, capacity=10), np.array([0.2, 0.3, np.nan, np.inf, -0.3, 1e30], np.float32).reshape(1, 1, 6))
    assert floats.outlier_index[0, :4].tolist() == [2, 3, 4, 5] and floats.code[0, 0, :2].tolist() == [0, 1] and np.isnan(floats.outlier_value[0, 0])


@pytest.mark.parametrize(("step", "exact_below", "bias"), [(0.5, 0, 0.0003), (1.0, 0, 0.0006), (2.0, 0, 0.006), (1.0, 20, 0.0017), (0.5, 10, 0.0003)])
def test_variance_and_bias_are_those_of_the_design(step: float, exact_below: int, bias: float) -> None:
    """Variance times 1 + s^2 / 12. Bias of a Poisson mean below these shares of it from 20 counts on: the design, whose tables are plain means of bins, has
    0.13, 0.38 and more % at 20. Exactly: every count's probability in place of samples."""
    op = QuantizeCounts(step=step, exact_below=exact_below, largest=20000)
    code, k = np.searchsorted(op.bins.start, np.arange(20001), side="right") - 1, np.arange(20001)
    plain, decoded = 0.5 * (op.bins.start[:-1] + op.bins.start[1:] - 1)[code], op.table.astype(np.float64)[code]
    log_factorial = np.concatenate([[0], np.cumsum(np.log(np.arange(1, 20001)))])
    factors, biases, by_plain = [], {}, {}
    for mean in (20, 23, 30, 50, 100, 200, 1000, 5000):
        p = np.exp(k * math.log(mean) - mean - log_factorial)
        first = (p * decoded).sum()
        factors.append(((p * decoded**2).sum() - first**2) / mean)
        biases[mean], by_plain[mean] = abs(first / mean - 1), abs((p * plain).sum() / mean - 1)
    assert abs(np.mean(factors[3:]) - (1 + step**2 / 12)) < 0.012 * step, factors
    assert max(biases.values()) <= bias and biases[200] <= 0.0002 * step and biases[5000] < 1e-4, biases
    assert max(by_plain.values()) > 2 * max(biases.values()) and abs(by_plain[200] - step**2 / 12 / 200) < 0.0008 * step**2


def test_simulated_means_below_and_above_the_exact_counts() -> None:
    """Poisson samples through the op itself: unbiased within the error of the simulation, identity below."""
    rng, op = np.random.default_rng(7), QuantizeCounts(step=1.0, exact_below=20)
    for mean in (0.3, 2, 10, 20, 30, 300, 10000):
        x = rng.poisson(mean, SIMULATED).astype(np.uint16).reshape(1, 512, -1)
        y = op.table[op(x, backend="numba").code].astype(np.float64)
        error, noise = y.mean() - x.mean(dtype=np.float64), math.sqrt(mean / 12 / SIMULATED)
        assert abs(error) < (0.002 if mean < 30 else 0.0007) * mean + 5 * noise, mean
        assert (y == x).all() if mean <= 2 else y.var() / x.var(dtype=np.float64) < 1.12
    assert 7.0 < 16 / entropy(op(rng.poisson(200, (1, 512, 1024)).astype(np.uint16), backend="numba").code) < 8.0     # 2.1 bits a pixel


def test_a_stock_reader_decodes_by_the_table(tmp_path: Any) -> None:
    rng = np.random.default_rng(2)
    x = rng.poisson(np.exp(rng.normal(3, 2, (3, 40, 50)))).astype(np.uint16)
    good = rng.random((40, 50)) > 0.1
    op = QuantizeCounts(good=good)
    r = op(x, backend="numba")
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["code"], f["decode_table"] = r.code, op.maps()["decode_table"]
        f["code"].attrs.update(op.attributes())
    with h5py.File(tmp_path / "a.h5") as f:
        code, table, about = f["code"][()], f["decode_table"][()], dict(f["code"].attrs)
        y = np.where(code <= about["valid_range"][1], table[np.minimum(code, about["valid_range"][1])], np.nan)
    sigma = np.sqrt(np.maximum(x, 1.0))
    assert np.isnan(y[:, ~good]).all() and np.nanmax(np.abs(y - x) / sigma) <= 0.5 * about["step_sigma"] + 0.25
    assert (y[:, good] == x[:, good])[x[:, good] < about["exact_below"]].all()


def test_entropy_on_recorded_frames(real: Any, target: Target) -> None:
    """Float32 frames of M049, a photon worth 508 ADU, read noise 0.1 photons, steps of 2 sigma: no value further off than one sigma. 19.5 is the ratio of
    the design; codecs reach some 0.91 of it. Steps of one sigma and whole photons beside it."""
    x = np.ascontiguousarray(real("jungfrau_m049_raw_to_photons.h5", "conv"), np.float32)
    fields = {"exact_below": 0, "gain": 508.0, "read_noise": 50.8, "smallest": -(2**17), "largest": 2**24 - 1, "unit": 1 / 508, "capacity": 1000}
    ratios = []
    for step in (1.0, 2.0):
        op = QuantizeCounts(step=step, **fields)
        r = run(target, op, x)
        y = op.decoder()(r.code, r.outlier_index, r.outlier_value, r.outlier_count, backend="numba")
        inside = (r.code != op.fill_code) & (np.abs(x) < 32000)
        error, sigma = np.abs(x - y.astype(np.float64)), np.sqrt(np.maximum(x, 0).astype(np.float64) + 0.01)
        assert (error <= op.bound_on(x))[inside].all() and ((error / sigma)[inside & (x > 5)] < 0.65 * step).all()
        ratios.append(np.mean([32 / entropy(f) for f in r.code]))
    assert ratios[0] > 12.0 and ratios[1] > 19.0, ratios
    photons = np.clip(np.rint(x), 0, 65535).astype(np.uint16)
    assert np.mean([32 / entropy(f) for f in run(target, QuantizeCounts(), photons).code]) > 12.5


@pytest.mark.parametrize(("make", "message"), [
    *((lambda k=k: QuantizeCounts(**k), next(iter(k)) + " must be") for k in ({"step": 0}, {"step": math.nan}, {"step": 9}, {"exact_below": -1}, {"gain": 0},
      {"read_noise": -1}, {"smallest": 1}, {"largest": 2**24}, {"unit": 0}, {"capacity": 0}, {"code": "int16"}, {"exact_below": 1.5})),
    (lambda: QuantizeCounts(code="uint8"), "are 524 bins, more than the 253 codes of uint8: a larger step.*or code='uint16'"),
    (lambda: QuantizeCounts(unit=0.5)(np.zeros((1, 2, 2), np.uint16)), "unit must be 1 for whole numbers"),
    (lambda: QuantizeCounts()(np.zeros((1, 2, 2), np.int8)), "count must be uint8 or uint16"),
    (lambda: DequantizeCounts(np.zeros((2, 2))), "table must be 1 to 65534 finite numbers"), (lambda: DequantizeCounts(np.array([np.nan])), "finite numbers"),
    (lambda: DequantizeCounts(np.zeros(2), masked_value=1), "masked_value must be"),
])
def test_errors_name_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_bins_are_the_same_on_every_platform() -> None:
    """Golden: square roots and products of float64 are correctly rounded everywhere."""
    bins = square_root_bins(1.0, 20, 1.0, 0.0, 0, 65535)
    assert len(bins.start) == 525 and bins.start[[20, 21, 30, 100, 523, 524]].tolist() == [20, 25, 89, 1973, 65493, 65536]
    assert np.float32(bins.meant[[19, 20, 21, 100, 522]]).tolist() == [19.0, 21.600000381469727, 27.0, 1994.9166259765625, 65365.0]
