"""The contract: one body over every op x backend x case; numpy is the specification. Over 200 lines: the body, its guards and its pairs."""

from __future__ import annotations

import json
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from conftest import NUMPY, Target
from fringes import Fringes

import gpuredux
from gpuredux.datasets.cases import CASES, FEEDING, SIZED, Case
from gpuredux.op import Op, Spec, nbytes, op_writes


def nothing(*_: Any) -> tuple[()]:
    """Of an op without a generator: test_every_op_has_cases names it."""
    return ()


ALL = [case for name in gpuredux.OPS for case in CASES.get(name, nothing)()]
EACH = {case.op.name: case for case in ALL if min(len(next(iter(case.inputs.values()))), *case.inputs.get("live", [1])) > 0}     # writes something
DIRT, OTHER_DIRT = 0xA5, 0x5A     # no byte in common: where both survive a run, nothing was written


def of(case: Case) -> str:
    return f"{case.op.name}-{case.name}"


class Guarded:
    """An array on a target with one more row behind it, which nobody may read into a result or write."""

    def __init__(self, target: Target, rows: np.ndarray, guard: int, shift: int = 0) -> None:
        self.target = target
        whole = np.empty((len(rows) + 1, *rows.shape[1:]), rows.dtype)
        whole[:-1] = rows
        whole[-1:].view(np.uint8)[...] = guard
        self.before = whole
        self.base = shifted(whole, shift) if not target.backend.kernels else target.put(whole)
        self.array = self.base[:-1]

    def bytes(self) -> np.ndarray:
        """All bytes, the guard's too."""
        whole = self.target.get(self.base)
        assert whole.dtype == self.before.dtype
        return np.ascontiguousarray(whole).reshape(-1).view(np.uint8)

    def lock(self) -> None:
        if isinstance(self.array, np.ndarray):
            self.array.setflags(write=False)

    def check_unchanged(self) -> None:
        assert np.array_equal(self.bytes(), self.before.reshape(-1).view(np.uint8)), "an input was written"


def shifted(x: np.ndarray, elements: int) -> np.ndarray:
    """A copy that begins so many elements behind a multiple of 64 bytes: host arrays may lie anywhere."""
    shift = elements * x.dtype.itemsize
    room = np.empty(x.nbytes + 64 + shift, np.uint8)
    start = -room.ctypes.data % 64 + shift
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def guarded_inputs(target: Target, inputs: dict[str, np.ndarray], shift: int = 0) -> dict[str, Guarded]:
    held = {k: Guarded(target, v, 0xFF, shift) for k, v in inputs.items()}
    for g in held.values():
        g.lock()
    return held


def plan_of(target: Target, op: Op, held: dict[str, Guarded]) -> gpuredux.Plan:
    return op.plan(**{k: g.array for k, g in held.items()}, backend=target.backend.name)


def run(target: Target, plan: gpuredux.Plan, held: dict[str, Guarded], dirt: int, shift: int = 0) -> dict[str, np.ndarray]:
    """The bytes of each out, guard row included, after a run over outs filled with dirt."""
    outs = {s.name: Guarded(target, np.full(s.nbytes, dirt, np.uint8).view(s.dtype).reshape(s.shape), dirt, shift) for s in plan.outs}
    result = plan(**{k: g.array for k, g in held.items()}, out=[o.array for o in outs.values()])
    target.backend.wait(target.device)
    if len(outs) > 1:
        assert result._fields == tuple(outs)
    written = {name: o.bytes() for name, o in outs.items()}
    for name, o in outs.items():
        guard = o.before[-1:].nbytes
        assert (written[name][-guard:] == dirt).all(), f"{name}: written behind its end"
    return written


def index_of(case: Case) -> int:
    """Its place in ALL (arrays have no one truth, so cases cannot be compared)."""
    return next(i for i, c in enumerate(ALL) if c is case)


@cache
def reference(index: int, dirt: int) -> dict[str, np.ndarray]:
    """What numpy, the specification, makes of a case."""
    held = guarded_inputs(NUMPY, ALL[index].inputs)
    plan = plan_of(NUMPY, ALL[index].op, held)
    with np.errstate(all="ignore"):
        return run(NUMPY, plan, held, dirt)


