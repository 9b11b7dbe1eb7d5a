"""Detector geometry's five formats: against the libraries that own them, from each to each, and damaged. Over 200 lines: five formats in one net."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import cfel_fmt.geometry
import extra_geom
import h5py
import nexusformat.nexus as nexus
import numpy as np
import pyFAI
import pyFAI.detectors
import pytest
import scipy.spatial.transform

from gpuredux.calib import geometry, geometry_extra
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.datasets import real as recorded

PIXEL = 1e-6
ROOT = Path(__file__).parents[1]
PSANA = """# COMMENT
QUAD:V1 0 EPIX10KA:V1 0  20248 -20908 -60   0  0 0 -0.26706 -0.26778 0.06324
QUAD:V1 0 EPIX10KA:V1 1 -20144 -20823  10   0  0 0 -0.00289 -0.00361 0.25845

QUAD:V1 1 EPIX10KA:V1 0  20150  20934 -19  90  0 0  0.25623 -0.06640 0.05466
QUAD:V1 1 EPIX10KA:V1 1 -20254  20797  68 180  0 0  0.08590 -0.07868 -0.08667
DET:V1  0 QUAD:V1     0      0  -1000   0   0  0 0  1 0 0
DET:V1  0 QUAD:V1     1   1000   2000 100   0  0 0  0 0 0
IP      0 DET:V1      0    100   -200 100000 90 0 0 0 1 2
"""
CRYSTFEL = """; a comment
res = 10000 ; pixels per metre
clen = 95.3 mm
rigid_group_q0 = a,b
adu_per_photon=1
dim0 = %
dim2 = ss
dim3 = fs
bad_jet/min_x = -1
a/dim1 = 0
a/min_fs = 0
a/max_fs = 9.0
a/min_ss = 0
a/max_ss = 7
a/fs = 0.999x -2.5e-05y +1e-3z
a/ss = - y
a/corner_x = -20.5
a/corner_y = 31.25
a/coffset = 0.001
res = 5000
b/dim1 = 1
b/min_fs = 0
b/max_fs = 9
b/min_ss = 0
b/max_ss = 7
b/fs = +y
b/ss = -x
b/corner_x = 55
b/corner_y = -6
b/coffset = 0
"""
PONI = """# comment
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.0001, "pixel2": 0.0002, "max_shape": [50, 70], "orientation": 3}
Distance: 0.1
Poni1: 0.003
Poni2: -0.004
Rot1: 0.4
Rot2: -0.3
Rot3: 1.1
Wavelength: 1e-10
"""
TEXTS = {"g.data": PSANA, "g.geom": CRYSTFEL, "g.poni": PONI}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def same(a: Geometry, b: Geometry, pixels: float = PIXEL) -> bool:
    """Positions, corners and areas of all pixels agree; pixels that one lacks, the other lacks."""
    scale = np.sqrt(a.pixel_area)
    pairs = [(a.pixel_positions() / scale, b.pixel_positions() / scale), (a.pixel_corners() / scale, b.pixel_corners() / scale), (a.area(), b.area())]
    return all(x.shape == y.shape and np.allclose(x, y, rtol=0, atol=pixels, equal_nan=True) for x, y in pairs)


def moved(g: Geometry) -> Geometry:
    """The net that `same` casts is not torn: a thousandth of a pixel is seen."""
    return g.shift((1e-3 * np.sqrt(g.pixel_area), 0, 0))


@pytest.fixture
def psana(tmp_path) -> Geometry:
    return geometry.read(written(tmp_path, "start.data", PSANA), panels=4)


def test_from_each_format_to_each(psana, tmp_path):
    """psana to CrystFEL to NeXus to pyFAI; and each to psana's own again where it keeps wide lines."""
    g = psana
    assert not same(g, moved(g))
    for name in ("a.geom", "b.nxs", "c.poni", "d.geom"):
        geometry.write(g, tmp_path / name)
        g = geometry.read(tmp_path / name)
        assert same(g, psana), name
    geometry.write(psana, tmp_path / "f.data")
    assert same(geometry.read(tmp_path / "f.data"), psana)
    geometry.write(psana, tmp_path / "g.poni")
    kept = geometry.read(tmp_path / "g.poni")
    assert [p.wide_cols for p in kept.panels] == [p.wide_cols for p in psana.panels]
    geometry.write(kept, tmp_path / "h.data")
    assert same(geometry.read(tmp_path / "h.data"), psana)


