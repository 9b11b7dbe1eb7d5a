"""What verify says and returns: damage of any byte, cut journals, runs that failed, that go on, and displays that break. Over 200 lines: one subject."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from test_stream_kit import config, parts, said

from gpuredux.compress.crc32c import crc32c
from gpuredux.stream import sink as sinks
from gpuredux.stream.event import Account
from gpuredux.stream.journal import NAME, JournalWriter, read_journal, record
from gpuredux.stream.session import prepare
from gpuredux.stream.verify import verify

COMMAND = [sys.executable, "-m", "gpuredux.stream.cli"]


# ---------------------------------------------------------------------------------------------------------- the journal
def test_a_journal_cut_after_any_record(copy: Path) -> None:
    """With all part files beside it: never whole, and the parts that it does not know are named."""
    records, names = read_journal(copy).records, {p.name for p in parts(copy)}
    for n in range(len(records)):
        (copy / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate(records[:n])))
        code, words = said(copy, "--no-chunks")
        unknown = names - {r["file"] for r in records[:n] if r["kind"] == "commit"}
        assert code == 3 and verify(copy, chunks=False).closes == (n == len(records) - 1), (n, words)
        assert all(f"{name} is no part of the run" in words for name in unknown)
        assert ("has no start record" in words) == (n == 0) and "did not end by itself" in words
        assert ("the journal does not know its events either" in words) == (n <= 1), "later, its events are in flight"


def test_the_end_of_a_journal_alone_is_not_a_run(copy: Path) -> None:
    records = read_journal(copy).records
    (copy / NAME).write_bytes(record(0, records[1]) + record(1, records[-1]))
    code, words = said(copy)
    assert code == 3 and "has no start record" in words and "THE ACCOUNT DOES NOT CLOSE" in words


# ---------------------------------------------------------------------------------------------------------- the bytes of parts
def test_the_commit_record_has_the_digest_of_the_file(good: Path) -> None:
    for r in [r for r in read_journal(good).records if r["kind"] == "commit"]:
        assert r["crc32c"] == crc32c((good / r["file"]).read_bytes()) and r["bytes"] == (good / r["file"]).stat().st_size


def test_a_flipped_bit_anywhere_in_a_part(copy: Path) -> None:
    (part, *_) = parts(copy)
    whole, rng = part.read_bytes(), random.Random(3)
    with h5py.File(part, "r") as f:
        unread = [f[name].id.get_offset() for name in ("entry/events/score", "entry/events/reason")]
    assert None not in unread
    places = [*unread, 0, 9, len(whole) - 1, whole.find(b"version: 1"), *(len(whole) * k // 56 + rng.randrange(len(whole) // 56) for k in range(56))]
    for at in places:
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        part.write_bytes(data)
        verdict = verify(copy)
        assert not verdict.closes and part.name in verdict.problems[0], (at, verdict)
    part.write_bytes(whole)
    assert verify(copy).complete


def test_a_journal_without_digests_is_verified_as_before(copy: Path) -> None:
    """As earlier versions wrote it."""
    records = [{k: v for k, v in r.items() if k != "crc32c"} for r in read_journal(copy).records]
    (copy / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate(records)))
    code, words = said(copy)
    assert code == 0 and "the account closes" in words
    (part, *_) = parts(copy)
    with h5py.File(part, "r") as f:
        at = f["entry/data/data"].id.get_chunk_info(0).byte_offset
    data = bytearray(part.read_bytes())
    data[at + 20] ^= 1
    part.write_bytes(data)
    assert said(copy)[0] == 3


# ---------------------------------------------------------------------------------------------------------- how the run ended
@pytest.mark.parametrize(("code", "missing"), [(4, 0), (3, 0), (130, 40), (5, 1)])
def test_runs_that_were_not_complete(copy: Path, code: int, missing: int) -> None:
    *records, end = read_journal(copy).records
    records.append({**end, "exit": code, "reason": "why it ended", "expected": end["expected"] + missing})
    (copy / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate(records)))
    status, words = said(copy)
    assert status == 3 and f"the run ended: why it ended (exit {code})" in words and "the account closes, but THE RUN IS NOT COMPLETE" in words
    assert (f"{missing} of {60 + missing} expected frames are missing" in words) == bool(missing)
    verdict = verify(copy)
    assert verdict.closes and not verdict.complete


def test_a_complete_run(good: Path) -> None:
    code, words = said(good)
    assert code == 0 and "the run ended: complete and accounted (exit 0)\n" in words and words.endswith("the account closes\n")


def test_a_run_that_was_killed(copy: Path) -> None:
    """The journal stops behind the second part: README's sum closes with what was in flight. Not a success, and nothing contradicts it."""
    records = read_journal(copy).records
    stop = [i for i, r in enumerate(records) if r["kind"] == "commit"][1] + 1
    (copy / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate(records[:stop])))
    for part in parts(copy)[2:]:
        part.rename(f"{part}.partial")
    code, words = said(copy)
    verdict = verify(copy)
    flying = verdict.account["in_flight"]
    assert flying > 0 and verdict.account["seen"] == verdict.account["written"] + verdict.account["vetoed"] + flying
    assert code == 3 and f"the account closes with {flying} in flight: THE RUN WAS NOT ENDED\n" in words and "DOES NOT CLOSE" not in words, words
    assert f"in flight when the run was cut off: pulse ids {verdict.in_flight[0]}, " in words and not verdict.closes and not verdict.complete
    (part, *_) = parts(copy)
    part.write_bytes(part.read_bytes()[:-1])
    assert "THE ACCOUNT DOES NOT CLOSE\n" in said(copy)[1], "what contradicts the journal is no crash"


