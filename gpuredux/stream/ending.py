"""How a run ended: its account held against the disk, the last record of its journal, its summary and its exit code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import constants_status, part_features
from .event import CORRUPT, DROPPED, FAILED
from .part_bytes import SinkFailed
from .runner import Runner
from .sink import VERSIONS
from .source import SourceLost
from .verify import verify

COMPLETE, INCOMPLETE, SINK_FAILED, SOURCE_LOST, INTERRUPTED = 0, 3, 4, 5, 130


def finish(run: Runner) -> dict[str, Any]:
    """Hold the account against the disk, write the journal's last record, and say how the run ended."""
    account, verdict = run.account.snapshot(), verify(run.folder, chunks=False)
    problems = list(verdict.problems)
    if verdict.account != account:
        problems.append(f"the files and the journal say {verdict.account}, the run counted {account}")
    closes = not problems and account["in_flight"] == 0
    missing = run.expected - account["seen"]
    code, reason = _ending(run, account, closes, missing)
    done, seconds = run.sink.committed, max(run.rates.seconds, 1e-9)
    summary: dict[str, Any] = {
        "exit": code, "reason": reason, "account": account, "closes": closes, "problems": problems, "expected": run.expected, "missing": missing, **done,
        "bytes_in": run.rates.bytes_in, "bytes_out": done["bytes"], "ratio": run.rates.bytes_in / done["bytes"] if done["bytes"] else None,
        "tracking": _tracking(run), "verified": _verified(run), "seconds": seconds, "folder": str(run.folder), "part_files": verdict.files, **_provenance(run),
        "warnings": [*constants_status.warnings(run.pipeline.about_constants), *part_features.warnings(run.pipeline)],
        "rates": {"frames_per_s": run.rates.frames / seconds, "gb_per_s_in": run.rates.bytes_in / seconds / 1e9,
                  "gb_per_s_out": done["bytes"] / seconds / 1e9, "busy": {k: v / seconds for k, v in run.rates.busy.items()}},
    }
    try:
        run.sink.note({"kind": "end", "account": account, "closes": closes, "expected": run.expected, "exit": code, "reason": reason,
                       "verified": summary["verified"]})
    except SinkFailed as e:
        problems.append(f"{e}: the journal has no last record")
        refuse(summary, problems[-1])
    run.sink.journal.close()
    return summary


def _tracking(run: Runner) -> dict[str, Any] | None:
    """How often the pedestals were swapped and how far they moved [ADU]."""
    follower = run.pipeline.follower
    if follower is None:
        return None
    return {"swaps": len(follower.tracker.moves), "moves": [asdict(m) for m in follower.tracker.moves]}


def _verified(run: Runner) -> dict[str, Any] | None:
    """How many chunks were decoded again while it ran, of how many, how many of them were wrong, and how far codes were from energies."""
    recheck = run.pipeline.recheck
    return None if recheck is None else recheck.counts()


def _provenance(run: Runner) -> dict[str, Any]:
    """What made the files."""
    pipeline = run.pipeline
    return {"versions": VERSIONS, "config_sha256": run.document.digest, "operations_sha256": pipeline.chain.digest(), "backend": pipeline.backend.name,
            "device": str(pipeline.device), "dtype": pipeline.stored.name, "constants": pipeline.about_constants}


def refuse(summary: dict[str, Any], why: str) -> None:
    """The disk took all frames, but not the record of the run's end: a failure of the sink, if nothing worse happened before."""
    if summary["exit"] in (COMPLETE, INTERRUPTED):
        summary["exit"], summary["reason"] = SINK_FAILED, why


def _ending(run: Runner, account: dict[str, int], closes: bool, missing: int) -> tuple[int, str]:
    """Exit code and reason."""
    if run.failure is not None:
        step, cause = run.failure
        code = SOURCE_LOST if isinstance(cause, SourceLost) else SINK_FAILED if step == "sink" or isinstance(cause, SinkFailed) else INCOMPLETE
        kind = "" if isinstance(cause, (SourceLost, SinkFailed)) else f"{type(cause).__name__}: "
        return code, f"{step} failed: {kind}{cause}"
    if not closes:
        return INCOMPLETE, "the account does not close"
    if run.interrupted and (missing or account[DROPPED]):
        return INTERRUPTED, "interrupted; all that was taken in is accounted for"
    lost = [f"{account[k]} {k}" for k in (DROPPED, FAILED, CORRUPT) if account[k]] + ([f"{missing} missing"] if missing else [])
    more = run.pipeline.recheck.said() if run.pipeline.recheck else ""
    return (INCOMPLETE, f"frames lost: {', '.join(lost)}{more}") if lost else (COMPLETE, "complete and accounted")
