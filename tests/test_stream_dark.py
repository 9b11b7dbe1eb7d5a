"""gpuredux-stream dark: its constants against the simulation's truth, its files and exit codes, and every fault of its configuration in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from gpuredux.calib.constants import load
from gpuredux.calib.dark_status import DarkStatus
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


@pytest.mark.parametrize(("change", "words"), [
    (("gain: 2", "gain: 0"), "darks[1].gain: stage 0 is given twice"),
    (("gain: 2", "gain: 3"), "darks[1].gain: jungfrau has the stages 0, 1, 2, got 3"),
    (("type: jungfrau", "type: jungfrua"), "detectors.jf.type: unknown type 'jungfrua'; did you mean 'jungfrau'?"),
    (("type: jungfrau", "type: agipd1M"), "detectors.jf.type: agipd1M: its gain is in the second image"),
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
