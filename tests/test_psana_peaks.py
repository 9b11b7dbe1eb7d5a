"""features.peak_finder_v3r3 and _v4r3 against another statement of the methods, and psana's own lists. Over 200 lines: that statement is whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage

import gpuredux
from gpuredux.features import PeakFinderV3r3, PeakFinderV4r3, Windows
from gpuredux.features.psana_peaks import COLUMNS

Finder = PeakFinderV3r3 | PeakFinderV4r3


def ordered(v: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Every pixel's place among all, by value, equal ones by where they are; -1 where it is not used: so that maxima have no ties."""
    place = np.empty(v.size, np.int64)
    place[np.argsort(v, axis=None, kind="stable")] = np.arange(v.size)
    return np.where(used, place.reshape(v.shape), -1)


def greatest(place: np.ndarray, rows: int, cols: int) -> np.ndarray:
    return (place >= 0) & (place == ndimage.maximum_filter(place, (2 * rows + 1, 2 * cols + 1), mode="constant", cval=-1))


def scanned(v: np.ndarray, used: np.ndarray, rank: int) -> np.ndarray:
    """Maxima of rows, one after the other: behind one that was found the scan goes on beyond rank."""
    found = np.zeros(v.shape, bool)
    for row in range(len(v)):
        col = 0
        while col < v.shape[1]:
            near = slice(max(col - rank, 0), col + rank + 1)
            more = col + 1 < v.shape[1] and used[row, col + 1] and v[row, col + 1] >= v[row, col]
            found[row, col] = used[row, col] and not more and not (v[row, near] > v[row, col])[used[row, near]].any()
            col += rank + 1 if found[row, col] else 1
    return found


def again(v: np.ndarray, used: np.ndarray, op: Finder) -> list[dict[str, float]]:
    """The peaks of one panel in float64."""
    v = np.where(used, v, 0).astype(np.float64)
    rank = op.rank
    if isinstance(op, PeakFinderV3r3):
        (rows, cols), (low_rows, low_cols) = ((scanned(x, used, rank), scanned(x.T, used.T, rank).T) for x in (v, -v))
        ring = used & ~(rows | cols | low_rows | low_cols)
        v_used = np.where(used, v, -np.inf)
        seeds = rows & cols & (v_used >= ndimage.maximum_filter(v_used, 2 * rank + 1, mode="constant", cval=-np.inf))
    else:
        seeds = greatest(ordered(v, used), rank, rank) & (v >= op.thr_high)
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


def test_of_equal_pixels_beside_each_other_the_last_is_the_maximum(target: Target) -> None:
    frame = np.zeros((1, 20, 30), np.float32)
    frame[0, 5, 5:7] = frame[0, 14:16, 20] = frame[0, 15, 5] = frame[0, 13, 7] = frame[0, 8, 24] = frame[0, 8, 26] = 50
    droplets = table(PeakFinderV4r3(20.0, 30.0, rank=3), target, frame)
    assert list(zip(droplets["seed_row"].tolist(), droplets["seed_col"].tolist(), strict=True)) == [(5, 6), (8, 26), (15, 5), (15, 20)]
    adaptive = table(PeakFinderV3r3(rank=3, amax_thr=20.0), target, frame)
    assert list(zip(adaptive["seed_row"].tolist(), adaptive["seed_col"].tolist(), strict=True)) == [(5, 6), (8, 24), (13, 7), (15, 5), (15, 20)]


def test_one_saturated_plateau_is_one_maximum_at_its_last_corner(target: Target) -> None:
    frame = np.zeros((1, 40, 40), np.uint16)
    frame[0, 5:30, 8:33] = 65535
    got = table(PeakFinderV4r3(10.0, 20.0, rank=3), target, frame)
    assert (got["seed_row"].tolist(), got["seed_col"].tolist(), got["pixels"].tolist()) == ([29], [32], [16])
    assert (got["row_min"][0], got["row_max"][0], got["col_min"][0], got["col_max"][0]) == (26, 29, 29, 32)


def test_a_chain_looks_around_the_peaks(target: Target) -> None:
    """The columns have PeakFinder8's names."""
    frame = np.random.default_rng(2).normal(10, 2, (2, 40, 50)).astype(np.float32)
    frame[:, 11:14, 20:23] += [[50, 200, 50], [200, 900, 200], [50, 200, 50]]
    out = gpuredux.Chain([PeakFinderV4r3(50.0, 100.0, rank=3), Windows(half=2)])(target.put(frame), backend=target.backend.name)
    assert np.array_equal(target.get(out.window)[:, 0], frame[:, 10:15, 19:24]) and not target.get(out.window)[:, 1:].any()


