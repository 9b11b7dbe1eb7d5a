"""Quantize and Dequantize against float64 and the arithmetic of a stock reader: the bound, for every value. Over 200 lines: one oracle serves all."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from conftest import NUMPY, Target
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuredux
from gpuredux.calib import Gain
from gpuredux.compress import Dequantize, Quantize, hdf5
from gpuredux.status import Frame

BOUNDS = (0.1, 1 / 3, 1e-3, 90.0, 1.0, 2.0**-100, 2.0**100, 1.7e-20, 3.3e7, float(np.float32(2.0**-5 * (1 + 2.0**-23))))
CODES = ("int16", "uint16", "int32")
F32_MAX = np.finfo(np.float32).max


def nasty(op: Quantize, size: int = 16384) -> np.ndarray:
    """(12, 64, size / 64) f32: one kind of trouble a frame."""
    rng = np.random.default_rng(5)
    step, low, high = float(op.step), *op.code_range
    every = np.array([np.nan, -np.nan, np.inf, -np.inf, 3e38, -3e38, F32_MAX, -F32_MAX, 1e-45, -1e-45, 1e-40, -0.0, 0.0, 2.0**-126, op.abs, -op.abs])
    k = rng.integers(low, high + 1, size)
    ends = np.add.outer([low - 1, low, low + 1, high - 1, high, high + 1], [-1.0, -0.5, 0.0, 0.5, 1.0]).reshape(-1) * step
    ends = np.concatenate([ends, *(end * step + sign * np.array([op.abs, float(op.error_bound)]) for end in (low, high) for sign in (-1, 1))])
    with np.errstate(over="ignore"):
        kinds = [
            rng.normal(0, 4 * op.abs, size), rng.normal(0, 1e3, size), rng.normal(0, 1e5, size), rng.normal(0, step * high / 3, size),
            rng.choice(every, size), rng.choice(every, size) * op.abs, (k + 0.5) * step, (k + rng.choice([-0.5, 0, 0.5, 1], size)) * step,
            rng.choice(ends, size), rng.uniform(-40, 40, size) * step, k * step + rng.choice([-1, 1], size) * op.abs, np.exp(rng.uniform(-87, 88, size)),
        ]
        x = np.stack(kinds).astype(np.float32)
        ulps = rng.integers(-1, 2, x.shape)     # the neighbours of all of them
        x = np.where(ulps > 0, np.nextafter(x, np.float32(np.inf)), np.where(ulps < 0, np.nextafter(x, np.float32(-np.inf)), x))
    return x.reshape(12, 64, -1)


def run(target: Target, op: Any, x: dict[str, np.ndarray], dirt: int = 0xA5) -> Any:
    """The outputs as host arrays; whatever the op does not write shows as dirt."""
    arrays = {k: target.put(v) for k, v in x.items()}
    plan = op.plan(**arrays, backend=target.backend.name)
    out = [target.put(np.full(o.nbytes, dirt, np.uint8).view(o.dtype).reshape(o.shape)) for o in plan.outs]
    result = plan(**arrays, out=out)
    return type(result)(*map(target.get, result)) if isinstance(result, tuple) else target.get(result)


def lists(r: Any) -> dict[str, np.ndarray]:
    return {k: getattr(r, k) for k in ("code", "outlier_index", "outlier_value", "outlier_count")}


def same(a: Any, b: Any) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def check(op: Quantize, x: np.ndarray, r: Any, decoded: np.ndarray) -> int:
    """All that the docstring promises of unmasked frames whose outliers fit in the lists. Returns the number of outliers."""
    fill = r.code == op.fill_code
    stock = r.code * op.attributes()["scale_factor"]      # what a reader of the CF conventions computes
    assert stock.dtype == op.decode_dtype
    errors = [np.abs(x[~fill].astype(np.float64) - y[~fill]) for y in (stock, r.code.astype(np.float64) * float(op.step), decoded)]
    for error in errors:
        assert not error.size or error.max() <= op.abs
    assert decoded[fill].tobytes() == x[fill].tobytes()
    low, high = op.code_range
    assert r.code[~fill].min(initial=low) >= low and r.code[~fill].max(initial=high) <= high
    for f in range(len(x)):
        where = np.flatnonzero(fill[f])
        assert r.outlier_count[f] == len(where) and np.array_equal(r.outlier_index[f, : len(where)], where)
        assert r.outlier_value[f, : len(where)].tobytes() == x[f].reshape(-1)[where].tobytes()
        coded = ~fill[f]
        largest = max(np.abs(x[f][coded].astype(np.float64) - y[f][coded]).max(initial=0) for y in (stock, decoded))
        assert r.max_error[f] >= largest and np.nextafter(r.max_error[f], np.float32(-1)) < largest <= op.abs if largest else r.max_error[f] == 0
    out, step, eb = x[fill & np.isfinite(x)].astype(np.float64), float(op.step), float(op.error_bound)
    for k in (-1, 0, 1, 2):      # a finite value is an outlier only if no code fits, which for 16 bits is: only beyond the outermost codes
        q = np.clip(np.floor(out / step) + k, low, high)
        assert np.all((np.abs(out - q * step) > eb) | (np.abs(out - (q * step).astype(np.float32)) > eb))
        assert op.code == "int32" or np.all((out - high * step > eb) | (low * step - out > eb))
    return int(fill.sum())


@pytest.mark.parametrize("code", CODES)
def test_the_bound_holds_for_every_value(target: Target, code: str) -> None:
    for bound in BOUNDS:
        op = Quantize(bound, code, capacity=16384)
        x = nasty(op)
        r = run(target, op, {"energy": x})
        check(op, x, r, run(target, op.inverse(), lists(r)))
        assert same(r, run(NUMPY, op, {"energy": x}))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.floats(2.0**-100, 2.0**100), st.sampled_from(CODES))
def test_the_bound_holds_for_what_hypothesis_finds(values: list[float], bound: float, code: str) -> None:
    op = Quantize(bound, code, capacity=40)
    x = np.array(values, np.float32)
    x = np.stack([x, np.clip(x, -99, 99) * np.float32(bound)]).reshape(2, 1, -1)
    r = op(x, backend="numpy")
    check(op, x, r, op.inverse()(**lists(r), backend="numpy"))


@pytest.mark.parametrize(("file", "dataset"), [("jungfrau_m049_raw_to_photons.h5", "conv"), ("cspad_asic_float.h5", "data"), ("xpcs_aerogel_qmap.h5", "I")])
def test_the_bound_holds_on_recorded_frames(real: Any, target: Target, file: str, dataset: str) -> None:
    x = real(file, dataset)
    x = np.ascontiguousarray(x[None] if x.ndim == 2 else x, np.float32)
    sigma = float(np.nanstd(x[np.abs(x) < 1e3]))
    for code in CODES:
        op = Quantize(sigma / 4, code, capacity=x[0].size)
        r = run(target, op, {"energy": x})
        outliers = check(op, x, r, run(target, op.inverse(), lists(r)))
        assert outliers <= (x < 0).sum() if code == "uint16" else outliers == 0
        assert same(r, run(NUMPY, op, {"energy": x}))


def test_int32_has_few_outliers_within_its_range() -> None:
    x = np.random.default_rng(3).uniform(-(2.0**22) * 0.2, 2.0**22 * 0.2, (4, 256, 256)).astype(np.float32)
    op = Quantize(0.1, "int32", capacity=x[0].size)
    r = op(x, backend="numba")
    outlier = r.code == op.fill_code
    assert 0 < outlier.mean() < 0.2 and not outlier[np.abs(x) < 0.1 * 2**10].any()


def test_step_and_attributes_are_these(tmp_path: Any) -> None:
    op = Quantize(0.1)
    assert op.error_bound == np.float32(0.09999999403953552) and op.step == 409 / 2048 and op.code_range == (-32766, 32767)
    assert Quantize(0.1, "uint16").step == 204 / 1024 and Quantize(0.1, "int32").step == 2 * op.error_bound and op.bound <= 0.1
    x = np.array([0, -0.0, 0.1, -0.3, 6543.5, np.nan, 0.29955], np.float32).reshape(1, 1, 7)
    r = op(x, backend="numpy")
    assert r.code.tolist() == [[[0, 0, 1, -2, 32765, -32768, 1]]] and r.outlier_index[0, 0] == 5
    with h5py.File(tmp_path / "codes.h5", "w") as f:
        f["energy"] = r.code
        f["energy"].attrs.update(op.attributes())
    with h5py.File(tmp_path / "codes.h5") as f:
        codes, attributes = f["energy"][()], dict(f["energy"].attrs)
        y = np.where(codes == attributes["_FillValue"], np.nan, codes * attributes["scale_factor"])
        assert y.dtype == attributes["decode_dtype"] == "float32" and np.nanmax(np.abs(y.astype(float) - x)) <= attributes["error_bound"] == 0.1


def test_lists_full_and_over(target: Target) -> None:
    x = np.zeros((4, 37, 53), np.float32)
    x.reshape(4, -1)[1, 200:210] = np.nan                  # exactly full
    x.reshape(4, -1)[2, [3, *range(900, 910)]] = np.inf    # one too many
    x[3] = 1e30                                            # nothing else
    op = Quantize(0.5, capacity=10)
    r = run(target, op, {"energy": x, "frame_status": np.array([1, 2, 4, 8], np.uint32)})
    assert r.outlier_count.tolist() == [0, 10, 11, 37 * 53] and not r.max_error.any()
    over = int(Frame.OUTLIER_OVERFLOW)
    assert r.frame_status.tolist() == [1, 2, 4 | over, 8 | over]
    assert r.outlier_index[1:].tolist() == [list(range(200, 210)), [3, *range(900, 909)], list(range(10))]
    assert (r.outlier_index[0] == 0xA5A5A5A5).all(), "an entry beyond the count was written"
    y = run(target, op.inverse(), lists(r))
    assert np.array_equal(y[:2], x[:2], equal_nan=True)
    assert np.isinf(y[2]).sum() == 10 and np.isnan(y[2]).sum() == 1 and np.isnan(y[3]).sum() == 37 * 53 - 10


def test_masked_pixels_are_neither_outliers_nor_errors(target: Target) -> None:
    rng = np.random.default_rng(1)
    for shape, codes in (((37, 53), CODES[:1]), ((2, 3, 8), CODES), ((64, 300), CODES[:1])):
        good, status = rng.random(shape) > 0.2, (rng.random((18, *shape)) > 0.9).astype(np.uint8) * 4
        x = rng.normal(0, 9, (18, *shape)).astype(np.float32)
        x[:, ~good] = np.nan
        x[status != 0] = 7e33
        x[17] = np.inf
        status[17] = 255
        inputs = {"energy": x, "pixel_status": status, "live": np.array([40], np.int32)}
        for code in codes:
            op = Quantize(0.25, code, capacity=64, good=good)
            r = run(target, op, inputs)
            masked = ~good | (status != 0)
            assert np.array_equal(r.code == op.masked_code, masked) and r.max_error[17] == 0
            assert np.array_equal(r.outlier_count, ((x < -0.25) & ~masked).sum(axis=tuple(range(1, x.ndim))) if code == "uint16" else np.zeros(18))
            assert same(r, run(NUMPY, op, inputs))
            y = run(target, Dequantize(op.step, code, masked_value=0.0), lists(r))
            assert not y[masked].any() and same([run(target, op.inverse(), lists(r))], [run(NUMPY, op.inverse(), lists(r))])


@pytest.mark.parametrize("live", [0, 1, 17, 99, -1])
def test_rows_beyond_live_are_left_alone(target: Target, live: int) -> None:
    x = np.random.default_rng(2).normal(0, 40000, (33, 16, 40)).astype(np.float32)
    op, rows = Quantize(1.0, capacity=1), {"live": np.array([live], np.int32)}
    inputs = {"energy": x, "frame_status": np.zeros(33, np.uint32), **rows}
    a, b = run(target, op, inputs), run(target, op, inputs, dirt=0x5A)
    assert same(a, run(NUMPY, op, inputs)) and all((p[max(live, 0) :] != q[max(live, 0) :]).all() for p, q in zip(a, b, strict=True))
    assert same([run(target, op.inverse(), lists(a) | rows)], [run(NUMPY, op.inverse(), lists(a) | rows)])


@pytest.mark.parametrize("shape", [(37, 53), (4, 8)])
def test_no_frames(target: Target, shape: tuple[int, ...]) -> None:
    r = run(target, Quantize(1.0), {"energy": np.empty((0, *shape), np.float32), "frame_status": np.empty(0, np.uint32)})
    assert [x.shape for x in r] == [(0, *shape), (0, 1024), (0, 1024), (0,), (0,), (0,)]
    assert run(target, Dequantize(1.0), lists(r)).shape == (0, *shape)


@pytest.mark.parametrize(
    ("code", "status", "shape"), [("int16", True, (24, 40)), ("int16", False, (37, 53)), ("uint16", True, (24, 40)), ("int32", False, (37, 53))]
)
def test_fused_equals_unfused(target: Target, code: str, status: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    good = rng.random(shape) > 0.1
    gain = Gain(rng.normal(1000, 30, (3, *shape)), np.array([40.0, -1.4, -0.1])[:, None, None] * rng.uniform(0.9, 1.1, (3, *shape)), good=good,
                status=status, bad_value=np.nan)
    op = Quantize(0.02, code, capacity=10, good=rng.random(shape) > 0.05)
    raw = rng.integers(900, 1400, (19, *shape)).astype(np.uint16)
    raw[rng.random(raw.shape) < 0.02] = 0xC000
    raw[rng.random(raw.shape) < 0.02] = 0x4F00
    raw[4] = 1100
    raw[4, 0, :9] = 0x4F00
    for extra in ({}, {"frame_status": np.arange(19, dtype=np.uint32) << 16}, {"live": np.array([18], np.int32), "frame_status": np.zeros(19, np.uint32)}):
        first = run(NUMPY, gain, {"raw": raw, **extra})
        between = {"energy": first.energy, **{k: getattr(first, k) for k in first._fields}} if isinstance(first, tuple) else {"energy": first}
        expected = run(NUMPY, op, between | ({"live": extra["live"]} if "live" in extra else {}))
        chain = gpuredux.Chain([gain, op], keep=None if "frame_status" not in extra else expected._fields)
        r = run(target, chain, {"raw": raw, **extra})
        assert r.outlier_count[:18].max() > 10 and (r.outlier_count[4] < 10) == status
        plan = chain.plan(**{k: target.put(v) for k, v in {"raw": raw, **extra}.items()}, backend=target.backend.name)
        assert len(plan.passes) == (1 if target.backend.kernels else 2)
        for name in expected._fields:
            if name in r._fields:
                assert getattr(r, name).tobytes() == getattr(expected, name).tobytes(), name
        assert set(r._fields) >= set(expected._fields) - {"frame_status"}


@pytest.mark.parametrize("zero", [1, 16, 65533])
def test_another_code_of_zero(target: Target, tmp_path: Any, zero: int) -> None:
    """Beside codes of both signs: those of int16 plus zero, for the same step; a stock reader's code * scale_factor + add_offset keeps the bound."""
    op, rng = Quantize(0.1, "uint16", capacity=4000, zero=zero), np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, 4000), (np.array([-zero - 1, -zero - 0.49, -zero, 0, 65533 - zero, 65534 - zero]) * float(op.step))])
    x = x.astype(np.float32)[: x.size // 2 * 2].reshape(1, 2, -1)
    r = run(target, op, {"energy": x})
    low, high = -zero, 65533 - zero
    coded, q = r.code < 65534, np.clip(np.rint(x / op.step), low, high)
    assert np.array_equal(coded, np.abs(x - q * op.step) <= op.error_bound) and np.array_equal(r.code[coded], q[coded] + zero) and not coded.all()
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["code"] = r.code
        f["code"].attrs.update(op.attributes())
    with h5py.File(tmp_path / "a.h5") as f:
        about, code = f["code"].attrs, f["code"][()]
        for dtype in (np.float32, np.float64):
            y = code.astype(dtype) * about["scale_factor"].astype(dtype) + about["add_offset"].astype(dtype)
            assert np.array_equal(y[coded], (q * op.step)[coded]) and (np.abs(x.astype(np.float64) - y)[coded] <= about["error_bound"]).all()
    y = run(target, op.inverse(), lists(r))
    assert np.array_equal(y[coded], (q * op.step)[coded]) and np.array_equal(y[~coded], x[~coded])
    hdf5.write(tmp_path / "b.h5", "d", x, op)
    assert hdf5.read(tmp_path / "b.h5", "d").tobytes() == y.tobytes()


@pytest.mark.parametrize(("make", "message"), [
    *((lambda z=z, k=k: Quantize(**k, zero=z), "zero must be 0, or with uint16") for z, k in (
        (-1, {"abs": 1, "code": "uint16"}), (65534, {"abs": 1, "code": "uint16"}), (1, {"abs": 1}), (1, {"rel": 0.1, "code": "uint16"}))),
    (lambda: Dequantize(1.0, zero=2), "zero must be 0, or with uint16"), (lambda: Quantize(1, zero=1.5), "zero must be a whole number"),
    *((lambda a=a: Quantize(a), "abs must be") for a in (0, -1, np.nan, np.inf, 7e-31, 1.3e30, 1e-39, 5e-324)),
    (lambda: Quantize(1, "int8"), "code must be"), (lambda: Quantize(1, capacity=0), "capacity must be"),
    (lambda: Quantize(1, good=np.ones((2, 2))), "good must be bool"), (lambda: Quantize(1).plan(np.zeros((2, 3, 4))), "energy must be float32"),
    (lambda: Quantize(1).plan(np.zeros((2, 0, 4), "f4")), "energy must have 1 pixel or more a frame"),
    (lambda: Quantize(1, good=np.ones((2, 2), bool)).plan(np.zeros((2, 3, 4), "f4")), "energy must be float32 \\(n, 2, 2\\)"),
    (lambda: Quantize(1).plan(np.zeros((2, 3, 4), "f4"), np.zeros((2, 3, 5), "u1")), "pixel_status must be uint8 \\(2, 3, 4\\)"),
    (lambda: Dequantize(0.1), "9 significant bits"), (lambda: Dequantize(0.1, "int32"), "24 significant bits"), (lambda: Dequantize(np.nan), "step must be"),
    (lambda: Dequantize(1, masked_value=3), "masked_value must be"), (lambda: Dequantize(1).plan(*(np.zeros((1, 2, 2), "u2"),) * 4), "code must be int16"),
])
def test_errors_name_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
