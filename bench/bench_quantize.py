"""Speed of the error-bounded quantisers and of their inverses beside copy bandwidth, by numba, with as many threads as the environment says.

    NUMBA_NUM_THREADS=1 python bench/bench_quantize.py [SECONDS [CSV]]

Frames of 0.5 megapixels of photons on noise (datasets/cases.py), more of them than the last-level cache holds; each line is the median of runs that take
turns with the copy. Bytes are those that must be moved: Op.traffic. What is timed was checked: numba's bytes are those of numpy on the first frames.
share: of copy bandwidth, read plus written, of as many threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np

from gpuredux.bench import host_copy, in_turns, last_level_cache, provenance, write_csv
from gpuredux.compress import Quantize
from gpuredux.datasets.case import seeded
from gpuredux.datasets.cases import sized_energy

SHAPE = (512, 1024)
HEAD = ("op", "frames", "gb_per_s", "gpixel_per_s", "copy_gb_per_s", "share_of_copy")


def ops(shape: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Every bound and kind of code."""
    sigma = np.exp(seeded("sigma").normal(-3, 0.2, shape)).astype(np.float32)
    for code in ("int16", "uint16", "int32"):
        yield f"abs {code}", Quantize(abs=0.05, code=code, capacity=1 << 19)
    yield "abs int16, good", Quantize(abs=0.05, good=seeded("good").random(shape) > 0.01)
    yield "k_sigma int16", Quantize(k_sigma=1.0, sigma=sigma)
    yield "rel int16", Quantize(rel=0.01)
    yield "rel int32", Quantize(rel=1e-4, code="int32")


def checked(op: Any, x: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises if numba's outputs differ from numpy's."""
    one, two = (op(x, backend=backend) for backend in ("numpy", "numba"))
    wrong = [k for k in names if getattr(one, k).tobytes() != getattr(two, k).tobytes()]
    if wrong:
        raise ValueError(f"{op.name}: {', '.join(wrong)} differ between numpy and numba")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    copy = host_copy(numba.get_num_threads())
    about = {**provenance({}), "copy": f"{copy.kind}, {numba.get_num_threads()} threads"}
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    n = 4 * last_level_cache() // (4 * SHAPE[0] * SHAPE[1])
    x, table = np.abs(sized_energy(SHAPE, n, seeded("quantize"))), []
    for name, op in ops(SHAPE):
        checked(op, x[:2], ("code", "outlier_count", "max_error"))
        plan = op.plan(x, backend="numba")
        out = plan(x)
        lists = {k: getattr(out, k) for k in ("code", "outlier_index", "outlier_value", "outlier_count")}
        inverse = op.inverse().plan(**lists, backend="numba")
        back = inverse(**lists)
        runs = {"encode": lambda i, plan=plan, out=out: plan(x, out=out), "decode": lambda i, p=inverse, k=lists, b=back: p(**k, out=b),
                "copy": lambda i: copy.run()}
        times = {k: float(np.median(v)) for k, v in in_turns(runs, seconds).items()}
        speed = copy.nbytes / times["copy"] / 1e9
        for kind, p in (("encode", plan), ("decode", inverse)):
            rate = p.op.traffic(*p.specs) / times[kind] / 1e9
            table.append([f"{kind} {name}", n, *(f"{v:.4g}" for v in (rate, x.size / times[kind] / 1e9, speed, rate / speed))])
            print(f"{kind} {name:20} {rate:7.2f} GB/s {x.size / times[kind] / 1e9:6.2f} Gpixel/s, copy {speed:6.2f}: {rate / speed:.2f} of it", flush=True)
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
