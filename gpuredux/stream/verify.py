"""The account of a run from what lies on the disk: the journal and the part files, each held against the other, by pulse id.

It needs no memory of the run: after a crash it says what is committed and which pulse ids were in flight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..compress import hdf5
from .event import OUTCOMES, VETOED, WRITTEN, Ids, PulseSet, pack_ids, unpack_ids
from .journal import NAME, JournalDamaged, being_written, read_journal
from .part_beside import NAMES
from .part_bytes import digest
from .part_features import ACCUMULATED, lengths
from .sink import OURS

NONE = np.zeros(0, np.uint64)


@dataclass
class Verdict:
    """account: seen, the outcomes and in_flight, as the disk has them; problems: what contradicts it; notes: what a crash may leave."""

    account: dict[str, int]
    in_flight: Ids
    files: list[str] = field(default_factory=list)      # the parts that were committed
    strays: list[str] = field(default_factory=list)     # parts that no commit record names
    chunks: int = 0
    absent: bool = False                                # there is no journal, and so no account
    living: bool = False                                # a run is still writing: nothing here is final
    ended: dict[str, Any] | None = None                 # the journal's last record
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def closes(self) -> bool:
        """Every event seen has one outcome, and the files hold what the journal says. A journal that was cut may know nothing of the files beside it."""
        return not self.problems and self.account["in_flight"] == 0 and (self.ended is not None or not self.strays)

    @property
    def cut_off(self) -> bool:
        """All that was seen has an outcome or was in flight when the process ended without a word; nothing contradicts it."""
        return not self.problems and self.ended is None and self.account["in_flight"] > 0

    @property
    def complete(self) -> bool:
        """The account closes, and the run ended by itself and called itself complete: no frame was dropped, corrupt, failed or missing."""
        return self.closes and self.ended is not None and self.ended["exit"] == 0


def verify(folder: Path, chunks: bool = True) -> Verdict:
    """Read the journal and all parts; chunks: every byte of them too, each file against its digest and each stored chunk against its CRC."""
    verdict = Verdict({"seen": 0, **dict.fromkeys(OUTCOMES, 0), "in_flight": 0}, NONE)
    try:
        # in this order: what is committed or ends while we look may be missing in the list, and never in the journal
        verdict.living = being_written(folder)
        there = sorted(p.name for p in folder.iterdir() if OURS.fullmatch(p.name) and p.name.startswith("part_"))
        journal = read_journal(folder)
    except JournalDamaged as e:
        verdict.problems.append(str(e))
        return verdict
    except OSError as e:
        verdict.absent = not (folder / NAME).exists()
        verdict.problems.append(_without(folder) if verdict.absent else f"{e.filename}: {e.strerror}")
        return verdict
    if not journal.records or journal.records[0]["kind"] != "start":
        verdict.problems.append(f"{folder / NAME} has no start record: it was cut, or is not the journal of a run")
    _settle(verdict, _outcomes(folder, journal.records, verdict, chunks))
    verdict.living &= verdict.ended is None
    if not verdict.living:      # else all of this is as it should be
        verdict.strays = [n for n in there if n not in verdict.files and (folder / n).exists()]     # a .partial may have got its name meanwhile
        lone = [n for n in (ACCUMULATED, f"{ACCUMULATED}.partial") if n not in {r.get("file") for r in journal.records} and (folder / n).exists()]
        verdict.notes += [f"{n} is of no run that ended: the journal does not know it" for n in lone]
        verdict.notes += [journal.torn] if journal.torn else []
        verdict.notes += [f"{name} is no part of the run: {_stray(name, verdict)}" for name in verdict.strays]
        if verdict.ended is None:
            verdict.notes.append("the journal has no last record: the run did not end by itself")
    return verdict


def _without(folder: Path) -> str:
    """A folder without a journal."""
    lone = sum(1 for p in folder.iterdir() if OURS.fullmatch(p.name) and p.name.startswith("part_")) if folder.is_dir() else 0
    return f"{folder} has no {NAME}: no run wrote here, or its journal was removed{f'; nothing says what its {lone} part files should hold' if lone else ''}"


def _outcomes(folder: Path, records: list[dict[str, Any]], verdict: Verdict, chunks: bool) -> dict[str, Ids]:
    """The ids of the journal and the parts: seen, and by outcome."""
    ids: dict[str, list[Ids]] = {k: [NONE] for k in ("seen", *OUTCOMES)}
    for record in records:
        if record["kind"] == "seen":
            ids["seen"].append(unpack_ids(record["ids"]))
            for outcome in ("duplicate", "corrupt"):
                verdict.account[outcome] += len(unpack_ids(record[outcome]))
        elif record["kind"] == "lost":
            ids[record["outcome"]].append(unpack_ids(record["ids"]))
        elif record["kind"] == "commit":
            verdict.files.append(record["file"])
            found, problems = _part(folder / record["file"], record, chunks)
            verdict.problems += problems
            verdict.chunks += found.pop("chunks")
            for outcome, part in found.items():
                ids[outcome].append(part)
        elif record["kind"] == "accumulated":
            verdict.problems += _accumulated(folder / record["file"], record, chunks)
        elif record["kind"] == "end":
            verdict.ended = record
    return {k: np.concatenate(v) for k, v in ids.items()}


def _accumulated(path: Path, record: dict[str, Any], chunks: bool) -> list[str]:
    """Where the file of what accumulated is not what was written."""
    try:
        with open(path, "rb") as raw:
            size, crc = digest(raw.fileno()) if chunks else (path.stat().st_size, record["crc32c"])
    except OSError as e:
        return [f"{path.name}: {e.strerror}"]
    return [] if (size, crc) == (record["bytes"], record["crc32c"]) else [f"{path.name} is not the file that was written"]


def _stray(name: str, verdict: Verdict) -> str:
    """What a part file is that no commit record names."""
    if verdict.ended is None and verdict.account["in_flight"] == 0:
        return "the journal does not know its events either: the journal was cut, or somebody put the file here"
    how = "was cut off" if verdict.ended is None else "ended"
    if name.endswith(".partial"):
        return f"it was still being written when the run {how}; its events count as in flight"
    return (f"the run {how} after the file got its name and before the journal recorded it, or somebody put it here; the journal decides: do not read it "
            "as data of this run, its events count as in flight")


def _settle(verdict: Verdict, ids: dict[str, Ids]) -> None:
    """Counts, and the identity by pulse id: no outcome without being seen, no event with two."""
    account, seen = verdict.account, PulseSet()
    account["seen"] = len(ids["seen"]) + account["duplicate"] + account["corrupt"]
    if not seen.add(ids["seen"]).all():
        verdict.problems.append("the journal lists pulse ids as seen twice")
    outcomes = [k for k in OUTCOMES if k not in ("duplicate", "corrupt")]
    for k in outcomes:
        account[k] = len(ids[k])
    settled = np.concatenate([ids[k] for k in outcomes])
    if not PulseSet().add(settled).all():
        verdict.problems.append("pulse ids have two outcomes")
    strange = settled[seen.add(settled)]
    if len(strange):
        verdict.problems.append(f"{len(strange)} pulse ids have an outcome and were never seen, the first is {strange[0]}")
    verdict.in_flight = np.setdiff1d(ids["seen"], settled)
    account["in_flight"] = account["seen"] - sum(account[k] for k in OUTCOMES)


def _part(path: Path, record: dict[str, Any], chunks: bool) -> tuple[dict[str, Any], list[str]]:
    """What a committed part really holds, by outcome, and where it is not what its record says."""
    found: dict[str, Any] = {WRITTEN: NONE, VETOED: NONE, "chunks": 0}
    problems: list[str] = []
    try:
        if path.stat().st_size != record["bytes"]:
            problems.append(f"{path.name} has {path.stat().st_size} bytes, {record['bytes']} were committed")
        held = _content(path, chunks, found, problems)
        for name, there in {**{k: found[k] for k in (WRITTEN, VETOED)}, **held}.items():
            if pack_ids(there) != record[name]:
                problems.append(f"{path.name}: its {name} pulse ids are not those that were committed")
        if chunks and not problems and "crc32c" in record:      # earlier runs have none; a problem above says more exactly what is wrong
            with open(path, "rb") as raw:
                if digest(raw.fileno())[1] != record["crc32c"]:
                    problems.append(f"{path.name} is not, bit for bit, the file that was committed: something other than its frames and pulse ids has changed")
    except Exception as e:      # h5py raises nearly anything on a damaged file, and each of it says that the part is not whole
        problems.append(f"{path.name}: {e if isinstance(e, (OSError, ValueError, RuntimeError)) else f'{type(e).__name__}: {e}'}")
    return found, problems


def _content(path: Path, chunks: bool, found: dict[str, Any], problems: list[str]) -> dict[str, Ids]:
    """Fill what a part holds by outcome; the pulse ids of its frames."""
    with h5py.File(path, "r", locking=False) as file:
        entry = file["entry"]
        events, kept = entry["events/pulse_id"][...], (entry["events/keep"][...] | entry["events/raw"][...]) != 0
        held = {"reduced": entry["data/pulse_id"][...], "unreduced": entry["unreduced/pulse_id"][...] if "unreduced" in entry else NONE}
        if not np.array_equal(np.union1d(*held.values()), np.sort(events[kept])):
            problems.append(f"{path.name}: the pulse ids of its frames are not those of its written events")
        problems += [f"{path.name}: {p}" for group in entry.get("features", {}).values() for p in lengths(group)]
        stored = [*([("data", "data")] if "data" in entry["data"] else []), *(("data", n) for n in NAMES if n in entry["data"]), ("unreduced", "data")]
        for name, array in [(n, a) for n, a in stored if n in entry]:
            if len(entry[name][array]) != len(entry[name]["pulse_id"]):
                of = "" if array == "data" else f"{array} of "
                problems.append(f"{path.name}: /entry/{name} has {of}{len(entry[name][array])} frames and {len(entry[name]['pulse_id'])} pulse ids")
            if chunks:
                report = hdf5.verify(file, f"entry/{name}/{array}")
                found["chunks"] += report.chunks
                problems += [f"{path.name}: {p}" for p in report.problems]
        found |= {WRITTEN: events[kept], VETOED: events[~kept]}
    return held
