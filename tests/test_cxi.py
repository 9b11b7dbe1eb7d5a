"""features.cxi: peak lists by the names that CrystFEL reads, frames in batches, panels stacked."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from gpuredux import Chain
from gpuredux.features import Droplets, PeakFinder8, cxi

SHAPE = (3, 40, 50)     # panels, rows, cols


def frames_with(at: list[list[tuple[int, int, int]]]) -> np.ndarray:
    """Frames with a peak of two pixels at each (panel, row, col), the left one twice the right one, a third pixel along."""
    frames = np.full((len(at), *SHAPE), 3, np.uint16)
    for f, places in enumerate(at):
        for panel, row, col in places:
            frames[f, panel, row, col : col + 2] = 203, 103
    return frames


PLACES = [[(0, 5, 7), (1, 20, 30), (2, 37, 3)], [], [(2, 2, 44)]]


def finder(**more: int) -> PeakFinder8:
    return PeakFinder8(np.zeros(SHAPE), 50.0, max_num_peaks=more.pop("rows", 8), **more)


def test_what_crystfel_reads(tmp_path: Path) -> None:
    """By h5py alone, as another program would: fast and slow scan of the stacked image, whose panels lie one behind the other."""
    op, path, frames = finder(), tmp_path / "a.cxi", frames_with(PLACES)
    assert cxi.append_peaks(path, op(frames), SHAPE[1], op) == 3
    image = frames.reshape(3, -1, SHAPE[2])
    with h5py.File(path) as file:
        group = file["entry_1/result_1"]
        assert group["nPeaks"][:].tolist() == [3, 0, 1]
        for f, places in enumerate(PLACES):
            for k in range(len(places)):
                x, y = group["peakXPosRaw"][f, k], group["peakYPosRaw"][f, k]
                assert image[f, int(y), int(x)] == 203 and x - int(x) == pytest.approx(1 / 3, abs=1e-4)
            assert not group["peakXPosRaw"][f, len(places):].any() and not group["peakTotalIntensity"][f, len(places):].any()
        assert group["peakTotalIntensity"][0, 0] == pytest.approx(300, rel=1e-3) and group["peakNPixels"][0, 0] == 2
        assert group["peakMaximumValue"][0, 0] == pytest.approx(200, rel=1e-3) and group["peakSNR"][0, 0] > 5
        assert json.loads(group.attrs["finder"])["op"] == "features.peak_finder8" and group.attrs["finder_digest"] == op.digest()
        assert file["cxi_version"][()] == 160


def test_batches_are_one_list(tmp_path: Path) -> None:
    frames = frames_with([PLACES[f % 3] for f in range(11)])
    cxi.append_peaks(tmp_path / "whole.cxi", finder()(frames), SHAPE[1])
    ends = []
    for begin, end, rows in ((0, 4, 8), (4, 4, 8), (4, 9, 8), (9, 11, 12)):       # an empty one, and one with a longer table
        padded = frames[begin:9] if end == 9 else np.concatenate([frames[begin:end], frames[:2]])
        ends.append(cxi.append_peaks(tmp_path / "batches.cxi", finder(rows=rows)(padded), SHAPE[1], frames=end - begin))
    assert ends == [4, 4, 9, 11]
    whole, batches = (cxi.read_peaks(tmp_path / name, SHAPE[1]) for name in ("whole.cxi", "batches.cxi"))
    for k, x in whole.items():
        assert np.array_equal(x, batches[k] if x.ndim == 1 else batches[k][:, :8]), k
        assert x.ndim == 1 or not batches[k][:, 8:].any()


def test_it_comes_back(tmp_path: Path) -> None:
    table = finder()(frames_with(PLACES))
    cxi.append_peaks(tmp_path / "a.cxi", table, SHAPE[1])
    again = cxi.read_peaks(tmp_path / "a.cxi", SHAPE[1])
    assert set(again) == {f"peak_{k}" for k in ("panel", "row", "col", "total", "max", "snr", "pixels", "count")}
    for k, x in again.items():
        want = getattr(table, k)
        assert x.dtype == want.dtype
        np.testing.assert_allclose(x, want, atol=1e-5, err_msg=k)


def test_droplets_and_mappings(tmp_path: Path) -> None:
    """Any table with panel, row, col and a sum; columns that a finder lacks are not in the file."""
    table = Droplets(100.0, 50.0, max_droplets=4)(frames_with(PLACES))._asdict()
    cxi.append_peaks(tmp_path / "a.cxi", {k: v for k, v in table.items() if k not in ("droplet_max", "droplet_pixels")}, SHAPE[1])
    with h5py.File(tmp_path / "a.cxi") as file:
        assert set(file["entry_1/result_1"]) == {"nPeaks", "nPeaksFound", "peakXPosRaw", "peakYPosRaw", "peakTotalIntensity"}
        assert file["entry_1/result_1/peakTotalIntensity"][0, :3].tolist() == [306, 306, 306]


def test_a_full_table_says_so(tmp_path: Path) -> None:
    """nPeaks is what can be read; what the finder counted is kept beside it."""
    cxi.append_peaks(tmp_path / "a.cxi", finder(rows=2)(frames_with(PLACES)), SHAPE[1])
    with h5py.File(tmp_path / "a.cxi") as file:
        assert file["entry_1/result_1/nPeaks"][:].tolist() == [2, 0, 1] and file["entry_1/result_1/nPeaksFound"][:].tolist() == [3, 0, 1]


def test_a_frame_with_too_much_in_it_is_none_without_peaks(tmp_path: Path) -> None:
    frames = frames_with(PLACES)
    frames[0, 0, ::8, ::8] = 900
    found = Chain([finder(max_strong=20)])(energy=frames, frame_status=np.zeros(3, np.uint32))
    cxi.append_peaks(tmp_path / "a.cxi", found, SHAPE[1])
    with h5py.File(tmp_path / "a.cxi") as file:
        assert file["entry_1/result_1/nPeaks"][:].tolist() == [0, 0, 1]
        assert file["entry_1/result_1/nPeaksFound"][:].tolist() == [-1, 0, 1]


def test_frames_may_be_there_already(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["cxi_version"] = 140
        file["entry_1/data_1/data"] = frames_with(PLACES)
    cxi.append_peaks(tmp_path / "a.cxi", finder()(frames_with(PLACES)), SHAPE[1])
    with h5py.File(tmp_path / "a.cxi") as file:
        assert file["cxi_version"][()] == 140 and file["entry_1/data_1/data"].shape == (3, *SHAPE)


def test_others_lists_are_read(tmp_path: Path) -> None:
    """As Cheetah writes them: float64, no columns but the three, nPeaks of another integer; centroids up to half a pixel outside of a panel's pixels."""
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        group = file.create_group("entry_1/result_1")
        group["nPeaks"] = np.array([2, 1], np.int64)
        group["peakXPosRaw"] = np.array([[1.5, 49.4, 9], [7, 9, 9]], np.float64)
        group["peakYPosRaw"] = np.array([[39.4, 39.6, 9], [-0.4, 9, 9]], np.float64)
        group["peakTotalIntensity"] = np.array([[10, 20, 9], [30, 9, 9]], np.float64)
    got = cxi.read_peaks(tmp_path / "a.cxi", 40)
    assert got["peak_panel"].tolist() == [[0, 1, 0], [0, 0, 0]] and got["peak_count"].tolist() == [2, 1]
    np.testing.assert_allclose(got["peak_row"], [[39.4, -0.4, 0], [-0.4, 0, 0]], atol=1e-6)


def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    table, path = finder()(frames_with(PLACES)), tmp_path / "a.cxi"
    cxi.append_peaks(path, table, SHAPE[1])
    with pytest.raises(ValueError, match="another rows_of_panel"):
        cxi.append_peaks(path, table, 120)
    with pytest.raises(ValueError, match=r"other columns \(peakSNR\)"):
        cxi.append_peaks(path, {k: v for k, v in table._asdict().items() if k != "peak_snr"}, SHAPE[1])
    with pytest.raises(ValueError, match=r"^cxi: a table needs <thing>_panel"):
        cxi.append_peaks(path, {"peak_row": table.peak_row}, SHAPE[1])
    with pytest.raises(ValueError, match=r"^cxi: a table needs peak_row, peak_col and peak_total"):
        cxi.append_peaks(path, {k: v for k, v in table._asdict().items() if k != "peak_total"}, SHAPE[1])
    with pytest.raises(KeyError):
        cxi.read_peaks(path, SHAPE[1], "/entry_1/result_2")
    assert len(cxi.read_peaks(path, SHAPE[1])["peak_count"]) == 3
