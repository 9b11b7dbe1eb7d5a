"""A run with constants of `gpuredux-stream dark` and common mode against the library in numpy; faults in one line. Over 200 lines: one subject."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from test_stream_kit import BASE, config, content, parts, raw_file, run, said
from typer.testing import CliRunner

from gpuredux import backends
from gpuredux.calib import Calibrate, CommonMode, Constants, Gain, Polynomial, Scale, geometry
from gpuredux.calib.constants import load
from gpuredux.calib.dark_status import DarkStatus
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.calib.tracking import PedestalTracker, Tracking
from gpuredux.compress import Quantize, hdf5
from gpuredux.detectors import DETECTORS
from gpuredux.simulate import Simulation
from gpuredux.status import Pixel
from gpuredux.stream.cli import app
from gpuredux.stream.journal import read_journal

SHAPE, BANK = (64, 128), [32, 64]
SIM = Simulation(SHAPE, seed=5, hit_fraction=0.5, lost_packets=0.3)
DARK = "version: 1\ndetectors:\n  jf: {type: jungfrau, shape: [64, 128]}\ndarks:\n" + "".join(
    f"  - {{gain: {g}, source: {{type: simulated, detector: jf, frames: 200, seed: 5}}}}\n" for g in range(3)) + (
    "output: {path: constants.h5}\nestimator: {limits: {noise: 1.5, noise_least: 0.0}}\n")
STAGES = f"""\
  - type: calib.gain
    input: jf.raw
    invalid: mask
  - type: calib.common_mode
    bank: {BANK}
    exclude_stages: [1, 2]
    threshold: 200.0
    cormax: 60.0
    npix_min: 3
"""
CALIBRATED = BASE.replace("    pedestal: simulated\n    gain: simulated\n    good: simulated\n", """\
    constants: constants.h5
    bad: [NOISE_HIGH, WRONG_GAIN]
    gain: gain.h5:/gain
""").replace("  - type: calib.gain\n    input: jf.raw\n", STAGES)
SOURCE = BASE[BASE.index("source:\n") : BASE.index("stages:\n")]
FILE = "source:\n  type: hdf5\n  detector: jf\n  files: [a.h5]\n  raw: /raw\n"
VETO = "  - type: veto.lit_pixels\n    threshold: 61.75\n    min_lit: 20\n    raw_every: 7\n"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with constants.h5 of simulated darks, the gain that they lack, and 60 frames with steps of their banks."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "dark.yaml").write_text(DARK)
    done = CliRunner().invoke(app, ["dark", str(folder / "dark.yaml")])
    assert done.exit_code == 0, done.output
    with h5py.File(folder / "gain.h5", "w") as f:
        f["gain"] = SIM.gain
    raw_file(folder / "a.h5", frames())
    return folder


def frames() -> np.ndarray:
    """Simulated frames whose words of the first stage get up to 40 ADU more, bank by bank."""
    raw, _ = SIM.frames(0, 60)
    step = np.repeat(np.repeat(np.random.default_rng(3).integers(-40, 41, (60, 2, 2)), 32, axis=1), 64, axis=2)
    return np.where(raw < 0x4000, (raw + step).clip(0, 0x3FFF), raw).astype(np.uint16)


@pytest.fixture
def place(measured: Path, tmp_path: Path) -> Path:
    """The same files in a folder of this test."""
    for path in measured.glob("*.h5"):
        shutil.copy(path, tmp_path)
    return tmp_path


def configured(folder: Path, text: str = CALIBRATED, **changes: str) -> Path:
    return config(folder, text.replace(SOURCE, FILE), **changes)


def calibrated(folder: Path, raw: np.ndarray, **more: Any) -> tuple[np.ndarray, np.ndarray]:
    """energy and pixel_status as the library says, in numpy."""
    held = replace(load(folder / "constants.h5"), gain=SIM.gain)
    given = held.to_gain(("NOISE_HIGH", "WRONG_GAIN"), DarkStatus)
    mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3)
    arrays = {k: given[k] for k in ("pedestal", "gain")}
    op = Calibrate(held.kind, arrays, common_mode=mode, status=True, **more)
    energy, status = (op(raw, backend="numpy")._asdict()[k] for k in ("energy", "pixel_status"))
    return energy, status


def codes(folder: Path) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for path in parts(folder):
        with h5py.File(path, "r") as f:
            found |= dict(zip(f["entry/data/pulse_id"][...].tolist(), f["entry/data/data"][...], strict=True))
    return found


# ---------------------------------------------------------------------------------------------------------- what is written
@pytest.mark.parametrize("backend", ["numba", "numpy", "opencl"])
def test_frames_are_those_of_the_library(place: Path, backend: str) -> None:
    """Every code is that of Calibrate's energies, every verdict of the veto, too; unreduced frames are the words; verify agrees."""
    if backend == "opencl" and "cannot run" in backends.available()["opencl"][0]:
        pytest.skip(backends.available()["opencl"][0])
    summary = run(configured(place, backend=backend))
    assert summary["exit"] == 0, summary["reason"]
    raw = frames()
    energy, status = calibrated(place, raw)
    assert (status == Pixel.BAD_CONSTANT).any() and (status == Pixel.MISSING).any()
    lit = ((energy > np.float32(61.75)) & (status == 0)).sum((1, 2))
    want = Quantize(abs=0.5)(energy, status, backend="numpy").code
    got = codes(place / "out")
    assert list(got) == np.flatnonzero(lit >= 20).tolist() and 10 < len(got) < 50
    assert all(np.array_equal(code, want[pulse]) for pulse, code in got.items())
    unreduced = {}
    for path in parts(place / "out"):
        with h5py.File(path, "r") as f:
            unreduced |= dict(zip(f["entry/unreduced/pulse_id"][...].tolist(), f["entry/unreduced/data"][...], strict=True))
    assert list(unreduced) == list(range(0, 60, 7)) and all(np.array_equal(words, raw[p]) for p, words in unreduced.items())
    code, words = said(place / "out")
    assert code == 0 and "the account closes" in words
    if backend != "numba":
        assert run(configured(place, path="again"))["exit"] == 0
        assert content(place / "again") == content(place / "out")


