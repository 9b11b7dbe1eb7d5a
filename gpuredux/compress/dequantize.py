"""energy = code * step: what Quantize wrote, back in float32, outliers exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import njit, prange

from ..op import Op, Plan, Spec, bits_define, frame_grid, frame_of, live_rows, nbytes, vector


class Code(NamedTuple):
    """How values are written as integers: the range that counts, two reserved codes, and the significant bits a step may
    have, so that code * step is one exact number in decode_dtype."""

    dtype: np.dtype[Any]
    lowest: int
    highest: int
    fill: int       # the value is in the outlier list
    masked: int     # the pixel is not a measurement
    step_bits: int
    decode_dtype: np.dtype[Any]

    def word(self, code: int) -> str:
        """The code as an unsigned C literal of its own width."""
        return f"{code & (1 << 8 * self.dtype.itemsize) - 1}u"

    def defines(self) -> dict[str, Any]:
        """What quantize.cl and dequantize.cl must know."""
        bits, signed = 8 * self.dtype.itemsize, self.dtype.kind == "i"
        return {"CODE_BITS": bits, "CODE_SIGNED": signed, "CODE_FILL": self.word(self.fill), "CODE_MASKED": self.word(self.masked),
                "CODE_LOWEST": f"{self.lowest}.0f", "CODE_HIGHEST": f"{self.highest}.0f"}


F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
CODES = {
    "int16": Code(np.dtype(np.int16), -(2**15) + 2, 2**15 - 1, -(2**15), -(2**15) + 1, 9, F32),
    "uint16": Code(np.dtype(np.uint16), 0, 2**16 - 3, 2**16 - 1, 2**16 - 2, 8, F32),
    "int32": Code(np.dtype(np.int32), -(2**22) + 1, 2**22 - 1, -(2**31), -(2**31) + 1, 24, F64),
}


def round_down(value: float, bits: int) -> float:
    """The largest number of so many significant bits that is not above the value (positive, finite, normal)."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(math.ldexp(mantissa, bits)), exponent - bits)


@dataclass(frozen=True, eq=False)
class Dequantize(Op):
    """energy = code * step in float32; the listed value where the code is FILL; masked_value where it is MASKED.

    fields: step [the unit of energy], one of Quantize(...).step; code "int16", "uint16" or "int32"; masked_value 0 or NaN
    in:  code (n, *frame) i16, u16 or i32; outlier_index (n, capacity) u32, ascending, and outlier_value (n, capacity) f32, of which
         the first outlier_count (n,) u32 count; live (1,) i32
    out: energy (n, *frame) f32: NaN where the code is FILL and the list, cut off at its capacity, does not hold the pixel
    exact: code * step for 16-bit codes is a float32, for int32 it is rounded once to float32; Quantize has checked its bound on
           this very number
    source: Quantize; scale_factor, _FillValue and missing_value of the CF conventions
    """

    name: ClassVar[str] = "compress.dequantize"
    inputs: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    step: float
    code: str = "int16"
    masked_value: float = math.nan

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.name}: code must be one of {', '.join(CODES)}, got {self.code!r}")
        step, bits = float(self.step), self.kind.step_bits
        if not (2.0**-100 <= step <= 2.0**101 and round_down(step, bits) == step):
            raise ValueError(f"{self.name}: step must be 2**-100 to 2**101 with {bits} significant bits for {self.code}, as Quantize.step is; got {self.step}")
        self.zero_or_nan("masked_value")
        object.__setattr__(self, "step", step)

    @property
    def kind(self) -> Code:
        return CODES[self.code]

    def outputs(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("code", code, self.kind.dtype, ("n", *frame_of(code))).shape
        self.require("outlier_index", index, np.uint32, (shape[0], "capacity"))
        self.require("outlier_value", value, np.float32, (shape[0], index.shape[1]))
        self.require("outlier_count", count, np.uint32, (shape[0],))
        self.require_live(live)
        return (Spec("energy", shape, F32),)

    def traffic(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> int:
        return nbytes(code, count, live) + nbytes(*self.outputs(code, index, value, count, live))    # the lists: nothing, if empty

    def numpy(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        for f in range(live_rows(code, live)):
            with np.errstate(over="ignore"):    # the two reserved codes
                y = code[f].astype(np.float32) * np.float32(self.step)
            y[code[f] == self.kind.masked] = self.masked_value
            y[code[f] == self.kind.fill] = np.nan
            listed = min(int(count[f]), index.shape[1])
            for pixel in np.flatnonzero(code[f] == self.kind.fill):
                slot = np.searchsorted(index[f, :listed], np.uint32(pixel))
                if slot < listed and index[f, slot] == pixel:
                    y.reshape(-1)[pixel] = value[f, slot]
            energy[f] = y

    def numba(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, shape = live_rows(code, live), (len(code), math.prod(code.shape[1:]))
        kind = self.kind
        dequantize_tiles(code.reshape(shape)[:n], index, value, count, energy.reshape(shape), np.float32(self.step),
                         kind.dtype.type(kind.fill), kind.dtype.type(kind.masked), np.float32(self.masked_value))

    def device(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, npix = code.shape[0], math.prod(code.shape[1:])
        plan.launch(
            "compress/dequantize.cl", "dequantize", frame_grid(n, npix), 128,
            (code, index, value, count, energy, energy if live is None else live, np.float32(self.step), np.uint32(index.shape[1]),
             np.uint32(n), np.uint32(npix)),
            VECTOR=vector(npix), LIVE=live is not None, MASKED_VALUE=bits_define(self.masked_value), **self.kind.defines(),
        )


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def dequantize_tiles(code, index, value, count, energy, step, fill, masked, masked_value):
    """Tiles of 4096 pixels of one frame: all as if coded, and then, only if there are any, the outliers by bisection."""
    n, npix = code.shape
    n_tiles = (npix + 4095) // 4096
    nan = np.float32(np.nan)
    for job in prange(n * n_tiles):
        f, first = np.int64(job) // n_tiles, np.int64(job) % n_tiles * 4096     # job is unsigned: mixed, it would become a float
        row, out = code[f], energy[f]
        outliers = np.uint32(0)
        for j in range(np.uint64(first), np.uint64(min(first + 4096, npix))):
            c = row[j]
            y = np.float32(c) * step
            y = masked_value if c == masked else y
            out[j] = nan if c == fill else y
            outliers += np.uint32(c == fill)
        if outliers:
            listed = min(np.int64(count[f]), np.int64(index.shape[1]))
            for j in range(first, min(first + 4096, npix)):
                if row[j] == fill:
                    low, high = 0, listed
                    while low < high:
                        middle = (low + high) // 2
                        if index[f, middle] < j:
                            low = middle + 1
                        else:
                            high = middle
                    if low < listed and index[f, low] == j:
                        out[j] = value[f, low]
