"""features.peak_finder8 on Eiger 4M frames (2167 x 2070) with 200 Bragg peaks: time beside the copy, on one thread and on all.

    python bench/bench_peaks.py [SECONDS [CSV]]

The C++ original (OM's, under the GPL: not run here) took 51 ms for such a frame of float32, on one thread of a machine that copied 41 GB/s with one. Its
figure is scaled by the copy of the same run: times = (51 ms * 41 / copy) / ours. The bar on one thread is 3. What is timed was compared with numpy's bytes on
a part of the frame first.
"""

from __future__ import annotations

import sys

import numba
import numpy as np

from gpuredux import backends
from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.datasets.cases_peaks import radius_of
from gpuredux.features import PeakFinder8

SHAPE = (2167, 2070)
ORIGINAL_MS, ORIGINAL_COPY, BAR = 51.0, 41.0, 3.0
HEAD = ("device", "threads", "dtype", "frames", "ms_per_frame", "share_of_copy", "times_the_original", "bar")


def frame_of(dtype: str) -> np.ndarray:
    """A falling background and 200 peaks of 60 to 3000 counts."""
    rng = np.random.default_rng(1)
    image = rng.poisson(20 * np.exp(-radius_of(SHAPE, (0.5, 0.5)) / 900) + 3).astype(np.float64)
    y, x = np.mgrid[-4:5, -4:5]
    spot = np.exp(-(x * x + y * y) / 2 / 1.2**2)
    for _ in range(200):
        r, c = (rng.integers(5, k - 5) for k in SHAPE)
        image[r - 4 : r + 5, c - 4 : c + 5] += rng.poisson(rng.uniform(60, 3000) * spot / spot.sum())
    return image.astype(dtype)


def check() -> None:
    """Raises if numba's bytes are not numpy's."""
    part = np.ascontiguousarray(frame_of("float32")[None, :300, :400])
    op = PeakFinder8(radius_of((300, 400)), 5.0, 5.0, 2, 200, 3)
    for a, b in zip(op(part, backend="numpy"), op(part, backend="numba"), strict=True):
        if a.tobytes() != b.tobytes():
            raise ValueError("features.peak_finder8: numba differs from numpy's bytes")


def main() -> None:
    seconds, most = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, numba.config.NUMBA_NUM_THREADS
    check()
    about, table = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    op = PeakFinder8(radius_of(SHAPE, (0.5, 0.5)), 5.0, 5.0, 2, 200, 3)
    for threads in sorted({1, most}):
        numba.set_num_threads(threads)
        copy = host_copy(threads)
        for dtype in ("float32", "uint16"):
            frames = np.repeat(frame_of(dtype)[None], threads, 0)
            sets = [frames.copy() for _ in range(4)]
            plan = op.plan(frames, backend=backends.NUMBA.name)
            outs = plan(frames)
            runs = {"op": lambda i, plan=plan, sets=sets, outs=list(outs): plan(sets[i % 4], out=outs), "copy": lambda _, copy=copy: copy.run()}
            spent = {k: float(np.median(v)) for k, v in in_turns(runs, seconds).items()}
            ms, rate = spent["op"] * 1e3 / threads, copy.nbytes / spent["copy"] / 1e9
            times = ORIGINAL_MS * ORIGINAL_COPY / rate / ms if threads == 1 and dtype == "float32" else float("nan")
            bar = "" if np.isnan(times) else "met" if times >= BAR else f"missed: {BAR}"
            share = op.traffic(*op.bind((frames[:1],), {})) / (ms * 1e-3) / (rate * 1e9)
            table.append([str(backends.NUMBA.devices()[0]), threads, dtype, threads, f"{ms:.4g}", f"{share:.3g}", f"{times:.3g}", bar])
            print("\t".join(map(str, table[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
