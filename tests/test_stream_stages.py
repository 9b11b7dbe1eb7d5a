"""Stages of a run that calibrate beyond gain and common mode, against the library in numpy and against truths in float64. Over 200 lines: one subject."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - a stock reader: h5py finds the filter by this
import numpy as np
import pytest
from scipy import ndimage, signal
from test_stream_kit import built, config, content, parts, raw_file, run, said
from typer.testing import CliRunner

from gpuredux import backends
from gpuredux.calib import Breakpoint, Calibrate, CommonMode, Gain, LookUp, Photons, Polynomial, Recursive, Scale, SharedPhotons, Stencil, Variance
from gpuredux.calib.assembly import by_map
from gpuredux.calib.geometry import Geometry, Panel, write
from gpuredux.compress import Quantize, hdf5
from gpuredux.detectors import DETECTORS
from gpuredux.simulate import Simulation
from gpuredux.status import Pixel
from gpuredux.stream.cli import app
from gpuredux.stream.config import load
from gpuredux.stream.memory import memory
from gpuredux.stream.source_hdf5 import FromHdf5

SHAPE, N, ABS = (16, 32), 20, 0.01
RNG = np.random.default_rng(11)
PEDESTAL = np.stack([RNG.normal(p, 50, SHAPE) for p in (2900, 14500, 14900)]).astype(np.float32)
GAIN = np.stack([RNG.normal(g, abs(g) / 50, SHAPE) for g in (41.0, -1.4, -0.1)]).astype(np.float32)
NOISE = np.stack([RNG.uniform(k, 1.2 * k, SHAPE) for k in (20.0, 5.0, 5.0)]).astype(np.float32)
GOOD = RNG.random(SHAPE) > 0.05
FLAT = RNG.normal(1, 0.05, SHAPE)
ENERGY = RNG.uniform(0, 200, (N, *SHAPE))       # [keV], what a pixel got
CURVE = np.stack([np.full(SHAPE, 3.0), RNG.normal(1, 0.01, SHAPE), RNG.normal(1e-5, 1e-6, SHAPE)])[None].astype(np.float32)
KNEE = {"knee": RNG.uniform(3000, 5000, (1, *SHAPE)), "low": RNG.normal(1, 0.01, (1, *SHAPE)), "high": RNG.normal(1.5, 0.01, (1, *SHAPE))}
TABLE = (np.linspace(0, 9000, 33)[None] * np.array([[1.0], [1.1]]) + np.linspace(0, 30, 33) ** 2)[None].astype(np.float32)     # nodes each 256 ADU
WHICH = (np.arange(SHAPE[1]) >= 16).astype(np.uint8)[None].repeat(SHAPE[0], 0)
WEIGHTS = np.array([[0.005, 0.02, 0.005], [0.03, 1, 0.01], [0.005, 0.02, 0.005]])
PAST = np.array([0.03, 0.01, 0.0, 0.002])
TEXT = """\
version: 1
detectors:
  jf:
    type: jungfrau
    shape: [16, 32]
    pedestal: c.h5:/pedestal
    gain: c.h5:/gain
    good: c.h5:/good
source: {type: hdf5, detector: jf, files: [a.h5], raw: /raw}
stages:
  - {type: calib.gain, input: jf.raw}
"""
CODES = "  - {type: compress.quantize, abs: 0.01}\n"
VETO = "  - {type: veto.lit_pixels, threshold: 150.0, min_lit: 12, raw_every: 5}\n"
PACK = """\
  - {type: compress.bitshuffle_lz4}
