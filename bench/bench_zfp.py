"""CPU speed of compress.Zfp and ZfpDecode beside zfpy, on one thread, in turns.

    NUMBA_NUM_THREADS=1 python bench/bench_zfp.py [SECONDS [FOLDER [CSV]]]

ours: one run of a plan into memory that is there; zfpy: compress_numpy and its decompressor, which allocate what they return. Streams are compared byte by
byte, and decoded frames bit by bit, before anything is timed. Times are the thread's own CPU time, of the best run: all take turns in one
process, and a neighbour on the same core counts for nobody. GB/s are raw bytes; copy is NumPy's, read plus written, by the same clock. FOLDER: recorded
frames (datasets/README.md), as well as those that are made here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import zfpy

from gpuredux.bench import provenance, write_csv
from gpuredux.compress import Zfp, ZfpDecode
from gpuredux.datasets import real

HEAD = ("frames", "dtype", "shape", "mode", "ratio", "encode_gb_per_s", "zfpy_encode_gb_per_s", "encode_by_its", "decode_gb_per_s", "zfpy_decode_gb_per_s",
        "decode_by_its", "max_error", "copy_gb_per_s")
KINDS = {"int32": zfpy.type_int32, "int64": zfpy.type_int64, "float32": zfpy.type_float, "float64": zfpy.type_double}
RECORDED = (("tomo_tooth", "data"), ("projection_flat_dark", "flat"), ("cspad_asic_float", "data"))


def made() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, frame, mode."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:512, :1024] / 100
    smooth, noise = (100 * np.sin(x) * np.cos(1.3 * y)).astype(np.float32), rng.normal(0, 1, (512, 1024)).astype(np.float32)
    volume = np.sin(np.arange(32) / 10)[:, None, None] * smooth[None, :64, :128] + rng.normal(0, 0.01, (32, 64, 128))
    for tolerance in (1.0, 0.1, 1e-3):
        yield "noise of 1", noise, {"tolerance": tolerance}
    yield "noise of 1", noise, {"rate": 8.0}
    for name, frame in (("smooth", smooth), ("smooth", smooth.astype(np.float64)), ("smooth volume", volume.astype(np.float32)), ("smooth volume", volume),
                        ("smooth line", smooth.reshape(-1))):
        yield name, frame, {"tolerance": 0.01}
    yield "smooth", smooth, {"precision": 16}
    yield "noise of 1", noise.astype(np.float64), {"tolerance": 1e-6}
    yield "smooth counts", (smooth * 1000).astype(np.int32), {"precision": 16}


def recorded(folder: Path) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """The first image of each, of tomo_tooth the sinogram, as float32, with a tolerance of a thousandth of its range."""
    for file, dataset in RECORDED:
        x = real.read(folder, f"{file}.h5", dataset)
        frame = x.reshape(-1, x.shape[-1]) if file == "tomo_tooth" else x.reshape(-1, *x.shape[-2:])[0]
        frame = np.ascontiguousarray(frame).astype(np.float32)
        yield f"{file}/{dataset}", frame, {"tolerance": float(np.ptp(frame)) / 1000}


def best_rates(nbytes: int, runs: tuple[Callable[[], Any], ...], seconds: float) -> list[float]:
    """GB/s of each, by its best run."""
    best, stop, turn = [np.inf] * len(runs), time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < stop:
        for i, run in enumerate(runs):
            begin = time.thread_time()
            run()
            best[i] = min(best[i], time.thread_time() - begin)
        turn += 1
    return [nbytes / t / 1e9 for t in best]


def measured(frame: np.ndarray, mode: dict[str, Any], seconds: float) -> list[float]:
    """Ratio, then rates and their ratios. Raises if a byte differs."""
    encode, decode = Zfp(**mode).plan(frame[None]), ZfpDecode(frame.shape, frame.dtype.name, **mode)
    out = encode(frame[None])
    stream, kind = out.payload[0, : out.size[0]].tobytes(), KINDS[frame.dtype.name]
    payload = out.payload[:, : out.size[0]].copy()
    back = decode.plan(payload, out.size)
    y = back(payload, out.size)
    if stream != zfpy.compress_numpy(frame, write_header=False, **mode):
        raise ValueError(f"{frame.dtype} {frame.shape} {mode}: the stream is not zfpy's")
    if y.energy.tobytes() != zfpy._decompress(stream, kind, frame.shape, **mode).tobytes():
        raise ValueError(f"{frame.dtype} {frame.shape} {mode}: the decoded frame is not zfpy's")
    source, target = np.zeros(1 << 26, np.uint8), np.ones(1 << 26, np.uint8)
    rates = best_rates(frame.nbytes, (
        lambda: encode(frame[None], out=out), lambda: zfpy.compress_numpy(frame, write_header=False, **mode),
        lambda: back(payload, out.size, out=y), lambda: zfpy._decompress(stream, kind, frame.shape, **mode),
    ), seconds)
    copy = best_rates(2 * source.nbytes, (lambda: np.copyto(target, source),), 0)[0]
    error = float(out.max_error[0]) if "tolerance" in mode else np.nan
    return [frame.nbytes / len(stream), rates[0], rates[1], rates[0] / rates[1], rates[2], rates[3], rates[2] / rates[3], error, copy]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    numba.set_num_threads(1)
    about, table = {**provenance({}), "zfpy": "1.0.1, one thread", "clock": "CPU time of the thread"}, []
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':42}{'ratio':>7} | {'encode':>6} {'zfpy':>6} {'by its':>6} | {'decode':>6} {'zfpy':>6} {'by its':>6} | {'error':>8} {'copy':>6}")
    for name, frame, mode in (*made(), *(recorded(Path(sys.argv[2])) if len(sys.argv) > 2 else ())):
        v = measured(frame, mode, seconds)
        said = " ".join(f"{k} {m:g}" for k, m in mode.items())
        table.append([name, frame.dtype, "x".join(map(str, frame.shape)), said, *(f"{k:.4g}" for k in v)])
        print(f"{f'{name}, {frame.dtype} {frame.ndim}-D, {said}':42}{v[0]:7.2f} | {v[1]:6.3f} {v[2]:6.3f} {v[3]:6.2f} | {v[4]:6.3f} {v[5]:6.3f} {v[6]:6.2f} | "
              f"{v[7]:8.2g} {v[8]:6.1f}", flush=True)
    if len(sys.argv) > 3:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
