"""features.azimuthal_integrate against sums by bincount in float64, against pyFAI, and against the curves that pyFAI left with a recorded frame."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT, Target

from gpuredux.calib import geometry
from gpuredux.datasets import real as recorded
from gpuredux.datasets.cases_peaks import radius_of
from gpuredux.features import AzimuthalIntegrate, Cube, Rings, SigmaClip
from gpuredux.op import Chain

PONI = ("Detector: Detector\nPixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\n"
        "Poni1: 0.006\nPoni2: 0.0071\nRot1: 0.05\nRot2: -0.03\nRot3: 0.2\nWavelength: 1e-10\n")


def test_sums_by_bincount(target: Target) -> None:
    rng = np.random.default_rng(3)
    shape, bins = (131, 90), 40
    radius, good, weight = radius_of(shape), rng.random(shape) > 0.1, rng.uniform(0.2, 1.5, shape)
    rings = Rings.from_position(radius, bins, (3.0, 80.0), good)
    frames = rng.normal(100, 30, (3, *shape)).astype(np.float32)
    frames[1, ::7] = np.nan
    frames[2, 5:9] = -np.inf
    status = (rng.random(frames.shape) < 0.05).astype(np.uint8)
    op = AzimuthalIntegrate(rings, weight, "poisson", unit=2.0**-12)
    got = op(target.put(frames), target.put(status), backend=target.backend.name)
    for f in range(3):
        use = good & np.isfinite(frames[f]) & (status[f] == 0) & (radius >= 3) & (radius < 80)
        label = np.floor((radius[use].astype(np.float64) - 3) / (77 / bins)).astype(int)
        signal, norm = (np.bincount(label, x[use], bins) for x in (frames[f].astype(np.float64), weight.astype(np.float32).astype(np.float64)))
        assert np.array_equal(target.get(got.pixels)[f], np.bincount(label, minlength=bins))
        np.testing.assert_allclose(target.get(got.sum_signal)[f] * 2.0**-12, signal, rtol=1e-6, atol=0.05)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(target.get(got.intensity)[f], signal / norm, rtol=2e-6)
            np.testing.assert_allclose(target.get(got.sigma)[f], np.sqrt(signal) / norm, rtol=2e-6)


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    (tmp_path / "a.poni").write_text(PONI)
    return tmp_path / "a.poni"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("unit", ["q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm"])
def test_pyfai_integrates_alike(poni: Path, unit: str) -> None:
    pyFAI = pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.detectors import Detector

    shape, bins, factor = (120, 141), 100, 0.95
    rng = np.random.default_rng(5)
    frame, mask = rng.poisson(1000, shape).astype(np.uint16), rng.random(shape) < 0.05
    ai = pyFAI.load(str(poni))
    ai.detector = Detector(1e-4, 1e-4, max_shape=shape)
    limits = {"q_nm^-1": (0.5, 5.5), "q_A^-1": (0.05, 0.55), "2th_deg": (0.5, 5.0), "2th_rad": (0.01, 0.09), "r_mm": (1.0, 9.0)}[unit]
    want = ai.integrate1d_ng(frame, bins, unit=unit, radial_range=limits, mask=mask, correctSolidAngle=True, polarization_factor=factor, error_model="poisson",
                             method=("no", "histogram", "python"))
    where = geometry.read(poni, shape=shape)
    rings = Rings.from_geometry(where, bins, unit, 1e-10, shape, radial_range=limits, good=~mask)
    got = AzimuthalIntegrate(rings, (where.solid_angle() * where.polarisation(factor)).reshape(shape), "poisson")(frame[None])
    np.testing.assert_allclose(rings.radial, want.radial, rtol=1e-9)
    moved = np.abs(got.pixels[0] - want.count) > 0.5        # a pixel on the border between two bins, in the last bit
    assert moved.sum() <= 4 and np.abs(got.pixels[0] - want.count).max() <= 2
    np.testing.assert_allclose(got.intensity[0][~moved], want.intensity[~moved], rtol=3e-6)
    np.testing.assert_allclose(got.sigma[0][~moved], want.sigma[~moved], rtol=3e-6)


@pytest.mark.filterwarnings("ignore")
def test_pyfai_in_two_dimensions(poni: Path) -> None:
    pyFAI = pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.detectors import Detector

    shape = (120, 141)
    frame = np.random.default_rng(5).poisson(1000, shape).astype(np.float32)
    ai = pyFAI.load(str(poni))
    ai.detector = Detector(1e-4, 1e-4, max_shape=shape)
    want = ai.integrate2d_ng(frame, 50, 36, unit="q_nm^-1", radial_range=(0.5, 5.0), azimuth_range=(-180, 180), correctSolidAngle=False,
                             method=("no", "histogram", "cython"))
    rings = Rings.from_geometry(geometry.read(poni, shape=shape), 50, "q_nm^-1", 1e-10, shape, radial_range=(0.5, 5.0), azimuth_bins=36)
    got = AzimuthalIntegrate(rings)(frame[None])
    np.testing.assert_allclose(rings.azimuthal, want.azimuthal, atol=1e-4)
    same = np.abs(got.pixels[0] - want.count) < 0.5
    assert got.intensity.shape == (1, 36, 50) and same.mean() > 0.975
    some = same & (got.pixels[0] > 0)
    np.testing.assert_allclose(got.intensity[0][some], want.intensity[some], rtol=1e-5)


def test_the_recorded_powder_rings(real: Callable[[str, str], Any], tmp_path: Path) -> None:
    """CeO2 on a Pilatus 1M: the curve that pyFAI 2026.9 made, with solid angle, without pixel split."""
    file = "ceo2_pilatus1m_waxs.h5"
    frame, want = real(file, "data"), real(file, "pyfai/nosplit")
    with h5py.File(recorded.folder(ROOT) / file) as f:
        (tmp_path / "a.poni").write_text(f.attrs["poni"])
    where = geometry.read(tmp_path / "a.poni", shape=frame.shape)
    width = (want[0, -1] - want[0, 0]) / 1999
    limits = (want[0, 0] - width / 2, want[0, -1] + width / 2)
    rings = Rings.from_geometry(where, 2000, "2th_deg", frame=frame.shape, radial_range=limits, good=frame >= 0)
    got = AzimuthalIntegrate(rings, where.solid_angle().reshape(frame.shape), "poisson")(frame[None])
    same = (got.pixels[0] == want[3]) & (want[3] > 0)
    assert same.mean() > 0.97 and np.abs(got.pixels[0] - want[3]).sum() <= 120       # pixels on the border of two bins
    np.testing.assert_allclose(got.intensity[0][same], want[1][same], rtol=2e-5, atol=1e-3)
    corner = np.abs(got.intensity[0] - want[1])[want[3] > 0]
    assert np.median(corner / np.maximum(want[1][want[3] > 0], 1)) < 1e-6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["azimuthal", "poisson"])
@pytest.mark.parametrize("threshold", [0.0, 4.0])
def test_pyfai_clips_alike(poni: Path, model: str, threshold: float) -> None:
    pyFAI = pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.detectors import Detector

    shape, bins = (120, 141), 40
    rng = np.random.default_rng(5)
    frame = rng.poisson(1000, shape).astype(np.float32)
    frame[rng.random(shape) < 0.01] += 4000
    ai = pyFAI.load(str(poni))
    ai.detector = Detector(1e-4, 1e-4, max_shape=shape)
    want = ai.sigma_clip_ng(frame, bins, unit="2th_deg", radial_range=(0.5, 4.0), correctSolidAngle=True, error_model=model, max_iter=5, thres=threshold,
                            method=("no", "csr", "python"))
    where = geometry.read(poni, shape=shape)
    rings = Rings.from_geometry(where, bins, "2th_deg", frame=shape, radial_range=(0.5, 4.0))
    got = SigmaClip(rings, where.solid_angle().reshape(shape), threshold, 5, model)(frame[None])
    apart = np.abs(got.pixels[0] - want.count)
    same = apart < 0.5
    assert same.mean() > 0.9 and apart[1:].max() <= 3       # pixels between two bins, or at the limit; its first bin has those below the range, too
    np.testing.assert_allclose(got.intensity[0][same], want.intensity[same], rtol=1e-5)
    np.testing.assert_allclose(got.sem[0][same], want.sem[same], rtol=1e-4)
    np.testing.assert_allclose(got.std[0][same], want.std[same], rtol=1e-4)
    assert np.abs(got.intensity[0] - 1000).max() < 80


def test_averages_of_many_frames_stay_exact() -> None:
    """Sums added over frames are the sums of the added frames."""
    frames = np.random.default_rng(1).poisson(3, (40, 50, 60)).astype(np.uint16)
    op = AzimuthalIntegrate(Rings.from_position(radius_of((50, 60)), 30))
    assert np.array_equal(op(frames).sum_signal.sum(0), op(frames.sum(0)[None].astype(np.uint32)).sum_signal[0])


def test_laser_on_and_off_weighted_by_i0(target: Target) -> None:
    """Curves of two classes of events, each event with its weight, batch by batch: the sums are whole numbers, so the averages are exact."""
    rng, shape, bins, n = np.random.default_rng(9), (50, 60), 30, 12
    rings = Rings.from_position(radius_of(shape), bins)
    cube = Cube((2,), of="sum_signal", weighted=True)
    chain = Chain((AzimuthalIntegrate(rings), cube), keep=("cube_count", "cube_sum", "cube_weight", "cube_outside"))
    frames, laser = rng.poisson(3, (n, *shape)).astype(np.uint16), np.arange(n, dtype=np.int32) * 5 % 3 - 1       # -1: a dropped shot
    i0 = (rng.integers(30000, 90000, n) / 65536).astype(np.float32)
    state = {k: target.put(v) for k, v in cube.start((bins,), np.int64).items()}
    for batch in (slice(0, 5), slice(5, n)):
        given = {"energy": frames[batch], "bin_index": laser[batch], "weight": i0[batch]}
        state = chain(**{k: target.put(v) for k, v in given.items()}, **state, backend=target.backend.name)._asdict()
    held = {k: target.get(v) for k, v in state.items()}
    pixels = np.bincount(rings.label.reshape(-1), minlength=bins)
    for b in (0, 1):
        mine = frames[laser == b].sum(0, dtype=np.int64).reshape(-1)
        total = [sum(int(x) for x in mine[rings.label.reshape(-1) == k]) for k in range(bins)]
        weight = sum(Fraction(float(w)) for w in i0[laser == b])
        assert held["cube_sum"][b].tolist() == total and Fraction(int(held["cube_weight"][b]), 2**16) == weight
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(cube.mean(held, 1)[b] / pixels, [float(Fraction(t) / weight) / p if p else np.nan
                                                                       for t, p in zip(total, pixels, strict=True)], rtol=1e-15)
    assert held["cube_outside"].tolist() == [(laser == -1).sum(), 0]


@pytest.mark.parametrize(("make", "message"), [
    (lambda r: AzimuthalIntegrate(r, np.zeros((50, 60))), "features.azimuthal_integrate: normalisation of pixels of rings must be"),
    (lambda r: AzimuthalIntegrate(r, np.ones((50, 61))), "features.azimuthal_integrate: normalisation must be"),
    (lambda r: AzimuthalIntegrate(r, error_model="hybrid"), "features.azimuthal_integrate: error_model must be"),
    (lambda r: Rings.from_position(np.ones((4, 4)), 0), "Rings: radial needs 1 bin at least"),
    (lambda r: Rings.from_position(np.full((4, 4), np.nan), 3), "Rings: no pixel is good"),
    (lambda r: Rings.from_position(np.ones((4, 4)), 3, (2, 2)), "Rings: radial needs"),
])
def test_a_wrong_field_says_so(make: Callable[[Rings], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(Rings.from_position(radius_of((50, 60)), 30))
