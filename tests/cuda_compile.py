"""python tests/cuda_compile.py: every kernel that a case of any op launches, fused ones too, compiled for CUDA; no driver, no GPU, no toolkit.

NVRTC compiles for sm_80, sm_90 and sm_100 with CuPy's options; ptxas's own lines are read from its log. A stack frame, a spill, a
warning or an error fails. Before all that it must fail a kernel that was planted: a check that cannot fail is none."""

from __future__ import annotations

import hashlib
import math
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:] = [p for p in sys.path if Path(p).resolve() != ROOT]     # compile what was installed, not the checkout

import numpy as np  # noqa: E402
import test_fusing  # noqa: E402
import test_giving  # noqa: E402
from cuda.bindings import nvrtc  # noqa: E402

import gpuredux  # noqa: E402
from gpuredux.backends import BACKENDS, NVRTC_OPTIONS, Backend, Device  # noqa: E402
from gpuredux.datasets.cases import CASES, FEEDING, Case  # noqa: E402
from gpuredux.op import Spec  # noqa: E402

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
REGISTERS = 65536      # of a multiprocessor
UNUSED = "--diag-suppress=177,550"      # a variable that this choice of defines does not use
STACK_FRAME = 'KERNEL(128) planted(GLOBAL u32 *p) { volatile u32 a[64]; for (u32 k = 0; k < 64u; k++) a[k] = p[k]; p[LID] = a[p[LID] & 63u]; }'


class Usage(NamedTuple):
    """What ptxas says of one kernel."""

    registers: int
    shared: int
    faults: tuple[str, ...]


class Collector(Backend):
    """A backend that keeps the kernels it is asked to compile, and never runs one: plans need no more than specs."""

    name, impls, kernels = "cuda-compile", ("device",), True

    def __init__(self) -> None:
        self.wanted: dict[str, dict[str, str]] = {}     # source: kernel: the op and case that first asked for it
        self.asking = ""

    def devices(self) -> tuple[Device, ...]:
        return (Device(self.name, 0, "no device", 1, shared=227 << 10),)     # of sm_90 and sm_100; sm_80 has 163 KiB

    def empty(self, shape: tuple[int, ...], dtype: Any, device: Device | None = None, stream: Any = None) -> Any:
        return np.empty(shape, dtype)

    def put(self, x: np.ndarray, device: Device | None = None, stream: Any = None) -> Any:
        return x

    def compile(self, device: Device, source: str, kernel: str, shared: int = 0) -> None:
        self.wanted.setdefault(source, {}).setdefault(kernel, self.asking)


def check(result: Any, program: Any = None) -> Any:
    code, *rest = result
    if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"{nvrtc.nvrtcGetErrorString(code)[1].decode()}\n{log_of(program) if program else ''}")
    return rest[0] if rest else None


def log_of(program: Any) -> str:
    text = b" " * check(nvrtc.nvrtcGetProgramLogSize(program))
    check(nvrtc.nvrtcGetProgramLog(program, text))
    return text.decode().strip("\0 \n")


def compile_for(architecture: str, source: str, kernels: list[str]) -> list[Usage]:
    """Each kernel's lines in the log of ptxas; anything else that a compiler says is a fault."""
    program = check(nvrtc.nvrtcCreateProgram(source.encode(), b"gpuredux.cu", 0, [], []))
    options = [*NVRTC_OPTIONS, UNUSED, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    try:
        check(nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options]), program)
        log = log_of(program)
        return [read_log(log, kernel) for kernel in kernels]
    except RuntimeError as e:       # of one kernel: the others are still asked
        return [Usage(0, 0, (" ".join(str(e).split()),)) for _ in kernels]
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def read_log(log: str, kernel: str) -> Usage:
    part = re.search(rf"Compiling entry function '{kernel}'.*?(?=ptxas info\s*: Compiling entry|\Z)", log, re.S)
    numbers = part and re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part[0])
    registers = part and re.search(r"Used (\d+) registers", part[0])
    if not (part and numbers and registers):
        raise RuntimeError(f"ptxas said nothing that is understood of {kernel}:\n{log}")
    shared = re.search(r"(\d+) bytes smem", part[0])
    names = ("stack frame", "spill stores", "spill loads")
    faults = [f"{n} bytes {what}" for n, what in zip(map(int, numbers.groups()), names, strict=True) if n]
    faults += [line.strip() for line in log.splitlines() if re.search(r"\b(warning|error)\b", line)]
    return Usage(int(registers[1]), int(shared[1]) if shared else 0, tuple(faults))


