"""What ops have in common that read waveforms: traces (n, channels, samples), and sums of floats in an order that suits a block of threads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .frames import FrameOp, word

MOST_SAMPLES = 131072       # of a trace: a bit for each, twice, fits into the memory that a block has everywhere


@dataclass(frozen=True, eq=False)
class TraceOp(FrameOp):
    """fields: of: the name of the input that holds the traces; polarity: 1, or -1 for pulses that go down: s = polarity * trace."""

    dtypes: ClassVar[tuple[str, ...]] = ("uint16", "int16", "float32")

    of: str = field(default="trace", kw_only=True)
    polarity: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.number("polarity", whole=True) not in (1, -1):
            raise ValueError(f"{self.name}: polarity must be 1 or -1, got {self.polarity}")

    def require_traces(self, trace: Any, live: Any) -> tuple[int, int, int]:
        """n, channels, samples."""
        n, channels, samples = self.require(self.of, trace, [np.dtype(d) for d in self.dtypes], ("n", "channels", "samples")).shape
        if not (channels and 0 < samples <= MOST_SAMPLES):
            raise ValueError(f"{self.name}: {self.of} must have a channel or more, and 1 to {MOST_SAMPLES} samples, got {trace.dtype} {(n, channels, samples)}")
        self.require_live(live)
        return n, channels, samples

    def whole_field(self, name: str, low: int, high: int = MOST_SAMPLES) -> None:
        """A field that must be a whole number from low to high; for __post_init__."""
        if not low <= self.number(name, whole=True) <= high:
            raise ValueError(f"{self.name}: {name} must be {low} to {high}, got {getattr(self, name)}")

    def finite_field(self, name: str) -> None:
        """A field that must be a finite number; for __post_init__."""
        if not abs(self.number(name)) <= float(np.finfo(np.float32).max):
            raise ValueError(f"{self.name}: {name} must be finite, got {getattr(self, name)}")

    def trace_defines(self, trace: Any, live: Any) -> dict[str, Any]:
        return {"WORD": word(trace), "FLOAT": np.dtype(trace.dtype).kind == "f", "SIGNED": np.dtype(trace.dtype).kind == "i", "LIVE": live is not None}


def in_lanes(values: np.ndarray, lanes: int) -> np.float64:
    """The sum of float64 values: lane l adds those of index l, l + lanes, ... in order, then the upper half of the lanes is added to the lower, and again."""
    held = np.zeros(-(-max(values.size, 1) // lanes) * lanes)
    held[: values.size] = values
    total = np.zeros(lanes)
    for row in held.reshape(-1, lanes):
        total = total + row
    while total.size > 1:
        total = total[: total.size // 2] + total[total.size // 2 :]
    return total[0]
