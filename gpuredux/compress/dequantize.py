"""energy = code * step, code * scale of its pixel, or a level of an even spacing of logarithms. Over 200 lines: what a code means, for the three bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..op import Op, Plan, Spec, bits_define, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from .dequantize_numba import dequantize_levels, dequantize_tiles


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
    highest_magnitude: int      # of a relative bound: the codes of both signs reach as far
    zero: int = 0               # the code of 0: lowest and highest are multiples of the step, and this is added to them

    def shifted(self, zero: int) -> Code:
        """The same codes, of which this one is 0."""
        return self._replace(lowest=self.lowest - zero, highest=self.highest - zero, zero=zero)

    def word(self, code: int) -> str:
        """The code as an unsigned C literal of its own width."""
        return f"{code & (1 << 8 * self.dtype.itemsize) - 1}u"

    def defines(self) -> dict[str, Any]:
        """What quantize.cl and dequantize.cl must know."""
        bits, signed = 8 * self.dtype.itemsize, self.dtype.kind == "i"
        return {"CODE_BITS": bits, "CODE_SIGNED": signed, "CODE_FILL": self.word(self.fill), "CODE_MASKED": self.word(self.masked),
                "CODE_LOWEST": f"{self.lowest}.0f", "CODE_HIGHEST": f"{self.highest}.0f", "CODE_ZERO": self.zero}


F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
CODES = {
    "int16": Code(np.dtype(np.int16), -(2**15) + 2, 2**15 - 1, -(2**15), -(2**15) + 1, 9, F32, 2**15 - 2),
    "uint16": Code(np.dtype(np.uint16), 0, 2**16 - 3, 2**16 - 1, 2**16 - 2, 8, F32, 2**16 - 3),
    "int32": Code(np.dtype(np.int32), -(2**22) + 1, 2**22 - 1, -(2**31), -(2**31) + 1, 24, F64, 2**31 - 2),
}
UNITS = 1 << 23     # of one octave, in which levels are spaced
SMALLEST, LARGEST = 2.0**-100, 2.0**100     # bounds: nothing may leave float32; steps reach to twice that


def round_down(value: float, bits: int) -> float:
    """The largest number of so many significant bits that is not above the value (positive and finite)."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(math.ldexp(mantissa, bits)), exponent - bits)


def level_values(k: np.ndarray, origin: int, units: int) -> np.ndarray:
    """2**n (1 + g (11 + 5 g) / 16), n + g = (origin + k units) / 2**23, 0 <= g < 1: exact in float64; beyond float32 from n = 128 on, where n stops."""
    t = k * (units / UNITS) + origin / UNITS
    n = np.floor(t)
    g = t - n
    y: np.ndarray = np.ldexp(1.0 + g * (11.0 + 5.0 * g) * 0.0625, np.minimum(n, 128.0).astype(np.int32))
    return y


def check_zero(who: str, zero: int, code: str, levels: bool) -> None:
    """Raises ValueError for a code of 0 that these codes cannot have."""
    highest = CODES[code].highest
    if not 0 <= zero <= highest or (zero and (code != "uint16" or levels)):
        raise ValueError(f"{who}: zero must be 0, or with uint16 and a bound that is not relative 0 to {highest}, got {zero} and {code}")


