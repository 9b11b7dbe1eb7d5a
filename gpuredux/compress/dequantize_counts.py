"""count = table[code]: what QuantizeCounts wrote, back in float32, outliers exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, bits_define, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from .dequantize_counts_numba import dequantize_counts_tiles

CODES = {"uint8": 2**8 - 2, "uint16": 2**16 - 2}    # MASKED; FILL is the next one


@dataclass(frozen=True, eq=False)
class DequantizeCounts(Op):
    """energy = table[code] in float32; the listed value where the code is FILL; masked_value where it is MASKED.

    fields: table (codes,) f32, QuantizeCounts(...).table; code "uint8" or "uint16"; masked_value 0 or NaN
    in:  code (n, *frame) u8 or u16; outlier_index (n, capacity) u32, ascending, and outlier_value (n, capacity) f32, i32 or u32, of which
         the first outlier_count (n,) u32 count; live (1,) i32
    out: energy (n, *frame) f32 [count]: NaN where the code is beyond the table, or FILL and the list, cut off at its capacity, does not hold the pixel
    exact: an entry of the table; listed whole numbers are rounded to float32, which tells them apart up to 2**24
    source: QuantizeCounts
    """

    name: ClassVar[str] = "compress.dequantize_counts"
    inputs: ClassVar[tuple[str, ...]] = ("code", "outlier_index", "outlier_value", "outlier_count", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    table: np.ndarray
    code: str = "uint16"
    masked_value: float = math.nan

    def __post_init__(self) -> None:
        self.one_of("code", *CODES)
        table = self.own("table", np.float32)
        if table.ndim != 1 or not 1 <= len(table) <= CODES[self.code] or not np.isfinite(table).all():
            raise ValueError(f"{self.name}: table must be 1 to {CODES[self.code]} finite numbers, got {table.shape}")
        self.zero_or_nan("masked_value")

    @property
    def masked_code(self) -> int:
        return CODES[self.code]

    @property
    def fill_code(self) -> int:
        return CODES[self.code] + 1

    def outputs(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("code", code, np.dtype(self.code), ("n", *frame_of(code))).shape
        self.require("outlier_index", index, np.uint32, (shape[0], "capacity"))
        self.require("outlier_value", value, (np.float32, np.int32, np.uint32), (shape[0], index.shape[1]))
        self.require("outlier_count", count, np.uint32, (shape[0],))
        self.require_live(live)
        return (Spec("energy", shape, np.dtype(np.float32)),)

    def traffic(self, code: Any, index: Any, value: Any, count: Any, live: Any) -> int:
        return nbytes(code, count, live) + nbytes(*self.outputs(code, index, value, count, live))    # the lists: nothing, if empty

    def values(self, code: np.ndarray) -> np.ndarray:
        """What the codes mean, float32; NaN for those beyond the table."""
        known = code < len(self.table)
        meant: np.ndarray = np.where(known, self.table[np.where(known, code, 0)], np.float32(np.nan))
        return meant

    def numpy(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        for f in range(live_rows(code, live)):
            known = code[f] < len(self.table)
            y = np.where(known, plan.constants["table"][np.where(known, code[f], 0)], np.float32(np.nan))
            y[code[f] == self.masked_code] = self.masked_value
            listed = min(int(count[f]), index.shape[1])
            for pixel in np.flatnonzero(code[f] == self.fill_code):
                slot = np.searchsorted(index[f, :listed], np.uint32(pixel))
                if slot < listed and index[f, slot] == pixel:
                    y.reshape(-1)[pixel] = value[f, slot]
            energy[f] = y

    def numba(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, shape = live_rows(code, live), (len(code), math.prod(code.shape[1:]))
        every = np.full(CODES[self.code] + 2, np.nan, np.float32)       # of every code
        every[: len(self.table)] = plan.constants["table"]
        every[self.masked_code] = self.masked_value
        lists = (read_only(a) for a in (index, value, count))
        dequantize_counts_tiles(read_only(code.reshape(shape)[:n]), *lists, energy.reshape(shape), read_only(every), self.fill_code)

    def device(self, plan: Plan, code: Any, index: Any, value: Any, count: Any, live: Any, energy: Any) -> None:
        n, npix = code.shape[0], math.prod(code.shape[1:])
        plan.launch(
            "compress/dequantize_counts.cl", "dequantize_counts", frame_grid(n, npix), 128,
            (code, index, value, count, energy, energy if live is None else live, plan.constants["table"], np.uint32(len(self.table)),
             np.uint32(index.shape[1]), np.uint32(n), np.uint32(npix)),
            VECTOR=vector(npix), LIVE=live is not None, MASKED_VALUE=bits_define(self.masked_value), CODE_BITS=8 * np.dtype(self.code).itemsize,
            VALUE_KIND="fiu".index(np.dtype(value.dtype).kind),
        )
