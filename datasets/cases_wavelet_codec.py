"""Inputs of compress.wavelet, wavelet_decode and reversible_wavelet: numbers that leave codes, corrections and float32, lists empty, full and over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux.compress.reversible_wavelet import LIFTED, ReversibleWavelet
from gpuredux.compress.wavelet import Wavelet

from .case import Case, frame_bits, live_of, seeded, spots

OUTLIERS = np.array([np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e30], np.float32)
FAINT = 4.0      # of this bound frames have smaller values than that: differences of such are rounded
# frame, n, live, what is given, fields: few choices of what compiles kernels anew
FLOATS: tuple[tuple[tuple[int, ...], int, int | None, bool, dict[str, Any]], ...] = (
    ((37, 53), 5, None, True, {"levels": 3}), ((2, 24, 32), 18, 17, True, {"levels": 2, "step": 16.0, "weights": (2.0, 0.5)}),
    ((1, 1), 3, 2, True, {"levels": 8}), ((3, 130), 2, None, True, {"weights": ()}), ((131, 257), 2, 1, False, {"abs": 0.013, "fill": 10.0}),
    ((24, 17), 4, 0, False, {"abs": 1.0}), ((24, 17), 0, None, True, {}), ((24, 17), 4, 9, False, {"abs": 2.0**-100, "dead_zone": 0.5}),
    ((24, 17), 18, 17, False, {"abs": FAINT}), ((16, 40), 3, -3, False, {}), ((64, 40), 3, 3, False, {"abs": 2.0**90, "step": 4096.0}),
    ((64, 300), 3, 3, False, {"abs": 1e-6, "step": 4096.0, "dead_zone": 3.0, "levels": 6}),
)


def scene(rng: np.random.Generator, n: int, frame: tuple[int, ...], bound: float) -> np.ndarray:
    """A smooth background, noise of about the bound, and peaks that stand beyond the codes of a tight bound."""
    t = np.linspace(0, 9, frame[-1])
    x = 20 * np.sin(t + np.arange(n * int(np.prod(frame[:-1])))[:, None] / 7).reshape(n, *frame) + rng.normal(0, 1.5, (n, *frame))
    x[rng.random(x.shape) < 0.01] *= 300
    x[rng.random(x.shape) < 0.02] = 0.0
    x[rng.random(x.shape) < 0.01] = -0.0
    tiny = rng.choice(np.array([1e-45, -1e-40, 1e-38], np.float32), x.shape)
    return np.where(rng.random(x.shape) < 0.01, tiny, (x * min(max(bound, 2.0**-90), 2.0**80)).astype(np.float32))


def wavelet_case(frame: tuple[int, ...], n: int, rows: int | None, given: bool, fields: dict[str, Any]) -> Case:
    name = f"{frame}-{n}-live{rows}-" + "-".join(f"{k}{v}" for k, v in fields.items())
    rng, npix = seeded(name), int(np.prod(frame))
    good = rng.random(frame) > 0.05 if given else None
    op = Wavelet(**{"abs": 0.7, "capacity": 9, "good": good, **fields})
    energy = scene(rng, n, frame, op.abs / 30 if op.abs == FAINT else op.abs).reshape(n, npix)
    for f, count in enumerate(np.resize([0, 1, 8, 9, 10, npix], n)):        # with the lists empty, nearly full, full, over; and nothing but outliers
        where = np.concatenate([rng.permutation(spots(rng, npix)), rng.permutation(npix)])[:count]
        energy[f, where] = rng.choice(OUTLIERS, where.size)
    inputs = {"energy": energy.reshape(n, *frame), **live_of(rows)}
    if given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 30 + [1, 2, 128, 255], np.uint8), (n, *frame))
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, inputs)


def wavelet() -> Iterator[Case]:
    for row in FLOATS:
        yield wavelet_case(*row)


def wavelet_decode() -> Iterator[Case]:
    """What numpy's Wavelet writes; then codes and lists that it would not write."""
    for i, case in enumerate(wavelet()):
        inputs = {k: v for k, v in case.inputs.items() if k != "live"}
        with np.errstate(all="ignore"):
            code, index, value, count, *_ = case.op(**inputs, backend="numpy")
        listed = np.arange(index.shape[1]) < count[:, None]
        index, value = np.where(listed, index, np.uint32(0xDEADBEEF)), np.where(listed, value, np.float32(-7e7))
        if i == 0:      # all codes that there are, a list that lacks its pixels, and one with pixels that are not there
            code[1] = seeded("codes").choice(np.array([0, 1, 2, 3, 65532, 65533, 65534, 65535, 32767, 32768], np.uint16), code[1].shape)
            count[2], count[3] = 0, np.uint32(2**32 - 1)
            index[3] = np.sort(index[3])
        op = type(case.op.inverse())(case.op.steps, case.op.residual_step, masked_value=0.0 if i % 2 else np.nan)
        lists = {"outlier_index": index, "outlier_value": value, "outlier_count": count}
        yield Case(case.name, op, {"code": code, **lists, **{k: v for k, v in case.inputs.items() if k == "live"}})


