"""What a person sees of a run: one live line on a terminal, plain lines elsewhere, and the summary, as a table and as JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .runner import Runner

PLAIN_EVERY = 5.0       # seconds between plain lines


class Monitor:
    """Call it with the runner now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next = time.monotonic() + PLAIN_EVERY
        self._last = (time.monotonic(), 0)

    def __enter__(self) -> Monitor:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, runner: Runner) -> None:
        if self._live:
            self._live.update(Text(line(runner), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() >= self._next:
            self._next += PLAIN_EVERY
            self._console.print(line(runner), highlight=False, soft_wrap=True)


def line(runner: Runner) -> str:
    """Frames, rates, ratio and the account on one line."""
    a, r, done = runner.account.snapshot(), runner.rates, runner.sink.committed
    seconds = max(r.seconds, 1e-9)
    return (f"{a['seen']}/{runner.expected} frames  {a['seen'] / seconds:.1f} frames/s  in {r.bytes_in / seconds / 1e9:.3f} GB/s  "
            f"out {done['payload'] / seconds / 1e9:.3f} GB/s  written {a['written']}  vetoed {a['vetoed']}  in flight {a['in_flight']}"
            + "".join(f"  {k} {a[k]}" for k in ("dropped", "failed", "duplicate", "corrupt") if a[k]))


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
        ("bytes", f"{summary['bytes_in'] / 1e6:.1f} MB in, {summary['bytes_out'] / 1e6:.1f} MB out{ratio}"),
        ("speed", f"{rates['frames_per_s']:.1f} frames/s, {rates['gb_per_s_in']:.3f} GB/s in, {summary['seconds']:.1f} s"),
        ("busy", ", ".join(f"{k} {v:.0%}" for k, v in rates["busy"].items())),
        ("files", summary["folder"]),
        ("ended", f"{summary['reason']} (exit {summary['exit']})"),
    ]


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """summary.json, whole or not at all. Raises OSError."""
    partial = folder / "summary.json.partial"
    with open(partial, "w") as f:
        json.dump(summary, f, indent=2)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, folder / "summary.json")
