"""Calibration against outsiders: photons that PSI's pipeline made from real JUNGFRAU frames, and plain float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target

from gpuredux.calib import Gain, ThresholdGain
from gpuredux.detectors import DETECTORS
from gpuredux.status import Pixel

FILE = "jungfrau_m049_raw_to_photons.h5"


@pytest.mark.parametrize("frame", (0, 1))
def test_gain_makes_the_photons_of_psi(target: Target, real, frame: int) -> None:
    """(adc - pedestal) * k of three gains; the pipeline's own rounding and the host's 1 / (1 / k) are a few 1e-7. It writes 32678 for saturation."""
    raw, photons, pedestal = real(FILE, "raw")[frame : frame + 1], real(FILE, "conv")[frame], real(FILE, "ped")
    k = np.zeros(pedestal.shape)
    k[0] = real(FILE, "k_g0")
    for plane, name in ((1, "k_g1"), (2, "k_g2")):
        k[plane].flat[real(FILE, name + "_index")] = real(FILE, name)
    with np.errstate(divide="ignore"):
        op = Gain(pedestal, 1 / k, invalid="mask", status=True)     # 1 / 0: gains that the recording does not tell
    energy, status = (target.get(a)[0] for a in op(target.put(raw)))
    assert np.array_equal(status == Pixel.SATURATED, photons == 32678)
    good = status == 0
    assert good.mean() > 0.9999 and all((good & (raw[0] >> 14 == bits)).any() for bits in (0, 1, 3))
    assert (np.abs(energy - photons)[good] <= 4e-7 * np.maximum(np.abs(photons[good]), 1)).all()


def test_gain_is_rounded_three_times() -> None:
    """In float64, with each step's own rounding: the documented order of operations, and no other."""
    rng = np.random.default_rng(3)
    pedestal, gain = rng.normal(3000, 50, (1, 999)), rng.normal(40, 5, (1, 999))
    raw = rng.integers(0, 65536, (7, 999), dtype=np.uint16)
    difference = np.float32(np.float64(raw) - np.float64(np.float32(pedestal[0])))
    want = np.float32(np.float64(difference) * np.float64(np.float32(1 / np.float64(np.float32(gain[0])))))
    assert np.array_equal(Gain(pedestal, gain, detector="epix100")(raw, backend="numpy"), want)


@pytest.mark.parametrize("cells", (0, 2))
@pytest.mark.parametrize("shape", ((5, 90, 1024 // 4 - 1), (3, 128, 256)))
def test_gain_numba_places_its_tiles_anywhere(shape: tuple[int, ...], cells: int) -> None:
    """Frames of several tiles, outputs that begin anywhere in a cache line, frames taken one, two and four at a time, gain switching in some."""
    rng = np.random.default_rng(5)
    pedestal = rng.normal(2000, 50, (3, *(cells,) * (cells > 0), *shape)).astype(np.float32)
    op = Gain(pedestal, rng.normal(40, 5, pedestal.shape), good=rng.random(shape) > 0.01, cells=cells, status=True)
    raw = rng.integers(1900, 2100, (11, *shape), dtype=np.uint16)
    lit = rng.random(raw.shape) < np.array([0, 0, 1e-3, 0, 0.3, 0, 1e-3, 0, 0, 0, 2e-4]).reshape(-1, *(1,) * len(shape))
    raw[lit] |= rng.choice(np.array([1, 2, 3], np.uint16), int(lit.sum())) << 14
    named = {"cell": np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 9, 1], np.uint16)} if cells else {}
    status = np.zeros(len(raw), np.uint32)
    want = op(raw, frame_status=status, backend="numpy", **named)
    for shift in (0, 1, 7, 15):
        room = np.full(raw.size + 32, np.float32(-7))
        energy = room[shift : shift + raw.size].reshape(raw.shape)
        got = op(raw, frame_status=status, backend="numba", out=(energy, np.empty(raw.shape, np.uint8), np.empty_like(status)), **named)
        for a, b in zip(got, want, strict=True):
            assert a.tobytes() == b.tobytes()
        assert (room[:shift] == -7).all() and (room[shift + raw.size :] == -7).all()


def test_threshold_gain_is_agipds_formula(target: Target) -> None:
    """g = (digital > t0) + (digital > t1), (analog - offset[g, cell]) / gain[g, cell], written as loops over pixels; other detectors are refused."""
    rng = np.random.default_rng(8)
    cells, frame = 3, (2, 4, 8)
    offset, slope = rng.normal(4000, 200, (3, cells, *frame)).astype(np.float32), rng.normal(10, 1, (3, cells, *frame)).astype(np.float32)
    threshold = np.sort(rng.integers(5000, 8000, (2, cells, *frame)), axis=0).astype(np.float32)
    raw, cell = rng.integers(0, 0x4000, (5, 2, 2, 4, 8), dtype=np.uint16), np.array([2, 0, 1, 1, 2], np.uint16)
    op = ThresholdGain(offset, slope, threshold=threshold, cells=cells, gain_stage=True)
    energy, stage = (target.get(a) for a in op(target.put(raw), target.put(cell), backend=target.backend.name))
    for f, p, r, c in np.ndindex(5, *frame):
        analog, digital, at = float(raw[f, p, 0, r, c]), float(raw[f, p, 1, r, c]), (cell[f], p, r, c)
        g = int(digital > threshold[0][at]) + int(digital > threshold[1][at])
        assert stage[f, p, r, c] == g
        assert energy[f, p, r, c] == pytest.approx((analog - offset[g][at]) / slope[g][at], rel=1e-6)
    for make, words in ((lambda: Gain(offset, slope, detector="agipd1M", cells=cells), "use calib.threshold_gain"),
                        (lambda: ThresholdGain(offset, slope, detector="jungfrau", cells=cells, threshold=threshold), "use calib.gain"),
                        (lambda: ThresholdGain(offset, slope, threshold=threshold[::-1], cells=cells), "must ascend"),
                        (lambda: ThresholdGain(offset, slope, threshold=threshold[:1], cells=cells), "one less than the detector's stages")):
        with pytest.raises(ValueError, match=words):
            make()


def test_packed_words_of_the_epixuhr(target: Target) -> None:
    """12 bits a word, the lowest of them the gain, 11 of them the adc: packed here bit by bit."""
    rng = np.random.default_rng(9)
    kind = DETECTORS["epixuhr3x2_packed"]
    words = rng.integers(0, 4096, (2, *kind.shape))
    bits = (words[..., None] >> np.arange(12) & 1).reshape(*words.shape[:-1], -1, 8)
    raw = (bits << np.arange(8)).sum(-1).astype(np.uint8)
    pedestal, slope = rng.normal(300, 20, (2, *kind.shape)).astype(np.float32), rng.normal(2, 0.1, (2, *kind.shape)).astype(np.float32)
    energy = target.get(Gain(pedestal, slope, detector=kind)(target.put(raw), backend=target.backend.name))
    switched = words & 1
    want = (words // 2 - np.where(switched, pedestal[1], pedestal[0]).astype(np.float64)) / np.where(switched, slope[1], slope[0])
    assert np.allclose(energy, want, rtol=1e-6, atol=1e-5)
