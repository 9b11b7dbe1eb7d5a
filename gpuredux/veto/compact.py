"""The rows that a decision names move to the front, in order: what a veto drops costs nothing from here on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..backends import share
from ..op import Op, Plan, Spec, live_rows, read_only, spec_of

COLUMNS = {"keep": (True, False), "raw": (False, True), "any": (True, True)}
UNITS = {16: "uint4", 8: "u64", 4: "u32", 2: "u16", 1: "u8"}


@dataclass(frozen=True, eq=False)
class Compact(Op):
    """x_out[j] = x[source[j]] for j < live: source lists the rows whose decision is not 0, ascending. Stable stream compaction.

    fields: names of the arrays to be compacted; by = "keep", "raw" or "any" (keep or raw)
    in:  decision (n, 4) i32; each of `names` (n, ...) of any dtype; frame_status (n,) u32; live (1,) i32
    out: each of `names`, same shape and dtype; source (n,) i32: the row each came from; live (1,) i32: how many;
         frame_status (n,) u32, when given: gathered alike
    exact: bit-identical on every backend. Rows at or beyond the new live are not written in any output
    source: Blelloch, Prefix sums and their applications, CMU-CS-90-190 (1990): pack
    """

    name: ClassVar[str] = "veto.compact"
    inputs: ClassVar[tuple[str, ...]] = ("decision", "raw", "frame_status?", "live?")     # of the default names
    writes: ClassVar[tuple[str, ...]] = ("raw", "source", "live")

    names: tuple[str, ...] = ("raw",)
    by: str = "keep"

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        object.__setattr__(self, "names", names)
        taken = [k for k in names if k in ("decision", "source", "live", "frame_status") or not k.isidentifier()]
        if taken or len(set(names)) < len(names):
            got = ", ".join(taken) or "twice the same"
            raise ValueError(f"{self.name}: names must be different names of arrays, got {got}; frame_status goes along by itself")
        if self.by not in COLUMNS:
            raise ValueError(f"{self.name}: by must be {', '.join(COLUMNS)}, got {self.by!r}")
        object.__setattr__(self, "inputs", ("decision", *names, "frame_status?", "live?"))
        object.__setattr__(self, "writes", (*names, "source", "live"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__post_init__()

    def outputs(self, decision: Any, *x: Any) -> tuple[Spec, ...]:
        *arrays, frame_status, live = x
        n = self.require("decision", decision, np.int32, ("n", 4)).shape[0]
        out = []
        for name, a in zip(self.names, arrays, strict=True):
            if not hasattr(a, "shape") or not hasattr(a, "dtype"):
                raise TypeError(f"{self.name}: {name} must be an array ({n}, ...), got {type(a).__name__}")
            spec = spec_of(name, a)
            if spec.shape[:1] != (n,):
                raise ValueError(f"{self.name}: {name} must be ({n}, ...) like decision, got {spec.shape}")
            if spec.dtype.hasobject:
                raise TypeError(f"{self.name}: {name} must hold plain bytes, got {spec.dtype}")
            out.append(spec)
        out += [Spec("source", (n,), np.dtype(np.int32)), Spec("live", (1,), np.dtype(np.int32))]
        return (*out, *self.frame_outputs(n, frame_status, live))

    def _split(self, x_and_out: tuple[Any, ...]) -> tuple[Any, list[tuple[Any, Any]], Any, Any]:
        """live, the pairs (from, to), source, new live."""
        k = len(self.names)
        arrays, (frame_status, live), out = x_and_out[:k], x_and_out[k : k + 2], x_and_out[k + 2 :]
        moved, (source, new_live), new_status = out[:k], out[k : k + 2], out[k + 2 :]
        pairs = [*zip(arrays, moved, strict=True), *((frame_status, s) for s in new_status)]
        return live, pairs, source, new_live

    def numpy(self, plan: Plan, decision: Any, *x_and_out: Any) -> None:
        live, pairs, source, new_live = self._split(x_and_out)
        keep, raw = COLUMNS[self.by]
        rows = decision[: live_rows(decision, live)]
        (chosen,) = np.nonzero((keep & (rows[:, 0] != 0)) | (raw & (rows[:, 1] != 0)))
        count = len(chosen)
        source[:count] = chosen
        new_live[0] = count
        for a, b in pairs:
            b[:count] = a[chosen]

    def numba(self, plan: Plan, decision: Any, *x_and_out: Any) -> None:
        live, pairs, source, new_live = self._split(x_and_out)
        count = list_rows(decision[: live_rows(decision, live)], *COLUMNS[self.by], source)
        new_live[0] = count
        for a, b in pairs:
            copy_rows(_words(a), _words(b), source[:count])

    def device(self, plan: Plan, decision: Any, *x_and_out: Any) -> None:
        live, pairs, source, new_live = self._split(x_and_out)
        keep, raw = COLUMNS[self.by]
        n = decision.shape[0]
        args = (decision, new_live if live is None else live, source, new_live, np.uint32(n))
        plan.launch("veto/compact.cl", "list_rows", (1,), 128, args, LIVE=live is not None, BY_KEEP=keep, BY_RAW=raw)
        for a, b in pairs:
            size = math.prod(a.shape[1:]) * np.dtype(a.dtype).itemsize
            unit = math.gcd(size, 16) if size else 1
            units = size // unit
            tiles = -(-units // 512)
            if units < 128:     # a thread a unit, so that rows of a few bytes do not each start a block
                plan.launch("veto/compact.cl", "copy_small_rows", (-(-n * units // 128),), 128, (source, new_live, a, b, np.uint32(units)), UNIT=UNITS[unit])
            else:
                plan.launch("veto/compact.cl", "copy_rows", (n * tiles,), 128, (source, new_live, a, b, np.uint32(units), np.uint32(tiles)), UNIT=UNITS[unit])


def _words(x: np.ndarray) -> np.ndarray:
    """The same memory as rows of u64, or of bytes where a row's size is no multiple of 8."""
    size = math.prod(x.shape[1:]) * x.dtype.itemsize
    word, width = (np.uint8, 1) if size % 8 else (np.uint64, 8)
    return x.reshape(-1).view(np.uint8).view(word).reshape(len(x), size // width)


@njit(cache=True, nogil=True)
def list_rows(decision, keep, raw, source):
    """Write the chosen rows to source; how many."""
    count = 0
    for i in range(len(decision)):
        if (keep and decision[i, 0] != 0) or (raw and decision[i, 1] != 0):
            source[count] = i
            count += 1
    return count


def copy_rows(a, b, source):
    """b[j] = a[source[j]], in tiles of 8192 words."""
    share(_tiles, len(source) * -(-a.shape[1] // 8192), read_only(a), b, source)


@njit(cache=True, nogil=True)
def _tiles(first, last, a, b, source):
    tiles = (a.shape[1] + 8191) // 8192
    for task in range(first, last):
        j, tile = task // tiles, task % tiles
        i = np.uint64(source[j])
        for k in range(np.uint64(tile * 8192), np.uint64(min(tile * 8192 + 8192, a.shape[1]))):
            b[j, k] = a[i, k]