def test_steps_of_banks_are_gone(place: Path) -> None:
    """Against the simulation's truth, not our own numpy: banks that moved by up to 40 ADU (1 keV) are back to 0.1 keV; without common mode they are not."""
    text = CALIBRATED.replace(VETO, "")
    assert run(configured(place, text, abs="0.02", path="with"))["exit"] == 0
    assert run(configured(place, text.replace(STAGES, STAGES.split("  - type: calib.common_mode")[0]), abs="0.02", path="without"))["exit"] == 0
    raw, truth = frames(), SIM.frames(0, 60)[1]
    dark = (truth.energy == 0) & (truth.status == 0) & SIM.good & (raw < 0x4000)
    worst = {}
    for name in ("with", "without"):
        energy = np.concatenate([hdf5.read(p, "entry/data/data", masked=np.nan) for p in parts(place / name)])
        off = np.where(dark, energy, np.nan).reshape(60, 2, 32, 2, 64).swapaxes(2, 3)
        worst[name] = np.abs(np.nanmedian(off, axis=(3, 4))).max()
    assert worst["with"] < 0.12 and worst["without"] > 0.9, worst


def test_overflowing_frames_are_calibrated_alike(place: Path) -> None:
    """Frames with more outliers than their list holds are stored without loss, to the last bit those of the library."""
    text = CALIBRATED.replace(VETO, "")
    summary = run(configured(place, text, abs="0.002\n    capacity: 8"))
    assert summary["exit"] == 0 and summary["lossless"] > 5
    energy, status = calibrated(place, frames())
    got = np.concatenate([hdf5.read(p, "entry/data/data", masked=np.nan) for p in parts(place / "out")])
    assert np.array_equal(np.isnan(got), status != 0)
    same = [np.array_equal(got[i][status[i] == 0], energy[i][status[i] == 0]) for i in range(60)]
    assert sum(same) >= summary["lossless"]
    assert np.abs(got - energy)[status == 0].max() <= 0.002


def test_provenance(place: Path) -> None:
    summary = run(configured(place))
    digest = load(place / "constants.h5").digest
    assert summary["constants"]["sha256"] == digest and summary["constants"]["added"] == {"gain": "gain.h5:/gain"}
    assert summary["constants"]["validity"] is None and summary["constants"]["bad"] == ["NOISE_HIGH", "WRONG_GAIN"]
    assert json.loads((place / "out" / "summary.json").read_text())["constants"] == summary["constants"]
    assert read_journal(place / "out").records[0]["constants"]["sha256"] == digest
    with h5py.File(parts(place / "out")[0], "r") as f:
        detector = f["entry/instrument/jf"]
        assert detector.attrs["constants_sha256"] == digest and json.loads(detector.attrs["constants"]) == summary["constants"]
        operations = json.loads(f["entry/gpuredux/operations"][()])
    assert [o["op"] for o in operations][:3] == ["calib.gain", "calib.common_mode", "veto.lit_pixels"] and operations[0]["adu"]
    shown = CliRunner().invoke(app, ["check", str(place / "run.yaml"), "--output", str(place / "x")])
    assert shown.exit_code == 0 and f"constants.h5: jungfrau, stages G0, G1, G2, sha256 {digest[:16]}, no validity stated" in shown.output


def test_energies_in_adu(place: Path) -> None:
    """adu: true needs no gain, and the common mode then converts nothing."""
    text = CALIBRATED.replace("    gain: gain.h5:/gain\n", "").replace("    invalid: mask\n", "    invalid: mask\n    adu: true\n").replace(VETO, "")
    assert run(configured(place, text))["exit"] == 0
    held = load(place / "constants.h5")
    gain = replace(held, gain=np.ones_like(held.pedestal)).to_gain(("NOISE_HIGH", "WRONG_GAIN"), DarkStatus)
    energy, status, stage = Gain(**{**gain, "adu": True, "status": True, "gain_stage": True})(frames(), backend="numpy")
    mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3)
    want = Quantize(abs=0.5)(mode(energy, status, stage, backend="numpy"), status, backend="numpy").code
    assert all(np.array_equal(code, want[pulse]) for pulse, code in codes(place / "out").items())
    lone = BASE.replace("    gain: simulated\n", "").replace("    input: jf.raw\n", "    input: jf.raw\n    adu: true\n").replace(VETO, "")
    assert run(config(place, lone, path="lone"))["exit"] == 0
    energy, status = Gain(SIM.pedestal, np.ones_like(SIM.gain), SIM.good, adu=True, status=True)(Simulation(SHAPE, 5, hit_fraction=0.5).frames(0, 60)[0])
    want = Quantize(abs=0.5)(energy, status, backend="numpy").code
    assert all(np.array_equal(code, want[pulse]) for pulse, code in codes(place / "lone").items())


