"""features.sparsify, densify, peak_finder_azimuthal and their files against float64, SciPy, pyFAI, fabio, known answers. Over 200 lines: one truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from conftest import Target
from scipy import ndimage, stats

import gpuredux
from gpuredux.datasets.cases_peaks import radius_of
from gpuredux.features import Densify, PeakFinderAzimuthal, Rings, Sparsify, sparse_files
from gpuredux.features.densify import philox
from gpuredux.features.peak_finder8 import COLUMNS
from gpuredux.status import Frame


class Background(NamedTuple):
    """Of each pixel, in float64: what is above its background, the deviation with noise; of each bin mean and std."""

    e: np.ndarray
    s: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def background_again(v: np.ndarray, use: np.ndarray, radius: np.ndarray, bins: int, limits: tuple[float, float], clip: float, noise: float, model: str,
                     weight: np.ndarray | None = None) -> Background:
    """Five rounds of clipping of all rings at once; curves linear between the bins' centres."""
    weight = np.ones(v.shape) if weight is None else weight
    width = (limits[1] - limits[0]) / bins
    use = use & (radius >= limits[0]) & (radius < limits[1])
    ring = np.where(use, (radius - limits[0]) / width, 0).astype(int)
    stay = use.copy()
    for turn in range(6):
        n, s, w, q = (np.bincount(ring[stay], x[stay], bins) for x in (np.ones(v.shape), v, weight, weight**2))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = s / w
            spread = np.bincount(ring[stay], (v - mean[ring] * weight)[stay] ** 2, bins) if model == "azimuthal" else s
            std = np.sqrt(spread / q)
        most = np.where(n < 3, np.inf, np.maximum(clip, np.sqrt(2 * np.log(np.maximum(n, 3) / np.sqrt(2 * np.pi)))))
        if turn < 5:
            with np.errstate(invalid="ignore"):
                stay &= ~(np.abs(v / weight - mean[ring]) > (most * std)[ring])
    centre = limits[0] + width * (np.arange(bins) + 0.5)
    known = np.isfinite(mean)
    b, s = (np.interp(radius, centre[known], x[known]) for x in (mean, std))
    return Background(np.where(use, v / weight - b, np.nan), np.hypot(s, noise), mean, std)


class Scene(NamedTuple):
    frame: np.ndarray
    good: np.ndarray
    radius: np.ndarray
    rings: Rings
    weight: np.ndarray | None
    truth: Background


def scene(seed: int, shape: tuple[int, int] = (110, 131), bins: int = 40, model: str = "azimuthal", clip: float = 5.0, weighted: bool = False,
          dtype: Any = np.uint16, noise: float = 1.0) -> Scene:
    """A background that falls with the radius, in Poisson counts, and Bragg peaks."""
    rng, radius = np.random.default_rng(seed), radius_of((110, 131)).astype(np.float64)[: shape[0], : shape[1]]
    good = rng.random(shape) > 0.03
    weight = (1 / (1 + (radius / 150) ** 2)).astype(np.float32).astype(np.float64) if weighted else None
    ideal = 30 * np.exp(-radius / 40) + 2
    for r, c in rng.uniform(4, 104, (25, 2)):
        y, x = np.mgrid[: shape[0], : shape[1]]
        ideal += rng.uniform(20, 600) * np.exp(-((y - r) ** 2 + (x - c) ** 2) / 2.4) / 7
    frame = rng.poisson(ideal * (1 if weight is None else weight)).astype(dtype)
    limits = (0.0, 70.0)
    truth = background_again(frame.astype(np.float64), good, radius, bins, limits, clip, noise, model, weight)
    return Scene(frame, good, radius, Rings.from_position(radius, bins, limits, good), weight, truth)


def on(target: Target, op: Any, frames: np.ndarray, *more: np.ndarray) -> dict[str, np.ndarray]:
    got = op(target.put(frames), *map(target.put, more), backend=target.backend.name)
    return {k: target.get(x) for k, x in got._asdict().items()}


