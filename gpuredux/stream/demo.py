"""gpuredux-stream demo: a simulated detector from darks to files, read back by a stock reader and compared with the truth."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console

from .. import __version__
from ..simulate import Simulation
from .faults import ConfigError
from .part_bytes import PartBytes, SinkFailed
from .session import execute, prepare
from .source import FromSimulation

SHAPE, DARKS = (512, 1024), 40
SEED = 2018     # its first two frames that are kept unreduced are hits: even the shortest demo has reduced ones to compare with
ABS = 1.0       # keV

CONFIG = f"""\
# What `gpuredux-stream demo` ran. Again: gpuredux-stream run demo.yaml --output again
version: 1

detectors:
  jf:
    type: jungfrau                      # 512 x 1024 pixels, 3 gain stages
    pedestal: constants.h5:/pedestal    # (3, rows, cols) [ADU], the means of darks
    gain: constants.h5:/gain            # (3, rows, cols) [ADU/keV]
    good: constants.h5:/good            # (rows, cols) bool

source:
  type: simulated                       # or hdf5; see examples/file.yaml
  detector: jf
  frames: FRAMES
  seed: {SEED}
  hit_fraction: 0.3

stages:
  - type: calib.gain                    # raw words -> energy [keV]
    input: jf.raw
  - type: veto.lit_pixels               # keep frames with at least min_lit pixels above threshold
    threshold: THRESHOLD
    min_lit: MIN_LIT
    raw_every: 20                       # every twentieth event is kept unreduced, too, whatever the veto says
  - type: compress.quantize             # |energy - code * scale_factor| <= abs, for every pixel
    abs: {ABS}
  - type: compress.bitshuffle_lz4       # standard HDF5 chunks

sink:
  type: hdf5
  path: run
  part_frames: 25

run:
  batch: 16
  slots: 3
  backend: numba
"""

READER = '''\
"""Read the demo's files with nothing but NumPy, h5py and hdf5plugin, and hold the reduced frames against the unreduced ones."""

import json
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np

here = Path(__file__).parent
with h5py.File(here / "constants.h5") as f:
    pedestal, gain, good = f["pedestal"][...], f["gain"][...], f["good"][...]
factor = (1.0 / gain.astype(np.float64)).astype(np.float32)
plane_of = np.array([0, 1, 0, 2])       # of the two gain bits

frames = compared = outside = 0
worst = bound = 0.0
for name in json.loads((here / "run" / "summary.json").read_text())["part_files"]:      # these were committed; a crash may leave other files
    with h5py.File(here / "run" / name) as f:
        codes, raw = f["entry/data/data"], f["entry/unreduced/data"]
        frames += len(codes)
        bound = float(codes.attrs["error_bound"])
        row_of = {p: i for i, p in enumerate(f["entry/data/pulse_id"][...].tolist())}
        for i, pulse in enumerate(f["entry/unreduced/pulse_id"][...].tolist()):
            if pulse not in row_of:
                continue        # kept unreduced, but vetoed
            code, words = codes[row_of[pulse]], raw[i]
            plane = plane_of[words >> 14]
            adc = (words & 0x3FFF).astype(np.float32)
            energy = (adc - np.choose(plane, pedestal)) * np.choose(plane, factor)
            coded = (code != codes.attrs["_FillValue"]) & (code != codes.attrs["missing_value"])
            error = np.abs(code[coded] * np.float64(codes.attrs["scale_factor"]) - energy[coded])
            worst, outside, compared = max(worst, float(error.max())), outside + int((error > bound).sum()), compared + 1
            lost = (words == 0xC000) | (words == 0xFFFF) | (words == 0x4000) | (words >> 14 == 2) | ~good
            assert np.array_equal(lost, code == codes.attrs["missing_value"]), "masked pixels"
