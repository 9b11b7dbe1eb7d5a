"""Inputs of compress.zfp and compress.zfp_decode: every kind of block, values that zfp does not hold, streams that lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import compress

from .case import Case, frame_bits, live_of, seeded

# name, frame, dtype, mode, n, live, side. Four kinds of kernels (rank and dtype), each with several modes and sizes.
GIVEN: tuple[tuple[str, tuple[int, ...], str, dict[str, Any], int | None, int | None, bool], ...] = (
    ("tolerance", (21, 70), "float32", {"tolerance": 0.01}, None, None, True),
    ("one pixel, precision", (1, 1), "float32", {"precision": 20}, 6, 5, False),
    ("rate below a plane", (9, 5), "float32", {"rate": 0.5625}, 6, 9, False),
    ("nothing", (3, 5), "float32", {"rate": 7.3}, 0, None, False),
    ("no live row", (3, 5), "float32", {"rate": 32}, 5, 0, True),
    ("tight tolerance", (5, 6, 9), "float64", {"tolerance": 1e-12}, None, 8, True),
    ("rate", (4, 9, 3), "float64", {"rate": 13.7}, 4, None, False),
    ("all planes", (67,), "int32", {"precision": 64}, None, None, True),
    ("rate of one line", (5,), "int32", {"rate": 9.25}, 5, -3, False),
    ("long integers", (6, 11), "int64", {"precision": 33}, None, None, False),
)


def frames_of(rng: np.random.Generator, frame: tuple[int, ...], dtype: str) -> np.ndarray:
    """Smooth, noise, sparse, zeros, one value, all but the last plane equal, a huge range; ends of the range, and NaN, Inf and subnormals of floats."""
    npix, kind = int(np.prod(frame)), np.dtype(dtype)
    unit = 1.0 if kind.kind == "f" else 2.0 ** (8 * kind.itemsize - 12)
    t = np.arange(npix)
    last = np.zeros(npix)
    last[-1] = 3 * unit
    rows = [100 * np.sin(t / 9), rng.normal(0, 1, npix), rng.normal(0, 300, npix) * (rng.random(npix) < 0.1), 0 * t, 0 * t + 7.25, last / unit]
    rows.append(rng.normal(0, 1, npix) * 10.0 ** rng.integers(-20, 3, npix))
    x = np.stack([np.asarray(r * unit) for r in rows]).astype(kind)
    ends = rng.integers(0, 256, npix * kind.itemsize, dtype=np.uint8).view(kind)
    if kind.kind == "i":
        ends[::3], ends[1::7] = np.iinfo(kind).max, np.iinfo(kind).min
        return np.concatenate([x, ends[None], (x[1:2] >> 3) * 0 + 1]).reshape(-1, *frame)
    most, tiny, normal = np.finfo(kind).max, np.finfo(kind).smallest_subnormal, np.finfo(kind).tiny
    odd = x[1].copy()
    odd[:: max(npix // 7, 1)] = np.resize(np.array([np.nan, np.inf, -np.inf, most, -most, -0.0, tiny], kind), odd[:: max(npix // 7, 1)].size)
    few = np.zeros(npix, kind)
    few[::3], few[1::5] = tiny * 77, -normal * 3
    spikes = (x[0] * 1e-3).astype(kind)
    spikes[-1] = most
    return np.concatenate([x, ends[None], odd[None], few[None], few[None] * 0 - 0.0, spikes[None]]).astype(kind).reshape(-1, *frame)


def held(x: np.ndarray, tolerance: float) -> np.ndarray:
    """The frames for which zfp's tolerance holds, the first one for the others."""
    op = compress.Zfp(tolerance=tolerance)
    return np.stack([f if not op(f[None], backend="numpy").frame_status[0] else x[0] for f in x])


