"""Inputs of compress.precondition and its inverse: gaps that hold something else, words at the ends of codes, lists exactly full and overflowing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux.compress import Precondition

from .case import Case, frame_bits, live_of, seeded, spots

# frame, n, live rows, frame_status, fields; numba compiles once for the widths of words and codes
GIVEN: tuple[Any, ...] = (
    ((37, 53), 18, 15, True, {"dtype": "uint16", "code": "uint8", "gap_values": (65535,), "capacity": 9}),
    ((131, 257), 5, None, False, {"dtype": "uint16", "gap_values": (65535, 0, 7), "capacity": 5}),
    ((24, 17), 35, 20, True, {"dtype": "int32", "code": "int8", "gap_values": (-1, -2), "capacity": 12}),
    ((1, 1), 3, None, False, {"dtype": "int32", "code": "uint8", "capacity": 1}),
    ((4, 10), 5, 0, True, {"dtype": "uint16", "code": "uint8"}),
    ((4, 10), 0, None, True, {"dtype": "uint16", "code": "uint8", "predictor": "previous"}),
    ((37, 53), 19, 17, True, {"dtype": "uint16", "predictor": "previous", "every": 16, "gap_values": (65535,), "capacity": 11}),
    ((24, 16), 17, 16, True, {"dtype": "int32", "code": "uint8", "predictor": "previous", "every": 5, "gap_values": (-1, -2), "capacity": 30}),
    ((2, 19, 33), 6, 5, False, {"dtype": "int16", "code": "uint8", "predictor": "left_up", "gap_values": (-1,), "capacity": 40}),
    ((3, 130, 8), 4, None, True, {"dtype": "uint16", "predictor": "left_up", "gap_values": (65535,)}),
    ((20, 15), 3, None, False, {"dtype": "int32", "code": "uint8", "predictor": "left_up"}),
    ((300,), 3, None, False, {"dtype": "uint8", "predictor": "left_up"}),
    ((131, 257), 2, None, True, {"dtype": "uint8", "predictor": "left_up"}),
    ((64, 304), 3, 2, True, {"dtype": "int16", "predictor": "pedestal", "gap_values": (-32768,)}),
    ((24, 17), 17, None, False, {"dtype": "uint32", "code": "uint8", "predictor": "pedestal", "capacity": 10}),
)


def precondition() -> Iterator[Case]:
    for frame, n, rows, status, fields in GIVEN:
        yield case_of(f"{frame}-{n}-live{rows}-{'-'.join(str(v) for v in fields.values() if isinstance(v, str))}", frame, n, rows, status, fields)


def op_is_signed(fields: dict[str, Any]) -> bool:
    """Whether small values of both signs have codes."""
    return str(fields.get("code", "")).startswith("int")


def case_of(name: str, frame: tuple[int, ...], n: int, rows: int | None, status: bool, fields: dict[str, Any]) -> Case:
    """Frames that code; then 0, 1, capacity - 1, capacity, capacity + 1 and only exceptions. A frame that others build on has no more than the list holds."""
    rng, npix, limits = seeded(f"precondition {name}"), int(np.prod(frame)), np.iinfo(fields["dtype"])
    values = np.array(fields.get("gap_values", ()), np.int64)
    gaps = rng.choice(len(values) + 1, frame, p=[0.8, *[0.2 / len(values)] * len(values)]).astype(np.uint8) if len(values) else None
    level = 0 if op_is_signed(fields) else 100
    pedestal = rng.integers(level - 5, level + 5, frame).astype(fields["dtype"]) if fields.get("predictor") == "pedestal" else None
    op = Precondition(**{"capacity": 4096, **fields}, gaps=gaps, pedestal=pedestal)
    x = level + rng.integers(-3, 4, (n, npix)) + np.arange(npix) % 7
    ends = np.unique(np.clip([0, -1, 1, 126, 127, 128, 254, 255, 256, -127, -128, -129, limits.min, limits.max, limits.max // 2 + 1], limits.min, limits.max))
    ends = ends[(ends < op.lowest) | (ends >= op.fill_code)] if op.narrow else ends
    flat, wanted = np.zeros(npix, np.uint8) if gaps is None else gaps.reshape(-1), np.resize([0, 1, op.capacity - 1, op.capacity, op.capacity + 1, npix], n)
    if gaps is not None:
        x[:, flat > 0] = values[flat[flat > 0] - 1]
    for f, many in enumerate(wanted):
        last = op.predictor != "previous" or f % op.every == op.every - 1 or op.capacity >= npix
        some = min(int(many), npix) if last else min(int(many), op.capacity // 4)
        if op.narrow:
            where = np.concatenate([rng.permutation(spots(rng, npix)), rng.permutation(npix)])
            where = where[flat[where] == 0][:some]
            x[f, where] = rng.choice(ends, len(where))
        if gaps is not None and (f % 2 or not op.narrow):       # gaps that hold the value of another one, or a count; 0 is the code of a whole one
            wrong = rng.permutation(np.flatnonzero(flat))[: f % 6 // 2 if op.narrow else some]
            x[f, wrong] = rng.choice([0, 1, 127, *values], len(wrong))
    inputs = {"raw": x.astype(fields["dtype"]).reshape(n, *frame), **({"frame_status": frame_bits(n)} if status else {}), **live_of(rows)}
    return Case(name, op, inputs)


def restore() -> Iterator[Case]:
    for k, case in enumerate(precondition()):
        yield decoded(case, damaged=k % 2 == 0)
    yield decoded(case_of("difference first", (24, 16), 5, 4, True, {**GIVEN[7][4]}), before=True)


def decoded(source: Case, damaged: bool = False, before: bool = False) -> Case:
    """What numpy makes of a case; damaged: codes of all kinds, lists that are shorter or hold other pixels; before: behind another frame."""
    rng, given = seeded(f"restore {source.name}"), {k: v for k, v in source.inputs.items() if k == "raw"}
    out = source.op(**given, backend="numpy")._asdict()
    beyond = np.arange(out["outlier_index"].shape[1]) >= np.minimum(out["outlier_count"], out["outlier_index"].shape[1])[:, None]
    out["outlier_index"][beyond], out["outlier_value"][beyond] = 0xDEADBEEF, 7
    if damaged and len(out["code"]):
        code = out["code"].reshape(-1)
        where = rng.permutation(code.size)[: code.size // 9]
        code[where] = rng.choice(np.array([*range(5), source.op.fill_code, source.op.fill_code - 1]), len(where)).astype(code.dtype)
        out["outlier_count"][2:3] = out["outlier_index"].shape[1] + 1
        out["outlier_count"][::3], out["outlier_value"][1::3] = out["outlier_count"][::3] // 2, -3 if source.op.dtype[0] == "i" else 2**32 - 3
    rest = {k: v for k, v in source.inputs.items() if k in ("frame_status", "live")}
    if before:
        rest["previous"] = given["raw"][-1:].copy()
    return Case(source.name + ("-damaged" if damaged else ""), source.op.inverse(), {**out, **rest})


def sized_precondition(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """Few counts in words of 32 bits, a 16th of the frame gaps."""
    rng = seeded("sized precondition")
    frames = np.resize(rng.poisson(0.7, (1 << 16) + 977).astype(np.int32), (n, *shape))
    gaps = np.zeros(shape, np.uint8)
    gaps[..., : shape[-1] // 16] = 1
    frames[:, gaps > 0] = -1
    return Case("few counts to uint8, with gaps", Precondition("int32", "uint8", gaps=gaps, gap_values=(-1,)), {"raw": frames})


def sized_restore(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_precondition(shape, n, scattered)
    return Case(source.name, source.op.inverse(), source.op(**source.inputs, backend="numba")._asdict())


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.precondition": precondition, "compress.restore": restore}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {"compress.precondition": sized_precondition, "compress.restore": sized_restore}
