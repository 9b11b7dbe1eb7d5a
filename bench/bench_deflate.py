"""Speed and ratio of compress.ShuffleDeflate and its decoder beside zlib and the bitshuffle library's zstd, with as many threads as the environment says.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/bench_deflate.py FOLDER [SECONDS [CSV [NAME ...]]]

FOLDER: the recorded frames (datasets/README.md), of each dataset those that fit in 8 MiB, at least one; NAME: only datasets whose name holds it. rle: zlib's
level 1 with its search for runs alone (Z_RLE) over bytes that were shuffled before, frame by frame; inflate: zlib's decoder of our chunks, without the way
back from shuffled bytes; zstd: bitshuffle.compress_zstd at level 1 in blocks of 128 KiB. ours: one run of a plan for all frames into memory that is there.
Whatever is timed was decoded and compared first, by zlib too. GB/s are raw bytes, of the median of turns that all take with the copy, read plus
written; the columns behind the bar are medians of what two take in one turn. The ratios of Z_RLE are of level 6, which sets no other search.
"""

from __future__ import annotations

import runpy
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import numba
import numpy as np

from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.compress import ShuffleDeflate
from gpuredux.compress.shuffle_deflate import shuffled
from gpuredux.datasets import real

BLOCK = 131072
MOST = 1 << 23      # bytes of frames
HEAD = ("dataset", "dtype", "frames", "bytes", "ratio", "ratio_by_rle", "encode_gb_per_s", "decode_gb_per_s", "encode_by_rle", "encode_by_zstd",
        "decode_by_zlib")


def recorded_frames(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every dataset of images, its frames first; then counts."""
    recorded = runpy.run_path(str(Path(__file__).parent / "bench_bitshuffle_lz4.py"))["RECORDED"]
    for file, dataset, lead in recorded:
        x = real.read(folder, f"{file}.h5", dataset)
        yield f"{file}/{dataset}", np.ascontiguousarray(x.reshape(-1, *x.shape[lead:]))
    rng = np.random.default_rng(0)
    for mean in (0.1, 0.5, 2, 20):
        yield f"Poisson({mean})", rng.poisson(mean, (8, 512, 1024)).astype(np.uint16)


def by_runs(b: bytes, level: int) -> bytes:
    z = zlib.compressobj(level, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return z.compress(b) + z.flush()


def checked(x: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """Plans of both ways and their outputs. Raises if the chunks do not decode to x, by us and by zlib."""
    op = ShuffleDeflate(x.shape[1:], x.dtype.name)
    plan = op.plan(x, backend="numba")
    out = plan(x)
    back = op.inverse().plan(out.payload, out.size, backend="numba")
    decoded = back(out.payload, out.size)
    wrong = decoded.code.tobytes() != x.tobytes()
    if wrong or any(zlib.decompress(p[:s]) != shuffled(f).tobytes() for f, p, s in zip(x, out.payload, out.size, strict=True)):
        raise ValueError("a chunk does not decode to its frame")
    return plan, out, back, decoded


def measured(x: np.ndarray, copy: Any, seconds: float) -> list[float]:
    """Our ratio, the same by Z_RLE's, GB/s both ways, and our speed by that of Z_RLE, of zstd, of zlib's decoder."""
    plan, out, back, decoded = checked(x)
    planes, chunks = [shuffled(f).tobytes() for f in x], [p[:s].tobytes() for p, s in zip(out.payload, out.size, strict=True)]
    times = in_turns({
        "encode": lambda i: plan(x, out=out),
        "decode": lambda i: back(out.payload, out.size, out=decoded),
        "rle": lambda i: [by_runs(b, 1) for b in planes],
        "zstd": lambda i: [bitshuffle.compress_zstd(f, BLOCK // f.itemsize, 1) for f in x],
        "inflate": lambda i: [zlib.decompress(c, bufsize=len(b)) for c, b in zip(chunks, planes, strict=True)],
        "copy": lambda i: copy.run(),
    }, seconds)
    rates = [x.nbytes / float(np.median(times[k])) / 1e9 for k in ("encode", "decode")]
    by = [float(np.median(times[a] / times[b])) for a, b in (("rle", "encode"), ("zstd", "encode"), ("inflate", "decode"))]
    size = int(out.size.sum())
    return [x.nbytes / size, sum(len(by_runs(b, 6)) for b in planes) / size, *rates, *by]


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    threads = numba.get_num_threads()
    copy = host_copy(threads)
    about = {**provenance({}), "zlib": zlib.ZLIB_RUNTIME_VERSION, "bitshuffle": bitshuffle.__version__, "copy_gb_per_s": f"{copy.speed():.1f}"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':42}{'dtype':8} {'ratio':>7} {'by rle':>7} | encode decode GB/s | by rle  by zstd  by inflate")
    table = []
    for name, frames in recorded_frames(folder):
        x = frames[: max(MOST // frames[0].nbytes, 1)]
        if len(sys.argv) > 4 and not any(k in name for k in sys.argv[4:]):
            continue
        row = measured(x, copy, seconds)
        table.append([name, x.dtype, len(x), x.nbytes, *(f"{v:.4g}" for v in row)])
        print(f"{name:42}{x.dtype!s:8} {row[0]:7.2f} {row[1]:7.4f} | {row[2]:6.2f} {row[3]:6.2f}      | {row[4]:6.2f} {row[5]:7.2f} {row[6]:9.2f}", flush=True)
    for k, words in ((5, "ratio by Z_RLE's"), (8, "encoder by zlib's"), (9, "encoder by zstd's"), (10, "decoder by zlib's")):
        own = [float(r[k]) for r in table]
        print(f"{words}: lowest {min(own):.3f}, geometric mean {np.exp(np.mean(np.log(own))):.3f}")
    if len(sys.argv) > 3 and sys.argv[3]:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
