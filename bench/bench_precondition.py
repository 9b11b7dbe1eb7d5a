"""How much smaller: recorded frames of integers through compress.Precondition, before the codecs S, B and Auto.

    python bench/bench_precondition.py FOLDER [CSV [NAME ...]]

FOLDER: the recorded frames (datasets/README.md): of each 2-D integer dataset up to 8 consecutive frames, each compressed by itself; NAME: only datasets whose
name holds it. All are ratios, raw bytes by bytes of all frames, the exceptions' lists (8 bytes each) among them, gaps not, which a file stores once; a
frame with more exceptions than 4096 counts as it is without any of this. Every frame was restored and compared. plain: none of it; gaps: find_gaps of all
frames of the dataset, written as 0, as in all that follow; u16, u8: narrowed to that too; previous: without the first frame, which is plain (n/a: one frame);
left_up; pedestal: the rounded mean of the dataset's other frames, of darks alone. -u8: these, in uint8. S, B, LZ4: ShuffleZstd, BitshuffleZstd,
BitshuffleLZ4; the printed table is Auto's, the CSV has all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_zstd import recorded_frames

from gpuredux.bench import provenance, write_csv
from gpuredux.compress import Auto, BitshuffleLZ4, Precondition, find_gaps
from gpuredux.compress.bitshuffle_zstd import BitshuffleZstd
from gpuredux.compress.shuffle_zstd import ShuffleZstd

CODECS = {"S": ShuffleZstd, "B": BitshuffleZstd, "Auto": Auto, "LZ4": BitshuffleLZ4}
FRAMES = 8
HOW: dict[str, dict[str, Any]] = {
    "gaps": {}, "u16": {"code": "uint16"}, "u8": {"code": "uint8"}, "previous": {"predictor": "previous"}, "left_up": {"predictor": "left_up"},
    "left_up-u8": {"predictor": "left_up", "code": "uint8"}, "pedestal": {"predictor": "pedestal"}, "pedestal-u8": {"predictor": "pedestal", "code": "uint8"}}


def chunk_bytes(x: np.ndarray) -> np.ndarray:
    """(codecs, n) of frames."""
    found = []
    for kind in CODECS.values():
        op: Any = kind(x.shape[1:], x.dtype.name)
        found.append(op(x, backend="numba").size.astype(np.int64))
    return np.stack(found)


def bytes_of(op: Precondition, x: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """(codecs, n): chunk and list, or plain where the list overflows. Raises if a frame is not restored."""
    out = op(x, backend="numba")
    fits = out.outlier_count <= op.capacity
    again = op.inverse()(*out, backend="numba")
    sound = fits if op.predictor != "previous" else np.minimum.accumulate(fits)
    if not np.array_equal(again[sound], x[sound]):
        raise ValueError(f"{op.name}: {op.config()} does not come back")
    return np.where(fits, chunk_bytes(out.code) + 8 * out.outlier_count.astype(np.int64), plain)


def ratios(frames: np.ndarray, dark: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Of each way that this dataset can go: the ratio of each codec."""
    many = len(frames) // 2 if dark else FRAMES
    x, dtype = np.ascontiguousarray(frames[:many]), frames.dtype
    plain = chunk_bytes(x)
    yield "plain", x.nbytes / plain.sum(axis=1)
    gaps, values = find_gaps(frames)
    given: dict[str, Any] = {"gaps": gaps, "gap_values": values} if values else {}
    for name, fields in HOW.items():
        if "code" in fields and np.dtype(fields["code"]).itemsize >= dtype.itemsize:
            continue
        first = 1 if name == "previous" else 0
        if fields.get("predictor") == "pedestal":
            if not dark:
                continue
            fields = {**fields, "pedestal": np.rint(frames[many:].mean(axis=0)).astype(dtype)}
        if len(x) > first:
            sizes = bytes_of(Precondition(dtype.name, **fields, **given), x, plain)[:, first:]
            yield name, x[first:].nbytes / sizes.sum(axis=1)


def main() -> None:
    about, names = provenance({}), sys.argv[3:]
    print("\n".join(f"{k}: {v}" for k, v in about.items()))
    print(f"{'':34}{'dtype':7}{'gaps':>9}" + "".join(f"{k:>12}" for k in ("plain", *HOW)))
    table: list[list[Any]] = []
    for name, frames in recorded_frames(Path(sys.argv[1])):
        if frames.dtype.kind not in "iu" or frames.ndim < 3 or (names and not any(k in name for k in names)):
            continue
        found = dict(ratios(frames, "dark_10" in name))
        share = np.count_nonzero(find_gaps(frames)[0]) / frames[0].size
        shown = [f"{found[k][2]:12.2f}" if k in found else f"{'n/a':>12}" for k in ("plain", *HOW)]
        print(f"{name:34}{frames.dtype!s:7}{share:9.4f}" + "".join(shown), flush=True)
        for i, codec in enumerate(CODECS):
            table.append([name, frames.dtype, f"{share:.4f}", codec, *(f"{found[k][i]:.4g}" if k in found else "" for k in ("plain", *HOW))])
    if len(sys.argv) > 2 and sys.argv[2]:
        write_csv(sys.argv[2], about, ("dataset", "dtype", "gap_share", "codec", "plain", *HOW), table)


if __name__ == "__main__":
    main()
