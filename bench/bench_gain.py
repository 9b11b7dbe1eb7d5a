"""calib.gain on the CPU beside the figures of its peers: python bench/bench_gain.py [seconds] [results.csv]

16 Mpx Jungfrau frames, three patterns of gain switching, 1, 4 and 16 frames a batch, 1 thread and all. The peers' figures are frames a second of
one thread and one frame a call, taken where a triad with ordinary stores moved 41 GB/s (bytes counted as STREAM does: two arrays read, one written).
The same triad and the fastest copy run here in turns with the op; "by triad" and "by copy" are ours / (peer * theirs / 41). The bar is for one thread.
With all threads OpenCL's CPU runtime takes its turn, too: opencl_of_numba is its speed over numba's, the bar 0.5.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np

from gpuredux import backends
from gpuredux.backends import Backend, BackendUnavailable, Device
from gpuredux.bench import Copy, host_copy, is_cpu, last_level_cache, provenance, seconds_of, write_csv
from gpuredux.datasets.cases import SIZED, Case

SHAPE = (32, 512, 1024)
PEER_GB_PER_S = 41.0
HEAD = ("pattern", "frames", "threads", "frame_per_s", "gb_per_s", "copy_gb_per_s", "triad_gb_per_s", "of_copy",
        "peer", "by_triad", "by_copy", "bar", "opencl_of_numba")
WIDTHS = (20, 7, 8, 12, 9, 14, 15, 8, 6, 9, 8, 5, 16)


class Pattern(NamedTuple):
    """Which pixels are not in the first gain; the best peer's frame/s there, and how many times that we must reach."""

    name: str
    peer: str
    frames_per_s: float
    bar: float


PATTERNS = (
    Pattern("none", "jungfrau_utils", 73.0, 2.0), Pattern("3 % scattered", "psana v1", 27.0, 1.1),
    Pattern("3 % in runs of 256", "jungfrau_utils", 58.0, 1.9),
)


@numba.njit(nogil=True, parallel=True)
def triad(b, c, a):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(a)):
        a[i] = b[i] + 3.0 * c[i]


def ordinary_triad() -> Copy:
    words = last_level_cache()      # 8 bytes each
    b, c, a = np.ones(words), np.ones(words), np.zeros(words)
    return Copy("triad", 3 * a.nbytes, lambda: triad(b, c, a))


def case_of(pattern: Pattern, frames: int) -> Case:
    case = SIZED["calib.gain"](SHAPE, frames, pattern.name == "3 % scattered")
    if pattern.name == "none":
        case.inputs["raw"][...] &= 0x3FFF
    return case


def check(case: Case) -> None:
    """Raises ValueError unless every frame of numba's batch has the bytes of numpy, which takes one frame at a time."""
    made = case.op(**case.inputs, backend="numba")
    for f in range(len(case.inputs["raw"])):
        want = case.op(**{k: v[f : f + 1] for k, v in case.inputs.items()}, backend="numpy")
        wrong = [s.name for s, x, y in zip(case.op.outputs(*case.op.bind((), case.inputs)), made, want, strict=True) if x[f].tobytes() != y.tobytes()]
        if wrong:
            raise ValueError(f"{case.name}: numba's {', '.join(wrong)} of frame {f} differ from numpy's")


def runner(case: Case, backend: Backend, device: Device) -> Callable[[], None]:
    """A run of a plan there, to its end."""
    given = {k: backend.put(v, device) for k, v in case.inputs.items()}
    plan = case.op.plan(**given, backend=backend.name)
    x = case.op.bind((), given)
    out = [backend.put(np.zeros(s.shape, s.dtype), device) for s in plan.outs]

    def run() -> None:
        plan.run(x, out)
        backend.wait(device)

    return run


def opencl() -> Device | None:
    """A CPU runtime of OpenCL with sub-groups; None, and a word why, where there is none."""
    try:
        return next((d for d in backends.OPENCL.devices() if d.warp == 2 and is_cpu(d)), None)
    except BackendUnavailable as e:
        print(f"not on {e}")
        return None


def timed(case: Case, copies: tuple[Copy, ...], device: Device | None, seconds: float) -> tuple[float, ...]:
    """Seconds of the best run, GB/s of the best run of each copy, and OpenCL's speed over ours.

    They take turns, a few runs each: a busy neighbour disturbs all alike."""
    runs = [runner(case, backends.NUMBA, backends.NUMBA.devices()[0]), *(c.run for c in copies)]
    if device is not None:
        runs.append(runner(case, backends.OPENCL, device))
    best = [np.inf] * len(runs)
    stop = time.perf_counter() + seconds
    for turn in range(1_000_000):
        for i in (i for i in range(len(runs)) for _ in range(3)):
            best[i] = min(best[i], seconds_of(runs[i]))
        if turn > 2 and time.perf_counter() > stop:
            break
    return best[0], *(c.nbytes / t / 1e9 for c, t in zip(copies, best[1:], strict=False)), best[0] / best[-1]


def lines(seconds: float, threads: list[int]) -> Iterator[list[Any]]:
    triads, there = ordinary_triad(), opencl()
    for pattern in PATTERNS:
        whole = case_of(pattern, 16)
        check(whole)
        for frames in (1, 4, 16):
            case = whole._replace(inputs={k: v[:frames] for k, v in whole.inputs.items()})
            for count in threads:
                numba.set_num_threads(count)
                device = there if count == threads[-1] else None
                spent, copy, ordinary, ratio = timed(case, (host_copy(count), triads), device, seconds)
                speed = frames / spent
                moved = case.op.traffic(*case.op.bind((), case.inputs)) / spent / 1e9
                by = [speed / (pattern.frames_per_s * gb / PEER_GB_PER_S) for gb in (ordinary, copy)]
                bars = (pattern.bar if count == 1 else "", ratio if device else "")
                yield [pattern.name, frames, count, speed, moved, copy, ordinary, moved / copy, pattern.frames_per_s, *by, *bars]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    every = numba.get_num_threads()
    about = {**provenance({}), "peers": "; ".join(f"{p.name}: {p.peer} {p.frames_per_s:g} frame/s" for p in PATTERNS) + ", at a triad of 41 GB/s"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(" ".join(f"{head:{'<' if w > 15 else '>'}{w}}" for head, w in zip(HEAD, WIDTHS, strict=True)))
    table = []
    for row in lines(seconds, sorted({1, every})):
        table.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in row])
        print(" ".join(f"{v:{'<' if w > 15 else '>'}{w}}" for v, w in zip(table[-1], WIDTHS, strict=True)), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
