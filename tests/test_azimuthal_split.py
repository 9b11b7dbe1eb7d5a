"""Split pixels, azimuthal errors, medians of rings. Over 200 lines: against cut polygons, whole numbers of any length, NumPy, pyFAI live and recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, Target

from gpuredux.calib import geometry
from gpuredux.datasets import real as recorded
from gpuredux.datasets.cases_azimuthal import corners_of
from gpuredux.datasets.cases_peaks import radius_of
from gpuredux.features import AzimuthalIntegrate, AzimuthalMedian, Rings, SigmaClip, SplitRings

SHAPE = (60, 71)
PONI = ("Detector: Detector\nPixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\n"
        "Poni1: 0.0031\nPoni2: 0.0043\nRot1: 0.05\nRot2: -0.03\nRot3: 0.2\nWavelength: 1e-10\n")


def cut(polygon: np.ndarray, axis: int, limit: float, sense: int) -> np.ndarray:
    """What of a polygon (points, 2) lies on one side of a line."""
    kept: list[np.ndarray] = []
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        inside = [sense * (p[axis] - limit) <= 0 for p in (a, b)]
        if inside[0]:
            kept.append(a)
        if inside[0] != inside[1]:
            kept.append(a + (b - a) * ((limit - a[axis]) / (b[axis] - a[axis])))
    return np.array(kept).reshape(-1, 2)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T if len(polygon) else np.zeros((2, 1))
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))) / 2


@pytest.mark.parametrize("around", [1, 7])
def test_shares_are_the_areas_of_cut_polygons(around: int) -> None:
    shape, bins, low, width = (7, 9), 16, 1.1, 0.3
    radial, azimuth = corners_of(shape)
    rings = SplitRings.from_corners(radial, azimuth, bins, (low, low + bins * width), azimuth_bins=around)
    got = np.zeros((rings.count, radial.size // 4))
    for k in range(rings.count):
        mine = slice(rings.first[k], rings.first[k + 1])
        assert (np.diff(rings.order[mine].astype(int)) > 0).all()
        got[k, rings.order[mine]] = rings.share[mine] / 2**15
    for i, (r, a) in enumerate(zip(radial.reshape(-1, 4), azimuth.reshape(-1, 4), strict=True)):
        a = np.degrees(np.unwrap(np.radians(a)))
        if abs(a[3] - a[0]) > 180:
            continue        # the beam is in it
        whole, total = np.column_stack([r, a]), 0.0
        for k in range(rings.count):
            row, col = divmod(k, bins)
            ring = cut(cut(whole, 0, low + col * width, -1), 0, low + (col + 1) * width, 1)
            lines = (-180 + row * 360 / around, -180 + (row + 1) * 360 / around)
            parts = [ring] if around == 1 else [cut(cut(ring + np.array([0, turn]), 1, lines[0], -1), 1, lines[1], 1) for turn in (-360, 0, 360)]
            share = sum(map(area, parts)) / area(whole)
            assert abs(got[k, i] - share) < 1.01 / 2**15
            total += share
        assert abs(got[:, i].sum() - total) < 0.51 / 2**15, "shares are not rounded together"


def test_a_pixel_within_the_range_is_whole() -> None:
    for split in ("full", "bbox"):
        for around in (1, 5):
            rings = SplitRings.from_corners(*corners_of(SHAPE), 33, (0.0, 200.0), azimuth_bins=around, split=split)
            assert np.array_equal(np.bincount(rings.order, rings.share, SHAPE[0] * SHAPE[1]), np.full(SHAPE[0] * SHAPE[1], 2.0**15))


def test_a_ring_too_large_for_exact_sums_says_so() -> None:
    with pytest.raises(ValueError, match=r"^SplitRings: a ring must hold less than 65536 pixels, got 67600.0: take more bins, or split='no'$"):
        SplitRings.from_corners(*corners_of((260, 260)), 1, (0.0, 1000.0))


@pytest.mark.parametrize(("change", "message"), [
    ({"split": "pseudo"}, "Rings: split must be 'no' or 'bbox' or 'full', got 'pseudo'"), ({"bins": 0}, "Rings: radial needs 1 bin at least"),
    ({"good": np.ones((2, 2), bool)}, "Rings: good must be bool"), ({"radial_range": (3.0, 3.0)}, "Rings: radial needs"),
    ({"bins": 2**20, "azimuth_bins": 2**10}, "Rings: count must be 1 to"),
])
def test_a_wrong_field_says_so(change: dict[str, Any], message: str) -> None:
    radial, azimuth = corners_of((3, 4))
    with pytest.raises(ValueError, match=f"^{message}"):
        SplitRings.from_corners(radial, azimuth, **{"bins": 5, **change})
    with pytest.raises(TypeError, match=r"^features.sigma_clip: rings must be Rings, got SplitRings$"):
        SigmaClip(SplitRings.from_corners(radial, azimuth, 5))


def test_sums_of_any_length(target: Target) -> None:
    """Frames that are saturated at 2^32 - 1, weights up to 128: every sum as Python's whole numbers have it."""
    rng = np.random.default_rng(2)
    frames = rng.choice(np.array([0, 1, 2**31, 2**32 - 1], np.uint32), (2, *SHAPE))
    weight = rng.uniform(0.001, 127.99, SHAPE).astype(np.float32)
    rings = SplitRings.from_corners(*corners_of(SHAPE), 12, (3.0, 25.0))
    op = AzimuthalIntegrate(rings, weight, "azimuthal")
    got = op(target.put(frames), backend=target.backend.name)
    got = {k: target.get(getattr(got, k)) for k in got._fields}
    steps, squares = [int(w) for w in op.weight.reshape(-1)], rings.squares(rings.square_shift)
    assert max(abs(int(c2) / 2 ** (30 - rings.square_shift) - (int(c) / 2**15) ** 2) for c, c2 in zip(rings.share, squares, strict=True)) < 2.0**-20
    for f in range(2):
        v = [int(x) for x in frames[f].reshape(-1)]
        for k in range(rings.count):
            mine = range(rings.first[k], rings.first[k + 1])
            parts = [(int(rings.share[j]), int(squares[j]), v[rings.order[j]], steps[rings.order[j]]) for j in mine]
            assert got["sum_signal"][f, k] == sum(c * x for c, _, x, _ in parts) and got["sum_normalisation"][f, k] == sum(c * w for c, _, _, w in parts)
            moments = [int(low) + int(high) * 2**32 for low, high in got["moments"][f, :, k].reshape(3, 2)]
            assert moments == [sum(c2 * x * x for _, c2, x, _ in parts), sum(c2 * x * w for _, c2, x, w in parts), sum(c2 * w * w for _, c2, _, w in parts)]


