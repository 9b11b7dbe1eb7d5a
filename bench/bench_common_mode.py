"""What calib.common_mode adds to calib.gain on ePix10ka 2M frames (16, 352, 384): one, two and three steps, 1 and 16 frames a batch.

    python bench/bench_common_mode.py [SECONDS [CSV]]

Gain alone and CommonMode take turns, and the copy with them. times = (Gain + CommonMode) / Gain, by the best runs and by the medians: the bar for three
steps is 3. numba runs on 1 thread and on all, OpenCL's CPU runtimes on all. Whatever is timed was compared first: one frame with numpy's bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from gpuredux import backends
from gpuredux.backends import Backend, BackendUnavailable, Device
from gpuredux.bench import device_copy, host_copy, in_turns, provenance, write_csv
from gpuredux.calib import CommonMode
from gpuredux.datasets.cases import SIZED, Case

SHAPE = (16, 352, 384)
CHOICES = (("bank",), ("bank", "cols"), ("bank", "rows", "cols"))
BAR = 3.0
HEAD = ("device", "threads", "frames", "steps", "gain_ns_per_pixel", "common_mode_ns_per_pixel", "times_by_best", "times_by_median", "copy_gb_per_s", "bar")


def check(case: Case, backend: Backend, device: Device) -> None:
    """Raises if the first frame is not what numpy makes of it."""
    one = {k: v[:1] for k, v in case.inputs.items()}
    want = case.op(**one, backend="numpy")
    got = case.op(**{k: backend.put(v, device) for k, v in one.items()}, backend=backend.name)
    for a, b in zip(want, got, strict=True):
        if a.tobytes() != np.ascontiguousarray(backend.get(b)).tobytes():
            raise ValueError(f"{case.op.name} on {device} differs from numpy's bytes")


def runner(case: Case, backend: Backend, device: Device) -> Callable[[int], None]:
    """run(i) on buffers in turn, so that none is in the cache."""
    turns = 2 if len(case.inputs["frame_status"]) > 1 else 12
    sets = [{k: backend.put(v.copy(), device) for k, v in case.inputs.items()} for _ in range(turns)]
    plan = case.op.plan(**sets[0], backend=backend.name)
    outs = [[backend.put(np.zeros(s.shape, s.dtype), device) for s in plan.outs] for _ in sets]

    def run(i: int) -> None:
        plan.run(case.op.bind((), sets[i % turns]), outs[i % turns])
        backend.wait(device)

    return run


def cases_of(frames: int) -> dict[tuple[str, ...], Case]:
    """Gain under the empty name, and each choice of steps."""
    full = SIZED["calib.common_mode"](SHAPE, frames, False)
    some = {steps: Case(full.name, CommonMode(full.op.bank, steps, full.op.good), full.inputs) for steps in CHOICES}
    return {(): SIZED["calib.gain"](SHAPE, frames, False), **some}


def measure(backend: Backend, device: Device, threads: int, frames: int, seconds: float) -> Iterator[list[Any]]:
    copy = device_copy(backend, device) if backend.kernels else host_copy(threads)
    cases = cases_of(frames)
    for case in cases.values():
        check(case, backend, device)
    runs = {k: runner(c, backend, device) for k, c in cases.items()}
    spent = in_turns({**runs, "copy": lambda _: copy.run()}, seconds)
    best, median = ({k: float(f(v)) for k, v in spent.items()} for f in (np.min, np.median))
    pixels = frames * int(np.prod(SHAPE)) / 1e9
    for steps in CHOICES:
        times = [(t[()] + t[steps]) / t[()] for t in (best, median)]
        bar = "" if len(steps) < 3 or backend.kernels else "met" if times[1] <= BAR else f"missed: {BAR}"
        numbers = (best[()] / pixels, best[steps] / pixels, *times, copy.nbytes / median["copy"] / 1e9)
        yield [str(device), threads, frames, "+".join(steps), *(f"{v:.4g}" for v in numbers), bar]


def main() -> None:
    seconds, most = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0, numba.config.NUMBA_NUM_THREADS
    places = [(backends.NUMBA, backends.NUMBA.devices()[0])]
    try:
        places += [(backends.OPENCL, d) for d in backends.OPENCL.devices() if d.warp == 2]
    except BackendUnavailable as e:
        print(f"not on {e}")
    about, table = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    for backend, device in places:
        for threads in sorted({1, most}) if not backend.kernels else [most]:
            numba.set_num_threads(threads)
            for frames in (16, 1):
                for row in measure(backend, device, threads, frames, seconds):
                    table.append(row)
                    print("\t".join(map(str, row)), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
