"""op.py, backends.py and device.h: dispatch, plans, chains, constants, and the warp operations themselves. Over 200 lines: one small test a promise."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FOUND, NUMPY, Target

import gpuredux
from gpuredux import Chain, backends
from gpuredux.backends import BackendUnavailable
from gpuredux.calib import Gain
from gpuredux.compress import Pack, PlainDecode, Quantize, Restore
from gpuredux.op import Spec
from gpuredux.simulate import Simulation
from gpuredux.veto import Compact, LitPixels

FRAME = (4, 10)


def a_gain(offset: float = 0.0, **fields: Any) -> Gain:
    return Gain(np.full((3, *FRAME), 100 + offset, np.float32), np.full((3, *FRAME), 2, np.float32), **fields)


def words(n: int = 3) -> np.ndarray:
    return np.arange(100, 100 + n * 40, dtype=np.uint16).reshape(n, *FRAME)


def expected(raw: np.ndarray, offset: float = 0.0) -> np.ndarray:
    return (raw.astype(np.float32) - np.float32(100 + offset)) * np.float32(0.5)


# --------------------------------------------------------------------------------------------------------------- dispatch
def test_the_array_decides(target: Target) -> None:
    out = a_gain()(target.put(words()))
    assert target.backend.is_mine(out) and target.backend.device_of(out) == target.device
    assert np.array_equal(target.get(out), expected(words()))


def test_numba_serves_ndarrays_unless_numpy_is_named() -> None:
    assert a_gain().plan(words()).backend.name == "numba"
    assert a_gain().plan(words(), backend="numpy").backend.name == "numpy"


def test_a_message_of_the_house() -> None:
    with pytest.raises(TypeError) as caught:
        Gain(np.zeros((3, 512, 1024)), np.ones((3, 512, 1024)))(np.zeros((3, 512, 1024), np.float32))
    assert str(caught.value) == "calib.gain: raw must be uint16 (n, 512, 1024), got float32 (3, 512, 1024)"


def read_only() -> np.ndarray:
    x = np.zeros((3, *FRAME), np.float32)
    x.setflags(write=False)
    return x


FAULTS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "shape": (lambda: a_gain()(words()[:, :2]), ValueError, r"^calib\.gain: raw must be uint16 \(n, 4, 10\), got uint16 \(3, 2, 10\)$"),
    "strides": (lambda: a_gain()(np.zeros((3, 4, 20), np.uint16)[..., ::2]), ValueError,
                r"^calib\.gain: raw is not C-contiguous \(strides \(160, 40, 4\)\); pass numpy\.ascontiguousarray\(\.\.\.\)$"),
    "strides of out": (lambda: a_gain()(words(), out=np.zeros((3, 4, 20), np.float32)[..., ::2]), ValueError, "energy is not C-contiguous"),
    "odd address of out": (lambda: a_gain()(words(), out=np.zeros(4 * 120 + 1, np.uint8)[1:].view(np.float32).reshape(3, *FRAME)), ValueError,
                           "energy begins at no multiple of its 4 bytes; pass a copy"),
    "read-only out": (lambda: a_gain()(words(), out=read_only()), ValueError, "^calib.gain: out energy is read-only$"),
    "dtype of out": (lambda: a_gain()(words(), out=np.zeros((3, *FRAME))), ValueError, r"energy must be float32 \(3, 4, 10\) as planned, got float64"),
    "shape of out": (lambda: a_gain()(words(), out=np.zeros((4, *FRAME), np.float32)), ValueError, "energy must be .* as planned"),
    "number of outs": (lambda: a_gain(status=True)(words(), out=np.zeros((3, *FRAME), np.float32)), ValueError,
                       r"^calib\.gain: out must hold 2 arrays \(energy, pixel_status\), got 1$"),
    "unknown backend": (lambda: a_gain()(words(), backend="cuda"), ValueError, "^backend 'cuda' is unknown: choose from numpy, numba, cupy, opencl$"),
    "no array": (lambda: a_gain().plan(Spec("raw", (3, *FRAME), np.dtype(np.uint16))), TypeError, "name a backend="),
    "a masked array": (lambda: a_gain()(np.ma.masked_array(words())), TypeError, "MaskedArray is no array of"),
    "a chain of numbers": (lambda: Chain([a_gain(), 1]), TypeError, "^chain: ops must be operations, got int$"),
    "a text for a number": (lambda: Quantize("1"), TypeError, r"^compress\.quantize: abs must be a real number, got '1'$"),
    "a bool for a number": (lambda: Quantize(True), TypeError, "abs must be a real number, got True"),
    "half an outlier": (lambda: Quantize(1.0, capacity=1.5), TypeError, "capacity must be a whole number, got 1.5"),
    "a list for a code": (lambda: Quantize(1.0, code=["int16"]), ValueError, "code must be one of"),
    "a text for a threshold": (lambda: LitPixels("1", 1), TypeError, r"^veto\.lit_pixels: threshold must be a real number, got '1'$"),
    "a text for a bad value": (lambda: a_gain(bad_value="x"), TypeError, "bad_value must be a real number, got 'x'"),
    "a list": (lambda: a_gain()([[1]]), TypeError, "builtins.list is no array of .*DLPack"),
    "too many inputs": (lambda: a_gain()(*[words()] * 5), TypeError, "^calib.gain takes raw, cell\\?, frame_status\\?, live\\?: got 5 inputs$"),
    "given twice": (lambda: a_gain()(words(), raw=words()), TypeError, "^calib.gain: input 'raw' is given twice"),
    "unknown input": (lambda: a_gain()(words(), dark=words()), TypeError, "^calib.gain: input 'dark' is unknown"),
    "no input": (lambda: a_gain()(), TypeError, "^calib.gain: input 'raw' is missing"),
    "other shape than planned": (lambda: a_gain().plan(words())(words(4)), ValueError, r"raw must be uint16 \(3, 4, 10\) as planned, got uint16 \(4, 4, 10\)"),
    "an input more than planned": (lambda: a_gain().plan(words())(words(), live=np.array([1], np.int32)), ValueError, "this plan was made without"),
    "an input less than planned": (lambda: a_gain().plan(words(), live=np.array([1], np.int32))(words()), ValueError, "this plan was made with live"),
    "no inverse": (lambda: a_gain().inverse(), TypeError, "^calib.gain has no inverse$"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_error(fault: str) -> None:
    call, error, message = FAULTS[fault]
    with pytest.raises(error, match=message):
        call()


def test_mixed_libraries(device_target: Target) -> None:
    with pytest.raises(TypeError, match=r"^calib\.gain: inputs of different libraries: numpy.ndarray, "):
        a_gain()(device_target.put(words()), live=np.array([1], np.int32))
    with pytest.raises(TypeError, match=r"^calib\.gain: energy must be an array of .*, got numpy.ndarray$"):
        a_gain()(device_target.put(words()), out=np.zeros((3, *FRAME), np.float32))


def test_backend_never_moves_data(device_target: Target) -> None:
    name = device_target.backend.name
    with pytest.raises(TypeError, match=f"backend='{name}' does not own numpy arrays; move them with gpuredux.backends.get\\('{name}'\\).put"):
        a_gain()(words(), backend=name)
    with pytest.raises(TypeError, match="backend='numba' does not own"):
        a_gain()(device_target.put(words()), backend="numba")


FRAMES_OF = {
    "calib.gain": (lambda: a_gain(), ("raw", np.uint16)),
    "veto.lit_pixels": (lambda: LitPixels(5.0, 10), ("energy", np.float32)),
    "compress.quantize": (lambda: Quantize(0.5), ("energy", np.float32)),
    "compress.dequantize": (lambda: Quantize(0.5).inverse(), ("code", np.int16)),
}


@pytest.mark.parametrize("name", FRAMES_OF)
def test_more_than_a_launch_holds(device_target: Target, name: str) -> None:
    """CUDA's grid holds 65535 groups of 16 frames, and kernels number a frame's pixels in 32 bits; specs alone: nothing so large is made."""
    make, (first, dtype) = FRAMES_OF[name]
    op = make()

    def plan(n: int, frame: tuple[int, ...]) -> Any:
        shapes = {first: ((n, *frame), dtype), "outlier_index": ((n, 1), np.uint32), "outlier_value": ((n, 1), np.float32), "outlier_count": ((n,), np.uint32)}
        specs = {k: Spec(k, shape, np.dtype(t)) for k, (shape, t) in shapes.items() if k in op.input_names}
        return op.plan(**specs, backend=device_target.backend.name, device=device_target.device)

    plan(1_048_560, FRAME)
    with pytest.raises(ValueError, match=rf"^{name}: 1048561 frames are more than one launch holds, 1048560; plan for fewer$"):
        plan(1_048_561, FRAME)
    if op.constants():
        return      # a frame's size is that of the constants
    for frame in ((1, 2**31), (2**16, 2**16), (2**20, 2**20)):
        with pytest.raises(ValueError, match=rf"^{name}: {frame[0] * frame[1]} pixels a frame are more than kernels can number, 2147483647; cut it"):
            plan(1, frame)
    plan(1, (1, 2**31 - 8))


def test_more_blocks_than_a_launch_holds(device_target: Target) -> None:
    """CUDA's gridDim.x, whatever the op counts in it: Plan.launch refuses."""
    def plan(n: int) -> Any:
        specs = {"payload": Spec("payload", (n, 16), np.dtype(np.uint8)), "size": Spec("size", (n,), np.dtype(np.uint32))}
        return PlainDecode((4, 4), "uint8").plan(**specs, backend=device_target.backend.name, device=device_target.device)

    plan(2**31 - 1)
    with pytest.raises(ValueError, match=r"^compress\.plain_decode: 2147483648 blocks are more than one launch holds, 2147483647; plan for fewer frames$"):
        plan(2**31)


