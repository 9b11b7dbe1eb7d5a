"""The relative bound, the bound by noise, and the strictness sets of all bounds, by stock readers. Over 200 lines: one oracle for three bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import NUMPY, Target
from test_stream_kit import BASE
from typer.testing import CliRunner

from gpuredux import DecodeError
from gpuredux.compress import Dequantize, Quantize, hdf5
from gpuredux.compress.quantize_levels import STEEPEST
from gpuredux.status import Frame
from gpuredux.stream.cli import app

SIZE = 1 << 14      # values of a strictness set; the long run took 1 << 20
RELS = (2.0**-20, 1e-5, 3.3e-4, 1e-3, 0.01, 0.1, 0.5)
STRICT: dict[str, tuple[float, Any]] = {     # the sets on which other compressors break their bound, and its size
    "unit normal": (1e-3, lambda rng, n: rng.normal(0, 1, n)), "sigma 1e3": (1e-3, lambda rng, n: rng.normal(0, 1e3, n)),
    "sigma 1e5": (1e-3, lambda rng, n: rng.normal(0, 1e5, n)),
    "bin edges": (1e-3, lambda rng, n: np.nextafter(((rng.integers(-40000, 40000, n) + 0.5) * 2e-3).astype(np.float32), rng.choice([-9e9, 9e9], n))),
    "NaN": (1e-3, lambda rng, n: np.where(rng.random(n) < 7e-4, np.nan, rng.normal(0, 1, n))),
    "Inf": (1e-3, lambda rng, n: np.where(rng.random(n) < 14e-4, rng.choice([np.inf, -np.inf], n), rng.normal(0, 1, n))),
    "3e38": (1e-3, lambda rng, n: np.where(rng.random(n) < 7e-4, rng.choice([3e38, -3e38], n), rng.normal(0, 1, n))),
    "subnormals": (2.0**-100, lambda rng, n: rng.integers(-(2**23), 2**23, n) * 2.0**-149),
    "1e-36": (2.0**-100, lambda rng, n: rng.normal(0, 1e-36, n)),
}


def strict_sets() -> Iterator[tuple[str, float, np.ndarray]]:
    for i, (name, (bound, make)) in enumerate(STRICT.items()):
        yield name, bound, make(np.random.default_rng(i), SIZE).astype(np.float32).reshape(1, 128, -1)


def everything(seed: int, size: int) -> np.ndarray:
    """(1, 64, size / 64): every exponent and sign, the ends of float32, subnormals, NaN, Inf and zeros."""
    bits = np.random.default_rng(seed).integers(0, 2**32, size, dtype=np.uint32)
    bits[: 2**12] = np.arange(2**12)                    # the smallest subnormals
    bits[2**12 : 2**13] = 0x7F7FFFFF - np.arange(2**12)      # the largest numbers
    bits[2**13 : 2**13 + 512] = np.add.outer(np.arange(1, 256) << 23, [0, 1, -1]).ravel()[:512]
    bits[-4:] = [0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001]
    return bits.view(np.float32).reshape(1, 64, -1)


def decoded_by_formula(code: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """float64, as the attribute `decode` says; the two reserved codes too."""
    t = attributes["log2_smallest"] + (np.abs(code.astype(np.float64)) - 1) * attributes["log2_step"]
    n = np.floor(t)
    g = t - n
    return np.where(code == 0, 0.0, np.sign(code.astype(np.float64)) * 2.0 ** np.minimum(n, 999) * (1 + g * (11 + 5 * g) / 16))


def readings(op: Quantize, r: Any) -> list[np.ndarray]:
    """What readers make of codes: in float32 and in float64 arithmetic, and our own decoder."""
    lists = (r.code, r.outlier_index, r.outlier_value, r.outlier_count)
    own = op.inverse()(*lists, backend="numba")
    if op.mode == "rel":
        wide = decoded_by_formula(r.code, op.attributes())
        with np.errstate(over="ignore"):
            return [wide, wide.astype(np.float32), own]
    scale = op.maps().get("scale", op.attributes().get("scale_factor"))
    wide = r.code.astype(np.float64) * np.asarray(scale, np.float64)
    with np.errstate(over="ignore"):
        return [wide, *([r.code.astype(np.float32) * scale] if op.kind.dtype.itemsize == 4 else [r.code * scale]), own]


def violations(op: Quantize, x: np.ndarray, r: Any) -> int:
    """Values, whatever their kind, that one of the readings does not give within the bound; and what max_error promises."""
    fill, wrong, largest = r.code == op.fill_code, 0, np.zeros(len(x))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):     # signalling NaN, too
        size = np.abs(x.astype(np.float64))
        unit, allowed = {
            "abs": lambda: (1.0, op.abs), "rel": lambda: (size, size * op.rel),
            "k_sigma": lambda: (op.step.astype(np.float64) / (2 * op.k_sigma), op.sigma.astype(np.float64) * op.k_sigma),
        }[op.mode]()
        for y in readings(op, r):
            error = np.abs(x.astype(np.float64) - y.astype(np.float64))
            wrong += int((~fill & ~(error <= allowed)).sum()) + int((~fill & (y != 0) & (np.sign(x) != np.sign(y))).sum())
            wrong += int((~fill & (y == 0) & (x != 0)).sum()) if op.mode == "rel" else 0
            largest = np.maximum(largest, np.where(fill | (error == 0), 0, error / unit).reshape(len(x), -1).max(axis=1))
    assert own_is_exact(op, x, r)
    assert np.all(r.max_error >= largest * (1 - 1e-15)) and np.all(r.max_error <= largest * (1 + 2e-6) + 1e-300)
    assert np.all(r.max_error <= np.nextafter(np.float32(op.bound), np.float32(9e9)))
    return wrong


def own_is_exact(op: Quantize, x: np.ndarray, r: Any) -> bool:
    fill = r.code == op.fill_code
    y = op.inverse()(r.code, r.outlier_index, r.outlier_value, r.outlier_count, backend="numba")
    return y[fill].tobytes() == x[fill].tobytes()


def run(target: Target, op: Quantize, x: np.ndarray) -> Any:
    """The outputs as host arrays, the same bytes as those of numpy."""
    out = op(target.put(x), backend=target.backend.name)
    got = type(out)(*map(target.get, out))
    want = op(x, backend=NUMPY.backend.name)
    for name in ("code", "outlier_count", "max_error"):
        assert getattr(got, name).tobytes() == getattr(want, name).tobytes(), name
    return got


def test_no_value_of_the_strictness_sets_is_beyond_its_bound(target: Target) -> None:
    """0 violations, in float32 and in float64 decode: absolute; relative; by noise."""
    for name, bound, x in strict_sets():
        for code in ("int16", "int32"):
            fine = Quantize(abs=bound, code=code, capacity=x.size)
            assert violations(fine, x, run(target, fine, x)) == 0, (name, code)
            rel = Quantize(rel=1e-3, code=code, capacity=x.size)
            assert violations(rel, x, run(target, rel, x)) == 0, (name, code)
        sigma = np.exp(np.random.default_rng(9).normal(0, 2, x.shape[1:])).astype(np.float32)
        noise = Quantize(k_sigma=max(bound, 1e-20), sigma=sigma, capacity=x.size)
        assert violations(noise, x, run(target, noise, x)) == 0, name


def test_a_relative_bound_holds_for_every_exponent(target: Target) -> None:
    x = everything(1, SIZE)
    for i, rel in enumerate(RELS):
        for code in ("int32", ("int16", "uint16")[i % 2]):
            op = Quantize(rel=rel, code=code, capacity=x.size)
            assert violations(op, x, run(target, op, x)) == 0, (rel, code)


def test_a_relative_bound_has_no_outliers_where_it_need_not() -> None:
    """Every finite number that is no subnormal and lies in the octaves of the codes has one; 0 is exact, of either sign; so are all subnormals' signs."""
    x = everything(2, 1 << 18)
    size = np.abs(x)
    for rel, code in ((2.0**-20, "int32"), (1e-3, "int32"), (0.0031, "int16"), (0.0016, "uint16"), (1e-3, "int16"), (0.5, "int16")):
        op = Quantize(rel=rel, code=code, capacity=x.size)
        r = op(x, backend="numba")
        low, high = (2.0 ** (op.spacing.origin / 2.0**23 + k * op.step) for k in (0, op.spacing.most - 1))
        inside = np.isfinite(x) & (size >= max(low * 1.1, 2.0**-126)) & (size <= min(high / 1.1, 2.0**127.9)) & ((x > 0) | (code != "uint16"))
        assert inside.sum() > 1000 and not (r.code[inside] == op.fill_code).any(), (rel, code)
        assert (high > 2.0**126 and low == 2.0**-149) == (rel >= 0.0016 or code == "int32")
        assert not r.code[x == 0].any()


