"""The process that dies: kill -9, a disk that is full for real, signals; and damage that verify must see. Over 200 lines: one subject."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import ROOT
from test_stream_kit import BASE, SHAPE, chunks, config, file_config, parts, raw_file, said

from gpuredux.stream.event import PulseSet, pack_ids, unpack_ids
from gpuredux.stream.journal import NAME, JournalDamaged, JournalWriter, read_journal, record
from gpuredux.stream.verify import verify

COMMAND = [sys.executable, "-m", "gpuredux.stream.cli"]
NURSERY = """
import json, os, signal, sys, time
from rich.console import Console
from gpuredux.stream.session import execute, prepare
from gpuredux.compress.crc32c import crc32c
crc32c(b"warm")
config, folder = sys.argv[1:]
def child(name):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(execute(prepare(config, __import__("pathlib").Path(folder, name)), None, Console(quiet=True))["exit"])
        finally:
            os._exit(99)
    return pid
_, status = os.waitpid(child("whole"), 0)
print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
for line in sys.stdin:
    name, watched, length, delay = json.loads(line)
    pid = child(name)
    late = time.monotonic() + 60
    ended = lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    while time.monotonic() < late and not ended() and not (os.path.exists(watched) and os.path.getsize(watched) >= length):
        time.sleep(0.0002)      # till the run has come so far, whatever the machine's speed
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
"""


def moments(whole: Path) -> Iterator[tuple[str, float]]:
    """(file, length that it reaches): for the first part, the last, and two between: it appears, gets its name, is committed; and some other instant."""
    rng, last = random.Random(1), len(parts(whole)) - 1
    assert last > 10
    records = read_journal(whole).records
    for k in (0, last // 3, last * 2 // 3, last):
        upto = next(i for i, r in enumerate(records) if r["kind"] == "commit" and r["part"] == k)
        yield f"part_{k:06d}.h5.partial", 0
        yield f"part_{k:06d}.h5", 0
        yield NAME, sum(len(record(i, r)) for i, r in enumerate(records[: upto + 1]))
        yield NAME, rng.uniform(0.0, 0.95) * (whole / NAME).stat().st_size


def survived(folder: Path, wanted: dict[int, bytes]) -> int:
    """What the journal calls committed is there, bit for bit, and each event has its place; how many parts are committed."""
    verdict = verify(folder)
    assert not verdict.problems, verdict.problems
    account = verdict.account
    assert account["seen"] == account["written"] + account["vetoed"] + account["in_flight"] and len(verdict.in_flight) == account["in_flight"]
    records = [r for r in read_journal(folder).records if r["kind"] == "commit"]
    have, found = chunks(folder), set[int]()
    for r in records:
        with h5py.File(folder / r["file"], "r") as f:       # every committed part opens as it is
            assert f["entry/data/pulse_id"][...].tolist() == unpack_ids(r["reduced"]).tolist()
        found |= set(unpack_ids(r["reduced"]).tolist())
    assert all(have[p] == wanted[p] for p in found)
    assert (account["in_flight"] > 0) == (not verdict.closes)
    return len(records)


def test_kill_9(tmp_path: Path) -> None:
    path = config(tmp_path, BASE.replace("shape: [64, 128]", "shape: [16, 32]"), frames="120", part_frames="3", batch="4", min_lit="5")
    nursery = subprocess.Popen([sys.executable, "-c", NURSERY, str(path), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin and nursery.stdout
    first = json.loads(nursery.stdout.readline())
    assert first["code"] == 0
    wanted = chunks(tmp_path / "whole")
    rng, alive, committed = random.Random(2), 0, []
    for trial, (watched, length) in enumerate(moments(tmp_path / "whole")):
        folder = tmp_path / f"k{trial}"
        order = [folder.name, str(folder / watched), length, rng.choice([0.0, rng.uniform(0.0, 0.003)])]
        nursery.stdin.write(json.dumps(order) + "\n")
        nursery.stdin.flush()
        code = json.loads(nursery.stdout.readline())["code"]
        assert code in (-signal.SIGKILL, 0)
        alive += code != 0
        committed.append(survived(folder, wanted))
    nursery.stdin.close()
    assert nursery.wait(60) == 0
    nursery.stdout.close()
    assert alive >= 8 and len(set(committed)) > 5, (alive, committed)


def test_file_size_limit(tmp_path: Path) -> None:
    """A limit that the third part meets: exit 4, the two before it are whole and readable, the account closes."""
    raw = np.zeros((60, *SHAPE), np.uint16)
    raw[20:] = np.random.default_rng(0).integers(0, 1 << 16, (40, *SHAPE))      # ten of these are more than the limit
    path = file_config(tmp_path, raw_file(tmp_path / "a.h5", raw))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([*COMMAND, "run", str(path)], preexec_fn=limit, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    verdict = verify(tmp_path / "out")
    assert verdict.closes and verdict.account == summary["account"]
    assert verdict.account["written"] == 20 and verdict.account["failed"] == verdict.account["seen"] - 20 > 0
    assert [p.name for p in parts(tmp_path / "out")] == ["part_000000.h5", "part_000001.h5"]
    for part in parts(tmp_path / "out"):
        with h5py.File(part, "r") as f:
            assert not f["entry/data/data"][...].any()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_drains(tmp_path: Path, number: int) -> None:
    path = config(tmp_path, frames="1000000", part_frames="5", batch="8")
    process = subprocess.Popen([*COMMAND, "run", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "part_000002.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert not err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    verdict = verify(tmp_path / "out")
    assert verdict.closes and verdict.account == summary["account"]
    assert verdict.account["seen"] == verdict.account["written"] + verdict.account["vetoed"] > 0, "what was taken in was written"


def test_abort_counts_what_it_drops(tmp_path: Path) -> None:
    from rich.console import Console

    from gpuredux.stream.session import execute, prepare

    prepared = prepare(config(tmp_path, frames="1000000", part_frames="5", batch="8"))
    reduce, calls = prepared[3].run, []

    def twice(slot: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        reduce(slot)

    prepared[3].run = twice  # type: ignore[method-assign]
    summary = execute(prepared, None, Console(quiet=True))
    verdict = verify(tmp_path / "out")
    assert summary["exit"] == 130 and verdict.closes and verdict.account == summary["account"]
    assert verdict.account["dropped"] > 0 and verdict.account["written"] > 0


def test_a_second_signal_aborts_after_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is lost, a slow sink still has much to store: Ctrl-C twice drops that, as it does in a run that is well."""
    from rich.console import Console

    from gpuredux.stream.session import execute, prepare
    from gpuredux.stream.sink import Sink
    from gpuredux.stream.source import SourceLost

    prepared = prepare(config(tmp_path, frames="1000000", part_frames="5", batch="8", slots="4"))
    read, write, reads, lost = prepared[2].read, Sink.write, [], threading.Event()

    def broken(*given: Any) -> Any:
        reads.append(1)
        if len(reads) == 4:
            lost.set()
            raise SourceLost("gone")
        return read(*given)

    def slow(self: Sink, slot: Any) -> None:
        first, self.__dict__["slow"] = "slow" not in self.__dict__, True
        write(self, slot)
        if first:
            assert lost.wait(60)
            for _ in range(2):
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    monkeypatch.setattr(prepared[2], "read", broken)
    monkeypatch.setattr(Sink, "write", slow)
    summary = execute(prepared, None, Console(quiet=True))
    verdict = verify(tmp_path / "out")
    assert summary["exit"] == 5 and verdict.closes and verdict.account == summary["account"]
    assert verdict.account["dropped"] == 16 and verdict.account["written"] + verdict.account["vetoed"] == 8 and not verdict.account["failed"]
    assert {r["why"] for r in read_journal(tmp_path / "out").records if r["kind"] == "lost"} == {"aborted"}


