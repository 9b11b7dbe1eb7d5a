"""features.peak_finder8 against another statement of it (SciPy's labels, float64 sums), against truth, and at its ends. Over 200 lines: one method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage

from gpuredux.datasets.cases_peaks import radius_of
from gpuredux.features import PeakFinder8, Rings
from gpuredux.features.peak_finder8 import COLUMNS
from gpuredux.status import Frame


def rings_again(v: np.ndarray, good: np.ndarray, radius: np.ndarray, snr: float, adc: float, legacy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and threshold of each pixel's ring, all rings at once, in float64."""
    ring = np.rint(radius).astype(int)
    count = ring.max() + 1
    mean, low, high = np.zeros(count), np.full(count, -1e9 if legacy else -np.inf), np.full(count, 1e9 if legacy else np.inf)
    for _ in range(5):
        inside = good & ((v > low[ring]) if legacy else (v >= low[ring])) & (v < high[ring])
        n, s, q = (np.bincount(ring[inside], w, count) for w in (None, v[inside], v[inside] ** 2))
        some = n > 0
        m = s[some] / n[some]
        sigma = np.sqrt(np.maximum(q[some] / n[some] - m * m, 0))
        mean[some], low[some], high[some] = m, np.float32(m - snr * sigma), np.float32(np.maximum(m + snr * sigma, adc))
        if legacy:
            mean[~some], low[~some], high[~some] = 0, np.finfo(np.float32).tiny, np.finfo(np.float32).max
    return mean[ring], high[ring]


def peaks_again(v: np.ndarray, good: np.ndarray, op: PeakFinder8, radius: np.ndarray) -> list[tuple[float, ...]]:
    """(first pixel off the border, row, col, pixels, total, max, background, sigma, snr) of one panel, by whole-array steps."""
    legacy, reach = op.variant == "legacy", 2 * op.local_bg_radius
    m, hi = rings_again(v, good, radius, op.min_snr, op.adc_threshold, legacy)
    label, count = ndimage.label(good & (v > hi), np.ones((3, 3)))
    rows, cols = np.mgrid[: v.shape[0], : v.shape[1]]
    off_border = (rows > 0) & (rows < v.shape[0] - 1) & (cols > 0) & (cols < v.shape[1] - 1)
    found = []
    for k in range(1, count + 1):
        mine = label == k
        if not (mine & off_border).any() or not op.min_pix <= mine.sum() <= op.max_pix:
            continue
        weight = (v - m)[mine]
        centre = [(weight * x[mine]).sum() / abs(weight.sum()) for x in (rows, cols)]
        r, c = np.rint(centre)
        disc = ((rows - r) ** 2 + (cols - c) ** 2 <= reach**2) & (rows < r + reach) & (cols < c + reach) & good & (v < hi)
        offset, sigma, most = (v[disc].mean(), v[disc].std(), max(v[disc].max(), 0)) if disc.any() else (m[int(r), int(c)], 0.01, 0)
        if sigma < 1e-7:
            sigma = 0 if legacy else 0.01
        if legacy:
            centre = [(v[mine] * x[mine]).sum() / abs(v[mine].sum()) for x in (rows, cols)]
        total, highest = (v[mine] - offset).sum(), max((v[mine] - offset).max(), 0)
        snr = total / sigma if sigma else 0
        if snr >= op.min_snr and highest >= most - offset:
            found.append((np.flatnonzero((mine & off_border).ravel())[0], *centre, mine.sum(), total, highest, offset, sigma, snr))
    return sorted(found)


def frame_with_peaks(seed: int, shape: tuple[int, int], background: float, snr_range: tuple[float, float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """A Poisson frame u16 with Gaussian peaks of sigma 1.1 pixels, at least 12 pixels apart; and where they are."""
    rng = np.random.default_rng(seed)
    lattice = [(r, c) for r in range(8, shape[0] - 8, 14) for c in range(8, shape[1] - 8, 14)]
    at = np.array(lattice)[rng.permutation(len(lattice))[:count]] + rng.uniform(-0.5, 0.5, (count, 2))
    y, x = np.mgrid[: shape[0], : shape[1]]
    ideal = np.full(shape, float(background))
    for (r, c), height in zip(at, rng.uniform(*snr_range, count), strict=True):
        spot = np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * 1.1**2))
        ideal += height * spot / spot.sum()
    return rng.poisson(ideal).astype(np.uint16), at