def test_levels_are_no_further_apart_than_the_bound_allows_and_nearly_as_far() -> None:
    g = np.linspace(0, 1, 100001)
    slope = (11 + 10 * g) / (16 + 11 * g + 5 * g * g)
    assert STEEPEST - 1e-4 < slope.max() < STEEPEST
    for rel in RELS:
        op = Quantize(rel=rel, code="int32")
        codes = np.arange(1, 200_000, dtype=np.int32)
        levels = decoded_by_formula(codes, op.attributes())
        ratio = np.log(levels[1:] / levels[:-1])
        most = np.log((1 + rel) / (1 - rel))
        assert ratio.max() <= most and (rel < 1e-4 or ratio.max() > 0.95 * most or rel == 0.5)


def test_smallest_moves_the_octaves_that_codes_have(target: Target) -> None:
    x = np.array([0.0, 1e-6, 1e-5, -1e-5, 1e-4, 1e-3, -2e-3, 0.1, np.nan], np.float32).reshape(1, 1, 9)
    op = Quantize(rel=1e-4, smallest=1e-5)
    r = run(target, op, x)
    assert (r.code[0, 0] == op.fill_code).tolist() == [False, True, False, False, False, False, False, True, True] and abs(int(r.code[0, 0, 2])) == 1
    assert violations(op, x, r) == 0


