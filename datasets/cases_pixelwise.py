"""Inputs of the pixelwise steps of calibration: calib.scale, polynomial, breakpoint and look_up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import calib
from gpuredux.pixelwise import Pixelwise

from .case import Case, frame_bits, live_of, seeded, spots

SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38, 1.0, -1.0, 16777216.0], np.float32)
# frame, rows, live, gain stages, what is given
GIVEN = (
    ((37, 53), 18, None, 1, "status frame"), ((24, 17), 35, 20, 3, "status frame"), ((1, 1), 3, None, 1, ""), ((2, 3, 8), 17, 16, 3, "frame"),
    ((16, 40), 5, 0, 1, ""), ((16, 40), 5, 9, 1, "status"), ((3, 5), 5, -3, 2, "frame status"), ((4, 10), 0, None, 1, "frame"),
)


def pixel_case(name: str, op: Pixelwise, frame: tuple[int, ...], n: int, rows: int | None, given: str, near: np.ndarray, fuse: bool = False) -> Case:
    """near: values of energy at which the op may slip."""
    rng = seeded(f"{op.name} {name}")
    npix = int(np.prod(frame))
    energy = rng.normal(0, 40, (n, npix)).astype(np.float32)
    energy[:, :: 3] = rng.choice(near.astype(np.float32), energy[:, ::3].shape)
    for f in range(n):
        where = spots(rng, npix)
        energy[f, where] = rng.choice(SPECIAL, where.size)
    inputs = {"energy": energy.reshape(n, *frame)}
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 20 + [1, 2, 8, 128, 255], np.uint8), (n, *frame))
    if op.planes > 1:
        inputs["gain_stage"] = rng.choice(np.array([0] * 6 + [1, 2, op.planes - 1, op.planes, 255], np.uint8), (n, *frame))
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, op, {**inputs, **live_of(rows)}, fuse)


def spread(rng: np.random.Generator, shape: tuple[int, ...], mean: float, sigma: float) -> np.ndarray:
    """Constants, with exact ones, zeros of both signs and subnormals among them."""
    value = rng.normal(mean, sigma, shape).astype(np.float32)
    value.flat[::7], value.flat[3::11], value.flat[5::13], value.flat[6::17] = 1.0, -0.0, 0.0, 1e-42
    return value


def scale_op(rng: np.random.Generator, frame: tuple[int, ...], planes: int) -> calib.Scale:
    return calib.Scale(spread(rng, (planes, *frame), 1, 0.1))


def polynomial_op(rng: np.random.Generator, frame: tuple[int, ...], planes: int) -> calib.Polynomial:
    terms = 4 if planes == 1 else 3
    return calib.Polynomial(np.stack([spread(rng, (planes, *frame), t == 1, 10.0 ** (-1 - 3 * t)) for t in range(terms)], axis=1))


def breakpoint_op(rng: np.random.Generator, frame: tuple[int, ...], planes: int) -> calib.Breakpoint:
    return calib.Breakpoint(np.rint(spread(rng, (planes, *frame), 10, 2)), spread(rng, (planes, *frame), 1, 0.1), spread(rng, (planes, *frame), 0.6, 0.1))


def look_up_op(rng: np.random.Generator, frame: tuple[int, ...], planes: int) -> calib.LookUp:
    tables = 1 if planes == 1 else 3
    table = np.cumsum(rng.random((planes, tables, 33 if planes == 1 else 2)).astype(np.float32), axis=2)
    table[..., 1] = table[..., 0]       # a flat piece
    return calib.LookUp(table, rng.integers(0, tables, frame, dtype=np.uint8), start=-16.0, step=1.0 if planes == 1 else 1 / 3)


def variance_op(rng: np.random.Generator, frame: tuple[int, ...], planes: int) -> calib.Variance:
    gain = spread(rng, (planes, *frame), 40, 2) if planes > 1 else None     # zeros among them
    return calib.Variance(np.abs(spread(rng, (planes, *frame), 20, 3)), gain, 0.0 if planes == 1 and frame[0] == 1 else 9.5)


def variance_more() -> Iterator[Case]:
    """With slopes, with memory cells, some of which are not there, and with both."""
    for frame, n, rows, planes, given in (((24, 17), 35, 20, 3, "status cell slope"), ((16, 40), 5, None, 1, "slope frame"), ((2, 3, 8), 17, 16, 3, "cell")):
        rng = seeded(f"more variance {frame}")
        cells = 3 if "cell" in given else 0
        shape = (planes, *(cells,) * (cells > 0), *frame)
        op = calib.Variance(np.abs(spread(rng, shape, 20, 3)), spread(rng, shape, 40, 2), 9.5, cells)
        case = pixel_case(f"{frame}-{n}-live{rows}-{planes}-{given}", op, frame, n, rows, given, NEAR)
        if "slope" in given:
            slope = rng.normal(1, 0.2, (n, *frame)).astype(np.float32)
            slope.flat[::13] = rng.choice(SPECIAL, slope.flat[::13].shape)
            case.inputs["slope"] = slope
        if cells:
            case.inputs["cell"] = rng.choice(np.array([0, 1, 2, 2, 3, 65535], np.uint16), n)
        yield case


MAKERS = {
    "calib.variance": variance_op, "calib.scale": scale_op, "calib.polynomial": polynomial_op, "calib.breakpoint": breakpoint_op, "calib.look_up": look_up_op,
}
SLOPES = ("calib.breakpoint", "calib.look_up")      # a polynomial's is a polynomial
NEAR = np.concatenate([np.arange(-18, 20), np.arange(-18, 20) + 0.5, np.nextafter(np.arange(5, 16, dtype=np.float32), np.float32(99))])


def cases_of(name: str) -> Iterator[Case]:
    yield from variance_more() if name == "calib.variance" else ()
    for frame, n, rows, planes, given in GIVEN[:4:3] if name in SLOPES else GIVEN[1:2] if name == "calib.polynomial" else ():
        rng = seeded(f"{name} slope {frame}")
        made: Any = MAKERS[name](rng, frame, planes)
        if isinstance(made, calib.LookUp):      # that one's tables are flat where there are planes
            made = calib.LookUp(rng.normal(0, 5, (*made.table.shape[:2], 9)), made.which, start=-2.0, step=1 / 3)
        yield pixel_case(f"slope-{frame}-{n}-live{rows}-{planes}", made.slope(), frame, n, rows, given, NEAR)
    for frame, n, rows, planes, given in GIVEN:
        op = MAKERS[name](seeded(f"{name} {frame}"), frame, planes)
        yield pixel_case(f"{frame}-{n}-live{rows}-{planes}", op, frame, n, rows, given, NEAR, name == "calib.scale" and frame == (24, 17))


def fed(name: str, frame: tuple[int, ...]) -> Iterator[Case]:
    """Not for every frame: each pair is a kernel to compile."""
    if frame in ((24, 17), (16, 40)) or (name == "calib.scale" and frame == (37, 53)):
        yield Case("one plane", MAKERS[name](seeded(f"fed {name}"), frame, 1), {})


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    """One plane of constants, as for a flat field."""
    rng = seeded(f"sized {name}")
    noise = rng.normal(0, 40, (1 << 16) + n * 977).astype(np.float32)
    energy = np.stack([np.resize(noise[977 * f : 977 * f + (1 << 16)], shape) for f in range(n)])
    made: Any = MAKERS[name](rng, (1, 8), 1)
    if isinstance(made, calib.LookUp):
        op: Pixelwise = calib.LookUp(np.arange(16384, dtype=np.float32).reshape(1, 1, -1), np.zeros(shape, np.uint8), start=-1024.0)
    else:
        values = made.config()
        op = type(made)(**values, **{k: np.ascontiguousarray(np.broadcast_to(v[..., :1, :1].reshape(*v.shape[:-2], *[1] * len(shape)), (*v.shape[:-2], *shape)))
                           for k, v in vars(made).items() if isinstance(v, np.ndarray)})
    return Case("one plane of constants", op, {"energy": energy, "frame_status": np.zeros(n, np.uint32)})
