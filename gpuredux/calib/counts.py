"""energy = count * factor(count) * plane for photon counters. Over 200 lines: with the table of the dead time and the checks of constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..detectors_kind import Codes, codes_define, codes_table
from ..op import Op, Plan, Spec, bits_define, frame_of, live_rows, nbytes
from ..pixelwise import write_pixels
from ..status import FROM_DATA, Pixel
from .counts_numba import counts_tiles

CODES: dict[str, Codes] = {     # what detectors send in place of a count: EIGER in unsigned words, PILATUS in signed ones
    "uint8": ((2**8 - 1, Pixel.MASKED), (2**8 - 2, Pixel.SATURATED)),
    "uint16": ((2**16 - 1, Pixel.MASKED), (2**16 - 2, Pixel.SATURATED)),
    "uint32": ((2**32 - 1, Pixel.MASKED), (2**32 - 2, Pixel.SATURATED)),
    "int32": ((-1, Pixel.MASKED), (-2, Pixel.MASKED)),
}
LOW, HIGH = 2.0**-40, 2.0**40     # of flat field and table: no product of a count with both leaves the normal float32


def dead_time_table(
    dead_time: float, exposure: float, model: str = "nonparalysable", largest: int = 2**16 - 3, most_factor: float = 8.0
) -> tuple[np.ndarray, int]:
    """(table, step) of Counts: table[i] = n / m, true over measured count, for m = i * step, by the formula in float64.

    dead_time, exposure [s] of one frame; a = dead_time / exposure. nonparalysable: n = m / (1 - m a); paralysable: the smaller n of m = n exp(-n a).
    The table ends at `largest` or before the first n > most_factor * m (paralysable: at most e, where the measured count turns back): what lies
    beyond cannot be told, and is SATURATED. step is the power of two with which 65,536 entries reach the end: 1 for all 16-bit counts.
    bound: between entries (step 1 has nothing between) the line leaves n / m by less than 1e-8 of it, and by up to 2e-4 where a paralysable
           counter is about to turn back, n / m above 2; most_factor above 8 makes it worse
    source: Knoll, Radiation Detection and Measurement, ch. 4; Trueb et al., J. Synchrotron Rad. 19 (2012) 347
    """
    if not (dead_time > 0 and exposure > 0 and math.isfinite(exposure / dead_time)) or dead_time > exposure:
        raise ValueError(f"dead_time_table: dead_time and exposure must be positive seconds, dead_time the shorter, got {dead_time}, {exposure}")
    if model not in ("nonparalysable", "paralysable"):
        raise ValueError(f"dead_time_table: model must be 'nonparalysable' or 'paralysable', got {model!r}")
    if not 1 < most_factor <= 1e6 or not 1 <= largest < 2**32:
        raise ValueError(f"dead_time_table: most_factor must be above 1, to 1e6, and largest 1 to 2**32 - 1, got {most_factor}, {largest}")
    a = dead_time / exposure
    factor = most_factor if model == "nonparalysable" else min(most_factor, math.e)
    limit = (1.0 - 1.0 / factor) / a if model == "nonparalysable" else math.log(factor) / (factor * a)
    end = min(largest, int(limit))
    step = 1 << max(0, (end >> 16).bit_length())
    m = np.arange(end // step + 1, dtype=np.float64) * step
    return (1.0 / (1.0 - m * a) if model == "nonparalysable" else _paralysable(m * a)), step


def _paralysable(z: np.ndarray) -> np.ndarray:
    """F = n / m with F = exp(z F), 1 <= F <= e, by bisection: to the last bit but one wherever it is not the turning point itself."""
    low, high = np.ones_like(z), np.full_like(z, math.e)
    for _ in range(54):
        middle = 0.5 * (low + high)
        below = middle < np.exp(z * middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(z == 0, 1.0, 0.5 * (low + high))


@dataclass(frozen=True, eq=False)
class Counts(Op):
    """energy = m * (table[i] + (m - i * step) * slope[i]) * plane, m = the count, i = m // step, each step rounded once in float32.

    fields: plane (*frame) [energy per count], rounded to float32: flat field, solid angle ... in one, None = 1; good (*frame) bool, True = use;
            table (entries,): true over measured count, of dead_time_table() or of the maker, entry i for the count i * table_step (a power of two),
            on a straight line between, None = no correction; largest: counts above it are saturated, as are those behind the table's end;
            codes ((word, Pixel bit), ...): words that are no count, None = CODES of the dtype (EIGER: all ones MASKED, all ones less 1
            SATURATED; PILATUS: -1 and -2 MASKED); invalid "raise" or "mask": planes outside 2**-40 to 2**40, NaN included; bad_value 0 or NaN
    in:  raw (n, *frame) u8, u16, u32 or i32 [counts]; frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32 [photons, if plane says nothing else]: bad_value wherever the pixel status is not 0
         pixel_status (n, *frame) u8, with status=True: MASKED alone, else the code's bit, SATURATED, INVALID_CODE (a negative count
         that is no code) or BAD_CONSTANT
         frame_status (n,) u32, when given: with the OR of the pixels' bits that come from the data
    exact: bit-identical on every backend; counts above 2**24 are rounded to the nearest float32, ties to even
    source: the words, EIGER and PILATUS user manuals (DECTRIS); the correction, dead_time_table
    """

    name: ClassVar[str] = "calib.counts"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")
    pixel_output: ClassVar[str] = "energy"

    plane: np.ndarray | None = None
    good: np.ndarray | None = None
    table: np.ndarray | None = None
    table_step: int = 1
    largest: int | None = None
    codes: Codes | None = None
    bad_value: float = 0.0
    invalid: str = "raise"
    status: bool = False

    def __post_init__(self) -> None:
        if self.plane is not None and self.own("plane", np.float32).ndim == 0:
            raise ValueError(f"{self.name}: plane must be (*frame), got a single number")
        self.own_good(() if self.plane is None else self.plane.shape)
        self.zero_or_nan("bad_value")
        self.one_of("invalid", "raise", "mask")
        self._check_table()
        self._check_codes()
        bad = ~self._usable() & (True if self.good is None else self.good)
        if self.plane is not None and self.invalid == "raise" and bad.any():
            first = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(f"{self.name}: {int(bad.sum())} good pixels have a plane outside 2**-40 to 2**40, the first {first}: {self.plane[first]};"
                             " mask them with good=, or pass invalid='mask'")

    def _check_table(self) -> None:
        step = self.number("table_step", whole=True)
        if not 1 <= step <= 2**24 or step & (step - 1):
            raise ValueError(f"{self.name}: table_step must be a power of two up to 2**24, so that a count's part of a step is exact, got {step}")
        if self.table is None:
            return
        table = self.own("table", np.float64)
        if table.ndim != 1 or not 1 <= table.size <= 2**24:
            raise ValueError(f"{self.name}: table must be (entries,), 1 to 2**24 of them, got {table.shape}")
        right = (table >= LOW) & (table <= HIGH)
        if not right.all():
            i = int(np.flatnonzero(~right)[0])
            raise ValueError(f"{self.name}: table must be true over measured counts, 2**-40 to 2**40; entry {i} is {table[i]}")

    def _check_codes(self) -> None:
        if self.largest is not None and not 0 <= self.number("largest", whole=True) < 2**32:
            raise ValueError(f"{self.name}: largest must be 0 to 2**32 - 1, got {self.largest}")
        if self.codes is not None:
            words = [int(word) for word, _ in self.codes]
            if len(words) > 8 or len(set(words)) < len(words) or any(not -(2**31) <= w < 2**32 for w in words):
                raise ValueError(f"{self.name}: codes must be up to 8 different words of -2**31 to 2**32 - 1, each with its Pixel bit, got {self.codes}")
            if any(bit == 0 or bit not in list(Pixel) for _, bit in self.codes):
                raise ValueError(f"{self.name}: a code's status must be one bit of Pixel, got {self.codes}")
            object.__setattr__(self, "codes", tuple((int(word), Pixel(bit)) for word, bit in self.codes))

    @property
    def frame(self) -> tuple[int, ...]:
        """The shape of one frame, () where no constant says it."""
        return self.plane.shape if self.plane is not None else self.good.shape if self.good is not None else ()

    def _usable(self) -> np.ndarray:
        size = np.ones(1) if self.plane is None else self.plane
        usable: np.ndarray = (size >= LOW) & (size <= HIGH)
        return usable

    def constants(self) -> dict[str, np.ndarray]:
        """factor = plane, +0 for a masked pixel and -0 for a bad plane, if there is a plane or a mask; knot (entries, 2) = value and slope."""
        held = {}
        if self.frame:
            factor = np.where(self._usable(), np.float32(1) if self.plane is None else self.plane, np.float32(-0.0)) * np.ones(self.frame, np.float32)
            if self.good is not None:
                factor[~self.good] = 0.0
            held["factor"] = factor
        if self.table is not None:
            slope = np.append(np.diff(self.table) / self.table_step, 0.0)
            held["knot"] = np.stack([self.table, slope], axis=1).astype(np.float32)
        return held

    def _top(self, dtype: np.dtype[Any]) -> int:
        """The largest count that counts."""
        ends = [np.iinfo(dtype).max if self.largest is None else self.largest, np.iinfo(dtype).max]
        if self.table is not None:
            ends.append((self.table.size - 1) * self.table_step)
        return int(min(ends))

    def _codes(self, dtype: np.dtype[Any]) -> Codes:
        """The codes that a word of this dtype can be."""
        info = np.iinfo(dtype)
        return tuple(c for c in (CODES[dtype.name] if self.codes is None else self.codes) if info.min <= c[0] <= info.max)

    def _odd(self, dtype: np.dtype[Any]) -> int:
        """The smallest word, as u32, that may be no count: below it nothing need be asked."""
        return min([self._top(dtype) + 1, 2**32 - 1, *(word % 2**32 for word, _ in self._codes(dtype))])

    def outputs(self, raw: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        frame = self.frame or frame_of(raw)
        n = self.require("raw", raw, tuple(CODES), ("n", *frame)).shape[0]
        out = [Spec("energy", (n, *frame), np.dtype(np.float32))]
        if self.status:
            out.append(Spec("pixel_status", (n, *frame), np.dtype(np.uint8)))
        return (*out, *self.frame_outputs(n, frame_status, live))

    def traffic(self, *x: Any) -> int:
        return nbytes(*x) + nbytes(*self.outputs(*x)) + nbytes(self.constants().get("factor"))   # of the table a few entries, which stay in cache

    def numpy(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, new_status = plan.every_output(out)
        factor, knot = plan.constants.get("factor"), plan.constants.get("knot")
        for f in range(live_rows(raw, live)):
            word = raw[f].astype(np.int64)
            status = np.where(word > self._top(raw.dtype), np.uint8(Pixel.SATURATED), np.uint8(0))
            status[word < 0] = Pixel.INVALID_CODE
            for code, bit in self._codes(raw.dtype):
                status[word == code] = bit
            m = np.where(status == 0, word, 0)
            y = m.astype(np.float32)
            if knot is not None:
                i, part = m // self.table_step, m % self.table_step
                y = y * (knot[i, 0] + part.astype(np.float32) * knot[i, 1])
            if factor is not None:
                status[(status == 0) & (factor == 0)] = Pixel.BAD_CONSTANT
                status[(factor == 0) & ~np.signbit(factor)] = Pixel.MASKED
                y = y * factor
            energy[f] = np.where(status == 0, y, np.float32(self.bad_value))
            if self.status:
                pixel_status[f] = status
            if new_status is not None:
                new_status[f] = frame_status[f] | np.bitwise_or.reduce(status & FROM_DATA, axis=None)

    def numba(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, new_status = plan.every_output(out)
        n, shape = live_rows(raw, live), (len(raw), math.prod(raw.shape[1:]))
        words = raw.view(np.uint32) if raw.dtype == np.int32 else raw
        limits = np.array([self._odd(raw.dtype), self._top(raw.dtype), self.table_step.bit_length() - 1, raw.dtype == np.int32], np.uint32)
        factor = plan.constants.get("factor")
        flags = counts_tiles(
            words.reshape(shape)[:n], None if factor is None else factor.reshape(-1), plan.constants.get("knot"), energy.reshape(shape),
            None if pixel_status is None else pixel_status.reshape(shape), limits, codes_table(self._codes(raw.dtype)), np.float32(self.bad_value),
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n] | flags

    def device(self, plan: Plan, raw: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        write_pixels(plan, (raw, frame_status, live), energy, pixel_status, None, new_status, live)

    def pixel(self, plan: Plan, raw: Any, frame_status: Any, live: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        kind = np.dtype(raw.dtype)
        defines = {
            "COUNT_BYTES": kind.itemsize, "COUNT_SIGNED": kind == np.int32, "COUNT_CODE(w)": codes_define(self._codes(kind)),
            "COUNT_FACTOR": bool(self.frame), "COUNT_TABLE": self.table is not None, "COUNT_BAD": bits_define(self.bad_value),
            "COUNT_ODD": f"{self._odd(kind)}u", "COUNT_TOP": f"{self._top(kind)}u", "COUNT_SHIFT": f"{self.table_step.bit_length() - 1}u",
        }
        return "calib/counts.cl", (raw, *(plan.constants.get(name, raw) for name in ("factor", "knot"))), defines
