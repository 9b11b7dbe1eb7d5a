"""Chains that want marks or the energy of an op that is taken in: who stores them, and that the bytes stay. Over 200 lines: one line per chain and device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Target
from test_ops import DIRT, by_steps, guarded_inputs, plan_of, run

from gpuredux import Chain, Op
from gpuredux.calib import CommonMode, Counts, Gain, Photons, Polynomial, Scale, SharedPhotons, ThresholdGain, Variance
from gpuredux.compress import QuantizeCounts
from gpuredux.datasets.case import frame_bits, live_of, seeded
from gpuredux.datasets.cases import FIVE, PACKED, raw_words
from gpuredux.detectors import DETECTORS, Detector
from gpuredux.status import Pixel

JUNGFRAU = DETECTORS["jungfrau"]


class Line(NamedTuple):
    """A chain, its inputs, what it keeps, and its passes over memory where a backend fuses."""

    ops: list[Op]
    inputs: dict[str, np.ndarray]
    keep: tuple[str, ...]
    passes: list[str]


class Apart(SharedPhotons):
    """It, which no op can be taken in by, without the frames' status, which would keep the op before it anyway."""

    inputs = ("energy", "pixel_status?")

    def outputs(self, *x: Any) -> Any:
        return super().outputs(*x, None, None)

    def numpy(self, plan: Any, energy: Any, status: Any, *out: Any) -> None:
        super().numpy(plan, energy, status, None, None, *out)

    def numba(self, plan: Any, energy: Any, status: Any, *out: Any) -> None:
        super().numba(plan, energy, status, None, None, *out)

    def device(self, plan: Any, energy: Any, status: Any, *out: Any) -> None:
        super().device(plan, energy, status, None, None, *out)


class Bare(Scale):
    """It, without the frames' status, and beside the energy."""

    inputs = ("energy", "pixel_status?", "gain_stage?")
    writes = ("scaled",)
    pixel_output = "scaled"

    def outputs(self, energy: Any, status: Any, stage: Any, *_: Any) -> Any:
        return super().outputs(energy, status, stage, None, None)

    def traffic(self, *x: Any) -> int:
        return super().traffic(*x, None, None)

    def numpy(self, plan: Any, energy: Any, status: Any, stage: Any, *out: Any) -> None:
        super().numpy(plan, energy, status, stage, None, None, *out)

    def numba(self, plan: Any, energy: Any, status: Any, stage: Any, *out: Any) -> None:
        super().numba(plan, energy, status, stage, None, None, *out)

    def device(self, plan: Any, energy: Any, status: Any, stage: Any, *out: Any) -> None:
        super().device(plan, energy, status, stage, None, None, *out)


class Scaled(Scale):
    """It, of a variance."""

    inputs = ("variance", "pixel_status?", "gain_stage?", "frame_status?", "live?")
    loads = ("variance", "pixel_status", "gain_stage")
    writes = ("scaled",)
    pixel_output = "scaled"


def source(kind: Detector, frame: tuple[int, ...], n: int = 5, rows: int | None = None, **fields: Any) -> tuple[Op, dict[str, np.ndarray]]:
    """An op that gives status and gain stage, and words of every kind; some of its constants are bad."""
    rng = seeded(f"{kind.name} {frame}")
    pedestal, gain = rng.normal(3000, 9, (kind.n_planes, *frame)), rng.normal(40, 1, (kind.n_planes, *frame))
    gain.flat[::37] = 0
    op = Gain(pedestal, gain, rng.random(frame) > 0.1, detector=kind, **{"status": True, "gain_stage": True, "invalid": "mask", **fields})
    return op, {"raw": raw_words(rng, kind, n, frame), "frame_status": frame_bits(n), **live_of(rows)}


def images(frame: tuple[int, ...]) -> tuple[Op, dict[str, np.ndarray]]:
    """The same of pairs of images, with cells that do not exist."""
    rng, kind, cells = seeded("images"), replace(DETECTORS["agipd1M"], shape=frame, segments=()), 2
    gain, threshold = np.full((3, cells, *frame), 8.0), np.stack([np.full((cells, *frame), t) for t in (5000.0, 7000.0)])
    op = ThresholdGain(rng.normal(4000, 9, gain.shape), gain, rng.random(frame) > 0.1, kind, cells, status=True, gain_stage=True, threshold=threshold)
    words = rng.integers(3900, 9000, (5, frame[0], 2, *frame[1:]), dtype=np.uint16)
    return op, {"raw": words, "cell": np.array([0, 1, 7, 1, 0], np.uint16), "frame_status": frame_bits(5)}


