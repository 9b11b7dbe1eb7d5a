"""Exact sums over dark frames, pixel by pixel: what pedestal and noise are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector, detector
from ..op import Op, Plan, Spec, frame_grid, live_rows, vector
from .dark_sums_numba import sum_tiles


def words_alone(who: str, which: str | Detector) -> Detector:
    """The detector, if a 16-bit word alone says adc and gain stage. Raises ValueError."""
    kind = detector(which)
    why = ("its gain is in the second image: calib.darks.DarkRun sums each image by itself" if kind.second_image
           else "its words are packed: calib.darks.DarkRun unpacks them" if kind.word != "u16" else "it counts photons, and has no pedestal" if kind.counts
           else "")
    if why:
        raise ValueError(f"{who}: {kind.name}: {why}")
    return kind


@dataclass(frozen=True, eq=False)
class DarkSums(Op):
    """count, sum adc, sum adc**2 and extremes of the words of one gain stage, over a batch, on top of the state so far.

    fields: plane: the gain stage that is expected; cells: memory cells, 0 = none; gate: with one, the sums are taken inside it, too
    in:  raw (n, *frame) u16 [ADU]; cell (n,) u16 and stray (1,) u32 only with cells > 0; live (1,) i32
         count (3 or, with a gate, 4, [cells,] *frame) u32: words of the stage, of other stages, of none (error codes, gain bits that cannot be),
         of the stage and inside the gate
         sum (2 or 4, [cells,] *frame) u64 [ADU, ADU**2]: adc and adc**2 of the stage's words, then of those inside the gate
         extreme (2, [cells,] *frame) u16 [ADU]: least and largest adc of the stage's words; starts as 65535 and 0
         gate (2, [cells,] *frame) u16 [ADU], only with gate=True: least and largest adc inside
         stray: frames so far whose cell does not exist: they enter nothing else
    out: count, sum, extreme, stray like the inputs: the state with this batch in it. A run reads one set and writes another
    exact: integers: no order and no batching changes a bit, up to 2**32 - 1 frames
    source: the sums of the sample mean and variance; no frame enters that was not given, no word of another stage or of none
    """

    name: ClassVar[str] = "calib.dark_sums"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "count", "sum", "extreme", "gate?", "stray?", "cell?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("count", "sum", "extreme", "stray")
    state: ClassVar[tuple[str, ...]] = ("count", "sum", "extreme", "gate", "stray")     # no rows of the batch

    detector: str | Detector = "jungfrau"
    plane: int = 0
    cells: int = 0
    gate: bool = False

    def __post_init__(self) -> None:
        kind = words_alone(self.name, self.detector)
        object.__setattr__(self, "detector", kind)
        stages = sorted({p for p in kind.planes if p >= 0})
        if self.number("plane", whole=True) not in stages:
            raise ValueError(f"{self.name}: plane must be one of {kind.name}'s gain stages, {', '.join(map(str, stages))}, got {self.plane}")
        if not 0 <= self.number("cells", whole=True) <= 65535:
            raise ValueError(f"{self.name}: cells must be 0 to 65535, got {self.cells}")

    @property
    def kind(self) -> Detector:
        return detector(self.detector)

    @cached_property
    def word_class(self) -> np.ndarray:
        """(65536,) u8: row of `count` that a word belongs to."""
        _, plane, status = self.kind.decode(np.arange(65536, dtype=np.uint16))
        table = np.where(status != 0, 2, np.where(plane == self.plane, 0, 1)).astype(np.uint8)
        table.setflags(write=False)
        return table

    def start(self, frame: tuple[int, ...]) -> dict[str, np.ndarray]:
        """The state before the first frame."""
        at = ((self.cells,) if self.cells else ()) + frame
        extreme = np.zeros((2, *at), np.uint16)
        extreme[0] = 65535
        state = {"count": np.zeros((3 + self.gate, *at), np.uint32), "sum": np.zeros((2 + 2 * self.gate, *at), np.uint64), "extreme": extreme}
        return {**state, **({"stray": np.zeros(1, np.uint32)} if self.cells else {})}

    def outputs(self, raw: Any, count: Any, sum: Any, extreme: Any, gate: Any, stray: Any, cell: Any, live: Any) -> tuple[Spec, ...]:
        n, *frame = self.require("raw", raw, np.uint16, ("n", *getattr(raw, "shape", (0, "pixels"))[1:])).shape
        if not frame or n > 65536:      # of 16 bits, so many words' sum fits into 32
            raise ValueError(f"{self.name}: raw must be uint16 (n, *frame) of at most 65536 frames, got {raw.dtype} {raw.shape}")
        at = ((self.cells,) if self.cells else ()) + tuple(frame)
        out = [self.require("count", count, np.uint32, (3 + self.gate, *at)), self.require("sum", sum, np.uint64, (2 + 2 * self.gate, *at)),
               self.require("extreme", extreme, np.uint16, (2, *at))]
        for name, given, wanted, dtype, shape in (("gate", gate, self.gate, np.uint16, (2, *at)), ("stray", stray, self.cells > 0, np.uint32, (1,)),
                                                  ("cell", cell, self.cells > 0, np.uint16, (n,))):
            if wanted:
                self.require(name, given, dtype, shape)
            elif given is not None:
                raise ValueError(f"{self.name}: {name} was given, but not asked for ({'gate=False' if name == 'gate' else 'cells=0'})")
        self.require_live(live)
        return tuple([*out, Spec("stray", (1,), np.dtype(np.uint32))] if self.cells else out)

    def numpy(self, plan: Plan, raw: Any, count: Any, sum: Any, extreme: Any, gate: Any, stray: Any, cell: Any, live: Any, *out: Any) -> None:
        for new, old in zip(out, (count, sum, extreme, stray), strict=False):
            new[...] = old
        new_count, new_sum, new_extreme = out[:3]
        for f in range(live_rows(raw, live)):
            if self.cells and cell[f] >= self.cells:
                out[3][0] += 1
                continue
            c = (slice(None), cell[f]) if self.cells else slice(None)
            adc, plane, status = self.kind.decode(raw[f])
            lost, mine = status != 0, (status == 0) & (plane == self.plane)
            new_count[c][:3] += np.stack([mine, ~mine & ~lost, lost])
            wide = np.where(mine, adc, 0).astype(np.uint64)
            new_sum[c][:2] += np.stack([wide, wide * wide])
            new_extreme[c][0] = np.minimum(new_extreme[c][0], np.where(mine, adc, 65535))
            new_extreme[c][1] = np.maximum(new_extreme[c][1], np.where(mine, adc, 0))
            if self.gate:
                inside = mine & (adc >= gate[c][0]) & (adc <= gate[c][1])
                new_count[c][3] += inside
                new_sum[c][2:] += np.where(inside, np.stack([wide, wide * wide]), 0)

    def numba(self, plan: Plan, raw: Any, count: Any, sum: Any, extreme: Any, gate: Any, stray: Any, cell: Any, live: Any, *out: Any) -> None:
        n, cells = live_rows(raw, live), max(self.cells, 1)
        npix = int(np.prod(raw.shape[1:]))
        where = np.minimum(cell[:n], self.cells) if self.cells else np.zeros(n, np.uint16)
        order, first = np.argsort(where, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(where, minlength=cells)[:cells])])
        if self.cells:
            out[3][0] = stray[0] + np.uint32(n - first[-1])
        planes = [k for k, p in enumerate(self.kind.planes) if p == self.plane]
        looks = [code for code, _ in self.kind.codes if code >> self.kind.gain_shift & self.kind.gain_mask == planes[0]]
        masks = [self.kind.adc_mask, self.kind.gain_mask << self.kind.gain_shift, planes[0] << self.kind.gain_shift, self.kind.adc_shift]
        flat = [a.reshape(len(a), cells, npix) for a in (count, sum, extreme, *out[:3])]
        sum_tiles(raw.reshape(len(raw), npix), order, first, *flat[:3], gate.reshape(2, cells, npix) if self.gate else None, *flat[3:],
                  self.word_class, np.array(masks, np.uint16), np.array(looks, np.uint16))

    def device(self, plan: Plan, raw: Any, count: Any, sum: Any, extreme: Any, gate: Any, stray: Any, cell: Any, live: Any, *out: Any) -> None:
        n, npix, wide = raw.shape[0], int(np.prod(raw.shape[1:])), plan.device.vector
        words = raw if n else count     # stands in where the kernel never looks, as `count` does below
        optional = [count if a is None else a for a in (gate, stray, cell, live, out[3] if self.cells else None)]
        defines: dict[str, Any] = {k: v for k, v in self.kind.defines().items() if k != "GAIN_BITS"}
        defines |= {"PLANE": f"{self.plane}u", "ADC_SHIFT": f"{self.kind.adc_shift}u"}
        together = min((2**32 - 1) // (self.kind.adc_mask >> self.kind.adc_shift) ** 2, 65536)      # squares that 32 bits hold
        plan.launch(
            "calib/dark_sums.cl", "dark_sums", (frame_grid(n, npix, wide)[0], max(self.cells, 1)), 128,
            (words, count, sum, extreme, *optional[:4], *out[:3], optional[4], np.uint32(n), np.uint32(npix)),
            CELLS=self.cells, GATE=self.gate, TOGETHER=f"{together}u", BLOCKS_AT_LEAST=2, LIVE=live is not None, VECTOR=vector(npix, wide), **defines,
        )
