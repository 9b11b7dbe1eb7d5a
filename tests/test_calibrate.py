"""The whole chain of calibration against float64 arithmetic written here, step by step. Over 200 lines: each step needs a chain of its own."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Target

from gpuredux.calib import Calibrate, CommonMode, Constants, Polynomial, Recursive, Stencil, assembly
from gpuredux.calib.counts import dead_time_table
from gpuredux.calib.dark_status import DarkStatus
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.detectors import DETECTORS
from gpuredux.simulate import Simulation
from gpuredux.status import Pixel

SIM = Simulation(shape=(2, 32, 48), seed=5, dead_gain=0.0, dead=0.01, lost_packets=0.3, peaks_per_hit=4, hit_fraction=0.7)
RAW, TRUTH = SIM.frames(0, 6)
BANK = (16, 24)
SETS = {"pedestal": SIM.pedestal, "gain": SIM.gain, "noise": SIM.noise}
FLAT = np.random.default_rng(1).normal(1, 0.05, SIM.shape)


def decoded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """adc - pedestal in float64, the gain stage, and whether a pixel is a measurement: written anew from the format."""
    stage = np.array([0, 1, 9, 2])[RAW >> 14]
    good = (stage < 9) & (RAW != 0xC000) & (RAW != 0xFFFF) & (RAW != 0x4000) & (SIM.gain[0] != 0)
    stage = np.where(stage == 9, 0, stage)
    take = np.take_along_axis(SIM.pedestal.astype(np.float64)[:, None], stage[None], axis=0)[0]
    return (RAW & 0x3FFF) - take, stage, good


def gain_at(stage: np.ndarray) -> np.ndarray:
    return np.take_along_axis(SIM.gain.astype(np.float64)[:, None], stage[None], axis=0)[0]


def minus_common_mode(x: np.ndarray, used: np.ndarray) -> np.ndarray:
    """bank, rows, columns: masked medians, as NumPy takes them."""
    x = np.where(used, x, np.nan)
    for f in range(len(x)):
        for p in range(2):
            for r in range(0, 32, 16):
                for c in range(0, 48, 24):
                    bank = x[f, p, r : r + 16, c : c + 24]
                    bank -= np.nanmedian(bank)
                    bank -= np.nanmedian(bank, axis=1, keepdims=True)
                    bank -= np.nanmedian(bank, axis=0, keepdims=True)
    return x


def run(target: Target, op: Calibrate, **more: Any) -> Any:
    given = {"raw": RAW, "frame_status": np.zeros(len(RAW), np.uint32), **more}
    out = op(**{k: target.put(v) for k, v in given.items()}, backend=target.backend.name)
    return {k: target.get(v) for k, v in out._asdict().items()}


def test_the_gain_alone_with_planes_folded_in(target: Target) -> None:
    adu, stage, good = decoded()
    op = Calibrate("jungfrau1M", SETS, divide=[FLAT, 9.5], status=True, bad_value=np.nan)
    assert op.titles == ("calib.gain",)
    out = run(target, op)
    with np.errstate(divide="ignore"):
        want = np.where(good, adu / gain_at(stage) / FLAT / 9.5, np.nan)
    assert np.allclose(out["energy"], want, rtol=3e-6, atol=1e-6, equal_nan=True)
    assert np.array_equal(out["pixel_status"] == 0, good)
    assert np.array_equal(out["pixel_status"] == Pixel.BAD_CONSTANT, (SIM.gain[0] == 0) & (TRUTH.status == 0))


def test_every_step_in_its_place(target: Target) -> None:
    """Nonlinearity in ADU, then the common mode in ADU, then the gain of each pixel's stage and the flat field."""
    adu, stage, good = decoded()
    bend = np.zeros((3, 3, *SIM.shape))
    bend[:, 1], bend[0, 2] = 1, 1e-6
    cm = CommonMode(bank=BANK, exclude_stages=(1, 2), npix_min=3)
    op = Calibrate("jungfrau1M", SETS, nonlinearity=Polynomial(bend), common_mode=cm, divide=[FLAT], bad_value=np.nan, status_count=True)
    assert op.titles == ("calib.gain", "calib.status_count", "calib.polynomial", "calib.common_mode")
    out = run(target, op)
    x = adu + np.where(stage == 0, 1e-6, 0) * adu**2
    used = good & (stage == 0)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):      # rows that lost packets have no median
        x = np.where(used, minus_common_mode(x, used), x)
    with np.errstate(divide="ignore"):
        want = np.where(good, x / gain_at(stage) / FLAT, np.nan)
    scale = np.abs(want[good]).max()
    assert np.allclose(out["energy"], want, rtol=1e-5, atol=1e-6 * scale / 100, equal_nan=True)
    counted = [[(TRUTH.status[f] == bit).sum() for bit in (1, 2, 4)] for f in range(6)]
    assert np.array_equal(out["status_count"][:, :3], counted)
    assert (out["status_count"][:, 4] > 0).all() and not out["status_count"][:, [3, 5, 6, 7]].any()