def planes(frame: tuple[int, ...], value: float = 2.0) -> np.ndarray:
    return seeded("planes").normal(value, 0.1, (3, *frame))


MARKS, G, P, CM = ("pixel_status", "gain_stage"), "calib.gain", "calib.polynomial", "calib.common_mode"
ODD, EVEN = (2, 10, 21), (2, 16, 48)
NOISE = Variance(planes(EVEN), quantum=3.0)
STEPS = QuantizeCounts(2.0, 0, 508.0, 26.7, -3000, 2**20, 1 / 508, capacity=99, of="energy")
CURVE = Polynomial(np.stack([planes(EVEN), planes(EVEN), planes(EVEN, 0)], axis=1))


def of_common_mode() -> dict[str, Line]:
    """It takes a bank's pixels in one by one, or in groups that reach into its neighbours."""
    gain, words = source(JUNGFRAU, EVEN, rows=3)
    small, few = source(JUNGFRAU, ODD, rows=9)
    five, many = source(FIVE, EVEN, 18, 17, adu=True)
    packed, pairs = source(PACKED, (16, 40), 19, 17)
    large, most = source(JUNGFRAU, (512, 256), 2)
    both, shots = images(EVEN)
    bank = CommonMode((8, 24), ("rows",), npix_min=3, exclude_stages=(1,), statistic="mean_below", report=True)      # quickly compiled
    return {
        "both marks": Line([gain, bank], words, ("energy", *MARKS, "common_mode", "frame_status"), [f"{G} + {CM}"]),
        "odd banks": Line([small, CommonMode((5, 7), ("rows",), npix_min=3, statistic="mean_below")], few, ("energy", *MARKS, "frame_status"), [f"{G} + {CM}"]),
        "gains behind": Line([five, CommonMode((8, 24), ("cols",), gain=seeded("g").normal(2, 0.1, (5, *EVEN)))], many,
                             ("energy", *MARKS), [f"{G} + {CM}"]),
        "a bank too large for SHARED": Line([large, CommonMode((512, 128), ("bank",), statistic="mean_below")], most, ("energy", *MARKS), [f"{G} + {CM}"]),
        "packed words": Line([packed, CommonMode((8, 20), ("rows",), npix_min=3)], pairs, ("energy", *MARKS, "frame_status"), [f"{G} + {CM}"]),
        "a curve between": Line([gain, CURVE, bank], words, ("energy", *MARKS, "frame_status"), [f"{G} + {P} + {CM}"]),
        "images": Line([both, bank], shots, ("energy", *MARKS, "frame_status"), [f"calib.threshold_gain + {CM}"]),
        "what comes behind reads the marks": Line([gain, bank, Photons(9.5, status=True)], words, ("photons", "pixel_status", "frame_status"),
                                                  [f"{G} + {CM} + calib.photons"]),
        "a variance behind": Line([gain, bank, NOISE], words, ("energy", "variance", *MARKS, "frame_status"), [f"{G} + {CM} + calib.variance"]),
    }


