"""features.sparsify and features.peak_finder_azimuthal beside pyFAI's OCL_PeakFinder, frames of 2167 x 2070 u16, 800 bins.

    python bench/bench_sparsify.py [SECONDS [CSV]]

pyFAI runs on PoCL, work-groups of 128 (its default of 4096 takes five times as long there), a frame a call, from and to host memory; so do ours on numba;
ours on the same PoCL device take a batch that lies there. What is timed was compared first: the same pixels but for ties, and pixels of the first and last bin.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np

from gpuredux import backends
from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.features import PeakFinderAzimuthal, Rings, Sparsify

SHAPE, BINS, FRAMES = (2167, 2070), 800, 4
HEAD = ("device", "op", "frames", "ms_per_frame", "share_of_copy", "pyfai_ms_per_frame", "times_pyfai")
PONI = "Detector: Detector\nPixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\nPoni1: 0.1084\nPoni2: 0.10353\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"


def frames_of(radius: np.ndarray) -> np.ndarray:
    """A falling background of 1 to 20 counts, and 200 peaks of 60 to 3000 counts."""
    rng = np.random.default_rng(1)
    frames = rng.poisson(20 * np.exp(-radius / radius.max() * 3) + 1, (FRAMES, *SHAPE)).astype(np.uint16)
    y, x = np.mgrid[-4:5, -4:5]
    spot = np.exp(-(x * x + y * y) / 2 / 1.2**2)
    for frame in frames:
        for r, c in zip(*(rng.integers(5, k - 5, 200) for k in SHAPE), strict=True):
            frame[r - 4 : r + 5, c - 4 : c + 5] += rng.poisson(rng.uniform(60, 3000) * spot / spot.sum()).astype(np.uint16)
    return frames


def pyfai() -> tuple[Any, np.ndarray, np.ndarray]:
    """Its engine on PoCL, the centres of its bins, the radius of each pixel."""
    import pyFAI
    from pyFAI.detectors import Detector
    from pyFAI.opencl import ocl
    from pyFAI.opencl.peak_finder import OCL_PeakFinder
    from pyFAI.units import to_unit

    where = [(p.id, d.id) for p in ocl.platforms for d in p.devices if "Portable" in p.name]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.poni").write_text(PONI)
        ai = pyFAI.load(str(Path(folder) / "a.poni"))
    ai.detector = Detector(1e-4, 1e-4, max_shape=SHAPE)
    unit = to_unit("r_mm")
    csr = ai.setup_sparse_integrator(SHAPE, BINS, unit=unit, split="no", algo="CSR", scale=False)
    radius = ai.array_from_unit(SHAPE, typ="center", unit=unit, scale=False)
    engine = OCL_PeakFinder(csr.lut, int(np.prod(SHAPE)), bin_centers=csr.bin_centers, radius=radius, unit=unit, platformid=where[0][0], deviceid=where[0][1],
                            block_size=128)
    return engine, csr.bin_centers, radius


def check(op: Sparsify, engine: Any, frame: np.ndarray) -> None:
    """Raises if the two do not list the same pixels."""
    ours = op(frame[None])
    mine = set(ours.sparse_index[0, : ours.sparse_count[0]].tolist())
    theirs = set(engine.sparsify(frame, error_model="azimuthal").index.tolist())
    if len(mine ^ theirs) > 0.01 * len(theirs):
        raise ValueError(f"features.sparsify: {len(mine ^ theirs)} of {len(theirs)} pixels differ from pyFAI's")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    engine, centres, radius = pyfai()
    frames, step = frames_of(radius), float(centres[1]) - float(centres[0])
    rings = Rings.from_position(radius, BINS, (float(centres[0]) - step / 2, float(centres[-1]) + step / 2))
    ops = {"sparsify": Sparsify(rings, radius), "peakfinder": PeakFinderAzimuthal(rings, radius)}
    check(ops["sparsify"], engine, frames[0])
    about, table, copy = provenance({}), [], host_copy(numba.config.NUMBA_NUM_THREADS)
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    devices = [(backends.NUMBA, backends.NUMBA.devices()[0]), *((backends.OPENCL, d) for d in backends.OPENCL.devices() if "Portable" in d.name)]
    for backend, device in devices:
        there = backend.put(frames, device)
        for name, op in ops.items():
            plan = op.plan(there, backend=backend.name, device=device)
            outs = list(plan(there))

            def ours(_: int, plan: Any = plan, outs: Any = outs, backend: Any = backend, device: Any = device, there: Any = there) -> None:
                plan(there, out=outs)
                backend.wait(device)

            def theirs(i: int, name: str = name) -> None:
                getattr(engine, name)(frames[i % FRAMES], error_model="azimuthal")

            spent = {k: float(np.median(v)) for k, v in in_turns({"ours": ours, "pyfai": theirs, "copy": lambda _: copy.run()}, seconds).items()}
            ms, rival = spent["ours"] * 1e3 / FRAMES, spent["pyfai"] * 1e3
            share = op.traffic(*op.bind((frames,), {})) / spent["ours"] / (copy.nbytes / spent["copy"])
            table.append([str(device), op.name, FRAMES, f"{ms:.4g}", f"{share:.3g}", f"{rival:.4g}", f"{rival / ms:.3g}"])
            print("\t".join(map(str, table[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