@pytest.mark.parametrize("detector", ["AGIPD_1M", "AGIPD_500K2G", "DSSC_1M", "Epix100", "Epix10K", "JUNGFRAU", "LPD_1M", "LPD_Mini", "PNCCD"])
def test_extra_geom_computes_the_same(detector):
    """extra_geom's own positions of its own examples, there and back."""
    theirs = getattr(extra_geom, f"{detector}Geometry").example()
    at = theirs.get_pixel_positions()
    ours = geometry_extra.from_fragments(theirs)
    assert np.abs(ours.pixel_positions().reshape(at.shape) - at).max() < PIXEL * theirs.pixel_size
    back = geometry_extra.to_fragments(ours, detector)
    assert np.abs(back.get_pixel_positions() - at).max() < PIXEL * theirs.pixel_size


def test_extra_geoms_areas_of_hexagons():
    ours = geometry_extra.from_fragments(extra_geom.DSSC_1MGeometry.example())
    assert ours.pixel_area == pytest.approx(236e-6**2 * np.sqrt(3) / 2, rel=1e-12)     # of a hexagon, by its width


@pytest.mark.parametrize("detector", ["LPD_1M", "DSSC_1M"])
def test_extra_geoms_files_of_quadrants(detector, tmp_path):
    kind = getattr(extra_geom, f"{detector}Geometry")
    theirs, path = kind.example(), tmp_path / "quads.h5"
    theirs.to_h5_file_and_quad_positions(str(path))
    at = kind.from_h5_file(str(path)).get_pixel_positions()
    assert np.abs(geometry.read(path, distance=0.2).pixel_positions() - at - [0, 0, 0.2]).max() < PIXEL * 2e-4
    ours = geometry.read(path)
    geometry.write(ours, tmp_path / "again.h5", "extra")
    again = geometry.read(tmp_path / "again.h5", "extra")
    assert np.abs(again.pixel_positions() - ours.pixel_positions()).max() < PIXEL * 2e-4
    moved_quads = theirs.quad_positions() + np.array([[3, 0], [0, 4], [-3, 0], [0, -4]])
    at = kind.from_h5_file_and_quad_positions(str(path), moved_quads).get_pixel_positions()
    assert np.abs(geometry.read(path, quad_positions=moved_quads).pixel_positions() - at).max() < PIXEL * 2e-4
    turned = Geometry([Panel(p.name, p.corner, -p.ss, p.fs, p.shape, segment=p.segment, first=p.first, stagger=p.stagger) for p in ours.panels])
    with pytest.raises(ValueError, match="off by"):
        geometry.write(turned, tmp_path / "turned.h5", "extra")
    assert not (tmp_path / "turned.h5").exists()


def test_agipd_through_crystfel_to_extra_geom(tmp_path):
    """extra_geom reads what we write: the same positions as those it began with."""
    theirs = extra_geom.AGIPD_1MGeometry.example()
    geometry.write(geometry_extra.from_fragments(theirs).with_distance(0.0), tmp_path / "g.geom")
    assert np.abs(extra_geom.AGIPD_1MGeometry.from_crystfel_geom(str(tmp_path / "g.geom")).get_pixel_positions() - theirs.get_pixel_positions()).max() < 2e-10
    theirs.write_crystfel_geom(str(tmp_path / "t.geom"), clen=0.1, adu_per_ev=1, photon_energy=9000)
    ours = geometry.read(tmp_path / "t.geom")
    assert np.abs(ours.pixel_positions() - theirs.get_pixel_positions() - [0, 0, 0.1]).max() < PIXEL * 2e-4


def test_crystfels_rules(tmp_path):
    """Every pixel of CRYSTFEL by its keys: defaults only for panels first mentioned later, mm, exponents, decimals in ranges, corners outer."""
    at = geometry.read(written(tmp_path, "g.geom", CRYSTFEL), panels=2).pixel_positions()
    fs, ss = np.meshgrid(np.arange(10) + 0.5, np.arange(8) + 0.5)
    a = np.stack([-20.5 + 0.999 * fs, 31.25 - 2.5e-5 * fs - ss, 1e-3 * fs], -1) / 10000 + [0, 0, 0.0963]
    b = np.stack([55 - ss, -6 + fs, 0 * fs], -1) / 5000 + [0, 0, 0.0953]
    assert np.abs(at[0] - a).max() < 1e-15 and np.abs(at[1] - b).max() < 1e-15
    assert geometry.read(tmp_path / "g.geom", clen=0.0).pixel_positions()[1, 0, 0, 2] == 0


