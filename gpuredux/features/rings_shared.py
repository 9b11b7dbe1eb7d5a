"""What rings of whole pixels and rings that split pixels have in common."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import BACKENDS, Array, Device

MOST_RINGS = 2**24      # of a two-dimensional pattern, too
RADII = {"q_A^-1": 1e-10, "q_nm^-1": 1e-9, "2th_rad": 1.0, "2th_deg": 180 / np.pi, "r_m": 1.0, "r_mm": 1e3}     # pyFAI's names for what was m, rad


class Shared:
    """Rings as what several ops share: their axes, and what of them lies on which device."""

    first: np.ndarray       # (count + 1,) u32: where each ring begins among the parts of pixels, which arrays() hold
    order: np.ndarray
    share: np.ndarray | None

    def __init__(self, shape: tuple[int, ...], count: int, radial: np.ndarray | None, azimuthal: np.ndarray | None, unit: str) -> None:
        if not 1 <= count <= MOST_RINGS:
            raise ValueError(f"Rings: count must be 1 to {MOST_RINGS}, got {count}")
        self.shape, self.count, self.unit = shape, int(count), unit
        self.azimuthal = None if azimuthal is None else frozen(np.array(azimuthal, np.float64))
        self.radial = frozen(np.arange(count, dtype=np.float64) if radial is None else np.array(radial, np.float64))
        self.shape_of_result = (self.radial.size,) if self.azimuthal is None else (self.azimuthal.size, self.radial.size)
        if np.prod(self.shape_of_result) != count:
            raise ValueError(f"Rings: {count} rings cannot have axes of {self.shape_of_result}")
        self._on: dict[Device, dict[str, Array]] = {}
        self._lock = threading.Lock()

    def over_rings(self, x: np.ndarray) -> np.ndarray:
        """(count,) i64: the sums over rings of something that each part of a pixel has."""
        return np.diff(np.append(0, np.cumsum(x, dtype=np.int64))[self.first.astype(np.int64)])

    @cached_property
    def by_pixel(self) -> tuple[np.ndarray, ...]:
        """The same in the pixels' order, for the CPU: slot (npix,), near, far (npix,) u16: the shares of a pixel in ring slot - 1 and in the one behind it (0:
        none; there are two slots more than rings); pixel, slot, share of what is in other rings. slot: u16 where that is enough.

        6 bytes a pixel, read in a row: of an Eiger 4M and 1000 rings, no pixel of which is in a third one, half of what a list of parts takes."""
        in_order = np.argsort(self.order, kind="stable")
        pixel = self.order[in_order]
        ring = np.repeat(np.arange(self.count), np.diff(self.first.astype(np.int64)))[in_order]
        share = np.ones(len(pixel), np.uint16) if self.share is None else self.share[in_order]
        slot = np.zeros(int(np.prod(self.shape)), np.uint16 if self.count < 65534 else np.uint32)
        near, far = np.zeros((2, len(slot)), np.uint16)
        begins = np.append(True, pixel[1:] != pixel[:-1])[: len(pixel)]
        slot[pixel[begins]], near[pixel[begins]] = ring[begins] + 1, share[begins]
        beside = ~begins & (ring == slot[pixel].astype(np.int64))
        far[pixel[beside]] = share[beside]
        rest = ~begins & ~beside
        return tuple(map(frozen, (slot, near, far, pixel[rest], ring[rest].astype(np.uint32) + np.uint32(1), share[rest])))

    def arrays(self) -> dict[str, np.ndarray]:
        """What kernels read."""
        raise NotImplementedError

    def on(self, device: Device, stream: Any = None) -> dict[str, Array]:
        """The same on a device: uploaded at the first call, for all ops that use these rings."""
        with self._lock:
            if device not in self._on:
                backend = BACKENDS[device.backend]
                self._on[device] = {k: backend.put(v, device, stream) for k, v in self.arrays().items()}
                backend.wait(device, stream)        # plans on other streams will read them
            return self._on[device]


def bins_of(what: str, bins: int, limits: tuple[float, float]) -> tuple[float, np.ndarray]:
    """The width and the centres of bins."""
    low, high = map(float, limits)
    if not (bins >= 1 and np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"Rings: {what} needs 1 bin at least and a range that is not empty, got {bins} and {limits}")
    width = (high - low) / bins
    return width, low + width * (np.arange(bins) + 0.5)


def bin_numbers(what: str, x: np.ndarray, bins: int, limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each value, -1 outside, and the bins' centres."""
    (width, centre), (low, high) = bins_of(what, bins, limits), map(float, limits)
    with np.errstate(invalid="ignore"):
        number = np.floor((x - low) / width)
        inside = (x >= low) & (x < high)
    return np.where(inside, np.minimum(number, bins - 1), -1).astype(np.int64), centre


def good_pixels(good: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """good, checked; None: all."""
    good = np.ones(shape, bool) if good is None else np.asarray(good)
    if good.dtype != bool or good.shape != shape:
        raise ValueError(f"Rings: good must be bool {shape}, True = use the pixel, got {good.dtype} {good.shape}")
    return good


def frozen(x: np.ndarray) -> np.ndarray:
    """An array that nobody writes."""
    x = np.ascontiguousarray(x)
    x.setflags(write=False)
    return x
