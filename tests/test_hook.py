"""features.hook: what a callable gets and gives, by arrays and by DLPack; what it may not do. Over 200 lines: a cheap test for each refusal."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import Target

from gpuredux import Chain
from gpuredux.calib import Gain
from gpuredux.features import Hook
from gpuredux.veto import Compact
from gpuredux.veto.decision import Reason

N, SHAPE = 6, (5, 7)
SCORE = {"score": ("n", "float32")}


class Tensor:
    """What another library's tensor is to us: DLPack and nothing else."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def __dlpack__(self, **asked: Any) -> Any:
        return self._x.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._x.__dlpack_device__()


class Elsewhere(Tensor):
    """A tensor on a CUDA device."""

    def __dlpack__(self, **asked: Any) -> Any:
        raise BufferError("data lies on cuda:0")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


def means(x: Any) -> Any:
    return x.reshape(len(x), -1).mean(1).astype("float32")


def bright(x: Any) -> dict[str, Any]:
    """A veto's decision, of the mean; and the frames less it."""
    mean = means(x)
    decision = np.zeros((len(x), 4), np.int32)
    decision[:, 0] = mean > 10
    decision[:, 2] = np.where(mean > 10, Reason.KEPT, Reason.TOO_FEW)
    decision[:, 3] = mean.view(np.int32)
    return {"decision": decision, "flat": Tensor(x - mean[:, None, None])}