sink: {type: hdf5, path: out, part_frames: 9}
run: {batch: 8, slots: 2, backend: numba}
"""
STAGES = {
    "polynomial": "  - {type: calib.polynomial, coefficients: c.h5:/curve}\n",
    "breakpoint": "  - {type: calib.breakpoint, knee: c.h5:/knee, low: c.h5:/low, high: c.h5:/high}\n",
    "look_up": "  - {type: calib.look_up, table: c.h5:/table, which: c.h5:/which, step: 256.0}\n",
    "stencil": "  - {type: calib.stencil, weights: c.h5:/weights, solve: true, asic: [16, 16]}\n",
    "recursive": "  - {type: calib.recursive, coefficients: [0.03, 0.01, 0, 0.002], axis: cols}\n",
    "photons": "  - {type: calib.photons, photon_energy: 9.5, dtype: DTYPE}\n",
    "shared": "  - {type: calib.shared_photons, photon_energy: 9.5, dtype: DTYPE}\n",
    "variance": "  - {type: calib.variance, quantum: 9.5}\n",
    "mode": "  - {type: calib.common_mode, bank: [8, 16], steps: [bank]}\n",
    "scale": "  - {type: calib.scale, divide: [c.h5:/flat, 9.5]}\n",
    "assemble": "  - {type: calib.assemble, geometry: x.geom}\n",
}
MODE = CommonMode((8, 16), ("bank",))
OPS: dict[str, Any] = {
    "polynomial": Polynomial(CURVE), "breakpoint": Breakpoint(**KNEE), "look_up": LookUp(TABLE, WHICH, step=256.0),
    "stencil": Stencil(WEIGHTS, asic=(16, 16), solve=True), "recursive": Recursive(PAST, axis="cols"),
}


def words_of(adu: np.ndarray, stage: Any = 0) -> np.ndarray:
    """The words of a detector that answers with so many ADU above its pedestal."""
    pedestal, bits = (np.choose(np.broadcast_to(stage, adu.shape), a) for a in (PEDESTAL, np.array([0x0000, 0x4000, 0xC000])))
    return (np.rint(adu + pedestal).clip(1, 0x3FFE).astype(np.uint16) | bits).astype(np.uint16)


def mixed_words() -> np.ndarray:
    """Frames in which pixels switch, saturate, send what is no word, or nothing; every third is dim, and none of its pixels switches."""
    rng = np.random.default_rng(3)
    stage, dim = rng.choice(3, (N, *SHAPE), p=[0.9, 0.08, 0.02]), np.arange(N) % 3 == 0
    stage[dim] = 0
    low = rng.uniform(300, 900, ENERGY.shape) * np.where(stage == 1, GAIN[1], GAIN[2])
    raw = words_of(np.where(stage == 0, ENERGY * GAIN[0] * np.where(dim, 0.4, 1)[:, None, None], low), stage)
    odd = rng.random(raw.shape)
    raw[odd < 0.01] = 0x8123
    raw[(odd > 0.01) & (odd < 0.02)] = 0xC000
    return raw


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Constants, the arrays of all stages, and a geometry of one panel with a margin at its left."""
    with h5py.File(tmp_path / "c.h5", "w") as f:
        for name, a in {"pedestal": PEDESTAL, "gain": GAIN, "noise": NOISE, "good": GOOD, "flat": FLAT, "curve": CURVE, **KNEE, "table": TABLE,
                        "which": WHICH, "weights": WEIGHTS, "small": FLAT[None, :8], "words": np.array([b"a", b"b"]), "long": WHICH.astype(np.int64)}.items():
            f[name] = a
    return tmp_path


def panels(folder: Path) -> Geometry:
    """Two panels of 8 rows, one above the other, with a gap of 3 rows."""
    steps = np.array([1e-4, 0, 0]), np.array([0, 1e-4, 0])
    found = Geometry([Panel(f"p{k}", np.array([-1e-3, y * 1e-4, 0.1]), *steps, (8, 32), segment=k) for k, y in enumerate((-9, 2))])
    write(found, folder / "x.geom")
    with h5py.File(folder / "c.h5", "r+") as f:
        for name in ("pedestal", "gain", "noise", "good"):
            a = f[name][...]
            del f[name]
            f[name] = a.reshape(*a.shape[:-2], 2, 8, 32)
    return found


def in_panels(text: str) -> str:
    return text.replace("type: jungfrau\n", "type: jungfrau1M\n").replace("[16, 32]", "[2, 8, 32]")


def configured(folder: Path, raw: np.ndarray, stages: str, text: str = TEXT, backend: str = "numba") -> Path:
    raw_file(folder / "a.h5", raw)
    return config(folder, (text + stages + PACK).replace("numba", backend).replace("part_frames: 9", f"part_frames: {9 if len(raw) < 100 else 99}"))


def done(folder: Path, raw: np.ndarray, *given: Any, to: str = "out", **more: Any) -> None:
    """A run that goes well, and that verify has nothing against."""
    summary = run(configured(folder, raw, *given, **more), folder / to)
    assert summary["exit"] == 0, summary["reason"]
    code, words = said(folder / to)
    assert code == 0 and "the account closes" in words, words


def stock(folder: Path, name: str = "data") -> tuple[np.ndarray, np.ndarray]:
    """Pulse ids and an array of all parts, as h5py reads them, without gpuredux."""
    ids, frames = [], []
    for path in parts(folder):
        with h5py.File(path, "r") as f:
            ids.append(f["entry/data/pulse_id"][...])
            frames.append(f[f"entry/data/{name}"][...])
    return np.concatenate(ids), np.concatenate(frames)


