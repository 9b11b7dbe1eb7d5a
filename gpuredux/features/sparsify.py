"""Frames as lists: the pixels above the background of their rings, and the curve of this background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes
from . import sparsify_numba as host
from .background import AboveBackground
from .frames import host_frames, host_marks, word
from .strong import count_scratch, count_strong


def above(plan: Plan, op: AboveBackground, energy: Any, pixel_status: Any, live: Any, mean: Any, std: Any, cutoff: float, reached: bool) -> None:
    """Fills scratch "bits" on a device: pixels > max(noise, cutoff sqrt(std^2 + noise^2)) above the background; reached: > 0, and >= cutoff times the root."""
    n, npix, bits, constants = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch["bits"], plan.constants
    optional = [mean if a is None else a for a in (pixel_status, constants.get("inverse"), live)]
    numbers = np.float64(float(cutoff) ** 2), np.float64(float(op.noise) ** 2), np.float32(0 if reached else op.noise), np.uint32(reached)
    plan.launch("features/sparsify.cl", "above", (-(-npix // 1024), n), 128,
                (energy, constants["position"], mean, std, *optional, bits, *numbers,
                 *map(np.uint32, (n, op.rings.count, npix, bits.shape[1]))),
                ABOVE=True, WORD=word(energy), MARKED=pixel_status is not None, WEIGHTED="inverse" in constants, LIVE=live is not None)


@dataclass(frozen=True, eq=False)
class Sparsify(AboveBackground):
    """the pixels with v / normalisation - mean > max(noise, cutoff_pick sqrt(std^2 + noise^2)), as (index, v); mean, std: of their ring by SigmaClip.

    fields: see AboveBackground; cutoff_pick: by how many deviations a pixel is above; max_pixels: length of the lists, None = a 16th of the frame, at least
            4096. The curves are made by the same launch, so that both can be written to a file: nothing else has to be wired
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32: NaN and Inf are in no list; pixel_status (n, *frame) u8: nor are
         pixels that are not 0, nor those of no ring; live (1,) i32
    out: sparse_index (n, max_pixels) u32 pixel of the frame, in raster order; sparse_value (n, max_pixels) as energy, what the pixel holds; 0 behind the last
         sparse_count (n,) i32, more than max_pixels where some were left out; background_mean, background_std (n, rings) f32, per pixel [energy /
         normalisation], NaN in rings without a pixel: there the neighbouring ring counts alone
    exact: bit-identical on every backend: float32 above the background, times 1 / normalisation; squares compared in f64
    source: pyFAI's sparsify-Bragg: J. Kieffer et al., J. Appl. Cryst. 58 (2025) 138
    """

    name: ClassVar[str] = "features.sparsify"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("sparse_index", "sparse_value", "sparse_count", "background_mean", "background_std")

    cutoff_pick: float = 3.0
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.not_negative("cutoff_pick")
        if self.max_pixels is not None and not 1 <= self.number("max_pixels", whole=True) < 2**31:
            raise ValueError(f"{self.name}: max_pixels must be 1 to {2**31 - 1}, got {self.max_pixels}")

    @property
    def capacity(self) -> int:
        """Length of the lists."""
        npix = self.rings.label.size
        return min(npix, max(4096, npix // 16)) if self.max_pixels is None else self.max_pixels

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys(("sparse_index", "sparse_value"), "sparse_count")

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.rings.label)
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        n, lists, f32 = shape[0], (shape[0], self.capacity), np.dtype(np.float32)
        curves = (Spec(k, (n, self.rings.count), f32) for k in ("background_mean", "background_std"))
        return (Spec("sparse_index", lists, np.dtype(np.uint32)), Spec("sparse_value", lists, np.dtype(energy.dtype)),
                Spec("sparse_count", (n,), np.dtype(np.int32)), *curves)

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        return (*self.clip_scratch(energy.shape[0]), *count_scratch(energy.shape[0], math.prod(energy.shape[1:])))

    def traffic(self, energy: Any, pixel_status: Any, live: Any) -> int:
        """The frames once, their pixels' places once, lists and curves."""
        return nbytes(energy, pixel_status, live, self.position, *self.outputs(energy, pixel_status, live))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        index, value, count, mean, std = out
        self.clip.numpy(plan, energy, pixel_status, live, mean, std, plan.scratch["sem"], plan.scratch["left"])
        for f in range(live_rows(energy, live)):
            e, _, variance = self.excess(plan, energy[f], None if pixel_status is None else pixel_status[f], mean[f], std[f])
            far = e.astype(np.float64) ** 2 > float(self.cutoff_pick) ** 2 * variance
            found = np.flatnonzero((e > np.float32(self.noise)) & far)
            count[f], found = len(found), found[: self.capacity]
            index[f], value[f] = 0, 0
            index[f, : len(found)], value[f, : len(found)] = found, energy[f].reshape(-1)[found]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        index, value, count, mean, std = out
        n, npix = live_rows(energy, live), math.prod(energy.shape[1:])
        self.clip.numba(plan, energy, pixel_status, live, mean, std, plan.scratch["sem"], plan.scratch["left"])
        host.pick(host_frames(energy, n), host_marks(pixel_status, n), host.background_of(self, plan, self.cutoff_pick, pixel_status is not None), mean, std,
                  index, count)
        flat = energy.reshape(len(energy), npix)
        for f in range(n):
            listed = min(int(count[f]), self.capacity)
            value[f, :listed] = flat[f][index[f, :listed]]
            value[f, listed:] = 0

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        index, value, count, mean, std = out
        n, npix, held = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch
        self.clip.device(plan, energy, pixel_status, live, mean, std, held["sem"], held["left"])
        above(plan, self, energy, pixel_status, live, mean, std, self.cutoff_pick, False)
        count_strong(plan, held["bits"], live, count, None, self.capacity)
        words = held["bits"].shape[1]
        plan.launch("features/sparsify.cl", "list_above", (-(-words // 128), n), 128,
                    (energy, held["bits"], held["rank"], held["tile_count"], count, count if live is None else live, index, value,
                     *map(np.uint32, (n, npix, words, self.capacity))), LIST_ABOVE=True, WORD=word(energy), LIVE=live is not None)