@pytest.mark.parametrize(("seed", "fields"), [
    (1, {}), (2, {"model": "poisson", "clip": 0.0}), (3, {"weighted": True, "dtype": np.float32}), (4, {"noise": 0.1}),
])
def test_pixels_above_an_interpolated_background(target: Target, seed: int, fields: dict[str, Any]) -> None:
    s = scene(seed, **fields)
    noise, pick = fields.get("noise", 1.0), 3.5
    op = Sparsify(s.rings, s.radius, s.weight, fields.get("clip", 5.0), 5, fields.get("model", "azimuthal"), noise, pick)
    got = on(target, op, s.frame[None])
    n = int(got["sparse_count"][0])
    index = got["sparse_index"][0, :n].astype(int)
    above, margin = np.zeros(s.frame.size, bool), (s.truth.e - np.maximum(noise, pick * s.truth.s)).reshape(-1)
    above[index] = True
    clear = np.isnan(margin) | (np.abs(margin) > 1e-3)
    assert np.array_equal(above[clear], (margin > 0)[clear]) and clear.mean() > 0.999 and n > 60
    assert (np.diff(index) > 0).all() and np.array_equal(got["sparse_value"][0, :n], s.frame.reshape(-1)[index])
    assert not got["sparse_index"][0, n:].any() and not got["sparse_value"][0, n:].any()
    np.testing.assert_allclose(got["background_mean"][0], s.truth.mean, rtol=1e-6)
    np.testing.assert_allclose(got["background_std"][0], s.truth.std, rtol=1e-5)


def peaks_again(s: Scene, cutoff: float, patch: int, connected: int) -> np.ndarray:
    """(row, col, pixels, total, max, sigma, first pixel) by SciPy's filters: the highest of their patch, wholly inside."""
    e, half, box = np.nan_to_num(s.truth.e, nan=-1.0), patch // 2, np.ones((patch, patch))
    strong = (e > 0) & (e >= cutoff * s.truth.s)
    many = ndimage.convolve(strong.astype(int), box, mode="constant")
    best = strong & (e == ndimage.maximum_filter(e, patch, mode="constant", cval=-1)) & (many >= connected)
    found = []
    for r, c in np.argwhere(best):
        if half <= r < e.shape[0] - half and half <= c < e.shape[1] - half:
            at = slice(r - half, r + half + 1), slice(c - half, c + half + 1)
            x = np.maximum(e[at], 0)
            up, across = (ndimage.center_of_mass(x)[k] - half for k in (0, 1))
            found.append((r + up, c + across, many[r, c], x.sum(), e[r, c], np.sqrt((s.truth.s[at][x > 0] ** 2).sum()), r * e.shape[1] + c))
    return np.array(found)


