"""The whole chain of calibration against float64 arithmetic written here, step by step. Over 200 lines: each step needs a chain of its own."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Target

from gpuredux.calib import Breakpoint, Calibrate, CommonMode, Constants, Gain, LookUp, Photons, Polynomial, Recursive, SharedPhotons, Stencil, assembly
from gpuredux.calib.counts import dead_time_table
from gpuredux.calib.dark_status import DarkStatus
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.detectors import DETECTORS
from gpuredux.simulate import Simulation
from gpuredux.status import Pixel

SIM = Simulation(shape=(2, 32, 48), seed=5, dead_gain=0.0, dead=0.01, lost_packets=0.3, peaks_per_hit=4, hit_fraction=0.7)
RAW, TRUTH = SIM.frames(0, 6)
KIND = replace(DETECTORS["jungfrau1M"], shape=SIM.shape)
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
    return made(target, op, **{"raw": RAW, "frame_status": np.zeros(len(RAW), np.uint32), **more})


def made(target: Target, op: Calibrate, **given: np.ndarray) -> dict[str, np.ndarray]:
    """Every output by its name; on every backend the bytes that numpy writes."""
    out = op(**{k: target.put(v) for k, v in given.items()}, backend=target.backend.name)
    found = {k: target.get(v) for k, v in (out._asdict() if hasattr(out, "_asdict") else {op.keep[0]: out}).items()}
    with np.errstate(all="ignore"):
        again = op(**given, backend="numpy")
    for k, v in (again._asdict() if hasattr(again, "_asdict") else {op.keep[0]: again}).items():
        assert np.array_equal(np.ascontiguousarray(found[k]).view(np.uint8), np.ascontiguousarray(v).view(np.uint8)), k
    return found


def test_the_gain_alone_with_planes_folded_in(target: Target) -> None:
    adu, stage, good = decoded()
    op = Calibrate(KIND, SETS, divide=[FLAT, 9.5], status=True, bad_value=np.nan)
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
    op = Calibrate(KIND, SETS, nonlinearity=Polynomial(bend), common_mode=cm, divide=[FLAT], bad_value=np.nan, status_count=True)
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
    out = run(target, Calibrate(KIND, SETS, variance=9.5))
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


def linear(panels: int, side: int) -> tuple[Any, dict[str, Any]]:
    """A detector without gain stages whose adc - pedestal is energy / 0.5, and its constants."""
    shape = (panels, side, side)
    kind = replace(DETECTORS["epix100"], shape=shape, segments=())
    noise = np.random.default_rng(8).uniform(5, 15, (1, *shape))
    return kind, {"pedestal": np.full((1, *shape), 1000.0), "gain": np.full((1, *shape), 2.0), "noise": noise}


def beside(panels: int, side: int, shift: float = 0.0, gap: int = 4) -> Geometry:
    """Panels side by side in pixels of size 1, moved by a part of a pixel."""
    step = side + gap
    return Geometry([Panel(f"p{k}", np.array([k * step + shift, shift, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (side, side), segment=k)
                     for k in range(panels)])


BENT = {    # f, adc - pedestal to linear adc, and its inverse, written here
    "polynomial": (lambda s: Polynomial(np.stack([np.zeros((1, *s)), np.ones((1, *s)), np.full((1, *s), 2e-3)], axis=1)),
                   lambda y: (np.sqrt(1 + 8e-3 * y) - 1) / 4e-3),
    "breakpoint": (lambda s: Breakpoint(*(np.full((1, *s), v) for v in (100.0, 1.0, 3.0))), lambda y: np.where(y <= 100, y, 100 + (y - 100) / 3)),
    "look_up": (lambda s: LookUp(np.array([[[0.0, 200.0, 1000.0, 3000.0]]]), np.zeros(s, np.uint8), step=200.0),
                lambda y: np.interp(y, [0, 200, 1000, 3000], [0, 200, 400, 600])),
}


@pytest.mark.parametrize("curve", BENT)
@pytest.mark.parametrize("photon", [False, 30.0])
def test_variance_through_a_nonlinearity_is_the_scatter_of_frames(target: Target, curve: str, photon: Any) -> None:
    """3,000 frames: the noise of the electronics is stretched by the slope, that of photons is not, for it was there before the detector bent it."""
    kind, sets = linear(1, 12)
    make, back = BENT[curve]
    rng = np.random.default_rng(9)
    light = rng.poisson(12, (3000, *kind.shape)) * photon if photon else np.full((3000, *kind.shape), 300.0)     # energy
    adc = back(2 * light)
    raw = np.rint(1000 + adc + rng.normal(0, 1, adc.shape) * sets["noise"]).astype(np.uint16)
    op = Calibrate(kind, sets, nonlinearity=make(kind.shape), variance=photon or True)
    out = made(target, op, raw=raw)
    told, seen = out["variance"].astype(np.float64).mean(0), out["energy"].astype(np.float64).var(0)
    assert np.abs(out["energy"].mean(0) / light.mean(0) - 1).max() < 0.02
    assert abs((told / seen).mean() - 1) < 0.015 and np.abs(told / seen - 1).max() < 0.15
    if not photon:
        bare = np.mean((sets["noise"] / 2) ** 2)
        assert told.mean() > 4 * bare, "the slope was 2 or more"


@pytest.mark.parametrize("way", ["map", "tiles", "split"])
def test_variance_of_an_image_is_the_scatter_of_frames(target: Target, way: str) -> None:
    """3,000 frames, two panels and a gap, of a nonlinear detector; split: each pixel of the image is the sum of parts of four."""
    kind, sets = linear(2, 12)
    adc = np.full((3000, *kind.shape), 250.0)
    raw = np.rint(1000 + adc + np.random.default_rng(10).normal(0, 1, adc.shape) * sets["noise"]).astype(np.uint16)
    make = {"map": assembly.by_map, "tiles": assembly.by_tiles, "split": assembly.by_split}[way]
    op = Calibrate(kind, sets, nonlinearity=BENT["polynomial"][0](kind.shape), variance=True, assemble=make(beside(2, 12, 0.5 if way == "split" else 0.0)))
    out = made(target, op, raw=raw)
    assert out["variance"].shape == out["image"].shape
    gap = np.isnan(out["image"][0])
    assert np.array_equal(np.isnan(out["variance"]), np.broadcast_to(gap, out["variance"].shape)) and gap.any() and not gap.all()
    told, seen = (out["variance"].astype(np.float64).mean(0)[~gap], out["image"].astype(np.float64).var(0)[~gap])
    assert abs((told / seen).mean() - 1) < 0.015 and np.abs(told / seen - 1).max() < 0.15
    one = ((1 + 4e-3 * 250) * 10 / 2) ** 2
    assert told.min() < one / 4 if way == "split" else told.mean() == pytest.approx(one, rel=0.1)      # sums of parts scatter less


def test_what_variance_does_not_know_it_refuses() -> None:
    kind, sets = linear(1, 24)
    bend, blur, split = BENT["polynomial"][0](kind.shape), Stencil(np.array([[0, 0.05, 0], [0.05, 0.8, 0.05], [0, 0.05, 0]])), assembly.by_split(beside(1, 24))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"photons": Photons(10.0)}, r"no variance is known of what comes out of calib\.photons"), ({"photons": SharedPhotons(10.0)}, r"calib\.shared_photons"),
        ({"nonlinearity": [bend, bend]}, "one nonlinearity"), ({"crosstalk": [blur, blur]}, "one step that mixes pixels"),
        ({"crosstalk": blur, "assemble": split}, "one step that mixes pixels"), ({"nonlinearity": blur}, r"no variance is known .* calib\.stencil"),
    ]
    for fields, words in cases:
        Calibrate(kind, sets, **fields)
        with pytest.raises(ValueError, match=words):
            Calibrate(kind, sets, variance=True, **fields)
    counter = replace(DETECTORS["eiger500K"], shape=(8, 16))
    table, step = dead_time_table(1e-6, 0.5)
    with pytest.raises(ValueError, match="before a dead time"):
        Calibrate(counter, {"table": table, "table_step": step}, variance=True)


@pytest.mark.parametrize("photons", [Photons(8.0), Photons(8.0, dtype="int32"), Photons(8.0, dtype="uint8"), SharedPhotons(8.0), Photons(8.0, dtype="float32")],
                         ids=lambda op: f"{op.name}-{op.dtype}")
def test_an_image_of_photons_is_of_photons(target: Target, photons: Any) -> None:
    """By map and by tiles: whole numbers of their dtype at their places, saturation too; gaps and what is no measurement by image_status."""
    adu, stage, good = decoded()
    with np.errstate(divide="ignore", invalid="ignore"):
        want = np.floor(adu / gain_at(stage) / 8.0 + (0.5 if isinstance(photons, Photons) else 0))
    top = {"uint16": 2**16 - 1, "int32": 2**31 - 1, "uint8": 255, "float32": 2**24}[photons.dtype]
    flat = Geometry([Panel(f"{p}", np.array([60.0 * p, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (32, 48), segment=p) for p in range(2)])
    for make in (assembly.by_map, assembly.by_tiles):
        op = Calibrate(KIND, SETS, photons=photons, assemble=make(flat), status_count=True)
        out = run(target, op)
        image, status = out["image"], out["image_status"]
        assert image.dtype == photons.dtype and image.shape == (6, 32, 108) and op.titles[1:3] == (photons.name, "calib.assemble")
        assert (status[:, :, 48:60] == Pixel.GAP).all() and not (status[:, :, :48] & Pixel.GAP).any()
        fill = image[:, :, 48:60]
        assert np.isnan(fill).all() if photons.dtype == "float32" else not fill.any()
        for p, cols in enumerate((slice(0, 48), slice(60, 108))):
            here, marks, use = image[:, :, cols].astype(np.float64), status[:, :, cols], good[:, p] & (want[:, p] < top)
            assert np.array_equal(marks == 0, use | (good[:, p] & (here < top)))
            saturated = (marks == Pixel.SATURATED)
            assert np.array_equal(saturated[good[:, p]], (want[:, p] >= top)[good[:, p]]) and (here[saturated] == top).all()
            off = here[use] - np.maximum(want[:, p], 0 if photons.dtype[0] == "u" else -np.inf)[use]
            assert ((off == 0) | ((off == 1) & isinstance(photons, SharedPhotons))).mean() > 0.9999       # a rounding at a half may differ
        counted = [[(out["image_status"][f] & (1 << b) > 0).sum() for b in range(8)] for f in range(6)]
        assert np.array_equal(out["image_status_count"], counted) and np.array_equal(np.array(counted)[:, 5], [32 * 12] * 6)
    with pytest.raises(ValueError, match="a photon is whole and cannot be split"):
        Calibrate(KIND, SETS, photons=photons, assemble=assembly.by_split(flat))


def test_photons_come_with_their_status(target: Target) -> None:
    """Whole numbers have no NaN; what photons saturate is counted with what the source saw, in one pass on a device."""
    adu, stage, good = decoded()
    op = Calibrate(KIND, SETS, photons=Photons(1.0, dtype="uint8"), status_count=True)
    out = run(target, op)
    with np.errstate(divide="ignore", invalid="ignore"):
        over = good & (adu / gain_at(stage) >= 255.5)
    assert over.sum() > 20 and (np.abs((out["pixel_status"][good] == Pixel.SATURATED).sum(dtype=int) - over.sum()) <= 1)
    assert np.array_equal(out["pixel_status"][~good] > 0, np.ones((~good).sum(), bool))
    counted = [[(out["pixel_status"][f] & (1 << b) > 0).sum() for b in range(8)] for f in range(6)]
    assert np.array_equal(out["status_count"], counted) and out["status_count"][:, 1].sum() >= over.sum() - 1
    assert np.array_equal(out["frame_status"] & 2 > 0, out["status_count"][:, 1] > 0)


def test_nothing_is_a_silent_number(target: Target) -> None:
    """NaN and zero gain, Inf pedestal, codes that are no measurement: NaN by default, and 0 only where it was asked for."""
    sets = {k: v.astype(np.float64) for k, v in SETS.items()}
    sets["gain"][:, 0, 0, :3], sets["pedestal"][:, 0, 0, 3] = np.array([np.nan, 0, np.inf]), np.inf
    raw = np.full((1, *SIM.shape), 3000, np.uint16)
    raw[0, 1, 0, :4] = 0xC000, 0xFFFF, 0x8001, 0x4000
    bad = np.zeros(SIM.shape, bool)
    bad[0, 0, :4] = bad[1, 0, :4] = True
    bad |= SIM.gain[0] == 0
    bend = Polynomial(np.stack([np.zeros((3, *SIM.shape)), np.ones((3, *SIM.shape))], axis=1))
    for fields in ({}, {"common_mode": CommonMode(BANK, ("rows",), statistic="mean_below")}, {"nonlinearity": bend},
                   {"crosstalk": Stencil(np.array([[0.0, 0.01, 0], [0.01, 0.96, 0.01], [0, 0.01, 0]]))}):
        energy = run(target, Calibrate(KIND, sets, **fields), raw=raw, frame_status=np.zeros(1, np.uint32))["energy"][0]
        assert np.array_equal(np.isnan(energy), bad), fields
    flat = Geometry([Panel(f"{p}", np.array([60.0 * p, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (32, 48), segment=p) for p in range(2)])
    for make in (assembly.by_map, assembly.by_tiles, assembly.by_split):
        image = run(target, Calibrate(KIND, sets, assemble=make(flat)), raw=raw, frame_status=np.zeros(1, np.uint32))["image"][0]
        assert np.array_equal(np.isnan(image), np.concatenate([bad[0], np.ones((32, 12), bool), bad[1]], axis=1)), make.__name__
    zero = run(target, Calibrate(KIND, sets, bad_value=0.0), raw=raw, frame_status=np.zeros(1, np.uint32))["energy"][0]
    assert (zero[bad] == 0).all() and not np.isnan(zero).any()


def test_what_is_one_pass_on_a_device(device_target: Target) -> None:
    """However many steps: source, curve, common mode, photons and image share a pass, and variances and marks beside them."""
    flat = [Panel(f"{p}", np.array([60.0 * p, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (32, 48), segment=p) for p in range(2)]
    image, cm, bend = assembly.by_map(Geometry(flat)), CommonMode(bank=BANK), np.stack([np.zeros((3, *SIM.shape)), np.ones((3, *SIM.shape))], axis=1)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["calib.gain"]), ({"assemble": image}, ["calib.gain + calib.assemble"]), ({"common_mode": cm}, ["calib.gain + calib.common_mode"]),
        ({"nonlinearity": Polynomial(bend)}, ["calib.gain + calib.polynomial + calib.scale"]),
        ({"nonlinearity": Polynomial(bend), "common_mode": cm}, ["calib.gain + calib.polynomial + calib.common_mode"]),
        ({"nonlinearity": Polynomial(bend), "assemble": image}, ["calib.gain + calib.polynomial + calib.scale + calib.assemble"]),
        ({"variance": True}, ["calib.gain + calib.variance"]), ({"photons": Photons(8.0)}, ["calib.gain + calib.photons"]),
        ({"photons": Photons(8.0), "assemble": image}, ["calib.gain + calib.photons + calib.assemble"]),
        ({"common_mode": cm, "assemble": image}, ["calib.gain + calib.common_mode + calib.assemble"]),
        ({"common_mode": cm, "nonlinearity": Polynomial(bend), "photons": Photons(8.0), "assemble": image, "divide": [2.0], "status": True},
         ["calib.gain + calib.polynomial + calib.common_mode + calib.photons + calib.assemble"]),
        ({"common_mode": cm, "variance": True, "status": True}, ["calib.gain + calib.common_mode + calib.variance"]),
        ({"photons": Photons(8.0), "status_count": True}, ["calib.gain + calib.photons", "calib.status_count"]),
        ({"variance": 8.0, "nonlinearity": Polynomial(bend), "assemble": image},       # the slope is an array
         ["calib.gain + calib.polynomial", "calib.gain + calib.polynomial + calib.scale + calib.assemble",
          "calib.gain + calib.polynomial + calib.scale + calib.variance + calib.assemble"]),
    ]
    for fields, passes in cases:
        op = Calibrate(KIND, SETS, **fields)
        inputs = {"raw": device_target.put(RAW), "frame_status": device_target.put(np.zeros(6, np.uint32))}
        assert [p.ops for p in op.plan(**inputs).passes] == passes
        got, want = run(device_target, op), op(RAW, frame_status=np.zeros(6, np.uint32), backend="numpy")._asdict()
        assert all(np.array_equal(got[k].view(np.uint8), np.ascontiguousarray(want[k]).view(np.uint8)) for k in want), passes


def test_it_is_an_op(target: Target) -> None:
    op = Calibrate(KIND, SETS, common_mode=CommonMode(bank=BANK, report=True))
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
    want = np.where(arrays["good"][1], (raw[0, 0].astype(np.float64) - arrays["pedestal"][0, 1]) / 41, np.nan)
    assert np.allclose(out[0, 0], want, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_constants_go_to_their_segments(target: Target) -> None:
    """By id, whatever their order and how many more the set has; what is missing is said at once."""
    shape = (512, 1024)
    held = Constants("jungfrau4M", segments=(1, 6), shape=(2, *shape), gain=np.ones((3, 2, *shape), np.float32),
                     pedestal=np.broadcast_to(np.array([100, 900], np.float32)[:, None, None], (3, 2, *shape)), noise=np.ones((3, 2, *shape), np.float32))
    every = Constants("jungfrau4M", gain=np.ones((3, 8, *shape), np.float32), noise=np.ones((3, 8, *shape), np.float32),
                      pedestal=np.broadcast_to(np.array([0, 100, 0, 0, 0, 0, 900, 0], np.float32)[:, None, None], (3, 8, *shape)))
    raw = np.full((1, 2, *shape), 1000, np.uint16)
    for constants in (held, every):
        op = Calibrate(DETECTORS["jungfrau4M"].select([6, 1]), constants)
        out = op(target.put(raw), backend=target.backend.name)
        assert target.get(out.energy)[0, :, 0, 0].tolist() == [100, 900]
    with pytest.raises(ValueError, match=r"the constants lack \[3\]: they hold \(1, 6\)"):
        Calibrate(DETECTORS["jungfrau4M"].select([6, 3]), held)
    with pytest.raises(ValueError, match=r"the constants lack \[0, 2, 3, 4, 5, 7\]"):
        Calibrate("jungfrau4M", held)


@pytest.mark.parametrize(("fields", "words"), [
    ({"constants": {"pedestal": np.zeros((3, 1, 32, 48)), "gain": np.ones((3, 1, 32, 48))}}, r"the frames of pedestal are \(1, 32, 48\)"),
    ({"constants": {**SETS, "noise": SIM.noise[:, :1]}}, r"the frames of noise are \(1, 32, 48\)"),
    ({"constants": {**SETS, "detector": "jungfrau4M"}}, "these are constants of jungfrau4M"),
    ({"detector": DETECTORS["jungfrau1M"]}, r"has frames \(2, 512, 1024\), the frames of pedestal are \(2, 32, 48\)"),
    ({"good": np.ones((32, 48), bool)}, "good must be bool"), ({"assemble": assembly.by_map(beside(3, 32))}, "the geometry of the image has"),
    ({"detector": replace(DETECTORS["jungfrau1M"], shape=(2, 16, 16)),
      "constants": Constants("jungfrau1M", shape=SIM.shape, pedestal=SIM.pedestal, gain=SIM.gain)},
     r"the frames of constants are \(2, 32, 48\)"),
])
def test_frames_that_do_not_fit(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Calibrate(**{"detector": KIND, "constants": SETS, **fields})


def test_status_bits_of_a_dark_run_are_chosen_by_name(target: Target) -> None:
    shape = (512, 1024)
    status = np.zeros((3, *shape), np.uint16)
    status[0, 0, 0], status[0, 0, 1], status[1, 0, 2] = (DarkStatus[k] for k in ("NOISE_HIGH", "RANDOM_TELEGRAPH", "NOISE_HIGH"))
    ones = np.ones((3, *shape), np.float32)
    held = Constants("jungfrau", pedestal=ones * 3000, gain=ones * 41, status=status, flags="DarkStatus", shape=shape)
    raw = np.full((2, *shape), 3041, np.uint16)         # all in gain stage 0
    op = Calibrate(held.kind, held, bad=["NOISE_HIGH"])
    energy = target.get(op(target.put(raw), backend=target.backend.name).energy)[1]
    assert np.isnan(energy[0, 0]) and np.allclose(energy.reshape(-1)[1:], 1)


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


def cells_of_three_stages() -> tuple[Any, dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """AGIPD with two cells and words of all three stages: detector, constants, raw, cell and stage."""
    rng, cells, shape = np.random.default_rng(6), 2, (1, 16, 16)
    kind = replace(DETECTORS["agipd1M"], shape=shape, segments=())
    per_cell = (3, cells, *shape)
    sets = {"pedestal": rng.normal(4000, 50, per_cell).astype(np.float32), "gain": rng.uniform(6, 9, per_cell), "noise": rng.uniform(5, 15, per_cell),
            "cells": cells, "threshold": np.stack([np.full((cells, *shape), t) for t in (5000.0, 7000.0)])}
    stage = rng.choice([0, 0, 0, 1, 2], (4, *shape))
    raw = np.stack([rng.integers(4100, 4400, stage.shape), np.array([4500, 6000, 8000])[stage]], axis=2).astype(np.uint16)
    return kind, sets, raw, np.array([0, 1, 1, 0], np.uint16), stage


def at(planes: np.ndarray, stage: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """planes (3, cells, *frame) of each pixel's stage and frame's cell, in float64."""
    return np.take_along_axis(np.asarray(planes, np.float64)[:, cell], stage[None], axis=0)[0]


def test_memory_cells_and_what_asks_for_the_gain_stage(target: Target) -> None:
    kind, sets, raw, cell, stage = cells_of_three_stages()
    energy = (raw[:, :, 0] - at(sets["pedestal"], stage, cell)) / at(sets["gain"], stage, cell)
    mode = CommonMode(bank=(16, 16), steps=("bank",), exclude_stages=(1, 2), statistic="mean_below")
    got = made(target, Calibrate(kind, sets, common_mode=mode), raw=raw, cell=cell)["energy"]
    want = np.stack([np.where(s == 0, e - np.mean(e[s == 0]), e) for e, s in zip(energy, stage, strict=True)])
    assert np.allclose(got, want, rtol=1e-5, atol=1e-4)
    factor = np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1)
    bend = Polynomial(np.stack([np.zeros((3, *kind.shape)), np.broadcast_to(factor, (3, *kind.shape))], axis=1))
    got = made(target, Calibrate(kind, sets, nonlinearity=bend), raw=raw, cell=cell)["energy"]
    assert np.allclose(got, energy * (stage + 1), rtol=1e-5, atol=1e-4)
    for fields, rise in (({}, 1.0), ({"nonlinearity": bend}, stage + 1.0)):
        out = made(target, Calibrate(kind, sets, variance=3.0, **fields), raw=raw, cell=cell)
        want = (at(sets["noise"], stage, cell) / at(sets["gain"], stage, cell) * rise) ** 2 + 3 * np.maximum(energy, 0) * rise
        assert np.allclose(out["variance"], want, rtol=1e-4)
    lost = made(target, Calibrate(kind, sets, variance=True), raw=raw, cell=np.array([0, 2, 1, 65535], np.uint16))
    assert np.array_equal(np.isnan(lost["variance"]).all((1, 2, 3)), [False, True, False, True])
    assert np.array_equal(np.isnan(lost["energy"]), np.isnan(lost["variance"]))


@pytest.mark.parametrize(("fields", "words"), [
    ({"constants": {"pedestal": SIM.pedestal}}, "constants lack gain"), ({"bad": ("dead",)}, "bad names bits of a set's status"),
    ({"variance": True, "constants": {k: SETS[k] for k in ("pedestal", "gain")}}, "needs the noise"), ({"divide": [np.ones((3, 3))]}, "a factor must be"),
    ({"common_mode": CommonMode(bank=BANK, gain=np.ones((3, *SIM.shape)))}, "give common_mode without gain"),
    ({"invalid": "raise"}, "good pixels have a gain that is NaN, Inf or 0"), ({"detector": "jungfrau9000"}, "unknown"),
    ({"bad_value": 3.0}, "bad_value must be"),
])
def test_what_it_refuses(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Calibrate(**{"detector": KIND, "constants": SETS, **fields})


def test_pedestals_alone_are_updated(target: Target) -> None:
    """A gain is folded with divide, a factor with others: a new one would undo what was folded in."""
    shape = (1, 512, 1024)
    arrays = {"pedestal": np.full((3, *shape[1:]), 3000.0), "gain": np.full((3, *shape[1:]), 40.0)}
    raw = target.put(np.full(shape, 3400, np.uint16))
    plan = Calibrate("jungfrau", arrays, divide=[2.0]).plan(raw, backend=target.backend.name)
    with pytest.raises(ValueError, match="gain cannot be updated"):
        plan.update(gain=arrays["gain"])
    plan.update(pedestal=arrays["pedestal"] + 80)
    out = plan(raw)
    assert np.allclose(target.get(getattr(out, "energy", out)), (3400 - 3080) / 40 / 2)


def test_the_noise_of_a_set_in_another_order(target: Target) -> None:
    shape, per = (512, 1024), np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    ones = np.ones((3, *shape))
    held = {"pedestal": ones * 100 * per, "gain": ones, "noise": ones * per}
    raw = target.put(np.full((1, *shape), 300, np.uint16))
    want = Calibrate("jungfrau", Constants("jungfrau", **held), variance=True)(raw, backend=target.backend.name)
    turned = Constants("jungfrau", planes=("G2", "G1", "G0"), **{k: a[::-1] for k, a in held.items()})
    made = Calibrate("jungfrau", turned, variance=True)(raw, backend=target.backend.name)
    assert target.get(want.variance)[0, 0, 0] == 1 and target.get(made.variance).tobytes() == target.get(want.variance).tobytes()


def test_a_masked_array_is_no_constant() -> None:
    ones = np.ones((3, 512, 1024))
    with pytest.raises(TypeError, match="pedestal is a masked array"):
        Gain(np.ma.array(ones, mask=True), ones, detector="jungfrau")
