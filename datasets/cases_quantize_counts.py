"""Inputs of compress.quantize_counts and compress.dequantize_counts: both ends of bins and of the table, and what lies beyond; codes of damaged files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import compress

from .case import Case, frame_bits, live_of, seeded, spots


def values_of(rng: np.random.Generator, op: compress.QuantizeCounts, dtype: str, size: int) -> np.ndarray:
    """Starts of bins and their neighbours, both ends of the table, sometimes beyond; of floats ties, too."""
    start = op.bins.start[rng.integers(0, len(op.bins.start) - 1, size)] + rng.integers(-1, 2, size)
    v = np.clip(np.where(rng.random(size) < 0.2, rng.integers(0, 40, size), start), op.smallest, op.largest)
    if dtype == "float32":
        inside = (v + rng.choice([0, 0.5, -0.5, 0.25], size)) * op.unit
        return np.clip(inside, (op.smallest + 0.25) * op.unit, (op.largest - 0.25) * op.unit).astype(np.float32)
    return v.astype(dtype)


def beyond(op: compress.QuantizeCounts, dtype: str) -> np.ndarray:
    """Outliers of this input."""
    if dtype == "float32":
        ends = np.array([op.smallest - 1, op.largest + 1]) * op.unit
        return np.concatenate([ends, [np.nan, -np.nan, np.inf, -np.inf, 3e38]]).astype(np.float32)
    limits = np.iinfo(dtype)
    every = np.array([op.smallest - 1, op.largest + 1, limits.max, limits.min])
    return every[((every < op.smallest) | (every > op.largest)) & (every >= limits.min) & (every <= limits.max)].astype(dtype)


def counts_case(name: str, frame: tuple[int, ...], n: int, rows: int | None, dtype: str, given: str = "", **fields: Any) -> Case:
    """Frames with 0, 1, capacity - 1, capacity, capacity + 1 and only outliers."""
    rng = seeded(name)
    npix = int(np.prod(frame))
    op = compress.QuantizeCounts(**{"capacity": min(9, npix), "good": rng.random(frame) > 0.05 if "good" in given else None, **fields})
    count = values_of(rng, op, dtype, n * npix).reshape(n, npix)
    for f, number in enumerate(np.resize([0, 1, op.capacity - 1, op.capacity, op.capacity + 1, npix], n)):
        where = np.concatenate([rng.permutation(spots(rng, npix)), rng.permutation(npix)])[:number]
        count[f, where] = rng.choice(beyond(op, dtype), where.size)
    inputs = {"count": count.reshape(n, *frame), **live_of(rows)}
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 30 + [1, 255], np.uint8), (n, *frame))
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs)


ADU: dict[str, Any] = {"gain": 508.0, "read_noise": 51.0, "smallest": -3000, "largest": 2**20}


def quantize_counts() -> Iterator[Case]:
    fields: dict[str, Any] = {"step": 1.0, "largest": 60000}
    for frame, n, rows in (((37, 53), 18, 15), ((24, 17), 35, 20), ((1, 1), 3, None), ((4, 10), 0, None), ((4, 10), 5, 0), ((131, 257), 2, None)):
        yield counts_case(f"uint16-{frame}-{n}-live{rows}", frame, n, rows, "uint16", "good status frame", **fields)
    yield counts_case("int32-adu", (24, 17), 18, None, "int32", "frame", step=2.0, exact_below=0, code="uint8", **ADU)
    photons = {**ADU, "largest": 2**24 - 1, "unit": 1 / 508}
    yield counts_case("float32-photons", (24, 17), 17, 16, "float32", "good status frame", step=2.0, exact_below=0, **photons)


def dequantize_counts() -> Iterator[Case]:
    for case in quantize_counts():
        if not case.name.startswith(("uint16-(37", "uint16-(131")):
            yield decode_case(case)


def decode_case(source: Case) -> Case:
    """What numpy writes; then codes and lists that it would not write."""
    inputs = {k: v for k, v in source.inputs.items() if k != "live"}
    code, index, value, count, *_ = source.op(**inputs, backend="numpy")
    listed = np.arange(index.shape[1]) < np.minimum(count, index.shape[1])[:, None]
    index, value = np.where(listed, index, np.uint32(0xDEADBEEF)), np.where(listed, value, np.array(7).astype(value.dtype))
    if len(code) > 4:
        code[1] = np.resize(np.arange(source.op.fill_code + 1), code[1].shape)
        code[1].reshape(-1)[-3:] = source.op.fill_code - np.arange(3)
        count[2], count[3] = 0, np.uint32(2**32 - 1)
        index[3] = np.sort(index[3])
    op = compress.DequantizeCounts(source.op.table, source.op.code, masked_value=0.0 if source.name.startswith("int32") else np.nan)
    live = {k: v for k, v in source.inputs.items() if k == "live"}
    return Case(source.name, op, {"code": code, "outlier_index": index, "outlier_value": value, "outlier_count": count, **live})


def sized_quantize_counts(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    rng = seeded("counts")
    count = np.resize(rng.poisson(np.exp(rng.normal(1, 1.5, 1 << 18))).astype(np.uint16), (n, *shape))
    return Case("steps of one sigma from 20 counts on", compress.QuantizeCounts(), {"count": count, "frame_status": np.zeros(n, np.uint32)})


def sized_dequantize_counts(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_quantize_counts(shape, n, scattered)
    out = source.op(**source.inputs, backend="numba")
    return Case(source.name, source.op.decoder(), {k: getattr(out, k) for k in ("code", "outlier_index", "outlier_value", "outlier_count")})


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.quantize_counts": quantize_counts, "compress.dequantize_counts": dequantize_counts}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {
    "compress.quantize_counts": sized_quantize_counts, "compress.dequantize_counts": sized_dequantize_counts}
