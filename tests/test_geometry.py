"""Detector geometry: the model against formulas, psana's numbers, pyFAI's arrays. Over 200 lines: the table of numbers that psana computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyFAI.detectors
import pyFAI.geometry
import pytest

from gpuredux.calib import geometry
from gpuredux.calib.geometry import Geometry, Panel

PIXEL = 1e-6     # of a pixel: what formats and libraries must agree to

# (x, y, z) [um] in psana's laboratory frame (cframe=1, use_wide_pix_center=True) that psana 4.3.4 computes for the file of
# psana_file, of the first pixel, one in the middle and the last one
PSANA = [
    ("JUNGFRAU:V2", (256, 511), [
        [41033.763889, -15264.42076, 56521.304622],
        [506.479995, -2326.81414, 49713.742089],
        [-40020.290828, 10821.324129, 42880.176462],
    ]),
    ("JUNGFRAU:V1", (100, 600), [
        [13980.489448, -42622.021868, 56433.962764],
        [-12443.218784, -5919.106609, 48495.218859],
        [-12967.016388, 38178.925238, 42967.51832],
    ]),
    ("EPIX10KA:V1", (175, 192), [
        [1565.829401, -28137.187387, 53045.770259],
        [348.91505, -2223.635549, 49680.72745],
        [-552.35634, 23694.090756, 46355.710825],
    ]),
    ("EPIXHR2X2:V1", (144, 191), [
        [3815.874318, -25861.831349, 53053.034559],
        [664.55801, -2219.461082, 49720.753633],
        [-2802.401258, 21418.734719, 46348.446525],
    ]),
    ("EPIXUHR3X2:V1", (168, 100), [
        [8959.214856, -34381.46934, 54768.616926],
        [13946.155162, -15337.576258, 53051.067305],
        [-7945.741796, 29938.37271, 44632.864158],
    ]),
    ("EPIXMASIC:V1", (10, 300), [
        [3849.052892, -12247.451283, 51371.501153],
        [-6295.156069, -1504.493278, 48738.275403],
        [-2835.579832, 7804.354652, 48029.979931],
    ]),
    ("EPIXUHRASIC:V1", (100, 3), [
        [1317.837871, -14772.138217, 51358.994966],
        [8139.31267, -7453.901927, 51329.008688],
        [-304.364811, 10329.041586, 48042.486117],
    ]),
    ("EPIX100:V1", (351, 384), [
        [26456.865792, -3001.149829, 53130.465427],
        [507.035821, -2098.738186, 49685.57207],
        [-25443.392731, -1441.946802, 46271.015656],
    ]),
    ("SENS2X1:V1", (50, 194), [
        [8394.192197, -24255.355617, 53442.180106],
        [-2835.544604, -5409.055579, 49666.129591],
        [-7380.719137, 19812.258987, 45959.300978],
    ]),
    ("PNCCD:V1", (3, 500), [
        [506.73653, -2221.548315, 49700.740542],
        [-26018.414027, -28730.065377, 49576.096613],
        [-53257.78107, -2932.599199, 42882.947361],
    ]),
    ("MTRX:20:30:54:55", (3, 4), [
        [506.73653, -2221.548315, 49700.740542],
        [238.691535, -2265.79476, 49671.790025],
        [-1332.681482, -2645.17063, 49516.929464],
    ]),
    ("MTRX:V2:20:30:54:55", (3, 4), [
        [704.05176, -3138.581551, 49839.636166],
        [664.0222, -2871.042625, 49801.36663],
        [309.4213, -1304.515079, 49561.844918],
    ]),
]


def psana_file(path: Path, name: str) -> Path:
    path.write_text(f"# comment\n\nCAM 0 {name} 0 1000 -2000 300 90 180 10 0.3 -0.2 0.1\nIP 0 CAM 0 100 200 50000 45 0 0 0.01 0.02 0\n")
    return path


def plain(shape=(5, 7), corner=(1e-3, -2e-3, 0.1), fs=(-1e-4, 0, 0), ss=(0, 1e-4, 0), **more) -> Panel:
    return Panel(more.pop("name", "p"), np.array(corner), np.array(fs), np.array(ss), shape, **more)


@pytest.mark.parametrize(("name", "middle", "truth"), PSANA, ids=[row[0] for row in PSANA])
def test_psana_computes_the_same(tmp_path, name, middle, truth):
    g = geometry.read(psana_file(tmp_path / "g.data", name))
    at = g.pixel_positions()[0]
    found = np.array([at[0, 0], at[middle], at[-1, -1]])
    assert np.abs(found - np.array(truth) * 1e-6).max() < PIXEL * math.sqrt(g.pixel_area)


def test_a_wide_pixel_is_where_its_edges_are():
    """Positions, corners and areas, pixel by pixel, with the widths added up one after the other."""
    wide_rows, wide_cols = {1: 2.5, 2: 2.5}, {0: 0.0, 3: 2.25, 6: 3.0}
    corner, fs, ss = np.array([0.01, 0.02, 0.3]), np.array([1e-4, 2e-5, -3e-5]), np.array([-2e-5, 1.1e-4, 1e-5])
    p = Panel("p", corner, fs, ss, (4, 8), tuple(wide_rows.items()), tuple(wide_cols.items()))
    g = Geometry([p])
    at, corners, area = g.pixel_positions()[0], g.pixel_corners()[0], g.area()[0]
    y = 0.0
    for r in range(4):
        x, high = 0.0, wide_rows.get(r, 1.0)
        for c in range(8):
            broad = wide_cols.get(c, 1.0)
            edges = [(y, x), (y + high, x), (y + high, x + broad), (y, x + broad)]
            assert np.allclose(corners[r, c], [corner + a * ss + b * fs for a, b in edges], rtol=0, atol=1e-16)
            assert np.allclose(at[r, c], corner + (y + high / 2) * ss + (x + broad / 2) * fs, rtol=0, atol=1e-16)
            assert area[r, c] == pytest.approx(high * broad, rel=1e-14, abs=0)
            x += broad
        y += high


def test_area_of_the_wide_pixels_of_an_epix10ka(tmp_path):
    area = geometry.read(psana_file(tmp_path / "g.data", "EPIX10KA:V1")).area()[0]
    assert sorted(set(np.round(area.ravel(), 9))) == [1, 2.25, 5.0625]
    assert (area[175:177, 191:193].round(9) == 5.0625).all() and (area == 1).sum() == 350 * 382


def test_area_is_in_units_of_the_commonest_pixel():
    few_small = plain((2, 2), (1, 1, 0.1), (-5e-5, 0, 0), (0, 5e-5, 0), segment=1)
    g = Geometry([few_small, plain()])
    assert g.pixel_area == pytest.approx(1e-8, rel=1e-12)
    assert np.allclose(g.area()[1, :2, :2], 0.25, rtol=1e-12) and np.allclose(g.area()[0], 1, rtol=1e-12)


@pytest.mark.parametrize("rot", [(0, 0, 0), (0.4, -0.3, 1.1), (-1.2, 0.2, 3.0)])
def test_a_tilted_flat_panel_is_pyfais(rot):
    """pyFAI's arrays of a flat detector. Its float32 steps: solid angle to 1e-7 relative, the rest to 2e-7."""
    detector = pyFAI.detectors.Detector(1e-4, 2e-4, max_shape=(50, 70), orientation=3)
    theirs = pyFAI.geometry.Geometry(0.1, 3e-3, -4e-3, *rot, detector=detector, wavelength=1e-10)
    turn = theirs.rotation_matrix()
    to_xyz = [1, 0, 2]      # pyFAI's (1, 2, 3) are (y, x, z)
    corner = (turn @ [-3e-3, 4e-3, 0.1])[to_xyz]
    ours = Geometry([plain((50, 70), corner, (turn @ [0, 2e-4, 0])[to_xyz], (turn @ [1e-4, 0, 0])[to_xyz])])
    at = theirs.position_array(corners=False)[..., ::-1]
    assert np.abs(ours.pixel_positions()[0] - at).max() < PIXEL * 1e-4
    assert np.abs(ours.solid_angle()[0] / theirs.solidAngleArray() - 1).max() < 1e-7
    assert np.abs(ours.polarisation(0.95, 0.3)[0] - theirs.polarization(factor=0.95, axis_offset=0.3)).max() < 2e-7
    assert np.abs(ours.two_theta()[0] - theirs.center_array(unit="2th_rad", scale=False)).max() < 2e-7
    assert np.abs(ours.q(1e-10)[0] * 1e-9 / theirs.center_array(unit="q_nm^-1", scale=False) - 1).max() < 2e-6


