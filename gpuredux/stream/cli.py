"""The command gpuredux-stream: run, check, verify, demo.

Exit codes: 0 complete and accounted; 2 configuration or usage; 3 the account does not close, or frames are missing, dropped, corrupt or
failed; 4 the sink failed; 5 the source was lost; 130 interrupted, and all that was taken in was written. A display that breaks (a pipe or
terminal that closed) changes none of them.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from .. import __version__
from . import monitor
from .ending import INCOMPLETE, INTERRUPTED, SINK_FAILED
from .faults import ConfigError
from .memory import memory, momentary, words
from .part_bytes import SinkFailed
from .session import execute, prepare
from .verify import verify as verify_folder

USAGE = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Reduce detector frames as they come: calibrate, veto, quantise, compress, and account for every event.")
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="the configuration")]
Output = Annotated[Path | None, typer.Option(metavar="DIR", help="write here instead of sink.path")]
MaxFrames = Annotated[int | None, typer.Option(min=1, metavar="N", help="stop after so many frames")]


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
    console = Console(highlight=False)
    block, frame = document.config.run, 2 * math.prod(source.frame)
    monitor.show(console, [
        ("source", f"{document.config.source.type}: {source.total} frames of {source.frame} uint16, {frame / 1e6:.2f} MB each"),
        ("operations", " -> ".join(op.name for op in pipeline.ops)),
        ("runs on", str(pipeline.device)),
        ("batch", f"{block.batch} frames, {block.batch * frame / 1e6:.1f} MB"),
        *(("" if i else "memory", line) for i, line in enumerate(words(memory(pipeline), block.slots, momentary(pipeline)))),
        *(("passes" if i == 0 else "", f"{p.ops}: {p.traffic / 1e6:.1f} MB a batch") for i, p in enumerate(pipeline.plan.passes)),
        ("output", str(folder)),
    ])
    print(f"{file}: fit to run")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder of a run")],
           chunks: Annotated[bool, typer.Option(help="read every stored chunk and compare its CRC")] = True) -> None:
    """Hold the journal of a run against its part files; after a crash, too."""
    if not folder.is_dir():
        print(f"{folder}: no such folder", file=sys.stderr)
        raise typer.Exit(USAGE)
    verdict = verify_folder(folder, chunks)
    account = verdict.account
    print(f"{account['seen']} seen = " + " + ".join(f"{n} {k.replace('_', ' ')}" for k, n in account.items() if k != "seen"))
    print(f"{len(verdict.files)} parts committed" + (f", {verdict.chunks} chunks have the CRC that was written" if chunks and not verdict.problems else ""))
    if len(verdict.in_flight):
        some = ", ".join(map(str, verdict.in_flight[:5].tolist()))
        print(f"in flight when the run ended: pulse ids {some}{', ...' if len(verdict.in_flight) > 5 else ''}")
    for text in (*verdict.notes, *verdict.problems):
        print(text, file=sys.stderr)
    print("the account closes" if verdict.closes else "THE ACCOUNT DOES NOT CLOSE")
    raise typer.Exit(0 if verdict.closes else INCOMPLETE)


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
        print(f"gpuredux-stream {__version__}")
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
