"""What a run owes to its operator: it outlives its terminal, holds the memory it promised, tells a full disk by its exit code. Over 200 lines: one subject."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console
from test_stream_kit import BASE, SHAPE, built, config, parts, run
from typer.testing import CliRunner

import gpuredux
from gpuredux.stream import monitor
from gpuredux.stream import sink as sinks
from gpuredux.stream.cli import app
from gpuredux.stream.config import load
from gpuredux.stream.ending import finish
from gpuredux.stream.event import Account
from gpuredux.stream.faults import ConfigError
from gpuredux.stream.journal import NAME, JournalWriter, read_journal, record
from gpuredux.stream.memory import memory, momentary
from gpuredux.stream.part_bytes import SinkFailed
from gpuredux.stream.pipeline import Pipeline
from gpuredux.stream.runner import Runner
from gpuredux.stream.session import execute, prepare
from gpuredux.stream.source import FromSimulation
from gpuredux.stream.verify import verify

PLAIN = "import sys, gpuredux.stream.monitor as m\nm.PLAIN_EVERY = 0\nfrom gpuredux.stream.cli import main\nmain()"     # a line of progress at every look
NO_VETO = BASE.replace("  - type: veto.lit_pixels\n    threshold: 61.75\n    min_lit: 20\n    raw_every: 7\n", "")


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gpuredux-")]


# ---------------------------------------------------------------------------------------------------------- displays that break
class Broken(io.StringIO):
    """A terminal that takes so many writes."""

    def __init__(self, error: Exception, writes: int) -> None:
        super().__init__()
        self.error, self.writes = error, writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(("error", "words"), [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (ValueError("closed"), "ValueError: closed")])
@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_broken_display_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                       terminal: bool, error: Exception, words: str, writes: int) -> None:
    monkeypatch.setattr(monitor, "PLAIN_EVERY", -1e9)
    before = sys.stdout, sys.stderr
    summary = execute(prepare(config(tmp_path)), None, Console(file=Broken(error, writes), force_terminal=terminal, width=80))
    assert (sys.stdout, sys.stderr) == before and not workers()
    assert summary["exit"] == 0 and verify(tmp_path / "out").closes and verify(tmp_path / "out").ended
    assert words in capsys.readouterr().err
    assert summary == summary_of(tmp_path / "out") and (summary["display_lost"] == words or (not terminal and writes))     # else it broke at the table


@pytest.mark.parametrize("also", [None, subprocess.STDOUT])
def test_a_closed_pipe_ends_nothing(tmp_path: Path, also: int | None) -> None:
    """gpuredux-stream run X | head -0, and with 2>&1: exit 0, and all is written."""
    path = config(tmp_path)
    command = [sys.executable, "-c", PLAIN, "run", str(path)]
    with open(tmp_path / "err", "w") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=also or err)
        assert process.stdout
        process.stdout.close()
        assert process.wait(120) == 0
    assert summary_of(tmp_path / "out")["display_lost"] == "Broken pipe" and verify(tmp_path / "out").closes
    said = (tmp_path / "err").read_text()
    assert said.count("\n") == (0 if also else 1) and ("nothing could be displayed any more (Broken pipe)" in said or also)


def test_a_terminal_that_hangs_up_ends_nothing(tmp_path: Path) -> None:
    """SIGHUP comes, and every write to the terminal fails."""
    path = config(tmp_path, frames="300", part_frames="20", batch="8")
    master, slave = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "gpuredux.stream.cli", "run", str(path)], stdin=slave, stdout=slave, stderr=slave,
                               start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "part_000001.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.close(master)
    assert process.wait(120) == 0
    summary = summary_of(tmp_path / "out")
    assert summary["account"]["seen"] == 300 and summary["closes"] and summary["display_lost"] == "Input/output error"


def test_progress_that_raises_leaves_no_threads(tmp_path: Path) -> None:
    """Of a caller's own: its error comes out, after what was taken in is written."""
    document, folder, source, pipeline = prepare(config(tmp_path, frames="1000000", batch="4"))
    runner = Runner(document, source, pipeline, folder)

    def progress(given: Runner) -> None:
        if given.account.snapshot()["written"]:
            raise ArithmeticError("a caller's own")

    with pytest.raises(ArithmeticError):
        runner.run(progress, every=0.01)
    assert not workers()
    summary = finish(runner)
    assert summary["exit"] == 130 and summary["closes"] and summary["account"]["in_flight"] == 0 and 0 < summary["account"]["seen"] < 1000000


