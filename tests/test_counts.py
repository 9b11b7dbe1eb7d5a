"""Counting detectors against outsiders: dead-time formulas solved by SciPy, simulated pulses, real PILATUS and EIGER frames, plain float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from scipy.special import lambertw

import gpuredux
from gpuredux.calib import Counts
from gpuredux.calib.counts import dead_time_table
from gpuredux.status import Pixel


@pytest.mark.parametrize("exposure", (1e-3, 0.1, 1.0))
@pytest.mark.parametrize("model", ("nonparalysable", "paralysable"))
def test_the_table_is_the_formula(target: Target, model: str, exposure: float) -> None:
    """In float64, by SciPy's W function: the true count of every measured one, up to a correction by a factor of 2."""
    tau = 1.2e-7
    table, step = dead_time_table(tau, exposure, model, largest=2**32 - 1, most_factor=2.0)
    assert table.size <= 2**16 + 1 and (step == 1) == (exposure == 1e-3)
    top, a = (table.size - 1) * step, tau / exposure
    m = np.unique(np.append(np.geomspace(1, top, 30000).astype(np.uint32), [0, 1, 2, top - 1, top, top + 1])).astype(np.uint32).reshape(1, -1)
    energy, status = (target.get(x)[0] for x in Counts(table=table, table_step=step, status=True)(target.put(m)))
    z = m[0] * a
    n = m[0] / (1 - z) if model == "nonparalysable" else -lambertw(-z).real / a
    known = m[0] <= top
    assert (np.abs(energy - n)[known] <= 1.9e-7 * n[known]).all(), "three float32 roundings"
    assert np.array_equal(status, np.where(known, 0, Pixel.SATURATED)) and (energy[~known] == 0).all()
    assert 1.99 < n[known].max() / top <= 2, "the end of the table is where the correction reaches most_factor"


@pytest.mark.parametrize("model", ("nonparalysable", "paralysable"))
def test_pulses_that_were_lost_come_back(model: str) -> None:
    """Simulated: exponential gaps between photons; a counter that is blind for tau after a pulse, or whose blindness each pulse prolongs."""
    rng, tau, exposure, rate = np.random.default_rng(11), 2e-7, 0.01, 2e6
    measured = []
    for _ in range(60):
        t = np.cumsum(rng.exponential(1 / rate, int(1.3 * rate * exposure)))
        t = t[t < exposure]
        if model == "paralysable":
            measured.append(1 + np.count_nonzero(np.diff(t) > tau))
        else:
            seen, open_again = 0, 0.0
            for at in t:
                if at >= open_again:
                    seen, open_again = seen + 1, at + tau
            measured.append(seen)
    table, step = dead_time_table(tau, exposure, model)
    true = Counts(table=table, table_step=step)(np.array([measured], np.uint16), backend="numpy").mean()
    assert np.mean(measured) < 0.75 * rate * exposure, "a third is lost"
    assert abs(true - rate * exposure) < 5 * np.sqrt(rate * exposure / 60) * 1.5


def test_a_paralysed_counter_has_two_answers_and_gives_the_smaller() -> None:
    table, step = dead_time_table(1e-7, 1e-3, "paralysable", largest=2**32 - 1)
    assert step == 1 and table.size - 1 == int(1e4 / np.e)
    n = table * np.arange(table.size)
    assert (np.diff(n) > 0).all() and n[-1] <= 1e4
    assert np.abs(n * np.exp(-n * 1e-4) - np.arange(table.size)).max() < 1e-9


@pytest.mark.parametrize(("file", "dataset"), (("pilatus2m_lcysteine_01.h5", "data"), ("ceo2_pilatus1m_waxs.h5", "data"), ("eiger9m_sparse_f0.h5", "data"),
                                               ("eiger2_16m_roi4m_stream.h5", "data")))
