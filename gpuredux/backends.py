"""The four backends: numpy, numba, cupy, opencl. Over 200 lines: all that knows an array library stands here, and nothing else does.

A backend is four small roles: whose array is this (is_mine, device_of), memory (empty, put, get, extent), the compiler
(compile, launch) and the clock (wait). Adding a device that compiles C kernels is one class below and one line in BACKENDS.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np

from . import status

Array = Any
HERE = Path(__file__).parent
log = logging.getLogger("gpuredux")


class BackendUnavailable(RuntimeError):
    """A backend was asked for by name and cannot run here; the message says why."""


@dataclass(frozen=True)
class Device:
    """One place where arrays live and kernels run.

    warp: the tier of device.h (0 on numpy and numba, which have no kernels); vector: the pixels that a thread likes to own, 8 for 16-byte
    loads, 1 where the compiler itself makes a vector of the threads; frames: how many a block likes to walk, fewer on a CPU, which asks ahead
    in few places at once; shared: the bytes of SHARED memory that a block can have; cpu: OpenCL on a CPU, whose kernels get ON_CPU."""

    backend: str
    index: int
    name: str
    warp: int = 0
    vector: int = 8
    frames: int = 16
    shared: int = 48 << 10
    cpu: bool = False
    handle: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.backend}:{self.index} {self.name}" + (f" (warp tier {self.warp})" if self.warp else "")


@cache
def _text(file: str) -> str:
    """A .cl file; a line #include "family/other.cl" in it becomes the text of that file, under its own name and line numbers."""
    lines = (HERE / file).read_text().split("\n")
    for k, line in enumerate(lines):
        if line.startswith('#include "'):
            other = line.split('"')[1]
            lines[k] = f'#line 1 "{other}"\n{_text(other)}\n#line {k + 2} "{file}"'
    return "\n".join(lines)


PLAIN = "plain"     # the stage that is an array; it stands in device.h


def kernel_source(file: str, warp: int, stages: tuple[str, ...], defines: dict[str, Any], give: tuple[tuple[str, str], ...] = ()) -> str:
    """One translation unit: names, device.h, the .cl of each stage of LOAD (the first a source, then steps) and of GIVE, the kernel's .cl."""
    lines = [f"#define WARP_TIER {warp}"]
    lines += [f"#define {k} {int(v) if isinstance(v, bool) else v}" for k, v in sorted(defines.items())]
    lines += ["#define PLAIN"] if PLAIN in stages else []
    parts = ["\n".join(lines), status.defines(), '#line 1 "device.h"', _text("device.h")]
    if stages:
        parts += [f'#line 1 "{s}"\n{_text(s)}' for s in stages if s != PLAIN]
        parts.append(_load_of([Path(s).stem for s in stages]))
    parts += [f'#line 1 "{s}"\n{_text(s)}' for s, _ in give]
    parts.append(_give_of([(Path(s).stem, kind) for s, kind in give]))
    return "\n".join([*parts, f'#line 1 "{file}"', _text(file)])


def _load_of(stems: list[str]) -> str:
    """LOAD_PARAMS, Held, LOAD_BEGIN and LOAD, made of the stages in their order."""
    params = ", ".join(f"{s.upper()}_PARAMS" for s in stems)
    held = " ".join(f"{s.title().replace('_', '')}Held {s};" for s in stems)
    begin = " ".join(f"{s.upper()}_BEGIN((held).{s}, pixel, npix);" for s in stems)
    steps = ["LOAD", *["APPLY"] * (len(stems) - 1)]
    load = " ".join(f"{s.upper()}_{step}((held).{s}, frame, pixel, npix, x, bits);" for s, step in zip(stems, steps, strict=True))
    return (f"#define LOAD_PARAMS {params}\ntypedef struct {{ {held} }} Held;\n#define LOAD_BEGIN(held, pixel, npix) do {{ {begin} }} while (0)\n"
            f"#define LOAD(held, frame, pixel, npix, x, bits) do {{ {load} }} while (0)")


