"""simulate: the same frame however batches are cut, truth that calibration gives back, faults that are found, hits that a veto tells."""

import numpy as np
import pytest

from gpuredux import Chain
from gpuredux.calib import Gain
from gpuredux.simulate import Simulation
from gpuredux.status import Pixel
from gpuredux.veto import DECISION, LitPixels

SMALL = (96, 128)


def calibrate(sim, raw, **options):
    return Gain(sim.pedestal, sim.gain, sim.good, status=True, **options)(raw)


def same(a, b):
    raw_a, truth_a = a
    raw_b, truth_b = b
    assert raw_a.tobytes() == raw_b.tobytes()
    for field in ("energy", "hit", "pulse_id", "status"):
        x, y = getattr(truth_a, field), getattr(truth_b, field)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    assert len(truth_a.peaks) == len(truth_b.peaks) and all(np.array_equal(x, y) for x, y in zip(truth_a.peaks, truth_b.peaks, strict=True))


@pytest.mark.parametrize("shape", [SMALL, (2, 48, 64)])
def test_a_frame_depends_on_seed_and_number_alone(shape):
    """One batch, two batches, and another object that made other frames first."""
    sim, again = Simulation(shape, lost_packets=0.3, invalid_words=1e-4), Simulation(shape, lost_packets=0.3, invalid_words=1e-4)
    whole_raw, whole = sim.frames(5, 9)
    again.darks(2)
    again.frames(100, 1)
    for first, n in ((8, 6), (5, 3), (5, 0)):
        part = slice(first - 5, first - 5 + n)
        cut = type(whole)(whole.energy[part], whole.hit[part], whole.peaks[part], whole.pulse_id[part], whole.status[part])
        same(again.frames(first, n), (whole_raw[part], cut))
    other = Simulation(shape, seed=1).frames(5, 9)
    assert other[0].tobytes() != whole_raw.tobytes() and not np.array_equal(Simulation(shape, seed=1).pedestal, sim.pedestal)
    assert np.array_equal(sim.darks(6)[2:], again.darks(4, start=2)) and not np.array_equal(sim.darks(1), sim.frames(0, 1)[0])
    assert len({raw.tobytes() for raw in whole_raw}) == 9


def test_pulse_ids():
    assert Simulation(SMALL, first_pulse=1000, pulse_stride=3).frames(4, 3)[1].pulse_id.tolist() == [1012, 1015, 1018]


@pytest.mark.parametrize("shape", [(256, 512), (2, 128, 256)])
def test_calibration_gives_the_truth_back(shape):
    """In each gain the residual over the noise has mean 0 and width 1; the error codes are exactly where the truth says."""
    sim = Simulation(shape, seed=2, hit_fraction=1.0, peak_photons=(1e3, 2e6), peak_width=1.5, lost_packets=0.5, invalid_words=1e-5, dead_gain=np.nan)
    raw, truth = sim.frames(0, 24)
    energy, status = calibrate(sim, raw, invalid="raise")
    assert np.array_equal(status[:, sim.good], truth.status[:, sim.good])
    assert (status[:, ~sim.good] == Pixel.MASKED).all()
    assert set(np.unique(truth.status)) == {0, Pixel.SATURATED, Pixel.MISSING, Pixel.INVALID_CODE}
    fine, plane = (status == 0), raw >> 14
    for g, bits in enumerate((0, 1, 3)):
        at = np.nonzero(fine & (plane == bits))
        pixel = (g, *at[1:])
        residual = (energy[at] - truth.energy[at]).astype(np.float64) * np.abs(sim.gain[pixel]) / sim.noise[pixel]
        n = residual.size
        assert n > 1000 and abs(residual.mean()) < 4.5 / np.sqrt(n) + 0.001 and abs(residual.std() - 1) < 4.5 / np.sqrt(2 * n) + 0.01, (g, n, residual.mean())
        low, high = (0, *sim.switch)[g], sim.switch[g]
        assert truth.energy[at].min() >= low and truth.energy[at].max() <= high
    assert truth.energy[truth.status == Pixel.SATURATED].min() > sim.switch[2]


def test_lost_packets_are_whole_rows_of_one_panel():
    sim = Simulation((3, 50, 64), lost_packets=0.5)
    raw, truth = sim.frames(0, 20)
    lost = (raw == 0xFFFF) & (truth.status == Pixel.MISSING)
    rows = lost.all(axis=3)
    assert np.array_equal(lost.any(axis=3), rows) and 5 < rows.any(axis=2).sum() < 45
    assert all(row % 4 == 0 or row - 1 in {*np.flatnonzero(r)} for r in rows.reshape(-1, 50) for row in np.flatnonzero(r))


