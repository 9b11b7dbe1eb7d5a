"""Assembly against EXtra-geom's own, and against what must hold: gaps stay gaps, sums are kept, overlaps follow the stated rule."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Target

import gpuredux
from gpuredux.calib import Assemble, AssembleTiles, Gain, assembly, geometry
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.datasets import real as recorded
from gpuredux.status import Pixel

UM = 1e-6


def flat_panel(name: str, corner: tuple[float, float], shape: tuple[int, int], turn: float = 0.0, **fields: Any) -> Panel:
    """A panel of 100 um pixels at z = 0, its corner in pixels, turned by so many degrees."""
    a = np.deg2rad(turn)
    fs, ss = np.array([np.cos(a), np.sin(a), 0]), np.array([-np.sin(a), np.cos(a), 0])
    return Panel(name, np.array([*corner, 0.0]) * 100 * UM, fs * 100 * UM, ss * 100 * UM, shape, **fields)


@pytest.fixture(scope="module")
def agipd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The AGIPD 1M geometry of the recorded files."""
    where = recorded.folder(ROOT)
    archive = None if where is None else where / "geometry.zip"
    if archive is None or not archive.exists():
        pytest.skip("geometry.zip is absent: GPUREDUX_DATA or ../shared/data")
    folder = tmp_path_factory.mktemp("geometry")
    with zipfile.ZipFile(archive) as z:
        return Path(z.extract("extra_foam__geometries__agipd_mar18_v11.geom", folder))


def test_tiles_are_extra_geoms(agipd: Path, target: Target) -> None:
    from extra_geom import AGIPD_1MGeometry

    data = np.random.default_rng(1).normal(0, 1, (2, 16, 512, 128)).astype(np.float32)
    want, _ = AGIPD_1MGeometry.from_crystfel_geom(str(agipd)).position_modules(data)
    ours = geometry.read(agipd).reframed((16, 512, 128))
    op = assembly.by_tiles(ours, fill=np.nan)
    got = target.get(op(target.put(data)))
    assert got.shape == want.shape
    assert np.array_equal(got, want, equal_nan=True)


def test_a_map_shows_each_pixel_where_it_lies(agipd: Path) -> None:
    """The centre of every pixel of the detector is seen in the pixel of the image that it lies in, or in a neighbour that a turned panel puts there."""
    ours = geometry.read(agipd).reframed((16, 512, 128))
    on = assembly.canvas(ours)
    op = assembly.by_map(ours, on)
    col, row = np.moveaxis(np.floor(on.at(ours.pixel_positions())).astype(int), -1, 0)
    assert (op.source[row.ravel(), col.ravel()] == np.arange(row.size)).mean() > 0.99     # of panels turned by less than half a degree
    shown = op.source[op.source >= 0]
    centres = on.at(ours.pixel_positions()).reshape(-1, 2)[shown]
    where = np.argwhere(op.source >= 0)[:, ::-1] + 0.5
    assert np.abs(centres - where).max() < 0.51 * np.sqrt(2)
    assert len(shown) / ours.pixel_positions()[..., 0].size == pytest.approx(1, abs=0.01)


def test_a_split_keeps_the_sum(agipd: Path, target: Target) -> None:
    rng = np.random.default_rng(2)
    for ours in (geometry.read(agipd).reframed((16, 512, 128)).select([0, 5, 11]),
                 Geometry([flat_panel("turned", (3.3, -7.7), (40, 60), 30),
                           flat_panel("wide", (90, 0.4), (24, 32), wide_cols=((3, 2.25), (4, 2.25)), segment=1)])):
        frame = rng.random((1, *ours.shape)).astype(np.float32)
        frame[np.isnan(ours.area())[None]] = 0      # words that no panel has
        op = assembly.by_split(ours, fill=0.0)
        image = target.get(op(target.put(frame)))
        assert image.sum(dtype=np.float64) == pytest.approx(frame.sum(dtype=np.float64), rel=1e-6)
        moment = (image[0].sum(0, dtype=np.float64) @ (np.arange(image.shape[2]) + 0.5), image[0].sum(1, dtype=np.float64) @ (np.arange(image.shape[1]) + 0.5))
        at = assembly.canvas(ours).at(np.nan_to_num(ours.pixel_positions()))
        centre = (frame[0][..., None].astype(np.float64) * at).sum((0, 1, 2))
        assert np.allclose(np.array(moment) / image.sum(dtype=np.float64), centre / frame.sum(dtype=np.float64), atol=1e-3)


def test_a_canvas_smaller_than_the_detector_loses_what_is_outside() -> None:
    ours = Geometry([flat_panel("p", (0.0, 0.0), (4, 6), 0)])
    on = assembly.canvas(ours)
    cut = assembly.Canvas(on.pixel, (on.corner[0] + 1.5 * on.pixel, on.corner[1]), (4, 3))
    image = assembly.by_split(ours, cut)(np.ones((1, *ours.shape), np.float32), backend="numpy")
    assert np.allclose(image, 1) and image.shape == (1, 4, 3)      # half of a pixel on both sides is no whole one


def test_a_turned_square_shares_what_geometry_says() -> None:
    """One pixel, turned by 45 degrees about a corner of the image's pixels: four quarters; moved by a quarter: products of the parts."""
    a = np.sqrt(0.5)
    one = Geometry([Panel("p", np.array([0, -a, 0.0]), np.array([a, a, 0]), np.array([-a, a, 0]), (1, 1))])
    op = assembly.by_split(one, assembly.Canvas(1.0, (-1.0, -1.0), (2, 2)))
    assert np.allclose(op.weight, 0.25, atol=1e-7) and len(op.source) == 4
    moved = Geometry([flat_panel("p", (0.25, 0.5), (1, 1))])
    op = assembly.by_split(moved, assembly.Canvas(100 * UM, (0.0, 0.0), (2, 2)))
    assert np.allclose(op.weight, [0.375, 0.125, 0.375, 0.125], atol=1e-7)


