"""gpuredux-stream dark: from dark frames to a constants file. Each gain stage is looked at twice: a sample for the gate, then all frames in one pass."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import backends
from ..backends import BackendUnavailable, Device
from ..calib.constants import Constants
from ..calib.dark_kind import Stage, names_of
from ..calib.dark_status import Limits
from ..calib.darks import DarkResult, DarkRun, summary, to_constants
from .dark_config import DarkDocument, load
from .dark_source import DarkSource
from .ending import COMPLETE, INCOMPLETE, INTERRUPTED, SINK_FAILED, SOURCE_LOST
from .faults import ConfigError
from .monitor import Monitor, complain
from .source import SourceLost

Prepared = tuple[DarkDocument, Path, list[DarkSource], Device]


class _Stopped(Exception):
    """SIGINT or SIGTERM came between two batches."""


def prepare(file: Path, output: Path | None = None) -> Prepared:
    """All that can be checked before the first frame is read. Raises ConfigError."""
    document = load(file)
    path = output.resolve() if output is not None else document.resolve(document.config.output.path)
    _claim(document, path)
    run, faults, sources = document.config.run, list[str](), []
    for i in range(len(document.config.darks)):
        try:
            sources.append(DarkSource(document, i))
        except ConfigError as e:
            faults += e.lines
    try:
        device = backends.get(run.backend).devices()[run.device]
    except BackendUnavailable as e:
        faults.append(document.at(("run", "backend"), str(e)))
    except IndexError:
        count = len(backends.get(run.backend).devices())
        faults.append(document.at(("run", "device"), f"{run.backend} has {count} devices, counted from 0; got {run.device}"))
    if faults:
        raise ConfigError(faults)
    return document, path, sources, device


def _claim(document: DarkDocument, path: Path) -> None:
    """Refuse a file that is there, unless overwrite is true, and one that cannot be made. Leaves all as it is. Raises ConfigError."""
    place = ("output", "path")
    try:
        if path.exists() and not document.config.output.overwrite:
            raise ConfigError([document.at(place, f"{path} is there already: choose another file, or set output.overwrite: true")])
        if path.is_dir() or not path.parent.is_dir():
            raise ConfigError([document.at(place, f"{path} is a folder" if path.is_dir() else f"{path.parent} is no folder")])
        trial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")       # as Constants.save calls it: only a trial tells for every file system
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        trial.unlink()
    except (OSError, ValueError) as e:
        if isinstance(e, ConfigError):
            raise
        raise ConfigError([document.at(place, f"{str(path)[:200]!r} cannot be written: {getattr(e, 'strerror', None) or e}")]) from None


def execute(prepared: Prepared, console: Console) -> int:
    """Measure, write, show; the exit code. Nothing is written of a run that was interrupted or whose source was lost."""
    document, path, sources, device = prepared
    watch, results = Monitor(console), dict[Stage, DarkResult]()
    try:
        with _stoppable() as stopped, watch:
            for i, source in enumerate(sources):
                results[document.config.darks[i].stage] = _measure(document, i, source, device, watch, stopped)
    except _Stopped:
        complain("gpuredux-stream: interrupted; no constants were written")
        return INTERRUPTED
    except SourceLost as e:
        complain(f"gpuredux-stream: source failed: {e}")
        return SOURCE_LOST
    runs = [f"{d.title}: {name}" for d, source in zip(document.config.darks, sources, strict=True) for name in source.files]
    made = to_constants(results, document.detector[1], document.config.estimator.write == "robust", runs, _notes(document, results, device))
    try:
        made.save(path, document.config.output.overwrite)
    except (OSError, RuntimeError) as e:        # HDF5 closing a file that it can no longer write is a RuntimeError
        complain(f"gpuredux-stream: {path}: {_refusal(e, path)}; no constants were written")
        return SINK_FAILED
    watch.print(_table(results, names_of(results, document.detector[1]), made))
    watch.show([*_statuses(made), ("constants", str(path)), ("estimate", document.config.estimator.write), ("digest", made.digest[:16])])
    lost = sum(source.corrupt for source in sources)
    if lost:
        complain(f"gpuredux-stream: {lost} frames could not be decoded; the constants are of the others")
    return INCOMPLETE if lost else COMPLETE


def _refusal(error: BaseException, path: Path) -> str:
    """What the system said, without HDF5's long words about it."""
    words = " ".join(str(error).split())
    said = re.search(r"error message = '([^']*)'", words)
    if said or getattr(error, "strerror", None):
        return said[1] if said else str(getattr(error, "strerror", None))
    return words.removeprefix(f"{path}: ").removeprefix(f"{path} ")[:200]


