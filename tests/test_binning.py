"""features.bin, running, cube and histogram against NumPy, on the host: that every backend gives those bytes, the contract tests. Over 200 lines: four ops."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from gpuredux import Chain, Spec, calib
from gpuredux.datasets.cases_binning import ODD, frames_of, good_of, marks_of
from gpuredux.features import Bin, Cube, Histogram, Running
from gpuredux.features.frames import WORDS
from gpuredux.features.histogram import panel_labels

HOST = ("numpy", "numba")
every_host = pytest.mark.parametrize("backend", HOST)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def blocks(x: np.ndarray, a: int, b: int, fill: Any) -> np.ndarray:
    """(..., R, C, a * b): the pixels of each bin, by padding and reshape."""
    *lead, rows, cols = x.shape
    down, across = -(-rows // a), -(-cols // b)
    padded = np.full((*lead, down * a, across * b), fill, x.dtype)
    padded[..., :rows, :cols] = x
    return np.moveaxis(padded.reshape(*lead, down, a, across, b), -2, -3).reshape(*lead, down, across, a * b)


# ----------------------------------------------------------------------------------------------------------- features.bin
@pytest.mark.parametrize(("backend", "dtype"), [("numpy", d) for d in WORDS] + [("numba", d) for d in ("uint16", "int32", "float32")])    # each compiles
@pytest.mark.parametrize(("frame", "size"), [((8, 12), (2, 2)), ((7, 13), (2, 2)), ((3, 5, 9), (4, 3)), ((1, 1), (3, 3)), ((6, 6), (1, 1))])
def test_bins_are_those_of_a_reshape(backend: str, dtype: str, frame: tuple[int, ...], size: tuple[int, int]) -> None:
    rng = random(1)
    x, good, status = frames_of(rng, dtype, 12, frame), good_of(rng, frame), marks_of(rng, 12, frame)
    use = blocks(good & (status == 0) & np.isfinite(x), *size, False)
    wide = blocks(np.where(np.isfinite(x), x, 0).astype(np.float64), *size, 0.0)       # of 32 bits each is exact
    count, total = use.sum(-1), np.where(use, wide, 0).sum(-1)
    for statistic in ("sum", "mean", "max"):
        got = Bin(size, statistic, good=good, count=True, status=True)(x, status, backend=backend)
        assert got.bin_count.dtype == np.uint16 and np.array_equal(got.bin_count, count)
        assert np.array_equal(got.bin_status, np.where(count > 0, 0, 8))
        empty = np.isnan(got.binned) if got.binned.dtype.kind == "f" else got.binned == 0
        assert empty[count == 0].all()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            want = {"sum": total, "mean": total / count, "max": np.where(use, wide, -np.inf).max(-1)}[statistic][count > 0]
            if statistic == "sum" and dtype == "float32":      # any order: the f64 sum may differ in its last bits, where large ones cancel too
                scale = np.where(use, np.abs(wide), 0).sum(-1)[count > 0]
                ends = np.isinf(want.astype(np.float32))
                assert np.array_equal(got.binned[count > 0][ends], want.astype(np.float32)[ends])
                assert (np.abs(got.binned[count > 0] - want) <= 2.0**-23 * np.abs(want) + 2.0**-48 * scale)[~ends].all()
            elif dtype == "float32" and statistic == "mean":
                scale = (np.where(use, np.abs(wide), 0).sum(-1) / np.maximum(count, 1))[count > 0]
                assert (np.abs(got.binned[count > 0] - want) <= 2.0**-23 * np.abs(want) + 2.0**-48 * scale).all()
            else:
                assert np.array_equal(got.binned[count > 0], want.astype(got.binned.dtype))


@every_host
def test_a_sum_does_not_wrap(backend: str) -> None:
    """In the pixels' own type it would; a bin of the most pixels that may be."""
    x = np.full((1, 255, 257), 65535, np.uint16)
    assert Bin((255, 257))(x, backend=backend).tolist() == [[[65535 * 65535]]]
    assert Bin((255, 257))(x, backend=backend).dtype == np.int64 and Bin()(x, backend=backend).dtype == np.int32
    for word, value in ((np.uint32, 2**32 - 1), (np.int32, -(2**31))):
        assert Bin((255, 257))(np.full((1, 255, 257), value, word), backend=backend).item() == 65535 * value
        mean = Bin((255, 257), "mean")(np.full((1, 255, 257), value, word), backend=backend)
        assert mean.item() == np.float32(value)
    assert Bin((2, 2), "max")(np.full((1, 3, 3), -(2**31), np.int32), backend=backend).tolist() == [[[-(2**31)] * 2] * 2]