# ---------------------------------------------------------------------------------------------------------- golden bytes
GOLDEN = ROOT / "tests" / "golden" / "journal_1"
RECORDS: list[dict[str, Any]] = [
    {"kind": "start", "format": 1, "config": "version: 1\n# \u00c5ngstr\u00f6m\n"},
    {"kind": "seen", "ids": [[100, 5, 1], [2**64 - 2, 3, 1]], "duplicate": [[100, 1, 1]], "corrupt": []},
    {"kind": "commit", "part": 0, "file": "part_000000.h5", "bytes": 4096, "events": 5, "written": [[100, 2, 2]], "vetoed": [[101, 2, 2], [104, 1, 1]],
     "reduced": [[100, 2, 2]], "unreduced": [], "payload": 1000, "lossless": 0},
    {"kind": "lost", "outcome": "failed", "ids": [[2**64 - 2, 3, 1]], "why": "sink: gone"},
    {"kind": "end", "account": {"seen": 9}, "closes": True, "expected": 9, "exit": 4, "reason": "sink failed: gone"},
]
# made once, by gpuredux 0.1.0: writer = JournalWriter(GOLDEN); [writer.append(r) for r in RECORDS]; then a torn record: its last 10 bytes are missing


def test_golden_journal_is_read_for_ever() -> None:
    journal, data = read_journal(GOLDEN), (GOLDEN / NAME).read_bytes()
    assert journal.records == RECORDS and "are no whole record" in journal.torn
    whole = b"".join(record(i, r) for i, r in enumerate(RECORDS))
    assert data == whole + record(len(RECORDS), RECORDS[-1])[:-10]
    assert unpack_ids(journal.records[1]["ids"]).tolist() == [100, 101, 102, 103, 104, 2**64 - 2, 2**64 - 1, 0]


# ---------------------------------------------------------------------------------------------------------- what verify sees
def test_verify_a_good_run(copy: Path) -> None:
    code, words = said(copy)
    assert code == 0 and "60 seen = " in words and "the account closes" in words


