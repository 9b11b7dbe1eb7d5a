"""Pedestals that follow: drift is followed, photons and lit pixels do not pull, and the stream swaps between batches, exact frames included."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from test_stream_kit import BASE, config, parts, raw_file, run, said
from typer.testing import CliRunner

import gpuredux
from gpuredux import backends
from gpuredux.calib.tracking import PedestalTracker, Tracking
from gpuredux.compress import hdf5
from gpuredux.simulate import Simulation
from gpuredux.stream.cli import app
from gpuredux.stream.journal import read_journal

SHAPE, PHOTON = (64, 128), 390
SIMULATION = Simulation(SHAPE, 5)


def frames(n: int, drift: float, photons: float, seed: int = 1) -> np.ndarray:
    """Words of stage 0; pedestals drift so many sigma over the n frames; a share of words has a photon more."""
    rng = np.random.default_rng(seed)
    adc = SIMULATION.pedestal[0] + SIMULATION.noise[0] * (rng.standard_normal((n, *SHAPE), np.float32) + drift * np.linspace(0, 1, n)[:, None, None])
    return np.rint(adc + PHOTON * (rng.random(adc.shape) < photons)).astype(np.uint16)


def followed(raw: np.ndarray, rule: Tracking, batch: int = 50, backend: str = "numba") -> tuple[PedestalTracker, np.ndarray]:
    op = gpuredux.calib.Gain(SIMULATION.pedestal, SIMULATION.gain)
    tracker, pedestal, owner = PedestalTracker(op, SIMULATION.noise, rule, backend), op.pedestal, backends.get(backend)
    for first in range(0, len(raw), batch):
        tracker.add(batch, owner.put(raw[first : first + batch]))
        if tracker.due:
            pedestal = tracker.step()
    return tracker, pedestal


@pytest.mark.parametrize("photons", [0.0, 0.1])
def test_drift_is_followed(photons: float) -> None:
    """2 sigma in 3,000 frames; the lag of an update every 200 frames is 2 * 200 / 3000 sigma and less; without tracking 2 sigma."""
    tracker, pedestal = followed(frames(3000, 2.0, photons), Tracking(every=200, alpha=0.8))
    error = (pedestal[0] - SIMULATION.pedestal[0]) / SIMULATION.noise[0] - 2.0
    print(f"photons {photons:.0%}: mean error {error.mean():+.4f} sigma, scatter {error.std():.4f}, {len(tracker.moves)} swaps")
    assert abs(error.mean()) < 0.2 and error.std() < 0.1 and len(tracker.moves) == 15
    assert tracker.moves[-1].pixels == np.prod(SHAPE) and tracker.moves[-1].median == pytest.approx(40, rel=0.1)
    assert np.array_equal(pedestal[1:], SIMULATION.pedestal[1:]), "the other stages are not seen dark"


def test_photons_do_not_pull() -> None:
    """10 % of the words with a photon, no drift: the mean moves by 39 ADU, the pedestal by less than 0.02 sigma."""
    raw = frames(2000, 0.0, 0.1)
    _, pedestal = followed(raw, Tracking(every=500))
    error = (pedestal[0] - SIMULATION.pedestal[0]) / SIMULATION.noise[0]
    assert abs(error.mean()) < 0.02 and (raw.mean(0) - SIMULATION.pedestal[0]).mean() > 35


def test_lit_pixels_and_those_without_noise_keep_theirs() -> None:
    raw = frames(400, 1.0, 0.0)
    raw[:, :4] += np.where(np.random.default_rng(2).random((400, 4, SHAPE[1])) < 0.8, PHOTON, 0).astype(np.uint16)     # 80 % lit
    raw[:, 4] |= 0x4000         # another stage
    op = gpuredux.calib.Gain(SIMULATION.pedestal, SIMULATION.gain)
    noise = SIMULATION.noise.copy()
    noise[0, 5], noise[0, 6] = np.nan, 0
    tracker = PedestalTracker(op, noise, Tracking(every=400))
    tracker.add(400, raw)
    new = tracker.step()
    assert np.array_equal(new[0, :7], op.pedestal[0, :7]) and (new[0, 7:] != op.pedestal[0, 7:]).all() and tracker.moves[0].pixels == 57 * SHAPE[1]


def test_every_backend_follows_alike() -> None:
    raw, rule = frames(300, 1.0, 0.05), Tracking(every=100)
    want = followed(raw, rule)[1]
    for name in ("numpy", "opencl"):
        if name == "opencl" and "cannot run" in backends.available()["opencl"][0]:
            pytest.skip(backends.available()["opencl"][0])
        assert np.array_equal(followed(raw, rule, backend=name)[1], want), name


# ------------------------------------------------------------------------------------------------------------- the stream
TRACKED = BASE.replace("    good: simulated\n", "    good: simulated\n    noise: simulated\n").replace(
    "    input: jf.raw\n", "    input: jf.raw\n    track_pedestal: {every: 60, alpha: 0.7}\n").replace(
    "  - type: veto.lit_pixels\n    threshold: 61.75\n    min_lit: 20\n    raw_every: 7\n", "")


def tracked(folder: Path, raw: np.ndarray, backend: str = "numba", text: str = TRACKED, more: str = "") -> Path:
    """A configuration of frames in a file, with the simulation's constants in another."""
    import h5py

    with h5py.File(folder / "constants.h5", "w") as f:
        for name in ("pedestal", "gain", "noise", "good"):
            f[name] = getattr(SIMULATION, name)
    raw_file(folder / "a.h5", raw)
    lines = text.split("source:")[0].replace("simulated", "constants.h5:/NAME")
    for name in ("pedestal", "gain", "good", "noise"):
        lines = lines.replace(f"{name}: constants.h5:/NAME", f"{name}: constants.h5:/{name}")
    source = "source: {type: hdf5, detector: jf, files: [a.h5], raw: /raw}\n"
    return config(folder, lines + source + "stages:" + text.split("stages:")[1], backend=backend, abs="0.002\n    capacity: 8" + more)


