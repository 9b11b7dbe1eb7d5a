"""A callable over a batch, a trained network say, as an operation with declared outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import Backend, Device
from ..op import Op, Plan, Spec, live_rows, nbytes, read_only

FRAME = "frame"     # in a shape: that of the first input's frames


@dataclass(frozen=True, eq=False)
class Hook(Op):
    """outputs = call(*inputs): what a callable makes of a whole batch, checked against what was declared, and copied.

    call gets the batches as they lie, of the plan's library: NumPy's on the host, CuPy's on CUDA, on the plan's stream; torch, ONNX Runtime and others take
    them by DLPack without a copy (torch.from_dlpack(x)). It must not write into them: NumPy's are read-only views (which NumPy gives by DLPack from 2.1 on;
    before, torch.as_tensor(x)). It returns an array (of one output), a sequence in the order declared or a mapping by name: of the plan's library, or what
    has __dlpack__ (a tensor), on the plan's device. Nothing is cast, moved or reshaped.
    It sees all n rows of the batch, whatever live says: rows at or beyond live hold anything, and what it makes of them is dropped, so that a row's result must
    depend on that row alone. With n = 0 it is not called. OpenCL: TypeError, for pyopencl has no DLPack. In a CUDA graph it can be captured if the callable
    can, and no live is given: nothing here waits, but a callable may.
    fields: call: to be pickled, it must lie in a module; outputs: name -> ("n", ..., dtype), where "frame" stands for the shape of the first input's frames,
            e.g. {"score": ("n", "float32"), "background": ("n", "frame", "float32")}; version: whatever tells this network from its next one: configuration
            and digest hold the callable's name and this; of: the name of the input, or the names of several, each (n, ...)
    in:  what `of` names; live (1,) i32
    out: what `outputs` declares
    exact: each value is the callable's own; whether two backends give the same is the callable's affair
    source: DLPack, https://dmlc.github.io/dlpack
    """

    name: ClassVar[str] = "features.hook"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "live?")

    call: Callable[..., Any]
    declared: dict[str, tuple[Any, ...]]
    version: str
    of: tuple[str, ...]

    def __init__(self, call: Callable[..., Any], outputs: Mapping[str, Sequence[Any]], version: str, of: str | Sequence[str] = "energy") -> None:
        self.__setstate__({"call": call, "declared": dict(outputs), "version": version, "of": (of,) if isinstance(of, str) else tuple(of)})
        if not callable(call):
            raise TypeError(f"{self.name}: call must be callable, got {type(call).__name__}")
        if not isinstance(version, str) or not version:
            raise ValueError(f"{self.name}: version must be a text that tells this callable from its next version, got {version!r}")
        taken = ("live", "frame_status")
        for some in (self.of, tuple(self.declared)):
            if not some or len({*some, *taken}) < len(some) + len(taken) or not all(isinstance(k, str) and k.isidentifier() for k in some):
                raise ValueError(f"{self.name}: of and outputs must be names, each once, other than {' and '.join(taken)}, got {some}")
        object.__setattr__(self, "declared", {k: self._shape(k, v) for k, v in self.declared.items()})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        object.__setattr__(self, "inputs", (*self.of, "live?"))
        object.__setattr__(self, "writes", tuple(self.declared))

    def _shape(self, name: str, given: Any) -> tuple[Any, ...]:
        """("n", ..., name of a dtype), checked."""
        words = tuple(given) if isinstance(given, (tuple, list)) else ()
        if len(words) < 2 or words[0] != "n" or any(k != FRAME and (isinstance(k, (str, bool)) or int(k) != k or k < 1) for k in words[1:-1]):
            raise ValueError(f'{self.name}: outputs[{name!r}] must be ("n", ..., dtype), sizes of 1 or more or "frame" between, got {given!r}')
        kind = np.dtype(words[-1])
        if kind.kind not in "biuf":
            raise TypeError(f"{self.name}: outputs[{name!r}] must have a dtype of numbers, got {kind}")
        return ("n", *(k if k == FRAME else int(k) for k in words[1:-1]), kind.name)

    @property
    def callable_name(self) -> str:
        """module:qualname of the callable; of an object, of its class."""
        named = self.call if hasattr(self.call, "__qualname__") else type(self.call)
        return f"{named.__module__}:{named.__qualname__}"

    def config(self) -> dict[str, Any]:
        return {"call": self.callable_name, "outputs": {k: list(v) for k, v in self.declared.items()}, "version": self.version, "of": list(self.of)}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        *batches, live = x
        for name, batch in zip(self.of, batches, strict=True):
            if not hasattr(batch, "shape") or not hasattr(batch, "dtype") or np.dtype(batch.dtype).kind not in "biuf":
                kind = getattr(batch, "dtype", type(batch).__name__)
                raise TypeError(f"{self.name}: {name} must be an array of numbers (n, ...), got {kind}")
            if not batch.shape or batch.shape[0] != batches[0].shape[0]:
                raise ValueError(f"{self.name}: {name} must be (n, ...) with as many rows as {self.of[0]}, got {tuple(batch.shape)}")
        self.require_live(live)
        n, *frame = batches[0].shape
        shapes = {k: tuple(s for d in words[1:-1] for s in (frame if d == FRAME else (d,))) for k, words in self.declared.items()}
        return tuple(Spec(k, (n, *shapes[k]), np.dtype(words[-1])) for k, words in self.declared.items())

    def traffic(self, *x: Any) -> int:
        """The batches once, the outputs; what the callable does between is not known."""
        return nbytes(*x, *self.outputs(*x))

    def _plan(self, full: tuple[Any, ...], backend: Backend, device: Device, stream: Any) -> Plan:
        if not any(hasattr(type(self), impl) and getattr(type(self), impl) is not getattr(Op, impl, None) for impl in backend.impls):
            raise TypeError(f"{self.name}: arrays of {backend.name} cannot be handed to a callable: they have no DLPack; run it on numpy, numba or cupy, or"
                            " between two plans on arrays that you move yourself")
        return Plan(self, full, backend, device, stream)

    def numpy(self, plan: Plan, *x_and_out: Any) -> None:
        batches, live, out = self._split(x_and_out)
        n, shown = live_rows(batches[0], live), tuple(read_only(x) for x in batches)
        for spec, made, to in zip(plan.outs, self._made(plan, shown), out, strict=True):
            to[:n] = self._taken(spec, made, np)[:n]

    numba = numpy       # what is not ours is no faster there

    def cupy(self, plan: Plan, *x_and_out: Any) -> None:
        import cupy

        if isinstance(x_and_out[0], Spec):      # a plan is being made: there is no kernel to compile
            return
        batches, live, out = self._split(x_and_out)
        with cupy.cuda.Device(plan.device.index), plan.stream:
            for spec, made, to in zip(plan.outs, self._made(plan, batches), out, strict=True):
                taken = self._taken(spec, made, cupy)
                if taken.device != to.device:
                    raise TypeError(f"{self.name}: {spec.name} came on {taken.device}, the plan is on {to.device}")
                if live is None:
                    cupy.copyto(to, taken)
                else:
                    cupy.copyto(to, taken, where=(cupy.arange(len(to), dtype=np.int32) < live).reshape(-1, *[1] * (to.ndim - 1)))

    def _split(self, x_and_out: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any, tuple[Any, ...]]:
        """The batches, live and the outputs."""
        count = len(self.of)
        return x_and_out[:count], x_and_out[count], x_and_out[count + 1 :]

    def _made(self, plan: Plan, batches: tuple[Any, ...]) -> list[Any]:
        """What the callable returns, one for each output."""
        if not len(batches[0]):
            return [np.empty(0)] * len(plan.outs)
        made = self.call(*batches)
        if isinstance(made, Mapping):
            if set(made) != set(self.declared):
                raise ValueError(f"{self.name}: {self.callable_name} must return {', '.join(self.declared)}, got {', '.join(map(str, made))}")
            return [made[k] for k in self.declared]
        if not isinstance(made, (tuple, list)):
            made = (made,)
        if len(made) != len(self.declared):
            raise ValueError(f"{self.name}: {self.callable_name} must return {len(self.declared)} ({', '.join(self.declared)}), got {len(made)}")
        return list(made)

    def _taken(self, spec: Spec, made: Any, library: Any) -> Any:
        """The array that was returned for an output, as one of this library."""
        if not math.prod(spec.shape[:1]):
            return library.empty(spec.shape, spec.dtype)
        if not isinstance(made, library.ndarray):
            if not hasattr(made, "__dlpack__"):
                raise TypeError(f"{self.name}: {spec.name} must come as an array of {library.__name__} or with __dlpack__, got {type(made).__name__}")
            try:
                made = library.from_dlpack(made)
            except (BufferError, RuntimeError, TypeError, ValueError) as e:     # whichever a library raises for another device or dtype
                kind = f"{type(made).__module__}.{type(made).__name__}"
                raise TypeError(f"{self.name}: {spec.name} came as {kind}, which {library.__name__} cannot take: {e}") from e
        if tuple(made.shape) != spec.shape or made.dtype != spec.dtype:
            error = ValueError if made.dtype == spec.dtype else TypeError
            raise error(f"{self.name}: {spec.name} must be {spec.dtype} {spec.shape} as declared, got {made.dtype} {tuple(made.shape)}")
        return made