@pytest.mark.parametrize("split", ["no", "full"])
def test_azimuthal_errors_of_added_frames(target: Target, split: str) -> None:
    """Spread about the mean, in two passes in float64: of single frames, and, from added sums, of all of them as one."""
    rng = np.random.default_rng(4)
    frames = rng.normal(1000, 30, (4, *SHAPE)).astype(np.float32)
    frames[:, ::9, ::7] = np.nan
    weight = rng.uniform(0.5, 1.5, SHAPE).astype(np.float32)
    rings = Rings.from_position(radius_of(SHAPE), 9, (3.0, 30.0)) if split == "no" else SplitRings.from_corners(*corners_of(SHAPE), 9, (3.0, 30.0))
    op = AzimuthalIntegrate(rings, weight, "azimuthal", unit=2.0**-12)
    got = op(target.put(frames), backend=target.backend.name)
    got = {k: target.get(getattr(got, k)) for k in got._fields}
    added = op.curves({k: got[k].sum(0) for k in ("sum_signal", "sum_normalisation", "moments")}, op.unit)
    for k in range(rings.count):
        mine = slice(rings.first[k], rings.first[k + 1])
        c = np.ones(len(rings.order[mine])) if split == "no" else rings.share[mine] / 2**15
        for which, made in (([1], {n: got[n][1] for n in added}), ([0, 1, 2, 3], added)):
            v = np.concatenate([frames[f].reshape(-1)[rings.order[mine]] for f in which]).astype(np.float64)
            cw = np.tile(c * weight.reshape(-1)[rings.order[mine]], len(which))[np.isfinite(v)]
            cv = (np.tile(c, len(which)) * v)[np.isfinite(v)]
            mean = cv.sum() / cw.sum()
            variance = ((cv - mean * cw) ** 2).sum()
            np.testing.assert_allclose(made["intensity"][k], mean, rtol=1e-6)
            np.testing.assert_allclose(made["sigma"][k], np.sqrt(variance) / cw.sum(), rtol=2e-5)
            np.testing.assert_allclose(made["std"][k], np.sqrt(variance / (cw**2).sum()), rtol=2e-5)


def pyfai(poni: Path, shape: tuple[int, int]) -> Any:
    pyFAI = pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.detectors import Detector

    poni.write_text(PONI)
    ai = pyFAI.load(str(poni))
    ai.detector = Detector(1e-4, 1e-4, max_shape=shape)
    return ai


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["poisson", "azimuthal"])
@pytest.mark.parametrize(("split", "unit", "limits"), [("bbox", "2th_deg", (0.5, 4.0)), ("full", "2th_deg", (0.5, 4.0)), ("full", "q_nm^-1", (0.5, 4.0)),
                                                       ("no", "2th_deg", (0.5, 4.0))])