def test_crystfels_dims(tmp_path):
    """fs before ss in the data: its rows run along fs. Panels of one slab stay in one segment."""
    text = CRYSTFEL.replace("dim2 = ss\ndim3 = fs", "dim2 = fs\ndim3 = ss")
    at = geometry.read(written(tmp_path, "g.geom", CRYSTFEL)).pixel_positions()
    assert np.allclose(geometry.read(written(tmp_path, "t.geom", text)).pixel_positions(), at.swapaxes(1, 2), rtol=0, atol=1e-16)
    slab = CRYSTFEL.replace("dim2 = ss\ndim3 = fs", "dim1 = ss\ndim2 = fs").replace("a/dim1 = 0\n", "").replace("b/dim1 = 1\n", "")
    slab = slab.replace("b/min_ss = 0\nb/max_ss = 7", "b/min_ss = 8\nb/max_ss = 15")
    image = geometry.read(written(tmp_path, "s.geom", slab))
    assert image.shape == (1, 16, 10) and np.array_equal(image.reframed((2, 8, 10)).pixel_positions(), at)


def test_cfel_fmt_reads_what_is_written(psana, tmp_path):
    """The library's own dictionary of the split panels: corners and steps of the panels in metres."""
    geometry.write(psana, tmp_path / "g.geom", photon_energy=9500.0)
    found = cfel_fmt.geometry.load_crystfel_geometry(str(tmp_path / "g.geom"))
    panels = found.detector["panels"]
    assert len(panels) == 4 * 9 and found.beam["photon_energy"] == 9500
    corner = psana.pixel_corners()[2]
    for p in (p for name, p in panels.items() if name.startswith("p2")):
        first, beyond = corner[p["orig_min_ss"], p["orig_min_fs"], 0], corner[p["orig_max_ss"], p["orig_max_fs"], 2]
        at = np.array([p["cnx"], p["cny"], 0]) / p["res"] + [0, 0, p["clen"] + p["coffset"]]
        fs, ss = (np.array([p[k + axis] for axis in "xyz"]) / p["res"] for k in ("fs", "ss"))
        assert np.abs(at - first).max() < PIXEL * 1e-4 and np.abs(at + fs * p["w"] + ss * p["h"] - beyond).max() < PIXEL * 1e-4


def test_pyfai_computes_with_what_is_written(psana, tmp_path):
    """pyFAI loads the PONI and its corners, in float32: positions to 1e-4 of a pixel, polarisation to 1e-6.

    Solid angle to 1e-5 (a flat detector's: 1e-7): pyFAI takes each pixel's own normal from its rounded corners, panels here have one."""
    geometry.write(psana, tmp_path / "g.poni", wavelength=1e-10)
    theirs, frame = pyFAI.load(str(tmp_path / "g.poni")), psana.shape
    at = theirs.position_array(corners=True)[..., ::-1].reshape(*frame, 4, 3)
    assert np.abs(at - psana.pixel_corners()).max() < 1e-4 * 1e-4
    assert np.abs(theirs.solidAngleArray().reshape(frame) / psana.solid_angle() - 1).max() < 1e-5
    assert np.abs(theirs.polarization(factor=0.9, axis_offset=0.3).reshape(frame) - psana.polarisation(0.9, 0.3)).max() < 1e-6
    with h5py.File(tmp_path / "g.h5", "r+") as f:
        del f["gpuredux_panels"]
    again = geometry.read(tmp_path / "g.poni", segments=4)
    assert same(again, psana, 1e-3) and not same(again, psana, 1e-9)     # from the float32 corners alone


def test_an_absent_module_is_absent_in_pyfai(tmp_path):
    """Its corners are NaN: the modules beside it are cut from it, also without the panels kept."""
    step = np.array([[1e-4, 0, 0], [0, 1e-4, 0]])
    there = Geometry([Panel(f"m{k}", np.array([0, 2e-3 * k, 0.1]), *step, (10, 12), segment=k) for k in (0, 2)], (4, 10, 12))
    geometry.write(there, tmp_path / "g.poni")
    assert same(geometry.read(tmp_path / "g.poni"), there)
    with h5py.File(tmp_path / "g.h5", "r+") as f:
        del f["gpuredux_panels"]
    again = geometry.read(tmp_path / "g.poni", segments=4)
    assert [(p.segment, p.shape) for p in again.panels] == [(0, (10, 12)), (2, (10, 12))] and same(again, there, 1e-3)


