"""gpuredux-stream dark: its constants against the simulation's truth, its files and exit codes. Over 200 lines: every fault of its configuration, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from gpuredux.calib import Gain
from gpuredux.calib.constants import load
from gpuredux.calib.dark_status import DarkStatus
from gpuredux.calib.folding import fold_constants
from gpuredux.simulate import Simulation
from gpuredux.stream.cli import app

SHAPE = (64, 128)
CONFIG = """\
version: 1
detectors:
  jf: {type: jungfrau, shape: [64, 128]}
darks:
  - gain: 0
    source: {type: simulated, detector: jf, frames: 200, seed: 4}
  - gain: 2
    source: {type: hdf5, detector: jf, files: [a.h5, b.h5], raw: /data}
output: {path: constants.h5}
run: {batch: 32}
"""


def invoke(folder: Path, text: str = CONFIG, *more: str) -> tuple[int, str]:
    (folder / "dark.yaml").write_text(text)
    result = CliRunner().invoke(app, ["dark", str(folder / "dark.yaml"), *more])
    return result.exit_code, result.output


def files(folder: Path, n: int = 90) -> np.ndarray:
    """Darks of gain 2 in two files; the first is compressed."""
    raw = Simulation(SHAPE, 4).darks(n, gain=2)
    with h5py.File(folder / "a.h5", "w") as a, h5py.File(folder / "b.h5", "w") as b:
        a.create_dataset("data", data=raw[:35], chunks=(1, *SHAPE), compression="gzip")
        b["data"] = raw[35:]
    return raw


def test_constants_are_the_simulations(tmp_path: Path) -> None:
    raw = files(tmp_path)
    code, said = invoke(tmp_path)
    assert code == 0, said
    made, truth = load(tmp_path / "constants.h5", "jungfrau"), Simulation(SHAPE, 4)
    assert made.planes == ("G0", "G2") and made.shape == SHAPE and made.flags == "DarkStatus" and made.cells == 0
    for k, (gain, n) in enumerate(((0, 200), (2, 90))):
        z = (made.pedestal[k] - truth.pedestal[gain]) / truth.noise[gain]
        assert abs(z.mean()) < 0.02 and 0.9 < z.std() * np.sqrt(n) < 1.2
        assert abs(np.mean(made.noise[k] / truth.noise[gain]) - 1) < 0.02 and (made.status[k] == 0).mean() > 0.999
    assert made.source_runs == ("gain 0: simulated", "gain 2: a.h5", "gain 2: b.h5") and "config_sha256" in made.notes
    assert "0 (G0)" in said and "2 (G2)" in said and "status" in said
    code, said = invoke(tmp_path, CONFIG.replace("output: {path: constants.h5}", "output: {path: plain.h5}\nestimator: {write: plain}"))
    plain = load(tmp_path / "plain.h5")
    assert code == 0 and np.allclose(plain.pedestal[1], (raw & 0x3FFF).mean(0), rtol=1e-6) and plain.digest != made.digest


def test_batch_and_backend_change_no_bit(tmp_path: Path) -> None:
    files(tmp_path)
    digests = set()
    for k, run in enumerate(("{batch: 32}", "{batch: 7}", "{batch: 300, backend: numpy}")):
        code, said = invoke(tmp_path, CONFIG.replace("{batch: 32}", run), "--output", str(tmp_path / f"{k}.h5"))
        assert code == 0, said
        made = load(tmp_path / f"{k}.h5")
        digests.add((made.pedestal.tobytes(), made.noise.tobytes(), made.status.tobytes()))
    assert len(digests) == 1


def test_cells_of_frames_are_told_by_a_dataset(tmp_path: Path) -> None:
    raw, cell = Simulation(SHAPE, 4).darks(120, gain=0), np.arange(120, dtype=np.int64) % 2
    raw[cell == 1] += 100
    with h5py.File(tmp_path / "a.h5", "w") as a:
        a["data"], a["cell"] = raw, cell
    text = CONFIG.split("darks:")[0].replace("[64, 128]", "[64, 128], cells: 2") + """darks:
  - {gain: 0, source: {type: hdf5, detector: jf, files: [a.h5], raw: /data, cell: /cell}}