def test_scale_and_a_mask_for_the_common_mode(place: Path) -> None:
    rng = np.random.default_rng(2)
    flat, good = rng.normal(1, 0.05, SHAPE), rng.random(SHAPE) > 0.2
    by_stage = np.stack([flat, 1 / flat, flat**2])
    with h5py.File(place / "planes.h5", "w") as f:
        f["flat"], f["good"], f["stages"] = flat, good, by_stage
    for name, plane in (("flat", flat[None] / 9.5), ("stages", by_stage / 9.5)):
        stages = STAGES + f"    good: planes.h5:/good\n  - type: calib.scale\n    multiply: [planes.h5:/{name}]\n    divide: [9.5]\n"
        assert run(configured(place, CALIBRATED.replace(STAGES, stages).replace(VETO, ""), path=name))["exit"] == 0
        held = replace(load(place / "constants.h5"), gain=SIM.gain)
        given = held.to_gain(("NOISE_HIGH", "WRONG_GAIN"), DarkStatus)
        energy, status, stage = Gain(**given, adu=True, status=True, gain_stage=True)(frames(), backend="numpy")
        mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3, good=good,
                          gain=np.where(given["gain"] == 0, 1, given["gain"]))
        energy = Scale(plane)(mode(energy, status, stage, backend="numpy"), status, stage, backend="numpy")
        want = Quantize(abs=0.5)(energy, status, backend="numpy").code
        got = codes(place / name)
        assert len(got) == 60 and all(np.array_equal(code, want[pulse]) for pulse, code in got.items())


def test_pedestals_are_tracked_in_front_of_the_common_mode(place: Path) -> None:
    """Each batch is calibrated with the pedestals that a tracker, fed here, had before it; the noise is the file's."""
    text = CALIBRATED.replace(VETO, "").replace("    invalid: mask\n", "    invalid: mask\n    track_pedestal: {every: 16, least: 8, alpha: 0.7}\n")
    summary = run(configured(place, text, abs="0.002\n    capacity: 8"))
    assert summary["exit"] == 0 and summary["tracking"]["swaps"] == 3 and summary["lossless"] > 0
    held = replace(load(place / "constants.h5"), gain=SIM.gain)
    given = held.to_gain(("NOISE_HIGH", "WRONG_GAIN"), DarkStatus)
    tracker = PedestalTracker(Gain(**given), held.noise, Tracking(every=16, least=8, alpha=0.7))
    pedestal, raw = held.pedestal, frames()
    got = np.concatenate([hdf5.read(p, "entry/data/data", masked=np.nan) for p in parts(place / "out")])
    mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3)
    for first in range(0, 60, 16):
        if tracker.due:
            pedestal = tracker.step()
        batch = raw[first : first + 16]
        out = Calibrate(held.kind, {"pedestal": pedestal, "gain": given["gain"]}, common_mode=mode, status=True)(batch, backend="numpy")
        good = out.pixel_status == 0
        assert np.abs(got[first : first + 16][good].astype(np.float64) - out.energy[good]).max() <= 0.002, f"batch from frame {first}"
        if len(batch) == 16:
            tracker.add(16, batch)
    assert not np.array_equal(pedestal, held.pedestal)


def test_a_variance_takes_the_noise_of_the_file(place: Path) -> None:
    """Of dark frames, through a nonlinearity and behind the common mode; a file without noise is a line."""
    with h5py.File(place / "curve.h5", "w") as f:
        f["c"] = curve = np.stack([np.full(SHAPE, k, np.float32) for k in (1.0, 0.99, 1e-6)])[None]
    text = CALIBRATED.replace("  - type: calib.common_mode\n", "  - {type: calib.polynomial, coefficients: curve.h5:/c}\n  - type: calib.common_mode\n")
    text = text.replace("    npix_min: 3\n", "    npix_min: 3\n  - {type: calib.variance, quantum: 9.5}\n")
    assert run(configured(place, text))["exit"] == 0 and said(place / "out")[0] == 0
    held = replace(load(place / "constants.h5"), gain=SIM.gain)
    mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3)
    out = Calibrate(held.kind, held, bad=("NOISE_HIGH", "WRONG_GAIN"), nonlinearity=Polynomial(curve), common_mode=mode, variance=9.5, status=True)(
        frames(), backend="numpy")
    with h5py.File(parts(place / "out")[0], "r") as f:
        ids, variance, attrs = f["entry/data/pulse_id"][...], f["entry/data/variance"][...], dict(f["entry/instrument/jf"].attrs)
    assert len(ids) > 4 and variance.tobytes() == out.variance[ids].tobytes() and "noise_sha256" in attrs
    shutil.rmtree(place / "out")
    (place / "constants.h5").unlink()
    replace(held, noise=None, gain=None, units={}).save(place / "constants.h5")
    assert faults(place, text.replace(SOURCE, FILE)) == [
        "run.yaml:6: detectors.jf.constants: constants.h5 has no noise, calib.variance needs it: give noise as well"]


# ---------------------------------------------------------------------------------------------------------- what a constants file may hold
def faults(folder: Path, text: str) -> list[str]:
    """What `run` says of a configuration that it refuses: exit 2, lines alone, nothing on the disk."""
    path = config(folder, text)
    shown = CliRunner().invoke(app, ["run", str(path)])
    assert shown.exit_code == 2 and "Traceback" not in shown.output and not (folder / "out").exists(), shown.output
    return [line.replace(str(path), "run.yaml").replace(str(folder), "DIR") for line in shown.output.splitlines()]


def test_stages_that_were_not_measured_are_masked_or_refused(place: Path) -> None:
    held = load(place / "constants.h5")
    arrays = {n: a[[2, 0]] for n, a in held.arrays.items()}
    (place / "constants.h5").unlink()
    replace(held, planes=("G2", "G0"), **arrays).save(place / "constants.h5")      # in another order, too
    assert faults(place, CALIBRATED.replace(SOURCE, FILE).replace("    invalid: mask\n", "")) == [
        "run.yaml:6: detectors.jf.constants: constants.h5 holds the gain stages G2, G0; jungfrau has G0, G1, G2; measure the others, or let calib.gain "
        "mask their pixels (invalid: mask)"]
    text = CALIBRATED.replace(VETO, "").replace(STAGES, STAGES.split("  - type: calib.common_mode")[0]).replace("    bad: [NOISE_HIGH, WRONG_GAIN]\n", "")
    assert run(configured(place, text, abs="0.002"))["exit"] == 0
    raw = frames()
    pedestal = np.stack([arrays["pedestal"][1], np.full(SHAPE, np.nan, np.float32), arrays["pedestal"][0]])
    energy, status = Gain(pedestal, SIM.gain, status=True, invalid="mask")(raw, backend="numpy")
    want = Quantize(abs=0.002)(energy, status, backend="numpy").code
    got = codes(place / "out")
    assert ((status == Pixel.BAD_CONSTANT) == (raw >> 14 == 1) & (raw != 0x4000)).all() and (status == Pixel.BAD_CONSTANT).any()
    assert len(got) == 60 and all(np.array_equal(code, want[p]) for p, code in got.items())