def test_panels_kept_for_pyfai_must_be_its_corners(psana, tmp_path):
    geometry.write(psana, tmp_path / "g.poni")
    with h5py.File(tmp_path / "g.h5", "r+") as f:
        corners = f[next(n for n in _names(f) if n.endswith("pixel_corners"))]
        corners[700] = corners[700] + np.float32(5e-6)
    with pytest.raises(ValueError, match="was changed"):
        geometry.read(tmp_path / "g.poni")
    (tmp_path / "g.h5").unlink()
    with pytest.raises(ValueError, match=r"g.poni, line 3: .*not there"):
        geometry.read(tmp_path / "g.poni")


def _names(f: h5py.File) -> list[str]:
    names: list[str] = []
    f.visit(names.append)
    return names


def test_a_ponis_position(tmp_path):
    g = geometry.read(written(tmp_path, "g.poni", PONI))
    theirs = pyFAI.load(str(tmp_path / "g.poni")).position_array(corners=False)[..., ::-1]
    assert np.abs(g.pixel_positions()[0] - theirs).max() < PIXEL * 1e-4
    geometry.write(g, tmp_path / "h.poni")
    assert same(geometry.read(tmp_path / "h.poni"), g) and not (tmp_path / "h.h5").exists()
    mirrored = Geometry([Panel("m", p.corner, p.ss * 2, p.fs / 2, p.shape) for p in g.panels])
    geometry.write(mirrored, tmp_path / "m.poni")
    assert same(geometry.read(tmp_path / "m.poni"), mirrored) and (tmp_path / "m.h5").exists()


def test_a_poni_of_a_detector_that_pyfai_knows(tmp_path):
    """ImXPad's corners, wide lines between its chips, are not ours: cut into panels."""
    detector = pyFAI.detectors.detector_factory("Xpad_flat")
    pyFAI.geometry.Geometry(0.1, 0.02, 0.03, 0.1, 0.2, 0.3, detector=detector).save(str(tmp_path / "x.poni"))
    found = geometry.read(tmp_path / "x.poni", overlaps="allow")
    theirs = pyFAI.load(str(tmp_path / "x.poni")).position_array(corners=True)[..., ::-1]
    assert np.abs(found.pixel_corners()[0] - theirs).max() < 1e-2 * 1.3e-4 and len(found.panels) > 1


def test_nexus_chains(tmp_path):
    """Rotations, offsets, relative paths and units, against the point worked out by hand: 90 degrees about z, then along."""
    def axis(value, vector, on, kind="translation", units="mm", **more):
        return nexus.NXfield(value, vector=vector, transformation_type=kind, units=units, depends_on=on, **more)

    module = nexus.NXdetector_module(
        data_origin=nexus.NXfield([3, 4]), data_size=nexus.NXfield([2, 5]), module_offset=axis(10.0, [1, 0, 0], "../transformations/turn"),
        fast_pixel_direction=axis(0.1, [1, 0, 0], "module_offset", offset=[5.0, 0, 0]),
        slow_pixel_direction=axis(200.0, [0, 2, 0], "module_offset", units="um"),
    )
    chain = nexus.NXtransformations(
        turn=axis(90.0, [0, 0, 1], "/entry/instrument/detector/transformations/z", "rotation", "deg", offset=[0, 1.0, 0], offset_units="cm"),
        z=axis(0.25, [0, 0, 1], ".", units="m"),
    )
    root = nexus.NXroot(nexus.NXentry(instrument=nexus.NXinstrument(detector=nexus.NXdetector(module_0=module, transformations=chain))))
    root.save(str(tmp_path / "g.nxs"))
    root.close()
    panel = geometry.read(tmp_path / "g.nxs", panels=1).panels[0]
    assert np.allclose(panel.corner, [0, 0.02, 0.25], atol=1e-15) and panel.first == (3, 4) and panel.shape == (2, 5)
    assert np.allclose(panel.fs, [0, 1e-4, 0], atol=1e-17) and np.allclose(panel.ss, [-2e-4, 0, 0], atol=1e-17)