@every_host
def test_a_float_sum_is_taken_in_f64_in_raster_order(backend: str) -> None:
    """2**60 + 1 - 2**60 is 0 in that order and 1 in others; 2**24 + 1 + 1 needs more than 24 bits. Too much for f32 is Inf."""
    x = np.array([[[2.0**60, 1, 2.0**24, 1], [-(2.0**60), 0, 1, 0]]], np.float32)
    assert Bin()(x, backend=backend).tolist() == [[[0.0, 16777218.0]]]
    assert np.isposinf(Bin()(np.full((1, 2, 2), 3e38, np.float32), backend=backend)).all()
    assert Bin((2, 2), "mean")(np.full((1, 2, 2), 3e38, np.float32), backend=backend).item() == np.float32(3e38)


@every_host
def test_a_bin_with_too_few_pixels_is_empty(backend: str) -> None:
    """Partial bins at the edge included: they are kept, and min_good decides on them as on others."""
    x = np.arange(15, dtype=np.uint16).reshape(1, 3, 5)
    got = Bin(min_good=3, count=True, status=True)(x, backend=backend)
    assert got.bin_count.tolist() == [[[4, 4, 2], [2, 2, 1]]]
    assert got.binned.tolist() == [[[0 + 1 + 5 + 6, 2 + 3 + 7 + 8, 0], [0, 0, 0]]]
    assert got.bin_status.tolist() == [[[0, 0, 8], [8, 8, 8]]]
    assert np.isnan(Bin(min_good=4)(x.astype(np.float32), backend=backend)).tolist() == [[[False, False, True], [True] * 3]]
    masked = Bin(good=np.zeros((3, 5), bool), count=True, status=True)(np.full((2, 3, 5), np.nan, np.float32), backend=backend)
    assert np.isnan(masked.binned).all() and not masked.bin_count.any() and (masked.bin_status == 8).all()


@every_host
def test_zeros_of_bins_are_plus_zero(backend: str) -> None:
    x = np.full((1, 2, 2), -0.0, np.float32)
    assert not any(np.signbit(Bin((2, 2), s)(x, backend=backend)).any() for s in ("sum", "mean", "max"))
    assert Bin((2, 2), "max")(ODD[:4].reshape(1, 2, 2), backend=backend).view(np.uint32).item() == 0x7FC00000


def test_geometry_follows() -> None:
    """The mask and the positions of bins are those of their pixels, by reshape."""
    rng = random(2)
    good, op = rng.random((3, 7, 11)) > 0.6, Bin((2, 3), min_good=3)
    assert np.array_equal(op.good_bins(good), blocks(good, 2, 3, False).sum(-1) >= 3)
    y = rng.normal(0, 100, (3, 7, 11))
    assert np.allclose(op.positions(y), np.nanmean(blocks(y, 2, 3, np.nan), axis=-1), rtol=0, atol=1e-12)
    x = np.ones((1, 3, 7, 11), np.uint16)
    status = Bin((2, 3), good=good, min_good=3, status=True)(x).bin_status[0]
    assert np.array_equal(status == 0, op.good_bins(good))


