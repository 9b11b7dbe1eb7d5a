"""energy = (adc - pedestal[plane]) / gain[plane]. Over 200 lines: the checks that real constants need are part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector, detector
from ..detectors_kind import codes_table
from ..op import Op, Plan, Spec, bits_define, live_rows, nbytes
from ..pixelwise import write_pixels
from ..status import FROM_DATA, Pixel
from .gain_numba import gain_tiles
from .words_numba import gain_stages, unpack12_rows

TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, eq=False)
class Gain(Op):
    """energy = (adc - pedestal[plane]) * (1 / gain[plane]), each step rounded once in float32; 1 / gain is taken on the host in float64.

    fields: pedestal, gain (planes, [cells,] *frame) [ADU], [ADU per output unit], rounded to float32; good (*frame) bool, True = use, None = all
            adu: energy is adc - pedestal [ADU], and gain only tells bad constants: for a common mode, which comes before the gain
    in:  raw (n, *frame) u16 [ADU], for packed detectors (n, ..., cols * 3 / 2) u8; cell (n,) u16, only with cells > 0; frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32 [the unit of gain]: bad_value (0 or NaN) wherever the pixel status is not 0
         pixel_status (n, *frame) u8, with status=True: MASKED alone, else SATURATED, MISSING, INVALID_CODE (a cell that
         does not exist makes the whole frame that) or BAD_CONSTANT
         gain_stage (n, *frame) u8, with gain_stage=True: the plane of constants that the word asks for, 0 for an invalid code
         frame_status (n,) u32, when given: with the OR of the pixels' bits that come from the data
    exact: bit-identical on every backend
    raises ValueError for NaN, Inf or zero gain and non-finite pedestals in good pixels; invalid="mask" makes them BAD_CONSTANT
    source: the common normal form of gain-switching detectors, e.g. Mozzanica et al., J. Instrum. 9 (2014) C05010 for Jungfrau
    """

    name: ClassVar[str] = "calib.gain"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "cell?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy", "pixel_status", "gain_stage")
    pixel_output: ClassVar[str] = "energy"
    by_threshold: ClassVar[bool] = False

    pedestal: np.ndarray
    gain: np.ndarray
    good: np.ndarray | None = None
    detector: str | Detector = "jungfrau"
    cells: int = 0
    bad_value: float = 0.0
    invalid: str = "raise"
    status: bool = False
    adu: bool = False
    gain_stage: bool = False

    def __post_init__(self) -> None:
        kind = detector(self.detector)
        object.__setattr__(self, "detector", kind)
        if kind.second_image != self.by_threshold or kind.counts:
            other = "calib.threshold_gain" if kind.second_image else "calib.counts" if kind.counts else "calib.gain"
            raise ValueError(f"{self.name}: {kind.name} does not send such words; use {other}")
        for field in ("pedestal", "gain"):
            value = self.own(field, np.float32)
            lead = (kind.n_planes, self.cells) if self.cells else (kind.n_planes,)
            if value.shape != self.pedestal.shape or value.shape[: len(lead)] != lead or value.ndim < len(lead) + 1:
                want = ", ".join(map(str, lead))
                raise ValueError(f"{self.name}: {field} must be ({want}, *frame) like pedestal for {kind.name}, got {value.shape}")
        self.own_good(self.frame)
        self.zero_or_nan("bad_value")
        if kind.word == "packed12" and self.frame[-1] % 2:
            raise ValueError(f"{self.name}: 12-bit words are packed in pairs, got frames {self.frame} with an odd number of columns")
        self.one_of("invalid", "raise", "mask")
        if self.invalid == "raise":
            self._check_constants()

    @property
    def frame(self) -> tuple[int, ...]:
        """The shape of one frame."""
        return self.pedestal.shape[2 if self.cells else 1 :]

    @property
    def raw_frame(self) -> tuple[int, ...]:
        """The shape of one frame of words."""
        return (*self.frame[:-1], self.frame[-1] * 3 // 2) if self.kind.word == "packed12" else self.frame

    @property
    def npix(self) -> int:
        return int(np.prod(self.frame))

    @property
    def kind(self) -> Detector:
        return detector(self.detector)

    def _usable(self) -> np.ndarray:
        """Which constants give a finite, normal factor: (planes, [cells,] *frame) bool."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            factor = np.abs((1.0 / self.gain.astype(np.float64)).astype(np.float32))
        unit = 1 << self.kind.adc_shift
        with np.errstate(over="ignore"):
            return np.isfinite(self.pedestal * np.float32(unit)) & np.isfinite(self.gain) & (factor >= TINY * unit) & np.isfinite(factor)

    def _check_constants(self) -> None:
        bad = ~self._usable()
        if self.good is not None:
            bad &= self.good
        count = int(bad.any(axis=tuple(range(bad.ndim - len(self.frame)))).sum())
        if count:
            first = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(
                f"{self.name}: {count} good pixels have a gain that is NaN, Inf or 0 (or 1 / gain is no normal float32), or a pedestal that is not finite;"
                f" the first is {first}"
                f" (plane, {'cell, ' if self.cells else ''}pixel): pedestal {self.pedestal[first]}, gain {self.gain[first]};"
                " mask them with good=, or pass invalid='mask'"
            )

    def constants(self) -> dict[str, np.ndarray]:
        """pedestal, and factor = 1 / gain with its two zeros as marks: +0 for a masked pixel, -0 for a bad constant.

        Of detectors whose adc does not begin at bit 0 they are of the adc where it lies in the word: the factor of two is exact."""
        usable, unit = self._usable(), np.float32(1 << self.kind.adc_shift)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            factor = np.ones_like(self.gain) if self.adu else (1.0 / self.gain.astype(np.float64)).astype(np.float32)
        pedestal = self.pedestal
        if self.kind.adc_shift:
            pedestal, factor = pedestal * unit, factor / unit
        if not usable.all():
            factor[~usable] = -0.0
            pedestal = np.where(usable, pedestal, np.float32(0))
        if self.good is not None:
            factor[..., ~self.good] = 0.0
        return {"pedestal": pedestal, "factor": factor}

    def outputs(self, raw: Any, cell: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n = self.require("raw", raw, np.uint8 if self.kind.word == "packed12" else np.uint16, ("n", *self.raw_frame)).shape[0]
        if self.cells:
            self.require("cell", cell, np.uint16, (n,))
        elif cell is not None:
            raise ValueError(f"{self.name}: cell was given, but the constants have no cells (cells=0)")
        out = [Spec("energy", (n, *self.frame), np.dtype(np.float32))]
        if self.status:
            out.append(Spec("pixel_status", (n, *self.frame), np.dtype(np.uint8)))
        if self.gain_stage:
            out.append(Spec("gain_stage", (n, *self.frame), np.dtype(np.uint8)))
        return (*out, *self.frame_outputs(n, frame_status, live))

    def traffic(self, raw: Any, cell: Any, frame_status: Any, live: Any) -> int:
        plane = 2 * 4 * self.npix * max(self.cells, 1)     # plane 0 of both constants: what every frame needs
        return nbytes(raw, cell, frame_status, live) + nbytes(*self.outputs(raw, cell, frame_status, live)) + plane

    def numpy(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, gain_stage, new_status = plan.every_output(out)
        pedestal, factor = plan.constants["pedestal"], plan.constants["factor"]
        for f in range(live_rows(raw, live)):
            lost = self.cells and cell[f] >= self.cells
            c = (slice(None), 0 if lost else cell[f]) if self.cells else slice(None)
            adc, plane, status = self.decoded(plan, raw[f], c)
            if lost:
                status[...] = Pixel.INVALID_CODE
            p, k = np.choose(plane, pedestal[c]), np.choose(plane, factor[c])
            status[(status == 0) & (k == 0)] = Pixel.BAD_CONSTANT
            masked = (factor[c][0] == 0) & ~np.signbit(factor[c][0])
            status[masked] = Pixel.MASKED
            unit = np.float32(1 << self.kind.adc_shift)     # of the constants, see there
            with np.errstate(over="ignore"):        # to Inf, as in float32 it must
                y = (adc.astype(np.float32) * unit - p) * k
            energy[f] = np.where(status == 0, y, np.float32(self.bad_value))
            if self.status:
                pixel_status[f] = status
            if self.gain_stage:
                gain_stage[f] = plane
            if new_status is not None:
                new_status[f] = frame_status[f] | np.bitwise_or.reduce(status & FROM_DATA, axis=None)

    def decoded(self, plan: Plan, words: np.ndarray, cell: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """adc, plane of constants and status of one frame; cell: the index of its constants behind their planes."""
        return self.kind.decode(words)

    def numba(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, gain_stage, new_status = plan.every_output(out)
        n, npix = live_rows(raw, live), self.npix
        words = raw.reshape(len(raw), npix * 3 // 2 if self.kind.word == "packed12" else npix)[:n]
        if self.kind.word == "packed12":
            if "words" not in plan.scratch:     # of this backend alone: the others unpack in registers
                plan.scratch["words"] = np.empty((len(raw), npix), np.uint16)
            unpack12_rows(words, plan.scratch["words"])
            words = plan.scratch["words"][:n]
        p, k = (plan.constants[c].reshape(self.kind.n_planes, max(self.cells, 1), npix) for c in ("pedestal", "factor"))
        planes = np.array(self.kind.planes, np.int8)
        flags = gain_tiles(
            words, None if cell is None else cell[:n], p, k, energy.reshape(len(raw), npix),
            None if pixel_status is None else pixel_status.reshape(len(raw), npix),
            np.array([self.kind.adc_mask, self.kind.gain_shift, self.kind.gain_mask], np.uint32), planes, codes_table(self.kind.codes),
            np.float32(self.bad_value),
        )
        if gain_stage is not None:
            gain_stages(words, gain_stage.reshape(len(raw), npix), np.uint16(self.kind.gain_shift), np.maximum(planes, 0).view(np.uint8))
        if new_status is not None:
            new_status[:n] = frame_status[:n] | flags

    def device(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, gain_stage, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        write_pixels(plan, (raw, cell, frame_status, live), energy, pixel_status, gain_stage, new_status, live)

    def pixel(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        defines = {"N_PLANES": f"{self.kind.n_planes}u", "CELLS": self.cells, "BAD_VALUE": bits_define(self.bad_value),
                   "PACKED12": self.kind.word == "packed12", "GAIN_STAGE": self.gain_stage, **self.kind.defines()}
        args = (raw, plan.constants["pedestal"], plan.constants["factor"], cell if self.cells else raw)
        return "calib/gain.cl", args, defines

