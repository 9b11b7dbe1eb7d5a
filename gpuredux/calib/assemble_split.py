"""image = every pixel of the frame spread over the pixels of the image that it covers, by area: the sum is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, carries, live_rows
from ..pixelwise import NAN
from ..status import Pixel
from .assemble import Assembly
from .assemble_numba import split_rows


@dataclass(frozen=True, eq=False)
class AssembleSplit(Assembly):
    """image[j] = sum over k of weight[k] * energy[source[k]], k from first[j] to first[j + 1] - 1 in this order, each step rounded once in float32.

    fields: frame, the shape of a frame of energies; image (rows, cols), its shape; first (pixels + 1,) i32, source and weight (entries,) i32, f32:
            calib.assembly.by_split makes them of a geometry: weights of a pixel of the frame sum to 1; fill NaN or 0; status: write image_status
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8: pixels with a status are left out; frame_status (n,) u32; live (1,) i32
    out: image (n, rows, cols) f32: fill where no pixel, or none without a status, lies; NaN in one form
         image_status (n, rows, cols) u8, with status=True: the OR of all pixels there, GAP between the panels
         frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: splitting by area of overlap, as of pyFAI's distortion correction; in compressed sparse rows
    """

    name: ClassVar[str] = "calib.assemble_split"
    given_by: ClassVar[str] = ""        # it mixes pixels, which no kernel that gives them one by one can do

    image: tuple[int, int] = (0, 0)
    first: np.ndarray = None  # type: ignore[assignment]
    source: np.ndarray = None  # type: ignore[assignment]
    weight: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "image", tuple(int(k) for k in self.image))
        if len(self.image) != 2 or min(self.image) < 1:
            raise ValueError(f"{self.name}: image must be (rows, cols), got {self.image}")
        for field in ("first", "source"):
            value = self.own(field)
            if value.dtype.kind not in "iu" or value.ndim != 1:
                raise ValueError(f"{self.name}: {field} must be a list of whole numbers, got {value.dtype} {value.shape}")
            self.own(field, np.int32)
        weight = self.own("weight", np.float32)
        first, source = self.first, self.source
        if len(first) != math.prod(self.image) + 1 or first[0] != 0 or first[-1] != len(source) or (np.diff(first) < 0).any():
            raise ValueError(f"{self.name}: first must ascend from 0 to the {len(source)} entries, in {math.prod(self.image) + 1} steps, got {len(first)}")
        if weight.shape != source.shape or not np.isfinite(weight).all():
            raise ValueError(f"{self.name}: weight must be finite and as long as source, {len(source)}, got {weight.shape}")
        if len(source) and (source.min() < 0 or source.max() >= self.npix):
            raise ValueError(f"{self.name}: source must hold pixels 0 to {self.npix - 1} of frames {self.frame}, got {source.min()} to {source.max()}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.image

    def variance(self) -> AssembleSplit:
        """With the weights squared. Neighbours in the image then share pixels: their errors are not independent, and this does not say how much."""
        return AssembleSplitVariance(**{**self._fields(), "status": False, "weight": self.weight.astype(np.float64) ** 2})

    def photons(self) -> AssembleSplit:
        raise ValueError(f"{self.name}: a photon is whole and cannot be split; use calib.assembly.by_map or by_tiles, or split energies")

    def constants(self) -> dict[str, np.ndarray]:
        """The lists; and for a fused kernel, behind the image's, one pixel of no image for every one of the frame that the image lacks."""
        seen = np.zeros(self.npix, bool)
        seen[self.source] = True
        rest = np.flatnonzero(~seen).astype(np.int32)
        entries = len(self.source)
        return {
            "first": np.concatenate([self.first, np.arange(entries + 1, entries + 1 + len(rest), dtype=np.int32)]),
            "source": np.concatenate([self.source, rest]), "weight": np.concatenate([self.weight, np.zeros(len(rest), np.float32)]),
        }

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        count = np.diff(self.first)
        for f in range(live_rows(energy, live)):
            x, total = energy[f].reshape(-1), np.zeros(count.shape, np.float32)
            bits, used = np.zeros(count.shape, np.uint8), np.zeros(count.shape, bool)
            for k in range(count.max(initial=0)):       # the k-th entry of every pixel that has so many
                j = np.flatnonzero(count > k)
                at = self.source[self.first[j] + k]
                bit = np.zeros(j.shape, np.uint8) if pixel_status is None else pixel_status[f].reshape(-1)[at]
                with np.errstate(over="ignore", invalid="ignore"):      # Inf, and NaN of Inf, of the energies
                    more = total[j] + self.weight[self.first[j] + k] * x[at]
                total[j] = np.where(bit == 0, more, total[j])
                bits[j] |= bit
                used[j] |= bit == 0
            image[f] = np.where(used, np.where(np.isnan(total), NAN, total), self.gap).reshape(self.image)
            if image_status is not None:
                image_status[f] = np.where(count > 0, bits, np.uint8(Pixel.GAP)).reshape(self.image)
            if new_status is not None:
                new_status[f] = frame_status[f]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        n, flat, whole = live_rows(energy, live), (len(energy), self.npix), (len(energy), math.prod(self.shape))
        split_rows(
            energy.reshape(flat)[:n], None if pixel_status is None else pixel_status.reshape(flat), self.first, self.source, self.weight,
            image.reshape(whole), None if image_status is None else image_status.reshape(whole), self.gap, np.uint8(Pixel.GAP),
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, *x_and_out: Any) -> None:
        x, out = x_and_out[:4], x_and_out[4:]
        threads = plan.constants["first"].shape[0] - 1 if carries(x[0]) else math.prod(self.image)
        args = tuple(plan.constants[k] for k in ("first", "source", "weight"))
        self.launch(plan, "calib/assemble_split.cl", "assemble_split", threads, x, out, args)


@dataclass(frozen=True, eq=False)
class AssembleSplitVariance(AssembleSplit):
    """variance[j] = sum of weight[k] * variance[source[k]], the weights being squares already; AssembleSplit.variance() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("variance", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("variance", "image_status")
    loads: ClassVar[tuple[str, ...]] = ("variance", "pixel_status")
