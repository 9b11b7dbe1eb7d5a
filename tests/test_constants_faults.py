"""What a tester fed to the constants: planes in another order, masked arrays, full disks, others' odd words. Over 200 lines: a case for each fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gpuredux.calib import Gain, flags, folding
from gpuredux.calib.constants import Constants, load
from gpuredux.calib.constants_agipd import load_cheetah
from gpuredux.calib.constants_calcat import load_calcat
from gpuredux.calib.constants_psana import load_psana, read_array
from gpuredux.calib.constants_psi import load_psi
from gpuredux.calib.scale import Scale

SHAPE = (2, 3)


def levels(*values: float) -> np.ndarray:
    return np.broadcast_to(np.reshape(values, (-1, 1, 1)), (len(values), *SHAPE)).astype(np.float32)


# ----------------------------------------------------------------------------------------------------- planes by their names
def test_planes_are_taken_by_name_not_by_place() -> None:
    """A word of G0 has the pedestal of G0, wherever in the set that lies."""
    noise, status = levels(3, 2, 1), levels(4, 2, 1).astype(np.uint8)
    c = Constants("jungfrau", levels(300, 200, 100), levels(-0.125, -2, 40), noise, offset=levels(0.3, 0.2, 0.1), status=status, flags="NXmx", shape=SHAPE,
                  planes=("G2", "G1", "G0"), notes="kept")
    given = c.to_gain(bad=("GAP",))     # bit 1, that of G0
    assert np.allclose(given["pedestal"][:, 0, 0], [100.1, 200.2, 300.3]) and given["gain"][:, 0, 0].tolist() == [0, -2, -0.125]
    raw = np.array([500, 500 | 1 << 14, 500 | 3 << 14], np.uint16).reshape(3, 1, 1) * np.ones(SHAPE, np.uint16)
    energy = Gain(**c.to_gain())(raw, backend="numpy")[:, 0, 0]
    np.testing.assert_allclose(energy, [(500 - 100.1) / 40, (500 - 200.2) / -2, (500 - 300.3) / -0.125], rtol=1e-6)
    o = c.ordered()
    assert o.planes == ("G0", "G1", "G2") and o.noise[:, 0, 0].tolist() == [1, 2, 3] and o.status[:, 0, 0].tolist() == [1, 2, 4] and o.notes == "kept"
    assert o.units == c.units and o.ordered() is o


def test_planes_that_the_detector_does_not_have_are_no_planes() -> None:
    c = Constants("jungfrau", levels(1, 2, 3), levels(1, 1, 1), shape=SHAPE, planes=("high", "medium", "low"))
    with pytest.raises(ValueError, match=r"planes of jungfrau are G0, G1, G2, the set's are high, medium, low"):
        c.to_gain()
    two = Constants("jungfrau", levels(3, 1), levels(1, 1), status=levels(1, 1).astype("u2"), flags="NXmx", shape=SHAPE, planes=("G2", "G0"))
    with pytest.raises(ValueError, match="2 gain states"):
        two.to_gain()
    with pytest.raises(ValueError, match="lacks G1"):
        two.ordered()
    filled = two.ordered(missing="mask")
    assert filled.pedestal[[0, 2], 0, 0].tolist() == [1, 3] and np.isnan(filled.pedestal[1]).all() and (filled.status[1] == 0).all()
    with pytest.raises(ValueError, match="'raise' or 'mask'"):
        two.ordered(missing="fill")


def test_thresholds_have_an_order_of_their_own() -> None:
    """A threshold lies between two stages: turned round, it is between others."""
    shape = (1, 512, 128)
    a = np.ones((3, *shape), np.float32)
    given: dict[str, Any] = {"shape": shape, "segments": (4,), "threshold": a[:2]}
    assert Constants("agipd1M", a, a, **given).ordered().threshold is not None
    with pytest.raises(ValueError, match="threshold"):
        Constants("agipd1M", a, a, **given, planes=("low", "medium", "high")).to_gain()


# ------------------------------------------------------------------------------------------------------------ masked arrays
def psana(**change: Any) -> Constants:
    one = np.ones((3, 2, 512, 1024), np.float32)
    return load_psana({"pedestals": one, "pixel_gain": one, **change}, "jungfrau1M")


MASKED = np.ma.array(np.ones((3, *SHAPE), np.float32), mask=True)


@pytest.mark.parametrize(("call", "name"), [
    (lambda: Constants("jungfrau", MASKED, shape=SHAPE), "pedestal"), (lambda: Constants("jungfrau", gain=MASKED, shape=SHAPE), "gain"),
    (lambda: Constants("jungfrau", good=np.ma.array(np.ones(SHAPE, bool), mask=True), shape=SHAPE), "good"),
    (lambda: psana(pedestals=np.ma.zeros((3, 2, 512, 1024))), "pedestals"), (lambda: psana(pixel_mask=np.ma.ones((2, 512, 1024), int)), "pixel_mask"),
    (lambda: folding.fold(np.ma.zeros((7, 352, 384)), np.full((352, 384), 12), 0, "epix10ka"), "constants"),
    (lambda: folding.fold(np.zeros((7, 352, 384)), np.ma.array(np.full((352, 384), 12)), 0, "epix10ka"), "config"),
    (lambda: folding.states(np.full((352, 384), 12), np.ma.array(0, mask=True), "epix10ka"), "trbit"),
    (lambda: folding.switched_pedestal(*[np.ma.ones(3)] * 5), "offset_low"), (lambda: folding.low_states(np.ma.ones((8, 2, 2))), "constants"),
    (lambda: flags.good_from(np.ma.zeros(3, np.uint8), (), "NXmx"), "mask"), (lambda: Scale.folding(SHAPE, divide=[np.ma.ones(SHAPE)]), "factor"),
    (lambda: Scale.folding(SHAPE, good=np.ma.ones(SHAPE, bool)), "good"),
])
def test_a_masked_array_is_refused(call: Callable[[], Any], name: str) -> None:
    """Its mask would be dropped without a word."""
    with pytest.raises(TypeError, match=rf"{name}.*masked array"):
        call()


# -------------------------------------------------------------------------------------------------------------- what a set takes
@pytest.mark.parametrize(("fields", "error", "words"), [
    ({"notes": "a\0"}, ValueError, "notes.*NUL"), ({"made_by": "\0"}, ValueError, "made_by.*NUL"), ({"notes": "\ud800"}, ValueError, "notes.*UTF-8"),
    ({"notes": 3}, TypeError, "notes must be text, got 3"), ({"units": {"pedestal": "ADU\0"}}, ValueError, "units.*NUL"),
    ({"status": np.zeros((3, *SHAPE), "u1"), "flags": "x\0"}, ValueError, "flags.*NUL"), ({"planes": ("a\0", "b", "c")}, ValueError, "planes.*NUL"),
    ({"source_runs": ("\ud800",)}, ValueError, "source_runs.*UTF-8"), ({"source_runs": "r0012"}, TypeError, r"source_runs.*\('r0012',\)"),
    ({"planes": "abc"}, TypeError, "planes"), ({"segments": "0"}, TypeError, "segments"), ({"segments": (0.5,)}, TypeError, "segments"),
    ({"shape": (2.5, 3)}, TypeError, "shape"), ({"cells": 1.0}, TypeError, "cells"), ({"shape": 5}, TypeError, "shape"),
    ({"noise": levels(1, -1, 1)}, ValueError, r"noise .* 6 values are negative"),
])
def test_fields_that_no_file_could_give_back(fields: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Constants("jungfrau", **{"pedestal": levels(1, 2, 3), "shape": SHAPE, **fields})


def test_names_of_bits_come_one_by_one() -> None:
    c = Constants("jungfrau", levels(1, 2, 3), levels(1, 1, 1), status=np.zeros((3, *SHAPE), "u1"), flags="NXmx", shape=SHAPE)
    with pytest.raises(TypeError, match="one by one"):
        c.to_gain(bad="GAP")
    with pytest.raises(TypeError, match="segments"):
        c.select((0.5,))


def test_long_texts_come_back(tmp_path: Path) -> None:
    c = Constants("jungfrau", levels(1, 2, 3), shape=SHAPE, notes="n" * 100_000, source_runs=[f"run {k}" for k in range(9000)])
    c.save(tmp_path / "c.h5")
    assert load(tmp_path / "c.h5").digest == c.digest


FULL = """
import os, resource, signal, sys
import numpy as np
from gpuredux.calib.constants import Constants
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    Constants("jungfrau", np.ones((3, 512, 1024), np.float32)).save(sys.argv[1], overwrite=True)
except OSError as e:
    print(type(e).__name__, e.errno, e.filename, os.listdir(os.path.dirname(sys.argv[1])))
