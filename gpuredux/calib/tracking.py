"""Live pedestals: the words of dark pixels, summed while frames stream by, move the pedestals of the first gain stage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backends
from ..backends import Device
from .dark_sums import DarkSums
from .gain import Gain


@dataclass(frozen=True)
class Tracking:
    """every: frames between two updates; width: of the gate about the pedestal [sigma]; alpha: p += alpha * (mean in the gate - p), 0 to 1.

    least, share: a pixel moves if so many of its words, and so large a share of its words of the first stage, were inside: others are lit"""

    every: int = 1000
    width: float = 3.0
    alpha: float = 0.5
    least: int = 30
    share: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (("every", 1, 2**31), ("width", 1, 100), ("alpha", 0, 1), ("least", 2, 2**31), ("share", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"tracking: {name} must be {low} to {high}, got {value!r}")


@dataclass(frozen=True)
class Move:
    """One update: after how many frames, how many pixels moved, and how far [ADU] from where they started: the median and the largest distance."""

    frames: int
    pixels: int
    median: float
    most: float
    sha256: str     # of the new pedestals' bytes


class PedestalTracker:
    """add(batch) on the device; due() between batches; step() gives the new pedestals (planes, [cells,] *frame) f32 for plan.update(pedestal=...).

    Photons lie outside the gate, and what of a Gaussian does, too, on both sides alike; only the first stage is seen dark. A pixel whose gate saw too
    little keeps its pedestal. The gate follows the pedestal. For one thread."""

    def __init__(self, gain: Gain, noise: np.ndarray, rule: Tracking, backend: str = "numba", device: Device | None = None) -> None:
        """noise (planes, [cells,] *frame) [ADU] r.m.s."""
        if noise.shape != gain.pedestal.shape:
            raise ValueError(f"tracking: noise must be {gain.pedestal.shape} like pedestal, got {noise.shape}")
        self.rule, self._op = rule, DarkSums(gain.kind, 0, gain.cells, gate=True)
        self._backend = backends.get(backend)
        self._device = device or self._backend.devices()[0]
        self._noise, self._first = noise[0].astype(np.float64), gain.pedestal[0].astype(np.float64)
        self._pedestal = gain.pedestal.copy()
        self._now = self._first.copy()
        self._start = self._op.start(gain.frame)
        self.frames = self.seen = 0
        self.moves: list[Move] = []
        self._state, self._other = ([self._put(a.copy()) for a in self._start.values()] for _ in range(2))
        self._gate = self._put(self._limits())
        self._plan: Any = None

    def _put(self, x: np.ndarray) -> Any:
        return self._backend.put(x, self._device)

    def _limits(self) -> np.ndarray:
        """The gate (2, [cells,] *frame) u16; empty for a pixel without pedestal or noise."""
        reach = self.rule.width * self._noise
        usable = np.isfinite(self._now) & np.isfinite(reach) & (reach > 0)
        with np.errstate(invalid="ignore"):
            low, high = np.ceil(self._now - reach), np.floor(self._now + reach)
            return np.stack([np.where(usable, low.clip(0, 65535), 65535), np.where(usable, high.clip(0, 65535), 0)]).astype(np.uint16)

    @property
    def arrays(self) -> list[Any]:
        """On the device: what it holds there."""
        return [self._gate, *self._state, *self._other]

    @property
    def host_bytes(self) -> int:
        """What it holds on the host beside that."""
        return sum(a.nbytes for a in (self._noise, self._first, self._now, self._pedestal, *self._start.values()))

    @property
    def due(self) -> bool:
        """Whether enough frames were seen since the last update."""
        return self.seen >= self.rule.every

    def add(self, n: int, raw: Any, live: Any = None, cell: Any = None) -> None:
        """Take in a batch on the device, of which n rows are real (live says so there). Enqueued, as a plan's run is."""
        names = ("count", "sum", "extreme", "stray")[: len(self._state)]
        given = {"raw": raw, "gate": self._gate, **dict(zip(names, self._state, strict=True))}
        given |= {k: v for k, v in (("live", live), ("cell", cell)) if v is not None}
        if self._plan is None:
            self._plan = self._op.plan(**given, backend=self._backend.name)
        self._plan(**given, out=self._other)
        self._state, self._other = self._other, self._state
        self.seen += n
        self.frames += n

    def step(self) -> np.ndarray:
        """The new pedestals, from all batches since the last step; the sums begin anew."""
        self._backend.wait(self._device)
        count, total = (self._backend.get(a) for a in self._state[:2])
        inside = count[3].astype(np.float64)
        moving = (inside >= self.rule.least) & (inside >= self.rule.share * count[0])
        mean = np.divide(total[2].astype(np.float64), inside, out=self._now.copy(), where=moving)
        self._now = self._now + self.rule.alpha * (mean - self._now)
        self._pedestal = self._pedestal.copy()
        self._pedestal[0][moving] = self._now[moving].astype(np.float32)
        moved = np.abs(self._now - self._first)[moving]
        digest = hashlib.sha256(np.ascontiguousarray(self._pedestal).data).hexdigest()
        self.moves.append(Move(self.frames, int(moving.sum()), float(np.median(moved)) if moved.size else 0.0, float(moved.max(initial=0.0)), digest))
        self._state = [self._backend.overwrite(a, new.copy()) for a, new in zip(self._state, self._start.values(), strict=True)]
        self._gate = self._backend.overwrite(self._gate, self._limits())
        self.seen = 0
        return self._pedestal
