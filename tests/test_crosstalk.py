"""Crosstalk against SciPy in float64: correlate, the sparse solver, lfilter, on simulated crosstalk. Over 200 lines: two ops and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.sparse
import scipy.sparse.linalg
from conftest import Target

from gpuredux.calib import Recursive, Stencil
from gpuredux.datasets.cases_crosstalk import weights_of

NAMES = ("cross", "next", "wide", "seven")


def photons(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A dark background with noise, and bright pixels."""
    energy = rng.normal(0, 0.3, shape)
    energy[rng.random(shape) > 0.98] += 8000
    return energy.astype(np.float32)


def matrix(weights: np.ndarray, shape: tuple[int, int], good: np.ndarray | None = None) -> scipy.sparse.csr_array:
    """C of y = C x, column by column from the meaning of a weight: what pixel (r, c) receives of (r + i - h, c + j - h)."""
    h, (rows, cols) = len(weights) // 2, shape
    at, of, value = [], [], []
    for i, j in np.ndindex(weights.shape):
        for r in range(max(0, h - i), min(rows, rows + h - i)):
            for c in range(max(0, h - j), min(cols, cols + h - j)):
                at.append(r * cols + c)
                of.append((r + i - h) * cols + c + j - h)
                value.append(float(np.float32(weights[i, j])))
    full = scipy.sparse.csr_array((value, (at, of)), shape=(rows * cols, rows * cols))
    return full if good is None else full[good.ravel()][:, good.ravel()]


@pytest.mark.parametrize("name", NAMES)
def test_the_sum_is_scipys_correlate(target: Target, name: str) -> None:
    energy, w = photons(np.random.default_rng(4), (3, 45, 83)), weights_of(name).astype(np.float32)
    got = target.get(Stencil(w)(target.put(energy)))
    want = np.stack([scipy.ndimage.correlate(e.astype(np.float64), w.astype(np.float64), mode="constant") for e in energy])
    assert np.abs(got - want).max() <= (w.size + 2) * 2.0**-24 * np.abs(w).sum() * np.abs(energy).max()
    assert np.abs(got - energy).max() > 1, "there is crosstalk"


def test_asics_know_nothing_of_each_other(target: Target) -> None:
    energy, w = photons(np.random.default_rng(5), (2, 3, 40, 66)), weights_of("cross").astype(np.float32)
    got = target.get(Stencil(w, asic=(20, 33))(target.put(energy)))
    for panel, r, c in np.ndindex(3, 2, 2):
        piece = np.s_[:, panel, 20 * r : 20 * r + 20, 33 * c : 33 * c + 33]
        assert np.array_equal(got[piece], Stencil(w)(np.ascontiguousarray(energy[piece]), backend="numpy"))


def test_a_flat_image_stays_flat_with_renormalised_edges(target: Target) -> None:
    energy = np.full((1, 2, 17, 35), 5.0, np.float32)
    for name in ("cross", "wide"):
        w = np.abs(weights_of(name))
        got = target.get(Stencil(w, edge="renormalise", asic=(17, 7))(target.put(energy)))
        assert np.abs(got - 5.0 * np.float32(w).sum(dtype=np.float64)).max() < 1e-5


@pytest.mark.parametrize("edge", ("zero", "renormalise"))
@pytest.mark.parametrize("name", NAMES)
def test_simulated_crosstalk_is_taken_out(target: Target, name: str, edge: str) -> None:
    """y = C x in float64 from a sparse matrix, rounded to float32: solve gives x within the bound, and as well as SciPy's direct solver allows."""
    rng, w, shape = np.random.default_rng(6), weights_of(name).astype(np.float32), (38, 51)
    x = photons(rng, (2, *shape))
    c = matrix(w, shape)
    if edge == "renormalise":
        c = scipy.sparse.diags_array(w.astype(np.float64).sum() / c.sum(axis=1)) @ c
    y = np.stack([(c @ e.ravel().astype(np.float64)).reshape(shape) for e in x]).astype(np.float32)
    op = Stencil(w, edge=edge, solve=True)
    got = target.get(op(target.put(y)))
    exact = np.stack([scipy.sparse.linalg.spsolve(c.tocsc(), e.ravel().astype(np.float64)).reshape(shape) for e in y])
    assert np.abs(got - exact).max() <= Stencil(w, edge=edge).relative_bound * np.abs(exact).max()
    assert np.abs(got - x).max() <= Stencil(w, edge=edge).relative_bound * np.abs(x).max() < 1
    assert np.abs(y - x).max() > 50 * np.abs(got - x).max(), "and it was worth it"


