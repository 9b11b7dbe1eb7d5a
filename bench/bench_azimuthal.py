"""features.azimuthal_integrate beside pyFAI's engines: 2167 x 2070 pixels (Eiger 4M), 1000 bins of radius, no pixel split; and with pixels split in full.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python bench/bench_azimuthal.py [SECONDS [CSV]]         # and again with 2

numba: one frame a call, as pyFAI's are, and four, beside the fastest of its compiled engines (csc, histogram, csr), which are called below pyFAI's own
bookkeeping, without corrections and errors; with as many threads as the environment says. OpenCL, where these are all of the machine's: batches of 16 frames
on a device, beside pyFAI's OpenCL CSR in the same context, its frames there, too, with the block size that suits it best. All take turns in one process, and
the copy with them: times = theirs / ours by the medians, of_copy the bytes that must be moved (frames and labels) as a share of the copy's rate. The bar for
whole pixels is 4. Whatever is timed was compared first: with numpy's bytes, and with what pyFAI found.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from gpuredux import backends
from gpuredux.backends import Backend, BackendUnavailable, Device
from gpuredux.bench import device_copy, host_copy, in_turns, provenance, write_csv
from gpuredux.datasets.cases_azimuthal import corners_of
from gpuredux.features import AzimuthalIntegrate, Rings, SplitRings

SHAPE, BINS, BAR, BATCH = (2167, 2070), 1000, 4.0, 16
BLOCKS = (32, 128, 512)
HEAD = ("device", "threads", "split", "dtype", "frames", "ms_per_frame", "frames_per_s", "of_copy", "rival", "rival_ms_per_frame", "times", "bar")


def rings_of(split: str) -> Rings | SplitRings:
    """About a point in the frame, out to its farthest corner."""
    radial, azimuth = corners_of(SHAPE)
    limits = (0.0, float(radial.max()) + 1)
    if split == "full":
        return SplitRings.from_corners(radial, azimuth, BINS, limits)
    return Rings.from_position(radial.mean(-1), BINS, limits)


def frames_of(dtype: str, n: int) -> np.ndarray:
    frame = np.random.default_rng(1).poisson(20.0, SHAPE).astype(dtype)
    return np.stack([np.roll(frame, 7 * k) for k in range(n)])


def matrix_of(rings: Rings | SplitRings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Our rings as pyFAI's engines take them: data, indices, indptr."""
    share = np.ones(len(rings.order), np.float32) if rings.share is None else (rings.share / rings.whole).astype(np.float32)
    return share, rings.order.astype(np.int32), rings.first.astype(np.int32)


def rivals(rings: Rings | SplitRings) -> dict[str, Callable[[np.ndarray], Any]]:
    """pyFAI's engines on the CPU, each with one frame."""
    from pyFAI.ext import histogram, splitBBoxCSC, splitBBoxCSR, splitPixelFullCSC, splitPixelFullCSR

    radial, azimuth = corners_of(SHAPE)
    limits = (0.0, float(radial.max()) + 1)
    if isinstance(rings, SplitRings):
        corners = np.stack([radial, np.radians(azimuth)], -1).reshape(-1, 4, 2)
        csc = splitPixelFullCSC.FullSplitCSC_1d(corners, bins=BINS, pos0_range=limits, unit="r_mm")
        csr = splitPixelFullCSR.FullSplitCSR_1d(corners, bins=BINS, pos0_range=limits, unit="r_mm")
        return {"csc": csc.integrate_ng, "csr": csr.integrate_ng}
    centre = radial.mean(-1).reshape(-1)
    csc, csr = (kind(centre, None, bins=BINS, pos0_range=limits, unit="r_mm") for kind in (splitBBoxCSC.HistoBBox1d, splitBBoxCSR.HistoBBox1d))
    return {"csc": csc.integrate_ng, "csr": csr.integrate_ng,
            "histogram": lambda frame: histogram.histogram1d_engine(centre, BINS, frame, radial_range=limits)}


def check(op: AzimuthalIntegrate, made: Any, frame: np.ndarray, rival: Any) -> None:
    """Raises if a frame's sums are not numpy's, or the curve is not pyFAI's."""
    want = op(frame[None], backend="numpy")
    if any(np.ascontiguousarray(a[:1]).tobytes() != b.tobytes() for a, b in zip(made, want, strict=True)):
        raise ValueError(f"{op.name} differs from numpy's bytes")
    some = want.pixels[0] > 100 * op.rings.whole
    if not np.allclose(rival.intensity[some], want.intensity[0][some], rtol=2e-3):
        raise ValueError(f"{op.name} and pyFAI differ by {np.abs(rival.intensity - want.intensity[0])[some].max()}")


