"""features.peak_finder_v3r3 and _v4r3 on Eiger 4M frames (2167 x 2070, float32) with 200 Bragg peaks: time beside the copy, on one thread and on all.

    python bench/bench_psana_peaks.py [SECONDS [CSV]]

psana's own (C++, not run here) took 212 ms (V3r3) and 7.0 to 7.7 ms (V4r3) for such a frame on one thread of a machine that copied 41 GB/s with one. Its
figures are scaled by the copy of the same run: times = (ms * 41 / copy) / ours. What is timed was compared with numpy's bytes on a part of the frame first.
"""

from __future__ import annotations

import sys

import numba
import numpy as np
from bench_peaks import frame_of

from gpuredux import backends
from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.features import PeakFinderV3r3, PeakFinderV4r3

PSANA_MS, PSANA_COPY = {"V3r3": 212.0, "V4r3": 7.0}, 41.0
HEAD = ("device", "threads", "finder", "dtype", "frames", "peaks", "ms_per_frame", "share_of_copy", "times_psana")
CUTS = {"rank": 3, "r0": 3.0, "dr": 2.0, "npix_min": 2, "npix_max": 30, "atot_thr": 60.0, "son_min": 7.0}
FINDERS = {"V3r3": PeakFinderV3r3(7.0, amax_thr=20.0, **CUTS), "V3r3, no least amax": PeakFinderV3r3(7.0, **CUTS), "V4r3": PeakFinderV4r3(30.0, 45.0, **CUTS)}


def check() -> None:
    """Raises if numba's bytes are not numpy's."""
    part = np.ascontiguousarray(frame_of("float32")[None, :300, :400])
    for op in FINDERS.values():
        for a, b in zip(op(part, backend="numpy"), op(part, backend="numba"), strict=True):
            if a.tobytes() != b.tobytes():
                raise ValueError(f"{op.name}: numba differs from numpy's bytes")


def main() -> None:
    seconds, most = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, numba.config.NUMBA_NUM_THREADS
    check()
    about, rows = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    for threads in sorted({1, most}):
        numba.set_num_threads(threads)
        copy = host_copy(threads)
        for name, op in FINDERS.items():
            for dtype in ("float32", "uint16"):
                frames = np.repeat(frame_of(dtype)[None], threads, 0)
                sets = [frames.copy() for _ in range(4)]
                plan = op.plan(frames, backend=backends.NUMBA.name)
                outs = plan(frames)
                runs = {"op": lambda i, plan=plan, sets=sets, outs=list(outs): plan(sets[i % 4], out=outs), "copy": lambda _, copy=copy: copy.run()}
                spent = {k: float(np.median(v)) for k, v in in_turns(runs, seconds).items()}
                ms, rate = spent["op"] * 1e3 / threads, copy.nbytes / spent["copy"] / 1e9
                times = PSANA_MS[name[:4]] * PSANA_COPY / rate / ms if threads == 1 and dtype == "float32" else float("nan")
                share = op.traffic(*op.bind((frames[:1],), {})) / (ms * 1e-3) / (rate * 1e9)
                found = int(outs.peak_count[0])
                rows.append([str(backends.NUMBA.devices()[0]), threads, name, dtype, threads, found, f"{ms:.4g}", f"{share:.3g}", f"{times:.3g}"])
                print("\t".join(map(str, rows[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, rows)


if __name__ == "__main__":
    main()