@pytest.mark.parametrize("command", ["check", "run"])
def test_stages_that_were_not_measured_are_named(place: Path, command: str) -> None:
    """Of a file of two stages nobody says that it has three."""
    held = load(place / "constants.h5")
    replace(held, planes=("G0", "G1"), **{n: a[:2] for n, a in held.arrays.items()}).save(place / "constants.h5", overwrite=True)
    shown = CliRunner().invoke(app, [command, str(configured(place))])
    assert shown.exit_code == 0 and "jungfrau, stages G0, G1 (G2 not measured: such pixels are masked), sha256" in shown.output, shown.output
    assert "G2: 0 of 8192 in use\n" in shown.output
    if command == "run":
        about = json.loads((place / "out" / "summary.json").read_text())["constants"]
        assert about["planes"] == ["G0", "G1"] and about["masked"] == ["G2"] and about["stages"]["G2"] == {"pixels": 8192, "in_use": 0, "status": {}}


def test_pixels_that_the_status_speaks_against_are_counted(place: Path) -> None:
    """Those that no `bad` leaves out, nor NaN, nor good; of too few words with a warning. Counted a second time here."""
    held, rng = load(place / "constants.h5"), np.random.default_rng(8)
    status = rng.choice(np.array([0, 2, 128, 130, 64, 1 << 20], np.uint32), (3, *SHAPE))
    status[2] &= 2
    good, pedestal = rng.random(SHAPE) > 0.1, np.where(rng.random((3, *SHAPE)) > 0.2, held.pedestal, np.float32(np.nan))
    replace(held, pedestal=pedestal, status=status, good=good).save(place / "constants.h5", overwrite=True)
    used = good & np.isfinite(pedestal) & (status & 64 == 0)
    want = [{k: int((used[g] & (status[g] & bit > 0)).sum()) for k, bit in (("NOISE_LOW", 2), ("TOO_FEW", 128), ("bit 20", 1 << 20))} for g in range(3)]
    want[2] = {"NOISE_LOW": want[2]["NOISE_LOW"]}
    counts = [", ".join(f"{n} {k}" for k, n in w.items()) for w in want]
    rows = [f"G{g}: {used[g].sum()} of 8192 in use; of these {counts[g]}, which bad: does not name\n" for g in range(3)]
    lines = [f"constants.h5: {want[g]['TOO_FEW']} of {used[g].sum()} pixels in use of stage G{g} are TOO_FEW, their numbers mean little: leave them out "
             "(bad: [TOO_FEW]), or measure more dark frames" for g in range(2)]
    path = configured(place)
    for command in ("check", "run"):
        shown = CliRunner().invoke(app, [command, str(path)])
        assert shown.exit_code == 0 and all(row in shown.output for row in rows), shown.output
        assert [line for line in shown.stderr.splitlines() if "warning" in line] == [f"gpuredux-stream: warning: {line}" for line in lines]
    summary = json.loads((place / "out" / "summary.json").read_text())
    assert summary["warnings"] == lines and [s["status"] for s in summary["constants"]["stages"].values()] == want
    assert all(f"warning     {line}\n" in shown.stdout for line in lines)
    out = run(configured(place, CALIBRATED.replace("WRONG_GAIN]", "WRONG_GAIN, TOO_FEW]"), path="all"))
    assert not out["warnings"] and "TOO_FEW" not in out["constants"]["stages"]["G0"]["status"]


def test_darks_of_one_frame_are_warned_of(tmp_path: Path) -> None:
    """As gpuredux-stream dark makes them; without constants, or with those of many frames, there is no warning."""
    (tmp_path / "dark.yaml").write_text(DARK.replace("frames: 200", "frames: 1"))
    assert CliRunner().invoke(app, ["dark", str(tmp_path / "dark.yaml")]).exit_code == 0
    text = CALIBRATED.replace("    gain: gain.h5:/gain\n", "").replace("    bad: [NOISE_HIGH, WRONG_GAIN]\n", "").replace("    invalid: mask\n", """\
    invalid: mask
    adu: true
""")
    shown = CliRunner().invoke(app, ["run", str(config(tmp_path, text))])
    assert shown.exit_code == 0 and shown.stderr.count("8192 of 8192 pixels in use of stage G") == 3 and "are TOO_FEW" in shown.stderr, shown.output
    lone = CliRunner().invoke(app, ["check", str(config(tmp_path, BASE, path="lone"))])
    assert lone.exit_code == 0 and not lone.stderr and "in use" not in lone.output