def test_variance_of_noise_and_photons(target: Target) -> None:
    adu, stage, good = decoded()
    out = run(target, Calibrate("jungfrau1M", SETS, variance=9.5))
    noise = np.take_along_axis(SIM.noise.astype(np.float64)[:, None], stage[None], axis=0)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        energy = adu / gain_at(stage)
        want = (noise / gain_at(stage)) ** 2 + np.maximum(energy, 0) * 9.5
    assert np.allclose(out["variance"][good], want[good], rtol=1e-5) and np.isnan(out["variance"][~good]).all()


def test_variance_through_crosstalk_is_the_scatter_of_frames(target: Target) -> None:
    """4,000 frames of independent noise, 3 % of each pixel taken out of its neighbours: their scatter is the variance that comes out, to 10 %."""
    rng, shape = np.random.default_rng(7), (1, 24, 24)
    noise = rng.uniform(5, 60, (1, *shape))
    kind = replace(DETECTORS["epix100"], shape=shape, segments=())
    weights = np.array([[0.01, 0.03, 0.01], [0.03, 0.84, 0.03], [0.01, 0.03, 0.01]])
    raw = np.rint(1000 + rng.normal(0, 1, (4000, *shape)) * noise[0]).astype(np.uint16)
    for crosstalk in (Stencil(weights), Stencil(weights, solve=True)):
        op = Calibrate(kind, {"pedestal": np.full((1, *shape), 1000.0), "gain": np.full((1, *shape), 2.0), "noise": noise}, crosstalk=crosstalk, variance=True)
        out = {k: target.get(v) for k, v in op(target.put(raw), backend=target.backend.name)._asdict().items()}
        inner = (slice(None), 0, slice(4, -4), slice(4, -4))
        told, seen = out["variance"][0][inner[1:]], out["energy"].astype(np.float64)[inner].var(axis=0)
        assert np.abs(told / seen - 1).max() < 0.12 and abs((told / seen).mean() - 1) < 0.01, crosstalk.solve
    with pytest.raises(ValueError, match=r"no variance is known of what comes out of calib\.recursive"):
        Calibrate(kind, {"pedestal": np.ones((1, *shape)), "gain": np.ones((1, *shape)), "noise": noise}, crosstalk=Recursive((0.1,)), variance=True)