output: {path: constants.h5}
"""
    code, said = invoke(tmp_path, text)
    made = load(tmp_path / "constants.h5")
    assert code == 0 and made.cells == 2 and np.median(made.pedestal[0, 1] - made.pedestal[0, 0]) == pytest.approx(100, abs=1), said
    assert invoke(tmp_path, text.replace("cells: 2", "cells: 1"), "--output", str(tmp_path / "x.h5"))[0] == 2


STATES = """\
version: 1
detectors:
  epix: {type: epix10ka, shape: [64, 128]}
darks:
  - state: AML_M
    source: {type: hdf5, detector: epix, files: [b.h5], raw: /data}
  - state: FL
    source: {type: hdf5, detector: epix, files: [a.h5], raw: /data}
output: {path: constants.h5}
"""


def test_configured_states_fold_into_planes(tmp_path: Path) -> None:
    """The words of FL have the gain bit set, those of AML_M clear; folded with a configuration of both, they give 0."""
    truth, chosen = Simulation(SHAPE, 4), np.random.default_rng(1).random(SHAPE) < 0.5
    words = [truth.darks(200, gain=g) & 0x3FFF for g in (1, 0)]
    words[0] |= 0x4000
    for name, raw in zip("ab", words, strict=True):
        with h5py.File(tmp_path / f"{name}.h5", "w") as f:
            f["data"] = raw
    code, said = invoke(tmp_path, STATES)
    assert code == 0 and "AML_M: all good" in said and "FL  " in said, said
    made = load(tmp_path / "constants.h5", "epix10ka")
    assert made.planes == ("FL", "AML_M") and made.source_runs == ("state AML_M: b.h5", "state FL: a.h5")
    folded = fold_constants(replace(made, gain=np.ones_like(made.pedestal)), np.where(chosen, 8, 0), 0, missing="mask")
    energy, status = Gain(**folded.to_gain(invalid="mask", status=True))(np.where(chosen, *words))
    noise = np.where(chosen, truth.noise[1], truth.noise[0])
    assert not status.any() and np.abs(energy.mean(0) / noise).max() < 6 * np.sqrt(2 / 200)
    for old, new, what in (("state: FL", "state: FLG", "darks[1].state: epix10ka has the states FH, FM, FL, AHL_H, AML_M, AHL_L, AML_L, got 'FLG'; did"),
                           ("state: FL", "state: AML_M", "darks[1].state: state AML_M is given twice"),
                           ("type: epix10ka", "type: jungfrau", "darks[0].state: jungfrau has no configured states; give gain")):
        code, said = invoke(tmp_path, STATES.replace(old, new), "--output", str(tmp_path / "x.h5"))
        assert code == 2 and what in said and "Traceback" not in said, said


def test_agipd_darks_have_thresholds(tmp_path: Path) -> None:
    """Three forced stages of two cells: pedestals, and thresholds halfway between the levels of the second image."""
    rng, cell = np.random.default_rng(2), np.arange(240) % 2
    text = "version: 1\ndetectors:\n  agi: {type: agipd1M, segments: [5], shape: [1, 16, 24], cells: 2}\ndarks:\n"
    for g in range(3):
        levels = np.stack([4000 + 2000 * g + 100 * cell, 6000 + 800 * g + 50 * cell], axis=1)
        with h5py.File(tmp_path / f"{g}.h5", "w") as f:
            f["data"] = np.rint(levels[:, None, :, None, None] + 10 * rng.standard_normal((240, 1, 2, 16, 24))).astype(np.uint16)
            f["cell"] = cell
        text += f"  - {{gain: {g}, source: {{type: hdf5, detector: agi, files: [{g}.h5], raw: /data, cell: /cell}}}}\n"
    code, said = invoke(tmp_path, text + "output: {path: constants.h5}\n")
    assert code == 0 and "2 (low)" in said, said
    made = load(tmp_path / "constants.h5", "agipd1M", (5,))
    assert made.threshold.shape == (2, 2, 1, 16, 24) and not (made.status & DarkStatus.GAIN_UNCLEAR).any()
    for c in range(2):
        assert np.allclose(made.threshold[:, c].mean((1, 2, 3)), [6400 + 50 * c, 7200 + 50 * c], atol=0.3)
        assert np.allclose(made.pedestal[:, c].mean((1, 2, 3)), [4000 + 100 * c, 6000 + 100 * c, 8000 + 100 * c], atol=0.3)
    code, said = invoke(tmp_path, text.replace("[1, 16, 24]", "[1, 16, 12]") + "output: {path: x.h5}\n")
    assert code == 2 and "detectors.agi.shape: agi is (1, 2, 16, 12), the source gives (1, 2, 16, 24)" in said


def test_frames_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    """Exit 3, and the constants are those of the other frames."""
    files(tmp_path)
    with h5py.File(tmp_path / "a.h5", "r") as a:
        where = a["data"].id.get_chunk_info(7).byte_offset
    with open(tmp_path / "a.h5", "r+b") as f:
        f.seek(where + 9)
        f.write(b"\xff" * 40)
    code, said = invoke(tmp_path)
    assert code == 3 and "1 frames could not be decoded" in said
    assert '"2": 89' in load(tmp_path / "constants.h5").notes


def test_panels_are_told_by_their_ids(tmp_path: Path) -> None:
    """Constants of one panel of two say which it is; frames that do not say are refused before they are read."""
    text = CONFIG.split("  - gain: 2")[0].replace("type: jungfrau, shape: [64, 128]", "type: jungfrau1M, segments: [1], shape: [1, 64, 128]")
    code, said = invoke(tmp_path, text + "output: {path: constants.h5}\n")
    assert code == 0, said
    made = load(tmp_path / "constants.h5", "jungfrau1M", (1,))
    assert made.segments == (1,) and made.pedestal.shape == (1, 1, 64, 128)
    for old, new, words in ((" segments: [1],", "", "detectors.jf.shape: frames have other than the 2 panels of jungfrau1M: say which"),
                            ("[1],", "[2],", "detectors.jf.segments: must be different ids of jungfrau1M's panels, 0 to 1, got [2]"),
                            ("[1, 64, 128]", "[64, 128]", "detectors.jf.shape: with segments it must have 3 axes, as jungfrau1M has; got [64, 128]")):
        code, said = invoke(tmp_path, text.replace(old, new) + "output: {path: other.h5}\n")
        assert code == 2 and words in said and "Traceback" not in said, said


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "constants.h5").write_text("mine")
    code, said = invoke(tmp_path)
    assert code == 2 and "is there already" in said and (tmp_path / "constants.h5").read_text() == "mine"
    assert invoke(tmp_path, CONFIG.replace("path: constants.h5", "path: constants.h5, overwrite: true"))[0] == 0


ALONE = CONFIG.split("  - gain: 2")[0].replace("frames: 200", "frames: 5") + "output: {path: constants.h5}\n"


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """A limit in the middle of the file: exit 4, one line with the system's words, and nothing is left."""
    (tmp_path / "dark.yaml").write_text(ALONE)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)); from gpuredux.stream.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", limited, "dark", str(tmp_path / "dark.yaml")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stderr == f"gpuredux-stream: {tmp_path / 'constants.h5'}: File too large; no constants were written\n"
    assert [p.name for p in tmp_path.iterdir()] == ["dark.yaml"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "DIR/c.h5"), OSError("DIR/c.h5: No space left on device"),
                                   RuntimeError("a\nb (time = x\n, errno = 28, error message = 'No space left on device', buf = 0)")])
