"""Beam and shot: against SciPy, np.corrcoef, circles through recorded rings, a PONI, what was planted. Over 200 lines: four ops, a truth for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Target
from scipy import interpolate, ndimage, optimize

from gpuredux import Chain
from gpuredux.calib import Gain
from gpuredux.features import BeamCentre, BeamCentroid, Droplets, JetStreak, RadialBackground, Rings, SigmaClip
from gpuredux.status import Pixel
from gpuredux.veto import LitPixels

Real = Callable[[str, str], np.ndarray]


# ------------------------------------------------------------------------------------------------------------------ centroid
@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_centroid_is_scipys(target: Target, kind: str) -> None:
    rng = np.random.default_rng(2)
    frames = (rng.poisson(5, (4, 60, 90)) + 400 * (rng.random((4, 60, 90)) < 0.01)).astype(kind)
    if kind == "float32":
        frames -= np.float32(3.25)
    status = (rng.random(frames.shape) < 0.2).astype(np.uint8)
    got = BeamCentroid(6.5, (5, 55, 10, 81))(target.put(frames), target.put(status), backend=target.backend.name)
    for f in range(4):
        use = (frames[f] > 6.5) & (status[f] == 0)
        use[:5], use[55:], use[:, :10], use[:, 81:] = False, False, False, False
        weight = np.where(use, frames[f], 0).astype(np.float64)
        want = ndimage.center_of_mass(weight)
        np.testing.assert_allclose([target.get(got.centre_row)[f], target.get(got.centre_col)[f]], want, rtol=1e-6)
        assert target.get(got.centre_pixels)[f] == use.sum() and target.get(got.centre_sum)[f] == weight.sum()


def test_centroid_of_the_largest_frames(target: Target) -> None:
    """All pixels 2^32 - 1: sums of value times row beyond 53 bits."""
    frames = np.full((1, 300, 4000), np.iinfo(np.uint32).max, np.uint32)
    got = BeamCentroid()(target.put(frames), backend=target.backend.name)
    assert (target.get(got.centre_row)[0], target.get(got.centre_col)[0]) == (149.5, 1999.5)
    assert target.get(got.centre_sum)[0] == float(int(np.iinfo(np.uint32).max) * 300 * 4000)


def test_direct_beam_of_electron_diffraction(target: Target, real: Real) -> None:
    """A quarter of the brightest pixel and above is the direct beam and nothing else."""
    frame = real("timepix_ed.h5", "data")
    limit = float(frame.max()) / 4
    got = BeamCentroid(limit)(target.put(frame[None]), backend=target.backend.name)
    want = ndimage.center_of_mass(np.where(frame > limit, frame, 0).astype(np.float64))
    found = np.array([target.get(got.centre_row)[0], target.get(got.centre_col)[0]])
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert np.abs(found - np.unravel_index(frame.argmax(), frame.shape)).max() < 5


# -------------------------------------------------------------------------------------------------------------------- centre
def rings_about(at: tuple[float, float], shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Powder rings on a falling background, counted."""
    radius = np.hypot(*(np.indices(shape) - np.reshape(at, (2, 1, 1))))
    mean = 400 / (1 + radius / 12) + sum(120 * np.exp(-0.5 * ((radius - r) / 1.5) ** 2) for r in range(18, 150, 17))
    return np.random.default_rng(seed).poisson(mean).astype(np.uint16)


@pytest.mark.parametrize("at", [(95.0, 70.0), (88.3, 79.7), (101.49, 60.2)])
def test_centre_of_rings_with_gaps_and_a_beam_stop(target: Target, at: tuple[float, float]) -> None:
    """To 0.1 pixel, from a guess that is 14 pixels away; gaps as of modules, a beam stop and its arm, 3 % dead pixels."""
    frame = rings_about(at, (190, 150))
    good = np.random.default_rng(4).random(frame.shape) > 0.03
    good[60:67], good[130:137], good[:, 74:79] = False, False, False
    row, col = np.indices(frame.shape)
    good &= (np.hypot(row - at[0], col - at[1]) > 12) & ~((abs(col - at[1] - 4) < 3) & (row > at[0]))
    frame[~good] = 65535
    op = BeamCentre((at[0] + 11, at[1] - 9), window=16, radius=(12.0, 70.0), full=600.0, good=good)
    got = op(target.put(frame[None]), backend=target.backend.name)
    found = np.array([target.get(got.centre_row)[0], target.get(got.centre_col)[0]])
    assert np.abs(found - at).max() < 0.1, found
    assert 0.7 < target.get(got.centre_score)[0] < 1


