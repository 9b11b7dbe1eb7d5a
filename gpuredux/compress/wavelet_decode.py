"""energy = inverse DWT(code[0] * step) + code[1] * residual_step: the decoder of compress.Wavelet, whose arithmetic the encoder checks its bound by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..features.lifting import Lifting
from ..op import Op, Plan, Spec, bits_define, frame_grid, live_rows, nbytes, read_only, vector
from .dequantize import round_down
from .wavelet_numba import LISTED, MASKED, dequantise_rows, finish_tiles

BITS = 9            # of a step: its product with a code's magnitude is exact
MOST_LEVELS = 8


@dataclass(frozen=True, eq=False)
class WaveletDecode(Op):
    """energy = y + code[1] * residual_step, y = inverse DWT(code[0] * step), 9/7; the listed value at LISTED; masked_value at MASKED.

    fields: steps [unit of energy]: of the approximation, then of the details of level 1 (the finest), 2 ...; residual_step: of corrections; both as
            Wavelet(...).inverse() has them, of 9 significant bits; masked_value 0 or NaN
    in:  code (n, 2, *panels, rows, cols) u16, folded: 0, 1, 2, 3, 4 ... are 0, -1, 1, -2, 2 ...; outlier_index (n, capacity) u32, ascending, and
         outlier_value (n, capacity) f32, of which the first outlier_count (n,) u32 count; live (1,) i32
    out: energy (n, *frame) f32: NaN where a pixel is LISTED and the list, cut off at its capacity, does not hold it
    exact: bit-identical on every backend: one stated order of float32 operations, each rounded once
    source: Wavelet; ITU-T T.800 (JPEG 2000) annexes E and F
    """

    name: ClassVar[str] = "compress.wavelet_decode"
    inputs: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    steps: tuple[float, ...] = ()
    residual_step: float = 1.0
    masked_value: float = math.nan

    def __post_init__(self) -> None:
        if not isinstance(self.steps, (tuple, list)) or not 2 <= len(self.steps) <= MOST_LEVELS + 1:
            raise ValueError(f"{self.name}: steps must be a tuple of 2 to {MOST_LEVELS + 1} numbers, that of the approximation first, got {self.steps!r}")
        object.__setattr__(self, "steps", tuple(float(s) for s in self.steps))
        object.__setattr__(self, "residual_step", self.number("residual_step"))
        for field, values in (("steps", self.steps), ("residual_step", (self.residual_step,))):
            if not all(2.0**-110 <= s <= 2.0**110 and round_down(s, BITS) == s for s in values):
                raise ValueError(f"{self.name}: {field} must be 2**-110 to 2**110 with {BITS} significant bits, as Wavelet has it, got {getattr(self, field)}")
        self.zero_or_nan("masked_value")

    @property
    def levels(self) -> int:
        return len(self.steps) - 1

    @cached_property
    def lifting(self) -> Lifting:
        return Lifting("9/7", "float32", self.levels, back=True)

    def constants(self) -> dict[str, np.ndarray]:
        return {"steps": np.array(self.steps, np.float32)}

    def outputs(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> tuple[Spec, ...]:
        panels = tuple(getattr(code, "shape", ())[2:-2])
        n, _, *frame = self.require("code", code, np.uint16, ("n", 2, *panels, "rows", "cols")).shape
        if min(frame) < 1:
            raise ValueError(f"{self.name}: code must have no empty axis, got {tuple(code.shape)}")
        self.require("outlier_index", index, np.uint32, (n, "capacity"))
        self.require("outlier_value", value, np.float32, (n, index.shape[1]))
        self.require("outlier_count", count, np.uint32, (n,))
        self.require_live(live)
        return (Spec("energy", (n, *frame), np.dtype(np.float32)),)

    def scratch(self, code: Any, *x: Any) -> tuple[Spec, ...]:
        shape, f32 = (code.shape[0], *code.shape[2:]), np.dtype(np.float32)
        return Spec("coefficients", shape, f32), Spec("rebuilt", shape, f32), *self.lifting.scratch(Spec("energy", shape, f32), None)

    def traffic(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> int:
        out = self.outputs(code, index, value, count, live)
        return nbytes(code, count, live) + nbytes(*out) + nbytes(*self.constants().values())    # the lists: nothing, if empty

    def numpy(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        steps = level_plane(code.shape[-2:], [plan.constants["steps"]])[0]
        for f in range(live_rows(code, live)):
            y = self.lifting((unfolded(code[f, 0]) * steps)[None], backend="numpy")[0]
            y = y + unfolded(code[f, 1]) * np.float32(self.residual_step)
            y = np.where(np.isnan(y), np.float32(np.nan), y)
            y[code[f, 1] == MASKED] = self.masked_value
            y[code[f, 1] == LISTED] = np.nan
            listed = min(int(count[f]), index.shape[1])
            for pixel in np.flatnonzero(code[f, 1] == LISTED):
                slot = np.searchsorted(index[f, :listed], np.uint32(pixel))
                if slot < listed and index[f, slot] == pixel:
                    y.reshape(-1)[pixel] = value[f, slot]
            energy[f] = y

    def numba(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, npix, (rows, cols) = live_rows(code, live), math.prod(code.shape[2:]), code.shape[-2:]
        c, rebuilt = (plan.scratch[k][:n] for k in ("coefficients", "rebuilt"))
        shape = (n, npix // (rows * cols), rows, cols)
        dequantise_rows(read_only(code[:n].reshape(n, 2, *shape[1:])), c.reshape(shape), self.levels, read_only(plan.constants["steps"]))
        self.lifting.numba(plan, read_only(c), None, rebuilt)
        finish_tiles(read_only(code[:n].reshape(n, 2, npix)), read_only(rebuilt.reshape(n, npix)), read_only(index), read_only(value), read_only(count),
                     energy[:n].reshape(n, npix), np.float32(self.residual_step), np.float32(self.masked_value))

    def device(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, npix, (rows, cols) = code.shape[0], math.prod(code.shape[2:]), code.shape[-2:]
        c, rebuilt, alive, grid = plan.scratch["coefficients"], plan.scratch["rebuilt"], code if live is None else live, frame_grid(n, npix)
        defines: dict[str, Any] = {"VECTOR": vector(npix), "LIVE": live is not None, "MASKED_VALUE": bits_define(self.masked_value)}
        frames, pixels, *shape, cap = (np.uint32(k) for k in (n, npix, rows, cols, self.levels, index.shape[1]))
        file = "compress/wavelet_decode.cl"
        plan.launch(file, "wavelet_dequantise", grid, 128, (code, c, plan.constants["steps"], alive, frames, pixels, *shape), **defines)
        self.lifting.device(plan, c, live, rebuilt)
        last = (code, rebuilt, index, value, count, energy, alive, np.float32(self.residual_step), cap, frames, pixels)
        plan.launch(file, "wavelet_finish", grid, 128, last, **defines)


def level_plane(image: Sequence[int], tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each table's entry for every pixel of an image of coefficients: entry 0 for the approximation, entry k for the details of level k."""
    rows, cols = image
    level = np.zeros((rows, cols), np.intp)
    for k in range(1, len(tables[0])):
        inner_rows, inner_cols = (rows + 1) // 2, (cols + 1) // 2
        level[inner_rows:rows, :cols] = k
        level[:rows, inner_cols:cols] = k
        rows, cols = inner_rows, inner_cols
    return [table[level] for table in tables]


def unfolded(code: np.ndarray) -> np.ndarray:
    """0, 1, 2, 3, 4 ... as 0, -1, 1, -2, 2 ..., in float32."""
    wide = code.astype(np.int32)
    return ((wide >> 1) ^ -(wide & 1)).astype(np.float32)