def _give_of(stages: list[tuple[str, str]]) -> str:
    """GIVE_PARAMS, Given, GIVE_BEGIN and GIVE of steps ("APPLY", as in LOAD) and of such as store ("GIVE"), in their order; without any they are nothing."""
    params = "".join(f"{s.upper()}_PARAMS, " for s, _ in stages)
    held = " ".join(f"{s.title().replace('_', '')}Held {s};" for s, _ in stages) or "u32 nothing;"
    begin = " ".join(f"{s.upper()}_BEGIN((given).{s}, pixel, npix);" for s, _ in stages)
    give = " ".join(f"{s.upper()}_{kind}((given).{s}, frame, pixel, npix, x, bits{', mine' if kind == 'GIVE' else ''});" for s, kind in stages)
    return (f"#define GIVES {int(bool(stages))}\n#define GIVE_PARAMS {params}\ntypedef struct {{ {held} }} Given;\n"
            f"#define GIVE_BEGIN(given, pixel, npix) do {{ {begin} }} while (0)\n"
            f"#define GIVE(given, frame, pixel, npix, x, bits, mine) do {{ {give} }} while (0)")


class Backend:
    """What op.py needs of an array library."""

    name: str = ""
    impls: tuple[str, ...] = ()      # the methods of an Op that serve it, best first
    kernels: bool = False            # it compiles .cl files

    def devices(self) -> tuple[Device, ...]:
        """All devices found. Raises BackendUnavailable with the reason."""
        raise NotImplementedError

    def is_mine(self, x: Array) -> bool:
        raise NotImplementedError

    def device_of(self, x: Array) -> Device:
        raise NotImplementedError

    def empty(self, shape: tuple[int, ...], dtype: Any, device: Device | None = None, stream: Any = None) -> Array:
        raise NotImplementedError

    def put(self, x: np.ndarray, device: Device | None = None, stream: Any = None) -> Array:
        raise NotImplementedError

    def get(self, x: Array, stream: Any = None) -> np.ndarray:
        raise NotImplementedError

    def overwrite(self, x: Array, new: np.ndarray, stream: Any = None) -> Array:
        """The constant x with the values of new: the same memory where kernels hold its address."""
        raise NotImplementedError

    def copy(self, x: Array, to: Array, stream: Any = None) -> None:
        """The values of x into `to`: as many, of the same dtype; both contiguous, of one device, and anywhere in their memory."""
        to[...] = x.reshape(to.shape)

    def wait(self, device: Device, stream: Any = None) -> None:
        """Block until all that was enqueued is done."""

    def current(self, device: Device, stream: Any) -> Any:
        """The stream meant by None: a plan keeps it, so that it always runs on the same one."""
        return stream

    def stream_key(self, stream: Any) -> Any:
        return None

    def extent(self, x: Array) -> tuple[Any, int, int]:
        """Where a contiguous array lies: the owner of these addresses, its first byte and the one behind its last."""
        raise NotImplementedError

    def misfit(self, x: Array) -> str:
        """Why kernels cannot take this array as it lies in memory, and the call that would fix it; '' if they can."""
        if not x.flags.c_contiguous:
            return f"is not C-contiguous (strides {x.strides}); pass {self._library()}.ascontiguousarray(...)"
        return ""

    def _library(self) -> str:
        return "numpy"

    def compile(self, device: Device, source: str, kernel: str, shared: int = 0) -> Any:
        """A kernel that may be launched with so many bytes of SHARED_BYTES."""
        raise NotImplementedError

    def launch(self, kernel: Any, device: Device, grid: tuple[int, ...], block: int, args: tuple[Any, ...], stream: Any, shared: int = 0) -> None:
        raise NotImplementedError


class Numpy(Backend):
    """Host arrays; the specification."""

    name, impls = "numpy", ("numpy",)

    def devices(self) -> tuple[Device, ...]:
        return (Device(self.name, 0, "host"),)

    def is_mine(self, x: Array) -> bool:
        return isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray)      # no kernel would heed the mask

    def device_of(self, x: Array) -> Device:
        return self.devices()[0]

    def empty(self, shape: tuple[int, ...], dtype: Any, device: Device | None = None, stream: Any = None) -> Array:
        return np.empty(shape, dtype)

    def put(self, x: np.ndarray, device: Device | None = None, stream: Any = None) -> Array:
        return x

    def get(self, x: Array, stream: Any = None) -> np.ndarray:
        return np.asarray(x)

    def overwrite(self, x: Array, new: np.ndarray, stream: Any = None) -> Array:
        return new

    def misfit(self, x: Array) -> str:
        if not x.flags.aligned:
            return f"begins at no multiple of its {x.itemsize} bytes; pass a copy"
        return super().misfit(x)

    def extent(self, x: Array) -> tuple[Any, int, int]:
        begin: int = x.ctypes.data
        return None, begin, begin + x.nbytes