def test_bins_behind_other_ops() -> None:
    """of= names what is binned: energies of a gain, which the chain feeds by name."""
    raw = random(3).integers(0, 0x4000, (3, 8, 8), dtype=np.uint16)
    gain = calib.Gain(np.zeros((3, 8, 8)), np.ones((3, 8, 8)))
    chained = Chain([gain, Bin()], keep=["binned"])(raw)
    assert np.array_equal(chained, raw.reshape(3, 4, 2, 4, 2).sum((2, 4)).astype(np.float32))
    assert np.array_equal(Bin(of="raw")(raw), raw.reshape(3, 4, 2, 4, 2).sum((2, 4)))


def test_cubes_and_histograms_of_bins() -> None:
    """Of what a chain made of the frames, by its name."""
    raw, cube = random(12).integers(0, 9, (5, 6, 8), dtype=np.uint16), Cube((2,), of="binned")
    chain = Chain([Bin(of="raw"), Histogram(-0.5, 40.5, 41, of="binned"), cube], keep=["histogram", "cube_sum", "cube_count"])
    index = np.array([0, 1, 1, 0, 2], np.int32)
    got = chain(raw=raw, bin_index=index, **cube.start((3, 4), np.int32))._asdict()
    small = raw.astype(int).reshape(5, 3, 2, 4, 2).sum((2, 4))
    assert np.array_equal(got["histogram"], [np.bincount(k.ravel(), minlength=41) for k in small])
    assert np.array_equal(got["cube_sum"], [small[[0, 3]].sum(0), small[[1, 2]].sum(0)]) and got["cube_count"].tolist() == [2, 2]


@pytest.mark.parametrize(("fields", "words"), [
    ({"size": (0, 2)}, "size must be"), ({"size": (256, 256)}, "at most 65535"), ({"size": 2}, "size must be"), ({"statistic": "median"}, "statistic must be"),
    ({"min_good": 5}, "min_good must be 1 to 4"), ({"good": np.ones((2, 2))}, "good must be bool"), ({"of": "live"}, "of must be"),
])
def test_bins_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"features.bin: .*{words}"):
        Bin(**fields)


def test_frames_that_cannot_be_binned() -> None:
    for shape in ((3, 4), (2, 3, 4, 5, 6), (2, 0, 4)):
        with pytest.raises(ValueError, match=r"must be \(n, rows, cols\) or"):
            Bin()(np.zeros(shape, np.uint16))


# ------------------------------------------------------------------------------------------------------- features.running
def taken(op: Running, x: np.ndarray, backend: str, batches: list[Any], state: Any = None, **given: np.ndarray) -> dict[str, np.ndarray]:
    """The state behind these batches of frames (lists of their numbers)."""
    state = op.start(x.shape[1:], x.dtype) if state is None else state
    for rows in batches:
        out = op(x[rows], **state, **{k: v[rows] for k, v in given.items()}, backend=backend)
        state = {k: getattr(out, k) for k in state}
    return state


