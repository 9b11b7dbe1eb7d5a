"""Inputs of compress.roibin and its decoder: windows over edges, one over the other, none; bins cut at the edge, empty ones, ones that no code fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuredux.compress import Roibin

from .case import Case, frame_bits, live_of, seeded
from .cases_regions import frames_of, peaks_of

# frame, dtype, frames, live rows, which inputs, half, integer positions, the op's fields
GIVEN: tuple[Any, ...] = (
    ((37, 53), "uint16", 5, None, "frames", 2, False, {"abs": 10.0, "bound": 60.0}),
    ((2, 19, 33), "float32", 6, 5, "all", 3, True, {"abs": 2.5, "size": (3, 2), "bound": 0.7, "capacity": 300}),
    ((131, 257), "float32", 2, None, "plain", 8, False, {"abs": 1000.0, "size": (4, 40), "code": "uint16"}),
    ((24, 17), "int32", 6, 4, "all", 0, True, {"abs": 45.0, "size": (1, 5), "capacity": 97}),
    ((1, 1), "uint16", 4, -1, "plain", 1, False, {"abs": 1e-3}),
    ((64, 300), "uint16", 0, None, "all", 2, False, {"abs": 90.0}),
    ((64, 300), "uint16", 3, None, "all", 2, False, {"abs": 2.0**-9, "bound": 0.0, "size": (2, 7), "capacity": 19200}),
    ((64, 304), "float32", 5, 9, "frames", 31, False, {"abs": 0.25, "size": (2, 2), "code": "uint16", "bound": 3.0}),
)


def roibin() -> Iterator[Case]:
    for frame, dtype, n, rows, given, half, whole, fields in GIVEN:
        rng = seeded(f"roibin {frame} {dtype} {n}")
        good = rng.random(frame) < 0.8 if given == "all" else None
        if good is not None:
            good[..., :3, :7] = False       # whole bins of them
        x = frames_of(rng, dtype, (n, *frame))
        if n:
            x[0] = np.clip(np.abs(x[0]), 0, 50)     # a frame of small values, with NaN where there are any
        inputs = {"energy": x, **peaks_of(rng, n, 5, frame, not whole)}
        if given == "all":
            inputs |= {"pixel_status": (rng.random(x.shape) < 0.05).astype(np.uint8) * np.uint8(2)}
        if given in ("all", "frames"):
            inputs |= {"frame_status": frame_bits(n)}
        yield Case(f"{frame}-{dtype}-{n}-live{rows}-{given}", Roibin(half=half, good=good, **fields), {**inputs, **live_of(rows)})


def decoded(case: Case, damaged: bool = False) -> Case:
    """A decoder's case of an encoder's; damaged: bits that are not kept pixels, bits behind the last pixel, codes of all kinds."""
    made = case.op.plan(**{k: v for k, v in case.inputs.items() if k != "live"}, backend="numpy")
    with np.errstate(all="ignore"):
        out = made(**{k: v for k, v in case.inputs.items() if k != "live"})._asdict()
    out["roi"][np.arange(out["roi"].shape[1]) >= out["roi_count"][:, None]] = 0
    if damaged:
        rng = seeded(f"damaged {case.name}")
        out["roi_bits"] = out["roi_bits"] ^ rng.integers(0, 2**32, out["roi_bits"].shape, dtype=np.uint32) * (rng.random(out["roi_bits"].shape) < 0.1)
        out["code"].view(np.uint16)[rng.random(out["code"].shape) < 0.1] = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF], np.uint16))
        out["roi_count"][::2] = -1
    op = case.op.decoder(case.inputs["energy"].shape[1:], 0 if damaged else 7)
    live = {"live": case.inputs["live"]} if "live" in case.inputs else {}
    return Case(case.name + ("-damaged" if damaged else ""), op, {k: v for k, v in out.items() if k in op.input_names} | live)


def roibin_decode() -> Iterator[Case]:
    cases = list(roibin())
    for k, case in enumerate(cases):
        yield decoded(case)
        if k in (0, 1, 3):
            yield decoded(case, damaged=True)


def sized_roibin(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """100 windows of 17 x 17 a frame of raw words."""
    rng = seeded("sized roibin")
    panels = shape[0] if len(shape) == 3 else 1
    words = (3000 + 30 * rng.standard_normal((1 << 16) + n * 977)).astype(np.uint16)
    frames = np.stack([np.resize(words[977 * f : 977 * f + (1 << 16)], shape) for f in range(n)])
    at = [rng.uniform(0, side, (n, 100)).astype(np.float32) for side in shape[-2:]]
    peaks = {"peak_panel": rng.integers(0, panels, (n, 100)).astype(np.int32), "peak_row": at[0], "peak_col": at[1],
             "peak_count": np.full(n, 100, np.int32)}
    return Case("100 windows of 17 x 17", Roibin(45.0), {"energy": frames, **peaks})


def sized_roibin_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_roibin(shape, n, scattered)
    out = source.op(**source.inputs, backend="numba")._asdict()
    op = source.op.decoder(tuple(shape))
    return Case(source.name, op, {k: v for k, v in out.items() if k in op.input_names})


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.roibin": roibin, "compress.roibin_decode": roibin_decode}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {"compress.roibin": sized_roibin, "compress.roibin_decode": sized_roibin_decode}