def test_pyfai_splits_alike(tmp_path: Path, split: str, unit: str, limits: tuple[float, float], model: str) -> None:
    """Azimuthal errors of split pixels to some per cent only: pyFAI adds them in one pass, by a rule that its source calls empirical."""
    shape, bins = (120, 141), 60
    ai = pyfai(tmp_path / "a.poni", shape)
    rng = np.random.default_rng(5)
    frame, mask = rng.poisson(1000, shape).astype(np.uint16), rng.random(shape) < 0.05
    want = ai.integrate1d_ng(frame, bins, unit=unit, radial_range=limits, mask=mask, correctSolidAngle=True, error_model=model, method=(split, "csr", "cython"))
    where = geometry.read(tmp_path / "a.poni", shape=shape)
    rings = Rings.from_geometry(where, bins, unit, 1e-10, shape, split=split, radial_range=limits, good=~mask)
    got = AzimuthalIntegrate(rings, where.solid_angle().reshape(shape), model)(frame[None])
    inner = slice(1, -1)        # pyFAI puts what lies outside the range into the first and the last bin
    np.testing.assert_allclose(rings.radial, want.radial, rtol=1e-6)
    same = np.abs(got.pixels[0] / rings.whole - want.count)[inner] < 0.01
    assert same.mean() > 0.9
    np.testing.assert_allclose(got.intensity[0][inner][same], want.intensity[inner][same], rtol=1e-5)
    rtol = 0.06 if model == "azimuthal" and split != "no" else 2e-4
    np.testing.assert_allclose(got.sigma[0][inner][same], want.sigma[inner][same], rtol=rtol)
    if model == "azimuthal":
        np.testing.assert_allclose(got.std[0][inner][same], want.std[inner][same], rtol=rtol)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("split", ["bbox", "full"])
def test_pyfai_splits_alike_in_two_dimensions(tmp_path: Path, split: str) -> None:
    """Its full split moves up to a tenth of single pixels to a neighbouring azimuth; polygons that are cut, above, do not."""
    shape = (120, 141)
    ai = pyfai(tmp_path / "a.poni", shape)
    frame = np.random.default_rng(5).poisson(1000, shape).astype(np.float32)
    want = ai.integrate2d_ng(frame, 30, 24, unit="2th_deg", radial_range=(0.5, 4.0), azimuth_range=(-180, 180), correctSolidAngle=False,
                             method=(split, "csr", "cython"))
    rings = Rings.from_geometry(geometry.read(tmp_path / "a.poni", shape=shape), 30, "2th_deg", None, shape, split=split, radial_range=(0.5, 4.0),
                                azimuth_bins=24)
    got = AzimuthalIntegrate(rings)(frame[None])
    inner = slice(1, -1), slice(1, -1)
    np.testing.assert_allclose(rings.azimuthal, want.azimuthal, atol=1e-3)
    apart = np.abs(got.pixels[0] / rings.whole - want.count)[inner]
    assert np.median(apart) < 1e-3 and apart.mean() < 0.02
    filled = want.count[inner] > 1
    some = (apart < 0.002) & filled
    assert some.sum() > 0.9 * filled.sum() > 100, (some.sum(), filled.sum(), apart.max())
    np.testing.assert_allclose(got.intensity[0][inner][some], want.intensity[inner][some], rtol=2e-4 if split == "bbox" else 2e-3)


def test_a_sector(tmp_path: Path) -> None:
    """azimuth_range alone: pixels by their centres; of split ones the parts between two lines, which are as many in all."""
    (tmp_path / "a.poni").write_text(PONI)
    shape = (120, 141)
    where = geometry.read(tmp_path / "a.poni", shape=shape)
    x, y, z = np.moveaxis(where.pixel_positions().reshape(*shape, 3), -1, 0)
    radius, chi = np.degrees(np.arctan2(np.hypot(x, y), z)), np.degrees(np.arctan2(y, x))
    inside = (chi >= 20) & (chi < 110) & (radius >= 1) & (radius < 3)
    for split in ("no", "full", "bbox"):
        rings = Rings.from_geometry(where, 20, "2th_deg", frame=shape, split=split, radial_range=(1.0, 3.0), azimuth_range=(20.0, 110.0))
        pixels = AzimuthalIntegrate(rings)(np.ones((1, *shape), np.uint8)).pixels[0]
        assert pixels.shape == (1, 20)
        if split == "no":
            assert np.array_equal(pixels[0], np.histogram(radius[inside], 20, (1, 3))[0]) and inside.sum() > 900
        else:
            assert abs(pixels.sum() / 2**15 / inside.sum() - 1) < 0.01


