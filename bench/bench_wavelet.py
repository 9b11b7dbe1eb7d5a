"""How small: compress.Wavelet and ReversibleWavelet beside the quantiser alone, zfp and SZ3 at the same bound, and JPEG 2000 and PNG without loss.

    python bench/bench_wavelet.py FOLDER [CSV [NAME ...]]

FOLDER: the recorded frames (datasets/README.md): of each dataset one image; NAME: only datasets whose name holds it. Bits a pixel, lower is better. sigma is an
image's noise, made of its neighbours' differences (median). Of each bound, in sigma: `W`: Wavelet with the better of two steps, 4 bounds and 4 sigma; `5/3`:
Quantize, then ReversibleWavelet; `Q`: Quantize alone; each in the better chunk of ShuffleZstd and BitshuffleZstd, exact values at 8 bytes each beside them, and
decoded and compared first. `zfp`, `SZ3`: theirs, at that absolute bound, of float32. Pixels that hold the largest word, as EIGER's masked ones do, are given
to W and Q as not good, to the others as 0. Without loss: `5/3`: ReversibleWavelet; `S|B`: the same encoders alone;
`JPEG 2000`: Pillow's (OpenJPEG, reversible; only 8 and 16 bits), `PNG`: the same.
Encode and decode: MB/s of float32 of Wavelet alone, one run of a plan by numba, with as many threads as the environment says; the median of turns that both
take with the copy; of_copy: the share of it, read plus written, by the bytes that must be moved (Op.traffic).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pysz
import zfpy
from bench_zstd import recorded_frames
from PIL import Image

from gpuredux.bench import host_copy, in_turns, provenance, write_csv
from gpuredux.compress import BitshuffleZstd, Quantize, ReversibleWavelet, ShuffleZstd, Wavelet
from gpuredux.datasets import real

BOUNDS = (0.1, 0.5, 1.0, 3.0)
HEAD = ("dataset", "sigma", "bound_sigma", "w_bits", "w_step_bounds", "five_three_bits", "q_bits", "zfp_bits", "sz3_bits", "w_encode_mb_per_s",
        "w_decode_mb_per_s", "w_encode_of_copy", "w_decode_of_copy", "copy_gb_per_s")
FLOATS = (("jungfrau_m049_raw_to_photons", "conv"), ("xpcs_aerogel_qmap", "I"), ("tomo_tooth", "data"), ("cspad_asic_float", "data"))


def images(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Float frames, then the first image of every integer dataset."""
    for file, dataset in FLOATS:
        x = real.read(folder, f"{file}.h5", dataset)
        yield f"{file}/{dataset}", np.ascontiguousarray(x[:, 0] if file == "tomo_tooth" else x.reshape(-1, *x.shape[-2:])[0])
    for name, x in recorded_frames(folder):
        if x.ndim > 2 and min(x.shape[-2:]) >= 64 and x.dtype.name in ("uint8", "int16", "uint16", "int32", "uint32"):
            yield name, np.ascontiguousarray(x.reshape(-1, *x.shape[-2:])[0])


def noise(x: np.ndarray) -> float:
    """Of a float32 image: from the differences of neighbours, of all that are not 0 where most of them are."""
    d = np.abs(np.diff(x.astype(np.float64), axis=1))
    d = d[np.isfinite(d)]
    middle = float(np.median(d)) or float(np.median(d[d > 0])) if (d > 0).any() else 1.0
    return middle / 0.6745 / np.sqrt(2)


def chunk(code: np.ndarray) -> int:
    """Bytes, of the better encoder."""
    return min(int(op(code, backend="numba").size.sum()) for op in (ShuffleZstd(), BitshuffleZstd()))


def held(x: np.ndarray, op: Any, out: Any, bound: float) -> int:
    """Bytes of the exact values. Raises where the bound does not hold."""
    if int(out.outlier_count[0]) > op.capacity:
        return x.nbytes
    y = op.inverse()(out.code, out.outlier_index, out.outlier_value, out.outlier_count, backend="numba")
    with np.errstate(invalid="ignore"):
        right = (np.abs(x.astype(np.float64) - y) <= bound) | (x.view(np.uint32) == y.view(np.uint32))
    right |= False if op.good is None else ~op.good
    if not right.all():
        raise ValueError(f"{op.name}: {(~right).sum()} values are beyond {bound}")
    return 8 * int(out.outlier_count[0])