@pytest.mark.parametrize("angle", [30.0, -155.0])
def test_nexus_turns_as_scipy_does(psana, tmp_path, angle):
    """A rotation about a skew axis above the whole detector."""
    geometry.write(psana, tmp_path / "g.nxs")
    axis = np.array([1.0, -2.0, 0.5])
    with h5py.File(tmp_path / "g.nxs", "r+") as f:
        at = f["entry/instrument/detector/transformations/distance"]
        turn = at.parent.create_dataset("turn", data=angle)
        turn.attrs.update({"vector": axis, "transformation_type": "rotation", "units": "deg", "depends_on": "."})
        at.attrs["depends_on"] = "turn"
    matrix = scipy.spatial.transform.Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
    at = geometry.read(tmp_path / "g.nxs", overlaps="allow").pixel_positions()
    assert np.abs(at - psana.pixel_positions() @ matrix.T).max() < PIXEL * 1e-4


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: f["module_1"].__delitem__("data_size"), "no data_size"),
    (lambda f: f["module_1/module_offset"].attrs.__setitem__("depends_on", "nowhere"), "there is no .*nowhere"),
    (lambda f: f["transformations/distance"].attrs.__setitem__("depends_on", "distance"), "depends on itself"),
    (lambda f: f["transformations/distance"].attrs.__setitem__("units", "inch"), "units 'inch'"),
    (lambda f: f["transformations/distance"].__setitem__((), np.nan), "finite"),
    (lambda f: f["module_1/fast_pixel_direction"].attrs.__setitem__("vector", [0.0, 0, 0]), "vector"),
    (lambda f: f["module_1/fast_pixel_direction"].attrs.__setitem__("transformation_type", "shear"), "'shear'"),
    (lambda f: f["module_1/data_size"].__setitem__(0, 2), "data_size"),
    (lambda f: [f.__delitem__(k) for k in list(f) if k.startswith("module_")], "none"),
])
def test_nexus_damaged(psana, tmp_path, change, message):
    path = tmp_path / "g.nxs"
    geometry.write(psana, path)
    with h5py.File(path, "r+") as f:
        change(f["entry/instrument/detector"])
    with pytest.raises(ValueError, match=rf"g\.nxs.*{message}"):
        geometry.read(path)


def test_hdf5_cut_short(psana, tmp_path):
    geometry.write(psana, tmp_path / "g.nxs")
    whole = (tmp_path / "g.nxs").read_bytes()
    for name in ("g.nxs", "g.h5"):
        for size in (0, 100, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:size])
            with pytest.raises(ValueError, match=name.replace(".", r"\.")):
                geometry.read(tmp_path / name)


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: f.__delitem__("Q3/M2/T07"), "no Q3/M2/T07"), (lambda f: f.__delitem__("Q4/M4"), "no Q4/M4"),
    (lambda f: f.__delitem__("Q2/Position"), "no Q2/Position"),
    (lambda f: f["Q1/M1/T03/Position"].__setitem__(1, np.nan), "finite"), (lambda f: f.__delitem__("Q1/M1/T16"), "15 tiles"),
    (lambda f: [f[f"Q2/M2/T{t:02}/Position"].__setitem__(slice(None), 100.0) for t in range(1, 17)], "184 pairs of panels overlap: p5a0 and p5a1 by 32"),
    (lambda f: [f.__delitem__(f"Q{q}/Position") for q in range(1, 5)], "pass quad_positions"),
])
def test_quadrants_damaged(tmp_path, change, message):
    path = tmp_path / "g.h5"
    extra_geom.LPD_1MGeometry.example().to_h5_file_and_quad_positions(str(path))
    with h5py.File(path, "r+") as f:
        change(f)
    with pytest.raises(ValueError, match=rf"g\.h5.*{message}"):
        geometry.read(path)


@pytest.mark.parametrize("name", TEXTS)
def test_cut_short_at_every_line(tmp_path, name):
    """All is there, or it is an error; only a file whose last panel or entry is whole needs panels= to be told."""
    lines = TEXTS[name].splitlines(keepends=True)
    needed = max(n for n, line in enumerate(lines) if not line.startswith(("Wavelength", "\n")))
    assert len(geometry.read(written(tmp_path, name, TEXTS[name])).panels) == {"g.data": 4, "g.geom": 2, "g.poni": 1}[name]
    for n in range(needed + 1):
        path = written(tmp_path, name, "".join(lines[:n]))
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            geometry.read(path)