def test_constants_of_a_family_hold_for_all_packings(place: Path) -> None:
    """Frames of epixuhr3x2_asics with constants that were measured on packed words; those of the whole panel are another detector's."""
    shape, rng = (6, 8, 16), np.random.default_rng(5)
    pedestal, gain = rng.normal(300, 20, (2, *shape)).astype(np.float32), rng.normal(20, 1, (2, *shape)).astype(np.float32)
    Constants("epixuhr3x2_packed", pedestal=pedestal, gain=gain, shape=shape).save(place / "packed.h5")
    Constants("epixuhr3x2", pedestal=pedestal[:, 0], gain=gain[:, 0], shape=(8, 16)).save(place / "panel.h5")
    raw = rng.integers(0, 4096, (5, *shape)).astype(np.uint16)
    raw_file(place / "a.h5", raw)
    text = CALIBRATED.replace(SOURCE, FILE).replace(VETO, "").replace(STAGES, "  - type: calib.gain\n    input: jf.raw\n")
    block = "    type: epixuhr3x2_asics\n    shape: [6, 8, 16]\n    constants: packed.h5\n"
    text = text[: text.index("    type: jungfrau")] + block + text[text.index("source:") :]
    assert run(config(place, text))["exit"] == 0
    plane, adc = raw & 1, raw >> 1 & 0x7FF
    energy = (adc - np.where(plane == 0, *pedestal.astype(np.float64)[:, None])) / np.where(plane == 0, *gain.astype(np.float64)[:, None])
    got = np.concatenate([hdf5.read(p, "entry/data/data", masked=np.nan) for p in parts(place / "out")])
    assert np.abs(got - energy).max() <= 0.501
    shutil.rmtree(place / "out")
    assert faults(place, text.replace("packed.h5", "panel.h5")) == [
        "run.yaml:6: detectors.jf.constants: panel.h5 holds constants of 'epixuhr3x2', the detector is 'epixuhr3x2_asics'"]


def test_arrays_with_memory_cells_are_refused_for_what_they_are(place: Path) -> None:
    with h5py.File(place / "cells.h5", "w") as f:
        f["p"], f["good"], f["more"] = np.zeros((3, 16, *SHAPE)), np.ones((2, *SHAPE), bool), np.zeros((3, 17, *SHAPE))
    text = BASE.replace(SOURCE, FILE).replace("gain: simulated", "gain: gain.h5:/gain").replace("    good: simulated\n", "")
    cells = "; memory cells: no source says which cell a frame is of"
    for name, end in (("p", f"(3, 16, 64, 128){cells}"), ("more", "(3, 17, 64, 128)")):
        assert faults(place, text.replace("pedestal: simulated", f"pedestal: cells.h5:/{name}")) == [
            f"run.yaml:6: detectors.jf.pedestal: cells.h5:/{name} must be numbers (3, 64, 128) for jungfrau, got float64 {end}"]
    (line,) = faults(place, text.replace("pedestal: simulated", "pedestal: gain.h5:/gain\n    good: cells.h5:/good"))
    assert line.endswith(f"got bool (2, 64, 128){cells}")


def test_panels_are_chosen_by_their_ids(place: Path) -> None:
    """Frames of the panels 6 and 1 of a 4M get the constants of these panels, in this order."""
    shape, rng = (8, 8, 16), np.random.default_rng(4)
    pedestal = rng.normal(2900, 60, (3, *shape)).astype(np.float32)
    ids = (0, 1, 2, 3, 4, 5, 6, 7)
    Constants("jungfrau4M", pedestal=pedestal, gain=np.full((3, *shape), 41.0), shape=shape, segments=ids).save(place / "panels.h5")
    raw = rng.integers(2000, 5000, (5, 2, 8, 16)).astype(np.uint16)
    raw_file(place / "a.h5", raw)
    text = CALIBRATED.replace(SOURCE, FILE).replace(VETO, "").replace(STAGES, "  - type: calib.gain\n    input: jf.raw\n")
    block = "    type: jungfrau4M\n    shape: [2, 8, 16]\n    segments: [6, 1]\n    constants: panels.h5\n"
    text = text[: text.index("    type: jungfrau")] + block + text[text.index("source:") :]
    assert run(config(place, text))["exit"] == 0
    energy, status = Gain(pedestal[:, [6, 1]], np.full((3, 2, 8, 16), 41.0), status=True)(raw, backend="numpy")
    want = Quantize(abs=0.5)(energy, status, backend="numpy").code
    assert all(np.array_equal(code, want[p]) for p, code in codes(place / "out").items())
    shutil.rmtree(place / "out")
    for old, new, words in (
        ("    segments: [6, 1]\n", "", "run.yaml:5: detectors.jf.shape: frames have 2 of the 8 panels of jungfrau4M: say which, by segments: [id, ...]"),
        ("[6, 1]", "[6, 8]", "run.yaml:6: detectors.jf.segments: must be different ids of jungfrau4M's panels, 0 to 7, got [6, 8]"),
        ("[6, 1]", "[6]", "run.yaml:6: detectors.jf.segments: shape says 2 panels, got 1 ids"),
        ("type: jungfrau4M", "type: jungfrau1M", "run.yaml:6: detectors.jf.segments: must be different ids of jungfrau1M's panels, 0 to 1, got [6, 1]"),
    ):
        assert faults(place, text.replace(old, new)) == [words]
    Constants("jungfrau4M", pedestal=pedestal[:, :4], gain=np.full((3, 4, 8, 16), 41.0), shape=(4, 8, 16), segments=(0, 1, 2, 3)).save(
        place / "panels.h5", overwrite=True)
    assert faults(place, text) == ["run.yaml:7: detectors.jf.constants: panels.h5 has no constants of the segments 6; it has 0, 1, 2, 3"]