@pytest.mark.parametrize("variant", ["safe", "legacy"])
@pytest.mark.parametrize("seed", range(4))
def test_another_statement_of_the_method(target: Target, variant: str, seed: int) -> None:
    shape = (96, 131)
    frame, _ = frame_with_peaks(seed, shape, [20, 4, 200, 1][seed], (30, 2000), 30)
    good = np.random.default_rng(seed).random(shape) > 0.02
    radius = radius_of(shape)
    op = PeakFinder8(radius, 8.0, [5, 4, 6, 3][seed], 2, 60, 3, good=good, variant=variant)
    got = [target.get(a)[0] for a in op(target.put(frame[None]), backend=target.backend.name)]
    table, count = dict(zip(COLUMNS, got, strict=False)), got[len(COLUMNS)]
    want = np.array(peaks_again(frame.astype(np.float64), good, op, radius))
    assert count == len(want) >= 6
    for k, name in enumerate(("row", "col", "pixels", "total", "max", "background", "sigma", "snr"), 1):
        np.testing.assert_allclose(table[name][:count], want[:, k], rtol=2e-6, atol=1e-5, err_msg=name)


def hits(table: Any, at: np.ndarray, within: float = 1.5) -> tuple[int, int, float]:
    """True peaks found, found peaks that are none, and the mean distance of the found ones [pixel]."""
    n = int(table.peak_count[0])
    found = np.stack([table.peak_row[0, :n], table.peak_col[0, :n]], 1).astype(np.float64)
    if n == 0:
        return 0, 0, 0.0
    distance = np.hypot(*(at[:, None] - found[None]).transpose(2, 0, 1))
    nearest = distance.min(1)
    return int((nearest < within).sum()), int((distance.min(0) >= within).sum()), float(nearest[nearest < within].mean())


@pytest.mark.parametrize("background", [0, 0.001, 0.01, 0.03, 0.1, 1])
def test_near_zero_backgrounds_lose_no_peak(background: float) -> None:
    """Where the originals lose up to 98 % of the peaks of photon counting detectors, "safe" finds all; "legacy" is here to show that it does not."""
    rng = np.random.default_rng(7)
    frame = rng.poisson(background, (256, 256))
    at = np.stack(np.meshgrid(np.arange(20, 256, 28), np.arange(13, 256, 28), indexing="ij"), -1).reshape(-1, 2)
    at = at[np.hypot(*(at - 128).T) > 12]       # nearer, a peak is most of its ring
    for r, c in at:
        frame[r - 1 : r + 2, c - 1 : c + 2] += rng.poisson(92 / 9, (3, 3))
    frame, radius = frame.astype(np.uint16), radius_of((256, 256), (0.5, 0.5))
    found, false, distance = hits(PeakFinder8(radius, 5.0, 5.0, 2)(frame[None]), at)
    assert found >= len(at) - (background >= 1) * 2 and false == 0 and distance < 0.2
    legacy, _, _ = hits(PeakFinder8(radius, 5.0, 5.0, 2, variant="legacy")(frame[None]), at)
    assert legacy < 0.7 * len(at) if 0 < background < 0.02 else legacy <= found


def test_more_peaks_than_rows_of_the_table() -> None:
    """10,000 peaks where 2,048 fit: the first ones in raster order, and the true number."""
    frame = np.random.default_rng(1).poisson(10, (1000, 1000)).astype(np.uint16)
    frame[4::10, 4::10] = 500
    frame[4::10, 5::10] = 400
    got = PeakFinder8(np.zeros(frame.shape), 100.0, max_num_peaks=2048, max_strong=30000)(frame[None])
    assert got.peak_count[0] == 10_000 and got.strong_count[0] == 20_000
    assert (np.diff(np.rint(got.peak_row[0]) * 1000 + got.peak_col[0]) > 0).all() and got.peak_row[0, -1] == 204
    assert set(got.peak_pixels[0]) == {2}


def test_more_strong_pixels_than_are_looked_at(target: Target) -> None:
    frame = np.random.default_rng(1).poisson(10, (200, 200)).astype(np.uint16)
    frame[4::10, 4::10] = 500
    frame[4::10, 5::10] = 400
    status = np.zeros(1, np.uint32)
    got = PeakFinder8(np.zeros(frame.shape), 100.0, max_strong=799)(target.put(frame[None]), frame_status=target.put(status), backend=target.backend.name)
    assert (target.get(got.peak_count)[0], target.get(got.strong_count)[0]) == (0, 800) and target.get(got.frame_status)[0] == Frame.TOO_MANY


@pytest.mark.parametrize("variant", ["safe", "legacy"])
@pytest.mark.parametrize("value", [0, 65535, np.nan, np.inf, -np.inf, 3e38])
def test_frames_of_one_value_have_no_peaks(target: Target, value: float, variant: str) -> None:
    dtype = np.uint16 if value in (0, 65535) else np.float32
    op = PeakFinder8(radius_of((64, 50)), 10.0, variant=variant)
    got = op(target.put(np.full((2, 64, 50), value, dtype)), backend=target.backend.name)
    assert not target.get(got.peak_count).any() and not target.get(got.strong_count).any()