def test_which_of_two_is_seen(target: Target) -> None:
    """psana's maximum and mean never merged overlaps, silently: here the rule is the user's, and each does what it says."""
    over = Geometry([flat_panel("nine", (0, 0), (1, 1)), flat_panel("one", (0, 0), (1, 1), segment=1)])
    energy = target.put(np.array([9.0, 1.0], np.float32).reshape(1, 2, 1, 1))
    for rule, value in (("first", 9.0), ("last", 1.0)):
        assert target.get(assembly.by_map(over, overlap=rule)(energy)).item() == value
    assert target.get(assembly.by_split(over)(energy)).item() == 10.0
    with pytest.raises(ValueError, match="overlap must be 'first' or 'last'"):
        assembly.by_map(over, overlap="max")
    with pytest.raises(ValueError, match="tiles lie over each other"):
        assembly.by_tiles(over)


def test_gaps_stay_gaps(target: Target) -> None:
    apart = Geometry([flat_panel("left", (0, 0), (2, 2)), flat_panel("right", (3, 0), (2, 2), segment=1)])
    energy = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2)
    for make in (assembly.by_map, assembly.by_tiles, assembly.by_split):
        op = make(apart, fill=np.nan, status=True)
        image, status = (target.get(a)[0] for a in op(target.put(energy)))
        assert np.array_equal(image, [[1, 2, np.nan, 5, 6], [3, 4, np.nan, 7, 8]], equal_nan=True), op.name
        assert np.array_equal(status == Pixel.GAP, np.isnan(image)), op.name


def test_turned_tiles_and_their_map_agree(target: Target) -> None:
    """Quarters of a turn of a panel that is not square: tiles, map and split are the same image."""
    rng = np.random.default_rng(3)
    ours = Geometry([flat_panel(f"{t}", (40 * t, 40), (4, 6), 90 * t, segment=t) for t in range(4)])
    energy = target.put(rng.random((3, 4, 4, 6)).astype(np.float32))
    tiles, seen, split = (target.get(op(energy)) for op in (assembly.by_tiles(ours), assembly.by_map(ours), assembly.by_split(ours)))
    where = np.argwhere(seen[0] > 0).min(0), np.argwhere(seen[0] > 0).max(0) + 1
    cut = (slice(None), *(slice(a, b) for a, b in zip(*where, strict=True)))
    assert np.array_equal(tiles, seen[cut], equal_nan=True) and np.allclose(split, seen, rtol=1e-6, equal_nan=True)


def test_assembled_in_the_pass_of_calibration(device_target: Target) -> None:
    """raw words to an image in one pass over memory; status bits of pixels that no image shows are not lost."""
    rng = np.random.default_rng(4)
    shape = (2, 16, 24)
    gain = Gain(np.full((3, *shape), 1000.0), np.full((3, *shape), 2.0), status=True)
    raw = rng.integers(1000, 1400, (5, *shape), dtype=np.uint16)
    raw[2, 1, 0, 0] = 0xC000
    image = assembly.by_map(Geometry([flat_panel("only the first", (0, 0), (16, 24))], (2, 16, 24)), status=True)
    chain = gpuredux.Chain([gain, image])
    inputs = {"raw": raw, "frame_status": np.zeros(5, np.uint32)}
    plan = chain.plan(**{k: device_target.put(v) for k, v in inputs.items()})
    assert [p.ops for p in plan.passes] == ["calib.gain + calib.assemble"]
    out = plan(**{k: device_target.put(v) for k, v in inputs.items()})
    assert device_target.get(out.frame_status).tolist() == [0, 0, int(Pixel.SATURATED), 0, 0]
    assert np.array_equal(device_target.get(out.image), (raw[:, 0].astype(np.float32) - 1000) / 2)


def test_another_map_is_another_op(target: Target) -> None:
    """An update would reach the constants of a device, and not what the host makes of the map."""
    x = target.put(np.ones((1, 4, 6), np.float32))
    plan = Assemble(frame=(4, 6), source=np.array([[0, 1]])).plan(x, backend=target.backend.name)
    with pytest.raises(ValueError, match=r"^calib.assemble: .*make another op"):
        plan.update(source=np.array([[2, 3]]))


@pytest.mark.parametrize("source", [[[-2, 0]], [[0, 24]], [[0.0, 1.0]], [0, 1], [[]]], ids=str)
def test_maps_that_cannot_be(source: list) -> None:
    with pytest.raises(ValueError, match=r"^calib.assemble: source must (be whole numbers|hold pixels 0 to 23)"):
        Assemble(frame=(4, 6), source=np.array(source))


@pytest.mark.parametrize(("change", "words"), [
    ({"tile": (5, 6)}, "do not divide"), ({"image": (4, 5)}, "leave the image"), ({"place": [[0, 6, 1], [0, 6, 1]]}, "over each other"),
    ({"place": [[0, 6, 1]]}, r"place must be whole numbers \(2, 3\)"), ({"fill": 1.0}, "fill must be 0 or NaN"), ({"frame": ()}, "frame must be the shape"),
])
def test_tiles_that_cannot_be(change: dict[str, Any], words: str) -> None:
    good = {"frame": (2, 4, 6), "tile": (4, 6), "image": (8, 6), "place": [[0, 6, 1], [24, 6, 1]]}
    AssembleTiles(**good)
    with pytest.raises(ValueError, match=f"^calib.assemble_tiles: .*{words}"):
        AssembleTiles(**{**good, **change})
