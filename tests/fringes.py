"""Arrays between bytes that nobody may write: compute-sanitizer's work where there is none, for scratch and constants too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpuredux.backends import Backend

FRINGE, DIRT = 1024, 0xA5       # bytes on either side: a multiple of what devices want of an array's begin


class Fringes:
    """In place of Backend.empty: each array lies, full of dirt, between fringes of dirt."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.empty = backend, backend.empty
        self.bases: list[Any] = []

    def __call__(self, shape: Any, dtype: Any, device: Any = None, stream: Any = None) -> Any:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size == 0:
            return self.empty(shape, dtype, device, stream)
        base = self.empty((size + 2 * FRINGE,), np.uint8, device, stream)
        dirt = np.full(base.shape, DIRT, np.uint8)
        if self.backend.kernels:
            self.backend.overwrite(base, dirt, stream)
        else:
            base[...] = dirt
        self.bases.append(base)
        return base[FRINGE : FRINGE + size].view(dtype).reshape(shape)

    def check(self) -> None:
        for base in self.bases:
            for side, fringe in (("before its begin", base[:FRINGE]), ("behind its end", base[-FRINGE:])):
                assert (self.backend.get(fringe) == DIRT).all(), f"an array of {base.shape[0] - 2 * FRINGE} bytes was written {side}"
