"""Speed of the error-bounded quantisers and of their inverses beside copy bandwidth, by numba, with as many threads as the environment says; and how
small their codes become.

    NUMBA_NUM_THREADS=1 python bench/bench_quantize.py [SECONDS [CSV [FOLDER]]]

Frames of 0.5 megapixels of photons on noise (datasets/cases.py), more of them than the last-level cache holds; each line is the median of runs that take
turns with the copy. Bytes are those that must be moved: Op.traffic. What is timed was checked: numba's bytes are those of numpy on the first frames.
share: of copy bandwidth, read plus written, of as many threads.

With FOLDER, the recorded frames (datasets/README.md), ratios of JUNGFRAU's float32 photons (M049) to what S makes of their codes and the list of outliers:
- "noise": abs = the noise of one pixel, from the median over pixels of the variance of their 10 words of the dark run, 508 ADU being a photon; uint16 codes
  of which 16 is 0. Beside H0, the order-0 entropy of the int16 codes; the bitshuffle library's LZ4 of the same codes; and zfp with this tolerance.
- "total": square-root steps by which no value is off by more than its total sigma, sqrt(photons + noise^2): evenly spaced by two of it, as rint(sqrt) is;
  "total, 0.1": of a noise of 0.1 photons, with which H0 is the 19.5 of the design. A larger noise takes in more of the pixels without a photon.
Demanded: noise: 0.97 of H0, 1.2 of LZ4, 2 of zfp; total, 0.1: 17.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import numba
import numpy as np
import zfpy

from gpuredux.bench import host_copy, in_turns, last_level_cache, provenance, write_csv
from gpuredux.compress import Quantize, QuantizeCounts, ShuffleZstd, verify
from gpuredux.datasets.case import seeded
from gpuredux.datasets.cases import sized_energy
from gpuredux.datasets.real import read

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


def ratios(folder: Path) -> Iterator[str]:
    """Lines of ratios. Raises if a decoded value is beyond its bound."""
    x = np.ascontiguousarray(read(folder, "jungfrau_m049_raw_to_photons.h5", "conv"), np.float32)
    adu = 508.0
    noise = median_sigma(read(folder, "jungfrau_dark_10.h5", "raw") & 0x3FFF) / adu
    fields: dict[str, Any] = {"step": 2.0, "exact_below": 0, "gain": adu, "smallest": -(2**17), "largest": 2**24 - 1, "unit": 1 / adu}
    steps = {name: QuantizeCounts(read_noise=sigma * adu, **fields) for name, sigma in (("total", noise), ("total, 0.1", 0.1))}
    met = {}
    for name, op in {"noise": Quantize(noise, "uint16", zero=16), **steps}.items():
        r = op(x, backend="numba")
        if not verify(x, r, op).holds:
            raise ValueError(f"{op.name}: a value is beyond its bound")
        ours = ShuffleZstd()(r.code, backend="numba").size + 8.0 * r.outlier_count
        codes = Quantize(noise, "int16")(x, backend="numba").code if name == "noise" else r.code
        theirs = {"H0": [entropy(c) * c.size / 8 for c in codes], "LZ4": [12 + len(bitshuffle.compress_lz4(c)) for c in r.code]}
        if name == "noise":
            theirs["zfp"] = [len(zfpy.compress_numpy(f, tolerance=noise)) for f in x]
        ratio, shares = x.nbytes / ours.sum(), {k: float(np.sum(v) / ours.sum()) for k, v in theirs.items()}
        met |= {k: shares[k] >= least for k, least in (("H0", 0.97), ("LZ4", 1.2), ("zfp", 2))} if name == "noise" else {name: bool(ratio >= 17)}
        yield f"{name}: {ratio:.2f} of float32, " + ", ".join(f"{v:.3f} of {k}" for k, v in shares.items())
    yield f"noise of {noise * adu:.1f} ADU; met: {met}"


def median_sigma(dark: np.ndarray) -> float:
    """Standard deviation of a pixel, of the median of all pixels' variances, without bias: of k + 1 normal values the median of the variance is below its mean,
    which is that of chi-square, k (1 - 2 / 9k)^3 (Wilson and Hilferty), by k."""
    k = len(dark) - 1
    return float(np.sqrt(np.median(dark.var(axis=0, ddof=1)) / (1 - 2 / (9 * k)) ** 3))


def entropy(code: np.ndarray) -> float:
    """Bits a pixel, order 0."""
    share = np.unique(code, return_counts=True)[1] / code.size
    return float(-(share * np.log2(share)).sum())


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
    if len(sys.argv) > 3:
        print("\n".join(ratios(Path(sys.argv[3]))))
    if len(sys.argv) > 2:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
