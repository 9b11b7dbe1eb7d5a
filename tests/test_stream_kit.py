"""What the stream's tests share: a small run, and what its files hold. No tests here."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console
from typer.testing import CliRunner

from gpuredux.stream.cli import app
from gpuredux.stream.pipeline import Pipeline
from gpuredux.stream.session import execute, prepare
from gpuredux.stream.sink import OURS

SHAPE = (64, 128)

BASE = """\
version: 1
detectors:
  jf:
    type: jungfrau
    shape: [64, 128]
    pedestal: simulated
    gain: simulated
    good: simulated
source:
  type: simulated
  detector: jf
  frames: 60
  seed: 5
  hit_fraction: 0.5
stages:
  - type: calib.gain
    input: jf.raw
  - type: veto.lit_pixels
    threshold: 61.75
    min_lit: 20
    raw_every: 7
  - type: compress.quantize
    abs: 0.5
  - type: compress.bitshuffle_lz4
sink:
  type: hdf5
  path: out
  part_frames: 10
run:
  batch: 16
  slots: 3
  backend: numba
"""

FILE = """\
version: 1
detectors:
  jf: {type: jungfrau, shape: SHAPE}
source:
  type: hdf5
  detector: jf
  files: FILES
  raw: /raw
stages:
  - {type: compress.bitshuffle_lz4, input: jf.raw}
sink: {type: hdf5, path: out, part_frames: 10}
run: {batch: 8, slots: 2, backend: numba}
"""


def brightest(energy: np.ndarray) -> np.ndarray:
    """A callable for features.hook."""
    return np.nan_to_num(energy).reshape(len(energy), -1).max(1)


def leaves(energy: np.ndarray) -> np.ndarray:
    """A callable that does what it must not."""
    raise SystemExit(7)


def config(folder: Path, text: str = BASE, **changes: str) -> Path:
    """run.yaml in a folder; changes: key=value, for the first line of the text that has the key."""
    for key, value in changes.items():
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines[at] = f"{indent}{key}: {value}"
        text = "\n".join(lines) + "\n"
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def run(path: Path, output: Path | None = None, max_frames: int | None = None) -> dict[str, Any]:
    """A run in this process; its summary."""
    return execute(prepare(path, output), max_frames, Console(quiet=True))


def said(folder: Path, *more: str) -> tuple[int, str]:
    """What the command verify returns and prints."""
    result = CliRunner().invoke(app, ["verify", str(folder), *more])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def raw_file(path: Path, raw: np.ndarray, pulse_id: Any = None, **options: Any) -> Path:
    """A source file."""
    with h5py.File(path, "w") as f:
        f.create_dataset("raw", data=raw, **options)
        if pulse_id is not None:
            f["pulse_id"] = np.asarray(pulse_id)
    return path


def file_config(folder: Path, *files: Path, pulse_id: bool = False, **changes: str) -> Path:
    with h5py.File(files[0], "r") as f:
        shape = list(f["raw"].shape[1:]) if "raw" in f else list(SHAPE)
    text = FILE.replace("SHAPE", str(shape)).replace("FILES", "[" + ", ".join(f.name for f in files) + "]")
    if pulse_id:
        text = text.replace("  raw: /raw\n", "  raw: /raw\n  pulse_id: /pulse_id\n")
    return config(folder, text, **changes)


def parts(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if OURS.fullmatch(p.name) and p.suffix == ".h5")


def chunks(folder: Path) -> dict[int, bytes]:
    """pulse id -> the stored chunk of its reduced frame."""
    found = {}
    for part in parts(folder):
        with h5py.File(part, "r") as f:
            data = f["entry/data/data"]
            for i, pulse in enumerate(f["entry/data/pulse_id"][...].tolist()):
                found[pulse] = bytes(data.id.read_direct_chunk((i, *(0,) * (data.ndim - 1)))[1])
    return found


def content(folder: Path) -> dict[str, bytes]:
    """All data of all parts, and the chunks as stored; without the provenance."""
    found: dict[str, bytes] = {}
    for part in parts(folder):
        with h5py.File(part, "r") as f:
            def visit(name: str, item: Any, part: Path = part) -> None:
                if isinstance(item, h5py.Dataset) and not name.startswith(("entry/gpuredux", "entry/start_time")):
                    found[f"{part.name}:{name}"] = item[...].tobytes() if item.dtype.kind != "O" else b""
                    for i in range(len(item) if item.ndim == 3 else 0):
                        found[f"{part.name}:{name}:{i}"] = bytes(item.id.read_direct_chunk((i, 0, 0))[1])
            f.visititems(visit)
    return found


def built(document: Any, source: Any) -> tuple[Pipeline, int]:
    """A pipeline as a run builds it, and the bytes that NumPy's allocator handed out for that."""
    not_ours = tracemalloc.Filter(False, "*/numba/np/random/*")       # tables that numba reads in when a process first compiles
    tracemalloc.start()
    try:
        pipeline = Pipeline(document, source)
        slots = [pipeline.slot() for _ in range(document.config.run.slots)]
        for slot in slots:
            slot.live[0] = 0
        shot = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain), not_ours])
    finally:
        tracemalloc.stop()
    return pipeline, sum(s.size for s in shot.statistics("filename"))
