"""The run: what goes in comes out, by pulse id, bit for bit, for any batch, slots and backend; whatever fails is counted. Over 200 lines: one subject."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from conftest import Target
from rich.console import Console
from test_stream_kit import BASE, SHAPE, chunks, config, content, file_config, parts, raw_file, run

import gpuredux
from gpuredux.compress import hdf5
from gpuredux.simulate import Simulation
from gpuredux.stream import demo, part, part_bytes
from gpuredux.stream.journal import read_journal
from gpuredux.stream.session import execute, prepare
from gpuredux.stream.verify import verify

SIMULATION = Simulation(SHAPE, seed=5, hit_fraction=0.5)
ACCOUNT = ("written", "vetoed", "dropped", "failed", "duplicate", "corrupt", "in_flight")


def closed(folder: Path, **expected: int) -> dict[str, Any]:
    """The run's own account, the journal's last record and an independent look at the disk say the same."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    verdict = verify(folder)
    assert not verdict.problems
    assert verdict.account == summary["account"] and verdict.ended is not None and verdict.ended["account"] == verdict.account
    assert verdict.account["seen"] == sum(verdict.account[k] for k in ACCOUNT) and verdict.account["in_flight"] == 0
    assert summary["closes"]
    for key, value in expected.items():
        assert verdict.account[key] == value, (key, verdict.account)
    return summary


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one plain run on numba."""
    folder = tmp_path_factory.mktemp("reference")
    assert run(config(folder))["exit"] == 0
    return folder / "out"


# ---------------------------------------------------------------------------------------------------------- what is written
def test_files_hold_what_the_operations_make(reference: Path) -> None:
    raw, truth = SIMULATION.frames(0, 60)
    energy, status = gpuredux.calib.Gain(SIMULATION.pedestal, SIMULATION.gain, good=SIMULATION.good, status=True)(raw, backend="numpy")
    score = ((energy > np.float32(61.75)) & (status == 0)).sum((1, 2))
    keep = score >= 20
    assert np.array_equal(keep, truth.hit), "the simulation's own recipe tells hits from the rest"
    pulses, kept, raws, events = [], [], [], []
    for path in parts(reference):
        energies = hdf5.read(path, "entry/data/data", masked=np.nan)
        with h5py.File(path, "r") as f:
            pulses += f["entry/data/pulse_id"][...].tolist()
            kept += list(energies)
            raws += list(zip(f["entry/unreduced/pulse_id"][...].tolist(), f["entry/unreduced/data"][...], strict=True))
            events += list(zip(*(f[f"entry/events/{k}"][...].tolist() for k in ("pulse_id", "keep", "raw", "reason", "score")), strict=True))
    assert pulses == np.flatnonzero(keep).tolist()
    for pulse, got in zip(pulses, kept, strict=True):
        good = status[pulse] == 0
        assert np.array_equal(np.isnan(got), ~good)
        assert np.abs(got[good].astype(np.float64) - energy[pulse][good]).max() <= 0.5
    assert [p for p, _ in raws] == list(range(0, 60, 7))
    for pulse, words in raws:
        assert np.array_equal(words, raw[pulse])
    assert events == [(i, int(keep[i]), int(i % 7 == 0), 0 if keep[i] else 1, float(score[i])) for i in range(60)]
    written = keep | (np.arange(60) % 7 == 0)
    closed(reference, seen=60, written=int(written.sum()), vetoed=int((~written).sum()))


def test_parts_and_provenance(reference: Path) -> None:
    files = parts(reference)
    written = []
    for i, path in enumerate(files):
        with h5py.File(path, "r") as f:
            entry = f["entry"]
            written.append(int(((entry["events/keep"][...] | entry["events/raw"][...]) != 0).sum()))
            assert entry.attrs["NX_class"] == "NXentry" and entry["data"].attrs["signal"] == "data" and entry["data"].attrs["NX_class"] == "NXdata"
            assert entry["instrument/jf"].attrs["NX_class"] == "NXdetector" and entry["instrument/jf/data"] == entry["data/data"]
            assert {f"{k}_sha256" for k in ("pedestal", "gain", "good")} <= set(entry["instrument/jf"].attrs)
            about = entry["gpuredux"]
            assert about["configuration"][()].decode() == BASE and about["backend"][()] == b"numba" and about["part"][()] == i
            assert about["version"][()].decode() == gpuredux.__version__
            assert [o["op"] for o in json.loads(about["operations"][()])][-2:] == ["compress.quantize", "compress.bitshuffle_lz4"]
    assert written[:-1] == [10] * (len(files) - 1) and 0 < written[-1] <= 10
    journal = read_journal(reference)
    assert not journal.torn
    assert [r["kind"] for r in journal.records if r["kind"] != "seen"] == ["start", *["commit"] * len(files), "end"]
    assert journal.records[-1]["account"]["seen"] == 60 and journal.records[-1]["exit"] == 0


def test_stock_reader_alone(reference: Path) -> None:
    script = ("import sys, h5py, hdf5plugin, numpy as np\n"
              "n = 0\n"
              "for path in sys.argv[1:]:\n"
              "    with h5py.File(path) as f:\n"
              "        d = f['entry/data/data']; e = d[...] * d.attrs['scale_factor']; n += len(e)\n"
              "        assert e.dtype == np.float32 and d.dtype == np.int16 and f['entry/unreduced/data'][...].dtype == np.uint16\n"
              "assert 'gpuredux' not in sys.modules; print(n)\n")
    done = subprocess.run([sys.executable, "-c", script, *map(str, parts(reference))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(chunks(reference)) > 0


@pytest.mark.parametrize(("batch", "slots"), [(1, 1), (7, 1), (7, 5), (60, 2), (100, 1)])
def test_batches_and_slots_change_nothing(reference: Path, tmp_path: Path, batch: int, slots: int) -> None:
    assert run(config(tmp_path, batch=str(batch), slots=str(slots)))["exit"] == 0
    assert content(tmp_path / "out") == content(reference)
    closed(tmp_path / "out", seen=60)


def test_backends_change_nothing(reference: Path, tmp_path: Path, target: Target) -> None:
    path = config(tmp_path, backend=target.backend.name, slots=f"2\n  device: {target.device.index}")
    assert run(path)["exit"] == 0
    assert content(tmp_path / "out") == content(reference)


def test_numpy_changes_nothing(reference: Path, tmp_path: Path) -> None:
    assert run(config(tmp_path, backend="numpy"))["exit"] == 0
    assert content(tmp_path / "out") == content(reference)


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_few_frames(tmp_path: Path, frames: int) -> None:
    assert run(config(tmp_path, frames=str(frames)))["exit"] == 0
    closed(tmp_path / "out", seen=frames)


def test_max_frames(tmp_path: Path) -> None:
    assert run(config(tmp_path), max_frames=20)["exit"] == 0
    assert closed(tmp_path / "out", seen=20)["expected"] == 20


def test_everything_vetoed(tmp_path: Path) -> None:
    text = BASE.replace("    raw_every: 7\n", "")
    assert run(config(tmp_path, text, min_lit="8000", part_frames="1"))["exit"] == 0
    closed(tmp_path / "out", seen=60, vetoed=60)
    assert len(parts(tmp_path / "out")) == 1, "a part holds at most 64 times part_frames events"


def test_without_veto_and_with_overflowing_outliers(tmp_path: Path) -> None:
    """int16 codes of a small bound: bright frames have more outliers than the list holds, and are stored exactly."""
    text = BASE.replace("  - type: veto.lit_pixels\n    threshold: 61.75\n    min_lit: 20\n    raw_every: 7\n", "")
    assert run(config(tmp_path, text, abs="0.002\n    capacity: 8"))["exit"] == 0
    summary = closed(tmp_path / "out", seen=60, written=60)
    assert 0 < summary["lossless"] < 60
    raw, _ = SIMULATION.frames(0, 60)
    energy, status = gpuredux.calib.Gain(SIMULATION.pedestal, SIMULATION.gain, good=SIMULATION.good, status=True)(raw, backend="numpy")
    got = np.concatenate([hdf5.read(p, "entry/data/data") for p in parts(tmp_path / "out")])
    exact = 0
    for i in range(60):
        good = status[i] == 0
        assert np.array_equal(np.isnan(got[i]), ~good)
        assert np.abs(got[i][good].astype(np.float64) - energy[i][good]).max() <= 0.002
        exact += np.array_equal(got[i][good], energy[i][good])
    assert exact >= summary["lossless"]


def test_raw_words_without_loss(tmp_path: Path) -> None:
    raw, truth = SIMULATION.frames(0, 25)
    source = raw_file(tmp_path / "a.h5", raw)
    assert run(file_config(tmp_path, source))["exit"] == 0
    closed(tmp_path / "out", seen=25, written=25)
    pack = "  - type: compress.bitshuffle_lz4\n"
    with_veto = BASE.replace(f"  - type: compress.quantize\n    abs: 0.5\n{pack}", f"{pack}    input: jf.raw\n")
    (tmp_path / "v").mkdir()
    assert run(config(tmp_path / "v", with_veto, frames="25"))["exit"] == 0
    for folder, wanted in ((tmp_path / "out", np.arange(25)), (tmp_path / "v" / "out", np.flatnonzero(truth.hit))):
        got = []
        for path in parts(folder):
            with h5py.File(path, "r") as f:
                got += list(zip(f["entry/data/pulse_id"][...].tolist(), f["entry/data/data"][...], strict=True))
        assert [p for p, _ in got] == wanted.tolist()
        assert all(np.array_equal(words, raw[p]) for p, words in got)


def test_overwrite(tmp_path: Path) -> None:
    path = config(tmp_path, part_frames="10\n  overwrite: true")
    assert run(path)["exit"] == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert run(config(tmp_path, part_frames="1000\n  overwrite: true"))["exit"] == 0
    assert len(parts(tmp_path / "out")) == 1 and (tmp_path / "out" / "notes.txt").read_text() == "mine"
    closed(tmp_path / "out", seen=60)


# ---------------------------------------------------------------------------------------------------------- sources
def words(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 16, (n, *SHAPE)).astype(np.uint16)


def stored(folder: Path) -> dict[int, np.ndarray]:
    found = {}
    for path in parts(folder):
        with h5py.File(path, "r") as f:
            found |= dict(zip(f["entry/data/pulse_id"][...].tolist(), f["entry/data/data"][...], strict=True))
    return found


def test_files_of_any_length(tmp_path: Path) -> None:
    raw = words(20)
    files = [raw_file(tmp_path / "a.h5", raw[:3]), raw_file(tmp_path / "b.h5", raw[3:3])]
    files.append(raw_file(tmp_path / "c.h5", raw[3:], chunks=(4, *SHAPE), compression="gzip"))
    assert run(file_config(tmp_path, *files))["exit"] == 0
    closed(tmp_path / "out", seen=20, written=20)
    got = stored(tmp_path / "out")
    assert sorted(got) == list(range(20)) and all(np.array_equal(got[i], raw[i]) for i in got)


def test_no_frames_at_all(tmp_path: Path) -> None:
    assert run(file_config(tmp_path, raw_file(tmp_path / "a.h5", words(0))))["exit"] == 0
    closed(tmp_path / "out", seen=0)
    assert not parts(tmp_path / "out")


def test_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within a batch, across batches and across files: the first one is written, the others are counted."""
    raw = words(30)
    ids = [5, 6, 7, 7, 8, 5, 2**64 - 1, 9, 10, 11, 12, 13, 14, 6, 15]
    files = [raw_file(tmp_path / "a.h5", raw[:15], np.array(ids, np.uint64)), raw_file(tmp_path / "b.h5", raw[15:], np.arange(10, 25))]
    assert run(file_config(tmp_path, *files, pulse_id=True))["exit"] == 0
    said = capsys.readouterr().err
    first: dict[int, int] = {}
    for row, pulse in enumerate([*ids, *range(10, 25)]):
        first.setdefault(pulse, row)
    closed(tmp_path / "out", seen=30, written=len(first), duplicate=30 - len(first))
    assert f"warning: {30 - len(first)} of 30 frames repeat a pulse id" in said
    got = stored(tmp_path / "out")
    assert got.keys() == first.keys() and all(np.array_equal(got[p], raw[row]) for p, row in first.items())