class Network:
    """An object with weights."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, x: Any, marks: Any) -> tuple[Any]:
        return (((x * self.weight) * (marks == 0)).sum((1, 2)),)


BRIGHT = {"decision": ("n", 4, "int32"), "flat": ("n", "frame", np.float32)}


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).normal(10, 3, (N, *SHAPE)).astype(np.float32) + np.arange(-N // 2, N - N // 2, dtype=np.float32)[:, None, None]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_what_the_callable_makes_arrives(frames: np.ndarray, backend: str) -> None:
    got = Hook(means, SCORE, "1")(frames, backend=backend)
    np.testing.assert_allclose(got, frames.astype(np.float64).mean((1, 2)), rtol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("rows", [0, 1, 4, N, N + 3, -2])
def test_rows_beyond_live_are_not_written(frames: np.ndarray, rows: int) -> None:
    out, live = np.full(N, -7, np.float32), min(max(rows, 0), N)
    Hook(means, SCORE, "1")(frames, live=np.array([rows], np.int32), out=out)
    np.testing.assert_allclose(out[:live], frames[:live].mean((1, 2)), rtol=1e-6)
    assert (out[live:] == -7).all()


def test_on_cuda(device_target: Target, frames: np.ndarray) -> None:
    """CuPy's arrays, on the plan's stream, by DLPack too; rows beyond live stay."""
    if device_target.backend.name != "cupy":
        pytest.skip(f"no CUDA device: {device_target.backend.name} cannot hand arrays to a callable")
    import cupy

    stream, x = cupy.cuda.Stream(non_blocking=True), device_target.put(frames)
    device_target.backend.wait(device_target.device)
    seen: list[Any] = []

    def infer(x: Any) -> Any:
        seen.append(cupy.cuda.get_current_stream().ptr)
        return Tensor(means(cupy.from_dlpack(Tensor(x))))

    plan = Hook(infer, SCORE, "1").plan(x, stream=stream)
    got = plan(x)
    out = device_target.put(np.full(N, -7, np.float32))
    Hook(means, SCORE, "1").plan(x, live=device_target.put(np.array([4], np.int32)))(x, live=device_target.put(np.array([4], np.int32)), out=out)
    stream.synchronize()
    device_target.backend.wait(device_target.device)
    assert seen == [stream.ptr]
    np.testing.assert_allclose(device_target.get(got), frames.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(device_target.get(out), np.where(np.arange(N) < 4, frames.mean((1, 2)), -7), rtol=1e-5)
    with pytest.raises(TypeError, match=r"^features\.hook: score must come as an array of cupy|score came as"):
        Hook(lambda x: np.zeros(N, np.float32), SCORE, "1")(x)


def test_several_inputs_and_an_object(frames: np.ndarray) -> None:
    marks = (frames > 12).astype(np.uint8)
    hook = Hook(Network(0.5), SCORE, "epoch 7", of=("energy", "pixel_status"))
    np.testing.assert_allclose(hook(frames, marks), np.where(marks == 0, frames * 0.5, 0).sum((1, 2)), rtol=1e-5)
    assert hook.config()["call"] == f"{__name__}:Network"


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_between_gain_and_compaction(backend: str) -> None:
    """Gain -> Hook -> Compact: the frames that the callable keeps, and what it made of them, move to the front."""
    rng = np.random.default_rng(5)
    pedestal, factor = rng.normal(3000, 20, (3, *SHAPE)).astype(np.float32), np.full((3, *SHAPE), 40, np.float32)
    raw = (pedestal[0] + np.array([0, 900, 100, 800, 2, 700])[:, None, None]).astype(np.uint16)
    chain = Chain([Gain(pedestal, factor), Hook(bright, BRIGHT, "1"), Compact(names=("energy", "flat"))], keep=("energy", "flat", "source", "live"))
    got = chain(raw, backend=backend)
    energy = (raw - pedestal[0].astype(np.float64)) / 40
    want = np.flatnonzero(energy.mean((1, 2)) > 10)
    assert list(want) == [1, 3, 5] and got.live[0] == 3 and np.array_equal(got.source[:3], want)
    np.testing.assert_allclose(got.energy[:3], energy[want], atol=1e-4)
    np.testing.assert_allclose(got.flat[:3], (energy - energy.mean((1, 2), keepdims=True))[want], atol=1e-4)


def test_torch_by_dlpack(frames: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(35, 3))
    weight, bias = (p.detach().numpy().astype(np.float64) for p in layer[1].parameters())

    def infer(x: Any) -> Any:
        with torch.no_grad():
            return layer(torch.from_dlpack(x))

    got = Hook(infer, {"probability": ("n", 3, "float32")}, "1")(frames)
    np.testing.assert_allclose(got, frames.reshape(N, -1) @ weight.T + bias, rtol=1e-3, atol=1e-4)
    with pytest.raises(TypeError, match=r"^features\.hook: score came as torch\.Tensor, which numpy cannot take: "):     # it still wants its gradient
        Hook(lambda x: layer(torch.from_dlpack(x))[:, 0], SCORE, "1")(frames)


def test_no_row_no_call() -> None:
    def never(x: Any) -> Any:
        raise AssertionError("called")

    assert Hook(never, {"map": ("n", "frame", "uint8")}, "1")(np.zeros((0, *SHAPE), np.float32)).shape == (0, *SHAPE)


def test_it_cannot_write_what_it_reads(frames: np.ndarray) -> None:
    def write(x: Any) -> Any:
        x[0] = 0
        return means(x)

    with pytest.raises(ValueError, match="read-only"):
        Hook(write, SCORE, "1")(frames)


def test_it_can_be_told_from_another(frames: np.ndarray) -> None:
    one = Hook(means, SCORE, "1")
    assert one.config() == {"call": f"{__name__}:means", "outputs": {"score": ["n", "float32"]}, "version": "1", "of": ["energy"]}
    json.dumps(one.config())
    again = pickle.loads(pickle.dumps(one))
    assert again.digest() == one.digest() == Hook(means, {"score": ["n", np.float32]}, "1", of=["energy"]).digest()
    assert np.array_equal(again(frames), one(frames))
    others = (Hook(means, SCORE, "2"), Hook(bright, SCORE, "1"), Hook(means, {"score": ("n", "float64")}, "1"), Hook(means, SCORE, "1", of="photons"))
    assert len({one.digest(), *(h.digest() for h in others)}) == 5


@pytest.mark.parametrize(("made", "error", "message"), [
    (lambda x: x.mean((1, 2), dtype="float64"), TypeError, r"score must be float32 \(6,\) as declared, got float64 \(6,\)"),
    (lambda x: means(x)[:, None], ValueError, r"score must be float32 \(6,\) as declared, got float32 \(6, 1\)"),
    (lambda x: means(x)[:3], ValueError, r"score must be float32 \(6,\) as declared, got float32 \(3,\)"),
    (lambda x: means(x).tolist(), ValueError, r"must return 1 \(score\), got 6"),
    (lambda x: 3.5, TypeError, "score must come as an array of numpy or with __dlpack__, got float"),
    (lambda x: (means(x), means(x)), ValueError, r"must return 1 \(score\), got 2"),
    (lambda x: {"other": means(x)}, ValueError, "must return score, got other"),
    (lambda x: Elsewhere(means(x)), TypeError, r"score came as .*Elsewhere, which numpy cannot take: .*"),
])
def test_what_was_not_declared_is_refused(frames: np.ndarray, made: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^features\.hook: .*{message}"):
        Hook(made, SCORE, "1")(frames)


@pytest.mark.parametrize(("fields", "error", "message"), [
    ({"call": 3}, TypeError, "call must be callable, got int"),
    ({"version": ""}, ValueError, "version must be a text"),
    ({"outputs": {}}, ValueError, "of and outputs must be names"),
    ({"outputs": {"live": ("n", "int32")}}, ValueError, "of and outputs must be names"),
    ({"of": ("energy", "energy")}, ValueError, "of and outputs must be names"),
    ({"outputs": {"score": ("rows", "float32")}}, ValueError, r"outputs\['score'\] must be"),
    ({"outputs": {"score": ("n", 0, "float32")}}, ValueError, r"outputs\['score'\] must be"),
    ({"outputs": {"score": "float32"}}, ValueError, r"outputs\['score'\] must be"),
    ({"outputs": {"score": ("n", "datetime64[s]")}}, TypeError, r"outputs\['score'\] must have a dtype of numbers"),
])
def test_a_wrong_field_says_so(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^features\.hook: {message}"):
        Hook(**{"call": means, "outputs": SCORE, "version": "1", **fields})


def test_wrong_inputs_say_so(frames: np.ndarray) -> None:
    hook = Hook(means, SCORE, "1", of=("energy", "marks"))
    for energy, marks, error in ((frames.astype(object), frames, TypeError), (frames, [1], TypeError), (frames, frames[:2], ValueError)):
        with pytest.raises(error, match=r"^features\.hook: (energy|marks) must be|builtins\.list"):
            hook.plan(energy, marks, backend="numpy")


def test_opencl_says_why(device_target: Target, frames: np.ndarray) -> None:
    if device_target.backend.name != "opencl":
        pytest.skip(f"{device_target.backend.name} is not OpenCL")
    with pytest.raises(TypeError, match=r"^features\.hook: arrays of opencl cannot be handed to a callable: they have no DLPack"):
        Hook(means, SCORE, "1").plan(device_target.put(frames))
    assert not hasattr(device_target.put(frames), "__dlpack__")