@pytest.mark.parametrize(("validity", "taken", "words"), [
    ((10, 20), "15", ""), ((10, None), "10", ""), (None, "3", ""),
    ((10, 20), "21", "21: the constants are valid for runs from 10 to 20 alone"),
    ((None, 20), "21", "21: the constants are valid for runs to 20 alone"),
    ((10, 20), "2026-01-01T00:00:00+00:00", "the constants are valid for runs from 10 to 20, got '2026-01-01T00:00:00+00:00'"),
    ((10, 20), "2026-01-01T00:00:00", "must be the number of a run, or a time in ISO 8601 with its zone, got '2026-01-01T00:00:00'"),
    ((10, 20), "yesterday", "must be the number of a run, or a time in ISO 8601 with its zone, got 'yesterday'"),
    ((datetime(2026, 1, 1, tzinfo=UTC), None), "2026-02-01T12:00:00+01:00", ""),
    ((datetime(2026, 1, 1, tzinfo=UTC), None), "2026-01-01T00:30:00+01:00",
     "2026-01-01T00:30:00+01:00: the constants are valid for times from 2026-01-01T00:00:00+00:00 alone"),
])
def test_validity(place: Path, validity: Any, taken: str, words: str) -> None:
    held = load(place / "constants.h5")
    replace(held, validity=validity).save(place / "constants.h5", overwrite=True)
    text = CALIBRATED.replace(SOURCE, FILE + f"  taken: {taken}\n")
    if words:
        assert faults(place, text) == [f"run.yaml:14: source.taken: {words}"]
    else:
        summary = run(config(place, text))
        assert summary["exit"] == 0 and str(summary["constants"]["taken"]) == taken


def test_validity_that_is_not_checked_is_said(place: Path) -> None:
    replace(load(place / "constants.h5"), validity=(10, 20)).save(place / "constants.h5", overwrite=True)
    shown = CliRunner().invoke(app, ["run", str(configured(place))])
    assert shown.exit_code == 0 and "valid for runs from 10 to 20, NOT CHECKED: the source does not say when its frames were taken" in shown.output
    assert json.loads((place / "out" / "summary.json").read_text())["constants"]["taken"] is None


def damage(path: Path) -> None:
    """One bit of one pedestal, which HDF5 does not see."""
    with h5py.File(path, "r") as f:
        at = f["pedestal"].id.get_offset()
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


# (what is replaced in the configuration, by what, the line)
TABLE = [
    ("constants: constants.h5", "constants: none.h5",
     "run.yaml:6: detectors.jf.constants: none.h5: no such file; gpuredux-stream dark makes one from dark frames"),
    ("constants: constants.h5", "constants: other.h5", "run.yaml:6: detectors.jf.constants: other.h5 holds constants of 'epix100', the detector is 'jungfrau'"),
    ("constants: constants.h5", "constants: gain.h5",
     "run.yaml:6: detectors.jf.constants: gain.h5: is no constants file of gpuredux (no attribute layout = 'gpuredux.constants')"),
    ("constants: constants.h5", "constants: damaged.h5", "run.yaml:6: detectors.jf.constants: damaged.h5: its content was changed: sha256 ..."),
    ("constants: constants.h5", "constants: short.h5", "run.yaml:6: detectors.jf.constants: short.h5: cannot be read as HDF5; it is cut short, damaged or ..."),
    ("constants: constants.h5", "constants: small.h5", "run.yaml:6: detectors.jf.constants: small.h5 is for frames of (32, 128), jf is (64, 128)"),
    ("constants: constants.h5", "constants: cells.h5",
     "run.yaml:6: detectors.jf.constants: cells.h5 has 2 memory cells; a source of gpuredux-stream run does not say which cell a frame is of"),
    ("    gain: gain.h5:/gain\n", "    gain: gain.h5:/gain\n    pedestal: gain.h5:/gain\n",
     "run.yaml:9: detectors.jf.pedestal: given twice: constants.h5 holds pedestal, too; leave one of them out"),
    ("    gain: gain.h5:/gain\n", "",
     "run.yaml:6: detectors.jf.constants: constants.h5 has no gain (dark frames give none): add gain: file.h5:/dataset, or for energies in ADU "
     "adu: true in calib.gain"),
    ("WRONG_GAIN]", "WRONG_GIAN]", "run.yaml:7: detectors.jf.bad: DarkStatus has no 'WRONG_GIAN'; did you mean 'WRONG_GAIN'?"),
    ("    constants: constants.h5\n", "    pedestal: gain.h5:/gain\n",
     "run.yaml:7: detectors.jf.bad: names bits of the status in a constants file, for calib.gain: one of them is not there"),
    ("bank: [32, 64]", "bank: [32, 60]",
     "run.yaml:18: stages[1]: frames must be whole banks of (32, 60), got (64, 128); cut the frame, or mask a bank's rest with good="),
    ("    bank: [32, 64]\n", "", "run.yaml:18: stages[1]: frames must be whole banks of (256, 64), got (64, 128); ..."),
    ("exclude_stages: [1, 2]", "exclude_stages: [1, 3]", "run.yaml:20: stages[1].exclude_stages: jungfrau has the gain stages 0, 1, 2, got 3"),
    ("    npix_min: 3\n", "    npix_min: 3\n    steps: [bank, lines]\n", "run.yaml:24: stages[1].steps: must be some of bank, rows, cols, each once, ..."),
    ("    npix_min: 3\n", "    npix_min: 3\n    good: gain.h5:/gain\n", "run.yaml:24: stages[1].good: must be bool ([panels,] rows, cols), ..."),
    ("    npix_min: 3\n", "    npix_min: 3\n    good: gain.h5:/godo\n", "run.yaml:24: stages[1].good: gain.h5 has no dataset '/godo'"),
    ("    npix_min: 3\n", "    npix_min: 3\n  - {type: calib.scale, divide: [2.0, small.h5:/pedestal]}\n",
     "run.yaml:24: stages[2].divide[1]: must be numbers (64, 128) or (3, 64, 128), one for each gain stage, got float32 (3, 32, 128)"),
    ("    npix_min: 3\n", "    npix_min: 3\n  - {type: calib.scale, divide: [none.h5:/flat]}\n", "run.yaml:24: stages[2].divide[0]: none.h5: no such file"),
    ("    npix_min: 3\n", "    npix_min: 3\n  - {type: calib.scale, divide: [0.0]}\n", "run.yaml:24: stages[2]: 8192 values of plane are not finite, ..."),
    ("    npix_min: 3\n", "    npix_min: 3\n  - {type: calib.scale}\n",
     "run.yaml:24: stages[2]: has nothing to do: give divide or multiply, lists of numbers and file.h5:/dataset"),
    ("    constants: constants.h5\n    bad: [NOISE_HIGH, WRONG_GAIN]\n", "    constants: silent.h5\n",
     "run.yaml:6: detectors.jf.constants: silent.h5 has no noise, track_pedestal needs it: give noise as well"),
    ("  - type: calib.gain\n    input: jf.raw\n    invalid: mask\n", "", "run.yaml:14: stages: calib.common_mode, veto.lit_pixels, ..."),
    ("type: jungfrau\n", "type: eiger500K\n", "run.yaml:15: stages[0].type: eiger500K counts photons: use calib.counts"),
    ("type: jungfrau\n", "type: agipd1M\n",
     "run.yaml:15: stages[0].type: agipd1M sends a second image that tells the gain; no stage takes it yet: calib.Calibrate of the library does"),
    ("type: calib.gain\n    input: jf.raw\n    invalid: mask\n", "type: calib.counts\n    input: jf.raw\n",
     "run.yaml:15: stages[0].type: jungfrau sends an adc: ..."),
    ("source:\n  type: hdf5\n", "source:\n  type: hdf5\n  taken: ten\n", "run.yaml:11: source.taken: must be the number of a run, or a time in ISO 8601 ..."),
]


