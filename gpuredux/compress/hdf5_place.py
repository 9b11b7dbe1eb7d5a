"""Where frames that are read are to lie: in the host's memory, or on a device that decodes them itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import backends
from ..op import Op


@dataclass(frozen=True)
class Place:
    """A backend and its device, None = the first one."""

    backend: Any
    device: Any = None

    @property
    def host(self) -> bool:
        return not self.backend.kernels

    def step(self, most: int, frames: int) -> int:
        """How many frames are decoded at a time: on a device all of them, for kernels take no array that begins anywhere."""
        return max(1, most if self.host else frames)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.backend.empty(tuple(shape), np.dtype(dtype), self.device)

    def put(self, x: np.ndarray) -> Any:
        return self.backend.put(np.ascontiguousarray(x), self.device)

    def get(self, x: Any) -> np.ndarray:
        found: np.ndarray = self.backend.get(x)
        return found

    def run(self, op: Op, code: Any, *lists: Any, out: Any) -> None:
        """Fill out; code lies here, the lists on the host."""
        if len(code):
            op(code, *map(self.put, lists), out=out, backend=self.backend.name)

    def keep(self, out: Any, row: int, frame: np.ndarray) -> None:
        """A frame of the host in place of out[row]."""
        self.backend.copy(self.put(frame), out[row : row + 1])

    def masking(self, op: Any, masked: float | None, who: str) -> Any:
        """The operation that writes this where a pixel is masked, None = NaN."""
        if masked is None or math.isnan(masked) or self.host:
            return op
        if masked != 0:
            raise ValueError(f"{who}: masked must be 0 or NaN on {self.backend.name}, got {masked}")
        return replace(op, masked_value=0.0)


HOST = Place(backends.NUMBA)


def place_of(backend: str | None, device: Any, who: str) -> Place:
    """Raises BackendUnavailable, ValueError or TypeError for a backend or device that is not there."""
    if backend is None:
        if device is not None:
            raise TypeError(f"{who}: device goes with backend, got {device} alone")
        return HOST
    found = backends.get(backend)
    if device is not None and not isinstance(device, backends.Device):
        raise TypeError(f"{who}: device must be one of gpuredux.backends.get({backend!r}).devices(), got {device!r}")
    if device is not None and device.backend != backend:
        raise ValueError(f"{who}: device {device} is not one of {backend}")
    return Place(found, device)