def compare(got: dict[str, np.ndarray], want: dict[str, np.ndarray], plan: gpuredux.Plan, what: str) -> None:
    assert list(got) == list(want)
    for spec in plan.outs:
        a, b = got[spec.name], want[spec.name]
        if not np.array_equal(a, b):
            size = spec.dtype.itemsize
            where = np.unique(np.flatnonzero(a != b) // size)
            first = [(tuple(map(int, np.unravel_index(i, (spec.shape[0] + 1, *spec.shape[1:])))), a[i * size :][:size].view(spec.dtype)[0],
                      b[i * size :][:size].view(spec.dtype)[0]) for i in where[:4]]
            pytest.fail(f"{what}: {spec.name} {spec.dtype} {spec.shape}: {len(where)} elements differ; (index, got, specified): {first}")


@pytest.mark.parametrize("case", ALL, ids=of)
def test_contract(target: Target, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(case)
    want, other = reference(index, DIRT), reference(index, OTHER_DIRT)
    fringes = Fringes(target.backend)
    monkeypatch.setattr(target.backend, "empty", fringes)
    held = guarded_inputs(target, case.inputs)
    plan = plan_of(target, case.op, held)
    compare(run(target, plan, held, DIRT), want, plan, "first run")
    shifted_held = guarded_inputs(target, case.inputs, 1)
    compare(run(target, plan, shifted_held, OTHER_DIRT, 1), other, plan, "second run of the same plan, other dirt, host arrays shifted by one element")
    for g in held.values():
        g.check_unchanged()
    fresh = plan(**{k: g.array for k, g in held.items()})
    for spec, a in zip(plan.outs, fresh if len(plan.outs) > 1 else [fresh], strict=True):
        got = np.ascontiguousarray(target.get(a)).reshape(-1).view(np.uint8)
        assert (tuple(a.shape), a.dtype) == (spec.shape, spec.dtype)
        must = want[spec.name][: got.size] == other[spec.name][: got.size]
        assert np.array_equal(got[must], want[spec.name][: got.size][must]), f"{spec.name}: other bytes without out="
    dead = dead_rows_replaced(case)
    if dead is not None:
        compare(run(target, plan, guarded_inputs(target, dead), DIRT), want, plan, "other values in the rows that are not live")
    fringes.check()
    check_plan(plan)


def case_on(target: Target, name: str, stream: Any) -> tuple[gpuredux.Plan, dict[str, Any], dict[str, Any], dict[str, np.ndarray]]:
    """On a target: a plan of an op's one case on this stream, its inputs, outs full of dirt, and what numpy makes of it."""
    index = index_of(EACH[name])
    inputs = {k: target.put(v) for k, v in ALL[index].inputs.items()}
    plan = ALL[index].op.plan(**inputs, backend=target.backend.name, stream=stream)
    outs = {s.name: target.put(np.full(s.nbytes, DIRT, np.uint8).view(s.dtype).reshape(s.shape)) for s in plan.outs}
    want = {s.name: reference(index, DIRT)[s.name][: s.nbytes] for s in plan.outs}
    assert all((w != DIRT).any() for w in want.values())
    target.backend.wait(target.device)      # what was put is there, for other streams too
    return plan, inputs, outs, want


def bytes_of(target: Target, x: Any, stream: Any = None) -> np.ndarray:
    return np.ascontiguousarray(target.backend.get(x, stream)).reshape(-1).view(np.uint8)


@pytest.mark.parametrize("name", EACH)
def test_all_of_a_run_is_on_its_stream(device_target: Target, name: str) -> None:
    """The stream is held by an event: a run of its plan returns, and nothing is written until the event comes."""
    if device_target.backend.name != "opencl":
        pytest.skip("only OpenCL has events that the host sets; on CUDA, a graph shows what is on its stream")
    import pyopencl

    queue = pyopencl.CommandQueue(device_target.device.handle)
    plan, inputs, outs, want = case_on(device_target, name, queue)
    gate = pyopencl.UserEvent(device_target.device.handle)
    try:
        pyopencl.enqueue_barrier(queue, wait_for=[gate])
        plan(**inputs, out=list(outs.values()))
        for k, x in outs.items():
            assert (bytes_of(device_target, x) == DIRT).all(), f"{k} was written past the stream"
    finally:
        gate.set_status(pyopencl.command_execution_status.COMPLETE)
    device_target.backend.wait(device_target.device, queue)
    for k, x in outs.items():
        assert np.array_equal(bytes_of(device_target, x), want[k]), k


@pytest.mark.parametrize("name", EACH)
def test_a_run_in_a_cuda_graph(device_target: Target, name: str) -> None:
    """On a stream that the default one does not wait for: run, captured without allocating, and the graph launched twice."""
    if device_target.backend.name != "cupy":
        pytest.skip(f"no CUDA graphs on {device_target.backend.name}: they need a CUDA device and cupy")
    import cupy

    def no_allocation(size: int) -> Any:
        raise AssertionError(f"a run asked for {size} bytes")

    def check_and_soil() -> None:
        stream.synchronize()
        for k, x in outs.items():
            assert np.array_equal(bytes_of(device_target, x), want[k]), k
            x.view(np.uint8).fill(DIRT)
        device_target.backend.wait(device_target.device)

    with cupy.cuda.Device(device_target.device.index):
        stream = cupy.cuda.Stream(non_blocking=True)
        plan, inputs, outs, want = case_on(device_target, name, stream)
        plan(**inputs, out=list(outs.values()))
        check_and_soil()
        with stream, cupy.cuda.using_allocator(no_allocation):
            stream.begin_capture()
            plan(**inputs, out=list(outs.values()))
            graph = stream.end_capture()
        for k, x in outs.items():
            assert (bytes_of(device_target, x) == DIRT).all(), f"{k} was written past the stream"
        for _ in range(2):
            graph.launch(stream=stream)
            check_and_soil()


def dead_rows_replaced(case: Case) -> dict[str, np.ndarray] | None:
    """The same inputs with other bytes in every row at or beyond live."""
    if "live" not in case.inputs:
        return None
    first = max(0, int(case.inputs["live"][0]))
    changed = {k: v.copy() for k, v in case.inputs.items()}
    for k, v in changed.items():
        if k not in ("live", *case.op.state):       # a state has no rows of the batch
            v[first:].view(np.uint8)[...] ^= 0x7F
    return changed


def check_plan(plan: gpuredux.Plan) -> None:
    """What the plan says of itself: one pass, its traffic at least the inputs that must be given, and not more than everything."""
    (only,) = plan.passes
    traffic = plan.op.traffic(*plan.specs)
    assert only == (plan.op.name, traffic) and isinstance(traffic, int)
    needed = [s for s, n in zip(plan.specs, plan.op.inputs, strict=True) if not n.endswith("?") and n not in LISTS and (plan.op.name, n) not in UNREAD]
    constants = [*plan.op.constants().values(), *(a for s in plan.op.statics() for a in s.arrays().values())]
    everything = nbytes(*plan.specs) + nbytes(*plan.outs) + nbytes(*constants)
    assert 0 <= traffic <= everything
    if plan.specs[0].shape[0]:
        assert traffic >= nbytes(*needed) > 0


UNREAD = (("calib.status_count", "energy"),)
LISTS = ("payload", "outlier_index", "outlier_value")     # of a fixed capacity: how much of it is read depends on the data


# A decoder's input may be damaged; an encoder that was not told its frames (shape=None) cannot say what decodes them.
INVERTIBLE = [c for c in ALL if type(c.op).inverse is not Op.inverse and c.op.inputs[0] not in LISTS and getattr(c.op, "shape", ()) is not None]


@pytest.mark.parametrize("case", INVERTIBLE, ids=of)
def test_inverse_gives_the_input_back(target: Target, case: Case) -> None:
    """Within op.bound (0 = the same bits), for every pixel in use of every live frame whose lists did not overflow."""
    held = guarded_inputs(target, case.inputs)
    out = plan_of(target, case.op, held)(**{k: g.array for k, g in held.items()})
    named = out._asdict() if hasattr(out, "_asdict") else {plan_of(target, case.op, held).outs[0].name: out}
    inverse = case.op.inverse()
    again = inverse.plan(**{k: v for k, v in named.items() if k in inverse.input_names}, backend=target.backend.name)(
        **{k: v for k, v in named.items() if k in inverse.input_names})
    x = next(iter(case.inputs.values()))
    y = target.get(again if not hasattr(again, "_asdict") else again[0])
    rows = np.arange(len(x)) < (case.inputs["live"][0] if "live" in case.inputs else len(x))
    if "outlier_count" in named:
        rows &= target.get(named["outlier_count"]) <= case.op.capacity
    use = np.broadcast_to(rows.reshape(-1, *[1] * (x.ndim - 1)), x.shape).copy()
    if getattr(case.op, "good", None) is not None:
        use &= case.op.good
    if "pixel_status" in case.inputs:
        use &= case.inputs["pixel_status"] == 0
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    same = (x.view(np.uint8) == np.ascontiguousarray(y).view(np.uint8)).reshape(x.size, x.itemsize).all(axis=1).reshape(x.shape)
    if getattr(case.op, "bound", 0):
        with np.errstate(invalid="ignore", over="ignore"):
            allowed = case.op.bound_on(x) if hasattr(case.op, "bound_on") else case.op.bound
            same |= np.abs(x.astype(np.float64) - y.astype(np.float64)) <= allowed
    assert same[use].all(), f"{(~same[use]).sum()} of {use.sum()} values do not come back"


@pytest.mark.parametrize("name", EACH)
def test_op_as_an_object(name: str) -> None:
    op = EACH[name].op
    json.dumps(op.config())
    again = pickle.loads(pickle.dumps(op))
    assert again.digest() == op.digest() and type(again) is type(op)
    for k, v in again.constants().items():
        assert np.array_equal(v.view(np.uint8), op.constants()[k].view(np.uint8))
    for v in (*vars(op).values(), *vars(again).values()):
        assert not isinstance(v, np.ndarray) or not v.flags.writeable


@pytest.mark.parametrize("name", EACH)
def test_two_calls_share_no_output(name: str) -> None:
    case = EACH[name]
    inputs = {k: v.copy() for k, v in case.inputs.items()}
    one, two = (tuple(np.asarray(a) for a in (out if isinstance(out, tuple) else (out,))) for out in (case.op(**inputs, backend="numba") for _ in range(2)))
    assert not any(np.shares_memory(a, b) for a in one for b in (*two, *inputs.values()))


@pytest.mark.parametrize("name", EACH)
def test_every_input_is_checked(name: str) -> None:
    case = EACH[name]
    first = case.op.input_names[0]
    for key, value in case.inputs.items():
        rows = np.zeros((), value.dtype) if key == first else np.concatenate([value, value[:1]])
        for wrong, error in ((value.astype(object), TypeError), (rows, ValueError), (list(value), TypeError)):
            with pytest.raises(error, match=rf"^{name}: (.*\b{key}\b.* got |.*builtins.list)"):
                case.op.plan(**{**case.inputs, key: wrong}, backend="numpy")
        if key + "?" not in case.op.inputs:
            with pytest.raises(TypeError, match=rf"^{name}: input '{key}' is missing"):
                case.op.plan(**{k: v for k, v in case.inputs.items() if k != key})
    with pytest.raises(TypeError, match=rf"^{name}: input 'nonsense' is unknown"):
        case.op.plan(**case.inputs, nonsense=value)


def test_every_op_has_cases() -> None:
    assert set(CASES) == set(SIZED) == set(gpuredux.OPS)
    assert set(FEEDING) == {name for name, op in gpuredux.OPS.items() if op.loads}


def pixel_output(case: Case) -> Spec:
    """What a per-pixel op makes of a case."""
    return next(o for o in case.op.outputs(*case.op.bind((), case.inputs)) if o.name == case.op.pixel_output)


def pairs() -> list[Any]:
    """Cases of every per-pixel producer x every consumer of its output: two ops that a Chain may make one pass."""
    found = []
    for producer in [c for c in ALL if c.fuse]:
        n, *frame = pixel_output(producer).shape
        for name in [k for k, op in gpuredux.OPS.items() if op.loads[:1] == (producer.op.pixel_output,) and k != producer.op.name]:
            given = {o.name for o in producer.op.outputs(*producer.op.bind((), producer.inputs))}
            fits = [c for c in FEEDING.get(name, nothing)(tuple(frame), n) if {i for i in c.op.inputs if not i.endswith("?")} <= given | set(c.inputs)]
            found += [pytest.param(producer, c, id=f"{of(producer)}+{name}-{c.name}") for c in fits]
    return found


def by_steps(ops: list[Op], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The chain's outputs as numpy makes them one op after the other, over dirty outs."""
    known = {"frame_status": np.zeros(len(next(iter(inputs.values()))), np.uint32), **inputs}     # a chain starts it at zero
    for op in ops:
        held = guarded_inputs(NUMPY, {k: v for k, v in known.items() if k in op.input_names})
        plan = plan_of(NUMPY, op, held)
        with np.errstate(all="ignore"):
            written = run(NUMPY, plan, held, DIRT)
        known |= {s.name: written[s.name][: s.nbytes].view(s.dtype).reshape(s.shape) for s in plan.outs}
    return known


@pytest.mark.parametrize(("producer", "consumer"), pairs())
def test_fused_is_unfused(target: Target, producer: Case, consumer: Case) -> None:
    ops, inputs = [producer.op, consumer.op], producer.inputs | consumer.inputs
    want = by_steps(ops, inputs)
    held = guarded_inputs(target, inputs)
    written = [s.name for op in ops for s in op.outputs(*op.bind([], {k: v for k, v in want.items() if k in op.input_names}))]
    for keep in (None, list(dict.fromkeys(written))):
        plan = plan_of(target, gpuredux.Chain(ops, keep=keep), held)
        got = run(target, plan, held, DIRT)
        for spec in plan.outs:
            assert np.array_equal(got[spec.name][: spec.nbytes], want[spec.name].reshape(-1).view(np.uint8)), f"{spec.name}, keep={keep}"
        if target.backend.kernels:
            names = [p.ops for p in plan.passes]
            fused = f"{producer.op.name} + {consumer.op.name}"
            wanted = {s.name for s in plan.outs} & op_writes(producer.op) - op_writes(consumer.op)     # gain_stage too, where nobody reads it
            alone = wanted and not (consumer.op.stores and "frame_status" not in wanted)
            assert names == ([producer.op.name, fused] if alone else [fused]), "the plan's list of passes"
            assert keep is not None or wanted <= {"gain_stage", "frame_status"}
            assert plan.passes[-1].traffic < plan.op.traffic(*plan.specs) or plan.specs[0].shape[0] == 0
