"""compress.roibin with the settings of its paper on recorded frames: how small, and which peaks the same finder finds in what is read back.

    python bench/bench_roibin.py FOLDER [CSV]

FOLDER: the recorded frames (datasets/README.md). Windows of 17 x 17, bins of 2 x 2, bounds of means of 10, 45 and 90 ADU; M049's photons are 508 ADU each.
The finder is psana's V3r3 with the cuts that the files name, on the frame and on what read_roibin rebuilds; pixels that it leaves out are not stored.
ratio: bytes of the frames by those of all datasets of the file; lossless: the same by shuffle + zstd of the frames alone. again: peaks of before that are
found within half a pixel; same: with the same centroid and total, bit by bit; new: peaks found that were none; total: by which share the total of one found
again is off at most (V3r3's background leaves out extrema, which pixels up to 9 away decide: outside of the window). windows: the largest error of their
pixels; mean: of a bin's mean; pixel, rms: of good pixels outside of windows [ADU]. MB/s: of one thread, raw bytes; the median of turns that all take with
the copy, read plus written; of_copy: the share of it, by the bytes that must be moved (Op.traffic). lists: bytes of all other datasets: offsets, errors,
windows, and the sums and status of chunks, which are 1024 to a chunk, however few there are.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numba
import numpy as np

from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.compress import Roibin, ShuffleZstd
from gpuredux.compress.hdf5_roibin import read_roibin, write_roibin
from gpuredux.datasets import real
from gpuredux.features import PeakFinderV3r3, Windows

CUTS = ("rank", "r0", "dr", "nsigm", "npix_min", "npix_max", "amax_thr", "atot_thr", "son_min")
PEAKS = ("peak_panel", "peak_row", "peak_col", "peak_count")
HEAD = ("data", "abs_adu", "bound_adu", "ratio", "lossless", "background", "roi", "mask", "lists", "peaks", "again", "same", "new", "total", "windows", "mean",
        "pixel", "rms", "encode_MB_s", "decode_MB_s", "encode_of_copy", "decode_of_copy", "copy_GB_s")


class Data(NamedTuple):
    name: str
    frames: np.ndarray
    good: np.ndarray
    adu: float      # of the frames' unit
    bound: float    # of pixels [ADU], of the last line
    cuts: dict[str, Any]


def recorded(folder: Path) -> Iterator[Data]:
    file = "cspad_thermolysin_1.h5"
    frame = real.read(folder, file, "data")[None]
    yield Data("CSPAD thermolysin, i32", frame, (frame[0] > -100) & (frame[0] < 16383), 1.0, 200.0, cuts_of(folder / file))
    file = "jungfrau_m049_raw_to_photons.h5"
    frames, good = real.read(folder, file, "conv"), (real.read(folder, file, "raw") != 0xC000).all(0)
    good[[11, 11, 35, 119], [117, 118, 127, 128]] = False       # saturated in a frame of the run that is not stored here
    asics = [np.ascontiguousarray(np.moveaxis(x.reshape(*x.shape[:-1], 4, 256), -2, -3)) for x in (frames, good)]
    yield Data("JUNGFRAU M049, photons f32", *asics, 508.0, 5080.0, cuts_of(folder / file))


def cuts_of(path: Path) -> dict[str, Any]:
    with h5py.File(path) as f:
        said = json.loads(f.attrs["peak_params"])
    return {k: float(v) if k in ("r0", "dr", "nsigm", "amax_thr", "atot_thr", "son_min") else v for k, v in said.items() if k in CUTS}


def table(find: PeakFinderV3r3, x: np.ndarray, f: int) -> np.ndarray:
    """panel, row, col, total of a frame's peaks."""
    found = find(x)
    if (found.peak_count > found.peak_row.shape[1]).any():
        raise ValueError("more peaks than the finder lists")
    return np.stack([getattr(found, f"peak_{c}")[f, : found.peak_count[f]].astype(np.float64) for c in ("panel", "row", "col", "total")], 1)