def test_scores_are_pearsons(target: Target) -> None:
    """Every half pixel of the window by np.corrcoef of the pairs, one by one: the best one, its score, and the parabola between."""
    frame = rings_about((14.0, 20.5), (30, 40), 3)
    good = np.random.default_rng(5).random(frame.shape) > 0.1
    op = BeamCentre((14.4, 20.1), window=1.5, levels=0, radius=(3.0, 12.0), full=700.0, least_pairs=50, good=good)
    got = op(target.put(frame[None]), backend=target.backend.name)
    grey = np.floor(254 * np.sqrt(frame / 700.0)).clip(0, 254)
    score = {}
    for down in range(26, 33):
        for across in range(37, 44):
            pairs = [(grey[r, c], grey[down - r, across - c]) for r in range(30) for c in range(40)
                     if 0 <= down - r < 30 and 0 <= across - c < 40 and good[r, c] and good[down - r, across - c]
                     and 3 <= np.hypot(r - down / 2, c - across / 2) <= 12]
            score[down, across] = np.corrcoef(np.array(pairs).T)[0, 1]
    best = max(score, key=score.__getitem__)
    assert abs(best[0] - 28) <= 1 and abs(best[1] - 41) <= 1
    found = []
    for k in (0, 1):
        before, after = (score[best[0] + s * (k == 0), best[1] + s * (k == 1)] for s in (-1, 1))
        found.append((best[k] + 0.5 * (before - after) / (before - 2 * score[best] + after)) / 2)
    np.testing.assert_allclose([target.get(got.centre_row)[0], target.get(got.centre_col)[0]], found, rtol=1e-6)
    np.testing.assert_allclose(target.get(got.centre_score)[0], score[best], rtol=1e-6)


def test_guesses_of_the_centroid_in_a_chain(target: Target) -> None:
    """Direct beam -> first guess -> rings; each frame has its own centre; one without a bright pixel has none."""
    at = np.array([(50.0, 61.5), (57.2, 58.8), (44.0, 40.0)])
    frames = np.stack([rings_about(tuple(a), (110, 120), k) for k, a in enumerate(at)])
    frames[2] = 7
    chain = Chain([BeamCentroid(330.0), BeamCentre(window=8, levels=2, radius=(10.0, 50.0), full=600.0)])
    got = chain(target.put(frames), backend=target.backend.name)
    found = np.stack([target.get(got.centre_row), target.get(got.centre_col)], axis=1)
    assert np.abs(found - at)[:2].max() < 0.1, found
    assert np.isnan(found[2]).all() and np.isnan(target.get(got.centre_score)[2])


def by_transform(frame: np.ndarray, good: np.ndarray, near: tuple[float, float], reach: int) -> np.ndarray:
    """An outside truth: Pearson's correlation of a square of pixels about `near` with its own point inversion, for all shifts at once, by FFT in float64;
    the best whole half pixel."""
    row, col = (round(c) for c in near)
    cut = (slice(row - reach, row + reach + 1), slice(col - reach, col + reach + 1))
    m = good[cut].astype(np.float64)
    v = np.where(good[cut], np.sqrt(np.maximum(frame[cut], 0)), 0.0)
    size = [2 * k for k in m.shape]

    def paired(a: np.ndarray, b: np.ndarray) -> np.ndarray:     # sum over p of a[p] b[s - p], for every s
        return np.fft.irfft2(np.fft.rfft2(a, size) * np.fft.rfft2(b, size), size)

    count, one, square, product = paired(m, m), paired(v, m), paired(v * v, m), paired(v, v)
    spread = count * square - one * one
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(count > 0.3 * m.sum(), (count * product - one * one) / spread, -2)
    best = np.unravel_index(score.argmax(), score.shape)
    return np.array([best[0] / 2 + row - reach, best[1] / 2 + col - reach])