def test_solid_angle_of_a_cube_seen_from_its_centre():
    """Four tilted panels around the beam: every one is normal in its middle, and all cover the same solid angle; a distance sets one scale."""
    panels = []
    for k, turn in enumerate(np.arange(4) * np.pi / 2):
        out = np.array([np.sin(turn), 0, np.cos(turn)])
        along = np.array([np.cos(turn), 0, -np.sin(turn)])
        corner = 0.1 * (1 + k) * out - 0.05 * along + [0, -0.05, 0]
        panels.append(plain((101, 101), corner, along * 0.1 / 101, (0, 0.1 / 101, 0), segment=k))
    g = Geometry(panels)
    relative, absolute = g.solid_angle(), g.solid_angle(distance=0.1)
    for k in range(4):
        assert relative[k, 50, 50] == pytest.approx(1, rel=1e-12)
        assert absolute[k, 50, 50] == pytest.approx(1 / (1 + k) ** 2, rel=1e-12)
        half = 0.05
        exact = 4 * math.asin(half * half / (half**2 + (0.1 * (1 + k)) ** 2))     # of a square on its axis
        assert absolute[k].sum() * (0.1 / 101) ** 2 / 0.1**2 == pytest.approx(exact, rel=1e-4)


def test_polarisation_has_its_node_along_x():
    beside = plain((1, 1), (1, -0.5e-4, -0.5e-4), (0, 0, 1e-4), (0, 1e-4, 0))
    above = plain((1, 1), (-0.5e-4, 1, -0.5e-4), (1e-4, 0, 0), (0, 0, 1e-4), segment=1)
    g = Geometry([beside, above])
    assert np.allclose(g.polarisation(1.0).ravel(), [0, 1], atol=1e-7)
    assert np.allclose(g.polarisation(-1.0).ravel(), [1, 0], atol=1e-7)
    assert np.allclose(g.two_theta().ravel(), np.pi / 2)
    with pytest.raises(ValueError, match="-1 to 1"):
        g.polarisation(1.5)
    with pytest.raises(ValueError, match="wavelength"):
        g.q(float("nan"))


