"""gpuredux-bench: every op x backend x detector size, checked, then timed, beside its roofline. Over 200 lines: the check and the clock are one command.

A result that differs from numpy's is never timed and ends with exit code 1. A speed is the bytes that an op must move (Op.traffic)
by the median time of one run on buffers that are not in the cache; its roofline is the fastest copy known, timed in turns with it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numba
import numpy as np
import typer
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from rich.console import Console
from rich.table import Table
from rich.text import Text

import gpuredux
from gpuredux import backends
from gpuredux.backends import Backend, BackendUnavailable, Device
from gpuredux.datasets.cases import SIZED, Case

SIZES = {"epix100": (704, 768), "0.5M": (512, 1024), "4M": (8, 512, 1024), "16M": (32, 512, 1024)}
NUMPY_BUDGET = 1.0      # seconds that the reference may take for one check
COPY_KERNEL = """
KERNEL(128) copy_all(GLOBAL const uint4 *from, GLOBAL uint4 *to, u64 count) {
    u64 i = (u64)BLOCK * 512u + LID;
    UNROLL
    for (u32 k = 0; k < 4u; k++) if (i + k * 128u < count) to[i + k * 128u] = from[i + k * 128u];
}"""


@dataclass
class Row:
    """One line of the result; without a time if the bytes were wrong."""

    op: str
    backend: str
    device: str
    size: str
    frames: int
    data: str
    check: str
    ok: bool
    digest: str = ""        # of the op's configuration and constants
    median_ms: float = math.nan
    p20_ms: float = math.nan
    p80_ms: float = math.nan
    frames_per_s: float = math.nan
    gb_per_s: float = math.nan
    copy_gb_per_s: float = math.nan
    share_of_copy: float = math.nan


# ----------------------------------------------------------------------------------------------------------- the roofline
def last_level_cache() -> int:
    """Bytes, as Linux says; 32 MiB where it says nothing."""
    sizes = [p.read_text().strip() for p in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return max((int(s[:-1]) * units[s[-1]] for s in sizes if s[-1:] in units), default=32 << 20)


@intrinsic
def copy_line(typingctx, source, target):  # type: ignore[no-untyped-def]
    """64 bytes from one address to another, past the cache: a plain store would read the line first."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        line = ir.VectorType(ir.IntType(64), 8)
        value = builder.load(builder.inttoptr(args[0], line.as_pointer()))
        value.align = 8
        store = builder.store(value, builder.inttoptr(args[1], line.as_pointer()))
        store.align = 64
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), codegen


@numba.njit(nogil=True, parallel=True)
def copy_past_cache(source, target):  # type: ignore[no-untyped-def]
    """target begins at a multiple of 64 bytes, and both hold whole lines."""
    a, b = np.uint64(source.ctypes.data), np.uint64(target.ctypes.data)
    for i in numba.prange(len(source) // 8):
        copy_line(a + np.uint64(64 * i), b + np.uint64(64 * i))


@numba.njit(nogil=True, parallel=True)
def copy_words(source, target):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(source)):
        target[i] = source[i]


class Copy(NamedTuple):
    """The fastest copy known of buffers of 8 times the last-level cache: how it is done, the bytes read plus written, and one run of it."""

    kind: str
    nbytes: int
    run: Callable[[], Any]

    def speed(self, times: int = 7) -> float:
        """GB/s of the best run."""
        self.run()
        return self.nbytes / min(seconds_of(self.run) for _ in range(times)) / 1e9


