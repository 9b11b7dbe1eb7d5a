"""compress.verify: what it says of bounds kept and of such that are broken on purpose, of lossless chunks, and of zfp, whose tolerance some values break."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
import zfpy
from conftest import Target

from gpuredux.compress import Auto, BitshuffleLZ4, Quantize, QuantizeCounts, verify
from gpuredux.op import DecodeError

SIGMA = np.exp(np.random.default_rng(0).normal(0, 1, (24, 32))).astype(np.float32)


def energies() -> np.ndarray:
    x = np.random.default_rng(1).normal(5, 40, (4, 24, 32)).astype(np.float32)
    x[1, 0, :5] = [np.nan, np.inf, -np.inf, 3e38, -0.0]
    return x


BOUNDS = {"abs": Quantize(0.25), "abs int32": Quantize(0.25, "int32"), "rel": Quantize(rel=0.01), "k_sigma": Quantize(k_sigma=0.5, sigma=SIGMA)}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_that_is_kept(target: Target, name: str) -> None:
    op, x = BOUNDS[name], energies()
    out = op(target.put(x), backend=target.backend.name)
    report = verify(target.put(x), out, op)
    assert report.holds and report.first is None and report.values == x.size and report.bound == op.bound
    assert report.outliers == int(target.get(out.outlier_count).sum()) >= 3
    assert 0.9 * op.bound < report.largest_error <= target.get(out.max_error).max() * (1 + 1e-12) and report.largest_error <= op.bound
    if name == "abs":
        y = op.inverse()(*(target.get(getattr(out, k)) for k in ("code", "outlier_index", "outlier_value", "outlier_count"))).astype(np.float64)
        used = np.isfinite(x)
        rms, span = np.sqrt(np.mean((x[used] - y[used]) ** 2)), np.ptp(x[used].astype(np.float64))
        assert math.isclose(report.psnr, 20 * math.log10(span / rms), rel_tol=1e-9) and report.largest_difference == report.largest_error
        assert str(report) == (f"bound 0.25 the values' unit, largest error {report.largest_error:.6g}: holds; 3072 values, 0 masked, 4 outliers exact; "
                               f"largest difference {report.largest_error:.6g}, PSNR {report.psnr:.2f} dB")


def test_a_bound_that_is_broken() -> None:
    op, x = Quantize(0.25, good=np.arange(24 * 32).reshape(24, 32) != 40), energies()
    fine = op(x, backend="numba")
    assert verify(x, fine, op).masked == 4
    for name, change, frame, pixel in (
        ("another code", lambda o: o["code"][2].reshape(-1).__setitem__(77, o["code"][2].reshape(-1)[77] + 2), 2, 77),
        ("a lost outlier", lambda o: o["outlier_count"].__setitem__(1, 3), 1, 3),
        ("an outlier that changed", lambda o: o["outlier_value"].__setitem__((1, 1), -np.inf), 1, 1),
        ("a NaN in place of a value", lambda o: o["code"][0].reshape(-1).__setitem__(9, op.fill_code), 0, 9),
    ):
        stored = {k: v.copy() for k, v in fine._asdict().items()}
        change(stored)
        report = verify(x, stored, op)
        assert (report.holds, report.violations, report.first) == (False, 1, (frame, pixel)), name
        assert f"BROKEN by 1 values, the first is pixel {pixel} of frame {frame}" in str(report)


def test_more_outliers_than_the_list_holds_is_a_broken_bound() -> None:
    x = np.full((1, 8, 8), np.inf, np.float32)
    op = Quantize(1.0, capacity=60)
    assert verify(x, op(x, backend="numba"), op).violations == 4


def test_counts_within_their_bins(target: Target) -> None:
    x = np.random.default_rng(2).poisson(300, (3, 24, 32)).astype(np.uint32)
    x[0, 0, :2] = [2**32 - 1, 70000]
    op = QuantizeCounts()
    report = verify(x, op(target.put(x), backend=target.backend.name), op)
    assert report.holds and report.outliers == 2 and 0.9 < report.largest_error <= 1 and 5 < report.largest_difference < 20


def test_lossless_chunks_and_decoders_of_all_kinds() -> None:
    x = np.random.default_rng(3).poisson(2, (3, 24, 32)).astype(np.uint16)
    op = BitshuffleLZ4((24, 32), "uint16")
    out = op(x, backend="numba")
    report = verify(x, out, op.inverse())
    assert report.holds and report.bound is None and report.psnr == math.inf and str(report).startswith("lossless: holds; 2304 values")
    other = x.copy()
    other[1, 2, 3] += 1
    report = verify(other, tuple(out), op.inverse())
    assert (report.violations, report.first, report.largest_difference) == (1, (1, 67), 1.0)
    assert verify(other, tuple(out), op.inverse(), bound=1.0).holds
    big = np.array([[2**63, 2**63 + 1]], np.uint64)
    assert verify(big, big - np.uint64(1), lambda a: a).violations == 2     # alike in float64


def test_zfp_is_told_from_a_bound() -> None:
    """Its tolerance holds for plain numbers, and not with NaN or 3e38 among them."""
    def decode(chunk: bytes) -> np.ndarray:
        return zfpy.decompress_numpy(chunk)

    x = np.random.default_rng(4).normal(0, 1, (1, 64, 64)).astype(np.float32)
    assert verify(x, zfpy.compress_numpy(x[0], tolerance=1e-2), lambda c: decode(c)[None], bound=1e-2).holds
    x[0, 5, 5], x[0, 40, 9] = np.nan, 3e38
    report = verify(x, zfpy.compress_numpy(x[0], tolerance=1e-2), lambda c: decode(c)[None], bound=1e-2)
    assert report.violations > 10 and not report.holds


def test_what_cannot_be_compared_is_an_error() -> None:
    x = energies()
    with pytest.raises(ValueError, match="decoded \\(3, 24, 32\\), the original is \\(4, 24, 32\\)"):
        verify(x, x[:3], lambda a: a)
    with pytest.raises(TypeError, match="list is no array of numpy"):
        verify([1.0], x, lambda a: a)

    def broken(chunk: Any) -> np.ndarray:
        raise DecodeError(struct.pack("<I", 7).hex())

    with pytest.raises(DecodeError, match="07000000"):
        verify(x, b"chunk", broken)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_lost_value_is_an_infinite_error(bad: float) -> None:
    x = np.array([[[1, 1], [1, 5]]], np.float32)
    y = x.copy()
    y[0, 0, 1] = bad
    report = verify(x, y, lambda stored: stored, 0.5)
    assert (report.violations, report.largest_error, report.largest_difference, report.psnr) == (1, math.inf, math.inf, -math.inf)


def test_figures_of_plain_bounds() -> None:
    x = np.array([[[1, 1], [1, 5]]], np.float32)
    report = verify(x, x + np.float32(0.25), lambda stored: stored, 0.0)
    assert (report.violations, report.largest_error, report.largest_difference) == (4, 0.25, 0.25)
    wide = np.array([[[2**63 - 1, -(2**63)]]])
    report = verify(wide, wide - np.array([1, 0]), lambda stored: stored)
    assert (report.violations, report.largest_difference) == (1, 1.0)       # which float64 would not see
    for bound in (-1.0, math.nan, [1.0]):
        with pytest.raises(ValueError, match="bound must be a number, 0 or more"):
            verify(x, x, lambda stored: stored, bound)


def test_an_encoder_that_masks_measurements_is_found() -> None:
    """What may be masked is the caller's to say, not the codes'."""
    op, x = Quantize(0.25, good=np.arange(24 * 32).reshape(24, 32) != 40), energies()
    status = np.zeros(x.shape, np.uint8)
    status[2, 3, 4] = 1
    out = op(x, status, backend="numba")
    report = verify(x, out, op, pixel_status=status)
    assert report.holds and report.masked == 5
    report = verify(x, out, op)
    assert (report.violations, report.first, report.masked) == (1, (2, 3 * 32 + 4), 4)
    all_masked = {**out._asdict(), "code": np.full_like(out.code, op.masked_code), "outlier_count": np.zeros_like(out.outlier_count)}
    assert verify(x, all_masked, op, pixel_status=status).violations == x.size - 5
    with pytest.raises(ValueError, match="pixel_status"):
        verify(x, out, op, pixel_status=status[:1])


def test_from_chunks_to_energies() -> None:
    """One call for what a file holds: chunks of codes, and lists."""
    op, x = Quantize(0.25), energies()
    out = op(x, backend="numba")
    auto = Auto((24, 32), "int16")
    chunks = auto(out.code, backend="numba")
    stored = {**{k: v for k, v in out._asdict().items() if k != "code"}, **chunks._asdict()}
    report = verify(x, stored, (auto.decoder()((24, 32), "int16"), op))
    assert report.holds and report.bound == 0.25 and 0.2 < report.largest_error <= 0.25 and report.outliers == 4
    stored["filter_mask"] = stored["filter_mask"] ^ np.array([0, 0, 0, 0xFF], np.uint32)
    report = verify(x, stored, (auto.decoder()((24, 32), "int16"), op))
    assert (report.violations, report.first) == (24 * 32, (3, 0))


def test_zeros_that_stand_for_a_chunk_that_cannot_be_decoded() -> None:
    x, op = np.zeros((2, 24, 32), np.uint16), BitshuffleLZ4((24, 32), "uint16")
    out = op(x, backend="numba")
    assert verify(x, out, op.inverse()).holds
    out.payload[1, 3] ^= 0xFF
    report = verify(x, out, op.inverse())
    assert (report.violations, report.first) == (24 * 32, (1, 0))