@pytest.mark.parametrize(("seed", "patch", "connected"), [(1, 3, 2), (5, 5, 3), (6, 7, 1)])
def test_peaks_by_scipys_maxima(target: Target, seed: int, patch: int, connected: int) -> None:
    s = scene(seed)
    got = on(target, PeakFinderAzimuthal(s.rings, s.radius, cutoff_peak=3.3, patch_size=patch, connected=connected), s.frame[None])
    want = peaks_again(s, 3.3, patch, connected)
    n = int(got["peak_count"][0])
    assert n == len(want) >= 12 and not got["peak_panel"].any()
    for k, name in enumerate(("row", "col", "pixels", "total", "max", "sigma")):
        np.testing.assert_allclose(got[f"peak_{name}"][0, :n], want[:, k], rtol=2e-5, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(got["peak_snr"][0, :n], want[:, 3] / want[:, 5], rtol=2e-5)
    background = s.frame.reshape(-1)[want[:, 6].astype(int)] - want[:, 4]
    np.testing.assert_allclose(got["peak_background"][0, :n], background, rtol=1e-4, atol=1e-4)


def test_of_equal_pixels_the_first_counts(target: Target) -> None:
    """Where pyFAI lists each: a plateau is one peak, in the place of its first pixel; further apart than the patch, two are two."""
    frame = np.full((1, 60, 60), 5, np.uint16)
    frame[0, 20:22, 20:23] = 500
    frame[0, 40, 40:45] = 300       # its ends are out of the patch of the other
    got = on(target, PeakFinderAzimuthal(Rings(np.zeros((60, 60), np.int64), 1), patch_size=5), frame)
    assert got["peak_count"][0] == 2 and got["peak_pixels"][0, :2].tolist() == [6, 3]
    np.testing.assert_allclose(got["peak_row"][0, :2], [20.5, 40], atol=1e-5)
    np.testing.assert_allclose(got["peak_col"][0, :2], [21, 41], atol=1e-5)
    assert got["peak_total"][0, 0] == 6 * 495


def test_patches_stay_on_their_panel(target: Target) -> None:
    frame = np.full((1, 2, 12, 30), 5, np.uint16)
    for panel, row, col in ((0, 0, 10), (0, 11, 20), (1, 0, 20), (1, 5, 0), (1, 5, 28), (1, 10, 14)):       # the first of two; two patches fit
        frame[0, panel, row, col : col + 2] = 900
    got = on(target, PeakFinderAzimuthal(Rings(np.zeros((2, 12, 30), np.int64), 1)), frame)
    assert got["peak_count"][0] == 2 and got["peak_panel"][0, :2].tolist() == [1, 1]
    assert got["peak_row"][0, :2].tolist() == [5, 10] and got["peak_col"][0, :2].tolist() == [28.5, 14.5]


@pytest.mark.parametrize("value", [0, 65535, 7, np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_of_one_value_hold_nothing(target: Target, value: float, masked: bool) -> None:
    frames = np.full((2, 40, 50), value, np.uint16 if value in (0, 65535, 7) else np.float32)
    radius = radius_of((40, 50))
    rings = Rings.from_position(radius, 12)
    status = np.full(frames.shape, masked, np.uint8)
    lists = on(target, Sparsify(rings, radius, noise=0.0), frames, status)
    assert not lists["sparse_count"].any() and not lists["sparse_index"].any() and not lists["sparse_value"].any()
    measured = np.isfinite(value) and not masked
    known = np.full(12, value if measured else np.nan, np.float32)
    np.testing.assert_array_equal(lists["background_mean"], [known, known])
    table = on(target, PeakFinderAzimuthal(rings, radius, noise=0.0), frames, status)
    assert not table["peak_count"].any() and not table["strong_count"].any()


def test_more_than_fit() -> None:
    """10,000 peaks where 2,048 fit, and lists that are too short: the first ones in order, and the true number; more strong pixels than are looked at."""
    frame = np.random.default_rng(1).poisson(10, (1, 1000, 1000)).astype(np.uint16)
    frame[0, 4::10, 4::10] = 500
    frame[0, 4::10, 5::10] = 400
    rings = Rings(np.zeros((1000, 1000), np.int64), 1)
    got = PeakFinderAzimuthal(rings, cutoff_peak=20.0, max_strong=30000)(frame)
    assert got.peak_count[0] == 10_000 and got.strong_count[0] == 20_000 and set(got.peak_pixels[0]) == {2}
    assert (np.diff(np.rint(got.peak_row[0]) * 1000 + got.peak_col[0]) > 0).all() and np.rint(got.peak_row[0, -1]) == 204
    lists = Sparsify(rings, cutoff_pick=20.0, max_pixels=50)(frame)
    assert lists.sparse_count[0] == 20_000 and lists.sparse_index[0].tolist() == [4000 + 4 + 10 * (k // 2) + k % 2 for k in range(50)]
    none = PeakFinderAzimuthal(rings, cutoff_peak=20.0, max_strong=19999)(frame, frame_status=np.zeros(1, np.uint32))
    assert (none.peak_count[0], none.strong_count[0], none.frame_status[0]) == (0, 20_000, Frame.TOO_MANY)


def test_a_ring_without_a_pixel_hides_nothing(target: Target) -> None:
    """Its neighbours' pixels, between its centre and theirs, go by the neighbours alone."""
    radius = np.broadcast_to(np.arange(60) / 2.0, (40, 60)).copy()
    frame = np.random.default_rng(2).poisson(20, (1, 40, 60)).astype(np.float32)
    rings = Rings.from_position(radius, 10, (0.0, 30.0))
    frame[0, :, 12:18] = np.nan       # the third bin: radius 6 to 9
    frame[0, 7, 11] = frame[0, 30, 18] = 900
    got = on(target, Sparsify(rings, radius, cutoff_pick=8.0), frame)
    assert np.isnan(got["background_mean"][0, 2]) and got["sparse_index"][0, : got["sparse_count"][0]].tolist() == [7 * 60 + 11, 30 * 60 + 18]


# ------------------------------------------------------------------------------------------------------------------ pyFAI
PONI = "Detector: Detector\nPixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\nPoni1: 0.0044\nPoni2: 0.00786\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"


def pyfai_finder(folder: Path, shape: tuple[int, int], good: np.ndarray, bins: int) -> tuple[Any, Any, np.ndarray]:
    """pyFAI's engine on an OpenCL device of the CPU, the centres of its bins, the radius of each pixel [mm]."""
    pyFAI = pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.detectors import Detector
    from pyFAI.opencl import ocl
    from pyFAI.opencl.peak_finder import OCL_PeakFinder
    from pyFAI.units import to_unit

    devices = [] if ocl is None else [(p.id, d.id) for p in ocl.platforms for d in p.devices if d.type == "CPU" and "Portable" in p.name]
    if not devices:
        pytest.skip("pyFAI sees no OpenCL platform named Portable (PoCL)")
    (folder / "a.poni").write_text(PONI)
    ai = pyFAI.load(str(folder / "a.poni"))
    ai.detector = Detector(1e-4, 1e-4, max_shape=shape)
    unit = to_unit("r_mm")
    csr = ai.setup_sparse_integrator(shape, bins, unit=unit, mask=(~good).astype(np.int8), split="no", algo="CSR", scale=False)
    radius = ai.array_from_unit(shape, typ="center", unit=unit, scale=False)
    finder = OCL_PeakFinder(csr.lut, int(np.prod(shape)), bin_centers=csr.bin_centers, radius=radius, mask=(~good).astype(np.int8), unit=unit,
                            platformid=devices[0][0], deviceid=devices[0][1], block_size=128)
    return finder, csr.bin_centers, radius


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["poisson", "azimuthal"])
def test_pyfai_on_the_same_frames(tmp_path: Path, model: str) -> None:
    s = scene(11)
    finder, centres, radius = pyfai_finder(tmp_path, s.frame.shape, s.good, 40)
    step = float(np.diff(centres.astype(np.float64)).mean())
    limits = (float(centres[0]) - step / 2, float(centres[-1]) + step / 2)
    rings = Rings.from_position(radius, 40, limits, s.good)
    sparse = finder.sparsify(s.frame, error_model=model, cutoff_clip=4.0, cycle=5, noise=1.0, cutoff_pick=3.0)
    ours = Sparsify(rings, radius, None, 4.0, 5, model, 1.0, 3.0)(s.frame[None])
    found = set(ours.sparse_index[0, : ours.sparse_count[0]].tolist())
    assert len(found ^ set(sparse.index.tolist())) <= max(3, len(found) // 50) and len(found) > 60      # the edge bins' pixels, and ties
    np.testing.assert_allclose(ours.background_mean[0, 1:-1], sparse.background_avg[1:-1], rtol=2e-3)
    peaks = finder.peakfinder(s.frame, error_model=model, cutoff_clip=4.0, cycle=5, noise=1.0, cutoff_peak=3.0, patch_size=3, connected=3)
    table = PeakFinderAzimuthal(rings, radius, None, 4.0, 5, model, 1.0, 3.0, 3, 3)(s.frame[None])
    n = int(table.peak_count[0])
    mine = np.stack([table.peak_row[0, :n], table.peak_col[0, :n], table.peak_total[0, :n], table.peak_sigma[0, :n]], 1)
    theirs = np.stack([peaks["pos0"], peaks["pos1"], peaks["intensity"], peaks["sigma"]], 1)
    near = np.hypot(*(mine[:, None, :2] - theirs[None, :, :2]).transpose(2, 0, 1))
    assert n >= 12 and abs(n - len(peaks)) <= 1 and (near.min(1) < 0.02).sum() >= n - 1
    best = near.argmin(1)[near.min(1) < 0.02]
    np.testing.assert_allclose(mine[near.min(1) < 0.02][:, 2:], theirs[best][:, 2:], rtol=5e-3)


# ---------------------------------------------------------------------------------------------------------- files, densify
def test_fabio_makes_frames_of_our_files(tmp_path: Path) -> None:
    fabio = pytest.importorskip("fabio", reason="fabio is not installed")
    s = scene(3, weighted=True, dtype=np.int32)
    op = Sparsify(s.rings, s.radius, s.weight)
    lists = op(np.stack([s.frame, s.frame[::-1]]))
    sparse_files.write_pyfai(tmp_path / "a.h5", lists, op, dummy=-1)
    dense = Densify(s.rings, s.radius, s.weight, seed=None, fill=-1)(*lists)
    with fabio.open(str(tmp_path / "a.h5")) as image:
        assert image.nframes == 2
        for f in range(2):
            theirs = image.getframe(f).data
            assert theirs.dtype == np.int32 and np.abs(theirs - dense[f]).max() <= 1      # it rounds halves away from 0
            assert (theirs != dense[f]).mean() < 1e-3
            assert (theirs[s.rings.label == s.rings.count] == -1).all()
            index = lists.sparse_index[f, : lists.sparse_count[f]]
            assert np.array_equal(theirs.reshape(-1)[index], (s.frame, s.frame[::-1])[f].reshape(-1)[index])


@pytest.mark.filterwarnings("ignore")
def test_we_read_what_pyfai_writes(tmp_path: Path) -> None:
    pytest.importorskip("pyFAI", reason="pyFAI is not installed")
    from pyFAI.containers import SparseFrame
    from pyFAI.io.sparse_frame import save_sparse
    from pyFAI.units import to_unit

    frames = []
    for index in ([3, 70, 71], [], [5]):
        frame = SparseFrame(np.array(index, np.uint32), np.array(index, np.uint16) * 2)
        frame._mask, frame._radius, frame._unit, frame._dummy = radius_of((8, 10)), np.arange(12, dtype=np.float32), to_unit("r_mm"), 9
        frame._background_avg, frame._background_std = np.full(12, 4.5, np.float32), np.full(12, 2.0, np.float32)
        frames.append(frame)
    save_sparse(str(tmp_path / "a.h5"), frames)
    got = sparse_files.read_pyfai(tmp_path / "a.h5")
    assert got["sparse_count"].tolist() == [3, 0, 1] and got["sparse_index"].tolist() == [[3, 70, 71], [0, 0, 0], [5, 0, 0]]
    assert got["sparse_value"].dtype == np.uint16 and got["sparse_value"][2].tolist() == [10, 0, 0] and (got["background_mean"] == 4.5).all()
    assert got["mask"].shape == (8, 10) and got["dummy"] == 9


def test_files_hold_the_lists(tmp_path: Path) -> None:
    """Both layouts, frames of panels, one of them empty; a list that lost pixels is refused."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(3, (3, 2, 20, 30)).astype(np.uint16)
    frames[0, :, 5, 5:9] = 99
    frames[2, 1, 19, 29] = 77
    op = Sparsify(Rings(np.zeros(frames.shape[1:], np.int64), 1), cutoff_pick=10.0)
    lists = op(frames)
    assert lists.sparse_count.tolist() == [8, 0, 1]
    sparse_files.write_pyfai(tmp_path / "a.h5", lists, op)
    for group in ("1.1", "2.1"):
        sparse_files.write_imaged11(tmp_path / "b.h5", lists, (40, 30), group)
    for got in (sparse_files.read_pyfai(tmp_path / "a.h5"), sparse_files.read_imaged11(tmp_path / "b.h5", "2.1")):
        for k in ("sparse_index", "sparse_value"):
            assert np.array_equal(got[k], getattr(lists, k)[:, :8])
        assert np.array_equal(got["sparse_count"], lists.sparse_count)
    with h5py.File(tmp_path / "b.h5") as file:
        scan = file["1.1"]
        assert scan["nnz"][:].tolist() == [8, 0, 1] and scan["row"].dtype == scan["col"].dtype == np.uint16
        assert (scan["row"][8], scan["col"][8], scan["intensity"][8]) == (39, 29, 77)
        assert (scan.attrs["shape0"], scan.attrs["shape1"], scan.attrs["npx"], scan.attrs["itype"]) == (40, 30, 9, "uint16")
    short = Sparsify(op.rings, cutoff_pick=10.0, max_pixels=5)(frames)
    with pytest.raises(ValueError, match=r"^sparse_files: 1 frames have more than the 5 pixels"):
        sparse_files.write_imaged11(tmp_path / "c.h5", short, (40, 30))
    sparse_files.write_imaged11(tmp_path / "c.h5", short, (40, 30), truncated=True)
    assert sparse_files.read_imaged11(tmp_path / "c.h5")["sparse_count"].tolist() == [5, 0, 1]
    sparse_files.write_pyfai(tmp_path / "e.h5", lists, op, frames=2)
    sparse_files.write_imaged11(tmp_path / "f.h5", lists, (40, 30), frames=2)
    assert sparse_files.read_pyfai(tmp_path / "e.h5")["background_mean"].shape == (2, 1)
    assert sparse_files.read_imaged11(tmp_path / "f.h5")["sparse_count"].tolist() == [8, 0]
    with pytest.raises(ValueError, match="frames must be of"):
        sparse_files.write_imaged11(tmp_path / "d.h5", lists, (20, 30))


@pytest.mark.parametrize(("counter", "key", "want"), [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, 0xFFFFFFFFFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_the_known_answers_of_philox(counter: tuple[int, ...], key: int, want: tuple[int, ...]) -> None:
    """Those that its authors give with Random123."""
    assert tuple(int(w[0]) for w in philox(tuple(np.array([c], np.uint64) for c in counter), key)) == want


def test_noise_is_normal_and_its_own_in_each_frame(target: Target) -> None:
    shape = (300, 400)
    rings = Rings(np.zeros(shape, np.int64), 1)
    lists = [np.zeros((3, 1), d) for d in (np.uint32, np.float32)] + [np.zeros(3, np.int32)]
    curves = [np.full((3, 1), x, np.float32) for x in (50.0, 4.0)]
    op = Densify(rings, seed=7, cutoff=np.inf)

    def dense(*pulse: int) -> np.ndarray:
        more = (np.array(pulse, np.uint64),) if pulse else ()
        return target.get(op(*map(target.put, (*lists, *curves, *more)), backend=target.backend.name))

    z = (dense().reshape(3, -1).astype(np.float64) - 50) / 4
    for x in z:
        assert stats.kstest(x, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(z.ravel())) < 0.03 and 4 < np.abs(z).max() < 6.3
    assert np.abs(np.corrcoef(z)[np.triu_indices(3, 1)]).max() < 0.01 and abs(np.corrcoef(z[0, 1:], z[0, :-1])[0, 1]) < 0.01
    again = dense(2, 2**40 + 1, 0)      # a frame's noise goes with its number
    assert np.array_equal(again[0], dense()[2]) and np.array_equal(again[2], dense()[0]) and not (again[1] == again[0]).all()


def test_rebuilt_frames_look_like_the_old_ones(target: Target) -> None:
    """Mean and spread of each ring, without the listed pixels, which come back as they were; nothing beyond the cut that was not listed."""
    s = scene(9)
    op = Sparsify(s.rings, s.radius, cutoff_pick=4.0)
    lists = op(s.frame[None])
    dense = target.get(Densify(s.rings, s.radius, cutoff=4.0, fill=65535)(*map(target.put, lists), backend=target.backend.name))[0]
    index, used = lists.sparse_index[0, : lists.sparse_count[0]], s.rings.label < s.rings.count
    assert (dense[~used] == 65535).all() and np.array_equal(dense.reshape(-1)[index], s.frame.reshape(-1)[index])
    used.reshape(-1)[index] = False
    for k in range(3, 40, 4):
        ring = used & (s.rings.label == k)
        old, new = s.frame[ring].astype(np.float64), dense[ring].astype(np.float64)
        error = old.std() / np.sqrt(ring.sum())
        assert abs(new.mean() - old.mean()) < 6 * error + 0.1 and 0.7 < new.std() / old.std() < 1.4
    again = Sparsify(s.rings, s.radius, cutoff_pick=4.5)(np.where(dense == 65535, 0, dense)[None])
    extra = set(again.sparse_index[0, : again.sparse_count[0]].tolist()) - set(index.tolist())
    assert len(extra) < 10


def test_a_chain_and_new_constants(target: Target) -> None:
    """Lists and frames of them in one plan; a new normalisation reaches the curves, the lists and the frames."""
    s = scene(12, weighted=True)
    ops = [Sparsify(s.rings, s.radius, s.weight), Densify(s.rings, s.radius, s.weight)]
    frames = target.put(s.frame[None])
    plan = gpuredux.Chain(ops, keep=["sparse_count", "background_mean", "dense"]).plan(frames, backend=target.backend.name)
    for weight in (s.weight, s.weight**2):
        plan.update(normalisation=weight)
        got = {k: target.get(x) for k, x in plan(frames)._asdict().items()}
        lists = Sparsify(s.rings, s.radius, weight)(s.frame[None])
        assert np.array_equal(got["background_mean"], lists.background_mean, equal_nan=True) and got["sparse_count"] == lists.sparse_count
        assert np.array_equal(got["dense"], Densify(s.rings, s.radius, weight)(*lists))


# ------------------------------------------------------------------------------------------------------------- real frames
def test_a_recorded_frame_of_an_eiger(real: Callable[[str, str], Any]) -> None:
    """The same pixels as float64 finds, of a frame of mostly zeros, whose rings hold thousands of pixels."""
    frame = real("eiger2_16m_roi4m_stream.h5", "data")
    good = frame < 65535
    y, x = np.indices(frame.shape)
    radius = np.hypot(y - 1115.75, x - 1041.25)
    limits = (30.0, 1500.0)
    truth = background_again(np.where(good, frame, 0).astype(np.float64), good, radius, 800, limits, 0.0, 1.0, "poisson")
    rings = Rings.from_position(radius, 800, limits, good)
    lists = Sparsify(rings, radius, None, 0.0, 5, "poisson")(frame[None])
    margin = (truth.e - np.maximum(1.0, 3 * truth.s)).reshape(-1)
    above = np.zeros(frame.size, bool)
    above[lists.sparse_index[0, : lists.sparse_count[0]]] = True
    clear = np.isnan(margin) | (np.abs(margin) > 1e-3)
    assert np.array_equal(above[clear], (margin > 0)[clear])
    print(f"{lists.sparse_count[0]} of {good.sum()} pixels")


def test_reflections_of_a_rotation_series(real: Callable[[str, str], Any]) -> None:
    """PILATUS 2M: each reflection of I / sigma > 5 that DIALS integrated has a peak within its box, in one of its frames."""
    file = "pilatus2m_lcysteine_01.h5"
    data = real(file, "data")
    box, total, variance = (real(file, f"reflections/{k}") for k in ("bbox", "I_sum", "I_sum_var"))       # box: from and to, of column, row and frame
    share, n, peaks, unmatched = recall(data, box, total / np.sqrt(np.maximum(variance, 1e-9)) > 5)
    print(f"{share:.1%} of {n} reflections, {peaks} peaks a frame, {unmatched} of them unmatched")
    assert n > 20 and share >= 0.9 and unmatched <= 5


def recall(data: np.ndarray, box: np.ndarray, bright: np.ndarray, **fields: Any) -> tuple[float, int, float, float]:
    """Share of the bright reflections with a peak in their box (and 1 pixel around), how many these are, peaks a frame, those in no box (and 2 around)."""
    good = (data >= 0).all(axis=0)
    y, x = np.indices(good.shape)
    radius = np.hypot(y - CENTRE[0], x - CENTRE[1])
    rings = Rings.from_position(radius, 400, None, good)
    table = PeakFinderAzimuthal(rings, radius, **fields)(data)
    named = {k: getattr(table, f"peak_{k}") for k in COLUMNS}
    f, k = np.nonzero(np.arange(named["row"].shape[1]) < table.peak_count[:, None])
    at = np.stack([named["col"][f, k], named["row"][f, k], f], 1)

    def on(edge: int) -> np.ndarray:
        """bool (peaks, reflections)."""
        around = np.array([edge, edge, 0])
        return ((at[:, None] >= box[:, ::2] - around - 0.5) & (at[:, None] < box[:, 1::2] + around - 0.5)).all(axis=2)

    return float(on(1).any(axis=0)[bright].mean()), int(bright.sum()), len(at) / len(data), float((~on(2).any(axis=1)).sum() / len(data))


CENTRE = (830.0, 737.0)


@pytest.mark.parametrize(("kind", "fields", "message"), [
    (Sparsify, {"cutoff_pick": -1}, "cutoff_pick must be a float32 of 0 or more"),
    (Sparsify, {"noise": np.nan}, "noise must be a float32 of 0 or more"),
    (Sparsify, {"cycle": 17}, "cycle must be 0 to 16"),
    (Sparsify, {"max_pixels": 0}, "max_pixels must be 1 to"),
    (Sparsify, {"radial": np.zeros((3, 3))}, r"radial must be \(40, 50\)"),
    (Sparsify, {"radial": np.zeros((40, 50))}, "radial must be each pixel's radius, in pixel"),
    (PeakFinderAzimuthal, {"patch_size": 4}, "patch_size must be odd"),
    (PeakFinderAzimuthal, {"connected": 0}, "connected must be 1 to"),
    (Densify, {"seed": -1}, r"seed must be 0 to 2\^64 - 1, or None"),
    (Densify, {"normalisation": np.ones((3, 3))}, "normalisation must be"),
])
def test_a_wrong_field_says_so(kind: type, fields: dict[str, Any], message: str) -> None:
    radius = radius_of((40, 50))
    with pytest.raises(ValueError, match=rf"^{kind.name}: {message}"):
        kind(Rings.from_position(radius, 12), **fields)
    with pytest.raises(ValueError, match=f"^{kind.name}: rings must have one axis"):
        kind(Rings.from_position(radius, 12, azimuth=radius, azimuth_bins=2))