def test_a_geom_file_cut_inside_its_last_number(tmp_path):
    """-20.5 cut to -20 or -2 is a number, too."""
    text = TEXTS["g.geom"].rstrip("\n")
    for cut in range(6):
        with pytest.raises(ValueError, match=r"g\.geom"):
            geometry.read(written(tmp_path, "g.geom", text[: len(text) - cut]))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("bad", ["nan", "inf", "1e999", "x", "--1", "1,5"])
def test_no_number_but_a_finite_one(tmp_path, name, bad):
    old = {"g.data": "-20908", "g.geom": "-20.5", "g.poni": "0.003"}[name]
    line = TEXTS[name].splitlines().index(next(t for t in TEXTS[name].splitlines() if old in t)) + 1
    with pytest.raises(ValueError, match=rf"{name}, line {line}: "):
        geometry.read(written(tmp_path, name, TEXTS[name].replace(old, bad, 1)))


@pytest.mark.parametrize(("name", "old", "new", "message"), [
    ("g.data", "QUAD:V1 1 EPIX10KA:V1 0  20150", "QUAD:V1 1 EPIX10KA:V1 20150", "line 5: 13 columns"),
    ("g.data", "EPIX10KA:V1 1 -20144", "EPIX10KA:V1 2 -20144", "line 3: .*1.* missing"),
    ("g.data", "QUAD:V1 1 EPIX10KA:V1 0  20150", "QUAD:V1 2 EPIX10KA:V1 0  20150", "missing|hang on no parent"),
    ("g.data", "EPIX10KA:V1 1 -20144", "EPIX99:V1 1 -20144", "line 3: EPIX99:V1: no class"),
    ("g.data", "EPIX10KA:V1 1 -20144", "EPIXM320:V1 1 -20144", "line 3: EPIXM320:V1: psana has withdrawn"),
    ("g.data", "EPIX10KA:V1 1 -20144", "MTRX:0:5:1:1 1 -20144", "line 3: MTRX"),
    ("g.data", "EPIX10KA:V1 1 -20144", "ARCHON:V1 1 -20144", "line 3: ARCHON:V1 leaves its rows open"),
    ("g.data", "EPIX10KA:V1 1 -20144", "MTRXANY:V1 1 -20144", "line 3: MTRXANY:V1 leaves its size open"),
    ("g.data", "QUAD:V1     1   1000", "QUAD:V1     0   1000", "line 8: QUAD:V1 0 was placed already, in line 7"),
    ("g.data", "EPIX10KA:V1 1 -20144", "EPIX10KA:V1 1.5 -20144", "line 3: the object index"),
    ("g.data", "-20144 -20823", "1000 -20823", "overlap"),
    ("g.data", "QUAD:V1 0 EPIX10KA:V1 1 -20144", "EPIX10KA:V1 0 EPIX10KA:V1 0 1", "hang on no parent"),
    ("g.geom", "a/fs = 0.999x -2.5e-05y", "a/fs = 0.999x -2.5e-05x", "line 15: a direction"),
    ("g.geom", "a/fs = 0.999x -2.5e-05y", "a/fs = 0.999x 2.5e-05y", "line 15: a direction"),
    ("g.geom", "a/ss = - y", "a/ss = w", "line 16: a direction"), ("g.geom", "a/ss = - y", "a/ss = 2x +0.0020020020020020020z", "line 10: panel a.*no plane"),
    ("g.geom", "b/corner_x", "b/cornerx", "line 28: unknown key 'cornerx'"), ("g.geom", "bad_jet/min_x", "bad_jet/minx", "line 9: unknown key"),
    ("g.geom", "a/max_fs = 9.0", "a/max_fs = 9.5", "line 12: max_fs must be a whole"), ("g.geom", "b/max_ss = 7", "b/max_ss = -1", "line 25: max_ss"),
    ("g.geom", "b/min_fs = 0", "b/min_fs = 11", "line 21: panel b"), ("g.geom", "b/dim1 = 1", "b/dim1 = 0", "already taken"),
    ("g.geom", "res = 5000", "res = 0", "line 20: res must be positive"),
    ("g.geom", "clen = 95.3 mm", "clen = /LCLS/clen", "line 3: clen is '/LCLS/clen'.*clen=metres"),
    ("g.geom", "clen = 95.3 mm", "", "line 10: panel a has no clen; pass"), ("g.geom", "b/corner_y = -6", "", "line 21: panel b has no corner_y"),
    ("g.geom", "b/coffset = 0", "", "line 21: panel b has no coffset"), ("g.geom", "a/corner_x = -20.5", "a/corner_x -20.5", "line 17: `key = value`"),
    ("g.geom", "rigid_group_q0 = a,b", "rigid_group_q0 = a,c", "c"), ("g.geom", "b/dim1 = 1", "b/dim1 = 1\nb/dim4 = 2", "dim"),
    ("g.geom", "b/corner_x = 55\nb/corner_y = -6", "b/corner_x = -5\nb/corner_y = 10", "overlap"),
    ("g.poni", "Rot2", "Rot4", "line 9: a key"), ("g.poni", "Rot2: -0.3", "Rot2 -0.3", "line 9: a key"), ("g.poni", "Poni2: -0.004\n", "", "no poni2"),
    ("g.poni", '"orientation": 3', '"orientation": 1', "line 4: orientation"),
    ("g.poni", "Detector: Detector", "Detector: Nonesuch", "line 3: detector Nonesuch"),
    ("g.poni", '"max_shape"', '"max_shape', "line 4: "), ("g.poni", '"max_shape": [50, 70], ', "", "no shape: pass shape"),
    ("g.poni", "Wavelength: 1e-10", "Parallax: True", "line 11: parallax"), ("g.poni", "Wavelength: 1e-10", "Distance: 0.2", "last entry has no poni1"),
])
def test_damaged(tmp_path, name, old, new, message):
    assert old in TEXTS[name]
    with pytest.raises(ValueError, match=rf"(?s)g\.(data|geom|poni).*({message})|panel b.*({message})"):
        geometry.read(written(tmp_path, name, TEXTS[name].replace(old, new, 1)))