@dataclass(frozen=True, eq=False)
class Dequantize(Op):
    """energy = (code - zero) * step in float32; the listed value where the code is FILL; masked_value where it is MASKED.

    fields: what the codes are of, made by Quantize(...).inverse(): step [the unit of energy], one of Quantize(...).step; or scale (*frame), a step
            for each pixel, NaN where the pixel is masked; or log2_step and log2_smallest [octaves], multiples of 2**-23, of a relative bound:
            energy = sign(code) 2**n (1 + g (11 + 5 g) / 16), n + g = log2_smallest + (|code| - 1) log2_step, 0 <= g < 1; 0 for the code 0.
            code "int16", "uint16" or "int32"; masked_value 0 or NaN; zero: of uint16 codes that are no levels, the one that means 0
    in:  code (n, *frame) i16, u16 or i32; outlier_index (n, capacity) u32, ascending, and outlier_value (n, capacity) f32, of which
         the first outlier_count (n,) u32 count; live (1,) i32
    out: energy (n, *frame) f32: NaN where the code is FILL and the list, cut off at its capacity, does not hold the pixel
    exact: code * step for 16-bit codes is a float32, for int32 it is rounded once to float32, and so is a level, exact in float64; Quantize has checked
           its bound on this very number
    source: Quantize; scale_factor, _FillValue and missing_value of the CF conventions
    """

    name: ClassVar[str] = "compress.dequantize"
    inputs: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    step: float | None = None
    code: str = "int16"
    masked_value: float = math.nan
    scale: np.ndarray | None = None
    log2_step: float | None = None
    log2_smallest: float | None = None
    zero: int = 0

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.name}: code must be one of {', '.join(CODES)}, got {self.code!r}")
        given = [k for k in ("step", "scale", "log2_step") if getattr(self, k) is not None]
        if len(given) != 1 or (self.log2_smallest is None) != (self.log2_step is None):
            raise ValueError(f"{self.name}: give step, or scale, or log2_step and log2_smallest, got {', '.join(given) or 'none'}")
        if self.scale is not None:
            self._check_scale(self.own("scale", np.float32))
        elif self.step is not None:
            step, bits = self.number("step"), self.kind.step_bits
            if not (SMALLEST <= step <= 2 * LARGEST and round_down(step, bits) == step):
                raise ValueError(f"{self.name}: step must be 2**-100 to 2**101 with {bits} significant bits for {self.code}, as Quantize.step is; "
                                 f"got {self.step}")
            object.__setattr__(self, "step", step)
        else:
            for field, low, high in (("log2_step", 1.0 / UNITS, 3.0), ("log2_smallest", -149.0, 128.0)):
                value = self.number(field)
                if not low <= value <= high or value * UNITS != math.floor(value * UNITS):
                    raise ValueError(f"{self.name}: {field} must be {low:.3g} to {high:g} octaves in steps of 2**-23, got {value}")
                object.__setattr__(self, field, value)
        self.zero_or_nan("masked_value")
        object.__setattr__(self, "zero", self.number("zero", whole=True))
        check_zero(self.name, self.zero, self.code, self.log2_step is not None)

    def _check_scale(self, scale: np.ndarray) -> None:
        mantissa = np.frexp(scale)[0] * np.float32(2.0**self.kind.step_bits)
        wrong = ~np.isnan(scale) & ~((scale >= SMALLEST) & (scale <= 2 * LARGEST) & (mantissa == np.floor(mantissa)))
        if scale.ndim == 0 or wrong.any():
            first = scale.reshape(-1)[np.flatnonzero(wrong)[:1]]
            raise ValueError(f"{self.name}: scale must be a plane of 2**-100 to 2**101 with {self.kind.step_bits} significant bits for {self.code}, or NaN, "
                             f"as Quantize.step is; got {wrong.sum()} others{f', the first {first[0]}' if len(first) else ''}")

    @property
    def kind(self) -> Code:
        return CODES[self.code].shifted(self.zero)

    @property
    def spacing(self) -> tuple[int, int]:
        """origin and units of level_values."""
        return int(float(self.log2_smallest or 0.0) * UNITS), int(float(self.log2_step or 0.0) * UNITS)

    def outputs(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("code", code, self.kind.dtype, ("n", *(frame_of(code) if self.scale is None else self.scale.shape))).shape
        self.require("outlier_index", index, np.uint32, (shape[0], "capacity"))
        self.require("outlier_value", value, np.float32, (shape[0], index.shape[1]))
        self.require("outlier_count", count, np.uint32, (shape[0],))
        self.require_live(live)
        return (Spec("energy", shape, F32),)

    def traffic(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> int:
        out = self.outputs(code, index, value, count, live)
        return nbytes(code, count, live) + nbytes(*out) + nbytes(*self.constants().values())    # the lists: nothing, if empty

    def values(self, code: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
        """What the codes mean, float32, whether they are reserved or not; scale: in place of the field."""
        if self.log2_step is not None:
            wide = code.astype(np.float64)
            with np.errstate(over="ignore"):
                y = np.where(wide == 0, 0.0, np.copysign(level_values(np.abs(wide) - 1.0, *self.spacing), wide)).astype(np.float32)
            return y
        step = np.float32(self.step) if self.step is not None else self.scale if scale is None else scale
        with np.errstate(over="ignore"):    # the two reserved codes
            y = (code.astype(np.float32) - np.float32(self.zero)) * step
        return np.where(np.isnan(y), np.float32(np.nan), y)

    def numpy(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        for f in range(live_rows(code, live)):
            y = self.values(code[f], plan.constants.get("scale"))
            y[code[f] == self.kind.masked] = self.masked_value
            y[code[f] == self.kind.fill] = np.nan
            listed = min(int(count[f]), index.shape[1])
            for pixel in np.flatnonzero(code[f] == self.kind.fill):
                slot = np.searchsorted(index[f, :listed], np.uint32(pixel))
                if slot < listed and index[f, slot] == pixel:
                    y.reshape(-1)[pixel] = value[f, slot]
            energy[f] = y

    def numba(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, shape, kind = live_rows(code, live), (len(code), math.prod(code.shape[1:])), self.kind
        first = (read_only(code.reshape(shape)[:n]), read_only(index), read_only(value), read_only(count), energy.reshape(shape))
        last = (kind.dtype.type(kind.fill), kind.dtype.type(kind.masked), np.float32(self.masked_value))
        if self.log2_step is not None:
            dequantize_levels(*first, float(self.log2_step), float(self.log2_smallest or 0.0), *last)
        else:
            plane = read_only(plan.constants["scale"].reshape(-1)) if self.scale is not None else None
            dequantize_tiles(*first, np.float32(0 if self.step is None else self.step), plane, np.float32(self.zero), *last)

    def device(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, npix = code.shape[0], math.prod(code.shape[1:])
        origin, units = self.spacing
        meaning = {"MEANING": 2, "ORIGIN": origin, "UNITS": units} if self.log2_step is not None else {"MEANING": int(self.scale is not None)}
        plan.launch(
            "compress/dequantize.cl", "dequantize", frame_grid(n, npix), 128,
            (code, index, value, count, energy, energy if live is None else live, plan.constants.get("scale", energy), np.float32(self.step or 0),
             np.uint32(index.shape[1]), np.uint32(n), np.uint32(npix)),
            VECTOR=vector(npix), LIVE=live is not None, MASKED_VALUE=bits_define(self.masked_value), **meaning, **self.kind.defines(),
        )