@pytest.mark.parametrize(("old", "new", "line"), TABLE, ids=[t[2].split(": ", 2)[2][:60] for t in TABLE])
def test_every_fault_is_a_line(place: Path, old: str, new: str, line: str) -> None:
    held = load(place / "constants.h5")
    small = {n: a[:, :32] for n, a in held.arrays.items()}
    replace(held, shape=(32, 128), **small).save(place / "small.h5")
    replace(held, cells=2, **{n: np.repeat(a[:, None], 2, axis=1) for n, a in held.arrays.items()}).save(place / "cells.h5")
    Constants("epix100", pedestal=np.zeros((1, *SHAPE)), shape=SHAPE).save(place / "other.h5")
    replace(held, noise=None, units={}).save(place / "silent.h5")
    for name in ("damaged.h5", "short.h5"):
        shutil.copy(place / "constants.h5", place / name)
    damage(place / "damaged.h5")
    (place / "short.h5").write_bytes((place / "short.h5").read_bytes()[:-9000])
    text = CALIBRATED.replace(SOURCE, FILE)
    text = text if "silent" not in new else text.replace("    invalid: mask\n", "    invalid: mask\n    track_pedestal: {every: 50}\n")
    assert text.count(old) == 1
    (said,) = faults(place, text.replace(old, new))
    assert said == line or (line.endswith("...") and said.startswith(line[:-3])), said


def test_constants_that_the_flags_leave_are_checked(place: Path) -> None:
    """invalid: raise refuses a pixel without a number, unless its gain stage is flagged as bad."""
    held = load(place / "constants.h5")
    pedestal, status = held.pedestal.copy(), held.status.copy()
    pedestal[0, 3, 4], pedestal[1, 5, 6] = np.nan, np.inf
    status[0, 3, 4] = DarkStatus.TOO_FEW
    text = CALIBRATED.replace(SOURCE, FILE).replace("    invalid: mask\n", "").replace("WRONG_GAIN]", "TOO_FEW]")
    replace(held, pedestal=pedestal, status=status).save(place / "constants.h5", overwrite=True)
    (line,) = faults(place, text)
    assert "stages[0]: 1 good pixels have a gain that is NaN, Inf or 0" in line and "the first is (1, 5, 6)" in line
    status[1, 5, 6] = DarkStatus.TOO_FEW
    replace(held, pedestal=pedestal, status=status).save(place / "constants.h5", overwrite=True)
    assert run(config(place, text))["exit"] == 0


def test_photon_counters(place: Path) -> None:
    """calib.counts takes u16 words of an Eiger; what belongs to an adc is refused."""
    rng = np.random.default_rng(6)
    raw, flat = rng.poisson(30, (20, *SHAPE)).astype(np.uint16), rng.normal(1, 0.1, SHAPE)
    raw[:, 5], raw[3, 8] = 65535, 65534
    raw_file(place / "a.h5", raw)
    with h5py.File(place / "flat.h5", "w") as f:
        f["plane"], f["good"] = flat, rng.random(SHAPE) > 0.1
        good = f["good"][...]
    text = CALIBRATED.replace(SOURCE, FILE).replace(VETO, "").replace(STAGES, "  - type: calib.counts\n    input: jf.raw\n    plane: flat.h5:/plane\n")
    text = text[: text.index("    type: jungfrau")] + "    type: eiger500K\n    shape: [64, 128]\n    good: flat.h5:/good\n" + text[text.index("source:") :]
    assert run(config(place, text, abs="0.01"))["exit"] == 0
    got = np.stack(list(codes(place / "out").values()))
    energy = np.where((raw < 65534) & good, raw * flat, np.nan)
    quantize = Quantize(abs=0.01)
    masked, filled = got == quantize.masked_code, got == quantize.fill_code
    assert np.array_equal(masked, np.isnan(energy)) and not filled.any()
    assert np.abs(got * float(quantize.step) - energy)[~masked].max() <= 0.0101
    shutil.rmtree(place / "out")
    assert faults(place, text.replace("    good: flat.h5:/good\n", "    constants: constants.h5\n")) == [
        "run.yaml:6: detectors.jf.constants: eiger500K counts photons, and has none"]
    pack = text.replace("  - type: compress.quantize\n", "  - type: calib.common_mode\n    bank: [32, 64]\n  - type: compress.quantize\n")
    assert faults(place, pack) == ["run.yaml:16: stages[1].type: eiger500K counts photons, which have no common mode"]


