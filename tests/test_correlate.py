"""features.correlate against averages over all pairs of frames in float64, against itself in other batches, on a recorded stack and on known dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target

from gpuredux.features import Correlate, Rings
from gpuredux.op import Chain, Op

STATE = ("g2_frames", "g2_history", "g2_product", "g2_past", "g2_future", "g2_pairs")


def regions(shape: tuple[int, ...], count: int = 4, seed: int = 0) -> Rings:
    return Rings(np.random.default_rng(seed).integers(-1, count, shape), count)


def run(target: Target, op: Op, frames: np.ndarray, sizes: list[int], **more: np.ndarray) -> dict[str, np.ndarray]:
    """The state behind frames in batches of these sizes."""
    correlate = next(o for o in (getattr(op, "ops", (op,))) if isinstance(o, Correlate))
    state: dict[str, Any] = {k: target.put(v) for k, v in correlate.start().items()}
    begin = 0
    for n in sizes:
        batch = {correlate.of: frames[begin : begin + n], **{k: v[begin : begin + n] for k, v in more.items()}}
        out = op(**{k: target.put(v) for k, v in batch.items()}, **state, backend=target.backend.name)
        state = {k: getattr(out, k) for k in STATE}
        begin += n
    return {k: target.get(v) for k, v in state.items()}


def two_time_average(frames: np.ndarray, rings: Rings, levels: int, bufs: int) -> tuple[np.ndarray, np.ndarray]:
    """(delays, regions) g2 and the delays, of pixels (n, npix) f64, NaN: no measurement: each level's frames at once, each delay's pairs at once."""
    label = rings.label.reshape(-1)
    curves, delays = [], []
    for level in range(levels):
        if level:
            frames = frames[: len(frames) // 2 * 2].reshape(-1, 2, frames.shape[1]).mean(axis=1)
        for i in range(bufs // 2 if level else 0, bufs):
            past, future = frames[: max(len(frames) - i, 0)], frames[i:]
            both = np.isfinite(past) & np.isfinite(future)
            means = np.full((3, rings.count), np.nan)
            for r in range(rings.count):
                use = both & (label == r)
                if use.any():
                    means[:, r] = (past * future)[use].mean(), past[use].mean(), future[use].mean()
            curves.append(means[0] / np.where(means[1] * means[2] == 0, np.nan, means[1] * means[2]))
            delays.append(i * 2**level)
    return np.array(curves), np.array(delays)


@pytest.mark.parametrize(("levels", "bufs", "dtype"), [(4, 8, "uint16"), (6, 2, "uint8"), (1, 40, "int16"), (3, 6, "float32")])
def test_it_is_the_average_over_all_pairs(target: Target, levels: int, bufs: int, dtype: str) -> None:
    rng = np.random.default_rng(levels)
    shape, n = (2, 11, 13), 90
    frames = rng.poisson(2, (n, *shape)).astype(dtype)
    marks = (rng.random(frames.shape) < 0.02).astype(np.uint8)
    marks[17] = 1       # a frame that is missing
    if dtype == "float32":
        frames = np.rint(rng.normal(3, 2, frames.shape) * 256).astype(np.float32) / np.float32(256)
        frames[3, 0, 0, :5] = np.nan, np.inf, -np.inf, 0.0, -0.0
    op = Correlate(regions(shape), levels, bufs)
    state = run(target, op, frames, [n], pixel_status=marks)
    real = np.where((marks == 0) & np.isfinite(frames), frames, np.nan).astype(np.float64).reshape(n, -1)
    want, delays = two_time_average(real, op.rings, levels, bufs)
    assert np.array_equal(op.lag_steps, delays)
    np.testing.assert_allclose(op.g2(state), want, rtol=1e-12)
    assert np.isfinite(want).sum() > want.size / 2


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_batches_change_nothing(target: Target, dtype: str) -> None:
    """100 frames at once, by tens, one by one, and in uneven pieces: the same bytes."""
    rng = np.random.default_rng(1)
    frames = rng.poisson(1.5, (100, 9, 15)).astype(dtype) * (np.float32(1.37) if dtype == "float32" else 1)
    frames = frames.astype(dtype)
    op = Correlate(regions(frames.shape[1:]), 6, 4)
    whole = run(target, op, frames, [100])
    for sizes in ([10] * 10, [1] * 100, [1, 2, 4, 8, 16, 32, 37], [99, 0, 1]):
        pieces = run(target, op, frames, sizes)
        for k in STATE:
            assert np.array_equal(pieces[k], whole[k]), (k, sizes)
    assert whole["g2_frames"][0] == 100 and np.isfinite(op.g2(whole)).sum() > 50


def test_live_rows_are_all_that_counts(target: Target) -> None:
    rng = np.random.default_rng(2)
    frames = rng.poisson(1.5, (20, 9, 15)).astype(np.uint16)
    op = Correlate(regions(frames.shape[1:]), 3, 4)
    some = {k: target.put(v) for k, v in op.start().items()}
    out = op(target.put(frames), **some, live=target.put(np.array([13], np.int32)), backend=target.backend.name)
    want = run(target, op, frames, [13])
    assert all(np.array_equal(target.get(getattr(out, k)), want[k]) for k in STATE)


def test_delays_are_those_of_scikit_beam() -> None:
    """num_levels 4, num_bufs 8, as its documentation lists them."""
    op = Correlate(regions((3, 4)), 4, 8)
    assert op.lag_steps.tolist() == [*range(9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56]


def test_no_number_is_too_large(target: Target) -> None:
    """Sums of products beyond 64 bits, against whole numbers of any size; pixels beyond what the levels hold are limited, and the frame says so."""
    n, levels = 12, 3
    frames = np.full((n, 8, 200), 2**31 - 1, np.int32)
    frames[:, :4] = -(2**31)
    op = Correlate(Rings(np.zeros((8, 200), np.int64), 1), levels, 4)
    state = {k: target.put(v) for k, v in op.start().items()}
    out = op(target.put(frames), **state, frame_status=target.put(np.zeros(n, np.uint32)), backend=target.backend.name)
    low, high = (int(p[0, 0]) for p in target.get(out.g2_product))
    most = 2147483520 >> (levels - 1)
    assert high * 2**32 + low == n * 1600 * most**2 > 2**64 / 8
    last = [int(p[-1, 0]) for p in target.get(out.g2_product)]
    assert last[1] * 2**32 + last[0] == 0 and int(target.get(out.g2_past)[0, 0]) == 0
    assert int(target.get(out.g2_product)[1, 4, 0]) * 2**32 + int(target.get(out.g2_product)[0, 4, 0]) == 4 * 1600 * (2 * most) ** 2
    assert (target.get(out.frame_status) == 1 << 11).all()


def speckle(rng: np.random.Generator, n: int, npix: int, decay: float, modes: int) -> np.ndarray:
    """Intensities (n, npix) of mean 1: fields of complex Gaussian noise whose correlation falls as exp(-t / decay); `modes` of them add up in a pixel."""
    step = np.exp(-1 / decay)
    field = (rng.normal(size=(modes, npix)) + 1j * rng.normal(size=(modes, npix))) / np.sqrt(2)
    rows = []
    for _ in range(n):
        rows.append((np.abs(field) ** 2).mean(axis=0))
        fresh = (rng.normal(size=field.shape) + 1j * rng.normal(size=field.shape)) / np.sqrt(2)
        field = step * field + np.sqrt(1 - step**2) * fresh
    return np.array(rows)


def test_known_dynamics_are_found(target: Target) -> None:
    """g2 = 1 + contrast exp(-2 t / decay) from Poisson photons, 0.5 a pixel: within 0.03, for delays of a level whose frames are short beside the decay.

    Pixels are independent, some 4000 x 400 / decay of them in a region: the error of g2 - 1 is about 0.004."""
    rng = np.random.default_rng(5)
    n, decay = 400, (6.0, 20.0)
    label = np.repeat([0, 1], 40)[:, None] * np.ones(100, np.int64)
    bright = np.concatenate([speckle(rng, n, 4000, d, m).reshape(n, 40, 100) for d, m in zip(decay, (1, 2), strict=True)], axis=1)
    frames = rng.poisson(0.5 * bright).astype(np.uint8)
    op = Correlate(Rings(label.astype(np.int64), 2), 4, 8)
    g2 = op.g2(run(target, op, frames, [100] * 4))
    for r, (d, contrast) in enumerate(zip(decay, (1.0, 0.5), strict=True)):
        plain = (op.lag_steps > 0) & (np.array([k for k, _ in op.delays]) <= 1)
        want = 1 + contrast * np.exp(-2 * op.lag_steps / d)
        assert np.abs(g2[plain, r] - want[plain]).max() < 0.03
        assert np.abs(g2[-4:, r] - want[-4:]).max() < 0.05
    assert (g2[0] > 2.5).all()      # at delay 0 a photon meets itself: 1 + contrast + 1 / mean


def test_a_recorded_stack(target: Target, real: Any) -> None:
    """100 photon-counting frames, three rings about the beam: their average over all pairs."""
    frames = np.ascontiguousarray(real("xpcs_stack_100.h5", "data")[:, 64:192, 64:192])
    rows, cols = np.indices(frames.shape[1:])
    rings = Rings.from_position(np.hypot(rows - 64, cols - 64), 3, (20.0, 80.0))
    op = Correlate(rings, 4, 8)
    state = run(target, op, frames, [40, 60])
    want, _ = two_time_average(frames.reshape(100, -1).astype(np.float64), rings, 4, 8)
    np.testing.assert_allclose(op.g2(state), want, rtol=1e-12)
    assert state["g2_pairs"][0].sum() == 100 * rings.order.size


def test_a_chain_correlates_photons(target: Target) -> None:
    """calib.photons first: the photons of energies that are no whole numbers."""
    from gpuredux.calib import Photons

    rng = np.random.default_rng(7)
    photons = rng.poisson(0.7, (30, 16, 24)).astype(np.uint16)
    energy = (photons * 9.5 + rng.normal(0, 0.5, photons.shape)).astype(np.float32)
    correlate = Correlate(regions((16, 24)), 3, 4, of="photons")
    chain = Chain([Photons(9.5), correlate], keep=STATE)
    start = {k: target.put(v) for k, v in correlate.start().items()}
    out = chain(energy=target.put(energy), **start, backend=target.backend.name)
    alone = run(target, Correlate(correlate.rings, 3, 4), photons, [30])
    assert all(np.array_equal(target.get(getattr(out, k)), alone[k]) for k in STATE)


@pytest.mark.parametrize(("fields", "error", "message"), [
    ({"num_bufs": 5}, ValueError, "num_bufs must be even, 2 to 8192, got 5"), ({"num_bufs": 0}, ValueError, "num_bufs must be even"),
    ({"num_levels": 17}, ValueError, "num_levels must be 1 to 16, got 17"), ({"unit": 0.3}, ValueError, "unit must be a power of two"),
    ({"rings": Rings(np.full((2, 3), -1), 1)}, ValueError, "the rings have no pixel"), ({"rings": np.zeros((2, 3))}, TypeError, "rings must be Rings"),
])
def test_a_wrong_field_says_so(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^features.correlate: {message}"):
        Correlate(**{"rings": Rings(np.zeros((2, 3), np.int64), 1), **fields})
