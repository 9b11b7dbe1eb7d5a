"""Op, Chain, Plan, Spec: the interface of every operation. Over 200 lines: these four only make sense together, and they are the whole core."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .backends import BACKENDS, PLAIN, Array, Backend, BackendUnavailable, Device, get, kernel_source, owners
from .fusing import MARKS, Step, fuse
from .status import MOST_PLANES

__all__ = [
    "BackendUnavailable", "Chain", "DecodeError", "Fused", "Given", "Op", "Pass", "Plan", "Spec", "bits_define", "carries", "frame_grid", "frame_of",
    "live_rows", "nbytes", "vector",
]


class DecodeError(ValueError):
    """Compressed bytes that are not what their format demands."""


class Spec(NamedTuple):
    """Name, shape and dtype of an array."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@runtime_checkable
class Static(Protocol):
    """A field that is neither a number nor an array: arrays that ops share, uploaded once, never updated."""

    @property
    def digest(self) -> str: ...

    def arrays(self) -> dict[str, np.ndarray]: ...

    def on(self, device: Device, stream: Any = None) -> dict[str, Array]: ...


class Pass(NamedTuple):
    """One pass over memory: the ops that share it, and the fewest bytes it moves for a full batch."""

    ops: str
    traffic: int


def spec_of(name: str, x: Any) -> Spec:
    return Spec(name, tuple(int(k) for k in x.shape), np.dtype(x.dtype))


FRAMES = 16      # frames that a block of device.h walks, unless a kernel's FRAMES says otherwise
MOST_BLOCKS, MOST_ROWS = 2**31 - 1, 65535       # CUDA's gridDim.x and gridDim.y; OpenCL has no such limits
MOST_FRAMES = FRAMES * MOST_ROWS    # of frame_grid
MOST_PIXELS = 2**31 - 1             # of a frame: kernels number them in 32 bits, past the end by less than a block


class _TooLarge(ValueError):
    """More than kernels hold; the plan that asked puts its op's name in front."""


def live_rows(x: Any, live: Any) -> int:
    """How many rows of a host batch are real."""
    return len(x) if live is None else min(max(int(live[0]), 0), len(x))


def frame_of(x: Any) -> tuple[Any, ...]:
    """The shape of a batch's frame, or words for it where there is none."""
    return tuple(getattr(x, "shape", ())[1:]) or ("rows", "cols")


