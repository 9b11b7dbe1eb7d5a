"""photons = floor(energy / photon_energy), and one more where two neighbours share one: LCLS's rule for small pixels, free of order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, live_rows
from ..status import FROM_DATA, Pixel
from .photons import WHOLE, Whole, check_photons, photon_outputs, whole
from .shared_photons_numba import shared_panels

TILE = 32       # pixels of a block in each direction
WAYS = ((-1, 0), (0, -1), (0, 1), (1, 0))      # to the four neighbours, in the order of their index; 3 - k is the way back


@dataclass(frozen=True, eq=False)
class SharedPhotons(Op):
    """photons = n + 1 where a local maximum f >= 0.5 pairs with a neighbour, f + f' >= fraction, else n; n = floor(x), f = x - n, x = energy / photon_energy.

    x is energy * (1 / photon_energy), 1 / photon_energy in float64, all rounded once in float32; n = f = 0 where x < 0 and for what is no measurement.
    Neighbours are the four at the sides, within the panel (the last two axes). A maximum has an f above those of its neighbours; of two that are equal
    the pixel of the lower index counts as the larger, here and below. Pairs are found in `rounds` rounds: each maximum asks its largest neighbour
    that has not refused it yet, if the two reach `fraction`; a neighbour asked by several keeps the largest and refuses the others. Who is kept at the
    end has a pair. No order of pixels or threads enters. It equals the rule as LCLS runs it wherever no two maxima want one neighbour. Where they
    do, LCLS gives it to the first in its own raster order, here it goes to the largest, as if maxima were taken one by one, the largest first,
    but for those that need more than `rounds` rounds, which get no pair (6 rounds: about one pixel in a million at any flux above one photon in
    three pixels, none in a million below). A photon that three or four pixels share is lost by this rule, where no two of them reach `fraction`.
    fields: photon_energy [unit of energy]; fraction, 0.5 to 2; rounds 1 to 8; dtype "uint8", "uint16", "int32" or "float32"
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: photons (n, *frame) of dtype, pixel_status (n, *frame) u8 with status=True, frame_status (n,) u32 when given: as calib.photons,
         but 0 below 0 for signed types too
    exact: bit-identical on every backend
    source: psana's photons (mapOfPhotonNumbersV1), Chuck Yoon's algorithm; the order-free rule: Gale and Shapley, Am. Math. Mon. 69 (1962) 9
    """

    name: ClassVar[str] = "calib.shared_photons"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("photons", "pixel_status")

    photon_energy: float
    fraction: float = 0.9
    rounds: int = 6
    dtype: str = "uint16"
    status: bool = False

    def __post_init__(self) -> None:
        check_photons(self)
        if not 0.5 <= self.number("fraction") <= 2:
            raise ValueError(f"{self.name}: fraction must be 0.5 to 2, got {self.fraction}")
        if not 1 <= self.number("rounds", whole=True) <= 8:
            raise ValueError(f"{self.name}: rounds must be 1 to 8, got {self.rounds}")

    @property
    def kind(self) -> Whole:
        return WHOLE[self.dtype]

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        if len(getattr(energy, "shape", (0, 0, 0))) < 3:
            self.require("energy", energy, np.float32, ("n", "rows", "cols"))
        if 0 in energy.shape[1:]:
            raise ValueError(f"{self.name}: energy must have pixels, got {tuple(energy.shape)}")
        return photon_outputs(self, energy, pixel_status, frame_status, live)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        for f in range(live_rows(energy, live)):
            with np.errstate(over="ignore", invalid="ignore"):
                x = energy[f] * np.float32(1.0 / self.photon_energy)
            status = np.where(np.isnan(energy[f]) | np.isneginf(energy[f]), np.uint8(Pixel.MASKED), np.uint8(0))
            if pixel_status is not None:
                status = np.where(pixel_status[f] == 0, status, pixel_status[f])
            x = np.where((status == 0) & (x > 0), x, np.float32(0))
            n = np.floor(x)
            with np.errstate(invalid="ignore"):
                rest = np.where(x < 2**24, x - n, np.float32(0))
            shape = (-1, *energy.shape[-2:])
            paired = np.stack([self._paired(panel) for panel in rest.reshape(shape)]).reshape(x.shape)
            photons[f], status = whole(n + paired.astype(np.float32), status, self.kind)
            if self.status:
                new_pixels[f] = status
            if new_status is not None:
                new_status[f] = frame_status[f] | np.bitwise_or.reduce(status & FROM_DATA, axis=None)

    def _paired(self, f: np.ndarray) -> np.ndarray:
        """Which maxima of one panel have a pair at the end."""
        beside = np.stack([_shifted(f, way, np.float32(-1)) for way in WAYS])       # outside: less than anything
        maximum = (f >= np.float32(0.5)) & (f > beside[0]) & (f > beside[1]) & (f >= beside[2]) & (f >= beside[3])
        refused = np.zeros(beside.shape, bool)
        kept = np.zeros(f.shape, bool)
        for _ in range(self.rounds):
            left = np.where(refused, np.float32(-1), beside)
            way, best = left.argmax(axis=0), left.max(axis=0)       # of equal ones the first, which has the lower index
            asks = maximum & (best >= 0) & (f + best >= np.float32(self.fraction))
            asked_by = np.stack([_shifted(np.where(asks & (way == 3 - k), f, np.float32(-1)), WAYS[k], np.float32(-1)) for k in range(4)])
            keeps = asked_by.argmax(axis=0)
            kept = np.zeros(f.shape, bool)
            for k in range(4):
                kept |= asks & (way == k) & (_shifted(keeps, WAYS[k], np.intp(-1)) == 3 - k)
                refused[k] |= asks & (way == k) & ~kept
        return kept

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        n, shape = live_rows(energy, live), (len(energy), math.prod(energy.shape[1:-2]), *energy.shape[-2:])
        given, made = (None if a is None else a.reshape(shape) for a in (pixel_status, new_pixels))
        flags = shared_panels(energy.reshape(shape)[:n], given, photons.reshape(shape), made, np.float32(1.0 / self.photon_energy),
                              np.float32(self.fraction), self.rounds, np.float32(self.kind.top), self.kind.dtype.type(self.kind.top))
        if new_status is not None:
            new_status[:n] = frame_status[:n] | flags

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        n, rows, cols = energy.shape[0], *energy.shape[-2:]
        panels = math.prod(energy.shape[1:-2])
        blocks = n * panels * -(-rows // TILE) * -(-cols // TILE)
        optional = [photons if a is None else a for a in (new_pixels, new_status, live)]     # photons stands in where the kernel never looks
        plan.launch(
            "calib/shared_photons.cl", "shared_photons", (blocks,), 128,
            (energy, photons if pixel_status is None else pixel_status, photons, *optional, np.float32(1.0 / self.photon_energy),
             np.float32(self.fraction), *map(np.uint32, (n, panels, rows, cols))),
            ROUNDS=f"{self.rounds}u", STATUS=pixel_status is not None, PIXEL_STATUS=self.status, FRAME_STATUS=new_status is not None,
            LIVE=live is not None, **self.kind.defines(),
        )


def _shifted(x: np.ndarray, way: tuple[int, int], outside: Any) -> np.ndarray:
    """What lies this way from each pixel."""
    padded = np.pad(x, 1, constant_values=outside)
    rows, cols = x.shape
    return padded[1 + way[0] : 1 + way[0] + rows, 1 + way[1] : 1 + way[1] + cols]