@pytest.mark.parametrize("backend", ["numba", "opencl"])
def test_the_stream_swaps_between_batches(tmp_path: Path, backend: str) -> None:
    """Each frame in the files is that of the pedestals which a tracker, fed here, had before its batch; frames that overflow, calibrated later, too."""
    if backend == "opencl" and "cannot run" in backends.available()["opencl"][0]:
        pytest.skip(backends.available()["opencl"][0])
    raw = frames(320, 2.0, 0.02)
    raw[::3, 0, :20] += 8000        # 195 keV: more than an int16 code holds, in more pixels than the list
    summary = run(tracked(tmp_path, raw, backend))
    assert summary["exit"] == 0 and summary["lossless"] > 0, summary["reason"]
    op = gpuredux.calib.Gain(SIMULATION.pedestal, SIMULATION.gain, SIMULATION.good, status=True)
    tracker, pedestal, moves = PedestalTracker(op, SIMULATION.noise, Tracking(every=60, alpha=0.7)), op.pedestal, []
    got = np.concatenate([hdf5.read(p, "entry/data/data") for p in parts(tmp_path / "out")])
    assert len(got) == 320
    for first in range(0, 320, 16):
        if tracker.due:
            pedestal = tracker.step()
            moves.append(hashlib.sha256(pedestal.tobytes()).hexdigest())
        batch = raw[first : first + 16]
        energy, status = gpuredux.calib.Gain(pedestal, SIMULATION.gain, SIMULATION.good, status=True)(batch, backend="numpy")
        good = status == 0
        assert np.abs(got[first : first + 16][good].astype(np.float64) - energy[good]).max() <= 0.002, f"batch from frame {first}"
        tracker.add(16, batch)
    records = [r for r in read_journal(tmp_path / "out").records if r["kind"] == "pedestal"]
    assert [r["sha256"] for r in records] == moves == [m["sha256"] for m in summary["tracking"]["moves"]]
    assert [r["frames"] for r in records] == [64, 128, 192, 256]
    assert summary["tracking"]["swaps"] == 4 and said(tmp_path / "out")[0] == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["tracking"]["moves"][-1]["most"] > 20


def test_the_summary_tells_and_off_is_the_default(tmp_path: Path) -> None:
    tracked(tmp_path, frames(130, 1.0, 0.0))
    shown = CliRunner().invoke(app, ["run", str(tmp_path / "run.yaml")])
    assert shown.exit_code == 0 and "tracked: swapped 2 times" in shown.output, shown.output
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "x")])
    assert checked.exit_code == 0 and "MB of constants" in checked.output
    (tmp_path / "off").mkdir()
    plain = run(config(tmp_path / "off"))
    assert plain["exit"] == 0 and plain["tracking"] is None


@pytest.mark.parametrize(("change", "words"), [
    (("    noise: constants.h5:/noise\n", ""), "detectors.jf.noise: missing: track_pedestal needs it"),
    (("alpha: 0.7", "alpha: 1.5"), "stages[0].track_pedestal.alpha: alpha must be 0 to 1, got 1.5"),
    (("alpha: 0.7", "alhpa: 0.7"), "stages[0].track_pedestal.alhpa: unknown key; did you mean 'alpha'?"),
    (("every: 60", "every: 0"), "stages[0].track_pedestal.every: every must be 1 to"),
])
def test_faults_are_lines(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tracked(tmp_path, frames(20, 0.0, 0.0))
    path.write_text(path.read_text().replace(*change))
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 2 and words in result.output, result.output
