"""Regions, their sums, windows and projections against float64 NumPy, matplotlib and sums written here. Over 200 lines: three ops, one kind of truth."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from conftest import Target

import gpuredux
from gpuredux import features
from gpuredux.features import Regions, RegionSums

FRAME = (2, 40, 50)


def pixels_of(regions: Regions, k: int) -> np.ndarray:
    """(panels * rows, cols) bool, by way of the spans one pixel at a time."""
    panels, rows, cols = FRAME
    mask = np.zeros((panels * rows, cols), bool)
    for region, row, col, length in regions.spans:
        if region == k:
            assert not mask[row, col : col + length].any()
            mask[row, col : col + length] = True
    return mask


def test_rectangles_polygons_and_masks_are_the_pixels_they_name() -> None:
    matplotlib = pytest.importorskip("matplotlib.path")
    rng = np.random.default_rng(1)
    star = np.array([(20 + 17 * np.sin(2.513 * k), 25 + 19.3 * np.cos(2.513 * k)) for k in range(5)])
    ring = np.concatenate([[(20 + r * np.sin(t), 20 + r * np.cos(t)) for t in ts] for r, ts in ((15.3, np.linspace(0, 6.283185307, 40)),
                                                                                                  (7.1, np.linspace(6.283185307, 0, 40)))])
    mask = rng.random(FRAME) < 0.4
    regions = Regions.rectangles(FRAME, [(1, 3, 4, 17, 17), (0, 0, 0, 40, 50)])
    regions += Regions.polygons(FRAME, [(1, star), (0, ring)]) + Regions.masks(FRAME, [mask])
    assert len(regions) == 5
    assert np.array_equal(np.argwhere(pixels_of(regions, 0)), [(40 + r, c) for r in range(3, 20) for c in range(4, 21)])
    assert pixels_of(regions, 1)[:40].all() and not pixels_of(regions, 1)[40:].any()
    centres = np.stack(np.indices(FRAME[1:]), -1).reshape(-1, 2)
    # a star's middle lies inside by the winding rule and outside by even-odd, which matplotlib does not have: it is the five points' own triangles
    inside = np.zeros(len(centres), int)
    for k in range(5):      # fan of triangles from a corner: a point is inside if an odd number of them holds it
        inside += matplotlib.Path(np.stack([star[0], star[k], star[(k + 1) % 5]])).contains_points(centres)
    assert np.array_equal(pixels_of(regions, 2)[40:].ravel(), inside % 2 == 1)
    radius = np.hypot(centres[:, 0] - 20, centres[:, 1] - 20)
    got = pixels_of(regions, 3)[:40].ravel()
    sure = (np.abs(radius - 15.3) > 0.1) & (np.abs(radius - 7.1) > 0.1)      # chords lie inside their circle
    assert np.array_equal(got[sure], ((radius < 15.3) & (radius > 7.1))[sure])
    assert np.array_equal(pixels_of(regions, 4), mask.reshape(80, 50))


def test_polygons_side_by_side_share_no_pixel_and_leave_none_out() -> None:
    """Vertices on pixel centres: a square cut along a diagonal and along a column."""
    corners = [(0, 0), (0, 20), (0, 39), (30, 0), (30, 20), (30, 39)]
    a, b, c, d, e, f = corners
    regions = Regions.polygons(FRAME, [(0, (a, b, d)), (0, (b, e, d)), (0, (b, c, f, e))])
    total = sum(pixels_of(regions, k).astype(int) for k in range(3))
    want = np.zeros((80, 50), int)
    want[:30, :39] = 1
    assert np.array_equal(total, want)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Regions.rectangles(FRAME, [(0, 0, 0, 40, 51)]), "rectangle 0, .* not within"),
    (lambda: Regions.rectangles(FRAME, [(2, 0, 0, 1, 1)]), "not within"),
    (lambda: Regions.rectangles(FRAME, [(0, 0, 0, 0, 1)]), "rectangle 0 must have 1 to"),
    (lambda: Regions.rectangles(FRAME, [(0.5, 0, 0, 1, 1)]), "whole numbers"),
    (lambda: Regions.masks(FRAME, [np.zeros(FRAME, bool)]), "mask 0 must be bool .* hold a pixel"),
    (lambda: Regions.masks(FRAME, [np.zeros(FRAME)]), "mask 0 must be bool"),
    (lambda: Regions.polygons(FRAME, [(0, [(0.2, 0.2), (0.2, 0.4), (0.4, 0.2)])]), "hold a pixel"),
    (lambda: Regions.polygons(FRAME, [(0, [(0, 0), (1, np.nan), (3, 3)])]), "polygon 0 must be"),
    (lambda: Regions(FRAME, [(0, 0, 0, 5), (0, 0, 4, 2)]), r"holds pixel \(0, 4\) twice"),
    (lambda: Regions(FRAME, [(0, 0, 0, 5), (2, 0, 4, 2)]), "without gaps"),
    (lambda: Regions(FRAME, [(0, 80, 0, 5)]), "is not in"),
    (lambda: Regions((40,), [(0, 0, 0, 5)]), "a frame must be"),
    (lambda: Regions(FRAME, [(0, 0, 0, 5)]) + Regions(FRAME[1:], [(0, 0, 0, 5)]), "of frames"),
])
def test_regions_that_are_none(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_part_is_no_larger_than_a_warp_may_take() -> None:
    tables = Regions.rectangles((3, 5000), [(0, 0, 0, 3, 5000), (0, 1, 1, 2, 2), (0, 0, 0, 1, 4096)]).tables()
    length, (region, first, end, _) = tables["span"][:, 1], tables["part"].T
    held = [length[a:b].sum() for a, b in zip(first, end, strict=True)]
    assert max(held) == 4096 and sum(held) == 15000 + 4 + 4096 and list(end[:-1]) == list(first[1:])
    assert all((region[a:b] == k).all() for k, (a, b) in enumerate(tables["box"][:, 2:]))


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32", "float32"])
def test_sums_are_those_of_float64_and_of_whole_numbers(target: Target, dtype: str) -> None:
    """Sums exact (Python's whole numbers and fractions), mean and centroid to 1 ulp of float32, variance to its cancellation."""
    rng = np.random.default_rng(2)
    scale = {"uint16": 60000, "int32": 2**31 - 1, "uint32": 2**32 - 1, "float32": 1000}[dtype]
    x = (rng.random((3, *FRAME)) * scale).astype(dtype)
    regions = Regions.rectangles(FRAME, [(1, 3, 4, 17, 17), (0, 0, 0, 40, 50), (0, 39, 49, 1, 1)]) + Regions.masks(FRAME, [rng.random(FRAME) < 0.4])
    good, status = rng.random(FRAME) > 0.1, (rng.random((3, *FRAME)) < 0.05).astype(np.uint8) * 2
    unit = 2.0**-20
    op = RegionSums(regions, threshold=scale * 0.75, good=good, unit=unit)
    out = op(target.put(x), pixel_status=target.put(status), backend=target.backend.name)
    got = {k: target.get(v) for k, v in out._asdict().items()}
    panel_row, col = np.indices(FRAME)[1:].reshape(2, 80, 50)
    for f in range(3):
        frame = x[f].reshape(80, 50)
        for k in range(len(regions)):
            inside = pixels_of(regions, k) & good.reshape(80, 50)
            use = inside & (status[f].reshape(80, 50) == 0)
            v = frame[use].astype(np.float64)
            exact = [Fraction(round(Fraction(float(a)) / Fraction(unit))) * Fraction(unit) if dtype == "float32" else Fraction(int(a)) for a in frame[use]]
            assert got["region_pixels"][f, k] == v.size and got["region_saturated"][f, k] == (inside & ~use).sum()
            assert got["region_above"][f, k] == (v > scale * 0.75).sum()
            assert Fraction(got["region_sum"][f, k].item()) == (Fraction(float(sum(exact))) if dtype == "float32" else sum(exact))
            if not v.size:
                continue
            assert (got["region_min"][f, k], got["region_max"][f, k]) == (frame[use].min(), frame[use].max())
            np.testing.assert_array_max_ulp(got["region_mean"][f, k], np.float32(sum(exact) / v.size), 1)
            mean = sum(exact) / v.size
            assert got["region_variance"][f, k] == pytest.approx(float(sum((a - mean) ** 2 for a in exact) / v.size), rel=1e-6, abs=1e-12 * scale**2)
            for name, place in (("row", panel_row), ("col", col)):
                want = sum(a * int(p) for a, p in zip(exact, place[use], strict=True)) / sum(exact)
                np.testing.assert_array_max_ulp(got[f"region_{name}"][f, k], np.float32(want), 1)


def test_windows_around_peaks_are_regions_cut_at_the_panel(target: Target) -> None:
    rng = np.random.default_rng(3)
    x = rng.poisson(20, (1, *FRAME)).astype(np.uint16)
    row, col = np.array([[0.4, 39.0, 20.5, 21.5, 60.0]], np.float32), np.array([[0.0, 49.4, 10.0, 30.0, 10.0]], np.float32)
    panel, count = np.array([[0, 1, 0, 1, 0]], np.int32), np.array([5], np.int32)
    inputs = {"energy": x, "peak_panel": panel, "peak_row": row, "peak_col": col, "peak_count": count}
    out = RegionSums(half=8)(**{k: target.put(v) for k, v in inputs.items()}, backend=target.backend.name)
    for k, (r, c) in enumerate([(0, 0), (39, 49), (20, 10), (22, 30)]):     # halves to even
        crop = x[0, panel[0, k], max(r - 8, 0) : r + 9, max(c - 8, 0) : c + 9]
        assert target.get(out.region_sum)[0, k] == crop.sum() and target.get(out.region_pixels)[0, k] == crop.size
        at = np.indices(crop.shape)[0] + max(r - 8, 0)
        assert target.get(out.region_row)[0, k] == pytest.approx((at * crop).sum() / crop.sum(), rel=1e-6)
    assert target.get(out.region_pixels)[0, 4] == 0 and np.isnan(target.get(out.region_mean)[0, 4])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_windows_are_pieces_of_a_padded_frame(target: Target, dtype: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(0, 250, (3, *FRAME)).astype(dtype)
    status = (rng.random(x.shape) < 0.1).astype(np.uint8) * 4
    table = [(0, -5, -3, 9, 17), (1, 35, 45, 9, 17), (1, 10, 10, 2, 3), (0, 100, 0, 9, 17)]
    fill = np.array(77, dtype)
    got = target.get(features.Windows(table, fill=77)(target.put(x), pixel_status=target.put(status), backend=target.backend.name))
    padded = np.pad(np.where(status, fill, x), ((0, 0), (0, 0), (200, 200), (200, 200)), constant_values=77)
    assert got.shape == (3, 4, 9, 17) and got.dtype == dtype
    for k, (panel, row, col, rows, cols) in enumerate(table):
        want = np.full((3, 9, 17), fill)
        want[:, :rows, :cols] = padded[:, panel, 200 + row : 200 + row + rows, 200 + col : 200 + col + cols]
        assert np.array_equal(got[:, k], want)


def test_windows_around_peaks_hold_the_peak_in_their_middle(target: Target) -> None:
    x = np.arange(3 * 2 * 40 * 50, dtype=np.int32).reshape(3, *FRAME)
    row, col = np.array([[20.5, 0.2], [3, 39], [9, 9]], np.float32), np.array([[21.5, 49.4], [7, 8], [9, 9]], np.float32)
    panel, count = np.array([[1, 0], [0, 1], [0, 0]], np.int32), np.array([2, 7, 1], np.int32)
    inputs = {"energy": x, "peak_panel": panel, "peak_row": row, "peak_col": col, "peak_count": count}
    got = target.get(features.Windows(half=8, fill=-1)(**{k: target.put(v) for k, v in inputs.items()}, backend=target.backend.name))
    assert got.shape == (3, 2, 17, 17)
    assert got[0, 0, 8, 8] == x[0, 1, 20, 22] and got[0, 1, 8, 8] == x[0, 0, 0, 49] and got[1, 1, 8, 8] == x[1, 1, 39, 8]
    assert (got[0, 1, :8] == -1).all() and (got[0, 1, :, 9:] == -1).all() and (got[0, 1, 8:, :9] == x[0, 0, :9, 41:]).all()
    assert not got[2, 1].any()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_projections_are_sums_of_slices(target: Target, dtype: str) -> None:
    rng = np.random.default_rng(5)
    x = (rng.integers(-300, 60000, (3, *FRAME)) if dtype != "float32" else rng.integers(-2**20, 2**20, (3, *FRAME)) / 256).astype(dtype)
    good, status = rng.random(FRAME) > 0.1, (rng.random(x.shape) < 0.1).astype(np.uint8)
    table = [(0, 3, 4, 30, 40), (1, -5, -3, 60, 60), (1, 7, 49, 1, 5)]
    out = features.Projections(table, good=good)(target.put(x), pixel_status=target.put(status), backend=target.backend.name)
    row_sum, col_sum, row_pixels, col_pixels = (target.get(a) for a in out)
    use = good & (status == 0)
    v = np.where(use, x.astype(np.float64), 0)
    for k, (panel, row, col, rows, cols) in enumerate(table):
        r, c = slice(max(row, 0), row + rows), slice(max(col, 0), col + cols)
        for total, pixels, axis, start, size in ((row_sum, row_pixels, 2, row, rows), (col_sum, col_pixels, 1, col, cols)):
            at = slice(max(-start, 0), max(-start, 0) + v[:, panel, r, c].shape[3 - axis])
            assert np.array_equal(total[:, k, at], v[:, panel, r, c].sum(axis)) and np.array_equal(pixels[:, k, at], use[:, panel, r, c].sum(axis))
            assert total[:, k].sum() == v[:, panel, r, c].sum() and not total[:, k, size:].any()


@pytest.mark.parametrize(("op", "words"), [
    (lambda: features.Windows([(0, 0, 0, 3, 3)], fill=-1), "fill must be a uint16"), (lambda: features.Windows([(0, 0, 0, 3, 3)], fill=0.5), "fill must be"),
    (lambda: features.Windows([(2, 0, 0, 3, 3)]), "must have the 3 panels"), (lambda: features.Projections([(2, 0, 0, 3, 3)]), "with 3 panels"),
    (lambda: features.Projections([(0, 0, 0, 3, 0)]), "rectangle 0 must have"), (lambda: features.Windows([(0, 0, 0, 3, 0)]), "rectangle 0 must have"),
])
def test_rectangles_that_do_not_fit(op, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^features\.\w+: .*{words}"):
        op().plan(np.zeros((1, *FRAME), np.uint16))


def test_real_reflections_have_the_intensities_that_dials_integrated(target: Target, real) -> None:
    """PILATUS 2M: the sum over a reflection's box, less the mean of the frame of pixels around it, against DIALS's summed intensities (I_sum)."""
    file = "pilatus2m_lcysteine_01.h5"
    frames, boxes, want, variance = (real(file, k) for k in ("data", "reflections/bbox", "reflections/I_sum", "reflections/I_sum_var"))
    strong = (want > 10 * np.sqrt(variance)) & (boxes[:, 4] >= 0) & (boxes[:, 5] <= len(frames)) & (boxes[:, [0, 2]] > 3).all(1)
    boxes, want = boxes[strong], want[strong]
    x0, x1, y0, y1, z0, z1 = boxes.T
    table = [np.stack([0 * x0, y0 - k, x0 - k, y1 - y0 + 2 * k, x1 - x0 + 2 * k], 1) for k in (0, 3)]
    regions = Regions.rectangles(frames.shape[1:], np.concatenate(table))
    out = RegionSums(regions)(target.put(frames), pixel_status=target.put((frames < 0).astype(np.uint8)), backend=target.backend.name)
    total, pixels = target.get(out.region_sum).reshape(len(frames), 2, -1), target.get(out.region_pixels).reshape(len(frames), 2, -1)
    background = (total[:, 1] - total[:, 0]) / (pixels[:, 1] - pixels[:, 0])
    inside = (np.arange(len(frames))[:, None] >= z0) & (np.arange(len(frames))[:, None] < z1)
    got = np.where(inside, total[:, 0] - background * pixels[:, 0], 0).sum(0)
    assert len(want) >= 10, "strong reflections that lie wholly in these frames"
    assert np.corrcoef(got, want)[0, 1] > 0.99 and np.median(np.abs(got / want - 1)) < 0.1


def test_a_chain_hands_peaks_to_what_looks_around_them(target: Target) -> None:
    """PeakFinder8, then sums and windows around what it found: by the names of its columns."""
    rng = np.random.default_rng(9)
    x = rng.poisson(5, (2, 60, 70)).astype(np.float32)
    places = [(12, 15), (40, 50), (30, 22)]
    for row, col in places:
        x[:, row - 1 : row + 2, col - 1 : col + 2] += [[50, 200, 50], [200, 900, 200], [50, 200, 50]]
    radius = np.hypot(*np.indices((60, 70), np.float32))
    chain = gpuredux.Chain([features.PeakFinder8(radius, 50.0, max_num_peaks=8), RegionSums(half=2), features.Windows(half=2)])
    out = chain(target.put(x), backend=target.backend.name)
    got = {k: target.get(v) for k, v in out._asdict().items()}
    for f in range(2):
        for k, (row, col) in enumerate(sorted(places)):
            piece = x[f, row - 2 : row + 3, col - 2 : col + 3]
            assert got["region_sum"][f, k] == piece.sum(dtype=np.float64) and np.array_equal(got["window"][f, k], piece)
        assert not got["window"][f, 3:].any() and not got["region_pixels"][f, 3:].any()


def test_an_empty_region_says_so() -> None:
    op = RegionSums(Regions(FRAME[1:], [(0, 3, 3, 4)]))
    out = op(np.full((1, *FRAME[1:]), np.nan, np.float32), backend="numba")
    assert out.region_pixels[0, 0] == 0 and out.region_sum[0, 0] == 0
    assert all(np.isnan(out._asdict()[f"region_{k}"][0, 0]) for k in ("mean", "variance", "min", "max", "row", "col"))


@pytest.mark.parametrize(("fields", "words"), [
    ({}, "either regions or half"), ({"half": 32}, "half must be 0 to 31"), ({"half": 3, "threshold": np.nan}, "threshold must be"),
    ({"regions": np.array([[0, 0, 0, 1]])}, "together with frame="), ({"half": 3, "unit": 0.3}, "power of two"),
])
def test_fields_that_do_not_fit(fields, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^features.region_sums: .*{words}"):
        features.RegionSums(**fields)