@every_host
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "float32"])
def test_running_moments_are_those_of_all_frames(backend: str, dtype: str) -> None:
    rng, frame = random(4), (5, 7)
    x = frames_of(rng, dtype, 30, frame)
    if dtype == "float32":      # in whole units, and never beyond: then the sums are exact
        x[~(np.abs(x) < 1e6)] = np.nan
        x = np.rint(x * 256) / 256
    good, status = good_of(rng, frame), marks_of(rng, 30, frame)
    op = Running(good=good)
    state = taken(op, x, backend, [[*range(7)], [], [*range(7, 30)]], pixel_status=status)
    use = good & (status == 0) & np.isfinite(x)
    values = [[int(v * 256) if dtype == "float32" else int(v) for v in x[:, r, c][use[:, r, c]]] for r, c in np.ndindex(frame)]
    assert state["running_count"].ravel().tolist() == [len(v) for v in values]
    assert state["running_sum"].ravel().tolist() == [sum(v) for v in values]
    squares = state["running_sum2"].astype(object)
    assert sum(s << 32 * k for k, s in enumerate(squares)).ravel().tolist() == [sum(q * q for q in v) for v in values]
    wide = np.where(use, x.astype(np.float64), np.nan)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)     # of pixels that are never used
        np.testing.assert_allclose(op.mean(state), np.nanmean(wide, axis=0), rtol=1e-14, atol=1e-14 * 2**32)
        np.testing.assert_allclose(op.variance(state), np.nanvar(wide, axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(op.variance(state, 1), np.nanvar(wide, axis=0, ddof=1), rtol=1e-9, atol=1e-9)
        least, most = np.nanmin(wide, axis=0), np.nanmax(wide, axis=0)
    some = state["running_count"] > 0
    assert np.array_equal(state["running_extreme"][0][some], least[some]) and np.array_equal(state["running_extreme"][1][some], most[some])
    assert np.isnan(op.mean(state)[~some]).all() and (~some).any()


@every_host
def test_running_states_merge(backend: str) -> None:
    """Two processes with frames of two classes, in any order, have what one has; floats too, and each class is what it is alone."""
    rng = random(5)
    x = rng.normal(1000, 300, (24, 3, 4)).astype(np.float32)
    x[3, 1, 1], x[5] = np.nan, np.inf
    which = rng.integers(0, 4, 24).astype(np.uint8)
    op = Running(classes=3)
    whole = taken(op, x, backend, [[*range(24)]], event_class=which)
    parts = [taken(op, x, backend, [[*rows[:5]], [*rows[5:]]], event_class=which) for rows in (range(23, 11, -1), range(12))]
    merged = op.merge(*parts)
    assert {k: v.tobytes() for k, v in merged.items()} == {k: v.tobytes() for k, v in whole.items()}
    assert whole["running_stray"].tolist() == [(which == 3).sum()] and (which == 3).any()
    for k in range(3):
        alone = taken(Running(), x, backend, [[*np.flatnonzero(which == k)]])
        assert all(np.array_equal(alone[name], whole[name][k]) for name in ("running_count", "running_sum"))
        assert all(np.array_equal(alone[name], whole[name][:, k]) for name in ("running_sum2", "running_extreme"))
    with pytest.raises(ValueError, match="cannot be merged"):
        op.merge(whole, Running().start((3, 4)))


@every_host
def test_a_variance_does_not_cancel(backend: str) -> None:
    """One count of noise on the largest words; and the widest spread that there is."""
    for dtype, top in ((np.uint16, 65535), (np.uint32, 2**32 - 1), (np.int32, -(2**31) + 1)):
        x = np.full((64, 1, 2), top, dtype)
        x[::2] -= 1
        state = taken(Running(), x, backend, [[*range(64)]])
        assert Running().variance(state).tolist() == [[0.25, 0.25]] and Running().mean(state).tolist() == [[top - 0.5] * 2]
    x = np.full((64, 1, 1), 2**31 - 1, np.int32)
    x[::2] = -(2**31)
    state = taken(Running(), x, backend, [[*range(64)]])
    np.testing.assert_allclose(Running().variance(state), (2.0**31 - 0.5) ** 2, rtol=1e-15)


@every_host
def test_pixels_beyond_the_unit_are_limited_and_flagged(backend: str) -> None:
    x = np.zeros((4, 1, 2), np.float32)
    x[1, 0, 0], x[2, 0, 0], x[3, 0, 1] = 2147483520 / 256, 2147483648 / 256, -np.inf
    state = Running().start((1, 2))
    out = Running()(x, **state, frame_status=np.array([1, 2, 4, 8], np.uint32), backend=backend)
    assert out.frame_status.tolist() == [1, 2, 4 | 1 << 11, 8]
    assert out.running_sum.tolist() == [[2 * 2147483520, 0]] and out.running_count.tolist() == [[4, 3]]
    assert out.running_extreme[1, 0, 0] == 8388608


def test_running_says_what_is_wrong() -> None:
    x, op = np.zeros((2, 3, 4), np.uint16), Running(extremes=False)
    with pytest.raises(ValueError, match="give scale="):
        op.mean(op.start((3, 4), np.uint16))
    with pytest.raises(ValueError, match="running_extreme was given, but not asked for"):
        op(x, **Running().start((3, 4), np.uint16))
    with pytest.raises(TypeError, match="running_extreme must be uint16"):
        Running(squares=False)(x, **Running(squares=False).start((3, 4), np.float32))
    for fields, words in (({"classes": 257}, "classes must be"), ({"unit": 0.3}, "unit must be a power of two")):
        with pytest.raises(ValueError, match=words):
            Running(**fields)


# ---------------------------------------------------------------------------------------------------------- features.cube
def stacked(op: Cube, x: np.ndarray, index: np.ndarray, backend: str, batches: list[Any], **given: np.ndarray) -> dict[str, np.ndarray]:
    """The state behind these batches of events."""
    state = op.start(x.shape[1:], x.dtype)
    for rows in batches:
        out = op(x[rows], index[rows], **state, **{k: v[rows] for k, v in given.items()}, backend=backend)
        state = {k: getattr(out, k) for k in state}
    return state


@every_host
@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_a_cube_holds_the_sums_of_its_bins(backend: str, dtype: str) -> None:
    rng, frame, op = random(6), (4, 5), Cube((3, 4), squares=True, used=True)
    x, status = frames_of(rng, dtype, 60, frame), marks_of(rng, 60, frame)
    index = np.stack([rng.integers(-1, 4, 60), rng.integers(-1, 5, 60)], axis=1).astype(np.int32)
    state = stacked(op, x, index, backend, [[*range(10)], [], [*range(10, 60)]], pixel_status=status)
    inside = ((index >= 0) & (index < (3, 4))).all(axis=1)
    edges = (np.arange(4), np.arange(5))
    count = np.histogram2d(*index[inside].T, bins=edges)[0]
    assert np.array_equal(state["cube_count"].reshape(3, 4), count) and count.min() > 0
    assert state["cube_outside"].tolist() == [60 - inside.sum(), 0]
    for (i, j), b in zip(np.ndindex(3, 4), range(12), strict=True):
        mine = (index == (i, j)).all(axis=1)
        values = np.where(status[mine] == 0, x[mine], 0).astype(object)
        assert state["cube_sum"][b].tolist() == values.sum(axis=0).tolist()
        squares = sum(s[b].astype(object) << 32 * k for k, s in enumerate(state["cube_sum2"]))
        assert squares.tolist() == (values * values).sum(axis=0).tolist()
        assert np.array_equal(state["cube_used"][b], (status[mine] == 0).sum(axis=0))
    with np.errstate(invalid="ignore"):
        want = state["cube_sum"].astype(np.float64) / np.where(state["cube_used"], state["cube_used"], np.nan)
    np.testing.assert_array_equal(op.mean(state, 1.0), want.reshape(3, 4, *frame))


@every_host
def test_cubes_of_floats_and_weights(backend: str) -> None:
    """Sum over I0 as np.histogram makes it, within the steps; in any order and from two processes the same bits; no bin without a frame is anything."""
    rng, op = random(7), Cube((7,), weighted=True)
    x, delay, weight = rng.normal(5, 2, (50, 6)).astype(np.float32), rng.uniform(-0.5, 6, 50), rng.uniform(0.5, 2, 50).astype(np.float32)
    x[3, 2], weight[[4, 5]] = np.nan, [np.nan, np.inf]
    index = np.floor(delay).astype(np.int32)
    state = stacked(op, x, index, backend, [[*range(50)]], weight=weight)
    counted = (index >= 0) & np.isfinite(weight)
    assert state["cube_outside"].tolist() == [(index < 0).sum(), ((index >= 0) & ~counted).sum()]
    for pixel in range(6):
        use = counted & np.isfinite(x[:, pixel])
        total = np.histogram(delay[use], bins=np.arange(8), weights=x[use, pixel].astype(np.float64))[0]
        assert np.abs(state["cube_sum"][:, pixel] / 256 - total).max() <= 50 * 2.0**-9
    norm = np.histogram(delay[counted], bins=np.arange(8), weights=weight[counted].astype(np.float64))[0]
    assert np.abs(state["cube_weight"] * 2.0**-16 - norm).max() <= 50 * 2.0**-17 and norm[6] == 0
    mean = op.mean(state, op.unit)
    assert np.isnan(mean[6]).all() and np.isfinite(mean[:6]).all() and not state["cube_sum"][6].any()
    parts = [stacked(op, x, index, backend, [[*rows[:9]], [*rows[9:]]], weight=weight) for rows in (range(49, 20, -1), range(21))]
    assert {k: v.tobytes() for k, v in op.merge(*parts).items()} == {k: v.tobytes() for k, v in state.items()}


def test_means_of_a_cube() -> None:
    """By weight, I0 of 2 and 4 of one bin; by use, where a pixel was left out of one event; both: that pixel has no mean. An empty bin has none."""
    x, index, weight = np.array([[8, 6], [10, np.nan]], np.float32), np.zeros(2, np.int32), np.array([2, 4], np.float32)
    for fields, want in (({}, [9, 3]), ({"used": True}, [9, 6]), ({"weighted": True}, [3, 1]), ({"weighted": True, "used": True}, [3, np.nan])):
        op = Cube((2,), **fields)
        state = stacked(op, x, index, "numpy", [[0, 1]], **({"weight": weight} if "weighted" in fields else {}))
        np.testing.assert_array_equal(op.mean(state, op.unit), [want, [np.nan] * 2])


@every_host
def test_a_cube_of_ten_thousand_bins(backend: str) -> None:
    rng, op = random(8), Cube((100, 100))
    x, index = rng.integers(0, 65536, (500, 2, 3)).astype(np.uint16), rng.integers(0, 100, (500, 2)).astype(np.int32)
    state = stacked(op, x, index, backend, [[*range(500)]])
    want = np.histogram2d(*index.T, bins=(np.arange(101),) * 2)[0]
    assert np.array_equal(state["cube_count"].reshape(100, 100), want)
    for pixel in np.ndindex(2, 3):
        total = np.histogram2d(*index.T, bins=(np.arange(101),) * 2, weights=x[:, *pixel].astype(np.float64))[0]
        assert np.array_equal(state["cube_sum"][:, *pixel].reshape(100, 100), total)


def test_a_cube_says_what_it_takes() -> None:
    """Before anything is allocated: 10^4 bins of 4 Mpx."""
    op = Cube((10000,))
    with pytest.raises(ValueError, match=r"features.cube: 10000 bins of frames \(2048, 2048\) take 671088800032 bytes, .* most_bytes is 8589934592"):
        op.start((2048, 2048), np.uint16)
    assert sum(s.nbytes for s in op.held((16, 16), np.uint16)) == 10000 * (8 + 256 * 8) + 16
    for fields, words in (({"bins": (300, 300)}, "at most 65535"), ({"bins": (1, 1, 1, 1)}, "1 to 3 axes"), ({"bins": (0,)}, "bins must be"),
                          ({"weight_unit": 0.1}, "weight_unit must be a power of two"), ({"most_bytes": 0}, "most_bytes must be positive")):
        with pytest.raises(ValueError, match=words):
            Cube(**fields)
    x, index = np.zeros((2, 3, 4), np.uint16), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="weight was given, but not asked for"):
        Cube()(x, index, weight=np.ones(2, np.float32), **Cube().start((3, 4), np.uint16))
    with pytest.raises(TypeError, match="weight must be an array"):
        Cube(weighted=True)(x, index, **Cube(weighted=True).start((3, 4), np.uint16))
    with pytest.raises(ValueError, match="cannot be merged"):
        Cube().merge(Cube().start((3, 4)), Cube((2,)).start((3, 4)))


# ----------------------------------------------------------------------------------------------------- features.histogram
def histograms_of(values: np.ndarray, low: float, high: float, bins: int) -> tuple[np.ndarray, list[int]]:
    """By np.histogram, of f64; and how many lie below, above, nowhere."""
    wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    return np.histogram(finite, bins, (low, high))[0], [int((finite < low).sum()), int((finite > high).sum()), int((~np.isfinite(wide)).sum())]


def edgy(rng: np.random.Generator, dtype: str, n: int, frame: tuple[int, ...], edges: np.ndarray) -> np.ndarray:
    """Frames with many values on the edges, and of floats one step beside them."""
    x = frames_of(rng, dtype, n, frame)
    info: Any = np.finfo(np.float32) if dtype == "float32" else np.iinfo(dtype)
    on = np.clip(edges, float(info.min), float(info.max)).astype(dtype)
    some = [on, np.nextafter(on, np.float32(1e38)), np.nextafter(on, np.float32(-1e38))] if dtype == "float32" else [on]
    x[:, ::2] = rng.choice(np.concatenate(some), x[:, ::2].shape)
    return x


@pytest.mark.parametrize(("backend", "dtype"), [("numpy", d) for d in WORDS] + [("numba", d) for d in ("uint16", "float32")])
@pytest.mark.parametrize(("low", "high", "bins"), [(0, 300, 300), (-0.5, 255.5, 256), (0.1, 0.7, 6), (-40, 1e5, 33), (7, 7.5, 1)])
def test_histograms_are_those_of_numpy(backend: str, dtype: str, low: float, high: float, bins: int) -> None:
    """Of each frame and of the batch; the last bin is closed, the others half open, whatever f64 makes of an edge."""
    rng, frame = random(9), (6, 11)
    x, good, status = edgy(rng, dtype, 11, frame, np.linspace(low, high, bins + 1)), good_of(rng, frame), marks_of(rng, 11, frame)
    use = good & (status == 0)
    got = Histogram(low, high, bins, good=good)(x, pixel_status=status, backend=backend)
    all_of = Histogram(low, high, bins, good=good, over="batch")(x, pixel_status=status, backend=backend)
    for f in range(11):
        want, outside = histograms_of(x[f][use[f]], low, high, bins)
        assert np.array_equal(got.histogram[f], want) and got.histogram_outside[f].tolist() == outside
    want, outside = histograms_of(x[use], low, high, bins)
    assert np.array_equal(all_of.histogram, want) and all_of.histogram_outside.tolist() == outside
    assert want.sum() + sum(outside) == use.sum() and (want.sum() > 0 or high == 0.7)


@every_host
def test_histograms_of_regions(backend: str) -> None:
    """Of the regions of a label, the last of which nobody asked for; and of panels."""
    rng, frame = random(10), (3, 5, 8)
    x, label = rng.normal(0, 2, (4, *frame)).astype(np.float32), rng.integers(0, 5, frame).astype(np.uint16)
    x[1, 0, 0], x[2] = np.nan, np.nan
    for which, regions in ((label, 4), (panel_labels(frame), 3)):
        got = Histogram(-3, 3, 12, label=which, regions=regions)(x, backend=backend)
        all_of = Histogram(-3, 3, 12, label=which, regions=regions, over="batch")(x, backend=backend)
        assert got.histogram.shape == (4, regions, 12) and got.histogram_outside.shape == (4, regions, 3)
        assert np.array_equal(all_of.histogram, got.histogram.sum(axis=0)) and np.array_equal(all_of.histogram_outside, got.histogram_outside.sum(axis=0))
        for f, r in np.ndindex(4, regions):
            want, outside = histograms_of(x[f][which == r], -3, 3, 12)
            assert np.array_equal(got.histogram[f, r], want) and got.histogram_outside[f, r].tolist() == outside
    assert Histogram(-3, 3, 12, label=label).regions == 5


@every_host
def test_histograms_over_a_second_value(backend: str) -> None:
    """np.histogram2d; what lies outside in the second value is counted there alone."""
    rng, frame = random(11), (9, 14)
    x, other = (edgy(rng, "float32", 6, frame, np.linspace(low, high, bins + 1)) for low, high, bins in ((-5, 12, 17), (0.1, 0.7, 6)))
    for over in ("frame", "batch"):
        got = Histogram(-5, 12, 17, other=(0.1, 0.7, 6), over=over)(x, other, backend=backend)
        for f in range(6) if over == "frame" else (slice(None),):
            a, b = x[f].astype(np.float64).ravel(), other[f].astype(np.float64).ravel()
            both = np.isfinite(a) & np.isfinite(b)
            want = np.histogram2d(b[both], a[both], bins=(6, 17), range=((0.1, 0.7), (-5, 12)))[0]
            made = [k[f] if over == "frame" else k for k in got]
            assert np.array_equal(made[0], want) and want.sum() > 0
            assert made[2].tolist() == histograms_of(b, 0.1, 0.7, 6)[1]
            inside = (b >= 0.1) & (b <= 0.7)
            assert made[1].sum(axis=0).tolist() == histograms_of(a[inside], -5, 12, 17)[1]


@every_host
def test_histograms_of_extreme_frames(backend: str) -> None:
    """All masked, all NaN, all saturated, one pixel, none."""
    one = Histogram(0, 1, 4, good=np.zeros((3, 4), bool))(np.ones((2, 3, 4), np.float32), backend=backend)
    assert not one.histogram.any() and not one.histogram_outside.any()
    lost = Histogram(0, 1, 4)(np.full((2, 3, 4), np.nan, np.float32), backend=backend)
    assert not lost.histogram.any() and lost.histogram_outside.tolist() == [[0, 0, 12]] * 2
    full = Histogram(0, 65535, 4)(np.full((2, 3, 4), 65535, np.uint16), backend=backend)
    assert full.histogram.tolist() == [[0, 0, 0, 12]] * 2 and not full.histogram_outside.any()
    assert Histogram(0, 65534, 4)(np.full((1, 1, 1), 65535, np.uint16), backend=backend).histogram_outside.tolist() == [[0, 1, 0]]
    none = Histogram(0, 1, 4, over="batch")(np.zeros((0, 3, 4), np.float32), backend=backend)
    assert none.histogram.tolist() == [0] * 4


@pytest.mark.parametrize(("fields", "words"), [
    ({"high": 0}, "low < high"), ({"high": np.inf}, "must be finite"), ({"bins": 0}, "1 to 16777216 bins"), ({"low": 1e9, "high": 1e9 + 1e-4}, "wider than"),
    ({"label": np.zeros((2, 2))}, "label must be uint16"), ({"other": (0, 1, 4), "label": np.zeros((2, 2), np.uint16)}, "without a label"),
    ({"regions": 4}, "regions must be 0 or, with a label"), ({"over": "run"}, "over must be"),
    ({"label": np.full((2, 2), 65534, np.uint16), "bins": 5000}, "more than 268435456 counters"),
])
def test_histograms_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Histogram(**{"low": 0, "high": 1, "bins": 10, **fields})


def test_a_histogram_checks_its_inputs() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(TypeError, match="other must be an array"):
        Histogram(0, 1, 4, other=(0, 1, 2))(x)
    with pytest.raises(ValueError, match="other was given, but not asked for"):
        Histogram(0, 1, 4)(x, x.copy())
    with pytest.raises(ValueError, match="less than 4294967296, which u32 counts"):
        Histogram(0, 1, 4, over="batch").outputs(Spec("energy", (1024, 2048, 2048), np.dtype(np.uint16)), None, None, None)
