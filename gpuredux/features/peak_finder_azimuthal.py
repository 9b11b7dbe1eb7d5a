"""Bragg peaks above the azimuthal background: pyFAI's peak finder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from ..status import Frame
from . import peak_finder_azimuthal_numba as host
from .background import AboveBackground, clean
from .frames import host_frames, host_marks, word
from .peak_finder8 import COLUMNS
from .sparsify import above
from .sparsify_numba import background_of
from .strong import list_scratch, list_strong, table_of


@dataclass(frozen=True, eq=False)
class PeakFinderAzimuthal(AboveBackground):
    """pixels that are the highest above background in their patch, as are `connected` of its pixels by cutoff_peak sqrt(std^2 + noise^2) at least.

    fields: see AboveBackground; patch_size: side of the patch [pixel], odd; of pixels as high as another the first in raster order counts (pyFAI lists
            each); a patch that leaves the panel has no peak; what is no measurement is in none; max_num_peaks: rows of the table
            max_strong: pixels that high that are looked at, None = a 32nd of the frame, at least 4096; a frame with more has no peaks listed
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         frame_status (n,) u32; live (1,) i32
    out: peak_panel i32, peak_row, peak_col f32 (centroid of what is above background; 0 = centre of the first pixel of the panel), peak_pixels i32 of the
         patch that are so high, peak_total (sum of what is above background), peak_max, peak_background (under the highest), peak_sigma (root of the sum of
         std^2 + noise^2), peak_snr = total / sigma, 0 for a sigma of 0, f32 [energy / normalisation], each (n, max_num_peaks), 0 behind the last peak: in
         raster order of the highest pixels; peak_count (n,) i32, more than max_num_peaks where peaks were left out; strong_count (n,) i32 pixels so high;
         frame_status (n,) u32, when given: with TOO_MANY where strong_count > max_strong
    exact: bit-identical on every backend: float32 above the background, times 1 / normalisation; sums over the patch in raster order in f64
    source: OCL_PeakFinder.peakfinder of pyFAI: J. Kieffer et al., J. Appl. Cryst. 58 (2025) 138
    """

    name: ClassVar[str] = "features.peak_finder_azimuthal"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = (*(f"peak_{k}" for k in COLUMNS), "peak_count", "strong_count")

    cutoff_peak: float = 3.0
    patch_size: int = 3
    connected: int = 2
    max_num_peaks: int = 2048
    max_strong: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("cutoff_peak")
        if not (self.number("patch_size", whole=True) % 2 and 1 <= self.patch_size <= 255):
            raise ValueError(f"{self.name}: patch_size must be odd, 1 to 255, got {self.patch_size}")
        for field, top in (("connected", 2**16), ("max_num_peaks", 2**24), ("max_strong", 2**31 - 1)):
            if getattr(self, field) is not None and not 1 <= self.number(field, whole=True) <= top:
                raise ValueError(f"{self.name}: {field} must be 1 to {top}, got {getattr(self, field)}")
        if len(self.rings.shape) not in (2, 3):
            raise ValueError(f"{self.name}: the rings' frame must be (rows, cols) or (panels, rows, cols), got {self.rings.shape}")

    @property
    def capacity(self) -> int:
        """Strong pixels that are looked at."""
        npix = self.rings.label.size
        return min(npix, max(4096, npix // 32) if self.max_strong is None else self.max_strong)

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys((f"peak_{k}" for k in COLUMNS), "peak_count")

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        columns = tuple(Spec(f"peak_{k}", (shape[0], self.max_num_peaks), np.dtype(d)) for k, d in COLUMNS.items())
        counts = tuple(Spec(k, (shape[0],), np.dtype(np.int32)) for k in ("peak_count", "strong_count"))
        return (*columns, *counts, *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, most = energy.shape[0], self.capacity
        candidates = Spec("columns", (n, len(COLUMNS) * most), np.dtype(np.uint32))
        return (*self.clip_scratch(n, "mean", "std"), candidates, *list_scratch(n, math.prod(energy.shape[1:]), most))

    def traffic(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> int:
        """The frames once, their pixels' places once, the tables."""
        return nbytes(energy, pixel_status, frame_status, live, self.position, *self.outputs(energy, pixel_status, frame_status, live))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        columns, (peak_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        mean, std, *rest = (plan.scratch[k] for k in ("mean", "std", "sem", "left"))
        self.clip.numpy(plan, energy, pixel_status, live, mean, std, *rest)
        for f in range(live_rows(energy, live)):
            e, background, variance = self.excess(plan, energy[f], None if pixel_status is None else pixel_status[f], mean[f], std[f])
            strong = (e > 0) & (e.astype(np.float64) ** 2 >= float(self.cutoff_peak) ** 2 * variance)
            strong_count[f] = strong.sum()
            too_many = strong_count[f] > self.capacity
            shape = (-1, *energy.shape[-2:])
            peaks = [] if too_many else list(self._peaks(*(x.reshape(shape) for x in (e, background, variance, strong))))
            peak_count[f] = len(peaks)
            for k, column in zip(COLUMNS, columns, strict=True):
                column[f] = 0
                with np.errstate(over="ignore"):
                    column[f, : len(peaks)] = [p[k] for p in peaks[: self.max_num_peaks]]
            for status in new_status:
                status[f] = frame_status[f] | (Frame.TOO_MANY if too_many else 0)

    def _peaks(self, e: np.ndarray, background: np.ndarray, variance: np.ndarray, strong: np.ndarray) -> Iterator[dict[str, Any]]:
        """Those of a frame (panels, rows, cols), in order. Sums are f64, pixel by pixel in raster order."""
        reach = self.patch_size // 2
        rows, cols = e.shape[1:]
        for p, row, col in np.argwhere(strong).tolist():
            if not (reach <= row < rows - reach and reach <= col < cols - reach):
                continue
            most, total, up, across, spread, pixels, best = e[p, row, col], 0.0, 0.0, 0.0, 0.0, 0, True
            for r in range(row - reach, row + reach + 1):
                for c in range(col - reach, col + reach + 1):
                    x = e[p, r, c]
                    if x > 0 and not np.isnan(variance[p, r, c]):
                        best &= bool(x < most or (x == most and (r, c) >= (row, col)))
                        pixels += int(strong[p, r, c])
                        total, up, across = total + float(x), up + float(x) * (r - row), across + float(x) * (c - col)
                        spread += float(variance[p, r, c])
            if best and pixels >= self.connected:
                sigma = math.sqrt(spread)
                yield {"panel": p, "row": clean(row + up / total), "col": clean(col + across / total), "pixels": pixels, "total": total, "max": most,
                       "background": background[p, row, col], "sigma": sigma, "snr": clean(total / sigma) if sigma > 0 else 0.0}

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        columns, (peak_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        n, (rows, cols) = live_rows(energy, live), energy.shape[-2:]
        mean, std, *rest = (plan.scratch[k] for k in ("mean", "std", "sem", "left"))
        self.clip.numba(plan, energy, pixel_status, live, mean, std, *rest)
        status = host.find(
            host_frames(energy, n), host_marks(pixel_status, n), background_of(self, plan, self.cutoff_peak, pixel_status is not None), mean, std,
            host.Patch(rows, cols, self.patch_size // 2, self.connected), plan.scratch["strong"],
            tuple(c for c, d in zip(columns, COLUMNS.values(), strict=True) if d == np.int32),
            tuple(c for c, d in zip(columns, COLUMNS.values(), strict=True) if d == np.float32), peak_count, strong_count,
        )
        for new in new_status:
            new[:n] = frame_status[:n] | status

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        columns, (peak_count, strong_count, *new_status) = out[: len(COLUMNS)], out[len(COLUMNS):]
        n, npix, held, new, most = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch, new_status[0] if new_status else None, self.capacity
        plan.start_status(frame_status, new, live)
        self.clip.device(plan, energy, pixel_status, live, *(held[k] for k in ("mean", "std", "sem", "left")))
        above(plan, self, energy, pixel_status, live, held["mean"], held["std"], self.cutoff_peak, True)
        list_strong(plan, held["bits"], live, strong_count, new)
        optional = [strong_count if a is None else a for a in (pixel_status, plan.constants.get("inverse"), live)]
        plan.launch("features/peak_finder_azimuthal.cl", "peaks", (-(-most // 128), n), 128,
                    (energy, plan.constants["position"], *(held[k] for k in ("mean", "std", "bits", "strong", "found")), *optional, held["columns"],
                     np.float64(float(self.noise) ** 2), *map(np.uint32, (n, self.rings.count, npix, held["bits"].shape[1], most, *energy.shape[-2:])),
                     np.int32(self.patch_size // 2), np.uint32(self.connected)),
                    WORD=word(energy), MARKED=pixel_status is not None, WEIGHTED=self.normalisation is not None, LIVE=live is not None)
        table_of(plan, columns, peak_count, live, "found")