def on_host(split: str, dtype: str, seconds: float) -> Iterator[list[Any]]:
    op, threads = AzimuthalIntegrate(rings_of(split)), numba.get_num_threads()
    frames, copy = frames_of(dtype, 12), host_copy(threads)
    theirs = rivals(op.rings)
    one, four = op.plan(frames[:1], backend="numba"), op.plan(frames[:4], backend="numba")
    out, more = list(one(frames[:1])), list(four(frames[:4]))
    for rival in theirs.values():
        check(op, out, frames[0], rival(frames[0]))
    runs: dict[Any, Callable[[int], Any]] = {k: lambda i, r=r: r(frames[i % 12]) for k, r in theirs.items()}
    runs[1] = lambda i: one(frames[i % 12][None], out=out)
    runs[4] = lambda i: four(frames[i % 3 * 4 : i % 3 * 4 + 4], out=more)
    runs["copy"] = lambda _: copy.run()
    spent = {k: float(np.median(v)) for k, v in in_turns(runs, seconds).items()}
    best = min(theirs, key=lambda k: spent[k])
    for k in theirs:
        print(f"  pyFAI {k}: {spent[k] * 1e3:.3g} ms")
    for n in (1, 4):
        yield row("numba", threads, op, frames[:n], spent[n], copy.nbytes / spent["copy"], f"pyFAI {best}", spent[best])


def row(device: str, threads: int, op: AzimuthalIntegrate, frames: np.ndarray, spent: float, rate: float, rival: str, its: float) -> list[Any]:
    """its: seconds a frame."""
    each, split = spent / len(frames), "full" if isinstance(op.rings, SplitRings) else "no"
    share = op.traffic(*op.bind((frames,), {})) / spent / rate
    bar = "" if split == "full" else "met" if its / each >= BAR else f"missed: {BAR}"
    return [device, threads, split, frames.dtype, len(frames), *(f"{x:.4g}" for x in (each * 1e3, 1 / each, share)), rival, f"{its * 1e3:.4g}",
            f"{its / each:.3g}", bar]


def on_device(backend: Backend, device: Device, split: str, dtype: str, seconds: float) -> Iterator[list[Any]]:
    import pyopencl.array
    from pyFAI.opencl.azim_csr import OCL_CSR_Integrator

    op, frames, copy = AzimuthalIntegrate(rings_of(split)), frames_of(dtype, BATCH), device_copy(backend, device)
    x = backend.put(frames, device)
    plan = op.plan(x, backend=backend.name)
    out = list(plan(x))
    theirs = {k: OCL_CSR_Integrator(matrix_of(op.rings), frames[0].size, bin_centers=op.rings.radial, ctx=device.handle, block_size=k) for k in BLOCKS}
    given = {k: [pyopencl.array.to_device(e.queue, f) for f in frames] for k, e in theirs.items()}

    def ours(_: int) -> None:
        plan(x, out=out)
        backend.wait(device)

    def rival(i: int, k: int) -> Any:
        return theirs[k].integrate_ng(given[k][i % BATCH], safe=False)

    for k in BLOCKS:
        check(op, [backend.get(a) for a in out], frames[0], rival(0, k))
    spent = {k: float(np.median(v)) for k, v in in_turns(
        {"ours": ours, "copy": lambda _: copy.run(), **{k: lambda i, k=k: rival(i, k) for k in BLOCKS}}, seconds).items()}
    best = min(BLOCKS, key=lambda k: spent[k])
    yield row(str(device), numba.config.NUMBA_NUM_THREADS, op, frames, spent["ours"], copy.nbytes / spent["copy"], f"pyFAI OpenCL csr {best}", spent[best])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    about, table = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    warnings.filterwarnings("ignore", category=Warning, module="pyopencl")      # Intel's compiler has something to say about each build
    try:
        devices = backends.OPENCL.devices() if numba.get_num_threads() == os.cpu_count() else ()
    except BackendUnavailable as e:
        devices = ()
        print(f"not on {e}")
    for split in ("no", "full"):
        for dtype in ("uint16", "uint32"):
            made = [on_host(split, dtype, seconds), *(on_device(backends.OPENCL, d, split, dtype, seconds) for d in devices)]
            for line in (line for lines in made for line in lines):
                table.append(line)
                print("\t".join(map(str, line)), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