def seconds_of(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(runs: Mapping[Any, Callable[[int], Any]], seconds: float, least: int = 7) -> dict[Any, np.ndarray]:
    """Seconds of each run, one after the other in every turn: what slows one slows the others. run(i) is told which turn it is, for buffers in turn; the first
    turn is not counted. At least so many turns, and as many as fit."""
    spent: dict[Any, list[float]] = {k: [] for k in runs}
    stop, i = time.perf_counter() + seconds, 0
    while i < least or time.perf_counter() < stop:
        for key, run in runs.items():
            begin = time.perf_counter()
            run(i)
            spent[key].append(time.perf_counter() - begin)
        i += 1
    return {k: np.array(v[1:]) for k, v in spent.items()}


@cache
def host_copy(threads: int) -> Copy:
    """The best of a threaded memcpy and two loops of numba, one of them past the cache."""
    words = last_level_cache() + 8      # 8 bytes each
    source, target = np.ones(words), np.zeros(words)
    shift = -(target.ctypes.data // 8) % 8
    source, target = source[: words - 8], target[shift : shift + words - 8]
    cuts = np.linspace(0, len(source), threads + 1).astype(int)
    pool = ThreadPoolExecutor(threads)

    def by_threads() -> None:
        list(pool.map(lambda a, b: np.copyto(target[a:b], source[a:b]), cuts[:-1], cuts[1:]))

    def by_numba(loop: Callable[[Any, Any], None]) -> None:
        before = numba.get_num_threads()
        numba.set_num_threads(threads)      # OpenCL takes all threads, whatever numba was told
        loop(source, target)
        numba.set_num_threads(before)

    size = 2 * source.nbytes
    kinds = (Copy("memcpy", size, by_threads), Copy("loop", size, lambda: by_numba(copy_words)),
             Copy("non-temporal loop", size, lambda: by_numba(copy_past_cache)))
    return max(kinds, key=Copy.speed)


@cache
def device_copy(backend: Backend, device: Device) -> Copy:
    """A copy kernel on the device; where that is this machine's CPU, the host's copy by all its threads."""
    if backend.name == "opencl" and is_cpu(device):
        return host_copy(numba.config.NUMBA_NUM_THREADS)
    size = 1 << 30
    source, target = (backend.put(np.ones(size // 4, np.uint32), device) for _ in range(2))
    device_h = (Path(gpuredux.__file__).parent / "device.h").read_text()
    kernel = backend.compile(device, f"#define WARP_TIER {device.warp}\n{device_h}{COPY_KERNEL}", "copy_all")

    def run() -> None:
        backend.launch(kernel, device, (-(-size // 8192),), 128, (source, target, np.uint64(size // 16)), None)
        backend.wait(device)

    return Copy("kernel", 2 * size, run)


def is_cpu(device: Device) -> bool:
    import pyopencl

    return bool(device.handle.devices[0].type & pyopencl.device_type.CPU)


# -------------------------------------------------------------------------------------------------------------- the check
def cut(case: Case, frames: int) -> dict[str, np.ndarray]:
    """The first frames of a case's inputs."""
    return {k: v if k in ("live", *case.op.state) else v[:frames] for k, v in case.inputs.items()}


def result_bytes(op: gpuredux.Op, inputs: dict[str, np.ndarray], backend: Backend, device: Device) -> dict[str, bytes]:
    """What a run writes over zeros."""
    x = {k: backend.put(v, device) for k, v in inputs.items()}
    plan = op.plan(**x, backend=backend.name)
    out = [backend.put(np.zeros(s.shape, s.dtype), device) for s in plan.outs]
    plan(**x, out=out)
    return {s.name: np.ascontiguousarray(backend.get(a)).tobytes() for s, a in zip(plan.outs, out, strict=True)}


class Reference:
    """What numpy makes of as much of a case as it can in about NUMPY_BUDGET seconds, and numba of all of it."""

    def __init__(self, case: Case, shape: tuple[int, ...]) -> None:
        n = len(next(iter(case.inputs.values())))
        trial = SIZED[case.op.name]((32, 256), 1, False)
        start = time.perf_counter()
        result_bytes(trial.op, trial.inputs, backends.NUMPY, backends.NUMPY.devices()[0])
        pixels = NUMPY_BUDGET / (time.perf_counter() - start) * 32 * 256
        frames = min(n, int(pixels // math.prod(shape)))
        if frames:
            self.part, self.said = Case(case.name, case.op, cut(case, frames)), f"{frames} frame{'s' * (frames > 1)}"
        else:
            rows = max(8, int(pixels // 1024))
            self.part, self.said = SIZED[case.op.name]((rows, 1024), 1, False), f"1 frame of {rows} x 1024"
        start = time.perf_counter()
        self.small = result_bytes(self.part.op, self.part.inputs, backends.NUMPY, backends.NUMPY.devices()[0])
        self.seconds = time.perf_counter() - start
        self.whole = result_bytes(case.op, case.inputs, backends.NUMBA, backends.NUMBA.devices()[0])

    def faults(self, case: Case, backend: Backend, device: Device) -> list[str]:
        """The outputs that differ."""
        small = result_bytes(self.part.op, self.part.inputs, backend, device)
        whole = self.whole if backend.name in ("numpy", "numba") else result_bytes(case.op, case.inputs, backend, device)
        return [k for k in small if small[k] != self.small[k] or whole[k] != self.whole[k]]


# -------------------------------------------------------------------------------------------------------------- the clock
def timed(case: Case, backend: Backend, device: Device, copy: Copy, seconds: float, repeat: int) -> tuple[np.ndarray, float]:
    """Seconds of each run, and GB/s of the copy, which takes turns with them: what slows this machine slows both.

    Enough buffers in turn that none is in the cache when its turn comes."""
    first = {k: backend.put(v, device) for k, v in case.inputs.items()}
    plan = case.op.plan(**first, backend=backend.name)
    size = sum(v.nbytes for v in case.inputs.values()) + sum(s.nbytes for s in plan.outs)
    llc = last_level_cache() if backend.name != "cupy" else 128 << 20
    sets = [first] + [{k: backend.put(v.copy(), device) for k, v in case.inputs.items()} for _ in range(min(64, 2 * llc // max(size, 1)) + 1)]
    turns = [(tuple(x.get(n) for n in case.op.input_names), [backend.empty(s.shape, s.dtype, device) for s in plan.outs]) for x in sets]
    for x, out in turns:
        plan.run(x, out)
    backend.wait(device)
    spent: list[float] = []
    copied: list[float] = []
    group = 8 if backend.name == "cupy" else 1      # a GPU's queue hides the launch; the host waits once a group
    while len(spent) < 5 or (len(spent) < repeat if repeat else sum(spent) * group < seconds):
        if len(copied) < 5 or sum(copied) < sum(spent) * group:
            copied.append(seconds_of(copy.run))
        start = time.perf_counter()
        for k in range(group):
            plan.run(*turns[(len(spent) * group + k) % len(turns)])
        backend.wait(device)
        spent.append((time.perf_counter() - start) / group)
    return np.array(spent), copy.nbytes / float(np.median(copied)) / 1e9


def measure(row: Row, case: Case, backend: Backend, device: Device, copy: Copy, seconds: float, repeat: int) -> Row:
    spent, row.copy_gb_per_s = timed(case, backend, device, copy, seconds, repeat)
    p20, median, p80 = np.percentile(spent, (20, 50, 80))
    row.median_ms, row.p20_ms, row.p80_ms = median * 1e3, p20 * 1e3, p80 * 1e3
    row.frames_per_s = row.frames / median
    row.gb_per_s = case.op.traffic(*case.op.bind((), case.inputs)) / median / 1e9
    row.share_of_copy = row.gb_per_s / row.copy_gb_per_s
    return row


def specification(row: Row, reference: Reference, copy: Copy) -> Row:
    """The one run of numpy that the others are compared with: it is written to be read, so nobody waits for its percentiles."""
    part = reference.part
    row.frames, row.check = len(next(iter(part.inputs.values()))), f"the specification itself, one run of {reference.said}"
    row.median_ms = row.p20_ms = row.p80_ms = reference.seconds * 1e3
    row.frames_per_s = row.frames / reference.seconds
    row.gb_per_s = part.op.traffic(*part.op.bind((), part.inputs)) / reference.seconds / 1e9
    row.copy_gb_per_s = copy.nbytes / seconds_of(copy.run) / 1e9
    row.share_of_copy = row.gb_per_s / row.copy_gb_per_s
    return row


# ------------------------------------------------------------------------------------------------------------ the command
def places(names: list[str]) -> list[tuple[Backend, Device]]:
    """The devices to run on: all found, or those of the backends named, which must then be there."""
    found = []
    for name in names or ["numpy", "numba", "cupy", "opencl"]:
        try:
            found += [(backends.get(name), d) for d in backends.get(name).devices()]
        except BackendUnavailable:
            if names:
                raise
    return found


def cases_of(op: str, size: str, frames: int) -> Iterator[Case]:
    """The sized cases; for calib.gain both clustered and scattered gain switching."""
    n = frames or max(2, min(64, (64 << 20) // (2 * math.prod(SIZES[size]))))
    yield SIZED[op](SIZES[size], n, False)
    if op == "calib.gain":
        yield SIZED[op](SIZES[size], n, True)


def rows(
    ops: list[str], where: list[tuple[Backend, Device]], sizes: list[str], frames: int, clock: tuple[float, int], copies: dict[Device, Copy]
) -> Iterator[Row]:
    for op in ops:
        for size in sizes:
            for case in cases_of(op, size, frames):
                reference = Reference(case, SIZES[size])
                for backend, device in where:
                    n = len(next(iter(case.inputs.values())))
                    row = Row(op, backend.name, str(device), size, n, case.name, reference.said, True, case.op.digest()[:16])
                    if backend.name == "numpy":
                        yield specification(row, reference, copies[device])
                        continue
                    wrong = reference.faults(case, backend, device)
                    if wrong:
                        row.check, row.ok = f"WRONG: {', '.join(wrong)}", False
                    yield row if wrong else measure(row, case, backend, device, copies[device], *clock)


def provenance(copies: dict[Device, Copy]) -> dict[str, Any]:
    commit = checkout()
    return {
        "gpuredux": gpuredux.__version__ + (f" at {commit}" if commit else ""), "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "numpy": np.__version__, "numba": numba.__version__, "python": platform.python_version(),
        "machine": f"{processor()}, {os.cpu_count()} cores", "threads": numba.get_num_threads(), "last_level_cache": last_level_cache(),
        **{f"copy on {d}": f"{c.kind}, {c.nbytes // 2:,} bytes read and as many written" for d, c in copies.items()},
    }


def checkout() -> str:
    """The commit, where the package lies in a git checkout; with + if files of it were changed."""
    folder = Path(gpuredux.__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no", "."], capture_output=True, text=True, check=True).stdout
        tracked = subprocess.run([*git, "ls-files", "bench.py"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}{'+' * bool(changed)}" if tracked else ""


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine())


def show(made: Iterator[Row], console: Console, about: dict[str, Any]) -> list[Row]:
    """Print each row as it comes."""
    for key, value in about.items():
        console.print(f"{key}: {value}", highlight=False, soft_wrap=True, markup=False)
    console.print("median time of runs on buffers that are not in the cache; checked: so much of it against numpy, and all of it against numba;"
                  " copy: GB/s read plus written of the fastest copy, in turns with the runs", highlight=False, soft_wrap=True)
    head = f"{'op':30} {'size':8} {'frames':>6} {'median':>10} {'p20..p80 ms':>18} {'frames/s':>9} {'GB/s':>7} {'copy':>7} {'of copy':>8}"
    console.print(f"{head}  checked, data, device", style="bold", highlight=False, soft_wrap=True)
    kept = []
    for r in made:
        kept.append(r)
        numbers = (
            f"{r.median_ms:7.2f} ms {r.p20_ms:8.2f}..{r.p80_ms:8.2f} {r.frames_per_s:9.0f} {r.gb_per_s:7.2f} {r.copy_gb_per_s:7.2f} {r.share_of_copy:8.1%}"
            if r.ok else " " * 64
        )
        console.print(f"{r.op:30} {r.size:8} {r.frames:6} {numbers}  {r.check}; {r.data}; {r.device}", style=None if r.ok else "bold red",
                      highlight=False, soft_wrap=True, markup=False)
    return kept


def listing(console: Console) -> None:
    table = Table("backend", "devices")
    for name, devices in backends.available().items():
        table.add_row(name, Text("\n".join(devices)))
    console.print(table)
    console.print(f"ops: {', '.join(gpuredux.OPS)}\nsizes: {', '.join(f'{k} {v}' for k, v in SIZES.items())}", highlight=False)


def save(made: list[Row], about: dict[str, Any], json_file: Path | None, csv_file: Path | None) -> None:
    if json_file:
        json_file.write_text(json.dumps({**about, "rows": [asdict(r) for r in made]}, indent=1) + "\n")
    if csv_file:
        lines = [[f"{v:.5g}" if isinstance(v, float) else v for v in asdict(r).values()] for r in made]
        write_csv(csv_file, about, list(asdict(made[0])), lines)


def write_csv(file: str | Path, about: dict[str, Any], head: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """A table as of bench/results: with its provenance in front."""
    with open(file, "w", newline="") as f:
        f.writelines(f"# {k}: {v}\n" for k, v in about.items())
        csv.writer(f).writerows([head, *lines])


def one_of(kind: str, asked: list[str], there: list[str]) -> list[str]:
    for name in asked:
        if name not in there:
            raise typer.BadParameter(f"{kind} {name!r} is unknown: choose from {', '.join(there)}")
    return asked


app = typer.Typer(add_completion=False)


@app.command()
def bench(
    op: Annotated[list[str] | None, typer.Option(help="only this op; may be given several times")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="only this backend, which must be there; may be given several times")] = None,
    size: Annotated[list[str] | None, typer.Option(help=f"{', '.join(SIZES)}; default epix100 and 4M")] = None,
    frames: Annotated[int, typer.Option(help="frames a batch; 0: 64 MiB of raw words, 2 to 64 frames")] = 0,
    threads: Annotated[int, typer.Option(help="of numba and of its copy; 0: all. OpenCL's CPU runtimes take all")] = 0,
    seconds: Annotated[float, typer.Option(help="of timing, each row")] = 0.5,
    repeat: Annotated[int, typer.Option(help="timed runs, each row, instead of --seconds")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the rows here too")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the rows here too")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="what is there, and leave")] = False,
) -> None:
    """Check every op on every device against numpy, then time it beside the machine's copy bandwidth."""
    console = Console()
    if only_list:
        return listing(console)
    numba.set_num_threads(threads or numba.get_num_threads())
    ops = one_of("op", op or [*gpuredux.OPS], [*gpuredux.OPS])
    sizes = one_of("size", size or ["epix100", "4M"], [*SIZES])
    try:
        where = places(one_of("backend", backend or [], [*backends.BACKENDS]))
    except BackendUnavailable as e:
        raise typer.BadParameter(str(e)) from None
    copies = {d: device_copy(b, d) if b.kernels else host_copy(numba.get_num_threads()) for b, d in where}
    about = provenance(copies)
    made = show(rows(ops, where, sizes, frames, (seconds, repeat), copies), console, about)
    save(made, about, json_file, csv_file)
    if not all(r.ok for r in made):
        raise typer.Exit(1)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
