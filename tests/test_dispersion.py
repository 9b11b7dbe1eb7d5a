"""features.dispersion and dispersion_extended against float64 summed-area tables, and reflections of DIALS. Over 200 lines: both statements in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from gpuredux.features import Dispersion, DispersionExtended, strong_pixels

LIMIT = 2.0**24


def table_sums(a: np.ndarray, ky: int, kx: int) -> np.ndarray:
    """Sums over windows from a summed-area table of float64, corner by corner."""
    table = np.cumsum(np.cumsum(a.astype(np.float64), axis=0), axis=1)
    rows, cols = a.shape
    out = np.empty(a.shape)
    for r in range(rows):
        top, bottom = r - ky - 1, min(r + ky, rows - 1)
        for c in range(cols):
            left, right = c - kx - 1, min(c + kx, cols - 1)
            total = table[bottom, right]
            if top >= 0:
                total -= table[top, right]
            if left >= 0:
                total -= table[bottom, left]
            if top >= 0 and left >= 0:
                total += table[top, left]
            out[r, c] = total
    return out


def windows(image: np.ndarray, mask: np.ndarray, ky: int, kx: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counted = mask & (image < LIMIT)
    v = np.where(counted, image, 0.0)
    return table_sums(counted, ky, kx), table_sums(v, ky, kx), table_sums(v * v, ky, kx)


def dials_dispersion(image: np.ndarray, mask: np.ndarray, gain: Any = None, size: tuple[int, int] = (3, 3), sigma_b: float = 6.0, sigma_s: float = 3.0,
                     min_local: int = 2, threshold: float = 0.0) -> np.ndarray:
    """The strong pixels of one panel, all in float64."""
    image = image.astype(np.float64)
    m, x, y = windows(image, mask, *size)
    with np.errstate(invalid="ignore"):
        if gain is None:
            a, c = m * y - x * x - x * (m - 1), x * sigma_b * np.sqrt(2 * (m - 1))
            d = sigma_s * np.sqrt(x * m)
        else:
            gain = np.asarray(gain, np.float64)
            a, c = m * y - x * x, gain * x * (m - 1 + sigma_b * np.sqrt(2 * (m - 1)))
            d = sigma_s * np.sqrt(gain * x * m)
        return mask & (m >= min_local) & (x >= 0) & (image > threshold) & (a > c) & (m * image - x > d)


def dials_extended(image: np.ndarray, mask: np.ndarray, gain: Any = None, size: tuple[int, int] = (3, 3), sigma_b: float = 6.0, sigma_s: float = 3.0,
                   min_local: int = 2, threshold: float = 0.0) -> np.ndarray:
    """The same of the extended algorithm: the test by the formula, the erosion by a distance, the background by a second table."""
    image = image.astype(np.float64)
    m, x, y = windows(image, mask, *size)
    root = np.sqrt(2 * np.maximum(m - 1, 0))
    g = np.ones(image.shape) if gain is None else np.asarray(gain, np.float64)
    fails = m * y - x * x - x * (m - 1) > x * sigma_b * root if gain is None else m * y - x * x > g * x * (m - 1 + sigma_b * root)
    fails = ~mask | (fails & (m >= min_local) & (x >= 0))
    distance = np.full(image.shape, 1 << 20) if fails.all() else ndimage.distance_transform_cdt(fails, "chessboard")
    region = mask & fails & (distance >= min(size))
    n, total, _ = windows(image, mask & ~region, size[0] + 2, size[1] + 2)
    mean = np.divide(np.maximum(total, 0), n, out=np.zeros(image.shape), where=n >= 2)
    return region & (total >= 0) & (image > threshold) & (image >= mean + sigma_s * np.sqrt(g * mean))


ALGORITHMS = [pytest.param(Dispersion, dials_dispersion, id="dispersion"), pytest.param(DispersionExtended, dials_extended, id="extended")]


def found(op: Any, image: np.ndarray, target: Any = None) -> np.ndarray:
    """bool strong pixels of one frame."""
    if target is None:
        bits, count = op(image[None], backend="numpy")
    else:
        bits, count = (target.get(a) for a in op(target.put(image[None]), backend=target.backend.name))
    pixels = strong_pixels(bits, image.shape[-1])[0]
    assert pixels.shape == image.shape and pixels.sum() == count[0]
    assert sum(int(w).bit_count() for w in np.asarray(bits).ravel()) == count[0], "bits behind the last column are 0"
    return pixels


def frames(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """A background from 0 to 50 with noise beyond Poisson's at places, and pixels too large for any sum."""
    x = rng.poisson(rng.choice([0.02, 0.3, 2, 50]) * np.exp(rng.normal(0, 0.2, shape))).astype(np.float64)
    for _ in range(1 + x.size // 150):
        r, c = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        x[r : r + int(rng.integers(1, 4)), c : c + int(rng.integers(1, 4))] += rng.integers(1, 400)
    if np.dtype(dtype).itemsize == 4:
        x[rng.random(shape) < 0.003] = rng.choice([LIMIT - 1, LIMIT, LIMIT + 1, 2.0**30])
    if np.dtype(dtype).kind == "i":
        x[rng.random(shape) < 0.02] = rng.choice([-1, -2])
    return np.minimum(x, np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize(("kind", "dials"), ALGORITHMS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 4), (9, 1)])