ASSEMBLED = CALIBRATED.replace(SOURCE, FILE).replace("  - type: compress.quantize\n", """\
  - type: calib.assemble
    geometry: x.geom
  - type: compress.quantize
""")


@pytest.mark.parametrize("stages", ["gain", "common mode"])
def test_panels_are_assembled(place: Path, stages: str) -> None:
    """Panels lie where the geometry file says, gaps and masked pixels are masked codes, and the beam is told; frames that overflow, too."""
    sim = Simulation((2, *SHAPE), seed=6, hit_fraction=0.5, lost_packets=0.3)
    raw, truth = sim.frames(0, 30)
    raw_file(place / "a.h5", raw)
    with h5py.File(place / "sim.h5", "w") as f:
        f["pedestal"], f["gain"], f["good"] = sim.pedestal, sim.gain, sim.good
    steps = np.array([[1e-4, 0, 0], [0, 1e-4, 0]])
    panels = [Panel(f"p{k}", np.array([x * 1e-4, y * 1e-4, 0.1]), *steps, SHAPE, segment=k) for k, (x, y) in enumerate([(-20, -7), (-10, 63)])]
    geometry.write(Geometry(panels), place / "x.geom")
    block = "    type: jungfrau1M\n    shape: [2, 64, 128]\n" + "".join(f"    {k}: sim.h5:/{k}\n" for k in ("pedestal", "gain", "good"))
    text = ASSEMBLED[: ASSEMBLED.index("    type: jungfrau")] + block + ASSEMBLED[ASSEMBLED.index("source:") :]
    mode = CommonMode(tuple(BANK), exclude_stages=(1, 2), threshold=200.0, cormax=60.0, npix_min=3)
    if stages == "gain":
        text, mode = text.replace(STAGES, "  - type: calib.gain\n    input: jf.raw\n    invalid: mask\n"), None
    summary = run(config(place, text, abs="0.002\n    capacity: 8"))
    assert summary["exit"] == 0 and summary["lossless"] > 0 and said(place / "out")[0] == 0
    kind = replace(DETECTORS["jungfrau1M"], shape=(2, *SHAPE))
    out = Calibrate(kind, {"pedestal": sim.pedestal, "gain": sim.gain, "good": sim.good}, common_mode=mode, status=True)(raw, backend="numpy")
    image = np.full((30, 134, 138), np.nan)
    energy = np.where(out.pixel_status == 0, out.energy, np.nan)
    image[:, :64, :128], image[:, 70:, 10:] = energy[:, 0], energy[:, 1]
    got = {}
    for path in parts(place / "out"):
        frames = hdf5.read(path, "entry/data/data", masked=np.nan)
        with h5py.File(path, "r") as f:
            got |= dict(zip(f["entry/data/pulse_id"][...].tolist(), frames, strict=True))
            assert f["entry/unreduced/data"].shape[1:] == (2, *SHAPE) and f["entry/data/data"].shape[1:] == (134, 138)
            assert [round(float(f[f"entry/instrument/jf/beam_center_{k}"][()]), 6) for k in "xy"] == [20, 7]
    assert list(got) == np.flatnonzero(truth.hit).tolist()
    for pulse, found in got.items():
        assert np.array_equal(np.isnan(found), np.isnan(image[pulse]))
        assert np.nanmax(np.abs(found.astype(np.float64) - image[pulse])) <= 0.002
    if "cannot run" in backends.available()["opencl"][0]:
        pytest.skip(backends.available()["opencl"][0])
    assert run(config(place, text, abs="0.002\n    capacity: 8", backend="opencl", path="again"))["exit"] == 0
    assert content(place / "again") == content(place / "out")


def test_a_geometry_that_does_not_fit_is_a_line(place: Path) -> None:
    text, step = ASSEMBLED, np.eye(3) * 1e-4
    assert faults(place, text) == ["run.yaml:29: stages[3].geometry: x.geom: no such file"]
    geometry.write(Geometry([Panel("p", np.array([0, 0, 0.1]), step[0], step[1], (32, 128))]), place / "x.geom")
    assert faults(place, text) == ["run.yaml:29: stages[3].geometry: x.geom: a raw frame (1, 32, 128) is not (1, 64, 128) in the same order of words"]
    (place / "x.geom").write_text("no geometry")
    (line,) = faults(place, text)
    assert line.startswith("run.yaml:29: stages[3].geometry: x.geom, line 1: ")
    (line,) = faults(place, text.replace("  - type: compress.quantize\n    abs: 0.5\n", ""))
    assert "calib.assemble, compress.bitshuffle_lz4 make no pipeline" in line and "which calib.assemble needs" in line


def test_the_example_runs(tmp_path: Path) -> None:
    """examples/dark.yaml and then examples/calibration.yaml, as they stand."""
    for name in ("dark", "calibration"):
        shutil.copy(Path(__file__).parents[1] / "examples" / f"{name}.yaml", tmp_path)
        shown = CliRunner().invoke(app, ["dark" if name == "dark" else "run", str(tmp_path / f"{name}.yaml")])
        assert shown.exit_code == 0, shown.output
    assert "tracked: swapped 3 times" in shown.output and said(tmp_path / "run")[0] == 0
    raw, truth = Simulation((256, 512), seed=1, hit_fraction=0.3).frames(0, 200)
    kept = sorted(codes(tmp_path / "run"))
    assert kept == np.flatnonzero(truth.hit).tolist() and len(raw) == 200