def test_what_is_no_such_file(tmp_path):
    for name in ("g.data", "g.geom", "g.poni", "g.nxs", "g.h5"):
        with pytest.raises(FileNotFoundError):
            geometry.read(tmp_path / name)
        for other, text in (*TEXTS.items(), ("empty", ""), ("blank", "\n \n"), ("binary", "\x89HDF\0\0"), ("latin", "é")):
            if other != name:
                (tmp_path / name).write_bytes(text.encode("latin-1"))
                with pytest.raises(ValueError, match=name.replace(".", r"\.")):
                    geometry.read(tmp_path / name)
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="no known extension"):
        geometry.read(tmp_path / "g.txt")
    with pytest.raises(ValueError, match="unknown: choose"):
        geometry.read(tmp_path / "g.txt", "hexagonal")
    with pytest.raises(ValueError, match="overlaps must be"):
        geometry.read(tmp_path / "g.data", overlaps="maybe")


def test_what_was_expected_and_allowed(tmp_path):
    path = written(tmp_path, "g.data", PSANA.replace("-20144 -20823", "1000 -20823"))
    assert len(geometry.read(path, overlaps="allow").overlaps()) == 1
    with pytest.raises(ValueError, match="4 panels, and 5 were expected"):
        geometry.read(path, overlaps="allow", panels=5)
    gap = written(tmp_path, "gap.data", PSANA.replace("EPIX10KA:V1 1 -20144", "EPIX10KA:V1 2 -20144"))
    assert len(geometry.read(gap, gaps="allow").panels) == 4
    odd = written(tmp_path, "odd.geom", CRYSTFEL + "detector_shift_x = /x\n")
    with pytest.raises(ValueError, match="line 31: unknown key 'detector_shift_x'"):
        geometry.read(odd)
    assert len(geometry.read(odd, unknown="ignore").panels) == 2
    words = {"shape": (12, 4800)}
    archon = geometry.read(written(tmp_path, "a.data", "IP 0 ARCHON:V2 0 0 0 1e5 0 0 0 0 0 0\n"), **words)
    assert (archon.area()[0, :, :36] == 0).all() and (archon.area()[0, :, 36:300] == 1).all()
    geometry.write(archon, tmp_path / "b.data")
    assert same(geometry.read(tmp_path / "b.data", **words), archon)