def fitted_circle(frame: np.ndarray, good: np.ndarray, near: tuple[float, float], inner: float, outer: float) -> np.ndarray:
    """An outside truth: along 180 rays the radius of the brightest point between inner and outer, and the circle through these by least squares."""
    smooth = ndimage.gaussian_filter(np.where(good, frame, 0).astype(np.float64), 1.5) / np.maximum(ndimage.gaussian_filter(good.astype(float), 1.5), 1e-9)
    angle, radius = np.radians(np.arange(0, 360, 2)), np.arange(inner, outer, 0.25)
    row, col = near[0] + np.outer(np.sin(angle), radius), near[1] + np.outer(np.cos(angle), radius)
    seen = ndimage.map_coordinates(good.astype(float), (row, col), order=1).min(1) > 0.99
    ray = ndimage.map_coordinates(smooth, (row, col), order=1)
    at = ray.argmax(1)
    seen &= (at > 3) & (at < len(radius) - 4)
    points = np.stack([row[np.arange(180), at], col[np.arange(180), at]], axis=1)[seen]
    assert len(points) > 60
    fit = optimize.least_squares(lambda c: np.hypot(*(points - c[:2]).T) - c[2], [*near, (inner + outer) / 2], loss="soft_l1")
    return fit.x[:2]


def test_centre_of_silver_behenate(target: Target, real: Real) -> None:
    """To 0.3 pixel of the circle through the ring at 63 pixels; from a guess that is 25 pixels away."""
    frame = real("saxs_ccd_agbe_dark.h5", "agbehenate")
    good = np.ones(frame.shape, bool)
    op = BeamCentre((550.0, 500.0), window=64, radius=(50.0, 300.0), full=1000.0)
    got = op(target.put(frame[None]), backend=target.backend.name)
    found = np.array([target.get(got.centre_row)[0], target.get(got.centre_col)[0]])
    want = fitted_circle(frame, good, (568.0, 482.0), 50, 80)
    assert np.abs(found - want).max() < 0.3, (found, want)


def test_centre_of_cerium_oxide_by_its_poni(target: Target, real: Real) -> None:
    """The 111 ring of a PILATUS 1M with its gaps: to 0.25 pixel of the ring's centre by the PONI's two-theta map, and 1 of the beam, for the detector is
    tilted by 1.1 degrees; from a guess 20 pixels away."""
    frame, two_theta = real("ceo2_pilatus1m_waxs.h5", "data"), real("ceo2_pilatus1m_waxs.h5", "tth_center_deg_every8")
    op = BeamCentre((500.0, 500.0), radius=(130.0, 175.0), full=2e5, good=frame >= 0)
    got = op(target.put(frame[None]), backend=target.backend.name)
    found = np.array([target.get(got.centre_row)[0], target.get(got.centre_col)[0]])
    square = interpolate.RectBivariateSpline(np.arange(131) * 8, np.arange(123) * 8, two_theta.astype(np.float64) ** 2)
    beam = optimize.minimize(lambda p: square(*p)[0, 0], (500.0, 500.0), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9}).x
    ring = np.degrees(2 * np.arcsin(0.4066 / 2 / (5.4115 / np.sqrt(3)))) ** 2
    ways = [np.array([np.sin(a), np.cos(a)]) for a in np.radians(range(0, 360, 5))]
    points = [beam + way * optimize.brentq(lambda r, way=way: square(*(beam + r * way))[0, 0] - ring, 120, 220) for way in ways]
    centre = (np.max(points, axis=0) + np.min(points, axis=0)) / 2
    assert np.abs(found - centre).max() < 0.25, (found, centre)
    assert np.abs(found - beam).max() < 1, (found, beam)


