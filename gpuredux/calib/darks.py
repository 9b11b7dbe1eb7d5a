"""Dark runs: pedestal, noise and status of each pixel, gain stage and memory cell.

Two looks at a run: a sample of frames spread evenly over it gives each pixel its median and MAD, and from these a gate; then all frames are
summed in one pass, plain and inside the gate, exactly; the gate's cut is undone by calculation. What is known to go wrong elsewhere, and why not here:
- an all-zero frame in the sums (-0.71 ADU at 20 ADU noise): sums hold the frames that were given, and count them: mean = sum / count.
- gates at the quantiles of few frames (noise 0.785 of the truth): the gate is median +- k 1.4826 MAD, and what it cuts off is put back.
- photons, spikes: outside the gate. The plain mean and rms stand beside, for who wants them.
- limits over the whole detector: here by ASIC (detector.asic), about its median, in robust sigmas.
- squares of u16 that wrap: 32 bits hold 16 frames' squares, 64 bits all.
- gain bits in the mean, words of another stage, error codes: decoded first; they are counted and enter nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import backends
from ..detectors import Detector
from ..detectors import detector as which
from ..status import Pixel
from .dark_constants import merge, to_constants
from .dark_estimate import NORMAL, moments, shape_of, untruncated
from .dark_kind import images, measured
from .dark_median import DarkMedian
from .dark_status import DarkStatus, Limits, status_of
from .dark_sums import DarkSums

__all__ = ["DarkResult", "DarkRun", "DarkStatus", "Gate", "Limits", "gate_of", "merge", "spread", "to_constants"]


def spread(total: int, k: int) -> np.ndarray:
    """Numbers of at most k frames, evenly over a run of `total`: the middles of k equal stretches."""
    k = min(total, k)
    return (2 * np.arange(k, dtype=np.int64) + 1) * total // max(2 * k, 1)


class Gate(NamedTuple):
    """([cells,] *frame): least and largest adc inside (u16), and what the sample showed: median, mad [ADU], its Shape (dark_estimate), how many
    words of the stage it had."""

    low: np.ndarray
    high: np.ndarray
    median: np.ndarray
    mad: np.ndarray
    saturated: np.ndarray
    cold: np.ndarray
    kurtosis: np.ndarray
    words: np.ndarray


def gate_of(sample: np.ndarray, kind: Detector, gain: int = 0, width: float = 3.0, backend: str = "numba", device: Any = None) -> Gate:
    """median +- width * 1.4826 MAD of a sample (n, *frame) u16; MAD at least half an ADU. Nothing is inside where there is no word."""
    owner = backends.get(backend)
    where = device or owner.devices()[0]
    op = DarkMedian(kind, gain)
    there = owner.put(np.ascontiguousarray(sample), where)
    found = op.plan(there, backend=backend)(there)
    median2, mad4, words = (owner.get(a) for a in found)
    half = width * np.maximum(NORMAL * mad4 / 4, 0.5)
    low, high = (np.clip(f(median2 / 2 + s * half), 0, 65535).astype(np.uint16) for f, s in ((np.ceil, -1), (np.floor, 1)))
    low[words == 0], high[words == 0] = 65535, 0
    adc, plane, status = kind.decode(np.arange(65536, dtype=np.uint16))
    table = np.where(status == Pixel.SATURATED, -2, np.where((status == 0) & (plane == gain), adc.astype(np.int32), -1)).astype(np.int32)
    shape = shape_of(np.ascontiguousarray(sample), table, kind.adc_mask >> kind.adc_shift, median2 / 2, mad4 / 4)
    return Gate(low, high, median2 / 2, mad4 / 4, *shape, words)


class DarkResult(NamedTuple):
    """Of one gain stage, ([cells,] *frame). pedestal, noise [ADU]: robust, of the pixel itself, without the 1/12 of rounding to integers;
    plain_pedestal, plain_noise: of all words of the stage, as they are; status: DarkStatus; counts of words; f64, u32, u16."""

    pedestal: np.ndarray
    noise: np.ndarray
    status: np.ndarray
    plain_pedestal: np.ndarray
    plain_noise: np.ndarray
    count: np.ndarray       # of the stage
    inside: np.ndarray      # of these, inside the gate
    switched: np.ndarray    # of other stages
    invalid: np.ndarray     # error codes, gain bits that cannot be
    least: np.ndarray       # adc; 65535 and 0 without a word
    most: np.ndarray
    expected: np.ndarray    # share of the Gaussian inside its gate
    gate: Gate
    second: DarkResult | None = None    # of the image that tells the gain: its pedestal is this stage's level there


class DarkRun:
    """Darks of one gain stage: look(sample) once, add(frames) for all frames, finish(). The order of frames and how batches are cut change nothing."""

    def __init__(self, detector: str | Detector, gain: int = 0, cells: int = 0, width: float = 3.0, limits: Limits | None = None,
                 backend: str = "numba", device: Any = None, state: str | None = None) -> None:
        """gain: the stage all words should be of; of a detector whose second image tells the gain, the one that the run was forced to. Of ePix10ka, ePixHR
        and ePixUHR, 0 and 1 are words with the gain bit clear and set, whatever the pixels' configuration; state: the one that all of them had instead."""
        self.detector = which(detector)
        words, plane, second = measured(self.detector, gain, state)
        self.op = DarkSums(words, plane, cells, gate=True)
        if not 1 <= width <= 100:
            raise ValueError(f"darks: the gate must be 1 to 100 sigma wide on each side, got {width}")
        self.kind, self.gain, self.state, self.cells, self.width, self.limits = self.op.kind, gain, state, cells, width, limits or Limits()
        self._backend = backends.get(backend)
        self._device = device or self._backend.devices()[0]
        self.second = None if second is None else DarkRun(second, 0, cells, width, limits, backend, self._device)
        self.gate: Gate | None = None
        self.frames = 0
        self._plans: dict[int, Any] = {}

    def _parts(self, raw: np.ndarray, cell: np.ndarray | None) -> np.ndarray | None:
        """Checked cells of frames."""
        if (cell is None) == (self.cells > 0) or (cell is not None and np.shape(cell) != raw.shape[:1]):
            raise ValueError(f"darks: cell must be one number a frame ({len(raw)},) if there are cells, and only then; cells={self.cells}")
        return None if cell is None else np.ascontiguousarray(cell, np.uint16)

    def look(self, sample: np.ndarray, cell: np.ndarray | None = None) -> Gate:
        """Set the gate from frames spread over the run (see spread), some hundred; of each cell, with cells. Before the first add."""
        if self.frames:
            raise ValueError("darks: the gate is set before the first frames are added")
        cell = self._parts(sample, cell)
        words, second = images(self.detector, sample)
        parts = [words] if cell is None else [words[cell == c] for c in range(self.cells)]
        gates = [gate_of(p, self.kind, self.op.plane, self.width, self._backend.name, self._device) for p in parts]
        gate = gates[0] if cell is None else Gate(*(np.stack(a) for a in zip(*gates, strict=True)))
        return self.use(gate, None if self.second is None or second is None else self.second.look(second, cell))

    def use(self, gate: Gate, second: Gate | None = None) -> Gate:
        """Set the gate, and that of the second image if there is one, to what is known, of another part of the same run for example."""
        if self.frames:
            raise ValueError("darks: the gate is set before the first frames are added")
        if (second is None) != (self.second is None):
            raise ValueError(f"darks: {self.detector.name} has {'no' if self.second is None else 'a'} second image, which has a gate of its own (second=)")
        if self.second is not None and second is not None and self.second.gate is not second:
            self.second.use(second)
        self.gate = gate
        state = self.op.start(gate.low.shape[1:] if self.cells else gate.low.shape)
        self._gate = self._put(np.stack([gate.low, gate.high]))
        self._state = [self._put(a) for a in state.values()]
        self._other = [self._put(a.copy()) for a in state.values()]      # on the host, put is no copy
        return gate

    def _put(self, x: np.ndarray) -> Any:
        return self._backend.put(np.ascontiguousarray(x), self._device)

    def add(self, raw: np.ndarray, cell: np.ndarray | None = None) -> None:
        """Take in frames of the host as the detector sends them: (n, *raw_shape) u16, packed ones u8."""
        if self.gate is None:
            raise ValueError("darks: look at a sample first, it sets the gate")
        cell, n = self._parts(raw, cell), len(raw)
        words, second = images(self.detector, raw)
        names = ("count", "sum", "extreme", "stray")[: len(self._state)]
        given = {"raw": self._put(words), "gate": self._gate, **dict(zip(names, self._state, strict=True))}
        if cell is not None:
            given["cell"] = self._put(cell)
        if n not in self._plans:
            self._plans[n] = self.op.plan(**given, backend=self._backend.name)
        self._plans[n](**given, out=self._other)
        self._backend.wait(self._device)
        self._state, self._other = self._other, self._state
        self.frames += n
        if self.second is not None and second is not None:
            self.second.add(second, cell)

    def finish(self) -> DarkResult:
        """What the frames so far say. More may follow."""
        if self.gate is None:
            raise ValueError("darks: no frame was looked at")
        count, total, extreme, *stray = (self._backend.get(a) for a in self._state)
        if stray and stray[0][0]:
            raise ValueError(f"darks: {stray[0][0]} of {self.frames} frames are of a cell beyond the {self.cells} there are")
        plain, gated = moments(count[0], total[0], total[1]), moments(count[3], total[2], total[3])
        robust = untruncated(gated, self.gate.low, self.gate.high)
        status = np.zeros(count[0].shape, np.uint32)
        for c in range(max(self.cells, 1)):
            at: Any = c if self.cells else Ellipsis
            found = {"pedestal": robust.mean, "noise": robust.sigma, "gaussian": robust.found, "expected": robust.inside, "kurtosis": self.gate.kurtosis,
                     "words": self.gate.words, "saturated": self.gate.saturated, "cold": self.gate.cold,
                     "count": count[0], "switched": count[1], "invalid": count[2], "inside": count[3]}
            status[at] = status_of(self.kind, self.limits, status[at].shape, self.width, {k: v[at] for k, v in found.items()})
        second = None if self.second is None else self.second.finish()
        return DarkResult(robust.mean, robust.sigma, status, plain.mean, plain.rms, count[0], count[3], count[1], count[2], *extreme, robust.inside, self.gate,
                          second)


def summary(status: np.ndarray) -> dict[str, int]:
    """How many pixels have each status."""
    return {str(bit.name): int(((status & bit) != 0).sum()) for bit in DarkStatus}
