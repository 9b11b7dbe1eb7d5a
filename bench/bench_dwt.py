"""features.DWT and its inverse beside PyWavelets: float32 frames of 2167 x 2070 (Eiger 4M), 3 levels, db2 and bior4.4, symmetric, on 1 thread and on 2.

    python bench/bench_dwt.py [SECONDS [CSV]]

All take turns in one process, and the copy with them: PyWavelets on one thread, ours on 1 and on 2, one frame each time from buffers that are no longer
in the cache. times = PyWavelets / ours on one thread, by the best runs and by the medians: the bar is 3. of_copy = the bytes that the levels move
(10.5 a pixel) over the time, as a share of the copy's rate with as many threads. OpenCL devices run batches of 2 frames, CUDA's of 16.
Whatever is timed was compared first: with numpy's bytes, and with PyWavelets' numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pywt

from gpuredux import backends
from gpuredux.backends import BackendUnavailable
from gpuredux.bench import device_copy, host_copy, in_turns, provenance, write_csv
from gpuredux.features import DWT

SHAPE, LEVELS = (2167, 2070), 3
WAVELETS = ("db2", "bior4.4")
BAR = 3.0
BUFFERS = 12
HEAD = ("device", "threads", "frames", "wavelet", "what", "ms_per_frame", "frames_per_s", "times_by_best", "times_by_median", "of_copy", "copy_gb_per_s", "bar")


def check(op: DWT, x: np.ndarray, out: np.ndarray) -> None:
    """Raises if the coefficients are not numpy's bytes (of a corner of the frame, and all of it against PyWavelets)."""
    corner = np.ascontiguousarray(x[:1, :301, :217])
    small = DWT(op.wavelet, op.mode, op.levels)
    if small(corner, backend="numpy").tobytes() != small(corner, backend="numba").tobytes():
        raise ValueError("numba differs from numpy's bytes")
    want, _ = pywt.coeffs_to_array(pywt.wavedec2(x[0], op.wavelet, op.mode, level=LEVELS))
    if np.abs(want - out[0]).max() > 1e-5 * np.abs(want).max():
        raise ValueError("coefficients are not PyWavelets'")


def taken(runs: dict[Any, Callable[[int], None]], seconds: float) -> dict[Any, tuple[float, float]]:
    """(best, median) seconds of each."""
    return {k: (float(v.min()), float(np.median(v))) for k, v in in_turns(runs, seconds).items()}


def with_threads(threads: int, plan: Any, given: list[Any], outs: list[Any]) -> Callable[[int], None]:
    def run(i: int) -> None:
        numba.set_num_threads(threads)
        plan(given[i % len(given)], out=outs[i % len(outs)])

    return run


def on_host(name: str, seconds: float) -> Iterator[list[Any]]:
    op = DWT(name, "symmetric", LEVELS, shape=SHAPE)
    frames = np.random.default_rng(4).normal(100, 10, (BUFFERS, 1, *SHAPE)).astype(np.float32)
    there = op.plan(frames[0], backend="numba")
    made = [there(x) for x in frames]
    check(op, frames[0], made[0])
    back = op.inverse().plan(made[0], backend="numba")
    again = [back(c) for c in made[:2]]
    nested = [op.unpack(c[0]) for c in made]
    copies = {t: host_copy(t) for t in (1, 2) if t <= numba.config.NUMBA_NUM_THREADS}
    runs: dict[Any, Callable[[int], None]] = {
        ("DWT", "pywt"): lambda i: pywt.wavedec2(frames[i % BUFFERS, 0], name, "symmetric", level=LEVELS),
        ("IDWT", "pywt"): lambda i: pywt.waverec2(nested[i % BUFFERS], name, "symmetric"),
    }
    for t, copy in copies.items():
        runs["DWT", t] = with_threads(t, there, list(frames), made)
        runs["IDWT", t] = with_threads(t, back, made, again)
        runs["copy", t] = lambda _, copy=copy: copy.run()
    spent = taken(runs, seconds)
    moved = op.moved(frames[0])
    for what in ("DWT", "IDWT"):
        best, median = spent[what, "pywt"]
        yield ["PyWavelets", 1, 1, name, what, best * 1e3, 1 / best, 1, 1, moved / best / (copies[1].nbytes / spent["copy", 1][0]), "", ""]
        for t, copy in copies.items():
            mine, rate = spent[what, t], copy.nbytes / spent["copy", t][0]
            times = [a / b for a, b in zip((best, median), mine, strict=True)]
            bar = "" if what == "IDWT" or t > 1 else "met" if times[1] >= BAR else f"missed: {BAR}"
            yield ["numba", t, 1, name, what, mine[0] * 1e3, 1 / mine[0], *times, moved / mine[0] / rate, rate / 1e9, bar]


def on_device(backend: Any, device: Any, name: str, seconds: float, batch: int) -> Iterator[list[Any]]:
    op, copy = DWT(name, "symmetric", LEVELS, shape=SHAPE), device_copy(backend, device)
    frames = np.random.default_rng(4).normal(100, 10, (batch, *SHAPE)).astype(np.float32)
    x = backend.put(frames, device)
    there = op.plan(x, backend=backend.name)
    made = there(x)
    check(op, frames, backend.get(made))
    back = op.inverse().plan(made, backend=backend.name)
    again = back(made)

    def timed(plan: Any, given: Any, out: Any) -> Callable[[int], None]:
        def run(_: int) -> None:
            plan(given, out=out)
            backend.wait(device)

        return run

    spent = taken({"DWT": timed(there, x, made), "IDWT": timed(back, made, again), "copy": lambda _: copy.run()}, seconds)
    rate = copy.nbytes / spent["copy"][0]
    for what in ("DWT", "IDWT"):
        best = spent[what][0]
        yield [str(device), "", batch, name, what, best / batch * 1e3, batch / best, "", "", op.moved(x) / best / rate, rate / 1e9, ""]


def main(seconds: float = 6.0, csv: str = "") -> None:
    rows: list[list[Any]] = []
    for name in WAVELETS:
        rows.extend(on_host(name, seconds))
    for backend in (backends.OPENCL, backends.CUPY):
        try:
            devices = backend.devices()
        except BackendUnavailable as e:
            print(f"not measured: {e}")
            continue
        for device in devices:
            for name in WAVELETS:
                rows.extend(on_device(backend, device, name, seconds, 2 if backend.name == "opencl" else 16))
    table = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    for row in (HEAD, *table):
        print("  ".join(row))
    if csv:
        write_csv(csv, {**provenance({}), "PyWavelets": pywt.__version__}, HEAD, table)


if __name__ == "__main__":
    main(*(f(v) for f, v in zip((float, str), sys.argv[1:], strict=False)))
