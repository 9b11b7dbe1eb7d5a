"""How small: recorded frames of integers by our lossless codecs beside other people's, and what is demanded of them.

    python bench/bench_ratio.py FOLDER [CSV [NAME ...]]

FOLDER: the recorded frames (datasets/README.md): of each 2-D integer dataset up to 16 frames, evenly spaced, each compressed by itself; NAME: only datasets
whose name holds it. All are ratios, raw bytes by bytes of all frames; every chunk of ours was decoded and compared. Auto: compress.Auto; S, B: the codecs it
chooses from. `bslz4`, `bszstd`: the bitshuffle library's LZ4 in blocks of 8 KiB and zstd at level 1 in blocks of 128 KiB, with their 12 bytes in front;
`blosc2`: zstd at level 5, bitshuffle; `zlib`: byte shuffle, level 6; `zfp`: reversible; `SZ3`: absolute bound 0.5, for integers no error (both take 32 bits
and more: pixels are widened, the ratio is of the frame as it is); H0: the order-0 entropy of a frame's pixels, without a table.
Demanded of Auto: 1.07 of bslz4, 0.96 of H0, 0.98 of blosc2 and 0.98 of the best of our own codecs on each; geometric means of 1.4 by bslz4 and 1.2 by bszstd.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import blosc2
import numpy as np
import pysz
import zfpy
from bench_zstd import BLOCK, recorded_frames

from gpuredux.bench import provenance, write_csv
from gpuredux.compress import Auto, BitshuffleLZ4
from gpuredux.compress.bitshuffle_zstd import BitshuffleZstd
from gpuredux.compress.shuffle_deflate import ShuffleDeflate, shuffled
from gpuredux.compress.shuffle_zstd import ShuffleZstd

OURS = {"Auto": Auto, "S": ShuffleZstd, "B": BitshuffleZstd, "LZ4": BitshuffleLZ4, "DEFLATE": ShuffleDeflate}
OTHERS = ("bslz4", "bszstd", "blosc2", "zlib", "zfp", "SZ3", "H0")
EACH = {"bslz4": 1.07, "H0": 0.96, "blosc2": 0.98, "best of ours": 0.98}
MOST = 16           # frames of a dataset
MEANS = {"bslz4": 1.4, "bszstd": 1.2}


def our_bytes(x: np.ndarray) -> dict[str, int]:
    """Of each codec's chunk. Raises if it does not decode to the frame."""
    sizes = {}
    for name, kind in OURS.items():
        op: Any = kind(x.shape, x.dtype.name)
        made = op(x[None], backend="numba")
        if op.inverse()(*made, backend="numba").code.tobytes() != x.tobytes():
            raise ValueError(f"{op.name}: a chunk does not decode to its frame")
        sizes[name] = int(made.size[0])
    return sizes


def their_bytes(x: np.ndarray) -> dict[str, float]:
    wide = x.astype(np.int64 if int(x.max()) >= 1 << 31 else np.int32)
    config = pysz.szConfig(*wide.shape)
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, 0.5
    filters = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.BITSHUFFLE], "filters_meta": [0], "typesize": x.itemsize, "nthreads": 1}
    share = np.unique(x, return_counts=True)[1] / x.size
    return {
        "bslz4": 12 + len(bitshuffle.compress_lz4(x)), "bszstd": 12 + len(bitshuffle.compress_zstd(x, BLOCK // x.itemsize, 1)),
        "blosc2": len(blosc2.compress2(x, cparams=blosc2.CParams(**filters))), "zlib": len(zlib.compress(shuffled(x).tobytes(), 6)),
        "zfp": len(zfpy.compress_numpy(wide)), "SZ3": len(pysz.sz.compress(wide, config)[0]),
        "H0": x.size / 8 * float(-(share * np.log2(share)).sum()),
    }


def sizes_of(x: np.ndarray) -> dict[str, float]:
    """Of one frame."""
    sizes = our_bytes(x) | their_bytes(x)
    return {**sizes, "best of ours": min(sizes[k] for k in OURS)}


def ratios(folder: Path, names: list[str]) -> Iterator[tuple[str, np.ndarray, dict[str, float]]]:
    """Of each dataset: its frames, and the ratio of each codec."""
    for name, frames in recorded_frames(folder):
        if frames.dtype.kind in "iu" and (not names or any(k in name for k in names)):
            x = frames[np.unique(np.linspace(0, len(frames) - 1, MOST).astype(int))]
            sizes = [sizes_of(frame) for frame in x]
            yield name, x, {k: x.nbytes / sum(s[k] for s in sizes) for k in sizes[0]}


def main() -> None:
    about, columns = provenance({}), (*OURS, *OTHERS)
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':34}{'dtype':7}" + "".join(f"{k:>8}" for k in columns) + "  missed")
    table: list[list[Any]] = []
    by: dict[str, list[float]] = {k: [] for k in (*EACH, *MEANS)}
    for name, x, ratio in ratios(Path(sys.argv[1]), sys.argv[3:]):
        shares = {k: ratio["Auto"] / ratio[k] for k in by}
        missed = [f"{k} {shares[k]:.3f}" for k, least in EACH.items() if shares[k] < least]
        for k, share in shares.items():
            by[k].append(share)
        table.append([name, x.dtype, len(x), x.nbytes, *(f"{ratio[k]:.4g}" for k in columns), *(f"{shares[k]:.4g}" for k in EACH), "; ".join(missed) or "pass"])
        print(f"{name:34}{x.dtype!s:7}" + "".join(f"{ratio[k]:8.2f}" for k in columns) + f"  {', '.join(missed)}", flush=True)
    for k, least in EACH.items():
        low = sum(share < least for share in by[k])
        print(f"Auto by {k}, each at least {least}: lowest {min(by[k]):.3f}, {low} of {len(by[k])} below: {'miss' if low else 'pass'}")
    for k, least in MEANS.items():
        mean = float(np.exp(np.mean(np.log(by[k]))))
        print(f"Auto by {k}, geometric mean at least {least}: {mean:.3f}: {'pass' if mean >= least else 'miss'}")
    if len(sys.argv) > 2 and sys.argv[2]:
        write_csv(sys.argv[2], about, ("dataset", "dtype", "frames", "bytes", *columns, *(f"auto_by_{k.replace(' ', '_')}" for k in EACH), "demands"), table)


if __name__ == "__main__":
    main()
