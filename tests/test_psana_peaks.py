"""features.peak_finder_v3r3 and _v4r3 against another statement of the methods (SciPy's maximum filters and labels), and psana's own lists of real frames."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage

from gpuredux.features import PeakFinderV3r3, PeakFinderV4r3
from gpuredux.features.psana_peaks import COLUMNS

Finder = PeakFinderV3r3 | PeakFinderV4r3


def ordered(v: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Every pixel's place among all, by value, equal ones by where they are; -1 where it is not used: so that maxima have no ties."""
    place = np.empty(v.size, np.int64)
    place[np.argsort(v, axis=None, kind="stable")] = np.arange(v.size)
    return np.where(used, place.reshape(v.shape), -1)


def greatest(place: np.ndarray, rows: int, cols: int) -> np.ndarray:
    return (place >= 0) & (place == ndimage.maximum_filter(place, (2 * rows + 1, 2 * cols + 1), mode="constant", cval=-1))


def again(v: np.ndarray, used: np.ndarray, op: Finder) -> list[dict[str, float]]:
    """The peaks of one panel in float64."""
    v = np.where(used, v, 0).astype(np.float64)
    place, deep = ordered(v, used), ordered(-v, used)
    seeds, rank = greatest(place, op.rank, op.rank), op.rank
    if isinstance(op, PeakFinderV3r3):
        ring = used & ~(greatest(place, 0, rank) | greatest(place, rank, 0) | greatest(deep, 0, rank) | greatest(deep, rank, 0))
    else:
        seeds &= v >= op.thr_high
        ring = used & (v >= -op.thr_high) & (v < op.thr_high)
    row, col = np.indices(v.shape)
    peaks = []
    for r, c in np.argwhere(seeds):
        away = np.hypot(row - r, col - c)
        around = v[ring & (away >= op.r0) & (away <= op.r0 + op.dr)]
        mean, rms = (around.mean(), around.std()) if around.size else (0.0, 0.0)
        least = np.float32(mean + op.nsigm * rms) if isinstance(op, PeakFinderV3r3) else op.thr_low
        label, _ = ndimage.label(used & (v >= least) & (abs(row - r) <= rank) & (abs(col - c) <= rank))
        mine = (label == label[r, c]) & (label[r, c] > 0)
        if mine.any():
            peaks.append(described(v, mine, (int(r), int(c)), mean, rms))
    return [p for p in peaks if op.npix_min <= p["pixels"] <= op.npix_max and p["max"] >= op.amax_thr and p["total"] >= op.atot_thr and p["snr"] >= op.son_min]


def described(v: np.ndarray, mine: np.ndarray, at: tuple[int, int], mean: float, rms: float) -> dict[str, float]:
    (r, c), net, pixels = np.nonzero(mine), v[mine] - mean, int(mine.sum())
    total = net.sum()
    row, col = (np.average(k, weights=net) for k in (r, c)) if total > 0 else at
    sigma = [np.sqrt(max(np.average((k - m) ** 2, weights=net), 0)) if total > 0 else 0.0 for k, m in ((r, row), (c, col))]
    return {"row": row, "col": col, "pixels": pixels, "total": total, "max": v[at] - mean, "background": mean, "sigma": rms,
            "snr": total / (rms * np.sqrt(pixels)) if rms > 0 else 0.0, "seed_row": at[0], "seed_col": at[1], "row_sigma": sigma[0], "col_sigma": sigma[1],
            "row_min": r.min(), "row_max": r.max(), "col_min": c.min(), "col_max": c.max()}


def table(op: Finder, target: Target, *frames: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of the first frame, as long as there are peaks."""
    got = op(*(target.put(f) for f in frames), backend=target.backend.name)
    n = int(target.get(got.peak_count)[0])
    assert n <= op.max_peaks
    return {k: target.get(getattr(got, f"peak_{k}"))[0, :n] for k in COLUMNS}


FINDERS = [
    PeakFinderV3r3(3.0, rank=3, r0=4.0, dr=2.0, npix_min=2, npix_max=30, amax_thr=15.0, atot_thr=40.0, son_min=4.0),
    PeakFinderV3r3(),
    PeakFinderV4r3(20.0, 35.0, rank=3, r0=4.0, dr=2.0, son_min=3.0),
    PeakFinderV4r3(20.0, 40.0, rank=6, npix_min=2),
]


@pytest.mark.parametrize("ties", [False, True], ids=["real", "few-values"])
@pytest.mark.parametrize("k", range(len(FINDERS)))
def test_scipy_finds_the_same(target: Target, k: int, ties: bool) -> None:
    rng = np.random.default_rng(k)
    panels, shape = 2, (70, 90)
    spots = ndimage.gaussian_filter((rng.random((panels, *shape)) < 0.004) * rng.uniform(100, 900, (panels, *shape)), (0, 1.1, 1.1))
    frame = (spots + rng.normal(10, 5, spots.shape)).astype(np.float32)
    if ties:
        frame = np.rint(frame / 4) * 4
    good, op = rng.random(frame.shape) > 0.02, FINDERS[k]
    frame[0, 10, 10:14] = np.nan, np.inf, -np.inf, 3e4
    op = type(op)(**{**op._fields(), "good": good, "max_peaks": 1000})
    got = table(op, target, frame[None])
    want = [again(frame[p], np.isfinite(frame[p]) & good[p], op) for p in range(panels)]
    assert len(got["panel"]) == sum(map(len, want)) > 20
    np.testing.assert_array_equal(got["panel"], np.repeat(np.arange(panels), [len(w) for w in want]))
    for column in COLUMNS.keys() - {"panel"}:
        np.testing.assert_allclose(got[column], [p[column] for w in want for p in w], rtol=2e-6, atol=2e-4 if "sigma" in column else 1e-6, err_msg=column)


def test_of_equal_pixels_the_last_is_the_maximum(target: Target) -> None:
    frame = np.zeros((1, 20, 30), np.float32)
    frame[0, 5, 5:7] = frame[0, 14:16, 20] = frame[0, 15, 5] = frame[0, 13, 7] = 50
    for op in (PeakFinderV4r3(20.0, 30.0, rank=3), PeakFinderV3r3(rank=3, amax_thr=20.0)):
        got = table(op, target, frame)
        assert list(zip(got["seed_row"].tolist(), got["seed_col"].tolist(), strict=True)) == [(5, 6), (15, 5), (15, 20)]


def test_one_saturated_plateau_is_one_maximum_at_its_last_corner(target: Target) -> None:
    frame = np.zeros((1, 40, 40), np.uint16)
    frame[0, 5:30, 8:33] = 65535
    got = table(PeakFinderV4r3(10.0, 20.0, rank=3), target, frame)
    assert (got["seed_row"].tolist(), got["seed_col"].tolist(), got["pixels"].tolist()) == ([29], [32], [16])
    assert (got["row_min"][0], got["row_max"][0], got["col_min"][0], got["col_max"][0]) == (26, 29, 29, 32)


# --------------------------------------------------------------------------------------------------------------- psana
def matched(got: dict[str, np.ndarray], theirs: np.ndarray, *columns: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each of psana's peaks [..., row, col, amp_tot] whether ours has it, row and col within 0.001 pixel, amp_tot within 1e-5; and the same backwards."""
    ours = np.stack([got[c].astype(np.float64) for c in columns], axis=1)
    near = (np.abs(ours[:, None, :-1] - theirs[None, :, :-1]).max(-1) < 1e-3) & (np.abs(ours[:, None, -1] / theirs[None, :, -1] - 1) < 1e-5)
    return near.any(0), near.any(1)