@pytest.mark.parametrize("format", ["psana", "crystfel", "nexus"])
def test_what_a_format_cannot_hold(tmp_path, format):
    skew = Panel("p", np.zeros(3), np.array([1e-4, 0, 0]), np.array([1e-6, 1e-4, 0]), (50, 50))
    hexagons = Panel("p", np.zeros(3), np.array([1e-4, 0, 0]), np.array([0, 1e-4, 0]), (50, 50), stagger=0.5)
    odd = Panel("p", np.zeros(3), np.array([1e-4, 0, 0]), np.array([0, 1e-4, 0]), (50, 50), wide_rows=((7, 3.0),))
    refused = (skew, hexagons, odd) if format == "psana" else (hexagons,)
    for panel in refused:
        with pytest.raises(ValueError, match="panel p"):
            geometry.write(Geometry([panel]).with_distance(0.1), tmp_path / "g.nxs", format)
    for panel in {skew, odd} - set(refused):
        g = Geometry([panel]).with_distance(0.1)
        geometry.write(g, tmp_path / "g.nxs", format)
        assert same(geometry.read(tmp_path / "g.nxs", format), g)
    assert format != "psana" or not (tmp_path / "g.nxs").exists()
    if format == "nexus":
        with pytest.raises(ValueError, match="extension"):
            geometry.write(Geometry([skew]), tmp_path / "g", format)
    with pytest.raises(ValueError, match="say format="):
        geometry.write(Geometry([skew]), tmp_path / "g")


def test_a_library_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cfel_fmt.geometry", None)
    with pytest.raises(ImportError, match=r"cfel_fmt.*gpuredux\[geometry\]"):
        geometry.read(written(tmp_path, "g.geom", CRYSTFEL))


# what of the 38 recorded files needs more than its name: options, or the reason why it is refused without them
CLEN = ("cspad-cxiformat", "cspad-single", "cxi__dev__jungfrau4M", "epix10k2M", "cspad-cxib2313", "lcls__cxi__jungfrau4M")
QUADS = {"lpd_mar_18": [(11.4, 299), (-11.5, 8), (254.5, -16), (278.5, 275)], "dssc_geo": [(-130, 5), (-130, -125), (5, -125), (5, 5)]}


def needed(name: str) -> tuple[dict, str]:
    if any(part in name for part in CLEN):
        return {"clen": 0.1}, "clen"
    if name.endswith(".poni"):
        return {"shape": (1043, 981)}, "pass shape"
    if name.endswith(".h5"):
        return {"quad_positions": next(v for k, v in QUADS.items() if k in name)}, "pass quad_positions"
    if "archon" in name or "axis" in name:
        return {"shape": (300, 4800)} | ({"pixel_um": (50, 50)} if "axis" in name else {}), "leaves its"
    return {}, ""


def test_every_recorded_file(tmp_path):
    folder = recorded.folder(ROOT)
    if folder is None or not (folder / "geometry.zip").is_file():
        pytest.skip("no recorded geometries: set GPUREDUX_DATA to a folder that holds geometry.zip")
    with zipfile.ZipFile(folder / "geometry.zip") as z:
        z.extractall(tmp_path)
    files = sorted(p for p in tmp_path.iterdir() if p.suffix in (".data", ".geom", ".poni", ".h5"))
    assert len(files) == 38
    for path in files:
        options, reason = needed(path.name)
        if reason:
            with pytest.raises(ValueError, match=reason):
                geometry.read(path)
        if "lpd_mar_18" in path.name:
            with pytest.raises(ValueError, match="184 pairs of panels overlap: p5a0 and p5a1 by 32"):     # Q2/M2 was never measured
                geometry.read(path, **options)
            options["overlaps"] = "allow"
        g = geometry.read(path, **options)
        assert g.pixel_positions().shape == (*g.shape, 3) if np.prod(g.shape) < 5e6 else len(g.panels) > 0
    for name, kind in (("extra_foam__geometries__agipd_mar18_v11.geom", "AGIPD_1M"), ("extra_foam__geometries__lpd1m-v13-hdfsee-r198.geom", "LPD_1M")):
        at = getattr(extra_geom, f"{kind}Geometry").from_crystfel_geom(str(tmp_path / name)).get_pixel_positions()
        assert np.abs(geometry.read(tmp_path / name, clen=0.0).pixel_positions() - at).max() < PIXEL * 2e-4