# ---------------------------------------------------------------------------------------------------------- the disk at the end; the folder
def test_disk_full_at_the_last_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = JournalWriter.append

    def full(self: JournalWriter, payload: dict[str, Any], durable: bool = True) -> None:
        if payload["kind"] == "end":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, payload, durable)

    monkeypatch.setattr(JournalWriter, "append", full)
    summary = run(config(tmp_path))
    verdict = verify(tmp_path / "out")
    assert summary["exit"] == 4 and "No space left on device: the journal has no last record" in summary["reason"] and summary == summary_of(tmp_path / "out")
    assert verdict.closes and verdict.ended is None and verdict.account == summary["account"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_disk_full_at_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    real, path = getattr(os, call), config(tmp_path)

    def full(what: Any, *more: Any) -> None:
        name = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
        if "summary.json" in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(what, *more)

    monkeypatch.setattr(os, call, full)
    result = CliRunner().invoke(app, ["run", str(path)])
    assert result.exit_code == 4 and "summary.json: No space left on device" in result.output, result.output
    assert verify(tmp_path / "out").closes and not [p for p in (tmp_path / "out").iterdir() if "summary" in p.name]


def test_a_second_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were fit to run when they were checked; then the first began. Nothing of it is touched."""
    path = config(tmp_path)
    late, later = prepare(path), prepare(path)
    assert run(path)["exit"] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ConfigError, match="holds an earlier run"):
        execute(late, None, Console(quiet=True))
    monkeypatch.setattr(sinks, "claim", lambda *_: None)        # it looked at the folder in the same instant
    closed: list[str] = []
    monkeypatch.setattr(later[2], "close", lambda: closed.append("the source"))
    with pytest.raises(SinkFailed, match="File exists"):
        execute(later, None, Console(quiet=True))
    assert closed == ["the source"]
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}


def test_a_run_is_not_overwritten_while_it_writes(tmp_path: Path) -> None:
    """sink.overwrite: true replaces an earlier run, not a living one."""
    path = config(tmp_path)
    document, folder, _, pipeline = prepare(path)
    living = sinks.Sink(document, folder, pipeline, Account())
    path.write_text(path.read_text().replace("sink:\n", "sink:\n  overwrite: true\n"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    result = CliRunner().invoke(app, ["run", str(path)])
    assert result.exit_code == 2 and "a run is writing there" in result.output, result.output
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    living.journal.close()
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0


def test_a_crash_between_name_and_commit_record(tmp_path: Path) -> None:
    """The part is whole and has its name, the journal does not know it: in flight, in plain words; summary.json names the parts that count."""
    assert run(config(tmp_path))["exit"] == 0
    folder = tmp_path / "out"
    assert summary_of(folder)["part_files"] == [p.name for p in parts(folder)]
    records = read_journal(folder).records
    last = max(i for i, r in enumerate(records) if r["kind"] == "commit")
    (folder / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate(records[:last])))
    shutil.copy(parts(folder)[0], folder / "part_000099.h5.partial")
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 3 and f"{records[last]['events']} in flight" in result.output
    name = records[last]["file"]
    assert f"{name} is no part of the run: the run was cut off after the file got its name and before the journal recorded it" in result.output
    assert "part_000099.h5.partial is no part of the run: it was still being written" in result.output
    assert name not in verify(folder).files


def test_the_line_says_what_the_summary_says(tmp_path: Path) -> None:
    """frames/s, GB/s in and out, ratio: of the last line, and of the summary. `out` is bytes of files; without any there is no ratio."""
    document, folder, source, pipeline = prepare(config(tmp_path))
    runner = Runner(document, source, pipeline, folder)
    assert "ratio" not in monitor.line(runner) and "out 0.000 GB/s" in monitor.line(runner)
    runner.run(lambda _: None)
    summary, line = finish(runner), monitor.line(runner)
    rates = summary["rates"]
    assert summary["bytes_out"] == sum(p.stat().st_size for p in parts(folder))
    for words in (f"{rates['frames_per_s']:.1f} frames/s", f"in {rates['gb_per_s_in']:.3f} GB/s", f"out {rates['gb_per_s_out']:.3f} GB/s",
                  f"ratio {summary['ratio']:.1f} "):
        assert words in line, (words, line)


# ---------------------------------------------------------------------------------------------------------- provenance
def provenance(dataset: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dataset.attrs["provenance"])
    return found


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_provenance_is_of_what_really_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """The encoder's backend as each encoder call had it, against what the datasets say; the summary has the digests."""
    (tmp_path / "a").mkdir()
    raw_folder = tmp_path / "a"
    used: list[str] = []
    pack = gpuredux.compress.BitshuffleLZ4
    for name in ("numba", "numpy"):
        real = getattr(pack, name)
        monkeypatch.setattr(pack, name, lambda self, *given, name=name, real=real: (used.append(name), real(self, *given))[1])
    summary = run(config(raw_folder, frames="15", backend=backend))
    assert set(used) == {backend}
    document = load(raw_folder / "run.yaml")
    assert summary["config_sha256"] == document.digest and summary["operations_sha256"] == Pipeline(document, FromSimulation(document)).chain.digest()
    assert {"gpuredux": gpuredux.__version__, "numpy": np.__version__, "h5py": h5py.__version__}.items() <= summary["versions"].items()
    assert "numba" in summary["versions"] and summary["backend"] == backend and summary["device"] == f"{backend}:0 host" and summary["dtype"] == "int16"
    where = {"backend": backend, "device": f"{backend}:0 host"}
    with h5py.File(parts(raw_folder / "out")[0]) as f:
        assert provenance(f["entry/unreduced/data"]) == where and provenance(f["entry/data/data"]) == {**where, "lossless_energies": backend}
    text = NO_VETO.replace("shape: [64, 128]", "shape: [32, 48]")
    assert run(config(tmp_path, text, frames="15", backend=backend, abs="0.002\n    capacity: 8"))["lossless"]
    assert set(used) == {backend}
    with h5py.File(parts(tmp_path / "out")[0]) as f:
        kept = f["entry/data/data_side/lossless"]
        assert len(kept) and provenance(kept) == where and json.loads(kept.attrs["codec"])[0]["op"] == "compress.bitshuffle_lz4"
        assert kept.attrs["gpuredux_version"] == gpuredux.__version__


# ---------------------------------------------------------------------------------------------------------- memory
@pytest.mark.parametrize("text", [BASE, NO_VETO], ids=["veto", "all"])
def test_check_predicts_the_memory(tmp_path: Path, text: str) -> None:
    """Against what NumPy's allocator hands out while a run is built. The bytes of the simulation's own constants are there before."""
    document = load(config(tmp_path, text, batch="8"))
    source = FromSimulation(document)
    own = [source.constant(k) for k in ("pedestal", "gain", "good")]
    pipeline, held = built(document, source)
    found = memory(pipeline)
    predicted = sum(found.values()) - sum(a.nbytes for a in own[:2] if a is not None)
    assert abs(held - predicted) < 20_000, (held, found)
    assert found["plans"] > 8 * 4 * SHAPE[0] * SHAPE[1] < found["slots"]
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
    assert result.exit_code == 0 and f"{sum(found.values()) / 1e6:.1f} MB on the host" in result.output
    assert "in 3 slots" in result.output and "of constants" in result.output and "of intermediate arrays" in result.output


def test_check_counts_a_device_apart(tmp_path: Path, target: Any) -> None:
    document = load(config(tmp_path, backend=target.backend.name, slots=f"3\n  device: {target.device.index}"))
    found = memory(Pipeline(document, FromSimulation(document)))
    if target.backend.is_mine(np.empty(0)):
        assert not any(v for k, v in found.items() if k.startswith("device_"))
    else:
        frames, constants = 16 * SHAPE[0] * SHAPE[1], 3 * 4 * SHAPE[0] * SHAPE[1]
        assert found["device_batch"] > 2 * frames and found["device_plans"] > 2 * frames and found["device_constants"] >= 2 * constants


def allocated(call: Any) -> int:
    """The most bytes that a call held at once."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_hot_path_copies_no_batch(tmp_path: Path) -> None:
    """Duplicates are closed up, raw frames are gathered and packed, in the buffers that are there."""
    document = load(config(tmp_path, BASE.replace("shape: [64, 128]", "shape: [256, 512]"), raw_every="2"))
    source = FromSimulation(document)
    pipeline = Pipeline(document, source)
    slot = pipeline.slot()
    slot.n = source.read(slot.raw, slot.pulse_id, 16).n
    pipeline.run(slot)
    frame = slot.raw[0].nbytes
    assert len(slot.raw_source) == 8 and allocated(lambda: pipeline.run(slot)) < frame
    wanted = np.ones(16, bool)
    wanted[[0, 3, 15]] = False
    raw, ids = slot.raw[wanted], slot.pulse_id[wanted]
    assert allocated(lambda: slot.keep(16, wanted)) < frame
    assert slot.n == 13 and np.array_equal(slot.raw[:13], raw) and np.array_equal(slot.pulse_id[:13], ids)


def test_frames_that_overflow_take_no_more(tmp_path: Path) -> None:
    """A batch in which every frame overflows: no second set of constants, no batch of energies; they are those of the specification."""
    text = NO_VETO.replace("shape: [64, 128]", "shape: [256, 512]")
    document = load(config(tmp_path, text, hit_fraction="1.0", abs="0.002\n    capacity: 8"))
    source = FromSimulation(document)
    pipeline = Pipeline(document, source)
    slot, sink = pipeline.slot(), sinks.Sink(document, tmp_path / "out", pipeline, Account())
    slot.n = source.read(slot.raw, slot.pulse_id, 16).n
    frame, held = slot.raw[0].nbytes, memory(pipeline)
    pipeline.run(slot)
    rows = slot.overflowed
    assert len(rows) > 8 and allocated(lambda: pipeline.run(slot)) < frame
    gain: Any = pipeline.gain
    for row in rows:
        energy, status = (a[0] for a in gain(slot.raw[row : row + 1], backend="numpy"))
        assert pipeline.exact(slot, row).tobytes() == np.where(status == 0, energy, np.float32(np.nan)).tobytes()
    assert allocated(lambda: pipeline.exact(slot, rows[0])) < frame / 2
    sink.write(slot)
    assert allocated(lambda: sink.write(slot)) < momentary(pipeline) + 2 * frame < len(rows) * frame
    assert memory(pipeline) == held
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "other")])
    assert f"{momentary(pipeline) / 1e6:.1f} MB more on the host while a frame" in result.output


def test_a_source_keeps_nothing_of_what_it_gave(tmp_path: Path) -> None:
    path = config(tmp_path, BASE.replace("shape: [64, 128]", "shape: [16, 32]"), frames="100000")
    source = FromSimulation(load(path))
    hits: list[bool] = []
    source.tell = lambda truth: hits.extend(truth.hit.tolist())
    raw, ids = np.zeros((4, 16, 32), np.uint16), np.zeros(4, np.uint64)
    source.read(raw, ids, 4)
    before = {k: len(v) for k, v in vars(source).items() if hasattr(v, "__len__")}
    source.read(raw, ids, 4)
    assert before == {k: len(v) for k, v in vars(source).items() if hasattr(v, "__len__")} and len(hits) == 8
