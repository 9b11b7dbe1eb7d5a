"""The loaders of PSI, psana, Cheetah and CALCAT, from files made here as their formats say. Over 200 lines: four formats, one question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gpuredux.calib import Gain, flags, folding
from gpuredux.calib.constants_agipd import load_cheetah
from gpuredux.calib.constants_calcat import load_calcat
from gpuredux.calib.constants_psana import load_psana, read_array
from gpuredux.calib.constants_psi import load_psi
from gpuredux.detectors import DETECTORS
from gpuredux.status import Pixel


# ---------------------------------------------------------------------------------------------------------------------- PSI
def psi_files(folder: Path, modules: int = 1, gains: int = 4, pedestals: int = 4, seed: int = 1) -> tuple[Path, Path, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (512 * modules, 1024)
    level = np.array([41.0, -1.4, -0.1, 100.0, -1.5, -0.11])[:gains, None, None]
    gain = (rng.normal(1, 0.02, (gains, *shape)) * level).astype(np.float32)
    pedestal = rng.normal(3000, 50, (pedestals, *shape)).astype(np.float32)
    mask = rng.choice(np.array([0, 1, 2, 16, 1 << 21]), shape, p=(0.9, 0.02, 0.02, 0.02, 0.04))
    with h5py.File(folder / "gains.h5", "w") as f:
        f["gains"] = gain
    with h5py.File(folder / "pedestal.h5", "w") as f:
        f["gains"], f["gainsRMS"], f["pixel_mask"] = pedestal, pedestal / 100, mask
    return folder / "gains.h5", folder / "pedestal.h5", gain, pedestal, mask


def test_psi_files(tmp_path: Path) -> None:
    g, p, gain, pedestal, mask = psi_files(tmp_path, modules=2)
    c = load_psi(g, p, "jungfrau4M", segments=(6, 1), validity=(3, 4))
    assert c.shape == (2, 512, 1024) and c.segments == (6, 1) and c.validity == (3, 4) and c.units["gain"] == "ADU/keV" and c.planes == ("G0", "G1", "G2")
    for m in range(2):
        rows = slice(512 * m, 512 * m + 512)
        assert np.array_equal(c.gain[:, m], gain[:3, rows]) and np.array_equal(c.pedestal[:, m], pedestal[:3, rows])
        assert np.array_equal(c.good[m], mask[rows] == 0) and np.array_equal(c.noise[:, m], (pedestal / 100)[:3, rows])
    chosen = load_psi(g, p, "jungfrau1M", bad=("EXTRA_MASK", "WRONG_GAIN_G2"))
    assert np.array_equal(chosen.good.reshape(mask.shape), (mask != 1) & (mask != 16)) and "EXTRA_MASK" in chosen.notes
    raw = np.full((1, 2, 512, 1024), 3100 | 1 << 14, np.uint16)
    energy = Gain(**c.to_gain())(raw, backend="numba")[0]
    want = ((3100 - pedestal[1].astype(np.float64)) / gain[1]).reshape(2, 512, 1024)
    np.testing.assert_allclose(energy[c.good], want[c.good], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("planes", "want"), [(4, [3, None, None]), (6, [3, 4, 5])])
def test_psi_high_gain(tmp_path: Path, planes: int, want: list[int | None]) -> None:
    g, p, gain, pedestal, _ = psi_files(tmp_path, gains=planes, pedestals=planes)
    c = load_psi(g, p, highgain=True)
    for k, source in enumerate(want):
        assert np.array_equal(c.gain[k], np.zeros((512, 1024)) if source is None else gain[source])
        assert np.isnan(c.pedestal[k]).all() if source is None else np.array_equal(c.pedestal[k], pedestal[source])
    if None in want:
        with pytest.raises(ValueError, match="gain that is NaN, Inf or 0"):
            Gain(**c.to_gain())
        status = Gain(**c.to_gain(invalid="mask", good=None), status=True)(np.full((1, 512, 1024), 0x4100, np.uint16), backend="numba")[1]
        assert (status == Pixel.BAD_CONSTANT).all(), "a switched word has no constants in HG0"
    p3 = tmp_path / "three"
    p3.mkdir()
    with pytest.raises(ValueError, match="needs a plane for HG0"):
        load_psi(g, psi_files(p3, gains=4, pedestals=3)[1], highgain=True)


def test_psi_pedestals_that_failed(tmp_path: Path) -> None:
    g, p, *_ = psi_files(tmp_path)
    with h5py.File(p, "r+") as f:
        f["gains"][0, 3, 4], f["gains"][1, 5, 6], f["gains"][2, 7, 8], f["gains"][0, 9, 9], f["gains"][0, 10, 10] = 0, 16383, 16383.5, np.nan, np.inf
        f["gainsRMS"][...] = f["gains"][...]
        f["pixel_mask"][...] = 0
    c = load_psi(g, p)
    assert [tuple(a) for a in np.argwhere(np.isnan(c.pedestal)).tolist()] == [(0, 3, 4), (0, 9, 9), (0, 10, 10), (1, 5, 6), (2, 7, 8)]
    assert "3, 1, 1 pixels" in c.notes and c.noise is None and "repeats" in c.notes
    with pytest.raises(ValueError, match="5 good pixels have"):
        Gain(**c.to_gain())


def test_psi_signs(tmp_path: Path) -> None:
    g, p, gain, *_ = psi_files(tmp_path)
    with h5py.File(g, "r+") as f:
        f["gains"][...] = np.abs(gain)
    with pytest.raises(ValueError, match=r"PSI's are negative.*absolute=True"):
        load_psi(g, p)
    c = load_psi(g, p, absolute=True)
    assert np.array_equal(c.gain, gain[:3]) and "turned negative" in c.notes
    with h5py.File(g, "r+") as f:
        f["gains"][...] = gain
    with pytest.raises(ValueError, match="not of PSI's signs"):
        load_psi(g, p, absolute=True)
    with h5py.File(g, "r+") as f:
        f["gains"][...] = -gain
    with pytest.raises(ValueError, match="not of PSI's signs"):
        load_psi(g, p)


def test_psi_binary_gains(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    maps = [rng.normal(1, 0.02, (3, 512, 1024)) * np.array([41, -1.4, -0.1])[:, None, None] for _ in range(2)]
    paths = [tmp_path / f"M{k}.bin" for k in range(2)]
    for path, m in zip(paths, maps, strict=True):
        path.write_bytes(m.astype("<f8").tobytes())
    c = load_psi(paths, None, "jungfrau1M")
    assert c.pedestal is None and c.gain.dtype == np.float64 and all(np.array_equal(c.gain[:, k], m) for k, m in enumerate(maps))
    with pytest.raises(ValueError, match="needs 2 binary gain files, one a module, got 1"):
        load_psi(paths[:1], None, "jungfrau1M")
    paths[1].write_bytes(paths[1].read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"M1\.bin: .*got 12582904 bytes"):
        load_psi(paths, None, "jungfrau1M")


@pytest.mark.parametrize(("edit", "words"), [
    (lambda f: f.__delitem__("gains"), "has no dataset /gains; it holds gainsRMS, pixel_mask"),
    (lambda f: (f.__delitem__("gains"), f.__setitem__("gains", np.zeros((5, 512, 1024)))), r"\(3 or 4 or 6, 512, 1024\)"),
    (lambda f: (f.__delitem__("gains"), f.__setitem__("gains", np.zeros((4, 1024, 1024)))), "1 modules of jungfrau"),
    (lambda f: (f.__delitem__("pixel_mask"), f.__setitem__("pixel_mask", np.zeros((512, 1024)))), "must be integers, got float64"),
    (lambda f: (f.__delitem__("pixel_mask"), f.__setitem__("pixel_mask", np.zeros((2, 512, 1024), int))), r"/pixel_mask must be \(512, 1024\)"),
])
def test_psi_files_that_are_not_understood(tmp_path: Path, edit: Callable[[Any], Any], words: str) -> None:
    g, p, *_ = psi_files(tmp_path)
    with h5py.File(p, "r+") as f:
        edit(f)
    with pytest.raises(ValueError, match=words):
        load_psi(g, p)


def test_psi_files_that_are_not_there_or_cut(tmp_path: Path) -> None:
    g, p, *_ = psi_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_psi(tmp_path / "none.h5", p)
    p.write_bytes(p.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"pedestal\.h5: cannot be read as HDF5"):
        load_psi(g, p)
    with pytest.raises(ValueError, match="files are of Jungfrau modules"):
        load_psi(g, None, "epix10ka")
    with pytest.raises(ValueError, match="/gains must be"):
        load_psi(g, None, "jungfrau4M")


# -------------------------------------------------------------------------------------------------------------------- psana
def psana_dict(kind: str, states: int, panels: int) -> dict[str, Any]:
    rng = np.random.default_rng(9)
    shape = (states, panels, *DETECTORS[kind].shape[-2:])
    about = {"experiment": "xpp01", "run": 20, "run_orig": 18, "run_end": "end"}
    return {
        "pedestals": (rng.normal(2500, 50, shape).astype(np.float32), about),
        "pixel_gain": (rng.normal(41, 1, shape).astype(np.float32), {**about, "run": 25, "run_orig": 5}),
        "pixel_offset": (rng.normal(0, 1, shape).astype(np.float32), {**about, "run_end": 90}),
        "pixel_rms": (rng.normal(20, 1, shape).astype(np.float32), about),
        "pixel_status": (rng.choice(np.array([0, 1, 8, 64], np.uint64), shape), about), "pixel_mask": (rng.integers(0, 2, shape[1:], dtype=np.uint8), {}),
        "common_mode": (np.zeros(16), {}), "geometry": ("text", {}),
    }


def test_psana_arrays() -> None:
    given = psana_dict("jungfrau1M", 3, 2)
    c = load_psana(given, "jungfrau16M", segments=(31, 4), bad=("COLD", "BAD_GAIN_SWITCH"))
    for name, ours in (("pedestals", c.pedestal), ("pixel_gain", c.gain), ("pixel_offset", c.offset), ("pixel_rms", c.noise), ("pixel_status", c.status)):
        assert np.array_equal(given[name][0], ours)
    status = given["pixel_status"][0]
    assert np.array_equal(c.good, (given["pixel_mask"][0] == 1) & ~((status == 8) | (status == 64)).any(axis=0))
    assert c.validity == (25, 90) and c.source_runs == ("xpp01 18", "xpp01 5") and c.segments == (31, 4) and "common_mode, geometry" in c.notes
    raw = np.full((1, 2, 512, 1024), 3000, np.uint16)
    want = (3000 - (c.pedestal[0].astype(float) + c.offset[0])) / c.gain[0]
    np.testing.assert_allclose(Gain(**c.to_gain())(raw, backend="numba")[0][c.good], want[c.good], rtol=1e-4)


def test_psana_detectors_of_one_panel_and_of_one_gain() -> None:
    ten = psana_dict("epix10ka", 7, 1)
    c = load_psana(ten, "epix10ka", validity=None)
    assert c.pedestal.shape == (7, 352, 384) and np.array_equal(c.pedestal, ten["pedestals"][0][:, 0]) and c.validity is None
    assert c.planes[0] == "FH" and c.good.shape == (352, 384)
    rng = np.random.default_rng(2)
    pedestal, factor = rng.normal(2000, 5, (1, 704, 768)), np.full((1, 704, 768), 0.06, np.float32)
    factor[0, 3, 3] = 0
    with pytest.raises(ValueError, match=r"say gain_unit, e\.g\. 'ADU/keV' \(divides\)"):
        load_psana({"pedestals": pedestal, "pixel_gain": factor}, "epix100")
    c = load_psana({"pedestals": pedestal, "pixel_gain": factor}, "epix100", gain_unit="keV/ADU")
    assert c.pedestal.shape == (1, 704, 768) and c.units["gain"] == "ADU/keV"
    assert c.gain[0, 0, 0] == np.float32(1 / np.float64(np.float32(0.06))) and c.gain[0, 3, 3] == 0
    assert "inverted" in c.notes and c.source_runs == () and c.validity is None
    assert load_psana({"pixel_gain": factor}, "epix100", gain_unit="eV/ADU").units["gain"] == "ADU/eV"


@pytest.mark.parametrize(("change", "options", "words"), [
    ({"pedestal": np.zeros(3)}, {}, "pedestal is not understood; known are pedestals"), ({}, {"segments": (0, 1, 2)}, r"must be \(3, 3, 512, 1024\)"),
    ({"pedestals": np.zeros((2, 2, 512, 1024))}, {}, r"must be \(3, 2, 512, 1024\)"), ({"pixel_mask": np.full((2, 512, 1024), 2)}, {}, "0 and 1, 1 = good"),
    ({"pixel_mask": np.ones((512, 1024), int)}, {}, "pixel_mask must be"),
    ({"pedestals": (np.zeros((3, 2, 512, 1024)), {"run": 200})}, {}, "never valid together"),
    ({"pedestals": (np.zeros((3, 2, 512, 1024)), {"run": "x"})}, {}, "which are no numbers"), ({}, {"gain_unit": "keV"}, "gain_unit must be"),
    ({}, {"bad": ("COOL",)}, "did you mean 'COLD'"), ({"pixel_status": None}, {"bad": ("COLD",)}, "needs pixel_status"),
])
def test_psana_arrays_that_are_not_understood(change: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_psana({**psana_dict("jungfrau1M", 3, 2), **change}, "jungfrau4M", **{"segments": (1, 7), **options})


def test_eight_states_of_epixuhr_are_not_twelve() -> None:
    with pytest.raises(ValueError, match="8 states of epixuhr3x2 without the switched ones"):
        load_psana({"pedestals": np.zeros((8, 1, 336, 576))}, "epixuhr3x2")
    gain = folding.low_states(np.zeros((8, 1, 336, 576)))
    assert load_psana({"pixel_gain": gain}, "epixuhr3x2", gain_unit="ADU/keV").planes[-1] == "AMLG2_L"


def test_psana_modes_of_epixm320() -> None:
    """SH, SL and AHL: the switched state has no dark, and a run in AHL needs one."""
    c = load_psana(psana_dict("epixm320", 3, 4), "epixm320", gain_unit="ADU/pulser step")
    assert c.planes == ("SH", "SL", "AHL_H")
    low = folding.fold_constants(c, "SL")
    assert np.array_equal(low.pedestal, np.stack([c.pedestal[1]] * 2)) and np.array_equal(low.gain, np.stack([c.gain[1]] * 2))
    with pytest.raises(ValueError, match="asks for AHL_L"):
        folding.fold_constants(c, "AHL")


def test_psana_text_and_npy(tmp_path: Path) -> None:
    a = np.random.default_rng(4).normal(2000, 9, (2, 3, 4)).astype(np.float32)
    head = "# TITLE  x\n#\n# EXPERIMENT amo\n\n# DTYPE  float32\n# NDIM   3\n# DIM:1  2\n# DIM:2  3\n# DIM:3  4\n\n"
    rows = "\n".join(" ".join(repr(float(v)) for v in row) for row in a.reshape(-1, 4))
    path = tmp_path / "0-end.data"
    path.write_text(head + rows)
    assert np.array_equal(read_array(path), a) and read_array(path).dtype == np.float32
    path.write_text("# SHAPE (2,3,4)\n# DATATYPE float32\n" + rows + "\n")
    assert np.array_equal(read_array(path), a)
    path.write_text("# DTYPE uint64\n# SHAPE (3,)\n1 2 64")
    assert read_array(path).tolist() == [1, 2, 64] and read_array(path).dtype == np.uint64
    np.save(tmp_path / "a.npy", a)
    assert np.array_equal(read_array(tmp_path / "a.npy"), a)
    for text, words in ((head + rows[:-40], "is it cut short"), (head + rows + " x", "is no array of psana"), (rows, "no shape"),
                        ("# SHAPE (2)\n# DTYPE uint8\n300 -1", "that are no uint8"),
                        ("# SHAPE (2)\n# DTYPE int32\n1.5 2", "that are no int32"), ("# SHAPE (2)\n# DTYPE ok\n1 2", "is no array of psana")):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_array(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text"):
        read_array(path)
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    np.save(tmp_path / "o.npy", np.array([{}], object))
    for name in ("b.npy", "o.npy"):
        with pytest.raises(ValueError, match=r"cannot be read as \.npy"):
            read_array(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "none.npy")


# ------------------------------------------------------------------------------------------------------------------- AGIPD
def cheetah(path: Path, seed: int, cells: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (3, cells, 512, 128)
    level = np.array([1, 45, 200]).reshape(3, 1, 1, 1)
    a = {"AnalogOffset": rng.integers(3000, 9000, shape).astype(np.int16), "RelativeGain": (rng.normal(1, 0.05, shape) * level).astype(np.float32),
         "DigitalGainLevel": np.sort(rng.integers(4000, 60000, shape), axis=0).astype(np.uint16), "Badpixel": (rng.random(shape) < 0.02).astype(np.uint8) * 3}
    with h5py.File(path, "w") as f:
        for name, value in a.items():
            f[name] = value
    return a


def test_cheetah_files_give_what_cheetah_gives(tmp_path: Path) -> None:
    """Its own loop: threshold, (adc - AnalogOffset) * RelativeGain, and bad pixels of the chosen gain, cell by cell."""
    paths = {11: tmp_path / "11.h5", 3: tmp_path / "03.h5"}
    files = {k: cheetah(p, k) for k, p in paths.items()}
    c = load_cheetah(paths)
    assert c.segments == (11, 3) and c.cells == 2 and c.convention == "ADU of high gain = (adc - pedestal) / gain" and c.pedestal.dtype == np.float32
    rng = np.random.default_rng(6)
    raw = rng.integers(0, 16384, (2, 2, 2, 512, 128), dtype=np.uint16)
    raw[:, :, 1] = rng.integers(0, 65536, raw[:, :, 1].shape)
    raw[0, 0, 1] = files[11]["DigitalGainLevel"][1, 0]       # equal to the threshold
    for cell in range(2):
        adc, plane, status = c.kind.decode(raw[cell], c.threshold[:, cell])
        assert not status.any()
        for at, k in enumerate(c.segments):
            f = {n: a[:, cell].astype(np.float64) for n, a in files[k].items()}
            digital = raw[cell, at, 1]
            stage = np.where(digital > f["DigitalGainLevel"][2], 2, np.where(digital > f["DigitalGainLevel"][1], 1, 0))
            assert np.array_equal(plane[at], stage)
            want = (adc[at] - np.choose(stage, f["AnalogOffset"])) * np.choose(stage, f["RelativeGain"])
            got = (adc[at] - np.choose(stage, c.pedestal[:, cell, at])) / np.choose(stage, c.gain[:, cell, at])
            np.testing.assert_allclose(got, want, rtol=1e-6)
            assert np.array_equal(np.choose(stage, c.status[:, cell, at]) != 0, np.choose(stage, f["Badpixel"]) != 0)
    masked = c.to_gain(bad=("BAD",))
    assert np.array_equal(masked["gain"] == 0, c.status == 1) and masked["invalid"] == "mask" and masked["cells"] == 2
    two = load_cheetah(paths, stages=2)
    assert c.kind.decode(raw[0], two.threshold[:, 0])[1].max() == 1


def test_cheetah_files_that_are_not_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    cheetah(path, 1)
    with pytest.raises(ValueError, match="stages must be 2 or 3"):
        load_cheetah({0: path}, stages=1)
    with pytest.raises(ValueError, match="different ids"):
        load_cheetah({16: path})
    other = tmp_path / "b.h5"
    cheetah(other, 2, cells=3)
    with pytest.raises(ValueError, match=r"different numbers of memory cells, \[2, 3\]"):
        load_cheetah({0: path, 1: other})
    with h5py.File(other, "r+") as f:
        del f["Badpixel"]
        f["Badpixel"] = np.zeros((3, 2, 512, 128), np.uint8)
    with pytest.raises(ValueError, match=r"/Badpixel must be \(3, cells, 512, 128\)"):
        load_cheetah({0: other})
    with h5py.File(other, "r+") as f:
        del f["RelativeGain"]
    with pytest.raises(ValueError, match="has no dataset /RelativeGain"):
        load_cheetah({0: other})
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_cheetah({0: tmp_path / "none.h5"})
    path.write_bytes(path.read_bytes()[:9999])
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        load_cheetah({0: path})


# ------------------------------------------------------------------------------------------------------------------ CALCAT
def calcat(path: Path, name: str, data: np.ndarray, dims: list[str] | None) -> tuple[Path, str]:
    group = f"/AGIPD_SIV1_AGIPDV11_M305/{name}/0"
    with h5py.File(path, "a") as f:
        f[f"{group}/data"] = data
        if dims is not None:
            f[f"{group}/data"].attrs["dims"] = dims
    return path, group


def test_calcat_files_in_any_order_of_axes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    truth, modules = {}, {}
    for k in (7, 2):
        offset, noise = rng.normal(4000, 99, (3, 4, 512, 128)).astype("f4"), rng.normal(9, 1, (3, 4, 512, 128)).astype("f4")
        threshold, bad = rng.normal(8000, 99, (5, 4, 512, 128)), rng.integers(0, 4, (3, 4, 512, 128)).astype("u4")
        flat, rel = rng.integers(0, 2, (512, 128)).astype("u4") << 8, rng.normal(2, 0.1, (3, 512, 128))
        truth[k] = (offset, noise, threshold, bad | flat, rel)
        modules[k] = {
            "Offset": calcat(tmp_path / f"{k}.h5", "Offset", offset.transpose(2, 3, 1, 0), ["slow_scan", "fast_scan", "cell", "gain"]),
            "Noise": calcat(tmp_path / f"{k}.h5", "Noise", noise.transpose(3, 2, 0, 1), ["fast_scan", "slow_scan", "gain", "cell"]),
            "ThresholdsDark": calcat(tmp_path / f"{k}.h5", "ThresholdsDark", threshold, ["gain", "cell", "slow_scan", "fast_scan"]),
            "BadPixelsDark": calcat(tmp_path / f"{k}.h5", "BadPixelsDark", bad, ["gain", "cell", "slow_scan", "fast_scan"]),
            "BadPixelsFF": calcat(tmp_path / f"{k}.h5", "BadPixelsFF", flat, ["slow_scan", "fast_scan"]),
            "RelativeGain": calcat(tmp_path / f"{k}.h5", "RelativeGain", rel, ["gain", "slow_scan", "fast_scan"]),
        }
    options: dict[str, Any] = {"gain": {"RelativeGain": "multiplies"}, "gain_unit": "ADU/keV", "thresholds": (0, 1)}
    c = load_calcat(modules, "agipd1M", **options)
    assert c.segments == (7, 2) and c.cells == 4 and c.flags == "BadPixels"
    for at, k in enumerate(c.segments):
        offset, noise, threshold, bad, rel = truth[k]
        assert np.array_equal(c.pedestal[:, :, at], offset) and np.array_equal(c.noise[:, :, at], noise)
        assert np.array_equal(c.threshold[:, :, at], threshold[:2])
        assert np.array_equal(c.status[:, :, at], bad)
        np.testing.assert_allclose(c.gain[:, :, at], np.broadcast_to(1 / rel[:, None], offset.shape), rtol=1e-15)
    divides = load_calcat(modules, "agipd1M", **{**options, "gain": {"RelativeGain": "divides"}})
    np.testing.assert_allclose(divides.gain, 1 / c.gain, rtol=1e-15)
    good = flags.good_from(c.status, ("FF_GAIN_DEVIATION",), c.flags, over=2)
    assert np.array_equal(good[0], truth[7][3][0, 0] < 256)
    with pytest.raises(ValueError, match=r"RelativeGain: say for each gain map whether it 'divides' or 'multiplies'"):
        load_calcat(modules, "agipd1M", thresholds=(0, 1))
    with pytest.raises(ValueError, match="has 5 entries, agipd1M needs 2: say which"):
        load_calcat(modules, "agipd1M", gain=options["gain"], gain_unit="ADU/keV")
    with pytest.raises(ValueError, match="segment 7 has no Noise"):
        load_calcat({**modules, 7: {n: v for n, v in modules[7].items() if n != "Noise"}}, "agipd1M", **options)


def test_calcat_without_gains_and_cells(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(0, 1, (704, 768))
    place = calcat(tmp_path / "e.h5", "Offset", data, ["slow_scan", "fast_scan"])
    c = load_calcat({0: {"Offset": place}}, "epix100")
    assert c.cells == 0 and np.array_equal(c.pedestal, data[None]) and c.units == {"pedestal": "ADU"}
    cells = np.random.default_rng(2).normal(0, 1, (9, 128, 512)).astype("f4")
    place = calcat(tmp_path / "d.h5", "Offset", cells, ["cell", "slow_scan", "fast_scan"])
    c = load_calcat({4: {"Offset": place}}, "dssc1M")
    assert c.cells == 9 and np.array_equal(c.pedestal[0, :, 0], cells)


@pytest.mark.parametrize(("data", "dims", "words"), [
    (np.zeros((3, 2, 512, 128)), None, "no attribute dims; say them"), (np.zeros((3, 2, 512, 128)), ["gain", "cell", "x", "y"], "understood are gain"),
    (np.zeros((3, 2, 512, 128)), ["gain", "cell", "slow_scan"], "of 4 axes"),
    (np.zeros((3, 2, 512, 128)), ["gain", "cell", "fast_scan", "slow_scan"], r"must be \(512, 128\)"),
    (np.zeros((2, 2, 512, 128)), ["gain", "cell", "slow_scan", "fast_scan"], "with 3 gains"),
    (np.zeros((3, 512, 128), complex), ["gain", "slow_scan", "fast_scan"], "no numbers"),
    (np.zeros((353, 512, 128), "u1"), ["cell", "slow_scan", "fast_scan"], "up to 352 cells"),
])
def test_calcat_files_that_are_not_understood(tmp_path: Path, data: np.ndarray, dims: list[str] | None, words: str) -> None:
    place = calcat(tmp_path / "a.h5", "Offset", data, dims)
    with pytest.raises(ValueError, match=words):
        load_calcat({0: {"Offset": place}}, "agipd1M")


def test_calcat_files_that_are_cut_or_elsewhere(tmp_path: Path) -> None:
    place = calcat(tmp_path / "a.h5", "Offset", np.zeros((3, 512, 128)), None)
    assert load_calcat({0: {"Offset": place}}, "agipd1M", dims={"Offset": ("gain", "slow_scan", "fast_scan")}).cells == 1
    with pytest.raises(ValueError, match="has no numbers at"):
        load_calcat({0: {"Offset": (place[0], "/X/Offset/0")}}, "agipd1M")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_calcat({0: {"Offset": (tmp_path / "none.h5", place[1])}}, "agipd1M")
    place[0].write_bytes(place[0].read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        load_calcat({0: {"Offset": place}}, "agipd1M")