def reversible_wavelet() -> Iterator[Case]:
    frames = ((37, 53), (2, 24, 32), (1, 9), (130, 257))
    for i, (words, frame) in enumerate((*zip(LIFTED, (*frames, frames[0]), strict=True), ("uint16", (16, 40)), ("uint16", (2, 3)))):
        n, rows = ((3, 2), (2, 2), (5, -3), (0, 0), (4, 9))[i % 5]      # live everywhere, for each choice is a kernel
        rng, limits = seeded(f"{words} {frame}"), np.iinfo(words)
        raw = rng.choice(np.array([limits.min, limits.max, 0, 1, 2, 7], words), (n, *frame))
        raw[: n // 2] = rng.poisson(5, (n // 2, *frame))
        op = ReversibleWavelet(words, (4, 2, 8)[i % 3], of="raw" if i % 2 else "counts")
        yield Case(f"{words}-{frame}", op, {op.of: raw, **live_of(rows)})
        code = rng.integers(0, np.iinfo(op.code).max, raw.shape, dtype=op.code, endpoint=True)
        code = op(raw, backend="numpy") if words == "uint8" else code       # others have a word for every code
        yield Case(f"{words}-{frame}-back", op.inverse(), {"code": code, **live_of(rows)})


def smooth(shape: tuple[int, ...], n: int) -> np.ndarray:
    """As an image of a scintillator is: what wavelets are for."""
    t = np.arange(shape[-1]) / 97
    x = (100 * np.sin(t + np.arange(n * int(np.prod(shape[:-1])))[:, None] / 61)).reshape(n, *shape).astype(np.float32)
    return x + np.resize(seeded("wavelet codec").normal(0, 0.5, 1 << 20).astype(np.float32), x.shape)


def sized_wavelet(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("smooth, noise 0.5, bound 0.5", Wavelet(0.5), {"energy": smooth(shape, n)})


def sized_wavelet_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_wavelet(shape, n, scattered)
    out = source.op(**source.inputs, backend="numba")
    return Case(source.name, source.op.inverse(), {k: getattr(out, k) for k in ("code", "outlier_index", "outlier_value", "outlier_count")})


def sized_reversible_wavelet(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("smooth, 16 bits", ReversibleWavelet("uint16"), {"raw": (smooth(shape, n) * 20 + 3000).astype(np.uint16)})


def fed_wavelet(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    if frame == (24, 17) and n in (18, 35):     # of two producers' frames: with NaN, and with live rows
        yield Case("wavelet", Wavelet(0.3, 3, capacity=7, good=seeded(f"{frame}").random(frame) > 0.1), {})


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "compress.wavelet": wavelet, "compress.wavelet_decode": wavelet_decode, "compress.reversible_wavelet": reversible_wavelet,
}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {
    "compress.wavelet": sized_wavelet, "compress.wavelet_decode": sized_wavelet_decode, "compress.reversible_wavelet": sized_reversible_wavelet,
}
FEEDING: dict[str, Callable[[tuple[int, ...], int], Iterator[Case]]] = {"compress.wavelet": fed_wavelet}
