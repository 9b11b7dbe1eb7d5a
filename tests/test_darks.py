"""Dark runs against a simulated truth, and each defect that is known of other programs. Over 200 lines: the truth and all that is asked of it."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from gpuredux import backends
from gpuredux.calib.dark_estimate import Moments, moments, untruncated
from gpuredux.calib.darks import DarkResult, DarkRun, DarkStatus, Limits, spread, to_constants
from gpuredux.detectors import Detector
from gpuredux.status import Pixel

SHAPE, FRAMES, PHOTON, SHARE = (64, 96), 1000, 330, 0.02
KIND = Detector("a small one", SHAPE, adc_mask=0x3FFF, gain_shift=14, planes=(0, 1, -1, 2), codes=((0xC000, Pixel.SATURATED), (0xFFFF, Pixel.MISSING)),
                asic=(32, 48))
FAULTS = {"hot": 40, "dead": 40, "telegraph equal": 40, "telegraph rare": 40, "saturated": 10, "cold": 10, "wrong gain": 20, "lost": 20, "high": 10, "low": 10}


class Truth(NamedTuple):
    raw: np.ndarray         # (FRAMES, *SHAPE)
    pedestal: np.ndarray
    noise: np.ndarray
    fault: np.ndarray       # index into FAULTS, -1 = none


@cache
def truth(photons: float = SHARE) -> Truth:
    """Four ASICs of different pedestals and noises; rms 12 to 28 ADU; a share of all words has one photon more."""
    rng = np.random.default_rng(11)
    asic = (np.arange(SHAPE[0])[:, None] // 32 * 2 + np.arange(SHAPE[1]) // 48)
    pedestal = 2800 + 150 * asic + rng.normal(0, 25, SHAPE)
    noise = (14 + 4 * asic) * rng.normal(1, 0.05, SHAPE)
    fault = np.full(SHAPE, -1)
    where = np.split(rng.permutation(fault.size)[: sum(FAULTS.values())], np.cumsum(list(FAULTS.values()))[:-1])
    for k, pixels in enumerate(where):
        fault.flat[pixels] = k
    at = {name: fault == k for k, name in enumerate(FAULTS)}
    noise[at["hot"]] *= 3
    pedestal[at["high"]] += 600
    pedestal[at["low"]] -= 600
    adc = pedestal + noise * rng.standard_normal((FRAMES, *SHAPE), np.float32)
    adc += PHOTON * (rng.random(adc.shape, np.float32) < photons)
    adc[:, at["dead"]] = 1234
    for name, share in (("telegraph equal", 0.5), ("telegraph rare", 0.2)):      # in the upper level for stretches of 10 frames
        level = np.repeat(rng.random((FRAMES // 10, at[name].sum())) < share, 10, axis=0)
        adc[:, at[name]] += 8 * noise[at[name]] * level
    adc[:, at["saturated"]], adc[:, at["cold"]] = 0x3FFF, 0
    raw = np.clip(np.rint(adc), 0, 0x3FFF).astype(np.uint16)
    raw[rng.random(raw.shape) < 0.05 * at["wrong gain"]] |= 0x4000
    raw[rng.random(raw.shape) < 0.3 * at["lost"]] = 0xFFFF
    return Truth(raw, pedestal, noise, fault)


@cache
def result(photons: float = SHARE, width: float = 3.0) -> DarkResult:
    return finished(truth(photons).raw, width=width)


def finished(raw: np.ndarray, batch: int = 64, width: float = 3.0, backend: str = "numba", kind: Detector = KIND) -> DarkResult:
    run = DarkRun(kind, width=width, backend=backend)
    run.look(raw[spread(len(raw), 100)])
    for first in range(0, len(raw), batch):
        run.add(raw[first : first + batch])
    return run.finish()


def errors(r: DarkResult, t: Truth) -> tuple[float, float, float, float]:
    """Over the pixels without a fault: mean bias of pedestal [sigma] and noise, robust, then plain."""
    good = t.fault < 0
    return tuple(float(np.mean(x[good])) for x in ((r.pedestal - t.pedestal) / t.noise, r.noise / t.noise - 1,      # type: ignore[return-value]
                                                   (r.plain_pedestal - t.pedestal) / t.noise, r.plain_noise / t.noise - 1))


@pytest.mark.parametrize("width", [3.0, 2.0, 5.0])
def test_robust_estimates_are_those_of_the_pixel(width: float) -> None:
    """Photons in 2 % of the words, hot, dead and telegraph pixels about: pedestal to 0.02 sigma, noise to 2 %, in the mean over the pixels."""
    pedestal, noise, plain_pedestal, plain_noise = errors(result(width=width), truth())
    print(f"gate +- {width}: pedestal {pedestal:+.5f} sigma, noise {noise:+.4%}; plain {plain_pedestal:+.3f} sigma, {plain_noise:+.1%}")
    assert abs(pedestal) < 0.02 and abs(noise) < 0.02
    assert plain_pedestal > 0.2 and plain_noise > 0.5, "the plain mean is of all words, photons too"


def test_each_pixel_scatters_as_statistics_say() -> None:
    """The scatter over pixels: sigma / sqrt(n) of the pedestal, 1 / sqrt(2 n) of the noise, within what a gate of 3 sigma costs."""
    r, t = result(), truth()
    good = t.fault < 0
    z = ((r.pedestal - t.pedestal) / t.noise)[good] * np.sqrt(FRAMES)
    s = (r.noise / t.noise - 1)[good] * np.sqrt(2 * FRAMES)
    assert 0.95 < z.std() < 1.15 and 0.95 < s.std() < 1.3


def test_without_photons_plain_and_robust_agree() -> None:
    pedestal, noise, plain_pedestal, plain_noise = errors(result(0.0), truth(0.0))
    assert max(map(abs, (pedestal, plain_pedestal))) < 0.002 and max(map(abs, (noise, plain_noise))) < 0.003


STATUS = {"hot": DarkStatus.NOISE_HIGH, "dead": DarkStatus.NOISE_LOW | DarkStatus.NOT_GAUSSIAN, "telegraph equal": DarkStatus.RANDOM_TELEGRAPH,
          "telegraph rare": DarkStatus.RANDOM_TELEGRAPH, "saturated": DarkStatus.SATURATED, "cold": DarkStatus.COLD, "wrong gain": DarkStatus.WRONG_GAIN,
          "lost": DarkStatus.INVALID_WORDS, "high": DarkStatus.PEDESTAL_HIGH, "low": DarkStatus.PEDESTAL_LOW}


@pytest.mark.parametrize("name", STATUS)
def test_faults_are_found_by_name(name: str) -> None:
    r, t = result(), truth()
    here = t.fault == list(FAULTS).index(name)
    recall = ((r.status & STATUS[name]) != 0)[here].mean()
    print(f"{name}: {recall:.1%} of {here.sum()} found as {STATUS[name]!r}, {(r.status != 0)[here].mean():.1%} as bad")
    assert recall >= (0.8 if name == "telegraph equal" else 0.97), "two equal levels inside the gate, photons among them, may look like noise alone"
    assert (r.status != 0)[here].all()


def test_good_pixels_stay_good() -> None:
    r, t = result(), truth()
    false = (r.status != 0)[t.fault < 0]
    print(f"{false.sum()} of {false.size} good pixels have a status")
    assert false.mean() < 0.001


# ----------------------------------------------------------------------------------------------------- exactness
def same(a: DarkResult, b: DarkResult) -> bool:
    flat = (*a[: a._fields.index("gate")], *a.gate), (*b[: b._fields.index("gate")], *b.gate)
    return all(np.array_equal(np.ascontiguousarray(x).view(np.uint8), np.ascontiguousarray(y).view(np.uint8)) for x, y in zip(*flat, strict=True))


@pytest.mark.parametrize(("batch", "shuffle"), [(1000, False), (7, False), (64, True)])
def test_order_and_batches_change_no_bit(batch: int, shuffle: bool) -> None:
    """The same frames in another order, cut otherwise, against the same gate."""
    raw, want = truth().raw[:300], finished(truth().raw[:300])
    run = DarkRun(KIND)
    run.use(want.gate)
    raw = raw[np.random.default_rng(3).permutation(300)] if shuffle else raw
    for first in range(0, 300, batch):
        run.add(raw[first : first + batch])
    assert same(run.finish(), want)


@pytest.mark.parametrize("backend", ["numpy", "opencl"])
def test_every_backend_gives_the_same_bits(backend: str) -> None:
    try:
        backends.get(backend)
    except backends.BackendUnavailable as e:
        pytest.skip(str(e))
    raw = truth().raw[:60]
    assert same(finished(raw, 25, backend=backend), finished(raw, 25))


def test_sums_and_median_are_those_of_numpy() -> None:
    """Against masked float64 arrays: counts, mean, standard deviation, median, MAD."""
    raw, r = truth().raw, result()
    mine = raw >> 14 == 0
    adc = np.where(mine, raw, np.nan).astype(np.float64)
    assert np.array_equal(r.count, mine.sum(0)) and np.array_equal(r.invalid, (raw == 0xFFFF).sum(0)) and np.array_equal(r.switched, (raw >> 14 == 1).sum(0))
    assert np.allclose(r.plain_pedestal, np.nanmean(adc, 0), rtol=1e-13, atol=0) and np.allclose(r.plain_noise, np.nanstd(adc, 0, ddof=1), rtol=1e-9)
    assert np.array_equal(r.least, np.nanmin(adc, 0)) and np.array_equal(r.most, np.nanmax(adc, 0))
    sample = adc[spread(FRAMES, 100)]
    assert np.array_equal(r.gate.median, np.nanmedian(sample, 0)) and np.array_equal(r.gate.mad, np.nanmedian(abs(sample - np.nanmedian(sample, 0)), 0))


def test_moments_are_exact_where_floats_cancel() -> None:
    """A billion words of 65535 and one of 65534: E2 - E1**2 in float64 has no digit left."""
    n = 10**9
    count, total = np.array([n + 1], np.uint32), np.array([65535 * n + 65534], np.uint64)
    total2 = np.array([65535**2 * n + 65534**2], np.uint64)
    found = moments(count, total, total2)
    assert found.rms[0] ** 2 == pytest.approx(1 / (n + 1), rel=1e-9) and found.mean[0] == pytest.approx(65535 - 1 / (n + 1), abs=1e-11)
    assert np.isnan(moments(np.zeros(1, np.uint32), np.zeros(1, np.uint64), np.zeros(1, np.uint64)).mean[0])


@pytest.mark.parametrize(
    ("mu", "sigma", "low", "high"), [(3000.3, 20, -3, 3), (3000.45, 5, -2, 3.5), (3000.2, 1, -3, 3), (2999.9, 20, -1.5, 1.5), (3000.1, 3, -1, 4)])
def test_what_the_gate_cut_off_is_put_back(mu: float, sigma: float, low: float, high: float) -> None:
    """Moments of the rounded Gaussian inside the gate, summed from SciPy's probabilities of each integer."""
    a, b = np.ceil(mu + low * sigma), np.floor(mu + high * sigma)
    k = np.arange(a, b + 1)
    p = stats.norm.cdf(k + 0.5, mu, sigma) - stats.norm.cdf(k - 0.5, mu, sigma)
    mean = (k * p).sum() / p.sum()
    gated = Moments(np.array([mean]), np.array([np.sqrt(((k - mean) ** 2 * p).sum() / p.sum())]))
    found = untruncated(gated, np.array([a]), np.array([b]))
    assert found.found[0] and abs(found.mean[0] - mu) < 2e-4 * sigma and found.sigma[0] == pytest.approx(sigma, rel=1e-3)
    assert found.inside[0] == pytest.approx(p.sum(), abs=1e-4)


