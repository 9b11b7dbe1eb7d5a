"""Ratio and CPU speed of compress.BitshuffleLZ4 beside the bitshuffle library, on recorded frames, with as many threads as the environment says.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/bench_bitshuffle_lz4.py FOLDER [SECONDS [CSV]]

FOLDER: the recorded frames (datasets/README.md). library: bitshuffle.compress_lz4, frame by frame into memory that it allocates; ours: one run of
a plan for all frames into memory that is there; single: one run a frame. Whatever is timed was decoded and compared first. GB/s are raw bytes, of
the best run; `copy` is the copy bandwidth of as many threads, read plus written. tests/test_bitshuffle_lz4.py checks the ratios.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bitshuffle
import numba
import numpy as np

from gpuredux.bench import host_copy, provenance, write_csv
from gpuredux.compress import BitshuffleLZ4, decode_chunk
from gpuredux.datasets import real

# file, dataset, and how many leading axes count frames: every dataset of images among the recorded files
RECORDED = (
    ("bcdi_timepix_rocking", "data", 1), ("bcdi_timepix_rocking", "whitefield", 0), ("bsa_saxs_ccd", "data", 1), ("ceo2_pilatus1m_waxs", "data", 0),
    ("cspad_asic_float", "data", 0), ("cspad_thermolysin_1", "data", 0), ("eiger2_16m_roi4m_stream", "data", 0), ("eiger500k_powder", "data", 1),
    ("eiger9m_sparse_f0", "data", 1), ("epix10ka_quad_raw", "raw", 1), ("hexitec_30", "data", 1), ("jungfrau_dark_10", "raw", 1),
    ("jungfrau_m049_raw_to_photons", "raw", 1), ("jungfrau_m049_raw_to_photons", "conv", 1), ("jungfrau_m049_raw_to_photons", "ped", 1),
    ("muscle_pilatus1m", "data", 1), ("pilatus2m_lcysteine_01", "data", 1), ("pilatus6m_thaumatin_crop", "data", 1),
    ("projection_flat_dark", "projection", 0), ("projection_flat_dark", "flat", 0), ("projection_flat_dark", "dark", 0),
    ("saxs_ccd_agbe_dark", "agbehenate", 0), ("saxs_ccd_agbe_dark", "dark", 0), ("saxs_ccd_agbe_dark", "empty", 0), ("timepix_ed", "data", 0),
    ("tomo_tooth", "data", 1), ("xpcs_aerogel_qmap", "I", 0), ("xpcs_aerogel_qmap", "roi_map", 0), ("xpcs_stack_100", "data", 1),
)

HEAD = ("dataset", "dtype", "frames", "bytes", "library_ratio", "our_ratio_by_its", "library_gb_per_s", "our_gb_per_s", "single_gb_per_s", "our_speed_by_its")


class Ratio(NamedTuple):
    """Of all frames of one dataset: raw bytes by the library's, and the library's by ours."""

    name: str
    frames: np.ndarray
    library: float
    share: float


def ratios(folder: Path) -> Iterator[Ratio]:
    """Sizes of whole chunks, header included. Raises if a chunk does not decode to its frame."""
    for file, dataset, lead in RECORDED:
        x = real.read(folder, f"{file}.h5", dataset)
        x = np.ascontiguousarray(x.reshape(-1, *x.shape[lead:]))
        payload, size = BitshuffleLZ4()(x)
        for frame, chunk, count in zip(x, payload, size, strict=True):
            if decode_chunk(chunk[:count], frame.shape, frame.dtype).tobytes() != frame.tobytes():
                raise ValueError(f"{file}/{dataset}: a chunk does not decode to its frame")
        library = sum(12 + len(bitshuffle.compress_lz4(f)) for f in x)
        yield Ratio(f"{file}/{dataset}", x, x.nbytes / library, library / int(size.sum()))


def best_rates(x: np.ndarray, runs: tuple[Callable[[], Any], ...], seconds: float) -> list[float]:
    """GB/s of raw bytes of each, by its best run. They take turns, so that a busy neighbour disturbs all alike; several runs a turn, because the
    threads of the one before spin for a while after it."""
    best = [np.inf] * len(runs)
    stop = time.perf_counter() + seconds
    for turn in range(1_000_000):
        for i in (i for i in range(len(runs)) for _ in range(5)):
            begin = time.perf_counter()
            runs[i]()
            best[i] = min(best[i], time.perf_counter() - begin)
        if turn and time.perf_counter() > stop:
            break
    return [float(x.nbytes / t / 1e9) for t in best]


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    threads = numba.get_num_threads()
    about = {**provenance({}), "bitshuffle": bitshuffle.__version__, "copy_gb_per_s": f"{host_copy(threads).speed():.1f}"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':42}{'dtype':8} {'ratio':>7} {'ours/its':>8} | {'library':>7} {'ours':>6} {'single':>6}  ours/its")
    shares, faster, table = [], [], []
    for name, x, library, share in ratios(folder):
        op = BitshuffleLZ4()
        plan, out, each, first = op.plan(x), op(x), op.plan(x[:1]), op(x[:1])
        rates = best_rates(x, (
            lambda x=x: [bitshuffle.compress_lz4(f) for f in x],
            lambda x=x, plan=plan, out=out: plan(x, out=out),
            lambda x=x, each=each, first=first: [each(x[k : k + 1], out=first) for k in range(len(x))],
        ), seconds)
        shares.append(share)
        faster.append(rates[1] / rates[0])
        table.append([name, x.dtype, len(x), x.nbytes, *(f"{v:.4g}" for v in (library, share, *rates, faster[-1]))])
        print(f"{name:42}{x.dtype!s:8} {library:7.2f} {share:8.3f} | {rates[0]:7.2f} {rates[1]:6.2f} {rates[2]:6.2f}  {faster[-1]:.2f}", flush=True)
    print(f"ratio: lowest {min(shares):.3f}, mean {np.mean(shares):.3f} of the library's")
    print(f"speed: lowest {min(faster):.2f}, mean {np.mean(faster):.2f} times the library's")
    if len(sys.argv) > 3:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