def by_hand(raw: np.ndarray, **more: Any) -> dict[str, np.ndarray]:
    """What the library makes of them, in numpy."""
    given = {"pedestal": PEDESTAL, "gain": GAIN, "good": GOOD, "noise": NOISE}
    frame = raw.shape[1:]
    given = {k: a.reshape(*a.shape[:-2], *frame) for k, a in given.items()}
    kind = replace(DETECTORS["jungfrau" if len(frame) == 2 else "jungfrau1M"], shape=frame)
    found: dict[str, np.ndarray] = Calibrate(kind, given, status=True, **more)(raw, backend="numpy")._asdict()
    return found


def on_opencl(folder: Path, *given: Any) -> None:
    """The same run there, and the same bytes."""
    if "cannot run" in backends.available()["opencl"][0]:
        pytest.skip(backends.available()["opencl"][0])
    done(folder, *given, to="opencl", backend="opencl")
    assert content(folder / "opencl") == content(folder / "out")


# ---------------------------------------------------------------------------------------------------------- nonlinearity and crosstalk
CASES = [
    (("polynomial",), {"nonlinearity": ["polynomial"]}), (("breakpoint", "mode"), {"nonlinearity": ["breakpoint"], "common_mode": MODE}),
    (("look_up", "polynomial", "scale"), {"nonlinearity": ["look_up", "polynomial"], "divide": [FLAT, 9.5]}), (("stencil",), {"crosstalk": ["stencil"]}),
    (("recursive", "stencil"), {"crosstalk": ["recursive", "stencil"]}),
    (("polynomial", "mode", "recursive"), {"nonlinearity": ["polynomial"], "common_mode": MODE, "crosstalk": ["recursive"]}),
]


@pytest.mark.parametrize("veto", ["", VETO], ids=["all", "veto"])
@pytest.mark.parametrize(("names", "more"), CASES, ids=["-".join(names) for names, _ in CASES])
def test_codes_are_those_of_the_library(place: Path, names: tuple[str, ...], more: dict[str, Any], veto: str) -> None:
    """In the library's order, words that are no measurement included; verify agrees."""
    raw = mixed_words()
    veto = veto.replace("150.0", "15.0") if "scale" in names else veto
    done(place, raw, "".join(STAGES[n] for n in names) + veto + CODES)
    out = by_hand(raw, **{k: [OPS[n] for n in v] if k in ("nonlinearity", "crosstalk") else v for k, v in more.items()})
    energy, status = out["energy"], out["pixel_status"]
    with np.errstate(invalid="ignore"):
        lit = ((energy > np.float32(15.0 if "scale" in names else 150.0)) & (status == 0)).sum((1, 2))
    ids, got = stock(place / "out")
    want = np.flatnonzero(lit >= 12) if veto else np.arange(N)
    assert ids.tolist() == want.tolist() and 4 < len(want) and (not veto or len(want) < N)
    assert np.array_equal(got, Quantize(abs=ABS)(energy, status, backend="numpy").code[want])
    assert {Pixel.MASKED, Pixel.INVALID_CODE, Pixel.SATURATED} <= set(np.unique(status).tolist())


def read_energy(folder: Path) -> np.ndarray:
    return np.concatenate([hdf5.read(p, "entry/data/data", masked=np.nan) for p in parts(folder)]).astype(np.float64)


@pytest.mark.parametrize("name", ["polynomial", "breakpoint", "look_up"])
def test_a_nonlinear_response_is_undone(place: Path, name: str) -> None:
    """Words of a response that the curve describes, inverted here in float64: energies are back to the rounding of the words."""
    x = ENERGY * GAIN[0]
    low, high, knee = (KNEE[k][0] for k in ("low", "high", "knee"))
    if name == "polynomial":
        c0, c1, c2 = CURVE[0].astype(np.float64)
        adu, steepest = (-c1 + np.sqrt(c1**2 - 4 * c2 * (c0 - x))) / (2 * c2), 1.3
    elif name == "breakpoint":
        adu, steepest = np.where(x <= low * knee, x / low, knee + (x - low * knee) / high), 1.6
    else:
        adu, steepest = np.stack([np.interp(x, TABLE[0, t].astype(np.float64), 256.0 * np.arange(33)) for t in (0, 1)]), 1.5
        adu = np.where(WHICH, adu[1], adu[0])
    assert np.abs(adu - x).max() > 100, "else nothing is to be undone"
    done(place, words_of(adu), STAGES[name] + CODES)
    energy = read_energy(place / "out")
    assert np.array_equal(np.isnan(energy), np.broadcast_to(~GOOD, energy.shape))
    inside = GOOD & (adu + PEDESTAL[0] < 0x3FFE)
    assert np.abs(energy - ENERGY)[inside].max() < ABS + (0.5 * steepest + 0.01) / 39