assert "gpuredux" not in sys.modules
print(f"{frames} reduced frames read; {compared} compared with their raw words: largest error {worst:.4f}, bound {bound}, pixels outside {outside}")
sys.exit(0 if compared and not outside else 1)
'''


def demonstrate(folder: Path, frames: int, console: Console) -> int:
    """Make everything in a new folder, run, and check; the exit code. Raises ConfigError, SinkFailed."""
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError([f"{folder} exists and is not an empty folder: choose another with --output"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError([f"{folder}: {e.strerror}"]) from None
    simulation = Simulation(SHAPE, SEED)
    console.print(f"1. {3 * DARKS} dark frames of a simulated {SHAPE[0]} x {SHAPE[1]} Jungfrau -> pedestals", soft_wrap=True)
    text = CONFIG.replace("FRAMES", str(frames)).replace("THRESHOLD", str(simulation.lit_threshold)).replace("MIN_LIT", str(simulation.lit_pixels))
    try:
        write_constants(folder / "constants.h5", simulation)
        (folder / "demo.yaml").write_text(text)
        (folder / "read_back.py").write_text(READER)
    except OSError as e:
        raise SinkFailed(f"{folder}: {e.strerror or e}") from None
    console.print(f"2. {frames} frames: calibrate, veto, quantise to |error| <= {ABS} keV, compress (the first batch waits for the compiler)", soft_wrap=True)
    prepared, hits = prepare(folder / "demo.yaml"), list[bool]()
    if isinstance(prepared[2], FromSimulation):
        prepared[2].tell = lambda truth: hits.extend(truth.hit.tolist())
    summary = execute(prepared, None, console)
    if summary["exit"]:
        return int(summary["exit"])
    console.print("3. the files, read by h5py + hdf5plugin in a process without gpuredux", soft_wrap=True)
    read = subprocess.run([sys.executable, str(folder / "read_back.py")], capture_output=True, text=True, timeout=600)
    console.print("   " + (read.stdout or read.stderr).strip(), soft_wrap=True, markup=False)
    wrong = _against_truth([folder / "run" / name for name in summary["part_files"]], hits, console)
    console.print(f"""4. where things are
   {folder}/run           part files, journal.bin, summary.json
   {folder}/demo.yaml     the configuration; {folder}/read_back.py  the reader
   next: gpuredux-stream verify {folder}/run
         gpuredux-stream run {folder}/demo.yaml --output {folder}/again   (after changing `abs` or `threshold`, say)""", soft_wrap=True, markup=False)
    return 3 if read.returncode or wrong else 0


def write_constants(path: Path, simulation: Simulation) -> None:
    """Pedestals as the mean of darks of each gain stage; gain and mask as a laboratory would hand them out. Raises OSError."""
    total = np.zeros((3, *SHAPE))
    for plane in range(3):
        for i in range(DARKS):
            total[plane] += simulation.darks(1, gain=plane, start=i)[0] & 0x3FFF
    data = PartBytes(path)      # HDF5 itself cannot close a file that a full disk takes no more of
    with closing(data), h5py.File(data, "w") as file:
        file["pedestal"] = (total / DARKS).astype(np.float32)
        file["gain"], file["good"] = simulation.gain, simulation.good
        for name, (what, units) in {"pedestal": (f"mean of {DARKS} darks of each gain stage", "ADU"), "gain": ("slope of each gain stage", "ADU/keV"),
                                    "good": ("neither dead nor hot", "")}.items():
            file[name].attrs.update({"what": what, **({"units": units} if units else {})})
        file.attrs.update({"gpuredux_version": __version__, "origin": "gpuredux.simulate.Simulation", "shape": SHAPE, "seed": SEED,
                           "what": "constants of a simulated Jungfrau: planes are its 3 gain stages"})
    if data.error is not None:
        raise data.error


def _against_truth(parts: list[Path], hits: list[bool], console: Console) -> int:
    """How many verdicts of the veto are not the simulation's truth."""
    keep = np.zeros(len(hits), bool)
    for path in parts:
        with h5py.File(path, "r") as file:
            keep[file["entry/events/pulse_id"][...]] = file["entry/events/keep"][...] != 0
    truth = np.array(hits)
    missed, false = int((truth & ~keep).sum()), int((~truth & keep).sum())
    console.print(f"   veto: {truth.sum()} of {len(truth)} frames have Bragg peaks; {missed} missed, {false} kept without", soft_wrap=True)
    return missed + false