def test_a_layout_has_no_angles_until_it_is_placed():
    layout = Geometry([plain(corner=(0, 0, 0))])
    with pytest.raises(ValueError, match="with_distance"):
        layout.two_theta()
    placed = layout.with_distance(0.25)
    assert placed.distance == 0.25 and placed.with_distance(0.5).shift((1e-3, 0, 0)).distance == 0.5
    assert np.array_equal(placed.shift((1e-3, 2e-3, 0)).pixel_positions() - placed.pixel_positions(), np.broadcast_to([1e-3, 2e-3, 0], (1, 5, 7, 3)))


def four() -> Geometry:
    return Geometry([plain(corner=(0.01 * k, 0, 0.1), segment=k, name=f"m{k}") for k in range(4)])


def test_select_takes_segments_in_order_and_panels_by_name():
    g = four()
    assert [p.name for p in g.select([3, 1]).panels] == ["m3", "m1"] and g.select([3, 1]).shape == (2, 5, 7)
    assert np.array_equal(g.select([3, 1]).pixel_positions(), g.pixel_positions()[[3, 1]])
    assert np.array_equal(g.select(["m2", "m0"]).pixel_positions(), g.pixel_positions()[[0, 2]])
    for wrong in ([4], [0, 0], [], ["m9"], ["m0", 1]):
        with pytest.raises(ValueError, match="select"):
            g.select(wrong)


def test_an_absent_segment_is_nan_and_nothing_else():
    g = Geometry([p for p in four().panels if p.segment != 1])
    assert g.shape == (4, 5, 7)
    assert np.isnan(g.pixel_positions()).all((1, 2, 3)).tolist() == [False, True, False, False]
    assert np.isnan(g.solid_angle()[1]).all() and np.isfinite(g.solid_angle()[[0, 2, 3]]).all()