def collect() -> Collector:
    """Dry-run plans of every case, of every pair that can be fused, and of the tests' longer chains."""
    collector = Collector()
    BACKENDS[collector.name] = collector
    (device,) = collector.devices()

    def plan(op: gpuredux.Op, inputs: dict[str, Any], asking: str) -> None:
        collector.asking = asking
        op._plan(op.bind((), inputs), collector, device, None)

    for name in gpuredux.OPS:
        for case in CASES[name]():
            plan(case.op, case.inputs, f"{name} {case.name}")
            for feeds, fed in fed_by(case):
                plan(gpuredux.Chain([case.op, fed.op]), case.inputs | fed.inputs, f"{name} + {feeds} {case.name}")
    rows = 65_536      # one more than CUDA's gridDim.y: axes turned
    plan(gpuredux.compress.Pack(), {"payload": Spec("payload", (rows, 16), np.dtype(np.uint8)), "size": Spec("size", (rows,), np.dtype(np.uint32))}, "turned")
    for name, line in (test_fusing.LINES | test_giving.LINES).items():
        chain = gpuredux.Chain(line.ops, keep=line.keep)
        plan(chain, {k: v for k, v in line.inputs.items() if k in chain.input_names}, f"chain: {name}")
    return collector


def fed_by(case: Case) -> list[tuple[str, Case]]:
    if not case.fuse:
        return []
    n, *frame = next(o for o in case.op.outputs(*case.op.bind((), case.inputs)) if o.name == case.op.pixel_output).shape
    given = {o.name for o in case.op.outputs(*case.op.bind((), case.inputs))}
    return [(k, c) for k, op in gpuredux.OPS.items() if op.loads[:1] == (case.op.pixel_output,) for c in FEEDING[k](tuple(frame), n)
            if k != case.op.name and {i for i in c.op.inputs if not i.endswith("?")} <= given | set(c.inputs)]


def prove_that_it_fails() -> None:
    source = "#define WARP_TIER 1\n" + (Path(gpuredux.__file__).parent / "device.h").read_text() + STACK_FRAME
    for architecture in ARCHITECTURES:
        if not any("stack frame" in fault for fault in compile_for(architecture, source, ["planted"])[0].faults):
            sys.exit(f"the planted kernel has a stack frame on {architecture}, and this check did not see it")


def main() -> int:
    warnings.simplefilter("error")
    prove_that_it_fails()
    collector = collect()
    jobs = [(a, source, kernels) for source, kernels in collector.wanted.items() for a in ARCHITECTURES]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: compile_for(job[0], job[1], list(job[2])), jobs))
    rows = [(k, a, usage, source, said) for (a, source, kernels), found in zip(jobs, results, strict=True)
            for (k, said), usage in zip(kernels.items(), found, strict=True)]
    for kernel, architecture, usage, source, said in rows:
        blocks = REGISTERS // (128 * math.ceil(max(usage.registers, 1) / 8) * 8)
        verdict = "FAIL " + "; ".join(usage.faults) if usage.faults else "ok"
        digest = hashlib.sha256(source.encode()).hexdigest()[:8]
        print(f"{kernel:18} {architecture:6} {usage.registers:3} registers ({blocks:2} blocks) {usage.shared:6} B shared  {digest}  {verdict}  {said}")
    bad = sum(bool(usage.faults) for _, _, usage, _, _ in rows)
    print(f"{len(rows) - bad} passed, {bad} failed")
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
