"""Photon statistics of speckle: how many pixels of each region have 0, 1, 2 ... photons, and the contrast that this tells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from . import contrast_numba as host
from .frames import FrameOp, host_marks, word
from .rings import Rings


@dataclass(frozen=True, eq=False)
class Contrast(FrameOp):
    """contrast = (<k^2> - <k>^2 - <k>) / <k>^2 of the photons k of a region's pixels, and (2 r / <k> - 1) / (1 - 2 r), r = p(2) / p(1), p(k): share of pixels.

    Both are 1 / M of M modes, if k has the negative binomial distribution; both are noisy for one frame of few photons: add counts over frames.
    fields: rings: Rings, the regions; most: photons that are counted one by one; of: the input with the photons
    in:  photons (n, *frame) u8 or u16; pixel_status (n, *frame) u8, pixels that are not 0 are left out; live (1,) i32
    out: photon_pixels (n, *bins, most + 2) i32: pixels with 0 to most photons, and with more; photon_sum (n, *bins) i64, photon_sum2 (n, *bins) i64: sums of
         k and k^2; photon_mean f32: <k>; contrast f32: from the moments; contrast_pairs f32: from p(2) / p(1); each (n, *bins); NaN where there is no pixel;
         contrast where there is no photon; contrast_pairs where p(1) or 1 - 2 r is 0
    exact: bit-identical on every backend: counts and sums are whole numbers; f64 in the order written, each operation rounded once, results rounded to f32
    source: L. Li et al., J. Synchrotron Rad. 21 (2014) 1288; S. O. Hruszkewycz et al., Phys. Rev. Lett. 109 (2012) 185502
    """

    name: ClassVar[str] = "features.contrast"
    dtypes: ClassVar[tuple[str, ...]] = ("uint8", "uint16")
    inputs: ClassVar[tuple[str, ...]] = ("photons", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("photon_pixels", "photon_sum", "photon_sum2", "photon_mean", "contrast", "contrast_pairs")

    rings: Rings
    most: int = 10
    of: str = field(default="photons", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rings, Rings):
            raise TypeError(f"{self.name}: rings must be Rings, got {type(self.rings).__name__}")
        if not 2 <= self.number("most", whole=True) <= 254:
            raise ValueError(f"{self.name}: most must be 2 to 254, got {self.most}")

    def outputs(self, photons: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(photons, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        bins = (shape[0], *self.rings.shape_of_result)
        sums = (Spec(k, bins, np.dtype(np.int64)) for k in ("photon_sum", "photon_sum2"))
        ratios = (Spec(k, bins, np.dtype(np.float32)) for k in ("photon_mean", "contrast", "contrast_pairs"))
        return (Spec("photon_pixels", (*bins, self.most + 2), np.dtype(np.int32)), *sums, *ratios)

    def traffic(self, photons: Any, pixel_status: Any, live: Any) -> int:
        """The frames once, the labels once, the counts."""
        return nbytes(photons, pixel_status, live, self.rings.label, *self.outputs(photons, pixel_status, live))

    def numpy(self, plan: Plan, photons: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        rings, (pixels, total, total2, mean, contrast, pairs) = self.rings, (x.reshape(len(x), self.rings.count, *x.shape[1 + self._axes:]) for x in out)
        for f in range(live_rows(photons, live)):
            k, use = photons[f].reshape(-1).astype(np.int64), rings.label.reshape(-1) < rings.count
            if pixel_status is not None:
                use = use & (pixel_status[f].reshape(-1) == 0)
            for r in range(rings.count):
                mine = rings.order[rings.first[r] : rings.first[r + 1]]
                mine = k[mine[use[mine]]]
                pixels[f, r] = np.bincount(np.minimum(mine, self.most + 1), minlength=self.most + 2)
                total[f, r], total2[f, r] = mine.sum(), (mine**2).sum()
                mean[f, r], contrast[f, r], pairs[f, r] = ratios(len(mine), int(total[f, r]), int(total2[f, r]), *map(int, pixels[f, r, 1:3]))

    @property
    def _axes(self) -> int:
        return len(self.rings.shape_of_result)

    def numba(self, plan: Plan, photons: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, count = live_rows(photons, live), self.rings.count
        pixels, total, total2, *real = (x.reshape(len(x), count, *x.shape[1 + self._axes:]) for x in out)
        frames = photons.reshape(len(photons), self.rings.label.size)[:n].astype(np.uint16, copy=False)
        host.count(read_only(frames), host_marks(pixel_status, n), pixel_status is not None, self.rings.label.reshape(-1), self.rings.first, pixels, total,
                   total2, *real)

    def device(self, plan: Plan, photons: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, npix = photons.shape[0], math.prod(photons.shape[1:])
        optional = [out[0] if a is None else a for a in (pixel_status, live)]
        plan.launch("features/contrast.cl", "contrast_of", (self.rings.count, n), 128,
                    (photons, optional[0], plan.statics["order"], plan.statics["first"], optional[1], *out,
                     *map(np.uint32, (n, self.rings.count, npix, self.most))), WORD=word(photons), MARKED=pixel_status is not None, LIVE=live is not None)

    # ------------------------------------------------------------------ many frames
    @staticmethod
    def maximum_likelihood(photon_pixels: np.ndarray, photon_mean: np.ndarray, largest: float = 1.0) -> tuple[float, float]:
        """(contrast, its error) of a region: the largest likelihood of negative binomials of one contrast, 0 to largest, and of each frame's mean.

        photon_pixels (n, most + 2), photon_mean (n,): a region's, as outputs say, of as many frames as wanted; the error is from the likelihood's curvature,
        NaN where the best is at an end. Raises ValueError where there is no photon."""
        pixels, mean = np.asarray(photon_pixels, np.float64), np.asarray(photon_mean, np.float64)
        some = mean > 0
        if not some.any():
            raise ValueError("features.contrast: no frame has a photon")
        pixels, mean = pixels[some], mean[some]
        low, high = 0.0, float(largest)
        for _ in range(80):     # thirds: the likelihood has one top
            a, b = low + (high - low) / 3, high - (high - low) / 3
            low, high = (a, high) if likelihood(a, pixels, mean) < likelihood(b, pixels, mean) else (low, b)
        best, step = (low + high) / 2, 1e-3 * largest
        if not step < best < largest - step:
            return best, math.nan
        curve = likelihood(best - step, pixels, mean) - 2 * likelihood(best, pixels, mean) + likelihood(best + step, pixels, mean)
        return best, step / math.sqrt(-curve) if curve < 0 else math.nan


def ratios(n: int, total: int, total2: int, one: int, two: int) -> tuple[float, float, float]:
    """<k> and the contrast, by moments and by p(2) / p(1): f64, in the order written. NaN where something would be divided by 0."""
    mean = float(total) / n if n else math.nan
    moments = (float(total2) / n - mean * mean - mean) / (mean * mean) if total else math.nan
    ratio = two / one if one else math.nan
    below = 1.0 - 2.0 * ratio
    return mean, moments, (2.0 * ratio / mean - 1.0) / below if one and below != 0 else math.nan


def likelihood(contrast: float, pixels: np.ndarray, mean: np.ndarray) -> float:
    """Log-likelihood of pixels (n, most + 2), the last column being all above, for negative binomials of means (n,)."""
    most = pixels.shape[1] - 2
    k = np.arange(most + 1)
    rising = np.append(0.0, np.cumsum(np.log1p(contrast * k[:-1])))       # log of prod(1 + j contrast), j < k
    factorial = np.append(0.0, np.cumsum(np.log(np.arange(1, most + 1))))
    spread = mean[:, None] * contrast
    tail = np.log1p(spread) / contrast if contrast > 0 else mean[:, None]
    each = rising - factorial + k * (np.log(mean)[:, None] - np.log1p(spread)) - tail
    above = np.log(np.maximum(1.0 - np.exp(each).sum(axis=1), 1e-300))
    return float((pixels[:, :-1] * each).sum() + (pixels[:, -1] * above).sum())
