"""Inputs of compress.quantize and compress.dequantize: values at which coding may slip, lists that are empty, exactly full and over, codes of damaged files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import compress

from .case import FILLED, FRAMES, ROWS, Case, frame_bits, live_of, seeded, spots

OUTLIERS = np.array([np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38], np.float32)
TINY = np.array([-0.0, 0.0, 1e-45, -1e-45, 1e-39, -2.0**-127, 2.0**-126], np.float32)


def around(x: np.ndarray) -> np.ndarray:
    """These values and their neighbours."""
    x = x.astype(np.float32)
    return np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf)), TINY])


def quantizable(rng: np.random.Generator, op: compress.Quantize, n: int, npix: int) -> np.ndarray:
    """(n, npix): ties between codes and their neighbours, both ends of the codes, and beyond by just the bound."""
    low, high = (k - op.zero for k in op.code_range)
    if op.mode == "rel":
        k = np.concatenate([np.arange(5), high - 1 - np.arange(5), rng.integers(0, high, 60)]).astype(np.float64)
        octaves = np.add.outer(k, [0, 0.5, 0.5 - 1e-6, 0.25]).ravel() * op.step + op.inverse().log2_smallest
        sign = rng.choice(np.array([-1, 1] if low else [1], np.float32), (n, npix))
        return sign * rng.choice(np.clip(around(np.exp2(np.clip(octaves, -148, 127.9))), 1e-45, None), (n, npix)).astype(np.float32)
    q = np.concatenate([np.array([low, low + 1, -1, 0, 1, high - 1, high]), rng.integers(low, high, 40)]).astype(np.float64)
    share = np.add.outer(q, [0, 0.5, -0.5, 0.25, 1e-7, 0.5 + 1e-6, 0.5 - 1e-6]).ravel()
    if op.mode == "k_sigma":
        step = np.nan_to_num(op.step.reshape(-1).astype(np.float64), nan=1.0)
        return (rng.choice(share, (n, npix)) * step).astype(np.float32)
    ends = np.array([low * op.step - op.bound, high * op.step + op.bound, op.bound, -op.bound])
    return rng.choice(around(np.concatenate([share * np.float64(op.step), ends])), (n, npix))


def quantize_case(name: str, frame: tuple[int, ...], n: int, rows: int | None, given: str = "", **fields: Any) -> Case:
    """Frames with 0, 1, capacity - 1, capacity, capacity + 1 and only outliers (or as many as there are pixels)."""
    rng = seeded(name)
    npix = int(np.prod(frame))
    good = rng.random(frame) > 0.05 if "good" in given else None
    bound = {} if {"rel", "k_sigma"} & set(fields) else {"abs": 0.05}
    if "k_sigma" in fields:
        fields["sigma"] = np.exp(rng.uniform(-3, 3, frame)).astype(np.float32)
        if good is not None:
            fields["sigma"][~good] = rng.choice(np.array([0, np.nan, -1, np.inf], np.float32), int((~good).sum()))
    op = compress.Quantize(**{**bound, "capacity": min(9, npix), "good": good, **fields})
    energy = quantizable(rng, op, n, npix)
    if op.capacity < 50:        # so that the counts below are the counts
        alone = op(np.ascontiguousarray(energy.reshape(n, *frame)), backend="numpy").code.reshape(n, npix) if n else energy
        energy = np.where(alone == op.fill_code, np.float32(0), energy)
    for f, count in enumerate(np.resize([0, 1, op.capacity - 1, op.capacity, op.capacity + 1, npix], n)):
        where = np.concatenate([rng.permutation(spots(rng, npix)), rng.permutation(npix)])[:count]
        energy[f, where] = rng.choice(OUTLIERS, where.size)
    inputs = {"energy": energy.reshape(n, *frame), **live_of(rows)}
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 30 + [1, 2, 4, 8, 16, 255], np.uint8), (n, *frame))
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs)


def quantize() -> Iterator[Case]:
    codes = {"int16": "good status frame", "uint16": "status frame", "int32": ""}     # not all with all: each choice is a kernel to compile
    for i, frame in enumerate(FRAMES):
        code = ("int16", "uint16", "int16", "int32")[i % 4]
        n, rows = FILLED[i % 4]
        yield quantize_case(f"{code}-{frame}-{n}-live{rows}", frame, n, rows, codes[code], code=code)
    for n, rows in ROWS:
        yield quantize_case(f"rows-{n}-live{rows}", (4, 10), n, rows, codes["int16"])
    for bound, code in ((1 / 3, "uint16"), (2.0**-100, "int16"), (2.0**100, "int32"), (7.31e-5, "int32")):
        yield quantize_case(f"{code}-abs{bound}", (24, 17), 6, None, codes[code], code=code, abs=bound, capacity=408)
    yield quantize_case("one-outlier", (24, 17), 6, None, "frame status", code="uint16", capacity=1)
    yield quantize_case("list-longer-than-the-frame", (3, 5), 6, None, codes["int16"], capacity=64)
    for frame, n, rows, code, rel in (((24, 17), 18, 15, "int16", 1e-2), ((24, 17), 5, None, "int32", 2.0**-20), ((37, 53), 3, None, "uint16", 0.5),
                                      ((4, 1024), 2, None, "int16", 1e-3)):
        yield quantize_case(f"{code}-rel{rel}-{frame}", frame, n, rows, "good frame" if code == "int16" else "", code=code, rel=rel, capacity=408)
    yield quantize_case("rel-few-octaves", (4, 10), 6, None, "good frame", rel=1e-4, smallest=0.013)
    yield quantize_case("uint16-zero16", (24, 17), 6, None, "status frame", code="uint16", abs=1 / 3, zero=16)
    for frame, n, rows, code, k in (((24, 17), 35, 20, "int16", 1.0), ((37, 53), 3, None, "int32", 0.25), ((64, 300), 17, None, "int16", 3.3)):
        yield quantize_case(f"{code}-k_sigma{k}-{frame}", frame, n, rows, "good status frame" if code == "int16" else "", code=code, k_sigma=k)


def dequantize_case(name: str, source: Case, **fields: Any) -> Case:
    """What numpy's Quantize writes; then codes and lists that it would not write."""
    code, index, value, count, *_ = source.op(**source.inputs, backend="numpy")
    inverse = source.op.inverse()
    op = compress.Dequantize(**{**{k: getattr(inverse, k) for k in ("step", "code", "scale", "log2_step", "log2_smallest", "zero")}, **fields})
    n = len(code)
    listed = np.arange(index.shape[1]) < np.minimum(count, index.shape[1])[:, None] if n else np.zeros(index.shape, bool)
    index, value = np.where(listed, index, np.uint32(0xDEADBEEF)), np.where(listed, value, np.float32(-7e7))
    if n > 4:       # a code range that only a damaged file holds, a list that lacks its pixels, and one with pixels that are not there
        code[1] = np.resize(np.array([0, 1, -1, 32767, -32768, -32767, 2**31 - 1, 65535, 65534, -(2**31), 2**30]).astype(code.dtype), code[1].shape)
        index[1] = np.arange(index.shape[1])
        count[2], count[3] = 0, np.uint32(2**32 - 1)
        index[3] = np.sort(index[3])
    return Case(name, op, {"code": code, "outlier_index": index, "outlier_value": value, "outlier_count": count, **live_of_case(source)})