def test_a_gate_full_of_anything_has_no_gaussian() -> None:
    """Equal numbers of all values: no sigma; the gated moments come back, and the status says so."""
    raw = np.tile((3000 + np.arange(64, dtype=np.uint16) % 64).astype(np.uint16)[:, None, None], (4, *SHAPE)).reshape(256, *SHAPE)
    r = finished(raw, width=1.0)
    assert ((r.status & DarkStatus.NOT_GAUSSIAN) != 0).all() and np.isnan(r.expected).all() and np.isfinite(r.pedestal).all()


# ------------------------------------------------------------------------------------------ defects of other programs
def test_no_zero_frame_enters() -> None:
    """A block with a frame of zeros in it biases the mean by -0.71 ADU at 1000 frames and 20 ADU, and makes the least adc 0."""
    t = truth(0.0)
    r, good = result(0.0), t.fault < 0
    assert (r.least[good] > 2000).all() and (r.count[good] == FRAMES).all()
    with_zero = t.raw.sum(0, dtype=np.int64) / (FRAMES + 1)
    assert abs(np.mean((r.plain_pedestal - t.pedestal)[good])) < 0.05 < abs(np.mean((with_zero - t.pedestal)[good]))


def test_a_gate_at_quantiles_would_cut_the_noise() -> None:
    """5 to 95 % of the first 50 frames, as elsewhere: rms 0.785 of the truth. Ours is right to 2 % at a gate even narrower than that."""
    t, good = truth(0.0), truth().fault < 0
    low, high = np.floor(np.quantile(t.raw[:50], 0.05, axis=0)), np.ceil(np.quantile(t.raw[:50], 0.95, axis=0))
    adc = np.where((t.raw >= low) & (t.raw <= high), t.raw, np.nan)[:, good]
    assert 0.75 < np.mean(np.nanstd(adc, 0) / t.noise[good]) < 0.82
    assert abs(errors(finished(t.raw, width=1.5), t)[1]) < 0.02


