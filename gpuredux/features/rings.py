"""The static geometry that features share: which ring each pixel belongs to, and the rings' pixels in order. Made once, uploaded once."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np

from ..backends import BACKENDS, Array, Device
from ..calib.geometry import Geometry

MOST_RINGS = 2**24      # of a two-dimensional pattern, too
RADII = {"q_A^-1": 1e-10, "q_nm^-1": 1e-9, "2th_rad": 1.0, "2th_deg": 180 / np.pi, "r_m": 1.0, "r_mm": 1e3}     # pyFAI's names for what was m, rad


class Rings:
    """label[pixel] = the ring a pixel belongs to: rings are intervals of radius, q or 2theta, or of one of them and of azimuth. Immutable.

    label (*frame) u16, or u32 where count > 65535: `count` where a pixel is in none, or not good; count: how many rings; shape_of_result (radial,) or
    (azimuthal, radial); first (count + 1,) u32 and order (used,) u32: pixels of ring k are order[first[k]:first[k+1]], in raster order;
    radial, azimuthal: f64 centres, what an axis of results says; unit: of radial.

    Made of label (*frame) of whole numbers, -1: in no ring."""

    def __init__(
        self, label: np.ndarray, count: int, radial: np.ndarray | None = None, azimuthal: np.ndarray | None = None, unit: str = "pixel"
    ) -> None:
        label = np.asarray(label)
        if label.ndim < 2 or label.dtype.kind not in "iu":
            raise ValueError(f"Rings: label must be whole numbers ([panels,] rows, cols), got {label.dtype} {label.shape}")
        if not 1 <= count <= MOST_RINGS:
            raise ValueError(f"Rings: count must be 1 to {MOST_RINGS}, got {count}")
        wrong = (label >= count) | (label < -1)
        if wrong.any():
            at = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(f"Rings: label must be 0 to {count - 1}, or -1 for none, got {label[at]} at {at}")
        self.count, self.unit = int(count), unit
        self.label = frozen(np.where(label >= 0, label, count).astype(np.uint16 if count <= 65535 else np.uint32))
        flat = self.label.reshape(-1)
        order = np.argsort(flat, kind="stable")[: int((label >= 0).sum())]
        self.order = frozen(order.astype(np.uint32))
        self.first = frozen(np.searchsorted(flat[order], np.arange(count + 1)).astype(np.uint32))
        self.azimuthal = None if azimuthal is None else frozen(np.array(azimuthal, np.float64))
        self.radial = frozen(np.arange(count, dtype=np.float64) if radial is None else np.array(radial, np.float64))
        self.shape_of_result = (self.radial.size,) if self.azimuthal is None else (self.azimuthal.size, self.radial.size)
        if np.prod(self.shape_of_result) != count:
            raise ValueError(f"Rings: {count} rings cannot have axes of {self.shape_of_result}")
        self._on: dict[Device, dict[str, Array]] = {}
        self._lock = threading.Lock()

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
        used = np.isfinite(radius) & (radius >= least) & (True if most is None else radius <= most)
        if good is not None:
            good = np.asarray(good)
            if good.dtype != bool or good.shape != radius.shape:
                raise ValueError(f"Rings: good must be bool {radius.shape}, True = use the pixel, got {good.dtype} {good.shape}")
            used &= good
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
        used = np.isfinite(radial)
        if good is not None:
            good = np.asarray(good)
            if good.dtype != bool or good.shape != radial.shape:
                raise ValueError(f"Rings: good must be bool {radial.shape}, True = use the pixel, got {good.dtype} {good.shape}")
            used &= good
        if radial_range is None:
            if not used.any():
                raise ValueError("Rings: no pixel is good: give radial_range")
            radial_range = float(radial[used].min()), float(np.nextafter(radial[used].max(), np.inf))
        number, centre = _bins("radial", radial, bins, radial_range)
        label = np.where(used, number, -1)
        if azimuth is None:
            return cls(label, bins, centre, None, unit)
        number, around = _bins("azimuth", np.asarray(azimuth, np.float64), azimuth_bins, azimuth_range)
        return cls(np.where((label >= 0) & (number >= 0), number * bins + label, -1), bins * azimuth_bins, centre, around, unit)

    @classmethod
    def from_geometry(
        cls, geometry: Geometry, bins: int, unit: str = "q_A^-1", wavelength: float | None = None, frame: tuple[int, ...] | None = None, **more: Any
    ) -> Rings:
        """Bins of q, 2theta or the distance from the beam of a detector. unit: one of RADII; wavelength [m], for q; frame: where raw frames are
        of another shape than (segments, rows, cols), e.g. (rows, cols); more: as from_position takes it, azimuth_bins for two dimensions."""
        if unit not in RADII:
            raise ValueError(f"Rings: unit must be one of {', '.join(RADII)}, got {unit!r}")
        at = geometry.pixel_positions()
        if unit.startswith("q"):
            if wavelength is None:
                raise ValueError("Rings: q needs a wavelength [m]")
            radial = geometry.q(wavelength)
        else:
            radial = geometry.two_theta() if unit.startswith("2th") else np.hypot(at[..., 0], at[..., 1])
        shape = geometry.shape if frame is None else frame
        if np.prod(shape) != np.prod(geometry.shape):
            raise ValueError(f"Rings: frame {shape} has not the pixels of {geometry.shape}")
        if more.get("azimuth_bins", 1) > 1:
            more["azimuth"] = np.degrees(np.arctan2(at[..., 1], at[..., 0])).reshape(shape)
        return cls.from_position((radial * RADII[unit]).reshape(shape), bins, unit=unit, **more)

    @property
    def shape(self) -> tuple[int, ...]:
        """The frame's."""
        return self.label.shape

    @property
    def digest(self) -> str:
        """SHA-256 of labels and axis: provenance."""
        h = hashlib.sha256(f"rings {self.count} {self.unit} {self.shape}".encode())
        h.update(self.label.data)
        h.update(self.radial.data)
        h.update(b"" if self.azimuthal is None else self.azimuthal.data)
        return h.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """What kernels read."""
        return {"label": self.label, "order": self.order, "first": self.first}

    def on(self, device: Device, stream: Any = None) -> dict[str, Array]:
        """The same on a device: uploaded at the first call, for all ops that use these rings."""
        with self._lock:
            if device not in self._on:
                backend = BACKENDS[device.backend]
                self._on[device] = {k: backend.put(v, device, stream) for k, v in self.arrays().items()}
                backend.wait(device, stream)        # plans on other streams will read them
            return self._on[device]


def _bins(what: str, x: np.ndarray, bins: int, limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each value, -1 outside, and the bins' centres."""
    low, high = map(float, limits)
    if not (bins >= 1 and np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"Rings: {what} needs 1 bin at least and a range that is not empty, got {bins} and {limits}")
    width = (high - low) / bins
    with np.errstate(invalid="ignore"):
        number = np.floor((x - low) / width)
        inside = (x >= low) & (x < high)
    return np.where(inside, np.minimum(number, bins - 1), -1).astype(np.int64), low + width * (np.arange(bins) + 0.5)


def frozen(x: np.ndarray) -> np.ndarray:
    """An array that nobody writes."""
    x = np.ascontiguousarray(x)
    x.setflags(write=False)
    return x