def test_background_ring_and_peaks_are_what_was_asked():
    sim = Simulation((200, 400), background=0.2, ring=0.5, ring_radius=60.0, ring_width=5.0, hit_fraction=0.5, peaks_per_hit=10.0, peak_photons=(300.0, 300.0))
    _, truth = sim.frames(0, 200)
    empty = truth.energy[~truth.hit].astype(np.float64) / sim.photon_energy
    assert np.abs(empty - np.rint(empty)).max() < 1e-4
    assert 70 < truth.hit.sum() < 130 and all((len(p) > 0) == h for p, h in zip(truth.peaks, truth.hit, strict=True))
    row, col = np.indices(sim.shape)
    r = np.hypot(row - 99.5, col - 199.5)
    far, crest = empty.mean(0)[r > 90], empty.mean(0)[np.abs(r - 60) < 1]
    assert abs(far.mean() - 0.2) < 4 * np.sqrt(0.2 / far.size / len(empty)) and abs(crest.mean() - 0.7) < 0.02
    number = np.array([len(p) for p in truth.peaks if len(p)])
    assert abs(number.mean() - 10) < 4 * np.sqrt(10 / number.size)
    photons = np.concatenate([p[:, 2] for p in truth.peaks])
    assert abs(photons.mean() - 300) < 4 * np.sqrt(300 / photons.size)
    f = int(np.flatnonzero(truth.hit)[0])
    for y, x, n in truth.peaks[f]:
        square = np.rint(truth.energy[f] / sim.photon_energy)[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        assert square.shape == (9, 9) and n <= square.sum()


def test_darks_give_the_pedestals():
    """The mean of darks, forced stage by stage, is the pedestal, and their r.m.s. the noise; without forcing all is gain 0."""
    sim, n = Simulation(SMALL), 64
    for g, bits in enumerate((0, 1, 3)):
        raw = sim.darks(n, gain=g)
        assert (raw >> 14 == bits).all()
        adc = (raw & 0x3FFF).astype(np.float64)
        pull = (adc.mean(0) - sim.pedestal[g]) / (sim.noise[g] / np.sqrt(n))
        assert abs(pull.mean()) < 5 / np.sqrt(pull.size) and 0.97 < pull.std() < 1.03 and np.abs(pull).max() < 6
        assert abs((adc.std(0, ddof=1) / np.hypot(sim.noise[g], 12**-0.5)).mean() - 1) < 0.01
    auto = sim.darks(4)
    assert (auto[:, sim.good] >> 14 == 0).all()
    energy = Gain(np.stack([sim.darks(200, gain=g).mean(0) - (0, 0x4000, 0xC000)[g] for g in range(3)]), sim.gain)(auto)
    assert abs(energy[:, sim.good].mean()) < 0.02


@pytest.mark.parametrize("options", [{}, {"shape": (2, 256, 512), "seed": 3}, {"photon_energy": 12.4, "seed": 4, "shape": (256, 512)}])
def test_a_veto_tells_hits(options):
    """Recall and precision 1 with lit_threshold and lit_pixels: no empty frame is near them, no hit either."""
    sim = Simulation(**options)
    chain = Chain([Gain(sim.pedestal, sim.gain, sim.good, status=True), LitPixels(sim.lit_threshold, sim.lit_pixels)], keep=("decision",))
    for start in range(0, 160, 16):
        raw, truth = sim.frames(start, 16)
        records = chain(raw).view(DECISION)[:, 0]
        assert np.array_equal(records["keep"] == 1, truth.hit)
        assert (records["score"][~truth.hit] < 5).all() and (records["score"][truth.hit] > 60).all()


def test_faults_of_pixels():
    """Dead pixels see nothing, hot ones light up, and the constants of the dead are as bad as asked for."""
    sim = Simulation(SMALL, dead=0.02, hot=0.02, hit_fraction=0.0, background=5.0, lost_packets=0.0, invalid_words=0.0)
    raw, _ = sim.frames(0, 30)
    bad = Gain(sim.pedestal, sim.gain)(raw)[:, ~sim.good].mean(0)
    usual = Gain(sim.pedestal, sim.gain)(raw)[:, sim.good].mean()
    assert abs(usual - 5 * sim.photon_energy) < 2.0 and ((np.abs(bad) < 1) | (bad > 150)).all()
    assert 100 < (bad > 150).sum() < 400 and 100 < (np.abs(bad) < 1).sum() < 400
    for value in (0.0, np.nan):
        other = Simulation(SMALL, dead=0.02, dead_gain=value)
        assert np.array_equal(other.gain, np.where(other.response == 0, np.float32(value), other.gain), equal_nan=True)
        with pytest.raises(ValueError, match=r"calib.gain: .* good pixels have a gain that is NaN, Inf or 0"):
            Gain(other.pedestal, other.gain)
        Gain(other.pedestal, other.gain, other.good)


def test_what_is_refused():
    for wrong in ({"shape": (4, 1024)}, {"shape": (64,)}, {"hit_fraction": 1.5}, {"background": -1}, {"photon_energy": 0}, {"switch": (3, 2, 1)}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"Simulation: {next(iter(wrong))} must be"):
            Simulation(**wrong)