def test_limits_are_those_of_the_asic() -> None:
    """ASICs 150 ADU apart: a pixel 600 ADU off its own ASIC is found; over the whole detector's spread it would not be at 5 sigma."""
    r, t = result(), truth()
    good = t.fault < 0
    spread_of_all = 1.4826 * np.median(np.abs(r.pedestal[good] - np.median(r.pedestal[good])))
    assert 5 * spread_of_all > 600
    for name, bit in (("high", DarkStatus.PEDESTAL_HIGH), ("low", DarkStatus.PEDESTAL_LOW)):
        assert ((r.status & bit) != 0)[t.fault == list(FAULTS).index(name)].all()


def test_squares_do_not_wrap() -> None:
    """16 bits of adc: the square of a word fills 32 bits."""
    kind = Detector("sixteen bits", (5, 7), adc_mask=0xFFFF)
    raw = np.random.default_rng(2).integers(60000, 65536, (40, 5, 7), dtype=np.uint16)
    r = finished(raw, kind=kind)
    assert np.allclose(r.plain_noise, raw.astype(np.float64).std(0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize(("gain", "bits"), [(1, 0x4000), (2, 0xC000)])
def test_gain_bits_are_no_part_of_the_mean(gain: int, bits: int) -> None:
    raw = truth(0.0).raw[:200]
    words = (raw & 0x3FFF).clip(1, 0x3FFE) | np.uint16(bits)
    words[3] = 2999         # one frame of stage 0
    run = DarkRun(KIND, gain=gain)
    run.look(words[spread(200, 50)])
    run.add(words)
    r, good = run.finish(), truth().fault < 0
    assert np.allclose(r.plain_pedestal[good], np.delete(raw, 3, 0).mean(0)[good], rtol=1e-12) and (r.switched[good] == 1).all()


# ---------------------------------------------------------------------------------------------------- cells and errors
def test_cells_are_separate() -> None:
    rng = np.random.default_rng(5)
    cell = rng.permutation(np.repeat(np.arange(3, dtype=np.uint16), 120))
    raw = np.rint(rng.normal(3000 + 200 * cell[:, None, None], 10 + 5 * cell[:, None, None], (360, 32, 48))).astype(np.uint16)
    run = DarkRun(KIND, cells=3)
    run.look(raw, cell)
    for first in range(0, 360, 50):
        run.add(raw[first : first + 50], cell[first : first + 50])
    r = run.finish()
    for c in range(3):
        alone = DarkRun(KIND)
        alone.look(raw[cell == c])
        alone.add(raw[cell == c])
        one = alone.finish()
        assert np.array_equal(r.pedestal[c], one.pedestal) and np.array_equal(r.status[c], one.status) and np.array_equal(r.noise[c], one.noise)
    run.add(raw[:1], np.array([3], np.uint16))
    with pytest.raises(ValueError, match="1 of 361 frames are of a cell beyond the 3"):
        run.finish()


def test_a_pixel_without_words_has_no_number() -> None:
    raw = truth().raw[:80].copy()
    raw[:, 0, 0], raw[:, 0, 1] = 0xFFFF, 0x4000
    raw[:70, 0, 2] = 0x4000
    r = finished(raw)
    assert np.isnan(r.pedestal[0, :2]).all() and np.isnan(r.noise[0, :2]).all()
    assert (r.status[0, 0] & DarkStatus.INVALID_WORDS) and (r.status[0, 1] & DarkStatus.WRONG_GAIN) and ((r.status[0, :3] & DarkStatus.TOO_FEW) != 0).all()


def test_misuse_is_refused() -> None:
    run = DarkRun(KIND)
    for call, words in ((lambda: run.add(truth().raw[:2]), "look at a sample first"), (run.finish, "no frame was looked at"),
                        (lambda: run.look(truth().raw[:2], np.zeros(2, np.uint16)), "cell must be one number a frame"),
                        (lambda: DarkRun(KIND, gain=3), "plane must be one of"), (lambda: DarkRun("agipd1M", 3), "gain stages 0, 1, 2, got 3"),
                        (lambda: DarkRun("eiger1M"), "counts photons"), (lambda: DarkRun(KIND, width=0.5), "1 to 100 sigma"),
                        (lambda: Limits(noise=-1), "limits: noise must be 0 or more"), (lambda: to_constants({}, "jungfrau"), "no gain stage")):
        with pytest.raises(ValueError, match=words):
            call()
    run.look(truth().raw[:4])
    run.add(truth().raw[:4])
    with pytest.raises(ValueError, match="before the first frames"):
        run.look(truth().raw[:4])


def test_a_sample_is_spread_evenly() -> None:
    assert spread(1000, 4).tolist() == [125, 375, 625, 875] and spread(3, 10).tolist() == [0, 1, 2] and spread(0, 5).tolist() == []