def compared(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, float]:
    """again, same, new; and by how much the total of one that is found again is off."""
    far = np.where(before[:, None, 0] == after[None, :, 0], np.hypot(*np.moveaxis(before[:, None, 1:3] - after[None, :, 1:3], -1, 0)), np.inf)
    same = (before[:, None] == after[None]).all(-1)
    found, nearest = (far <= 0.5).any(1), far.argmin(1)
    return int(found.sum()), int(same.any(1).sum()), int((far > 0.5).all(0).sum()), float(np.abs(after[nearest, 3] / before[:, 3] - 1)[found].max())


def stored(group: h5py.Group) -> dict[str, int]:
    """The bytes of every dataset."""
    sizes: dict[str, int] = {}
    group.visititems(lambda name, x: sizes.update({name: x.id.get_storage_size()} if isinstance(x, h5py.Dataset) else {}))
    return sizes


def rates(op: Roibin, made: Any, x: np.ndarray, peaks: dict[str, np.ndarray]) -> list[str]:
    """The last five columns."""
    given, copy = {k: getattr(made, k) for k in ("code", "roi_bits", "roi", "roi_count")}, host_copy(1)
    plans = {"encode": op.plan(x, **peaks, backend="numba"), "decode": op.decoder(x.shape[1:]).plan(**given, backend="numba")}
    back = plans["decode"](**given)
    times = in_turns({"encode": lambda i: plans["encode"](x, **peaks, out=made), "decode": lambda i: plans["decode"](**given, out=back),
                      "copy": lambda i: copy.run()}, 1.0)
    spent = {k: float(np.median(v)) for k, v in times.items()}
    speed = copy.nbytes / spent["copy"]
    moved = {k: p.op.traffic(*p.specs) for k, p in plans.items()}
    return [*(f"{x.nbytes / spent[k] / 1e6:.0f}" for k in plans), *(f"{moved[k] / spent[k] / speed:.3f}" for k in plans), f"{speed / 1e9:.1f}"]


def row_of(data: Data, abs_adu: float, bound_adu: float | None) -> list[Any]:
    x, find = data.frames, PeakFinderV3r3(**data.cuts, good=data.good)
    found = find(x)
    peaks = {k: getattr(found, k) for k in PEAKS}
    op = Roibin(abs_adu / data.adu, bound=None if bound_adu is None else bound_adu / data.adu, good=data.good, capacity=data.good.size)
    made = op(x, **peaks, backend="numba")
    with tempfile.TemporaryDirectory() as folder:
        write_roibin(Path(folder) / "x.h5", op, made, x.shape[1:], peaks=peaks)
        y = read_roibin(Path(folder) / "x.h5")
        with h5py.File(Path(folder) / "x.h5") as f:
            sizes, rest = stored(f), f["mask"][:] == 0
    cut, many = Windows(half=8, good=data.good), peaks["peak_count"]
    before, after = (cut(a, **peaks).astype(np.float64) for a in (x, y))
    inside = max(np.abs(after[k, : many[k]] - before[k, : many[k]]).max() for k in range(len(x)))
    scores = np.array([compared(table(find, x, f), table(find, y, f)) for f in range(len(x))])
    error = np.abs(x[rest].astype(np.float64) - y[rest]) * data.adu
    lossless = x.nbytes / int(ShuffleZstd()(x, backend="numba").size.sum())
    errors = (inside * data.adu, made.background_error.max() * data.adu, error.max(), np.sqrt((error**2).mean()))
    ratio = x.nbytes / sum(sizes.values())
    return [data.name, abs_adu, bound_adu or "none", f"{ratio:.1f}", f"{lossless:.2f}",
            *(sizes.pop(k) for k in ("background", "roi", "mask")), sum(sizes.values()), int(many.sum()), *map(int, scores[:, :3].sum(0)),
            f"{scores[:, 3].max():.2g}",
            *(f"{e:.4g}" for e in errors), *rates(op, made, x, peaks)]


def main() -> None:
    numba.set_num_threads(1)
    about, rows = provenance({}), []
    print("\n".join(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    for data in recorded(Path(sys.argv[1])):
        for abs_adu, bound_adu in ((10.0, None), (45.0, None), (90.0, None), (45.0, data.bound)):
            rows.append(row_of(data, abs_adu, bound_adu))
            print("\t".join(map(str, rows[-1])), flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, rows)


if __name__ == "__main__":
    main()
