"""Rings whose borders cut pixels: which part of each pixel lies in which ring, as a sparse matrix of whole numbers. Made once, uploaded once."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np

from ..calib.geometry import Geometry
from .rings_shared import MOST_RINGS, RADII, Shared, bins_of, frozen, good_pixels
from .rings_split_numba import parts_of

WHOLE = 2**15       # steps of a pixel's share: a whole one still fits in 16 bits
MOST_SHARE = 2**31  # of a ring in all: so many steps times any value of 32 bits stay below 2**63


class SplitRings(Shared):
    """The share of each pixel in each ring, in steps of 2**-15. Immutable.

    count, unit, radial, azimuthal, shape_of_result: see Rings; first (count + 1,) u32, order, share (entries,) u32, u16: ring k has
    share[j] / 32768 of the pixel order[j], j from first[k] to first[k + 1] - 1, in raster order. The shares of a pixel are differences of rounded partial
    sums: those of one that lies in the rings as a whole are 32768 together.

    A ring holds less than 65536 pixels: sums over it then are exact in 64 bits for every frame of up to 32 bits, and every normalisation.
    Bytes: 6 an entry (of an Eiger 4M and 1000 rings 1.8 entries a pixel), fetched once for the frames that a block takes together."""

    whole = WHOLE

    def __init__(self, shape: tuple[int, ...], first: np.ndarray, order: np.ndarray, share: np.ndarray, radial: np.ndarray,
                 azimuthal: np.ndarray | None = None, unit: str = "pixel") -> None:
        super().__init__(tuple(shape), len(first) - 1, radial, azimuthal, unit)
        self.first, self.order, self.share = frozen(first.astype(np.uint32)), frozen(order.astype(np.uint32)), frozen(share.astype(np.uint16))
        most = int(self.over_rings(self.share.astype(np.int64)).max())
        if most >= MOST_SHARE:
            raise ValueError(f"SplitRings: a ring must hold less than {MOST_SHARE // WHOLE} pixels, got {most / WHOLE:.1f}: take more bins, or split='no'")

    def __getstate__(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("shape", "first", "order", "share", "radial", "azimuthal", "unit")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SplitRings.__init__(self, **state)

    def __repr__(self) -> str:
        return f"SplitRings({' x '.join(map(str, self.shape_of_result))} of {self.unit}, frame {self.shape}, {self.order.size} entries)"

    @cached_property
    def used(self) -> np.ndarray:
        """(*frame) bool: pixels of which some part is in a ring."""
        used = np.zeros(int(np.prod(self.shape)), bool)
        used[self.order] = True
        return frozen(used.reshape(self.shape))

    @cached_property
    def square_shift(self) -> int:
        """Squares of shares are taken as (share**2 + half) >> this, with the most bits for which those of a ring are less than 2**31 together."""
        return next(k for k in range(31) if int(self.over_rings(self.squares(k)).max()) < MOST_SHARE)

    def squares(self, shift: int) -> np.ndarray:
        """(entries,) i64: share**2 in steps of 2**(shift - 30), to the nearest."""
        return (self.share.astype(np.int64) ** 2 + (1 << shift >> 1)) >> shift

    def arrays(self) -> dict[str, np.ndarray]:
        """See Rings."""
        return {"order": self.order, "first": self.first, "share": self.share}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shares and axes: provenance."""
        h = hashlib.sha256(f"split rings {self.count} {self.unit} {self.shape}".encode())
        for x in (*self.arrays().values(), self.radial, self.azimuthal):
            h.update(b"" if x is None else x.data)
        return h.hexdigest()

    @classmethod
    def from_corners(
        cls, radial: np.ndarray, azimuth: np.ndarray, bins: int, radial_range: tuple[float, float] | None = None, good: np.ndarray | None = None,
        azimuth_bins: int = 1, azimuth_range: tuple[float, float] | None = None, unit: str = "pixel", split: str = "full",
        centre: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> SplitRings:
        """Bins of equal width; shares by the area that a pixel has in each, in a plane of radius and azimuth, where its four sides are straight.

        radial, azimuth (*frame, 4) [any unit, degree]: the pixel's corners in turn, NaN: in no ring; azimuth_bins > 1: two-dimensional, over azimuth_range,
        None: -180 to 180; a pixel across its end is on both sides. radial_range None: from the least to the largest of the corners' radii.
        split "bbox": of the box around centre = (radius, azimuth) (*frame) that holds all corners, as far up as down, None: around the corners' mean.
        A pixel around the beam itself counts as the box from radius 0 to its farthest corner. source: pyFAI's methods "full" and "bbox"; unlike there,
        what lies outside the range is in no ring (pyFAI puts it into the first and the last)."""
        if split not in ("full", "bbox"):
            raise ValueError(f"Rings: split must be 'no' or 'bbox' or 'full', got {split!r}")
        radial, azimuth = np.asarray(radial, np.float64), np.asarray(azimuth, np.float64)
        if radial.ndim < 3 or radial.shape != azimuth.shape or radial.shape[-1] != 4:
            raise ValueError(f"Rings: corners must be radial and azimuth (*frame, 4), got {radial.shape} and {azimuth.shape}")
        shape, (radial, azimuth) = radial.shape[:-1], turned(radial.reshape(-1, 4), azimuth.reshape(-1, 4))
        used = good_pixels(good, shape).reshape(-1) & np.isfinite(radial).all(1) & np.isfinite(azimuth).all(1)
        if split == "bbox":
            middle = (radial.mean(1), azimuth.mean(1)) if centre is None else tuple(np.asarray(c, np.float64).reshape(-1) for c in centre)
            radial, azimuth = boxes(radial, azimuth, *middle)
        if radial_range is None:
            if not used.any():
                raise ValueError("Rings: no pixel is good: give radial_range")
            radial_range = max(0.0, float(radial[used].min())), float(radial[used].max())
        width, radii = bins_of("radial", bins, radial_range)
        step, around = bins_of("azimuth", azimuth_bins, azimuth_range or (-180.0, 180.0))
        if bins * azimuth_bins > MOST_RINGS:
            raise ValueError(f"Rings: count must be 1 to {MOST_RINGS}, got {bins * azimuth_bins}")
        flat = azimuth_bins == 1 and azimuth_range is None
        place = (radial - radial_range[0]) / width, (azimuth - (azimuth_range or (-180.0, 180.0))[0]) / step
        pixel, ring, share = parts_of(*place, used, bins, azimuth_bins, flat, 360.0 / step, WHOLE)
        in_order = np.argsort(ring, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(ring, minlength=bins * azimuth_bins)))
        return cls(shape, first, pixel[in_order], share[in_order], radii, None if flat else around, unit)

    @classmethod
    def from_geometry(
        cls, geometry: Geometry, bins: int, unit: str, wavelength: float | None, frame: tuple[int, ...], split: str, centre: tuple[np.ndarray, np.ndarray],
        **more: Any,
    ) -> SplitRings:
        """See Rings.from_geometry. Takes some 300 bytes a pixel while it is made."""
        radial, azimuth = np.full((2, *geometry.shape, 4), np.nan)
        for panel in geometry.panels:
            x, y, z = np.moveaxis(panel.corners(), -1, 0)
            away = np.hypot(x, y)
            angle = None if unit.startswith("r_") else np.arctan2(away, z)
            radial[panel.place] = away if angle is None else 4 * np.pi * np.sin(angle / 2) / wavelength if unit.startswith("q") else angle
            azimuth[panel.place] = np.degrees(np.arctan2(y, x))
        return cls.from_corners(radial.reshape(*frame, 4) * RADII[unit], azimuth.reshape(*frame, 4), bins, unit=unit, split=split, centre=centre, **more)


