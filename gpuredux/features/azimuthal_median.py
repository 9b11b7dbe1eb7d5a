"""The median of each ring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from .azimuthal_median_numba import medians
from .frames import FrameOp, host_frames, host_marks, word
from .rings import Rings


@dataclass(frozen=True, eq=False)
class AzimuthalMedian(FrameOp):
    """median[ring] of v / normalisation over the pixels of a ring; or another quantile of it.

    fields: rings: Rings (whole pixels: the median of parts is not defined here), in one dimension or two
            normalisation (*frame) f32, above 0: solid angle x polarisation x flat field; None: 1. v / normalisation is rounded once to float32; every pixel
            counts alike (pyFAI's medfilt1d_ng weights them by normalisation)
            quantile: 0 to 1: with p = quantile * pixels in float64, the value that has floor(p) others before it in order (the last, where there is none);
            where p is whole and neither 0 nor all, the mean of that and the one before it, added in float64 and rounded once: the median of an even number
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32: NaN and Inf are left out; pixel_status (n, *frame) u8, so are
         pixels that are not 0; live (1,) i32
    out: median (n, *bins) f32, NaN where a ring has no pixel, never -0; pixels (n, *bins) i32
    exact: bit-identical on every backend
    source: the quantile of NumPy's method "averaged_inverted_cdf", R's type 2; pyFAI's percentile
    """

    name: ClassVar[str] = "features.azimuthal_median"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("median", "pixels")

    rings: Rings
    normalisation: np.ndarray | None = None
    quantile: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        if not 0 <= self.number("quantile") <= 1:
            raise ValueError(f"{self.name}: quantile must be 0 to 1, got {self.quantile}")
        if self.normalisation is not None:
            weight = self.own("normalisation", np.float32)
            if weight.shape != self.rings.shape:
                raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, got {weight.shape}")
            used = weight[self.rings.used]
            if not ((used > 0) & np.isfinite(used)).all():
                raise ValueError(f"{self.name}: normalisation of pixels of rings must be above 0 and finite: take others out of the rings")

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings)
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        bins = (shape[0], *self.rings.shape_of_result)
        return Spec("median", bins, np.dtype(np.float32)), Spec("pixels", bins, np.dtype(np.int32))

    def traffic(self, energy: Any, pixel_status: Any, live: Any) -> int:
        """The frames once, their labels once, the curves."""
        return nbytes(energy, pixel_status, live, self.rings.label, *self.outputs(energy, pixel_status, live))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, median: Any, pixels: Any) -> None:
        rings = self.rings
        weight = np.ones(rings.shape) if self.normalisation is None else np.where(rings.used, self.normalisation, 1).astype(np.float64)
        for f in range(live_rows(energy, live)):
            v = energy[f].astype(np.float32)
            use = np.isfinite(v) if pixel_status is None else np.isfinite(v) & (pixel_status[f] == 0)
            with np.errstate(over="ignore"):
                v = (np.where(use, v, 0).astype(np.float64) / weight).astype(np.float32) + np.float32(0)
            for k in range(rings.count):
                mine = rings.order[rings.first[k] : rings.first[k + 1]]
                x = np.sort(v.reshape(-1)[mine][use.reshape(-1)[mine]])
                at = np.unravel_index(k, rings.shape_of_result)
                pixels[f][at], median[f][at] = len(x), np.nan
                if len(x):
                    lower, upper = places(self.quantile, len(x))
                    median[f][at] = np.float32((np.float64(x[lower]) + np.float64(x[upper])) * 0.5)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, median: Any, pixels: Any) -> None:
        n, rings = live_rows(energy, live), self.rings
        weight = np.ones(1, np.float32) if self.normalisation is None else self.normalisation.reshape(-1)
        most = int(np.diff(rings.first.astype(np.int64)).max())
        medians(host_frames(energy, n), host_marks(pixel_status, n), pixel_status is not None, rings.order, rings.first, read_only(weight),
                self.normalisation is not None, float(self.quantile), most, median.reshape(-1, rings.count), pixels.reshape(-1, rings.count))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, median: Any, pixels: Any) -> None:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        kind, weighted = np.dtype(energy.dtype), self.normalisation is not None
        optional = [pixels if a is None else a for a in (pixel_status, plan.constants.get("normalisation"), live)]
        plan.launch("features/azimuthal_median.cl", "azimuthal_median", (self.rings.count, n), 128,
                    (energy, plan.statics["order"], plan.statics["first"], *optional, median, pixels, np.float64(self.quantile),
                     *map(np.uint32, (n, self.rings.count, npix))),
                    WORD=word(energy), NARROW=kind.itemsize < 4 and not weighted, MARKED=pixel_status is not None, WEIGHTED=weighted, LIVE=live is not None)


def places(quantile: float, n: int) -> tuple[int, int]:
    """The two among n values in order whose mean is the quantile."""
    p = quantile * n
    upper = min(int(p), n - 1)
    return (upper - 1 if p == upper and upper > 0 else upper), upper