@pytest.mark.parametrize("name", ["stencil", "recursive"])
def test_crosstalk_is_taken_out(place: Path, name: str) -> None:
    """What SciPy mixes in float64 is undone; and with the stage's other direction put in."""
    with h5py.File(place / "c.h5", "r+") as f:
        f["good"][...] = True
    halves = [slice(0, 16), slice(16, 32)] if name == "stencil" else [slice(0, 32)]
    mixed = np.empty_like(ENERGY)
    for half in halves:
        e = ENERGY[..., half]
        mixed[..., half] = (np.stack([ndimage.correlate(k, WEIGHTS, mode="constant") for k in e]) if name == "stencil"
                            else signal.lfilter([1, *PAST], [1], e, axis=-1))
    assert np.abs(mixed - ENERGY).max() > 5
    done(place, words_of(mixed * GAIN[0]), STAGES[name] + CODES)
    assert np.abs(read_energy(place / "out") - ENERGY).max() < ABS + 1.2 * 0.51 / 38
    back = STAGES[name].replace("solve: true", "solve: false").replace("axis: cols", "axis: cols, fir: true")
    done(place, words_of(ENERGY * GAIN[0]), back + CODES, to="back")
    assert np.abs(read_energy(place / "back") - mixed).max() < ABS + 1.2 * 0.51 / 38


# ---------------------------------------------------------------------------------------------------------- photons
def test_photons_are_those_of_the_simulation(tmp_path: Path) -> None:
    """Whole photons in each pixel: their number is stored, to the last one, where the first gain stage measured them; what is no measurement says so."""
    sim = Simulation(SHAPE, seed=8, hit_fraction=0.5, lost_packets=0.5, dead=0.0, hot=0.0)
    text = TEXT.replace("c.h5:/pedestal", "simulated").replace("c.h5:/gain", "simulated").replace("c.h5:/good", "simulated")
    source = "source: {type: simulated, detector: jf, frames: 40, seed: 8, hit_fraction: 0.5, lost_packets: 0.5, dead: 0.0, hot: 0.0}\n"
    text = text[: text.index("source:")] + source + text[text.index("stages:") :]
    assert run(config(tmp_path, text + STAGES["photons"].replace("DTYPE", "uint16") + PACK))["exit"] == 0
    raw, truth = sim.frames(0, 40)
    (ids, photons), (_, status) = (stock(tmp_path / "out", k) for k in ("data", "pixel_status"))
    sure = (raw < 0x4000) & (truth.status == 0)
    assert ids.tolist() == list(range(40)) and photons.dtype == np.uint16 and status.dtype == np.uint8
    assert np.array_equal(photons[sure], np.rint(truth.energy.astype(np.float64) / 9.5)[sure]) and photons[sure].max() > 20
    assert np.array_equal(status, truth.status) and (photons[(status != 0) & (status != Pixel.SATURATED)] == 0).all() and (status == Pixel.MISSING).any()


@pytest.mark.parametrize(("name", "dtype", "op"), [
    ("photons", "uint8", Photons(9.5, dtype="uint8")), ("shared", "uint16", SharedPhotons(9.5)), ("photons", "float32", Photons(9.5, dtype="float32"))])
def test_photons_are_those_of_the_library(place: Path, name: str, dtype: str, op: Any) -> None:
    """Behind a veto, too; and the same bytes from OpenCL."""
    raw = mixed_words()
    raw[1::3, :4] = words_of(np.full((7, *SHAPE), -1.4 * 5000), 1)[:, :4]       # 526 photons: more than a u8 holds
    stages = VETO + STAGES[name].replace("DTYPE", dtype)
    done(place, raw, stages)
    out = by_hand(raw, photons=op)
    want, status = out["photons"], out["pixel_status"]
    (ids, got), (_, beside) = (stock(place / "out", k) for k in ("data", "pixel_status"))
    assert 4 < len(ids) < N and got.dtype == want.dtype == dtype
    assert np.array_equal(got, want[ids]) and np.array_equal(beside, status[ids]) and (dtype != "uint8" or (beside[0, :4][GOOD[:4]] == Pixel.SATURATED).all())
    with h5py.File(parts(place / "out")[0], "r") as f:
        data, marks = f["entry/data/data"].attrs, f["entry/data/pixel_status"].attrs
        assert data["units"] == "counts" and data["photon_energy"] == 9.5 and data["saturated"] == op.kind.top and "scale_factor" not in data
        assert dict(zip(marks["flag_meanings"].split(), marks["flag_masks"].tolist(), strict=True)) == {p.name: p.value for p in Pixel}
    if dtype != "float32":
        on_opencl(place, raw, stages)