# --------------------------------------------------------------------------------------------------------------- psana
def compared(target: Target, frame: np.ndarray, theirs: np.ndarray, op: PeakFinderV3r3) -> tuple[int, np.ndarray, np.ndarray]:
    """How many of psana's peaks [panel, row, col, amp_tot] are ours, row and col within 0.001 pixel, amp_tot within 1e-5 of it; psana's others; our others."""
    got = table(op, target, frame[None])
    ours = np.stack([got[c].astype(np.float64) for c in ("panel", "row", "col", "total")], axis=1)
    same = (np.abs(ours[:, None, :3] - theirs[None, :, :3]).max(-1) < 1e-3) & (np.abs(ours[:, None, 3] / theirs[None, :, 3] - 1) < 1e-5)
    return int(same.any(0).sum()), theirs[~same.any(0)], ours[~same.any(1)]


Read = Callable[[str, str], np.ndarray]
CUTS = {"rank": 3, "r0": 4.0, "dr": 2.0, "nsigm": 0.0}       # those and the thresholds below stand in the files, as peak_params


def test_psana_finds_the_same_in_a_calibrated_panel(target: Target, real: Read) -> None:
    file = "cspad_asic_float.h5"
    theirs = np.insert(real(file, "psana_v3r3_peaks"), 0, 0, axis=1)
    op = PeakFinderV3r3(**CUTS, npix_min=2, npix_max=30, amax_thr=200.0, atot_thr=600.0, son_min=7.0)
    same, missed, more = compared(target, real(file, "data")[None], theirs, op)
    assert (same, len(missed), len(more)) == (12, 0, 0)


def test_psana_finds_the_same_in_whole_numbers_with_their_ties(target: Target, real: Read) -> None:
    """The list leaves out overflow (16383) and bad pixels (below -100), which the file does not say: so all 201 are the same, and none is beside them."""
    file = "cspad_thermolysin_1.h5"
    frame, theirs = real(file, "data"), real(file, "psana_v3r3_peaks")
    fields = {**CUTS, "npix_min": 2, "npix_max": 30, "amax_thr": 250.0, "atot_thr": 500.0, "son_min": 9.0}
    same, missed, more = compared(target, frame, theirs, PeakFinderV3r3(**fields, good=(frame > -100) & (frame < 16383)))
    assert (same, len(missed), len(more)) == (201, 0, 0)
    same, missed, more = compared(target, frame, theirs, PeakFinderV3r3(**fields))
    assert (same, len(missed), len(more)) == (199, 2, 14)       # overflow makes peaks, and bad pixels change the ring of two


def asics(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.reshape(256, 4, 256).swapaxes(0, 1))


@pytest.mark.parametrize(("frame", "peaks", "same_unmasked"), [(0, 99, 93), (1, 98, 95)])
def test_psana_finds_the_same_in_photons_of_three_gains(target: Target, real: Read, frame: int, peaks: int, same_unmasked: int) -> None:
    """By ASIC. The list leaves out pixels that saturate in one of the run's frames, which the file does not say: six of those do so in the frames that are
    stored, the other four are those whose leaving out gives psana's numbers to all digits, in both frames."""
    file = "jungfrau_m049_raw_to_photons.h5"
    photons, listed = asics(real(file, "conv")[frame]), real(file, f"psana_v3r3_peaks/{frame}")
    theirs = np.stack([listed[:, 1] // 256, listed[:, 0], listed[:, 1] % 256, listed[:, 2]], axis=1).astype(np.float64)
    good = (real(file, "raw") != 0xC000).all(0)
    good[[11, 11, 35, 119], [117, 118, 127, 128]] = False
    fields = {**CUTS, "npix_min": 1, "npix_max": 40, "amax_thr": 15.0, "atot_thr": 30.0, "son_min": 8.0}
    same, missed, more = compared(target, photons, theirs, PeakFinderV3r3(**fields, good=asics(good)))
    assert (same, len(missed), len(more)) == (peaks, 0, 0)
    same, missed, more = compared(target, photons, theirs, PeakFinderV3r3(**fields))
    assert (same, len(missed)) == (same_unmasked, peaks - same_unmasked)
    assert len(more) <= 7


@pytest.mark.parametrize(("fields", "message"), [
    ({"rank": 0}, "rank must be 1 to 7"), ({"rank": 8}, "rank must be 1 to 7"), ({"max_peaks": 0}, "max_peaks must be 1 to"),
    ({"r0": -1.0}, "r0 and dr must be 0 or more"), ({"r0": 63.0}, "r0 and dr must be 0 or more"),
    ({"r0": 0.3, "dr": 0.5}, "r0 and dr make a ring without a pixel"), ({"son_min": np.inf}, "son_min must be a finite float32"),
    ({"thr_low": 31.0}, "thresholds must be thr_low <= thr_high"), ({"thr_low": -1.0, "thr_high": 0.0}, "thresholds must be thr_low <= thr_high"),
])
def test_a_wrong_field_says_so(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^features.peak_finder_v4r3: {message}"):
        PeakFinderV4r3(**{"thr_low": 20.0, "thr_high": 30.0, **fields})