def test_the_same_words_as_one_image():
    g = four()
    image = g.reframed((1, 20, 7))
    assert np.array_equal(image.pixel_positions().reshape(4, 5, 7, 3), g.pixel_positions())
    assert np.array_equal(image.reframed((4, 5, 7)).pixel_corners(), g.pixel_corners())
    with pytest.raises(ValueError, match="two segments"):
        image.reframed((5, 4, 7))
    with pytest.raises(ValueError, match="same order"):
        image.reframed((1, 10, 14))


def test_splitting_at_wide_lines_moves_nothing(tmp_path):
    g = geometry.read(psana_file(tmp_path / "g.data", "EPIXUHR3X2:V1"))
    parts = g.panels[0].split("test")
    assert len(parts) == 15 and all(p.uniform for p in parts)
    split = Geometry(parts)
    assert np.abs(split.pixel_corners() - g.pixel_corners()).max() < PIXEL * 1e-4
    assert np.abs(split.area() - g.area()).max() < 1e-9 and split.distance == pytest.approx(g.distance, rel=1e-14)
    empty = plain((3, 4), wide_cols=((1, 0.0), (2, 0.0)))
    assert [(p.first, p.shape) for p in empty.split("test")] == [((0, 0), (3, 1)), ((0, 3), (3, 1))]
    with pytest.raises(ValueError, match="staggered"):
        plain(stagger=0.5).split("CrystFEL")


@pytest.mark.parametrize(("angle", "dx", "depth"), [(0, 7.5, 0), (0, 6.5, 0), (0, 4.75, 2.25), (0.7, 4.75, 2.25), (0, 0, 5)])
def test_overlaps_say_how_far(angle, dx, depth):
    """Depth: the least shift that would part them, here along fs (7 columns wide) or ss (5 rows)."""
    fs, ss = 1e-4 * np.array([np.cos(angle), np.sin(angle), 0]), 1e-4 * np.array([-np.sin(angle), np.cos(angle), 0])
    g = Geometry([plain(corner=(0, 0, 0.1), fs=fs, ss=ss), plain(corner=dx * fs + [0, 0, 0.1], fs=fs, ss=ss, segment=1)])
    found = g.overlaps()
    assert [(o.first, o.second) for o in found] == ([(0, 1)] if depth else [])
    assert not depth or found[0].pixels == pytest.approx(depth, rel=1e-6)
    assert bool(g.overlaps(tolerance=0.25)) == (dx < 6.75)


def test_overlaps_of_corners_that_only_their_boxes_share():
    """Two panels turned by 45 degrees beside each other: their bounding boxes overlap, they do not."""
    fs, ss = np.array([1e-4, 1e-4, 0]), np.array([-1e-4, 1e-4, 0])
    g = Geometry([plain((9, 9), fs=fs, ss=ss), plain((9, 9), corner=(1e-3 + 1e-3, -2e-3 + 1e-3, 0.1), fs=fs, ss=ss, segment=1)])
    assert g.overlaps() == []


@pytest.mark.parametrize(("change", "message"), [
    ({"corner": (np.nan, 0, 0)}, "finite"), ({"fs": (np.inf, 0, 0)}, "finite"), ({"fs": (0, 0, 0)}, "no plane"), ({"ss": (-2e-4, 0, 0)}, "no plane"),
    ({"shape": (0, 3)}, "cannot be"), ({"wide_cols": ((7, 2.0),)}, "wide lines"), ({"wide_rows": ((1, 2.0), (1, 2.0))}, "wide lines"),
    ({"wide_rows": ((1, -2.0),)}, "wide lines"), ({"wide_rows": ((1, np.nan),)}, "wide lines"), ({"segment": -1}, "cannot be"), ({"corner": (0, 0)}, "three"),
])
def test_panels_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        plain(**change)


def test_geometries_that_cannot_be():
    with pytest.raises(ValueError, match="at least one"):
        Geometry([])
    with pytest.raises(ValueError, match="already taken"):
        Geometry([plain(), plain(corner=(1, 1, 1), first=(4, 6))])
    with pytest.raises(ValueError, match="raw frame"):
        Geometry([plain()], (1, 4, 7))


def test_nothing_can_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        four().panels[0].corner[0] = 1