def test_photons_of_panels_are_assembled(place: Path) -> None:
    raw = mixed_words().reshape(N, 2, 8, 32)
    there = panels(place).reframed((2, 8, 32))
    text = TEXT.replace("type: jungfrau\n", "type: jungfrau1M\n").replace("[16, 32]", "[2, 8, 32]")
    stages = STAGES["photons"].replace("DTYPE", "uint16") + STAGES["assemble"]
    done(place, raw, stages, text)
    out = by_hand(raw, photons=Photons(9.5), assemble=by_map(there, status=True))
    (_, got), (_, status) = (stock(place / "out", k) for k in ("data", "pixel_status"))
    assert got.shape == (N, 19, 32) and np.array_equal(got, out["image"]) and np.array_equal(status, out["image_status"])
    assert (status[:, 8:11] == Pixel.GAP).all() and not got[:, 8:11].any()
    done(place, raw, stages.replace("dtype: uint16", "dtype: uint16, status: false"), text, to="lone")
    assert np.array_equal(stock(place / "lone")[1], got)
    with h5py.File(parts(place / "lone")[0], "r") as f:
        assert "pixel_status" not in f["entry/data"]
        assert [o.get("status") for o in json.loads(f["entry/gpuredux/operations"][()])][1:3] == [False, False], "nor is it made"


# ---------------------------------------------------------------------------------------------------------- variance
NOISY = TEXT.replace("    good: c.h5:/good\n", "    good: c.h5:/good\n    noise: c.h5:/noise\n")
SPREAD = {
    "gain": ("", {}), "curve": ("polynomial", {"nonlinearity": OPS["polynomial"]}),
    "scale": ("look_up scale", {"nonlinearity": OPS["look_up"], "divide": [FLAT, 9.5]}),
    "mode": ("breakpoint mode", {"nonlinearity": OPS["breakpoint"], "common_mode": MODE}),
}


@pytest.mark.parametrize("veto", ["", VETO], ids=["all", "veto"])
@pytest.mark.parametrize("way", [*SPREAD, "stencil"])
def test_variances_are_those_of_the_library(place: Path, way: str, veto: str) -> None:
    """Beside the codes of the same frames; and the same bytes from OpenCL."""
    raw = mixed_words()
    names, more = SPREAD.get(way, ("", {"crosstalk": OPS["stencil"]}))
    stages = "".join(STAGES[n] for n in names.split()) + STAGES["variance"] + (STAGES["stencil"] if way == "stencil" else "")
    stages += veto.replace("150.0", "15.0" if way == "scale" else "150.0") + CODES
    done(place, raw, stages, NOISY)
    out = by_hand(raw, variance=9.5, **more)
    (ids, got), (_, variance) = (stock(place / "out", k) for k in ("data", "variance"))
    assert (4 < len(ids) < N) == bool(veto) and variance.dtype == np.float32
    assert variance.tobytes() == out["variance"][ids].tobytes()
    assert np.array_equal(got, Quantize(abs=ABS)(out["energy"], out["pixel_status"], backend="numpy").code[ids])
    if way in ("mode", "stencil"):
        on_opencl(place, raw, stages, NOISY)


@pytest.mark.parametrize("name", ["photons", "variance"])
def test_verify_reads_what_lies_beside(place: Path, name: str) -> None:
    """A bit of the second array that flips is told by its name; so is a frame of it that is not there."""
    stages, array = (STAGES["photons"].replace("DTYPE", "uint16"), "pixel_status") if name == "photons" else (STAGES["variance"] + CODES, "variance")
    done(place, mixed_words(), stages, NOISY)
    part, *_ = parts(place / "out")
    whole = part.read_bytes()
    with h5py.File(part, "r") as f:
        at = f[f"entry/data/{array}"].id.get_chunk_info(4).byte_offset + 30
    part.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    code, words = said(place / "out")
    assert code == 3 and f"{part.name}: " in words and f"entry/data/{array}" in words, words
    part.write_bytes(whole)
    with h5py.File(part, "r+") as f:
        f[f"entry/data/{array}"].resize(8, axis=0)
    code, words = said(place / "out", "--no-chunks")
    assert code == 3 and f"{part.name}: /entry/data has {array} of 8 frames and 9 pulse ids" in words, words


def test_a_variance_is_scaled_as_energies_are(place: Path) -> None:
    """Without a nonlinearity, where calib.Calibrate would fold the scale into the gain: of its ops one by one."""
    raw = mixed_words()
    done(place, raw, STAGES["scale"] + STAGES["variance"] + CODES, NOISY)
    energy, status, stage = Gain(PEDESTAL, GAIN, GOOD, status=True, gain_stage=True)(raw, backend="numpy")
    energy = Scale(1 / (FLAT * 9.5)[None])(energy, status, backend="numpy")
    want = Variance(NOISE, GAIN * (FLAT * 9.5), 9.5)(energy, status, stage, backend="numpy")
    assert stock(place / "out", "variance")[1].tobytes() == want.tobytes()