def test_what_dials_marks(kind: type, dials: Callable[..., np.ndarray], size: tuple[int, int]) -> None:
    rng, marked = np.random.default_rng(size[0] * 10 + size[1]), 0
    for k in range(24):
        dtype = ["uint8", "uint16", "int16", "uint32", "int32"][k % 5]
        shape = (int(rng.integers(1, 50)), int(rng.integers(1, 70)))       # smaller than the window, too
        image, mask = frames(rng, shape, dtype), rng.random(shape) > (0, 0.1, 0.6)[k % 3]
        gain = None if k % 2 else rng.uniform(0.5, 2, shape).astype(np.float32)
        given = {"sigma_b": float(rng.choice([6.0, 3.0, 0.0])), "sigma_s": float(rng.choice([3.0, 0.0])), "min_local": int(rng.integers(2, 10)),
                 "threshold": float(rng.choice([0, 2.5]))}
        given["min_local"] = min(given["min_local"], (2 * size[0] + 1) * (2 * size[1] + 1))
        want = dials(image, mask, gain, size, **given)
        op = kind(size, given["sigma_b"], given["sigma_s"], given["min_local"], given["threshold"], gain, mask)
        assert np.array_equal(found(op, image), want)
        marked += int(want.sum())
    assert marked > 20


@pytest.mark.parametrize(("kind", "dials"), ALGORITHMS)
def test_one_number_is_a_map_of_gains(kind: type, dials: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    image = frames(rng, (60, 60), "uint16")
    want = dials(image, np.ones(image.shape, bool), np.full(image.shape, 1.7))
    assert 0 < want.sum() < want.size
    assert np.array_equal(found(kind(gain=1.7), image), want)


@pytest.mark.parametrize(("kind", "dials"), ALGORITHMS)
def test_float_frames_are_counts_in_units(kind: type, dials: Callable[..., np.ndarray]) -> None:
    """In steps of 2^-4: what DIALS makes of the rounded values."""
    rng = np.random.default_rng(3)
    image = (rng.poisson(2, (50, 60)) + rng.normal(0, 0.2, (50, 60))).astype(np.float32)
    image[20:22, 30:32] += 40.3
    want = dials(np.rint(image * 16.0) / 16, np.ones(image.shape, bool), np.ones(image.shape))
    assert want.sum() >= 3
    assert np.array_equal(found(kind(unit=2.0**-4), image), want)
    image[21, 31] = np.nan
    mask = np.isfinite(image)
    want = dials(np.rint(np.where(mask, image, 0) * 16.0) / 16, mask, np.ones(image.shape))
    assert np.array_equal(found(kind(unit=2.0**-4), image), want)


@pytest.mark.parametrize("kind", [Dispersion, DispersionExtended])
def test_panels_are_images_by_themselves(kind: type) -> None:
    rng = np.random.default_rng(5)
    stack = np.stack([frames(rng, (20, 45), "uint16") for _ in range(3)])
    whole = strong_pixels(kind()(stack[None], backend="numba").strong, 45)[0]
    assert whole.any()
    for panel, got in zip(stack, whole, strict=True):
        assert np.array_equal(got, found(kind(), panel))


@pytest.mark.parametrize("kind", [Dispersion, DispersionExtended])
def test_frames_without_information(target: Any, kind: type) -> None:
    """All zero, all saturated, all masked, one pixel: no strong pixel; nor one that is all there is in its window."""
    for image in (np.zeros((9, 40), np.uint16), np.full((9, 40), 65535, np.uint16), np.full((1, 1), 9, np.uint16), np.full((9, 40), 2**32 - 1, np.uint32)):
        assert not found(kind(), image, target).any()
    image = np.zeros((9, 40), np.uint16)
    image[4, 20] = 1000
    assert found(kind(), image, target).sum() == 1
    assert not found(kind(good=np.zeros(image.shape, bool)), image, target).any()
    assert not found(kind(good=image > 0), image, target).any()


def test_limits_of_the_fields() -> None:
    for fields, words in (({"kernel_size": (0, 3)}, "kernel_size"), ({"kernel_size": 3}, "kernel_size"), ({"kernel_size": (3, 10)}, "1 to 9"),
                          ({"sigma_strong": -1.0}, "sigma_strong"), ({"sigma_background": float("nan")}, "sigma_background"), ({"min_local": 1}, "min_local"),
                          ({"min_local": 50}, "min_local"), ({"gain": 0.0}, "gain"), ({"gain": np.full((3, 3), np.nan)}, "gain"),
                          ({"gain": np.ones((3, 3)), "good": np.ones((3, 4), bool)}, "gain"),
                          ({"unit": 0.3}, "unit"), ({"global_threshold": -1.0}, "threshold")):
        with pytest.raises((ValueError, TypeError), match=words):
            Dispersion(**fields)
    for shape in ((5,), (2, 5), (1, 2, 3, 4, 5), (1, 0, 5)):
        with pytest.raises(ValueError, match="energy must be"):
            Dispersion().plan(np.zeros(shape, np.uint16), backend="numpy")
    assert Dispersion(min_local=0).least == 49


def spots_of(strong: np.ndarray, least: int = 3) -> list[np.ndarray]:
    """(k, 3) frame, row, col of the strong pixels of each spot: neighbours in a frame or in the next one, as DIALS joins them."""
    labels, n = ndimage.label(strong)
    at = np.argwhere(labels)
    order = np.argsort(labels[tuple(at.T)], kind="stable")
    groups = np.split(at[order], np.cumsum(np.bincount(labels[labels > 0], minlength=n + 1)[1:])[:-1])
    return [g for g in groups if len(g) >= least]


def recall(op: Any, real: Callable[[str, str], np.ndarray]) -> tuple[float, int, float, float]:
    """Share of the reflections of I / sigma > 5 that a spot of at least 3 pixels lies on, their number, spots a frame, unmatched ones a frame.

    A reflection is found by a spot with a pixel within its box; a spot is matched by the box of any reflection, with 2 pixels around."""
    file = "pilatus2m_lcysteine_01.h5"
    data = real(file, "data")
    box, total, variance = (real(file, f"reflections/{k}") for k in ("bbox", "I_sum", "I_sum_var"))       # box: from and to, of column, row and frame
    strong = strong_pixels(type(op)(good=(data >= 0).all(axis=0))(data, backend="numba").strong, data.shape[-1])
    spots = spots_of(strong)

    def on(edge: int) -> np.ndarray:
        """bool (spots, reflections)."""
        low, high = box[:, ::2] - edge, box[:, 1::2] + edge
        return np.array([((s[:, None, ::-1] >= low) & (s[:, None, ::-1] < high)).all(axis=2).any(axis=0) for s in spots])

    bright = total / np.sqrt(np.maximum(variance, 1e-9)) > 5
    return float(on(0).any(axis=0)[bright].mean()), int(bright.sum()), len(spots) / len(data), float((~on(2).any(axis=1)).sum() / len(data))


@pytest.mark.parametrize("kind", [Dispersion, DispersionExtended])
def test_reflections_of_a_rotation_series(real: Callable[[str, str], np.ndarray], kind: type) -> None:
    share, n, spots, unmatched = recall(kind(), real)
    print(f"{kind.name}: {share:.1%} of {n} reflections, {spots} spots a frame, {unmatched} of them unmatched")
    assert n > 20 and share >= 0.9 and unmatched <= 5