def test_masked_pixels_are_left_out_of_the_system(target: Target) -> None:
    """Where some pixels are masked, NaN or Inf, the others solve the system of the others."""
    rng, w, shape = np.random.default_rng(8), weights_of("cross").astype(np.float32), (26, 34)
    x, masked = photons(rng, shape), rng.random(shape) > 0.9
    good = ~masked
    good[3, 4:6] = False
    c = matrix(w, shape, good)
    y = rng.normal(0, 1e6, shape).astype(np.float32)     # under the mask: anything
    y[good] = c @ x[good].astype(np.float64)
    y[3, 4], y[3, 5] = np.nan, -np.inf
    got = target.get(Stencil(w, solve=True)(target.put(y[None]), target.put(masked[None].astype(np.uint8))))[0]
    assert np.abs(got - x)[good].max() <= Stencil(w).relative_bound * np.abs(x).max()
    assert np.isnan(got[masked]).all() and np.isnan(got[3, 4]) and (got[3, 5] == -np.inf or masked[3, 5])


def test_the_steps_are_as_few_as_the_bound_allows() -> None:
    assert [Stencil(weights_of(k)).steps for k in ("alone", "cross")] == [0, 8] and Stencil(np.diag([0.05, 1, 0.05])).steps == 7
    nearly = np.array([[0, 0, 0], [0.45, 1, 0.45], [0, 0, 0]])
    assert Stencil(nearly).steps == 171 and Stencil(nearly).inverse().inverse().steps == 171


@pytest.mark.parametrize("scale", (6e35, 1e-40))
def test_overflow_is_the_same_everywhere(target: Target, scale: float) -> None:
    """Sums beyond float32 give Inf and NaN, of the same bits; the smallest numbers are not flushed."""
    rng = np.random.default_rng(9)
    energy = (rng.normal(0, 100, (2, 40, 50)) * scale).astype(np.float32)
    for solve in (False, True):
        op = Stencil(weights_of("cross") * 3, solve=solve)
        with np.errstate(all="ignore"):
            want = op(energy, backend="numpy")
        assert target.get(op(target.put(energy))).tobytes() == want.tobytes()
        assert scale < 1 or solve or not np.isfinite(want).all()