def test_real_frames(target: Target, real, file: str, dataset: str) -> None:
    """Gaps and bad pixels are masked and nothing else is; the counts of all others are a stock float64 product."""
    raw = real(file, dataset)
    raw = np.ascontiguousarray(raw[:2] if raw.ndim == 3 else raw[None])
    flat = np.random.default_rng(2).normal(1, 0.03, raw.shape[1:]).astype(np.float32)
    energy, status = (target.get(x) for x in Counts(plane=flat, status=True, bad_value=np.nan)(target.put(raw)))
    no_count = raw < 0 if raw.dtype == np.int32 else raw == np.iinfo(raw.dtype).max
    assert 0.001 < no_count.mean() < 0.2
    assert np.array_equal(status, np.where(no_count, Pixel.MASKED, 0)) and np.array_equal(np.isnan(energy), no_count)
    assert np.array_equal(energy[~no_count], (raw * flat.astype(np.float64)).astype(np.float32)[~no_count])


def test_large_counts_are_rounded_to_even() -> None:
    raw = np.array([[2**24, 2**24 + 1, 2**24 + 3, 2**31 + 128, 2**31 + 129, 2**32 - 3]], np.uint32)
    assert Counts()(raw, backend="numpy").tolist() == [[2**24, 2**24, 2**24 + 4, 2**31, 2**31 + 256, 2**32]]


def test_frames_tell_of_saturation_but_not_of_gaps() -> None:
    raw = np.zeros((4, 3, 5), np.uint16)
    raw[0], raw[1, 1, 1], raw[2, 1, 1] = 65535, 65534, 60000
    status = Counts(largest=59999)(raw, frame_status=np.zeros(4, np.uint32), backend="numpy").frame_status
    assert status.tolist() == [0, Pixel.SATURATED, Pixel.SATURATED, 0]


def test_a_chain_fuses_counts(device_target: Target) -> None:
    """Veto straight from the counts: one pass over memory, no energies written."""
    raw = np.random.default_rng(1).poisson(0.3, (5, 64, 72)).astype(np.uint16)
    chain = gpuredux.Chain([Counts(), gpuredux.veto.LitPixels(0.5, 1200)])
    plan = chain.plan(raw=device_target.put(raw), backend=device_target.backend.name)
    assert [p.ops for p in plan.passes] == ["calib.counts + veto.lit_pixels"]
    score = device_target.get(plan(device_target.put(raw)).decision)[:, 3].view(np.float32)
    assert score.tolist() == (raw > 0).sum(axis=(1, 2)).tolist()


WRONG = [
    ({"plane": np.ones((3, 5)) * np.nan}, "15 good pixels have a plane outside"), ({"plane": np.float32(1)}, "single number"),
    ({"plane": np.zeros((3, 5)), "good": np.eye(3, 5) > 0}, r"3 good pixels .* \(0, 0\)"), ({"good": np.ones((3, 5))}, "good must be bool"),
    ({"plane": np.ones((3, 5)), "good": np.ones((5, 3), bool)}, r"good must be bool \(3, 5\)"), ({"bad_value": 1}, "bad_value"), ({"invalid": "no"}, "invalid"),
    ({"table": np.array([1, 2, 0])}, "entry 2 is 0.0"), ({"table": np.array([1, np.nan])}, "entry 1 is nan"),
    ({"table": np.array([-1.0, 1])}, "entry 0 is -1.0"), ({"table": np.zeros((0,))}, "entries"), ({"table": np.zeros((2, 2))}, "entries"),
    ({"table_step": 3}, "power of two"), ({"table_step": 2**25}, "power of two"), ({"largest": -1}, "largest"), ({"largest": 2**32}, "largest"),
    ({"codes": ((1, 2), (1, 4))}, "different words"), ({"codes": ((2**32, 2),)}, "different words"), ({"codes": ((1, 3),)}, "one bit"),
    ({"codes": ((1, 0),)}, "one bit"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_wrong_constants_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^calib\.counts: .*{message}"):
        Counts(**fields)


@pytest.mark.parametrize("arguments", ((0, 1), (1, 0), (np.nan, 1), (1, np.inf), (2, 1), (1e-7, 1, "both"), (1e-7, 1, "paralysable", 0),
                                       (1e-7, 1, "paralysable", 9, 1)))
def test_wrong_dead_times_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"^dead_time_table: "):
        dead_time_table(*arguments)


@pytest.mark.parametrize("dtype", ("int8", "int16", "float32", "uint64", "bool"))
def test_words_that_no_counter_sends_are_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match=r"^calib\.counts: raw must be uint8 or uint16 or uint32 or int32"):
        Counts()(np.zeros((2, 3, 5), dtype))