def of_pixels() -> dict[str, Line]:
    """Steps that change each pixel, and what may stand before or behind them."""
    gain, words = source(JUNGFRAU, EVEN, rows=3)
    full, all_rows = source(JUNGFRAU, EVEN)
    small, few = source(JUNGFRAU, ODD, rows=9)
    counts = Counts(good=seeded("counts").random((7, 9)) > 0.1, status=True)
    hits = {"raw": seeded("hits").choice(np.array([0, 1, 7, 60000, 2**32 - 2, 2**32 - 1], np.uint32), (18, 7, 9)), "frame_status": frame_bits(18)}
    return {
        "the energy too": Line([gain, NOISE], words, ("energy", "variance", "frame_status"), [f"{G} + calib.variance"]),
        "energy and marks": Line([small, Variance(planes(ODD), planes(ODD), 0.5)], few, ("energy", "variance", *MARKS), [f"{G} + calib.variance"]),
        "energy of a step": Line([gain, CURVE, Scale(planes(EVEN)), NOISE], words, ("energy", "variance", *MARKS, "frame_status"),
                                 [f"{G} + {P} + calib.scale + calib.variance"]),
        "energy of a step of arrays": Line([Scale(planes((5, 7))[:1]), Variance(planes((5, 7))[:1])],
                                           {"energy": seeded("x").normal(0, 9, (3, 5, 7)).astype(np.float32)}, ("energy", "variance"),
                                           ["calib.scale + calib.variance"]),
        "counts": Line([counts, Variance(np.zeros((1, 7, 9)), quantum=1.0)], hits, ("energy", "variance", "pixel_status", "frame_status"),
                       ["calib.counts + calib.variance"]),
        "wanted before": Line([full, Apart(9.5), NOISE], all_rows, ("photons", "variance", "frame_status"),
                              [G, "calib.shared_photons", f"{G} + calib.variance"]),
        "wanted behind": Line([full, NOISE, Apart(9.5)], all_rows, ("photons", "variance", "frame_status"), [f"{G} + calib.variance", "calib.shared_photons"]),
        "two values of one line": Line([full, NOISE, Scaled(planes(EVEN))], all_rows, ("energy", "variance", "scaled", "frame_status"),
                                       [G, f"{G} + calib.variance + calib.scale"]),
        "frame bits that nobody wants": Line([full, Bare(planes(EVEN))], all_rows, ("energy", "scaled", *MARKS), [f"{G} + calib.scale"]),
        "frame bits that nobody carries": Line([full, Bare(planes(EVEN))], all_rows, ("energy", "scaled", *MARKS, "frame_status"), [G, f"{G} + calib.scale"]),
        "frame bits that are read behind": Line([full, Bare(planes(EVEN)), SharedPhotons(9.5)], all_rows, ("photons", "scaled", "frame_status"),
                                                [G, f"{G} + calib.scale", "calib.shared_photons"]),
        "square-root steps": Line([gain, STEPS], words, ("code", "outlier_index", "outlier_value", "outlier_count", "max_error", "frame_status"),
                                  [f"{G} + compress.quantize_counts"]),
        "who stores not, and who does": Line([gain, Photons(9.5), NOISE], words, ("photons", "energy", "variance", "gain_stage", "frame_status"),
                                             [f"{G} + calib.photons", f"{G} + calib.variance"]),
    }


LINES = of_common_mode() | of_pixels()


@pytest.mark.parametrize("name", LINES)
def test_what_is_stored_on_the_way(target: Target, name: str) -> None:
    check(target, LINES[name])


def check(target: Target, line: Line) -> None:
    """The bytes of the ops one by one, over dirty outs, in the passes that the line says."""
    want, held = by_steps(line.ops, line.inputs), guarded_inputs(target, line.inputs)
    plan = plan_of(target, Chain(line.ops, keep=line.keep), held)
    got = run(target, plan, held, DIRT)
    assert set(got) == set(line.keep)
    for spec in plan.outs:
        assert np.array_equal(got[spec.name][: spec.nbytes], want[spec.name].reshape(-1).view(np.uint8)), spec.name
    assert [p.ops for p in plan.passes] == (line.passes if target.backend.kernels else [op.name for op in line.ops])
    if target.backend.kernels:
        assert 0 < sum(p.traffic for p in plan.passes) < plan.op.traffic(*plan.specs)


def test_stored_marks_are_what_the_words_say(target: Target) -> None:
    """Against the words themselves: gain bits 00, 01, 11 are the stages, 10 none; rows beyond live stay as they were."""
    rng, frame = np.random.default_rng(5), (2, 12, 14)
    good, raw = rng.random(frame) > 0.1, (rng.integers(0, 4, (6, *frame)) << 14 | rng.integers(2900, 3100, (6, *frame))).astype(np.uint16)
    gain = Gain(np.full((3, *frame), 3000.0), np.ones((3, *frame)), good, status=True, gain_stage=True)
    chain = Chain([gain, CommonMode((6, 7))], keep=("energy", "pixel_status", "gain_stage"))
    plan = chain.plan(target.put(raw), live=target.put(np.array([4], np.int32)), backend=target.backend.name)
    out = [target.put(np.full(s.shape, 77, s.dtype)) for s in plan.outs]
    plan(target.put(raw), live=target.put(np.array([4], np.int32)), out=out)
    status, stage = (target.get(a) for a in out[:2])
    assert [s.name for s in plan.outs] == ["pixel_status", "gain_stage", "energy"]
    assert np.array_equal(status[:4], np.where(~good, Pixel.MASKED, np.where(raw[:4] >> 14 == 2, Pixel.INVALID_CODE, 0)))
    assert np.array_equal(stage[:4], np.array([0, 1, 0, 2])[raw[:4] >> 14]) and (status[4:] == 77).all() and (stage[4:] == 77).all()
