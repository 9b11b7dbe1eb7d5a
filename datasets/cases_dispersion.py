"""Inputs of features.dispersion and features.dispersion_extended: counts with peaks, ties of both tests, values at which sums or their types may slip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from gpuredux import features

from .case import Case, frame_bits, live_of, seeded, spots

EDGES = {
    "uint8": [0, 1, 254, 255], "uint16": [0, 1, 32767, 32768, 65534, 65535], "int16": [-32768, -2, -1, 0, 1, 32767],
    "uint32": [0, 1, 4095, 2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 1],
    "int32": [-(2**31), -(2**24) - 1, -(2**24), 1 - 2**24, -2, -1, 0, 1, 65536, 2**24 - 1, 2**24, 2**31 - 1],
    "float32": [np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 1 / 512, 3 / 512, 0.5, -1, 65535.996, 65536, -65536, 8388607.5, 8388608, -8388609,
                3e38, -3e38],
}
MEANS = (0.0, 0.05, 1.3, 30.0)


def counts(rng: np.random.Generator, n: int, frame: tuple[int, ...], dtype: str, edges: bool = True) -> np.ndarray:
    """Poisson backgrounds of several means with peaks on them; every fifth frame of the largest value alone, of zeros alone, with the edges of its type."""
    x = rng.poisson(np.resize(MEANS, n).reshape(n, *[1] * len(frame)), (n, *frame)).astype(np.float64)
    for f in range(n):
        for _ in range(max(1, int(np.prod(frame)) // 400)):
            at = tuple(int(rng.integers(0, k)) for k in frame)
            low, high = ([max(0, a - 1) for a in at[-2:]], [a + 2 for a in at[-2:]])
            x[(f, *at[:-2], slice(low[0], high[0]), slice(low[1], high[1]))] += rng.integers(1, 12) ** 2 / 2
    if np.dtype(dtype).kind != "f":
        x = np.minimum(np.floor(x), np.iinfo(dtype).max)
    x = x.astype(dtype)
    if edges:
        for f in range(n):
            where = spots(rng, int(np.prod(frame)))[:: 2 + f % 3]
            x[f].reshape(-1)[where] = rng.choice(np.array(EDGES[dtype], dtype), where.size) if f % 2 else 0
    x[3::5] = EDGES[dtype][-1] if np.dtype(dtype).kind != "f" else 65535
    x[4::5] = 0
    return x


def isolated(frame: tuple[int, int], dtype: str) -> np.ndarray:
    """Single pixels of 3, 4 and 5 among zeros, 3 apart: in 3 x 3 windows 4 is the tie of the dispersion test at sigma 6; blocks of equal counts too."""
    x = np.zeros((3, *frame), dtype)
    x[0, 1::3, 1::3] = np.resize([3, 4, 5], x[0, 1::3, 1::3].shape)
    x[1] = 7
    x[2, ::2] = 9
    return x


def case_of(kind: type, name: str, frame: tuple[int, ...], n: int, rows: int | None, dtype: str, *, status: bool = False, bits: bool = False,
            masked: float = 0.1, x: np.ndarray | None = None, maps: bool = False, **fields: Any) -> Case:
    rng = seeded(f"{kind.__name__} {name}")
    if masked:
        fields["good"] = rng.random(frame) >= masked
    if maps:
        fields["gain"] = rng.uniform(0.3, 3, frame).astype(np.float32)
    inputs = {"energy": counts(rng, n, frame, dtype) if x is None else x}
    if status:
        inputs["pixel_status"] = rng.choice(np.array([0] * 20 + [1, 128], np.uint8), (n, *frame))
    if bits:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, kind(**fields), {**inputs, **live_of(rows)})


def cases_of_kind(kind: type) -> Iterator[Case]:
    """Kernels: u16 as it comes, u32 under a mask, i32 with a map of gains in windows beyond 169 pixels, f32 with all inputs; of plain dispersion i16 in
    3 x 3 and u8 in the largest windows, too."""
    for frame, n in (((37, 53), 7), ((1, 1), 3), ((2, 70, 33), 5), ((3, 5), 0), ((131, 257), 6)):
        yield case_of(kind, f"u16-{frame}", frame, n, None, "uint16", masked=0)
    for frame, n, rows, masked in (((70, 101), 6, 4, 0.1), ((5, 64), 5, 9, 0.3), ((24, 17), 4, 0, 0.1), ((24, 32), 4, -3, 0.1), ((9, 40), 5, 5, 1.0)):
        yield case_of(kind, f"u32-{frame}-live{rows}", frame, n, rows, "uint32", masked=masked)
    for frame, n in (((70, 101), 6), ((3, 24, 40), 5)):
        yield case_of(kind, f"i32-gains-{frame}", frame, n, None, "int32", maps=True, kernel_size=(6, 7), min_local=0 if n == 5 else 3)
    for frame, n, rows in (((37, 53), 7, 6), ((2, 3, 8), 3, 3), ((131, 66), 6, 9)):
        yield case_of(kind, f"f32-{frame}-live{rows}", frame, n, rows, "float32", status=True, bits=True, gain=1.5 if n < 7 else None, unit=2.0 ** (n - 14))
    if kind is features.Dispersion:
        yield case_of(kind, "ties", (40, 61), 3, None, "int16", masked=0, kernel_size=(1, 1), x=isolated((40, 61), "int16"))
        yield case_of(kind, "i16", (37, 53), 6, None, "int16", masked=0, kernel_size=(1, 1), min_local=5, global_threshold=2.5)
        for frame in ((2, 30, 65), (6, 6)):
            yield case_of(kind, f"u8-{frame}", frame, 5, None, "uint8", kernel_size=(7, 9), sigma_background=2.0, sigma_strong=1.5)


def sized(kind: type, shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """A background of 1.3 counts with 50 peaks a megapixel; scattered: of 0.05, where each count by itself is a candidate. Gaps as of modules."""
    rng = seeded("dispersion")
    x = rng.poisson(0.05 if scattered else 1.3, shape).astype(np.uint16)
    flat = x.reshape(-1, *shape[-2:])
    rows, cols = shape[-2:]
    spot = np.exp(-(np.arange(-4, 5)[:, None] ** 2 + np.arange(-4, 5) ** 2) / 3)
    for _ in range(int(np.prod(shape)) // 20000 if min(rows, cols) > 9 else 0):
        p, r, c = (int(rng.integers(0, k)) for k in (len(flat), rows - 9, cols - 9))
        flat[p, r : r + 9, c : c + 9] += rng.poisson(spot * rng.integers(5, 400)).astype(np.uint16)
    good = rng.random(shape) > 0.001
    good[..., 195::212, :] = False
    batch = np.stack([np.roll(x, 131 * f, axis=-1) for f in range(n)]) if n else np.empty((0, *shape), np.uint16)
    return Case("0.05 counts a pixel" if scattered else "1.3 counts a pixel and peaks", kind(good=good), {"energy": batch})


KINDS = {"features.dispersion": features.Dispersion, "features.dispersion_extended": features.DispersionExtended}
CASES: dict[str, Any] = {name: partial(cases_of_kind, kind) for name, kind in KINDS.items()}
SIZED: dict[str, Any] = {name: partial(sized, kind) for name, kind in KINDS.items()}