def test_corrupt_frames(tmp_path: Path) -> None:
    """A chunk that its filter refuses costs its frame, by name, and no other."""
    raw = words(20)
    source = raw_file(tmp_path / "a.h5", raw, np.arange(100, 120), chunks=(1, *SHAPE), fletcher32=True)
    with h5py.File(source, "r") as f:
        where = [f["raw"].id.get_chunk_info_by_coord((i, 0, 0)).byte_offset for i in (3, 12)]
    data = bytearray(source.read_bytes())
    for offset in where:
        data[offset + 100] ^= 1
    source.write_bytes(data)
    summary = run(file_config(tmp_path, source, pulse_id=True))
    assert summary["exit"] == 3 and summary["reason"] == "frames lost: 2 corrupt"
    closed(tmp_path / "out", seen=20, written=18, corrupt=2)
    corrupt = [r["corrupt"] for r in read_journal(tmp_path / "out").records if r["kind"] == "seen" and r["corrupt"]]
    assert corrupt == [[[103, 1, 1]], [[112, 1, 1]]]
    got = stored(tmp_path / "out")
    assert sorted(got) == [i for i in range(100, 120) if i not in (103, 112)] and all(np.array_equal(got[p], raw[p - 100]) for p in got)


def test_source_lost(tmp_path: Path) -> None:
    """The file is cut off while it is read: what was read is written, and the exit code says the rest is missing."""
    source = raw_file(tmp_path / "a.h5", words(200))
    prepared = prepare(file_config(tmp_path, source))
    read = prepared[2].read
    reads = []

    def cut(*given: Any) -> Any:
        reads.append(1)
        if len(reads) == 4:
            os.truncate(source, 1 << 16)
        return read(*given)

    prepared[2].read = cut  # type: ignore[method-assign]
    summary = execute(prepared, None, Console(quiet=True))
    assert summary["exit"] == 5 and "a.h5" in summary["reason"]
    seen = closed(tmp_path / "out")["account"]["seen"]
    assert 8 <= seen < 200 and summary["missing"] == 200 - seen


