"""CPU speed of compress.ShuffleZstdDecode and BitshuffleZstdDecode beside libzstd and HDF5's own filters, on recorded frames, one thread.

    NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 python bench/bench_zstd_decode.py FOLDER [SECONDS [CSV]]

FOLDER: the recorded frames (datasets/README.md). Chunks are those of HDF5's filters: shuffle + zstd level 1 (S), bitshuffle in blocks of 128 KiB + zstd
level 1 (B). libzstd: ZSTD_decompress of the same frames alone, without undoing the shuffle, into memory that is there. hdf5: h5py reads the chunks from
a file in memory with hdf5plugin, into memory that is there. ours: a plan's run, to elements, likewise. Whatever is timed was compared first. GB/s are
raw bytes, of the best run; `copy` is the copy bandwidth of one thread, read plus written.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from bench_bitshuffle_lz4 import RECORDED, best_rates

from gpuredux.bench import host_copy, provenance, write_csv
from gpuredux.compress import BitshuffleZstdDecode, ShuffleZstdDecode
from gpuredux.datasets import real
from gpuredux.datasets.cases_zstd_decode import rows_of

HEAD = (
    "dataset", "dtype", "frames", "bytes", "filter", "ratio", "libzstd_gb_per_s", "hdf5_gb_per_s", "our_gb_per_s", "our_speed_by_libzstd", "our_speed_by_hdf5",
)


def zstd_frames(chunk: bytes, filter_name: str, itemsize: int) -> list[bytes]:
    """The zstd frames of a chunk."""
    if filter_name == "S":
        return [chunk]
    found, at = [], 12
    total, block = int.from_bytes(chunk[:8], "big"), int.from_bytes(chunk[8:12], "big")
    for _ in range(0, total - total % (8 * itemsize), block):
        end = at + 4 + int.from_bytes(chunk[at : at + 4], "big")
        found.append(chunk[at + 4 : end])
        at = end
    return found


def runs_of(x: np.ndarray, filter_name: str) -> tuple[float, tuple[Any, ...]]:
    """The ratio of the chunks, and what is timed: libzstd, HDF5, ours."""
    filters: Any = {"shuffle": True, **hdf5plugin.Zstd(clevel=1)} if filter_name == "S" else hdf5plugin.Bitshuffle(
        nelems=max(131072 // x.dtype.itemsize, 8), cname="zstd", clevel=1)
    file = h5py.File(f"{id(x)}{filter_name}.h5", "w", driver="core", backing_store=False, rdcc_nbytes=0)      # or HDF5 keeps what it decoded
    stored = file.create_dataset("x", data=x, chunks=(1, *x.shape[1:]), **filters)
    chunks = [stored.id.read_direct_chunk((i,) + (0,) * (x.ndim - 1))[1] for i in range(len(x))]
    op = (ShuffleZstdDecode if filter_name == "S" else BitshuffleZstdDecode)(x.shape[1:], x.dtype.name)
    given, into = rows_of(chunks), np.empty_like(x)
    plan, out = op.plan(**given), op(**given)
    if out.code.tobytes() != x.tobytes() or out.frame_status.any():
        raise ValueError(f"{filter_name}: a chunk does not decode to its frame")
    lib = ctypes.CDLL(str(Path(hdf5plugin.__file__).parent / "plugins" / "libh5zstd.so"))
    lib.ZSTD_decompress.restype = ctypes.c_size_t
    lib.ZSTD_decompress.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    frames, room = [f for c in chunks for f in zstd_frames(c, filter_name, x.dtype.itemsize)], ctypes.create_string_buffer(x[0].nbytes)
    return x.nbytes / sum(map(len, chunks)), (
        lambda: [lib.ZSTD_decompress(room, len(room), f, len(f)) for f in frames],
        lambda: stored.read_direct(into),
        lambda: plan(**given, out=out),
    )


def recorded(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Four frames at most of each dataset."""
    for file, dataset, lead in RECORDED:
        x = real.read(folder, f"{file}.h5", dataset)
        yield f"{file}/{dataset}", np.ascontiguousarray(x.reshape(-1, *x.shape[lead:])[:4])


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    about = {**provenance({}), "hdf5plugin": hdf5plugin.version, "copy_gb_per_s": f"{host_copy(1).speed():.1f}"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':42}{'dtype':8}  {'ratio':>7} | {'libzstd':>7} {'hdf5':>6} {'ours':>6}  by libzstd, by hdf5")
    table, by = [], []
    for name, x in recorded(folder):
        for filter_name in ("S", "B"):
            ratio, runs = runs_of(x, filter_name)
            rates = best_rates(x, runs, seconds)
            by.append((rates[2] / rates[0], rates[2] / rates[1]))
            table.append([name, x.dtype, len(x), x.nbytes, filter_name, *(f"{v:.4g}" for v in (ratio, *rates, *by[-1]))])
            told = f"{ratio:7.2f} | {rates[0]:7.2f} {rates[1]:6.2f} {rates[2]:6.2f}  {by[-1][0]:.2f} {by[-1][1]:.2f}"
            print(f"{name:42}{x.dtype!s:8}{filter_name} {told}", flush=True)
    for k, rival in enumerate(("libzstd", "hdf5")):
        shares = [b[k] for b in by]
        print(f"ours by {rival}: lowest {min(shares):.2f}, geometric mean {np.exp(np.mean(np.log(shares))):.2f}")
    if len(sys.argv) > 3:
        write_csv(sys.argv[3], about, HEAD, table)


if __name__ == "__main__":
    main()
