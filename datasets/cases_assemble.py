"""Inputs of the three ways of assembling: calib.assemble, assemble_tiles, assemble_split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux import calib
from gpuredux.calib.assemble import Assembly

from .case import Case, frame_bits, live_of, seeded
from .cases_pixelwise import SPECIAL

# frame, rows, live, what is given, fill
GIVEN: tuple[tuple[tuple[int, ...], int, int | None, str, float], ...] = (
    ((2, 12, 20), 18, None, "status frame", 0.0), ((24, 17), 35, 20, "frame write", np.nan), ((1, 1), 3, None, "status write", 0.0),
    ((16, 40), 5, 0, "write", 0.0), ((3, 40, 8), 17, 16, "status write", np.nan), ((4, 10), 5, 9, "", 0.0), ((4, 10), 0, None, "frame", 0.0),
    ((3, 5), 5, -3, "status frame write", np.nan),
)


def map_op(rng: np.random.Generator, frame: tuple[int, ...], **fields: Any) -> calib.Assemble:
    """Gaps, pixels seen twice, pixels never seen."""
    npix = int(np.prod(frame))
    source = rng.integers(-1, npix, (7, 2 * npix // 7 + 3))
    source[2:4] = -1
    source.flat[-1], source.flat[0] = npix - 1, 0
    return calib.Assemble(frame=frame, source=source, **fields)


def tiles_op(rng: np.random.Generator, frame: tuple[int, ...], **fields: Any) -> calib.AssembleTiles:
    """Tiles turned and flipped in all eight ways, in places that are mixed up, gaps between them."""
    tile = tuple(k // 2 if k % 2 == 0 else k for k in frame[-2:])
    count = int(np.prod(frame)) // (tile[0] * tile[1])
    side = max(tile) + 1
    width = side * 3
    place = []
    for t, slot in enumerate(rng.permutation(count)):
        top, left = divmod(int(slot), 3)
        corner, (down, across) = top * side * width + left * side, ((width, 1), (1, width))[t // 4 % 2]
        start = corner + (tile[0] - 1) * down * (t & 1) + (tile[1] - 1) * across * (t >> 1 & 1)
        place.append((start, -down if t & 1 else down, -across if t & 2 else across))
    return calib.AssembleTiles(frame=frame, tile=tile, image=(side * -(-count // 3), width), place=np.array(place), **fields)


def split_op(rng: np.random.Generator, frame: tuple[int, ...], **fields: Any) -> calib.AssembleSplit:
    """None to 5 entries a pixel of the image; pixels of the frame that nothing shows."""
    npix = int(np.prod(frame))
    image = (5, npix // 5 + 2)
    first = np.concatenate([[0], np.cumsum(rng.choice([0, 1, 1, 2, 4, 5], image[0] * image[1]))])
    weight = rng.random(first[-1]).astype(np.float32)
    weight[::9] = rng.choice(np.array([0, -0.0, 1, 1e-42, 3e38], np.float32), weight[::9].shape)
    return calib.AssembleSplit(frame=frame, image=image, first=first, source=rng.integers(0, max(npix - 3, 1), first[-1]), weight=weight, **fields)


MAKERS: dict[str, Callable[..., Assembly]] = {"calib.assemble": map_op, "calib.assemble_tiles": tiles_op, "calib.assemble_split": split_op}


# dtype, as GIVEN
PHOTONS: tuple[tuple[str, tuple[tuple[int, ...], int, int | None, str, float]], ...] = (
    ("uint16", ((24, 17), 18, None, "status frame write", np.nan)), ("uint8", ((1, 1), 3, None, "write", 0.0)), ("int32", ((16, 40), 35, 20, "", np.nan)),
    ("float32", ((3, 5), 5, 0, "status write", np.nan)), ("float32", ((2, 12, 20), 17, 16, "status write", np.nan)),
    ("uint16", ((4, 10), 0, None, "frame", 0.0)),
)


def photon_cases(name: str) -> Iterator[Case]:
    """Photons of each dtype, its ends among them: whole numbers that a float32 does not hold."""
    for dtype, (frame, n, rows, given, fill) in PHOTONS:
        rng = seeded(f"photons {name} {dtype} {frame}")
        op = MAKERS[name](rng, frame, fill=fill, status="write" in given).photons()
        top = 2**24 if dtype == "float32" else np.iinfo(dtype).max
        photons = rng.poisson(3, (n, *frame)).astype(dtype)
        photons.flat[::5] = rng.choice(np.array([0, 1, top, top - 1, 3 if dtype[0] == "u" else -top]).astype(dtype), photons.flat[::5].shape)
        inputs = {"photons": photons}
        if "status" in given:
            inputs["pixel_status"] = rng.choice(np.array([0] * 6 + [1, 2, 8, 128, 255], np.uint8), (n, *frame))
        if "frame" in given:
            inputs["frame_status"] = frame_bits(n)
        yield Case(f"photons-{dtype}-{frame}-{n}-live{rows}-{given}", op, {**inputs, **live_of(rows)})


def variance_case(name: str) -> Case:
    frame, rng = (2, 12, 20), seeded(f"variance {name}")
    made: Any = MAKERS[name](rng, frame, fill=np.nan)
    if isinstance(made, calib.AssembleSplit):       # weights whose squares are float32s
        made = calib.AssembleSplit(**{**made._fields(), "weight": np.where(made.weight > 1, 1, made.weight)})
    variance = np.abs(rng.normal(0, 40, (3, *frame))).astype(np.float32)
    variance.flat[::5] = rng.choice(SPECIAL, variance.flat[::5].shape)
    status = rng.choice(np.array([0] * 6 + [1, 2, 8, 128, 255], np.uint8), variance.shape)
    return Case("variance", made.variance(), {"variance": variance, "pixel_status": status})


def cases_of(name: str) -> Iterator[Case]:
    if name == "calib.assemble":        # tiles of photons go by its map, and split they cannot be
        yield from photon_cases(name)
    yield variance_case(name)
    large = (((8, 17, 35), 3, None, "status write", 0.0),) if name == "calib.assemble_tiles" else ()       # squares of 16 x 16, and rests of them
    for frame, n, rows, given, fill in (*GIVEN, *large):
        rng = seeded(f"{name} {frame} {n}")
        op = MAKERS[name](rng, frame, fill=fill, status="write" in given)
        energy = rng.normal(0, 40, (n, *frame)).astype(np.float32)
        energy.flat[::5] = rng.choice(SPECIAL, energy.flat[::5].shape)
        inputs = {"energy": energy}
        if "status" in given:
            inputs["pixel_status"] = rng.choice(np.array([0] * 6 + [1, 2, 8, 128, 255], np.uint8), (n, *frame))
        if "frame" in given:
            inputs["frame_status"] = frame_bits(n)
        yield Case(f"{frame}-{n}-live{rows}-{given}", op, {**inputs, **live_of(rows)})


def fed(name: str, frame: tuple[int, ...]) -> Iterator[Case]:
    """Not for every frame: each pair is a kernel to compile."""
    if frame in ((24, 17), (16, 40)):
        yield Case("image", MAKERS[name](seeded(f"fed {name}"), frame, status=frame == (16, 40)), {})


def sized(name: str, shape: tuple[int, ...], n: int) -> Case:
    """Panels one above the other, each turned by half a turn, with gaps of 8 rows; for the split one, moved by a part of a pixel."""
    rng = seeded(f"sized {name}")
    panels, rows, cols = (*(1,) * (3 - len(shape)), *shape)
    noise = rng.normal(0, 40, (1 << 16) + n * 977).astype(np.float32)
    energy = np.stack([np.resize(noise[977 * f : 977 * f + (1 << 16)], shape) for f in range(n)])
    high = rows + 8
    place = [((p * high + rows) * cols - 1, -cols, -1) for p in range(panels)]
    tiles = calib.AssembleTiles(frame=shape, tile=(rows, cols), image=(panels * high, cols), place=np.array(place))
    op: Assembly = tiles
    if name != "calib.assemble_tiles":
        source = np.full(panels * high * cols, -1, np.int32)
        source[tiles.targets()] = np.arange(panels * rows * cols)
        op = calib.Assemble(frame=shape, source=source.reshape(-1, cols))
    if name == "calib.assemble_split":
        target = np.stack([tiles.targets() - (k & 1) - (k >> 1) * cols for k in range(4)])
        weight = np.broadcast_to(np.array([0.42, 0.28, 0.18, 0.12], np.float32)[:, None], target.shape)
        order = np.argsort(target.ravel(), kind="stable")
        order = order[target.ravel()[order] >= 0]
        first = np.searchsorted(target.ravel()[order], np.arange(panels * high * cols + 1))
        op = calib.AssembleSplit(frame=shape, image=tiles.image, first=first, source=order % target.shape[1], weight=weight.ravel()[order])
    return Case("panels with gaps", op, {"energy": energy, "frame_status": np.zeros(n, np.uint32)})
