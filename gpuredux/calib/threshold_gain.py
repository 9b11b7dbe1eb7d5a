"""energy = (adc - pedestal[plane]) / gain[plane], the plane being told by a second image and its thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector
from ..detectors_kind import codes_define, codes_table
from ..op import Plan, bits_define, live_rows, nbytes
from .gain import Gain
from .threshold_gain_numba import threshold_gain_tiles


@dataclass(frozen=True, eq=False)
class ThresholdGain(Gain):
    """energy = (adc - pedestal[plane]) * (1 / gain[plane]), plane = how many thresholds the word of the second image exceeds; each step rounded once.

    fields: those of calib.Gain, and threshold (stages - 1, [cells,] *frame), rounded to float32, ascending; NaN is never exceeded: the higher
            planes are then never used, as for a pixel whose stages cannot be told apart
    in:  raw (n, [panels,] 2, rows, cols) u16: the adc [ADU], and the image that tells the gain; cell (n,) u16, only with cells > 0; frame_status (n,)
         u32; live (1,) i32
    out: energy, pixel_status, gain_stage and frame_status as of calib.Gain
    exact: bit-identical on every backend
    raises ValueError as calib.Gain, and for thresholds that descend
    source: AGIPD's format: Allahgholi et al., J. Synchrotron Rad. 26 (2019) 74
    """

    name: ClassVar[str] = "calib.threshold_gain"
    by_threshold: ClassVar[bool] = True

    detector: str | Detector = "agipd1M"
    threshold: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        threshold = self.own("threshold", np.float32)
        want = (len(self.kind.planes) - 1, *self.pedestal.shape[1:])
        if threshold.shape != want:
            raise ValueError(f"{self.name}: threshold must be {want}, one less than the detector's stages, got {threshold.shape}")
        down = (np.diff(threshold, axis=0) < 0) & (True if self.good is None else self.good)
        if down.any():
            first = tuple(int(k) for k in np.argwhere(down)[0])
            raise ValueError(f"{self.name}: thresholds must ascend in good pixels; {int(down.sum())} do not, the first at {first}"
                             f" (threshold, {'cell, ' if self.cells else ''}pixel)")

    @property
    def raw_frame(self) -> tuple[int, ...]:
        return (*self.frame[:-2], 2, *self.frame[-2:])

    def constants(self) -> dict[str, np.ndarray]:
        return {**super().constants(), "threshold": self.threshold}

    def traffic(self, *x: Any) -> int:
        return super().traffic(*x) + nbytes(self.threshold)

    def decoded(self, plan: Plan, words: np.ndarray, cell: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.kind.decode(words, plan.constants["threshold"][cell])

    def numba(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, pixel_status, gain_stage, new_status = plan.every_output(out)
        n, npix = live_rows(raw, live), self.npix
        p, k, t = (plan.constants[c].reshape(len(plan.constants[c]), max(self.cells, 1), npix) for c in ("pedestal", "factor", "threshold"))
        flags = threshold_gain_tiles(
            raw.reshape(len(raw), self.panels, 2, npix // self.panels)[:n], None if cell is None else cell[:n], p, k, t,
            energy.reshape(len(raw), npix), *(None if a is None else a.reshape(len(raw), npix) for a in (pixel_status, gain_stage)),
            np.uint16(self.kind.adc_mask), np.array(self.kind.planes, np.int8), codes_table(self.kind.codes), np.float32(self.bad_value),
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n] | flags

    @property
    def panels(self) -> int:
        return int(np.prod(self.frame[:-2]))

    def pixel(self, plan: Plan, raw: Any, cell: Any, frame_status: Any, live: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        table = sum((p & 15) << 4 * i for i, p in enumerate(self.kind.planes))
        defines = {
            "CELLS": self.cells, "BAD_VALUE": bits_define(self.bad_value), "GAIN_STAGE": self.gain_stage, "THRESHOLDS": len(self.threshold),
            "ADC_MASK": f"{self.kind.adc_mask}u", "PLANE_TABLE": f"{table}u", "WORD_STATUS(w)": codes_define(self.kind.codes),
            "PANEL_PIXELS": f"{self.npix // self.panels}u",
        }
        constants = (plan.constants[k] for k in ("pedestal", "factor", "threshold"))
        return "calib/threshold_gain.cl", (raw, *constants, cell if self.cells else raw), defines