def test_noise_gives_each_pixel_its_step(target: Target, tmp_path: Any) -> None:
    """A stock reader multiplies codes by a plane. Pixels of no noise are masked, or an error."""
    rng = np.random.default_rng(3)
    sigma = np.exp(rng.normal(0, 1.5, (37, 53))).astype(np.float32)
    good = rng.random(sigma.shape) > 0.1
    sigma[~good] = rng.choice(np.array([0, -1, np.nan, np.inf], np.float32), (~good).sum())
    x = (rng.normal(0, 30, (18, *sigma.shape)) * np.where(good, sigma, 1)).astype(np.float32)
    x[5, :3] = np.nan
    for k, code in ((0.5, "int16"), (2.7, "int32")):
        op = Quantize(k_sigma=k, sigma=sigma, good=good, code=code, capacity=500)
        r = run(target, op, x)
        assert ((r.code == op.masked_code) == ~good).all() and r.outlier_count[5] == good[:3].sum() and r.outlier_count.sum() == r.outlier_count[5]
        with h5py.File(tmp_path / f"{code}.h5", "w") as f:
            f["code"], f["scale"] = r.code, op.maps()["scale"]
            f["code"].attrs.update(op.attributes())
        with h5py.File(tmp_path / f"{code}.h5") as f:
            codes, about = f["code"][()], dict(f["code"].attrs)
            y = np.where(codes == about["_FillValue"], np.nan, codes * f["scale"][()])
        assert np.isnan(y[:, ~good]).all() and about["error_bound_sigma"] == k
        share = np.abs(x - y.astype(np.float64))[:, good] / sigma[good].astype(np.float64)
        assert np.nanmax(share) <= k and np.nanmax(share) <= r.max_error.max() <= np.nextafter(np.float32(k), np.float32(9))
        assert np.nanmax(share) > 0.98 * k


def test_noise_can_be_updated_in_a_plan(target: Target) -> None:
    x = np.random.default_rng(4).normal(0, 9, (3, 24, 17)).astype(np.float32)
    sigma = np.full(x.shape[1:], 0.5, np.float32)
    plan = Quantize(k_sigma=1.0, sigma=sigma).plan(target.put(x), backend=target.backend.name)
    plan.update(sigma=2 * sigma)
    assert target.get(plan(target.put(x)).code).tobytes() == Quantize(k_sigma=1.0, sigma=2 * sigma)(x, backend="numpy").code.tobytes()


def test_lists_over_with_every_bound(target: Target) -> None:
    x = np.full((2, 16, 16), np.inf, np.float32)
    x[1, :15] = 1.0
    for bound in ({"rel": 0.1}, {"k_sigma": 1.0, "sigma": np.ones((16, 16), np.float32)}):
        op = Quantize(capacity=20, **bound)
        r = op(target.put(x), frame_status=target.put(np.zeros(2, np.uint32)), backend=target.backend.name)
        assert target.get(r.frame_status).tolist() == [Frame.OUTLIER_OVERFLOW, 0] and target.get(r.outlier_count).tolist() == [256, 16]


@pytest.mark.parametrize("panels", [False, True])
def test_a_file_of_each_bound(tmp_path: Any, panels: bool) -> None:
    """Written and read back by us, decoded by plain h5py; and refused where what says what the codes mean is damaged."""
    rng = np.random.default_rng(5)
    x = np.exp(rng.normal(0, 6, (3, 2, 24, 17))).astype(np.float32)
    x[1, 0, :2] = np.nan
    x[2] = np.inf       # a frame stored losslessly
    sigma = np.exp(rng.normal(0, 1, x.shape[1:])).astype(np.float32)
    noise = Quantize(k_sigma=0.5, sigma=sigma, code="int32", capacity=400)
    for op in (Quantize(rel=0.01, capacity=100), Quantize(rel=1e-3, code="int32", capacity=100), noise):
        path = tmp_path / f"{op.mode}-{op.code}.h5"
        hdf5.write(path, "g/d", x, op, panels=panels)
        y = hdf5.read(path, "g/d")
        assert y[2].tobytes() == x[2].tobytes() and np.isnan(y[1, 0, :2]).all()
        with h5py.File(path) as f:
            assert f["g/d"].attrs["gpuredux_layout"] == 2
            code, about = f["g/d"][:2], dict(f["g/d"].attrs)
            stock = decoded_by_formula(code, about) if op.mode == "rel" else code * f["g/d_side/scale"][()].astype(np.float64)
            coded = code != about["_FillValue"]
            assert (np.abs(x[:2].astype(np.float64) - stock)[coded] <= op.bound_on(x[:2])[coded]).all() and coded.mean() > 0.7
            assert np.array_equal(stock[coded].astype(np.float32), y[:2][coded]) and np.array_equal(y[:2][~coded], x[:2][~coded], equal_nan=True)
        with h5py.File(path, "r+") as f:
            if op.mode == "rel":
                f["g/d"].attrs["log2_step"] = op.step * 2
            else:
                del f["g/d_side/scale"]
                f["g/d_side/scale"] = sigma[0]
        with pytest.raises(DecodeError, match=r"log2_step do not belong|scale must be float32 \(2, 24, 17\)"):
            hdf5.read(path, "g/d")