"""


@pytest.mark.parametrize("room", [0, 600, 1 << 20, 6 << 20, (6 << 20) + 3000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    path = tmp_path / "c.h5"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path), str(room)], capture_output=True, text=True, check=True)
    assert done.stdout == f"OSError 27 {path} ['c.h5']\n" and done.stderr == "" and path.read_text() == "old"


def test_what_the_disk_refuses_names_the_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "c.h5", tmp_path / ("x" * 250), tmp_path):
        with pytest.raises(OSError) as e:
            Constants("jungfrau", levels(1, 2, 3), shape=SHAPE).save(path, overwrite=True)
        assert e.value.filename == str(path)
    assert not list(tmp_path.iterdir()) and not list(tmp_path.parent.glob("*.partial"))


# ------------------------------------------------------------------------------------------------------------- other people's
@pytest.mark.parametrize("value", [-1.5, -1.0, 0.5, np.nan, np.inf, 2.0**64])
def test_psanas_status_is_of_whole_numbers(value: float) -> None:
    status = np.zeros((3, 2, 512, 1024))
    assert psana(pixel_status=status + 64).status.max() == 64
    status[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=r"pixel_status .*\(1, 0, 2, 3\)"):
        psana(pixel_status=status)
    with pytest.raises(ValueError, match="pixel_status"):
        psana(pixel_status=np.full((3, 2, 512, 1024), -1, np.int16))
    with pytest.raises(ValueError, match="pixel_status"):
        psana(pixel_status=np.full((3, 2, 512, 1024), "1"))


def test_segments_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"constants_agipd: segment ids are whole numbers, got '0'"):
        load_cheetah({"0": tmp_path / "a.h5"})      # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"constants_calcat: segment ids are whole numbers, got '0'"):
        load_calcat({"0": {}}, "agipd1M")           # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"constants_agipd: .*\{segment id: "):
        load_cheetah([tmp_path / "a.h5"])           # type: ignore[arg-type]


def calcat(path: Path, data: np.ndarray, said: Any, name: str = "Offset", **options: Any) -> Constants:
    with h5py.File(path, "w") as f:
        f["g/data"] = data
        if said is not None:
            f["g/data"].attrs["dims"] = said
    return load_calcat({4: {name: (path, "g")}}, "agipd1M", **options)


def test_calcats_bits_and_axes(tmp_path: Path) -> None:
    path, a = tmp_path / "c.h5", np.zeros((3, 512, 128))
    axes = ["gain", "slow_scan", "fast_scan"]
    bad = np.zeros((3, 512, 128), np.int8)
    assert calcat(path, bad + 4, axes, "BadPixelsDark").status.max() == 4
    bad[1, 2, 3] = -1
    with pytest.raises(ValueError, match=r"BadPixelsDark .*negative"):
        calcat(path, bad, axes, "BadPixelsDark")
    for said, options in ((5, {}), (None, {"dims": {"Offset": 5}}), (np.bytes_(b"\xff"), {})):
        with pytest.raises(ValueError, match=r"c\.h5: g/data of 3 axes has dims"):
            calcat(path, a, said, **options)
    with pytest.raises(TypeError, match="dims must be"):
        calcat(path, a, None, dims=5)
    with pytest.raises(TypeError, match=r"Offset of segment 4 must be \(file, group\)"):
        load_calcat({4: {"Offset": str(path)}}, "agipd1M")      # type: ignore[dict-item]


def psi(path: Path, gain: tuple[float, ...] = (41, -1.4, -0.1, 100), **more: np.ndarray) -> Constants:
    shape = (4, 512, 1024)
    with h5py.File(path, "w") as f:
        f["gains"] = np.broadcast_to(np.reshape(np.array(gain, np.float32), (4, 1, 1)), shape)
    with h5py.File(path.with_name("p.h5"), "w") as f:
        f["gains"] = np.full(shape, 3000, np.float32)
        for name, a in more.items():
            f[name] = a
    return load_psi(path, path.with_name("p.h5"))


def test_psis_gains_are_not_their_reciprocals(tmp_path: Path) -> None:
    """G0 has the most ADU/keV and G2 the fewest; keV/ADU rise from G0 to G2."""
    assert psi(tmp_path / "g.h5").gain[:, 0, 0].tolist() == np.array([41, -1.4, -0.1], np.float32).tolist()
    with pytest.raises(ValueError, match="keV/ADU"):
        psi(tmp_path / "g.h5", (1 / 41, -1 / 1.4, -10, 0.01))


def test_psis_noise_is_not_negative(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.h5: /gainsRMS .*negative"):
        psi(tmp_path / "g.h5", gainsRMS=np.full((4, 512, 1024), -1, np.float32))


def test_a_damaged_chunk_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("gains", (4, 512, 1024), "f4", chunks=(4, 512, 1024), compression="gzip")
        d.id.write_direct_chunk((0, 0, 0), b"no gzip at all")
    with pytest.raises(ValueError, match=r"g\.h5: cannot be read as HDF5"):
        load_psi(path)


@pytest.mark.parametrize("head", ["# NDIM x\n# SHAPE (2)", "# NDIM 2.0\n# SHAPE (2)", "# SHAPE (x)",
                                  "# SHAPE (-2,-1)", "# SHAPE (99999999999,99999999999)", "# NDIM"])
def test_every_fault_of_psanas_text_names_the_file(tmp_path: Path, head: str) -> None:
    path = tmp_path / "a.data"
    path.write_text(f"{head}\n1 2\n")
    with pytest.raises(ValueError, match=r"a\.data: "):
        read_array(path)


def test_an_npy_file_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 10), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(100, 10), }", b"(10**15,), }").replace(b"(10**15,)", b"(1" + b"0" * 15 + b",)"))
    with pytest.raises(ValueError, match=r"a\.npy: "):
        read_array(path)
    np.savez(tmp_path / "z.npz", a=np.zeros(3))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    with pytest.raises(ValueError, match=r"z\.npy: "):
        read_array(tmp_path / "z.npy")
    np.save(tmp_path / "t.npy", np.array(["a"]))
    with pytest.raises(ValueError, match=r"t\.npy: .*numbers"):
        read_array(tmp_path / "t.npy")


# --------------------------------------------------------------------------------------------------------------- factors
@pytest.mark.parametrize("factor", [0.0, np.nan, np.inf, -np.inf, 1e60, 1e38, 1e-60])
def test_no_pixel_is_divided_by_what_leaves_no_number(factor: float) -> None:
    flat = np.full(SHAPE, 2.0)
    flat[1, 2] = factor
    with pytest.raises(ValueError, match=r"calib\.scale: 1 values of plane.*\(0, 1, 2\)"):
        Scale.folding(SHAPE, divide=[flat])
    good = flat == 2
    assert Scale.folding(SHAPE, divide=[flat], good=good).plane.tolist() == [np.where(good, 0.5, 0).tolist()]
    with pytest.raises(ValueError, match=r"calib\.scale: 6 values"):
        Scale.folding(SHAPE, divide=[factor])


def test_a_plane_of_nothing_is_asked_for_by_good() -> None:
    for given in ({"multiply": [0.0]}, {"multiply": [1e-39]}, {"multiply": [1e30, 1e30]}, {"multiply": [np.nan]}, {"divide": [np.inf], "multiply": [np.inf]}):
        with pytest.raises(ValueError, match="good="):
            Scale.folding(SHAPE, **given)
    assert (Scale.folding(SHAPE, divide=[1e60], multiply=[1e60]).plane == 1).all()


@pytest.mark.parametrize("factor", [1 + 2j, "12.4", True, np.ones(SHAPE, complex), [["1", "2", "3"]] * 2, None])
def test_a_factor_is_of_real_numbers(factor: Any) -> None:
    for given in ({"divide": [factor]}, {"multiply": [factor]}):
        with pytest.raises(TypeError, match=r"calib\.scale: a factor must be of real numbers"):
            Scale.folding(SHAPE, **given)


def test_old_sets_are_read_as_they_were(tmp_path: Path) -> None:
    """A permuted set keeps its order in the file: only what is made of it is ordered."""
    c = Constants("jungfrau", levels(300, 200, 100), levels(3, 2, 1), shape=SHAPE, planes=("G2", "G1", "G0"))
    c.save(tmp_path / "c.h5")
    again = load(tmp_path / "c.h5")
    assert again.digest == c.digest and replace(again, notes="x").planes == ("G2", "G1", "G0")
