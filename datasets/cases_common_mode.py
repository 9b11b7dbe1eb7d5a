"""Nasty inputs of calib.common_mode: ties, zeros of both signs, NaN, Inf, overflow, heavy tails, masked banks, every edge of what is applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuredux import calib

from .case import Case, frame_bits, live_of, seeded, spots

SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38, 67108864.0, -67108860.0, 1e6], np.float32)
SIGNALLING = np.array([0x7F800001, 0xFFA00000], np.uint32).view(np.float32)     # NaN that arithmetic would change


def noise_with_modes(rng: np.random.Generator, n: int, frame: tuple[int, ...], bank: tuple[int, int], sigma: float = 3.0) -> np.ndarray:
    """Noise on a mode for each bank, row and column; few photons, far above."""
    rows, cols = bank
    shape = (n, int(np.prod(frame[:-1])) // rows, rows, frame[-1] // cols, cols)
    modes = [rng.normal(0, s * sigma, tuple(1 if k in axes else w for k, w in enumerate(shape))) for s, axes in ((4, (2, 4)), (0.7, (4,)), (0.5, (2,)))]
    x = rng.normal(0, sigma, shape) + modes[0] + modes[1] + modes[2]
    x += (rng.random(shape) < 0.02) * rng.exponential(60 * sigma, shape)
    return x.reshape(n, *frame).astype(np.float32)


def nasty(rng: np.random.Generator, n: int, frame: tuple[int, ...], bank: tuple[int, int]) -> np.ndarray:
    """Frames of several kinds in turn; all but the first have special values at the spots."""
    x, npix = noise_with_modes(rng, n, frame, bank), int(np.prod(frame))
    for f in range(n):
        match f % 10:
            case 1:     # ties in plenty
                x[f] = rng.integers(-2, 3, frame)
            case 2:
                x[f] = 7.25
            case 3:     # zeros of both signs, and the next numbers
                x[f] = rng.choice(np.array([0.0, -0.0, 1e-45, -1e-45], np.float32), frame)
            case 4:     # the mean of the two middle values overflows, as does a correction
                x[f] = rng.choice(np.array([3.4e38, -3.4e38, 3.3e38, -3.3e38, 1e38], np.float32), frame)
            case 5:     # every exponent
                x[f] = np.exp2(rng.uniform(-148, 127, frame)) * rng.choice([-1, 1], frame)
            case 6:
                x[f] = np.nan
            case 7:     # one lonely low or high value, the others alike
                x[f] = np.where(rng.random(frame) < 0.02, np.float32(-1e30), rng.choice(np.array([5, 5.0000005], np.float32), frame))
            case 8:     # half of it no numbers
                x[f] = np.where(rng.random(frame) < 0.5, x[f], rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), frame))
        if f % 10 and npix > 20:
            where = spots(rng, npix)
            x[f].reshape(-1)[where] = rng.choice(SPECIAL, where.size)
            x[f].view(np.uint32).reshape(-1)[where[::5]] = rng.choice(SIGNALLING.view(np.uint32), where[::5].size)
    return x


def unkind(rng: np.random.Generator, n: int, frame: tuple[int, ...], bank: tuple[int, int]) -> np.ndarray:
    """Frames where interpolating towards a median, or a grid laid around it, leads astray; in each the first row is something else."""
    x = noise_with_modes(rng, n, frame, bank)
    half = np.arange(int(np.prod(frame))).reshape(frame) % 2 * 2.0 - 1     # as many of each, in rows; columns are all of one kind
    for f in range(n):
        match f % 10:
            case 0:     # each row of one value
                x[f] = rng.normal(0, 9, (*frame[:-1], 1))
            case 1:     # many values far out, beyond what a sum of two can hold
                x[f] = np.where(rng.random(frame) < 0.3, rng.choice(np.array([3.3e38, -3.3e38, 1e30, -1e20, 1e9], np.float32), frame), x[f])
            case 2:     # a few steps of float32 wide
                x[f] = np.float32(4096) + rng.integers(-3, 4, frame) * np.float32(2**-11)
            case 3:     # rows that, less the bank's mode, are -Inf
                x[f] = 3.4e38
                x[f, ..., 2::5, :] = -3.4e38
            case 4:     # subnormal
                x[f] = rng.integers(-200, 200, frame) * 1e-45
            case 5:     # zeros of both signs, half and half, and what lies next
                x[f] = rng.choice(np.array([0.0, -0.0] * 20 + [1e-45, -1e-45], np.float32), frame)
            case 6:     # two clusters, and nothing between for the median of an even count
                x[f] = half * 1e6 + rng.normal(0, 1, frame)
            case 7:     # the same with exponents that differ, one end close to zero
                x[f] = np.where(half > 0, rng.normal(0, 1e30, frame), rng.normal(0, 1e-30, frame))
            case 8:     # half of the values the same, the others around it
                x[f] = np.where(rng.random(frame) < 0.5, 2.5, np.rint(x[f]))
            case 9:     # one side tied, the other over all exponents
                x[f] = np.where(half > 0, np.exp2(rng.uniform(-140, 120, frame)), -3.0)
        x[f, ..., 0, :] = rng.normal(0, 3, x[f, ..., 0, :].shape)
    return x


def one_group(rng: np.random.Generator, n: int, frame: tuple[int, ...], bank: tuple[int, int]) -> np.ndarray:
    """Frames whose groups are all corrected but one, for threshold 100 and npix_min 5: nothing is said of the first five, a mark of all others."""
    x, (rows, cols), nan = rng.normal(0, 3, (n, *frame)).astype(np.float32), bank, np.float32(np.nan)
    for f in range(n):
        to = x[f].reshape(-1, frame[-2] // rows, rows, frame[-1] // cols, cols)[-(f // 10 % 2) - 1, -1 - f % 2, :, f % 3 % (frame[-1] // cols)]
        row, col = to[f % rows], to[:, (f * 5) % cols]
        match f % 10:
            case 1:     # not a pixel of them is used
                row[...] = col[...] = nan
            case 2:
                to[...] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), bank)
            case 3:     # just enough
                row[6:] = nan
            case 4:
                col[6:] = nan
            case 5:     # too few by one
                row[5:] = nan
            case 6:
                col[: rows - 5] = nan
            case 7:     # all used, and none counted; behind the mode of the bank, too
                row[...] = 1e6
            case 8:
                col[...] = 1e6
            case 9:     # the bank, and each row and column of it
                to[...] = 1e4
    return x


def mode_case(name: str, frame: tuple[int, ...], bank: tuple[int, int], n: int, rows: int | None = None, given: str = "", **fields: Any) -> Case:
    """given: which of good, status, stage, frame are there; gain: a number of planes."""
    rng = seeded(name)
    inputs = {"energy": nasty(rng, n, frame, bank), **live_of(rows)}
    if "good" in given:
        good = rng.random(frame) > 0.15
        good[..., : bank[0], : bank[1]] = False     # a bank that is masked altogether
        good[..., -bank[0] // 2, -bank[1] :] = good[..., -bank[0] :, -bank[1] // 3] = False     # a row and a column
        fields["good"] = good
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 12 + [1, 2, 8, 128, 255], np.uint8), (n, *frame))
    if "stage" in given:
        inputs["gain_stage"] = rng.choice(np.array([0] * 8 + [1, 2, 3, 31, 32, 33, 255], np.uint8), (n, *frame))
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    if "gain" in fields:
        gain = rng.normal(40, 3, (fields["gain"], *frame)).astype(np.float32)
        if "good" in given:
            gain[0][~fields["good"]] = rng.choice(np.array([0, np.nan, np.inf, 3.0, 1e-45], np.float32), int((~fields["good"]).sum()))
        fields["gain"] = gain
    return Case(name, calib.CommonMode(bank, **fields), inputs)


def common_mode() -> Iterator[Case]:
    panels, bank, all_of_it = (2, 44, 48), (22, 24), "good status stage frame"
    for n, rows in ((20, None), (0, None), (5, 0), (5, 3), (3, 9), (5, -3)):
        yield mode_case(f"rows-{n}-live{rows}", panels, bank, n, rows, all_of_it, exclude_stages=(1, 31), report=True)
    for cormax, npix_min, threshold in ((0.0, 0, np.inf), (7.25, 0, np.inf), (np.nextafter(7.25, 8), 0, np.inf), (np.inf, 10, 5.0), (2.0, 500, -0.0),
                                        (np.inf, 2**31 - 1, np.inf), (1e300, 23, -2.0), (np.inf, 0, -np.inf), (np.inf, 0, -3e38)):
        limits = {"cormax": cormax, "npix_min": npix_min, "threshold": threshold}
        yield mode_case(f"{limits}", panels, bank, 10, None, all_of_it, exclude_stages=(1, 31), report=True, **limits)
    for npix_min in (0, 4, 5, 6, 7, 34, 35):        # the numbers of values in a column, a row and a bank, and their neighbours
        yield mode_case(f"odd-{npix_min}", (10, 21), (5, 7), 11, None, "frame", steps=("cols", "rows", "bank"), npix_min=npix_min, report=True)
    for report, steps in ((True, ("bank", "rows", "cols")), (False, ("cols", "rows"))):
        case = mode_case(f"one group, {report}", panels, bank, 20, None, "frame", threshold=100.0, npix_min=5, steps=steps, report=report)
        yield case._replace(inputs={**case.inputs, "energy": one_group(seeded("one group"), 20, panels, bank)})
    yield mode_case("one pixel", (1, 1), (1, 1), 20, None, steps=("rows",), npix_min=0)
    yield mode_case("rows of a panel", (6, 37), (1, 37), 20, None, "status", steps=("bank", "cols"), npix_min=0)
    yield mode_case("columns of a panel", (131, 3), (131, 1), 20, None, "frame", steps=("rows", "bank"), npix_min=0, report=True)
    yield mode_case("larger than SHARED", (512, 256), (512, 128), 4, None, "good frame", npix_min=100, report=True)
    yield mode_case("ePix10ka", (176, 96), (176, 48), 10, None, "good", report=True)
    odds: dict[str, Any] = {"exclude_stages": (1, 31), "report": True}
    for name, frame, size, given, fields in (("small", panels, bank, all_of_it, odds), ("ePix10ka", (176, 96), (176, 48), "good", {"report": True}),
                                             ("some counted", panels, bank, all_of_it, {**odds, "threshold": 0.5, "npix_min": 3, "cormax": 1e31})):
        case = mode_case(f"unkind, {name}", frame, size, 10, None, given, **fields)
        yield case._replace(inputs={**case.inputs, "energy": unkind(seeded(name), 10, frame, size)})
    yield mode_case("ePix10ka, mostly counted", (352, 48), (176, 48), 4, None, "good", report=True, threshold=15.0, npix_min=30)
    for statistic in ("mean_below", "zero_peak"):
        for limits in ({}, {"threshold": 2.5, "npix_min": 5, "cormax": 6.0, "bin_width": 0.3}):
            fields = {"statistic": statistic, "exclude_stages": (0, 2), "gain": 3, "report": True, **limits}
            yield mode_case(f"{statistic}-{limits}", (2, 24, 24), (12, 8), 12, 11, "good stage status frame", **fields)
        yield mode_case(f"{statistic}-odd", (15, 14), (5, 7), 11, None, "frame", statistic=statistic, npix_min=6, steps=("rows", "bank"))
    for planes, steps in ((3, ("bank", "cols")), (32, ("rows",))):      # 32: the most there are
        yield mode_case(f"{planes} gains", (2, 8, 32), (8, 16), 11, 10, "good stage status frame", statistic="mean_below", gain=planes, steps=steps, npix_min=3)
    yield mode_case("one gain", (24, 17), (8, 17), 12, None, "good", gain=1, steps=("cols",))


def fed_common_mode(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    """Whole frames as banks, and, where they divide, quarters; pixel_status if the producer writes it."""
    rows, cols = frame[-2] // (2 - frame[-2] % 2), frame[-1] // (2 - frame[-1] % 2)
    yield Case("quarters", calib.CommonMode((rows, cols), npix_min=3, report=True, threshold=1e3), {})


def sized_common_mode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """Banks like those of an ePix10ka, in one frame of noise and modes and few photons that the others repeat, shifted."""
    rng = seeded("common mode")
    bank = tuple(max(k for k in range(1, most + 1) if size % k == 0) for size, most in zip(shape[-2:], (176, 48), strict=True))
    one = noise_with_modes(rng, 1, shape, (bank[0], bank[1]))[0]
    energy = np.stack([one + np.float32(0.37 * f) for f in range(n)])
    op = calib.CommonMode((bank[0], bank[1]), good=rng.random(shape) > 0.001)
    return Case(f"median of banks {bank}, rows, columns", op, {"energy": energy, "frame_status": np.zeros(n, np.uint32)})