def live_of_case(case: Case) -> dict[str, np.ndarray]:
    return {k: v for k, v in case.inputs.items() if k == "live"}


def dequantize() -> Iterator[Case]:
    for case in quantize():
        if case.name.startswith(("rows", "int16-(37", "int16-(3,", "int16-(1", "int16-k", "int16-rel", "int32", "rel", "uint16-abs", "uint16-rel", "uint16-z")):
            full = Case(case.name, case.op, {k: v for k, v in case.inputs.items() if k != "live"})
            made = dequantize_case(case.name, full, masked_value=0.0 if case.name.startswith("uint16") else np.nan)
            yield Case(case.name, made.op, {**made.inputs, **live_of_case(case)})
    for code, bound in (("int16", {"abs": 1 / 3}), ("uint16", {"abs": 1 / 3}), ("int16", {"rel": 1e-2})):
        every = np.arange(65536, dtype=np.uint16).view(code).reshape(1, 256, 256)
        lists = {"outlier_index": np.zeros((1, 4), np.uint32), "outlier_value": np.full((1, 4), 5.5, np.float32), "outlier_count": np.array([1], np.uint32)}
        yield Case(f"every-{code}-{next(iter(bound))}", compress.Quantize(**bound, code=code).inverse(), {"code": every, **lists})


def fed_quantize(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    rng = seeded(f"{frame}")
    yield Case("int16", compress.Quantize(0.01, "int16", capacity=5), {})
    yield Case("int32-good", compress.Quantize(1e-4, "int32", capacity=3, good=rng.random(frame) > 0.1), {})
    if frame == (24, 17):       # of one producer's frames
        yield Case("rel", compress.Quantize(rel=0.01, code="uint16", capacity=2000), {})
        yield Case("k_sigma", compress.Quantize(k_sigma=0.5, sigma=np.exp(rng.uniform(-1, 1, frame)).astype(np.float32), capacity=20), {})