def test_centre_of_a_muscle(target: Target, real: Real) -> None:
    """Fibre diffraction, no rings: to 0.5 pixel of an FFT's whole half pixel, and 0.4 of each other in four frames; from a guess 30 pixels away."""
    frames = real("muscle_pilatus1m.h5", "data")
    good = (frames >= 0).all(0)
    op = BeamCentre((500.0, 440.0), radius=(20.0, 300.0), full=1000.0, good=good)
    got = op(target.put(frames), backend=target.backend.name)
    found = np.stack([target.get(got.centre_row), target.get(got.centre_col)], axis=1)
    want = by_transform(frames[0], good, (495.0, 430.0), 300)
    assert np.abs(found - want).max() < 0.5, (found, want)
    assert np.ptp(found, axis=0).max() < 0.4


# -------------------------------------------------------------------------------------------------------------------- streak
SIZE = (2, 90, 130)     # two panels one below the other, 7 pixels between them
ROW, COL = np.indices(SIZE[1:])
X = np.broadcast_to(COL - 64.3, SIZE).astype(np.float32)
Y = np.stack([ROW - 72.8, ROW + 23.2]).astype(np.float32)


def streaks(angles: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames with a streak at each angle [degree] (NaN: none), and which pixels it lies in."""
    rng, radius = np.random.default_rng(seed), np.hypot(X, Y)
    frames, under = np.empty((len(angles), *SIZE), np.uint16), np.zeros((len(angles), *SIZE), bool)
    for f, angle in enumerate(np.radians(angles)):
        across = np.abs(X.astype(np.float64) * np.sin(angle) - Y.astype(np.float64) * np.cos(angle))
        under[f] = (across < 2) & (radius < 60)
        frames[f] = rng.poisson(300 / (1 + radius / 10) + np.where(under[f], 2000 / (10 + radius), 0))
    return frames, under


def test_streaks_are_found_where_they_were_planted(target: Target) -> None:
    angles = np.array([0.4, 17.0, 44.9, np.nan, 89.5, 90.2, 133.3, 179.8])
    frames, under = streaks(angles)
    given = np.zeros(frames.shape, np.uint8)
    given[:, 0, 5, 5] = Pixel.SATURATED
    op = JetStreak(X, Y, (8.0, 55.0), 3.0, reach=62.0, threshold=6.0, sectors=60)
    got = op(target.put(frames), target.put(given), backend=target.backend.name)
    angle, score, status = (target.get(x) for x in (got.streak_angle, got.streak_score, got.pixel_status))
    some = np.isfinite(angles)
    away = np.abs((angle - angles + 90) % 180 - 90)[some]
    assert away.max() < 1.0, away
    assert score[some].min() > 8 and score[~some].max() < 5
    masked = status & Pixel.STREAK != 0
    assert masked[under].mean() > 0.97 and not masked[3].any()
    line = np.abs(X * np.sin(np.radians(angle))[:, None, None, None] - Y * np.cos(np.radians(angle))[:, None, None, None])
    assert np.array_equal(masked[some], ((line <= 3) & (np.hypot(X, Y) <= 62))[some])
    assert np.array_equal(status & ~np.uint8(Pixel.STREAK), given)


def test_score_of_a_streak_in_float64(target: Target) -> None:
    frames, _ = streaks(np.array([71.0]), 1)
    good = np.random.default_rng(2).random(SIZE) > 0.1
    sectors, bins, inner, outer = 30, 5, 10.0, 50.0
    got = JetStreak(X, Y, (inner, outer), 2.0, sectors=sectors, bins=bins, good=good)(target.put(frames), backend=target.backend.name)
    radius, azimuth = np.hypot(X.astype(float), Y.astype(float)), np.degrees(np.arctan2(Y.astype(float), X.astype(float))) % 180
    use = good & (radius >= inner) & (radius < outer)
    ring, sector = ((radius[use] - inner) / (outer - inner) * bins).astype(int), (azimuth[use] / 180 * sectors).astype(int)
    v = frames[0][use].astype(float)
    v -= (np.bincount(ring, v) / np.bincount(ring))[ring]
    excess = np.bincount(sector, v) / np.bincount(sector)
    best = excess.argmax()
    apart = np.abs(np.arange(sectors) - best)
    others = excess[np.minimum(apart, sectors - apart) >= 3]
    np.testing.assert_allclose(target.get(got.streak_score)[0], (excess[best] - others.mean()) / others.std(), rtol=1e-6)
    assert abs(target.get(got.streak_angle)[0] - (best + 0.5) * 180 / sectors) <= 90 / sectors + 1e-3


def test_a_finder_behind_leaves_the_streak_out(target: Target) -> None:
    """Droplets in a Chain: a streak of spikes makes droplets without JetStreak, none with it; spots elsewhere are found in both."""
    rng, (_, under) = np.random.default_rng(3), streaks(np.array([30.0, 120.0]))
    frames = rng.poisson(5 + 30 * under + 200 * (under & (rng.random(under.shape) < 0.1))).astype(np.uint16)
    spots = [(0, 20, 20), (1, 60, 90)]
    for spot in spots:
        frames[(slice(None), *spot)] = 400
    find, keep = Droplets(90.0, 90.0), ("droplet_panel", "droplet_row", "droplet_col", "droplet_count")
    tables = {}
    for name, ops in (("alone", [find]), ("behind", [JetStreak(X, Y, (5.0, 60.0), 4.0), find])):
        got = Chain(ops, keep=keep)(target.put(frames), backend=target.backend.name)
        tables[name] = [listed(target, got, f) for f in range(2)]
    assert tables["behind"] == [spots, spots]
    assert all(len(table) > 10 and set(spots) <= set(table) for table in tables["alone"])


def listed(target: Target, got: object, f: int) -> list[tuple[int, ...]]:
    """The pixels of a frame's droplets."""
    columns = [target.get(getattr(got, f"droplet_{k}"))[f, : int(target.get(got.droplet_count)[f])].astype(int) for k in ("panel", "row", "col")]
    return sorted(map(tuple, np.array(columns).T.tolist()))


# ---------------------------------------------------------------------------------------------------------------- background
def test_background_of_each_shot(target: Target) -> None:
    """energy - mean of the ring, by bincount in float64; pixels of no ring give NaN, those with a status stay."""
    rng = np.random.default_rng(7)
    radius, shape, bins = np.hypot(X, Y), SIZE, 25
    weight = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    frames = (rng.normal(0, 2, (3, *shape)) + np.array([50, 5, 0])[:, None, None, None] * weight / (1 + radius / 30)).astype(np.float32)
    status = (rng.random(frames.shape) < 0.05).astype(np.uint8)
    rings = Rings.from_position(radius, bins, (5.0, 70.0))
    chain = Chain([SigmaClip(rings, weight, max_iter=0), RadialBackground(rings, weight)], keep=("energy",))
    got = target.get(chain(target.put(frames), pixel_status=target.put(status), backend=target.backend.name))
    inside = (radius >= 5) & (radius < 70)
    label = ((radius.astype(np.float64) - 5) / (65 / bins)).astype(int).clip(0, bins - 1)
    for f in range(3):
        use = inside & (status[f] == 0)
        mean = np.bincount(label[use], frames[f][use], bins) / np.bincount(label[use], weight[use], bins)
        np.testing.assert_allclose(got[f][use], (frames[f] - mean[label] * weight)[use], atol=2e-5)
        assert np.isnan(got[f][~inside & (status[f] == 0)]).all()
        assert np.array_equal(got[f][status[f] != 0], frames[f][status[f] != 0])


def test_a_finder_behind_sees_spots_alone(target: Target) -> None:
    """Bright rings, other ones in each shot: one threshold finds the 12 spots behind RadialBackground, and no threshold does without."""
    rng = np.random.default_rng(9)
    radius = np.hypot(X, Y)
    rings = Rings.from_position(radius, 130, (2.0, 132.0))
    frames = np.stack([rng.poisson(20 + 75 * (1 + np.sin(radius / (4 + f)))) for f in range(3)]).astype(np.float32)
    spots = [(p, r, c) for p in (0, 1) for r, c in ((15, 20), (15, 110), (40, 30), (40, 100), (60, 15), (60, 120))]
    for spot in spots:
        frames[(slice(None), *spot)] += 140
    keep = ("droplet_panel", "droplet_row", "droplet_col", "droplet_count")
    chain = Chain([SigmaClip(rings, threshold=3.0), RadialBackground(rings), Droplets(85.0, 85.0)], keep=keep)
    got = chain(target.put(frames), backend=target.backend.name)
    assert [listed(target, got, f) for f in range(3)] == [spots] * 3
    for threshold in (85.0, 120.0, 160.0, 200.0, 240.0):
        got = Chain([Droplets(threshold, threshold)], keep=keep)(target.put(frames), backend=target.backend.name)
        assert all(listed(target, got, f) != spots for f in range(3))


def test_taken_in_by_a_kernel_it_is_the_same(target: Target) -> None:
    """Gain -> SigmaClip -> RadialBackground -> LitPixels, the last of which takes in gain and background: the bytes of one op after the other on NumPy."""
    rng, npix = np.random.default_rng(11), SIZE
    rings = Rings.from_position(np.hypot(X, Y), 40, (4.0, 90.0))
    gain = Gain(rng.normal(3000, 9, (3, *npix)), rng.normal(40, 1, (3, *npix)), rng.random(npix) > 0.02, status=True)
    raw = (3050 + 700 / (1 + np.hypot(X, Y) / 9) + rng.normal(0, 30, (18, *npix))).astype(np.uint16)
    chain = Chain([gain, SigmaClip(rings), RadialBackground(rings), LitPixels(2.0, 50)], keep=("energy", "decision"))
    want = chain(raw, backend="numpy")
    plan = chain.plan(target.put(raw), backend=target.backend.name)
    got = plan(target.put(raw))
    for name in ("energy", "decision"):
        assert np.array_equal(target.get(getattr(got, name)).view(np.uint8), getattr(want, name).view(np.uint8)), name
    if target.backend.kernels:
        assert [p.ops for p in plan.passes][-1] == "calib.gain + features.radial_background + veto.lit_pixels"
    assert (want.decision[:, 3].view(np.float32) > 50).all()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: BeamCentroid(-1.0), "features.beam_centroid: threshold must be 0 or more"),
    (lambda: BeamCentroid(box=(3, 3, 0, 5)), "features.beam_centroid: box must be"),
    (lambda: BeamCentre(levels=1, finest=2), "features.beam_centre: levels and finest must be"),
    (lambda: BeamCentre(window=1000.0), "features.beam_centre: window must be 0 to 128 pixels with 3 levels"),
    (lambda: BeamCentre(radius=(9.0, 4.0)), "features.beam_centre: radius must be"),
    (lambda: BeamCentre()(np.zeros((1, 9, 9), np.uint16)), "features.beam_centre: give guess="),
    (lambda: JetStreak(X, Y[0], (1.0, 2.0), 1.0), "features.jet_streak: x and y must be"),
    (lambda: JetStreak(X, Y, (5.0, 2.0), 1.0), "features.jet_streak: radius must be"),
    (lambda: JetStreak(X, Y, (1.0, 2.0), 1.0, sectors=5), "features.jet_streak: sectors must be 8 to 512"),
    (lambda: RadialBackground(Rings(np.zeros((3, 4), int), 1), curve="energy"), "features.radial_background: curve must be"),
    (lambda: RadialBackground(Rings(np.zeros((3, 4), int), 1), np.full((3, 4), np.nan)), "features.radial_background: normalisation must be"),
])
def test_a_wrong_field_says_so(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
