"""The photons of droplets, by greedy guess."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, read_only
from ..status import Frame
from . import droplet_photons_numba as host
from .droplets import DropletOp, Pixel, total_of
from .frames import word
from .strong import strong_scratch

MOST = 2**24        # photons of one droplet
TOP = {"uint8": 255, "uint16": 65535}
COLUMNS = {"panel": np.int32, "row": np.float32, "col": np.float32}
Found = tuple[float, float, Pixel, int]      # row, col, the pixel that it counts in, how many photons


@dataclass(frozen=True, eq=False)
class DropletPhotons(DropletOp):
    """photons of a droplet = floor(adu / aduspphot + offset), adu: sum of its pixels; where they are: by greedy guess, as smalldata_tools' droplet2Photons.

    One photon is at the droplet's centre of mass. Of more, if the droplet is one pixel, all are there. Else x = pixel / aduspphot: floor(x) photons are in
    the middle of the pixel, pixels in raster order. Then for each photon left: of the fractions that are left take the largest one, f, away (of equals the
    first in raster order), and of the largest fraction beside it (up, down, left, right: of equals the last) 1 - f, down to 0; the photon lies 1 - f from the
    middle of the first pixel to the second, which may have nothing. A photon counts in the map in the pixel nearest to it (.5: the higher index); but
    off its panel in the pixel that it was taken from, and a centre of mass outside of its droplet in the droplet's brightest pixel.
    fields: as features.Droplets; aduspphot: one photon [unit of energy]; offset, 0 to 0.9, in photons: 0.5 rounds to the nearest number (smalldata_tools' has
            another sign or unit by its version: photons = (adu + offset) / aduspphot there is offset / aduspphot here); max_photons: rows of the table
            dtype: "uint8" or "uint16", of the map
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, taken as float32; pixel_status (n, *frame) u8, pixels that are not 0 are left out;
         frame_status (n,) u32; live (1,) i32
    out: photons (n, *frame) of dtype: the map, whose largest number stands for as many or more; photon_panel i32, photon_row, photon_col f32, each
         (n, max_photons), 0 behind the last: droplets in raster order of each one's first pixel, photons as they were found;
         photon_count (n,) i32, more than max_photons where some are not in the table; strong_count (n,) i32 pixels above threshold_low;
         frame_status (n,) u32, when given: with TOO_MANY where strong_count > max_strong
    exact: bit-identical on every backend: f64 in the order told, each operation rounded once; a droplet has 2**24 photons at most
    source: droplet2Photons of smalldata_tools (SLAC), the greedy guess of M. Sutton and L. Lurio; S. O. Hruszkewycz et al., Phys. Rev. Lett. 109 (2012) 185502
    """

    name: ClassVar[str] = "features.droplet_photons"
    writes: ClassVar[tuple[str, ...]] = ("photons", *(f"photon_{k}" for k in COLUMNS), "photon_count", "strong_count")

    aduspphot: float = field(kw_only=True)
    offset: float = 0.5
    max_photons: int = 16384
    dtype: str = "uint16"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole_field("max_photons", 2**24)
        self.one_of("dtype", *TOP)
        if not 2.0**-100 <= self.number("aduspphot") <= 2.0**100:
            raise ValueError(f"{self.name}: aduspphot must be 2**-100 to 2**100, got {self.aduspphot}")
        if not 0 <= self.number("offset") <= 0.9:
            raise ValueError(f"{self.name}: offset must be 0 to 0.9, got {self.offset}")

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys(("photon_panel", "photon_row", "photon_col"), "photon_count")

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_panels(energy, pixel_status)
        columns = tuple(Spec(f"photon_{k}", (shape[0], self.max_photons), np.dtype(d)) for k, d in COLUMNS.items())
        counts = tuple(Spec(k, (shape[0],), np.dtype(np.int32)) for k in ("photon_count", "strong_count"))
        return (Spec("photons", shape, np.dtype(self.dtype)), *columns, *counts, *self.frame_outputs(shape[0], frame_status, live))

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, npix = energy.shape[0], math.prod(energy.shape[1:])
        most = self.capacity(npix)
        real, whole = np.dtype(np.float64), np.dtype(np.uint32)
        kinds = {"fraction": real, "key": real, "heap": whole, "many": whole, "place": whole, "counts": whole}
        return (*(Spec(k, (n, most), kind) for k, kind in kinds.items()), *strong_scratch(n, npix, most))

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, panel, row, col, photon_count, strong_count, *new_status = out
        for f in range(live_rows(energy, live)):
            panels, strong_count[f], droplets = self.droplets(energy[f], None if pixel_status is None else pixel_status[f])
            found = [p for members in droplets for p in self._photons(members, panels)]
            photon_count[f] = min(sum(many for *_, many in found), 2**31 - 1)
            table = [(pixel[0], r, c) for r, c, pixel, many in found for _ in range(min(many, self.max_photons))][: self.max_photons]
            where = np.zeros(panels.shape, np.int64)
            for k, column in enumerate((panel, row, col)):
                column[f] = 0
                column[f, : len(table)] = [photon[k] for photon in table]
            for *_, pixel, many in found:
                where[pixel] += many
            photons[f] = np.minimum(where, TOP[self.dtype]).reshape(photons[f].shape)
            for status in new_status:
                status[f] = frame_status[f] | (Frame.TOO_MANY if strong_count[f] > self.capacity(panels.size) else 0)

    def _photons(self, members: list[Pixel], v: np.ndarray) -> list[Found]:
        """Of one droplet, members in raster order."""
        total, row, col = total_of(members, v)
        left = min(math.floor(total / self.aduspphot + self.offset), MOST)
        p, r, c = members[0]
        if left == 1:
            row, col = row / total, col / total
            nearest = (p, math.floor(row + 0.5), math.floor(col + 0.5))
            return [(row, col, nearest if nearest in members else max(members, key=lambda m: v[m]), 1)]
        if len(members) == 1:
            return [(r, c, (p, r, c), left)]
        x = {m: float(v[m]) / self.aduspphot for m in members}
        fraction = {m: a - math.floor(a) for m, a in x.items()}
        found: list[Found] = []
        for m in members:
            found.append((m[1], m[2], m, min(math.floor(x[m]), left)))
            left -= found[-1][3]
        return found + [self._guess(members, fraction, v.shape) for _ in range(left)]

    @staticmethod
    def _guess(members: list[Pixel], fraction: dict[Pixel, float], shape: tuple[int, ...]) -> Found:
        """The next photon; its charge is taken out of the fractions."""
        p, r, c = first = max(members, key=lambda m: fraction[m])
        away = 1.0 - fraction[first]
        fraction[first] = 0.0
        beside = [(p, r - 1, c), (p, r + 1, c), (p, r, c - 1), (p, r, c + 1)]
        other = max(reversed(beside), key=lambda m: fraction.get(m, 0.0))
        if other in fraction:
            fraction[other] = max(0.0, fraction[other] - away)
        row, col = r + (other[1] - r) * away, c + (other[2] - c) * away
        nearest = (p, math.floor(row + 0.5), math.floor(col + 0.5))
        return row, col, nearest if nearest[1] < shape[1] and nearest[2] < shape[2] else first, 1

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, (photons, panel, row, col, photon_count, strong_count, *new_status) = live_rows(energy, live), out
        frames, *how = self.host_input(energy, pixel_status, n)
        small, one = self.dtype == "uint8", (float(self.aduspphot), float(self.offset))
        where = np.empty(frames.shape, np.uint16) if small else photons[:n].reshape(frames.shape)
        status = host.find(read_only(frames.astype(np.float32, copy=False)), *how, *one, where, TOP[self.dtype], panel, row, col, photon_count, strong_count)
        if small:       # numba compiles once, for f32 to u16: it takes long
            photons[:n] = where.reshape(photons[:n].shape)
        for new in new_status:
            new[:n] = frame_status[:n] | status

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        n, npix, held = energy.shape[0], math.prod(energy.shape[1:]), plan.scratch
        photons, panel, row, col, photon_count, strong_count, *new_status = out
        self.list_droplets(plan, energy, pixel_status, frame_status, live, strong_count, new_status[0] if new_status else None)
        most, rows, cols = self.capacity(npix), *energy.shape[-2:]
        alive, both, kind = photon_count if live is None else live, {"LIVE": live is not None}, {"WORD": word(energy)}
        lists = [held[k] for k in ("strong", "start", "members", "components")]
        one, size = (np.float64(self.aduspphot), np.float64(self.offset)), [np.uint32(k) for k in (n, npix, most, rows, cols)]
        plan.launch("features/droplet_photons.cl", "count_photons", (-(-most // 128), n), 128,
                    (energy, *lists, held["found"], alive, held["many"], held["counts"], np.float64(self.min_adu), *one, np.float32(self.threshold), *size),
                    STEP=1, **both, **kind)
        plan.launch("features/droplet_photons.cl", "place_of_photons", (n,), 128,
                    (held["many"], held["components"], alive, held["place"], panel, row, col, photon_count, *map(np.uint32, (n, most, self.max_photons))),
                    STEP=2, **both)
        plan.launch("features/droplet_photons.cl", "guess_photons", (-(-most // 128), n), 128,
                    (energy, held["bits"], held["rank"], *lists, held["many"], held["place"], alive, *(held[k] for k in ("fraction", "key", "heap", "counts")),
                     panel, row, col, one[0], *size, *map(np.uint32, (self.max_photons, held["bits"].shape[1]))), STEP=3, **both, **kind)
        plan.launch("features/droplet_photons.cl", "map_photons", (-(-npix // 128), n), 128,
                    (held["bits"], held["rank"], held["found"], held["counts"], alive, photons, *size[:3], size[4], np.uint32(held["bits"].shape[1])),
                    STEP=4, PHOTON_BITS=8 * np.dtype(self.dtype).itemsize, TOP=f"{TOP[self.dtype]}u", **both)