def test_verify_sees_flipped_bits(copy: Path) -> None:
    """A bit of any stored chunk."""
    rng = random.Random(2)
    (part, *_) = parts(copy)
    whole = part.read_bytes()
    with h5py.File(part, "r") as f:
        stored = [d.id.get_chunk_info(i) for d in (f["entry/data/data"], f["entry/unreduced/data"]) for i in range(len(d))]
        places = [(c.byte_offset, c.size) for c in stored]
    for offset, size in places:
        data = bytearray(whole)
        data[offset + rng.randrange(size)] ^= 1 << rng.randrange(8)
        part.write_bytes(data)
        verdict = verify(copy)
        assert not verdict.closes and len(verdict.problems) == 1 and part.name in verdict.problems[0], verdict.problems


def test_verify_sees_missing_and_strange_parts(copy: Path) -> None:
    first, second, *_ = parts(copy)
    content = first.read_bytes()
    first.unlink()
    code, words = said(copy)
    assert code == 3 and "part_000000.h5" in words and "DOES NOT CLOSE" in words
    first.write_bytes(second.read_bytes())
    code, words = said(copy)
    assert code == 3 and "are not those that were committed" in words
    first.write_bytes(content[:-1000])
    assert said(copy)[0] == 3
    first.write_bytes(content)
    shutil.copy(first, copy / "part_000099.h5")
    code, words = said(copy)
    assert code == 0 and "part_000099.h5 is no part of the run" in words


def test_verify_sees_a_damaged_journal(copy: Path) -> None:
    journal = copy / NAME
    data = journal.read_bytes()
    journal.write_bytes(data[:200] + bytes([data[200] ^ 4]) + data[201:])
    code, words = said(copy)
    assert code == 3 and "damaged at byte 0" in words
    journal.write_bytes(data[:-3])
    code, words = said(copy)
    assert code == 3 and "torn" in words and "did not end by itself" in words
    journal.unlink()
    assert said(copy)[0] == 3


# ---------------------------------------------------------------------------------------------------------- journal and ids
def test_journal_cut_and_flipped_everywhere(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    entries = [{"kind": "x", "i": i, "ids": [[i, 10 + i, 1]]} for i in range(12)]
    for entry in entries:
        writer.append(entry)
    writer.close()
    path = tmp_path / NAME
    data = path.read_bytes()
    ends = np.cumsum([len(record(i, e)) for i, e in enumerate(entries)])
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        found = read_journal(tmp_path)
        assert found.records == entries[: int((ends <= cut).sum())]
        assert bool(found.torn) == (cut not in (0, *ends))
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        try:
            found = read_journal(tmp_path)
            assert found.torn and found.records == entries[:-1] and at >= ends[-2]
        except JournalDamaged:
            assert at < ends[-2]
    path.write_bytes(data[: ends[3]] + data[ends[4] :])
    with pytest.raises(JournalDamaged, match="record 4 is missing"):
        read_journal(tmp_path)


def test_journal_after_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that did not fit leaves no trace: the next one follows the last good one."""
    writer = JournalWriter(tmp_path)
    writer.append({"kind": "a"})
    whole = os.pwrite

    def half(fd: int, data: bytes, offset: int) -> int:
        if offset > len(record(0, {"kind": "a"})):
            raise OSError(28, "No space left on device")
        return whole(fd, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="No space"):
        writer.append({"kind": "b"})
    monkeypatch.undo()
    writer.append({"kind": "c"})
    writer.close()
    assert read_journal(tmp_path) == ([{"kind": "a"}, {"kind": "c"}], "")


def test_packed_ids() -> None:
    rng = np.random.default_rng(0)
    for ids in ([], [5], [1, 2, 3, 10, 12, 14, 7], [9, 8, 7], [2**64 - 1, 0, 1], rng.integers(0, 2**64, 100, dtype=np.uint64), range(0, 9000, 9)):
        array = np.array(list(ids), np.uint64)
        assert np.array_equal(unpack_ids(json.loads(json.dumps(pack_ids(array)))), array)
    assert pack_ids(np.arange(7, 7 + 5 * 1000, 5)) == [[7, 1000, 5]]


def test_pulse_set() -> None:
    rng, ids, known = np.random.default_rng(1), PulseSet(), set[int]()
    for step in range(600):
        some = np.arange(9 * step, 9 * step + 12, dtype=np.uint64)
        if step % 3:
            some = rng.integers(0, 400 if step % 2 else 20000, rng.integers(0, 30)).astype(np.uint64)
        for pulse, new in zip(some.tolist(), ids.add(some).tolist(), strict=True):
            assert new == (pulse not in known)
            known.add(pulse)
    assert len(ids) == len(known)
    assert all(b + 1 < c for (_, b), (c, _) in zip(ids.ranges(), ids.ranges()[1:], strict=False))