class Numba(Numpy):
    """Host arrays; the CPU's speed."""

    name, impls = "numba", ("numba",)


def share(run: Callable[..., object], items: int, *x: Any) -> None:
    """run(first, last, *x) for parts of range(items), a part for each thread that numba may have (numba.set_num_threads); run lets the GIL go.

    prange, which would do this too, compiles all that it calls three times over, and fails when two threads of a program come to it at once."""
    threads = min(numba.get_num_threads(), items)
    ends = [items * k // max(threads, 1) for k in range(threads + 1)]
    others: list[Future[object]] = []
    own = [(0, ends[1])] if items else []
    for part in pairwise(ends[1:]):
        try:
            others.append(_pool().submit(run, *part, *x))
        except RuntimeError as e:
            if not str(e).startswith("cannot schedule new futures"):    # the main thread has ended: this one does all that is left
                raise
            own.append(part)
    try:
        for first, last in own:
            run(first, last, *x)
    finally:
        errors = [future.exception() for future in others]
    for error in errors:
        if error is not None:
            raise error


@cache
def _pool() -> ThreadPoolExecutor:
    """Its threads are made as they are needed."""
    return ThreadPoolExecutor(max(numba.config.NUMBA_NUM_THREADS - 1, 1), thread_name_prefix="gpuredux")  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)       # a child has none of its parent's threads


class Cupy(Backend):
    """NVIDIA devices through CuPy and NVRTC."""

    name, impls, kernels = "cupy", ("cupy", "device"), True

    def devices(self) -> tuple[Device, ...]:
        return _cupy_devices()

    def is_mine(self, x: Array) -> bool:
        return type(x).__module__.partition(".")[0] == "cupy"

    def device_of(self, x: Array) -> Device:
        found: Device = self.devices()[x.device.id]
        return found

    def _on(self, device: Device | None, stream: Any) -> Any:
        from contextlib import ExitStack

        import cupy

        stack = ExitStack()
        stack.enter_context(cupy.cuda.Device(device.index if device else 0))
        if stream is not None:
            stack.enter_context(stream)
        return stack

    def empty(self, shape: tuple[int, ...], dtype: Any, device: Device | None = None, stream: Any = None) -> Array:
        import cupy

        with self._on(device, stream):
            return cupy.empty(shape, dtype)

    def put(self, x: np.ndarray, device: Device | None = None, stream: Any = None) -> Array:
        import cupy

        with self._on(device, stream):
            return cupy.asarray(x)

    def get(self, x: Array, stream: Any = None) -> np.ndarray:
        result: np.ndarray = x.get(stream=stream)
        return result

    def overwrite(self, x: Array, new: np.ndarray, stream: Any = None) -> Array:
        with self._on(self.device_of(x), stream):
            x.set(new)
        return x

    def copy(self, x: Array, to: Array, stream: Any = None) -> None:
        with self._on(self.device_of(to), stream):
            super().copy(x, to)

    def wait(self, device: Device, stream: Any = None) -> None:
        import cupy

        with self._on(device, stream):
            cupy.cuda.get_current_stream().synchronize()

    def current(self, device: Device, stream: Any) -> Any:
        import cupy

        with cupy.cuda.Device(device.index):
            return cupy.cuda.get_current_stream() if stream is None else stream

    def stream_key(self, stream: Any) -> Any:
        return None if stream is None else stream.ptr

    def extent(self, x: Array) -> tuple[Any, int, int]:
        return None, x.data.ptr, x.data.ptr + x.nbytes     # CUDA has one space of addresses for all devices

    def misfit(self, x: Array) -> str:
        if x.size and x.data.ptr % 16:
            return "does not begin at a multiple of 16 bytes; pass a copy"
        return super().misfit(x)

    def _library(self) -> str:
        return "cupy"

    def compile(self, device: Device, source: str, kernel: str, shared: int = 0) -> Any:
        import cupy

        key = (device.index, hashlib.sha256(source.encode()).hexdigest())
        if key not in _programs:
            with self._on(device, None):
                _programs[key] = cupy.RawModule(code=source, options=NVRTC_OPTIONS)
        with self._on(device, None):
            function = _programs[key].get_function(kernel)
            if shared > 48 << 10:       # more than a kernel gets unasked
                function.max_dynamic_shared_size_bytes = shared
            return function

    def launch(self, kernel: Any, device: Device, grid: tuple[int, ...], block: int, args: tuple[Any, ...], stream: Any, shared: int = 0) -> None:
        with self._on(device, stream):
            kernel(grid, (block,), args, shared_mem=shared)