def test_what_is_one_pass_on_a_device(device_target: Target) -> None:
    """However many steps: source, curve and common mode share a pass; so do source and image."""
    flat = [Panel(f"{p}", np.array([60.0 * p, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (32, 48), segment=p) for p in range(2)]
    image, cm, bend = assembly.by_map(Geometry(flat)), CommonMode(bank=BANK), np.stack([np.zeros((3, *SIM.shape)), np.ones((3, *SIM.shape))], axis=1)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["calib.gain"]), ({"assemble": image}, ["calib.gain + calib.assemble"]), ({"common_mode": cm}, ["calib.gain + calib.common_mode"]),
        ({"nonlinearity": Polynomial(bend)}, ["calib.gain + calib.polynomial + calib.scale"]),
        ({"nonlinearity": Polynomial(bend), "common_mode": cm}, ["calib.gain + calib.polynomial + calib.common_mode"]),
        ({"nonlinearity": Polynomial(bend), "assemble": image}, ["calib.gain + calib.polynomial + calib.scale + calib.assemble"]),
    ]
    for fields, passes in cases:
        op = Calibrate("jungfrau1M", SETS, **fields)
        inputs = {"raw": device_target.put(RAW), "frame_status": device_target.put(np.zeros(6, np.uint32))}
        assert [p.ops for p in op.plan(**inputs).passes] == passes
        got, want = run(device_target, op), op(RAW, frame_status=np.zeros(6, np.uint32), backend="numpy")._asdict()
        assert all(np.array_equal(got[k].view(np.uint8), np.ascontiguousarray(want[k]).view(np.uint8)) for k in want), passes


def test_it_is_an_op(target: Target) -> None:
    op = Calibrate("jungfrau1M", SETS, common_mode=CommonMode(bank=BANK, report=True))
    again = pickle.loads(pickle.dumps(op))
    assert type(again) is Calibrate and again.digest() == op.digest() and again.titles == op.titles
    a, b = run(target, op), run(target, again)
    assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in ("energy", "common_mode", "frame_status"))


def test_a_set_of_constants_and_a_part_of_a_detector(target: Target) -> None:
    """Two modules of a 4M by their segment ids, with a mask, and offsets: the same as arrays by hand."""
    rng = np.random.default_rng(3)
    shape = (2, 512, 1024)
    arrays = {"pedestal": rng.normal(3000, 10, (3, *shape)).astype(np.float32), "gain": np.full((3, *shape), 41.0, np.float32), "good": rng.random(shape) > 0.1}
    held = Constants("jungfrau4M", segments=(6, 1), shape=shape, **arrays)
    raw = rng.integers(2900, 3100, (1, 1, *shape[1:]), dtype=np.uint16)
    part = held.select([1])
    op = Calibrate(part.kind, part)
    out = target.get(op(target.put(raw), backend=target.backend.name).energy)
    want = np.where(arrays["good"][1], (raw[0, 0].astype(np.float64) - arrays["pedestal"][0, 1]) / 41, 0)
    assert np.allclose(out[0, 0], want, rtol=1e-6, atol=1e-6)


def test_status_bits_of_a_dark_run_are_chosen_by_name(target: Target) -> None:
    shape = (512, 1024)
    status = np.zeros((3, *shape), np.uint16)
    status[0, 0, 0], status[0, 0, 1], status[1, 0, 2] = (DarkStatus[k] for k in ("NOISE_HIGH", "RANDOM_TELEGRAPH", "NOISE_HIGH"))
    ones = np.ones((3, *shape), np.float32)
    held = Constants("jungfrau", pedestal=ones * 3000, gain=ones * 41, status=status, flags="DarkStatus", shape=shape)
    raw = np.full((2, *shape), 3041, np.uint16)         # all in gain stage 0
    op = Calibrate(held.kind, held, bad=["NOISE_HIGH"])
    energy = target.get(op(target.put(raw), backend=target.backend.name).energy)[1]
    assert energy[0, 0] == 0 and np.allclose(energy.reshape(-1)[1:], 1)


