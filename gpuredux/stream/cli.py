"""The command gpuredux-stream: run, check, verify, dark, demo.

Exit codes: 0 complete and accounted; 2 configuration or usage; 3 the account does not close, or frames are missing, dropped, corrupt or
failed; 4 the sink failed; 5 the source was lost; 130 interrupted, and all that was taken in was written. verify has 0 only for a run that
ended by itself with 0 and whose files are what it wrote, 3 for all else that it finds. A display that breaks (a pipe or terminal that closed,
a disk that is full) changes none of them.
"""

from __future__ import annotations

import errno
import math
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from .. import __version__
from . import constants_status, monitor
from .constants_set import words as set_words
from .ending import INCOMPLETE, INTERRUPTED, SINK_FAILED
from .faults import ConfigError
from .memory import memory, momentary, words
from .part_beside import stores
from .part_bytes import SinkFailed
from .session import execute, prepare
from .verify import Verdict
from .verify import verify as verify_folder

USAGE = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Reduce detector frames as they come: calibrate, veto, quantise, compress, and account for every event.")
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="the configuration")]
Output = Annotated[Path | None, typer.Option(metavar="DIR", help="write here instead of sink.path")]
MaxFrames = Annotated[int | None, typer.Option(min=1, metavar="N", help="stop after so many frames")]


def _say(text: str) -> None:
    """A line on stdout. Flushed, so that a broken display shows here, and not when Python exits and would change the exit code."""
    try:
        print(text, flush=True)
    except (OSError, ValueError) as e:
        monitor.discard(sys.stdout)
        _lost(getattr(e, "strerror", None) or str(e))


def _lost(why: str) -> None:
    """Say that the display broke, if it did, unless somebody closed the pipe because he had read what he wants."""
    if why not in ("", os.strerror(errno.EPIPE)):
        monitor.complain(f"gpuredux-stream: nothing more could be displayed ({why})")


def _refuse(error: ConfigError) -> NoReturn:
    for text in error.lines:
        monitor.complain(text)
    raise typer.Exit(USAGE)


@app.command()
def run(file: ConfigFile, max_frames: MaxFrames = None, output: Output = None) -> None:
    """Run a configuration to its end; Ctrl-C stops the intake and writes what was taken in, twice drops it."""
    try:
        summary = execute(prepare(file, output), max_frames, Console(highlight=False))
    except ConfigError as e:
        _refuse(e)
    except SinkFailed as e:
        monitor.complain(f"gpuredux-stream: {e}")
        raise typer.Exit(SINK_FAILED) from None
    raise typer.Exit(summary["exit"])


@app.command()
def check(file: ConfigFile, output: Output = None) -> None:
    """Open the source, check all shapes, build the plan and say what a run would do; writes nothing."""
    try:
        document, folder, source, pipeline = prepare(file, output)
    except ConfigError as e:
        _refuse(e)
    source.close()
    block, frame = document.config.run, 2 * math.prod(source.frame)
    watch = monitor.Monitor(Console(highlight=False))
    watch.show([
        ("source", f"{document.config.source.type}: {source.total} frames of {source.frame} uint16, {frame / 1e6:.2f} MB each"),
        *([("constants", set_words(pipeline.about_constants))] if pipeline.about_constants else []),
        *constants_status.rows(pipeline.about_constants),
        ("stores", stores(pipeline)),
        ("operations", " -> ".join(op.name for op in pipeline.ops)),
        ("runs on", str(pipeline.device)),
        ("batch", f"{block.batch} frames, {block.batch * frame / 1e6:.1f} MB"),
        *(("" if i else "memory", line) for i, line in enumerate(words(memory(pipeline), block.slots, momentary(pipeline)))),
        *(("passes" if i == 0 else "", f"{p.ops}: {p.traffic / 1e6:.1f} MB a batch") for i, p in enumerate(pipeline.plan.passes)),
        ("output", str(folder)),
    ])
    _lost(watch.lost)
    for text in constants_status.warnings(pipeline.about_constants):
        monitor.complain(f"gpuredux-stream: warning: {text}")
    _say(f"{file}: fit to run")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder of a run")],
           chunks: Annotated[bool, typer.Option(help="read every byte: compare the digest of each file and the CRC of each chunk")] = True) -> None:
    """Hold the journal of a run against its part files; after a crash, too. Exit 0: the run was complete, and its files are what it wrote."""
    if not folder.is_dir():
        monitor.complain(f"{folder} is not a folder" if folder.exists() else f"{folder}: no such folder")
        raise typer.Exit(USAGE)
    verdict = verify_folder(folder, chunks)
    if verdict.absent:
        monitor.complain(verdict.problems[0])
        raise typer.Exit(INCOMPLETE)
    account = verdict.account
    _say(f"{account['seen']} seen = " + " + ".join(f"{n} {k.replace('_', ' ')}" for k, n in account.items() if k != "seen"))
    _say(f"{len(verdict.files)} parts committed" + (f", {verdict.chunks} chunks have the CRC that was written" if chunks and not verdict.problems else ""))
    if len(verdict.in_flight) and not verdict.living:
        some = ", ".join(map(str, verdict.in_flight[:5].tolist()))
        what = "in flight when the run was cut off" if verdict.cut_off else "without an outcome"
        _say(f"{what}: pulse ids {some}{', ...' if len(verdict.in_flight) > 5 else ''}")
    if verdict.ended is not None:
        expected, missing = verdict.ended["expected"], verdict.ended["expected"] - account["seen"]
        gone = f"; {missing} of {expected} expected frames are missing" if missing else ""
        _say(f"the run ended: {verdict.ended['reason']} (exit {verdict.ended['exit']}){gone}")
    for text in (*verdict.notes, *verdict.problems):
        monitor.complain(text)
    _say(_conclusion(verdict))
    raise typer.Exit(0 if verdict.complete else INCOMPLETE)


def _conclusion(verdict: Verdict) -> str:
    """The last line of verify."""
    if verdict.living and not verdict.problems:
        return "a run is still writing here: verify it when it has ended"
    if verdict.cut_off:
        return f"the account closes with {verdict.account['in_flight']} in flight: THE RUN WAS NOT ENDED"
    if not verdict.closes:
        return "THE ACCOUNT DOES NOT CLOSE"
    return "the account closes" if verdict.complete else "the account closes, but THE RUN IS NOT COMPLETE"


@app.command()
def dark(file: ConfigFile,
         output: Annotated[Path | None, typer.Option(metavar="FILE.h5", help="write here instead of output.path")] = None) -> None:
    """Measure pedestal, noise and status of each pixel from dark frames, and write a constants file; Ctrl-C ends it without one."""
    from .dark import execute, prepare

    try:
        code = execute(prepare(file, output), Console(highlight=False))
    except ConfigError as e:
        _refuse(e)
    raise typer.Exit(code)


@app.command()
def demo(output: Annotated[Path, typer.Option(metavar="DIR", help="a new folder")] = Path("gpuredux-demo"),
         frames: Annotated[int, typer.Option(min=50, metavar="N")] = 200) -> None:
    """Simulate a detector, reduce its frames, read the files back without gpuredux, and compare with the truth."""
    from .demo import demonstrate

    try:
        code = demonstrate(output, frames, Console(highlight=False))
    except ConfigError as e:
        _refuse(e)
    except SinkFailed as e:
        monitor.complain(f"gpuredux-stream: {e}")
        raise typer.Exit(SINK_FAILED) from None
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"gpuredux-stream {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")] = False) -> None:
    """Options of the command itself."""


def main() -> None:
    """The entry point."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