NVRTC_OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true")
_programs: dict[Any, Any] = {}     # compiled modules by device and source; with _contexts and _queues what outlives plans


@cache
def _cupy_devices() -> tuple[Device, ...]:
    try:
        import cupy
    except ModuleNotFoundError as e:
        raise BackendUnavailable(f"cupy: not installed ({e}); pip install 'gpuredux[cuda12]' or 'gpuredux[cuda13]'") from None
    except Exception as e:      # an installation that is broken raises whatever it likes
        raise BackendUnavailable(f"cupy: installed but broken: import cupy raises {type(e).__name__}: {e}") from e
    try:
        found = [cupy.cuda.runtime.getDeviceProperties(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
    except cupy.cuda.runtime.CUDARuntimeError as e:
        raise BackendUnavailable(f"cupy: no CUDA device ({e})") from None
    return tuple(Device("cupy", i, d["name"].decode(), 1, shared=d["sharedMemPerBlockOptin"]) for i, d in enumerate(found))


class Opencl(Backend):
    """Any OpenCL device, CPUs included, through pyopencl."""

    name, impls, kernels = "opencl", ("device",), True

    def devices(self) -> tuple[Device, ...]:
        with _OPENCL:
            return _opencl_devices()[0]

    def is_mine(self, x: Array) -> bool:
        return type(x).__module__.partition(".")[0] == "pyopencl" and hasattr(x, "dtype")

    def device_of(self, x: Array) -> Device:
        return self._device(x.context if x.queue is None else x.queue.context)

    def _device(self, context: Any) -> Device:
        with _OPENCL:
            known = _contexts.get(context.int_ptr)
            if known is None:   # the user's own context: a device of its own
                known = _admit(context, len(self.devices()) + len(_contexts), None)
            return known

    def force_warp_tier(self, device: Device, tier: int) -> Device:
        """The same device with warp operations of this tier (tests: the emulation on a device that has sub-groups)."""
        import pyopencl

        with _OPENCL:       # one context a Device: constants and plans are kept by Device
            for known in _contexts.values():
                if (known.index, known.name, known.warp) == (device.index, device.name, tier):
                    return known
            return _admit(pyopencl.Context(device.handle.devices), device.index, tier)

    def _queue(self, device: Device, stream: Any) -> Any:
        if stream is not None:
            return stream
        import pyopencl

        with _OPENCL:
            if device.handle.int_ptr not in _queues:
                _queues[device.handle.int_ptr] = pyopencl.CommandQueue(device.handle)
            return _queues[device.handle.int_ptr]

    def empty(self, shape: tuple[int, ...], dtype: Any, device: Device | None = None, stream: Any = None) -> Array:
        import pyopencl.array

        return pyopencl.array.empty(self._queue(device or self.devices()[0], stream), shape, dtype)

    def put(self, x: np.ndarray, device: Device | None = None, stream: Any = None) -> Array:
        new = self.empty(x.shape, x.dtype, device, stream)
        return self.overwrite(new, x, stream)

    def get(self, x: Array, stream: Any = None) -> np.ndarray:
        if x.size == 0:
            return np.empty(x.shape, x.dtype)
        result: np.ndarray = x.get(queue=self._queue(self.device_of(x), stream))
        return result

    def overwrite(self, x: Array, new: np.ndarray, stream: Any = None) -> Array:
        if x.size:
            x.set(np.ascontiguousarray(new), queue=self._queue(self.device_of(x), stream))
        return x

    def copy(self, x: Array, to: Array, stream: Any = None) -> None:
        import pyopencl

        if x.size:      # pyopencl's own assignment compiles a kernel
            queue = self._queue(self.device_of(to), stream)
            pyopencl.enqueue_copy(queue, to.base_data, x.base_data, byte_count=to.nbytes, src_offset=x.offset, dst_offset=to.offset)

    def current(self, device: Device, stream: Any) -> Any:
        import pyopencl

        if stream is not None and stream.properties & pyopencl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE:
            raise ValueError("opencl: kernels of a plan follow one another; pass a queue that runs in order")
        return stream

    def wait(self, device: Device, stream: Any = None) -> None:
        self._queue(device, stream).finish()

    def stream_key(self, stream: Any) -> Any:
        return None if stream is None else stream.int_ptr

    def extent(self, x: Array) -> tuple[Any, int, int]:
        if x.size == 0:
            return None, 0, 0
        import pyopencl

        buffer, begin = x.base_data, x.offset
        whole = buffer.get_info(pyopencl.mem_info.ASSOCIATED_MEMOBJECT)
        if whole is not None:       # the buffer is a region of another one
            buffer, begin = whole, begin + buffer.get_info(pyopencl.mem_info.OFFSET)
        return buffer.int_ptr, begin, begin + x.nbytes

    def misfit(self, x: Array) -> str:
        if x.size and x.offset:
            import pyopencl

            align = max(self.device_of(x).handle.devices[0].mem_base_addr_align // 8, 16)
            if x.offset % align:
                return f"begins {x.offset} bytes into its buffer, not at a multiple of {align}; pass a copy"
            if x.base_data.get_info(pyopencl.mem_info.ASSOCIATED_MEMOBJECT) is not None:
                return f"begins {x.offset} bytes into a region of a buffer, and OpenCL has no regions of regions; pass a copy"
        return super().misfit(x)

    def compile(self, device: Device, source: str, kernel: str, shared: int = 0) -> Any:
        import pyopencl

        key = (device.handle.int_ptr, hashlib.sha256(source.encode()).hexdigest())
        if key not in _programs:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                options = ["-cl-std=CL3.0" if device.warp == 2 else "-cl-std=CL1.2"]
                _programs[key] = pyopencl.Program(device.handle, source).build(options)
            for w in caught:
                log.debug("OpenCL compiler: %s", w.message)
        return pyopencl.Kernel(_programs[key], kernel)

    def launch(self, kernel: Any, device: Device, grid: tuple[int, ...], block: int, args: tuple[Any, ...], stream: Any, shared: int = 0) -> None:
        buffers = [_buffer(a) if hasattr(a, "base_data") else a for a in args]
        kernel(self._queue(device, stream), (grid[0] * block, *grid[1:]), (block,) + (1,) * (len(grid) - 1), *buffers)


def _buffer(x: Array) -> Any:
    return x.base_data if x.offset == 0 or x.size == 0 else x.base_data.get_sub_region(x.offset, x.nbytes)


_OPENCL = threading.RLock()      # of the two tables below: one Device a context and one default queue, whichever thread comes first
_contexts: dict[int, Device] = {}
_queues: dict[int, Any] = {}
ADMISSION = """
KERNEL(64) admission(GLOBAL u32 *out) {
    WARP_SCRATCH(w, 64);
    u32 odd = warp_ballot(w, (LID & 1u) != 0u);
    out[LID] = odd == 0xaaaaaaaau ? warp_scan(w, 1u) + warp_shuffle(w, LID, 31u - LANE) : 0u;
}"""


def _admit(context: Any, index: int, tier: int | None) -> Device:
    """The Device of an OpenCL context, if the test kernel gives the right answer; else BackendUnavailable."""
    import pyopencl

    cl_device = context.devices[0]
    have = cl_device.extensions.split()
    wanted = ("cl_intel_required_subgroup_size", "cl_khr_subgroup_ballot", "cl_khr_subgroup_shuffle")
    tiers = [tier] if tier else [2, 3] if all(e in have for e in wanted) else [3]
    name = f"{cl_device.platform.name} {cl_device.platform.version.split()[1]}: {cl_device.name.strip()}"
    problem: object = ""
    for attempt in tiers:
        cpu = bool(cl_device.type & pyopencl.device_type.CPU)
        wide, frames = (1, 4) if attempt == 2 and cpu else (8, 16)
        device = Device("opencl", index, name, attempt, wide, frames, cl_device.local_mem_size, cpu, context)
        source = f"#define WARP_TIER {attempt}\n" + _text("device.h") + ADMISSION
        _contexts[context.int_ptr] = device
        try:
            out = OPENCL.empty((64,), np.uint32, device)
            OPENCL.launch(OPENCL.compile(device, source, "admission"), device, (1,), 64, (out,), None)
            lane = np.arange(64) % 32
            if np.array_equal(OPENCL.get(out), lane + 1 + 31 - lane + np.arange(64) // 32 * 32):
                return device
            problem = "the test kernel gave wrong numbers"
        except pyopencl.Error as e:
            problem = e
    del _contexts[context.int_ptr]
    raise BackendUnavailable(f"opencl: {name} refused: {problem}")


def _vendor_files() -> dict[str, str]:
    """The .icd files of the system, and one for each OpenCL runtime that came from PyPI (its own points to a wrong folder)."""
    found = {p.name: p.read_text().strip() for p in sorted(Path("/etc/OpenCL/vendors").glob("*.icd"))}
    try:
        files = importlib.metadata.files("intel-opencl-rt") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for f in files:
        if f.name == "libintelocl.so":
            found["intel-cpu.icd"] = str(Path(str(f.locate())).resolve())
    return found


def _cl_devices(platforms: list[Any]) -> tuple[list[Any], list[str]]:
    """Their devices, GPUs and sub-groups first; and a remark on every platform that does not answer: a broken driver hides no other one."""
    import pyopencl

    found: list[tuple[bool, bool, Any]] = []
    remarks: list[str] = []
    for platform in platforms:
        try:
            found += [(not d.type & pyopencl.device_type.GPU, "cl_khr_subgroup_ballot" not in d.extensions, d) for d in platform.get_devices()]
        except pyopencl.Error as e:
            remarks.append(f"opencl: {platform.name}: {e}")
    return [d for _, _, d in sorted(found, key=lambda f: f[:2])], remarks


@cache
def _opencl_devices() -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Devices admitted, and remarks on what was left out. The loader inside pyopencl's wheel reads OCL_ICD_VENDORS once, so it is set first."""
    vendors = _vendor_files()
    if importlib.util.find_spec("pyopencl") is None:
        raise BackendUnavailable("opencl: pyopencl is not installed; pip install 'gpuredux[opencl]' (or [opencl-cpu], with Intel's CPU runtime)")
    own = os.environ.get("OCL_ICD_VENDORS")
    if own is None and vendors:
        folder = tempfile.mkdtemp(prefix="gpuredux-icd-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for name, library in vendors.items():
            (Path(folder) / name).write_text(library)
        os.environ["OCL_ICD_VENDORS"] = folder
    try:
        import pyopencl
    except Exception as e:      # an installation that is broken raises whatever it likes
        raise BackendUnavailable(f"opencl: installed but broken: import pyopencl raises {type(e).__name__}: {e}") from e
    try:
        platforms = pyopencl.get_platforms()
    except pyopencl.Error as e:
        raise BackendUnavailable(f"opencl: no platform ({e}); pip install 'gpuredux[opencl-cpu]' brings a CPU runtime") from None
    admitted: list[Device] = []
    cl_devices, remarks = _cl_devices(platforms)
    for cl_device in cl_devices:
        try:
            admitted.append(_admit(pyopencl.Context([cl_device]), len(admitted), None))
        except BackendUnavailable as e:
            remarks.append(str(e))
        except pyopencl.Error as e:
            remarks.append(f"opencl: {cl_device.name}: no context: {e}")
    if "intel-cpu.icd" in vendors and not any("Intel" in p.name for p in platforms):
        why = "OCL_ICD_VENDORS is set by hand" if own else "OpenCL was queried before gpuredux"
        remarks.append(f"opencl: Intel's CPU runtime is installed but not seen: {why}")
    if not admitted:
        raise BackendUnavailable("; ".join(remarks) or "opencl: no device")
    return tuple(admitted), tuple(remarks)


NUMPY, NUMBA, CUPY, OPENCL = Numpy(), Numba(), Cupy(), Opencl()
BACKENDS: dict[str, Backend] = {b.name: b for b in (NUMPY, NUMBA, CUPY, OPENCL)}


def get(name: str) -> Backend:
    """The backend of this name. Raises ValueError for an unknown name, BackendUnavailable if it cannot run here."""
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is unknown: choose from {', '.join(BACKENDS)}")
    BACKENDS[name].devices()
    return BACKENDS[name]


def owners(x: Array) -> list[Backend]:
    """The backends whose array x is, the fastest first."""
    return [b for b in (NUMBA, NUMPY, CUPY, OPENCL) if b.is_mine(x)]


def available() -> dict[str, list[str]]:
    """For each backend the devices it found, or why it cannot run: {'numba': ['numba:0 host'], 'cupy': ['cannot run: ...']}"""
    table = {}
    for name, backend in BACKENDS.items():
        try:
            table[name] = [str(d) for d in backend.devices()]
            if name == "opencl":
                table[name] += [f"left out: {r}" for r in _opencl_devices()[1]]
        except BackendUnavailable as e:
            table[name] = [f"cannot run: {e}"]
    return table
