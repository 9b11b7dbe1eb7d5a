"""What a person sees of a run: one live line on a terminal, plain lines elsewhere, and the summary, as a table and as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ..compress.hdf5_layout import sync
from . import constants_set, constants_status
from .runner import Runner

PLAIN_EVERY = 5.0       # seconds between plain lines


class Monitor:
    """Call it with the runner now and then. A display that breaks must not end a run: it is switched off, and `lost` says why."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next = time.monotonic() + PLAIN_EVERY
        self.lost = ""

    def __enter__(self) -> Monitor:
        if self._live:
            self._attempt(self._live.start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._attempt(self._live.stop)

    def __call__(self, runner: Runner) -> None:
        self.tell(lambda: line(runner))

    def tell(self, words: Callable[[], str]) -> None:
        """The line of this moment."""
        if self._live:
            self._attempt(self._live.update, Text(words(), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() >= self._next:
            self._next += PLAIN_EVERY
            self._attempt(self._console.print, words(), highlight=False, soft_wrap=True)

    def print(self, what: RenderableType) -> None:
        self._attempt(self._console.print, what)

    def show(self, rows: list[tuple[str, str]]) -> None:
        """A table of two columns."""
        self._attempt(show, self._console, rows)

    def _attempt(self, display: Callable[..., object], *given: Any, **named: Any) -> None:
        try:
            if not self.lost:
                display(*given, **named)
        except (Exception, SystemExit) as e:        # SystemExit is what rich makes of a broken pipe
            cause = e.__context__ if isinstance(e, SystemExit) and e.__context__ else e
            self.lost = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
            self._console.quiet = True
            if self._live:
                with suppress(OSError, ValueError, IndexError):     # it gives sys.stdout and sys.stderr back, whether it had started or not
                    self._live.stop()
            discard(self._console.file)


def complain(text: str) -> None:
    """A line on stderr. Where that is closed, the exit code and summary.json must do."""
    try:
        print(text, file=sys.stderr)
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: Any) -> None:
    """Send what a broken stream still holds to nowhere: Python would fail on it once more when it exits, and change the exit code."""
    with suppress(OSError, ValueError):     # a stream that is no file holds nothing
        number, nowhere = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def line(runner: Runner) -> str:
    """Frames, rates, ratio and the account on one line."""
    a, r, stored = runner.account.snapshot(), runner.rates, runner.sink.committed["bytes"]
    seconds, frame = max(r.seconds, 1e-9), runner.slots[0].raw[:1].nbytes
    settled = (a["seen"] - a["corrupt"] - a["in_flight"]) * frame       # bytes_in runs ahead of the files; at the end they are equal
    ratio = f"ratio {settled / stored:.1f}  " if stored else ""
    return (f"{a['seen']}/{runner.expected} frames  {a['seen'] / seconds:.1f} frames/s  in {r.bytes_in / seconds / 1e9:.3f} GB/s  "
            f"out {stored / seconds / 1e9:.3f} GB/s  {ratio}written {a['written']}  vetoed {a['vetoed']}  in flight {a['in_flight']}"
            + "".join(f"  {k} {a[k]}" for k in ("dropped", "failed", "duplicate", "corrupt") if a[k])
            + (f"  verified {check.chunks}" if (check := runner.pipeline.recheck) else ""))


def show(console: Console, rows: list[tuple[str, str]]) -> None:
    """A table of two columns."""
    for key, words in rows:
        console.print(Text.assemble((f"{key:12}", "bold"), words), soft_wrap=True)


def table(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary for a person."""
    account = summary["account"]
    total = " + ".join(f"{account[k]} {k}" for k in account if k != "seen" and (account[k] or k in ("written", "vetoed")))
    rates = summary["rates"]
    kinds = ", ".join(f"{summary[k]} {word}" for k, word in (("reduced", "reduced"), ("lossless", "of them without loss"), ("unreduced", "unreduced")))
    ratio = f", ratio {summary['ratio']:.1f}" if summary["ratio"] else ""
    return [
        ("account", f"{account['seen']} seen = {total}: {'closes, and the files agree' if summary['closes'] else 'DOES NOT CLOSE'}"),
        *([("missing", f"{summary['missing']} of {summary['expected']} expected frames")] if summary["missing"] else []),
        ("stored", f"{kinds}, in {summary['parts']} parts"),
        *([("verified", _verified(v))] if (v := summary["verified"]) else []),
        ("bytes", f"{summary['bytes_in'] / 1e6:.1f} MB in, {summary['bytes_out'] / 1e6:.1f} MB out{ratio}"),
        ("speed", f"{rates['frames_per_s']:.1f} frames/s, {rates['gb_per_s_in']:.3f} GB/s in, {summary['seconds']:.1f} s"),
        ("busy", ", ".join(f"{k} {v:.0%}" for k, v in rates["busy"].items())),
        *([("constants", constants_set.words(held))] if (held := summary["constants"]) else []),
        *constants_status.rows(summary["constants"]),
        *[("warning", text) for text in summary["warnings"]],
        *([("pedestals", _moved(tracked["moves"]))] if (tracked := summary["tracking"]) else []),
        ("files", summary["folder"]),
        ("ended", f"{summary['reason']} (exit {summary['exit']})"),
    ]


def _verified(v: dict[str, Any]) -> str:
    words = f"1 chunk in {v['each']} decoded again: {v['chunks']} of {v['of']}, {v['failed']} wrong"
    if "bounds" not in v:
        return words
    bound = "" if v["bound"] is None else f", the bound is {v['bound']:.6g}"
    largest = "Inf" if v["largest_error"] is None else f"{v['largest_error']:.6g}"
    return f"{words}; {v['bounds']} held against their energies: largest error {largest}{bound}, {v['broken']} beyond"


def _moved(moves: list[dict[str, Any]]) -> str:
    if not moves:
        return "tracked; never due"
    last = moves[-1]
    return (f"tracked: swapped {len(moves)} times, {last['pixels']} pixels moved the last time; now {last['median']:.2f} ADU from the start in the median, "
            f"{last['most']:.2f} at most")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json, whole or not at all. Raises OSError."""
    partial = folder / "summary.json.partial"
    try:
        with open(partial, "w") as f:
            json.dump(summary, f, indent=2)
            f.write("\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, folder / "summary.json")
        sync(folder)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
