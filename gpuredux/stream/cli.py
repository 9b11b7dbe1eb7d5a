"""The command gpuredux-stream: run, check, verify, demo.

Exit codes: 0 complete and accounted; 2 configuration or usage; 3 the account does not close, or frames are missing, dropped, corrupt or
failed; 4 the sink failed; 5 the source was lost; 130 interrupted, and all that was taken in was written.
"""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from .. import __version__
from . import config, monitor
from .ending import INCOMPLETE, INTERRUPTED, SINK_FAILED, finish, refuse
from .faults import ConfigError
from .part_bytes import SinkFailed
from .pipeline import Pipeline
from .runner import Runner
from .sink import claim
from .source import FromSimulation, Source
from .source_hdf5 import FromHdf5
from .verify import verify as verify_folder

USAGE = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Reduce detector frames as they come: calibrate, veto, quantise, compress, and account for every event.")
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="the configuration")]
Output = Annotated[Path | None, typer.Option(metavar="DIR", help="write here instead of sink.path")]
MaxFrames = Annotated[int | None, typer.Option(min=1, metavar="N", help="stop after so many frames")]


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


def _refuse(error: ConfigError) -> NoReturn:
    for text in error.lines:
        print(text, file=sys.stderr)
    raise typer.Exit(USAGE)


def execute(prepared: Prepared, max_frames: int | None, console: Console) -> dict[str, Any]:
    """A whole run with its progress and summary. Raises SinkFailed."""
    document, folder, source, pipeline = prepared
    runner = Runner(document, source, pipeline, folder, max_frames)

    def on_signal(number: int, frame: object) -> None:
        if runner.interrupted:
            runner.abort()
        else:
            runner.stop()

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        with monitor.Monitor(console) as watch:
            runner.run(watch)
        summary = finish(runner)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        monitor.write_summary(folder, summary)
    except OSError as e:
        summary["problems"].append(f"{folder / 'summary.json'}: {e.strerror}")
        refuse(summary, summary["problems"][-1])
    monitor.show(console, monitor.table(summary))
    for problem in summary["problems"]:
        print(problem, file=sys.stderr)
    if summary["exit"] not in (0, INTERRUPTED):
        print(f"gpuredux-stream: {summary['reason']}", file=sys.stderr)
    return summary


@app.command()
def run(file: ConfigFile, max_frames: MaxFrames = None, output: Output = None) -> None:
    """Run a configuration to its end; Ctrl-C stops the intake and writes what was taken in, twice drops it."""
    try:
        summary = execute(prepare(file, output), max_frames, Console(highlight=False))
    except ConfigError as e:
        _refuse(e)
    except SinkFailed as e:
        print(f"gpuredux-stream: {e}", file=sys.stderr)
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
    block, memory = document.config.run, pipeline.memory
    frame = 2 * math.prod(source.frame)
    slots = f"{block.slots} slots of {memory['slot'] / 1e6:.1f} MB"
    device = f", {memory['device'] / 1e6:.1f} MB in and out on the device" if memory["device"] else ""
    monitor.show(console, [
        ("source", f"{document.config.source.type}: {source.total} frames of {source.frame} uint16, {frame / 1e6:.2f} MB each"),
        ("operations", " -> ".join(op.name for op in pipeline.ops)),
        ("runs on", str(pipeline.device)),
        ("batch", f"{block.batch} frames, {block.batch * frame / 1e6:.1f} MB; {slots}"),
        ("memory", f"{block.slots * memory['slot'] / 1e6:.1f} MB in slots{device}"),
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
    print(f"{verdict.parts} parts committed" + (f", {verdict.chunks} chunks have the CRC that was written" if chunks and not verdict.problems else ""))
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
        print(f"gpuredux-stream: {e}", file=sys.stderr)
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