def turned(radial: np.ndarray, azimuth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (npix, 4) whose azimuths do not jump by 360 degrees; of a pixel around the beam the box of its radii and all azimuths."""
    ahead = np.roll(azimuth, -1, 1) - azimuth
    ahead -= 360 * np.rint(ahead / 360)
    azimuth = azimuth[:, :1] + np.column_stack([np.zeros(len(azimuth)), np.cumsum(ahead[:, :3], 1)])
    around = np.abs(ahead.sum(1)) > 180
    radial = radial.copy()
    radial[around] = radial[around].max(1, initial=0.0)[:, None] * [0, 1, 1, 0]
    azimuth[around] = [-180.0, -180.0, 180.0, 180.0]
    return radial, azimuth


def boxes(radial: np.ndarray, azimuth: np.ndarray, middle: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (npix, 4) of boxes around (middle, direction) that hold the corners given; those that hold the beam stay as they are."""
    around = azimuth[:, 2] - azimuth[:, 0] >= 360
    away = azimuth - direction[:, None]
    away -= 360 * np.rint(away / 360)
    half, half_turn = np.abs(radial - middle[:, None]).max(1), np.abs(away).max(1)
    box = (middle[:, None] + half[:, None] * [-1, 1, 1, -1], direction[:, None] + half_turn[:, None] * [-1, -1, 1, 1])
    return tuple(np.where(around[:, None], a, b) for a, b in zip((radial, azimuth), box, strict=True))  # type: ignore[return-value]
