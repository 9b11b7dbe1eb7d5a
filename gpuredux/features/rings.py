"""The static geometry that features share: which ring each pixel belongs to, and the rings' pixels in order. Made once, uploaded once."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np

from ..calib.geometry import Geometry
from .rings_shared import RADII, Shared, bin_numbers, frozen, good_pixels
from .rings_split import SplitRings


def radial_of(geometry: Geometry, unit: str, wavelength: float | None = None) -> np.ndarray:
    """q, 2theta or the distance from the beam of each pixel (segments, rows, cols) f64. unit: one of RADII; wavelength [m], for q. Raises ValueError."""
    if unit not in RADII:
        raise ValueError(f"Rings: unit must be one of {', '.join(RADII)}, got {unit!r}")
    if unit.startswith("q"):
        if wavelength is None:
            raise ValueError("Rings: q needs a wavelength [m]")
        return geometry.q(wavelength) * RADII[unit]
    at = geometry.pixel_positions()
    return (geometry.two_theta() if unit.startswith("2th") else np.hypot(at[..., 0], at[..., 1])) * RADII[unit]



class Rings(Shared):
    """label[pixel] = the ring a pixel belongs to: rings are intervals of radius, q or 2theta, or of one of them and of azimuth. Immutable.

    label (*frame) u16, or u32 where count > 65535: `count` where a pixel is in none, or not good; count: how many rings; shape_of_result (radial,) or
    (azimuthal, radial); first (count + 1,) u32 and order (used,) u32: pixels of ring k are order[first[k]:first[k+1]], in raster order;
    radial, azimuthal: f64 centres, what an axis of results says; unit: of radial.

    Made of label (*frame) of whole numbers, -1: in no ring."""

    whole = 1               # steps of a whole pixel, its share, their squares: what SplitRings have in finer steps
    share = None
    square_shift = 30

    def __init__(
        self, label: np.ndarray, count: int, radial: np.ndarray | None = None, azimuthal: np.ndarray | None = None, unit: str = "pixel"
    ) -> None:
        label = np.asarray(label)
        if label.ndim < 2 or label.dtype.kind not in "iu":
            raise ValueError(f"Rings: label must be whole numbers ([panels,] rows, cols), got {label.dtype} {label.shape}")
        super().__init__(label.shape, count, radial, azimuthal, unit)
        wrong = (label >= count) | (label < -1)
        if wrong.any():
            at = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(f"Rings: label must be 0 to {count - 1}, or -1 for none, got {label[at]} at {at}")
        self.label = frozen(np.where(label >= 0, label, count).astype(np.uint16 if count <= 65535 else np.uint32))
        flat = self.label.reshape(-1)
        order = np.argsort(flat, kind="stable")[: int((label >= 0).sum())]
        self.order = frozen(order.astype(np.uint32))
        self.first = frozen(np.searchsorted(flat[order], np.arange(count + 1)).astype(np.uint32))

    def __getstate__(self) -> dict[str, Any]:
        label = np.where(self.label < self.count, self.label.astype(np.int64), -1)
        return {"label": label, "count": self.count, "radial": self.radial, "azimuthal": self.azimuthal, "unit": self.unit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Rings.__init__(self, **state)

    def __repr__(self) -> str:
        return f"Rings({' x '.join(map(str, self.shape_of_result))} of {self.unit}, frame {self.label.shape}, {self.order.size} pixels)"

    @classmethod
    def from_radius(cls, radius: np.ndarray, good: np.ndarray | None = None, least: float = 0.0, most: float | None = None) -> Rings:
        """Rings one pixel wide, as peakfinder8 has them: label = radius rounded, ties to even; ceil(largest radius) + 1 of them.

        radius (*frame) [pixel], NaN: in no ring; good (*frame) bool; least, most: radii [pixel] beyond which no pixel is used."""
        radius = np.asarray(radius, np.float32)
        used = np.isfinite(radius) & (radius >= least) & (True if most is None else radius <= most) & good_pixels(good, radius.shape)
        if (radius[used] < 0).any():
            raise ValueError(f"Rings: radius must not be negative, got {radius[used].min()}")
        top = float(radius[np.isfinite(radius)].max(initial=0.0))
        if not top < 65534:
            raise ValueError(f"Rings: radius must be below 65534 pixels, got {top}")
        label = np.full(radius.shape, -1)
        label[used] = np.rint(radius[used])
        return cls(label, int(np.ceil(top)) + 1)

    @classmethod
    def from_position(
        cls, radial: np.ndarray, bins: int, radial_range: tuple[float, float] | None = None, good: np.ndarray | None = None,
        azimuth: np.ndarray | None = None, azimuth_bins: int = 1, azimuth_range: tuple[float, float] = (-180.0, 180.0), unit: str = "pixel",
    ) -> Rings:
        """Bins of equal width by pixels' centres, no pixel split: floor((radial - least) / width).

        radial (*frame), NaN: in none; radial_range: half open, None: from the least to the largest radius of good pixels, that one included; azimuth (*frame)
        [degree] and azimuth_bins > 1: two-dimensional, labels azimuth bin * bins + radial bin. source: pyFAI's method "no" (histogram)."""
        radial = np.asarray(radial, np.float64)
        used = np.isfinite(radial) & good_pixels(good, radial.shape)
        if radial_range is None:
            if not used.any():
                raise ValueError("Rings: no pixel is good: give radial_range")
            radial_range = float(radial[used].min()), float(np.nextafter(radial[used].max(), np.inf))
        number, centre = bin_numbers("radial", radial, bins, radial_range)
        label = np.where(used, number, -1)
        if azimuth is None:
            return cls(label, bins, centre, None, unit)
        number, around = bin_numbers("azimuth", np.asarray(azimuth, np.float64), azimuth_bins, azimuth_range)
        return cls(np.where((label >= 0) & (number >= 0), number * bins + label, -1), bins * azimuth_bins, centre, around, unit)

    @classmethod
    def from_geometry(
        cls, geometry: Geometry, bins: int, unit: str = "q_A^-1", wavelength: float | None = None, frame: tuple[int, ...] | None = None, split: str = "no",
        **more: Any,
    ) -> Rings | SplitRings:
        """Bins of q, 2theta or the distance from the beam of a detector. unit: one of RADII; wavelength [m], for q; frame: where raw frames are
        of another shape than (segments, rows, cols), e.g. (rows, cols); more: as from_position takes it, azimuth_bins for two dimensions.
        split: "no": a pixel is in the ring of its centre; "bbox" or "full": in several, by shares: SplitRings, see their from_corners."""
        shape = geometry.shape if frame is None else frame
        if np.prod(shape) != np.prod(geometry.shape):
            raise ValueError(f"Rings: frame {shape} has not the pixels of {geometry.shape}")
        at = geometry.pixel_positions()
        azimuth = np.degrees(np.arctan2(at[..., 1], at[..., 0])).reshape(shape)
        radial = radial_of(geometry, unit, wavelength).reshape(shape)
        if split != "no":
            return SplitRings.from_geometry(geometry, bins, unit, wavelength, shape, split, (radial, azimuth), **more)
        if more.get("azimuth_bins", 1) > 1 or "azimuth_range" in more:
            more["azimuth"] = azimuth
        return cls.from_position(radial, bins, unit=unit, **more)

    def squares(self, shift: int) -> np.ndarray:
        """(used,) i64: of shares, all 1."""
        return np.ones(len(self.order), np.int64)

    @cached_property
    def used(self) -> np.ndarray:
        """(*frame) bool: pixels that are in a ring."""
        return frozen(self.label < self.count)

    @property
    def digest(self) -> str:
        """SHA-256 of labels and axis: provenance."""
        h = hashlib.sha256(f"rings {self.count} {self.unit} {self.shape}".encode())
        h.update(self.label.data)
        h.update(self.radial.data)
        h.update(b"" if self.azimuthal is None else self.azimuthal.data)
        return h.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """See Shared."""
        return {"label": self.label, "order": self.order, "first": self.first}