def rates(op: Any, x: np.ndarray) -> list[float]:
    """The last five columns."""
    plan, out = op.plan(x, backend="numba"), op(x, backend="numba")
    lists = (out.code, out.outlier_index, out.outlier_value, out.outlier_count)
    back = op.inverse().plan(*lists, backend="numba")
    y = back(*lists)

    copy = host_copy(numba.get_num_threads())
    times = in_turns({"encode": lambda i: plan(x, out=out), "decode": lambda i: back(*lists, out=y), "copy": lambda i: copy.run()}, 0.3)
    encode, decode, whole = (float(np.median(times[k])) for k in ("encode", "decode", "copy"))
    moved = [p.op.traffic(*p.specs) / spent for p, spent in ((plan, encode), (back, decode))]
    return [x.nbytes / encode / 1e6, x.nbytes / decode / 1e6, *(m * whole / copy.nbytes for m in moved), copy.nbytes / whole / 1e9]


def bounded(x: np.ndarray, good: np.ndarray, sigma: float, share: float) -> list[float]:
    """The columns of one bound behind it."""
    bound, bits = float(np.float32(share * sigma)), 8.0 / x.size
    found = []
    for step in sorted({4.0, max(4.0, 4.0 / share)}):
        op = Wavelet(bound, step=step, capacity=x.size, good=good)
        out = op(x, backend="numba")
        found.append(((chunk(out.code) + held(x, op, out, bound)) * bits, step, op))
    best, step, op = min(found, key=lambda f: f[0])
    strict = Quantize(bound, capacity=x.size, good=good)
    out = strict(x, backend="numba")
    beside = held(x, strict, out, bound)
    lifted = ReversibleWavelet("int16", of="code")(code=out.code, backend="numba")
    alone, wave = (chunk(code) + beside for code in (out.code, lifted))
    plain = np.where(np.isfinite(x[0]) & good, x[0], np.float32(0))        # theirs hold no bound where there are such
    config = pysz.szConfig(*plain.shape)
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, bound
    theirs = len(zfpy.compress_numpy(plain, tolerance=bound)), len(pysz.sz.compress(plain, config)[0])
    return [best, step, wave * bits, alone * bits, *(k * bits for k in theirs), *rates(op, x)]


def lossless(x: np.ndarray) -> dict[str, float]:
    op = ReversibleWavelet(x.dtype.name)
    code = op(x[None], backend="numba")
    if not np.array_equal(op.inverse()(code, backend="numba")[0], x):
        raise ValueError(f"{op.name}: {x.dtype} do not come back")
    sizes = {"5/3": chunk(code), "S|B": chunk(x[None])}
    if x.dtype.name in ("uint8", "uint16"):
        for kind, options in (("JPEG2000", {"irreversible": False}), ("PNG", {})):
            file = io.BytesIO()
            Image.fromarray(x).save(file, kind, **options)
            file.seek(0)
            if not np.array_equal(np.asarray(Image.open(file)), x):
                raise ValueError(f"{kind}: another image comes back")
            sizes[kind] = file.getbuffer().nbytes
    return {k: v * 8.0 / x.size for k, v in sizes.items()}


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[3:]
    about, table, plain = provenance({}), [], []
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'bits a pixel, bound':46}{'W':>7} {'step':>5} {'5/3':>7} {'Q':>7} {'zfp':>7} {'SZ3':>7} | {'encode':>6} {'decode':>6} MB/s | of copy")
    for name, image in images(folder):
        if names and not any(k in name for k in names):
            continue
        x = np.ascontiguousarray(image[None]).astype(np.float32)
        good = np.ones(image.shape, bool) if image.dtype.kind == "f" else image != np.iinfo(image.dtype).max
        sigma = noise(np.where(good, x[0], np.float32(np.nan)))
        if image.dtype.kind != "f":
            plain.append((name, lossless(image)))
        for share in BOUNDS:
            v = bounded(x, good, sigma, share)
            table.append([name, f"{sigma:.4g}", share, *(f"{k:.4g}" for k in v)])
            print(f"{f'{name}, {share:g} sigma':46}{v[0]:7.3f} {v[1]:5.3g} " + " ".join(f"{k:7.3f}" for k in v[2:6])
                  + f" | {v[6]:6.0f} {v[7]:6.0f} | {v[8]:6.3f} {v[9]:6.3f}", flush=True)
    for share in BOUNDS:
        rows = np.array([[float(k) for k in row[3:9]] for row in table if row[2] == share])
        by = {k: float(np.exp(np.mean(np.log(rows[:, c] / rows[:, 0])))) for k, c in (("5/3", 2), ("Q", 3), ("zfp", 4), ("SZ3", 5))}
        print(f"{share:g} sigma, geometric mean of theirs by W's: " + ", ".join(f"{k} {v:.2f}" for k, v in by.items())
              + f"; W smallest of W, 5/3 and Q on {int((rows[:, 0] <= rows[:, [2, 3]].min(axis=1)).sum())} of {len(rows)}")
    for name, sizes in plain:
        print(f"without loss: {name:36} " + "  ".join(f"{k} {v:.3f}" for k, v in sizes.items()))
    if len(sys.argv) > 2 and sys.argv[2]:
        write_csv(sys.argv[2], about, HEAD, table)


if __name__ == "__main__":
    main()