def test_real_frames(tmp_path: Path, real: Any) -> None:
    """Recorded Jungfrau frames with Bragg peaks against the photons that the institute's own pipeline made of them."""
    file = "jungfrau_m049_raw_to_photons.h5"
    raw, conv = real(file, "raw"), real(file, "conv")
    k = np.full((3, raw.shape[1] * raw.shape[2]), np.nan)
    k[0] = real(file, "k_g0").ravel()
    for plane in (1, 2):
        k[plane][real(file, f"k_g{plane}_index")] = real(file, f"k_g{plane}")
    with h5py.File(tmp_path / "constants.h5", "w") as f, np.errstate(divide="ignore"):
        f["pedestal"], f["gain"] = real(file, "ped"), (1 / k).reshape(3, *raw.shape[1:])     # unknown or 0: a bad constant
    raw_file(tmp_path / "raw.h5", raw, **hdf5plugin.Bitshuffle(cname="zstd"))
    text = (
        "version: 1\ndetectors:\n  jf: {type: jungfrau, shape: [256, 1024], pedestal: 'constants.h5:/pedestal', gain: 'constants.h5:/gain'}\n"
        "source: {type: hdf5, detector: jf, files: [raw.h5], raw: /raw}\nstages:\n  - {type: calib.gain, input: jf.raw, invalid: mask}\n"
        "  - {type: compress.quantize, abs: 0.05}\n  - {type: compress.bitshuffle_lz4}\nsink: {type: hdf5, path: out}\nrun: {batch: 4}\n"
    )
    assert run(config(tmp_path, text))["exit"] == 0
    closed(tmp_path / "out", seen=6, written=6)
    (path,) = parts(tmp_path / "out")
    with h5py.File(path, "r") as f:
        codes = f["entry/data/data"]
        photons, fill = codes[:2] * codes.attrs["scale_factor"], np.isin(codes[:2], [codes.attrs["missing_value"], codes.attrs["_FillValue"]])
    known = ~fill & (conv < 30000)
    assert known.mean() > 0.99
    assert np.abs(photons - conv)[known].max() <= 0.05 + 2e-3
    assert (raw[:2] == 0xC000)[~known].any() or (conv >= 30000).sum() == 0


