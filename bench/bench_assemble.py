"""Assembly of AGIPD 1M frames beside EXtra-geom's, in one run, checked before it is timed.

    python bench/bench_assemble.py [REPEATS [CSV]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from extra_geom import AGIPD_1MGeometry

from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.calib import assembly, geometry_extra

FRAMES = 16
HEAD = ("threads", "what", "ms_per_frame", "frames_per_s", "gb_per_s", "of_copy", "of_extra_geom")


def main(repeats: int, csv: str) -> None:
    rival = AGIPD_1MGeometry.example()
    geometry = geometry_extra.from_fragments(rival)
    data = np.random.default_rng(0).normal(0, 1, (FRAMES, 16, 512, 128)).astype(np.float32)
    tiles, seen, split = assembly.by_tiles(geometry, fill=np.nan), assembly.by_map(geometry, fill=np.nan), assembly.by_split(geometry)
    out, _ = rival.position_modules(data)
    if not np.array_equal(tiles(data), out, equal_nan=True):
        sys.exit("AssembleTiles and EXtra-geom differ: nothing is timed")
    about = provenance({}) | {"data": f"AGIPD 1M float32 {data.shape} -> {out.shape[1:]}, median of {repeats} rounds in turns"}
    print(*(f"{k}: {v}" for k, v in about.items()), "\t".join(HEAD), sep="\n")
    table = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        copy = host_copy(threads)
        ours = {"tiles": tiles, "map": seen, "split": split}
        plans = {k: (op.plan(data), np.empty((FRAMES, *op.shape), np.float32)) for k, op in ours.items()}
        runs: dict[str, Callable[[int], Any]] = {k: (lambda _, p=p, o=o: p(data, out=o)) for k, (p, o) in plans.items()}
        runs["extra_geom"] = lambda _: rival.position_modules(data, out=out)
        runs["copy"] = lambda _, copy=copy: copy.run()
        median = {k: float(np.median(v)) for k, v in in_turns(runs, 0.0, repeats + 1).items()}
        speed = copy.nbytes / median["copy"]
        for k in (*ours, "extra_geom"):
            moved = data.nbytes + (out.nbytes if k == "extra_geom" else plans[k][1].nbytes)
            rate = moved / median[k]
            numbers = (1e3 * median[k] / FRAMES, FRAMES / median[k], rate / 1e9, rate / speed, median["extra_geom"] / median[k])
            table.append([threads, k, *(f"{v:.4g}" for v in numbers)])
            print("\t".join(map(str, table[-1])), flush=True)
    if csv:
        write_csv(csv, about, HEAD, table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9, sys.argv[2] if len(sys.argv) > 2 else "")