def zfp() -> Iterator[Case]:
    for i, (name, frame, dtype, mode, n, rows, side) in enumerate(GIVEN):
        x = frames_of(seeded(name), frame, dtype)
        x = x if n is None else np.resize(x[::-1], (n, *frame))
        status = {"frame_status": frame_bits(len(x))} if i % 2 else {}
        yield Case(name, compress.Zfp(**mode, side=side), {"energy": x, **status, **live_of(rows)})
    noise = seeded("beside").normal(0, 30, (24, 3, 5)).astype(np.float32)      # in some of them the largest error is made beside the frame, and does not count
    yield Case("errors beside the frame", compress.Zfp(tolerance=8.0), {"energy": noise})
    x = held(frames_of(seeded("held"), (21, 70), "float32"), 0.01)
    yield Case("its inverse", compress.Zfp(tolerance=0.01, shape=(21, 70), dtype="float32"), {"energy": x})


def damaged(rng: np.random.Generator, payload: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wrong sizes, noise, all ones, all zeros, and any bit changed."""
    payload, size = np.repeat(payload, 4, axis=0), np.repeat(size, 4)
    n, cap = payload.shape
    for f in range(n):
        used = int(size[f])
        match f % 7:
            case 0:
                size[f] = [0, 1, used - 1, used - 8, used + 1, min(used + 8, cap), cap, cap + 1, 2**32 - 1][f // 7 % 9]
            case 1:
                payload[f] = rng.integers(0, 256, cap)
            case 2:
                payload[f, : used // 2] = 0xFF
            case 3:
                payload[f, : used // 2] = 0
            case 4:
                payload[f, used - 1] |= 0x80
            case _:
                payload[f, rng.integers(0, used)] ^= 1 << rng.integers(0, 8)
    return payload, size


def decode_case(name: str, source: Case, break_them: bool) -> Case:
    """What numpy's encoder writes, 0xC3 behind each stream's end; broken or not, and with block_bits that lie."""
    op, x = source.op, source.inputs["energy"]
    rng, out = seeded(f"decode {name}"), op(x, backend="numpy")
    payload, size = out.payload.copy(), out.size
    payload[np.arange(payload.shape[1]) >= size[:, None]] = 0xC3
    bits = {"block_bits": out.block_bits} if op.side else {}
    if break_them:
        payload, size = damaged(rng, payload, size)
        bits = {k: np.repeat(v, 4, axis=0) for k, v in bits.items()}
        for row in [b for v in bits.values() for b in v[::3]]:
            row[rng.integers(0, row.size)] = rng.choice(np.array([0, 1, 5, 65535], np.uint16))
    made = compress.ZfpDecode(x.shape[1:], x.dtype.name, op.tolerance, op.rate, op.precision)
    status = {"frame_status": frame_bits(len(size))} if len(name) % 2 else {}
    live = {k: v for k, v in source.inputs.items() if k == "live" and not break_them}
    return Case(name, made, {"payload": payload, "size": size, **bits, **status, **live})


def zfp_decode() -> Iterator[Case]:
    for case in [c for c in zfp() if c.op.shape is None]:
        yield decode_case(case.name, case, False)
    for case in [c for c in zfp() if c.name in ("tolerance", "tight tolerance", "rate below a plane", "all planes")]:
        yield decode_case(f"{case.name}, broken", case, True)


def sized_zfp(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """Smooth frames with some noise, as tomography's slices are: what zfp is for."""
    rng, t = seeded("zfp"), np.arange(shape[-1]) / 97
    x = (100 * np.sin(t + np.arange(n * int(np.prod(shape[:-1])))[:, None] / 61)).reshape(n, *shape).astype(np.float32)
    x += np.resize(rng.normal(0, 0.05, 1 << 20).astype(np.float32), x.shape)
    return Case("smooth, tolerance 0.05", compress.Zfp(tolerance=0.05), {"energy": x})


def sized_zfp_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_zfp(shape, n, scattered)
    payload, size, *_ = source.op(**source.inputs, backend="numba")
    return Case(source.name, compress.ZfpDecode(shape, "float32", tolerance=0.05), {"payload": payload, "size": size})


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.zfp": zfp, "compress.zfp_decode": zfp_decode}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {"compress.zfp": sized_zfp, "compress.zfp_decode": sized_zfp_decode}