# ---------------------------------------------------------------------------------------------------------- failures
def test_disk_full_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC at the k-th write of a part, then at the k-th fsync and rename: exit 4, the account closes, committed parts stay whole."""
    path = config(tmp_path, frames="40", part_frames="8", backend="numba")
    whole = run(path, tmp_path / "whole")
    wanted = chunks(tmp_path / "whole")
    calls = {"pwrite": 0, "fsync": 0, "rename": 0}
    for name in calls:
        real_call, limit = getattr(os, name), [1 << 60]

        def failing(*given: Any, name: str = name, real_call: Any = real_call, limit: list[int] = limit) -> Any:
            limit[0] -= 1
            if limit[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_call(*given)

        module = part_bytes if name == "pwrite" else part
        fake = type("os", (), {k: staticmethod(getattr(os, k)) if callable(getattr(os, k)) else getattr(os, k) for k in dir(os) if not k.startswith("__")})
        setattr(fake, name, staticmethod(failing))
        monkeypatch.setattr(module, "os", fake)
        k = 0
        while True:
            k = k + 1 if k < 12 or name != "pwrite" else int(k * 1.4)
            limit[0] = k
            folder = tmp_path / f"{name}{k}"
            summary = run(path, folder)
            if limit[0] > 0:
                assert summary["exit"] == 0
                break
            calls[name] += 1
            assert summary["exit"] == 4 and "No space left" in summary["reason"], summary
            account = closed(folder)["account"]
            assert account["failed"] > 0 and account["dropped"] == 0
            assert {p.name for p in folder.iterdir()} == {"journal.bin", "summary.json", *(f"part_{i:06d}.h5" for i in range(summary["parts"]))}
            assert all(wanted[pulse] == chunk for pulse, chunk in chunks(folder).items())
        monkeypatch.undo()
    assert calls["pwrite"] >= 15 and calls["fsync"] == calls["rename"] == whole["parts"]


def test_journal_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the journal cannot be written, nothing more counts as written."""
    from gpuredux.stream.journal import JournalWriter

    append, left = JournalWriter.append, [6]

    def failing(self: Any, *given: Any, **named: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, *given, **named)

    monkeypatch.setattr(JournalWriter, "append", failing)
    summary = run(config(tmp_path, batch="8", part_frames="4"))
    monkeypatch.undo()
    assert summary["exit"] == 4
    verdict = verify(tmp_path / "out")
    assert not verdict.problems and verdict.account["written"] == summary["account"]["written"]
    assert summary["account"]["seen"] == sum(summary["account"][k] for k in ACCOUNT) and summary["account"]["in_flight"] == 0
    assert verdict.account["seen"] <= summary["account"]["seen"]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_compute_fails(tmp_path: Path, batch: int) -> None:
    """What came before the batch that fails is written, in order; that batch and all after it are failed, with their ids."""
    prepared = prepare(config(tmp_path, slots="3"))
    reduce, calls = prepared[3].run, []

    def failing(slot: Any) -> None:
        calls.append(1)
        if len(calls) == batch:
            raise ArithmeticError("a kernel broke")
        reduce(slot)

    prepared[3].run = failing  # type: ignore[method-assign]
    summary = execute(prepared, None, Console(quiet=True))
    assert summary["exit"] == 3 and summary["reason"] == "compute failed: ArithmeticError: a kernel broke"
    account = closed(tmp_path / "out")["account"]
    assert account["written"] + account["vetoed"] == 16 * (batch - 1) and account["failed"] >= min(16, 60 - 16 * (batch - 1))


def test_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gpuredux.stream.cli"]
    done = subprocess.run([*command, "demo", "--output", str(tmp_path / "demo"), "--frames", "50"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pixels outside 0" in done.stdout and "0 missed, 0 kept without" in done.stdout and not done.stderr
    with h5py.File(tmp_path / "demo" / "constants.h5", "r") as f:
        assert f.attrs["gpuredux_version"] == gpuredux.__version__ and f.attrs["seed"] == demo.SEED and "simulated Jungfrau" in f.attrs["what"]
        assert [f[k].attrs.get("units") for k in ("pedestal", "gain", "good")] == ["ADU", "ADU/keV", None]
    (tmp_path / "demo" / "run" / "part_000099.h5").write_bytes(b"a crash may leave this")
    read = subprocess.run([sys.executable, str(tmp_path / "demo" / "read_back.py")], capture_output=True, text=True, timeout=240)
    (tmp_path / "demo" / "run" / "part_000099.h5").unlink()
    assert read.returncode == 0 and read.stdout.strip() in done.stdout, read.stderr
    command += ["run", str(tmp_path / "demo" / "demo.yaml"), "--output", str(tmp_path / "again")]
    again = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert content(tmp_path / "again") == content(tmp_path / "demo" / "run")
