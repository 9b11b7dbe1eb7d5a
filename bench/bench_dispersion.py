"""features.dispersion and dispersion_extended beside DIALS's own figures: python bench/bench_dispersion.py [seconds] [results.csv]

Frames of 2167 x 2070 with peaks on a background of 1.3 or 0.05 counts a pixel (there each count by itself is a candidate), one a batch and four, numba on
one thread and on all, OpenCL's CPU runtimes on all. DIALS's double-precision tables, compiled, took 27.4 ms and 106 ms a frame on one thread where NumPy's
copy moved 41 GB/s; the same copy runs here in turns with the ops, and times_dials is (that time * 41 / this copy) / ours. The bar, for one thread and
frames of u32: 1. Whatever is timed was compared first: one frame with numpy's bytes.
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
from gpuredux.datasets.cases import SIZED, Case

SHAPE = (2167, 2070)
DIALS = {"features.dispersion": 27.4e-3, "features.dispersion_extended": 106e-3}
DIALS_GB_PER_S = 41.0
HEAD = ("op", "device", "threads", "frames", "dtype", "background", "ms_per_frame", "frame_per_s", "of_copy", "numpy_copy_gb_per_s", "times_dials", "bar")


def case_of(name: str, frames: int, dtype: str, sparse: bool) -> Case:
    case = SIZED[name](SHAPE, frames, sparse)
    return case._replace(inputs={"energy": case.inputs["energy"].astype(dtype)})


def check(case: Case, backend: Backend, device: Device) -> None:
    """Raises if the first frame is not what numpy makes of it."""
    one = case.inputs["energy"][:1]
    want = case.op(one, backend="numpy")
    got = case.op(backend.put(one, device), backend=backend.name)
    for a, b in zip(want, got, strict=True):
        if a.tobytes() != np.ascontiguousarray(backend.get(b)).tobytes():
            raise ValueError(f"{case.op.name} on {device} differs from numpy's bytes")


def runner(case: Case, backend: Backend, device: Device) -> tuple[Callable[[int], None], int]:
    """run(i) on buffers in turn, so that none is in the cache; the bytes that it must move."""
    turns = 12 if len(case.inputs["energy"]) == 1 else 3
    sets = [backend.put(case.inputs["energy"].copy(), device) for _ in range(turns)]
    plan = case.op.plan(sets[0], backend=backend.name)
    outs = [[backend.put(np.zeros(s.shape, s.dtype), device) for s in plan.outs] for _ in sets]

    def run(i: int) -> None:
        plan.run(case.op.bind((sets[i % turns],), {}), outs[i % turns])
        backend.wait(device)

    return run, plan.op.traffic(*plan.specs)


def measure(name: str, backend: Backend, device: Device, threads: int, frames: int, dtype: str, sparse: bool, seconds: float) -> list[Any]:
    case = case_of(name, frames, dtype, sparse)
    check(case, backend, device)
    (run, moved), fastest = runner(case, backend, device), device_copy(backend, device) if backend.kernels else host_copy(threads)
    source = np.ones(1 << 26, np.uint8)
    target = np.zeros_like(source)
    turns = {"op": run, "copy": lambda _: fastest.run(), "numpy": lambda _: np.copyto(target, source)}
    best = {k: float(v.min()) for k, v in in_turns(turns, seconds).items()}
    plain, each = 2 * source.nbytes / best["numpy"] / 1e9, best["op"] / frames
    times = DIALS[name] * DIALS_GB_PER_S / plain / each
    bar = "" if threads > 1 or backend.kernels or dtype != "uint32" else "met" if times >= 1 else "missed: 1"
    numbers = (each * 1e3, 1 / each, moved / best["op"] / (fastest.nbytes / best["copy"]), plain, times)
    return [name, str(device), threads, frames, dtype, 0.05 if sparse else 1.3, *(f"{v:.4g}" for v in numbers), bar]


def choices() -> Iterator[tuple[Backend, Device, int]]:
    most = numba.config.NUMBA_NUM_THREADS
    for threads in sorted({1, most}):
        yield backends.NUMBA, backends.NUMBA.devices()[0], threads
    try:
        yield from ((backends.OPENCL, d, most) for d in backends.OPENCL.devices() if d.warp == 2)
    except BackendUnavailable as e:
        print(f"not on {e}")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    about, table = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    for backend, device, threads in choices():
        if not backend.kernels:
            numba.set_num_threads(threads)
        for name in DIALS:
            for frames, dtype, sparse in ((1, "uint32", False), (1, "uint32", True), (1, "uint16", False), (4, "uint16", False)):
                table.append(measure(name, backend, device, threads, frames, dtype, sparse, seconds))
                print("\t".join(map(str, table[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