def frame_grid(n: int, npix: int, wide: int = 8, frames: int = FRAMES) -> tuple[int, int]:
    """Tiles of pixels x groups of frames, for kernels of 128 threads in which a thread owns VECTOR pixels over FRAMES frames.

    Inside a plan (scratch, device) it raises ValueError for more than a launch holds, with the op's name."""
    if n > MOST_FRAMES:
        raise _TooLarge(f"{n} frames are more than one launch holds, {MOST_FRAMES}; plan for fewer")
    if npix > MOST_PIXELS:
        raise _TooLarge(f"{npix} pixels a frame are more than kernels can number, {MOST_PIXELS}; cut it into panels")
    return -(-npix // (128 * vector(npix, wide))), -(-n // frames)


def vector(npix: int, wide: int = 8) -> int:
    """VECTOR of device.h: what the device likes (8 or 1) where every frame begins at a multiple of 16 bytes, else 1."""
    return 1 if npix % 8 else wide


def bits_define(x: Any) -> str:
    """A float32 as a define for kernels: its bits, for NaN has no literal."""
    return f"{int(np.float32(x).view(np.uint32))}u"


def nbytes(*x: Any) -> int:
    """The size of arrays or specs in bytes; None counts 0, and so does what comes through LOAD."""
    return sum(spec_of("", a).nbytes for a in x if a is not None and not isinstance(a, Fused))


@dataclass(frozen=True, eq=False)
class Op:
    """One operation: fields that are arrays are constants, the others configuration."""

    name: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()   # every name that outputs() can hold, frame_status apart
    loads: ClassVar[tuple[str, ...]] = ()    # the inputs that kernels read through LOAD alone: the value, then pixel_status, gain_stage
    stores: ClassVar[bool] = False           # its kernels LOAD all pixels of all live frames, and no others: on the way they can store what they take in
    state: ClassVar[tuple[str, ...]] = ()    # the inputs that hold what earlier batches left, and no rows of this one
    gives: ClassVar[str] = ""                # the output that its kernel hands on, pixel by pixel, by GIVE, to ops that follow
    given_constants: ClassVar[bool] = True   # whether that stage reads constants()
    given_by: ClassVar[str] = ""             # the .cl of its stage of GIVE, which takes its first input and the marks from another kernel, and stores
    flags_frames: ClassVar[bool] = False     # whether, in GIVE, frame_status takes in the marks as they are behind that stage
    hands_on: ClassVar[str] = ""             # the output that GIVE holds behind that stage, if it is another value
    pixel_output: ClassVar[str] = ""         # the output that this op's device function yields, if it has one: a source of LOAD; with loads too, a step of LOAD

    # ------------------------------------------------------------------ what a subclass defines
    def lists(self) -> dict[str, str]:
        """Its outputs (n, cap, ...) whose rows are lists, each with the output or input (n,) that says how long they are."""
        return {}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        """What a run writes. Raises TypeError or ValueError; touches no data."""
        raise NotImplementedError

    def scratch(self, *x: Any) -> tuple[Spec, ...]:
        """Workspace, owned by the plan."""
        return ()

    def traffic(self, *x: Any) -> int:
        """The fewest bytes to be read and written."""
        return nbytes(*x) + nbytes(*self.outputs(*x)) + nbytes(*self.constants().values())

    def constants(self) -> dict[str, np.ndarray]:
        """What a device keeps, once for all plans: by default the array fields as they are."""
        return {k: v for k, v in self._fields().items() if isinstance(v, np.ndarray)}

    def statics(self) -> tuple[Static, ...]:
        """Objects that several ops share: each says what of it lies on a device, by on(device, stream). By default the fields that can."""
        return tuple(v for v in self._fields().values() if isinstance(v, Static))

    def check_update(self, new: Op) -> None:
        """Raises ValueError if a plan made for this op cannot run with the constants of `new`, by more than their shapes and dtypes."""

    def inverse(self) -> Op:
        raise TypeError(f"{self.name} has no inverse")

    def numpy(self, plan: Plan, *x_and_out: Any) -> None:
        raise NotImplementedError

    def numba(self, plan: Plan, *x_and_out: Any) -> None:
        raise NotImplementedError

    def device(self, plan: Plan, *x_and_out: Any) -> None:
        raise NotImplementedError

    def pixel(self, plan: Plan, *x: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """For fusion: the .cl that defines a stage of LOAD, the arguments of its STEM_PARAMS, its defines."""
        raise NotImplementedError

    def give(self, plan: Plan, x: tuple[Any, ...], out: tuple[Any, ...]) -> list[tuple[str, str, tuple[Any, ...], dict[str, Any]]]:
        """For given_by: stages of GIVE: the .cl, "APPLY" or "GIVE", the arguments of its STEM_PARAMS, its defines. What it is given is no array of x; of
        out, one for each name of op.writes, what nobody wants is None."""
        raise NotImplementedError

    def give_tables(self) -> dict[str, np.ndarray]:
        """What its stage of GIVE reads besides its constants: plan.scratch."""
        return {}

    # ------------------------------------------------------------------ what every op has
    def _fields(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def own(self, field: str, dtype: Any = None) -> np.ndarray:
        """Replace an array field by a read-only copy; for __post_init__."""
        if isinstance(getattr(self, field), np.ma.MaskedArray):
            raise TypeError(f"{self.name}: {field} is a masked array, and its mask would be lost: give a plain one, and good=")
        given = np.asarray(getattr(self, field))
        if dtype is not None and given.dtype.kind not in "iuf":
            raise TypeError(f"{self.name}: {field} must be real numbers, got {given.dtype}")
        with np.errstate(over="ignore"):        # an Inf that this makes is for the op's own check
            copy = np.array(given, dtype=dtype, order="C", copy=True)
        copy.setflags(write=False)
        object.__setattr__(self, field, copy)
        return copy

    def number(self, field: str, whole: bool = False) -> Any:
        """A scalar field as float or int; for __post_init__. Raises TypeError for what is no number, a bool and a text included."""
        value: Any = getattr(self, field)
        fits = isinstance(value, numbers.Integral) if whole else isinstance(value, numbers.Real)
        if isinstance(value, bool) or not fits:
            raise TypeError(f"{self.name}: {field} must be {'a whole' if whole else 'a real'} number, got {value!r}")
        return int(value) if whole else float(value)

    def own_good(self, frame: tuple[int, ...] = ()) -> None:
        """own() for the field good, if there is one: bool, of this frame's shape or of any; for __post_init__."""
        given: Any = self._fields()["good"]
        if given is None:
            return
        good = np.asarray(given)
        if good.dtype != bool or good.ndim == 0 or (frame and good.shape != frame):
            raise ValueError(f"{self.name}: good must be bool {frame or '(*frame)'}, True = use the pixel, got {good.dtype} {good.shape}")
        self.own("good")

    def one_of(self, field: str, *names: str) -> None:
        """Raises ValueError where a field has none of these values; for __post_init__."""
        if getattr(self, field) not in names:
            raise ValueError(f"{self.name}: {field} must be {' or '.join(map(repr, names))}, got {getattr(self, field)!r}")

    def zero_or_nan(self, field: str) -> None:
        """The same where it is neither 0 nor NaN."""
        if not (self.number(field) == 0 or math.isnan(self.number(field))):
            raise ValueError(f"{self.name}: {field} must be 0 or NaN, got {getattr(self, field)}")

    def config(self) -> dict[str, Any]:
        """The scalar fields, ready for JSON; of what ops share, the digest."""
        return {k: _plain(v) for k, v in self._fields().items() if not isinstance(v, np.ndarray)}

    def digest(self) -> str:
        """SHA-256 of name, configuration and constants: provenance."""
        h = hashlib.sha256(json.dumps([self.name, self.config()], sort_keys=True, default=str).encode())
        for key, value in sorted(self._fields().items()):
            if isinstance(value, np.ndarray):
                h.update(f"{key}{value.dtype.str}{value.shape}".encode())
                h.update(np.ascontiguousarray(value).data)
        return h.hexdigest()

    def require(self, name: str, x: Any, dtype: Any, shape: Sequence[Any]) -> Spec:
        """The spec of x if it has this dtype (or one of these) and shape (words stand for any size), else a TypeError or ValueError."""
        dtypes = [np.dtype(d) for d in (dtype if isinstance(dtype, (tuple, list)) else (dtype,))]
        words = ", ".join(str(k) for k in shape) + ("," if len(shape) == 1 else "")
        if x is None or not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise TypeError(f"{self.name}: {name} must be an array ({words}), got {type(x).__name__}")
        got = spec_of(name, x)
        sizes: dict[str, int] = {}
        fits = len(got.shape) == len(shape) and all(
            a == (sizes.setdefault(b, a) if isinstance(b, str) else b) for a, b in zip(got.shape, shape, strict=True)
        )
        if got.dtype not in dtypes or not fits:
            kind = " or ".join(str(d) for d in dtypes)
            error = ValueError if got.dtype in dtypes else TypeError
            raise error(f"{self.name}: {name} must be {kind} ({words}), got {got.dtype} {got.shape}")
        return got

    def require_marks(self, shape: Sequence[Any], **marks: Any) -> None:
        """Inputs of u8 for each pixel, by name: they may be absent, or come through LOAD."""
        for name, x in marks.items():
            if x is not None and not isinstance(x, Fused):
                self.require(name, x, np.uint8, shape)

    def require_planes(self, name: str, constant: np.ndarray) -> None:
        """A constant whose first axis is the gain stage: one plane for all of them, or one for each."""
        if not 1 <= len(constant) <= MOST_PLANES:
            raise ValueError(f"{self.name}: {name} must have 1 to {MOST_PLANES} planes, one for all gain stages or one for each, got {constant.shape}")

    def require_live(self, live: Any) -> None:
        if live is not None:
            self.require("live", live, np.int32, (1,))

    def frame_outputs(self, n: int, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        """The last outputs of n frames: frame_status where it is given. Both inputs are checked."""
        out = () if frame_status is None else (self.require("frame_status", frame_status, np.uint32, (n,)),)
        self.require_live(live)
        return out

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs without the marks of the optional ones."""
        return tuple(n.rstrip("?") for n in self.inputs)

    def bind(self, x: Sequence[Any], named: dict[str, Any]) -> tuple[Any, ...]:
        """Positional and named inputs as one full tuple, None where an optional one is absent."""
        names = self.input_names
        if len(x) > len(names):
            raise TypeError(f"{self.name} takes {', '.join(self.inputs)}: got {len(x)} inputs")
        full = dict(zip(names, x, strict=False))
        for key, value in named.items():
            if key not in names or full.get(key) is not None:
                raise TypeError(f"{self.name}: input {key!r} is {'given twice' if key in names else 'unknown'}; it takes {', '.join(self.inputs)}")
            full[key] = value
        for n in self.inputs:
            if not n.endswith("?") and full.get(n) is None:
                raise TypeError(f"{self.name}: input {n!r} is missing; it takes {', '.join(self.inputs)}")
        return tuple(full.get(n) for n in names)

    def __post_init__(self) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return self._fields()

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, key, value)

    def _shared(self) -> _Shared:
        with _LOCK:
            if "_shared_state" not in self.__dict__:
                object.__setattr__(self, "_shared_state", _Shared())
        shared: _Shared = self.__dict__["_shared_state"]
        return shared

    def device_constants(self, device: Device, stream: Any = None) -> dict[str, Array]:
        """The constants on this device, uploaded at the first call and shared by all plans and streams."""
        return self._uploaded(self._shared().constants, self.constants, device, stream)

    def device_tables(self, device: Device, stream: Any = None) -> dict[str, Array]:
        """The same of give_tables."""
        return self._uploaded(self._shared().tables, self.give_tables, device, stream)

    def _uploaded(self, held: dict[Device, dict[str, Array]], made: Callable[[], dict[str, np.ndarray]], device: Device, stream: Any) -> dict[str, Array]:
        with self._shared().lock:
            if device not in held:
                put = BACKENDS[device.backend].put
                held[device] = {k: put(v, device, stream) for k, v in made().items()}
                BACKENDS[device.backend].wait(device, stream)       # plans on other streams will read them
            return held[device]

    def plan(self, *x: Any, backend: str | None = None, device: Device | None = None, stream: Any = None, **named: Any) -> Plan:
        """A plan for inputs like these (arrays, or Specs together with backend=): constants uploaded, scratch allocated, kernels compiled."""
        full = self.bind(x, named)
        chosen, where = choose(self.name, full, backend, device)
        return self._plan(full, chosen, where, chosen.current(where, stream))

    def _plan(self, full: tuple[Any, ...], backend: Backend, device: Device, stream: Any) -> Plan:
        return Plan(self, full, backend, device, stream)

    def __call__(self, *x: Any, out: Any = None, backend: str | None = None, stream: Any = None, **named: Any) -> Any:
        """Run on arrays; they decide the device. Plans are kept (8 per op)."""
        full = self.bind(x, named)
        chosen, where = choose(self.name, full, backend, None)
        stream = chosen.current(where, stream)
        key = (tuple(None if a is None else spec_of("", a) for a in full), chosen.name, where, chosen.stream_key(stream), threading.get_ident())
        shared = self._shared()
        with shared.lock:
            plan = shared.plans.get(key)
        if plan is None:
            plan = self._plan(full, chosen, where, stream)
            with shared.lock:
                shared.plans[key] = plan
                while len(shared.plans) > 8:
                    shared.plans.popitem(last=False)
        return plan.run(full, out)


class _Shared:
    """Of one op: its constants and tables by device and its recent plans. Never pickled, never copied."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.constants: dict[Device, dict[str, Array]] = {}
        self.tables: dict[Device, dict[str, Array]] = {}
        self.plans: OrderedDict[Any, Plan] = OrderedDict()
        self.latest: dict[Device, Op] = {}      # what update() made of the op


_LOCK = threading.Lock()        # held for moments: a swap of constants, their reading at the start of a run
_UPDATES = threading.Lock()     # one update at a time


def _plain(value: Any) -> Any:
    if isinstance(value, Op):
        return {"op": value.name, **value.config()}
    if isinstance(value, Static):
        return {"digest": value.digest}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.item() if isinstance(value, np.generic) else value


def choose(who: str, x: Sequence[Any], backend: str | None, device: Device | None) -> tuple[Backend, Device]:
    """The backend and device of these inputs. backend= only chooses among the owners of the arrays' type; nothing is moved."""
    arrays = [a for a in x if a is not None and not isinstance(a, Spec)]
    if not arrays:
        if backend is None:
            raise TypeError(f"{who}: no array says where to run: name a backend= ({', '.join(BACKENDS)})")
        chosen = get(backend)
        return chosen, device or chosen.devices()[0]
    possible = owners(arrays[0])
    if not possible:
        kind = f"{type(arrays[0]).__module__}.{type(arrays[0]).__name__}"
        raise TypeError(f"{who}: {kind} is no array of {', '.join(BACKENDS)}; wrap it by DLPack, for example numpy.from_dlpack or cupy.from_dlpack")
    for a in arrays[1:]:
        if not any(b.is_mine(a) for b in possible):
            kinds = sorted({f"{type(k).__module__}.{type(k).__name__}" for k in arrays})
            raise TypeError(f"{who}: inputs of different libraries: {', '.join(kinds)}")
    if backend is not None:
        get(backend)
        possible = [b for b in possible if b.name == backend]
        if not possible:
            kind = type(arrays[0]).__module__
            raise TypeError(f"{who}: backend={backend!r} does not own {kind} arrays; move them with gpuredux.backends.get({backend!r}).put")
    where = {possible[0].device_of(a) for a in arrays}
    if len(where) > 1 or (device is not None and where != {device}):
        raise ValueError(f"{who}: inputs on {', '.join(sorted(map(str, where)))}" + (f", asked to run on {device}" if device else ""))
    return possible[0], where.pop()


class Fused:
    """An input that does not lie in memory: LOAD computes it in stages, one for each per-pixel op, from the first one's own inputs.

    stored: arrays for what LOAD sees behind the last of these stages, by name: the op's pixel_output, pixel_status, gain_stage."""

    def __init__(self, plan: Plan, x: Sequence[Any], stored: Mapping[str, Any] | None = None) -> None:
        output = next(o for o in plan.outs if o.name == plan.op.pixel_output)
        self.shape, self.dtype = output.shape, output.dtype
        file, args, defines = plan.op.pixel(plan, *x)
        if plan.op.loads:       # a step, behind the stages that give what it changes
            stages, before, extra = _stages([x[plan.op.input_names.index(n)] for n in plan.op.loads])
            self.stages, self.args, self.defines = (*stages, file), (*before, *args), {**extra, **defines}
        else:
            self.stages, self.args, self.defines = (file,), args, defines
        if stored:
            names = {"VALUE": plan.op.pixel_output, "STATUS": "pixel_status", "STAGE": "gain_stage"}
            first = next(iter(stored.values()))     # stands in where the stage never looks
            self.stages, self.args = (*self.stages, "store.cl"), (*self.args, *(stored.get(n, first) for n in names.values()))
            self.defines = {**self.defines, **{f"STORE_{k}": n in stored for k, n in names.items()}}


class _HandedOn(Fused):
    """What GIVE hands on, for Op.traffic: it is not read from memory."""

    def __init__(self, spec: Spec) -> None:
        self.shape, self.dtype, self.stages = spec.shape, spec.dtype, (PLAIN,)


def carries(value: Any) -> bool:
    """Whether a kernel that takes this value in must OR its status bits into frame_status: a source in it saw the data, and may not run by itself."""
    return isinstance(value, Fused) and value.stages[0] != PLAIN


def _stages(load: Sequence[Any]) -> tuple[tuple[str, ...], tuple[Any, ...], dict[str, Any]]:
    """Stages, arguments and defines of LOAD for a value, its pixel_status and its gain_stage: all by way of a Fused value, or arrays."""
    value, *marks = load
    if isinstance(value, Fused):
        return value.stages, value.args, value.defines
    status, stage, *_ = (*marks, None, None)
    args = (value, *(value if m is None else m for m in (status, stage)))      # value stands in where the kernel never looks
    return (PLAIN,), args, {"PLAIN_STATUS": status is not None, "PLAIN_STAGE": stage is not None}


class Given:
    """What a kernel ends with, by GIVE: stages (a .cl, and "APPLY" or "GIVE"), their arguments (None: nobody looks) and defines. unwritten: names of
    the kernel's own outputs that nobody wants in memory: they are None; flags: whether frame_status takes in the bits of what was handed on."""

    def __init__(self, unwritten: Collection[str] = (), flags: bool = False) -> None:
        self.stages: list[tuple[str, str]] = []
        self.args: tuple[Any, ...] = ()
        self.defines: dict[str, Any] = {}
        self.unwritten, self.flags = unwritten, flags

    def add(self, file: str, kind: str, args: tuple[Any, ...], defines: dict[str, Any]) -> None:
        self.stages.append((file, kind))
        self.args, self.defines = (*self.args, *args), _agreed(file, self.defines, defines)

    @property
    def some(self) -> Any:
        """An array of it: stands in where a kernel never looks."""
        return next(a for a in self.args if a is not None and not isinstance(a, np.generic))

    def extend(self, other: Given) -> None:
        """All that the other one holds, behind."""
        self.stages, self.args = [*self.stages, *other.stages], (*self.args, *other.args)
        self.defines = _agreed("GIVE", self.defines, other.defines)


class Plan:
    """An op made ready for one shape, on one device and stream, for one thread: a run allocates nothing but outputs not given."""

    def __init__(self, op: Op, x: tuple[Any, ...], backend: Backend, device: Device, stream: Any = None, given: Given | None = None) -> None:
        self.op, self.backend, self.device, self.stream, self.given = op, backend, device, stream, given
        self.specs = tuple(None if a is None else spec_of(n, a) for n, a in zip(op.input_names, x, strict=True))
        self.outs = op.outputs(*x)
        self._result = namedtuple("Outputs", [o.name for o in self.outs]) if len(self.outs) > 1 else None
        self._kernels: dict[Any, Any] = {}
        self._shared = op._shared()
        try:
            self._prepare(x)
        except _TooLarge as e:
            raise ValueError(f"{op.name}: {e}") from None

    def _prepare(self, x: tuple[Any, ...]) -> None:
        self.constants = self.op.device_constants(self.device, self.stream)
        self.statics = {k: a for s in self.op.statics() for k, a in s.on(self.device, self.stream).items()}
        self.scratch = {s.name: self.backend.empty(s.shape, s.dtype, self.device, self.stream) for s in self.op.scratch(*x)}
        impl = next((i for i in self.backend.impls if getattr(type(self.op), i, None) is not getattr(Op, i, None)), None)
        if impl is None:
            raise NotImplementedError(f"{self.op.name} has no implementation for {self.backend.name}")
        self._impl = getattr(self.op, impl)
        self._dry = self.backend.kernels
        if self._dry:       # compile every kernel that a run will launch
            outs = (None if self.given is not None and s.name in self.given.unwritten else s for s in self.outs)
            self._impl(self, *(a if a is None or isinstance(a, Fused) else s for a, s in zip(x, self.specs, strict=True)), *outs)
        self._dry = False

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes over memory of one run."""
        return (Pass(self.op.name, self.op.traffic(*self.specs)),)

    def parts(self) -> tuple[Plan, ...]:
        """This plan, or those that it is made of: each with the arrays in its constants and scratch."""
        return (self,)

    def __call__(self, *x: Any, out: Any = None, **named: Any) -> Any:
        return self.run(self.op.bind(x, named), out)

    def run(self, x: tuple[Any, ...], out: Any = None) -> Any:
        """Enqueue. x: the full tuple of inputs. Returns the output, or a named tuple of the outputs."""
        for spec, a in zip(self.specs, x, strict=True):
            self._check(spec, a)
        given: tuple[Any, ...] = (None,) * len(self.outs) if out is None else tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if len(given) != len(self.outs):
            raise ValueError(f"{self.op.name}: out must hold {len(self.outs)} arrays ({', '.join(o.name for o in self.outs)}), got {len(given)}")
        for spec, a in zip(self.outs, given, strict=True):
            if a is not None:
                self._check(spec, a)
                if isinstance(a, np.ndarray) and not a.flags.writeable:
                    raise ValueError(f"{self.op.name}: out {spec.name} is read-only")
        if out is not None:
            self._check_apart(x, given)
        empty = self.backend.empty
        results = [empty(s.shape, s.dtype, self.device, self.stream) if a is None else a for s, a in zip(self.outs, given, strict=True)]
        with _LOCK:
            self.take_constants()
        self.execute(x, results)
        return self._result(*results) if self._result else results[0]

    def take_constants(self) -> None:
        """The constants as they are now: a run looks once, so that an update comes before or after it as a whole."""
        self.constants = self._shared.constants[self.device]

    def execute(self, x: Sequence[Any], results: Sequence[Any]) -> None:
        """The run itself, on arrays that were checked. To numba inputs that may be written are another type than such that may not, and whatever
        reads them would be compiled for both: it sees them all as read-only."""
        self._impl(self, *(map(read_only, x) if self._impl.__name__ == "numba" else x), *results)

    def _check(self, spec: Spec | None, a: Any) -> None:
        if spec is None or a is None:
            if spec is not None or a is not None:
                raise ValueError(f"{self.op.name}: this plan was made {'with' if spec else 'without'} {spec.name if spec else 'that input'}")
            return
        if not self.backend.is_mine(a):
            raise TypeError(f"{self.op.name}: {spec.name} must be an array of {self.backend.name}, got {type(a).__module__}.{type(a).__name__}")
        if tuple(a.shape) != spec.shape or a.dtype != spec.dtype:
            raise ValueError(f"{self.op.name}: {spec.name} must be {spec.dtype} {spec.shape} as planned, got {a.dtype} {tuple(a.shape)}")
        if self.backend.kernels and self.backend.device_of(a) != self.device:
            raise ValueError(f"{self.op.name}: {spec.name} is on {self.backend.device_of(a)}, the plan on {self.device}; move it there")
        wrong = self.backend.misfit(a)
        if wrong:
            raise ValueError(f"{self.op.name}: {spec.name} {wrong}")

    def _check_apart(self, x: Sequence[Any], given: Sequence[Any]) -> None:
        """Nothing that is written may lie in what is read, or be written twice. By address ranges alone: this is the hot loop."""
        taken = [(f"input {s.name}", self.backend.extent(a)) for s, a in zip(self.specs, x, strict=True) if s is not None]
        for spec, a in zip(self.outs, given, strict=True):
            if a is None:
                continue
            owner, begin, end = self.backend.extent(a)
            for other, (its_owner, its_begin, its_end) in taken:
                if max(begin, its_begin) < min(end, its_end) and owner == its_owner:
                    raise ValueError(f"{self.op.name}: out {spec.name} overlaps {other} in memory; pass an array of its own")
            taken.append((f"out {spec.name}", (owner, begin, end)))

    def launch(
        self, file: str, kernel: str, grid: tuple[int, ...], block: int, args: tuple[Any, ...], load: Any = None, shared: int = 0,
        give: Given | None = None, **defines: Any,
    ) -> None:
        """Enqueue a kernel of a .cl file. load: what it reads through LOAD, whose arguments come first: the array or Fused value, or a tuple of it
        with pixel_status and gain_stage (each None where there is none). shared: bytes of SHARED_BYTES, a multiple of 16. give: what it ends with, whose
        arguments come behind those of LOAD. Where the grid's second axis is longer than CUDA has it, the axes are turned: to the kernel nothing changes."""
        if len(grid) == 2 and grid[1] > MOST_ROWS:
            grid, defines["AXES_SWAPPED"] = grid[::-1], True
        most = (MOST_BLOCKS, MOST_ROWS)[: len(grid)]
        if any(k > m for k, m in zip(grid, most, strict=True)):
            asked, held = (" x ".join(map(str, sizes)) for sizes in (grid, most))
            raise ValueError(f"{self.op.name}: {asked} blocks are more than one launch holds, {held}; plan for fewer frames")
        stages: tuple[str, ...] = ()
        if give is not None:
            args = (*(give.some if a is None else a for a in give.args), *args)
            defines = _agreed(self.op.name, give.defines, defines)
        if load is not None:
            stages, first, extra = _stages(load if isinstance(load, tuple) else (load,))
            args = (*first, *args)
            defines = _agreed(self.op.name, extra, defines)
        if shared:
            defines["SHARED_SIZE"] = shared
        behind = tuple(give.stages) if give is not None else ()
        key = (file, kernel, stages, behind, tuple(sorted(defines.items())))
        if key not in self._kernels:
            source = kernel_source(file, self.device.warp, stages, defines | ({"ON_CPU": True} if self.device.cpu else {}), behind)
            self._kernels[key] = self.backend.compile(self.device, source, kernel, shared)
        if not self._dry and all(grid):
            self.backend.launch(self._kernels[key], self.device, grid, block, args, self.stream, shared)

    def every_output(self, out: Sequence[Any]) -> tuple[Any, ...]:
        """Of a run's outputs one for each name of op.writes, and frame_status: None for those that this plan does not write."""
        given = dict(zip((o.name for o in self.outs), out, strict=True))
        return tuple(given.get(name) for name in (*self.op.writes, "frame_status"))

    def start_status(self, frame_status: Any, new_status: Any, live: Any) -> None:
        """new_status = frame_status on the device, if there is one, for the live rows: later kernels OR their bits into it."""
        if new_status is None:
            return
        n = new_status.shape[0]
        args = (frame_status, new_status, new_status if live is None else live, np.uint32(n))
        self.launch("status.cl", "frame_status_start", (-(-n // 128),), 128, args, LIVE=live is not None)

    def update(self, **fields: np.ndarray) -> None:
        """Overwrite constants of the op on this device for all its plans there: plan.update(pedestal=new).

        The new values pass the op's own checks before any is written; nothing is recompiled or recaptured. The op object keeps what it
        was made with. On the host a run sees the constants before or after an update, never some of each. On a device they are overwritten
        where they lie, in the order of this plan's stream: let plans on other streams wait for it, and enqueue no run from another thread meanwhile."""
        _update([(self.op, fields)], self.device, self.stream)


def read_only(x: Any) -> Any:
    """Of an ndarray a view that nobody writes: numba compiles a function once for arrays that may be written, and again for those that may not."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def _update(changes: Sequence[tuple[Op, dict[str, Any]]], device: Device, stream: Any) -> None:
    """All of them or none: first what can be refused, then the bytes, then one swap."""
    backend = BACKENDS[device.backend]
    with _UPDATES:
        made = [(op._shared(), op.device_constants(device, stream), *_updated(op, device, stream, fields)) for op, fields in changes]
        swaps = [(shared, new, {k: backend.overwrite(held[k], v, stream) for k, v in values.items()}) for shared, held, new, values in made]
        with _LOCK:
            for shared, new, constants in swaps:
                shared.constants[device], shared.latest[device] = constants, new


def _updated(op: Op, device: Device, stream: Any, fields: dict[str, Any]) -> tuple[Op, dict[str, np.ndarray]]:
    """The op with these fields on top of its updates before, and its constants: of the same names, shapes and dtypes."""
    unknown = [f for f in fields if not isinstance(op._fields().get(f), np.ndarray)]
    if unknown:
        arrays = [k for k, v in op._fields().items() if isinstance(v, np.ndarray)]
        raise ValueError(f"{op.name}: no constant named {', '.join(unknown)}; it has {', '.join(arrays) or 'none'}")
    new = dataclasses.replace(op._shared().latest.get(device, op), **fields)
    op.check_update(new)
    held, values = op.device_constants(device, stream), new.constants()
    for key, value in values.items():
        if spec_of("", held[key]) != spec_of("", value):
            raise ValueError(f"{op.name}: {key} must stay {held[key].dtype} {tuple(held[key].shape)}, got {value.dtype} {value.shape}")
    return new, values


def _agreed(who: str, some: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """The defines of stages and of the kernel."""
    clash = {k for k in some if k in others and others[k] != some[k]}
    if clash:
        raise ValueError(f"{who}: fused kernels disagree on {', '.join(sorted(clash))}")
    return {**some, **others}


class Taken(NamedTuple):
    """For Chain's keep: what its op of this number wrote by a name, whoever writes that name later, as the output `alias`."""

    op: int
    name: str
    alias: str


@dataclass(frozen=True, eq=False)
class Chain(Op):
    """out = op_k(... op_1(in)): inputs wired by name, the latest writer of a name wins; planned once; fuses what is fusible.

    in:  every name that an op needs and no earlier op writes (optional ones stay optional)
    out: frame_status if an op writes it, and all that no later op reads; or what `keep` names, "name?" being kept where an op writes it; see Taken
    """

    name: ClassVar[str] = "chain"
    ops: tuple[Op, ...] = ()
    keep: tuple[str | Taken, ...] | None = None

    def __init__(self, ops: Sequence[Op], keep: Sequence[str | Taken] | None = None) -> None:
        wrong = [type(op).__name__ for op in ops if not isinstance(op, Op)]
        if wrong:
            raise TypeError(f"chain: ops must be operations, got {', '.join(wrong)}")
        object.__setattr__(self, "ops", tuple(ops))
        object.__setattr__(self, "keep", None if keep is None else tuple(keep))
        made: set[str] = set()
        needs: dict[str, bool] = {}
        for op in self.ops:
            for n in op.inputs:
                key = n.rstrip("?")
                if key not in made:
                    needs[key] = needs.get(key, False) or not n.endswith("?")
            made |= op_writes(op)
        object.__setattr__(self, "inputs", tuple(n if must else n + "?" for n, must in needs.items()))
        kept = None if keep is None else tuple(k.alias if isinstance(k, Taken) else k.rstrip("?") for k in keep)
        object.__setattr__(self, "writes", tuple(sorted(made - {"frame_status"})) if kept is None else kept)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Chain.__init__(self, **state)

    def wire(self, *x: Any) -> tuple[list[Spec], list[Step], list[int]]:
        """Slots (the inputs first), steps and the slots of the outputs."""
        slots = [spec_of(n, a) for n, a in zip(self.input_names, x, strict=True) if a is not None]
        latest = {s.name: i for i, s in enumerate(slots)}
        n_in = len(slots)
        if "frame_status" in self.input_names and "frame_status" not in latest and slots:
            latest["frame_status"] = -1         # starts from zero: the plan owns those zeros
        steps: list[Step] = []
        used: set[int] = set()
        mover, moved = "", 0        # the latest op that put other rows in front, and its first slot
        for op in self.ops:
            reads = tuple(latest.get(n) for n in op.input_names)
            rows = [r for n, r in zip(op.input_names, reads, strict=True) if r is not None and n not in op.state]
            stale = [slots[r].name for r in rows if 0 <= r < moved and slots[r].shape[:1] == slots[moved].shape[:1]]
            if stale:
                raise ValueError(f"chain: {op.name} reads {stale[0]} from before {mover} moved the rows; let {mover} take {stale[0]!r} along")
            specs = [None if r is None else (Spec("frame_status", (slots[0].shape[0],), np.dtype(np.uint32)) if r < 0 else slots[r]) for r in reads]
            writes = []
            if "live" in op.writes:
                mover, moved = op.name, len(slots)
            for out in op.outputs(*op.bind(specs, {})):
                slots.append(out)
                latest[out.name] = len(slots) - 1
                writes.append(len(slots) - 1)
            used |= {r for r in reads if r is not None}
            steps.append(Step(op, reads, tuple(writes)))
        final = {n: i for n, i in latest.items() if i >= n_in}
        if self.keep is None:
            outs = [i for n, i in final.items() if i not in used or n == "frame_status"]
        else:
            names = [k for k in self.keep if not isinstance(k, Taken)]
            lost = [k for k in names if k not in final and not k.endswith("?")]
            if lost:
                raise ValueError(f"chain: nothing writes {', '.join(lost)}; it has {', '.join(final)}")
            outs = [final[k.rstrip("?")] for k in names if k.rstrip("?") in final]
            outs += self._aliases(slots, steps)
        return slots, steps, sorted(set(outs))

    def _aliases(self, slots: list[Spec], steps: list[Step]) -> dict[int, str]:
        """The slots that are Taken, by their names outside."""
        taken = [k for k in self.keep or () if isinstance(k, Taken)]
        return {w: k.alias for k in taken for w in steps[k.op].writes if slots[w].name == k.name}

    def outputs(self, *x: Any) -> tuple[Spec, ...]:
        slots, steps, outs = self.wire(*x)
        alias = self._aliases(slots, steps)
        return tuple(slots[i]._replace(name=alias.get(i, slots[i].name)) for i in outs)

    def constants(self) -> dict[str, np.ndarray]:
        return {}

    def traffic(self, *x: Any) -> int:
        slots, steps, _ = self.wire(*x)
        return sum(s.op.traffic(*_specs(s, slots)) for s in steps)

    def check_fields(self, fields: dict[str, Any]) -> None:
        """Raises ValueError if a plan of this chain must not update these constants."""

    def digest(self) -> str:
        return hashlib.sha256("".join(op.digest() for op in self.ops).encode()).hexdigest()

    def _plan(self, full: tuple[Any, ...], backend: Backend, device: Device, stream: Any) -> Plan:
        return _ChainPlan(self, full, backend, device, stream)


def op_writes(op: Op) -> set[str]:
    """The names that an op can write."""
    return set(op.writes) | ({"frame_status"} if "frame_status?" in op.inputs else set())


def _specs(step: Step, slots: list[Spec]) -> list[Spec | None]:
    n = slots[0].shape[0]
    return [None if r is None else Spec("frame_status", (n,), np.dtype(np.uint32)) if r < 0 else slots[r] for r in step.reads]


class _Feeder(Plan):
    """The plan of a per-pixel op that a kernel takes in: constants, and what Fused asks; it is never run by itself."""

    def _prepare(self, x: tuple[Any, ...]) -> None:
        self.constants, self.scratch = self.op.device_constants(self.device, self.stream), {}


class _TakerPlan(_Feeder):
    """The plan of an op that another's kernel ends with."""

    def _prepare(self, x: tuple[Any, ...]) -> None:
        self.constants = self.op.device_constants(self.device, self.stream) if self.op.given_constants else {}
        self.scratch, self._dry = self.op.device_tables(self.device, self.stream), True

    def take_constants(self) -> None:
        if self.op.given_constants:
            super().take_constants()


class _Feed:
    """How a step's value is made: the producer's plan, and how the producer's own is made if it is a step of LOAD."""

    def __init__(self, chain: _ChainPlan, step: Step, reader: Step) -> None:
        self.step = step
        self.stored = reader.stored if reader.stored_behind is step else {}
        self.inner = None if step.producer is None else _Feed(chain, step.producer, reader)
        self.plan = _Feeder(step.op, tuple(self.inputs(chain.specs_by_slot)), chain.backend, chain.device, chain.stream)

    def inputs(self, arrays: dict[Any, Any]) -> list[Any]:
        return _through(self.step, self.inner, [arrays.get(r) for r in self.step.reads], arrays)

    def fused(self, arrays: dict[Any, Any]) -> Fused:
        return Fused(self.plan, self.inputs(arrays), {name: arrays[slot] for name, slot in self.stored.items()})

    def plans(self) -> tuple[Plan, ...]:
        return (self.plan, *(self.inner.plans() if self.inner else ()))


def _plans(feed: _Feed | None, takers: Sequence[_Taker]) -> tuple[Plan, ...]:
    """Those of the ops that a step takes in."""
    return (*(feed.plans() if feed else ()), *(t.plan for t in takers))


def _through(step: Step, feed: _Feed | None, x: list[Any], arrays: dict[Any, Any]) -> list[Any]:
    """The inputs of a step, with what comes through LOAD in place of arrays."""
    if feed is not None:
        fused = feed.fused(arrays)
        for i in step.through_load:
            x[i] = fused
    return x


class _Taker:
    """An op that another's kernel ends with; its plan is never run by itself."""

    def __init__(self, chain: _ChainPlan, step: Step) -> None:
        self.step, specs = step, chain.specs_by_slot
        self.plan = _TakerPlan(step.op, tuple(specs[r] for r in step.reads), chain.backend, chain.device, chain.stream)
        kept = {chain._slots[w].name: w for w in step.writes if w not in step.unwritten}
        self.outs = [kept.get(name) for name in step.op.writes]

    def add_to(self, given: Given, arrays: dict[Any, Any]) -> None:
        for stage in self.step.op.give(self.plan, tuple(arrays[r] for r in self.step.reads), tuple(arrays[w] for w in self.outs)):
            given.add(*stage)


class _ChainPlan(Plan):
    """The steps of a Chain, fused where the backend compiles kernels; intermediate arrays belong to the plan, in its scratch."""

    op: Chain

    def _prepare(self, x: tuple[Any, ...]) -> None:
        self.constants, self.scratch = {}, {}
        self._slots, steps, self._outs = self.op.wire(*x)
        if self.backend.kernels:
            steps = fuse(steps, self._slots, self._outs)
        n_in = sum(a is not None for a in x)
        held = {w for s in steps for t in (s, *s.given) for w in (*t.writes, *t.stored.values()) if w not in t.unwritten} - set(self._outs)
        self._own = {i: self.backend.empty(self._slots[i].shape, self._slots[i].dtype, self.device, self.stream) for i in held if i >= n_in}
        if any(-1 in r.reads for s in steps for r in s.all):
            self._own[-1] = self.backend.put(np.zeros(self._slots[0].shape[0], np.uint32), self.device, self.stream)
        self.scratch = {f"{self._slots[i].name} {i}" if i >= 0 else "zeros": a for i, a in self._own.items()}
        self._steps = [(s, *self._step_plans(s)) for s in steps]

    @cached_property
    def specs_by_slot(self) -> dict[Any, Any]:
        """What stands for arrays where there are none yet."""
        return {None: None, **dict(enumerate(self._slots)), -1: Spec("frame_status", (self._slots[0].shape[0],), np.dtype(np.uint32))}

    def _step_plans(self, step: Step) -> tuple[Plan, _Feed | None, list[_Taker]]:
        feed, takers = None if step.producer is None else _Feed(self, step.producer, step), [_Taker(self, t) for t in step.given]
        specs = _through(step, feed, list(_specs(step, self._slots)), self.specs_by_slot)
        if not takers:
            return step.op._plan(tuple(specs), self.backend, self.device, self.stream), feed, takers
        given = self._given(step, takers, self.specs_by_slot)
        plan = Plan(step.op, tuple(specs), self.backend, self.device, self.stream, given)
        for taker in takers:
            taker.plan._dry = False
        return plan, feed, takers

    def _given(self, step: Step, takers: list[_Taker], arrays: dict[Any, Any]) -> Given:
        """What the kernel of a step ends with. arrays: or their specs."""
        given = Given({self._slots[w].name for w in step.unwritten}, any(t.step.op.flags_frames and t.step.read("frame_status") is not None for t in takers))
        known = {**self.specs_by_slot, **arrays}
        for taker in takers:
            taker.add_to(given, known)
        return given

    def parts(self) -> tuple[Plan, ...]:
        return (self, *(p for _, plan, feed, takers in self._steps for p in (*plan.parts(), *_plans(feed, takers))))

    def take_constants(self) -> None:
        for _, plan, feed, takers in self._steps:
            for part in (plan, *_plans(feed, takers)):
                part.take_constants()

    def execute(self, x: Sequence[Any], results: Sequence[Any]) -> None:
        arrays: dict[Any, Any] = {None: None, **self._own}
        arrays.update(enumerate(a for a in x if a is not None))
        arrays.update(zip(self._outs, results, strict=True))
        for step, plan, feed, takers in self._steps:
            if takers:
                plan.given = self._given(step, takers, arrays)
            outs = [None if w in step.unwritten else arrays[w] for w in step.writes]
            plan.execute(_through(step, feed, [arrays.get(r) for r in step.reads], arrays), outs)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """One entry a pass; fused ops share one, less the arrays that are never written.

        A pass ends where an op reads what no per-pixel op gives, and no kernel ends with it (neighbours, say: what follows a stencil reads memory), where
        two ops take the same ones in (each reads the first one's inputs), and behind an op that somebody wants an array of, if none stores that."""
        rows = []
        for step, _, feed, _ in self._steps:
            moved = nbytes(*(self._slots[w] for w in step.stored.values())) - nbytes(*(self._slots[w] for w in step.unwritten))
            names = [step.op.name]
            for t in step.given:
                names.append(t.op.name)
                x = [_HandedOn(s) if s is not None and s.name in (t.op.inputs[0], *MARKS) else s for s in _specs(t, self._slots)]
                moved += t.op.traffic(*x) - nbytes(*(self._slots[w] for w in t.unwritten))
            moved += step.op.traffic(*_through(step, feed, list(_specs(step, self._slots)), self.specs_by_slot))
            while feed is not None:
                names = [feed.step.op.name, *names]
                moved += feed.step.op.traffic(*feed.inputs(self.specs_by_slot)) - nbytes(*(self._slots[w] for w in feed.step.writes))
                feed = feed.inner
            rows.append(Pass(" + ".join(names), moved))
        return tuple(rows)

    def update(self, **fields: np.ndarray) -> None:
        """plan.update(pedestal=new): goes to every op of the chain that has such a constant, to all of them or to none."""
        self.op.check_fields(fields)
        takers = {id(op): op for op in self.op.ops if any(isinstance(op._fields().get(f), np.ndarray) for f in fields)}
        left = [f for f in fields if not any(isinstance(op._fields().get(f), np.ndarray) for op in takers.values())]
        if left:
            raise ValueError(f"chain: no op has a constant named {', '.join(left)}")
        changes = [(op, {f: v for f, v in fields.items() if isinstance(op._fields().get(f), np.ndarray)}) for op in takers.values()]
        _update(changes, self.device, self.stream)