@pytest.mark.parametrize(("bound", "line"), [("rel: 0.01", ""), ("k_sigma: 1.0\n    sigma: noise.h5:/sigma", ""), ("k_sigma: 1.0", "22|23: .*needs sigma"),
                                           ("capacity: 5", "give one bound: abs, rel or k_sigma, got none")])
def test_a_stream_takes_every_bound(tmp_path: Any, bound: str, line: str) -> None:
    with h5py.File(tmp_path / "noise.h5", "w") as f:
        f["sigma"] = np.full((64, 128), 2, np.float32)
    (tmp_path / "run.yaml").write_text(BASE.replace("abs: 0.5", bound).replace("frames: 60", "frames: 20"))
    result = CliRunner().invoke(app, ["run", str(tmp_path / "run.yaml")])
    assert (result.exit_code == 0) == (not line) and (not line or re.search(line, result.output)), result.output
    for part in sorted(tmp_path.glob("out/part_*.h5")):
        y = hdf5.read(part, "entry/data/data")
        with h5py.File(part) as f:
            assert np.isfinite(y).mean() > 0.9 and {"error_bound_relative", "error_bound_sigma"} & set(f["entry/data/data"].attrs)
            assert f["entry/data/data_side/max_error"][()].max() <= (1.0 if "sigma" in bound else 0.01)


PLANE = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Quantize(), "give one bound: abs, rel or k_sigma, got none"), (lambda: Quantize(abs=1, rel=0.1), "got abs and rel"),
    (lambda: Quantize(rel=0.1, k_sigma=1, sigma=PLANE), "got rel and k_sigma"),
    *((lambda a=a: Quantize(rel=a), "rel must be 2") for a in (0, -0.1, np.nan, np.inf, 0.51, 9e-7, 1e-39)),
    *((lambda a=a: Quantize(k_sigma=a, sigma=PLANE), "k_sigma must be 2") for a in (0, -1, np.nan, np.inf, 1e-39)),
    (lambda: Quantize(k_sigma=1), "k_sigma needs sigma"), (lambda: Quantize(abs=1, sigma=PLANE), "sigma belongs to k_sigma, and the bound is abs"),
    (lambda: Quantize(abs=1, smallest=1), "smallest belongs to rel"), (lambda: Quantize(rel=0.1, smallest=0), "smallest must be"),
    (lambda: Quantize(rel="1"), "rel must be a real number"),
    *((lambda s=s: Quantize(k_sigma=1, sigma=np.float32([[1, s]])), r"of 1 pixels it is not, the first, \(0, 1\), has sigma")
      for s in (0, -1, np.nan, np.inf, 1e-39)),
    (lambda: Quantize(k_sigma=1, sigma=PLANE, good=np.ones((2, 3), bool)), "of the shape of good"),
    (lambda: Quantize(k_sigma=1, sigma=np.float32(1)), "sigma must be a plane"),
    (lambda: Quantize(k_sigma=1, sigma=PLANE).plan(np.zeros((2, 3, 4), "f4")), "energy must be float32 \\(n, 2, 2\\)"),
    (lambda: Dequantize(), "give step, or scale, or log2_step and log2_smallest, got none"), (lambda: Dequantize(1, scale=PLANE), "got step, scale"),
    (lambda: Dequantize(log2_step=0.1), "give step"), (lambda: Dequantize(log2_step=0.1, log2_smallest=0), "log2_step must be"),
    (lambda: Dequantize(log2_step=0.5, log2_smallest=-150), "log2_smallest must be"),
    (lambda: Dequantize(scale=0.1 * PLANE), "9 significant bits for int16, or NaN, as Quantize.step is; got 4 others, the first 0.1"),
    (lambda: Dequantize(scale=0 * PLANE), "got 4 others"),
])
def test_errors_name_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
