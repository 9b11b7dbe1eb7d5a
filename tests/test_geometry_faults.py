"""What a tester fed to the geometry: sizes that no machine holds, trees without end, flipped bytes. Over 200 lines: a case for each fault."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import extra_geom
import h5py
import nexusformat.nexus
import numpy as np
import pytest
from test_geometry_formats import CRYSTFEL, PONI, written

from gpuredux.calib import assembly, geometry
from gpuredux.calib.geometry import Geometry, Panel


def flat(**change: Any) -> Panel:
    given: dict[str, Any] = {"corner": (1e-3, -2e-3, 0.1), "fs": (1e-4, 0, 0), "ss": (0, 1e-4, 0), "shape": (5, 7), **change}
    return Panel("p", **given)


def refused(path: Path, words: str, **options: Any) -> None:
    """At once, in one line that begins with the file."""
    start = time.monotonic()
    with pytest.raises(ValueError, match=words) as e:
        geometry.read(path, **options)
    assert str(e.value).startswith(str(path)) and "\n" not in str(e.value) and time.monotonic() - start < 10


def psana(*lines: str) -> str:
    return "\n".join((*lines, "IP 0 A 0 0 0 -100000 0 0 0 0 0 0", ""))


def child(parent: str, name: str, x: float = 0) -> str:
    return f"{parent} {name} {x} 0 0 0 0 0 0 0 0"


# ------------------------------------------------------------------------------------------------------------ sizes and trees
@pytest.mark.parametrize(("text", "words"), [
    (psana(child("A 0", "EPIX100:V1 1000000000000")), r"line 1: children \[1000000000000\] of A 0: not 0, 1, 2 \.\.\., \[0\] missing"),
    (psana(child("A 0", "EPIX100:V1 " + "9" * 5000)), "line 1: the object index"),
    (psana(child("A 0", "MTRX:V2:200000:200000:75:75 0")), "line 1: .*268435456 pixels"),
    (psana(child("A 0", "MTRX:V2:1000000000:1:75:75 0")), "line 1: .*268435456 pixels"),
    (psana(child("A 0", "MTRX:V2:1e300:1:75:75 0")), "line 1: "),
    (psana(*(child("A 0", f"MTRX:V2:16384:16000:75:75 {k}", k * 2e6) for k in range(3))), "268435456 pixels"),
    (psana(*(child(f"L{k} 0" if k else "A 0", f"L{k + 1} 0") for k in range(3000))), "line .* levels"),
    ("IP 0 IP 0 0 0 0 0 0 0 0 0 0\n", "line 1: .* levels"),
])
def test_psanas_sizes_and_trees(tmp_path: Path, text: str, words: str) -> None:
    refused(written(tmp_path, "g.data", text), words)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("a/max_fs = 9.0", "a/max_fs = 1e9", "line 12: max_fs"), ("a/max_ss = 7", "a/max_ss = 1e300", "line 14: max_ss"),
    ("b/max_ss = 7", "b/max_ss = 268435455", "line 21: panel b: .*268435456 pixels"),
    ("b/dim1 = 1", "b/dim1 = 1000000000", "line 21: dim1"), ("b/dim1 = 1", "b/dim1 = " + "9" * 30, "line 21: dim1"),
    ("b/dim1 = 1", "b/dim1 = 100000000", "line 21: panel b: .*268435456 pixels"), ("b/dim1 = 1", "b/dim1 = -1", "line 21: "),
])
def test_crystfels_sizes(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in CRYSTFEL
    refused(written(tmp_path, "g.geom", CRYSTFEL.replace(old, new, 1)), words)


@pytest.mark.parametrize(("config", "words"), [
    ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [1000000, 1000000]}', "line 4: .*268435456 pixels"),
    ('{"pixel1": 1e-4, "pixel2": -1e-4, "max_shape": [5, 7]}', "line 4: .*size of a pixel"),
    ('{"pixel1": 0, "pixel2": 1e-4, "max_shape": [5, 7]}', "size of a"),
    ('{"pixel1": NaN, "pixel2": 1e-4, "max_shape": [5, 7]}', "line 4: "), ('{"pixel1": "x", "pixel2": 1e-4, "max_shape": [5, 7]}', "line 3: "),
    ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [10.5, 10]}', "line 4: .*shape"), ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [10]}', "line 4: "),
    ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [0, 10]}', "line 4: .*shape"), ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": 5}', "line 3: "),
    ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": "57"}', "line 4: "),
    ('{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [5, 7], "orientation": "3"}', "line 3: "),
    ('"filename"', "line 4: .*Detector_config"), ('["filename"]', "line 4: .*Detector_config"), ("3", "line 4: .*Detector_config"), ("null", "Detector_config"),
    ('{"filename": 5}', "line 3: "), ('{"filename": "g.poni"}', "line 4: .*no HDF5"), ('{"filename": "."}', "line 4: "), ('{"a": 1}', "line 3: "),
])
def test_ponis_detectors(tmp_path: Path, config: str, words: str) -> None:
    refused(written(tmp_path, "g.poni", re.sub(r"\{.*\}", lambda _: config, PONI)), words)


def test_ponis_of_pixel_sizes_alone(tmp_path: Path) -> None:
    text = re.sub(r"Detector.*\n", "", PONI)
    for sizes in ("PixelSize1: -1e-4\nPixelSize2: 1e-4\n", "PixelSize1: 1e-4\nPixelSize2: 0\n"):
        refused(written(tmp_path, "g.poni", text + sizes), "size of a pixel", shape=(5, 7))
    path = written(tmp_path, "g.poni", text + "PixelSize1: 1e-4\nPixelSize2: 1e-4\n")
    assert geometry.read(path, shape=(5, 7)).shape == (1, 5, 7)
    for shape in ((5,), (5.5, 7), 5, (0, 7), (10**6, 10**6)):
        refused(path, "shape|pixels", shape=shape)
    refused(written(tmp_path, "g.poni", PONI.replace("Distance: 0.1", "Distance: 1.7e308").replace("Poni1: 0.003", "Poni1: -1.7e308")), "finite")


def test_a_frame_has_a_most() -> None:
    for change in ({"shape": (2**14, 2**14 + 1)}, {"segment": 2**28}, {"first": (2**28, 0)}):
        with pytest.raises(ValueError, match="268435456 pixels"):
            flat(**change)
    with pytest.raises(ValueError, match="268435456 pixels"):
        Geometry([flat(shape=(1, 2**20)), flat(shape=(2**20, 1), segment=1)])


# ------------------------------------------------------------------------------------------------------------------------ HDF5
def four() -> Geometry:
    return Geometry([flat(corner=(1e-3 * k, 0, 0.1), segment=k) for k in range(4)])


def flipped(path: Path, name: str, count: int) -> int:
    """How many flips of a bit are found; each is a ValueError of one line with a file's name, or the geometry is read: nothing else.

    Bits of signatures, names and texts: of others HDF5 2.0 itself may die, where it follows an address without a check."""
    whole, rng, found = path.read_bytes(), np.random.default_rng(11), 0
    words = rb"TREE|SNOD|HEAP|GCOL|OHDR|\x89HDF|[\w./]{4,}"
    places = [at for m in re.finditer(words, whole) for at in range(*m.span())]
    for at in rng.choice(places, min(count, len(places)), replace=False):
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(7))
        path.write_bytes(data)
        try:
            geometry.read(path.with_name(name), overlaps="allow")
        except ValueError as e:
            assert str(e).startswith(str(path.parent)) and "\n" not in str(e), str(e)
            found += 1
    path.write_bytes(whole)
    return found


def test_flipped_bytes(tmp_path: Path) -> None:
    geometry.write(four(), tmp_path / "w.nxs")
    geometry.write(four(), tmp_path / "w.poni")
    extra_geom.DSSC_1MGeometry.example().to_h5_file_and_quad_positions(str(tmp_path / "q.h5"))
    assert flipped(tmp_path / "w.nxs", "w.nxs", 60) > 15
    assert flipped(tmp_path / "w.h5", "w.poni", 30) > 5
    assert flipped(tmp_path / "q.h5", "q.h5", 20) > 5


@pytest.mark.parametrize("error", [
    RuntimeError("Unspecified error in H5Aopen\n(return value <0)"), KeyError("a"), AttributeError("b"), MemoryError(), OSError("c"),
])
def test_a_library_may_raise_what_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    geometry.write(four(), tmp_path / "g.nxs")
    with monkeypatch.context() as m:
        m.setattr(nexusformat.nexus.tree.NXFile, "readfile", broken)
        refused(tmp_path / "g.nxs", "not a NeXus file, cut short or damaged: ")
    extra_geom.DSSC_1MGeometry.example().to_h5_file_and_quad_positions(str(tmp_path / "q.h5"))
    with monkeypatch.context() as m:
        m.setattr(extra_geom.DSSC_1MGeometry, "from_h5_file", broken)
        refused(tmp_path / "q.h5", "cannot be read")


def nexus(path: Path, change: Callable[[Any], Any]) -> Path:
    geometry.write(four(), path)
    with h5py.File(path, "r+") as f:
        change(f["entry/instrument/detector"])
    return path


def replaced(group: Any, name: str, value: Any) -> None:
    kept = dict(group[name].attrs)
    del group[name]
    group[name] = value
    group[name].attrs.update(kept)


@pytest.mark.parametrize("change", [
    lambda f: replaced(f, "module_1/data_size", "abc"), lambda f: replaced(f, "module_1/data_size", [1.0, np.nan, 7.0]),
    lambda f: replaced(f, "module_1/data_size", [1, 5.5, 7]), lambda f: replaced(f, "module_1/data_origin", [0.5, 0, 0]),
    lambda f: replaced(f, "module_1/data_size", [1, 10**6, 10**6]), lambda f: replaced(f, "module_1/data_origin", [10**9, 0, 0]),
    lambda f: replaced(f, "module_1/module_offset", "abc"), lambda f: replaced(f, "module_1/module_offset", np.array([], float)),
    lambda f: f["module_1/module_offset"].attrs.__setitem__("vector", "abc"), lambda f: f["module_1/module_offset"].attrs.__setitem__("vector", 1 + 2j),
    lambda f: f["module_1/module_offset"].attrs.__setitem__("offset", [1.0, 2]),
    lambda f: f["module_1/module_offset"].attrs.__setitem__("offset", [np.nan] * 3),
    lambda f: f["module_1/module_offset"].attrs.__setitem__("depends_on", 5), lambda f: f["module_1/module_offset"].attrs.__setitem__("units", [1, 2]),
    lambda f: f["module_1/module_offset"].attrs.__setitem__("depends_on", "/entry"),
])
def test_nexus_of_another_kind(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    refused(nexus(tmp_path / "g.nxs", change), r"g\.nxs")


@pytest.mark.parametrize("change", [
    lambda f: (f.__delitem__("Q1/M1"), f.__setitem__("Q1/M1", np.zeros(3))), lambda f: (f.__delitem__("Q1"), f.__setitem__("Q1", np.zeros(3))),
    lambda f: replaced(f, "Q2/M2/T03/Position", "abc"), lambda f: replaced(f, "Q2/M2/T03/Position", [b"1", b"2"]), lambda f: replaced(f, "Q2/Position", 5.0),
    lambda f: replaced(f, "Q2/M2/T03/Position", np.zeros((2, 2))), lambda f: (f.__delitem__("Q3/M1/Position"), f.create_group("Q3/M1/Position")),
    lambda f: (f.__delitem__("Q3/M1/T02"), f.__setitem__("Q3/M1/T02", 1)), lambda f: replaced(f, "Q3/Position", [1j, 2j]),
    lambda f: replaced(f, "Q3/Position", [1e300, 1e308]), lambda f: replaced(f, "Q3/Position", h5py.Empty("f8")),
])
def test_quadrants_of_another_kind(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "g.h5"
    extra_geom.LPD_1MGeometry.example().to_h5_file_and_quad_positions(str(path))
    with h5py.File(path, "r+") as f:
        change(f)
    refused(path, r"g\.h5")
    refused(path, r"g\.h5", format="extra")


# ------------------------------------------------------------------------------------------------------------- numbers asked for
@pytest.mark.parametrize("pixel", [1e-30, 1e-300, 5e-324, 1e30, np.nan, -1.0])
def test_a_canvas_has_pixels(pixel: float) -> None:
    with pytest.raises(ValueError, match=r"size of a pixel|pixels; pass a larger"):
        assembly.canvas(four(), pixel)


def test_a_canvas_just_large_enough() -> None:
    on = assembly.canvas(four(), 1.0)
    assert on.shape in ((1, 1), (1, 2), (2, 1)) and on.pixel == 1.0


@pytest.mark.parametrize("distance", [np.nan, -1.0, 0.0, np.inf])
def test_a_solid_angle_has_a_distance(distance: float) -> None:
    with pytest.raises(ValueError, match=f"distance must be positive, got {distance}"):
        four().solid_angle(distance)
    with pytest.raises(ValueError, match="axis_offset"):
        four().polarisation(0.5, np.nan)
    with pytest.raises(ValueError, match="tolerance"):
        four().overlaps(np.nan)
