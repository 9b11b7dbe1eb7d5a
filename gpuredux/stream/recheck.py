"""Chunks decoded again while a run goes on: 1 in N, on the host, held bit for bit against what was encoded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..op import Op
from ..status import Frame
from .slot import Slot

WORDS = "its chunk does not decode to what was encoded"


@dataclass
class Recheck:
    """Every `each`-th of the reduced frames, counted over the whole run, so that the batches do not matter. For one thread at a time.

    name: of the array that is encoded; made: whether the chain makes it, else it is the words that the source gives."""

    each: int
    encoder: Op
    name: str
    made: bool
    frame: tuple[int, ...]
    dtype: np.dtype[Any]
    host: str
    rows: int = 0       # reduced frames so far
    chunks: int = 0     # of them decoded again
    failed: int = 0
    decoder: Op = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = replace(self.encoder, shape=self.frame, dtype=self.dtype.name).inverse()     # type: ignore[call-arg]

    def look(self, slot: Slot) -> None:
        """Decode the chunks of a batch whose turn it is; slot.failed: the rows that are not what they should be."""
        rows = self.turns(slot.kept)
        self.rows += slot.kept
        self.chunks += len(rows)
        slot.failed = [row for row in rows if not self._holds(slot, row)]
        self.failed += len(slot.failed)

    def turns(self, kept: int) -> list[int]:
        """Of the next so many reduced frames, those whose turn it is."""
        return list(range(-self.rows % self.each, kept, self.each))

    def _holds(self, slot: Slot, row: int) -> bool:
        named = {k: slot.out[k][row : row + 1] for k in ("payload", "size", "filter_mask") if k in slot.out}
        code, status = self.decoder(**named, backend=self.host)
        before = slot.out[self.name][row] if self.made else slot.raw[slot.source[row]]
        return not status[0] & Frame.CORRUPT and code[0].tobytes() == before.tobytes()