def test_a_photon_counter(target: Target) -> None:
    """Gaps and saturation by their codes, dead time by formula, flat field; the photons of a count are its variance."""
    kind = replace(DETECTORS["eiger500K"], shape=(8, 16))
    raw = np.random.default_rng(4).integers(0, 60000, (3, 8, 16)).astype(np.uint32)
    raw[0, 0, :2] = 2**32 - 1, 2**32 - 2
    table, step = dead_time_table(1e-6, 0.5)
    flat = np.random.default_rng(5).normal(1, 0.1, (8, 16))
    op = Calibrate(kind, {"table": table, "table_step": step}, divide=[flat], bad_value=np.nan, status=True)
    out = {k: target.get(v) for k, v in op(target.put(raw), backend=target.backend.name)._asdict().items()}
    want = raw / (1 - raw * (1e-6 / 0.5)) / flat
    want[0, 0, :2] = np.nan
    assert np.allclose(out["energy"], want, rtol=1e-6, equal_nan=True)
    assert out["pixel_status"][0, 0, :3].tolist() == [Pixel.MASKED, Pixel.SATURATED, 0]
    both = Calibrate(kind, {"table": table, "table_step": step, "plane": 1 / flat}, divide=[np.float64(2)], bad_value=np.nan, status=True)
    assert np.allclose(target.get(both(target.put(raw), backend=target.backend.name).energy), want / 2, rtol=1e-6, equal_nan=True)
    with pytest.raises(ValueError, match="before they are divided"):
        Calibrate(kind, {"plane": flat}, variance=True)
    out = Calibrate(kind, {}, variance=True)(target.put(raw), backend=target.backend.name)
    assert np.array_equal(target.get(out.variance)[1:], raw[1:].astype(np.float32))
    with pytest.raises(ValueError, match="counts photons"):
        Calibrate(kind, {}, common_mode=CommonMode(bank=(8, 8)))


def test_memory_cells_with_a_common_mode(target: Target) -> None:
    """AGIPD: two images, constants of each cell, then the median of each ASIC in keV."""
    rng, cells = np.random.default_rng(6), 2
    kind = replace(DETECTORS["agipd1M"], shape=(1, 16, 16), segments=())
    sets = {"pedestal": rng.normal(4000, 50, (3, cells, 1, 16, 16)).astype(np.float32), "gain": np.full((3, cells, 1, 16, 16), 8.0), "cells": cells,
            "threshold": np.stack([np.full((cells, 1, 16, 16), t) for t in (5000.0, 7000.0)])}
    raw = np.stack([rng.integers(4000, 4400, (4, 1, 16, 16)), np.full((4, 1, 16, 16), 4500)], axis=2).astype(np.uint16)
    cell = np.array([0, 1, 1, 0], np.uint16)
    op = Calibrate(kind, sets, common_mode=CommonMode(bank=(8, 16), steps=("bank",)))
    energy = target.get(op(target.put(raw), target.put(cell), backend=target.backend.name).energy)
    want = (raw[:, :, 0] - sets["pedestal"][0][cell].astype(np.float64)) / 8
    for half in (slice(0, 8), slice(8, 16)):
        want[:, :, half] -= np.median(want[:, :, half], axis=(2, 3), keepdims=True)
    assert np.allclose(energy, want, atol=1e-4)


@pytest.mark.parametrize(("fields", "words"), [
    ({"constants": {"pedestal": SIM.pedestal}}, "constants lack gain"), ({"bad": ("dead",)}, "bad names bits of a set's status"),
    ({"variance": True, "constants": {k: SETS[k] for k in ("pedestal", "gain")}}, "needs the noise"), ({"divide": [np.ones((3, 3))]}, "a factor must be"),
    ({"common_mode": CommonMode(bank=BANK, gain=np.ones((3, *SIM.shape)))}, "give common_mode without gain"),
    ({"invalid": "raise"}, "good pixels have a gain that is NaN, Inf or 0"), ({"detector": "jungfrau9000"}, "unknown"),
    ({"bad_value": 3.0}, "bad_value must be"),
])
def test_what_it_refuses(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Calibrate(**{"detector": "jungfrau1M", "constants": SETS, **fields})
