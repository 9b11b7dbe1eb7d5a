"""Inputs of the wavelet ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux.features.dwt import DWT
from gpuredux.features.idwt import IDWT
from gpuredux.features.lifting import Lifting
from gpuredux.features.wavelet_threshold import WaveletThreshold

from .case import Case, live_of, seeded

# wavelet, mode, levels, axes, frame, rows, live: lengths of filters, sizes, folds of short signals; live nearly everywhere, for each choice is a kernel
DB2 = (
    ("db2", "symmetric", 3, 2, (37, 53), 3, None), ("db2", "symmetric", 3, 2, (1, 1), 2, None), ("db2", "symmetric", 2, 2, (64, 40), 0, None),
    ("db2", "symmetric", 2, 2, (3, 130), 2, 1), ("db2", "symmetric", None, 2, (2, 3, 8), 4, 3), ("db2", "symmetric", 2, 2, (16, 40), 5, 0),
    ("db2", "symmetric", 1, 2, (16, 40), 5, 9), ("db2", "symmetric", 2, 2, (5, 7), 5, -3),
)
OTHERS = (
    ("bior4.4", "periodization", 3, 2, (133, 257), 2, 2), ("bior4.4", "periodization", 2, 2, (3, 5), 3, 2),
    ("bior4.4", "antireflect", 3, 2, (37, 53), 2, 2), ("bior4.4", "antireflect", 3, 2, (2, 3), 3, 2),
    ("db2", "smooth", 2, 1, (3, 261), 4, 3), ("db2", "smooth", 3, 1, (2, 3, 5), 3, 3), ("db2", "smooth", 3, 1, (1,), 3, 2),
)
HAAR = ("haar", "zero", 2, 2, (3, 130), 2, 1)      # the shortest filter: no window is left


def frames(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, wild: bool) -> np.ndarray:
    """Of many magnitudes, with zeros of both signs and subnormals; wild: with NaN, Inf and values that overflow."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        x = rng.poisson(3, shape).astype(dtype)
        x.flat[::7], x.flat[3::11] = np.iinfo(dtype).max, np.iinfo(dtype).min
        return x
    x = (rng.normal(0, 1, shape) * 10.0 ** rng.integers(-4, 4, shape)).astype(dtype)
    x.flat[::5], x.flat[3::7], x.flat[6::29] = -0.0, 0.0, 1e-42
    if wild and x.size:
        x.flat[rng.integers(0, x.size, 4 + x.size // 300)] = rng.choice(np.array([np.nan, -np.nan, np.inf, -np.inf, 3e38, -3e38], dtype), 4 + x.size // 300)
    return x


def transform_case(given: tuple[Any, ...], dtype: Any = np.float32, wild: bool = False, to: str | None = None) -> Case:
    wavelet, mode, levels, axes, frame, n, rows = given
    name = f"{wavelet}-{mode}-{levels}-{axes}d-{frame}-{n}-live{rows}-{np.dtype(dtype).name}{'-wild' * wild}"
    known = None if wild or np.dtype(dtype).kind != "f" or to else frame     # only what an inverse can give back has one
    return Case(name, DWT(wavelet, mode, levels, axes, known, to), {"energy": frames(seeded(name), (n, *frame), dtype, wild), **live_of(rows)})


def dwt() -> Iterator[Case]:
    for given in (*DB2, *OTHERS):
        yield transform_case(given)
    yield transform_case(DB2[0], wild=True)
    yield transform_case(OTHERS[2], np.float64, wild=True)
    yield transform_case(OTHERS[3], np.float64)
    yield transform_case(HAAR, np.uint16, to="float32")


def idwt() -> Iterator[Case]:
    """Coefficients that no transform need have made."""
    for given, dtype in (*((g, np.float32) for g in (*DB2, HAAR, OTHERS[0], OTHERS[1], *OTHERS[4:])), (OTHERS[2], np.float64), (OTHERS[3], np.float64)):
        for wild in (False, True) if given in (DB2[0], OTHERS[2]) else (False,):
            wavelet, mode, levels, axes, frame, n, rows = given
            name = f"{wavelet}-{mode}-{levels}-{axes}d-{frame}-{n}-live{rows}-{np.dtype(dtype).name}{'-wild' * wild}"
            op = IDWT(wavelet, mode, levels, axes, frame)
            yield Case(name, op, {"coefficients": frames(seeded(name), (n, *op.packed(frame)), dtype, wild), **live_of(rows)})


def lifting() -> Iterator[Case]:
    """Words at the ends of their range, so that steps wrap; few choices of type and edge, for each is a kernel, forth and back."""
    forms = (
        ("5/3", "int16", 2, "reflect", ((37, 53), 3, None, 3), ((1, 1), 2, None, 2), ((2, 3, 8), 0, None, 2), ((131, 257), 2, None, 3)),
        ("9/7", "float32", 2, "reflect", ((37, 53), 3, 2, 3), ((2, 130), 5, 9, 2), ((3, 1), 5, -3, 1), ((2, 5, 8), 4, 3, 2)),
        ("5/3", "uint16", 1, "periodic", ((3, 264), 4, 3, 2), ((2,), 3, 3, 1)),
    )
    for kind, words, axes, edge, *shapes in forms:
        for frame, n, rows, levels in shapes:
            for back in (False, True):
                op = Lifting(kind, words, levels, axes, edge, back=back)
                name = f"{words}-{levels}-{axes}d-{edge}-{frame}-{n}-live{rows}{'-back' * back}"
                given = frames(seeded(name), (n, *frame), words, False)
                if back and words == "uint16":      # in their wider type not all can be what words become
                    given = op.inverse()(given, backend="numpy")
                yield Case(name, op, {op.inputs[0]: given, **live_of(rows)})


def wavelet_threshold() -> Iterator[Case]:
    """Many equal magnitudes of both signs, across the borders of tiles; NaN, Inf, zeros; fewer, as many and more than there are."""
    rng = seeded("wavelet_threshold")
    tied = np.where(rng.random((3, 67, 73)) < 0.5, rng.integers(-3, 4, (3, 67, 73)).astype(np.float32), frames(rng, (3, 67, 73), np.float32, True))
    for keep, spare, rows in ((1, (9, 10), 2), (1500, (9, 10), 2), (3000, (67, 1), 3), (67 * 73 - 90, (9, 10), 9), (10**6, (80, 2), 2), (7, (67, 73), 1)):
        yield Case(f"largest-{keep}-{spare}-live{rows}", WaveletThreshold("largest", keep=keep, spare=spare), {"coefficients": tied, **live_of(rows)})
    wide = frames(rng, (2, 5, 1733), np.float64, True)
    wide[:, :, ::3] = 7.5
    yield Case("largest-float64", WaveletThreshold("largest", keep=2500), {"coefficients": wide})
    for kind, value, rows in (("hard", 2.0, None), ("hard", 0.0, None), ("soft", 1 / 3, 2), ("soft", 0.0, 0), ("soft", 2.0, -1)):
        yield Case(f"{kind}-{value}-live{rows}", WaveletThreshold(kind, value, spare=(7,) if kind == "soft" else ()), {"coefficients": tied, **live_of(rows)})
    yield Case("empty", WaveletThreshold("hard", 2.0), {"coefficients": tied[:0]})


def sized_dwt(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    energy = seeded("dwt").normal(100, 10, (n, *shape)).astype(np.float32)
    return Case("bior4.4, 3 levels", DWT("bior4.4", "symmetric", 3), {"energy": energy})


def sized_idwt(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    op = IDWT("bior4.4", "symmetric", 3, shape=shape)
    return Case("bior4.4, 3 levels", op, {"coefficients": seeded("idwt").normal(0, 10, (n, *op.packed(shape))).astype(np.float32)})


def sized_lifting(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("5/3 of int16, 3 levels", Lifting(), {"energy": seeded("lifting").normal(100, 10, (n, *shape)).astype(np.int16)})


def sized_threshold(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    coefficients = seeded("threshold").normal(0, 10, (n, *shape)).astype(np.float32)
    return Case("the largest tenth", WaveletThreshold("largest", keep=int(np.prod(shape)) // 10), {"coefficients": coefficients})


CASES = {"features.dwt": dwt, "features.idwt": idwt, "features.lifting": lifting, "features.wavelet_threshold": wavelet_threshold}
SIZED = {"features.dwt": sized_dwt, "features.idwt": sized_idwt, "features.lifting": sized_lifting, "features.wavelet_threshold": sized_threshold}