def test_a_blob_never_crosses_panels() -> None:
    """OM joins a blob to an unrelated one of the panel before, by a coordinate that it left there."""
    frames = np.zeros((1, 2, 20, 20), np.uint16)
    frames[0, 0, 19, 5:8], frames[0, 1, 0, 5:8] = 900, 900      # side by side in memory
    frames[0, 0, 10, 10:12], frames[0, 1, 10, 10:13] = 700, 700
    op = PeakFinder8(np.zeros((2, 20, 20)), 100.0)
    got = op(frames)
    assert got.peak_count[0] == 2 and list(got.peak_panel[0, :2]) == [0, 1] and list(got.peak_pixels[0, :2]) == [2, 3]
    asics = PeakFinder8(np.zeros((2, 20, 20)), 100.0, panel_shape=(10, 10))(frames)
    assert asics.peak_count[0] == 0 < asics.strong_count[0]     # all on borders of ASICs


def test_rings_are_shared_and_checked() -> None:
    rings = Rings.from_radius(radius_of((40, 40)), least=3.0, most=20.0)
    frame = np.random.default_rng(0).poisson(5, (2, 40, 40)).astype(np.uint16)
    frame[:, 5, 5:9] = 80
    two = [PeakFinder8(rings, adc)(frame).strong_count for adc in (5.0, 9.0)]
    assert (two[0] >= two[1]).all() and two[0].sum() > 0 and len(rings._on) == 1
    assert rings.label[16, 24] == rings.count and rings.count == 35
    with pytest.raises(ValueError, match=r"^features.peak_finder8: give good, min_res and max_res to the Rings$"):
        PeakFinder8(rings, 5.0, good=np.ones((40, 40), bool))
    with pytest.raises(ValueError, match=r"^Rings: label must be 0 to 3, or -1 for none, got 4 at \(0, 1\)$"):
        Rings(np.array([[0, 4], [1, 2]]), 4)


@pytest.mark.parametrize(("fields", "message"), [
    ({"variant": "fast"}, "variant must be 'safe' or 'legacy', got 'fast'"),
    ({"min_snr": 0}, "min_snr must be positive"),
    ({"min_pix": 0}, "min_pix must be 1 to"),
    ({"panel_shape": (7, 8)}, "panel_shape must divide"),
    ({"unit": 0.3}, "unit must be a power of two"),
    ({"max_strong": 0}, "max_strong must be 1 to"),
    ({"of": "pixel_status"}, "of must be the name of the input"),
])
def test_a_wrong_field_says_so(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^features.peak_finder8: {message}"):
        PeakFinder8(radius_of((40, 40)), 5.0, **fields)


def test_of_names_the_input() -> None:
    op = PeakFinder8(radius_of((40, 40)), 5.0, of="photons")
    assert op.inputs[0] == "photons" and op(photons=np.zeros((1, 40, 40), np.uint8)).peak_count[0] == 0


def test_reflections_of_a_rotation_series(real: Callable[[str, str], np.ndarray]) -> None:
    """Of DIALS's reflections with I / sigma > 5: a peak in the box or 1 pixel beside it, in one of its frames. Peaks in no box, nor 2 pixels beside one."""
    file = "pilatus2m_lcysteine_01.h5"
    data, box = real(file, "data"), real(file, "reflections/bbox")       # box: from and to, of column, row and frame
    bright = real(file, "reflections/I_sum") > 5 * np.sqrt(np.maximum(real(file, "reflections/I_sum_var"), 1e-9))
    rows, cols = np.indices(data.shape[1:])
    op = PeakFinder8(np.hypot(rows - 830, cols - 737), adc_threshold=3.0, min_snr=5.0, min_pix=2, max_pix=200, good=(data >= 0).all(axis=0))
    found = op(data)
    f, k = np.nonzero(np.arange(found.peak_row.shape[1]) < found.peak_count[:, None])
    at = np.stack([found.peak_col[f, k] + 0.5, found.peak_row[f, k] + 0.5, f], 1)

    def on(edge: int) -> np.ndarray:
        """bool (peaks, reflections)."""
        around = np.array([edge, edge, 0])
        return ((at[:, None] >= box[:, ::2] - around) & (at[:, None] < box[:, 1::2] + around)).all(axis=2)

    share, unmatched = on(1).any(axis=0)[bright].mean(), (~on(2).any(axis=1)).sum() / len(data)
    print(f"{share:.1%} of {bright.sum()} reflections, {len(at) / len(data)} peaks a frame, {unmatched} of them unmatched")
    assert bright.sum() > 20 and share >= 0.9 and unmatched <= 5
