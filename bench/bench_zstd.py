"""Speed and ratio of compress.ShuffleZstd and compress.BitshuffleZstd beside the bitshuffle library's zstd, with as many threads as the environment says.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/bench_zstd.py FOLDER [SECONDS [CSV [NAME ...]]]

FOLDER: the recorded frames (datasets/README.md), of each dataset those that fit in 8 MiB, at least one; NAME: only datasets whose name holds it. library:
bitshuffle.compress_zstd at level 1 in blocks of 128 KiB, frame by frame into memory that it allocates, called directly: no file is in the way. S, B: one run
of a plan for all frames into memory that is there. Whatever is timed was decoded and compared first. GB/s are raw bytes, of the median of turns that the
three take; S/its and B/its are medians of what they take in one turn. No copy stands between them: it would empty the cache for one of them alone.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import numba
import numpy as np

from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.compress.bitshuffle_zstd import BitshuffleZstd
from gpuredux.compress.shuffle_zstd import ShuffleZstd
from gpuredux.datasets import real

BLOCK = 131072
MOST = 1 << 23      # bytes of frames
HEAD = ("dataset", "dtype", "frames", "bytes", "library_ratio", "s_ratio", "b_ratio", "library_gb_per_s", "s_gb_per_s", "b_gb_per_s",
        "s_speed_by_its", "b_speed_by_its")


def recorded_frames(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every dataset of images, its frames first."""
    recorded = runpy.run_path(str(Path(__file__).parent / "bench_bitshuffle_lz4.py"))["RECORDED"]
    for file, dataset, lead in recorded:
        x = real.read(folder, f"{file}.h5", dataset)
        yield f"{file}/{dataset}", np.ascontiguousarray(x.reshape(-1, *x.shape[lead:]))


def library(x: np.ndarray) -> list[np.ndarray]:
    """Of each frame, without the 12 bytes in front."""
    return [bitshuffle.compress_zstd(frame, BLOCK // x.itemsize, 1) for frame in x]


def checked(op: Any, x: np.ndarray) -> tuple[Any, Any]:
    """A plan and its outputs. Raises if they do not decode to x."""
    plan = op.plan(x, backend="numba")
    out = plan(x)
    if op.inverse()(out.payload, out.size, backend="numba").code.tobytes() != x.tobytes():
        raise ValueError(f"{op.name}: a chunk does not decode to its frame")
    return plan, out


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    threads = numba.get_num_threads()
    copy = host_copy(threads)
    about = {**provenance({}), "bitshuffle": bitshuffle.__version__, "copy_gb_per_s": f"{copy.speed():.1f}"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':42}{'dtype':8} {'library':>8} {'S':>7} {'B':>7} | {'library':>7} {'S':>6} {'B':>6}  S/its B/its")
    faster, table = [], []
    for name, frames in recorded_frames(folder):
        x = frames[: max(MOST // frames[0].nbytes, 1)]
        if len(sys.argv) > 4 and not any(k in name for k in sys.argv[4:]):
            continue
        ops = [checked(op(x.shape[1:], x.dtype.name), x) for op in (ShuffleZstd, BitshuffleZstd)]
        runs: dict[Any, Any] = {"library": lambda i, x=x: library(x)}
        runs |= {k: lambda i, x=x, plan=plan, out=out: plan(x, out=out) for k, (plan, out) in enumerate(ops)}
        times = in_turns(runs, seconds)
        rates = [x.nbytes / float(np.median(times[k])) / 1e9 for k in ("library", 0, 1)]
        shares = [float(np.median(times["library"] / times[k])) for k in (0, 1)]
        ratios = [x.nbytes / sum(12 + len(chunk) for chunk in library(x)), *(x.nbytes / int(out.size.sum()) for _, out in ops)]
        faster.append(shares)
        table.append([name, x.dtype, len(x), x.nbytes, *(f"{v:.4g}" for v in (*ratios, *rates, *shares))])
        print(f"{name:42}{x.dtype!s:8} {ratios[0]:8.2f} {ratios[1]:7.2f} {ratios[2]:7.2f} | {rates[0]:7.2f} {rates[1]:6.2f} {rates[2]:6.2f}  "
              f"{shares[0]:5.2f} {shares[1]:5.2f}", flush=True)
    for k, kind in enumerate("SB"):
        own = [f[k] for f in faster]
        print(f"{kind}: speed by the library's, lowest {min(own):.2f}, geometric mean {np.exp(np.mean(np.log(own))):.2f}")
    if len(sys.argv) > 3 and sys.argv[3]:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