@pytest.mark.parametrize("split", ["bbox", "full"])
def test_the_recorded_powder_rings(real: Callable[[str, str], Any], tmp_path: Path, split: str) -> None:
    """CeO2 on a Pilatus 1M, 2000 bins finer than pixels: the curves that pyFAI 2026.9 made, with solid angle and Poisson errors."""
    file = "ceo2_pilatus1m_waxs.h5"
    frame, want = real(file, "data"), real(file, f"pyfai/{split}")
    with h5py.File(recorded.folder(ROOT) / file) as f:
        (tmp_path / "a.poni").write_text(f.attrs["poni"])
    where = geometry.read(tmp_path / "a.poni", shape=frame.shape)
    width = (want[0, -1] - want[0, 0]) / 1999
    limits = (max(0.0, want[0, 0] - width / 2), want[0, -1] + width / 2)
    rings = Rings.from_geometry(where, 2000, "2th_deg", frame=frame.shape, split=split, radial_range=limits, good=frame >= 0)
    got = AzimuthalIntegrate(rings, where.solid_angle().reshape(frame.shape), "poisson")(frame[None].astype(np.float32))
    inner = slice(20, -20)
    apart = np.abs(got.intensity[0] - want[1])[inner] / np.maximum(np.abs(want[1][inner]), 1)
    assert np.median(apart) < 2e-5 and (apart < 1e-3).mean() > 0.99, (np.median(apart), apart.max())
    np.testing.assert_allclose(got.pixels[0][inner] / 2**15, want[3][inner], rtol=1e-3, atol=0.02)


def test_the_recorded_powder_rings_without_solid_angle(real: Callable[[str, str], Any], tmp_path: Path) -> None:
    """Whole pixels: 2theta, intensity, the sum of counts and the number of pixels."""
    file = "ceo2_pilatus1m_waxs.h5"
    frame, want = real(file, "data"), real(file, "pyfai/nosplit_nosa")
    with h5py.File(recorded.folder(ROOT) / file) as f:
        (tmp_path / "a.poni").write_text(f.attrs["poni"])
    width = (want[0, -1] - want[0, 0]) / 1999
    rings = Rings.from_geometry(geometry.read(tmp_path / "a.poni", shape=frame.shape), 2000, "2th_deg", frame=frame.shape, good=frame >= 0,
                                radial_range=(want[0, 0] - width / 2, want[0, -1] + width / 2))
    got = AzimuthalIntegrate(rings)(frame[None])
    same = got.pixels[0] == want[3]
    assert same.mean() > 0.97
    assert np.array_equal(got.sum_signal[0][same], want[2][same]), "sums of whole numbers"


@pytest.mark.parametrize("quantile", [0.5, 0.1, 0.75, 0.0, 1.0])
def test_quantiles_by_numpy(target: Target, quantile: float) -> None:
    rng = np.random.default_rng(8)
    for frames in (rng.poisson(3, (2, *SHAPE)).astype(np.uint16), rng.normal(0, 3, (2, *SHAPE)).astype(np.float32)):
        rings = Rings.from_position(radius_of(SHAPE), 31, (0.0, 40.0))
        got = AzimuthalMedian(rings, quantile=quantile)(target.put(frames), backend=target.backend.name)
        for f in range(2):
            for k in range(31):
                x = frames[f].reshape(-1)[rings.order[rings.first[k] : rings.first[k + 1]]].astype(np.float64)
                want = np.quantile(x, quantile, method="averaged_inverted_cdf") if len(x) else np.nan
                np.testing.assert_array_equal(target.get(got.median)[f, k], np.float32(want))
                assert target.get(got.pixels)[f, k] == len(x)


@pytest.mark.filterwarnings("ignore")
def test_pyfai_has_the_same_medians(tmp_path: Path) -> None:
    shape, bins = (120, 141), 40
    ai = pyfai(tmp_path / "a.poni", shape)
    frame = np.random.default_rng(5).poisson(50, shape).astype(np.float32)
    want = ai.medfilt1d_ng(frame, bins, unit="2th_deg", radial_range=(0.5, 4.0), correctSolidAngle=False, method=("no", "csr", "python"))
    rings = Rings.from_geometry(geometry.read(tmp_path / "a.poni", shape=shape), bins, "2th_deg", frame=shape, radial_range=(0.5, 4.0))
    got = AzimuthalMedian(rings)(frame[None])
    assert (got.median[0][1:] == want.intensity[1:]).mean() > 0.95      # its first bin has pixels below the range, too
    assert np.abs(got.median[0][1:] - want.intensity[1:]).max() <= 0.5