def _measure(document: DarkDocument, i: int, source: DarkSource, device: Device, watch: Monitor, stopped: list[int]) -> DarkResult:
    """One gain stage or state."""
    config, (block, kind, _) = document.config, document.detector
    dark, cells = config.darks[i], block.cells
    run = DarkRun(kind, dark.gain or 0, cells, config.estimator.width, Limits(**config.estimator.limits.model_dump()), config.run.backend, device,
                  state=dark.state)
    watch.tell(lambda: f"{dark.title}: a sample of {config.estimator.sample} frames{' of each cell' if cells else ''} sets the gate")
    sample, cell = source.sample(config.estimator.sample)
    if not len(sample):
        raise SourceLost(f"{', '.join(source.files)}: no frame of the sample can be decoded")
    run.look(sample, cell.astype(np.uint16) if cells else None)
    del sample
    for raw, number in source.batches():
        if stopped:
            raise _Stopped
        run.add(raw, number.astype(np.uint16) if cells else None)
        watch.tell(lambda: f"{dark.title}: {run.frames}/{source.total} frames")
    return run.finish()


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM fill; SIGHUP, which says that the terminal closed, ends nothing."""
    came: list[int] = []
    handlers: dict[signal.Signals, Any] = {s: lambda number, _: came.append(number) for s in (signal.SIGINT, signal.SIGTERM)}
    before = {number: signal.signal(number, handler) for number, handler in {**handlers, signal.SIGHUP: signal.SIG_IGN}.items()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notes(document: DarkDocument, results: dict[Stage, DarkResult], device: Device) -> str:
    """How the constants were made, as JSON."""
    estimator = document.config.estimator
    return json.dumps({"made": "gpuredux-stream dark", "config_sha256": document.digest, "estimator": estimator.model_dump(), "device": str(device),
                       "largest_count": {g: int(r.count.max()) for g, r in results.items()}})


def _table(results: dict[Stage, DarkResult], names: dict[Stage, str], made: Constants) -> Table:
    """Medians over the pixels without a status."""
    table = Table(box=None, pad_edge=False)
    for name in ("gain", "pedestal", "noise", "plain pedestal", "plain noise", "pixels", "good"):
        table.add_column(name, justify="left" if name == "gain" else "right", no_wrap=True)
    for (stage, plane), status in zip(names.items(), made.arrays["status"], strict=True):
        r, good = results[stage], status == 0
        middle = [f"{np.median(x[good]):.2f}" if good.any() else "-" for x in (r.pedestal, r.noise, r.plain_pedestal, r.plain_noise)]
        table.add_row(plane if plane == stage else f"{stage} ({plane})", *middle, str(good.size), f"{good.mean():.2%}")
    return table


def _statuses(made: Constants) -> list[tuple[str, str]]:
    """How many pixels of each gain stage have each status."""
    counts = {p: ", ".join(f"{n} {k}" for k, n in summary(s).items() if n) for p, s in zip(made.planes, made.arrays["status"], strict=True)}
    return [("status" if i == 0 else "", f"{p}: {words or 'all good'}") for i, (p, words) in enumerate(counts.items())]