def test_a_variance_is_the_scatter_of_many_frames(place: Path) -> None:
    """The same photons and noise drawn 200 times in float64: what is stored is their variance, to its own scatter."""
    rng, mean = np.random.default_rng(9), RNG.uniform(2, 12, SHAPE)
    charge = 9.5 * rng.poisson(mean, (200, *SHAPE)) * GAIN[0] + rng.normal(0, 1, (200, *SHAPE)) * NOISE[0]
    done(place, words_of(charge), STAGES["variance"] + CODES, NOISY)
    scatter, told = read_energy(place / "out").var(0), stock(place / "out", "variance")[1].mean(0)
    assert np.array_equal(np.isnan(told), ~GOOD)
    ratio = (scatter / told)[GOOD]
    assert abs(ratio.mean() - 1) < 0.02 and 0.7 < ratio.min() and ratio.max() < 1.4


def test_variances_of_panels_are_assembled(place: Path) -> None:
    """As energies are; frames that overflow their list, stored without loss, have theirs as well."""
    raw, there = mixed_words().reshape(N, 2, 8, 32), panels(place).reframed((2, 8, 32))
    stages = STAGES["variance"] + VETO + STAGES["assemble"] + "  - {type: compress.quantize, abs: 0.001, capacity: 4}\n"
    done(place, raw, stages, in_panels(NOISY))
    assert json.loads((place / "out" / "summary.json").read_text())["lossless"] > 4
    out = by_hand(raw, variance=9.5, assemble=by_map(there, status=True))
    ids, variance = stock(place / "out", "variance")
    assert 4 < len(ids) < N and variance.tobytes() == out["variance"][ids].tobytes()
    energy = read_energy(place / "out")
    masked = out["image_status"][ids] != 0
    assert np.array_equal(np.isnan(energy), masked) and np.abs(energy - out["image"][ids])[~masked].max() <= 0.001


