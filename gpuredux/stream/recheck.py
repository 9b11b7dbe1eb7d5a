"""Chunks decoded again while a run goes on: 1 in N, on the host, held bit for bit against what was encoded; and codes against the energies they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..compress.verify import verify
from ..op import Op
from ..status import Frame
from .slot import Slot

Array = Any

WORDS = "its chunk does not decode to what was encoded"
BROKEN = "its codes do not hold the bound of the quantiser"


@dataclass
class Recheck:
    """Every `each`-th of the reduced frames, counted over the whole run, so that the batches do not matter. For one thread at a time.

    name: of the array that is encoded; made: whether the chain makes it, else it is the words that the source gives; quantizer: what makes codes of
    energies, and again: a row's energies and their status, made anew from its raw words without it."""

    each: int
    encoder: Op
    name: str
    made: bool
    frame: tuple[int, ...]
    dtype: np.dtype[Any]
    host: str
    quantizer: Any = None
    again: Callable[[Slot, int], tuple[Array, Array]] | None = None
    rows: int = 0       # reduced frames so far
    chunks: int = 0     # of them decoded again
    failed: int = 0     # of these not what was encoded
    bounds: int = 0     # of them held against their energies: all but those that go without loss, for they have too many outliers
    broken: int = 0     # of these beyond the bound, or beyond the error that is noted of them
    largest: float = 0.0        # error found, in the unit of the bound
    decoder: Op = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = replace(self.encoder, shape=self.frame, dtype=self.dtype.name).inverse()     # type: ignore[call-arg]

    def look(self, slot: Slot) -> None:
        """Decode the chunks of a batch whose turn it is; slot.failed: the rows that are not what they should be, slot.broken: those that lie beyond their
        bound, slot.verified: all others that were looked at."""
        rows = self.turns(slot.kept)
        self.rows += slot.kept
        self.chunks += len(rows)
        wrong = [row for row in rows if not self._holds(slot, row)]
        slot.broken = [row for row in rows if row not in wrong and self.quantizer is not None and not self._bounded(slot, row)]
        slot.failed = sorted([*wrong, *slot.broken])
        slot.verified = [row for row in rows if row not in slot.failed]
        self.failed += len(wrong)
        self.broken += len(slot.broken)

    def turns(self, kept: int) -> list[int]:
        """Of the next so many reduced frames, those whose turn it is."""
        return list(range(-self.rows % self.each, kept, self.each))

    def _holds(self, slot: Slot, row: int) -> bool:
        named = {k: slot.out[k][row : row + 1] for k in ("payload", "size", "filter_mask") if k in slot.out}
        code, status = self.decoder(**named, backend=self.host)
        before = slot.out[self.name][row] if self.made else slot.raw[slot.source[row]]
        return not status[0] & Frame.CORRUPT and code[0].tobytes() == before.tobytes()

    def _bounded(self, slot: Slot, row: int) -> bool:
        """Whether the codes and outliers of a row give its energies back: no value beyond the bound, none beyond the error that is noted, and as masked
        what is masked."""
        assert self.again is not None
        if slot.out["frame_status"][row] & Frame.OUTLIER_OVERFLOW:
            return True
        self.bounds += 1
        energy, status = self.again(slot, row)
        given = {k: slot.out[k][row : row + 1] for k in (self.name, "outlier_index", "outlier_value", "outlier_count")}
        given["code"] = given.pop(self.name)
        found = verify(energy[None], given, self.quantizer, pixel_status=status[None])
        noted = float(slot.out["max_error"][row])
        largest = found.largest_error if hasattr(self.quantizer, "bound") else found.largest_difference
        self.largest = max(self.largest, largest)
        masked = np.array_equal(given["code"][0] == self.quantizer.masked_code, status != 0)
        # of the noted error float64 rounds a part, and with QuantizeCounts float32
        return found.holds and masked and largest <= noted * (1 + 2.0**-22) and noted <= getattr(self.quantizer, "bound", np.inf) * (1 + 2.0**-22)

    def counts(self) -> dict[str, Any]:
        """For the summary, and the journal; of the largest error None, where a value came back as NaN or Inf: JSON has no such numbers."""
        largest = self.largest if math.isfinite(self.largest) else None
        held = {"bounds": self.bounds, "broken": self.broken, "largest_error": largest, "bound": getattr(self.quantizer, "bound", None)}
        return {"each": self.each, "of": self.rows, "chunks": self.chunks, "failed": self.failed, **(held if self.quantizer is not None else {})}

    def said(self) -> str:
        """For a person: what was wrong, or nothing."""
        words = [f"of {n} of them {what}" for n, what in ((self.failed, WORDS), (self.broken, BROKEN)) if n]
        return "".join(f"; {w}" for w in words)