def test_an_ended_run_has_nothing_in_flight(copy: Path) -> None:
    *records, end = [r for r in read_journal(copy).records if r["kind"] != "commit"]
    for part in parts(copy):
        part.unlink()
    (copy / NAME).write_bytes(b"".join(record(i, r) for i, r in enumerate([*records, end])))
    code, words = said(copy)
    assert code == 3 and "THE ACCOUNT DOES NOT CLOSE\n" in words and "without an outcome: pulse ids " in words and "in flight: THE RUN" not in words


# ---------------------------------------------------------------------------------------------------------- a run that goes on
def test_a_living_run(tmp_path: Path) -> None:
    document, folder, _, pipeline = prepare(config(tmp_path))
    living = sinks.Sink(document, folder, pipeline, Account())
    for name in ("part_000000.h5", "part_000001.h5.partial"):       # its name it has, its commit record not yet
        (folder / name).write_bytes(b"on its way")
    code, words = said(folder)
    assert code == 3 and words.endswith("a run is still writing here: verify it when it has ended\n"), words
    assert "is no part" not in words and "somebody" not in words and "CLOSE" not in words and "end by itself" not in words
    living.journal.close()
    code, words = said(folder)
    assert code == 3 and "part_000000.h5 is no part of the run" in words and "DOES NOT CLOSE" in words


def test_a_run_that_ends_while_verify_looks(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last part was .partial when the folder was listed; when the journal is read it has its name and the run its end."""
    copy = Path(shutil.copytree(good, tmp_path / "copy"))
    last = parts(copy)[-1]
    last.rename(f"{last}.partial")

    def late(folder: Path) -> object:
        Path(f"{last}.partial").rename(last)
        return read_journal(folder)

    monkeypatch.setattr("gpuredux.stream.verify.read_journal", late)
    monkeypatch.setattr("gpuredux.stream.verify.being_written", lambda folder: True)
    verdict = verify(copy)
    assert verdict.complete and not verdict.living and not verdict.notes


def test_the_journal_is_open_till_its_end_record(tmp_path: Path) -> None:
    """An end record ends a run, though the process that wrote it still holds the journal."""
    writer = JournalWriter(tmp_path)
    writer.append({"kind": "start"})
    assert verify(tmp_path).living and not verify(tmp_path).complete
    writer.append({"kind": "end", "account": {}, "expected": 0, "exit": 0, "reason": "complete and accounted"})
    assert not verify(tmp_path).living and verify(tmp_path).complete
    writer.close()


# ---------------------------------------------------------------------------------------------------------- the command
def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert said(tmp_path / "file") == (2, f"{tmp_path / 'file'} is not a folder\n")
    assert said(tmp_path / "none") == (2, f"{tmp_path / 'none'}: no such folder\n")


def test_a_folder_without_a_journal(copy: Path, tmp_path: Path) -> None:
    """It has no account, neither one that closes nor one that does not."""
    (tmp_path / "empty").mkdir()
    without = "has no journal.bin: no run wrote here, or its journal was removed"
    assert said(tmp_path / "empty") == (3, f"{tmp_path / 'empty'} {without}\n")
    many = len(parts(copy))
    (copy / NAME).unlink()
    assert many > 1 and said(copy) == (3, f"{copy} {without}; nothing says what its {many} part files should hold\n")


@pytest.mark.parametrize("command", ["verify", "check", "--version"])
def test_a_broken_display_changes_no_exit_code(good: Path, tmp_path: Path, command: str) -> None:
    """X | true, which has gone before the first line, and X > /dev/full."""
    arguments = {"verify": ["verify", str(good)], "check": ["check", str(config(tmp_path))], "--version": ["--version"]}[command]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(120) == 0 and not said, said
    process.stderr.close()
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
        both = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=full, timeout=120)
    assert done.returncode == both.returncode == 0
    assert done.stderr == f"gpuredux-stream: nothing more could be displayed ({os.strerror(28)})\n"