def test_counts_have_their_own_variance(place: Path) -> None:
    """Of photon counters: the count; through crosstalk, the squares of the weights, in float64."""
    raw = np.random.default_rng(2).poisson(30, (N, *SHAPE)).astype(np.uint16)
    raw[:, 3, 4] = 65535
    text = TEXT.replace("jungfrau", "eiger500K").replace("    pedestal: c.h5:/pedestal\n    gain: c.h5:/gain\n    good: c.h5:/good\n", "")
    text = text.replace("calib.gain", "calib.counts")
    done(place, raw, "  - {type: calib.variance}\n" + CODES, text)
    _, variance = stock(place / "out", "variance")
    assert np.isnan(variance[:, 3, 4]).all() and np.array_equal(variance[:, 4:], raw[:, 4:])
    done(place, raw, "  - {type: calib.variance}\n" + STAGES["stencil"].replace("solve: true, asic: [16, 16]", "solve: false") + CODES, text, to="mixed")
    _, variance = stock(place / "mixed", "variance")
    want = np.stack([ndimage.correlate(k.astype(np.float64), WEIGHTS**2, mode="constant") for k in raw])
    assert np.allclose(variance[:, 5:], want[:, 5:], rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- what is predicted, what is refused
@pytest.mark.parametrize("name", ["photons", "variance", "crosstalk"])
def test_check_predicts_memory_and_traffic(place: Path, name: str) -> None:
    """Against what NumPy's allocator hands out while a run is built; the second array of a frame is in it."""
    stages = {"photons": STAGES["photons"].replace("DTYPE", "uint8"), "variance": STAGES["look_up"] + STAGES["variance"] + VETO + CODES,
              "crosstalk": STAGES["polynomial"] + STAGES["stencil"] + CODES}[name]
    path = configured(place, mixed_words(), stages, NOISY if name == "variance" else TEXT)
    document = load(path)
    source = FromHdf5(document, document.config.source)
    try:
        pipeline, held = built(document, source)
    finally:
        source.close()
    found = memory(pipeline)
    assert abs(held - sum(found.values())) < 20_000, (held, found)
    shown = CliRunner().invoke(app, ["check", str(path)])
    stores = {"photons": "photons of (16, 32), uint8; beside it pixel_status, uint8, without loss", "crosstalk": "codes of (16, 32), int16\n",
              "variance": "codes of (16, 32), int16; beside it variance, float32, without loss"}[name]
    ops = {"photons": "calib.photons", "variance": "calib.variance", "crosstalk": "calib.stencil"}[name]
    assert shown.exit_code == 0 and stores in shown.output and f"{sum(found.values()) / 1e6:.1f} MB on the host" in shown.output
    assert f"{ops}: " in shown.output.partition("passes")[2] and not (place / "out").exists()


VARIED = NOISY + STAGES["variance"]
# (the configuration up to its last stages, the faults)
TABLE_OF_FAULTS = [
    (TEXT + "  - {type: calib.polynomial}\n" + CODES, ["12: stages[1].coefficients: missing"]),
    (TEXT + STAGES["polynomial"].replace("c.h5:/curve", "curve.h5:/curve") + CODES, ["12: stages[1].coefficients: curve.h5: no such file"]),
    (TEXT + STAGES["polynomial"].replace("c.h5:/curve", "c.h5:/curves") + CODES, ["12: stages[1].coefficients: c.h5 has no dataset '/curves'"]),
    (TEXT + STAGES["polynomial"].replace("c.h5:/curve", "c.h5") + CODES, ["12: stages[1].coefficients: must be file.h5:/dataset, got 'c.h5'"]),
    (TEXT + STAGES["polynomial"].replace("/curve", "/pedestal") + CODES,
     ["12: stages[1].coefficients: must be numbers (1, terms, 16, 32) or (3, terms, 16, 32), one for each gain stage, got float32 (3, 16, 32)"]),
    (TEXT + STAGES["polynomial"].replace("/curve", "/terms") + CODES,
     ["12: stages[1].coefficients: must be (planes, terms, *frame) with 2 to 6 terms, got (1, 7, 16, 32)"]),
    (TEXT + STAGES["polynomial"].replace("/curve", "/words") + CODES,
     ["12: stages[1].coefficients: must be numbers (1, terms, 16, 32) or (3, terms, 16, 32), one for each gain stage, got |S1 (2,)"]),
    (TEXT + STAGES["breakpoint"].replace("/low", "/number") + CODES,
     ["12: stages[1].low: must be numbers (1, 16, 32) or (3, 16, 32), one for each gain stage, got float64 ()"]),
    (TEXT + STAGES["breakpoint"].replace("/low", "/small") + CODES,
     ["12: stages[1].low: must be numbers (1, 16, 32) or (3, 16, 32), one for each gain stage, got float64 (1, 8, 32)"]),
    (TEXT + STAGES["breakpoint"].replace("/low", "/nan") + CODES, ["12: stages[1].low: must be finite, got nan at (0, 2, 3) (plane, pixel)"]),
    (TEXT + STAGES["look_up"].replace("/which", "/long") + CODES, ["12: stages[1].which: must be uint8 (16, 32), the table of each pixel, got int64 (16, 32)"]),
    (TEXT + STAGES["look_up"].replace("step: 256.0", "step: 0") + CODES, ["12: stages[1].step: must be above 0 and 1 / step a float32, got 0.0"]),
    (TEXT + STAGES["look_up"].replace("/table", "/curve") + CODES,
     ["12: stages[1].table: must be numbers (1, tables, nodes) or (3, tables, nodes), one for each gain stage, got float32 (1, 3, 16, 32)"]),
    (TEXT + STAGES["stencil"].replace("[16, 16]", "[16, 10]") + CODES,
     ["12: stages[1].asic: must divide the panels of (16, 32) in whole pieces, got [16, 10]"]),
    (TEXT + STAGES["stencil"].replace("[16, 16]", "[16, 0]") + CODES, ["12: stages[1].asic: must be (rows, cols), got (16, 0)"]),
    (TEXT + STAGES["stencil"].replace("c.h5:/weights", "[[1, 2], [3, 4]]") + CODES, ["12: stages[1].weights: must be (k, k), k = 1, 3, 5 or 7, got (2, 2)"]),
    (TEXT + STAGES["stencil"].replace("c.h5:/weights", "[[0, 1, 0], [1, 1, 1], [0, 1, 0]]") + CODES,
     ["12: stages[1]: the inverse needs a centre that outweighs its neighbours: ..."]),
    (TEXT + STAGES["stencil"].replace("c.h5:/weights", "[[1, 2], [3]]") + CODES,
     ["12: stages[1].weights: must be file.h5:/dataset, or numbers in brackets, in rows of one length, got [[1, 2], [3]] (list)"]),
    (TEXT + STAGES["recursive"].replace("[0.03, 0.01, 0, 0.002]", "[yes]") + CODES,
     ["12: stages[1].coefficients: must be file.h5:/dataset, or numbers in brackets, in rows of one length, got ['yes'] (list)"]),
    (TEXT + STAGES["stencil"] + STAGES["recursive"].replace("0.03", "1.5") + CODES,
     ["13: stages[2].coefficients: must be 0 or 2**-40 and more in magnitude, and the sum of these below 1, got ..."]),
    (TEXT + STAGES["stencil"] + STAGES["stencil"].replace("solve", "solves") + CODES,
     ["13: stages[2].solves: unknown key; did you mean 'solve'?"]),
    (TEXT + STAGES["photons"].replace("DTYPE", "int8"), ["12: stages[1].dtype: must be one of uint8, uint16, int32, float32, got 'int8'"]),
    (TEXT + STAGES["photons"].replace("photon_energy: 9.5, dtype: DTYPE", "offset: 0.5"), ["12: stages[1].photon_energy: missing"]),
    (TEXT + STAGES["shared"].replace("DTYPE", "uint8, fraction: 3"), ["12: stages[1].fraction: must be 0.5 to 2, got 3.0"]),
    (TEXT + STAGES["photons"].replace("DTYPE", "uint8") + CODES,
     ["13: stages[2].type: photons are whole numbers, which compress.bitshuffle_lz4 takes as such: leave compress.quantize out"]),
    (TEXT + STAGES["photons"].replace("DTYPE", "uint8") + STAGES["shared"].replace("DTYPE", "uint8"),
     ["10: stages: calib.gain, calib.photons, calib.shared_photons, compress.bitshuffle_lz4 make no pipeline; possible: ..."]),
    (TEXT + STAGES["stencil"] + STAGES["polynomial"] + CODES, ["10: stages: calib.gain, calib.stencil, calib.polynomial, ... make no pipeline; possible: ..."]),
    (TEXT + STAGES["variance"] + CODES, ["3: detectors.jf.noise: missing: calib.variance needs it, as file.h5:/dataset or 'simulated'"]),
    (VARIED + STAGES["photons"].replace("DTYPE", "uint8"), ["13: stages[1].type: no variance is known of what comes out of calib.photons, whose rounding is no "
                                                            "propagation of errors: leave one of them out"]),
    (VARIED + STAGES["recursive"] + CODES, ["13: stages[1].type: a variance goes through one calib.stencil, behind which errors are no longer independent; got "
                                            "calib.recursive"]),
    (NOISY + STAGES["polynomial"] + STAGES["look_up"] + STAGES["variance"] + CODES,
     ["15: stages[3].type: a variance goes through one nonlinearity; got calib.polynomial, calib.look_up"]),
    (VARIED + VETO, ["15: stages[3].input: missing: write 'input: jf.raw' to pack the raw words as they are",
                     "13: stages[1].type: is stored beside energies: it needs compress.quantize"]),
    (NOISY.replace("/noise", "/negative") + STAGES["variance"] + CODES, ["13: stages[1]: noise must be (planes, [cells,] *frame), 0 or more, got (3, 16, 32)"]),
    (VARIED.replace("quantum: 9.5", "quantum: -1") + CODES, ["13: stages[1].quantum: must be 0 or more, got -1.0"]),
]


@pytest.mark.parametrize(("text", "lines"), TABLE_OF_FAULTS, ids=[t[1][0].partition(": ")[2][:70] for t in TABLE_OF_FAULTS])
def test_every_fault_is_a_line(place: Path, text: str, lines: list[str]) -> None:
    """From check and from run: exit 2, these lines alone, nothing on the disk."""
    with h5py.File(place / "c.h5", "r+") as f:
        f["terms"], f["nan"], f["negative"], f["number"] = np.ones((1, 7, *SHAPE)), KNEE["low"], -NOISE, 1.0
        f["nan"][0, 2, 3] = np.nan
    path = configured(place, mixed_words()[:2], "", text)
    for command in ("check", "run"):
        shown = CliRunner().invoke(app, [command, str(path)])
        found = shown.output.replace(f"{path}:", "").splitlines()
        assert shown.exit_code == 2 and not (place / "out").exists()
        assert len(found) == len(lines) and all(fnmatchcase(a, b.replace("[", "[[]").replace("...", "*")) for a, b in zip(found, lines, strict=True)), found


def test_counters_have_no_curve_and_no_scaled_variance(place: Path) -> None:
    text = TEXT.replace("jungfrau", "eiger500K").replace("    pedestal: c.h5:/pedestal\n    gain: c.h5:/gain\n", "").replace("calib.gain", "calib.counts")
    for stages, line in (
        (STAGES["polynomial"], "10: stages[1].type: eiger500K counts photons: their only nonlinearity is the dead time, table of calib.counts"),
        (STAGES["scale"] + STAGES["variance"].replace("9.5", "1.0"), "11: stages[2].type: the variance of counts is theirs before they are scaled and before a "
                                                                     "dead time: leave calib.scale out, and scale later"),
        (STAGES["variance"], "10: stages[1].quantum: eiger500K counts photons, of which one is 1, got 9.5"),
    ):
        path = configured(place, mixed_words()[:2], stages + CODES, text)
        shown = CliRunner().invoke(app, ["run", str(path)])
        assert (shown.exit_code, shown.output) == (2, f"{path}:{line}\n")
