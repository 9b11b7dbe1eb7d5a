"""One run from its configuration to its summary. A terminal that closes ends no run: what is displayed is lost, and the summary says so."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from . import config, constants_status, monitor
from .ending import INTERRUPTED, finish, refuse
from .pipeline import Pipeline
from .runner import Runner
from .sink import claim
from .source import FromSimulation, Source
from .source_hdf5 import FromHdf5

Prepared = tuple[config.Document, Path, Source, Pipeline]


def prepare(file: Path, output: Path | None = None) -> Prepared:
    """All of a run short of its first byte on the disk. Raises ConfigError."""
    document = config.load(file)
    folder = output.resolve() if output is not None else document.resolve(document.config.sink.path)
    claim(document, folder)
    block = document.config.source
    source: Source = FromHdf5(document, block) if isinstance(block, config.Hdf5Source) else FromSimulation(document)
    try:
        return document, folder, source, Pipeline(document, source)
    except BaseException:
        source.close()
        raise


def execute(prepared: Prepared, max_frames: int | None, console: Console) -> dict[str, Any]:
    """A whole run with its progress and summary. Raises SinkFailed."""
    document, folder, source, pipeline = prepared
    try:
        runner = Runner(document, source, pipeline, folder, max_frames)
    except BaseException:
        source.close()
        raise
    watch = monitor.Monitor(console)
    for text in constants_status.warnings(pipeline.about_constants):     # now, and in the summary: a run may be long
        monitor.complain(f"gpuredux-stream: warning: {text}")
    with _signals(runner):
        with watch:
            runner.run(watch)
        summary = {**finish(runner), "display_lost": watch.lost or None}
        try:
            monitor.write_summary(folder, summary)
        except OSError as e:
            summary["problems"].append(f"{folder / 'summary.json'}: {e.strerror}")
            refuse(summary, summary["problems"][-1])
    watch.show(monitor.table(summary))
    for problem in summary["problems"]:
        monitor.complain(problem)
    if watch.lost:
        monitor.complain(f"gpuredux-stream: nothing could be displayed any more ({watch.lost}); the run went on, see {folder / 'summary.json'}")
    if repeated := summary["account"]["duplicate"]:
        monitor.complain(f"gpuredux-stream: warning: {repeated} of {summary['account']['seen']} frames repeat a pulse id and were left out, the first of each "
                         "is kept: do the ids belong to these frames?")
    if summary["exit"] not in (0, INTERRUPTED):
        monitor.complain(f"gpuredux-stream: {summary['reason']}")
    return summary


@contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    """SIGINT and SIGTERM end the intake, the second one drops what is not stored; SIGHUP, which says that the terminal closed, ends nothing."""
    before_this = itertools.count()     # counted here: the intake may have ended for another reason, while much is still to be stored

    def on_signal(number: int, frame: object) -> None:
        if next(before_this):
            runner.abort()
        else:
            runner.stop()

    handlers: dict[signal.Signals, Any] = {signal.SIGINT: on_signal, signal.SIGTERM: on_signal, signal.SIGHUP: signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