def test_a_batch_of_more_frames_than_the_second_axis_holds(device_target: Target) -> None:
    """CUDA's gridDim.y is 65535: the axes of such a launch are turned, and the kernels see what they always see."""
    n, backend = 65_537, device_target.backend.name
    raw = np.random.default_rng(1).integers(0, 9, (n, 1, 8), np.uint16)
    given = (device_target.put(x) for x in (raw.view(np.uint8).reshape(n, 16), np.full(n, 16, np.uint32)))
    assert np.array_equal(device_target.get(Pack()(*given, backend=backend).packed), raw.view(np.uint8).reshape(-1))
    op = Restore("uint16", predictor="previous", every=1)      # its grid's rows are of `every` frames
    lists = np.zeros((n, 1), np.uint32), np.zeros((n, 1), np.uint32), np.zeros(n, np.uint32)
    assert np.array_equal(device_target.get(op(*map(device_target.put, (raw, *lists)), backend=backend)), raw)


def test_turned_axes_number_the_same_pixels(device_target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIRST_PIXEL, of a grid of three rows where one is the most."""
    monkeypatch.setattr("gpuredux.op.MOST_ROWS", 1)
    assert np.array_equal(device_target.get(a_gain()(device_target.put(words(40)))), expected(words(40)))


def test_more_rows_of_blocks_than_a_launch_holds(device_target: Target) -> None:
    """Neither axis is short enough to be the second one."""
    specs = {"payload": Spec("payload", (65_536, 16384 * 65_536), np.dtype(np.uint8)), "size": Spec("size", (65_536,), np.dtype(np.uint32))}
    with pytest.raises(ValueError, match=r"^compress\.pack: 65536 x 65536 blocks are more than one launch holds, 2147483647 x 65535; plan for fewer frames$"):
        Pack().plan(**specs, backend=device_target.backend.name, device=device_target.device)


def test_two_devices(device_target: Target) -> None:
    others = [d for d in device_target.backend.devices() if d != device_target.device and d.index != device_target.device.index]
    if not others:
        pytest.skip(f"no second device of {device_target.backend.name}")
    live = device_target.backend.put(np.array([1], np.int32), others[0])
    with pytest.raises(ValueError, match=r"^calib\.gain: inputs on "):
        a_gain()(device_target.put(words()), live=live)
    with pytest.raises(ValueError, match="asked to run on"):
        a_gain().plan(device_target.put(words()), device=others[0])


def test_an_array_inside_a_buffer(device_target: Target) -> None:
    if device_target.backend.name != "opencl":
        pytest.skip("only OpenCL's buffers have an origin")
    with pytest.raises(ValueError, match="raw begins 80 bytes into its buffer, not at a multiple of 128"):
        a_gain()(device_target.put(words())[1:])
    big = device_target.put(np.resize(words(), (5, 64, 4, 10)).astype(np.uint16))
    assert np.array_equal(device_target.get(a_gain()(big[2])), expected(np.resize(words(), (5, 64, 4, 10))[2]))


def region(base: Any, start: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """The array that lies so many bytes behind the beginning of another one of u8."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return base[start : start + size].view(dtype).reshape(shape)


@pytest.mark.parametrize(("raw_at", "energy_at", "apart"), [
    (0, 1280, True), (2560, 0, True), (0, 0, False), (0, 1152, False), (2432, 0, False), (1280, 0, False), (0, 2560, True),
])
def test_an_out_that_overlaps_an_input(target: Target, raw_at: int, energy_at: int, apart: bool) -> None:
    """16 frames: 1280 bytes of raw, 2560 of energy, in one buffer; each at a multiple of 128, adjacent or overlapping."""
    host = np.zeros(5120, np.uint8)
    region(host, raw_at, (16, *FRAME), np.uint16)[...] = words(16)
    base = target.put(host.copy())
    raw, energy = region(base, raw_at, (16, *FRAME), np.uint16), region(base, energy_at, (16, *FRAME), np.float32)
    for op in (a_gain(), Chain([a_gain()], keep=("energy",))):
        plan = op.plan(raw, backend=target.backend.name)
        if apart:
            assert np.array_equal(target.get(plan(raw, out=energy)), expected(words(16)))
        else:
            with pytest.raises(ValueError, match=rf"^{op.name}: out energy overlaps input raw in memory; pass an array of its own$"):
                plan(raw, out=energy)
    assert np.array_equal(target.get(raw), words(16))


def test_outs_that_overlap(target: Target) -> None:
    op, raw, base = a_gain(status=True), target.put(words(16)), target.put(np.zeros(5120, np.uint8))
    energy, adjacent, inside = region(base, 0, (16, *FRAME), np.float32), *(region(base, k, (16, *FRAME), np.uint8) for k in (2560, 2432))
    assert np.array_equal(target.get(op(raw, out=(energy, adjacent)).energy), expected(words(16)))
    with pytest.raises(ValueError, match=r"^calib\.gain: out pixel_status overlaps out energy in memory; pass an array of its own$"):
        op(raw, out=(energy, inside))
    flags = target.put(np.zeros(16, np.uint32))
    with pytest.raises(ValueError, match=r"^calib\.gain: out frame_status overlaps input frame_status in memory"):
        op(raw, frame_status=flags, out=(None, None, flags))
    none, empty = target.put(words(0)), target.put(np.zeros((0, *FRAME), np.float32))
    assert a_gain()(none, out=empty) is empty, "no byte, no overlap"


def test_a_region_of_an_opencl_buffer(device_target: Target) -> None:
    """Two buffer objects, one memory: the second is a region of the first."""
    if device_target.backend.name != "opencl":
        pytest.skip("only OpenCL's buffers have regions")
    import pyopencl.array

    base = device_target.put(np.zeros(8192, np.uint8))
    raw = region(base, 0, (16, *FRAME), np.uint16)
    inside, behind = (pyopencl.array.Array(base.queue, (16, *FRAME), np.float32, data=base.base_data.get_sub_region(k, 2560)) for k in (0, 4096))
    with pytest.raises(ValueError, match="out energy overlaps input raw"):
        a_gain()(raw, out=inside)
    a_gain()(raw, out=behind)


def test_a_missing_backend_says_why() -> None:
    try:
        backends.get("cupy")
    except BackendUnavailable as e:
        assert str(e).startswith("cupy: ") and ("not installed" in str(e) or "no CUDA device" in str(e))
    else:
        pytest.skip("cupy runs here")


# ------------------------------------------------------------------------------------------------- constants, plans, update
def test_constants_are_copies_that_nobody_writes() -> None:
    pedestal = np.full((3, *FRAME), 100, np.float32)
    op = Gain(pedestal, np.ones_like(pedestal))
    pedestal[...] = 7
    assert (op.pedestal == 100).all()
    with pytest.raises(ValueError, match="read-only"):
        op.pedestal[...] = 1
    with pytest.raises(AttributeError):
        op.pedestal = pedestal  # type: ignore[misc]


def test_constants_are_uploaded_once(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    op, raw = a_gain(), target.put(words())
    puts = []
    put = type(target.backend).put
    monkeypatch.setattr(type(target.backend), "put", lambda self, x, *rest: puts.append(x.shape) or put(self, x, *rest))
    plans = [op.plan(raw), op.plan(raw), op.plan(target.put(words(5)))]
    op(raw)
    assert puts.count((3, *FRAME)) == 2, "pedestal and factor, once for all plans"
    assert plans[0].constants is plans[2].constants


def test_a_call_keeps_its_plans() -> None:
    op = a_gain()
    made = [op._shared().plans for _ in (op(words()), op(words()), op(words(), backend="numpy"), op(words(5)))][-1]
    assert len(made) == 3
    for n in range(20):
        op(words(n))
    assert len(made) == 8


def test_pickle_carries_no_device(target: Target) -> None:
    op = a_gain(5.0)
    op(target.put(words()))
    assert "_shared_state" in vars(op)
    again = pickle.loads(pickle.dumps(op))
    assert "_shared_state" not in vars(again) and again.digest() == op.digest()
    assert len(pickle.dumps(op)) < 2 * 4 * 3 * 40 + 2000
    assert np.array_equal(target.get(again(target.put(words()))), expected(words(), 5.0))


def test_update_reaches_every_plan(target: Target) -> None:
    op, raw = a_gain(), target.put(words())
    first, second, chain = op.plan(raw), op.plan(target.put(words(5))), Chain([op, Quantize(0.5)]).plan(raw)
    held = dict(first.constants)
    first.update(pedestal=np.full((3, *FRAME), 110, np.float32))
    if target.backend.kernels:
        assert all(held[k] is first.constants[k] for k in held), "kernels and graphs hold these addresses"
    assert np.array_equal(target.get(first(raw)), expected(words(), 10))
    assert np.array_equal(target.get(second(target.put(words(5)))), expected(words(5), 10))
    assert np.array_equal(target.get(op(raw)), expected(words(), 10))
    assert np.array_equal(target.get(chain(raw).code), np.rint(expected(words(), 10)).astype(np.int16))
    chain.update(pedestal=np.full((3, *FRAME), 101, np.float32))
    assert np.array_equal(target.get(first(raw)), expected(words(), 1))
    first.update(gain=np.full((3, *FRAME), 1, np.float32))
    assert np.array_equal(target.get(first(raw)), 2 * expected(words(), 1)), "the pedestal of the update before is kept"
    assert (op.pedestal == 100).all()


BAD_UPDATES = {
    "shape": ({"pedestal": np.zeros((3, 4, 11), np.float32)}, "must"),
    "NaN": ({"pedestal": np.full((3, *FRAME), np.nan, np.float32)}, "not finite"),
    "zero gain": ({"gain": np.zeros((3, *FRAME), np.float32)}, "NaN, Inf or 0"),
    "a scalar field": ({"cells": np.zeros(3)}, "no constant named cells; it has pedestal, gain"),
    "an absent constant": ({"good": np.ones(FRAME, bool)}, "no constant named good"),
}


@pytest.mark.parametrize("which", BAD_UPDATES)
def test_a_bad_update_changes_nothing(target: Target, which: str) -> None:
    op, raw = a_gain(), target.put(words())
    plan = op.plan(raw)
    fields, message = BAD_UPDATES[which]
    with pytest.raises(ValueError, match=message):
        plan.update(**fields)
    assert np.array_equal(target.get(plan(raw)), expected(words()))


def test_an_update_of_a_chain_is_all_or_none(target: Target) -> None:
    raw = target.put(words())
    plan = Chain([a_gain(), Quantize(0.5, good=np.ones(FRAME, bool))]).plan(raw)
    with pytest.raises(ValueError, match="good must stay uint8"):
        plan.update(pedestal=np.full((3, *FRAME), 110, np.float32), good=np.ones((2, 2), bool))
    assert np.array_equal(target.get(plan(raw).code), np.rint(expected(words())).astype(np.int16))


CHANGE = {"pedestal": np.full((3, *FRAME), 110, np.float32), "gain": np.full((3, *FRAME), 1, np.float32)}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_run_amid_an_update_on_the_host_sees_all_old(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run between the first constant and the second, as another thread may make it."""
    op, seen = a_gain(), []
    plan, other = op.plan(words(), backend=backend), op.plan(words(), backend=backend)
    monkeypatch.setattr(backends.Numpy, "overwrite", lambda self, x, new, stream: seen.append(other(words())) or new)
    plan.update(**CHANGE)
    assert len(seen) == 2 and all(np.array_equal(x, expected(words())) for x in seen)
    assert np.array_equal(other(words()), 2 * expected(words(), 10))


def test_an_update_amid_a_run_on_the_host_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a run's first look at its constants and its second; in a chain, between its ops."""
    good = np.zeros(FRAME, bool)
    op, quantize = a_gain(), Quantize(0.5, good=~good)
    chain = Chain([op, quantize])

    def gain(self: Gain, plan: Any, raw: Any, cell: Any, frame_status: Any, live: Any, energy: Any, *rest: Any) -> None:
        pedestal = plan.constants["pedestal"]
        updating.update(**CHANGE, good=good)
        energy[...] = (raw - pedestal[0]) * plan.constants["factor"][0]

    monkeypatch.setattr(Gain, "numba", gain)
    updating, running, alone = chain.plan(words()), chain.plan(words()), op.plan(words())
    assert np.array_equal(running(words()).code, np.rint(expected(words())).astype(np.int16))
    assert (running(words()).code == quantize.masked_code).all() and np.array_equal(alone(words()), 2 * expected(words(), 10))


def test_update_of_one_device_leaves_the_others(device_target: Target) -> None:
    op = a_gain()
    here, there = op.plan(device_target.put(words())), op.plan(words())
    here.update(pedestal=np.full((3, *FRAME), 110, np.float32))
    assert np.array_equal(there(words()), expected(words()))


def test_threads_with_a_plan_each(target: Target) -> None:
    op, failures = a_gain(), []

    def work(k: int) -> None:
        raw, want = target.put(words(4 + k)), expected(words(4 + k))
        plan = op.plan(raw)
        failures.extend(k for _ in range(30) if not np.array_equal(target.get(plan(raw)), want) or not np.array_equal(target.get(op(raw)), want))

    pool = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in pool:
        t.start()
    for t in pool:
        t.join()
    assert not failures


def another_stream(target: Target) -> Any:
    """A second OpenCL queue, or a CUDA stream that the default one does not wait for."""
    if target.backend.name == "opencl":
        import pyopencl

        return pyopencl.CommandQueue(target.device.handle)
    import cupy

    with cupy.cuda.Device(target.device.index):
        return cupy.cuda.Stream(non_blocking=True)


def test_a_stream_of_ones_own(device_target: Target) -> None:
    """Plans, calls and updates on it; two streams of one op share its constants but no plan."""
    stream, backend, op, raw = another_stream(device_target), device_target.backend, a_gain(), device_target.put(words())
    backend.wait(device_target.device)      # raw is there, for another stream too
    plan, chain, usual = op.plan(raw, stream=stream), Chain([op, Quantize(0.5)]).plan(raw, stream=stream), op.plan(raw)
    assert backend.stream_key(plan.stream) == backend.stream_key(stream) != backend.stream_key(usual.stream)
    assert plan.constants is usual.constants
    for offset in (0, 10):
        if offset:
            plan.update(pedestal=np.full((3, *FRAME), 100 + offset, np.float32))
        energy, again, code = plan(raw), op(raw, stream=stream), chain(raw).code
        for x in (energy, again):
            assert np.array_equal(backend.get(x, stream), expected(words(), offset))
        assert np.array_equal(backend.get(code, stream), np.rint(expected(words(), offset)).astype(np.int16))
    backend.wait(device_target.device, stream)      # the update is on one stream alone: others wait for it
    assert np.array_equal(device_target.get(usual(raw)), expected(words(), 10))
    op(raw)
    assert len(op._shared().plans) == 2


def test_a_graph_takes_up_an_update(device_target: Target) -> None:
    if device_target.backend.name != "cupy":
        pytest.skip(f"no CUDA graphs on {device_target.backend.name}: they need a CUDA device and cupy")
    import cupy

    op, raw = a_gain(), device_target.put(words())
    energy, code = (device_target.put(np.zeros(words().shape, t)) for t in (np.float32, np.int16))
    device_target.backend.wait(device_target.device)
    stream = another_stream(device_target)
    plan = op.plan(raw, stream=stream)
    chain = Chain([op, Quantize(0.5)], keep=("code",)).plan(raw, stream=stream)
    plan(raw, out=energy), chain(raw, out=code)
    with cupy.cuda.Device(device_target.device.index), stream:
        stream.begin_capture()
        plan(raw, out=energy)
        chain(raw, out=code)
        graph = stream.end_capture()
    for offset in (0, 10):
        plan.update(pedestal=np.full((3, *FRAME), 100 + offset, np.float32))
        graph.launch(stream=stream)
        stream.synchronize()
        assert np.array_equal(device_target.backend.get(energy, stream), expected(words(), offset))
        assert np.array_equal(device_target.backend.get(code, stream), np.rint(expected(words(), offset)).astype(np.int16))


# ------------------------------------------------------------------------------------------------------------------ chains
def reduction(**keep: Any) -> Chain:
    return Chain([a_gain(), LitPixels(5.0, 10), Compact(), Quantize(0.5)], **keep)


def test_chain_wires_by_name() -> None:
    chain = Chain([a_gain(), LitPixels(5.0, 10), Quantize(0.5)])
    assert chain.inputs == ("raw", "cell?", "frame_status?", "live?", "pulse_id?")
    names = [s.name for s in chain.outputs(*chain.bind((words(),), {}))]
    assert names == ["decision", "code", "outlier_index", "outlier_value", "outlier_count", "max_error", "frame_status"]
    kept = Chain([a_gain(), LitPixels(5.0, 10)], keep=("energy",))
    assert [s.name for s in kept.outputs(*kept.bind((words(),), {}))] == ["energy"]
    with pytest.raises(ValueError, match=r"^chain: nothing writes darkness; it has "):
        Chain([a_gain()], keep=("darkness",)).plan(words())
    with pytest.raises(TypeError, match=r"^chain: input 'raw' is missing"):
        chain.plan(live=np.array([1], np.int32))
    with pytest.raises(TypeError, match=r"^calib.gain: raw must be uint16"):
        chain.plan(words().astype(np.int32))
    assert json.loads(json.dumps(chain.config()))["ops"][1]["op"] == "veto.lit_pixels"


def test_chain_equals_its_steps(target: Target) -> None:
    raw = target.put(words(20))
    gain, lit, quantize = a_gain(), LitPixels(5.0, 10), Quantize(0.5)
    out = Chain([gain, lit, quantize]).plan(raw)(raw)
    energy = gain(raw)
    for name, one in (("decision", lit(energy)), ("code", quantize(energy).code), ("max_error", quantize(energy).max_error)):
        assert np.array_equal(target.get(getattr(out, name)), target.get(one))


def test_chain_lists_its_passes(device_target: Target) -> None:
    raw = device_target.put(words(20))
    fused = Chain([a_gain(), LitPixels(5.0, 10), Quantize(0.5)]).plan(raw)
    assert [p.ops for p in fused.passes] == ["calib.gain + veto.lit_pixels", "calib.gain + compress.quantize"]
    kept = Chain([a_gain(), LitPixels(5.0, 10)], keep=("energy", "decision")).plan(raw)
    assert [p.ops for p in kept.passes] == ["calib.gain", "calib.gain + veto.lit_pixels"]
    host = Chain([a_gain(), LitPixels(5.0, 10)]).plan(words(20))
    assert [p.ops for p in host.passes] == ["calib.gain", "veto.lit_pixels"], "hosts do not fuse"
    assert sum(p.traffic for p in host.passes) == host.op.traffic(*host.specs)


def test_veto_then_calibrate_the_rest(target: Target) -> None:
    """live, written by Compact, goes to the ops behind it: rows that were vetoed are neither read nor written."""
    raw = words(20)
    raw[::3] = 0        # below the threshold in every pixel
    chain = Chain([a_gain(), LitPixels(5.0, 10), Compact(), a_gain(), Quantize(0.5)], keep=("live", "source", "code"))
    out = chain.plan(target.put(raw))(target.put(raw))
    (live,) = target.get(out.live)
    kept = np.flatnonzero(np.arange(20) % 3)
    assert live == len(kept) and np.array_equal(target.get(out.source)[:live], kept)
    assert np.array_equal(target.get(out.code)[:live], np.rint(expected(raw[kept])).astype(np.int16))


# ------------------------------------------------------------------------------------------------------------ what is there
def fresh_python(program: str) -> str:
    """What a new interpreter prints, started outside of the checkout and without OCL_ICD_VENDORS."""
    env = {k: v for k, v in os.environ.items() if k != "OCL_ICD_VENDORS"}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=env, cwd=Path(sys.prefix), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_no_optional_library() -> None:
    loaded = json.loads(fresh_python("import gpuredux, sys, json; print(json.dumps(list(sys.modules)))"))
    assert not {"cupy", "pyopencl", "torch", "cuda", "bitshuffle", "typer", "rich", "pydantic"} & set(loaded)


def test_available_in_a_fresh_process() -> None:
    table = json.loads(fresh_python("import gpuredux, json; print(json.dumps(gpuredux.backends.available()))"))
    assert list(table) == ["numpy", "numba", "cupy", "opencl"] and table["numba"] == ["numba:0 host"]
    try:
        importlib.metadata.version("intel-opencl-rt")
        importlib.metadata.version("pyopencl")
    except importlib.metadata.PackageNotFoundError as e:
        pytest.skip(f"not installed: {e}")
    found = "\n".join(table["opencl"])
    assert "Intel(R) OpenCL" in found and "warp tier 2" in found
    if list(Path("/etc/OpenCL/vendors").glob("pocl*.icd")):
        assert "Portable Computing Language" in found and "warp tier 3" in found
    assert "left out" not in found


BROKEN_PLATFORM = """
import gpuredux, json, pyopencl
working = pyopencl.get_platforms
class Broken:
    name = "Broken platform"
    def get_devices(self):
        raise pyopencl.RuntimeError("the driver is gone")
pyopencl.get_platforms = lambda: [Broken(), *{others}]
print(json.dumps(gpuredux.backends.available()))
"""


def test_a_broken_platform_hides_no_other_one() -> None:
    pytest.importorskip("pyopencl", reason="not installed: pyopencl")
    (alone,) = json.loads(fresh_python(BROKEN_PLATFORM.format(others="()")))["opencl"]
    assert alone.startswith("cannot run: opencl: Broken platform: the driver is gone")
    if not any(t.backend.name == "opencl" for t in FOUND):
        pytest.skip("no OpenCL platform that works")
    *found, remark = json.loads(fresh_python(BROKEN_PLATFORM.format(others="working()")))["opencl"]
    assert found and all(line.startswith("opencl:") for line in found)
    assert remark == "left out: opencl: Broken platform: the driver is gone"


def test_a_broken_library_is_not_a_crash(tmp_path: Path) -> None:
    for name in ("cupy", "pyopencl"):
        (tmp_path / f"{name}.py").write_text("raise AttributeError('half an installation')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True; import gpuredux, json"
    table = json.loads(fresh_python(f"{program}; print(json.dumps(gpuredux.backends.available()))"))
    for name in ("cupy", "opencl"):
        library = "cupy" if name == "cupy" else "pyopencl"
        assert table[name] == [f"cannot run: {name}: installed but broken: import {library} raises AttributeError: half an installation"]


def test_a_device_is_one_context(device_target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread comes first, and however often a tier is forced: constants and plans are kept by Device."""
    if device_target.backend.name != "opencl":
        pytest.skip("only OpenCL has contexts and default queues of ours")
    import pyopencl

    opencl, device = backends.OPENCL, device_target.device
    assert opencl.force_warp_tier(device, device.warp) is device
    assert opencl.force_warp_tier(device, 3) is opencl.force_warp_tier(device, 3)
    context, start, got = pyopencl.Context(device.handle.devices), threading.Barrier(4), []

    class Slow(dict[int, Any]):
        """Gives the other threads time between the look and what follows from it."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            time.sleep(0.02)
            return found

    monkeypatch.setattr(backends, "_queues", Slow(backends._queues))

    def work() -> None:
        start.wait()
        mine = opencl._device(context)
        got.append((id(mine), id(opencl._queue(mine, None))))

    pool = [threading.Thread(target=work) for _ in range(4)]
    for t in pool:
        t.start()
    for t in pool:
        t.join()
    assert len(got) == 4 and len(set(got)) == 1


# ---------------------------------------------------------------------------------------------------------------- simulate
def test_no_two_random_streams_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants, dark frames of each stage and event frames: no two begin alike. numpy pads a seed with zeros: (0, 1) and (0, 1, 0) are one."""
    started: list[bytes] = []
    begin = Simulation._rng

    def rng(self: Simulation, *stream: int) -> np.random.Generator:
        made = begin(self, *stream)
        started.append(made.bit_generator.state["state"]["state"].tobytes())
        return made

    monkeypatch.setattr(Simulation, "_rng", rng)
    for seed in (0, 1, 2):
        sim = Simulation((16, 16), seed=seed, peak_width=0.5)
        sim.frames(0, 8)
        for gain in (None, 0, 1, 2):
            sim.darks(8, gain)
    assert len(set(started)) == len(started) > 3 * (8 + 4 * 8)


# ---------------------------------------------------------------------------------------------------------------- device.h
WARPS = """
KERNEL(128) warps(GLOBAL const u32 *x, GLOBAL u32 *out) {
    WARP_SCRATCH(w, 128);
    u32 i = BLOCK * 128u + LID, v = x[i];
    GLOBAL u32 *o = out + i * 8u;
    o[0] = warp_ballot(w, (v & 1u) != 0u);
    o[1] = warp_shuffle(w, v, v >> 8 & 31u);
    o[2] = warp_shuffle_xor(w, v, 21u);
    o[3] = warp_scan(w, v);
    o[4] = warp_sum(w, v);
    o[5] = warp_max(w, v);
    o[6] = warp_scan(w, warp_shuffle(w, warp_sum(w, v) + LANE, 31u - LANE));
    o[7] = LANE | WARP << 8 | BLOCK << 16;
}"""
BLOCKS = """
KERNEL(128) blocks(GLOBAL const u32 *x, GLOBAL u32 *out) {
    WARP_SCRATCH(w, 128);
    SHARED u32 sums[4];
    GLOBAL u32 *o = out + (BLOCK * 128u + LID) * 8u;
    u32 total = 0u, carry = 0u;
    for (u32 k = 0; k < 4u; k++) {
        o[2u * k] = carry + block_scan(w, sums, x[BLOCK * 128u + LID] >> k, &total);
        o[2u * k + 1u] = total;
        carry += total;
        SYNC;
    }
}"""
SCALARS = """
KERNEL(128) scalars(GLOBAL const u32 *x, GLOBAL u32 *out) {
    u32 v = x[LID];
    f32 f = bits_f32(v);
    out[LID * 8u] = count_ones(v);
    out[LID * 8u + 1u] = leading_zeros(v);
    out[LID * 8u + 2u] = trailing_zeros(v);
    out[LID * 8u + 3u] = f32_bits(f);
    out[LID * 8u + 4u] = f32_bits(rint_f32(f));
    out[LID * 8u + 5u] = f32_bits(abs_f32(f));
    out[LID * 8u + 6u] = f32_bits(f * 3.0f - 1.0f);
    out[LID * 8u + 7u] = f32_bits(fma_f32(f, 3.0f, -1.0f));
}"""


def run_source(target: Target, source: str, kernel: str, x: np.ndarray, blocks: int) -> np.ndarray:
    device_h = (Path(gpuredux.__file__).parent / "device.h").read_text()
    built = target.backend.compile(target.device, f"#define WARP_TIER {target.device.warp}\n{device_h}{source}", kernel)
    out = target.put(np.zeros((len(x), 8), np.uint32))
    target.backend.launch(built, target.device, (blocks,), 128, (target.put(x), out), None)
    return target.get(out).T


def test_warp_operations(device_target: Target) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2**32, (12, 32), dtype=np.uint32)
    x[3], x[4] = 0, 0xFFFFFFFF
    got = run_source(device_target, WARPS, "warps", x.reshape(-1), 3).reshape(8, 12, 32)
    lane = np.arange(32)
    total = x.sum(1, dtype=np.uint32)[:, None]
    want = [
        ((x & 1) << lane).sum(1, dtype=np.uint32)[:, None] + 0 * x, np.take_along_axis(x, (x >> 8 & 31).astype(int), 1), x[:, lane ^ 21],
        x.cumsum(1, dtype=np.uint32), total + 0 * x, x.max(1)[:, None] + 0 * x, (total + (31 - lane).astype(np.uint32)).cumsum(1, dtype=np.uint32),
        lane | np.arange(12)[:, None] % 4 << 8 | np.arange(12)[:, None] // 4 << 16,
    ]
    for name, a, b in zip(("ballot", "shuffle", "shuffle_xor", "scan", "sum", "max", "scan of shuffle of sum", "indices"), got, want, strict=True):
        assert np.array_equal(a, b), name


def test_block_scan(device_target: Target) -> None:
    """Four in a row, each on top of the totals before."""
    x = np.random.default_rng(3).integers(0, 2**32, (3, 128), dtype=np.uint32)
    got = run_source(device_target, BLOCKS, "blocks", x.reshape(-1), 3).reshape(8, 3, 128)
    carry = np.zeros((3, 1), np.uint32)
    for k in range(4):
        up_to = (x >> np.uint32(k)).cumsum(1, dtype=np.uint32)
        assert np.array_equal(got[2 * k], carry + up_to) and np.array_equal(got[2 * k + 1], np.broadcast_to(up_to[:, -1:], (3, 128)))
        carry = carry + up_to[:, -1:]


def test_scalar_functions(device_target: Target) -> None:
    """Subnormals survive, rint ties go to even, a * b + c is rounded twice and fma once."""
    f = np.array([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 1e-45, -1e-45, 1e-39, np.inf, -np.inf, 0.1, 0.33333334, 1 / 3 + 1e-7, 8388607.5, 3e38], np.float32)
    rng = np.random.default_rng(2)
    x = np.concatenate([f.view(np.uint32), np.array([1, 2, 0x80000000], np.uint32), rng.uniform(0.2, 0.5, 109).astype(np.float32).view(np.uint32)])
    got, v = run_source(device_target, SCALARS, "scalars", x, 1), x.view(np.float32)
    ints = [int(k) for k in x]
    with np.errstate(over="ignore"):
        twice, once = v * np.float32(3) - np.float32(1), (v.astype(np.float64) * 3 - 1).astype(np.float32)
    want = [
        [k.bit_count() for k in ints], [32 - k.bit_length() for k in ints], [(k & -k).bit_length() - 1 if k else 32 for k in ints], x,
        np.rint(v).view(np.uint32), np.abs(v).view(np.uint32), twice.view(np.uint32), once.view(np.uint32),
    ]
    assert (twice != once).any()
    for name, a, b in zip(("ones", "leading", "trailing", "bits", "rint", "abs", "no contraction", "fma"), got, want, strict=True):
        assert np.array_equal(a, np.asarray(b, np.uint32)), name


def test_a_compiler_error_points_into_the_kernel(device_target: Target) -> None:
    source = backends.kernel_source("calib/gain.cl", device_target.device.warp, (), {})      # VECTOR and all else undefined
    with pytest.raises(Exception, match=r"gain\.cl"):
        device_target.backend.compile(device_target.device, source, "gain")


def test_numpy_is_always_a_target() -> None:
    assert NUMPY.backend.devices() == (NUMPY.device,)


def test_arrays_of_another_device_or_an_unordered_queue(device_target: Target) -> None:
    """Every array of a run lies on the plan's device, and kernels follow one another."""
    if device_target.backend.name != "opencl":
        pytest.skip("OpenCL: the second CUDA device that this would need is not known to be there")
    import pyopencl

    plan, there = a_gain().plan(device_target.put(words())), device_target.put(words())
    context = pyopencl.Context(device_target.device.handle.devices)
    own = pyopencl.CommandQueue(context)
    with pytest.raises(ValueError, match=r"^calib\.gain: raw is on opencl:.*, the plan on opencl:.*; move it there$"):
        plan(pyopencl.array.to_device(own, words()))
    with pytest.raises(ValueError, match=r"^calib\.gain: energy is on opencl:.*; move it there$"):
        plan(there, out=pyopencl.array.empty(own, (3, *FRAME), np.float32))
    unordered = pyopencl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE
    if not device_target.device.handle.devices[0].queue_properties & unordered:
        pytest.skip("this OpenCL device has no queue that runs out of order")
    with pytest.raises(ValueError, match=r"^opencl: kernels of a plan follow one another; pass a queue that runs in order"):
        a_gain().plan(there, stream=pyopencl.CommandQueue(device_target.device.handle, properties=unordered))


def test_sharing_when_the_main_thread_has_ended():
    """A thread that outlives it, and what runs at exit, do all items themselves: Python starts no threads any more."""
    words = """
import atexit, threading, numba, numpy as np
from gpuredux.backends import share
numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
def fill(first, last, x):
    x[first:last] += 1
def work(name):
    x = np.zeros(9)
    share(fill, 9, x)
    print(name, bool((x == 1).all()), flush=True)
work("early")
atexit.register(work, "exit")
threading.Thread(target=lambda: (threading.main_thread().join(), work("late"))).start()
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, "early True late True exit True".split(), "")