def test_what_saving_raises_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def save(*given: object) -> None:
        raise type(error)(*(str(a).replace("DIR", str(tmp_path)) if isinstance(a, str) else a for a in error.args))

    monkeypatch.setattr("gpuredux.calib.constants.Constants.save", save)
    code, said = invoke(tmp_path, ALONE, "--output", str(tmp_path / "c.h5"))
    assert code == 4 and said == f"gpuredux-stream: {tmp_path / 'c.h5'}: No space left on device; no constants were written\n"


def test_a_place_that_takes_no_file_is_refused_before_frames_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not there, one that says yes and takes none (/proc, for root too), a name that is too long for the file system."""
    monkeypatch.setattr("gpuredux.stream.dark._measure", lambda *given: pytest.fail("frames were read"))
    for place, words in ((tmp_path / "none" / "c.h5", f"{tmp_path / 'none'} is no folder"), (Path("/proc/c.h5"), "'/proc/c.h5' cannot be written: "),
                         (tmp_path / ("x" * 245), "File name too long"), (tmp_path / ("x" * 300), "File name too long")):
        code, said = invoke(tmp_path, ALONE, "--output", str(place))
        assert code == 2 and said.startswith(f"{tmp_path}/dark.yaml:7: output.path: ") and words in said and said.count("\n") == 1, said
    if os.geteuid():        # root may write it
        (tmp_path / "shut").mkdir(0o500)
        assert "Permission denied" in invoke(tmp_path, ALONE, "--output", str(tmp_path / "shut" / "c.h5"))[1]
    assert [p.name for p in tmp_path.iterdir() if p.name != "shut"] == ["dark.yaml"]


@pytest.mark.parametrize(("change", "words"), [
    (("gain: 2", "gain: 0"), "darks[1].gain: stage 0 is given twice"),
    (("gain: 2", "gain: 3"), "darks[1].gain: jungfrau has the stages 0, 1, 2, got 3"),
    (("type: jungfrau", "type: jungfrua"), "detectors.jf.type: unknown type 'jungfrua'; did you mean 'jungfrau'?"),
    (("type: jungfrau", "type: epixuhr3x2_packed"), "detectors.jf.type: epixuhr3x2_packed: its words are packed, and sources here are of 16-bit words: unpack"),
    (("type: jungfrau", "type: eiger1M"), "detectors.jf.type: eiger1M: it counts photons"),
    (("gain: 2", "state: FH"), "darks[1]: gain stages and configured states do not go together in one file"),
    (("gain: 2\n", "gain: 2\n    state: FH\n"), "darks[1]: needs gain or state, and not both of them"),
    (("  - gain: 2\n    source", "  - source"), "darks[1]: needs gain or state, one of them"),
    (("[64, 128]", "[64, 128], cells: 17"), "detectors.jf.cells: jungfrau has 16 memory cells, got 17"),
    (("[64, 128]", "[64, 128], cells: 2"), "darks[0].source.type: the simulation does not say which cell a frame is of, and jf has cells"),
    (("detector: jf, files", "detector: jff, files"), "darks[1].source.detector: no detector 'jff'; did you mean 'jf'?"),
    (("files: [a.h5, b.h5]", "files: [a.h5, c.h5]"), "darks[1].source.files[1]: c.h5: no such file"),
    (("raw: /data", "raw: /dat"), "darks[1].source.raw: a.h5 has no dataset '/dat'"),
    (("[64, 128]", "[64, 64]"), "detectors.jf.shape: jf is (64, 64), the source gives (64, 128)"),
    (("run: {batch: 32}", "run: {batch: 32}\nestimator: {widht: 3.0}"), "estimator.widht: unknown key; did you mean 'width'?"),
    (("run: {batch: 32}", "run: {batch: 32}\nestimator: {limits: {noise: -1.0}}"), "estimator.limits.noise: noise must be 0 or more"),
    (("raw: /data", "raw: /data, cell: /cell"), "darks[1].source.cell: given, but the detector has no cells"),
    (("path: constants.h5", "path: no/constants.h5"), "output.path: "),
    (("batch: 32", "batch: 32, backend: numba, device: 9"), "run.device: numba has 1 devices"),
    (("version: 1", "version: 2"), "version: "),
])
def test_every_fault_is_a_line(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    files(tmp_path, 40)
    code, said = invoke(tmp_path, CONFIG.replace(*change))
    assert code == 2 and words in said and f"{tmp_path}/dark.yaml:" in said and "Traceback" not in said, said
    assert not (tmp_path / "constants.h5").exists()


def test_interrupted_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "dark.yaml").write_text(CONFIG.split("  - gain: 2")[0].replace("frames: 200", "frames: 2000000") + "output: {path: constants.h5}\n")
    command = [sys.executable, "-m", "gpuredux.stream.cli", "dark", str(tmp_path / "dark.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as run:
        assert run.stdout is not None
        run.stdout.readline()       # of progress: the handlers are in place
        run.send_signal(signal.SIGINT)
        said = run.stdout.read()
        assert run.wait(timeout=120) == 130 and "no constants were written" in said
    assert [p.name for p in tmp_path.iterdir()] == ["dark.yaml"]


def test_the_example_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "examples" / "dark.yaml").read_text().replace("[256, 512]", "[32, 64]").replace("frames: 300", "frames: 60")
    code, said = invoke(tmp_path, text)
    assert code == 0, said
    assert set(np.unique(load(tmp_path / "constants.h5").status)) <= {int(b) for b in DarkStatus} | {0}
