"""Wavelets against PyWavelets, and against the definitions in plain Python. Over 200 lines: transforms, lifting and thresholds share their helpers."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import Target

import gpuredux
from gpuredux.datasets.case import seeded
from gpuredux.features import DWT, IDWT, Lifting, WaveletThreshold
from gpuredux.features.dwt_layout import MODES
from gpuredux.features.wavelets import NAMES, wavelet

pywt = pytest.importorskip("pywt", reason="PyWavelets is not installed: the test extra has it")
FRAMES = ((37, 53), (64, 40), (3, 5), (2, 7), (130, 33))


def wavedec2(x: np.ndarray, name: str, mode: str, levels: int) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)        # so many levels that all coefficients feel the ends: wanted here
        return pywt.wavedec2(x, name, mode, levels)


def flat(nested: list[Any]) -> list[np.ndarray]:
    return [a for part in nested for a in (part if isinstance(part, tuple) else (part,))]


def on(target: Target, op: Any, *x: np.ndarray) -> Any:
    out = op(*(target.put(a) for a in x), backend=target.backend.name)
    return type(out)(*map(target.get, out)) if isinstance(out, tuple) else target.get(out)


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_those_of_pywavelets(name: str) -> None:
    for ours, theirs in zip(wavelet(name)[1:], pywt.Wavelet(name).filter_bank, strict=True):
        assert len(ours) == len(theirs)
        assert (np.abs(np.array(ours) - theirs) <= np.spacing(np.abs(theirs))).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["haar", "db2", "sym5", "coif2", "bior1.3", "bior4.4", "bior5.5", "bior6.8"])
def test_float64_is_pywavelets_and_comes_back(name: str, mode: str) -> None:
    for frame in FRAMES:
        x = seeded(f"{name} {mode} {frame}").normal(0, 100, (2, *frame))
        refused = name == "haar" and mode.endswith("reflect") and min(frame) < 8     # PyWavelets does so when one sample is left
        for levels in (1,) if refused else (1, 3):
            op = DWT(name, mode, levels, shape=frame, dtype="float64", full_scale=500.0)
            got = op(x, backend="numpy")
            for f in range(len(x)):
                want = wavedec2(x[f], name, mode, levels)
                scale = max(np.abs(a).max() for a in flat(want))
                for a, b in zip(flat(op.unpack(got[f])), flat(want), strict=True):
                    assert a.shape == b.shape and np.abs(a - b).max() <= 1e-12 * scale
                packed, _ = pywt.coeffs_to_array(want)
                assert packed.shape == got[f].shape and np.abs(packed - got[f]).max() <= 1e-12 * scale
                left_over = np.ones(packed.shape, bool)
                for where in op.slices().values():
                    left_over[where] = False
                assert (got[f][left_over] == 0).all()
                back = pywt.waverec2(op.unpack(got[f]), name, mode)[: frame[0], : frame[1]]
                ours = op.inverse()(got[f : f + 1], backend="numpy")[0]
                assert np.abs(ours - back).max() <= 1e-12 * scale and np.abs(ours - x[f]).max() <= op.bound


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_on_every_backend(target: Target, mode: str) -> None:
    """float32: numpy's bytes, and PyWavelets' float64 within the stated bound; frames with panels, sizes that are odd at some level."""
    x = seeded(mode).normal(0, 100, (2, 2, 23, 137)).astype(np.float32)
    op = DWT("db2", mode, 2, shape=(2, 23, 137))
    got, specified = on(target, op, x), op(x, backend="numpy")
    assert got.tobytes() == specified.tobytes()
    worst = max(np.abs(a - b).max() for f in np.ndindex(2, 2)
                for a, b in zip(flat(op.unpack(got[f], (23, 137))), flat(wavedec2(x[f].astype(np.float64), "db2", mode, 2)), strict=True))
    assert 0 < worst <= op.error_bound * np.abs(x).max()


@pytest.mark.parametrize("mode", MODES)
def test_traces(mode: str) -> None:
    x = seeded(f"traces {mode}").normal(0, 1, (2, 3, 101))
    op = DWT("sym4", mode, 3, axes=1, shape=(3, 101))
    got = op(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        want = pywt.wavedec(x, "sym4", mode, 3, axis=-1)
    assert list(op.slices()) == ["cA3", "cD3", "cD2", "cD1"]
    for a, b in zip(op.unpack(got), want, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() <= 1e-12 * np.abs(want[0]).max()


def test_levels_words_and_names_as_pywavelets() -> None:
    raw = seeded("raw").poisson(5, (1, 96, 120)).astype(np.uint16)
    op = DWT("bior4.4", of="raw")
    assert op.inputs == ("raw", "live?") and op.depth((96, 120)) == pywt.dwtn_max_level((96, 120), "bior4.4") == 3
    got, want = op(raw=raw), pywt.wavedec2(raw[0], "bior4.4")
    assert got.dtype == want[0].dtype == np.float64
    assert all(np.abs(a - b).max() < 1e-11 for a, b in zip(flat(op.unpack(got[0], (96, 120))), flat(want), strict=True))
    assert set(op.slices((96, 120))) == {"cA3", *(f"c{k}{level}" for k in "HVD" for level in (1, 2, 3))}
    assert op((raw).astype(np.float32)).dtype == DWT("bior4.4", dtype="float32")(raw).dtype == np.float32


def test_what_is_no_number_reaches_no_further_than_pywavelets_lets_it() -> None:
    x = seeded("nan").normal(0, 1, (1, 40, 52)).astype(np.float32)
    x[0, 17, 20], x[0, 3, 50] = -np.nan, np.inf
    op = DWT("bior4.4", levels=2, shape=(40, 52))
    got, want = op(x)[0], wavedec2(x[0], "bior4.4", "symmetric", 2)
    for a, b in zip(flat(op.unpack(got)), flat(want), strict=True):
        assert not (np.isnan(a) & np.isfinite(b)).any() and np.isnan(a).any()
        both = np.isfinite(a) & np.isfinite(b)
        assert both.any() and np.abs(a[both] - b[both]).max() < 1e-4
    assert set(got[np.isnan(got)].view(np.uint32)) == {0x7FC00000}


def test_a_chain_of_transform_threshold_and_inverse(target: Target) -> None:
    """Nearly all of a smooth frame is in few coefficients."""
    row, col = np.mgrid[:64, :96]
    x = (100 * np.exp(-((row - 30) ** 2 + (col - 50) ** 2) / 200))[None].astype(np.float32)
    op = DWT("bior4.4", "periodization", 3, shape=(64, 96))
    line = gpuredux.Chain([op, WaveletThreshold("largest", keep=300, spare=(8, 12)), op.inverse()])
    out = on(target, line, x)
    assert int(out.kept[0]) == 300
    assert 1e-4 < np.abs(out.energy - x).max() < 1.0


# -------------------------------------------------------------------------------------------------------------------- lifting
def test_9_7_periodic_is_bior4_4_periodization() -> None:
    x = seeded("9/7").normal(0, 1, (1, 64, 128))
    got = Lifting("9/7", "float64", 3, edge="periodic")(x)[0]
    want, _ = pywt.coeffs_to_array(wavedec2(x[0], "bior4.4", "periodization", 3))
    assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()      # the lifting factors are published with 15 digits


@pytest.mark.parametrize("size", [32, 33, 70, 71])
def test_9_7_is_the_inside_of_bior4_4_reflect(size: int) -> None:
    x = seeded(f"9/7 {size}").normal(0, 1, (1, size))
    got, half = Lifting("9/7", "float64", 1, axes=1)(x)[0], (size + 1) // 2
    low, high = pywt.dwt(x[0], "bior4.4", "reflect")
    assert np.abs(low[2 : 2 + half] - got[:half]).max() < 1e-11
    assert np.abs(high[2 : 2 + size - half] - got[half:]).max() < 1e-11
    jpeg = Lifting("9/7", "float64", 1, axes=1, scale="jpeg2000")
    flat_one, alternating = (jpeg(v[None])[0] for v in (np.full(size, 3.0), 3.0 * (-1.0) ** np.arange(size)))
    assert np.abs(flat_one[:half] - 3).max() < 1e-9 and np.abs(flat_one[half:]).max() < 1e-9      # gain 1 for a constant
    assert np.abs(np.abs(alternating[half:]) - 6).max() < 1e-9 and np.abs(alternating[:half]).max() < 1e-9     # and 2 for the fastest change


def plain_5_3(x: list[int]) -> list[int]:
    """One level of a row, in whole numbers without end."""
    n = len(x)
    if n == 1:
        return x
    at = lambda i: abs(i) if abs(i) < n else 2 * n - 2 - i  # noqa: E731
    high = {i: x[i] - (x[i - 1] + x[at(i + 1)]) // 2 for i in range(1, n, 2)}
    low = [x[i] + (high[at(i - 1)] + high[at(i + 1)] + 2) // 4 for i in range(0, n, 2)]
    return low + list(high.values())


@pytest.mark.parametrize("size", [1, 2, 3, 8, 21, 64])
def test_5_3_is_the_definition(size: int) -> None:
    x = seeded(f"5/3 {size}").integers(-2048, 2049, (1, size, 9), dtype=np.int16)
    x[0, ::2, ::2], x[0, 1::2, ::2] = 2048, -2048
    rows = [plain_5_3(list(map(int, column))) for column in x[0].T]
    want = np.array([plain_5_3(list(row)) for row in zip(*rows, strict=True)])
    assert np.array_equal(Lifting(levels=1)(x)[0], want)       # |x| up to 2^11: nothing wraps


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "uint16"])
@pytest.mark.parametrize("edge", ["reflect", "periodic"])
def test_5_3_gives_every_word_back(target: Target, dtype: str, edge: str) -> None:
    info, rng = np.iinfo(dtype), seeded(f"{dtype} {edge}")
    x = rng.integers(info.min, info.max, (3, 48, 72), dtype=dtype, endpoint=True)
    x[1] = rng.choice(np.array([info.min, info.max], dtype), (48, 72))
    op = Lifting("5/3", dtype, 3, edge=edge)
    coefficients = on(target, op, x)
    assert coefficients.tobytes() == op(x, backend="numpy").tobytes()
    assert np.array_equal(on(target, op.inverse(), coefficients), x)


def test_5_3_is_near_bior2_2() -> None:
    """But for what floors take: low = sqrt(2) s, high = -d / sqrt(2)."""
    x = seeded("bior2.2").integers(0, 4096, (1, 64), dtype=np.int32)
    got, (low, high) = Lifting("5/3", "int32", 1, axes=1)(x)[0], pywt.dwt(x[0].astype(float), "bior2.2", "reflect")
    assert np.abs(low[1:33] / math.sqrt(2) - got[:32]).max() <= 1 and np.abs(-high[1:33] * math.sqrt(2) - got[32:]).max() <= 0.5 + 1e-9


# ------------------------------------------------------------------------------------------------------------------ threshold
@pytest.mark.parametrize("value", [0.0, 0.75, 3.0])
def test_hard_and_soft_are_pywavelets(value: float) -> None:
    x = np.round(seeded(f"threshold {value}").normal(0, 2, (3, 17, 19)) * 4) / 4
    hard, soft = (WaveletThreshold(kind, value)(x) for kind in ("hard", "soft"))
    assert np.array_equal(hard.coefficients, pywt.threshold(x, value, "hard"))
    with np.errstate(invalid="ignore"):     # theirs divides by |x|
        assert np.abs(soft.coefficients - np.nan_to_num(pywt.threshold(x, value, "soft"))).max() < 1e-14
    assert hard.kept.tolist() == [np.count_nonzero(h) for h in hard.coefficients]


@pytest.mark.parametrize("keep", [1, 5, 100, 322, 323, 5000])
def test_the_largest_are_those_that_sorting_finds(keep: int) -> None:
    x = np.round(seeded(f"largest {keep}").normal(0, 2, (2, 17, 19))).astype(np.float32)
    x[1, 3, 4] = np.nan
    got = WaveletThreshold("largest", keep=keep)(x)
    for f in range(2):
        order = sorted(range(x[f].size), key=lambda i: (-math.inf if np.isnan(x[f].flat[i]) else -abs(float(x[f].flat[i])), i))
        want = np.zeros_like(x[f])
        want.flat[order[:keep]] = x[f].flat[order[:keep]]
        assert np.array_equal(got.coefficients[f], want, equal_nan=True)


def test_refusals() -> None:
    for make, words in (
        (lambda: DWT("db99"), r"features\.dwt: wavelet must be one of haar"), (lambda: DWT("db2", "mirror"), "mode must be"),
        (lambda: DWT("db2", levels=0), "levels must be 1 to"), (lambda: DWT("db2", axes=3), "axes must be"),
        (lambda: DWT("db2", shape=(0, 3)), "shape must be"),
        (lambda: DWT("db2").inverse(), "no shape"), (lambda: IDWT("db2"), "no shape"), (lambda: DWT("db2", dtype="float16"), "dtype must be"),
        (lambda: DWT("db2", full_scale=0.0), "full_scale"), (lambda: DWT("db2", shape=(4, 5))(np.zeros((1, 5, 4))), r"shape is \(4, 5\)"),
        (lambda: Lifting("9/7", "int16"), "words must be"), (lambda: Lifting(edge="periodic")(np.zeros((1, 8, 12), np.int16)), "even at every level"),
        (lambda: WaveletThreshold("largest"), "keep, 1 or more"), (lambda: WaveletThreshold("hard", -1.0), "value must be"),
        (lambda: WaveletThreshold("soft", 1.0, keep=3), "keep, 1 or more"), (lambda: WaveletThreshold("hard", 1.0, spare=(1, 2, 3)), "spare must be"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(TypeError, match="float64 and dtype float32"):
        DWT("db2", dtype="float32")(np.zeros((1, 8, 8)))