WRONG = [
    ({"weights": np.ones((2, 2))}, "weights must be"), ({"weights": np.ones((9, 9))}, "weights must be"), ({"weights": np.ones((3, 5))}, "weights must be"),
    ({"weights": np.full((3, 3), np.nan)}, "magnitude"), ({"weights": np.full((3, 3), 1e30)}, "magnitude"), ({"weights": np.eye(3), "edge": "wrap"}, "edge"),
    ({"weights": np.eye(3), "asic": (0, 4)}, "asic"), ({"weights": np.eye(3), "asic": (4,)}, "asic"), ({"weights": np.eye(3), "full_scale": 0}, "full_scale"),
    ({"weights": np.ones((3, 3)), "solve": True}, "outweighs its neighbours.* got 8"), ({"weights": np.zeros((3, 3))}, "all be 0"),
    ({"weights": [[0, 0, 0], [1, 1, -1], [0, 0, 0]], "edge": "renormalise"}, "renormalise"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_wrong_stencils_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^calib\.stencil: .*{message}"):
        Stencil(**fields)


def test_a_pixel_that_an_edge_makes_infinite_still_takes_part(target: Target) -> None:
    x = np.zeros((1, 4, 4), np.float32)
    x[0, 3, 1] = 3e38
    op = Stencil(np.array([[0, 0, 0], [0, 1, 0], [0, -0.2, 0]], np.float32), solve=True, edge="renormalise")
    assert target.get(op(target.put(x), backend=target.backend.name)).tobytes() == op(x, backend="numpy").tobytes()


def test_new_weights_of_a_plan_are_those_of_a_new_op(target: Target) -> None:
    energy = photons(np.random.default_rng(3), (2, 40, 48))
    old = np.array([[0, 0.02, 0], [0.02, 1.0, 0.02], [0, 0.02, 0]], np.float32)
    new = old * np.float32(1.25)
    plan = Stencil(old, asic=(20, 24), solve=True).plan(target.put(energy), backend=target.backend.name)
    plan.update(weights=new)
    want = Stencil(new, asic=(20, 24), solve=True)(energy, backend="numpy")
    assert target.get(plan(target.put(energy))).tobytes() == want.tobytes()
    with pytest.raises(ValueError, match="steps"):      # the plan's launches are set
        plan.update(weights=np.array([[0, 0.1, 0], [0.1, 1.0, 0.1], [0, 0.1, 0]], np.float32))
    assert target.get(plan(target.put(energy))).tobytes() == want.tobytes()


def test_a_stencil_without_inverse_and_a_panel_without_whole_asics() -> None:
    with pytest.raises(ValueError, match="outweighs"):
        Stencil(np.ones((3, 3))).inverse()
    with pytest.raises(ValueError, match="whole asics"):
        Stencil(np.eye(3), asic=(5, 5))(np.zeros((1, 10, 11), np.float32))


# ----------------------------------------------------------------------------------------------------------- calib.recursive
TERMS = ([0.3], [-0.6, 0.2], [0.2, -0.1, 0.05, 0.0, 0.1, -0.2, 0.02, 0.03])


def filtered(x: np.ndarray, a: np.ndarray, axis: str, reverse: bool, fir: bool) -> np.ndarray:
    """SciPy's lfilter in float64."""
    along, taps = (-2 if axis == "rows" else -1), np.append(1.0, np.float32(a).astype(np.float64))
    x = np.flip(x, along) if reverse else x
    y = scipy.signal.lfilter(taps, [1.0], x.astype(np.float64), along) if fir else scipy.signal.lfilter([1.0], taps, x.astype(np.float64), along)
    return np.flip(y, along) if reverse else y


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("axis", ("rows", "cols"))
@pytest.mark.parametrize("a", TERMS, ids=len)
def test_the_filter_is_scipys_and_takes_simulated_crosstalk_out(target: Target, a: list[float], axis: str, reverse: bool) -> None:
    """Both ways, each from what the other one makes in float64, with asics and without."""
    x = photons(np.random.default_rng(10), (2, 3, 132, 140))
    for fir in (False, True):
        op = Recursive(np.array(a), axis, reverse, fir=fir)
        scale = np.abs(filtered(x, a, axis, reverse, fir)).max()
        got = target.get(op(target.put(x)))
        assert np.abs(got - filtered(x, a, axis, reverse, fir)).max() <= op.relative_bound * scale and np.abs(got - x).max() > 100
        mixed = np.ascontiguousarray(filtered(x, a, axis, reverse, not fir), np.float32)
        again = target.get(op(target.put(mixed)))
        assert np.abs(again - x).max() <= op.relative_bound * max(np.abs(mixed).max(), np.abs(x).max()) < 0.1
        pieces = target.get(Recursive(np.array(a), axis, reverse, (66, 35), fir)(target.put(x)))
        for r, c in np.ndindex(2, 4):
            piece = np.s_[..., 66 * r : 66 * r + 66, 35 * c : 35 * c + 35]
            assert np.abs(pieces[piece] - filtered(x[piece], a, axis, reverse, fir)).max() <= op.relative_bound * scale


def test_a_bright_pixels_trail_is_gone(target: Target) -> None:
    """One pixel of 10,000 that leaves 5 % and 1 % in the next two read after it, from the last column to the first."""
    x = np.zeros((1, 4, 30), np.float32)
    x[0, 2, 20] = 10000
    measured = x.copy()
    measured[0, 2, 19], measured[0, 2, 18] = 500, 100
    got = target.get(Recursive(np.array([0.05, 0.01]), "cols", reverse=True)(target.put(measured)))
    assert np.abs(got - x).max() < 1e-3


def test_masked_pixels_leave_nothing_in_those_after_them(target: Target) -> None:
    """As if they were 0; and what they themselves were is NaN or stays Inf."""
    rng = np.random.default_rng(12)
    x = photons(rng, (1, 40, 70))
    masked, x[0, 5, 6], x[0, 7, 8] = rng.random(x.shape) > 0.9, np.nan, np.inf
    none = masked | ~np.isfinite(x)
    for axis in ("rows", "cols"):
        op = Recursive(np.array([0.4, -0.2]), axis, fir=True)
        got = target.get(op(target.put(x), target.put(masked.astype(np.uint8))))
        assert np.isnan(got[masked]).all() and np.array_equal(got[none & ~masked], x[none & ~masked], equal_nan=True)
        want = filtered(np.where(none, 0, x), [0.4, -0.2], axis, False, True)
        assert np.abs(got[~none] - want[~none]).max() <= op.relative_bound * np.abs(want).max()
        again = target.get(op.inverse()(target.put(got)))
        assert np.abs(again[~none] - x[~none]).max() <= op.relative_bound * np.abs(x[~none]).max()


WRONG_FILTERS = [
    ({"coefficients": np.zeros(0)}, "p = 1 to 8"), ({"coefficients": np.zeros(9)}, "p = 1 to 8"), ({"coefficients": np.zeros((2, 2))}, "p = 1 to 8"),
    ({"coefficients": [0.5, -0.5]}, "below 1"), ({"coefficients": [np.nan]}, "below 1|magnitude"), ({"coefficients": [1e-20]}, "magnitude"),
    ({"coefficients": [0.1], "axis": "x"}, "axis"), ({"coefficients": [0.1], "asic": (1, 0)}, "asic"),
    ({"coefficients": [0.1], "full_scale": np.inf}, "full_scale"),
]


@pytest.mark.parametrize("op", [Stencil(np.ones((1, 1), np.float32)), Recursive((0.1,))], ids=lambda op: op.name)
def test_a_frame_without_pixels_is_refused(op: Stencil | Recursive) -> None:
    with pytest.raises(ValueError, match="must have pixels"):
        op(np.zeros((2, 3, 0), np.float32))


@pytest.mark.parametrize(("fields", "message"), WRONG_FILTERS)
def test_wrong_filters_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^calib\.recursive: .*({message})"):
        Recursive(**fields)
