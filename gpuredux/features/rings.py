"""The static geometry that features share: which ring each pixel belongs to, and the rings' pixels in order. Made once, uploaded once."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np

from ..backends import BACKENDS, Array, Device

NO_RING = 65535         # the label of a pixel that belongs to no ring
MOST_RINGS = 65535


class Rings:
    """label[pixel] = the ring a pixel belongs to: rings are intervals of radius, q, 2theta, or of them and of azimuth. Immutable.

    label (*frame) u16: NO_RING where a pixel is in none, or not good; count: how many rings; first (count + 1,) u32 and order (used,) u32: pixels of ring k
    are order[first[k]:first[k+1]], in raster order; centre (count,) f64, unit: what an axis of results says."""

    def __init__(self, label: np.ndarray, count: int, centre: np.ndarray | None = None, unit: str = "pixel") -> None:
        label = np.asarray(label)
        if label.ndim < 2 or label.dtype.kind not in "iu":
            raise ValueError(f"Rings: label must be whole numbers ([panels,] rows, cols), got {label.dtype} {label.shape}")
        if not 1 <= count <= MOST_RINGS:
            raise ValueError(f"Rings: count must be 1 to {MOST_RINGS}, got {count}")
        inside = (label >= 0) & (label < count)
        wrong = ~inside & (label != NO_RING)
        if wrong.any():
            at = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(f"Rings: label must be 0 to {count - 1}, or {NO_RING} for none, got {label[at]} at {at}")
        self.count, self.unit = int(count), unit
        self.label = _frozen(np.where(inside, label, NO_RING).astype(np.uint16))
        flat = self.label.reshape(-1)
        order = np.argsort(flat, kind="stable")[: int(inside.sum())]
        self.order = _frozen(order.astype(np.uint32))
        self.first = _frozen(np.searchsorted(flat[order], np.arange(count + 1)).astype(np.uint32))
        self.centre = _frozen(np.arange(count, dtype=np.float64) if centre is None else np.array(centre, np.float64))
        if self.centre.shape != (count,):
            raise ValueError(f"Rings: centre must be ({count},), got {self.centre.shape}")
        self._on: dict[Device, dict[str, Array]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"label": self.label, "count": self.count, "centre": self.centre, "unit": self.unit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Rings.__init__(self, **state)

    def __repr__(self) -> str:
        return f"Rings({self.count} of {self.unit}, frame {self.label.shape}, {self.order.size} pixels)"

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
        if not top < MOST_RINGS - 1:
            raise ValueError(f"Rings: radius must be below {MOST_RINGS - 1} pixels, got {top}")
        label = np.full(radius.shape, NO_RING, np.uint16)
        label[used] = np.rint(radius[used])
        return cls(label, int(np.ceil(top)) + 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The frame's."""
        return self.label.shape

    @property
    def digest(self) -> str:
        """SHA-256 of labels and axis: provenance."""
        h = hashlib.sha256(f"rings {self.count} {self.unit} {self.shape}".encode())
        h.update(self.label.data)
        h.update(self.centre.data)
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


def _frozen(x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x)
    x.setflags(write=False)
    return x
